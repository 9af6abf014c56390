//! The denoiser's device path over the shim driver, with networks bound to the shim's buffers, against the
//! processor's path. The tiny big packs of tests/data/big are the networks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

#[path = "../kernels/tests/support/shim.rs"]
mod shim;

use std::path::Path;
use std::sync::atomic::Ordering;

use nullface::backend::{Backend, BackendConfig, Bound, DeviceRequest};
use nullface::pack::Pack;
use nullface::pipeline::networks;
use nullface::stages::denoise::{
    Condition, Denoiser, EditFace, EditOptions, NoiseModel, OnnxModel, ReferenceFace, Solver, Spacing, StepPlan, TimestepShift,
    edit_on_device,
};
use nullface_kernels::cuda::Gpu;

/// Order of sums in the rescale and fused kernels, on values of about one.
const TOLERANCE: f32 = 2e-4;

fn model() -> (Pack, OnnxModel) {
    let backend = Backend::open(&BackendConfig {
        device: DeviceRequest::Cpu,
        ..BackendConfig::default()
    })
    .expect("scripts/setup.sh brings the runtime");
    let pack = Pack::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/big/faceid")).expect("opens");
    let model = networks::denoiser(&backend, &pack).expect("loads");
    (pack, model)
}

fn wave(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7 + seed * 13) as f32 * 0.61).sin() * 0.8).collect()
}

struct World {
    x0: Vec<Vec<f32>>,
    noised: Vec<Vec<f32>>,
    masks: Vec<Vec<f32>>,
    reference: Condition,
    conditionals: Vec<Condition>,
    promoted: Condition,
}

fn world(pack: &Pack, model: &OnnxModel, plan: &StepPlan) -> World {
    let shape = NoiseModel::shape(model);
    let n = shape.latent_len();
    let reference = Condition::null(&shape, &pack.empty_text().expect("tokens"));
    let text = pack.attributes(["age=70"]).expect("known").text.expect("a text");
    World {
        x0: (0..2).map(|f| wave(n, f)).collect(),
        noised: (0..2).map(|f| wave(n * plan.steps(), 10 + f)).collect(),
        masks: (0..2)
            .map(|f| (0..shape.plane_len()).map(|i| if i % (3 + f) == 0 { 0.0 } else { 1.0 }).collect())
            .collect(),
        conditionals: (0..2)
            .map(|f| reference.clone().with_identity(&wave(shape.identity, 20 + f)))
            .collect(),
        promoted: reference.clone().with_text(&text),
        reference,
    }
}

fn faces(world: &World) -> Vec<EditFace<'_>> {
    (0..2)
        .map(|f| EditFace {
            source: ReferenceFace {
                x0: &world.x0[f],
                prior: None,
                reference: &world.reference,
            },
            noised: &world.noised[f],
            mask: Some(&world.masks[f]),
            // One face promotes attributes, the other does not: rows must still be told apart.
            unconditional: (f == 1).then_some(&world.promoted),
            conditional: &world.conditionals[f],
            guidance: -2.0,
        })
        .collect()
}

fn steps_of(pack: &Pack, steps: usize) -> StepPlan {
    StepPlan::new(
        pack.schedule(),
        Solver::SdeDpmpp2m,
        Spacing::Linspace { skip: 0.6 },
        steps,
        1.0,
        TimestepShift::None,
    )
    .expect("valid")
}

#[test]
fn the_device_path_is_the_processors_for_every_kind_of_guidance() {
    let (pack, mut model) = model();
    let mut compared = 0;
    for steps in [1, 3] {
        let plan = steps_of(&pack, steps);
        let world = world(&pack, &model, &plan);
        let n = NoiseModel::shape(&model).latent_len();
        for (residual_guidance, rescale, pinned) in [(false, 0.0, true), (false, 0.7, false), (true, 0.0, true), (true, 0.5, true)] {
            let options = EditOptions {
                residual_guidance,
                rescale,
                pinned,
                ..EditOptions::default()
            };
            let mut want = vec![0.0; 2 * n];
            let stats = Denoiser::new()
                .edit(&mut model, &plan, &options, &faces(&world), &mut want)
                .expect("edits");
            let (gpu, _) = shim::gpu();
            let mut got = vec![0.0; 2 * n];
            let calls = edit_on_device(&gpu, &mut model, &plan, &options, &faces(&world), &mut got).expect("edits");
            let off = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let what = format!("steps {steps} residual {residual_guidance} rescale {rescale}");
            assert!(off <= TOLERANCE, "{what}: {off}");
            assert!(
                want.iter().zip(world.x0.concat()).any(|(a, b)| (a - b).abs() > 0.01),
                "{what}: an edit that shows"
            );
            assert_eq!(calls, stats.calls, "{what}");
            let traffic = gpu.traffic();
            assert_eq!(traffic.downloads, 2, "{what}: the two results and nothing else comes down");
            assert_eq!(traffic.waits as usize, calls + 1, "{what}: before each run, and for the results");
            compared += 1;
        }
    }
    assert_eq!(compared, 8);
}

#[test]
fn a_device_lost_in_mid_edit_is_an_error_and_memory_is_given_back() {
    let (pack, mut model) = model();
    let plan = steps_of(&pack, 2);
    let world = world(&pack, &model, &plan);
    let mut lost = 0;
    for calls in (0..400).step_by(7) {
        let (gpu, knobs) = shim::gpu();
        knobs.calls_left.store(calls, Ordering::SeqCst);
        let mut out = vec![0.0; 2 * world.x0[0].len()];
        match edit_on_device(&gpu, &mut model, &plan, &EditOptions::default(), &faces(&world), &mut out) {
            Ok(_) => break,
            Err(e) => {
                assert!(e.to_string().contains("lost"), "{e}");
                lost += 1;
            }
        }
        drop(gpu);
        assert_eq!(knobs.used.load(Ordering::SeqCst), 0, "after {calls} calls");
    }
    assert!(lost > 5, "{lost}");
}

#[test]
fn on_the_devices_own_stream_an_edit_waits_once_however_many_steps_and_faces() {
    let (pack, mut model) = model();
    for steps in [1, 3] {
        let plan = steps_of(&pack, steps);
        let world = world(&pack, &model, &plan);
        let n = NoiseModel::shape(&model).latent_len();
        let mut run = |(gpu, _): &(Gpu, _)| {
            let mut out = vec![0.0; 2 * n];
            edit_on_device(gpu, &mut model, &plan, &EditOptions::default(), &faces(&world), &mut out).expect("edits");
            (out, gpu.traffic())
        };
        let (want, apart) = run(&shim::gpu());
        let (got, together) = run(&shim::gpu_in_order());
        assert_eq!(got, want);
        assert!(apart.waits as usize > steps, "{apart:?}");
        assert_eq!((together.waits, together.downloads), (1, 2), "steps {steps}: for the results");
        assert_eq!(together.launches, apart.launches);
    }
}

#[test]
fn forty_faces_that_do_not_fit_are_an_error_with_the_figures_and_two_do() {
    let (pack, mut model) = model();
    let plan = steps_of(&pack, 2);
    let world = world(&pack, &model, &plan);
    let n = NoiseModel::shape(&model).latent_len();
    let (gpu, knobs) = shim::gpu();
    let mut out = vec![0.0; 2 * n];
    let two = faces(&world);
    edit_on_device(&gpu, &mut model, &plan, &EditOptions::default(), &two, &mut out).expect("edits");
    // What two need, and as much again: far from what forty do.
    let memory = 2 * knobs.used.load(Ordering::SeqCst);
    knobs.memory.store(memory, Ordering::SeqCst);
    let forty: Vec<EditFace<'_>> = (0..20).flat_map(|_| faces(&world)).collect();
    let mut all = vec![0.0; 40 * n];
    let error = edit_on_device(&gpu, &mut model, &plan, &EditOptions::default(), &forty, &mut all).expect_err("too little");
    let text = error.to_string();
    assert!(
        text.contains(&format!("of {memory} free")) && text.contains("a smaller pack"),
        "{text}"
    );
    assert!(!gpu.is_lost(), "the device is there still");
    let mut again = vec![0.0; 2 * n];
    edit_on_device(&gpu, &mut model, &plan, &EditOptions::default(), &two, &mut again).expect("edits");
    assert_eq!(again, out);
}

#[test]
fn networks_refuse_buffers_of_other_devices_and_parts_beyond_the_end() {
    let (pack, _) = model();
    let backend = Backend::open(&BackendConfig {
        device: DeviceRequest::Cpu,
        ..BackendConfig::default()
    })
    .expect("opens");
    let mut decoder = networks::network(&backend, &pack, "decoder").expect("loads");
    let ((gpu, _), (other, _)) = (shim::gpu(), shim::gpu());
    let (latents, pixels) = (gpu.upload(&wave(1024, 1)).unwrap(), gpu.zeros(3 * 32 * 32).unwrap());
    let foreign = other.zeros(1024).unwrap();
    let bound = |name, shape, buffer, start| Bound {
        name,
        shape,
        buffer,
        start,
    };
    let (small, large) = ([1, 4, 16, 16], [1, 3, 32, 32]);
    let output = bound("pixels", &large[..], &pixels, 0);
    let mut refused = |input: Bound<'_>, word: &str| {
        let error = decoder.run_bound(&gpu, &[input], output).expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(bound("latents", &small, &foreign, 0), "another device");
    refused(bound("latents", &small, &latents, 1), "latents: expected 1024 values from 1");
    refused(bound("nothing", &small, &latents, 0), "nothing");
    decoder
        .run_bound(&gpu, &[bound("latents", &small, &latents, 0)], output)
        .expect("runs");
    let mut got = vec![0.0; pixels.len()];
    pixels.read(&mut got).unwrap();
    assert!(got.iter().any(|v| *v != 0.0) && got.iter().all(|v| v.is_finite()));
}
