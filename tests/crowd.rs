//! More faces than one frame has room for: none is left out for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use nullface::backend::{Device, ResolvedDevice};
use nullface::frame::{BoxPx, FrameView, Mesh, PixelFormat};
use nullface::pipeline::{Engine, EngineConfig, Mode, Parts, Settings};
use nullface::stages::align::{AlignError, FaceHint, MeshFitter};
use support::{FakeDetector, FakeRecogniser, NoMesh, Picture, Script, at};

/// Notes where it is asked for meshes, frame by frame, and finds none.
struct Asked(Arc<Mutex<Vec<Vec<BoxPx>>>>);

impl MeshFitter for Asked {
    fn fit(&mut self, frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        self.0.lock().expect("notes").push(hints.iter().map(|h| h.box_px).collect());
        NoMesh.fit(frame, hints)
    }
}

/// Forty faces in rows of eight, the first four larger.
fn forty() -> Vec<BoxPx> {
    (0..40)
        .map(|i| {
            let (x, y) = ((i % 8 * 80 + 8) as f32, (i / 8 * 90 + 8) as f32);
            let side = if i < 4 { 60.0 } else { 40.0 };
            BoxPx {
                x0: x,
                y0: y,
                x1: x + side,
                y1: y + side,
            }
        })
        .collect()
}

#[test]
fn among_forty_faces_the_largest_always_have_a_mesh_and_the_others_in_turns() {
    let asked = Arc::<Mutex<Vec<Vec<BoxPx>>>>::default();
    let script = Script {
        faces: forty(),
        ..Script::default()
    };
    let parts = Parts {
        detector: Box::new(FakeDetector {
            script: Arc::new(Mutex::new(script)),
            calls: 0,
        }),
        mesh: Box::new(Asked(Arc::clone(&asked))),
        recogniser: Box::new(FakeRecogniser),
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
    let mut engine = Engine::from_parts(parts, &EngineConfig::default(), settings).expect("in range");
    let source = Picture::noise(PixelFormat::Rgb, 640, 480, 1);
    // 36 others, four at a time, a second each: nine seconds and the first frames.
    let frames = 9 * 25 + 5;
    for n in 0..frames {
        let mut picture = source.clone();
        let report = engine.process(&mut picture.view_mut(), at(n), &[]).into_report();
        assert_eq!(
            (report.withheld, report.faces.len()),
            (None, 40),
            "frame {n}: every face is covered"
        );
    }
    let asked = asked.lock().expect("notes");
    let around = |face: &BoxPx, list: &[BoxPx]| list.iter().any(|b| b.iou(face) > 0.5);
    for (i, face) in forty().iter().enumerate() {
        let times = asked.iter().filter(|list| around(face, list)).count();
        assert!(times >= 25, "face {i}: {times} times");
        if i < 4 {
            assert!(asked.iter().all(|list| around(face, list)), "face {i} is one of the largest");
        }
    }
    assert!(asked.iter().all(|list| list.len() <= 8), "no frame has more than it has room for");
}
