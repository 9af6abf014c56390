//! Covering a region so that nothing of what it held can be recovered.
//!
//! | | |
//! |---|---|
//! | [`solid`] | one colour |
//! | [`pixelate`], [`blur`] | the mask's rectangle is reduced to at most 8×8 cell means per component, in the frame's own colour space; *then* expanded: by nearest cell, or by a quadratic B-spline |
//! | cells | `cells` along the rectangle's longer side, in proportion along the shorter, never more than samples; 1..=8, clamped |
//! | mean | `(sum + n/2) / n`, integer, over cell `i` = samples `⌊iW/n⌋..⌊(i+1)W/n⌋` of the component's own grid |
//! | blend | [`crate::composite`]'s: weight 0 untouched bit for bit, 255 replaces |
//! | [`fill_frame`] | every sample of every plane, alpha and x bytes set to 255, row padding untouched; cannot fail |
//! | tolerance | exact: integer arithmetic, fast path = [`mod@reference`] bit for bit |
//! | errors | a mask that is inconsistent or leaves the frame: [`KernelError::Argument`], nothing written |
//!
//! Irreversible by construction: wherever the weight is 255 the output is a function of the cell
//! means alone, so two frames with equal means give equal output. A Gaussian blur, which this
//! replaces, is a linear map that can be undone as far as noise allows.

mod cells;
mod fast;
pub mod reference;

use crate::KernelError;
use crate::blend::check_mask;
use crate::color::Coder;
use crate::cuda::args::Axis as DeviceAxis;
use crate::image::{ImageInfo, ImageMut};
use crate::mask::{Rect, RegionMask};
use crate::packing::Packing;

/// Most cells along either side of a region.
pub const MAX_CELLS: u32 = 8;

/// The cells' axes of all components, across and down, for the CUDA kernels.
pub(crate) fn device_grids(info: &ImageInfo, rect: Rect, cells: u32) -> ([DeviceAxis; 3], [DeviceAxis; 3]) {
    let grids = cells::Grid::of(info, rect, cells);
    let axis = |a: cells::Axis| DeviceAxis {
        start: a.start as i32,
        len: a.len as i32,
        cells: a.cells as i32,
        spare: 0,
    };
    (grids.map(|g| axis(g.x)), grids.map(|g| axis(g.y)))
}

/// Covers the region with one colour.
///
/// # Errors
/// [`KernelError::Argument`] for a mask that does not fit itself or the frame; nothing is written.
pub fn solid(image: &mut ImageMut<'_>, mask: &RegionMask, rgb: [u8; 3]) -> Result<(), KernelError> {
    if crate::reference_forced() {
        return reference::solid(image, mask, rgb);
    }
    check_mask("cover::solid", mask, image.width(), image.height())?;
    fast::solid(image, mask, rgb);
    Ok(())
}

/// Covers the region with its own cell means, as blocks.
///
/// # Errors
/// [`KernelError::Argument`] for a mask that does not fit itself or the frame; nothing is written.
pub fn pixelate(image: &mut ImageMut<'_>, mask: &RegionMask, cells: u32) -> Result<(), KernelError> {
    if crate::reference_forced() {
        return reference::pixelate(image, mask, cells);
    }
    check_mask("cover::pixelate", mask, image.width(), image.height())?;
    fast::pixelate(image, mask, cells);
    Ok(())
}

/// Covers the region with its own cell means, smoothly.
///
/// # Errors
/// [`KernelError::Argument`] for a mask that does not fit itself or the frame; nothing is written.
pub fn blur(image: &mut ImageMut<'_>, mask: &RegionMask, cells: u32) -> Result<(), KernelError> {
    if crate::reference_forced() {
        return reference::blur(image, mask, cells);
    }
    check_mask("cover::blur", mask, image.width(), image.height())?;
    fast::blur(image, mask, cells);
    Ok(())
}

/// Covers the whole frame with one colour, opaque: what is left when everything else failed.
pub fn fill_frame(image: &mut ImageMut<'_>, rgb: [u8; 3]) {
    let info = *image.info();
    let packing = Packing::of(info.format);
    let codes = Coder::new(&info).encode_codes(rgb);
    for (index, plane) in image.planes_mut().iter_mut().enumerate() {
        // What repeats along the plane's rows: 24 bytes hold every packing a whole number of times.
        let mut pattern = [255u8; 24];
        for (c, &code) in packing.components.iter().zip(&codes).filter(|(c, _)| c.plane == index) {
            let raw = packing.depth.raw(code).to_le_bytes();
            let bytes = packing.depth.bytes();
            for sample in pattern.chunks_exact_mut(bytes).skip(c.offset).step_by(c.step) {
                sample.copy_from_slice(&raw[..bytes]);
            }
        }
        let (row, rows) = info.format.plane_size(index, info.width, info.height);
        let stride = plane.stride;
        // One row by the pattern, the others as copies of it.
        for to in plane.data.get_mut(..row).unwrap_or_default().chunks_mut(pattern.len()) {
            to.copy_from_slice(&pattern[..to.len()]);
        }
        for y in 1..rows {
            let at = y * stride;
            if plane.data.len() >= at + row {
                plane.data.copy_within(..row, at);
            }
        }
    }
}
