//! The fast path: rows at a time, expansion weights computed once a component.

use super::cells::{Axis, Grid, Means, SIDE, WEIGHT_BITS};
use crate::blend::{Source, apply};
use crate::color::Coder;
use crate::image::{Image, ImageMut};
use crate::mask::RegionMask;
use crate::packing::{Depth, Packing};

/// See [`super::solid`]; the mask has been checked.
pub(super) fn solid(image: &mut ImageMut<'_>, mask: &RegionMask, rgb: [u8; 3]) {
    struct Solid([i32; 3]);
    impl Source for Solid {
        fn fill(&self, component: usize, _: usize, _: usize, out: &mut [i32]) {
            out.fill(self.0[component]);
        }
    }
    let codes = Coder::new(image.info()).encode_codes(rgb);
    apply(image, mask, &Solid(codes.map(i32::from)));
}

/// See [`super::pixelate`]; the mask has been checked.
pub(super) fn pixelate(image: &mut ImageMut<'_>, mask: &RegionMask, cells: u32) {
    let grids = Grid::of(image.info(), mask.rect(), cells);
    let means = means(&image.as_image(), &grids);
    apply(image, mask, &Blocks { grids, means });
}

struct Blocks {
    grids: [Grid; 3],
    means: [Means; 3],
}

impl Source for Blocks {
    fn fill(&self, component: usize, row: usize, x0: usize, out: &mut [i32]) {
        let grid = &self.grids[component];
        let line = &self.means[component][grid.y.cell_of(row - grid.y.start)];
        let first = x0 - grid.x.start;
        let end = first + out.len();
        let mut at = first;
        while at < end {
            let cell = grid.x.cell_of(at);
            // The last cell also takes whatever lies beyond the rectangle: nothing, by construction.
            let next = if cell + 1 < grid.x.cells {
                grid.x.edge(cell + 1).min(end)
            } else {
                end
            };
            if let Some(run) = out.get_mut(at - first..next - first) {
                run.fill(line[cell] as i32);
            }
            at = next.max(at + 1);
        }
    }
}

/// See [`super::blur`]; the mask has been checked.
pub(super) fn blur(image: &mut ImageMut<'_>, mask: &RegionMask, cells: u32) {
    let grids = Grid::of(image.info(), mask.rect(), cells);
    let means = means(&image.as_image(), &grids);
    let packing = Packing::of(image.info().format);
    // Cb and Cr share a grid.
    let columns = [0, 1].map(|i| {
        if i == 0 || packing.components[1].shift_x > 0 {
            columns(&grids[i].x)
        } else {
            Vec::new()
        }
    });
    apply(image, mask, &Smooth { grids, means, columns });
}

struct Column {
    middle: usize,
    weights: [u32; 3],
}

fn columns(axis: &Axis) -> Vec<Column> {
    (0..axis.len)
        .map(|sample| {
            let ([_, middle, _], weights) = axis.spline(sample);
            Column { middle, weights }
        })
        .collect()
}

struct Smooth {
    grids: [Grid; 3],
    means: [Means; 3],
    columns: [Vec<Column>; 2],
}

impl Source for Smooth {
    fn fill(&self, component: usize, row: usize, x0: usize, out: &mut [i32]) {
        const HALF: u32 = 1 << (2 * WEIGHT_BITS - 1);
        let grid = &self.grids[component];
        let (rows, weights) = grid.y.spline(row - grid.y.start);
        // One row of cells, with a replicated cell at either end so that columns need no clamping.
        let mut line = [0u32; SIDE + 2];
        for (i, to) in line.iter_mut().enumerate().take(grid.x.cells + 2) {
            let cell = i.saturating_sub(1).min(grid.x.cells - 1);
            *to = rows.iter().zip(&weights).map(|(&j, &w)| self.means[component][j][cell] * w).sum();
        }
        let shared = if component > 0 && !self.columns[1].is_empty() { 1 } else { 0 };
        let columns = self.columns[shared].get(x0 - grid.x.start..).unwrap_or(&[]);
        for (to, column) in out.iter_mut().zip(columns) {
            if let Some([a, b, c]) = line.get(column.middle..column.middle + 3) {
                let [u, v, w] = column.weights;
                *to = ((a * u + b * v + c * w + HALF) >> (2 * WEIGHT_BITS)) as i32;
            }
        }
    }
}

fn means(image: &Image<'_>, grids: &[Grid; 3]) -> [Means; 3] {
    let packing = Packing::of(image.info().format);
    let mut all = [[[0; SIDE]; SIDE]; 3];
    for ((means, grid), c) in all.iter_mut().zip(grids).zip(&packing.components) {
        let Some(plane) = image.planes().get(c.plane) else {
            continue;
        };
        for (j, means) in means.iter_mut().enumerate().take(grid.y.cells) {
            let (from, to) = (grid.y.edge(j), grid.y.edge(j + 1));
            let mut sums = [0u64; SIDE];
            for row in plane.data.chunks(plane.stride).skip(grid.y.start + from).take(to - from) {
                for (i, sum) in sums.iter_mut().enumerate().take(grid.x.cells) {
                    let (first, last) = (grid.x.start + grid.x.edge(i), grid.x.start + grid.x.edge(i + 1));
                    *sum += run_sum(packing.depth, row, c.offset, c.step, first, last);
                }
            }
            for (i, (mean, sum)) in means.iter_mut().zip(sums).enumerate().take(grid.x.cells) {
                let count = ((to - from) * (grid.x.edge(i + 1) - grid.x.edge(i))) as u64;
                *mean = (sum + count / 2).checked_div(count).unwrap_or(0) as u32;
            }
        }
    }
    all
}

/// Sum of samples `first..last` of a row.
fn run_sum(depth: Depth, row: &[u8], offset: usize, step: usize, first: usize, last: usize) -> u64 {
    let bytes = depth.bytes();
    let start = (first * step + offset) * bytes;
    let Some(run) = row.get(start..).filter(|_| last > first) else {
        return 0;
    };
    let n = last - first;
    let sum: u32 = match (depth, step) {
        (Depth::U8, 1) => run.iter().take(n).map(|&v| u32::from(v)).sum(),
        (Depth::U8, 2) => run.chunks(2).take(n).map(|v| u32::from(v[0])).sum(),
        (Depth::U8, _) => run.iter().step_by(step).take(n).map(|&v| u32::from(v)).sum(),
        _ => run
            .chunks(step * bytes)
            .take(n)
            .map(|v| match v {
                [lo, hi, ..] => u32::from(depth.code(u16::from_le_bytes([*lo, *hi]))),
                _ => 0,
            })
            .sum(),
    };
    u64::from(sum)
}
