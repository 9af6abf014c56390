//! Crop latents → noised latents under frozen noise. See [`FrozenNoise`].
//!
//! Why: fresh noise in every frame is the main source of flicker. Each track draws its noise once,
//! in crop coordinates, from the session's secret; the same face in the same light then gets the same
//! result, bit for bit. All `x_t` of a face follow from `x_0` at once, so that one batched call of the
//! denoiser inverts all steps.
//!
//! | | |
//! |---|---|
//! | formula | `x_t = α_t x_0 + σ_t ε̃_t`, an independent `ε̃_t` for every step |
//! | layout | `[step][channel][row][column]`, f32, contiguous |
//! | determinism | same secret, track, step and length → same bits on any machine; other secret → unrelated |
//! | aliasing | output and inputs are distinct slices |
//! | errors | [`InvertError`] where lengths do not fit |
//! | source | Huberman-Spiegelglas et al. 2024 (edit-friendly DDPM noise space), section 3 |
//!
//! Limits: the deterministic solver's inversion needs the denoiser and lives with the solvers.

use crate::secret::{Purpose, SessionSecret};

/// Lengths that do not fit each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invert: {what}: expected length {expected}, got {got}")]
pub struct InvertError {
    /// Which slice.
    pub what: &'static str,
    /// Length expected.
    pub expected: usize,
    /// Length got.
    pub got: usize,
}

/// The noise of one track, drawn once and kept.
#[derive(Debug, Clone, PartialEq)]
pub struct FrozenNoise {
    track: u64,
    len: usize,
    values: Vec<f32>,
}

impl FrozenNoise {
    /// Draws `steps` fields of `len` values. `track` is the number of the person inside the session:
    /// who returns under the same number gets the same noise.
    #[must_use]
    pub fn draw(secret: &SessionSecret, track: u64, steps: usize, len: usize) -> Self {
        let mut noise = Self {
            track,
            len,
            values: Vec::new(),
        };
        noise.grow(secret, steps);
        noise
    }

    /// Draws further steps where the settings ask for more; those drawn before stay as they are.
    pub fn grow(&mut self, secret: &SessionSecret, steps: usize) {
        let have = self.steps();
        if steps <= have || self.len == 0 {
            return;
        }
        self.values.resize(steps * self.len, 0.0);
        for (offset, field) in self.values[have * self.len..].chunks_exact_mut(self.len).enumerate() {
            let step = u32::try_from(have + offset).unwrap_or(u32::MAX);
            secret.stream(Purpose::Noise, self.track, step).fill_normal(field);
        }
    }

    /// Steps drawn.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.values.len().checked_div(self.len).unwrap_or(0)
    }

    /// The field of one step; `None` past the drawn ones.
    #[must_use]
    pub fn step(&self, index: usize) -> Option<&[f32]> {
        self.values.chunks_exact(self.len.max(1)).nth(index)
    }

    /// Noises `x0` to every level at once; `alphas` and `sigmas` noisiest first, `out` is
    /// `[step][len]`.
    ///
    /// # Errors
    /// A length that does not fit; `out` is then untouched.
    pub fn noise_latents(&self, x0: &[f32], alphas: &[f32], sigmas: &[f32], out: &mut [f32]) -> Result<(), InvertError> {
        let fit = |what, expected, got| {
            if expected == got {
                Ok(())
            } else {
                Err(InvertError { what, expected, got })
            }
        };
        fit("x0", self.len, x0.len())?;
        fit("sigmas", alphas.len(), sigmas.len())?;
        fit("out", alphas.len() * self.len, out.len())?;
        if self.steps() < alphas.len() {
            return Err(InvertError {
                what: "noise steps",
                expected: alphas.len(),
                got: self.steps(),
            });
        }
        if self.len == 0 {
            return Ok(());
        }
        let levels = alphas.iter().zip(sigmas);
        for (((alpha, sigma), noise), out) in levels.zip(self.values.chunks_exact(self.len)).zip(out.chunks_exact_mut(self.len)) {
            for ((o, x), e) in out.iter_mut().zip(x0).zip(noise) {
                *o = alpha * x + sigma * e;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::FrozenNoise;
    use crate::secret::SessionSecret;

    #[test]
    fn static_input_gives_bit_equal_latents_and_growing_keeps_what_was_drawn() {
        let secret = SessionSecret::from_seed(3);
        let x0: Vec<f32> = (0..48).map(|i| (i as f32 * 0.37).sin()).collect();
        let (alphas, sigmas) = ([0.3_f32, 0.6, 0.9], [0.95_f32, 0.8, 0.43]);
        let mut once = vec![0.0; 144];
        let mut again = vec![0.0; 144];
        let noise = FrozenNoise::draw(&secret, 11, 3, 48);
        noise.noise_latents(&x0, &alphas, &sigmas, &mut once).expect("lengths fit");
        let mut grown = FrozenNoise::draw(&secret, 11, 1, 48);
        grown.grow(&secret, 3);
        grown.noise_latents(&x0, &alphas, &sigmas, &mut again).expect("lengths fit");
        assert!(once.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert!(once.iter().any(|v| *v != 0.0));
    }

    #[test]
    fn noise_of_other_seeds_tracks_and_steps_is_unrelated() {
        let n = 4096;
        let base = FrozenNoise::draw(&SessionSecret::from_seed(1), 5, 2, n);
        let other_seed = FrozenNoise::draw(&SessionSecret::from_seed(2), 5, 1, n);
        let other_track = FrozenNoise::draw(&SessionSecret::from_seed(1), 6, 1, n);
        let a = base.step(0).expect("drawn");
        let correlation = |b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum::<f64>() / n as f64;
        assert!(correlation(a) > 0.9);
        for b in [base.step(1), other_seed.step(0), other_track.step(0)] {
            let r = correlation(b.expect("drawn"));
            // Six standard errors of the correlation of independent fields.
            assert!(r.abs() < 6.0 / (n as f64).sqrt(), "correlation {r}");
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_named() {
        let noise = FrozenNoise::draw(&SessionSecret::from_seed(1), 0, 1, 4);
        let mut out = [0.0; 8];
        let error = noise
            .noise_latents(&[0.0; 4], &[1.0, 1.0], &[0.0, 0.0], &mut out)
            .expect_err("two levels, one step of noise");
        assert_eq!(error.to_string(), "invert: noise steps: expected length 2, got 1");
        let error = noise.noise_latents(&[0.0; 3], &[1.0], &[0.0], &mut out[..4]).expect_err("short x0");
        assert_eq!(error.what, "x0");
    }
}
