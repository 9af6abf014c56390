//! What of a track file a person should look at before rendering. A rule over numbers, no look at the picture: it
//! points to places, and neither finds what no detector saw nor says that anything is wrong.
//!
//! | suspect | rule |
//! |---|---|
//! | doubtful | best confidence of the track below [`DOUBTFUL_SCORE`] |
//! | single look | seen in one frame only |
//! | sudden begin, sudden end | first or last seen away from the picture's border, away from the film's ends, and the same person not seen within [`NEAR_S`] in another track |

use super::{Origin, Span, Track, Tracks};
use crate::frame::{BoxPx, Pts};

/// Best confidence below which a track may be no face. Faces that are seen well reach 0.9 and more somewhere in
/// their track; the detector reports from 0.5 on.
pub const DOUBTFUL_SCORE: f32 = 0.65;
/// How near to the film's ends, or to another track of the person, a begin or end is no surprise, seconds.
pub const NEAR_S: f64 = 0.5;
/// How near to the border a box counts as leaving the picture, shares of its own side.
const AT_BORDER: f32 = 0.15;

/// Why a place is suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suspicion {
    /// The detector was never sure: it may be no face.
    Doubtful,
    /// Seen in one frame only: no face, or one that is missed in the frames about it.
    SingleLook,
    /// Begins inside the picture: it may have been there before.
    SuddenBegin,
    /// Ends inside the picture: it may still be there.
    SuddenEnd,
}

/// A place to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// Which track.
    pub track: u64,
    /// When to look.
    pub at: Pts,
    /// Why.
    pub why: Suspicion,
}

impl Tracks {
    /// Places that a person should look at, in order of time. Tracks that somebody drew are none.
    #[must_use]
    pub fn suspects(&self) -> Vec<Suspect> {
        let mut all: Vec<Suspect> = self.tracks.iter().flat_map(|t| self.suspicions(t)).collect();
        all.sort_by_key(|s| (s.at, s.track, s.why));
        all
    }

    fn suspicions(&self, track: &Track) -> Vec<Suspect> {
        let seen: Vec<&Span> = track.spans.iter().filter(|s| s.origin != Origin::Filled).collect();
        let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
            return Vec::new();
        };
        if seen.iter().all(|s| s.origin == Origin::ByHand) {
            return Vec::new();
        }
        let (from, to) = (first.from(), last.to());
        let mut found = Vec::new();
        let mut add = |at, why| found.push(Suspect { track: track.id, at, why });
        if track.score < DOUBTFUL_SCORE {
            add(Pts(from.0 + (to.0 - from.0) / 2), Suspicion::Doubtful);
        }
        if from == to {
            // Begin and end are the same look: one suspicion says both.
            add(from, Suspicion::SingleLook);
            return found;
        }
        let surprising = |at: Pts, span: &Span| {
            let inside = span.box_at(at).is_some_and(|b| !self.at_border(&b));
            inside && near_s(at, self.film.first) > NEAR_S && near_s(at, self.film.last) > NEAR_S
        };
        let others = |near: &dyn Fn(&Span) -> bool| {
            let same = self.tracks.iter().filter(|t| t.person == track.person && t.id != track.id);
            same.flat_map(|t| &t.spans).any(|s| s.origin != Origin::Filled && near(s))
        };
        let reaches = |s: &Span, at: Pts| (s.from() <= at && at <= s.to()) || near_s(at, s.from()).min(near_s(at, s.to())) <= NEAR_S;
        for (at, span, why) in [(from, first, Suspicion::SuddenBegin), (to, last, Suspicion::SuddenEnd)] {
            if surprising(at, span) && !others(&|s| reaches(s, at)) {
                add(at, why);
            }
        }
        found
    }

    fn at_border(&self, b: &BoxPx) -> bool {
        let margin = b.side() * AT_BORDER;
        let (width, height) = (self.film.width_px as f32, self.film.height_px as f32);
        b.x0 <= margin || b.y0 <= margin || b.x1 >= width - margin || b.y1 >= height - margin
    }
}

fn near_s(a: Pts, b: Pts) -> f64 {
    a.seconds_since(b).abs()
}

#[cfg(test)]
mod tests {
    use super::Suspicion::{self, Doubtful, SingleLook, SuddenBegin, SuddenEnd};
    use crate::frame::Pts;
    use crate::tracks::Tracks;

    /// Origin, from and to in seconds, left edge in px.
    type Stretch = (&'static str, f64, f64, f64);

    /// Suspects of tracks given as person, score and spans, in a film of 10 s and 640×480 px.
    fn suspects(tracks: &[(u64, f64, &[Stretch])]) -> Vec<(u64, Suspicion, Pts)> {
        let mut text = format!(
            r#"{{"record":"header","format":"nullface-tracks","version":1,"film":"a","sha256":"{}","width_px":640,"height_px":480,"frames":250,"rate":"25/1","first_s":0,"last_s":9.96}}"#,
            "0".repeat(64)
        );
        for (id, (person, score, spans)) in tracks.iter().enumerate() {
            let spans: Vec<_> = spans
                .iter()
                .map(|(origin, from, to, x0)| {
                    let key = |s: f64| serde_json::json!([s, x0, 200.0, x0 + 80.0, 300.0]);
                    let keys = if from == to { vec![key(*from)] } else { vec![key(*from), key(*to)] };
                    serde_json::json!({"origin": origin, "keys": keys})
                })
                .collect();
            let track = serde_json::json!({"record": "track", "id": id, "person": person, "score": score, "spans": spans});
            text += &format!("\n{track}");
        }
        let tracks = Tracks::parse(&text).expect("a track file");
        tracks.suspects().iter().map(|s| (s.track, s.why, s.at)).collect()
    }

    #[test]
    fn a_face_that_is_there_throughout_or_comes_and_goes_over_the_border_is_none() {
        assert_eq!(suspects(&[(0, 0.95, &[("detected", 0.0, 9.96, 300.0)])]), []);
        for at_border in [-20.0, 5.0, 555.0, 600.0] {
            assert_eq!(suspects(&[(0, 0.95, &[("detected", 3.0, 6.0, at_border)])]), [], "{at_border}");
        }
    }

    #[test]
    fn begin_and_end_inside_the_picture_are_found_where_it_was_seen_not_where_it_was_filled() {
        let spans: &[_] = &[
            ("filled", 2.5, 3.0, 300.0),
            ("detected", 3.0, 6.0, 300.0),
            ("filled", 6.0, 6.5, 300.0),
        ];
        let (from, to) = (Pts::from_seconds(3.0), Pts::from_seconds(6.0));
        assert_eq!(suspects(&[(0, 0.95, spans)]), [(0, SuddenBegin, from), (0, SuddenEnd, to)]);
    }

    #[test]
    fn the_same_person_in_another_track_explains_an_end_and_another_person_does_not() {
        let early: &[_] = &[("detected", 0.0, 5.0, 300.0)];
        let late: &[_] = &[("detected", 5.4, 9.96, 100.0)];
        assert_eq!(suspects(&[(0, 0.95, early), (0, 0.95, late)]), []);
        let found: Vec<_> = suspects(&[(0, 0.95, early), (1, 0.95, late)]).iter().map(|s| (s.0, s.1)).collect();
        assert_eq!(found, [(0, SuddenEnd), (1, SuddenBegin)]);
        let filled: &[_] = &[("filled", 5.4, 6.0, 100.0), ("detected", 7.0, 9.96, 100.0)];
        assert!(suspects(&[(0, 0.95, early), (0, 0.95, filled)]).iter().any(|s| s.1 == SuddenEnd));
    }

    #[test]
    fn low_confidence_and_a_single_look_are_found_and_what_somebody_drew_is_not() {
        let one: &[_] = &[
            ("filled", 3.5, 4.0, 300.0),
            ("detected", 4.0, 4.0, 300.0),
            ("filled", 4.0, 4.5, 300.0),
        ];
        let at = Pts::from_seconds(4.0);
        assert_eq!(suspects(&[(0, 0.6, one)]), [(0, Doubtful, at), (0, SingleLook, at)]);
        assert_eq!(suspects(&[(0, 0.65, one)]), [(0, SingleLook, at)]);
        assert_eq!(suspects(&[(0, 1.0, &[("by-hand", 3.0, 6.0, 300.0)])]), []);
    }
}
