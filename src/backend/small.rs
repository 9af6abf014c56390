//! Small networks of the manifest: one picture on one thread, several on all.
//!
//! Their operators are too short to be shared for one picture. Two threads of two, AVX2, beside nothing else: face
//! mesh 1.06 of the time of one and 1.9 of its processor time, iris 1.2 and 1.2, BlazeFace 0.95 and 1.7, MobileFaceNet
//! 0.77 and 1.4 (CenterFace at 512×416: 0.64 and 1.08); and the second core has films to decode meanwhile. Batches
//! share well. The graph for batches is loaded when the first one comes.

use nullface_kernels::crop::CropSpec;
use nullface_kernels::cuda::Gpu;

use super::crops::{CropError, shape_of};
use super::device::Device;
use super::{Backend, BackendError, Session};
use crate::frame::{Affine, FrameView};

/// A [`Session`] for either.
#[derive(Debug)]
pub struct SmallSession {
    backend: Backend,
    alone: Session,
    together: Option<Session>,
    batch: bool,
}

impl SmallSession {
    pub(super) fn open(backend: &Backend, name: &str) -> Result<Self, BackendError> {
        Ok(Self {
            backend: backend.clone(),
            alone: backend.session_on(name, 1)?,
            together: None,
            batch: false,
        })
    }

    /// The input buffer for a shape, whose first side is the number of pictures; its content is whatever an earlier
    /// run left there.
    ///
    /// # Errors
    /// [`BackendError::Run`] where the size is out of bounds or memory is short; those of [`Backend::session`] at the
    /// first batch.
    pub fn input(&mut self, shape: &[usize]) -> Result<&mut [f32], BackendError> {
        self.choose(shape)?;
        self.chosen().input(shape)
    }

    /// The input as crops of a frame, as [`Session::crops`] has it.
    ///
    /// # Errors
    /// As there, and those of [`Backend::session`] at the first batch.
    pub fn crops(&mut self, frame: &FrameView<'_>, maps: &[Affine], spec: &CropSpec) -> Result<(), CropError> {
        self.choose(&shape_of(spec, maps.len()))?;
        self.chosen().crops(frame, maps, spec)
    }

    /// The same for pictures that each have a crop of their own, as [`Session::crops_each`] has it.
    ///
    /// # Errors
    /// As there, and those of [`Backend::session`] at the first batch.
    pub fn crops_each(&mut self, faces: &[(FrameView<'_>, Affine)], spec: &CropSpec) -> Result<(), CropError> {
        self.choose(&shape_of(spec, faces.len()))?;
        self.chosen().crops_each(faces, spec)
    }

    /// Whether crops of what `gpu` has are made there.
    #[must_use]
    pub fn reads_on(&self, gpu: &Gpu) -> bool {
        self.alone.reads_on(gpu) && self.together.as_ref().is_none_or(|t| t.reads_on(gpu))
    }

    fn choose(&mut self, shape: &[usize]) -> Result<(), BackendError> {
        self.batch = shape.first().is_some_and(|n| *n > 1) && self.alone.device() == Device::Cpu;
        if self.batch && self.together.is_none() {
            self.together = Some(self.backend.session(self.alone.name())?);
        }
        Ok(())
    }

    /// Runs on the input buffer.
    ///
    /// # Errors
    /// [`BackendError::Run`].
    pub fn run(&mut self) -> Result<(), BackendError> {
        self.chosen().run()
    }

    /// One output of the last run.
    ///
    /// # Errors
    /// [`BackendError::Shape`] where type or shape differ from what is expected.
    pub fn output(&self, index: usize, expected: &[usize]) -> Result<&[f32], BackendError> {
        let chosen = self.together.as_ref().filter(|_| self.batch).unwrap_or(&self.alone);
        chosen.output(index, expected)
    }

    fn chosen(&mut self) -> &mut Session {
        self.together.as_mut().filter(|_| self.batch).unwrap_or(&mut self.alone)
    }
}

#[cfg(test)]
mod tests {
    use crate::backend::testing::backend;

    #[test]
    fn a_picture_has_the_same_result_alone_and_in_a_batch() {
        let mut mesh = backend().small_session("face_mesh").expect("loads");
        let picture: Vec<f32> = (0..192 * 192 * 3).map(|i| (i % 251) as f32 / 251.0).collect();
        let mut run = |n: usize| {
            let input = mesh.input(&[n, 192, 192, 3]).expect("a buffer");
            input.chunks_exact_mut(picture.len()).for_each(|p| p.copy_from_slice(&picture));
            mesh.run().expect("runs");
            let points = mesh.output(0, &[n, 1, 1, 1404]).expect("points");
            points.chunks_exact(1404).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        let alone = run(1);
        let batch = run(3);
        assert!(batch.iter().all(|points| *points == alone[0]));
        assert_eq!(run(1), alone);
    }
}
