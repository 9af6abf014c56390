//! Crops: any frame, through an affine map, to a normalised tensor or to RGB bytes.
//!
//! | | |
//! |---|---|
//! | input | a frame of any format; `frame_from_crop`, pixel centres at integer + 0.5 on both sides |
//! | output | `3·w·h` values `clamp(rgb, 0, 255)·scale + bias`, NCHW or NHWC, RGB or BGR; or interleaved RGB bytes, rounded |
//! | chroma | a subsampled sample stands for all pixels of its block, as OpenCV's and libyuv's plain conversions have it; [`crate::composite`] writes by the same rule, so a crop put back adds no shift |
//! | filter | mean of `nx·ny` bilinear taps spread evenly over the output pixel's footprint; `n` = footprint rounded, at least 1, along each axis of the crop: one tap when enlarging or up to 1.5:1, exactly the area mean at integer reductions |
//! | reduction, turned map | the frame is first reduced by block means of `k×k`, `k` the largest power of two not above the smaller footprint; at most 16 taps an axis then |
//! | border | replicated |
//! | order | filter in the frame's own components, convert once, clamp last |
//! | errors | sizes of 0 or above 32768, `out` of the wrong length, map not finite, above 1e6 or of determinant under 1e-9: [`KernelError::Argument`], nothing written |
//! | tolerance | fast path against [`mod@reference`]: 0.05 of 255 (order of summation in `f32`) |
//!
//! Maps without turn or shear are separable, which is the path of the detector's downscaled view.

mod fast;
pub mod reference;

use crate::KernelError;
use crate::affine::Affine;
use crate::cuda::args::CropMap;
use crate::image::{Image, MAX_SIDE_PX};
use crate::taps::{MAX_AXIS_TAPS, tap_count};
use crate::tile::{MAX_TILE_TAPS, check_map};

/// Order of a tensor's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Channel, row, column: planar.
    Nchw,
    /// Row, column, channel: interleaved.
    Nhwc,
}

/// Order of a tensor's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// What a crop should look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CropSpec {
    /// Width, px.
    pub width: usize,
    /// Height, px.
    pub height: usize,
    /// Order of axes.
    pub layout: Layout,
    /// Order of channels.
    pub order: ChannelOrder,
    /// Factor of values 0..=255.
    pub scale: f32,
    /// Added after the factor.
    pub bias: f32,
}

/// Crops to a normalised tensor.
///
/// # Errors
/// [`KernelError::Argument`] as the table above says; nothing is written.
pub fn crop_affine(image: &Image<'_>, frame_from_crop: &Affine, spec: &CropSpec, out: &mut [f32]) -> Result<(), KernelError> {
    image.here("crop::crop_affine")?;
    check("crop::crop_affine", frame_from_crop, spec.width, spec.height, out.len())?;
    if !spec.scale.is_finite() || !spec.bias.is_finite() {
        return Err(KernelError::Argument {
            op: "crop::crop_affine",
            what: "scale, bias",
            expected: "finite".to_owned(),
            got: format!("{}, {}", spec.scale, spec.bias),
        });
    }
    if crate::reference_forced() {
        reference::crop_affine(image, frame_from_crop, spec, out);
    } else {
        fast::crop_affine(image, frame_from_crop, spec, out);
    }
    Ok(())
}

/// Crops to interleaved RGB bytes.
///
/// # Errors
/// [`KernelError::Argument`] as the table above says; nothing is written.
pub fn crop_affine_u8(image: &Image<'_>, frame_from_crop: &Affine, width: usize, height: usize, out: &mut [u8]) -> Result<(), KernelError> {
    image.here("crop::crop_affine_u8")?;
    check("crop::crop_affine_u8", frame_from_crop, width, height, out.len())?;
    if crate::reference_forced() {
        reference::crop_affine_u8(image, frame_from_crop, width, out);
    } else {
        fast::crop_affine_u8(image, frame_from_crop, width, height, out);
    }
    Ok(())
}

fn check(op: &'static str, map: &Affine, width: usize, height: usize, len: usize) -> Result<(), KernelError> {
    let argument = |what, expected: String, got: String| Err(KernelError::Argument { op, what, expected, got });
    let max = MAX_SIDE_PX as usize;
    if width == 0 || height == 0 || width > max || height > max {
        return argument("crop size", format!("1..={max} px a side"), format!("{width}x{height}"));
    }
    if len != 3 * width * height {
        return argument(
            "out length",
            format!("{} for {width}x{height}", 3 * width * height),
            len.to_string(),
        );
    }
    check_map(op, "frame_from_crop", map)
}

/// What the CUDA kernel needs of a map that has passed [`check_map`]; the rules of [`mod@reference`].
pub(crate) fn device_map(frame_from_crop: &Affine) -> CropMap {
    let separable = is_separable(frame_from_crop);
    let block = if separable { 1 } else { block_px(frame_from_crop) };
    let map = blocks_from_crop(frame_from_crop, block);
    let max = if separable { MAX_AXIS_TAPS } else { MAX_TILE_TAPS };
    let [a, b, _, d, e, _] = map.m;
    CropMap {
        m: map.m,
        block: block as i32,
        nx: tap_count(a.hypot(d), max) as i32,
        ny: tap_count(b.hypot(e), max) as i32,
        spare: 0,
    }
}

/// Whether a map keeps the axes apart.
pub(crate) fn is_separable(map: &Affine) -> bool {
    map.m[1] == 0.0 && map.m[3] == 0.0
}

/// Side of the block means that come before a turned map.
fn block_px(map: &Affine) -> usize {
    let [a, b, _, d, e, _] = map.m;
    let footprint = a.hypot(d).min(b.hypot(e));
    let mut block = 1;
    while (block * 2) as f32 <= footprint && block < MAX_SIDE_PX as usize {
        block *= 2;
    }
    block
}

/// The map from crop to the grid of block means.
fn blocks_from_crop(map: &Affine, block: usize) -> Affine {
    let k = 1.0 / block as f32;
    Affine { m: map.m.map(|v| v * k) }
}
