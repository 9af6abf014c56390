//! Putting a crop, or the difference that an edit makes, back into the frame.
//!
//! | | |
//! |---|---|
//! | input | frame of any format; mask; interleaved RGB crop (`u8`), or RGB difference (`f32`, 0..255 scale, signed); `crop_from_frame`, pixel centres at integer + 0.5 |
//! | sampling | mean of `nx·ny` bilinear taps over a frame pixel's footprint in the crop, `n` = footprint rounded, 1 to 16: one tap where the crop is enlarged, anti-aliased where it is reduced; border replicated |
//! | colour | converted to the frame's matrix, range and depth; a subsampled sample is the mean over the pixels of its block |
//! | weight | the mask's alpha; a subsampled sample changes only if *all* pixels of its block have alpha > 0, its weight then the floor of their mean: no pixel outside the mask shows another colour |
//! | blend | [`blend_crop`]: `(old·(255 − a) + new·a + 127) / 255`, so 255 replaces; [`blend_delta`]: `old + delta·a/255`, clamped to the codes; a difference of 0 changes nothing |
//! | untouched | every sample of weight 0 bit for bit; alpha and x bytes; row padding; spare bits of ten-bit samples |
//! | errors | mask or crop of the wrong length, mask outside the frame, degenerate map, difference not finite: [`KernelError::Argument`], nothing written |
//! | tolerance | fast path against [`mod@reference`]: 1 code (two roundings instead of one) |

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
    if crate::reference_forced() {
        return reference::blend_crop(image, mask, crop_rgb, crop_width, crop_height, crop_from_frame);
    }
    let crop = Crop {
        values: crop_rgb,
        width: crop_width,
        height: crop_height,
        crop_from_frame,
    };
    crop.check("composite::blend_crop", image, mask)?;
    fast::blend_crop(image, mask, &crop);
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
    if crate::reference_forced() {
        return reference::blend_delta(image, mask, delta_rgb, width, height, crop_from_frame);
    }
    let crop = Crop {
        values: delta_rgb,
        width,
        height,
        crop_from_frame,
    };
    crop.check("composite::blend_delta", image, mask)?;
    crop.check_finite("composite::blend_delta")?;
    fast::blend_delta(image, mask, &crop);
    Ok(())
}

/// A crop and its place.
#[derive(Debug)]
struct Crop<'a, T> {
    values: &'a [T],
    width: usize,
    height: usize,
    crop_from_frame: &'a Affine,
}

impl<T> Crop<'_, T> {
    fn check(&self, op: &'static str, image: &ImageMut<'_>, mask: &RegionMask) -> Result<(), KernelError> {
        check_mask(op, mask, image.width(), image.height())?;
        let Self { width, height, .. } = *self;
        let max = MAX_SIDE_PX as usize;
        let argument = |what, expected: String, got: String| Err(KernelError::Argument { op, what, expected, got });
        if width == 0 || height == 0 || width > max || height > max {
            return argument("crop size", format!("1..={max} px a side"), format!("{width}x{height}"));
        }
        let len = 3 * width * height;
        if self.values.len() != len {
            return argument("crop length", format!("{len} for {width}x{height}"), self.values.len().to_string());
        }
        check_map(op, "crop_from_frame", self.crop_from_frame)
    }
}

impl Crop<'_, f32> {
    fn check_finite(&self, op: &'static str) -> Result<(), KernelError> {
        let Some(v) = self.values.iter().find(|v| !v.is_finite()) else {
            return Ok(());
        };
        Err(KernelError::Argument {
            op,
            what: "delta_rgb",
            expected: "finite values".to_owned(),
            got: v.to_string(),
        })
    }
}
