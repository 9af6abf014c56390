//! BlazeFace and CenterFace together, one for each effort.
//!
//! | effort | runs |
//! |---|---|
//! | glance | BlazeFace over the whole frame |
//! | regular | CenterFace, regular |
//! | thorough | CenterFace, thorough, and BlazeFace for faces that fill the frame |
//!
//! BlazeFace takes a body for a face at times: on a full-body film (720×1080) its boxes of a torso with
//! the head scored 0.50 to 0.73, its boxes of faces on six films at least 0.88. What it alone saw below
//! [`SURE_ALONE`] is asked of CenterFace, looking there at a scale that fits: on those torsos the best
//! overlap was 0.29, on faces 0.56 and more. (The mesh is no judge: it saw a face in a torso's box too,
//! with a probability up to 0.998, because the head is in it.)
//!
//! Where both see a face, CenterFace's box stands: it reaches from hair line to chin and its mouth
//! corners are found, not reckoned.

use super::{BlazeFace, CenterFace, DetectError, Detection, Detector, Effort, InPart, Part, same_face};
use crate::backend::{Backend, BackendError};
use crate::frame::{BoxPx, FrameView};

/// Score from which a box of BlazeFace alone is a face whatever CenterFace says.
pub const SURE_ALONE: f32 = 0.75;
/// How much of the surroundings CenterFace sees when it is asked about a box, as a multiple of the box.
const ASKED_MARGIN: f32 = 1.6;

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

impl Auto {
    /// Of what BlazeFace saw alone, that which is sure or which CenterFace sees too.
    fn confirmed(&mut self, frame: &FrameView<'_>, alone: Vec<Detection>, threshold: f32) -> Result<Vec<Detection>, DetectError> {
        let mut sure = Vec::with_capacity(alone.len());
        for candidate in alone {
            if candidate.score >= SURE_ALONE {
                sure.push(candidate);
                continue;
            }
            let seen = self.center.detect_in(frame, candidate.box_px.scaled(ASKED_MARGIN), threshold)?;
            if seen.iter().any(|d| same_face(&d.box_px, &candidate.box_px)) {
                sure.push(candidate);
            }
        }
        Ok(sure)
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
                let mut found = self.center.detect(frame, threshold, effort)?;
                let alone = unknown(&found, self.blaze.detect(frame, threshold, Effort::Glance)?);
                found.extend(self.confirmed(frame, alone, threshold)?);
                Ok(found)
            }
        }
    }

    fn detect_part(&mut self, frame: &FrameView<'_>, threshold: f32, part: Part) -> Result<InPart, DetectError> {
        self.center.detect_part(frame, threshold, part)
    }

    fn detect_in(&mut self, frame: &FrameView<'_>, region_px: BoxPx, threshold: f32) -> Result<Vec<Detection>, DetectError> {
        self.center.detect_in(frame, region_px, threshold)
    }

    fn set_min_face_px(&mut self, min_face_px: u32) {
        self.center.set_min_face_px(min_face_px);
    }
}

/// Of `second` what `first` does not have.
fn unknown(first: &[Detection], mut second: Vec<Detection>) -> Vec<Detection> {
    second.retain(|s| !first.iter().any(|f| same_face(&f.box_px, &s.box_px)));
    second
}

#[cfg(test)]
mod tests {
    use super::{Detection, unknown};
    use crate::frame::BoxPx;

    #[test]
    fn only_faces_that_the_first_detector_lacks_are_asked_about() {
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
        assert_eq!(unknown(&[at(0.0, 0.6)], vec![at(1.0, 0.9), at(50.0, 0.8)]), vec![at(50.0, 0.8)]);
    }
}
