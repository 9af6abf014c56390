//! The contract, through the library's front door: whatever goes wrong, no block of a true face region
//! leaves as it came.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use nullface::frame::{BoxPx, PixelFormat};
use nullface::pipeline::{CoverReason, Discontinuity, EngineConfig, Mode, OnFailure, Outcome, Rung, Settings};
use support::{Picture, Script, at, engine, equal_blocks};

const FACE: BoxPx = BoxPx {
    x0: 60.0,
    y0: 40.0,
    x1: 124.0,
    y1: 112.0,
};
const SIZE: (u32, u32) = (240, 180);
const WHOLE: BoxPx = BoxPx {
    x0: 0.0,
    y0: 0.0,
    x1: 240.0,
    y1: 180.0,
};
const FAR: BoxPx = BoxPx {
    x0: 200.0,
    y0: 140.0,
    x1: 240.0,
    y1: 180.0,
};

const FORMATS: [PixelFormat; 11] = [
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::P010Le,
    PixelFormat::I42010Le,
    PixelFormat::Rgba,
    PixelFormat::Bgra,
    PixelFormat::Rgbx,
    PixelFormat::Bgrx,
    PixelFormat::Rgb,
    PixelFormat::Bgr,
    PixelFormat::Yuy2,
];

fn script() -> Script {
    Script {
        faces: vec![FACE],
        ..Script::default()
    }
}

fn settings(mode: Mode) -> Settings {
    Settings {
        mode,
        ..Settings::default()
    }
}

#[test]
fn every_mode_covers_the_face_in_every_format_and_touches_nothing_far_away() {
    for format in FORMATS {
        for &mode in Mode::ALL {
            let (mut engine, _) = engine(script(), &EngineConfig::default(), settings(mode));
            let source = Picture::noise(format, SIZE.0, SIZE.1, 3);
            let mut output = source.clone();
            let released = engine.process(&mut output.view_mut(), at(0), &[]);
            assert_eq!(released.report().faces.len(), 1, "{format:?} {mode}");
            assert_eq!(equal_blocks(&source, &output, FACE), 0, "{format:?} {mode}");
            assert_eq!(equal_blocks(&source, &output, FAR), 25, "{format:?} {mode}");
        }
    }
}

#[test]
fn a_detector_that_errors_covers_the_whole_frame() {
    let (mut engine, _) = engine(
        Script {
            fail_from: Some(1),
            ..script()
        },
        &EngineConfig::default(),
        Settings {
            detect_interval: 1,
            ..settings(Mode::Blur)
        },
    );
    for frame in 0..4 {
        let source = Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, frame);
        let mut output = source.clone();
        let released = engine.process(&mut output.view_mut(), at(u64::from(frame)), &[]);
        if frame >= 1 {
            assert_eq!(released.report().withheld, Some(CoverReason::DetectorFailed));
            assert_eq!(equal_blocks(&source, &output, WHOLE), 0, "frame {frame}");
        }
    }
    assert_eq!(engine.stats().withheld, 3);
}

#[test]
fn a_detector_that_panics_covers_the_frame_and_the_engine_goes_on() {
    let (mut engine, _) = engine(
        Script {
            panic_at: Some(1),
            ..script()
        },
        &EngineConfig::default(),
        Settings {
            detect_interval: 1,
            ..settings(Mode::Pixelate)
        },
    );
    for frame in 0..3 {
        let source = Picture::noise(PixelFormat::I420, SIZE.0, SIZE.1, frame);
        let mut output = source.clone();
        let released = engine.process(&mut output.view_mut(), at(u64::from(frame)), &[]);
        let region = if frame == 1 { WHOLE } else { FACE };
        assert_eq!(released.report().withheld.is_some(), frame == 1);
        assert_eq!(equal_blocks(&source, &output, region), 0, "frame {frame}");
    }
}

#[test]
fn boxes_that_are_no_numbers_count_as_a_failed_detection() {
    let (mut engine, _) = engine(
        Script {
            nan_at: Some(0),
            ..script()
        },
        &EngineConfig::default(),
        settings(Mode::Blur),
    );
    let source = Picture::noise(PixelFormat::Rgb, SIZE.0, SIZE.1, 9);
    let mut output = source.clone();
    let released = engine.process(&mut output.view_mut(), at(0), &[]);
    assert_eq!(released.report().withheld, Some(CoverReason::DetectorFailed));
    assert_eq!(equal_blocks(&source, &output, WHOLE), 0);
}

#[test]
fn a_frame_that_was_never_analysed_is_covered() {
    let (mut engine, _) = engine(script(), &EngineConfig::default(), settings(Mode::Blur));
    let source = Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, 1);
    let (id, _) = engine.analyse(&source.view(), at(0), &[]);
    let mut output = source.clone();
    let _ = engine.render(id, &mut output.view_mut(), at(0));
    let mut again = source.clone();
    let released = engine.render(id, &mut again.view_mut(), at(0));
    assert_eq!(released.report().withheld, Some(CoverReason::NotAnalysed));
    assert_eq!(equal_blocks(&source, &again, WHOLE), 0);
}

#[test]
fn a_frame_of_another_size_than_analysed_is_covered() {
    let (mut engine, _) = engine(script(), &EngineConfig::default(), settings(Mode::Blur));
    let source = Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, 1);
    let (id, _) = engine.analyse(&source.view(), at(0), &[]);
    let other = Picture::noise(PixelFormat::Nv12, SIZE.0 + 2, SIZE.1, 1);
    let mut output = other.clone();
    assert!(engine.render(id, &mut output.view_mut(), at(0)).report().withheld.is_some());
    assert_eq!(equal_blocks(&other, &output, WHOLE), 0);
}

#[test]
fn the_lookahead_covers_a_face_before_it_was_found() {
    let lookahead = 4;
    let config = EngineConfig {
        lookahead,
        ..EngineConfig::default()
    };
    let (mut engine, script) = engine(
        Script::default(),
        &config,
        Settings {
            detect_interval: 1,
            ..settings(Mode::Solid)
        },
    );
    let sources: Vec<Picture> = (0..8).map(|seed| Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, seed)).collect();
    let mut waiting = std::collections::VecDeque::new();
    let mut outputs = Vec::new();
    for (n, source) in sources.iter().enumerate() {
        if n == 5 {
            script.lock().unwrap().faces = vec![FACE];
        }
        let (id, fault) = engine.analyse(&source.view(), at(n as u64), &[]);
        assert!(fault.is_none());
        waiting.push_back((n, id));
        while waiting.len() > lookahead || (n + 1 == sources.len() && !waiting.is_empty()) {
            let (m, id) = waiting.pop_front().unwrap();
            let mut output = sources[m].clone();
            let report = engine.render(id, &mut output.view_mut(), at(m as u64)).into_report();
            outputs.push((output, report));
        }
    }
    for (m, (output, report)) in outputs.iter().enumerate() {
        let covered = equal_blocks(&sources[m], output, FACE) == 0;
        assert_eq!(covered, m >= 1, "frame {m}");
        if (1..5).contains(&m) {
            assert!(
                report.faces.iter().all(|f| matches!(
                    f.outcome,
                    Outcome::Covered {
                        reason: CoverReason::Lookahead,
                        ..
                    }
                )),
                "frame {m}"
            );
        }
    }
}

#[test]
fn a_lost_face_stays_covered_while_it_is_held() {
    let (mut engine, script) = engine(
        script(),
        &EngineConfig::default(),
        Settings {
            detect_interval: 1,
            ..settings(Mode::Blur)
        },
    );
    for frame in 0..20 {
        if frame == 5 {
            script.lock().unwrap().faces.clear();
        }
        let source = Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, frame);
        let mut output = source.clone();
        let _ = engine.process(&mut output.view_mut(), at(u64::from(frame)), &[]);
        assert_eq!(equal_blocks(&source, &output, FACE), 0, "frame {frame}");
    }
}

#[test]
fn a_flush_forgets_tracks_and_the_next_frame_is_looked_at() {
    let (mut engine, _) = engine(script(), &EngineConfig::default(), settings(Mode::Blur));
    for frame in 0..6u32 {
        if frame == 3 {
            engine.discontinuity(Discontinuity::Flush);
        }
        let source = Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, frame);
        let mut output = source.clone();
        let released = engine.process(&mut output.view_mut(), at(u64::from(frame) * 50), &[]);
        assert_eq!(equal_blocks(&source, &output, FACE), 0, "frame {frame}");
        assert!(frame != 3 || released.report().detected);
    }
}

#[test]
fn forty_faces_are_all_covered_and_none_costs_a_frame() {
    let faces: Vec<BoxPx> = (0..40)
        .map(|i| BoxPx::around([40.0 + (i % 8) as f32 * 70.0, 50.0 + (i / 8) as f32 * 80.0], 40.0, 48.0))
        .collect();
    let (mut engine, _) = engine(
        Script {
            faces: faces.clone(),
            ..Script::default()
        },
        &EngineConfig::default(),
        settings(Mode::Pixelate),
    );
    let source = Picture::noise(PixelFormat::Nv12, 640, 480, 5);
    let mut output = source.clone();
    let released = engine.process(&mut output.view_mut(), at(0), &[]);
    assert_eq!((released.report().faces.len(), released.report().withheld), (40, None));
    for face in faces {
        assert_eq!(equal_blocks(&source, &output, face), 0, "{face:?}");
    }
}

#[test]
fn no_face_leaves_the_picture_bit_exact() {
    for format in FORMATS {
        let (mut engine, _) = engine(Script::default(), &EngineConfig::default(), settings(Mode::Blur));
        let source = Picture::noise(format, 61, 47, 8);
        let mut output = source.clone();
        let released = engine.process(&mut output.view_mut(), at(0), &[]);
        assert!(released.report().faces.is_empty() && released.report().withheld.is_none());
        assert!(source.planes == output.planes, "{format:?}");
    }
}

#[test]
fn a_face_at_the_border_is_covered_to_the_border() {
    let edge = BoxPx {
        x0: -20.0,
        y0: -10.0,
        x1: 44.0,
        y1: 70.0,
    };
    let (mut engine, _) = engine(
        Script {
            faces: vec![edge],
            ..Script::default()
        },
        &EngineConfig::default(),
        settings(Mode::Solid),
    );
    let source = Picture::noise(PixelFormat::Rgba, SIZE.0, SIZE.1, 2);
    let mut output = source.clone();
    let _ = engine.process(&mut output.view_mut(), at(0), &[]);
    assert_eq!(equal_blocks(&source, &output, edge), 0);
}

#[test]
fn tiny_frames_do_not_break_the_engine() {
    for (width, height) in [(1, 1), (2, 2), (3, 1), (1, 7)] {
        for format in FORMATS {
            let (mut engine, _) = engine(Script::default(), &EngineConfig::default(), settings(Mode::Blur));
            let mut picture = Picture::noise(format, width, height, 1);
            let released = engine.process(&mut picture.view_mut(), at(0), &[]);
            assert!(
                released.report().withheld.is_none(),
                "{format:?} {width}x{height}: {:?}",
                released.report().fault
            );
        }
    }
}

#[test]
fn the_policy_cover_frame_covers_all_of_it_when_one_face_falls_back() {
    let zero = std::time::Duration::ZERO;
    let late = Settings {
        deadline: Some(zero),
        on_failure: OnFailure::CoverFrame,
        ..settings(Mode::Blur)
    };
    let (mut engine, _) = engine(script(), &EngineConfig::default(), late);
    let source = Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, 4);
    let mut output = source.clone();
    let released = engine.process(&mut output.view_mut(), at(0), &[]);
    assert_eq!(released.report().withheld, Some(CoverReason::Policy));
    assert_eq!(equal_blocks(&source, &output, WHOLE), 0);
}

#[test]
fn a_track_that_is_chosen_is_filled_whatever_the_mode_and_only_that_one() {
    let other = BoxPx {
        x0: 150.0,
        y0: 40.0,
        x1: 214.0,
        y1: 112.0,
    };
    let script = Script {
        faces: vec![FACE, other],
        ..Script::default()
    };
    let (mut engine, _) = engine(script, &EngineConfig::default(), settings(Mode::Blur));
    let mut first = Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, 1);
    let (id, _) = engine.analyse(&first.view(), at(0), &[]);
    let report = engine.render(id, &mut first.view_mut(), at(0)).into_report();
    let chosen = report.faces.first().expect("two faces").track;
    engine
        .set_settings(Settings {
            cover_tracks: vec![chosen],
            ..settings(Mode::Blur)
        })
        .expect("in range");
    let mut second = Picture::noise(PixelFormat::Nv12, SIZE.0, SIZE.1, 2);
    let (id, _) = engine.analyse(&second.view(), at(1), &[]);
    let report = engine.render(id, &mut second.view_mut(), at(1)).into_report();
    assert_eq!(report.faces.len(), 2);
    for face in &report.faces {
        let Outcome::Covered { reason, rung } = face.outcome else {
            panic!("{face:?}")
        };
        let expected = if face.track == chosen {
            (CoverReason::Policy, Rung::Solid)
        } else {
            (CoverReason::Asked, Rung::Blur)
        };
        assert_eq!((reason, rung), expected, "track {}", face.track);
    }
    assert_eq!(report.withheld, None, "a choice is no failure");
}
