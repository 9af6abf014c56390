//! A track that somebody chose to leave as it is: kept while it shows the same person, and no longer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod replace_support;
mod support;

use nullface::pipeline::{Choice, KeepReason, Mode, Outcome, Settings};
use replace_support::{Blocks, engine_with, source};
use support::{Picture, at};

/// The same face box with somebody else in it.
fn somebody_else() -> Picture {
    let mut picture = source();
    let (data, stride) = &mut picture.planes[0];
    let width = picture.info.width as usize;
    for (y, row) in data.chunks_exact_mut(*stride).enumerate() {
        for (x, pixel) in row[..width * 3].chunks_exact_mut(3).enumerate() {
            pixel.fill((110.0 + 70.0 * (x as f32 / 9.0 + y as f32 / 2.2).sin()) as u8);
        }
    }
    picture
}

#[test]
fn a_chosen_track_is_kept_until_it_shows_somebody_else_or_the_choice_is_taken_back() {
    let mut engine = engine_with(Box::new(Blocks), None, Mode::Solid, 1);
    let mut frame = 0;
    let mut show = |engine: &mut nullface::Engine, picture: &Picture, frames: u64| -> Vec<Outcome> {
        let one = |_| {
            let report = engine.process(&mut picture.clone().view_mut(), at(frame), &[]).into_report();
            frame += 1;
            assert_eq!((report.withheld, report.faces.len()), (None, 1), "{:?}", report.fault);
            if matches!(report.faces[0].outcome, Outcome::Kept { .. }) {
                assert_eq!(report.faces[0].choice, Some(Choice::Hand));
            }
            report.faces[0].outcome
        };
        (0..frames).map(one).collect()
    };
    let kept = |o: &Outcome| matches!(o, Outcome::Kept { why: KeepReason::Hand, .. });
    assert!(!show(&mut engine, &source(), 50).iter().any(kept), "nobody was chosen");
    let track = {
        let report = engine.process(&mut source().view_mut(), at(50), &[]).into_report();
        report.faces[0].track
    };
    let with = |engine: &mut nullface::Engine, keep_tracks: Vec<u64>| {
        let settings = Settings {
            keep_tracks,
            ..engine.settings().clone()
        };
        engine.set_settings(settings).expect("in range");
    };
    let show_from = |engine: &mut nullface::Engine, picture: &Picture, frames: u64, from: u64| -> Vec<Outcome> {
        let one = |n| {
            let report = engine.process(&mut picture.clone().view_mut(), at(from + n), &[]).into_report();
            report.faces.first().map(|f| f.outcome).expect("a face")
        };
        (0..frames).map(one).collect()
    };
    with(&mut engine, vec![track]);
    let outcomes = show_from(&mut engine, &source(), 50, 51);
    assert!(!kept(&outcomes[5]), "not at once");
    assert!(kept(outcomes.last().expect("frames")), "{outcomes:?}");
    let outcomes = show_from(&mut engine, &somebody_else(), 50, 101);
    let last = outcomes.iter().rposition(kept).map_or(0, |n| n + 1);
    assert!(last <= 9, "somebody else was shown for {last} frames");
    with(&mut engine, vec![]);
    assert!(
        !show_from(&mut engine, &source(), 50, 151).iter().any(kept),
        "the choice was taken back"
    );
}
