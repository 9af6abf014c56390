//! Big packs through the engine on the processor, against diffusers' own pipeline in float64 (tests/data/big).
//!
//! The packs are tiny and random but of the real classes: U-Net with face adapter and fused LoRAs, text and identity
//! tokens, autoencoders of both kinds, weights in one file (`faceid`) and beside the graph (`turbo`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use std::path::{Path, PathBuf};

use nullface::backend::{Backend, BackendConfig, DeviceRequest};
use nullface::frame::Landmarks5;
use nullface::pack::Pack;
use nullface::pipeline::networks;
use nullface::stages::denoise::{Condition, Denoiser, EditFace, EditOptions, ModeSettings, NoiseModel, ReferenceFace, conditions};
use nullface::stages::identify::Recogniser;
use nullface::stages::reconstruct::LatentCodec;
use serde::Deserialize;

/// Float32 through up to fifteen evaluations and guidance of 3, against float64; relative to the largest value. Measured: 1e-5.
const TOLERANCE: f32 = 5e-5;

#[derive(Deserialize)]
struct Golden {
    pack: String,
    x0: Vec<f32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    plan: serde_json::Value,
    sign: f32,
    guidance: f32,
    word: String,
    latents: Vec<f32>,
    pixels: Vec<f32>,
}

fn golden() -> Vec<Golden> {
    serde_json::from_str(include_str!("data/big/golden.json")).expect("golden numbers")
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/big").join(name)
}

fn backend() -> Backend {
    Backend::open(&BackendConfig {
        device: DeviceRequest::Cpu,
        ..BackendConfig::default()
    })
    .expect("scripts/setup.sh brings the runtime")
}

/// What tests/data/big/make_big.py calls `wave`.
fn wave(len: usize, seed: u32) -> Vec<f32> {
    let s = f64::from(seed);
    (0..len)
        .map(|i| {
            let i = i as f64;
            ((i * 12.9898 + s * 78.233).sin() + (i * 4.1414 + s * 3.7).sin()) as f32
        })
        .collect()
}

fn unit(mut v: Vec<f32>) -> Vec<f32> {
    let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt();
    v.iter_mut().for_each(|x| *x /= norm);
    v
}

#[track_caller]
fn same(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let most = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let off = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(most > 0.0 && off <= TOLERANCE * most, "{what}: {off} of {most}");
}

fn settings(case: &Case) -> ModeSettings {
    let mut value = case.plan.clone();
    let table = value.as_object_mut().expect("a table");
    table.insert("guidance".into(), f64::from(case.guidance).into());
    table.insert("identity".into(), if case.guidance < 0.0 { "repel" } else { "negate" }.into());
    table.insert("pinned".into(), false.into());
    table.insert("drop_final_residual".into(), true.into());
    serde_json::from_value(value).expect("settings")
}

fn edited(pack: &Pack, model: &mut dyn NoiseModel, case: &Case, x0: &[f32], guidance: f32) -> Vec<f32> {
    let shape = model.shape();
    let mode = settings(case);
    let plan = mode.plan(pack.schedule()).expect("a plan");
    let identity: Vec<f32> = unit(wave(shape.identity, 2)).iter().map(|v| v * case.sign).collect();
    let asked = pack
        .attributes(case.word.split(',').filter(|w| !w.is_empty()))
        .expect("in the vocabulary");
    assert_eq!(asked.text.is_some(), !case.word.is_empty());
    let empty = pack.empty_text().expect("tokens");
    let branches = conditions(&shape, &mode, &identity, None, asked.text.as_deref(), &empty);
    let mut noised = Vec::new();
    for (i, level) in plan.levels().iter().enumerate() {
        let noise = wave(x0.len(), 100 + i as u32);
        noised.extend(
            x0.iter()
                .zip(noise)
                .map(|(x, e)| (level.alpha * f64::from(*x) + level.sigma * f64::from(e)) as f32),
        );
    }
    let face = EditFace {
        source: ReferenceFace {
            x0,
            prior: None,
            reference: &branches.reference,
        },
        noised: &noised,
        mask: None,
        unconditional: branches.unconditional.as_ref(),
        conditional: &branches.conditional,
        guidance,
    };
    let options = EditOptions {
        drop_final_residual: guidance != 0.0,
        ..mode.edit_options()
    };
    let mut out = vec![0.0; x0.len()];
    Denoiser::new().edit(model, &plan, &options, &[face], &mut out).expect("edits");
    out
}

fn encoded(codec: &mut LatentCodec) -> Vec<f32> {
    let pixels: Vec<f32> = wave(codec.pixel_len(), 1).iter().map(|v| 0.4 * v).collect();
    let mut x0 = vec![0.0; codec.latent_len()];
    codec.encode(1, &pixels, &mut x0).expect("encodes");
    x0
}

#[test]
fn edits_are_those_of_the_diffusers_pipeline() {
    let backend = backend();
    let mut compared = 0;
    for golden in golden() {
        let pack = Pack::open(&folder(&golden.pack)).expect("opens");
        let mut model = networks::denoiser(&backend, &pack).expect("loads");
        let mut codec = networks::codec(&backend, &pack).expect("loads");
        let x0 = encoded(&mut codec);
        same(&format!("{} latents of the crop", golden.pack), &x0, &golden.x0);
        for case in &golden.cases {
            let out = edited(&pack, &mut model, case, &x0, case.guidance);
            same(&format!("{} {}", golden.pack, case.name), &out, &case.latents);
            let (mut pixels, mut scratch) = (vec![0.0; codec.pixel_len()], vec![0.0; codec.latent_len()]);
            codec.decode(1, &out, &mut scratch, &mut pixels).expect("decodes");
            same(&format!("{} {} pixels", golden.pack, case.name), &pixels, &case.pixels);
            let still = edited(&pack, &mut model, case, &x0, 0.0);
            assert!(
                case.word.is_empty() == (still == x0),
                "without guidance and attributes x0 comes back, bit for bit"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 3);
}

#[test]
fn a_batch_of_many_faces_is_each_face_alone_and_null_is_the_projector_of_zeros() {
    let backend = backend();
    let pack = Pack::open(&folder("faceid")).expect("opens");
    let mut model = networks::denoiser(&backend, &pack).expect("loads");
    let shape = model.shape();
    let n = shape.latent_len();
    let empty = pack.empty_text().expect("tokens");
    let who = |i: u32| Condition::null(&shape, &empty).with_identity(&unit(wave(shape.identity, i)));
    let rows = 2 * networks::BIG_PACK_ROWS as u32 + 3;
    let mut predict = |conditions: &[Condition], xs: &[f32]| {
        let mut cut = Vec::new();
        for c in conditions
            .iter()
            .zip(xs.chunks_exact(n))
            .collect::<Vec<_>>()
            .chunks(model.max_rows())
        {
            let join = |f: &dyn Fn(&Condition) -> Vec<f32>| c.iter().flat_map(|(c, _)| f(c)).collect::<Vec<f32>>();
            let batch = nullface::stages::denoise::Batch {
                shape,
                rows: c.len(),
                x: &c.iter().flat_map(|(_, x)| x.iter().copied()).collect::<Vec<_>>(),
                time: &vec![299.0; c.len()],
                lambda: &vec![0.0; c.len()],
                identity: &join(&|c| c.identity.clone()),
                identity_mask: &join(&|c| vec![c.identity_mask]),
                attributes: &[],
                text: &join(&|c| c.text.clone()),
                prior: &[],
            };
            let mut out = vec![0.0; c.len() * n];
            model.predict(&batch, &mut out).expect("predicts");
            cut.extend(out);
        }
        cut
    };
    let conditions: Vec<Condition> = (0..rows).map(who).collect();
    let xs = wave(n * rows as usize, 5);
    let together = predict(&conditions, &xs);
    for i in [0_usize, 15, 16, 34] {
        let alone = predict(&conditions[i..=i], &xs[i * n..(i + 1) * n]);
        same(&format!("row {i}"), &together[i * n..(i + 1) * n], &alone);
    }
    let null = predict(&[Condition::null(&shape, &empty)], &xs[..n]);
    let off = null.iter().zip(&together).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off > 1e-2, "an identity shows in the prediction: {off}");
}

#[test]
fn the_packs_recogniser_gives_unit_vectors_of_the_adapters_length() {
    let backend = backend();
    let pack = Pack::open(&folder("faceid")).expect("opens");
    let mut recogniser = networks::recogniser(&backend, &pack).expect("loads").expect("the pack brings one");
    let data: Vec<u8> = (0..200 * 200 * 3).map(|i| (i * 7 % 251) as u8).collect();
    let info = nullface::frame::FrameInfo {
        format: nullface::frame::PixelFormat::Rgb,
        width: 200,
        height: 200,
        matrix: nullface::frame::Matrix::Bt709,
        range: nullface::frame::Range::Full,
    };
    let plane = nullface::frame::Plane { data: &data, stride: 600 };
    let frame = nullface::frame::FrameView::new(info, &[plane]).expect("a frame");
    let at = |dx: f32| Landmarks5(nullface::frame::ARCFACE_TEMPLATE_112.map(|p| [p[0] + dx, p[1] + 20.0]));
    let got = recogniser.embed(&frame, &[at(10.0), at(60.0)]).expect("embeds");
    assert!(
        got.iter()
            .all(|e| e.0.len() == 16 && (e.cos(e).expect("same length") - 1.0).abs() < 1e-5)
    );
    assert!(got[0].cos(&got[1]).expect("same length") < 0.99999);
    assert!(recogniser.embed(&frame, &[Landmarks5([[1.0, 1.0]; 5])]).is_err(), "no crop");
}

/// A pack with one piece of its manifest replaced.
fn altered(name: &str, from: &str, to: &str) -> (tempfile::TempDir, Pack) {
    let copy = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(copy.path().join("text")).expect("a folder");
    for part in ["", "text"] {
        for file in std::fs::read_dir(folder(name).join(part))
            .expect("listed")
            .map(|f| f.expect("file").path())
        {
            if file.is_file() {
                std::fs::copy(&file, copy.path().join(part).join(file.file_name().expect("a name"))).expect("copied");
            }
        }
    }
    let text = std::fs::read_to_string(copy.path().join("pack.toml")).expect("manifest");
    assert!(text.contains(from), "{from}");
    std::fs::write(copy.path().join("pack.toml"), text.replacen(from, to, 1)).expect("written");
    let pack = Pack::open(copy.path()).expect("the files are whole");
    (copy, pack)
}

#[test]
fn a_pack_that_says_other_things_than_its_networks_is_refused_by_the_field() {
    let backend = backend();
    let refused = |from: &str, to: &str, word: &str| {
        let (_folder, pack) = altered("turbo", from, to);
        let denoiser = networks::denoiser(&backend, &pack).map(|_| ());
        let codec = networks::codec(&backend, &pack).map(|_| ());
        let recogniser = networks::recogniser(&backend, &pack).map(|_| ());
        let error = denoiser.and(codec).and(recogniser).expect_err(word).to_string();
        assert!(error.contains(word), "{from} → {to}: {error}");
    };
    refused(
        "preprocessing = \"(v - 127.5) / 127.5",
        "preprocessing = \"(v - 127.5) / 128",
        "identity.preprocessing",
    );
    refused("recogniser = \"recogniser\"", "recogniser = \"encoder\"", "recogniser");
}

#[test]
fn weights_that_are_missing_or_others_are_refused() {
    let text = std::fs::read_to_string(folder("turbo").join("pack.toml")).expect("manifest");
    for (from, to, word) in [
        ("data = \"denoiser_data\"", "data = \"nothing\"", "files.denoiser.data"),
        ("data = \"denoiser_data\"", "data = \"denoiser\"", "files.denoiser.data"),
        ("text_len = 272", "text_len = 271", "text"),
    ] {
        let error = Pack::parse(&text.replacen(from, to, 1)).expect_err(word).to_string();
        assert!(error.contains(word), "{from} → {to}: {error}");
    }
    let (copy, pack) = altered("turbo", "data = \"denoiser_data\"\n", "");
    let error = networks::denoiser(&backend(), &pack)
        .expect_err("weights are not found")
        .to_string();
    assert!(error.contains("denoiser"), "{error}");
    let (copy2, pack) = altered("turbo", "format = 1", "format = 1");
    std::fs::write(copy2.path().join("denoiser.onnx.data"), b"short").expect("written");
    let error = networks::denoiser(&backend(), &pack).expect_err("weights are others").to_string();
    assert!(error.contains("files.denoiser_data.bytes"), "{error}");
    drop((copy, copy2));
}

#[test]
fn texts_are_joined_where_the_vocabulary_has_them_and_refused_where_not() {
    let pack = Pack::open(&folder("faceid")).expect("opens");
    let text = |words: &[&str]| pack.attributes(words.iter().copied()).map(|a| a.text.expect("a text"));
    let both = text(&["sex=female", "age=70"]).expect("joined");
    assert_eq!(both, text(&["age=71", "sex=female"]).expect("the nearest age"));
    assert_ne!(both, text(&["age=70"]).expect("known"));
    assert_ne!(both, pack.empty_text().expect("known"));
    let (_copy, pack) = altered("faceid", "\"age=70,sex=female\" = \"text_3\"\n", "");
    let error = pack.attributes(["age=70", "sex=female"]).expect_err("not joined").to_string();
    assert!(error.contains("age=70,sex=female"), "{error}");
}
