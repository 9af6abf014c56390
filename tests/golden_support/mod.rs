//! The analytic denoiser of the golden numbers, and random faces for the properties.

// Each test binary uses its own part of this.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::expect_used)]

use nullface::secret::{Purpose, SessionSecret};
use nullface::stages::denoise::{
    Batch, Condition, Denoiser, EditFace, EditOptions, InversionOptions, ModelError, NoiseModel, Prediction, ReferenceFace, RowShape,
    Schedule, ScheduleSpec, Solver, Spacing, StepPlan, TimestepShift,
};
use nullface::stages::invert::FrozenNoise;
use serde::Deserialize;

const GOLDEN: &str = include_str!("../data/golden/diffusion.json");

pub const SOLVERS: [Solver; 3] = [Solver::Ddpm, Solver::SdeDpmpp2m, Solver::Dpmpp2m];

#[derive(Deserialize)]
pub struct Golden {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub identity: usize,
    pub attributes_len: usize,
    pub world: World,
    pub alpha_bar: std::collections::BTreeMap<String, f64>,
    pub cases: Vec<Case>,
}

#[derive(Deserialize, Clone)]
#[allow(non_snake_case)]
pub struct World {
    pub gain: f64,
    pub P: Vec<Vec<f64>>,
    pub l: Vec<f64>,
    pub R: Vec<Vec<f64>>,
    pub S: Vec<Vec<f64>>,
    pub U: Vec<Vec<f64>>,
    pub x0: Vec<Vec<f32>>,
    pub prior: Vec<Vec<f32>>,
    pub noise: Vec<Vec<Vec<f32>>>,
    pub source: Vec<Vec<f32>>,
    pub target: Vec<Vec<f32>>,
    pub attributes: Vec<f32>,
    pub plane: Vec<Vec<f32>>,
    pub full: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    pub schedule: ScheduleSpec,
    pub solver: Solver,
    pub spacing: Spacing,
    pub steps: usize,
    pub eta: f64,
    pub shift: TimestepShift,
    pub prediction: Prediction,
    pub guidance: f32,
    pub rescale: f32,
    pub identity: String,
    pub attributes: bool,
    pub prior: bool,
    pub from_prior: bool,
    pub residual_guidance: bool,
    pub mask: String,
    pub mask_delay: usize,
    pub pinned: bool,
    pub drop_final_residual: bool,
    pub inversion: InversionOptions,
    pub expected: Vec<Vec<f64>>,
}

pub fn golden() -> Golden {
    serde_json::from_str(GOLDEN).expect("the golden file parses")
}

/// The analytic denoiser: `gain · tanh(P x + l λ/4 + R id + S attr + U prior)` in f64.
pub struct Analytic {
    pub world: World,
    pub shape: RowShape,
    pub prediction: Prediction,
    pub max_rows: usize,
    pub calls: usize,
    pub rows: usize,
}

impl Analytic {
    pub fn new(golden: &Golden, prediction: Prediction, prior: bool) -> Self {
        let shape = RowShape {
            channels: golden.channels,
            height: golden.height,
            width: golden.width,
            identity: golden.identity,
            attributes: golden.attributes_len,
            text: 0,
            prior,
        };
        Self {
            world: golden.world.clone(),
            shape,
            prediction,
            max_rows: usize::MAX,
            calls: 0,
            rows: 0,
        }
    }
}

pub fn row<T: Copy>(values: &[T], index: usize, len: usize) -> &[T] {
    &values[index * len..(index + 1) * len]
}

impl NoiseModel for Analytic {
    fn shape(&self) -> RowShape {
        self.shape
    }

    fn prediction(&self) -> Prediction {
        self.prediction
    }

    fn max_rows(&self) -> usize {
        self.max_rows
    }

    fn predict(&mut self, batch: &Batch<'_>, out: &mut [f32]) -> Result<(), ModelError> {
        assert!(batch.rows <= self.max_rows && batch.rows > 0);
        self.calls += 1;
        self.rows += batch.rows;
        let (w, s) = (&self.world, self.shape);
        let n = s.latent_len();
        let dot = |m: &[f64], v: &[f32]| m.iter().zip(v).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
        for r in 0..batch.rows {
            let identity: Vec<f32> = row(batch.identity, r, s.identity)
                .iter()
                .map(|v| v * batch.identity_mask[r])
                .collect();
            for j in 0..n {
                let mut sum = dot(&w.P[j], row(batch.x, r, n)) + w.l[j] * f64::from(batch.lambda[r]) / 4.0;
                sum += dot(&w.R[j], &identity) + dot(&w.S[j], row(batch.attributes, r, s.attributes));
                if s.prior {
                    sum += dot(&w.U[j], row(batch.prior, r, n));
                }
                out[r * n + j] = (w.gain * sum.tanh()) as f32;
            }
        }
        Ok(())
    }
}

/// Faces with everything random from a seed, for the properties.
pub struct Scene {
    pub n: usize,
    pub x0: Vec<Vec<f32>>,
    pub noised: Vec<Vec<f32>>,
    pub masks: Vec<Vec<f32>>,
    pub null: Condition,
    pub promoted: Condition,
    pub conditionals: Vec<Condition>,
}

pub fn scene(model: &Analytic, plan: &StepPlan, faces: usize, seed: u64) -> Scene {
    let shape = model.shape();
    let n = shape.latent_len();
    let secret = SessionSecret::from_seed(seed);
    let draw = |what: u64, f: usize, len: usize| {
        let mut v = vec![0.0; len];
        secret.stream(Purpose::Other, what, f as u32).fill_normal(&mut v);
        v
    };
    let x0: Vec<Vec<f32>> = (0..faces).map(|f| draw(0, f, n)).collect();
    let noised = (0..faces)
        .map(|f| {
            if plan.solver() == Solver::Dpmpp2m {
                return Vec::new();
            }
            let mut xs = vec![0.0; plan.steps() * n];
            FrozenNoise::draw(&secret, f as u64, plan.steps(), n)
                .noise_latents(&x0[f], &plan.alphas(), &plan.sigmas(), &mut xs)
                .expect("fits");
            xs
        })
        .collect();
    let masks = (0..faces)
        .map(|f| draw(1, f, shape.plane_len()).into_iter().map(|v: f32| v.clamp(0.0, 1.0)).collect())
        .collect();
    let null = Condition::null(&shape, &[]);
    let promoted = null.clone().with_attributes(&[0.0, 1.0]);
    let conditionals = (0..faces)
        .map(|f| null.clone().with_identity(&draw(2, f, shape.identity)))
        .collect();
    Scene {
        n,
        x0,
        noised,
        masks,
        null,
        promoted,
        conditionals,
    }
}

impl Scene {
    pub fn faces(&self, guidance: f32, masked: bool, promoted: bool) -> Vec<EditFace<'_>> {
        (0..self.x0.len())
            .map(|f| EditFace {
                source: ReferenceFace {
                    x0: &self.x0[f],
                    prior: None,
                    reference: &self.null,
                },
                noised: &self.noised[f],
                mask: masked.then_some(&self.masks[f][..]),
                unconditional: (promoted && f % 2 == 0).then_some(&self.promoted),
                conditional: &self.conditionals[f],
                guidance,
            })
            .collect()
    }
}

pub fn plan(solver: Solver, steps: usize) -> StepPlan {
    let schedule = Schedule::new(ScheduleSpec::STABLE_DIFFUSION).expect("valid");
    StepPlan::new(&schedule, solver, Spacing::Linspace { skip: 0.4 }, steps, 1.0, TimestepShift::None).expect("valid")
}

pub fn edited(model: &mut Analytic, plan: &StepPlan, options: &EditOptions, faces: &[EditFace<'_>]) -> Vec<f32> {
    let mut out = vec![f32::NAN; faces.len() * model.shape().latent_len()];
    Denoiser::new().edit(model, plan, options, faces, &mut out).expect("edits");
    out
}

pub fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}

/// One row through a denoiser, in f64.
pub fn noise_at(model: &mut Analytic, plan: &StepPlan, i: usize, x: &[f64], condition: &Condition) -> Vec<f64> {
    let x: Vec<f32> = x.iter().map(|v| *v as f32).collect();
    let level = plan.levels()[i];
    let mut out = vec![0.0; x.len()];
    let batch = Batch {
        shape: model.shape(),
        rows: 1,
        x: &x,
        time: &[level.time as f32],
        lambda: &[level.lambda as f32],
        identity: &condition.identity,
        identity_mask: &[condition.identity_mask],
        attributes: &condition.attributes,
        text: &[],
        prior: &[],
    };
    model.predict(&batch, &mut out).expect("predicts");
    let (p, q) = model.prediction().to_noise(level.alpha, level.sigma);
    x.iter().zip(&out).map(|(x, o)| p * f64::from(*x) + q * f64::from(*o)).collect()
}

/// μ of a step from the noise prediction, and the data prediction for the next step's history.
pub fn mu(plan: &StepPlan, i: usize, x: &[f64], noise: &[f64], before: Option<&[f64]>) -> (Vec<f64>, Vec<f64>) {
    let (level, c) = (plan.levels()[i], plan.constants()[i]);
    let data: Vec<f64> = x.iter().zip(noise).map(|(x, e)| (x - level.sigma * e) / level.alpha).collect();
    let mu = (0..x.len())
        .map(|j| c.carry * x[j] + c.data * (data[j] + c.history * (data[j] - before.map_or(data[j], |b| b[j]))))
        .collect();
    (mu, data)
}

pub fn z_form(model: &mut Analytic, plan: &StepPlan, face: &EditFace<'_>) -> Vec<f64> {
    let n = face.source.x0.len();
    let wide = |v: &[f32]| v.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    let mut x = wide(&face.noised[..n]);
    let (mut before_ref, mut before): (Option<Vec<f64>>, Option<Vec<f64>>) = (None, None);
    for i in 0..plan.steps() {
        let x_ref = wide(&face.noised[i * n..(i + 1) * n]);
        let next = if i + 1 == plan.steps() {
            wide(face.source.x0)
        } else {
            wide(&face.noised[(i + 1) * n..(i + 2) * n])
        };
        let e_ref = noise_at(model, plan, i, &x_ref, face.source.reference);
        let (mu_ref, data_ref) = mu(plan, i, &x_ref, &e_ref, before_ref.as_deref());
        // Where the step adds no noise, z stands for the residual itself.
        let std = if plan.constants()[i].std > 0.0 {
            plan.constants()[i].std
        } else {
            1.0
        };
        let z: Vec<f64> = next.iter().zip(&mu_ref).map(|(a, b)| (a - b) / std).collect();
        let e_u = noise_at(model, plan, i, &x, face.source.reference);
        let e_c = noise_at(model, plan, i, &x, face.conditional);
        let e: Vec<f64> = e_u.iter().zip(&e_c).map(|(u, c)| u + f64::from(face.guidance) * (c - u)).collect();
        let (mu_hat, data) = mu(plan, i, &x, &e, before.as_deref());
        x = mu_hat.iter().zip(&z).map(|(m, z)| m + std * z).collect();
        (before_ref, before) = (Some(data_ref), Some(data));
    }
    x
}
