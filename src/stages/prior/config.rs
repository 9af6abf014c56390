//! The constants of the composite's recipe, as a pack's basis gives them.

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
    /// Low-pass of what is painted on the forehead, inter-ocular units.
    pub bare_sigma_iod: f32,
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
            ("bare_sigma_iod", within(self.bare_sigma_iod, 0.0, 1.0)),
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
            bare_sigma_iod: 0.10,
            shape_strength: 1.7,
            shape_clamp_sd: 2.0,
        }
    }
}
