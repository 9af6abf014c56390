//! Networks that read frames on their device, over a driver whose kernels are the same sources on the processor: the
//! same answers as from the processor's crops, one copy of a frame for all who read and write it, and nothing
//! uncovered when the device goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

#[path = "../kernels/tests/support/shim.rs"]
mod shim;
mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use nullface::backend::{Backend, BackendConfig, CropError, Device, DeviceEvent, DeviceEvents, DeviceRequest, ResolvedDevice};
use nullface::frame::{Affine, FrameView, Landmarks5, Mesh, PixelFormat};
use nullface::pipeline::{CoverReason, Engine, EngineConfig, Mode, Parts, Settings};
use nullface::stages::align::{AlignError, FaceHint, FaceMesh, MeshFitter};
use nullface::stages::detect::{BlazeFace, DetectError, Detection, Detector, Effort};
use nullface::stages::identify::{Embedding, IdentifyError, MobileFaceNet, Recogniser};
use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout};
use nullface_kernels::cuda::{Gpu, Loader, Traffic};
use shim::Knobs;
use support::two_faces::{FACES, SIZE, WHOLE};
use support::{Picture, at, box_mesh, equal_blocks};

/// Of an output's largest value: crops differ by 0.1 of 255 at most, and the networks smooth.
const TOLERANCE: f32 = 0.02;
/// Every layout of samples in memory.
const FORMATS: [PixelFormat; 6] = [
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::P010Le,
    PixelFormat::Rgba,
    PixelFormat::Bgr,
    PixelFormat::Yuy2,
];

fn backend() -> Backend {
    Backend::open(&BackendConfig {
        device: DeviceRequest::Cpu,
        threads: 2,
        ..BackendConfig::default()
    })
    .expect("scripts/setup.sh brings the runtime")
}

fn spec(side: usize, layout: Layout, scale: f32, bias: f32) -> CropSpec {
    CropSpec {
        width: side,
        height: side,
        layout,
        order: ChannelOrder::Rgb,
        scale,
        bias,
    }
}

#[test]
fn a_networks_answer_is_the_same_from_crops_on_the_device_for_every_network_and_format() {
    let (gpu, knobs) = shim::gpu();
    let (backend, loader) = (backend(), Loader::new(&gpu));
    let turned = |x: f32| Affine {
        m: [0.7, -0.2, x, 0.2, 0.7, 10.0],
    };
    let maps = [turned(0.0), turned(60.0), turned(-30.0)];
    let mut compared = 0;
    for (name, spec, faces) in [
        ("centerface", spec(96, Layout::Nchw, 1.0, 0.0), 1),
        ("blazeface", spec(128, Layout::Nhwc, 1.0 / 127.5, -1.0), 1),
        ("face_mesh", spec(192, Layout::Nhwc, 1.0 / 255.0, 0.0), 3),
        ("mobilefacenet", spec(112, Layout::Nhwc, 1.0 / 128.0, -127.5 / 128.0), 3),
    ] {
        let mut network = backend.session(name).expect("loads");
        for (n, format) in FORMATS.into_iter().enumerate() {
            let picture = Picture::noise(format, 201, 133, n as u32);
            let outputs = network.output_names().len();
            network.crops(&picture.view(), &maps[..faces], &spec).expect("crops");
            network.run().expect("runs");
            let want: Vec<Vec<f32>> = (0..outputs).map(|i| network.output_any(i).expect("there").1.to_vec()).collect();
            let before = gpu.traffic();
            let resident = loader.frame(&picture.info);
            let view = picture.view().with_resident(Some(&resident));
            network.crops(&view, &maps[..faces], &spec).expect("crops");
            network.run().expect("runs");
            let now = gpu.traffic();
            assert_eq!(
                (
                    now.uploads - before.uploads,
                    now.launches - before.launches,
                    now.waits - before.waits
                ),
                (1, 1, 1),
                "{name} {format:?}: the frame, one launch for all faces, one wait"
            );
            assert_eq!(now.downloads, 0);
            for (i, want) in want.iter().enumerate() {
                let got = network.output_any(i).expect("there").1;
                let largest = want.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
                let off = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(
                    got.len() == want.len() && off <= TOLERANCE * largest,
                    "{name} {format:?} output {i}: off by {off} of {largest}"
                );
                compared += want.len();
            }
        }
    }
    assert!(compared > 50_000, "{compared}");
    assert!(knobs.launched.lock().unwrap().iter().all(|k| k.starts_with("crop_")));
}

#[test]
fn an_input_of_the_processor_after_one_on_the_device_is_the_one_that_runs() {
    let (gpu, _) = shim::gpu();
    let mut network = backend().session("blazeface").expect("loads");
    let picture = Picture::noise(PixelFormat::Nv12, 160, 120, 1);
    let spec = spec(128, Layout::Nhwc, 1.0 / 127.5, -1.0);
    network.input(&[1, 128, 128, 3]).expect("memory").fill(0.25);
    network.run().expect("runs");
    let want = network.output_any(0).expect("there").1.to_vec();
    let resident = Loader::new(&gpu).frame(&picture.info);
    let view = picture.view().with_resident(Some(&resident));
    network.crops(&view, &[Affine::IDENTITY], &spec).expect("crops");
    network.run().expect("runs");
    assert_ne!(network.output_any(0).expect("there").1, want);
    network.input(&[1, 128, 128, 3]).expect("memory").fill(0.25);
    network.run().expect("runs");
    assert_eq!(network.output_any(0).expect("there").1, want);
    let flat = Affine::scale_shift(0.0, 1.0, 0.0, 0.0);
    assert!(matches!(network.crops(&view, &[flat], &spec), Err(CropError::Frame(_))));
    assert!(resident.is_sound(), "a map that cannot be is not the device's fault");
    assert!(network.run().is_err(), "what an earlier frame left does not run in its place");
}

/// Real networks that look, and answers of the test's.
struct Looking<N>(N);

impl Detector for Looking<BlazeFace> {
    fn name(&self) -> &'static str {
        "looking"
    }
    fn detect(&mut self, frame: &FrameView<'_>, threshold: f32, effort: Effort) -> Result<Vec<Detection>, DetectError> {
        self.0.detect(frame, threshold, effort)?;
        let found = FACES.map(|box_px| Detection {
            box_px,
            score: 0.9,
            landmarks: None,
        });
        Ok(found.to_vec())
    }
}

impl MeshFitter for Looking<FaceMesh> {
    fn fit(&mut self, frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        self.0.fit(frame, hints)?;
        Ok(hints.iter().map(|h| box_mesh(&h.box_px)).collect())
    }
}

/// Counts who read the frame here although it is there.
impl Recogniser for Looking<MobileFaceNet> {
    fn name(&self) -> &str {
        "looking"
    }
    fn same_person_cos(&self) -> f32 {
        0.9
    }
    fn embed(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        self.0.embed(frame, faces)?;
        // What leaves is another person than what came.
        let came = frame.resident().is_some() || frame.planes()[0].data[0] == MARK;
        let embedding = if came { vec![1.0, 0.0] } else { vec![0.0, 1.0] };
        Ok(faces.iter().map(|_| Embedding(embedding.clone())).collect())
    }
}

/// The first byte of a picture that comes; covers of the tests do not reach it.
const MARK: u8 = 77;

fn engine(config: &EngineConfig) -> Engine {
    let backend = backend();
    let parts = Parts {
        detector: Box::new(Looking(BlazeFace::open(&backend).expect("opens"))),
        mesh: Box::new(Looking(FaceMesh::open(&backend).expect("opens"))),
        recogniser: Box::new(Looking(MobileFaceNet::open(&backend).expect("opens"))),
        device: ResolvedDevice {
            device: Device::Cpu,
            reason: "a test".to_owned(),
            strict: false,
        },
    };
    let settings = Settings {
        mode: Mode::Solid,
        ..Settings::default()
    };
    Engine::from_parts(parts, config, settings).expect("settings are in range")
}

fn picture(format: PixelFormat, n: u64) -> Picture {
    let mut picture = Picture::noise(format, SIZE.0, SIZE.1, n as u32);
    picture.planes[0].0[0] = MARK;
    picture
}

/// Crops launched, and the traffic since.
fn since(gpu: &Gpu, knobs: &Knobs, before: Traffic) -> (u64, Traffic) {
    let launched = std::mem::take(&mut *knobs.launched.lock().unwrap());
    let crops = launched.iter().filter(|k| k.starts_with("crop_")).count();
    (crops as u64, gpu.traffic().since(before))
}

#[test]
fn a_frame_goes_up_once_for_all_networks_and_for_the_trip_that_writes_it() {
    // Networks on a stream of their own; then, in one format, on the device's, where nothing waits for them.
    for (format, in_order) in FORMATS.map(|f| (f, false)).into_iter().chain([(FORMATS[0], true)]) {
        let (gpu, knobs) = if in_order { shim::gpu_in_order() } else { shim::gpu() };
        let config = EngineConfig::default();
        let (mut plain, mut device) = (engine(&config), engine(&config).with_device(gpu.clone()));
        let mut crops_in_all = 0;
        for n in 0..6 {
            let source = picture(format, n);
            let (mut want, mut got) = (source.clone(), source.clone());
            let expected = plain.process(&mut want.view_mut(), at(n), &[]).into_report();
            let before = gpu.traffic();
            let report = device.process(&mut got.view_mut(), at(n), &[]).into_report();
            let (crops, t) = since(&gpu, &knobs, before);
            let what = format!("{format:?} frame {n}: {t:?}");
            assert_eq!(report, expected, "{what}");
            assert!(got.planes == want.planes, "{what}");
            assert_eq!((t.uploads, t.downloads), (2, 1), "{what}: the frame; masks; the window back");
            let waits = if in_order { 1 } else { crops + 1 };
            assert_eq!(t.waits, waits, "{what}: the trip's, and one a network that is on another stream");
            assert!(crops >= 2, "{what}: a detector and the mesh, {crops}");
            assert!(n < 2 || t.allocations == 0, "{what}");
            // Padded rows, and masks of the faces: far from twice the frame.
            let bytes: u64 = source.planes.iter().map(|(data, _)| data.len() as u64).sum();
            assert!(t.uploaded < 2 * bytes, "{what}: {bytes}");
            assert_eq!(equal_blocks(&source, &got, FACES[0]), 0, "{what}");
            crops_in_all += crops;
        }
        assert!(crops_in_all >= 15, "{format:?}: {crops_in_all}");
    }
}

#[test]
fn frames_held_back_stay_on_the_device_until_they_leave() {
    let (gpu, knobs) = shim::gpu();
    let config = EngineConfig {
        lookahead: 3,
        threads: 1,
        ..EngineConfig::default()
    };
    let (mut plain, mut device) = (engine(&config), engine(&config).with_device(gpu.clone()));
    let sources: Vec<Picture> = (0..9).map(|n| picture(PixelFormat::Nv12, n)).collect();
    let mut held = std::collections::VecDeque::new();
    let render = |engine: &mut Engine, n: u64, id| {
        let mut out = sources[n as usize].clone();
        let report = engine.render(id, &mut out.view_mut(), at(n)).into_report();
        (out.planes, report)
    };
    for (n, source) in (0..).zip(&sources) {
        let ids = [&mut plain, &mut device].map(|engine| engine.analyse(&source.view(), at(n), &[]).0);
        held.push_back((n, ids));
        if held.len() > 3 {
            let (n, [there, here]) = held.pop_front().unwrap();
            since(&gpu, &knobs, gpu.traffic());
            let before = gpu.traffic();
            let got = render(&mut device, n, here);
            let (crops, t) = since(&gpu, &knobs, before);
            assert!(got == render(&mut plain, n, there), "frame {n}");
            assert_eq!((crops, t.uploads, t.downloads, t.waits), (0, 1, 1, 1), "frame {n}");
            assert!(n < 1 || t.allocations == 0, "frame {n}");
        }
    }
    let before = knobs.used.load(Ordering::SeqCst);
    device.discontinuity(nullface::pipeline::Discontinuity::Flush);
    gpu.trim();
    assert!(knobs.used.load(Ordering::SeqCst) < before, "frames that never leave are given back");
}

#[test]
fn a_device_lost_at_every_second_call_uncovers_nothing_and_the_processor_goes_on() {
    let (mut lost, mut withheld_in_all) = (0, 0);
    // Networks are slow to open; every single call is lost in the kernels' own tests.
    for calls in (0..).step_by(2) {
        let (gpu, knobs) = shim::gpu();
        let told = Arc::<Mutex<Vec<DeviceEvent>>>::default();
        let heard = Arc::clone(&told);
        let config = EngineConfig {
            device_events: DeviceEvents::new(move |e| heard.lock().unwrap().push(e)),
            ..EngineConfig::default()
        };
        let mut device = engine(&config).with_device(gpu.clone());
        knobs.calls_left.store(calls, Ordering::SeqCst);
        let mut withheld = 0;
        for n in 0..3 {
            let source = picture(PixelFormat::Nv12, n);
            let mut got = source.clone();
            let report = device.process(&mut got.view_mut(), at(n), &[]).into_report();
            let region = if report.withheld.is_some() { WHOLE } else { FACES[0] };
            let what = format!("call {calls} frame {n}: {report:?}");
            assert_eq!(equal_blocks(&source, &got, region), 0, "{what}");
            if report.withheld.is_some() {
                assert!(report.fault.as_ref().is_some_and(|f| f.contains("device: ")), "{what}");
                withheld += 1;
            } else {
                assert_eq!(equal_blocks(&source, &got, FACES[1]), 0, "{what}");
            }
        }
        assert!(withheld <= 1, "call {calls}: {withheld} frames");
        withheld_in_all += withheld;
        if !gpu.is_lost() {
            break;
        }
        let told = told.lock().unwrap();
        assert!(
            told.iter()
                .any(|e| matches!(e, DeviceEvent::Lost { why, .. } if why.contains("device: "))),
            "{told:?}"
        );
        lost += 1;
        drop((device, gpu));
        let left = (knobs.used.load(Ordering::SeqCst), knobs.locked.load(Ordering::SeqCst));
        assert_eq!(left, (0, 0), "call {calls}");
    }
    assert!(lost > 10 && withheld_in_all > 3, "{lost} {withheld_in_all}");
}

#[test]
fn a_device_without_memory_for_the_frame_costs_one_frame_and_names_the_remedy() {
    let (gpu, knobs) = shim::gpu();
    knobs.memory.store(20_000, Ordering::SeqCst);
    let mut device = engine(&EngineConfig::default()).with_device(gpu);
    let source = picture(PixelFormat::Nv12, 1);
    let mut got = source.clone();
    let report = device.process(&mut got.view_mut(), at(0), &[]).into_report();
    assert_eq!(report.withheld, Some(CoverReason::DetectorFailed));
    assert_eq!(equal_blocks(&source, &got, WHOLE), 0);
    let fault = report.fault.expect("told");
    assert!(fault.contains("choose the processor"), "{fault}");
    knobs.memory.store(shim::MEMORY, Ordering::SeqCst);
    for n in 1..5 {
        let mut got = source.clone();
        let report = device.process(&mut got.view_mut(), at(n), &[]).into_report();
        assert_eq!(report.withheld, None, "frame {n}");
        assert_eq!(equal_blocks(&source, &got, FACES[0]), 0);
    }
    assert!(
        knobs.launched.lock().unwrap().iter().any(|k| k.starts_with("crop_")),
        "it was asked for again"
    );
}
