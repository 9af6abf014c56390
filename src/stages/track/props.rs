//! Properties under arbitrary streams: any boxes, meshes and cuts, time that stands, jumps and runs back.

use proptest::prelude::*;

use super::sim::{H, W};
use super::tests::{contains, covered, ms, seen, tracker};
use super::*;
use crate::frame::{BoxPx, Pts};

/// One frame of an arbitrary stream.
#[derive(Debug, Clone)]
struct Step {
    at_ms: u64,
    look: Option<Vec<Observation>>,
    mesh: Option<(usize, f32, f32)>,
    cut: bool,
}

fn observation() -> impl Strategy<Value = Observation> {
    let any_box = (-60.0f32..700.0, -60.0f32..420.0, 0.0f32..200.0, 0.0f32..200.0, 0.0f32..1.0).prop_map(|(x, y, w, h, score)| {
        Observation::detected(
            BoxPx {
                x0: x,
                y0: y,
                x1: x + w,
                y1: y + h,
            },
            score,
        )
    });
    // Faces that come back to the same places, so that tracks live.
    let usual = (0u8..4, -6.0f32..6.0, 0.2f32..1.0).prop_map(|(k, d, score)| seen(80.0 + 130.0 * f32::from(k) + d, 150.0 + d, score));
    prop_oneof![1 => any_box, 3 => usual]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pace = prop_oneof![8 => 0i64..120, 1 => -500i64..0, 1 => 500i64..100_000];
    let look = prop::option::weighted(0.7, prop::collection::vec(observation(), 0..7));
    let mesh = prop::option::weighted(0.4, (0usize..6, -8.0f32..8.0, 0.0f32..1.0));
    prop::collection::vec((pace, look, mesh, prop::bool::weighted(0.03)), 1..40).prop_map(|list| {
        let mut at = 10_000i64;
        list.into_iter()
            .map(|(pace, look, mesh, cut)| {
                at = (at + pace).max(0);
                Step {
                    at_ms: at as u64,
                    look,
                    mesh,
                    cut,
                }
            })
            .collect()
    })
}

/// Plays a step; what the look changed.
fn play(t: &mut Tracker, step: &Step) -> Option<Updates> {
    let at = ms(step.at_ms);
    if step.cut {
        t.scene_cut(at);
    }
    t.predict(at);
    let updates = step.look.as_ref().map(|list| t.detections(at, W, H, list));
    let meshed = step
        .mesh
        .and_then(|(which, shift, prob)| t.tracks().get(which).map(|k| (k.id, k.box_px.center(), shift, prob)));
    if let Some((id, [x, y], shift, prob)) = meshed {
        // A mesh elsewhere is refused: that too is a fair answer.
        let _ = t.refine(id, BoxPx::around([x + shift, y], 30.0, 40.0), None, prob);
    }
    updates
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_strong_observation_is_inside_a_region_in_its_frame(steps in steps()) {
        let mut t = tracker();
        for step in &steps {
            let Some(up) = play(&mut t, step) else { continue };
            let rejected: Vec<usize> = up.rejected.iter().map(|r| r.index).collect();
            for (i, o) in step.look.iter().flatten().enumerate() {
                if o.score >= t.config().high && !rejected.contains(&i) {
                    prop_assert!(covered(&t, &o.box_px), "{:?} at {} ms", o.box_px, step.at_ms);
                }
            }
        }
    }

    #[test]
    fn ids_are_never_used_again_and_every_track_begins_and_ends_once(steps in steps()) {
        let mut t = tracker();
        let (mut begun, mut over) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        for step in &steps {
            let before: Vec<TrackId> = t.tracks().iter().map(|k| k.id).collect();
            let up = play(&mut t, step);
            if step.cut {
                over.extend(before.iter().copied());
            }
            if let Some(up) = up {
                for id in up.started {
                    prop_assert!(begun.insert(id), "{id:?} begins twice");
                }
                for id in up.ended {
                    prop_assert!(over.insert(id) || step.cut, "{id:?} ends twice");
                }
            }
            for k in t.tracks() {
                prop_assert!(begun.contains(&k.id) && !over.contains(&k.id));
                prop_assert!(k.region_px.is_valid() && k.box_px.is_valid());
                prop_assert!(contains(&k.region_px, &k.box_px));
                prop_assert!(k.region_px.side() < 50_000.0);
            }
            prop_assert!(t.tracks().windows(2).all(|p| p[0].id < p[1].id));
        }
    }

    #[test]
    fn a_region_only_shrinks_when_its_face_is_seen(steps in steps()) {
        let mut t = tracker();
        for step in &steps {
            let before = t.tracks().to_vec();
            play(&mut t, step);
            for old in before {
                if let Some(new) = t.track(old.id).filter(|k| !k.seen_now()) {
                    prop_assert!(contains(&new.region_px, &old.region_px));
                }
            }
        }
    }

    #[test]
    fn the_order_of_observations_changes_nothing(steps in steps(), seed in any::<u64>()) {
        use rand::{SeedableRng, seq::SliceRandom};
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        let (mut a, mut b) = (tracker(), tracker());
        for step in &steps {
            play(&mut a, step);
            let mut other = step.clone();
            if let Some(list) = &mut other.look {
                list.shuffle(&mut rng);
            }
            play(&mut b, &other);
            prop_assert_eq!(a.tracks(), b.tracks());
        }
    }

    #[test]
    fn backward_cover_contains_the_observed_box_and_grows_into_the_past(
        x in 0.0f32..600.0, vx in -500.0f32..500.0, vy in -500.0f32..500.0, known in any::<bool>(), gaps in prop::collection::vec(1u64..80, 1..6)
    ) {
        let first = FirstSeen { box_px: BoxPx::around([x, 150.0], 40.0, 50.0), at: ms(1_000), velocity_px_s: known.then_some([vx, vy]) };
        let mut at = 1_000;
        let times: Vec<Pts> = gaps.iter().map(|g| { at -= g; ms(at) }).collect();
        let boxes = backfill(&first, &times, &BackfillConfig::default());
        prop_assert_eq!(boxes.len(), times.len());
        prop_assert!(boxes.iter().all(|b| contains(b, &first.box_px)));
        prop_assert!(boxes.windows(2).all(|p| p[1].area() >= p[0].area()));
    }
}
