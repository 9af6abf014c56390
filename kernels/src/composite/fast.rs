//! The fast path: the crop is converted to the frame's components first (sampling is linear, so
//! the two commute), sampled once per pixel into planes of fixed-point values, then blended by rows.

use super::{Crop, MAX_DELTA};
use crate::affine::Affine;
use crate::blend::{DELTA_BITS, Source, apply};
use crate::color::Coder;
use crate::image::ImageMut;
use crate::mask::RegionMask;
use crate::packing::Packing;
use crate::simd::vectorised;
use crate::tile::{Footprint, Tile};
use rayon::prelude::*;
use std::cell::Cell;
use wide::f32x4;

/// Below this many taps a region is sampled on the calling thread (about 20 ns a tap).
const PARALLEL_TAPS: usize = 1 << 18;

thread_local! {
    /// Rendered region and converted crop, kept from face to face.
    static BUFFERS: Cell<(Vec<i16>, Vec<[f32; 4]>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// See [`super::blend_crop`]; arguments have been checked.
pub(super) fn blend_crop(image: &mut ImageMut<'_>, mask: &RegionMask, crop: &Crop<'_, u8>) {
    let coder = Coder::new(image.info());
    run::<false, u8>(image, mask, crop, |rgb| coder.encode(rgb.map(f32::from)));
}

/// See [`super::blend_delta`]; arguments have been checked.
pub(super) fn blend_delta(image: &mut ImageMut<'_>, mask: &RegionMask, crop: &Crop<'_, f32>) {
    let coder = Coder::new(image.info());
    run::<true, f32>(image, mask, crop, |rgb| {
        coder.encode_delta(rgb.map(|v| v.clamp(-MAX_DELTA, MAX_DELTA)))
    });
}

fn run<const ADDS: bool, T: Copy>(image: &mut ImageMut<'_>, mask: &RegionMask, crop: &Crop<'_, T>, encode: impl Fn([T; 3]) -> [f32; 3]) {
    if mask.width == 0 || mask.height == 0 {
        return;
    }
    let (mut rendered, mut pixels) = BUFFERS.take();
    pixels.clear();
    pixels.extend(crop.values.as_chunks::<3>().0.iter().map(|&rgb| {
        let [a, b, c] = encode(rgb);
        [a, b, c, 0.0]
    }));
    let tile = Tile {
        width: crop.width,
        height: crop.height,
        pixels,
    };
    let area = mask.alpha.len();
    rendered.resize(area * 3, 0);
    render(mask, &tile, crop.crop_from_frame, &mut rendered);
    let info = *image.info();
    let source = Rendered::<ADDS> {
        packing: Packing::of(info.format),
        left: mask.x.max(0) as usize,
        top: mask.y.max(0) as usize,
        width: mask.width as usize,
        height: mask.height as usize,
        values: &rendered,
    };
    apply(image, mask, &source);
    BUFFERS.set((rendered, tile.pixels));
}

/// Samples the tile at every pixel of the mask's rectangle that can matter.
fn render(mask: &RegionMask, tile: &Tile, map: &Affine, out: &mut [i16]) {
    let footprint = Footprint::of(map);
    let width = mask.width as usize;
    let (a, rest) = out.split_at_mut(mask.alpha.len());
    let (b, c) = rest.split_at_mut(mask.alpha.len());
    let row = |y: usize, a: &mut [i16], b: &mut [i16], c: &mut [i16]| {
        let Some(alpha) = mask.alpha.get(y * width..(y + 1) * width) else {
            return;
        };
        let Some(first) = alpha.iter().position(|&v| v != 0) else {
            return;
        };
        let end = alpha.iter().rposition(|&v| v != 0).map_or(first, |v| v + 1);
        let py = (mask.y + y as i32) as f32 + 0.5;
        let (Some(a), Some(b), Some(c)) = (a.get_mut(first..end), b.get_mut(first..end), c.get_mut(first..end)) else {
            return;
        };
        let px = (mask.x + first as i32) as f32 + 0.5;
        sample_row(tile, &footprint, map, [px, py], a, b, c);
    };
    if mask.alpha.len() * footprint.offsets.len() >= PARALLEL_TAPS {
        a.par_chunks_exact_mut(width)
            .zip(b.par_chunks_exact_mut(width))
            .zip(c.par_chunks_exact_mut(width))
            .enumerate()
            .with_min_len(8)
            .for_each(|(y, ((a, b), c))| row(y, a, b, c));
    } else {
        let rows = a
            .chunks_exact_mut(width)
            .zip(b.chunks_exact_mut(width))
            .zip(c.chunks_exact_mut(width));
        for (y, ((a, b), c)) in rows.enumerate() {
            row(y, a, b, c);
        }
    }
}

vectorised! {
/// Samples of one row of frame pixels, the first at `start`.
fn sample_row(
    tile: &Tile, footprint: &Footprint, map: &Affine, start: [f32; 2], a: &mut [i16], b: &mut [i16], c: &mut [i16],
) {
    let one = f32x4::splat((1 << DELTA_BITS) as f32);
    for (x, ((a, b), c)) in a.iter_mut().zip(b).zip(c).enumerate() {
        let value = tile.mean(map.apply([start[0] + x as f32, start[1]]), footprint) * one;
        // Finite and within ±1023·16: the quick conversion is exact.
        let [u, v, w, _] = value.fast_round_int().to_array();
        (*a, *b, *c) = (u as i16, v as i16, w as i16);
    }
}
}

/// Three planes of the mask's rectangle with [`DELTA_BITS`] fractional bits: at most 1023·16, which `i16` holds.
struct Rendered<'a, const ADDS: bool> {
    packing: Packing,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    values: &'a [i16],
}

impl<const ADDS: bool> Source for Rendered<'_, ADDS> {
    const ADDS: bool = ADDS;

    fn fill(&self, component: usize, row: usize, x0: usize, out: &mut [i32]) {
        let c = &self.packing.components[component];
        let line = |y: usize| {
            let at = (component * self.height + y) * self.width;
            self.values.get(at..at + self.width).unwrap_or(&[])
        };
        let y = (row << c.shift_y).saturating_sub(self.top);
        let x = (x0 << c.shift_x).saturating_sub(self.left);
        if c.shift_x == 0 {
            for (to, &v) in out.iter_mut().zip(line(y).get(x..).unwrap_or(&[])) {
                *to = finish::<ADDS>(i32::from(v), 0);
            }
            return;
        }
        let first = line(y).get(x..).unwrap_or(&[]);
        // Beyond an odd border there is no second row or column: the first counts twice.
        let second = if c.shift_y == 1 && y + 1 < self.height {
            line(y + 1).get(x..).unwrap_or(&[])
        } else {
            first
        };
        for (to, (p, q)) in out.iter_mut().zip(first.chunks(2).zip(second.chunks(2))) {
            let sum = |v: &[i16]| match v {
                [a, b] => i32::from(*a) + i32::from(*b),
                [a] => 2 * i32::from(*a),
                _ => 0,
            };
            *to = finish::<ADDS>(sum(p) + sum(q), 2);
        }
    }
}

/// A sum of `1 << bits` fixed-point values to what the blend takes.
fn finish<const ADDS: bool>(sum: i32, bits: u32) -> i32 {
    let drop = if ADDS { bits } else { bits + DELTA_BITS };
    if drop == 0 { sum } else { (sum + (1 << (drop - 1))) >> drop }
}
