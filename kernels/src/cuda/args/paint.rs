//! Arguments of `match_face`'s kernels.

use super::super::error::{CudaError, check};
use crate::image::MAX_SIDE_PX;
use crate::lowpass::Plan;
use crate::match_face::Recipe;

/// Most faces a launch.
pub const FEW_PAINTS: usize = 8;

/// One low-pass of a face.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LowPass {
    step: i32,
    pub(super) across: i32,
    pub(super) down: i32,
    radius: i32,
    sigma: f32,
    share: f32,
}

impl LowPass {
    pub(super) fn of(plan: &Plan) -> Self {
        let radius = plan.radius();
        let sum = 2.0 * (0..=radius).map(|t| plan.tap(t)).sum::<f32>() - plan.tap(0);
        Self {
            step: plan.step as i32,
            across: plan.across as i32,
            down: plan.down as i32,
            radius: radius as i32,
            sigma: plan.sigma,
            share: 1.0 / sum,
        }
    }

    pub(super) fn cells(&self) -> usize {
        (self.across * self.down) as usize
    }
}

/// One face; addresses as `cuda/match_face.cu` has them.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct PaintFace {
    /// Paint, four `f32` a pixel.
    pub paint: u64,
    /// Frame, three.
    pub base: u64,
    /// Alpha, one.
    pub alpha: u64,
    /// Where there is paint, one byte.
    pub painted: u64,
    /// Fine parts, four `f32`.
    pub fine: u64,
    /// Scratch of [`Self::scratch`] `f32`.
    pub grid: u64,
    /// The same once more.
    pub other: u64,
    width: i32,
    height: i32,
    pass: [LowPass; 3],
    contrast: [f32; 2],
    grain: [f32; 2],
}

impl PaintFace {
    /// A face of that size; addresses are the caller's to put in.
    ///
    /// # Errors
    /// [`CudaError::Argument`]: a size out of bounds, a recipe that is not finite or whose bounds are crossed.
    pub fn new(width: usize, height: usize, recipe: &Recipe) -> Result<Self, CudaError> {
        let op = "cuda::match_faces";
        let side = 1..=MAX_SIDE_PX as usize;
        let fits = side.contains(&width) && side.contains(&height) && width * height <= 1 << 24;
        check(op, "size", fits, "1 to 2^24 px", format!("{width}x{height}"))?;
        let sigmas = [recipe.light_sigma_px, recipe.fine_sigma_px, recipe.area_sigma_px];
        let ordered = |(least, most): (f32, f32)| least >= 0.0 && least <= most && most.is_finite();
        let sound = sigmas.iter().all(|s| (0.0..=MAX_SIDE_PX as f32).contains(s)) && ordered(recipe.contrast) && ordered(recipe.grain);
        check(
            op,
            "recipe",
            sound,
            "finite sigmas of 0 or more, least below most",
            format!("{recipe:?}"),
        )?;
        Ok(Self {
            width: width as i32,
            height: height as i32,
            pass: sigmas.map(|sigma| LowPass::of(&Plan::of(width, height, sigma))),
            contrast: [recipe.contrast.0, recipe.contrast.1],
            grain: [recipe.grain.0, recipe.grain.1],
            ..Self::default()
        })
    }

    /// Pixels.
    #[must_use]
    pub fn area(&self) -> usize {
        self.width as usize * self.height as usize
    }

    /// Values of each scratch grid.
    #[must_use]
    pub fn scratch(&self) -> usize {
        let values = self.pass.iter().zip([7, 4, 3]).map(|(p, channels)| p.cells() * channels);
        values.max().unwrap_or(0)
    }

    fn cells(&self, stage: usize) -> [u32; 2] {
        self.pass.get(stage).map_or([0; 2], |p| [p.across as u32, p.down as u32])
    }
}

/// Arguments of `match_cells`, `match_across`, `match_down` and `match_apply`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct MatchArgs {
    /// The faces.
    pub few: [PaintFace; FEW_PAINTS],
    /// How many.
    pub faces: i32,
    /// 0 light, 1 fine parts, 2 grain.
    pub stage: i32,
}

impl MatchArgs {
    fn grid(&self, side: impl Fn(&PaintFace) -> [u32; 2]) -> [u32; 3] {
        let faces = self.few.iter().take(self.faces.max(0) as usize);
        let [across, down] = faces.map(side).fold([1, 1], |a, b| [a[0].max(b[0]), a[1].max(b[1])]);
        [across.div_ceil(32), down.div_ceil(8), self.faces.max(1) as u32]
    }

    /// Blocks over the cells of the stage.
    #[must_use]
    pub fn cells_grid(&self) -> [u32; 3] {
        self.grid(|f| f.cells(self.stage as usize))
    }

    /// Blocks over the pixels.
    #[must_use]
    pub fn pixel_grid(&self) -> [u32; 3] {
        self.grid(|f| [f.width as u32, f.height as u32])
    }
}
