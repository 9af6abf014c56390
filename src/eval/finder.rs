//! A detector that the engine does not use: SSD on MobileNet v1, as its manifest entry says. It finds faces that the
//! engine's own detectors are blind to, which is what an evaluation by CenterFace alone could never show.
//!
//! | | |
//! |---|---|
//! | input | the picture, longer side 512 px, in the upper left corner of a black square; RGB, `(v − mean)/std` |
//! | output | boxes as shares of the square and scores of all anchors; those of at least `score_default` count, suppressed at an overlap of [`IOU`] |
//! | thorough look | also four overlapping tiles, where the picture is larger than the input |
//! | errors | another shape than the entry says, numbers that are none |
//!
//! Optional as all held-out networks are: without an entry of the role `detector` there is none.

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout, crop_affine};

use super::EvalError;
use crate::backend::{Backend, BackendError, Session, first_not_finite};
use crate::frame::{Affine, BoxPx, FrameView};
use crate::stages::detect::{Detection, Effort, suppress};

/// Overlap from which the better of two boxes counts.
const IOU: f32 = 0.5;
/// Side of a tile as a share of the picture's.
const TILE_SHARE: f32 = 0.6;
/// Largest input side taken, px.
const MAX_SIDE_PX: usize = 1024;

/// Finds faces, held out.
#[derive(Debug)]
pub struct Finder {
    name: String,
    session: Session,
    side: usize,
    anchors: usize,
    min_score: f32,
    mean: f32,
    std: f32,
    crop: Vec<f32>,
}

impl Finder {
    /// Loads the first held-out detector of the manifest; `None` where it has none.
    ///
    /// # Errors
    /// A file that is missing or altered, an entry of another form.
    pub fn open(held_out: &Backend) -> Result<Option<Self>, EvalError> {
        let entries = held_out.models().entries();
        let Some(entry) = entries.iter().find(|e| e.role == "detector" && e.held_out == Some(true)) else {
            return Ok(None);
        };
        let shape = |specs: &[crate::backend::TensorSpec], at: usize| specs.get(at).map(|s| s.shape.clone()).unwrap_or_default();
        let input = shape(&entry.input, 0);
        let sizes = match (
            input.as_slice(),
            shape(&entry.output, 0).as_slice(),
            shape(&entry.output, 1).as_slice(),
        ) {
            ([_, h, w, 3], [_, n, 4], [_, m]) if h == w && n == m => usize::try_from(*h).ok().zip(usize::try_from(*n).ok()),
            _ => None,
        };
        let Some((side @ 32..=MAX_SIDE_PX, anchors @ 1..)) = sizes else {
            return Err(EvalError::Input {
                what: format!("detector {}: shapes", entry.name),
                expected: "an input of squares with 3 channels, outputs boxes of n × 4 and scores of n".to_owned(),
                got: format!("{input:?}"),
                remedy: format!(
                    "correct the entry in {}",
                    held_out.models().folder().join("manifest.toml").display()
                ),
            });
        };
        let of = |list: Option<&Vec<f32>>, or: f32| list.and_then(|l| l.first()).copied().unwrap_or(or);
        Ok(Some(Self {
            name: entry.name.clone(),
            session: held_out.session(&entry.name)?,
            side,
            anchors,
            min_score: entry.score_default.unwrap_or(0.5),
            mean: of(entry.input[0].mean.as_ref(), 0.0),
            std: of(entry.input[0].std.as_ref(), 1.0),
            crop: Vec::new(),
        }))
    }

    /// Its name in the manifest.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Faces of a frame, the surest first, without landmarks.
    ///
    /// # Errors
    /// The network fails or gives numbers that are none.
    pub fn detect(&mut self, frame: &FrameView<'_>, effort: Effort) -> Result<Vec<Detection>, EvalError> {
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let mut found = self.look(frame, [0.0, 0.0], width, height)?;
        if effort == Effort::Thorough && width.max(height) > self.side as f32 {
            let (w, h) = (width * TILE_SHARE, height * TILE_SHARE);
            for left in [0.0, width - w] {
                for top in [0.0, height - h] {
                    found.extend(self.look(frame, [left, top], w, h)?);
                }
            }
        }
        Ok(suppress(found, IOU))
    }

    /// One run on a part of the frame, px.
    fn look(&mut self, frame: &FrameView<'_>, [left, top]: [f32; 2], width: f32, height: f32) -> Result<Vec<Detection>, EvalError> {
        let side = self.side;
        let scale = width.max(height) / side as f32;
        let across = ((width / scale).round() as usize).clamp(1, side);
        let down = ((height / scale).round() as usize).clamp(1, side);
        let spec = CropSpec {
            width: across,
            height: down,
            layout: Layout::Nhwc,
            order: ChannelOrder::Rgb,
            scale: 1.0 / self.std,
            bias: -self.mean / self.std,
        };
        self.crop.resize(across * down * 3, 0.0);
        crop_affine(frame, &Affine::scale_shift(scale, scale, left, top), &spec, &mut self.crop)?;
        let tensor = self.session.input(&[1, side, side, 3])?;
        tensor.fill(-self.mean / self.std);
        for (row, line) in tensor.chunks_exact_mut(side * 3).zip(self.crop.chunks_exact(across * 3)) {
            row[..across * 3].copy_from_slice(line);
        }
        self.session.run()?;
        let boxes = self.session.output(0, &[1, self.anchors, 4])?;
        let scores = self.session.output(1, &[1, self.anchors])?;
        if let Some(at) = first_not_finite(boxes).or(first_not_finite(scores)) {
            return Err(BackendError::Run {
                model: self.name.clone(),
                why: format!("expected finite numbers, got others at {at}"),
            }
            .into());
        }
        let px = scale * side as f32;
        let faces = boxes.chunks_exact(4).zip(scores).filter(|(_, score)| **score >= self.min_score);
        Ok(faces
            .map(|(b, score)| Detection {
                box_px: BoxPx {
                    x0: left + b[1] * px,
                    y0: top + b[0] * px,
                    x1: left + b[3] * px,
                    y1: top + b[2] * px,
                }
                .clipped(frame.width(), frame.height()),
                score: *score,
                landmarks: None,
            })
            .filter(|d| d.box_px.is_valid())
            .collect())
    }
}
