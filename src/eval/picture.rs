//! Figures on pixels: sharpness, background, warp error. Computed in float on luma (BT.709 weights).
//!
//! | figure | definition |
//! |---|---|
//! | sharpness | variance of the 4-neighbour Laplacian inside the source's face oval shrunk to [`INNER`], at the frame's own scale up to [`MAX_SIDE_PX`] |
//! | background | absolute difference of 8-bit samples outside every face's box grown by [`BACKGROUND_GROWTH`]: largest and mean |
//! | changed share | of [`CELLS`]² cells of a face's window, how many differ by more than [`CHANGED_LEVELS`] in the mean: a lower bound of what was covered, since a flat cover on a flat cheek differs little |
//! | warp error | optical flow (DIS) of the source from frame i to i+1; mean of |output(i+1) brought back by it − output(i)| over pixels of the oval that forward and backward flow agree on; the source's own beside it |

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout, crop_affine};
use nullface_kernels::mask::RegionMask;
use opencv::core::{self, Mat, Point2f, Scalar};
use opencv::imgproc;
use opencv::prelude::*;

use super::EvalError;
use crate::frame::{Affine, BoxPx, FrameView, Mesh};
use crate::stages::align::{Flow, oval_polygon};

/// Share of the oval that sharpness is taken of: the rim is where faces are blended in.
pub const INNER: f32 = 0.8;
/// Cells a side that a face's window is cut in to see how much of it was changed.
pub const CELLS: usize = 12;
/// Mean difference from which a cell counts as changed, levels of 255: encoders stay under it.
pub const CHANGED_LEVELS: f32 = 2.5;
/// Largest window, px; larger faces are reduced to it, source and output alike.
pub const MAX_SIDE_PX: usize = 384;
/// Window of the warp error at most, px.
const FLOW_SIDE_PX: usize = 192;
/// How far around a face the background begins. Covers reach 1.25 × the box and a feather; encoders smear further.
pub const BACKGROUND_GROWTH: f32 = 1.8;
/// Largest disagreement of forward and backward flow on a visible pixel, px.
const MAX_DISAGREEMENT_PX: f32 = 1.0;
/// Smallest share of the oval that must be visible.
const MIN_VISIBLE: f32 = 0.3;

/// A square of the frame about a face, as luma 0–255.
#[derive(Debug, Clone)]
pub struct Window {
    side: usize,
    frame_from_window: Affine,
}

impl Window {
    /// Side, px.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// About a face's box, at the frame's scale up to a side.
    #[must_use]
    pub fn around(box_px: &BoxPx, growth: f32, max_side: usize) -> Option<Self> {
        let wanted = box_px.side() * growth;
        if !box_px.is_valid() || !wanted.is_finite() || wanted < 8.0 {
            return None;
        }
        let side = (wanted.round() as usize).clamp(8, max_side);
        let scale = wanted / side as f32;
        let [cx, cy] = box_px.center();
        Some(Self {
            side,
            frame_from_window: Affine::scale_shift(scale, scale, cx - wanted / 2.0, cy - wanted / 2.0),
        })
    }

    /// For warp errors.
    #[must_use]
    pub fn for_flow(box_px: &BoxPx) -> Option<Self> {
        Self::around(box_px, 1.3, FLOW_SIDE_PX)
    }

    /// Luma of the window, row-major.
    ///
    /// # Errors
    /// The frame cannot be read.
    pub fn luma(&self, frame: &FrameView<'_>) -> Result<Vec<f32>, EvalError> {
        let spec = CropSpec {
            width: self.side,
            height: self.side,
            layout: Layout::Nhwc,
            order: ChannelOrder::Rgb,
            scale: 1.0,
            bias: 0.0,
        };
        let mut rgb = vec![0.0; self.side * self.side * 3];
        crop_affine(frame, &self.frame_from_window, &spec, &mut rgb)?;
        Ok(rgb.chunks_exact(3).map(|p| 0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2]).collect())
    }

    /// Pixels of the window inside a mesh's oval.
    #[must_use]
    pub fn inside(&self, mesh: &Mesh, share: f32) -> Option<Vec<bool>> {
        let window_from_frame = self.frame_from_window.inverse()?;
        let polygon: Vec<[f32; 2]> = oval_polygon(mesh, share)?.iter().map(|p| window_from_frame.apply(*p)).collect();
        let side = u32::try_from(self.side).ok()?;
        let mask = RegionMask::polygon(&polygon, 0.0, side, side)?;
        let mut inside = vec![false; self.side * self.side];
        for y in 0..mask.height as usize {
            for x in 0..mask.width as usize {
                let at = (mask.y as usize + y) * self.side + mask.x as usize + x;
                inside[at] = mask.alpha[y * mask.width as usize + x] == 255;
            }
        }
        Some(inside)
    }

    /// Variance of the Laplacian over the pixels chosen; `None` of fewer than 50.
    #[must_use]
    pub fn laplacian_variance(&self, luma: &[f32], inside: &[bool]) -> Option<f64> {
        let s = self.side;
        let (mut n, mut sum, mut squares) = (0.0_f64, 0.0_f64, 0.0_f64);
        for y in 1..s.saturating_sub(1) {
            for x in 1..s - 1 {
                let at = y * s + x;
                if inside[at] {
                    let v = f64::from(luma[at - 1] + luma[at + 1] + luma[at - s] + luma[at + s] - 4.0 * luma[at]);
                    (n, sum, squares) = (n + 1.0, sum + v, squares + v * v);
                }
            }
        }
        (n >= 50.0).then(|| squares / n - (sum / n).powi(2))
    }
}

/// Variance of the Laplacian in the source's oval, in source and output.
///
/// # Errors
/// A frame cannot be read.
pub fn sharpness(source: &FrameView<'_>, mesh: &Mesh, output: &FrameView<'_>) -> Result<Option<(f64, f64)>, EvalError> {
    let window = mesh.bounding_box_px().and_then(|b| Window::around(&b, 1.1, MAX_SIDE_PX));
    let Some((window, inside)) = window.and_then(|w| w.inside(mesh, INNER).map(|i| (w, i))) else {
        return Ok(None);
    };
    let own = window.laplacian_variance(&window.luma(source)?, &inside);
    let theirs = window.laplacian_variance(&window.luma(output)?, &inside);
    Ok(own.zip(theirs))
}

/// Difference outside the faces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Background {
    /// Largest absolute difference of a sample.
    pub max: u8,
    /// Mean absolute difference of samples.
    pub mean: f64,
    /// Share of the frame that counted as background.
    pub share: f64,
}

/// Compares two packed RGB pictures of one size outside the faces. `None` where nothing is outside.
#[must_use]
pub fn background(source: &[u8], output: &[u8], width: usize, faces: &[BoxPx]) -> Option<Background> {
    let grown: Vec<BoxPx> = faces.iter().map(|b| b.scaled(BACKGROUND_GROWTH)).collect();
    let (mut max, mut sum, mut n) = (0_u8, 0_u64, 0_u64);
    let rows = source.chunks_exact(width * 3).zip(output.chunks_exact(width * 3));
    let mut all = 0_u64;
    for (y, (a, b)) in rows.enumerate() {
        all += width as u64;
        let y = y as f32 + 0.5;
        let here: Vec<(f32, f32)> = grown.iter().filter(|g| g.y0 <= y && y <= g.y1).map(|g| (g.x0, g.x1)).collect();
        for (x, (p, q)) in a.chunks_exact(3).zip(b.chunks_exact(3)).enumerate() {
            let at = x as f32 + 0.5;
            if here.iter().any(|(x0, x1)| *x0 <= at && at <= *x1) {
                continue;
            }
            n += 1;
            for (u, v) in p.iter().zip(q) {
                let d = u.abs_diff(*v);
                max = max.max(d);
                sum += u64::from(d);
            }
        }
    }
    (n > 0).then(|| Background {
        max,
        mean: sum as f64 / (n * 3) as f64,
        share: n as f64 / all as f64,
    })
}

/// Luma of source and output in one window, of one frame.
#[derive(Debug, Clone)]
pub struct Luma {
    /// Source.
    pub source: Vec<f32>,
    /// Output.
    pub output: Vec<f32>,
}

/// Warp errors of the output and of the source, in levels of 255. `None` where too little is visible in
/// both frames.
///
/// # Errors
/// OpenCV refuses.
pub fn warp_error(window: &Window, inside: &[bool], now: &Luma, next: &Luma) -> Result<Option<(f64, f64)>, EvalError> {
    let failed = |e: opencv::Error| EvalError::Vision {
        what: "optical flow",
        why: e.message,
    };
    let side = window.side;
    let (here, there) = (levels(&now.source), levels(&next.source));
    let mut flow = Flow::default();
    let forward = flow.between(&here, &there, side)?.to_vec();
    let backward = flow.between(&there, &here, side)?;
    let mut map = vec![Point2f::default(); side * side];
    for (at, to) in map.iter_mut().enumerate() {
        let f = forward[at];
        *to = Point2f::new((at % side) as f32 + f[0], (at / side) as f32 + f[1]);
    }
    let output = remapped(&next.output, &map, side).map_err(failed)?;
    let source = remapped(&next.source, &map, side).map_err(failed)?;
    let (mut n, mut chosen, mut theirs, mut own) = (0_usize, 0_usize, 0.0_f64, 0.0_f64);
    for (at, to) in map.iter().enumerate().filter(|(at, _)| inside[*at]) {
        chosen += 1;
        let (x, y) = (to.x.round(), to.y.round());
        if x < 0.0 || y < 0.0 || x >= side as f32 || y >= side as f32 {
            continue;
        }
        let back = backward[y as usize * side + x as usize];
        if (forward[at][0] + back[0]).hypot(forward[at][1] + back[1]) > MAX_DISAGREEMENT_PX {
            continue;
        }
        n += 1;
        theirs += f64::from((output[at] - now.output[at]).abs());
        own += f64::from((source[at] - now.source[at]).abs());
    }
    let enough = chosen > 0 && n as f32 >= MIN_VISIBLE * chosen as f32;
    Ok(enough.then(|| (theirs / n as f64, own / n as f64)))
}

fn levels(luma: &[f32]) -> Vec<u8> {
    luma.iter().map(|v| v.clamp(0.0, 255.0).round() as u8).collect()
}

fn remapped(luma: &[f32], map: &[Point2f], side: usize) -> opencv::Result<Vec<f32>> {
    let side = side as i32;
    let from = Mat::new_rows_cols_with_data(side, side, luma)?;
    let map = Mat::new_rows_cols_with_data(side, side, map)?;
    let mut out = Mat::default();
    imgproc::remap(
        &from,
        &mut out,
        &map,
        &Mat::default(),
        imgproc::INTER_LINEAR,
        core::BORDER_REPLICATE,
        Scalar::all(0.0),
    )?;
    Ok(out.data_typed::<f32>()?.to_vec())
}

/// Share of the cells of a square window whose luma was changed; 0 where there is nothing to compare.
#[must_use]
pub fn changed_share(source: &[f32], output: &[f32], side: usize) -> f64 {
    let (mut sums, mut counts) = ([0.0_f32; CELLS * CELLS], [0_u16; CELLS * CELLS]);
    for (i, (a, b)) in source.iter().zip(output).enumerate().take(side * side) {
        let cell = (i / side) * CELLS / side * CELLS + (i % side) * CELLS / side;
        sums[cell] += (a - b).abs();
        counts[cell] += 1;
    }
    let filled = counts.iter().filter(|n| **n > 0).count();
    let changed = sums
        .iter()
        .zip(counts)
        .filter(|(s, n)| **s > CHANGED_LEVELS * f32::from(*n))
        .count();
    changed as f64 / filled.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::rgb_view;

    fn pattern(width: usize, height: usize, shift: f32, noise: u32) -> Vec<u8> {
        let mut state = 12345_u32;
        (0..width * height)
            .flat_map(|at| {
                let (x, y) = ((at % width) as f32 - shift, (at / width) as f32);
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let n = ((state >> 16) % (noise + 1)) as f32;
                let v = (128.0 + 50.0 * (x / 7.0).sin() * (y / 9.0).cos() + 30.0 * (x / 23.0 + y / 17.0).sin() + n) as u8;
                [v, v, v]
            })
            .collect()
    }

    fn face() -> (BoxPx, Mesh) {
        let mesh = crate::eval::shape::tests::mesh();
        let points_px = (0..crate::frame::MESH_POINTS).map(|i| mesh.points_px[i]).collect();
        let mut mesh = Mesh { points_px, ..mesh };
        for (k, i) in crate::stages::align::FACE_OVAL.iter().enumerate() {
            let a = k as f32 / 36.0 * std::f32::consts::TAU;
            mesh.points_px[*i] = [200.0 + 70.0 * a.sin(), 200.0 - 70.0 * a.cos()];
        }
        (BoxPx::around([200.0, 200.0], 150.0, 150.0), mesh)
    }

    #[test]
    fn the_changed_share_counts_what_is_covered_and_not_what_an_encoder_does() {
        let side = 50;
        let source: Vec<f32> = (0..side * side).map(|i| (i % 97) as f32).collect();
        let noisy: Vec<f32> = source.iter().enumerate().map(|(i, v)| v + [1.5, -1.5][i % 2]).collect();
        assert_eq!(changed_share(&source, &noisy, side), 0.0);
        let half: Vec<f32> = source
            .iter()
            .enumerate()
            .map(|(i, v)| if i < side * side / 2 { 128.0 } else { *v })
            .collect();
        let share = changed_share(&source, &half, side);
        assert!((0.45..0.6).contains(&share), "{share}");
        assert!(changed_share(&source, &vec![255.0; side * side], side) > 0.99);
        assert_eq!(changed_share(&[], &[], side), 0.0);
    }

    #[test]
    fn the_background_counts_every_pixel_outside_and_none_inside() {
        let source = pattern(400, 400, 0.0, 0);
        let (box_px, _) = face();
        let mut output = source.clone();
        for y in 140..260 {
            output[(y * 400 + 140) * 3..(y * 400 + 260) * 3].fill(0);
        }
        let same = background(&source, &output, 400, &[box_px]).expect("outside");
        assert_eq!((same.max, same.mean), (0, 0.0));
        assert!(same.share < 0.8 && same.share > 0.3, "{}", same.share);
        output[5] ^= 3;
        let moved = background(&source, &output, 400, &[box_px]).expect("outside");
        assert!(moved.max > 0 && moved.max <= 3 && moved.mean > 0.0);
        assert_eq!(background(&source, &output, 400, &[box_px.scaled(4.0)]), None);
    }

    #[test]
    fn what_moves_with_the_face_has_no_more_warp_error_than_the_source_and_flicker_has() {
        let (box_px, mesh) = face();
        let frames: Vec<Vec<u8>> = [0.0, 1.5].iter().map(|s| pattern(400, 400, *s, 0)).collect();
        let flicker: Vec<u8> = frames[1].iter().map(|v| v.saturating_add(20)).collect();
        let window = Window::for_flow(&box_px).expect("box");
        let inside = window.inside(&mesh, 1.0).expect("oval");
        assert!(inside.iter().filter(|i| **i).count() > 1000);
        let luma = |rgb: &[u8]| window.luma(&rgb_view(400, 400, rgb).expect("size")).expect("luma");
        let look = |next: &[u8]| {
            let now = Luma {
                source: luma(&frames[0]),
                output: luma(&frames[0]),
            };
            let next = Luma {
                source: luma(&frames[1]),
                output: luma(next),
            };
            warp_error(&window, &inside, &now, &next).expect("flow").expect("visible")
        };
        let (moves, own) = look(&frames[1]);
        assert!((moves - own).abs() < 1e-6 && own < 3.0, "{moves} {own}");
        let (flickers, _) = look(&flicker);
        assert!(flickers > own + 15.0, "{flickers} {own}");
    }

    #[test]
    fn a_blurred_face_is_less_sharp_and_the_background_does_not_count() {
        let (_, mesh) = face();
        let source = pattern(400, 400, 0.0, 40);
        let mut blurred = source.clone();
        for y in 120..280 {
            for x in 120..280 {
                for c in 0..3 {
                    let at = |dx: usize, dy: usize| u32::from(source[((y + dy - 1) * 400 + x + dx - 1) * 3 + c]);
                    let sum: u32 = (0..3)
                        .flat_map(|dy| (0..3).map(move |dx| (dx, dy)))
                        .map(|(dx, dy)| at(dx, dy))
                        .sum();
                    blurred[(y * 400 + x) * 3 + c] = (sum / 9) as u8;
                }
            }
        }
        let view = |rgb| rgb_view(400, 400, rgb).expect("size");
        let (own, theirs) = sharpness(&view(&source), &mesh, &view(&blurred)).expect("reads").expect("oval");
        assert!(theirs < 0.3 * own, "{theirs} {own}");
    }
}
