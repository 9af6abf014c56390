//! Lays a target's texture on a face: [`nullface_kernels::paint_face`], by a pack's basis and recipe.

use nullface_kernels::match_face;
use nullface_kernels::paint_face::{self, Recipe, Sheet, iod_px};

use super::basis::Basis;
use super::config::CompositeConfig;
use super::target::Target;

pub use nullface_kernels::paint_face::{Composite, Face};

/// Makes composites; keeps buffers from frame to frame.
#[derive(Debug, Default)]
pub struct Compositor(paint_face::Compositor);

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
        let Some(iod_px) = iod_px(face.points) else { return false };
        let recipe = config.recipe(iod_px);
        self.0.composite(face, &basis.sheet(), &target.texture, &recipe, keeps_front, out)
    }
}

impl Basis {
    /// What textures lie on.
    #[must_use]
    pub fn sheet(&self) -> Sheet<'_> {
        Sheet {
            size_px: self.size_px,
            canonical_px: &self.canonical_px,
            triangles: &self.triangles,
            openings: self.triangles.len() - self.painted().len(),
            mask: &self.mask,
        }
    }
}

impl CompositeConfig {
    /// The recipe for a face of that distance between the outer eye corners, px.
    #[must_use]
    pub fn recipe(&self, iod_px: f32) -> Recipe {
        let matching = match_face::Recipe {
            light_sigma_px: self.light_sigma_iod * iod_px,
            contrast: (self.contrast_min, self.contrast_max),
            fine_sigma_px: self.grain_fine_iod * iod_px,
            area_sigma_px: self.grain_area_iod * iod_px,
            grain: (self.grain_min, self.grain_max),
        };
        let ranges = ((self.facing_lo, self.facing_hi), (self.occlusion_lo, self.occlusion_hi));
        Recipe::new(matching, ranges, (self.occlusion_sigma_iod, self.bare_sigma_iod), iod_px)
    }
}
