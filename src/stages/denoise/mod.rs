//! Latents → anonymous latents: solvers, guidance, masks, all in one bracket form.
//!
//! Three published systems are one operator here. Noise is substituted out of edit-friendly inversion:
//! `x̂_p = x_p + [μ(x̂_t, ε̂) − μ(x_t, ε(x_t, ∅))]`. All reference latents `x_t` are known beforehand, so
//! the reference predictions of all steps, the first conditional one among them, are one batched call;
//! nothing is divided by a vanishing variance; and w = 0 returns x_0 bit for bit with any solver.
//!
//! One frame, all its faces: [`Denoiser::edit`]. Plans ([`StepPlan`]) are made when settings change,
//! conditions ([`Condition`]) when a track's target is locked.
//!
//! Sources: Kung et al., NullFace (arXiv 2503.08478); Kung et al., Reverse Personalization
//! (arXiv 2512.22984); ID²Face (arXiv 2510.24213); Huberman-Spiegelglas et al. 2024; Lu et al. 2022
//! (DPM-Solver++); Brack et al. 2024 (LEDITS++); Deutch et al. 2024 (TurboEdit); Kodaira et al. 2023
//! (StreamDiffusion's residual guidance); Lin et al. 2024 (rescale). Written from the formulas.

mod denoiser;
pub mod edit_step;
mod identity;
mod model;
mod modes;
mod ode;
mod on_device;
mod onnx;
mod plan;
mod rows;
mod schedule;

pub use denoiser::{DenoiseError, Denoiser, EditFace, EditOptions, EditStats, ReferenceFace};
pub use identity::{IdentityPolicy, MOST_LEAN, TargetError, Turn, leant, orthogonal_to, rotated, target};
pub use model::{Batch, Condition, ModelError, NoiseModel, Prediction, RowShape};
pub use modes::{DiffusionMode, ModeConditions, ModeSettings, conditions};
pub use ode::InversionOptions;
pub use on_device::{DeviceModel, DeviceRows, edit_on_device};
pub use onnx::{Doors, OnnxModel};
pub use plan::{MAX_STEPS, PlanError, Solver, Spacing, StepConstants, StepPlan, TimestepShift};
pub use schedule::{Level, MAX_ABS_LAMBDA, MAX_TRAINING_STEPS, Schedule, ScheduleError, ScheduleSpec};
