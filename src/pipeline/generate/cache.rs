//! The last edit of a track, moved along with the face until the next key frame.
//!
//! Why: the denoiser costs several times what everything else does. Its edit Δ (result − base) is bound
//! to the mesh, so between key frames Δ is warped by the mesh and added to the frame's own composite:
//! mouth, eyes and light stay those of the frame. Two edits are cross-faded, so that a key frame does
//! not show. A still face gives a still result, bit for bit.
//!
//! How often a key frame comes follows stream time, not the machine's clock.
//!
//! Where faces are made on a device, edits are kept there too ([`Cache::unsent`], [`Cache::moved`]); what is here stays,
//! so that the processor can go on with it.

use nullface_kernels::cuda::{DeviceEdit, Moved, Painter};
use nullface_kernels::warp_edit::{self, Mesh, Warp};

use crate::frame::{Point, Pts};

use super::canvas::CROP_PX;

/// Frames from one key frame to the next.
const KEY_EVERY: u32 = 6;
/// Mean motion of the mesh inside the crop that forces a key frame, px of the crop.
const KEY_MOTION_PX: f32 = 2.5;
/// Frames of a cross-fade.
const FADE: u32 = 3;

/// What an edit was made under: another stamp makes it worthless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    pub(super) person: u64,
    pub(super) attempt: u32,
    pub(super) settings: u32,
}

#[derive(Debug, Default)]
struct Edit {
    delta: Vec<f32>,
    points: Vec<Point>,
    /// The same on a device, from its first use there on.
    there: Option<DeviceEdit>,
}

impl Edit {
    fn view(&self) -> warp_edit::Edit<'_> {
        warp_edit::Edit {
            rgb: &self.delta,
            points: &self.points,
        }
    }

    /// On that painter's device.
    fn held(&self, painter: &Painter) -> Option<&DeviceEdit> {
        self.there.as_ref().filter(|there| painter.holds(there))
    }
}

/// When the denoiser runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Policy {
    /// Whether edits are kept at all.
    pub(super) keeps: bool,
    /// Least time between two runs, s of the stream; 0 = any.
    pub(super) least_gap_s: f64,
}

/// The edits of one track.
#[derive(Debug, Default)]
pub(super) struct Cache {
    key: Option<Edit>,
    before: Option<Edit>,
    /// Buffers of an edit that is done with.
    spare: Edit,
    age: u32,
    made: Option<Pts>,
    /// Frames until the denoiser is tried again after an edit that did not pass.
    rest: u32,
    stamp: Stamp,
}

impl Cache {
    /// Counts a frame; an edit made under another stamp is dropped.
    pub(super) fn next(&mut self, stamp: Stamp) {
        if self.stamp != stamp {
            *self = Self { stamp, ..Self::default() };
        }
        self.age = self.age.saturating_add(1);
        self.rest = self.rest.saturating_sub(1);
    }

    /// Whether there is an edit to move along.
    pub(super) fn has_edit(&self) -> bool {
        self.key.is_some()
    }

    /// Whether the denoiser must run for these points.
    pub(super) fn is_due(&self, at: Pts, points: &[Point], policy: Policy) -> bool {
        let Some(key) = &self.key else { return self.rest == 0 };
        // Half a frame at 100 frames/s: stream times are rounded.
        let waited = self
            .made
            .is_none_or(|made| at.seconds_since(made).abs() + 0.005 >= policy.least_gap_s);
        if !waited {
            return false;
        }
        if !policy.keeps {
            return true;
        }
        let moved: f32 = key.points.iter().zip(points).map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1])).sum();
        self.age >= KEY_EVERY || moved > KEY_MOTION_PX * points.len() as f32
    }

    /// Takes a new edit.
    pub(super) fn store(&mut self, at: Pts, delta: &[f32], points: &[Point]) {
        let mut edit = std::mem::take(&mut self.spare);
        edit.delta.clear();
        edit.delta.extend_from_slice(delta);
        edit.points.clear();
        edit.points.extend_from_slice(points);
        if let Some(mut done) = std::mem::replace(&mut self.before, self.key.replace(edit)) {
            done.there = None;
            self.spare = done;
        }
        (self.age, self.made) = (0, Some(at));
    }

    /// Takes a new edit in place of one of the same frame that did not pass.
    pub(super) fn replace(&mut self, delta: &[f32]) {
        if let Some(key) = &mut self.key {
            key.delta.clear();
            key.delta.extend_from_slice(delta);
            key.there = None;
        }
    }

    /// The edit did not pass: nothing of it is used, and the denoiser rests.
    pub(super) fn fail(&mut self) {
        (self.key, self.before) = (None, None);
        self.rest = KEY_EVERY;
    }

    /// The edit that fades, and the share of the new one.
    fn fading(&self) -> Option<(&Edit, f32)> {
        let shown = self.age.saturating_add(1);
        let before = self.before.as_ref().filter(|_| shown < FADE)?;
        Some((before, shown as f32 / FADE as f32))
    }

    /// The edit for a mesh at these points, interleaved RGB of the crop. `false` where there is none.
    pub(super) fn delta(&self, warp: &mut Warp, points: &[Point], depth: &[f32], triangles: &[[u16; 3]], out: &mut Vec<f32>) -> bool {
        let Some(key) = &self.key else { return false };
        let mesh = Mesh { points, depth, triangles };
        let before = self.fading().map(|(before, share)| (before.view(), share));
        warp.run(CROP_PX, &mesh, &key.view(), before, out);
        true
    }

    /// Values and points of the edits that [`Self::moved`] needs and that painter does not have yet.
    pub(super) fn unsent(&self, painter: &Painter) -> impl Iterator<Item = (&[f32], &[Point])> {
        let needed = self.key.iter().chain(self.fading().map(|(before, _)| before));
        needed
            .filter(|edit| edit.held(painter).is_none())
            .map(|edit| (&edit.delta[..], &edit.points[..]))
    }

    /// Takes what a painter made of [`Self::unsent`], in that order.
    pub(super) fn sent(&mut self, painter: &Painter, there: &mut impl Iterator<Item = DeviceEdit>) {
        let fades = self.fading().is_some();
        let needed = self.key.iter_mut().chain(self.before.iter_mut().filter(|_| fades));
        for edit in needed.filter(|edit| edit.held(painter).is_none()) {
            edit.there = there.next();
        }
    }

    /// Gives up what is on a device and not with that painter.
    pub(super) fn leave(&mut self, painter: Option<&Painter>) {
        for edit in self.key.iter_mut().chain(&mut self.before) {
            if painter.is_none_or(|painter| edit.held(painter).is_none()) {
                edit.there = None;
            }
        }
    }

    /// As [`Self::delta`], by that painter. `None` where there is no edit, or not there.
    pub(super) fn moved<'a>(&'a self, painter: &Painter, points: &'a [Point], depth: &'a [f32]) -> Option<Moved<'a>> {
        let edit = self.key.as_ref()?.held(painter)?;
        let before = match self.fading() {
            Some((before, share)) => Some((before.held(painter)?, share)),
            None => None,
        };
        Some(Moved {
            edit,
            before,
            points,
            depth,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: [Point; 4] = [[20.0, 20.0], [100.0, 20.0], [100.0, 100.0], [20.0, 100.0]];
    const HALVES: [[u16; 3]; 2] = [[0, 1, 2], [0, 2, 3]];

    fn shifted(by: f32) -> Vec<Point> {
        SQUARE.iter().map(|p| [p[0] + by, p[1]]).collect()
    }

    const POLICY: Policy = Policy {
        keeps: true,
        least_gap_s: 0.0,
    };

    fn ramp() -> Vec<f32> {
        (0..CROP_PX * CROP_PX * 3).map(|i| ((i / 3) % CROP_PX) as f32).collect()
    }

    #[test]
    fn an_edit_moves_with_the_mesh() {
        let (mut cache, mut warp, mut out) = (Cache::default(), Warp::default(), Vec::new());
        cache.next(Stamp::default());
        assert!(cache.is_due(Pts(0), &SQUARE, POLICY) && !cache.delta(&mut warp, &SQUARE, &[0.0; 4], &HALVES, &mut out));
        cache.store(Pts(0), &ramp(), &SQUARE);
        cache.next(Stamp::default());
        assert!(!cache.is_due(Pts(0), &shifted(2.0), POLICY) && cache.is_due(Pts(0), &shifted(3.0), POLICY));
        assert!(cache.delta(&mut warp, &shifted(2.0), &[0.0; 4], &HALVES, &mut out));
        let at = |x: usize, y: usize| out[(y * CROP_PX + x) * 3];
        assert!((at(60, 60) - 58.0).abs() < 1e-3, "{}", at(60, 60));
        assert_eq!(at(5, 5), 0.0, "outside the mesh nothing is edited");
    }

    #[test]
    fn equal_edits_fade_into_each_other_without_a_bit_of_change() {
        let (mut cache, mut warp) = (Cache::default(), Warp::default());
        let mut seen: Vec<Vec<f32>> = Vec::new();
        for _ in 0..20 {
            cache.next(Stamp::default());
            if cache.is_due(Pts(0), &SQUARE, POLICY) {
                cache.store(Pts(0), &ramp(), &SQUARE);
            }
            let mut out = Vec::new();
            assert!(cache.delta(&mut warp, &SQUARE, &[0.0; 4], &HALVES, &mut out));
            seen.push(out);
        }
        assert!(seen.windows(2).all(|w| w[0] == w[1]));
    }

    #[test]
    fn runs_keep_their_distance_in_stream_time_and_every_frame_is_one_without_a_cache() {
        let every = Policy { keeps: false, ..POLICY };
        let sparse = Policy { least_gap_s: 0.2, ..every };
        let runs = |policy| {
            let mut cache = Cache::default();
            let frames = (0..25_u64).map(|n| Pts(n * 40_000_000));
            frames
                .filter(|at| {
                    cache.next(Stamp::default());
                    let due = cache.is_due(*at, &SQUARE, policy);
                    if due {
                        cache.store(*at, &ramp(), &SQUARE);
                    }
                    due
                })
                .count()
        };
        assert_eq!((runs(every), runs(sparse)), (25, 5));
    }

    #[test]
    fn after_a_failure_the_denoiser_rests() {
        let mut cache = Cache::default();
        cache.next(Stamp::default());
        cache.fail();
        let frames = (0..20).take_while(|_| {
            cache.next(Stamp::default());
            !cache.is_due(Pts(0), &SQUARE, POLICY)
        });
        assert_eq!(frames.count() as u32, KEY_EVERY - 1);
    }

    #[test]
    fn another_stamp_forgets_the_edit() {
        let mut cache = Cache::default();
        cache.store(Pts(0), &ramp(), &SQUARE);
        cache.next(Stamp {
            attempt: 1,
            ..Stamp::default()
        });
        assert!(cache.is_due(Pts(0), &SQUARE, POLICY));
    }
}
