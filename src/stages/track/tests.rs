//! Claims about the tracker, one stream each.

use std::time::Duration;

use super::sim::{H, W};
use super::*;
use crate::frame::{BoxPx, Landmarks5, Pts};

pub(super) fn ms(n: u64) -> Pts {
    Pts(n * 1_000_000)
}

pub(super) fn tracker() -> Tracker {
    Tracker::new(TrackerConfig::default()).expect("defaults are in range")
}

pub(super) fn seen(x: f32, y: f32, score: f32) -> Observation {
    Observation::detected(BoxPx::around([x, y], 40.0, 50.0), score)
}

pub(super) fn contains(outer: &BoxPx, inner: &BoxPx) -> bool {
    outer.x0 <= inner.x0 && outer.y0 <= inner.y0 && outer.x1 >= inner.x1 && outer.y1 >= inner.y1
}

pub(super) fn covered(t: &Tracker, b: &BoxPx) -> bool {
    t.tracks().iter().any(|k| contains(&k.region_px, b))
}

#[test]
fn a_face_is_covered_from_the_frame_in_which_it_is_first_seen() {
    let mut t = tracker();
    let up = t.detections(ms(0), W, H, &[seen(100.0, 100.0, 0.51)]);
    assert_eq!(up.started.len(), 1);
    assert_eq!(t.tracks()[0].state, TrackState::Tentative);
    assert!(covered(&t, &seen(100.0, 100.0, 0.5).box_px));
}

#[test]
fn a_weak_box_extends_a_track_and_alone_is_a_suspect() {
    let mut t = tracker();
    t.detections(ms(0), W, H, &[seen(100.0, 100.0, 0.9)]);
    let up = t.detections(
        ms(40),
        W,
        H,
        &[seen(103.0, 100.0, 0.3), seen(400.0, 200.0, 0.3), seen(300.0, 60.0, 0.1)],
    );
    assert!(up.started.is_empty() && up.lost.is_empty());
    assert_eq!(up.matched, [t.tracks()[0].id]);
    assert_eq!(up.suspects, [seen(400.0, 200.0, 0.3).box_px]);
    assert!(covered(&t, &seen(103.0, 100.0, 0.3).box_px));
}

#[test]
fn a_lost_face_is_held_growing_and_ends_after_the_hold() {
    let mut t = tracker();
    for i in 0..10 {
        t.detections(ms(40 * i), W, H, &[seen(100.0 + 4.0 * i as f32, 100.0, 0.9)]);
    }
    let last = seen(136.0, 100.0, 0.9).box_px;
    let mut before = t.tracks()[0].region_px;
    for i in 10..35 {
        let up = t.detections(ms(40 * i), W, H, &[]);
        assert_eq!(up.lost.len(), usize::from(i == 10));
        let [held] = t.tracks() else {
            panic!("expected one held track at {i}")
        };
        assert_eq!(held.state, TrackState::Held);
        assert!(contains(&held.region_px, &last), "the place last seen stays covered");
        assert!(i == 10 || contains(&held.region_px, &before));
        before = held.region_px;
    }
    assert!(before.width() < 5.0 * last.width(), "growth is bounded: {before:?}");
    let up = t.detections(ms(40 * 35), W, H, &[]);
    assert_eq!(up.ended.len(), 1);
    assert!(t.tracks().is_empty());
}

#[test]
fn a_face_that_comes_back_within_the_hold_keeps_its_id() {
    let mut t = tracker();
    let id = t.detections(ms(0), W, H, &[seen(100.0, 100.0, 0.9)]).started[0];
    for i in 1..20 {
        t.detections(ms(40 * i), W, H, &[]);
    }
    let up = t.detections(ms(800), W, H, &[seen(140.0, 110.0, 0.9)]);
    assert_eq!((up.matched.as_slice(), up.started.len()), ([id].as_slice(), 0));
    assert_eq!(t.tracks()[0].state, TrackState::Confirmed);
    assert!(t.tracks()[0].region_px.width() < 70.0, "the region falls back to the face");
}

#[test]
fn nothing_ends_unless_the_detector_looked() {
    let mut t = tracker();
    t.detections(ms(0), W, H, &[seen(100.0, 100.0, 0.9)]);
    for at in [40, 1_000, 100_000, 3_600_000] {
        assert_eq!(t.predict(ms(at)).len(), 1);
        assert!(covered(&t, &seen(100.0, 100.0, 0.9).box_px));
    }
    assert_eq!(t.needs_detection(ms(3_600_000)), Some(Why::Gap));
    assert_eq!(t.detections(ms(3_600_000), W, H, &[]).ended.len(), 1);
}

#[test]
fn a_face_that_walks_out_of_the_frame_ends_at_once() {
    let mut t = tracker();
    for i in 0..12 {
        t.detections(ms(40 * i), W, H, &[seen(560.0 + 9.0 * i as f32, 100.0, 0.9)]);
    }
    let mut i = 12;
    while !t.tracks().is_empty() {
        t.detections(ms(40 * i), W, H, &[]);
        i += 1;
        assert!(i < 20, "ends before the hold of 25 frames");
    }
}

#[test]
fn a_face_that_enters_over_the_border_is_covered_with_what_shows() {
    let mut t = tracker();
    for i in 0..10 {
        let o = seen(-12.0 + 6.0 * i as f32, 100.0, 0.9);
        t.detections(ms(40 * i), W, H, std::slice::from_ref(&o));
        assert!(covered(&t, &o.box_px));
        assert_eq!(t.tracks().len(), 1);
    }
}

#[test]
fn time_that_stands_or_runs_back_neither_panics_nor_uncovers() {
    let mut t = tracker();
    for i in 0..5 {
        t.detections(ms(5_000 + 40 * i), W, H, &[seen(100.0 + 4.0 * i as f32, 100.0, 0.9)]);
    }
    let last = seen(116.0, 100.0, 0.9).box_px;
    for at in [5_160, 5_160, 5_120, 0, 0, 900] {
        t.detections(ms(at), W, H, &[]);
        assert!(covered(&t, &last), "at {at} ms");
    }
    let id = t.tracks()[0].id;
    let up = t.detections(ms(940), W, H, &[seen(116.0, 100.0, 0.9)]);
    assert_eq!(up.matched, [id]);
}

#[test]
fn what_cannot_be_a_face_is_rejected_with_its_reason() {
    let mut t = tracker();
    let b = |x0, y0, x1, y1| Observation::detected(BoxPx { x0, y0, x1, y1 }, 0.9);
    let list = [
        b(f32::NAN, 0.0, 10.0, 10.0),
        b(0.0, 0.0, f32::INFINITY, 10.0),
        b(5.0, 5.0, 5.0, 10.0),
        b(10.0, 10.0, 5.0, 5.0),
        b(-50.0, 0.0, -10.0, 20.0),
        b(-1e30, -1e30, 1e30, 1e30),
        Observation {
            score: f32::NAN,
            ..seen(100.0, 100.0, 0.9)
        },
        seen(200.0, 100.0, 0.9),
    ];
    let up = t.detections(ms(0), W, H, &list);
    let reasons: Vec<_> = up.rejected.iter().map(|r| r.reason).collect();
    use RejectReason::{BadScore, Empty, NotFinite, Outside, TooFar};
    assert_eq!(reasons, [NotFinite, NotFinite, Empty, Empty, Outside, TooFar, BadScore]);
    assert_eq!(up.started.len(), 1);
    let up = t.detections(ms(40), 0, 0, &[seen(200.0, 100.0, 0.9)]);
    assert_eq!(
        up.rejected,
        [Rejected {
            index: 0,
            reason: RejectReason::EmptyFrame
        }]
    );
}

#[test]
fn more_faces_than_tracks_are_handed_back_to_be_covered() {
    let mut t = Tracker::new(TrackerConfig {
        max_tracks: 64,
        ..TrackerConfig::default()
    })
    .expect("in range");
    let list: Vec<_> = (0..80u16)
        .map(|i| seen(f32::from(i % 10) * 60.0 + 30.0, f32::from(i / 10) * 70.0 + 30.0, 0.9))
        .collect();
    let up = t.detections(ms(0), 640, 640, &list);
    assert_eq!((t.tracks().len(), up.overflow.len()), (64, 16));
    assert!(list.iter().all(|o| covered(&t, &o.box_px) || up.overflow.contains(&o.box_px)));
    assert_eq!(t.needs_detection(ms(40)), Some(Why::Overflow));
}

#[test]
fn two_reports_of_one_face_make_one_track_that_covers_both() {
    let mut t = tracker();
    let upstream = Observation {
        source: ObservationSource::Upstream,
        ..seen(104.0, 103.0, 0.8)
    };
    t.detections(ms(0), W, H, &[seen(100.0, 100.0, 0.9), upstream.clone()]);
    assert_eq!(t.tracks().len(), 1);
    assert!(contains(&t.tracks()[0].region_px, &upstream.box_px));
    assert!(contains(&t.tracks()[0].region_px, &seen(100.0, 100.0, 0.9).box_px));
}

#[test]
fn two_tracks_on_one_face_merge_into_the_older_and_uncover_nothing() {
    let mut t = tracker();
    let old = t.detections(ms(0), W, H, &[seen(100.0, 100.0, 0.9)]).started[0];
    t.detections(ms(40), W, H, &[]);
    // Too far for the gate: a second track begins, then drifts onto the held one.
    let new = t.detections(ms(80), W, H, &[seen(160.0, 100.0, 0.9)]).started[0];
    let mut merged = Vec::new();
    for i in 0..12u16 {
        let regions: Vec<_> = t.tracks().iter().filter(|k| k.id == old).map(|k| k.region_px).collect();
        let up = t.detections(ms(120 + 40 * u64::from(i)), W, H, &[seen(160.0 - 5.0 * f32::from(i), 100.0, 0.9)]);
        if !up.merged.is_empty() {
            assert!(regions.iter().all(|r| covered(&t, r)), "the lost track's region stays covered");
            assert_eq!(up.ended, [new]);
        }
        merged.extend(up.merged);
    }
    // Either the held track took the face over by itself, or the two were merged: one face, one track in the end.
    t.detections(ms(1_700), W, H, &[seen(105.0, 100.0, 0.9)]);
    assert_eq!(t.tracks().len(), 1);
    assert_eq!(merged, [(new, old)]);
    assert_eq!(t.tracks()[0].id, old);
}

#[test]
fn the_mesh_sees_what_the_detector_misses() {
    let mut t = tracker();
    let id = t.detections(ms(0), W, H, &[seen(100.0, 100.0, 0.9)]).started[0];
    let points = Landmarks5([[92.0, 92.0], [108.0, 92.0], [100.0, 100.0], [94.0, 110.0], [106.0, 110.0]]);
    for i in 1..60u16 {
        let at = ms(40 * u64::from(i));
        t.predict(at);
        let mesh = BoxPx::around([100.0 + 2.0 * f32::from(i), 103.0], 36.0, 44.0);
        let moved = Landmarks5(points.0.map(|p| [p[0] + 2.0 * f32::from(i), p[1]]));
        t.refine(id, mesh, Some(moved), 0.95).expect("it fits");
        let up = t.detections(at, W, H, &[]);
        assert!(up.lost.is_empty() && up.ended.is_empty());
        assert_eq!(t.tracks()[0].landmarks, Some(moved));
        assert!(covered(&t, &mesh));
    }
    t.predict(ms(2_400));
    t.refine(id, BoxPx::around([218.0, 103.0], 36.0, 44.0), None, 0.1)
        .expect("no face is no error");
    assert_eq!(t.tracks()[0].state, TrackState::Held);
    assert_eq!(
        t.refine(TrackId(99), BoxPx::default(), None, 1.0),
        Err(TrackError::UnknownTrack(TrackId(99)))
    );
    let far = BoxPx::around([500.0, 300.0], 36.0, 44.0);
    assert_eq!(
        t.refine(id, far, None, 0.9),
        Err(TrackError::BadRefinement(RejectReason::Elsewhere))
    );
}

#[test]
fn doubt_is_said_and_silenced_by_a_look() {
    let mut t = tracker();
    assert_eq!(t.needs_detection(ms(0)), Some(Why::FirstLook));
    let id = t.detections(ms(0), W, H, &[seen(100.0, 100.0, 0.9)]).started[0];
    assert_eq!(t.needs_detection(ms(0)), None);
    t.predict(ms(40));
    assert_eq!(t.needs_detection(ms(40)), None);
    t.predict(ms(200));
    assert_eq!(t.needs_detection(ms(200)), Some(Why::Predicted(id)));
    t.refine(id, seen(100.0, 100.0, 0.9).box_px, None, 0.2)
        .expect("no face is no error");
    assert_eq!(t.needs_detection(ms(200)), Some(Why::FaceLost(id)));
    t.detections(ms(200), W, H, &[]);
    t.predict(ms(240));
    assert_eq!(t.needs_detection(ms(240)), Some(Why::Held(id)));
    t.scene_cut(ms(280));
    assert_eq!(t.needs_detection(ms(280)), Some(Why::FirstLook));
}

#[test]
fn settings_out_of_range_are_refused_and_the_old_ones_stay() {
    let mut t = tracker();
    let bad = TrackerConfig {
        max_tracks: 8,
        ..TrackerConfig::default()
    };
    assert_eq!(
        t.configure(bad).expect_err("8 < 64").to_string(),
        "tracker setting max_tracks: expected 64–1024, got 8"
    );
    assert_eq!(*t.config(), TrackerConfig::default());
    for bad in [
        TrackerConfig {
            high: f32::NAN,
            ..TrackerConfig::default()
        },
        TrackerConfig {
            low: 0.6,
            ..TrackerConfig::default()
        },
        TrackerConfig {
            hold: Duration::from_secs(61),
            ..TrackerConfig::default()
        },
    ] {
        assert!(Tracker::new(bad).is_err());
    }
}

#[test]
fn embeddings_lock_stay_locked_and_bad_ones_are_refused() {
    let mut t = tracker();
    let id = t.detections(ms(0), W, H, &[seen(100.0, 100.0, 0.9)]).started[0];
    let e = [0.6, 0.8, 0.0, 0.0];
    for _ in 0..4 {
        assert_eq!(t.embedding(id, &e, 1.0), Ok(Identified::Learning));
    }
    assert_eq!(t.embedding(id, &e, 1.0), Ok(Identified::Locked));
    assert!(matches!(t.embedding(id, &[1.0, 0.0, 0.0, 0.0], 1.0), Ok(Identified::Known { cos }) if (cos - 0.6).abs() < 1e-6));
    let source = t.source(id).expect("embedded");
    assert!(source.locked && source.samples == 5 && (source.mean[1] - 0.8).abs() < 1e-6);
    for bad in [&[] as &[f32], &[0.0; 4], &[f32::NAN; 4], &[1.0; 3]] {
        assert!(matches!(t.embedding(id, bad, 1.0), Err(TrackError::BadEmbedding { .. })));
    }
}

#[test]
fn persons_are_bounded() {
    let mut t = Tracker::new(TrackerConfig {
        max_persons: 64,
        ..TrackerConfig::default()
    })
    .expect("in range");
    for i in 0..200u64 {
        let at = ms(40 * i);
        t.scene_cut(at);
        let id = t.detections(at, W, H, &[seen(100.0, 100.0, 0.9)]).started[0];
        let e: Vec<f32> = (0..256).map(|k| if k == i { 1.0 } else { 0.0 }).collect();
        t.embedding(id, &e, 1.0).expect("live");
    }
    assert_eq!(t.persons(), 64);
}

#[test]
fn a_look_at_a_part_misses_only_whom_it_looked_for() {
    let mut t = tracker();
    let both = [seen(100.0, 100.0, 0.9), seen(500.0, 100.0, 0.9)];
    let ids = t.detections(ms(0), W, H, &both).started;
    let left = BoxPx {
        x0: 0.0,
        y0: 0.0,
        x1: 360.0,
        y1: H as f32,
    };
    let right = BoxPx {
        x0: 280.0,
        x1: W as f32,
        ..left
    };
    for n in 0..10 {
        let (part, found) = if n % 2 == 0 { (&left, &both[..1]) } else { (&right, &both[1..]) };
        let up = t.detections_in(ms(40 * (n + 1)), W, H, Some(part), found);
        assert!(up.lost.is_empty() && up.started.is_empty(), "{up:?}");
        assert_eq!(up.matched.contains(&ids[0]), n % 2 == 0);
    }
    // The right one is gone: the left look does not know, the right one does.
    let up = t.detections_in(ms(440), W, H, Some(&left), &both[..1]);
    assert!(up.lost.is_empty());
    let up = t.detections_in(ms(480), W, H, Some(&right), &[]);
    assert_eq!(up.lost, vec![ids[1]]);
    // A face that lies in neither part whole is not missed by either.
    let middle = t
        .detections(ms(520), W, H, &[seen(100.0, 100.0, 0.9), seen(320.0, 100.0, 0.9)])
        .started[0];
    let narrow = BoxPx { x1: 330.0, ..left };
    assert!(!t.detections_in(ms(560), W, H, Some(&narrow), &[]).lost.contains(&middle));
}
