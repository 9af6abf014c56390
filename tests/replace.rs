//! Replacing faces through the library's front door, over the basis that comes along and networks that
//! do exactly what a test says: whatever a denoiser returns, what leaves is another face or a cover.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod replace_support;
mod support;

use nullface::pipeline::{CoverReason, Mode, Outcome, Rung};
use replace_support::{Answer, Blocks, darker, engine_with, inner, run, source};
use support::equal_blocks;

#[test]
fn a_face_is_replaced_with_and_without_a_denoiser() {
    for (answer, mode, rung) in [
        (None, Mode::Ksame, Rung::Prior),
        (None, Mode::Nullface, Rung::Prior),
        (Some(darker as Answer), Mode::Nullface, Rung::Diffusion),
    ] {
        let out = run(&mut engine_with(Box::new(Blocks), answer, mode, 1), 1);
        // Its rim may be the crop's own: what the crop lacks is kept.
        assert_eq!(equal_blocks(&source(), &out[0].0, inner()), 0, "{mode}");
        match out[0].1 {
            Outcome::Replaced { cos, rung: got } => assert!(cos < 0.6 && got <= Rung::Prior, "{mode} {cos} {got:?} instead of {rung:?}"),
            other => panic!("{mode}: {other:?}"),
        }
    }
}

#[test]
fn whatever_a_broken_denoiser_returns_is_caught() {
    let broken: [(&str, Answer); 5] = [
        ("not a number", |_, out| out.fill(f32::NAN)),
        ("zeros", |_, out| out.fill(0.0)),
        ("one colour", |_, out| out.fill(0.7)),
        ("the noisy input", |batch, out| out.copy_from_slice(batch.x)),
        ("the source itself", |batch, out| out.copy_from_slice(batch.prior)),
    ];
    for (what, answer) in broken {
        for (output, outcome) in run(&mut engine_with(Box::new(Blocks), Some(answer), Mode::Nullface, 1), 8) {
            assert_eq!(equal_blocks(&source(), &output, inner()), 0, "{what}");
            match outcome {
                Outcome::Replaced { cos, rung } => assert!(
                    cos < 0.6 && (rung == Rung::Prior || what != "not a number"),
                    "{what}: {cos} {rung:?}"
                ),
                Outcome::Covered { .. } => {}
                Outcome::Kept { .. } | Outcome::FrameWithheld { .. } => panic!("{what}: {outcome:?}"),
            }
        }
    }
}

#[test]
fn a_result_that_is_always_too_near_is_covered() {
    let out = run(
        &mut engine_with(Box::new(support::FakeRecogniser), Some(darker), Mode::Nullface, 1),
        3,
    );
    for (output, outcome) in out {
        assert!(
            matches!(
                outcome,
                Outcome::Covered {
                    reason: CoverReason::TooNear,
                    ..
                }
            ),
            "{outcome:?}"
        );
        assert_eq!(equal_blocks(&source(), &output, inner()), 0);
    }
}

#[test]
fn still_input_gives_still_output_through_key_frames() {
    let out = run(&mut engine_with(Box::new(Blocks), Some(darker), Mode::Nullface, 1), 16);
    let rungs: Vec<_> = out.iter().map(|o| o.1).collect();
    assert!(
        rungs.iter().any(|o| matches!(o, Outcome::Replaced { rung: Rung::Cached, .. })),
        "{rungs:?}"
    );
    assert!(
        rungs.iter().any(|o| matches!(o, Outcome::Replaced { rung: Rung::Diffusion, .. })),
        "{rungs:?}"
    );
    for (n, pair) in out.windows(2).enumerate() {
        assert!(pair[0].0.planes == pair[1].0.planes, "frame {n} to {}", n + 1);
    }
}

#[test]
fn a_seed_repeats_a_run_bit_for_bit_and_another_gives_another_face() {
    let face = |seed| {
        run(&mut engine_with(Box::new(Blocks), Some(darker), Mode::Nullface, seed), 3)
            .pop()
            .expect("frames")
            .0
            .planes
    };
    assert!(face(1) == face(1), "one seed, two faces");
    assert!(face(1) != face(2), "two seeds, one face");
}
