//! Track → mesh, crop and mask. See [`MeshFitter`]; [`FaceMesh`] is the one that comes along.
//!
//! | from | to | by |
//! |---|---|---|
//! | face hint | 468 points in frame px | [`FaceMesh`] |
//! | mesh | outline of the face, lips, eyes, brows, nose | [`FACE_OVAL`] and its siblings |
//! | mesh | polygon to cover | [`oval_polygon`] |
//! | five landmarks | map of the ArcFace crop | [`arcface_crop`] |
//! | two pictures | where each pixel went | [`Flow`] |

mod flow;
mod mesh;
mod regions;

pub use crate::frame::{ARCFACE_TEMPLATE_112, arcface_crop, similarity};
pub use flow::Flow;
pub use mesh::FaceMesh;
pub use regions::{BROW_LEFT, BROW_RIGHT, EYE_LEFT, EYE_RIGHT, FACE_OVAL, LIPS_INNER, LIPS_OUTER, NOSE_RIDGE, NOSE_WINGS, oval_polygon};

use crate::frame::{BoxPx, FrameView, Landmarks5, Mesh};

/// Where to look for a mesh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaceHint {
    /// Where the face is thought to be, frame px.
    pub box_px: BoxPx,
    /// In-plane rotation, radians.
    pub roll_rad: f32,
    /// Landmarks where known.
    pub landmarks: Option<Landmarks5>,
}

/// Why no mesh could be had.
#[derive(Debug, thiserror::Error)]
pub enum AlignError {
    /// The network failed.
    #[error("face mesh: {0}")]
    Backend(#[from] crate::backend::BackendError),
    /// The frame could not be read.
    #[error("face mesh: {0}")]
    Frame(#[from] nullface_kernels::KernelError),
    /// The network answered with numbers that cannot be points.
    #[error("face mesh: {0}")]
    BadOutput(String),
}

impl From<crate::backend::CropError> for AlignError {
    fn from(error: crate::backend::CropError) -> Self {
        match error {
            crate::backend::CropError::Backend(e) => Self::Backend(e),
            crate::backend::CropError::Frame(e) => Self::Frame(e),
        }
    }
}

/// Fits the 468-point mesh to faces.
pub trait MeshFitter: Send {
    /// Whether pictures that only `gpu` has can be read.
    fn reads_on(&self, _gpu: &nullface_kernels::cuda::Gpu) -> bool {
        false
    }

    /// One mesh a hint, in order; `face_prob` says whether there is a face at all.
    ///
    /// # Errors
    /// [`AlignError`]; the caller falls back to boxes.
    fn fit(&mut self, frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError>;
}
