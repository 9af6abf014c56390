//! When a person may stay as they are. Pure: cosines and times in, a verdict out.
//!
//! | rule | a sample speaks for keeping | against, at once |
//! |---|---|---|
//! | keep whom the photos show | cosine to a photo ≥ limit + .05 | < limit − .05 |
//! | keep whom they do not show | cosine to every photo ≤ ½ limit, face clear (frontal, large) | > ½ limit |
//!
//! `limit` is the recogniser's point of one false match in a thousand. A person is kept from
//! [`SAMPLES`] samples for and none against on, over at least [`SPAN_S`]; samples in between speak
//! neither way and may be a fifth at most. One sample against covers the person from that frame on
//! and starts the count anew. So does a crossing of two faces, since the tracker may then have
//! changed them. A verdict without a sample in the last [`FRESH_S`] is no longer believed.
//!
//! Why not the mean alone: a blurred or turned face is near to nobody, and a mean hides it. Rejected:
//! deciding once and for all; a track that slips to the neighbour would stay uncovered.

use std::collections::HashMap;

use crate::frame::{Landmarks5, Pts};

/// Samples for keeping.
pub(super) const SAMPLES: u32 = 6;
/// Time over which they must spread, seconds.
pub(super) const SPAN_S: f64 = 0.4;
/// Age of the last sample beyond which a verdict is not believed, seconds.
pub(super) const FRESH_S: f64 = 1.0;
/// Margin about the limit.
const MARGIN: f32 = 0.05;
/// Share of the limit below which a face is somebody else's.
const STRANGER: f32 = 0.5;
/// Share of samples that may speak neither way.
const VAGUE_SHARE: f32 = 0.2;
/// Samples of a track that is not decided, seconds apart.
const ASK_EVERY_S: f64 = 0.08;
/// Samples of one that is kept, seconds apart.
const CHECK_EVERY_S: f64 = 0.3;
/// Distance between the eyes below which a face is too small to tell that it is somebody else, px.
const CLEAR_EYES_PX: f32 = 18.0;
/// How far the nose may be off the eyes' middle, in eye distances.
const CLEAR_TURN: f32 = 0.3;

/// Which persons are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Those of the photos.
    KeepRecognised,
    /// All but those of the photos.
    KeepStrangers,
}

/// Why a face stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepReason {
    /// A photo shows this person.
    Recognised,
    /// No photo shows this person.
    SomebodyElse,
    /// The cut list says so.
    CutList,
    /// The track file says so.
    TrackFile,
    /// Somebody chose this track while it was seen, and it still shows the same person.
    Hand,
}

/// How it was decided whether a face is anonymised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Not yet certain who it is, so it is anonymised.
    Undecided,
    /// Certain by photo.
    Photo,
    /// By the cut list.
    CutList,
    /// By the track file.
    TrackFile,
    /// Somebody chose the track.
    Hand,
}

#[derive(Debug, Clone, Copy)]
struct Evidence {
    first: Pts,
    last: Pts,
    /// For keeping.
    good: u32,
    /// Neither way.
    vague: u32,
    /// Against, ever.
    bad: u32,
    sum: f32,
}

/// Evidence about the tracks of a stream.
#[derive(Debug)]
pub(super) struct Decider {
    rule: Rule,
    limit: f32,
    tracks: HashMap<u64, Evidence>,
}

impl Decider {
    pub(super) fn new(rule: Rule, limit: f32) -> Self {
        Self {
            rule,
            limit,
            tracks: HashMap::new(),
        }
    }

    pub(super) fn is_due(&self, track: u64, at: Pts) -> bool {
        let every = if self.decided(track) { CHECK_EVERY_S } else { ASK_EVERY_S };
        self.tracks.get(&track).is_none_or(|e| at.seconds_since(e.last).abs() >= every)
    }

    /// Takes the largest cosine to a photo. One that is no number counts against.
    pub(super) fn sample(&mut self, track: u64, at: Pts, cos: f32, clear: bool) {
        let fresh = Evidence {
            first: at,
            last: at,
            good: 0,
            vague: 0,
            bad: 0,
            sum: 0.0,
        };
        let e = self.tracks.entry(track).or_insert(fresh);
        if at < e.last || at.seconds_since(e.last) > FRESH_S {
            *e = Evidence { bad: e.bad, ..fresh };
        }
        e.last = at;
        let (good, bad) = match self.rule {
            Rule::KeepRecognised => (cos >= self.limit + MARGIN, !(cos >= self.limit - MARGIN)),
            Rule::KeepStrangers => (clear && cos <= STRANGER * self.limit, !(cos <= STRANGER * self.limit)),
        };
        if bad {
            *e = Evidence {
                bad: e.bad.saturating_add(1),
                ..fresh
            };
        } else if good {
            if e.good == 0 {
                e.first = at;
            }
            e.good += 1;
            e.sum += cos;
        } else {
            e.vague += 1;
        }
    }

    pub(super) fn doubt(&mut self, track: u64) {
        self.tracks.remove(&track);
    }

    pub(super) fn retain(&mut self, live: impl Fn(u64) -> bool) {
        self.tracks.retain(|id, _| live(*id));
    }

    fn decided(&self, track: u64) -> bool {
        self.tracks.get(&track).is_some_and(|e| {
            // Who was mistaken once needs twice as much.
            let needed = if e.bad == 0 { SAMPLES } else { 2 * SAMPLES };
            let vague = e.vague as f32 / (e.vague + e.good).max(1) as f32;
            e.good >= needed && vague <= VAGUE_SHARE && e.last.seconds_since(e.first) >= SPAN_S
        })
    }

    pub(super) fn since(&self, track: u64) -> Option<Pts> {
        self.tracks.get(&track).filter(|_| self.decided(track)).map(|e| e.first)
    }

    pub(super) fn verdict(&self, track: u64, at: Pts) -> super::Verdict {
        let known = self.tracks.get(&track).filter(|e| at.seconds_since(e.last).abs() <= FRESH_S);
        match known {
            Some(e) if self.decided(track) => super::Verdict {
                choice: Some(Choice::Photo),
                keep: Some((
                    match self.rule {
                        Rule::KeepRecognised => KeepReason::Recognised,
                        Rule::KeepStrangers => KeepReason::SomebodyElse,
                    },
                    e.sum / e.good.max(1) as f32,
                )),
            },
            Some(e) if e.bad >= SAMPLES => super::Verdict {
                choice: Some(Choice::Photo),
                keep: None,
            },
            _ => super::Verdict {
                choice: Some(Choice::Undecided),
                keep: None,
            },
        }
    }
}

/// Whether a face is large and frontal enough to say that it is somebody else's.
pub(super) fn is_clear(landmarks: &Landmarks5) -> bool {
    let [a, b, nose, ..] = landmarks.0;
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let eyes = dx.hypot(dy);
    if !(eyes >= CLEAR_EYES_PX) {
        return false;
    }
    // Along the line of the eyes, so that a tilted head counts as frontal.
    let (mx, my) = (nose[0] - (a[0] + b[0]) / 2.0, nose[1] - (a[1] + b[1]) / 2.0);
    ((mx * dx + my * dy) / (eyes * eyes)).abs() <= CLEAR_TURN
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: f32 = 0.48;

    fn at(ms: u64) -> Pts {
        Pts(ms * 1_000_000)
    }

    fn fed(rule: Rule, cosines: &[f32]) -> Decider {
        let mut decider = Decider::new(rule, LIMIT);
        for (i, cos) in cosines.iter().enumerate() {
            decider.sample(1, at(100 * i as u64), *cos, true);
        }
        decider
    }

    #[test]
    fn a_person_is_kept_only_after_many_samples_over_some_time() {
        for n in 0..SAMPLES as usize {
            let decider = fed(Rule::KeepRecognised, &vec![0.8; n]);
            assert_eq!(decider.verdict(1, at(100 * n as u64)).keep, None, "{n} samples");
        }
        let decider = fed(Rule::KeepRecognised, &[0.8; SAMPLES as usize]);
        assert!(decider.verdict(1, at(500)).keep.is_some());
        assert_eq!(decider.verdict(1, at(5000)).keep, None, "an old verdict is not believed");
        let mut quick = Decider::new(Rule::KeepRecognised, LIMIT);
        (0..50).for_each(|i| quick.sample(1, at(i), 0.9, true));
        assert_eq!(quick.verdict(1, at(50)).keep, None, "many samples of one moment");
    }

    #[test]
    fn one_contradiction_covers_at_once() {
        let mut decider = fed(Rule::KeepRecognised, &[0.8; 20]);
        decider.sample(1, at(2000), 0.2, true);
        assert_eq!(decider.verdict(1, at(2000)).keep, None);
        decider.sample(1, at(2100), f32::NAN, true);
        assert_eq!(decider.verdict(1, at(2100)).keep, None);
    }

    #[test]
    fn a_face_near_to_the_limit_stays_covered() {
        let decider = fed(Rule::KeepRecognised, &[0.5; 40]);
        assert_eq!(
            decider.verdict(1, at(4000)),
            super::super::Verdict {
                choice: Some(Choice::Undecided),
                keep: None
            }
        );
    }

    #[test]
    fn a_blurred_face_is_not_taken_for_somebody_else() {
        let mut decider = Decider::new(Rule::KeepStrangers, LIMIT);
        (0..40).for_each(|i| decider.sample(1, at(100 * i), 0.0, false));
        assert_eq!(decider.verdict(1, at(4000)).keep, None);
        let far = fed(Rule::KeepStrangers, &[0.05; 10]);
        assert!(matches!(far.verdict(1, at(950)).keep, Some((KeepReason::SomebodyElse, _))));
        let doubtful = fed(Rule::KeepStrangers, &[0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.3]);
        assert_eq!(doubtful.verdict(1, at(750)).keep, None);
    }

    #[test]
    fn a_crossing_starts_anew() {
        let mut decider = fed(Rule::KeepRecognised, &[0.8; 20]);
        decider.doubt(1);
        assert_eq!(decider.verdict(1, at(1950)).keep, None);
    }

    #[test]
    fn a_turned_or_small_face_is_not_clear() {
        let face = |scale: f32, nose: f32| {
            Landmarks5([[0.0, 0.0], [40.0, 0.0], [20.0 + nose, 25.0], [8.0, 45.0], [32.0, 45.0]].map(|p| [p[0] * scale, p[1] * scale]))
        };
        assert!(is_clear(&face(1.0, 0.0)) && !is_clear(&face(0.2, 0.0)) && !is_clear(&face(1.0, 18.0)));
    }

    proptest! {
        #[test]
        fn nobody_is_kept_without_a_run_of_samples_for_it_and_none_against(
            samples in prop::collection::vec((-1.0_f32..1.0, 20_u64..1500, any::<bool>()), 1..120),
            strangers in any::<bool>(),
        ) {
            let rule = if strangers { Rule::KeepStrangers } else { Rule::KeepRecognised };
            let mut decider = Decider::new(rule, LIMIT);
            let mut now = 0;
            let (mut run, mut began) = (0, 0);
            for (cos, step, clear) in samples {
                now += step;
                let (good, bad) = match rule {
                    Rule::KeepRecognised => (cos >= LIMIT + MARGIN, cos < LIMIT - MARGIN),
                    Rule::KeepStrangers => (clear && cos <= LIMIT / 2.0, cos > LIMIT / 2.0),
                };
                if bad || step > 1000 { run = 0; }
                if good { if run == 0 { began = now; } run += 1; }
                decider.sample(7, at(now), cos, clear);
                let kept = decider.verdict(7, at(now)).keep.is_some();
                prop_assert!(!kept || (run >= SAMPLES && now - began >= 400 && !bad));
            }
        }
    }
}
