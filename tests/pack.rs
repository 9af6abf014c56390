//! The pack that comes along, run by the engine on portraits of nobody: each texture of the basis drawn on
//! the mean face. Networks are the real ones; only the detector and the mesh are told where the face is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod replace_support;
mod support;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nullface::backend::{Backend, BackendConfig, DeviceRequest};
use nullface::frame::{PixelFormat, arcface_crop};
use nullface::pack::Pack;
use nullface::pipeline::networks::denoiser;
use nullface::pipeline::{
    CoverReason, Engine, EngineConfig, Generator, IdentityChoice, Mode, Outcome, Parts, PrecisionChoice, Preset, Settings, SolverChoice,
};
use nullface::stages::denoise::{
    Batch, Condition, Denoiser, InversionOptions, NoiseModel, ReferenceFace, Solver, Spacing, StepPlan, TimestepShift,
};
use nullface::stages::identify::MobileFaceNet;
use nullface::stages::prior::{Basis, raster};
use nullface::stages::reconstruct::space_to_depth;
use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout, crop_affine};
use replace_support::{MeanFace, SIZE, basis, inner, mesh};
use support::{FakeDetector, Picture, Script, at, equal_blocks};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn backend() -> Backend {
    Backend::open(&BackendConfig {
        models_dir: Some(checkout().join("models/small")),
        device: DeviceRequest::Cpu,
        ..BackendConfig::default()
    })
    .expect("runtime and models of the checkout; scripts/setup.sh brings the runtime")
}

/// A texture on the mean face, in front of grey.
fn portrait(basis: &Basis, texture: usize) -> Picture {
    let mut picture = Picture::noise(PixelFormat::Rgb, SIZE.0, SIZE.1, 3);
    let (w, h) = (SIZE.0 as usize, SIZE.1 as usize);
    let mesh = mesh();
    let triangles = &basis.triangles;
    let mut drawn = raster::Raster::default();
    drawn.draw(&mesh.points_px, &mesh.depth_px, triangles, w, h);
    let mut maps = Vec::new();
    raster::maps(&mesh.points_px, &basis.canonical_px, triangles, &mut maps);
    let (data, stride) = &mut picture.planes[0];
    for y in 0..h {
        for x in 0..w {
            let pixel = &mut data[y * *stride + x * 3..][..3];
            let rgb = match maps.get(usize::from(drawn.index[y * w + x])) {
                Some(map) => {
                    let from = map.apply(x as f32 + 0.5, y as f32 + 0.5);
                    raster::sample::<3>(&basis.textures[texture].0, basis.size_px, basis.size_px, from)
                }
                None => [110.0 + (x % 7) as f32, 108.0 + (y % 5) as f32, 104.0],
            };
            pixel.iter_mut().zip(rgb).for_each(|(p, v)| *p = v as u8);
        }
    }
    picture
}

fn engine(settings: Settings) -> Engine {
    let backend = backend();
    let face = mesh();
    let script = Script {
        faces: vec![face.bounding_box_px().expect("points")],
        ..Script::default()
    };
    let parts = Parts {
        detector: Box::new(FakeDetector {
            script: Arc::new(Mutex::new(script)),
            calls: 0,
        }),
        mesh: Box::new(MeanFace(face)),
        recogniser: Box::new(MobileFaceNet::open(&backend).expect("recogniser")),
        device: backend.device().clone(),
    };
    let config = EngineConfig {
        model_pack: Some(checkout().join("models/nullface-128")),
        seed: Some(5),
        ..EngineConfig::default()
    };
    let generator = Generator::open(&backend, &config).expect("the checkout's pack");
    Engine::from_parts(parts, &config, settings)
        .expect("in range")
        .with_generator(generator)
        .expect("follows the settings")
}

/// Three frames of a portrait; what left last.
fn shown(settings: &Settings, source: &Picture) -> Picture {
    let mut engine = engine(settings.clone());
    let mut last = source.clone();
    for n in 0..3 {
        let mut output = source.clone();
        let report = engine.process(&mut output.view_mut(), at(n), &[]).into_report();
        assert_eq!(report.withheld, None, "{:?}", report.fault);
        let outcome = report.faces[0].outcome;
        assert!(
            matches!(outcome, Outcome::Replaced { cos, .. } if cos < 0.457),
            "{settings:?}: {outcome:?}"
        );
        assert_eq!(equal_blocks(source, &output, inner()), 0);
        last = output;
    }
    last
}

#[test]
fn every_mode_preset_solver_and_identity_replaces_a_portrait() {
    let basis = basis();
    let source = portrait(&basis, 7);
    let mode = |mode| Settings {
        mode,
        ..Settings::default()
    };
    let nullface = shown(&mode(Mode::Nullface), &source);
    let id2face = shown(&mode(Mode::Id2face), &source);
    assert!(nullface.planes != id2face.planes, "the gate changes nothing");
    let old = Settings {
        attributes: "age=70".to_owned(),
        ..mode(Mode::Reverse)
    };
    assert!(shown(&old, &source).planes != nullface.planes);
    for settings in [
        mode(Mode::Ksame),
        Settings {
            preset: Preset::NullfacePaper,
            ..mode(Mode::Nullface)
        },
        Settings {
            preset: Preset::ReversePaper,
            steps: Some(10),
            ..mode(Mode::Reverse)
        },
        Settings {
            solver: SolverChoice::Dpmpp2m,
            steps: Some(4),
            ..mode(Mode::Nullface)
        },
        Settings {
            solver: SolverChoice::Ddpm,
            identity: IdentityChoice::Orthogonal,
            steps: Some(2),
            residual_guidance: Some(false),
            rescale: Some(0.7),
            mask_delay: Some(1),
            cache: false,
            ..mode(Mode::Nullface)
        },
    ] {
        shown(&settings, &source);
    }
}

#[test]
fn a_preset_of_another_mode_is_refused() {
    let wrong = Settings {
        mode: Mode::Reverse,
        preset: Preset::NullfacePaper,
        ..Settings::default()
    };
    assert!(wrong.check().expect_err("another system").to_string().contains("preset"));
}

/// A copy of the pack that a test may spoil.
fn own_pack() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let from = checkout().join("models/nullface-128");
    std::fs::create_dir(folder.path().join("basis")).expect("folder");
    for part in ["", "basis"] {
        for file in std::fs::read_dir(from.join(part))
            .expect("pack")
            .flatten()
            .filter(|f| f.path().is_file())
        {
            std::fs::copy(file.path(), folder.path().join(part).join(file.file_name())).expect("copy");
        }
    }
    folder
}

#[test]
fn a_pack_swapped_under_a_running_engine_is_never_run() {
    let folder = own_pack();
    let config = EngineConfig {
        models_dir: Some(checkout().join("models/small")),
        model_pack: Some(folder.path().to_owned()),
        precision: PrecisionChoice::Fp32,
        ..EngineConfig::default()
    };
    let blur = Settings {
        mode: Mode::Blur,
        ..Settings::default()
    };
    let replacing = Settings {
        mode: Mode::Nullface,
        ..Settings::default()
    };
    let mut covering = Engine::open(&config, blur.clone()).expect("opens");
    let mut open = Engine::open(&config, replacing.clone()).expect("opens");
    let denoiser = folder.path().join("denoiser.onnx");
    let mut bytes = std::fs::read(&denoiser).expect("denoiser");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&denoiser, bytes).expect("swapped");
    // Who opens it now is told which file it is, and goes on as before.
    let error = covering.set_settings(replacing.clone()).expect_err("altered").to_string();
    assert!(error.contains("denoiser"), "{error}");
    assert_eq!(covering.settings(), &blur);
    let error = Engine::open(&config, replacing.clone()).err().expect("altered").to_string();
    assert!(error.contains("denoiser"), "{error}");
    // Who holds it runs what was proven when it was opened.
    open.set_settings(Settings {
        steps: Some(2),
        ..replacing
    })
    .expect("nothing is read again");
    let picture = Picture::noise(PixelFormat::Nv12, 320, 240, 2);
    for engine in [&mut covering, &mut open] {
        let mut output = picture.clone();
        let report = engine.process(&mut output.view_mut(), at(0), &[]).into_report();
        assert!(
            report.withheld.is_none() || report.withheld == Some(CoverReason::Policy),
            "{report:?}"
        );
    }
}

/// Largest mean error, latent units (2 = black to white), of inverting a portrait with `dpmpp-2m` over the
/// pack's own range of noise and sampling it again.
const ROUND_TRIP: [(usize, f32); 3] = [(4, 0.05), (8, 0.05), (20, 0.05)];

#[test]
fn the_packs_inversion_comes_back_to_the_portrait() {
    let backend = backend();
    let pack = Pack::open(&checkout().join("models/nullface-128")).expect("the checkout's pack");
    let mut model = denoiser(&backend, &pack).expect("denoiser");
    let (shape, basis) = (model.shape(), basis());
    let null = Condition::null(&shape, &[]);
    for (steps, bound) in ROUND_TRIP {
        let spacing = Spacing::Lambda { start: 0.5, end: 1.5 };
        let plan = StepPlan::new(pack.schedule(), Solver::Dpmpp2m, spacing, steps, 0.0, TimestepShift::None).expect("a plan");
        for texture in [2, 19, 33] {
            let x0 = latent(&portrait(&basis, texture));
            let source = ReferenceFace {
                x0: &x0,
                prior: Some(&x0),
                reference: &null,
            };
            let chain = Denoiser::new()
                .invert(&mut model, &plan, InversionOptions::default(), &[source])
                .expect("inverts")
                .to_vec();
            let mut x = chain[..x0.len()].to_vec();
            let mut before: Option<Vec<f32>> = None;
            for (i, (c, told)) in plan.constants().iter().zip(plan.told()).enumerate() {
                let mut m = vec![0.0; x.len()];
                let batch = Batch {
                    shape,
                    rows: 1,
                    x: &x,
                    time: &[told.time as f32],
                    lambda: &[told.lambda as f32],
                    identity: &null.identity,
                    identity_mask: &[0.0],
                    attributes: &null.attributes,
                    text: &[],
                    prior: &x0,
                };
                model.predict(&batch, &mut m).expect("predicts");
                let (carry, data, history) = (c.carry as f32, c.data as f32, c.history as f32);
                for (j, v) in x.iter_mut().enumerate() {
                    let old = before.as_ref().map_or(m[j], |b| b[j]);
                    *v = carry * *v + data * (m[j] + history * (m[j] - old));
                }
                before = Some(m);
                assert!(x.iter().all(|v| v.is_finite()), "step {i}");
            }
            let error = x.iter().zip(&x0).map(|(a, b)| (a - b).abs()).sum::<f32>() / x.len() as f32;
            assert!(error < bound, "{steps} steps, texture {texture}: {error}");
        }
    }
}

/// The aligned crop of a portrait as the denoiser wants it.
fn latent(picture: &Picture) -> Vec<f32> {
    let landmarks = mesh().landmarks5().expect("points");
    let spec = CropSpec {
        width: 128,
        height: 128,
        layout: Layout::Nchw,
        order: ChannelOrder::Rgb,
        scale: 1.0 / 127.5,
        bias: -1.0,
    };
    let mut crop = vec![0.0; 3 * 128 * 128];
    crop_affine(
        &picture.view(),
        &arcface_crop(&landmarks, 128).expect("five points"),
        &spec,
        &mut crop,
    )
    .expect("crops");
    let mut latent = vec![0.0; crop.len()];
    space_to_depth(&crop, 3, 128, 128, 4, &mut latent).expect("lengths fit");
    latent
}
