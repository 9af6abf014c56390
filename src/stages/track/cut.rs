//! Scene cuts from luma thumbnails and histograms. Pure and small enough for every frame.
//!
//! Why both: the thumbnail's correlation sees a new arrangement and not a change of light; the histogram sees
//! a new distribution and not a moving camera. A cut is both, so their geometric mean is judged.
//!
//! | | |
//! |---|---|
//! | in | thumbnail of [`CUT_THUMB_WIDTH`] × [`CUT_THUMB_HEIGHT`] luma bytes, row by row; histogram of 64 bins over the whole frame |
//! | score | √(s·h), s = 1 − normalised correlation of thumbnails over pixels that neither picture saturates, h = ½ Σ of differences of relative histograms, 0–1 |
//! | cut | score ≥ `CUT` and ≥ `RATIO` × running mean of scores; then none until a score < `REARM` |
//! | flash, black | a frame with little to compare (flat, or three quarters saturated) gives no verdict and is compared with nothing; a picture like one of the three before is no cut |
//! | limits | dissolves and whips are none: their tracks end by themselves |
//!
//! Measured on ten films of heads and people (8,326 frames, no cuts inside): largest score .11, 99th percentile
//! at most .084, no cut reported. On all 90 ordered pairs of them, joined A B A with 60 frames each: scores at
//! the 180 joins ≥ .44, every one reported at its first frame and nothing else. So `CUT` lies between.
//!
//! A missed cut leaves a region covered for the time of a hold; a false one uncovers a held face. So the
//! thresholds lean towards missing.

/// Width of the thumbnail, px.
pub const CUT_THUMB_WIDTH: usize = 32;
/// Height of the thumbnail, px.
pub const CUT_THUMB_HEIGHT: usize = 18;

const PIXELS: usize = CUT_THUMB_WIDTH * CUT_THUMB_HEIGHT;
/// Smallest score of a cut.
const CUT: f32 = 0.30;
/// A cut stands out of the running mean by this factor.
const RATIO: f32 = 4.0;
/// The picture is calm again below this.
const REARM: f32 = 0.15;
/// Weight of a frame in the running mean.
const MEAN_RATE: f32 = 0.1;
/// Below this deviation of luma there is nothing to compare.
const FLAT: f32 = 5.0;
/// Luma outside is saturated.
const SATURATED: std::ops::RangeInclusive<u8> = 6..=249;
/// Pictures remembered, to know one that returns after a flash.
const MEMORY: usize = 3;

#[derive(Debug, Clone)]
struct Picture {
    thumb: [u8; PIXELS],
    /// Relative.
    hist: [f32; 64],
}

/// Finds cuts in a sequence of frames.
#[derive(Debug, Clone, Default)]
pub struct SceneCut {
    /// The latest first.
    seen: Vec<Picture>,
    mean: f32,
    disarmed: bool,
    last: f32,
}

impl SceneCut {
    /// Before the first frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next frame; whether a new scene begins with it. The first frame is no cut; a thumbnail of
    /// another size, or an empty histogram, says nothing.
    pub fn push(&mut self, thumb: &[u8], hist: &[u32; 64]) -> bool {
        let total: f32 = hist.iter().map(|&n| n as f32).sum();
        let Ok(thumb) = <[u8; PIXELS]>::try_from(thumb) else { return false };
        if total <= 0.0 || !comparable(&thumb) {
            return false;
        }
        let now = Picture {
            thumb,
            hist: hist.map(|n| n as f32 / total),
        };
        let Some(score) = self.seen.first().and_then(|before| difference(before, &now)) else {
            if self.seen.is_empty() {
                self.seen.push(now);
            }
            return false;
        };
        self.last = score;
        let returns = self.seen.iter().skip(1).filter_map(|p| difference(p, &now)).any(|d| d < CUT);
        let stands_out = score >= CUT && score >= RATIO * self.mean;
        let cut = stands_out && !returns && !self.disarmed;
        if cut {
            self.disarmed = true;
            self.seen.clear();
        } else {
            if score < REARM {
                self.disarmed = false;
            }
            self.mean += (score.min(CUT) - self.mean) * MEAN_RATE;
        }
        self.seen.insert(0, now);
        self.seen.truncate(MEMORY);
        cut
    }

    /// The score of the last frame that could be compared, 0–1.4: for reports.
    #[must_use]
    pub fn last_score(&self) -> f32 {
        self.last
    }

    /// Another film or another place: the next frame is the first.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

fn comparable(thumb: &[u8; PIXELS]) -> bool {
    let mean = thumb.iter().map(|&v| f32::from(v)).sum::<f32>() / PIXELS as f32;
    let variance = thumb.iter().map(|&v| (f32::from(v) - mean).powi(2)).sum::<f32>() / PIXELS as f32;
    let open = thumb.iter().filter(|v| SATURATED.contains(v)).count();
    variance.sqrt() >= FLAT && open * 4 >= PIXELS
}

/// How unlike two pictures are; `None` where too few pixels are open in both.
fn difference(a: &Picture, b: &Picture) -> Option<f32> {
    let open = || {
        a.thumb
            .iter()
            .zip(&b.thumb)
            .filter(|(x, y)| SATURATED.contains(x) && SATURATED.contains(y))
    };
    let n = open().count();
    if n * 4 < PIXELS {
        return None;
    }
    let (mut sa, mut sb) = (0.0f32, 0.0f32);
    for (&x, &y) in open() {
        sa += f32::from(x);
        sb += f32::from(y);
    }
    let (ma, mb) = (sa / n as f32, sb / n as f32);
    let (mut aa, mut bb, mut ab) = (0.0f32, 0.0f32, 0.0f32);
    for (&x, &y) in open() {
        let (x, y) = (f32::from(x) - ma, f32::from(y) - mb);
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    let norm = (aa * bb).sqrt();
    let structure = if norm > 0.0 { (1.0 - ab / norm).max(0.0) } else { return None };
    let light = a.hist.iter().zip(&b.hist).map(|(x, y)| (x - y).abs()).sum::<f32>() / 2.0;
    Some((structure * light).sqrt())
}

#[cfg(test)]
mod tests {
    use super::{CUT_THUMB_HEIGHT, CUT_THUMB_WIDTH, PIXELS, SceneCut};

    /// A picture of soft blobs; `seed` is the scene, `shift_px` the camera, `gain` and `lift` the light.
    fn frame(seed: u32, shift_px: f32, gain: f32, lift: f32) -> (Vec<u8>, [u32; 64]) {
        let r = |k: u32| {
            let x = (seed.wrapping_mul(2_654_435_761) ^ k.wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B);
            (x >> 8) as f32 / 16_777_216.0
        };
        let base = 40.0 + 120.0 * r(0);
        let mut thumb = Vec::with_capacity(PIXELS);
        let mut hist = [0u32; 64];
        for y in 0..CUT_THUMB_HEIGHT {
            for x in 0..CUT_THUMB_WIDTH {
                let v: f32 = (0..5)
                    .map(|k| {
                        let (cx, cy) = (32.0 * r(4 * k + 1) + shift_px, 18.0 * r(4 * k + 2));
                        let d2 = (x as f32 - cx).powi(2) + (y as f32 - cy).powi(2);
                        150.0 * (r(4 * k + 3) - 0.5) * (-d2 / 40.0).exp()
                    })
                    .sum();
                let v = ((base + v) * gain + lift).clamp(0.0, 255.0) as u8;
                thumb.push(v);
                hist[usize::from(v / 4)] += 100;
            }
        }
        (thumb, hist)
    }

    fn cuts(frames: impl IntoIterator<Item = (Vec<u8>, [u32; 64])>) -> Vec<usize> {
        let mut cut = SceneCut::new();
        frames
            .into_iter()
            .enumerate()
            .filter_map(|(i, (t, h))| cut.push(&t, &h).then_some(i))
            .collect()
    }

    #[test]
    fn a_new_scene_is_a_cut_at_its_first_frame() {
        let film = (0..60u32).map(|i| frame(1 + i / 20, (i % 20) as f32 * 0.2, 1.0, 0.0));
        assert_eq!(cuts(film), [20, 40]);
    }

    #[test]
    fn a_moving_camera_is_no_cut() {
        assert_eq!(cuts((0..40).map(|i| frame(1, i as f32 * 1.0, 1.0, 0.0))), [0_usize; 0]);
    }

    #[test]
    fn light_that_changes_slowly_or_at_once_is_no_cut() {
        assert_eq!(cuts((0..40).map(|i| frame(1, 0.0, 1.0 - i as f32 * 0.02, 0.0))), [0_usize; 0]);
        assert_eq!(
            cuts((0..40).map(|i| frame(1, 0.0, if i > 20 { 0.5 } else { 1.0 }, 0.0))),
            [0_usize; 0]
        );
    }

    #[test]
    fn a_flash_is_no_cut_whether_it_saturates_or_not() {
        for (gain, lift) in [(1.0, 60.0), (1.5, 90.0), (1.0, 255.0)] {
            let film = (0..40).map(|i| {
                if i == 20 || i == 21 {
                    frame(1, 0.0, gain, lift)
                } else {
                    frame(1, 0.0, 1.0, 0.0)
                }
            });
            assert_eq!(cuts(film), [0_usize; 0], "gain {gain}, lift {lift}");
        }
    }

    #[test]
    fn one_strange_picture_between_is_at_most_one_cut() {
        let film = (0..40).map(|i| frame(if i == 20 { 2 } else { 1 }, 0.0, 1.0, 0.0));
        assert!(cuts(film).len() <= 1);
    }

    #[test]
    fn a_cut_behind_black_is_found_when_there_is_a_picture_again() {
        let film = (0..40).map(|i| match i {
            0..15 => frame(1, 0.0, 1.0, 0.0),
            15..20 => (vec![0; PIXELS], {
                let mut h = [0; 64];
                h[0] = 57_600;
                h
            }),
            _ => frame(2, 0.0, 1.0, 0.0),
        });
        assert_eq!(cuts(film), [20]);
    }

    #[test]
    fn what_is_no_thumbnail_says_nothing() {
        let mut cut = SceneCut::new();
        assert!(!cut.push(&[], &[1; 64]));
        assert!(!cut.push(&[0; PIXELS], &[0; 64]));
        let (t, h) = frame(1, 0.0, 1.0, 0.0);
        assert!(!cut.push(&t, &h), "the first picture is no cut");
        cut.reset();
        let (t, h) = frame(2, 0.0, 1.0, 0.0);
        assert!(!cut.push(&t, &h), "nor the first after a reset");
    }
}
