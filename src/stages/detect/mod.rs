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
mod still;
mod view;
mod yunet;

use std::path::Path;

pub use auto::{Auto, SURE_ALONE};
pub use blazeface::BlazeFace;
pub use boxes::{same_face, suppress};
pub use centerface::CenterFace;
pub use scrfd::Scrfd;
pub use yunet::YuNet;

use crate::backend::{Backend, BackendError, CropError};
use crate::frame::{BoxPx, FrameView, Landmarks5};

/// Share of the frame's longer side from which a glance finds a face, with some to spare.
const GLANCED_SHARE: f32 = 0.125;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// The cheapest look at the whole frame: large faces only.
    Glance,
    /// The regular look: faces down to the configured minimum at the regular scale.
    Regular,
    /// Tiled at several scales: the smallest faces too.
    Thorough,
}

/// A part of a frame to be looked at; parts lie side by side along the longer side and overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which one, below `of`.
    pub index: usize,
    /// How many there are.
    pub of: usize,
    /// How hard to look: regular or thorough.
    pub effort: Effort,
}

/// What a look at a part found.
#[derive(Debug, Clone, PartialEq)]
pub struct InPart {
    /// Faces that lie in it whole.
    pub whole: Vec<Detection>,
    /// What the part's edge cuts: the box of a piece.
    pub cut: Vec<Detection>,
    /// Where the part is, frame px.
    pub part_px: BoxPx,
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

    /// A look at one part. After looks at all of them everything was looked for that is smaller than parts overlap;
    /// larger faces are a glance's to find, or cut. A detector that knows no parts looks at everything.
    ///
    /// # Errors
    /// [`DetectError`]; the caller covers the whole frame.
    fn detect_part(&mut self, frame: &FrameView<'_>, threshold: f32, part: Part) -> Result<InPart, DetectError> {
        Ok(InPart {
            whole: self.detect(frame, threshold, part.effort)?,
            cut: Vec::new(),
            part_px: view::whole(frame),
        })
    }

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
        BackendError::Shape { .. } => DetectError::BadOutput {
            detector,
            what: source.to_string(),
        },
        source => DetectError::Backend { detector, source },
    }
}

/// The same of crops.
fn of_crops(detector: &'static str) -> impl Fn(CropError) -> DetectError {
    move |source| match source {
        CropError::Backend(source) => of_backend(detector)(source),
        CropError::Frame(source) => DetectError::Frame { detector, source },
    }
}

/// Refuses a tensor with a number that is none.
fn all_finite(detector: &'static str, what: &str, data: &[f32]) -> Result<(), DetectError> {
    match crate::backend::first_not_finite(data) {
        None => Ok(()),
        Some(at) => Err(DetectError::BadOutput {
            detector,
            what: format!("{what}: expected finite numbers, got {} at {at} of {}", data[at], data.len()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{DetectorKind, Effort, open};
    use crate::backend::testing::{Picture, backend};
    use crate::frame::BoxPx;

    const OWN: [DetectorKind; 3] = [DetectorKind::Auto, DetectorKind::CenterFace, DetectorKind::BlazeFace];

    #[test]
    fn a_picture_without_a_face_has_none_at_any_effort() {
        let picture = Picture::smooth(700, 420);
        for kind in OWN {
            let mut detector = open(kind, &backend(), None).expect("opens");
            for effort in [Effort::Glance, Effort::Regular, Effort::Thorough] {
                assert_eq!(
                    detector.detect(&picture.view(), 0.5, effort).expect("an answer"),
                    vec![],
                    "{kind:?} {effort:?}"
                );
            }
        }
    }

    #[test]
    fn frames_of_any_size_have_an_answer_and_boxes_are_sound() {
        for kind in OWN {
            let mut detector = open(kind, &backend(), None).expect("opens");
            for (width, height) in [(1, 1), (2, 2), (1, 600), (333, 77)] {
                let picture = Picture::smooth(width, height);
                for effort in [Effort::Glance, Effort::Regular, Effort::Thorough] {
                    // Nearly every cell counts as a face at this threshold: decoding and suppression under load.
                    let found = detector.detect(&picture.view(), 1e-6, effort).expect("an answer");
                    assert!(
                        found.iter().all(|d| d.box_px.is_valid() && (0.0..=1.0).contains(&d.score)),
                        "{kind:?} {width}x{height}"
                    );
                    assert!(found.windows(2).all(|w| kind == DetectorKind::Auto || w[0].score >= w[1].score));
                }
                let part = BoxPx {
                    x0: -5.0,
                    y0: -5.0,
                    x1: 40.0,
                    y1: 30.0,
                };
                detector.detect_in(&picture.view(), part, 0.5).expect("an answer about a part");
            }
        }
    }

    #[test]
    fn detectors_without_a_file_say_what_they_need() {
        for kind in [DetectorKind::YuNet, DetectorKind::Scrfd] {
            let error = open(kind, &backend(), None).err().expect("no file").to_string();
            assert!(error.contains("detector-model"), "{error}");
        }
        let mesh = backend().models().folder().join("face_mesh.onnx");
        let error = open(DetectorKind::Scrfd, &backend(), Some(&mesh))
            .err()
            .expect("no SCRFD")
            .to_string();
        assert!(error.contains("expected 6 or 9 outputs, got 2"), "{error}");
    }
}
