//! `match_face` as an operator: the frame's light, colour and grain on painted faces, on the device.

use super::args::{FEW_PAINTS, MatchArgs, PIXEL_BLOCK, PaintFace};
use super::driver::Grid;
use super::error::{CudaError, check};
use super::memory::{Buffer, Gpu, Plain};
use crate::match_face::Recipe;

// SAFETY: `repr(C)`, numbers only, no gaps; `tests/cuda_host.rs` compares the sizes.
unsafe impl Plain for MatchArgs {}

/// Entries of `match_face.cu`, in the order of their launches.
const MATCH: [&str; 4] = ["match_cells", "match_across", "match_down", "match_apply"];
/// Light, fine parts, grain.
const STAGES: i32 = 3;

/// One face of [`match_faces`], `width * height` pixels in each buffer.
#[derive(Debug)]
pub struct PaintOperand<'a> {
    /// Width, px.
    pub width: usize,
    /// Height, px.
    pub height: usize,
    /// Four values a pixel: RGB 0–255 and one of the caller's; matched in place.
    pub paint: &'a mut Buffer<f32>,
    /// The frame, RGB 0–255.
    pub base: &'a Buffer<f32>,
    /// How much of the paint is shown, 0–1.
    pub alpha: &'a Buffer<f32>,
    /// 1 where there is paint.
    pub painted: &'a Buffer<u8>,
    /// How.
    pub recipe: Recipe,
    /// Four values a pixel: gets the fine parts of the paint as it was and of the frame's luma, unless the recipe
    /// leaves the grain as it is.
    pub fine: &'a mut Buffer<f32>,
}

impl PaintOperand<'_> {
    fn args(&self, gpu: &Gpu) -> Result<PaintFace, CudaError> {
        let op = "cuda::match_faces";
        let mut face = PaintFace::new(self.width, self.height, &self.recipe)?;
        let area = face.area();
        for (what, want, got) in [
            ("paint", 4 * area, self.paint.len()),
            ("base", 3 * area, self.base.len()),
            ("alpha", area, self.alpha.len()),
            ("painted", area, self.painted.len()),
            ("fine", 4 * area, self.fine.len()),
        ] {
            check(op, what, got == want, want, got)?;
        }
        face.paint = self.paint.on(gpu, op, "paint")?;
        face.base = self.base.on(gpu, op, "base")?;
        face.alpha = self.alpha.on(gpu, op, "alpha")?;
        face.painted = self.painted.on(gpu, op, "painted")?;
        face.fine = self.fine.on(gpu, op, "fine")?;
        Ok(face)
    }
}

/// The frame's light, colour and grain on painted faces; twelve launches for up to [`FEW_PAINTS`] faces, four where
/// no recipe asks for grain. Contract: `cuda/match_face.cu`, formulas: [`crate::match_face`].
///
/// # Errors
/// Sizes, lengths or recipes that do not fit, before anything is queued; [`CudaError`].
pub fn match_faces(gpu: &Gpu, faces: &mut [PaintOperand<'_>]) -> Result<(), CudaError> {
    let mut checked = faces
        .iter()
        .map(|face| Ok((face.args(gpu)?, face.recipe.is_grained())))
        .collect::<Result<Vec<_>, CudaError>>()?;
    let mut grids = Vec::with_capacity(2 * checked.len());
    for (face, _) in &mut checked {
        let (grid, other) = (gpu.unfilled::<f32>(face.scratch())?, gpu.unfilled::<f32>(face.scratch())?);
        (face.grid, face.other) = (grid.address(), other.address());
        grids.extend([grid, other]);
    }
    queue_match(gpu, &checked)
}

/// The same for faces whose addresses are put in; each with whether its grain is matched.
pub(super) fn queue_match(gpu: &Gpu, faces: &[(PaintFace, bool)]) -> Result<(), CudaError> {
    // Faces that keep their grain stop after the first stage.
    let mut sorted = faces.to_vec();
    sorted.sort_by_key(|(_, grained)| !grained);
    for few in sorted.chunks(FEW_PAINTS) {
        let mut args = MatchArgs::default();
        args.few.iter_mut().zip(few).for_each(|(to, (face, _))| *to = *face);
        for stage in 0..STAGES {
            let faces = few.iter().filter(|(_, grained)| *grained || stage == 0).count();
            if faces == 0 {
                break;
            }
            (args.faces, args.stage) = (faces as i32, stage);
            let (cells, pixels) = (args.cells_grid(), args.pixel_grid());
            for (entry, blocks) in [cells, cells, cells, pixels].into_iter().enumerate() {
                let grid = Grid {
                    blocks,
                    threads: PIXEL_BLOCK,
                };
                // SAFETY: every buffer is as long as the contract wants: the callers checked them.
                unsafe { gpu.launch("match_face", &MATCH, entry, grid, &args) }?;
            }
        }
    }
    Ok(())
}
