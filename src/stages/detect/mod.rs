//! Frame → faces. See [`Detector`].

use crate::frame::{BoxPx, FrameView, Landmarks5};

/// A face found in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Box, frame px.
    pub box_px: BoxPx,
    /// Confidence, 0–1.
    pub score: f32,
    /// Five points, where the detector gives them.
    pub landmarks: Option<Landmarks5>,
}

/// Why a detector has no answer. A frame without an answer is covered whole.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The network failed.
    #[error("detector {detector}: {source}")]
    Backend {
        /// Detector's name.
        detector: &'static str,
        /// Cause.
        source: crate::backend::BackendError,
    },
    /// The network answered with numbers that cannot be boxes.
    #[error("detector {detector}: {what}")]
    BadOutput {
        /// Detector's name.
        detector: &'static str,
        /// What was wrong.
        what: String,
    },
    /// The frame could not be read.
    #[error("detector {detector}: {source}")]
    Frame {
        /// Detector's name.
        detector: &'static str,
        /// Cause.
        source: nullface_kernels::KernelError,
    },
}

/// How hard to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effort {
    /// The cheapest look at the whole frame: large faces only.
    Glance,
    /// The regular look: faces down to the configured minimum at the regular scale.
    Regular,
    /// Tiled at several scales: the smallest faces too.
    Thorough,
}

/// Finds faces in a frame.
pub trait Detector: Send {
    /// A name for reports.
    fn name(&self) -> &'static str;

    /// All faces with a score of at least `threshold`, boxes in frame px, non-maximum suppressed.
    ///
    /// # Errors
    /// [`DetectError`]; the caller covers the whole frame.
    fn detect(
        &mut self,
        frame: &FrameView<'_>,
        threshold: f32,
        effort: Effort,
    ) -> Result<Vec<Detection>, DetectError>;
}
