//! Who stays as they are, through the library's front door: only who is recognised with a margin on
//! many frames, only while seen, and never against the cut list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nullface::backend::{Device, ResolvedDevice};
use nullface::frame::{BoxPx, FrameView, Landmarks5, PixelFormat};
use nullface::pipeline::{Choice, Engine, EngineConfig, EngineError, Outcome, Parts, Settings, Who};
use nullface::stages::identify::{Embedding, IdentifyError, Recogniser};
use proptest::prelude::*;
use support::{BoxMesh, FakeDetector, Picture, Script, at, equal_blocks};

const ANNA: BoxPx = BoxPx {
    x0: 40.0,
    y0: 40.0,
    x1: 104.0,
    y1: 120.0,
};
const BERT: BoxPx = BoxPx {
    x0: 200.0,
    y0: 40.0,
    x1: 264.0,
    y1: 120.0,
};
const SIZE: (u32, u32) = (320, 180);

/// The middle of a face, which no cover leaves out.
fn middle(b: BoxPx) -> BoxPx {
    BoxPx {
        x0: b.x0 + b.width() / 4.0,
        y0: b.y0 + b.height() / 4.0,
        x1: b.x1 - b.width() / 4.0,
        y1: b.y1 - b.height() / 4.0,
    }
}

/// Whom the recogniser takes each side of the picture for.
#[derive(Clone, Copy)]
struct Seen {
    left: f32,
    right: f32,
}

/// Gives embeddings whose cosine to the photo is what the test says.
struct ByPlace(Arc<Mutex<Seen>>);

impl Recogniser for ByPlace {
    fn name(&self) -> &str {
        "by place"
    }
    fn same_person_cos(&self) -> f32 {
        0.45
    }
    fn embed(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        let seen = *self.0.lock().expect("seen");
        Ok(faces
            .iter()
            .map(|l| {
                let cos: f32 = match frame.width() {
                    w if w != SIZE.0 => 1.0,
                    _ if l.0[2][0] < 160.0 => seen.left,
                    _ => seen.right,
                };
                Embedding(vec![cos, (1.0 - cos * cos).max(0.0).sqrt()])
            })
            .collect())
    }
}

struct Stage {
    folder: tempfile::TempDir,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Seen>>,
}

impl Stage {
    fn new(left: f32, right: f32) -> Self {
        Self {
            folder: tempfile::tempdir().expect("folder"),
            script: Arc::new(Mutex::new(Script {
                faces: vec![ANNA],
                ..Script::default()
            })),
            seen: Arc::new(Mutex::new(Seen { left, right })),
        }
    }

    fn photo(&self) -> PathBuf {
        let path = self.folder.path().join("anna.png");
        let file = std::fs::File::create(&path).expect("file");
        let mut encoder = png::Encoder::new(file, 160, 160);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().expect("header");
        writer.write_image_data(&[90; 3 * 160 * 160]).expect("pixels");
        path
    }

    fn open(&self, who: Who, cut_list: Option<&str>, lookahead: usize) -> Result<Engine, EngineError> {
        let cut_list = cut_list.map(|text| {
            let path = self.folder.path().join("cuts.toml");
            std::fs::write(&path, text).expect("written");
            path
        });
        let parts = Parts {
            detector: Box::new(FakeDetector {
                script: Arc::clone(&self.script),
                calls: 0,
            }),
            mesh: Box::new(BoxMesh),
            recogniser: Box::new(ByPlace(Arc::clone(&self.seen))),
            device: ResolvedDevice {
                device: Device::Cpu,
                reason: "a test".to_owned(),
                strict: false,
            },
        };
        let config = EngineConfig {
            cut_list,
            lookahead,
            ..EngineConfig::default()
        };
        let settings = Settings {
            who,
            detect_interval: 1,
            ..Settings::default()
        };
        Engine::from_parts(parts, &config, settings)
    }

    fn both(&self) {
        self.script.lock().expect("script").faces = vec![ANNA, BERT];
    }
}

fn except(photo: &Path) -> Who {
    Who::Except(Arc::new([photo.to_owned()]))
}

fn only(photo: &Path) -> Who {
    Who::Only(Arc::new([photo.to_owned()]))
}

/// Runs a frame; whether the left and the right face came out as they went in.
fn kept(engine: &mut Engine, n: u64) -> (bool, bool, Vec<Outcome>) {
    let source = Picture::noise(PixelFormat::I420, SIZE.0, SIZE.1, 5);
    let mut output = source.clone();
    let released = engine.process(&mut output.view_mut(), at(n), &[]);
    let whole = |face| equal_blocks(&source, &output, middle(face)) > 0;
    let outcomes = released.report().faces.iter().map(|f| f.outcome).collect();
    (whole(ANNA), whole(BERT), outcomes)
}

#[test]
fn the_recognised_person_is_kept_after_a_while_and_the_other_never() {
    let stage = Stage::new(0.8, 0.1);
    let mut engine = stage.open(except(&stage.photo()), None, 0).expect("opens");
    stage.both();
    let frames: Vec<_> = (0..50).map(|n| kept(&mut engine, n)).collect();
    assert!(frames[..10].iter().all(|f| !f.0), "kept before there was evidence");
    assert!(frames[30..].iter().all(|f| f.0), "never kept");
    assert!(frames.iter().all(|f| !f.1), "the other face was shown");
    assert!(frames[40].2.iter().any(|o| matches!(o, Outcome::Kept { .. })));
    assert_eq!(engine.stats().kept as usize, frames.iter().filter(|f| f.0).count());
}

#[test]
fn only_the_person_on_the_photo_is_covered_and_the_stranger_shows_after_a_while() {
    let stage = Stage::new(0.8, 0.1);
    let mut engine = stage.open(only(&stage.photo()), None, 0).expect("opens");
    stage.both();
    let frames: Vec<_> = (0..50).map(|n| kept(&mut engine, n)).collect();
    assert!(frames.iter().all(|f| !f.0) && frames[..10].iter().all(|f| !f.1));
    assert!(frames[30..].iter().all(|f| f.1));
}

#[test]
fn who_is_not_certain_is_covered_for_ever() {
    for cos in [0.46, 0.3] {
        let stage = Stage::new(cos, 0.1);
        for who in [except(&stage.photo()), only(&stage.photo())] {
            let mut engine = stage.open(who.clone(), None, 0).expect("opens");
            assert!((0..80).all(|n| !kept(&mut engine, n).0), "{cos} {who}");
        }
        stage.script.lock().expect("script").faces = vec![ANNA];
    }
}

#[test]
fn a_kept_face_is_covered_from_the_frame_on_that_contradicts_and_while_it_is_not_seen() {
    let stage = Stage::new(0.8, 0.1);
    let mut engine = stage.open(except(&stage.photo()), None, 0).expect("opens");
    assert!((0..40).map(|n| kept(&mut engine, n).0).fold(false, |_, last| last));
    stage.seen.lock().expect("seen").left = 0.1;
    let after: Vec<bool> = (40..60).map(|n| kept(&mut engine, n).0).collect();
    // The next sample is at most a third of a second away.
    assert!(after[8..].iter().all(|k| !k), "{after:?}");
}

#[test]
fn two_faces_that_meet_are_covered_until_each_is_recognised_again() {
    let stage = Stage::new(0.8, 0.8);
    let mut engine = stage.open(except(&stage.photo()), None, 0).expect("opens");
    stage.both();
    assert!((0..40).map(|n| kept(&mut engine, n)).last().is_some_and(|k| k.0 && k.1));
    let beside = BoxPx {
        x0: ANNA.x0 + 40.0,
        x1: ANNA.x1 + 40.0,
        ..ANNA
    };
    stage.script.lock().expect("script").faces = vec![ANNA, BERT, beside];
    let shown: Vec<bool> = (40..48).map(|n| kept(&mut engine, n).0).collect();
    assert!(shown.iter().all(|s| !s), "{shown:?}");
}

#[test]
fn the_decision_reaches_back_over_frames_that_are_held() {
    let stage = Stage::new(0.8, 0.1);
    let mut engine = stage.open(except(&stage.photo()), None, 16).expect("opens");
    let source = Picture::noise(PixelFormat::I420, SIZE.0, SIZE.1, 5);
    let mut waiting = std::collections::VecDeque::new();
    let mut shown = Vec::new();
    for n in 0..40 {
        waiting.push_back((engine.analyse(&source.view(), at(n), &[]).0, n));
        if waiting.len() > 16 {
            let (id, n) = waiting.pop_front().expect("held");
            let mut output = source.clone();
            let _released = engine.render(id, &mut output.view_mut(), at(n));
            shown.push(equal_blocks(&source, &output, middle(ANNA)) > 0);
        }
    }
    assert!(shown.iter().skip(1).all(|s| *s), "{shown:?}");
}

#[test]
fn the_cut_list_stands_above_photos_and_covering_above_keeping() {
    let stage = Stage::new(0.8, 0.1);
    let list = "[[cut]]\naction = \"keep\"\nfrom = 0\nto = 1\nzone = [0.5, 0, 1, 1]\n[[cut]]\naction = \"cover\"\nfrom = 1.2\nto = 9\n";
    let mut engine = stage.open(except(&stage.photo()), Some(list), 0).expect("opens");
    stage.both();
    let frames: Vec<_> = (0..50).map(|n| kept(&mut engine, n)).collect();
    assert!(frames[1..25].iter().all(|f| f.1) && frames[25..].iter().all(|f| !f.1));
    assert!(frames[24..29].iter().any(|f| f.0) && frames[30..].iter().all(|f| !f.0));
}

#[test]
fn the_report_says_how_it_was_decided() {
    let stage = Stage::new(0.8, 0.1);
    let mut engine = stage.open(except(&stage.photo()), None, 0).expect("opens");
    let mut choices = Vec::new();
    for n in 0..40 {
        let mut picture = Picture::noise(PixelFormat::I420, SIZE.0, SIZE.1, 5);
        let released = engine.process(&mut picture.view_mut(), at(n), &[]);
        choices.extend(released.report().faces.iter().map(|f| f.choice));
    }
    assert_eq!((choices[0], choices[39]), (Some(Choice::Undecided), Some(Choice::Photo)));
}

#[test]
fn a_photo_with_no_face_or_several_is_refused_with_the_remedy() {
    let stage = Stage::new(0.8, 0.1);
    for (faces, words) in [(vec![], "no face was found"), (vec![ANNA, BERT], "2 faces were found")] {
        stage.script.lock().expect("script").faces = faces;
        let error = stage.open(except(&stage.photo()), None, 0).err().expect("refused").to_string();
        assert!(
            error.contains("anna.png") && error.contains(words) && error.contains("crop it"),
            "{error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn without_photos_and_cuts_nothing_is_ever_kept(left in -1.0_f32..1.0, right in -1.0_f32..1.0, frames in 1_u64..20) {
        let stage = Stage::new(left, right);
        let mut engine = stage.open(Who::All, None, 0).expect("opens");
        stage.both();
        for n in 0..frames {
            let (anna, bert, outcomes) = kept(&mut engine, n);
            prop_assert!(!anna && !bert);
            let kept = outcomes.iter().filter(|o| matches!(o, Outcome::Kept { .. })).count();
            prop_assert_eq!(kept, 0);
        }
    }
}
