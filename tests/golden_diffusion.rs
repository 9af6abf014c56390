//! The engine's bracket form against the published z form in float64 (tests/data/golden), and the
//! properties that must hold for any denoiser.

use nullface::secret::SessionSecret;
use nullface::stages::denoise::{
    Batch, Condition, Denoiser, EditFace, EditOptions, InversionOptions, ModelError, NoiseModel, Prediction, ReferenceFace, RowShape, Schedule, ScheduleSpec, Solver, Spacing, StepPlan, TimestepShift,
};
use nullface::stages::invert::FrozenNoise;
use proptest::prelude::*;
use serde::Deserialize;

const GOLDEN: &str = include_str!("data/golden/diffusion.json");
const NOISE: &str = include_str!("data/golden/noise.json");

/// Largest difference to the float64 numbers, absolute for values up to 1 and relative above.
const TOLERANCE: f64 = 1e-5;

const SOLVERS: [Solver; 3] = [Solver::Ddpm, Solver::SdeDpmpp2m, Solver::Dpmpp2m];

#[derive(Deserialize)]
struct Golden {
    channels: usize,
    height: usize,
    width: usize,
    identity: usize,
    attributes_len: usize,
    world: World,
    alpha_bar: std::collections::BTreeMap<String, f64>,
    cases: Vec<Case>,
}

#[derive(Deserialize, Clone)]
#[allow(non_snake_case)]
struct World {
    gain: f64,
    P: Vec<Vec<f64>>,
    l: Vec<f64>,
    R: Vec<Vec<f64>>,
    S: Vec<Vec<f64>>,
    U: Vec<Vec<f64>>,
    x0: Vec<Vec<f32>>,
    prior: Vec<Vec<f32>>,
    noise: Vec<Vec<Vec<f32>>>,
    source: Vec<Vec<f32>>,
    target: Vec<Vec<f32>>,
    attributes: Vec<f32>,
    plane: Vec<Vec<f32>>,
    full: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    schedule: ScheduleSpec,
    solver: Solver,
    spacing: Spacing,
    steps: usize,
    eta: f64,
    shift: TimestepShift,
    prediction: Prediction,
    guidance: f32,
    rescale: f32,
    identity: String,
    attributes: bool,
    prior: bool,
    from_prior: bool,
    residual_guidance: bool,
    mask: String,
    mask_delay: usize,
    pinned: bool,
    drop_final_residual: bool,
    inversion: InversionOptions,
    expected: Vec<Vec<f64>>,
}

fn golden() -> Golden {
    serde_json::from_str(GOLDEN).expect("the golden file parses")
}

/// The analytic denoiser: `gain · tanh(P x + l λ/4 + R id + S attr + U prior)` in f64.
struct Analytic {
    world: World,
    shape: RowShape,
    prediction: Prediction,
    max_rows: usize,
    calls: usize,
    rows: usize,
}

impl Analytic {
    fn new(golden: &Golden, prediction: Prediction, prior: bool) -> Self {
        let shape = RowShape { channels: golden.channels, height: golden.height, width: golden.width, identity: golden.identity, attributes: golden.attributes_len, text: 0, prior };
        Self { world: golden.world.clone(), shape, prediction, max_rows: usize::MAX, calls: 0, rows: 0 }
    }
}

fn row<T: Copy>(values: &[T], index: usize, len: usize) -> &[T] {
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
            let identity: Vec<f32> = row(batch.identity, r, s.identity).iter().map(|v| v * batch.identity_mask[r]).collect();
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

fn options(case: &Case) -> EditOptions {
    EditOptions {
        residual_guidance: case.residual_guidance,
        rescale: case.rescale,
        mask_delay: case.mask_delay,
        pinned: case.pinned,
        drop_final_residual: case.drop_final_residual,
        inversion: case.inversion,
    }
}

#[test]
fn every_golden_case_is_met() {
    let golden = golden();
    let mut worst = (0.0_f64, "");
    let mut failures = Vec::new();
    for case in &golden.cases {
        let mut model = Analytic::new(&golden, case.prediction, case.prior);
        let (w, shape) = (&golden.world, model.shape());
        let schedule = Schedule::new(case.schedule).expect("valid");
        let plan = StepPlan::new(&schedule, case.solver, case.spacing, case.steps, case.eta, case.shift).expect("valid");
        let n = shape.latent_len();
        let null = Condition::null(&shape, &[]);
        let promoted = (case.attributes && case.guidance < 0.0).then(|| null.clone().with_attributes(&w.attributes));
        let mut conditionals = Vec::new();
        let mut noised = Vec::new();
        for f in 0..2 {
            let identity: Vec<f32> = match case.identity.as_str() {
                "negate" => w.source[f].iter().map(|v| -v).collect(),
                "repel" => w.source[f].clone(),
                "target" => w.target[f].clone(),
                other => panic!("identity {other}"),
            };
            let c = null.clone().with_identity(&identity);
            conditionals.push(if case.attributes && case.guidance >= 0.0 { c.with_attributes(&w.attributes) } else { c });
            let mut xs = Vec::new();
            if case.solver != Solver::Dpmpp2m {
                let x0 = if case.from_prior { &w.prior[f] } else { &w.x0[f] };
                for (i, level) in plan.levels().iter().enumerate() {
                    xs.extend(x0.iter().zip(&w.noise[f][i]).map(|(x, e)| level.alpha as f32 * x + level.sigma as f32 * e));
                }
            }
            noised.push(xs);
        }
        let faces: Vec<EditFace<'_>> = (0..2)
            .map(|f| EditFace {
                source: ReferenceFace { x0: if case.from_prior { &w.prior[f] } else { &w.x0[f] }, prior: case.prior.then_some(&w.prior[f][..]), reference: &null },
                noised: &noised[f],
                mask: match case.mask.as_str() {
                    "none" => None,
                    "plane" => Some(&w.plane[f][..]),
                    "full" => Some(&w.full[f][..]),
                    other => panic!("mask {other}"),
                },
                unconditional: promoted.as_ref(),
                conditional: &conditionals[f],
                guidance: case.guidance,
            })
            .collect();
        let mut out = vec![0.0; 2 * n];
        Denoiser::new().edit(&mut model, &plan, &options(case), &faces, &mut out).expect("edits");
        for (got, expected) in out.iter().zip(case.expected.iter().flatten()) {
            let error = (f64::from(*got) - expected).abs() / expected.abs().max(1.0);
            if error > worst.0 {
                worst = (error, &case.name);
            }
            if error > TOLERANCE {
                failures.push(format!("{}: {got} for {expected}", case.name));
                break;
            }
        }
    }
    assert!(golden.cases.len() >= 120, "only {} cases", golden.cases.len());
    assert!(failures.is_empty(), "worst {worst:?}\n{}", failures.join("\n"));
}

#[test]
fn the_schedule_has_the_reference_alphas() {
    let golden = golden();
    let schedule = Schedule::new(ScheduleSpec::STABLE_DIFFUSION).expect("valid");
    assert!(!golden.alpha_bar.is_empty());
    for (t, expected) in &golden.alpha_bar {
        let got = schedule.level(t.parse().expect("a step")).alpha.powi(2);
        assert!((got - expected).abs() < 1e-12, "{t}: {got}");
    }
}

#[test]
fn the_secret_streams_are_those_of_the_definition() {
    #[derive(Deserialize)]
    struct Draw {
        seed: u64,
        purpose: u8,
        subject: u64,
        index: u32,
        values: Vec<f64>,
    }
    let draws: Vec<Draw> = serde_json::from_str(NOISE).expect("parses");
    assert!(draws.iter().any(|d| d.purpose == 0) && draws.iter().any(|d| d.purpose == 1));
    for d in draws {
        let purpose = if d.purpose == 0 { nullface::secret::Purpose::Noise } else { nullface::secret::Purpose::Target };
        let mut stream = SessionSecret::from_seed(d.seed).stream(purpose, d.subject, d.index);
        for v in d.values {
            // Two logarithms differ in the last bits.
            assert!((stream.normal() - v).abs() < 1e-12);
        }
    }
}

/// Faces with everything random from a seed, for the properties.
struct Scene {
    n: usize,
    x0: Vec<Vec<f32>>,
    noised: Vec<Vec<f32>>,
    masks: Vec<Vec<f32>>,
    null: Condition,
    promoted: Condition,
    conditionals: Vec<Condition>,
}

fn scene(model: &Analytic, plan: &StepPlan, faces: usize, seed: u64) -> Scene {
    let shape = model.shape();
    let n = shape.latent_len();
    let secret = SessionSecret::from_seed(seed);
    let draw = |what: u64, f: usize, len: usize| {
        let mut v = vec![0.0; len];
        secret.stream(nullface::secret::Purpose::Other, what, f as u32).fill_normal(&mut v);
        v
    };
    let x0: Vec<Vec<f32>> = (0..faces).map(|f| draw(0, f, n)).collect();
    let noised = (0..faces)
        .map(|f| {
            if plan.solver() == Solver::Dpmpp2m {
                return Vec::new();
            }
            let mut xs = vec![0.0; plan.steps() * n];
            FrozenNoise::draw(&secret, f as u64, plan.steps(), n).noise_latents(&x0[f], &plan.alphas(), &plan.sigmas(), &mut xs).expect("fits");
            xs
        })
        .collect();
    let masks = (0..faces).map(|f| draw(1, f, shape.plane_len()).into_iter().map(|v: f32| v.clamp(0.0, 1.0)).collect()).collect();
    let null = Condition::null(&shape, &[]);
    let promoted = null.clone().with_attributes(&[0.0, 1.0]);
    let conditionals = (0..faces).map(|f| null.clone().with_identity(&draw(2, f, shape.identity))).collect();
    Scene { n, x0, noised, masks, null, promoted, conditionals }
}

impl Scene {
    fn faces(&self, guidance: f32, masked: bool, promoted: bool) -> Vec<EditFace<'_>> {
        (0..self.x0.len())
            .map(|f| EditFace {
                source: ReferenceFace { x0: &self.x0[f], prior: None, reference: &self.null },
                noised: &self.noised[f],
                mask: masked.then_some(&self.masks[f][..]),
                unconditional: (promoted && f % 2 == 0).then_some(&self.promoted),
                conditional: &self.conditionals[f],
                guidance,
            })
            .collect()
    }
}

fn plan(solver: Solver, steps: usize) -> StepPlan {
    let schedule = Schedule::new(ScheduleSpec::STABLE_DIFFUSION).expect("valid");
    StepPlan::new(&schedule, solver, Spacing::Linspace { skip: 0.4 }, steps, 1.0, TimestepShift::None).expect("valid")
}

fn edited(model: &mut Analytic, plan: &StepPlan, options: &EditOptions, faces: &[EditFace<'_>]) -> Vec<f32> {
    let mut out = vec![f32::NAN; faces.len() * model.shape().latent_len()];
    Denoiser::new().edit(model, plan, options, faces, &mut out).expect("edits");
    out
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}

fn any_solver() -> impl Strategy<Value = Solver> {
    prop::sample::select(SOLVERS.to_vec())
}

fn any_prediction() -> impl Strategy<Value = Prediction> {
    prop::sample::select(vec![Prediction::Eps, Prediction::V, Prediction::X0])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn zero_guidance_returns_the_input_bit_for_bit(solver in any_solver(), prediction in any_prediction(), steps in 1_usize..=30, rescale in 0.0_f32..1.0, residual: bool, masked: bool, seed: u64) {
        let mut model = Analytic::new(&golden(), prediction, false);
        let plan = plan(solver, steps);
        let scene = scene(&model, &plan, 2, seed);
        // Under residual guidance and rescale, w = 0 is still the stock noise itself.
        let options = EditOptions { residual_guidance: residual, rescale, ..EditOptions::default() };
        let out = edited(&mut model, &plan, &options, &scene.faces(0.0, masked, false));
        prop_assert!(same_bits(&out, &scene.x0.concat()));
    }

    #[test]
    fn a_batch_is_its_faces_one_by_one_in_any_order_and_any_cut(solver in any_solver(), steps in 1_usize..=8, faces in 1_usize..=4, max_rows in 1_usize..=7, residual: bool, seed: u64) {
        let golden = golden();
        let mut model = Analytic::new(&golden, Prediction::Eps, false);
        let plan = plan(solver, steps);
        let scene = scene(&model, &plan, faces, seed);
        let options = EditOptions { rescale: 0.3, residual_guidance: residual, ..EditOptions::default() };
        let list = scene.faces(2.0, true, true);
        let together = edited(&mut model, &plan, &options, &list);
        let single: Vec<f32> = list.iter().flat_map(|f| edited(&mut model, &plan, &options, std::slice::from_ref(f))).collect();
        prop_assert!(same_bits(&together, &single));
        let reversed: Vec<EditFace<'_>> = list.iter().rev().copied().collect();
        let back: Vec<f32> = edited(&mut model, &plan, &options, &reversed).chunks(scene.n).rev().flatten().copied().collect();
        prop_assert!(same_bits(&together, &back));
        model.max_rows = max_rows;
        prop_assert!(same_bits(&together, &edited(&mut model, &plan, &options, &list)));
    }

    #[test]
    fn what_the_mask_keeps_is_kept_bit_for_bit(solver in any_solver(), steps in 1_usize..=10, delay in 0_usize..=12, drop: bool, residual: bool, seed: u64) {
        let mut model = Analytic::new(&golden(), Prediction::V, false);
        let plan = plan(solver, steps);
        let scene = scene(&model, &plan, 3, seed);
        let options = EditOptions { mask_delay: delay, drop_final_residual: drop, residual_guidance: residual, ..EditOptions::default() };
        let out = edited(&mut model, &plan, &options, &scene.faces(4.0, true, false));
        let plane = model.shape().plane_len();
        let mut kept = 0;
        for (f, x0) in scene.x0.iter().enumerate() {
            for j in 0..scene.n {
                if scene.masks[f][j % plane] == 0.0 {
                    kept += 1;
                    prop_assert_eq!(out[f * scene.n + j].to_bits(), x0[j].to_bits());
                }
            }
        }
        prop_assume!(kept > 0);
    }

    #[test]
    fn the_bracket_form_is_the_z_form(stochastic in prop::sample::select(vec![Solver::Ddpm, Solver::SdeDpmpp2m]), steps in 1_usize..=12, guidance in -3.0_f32..3.0, seed: u64) {
        let mut model = Analytic::new(&golden(), Prediction::Eps, false);
        let plan = plan(stochastic, steps);
        let scene = scene(&model, &plan, 1, seed);
        let face = scene.faces(guidance, false, false)[0];
        let out = edited(&mut model, &plan, &EditOptions::default(), &[face]);
        let z = z_form(&mut model, &plan, &face);
        for (a, b) in out.iter().zip(&z) {
            prop_assert!((f64::from(*a) - b).abs() < 3e-5 * b.abs().max(1.0), "{} {}", a, b);
        }
    }
}

/// One row through a denoiser, in f64.
fn noise_at(model: &mut Analytic, plan: &StepPlan, i: usize, x: &[f64], condition: &Condition) -> Vec<f64> {
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
fn mu(plan: &StepPlan, i: usize, x: &[f64], noise: &[f64], before: Option<&[f64]>) -> (Vec<f64>, Vec<f64>) {
    let (level, c) = (plan.levels()[i], plan.constants()[i]);
    let data: Vec<f64> = x.iter().zip(noise).map(|(x, e)| (x - level.sigma * e) / level.alpha).collect();
    let mu = (0..x.len()).map(|j| c.carry * x[j] + c.data * (data[j] + c.history * (data[j] - before.map_or(data[j], |b| b[j])))).collect();
    (mu, data)
}

fn z_form(model: &mut Analytic, plan: &StepPlan, face: &EditFace<'_>) -> Vec<f64> {
    let n = face.source.x0.len();
    let wide = |v: &[f32]| v.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    let mut x = wide(&face.noised[..n]);
    let (mut before_ref, mut before): (Option<Vec<f64>>, Option<Vec<f64>>) = (None, None);
    for i in 0..plan.steps() {
        let x_ref = wide(&face.noised[i * n..(i + 1) * n]);
        let next = if i + 1 == plan.steps() { wide(face.source.x0) } else { wide(&face.noised[(i + 1) * n..(i + 2) * n]) };
        let e_ref = noise_at(model, plan, i, &x_ref, face.source.reference);
        let (mu_ref, data_ref) = mu(plan, i, &x_ref, &e_ref, before_ref.as_deref());
        // Where the step adds no noise, z stands for the residual itself.
        let std = if plan.constants()[i].std > 0.0 { plan.constants()[i].std } else { 1.0 };
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

#[test]
fn static_input_gives_static_output_and_buffers_carry_nothing_over() {
    let golden = golden();
    for solver in SOLVERS {
        let mut model = Analytic::new(&golden, Prediction::V, false);
        let plan = plan(solver, 4);
        let (scene, other) = (scene(&model, &plan, 2, 5), scene(&model, &plan, 3, 6));
        let mut denoiser = Denoiser::new();
        let mut run = |scene: &Scene| {
            let mut out = vec![0.0; scene.x0.len() * scene.n];
            denoiser.edit(&mut model, &plan, &EditOptions::default(), &scene.faces(3.0, true, true), &mut out).expect("edits");
            out
        };
        let first = run(&scene);
        let _ = run(&other);
        assert!(same_bits(&first, &run(&scene)), "{solver:?}");
        assert!(!same_bits(&first, &scene.x0.concat()), "{solver:?} edited nothing");
    }
}

#[test]
fn calls_and_evaluations_are_as_few_as_the_formulas_allow() {
    let golden = golden();
    for (steps, residual, calls, rows) in [(1, false, 1, 2), (4, false, 4, 5 + 3 * 2), (4, true, 4, 4), (1, true, 1, 1)] {
        let mut model = Analytic::new(&golden, Prediction::Eps, false);
        let plan = plan(Solver::SdeDpmpp2m, steps);
        let scene = scene(&model, &plan, 3, 1);
        let options = EditOptions { residual_guidance: residual, ..EditOptions::default() };
        let _ = edited(&mut model, &plan, &options, &scene.faces(2.0, false, false));
        assert_eq!((model.calls, model.rows), (calls, 3 * rows), "{steps} steps, residual {residual}");
    }
}

#[test]
fn reverse_and_nullface_agree_to_first_order_in_e() {
    let golden = golden();
    for solver in SOLVERS {
        let mut model = Analytic::new(&golden, Prediction::Eps, false);
        let plan = plan(solver, 4);
        let scene = scene(&model, &plan, 1, 8);
        let e = scene.conditionals[0].identity.clone();
        let mut difference = |size: f32| {
            let mut go = |sign: f32, guidance: f32| {
                let c = scene.null.clone().with_identity(&e.iter().map(|v| v * size * sign).collect::<Vec<_>>());
                let face = EditFace { conditional: &c, guidance, ..scene.faces(0.0, false, false)[0] };
                edited(&mut model, &plan, &EditOptions::default(), &[face])
            };
            let (nullface, reverse) = (go(-1.0, 1.5), go(1.0, -1.5));
            let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x * x)).sum::<f64>().sqrt();
            let edit = norm(&mut nullface.iter().zip(&scene.x0[0]).map(|(a, b)| a - b));
            (norm(&mut nullface.iter().zip(&reverse).map(|(a, b)| a - b)), edit)
        };
        let ((large, _), (small, edit)) = (difference(0.2), difference(0.02));
        // Ten times less e: a hundred times less disagreement, within f32; ten times more than the disagreement is edit.
        assert!(small < large / 50.0, "{solver:?}: {large} → {small}");
        assert!(small < edit / 10.0 && edit > 1e-4, "{solver:?}: {small} of {edit}");
    }
}

/// Largest error of inverting and sampling the deterministic solver, measured with the analytic
/// denoiser; the bound leaves a factor of three.
const ROUND_TRIP: [(usize, f64); 3] = [(4, 2e-2), (8, 2e-2), (20, 2e-2)];

#[test]
fn the_deterministic_solver_comes_back_from_its_inversion() {
    let golden = golden();
    for (steps, bound) in ROUND_TRIP {
        let plan = plan(Solver::Dpmpp2m, steps);
        let mut errors = Vec::new();
        for options in [InversionOptions { iterations: 1, sweeps: 0 }, InversionOptions::default()] {
            let mut worst = 0.0_f64;
            for prediction in [Prediction::Eps, Prediction::V] {
                let mut model = Analytic::new(&golden, prediction, false);
                let scene = scene(&model, &plan, 1, 21);
                let face = scene.faces(0.0, false, false)[0];
                let chain = Denoiser::new().invert(&mut model, &plan, options, &[face.source]).expect("inverts").to_vec();
                let mut x: Vec<f64> = chain[..scene.n].iter().map(|v| f64::from(*v)).collect();
                let mut before = None;
                for i in 0..steps {
                    let e = noise_at(&mut model, &plan, i, &x, face.source.reference);
                    let (next, data) = mu(&plan, i, &x, &e, before.as_deref());
                    (x, before) = (next, Some(data));
                }
                worst = x.iter().zip(&scene.x0[0]).map(|(a, b)| (a - f64::from(*b)).abs()).fold(worst, f64::max);
            }
            errors.push(worst);
        }
        println!("{steps} steps: naive {}, default {}", errors[0], errors[1]);
        assert!(errors[1] < bound, "{steps} steps: {errors:?}");
        assert!(errors[1] < errors[0] / 5.0, "{steps} steps: iterations gained too little, {errors:?}");
    }
}

/// A denoiser that fails in a way of its own.
struct Faulty(Analytic, f32);

impl NoiseModel for Faulty {
    fn shape(&self) -> RowShape {
        self.0.shape()
    }
    fn prediction(&self) -> Prediction {
        self.0.prediction()
    }
    fn predict(&mut self, batch: &Batch<'_>, out: &mut [f32]) -> Result<(), ModelError> {
        if self.1 == 0.0 {
            return Err(ModelError("gone".into()));
        }
        self.0.predict(batch, out)?;
        out[out.len() - 1] = self.1;
        Ok(())
    }
}

#[test]
fn faults_are_errors_and_never_pixels() {
    let golden = golden();
    let plan = plan(Solver::SdeDpmpp2m, 2);
    let analytic = || Analytic::new(&golden, Prediction::Eps, false);
    let scene = scene(&analytic(), &plan, 2, 1);
    let faces = scene.faces(1.0, false, false);
    let mut out = vec![0.0; 2 * scene.n];
    for poison in [f32::NAN, f32::INFINITY, 0.0] {
        let error = Denoiser::new().edit(&mut Faulty(analytic(), poison), &plan, &EditOptions::default(), &faces, &mut out).expect_err("a fault");
        let text = error.to_string();
        assert!(if poison == 0.0 { text == "denoiser: gone" } else { text.contains("face 1: expected finite") }, "{text}");
    }
    let bad_mask = EditFace { mask: Some(&[0.5, f32::NAN, 0.0, 1.0]), ..faces[0] };
    let short = EditFace { noised: &faces[0].noised[1..], ..faces[0] };
    let wild = EditFace { guidance: f32::NAN, ..faces[0] };
    for (face, what) in [(bad_mask, "mask"), (short, "noised"), (wild, "guidance")] {
        let error = Denoiser::new().edit(&mut analytic(), &plan, &EditOptions::default(), &[face], &mut out[..scene.n]).expect_err("bad input");
        assert!(error.to_string().contains(what), "{error}");
    }
}
