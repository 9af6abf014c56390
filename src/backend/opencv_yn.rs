//! OpenCV's `FaceDetectorYN`, for the user's YuNet file.

use std::path::Path;

use opencv::core::{Mat, Ptr, Size};
use opencv::objdetect::FaceDetectorYN;
use opencv::prelude::*;

use super::BackendError;

/// Boxes that overlap by more are one face.
const NMS_IOU: f32 = 0.3;
/// Candidates kept before suppression.
const TOP_K: i32 = 2000;

/// The network with OpenCV's decoding and suppression.
#[derive(Debug)]
pub struct FaceDetectorYn {
    name: &'static str,
    inner: Ptr<FaceDetectorYN>,
    size: (usize, usize),
}

impl FaceDetectorYn {
    /// Loads a file.
    ///
    /// # Errors
    /// [`BackendError::Model`].
    pub fn open(name: &'static str, file: &Path) -> Result<Self, BackendError> {
        let wrong = |why: String| BackendError::Model {
            name: name.to_owned(),
            path: file.display().to_string(),
            why,
            remedy: "use the YuNet file of the OpenCV in use: 2022mar before 4.8, 2023mar from then on".to_owned(),
        };
        if !file.is_file() {
            return Err(wrong("file is missing".to_owned()));
        }
        let path = file.to_str().ok_or_else(|| wrong("OpenCV takes only UTF-8 paths".to_owned()))?;
        let inner = FaceDetectorYN::create(path, "", Size::new(320, 320), 0.5, NMS_IOU, TOP_K, 0, 0)
            .map_err(|e| wrong(format!("does not load: {}", e.message)))?;
        Ok(Self {
            name,
            inner,
            size: (320, 320),
        })
    }

    /// Faces of an interleaved BGR picture: rows of 15 numbers.
    ///
    /// # Errors
    /// [`BackendError::Run`], [`BackendError::Shape`].
    pub fn detect(&mut self, bgr: &[u8], width: usize, height: usize, threshold: f32) -> Result<Vec<f32>, BackendError> {
        let name = self.name;
        let failed = |e: opencv::Error| BackendError::Run {
            model: name.to_owned(),
            why: e.message,
        };
        let side = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        if self.size != (width, height) {
            self.inner.set_input_size(Size::new(side(width), side(height))).map_err(failed)?;
            self.size = (width, height);
        }
        self.inner.set_score_threshold(threshold).map_err(failed)?;
        let flat = Mat::from_slice(bgr).map_err(failed)?;
        let picture = flat.reshape(3, side(height)).map_err(failed)?;
        let mut faces = Mat::default();
        self.inner.detect(&picture, &mut faces).map_err(failed)?;
        if faces.empty() {
            return Ok(Vec::new());
        }
        if faces.cols() != 15 || faces.typ() != opencv::core::CV_32FC1 {
            return Err(BackendError::Shape {
                model: name.to_owned(),
                output: "faces".to_owned(),
                expected: "float32 [n, 15]".to_owned(),
                got: format!("type {} [{}, {}]", faces.typ(), faces.rows(), faces.cols()),
            });
        }
        Ok(faces.data_typed::<f32>().map_err(failed)?.to_vec())
    }
}
