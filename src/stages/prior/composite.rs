//! Lays a target's texture on a face: geometry, light, visibility, alpha.
//!
//! | | contract |
//! |---|---|
//! | crop | interleaved RGB f32, 0–255, `width × height` |
//! | mesh | 468 points, crop px, centres at integer + 0.5; depth in crop px, towards the camera negative |
//! | base | the crop with the inner features moved along with the target's shape; equal to the crop at and outside the rim |
//! | lit | the texture under the frame's light: `low(base) + (texture − low(texture)) · g`, `g` the ratio of low luma clamped to the contrast range |
//! | forehead | low-passed, with the frame's grain: textures hold fringes and folds of those they are means of |
//! | alpha | texture mask · facing, faded where the rim looks unlike the face (hair, hand, microphone) |
//! | picture | `base (1 − alpha) + lit · alpha` |
//! | low | normalised convolution under alpha, so that no background leaks in |
//! | errors | `None` for a mesh that is degenerate or not finite |
//!
//! All lengths are fractions of the distance between the outer eye corners, so they hold at any crop size.
//! Everything runs inside the mesh's bounding box; low-passes on grids as coarse as their kernels allow.

use nullface_kernels::lowpass::{Border, LowPass};
use nullface_kernels::match_face::{self, Paint, Recipe, Rows};

use crate::frame::Point;

use super::basis::Basis;
use super::config::CompositeConfig;
use super::raster::{self, NONE, Raster, TriangleMap};
use super::target::Target;

/// Outer eye corners of the mesh.
const EYES: (usize, usize) = (33, 263);
/// Low-passed difference of a channel, grey levels, from which and at which something is in front of the
/// face: other people's skin under the frame's light stays below.
const FRONT: (f32, f32) = (72.0, 108.0);
/// Low-pass of that difference, inter-ocular units: wider than a brow.
const FRONT_SIGMA_IOD: f32 = 0.09;
/// Area from which it is worth a second try without it, squared inter-ocular units.
const FRONT_AREA_IOD2: f32 = 0.002;
/// Pixels below which a face is too small or too far turned to be painted.
const LEAST_PAINTED_PX: usize = 100;
/// Luma weights.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// A composite in crop coordinates.
#[derive(Debug, Clone, Default)]
pub struct Composite {
    /// `base (1 − alpha) + lit · alpha`, interleaved RGB, 0–255.
    pub picture: Vec<f32>,
    /// 0–1.
    pub alpha: Vec<f32>,
    /// Whether the moved mesh covers the pixel, eyes and mouth included: 1 or 0.
    pub inside: Vec<f32>,
    /// Whether something in front of the face was kept.
    pub has_front: bool,
}

/// Makes composites; keeps buffers from frame to frame. All of them hold the window about the mesh.
#[derive(Debug, Default)]
pub struct Compositor {
    raster: Raster,
    to_source: Vec<TriangleMap>,
    to_texture: Vec<TriangleMap>,
    facing_of: Vec<f32>,
    shifted: Vec<Point>,
    window: Window,
    /// The frame, inner features moved.
    base: Vec<[f32; 3]>,
    /// Texture and its alpha; then the texture under the frame's light.
    lit: Vec<[f32; 4]>,
    /// Where hair or hands may win.
    hide: Vec<f32>,
    /// Where the paint is bare.
    bare: Vec<f32>,
    facing: Vec<f32>,
    alpha: Vec<f32>,
    /// 1 where the texture paints.
    painted: Vec<u8>,
    /// Fine contrast of the paint, and of the frame's luma.
    fine: Vec<[f32; 4]>,
    pass: LowPass,
    rows: Rows,
}

/// The part of a picture that the mesh reaches.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Window {
    /// `None` where the mesh lies outside.
    fn of(points: &[Point], width: usize, height: usize) -> Option<Self> {
        let least = |axis: usize| points.iter().fold(f32::INFINITY, |m, p| m.min(p[axis])).floor().max(0.0) as usize;
        let most = |axis: usize, end: usize| {
            let most = points.iter().fold(f32::NEG_INFINITY, |m, p| m.max(p[axis])).ceil();
            (most.max(0.0) as usize).min(end)
        };
        let (x, y, right, bottom) = (least(0), least(1), most(0, width), most(1, height));
        (right > x && bottom > y).then(|| Self {
            x,
            y,
            width: right - x,
            height: bottom - y,
        })
    }

    fn len(&self) -> usize {
        self.width * self.height
    }
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
    /// `keeps_front` leaves standing what differs from any lit face: a microphone, a hand against the light.
    pub fn composite(
        &mut self,
        face: &Face<'_>,
        basis: &Basis,
        target: &Target,
        config: &CompositeConfig,
        keeps_front: bool,
        out: &mut Composite,
    ) -> bool {
        let (w, h) = (face.width, face.height);
        let (Some(a), Some(b)) = (face.points.get(EYES.0), face.points.get(EYES.1)) else {
            return false;
        };
        let iod = (a[0] - b[0]).hypot(a[1] - b[1]);
        let finite = |p: &[Point]| p.iter().flatten().all(|v| v.is_finite());
        let fits = face.crop.len() == w * h * 3 && face.moved.len() == face.points.len();
        if !(iod >= 8.0) || !fits || !finite(face.points) || !finite(face.moved) {
            return false;
        }
        let Some(window) = Window::of(face.moved, w, h) else { return false };
        self.window = window;
        self.draw(face, basis, config);
        if self.sample(face, basis, target) < LEAST_PAINTED_PX {
            return false;
        }
        self.face_away(iod);
        self.match_paint(basis, config, iod);
        self.lay_bare(config, iod);
        self.give_way(config, iod);
        out.has_front = keeps_front && self.keep_front(iod);
        self.write(face, out);
        true
    }

    /// Which triangle covers each pixel, where it comes from, and how much it faces the viewer.
    fn draw(&mut self, face: &Face<'_>, basis: &Basis, config: &CompositeConfig) {
        let window = self.window;
        let (x, y) = (window.x as f32, window.y as f32);
        self.shifted.clear();
        self.shifted.extend(face.moved.iter().map(|p| [p[0] - x, p[1] - y]));
        let triangles = &basis.triangles;
        self.raster.draw(&self.shifted, face.depth, triangles, window.width, window.height);
        raster::maps(&self.shifted, face.points, triangles, &mut self.to_source);
        raster::maps(&self.shifted, &basis.canonical_px, triangles, &mut self.to_texture);
        self.facing_of.clear();
        self.facing_of.extend(
            triangles
                .iter()
                .map(|&t| smoothstep(cos_to_viewer(face.moved, face.depth, t), config.facing_lo, config.facing_hi)),
        );
    }

    /// Base, texture, mask and facing of every pixel; returns how many are painted. The triangles that
    /// close eyes and mouth move the base along and are not painted.
    fn sample(&mut self, face: &Face<'_>, basis: &Basis, target: &Target) -> usize {
        let window = self.window;
        let openings = basis.triangles.len() - basis.painted().len();
        let still = face.points == face.moved;
        for v in [&mut self.hide, &mut self.bare, &mut self.facing] {
            v.clear();
            v.resize(window.len(), 0.0);
        }
        self.base.clear();
        self.lit.clear();
        let crop = face.crop.as_chunks::<3>().0;
        let mut painted = 0;
        for (y, line) in self.raster.index.chunks_exact(window.width).enumerate() {
            let start = (window.y + y) * face.width + window.x;
            let own = crop.get(start..start + window.width).unwrap_or(&[]);
            for (x, (&t, own)) in line.iter().zip(own).enumerate() {
                let t = usize::from(t);
                let (Some(source), Some(texture)) = (self.to_source.get(t), self.to_texture.get(t)) else {
                    self.base.push(*own);
                    self.lit.push([0.0; 4]);
                    continue;
                };
                let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
                self.base.push(if still {
                    *own
                } else {
                    raster::sample::<3>(face.crop, face.width, face.height, source.apply(px, py))
                });
                if t < openings {
                    self.lit.push([0.0; 4]);
                    continue;
                }
                let from = texture.apply(px, py);
                self.lit
                    .push(raster::sample::<4>(&target.texture, basis.size_px, basis.size_px, from));
                let [_, hide, bare] = raster::sample::<3>(&basis.mask, basis.size_px, basis.size_px, from);
                let i = y * window.width + x;
                if let (Some(h), Some(b), Some(f)) = (self.hide.get_mut(i), self.bare.get_mut(i), self.facing.get_mut(i)) {
                    (*h, *b) = (hide, bare);
                    *f = self.facing_of.get(t).copied().unwrap_or(0.0);
                }
                painted += 1;
            }
        }
        painted
    }

    /// Alpha: the texture's own, faded where the face turns away.
    fn face_away(&mut self, iod: f32) {
        let Window { width, height, .. } = self.window;
        let facing = &self.facing;
        self.pass.run(width, height, 0.04 * iod, Border::Zero, |x, y| {
            [facing.get(y * width + x).copied().unwrap_or(0.0)]
        });
        self.alpha.clear();
        for (y, lit) in self.lit.chunks_exact(width).enumerate() {
            self.pass.row(y, &mut self.rows.one);
            self.alpha.extend(lit.iter().zip(&self.rows.one).map(|(l, f)| l[3] * f[0].min(1.0)));
        }
    }

    /// The frame's light, colour and grain on the texture.
    fn match_paint(&mut self, basis: &Basis, config: &CompositeConfig, iod: f32) {
        let Window { width, height, .. } = self.window;
        let openings = basis.triangles.len() - basis.painted().len();
        self.painted.clear();
        let is_painted = |t: &u16| u8::from(*t != NONE && usize::from(*t) >= openings);
        self.painted.extend(self.raster.index.iter().map(is_painted));
        let recipe = recipe(config, iod);
        let mut paint = Paint {
            width,
            height,
            paint: &mut self.lit,
            base: &self.base,
            alpha: &self.alpha,
            painted: &self.painted,
        };
        match_face::light(&mut paint, &recipe, &mut self.pass, &mut self.rows);
        if recipe.is_grained() {
            match_face::grain(&mut paint, &recipe, &mut self.pass, &mut self.rows, &mut self.fine);
        }
    }

    /// Takes the texture's strands and folds off the forehead; of the frame no more than its grain goes there.
    fn lay_bare(&mut self, config: &CompositeConfig, iod: f32) {
        let grained = recipe(config, iod).is_grained();
        let Window { width, height, .. } = self.window;
        let lit = &self.lit;
        self.pass.run(width, height, config.bare_sigma_iod * iod, Border::Mirror, |x, y| {
            lit.get(y * width + x).map_or([0.0; 4], |l| [l[0], l[1], l[2], 0.0])
        });
        let rows = self.lit.chunks_exact_mut(width).zip(self.bare.chunks_exact(width));
        for (y, (lit, bare)) in rows.enumerate() {
            if bare.iter().all(|b| *b == 0.0) {
                continue;
            }
            self.pass.row(y, &mut self.rows.four);
            let grain = self.fine.get(y * width..(y + 1) * width).filter(|_| grained).unwrap_or(&[]);
            let grain = grain.iter().map(|f| f[3]).chain(std::iter::repeat(0.0));
            for (((l, b), grain), low) in lit.iter_mut().zip(bare).zip(grain).zip(&self.rows.four) {
                (0..3).for_each(|c| l[c] += ((low[c] + grain).clamp(0.0, 255.0) - l[c]) * b);
            }
        }
    }

    /// Hair and hands win where the rim looks unlike the face.
    fn give_way(&mut self, config: &CompositeConfig, iod: f32) {
        let Window { width, height, .. } = self.window;
        // What is not painted is the base: no difference.
        let (lit, base) = (&self.lit, &self.base);
        self.pass
            .run(width, height, config.occlusion_sigma_iod * iod, Border::Zero, |x, y| {
                let i = y * width + x;
                match (lit.get(i), base.get(i)) {
                    (Some(l), Some(b)) => [luma([l[0] - b[0], l[1] - b[1], l[2] - b[2]])],
                    _ => [0.0],
                }
            });
        for (y, (alpha, hide)) in self.alpha.chunks_exact_mut(width).zip(self.hide.chunks_exact(width)).enumerate() {
            self.pass.row(y, &mut self.rows.one);
            for ((a, h), d) in alpha.iter_mut().zip(hide).zip(&self.rows.one) {
                *a *= 1.0 - h * smoothstep(d[0].abs(), config.occlusion_lo, config.occlusion_hi);
            }
        }
    }

    /// What is in front of the face wins where it differs from the paint in colour more than another
    /// person's skin does, over an area wider than a brow. Skin over skin is not told apart.
    fn keep_front(&mut self, iod: f32) -> bool {
        let Window { width, height, .. } = self.window;
        let (lit, base) = (&self.lit, &self.base);
        self.pass.run(width, height, FRONT_SIGMA_IOD * iod, Border::Zero, |x, y| {
            let i = y * width + x;
            match (lit.get(i), base.get(i)) {
                (Some(l), Some(b)) => [l[0] - b[0], l[1] - b[1], l[2] - b[2], 0.0],
                _ => [0.0; 4],
            }
        });
        let mut kept = 0.0;
        for (y, alpha) in self.alpha.chunks_exact_mut(width).enumerate() {
            self.pass.row(y, &mut self.rows.four);
            for (a, d) in alpha.iter_mut().zip(&self.rows.four) {
                let most = d[0].abs().max(d[1].abs()).max(d[2].abs());
                let front = smoothstep(most, FRONT.0, FRONT.1);
                kept += front * *a;
                *a *= 1.0 - front;
            }
        }
        kept > FRONT_AREA_IOD2 * iod * iod
    }

    fn write(&self, face: &Face<'_>, out: &mut Composite) {
        let window = self.window;
        out.picture.clear();
        out.picture.extend_from_slice(face.crop);
        for v in [&mut out.alpha, &mut out.inside] {
            v.clear();
            v.resize(face.width * face.height, 0.0);
        }
        let rows = self.base.chunks_exact(window.width).zip(self.lit.chunks_exact(window.width));
        let masks = self
            .alpha
            .chunks_exact(window.width)
            .zip(self.raster.index.chunks_exact(window.width));
        for (y, ((base, lit), (alpha, index))) in rows.zip(masks).enumerate() {
            let start = (window.y + y) * face.width + window.x;
            let place = start..start + window.width;
            let (Some(picture), Some(to_alpha), Some(inside)) = (
                out.picture.as_chunks_mut::<3>().0.get_mut(place.clone()),
                out.alpha.get_mut(place.clone()),
                out.inside.get_mut(place),
            ) else {
                continue;
            };
            to_alpha.copy_from_slice(alpha);
            for ((p, b), (l, a)) in picture.iter_mut().zip(base).zip(lit.iter().zip(alpha)) {
                *p = std::array::from_fn(|c| b[c] + (l[c] - b[c]) * a);
            }
            for (i, t) in inside.iter_mut().zip(index) {
                *i = if *t == NONE { 0.0 } else { 1.0 };
            }
        }
    }
}

/// What the paint's match takes of the recipe, px.
fn recipe(config: &CompositeConfig, iod: f32) -> Recipe {
    Recipe {
        light_sigma_px: config.light_sigma_iod * iod,
        contrast: (config.contrast_min, config.contrast_max),
        fine_sigma_px: config.grain_fine_iod * iod,
        area_sigma_px: config.grain_area_iod * iod,
        grain: (config.grain_min, config.grain_max),
    }
}

fn luma(p: [f32; 3]) -> f32 {
    p[0] * LUMA[0] + p[1] * LUMA[1] + p[2] * LUMA[2]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothstep_is_flat_outside_its_range() {
        assert_eq!(smoothstep(-1.0, 0.0, 1.0), 0.0);
        assert_eq!(smoothstep(2.0, 0.0, 1.0), 1.0);
        assert_eq!(smoothstep(0.5, 0.0, 1.0), 0.5);
    }
}
