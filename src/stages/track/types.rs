//! What goes into a tracker and what comes out, with the ranges of its settings.
//!
//! Why own types: a stage knows no sibling, so detections and meshes arrive as [`Observation`]s and boxes.

use std::sync::Arc;
use std::time::Duration;

use crate::frame::{BoxPx, Landmarks5};

use super::state::TrackId;

/// Who saw a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObservationSource {
    /// The detector.
    Detector,
    /// The face mesh of a track.
    Mesh,
    /// Somebody upstream in the pipeline.
    Upstream,
}

/// A face seen in a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Box, frame px; may reach over the border.
    pub box_px: BoxPx,
    /// Confidence, 0–1.
    pub score: f32,
    /// Five points where known.
    pub landmarks: Option<Landmarks5>,
    /// Who saw it.
    pub source: ObservationSource,
    /// Identity embedding where the caller made one already: breaks ties between crossing faces.
    pub embedding: Option<Arc<[f32]>>,
}

impl Observation {
    /// A detector's box without points and embedding.
    #[must_use]
    pub fn detected(box_px: BoxPx, score: f32) -> Self {
        Self {
            box_px,
            score,
            landmarks: None,
            source: ObservationSource::Detector,
            embedding: None,
        }
    }
}

/// Why an observation cannot be a face. It starts and moves nothing. A detector that reports such boxes
/// is broken, and its caller should treat the look as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RejectReason {
    /// A corner is NaN or infinite.
    #[error("box corner: expected a finite number")]
    NotFinite,
    /// No area, or corners the wrong way round.
    #[error("box: expected a positive width and height")]
    Empty,
    /// No part of the box is inside the frame.
    #[error("box: expected a part inside the frame")]
    Outside,
    /// A corner further away than any face that touches the frame can reach.
    #[error("box: expected corners within 16 frame sides of the frame")]
    TooFar,
    /// Confidence is NaN or infinite.
    #[error("score: expected a finite number")]
    BadScore,
    /// A mesh that fits to something else than its track's face.
    #[error("box: expected inside the track's region and of its size")]
    Elsewhere,
    /// The frame has no area.
    #[error("frame: expected a positive width and height")]
    EmptyFrame,
}

/// An observation that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// Its place in the list that was given.
    pub index: usize,
    /// Why.
    pub reason: RejectReason,
}

/// What one look of the detector changed. Each list is in order of track id, or of place where there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Updates {
    /// Tracks that begin in this frame.
    pub started: Vec<TrackId>,
    /// Tracks that were seen by this look.
    pub matched: Vec<TrackId>,
    /// Tracks that were missed and are held from now on.
    pub lost: Vec<TrackId>,
    /// Tracks that are no more, also those that ended since the last look.
    pub ended: Vec<TrackId>,
    /// Second tracks of one face: (gone, the one that has its region now). `gone` is in `ended` too.
    pub merged: Vec<(TrackId, TrackId)>,
    /// Low-score boxes near no track: nothing is covered there; look harder.
    pub suspects: Vec<BoxPx>,
    /// High-score boxes for which no track was free. No region covers them: the caller must.
    pub overflow: Vec<BoxPx>,
    /// What could not be taken.
    pub rejected: Vec<Rejected>,
}

/// Why the tracker refuses a call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrackError {
    /// A setting outside its range.
    #[error("tracker setting {name}: expected {expected}, got {got}")]
    Setting {
        /// Which.
        name: &'static str,
        /// Range.
        expected: &'static str,
        /// Value.
        got: String,
    },
    /// No track has this id (any more).
    #[error("tracker: expected a live track, got id {}", .0.0)]
    UnknownTrack(TrackId),
    /// A mesh box that cannot be a face; the track goes on unrefined.
    #[error("tracker refinement: {0}")]
    BadRefinement(RejectReason),
    /// An embedding that says nothing.
    #[error("tracker embedding: expected {expected}, got {got}")]
    BadEmbedding {
        /// What an embedding must be.
        expected: &'static str,
        /// What came.
        got: String,
    },
}

/// Settings of a tracker.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackerConfig {
    /// Score from which an observation starts a track, 0–1.
    pub high: f32,
    /// Score from which an observation extends one, 0–`high`.
    pub low: f32,
    /// How long a lost face's region stays covered, 0–60 s.
    pub hold: Duration,
    /// How long velocity is extrapolated without a sight of the face, 0–2 s.
    pub coast: Duration,
    /// Growth of an unseen face's region, sides of the face per second and edge, 0–10.
    pub growth_per_s: f32,
    /// Bound of that growth and of the motion model's uncertainty, sides of the face per edge, 0–4.
    pub growth_max: f32,
    /// Tracks at once, 64–1024.
    pub max_tracks: usize,
    /// Sights after which a track is confirmed, 1–100.
    pub confirm_sights: u32,
    /// Mesh probability from which a refinement counts as a sight, 0–1.
    pub face_prob: f32,
    /// Cosine from which two embeddings are one person, 0–1: the recogniser's own point.
    pub reid_cos: f32,
    /// Persons remembered, 64–4096.
    pub max_persons: usize,
    /// Embeddings after which a track's source identity may be locked, 1–1000.
    pub lock_samples: u32,
    /// A break between two frames after which the detector should look, 0–60 s.
    pub gap: Duration,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            high: 0.5,
            low: 0.2,
            hold: Duration::from_millis(1000),
            coast: Duration::from_millis(250),
            growth_per_s: 0.5,
            growth_max: 0.5,
            max_tracks: 256,
            confirm_sights: 2,
            face_prob: 0.5,
            reid_cos: 0.4,
            max_persons: 256,
            lock_samples: 5,
            gap: Duration::from_millis(300),
        }
    }
}

impl TrackerConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// [`TrackError::Setting`] names the first value outside its range.
    pub fn check(&self) -> Result<(), TrackError> {
        let wrong = |name, expected, got: &dyn std::fmt::Display| {
            Err(TrackError::Setting {
                name,
                expected,
                got: got.to_string(),
            })
        };
        if !(0.0..=1.0).contains(&self.high) {
            return wrong("high", "0–1", &self.high);
        }
        if !(0.0..=self.high).contains(&self.low) {
            return wrong("low", "0–high", &self.low);
        }
        for (name, value, expected, most) in [
            ("hold", self.hold, "0–60 s", 60.0),
            ("coast", self.coast, "0–2 s", 2.0),
            ("gap", self.gap, "0–60 s", 60.0),
        ] {
            if value.as_secs_f64() > most {
                return wrong(name, expected, &format!("{value:?}"));
            }
        }
        if !(0.0..=10.0).contains(&self.growth_per_s) {
            return wrong("growth_per_s", "0–10", &self.growth_per_s);
        }
        if !(0.0..=4.0).contains(&self.growth_max) {
            return wrong("growth_max", "0–4", &self.growth_max);
        }
        if !(64..=1024).contains(&self.max_tracks) {
            return wrong("max_tracks", "64–1024", &self.max_tracks);
        }
        if !(1..=100).contains(&self.confirm_sights) {
            return wrong("confirm_sights", "1–100", &self.confirm_sights);
        }
        if !(0.0..=1.0).contains(&self.face_prob) {
            return wrong("face_prob", "0–1", &self.face_prob);
        }
        if !(0.0..=1.0).contains(&self.reid_cos) {
            return wrong("reid_cos", "0–1", &self.reid_cos);
        }
        if !(64..=4096).contains(&self.max_persons) {
            return wrong("max_persons", "64–4096", &self.max_persons);
        }
        if !(1..=1000).contains(&self.lock_samples) {
            return wrong("lock_samples", "1–1000", &self.lock_samples);
        }
        Ok(())
    }
}

/// How far corners may lie outside, in sides of the frame: keeps every later product finite.
const REACH: f32 = 16.0;

/// Whether a box can be a face of a frame of this size.
pub(super) fn check_box(b: &BoxPx, frame_w: u32, frame_h: u32) -> Result<(), RejectReason> {
    if frame_w == 0 || frame_h == 0 {
        return Err(RejectReason::EmptyFrame);
    }
    let corners = [b.x0, b.y0, b.x1, b.y1];
    if corners.iter().any(|v| !v.is_finite()) {
        return Err(RejectReason::NotFinite);
    }
    // Below a thousandth of a pixel products underflow; nothing that small is a face.
    if b.x1 - b.x0 < 1e-3 || b.y1 - b.y0 < 1e-3 {
        return Err(RejectReason::Empty);
    }
    let reach = REACH * frame_w.max(frame_h) as f32;
    if corners.iter().any(|v| v.abs() > reach) {
        return Err(RejectReason::TooFar);
    }
    if b.clipped(frame_w, frame_h).area() <= 0.0 {
        return Err(RejectReason::Outside);
    }
    Ok(())
}
