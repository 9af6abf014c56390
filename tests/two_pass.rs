//! Two passes through the library's front doors: what the first one writes down, the second one covers; what
//! somebody edits in between is done to the frame.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use nullface::frame::{BoxPx, PixelFormat, Pts};
use nullface::pipeline::{Choice, CoverReason, EngineConfig, FilmFile, FrameReport, KeepReason, Mode, Outcome, Scout, Settings};
use nullface::tracks::{Decision, Key, Origin, Tracks};
use support::{Picture, Script, at, engine, equal_blocks};

const SIZE: (u32, u32) = (320, 180);
const LEFT: BoxPx = BoxPx {
    x0: 40.0,
    y0: 40.0,
    x1: 88.0,
    y1: 104.0,
};
const RIGHT: BoxPx = BoxPx {
    x0: 216.0,
    y0: 56.0,
    x1: 264.0,
    y1: 120.0,
};
const FRAMES: u64 = 40;
const LOOKAHEAD: usize = 8;

fn solid() -> Settings {
    Settings {
        mode: Mode::Solid,
        feather: 0.0,
        ..Settings::default()
    }
}

fn config(lookahead: usize) -> EngineConfig {
    EngineConfig {
        lookahead,
        ..EngineConfig::default()
    }
}

fn source(n: u64) -> Picture {
    Picture::noise(PixelFormat::I420, SIZE.0, SIZE.1, 7 + n as u32 % 2)
}

/// What one pass makes of the film.
fn one_pass(script: Script) -> Vec<Picture> {
    let (mut engine, _) = engine(script, &config(LOOKAHEAD), solid());
    let mut waiting = std::collections::VecDeque::new();
    let mut made = Vec::new();
    for n in 0..FRAMES + LOOKAHEAD as u64 {
        if n < FRAMES {
            waiting.push_back((engine.analyse(&source(n).view(), at(n), &[]).0, n));
        }
        if waiting.len() > LOOKAHEAD || n >= FRAMES {
            let (id, n) = waiting.pop_front().expect("held");
            let mut picture = source(n);
            let _released = engine.render(id, &mut picture.view_mut(), at(n));
            made.push(picture);
        }
    }
    made
}

/// What the first pass finds.
fn found(script: Script) -> Tracks {
    let (engine, _) = engine(script, &config(LOOKAHEAD), solid());
    let mut scout = Scout::over(engine, LOOKAHEAD);
    for n in 0..FRAMES {
        scout.look(&source(n).view(), at(n)).expect("one size");
    }
    let film = FilmFile {
        name: "a.mp4".to_owned(),
        sha256: "0".repeat(64),
        rate: "25/1".to_owned(),
    };
    scout.finish(film).expect("a track file")
}

/// What the second pass makes of the film; the detector would fail if it were asked.
fn rendered(tracks: &Tracks) -> Vec<(Picture, FrameReport)> {
    rendered_by(tracks, None)
}

/// The same with a cut list.
fn rendered_by(tracks: &Tracks, cuts: Option<&str>) -> Vec<(Picture, FrameReport)> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a.tracks.jsonl");
    std::fs::write(&path, tracks.to_text()).expect("written");
    let cut_list = cuts.map(|text| {
        let path = folder.path().join("cuts.toml");
        std::fs::write(&path, text).expect("written");
        path
    });
    let script = Script {
        fail_from: Some(0),
        ..Script::default()
    };
    let config = EngineConfig {
        tracks: Some(path),
        cut_list,
        ..config(0)
    };
    let (mut engine, _) = engine(script, &config, solid());
    let frame = |n| {
        let mut picture = source(n);
        let released = engine.process(&mut picture.view_mut(), at(n), &[]);
        (picture, released.into_report())
    };
    (0..FRAMES).map(frame).collect()
}

fn faces(faces: &[BoxPx]) -> Script {
    Script {
        faces: faces.to_vec(),
        ..Script::default()
    }
}

fn same(a: &Picture, b: &Picture) -> bool {
    a.planes == b.planes
}

/// Bytes that differ from the source in `one` and do not in `two`.
fn uncovered(n: u64, one: &Picture, two: &Picture) -> usize {
    let source = source(n);
    let planes = source.planes.iter().zip(&one.planes).zip(&two.planes);
    planes
        .map(|((s, a), b)| s.0.iter().zip(&a.0).zip(&b.0).filter(|((s, a), b)| s != a && s == b).count())
        .sum()
}

#[test]
fn two_passes_cover_all_that_one_covers() {
    for script in [
        faces(&[LEFT, RIGHT]),
        Script {
            blind_before: 12,
            ..faces(&[LEFT])
        },
    ] {
        let one = one_pass(script.clone());
        let two = rendered(&found(script));
        assert!(one.iter().zip(0..).any(|(p, n)| !same(p, &source(n))), "nothing was covered at all");
        for (n, (one, (two, report))) in (0..).zip(one.iter().zip(&two)) {
            // The fill is far darker than all noise, so what is covered differs.
            assert_eq!(uncovered(n, one, two), 0, "frame {n}");
            assert!(!report.detected && report.fault.is_none(), "{report:?}");
        }
    }
}

#[test]
fn a_face_found_late_is_covered_further_back_than_one_pass_can() {
    let script = Script {
        blind_before: 16,
        ..faces(&[LEFT])
    };
    let covered = |pictures: Vec<Picture>| (0..).zip(pictures).filter(|(n, p)| equal_blocks(&source(*n), p, LEFT) == 0).count();
    let two = rendered(&found(script.clone())).into_iter().map(|f| f.0).collect();
    let (one, two) = (covered(one_pass(script)), covered(two));
    assert!(one > 0 && two > one, "{one} and {two} frames");
}

#[test]
fn a_face_reported_too_weakly_at_first_is_covered_from_the_first_report_on() {
    let script = Script {
        blind_before: 3,
        weak_before: 28,
        ..faces(&[LEFT])
    };
    let covered = |pictures: Vec<Picture>| {
        (0..)
            .zip(pictures)
            .filter(|(n, p)| equal_blocks(&source(*n), p, LEFT) == 0)
            .map(|(n, _)| n)
            .collect()
    };
    let two: Vec<u64> = covered(rendered(&found(script.clone())).into_iter().map(|f| f.0).collect());
    let one: Vec<u64> = covered(one_pass(script));
    assert_eq!(
        two,
        (0..FRAMES).collect::<Vec<_>>(),
        "the half second before the first report included"
    );
    assert!(one.first().is_some_and(|first| *first >= 28 - 1 - LOOKAHEAD as u64), "{one:?}");
}

#[test]
fn reports_that_are_always_too_weak_cover_nothing() {
    let script = Script {
        weak_before: usize::MAX,
        ..faces(&[LEFT])
    };
    assert_eq!(found(script).tracks(), []);
}

#[test]
fn a_box_added_by_hand_is_covered_in_exactly_the_frames_asked_and_moves_between_its_keys() {
    let mut tracks = found(faces(&[]));
    let moved = |dx: f32| BoxPx {
        x0: LEFT.x0 + dx,
        x1: LEFT.x1 + dx,
        ..LEFT
    };
    let key = |n: u64, dx| Key {
        at: at(n).pts,
        box_px: moved(dx),
    };
    let id = tracks.add(vec![key(10, 0.0), key(20, 160.0)], Decision::Anonymise).expect("fits");
    for (n, (picture, report)) in (0..).zip(rendered(&tracks)) {
        let there = (10..=20).contains(&n);
        assert_eq!(same(&picture, &source(n)), !there, "frame {n}");
        assert_eq!(report.faces.len(), usize::from(there));
        if there {
            assert_eq!(report.faces[0].track, id);
            assert_eq!(equal_blocks(&source(n), &picture, moved(16.0 * (n - 10) as f32)), 0, "frame {n}");
            // More than a mask away nothing is touched.
            let away = BoxPx {
                y0: 140.0,
                y1: 180.0,
                x0: 0.0,
                x1: 320.0,
            };
            assert_eq!(equal_blocks(&source(n), &picture, away), 40 * 5);
        }
    }
}

#[test]
fn a_cut_keeps_what_was_seen_in_each_of_its_frames_and_nothing_drawn_by_hand() {
    let mut tracks = found(faces(&[LEFT, RIGHT]));
    let drawn = BoxPx {
        x0: 272.0,
        y0: 8.0,
        x1: 312.0,
        y1: 48.0,
    };
    let key = |n: u64| Key {
        at: at(n).pts,
        box_px: drawn,
    };
    tracks.add(vec![key(0), key(FRAMES - 1)], Decision::Anonymise).expect("fits");
    let list = "[[cut]]\naction = \"keep\"\nfrom = 0\nto = 1\nzone = [0.5, 0, 1, 1]\n";
    for (n, (picture, report)) in (0..).zip(rendered_by(&tracks, Some(list))) {
        let shown = |face| equal_blocks(&source(n), &picture, face) > 0;
        assert!(!shown(LEFT) && !shown(drawn), "frame {n}");
        assert_eq!(shown(RIGHT), at(n).pts.seconds() < 1.0, "frame {n}: {:?}", report.faces);
    }
}

#[test]
fn a_dropped_track_leaves_every_pixel_as_it_was() {
    let mut tracks = found(faces(&[LEFT]));
    assert_eq!(tracks.tracks().len(), 1);
    let id = tracks.tracks()[0].id;
    assert!(rendered(&tracks).iter().zip(0..).all(|((p, _), n)| !same(p, &source(n))));
    tracks.drop_track(id).expect("known");
    assert!(rendered(&tracks).iter().zip(0..).all(|((p, _), n)| same(p, &source(n))));
}

#[test]
fn who_is_kept_stays_until_that_is_withdrawn_and_the_report_says_why() {
    let mut tracks = found(faces(&[LEFT, RIGHT]));
    let left = tracks.at(at(20).pts).iter().find(|p| p.box_px.x0 < 150.0).expect("found").track;
    tracks.decide(left, Decision::Keep, "a test").expect("known");
    for (n, (picture, report)) in (0..).zip(rendered(&tracks)) {
        assert!(
            equal_blocks(&source(n), &picture, LEFT) > 20 && equal_blocks(&source(n), &picture, RIGHT) == 0,
            "frame {n}"
        );
        for face in &report.faces {
            let kept = matches!(
                face.outcome,
                Outcome::Kept {
                    why: KeepReason::TrackFile,
                    ..
                }
            );
            assert_eq!(kept, face.track == left);
            assert_eq!(face.choice, Some(if kept { Choice::TrackFile } else { Choice::Undecided }));
        }
    }
    for decision in [Decision::Anonymise, Decision::Cover] {
        tracks.decide(left, decision, "withdrawn").expect("known");
        let frames = rendered(&tracks);
        assert!(
            (0..).zip(&frames).all(|(n, (p, _))| equal_blocks(&source(n), p, LEFT) == 0),
            "{decision}"
        );
    }
}

#[test]
fn a_kept_face_is_covered_where_nobody_saw_it() {
    // Found in frame 12 at first: before that the box is a guess.
    let mut tracks = found(Script {
        blind_before: 12,
        ..faces(&[LEFT])
    });
    let track = tracks.tracks()[0].clone();
    assert!(track.spans.iter().any(|s| s.origin == Origin::Filled));
    tracks.decide(track.id, Decision::Keep, "a test").expect("known");
    let begin = track.spans.iter().find(|s| s.origin == Origin::Detected).expect("seen").from();
    for (n, (picture, _)) in (0..).zip(rendered(&tracks)) {
        let shown = equal_blocks(&source(n), &picture, LEFT) > 0;
        let guessed = tracks.at(at(n).pts).iter().any(|p| p.origin == Origin::Filled);
        assert_eq!(shown, !guessed, "frame {n}");
        assert!(!guessed || at(n).pts < begin);
    }
}

#[test]
fn frames_without_an_answer_in_the_first_pass_are_covered_whole_in_the_second() {
    let tracks = found(Script {
        fail_from: Some(20),
        ..faces(&[LEFT])
    });
    assert!(!tracks.withheld().is_empty());
    for (n, (_, report)) in (0..).zip(rendered(&tracks)) {
        let failed = tracks.withheld().iter().any(|w| w.from <= at(n).pts && at(n).pts <= w.to);
        assert_eq!(report.withheld.is_some(), failed, "frame {n}");
    }
    // The last frames were looked at with a detector that fails.
    assert!(
        rendered(&tracks)
            .last()
            .is_some_and(|f| f.1.withheld == Some(CoverReason::NotAnalysed))
    );
}

#[test]
fn a_frame_outside_the_film_or_of_another_size_is_covered_whole() {
    let tracks = found(faces(&[LEFT]));
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a.tracks.jsonl");
    std::fs::write(&path, tracks.to_text()).expect("written");
    let config = EngineConfig {
        tracks: Some(path),
        ..config(0)
    };
    let (mut engine, _) = engine(Script::default(), &config, solid());
    for (width, n) in [(SIZE.0, FRAMES + 1), (SIZE.0 + 2, 3)] {
        let mut picture = Picture::noise(PixelFormat::I420, width, SIZE.1, 3);
        let released = engine.process(&mut picture.view_mut(), at(n), &[]);
        assert!(released.report().withheld.is_some(), "{width} {n}");
    }
}

#[test]
fn a_file_read_again_is_the_same_but_for_tenths_of_a_pixel_that_it_covers_more() {
    let tracks = found(faces(&[LEFT, RIGHT]));
    let again = Tracks::parse(&tracks.to_text()).expect("its own words");
    assert_eq!(again.to_text(), tracks.to_text());
    for n in 0..FRAMES {
        let (was, is) = (tracks.at(at(n).pts), again.at(at(n).pts));
        assert_eq!(was.len(), is.len());
        assert!(was.iter().zip(&is).all(|(a, b)| a.box_px.share_inside(&b.box_px) > 0.9999));
    }
    let words = tracks.to_text();
    assert!(!["embedding", "seed", "thumb"].iter().any(|w| words.contains(w)));
}

#[test]
fn merged_and_split_tracks_are_where_they_were() {
    let mut tracks = found(faces(&[LEFT, RIGHT]));
    let places = |tracks: &Tracks, n: u64| tracks.at(at(n).pts).iter().map(|p| p.box_px).reduce(|a, b| a.hull(&b));
    let before: Vec<_> = (0..FRAMES).map(|n| places(&tracks, n)).collect();
    let (a, b) = (tracks.tracks()[0].id, tracks.tracks()[1].id);
    let late = tracks.split(a, Pts(600_000_000)).expect("inside");
    assert!(tracks.at(at(14).pts).iter().all(|p| p.track != late) && tracks.at(at(15).pts).iter().all(|p| p.track != a));
    tracks.merge(a, late).expect("known");
    tracks.merge(a, b).expect("known");
    assert_eq!(tracks.tracks().len(), 1);
    let after: Vec<_> = (0..FRAMES).map(|n| places(&tracks, n)).collect();
    let covers = |was: &Option<BoxPx>, is: &Option<BoxPx>| was.zip(*is).is_none_or(|(w, i)| w.share_inside(&i) > 0.9999);
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(was, is)| was.is_some() == is.is_some() && covers(was, is))
    );
}
