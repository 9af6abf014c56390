//! YuNet (Wu et al. 2023) from a file that the user brings, through OpenCV's `FaceDetectorYN`.
//!
//! OpenCV 4.6 reads the 2022mar file; the 2023mar file needs 4.8 or newer. It is shown the frame with
//! its longer side at 320 (glance), 640 (regular) or 1280 px (thorough) at most.
//!
//! Checked on synthetic rows and error paths only: no such file may come with this project.

use std::path::Path;

use nullface_kernels::crop::crop_affine_u8;

use super::view::{View, whole};
use super::{DetectError, Detection, Detector, Effort, all_finite, of_backend};
use crate::backend::{BackendError, FaceDetectorYn};
use crate::frame::{BoxPx, FrameView, Landmarks5};

const NAME: &str = "yunet";
/// Values a face: box x y w h, five points, score.
const VALUES: usize = 15;
/// Sides are rounded up to this, px.
const MULTIPLE_PX: usize = 32;

/// The detector.
#[derive(Debug)]
pub struct YuNet {
    network: FaceDetectorYn,
    picture: Vec<u8>,
}

impl YuNet {
    /// Loads the user's file.
    ///
    /// # Errors
    /// [`BackendError::Model`] where OpenCV cannot read it.
    pub fn open(file: &Path) -> Result<Self, BackendError> {
        Ok(Self {
            network: FaceDetectorYn::open(NAME, file)?,
            picture: Vec::new(),
        })
    }
}

impl Detector for YuNet {
    fn name(&self) -> &'static str {
        NAME
    }

    fn detect(&mut self, frame: &FrameView<'_>, threshold: f32, effort: Effort) -> Result<Vec<Detection>, DetectError> {
        let longest = match effort {
            Effort::Glance => 320.0,
            Effort::Regular => 640.0,
            Effort::Thorough => 1280.0,
        };
        let all = whole(frame);
        let view = View::of_region(&all, (longest / all.side()).min(1.0), MULTIPLE_PX);
        self.picture.resize(3 * view.width * view.height, 0);
        crop_affine_u8(frame, &view.frame_from_net(), view.width, view.height, &mut self.picture)
            .map_err(|source| DetectError::Frame { detector: NAME, source })?;
        for pixel in self.picture.chunks_exact_mut(3) {
            pixel.swap(0, 2); // OpenCV wants blue first
        }
        let rows = self
            .network
            .detect(&self.picture, view.width, view.height, threshold)
            .map_err(of_backend(NAME))?;
        Ok(decode(&rows, threshold)?.into_iter().map(|d| view.to_frame(d)).collect())
    }
}

/// Rows of 15 numbers as detections in network px. OpenCV has suppressed them.
fn decode(rows: &[f32], threshold: f32) -> Result<Vec<Detection>, DetectError> {
    let bad = |what: String| DetectError::BadOutput { detector: NAME, what };
    if !rows.len().is_multiple_of(VALUES) {
        return Err(bad(format!("expected rows of {VALUES} values, got {}", rows.len())));
    }
    all_finite(NAME, "faces", rows)?;
    let mut found = Vec::new();
    for row in rows.chunks_exact(VALUES) {
        let (box_px, score) = (
            BoxPx {
                x0: row[0],
                y0: row[1],
                x1: row[0] + row[2],
                y1: row[1] + row[3],
            },
            row[14],
        );
        if !box_px.is_valid() || !(-1e-3..=1.001).contains(&score) {
            return Err(bad(format!(
                "expected a positive size and a probability, got {} x {} px, {score}",
                row[2], row[3]
            )));
        }
        if score >= threshold {
            let landmarks = Some(Landmarks5(std::array::from_fn(|i| [row[4 + 2 * i], row[5 + 2 * i]])));
            found.push(Detection {
                box_px,
                score: score.min(1.0),
                landmarks,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{YuNet, decode};
    use crate::backend::BackendError;
    use crate::frame::BoxPx;

    const ROW: [f32; 15] = [
        10.0, 20.0, 30.0, 40.0, 15.0, 30.0, 35.0, 31.0, 25.0, 40.0, 18.0, 50.0, 32.0, 51.0, 0.9,
    ];

    #[test]
    fn a_row_becomes_its_box_and_points() {
        let found = decode(&ROW, 0.5).expect("good row");
        assert_eq!(
            found[0].box_px,
            BoxPx {
                x0: 10.0,
                y0: 20.0,
                x1: 40.0,
                y1: 60.0
            }
        );
        assert_eq!(found[0].landmarks.expect("points").0[4], [32.0, 51.0]);
        assert!(decode(&ROW, 0.95).expect("good row").is_empty());
        assert!(decode(&[], 0.5).expect("no faces").is_empty());
    }

    #[test]
    fn bad_rows_are_refused() {
        for (at, value) in [(2, -5.0), (3, 0.0), (14, 3.0), (8, f32::NAN)] {
            let mut row = ROW;
            row[at] = value;
            assert!(decode(&row, 0.5).is_err(), "{at} {value}");
        }
        assert!(decode(&ROW[1..], 0.5).is_err());
    }

    #[test]
    fn a_file_that_is_none_is_refused_with_its_name() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("yunet.onnx");
        assert!(matches!(YuNet::open(&file), Err(BackendError::Model { .. })), "missing");
        std::fs::write(&file, b"not a network").expect("file");
        let error = YuNet::open(&file).expect_err("no network");
        assert!(error.to_string().contains("yunet.onnx"), "{error}");
    }
}
