//! Noise schedules: time ↔ half log-SNR λ ↔ (α, σ).
//!
//! Variance preserving: `x_t = α x_0 + σ ε`, `α² + σ² = 1`, `λ = ln(α/σ)`, so `α = √sigmoid(2λ)`,
//! `σ = √sigmoid(−2λ)`. All in f64: it runs once per plan, not per frame.
//!
//! | kind | time | law |
//! |---|---|---|
//! | `cosine` | u in 0–1 | `λ = −ln tan(πu/2) + ln(shift)`, clamped to `lambda_min`…`lambda_max` (Hoogeboom et al. 2023: shift = 64 / resolution in log-SNR, that is `ln(shift)` on λ) |
//! | `linear-lambda` | u in 0–1 | λ falls linearly from `lambda_max` to `lambda_min` |
//! | `scaled-linear` | integer t below `steps` | `β_t = (√β_start + (√β_end − √β_start) t/(T−1))²`, `ᾱ_t = Π(1 − β)` |
//! | `linear` | the same | β linear in t |
//!
//! Errors: [`ScheduleError`] names the constant that is out of range.

use std::f64::consts::FRAC_PI_2;

/// Most training steps that a discrete schedule may have.
pub const MAX_TRAINING_STEPS: u32 = 10_000;

/// Largest |λ| that a schedule may reach: beyond it α or σ vanishes in f32.
pub const MAX_ABS_LAMBDA: f64 = 12.0;

/// A schedule's constants, as a pack gives them.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ScheduleSpec {
    /// Continuous cosine, shifted for the resolution.
    Cosine {
        /// Factor on α/σ; 1 is the plain cosine, below 1 is noisier.
        shift: f64,
        /// Noisiest λ.
        lambda_min: f64,
        /// Cleanest λ.
        lambda_max: f64,
    },
    /// Continuous, λ linear in time.
    LinearLambda {
        /// Noisiest λ.
        lambda_min: f64,
        /// Cleanest λ.
        lambda_max: f64,
    },
    /// Discrete, √β linear: Stable Diffusion.
    ScaledLinear {
        /// First β.
        beta_start: f64,
        /// Last β.
        beta_end: f64,
        /// Training steps.
        steps: u32,
    },
    /// Discrete, β linear.
    Linear {
        /// First β.
        beta_start: f64,
        /// Last β.
        beta_end: f64,
        /// Training steps.
        steps: u32,
    },
}

impl ScheduleSpec {
    /// SD 1.5 and SDXL.
    pub const STABLE_DIFFUSION: Self = Self::ScaledLinear {
        beta_start: 0.00085,
        beta_end: 0.012,
        steps: 1000,
    };
}

/// A constant out of range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("schedule.{field}: expected {expected}, got {got}")]
pub struct ScheduleError {
    /// Which.
    pub field: &'static str,
    /// Range.
    pub expected: String,
    /// Value.
    pub got: f64,
}

/// One noise level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Time as the denoiser is told it: a training step, or 0–1.
    pub time: f64,
    /// Half log-SNR; infinite where clean.
    pub lambda: f64,
    /// Signal's share.
    pub alpha: f64,
    /// Noise's share.
    pub sigma: f64,
}

impl Level {
    /// No noise.
    pub const CLEAN: Self = Self {
        time: 0.0,
        lambda: f64::INFINITY,
        alpha: 1.0,
        sigma: 0.0,
    };

    /// α and σ of a λ, told as `time`.
    #[must_use]
    pub fn of_lambda(time: f64, lambda: f64) -> Self {
        let alpha = (1.0 / (1.0 + (-2.0 * lambda).exp())).sqrt();
        let sigma = (1.0 / (1.0 + (2.0 * lambda).exp())).sqrt();
        Self {
            time,
            lambda,
            alpha,
            sigma,
        }
    }

    /// Whether there is no noise left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.sigma == 0.0
    }
}

/// A checked schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    spec: ScheduleSpec,
    /// λ of every training step, falling; empty where continuous.
    lambdas: Vec<f64>,
}

impl Schedule {
    /// Checks the constants and tabulates discrete schedules.
    ///
    /// # Errors
    /// The constant that is out of range.
    pub fn new(spec: ScheduleSpec) -> Result<Self, ScheduleError> {
        let lambdas = match spec {
            ScheduleSpec::Cosine {
                shift,
                lambda_min,
                lambda_max,
            } => {
                within("shift", shift, 1e-3, 1e3)?;
                range(lambda_min, lambda_max)?;
                Vec::new()
            }
            ScheduleSpec::LinearLambda { lambda_min, lambda_max } => {
                range(lambda_min, lambda_max)?;
                Vec::new()
            }
            ScheduleSpec::ScaledLinear {
                beta_start,
                beta_end,
                steps,
            } => {
                let (a, b) = (beta_start.sqrt(), beta_end.sqrt());
                table(beta_start, beta_end, steps, |u| (a + (b - a) * u).powi(2))?
            }
            ScheduleSpec::Linear {
                beta_start,
                beta_end,
                steps,
            } => table(beta_start, beta_end, steps, |u| beta_start + (beta_end - beta_start) * u)?,
        };
        Ok(Self { spec, lambdas })
    }

    /// The constants.
    #[must_use]
    pub fn spec(&self) -> ScheduleSpec {
        self.spec
    }

    /// Training steps of a discrete schedule.
    #[must_use]
    pub fn training_steps(&self) -> Option<usize> {
        (!self.lambdas.is_empty()).then_some(self.lambdas.len())
    }

    /// The level of a time; times outside the schedule are clamped to its ends.
    #[must_use]
    pub fn level(&self, time: f64) -> Level {
        match self.spec {
            ScheduleSpec::Cosine {
                shift,
                lambda_min,
                lambda_max,
            } => {
                let u = time.clamp(1e-9, 1.0 - 1e-9);
                let lambda = shift.ln() - (FRAC_PI_2 * u).tan().ln();
                Level::of_lambda(time.clamp(0.0, 1.0), lambda.clamp(lambda_min, lambda_max))
            }
            ScheduleSpec::LinearLambda { lambda_min, lambda_max } => {
                let u = time.clamp(0.0, 1.0);
                Level::of_lambda(u, lambda_max + (lambda_min - lambda_max) * u)
            }
            ScheduleSpec::ScaledLinear { .. } | ScheduleSpec::Linear { .. } => {
                let last = self.lambdas.len() - 1;
                let t = time.clamp(0.0, last as f64);
                let low = (t.floor() as usize).min(last);
                let high = (low + 1).min(last);
                let lambda = self.lambdas[low] + (self.lambdas[high] - self.lambdas[low]) * (t - low as f64);
                Level::of_lambda(t, lambda)
            }
        }
    }

    /// The level of a λ, clamped to the schedule's range, with the time that reaches it.
    #[must_use]
    pub fn level_at_lambda(&self, lambda: f64) -> Level {
        match self.spec {
            ScheduleSpec::Cosine {
                shift,
                lambda_min,
                lambda_max,
            } => {
                let lambda = lambda.clamp(lambda_min, lambda_max);
                Level::of_lambda((shift.ln() - lambda).exp().atan() / FRAC_PI_2, lambda)
            }
            ScheduleSpec::LinearLambda { lambda_min, lambda_max } => {
                let lambda = lambda.clamp(lambda_min, lambda_max);
                Level::of_lambda((lambda_max - lambda) / (lambda_max - lambda_min), lambda)
            }
            ScheduleSpec::ScaledLinear { .. } | ScheduleSpec::Linear { .. } => {
                let last = self.lambdas.len() - 1;
                let lambda = lambda.clamp(self.lambdas[last], self.lambdas[0]);
                let high = self.lambdas.partition_point(|l| *l > lambda).clamp(1, last);
                let (a, b) = (self.lambdas[high - 1], self.lambdas[high]);
                Level::of_lambda((high - 1) as f64 + (a - lambda) / (a - b), lambda)
            }
        }
    }
}

fn within(field: &'static str, got: f64, low: f64, high: f64) -> Result<(), ScheduleError> {
    if got >= low && got <= high {
        Ok(())
    } else {
        Err(ScheduleError {
            field,
            expected: format!("{low} to {high}"),
            got,
        })
    }
}

fn range(lambda_min: f64, lambda_max: f64) -> Result<(), ScheduleError> {
    within("lambda_min", lambda_min, -MAX_ABS_LAMBDA, MAX_ABS_LAMBDA)?;
    within("lambda_max", lambda_max, -MAX_ABS_LAMBDA, MAX_ABS_LAMBDA)?;
    if lambda_max > lambda_min {
        Ok(())
    } else {
        Err(ScheduleError {
            field: "lambda_max",
            expected: format!("above lambda_min {lambda_min}"),
            got: lambda_max,
        })
    }
}

fn table(beta_start: f64, beta_end: f64, steps: u32, beta: impl Fn(f64) -> f64) -> Result<Vec<f64>, ScheduleError> {
    within("beta_start", beta_start, 1e-8, 0.5)?;
    within("beta_end", beta_end, 1e-8, 0.999)?;
    within("steps", f64::from(steps), 2.0, f64::from(MAX_TRAINING_STEPS))?;
    let mut product = 1.0;
    let mut lambdas = Vec::with_capacity(steps as usize);
    for t in 0..steps {
        product *= 1.0 - beta(f64::from(t) / f64::from(steps - 1));
        lambdas.push(0.5 * (product / (1.0 - product)).ln());
    }
    let last = lambdas[lambdas.len() - 1];
    if last.is_finite() && last >= -MAX_ABS_LAMBDA && lambdas.windows(2).all(|w| w[1] < w[0]) {
        Ok(lambdas)
    } else {
        Err(ScheduleError {
            field: "beta_end",
            expected: format!("λ falling and not below {}", -MAX_ABS_LAMBDA),
            got: beta_end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Schedule, ScheduleSpec};

    #[test]
    fn stable_diffusion_has_the_published_alphas() {
        let schedule = Schedule::new(ScheduleSpec::STABLE_DIFFUSION).expect("valid");
        for (t, alpha_bar) in [(199.0, 0.755), (299.0, 0.592), (499.0, 0.278), (799.0, 0.037)] {
            let level = schedule.level(t);
            // Three published digits.
            assert!(
                (level.alpha * level.alpha - alpha_bar).abs() < 5e-4,
                "t {t}: {}",
                level.alpha * level.alpha
            );
            assert!((level.alpha.hypot(level.sigma) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn time_and_lambda_are_inverse_in_every_kind() {
        for spec in [
            ScheduleSpec::STABLE_DIFFUSION,
            ScheduleSpec::Linear {
                beta_start: 1e-4,
                beta_end: 0.02,
                steps: 1000,
            },
            ScheduleSpec::Cosine {
                shift: 0.5,
                lambda_min: -5.0,
                lambda_max: 5.0,
            },
            ScheduleSpec::LinearLambda {
                lambda_min: -4.0,
                lambda_max: 6.0,
            },
        ] {
            let schedule = Schedule::new(spec).expect("valid");
            for i in -26..30 {
                let asked = f64::from(i) * 0.1;
                let level = schedule.level_at_lambda(asked);
                assert!((level.lambda - asked).abs() < 1e-9, "{spec:?} λ {asked}");
                assert!((schedule.level(level.time).lambda - asked).abs() < 1e-6, "{spec:?} λ {asked}");
            }
        }
    }

    #[test]
    fn constants_out_of_range_are_named() {
        for (spec, field) in [
            (
                ScheduleSpec::Cosine {
                    shift: 0.0,
                    lambda_min: -5.0,
                    lambda_max: 5.0,
                },
                "shift",
            ),
            (
                ScheduleSpec::Cosine {
                    shift: f64::NAN,
                    lambda_min: -5.0,
                    lambda_max: 5.0,
                },
                "shift",
            ),
            (
                ScheduleSpec::LinearLambda {
                    lambda_min: 2.0,
                    lambda_max: 1.0,
                },
                "lambda_max",
            ),
            (
                ScheduleSpec::Linear {
                    beta_start: 1e-4,
                    beta_end: 0.02,
                    steps: 1,
                },
                "steps",
            ),
            (
                ScheduleSpec::ScaledLinear {
                    beta_start: -1.0,
                    beta_end: 0.02,
                    steps: 1000,
                },
                "beta_start",
            ),
        ] {
            assert_eq!(Schedule::new(spec).expect_err("out of range").field, field);
        }
    }
}
