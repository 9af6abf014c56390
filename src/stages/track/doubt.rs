//! When the detector should look although its turn has not come.
//!
//! The engine may refuse for want of time: nothing here uncovers anything. The most urgent reason is given
//! first: what may show a raw face, before what may only lose an id.

use crate::frame::{BoxPx, Pts};

use super::state::{Track, TrackId, TrackState};
use super::tracker::Tracker;

/// A box predicted for longer than this, without detector or mesh, is guesswork, s.
const PREDICTED_S: f64 = 0.15;
/// Faster is fast, sides/s.
const FAST: f32 = 1.5;
/// Zooming faster is fast, 1/s.
const FAST_ZOOM: f32 = 1.0;
/// How near the border counts, sides.
const NEAR_BORDER: f32 = 0.2;
/// Speed towards it from which it matters, sides/s.
const TOWARDS_BORDER: f32 = 0.25;
/// How far ahead a crossing is foreseen, s.
const AHEAD_S: f32 = 0.1;

/// Why the detector should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It never looked at this scene.
    FirstLook,
    /// Time jumped.
    Gap,
    /// There were more faces than tracks.
    Overflow,
    /// The mesh sees no face where the track is.
    FaceLost(TrackId),
    /// A face is lost and its region held.
    Held(TrackId),
    /// A box that neither detector nor mesh has seen for a while.
    Predicted(TrackId),
    /// A face moves or zooms fast.
    Fast(TrackId),
    /// A face is about to cross the border.
    Border(TrackId),
    /// Two faces cross.
    Crossing(TrackId, TrackId),
}

impl Tracker {
    /// Why the detector should look at the frame at `at`; `None` where it has looked or need not.
    #[must_use]
    pub fn needs_detection(&self, at: Pts) -> Option<Why> {
        if self.looked_now && self.now == Some(at) {
            return None;
        }
        if !self.looked_ever {
            return Some(Why::FirstLook);
        }
        let jumped = self
            .now
            .is_some_and(|now| at < now || at.seconds_since(now) > self.config.gap.as_secs_f64());
        if self.broke || jumped {
            return Some(Why::Gap);
        }
        if self.overflowed {
            return Some(Why::Overflow);
        }
        let tracks = self.tracks.iter().filter_map(|t| self.doubt(t, at));
        tracks
            .min_by_key(|(urgency, _)| *urgency)
            .map(|(_, why)| why)
            .or_else(|| self.crossing())
    }

    /// How many tracks ask for a look, each for itself.
    #[must_use]
    pub fn unsure(&self, at: Pts) -> usize {
        self.tracks.iter().filter(|t| self.doubt(t, at).is_some()).count()
    }

    /// Why a look should be had at a track, and how urgent that is: 0 the most.
    fn doubt(&self, t: &Track, at: Pts) -> Option<(u8, Why)> {
        let lost = t.face_prob.is_some_and(|p| p < self.config.face_prob) && t.misses == 0;
        let reasons = [
            (lost, Why::FaceLost(t.id)),
            (t.state == TrackState::Held, Why::Held(t.id)),
            (at.seconds_since(t.last_seen) > PREDICTED_S, Why::Predicted(t.id)),
            (is_fast(t), Why::Fast(t.id)),
            (leaves(t, self.frame), Why::Border(t.id)),
        ];
        let mut reasons = (0..).zip(reasons);
        reasons.find_map(|(urgency, (asks, why))| asks.then_some((urgency, why)))
    }

    fn crossing(&self) -> Option<Why> {
        let boxes: Vec<(TrackId, BoxPx)> = self.tracks.iter().map(|t| (t.id, swept(t))).collect();
        boxes.iter().enumerate().find_map(|(i, (a, swept_a))| {
            let (b, _) = boxes
                .get(i + 1..)?
                .iter()
                .find(|(_, swept_b)| swept_a.intersection(swept_b).area() > 0.0)?;
            Some(Why::Crossing(*a, *b))
        })
    }
}

/// The box and where it will be soon.
fn swept(t: &Track) -> BoxPx {
    let [vx, vy] = t.velocity_px_s;
    let b = t.box_px;
    let moved = BoxPx {
        x0: b.x0 + vx * AHEAD_S,
        y0: b.y0 + vy * AHEAD_S,
        x1: b.x1 + vx * AHEAD_S,
        y1: b.y1 + vy * AHEAD_S,
    };
    b.hull(&moved)
}

fn is_fast(t: &Track) -> bool {
    let [vx, vy] = t.velocity_px_s;
    vx.hypot(vy) > FAST * t.box_px.side() || t.inner.motion.zoom_per_s().abs() > FAST_ZOOM
}

fn leaves(t: &Track, (w, h): (u32, u32)) -> bool {
    let [vx, vy] = t.velocity_px_s;
    let (b, side) = (t.box_px, t.box_px.side());
    let (near, speed) = (NEAR_BORDER * side, TOWARDS_BORDER * side);
    (b.x0 < near && vx < -speed)
        || (b.y0 < near && vy < -speed)
        || (b.x1 > w as f32 - near && vx > speed)
        || (b.y1 > h as f32 - near && vy > speed)
}
