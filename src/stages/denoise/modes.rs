//! Modes and presets as data: which solver, times, guidance and target make which published system.
//!
//! | preset | solver, times | guidance | identity | source |
//! |---|---|---|---|---|
//! | `nullface-paper` | ddpm η 1, 100 DDIM steps, skip .7 | w 10, mask from step 10 | −e | NullFace |
//! | `reverse-paper` | sde-dpmpp-2m, 100 even steps, skip .7 | w −10, attributes promoted | +e | Reverse Personalization |
//! | `nullface`, `reverse` | sde-dpmpp-2m, few steps | the same signs, smaller | `ksame`, or +e under w < 0 | this engine |
//! | `id2face` | the same | residual, w 1 | OIM | ID²Face's idea |
//! | `ksame` | one step | residual, w 1, x_0 = composite | the composite's | k-same prior |
//!
//! Limits: a pack's own defaults stand above these; the built-in ones are for packs that say nothing.

use super::denoiser::EditOptions;
use super::identity::{IdentityPolicy, MOST_LEAN, Turn};
use super::model::{Condition, RowShape};
use super::ode::InversionOptions;
use super::plan::{PlanError, Solver, Spacing, StepPlan, TimestepShift};
use super::schedule::Schedule;

/// Which system edits a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiffusionMode {
    /// Guided towards another identity.
    #[default]
    Nullface,
    /// Pushed away from its own identity.
    Reverse,
    /// Recomposed under a sampled identity.
    Id2face,
    /// The k-same composite made real.
    Ksame,
}

/// Everything that a mode sets.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeSettings {
    /// Solver.
    pub solver: Solver,
    /// Times.
    pub spacing: Spacing,
    /// Steps, 1 to 100, before `skip`.
    pub steps: usize,
    /// ddpm's share of noise.
    #[serde(default = "one")]
    pub eta: f64,
    /// w.
    pub guidance: f32,
    /// φ.
    #[serde(default)]
    pub rescale: f32,
    /// λ_id.
    #[serde(default = "one32")]
    pub identity_scale: f32,
    /// Random turn of `negate` and `repel`, radians.
    #[serde(default)]
    pub max_angle_rad: f32,
    /// How far `orthogonal` leans to −e: sine of the angle.
    #[serde(default)]
    pub lean: f32,
    /// Target.
    pub identity: IdentityPolicy,
    /// Stock noise in place of unconditional predictions.
    #[serde(default)]
    pub residual_guidance: bool,
    /// Steps before the mask acts.
    #[serde(default)]
    pub mask_delay: usize,
    /// Latents keep their bits where the mask is 0.
    #[serde(default = "yes")]
    pub pinned: bool,
    /// The last step's residual is dropped.
    #[serde(default)]
    pub drop_final_residual: bool,
    /// What few-step packs are told.
    #[serde(default)]
    pub timestep_shift: TimestepShift,
    /// x_0 is the composite, not the crop.
    #[serde(default)]
    pub from_prior: bool,
    /// For `dpmpp-2m`.
    #[serde(default)]
    pub inversion: InversionOptions,
}

fn one() -> f64 {
    1.0
}

fn one32() -> f32 {
    1.0
}

fn yes() -> bool {
    true
}

impl ModeSettings {
    /// NullFace as published.
    pub const NULLFACE_PAPER: Self = Self {
        solver: Solver::Ddpm,
        spacing: Spacing::Ddim { skip: 0.7 },
        steps: 100,
        eta: 1.0,
        guidance: 10.0,
        rescale: 0.0,
        identity_scale: 1.0,
        max_angle_rad: 0.0,
        lean: 0.0,
        identity: IdentityPolicy::Negate,
        residual_guidance: false,
        mask_delay: 10,
        pinned: false,
        drop_final_residual: true,
        timestep_shift: TimestepShift::None,
        from_prior: false,
        inversion: InversionOptions { iterations: 2, sweeps: 8 },
    };

    /// Reverse Personalization as published.
    pub const REVERSE_PAPER: Self = Self {
        solver: Solver::SdeDpmpp2m,
        spacing: Spacing::Linspace { skip: 0.7 },
        guidance: -10.0,
        identity: IdentityPolicy::Repel,
        mask_delay: 0,
        drop_final_residual: false,
        ..Self::NULLFACE_PAPER
    };

    /// The engine's own few-step settings for packs that say nothing.
    #[must_use]
    pub fn builtin(mode: DiffusionMode) -> Self {
        let few = Self {
            solver: Solver::SdeDpmpp2m,
            spacing: Spacing::Linspace { skip: 0.4 },
            steps: 4,
            mask_delay: 0,
            pinned: true,
            drop_final_residual: false,
            rescale: 0.7,
            ..Self::NULLFACE_PAPER
        };
        match mode {
            DiffusionMode::Nullface => Self {
                guidance: 3.0,
                identity: IdentityPolicy::Ksame,
                ..few
            },
            DiffusionMode::Reverse => Self {
                guidance: -3.0,
                identity: IdentityPolicy::Repel,
                ..few
            },
            DiffusionMode::Id2face => Self {
                guidance: 1.0,
                identity: IdentityPolicy::Orthogonal,
                residual_guidance: true,
                rescale: 0.0,
                ..few
            },
            DiffusionMode::Ksame => Self {
                steps: 1,
                guidance: 1.0,
                identity: IdentityPolicy::Ksame,
                residual_guidance: true,
                rescale: 0.0,
                from_prior: true,
                ..few
            },
        }
    }

    /// The settings of a preset's name.
    #[must_use]
    pub fn preset(name: &str) -> Option<(DiffusionMode, Self)> {
        match name {
            "nullface-paper" => Some((DiffusionMode::Nullface, Self::NULLFACE_PAPER)),
            "reverse-paper" => Some((DiffusionMode::Reverse, Self::REVERSE_PAPER)),
            _ => None,
        }
    }

    /// The part that [`super::Denoiser::edit`] wants.
    #[must_use]
    pub fn edit_options(&self) -> EditOptions {
        EditOptions {
            residual_guidance: self.residual_guidance,
            rescale: self.rescale,
            mask_delay: self.mask_delay,
            pinned: self.pinned,
            drop_final_residual: self.drop_final_residual,
            inversion: self.inversion,
        }
    }

    /// The part that [`super::target`] wants.
    #[must_use]
    pub fn turn(&self) -> Turn {
        Turn {
            scale: self.identity_scale,
            max_angle_rad: self.max_angle_rad,
            lean: self.lean,
        }
    }

    /// The plan under a schedule.
    ///
    /// # Errors
    /// The setting that is out of range.
    pub fn plan(&self, schedule: &Schedule) -> Result<StepPlan, PlanError> {
        StepPlan::new(schedule, self.solver, self.spacing, self.steps, self.eta, self.timestep_shift)
    }

    /// Checks what [`Self::plan`] does not: guidance, rescale, angle, lean, iterations, and the sign that a
    /// policy needs.
    ///
    /// # Errors
    /// The setting that is out of range.
    pub fn check(&self) -> Result<(), PlanError> {
        let check = |field, ok: bool, expected: &str, got: String| {
            if ok {
                Ok(())
            } else {
                Err(PlanError {
                    field,
                    expected: expected.to_owned(),
                    got,
                })
            }
        };
        check("guidance", self.guidance.abs() <= 100.0, "−100 to 100", self.guidance.to_string())?;
        check("rescale", (0.0..=1.0).contains(&self.rescale), "0 to 1", self.rescale.to_string())?;
        check(
            "identity_scale",
            (0.0..=10.0).contains(&self.identity_scale),
            "0 to 10",
            self.identity_scale.to_string(),
        )?;
        check(
            "max_angle_rad",
            (0.0..=std::f32::consts::PI).contains(&self.max_angle_rad),
            "0 to π",
            self.max_angle_rad.to_string(),
        )?;
        check("lean", (0.0..=MOST_LEAN).contains(&self.lean), "0 to 0.71", self.lean.to_string())?;
        check(
            "inversion.iterations",
            (1..=20).contains(&self.inversion.iterations),
            "1 to 20",
            self.inversion.iterations.to_string(),
        )?;
        check(
            "inversion.sweeps",
            self.inversion.sweeps <= 20,
            "0 to 20",
            self.inversion.sweeps.to_string(),
        )?;
        // Positive guidance towards the source itself would strengthen the identity.
        check(
            "guidance",
            self.identity != IdentityPolicy::Repel || self.guidance <= 0.0,
            "0 or below with identity repel",
            self.guidance.to_string(),
        )
    }
}

/// The three branches of a face.
#[derive(Debug, Clone, PartialEq)]
pub struct ModeConditions {
    /// ∅ of the reference predictions.
    pub reference: Condition,
    /// The promoted branch, where attributes are asked for under negative guidance.
    pub unconditional: Option<Condition>,
    /// c.
    pub conditional: Condition,
}

/// Puts target identity and asked attributes where a mode wants them: under w < 0 what stands in the
/// unconditional branch is promoted, so attributes go there; otherwise they join the condition.
#[must_use]
pub fn conditions(
    shape: &RowShape,
    settings: &ModeSettings,
    target: &[f32],
    attributes: Option<&[f32]>,
    text: Option<&[f32]>,
    empty_text: &[f32],
) -> ModeConditions {
    let reference = Condition::null(shape, empty_text);
    let asked = |mut condition: Condition| {
        if let Some(a) = attributes {
            condition = condition.with_attributes(a);
        }
        if let Some(t) = text {
            condition = condition.with_text(t);
        }
        condition
    };
    let any = attributes.is_some() || text.is_some();
    if settings.guidance < 0.0 {
        let unconditional = any.then(|| asked(reference.clone()));
        ModeConditions {
            conditional: reference.clone().with_identity(target),
            unconditional,
            reference,
        }
    } else {
        ModeConditions {
            conditional: asked(reference.clone()).with_identity(target),
            unconditional: None,
            reference,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DiffusionMode, ModeSettings, conditions};
    use crate::stages::denoise::{IdentityPolicy, RowShape, Schedule, ScheduleSpec};

    #[test]
    fn every_builtin_and_preset_makes_a_plan_on_both_kinds_of_schedule() {
        let cosine = ScheduleSpec::Cosine {
            shift: 0.5,
            lambda_min: -6.0,
            lambda_max: 6.0,
        };
        let modes = [
            DiffusionMode::Nullface,
            DiffusionMode::Reverse,
            DiffusionMode::Id2face,
            DiffusionMode::Ksame,
        ];
        for spec in [ScheduleSpec::STABLE_DIFFUSION, cosine] {
            let schedule = Schedule::new(spec).expect("valid");
            for settings in modes
                .map(ModeSettings::builtin)
                .into_iter()
                .chain([ModeSettings::NULLFACE_PAPER, ModeSettings::REVERSE_PAPER])
            {
                settings.check().expect("in range");
                let plan = settings.plan(&schedule).expect("a plan");
                assert!(plan.steps() >= 1);
            }
        }
    }

    #[test]
    fn attributes_stand_in_the_promoted_branch_only_under_negative_guidance() {
        let shape = RowShape {
            channels: 1,
            height: 1,
            width: 1,
            identity: 2,
            attributes: 3,
            text: 0,
            prior: false,
        };
        let asked = [0.0, 1.0, 0.0];
        let reverse = conditions(
            &shape,
            &ModeSettings::builtin(DiffusionMode::Reverse),
            &[1.0, 0.0],
            Some(&asked),
            None,
            &[],
        );
        let promoted = reverse.unconditional.expect("promoted");
        assert_eq!((promoted.attributes, promoted.identity_mask), (asked.to_vec(), 0.0));
        assert_eq!(
            (reverse.conditional.attributes, reverse.conditional.identity_mask),
            (vec![0.0; 3], 1.0)
        );
        let nullface = conditions(
            &shape,
            &ModeSettings::builtin(DiffusionMode::Nullface),
            &[1.0, 0.0],
            Some(&asked),
            None,
            &[],
        );
        assert_eq!((nullface.unconditional, nullface.conditional.attributes), (None, asked.to_vec()));
        assert_eq!(nullface.reference.attributes, vec![0.0; 3]);
    }

    #[test]
    fn repelling_with_positive_guidance_is_refused() {
        let settings = ModeSettings {
            identity: IdentityPolicy::Repel,
            ..ModeSettings::builtin(DiffusionMode::Nullface)
        };
        assert_eq!(settings.check().expect_err("strengthens the identity").field, "guidance");
    }
}
