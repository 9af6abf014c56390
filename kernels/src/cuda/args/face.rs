//! Arguments of the kernels that paint and finish faces.

use super::paint::LowPass;
use crate::lowpass::Plan;
use crate::paint_face::{RIM_IOD, Recipe, Window};

/// Most faces a launch.
pub const FEW_PAINTED: usize = 8;
/// Most triangles of a mesh.
pub const MOST_TRIANGLES: usize = 4096;
/// Values of a triangle's record.
pub(crate) const TRIANGLE: usize = 20;
/// Values of a point.
pub(crate) const POINT: usize = 5;

/// Channels of each low-pass: facing, paint, two differences to the frame, what the mesh covers.
const CHANNELS: [usize; 5] = [1, 3, 1, 3, 1];

/// One face of [`PaintArgs`]; addresses as `cuda/paint_face.cu` has them.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct PaintedFace {
    pub(crate) points: u64,
    pub(crate) canvas: u64,
    pub(crate) texture: u64,
    pub(crate) triangles: u64,
    pub(crate) base: u64,
    pub(crate) lit: u64,
    pub(crate) rim: u64,
    pub(crate) facing: u64,
    pub(crate) alpha: u64,
    pub(crate) painted: u64,
    pub(crate) inside: u64,
    pub(crate) fine: u64,
    pub(crate) grid: u64,
    pub(crate) other: u64,
    pub(crate) picture: u64,
    pub(crate) shown: u64,
    pub(crate) weight: u64,
    pub(crate) partial: u64,
    pub(crate) totals: u64,
    x: i32,
    y: i32,
    width: i32,
    height: i32,
    side: i32,
    k: i32,
    pub(crate) still: i32,
    pub(crate) keeps_front: i32,
    grained: i32,
    spare: i32,
    pass: [LowPass; 5],
    facing_range: [f32; 2],
    occlusion: [f32; 2],
    front: [f32; 2],
}

impl PaintedFace {
    /// A face whose mesh reaches `window` of a canvas of `side` px, `k` of them a px of the crop.
    pub(crate) fn new(window: &Window, (side, k): (usize, usize), recipe: &Recipe, iod_px: f32) -> Self {
        let own = |sigma| LowPass::of(&Plan::of(window.width, window.height, sigma));
        Self {
            x: window.x as i32,
            y: window.y as i32,
            width: window.width as i32,
            height: window.height as i32,
            side: side as i32,
            k: k as i32,
            grained: i32::from(recipe.matching.is_grained()),
            pass: [
                own(recipe.facing_sigma_px),
                own(recipe.bare_sigma_px),
                own(recipe.occlusion_sigma_px),
                own(recipe.front_sigma_px),
                LowPass::of(&Plan::of(side, side, RIM_IOD * iod_px)),
            ],
            facing_range: [recipe.facing.0, recipe.facing.1],
            occlusion: [recipe.occlusion.0, recipe.occlusion.1],
            front: [recipe.front.0, recipe.front.1],
            ..Self::default()
        }
    }

    /// Values of each scratch grid: of the stages that run together.
    pub(crate) fn scratch(&self) -> usize {
        let values = |stage: usize| self.pass.get(stage).map_or(0, LowPass::cells) * CHANNELS.get(stage).copied().unwrap_or(0);
        (values(0) + values(4)).max(values(1)).max(values(2) + values(3))
    }

    /// Values of the blocks' sums.
    pub(crate) fn partial(side: usize) -> usize {
        2 * side.div_ceil(32) * side.div_ceil(8)
    }

    fn cells(&self, stage: i32) -> [u32; 2] {
        let pass = usize::try_from(stage).ok().and_then(|s| self.pass.get(s));
        pass.map_or([0; 2], |p| [p.across as u32, p.down as u32])
    }
}

/// Arguments of `face_triangles`, `face_draw`, `face_cells`, `face_across`, `face_down`, `face_apply`, `face_write` and
/// `face_totals`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct PaintArgs {
    pub(crate) few: [PaintedFace; FEW_PAINTED],
    pub(crate) corners: u64,
    pub(crate) canonical: u64,
    pub(crate) mask: u64,
    pub(crate) faces: i32,
    pub(crate) triangles: i32,
    pub(crate) openings: i32,
    pub(crate) size: i32,
    pub(crate) stage: i32,
    pub(crate) second: i32,
}

impl PaintArgs {
    fn over(&self, side: impl Fn(&PaintedFace) -> [u32; 2]) -> [u32; 2] {
        let faces = self.few.iter().take(self.faces.max(0) as usize).map(side);
        faces.fold([1, 1], |a, b| [a[0].max(b[0]), a[1].max(b[1])])
    }

    /// Blocks over pixels or cells of all faces; `twice` where two stages run at once.
    fn blocks([across, down]: [u32; 2], faces: i32, twice: bool) -> [u32; 3] {
        let faces = faces.max(1) as u32;
        [across.div_ceil(32), down.div_ceil(8), if twice { 2 * faces } else { faces }]
    }

    /// Blocks over the triangles.
    pub(crate) fn triangle_grid(&self) -> [u32; 3] {
        [(self.triangles.max(1) as u32).div_ceil(256), 1, self.faces.max(1) as u32]
    }

    /// Blocks over the windows.
    pub(crate) fn window_grid(&self) -> [u32; 3] {
        Self::blocks(self.over(|f| [f.width as u32, f.height as u32]), self.faces, false)
    }

    /// Blocks over the canvases.
    pub(crate) fn canvas_grid(&self) -> [u32; 3] {
        Self::blocks(self.over(|f| [f.side as u32; 2]), self.faces, false)
    }

    /// Blocks over the cells of the stages.
    pub(crate) fn cells_grid(&self) -> [u32; 3] {
        let most = |f: &PaintedFace| {
            let (a, b) = (f.cells(self.stage), f.cells(self.second));
            [a[0].max(b[0]), a[1].max(b[1])]
        };
        Self::blocks(self.over(most), self.faces, self.second >= 0)
    }

    /// Blocks over what the stages are applied to.
    pub(crate) fn apply_grid(&self) -> [u32; 3] {
        let twice = self.second >= 0;
        let [across, down, faces] = if twice { self.canvas_grid() } else { self.window_grid() };
        [across, down, if twice { 2 * faces } else { faces }]
    }
}

/// One face of [`FinishArgs`]; addresses as `cuda/finish_face.cu` has them.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct FinishedFace {
    pub(crate) canvas: u64,
    pub(crate) picture: u64,
    pub(crate) shown: u64,
    pub(crate) weight: u64,
    pub(crate) edit: u64,
    pub(crate) out: u64,
    pub(crate) fresh: u64,
    pub(crate) seen: u64,
    pub(crate) side: i32,
    pub(crate) pitch: i32,
    pub(crate) k: i32,
    pub(crate) from_prior: i32,
}

/// Arguments of `face_thumb`, `face_crops` and `face_finish`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct FinishArgs {
    pub(crate) few: [FinishedFace; FEW_PAINTED],
    pub(crate) faces: i32,
    pub(crate) crop: i32,
    pub(crate) margin: i32,
    pub(crate) thumb: i32,
    pub(crate) ramp: f32,
    pub(crate) spare: i32,
}

impl FinishArgs {
    /// Blocks over rows of four pixels of the canvases.
    pub(crate) fn finish_grid(&self) -> [u32; 3] {
        let faces = self.few.iter().take(self.faces.max(0) as usize);
        let side = faces.map(|f| f.side as u32).fold(1, u32::max);
        [side.div_ceil(4).div_ceil(32), side.div_ceil(8), self.faces.max(1) as u32]
    }

    /// Blocks over the crop.
    pub(crate) fn crop_grid(&self) -> [u32; 3] {
        let side = self.crop.max(1) as u32;
        [side.div_ceil(32), side.div_ceil(8), self.faces.max(1) as u32]
    }

    /// Blocks over the thumbnail's cells.
    pub(crate) fn thumb_grid(&self) -> [u32; 3] {
        let cells = (self.thumb * self.thumb).max(1) as u32;
        [cells.div_ceil(256), 1, self.faces.max(1) as u32]
    }
}
