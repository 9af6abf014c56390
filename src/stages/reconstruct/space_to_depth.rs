//! The rearrangement between pixels and pixel-space latents, and the range of pixels. Contract: see
//! the parent module.

use super::{ReconstructError, check};

/// `[channels][height][width]` → `[channels·f²][height/f][width/f]`.
///
/// # Errors
/// Sizes that the factor does not divide, lengths that do not fit.
pub fn space_to_depth(
    pixels: &[f32],
    channels: usize,
    height: usize,
    width: usize,
    factor: usize,
    latents: &mut [f32],
) -> Result<(), ReconstructError> {
    check_sizes(pixels.len(), latents.len(), channels, height, width, factor)?;
    for_each_row(channels, height, width, factor, |row_px, latent_row, j| {
        for (x, l) in latents[latent_row..latent_row + width / factor].iter_mut().enumerate() {
            *l = pixels[row_px + x * factor + j];
        }
    });
    Ok(())
}

/// The inverse of [`space_to_depth`]; sizes are those of the pixels.
///
/// # Errors
/// Sizes that the factor does not divide, lengths that do not fit.
pub fn depth_to_space(
    latents: &[f32],
    channels: usize,
    height: usize,
    width: usize,
    factor: usize,
    pixels: &mut [f32],
) -> Result<(), ReconstructError> {
    check_sizes(pixels.len(), latents.len(), channels, height, width, factor)?;
    for_each_row(channels, height, width, factor, |row_px, latent_row, j| {
        for (x, l) in latents[latent_row..latent_row + width / factor].iter().enumerate() {
            pixels[row_px + x * factor + j] = *l;
        }
    });
    Ok(())
}

/// Grey levels → −1 to 1.
pub fn from_grey(grey: &[u8], pixels: &mut [f32]) {
    for (p, g) in pixels.iter_mut().zip(grey) {
        *p = f32::from(*g) / 127.5 - 1.0;
    }
}

/// −1 to 1 → grey levels, clamped and rounded; what is not finite becomes 0.
pub fn to_grey(pixels: &[f32], grey: &mut [u8]) {
    for (g, p) in grey.iter_mut().zip(pixels) {
        *g = ((p + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
    }
}

/// Calls with the start of a pixel row, the start of a latent row and the column inside the block.
fn for_each_row(channels: usize, height: usize, width: usize, factor: usize, mut row: impl FnMut(usize, usize, usize)) {
    let (h, w) = (height / factor, width / factor);
    for c in 0..channels {
        for i in 0..factor {
            for j in 0..factor {
                let channel = (c * factor + i) * factor + j;
                for y in 0..h {
                    row((c * height + y * factor + i) * width, (channel * h + y) * w, j);
                }
            }
        }
    }
}

fn check_sizes(pixels: usize, latents: usize, channels: usize, height: usize, width: usize, factor: usize) -> Result<(), ReconstructError> {
    if factor == 0 {
        return Err(ReconstructError::Size {
            what: "factor",
            expected: 1,
            got: 0,
        });
    }
    check("height's remainder by the factor", 0, height % factor)?;
    check("width's remainder by the factor", 0, width % factor)?;
    check("pixels", channels * height * width, pixels)?;
    check("latents", pixels, latents)
}

#[cfg(test)]
mod tests {
    use super::{depth_to_space, from_grey, space_to_depth, to_grey};
    use proptest::prelude::*;

    #[test]
    fn channels_follow_the_order_of_pixel_unshuffle() {
        // One channel, 2×4 px, factor 2: channels are (0,0), (0,1), (1,0), (1,1) of each block.
        let pixels = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let mut latents = [0.0; 8];
        space_to_depth(&pixels, 1, 2, 4, 2, &mut latents).expect("sizes fit");
        assert_eq!(latents, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }

    #[test]
    fn every_grey_level_survives() {
        let grey: Vec<u8> = (0..=255).collect();
        let (mut pixels, mut back) = (vec![0.0; 256], vec![0; 256]);
        from_grey(&grey, &mut pixels);
        assert_eq!((pixels[0], pixels[255]), (-1.0, 1.0));
        to_grey(&pixels, &mut back);
        assert_eq!(grey, back);
        to_grey(&[-3.0, 7.0, f32::NAN], &mut back[..3]);
        assert_eq!(back[..3], [0, 255, 0]);
    }

    proptest! {
        #[test]
        fn both_ways_is_bit_exact(c in 1_usize..4, h in 1_usize..5, w in 1_usize..5, f in 1_usize..5, seed in any::<u32>()) {
            let n = c * h * w * f * f;
            let pixels: Vec<f32> = (0..n as u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761) ^ seed)).collect();
            let (mut latents, mut back) = (vec![0.0; n], vec![0.0; n]);
            space_to_depth(&pixels, c, h * f, w * f, f, &mut latents).expect("sizes fit");
            depth_to_space(&latents, c, h * f, w * f, f, &mut back).expect("sizes fit");
            prop_assert!(pixels.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
