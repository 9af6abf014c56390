//! The modes that replace, rendered from a track file: the faces that the first pass wrote down become somebody
//! else, always the same, and what nobody saw is covered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod replace_support;
mod support;

use nullface::frame::{BoxPx, Pts};
use nullface::pipeline::{CoverReason, FilmFile, FrameReport, Mode, Outcome, Scout};
use nullface::tracks::{Decision, Key, Origin, Tracks};
use replace_support::{Answer, Blocks, FAR, Fake, MeanFace, darker, engine_from, inner, mesh, source};
use support::{Picture, at, equal_blocks};

const FRAMES: u64 = 3;
const MODES: [Mode; 4] = [Mode::Nullface, Mode::Reverse, Mode::Id2face, Mode::Ksame];

/// What a first pass finds in frames that all show the same.
fn found() -> Tracks {
    let engine = engine_from(
        Box::new(Blocks),
        Box::new(MeanFace(mesh())),
        vec![mesh()],
        None,
        (Mode::Solid, 1, None),
    );
    let mut scout = Scout::over(engine, 0);
    for n in 0..FRAMES {
        assert!(scout.look(&source().view(), at(n)).expect("one size").is_none());
    }
    let film = FilmFile {
        name: "a test".to_owned(),
        sha256: "0".repeat(64),
        rate: "25/1".to_owned(),
    };
    scout.finish(film).expect("a track file")
}

/// What a second pass makes of them. There is no detector: the faces given are none.
fn rendered(tracks: &Tracks, mode: Mode, seed: u64, frames: u64) -> Vec<(Picture, FrameReport)> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a.tracks.jsonl");
    std::fs::write(&path, tracks.to_text()).expect("written");
    let model = (mode != Mode::Ksame).then(|| Box::new(Fake(darker as Answer)) as _);
    let fitter = Box::new(MeanFace(mesh()));
    let mut engine = engine_from(Box::new(Blocks), fitter, Vec::new(), model, (mode, seed, Some(path)));
    let frame = |n| {
        let mut picture = source();
        let report = engine.process(&mut picture.view_mut(), at(n), &[]).into_report();
        (picture, report)
    };
    (0..frames).map(frame).collect()
}

#[test]
fn every_mode_that_replaces_gives_another_face_in_every_frame_and_one_person_one_face() {
    let tracks = found();
    assert_eq!(tracks.tracks().len(), 1);
    for mode in MODES {
        let frames = rendered(&tracks, mode, 1, FRAMES);
        for (picture, report) in &frames {
            assert_eq!((report.withheld, report.faces.len()), (None, 1), "{mode}: {:?}", report.fault);
            let face = &report.faces[0];
            assert!(
                matches!(face.outcome, Outcome::Replaced { cos, .. } if cos < 0.6),
                "{mode}: {:?}",
                face.outcome
            );
            assert_eq!(face.track, tracks.tracks()[0].id);
            assert_eq!(equal_blocks(&source(), picture, inner()), 0, "{mode}");
            assert_eq!(equal_blocks(&source(), picture, FAR), 36, "{mode}: far away nothing changes");
        }
        assert!(
            frames.windows(2).all(|f| f[0].0.planes == f[1].0.planes),
            "{mode}: still input moves"
        );
        let again = rendered(&tracks, mode, 1, 1);
        assert!(
            frames.iter().zip(&again).all(|(a, b)| a.0.planes == b.0.planes),
            "{mode}: one seed, two faces"
        );
        let other = rendered(&tracks, mode, 2, 1);
        assert!(frames[0].0.planes != other[0].0.planes, "{mode}: two seeds, one face");
    }
}

#[test]
fn what_nobody_saw_is_covered_what_is_covered_by_hand_is_filled_and_who_is_kept_stays() {
    let seen = found();
    let text = seen.to_text();
    let unseen = Tracks::parse(&text.replace("\"origin\":\"detected\"", "\"origin\":\"filled\"")).expect("its own words");
    assert!(unseen.tracks()[0].spans.iter().all(|s| s.origin == Origin::Filled));
    let decided = |decision| {
        let mut tracks = seen.clone();
        tracks.decide(seen.tracks()[0].id, decision, "a test").expect("known");
        tracks
    };
    for mode in MODES {
        for (tracks, reason) in [(&unseen, CoverReason::Held), (&decided(Decision::Cover), CoverReason::Policy)] {
            for (picture, report) in rendered(tracks, mode, 1, 1) {
                let outcome = report.faces[0].outcome;
                assert!(
                    matches!(outcome, Outcome::Covered { reason: why, .. } if why == reason),
                    "{mode}: {outcome:?}"
                );
                assert_eq!(equal_blocks(&source(), &picture, inner()), 0, "{mode}");
            }
        }
        let kept = rendered(&decided(Decision::Keep), mode, 1, 2);
        assert!(kept.iter().all(|(p, _)| p.planes == source().planes), "{mode}");
    }
}

#[test]
fn a_face_drawn_by_hand_is_replaced_where_there_is_one_and_covered_where_there_is_none() {
    let mut tracks = found();
    let id = tracks.tracks()[0].id;
    tracks.drop_track(id).expect("known");
    let face = mesh().bounding_box_px().expect("points");
    let aside = BoxPx {
        x0: 260.0,
        y0: 180.0,
        x1: 310.0,
        y1: 236.0,
    };
    let mut drawn = |box_px| {
        let keys = [at(0).pts, Pts(at(FRAMES - 1).pts.0)].map(|at| Key { at, box_px }).to_vec();
        tracks.add(keys, Decision::Anonymise).expect("fits")
    };
    let (on, off) = (drawn(face), drawn(aside));
    for (picture, report) in rendered(&tracks, Mode::Nullface, 1, 2) {
        let outcome = |id| report.faces.iter().find(|f| f.track == id).expect("both").outcome;
        assert!(matches!(outcome(on), Outcome::Replaced { .. }), "{:?}", outcome(on));
        assert!(matches!(outcome(off), Outcome::Covered { .. }), "{:?}", outcome(off));
        assert_eq!(equal_blocks(&source(), &picture, inner()), 0);
        assert_eq!(equal_blocks(&source(), &picture, aside), 0);
    }
}
