//! The plain definition: sample by sample, pixel by pixel, tap by tap.

use super::{Crop, MAX_DELTA};
use crate::KernelError;
use crate::affine::Affine;
use crate::blend::{DELTA_BITS, add, mix, weight};
use crate::color::Coder;
use crate::image::ImageMut;
use crate::mask::RegionMask;
use crate::packing::Packing;
use crate::taps::{bilinear, tap_count, tap_offset};
use crate::tile::MAX_TILE_TAPS;

/// See [`super::blend_crop`].
///
/// # Errors
/// As there.
pub fn blend_crop(
    image: &mut ImageMut<'_>,
    mask: &RegionMask,
    crop_rgb: &[u8],
    width: usize,
    height: usize,
    crop_from_frame: &Affine,
) -> Result<(), KernelError> {
    let crop = Crop {
        values: crop_rgb,
        width,
        height,
        crop_from_frame,
    };
    crop.check("composite::blend_crop", image, mask)?;
    let coder = Coder::new(image.info());
    let max = f32::from(coder.max_code());
    each(image, mask, |component, old, a, pixels| {
        let new = mean(pixels, |x, y| coder.encode(sample(&crop, x, y, f32::from))[component]);
        mix(old, (new + 0.5).clamp(0.0, max) as u16, a)
    });
    Ok(())
}

/// See [`super::blend_delta`].
///
/// # Errors
/// As there.
pub fn blend_delta(
    image: &mut ImageMut<'_>,
    mask: &RegionMask,
    delta_rgb: &[f32],
    width: usize,
    height: usize,
    crop_from_frame: &Affine,
) -> Result<(), KernelError> {
    let crop = Crop {
        values: delta_rgb,
        width,
        height,
        crop_from_frame,
    };
    crop.check("composite::blend_delta", image, mask)?;
    crop.check_finite("composite::blend_delta")?;
    let coder = Coder::new(image.info());
    each(image, mask, |component, old, a, pixels| {
        let bounded = |v: f32| v.clamp(-MAX_DELTA, MAX_DELTA);
        let delta = mean(pixels, |x, y| coder.encode_delta(sample(&crop, x, y, bounded))[component]);
        add(old, (delta * (1 << DELTA_BITS) as f32).round() as i32, a, coder.max_code())
    });
    Ok(())
}

fn mean(pixels: &[[usize; 2]], value: impl Fn(usize, usize) -> f32) -> f32 {
    pixels.iter().map(|p| value(p[0], p[1])).sum::<f32>() / pixels.len().max(1) as f32
}

/// RGB of the crop at a frame pixel.
fn sample<T: Copy>(crop: &Crop<'_, T>, x: usize, y: usize, value: impl Fn(T) -> f32) -> [f32; 3] {
    let [a, b, _, d, e, _] = crop.crop_from_frame.m;
    let (nx, ny) = (tap_count(a.hypot(d), MAX_TILE_TAPS), tap_count(b.hypot(e), MAX_TILE_TAPS));
    let mut sum = [0.0f64; 3];
    for j in 0..ny {
        for i in 0..nx {
            let p = [x as f32 + 0.5 + tap_offset(i, nx), y as f32 + 0.5 + tap_offset(j, ny)];
            let q = crop.crop_from_frame.apply(p);
            let (x0, x1, fx) = bilinear(q[0], crop.width);
            let (y0, y1, fy) = bilinear(q[1], crop.height);
            let (fx, fy) = (f64::from(fx), f64::from(fy));
            for (channel, s) in sum.iter_mut().enumerate() {
                let at = |x: usize, y: usize| {
                    crop.values
                        .get((y * crop.width + x) * 3 + channel)
                        .map_or(0.0, |&v| f64::from(value(v)))
                };
                *s += (at(x0, y0) * (1.0 - fx) + at(x1, y0) * fx) * (1.0 - fy) + (at(x0, y1) * (1.0 - fx) + at(x1, y1) * fx) * fy;
            }
        }
    }
    sum.map(|s| (s / (nx * ny) as f64) as f32)
}

/// Calls `new(component, old code, weight, pixels served)` for every sample of weight above 0.
fn each(image: &mut ImageMut<'_>, mask: &RegionMask, new: impl Fn(usize, u16, u8, &[[usize; 2]]) -> u16) {
    let info = *image.info();
    let packing = Packing::of(info.format);
    let frame = (info.width as usize, info.height as usize);
    let (left, top) = (mask.x.max(0) as usize, mask.y.max(0) as usize);
    for (index, c) in packing.components.iter().enumerate() {
        for sy in top >> c.shift_y..(top + mask.height as usize).div_ceil(1 << c.shift_y) {
            for sx in left >> c.shift_x..(left + mask.width as usize).div_ceil(1 << c.shift_x) {
                let a = weight(mask, c, frame, sx, sy);
                if a == 0 {
                    continue;
                }
                let mut pixels = Vec::new();
                for y in sy << c.shift_y..((sy + 1) << c.shift_y).min(frame.1) {
                    for x in sx << c.shift_x..((sx + 1) << c.shift_x).min(frame.0) {
                        pixels.push([x, y]);
                    }
                }
                let old = packing.load(&image.as_image(), index, sx, sy);
                packing.store(image, index, sx, sy, new(index, old, a, &pixels));
            }
        }
    }
}
