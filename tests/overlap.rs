//! A frame rendered while a later one is looked at: as if one had been done after the other, and a fault of either
//! stays its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod replace_support;
mod support;

use nullface::frame::FrameView;
use nullface::pipeline::{Budget, CoverReason, Due, Engine, EngineConfig, FrameId, FrameReport, Look, Outcome};
use replace_support::watched::{Looks, NEWCOMER, watched};
use replace_support::{inner, source};
use support::{Picture, at, equal_blocks};

/// Frames between analysis and rendering.
const HELD: usize = 2;

/// What became of a film whose looks do what `looks` says, frame by frame, and whether each look but the glances was
/// at home.
fn film(threads: usize, looks: &[Looks]) -> (Vec<(Picture, FrameReport)>, Vec<bool>) {
    let (mut engine, next, where_) = watched(&EngineConfig {
        lookahead: HELD,
        threads,
        ..EngineConfig::default()
    });
    let mut out = Vec::new();
    let mut held: std::collections::VecDeque<(u64, FrameId)> = std::collections::VecDeque::new();
    for (n, look) in (0_u64..).zip(looks) {
        *next.lock().expect("a script") = *look;
        let picture = source();
        let due = if held.len() > HELD { held.pop_front() } else { None };
        let id = match due {
            Some(due) => overlap(&mut engine, due, n, &picture.view(), &mut out),
            None => engine.analyse(&picture.view(), at(n), &[]).0,
        };
        held.push_back((n, id));
    }
    for (n, id) in held {
        let mut output = source();
        let report = engine.render(id, &mut output.view_mut(), at(n)).into_report();
        out.push((output, report));
    }
    let where_ = where_.lock().expect("a list").clone();
    (out, where_)
}

fn overlap(
    engine: &mut Engine,
    (n, id): (u64, FrameId),
    later: u64,
    frame: &FrameView<'_>,
    out: &mut Vec<(Picture, FrameReport)>,
) -> FrameId {
    let mut output = source();
    let mut view = output.view_mut();
    let due = Due {
        id,
        frame: &mut view,
        at: at(n),
        budget: Budget::default(),
    };
    let look = Look {
        frame,
        at: at(later),
        hints: &[],
    };
    let (released, (id, _)) = engine.overlap(due, look);
    out.push((output, released.into_report()));
    id
}

fn said(report: &FrameReport) -> String {
    format!("{report:?}")
}

#[test]
fn both_at_once_give_what_one_after_the_other_gives() {
    use Looks::{Fail, OneFace, TwoFaces};
    let looks = [
        OneFace, OneFace, OneFace, OneFace, OneFace, TwoFaces, TwoFaces, TwoFaces, Fail, OneFace, TwoFaces, OneFace,
    ];
    let (at_once, where_) = film(2, &looks);
    let (in_turn, at_home) = film(1, &looks);
    assert_eq!(at_once.len(), looks.len());
    for (n, (a, b)) in at_once.iter().zip(&in_turn).enumerate() {
        assert_eq!(said(&a.1), said(&b.1), "frame {n}");
        assert!(a.0.planes == b.0.planes, "frame {n} has other pixels");
    }
    assert!(at_once.iter().any(|(_, r)| matches!(r.faces[0].outcome, Outcome::Replaced { .. })));
    // Frames 3 and 4 were held when the second face was found.
    assert_eq!(at_once[3].1.faces.len(), 2, "{:?}", at_once[3].1);
    assert_eq!(equal_blocks(&source(), &at_once[3].0, NEWCOMER), 0);
    let two_cores = std::thread::available_parallelism().expect("cores").get() > 1;
    assert!(at_home.iter().all(|home| *home), "{at_home:?}");
    assert!(where_[..=HELD].iter().all(|home| *home), "nothing is due yet: {where_:?}");
    assert!(where_[HELD + 1..].iter().all(|home| *home != two_cores), "{where_:?}");
}

#[test]
fn a_look_that_fails_or_panics_withholds_its_own_frame_and_not_the_one_that_is_rendered_meanwhile() {
    for fault in [Looks::Fail, Looks::Panic] {
        let mut looks = [Looks::OneFace; 10];
        looks[5] = fault;
        let (frames, _) = film(2, &looks);
        for (n, (picture, report)) in frames.iter().enumerate() {
            let withheld = (n == 5).then_some(CoverReason::DetectorFailed);
            assert_eq!(report.withheld, withheld, "frame {n}");
            assert_eq!(equal_blocks(&source(), picture, inner()), 0, "frame {n}");
            let outside = equal_blocks(&source(), picture, NEWCOMER);
            assert_eq!(outside, if n == 5 { 0 } else { 49 }, "frame {n}");
        }
    }
}

#[test]
fn a_frame_that_was_never_analysed_is_covered_and_the_look_beside_it_counts() {
    let (mut engine, _, _) = watched(&EngineConfig {
        lookahead: HELD,
        threads: 2,
        ..EngineConfig::default()
    });
    let (id, _) = engine.analyse(&source().view(), at(0), &[]);
    let mut first = source();
    let _ = engine.render(id, &mut first.view_mut(), at(0));
    let mut out = Vec::new();
    // Its plan is gone.
    let next = overlap(&mut engine, (0, id), 1, &source().view(), &mut out);
    assert_eq!(out[0].1.withheld, Some(CoverReason::NotAnalysed));
    assert_eq!(equal_blocks(&source(), &out[0].0, NEWCOMER), 0);
    let mut second = source();
    let report = engine.render(next, &mut second.view_mut(), at(1)).into_report();
    assert_eq!((report.withheld, report.faces.len()), (None, 1));
}
