//! The tracks of one stream: who continues, who begins, who is held, who ends.
//!
//! Two thresholds as in ByteTrack (Zhang et al. 2022): observations of at least `high` are assigned first
//! and begin tracks; those of at least `low` only extend what is left over. Unlike there, nothing waits for
//! confirmation: whatever scores `high` is inside a region from that very frame on, because a face that is
//! confirmed a frame late was shown for a frame.
//!
//! | event | effect |
//! |---|---|
//! | seen | region ⊇ all boxes observed in the frame |
//! | missed by a look, not seen by its mesh | held: predicted and growing, for `hold` since last seen |
//! | missed, prediction out of the frame and last seen at that border | ends |
//! | never looked for | stays covered: only a look that missed it starts the end |
//! | scene cut, flush | all end; persons stay known |
//! | two tracks on one box, never seen in one look | merge: the older id goes on, the lost one's region stays covered for the rest of its hold |
//!
//! The result does not depend on the order of observations: they are sorted first.

use crate::frame::{BoxPx, Landmarks5, Pts};

use super::assign::{SIZE_GATE, assign, fit, with_cos};
use super::kalman::Noise;
use super::reid::{Gallery, SourceIdentity, unit};
use super::state::{Track, TrackId, TrackState};
use super::types::{Observation, ObservationSource, RejectReason, Rejected, TrackError, TrackerConfig, Updates, check_box};

/// Gate of a face seen just now, sides between centres.
const REACH: f32 = 0.7;
/// What the gate gains for a face not seen for half a second and more.
const REACH_LOST: f32 = 0.8;
/// Gate of weak observations: they only extend.
const REACH_WEAK: f32 = 0.4;
/// Fit of a box that is only somewhere in the region of a lost face.
const INSIDE_FIT: f32 = 0.1;
/// Overlap from which two boxes of one frame are one face, and two tracks one track.
pub(super) const SAME_FACE_IOU: f32 = 0.6;
/// Share inside the frame below which a lost face has left.
const LEFT_SHARE: f32 = 0.15;
/// Distance to the border, in sides, from which a face can leave in a look.
const AT_BORDER: f32 = 0.25;

/// Tracks of one stream.
#[derive(Debug, Clone)]
pub struct Tracker {
    pub(super) config: TrackerConfig,
    pub(super) tracks: Vec<Track>,
    pub(super) gallery: Gallery,
    next: u64,
    pub(super) now: Option<Pts>,
    pub(super) looked_now: bool,
    pub(super) looked_ever: bool,
    pub(super) broke: bool,
    pub(super) overflowed: bool,
    pub(super) frame: (u32, u32),
    pub(super) ended: Vec<TrackId>,
}

impl Tracker {
    /// An empty tracker.
    ///
    /// # Errors
    /// [`TrackError::Setting`] where a value is outside its range.
    pub fn new(config: TrackerConfig) -> Result<Self, TrackError> {
        config.check()?;
        Ok(Self {
            config,
            tracks: Vec::new(),
            gallery: Gallery::default(),
            next: 0,
            now: None,
            looked_now: false,
            looked_ever: false,
            broke: false,
            overflowed: false,
            frame: (0, 0),
            ended: Vec::new(),
        })
    }

    /// Takes new settings; tracks go on.
    ///
    /// # Errors
    /// [`TrackError::Setting`]; the old settings stay.
    pub fn configure(&mut self, config: TrackerConfig) -> Result<(), TrackError> {
        config.check()?;
        self.config = config;
        Ok(())
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &TrackerConfig {
        &self.config
    }

    /// All tracks as of the last call, by id. Every `region_px` must be covered.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// One track.
    #[must_use]
    pub fn track(&self, id: TrackId) -> Option<&Track> {
        self.tracks.iter().find(|t| t.id == id)
    }

    /// A track's source identity, once it was embedded.
    #[must_use]
    pub fn source(&self, id: TrackId) -> Option<SourceIdentity<'_>> {
        self.track(id).and_then(|t| self.gallery.source(t.person))
    }

    /// Persons remembered.
    #[must_use]
    pub fn persons(&self) -> usize {
        self.gallery.len()
    }

    /// Begins the frame shown at `at`: call once a frame, also where time stands, jumps or runs back.
    pub fn predict(&mut self, at: Pts) -> &[Track] {
        self.broke = self
            .now
            .is_some_and(|now| at < now || at.seconds_since(now) > self.config.gap.as_secs_f64());
        self.now = Some(at);
        self.looked_now = false;
        for track in &mut self.tracks {
            track.advance(at, &self.config);
        }
        self.end_expired(at);
        &self.tracks
    }

    /// Takes what the detector, or somebody upstream, saw in the frame at `at`. An empty list means that it
    /// looked and saw nothing; where it did not look, do not call. May be called again for the same frame.
    pub fn detections(&mut self, at: Pts, frame_w: u32, frame_h: u32, observations: &[Observation]) -> Updates {
        self.detections_in(at, frame_w, frame_h, None, observations)
    }

    /// [`Self::detections`] of a look that went over a part of the frame: a face that does not lie in it whole
    /// was not looked for, so it cannot have been missed.
    pub fn detections_in(&mut self, at: Pts, frame_w: u32, frame_h: u32, part_px: Option<&BoxPx>, observations: &[Observation]) -> Updates {
        if self.now != Some(at) {
            self.predict(at);
        }
        self.frame = (frame_w, frame_h);
        let mut updates = Updates::default();
        let usable = usable(observations, frame_w, frame_h, &mut updates.rejected);
        let first_look = !self.looked_now;
        let part_px = part_px.map(|p| beyond_borders(p, frame_w, frame_h));
        let looked_for = |t: &Track| part_px.is_none_or(|p| t.box_px.hull(&p) == p);
        let mut sought = Vec::with_capacity(self.tracks.len());
        if first_look {
            for track in self.tracks.iter_mut().filter(|t| looked_for(t)) {
                track.inner.history <<= 1;
                sought.push(track.id);
            }
        }
        let (strong, rest): (Vec<_>, Vec<_>) = usable.into_iter().partition(|o| o.score >= self.config.high);
        let weak: Vec<_> = rest.into_iter().filter(|o| o.score >= self.config.low).collect();
        let everybody: Vec<usize> = (0..self.tracks.len()).collect();
        let taken = self.associate(at, &everybody, &strong, Noise::DETECTOR, None);
        let unseen: Vec<usize> = everybody.into_iter().filter(|&i| !self.looked_at(i)).collect();
        let taken_weak = self.associate(at, &unseen, &weak, Noise::WEAK, Some(REACH_WEAK));
        self.begin(at, &strong, &taken, &mut updates);
        updates.suspects = self.suspects(&weak, &taken_weak);

        if first_look {
            self.miss(&sought, &mut updates);
        }
        self.looked_now = true;
        self.looked_ever = true;
        self.overflowed = !updates.overflow.is_empty();
        self.merge(&mut updates);
        self.end_expired(at);
        self.note_crossings(at);
        self.tracks.sort_unstable_by_key(|t| t.id);
        updates.matched = self
            .tracks
            .iter()
            .filter(|t| t.inner.history & 1 == 1 && t.seen_now() && !updates.started.contains(&t.id))
            .map(|t| t.id)
            .collect();
        updates.ended.append(&mut self.ended);
        updates.ended.sort_unstable();
        updates.lost.retain(|id| updates.ended.binary_search(id).is_err());
        updates
    }

    fn looked_at(&self, index: usize) -> bool {
        self.tracks.get(index).is_some_and(|t| t.inner.history & 1 == 1)
    }

    /// Gives observations to some of the tracks; which observations were taken.
    fn associate(&mut self, at: Pts, rows: &[usize], observations: &[&Observation], noise: Noise, reach: Option<f32>) -> Vec<bool> {
        let mut taken = vec![false; observations.len()];
        let hold_s = self.config.hold.as_secs_f32().max(1e-3);
        let pairs = assign(rows.len(), observations.len(), |r, c| {
            let track = rows.get(r).and_then(|&i| self.tracks.get(i))?;
            let seen = observations.get(c)?;
            let age_s = at.seconds_since(track.last_seen) as f32;
            let reach = reach.unwrap_or(REACH + (2.0 * age_s).min(REACH_LOST));
            let predicted = fit(&track.box_px, &seen.box_px, reach);
            let stayed = fit(&track.inner.seen_hull, &seen.box_px, reach).filter(|_| track.state == TrackState::Held);
            let motion = [predicted, stayed, inside(track, &seen.box_px)]
                .into_iter()
                .flatten()
                .reduce(f32::max)?;
            let motion = motion * (1.0 - 0.1 * (age_s / hold_s).min(1.0));
            let cos = seen
                .embedding
                .as_ref()
                .and_then(|e| unit(e).ok())
                .and_then(|e| self.gallery.cos_to(track.person, &e));
            Some(cos.map_or(motion, |cos| with_cos(motion, cos)))
        });
        for (r, c) in pairs {
            let (Some(track), Some(seen)) = (rows.get(r).and_then(|&i| self.tracks.get_mut(i)), observations.get(c)) else {
                continue;
            };
            track.score = seen.score;
            track.inner.history |= 1;
            track.sight(&seen.box_px, seen.landmarks, seen.source, noise, at, &self.config);
            if let Some(slot) = taken.get_mut(c) {
                *slot = true;
            }
        }
        taken
    }

    /// Begins tracks for strong observations that nobody took.
    fn begin(&mut self, at: Pts, strong: &[&Observation], taken: &[bool], updates: &mut Updates) {
        for (seen, _) in strong.iter().zip(taken).filter(|(_, taken)| !**taken) {
            let same = self
                .tracks
                .iter_mut()
                .filter(|t| t.seen_now())
                .map(|t| (t.inner.seen_hull.iou(&seen.box_px), t))
                .filter(|(iou, _)| *iou >= SAME_FACE_IOU)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((_, track)) = same {
                track.absorb(&seen.box_px, at);
                continue;
            }
            if self.tracks.len() >= self.config.max_tracks {
                updates.overflow.push(seen.box_px);
                continue;
            }
            let id = TrackId(self.next);
            self.next += 1;
            let mut track = Track::start(id, self.gallery.provisional(), seen.box_px, at);
            track.score = seen.score;
            track.inner.history = 1;
            track.sight(&seen.box_px, seen.landmarks, seen.source, Noise::DETECTOR, at, &self.config);
            self.tracks.push(track);
            updates.started.push(id);
        }
    }

    /// Weak observations that no track took and no region holds.
    fn suspects(&self, weak: &[&Observation], taken: &[bool]) -> Vec<BoxPx> {
        weak.iter()
            .zip(taken)
            .filter(|(seen, taken)| !**taken && !self.tracks.iter().any(|t| seen.box_px.share_inside(&t.region_px) >= 0.5))
            .map(|(seen, _)| seen.box_px)
            .collect()
    }

    /// What the look did not see is held, or has left the frame.
    fn miss(&mut self, sought: &[TrackId], updates: &mut Updates) {
        let (w, h) = self.frame;
        let missed = |t: &&mut Track| t.inner.history & 1 == 0 && sought.contains(&t.id);
        for track in self.tracks.iter_mut().filter(missed) {
            track.misses = track.misses.saturating_add(1);
            if track.seen_now() {
                continue;
            }
            if track.state != TrackState::Held {
                track.state = TrackState::Held;
                updates.lost.push(track.id);
            }
        }
        let ended = &mut self.ended;
        self.tracks.retain(|t| {
            let left = t.state == TrackState::Held && t.misses > 0 && has_left(t, w, h);
            if left {
                ended.push(t.id);
            }
            !left
        });
    }

    fn end_expired(&mut self, at: Pts) {
        let hold_s = self.config.hold.as_secs_f64();
        let ended = &mut self.ended;
        self.tracks.retain(|t| {
            let over = t.state == TrackState::Held && t.misses > 0 && at.seconds_since(t.last_seen) > hold_s;
            if over {
                ended.push(t.id);
            }
            !over
        });
    }

    /// Takes what the mesh fitter saw of a track in the frame last begun. A `face_prob` below the setting
    /// means that there is no face: unless the detector saw it in this frame, the track is held.
    ///
    /// # Errors
    /// An unknown id, or a mesh that cannot be this track's face; the track then counts as not seen by its mesh.
    pub fn refine(&mut self, id: TrackId, mesh_px: BoxPx, landmarks: Option<Landmarks5>, face_prob: f32) -> Result<(), TrackError> {
        let at = self.now.unwrap_or_default();
        let (w, h) = self.frame;
        let track = self.tracks.iter_mut().find(|t| t.id == id).ok_or(TrackError::UnknownTrack(id))?;
        let sure = face_prob.is_finite() && face_prob >= self.config.face_prob;
        let fits = check_box(&mesh_px, w, h).and_then(|()| {
            let inside = mesh_px.share_inside(&track.region_px) >= 0.5;
            let ratio = mesh_px.area() / track.box_px.area();
            if inside && (0.16..=6.25).contains(&ratio) {
                Ok(())
            } else {
                Err(RejectReason::Elsewhere)
            }
        });
        if sure && fits.is_ok() {
            track.face_prob = Some(face_prob.min(1.0));
            track.sight(&mesh_px, landmarks, ObservationSource::Mesh, Noise::MESH, at, &self.config);
            return Ok(());
        }
        track.face_prob = Some(if sure || !face_prob.is_finite() { 0.0 } else { face_prob.max(0.0) });
        if !track.seen_now() {
            track.state = TrackState::Held;
        }
        if sure { fits.map_err(TrackError::BadRefinement) } else { Ok(()) }
    }

    /// The picture at `at` is another scene: all tracks end now. Call before [`Self::detections`] of that frame.
    pub fn scene_cut(&mut self, at: Pts) -> Vec<TrackId> {
        let ended = self.flush();
        self.now = Some(at);
        ended
    }

    /// Another place of the film, another size: all tracks end. Persons and ids go on.
    pub fn flush(&mut self) -> Vec<TrackId> {
        let mut ended = std::mem::take(&mut self.ended);
        ended.extend(self.tracks.drain(..).map(|t| t.id));
        ended.sort_unstable();
        self.now = None;
        self.looked_now = false;
        self.looked_ever = false;
        self.broke = false;
        self.overflowed = false;
        ended
    }

    /// Forgets every person: for another film. Ids go on.
    pub fn forget_persons(&mut self) {
        self.flush();
        self.gallery.clear();
    }
}

/// A looked-at part of the frame, without end where it ends with the frame: faces reach beyond borders.
fn beyond_borders(part: &BoxPx, w: u32, h: u32) -> BoxPx {
    BoxPx {
        x0: if part.x0 <= 0.0 { f32::MIN } else { part.x0 },
        y0: if part.y0 <= 0.0 { f32::MIN } else { part.y0 },
        x1: if part.x1 >= w as f32 { f32::MAX } else { part.x1 },
        y1: if part.y1 >= h as f32 { f32::MAX } else { part.y1 },
    }
}

/// The observations that can be faces, in an order that does not depend on that of the list.
fn usable<'a>(observations: &'a [Observation], w: u32, h: u32, rejected: &mut Vec<Rejected>) -> Vec<&'a Observation> {
    let mut usable: Vec<&Observation> = Vec::with_capacity(observations.len());
    for (index, seen) in observations.iter().enumerate() {
        let score = if seen.score.is_finite() {
            Ok(())
        } else {
            Err(RejectReason::BadScore)
        };
        match check_box(&seen.box_px, w, h).and(score) {
            Ok(()) => usable.push(seen),
            Err(reason) => rejected.push(Rejected { index, reason }),
        }
    }
    let key = |o: &Observation| [-o.score, o.box_px.x0, o.box_px.y0, o.box_px.x1, o.box_px.y1];
    usable.sort_by(|a, b| {
        let by_number = key(a).iter().zip(key(b).iter()).map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne());
        by_number.unwrap_or(std::cmp::Ordering::Equal).then(a.source.cmp(&b.source))
    });
    usable
}

/// A box in the region of a track that is not sure where its face is: a poor fit, but better than a new face.
fn inside(track: &Track, seen: &BoxPx) -> Option<f32> {
    let unsure = track.state == TrackState::Held || track.inner.strong_seen < track.last_seen;
    let [x, y] = seen.center();
    let r = track.region_px;
    let ratio = (seen.area() / track.box_px.area()).sqrt();
    let open = unsure && (r.x0..r.x1).contains(&x) && (r.y0..r.y1).contains(&y) && (1.0 / SIZE_GATE..=SIZE_GATE).contains(&ratio);
    open.then_some(INSIDE_FIT)
}

/// Whether a lost face went out over the border.
fn has_left(track: &Track, w: u32, h: u32) -> bool {
    let (last, margin) = (track.inner.seen_hull, AT_BORDER * track.inner.seen_hull.side());
    let at_border = last.x0 < margin || last.y0 < margin || last.x1 > w as f32 - margin || last.y1 > h as f32 - margin;
    let frame = BoxPx {
        x0: 0.0,
        y0: 0.0,
        x1: w as f32,
        y1: h as f32,
    };
    at_border && track.box_px.share_inside(&frame) < LEFT_SHARE
}
