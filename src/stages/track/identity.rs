//! Which track is whose where several could be: tracks that stand on one face, faces that cross, persons
//! that return.
//!
//! | case | what tells | effect |
//! |---|---|---|
//! | two tracks, one face | overlap, one missed by the look that saw the other, never seen apart in 128 looks, not two locked persons | merged: older id, all regions kept |
//! | ids changed places in a crossing | an embedding that fits the other's mean and not the own, within `CROSS_S` | ids, persons and beginnings change back; boxes and regions stay |
//! | returning face | [`super::reid`] | the track gets the earlier person |

use crate::frame::Pts;

use super::reid::{Identified, unit};
use super::state::{Track, TrackId, TrackState};
use super::tracker::{SAME_FACE_IOU, Tracker};
use super::types::{TrackError, Updates};

/// Overlap from which tracks may have changed places.
const CROSS_IOU: f32 = 0.05;
/// How long after a crossing an embedding may put ids right, s.
const CROSS_S: f64 = 5.0;
/// How much better the other person must fit for that.
const SWAP_LEAD: f32 = 0.2;

impl Tracker {
    /// Joins tracks that stand on one face.
    pub(super) fn merge(&mut self, updates: &mut Updates) {
        while let Some((lost, seen)) = self.duplicate() {
            let gone_track = self.tracks.remove(lost);
            let seen = if seen > lost { seen - 1 } else { seen };
            let Some(track) = self.tracks.get_mut(seen) else { return };
            let newer = track.id.max(gone_track.id);
            let older = track.id.min(gone_track.id);
            if track.id != older {
                track.id = older;
                if !self.gallery.source(track.person).is_some_and(|s| s.locked) {
                    track.person = gone_track.person;
                }
            }
            if gone_track.first_seen < track.first_seen {
                (track.first_seen, track.first_box_px) = (gone_track.first_seen, gone_track.first_box_px);
            }
            track.sights = track.sights.saturating_add(gone_track.sights);
            track.inner.history |= gone_track.inner.history;
            let until = Pts(gone_track.last_seen.0.saturating_add(self.config.hold.as_nanos() as u64));
            let region = track
                .inner
                .also
                .map_or(gone_track.region_px, |(b, _)| b.hull(&gone_track.region_px));
            track.inner.also = Some((region, track.inner.also.map_or(until, |(_, u)| u.max(until))));
            track.region_px = track.region_px.hull(&region);
            updates.merged.push((newer, older));
            if updates.started.contains(&newer) {
                updates.started.retain(|id| *id != newer);
            } else {
                self.ended.push(newer);
            }
            updates.lost.retain(|id| *id != newer && *id != older);
        }
    }

    /// A track that this look missed on the box of one that it saw, never seen apart: (missed, seen).
    fn duplicate(&self) -> Option<(usize, usize)> {
        let locked = |t: &Track| self.gallery.source(t.person).is_some_and(|s| s.locked);
        self.tracks.iter().enumerate().find_map(|(i, a)| {
            if a.inner.history & 1 == 1 {
                return None;
            }
            let same = self.tracks.iter().position(|b| {
                b.inner.history & 1 == 1
                    && a.box_px.iou(&b.box_px) >= SAME_FACE_IOU
                    && !a.proven_apart(b)
                    && (a.person == b.person || !(locked(a) && locked(b)))
            })?;
            Some((i, same))
        })
    }

    pub(super) fn note_crossings(&mut self, at: Pts) {
        for i in 0..self.tracks.len() {
            let (head, tail) = self.tracks.split_at_mut(i);
            let Some(b) = tail.first_mut() else { return };
            for a in head.iter_mut().filter(|a| a.box_px.iou(&b.box_px) > CROSS_IOU) {
                a.inner.crossed = Some((b.id, at));
                b.inner.crossed = Some((a.id, at));
            }
        }
    }

    /// Takes an identity embedding of a track's face and what it is worth (0–1).
    ///
    /// # Errors
    /// An unknown id, or an embedding without direction or of another length than before.
    pub fn embedding(&mut self, id: TrackId, embedding: &[f32], quality: f32) -> Result<Identified, TrackError> {
        let e = unit(embedding)?;
        let at = self.now.unwrap_or_default();
        let index = self.tracks.iter().position(|t| t.id == id).ok_or(TrackError::UnknownTrack(id))?;
        if let Some(with) = self.swapped(index, &e, at) {
            return Ok(Identified::Swapped { with });
        }
        let tracks = &self.tracks;
        let Some(me) = tracks.get(index).map(|t| t.person) else {
            return Err(TrackError::UnknownTrack(id));
        };
        let learnt = self
            .gallery
            .learn(me, &e, quality, &self.config, |p| tracks.iter().any(|t| t.person == p))?;
        let seen = |p| tracks.iter().any(|t| t.id != id && t.person == p && t.state != TrackState::Held);
        let Some(person) = self.gallery.recognise(me, &self.config, seen) else {
            return Ok(learnt);
        };
        if let Some(track) = self.tracks.get_mut(index) {
            track.person = person;
        }
        Ok(Identified::Returned { provisional: me, person })
    }

    /// Puts ids right where an embedding shows that two tracks changed places when they crossed.
    fn swapped(&mut self, index: usize, e: &[f32], at: Pts) -> Option<TrackId> {
        let track = self.tracks.get(index)?;
        let (with, when) = track.inner.crossed?;
        let other = self.tracks.iter().position(|t| t.id == with)?;
        let (own, foreign) = (track.person, self.tracks.get(other)?.person);
        let known = |p| self.gallery.source(p).is_some_and(|s| s.locked || s.samples >= 3);
        if at.seconds_since(when) > CROSS_S || own == foreign || !known(own) || !known(foreign) {
            return None;
        }
        let (own_cos, foreign_cos) = (self.gallery.cos_to(own, e)?, self.gallery.cos_to(foreign, e)?);
        if foreign_cos < self.config.reid_cos || own_cos >= self.config.reid_cos || own_cos > foreign_cos - SWAP_LEAD {
            return None;
        }
        let (a, b) = (self.tracks.get(index).copied()?, self.tracks.get(other).copied()?);
        for (place, from) in [(index, b), (other, a)] {
            let track = self.tracks.get_mut(place)?;
            (track.id, track.person) = (from.id, from.person);
            (track.first_seen, track.first_box_px) = (from.first_seen, from.first_box_px);
            track.inner.crossed = None;
        }
        self.tracks.sort_unstable_by_key(|t| t.id);
        Some(with)
    }
}
