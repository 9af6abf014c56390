//! What a frame may cost, and the rung of the ladder that buys: diffusion → cached edit → k-same
//! composite → cover → opaque frame.
//!
//! Who queues frames knows how much time is left; what a face costs on this machine is learnt here.
//! Stepping down happens at once, stepping up one rung at a time after [`CALM`] frames with room, so
//! that a film near the edge does not flip between two looks.
//!
//! Without a time no clock is asked: the same film then gives the same result on any machine.

use std::time::{Duration, Instant};

use super::outcome::Rung;

/// Frames in a row in which a better rung must have fitted before it is taken.
const CALM: u32 = 12;
/// How much room a better rung must have.
const ROOM: f64 = 1.25;
/// What a rung that does not run is remembered to cost fades by this each frame, so that it is tried again.
const FADE: f64 = 0.98;

/// What the rendering of one frame may cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// The best rung allowed; what is better is not tried. `Rung::Frame` covers the whole frame.
    pub best: Rung,
    /// Time left; `None` = as long as it takes. What is not proven when it has passed is covered.
    pub time: Option<Duration>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            best: Rung::Diffusion,
            time: None,
        }
    }
}

/// A budget that has begun to run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// The best rung to try.
    pub(super) rung: Rung,
    until: Option<Instant>,
}

impl Allowed {
    /// Whether time has passed.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether anybody watches the clock.
    pub(super) fn is_timed(&self) -> bool {
        self.until.is_some()
    }
}

/// Rungs that replace, best first.
const REPLACING: [Rung; 3] = [Rung::Diffusion, Rung::Cached, Rung::Prior];

/// What rungs cost here, and which one is in force.
#[derive(Debug, Default)]
pub(super) struct Ladder {
    /// Seconds a face, for each of [`REPLACING`]; none = never run.
    costs_s: [Option<f64>; 3],
    /// Index into [`REPLACING`]; its length = none of them.
    at: usize,
    calm: u32,
}

impl Ladder {
    /// Begins a frame of `faces` faces.
    pub(super) fn start(&mut self, budget: Budget, faces: usize) -> Allowed {
        let Some(time) = budget.time else {
            return Allowed {
                rung: budget.best,
                until: None,
            };
        };
        let until = Instant::now().checked_add(time);
        let rung = if time.is_zero() {
            Rung::Solid
        } else {
            self.choose(time.as_secs_f64(), faces)
        };
        Allowed {
            rung: rung.max(budget.best),
            until,
        }
    }

    fn choose(&mut self, time_s: f64, faces: usize) -> Rung {
        let costs = self.costs_s;
        let fits = |i: usize, room: f64| {
            let cost = costs.get(i).copied().flatten().unwrap_or(0.0);
            cost * faces.max(1) as f64 * room <= time_s
        };
        let best = (0..REPLACING.len()).find(|i| fits(*i, 1.0)).unwrap_or(REPLACING.len());
        if best >= self.at {
            (self.at, self.calm) = (best, 0);
        } else {
            let next = self.at - 1;
            self.calm = if fits(next, ROOM) { self.calm + 1 } else { 0 };
            if self.calm >= CALM {
                (self.at, self.calm) = (next, 0);
            }
        }
        for cost in self.costs_s.iter_mut().take(self.at).flatten() {
            *cost *= FADE;
        }
        REPLACING.get(self.at).copied().unwrap_or(Rung::Solid)
    }

    /// Learns from a frame that reached `rung`. A frame that took longer than expected counts at once.
    pub(super) fn learn(&mut self, rung: Rung, faces: usize, took: Duration) {
        let Some(cost) = REPLACING
            .iter()
            .position(|r| *r == rung)
            .and_then(|i| self.costs_s.get_mut(i))
            .filter(|_| faces > 0)
        else {
            return;
        };
        let new = took.as_secs_f64() / faces as f64;
        *cost = Some(cost.map_or(new, |old| if new > old { new } else { old + (new - old) * 0.1 }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(ms: u64) -> Budget {
        Budget {
            time: Some(Duration::from_millis(ms)),
            ..Budget::default()
        }
    }

    fn learnt() -> Ladder {
        let mut ladder = Ladder::default();
        for (rung, ms) in [(Rung::Diffusion, 40), (Rung::Cached, 12), (Rung::Prior, 8)] {
            ladder.learn(rung, 1, Duration::from_millis(ms));
        }
        ladder
    }

    #[test]
    fn less_time_and_more_faces_step_down_at_once() {
        for (ms, faces, rung) in [
            (50, 1, Rung::Diffusion),
            (20, 1, Rung::Cached),
            (10, 1, Rung::Prior),
            (5, 1, Rung::Solid),
            (50, 4, Rung::Cached),
            (50, 5, Rung::Prior),
            (0, 1, Rung::Solid),
        ] {
            assert_eq!(learnt().start(budget(ms), faces).rung, rung, "{ms} ms, {faces} faces");
        }
    }

    #[test]
    fn stepping_up_takes_patience_and_goes_one_rung_at_a_time() {
        let mut ladder = learnt();
        assert_eq!(ladder.start(budget(10), 1).rung, Rung::Prior);
        let rungs: Vec<Rung> = (0..2 * CALM).map(|_| ladder.start(budget(200), 1).rung).collect();
        let count = |r: Rung| rungs.iter().filter(|x| **x == r).count() as u32;
        assert_eq!(
            (count(Rung::Prior), count(Rung::Cached), count(Rung::Diffusion)),
            (CALM - 1, CALM, 1)
        );
        assert!(rungs.windows(2).all(|w| w[1] <= w[0]), "{rungs:?}");
    }

    #[test]
    fn a_rung_that_was_too_dear_is_tried_again_some_day() {
        let mut ladder = Ladder::default();
        ladder.learn(Rung::Diffusion, 1, Duration::from_millis(400));
        ladder.learn(Rung::Cached, 1, Duration::from_millis(5));
        let first = (0..1000).position(|_| ladder.start(budget(50), 1).rung == Rung::Diffusion);
        assert!(first.is_some_and(|n| n > CALM as usize), "{first:?}");
    }

    #[test]
    fn the_best_rung_allowed_is_a_ceiling_and_no_time_means_no_clock() {
        let mut ladder = learnt();
        for best in [Rung::Diffusion, Rung::Prior, Rung::Blur, Rung::Frame] {
            let allowed = ladder.start(Budget { best, time: None }, 9);
            assert_eq!((allowed.rung, allowed.is_timed(), allowed.is_over()), (best, false, false));
            let timed = Budget { best, ..budget(1000) };
            assert_eq!(ladder.start(timed, 1).rung, best);
        }
    }
}
