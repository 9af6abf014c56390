//! The one place that writes into a masked region: rows of new values, rows of weights, a blend.
//!
//! | | |
//! |---|---|
//! | weight of a sample | full-resolution: the mask's alpha; subsampled: 0 if any frame pixel that it serves has alpha 0, else the floor of the mean of their alphas |
//! | replace | `(old·(255 − a) + new·a + 127) / 255`, integer; `a = 255` gives `new` exactly |
//! | add | `old + round(delta·a / 255)`, clamped to the codes |
//! | untouched | every sample of weight 0, bit for bit, with alpha bytes, padding and spare bits |
//!
//! A chroma sample is said to serve the 2×2 (or 2×1) pixels of its block, fewer at odd borders.

use crate::KernelError;
use crate::image::ImageMut;
use crate::mask::{Rect, RegionMask};
use crate::packing::{Component, Depth, Packing};
use crate::simd::vectorised;
use rayon::prelude::*;

/// Samples handled at once, on the stack.
const SPAN: usize = 256;

/// Below this many pixels a blend stays on the calling thread. It costs about 2 ns a pixel, and a
/// pool thread on a busy two-core machine was seen to wake up milliseconds late.
const PARALLEL_PX: usize = 1 << 20;

/// Fractional bits of the values of an adding source.
pub(crate) const DELTA_BITS: u32 = 4;

/// Gives new values.
pub(crate) trait Source: Sync {
    /// Whether values are differences with [`DELTA_BITS`] fractional bits, instead of codes.
    const ADDS: bool = false;

    /// Values of samples `x0..x0 + out.len()` of row `row` of a component, in the frame's sample grid.
    fn fill(&self, component: usize, row: usize, x0: usize, out: &mut [i32]);
}

/// Mask consistent in itself and inside the frame.
pub(crate) fn check_mask(op: &'static str, mask: &RegionMask, width: u32, height: u32) -> Result<(), KernelError> {
    let argument = |what, expected: String, got: String| Err(KernelError::Argument { op, what, expected, got });
    let needed = mask.width as usize * mask.height as usize;
    if mask.alpha.len() != needed {
        return argument(
            "mask.alpha length",
            format!("{needed} for {}x{}", mask.width, mask.height),
            mask.alpha.len().to_string(),
        );
    }
    check_rect(op, mask.rect(), width, height)
}

/// Rectangle inside the frame.
pub(crate) fn check_rect(op: &'static str, rect: Rect, width: u32, height: u32) -> Result<(), KernelError> {
    let inside = |start: i32, len: u32, side: u32| u32::try_from(start).is_ok_and(|s| s.checked_add(len).is_some_and(|end| end <= side));
    if !inside(rect.x, rect.width, width) || !inside(rect.y, rect.height, height) {
        return Err(KernelError::Argument {
            op,
            what: "mask rectangle",
            expected: format!("inside {width}x{height}"),
            got: format!("{}x{} at {},{}", rect.width, rect.height, rect.x, rect.y),
        });
    }
    Ok(())
}

/// First and one-past-last sample all of whose pixels lie in `start..start + len` (or beyond the frame's end).
pub(crate) fn served(start: usize, len: usize, side: usize, shift: u32) -> (usize, usize) {
    let first = start.div_ceil(1 << shift);
    let end = start + len;
    let last = if end == side { end.div_ceil(1 << shift) } else { end >> shift };
    (first, last.max(first))
}

/// Weight of one sample by the definition, for the plain references.
pub(crate) fn weight(mask: &RegionMask, c: &Component, frame: (usize, usize), sx: usize, sy: usize) -> u8 {
    let (mut sum, mut count) = (0u32, 0u32);
    for y in sy << c.shift_y..((sy + 1) << c.shift_y).min(frame.1) {
        for x in sx << c.shift_x..((sx + 1) << c.shift_x).min(frame.0) {
            match mask.alpha_at(x as i64, y as i64) {
                0 => return 0,
                a => sum += u32::from(a),
            }
            count += 1;
        }
    }
    sum.checked_div(count).unwrap_or(0) as u8
}

/// The replacing blend of one code.
pub(crate) const fn mix(old: u16, new: u16, a: u8) -> u16 {
    ((old as u32 * (255 - a as u32) + new as u32 * a as u32 + 127) / 255) as u16
}

/// The adding blend of one code; `delta` has [`DELTA_BITS`] fractional bits.
pub(crate) fn add(old: u16, delta: i32, a: u8, max: u16) -> u16 {
    const UNIT: i32 = 255 << DELTA_BITS;
    let scaled = delta * i32::from(a);
    let half = if scaled < 0 { -UNIT / 2 } else { UNIT / 2 };
    (i32::from(old) + (scaled + half) / UNIT).clamp(0, i32::from(max)) as u16
}

/// One byte's blend; `mix` in 16 bits, so that loops are four times as wide.
#[inline(always)]
fn blended8<const ADDS: bool>(old: u8, value: i32, a: u8) -> u8 {
    if ADDS {
        return add(u16::from(old), value, a, 255) as u8;
    }
    let a = u16::from(a);
    let t = u16::from(old) * (255 - a) + value.clamp(0, 255) as u16 * a + 127;
    // t / 255, exact below 65535; t is at most 65152.
    ((t + 1 + (t >> 8)) >> 8) as u8
}

#[inline(always)]
fn blended10<const ADDS: bool>(old: u16, value: i32, a: u8) -> u16 {
    if ADDS {
        add(old, value, a, 1023)
    } else {
        mix(old, value.clamp(0, 1023) as u16, a)
    }
}

/// Blends a source into the frame. The mask must have passed [`check_mask`].
pub(crate) fn apply<S: Source>(image: &mut ImageMut<'_>, mask: &RegionMask, source: &S) {
    let packing = Packing::of(image.info().format);
    let frame = (image.width() as usize, image.height() as usize);
    let region = Region {
        mask,
        packing,
        frame,
        source,
    };
    if mask.width == 0 || mask.height == 0 {
        return;
    }
    let parallel = mask.alpha.len() >= PARALLEL_PX;
    for (index, plane) in image.planes_mut().iter_mut().enumerate() {
        let Some(first) = packing.components.iter().find(|c| c.plane == index) else {
            continue;
        };
        let (row0, row1) = served(mask.y.max(0) as usize, mask.height as usize, frame.1, first.shift_y);
        if parallel {
            plane
                .data
                .par_chunks_mut(plane.stride)
                .enumerate()
                .skip(row0)
                .take(row1 - row0)
                .with_min_len(16)
                .for_each(|(row, bytes)| region.row(index, row, bytes));
        } else {
            for (row, bytes) in plane.data.chunks_mut(plane.stride).enumerate().take(row1).skip(row0) {
                region.row(index, row, bytes);
            }
        }
    }
}

struct Region<'a, S> {
    mask: &'a RegionMask,
    packing: Packing,
    frame: (usize, usize),
    source: &'a S,
}

impl<S: Source> Region<'_, S> {
    fn row(&self, plane: usize, row: usize, bytes: &mut [u8]) {
        let mut weights = [0u8; SPAN];
        let mut values = [0i32; SPAN];
        for (index, c) in self.packing.components.iter().enumerate().filter(|(_, c)| c.plane == plane) {
            let (x0, x1) = served(self.mask.x.max(0) as usize, self.mask.width as usize, self.frame.0, c.shift_x);
            let mut x = x0;
            while x < x1 {
                let n = SPAN.min(x1 - x);
                let (weights, values) = (&mut weights[..n], &mut values[..n]);
                self.weights(c, row, x, weights);
                if weights.iter().any(|&a| a != 0) {
                    self.source.fill(index, row, x, values);
                    let at = (x * c.step + c.offset) * self.packing.depth.bytes();
                    if let Some(bytes) = bytes.get_mut(at..) {
                        write::<S>(self.packing.depth, c.step, bytes, values, weights);
                    }
                }
                x += n;
            }
        }
    }

    /// Weights of samples `x0..` of a component's row; all of their pixels lie in the mask's rectangle.
    fn weights(&self, c: &Component, row: usize, x0: usize, out: &mut [u8]) {
        let (mx, my) = (self.mask.x.max(0) as usize, self.mask.y.max(0) as usize);
        let line = |y: usize| {
            let width = self.mask.width as usize;
            let start = y.saturating_sub(my) * width;
            self.mask.alpha.get(start..start + width).unwrap_or(&[])
        };
        if c.shift_x == 0 {
            let from = line(row).get(x0 - mx..).unwrap_or(&[]);
            out.fill(0);
            for (to, &a) in out.iter_mut().zip(from) {
                *to = a;
            }
            return;
        }
        let y0 = row << c.shift_y;
        let second = c.shift_y == 1 && y0 + 1 < self.frame.1;
        let a = line(y0).get((x0 << 1) - mx..).unwrap_or(&[]);
        let b = if second {
            line(y0 + 1).get((x0 << 1) - mx..).unwrap_or(&[])
        } else {
            a
        };
        out.fill(0);
        pair_weights(a, b, out);
    }
}

fn write<S: Source>(depth: Depth, step: usize, bytes: &mut [u8], values: &[i32], weights: &[u8]) {
    match (S::ADDS, depth, step) {
        (true, Depth::U8, 1) => write_bytes::<true, 1>(bytes, values, weights),
        (true, Depth::U8, 2) => write_bytes::<true, 2>(bytes, values, weights),
        (true, Depth::U8, 3) => write_bytes::<true, 3>(bytes, values, weights),
        (true, Depth::U8, _) => write_bytes::<true, 4>(bytes, values, weights),
        (false, Depth::U8, 1) => write_bytes::<false, 1>(bytes, values, weights),
        (false, Depth::U8, 2) => write_bytes::<false, 2>(bytes, values, weights),
        (false, Depth::U8, 3) => write_bytes::<false, 3>(bytes, values, weights),
        (false, Depth::U8, _) => write_bytes::<false, 4>(bytes, values, weights),
        (true, ..) => write_pairs::<true>(depth, step, bytes, values, weights),
        (false, ..) => write_pairs::<false>(depth, step, bytes, values, weights),
    }
}

vectorised! {
fn write_bytes<const ADDS: bool, const STEP: usize>(bytes: &mut [u8], values: &[i32], weights: &[u8]) {
    let (cells, rest) = bytes.as_chunks_mut::<STEP>();
    let done = cells.len();
    for ((cell, &value), &a) in cells.iter_mut().zip(values).zip(weights) {
        cell[0] = blended8::<ADDS>(cell[0], value, a);
    }
    // The last cell of a row may be cut short after the component's own byte.
    if let (Some(byte), Some(&value), Some(&a)) = (rest.first_mut(), values.get(done), weights.get(done)) {
        *byte = blended8::<ADDS>(*byte, value, a);
    }
}
}

vectorised! {
fn write_pairs<const ADDS: bool>(depth: Depth, step: usize, bytes: &mut [u8], values: &[i32], weights: &[u8]) {
    for ((pair, &value), &a) in bytes.chunks_mut(step * 2).zip(values).zip(weights) {
        let [lo, hi, ..] = pair else { continue };
        // Weight 0 must keep the spare bits too, so it may not go through the code.
        if a != 0 {
            let old = depth.code(u16::from_le_bytes([*lo, *hi]));
            [*lo, *hi] = depth.raw(blended10::<ADDS>(old, value, a)).to_le_bytes();
        }
    }
}
}

/// Weights of a row of subsampled samples from the two rows of alphas that they serve; an odd end counts twice.
fn pair_weights(a: &[u8], b: &[u8], out: &mut [u8]) {
    let ((pairs_a, end_a), (pairs_b, end_b)) = (a.as_chunks::<2>(), b.as_chunks::<2>());
    let done = pairs_a.len().min(pairs_b.len());
    weigh(pairs_a, pairs_b, out);
    if let (Some(to), Some(&p), Some(&q)) = (out.get_mut(done), end_a.first(), end_b.first()) {
        *to = pair_weight([p, p], [q, q]);
    }
}

#[inline(always)]
fn pair_weight(p: [u8; 2], q: [u8; 2]) -> u8 {
    let least = p[0].min(p[1]).min(q[0].min(q[1]));
    let sum = u16::from(p[0]) + u16::from(p[1]) + u16::from(q[0]) + u16::from(q[1]);
    if least == 0 { 0 } else { (sum >> 2) as u8 }
}

vectorised! {
fn weigh(a: &[[u8; 2]], b: &[[u8; 2]], out: &mut [u8]) {
    for ((to, &p), &q) in out.iter_mut().zip(a).zip(b) {
        *to = pair_weight(p, q);
    }
}
}
