//! BlazeFace and CenterFace together, one for each effort.
//!
//! | effort | runs |
//! |---|---|
//! | glance | BlazeFace over the whole frame |
//! | regular | CenterFace, regular |
//! | thorough | CenterFace, thorough, and BlazeFace for faces that fill the frame |
//!
//! Where both see a face, CenterFace's box stands: it reaches from hair line to chin and its mouth
//! corners are found, not reckoned.

use super::{BlazeFace, CenterFace, DetectError, Detection, Detector, Effort};
use crate::backend::{Backend, BackendError};
use crate::frame::{BoxPx, FrameView};

/// A box of BlazeFace is a face of its own unless it overlaps one of CenterFace by this much.
const SAME_FACE_IOU: f32 = 0.3;

/// The detector.
#[derive(Debug)]
pub struct Auto {
    blaze: BlazeFace,
    center: CenterFace,
}

impl Auto {
    /// Loads both vendored networks.
    ///
    /// # Errors
    /// [`BackendError`]: model missing or altered, device that does not start.
    pub fn open(backend: &Backend) -> Result<Self, BackendError> {
        Ok(Self {
            blaze: BlazeFace::open(backend)?,
            center: CenterFace::open(backend)?,
        })
    }
}

impl Detector for Auto {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn detect(&mut self, frame: &FrameView<'_>, threshold: f32, effort: Effort) -> Result<Vec<Detection>, DetectError> {
        match effort {
            Effort::Glance => self.blaze.detect(frame, threshold, effort),
            Effort::Regular => self.center.detect(frame, threshold, effort),
            Effort::Thorough => {
                let found = self.center.detect(frame, threshold, effort)?;
                Ok(join(found, self.blaze.detect(frame, threshold, Effort::Glance)?))
            }
        }
    }

    fn detect_in(&mut self, frame: &FrameView<'_>, region_px: BoxPx, threshold: f32) -> Result<Vec<Detection>, DetectError> {
        self.center.detect_in(frame, region_px, threshold)
    }

    fn set_min_face_px(&mut self, min_face_px: u32) {
        self.center.set_min_face_px(min_face_px);
    }
}

/// `first`, and of `second` what `first` does not have.
fn join(mut first: Vec<Detection>, second: Vec<Detection>) -> Vec<Detection> {
    let known = first.len();
    for candidate in second {
        if first[..known].iter().all(|f| f.box_px.iou(&candidate.box_px) <= SAME_FACE_IOU) {
            first.push(candidate);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::{Detection, join};
    use crate::frame::BoxPx;

    #[test]
    fn the_first_detectors_box_stands_and_new_faces_are_added() {
        let at = |x0: f32, score| Detection {
            box_px: BoxPx {
                x0,
                y0: 0.0,
                x1: x0 + 10.0,
                y1: 10.0,
            },
            score,
            landmarks: None,
        };
        let joined = join(vec![at(0.0, 0.6)], vec![at(1.0, 0.9), at(50.0, 0.8)]);
        assert_eq!(joined, vec![at(0.0, 0.6), at(50.0, 0.8)]);
    }
}
