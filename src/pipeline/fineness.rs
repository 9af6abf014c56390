//! How finely faces are drawn where frames come at a pace.
//!
//! A face is drawn on a canvas of up to three times the denoiser's crop, and most of what it costs grows with the
//! canvas' area. Where frames take a large share of the time between them, their delay is felt before the stream
//! falls behind: then canvases get smaller, faces a little softer, and the frames are in time.

use std::time::Duration;

/// Largest scale of a canvas.
pub(super) const FINEST: usize = 3;
/// Share of the time between frames above which faces are drawn more coarsely.
const FULL: f64 = 0.65;
/// Weight of a frame in the mean.
const WEIGHT: f64 = 0.08;
/// Frames that a scale is kept at least.
const KEPT_FRAMES: u32 = 25;
/// The same before a finer one is tried.
const CALM_FRAMES: u32 = 75;

/// The largest scale in force.
#[derive(Debug, Clone)]
pub(super) struct Fineness {
    most: usize,
    /// Mean share of the time between frames that frames with new faces took.
    share: Option<f64>,
    frames: u32,
}

impl Default for Fineness {
    fn default() -> Self {
        Self {
            most: FINEST,
            share: None,
            frames: 0,
        }
    }
}

impl Fineness {
    /// The largest scale that a canvas may have.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Learns what a frame with new faces took.
    pub(super) fn learn(&mut self, took: Duration, pace: Duration) {
        if pace.is_zero() {
            return;
        }
        // One hang says nothing about the canvas.
        let new = (took.as_secs_f64() / pace.as_secs_f64()).min(2.0);
        let share = self.share.map_or(new.min(FULL), |old| old + (new - old) * WEIGHT);
        self.share = Some(share);
        self.frames = self.frames.saturating_add(1);
        // At most what the area grows by.
        let finer = ((self.most + 1) as f64 / self.most as f64).powi(2);
        if share > FULL && self.most > 1 && self.frames >= KEPT_FRAMES {
            self.begin(self.most - 1);
        } else if share * finer < FULL && self.most < FINEST && self.frames >= CALM_FRAMES {
            self.begin(self.most + 1);
        }
    }

    fn begin(&mut self, most: usize) {
        (self.most, self.share, self.frames) = (most, None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_millis(40);

    /// Frames whose cost is a fixed part and one that grows with the area; scales used.
    fn run(fineness: &mut Fineness, fixed: f64, drawn: f64, frames: usize) -> Vec<usize> {
        (0..frames)
            .map(|_| {
                let k = fineness.most();
                fineness.learn(PACE.mul_f64(fixed + drawn * (k * k) as f64 / 9.0), PACE);
                k
            })
            .collect()
    }

    #[test]
    fn canvases_shrink_until_frames_are_in_time_and_grow_back() {
        let mut fineness = Fineness::default();
        assert_eq!(run(&mut fineness, 0.2, 0.4, 500).last(), Some(&3), "in time");
        assert_eq!(run(&mut fineness, 0.3, 0.6, 500).last(), Some(&2));
        assert_eq!(run(&mut fineness, 0.5, 0.9, 500).last(), Some(&1));
        assert_eq!(run(&mut fineness, 0.1, 0.2, 500).last(), Some(&3));
    }

    #[test]
    fn no_load_makes_it_go_back_and_forth() {
        for (fixed, drawn) in [(0.0, 0.7), (0.2, 0.5), (0.3, 0.6), (0.6, 0.06), (0.64, 0.02), (0.9, 0.4)] {
            let mut fineness = Fineness::default();
            let scales = run(&mut fineness, fixed, drawn, 20_000);
            let changes = scales.windows(2).filter(|w| w[0] != w[1]).count();
            assert!(changes <= 2, "{fixed} {drawn}: {changes} changes");
        }
    }

    #[test]
    fn single_hangs_and_no_pace_change_nothing() {
        let mut fineness = Fineness::default();
        for n in 0..5_000 {
            let took = if n % 100 == 0 { PACE * 30 } else { PACE / 2 };
            fineness.learn(took, PACE);
            fineness.learn(Duration::from_secs(1), Duration::ZERO);
        }
        assert_eq!(fineness.most(), FINEST);
    }
}
