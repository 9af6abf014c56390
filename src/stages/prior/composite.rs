//! Lays a target's texture on a face: geometry, light, visibility, alpha.
//!
//! | | contract |
//! |---|---|
//! | crop | interleaved RGB f32, 0–255, `width × height` |
//! | mesh | 468 points, crop px, centres at integer + 0.5; depth in crop px, towards the camera negative |
//! | base | the crop with the inner features moved along with the target's shape; equal to the crop at and outside the rim |
//! | lit | the texture under the frame's light: `low(base) + (texture − low(texture)) · g`, `g` the ratio of low luma clamped to the contrast range |
//! | alpha | texture mask · facing, faded where the rim looks unlike the face (hair, hand, microphone) |
//! | picture | `base (1 − alpha) + lit · alpha` |
//! | low | normalised convolution under alpha, so that no background leaks in |
//! | errors | `None` for a mesh that is degenerate or not finite |
//!
//! All lengths are fractions of the distance between the outer eye corners, so they hold at any crop size.
//! Low-pass filters run on a grid of a quarter of the crop: their kernels are an order wider than that.

use crate::frame::Point;

use super::basis::Basis;
use super::raster::{self, NONE, Raster, TriangleMap};
use super::target::Target;

/// Outer eye corners of the mesh.
const EYES: (usize, usize) = (33, 263);
/// Luma weights.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Constants of the recipe; the denoiser is trained on composites made with the same.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompositeConfig {
    /// Low-pass of light, inter-ocular units.
    pub light_sigma_iod: f32,
    /// Least contrast gain.
    pub contrast_min: f32,
    /// Most contrast gain.
    pub contrast_max: f32,
    /// Cosine to the viewer where a triangle starts to fade in.
    pub facing_lo: f32,
    /// Cosine from which it is fully painted.
    pub facing_hi: f32,
    /// Low-passed difference, grey levels, from which the rim starts to give way.
    pub occlusion_lo: f32,
    /// And gives way fully.
    pub occlusion_hi: f32,
    /// Low-pass of that difference, inter-ocular units.
    pub occlusion_sigma_iod: f32,
    /// What is finer than this counts as grain, inter-ocular units.
    pub grain_fine_iod: f32,
    /// Over how wide an area its amount is taken, inter-ocular units.
    pub grain_area_iod: f32,
    /// Least gain given to the paint's grain.
    pub grain_min: f32,
    /// Most gain; 1 leaves the grain as it is.
    pub grain_max: f32,
    /// How far the mesh goes towards the target's shape; above 1 beyond it, so that shape alone does
    /// not betray the source.
    pub shape_strength: f32,
    /// Shape coefficients are kept within so many standard deviations.
    pub shape_clamp_sd: f32,
}

impl CompositeConfig {
    /// The first constant that is out of range.
    #[must_use]
    pub fn out_of_range(&self) -> Option<&'static str> {
        let within = |v: f32, low: f32, high: f32| v >= low && v <= high;
        [
            ("light_sigma_iod", within(self.light_sigma_iod, 0.01, 2.0)),
            ("contrast_min", within(self.contrast_min, 0.05, 1.0)),
            ("contrast_max", within(self.contrast_max, 1.0, 8.0)),
            ("facing_lo", within(self.facing_lo, -1.0, 1.0)),
            ("facing_hi", within(self.facing_hi, self.facing_lo + 1e-3, 1.0)),
            ("occlusion_lo", within(self.occlusion_lo, 0.0, 255.0)),
            ("occlusion_hi", within(self.occlusion_hi, self.occlusion_lo + 1e-3, 1e4)),
            ("occlusion_sigma_iod", within(self.occlusion_sigma_iod, 0.0, 1.0)),
            ("grain_fine_iod", within(self.grain_fine_iod, 0.0, 1.0)),
            ("grain_area_iod", within(self.grain_area_iod, 0.01, 2.0)),
            ("grain_min", within(self.grain_min, 0.0, 1.0)),
            ("grain_max", within(self.grain_max, 1.0, 8.0)),
            ("shape_strength", within(self.shape_strength, 0.0, 4.0)),
            ("shape_clamp_sd", within(self.shape_clamp_sd, 0.0, 6.0)),
        ]
        .into_iter()
        .find_map(|(name, good)| (!good).then_some(name))
    }
}

impl Default for CompositeConfig {
    fn default() -> Self {
        Self {
            light_sigma_iod: 0.30,
            contrast_min: 0.6,
            contrast_max: 1.5,
            facing_lo: 0.10,
            facing_hi: 0.35,
            occlusion_lo: 36.0,
            occlusion_hi: 72.0,
            occlusion_sigma_iod: 0.05,
            grain_fine_iod: 0.05,
            grain_area_iod: 0.25,
            grain_min: 0.6,
            grain_max: 2.5,
            shape_strength: 1.7,
            shape_clamp_sd: 2.0,
        }
    }
}

/// A composite in crop coordinates.
#[derive(Debug, Clone, Default)]
pub struct Composite {
    /// `base (1 − alpha) + lit · alpha`, interleaved RGB, 0–255.
    pub picture: Vec<f32>,
    /// 0–1.
    pub alpha: Vec<f32>,
    /// The crop, inner features moved.
    pub base: Vec<f32>,
    /// Whether the moved mesh covers the pixel, eyes and mouth included: 1 or 0.
    pub inside: Vec<f32>,
}

/// Makes composites; keeps buffers from frame to frame.
#[derive(Debug, Default)]
pub struct Compositor {
    raster: Raster,
    maps: Vec<TriangleMap>,
    texture: Vec<f32>,
    mask: Vec<f32>,
    facing: Vec<f32>,
}

fn smoothstep(v: f32, lo: f32, hi: f32) -> f32 {
    let u = ((v - lo) / (hi - lo)).clamp(0.0, 1.0);
    u * u * (3.0 - 2.0 * u)
}

/// A crop with the mesh in it.
#[derive(Debug, Clone, Copy)]
pub struct Face<'a> {
    /// Interleaved RGB, 0–255.
    pub crop: &'a [f32],
    /// Width, px.
    pub width: usize,
    /// Height, px.
    pub height: usize,
    /// Mesh as seen, crop px.
    pub points: &'a [Point],
    /// Mesh with the target's shape, crop px.
    pub moved: &'a [Point],
    /// Depth of the points, crop px.
    pub depth: &'a [f32],
}

impl Compositor {
    /// One composite into `out`; `false` where the mesh is degenerate, `out` is then not to be used.
    pub fn composite(&mut self, face: &Face<'_>, basis: &Basis, target: &Target, config: &CompositeConfig, out: &mut Composite) -> bool {
        let (w, h) = (face.width, face.height);
        let n = w * h;
        let (Some(a), Some(b)) = (face.points.get(EYES.0), face.points.get(EYES.1)) else {
            return false;
        };
        let iod = (a[0] - b[0]).hypot(a[1] - b[1]);
        let finite = |p: &[Point]| p.iter().flatten().all(|v| v.is_finite());
        if !(iod >= 8.0) || face.crop.len() != n * 3 || !finite(face.points) || !finite(face.moved) || face.moved.len() != face.points.len()
        {
            return false;
        }
        self.move_base(face, basis, out);
        if !self.paint(face, basis, target, config, iod) {
            return false;
        }
        self.light(w, h, config, iod, out);
        true
    }

    /// `out.base`: the crop with everything inside the oval moved along with the mesh.
    fn move_base(&mut self, face: &Face<'_>, basis: &Basis, out: &mut Composite) {
        out.base.clear();
        out.base.extend_from_slice(face.crop);
        let (w, h) = (face.width, face.height);
        self.raster.draw(face.moved, face.depth, &basis.triangles, w, h);
        out.inside.clear();
        out.inside
            .extend(self.raster.index.iter().map(|&t| if t == NONE { 0.0 } else { 1.0 }));
        if face.points == face.moved {
            return;
        }
        raster::maps(face.moved, face.points, &basis.triangles, &mut self.maps);
        for (i, (&t, to)) in self.raster.index.iter().zip(out.base.chunks_exact_mut(3)).enumerate() {
            if let Some(map) = self.maps.get(usize::from(t)).filter(|_| t != NONE) {
                let from = map.apply((i % w) as f32 + 0.5, (i / w) as f32 + 0.5);
                to.copy_from_slice(&raster::sample::<3>(face.crop, w, h, from));
            }
        }
    }

    /// Texture, mask and facing of every pixel.
    fn paint(&mut self, face: &Face<'_>, basis: &Basis, target: &Target, config: &CompositeConfig, iod: f32) -> bool {
        let (w, h) = (face.width, face.height);
        let n = w * h;
        let triangles = basis.painted();
        self.raster.draw(face.moved, face.depth, triangles, w, h);
        raster::maps(face.moved, &basis.canonical_px, triangles, &mut self.maps);
        let facing: Vec<f32> = triangles
            .iter()
            .map(|&t| smoothstep(cos_to_viewer(face.moved, face.depth, t), config.facing_lo, config.facing_hi))
            .collect();
        self.texture.clear();
        self.texture.resize(n * 3, 0.0);
        self.mask.clear();
        self.mask.resize(n * 2, 0.0);
        self.facing.clear();
        self.facing.resize(n, 0.0);
        let mut painted = 0;
        for (i, &t) in self.raster.index.iter().enumerate() {
            let Some(map) = self.maps.get(usize::from(t)).filter(|_| t != NONE) else {
                continue;
            };
            let from = map.apply((i % w) as f32 + 0.5, (i / w) as f32 + 0.5);
            let texel = raster::sample::<3>(&target.texture, basis.size_px, basis.size_px, from);
            let mask = raster::sample::<2>(&basis.mask, basis.size_px, basis.size_px, from);
            if let (Some(to), Some(m), Some(f)) = (
                self.texture.get_mut(i * 3..i * 3 + 3),
                self.mask.get_mut(i * 2..i * 2 + 2),
                self.facing.get_mut(i),
            ) {
                to.copy_from_slice(&texel);
                m.copy_from_slice(&mask);
                *f = facing.get(usize::from(t)).copied().unwrap_or(0.0);
                painted += 1;
            }
        }
        let smooth = blurred::<1>(&self.facing, w, h, 0.04 * iod);
        for ((f, s), &t) in self.facing.iter_mut().zip(&smooth).zip(&self.raster.index) {
            *f = if t == NONE { 0.0 } else { s.min(1.0) };
        }
        painted >= 100
    }

    /// Light, occluders, and the picture.
    fn light(&mut self, w: usize, h: usize, config: &CompositeConfig, iod: f32, out: &mut Composite) {
        let n = w * h;
        out.alpha.clear();
        out.alpha.extend(self.mask.chunks_exact(2).zip(&self.facing).map(|(m, f)| m[0] * f));
        // One low-pass of seven channels under alpha: texture, base, weight.
        let mut stack = vec![0.0; n * 7];
        for (i, s) in stack.chunks_exact_mut(7).enumerate() {
            let a = out.alpha[i];
            for c in 0..3 {
                s[c] = self.texture[i * 3 + c] * a;
                s[3 + c] = out.base[i * 3 + c] * a;
            }
            s[6] = a;
        }
        let low = blurred_coarse::<7>(&stack, w, h, config.light_sigma_iod * iod);
        let luma = |p: &[f32]| p[0] * LUMA[0] + p[1] * LUMA[1] + p[2] * LUMA[2];
        let mut lit = out.base.clone();
        let mut difference = vec![0.0; n];
        for i in 0..n {
            if self.raster.index[i] == NONE {
                continue;
            }
            let l = &low[i * 7..i * 7 + 7];
            let weight = l[6] + 1e-3;
            let (la, lb) = (
                [l[0] / weight, l[1] / weight, l[2] / weight],
                [l[3] / weight, l[4] / weight, l[5] / weight],
            );
            let gain = ((luma(&lb) + 4.0) / (luma(&la) + 4.0)).clamp(config.contrast_min, config.contrast_max);
            for c in 0..3 {
                lit[i * 3 + c] = (lb[c] + (self.texture[i * 3 + c] - la[c]) * gain).clamp(0.0, 255.0);
            }
        }
        if config.grain_max > 1.0 {
            grain(&mut lit, &out.base, &out.alpha, (w, h), iod, config);
        }
        for i in 0..n {
            if self.raster.index[i] != NONE {
                difference[i] = luma(&lit[i * 3..i * 3 + 3]) - luma(&out.base[i * 3..i * 3 + 3]);
            }
        }
        let difference = blurred::<1>(&difference, w, h, config.occlusion_sigma_iod * iod);
        out.picture.clear();
        out.picture.extend_from_slice(&out.base);
        for i in 0..n {
            out.alpha[i] *= 1.0 - self.mask[i * 2 + 1] * smoothstep(difference[i].abs(), config.occlusion_lo, config.occlusion_hi);
            let a = out.alpha[i];
            for c in 0..3 {
                let p = &mut out.picture[i * 3 + c];
                *p += (lit[i * 3 + c] - *p) * a;
            }
        }
    }
}

/// Gives the paint the frame's own amount of fine contrast, not its pattern: a soft film gets a soft
/// face, a sharp one a sharp face.
fn grain(lit: &mut [f32], base: &[f32], alpha: &[f32], (w, h): (usize, usize), iod: f32, config: &CompositeConfig) {
    let fine = |z: &[f32]| -> Vec<f32> {
        let low = blurred::<3>(z, w, h, config.grain_fine_iod * iod);
        z.iter().zip(&low).map(|(v, l)| v - l).collect()
    };
    let (of_lit, of_base) = (fine(lit), fine(base));
    // Energy of both and the weight, in one wide blur.
    let energy = |p: &[f32]| (p[0] * LUMA[0] + p[1] * LUMA[1] + p[2] * LUMA[2]).powi(2);
    let pairs = of_lit.chunks_exact(3).zip(of_base.chunks_exact(3)).zip(alpha);
    let stack: Vec<f32> = pairs.flat_map(|((l, b), a)| [energy(l) * a, energy(b) * a, *a]).collect();
    let wide = blurred_coarse::<3>(&stack, w, h, config.grain_area_iod * iod);
    for ((lit, fine), e) in lit.chunks_exact_mut(3).zip(of_lit.chunks_exact(3)).zip(wide.chunks_exact(3)) {
        let rms = |energy: f32| (energy.max(0.0) / (e[2] + 1e-3)).sqrt() + 0.5;
        let gain = (rms(e[1]) / rms(e[0])).clamp(config.grain_min, config.grain_max);
        for (v, f) in lit.iter_mut().zip(fine) {
            *v = (*v + f * (gain - 1.0)).clamp(0.0, 255.0);
        }
    }
}

/// Cosine between a triangle's normal and the viewer; −1 where a corner is missing.
fn cos_to_viewer(points: &[Point], depth: &[f32], t: [u16; 3]) -> f32 {
    let corner = |i: u16| {
        Some([
            points.get(usize::from(i))?[0],
            points.get(usize::from(i))?[1],
            *depth.get(usize::from(i))?,
        ])
    };
    let (Some(a), Some(b), Some(c)) = (corner(t[0]), corner(t[1]), corner(t[2])) else {
        return -1.0;
    };
    let (u, v) = ([b[0] - a[0], b[1] - a[1], b[2] - a[2]], [c[0] - a[0], c[1] - a[1], c[2] - a[2]]);
    let n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    n[2] / ((n[0] * n[0] + n[1] * n[1] + n[2] * n[2]).sqrt() + 1e-9)
}

/// Gaussian blur by three box passes (Wells 1986) of an interleaved picture; mirrored border.
#[must_use]
pub fn blurred<const C: usize>(picture: &[f32], width: usize, height: usize, sigma: f32) -> Vec<f32> {
    let mut out = picture.to_vec();
    // Three boxes share the variance; the weight of a box's two ends is solved for, so any sigma is met.
    let variance = sigma * sigma / 3.0;
    let whole = ((sigma * sigma + 0.25).sqrt() - 0.5).max(0.0).floor();
    let inner = 2.0 * whole + 1.0;
    let next = (whole + 1.0) * (whole + 1.0);
    let part = ((variance * inner - whole * (whole + 1.0) * inner / 3.0) / (2.0 * (next - variance))).max(0.0);
    if !(sigma > 1e-3 && part.is_finite()) || width == 0 || height == 0 {
        return out;
    }
    let window = (whole as usize, part);
    let mut other = vec![0.0; out.len()];
    for _ in 0..3 {
        box_along_rows::<C>(&out, &mut other, width, window);
        box_across_rows(&other, &mut out, width * C, window);
    }
    out
}

/// Index `i` of a line of `len`, mirrored at its ends without repeating them.
fn mirror(i: isize, len: usize) -> usize {
    let last = len as isize - 1;
    let mut i = i;
    if last == 0 {
        return 0;
    }
    while i < 0 || i > last {
        i = if i < 0 { -i } else { 2 * last - i };
    }
    i as usize
}

/// One box pass along every row: a running sum over a mirrored copy of the row.
fn box_along_rows<const C: usize>(from: &[f32], to: &mut [f32], width: usize, (whole, part): (usize, f32)) {
    let norm = 1.0 / (2.0 * (whole as f32 + part) + 1.0);
    let pad = whole + 1;
    let mut line: Vec<[f32; C]> = vec![[0.0; C]; width + 2 * pad];
    for (row, out) in from.chunks_exact(width * C).zip(to.chunks_exact_mut(width * C)) {
        for (i, l) in line.iter_mut().enumerate() {
            let x = mirror(i as isize - pad as isize, width);
            if let Some(p) = row.get(x * C..).and_then(|r| r.first_chunk::<C>()) {
                *l = *p;
            }
        }
        let mut sum = [0.0; C];
        for l in line.iter().skip(1).take(2 * whole + 1) {
            for c in 0..C {
                sum[c] += l[c];
            }
        }
        let ends = line.iter().zip(line.iter().skip(1)).zip(line.iter().skip(2 * pad));
        for (t, ((before, leaves), after)) in out.chunks_exact_mut(C).zip(ends) {
            for c in 0..C {
                t[c] = (sum[c] + part * (before[c] + after[c])) * norm;
                sum[c] += after[c] - leaves[c];
            }
        }
    }
}

/// One box pass across the rows: whole rows are added and taken away.
fn box_across_rows(from: &[f32], to: &mut [f32], row: usize, (whole, part): (usize, f32)) {
    let norm = 1.0 / (2.0 * (whole as f32 + part) + 1.0);
    let whole = whole as isize;
    let height = from.len() / row.max(1);
    let line = |y: isize| {
        let start = mirror(y, height) * row;
        from.get(start..start + row).unwrap_or(&[])
    };
    let mut sum = vec![0.0; row];
    for y in -whole..=whole {
        sum.iter_mut().zip(line(y)).for_each(|(s, v)| *s += v);
    }
    for (y, out) in to.chunks_exact_mut(row).enumerate() {
        let y = y as isize;
        let ends = line(y - whole - 1).iter().zip(line(y + whole + 1)).zip(line(y - whole));
        for ((t, s), ((before, after), leaves)) in out.iter_mut().zip(&mut sum).zip(ends) {
            *t = (*s + part * (before + after)) * norm;
            *s += after - leaves;
        }
    }
}

/// The same for wide kernels: on a grid of a quarter, brought back bilinearly.
fn blurred_coarse<const C: usize>(picture: &[f32], width: usize, height: usize, sigma: f32) -> Vec<f32> {
    const STEP: usize = 4;
    if sigma < 2.0 * STEP as f32 {
        return blurred::<C>(picture, width, height, sigma);
    }
    let (cw, ch) = (width.div_ceil(STEP), height.div_ceil(STEP));
    let mut coarse = vec![0.0; cw * ch * C];
    for cy in 0..ch {
        for cx in 0..cw {
            let (x1, y1) = (((cx + 1) * STEP).min(width), ((cy + 1) * STEP).min(height));
            let count = ((x1 - cx * STEP) * (y1 - cy * STEP)) as f32;
            for y in cy * STEP..y1 {
                for x in cx * STEP..x1 {
                    for c in 0..C {
                        coarse[(cy * cw + cx) * C + c] += picture[(y * width + x) * C + c] / count;
                    }
                }
            }
        }
    }
    // The box of the reduction and the tent of the enlargement blur by themselves.
    let own = (1.0 / 12.0 + 1.0 / 6.0) * (STEP * STEP) as f32;
    let coarse = blurred::<C>(&coarse, cw, ch, (sigma * sigma - own).max(0.0).sqrt() / STEP as f32);
    let mut out = Vec::with_capacity(width * height * C);
    for y in 0..height {
        for x in 0..width {
            let p = [(x as f32 + 0.5) / STEP as f32, (y as f32 + 0.5) / STEP as f32];
            out.extend_from_slice(&raster::sample::<C>(&coarse, cw, ch, p));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blur_keeps_a_constant_and_has_the_variance_asked_for() {
        let flat = blurred::<2>(&[3.0; 2 * 40 * 30], 40, 30, 3.0);
        assert!(flat.iter().all(|v| (v - 3.0).abs() < 1e-4));
        for (sigma, f) in [
            (1.7, blurred::<1> as fn(&[f32], usize, usize, f32) -> Vec<f32>),
            (12.0, blurred_coarse::<1>),
            (9.0, blurred_coarse::<1>),
        ] {
            let (w, h) = (129, 129);
            let mut dot = vec![0.0; w * h];
            dot[64 * w + 64] = 1.0;
            let out = f(&dot, w, h, sigma);
            let sum: f32 = out.iter().sum();
            let variance: f32 = out
                .iter()
                .enumerate()
                .map(|(i, v)| v * ((i % w) as f32 - 64.0).powi(2))
                .sum::<f32>()
                / sum;
            assert!((sum - 1.0).abs() < 0.05, "sigma {sigma}: sum {sum}");
            assert!(
                (variance.sqrt() / sigma - 1.0).abs() < 0.08,
                "sigma {sigma}: got {}",
                variance.sqrt()
            );
        }
    }

    #[test]
    fn smoothstep_is_flat_outside_its_range() {
        assert_eq!(smoothstep(-1.0, 0.0, 1.0), 0.0);
        assert_eq!(smoothstep(2.0, 0.0, 1.0), 1.0);
        assert_eq!(smoothstep(0.5, 0.0, 1.0), 0.5);
    }
}
