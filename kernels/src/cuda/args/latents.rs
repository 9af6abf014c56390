//! Arguments of the kernels that never see a frame: cached edits and solver steps.

/// Most faces a launch of `warp_triangles` and `warp_edit`.
pub const FEW_WARPED: usize = 8;

/// One face of [`WarpArgs`]; addresses, 0 as `cuda/warp_edit.cu` says.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct WarpFace {
    /// Points now and their depth, three `f32` each.
    pub points: u64,
    /// Edit, RGB `f32`.
    pub edit: u64,
    /// Points that it was made at, two `f32` each; 0 = unmoved.
    pub edit_points: u64,
    /// Earlier edit; 0 = none.
    pub before: u64,
    /// Its points.
    pub before_points: u64,
    /// Scratch, twenty `f32` a triangle.
    pub triangles: u64,
    /// Output.
    pub out: u64,
    /// Of the crop, px.
    pub side: i32,
    /// Share of `edit`.
    pub share: f32,
}

/// Arguments of `warp_triangles` and `warp_edit`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct WarpArgs {
    /// The faces.
    pub few: [WarpFace; FEW_WARPED],
    /// Corners of the triangles, four `u16` each.
    pub corners: u64,
    /// How many faces.
    pub faces: i32,
    /// How many triangles.
    pub triangles: i32,
}

impl WarpArgs {
    /// Blocks over the triangles.
    #[must_use]
    pub fn triangle_grid(&self) -> [u32; 3] {
        [(self.triangles.max(1) as u32).div_ceil(256), 1, self.faces.max(1) as u32]
    }

    /// Blocks over the crops.
    #[must_use]
    pub fn crop_grid(&self) -> [u32; 3] {
        let faces = self.few.iter().take(self.faces.max(0) as usize);
        let side = faces.map(|f| f.side.max(1) as u32).fold(1, u32::max);
        [side.div_ceil(32), side.div_ceil(8), self.faces.max(1) as u32]
    }
}

/// One face of [`EditArgs`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "as in `edit_step::EditStep` and `edit_step::rescale_factor`")]
pub struct EditFace {
    pub carry: f32,
    pub data: f32,
    pub history: f32,
    pub guidance: f32,
    pub rescale: f32,
    pub alpha: f32,
    pub p: f32,
    pub q: f32,
    pub pinned: i32,
    pub drop_residual: i32,
    pub noise_p: f64,
    pub noise_q: f64,
    pub level_alpha: f64,
    pub level_sigma: f64,
    pub strength: f64,
}

/// Most faces whose constants travel in the argument itself.
pub const FEW_FACES: usize = 8;

/// Arguments of `edit_moments` and `edit_step`; `few` is the constants where `faces` is 0; all but the six before it are addresses.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "as in `edit_step::EditOperands`; the contract stands in cuda/edit_step.cu")]
pub struct EditArgs {
    pub faces: u64,
    pub x: u64,
    pub x_next: u64,
    pub output_ref: u64,
    pub output_u: u64,
    pub output_c: u64,
    pub mask: u64,
    pub delta: u64,
    pub history: u64,
    pub out: u64,
    pub partials: u64,
    pub len: i32,
    pub mask_len: i32,
    pub chunks: i32,
    pub stock: i32,
    pub half: i32,
    pub spare: i32,
    /// The constants where `faces` is 0: so few need no copy of their own.
    pub few: [EditFace; FEW_FACES],
}
