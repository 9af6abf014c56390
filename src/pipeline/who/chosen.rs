//! Tracks that somebody watching chose to leave as they are.
//!
//! A choice is of a person, not of a number: when it is made, what the track's face is like is noted, once that is
//! known well; from then on every look at the face is held against it by the rule for recognised photos. So a track
//! that slips to somebody else is anonymised at the first look that contradicts, and one that meets another
//! face begins anew. What was noted stays for as long as the choice.

use std::collections::HashMap;

use crate::frame::Pts;
use crate::stages::identify::Embedding;

use super::Verdict;
use super::decide::{Choice, Decider, KeepReason, Rule};

/// The tracks chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    decider: Decider,
    /// What each face was like when it was chosen; none until that is known.
    faces: HashMap<u64, Option<Embedding>>,
}

impl Chosen {
    pub(super) fn new(limit: f32) -> Self {
        Self {
            decider: Decider::new(Rule::KeepRecognised, limit),
            faces: HashMap::new(),
        }
    }

    /// Takes over which tracks are chosen. One that is chosen anew is looked at anew.
    pub(super) fn choose(&mut self, tracks: &[u64]) {
        self.faces.retain(|track, _| tracks.contains(track));
        for track in tracks {
            self.faces.entry(*track).or_default();
        }
        let faces = &self.faces;
        self.decider.retain(|track| faces.contains_key(&track));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.faces.is_empty()
    }

    pub(super) fn is_due(&self, track: u64, at: Pts) -> bool {
        self.faces.contains_key(&track) && self.decider.is_due(track, at)
    }

    /// Takes an embedding of a track's face. `known` is what the track's face is like by many looks before, where
    /// there were enough.
    pub(super) fn sample(&mut self, track: u64, at: Pts, embedding: &Embedding, known: Option<&[f32]>) {
        let Some(face) = self.faces.get_mut(&track) else { return };
        if face.is_none() {
            *face = known.map(|mean| Embedding(mean.to_vec()));
        }
        if let Some(face) = face {
            let cos = face.cos(embedding).unwrap_or(f32::NAN);
            self.decider.sample(track, at, cos, true);
        }
    }

    pub(super) fn doubt(&mut self, track: u64) {
        self.decider.doubt(track);
    }

    /// What the choice says of a track; nothing of one that was not chosen.
    pub(super) fn verdict(&self, track: u64, at: Pts) -> Option<Verdict> {
        let verdict = self.faces.contains_key(&track).then(|| self.decider.verdict(track, at))?;
        Some(Verdict {
            choice: Some(if verdict.keep.is_some() { Choice::Hand } else { Choice::Undecided }),
            keep: verdict.keep.map(|(_, cos)| (KeepReason::Hand, cos)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: f32 = 0.48;

    fn at(n: u64) -> Pts {
        Pts(n * 100_000_000)
    }

    fn face(angle: f32) -> Embedding {
        Embedding(vec![angle.cos(), angle.sin()])
    }

    /// Track 1 chosen, its face known, and seen ten times.
    fn kept() -> Chosen {
        let mut chosen = Chosen::new(LIMIT);
        chosen.choose(&[1]);
        for n in 0..10 {
            chosen.sample(1, at(n), &face(0.1), Some(&[1.0, 0.0]));
        }
        assert!(matches!(chosen.verdict(1, at(9)).and_then(|v| v.keep), Some((KeepReason::Hand, _))));
        chosen
    }

    #[test]
    fn a_track_that_slips_to_somebody_else_is_anonymised_at_once_and_stays_so() {
        let mut chosen = kept();
        for n in 10..60 {
            // However often: it is held against the face that was chosen, not against what the track became.
            chosen.sample(1, at(n), &face(1.5), Some(&[0.0, 1.0]));
            assert_eq!(chosen.verdict(1, at(n)).and_then(|v| v.keep), None, "look {n}");
        }
    }

    #[test]
    fn nobody_is_kept_before_the_face_is_known_nor_without_having_been_chosen() {
        let mut chosen = Chosen::new(LIMIT);
        chosen.choose(&[1]);
        for n in 0..30 {
            chosen.sample(1, at(n), &face(0.0), None);
            chosen.sample(2, at(n), &face(0.0), Some(&[1.0, 0.0]));
        }
        assert_eq!(
            chosen.verdict(1, at(29)).map(|v| (v.choice, v.keep)),
            Some((Some(Choice::Undecided), None))
        );
        assert_eq!(chosen.verdict(2, at(29)), None);
    }

    #[test]
    fn a_choice_taken_back_or_a_crossing_ends_it() {
        let mut chosen = kept();
        chosen.doubt(1);
        assert_eq!(chosen.verdict(1, at(9)).and_then(|v| v.keep), None);
        let mut chosen = kept();
        chosen.choose(&[]);
        assert!(chosen.is_empty() && chosen.verdict(1, at(9)).is_none());
    }
}
