//! One track's boxes from frame to frame.

use crate::frame::{BoxPx, Pts};
use crate::tracks::{Key, Origin, Span};

/// Growth of a key frame's box that may stand for those about it, sides of the box per edge.
const THIN_SIDES: f32 = 0.02;
/// Most frames between two keys.
const THIN_FRAMES: usize = 32;

/// A region in one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// Number of the frame.
    pub(super) frame: u64,
    /// When it is shown.
    pub(super) at: Pts,
    /// What must be covered.
    pub(super) box_px: BoxPx,
    /// Whether the face was seen in it.
    pub(super) seen: bool,
}

/// Regions of one track, in order of frames.
#[derive(Debug, Clone, Default)]
pub(super) struct Strand {
    frames: Vec<Seen>,
    pub(super) score: f32,
}

impl Strand {
    pub(super) fn push(&mut self, seen: Seen) {
        match self.frames.last_mut() {
            // Two regions of one track in one frame, or a clock that stands: both places count.
            Some(last) if last.frame == seen.frame || last.at >= seen.at => {
                last.box_px = last.box_px.hull(&seen.box_px);
                last.seen |= seen.seen;
                last.frame = seen.frame;
            }
            _ => self.frames.push(seen),
        }
    }

    pub(super) fn first(&self) -> Option<&Seen> {
        self.frames.first()
    }

    pub(super) fn last(&self) -> Option<&Seen> {
        self.frames.last()
    }

    /// All of them.
    pub(super) fn frames(&self) -> &[Seen] {
        &self.frames
    }

    /// Adds to every stretch between two sights the way from one to the other. A kept strand has sights only.
    pub(super) fn fill(&mut self, kept: bool) {
        if kept {
            return;
        }
        let mut before: Option<Seen> = None;
        let mut i = 0;
        while i < self.frames.len() {
            let Some(now) = self.frames.get(i).copied() else { return };
            if now.seen {
                before = Some(now);
                i += 1;
                continue;
            }
            let unseen = self.frames.iter().skip(i).take_while(|s| !s.seen).count();
            let after = self.frames.get(i + unseen).copied();
            if let (Some(before), Some(after)) = (before, after) {
                let way = Span {
                    origin: Origin::Filled,
                    keys: [before, after].map(key).to_vec(),
                };
                for frame in self.frames.iter_mut().skip(i).take(unseen) {
                    if let Some(there) = way.box_at(frame.at) {
                        frame.box_px = frame.box_px.hull(&there);
                    }
                }
            }
            i += unseen;
        }
    }

    /// As spans: one for each stretch of frames without a break that is of one origin; neighbours share a frame.
    pub(super) fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut before: Option<Seen> = None;
        for now in &self.frames {
            let origin = if now.seen { Origin::Detected } else { Origin::Filled };
            let joined = before.filter(|b| b.frame + 1 >= now.frame);
            match spans.last_mut().filter(|s| joined.is_some() && s.origin == origin) {
                Some(open) => open.keys.push(key(*now)),
                None => spans.push(Span {
                    origin,
                    // From seen to not seen the stretch between the two frames is not seen, and the other way round.
                    keys: joined.into_iter().map(key).chain([key(*now)]).collect(),
                }),
            }
            before = Some(*now);
        }
        spans.iter_mut().for_each(|s| s.keys = thinned(&s.keys));
        spans
    }
}

fn key(seen: Seen) -> Key {
    Key {
        at: seen.at,
        box_px: seen.box_px,
    }
}

/// Fewer keys whose boxes contain those of all. Keys' boxes grow by [`THIN_SIDES`] for that.
fn thinned(keys: &[Key]) -> Vec<Key> {
    let margin = |k: &Key| k.box_px.side() * THIN_SIDES;
    let grown = |k: &Key| {
        let (b, m) = (k.box_px, margin(k));
        Key {
            box_px: BoxPx {
                x0: b.x0 - m,
                y0: b.y0 - m,
                x1: b.x1 + m,
                y1: b.y1 + m,
            },
            ..*k
        }
    };
    let mut kept = Vec::new();
    let mut from = 0;
    while let Some(first) = keys.get(from) {
        let reaches = |to: usize| {
            let Some(last) = keys.get(to) else { return false };
            let span = Span {
                origin: Origin::Filled,
                keys: vec![grown(first), grown(last)],
            };
            let between = keys.get(from + 1..to).unwrap_or_default();
            between.iter().all(|k| {
                span.box_at(k.at).is_some_and(|b| {
                    let (i, slack) = (k.box_px, 2.0 * margin(k) + 1.0);
                    let contains = b.x0 <= i.x0 && b.y0 <= i.y0 && b.x1 >= i.x1 && b.y1 >= i.y1;
                    contains && b.width() - i.width() <= 2.0 * slack && b.height() - i.height() <= 2.0 * slack
                })
            })
        };
        let mut to = from + 1;
        while to + 1 < keys.len() && to - from < THIN_FRAMES && reaches(to + 1) {
            to += 1;
        }
        kept.push(grown(first));
        from = to;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{Seen, Strand};
    use crate::frame::{BoxPx, Pts};
    use crate::tracks::{Origin, Span};
    use proptest::prelude::*;

    fn seen(frame: u64, x: f32, seen: bool) -> Seen {
        Seen {
            frame,
            at: Pts(frame * 40_000_000),
            box_px: BoxPx::around([x, 50.0], 40.0, 50.0),
            seen,
        }
    }

    fn box_at(spans: &[Span], at: Pts) -> Option<BoxPx> {
        spans.iter().filter_map(|s| s.box_at(at)).reduce(|a, b| a.hull(&b))
    }

    #[test]
    fn between_two_sights_the_way_is_covered_too() {
        let mut strand = Strand::default();
        strand.push(seen(0, 50.0, true));
        (1..10).for_each(|n| strand.push(seen(n, 50.0, false)));
        strand.push(seen(10, 250.0, true));
        strand.fill(false);
        let spans = strand.spans();
        let middle = box_at(&spans, Pts(5 * 40_000_000)).expect("covered");
        let there = BoxPx::around([150.0, 50.0], 40.0, 50.0);
        assert!(there.share_inside(&middle) > 0.999 && seen(5, 50.0, false).box_px.share_inside(&middle) > 0.999);
        assert_eq!(
            spans.iter().map(|s| s.origin).collect::<Vec<_>>(),
            [Origin::Detected, Origin::Filled, Origin::Detected]
        );
        assert!(spans.windows(2).all(|w| w[0].to() == w[1].from()));
    }

    #[test]
    fn a_face_that_stands_still_needs_few_keys() {
        let mut strand = Strand::default();
        (0..64).for_each(|n| strand.push(seen(n, 50.0 + 0.2 * (n % 3) as f32, true)));
        let spans = strand.spans();
        assert!(spans[0].keys.len() < 8, "{}", spans[0].keys.len());
    }

    proptest! {
        #[test]
        fn spans_contain_every_region_and_no_frame_without_one(
            steps in prop::collection::vec((1_u64..4, -20.0_f32..20.0, any::<bool>()), 1..80),
        ) {
            let (mut strand, mut frame, mut x) = (Strand::default(), 0, 100.0);
            let mut all = Vec::new();
            for (step, dx, is_seen) in steps {
                frame += step;
                x += dx;
                all.push(seen(frame, x, is_seen));
                strand.push(seen(frame, x, is_seen));
            }
            let spans = strand.spans();
            prop_assert!(spans.windows(2).all(|w| w[0].to() <= w[1].from()));
            for n in 0..frame + 2 {
                let there = box_at(&spans, Pts(n * 40_000_000));
                match all.iter().find(|s| s.frame == n) {
                    Some(s) => prop_assert!(there.is_some_and(|b| s.box_px.share_inside(&b) > 0.9999), "frame {}", n),
                    None => prop_assert!(there.is_none(), "frame {}", n),
                }
            }
        }
    }
}
