//! Networks that looking and rendering have in common, for when both go on at the same time.
//!
//! One caller at a time: a second copy of a network would cost its memory once more, and either half asks for
//! milliseconds of a frame only. What a network answers does not depend on who asked before, so that a film
//! comes out the same whoever waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nullface_kernels::cuda::Gpu;

use crate::frame::{FrameView, Landmarks5, Mesh};
use crate::stages::align::{AlignError, FaceHint, MeshFitter};
use crate::stages::identify::{Embedding, IdentifyError, Recogniser};

fn lock<T: ?Sized>(network: &Mutex<T>) -> MutexGuard<'_, T> {
    // A network whose caller panicked is asked again: it answers, or fails and its frame is covered.
    network.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A mesh network with several owners.
#[derive(Clone)]
pub(super) struct SharedMesh(Arc<Mutex<Box<dyn MeshFitter>>>);

impl SharedMesh {
    pub(super) fn new(mesh: Box<dyn MeshFitter>) -> Self {
        Self(Arc::new(Mutex::new(mesh)))
    }
}

impl MeshFitter for SharedMesh {
    fn reads_on(&self, gpu: &Gpu) -> bool {
        lock(&self.0).reads_on(gpu)
    }

    fn fit(&mut self, frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        lock(&self.0).fit(frame, hints)
    }
}

/// A recogniser with several owners.
#[derive(Clone)]
pub(super) struct SharedRecogniser {
    network: Arc<Mutex<Box<dyn Recogniser>>>,
    name: Arc<str>,
    same_person_cos: f32,
}

impl SharedRecogniser {
    pub(super) fn new(recogniser: Box<dyn Recogniser>) -> Self {
        Self {
            name: Arc::from(recogniser.name()),
            same_person_cos: recogniser.same_person_cos(),
            network: Arc::new(Mutex::new(recogniser)),
        }
    }
}

impl Recogniser for SharedRecogniser {
    fn name(&self) -> &str {
        &self.name
    }

    fn same_person_cos(&self) -> f32 {
        self.same_person_cos
    }

    fn reads_on(&self, gpu: &Gpu) -> bool {
        lock(&self.network).reads_on(gpu)
    }

    fn embed(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        lock(&self.network).embed(frame, faces)
    }

    fn embed_each(&mut self, faces: &[(FrameView<'_>, Landmarks5)]) -> Result<Vec<Embedding>, IdentifyError> {
        lock(&self.network).embed_each(faces)
    }
}
