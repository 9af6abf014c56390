//! Runs the bracket form for all faces of a frame. See [`Denoiser::edit`].
//!
//! | | |
//! |---|---|
//! | rows of the first call | reference predictions of all steps of all faces, the conditional ones of the first step, and the unconditional ones where an attribute stands in that branch |
//! | rows of each later call | conditional and unconditional of all faces |
//! | residual guidance | no reference and no unconditional rows: N evaluations a face |
//! | one step | two evaluations a face in one call |
//! | allocation | buffers grow to the largest frame seen and stay |
//! | determinism | element-wise but for the denoiser itself; face order and grouping do not matter |
//! | fails closed | any output that is not finite is an error, never pixels |

use super::edit_step::{EditOperands, EditStep, Unguided, edit_step, rescale_factor, rescale_factor_stock};
use super::model::{Condition, ModelError, NoiseModel, RowShape};
use super::ode::{self, InversionOptions};
use super::plan::{Solver, StepPlan};
use super::rows::Rows;

/// Why a frame's faces could not be edited.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DenoiseError {
    /// The denoiser failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A slice or setting that does not fit.
    #[error("denoise: face {face}: {what}: expected {expected}, got {got}")]
    Input {
        /// Index in the call.
        face: usize,
        /// Which.
        what: &'static str,
        /// Expected.
        expected: String,
        /// Got.
        got: String,
    },
    /// NaN or infinity came out.
    #[error("denoise: face {face}: expected finite latents, got a value that is not finite")]
    NotFinite {
        /// Index in the call.
        face: usize,
    },
}

/// What the inversion needs of a face.
#[derive(Debug, Clone, Copy)]
pub struct ReferenceFace<'a> {
    /// Clean latent: the crop's, or the composite's where the prior is what is refined.
    pub x0: &'a [f32],
    /// Composite, for networks with that input; none = dropped.
    pub prior: Option<&'a [f32]>,
    /// ∅: what the reference predictions see.
    pub reference: &'a Condition,
}

/// One face of a frame.
#[derive(Debug, Clone, Copy)]
pub struct EditFace<'a> {
    /// What inversion needs.
    pub source: ReferenceFace<'a>,
    /// `[step][latent]`, noisiest first, from frozen noise; empty with `dpmpp-2m`, which inverts by itself.
    pub noised: &'a [f32],
    /// 1 = anonymise, 0 = keep; one plane or a whole latent; none = everywhere.
    pub mask: Option<&'a [f32]>,
    /// The branch that negative guidance promotes; none = the reference.
    pub unconditional: Option<&'a Condition>,
    /// c.
    pub conditional: &'a Condition,
    /// w.
    pub guidance: f32,
}

/// What is the same for all faces of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EditOptions {
    /// Stock noise in place of unconditional predictions; with w = 1 and the composite as x_0 this is
    /// sampling from the noised composite.
    pub residual_guidance: bool,
    /// φ: how far the guided noise's standard deviation goes back to the unguided one's, 0 to 1.
    pub rescale: f32,
    /// Steps before the mask acts; when pinned the last step is masked in any case.
    pub mask_delay: usize,
    /// Latents keep their bits where the mask is 0. The published masks act on the noise prediction
    /// alone, so that what the network sees around the mask leaks into it; this forbids that.
    pub pinned: bool,
    /// The last step's residual is dropped, as published; w = 0 then returns the last prediction, not x_0.
    pub drop_final_residual: bool,
    /// For `dpmpp-2m`.
    pub inversion: InversionOptions,
}

impl Default for EditOptions {
    fn default() -> Self {
        Self {
            residual_guidance: false,
            rescale: 0.0,
            mask_delay: 0,
            pinned: true,
            drop_final_residual: false,
            inversion: InversionOptions::default(),
        }
    }
}

/// What a call cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EditStats {
    /// Calls of the denoiser.
    pub calls: usize,
    /// Steps run.
    pub steps: usize,
}

/// Buffers and state of one stream's denoising.
#[derive(Debug, Default)]
pub struct Denoiser {
    rows: Rows,
    /// First call: references `[face][step]`, then conditionals, then unconditionals.
    first: Vec<f32>,
    /// Later calls: conditionals, then unconditionals.
    later: Vec<f32>,
    trajectory: Vec<f32>,
    delta: Vec<f32>,
    history: Vec<f32>,
    x_hat: Vec<f32>,
}

impl Denoiser {
    /// Empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes held in buffers: grows to the largest frame seen and stays there.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        let own = [&self.first, &self.later, &self.trajectory, &self.delta, &self.history, &self.x_hat];
        self.rows.capacity_bytes() + own.iter().map(|v| v.capacity() * size_of::<f32>()).sum::<usize>()
    }

    /// Inverts the deterministic solver alone; the chain is `[face][step][latent]`, noisiest first.
    ///
    /// # Errors
    /// See [`DenoiseError`].
    pub fn invert(
        &mut self,
        model: &mut dyn NoiseModel,
        plan: &StepPlan,
        options: InversionOptions,
        faces: &[ReferenceFace<'_>],
    ) -> Result<&[f32], DenoiseError> {
        let shape = model.shape();
        for (index, face) in faces.iter().enumerate() {
            check_source(index, face, &shape)?;
        }
        ode::invert(
            model,
            shape,
            plan,
            options,
            faces,
            ode::Buffers {
                rows: &mut self.rows,
                outputs: &mut self.first,
                trajectory: &mut self.trajectory,
            },
        )?;
        Ok(&self.trajectory)
    }

    /// Edits all faces of a frame; `out` is `[face][latent]`.
    ///
    /// # Errors
    /// See [`DenoiseError`]; `out` is then without meaning and the faces must be covered.
    pub fn edit(
        &mut self,
        model: &mut dyn NoiseModel,
        plan: &StepPlan,
        options: &EditOptions,
        faces: &[EditFace<'_>],
        out: &mut [f32],
    ) -> Result<EditStats, DenoiseError> {
        let shape = model.shape();
        let n = shape.latent_len();
        check_faces(faces, &shape, plan, options, out.len())?;
        if faces.is_empty() {
            return Ok(EditStats::default());
        }
        let mut stats = EditStats {
            calls: 0,
            steps: plan.steps(),
        };
        stats.calls += self.references(model, shape, plan, options, faces)?;
        for v in [&mut self.delta, &mut self.history, &mut self.x_hat] {
            v.clear();
            v.resize(faces.len() * n, 0.0);
        }
        stats.calls += self.first_call(model, shape, plan, options, faces)?;
        for i in 0..plan.steps() {
            if i > 0 {
                stats.calls += self.later_call(model, shape, plan, options, faces, i)?;
            }
            let mut promoted = 0;
            for (f, face) in faces.iter().enumerate() {
                self.step(model, plan, options, faces.len(), n, i, f, face, &mut promoted);
            }
        }
        out.copy_from_slice(&self.x_hat);
        match out.chunks_exact(n).position(|face| face.iter().any(|v| !v.is_finite())) {
            Some(face) => Err(DenoiseError::NotFinite { face }),
            None => Ok(stats),
        }
    }

    /// The reference latents of all faces, `[face][step][latent]`.
    fn references(
        &mut self,
        model: &mut dyn NoiseModel,
        shape: RowShape,
        plan: &StepPlan,
        options: &EditOptions,
        faces: &[EditFace<'_>],
    ) -> Result<usize, ModelError> {
        if plan.solver() == Solver::Dpmpp2m {
            // A frame holds a handful of faces: this list is the only allocation, and small.
            let sources: Vec<_> = faces.iter().map(|f| f.source).collect();
            let buffers = ode::Buffers {
                rows: &mut self.rows,
                outputs: &mut self.first,
                trajectory: &mut self.trajectory,
            };
            return ode::invert(model, shape, plan, options.inversion, &sources, buffers);
        }
        self.trajectory.clear();
        for face in faces {
            self.trajectory.extend_from_slice(face.noised);
        }
        Ok(0)
    }

    fn first_call(
        &mut self,
        model: &mut dyn NoiseModel,
        shape: RowShape,
        plan: &StepPlan,
        options: &EditOptions,
        faces: &[EditFace<'_>],
    ) -> Result<usize, ModelError> {
        let (n, steps) = (shape.latent_len(), plan.steps());
        let told = plan.told();
        self.rows.clear();
        let mut rows = 0;
        if !options.residual_guidance {
            for (face, chain) in faces.iter().zip(self.trajectory.chunks_exact(steps * n)) {
                for (x, told) in chain.chunks_exact(n).zip(told) {
                    self.rows.push(&shape, x, *told, face.source.reference, face.source.prior);
                    rows += 1;
                }
            }
        }
        for (f, face) in faces.iter().enumerate() {
            let x = &self.trajectory[f * steps * n..][..n];
            self.x_hat[f * n..][..n].copy_from_slice(x);
            self.rows.push(&shape, x, told[0], face.conditional, face.source.prior);
            rows += 1;
        }
        if !options.residual_guidance {
            for (f, face) in faces.iter().enumerate() {
                if let Some(unconditional) = face.unconditional {
                    self.rows.push(
                        &shape,
                        &self.trajectory[f * steps * n..][..n],
                        told[0],
                        unconditional,
                        face.source.prior,
                    );
                    rows += 1;
                }
            }
        }
        self.first.resize(self.first.len().max(rows * n), 0.0);
        self.rows.predict(model, shape, &mut self.first)
    }

    fn later_call(
        &mut self,
        model: &mut dyn NoiseModel,
        shape: RowShape,
        plan: &StepPlan,
        options: &EditOptions,
        faces: &[EditFace<'_>],
        i: usize,
    ) -> Result<usize, ModelError> {
        let n = shape.latent_len();
        let told = plan.told()[i];
        self.rows.clear();
        for (face, x) in faces.iter().zip(self.x_hat.chunks_exact(n)) {
            self.rows.push(&shape, x, told, face.conditional, face.source.prior);
        }
        if !options.residual_guidance {
            for (face, x) in faces.iter().zip(self.x_hat.chunks_exact(n)) {
                self.rows.push(
                    &shape,
                    x,
                    told,
                    face.unconditional.unwrap_or(face.source.reference),
                    face.source.prior,
                );
            }
        }
        self.later.resize(self.later.len().max(2 * faces.len() * n), 0.0);
        self.rows.predict(model, shape, &mut self.later)
    }

    #[allow(clippy::too_many_arguments)]
    fn step(
        &mut self,
        model: &mut dyn NoiseModel,
        plan: &StepPlan,
        options: &EditOptions,
        faces: usize,
        n: usize,
        i: usize,
        f: usize,
        face: &EditFace<'_>,
        promoted: &mut usize,
    ) {
        let (steps, level, c, prediction) = (plan.steps(), plan.levels()[i], plan.constants()[i], model.prediction());
        let references = if options.residual_guidance { 0 } else { faces * steps };
        let chain = &self.trajectory[f * steps * n..][..steps * n];
        let x = &chain[i * n..][..n];
        let x_next = if i + 1 == steps {
            face.source.x0
        } else {
            &chain[(i + 1) * n..][..n]
        };
        let output_c = if i == 0 {
            &self.first[(references + f) * n..][..n]
        } else {
            &self.later[f * n..][..n]
        };
        let x_hat = &mut self.x_hat[f * n..][..n];
        let to_noise = prediction.to_noise(level.alpha, level.sigma);
        let mut rescale = 1.0;
        let unguided = if options.residual_guidance {
            if options.rescale != 0.0 {
                rescale = rescale_factor_stock(
                    options.rescale,
                    face.guidance,
                    (level.alpha, level.sigma),
                    to_noise,
                    x_hat,
                    face.source.x0,
                    output_c,
                );
            }
            Unguided::Stock { x0: face.source.x0 }
        } else {
            let output_ref = &self.first[(f * steps + i) * n..][..n];
            let output_u = if i > 0 {
                &self.later[(faces + f) * n..][..n]
            } else if face.unconditional.is_some() {
                *promoted += 1;
                &self.first[(references + faces + *promoted - 1) * n..][..n]
            } else {
                output_ref
            };
            if options.rescale != 0.0 {
                rescale = rescale_factor(options.rescale, face.guidance, to_noise, x_hat, output_u, output_c);
            }
            Unguided::Predicted { output_ref, output_u }
        };
        let to_data = prediction.to_data(level.alpha, level.sigma);
        let from_step = if options.pinned {
            options.mask_delay.min(steps - 1)
        } else {
            options.mask_delay
        };
        let step = EditStep {
            carry: c.carry as f32,
            data: c.data as f32,
            history: c.history as f32,
            guidance: face.guidance,
            rescale,
            alpha: level.alpha as f32,
            to_data: (to_data.0 as f32, to_data.1 as f32),
            pinned: options.pinned,
            drop_residual: options.drop_final_residual && i + 1 == steps,
        };
        let operands = EditOperands {
            x,
            x_next,
            unguided,
            output_c,
            mask: face.mask.filter(|_| i >= from_step),
            delta: &mut self.delta[f * n..][..n],
            history: &mut self.history[f * n..][..n],
            x_hat_next: x_hat,
        };
        edit_step(&step, operands);
    }
}

fn input(
    face: usize,
    what: &'static str,
    ok: bool,
    expected: impl std::fmt::Display,
    got: impl std::fmt::Display,
) -> Result<(), DenoiseError> {
    if ok {
        Ok(())
    } else {
        Err(DenoiseError::Input {
            face,
            what,
            expected: expected.to_string(),
            got: got.to_string(),
        })
    }
}

fn check_source(index: usize, face: &ReferenceFace<'_>, shape: &RowShape) -> Result<(), DenoiseError> {
    let n = shape.latent_len();
    input(index, "x0", face.x0.len() == n, n, face.x0.len())?;
    let prior = face.prior.map_or(n, <[f32]>::len);
    input(index, "prior", prior == n, n, prior)?;
    input(
        index,
        "reference condition",
        face.reference.fits(shape),
        "the pack's lengths, finite",
        "another",
    )
}

pub(super) fn check_faces(
    faces: &[EditFace<'_>],
    shape: &RowShape,
    plan: &StepPlan,
    options: &EditOptions,
    out: usize,
) -> Result<(), DenoiseError> {
    let n = shape.latent_len();
    input(0, "latent length", n > 0, "at least 1", n)?;
    input(0, "out", out == faces.len() * n, faces.len() * n, out)?;
    input(0, "rescale", (0.0..=1.0).contains(&options.rescale), "0 to 1", options.rescale)?;
    for (index, face) in faces.iter().enumerate() {
        check_source(index, &face.source, shape)?;
        let noised = if plan.solver() == Solver::Dpmpp2m { 0 } else { plan.steps() * n };
        input(index, "noised", face.noised.len() == noised, noised, face.noised.len())?;
        let mask = face.mask.map_or(n, <[f32]>::len);
        input(
            index,
            "mask",
            mask == n || mask == shape.plane_len(),
            format!("{n} or {}", shape.plane_len()),
            mask,
        )?;
        input(
            index,
            "mask",
            face.mask.is_none_or(|m| m.iter().all(|v| (0.0..=1.0).contains(v))),
            "values 0 to 1",
            "others",
        )?;
        input(index, "guidance", face.guidance.is_finite(), "finite", face.guidance)?;
        input(
            index,
            "condition",
            face.conditional.fits(shape),
            "the pack's lengths, finite",
            "another",
        )?;
        input(
            index,
            "unconditional condition",
            face.unconditional.is_none_or(|c| c.fits(shape)),
            "the pack's lengths, finite",
            "another",
        )?;
    }
    Ok(())
}
