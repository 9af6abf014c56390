//! Frame → faces. See [`Detector`]; [`open`] makes one.
//!
//! | detector | finds | network | landmarks |
//! |---|---|---|---|
//! | [`CenterFace`] | all faces, scale by effort | vendored, any size | five |
//! | [`BlazeFace`] | faces above a tenth of the frame's longer side | vendored, 128² | five, mouth corners reckoned |
//! | [`Auto`] | BlazeFace to glance, CenterFace to look, both to look hard | both | five |
//! | [`YuNet`] | as its file does | user's file, OpenCV | five |
//! | [`Scrfd`] | as its file does | user's file | five where exported |
//!
//! All of them answer with an error, never with an empty list, where a network's numbers cannot be
//! boxes: an error covers the frame.

mod auto;
mod blazeface;
mod boxes;
mod centerface;
mod scrfd;
mod view;
mod yunet;

use std::path::Path;

pub use auto::Auto;
pub use blazeface::BlazeFace;
pub use boxes::suppress;
pub use centerface::CenterFace;
pub use scrfd::Scrfd;
pub use yunet::YuNet;

use crate::backend::{Backend, BackendError};
use crate::frame::{BoxPx, FrameView, Landmarks5};

/// Which detector to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DetectorKind {
    /// [`Auto`].
    #[default]
    Auto,
    /// [`CenterFace`].
    CenterFace,
    /// [`BlazeFace`].
    BlazeFace,
    /// [`YuNet`], from the user's file.
    YuNet,
    /// [`Scrfd`], from the user's file.
    Scrfd,
}

/// Opens a detector. `file` is the user's model for [`DetectorKind::YuNet`] and [`DetectorKind::Scrfd`].
///
/// # Errors
/// [`BackendError`]: model missing, altered or not of the expected form; a kind that needs a file got none.
pub fn open(kind: DetectorKind, backend: &Backend, file: Option<&Path>) -> Result<Box<dyn Detector>, BackendError> {
    let needed = |name: &str| {
        file.ok_or_else(|| BackendError::Model {
            name: name.to_owned(),
            path: String::new(),
            why: "this detector comes with no model".to_owned(),
            remedy: "name its ONNX file (detector-model)".to_owned(),
        })
    };
    Ok(match kind {
        DetectorKind::Auto => Box::new(Auto::open(backend)?),
        DetectorKind::CenterFace => Box::new(CenterFace::open(backend)?),
        DetectorKind::BlazeFace => Box::new(BlazeFace::open(backend)?),
        DetectorKind::YuNet => Box::new(YuNet::open(needed("yunet")?)?),
        DetectorKind::Scrfd => Box::new(Scrfd::open(backend, needed("scrfd")?)?),
    })
}

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
        source: BackendError,
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
    fn detect(&mut self, frame: &FrameView<'_>, threshold: f32, effort: Effort) -> Result<Vec<Detection>, DetectError>;

    /// Faces in a part of the frame, for a track that is unsure: cheap where the detector can look at
    /// a part, else the regular look at everything. May return faces outside the region.
    ///
    /// # Errors
    /// [`DetectError`]; the caller covers the region.
    fn detect_in(&mut self, frame: &FrameView<'_>, region_px: BoxPx, threshold: f32) -> Result<Vec<Detection>, DetectError> {
        let _ = region_px;
        self.detect(frame, threshold, Effort::Regular)
    }

    /// Smallest face to look for from now on, px of its larger side. Detectors of one scale ignore it.
    fn set_min_face_px(&mut self, _min_face_px: u32) {}
}

/// A backend error in a detector's words: outputs of another shape are bad outputs.
fn of_backend(detector: &'static str) -> impl Fn(BackendError) -> DetectError {
    move |source| match source {
        BackendError::Shape { .. } => DetectError::BadOutput { detector, what: source.to_string() },
        source => DetectError::Backend { detector, source },
    }
}

/// Refuses a tensor with a number that is none.
fn all_finite(detector: &'static str, what: &str, data: &[f32]) -> Result<(), DetectError> {
    match crate::backend::first_not_finite(data) {
        None => Ok(()),
        Some(at) => Err(DetectError::BadOutput { detector, what: format!("{what}: expected finite numbers, got {} at {at} of {}", data[at], data.len()) }),
    }
}
