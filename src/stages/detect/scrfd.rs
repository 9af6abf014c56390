//! SCRFD (Guo et al. 2021) from a file that the user brings: scores, box distances and, where
//! exported, five points on strides 8, 16 and 32 with two anchors a cell.
//!
//! | output of stride s, input h×w, n = 2·(h/s)·(w/s) | shape | meaning |
//! |---|---|---|
//! | score | n×1, or 1×n×1 | probability |
//! | box | n×4 | left, top, right, bottom distance from the cell's corner, in strides |
//! | points | n×10 | x0 y0 … x4 y4 from the cell's corner, in strides |
//!
//! Input: RGB `(v − 127.5)/128`, NCHW; 640×640 where the file leaves the size free. Outputs are told
//! apart by shape, as names differ between exports; six (no points) or nine are accepted.
//!
//! Checked on synthetic tensors only: no such file may come with this project.

use std::path::Path;

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout};

use super::boxes::suppress;
use super::view::{View, whole};
use super::{DetectError, Detection, Detector, Effort, all_finite, of_backend, of_crops};
use crate::backend::{Backend, BackendError, Session};
use crate::frame::{BoxPx, FrameView, Landmarks5};

const NAME: &str = "scrfd";
const STRIDES_PX: [usize; 3] = [8, 16, 32];
const ANCHORS_A_CELL: usize = 2;
const NMS_IOU: f32 = 0.4;
/// Input side where the file leaves it free, px.
const FREE_SIDE_PX: usize = 640;
/// Largest fixed input side accepted, px.
const MAX_SIDE_PX: usize = 2048;
/// Input side of a glance where the size is free, px.
const GLANCE_SIDE_PX: usize = 320;

/// The detector.
#[derive(Debug)]
pub struct Scrfd {
    session: Session,
    fixed: Option<(usize, usize)>,
}

impl Scrfd {
    /// Loads the user's file.
    ///
    /// # Errors
    /// [`BackendError`]: unreadable file, or a graph that is no SCRFD.
    pub fn open(backend: &Backend, file: &Path) -> Result<Self, BackendError> {
        let session = backend.session_from_file(NAME, file)?;
        let wrong = |why: String| BackendError::Model {
            name: NAME.to_owned(),
            path: file.display().to_string(),
            why,
            remedy: "use an SCRFD export with strides 8, 16, 32 and two anchors a cell".to_owned(),
        };
        let outputs = session.output_names().len();
        if outputs != 6 && outputs != 9 {
            return Err(wrong(format!("expected 6 or 9 outputs, got {outputs}")));
        }
        let fixed = input_size(&session.declared_input()).map_err(wrong)?;
        Ok(Self { session, fixed })
    }

    fn look(
        &mut self,
        frame: &FrameView<'_>,
        region_px: &BoxPx,
        threshold: f32,
        free_side_px: usize,
    ) -> Result<Vec<Detection>, DetectError> {
        let (width, height) = self.fixed.unwrap_or((free_side_px, free_side_px));
        let view = View::letterbox(region_px, width, height);
        let spec = CropSpec {
            width: 0,
            height: 0,
            layout: Layout::Nchw,
            order: ChannelOrder::Rgb,
            scale: 1.0 / 128.0,
            bias: -127.5 / 128.0,
        };
        let backend = of_backend(NAME);
        view.show(frame, &spec, &mut self.session).map_err(of_crops(NAME))?;
        self.session.run().map_err(&backend)?;
        let mut outputs = Vec::with_capacity(9);
        for index in 0..self.session.output_names().len() {
            outputs.push(self.session.output_any(index).map_err(&backend)?);
        }
        let found = decode(&outputs, width, height, threshold)?;
        Ok(suppress(found, NMS_IOU).into_iter().map(|d| view.to_frame(d)).collect())
    }
}

impl Detector for Scrfd {
    fn name(&self) -> &'static str {
        NAME
    }

    /// `Thorough` adds a look at each half-overlapping quarter of the frame.
    fn detect(&mut self, frame: &FrameView<'_>, threshold: f32, effort: Effort) -> Result<Vec<Detection>, DetectError> {
        let all = whole(frame);
        let side = if effort == Effort::Glance { GLANCE_SIDE_PX } else { FREE_SIDE_PX };
        let mut found = self.look(frame, &all, threshold, side)?;
        if effort == Effort::Thorough {
            let (w, h) = (all.x1 / 2.0, all.y1 / 2.0);
            for (column, row) in (0..9).map(|i| (i % 3, i / 3)) {
                let (x0, y0) = (column as f32 * w / 2.0, row as f32 * h / 2.0);
                found.extend(self.look(
                    frame,
                    &BoxPx {
                        x0,
                        y0,
                        x1: x0 + w,
                        y1: y0 + h,
                    },
                    threshold,
                    side,
                )?);
            }
        }
        Ok(suppress(found, NMS_IOU))
    }

    fn detect_in(&mut self, frame: &FrameView<'_>, region_px: BoxPx, threshold: f32) -> Result<Vec<Detection>, DetectError> {
        if !region_px.is_valid() {
            return Ok(Vec::new());
        }
        self.look(frame, &region_px, threshold, GLANCE_SIDE_PX)
    }
}

/// Fixed width and height of a declared input, or `None` where both are free.
fn input_size(shape: &[i64]) -> Result<Option<(usize, usize)>, String> {
    let side = |d: i64| usize::try_from(d).ok().filter(|s| (32..=MAX_SIDE_PX).contains(s) && s % 32 == 0);
    match *shape {
        [_, 3, h, w] if h < 1 && w < 1 => Ok(None),
        [_, 3, h, w] => match (side(h), side(w)) {
            (Some(h), Some(w)) => Ok(Some((w, h))),
            _ => Err(format!(
                "input: expected sides of 32 to {MAX_SIDE_PX} px in steps of 32, got {shape:?}"
            )),
        },
        _ => Err(format!("input: expected [n, 3, height, width], got {shape:?}")),
    }
}

/// All anchors of at least `threshold` as detections in network px, not yet suppressed.
fn decode(outputs: &[(Vec<i64>, &[f32])], width: usize, height: usize, threshold: f32) -> Result<Vec<Detection>, DetectError> {
    let bad = |what: String| DetectError::BadOutput { detector: NAME, what };
    let find = |anchors: usize, values: usize| {
        outputs
            .iter()
            .find(|(shape, data)| shape.last() == Some(&(values as i64)) && data.len() == anchors * values)
            .map(|(_, data)| *data)
    };
    let with_points = outputs.len() == 9;
    let mut found = Vec::new();
    for stride in STRIDES_PX {
        let (rows, columns) = (height / stride, width / stride);
        let anchors = rows * columns * ANCHORS_A_CELL;
        let need = |values: usize, name: &str| {
            find(anchors, values).ok_or_else(|| {
                bad(format!(
                    "stride {stride}: expected {name} of shape [{anchors}, {values}], got {:?}",
                    outputs.iter().map(|(s, _)| s).collect::<Vec<_>>()
                ))
            })
        };
        let scores = need(1, "scores")?;
        let boxes = need(4, "boxes")?;
        let points = if with_points { Some(need(10, "points")?) } else { None };
        for (name, data) in [("scores", scores), ("boxes", boxes), ("points", points.unwrap_or(&[]))] {
            all_finite(NAME, name, data)?;
        }
        let step = stride as f32;
        for (anchor, &score) in scores.iter().enumerate() {
            if !(-1e-3..=1.001).contains(&score) {
                return Err(bad(format!("scores: expected a probability, got {score}")));
            }
            if score < threshold {
                continue;
            }
            let cell = anchor / ANCHORS_A_CELL;
            let at = [(cell % columns) as f32 * step, (cell / columns) as f32 * step];
            let d = |i: usize| boxes[anchor * 4 + i] * step;
            let box_px = BoxPx {
                x0: at[0] - d(0),
                y0: at[1] - d(1),
                x1: at[0] + d(2),
                y1: at[1] + d(3),
            };
            // Upside-down or empty: two negative distances would otherwise pass as a small box.
            if !box_px.is_valid() || box_px.x1 <= box_px.x0 || box_px.y1 <= box_px.y0 {
                return Err(bad(format!("box: expected a positive size, got {box_px:?}")));
            }
            let landmarks = points.map(|p| {
                Landmarks5(std::array::from_fn(|i| {
                    [at[0] + p[anchor * 10 + 2 * i] * step, at[1] + p[anchor * 10 + 2 * i + 1] * step]
                }))
            });
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
    use super::{decode, input_size};
    use crate::frame::BoxPx;
    use crate::stages::detect::DetectError;

    type Tensors = Vec<(Vec<i64>, Vec<f32>)>;

    /// Outputs for a 64×32 input with one face at stride 16, row 1, column 2, second anchor.
    fn one_face() -> Tensors {
        let mut all = Vec::new();
        for values in [1_usize, 4, 10] {
            for stride in [8_usize, 16, 32] {
                let n = (64 / stride) * (32 / stride) * 2;
                let mut data = vec![0.0; n * values];
                if stride == 16 {
                    let anchor = (4 + 2) * 2 + 1;
                    match values {
                        1 => data[anchor] = 0.75,
                        4 => data[anchor * 4..anchor * 4 + 4].copy_from_slice(&[1.0, 0.5, 0.5, 1.0]),
                        _ => data[anchor * 10] = -0.5,
                    }
                }
                all.push((vec![n as i64, values as i64], data));
            }
        }
        all
    }

    fn run(tensors: &Tensors) -> Result<Vec<crate::stages::detect::Detection>, DetectError> {
        let views: Vec<(Vec<i64>, &[f32])> = tensors.iter().map(|(s, d)| (s.clone(), d.as_slice())).collect();
        decode(&views, 64, 32, 0.5)
    }

    #[test]
    fn an_anchor_becomes_its_box_and_points() {
        let found = run(&one_face()).expect("good outputs");
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].box_px,
            BoxPx {
                x0: 16.0,
                y0: 8.0,
                x1: 40.0,
                y1: 32.0
            }
        );
        let points = found[0].landmarks.expect("points").0;
        assert_eq!((points[0], points[1]), ([24.0, 16.0], [32.0, 16.0]));
    }

    #[test]
    fn outputs_may_come_in_any_order_and_without_points() {
        let mut shuffled = one_face();
        shuffled.reverse();
        assert_eq!(run(&shuffled).expect("good"), run(&one_face()).expect("good"));
        let six: Tensors = one_face().into_iter().take(6).collect();
        assert_eq!(run(&six).expect("good")[0].landmarks, None);
    }

    #[test]
    fn bad_numbers_and_shapes_are_refused() {
        let bad = |change: &dyn Fn(&mut Tensors)| {
            let mut tensors = one_face();
            change(&mut tensors);
            assert!(matches!(run(&tensors), Err(DetectError::BadOutput { .. })));
        };
        bad(&|t| t[0].1[0] = f32::NAN);
        bad(&|t| t[1].1[0] = 2.0);
        bad(&|t| t[4].1[13 * 4] = -3.0);
        bad(&|t| t[8].1[3] = f32::INFINITY);
        bad(&|t| {
            t[4].1.pop();
        });
    }

    #[test]
    fn only_sizes_that_strides_divide_are_taken() {
        assert_eq!(input_size(&[1, 3, -1, -1]), Ok(None));
        assert_eq!(input_size(&[1, 3, 480, 640]), Ok(Some((640, 480))));
        assert!(input_size(&[1, 3, 100, 640]).is_err());
        assert!(input_size(&[1, 640, 640, 3]).is_err());
    }
}
