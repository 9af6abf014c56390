//! Which noise levels a run visits, and the constants of each step of a solver.
//!
//! Every solver here is affine in the data prediction m = x̂0: `μ = carry·x + data·(m + history·(m − m₋))`
//! with m₋ the step before. The bracket form then needs one operator for all of them
//! (see [`super::edit_step`]).
//!
//! | solver | carry | data | history | std |
//! |---|---|---|---|---|
//! | `ddpm` | B/σ_t | α_p − B α_t/σ_t, B = √(σ_p² − ηv) | 0 | η√v, v = (σ_p²/σ_t²)(1 − α_t²/α_p²) |
//! | `sde-dpmpp-2m` | (σ_p/σ_t) e^{−h} | α_p (1 − e^{−2h}) | 1/(2 r0) | σ_p √(1 − e^{−2h}) |
//! | `dpmpp-2m` | σ_p/σ_t | α_p (1 − e^{−h}) | 1/(2 r0) | 0 |
//!
//! `h = λ_p − λ_t`, `r0 = (λ_t − λ_noisier)/h`. The first step and the step to the clean end are of
//! first order, in inversion and sampling alike; the clean end is `μ = m`.
//!
//! Limits: 1 to [`MAX_STEPS`] steps; times must fall strictly, so a discrete schedule refuses more
//! steps than it has left after `skip`.

use super::schedule::{Level, Schedule};

/// Most steps of a run.
pub const MAX_STEPS: usize = 100;

/// How a run goes from noise to data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Solver {
    /// Ancestral steps of DDIM with η (edit-friendly DDPM).
    Ddpm,
    /// SDE-DPM-Solver++(2M).
    #[serde(rename = "sde-dpmpp-2m")]
    SdeDpmpp2m,
    /// DPM-Solver++(2M), deterministic, with its own inversion.
    #[serde(rename = "dpmpp-2m")]
    Dpmpp2m,
}

/// Which times a run visits.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Spacing {
    /// DDIM's: `steps` over the whole of training time (discrete: 1, 1 + T/steps, …), of which the
    /// noisiest `skip` share is left out.
    Ddim {
        /// Share of steps left out, 0 to below 1.
        skip: f64,
    },
    /// `steps` evenly from training time `1 − skip` down to its end (discrete: T(1 − skip) − 1 … 1, truncated).
    Linspace {
        /// Share of training time left out, 0 to below 1.
        skip: f64,
    },
    /// Even in λ from `start` to `end`; one step stands at `start`.
    Lambda {
        /// Noisiest.
        start: f64,
        /// Last before the clean end.
        end: f64,
    },
}

/// What few-step packs are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimestepShift {
    /// The level that the latent has.
    #[default]
    None,
    /// The latent is one step less noisy than the denoiser is told (TurboEdit).
    OneStepLower,
}

/// Why a plan cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("plan: {field}: expected {expected}, got {got}")]
pub struct PlanError {
    /// Which setting.
    pub field: &'static str,
    /// Range.
    pub expected: String,
    /// Value.
    pub got: String,
}

/// Constants of one step, see the table above.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepConstants {
    /// Factor of x.
    pub carry: f64,
    /// Factor of the data prediction.
    pub data: f64,
    /// Weight of its difference to the step before.
    pub history: f64,
    /// Standard deviation of the noise that the step adds.
    pub std: f64,
}

/// The levels of a run, noisiest first, and the constants from each to the next; the clean end follows.
#[derive(Debug, Clone, PartialEq)]
pub struct StepPlan {
    solver: Solver,
    levels: Vec<Level>,
    told: Vec<Level>,
    constants: Vec<StepConstants>,
}

impl StepPlan {
    /// Plans a run. `eta` is ddpm's share of noise, 0 to 1; other solvers take no notice of it.
    ///
    /// # Errors
    /// The setting that is out of range, or times that do not fall.
    pub fn new(
        schedule: &Schedule,
        solver: Solver,
        spacing: Spacing,
        steps: usize,
        eta: f64,
        shift: TimestepShift,
    ) -> Result<Self, PlanError> {
        check("steps", (1..=MAX_STEPS).contains(&steps), format!("1 to {MAX_STEPS}"), steps)?;
        check("eta", (0.0..=1.0).contains(&eta), "0 to 1", eta)?;
        let mut told = match shift {
            TimestepShift::None => spaced(schedule, spacing, steps)?,
            TimestepShift::OneStepLower => spaced(schedule, spacing, steps + 1)?,
        };
        let levels = match shift {
            TimestepShift::None => told.clone(),
            TimestepShift::OneStepLower => {
                let lower = told.split_off(1);
                told.extend_from_slice(&lower[..lower.len() - 1]);
                lower
            }
        };
        for pair in levels.windows(2) {
            check(
                "levels",
                pair[1].lambda > pair[0].lambda,
                format!("λ above {} (fewer steps or less skip)", pair[0].lambda),
                pair[1].lambda,
            )?;
        }
        let constants = (0..levels.len())
            .map(|i| {
                let before = i.checked_sub(1).map(|j| levels[j]);
                constants(solver, eta, before, levels[i], levels.get(i + 1).copied().unwrap_or(Level::CLEAN))
            })
            .collect();
        Ok(Self {
            solver,
            levels,
            told,
            constants,
        })
    }

    /// Solver.
    #[must_use]
    pub fn solver(&self) -> Solver {
        self.solver
    }

    /// Steps that are run (after `skip`).
    #[must_use]
    pub fn steps(&self) -> usize {
        self.levels.len()
    }

    /// Levels of the latents, noisiest first, without the clean end.
    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Levels that the denoiser is told.
    #[must_use]
    pub fn told(&self) -> &[Level] {
        &self.told
    }

    /// Constants of each step.
    #[must_use]
    pub fn constants(&self) -> &[StepConstants] {
        &self.constants
    }

    /// α of every level, for noising.
    #[must_use]
    pub fn alphas(&self) -> Vec<f32> {
        self.levels.iter().map(|l| l.alpha as f32).collect()
    }

    /// σ of every level, for noising.
    #[must_use]
    pub fn sigmas(&self) -> Vec<f32> {
        self.levels.iter().map(|l| l.sigma as f32).collect()
    }
}

fn check(field: &'static str, ok: bool, expected: impl Into<String>, got: impl std::fmt::Display) -> Result<(), PlanError> {
    if ok {
        Ok(())
    } else {
        Err(PlanError {
            field,
            expected: expected.into(),
            got: got.to_string(),
        })
    }
}

fn spaced(schedule: &Schedule, spacing: Spacing, steps: usize) -> Result<Vec<Level>, PlanError> {
    let n = steps as f64;
    match spacing {
        Spacing::Ddim { skip } => {
            check("skip", (0.0..1.0).contains(&skip), "0 to below 1", skip)?;
            let kept = steps - (skip * n).round() as usize;
            check("skip", kept >= 1, format!("at least one of {steps} steps left"), skip)?;
            let time = |j: usize| match schedule.training_steps() {
                // Leading spacing with offset 1, as the published settings have it.
                Some(total) => ((j - 1) * (total / steps) + 1).min(total - 1) as f64,
                None => j as f64 / n,
            };
            Ok((1..=kept).rev().map(|j| schedule.level(time(j))).collect())
        }
        Spacing::Linspace { skip } => {
            check("skip", (0.0..1.0).contains(&skip), "0 to below 1", skip)?;
            let (first, last, truncate) = match schedule.training_steps() {
                Some(total) => (total as f64 * (1.0 - skip) - 1.0, 1.0, true),
                None => (1.0 - skip, 1e-3, false),
            };
            check("skip", first >= last, format!("a start at {last} or later"), skip)?;
            let step = (first - last) / (n - 1.0).max(1.0);
            let time = |i: usize| {
                // A hair more than exact, so that 1000·(1 − 0.7) − 1 truncates to 299 and not to 298.
                let t = first - step * i as f64;
                if truncate { (t + 1e-6).floor() } else { t }
            };
            Ok((0..steps).map(|i| schedule.level(time(i))).collect())
        }
        Spacing::Lambda { start, end } => {
            check("lambda start", start.is_finite(), "finite", start)?;
            check(
                "lambda end",
                end.is_finite() && (steps == 1 || end > start),
                format!("above the start {start}"),
                end,
            )?;
            let step = (end - start) / (n - 1.0).max(1.0);
            Ok((0..steps).map(|i| schedule.level_at_lambda(start + step * i as f64)).collect())
        }
    }
}

fn constants(solver: Solver, eta: f64, before: Option<Level>, from: Level, to: Level) -> StepConstants {
    if to.is_clean() {
        return StepConstants {
            carry: 0.0,
            data: 1.0,
            history: 0.0,
            std: 0.0,
        };
    }
    let h = to.lambda - from.lambda;
    let history = before.map_or(0.0, |b| h / (2.0 * (from.lambda - b.lambda)));
    match solver {
        Solver::Ddpm => {
            let ratio = from.alpha / to.alpha;
            let variance = (to.sigma / from.sigma).powi(2) * (1.0 - ratio * ratio);
            let direction = (to.sigma * to.sigma - eta * variance).max(0.0).sqrt();
            StepConstants {
                carry: direction / from.sigma,
                data: to.alpha - direction * from.alpha / from.sigma,
                history: 0.0,
                std: eta * variance.sqrt(),
            }
        }
        Solver::SdeDpmpp2m => StepConstants {
            carry: to.sigma / from.sigma * (-h).exp(),
            data: to.alpha * -(-2.0 * h).exp_m1(),
            history,
            std: to.sigma * (-(-2.0 * h).exp_m1()).sqrt(),
        },
        Solver::Dpmpp2m => StepConstants {
            carry: to.sigma / from.sigma,
            data: to.alpha * -(-h).exp_m1(),
            history,
            std: 0.0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Solver, Spacing, StepPlan, TimestepShift};
    use crate::stages::denoise::{Schedule, ScheduleSpec};

    fn plan(solver: Solver, spacing: Spacing, steps: usize, shift: TimestepShift) -> StepPlan {
        StepPlan::new(
            &Schedule::new(ScheduleSpec::STABLE_DIFFUSION).expect("valid"),
            solver,
            spacing,
            steps,
            1.0,
            shift,
        )
        .expect("valid")
    }

    #[test]
    fn published_times_are_met() {
        let nullface = plan(Solver::Ddpm, Spacing::Ddim { skip: 0.7 }, 100, TimestepShift::None);
        assert_eq!(
            (nullface.steps(), nullface.levels()[0].time, nullface.levels()[29].time),
            (30, 291.0, 1.0)
        );
        let reverse = plan(Solver::SdeDpmpp2m, Spacing::Linspace { skip: 0.7 }, 100, TimestepShift::None);
        let times: Vec<f64> = reverse.levels().iter().map(|l| l.time).collect();
        assert_eq!((times.len(), times[0], times[1], times[99]), (100, 299.0, 295.0, 1.0));
    }

    #[test]
    fn a_step_keeps_the_variance_of_unit_noise() {
        // With x = α x0 + σ ε and m = x0, the next latent is α_p x0 + (carry σ) ε + std z: its noise
        // must have σ_p.
        for solver in [Solver::Ddpm, Solver::SdeDpmpp2m, Solver::Dpmpp2m] {
            let plan = plan(solver, Spacing::Linspace { skip: 0.2 }, 20, TimestepShift::None);
            for (i, c) in plan.constants().iter().enumerate().take(19) {
                let (from, to) = (plan.levels()[i], plan.levels()[i + 1]);
                assert!(
                    ((c.carry * from.sigma).hypot(c.std) - to.sigma).abs() < 1e-12,
                    "{solver:?} step {i}"
                );
                assert!((c.carry * from.alpha + c.data - to.alpha).abs() < 1e-12, "{solver:?} step {i}");
            }
        }
    }

    #[test]
    fn the_turbo_shift_tells_one_step_more_noise() {
        let plain = plan(Solver::Ddpm, Spacing::Linspace { skip: 0.5 }, 4, TimestepShift::None);
        let shifted = plan(Solver::Ddpm, Spacing::Linspace { skip: 0.5 }, 3, TimestepShift::OneStepLower);
        assert_eq!(shifted.told(), &plain.levels()[..3]);
        assert_eq!(shifted.levels(), &plain.levels()[1..]);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let schedule = Schedule::new(ScheduleSpec::STABLE_DIFFUSION).expect("valid");
        let field = |spacing, steps, eta| {
            StepPlan::new(&schedule, Solver::Ddpm, spacing, steps, eta, TimestepShift::None)
                .expect_err("out of range")
                .field
        };
        assert_eq!(field(Spacing::Ddim { skip: 0.7 }, 0, 1.0), "steps");
        assert_eq!(field(Spacing::Ddim { skip: 0.7 }, 101, 1.0), "steps");
        assert_eq!(field(Spacing::Ddim { skip: 1.0 }, 10, 1.0), "skip");
        assert_eq!(field(Spacing::Ddim { skip: 0.97 }, 10, 1.0), "skip");
        assert_eq!(field(Spacing::Linspace { skip: f64::NAN }, 10, 1.0), "skip");
        assert_eq!(field(Spacing::Linspace { skip: 0.96 }, 100, 1.0), "levels");
        assert_eq!(field(Spacing::Ddim { skip: 0.0 }, 10, 1.5), "eta");
        assert_eq!(field(Spacing::Lambda { start: 1.0, end: 0.0 }, 2, 1.0), "lambda end");
    }
}
