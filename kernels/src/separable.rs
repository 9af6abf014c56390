//! Separable resampling of a frame of any format: one output row of its three components at a time.
//!
//! Down the rows first, over whole plane rows as they are stored (interleaved components share the
//! pass, and the loop is contiguous whatever the format), then along the row per component.

use crate::image::Image;
use crate::packing::{Depth, Packing};
use crate::simd::vectorised;
use crate::taps::Taps;

/// A frame with a filter per axis and subsampling.
#[derive(Debug)]
pub(crate) struct Separable<'a> {
    image: &'a Image<'a>,
    packing: Packing,
    /// Filters for subsampling 0 and 1.
    columns: [Taps; 2],
    rows: [Taps; 2],
    width: usize,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    accumulated: Vec<f32>,
    /// The row: three components of `width` values.
    pub(crate) row: [Vec<f32>; 3],
}

impl Drop for Separable<'_> {
    fn drop(&mut self) {
        for taps in self.columns.iter_mut().chain(&mut self.rows) {
            std::mem::take(taps).recycle();
        }
    }
}

impl<'a> Separable<'a> {
    /// `columns` and `rows` make the filter for a subsampling.
    pub(crate) fn new(image: &'a Image<'a>, width: usize, columns: impl Fn(u32) -> Taps, rows: impl Fn(u32) -> Taps) -> Self {
        let packing = Packing::of(image.info().format);
        let chroma = &packing.components[1];
        let pair = |make: &dyn Fn(u32) -> Taps, shift: u32| [make(0), if shift > 0 { make(1) } else { Taps::default() }];
        let columns = pair(&columns, chroma.shift_x);
        let rows = pair(&rows, chroma.shift_y);
        Self {
            image,
            packing,
            columns,
            rows,
            width,
        }
    }

    /// Computes output row `y` into `scratch.row`.
    pub(crate) fn row(&self, y: usize, scratch: &mut Scratch) {
        let Scratch { accumulated, row } = scratch;
        for to in row.iter_mut() {
            to.resize(self.width, 0.0);
        }
        for (index, plane) in self.image.planes().iter().enumerate() {
            let mut members = self.packing.components.iter().enumerate().filter(|(_, c)| c.plane == index);
            let (mut first, mut last, mut shift_y) = (usize::MAX, 0, 0);
            for (_, c) in members.clone() {
                let (lo, hi) = self.columns[c.shift_x as usize].range();
                first = first.min(lo * c.step + c.offset);
                last = last.max(hi.saturating_sub(1) * c.step + c.offset + 1);
                shift_y = c.shift_y as usize;
            }
            let (start, weights) = self.rows[shift_y].of(y);
            let bytes = self.packing.depth.bytes();
            let line = |k: usize| {
                let at = (start + k) * plane.stride;
                plane.data.get(at + first * bytes..at + last * bytes).unwrap_or(&[])
            };
            accumulated.resize(last.saturating_sub(first), 0.0);
            down(self.packing.depth, weights, line, accumulated);
            for (component, c) in members.by_ref() {
                along(
                    &self.columns[c.shift_x as usize],
                    accumulated,
                    c.step,
                    c.offset,
                    first,
                    &mut row[component],
                );
            }
        }
    }
}

/// Weighted sum of rows.
fn down<'p>(depth: Depth, weights: &[f32], line: impl Fn(usize) -> &'p [u8], out: &mut [f32]) {
    let mut fresh = true;
    for (k, pair) in weights.chunks(2).enumerate() {
        let (w0, w1) = (pair[0], pair.get(1).copied().unwrap_or(0.0));
        if w0 == 0.0 && w1 == 0.0 {
            continue;
        }
        let a = line(2 * k);
        // A padded weight of zero may stand for a row that does not exist.
        let b = if w1 == 0.0 { a } else { line(2 * k + 1) };
        if fresh {
            out.fill(0.0);
        }
        match depth {
            Depth::U8 => add_bytes(a, b, w0, w1, out),
            Depth::High10 => add_high(a, b, w0, w1, out),
            Depth::Low10 => add_low(a, b, w0, w1, out),
        }
        fresh = false;
    }
    if fresh {
        out.fill(0.0);
    }
}

vectorised! {
fn add_bytes(a: &[u8], b: &[u8], w0: f32, w1: f32, out: &mut [f32]) {
    for ((to, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *to += w0 * f32::from(a) + w1 * f32::from(b);
    }
}
}

vectorised! {
fn add_high(a: &[u8], b: &[u8], w0: f32, w1: f32, out: &mut [f32]) {
    for ((to, &a), &b) in out.iter_mut().zip(a.as_chunks::<2>().0).zip(b.as_chunks::<2>().0) {
        *to += w0 * f32::from(u16::from_le_bytes(a) >> 6) + w1 * f32::from(u16::from_le_bytes(b) >> 6);
    }
}
}

vectorised! {
fn add_low(a: &[u8], b: &[u8], w0: f32, w1: f32, out: &mut [f32]) {
    for ((to, &a), &b) in out.iter_mut().zip(a.as_chunks::<2>().0).zip(b.as_chunks::<2>().0) {
        *to += w0 * f32::from(u16::from_le_bytes(a) & 0x3ff) + w1 * f32::from(u16::from_le_bytes(b) & 0x3ff);
    }
}
}

/// Weighted sums along a row, for one component of an accumulated plane row that begins at element `first`.
fn along(taps: &Taps, from: &[f32], step: usize, offset: usize, first: usize, out: &mut [f32]) {
    if let (Some(start), Some(run)) = (taps.even, taps.weights.get(..taps.len)) {
        // Every output has the same weights, `len` samples after the last: plain box means.
        let from = from.get(start * step + offset - first..).unwrap_or(&[]);
        match (step, run) {
            (1, &[w]) => return scale_strided::<1>(from, w, out),
            (2, &[w]) => return scale_strided::<2>(from, w, out),
            (4, &[w]) => return scale_strided::<4>(from, w, out),
            (1, &[w0, w1]) => return pairs(from, w0, w1, out),
            _ => {}
        }
    }
    match taps.len {
        1 => fixed::<1>(taps, from, step, offset, first, out),
        2 => fixed::<2>(taps, from, step, offset, first, out),
        3 => fixed::<3>(taps, from, step, offset, first, out),
        4 => fixed::<4>(taps, from, step, offset, first, out),
        len => {
            for ((to, &start), weights) in out.iter_mut().zip(&taps.starts).zip(taps.weights.chunks_exact(len.max(1))) {
                let run = from.get(start * step + offset - first..).unwrap_or(&[]);
                *to = run.iter().step_by(step).zip(weights).map(|(&v, &w)| v * w).sum();
            }
        }
    }
}

fn fixed<const N: usize>(taps: &Taps, from: &[f32], step: usize, offset: usize, first: usize, out: &mut [f32]) {
    let weights = taps.weights.as_chunks::<N>().0;
    for ((to, &start), weights) in out.iter_mut().zip(&taps.starts).zip(weights) {
        let at = start * step + offset - first;
        let Some(run) = from.get(at..at + (N - 1) * step + 1) else {
            continue;
        };
        let mut sum = 0.0;
        for k in 0..N {
            sum += weights[k] * run[k * step];
        }
        *to = sum;
    }
}

vectorised! {
fn scale_strided<const STEP: usize>(from: &[f32], weight: f32, out: &mut [f32]) {
    let (cells, rest) = from.as_chunks::<STEP>();
    let done = cells.len().min(out.len());
    for (to, cell) in out.iter_mut().zip(cells) {
        *to = weight * cell[0];
    }
    // The last cell may be cut short after the component's own element.
    if let (Some(to), Some(v)) = (out.get_mut(done), rest.first()) {
        *to = weight * v;
    }
}
}

vectorised! {
fn pairs(from: &[f32], w0: f32, w1: f32, out: &mut [f32]) {
    for (to, [a, b]) in out.iter_mut().zip(from.as_chunks::<2>().0) {
        *to = w0 * a + w1 * b;
    }
}
}
