//! The last edit of a track, moved along with the face until the next key frame.
//!
//! Why: the denoiser costs several times what everything else does. Its edit Δ (result − base) is bound
//! to the mesh, so between key frames Δ is warped by the mesh and added to the frame's own composite:
//! mouth, eyes and light stay those of the frame. Two edits are cross-faded, so that a key frame does
//! not show. A still face gives a still result, bit for bit.

use crate::frame::Point;
use crate::stages::prior::raster::{self, NONE, Raster, TriangleMap};

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

#[derive(Debug, Clone)]
struct Edit {
    delta: Vec<f32>,
    points: Vec<Point>,
}

/// The edits of one track.
#[derive(Debug, Default)]
pub(super) struct Cache {
    key: Option<Edit>,
    before: Option<Edit>,
    age: u32,
    /// Frames until the denoiser is tried again after an edit that did not pass.
    rest: u32,
    stamp: Stamp,
}

/// Buffers of the warp, shared by all tracks.
#[derive(Debug, Default)]
pub(super) struct Warp {
    raster: Raster,
    maps: Vec<TriangleMap>,
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

    /// Whether the denoiser must run for these points.
    pub(super) fn is_due(&self, points: &[Point]) -> bool {
        let Some(key) = &self.key else { return self.rest == 0 };
        let moved: f32 = key.points.iter().zip(points).map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1])).sum();
        self.age >= KEY_EVERY || moved > KEY_MOTION_PX * points.len() as f32
    }

    /// Takes a new edit.
    pub(super) fn store(&mut self, delta: Vec<f32>, points: Vec<Point>) {
        self.before = self.key.replace(Edit { delta, points });
        self.age = 0;
    }

    /// The edit did not pass: nothing of it is used, and the denoiser rests.
    pub(super) fn fail(&mut self) {
        (self.key, self.before) = (None, None);
        self.rest = KEY_EVERY;
    }

    /// The edit for a mesh at these points, interleaved RGB of the crop. `false` where there is none.
    pub(super) fn delta(&self, warp: &mut Warp, points: &[Point], depth: &[f32], triangles: &[[u16; 3]], out: &mut Vec<f32>) -> bool {
        let Some(key) = &self.key else { return false };
        out.clear();
        out.resize(CROP_PX * CROP_PX * 3, 0.0);
        warp.raster.draw(points, depth, triangles, CROP_PX, CROP_PX);
        warp.add(key, points, triangles, 1.0, out);
        if let Some(before) = &self.before
            && self.age + 1 < FADE
        {
            let share = (self.age + 1) as f32 / FADE as f32;
            let mut old = vec![0.0; out.len()];
            warp.add(before, points, triangles, 1.0, &mut old);
            for (new, old) in out.iter_mut().zip(&old) {
                *new = old + (*new - old) * share;
            }
        }
        true
    }
}

impl Warp {
    fn add(&mut self, edit: &Edit, points: &[Point], triangles: &[[u16; 3]], share: f32, out: &mut [f32]) {
        if edit.points == points {
            for (o, d) in out.iter_mut().zip(&edit.delta) {
                *o += d * share;
            }
            return;
        }
        raster::maps(points, &edit.points, triangles, &mut self.maps);
        for (i, (&t, to)) in self.raster.index.iter().zip(out.chunks_exact_mut(3)).enumerate() {
            let Some(map) = self.maps.get(usize::from(t)).filter(|_| t != NONE) else {
                continue;
            };
            let from = map.apply((i % CROP_PX) as f32 + 0.5, (i / CROP_PX) as f32 + 0.5);
            let d = raster::sample::<3>(&edit.delta, CROP_PX, CROP_PX, from);
            to.iter_mut().zip(d).for_each(|(o, d)| *o += d * share);
        }
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

    fn ramp() -> Vec<f32> {
        (0..CROP_PX * CROP_PX * 3).map(|i| ((i / 3) % CROP_PX) as f32).collect()
    }

    #[test]
    fn an_edit_moves_with_the_mesh() {
        let (mut cache, mut warp, mut out) = (Cache::default(), Warp::default(), Vec::new());
        cache.next(Stamp::default());
        assert!(cache.is_due(&SQUARE) && !cache.delta(&mut warp, &SQUARE, &[0.0; 4], &HALVES, &mut out));
        cache.store(ramp(), SQUARE.to_vec());
        cache.next(Stamp::default());
        assert!(!cache.is_due(&shifted(2.0)) && cache.is_due(&shifted(3.0)));
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
            if cache.is_due(&SQUARE) {
                cache.store(ramp(), SQUARE.to_vec());
            }
            let mut out = Vec::new();
            assert!(cache.delta(&mut warp, &SQUARE, &[0.0; 4], &HALVES, &mut out));
            seen.push(out);
        }
        assert!(seen.windows(2).all(|w| w[0] == w[1]));
    }

    #[test]
    fn after_a_failure_the_denoiser_rests() {
        let mut cache = Cache::default();
        cache.next(Stamp::default());
        cache.fail();
        let frames = (0..20).take_while(|_| {
            cache.next(Stamp::default());
            !cache.is_due(&SQUARE)
        });
        assert_eq!(frames.count() as u32, KEY_EVERY - 1);
    }

    #[test]
    fn another_stamp_forgets_the_edit() {
        let mut cache = Cache::default();
        cache.store(ramp(), SQUARE.to_vec());
        cache.next(Stamp {
            attempt: 1,
            ..Stamp::default()
        });
        assert!(cache.is_due(&SQUARE));
    }
}
