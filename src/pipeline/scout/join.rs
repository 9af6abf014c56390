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

fn overlap(a: &Strand, b: &Strand) -> bool {
    let ends = |s: &Strand| Some((s.first()?.frame, s.last()?.frame));
    ends(a).zip(ends(b)).is_some_and(|(a, b)| a.0 <= b.1 && b.0 <= a.1)
}

/// Cosine of unit vectors of one length.
fn cos(a: &[f32], b: &[f32]) -> Option<f32> {
    (a.len() == b.len()).then(|| a.iter().zip(b).map(|(x, y)| x * y).sum())
}
