//! The engine's bracket form against the published z form in float64 (tests/data/golden).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod golden_support;

use golden_support::{Analytic, Case, golden};
use nullface::secret::SessionSecret;
use nullface::stages::denoise::{
    Condition, Denoiser, EditFace, EditOptions, NoiseModel, ReferenceFace, Schedule, ScheduleSpec, Solver, StepPlan,
};
use serde::Deserialize;

const NOISE: &str = include_str!("data/golden/noise.json");

/// Largest difference to the float64 numbers, absolute for values up to 1 and relative above.
const TOLERANCE: f64 = 1e-5;

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
            conditionals.push(if case.attributes && case.guidance >= 0.0 {
                c.with_attributes(&w.attributes)
            } else {
                c
            });
            let mut xs = Vec::new();
            if case.solver != Solver::Dpmpp2m {
                let x0 = if case.from_prior { &w.prior[f] } else { &w.x0[f] };
                for (i, level) in plan.levels().iter().enumerate() {
                    xs.extend(
                        x0.iter()
                            .zip(&w.noise[f][i])
                            .map(|(x, e)| level.alpha as f32 * x + level.sigma as f32 * e),
                    );
                }
            }
            noised.push(xs);
        }
        let faces: Vec<EditFace<'_>> = (0..2)
            .map(|f| EditFace {
                source: ReferenceFace {
                    x0: if case.from_prior { &w.prior[f] } else { &w.x0[f] },
                    prior: case.prior.then_some(&w.prior[f][..]),
                    reference: &null,
                },
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
        Denoiser::new()
            .edit(&mut model, &plan, &options(case), &faces, &mut out)
            .expect("edits");
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
        let purpose = if d.purpose == 0 {
            nullface::secret::Purpose::Noise
        } else {
            nullface::secret::Purpose::Target
        };
        let mut stream = SessionSecret::from_seed(d.seed).stream(purpose, d.subject, d.index);
        for v in d.values {
            // Two logarithms differ in the last bits.
            assert!((stream.normal() - v).abs() < 1e-12);
        }
    }
}
