//! Putting a crop, or the difference that an edit makes, back into the frame.
//!
//! | | |
//! |---|---|
//! | input | frame of any format; mask; interleaved RGB crop (`u8`), or RGB difference (`f32`, 0..255 scale, signed); `crop_from_frame`, pixel centres at integer + 0.5 |
//! | sampling | mean of `nx·ny` bilinear taps over a frame pixel's footprint in the crop, `n = ⌈footprint⌉` up to 16: one tap where the crop is enlarged, anti-aliased where it is reduced; border replicated |
//! | colour | converted to the frame's matrix, range and depth; a subsampled sample is the mean over the pixels of its block |
//! | weight | the mask's alpha; a subsampled sample changes only if *all* pixels of its block have alpha > 0, its weight then the floor of their mean: no pixel outside the mask shows another colour |
//! | blend | [`blend_crop`]: `(old·(255 − a) + new·a + 127) / 255`, so 255 replaces; [`blend_delta`]: `old + delta·a/255`, clamped to the codes; a difference of 0 changes nothing |
//! | untouched | every sample of weight 0 bit for bit; alpha and x bytes; row padding; spare bits of ten-bit samples |
//! | errors | mask or crop of the wrong length, mask outside the frame, degenerate map, difference not finite: [`KernelError::Argument`], nothing written |
//! | tolerance | fast path against [`reference`]: 1 code (two roundings instead of one) |

mod fast;
pub mod reference;

use crate::KernelError;
use crate::affine::Affine;
use crate::blend::check_mask;
use crate::image::{ImageMut, MAX_SIDE_PX};
use crate::mask::RegionMask;
use crate::tile::check_map;

/// Largest difference that an edit can make, in 8-bit steps.
const MAX_DELTA: f32 = 255.0;

/// Replaces the masked region by a crop.
///
/// # Errors
/// [`KernelError::Argument`] as the table above says; nothing is written.
pub fn blend_crop(
    image: &mut ImageMut<'_>,
    mask: &RegionMask,
    crop_rgb: &[u8],
    crop_width: usize,
    crop_height: usize,
    crop_from_frame: &Affine,
) -> Result<(), KernelError> {
    const OP: &str = "composite::blend_crop";
    check_mask(OP, mask, image.width(), image.height())?;
    check_crop(
        OP,
        "crop_rgb length",
        crop_rgb.len(),
        crop_width,
        crop_height,
    )?;
    check_map(OP, "crop_from_frame", crop_from_frame)?;
    let crop = Crop {
        values: crop_rgb,
        width: crop_width,
        height: crop_height,
        crop_from_frame,
    };
    if crate::reference_forced() {
        reference::blend_crop(image, mask, &crop);
    } else {
        fast::blend_crop(image, mask, &crop);
    }
    Ok(())
}

/// Adds an edit to the masked region: the frame keeps its own light and detail.
///
/// # Errors
/// [`KernelError::Argument`] as the table above says; nothing is written.
pub fn blend_delta(
    image: &mut ImageMut<'_>,
    mask: &RegionMask,
    delta_rgb: &[f32],
    width: usize,
    height: usize,
    crop_from_frame: &Affine,
) -> Result<(), KernelError> {
    const OP: &str = "composite::blend_delta";
    check_mask(OP, mask, image.width(), image.height())?;
    check_crop(OP, "delta_rgb length", delta_rgb.len(), width, height)?;
    check_map(OP, "crop_from_frame", crop_from_frame)?;
    if let Some(v) = delta_rgb.iter().find(|v| !v.is_finite()) {
        let (expected, got) = ("finite values".to_owned(), v.to_string());
        return Err(KernelError::Argument {
            op: OP,
            what: "delta_rgb",
            expected,
            got,
        });
    }
    let crop = Crop {
        values: delta_rgb,
        width,
        height,
        crop_from_frame,
    };
    if crate::reference_forced() {
        reference::blend_delta(image, mask, &crop);
    } else {
        fast::blend_delta(image, mask, &crop);
    }
    Ok(())
}

/// A checked crop and its place.
#[derive(Debug)]
struct Crop<'a, T> {
    values: &'a [T],
    width: usize,
    height: usize,
    crop_from_frame: &'a Affine,
}

fn check_crop(
    op: &'static str,
    what: &'static str,
    len: usize,
    width: usize,
    height: usize,
) -> Result<(), KernelError> {
    let max = MAX_SIDE_PX as usize;
    let argument = |what, expected: String, got: String| {
        Err(KernelError::Argument {
            op,
            what,
            expected,
            got,
        })
    };
    if width == 0 || height == 0 || width > max || height > max {
        return argument(
            "crop size",
            format!("1..={max} px a side"),
            format!("{width}x{height}"),
        );
    }
    if len != 3 * width * height {
        return argument(
            what,
            format!("{} for {width}x{height}", 3 * width * height),
            len.to_string(),
        );
    }
    Ok(())
}
