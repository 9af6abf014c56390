//! The kernels as operators with checked arguments. Contracts stand in `cuda/*.cu`; here lengths,
//! residency and geometry are checked before anything is queued, and nothing waits.

use super::args::{
    CompositeArgs, CoverArgs, CoverMode, CropArgs, CropMap, EditArgs, EditFace, FEW_FACES, FEW_MAPS, LINE_BLOCK, PIXEL_BLOCK, WeightArgs,
};
use super::driver::Grid;
use super::error::{CudaError, check};
use super::memory::{Buffer, Gpu, Plain};
use super::padded::{MaskAt, pad, padded_bytes};
use super::pass::queue_cover;
use crate::affine::Affine;
use crate::crop::{ChannelOrder, CropSpec, Layout, is_separable};
use crate::image::MAX_SIDE_PX;

pub use super::frame::DeviceFrame;
pub use super::paint::{PaintOperand, match_faces};
pub use super::warp::{WarpEdit, WarpOperand, warp};
use crate::mask::{Rect, RegionMask};

// SAFETY: `repr(C)`, numbers only, every gap filled by a named `spare`; `tests/cuda_host.rs` compares the sizes.
unsafe impl Plain for CropMap {}
// SAFETY: as above.
unsafe impl Plain for CropArgs {}
// SAFETY: as above.
unsafe impl Plain for CompositeArgs {}
// SAFETY: as above.
unsafe impl Plain for CoverArgs {}
// SAFETY: as above.
unsafe impl Plain for WeightArgs {}
// SAFETY: as above.
unsafe impl Plain for EditFace {}
// SAFETY: as above.
unsafe impl Plain for EditArgs {}

/// Entries of `crop_affine.cu`, `composite.cu` and `cover.cu`, in the order that launches number them.
const CROP: [&str; 2] = ["crop_affine", "crop_straight"];
pub(super) const COMPOSITE: [&str; 2] = ["composite", "weight_mask"];
pub(super) const COVER: [&str; 2] = ["cover_means", "cover_apply"];

/// Most faces a launch.
pub const MAX_FACES: usize = 4096;
/// Elements that one thread of `edit_step` takes.
const STEP_WIDTH: usize = 8;

/// Values of crops and latents: single or half precision.
pub trait Number: Plain {
    /// Whether half.
    const HALF: bool;
}

impl Number for f32 {
    const HALF: bool = false;
}

impl Number for half::f16 {
    const HALF: bool = true;
}

fn pixel_grid(width: usize, height: usize, faces: usize) -> Grid {
    Grid {
        blocks: [width.div_ceil(32) as u32, height.div_ceil(8) as u32, faces as u32],
        threads: PIXEL_BLOCK,
    }
}

fn sides(op: &'static str, width: usize, height: usize, faces: usize) -> Result<(), CudaError> {
    let side = 1..=MAX_SIDE_PX as usize;
    check(
        op,
        "size",
        side.contains(&width) && side.contains(&height),
        format!("1..={MAX_SIDE_PX} px a side"),
        format!("{width}x{height}"),
    )?;
    check(op, "faces", (1..=MAX_FACES).contains(&faces), format!("1..={MAX_FACES}"), faces)
}

/// Crops of all faces out of a frame, one launch; `[face][channel][row][column]` or `[face][row][column][channel]`.
///
/// # Errors
/// A size, a map or a scale that the kernel does not take; [`CudaError`].
pub fn crop<T: Number>(gpu: &Gpu, frame: &DeviceFrame, maps: &[Affine], spec: &CropSpec) -> Result<Buffer<T>, CudaError> {
    sides("cuda::crop", spec.width, spec.height, maps.len())?;
    let mut out = gpu.unfilled::<T>(maps.len() * 3 * spec.width * spec.height)?;
    crop_into(gpu, frame, maps, spec, &mut out)?;
    Ok(out)
}

/// The same into the beginning of a buffer; up to [`FEW_MAPS`] faces take no copy and no memory.
///
/// # Errors
/// As [`crop`], and a buffer that is too short or of another device.
pub fn crop_into<T: Number>(
    gpu: &Gpu,
    frame: &DeviceFrame,
    maps: &[Affine],
    spec: &CropSpec,
    out: &mut Buffer<T>,
) -> Result<(), CudaError> {
    crop_into_at(gpu, frame, maps, spec, out, 0)
}

/// The same into a buffer from value `start` on.
///
/// # Errors
/// As [`crop_into`].
pub fn crop_into_at<T: Number>(
    gpu: &Gpu,
    frame: &DeviceFrame,
    maps: &[Affine],
    spec: &CropSpec,
    out: &mut Buffer<T>,
    start: usize,
) -> Result<(), CudaError> {
    let op = "cuda::crop";
    sides(op, spec.width, spec.height, maps.len())?;
    let sound = spec.scale.is_finite() && spec.bias.is_finite();
    check(op, "scale, bias", sound, "finite", format!("{}, {}", spec.scale, spec.bias))?;
    let values = maps.len() * 3 * spec.width * spec.height;
    let room = out.len().saturating_sub(start);
    check(op, "crops", room >= values, format!("{values} values or more"), room)?;
    let mut few = [CropMap::default(); FEW_MAPS];
    let device = if maps.len() <= FEW_MAPS {
        for (to, map) in few.iter_mut().zip(maps) {
            *to = CropMap::new(map)?;
        }
        None
    } else {
        Some(gpu.upload(&maps.iter().map(CropMap::new).collect::<Result<Vec<_>, _>>()?)?)
    };
    let args = CropArgs {
        frame: frame.args(gpu, op)?,
        maps: device.as_ref().map_or(0, Buffer::address),
        out: out.on(gpu, op, "crops")? + (start * size_of::<T>()) as u64,
        width: spec.width as i32,
        height: spec.height as i32,
        faces: maps.len() as i32,
        bgr: i32::from(spec.order == ChannelOrder::Bgr),
        half: i32::from(T::HALF),
        interleaved: i32::from(spec.layout == Layout::Nhwc),
        scale: spec.scale,
        bias: spec.bias,
        few,
    };
    let grid = pixel_grid(spec.width, spec.height, maps.len());
    let entry = usize::from(maps.iter().all(is_separable));
    // SAFETY: the frame's planes, one map a face and the output are as long as the contract wants, by the lines above.
    unsafe { gpu.launch("crop_affine", &CROP, entry, grid, &args) }
}

/// A mask on a device, its rows on 16-byte borders.
#[derive(Debug)]
pub struct DeviceMask {
    rect: Rect,
    alpha: Buffer<u8>,
}

impl DeviceMask {
    /// Uploads a mask.
    ///
    /// # Errors
    /// A mask whose buffer does not fit its rectangle; [`CudaError`].
    pub fn upload(gpu: &Gpu, mask: &RegionMask) -> Result<Self, CudaError> {
        let len = mask.width as usize * mask.height as usize;
        check("cuda::DeviceMask", "alpha length", mask.alpha.len() == len, len, mask.alpha.len())?;
        check("cuda::DeviceMask", "left edge", mask.x >= 0, "0 or more", mask.x)?;
        let mut padded = vec![0; padded_bytes(mask.rect())];
        pad(mask, &mut padded);
        Ok(Self {
            rect: mask.rect(),
            alpha: gpu.upload(&padded)?,
        })
    }

    fn at(&self, gpu: &Gpu, op: &'static str) -> Result<MaskAt, CudaError> {
        Ok(MaskAt::padded(self.rect, self.alpha.on(gpu, op, "mask")?))
    }
}

/// What is put into the frame.
#[derive(Debug, Clone, Copy)]
pub enum Patch<'a> {
    /// Interleaved RGB bytes that replace.
    Bytes(&'a Buffer<u8>),
    /// Interleaved RGB differences that are added.
    Deltas(&'a Buffer<f32>),
}

/// One face back into the frame, in place.
///
/// # Errors
/// As [`crate::composite`], and another device.
pub fn composite(
    gpu: &Gpu,
    frame: &mut DeviceFrame,
    mask: &DeviceMask,
    patch: Patch<'_>,
    (width, height): (usize, usize),
    crop_from_frame: &Affine,
) -> Result<(), CudaError> {
    let op = "cuda::composite";
    sides(op, width, height, 1)?;
    let (address, len, adds) = match patch {
        Patch::Bytes(b) => (b.on(gpu, op, "crop")?, b.len(), false),
        Patch::Deltas(d) => (d.on(gpu, op, "crop")?, d.len(), true),
    };
    check(op, "crop length", len == 3 * width * height, 3 * width * height, len)?;
    let args = CompositeArgs::new(
        (frame.info(), frame.args(gpu, op)?),
        mask.at(gpu, op)?,
        (address, width, height),
        crop_from_frame,
        adds,
    )?;
    let Some(blocks) = args.grid() else {
        return Ok(());
    };
    let grid = Grid {
        blocks,
        threads: PIXEL_BLOCK,
    };
    // SAFETY: mask and crop are as long as their sizes by the checks above.
    unsafe { gpu.launch("composite", &COMPOSITE, 0, grid, &args) }
}

/// Covers a region, in place.
///
/// # Errors
/// As [`crate::cover`].
pub fn cover(gpu: &Gpu, frame: &mut DeviceFrame, mask: &DeviceMask, mode: CoverMode) -> Result<(), CudaError> {
    let op = "cuda::cover";
    let means = gpu.unfilled::<u32>(192)?;
    let target = (frame.info(), frame.args(gpu, op)?);
    let args = CoverArgs::new(target, mask.at(gpu, op)?, means.address(), mode)?;
    // SAFETY: a `DeviceMask` is as long as its size, means has 192 values.
    unsafe { queue_cover(gpu, mode, &args) }
}

/// What stands for the unconditional prediction, as in [`crate::edit_step::Unguided`].
#[derive(Debug, Clone, Copy)]
pub enum Unguided<'a, T: Number> {
    /// Predictions at the reference latent and at the edited one.
    Predicted {
        /// At x.
        reference: Span<'a, T>,
        /// At x̂.
        unconditional: Span<'a, T>,
    },
    /// x_0.
    Stock(Span<'a, T>),
}

/// `faces` latents of a longer buffer, from an index on.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a, T: Plain> {
    /// Buffer.
    pub buffer: &'a Buffer<T>,
    /// First value.
    pub start: usize,
}

impl<T: Plain> Span<'_, T> {
    fn address(&self, gpu: &Gpu, op: &'static str, what: &'static str, len: usize) -> Result<u64, CudaError> {
        let base = self.buffer.on(gpu, op, what)?;
        let fits = self.start.checked_add(len).is_some_and(|end| end <= self.buffer.len());
        check(op, what, fits, format!("{len} values from {}", self.start), self.buffer.len())?;
        Ok(base + (self.start * size_of::<T>()) as u64)
    }
}

/// Buffers of one step of all faces, `[face][latent]` each.
#[derive(Debug)]
pub struct StepOperands<'a, T: Number> {
    /// Constants, one a face.
    pub faces: &'a [EditFace],
    /// Whether the guided noise is rescaled; then `strength` and the levels of `faces` count.
    pub rescale: bool,
    /// Reference latents.
    pub x: Span<'a, T>,
    /// Reference latents at the next level.
    pub x_next: Span<'a, T>,
    /// Unconditional side.
    pub unguided: Unguided<'a, T>,
    /// Predictions under the condition.
    pub conditional: Span<'a, T>,
    /// Masks of one plane or whole, one for all faces; none = 1.
    pub mask: Option<&'a Buffer<f32>>,
    /// Edits so far.
    pub delta: &'a mut Buffer<f32>,
    /// Data differences of the step before.
    pub history: &'a mut Buffer<f32>,
    /// Edited latents at the next level.
    pub out: &'a mut Buffer<T>,
}

/// One solver step of all faces; `len` values a latent.
///
/// # Errors
/// Lengths that do not fit; [`CudaError`].
pub fn edit_step<T: Number>(gpu: &Gpu, len: usize, operands: StepOperands<'_, T>) -> Result<(), CudaError> {
    let op = "cuda::edit_step";
    let o = operands;
    check(op, "latent length", (1..=1 << 28).contains(&len), "1 to 2^28", len)?;
    check(
        op,
        "faces",
        (1..=MAX_FACES).contains(&o.faces.len()),
        format!("1..={MAX_FACES}"),
        o.faces.len(),
    )?;
    let all = len * o.faces.len();
    for (what, got) in [("delta", o.delta.len()), ("history", o.history.len()), ("out", o.out.len())] {
        check(op, what, got == all, all, got)?;
    }
    let mask_len = o.mask.map_or(0, Buffer::len);
    check(
        op,
        "mask",
        o.mask.is_none() || (mask_len > 0 && len.is_multiple_of(mask_len)),
        format!("a plane of {len}"),
        mask_len,
    )?;
    let chunks = len.div_ceil(LINE_BLOCK[0] as usize * STEP_WIDTH).clamp(1, 512);
    let mut few = [EditFace::default(); FEW_FACES];
    let table = if o.faces.len() <= FEW_FACES {
        few.iter_mut().zip(o.faces).for_each(|(to, face)| *to = *face);
        None
    } else {
        Some(gpu.upload(o.faces)?)
    };
    let partials = if o.rescale {
        Some(gpu.unfilled::<f64>(o.faces.len() * chunks * 4)?)
    } else {
        None
    };
    let (output_ref, output_u, stock) = match o.unguided {
        Unguided::Predicted { reference, unconditional } => (
            reference.address(gpu, op, "reference", all)?,
            unconditional.address(gpu, op, "unconditional", all)?,
            0,
        ),
        Unguided::Stock(x0) => (0, x0.address(gpu, op, "x0", all)?, 1),
    };
    let args = EditArgs {
        faces: table.as_ref().map_or(0, Buffer::address),
        x: o.x.address(gpu, op, "x", all)?,
        x_next: o.x_next.address(gpu, op, "x_next", all)?,
        output_ref,
        output_u,
        output_c: o.conditional.address(gpu, op, "conditional", all)?,
        mask: o.mask.map_or(Ok(0), |m| m.on(gpu, op, "mask"))?,
        delta: o.delta.on(gpu, op, "delta")?,
        history: o.history.on(gpu, op, "history")?,
        out: o.out.on(gpu, op, "out")?,
        partials: partials.as_ref().map_or(0, Buffer::address),
        len: len as i32,
        mask_len: mask_len as i32,
        chunks: chunks as i32,
        stock,
        half: i32::from(T::HALF),
        spare: 0,
        few,
    };
    let grid = Grid {
        blocks: [chunks as u32, o.faces.len() as u32, 1],
        threads: LINE_BLOCK,
    };
    let entries = ["edit_moments", "edit_step"];
    if partials.is_some() {
        // SAFETY: every buffer holds `all` values, one constant a face and four partials a chunk, by the lines above.
        unsafe { gpu.launch("edit_step", &entries, 0, grid, &args) }?;
    }
    // SAFETY: as above.
    unsafe { gpu.launch("edit_step", &entries, 1, grid, &args) }
}
