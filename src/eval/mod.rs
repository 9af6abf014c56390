//! How anonymous, how useful, how stable: figures about a source and what was made of it, by networks
//! that took no part in making it.
//!
//! | file | what |
//! |---|---|
//! | [`judge`] | held-out networks by their manifest: embeddings, age, sex, expression |
//! | [`follow`], [`finder`] | faces followed through the source, without asking the engine; a detector that it does not use |
//! | [`shape`], [`gaze`], [`picture`] | expression, pose; irises; sharpness, background, warp error |
//! | [`film`] | all of these on a film, frame by frame, one pass |
//! | [`figures`] | rows to figures; [`stats`]: intervals by bootstrap over tracks |
//! | [`attack`], [`calibrate`], [`frechet`] | linkage attacks on sets of embeddings; thresholds from pairs; distance of two sets |
//! | [`report`] | what is written down |
//!
//! No GStreamer here: callers bring frames. A figure that cannot be had is absent, never zero.

pub mod attack;
pub mod calibrate;
pub mod figures;
pub mod film;
pub mod finder;
pub mod follow;
pub mod frechet;
pub mod gaze;
pub mod judge;
pub mod picture;
pub mod report;
pub mod shape;
pub mod stats;

use nullface_kernels::KernelError;

use crate::backend::BackendError;
use crate::frame::{FrameInfo, FrameView, Matrix, PixelFormat, Plane, Range};
use crate::stages::align::AlignError;
use crate::stages::detect::DetectError;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A network is missing, altered or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The detector failed.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// The mesh failed.
    #[error(transparent)]
    Align(#[from] AlignError),
    /// A frame could not be read.
    #[error(transparent)]
    Frame(#[from] KernelError),
    /// OpenCV refused.
    #[error("{what}: {why}")]
    Vision {
        /// Operation.
        what: &'static str,
        /// Cause.
        why: String,
    },
    /// Something that does not fit what was expected.
    #[error("{what}: expected {expected}, got {got}; {remedy}")]
    Input {
        /// What.
        what: String,
        /// What would have been right.
        expected: String,
        /// What came.
        got: String,
        /// What to do.
        remedy: String,
    },
}

/// A view of packed RGB, rows without padding.
///
/// # Errors
/// [`EvalError::Frame`] where the bytes do not fit the size.
pub fn rgb_view(width: u32, height: u32, rgb: &[u8]) -> Result<FrameView<'_>, EvalError> {
    let info = FrameInfo {
        format: PixelFormat::Rgb,
        width,
        height,
        matrix: Matrix::Bt709,
        range: Range::Full,
    };
    Ok(FrameView::new(
        info,
        &[Plane {
            data: rgb,
            stride: width as usize * 3,
        }],
    )?)
}
