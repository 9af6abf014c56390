//! The bracket form with everything that is large on a device: what [`super::Denoiser`] does, on buffers.
//!
//! | goes up, once a call | stays | comes down, once a call |
//! |---|---|---|
//! | noised latents, x_0, priors, masks, conditions | predictions, edits, histories, latents between steps | the edited latents |
//!
//! Contract, rows and order are [`super::Denoiser::edit`]'s; sums of the rescale are those of the kernel.
//! Limits: solvers that invert by themselves (`dpmpp-2m`) run on the processor's path; float32 latents.

use nullface_kernels::cuda::args::EditFace as Constants;
use nullface_kernels::cuda::ops::{self, Span, StepOperands, Unguided};
use nullface_kernels::cuda::{Buffer, CudaError, Gpu};

use super::denoiser::{DenoiseError, EditFace, EditOptions, check_faces};
use super::model::{ModelError, Prediction, RowShape};
use super::plan::{Solver, StepPlan};
use super::rows::Rows;

impl From<CudaError> for ModelError {
    fn from(error: CudaError) -> Self {
        Self(error.to_string())
    }
}

impl From<CudaError> for DenoiseError {
    fn from(error: CudaError) -> Self {
        Self::Model(error.into())
    }
}

/// Rows on a device, laid out as [`super::Batch`] has them.
#[derive(Debug)]
pub struct DeviceRows {
    /// How many rows.
    pub rows: usize,
    /// Latents.
    pub x: Buffer<f32>,
    /// Time told.
    pub time: Buffer<f32>,
    /// Half log-SNR told.
    pub lambda: Buffer<f32>,
    /// Identities.
    pub identity: Buffer<f32>,
    /// 1 with identity.
    pub identity_mask: Buffer<f32>,
    /// Attributes.
    pub attributes: Buffer<f32>,
    /// Text.
    pub text: Buffer<f32>,
    /// Composites; empty where the shape has none.
    pub prior: Buffer<f32>,
}

/// A denoiser on a device.
pub trait DeviceModel: Send {
    /// Lengths of a row.
    fn shape(&self) -> RowShape;

    /// What its output means.
    fn prediction(&self) -> Prediction;

    /// Most rows of one call.
    fn max_rows(&self) -> usize;

    /// Predicts `count` rows from `start` on into the same rows of `out`.
    ///
    /// # Errors
    /// The backend's; `out` is then without meaning.
    fn predict(&mut self, gpu: &Gpu, rows: &DeviceRows, start: usize, count: usize, out: &mut Buffer<f32>) -> Result<(), ModelError>;
}

fn predict(gpu: &Gpu, model: &mut dyn DeviceModel, rows: &DeviceRows, out: &mut Buffer<f32>) -> Result<usize, ModelError> {
    let (most, mut start, mut calls) = (model.max_rows().max(1), 0, 0);
    while start < rows.rows {
        let count = most.min(rows.rows - start);
        model.predict(gpu, rows, start, count, out)?;
        start += count;
        calls += 1;
    }
    Ok(calls)
}

/// What a face has on the device.
struct State {
    x0: Buffer<f32>,
    /// `[step][latent]`.
    chain: Buffer<f32>,
    mask: Option<Buffer<f32>>,
    delta: Buffer<f32>,
    history: Buffer<f32>,
    x_hat: Buffer<f32>,
}

/// Edits all faces of a frame on a device; `out` is `[face][latent]` in the processor's memory. Returns the
/// number of calls of the denoiser.
///
/// # Errors
/// See [`DenoiseError`]; `out` is then without meaning and the faces must be covered.
pub fn edit_on_device(
    gpu: &Gpu,
    model: &mut dyn DeviceModel,
    plan: &StepPlan,
    options: &EditOptions,
    faces: &[EditFace<'_>],
    out: &mut [f32],
) -> Result<usize, DenoiseError> {
    let shape = model.shape();
    let (n, steps, count) = (shape.latent_len(), plan.steps(), faces.len());
    if plan.solver() == Solver::Dpmpp2m {
        return Err(ModelError("dpmpp-2m inverts on the processor's path".to_owned()).into());
    }
    check_faces(faces, &shape, plan, options, out.len())?;
    if faces.is_empty() {
        return Ok(0);
    }
    let mut states = faces.iter().map(|f| State::of(gpu, f, n)).collect::<Result<Vec<_>, _>>()?;
    let references = if options.residual_guidance { 0 } else { count * steps };
    let rows = first_rows(gpu, &shape, plan, options, faces)?;
    let mut first = gpu.unfilled(rows.rows * n)?;
    let mut calls = predict(gpu, model, &rows, &mut first)?;
    drop(rows);
    let mut later = if steps > 1 {
        Some((later_rows(gpu, &shape, plan, options, faces)?, gpu.unfilled(2 * count * n)?))
    } else {
        None
    };
    for i in 0..steps {
        if let Some((rows, outputs)) = later.as_mut().filter(|_| i > 0) {
            let told = plan.told()[i];
            rows.time.write(&vec![told.time as f32; rows.rows])?;
            rows.lambda.write(&vec![told.lambda as f32; rows.rows])?;
            for (f, state) in states.iter().enumerate() {
                for start in (f..rows.rows).step_by(count) {
                    rows.x.copy_from(start * n, &state.x_hat, 0, n)?;
                }
            }
            calls += predict(gpu, model, rows, outputs)?;
        }
        let mut promoted = 0;
        for (f, (face, state)) in faces.iter().zip(&mut states).enumerate() {
            let outputs = Outputs::of(
                &first,
                later.as_ref().map(|l| &l.1),
                i,
                f,
                face,
                options,
                references,
                steps,
                count,
                n,
                &mut promoted,
            );
            state.step(gpu, model.prediction(), plan, options, face, i, n, &outputs)?;
        }
    }
    gpu.read_each(states.iter().map(|s| &s.x_hat).zip(out.chunks_exact_mut(n)))?;
    match out.chunks_exact(n).position(|face| face.iter().any(|v| !v.is_finite())) {
        Some(face) => Err(DenoiseError::NotFinite { face }),
        None => Ok(calls),
    }
}

/// Where a face's predictions of a step begin.
struct Outputs<'a> {
    conditional: Span<'a, f32>,
    /// Reference and unconditional; none with residual guidance.
    unguided: Option<(Span<'a, f32>, Span<'a, f32>)>,
}

impl<'a> Outputs<'a> {
    #[allow(clippy::too_many_arguments)] // one place that knows the order of rows
    fn of(
        first: &'a Buffer<f32>,
        later: Option<&'a Buffer<f32>>,
        i: usize,
        f: usize,
        face: &EditFace<'_>,
        options: &EditOptions,
        references: usize,
        steps: usize,
        count: usize,
        n: usize,
        promoted: &mut usize,
    ) -> Self {
        let span = |buffer, row: usize| Span { buffer, start: row * n };
        let later = later.filter(|_| i > 0);
        let conditional = later.map_or_else(|| span(first, references + f), |l| span(l, f));
        let reference = span(first, f * steps + i);
        let unguided = (!options.residual_guidance).then(|| {
            let unconditional = match later {
                Some(later) => span(later, count + f),
                None if face.unconditional.is_some() => {
                    *promoted += 1;
                    span(first, references + count + *promoted - 1)
                }
                None => reference,
            };
            (reference, unconditional)
        });
        Self { conditional, unguided }
    }
}

impl State {
    fn of(gpu: &Gpu, face: &EditFace<'_>, n: usize) -> Result<Self, CudaError> {
        let mut x_hat = gpu.unfilled(n)?;
        x_hat.write(face.noised.get(..n).unwrap_or_default())?;
        Ok(Self {
            x0: gpu.upload(face.source.x0)?,
            chain: gpu.upload(face.noised)?,
            mask: face.mask.map(|m| gpu.upload(m)).transpose()?,
            delta: gpu.zeros(n)?,
            history: gpu.zeros(n)?,
            x_hat,
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn step(
        &mut self,
        gpu: &Gpu,
        prediction: Prediction,
        plan: &StepPlan,
        options: &EditOptions,
        face: &EditFace<'_>,
        i: usize,
        n: usize,
        outputs: &Outputs<'_>,
    ) -> Result<(), CudaError> {
        let (level, c, last) = (plan.levels()[i], plan.constants()[i], i + 1 == plan.steps());
        let (to_data, to_noise) = (
            prediction.to_data(level.alpha, level.sigma),
            prediction.to_noise(level.alpha, level.sigma),
        );
        let from_step = if options.pinned {
            options.mask_delay.min(plan.steps() - 1)
        } else {
            options.mask_delay
        };
        let constants = Constants {
            carry: c.carry as f32,
            data: c.data as f32,
            history: c.history as f32,
            guidance: face.guidance,
            rescale: 1.0,
            alpha: level.alpha as f32,
            p: to_data.0 as f32,
            q: to_data.1 as f32,
            pinned: i32::from(options.pinned),
            drop_residual: i32::from(options.drop_final_residual && last),
            noise_p: to_noise.0,
            noise_q: to_noise.1,
            level_alpha: level.alpha,
            level_sigma: level.sigma,
            strength: f64::from(options.rescale),
        };
        let span = |buffer, start| Span { buffer, start };
        let operands = StepOperands {
            faces: &[constants],
            rescale: options.rescale != 0.0,
            x: span(&self.chain, i * n),
            x_next: if last { span(&self.x0, 0) } else { span(&self.chain, (i + 1) * n) },
            unguided: match outputs.unguided {
                Some((reference, unconditional)) => Unguided::Predicted { reference, unconditional },
                None => Unguided::Stock(span(&self.x0, 0)),
            },
            conditional: outputs.conditional,
            mask: self.mask.as_ref().filter(|_| i >= from_step),
            delta: &mut self.delta,
            history: &mut self.history,
            out: &mut self.x_hat,
        };
        ops::edit_step(gpu, n, operands)
    }
}

fn first_rows(
    gpu: &Gpu,
    shape: &RowShape,
    plan: &StepPlan,
    options: &EditOptions,
    faces: &[EditFace<'_>],
) -> Result<DeviceRows, CudaError> {
    let (n, told) = (shape.latent_len(), plan.told());
    let mut rows = Rows::default();
    if !options.residual_guidance {
        for face in faces {
            for (x, told) in face.noised.chunks_exact(n).zip(told) {
                rows.push(shape, x, *told, face.source.reference, face.source.prior);
            }
        }
    }
    let x = |face: &EditFace<'_>| face.noised.get(..n).unwrap_or_default().to_vec();
    for face in faces {
        rows.push(shape, &x(face), told[0], face.conditional, face.source.prior);
    }
    if !options.residual_guidance {
        for face in faces {
            if let Some(unconditional) = face.unconditional {
                rows.push(shape, &x(face), told[0], unconditional, face.source.prior);
            }
        }
    }
    rows.upload(gpu)
}

/// Conditionals, then unconditionals; latents and times are put in step by step.
fn later_rows(
    gpu: &Gpu,
    shape: &RowShape,
    plan: &StepPlan,
    options: &EditOptions,
    faces: &[EditFace<'_>],
) -> Result<DeviceRows, CudaError> {
    let mut rows = Rows::default();
    let (empty, told) = (vec![0.0; shape.latent_len()], plan.told()[0]);
    for face in faces {
        rows.push(shape, &empty, told, face.conditional, face.source.prior);
    }
    if !options.residual_guidance {
        for face in faces {
            let unconditional = face.unconditional.unwrap_or(face.source.reference);
            rows.push(shape, &empty, told, unconditional, face.source.prior);
        }
    }
    rows.upload(gpu)
}
