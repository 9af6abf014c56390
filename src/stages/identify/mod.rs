//! Crop → embedding. See [`Recogniser`]; [`MobileFaceNet`] is the one that comes along,
//! [`TensorRecogniser`] one that a pack brings.

mod mobilefacenet;
mod tensor;

pub use mobilefacenet::MobileFaceNet;
pub use tensor::{ARCFACE_PX, TensorRecogniser};

use nullface_kernels::cuda::Gpu;

use crate::backend::CropError;
use crate::frame::{FrameView, Landmarks5};

/// An L2-normalised identity embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding(pub Vec<f32>);

impl Embedding {
    /// Cosine with another embedding of the same recogniser, −1 to 1; `None` where lengths differ.
    #[must_use]
    pub fn cos(&self, other: &Self) -> Option<f32> {
        (self.0.len() == other.0.len()).then(|| self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum())
    }
}

/// Why no embedding could be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentifyError {
    /// The network failed.
    #[error("recogniser: {0}")]
    Backend(#[from] crate::backend::BackendError),
    /// The frame could not be read.
    #[error("recogniser: {0}")]
    Frame(#[from] nullface_kernels::KernelError),
    /// Not a unit vector of the expected length.
    #[error("recogniser: {0}")]
    BadOutput(String),
}

impl From<CropError> for IdentifyError {
    fn from(error: CropError) -> Self {
        match error {
            CropError::Backend(e) => Self::Backend(e),
            CropError::Frame(e) => Self::Frame(e),
        }
    }
}

/// Turns faces into identity embeddings.
pub trait Recogniser: Send {
    /// A name for reports.
    fn name(&self) -> &str;

    /// Cosine above which two embeddings are taken for one person, at a false-accept rate of 1e-3.
    fn same_person_cos(&self) -> f32;

    /// Whether pictures that only `gpu` has can be embedded.
    fn reads_on(&self, _gpu: &Gpu) -> bool {
        false
    }

    /// One embedding a face, in order.
    ///
    /// # Errors
    /// [`IdentifyError`]; the caller covers.
    fn embed(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError>;

    /// The same for faces that each lie in a picture of their own; one batch where the network has batches.
    ///
    /// # Errors
    /// [`IdentifyError`]; the caller covers.
    fn embed_each(&mut self, faces: &[(FrameView<'_>, Landmarks5)]) -> Result<Vec<Embedding>, IdentifyError> {
        let mut embeddings = Vec::with_capacity(faces.len());
        for (picture, landmarks) in faces {
            embeddings.extend(self.embed(picture, std::slice::from_ref(landmarks))?);
        }
        Ok(embeddings)
    }
}
