//! Frames treated on a device, through the engine's front door, over a driver whose kernels are the same
//! sources on the processor: the same pixels as without it, one trip a frame, and nothing uncovered when the
//! device goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod replace_support;
#[path = "../kernels/tests/support/shim.rs"]
mod shim;
mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use nullface::backend::{DeviceEvent, DeviceEvents};
use nullface::frame::{BoxPx, FrameView, Landmarks5, PixelFormat};
use nullface::pipeline::{CoverReason, Engine, EngineConfig, Mode, Outcome, Rung, Settings};
use nullface::stages::identify::{Embedding, IdentifyError, Recogniser};
use nullface_kernels::cuda::Traffic;
use replace_support::{Answer, Blocks, darker, engine_with, inner, source};
use support::two_faces::{FACES, SIZE, WHOLE};
use support::{Picture, Script, at, equal_blocks};

/// A composite's code and one of 255 of its mask, on eight-bit samples.
const CODES: u8 = 2;

fn covering(mode: Mode, faces: &[BoxPx]) -> Engine {
    covering_by(mode, faces, &EngineConfig::default())
}

fn covering_by(mode: Mode, faces: &[BoxPx], config: &EngineConfig) -> Engine {
    let script = Script {
        faces: faces.to_vec(),
        ..Script::default()
    };
    let settings = Settings {
        mode,
        ..Settings::default()
    };
    support::engine(script, config, settings).0
}

fn most_apart(a: &Picture, b: &Picture) -> u8 {
    let bytes = |p: &Picture| p.planes.iter().flat_map(|(data, _)| data.clone()).collect::<Vec<u8>>();
    bytes(a).iter().zip(bytes(b)).map(|(a, b)| a.abs_diff(b)).max().expect("bytes")
}

fn trips(now: Traffic, before: Traffic) -> [u64; 4] {
    [
        now.uploads - before.uploads,
        now.downloads - before.downloads,
        now.waits - before.waits,
        now.allocations - before.allocations,
    ]
}

#[test]
fn covers_of_every_mode_and_format_are_the_processors_bit_for_bit_in_one_trip_a_frame() {
    let mut changed = 0;
    for format in [
        PixelFormat::Nv12,
        PixelFormat::I42010Le,
        PixelFormat::Rgba,
        PixelFormat::Bgr,
        PixelFormat::Yuy2,
    ] {
        for mode in [Mode::Blur, Mode::Pixelate, Mode::Solid] {
            let (gpu, _) = shim::gpu();
            let mut plain = covering(mode, &FACES);
            let mut device = covering(mode, &FACES).with_device(gpu.clone());
            for n in 0..2 {
                let source = Picture::noise(format, SIZE.0, SIZE.1, n);
                let (mut want, mut got) = (source.clone(), source.clone());
                let expected = plain.process(&mut want.view_mut(), at(u64::from(n)), &[]).into_report();
                let before = gpu.traffic();
                let report = device.process(&mut got.view_mut(), at(u64::from(n)), &[]).into_report();
                let [up, down, waits, allocations] = trips(gpu.traffic(), before);
                assert_eq!((up, down, waits), (1, 1, 1), "{format:?} {mode} frame {n}");
                assert!(n < 1 || allocations == 0, "{format:?} {mode} frame {n}: {allocations} allocations");
                assert_eq!(report, expected);
                assert!(got.planes == want.planes, "{format:?} {mode} frame {n}");
                changed += usize::from(got.planes != source.planes);
            }
        }
    }
    assert_eq!(changed, 5 * 3 * 2);
}

#[test]
fn a_frame_without_a_face_asks_nothing_of_the_device() {
    let (gpu, _) = shim::gpu();
    let mut engine = covering(Mode::Blur, &[]).with_device(gpu.clone());
    let source = Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, 1);
    for n in 0..3 {
        let mut output = source.clone();
        let _ = engine.process(&mut output.view_mut(), at(n), &[]).into_report();
        assert!(output.planes == source.planes);
    }
    assert_eq!(gpu.traffic(), Traffic::default());
}

#[test]
fn new_faces_are_the_processors_within_two_codes_composite_and_mask_on_the_device() {
    for (mode, answer) in [(Mode::Ksame, None), (Mode::Nullface, Some(darker as Answer))] {
        let (gpu, knobs) = shim::gpu();
        let mut plain = engine_with(Box::new(Blocks), answer, mode, 7);
        let mut device = engine_with(Box::new(Blocks), answer, mode, 7).with_device(gpu.clone());
        let source = source();
        for n in 0..3 {
            let (mut want, mut got) = (source.clone(), source.clone());
            let expected = plain.process(&mut want.view_mut(), at(n), &[]).into_report();
            let before = gpu.traffic();
            let report = device.process(&mut got.view_mut(), at(n), &[]).into_report();
            assert_eq!(trips(gpu.traffic(), before)[..3], [1, 1, 1], "{mode} frame {n}");
            assert!(matches!(report.faces[0].outcome, Outcome::Replaced { .. }), "{mode}: {report:?}");
            assert_eq!(report, expected, "{mode} frame {n}");
            let apart = most_apart(&got, &want);
            assert!(apart <= CODES, "{mode} frame {n}: {apart}");
            assert_eq!(equal_blocks(&source, &got, inner()), 0);
        }
        let launched = knobs.launched.lock().unwrap();
        assert!(
            ["weight_mask", "composite"].iter().all(|k| launched.iter().any(|l| l == k)),
            "{launched:?}"
        );
    }
}

/// Takes everybody for one person, so that no cover passes.
struct Stubborn;

impl Recogniser for Stubborn {
    fn name(&self) -> &str {
        "stubborn"
    }
    fn same_person_cos(&self) -> f32 {
        0.5
    }
    fn embed(&mut self, _: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        Ok(faces.iter().map(|_| Embedding(vec![1.0, 0.0])).collect())
    }
}

#[test]
fn a_cover_that_does_not_prove_itself_is_filled_after_the_trip() {
    let (gpu, _) = shim::gpu();
    let mut plain = engine_with(Box::new(Stubborn), None, Mode::Blur, 7);
    let mut device = engine_with(Box::new(Stubborn), None, Mode::Blur, 7).with_device(gpu.clone());
    let source = source();
    let mut filled = 0;
    for n in 0..3 {
        let (mut want, mut got) = (source.clone(), source.clone());
        let expected = plain.process(&mut want.view_mut(), at(n), &[]).into_report();
        let report = device.process(&mut got.view_mut(), at(n), &[]).into_report();
        assert_eq!(report, expected, "frame {n}");
        assert!(got.planes == want.planes, "frame {n}");
        filled += usize::from(matches!(
            report.faces[0].outcome,
            Outcome::Covered {
                reason: CoverReason::TooNear,
                rung: Rung::Solid
            }
        ));
    }
    assert!(filled > 0);
    assert_eq!(gpu.traffic().waits, 3);
}

#[test]
fn a_device_lost_at_any_call_costs_a_covered_frame_and_the_processor_goes_on() {
    let mut lost = 0;
    for calls in 0.. {
        let (gpu, knobs) = shim::gpu();
        let mut plain = covering(Mode::Solid, &FACES);
        let told = Arc::<Mutex<Vec<DeviceEvent>>>::default();
        let heard = Arc::clone(&told);
        let config = EngineConfig {
            device_events: DeviceEvents::new(move |e| heard.lock().unwrap().push(e)),
            ..EngineConfig::default()
        };
        let mut device = covering_by(Mode::Solid, &FACES, &config).with_device(gpu.clone());
        knobs.calls_left.store(calls, Ordering::SeqCst);
        let mut covered = 0;
        for n in 0..4 {
            let source = Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, n);
            let (mut want, mut got) = (source.clone(), source.clone());
            let _ = plain.process(&mut want.view_mut(), at(u64::from(n)), &[]).into_report();
            let report = device.process(&mut got.view_mut(), at(u64::from(n)), &[]).into_report();
            if report.withheld.is_none() {
                assert!(got.planes == want.planes, "call {calls} frame {n}");
                continue;
            }
            covered += 1;
            assert_eq!(report.withheld, Some(CoverReason::StageFailed));
            let fault = report.fault.expect("told");
            assert!(fault.contains("lost") && fault.starts_with("device: "), "{fault}");
            assert_eq!(equal_blocks(&source, &got, WHOLE), 0, "call {calls} frame {n}: covered whole");
            assert!(report.faces.iter().all(|f| matches!(f.outcome, Outcome::FrameWithheld { .. })));
        }
        assert!(covered <= 1, "call {calls}: {covered} frames");
        let told = told.lock().unwrap();
        let is_loss = |e: &DeviceEvent| matches!(e, DeviceEvent::Lost { why, .. } if why.contains("lost"));
        assert!(told.len() == covered && told.iter().all(is_loss), "{told:?}");
        if covered == 0 {
            break;
        }
        lost += 1;
    }
    assert!(lost > 15, "{lost}");
}

#[test]
fn too_little_memory_covers_the_frame_and_names_the_remedy() {
    let (gpu, knobs) = shim::gpu();
    knobs.memory.store(40_000, Ordering::SeqCst);
    let mut device = covering(Mode::Blur, &FACES).with_device(gpu);
    let source = Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, 3);
    let mut got = source.clone();
    let report = device.process(&mut got.view_mut(), at(0), &[]).into_report();
    assert_eq!(report.withheld, Some(CoverReason::StageFailed));
    assert_eq!(equal_blocks(&source, &got, WHOLE), 0);
    let fault = report.fault.expect("told");
    assert!(fault.contains("or choose the processor"), "{fault}");
}
