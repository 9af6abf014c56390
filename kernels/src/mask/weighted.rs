//! Weights on a square of their own → coverage of the frame: where a finished picture is shown, and how much.
//!
//! | | |
//! |---|---|
//! | input | `side·side` weights 0–1; maps between the square's px and frame px, pixel centres at integer + 0.5 |
//! | rectangle | whole pixels around the square's corners, inside the frame |
//! | value | `⌊255·w + 0.5⌋` of the bilinear weight where the pixel's centre lies inside the square, else 0 |
//! | errors | a side of 0 or above 32768, another number of weights, a map that no operator takes: [`KernelError::Argument`] |
//! | tolerance | the fast path walks along a row by addition: 1 of 255 against [`super::reference::weighted`] |

use super::{Rect, RegionMask};
use crate::KernelError;
use crate::affine::Affine;
use crate::image::MAX_SIDE_PX;
use crate::tile::check_map;

/// A square of weights and where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// Row-major, `side·side`.
    pub values: &'a [f32],
    /// Side, px.
    pub side: usize,
    /// From the square's px to frame px.
    pub frame_from_square: Affine,
    /// Its inverse.
    pub square_from_frame: Affine,
}

impl Weights<'_> {
    pub(crate) fn check(&self, op: &'static str) -> Result<(), KernelError> {
        let argument = |what, expected: String, got: String| Err(KernelError::Argument { op, what, expected, got });
        if !(1..=MAX_SIDE_PX as usize).contains(&self.side) {
            return argument("side", format!("1..={MAX_SIDE_PX} px"), self.side.to_string());
        }
        let len = self.side * self.side;
        if self.values.len() != len {
            return argument(
                "weights",
                format!("{len} for a side of {}", self.side),
                self.values.len().to_string(),
            );
        }
        check_map(op, "frame_from_square", &self.frame_from_square)?;
        check_map(op, "square_from_frame", &self.square_from_frame)
    }

    /// The rectangle of the frame around the square; `None` where it lies outside.
    pub(crate) fn rect(&self, width: u32, height: u32) -> Option<Rect> {
        square_rect(self.side, &self.frame_from_square, width, height)
    }

    /// Bilinear weight at a position of the square, border replicated.
    pub(super) fn at(&self, p: [f32; 2]) -> f32 {
        let last = self.side as f32 - 1.0;
        let (x, y) = ((p[0] - 0.5).clamp(0.0, last), (p[1] - 0.5).clamp(0.0, last));
        let (x0, y0) = (x as usize, y as usize);
        let (x1, y1) = ((x0 + 1).min(self.side - 1), (y0 + 1).min(self.side - 1));
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let texel = |x: usize, y: usize| self.values.get(y * self.side + x).copied().unwrap_or(0.0);
        let (a, b, c, d) = (texel(x0, y0), texel(x1, y0), texel(x0, y1), texel(x1, y1));
        let (top, bottom) = (a + (b - a) * fx, c + (d - c) * fx);
        top + (bottom - top) * fy
    }

    pub(super) fn holds(&self, p: [f32; 2]) -> bool {
        let side = self.side as f32;
        p[0] > 0.0 && p[1] > 0.0 && p[0] < side && p[1] < side
    }
}

/// The rectangle of the frame around a square of `side` px; `None` where it lies outside.
pub(crate) fn square_rect(side: usize, frame_from_square: &Affine, width: u32, height: u32) -> Option<Rect> {
    let side = side as f32;
    let corners = [[0.0, 0.0], [side, 0.0], [0.0, side], [side, side]].map(|c| frame_from_square.apply(c));
    let least = |i: usize| corners.iter().fold(f32::INFINITY, |m, c| m.min(c[i])).floor().max(0.0);
    let most = |i: usize, end: u32| corners.iter().fold(f32::NEG_INFINITY, |m, c| m.max(c[i])).ceil().min(end as f32);
    let (x0, y0, x1, y1) = (least(0), least(1), most(0, width), most(1, height));
    (x1 > x0 && y1 > y0).then_some(Rect {
        x: x0 as i32,
        y: y0 as i32,
        width: (x1 - x0) as u32,
        height: (y1 - y0) as u32,
    })
}

impl RegionMask {
    /// Coverage by a square of weights, into the buffer of an earlier mask. `Ok(false)`: the square lies
    /// outside the frame, and the mask is empty.
    ///
    /// # Errors
    /// [`KernelError::Argument`] as the table above says; the mask is then empty.
    pub fn weighted_into(&mut self, weights: &Weights<'_>, frame_width: u32, frame_height: u32) -> Result<bool, KernelError> {
        self.clear();
        weights.check("RegionMask::weighted")?;
        let Some(rect) = weights.rect(frame_width, frame_height) else {
            return Ok(false);
        };
        (self.x, self.y, self.width, self.height) = (rect.x, rect.y, rect.width, rect.height);
        self.alpha.resize(rect.width as usize * rect.height as usize, 0);
        if crate::reference_forced() {
            super::reference::weighted(self, weights);
        } else {
            fill(self, weights);
        }
        Ok(true)
    }
}

fn fill(mask: &mut RegionMask, weights: &Weights<'_>) {
    let map = &weights.square_from_frame;
    let (x0, y0) = (mask.x as f32, mask.y as f32);
    for (y, row) in mask.alpha.chunks_exact_mut((mask.width as usize).max(1)).enumerate() {
        let mut p = map.apply([x0 + 0.5, y0 + y as f32 + 0.5]);
        for a in row {
            if weights.holds(p) {
                *a = (weights.at(p) * 255.0 + 0.5) as u8;
            }
            p = [p[0] + map.m[0], p[1] + map.m[3]];
        }
    }
}
