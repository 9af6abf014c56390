//! What only the whole film tells: which tracks are of one person, and where that person was in between.
//!
//! The tracker knows a returning face while the film runs; here the persons that are left are joined once
//! more, the most alike first, by the means of all their embeddings. Two persons that were seen in one frame
//! are never one.

use std::collections::{BTreeMap, HashMap};

use crate::frame::{BoxPx, Pts};
use crate::stages::track::PersonId;
use crate::tracks::{Key, Origin, Span};

use super::strand::{Seen, Strand};
use super::{Gathered, Which};

/// Longest absence that is filled, seconds.
const ABSENT_S: f64 = 2.0;
/// Fastest way of a face that is filled, sides per second.
const FASTEST: f32 = 4.0;
/// Most that its size may change in between.
const SIZE_RATIO: f32 = 2.0;
/// Growth of the box half-way, for the way need not be straight.
const HALFWAY: f32 = 1.5;

/// The person of each track, numbered in order of the first track.
pub(super) fn people(gathered: &Gathered, same_person_cos: f32) -> HashMap<u64, u64> {
    let of = |track: u64| gathered.persons.get(&track).copied();
    let mut groups: Vec<Vec<PersonId>> = Vec::new();
    for track in gathered.strands.keys().filter_map(|w| of(w.track)) {
        if !groups.iter().any(|g| g.contains(&track)) {
            groups.push(vec![track]);
        }
    }
    let shown = |group: &[PersonId]| -> Vec<&Strand> {
        let ours = gathered
            .strands
            .iter()
            .filter(|(w, _)| of(w.track).is_some_and(|p| group.contains(&p)));
        ours.map(|(_, s)| s).collect()
    };
    let apart = |a: &[PersonId], b: &[PersonId]| !shown(a).iter().any(|x| shown(b).iter().any(|y| overlap(x, y)));
    let mut alike: Vec<(f32, PersonId, PersonId)> = Vec::new();
    let known: Vec<PersonId> = groups.iter().flatten().copied().collect();
    for (i, a) in known.iter().enumerate() {
        for b in known.iter().skip(i + 1) {
            let cos = gathered.means.get(a).zip(gathered.means.get(b)).and_then(|(a, b)| cos(a, b));
            alike.extend(cos.filter(|c| *c >= same_person_cos).map(|c| (c, *a, *b)));
        }
    }
    alike.sort_by(|x, y| y.0.total_cmp(&x.0));
    for (_, a, b) in alike {
        let place = |p: PersonId| groups.iter().position(|g| g.contains(&p));
        let (Some(i), Some(j)) = (place(a), place(b)) else { continue };
        if i == j || !groups.get(i).zip(groups.get(j)).is_some_and(|(a, b)| apart(a, b)) {
            continue;
        }
        let gone = groups.remove(i.max(j));
        if let Some(stays) = groups.get_mut(i.min(j)) {
            stays.extend(gone);
        }
    }
    let number = |track: u64| groups.iter().position(|g| of(track).is_some_and(|p| g.contains(&p)));
    let numbered = gathered.strands.keys().filter_map(|w| Some((w.track, number(w.track)? as u64)));
    numbered.collect()
}

/// The way of a person from the end of one track to the begin of the next, where the absence is short, no scene
/// ends in it and a face can have gone it; by the track that it leads to.
pub(super) fn absences(gathered: &Gathered, people: &HashMap<u64, u64>) -> BTreeMap<Which, Span> {
    let mut ways = BTreeMap::new();
    for (which, strand) in gathered.strands.iter().filter(|(w, _)| !w.kept) {
        let (Some(person), Some(begin)) = (people.get(&which.track), strand.first()) else {
            continue;
        };
        let before = gathered
            .strands
            .iter()
            .filter(|(w, _)| !w.kept && w.track != which.track && people.get(&w.track) == Some(person))
            .filter_map(|(_, s)| s.last())
            .filter(|end| end.at < begin.at)
            .max_by_key(|end| end.at);
        if let Some(end) = before
            && can_have_gone(end, begin)
            && !gathered.cuts.iter().any(|cut| end.frame < *cut && *cut <= begin.frame)
        {
            ways.insert(*which, way(end, begin));
        }
    }
    ways
}

fn can_have_gone(end: &Seen, begin: &Seen) -> bool {
    let (a, b) = (end.box_px, begin.box_px);
    let seconds = begin.at.seconds_since(end.at);
    let ([ax, ay], [bx, by]) = (a.center(), b.center());
    let ratio = a.side() / b.side();
    let far = (bx - ax).hypot(by - ay);
    seconds <= ABSENT_S
        && (1.0 / SIZE_RATIO..=SIZE_RATIO).contains(&ratio)
        && far <= a.side().max(b.side()) * (1.0 + FASTEST * seconds as f32)
}

fn way(end: &Seen, begin: &Seen) -> Span {
    let straight = Span {
        origin: Origin::Filled,
        keys: [end, begin]
            .map(|s| Key {
                at: s.at,
                box_px: s.box_px,
            })
            .to_vec(),
    };
    let middle = Pts(end.at.0 + (begin.at.0 - end.at.0) / 2);
    let halfway = straight.box_at(middle).map(|b: BoxPx| Key {
        at: middle,
        box_px: b.scaled(HALFWAY),
    });
    let mut keys = straight.keys;
    if let Some(key) = halfway.filter(|k| end.at < k.at && k.at < begin.at) {
        keys.insert(1, key);
    }
    Span { keys, ..straight }
}

/// Whether both were seen in one frame.
fn overlap(a: &Strand, b: &Strand) -> bool {
    let mut theirs = b.frames().iter().filter(|s| s.seen).map(|s| s.frame).peekable();
    a.frames().iter().filter(|s| s.seen).any(|ours| {
        while theirs.next_if(|n| *n < ours.frame).is_some() {}
        theirs.peek() == Some(&ours.frame)
    })
}

/// Cosine of unit vectors of one length.
fn cos(a: &[f32], b: &[f32]) -> Option<f32> {
    (a.len() == b.len()).then(|| a.iter().zip(b).map(|(x, y)| x * y).sum())
}

#[cfg(test)]
mod tests {
    use super::{absences, people};
    use crate::frame::{BoxPx, Pts};
    use crate::pipeline::scout::strand::{Seen, Strand};
    use crate::pipeline::scout::{Gathered, Which};
    use crate::stages::track::PersonId;

    /// Cosine from which two are one here.
    const SAME: f32 = 0.45;

    /// Tracks as they came: from frame to frame, direction of the mean embedding in degrees.
    fn film(tracks: &[(u64, u64, f32)], cuts: &[u64]) -> Gathered {
        let mut gathered = Gathered {
            cuts: cuts.to_vec(),
            ..Gathered::default()
        };
        for (track, (from, to, degrees)) in (0..).zip(tracks) {
            let mut strand = Strand::default();
            for frame in *from..=*to {
                let (at, box_px) = (Pts(frame * 40_000_000), BoxPx::around([90.0, 90.0], 40.0, 50.0));
                strand.push(Seen {
                    frame,
                    at,
                    box_px,
                    seen: true,
                });
            }
            gathered.strands.insert(Which { track, kept: false }, strand);
            gathered.persons.insert(track, PersonId(track + 10));
            let (y, x) = degrees.to_radians().sin_cos();
            gathered.means.insert(PersonId(track + 10), vec![x, y]);
        }
        gathered
    }

    fn persons(gathered: &Gathered) -> Vec<u64> {
        let people = people(gathered, SAME);
        gathered.strands.keys().map(|w| people[&w.track]).collect()
    }

    #[test]
    fn a_person_is_one_across_cuts_and_two_that_look_different_are_two() {
        let film = film(&[(0, 20, 0.0), (21, 40, 90.0), (41, 60, 8.0), (61, 80, 95.0)], &[21, 41, 61]);
        assert_eq!(persons(&film), [0, 1, 0, 1]);
    }

    #[test]
    fn two_that_were_seen_in_one_frame_are_two_however_alike_and_the_more_alike_are_joined_first() {
        assert_eq!(persons(&film(&[(0, 20, 0.0), (20, 40, 0.0)], &[])), [0, 1]);
        // The third is like both, which were seen together; it is nearer to the second.
        assert_eq!(persons(&film(&[(0, 20, 0.0), (0, 20, 50.0), (21, 40, 30.0)], &[21])), [0, 1, 1]);
    }

    #[test]
    fn one_that_was_only_held_while_the_other_was_seen_may_be_the_same() {
        let mut film = film(&[(0, 20, 0.0), (25, 40, 3.0)], &[]);
        let lost = film.strands.get_mut(&Which { track: 0, kept: false }).expect("there");
        for frame in 21..35 {
            let last = *lost.last().expect("there");
            let at = Pts(frame * 40_000_000);
            lost.push(Seen {
                frame,
                at,
                seen: false,
                ..last
            });
        }
        assert_eq!(persons(&film), [0, 0]);
    }

    #[test]
    fn a_short_absence_is_filled_and_none_that_is_long_or_over_a_cut() {
        let ways = |gap: u64, cuts: &[u64]| {
            let film = film(&[(0, 20, 0.0), (20 + gap, 90, 0.0)], cuts);
            absences(&film, &people(&film, SAME)).len()
        };
        assert_eq!((ways(10, &[]), ways(60, &[]), ways(10, &[25])), (1, 0, 0));
    }
}
