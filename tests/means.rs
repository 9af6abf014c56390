//! Lookahead and detector changed in mid-stream, through the library's front door.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use nullface::frame::{BoxPx, PixelFormat};
use nullface::pipeline::{DetectorChoice, Engine, EngineConfig, Means, Mode, Outcome, Settings};
use support::{FakeDetector, Picture, Script, at, engine, equal_blocks};

const FACE: BoxPx = BoxPx {
    x0: 60.0,
    y0: 40.0,
    x1: 124.0,
    y1: 112.0,
};

fn picture() -> Picture {
    Picture::noise(PixelFormat::Nv12, 240, 180, 1)
}

fn solid() -> Settings {
    Settings {
        mode: Mode::Solid,
        ..Settings::default()
    }
}

/// Works through frames; how many there are from one look at most to the next.
fn widest(engine: &mut Engine, frames: std::ops::Range<u64>) -> u64 {
    let (mut last, mut widest) = (frames.start, 0);
    for n in frames {
        let report = engine.process(&mut picture().view_mut(), at(n), &[]).into_report();
        assert_eq!(report.withheld, None);
        if report.detected {
            widest = widest.max(n - last);
            last = n;
        }
    }
    widest
}

#[test]
fn looks_are_as_far_apart_as_the_lookahead_in_force_can_make_good() {
    let config = EngineConfig {
        lookahead: 11,
        ..EngineConfig::default()
    };
    let (mut engine, _) = engine(Script::default(), &config, solid());
    assert_eq!(widest(&mut engine, 0..100), 12);
    for (lookahead, apart, frames) in [(0, 2, 100..150), (5, 6, 150..250), (0, 2, 250..300)] {
        engine.set_means(&Means {
            lookahead,
            ..engine.means()
        });
        assert_eq!(engine.means().lookahead, lookahead);
        assert_eq!(widest(&mut engine, frames), apart, "lookahead {lookahead}");
    }
}

#[test]
fn another_detector_has_a_thorough_look_at_the_first_frame_that_is_its_own() {
    // The one before sees nothing.
    let (engine, _) = engine(Script::default(), &EngineConfig::default(), solid());
    let seeing = Script {
        faces: vec![FACE],
        ..Script::default()
    };
    let script = Arc::new(Mutex::new(seeing));
    let mut engine = engine.with_detectors(Arc::new(move |_, _| {
        Ok(Box::new(FakeDetector {
            script: Arc::clone(&script),
            calls: 0,
        }))
    }));
    let source = picture();
    let mut frames = 0..1_000_000;
    let mut next = |engine: &mut Engine| {
        let n = frames.next().expect("opened long ago");
        let mut output = source.clone();
        let report = engine.process(&mut output.view_mut(), at(n), &[]).into_report();
        (report, output)
    };
    assert!(next(&mut engine).0.faces.is_empty());
    engine.set_means(&Means {
        detector: DetectorChoice::Blazeface,
        ..Means::default()
    });
    let (report, output) = loop {
        let (report, output) = next(&mut engine);
        if engine.means().detector == DetectorChoice::Blazeface {
            break (report, output);
        }
        assert!(report.faces.is_empty());
        std::thread::yield_now();
    };
    assert!(report.detected);
    assert!(
        matches!(report.faces[..], [ref face] if matches!(face.outcome, Outcome::Covered { .. })),
        "{report:?}"
    );
    assert_eq!(equal_blocks(&source, &output, FACE), 0, "covered in the frame in which it came");
}
