//! The cell grid: its geometry and the weights of its expansion, shared by reference and fast path.

use crate::image::ImageInfo;
use crate::mask::Rect;
use crate::packing::{Component, Packing};

/// Most cells a side, as an array length.
pub(super) const SIDE: usize = super::MAX_CELLS as usize;

/// Fractional bits of a spline weight.
pub(super) const WEIGHT_BITS: u32 = 10;

/// One axis of one component's grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// First sample of the rectangle.
    pub(super) start: usize,
    /// Samples of the rectangle.
    pub(super) len: usize,
    /// Cells, 1..=8.
    pub(super) cells: usize,
}

impl Axis {
    fn new(start: i32, len: u32, side: usize, shift: u32, cells: usize) -> Self {
        let start_px = start.max(0) as usize;
        let first = start_px >> shift;
        let end = (start_px + len as usize).div_ceil(1 << shift).min(side);
        let len = end.saturating_sub(first).max(1);
        Self {
            start: first,
            len,
            cells: cells.clamp(1, SIDE).min(len),
        }
    }

    /// First sample of a cell, from the rectangle's start.
    pub(super) fn edge(&self, cell: usize) -> usize {
        cell * self.len / self.cells
    }

    /// The cell that holds a sample (counted from the rectangle's start).
    pub(super) fn cell_of(&self, sample: usize) -> usize {
        (((sample + 1) * self.cells - 1) / self.len).min(self.cells - 1)
    }

    /// Three cells around a sample and their quadratic B-spline weights, which sum to 1 << [`WEIGHT_BITS`].
    pub(super) fn spline(&self, sample: usize) -> ([usize; 3], [u32; 3]) {
        let one = 1i64 << WEIGHT_BITS;
        let (cells, len) = (self.cells as i64, self.len as i64);
        // Position in cells, cell centres at integers.
        let u = ((2 * sample as i64 + 1) * cells * one / 2).div_euclid(len) - one / 2;
        let middle = (u + one / 2).div_euclid(one);
        let f = u - middle * one;
        let part = |v: i64| ((v * v) >> (WEIGHT_BITS + 1)) as u32;
        let (before, after) = (part(one / 2 - f), part(one / 2 + f));
        let cell = |i: i64| i.clamp(0, cells - 1) as usize;
        (
            [cell(middle - 1), cell(middle), cell(middle + 1)],
            [before, (one as u32) - before - after, after],
        )
    }
}

/// Grid of one component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// Columns.
    pub(super) x: Axis,
    /// Rows.
    pub(super) y: Axis,
}

impl Grid {
    /// The grids of all components over the mask's rectangle.
    pub(super) fn of(info: &ImageInfo, mask: Rect, cells: u32) -> [Self; 3] {
        let cells = cells.clamp(1, super::MAX_CELLS) as usize;
        let (w, h) = (mask.width.max(1) as usize, mask.height.max(1) as usize);
        let share = |side: usize| ((cells * side * 2 + w.max(h)) / (2 * w.max(h))).max(1);
        let (nx, ny) = (share(w), share(h));
        let grid = |c: &Component| {
            let (side_x, side_y) = c.size(info);
            Self {
                x: Axis::new(mask.x, mask.width, side_x, c.shift_x, nx),
                y: Axis::new(mask.y, mask.height, side_y, c.shift_y, ny),
            }
        };
        let [a, b, c] = &Packing::of(info.format).components;
        [grid(a), grid(b), grid(c)]
    }
}

/// Means of one component's cells, row-major with [`SIDE`] a row: all that is left of the pixels.
pub(super) type Means = [[u32; SIDE]; SIDE];

/// The smooth expansion at one sample.
pub(super) fn smooth(means: &Means, grid: &Grid, x: usize, y: usize) -> u32 {
    let ((ix, wx), (iy, wy)) = (grid.x.spline(x), grid.y.spline(y));
    let mut sum = 0;
    for (&j, &v) in iy.iter().zip(&wy) {
        for (&i, &u) in ix.iter().zip(&wx) {
            sum += means[j][i] * u * v;
        }
    }
    (sum + (1 << (2 * WEIGHT_BITS - 1))) >> (2 * WEIGHT_BITS)
}
