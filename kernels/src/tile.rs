//! A small picture of four-lane pixels, for maps that are not separable.
//!
//! A pixel is one 16-byte load whatever the frame's format was, so a bilinear tap is four loads
//! and a handful of vector operations. The fourth lane is unused.

use crate::affine::Affine;
use crate::taps::{bilinear, tap_count, tap_offset};
use wide::f32x4;

/// Most supersampling positions along an axis: a map more lopsided than this is undersampled.
pub(crate) const MAX_TILE_TAPS: usize = 16;

/// Pixels of three components.
#[derive(Debug, Default)]
pub(crate) struct Tile {
    /// Pixels a row.
    pub(crate) width: usize,
    /// Rows.
    pub(crate) height: usize,
    /// Row-major.
    pub(crate) pixels: Vec<[f32; 4]>,
}

impl Tile {
    /// Bilinear value at a position (pixel centres at integer + 0.5), border replicated.
    #[inline(always)]
    pub(crate) fn at(&self, p: [f32; 2]) -> f32x4 {
        let (x0, x1, fx) = bilinear(p[0], self.width);
        let (y0, y1, fy) = bilinear(p[1], self.height);
        let load = |x: usize, y: usize| f32x4::from(self.pixels.get(y * self.width + x).copied().unwrap_or([0.0; 4]));
        let (fx, fy) = (f32x4::splat(fx), f32x4::splat(fy));
        let (a, b, c, d) = (load(x0, y0), load(x1, y0), load(x0, y1), load(x1, y1));
        let (top, bottom) = (a + (b - a) * fx, c + (d - c) * fx);
        top + (bottom - top) * fy
    }

    /// Mean over the positions of a footprint around `p`.
    #[inline(always)]
    pub(crate) fn mean(&self, p: [f32; 2], footprint: &Footprint) -> f32x4 {
        if footprint.offsets.len() <= 1 {
            return self.at(p);
        }
        let mut sum = f32x4::splat(0.0);
        for o in &footprint.offsets {
            sum += self.at([p[0] + o[0], p[1] + o[1]]);
        }
        sum * f32x4::splat(footprint.share)
    }
}

/// Supersampling positions of one output pixel, relative to its centre, in source px.
#[derive(Debug)]
pub(crate) struct Footprint {
    /// Offsets.
    pub(crate) offsets: Vec<[f32; 2]>,
    /// One over their number.
    pub(crate) share: f32,
}

impl Footprint {
    /// Positions for a map from output to source.
    pub(crate) fn of(source_from_output: &Affine) -> Self {
        let [a, b, _, d, e, _] = source_from_output.m;
        let (nx, ny) = (tap_count(a.hypot(d), MAX_TILE_TAPS), tap_count(b.hypot(e), MAX_TILE_TAPS));
        let mut offsets = Vec::with_capacity(nx * ny);
        for j in 0..ny {
            for i in 0..nx {
                let (u, v) = (tap_offset(i, nx), tap_offset(j, ny));
                offsets.push([a * u + b * v, d * u + e * v]);
            }
        }
        Self {
            share: 1.0 / offsets.len() as f32,
            offsets,
        }
    }
}

/// Refuses maps that are not finite, degenerate, or beyond what positions in `f32` can carry.
pub(crate) fn check_map(op: &'static str, what: &'static str, map: &Affine) -> Result<(), crate::KernelError> {
    let bounded = map.m.iter().all(|v| v.is_finite() && v.abs() <= 1e6);
    if bounded && map.det().abs() >= 1e-9 {
        return Ok(());
    }
    let expected = "finite, within ±1e6, determinant at least 1e-9".to_owned();
    Err(crate::KernelError::Argument {
        op,
        what,
        expected,
        got: format!("{:?}", map.m),
    })
}
