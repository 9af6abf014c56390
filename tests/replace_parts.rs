//! A film in parts, made by engines that know nothing of each other but what was handed over: people stay who they
//! became, and nothing of their faces is in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod replace_support;
mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use nullface::frame::{FrameView, Landmarks5, Mesh};
use nullface::pipeline::{
    CoverReason, Engine, EngineConfig, EngineError, Generator, Handover, HandoverError, Mode, Outcome, Parts, Settings,
};
use nullface::secret::SessionSecret;
use nullface::stages::identify::{Embedding, IdentifyError, Recogniser};
use nullface::stages::prior::Basis;
use replace_support::{Answer, Blocks, Fake, MeanFace, SIZE, basis, darker, mesh, schedule, source};
use serde_json::Value;
use support::{FakeDetector, Picture, Script, at};

const SEED: u64 = 7;
const MODES: [Mode; 4] = [Mode::Nullface, Mode::Reverse, Mode::Id2face, Mode::Ksame];
/// Frames of each part.
const PART: u64 = 10;
/// No end to it.
const NEVER: u32 = u32::MAX;

static BASIS: LazyLock<Basis> = LazyLock::new(basis);
static MESH: LazyLock<Mesh> = LazyLock::new(mesh);

/// Takes finished faces for their source, as often as it is told to.
struct Picky {
    blocks: Blocks,
    source: Option<Embedding>,
    fails: Arc<AtomicU32>,
}

impl Recogniser for Picky {
    fn name(&self) -> &str {
        "picky"
    }
    fn same_person_cos(&self) -> f32 {
        self.blocks.same_person_cos()
    }
    fn embed(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        let seen = self.blocks.embed(frame, faces)?;
        if (frame.width(), frame.height()) == SIZE {
            self.source = seen.first().cloned();
            return Ok(seen);
        }
        let fewer = |n: u32| if n == NEVER { Some(NEVER) } else { n.checked_sub(1) };
        match self.fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer) {
            Ok(_) => Ok(seen.iter().filter_map(|_| self.source.clone()).collect()),
            Err(_) => Ok(seen),
        }
    }
}

struct Part {
    engine: Engine,
    fails: Arc<AtomicU32>,
}

fn open(mode: Mode, seed: u64, handover: Option<&str>) -> Result<Part, EngineError> {
    let fails = Arc::new(AtomicU32::new(0));
    let script = Script {
        faces: vec![MESH.bounding_box_px().expect("points")],
        ..Script::default()
    };
    let parts = Parts {
        detector: Box::new(FakeDetector {
            script: Arc::new(std::sync::Mutex::new(script)),
            calls: 0,
        }),
        mesh: Box::new(MeanFace(MESH.clone())),
        recogniser: Box::new(Picky {
            blocks: Blocks,
            source: None,
            fails: Arc::clone(&fails),
        }),
        device: replace_support::device(),
    };
    let config = EngineConfig {
        handover: handover.map(str::to_owned),
        ..EngineConfig::default()
    };
    let settings = Settings {
        mode,
        ..Settings::default()
    };
    let engine = Engine::from_parts(parts, &config, settings)?;
    let mut generator = Generator::new(BASIS.clone(), SessionSecret::from_seed(seed));
    if mode != Mode::Ksame {
        generator = generator.with_denoiser(Box::new(Fake(darker as Answer)), schedule(), 4);
    }
    let engine = engine.with_generator(generator)?;
    Ok(Part { engine, fails })
}

impl Part {
    /// Shows frames.
    fn show(&mut self, frames: std::ops::Range<u64>) -> Vec<(Picture, Outcome)> {
        let one = |n| {
            let mut picture = source();
            let report = self.engine.process(&mut picture.view_mut(), at(n), &[]).into_report();
            (picture, report.faces[0].outcome)
        };
        frames.map(one).collect()
    }

    fn rehearse(&mut self, frames: std::ops::Range<u64>) {
        for n in frames {
            self.engine.rehearse(&mut source().view_mut(), at(n));
        }
    }

    /// So many finished faces are taken for their source from now on.
    fn fail(&self, times: u32) {
        self.fails.store(times, Ordering::SeqCst);
    }

    fn handover(&self) -> String {
        self.engine.handover().expect("words").expect("a mode that replaces")
    }
}

fn decisions(text: &str) -> Value {
    serde_json::from_str(text.lines().next().expect("a line")).expect("JSON")
}

#[test]
fn a_person_stays_who_it_became_after_redraws_and_would_be_somebody_else_without_the_hand_over() {
    for mode in MODES {
        let mut first = open(mode, SEED, None).expect("opens");
        first.show(0..2);
        // Shown, and then worn out: somebody else is drawn.
        first.fail(60);
        let shown = first.show(2..PART);
        let attempt = decisions(&first.handover())["people"][0]["attempt"].as_u64();
        assert!(attempt.is_some_and(|n| n > 0), "{mode}: {attempt:?}");
        let (last, outcome) = shown.last().expect("frames");
        assert!(matches!(outcome, Outcome::Replaced { .. }), "{mode}: {outcome:?}");

        let handed = first.handover();
        let mut second = open(mode, SEED, Some(&handed)).expect("opens");
        second.rehearse(PART / 2..PART);
        let goes_on = second.show(PART..PART + 3);
        assert!(goes_on.iter().all(|(p, _)| p.planes == last.planes), "{mode}: another face");
        assert_eq!(second.handover(), handed, "{mode}: nothing was decided anew");
        let stats = second.engine.stats();
        assert_eq!(
            (stats.frames, stats.faces, stats.replaced),
            (3, 3, 3),
            "{mode}: a rehearsal is not counted"
        );

        let mut alone = open(mode, SEED, None).expect("opens");
        assert!(alone.show(PART..PART + 1)[0].0.planes != last.planes, "{mode}");
    }
}

#[test]
fn who_cannot_be_replaced_stays_covered_in_the_next_part() {
    let mut first = open(Mode::Ksame, SEED, None).expect("opens");
    first.fail(NEVER);
    let covered = |(_, outcome): &(Picture, Outcome)| {
        matches!(
            outcome,
            Outcome::Covered {
                reason: CoverReason::TooNear,
                ..
            }
        )
    };
    assert!(first.show(0..PART).iter().all(covered));
    let mut second = open(Mode::Ksame, SEED, Some(&first.handover())).expect("opens");
    second.rehearse(0..PART);
    assert!(
        second.show(PART..PART + 3).iter().all(covered),
        "it could be replaced now, and is not tried"
    );
    let mut alone = open(Mode::Ksame, SEED, None).expect("opens");
    assert!(!alone.show(PART..PART + 1).iter().any(covered));
}

#[test]
fn what_fails_in_a_rehearsal_is_reckoned_with_once() {
    let mut first = open(Mode::Ksame, SEED, None).expect("opens");
    let (last, _) = first.show(0..PART).pop().expect("frames");
    let handed = first.handover();
    let mut second = open(Mode::Ksame, SEED, Some(&handed)).expect("opens");
    second.fail(NEVER);
    second.rehearse(0..PART);
    second.fail(0);
    assert_ne!(
        decisions(&second.handover()),
        decisions(&handed),
        "the rehearsal came to other decisions"
    );
    let (next, outcome) = second.show(PART..PART + 1).remove(0);
    assert!(matches!(outcome, Outcome::Replaced { .. }), "{outcome:?}");
    assert_eq!((next.planes == last.planes, second.handover()), (true, handed));
}

#[test]
fn a_hand_over_of_another_seed_a_changed_one_and_other_texts_are_refused() {
    let mut first = open(Mode::Ksame, SEED, None).expect("opens");
    first.show(0..2);
    let handed = first.handover();
    let refused = |seed, text: &str| match open(Mode::Ksame, seed, Some(text)).map(|_| ()) {
        Err(EngineError::Handover(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(SEED + 1, &handed), HandoverError::Seal);
    assert_eq!(
        refused(SEED, &handed.replace("\"strikes\":0", "\"strikes\":1")),
        HandoverError::Seal
    );
    for text in ["", "{}", "{}\n", "{\"handover\":9,\"people\":[]}\nab\n", &handed.replace('\n', "")] {
        assert!(matches!(refused(SEED, text), HandoverError::Form { .. }), "{text}");
    }
    let read = Handover::parse(&handed).expect("its own words");
    assert_eq!(read.people(), 1);
    assert!(read.is_sealed_by(&SessionSecret::from_seed(SEED)) && !read.is_sealed_by(&SessionSecret::from_seed(8)));
}

#[test]
fn nothing_of_a_face_is_handed_over() {
    let mut first = open(Mode::Nullface, SEED, None).expect("opens");
    first.show(0..PART);
    let all = decisions(&first.handover());
    let person = all["people"][0].as_object().expect("a person");
    let words: Vec<&str> = person.keys().map(String::as_str).collect();
    assert_eq!(words, ["attempt", "mixture", "person", "trust"]);
    // An embedding or a shape is a list of numbers; the longest list is that of who is mixed.
    let mixture = person["mixture"].as_array().expect("a list");
    assert!(!mixture.is_empty() && mixture.len() <= 2, "{mixture:?}");
    let numbers = person["trust"].as_object().expect("an object").values().filter(|v| v.is_array());
    assert_eq!(numbers.count(), 0);
}
