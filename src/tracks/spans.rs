//! Boxes between key frames, and spans put together and taken apart.
//!
//! Why hulls at the keys are enough: between two keys every edge is a line. Of two lines the outer one is
//! never outside the chord over its ends, so a box interpolated between hulls contains both boxes.

use super::{Key, Origin, Span};
use crate::frame::{BoxPx, Pts};

impl Span {
    /// When it begins.
    #[must_use]
    pub fn from(&self) -> Pts {
        self.keys.first().map_or(Pts(u64::MAX), |k| k.at)
    }

    /// When it ends; the frame shown then still has it.
    #[must_use]
    pub fn to(&self) -> Pts {
        self.keys.last().map_or(Pts(0), |k| k.at)
    }

    /// The box at a moment; `None` outside the span.
    #[must_use]
    pub fn box_at(&self, at: Pts) -> Option<BoxPx> {
        let after = self.keys.partition_point(|k| k.at < at);
        let next = self.keys.get(after)?;
        if next.at == at {
            return Some(next.box_px);
        }
        let before = self.keys.get(after.checked_sub(1)?)?;
        let share = (at.0 - before.at.0) as f64 / (next.at.0 - before.at.0) as f64;
        let mix = |a: f32, b: f32| (f64::from(a) + (f64::from(b) - f64::from(a)) * share) as f32;
        let (a, b) = (before.box_px, next.box_px);
        Some(BoxPx {
            x0: mix(a.x0, b.x0),
            y0: mix(a.y0, b.y0),
            x1: mix(a.x1, b.x1),
            y1: mix(a.y1, b.y1),
        })
    }

    fn covers(&self, from: Pts, to: Pts) -> bool {
        self.from() <= from && to <= self.to()
    }
}

/// What spans say of a moment: the best origin and the hull of their boxes there.
pub(super) fn at(spans: &[Span], at: Pts) -> Option<(Origin, BoxPx)> {
    spans
        .iter()
        .filter_map(|s| Some((s.origin, s.box_at(at)?)))
        .reduce(|a, b| (a.0.max(b.0), a.1.hull(&b.1)))
}

/// Spans that contain at every moment the boxes of both lists; sorted, and disjoint but for shared ends.
pub(crate) fn union(a: &[Span], b: &[Span]) -> Vec<Span> {
    let all: Vec<Span> = a.iter().chain(b).cloned().collect();
    let mut times: Vec<Pts> = all.iter().flat_map(|s| s.keys.iter().map(|k| k.at)).collect();
    times.sort_unstable();
    times.dedup();
    let mut joined: Vec<Span> = Vec::new();
    // Origin of the stretch that led to the present time; `None` after a break.
    let mut reached: Option<Origin> = None;
    for (i, now) in times.iter().enumerate() {
        let Some((origin, box_px)) = at(&all, *now) else { continue };
        let key = Key { at: *now, box_px };
        if reached.is_some()
            && let Some(open) = joined.last_mut()
        {
            open.keys.push(key);
        }
        let next = times.get(i + 1);
        let leads = next.and_then(|next| all.iter().filter(|s| s.covers(*now, *next)).map(|s| s.origin).max());
        match (reached, leads) {
            (None, None) => joined.push(Span { origin, keys: vec![key] }),
            (before, Some(leads)) if before != Some(leads) => joined.push(Span {
                origin: leads,
                keys: vec![key],
            }),
            _ => {}
        }
        reached = leads;
    }
    joined
}

/// What lies before a moment, and what lies from it on. The first part reaches to a nanosecond before.
pub(super) fn split(spans: &[Span], moment: Pts) -> (Vec<Span>, Vec<Span>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for span in spans {
        let part = |keys: Vec<Key>| Span { origin: span.origin, keys };
        let mut early: Vec<Key> = span.keys.iter().copied().filter(|k| k.at < moment).collect();
        let mut late: Vec<Key> = span.keys.iter().copied().filter(|k| k.at >= moment).collect();
        if !early.is_empty()
            && let Some(box_px) = span.box_at(moment)
        {
            let last = Pts(moment.0 - 1);
            if early.last().is_some_and(|k| k.at < last) {
                early.push(Key { at: last, box_px });
            }
            if late.first().is_some_and(|k| k.at > moment) {
                late.insert(0, Key { at: moment, box_px });
            }
        }
        before.extend((!early.is_empty()).then(|| part(early)));
        after.extend((!late.is_empty()).then(|| part(late)));
    }
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::{split, union};
    use crate::frame::{BoxPx, Pts};
    use crate::tracks::{Key, Origin, Span};
    use proptest::prelude::*;

    fn span(origin: Origin, keys: &[(u64, f32)]) -> Span {
        let key = |&(at, x0): &(u64, f32)| Key {
            at: Pts(at),
            box_px: BoxPx {
                x0,
                y0: 0.0,
                x1: x0 + 10.0,
                y1: 10.0,
            },
        };
        Span {
            origin,
            keys: keys.iter().map(key).collect(),
        }
    }

    #[test]
    fn between_keys_the_box_moves_evenly_and_outside_there_is_none() {
        let s = span(Origin::ByHand, &[(100, 0.0), (200, 50.0)]);
        assert_eq!(s.box_at(Pts(150)).map(|b| b.x0), Some(25.0));
        assert_eq!(
            (s.box_at(Pts(100)).map(|b| b.x0), s.box_at(Pts(200)).map(|b| b.x0)),
            (Some(0.0), Some(50.0))
        );
        assert_eq!((s.box_at(Pts(99)), s.box_at(Pts(201))), (None, None));
    }

    #[test]
    fn what_was_seen_and_what_was_filled_stay_apart_and_touch() {
        let joined = union(
            &[span(Origin::Detected, &[(0, 0.0), (10, 0.0)])],
            &[span(Origin::Filled, &[(10, 0.0), (20, 0.0)]), span(Origin::Filled, &[(30, 5.0)])],
        );
        let ends: Vec<_> = joined.iter().map(|s| (s.origin, s.from().0, s.to().0)).collect();
        assert_eq!(
            ends,
            [(Origin::Detected, 0, 10), (Origin::Filled, 10, 20), (Origin::Filled, 30, 30)]
        );
    }

    proptest! {
        #[test]
        fn a_union_contains_both_and_covers_no_other_time(
            a in prop::collection::vec((1_u64..40, 0.0_f32..90.0), 1..6),
            b in prop::collection::vec((1_u64..40, 0.0_f32..90.0), 1..6),
        ) {
            let made = |steps: &[(u64, f32)], origin| {
                let mut at = 0;
                let keys: Vec<_> = steps.iter().map(|(step, x)| { at += step; (at, *x) }).collect();
                span(origin, &keys)
            };
            let (a, b) = (made(&a, Origin::Detected), made(&b, Origin::Filled));
            let joined = union(std::slice::from_ref(&a), std::slice::from_ref(&b));
            prop_assert!(joined.windows(2).all(|w| w[0].to() <= w[1].from()));
            prop_assert!(joined.iter().all(|s| s.keys.windows(2).all(|k| k[0].at < k[1].at)));
            for at in (0..260).map(Pts) {
                let whole = super::at(&joined, at);
                let parts: Vec<BoxPx> = [a.box_at(at), b.box_at(at)].into_iter().flatten().collect();
                prop_assert_eq!(whole.is_some(), !parts.is_empty(), "{:?}", at);
                prop_assert!(parts.iter().all(|p| whole.is_some_and(|w| p.share_inside(&w.1) > 0.9999)));
            }
        }

        #[test]
        fn the_two_parts_of_a_split_are_the_whole(moment in 1_u64..120) {
            let whole = [span(Origin::Detected, &[(10, 0.0), (50, 40.0)]), span(Origin::Filled, &[(50, 40.0), (90, 0.0)])];
            let (before, after) = split(&whole, Pts(moment));
            for at in 0..130 {
                let part = if at < moment { &before } else { &after };
                let other = if at < moment { &after } else { &before };
                prop_assert!(super::at(other, Pts(at)).is_none());
                let (is, was) = (super::at(part, Pts(at)), super::at(&whole, Pts(at)));
                prop_assert_eq!(is.is_some(), was.is_some());
                prop_assert!(is.zip(was).is_none_or(|(i, w)| (i.1.x0 - w.1.x0).abs() < 1.1));
            }
        }
    }
}
