//! Edits: each either does what it says and leaves a file that would be read again, or changes nothing.

use super::format::check_track;
use super::{Decision, Key, Origin, Place, Span, Track, Tracks, TracksError, spans};
use crate::frame::Pts;

impl Tracks {
    /// Adds a face that somebody drew: boxes at one or more times, interpolated between them. Frames shown from
    /// the first to the last, both included, have it. Returns its number; it is a person of its own.
    ///
    /// # Errors
    /// [`TracksError::Field`]: no key, times that do not rise or lie outside the film, a box outside the picture.
    pub fn add(&mut self, keys: Vec<Key>, decision: Decision) -> Result<u64, TracksError> {
        let track = Track {
            id: self.next_id(),
            person: self.tracks.iter().map(|t| t.person + 1).max().unwrap_or(0),
            score: 1.0,
            decision,
            why: Some("by hand".to_owned()),
            spans: vec![Span {
                origin: Origin::ByHand,
                keys,
            }],
        };
        check_track(&track, &self.film, Place::Edit)?;
        let id = track.id;
        self.tracks.push(track);
        Ok(id)
    }

    /// Takes a track out: nothing is covered for it any more.
    ///
    /// # Errors
    /// [`TracksError::UnknownTrack`].
    pub fn drop_track(&mut self, id: u64) -> Result<Track, TracksError> {
        let place = self.place(id)?;
        Ok(self.tracks.remove(place))
    }

    /// Makes two tracks one, of `into`'s number and person; where both are there, the hull of their boxes counts.
    /// Of their decisions that which shows less holds.
    ///
    /// # Errors
    /// [`TracksError::UnknownTrack`]; [`TracksError::Field`] where both numbers are the same.
    pub fn merge(&mut self, into: u64, other: u64) -> Result<(), TracksError> {
        let (place, _) = (self.place(into)?, self.place(other)?);
        if into == other {
            return Err(TracksError::Field {
                place: Place::Edit,
                field: "tracks".to_owned(),
                expected: "two different numbers".to_owned(),
                got: format!("{into} twice"),
            });
        }
        let gone = self.track(other)?.clone();
        if let Some(track) = self.tracks.get_mut(place) {
            track.spans = spans::union(&track.spans, &gone.spans);
            track.score = track.score.max(gone.score);
            let decision = track.decision.stricter(gone.decision);
            if decision != track.decision {
                (track.decision, track.why) = (decision, gone.why);
            }
        }
        self.tracks.retain(|t| t.id != other);
        Ok(())
    }

    /// Parts a track: what is shown from `at` on becomes a track of its own, whose number is returned, with the
    /// same person and decision.
    ///
    /// # Errors
    /// [`TracksError::UnknownTrack`]; [`TracksError::Field`] where one part would be empty.
    pub fn split(&mut self, id: u64, at: Pts) -> Result<u64, TracksError> {
        let place = self.place(id)?;
        let track = self.track(id)?;
        let (before, after) = spans::split(&track.spans, at);
        if before.is_empty() || after.is_empty() {
            let ends = (track.spans.first().map(Span::from), track.spans.last().map(Span::to));
            return Err(TracksError::Field {
                place: Place::Edit,
                field: "at".to_owned(),
                expected: format!(
                    "a time inside track {id}, after {} s and up to {} s",
                    ends.0.unwrap_or_default().seconds(),
                    ends.1.unwrap_or_default().seconds()
                ),
                got: format!("{} s", at.seconds()),
            });
        }
        let late = Track {
            id: self.next_id(),
            spans: after,
            ..track.clone()
        };
        let id = late.id;
        if let Some(track) = self.tracks.get_mut(place) {
            track.spans = before;
        }
        self.tracks.push(late);
        Ok(id)
    }

    /// Decides what shall become of a track. `why` says who decided.
    ///
    /// # Errors
    /// [`TracksError::UnknownTrack`].
    pub fn decide(&mut self, id: u64, decision: Decision, why: &str) -> Result<(), TracksError> {
        let place = self.place(id)?;
        if let Some(track) = self.tracks.get_mut(place) {
            (track.decision, track.why) = (decision, Some(why.to_owned()));
        }
        Ok(())
    }

    fn next_id(&self) -> u64 {
        self.tracks.iter().map(|t| t.id + 1).max().unwrap_or(0)
    }

    fn place(&self, id: u64) -> Result<usize, TracksError> {
        let found = self.tracks.iter().position(|t| t.id == id);
        found.ok_or_else(|| self.unknown(id))
    }
}
