//! Composites by the processor, which is what a device is held against.

use super::{Face, LEAST_PAINTED_PX, LUMA, Recipe, Sheet, Window, smoothstep};
use crate::lowpass::{Border, LowPass};
use crate::match_face::{self, Paint, Rows};
use crate::raster::{self, NONE, Point, Raster, TriangleMap};

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

impl Compositor {
    /// One composite into `out`; `false` where the mesh is degenerate, `out` is then not to be used.
    /// `texture`: interleaved RGB, 0–255, and the mask's alpha, 0–1, as large as the sheet.
    /// `keeps_front` leaves standing what differs from any lit face: a microphone, a hand against the light.
    pub fn composite(
        &mut self,
        face: &Face<'_>,
        sheet: &Sheet<'_>,
        texture: &[f32],
        recipe: &Recipe,
        keeps_front: bool,
        out: &mut Composite,
    ) -> bool {
        let fits = face.crop.len() == face.width * face.height * 3;
        let Some(window) = face.window().filter(|_| fits) else {
            return false;
        };
        self.window = window;
        self.draw(face, sheet, recipe);
        if self.sample(face, sheet, texture) < LEAST_PAINTED_PX {
            return false;
        }
        self.face_away(recipe);
        self.match_paint(sheet, recipe);
        self.lay_bare(recipe);
        self.give_way(recipe);
        out.has_front = keeps_front && self.keep_front(recipe);
        self.write(face, out);
        true
    }

    /// Which triangle covers each pixel, where it comes from, and how much it faces the viewer.
    fn draw(&mut self, face: &Face<'_>, sheet: &Sheet<'_>, recipe: &Recipe) {
        let window = self.window;
        let (x, y) = (window.x as f32, window.y as f32);
        self.shifted.clear();
        self.shifted.extend(face.moved.iter().map(|p| [p[0] - x, p[1] - y]));
        let triangles = sheet.triangles;
        self.raster.draw(&self.shifted, face.depth, triangles, window.width, window.height);
        raster::maps(&self.shifted, face.points, triangles, &mut self.to_source);
        raster::maps(&self.shifted, sheet.canonical_px, triangles, &mut self.to_texture);
        self.facing_of.clear();
        self.facing_of.extend(
            triangles
                .iter()
                .map(|&t| smoothstep(cos_to_viewer(face.moved, face.depth, t), recipe.facing.0, recipe.facing.1)),
        );
    }

    /// Base, texture, mask and facing of every pixel; returns how many are painted. The triangles that
    /// close eyes and mouth move the base along and are not painted.
    fn sample(&mut self, face: &Face<'_>, sheet: &Sheet<'_>, texture: &[f32]) -> usize {
        let window = self.window;
        let openings = sheet.openings;
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
                let (Some(source), Some(to_texture)) = (self.to_source.get(t), self.to_texture.get(t)) else {
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
                let from = to_texture.apply(px, py);
                self.lit.push(raster::sample::<4>(texture, sheet.size_px, sheet.size_px, from));
                let [_, hide, bare] = raster::sample::<3>(sheet.mask, sheet.size_px, sheet.size_px, from);
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
    fn face_away(&mut self, recipe: &Recipe) {
        let Window { width, height, .. } = self.window;
        let facing = &self.facing;
        self.pass.run(width, height, recipe.facing_sigma_px, Border::Zero, |x, y| {
            [facing.get(y * width + x).copied().unwrap_or(0.0)]
        });
        self.alpha.clear();
        for (y, lit) in self.lit.chunks_exact(width).enumerate() {
            self.pass.row(y, &mut self.rows.one);
            self.alpha.extend(lit.iter().zip(&self.rows.one).map(|(l, f)| l[3] * f[0].min(1.0)));
        }
    }

    /// The frame's light, colour and grain on the texture.
    fn match_paint(&mut self, sheet: &Sheet<'_>, recipe: &Recipe) {
        let Window { width, height, .. } = self.window;
        let openings = sheet.openings;
        self.painted.clear();
        let is_painted = |t: &u16| u8::from(*t != NONE && usize::from(*t) >= openings);
        self.painted.extend(self.raster.index.iter().map(is_painted));
        let recipe = &recipe.matching;
        let mut paint = Paint {
            width,
            height,
            paint: &mut self.lit,
            base: &self.base,
            alpha: &self.alpha,
            painted: &self.painted,
        };
        match_face::light(&mut paint, recipe, &mut self.pass, &mut self.rows);
        if recipe.is_grained() {
            match_face::grain(&mut paint, recipe, &mut self.pass, &mut self.rows, &mut self.fine);
        }
    }

    /// Takes the texture's strands and folds off the forehead; of the frame no more than its grain goes there.
    fn lay_bare(&mut self, recipe: &Recipe) {
        let grained = recipe.matching.is_grained();
        let Window { width, height, .. } = self.window;
        let lit = &self.lit;
        self.pass.run(width, height, recipe.bare_sigma_px, Border::Mirror, |x, y| {
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
    fn give_way(&mut self, recipe: &Recipe) {
        let Window { width, height, .. } = self.window;
        // What is not painted is the base: no difference.
        let (lit, base) = (&self.lit, &self.base);
        self.pass.run(width, height, recipe.occlusion_sigma_px, Border::Zero, |x, y| {
            let i = y * width + x;
            match (lit.get(i), base.get(i)) {
                (Some(l), Some(b)) => [luma([l[0] - b[0], l[1] - b[1], l[2] - b[2]])],
                _ => [0.0],
            }
        });
        for (y, (alpha, hide)) in self.alpha.chunks_exact_mut(width).zip(self.hide.chunks_exact(width)).enumerate() {
            self.pass.row(y, &mut self.rows.one);
            for ((a, h), d) in alpha.iter_mut().zip(hide).zip(&self.rows.one) {
                *a *= 1.0 - h * smoothstep(d[0].abs(), recipe.occlusion.0, recipe.occlusion.1);
            }
        }
    }

    /// What is in front of the face wins where it differs from the paint in colour more than another
    /// person's skin does, over an area wider than a brow. Skin over skin is not told apart.
    fn keep_front(&mut self, recipe: &Recipe) -> bool {
        let Window { width, height, .. } = self.window;
        let (lit, base) = (&self.lit, &self.base);
        self.pass.run(width, height, recipe.front_sigma_px, Border::Zero, |x, y| {
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
                let front = smoothstep(most, recipe.front.0, recipe.front.1);
                kept += front * *a;
                *a *= 1.0 - front;
            }
        }
        kept > recipe.front_area_px2
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
