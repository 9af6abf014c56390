//! Inversion of the deterministic solver: which latents would DPM-Solver++(2M) have come from?
//!
//! The SDE solver must never be run backwards (h < 0 gives NaN); this solves the forward step for its
//! start instead. With the noise prediction in place of the data prediction the first-order step is
//! `x_p = (α_p/α_s) x_s + (σ_p − σ_s α_p/α_s) ε(x_s, s)`, hence the fixed point
//! `x_s = (α_s/α_p) x_p + (σ_s − σ_p α_s/α_p) ε(x_s, s)`, begun from ε(x_p, s). This form, not the one
//! in x̂0, because it stays well conditioned at the clean end, where σ_p = 0.
//!
//! The second-order step also needs the prediction of the noisier step, unknown while going from clean
//! to noisy. So the chain is first solved in first order, step by step, and then swept: all predictions
//! of the chain in one batched call, then the chain of second-order steps solved again with them. The
//! sweeps converge to the exact inverse of the multistep solver.
//!
//! Measured with smooth test denoisers from λ = −.8: the error falls by about .7 a sweep; damping the
//! sweeps makes them slower, more first-order iterations gain less than sweeps do.
//!
//! Limits: converges where the network is smooth against the step (a contraction), and a data-predicting
//! network may have no exact inverse at all, since it need not be able to return x_0; what is left over is the bracket's to carry, so the edit stays exact at w = 0 whatever the number of iterations.

use super::denoiser::ReferenceFace;
use super::model::{ModelError, NoiseModel, RowShape};
use super::plan::StepPlan;
use super::rows::Rows;
use super::schedule::Level;

/// How hard the inversion tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InversionOptions {
    /// Evaluations per step of the first-order pass, at least 1 (1 = plain DDIM inversion).
    pub iterations: usize,
    /// Second-order sweeps over the whole chain, one batched call each.
    pub sweeps: usize,
}

impl Default for InversionOptions {
    fn default() -> Self {
        Self { iterations: 2, sweeps: 8 }
    }
}

/// Buffers lent by the denoiser.
pub(super) struct Buffers<'a> {
    pub(super) rows: &'a mut Rows,
    pub(super) outputs: &'a mut Vec<f32>,
    /// `[face][step][latent]`, noisiest first.
    pub(super) trajectory: &'a mut Vec<f32>,
}

/// Fills the trajectory; returns how many calls it took.
pub(super) fn invert(
    model: &mut dyn NoiseModel,
    shape: RowShape,
    plan: &StepPlan,
    options: InversionOptions,
    faces: &[ReferenceFace<'_>],
    buffers: Buffers<'_>,
) -> Result<usize, ModelError> {
    let Buffers { rows, outputs, trajectory } = buffers;
    let (n, steps) = (shape.latent_len(), plan.steps());
    let prediction = model.prediction();
    let level = |i: usize| plan.levels().get(i).copied().unwrap_or(Level::CLEAN);
    trajectory.clear();
    trajectory.resize(faces.len() * steps * n, 0.0);
    outputs.resize(outputs.len().max(faces.len() * steps * n), 0.0);
    let mut calls = 0;
    for i in (0..steps).rev() {
        let (from, to) = (level(i), level(i + 1));
        let (carry, push) = (from.alpha / to.alpha, from.sigma - to.sigma * from.alpha / to.alpha);
        let (p, q) = prediction.to_noise(from.alpha, from.sigma);
        for iteration in 0..options.iterations.max(1) {
            rows.clear();
            for (f, face) in faces.iter().enumerate() {
                let at = if iteration == 0 { i + 1 } else { i };
                let x = if at == steps {
                    face.x0
                } else {
                    &trajectory[(f * steps + at) * n..][..n]
                };
                rows.push(&shape, x, plan.told()[i], face.reference, face.prior);
            }
            calls += rows.predict(model, shape, outputs)?;
            for (f, face) in faces.iter().enumerate() {
                let (head, tail) = trajectory.split_at_mut((f * steps + i + 1) * n);
                let next = if i + 1 == steps { face.x0 } else { &tail[..n] };
                let (seen, output) = (&rows.x()[f * n..][..n], &outputs[f * n..][..n]);
                for (j, x) in head[(f * steps + i) * n..].iter_mut().enumerate() {
                    let noise = p * f64::from(seen[j]) + q * f64::from(output[j]);
                    *x = (carry * f64::from(next[j]) + push * noise) as f32;
                }
            }
        }
    }
    for _ in 0..options.sweeps {
        rows.clear();
        for (f, face) in faces.iter().enumerate() {
            for i in 0..steps {
                rows.push(
                    &shape,
                    &trajectory[(f * steps + i) * n..][..n],
                    plan.told()[i],
                    face.reference,
                    face.prior,
                );
            }
        }
        calls += rows.predict(model, shape, outputs)?;
        for (f, face) in faces.iter().enumerate() {
            for i in (0..steps).rev() {
                let (from, c) = (level(i), plan.constants()[i]);
                let (p, q) = prediction.to_noise(from.alpha, from.sigma);
                // x_p = carry x + data (1 + k) m − data k m₋ with m = (x − σ ε)/α, solved for x.
                let whole = c.data * (1.0 + c.history);
                let divisor = c.carry + whole / from.alpha;
                let base = (f * steps + i) * n;
                for j in 0..n {
                    let next = if i + 1 == steps { face.x0[j] } else { trajectory[base + n + j] };
                    let noise = p * f64::from(trajectory[base + j]) + q * f64::from(outputs[base + j]);
                    let before = if i == 0 || c.history == 0.0 {
                        0.0
                    } else {
                        let noisier = level(i - 1);
                        let (p, q) = prediction.to_data(noisier.alpha, noisier.sigma);
                        p * f64::from(trajectory[base - n + j]) + q * f64::from(outputs[base - n + j])
                    };
                    trajectory[base + j] =
                        ((f64::from(next) + whole * from.sigma / from.alpha * noise + c.data * c.history * before) / divisor) as f32;
                }
            }
        }
    }
    Ok(calls)
}
