//! Lays a target's texture on a face: geometry, light, visibility, alpha; and what is shown of it.
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
//! | CUDA twin | `cuda/paint_face.cu`, `cuda/finish_face.cu`; what they take stands in [`crate::cuda::Painter`] |
//!
//! All lengths are fractions of the distance between the outer eye corners, so they hold at any crop size.
//! Everything runs inside the mesh's bounding box; low-passes on grids as coarse as their kernels allow.

mod compose;
mod shown;

pub use compose::{Composite, Compositor};
pub(crate) use shown::RIM_IOD;
pub use shown::{Board, Finish, weight};

use crate::match_face;
use crate::raster::Point;

/// Outer eye corners of the mesh.
const EYES: (usize, usize) = (33, 263);
/// Distance between them below which a mesh is degenerate, px.
const LEAST_IOD_PX: f32 = 8.0;
/// Low-passed difference of a channel, grey levels, from which and at which something is in front of the
/// face: other people's skin under the frame's light stays below.
const FRONT: (f32, f32) = (72.0, 108.0);
/// Low-pass of that difference, inter-ocular units: wider than a brow.
const FRONT_SIGMA_IOD: f32 = 0.09;
/// Area from which it is worth a second try without it, squared inter-ocular units.
const FRONT_AREA_IOD2: f32 = 0.002;
/// Low-pass of how much a pixel's triangle faces the viewer, inter-ocular units.
const FACING_SIGMA_IOD: f32 = 0.04;
/// Pixels below which a face is too small or too far turned to be painted.
pub const LEAST_PAINTED_PX: usize = 100;
/// Luma weights.
const LUMA: [f32; 3] = match_face::LUMA;

/// What textures lie on: the canonical mesh and what is known of each texel.
#[derive(Debug, Clone, Copy)]
pub struct Sheet<'a> {
    /// Side of a texture, px.
    pub size_px: usize,
    /// Canonical mesh, px of a texture, centres at integer + 0.5.
    pub canonical_px: &'a [Point],
    /// Triangles, clockwise in the picture; the first [`Self::openings`] span the eyes and the mouth.
    pub triangles: &'a [[u16; 3]],
    /// Triangles of the openings, which are not painted.
    pub openings: usize,
    /// Three channels a texel, 0–1: paint's opacity, where hair or a hand may win over it, where it is bare.
    pub mask: &'a [f32],
}

/// How a face is painted, for one size of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// Light, colour and grain.
    pub matching: match_face::Recipe,
    /// Cosine to the viewer where a triangle starts to fade in, and from which it is fully painted.
    pub facing: (f32, f32),
    /// Low-pass of that, px.
    pub facing_sigma_px: f32,
    /// Low-passed difference, grey levels, from which the rim starts to give way, and gives way fully.
    pub occlusion: (f32, f32),
    /// Low-pass of that difference, px.
    pub occlusion_sigma_px: f32,
    /// Low-pass of what is painted on the forehead, px.
    pub bare_sigma_px: f32,
    /// Low-passed difference of a channel, grey levels, from which and at which something is in front.
    pub front: (f32, f32),
    /// Low-pass of that difference, px.
    pub front_sigma_px: f32,
    /// Area of it from which it counts, px².
    pub front_area_px2: f32,
}

impl Recipe {
    /// With the constants that no pack names; `(facing, occlusion)` are ranges, `(occlusion, bare)` sigmas in
    /// distances between the outer eye corners.
    #[must_use]
    pub fn new(
        matching: match_face::Recipe,
        (facing, occlusion): ((f32, f32), (f32, f32)),
        (occlusion_sigma_iod, bare_sigma_iod): (f32, f32),
        iod_px: f32,
    ) -> Self {
        Self {
            matching,
            facing,
            facing_sigma_px: FACING_SIGMA_IOD * iod_px,
            occlusion,
            occlusion_sigma_px: occlusion_sigma_iod * iod_px,
            bare_sigma_px: bare_sigma_iod * iod_px,
            front: FRONT,
            front_sigma_px: FRONT_SIGMA_IOD * iod_px,
            front_area_px2: FRONT_AREA_IOD2 * iod_px * iod_px,
        }
    }
}

/// A crop with the mesh in it.
#[derive(Debug, Clone, Copy)]
pub struct Face<'a> {
    /// Interleaved RGB, 0–255; empty where only a device has it.
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

impl Face<'_> {
    /// What the mesh reaches; `None` where it is degenerate, not finite, or lies outside.
    pub(crate) fn window(&self) -> Option<Window> {
        let finite = |p: &[Point]| p.iter().flatten().all(|v| v.is_finite());
        let sound = self.moved.len() == self.points.len() && finite(self.points) && finite(self.moved);
        iod_px(self.points).filter(|iod| sound && *iod >= LEAST_IOD_PX)?;
        Window::of(self.moved, self.width, self.height)
    }
}

/// Distance between the outer eye corners of a mesh; `None` where they are missing.
#[must_use]
pub fn iod_px(points: &[Point]) -> Option<f32> {
    let (a, b) = (points.get(EYES.0)?, points.get(EYES.1)?);
    Some((a[0] - b[0]).hypot(a[1] - b[1]))
}

/// The part of a picture that the mesh reaches.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
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

    pub(crate) fn len(&self) -> usize {
        self.width * self.height
    }
}

fn smoothstep(v: f32, lo: f32, hi: f32) -> f32 {
    let u = ((v - lo) / (hi - lo)).clamp(0.0, 1.0);
    u * u * (3.0 - 2.0 * u)
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
