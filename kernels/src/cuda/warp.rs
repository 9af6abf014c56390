//! `warp_edit` as an operator: cached edits moved along with their meshes.

use super::args::{FEW_WARPED, LINE_BLOCK, MOST_TRIANGLES, PIXEL_BLOCK, TRIANGLE, WarpArgs, WarpFace};
use super::driver::Grid;
use super::error::{CudaError, check};
use super::memory::{Buffer, Gpu, Plain};
use crate::image::MAX_SIDE_PX;

// SAFETY: `repr(C)`, numbers only, no gaps; `tests/cuda_host.rs` compares the sizes.
unsafe impl Plain for WarpArgs {}

/// Entries of `warp_edit.cu`, in the order of their launches.
const WARP: [&str; 2] = ["warp_triangles", "warp_edit"];

/// One cached edit of [`warp`].
#[derive(Debug, Clone, Copy)]
pub struct WarpEdit<'a> {
    /// RGB differences.
    pub rgb: &'a Buffer<f32>,
    /// The points that it was made at, two values each; none = unmoved.
    pub points: Option<&'a Buffer<f32>>,
}

/// One face of [`warp`].
#[derive(Debug, Clone, Copy)]
pub struct WarpOperand<'a> {
    /// Points now, px of the crop, and their depth: three values each.
    pub points: &'a Buffer<f32>,
    /// The edit.
    pub edit: WarpEdit<'a>,
    /// The one before, faded out.
    pub before: Option<WarpEdit<'a>>,
    /// Share of `edit`, 0 to 1.
    pub share: f32,
}

/// Edits of all faces for a crop of `side` px, two launches for up to [`FEW_WARPED`] faces; `[face][row][column][rgb]`.
///
/// # Errors
/// Lengths or corners that do not fit, before anything is queued; [`CudaError`].
pub fn warp(gpu: &Gpu, triangles: &[[u16; 3]], faces: &[WarpOperand<'_>], side: usize) -> Result<Buffer<f32>, CudaError> {
    let op = "cuda::warp";
    let values = 3 * side * side;
    let sides = 1..=MAX_SIDE_PX as usize / 8;
    check(op, "side", sides.contains(&side), format!("{sides:?}"), side)?;
    let counts = 1..=MOST_TRIANGLES;
    check(
        op,
        "triangles",
        counts.contains(&triangles.len()),
        format!("{counts:?}"),
        triangles.len(),
    )?;
    let last = usize::from(triangles.iter().flatten().max().copied().unwrap_or(0));
    let edit = |e: &WarpEdit<'_>, points: usize, what| {
        check(op, what, e.rgb.len() == values, values, e.rgb.len())?;
        let at = e.points.map_or(Ok(0), |then| {
            check(op, "earlier points", then.len() == 2 * points, 2 * points, then.len())?;
            then.on(gpu, op, "earlier points")
        })?;
        Ok::<_, CudaError>((e.rgb.on(gpu, op, what)?, at))
    };
    let mut table = Vec::with_capacity(faces.len());
    for face in faces {
        let points = face.points.len() / 3;
        let fits = face.points.len().is_multiple_of(3) && points > last;
        check(
            op,
            "points",
            fits,
            format!("more than {last}, three values each"),
            face.points.len(),
        )?;
        check(op, "share", (0.0..=1.0).contains(&face.share), "0 to 1", face.share)?;
        let (now, edit_points) = edit(&face.edit, points, "edit")?;
        let (before, before_points) = face.before.as_ref().map_or(Ok((0, 0)), |b| edit(b, points, "earlier edit"))?;
        table.push(WarpFace {
            points: face.points.on(gpu, op, "points")?,
            edit: now,
            edit_points,
            before,
            before_points,
            side: side as i32,
            share: face.share,
            ..WarpFace::default()
        });
    }
    let corners: Vec<u16> = triangles.iter().flat_map(|t| [t[0], t[1], t[2], 0]).collect();
    let (corners, out) = (gpu.upload(&corners)?, gpu.unfilled(faces.len() * values)?);
    let records = gpu.unfilled::<f32>(faces.len() * TRIANGLE * triangles.len())?;
    for (n, face) in table.iter_mut().enumerate() {
        face.triangles = records.address() + (4 * n * TRIANGLE * triangles.len()) as u64;
        face.out = out.address() + (4 * n * values) as u64;
    }
    queue_warp(gpu, corners.address(), triangles.len(), &table)?;
    Ok(out)
}

/// The same for faces whose addresses are put in.
pub(super) fn queue_warp(gpu: &Gpu, corners: u64, triangles: usize, faces: &[WarpFace]) -> Result<(), CudaError> {
    for few in faces.chunks(FEW_WARPED) {
        let mut args = WarpArgs {
            corners,
            faces: few.len() as i32,
            triangles: triangles as i32,
            ..WarpArgs::default()
        };
        args.few.iter_mut().zip(few).for_each(|(to, face)| *to = *face);
        let grids = [(args.triangle_grid(), LINE_BLOCK), (args.crop_grid(), PIXEL_BLOCK)];
        for (entry, (blocks, threads)) in grids.into_iter().enumerate() {
            // SAFETY: every buffer is as long as the contract wants: the callers checked them.
            unsafe { gpu.launch("warp_edit", &WARP, entry, Grid { blocks, threads }, &args) }?;
        }
    }
    Ok(())
}
