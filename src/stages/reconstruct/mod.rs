//! Latents ↔ pixels: exact rearrangement for pixel-space packs, an autoencoder for latent ones.
//!
//! | | |
//! |---|---|
//! | pixels | planar RGB, `[3][height][width]`, f32, −1 to 1; `v = grey / 127.5 − 1` |
//! | space-to-depth(f) | latent channel `c f² + i f + j` at `(y, x)` = pixel channel `c` at `(y f + i, x f + j)`: the order of PyTorch's `pixel_unshuffle` |
//! | exactness | a rearrangement: both ways bit-exact; grey → pixel → grey exact for all 256 values |
//! | scale, shift | latent = (value − shift) · scale, as the pack says; 1 and 0 are skipped, not multiplied |
//! | aliasing | source and destination are distinct slices |
//! | errors | [`ReconstructError`]: lengths, factor, a codec that fails or returns what is not finite |

mod resample;
mod space_to_depth;

pub use resample::resample;
pub use space_to_depth::{depth_to_space, from_grey, space_to_depth, to_grey};

/// Why latents and pixels could not be turned into each other.
#[derive(Debug, thiserror::Error)]
pub enum ReconstructError {
    /// A length or size that does not fit.
    #[error("reconstruct: {what}: expected {expected}, got {got}")]
    Size {
        /// Which.
        what: &'static str,
        /// Expected.
        expected: usize,
        /// Got.
        got: usize,
    },
    /// The autoencoder failed.
    #[error("autoencoder: {0}")]
    Backend(#[from] crate::backend::BackendError),
    /// A value that is not finite.
    #[error("reconstruct: {what}: expected finite values, got {got} at index {index}")]
    NotFinite {
        /// Which side.
        what: &'static str,
        /// First bad value.
        got: f32,
        /// Where.
        index: usize,
    },
}

/// An autoencoder session: a batch of pixel crops ↔ a batch of raw latents (before scale and shift).
pub trait Autoencoder: Send {
    /// Encodes `rows` crops (posterior mode, never a sample: a sample flickers).
    ///
    /// # Errors
    /// The session's.
    fn encode(&mut self, rows: usize, pixels: &[f32], latents: &mut [f32]) -> Result<(), crate::backend::BackendError>;

    /// Decodes `rows` latents.
    ///
    /// # Errors
    /// The session's.
    fn decode(&mut self, rows: usize, latents: &[f32], pixels: &mut [f32]) -> Result<(), crate::backend::BackendError>;
}

/// How a pack turns crops into latents.
pub enum Codec {
    /// Rearrangement by a factor, no network.
    SpaceToDepth {
        /// Side of a block, px.
        factor: usize,
    },
    /// A pair of networks.
    Autoencoder(Box<dyn Autoencoder>),
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SpaceToDepth { factor } => f.debug_struct("SpaceToDepth").field("factor", factor).finish(),
            Self::Autoencoder(_) => f.write_str("Autoencoder"),
        }
    }
}

/// A codec with the sizes, scale and shift of its pack.
#[derive(Debug)]
pub struct LatentCodec {
    codec: Codec,
    size_px: usize,
    latent_len: usize,
    scale: f32,
    shift: f32,
}

impl LatentCodec {
    /// Crops of `size_px` square ↔ latents of `latent_len` values.
    ///
    /// # Errors
    /// A factor that does not divide the size, a latent length that the factor contradicts, a scale
    /// that cannot be undone.
    pub fn new(codec: Codec, size_px: usize, latent_len: usize, scale: f32, shift: f32) -> Result<Self, ReconstructError> {
        if let Codec::SpaceToDepth { factor } = codec {
            if factor == 0 || !size_px.is_multiple_of(factor) {
                return Err(ReconstructError::Size {
                    what: "crop size's remainder by the factor",
                    expected: 0,
                    got: size_px.checked_rem(factor).unwrap_or(size_px),
                });
            }
            check("latent length", 3 * size_px * size_px, latent_len)?;
        }
        if !(scale.is_finite() && scale != 0.0) {
            return Err(ReconstructError::NotFinite {
                what: "scale (finite, not 0)",
                got: scale,
                index: 0,
            });
        }
        if !shift.is_finite() {
            return Err(ReconstructError::NotFinite {
                what: "shift",
                got: shift,
                index: 0,
            });
        }
        Ok(Self {
            codec,
            size_px,
            latent_len,
            scale,
            shift,
        })
    }

    /// Values in one crop.
    #[must_use]
    pub fn pixel_len(&self) -> usize {
        3 * self.size_px * self.size_px
    }

    /// Side of a crop, px.
    #[must_use]
    pub fn size_px(&self) -> usize {
        self.size_px
    }

    /// Whether latents are rearranged pixels, exactly invertible.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self.codec, Codec::SpaceToDepth { .. })
    }

    /// Values in one latent.
    #[must_use]
    pub fn latent_len(&self) -> usize {
        self.latent_len
    }

    /// Pixels of `rows` crops → latents.
    ///
    /// # Errors
    /// See [`ReconstructError`].
    pub fn encode(&mut self, rows: usize, pixels: &[f32], latents: &mut [f32]) -> Result<(), ReconstructError> {
        check("pixels", rows * self.pixel_len(), pixels.len())?;
        check("latents", rows * self.latent_len, latents.len())?;
        match &mut self.codec {
            Codec::SpaceToDepth { factor } => {
                for (p, l) in pixels
                    .chunks_exact(3 * self.size_px * self.size_px)
                    .zip(latents.chunks_exact_mut(self.latent_len))
                {
                    space_to_depth(p, 3, self.size_px, self.size_px, *factor, l)?;
                }
            }
            Codec::Autoencoder(network) => network.encode(rows, pixels, latents)?,
        }
        if self.scale != 1.0 || self.shift != 0.0 {
            latents.iter_mut().for_each(|v| *v = (*v - self.shift) * self.scale);
        }
        finite("latents", latents)
    }

    /// Latents of `rows` crops → pixels. Values are not clamped; [`to_grey`] clamps. `scratch` has
    /// the length of `latents` and is used only where scale or shift are not 1 and 0.
    ///
    /// # Errors
    /// See [`ReconstructError`].
    pub fn decode(&mut self, rows: usize, latents: &[f32], scratch: &mut [f32], pixels: &mut [f32]) -> Result<(), ReconstructError> {
        check("pixels", rows * self.pixel_len(), pixels.len())?;
        check("latents", rows * self.latent_len, latents.len())?;
        finite("latents", latents)?;
        let source = if self.scale != 1.0 || self.shift != 0.0 {
            check("scratch", latents.len(), scratch.len())?;
            for (s, v) in scratch.iter_mut().zip(latents) {
                *s = v / self.scale + self.shift;
            }
            &*scratch
        } else {
            latents
        };
        match &mut self.codec {
            Codec::SpaceToDepth { factor } => {
                for (l, p) in source
                    .chunks_exact(self.latent_len)
                    .zip(pixels.chunks_exact_mut(3 * self.size_px * self.size_px))
                {
                    depth_to_space(l, 3, self.size_px, self.size_px, *factor, p)?;
                }
            }
            Codec::Autoencoder(network) => network.decode(rows, source, pixels)?,
        }
        finite("pixels", pixels)
    }
}

fn check(what: &'static str, expected: usize, got: usize) -> Result<(), ReconstructError> {
    if expected == got {
        Ok(())
    } else {
        Err(ReconstructError::Size { what, expected, got })
    }
}

fn finite(what: &'static str, values: &[f32]) -> Result<(), ReconstructError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => Err(ReconstructError::NotFinite {
            what,
            got: values[index],
            index,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Autoencoder, Codec, LatentCodec, ReconstructError};
    use crate::backend::BackendError;

    /// Mean of 2×2 blocks and its repetition.
    struct Halving {
        poison: bool,
    }

    impl Autoencoder for Halving {
        fn encode(&mut self, rows: usize, pixels: &[f32], latents: &mut [f32]) -> Result<(), BackendError> {
            for plane in 0..rows * 3 {
                for i in 0..4 {
                    let (y, x) = (i / 2 * 2, i % 2 * 2);
                    let at = |dy: usize, dx: usize| pixels[plane * 16 + (y + dy) * 4 + x + dx];
                    latents[plane * 4 + i] = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0;
                }
            }
            if self.poison {
                latents[1] = f32::NAN;
            }
            Ok(())
        }

        fn decode(&mut self, rows: usize, latents: &[f32], pixels: &mut [f32]) -> Result<(), BackendError> {
            for plane in 0..rows * 3 {
                for i in 0..16 {
                    pixels[plane * 16 + i] = latents[plane * 4 + i / 8 * 2 + i % 4 / 2];
                }
            }
            Ok(())
        }
    }

    #[test]
    fn scale_and_shift_are_undone_by_decoding() {
        let mut codec = LatentCodec::new(Codec::Autoencoder(Box::new(Halving { poison: false })), 4, 12, 0.18, 0.1).expect("valid");
        let pixels: Vec<f32> = (0..96).map(|i| ((i / 8) as f32 * 0.3 + (i % 4 / 2) as f32).sin()).collect();
        let (mut latents, mut scratch, mut back) = (vec![0.0; 24], vec![0.0; 24], vec![0.0; 96]);
        codec.encode(2, &pixels, &mut latents).expect("encodes");
        assert!((latents[0] - (pixels[0] - 0.1) * 0.18).abs() < 1e-6);
        codec.decode(2, &latents, &mut scratch, &mut back).expect("decodes");
        let worst = pixels.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{worst}");
    }

    #[test]
    fn an_autoencoder_that_returns_nan_is_an_error() {
        let mut codec = LatentCodec::new(Codec::Autoencoder(Box::new(Halving { poison: true })), 4, 12, 1.0, 0.0).expect("valid");
        let error = codec.encode(1, &[0.0; 48], &mut [0.0; 12]).expect_err("NaN");
        assert!(matches!(error, ReconstructError::NotFinite { index: 1, .. }), "{error}");
    }

    #[test]
    fn a_factor_that_does_not_divide_is_refused() {
        assert!(LatentCodec::new(Codec::SpaceToDepth { factor: 3 }, 128, 3 * 128 * 128, 1.0, 0.0).is_err());
        assert!(LatentCodec::new(Codec::SpaceToDepth { factor: 0 }, 128, 3 * 128 * 128, 1.0, 0.0).is_err());
        assert!(LatentCodec::new(Codec::SpaceToDepth { factor: 4 }, 128, 3 * 128 * 128, 0.0, 0.0).is_err());
        assert!(LatentCodec::new(Codec::SpaceToDepth { factor: 4 }, 128, 3 * 128 * 128, 1.0, 0.0).is_ok());
    }
}
