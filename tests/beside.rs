//! A look that goes on beside the rendering of its frame: what it finds is covered before the frame leaves, and
//! whatever goes wrong with it withholds the frame.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod replace_support;
mod support;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nullface::frame::{FrameView, Mesh};
use nullface::pipeline::{Budget, CoverReason, Engine, EngineConfig, FrameReport, Mode, Outcome, Settings};
use nullface::stages::align::{AlignError, FaceHint, MeshFitter};
use nullface::stages::detect::Part;
use replace_support::watched::{Looks, NEWCOMER, Shared, watched, watched_at, watched_with};
use replace_support::{MeanFace, inner, mesh, source};
use support::{Picture, at, equal_blocks};

fn engine() -> (Engine, Shared<Looks>, Shared<Vec<bool>>) {
    watched(&EngineConfig::default())
}

#[test]
fn a_newcomer_that_the_look_finds_is_covered_in_the_very_frame_and_the_other_face_replaced() {
    let (mut engine, looks, where_) = engine();
    for n in 0..6 {
        let second = n == 5;
        if second {
            *looks.lock().expect("a script") = Looks::TwoFaces;
        }
        let mut output = source();
        let report = engine.process(&mut output.view_mut(), at(n), &[]).into_report();
        assert_eq!(
            (report.withheld, report.faces.len(), report.detected),
            (None, 1 + usize::from(second), true)
        );
        assert!(matches!(report.faces[0].outcome, Outcome::Replaced { .. }), "{:?}", report.faces);
        assert_eq!(equal_blocks(&source(), &output, inner()), 0);
        let untouched = equal_blocks(&source(), &output, NEWCOMER);
        assert_eq!(untouched, if second { 0 } else { 49 }, "frame {n}");
        if second {
            let asked = |o| {
                matches!(
                    o,
                    Outcome::Covered {
                        reason: CoverReason::Asked,
                        ..
                    }
                )
            };
            assert!(asked(report.faces[1].outcome), "{:?}", report.faces);
        }
    }
    assert_eq!(engine.stats().tracks, 2);
    let where_ = where_.lock().expect("a list").clone();
    assert!(where_[0], "the first look has nothing to go on beside");
    let two_cores = std::thread::available_parallelism().expect("cores").get() > 1;
    assert!(where_[1..].iter().all(|home| *home != two_cores), "{where_:?}");
}

#[test]
fn a_look_that_fails_or_panics_withholds_its_frame_and_no_other() {
    let (mut engine, looks, _) = engine();
    for (n, now) in [
        Looks::OneFace,
        Looks::OneFace,
        Looks::Fail,
        Looks::OneFace,
        Looks::Panic,
        Looks::OneFace,
    ]
    .into_iter()
    .enumerate()
    {
        *looks.lock().expect("a script") = now;
        let mut output = source();
        let report = engine.process(&mut output.view_mut(), at(n as u64), &[]).into_report();
        let failed = now != Looks::OneFace;
        assert_eq!(report.withheld, failed.then_some(CoverReason::DetectorFailed), "frame {n}");
        assert_eq!(report.fault.is_some(), failed, "{:?}", report.fault);
        if failed {
            assert_eq!(equal_blocks(&source(), &output, NEWCOMER), 0, "the whole frame is covered");
            assert!(report.faces.iter().all(|f| matches!(f.outcome, Outcome::FrameWithheld { .. })));
        }
    }
}

#[test]
fn a_frame_that_is_never_rendered_takes_nothing_with_it() {
    let (mut engine, looks, _) = engine();
    for n in 0..3 {
        let mut output = source();
        let report = engine.process(&mut output.view_mut(), at(n), &[]).into_report();
        assert_eq!((report.withheld, report.faces.len()), (None, 1));
    }
    *looks.lock().expect("a script") = Looks::TwoFaces;
    let (lost, fault) = engine.analyse(&source().view(), at(3), &[]);
    assert!(fault.is_none());
    let mut output = source();
    let report = engine.process(&mut output.view_mut(), at(4), &[]).into_report();
    assert_eq!(
        (report.withheld, report.faces.len()),
        (None, 2),
        "what the lost frame's look found is known"
    );
    let mut late = source();
    let report = engine.render(lost, &mut late.view_mut(), at(3)).into_report();
    assert_eq!(report.withheld, Some(CoverReason::NotAnalysed));
}

/// An engine after some frames whose looks go over parts, where there are cores for that.
fn in_parts() -> Option<(Engine, Shared<Looks>, Shared<Vec<Part>>)> {
    let (mut engine, looks, _, parts) = watched_at(&EngineConfig::default(), 0);
    for n in 0..5 {
        let mut output = source();
        let report = engine.process(&mut output.view_mut(), at(n), &[]).into_report();
        assert_eq!((report.withheld, report.faces.len()), (None, 1));
        assert!(matches!(report.faces[0].outcome, Outcome::Replaced { .. }), "{:?}", report.faces);
    }
    let two_cores = std::thread::available_parallelism().expect("cores").get() > 1;
    assert_eq!(!parts.lock().expect("a list").is_empty(), two_cores);
    two_cores.then_some((engine, looks, parts))
}

#[test]
fn in_parts_a_small_newcomer_is_covered_after_as_many_frames_as_there_are_parts_and_known_faces_stay() {
    let Some((mut engine, looks, parts)) = in_parts() else { return };
    *looks.lock().expect("a script") = Looks::TwoFaces;
    let before = parts.lock().expect("a list").len();
    let mut bare = Vec::new();
    for n in 5..13 {
        let mut output = source();
        let report = engine.process(&mut output.view_mut(), at(n), &[]).into_report();
        assert_eq!(report.withheld, None);
        assert!(matches!(report.faces[0].outcome, Outcome::Replaced { .. }), "{:?}", report.faces);
        bare.push(equal_blocks(&source(), &output, NEWCOMER) > 0);
    }
    assert!(bare[1..].iter().all(|b| !b), "{bare:?}");
    let looked = parts.lock().expect("a list")[before..].to_vec();
    assert!(looked.windows(2).any(|w| w[0].index != w[1].index), "{looked:?}");
    assert_eq!(engine.stats().tracks, 2);
}

#[test]
fn a_face_that_a_parts_edge_cuts_has_a_whole_look_and_is_covered_in_the_very_frame() {
    let Some((mut engine, looks, _)) = in_parts() else { return };
    *looks.lock().expect("a script") = Looks::CutFace;
    let mut output = source();
    let report = engine.process(&mut output.view_mut(), at(5), &[]).into_report();
    assert_eq!((report.withheld, report.faces.len()), (None, 2), "{:?}", report.faces);
    assert_eq!(equal_blocks(&source(), &output, NEWCOMER), 0);
}

/// A frame of a stream that comes at a pace.
fn paced(engine: &mut Engine, picture: &Picture, n: u64) -> (FrameReport, Picture) {
    let mut output = picture.clone();
    let (id, fault) = engine.analyse(&output.view(), at(n), &[]);
    assert!(fault.is_none(), "{fault:?}");
    let budget = Budget {
        pace: Some(Duration::from_millis(40)),
        ..Budget::default()
    };
    (
        engine.render_within(id, &mut output.view_mut(), at(n), budget).into_report(),
        output,
    )
}

fn covers() -> Settings {
    Settings {
        mode: Mode::Solid,
        ..Settings::default()
    }
}

fn has_two_cores() -> bool {
    std::thread::available_parallelism().expect("cores").get() > 1
}

#[test]
fn at_a_pace_covers_and_empty_frames_are_looked_at_beside_as_well_and_a_newcomer_is_covered() {
    let (mut engine, looks, where_, parts) = watched_with(&EngineConfig::default(), covers(), Box::new(MeanFace(mesh())), || ());
    let picture = source();
    let is_covered = |output: &Picture| equal_blocks(&picture, output, NEWCOMER) == 0;
    *looks.lock().expect("a script") = Looks::NoFace;
    for n in 0..6 {
        let (report, output) = paced(&mut engine, &picture, n);
        assert_eq!(
            (report.withheld, report.faces.len(), is_covered(&output)),
            (None, 0, false),
            "frame {n}"
        );
    }
    *looks.lock().expect("a script") = Looks::TwoFaces;
    let covered: Vec<bool> = (6..14).map(|n| is_covered(&paced(&mut engine, &picture, n).1)).collect();
    assert!(covered[1..].iter().all(|c| *c), "{covered:?}");
    let where_ = where_.lock().expect("a list").clone();
    // The first frame is looked at at once, before it is known at which pace frames come.
    let away = where_.iter().filter(|home| !**home).count();
    assert_eq!(parts.lock().expect("a list").is_empty(), !has_two_cores());
    assert!(!has_two_cores() || away + 3 >= where_.len(), "{where_:?}");
}

#[test]
fn without_a_pace_covers_are_looked_at_before_they_are_drawn() {
    let (mut engine, _, where_, parts) = watched_with(&EngineConfig::default(), covers(), Box::new(MeanFace(mesh())), || ());
    for n in 0..6 {
        let mut output = source();
        let report = engine.process(&mut output.view_mut(), at(n), &[]).into_report();
        assert_eq!((report.withheld, report.faces.len()), (None, 1), "frame {n}");
    }
    assert!(where_.lock().expect("a list").iter().all(|home| *home));
    assert!(parts.lock().expect("a list").is_empty());
}

/// Meshes that are not fitted before a look has begun, or fail after a long wait for one.
struct AfterLook(Receiver<()>, MeanFace);

impl MeshFitter for AfterLook {
    fn fit(&mut self, frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        self.0.recv_timeout(Duration::from_secs(60)).expect("no look began");
        self.1.fit(frame, hints)
    }
}

#[test]
fn at_a_pace_the_look_begins_before_meshes_are_fitted() {
    let (begun, begins) = channel();
    let meshes: Box<dyn MeshFitter> = if has_two_cores() {
        Box::new(AfterLook(begins, MeanFace(mesh())))
    } else {
        Box::new(MeanFace(mesh()))
    };
    let (mut engine, _, where_, _) = watched_with(&EngineConfig::default(), covers(), meshes, move || {
        let _ = begun.send(());
    });
    let picture = source();
    for n in 0..8 {
        let (report, _) = paced(&mut engine, &picture, n);
        assert_eq!((report.withheld, report.faces.len()), (None, 1), "frame {n}");
    }
    // With one core there is nobody to look beside.
    assert!(has_two_cores() || where_.lock().expect("a list").iter().all(|home| *home));
}

#[test]
fn at_a_pace_who_is_left_as_they_are_is_covered_in_the_very_frame_whose_look_shows_another_face_over_theirs() {
    let (mut engine, looks, where_, _) = watched_with(&EngineConfig::default(), covers(), Box::new(MeanFace(mesh())), || ());
    let picture = source();
    let track = (0..40)
        .map(|n| paced(&mut engine, &picture, n).0.faces[0].track)
        .last()
        .expect("frames");
    let keeping = Settings {
        keep_tracks: vec![track],
        ..covers()
    };
    engine.set_settings(keeping).expect("in range");
    let is_kept = |report: &FrameReport| report.faces.iter().any(|f| matches!(f.outcome, Outcome::Kept { .. }));
    let last = (40..90).map(|n| paced(&mut engine, &picture, n).0).last().expect("frames");
    assert!(is_kept(&last), "{:?}", last.faces);
    *looks.lock().expect("a script") = Looks::Crossing;
    let mut crossed = 0;
    for n in 90..102 {
        let (report, output) = paced(&mut engine, &picture, n);
        // Before its part is looked at nobody knows of the other face.
        if report.faces.len() > 1 || crossed > 0 {
            crossed += 1;
            assert!(!is_kept(&report), "{:?}", report.faces);
            assert!(report.faces.iter().filter(|f| f.track == track).count() <= 1, "{:?}", report.faces);
            assert_eq!(equal_blocks(&picture, &output, inner()), 0, "frame {n}");
        }
    }
    assert!(crossed >= 4, "seen in {crossed} of 12 frames");
    assert!(!has_two_cores() || where_.lock().expect("a list").iter().filter(|home| **home).count() <= 3);
}
