//! When the detector looks, and how hard. Pure: no clock of its own, so a film is treated the same
//! way on every machine.
//!
//! | situation | look |
//! |---|---|
//! | first frame, scene cut, flush | thorough |
//! | a track is unsure, a suspect was seen, frames were lost | regular |
//! | `interval` frames passed | regular, every [`THOROUGH_EVERY_S`] thorough |
//! | otherwise | glance |
//!
//! The adaptive interval starts at [`SHORTEST`] and doubles with every regular look that told
//! nothing new, up to what the lookahead can make good: a face found at frame n is covered
//! backwards over the frames still held, so with a lookahead of L no frame leaves before a look
//! at most L frames later has had its say. Without lookahead it stays at [`SHORTEST`].

use crate::frame::Pts;
use crate::stages::detect::Effort;

/// Interval after a change, frames.
pub(super) const SHORTEST: u32 = 2;
/// Longest interval, frames, whatever the lookahead.
pub(super) const LONGEST: u32 = 12;
/// Longest interval, seconds, whatever the frame rate.
pub(super) const LONGEST_S: f64 = 0.5;
/// Thorough looks at small faces at least this often, seconds.
pub(super) const THOROUGH_EVERY_S: f64 = 2.0;

/// What the scheduler is told of a frame before it is detected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Situation {
    /// Time.
    pub(super) at: Pts,
    /// Scene cut, first frame, flush or new caps.
    pub(super) fresh: bool,
    /// A track is unsure, or frames were lost.
    pub(super) unsure: bool,
    /// Frames held back.
    pub(super) lookahead: usize,
    /// The user's interval; 0 = adaptive.
    pub(super) fixed_interval: u32,
}

/// Remembers the last looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Schedule {
    interval: u32,
    since_regular: u32,
    last_regular: Option<Pts>,
    last_thorough: Option<Pts>,
}

impl Schedule {
    /// How hard to look at this frame.
    pub(super) fn look(&mut self, now: Situation) -> Effort {
        self.since_regular = self.since_regular.saturating_add(1);
        let bound = match now.fixed_interval {
            0 => self.interval.clamp(SHORTEST, longest(now.lookahead)),
            fixed => fixed,
        };
        let late = |last: Option<Pts>, limit_s: f64| last.is_none_or(|last| now.at.seconds_since(last).abs() >= limit_s);
        let effort = if now.fresh || self.last_regular.is_none() {
            Effort::Thorough
        } else if now.unsure || self.since_regular >= bound || late(self.last_regular, LONGEST_S) {
            if late(self.last_thorough, THOROUGH_EVERY_S) {
                Effort::Thorough
            } else {
                Effort::Regular
            }
        } else {
            Effort::Glance
        };
        if effort != Effort::Glance {
            self.since_regular = 0;
            self.last_regular = Some(now.at);
        }
        if effort == Effort::Thorough {
            self.last_thorough = Some(now.at);
        }
        effort
    }

    /// What a regular or thorough look told: `changed` where tracks started, were lost or moved fast.
    pub(super) fn told(&mut self, changed: bool) {
        self.interval = if changed {
            SHORTEST
        } else {
            self.interval.max(SHORTEST).saturating_mul(2).min(LONGEST)
        };
    }
}

/// The longest interval that the frames held back can make good.
fn longest(lookahead: usize) -> u32 {
    u32::try_from(lookahead)
        .unwrap_or(LONGEST)
        .saturating_add(1)
        .clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(frame: u64) -> Situation {
        Situation {
            at: Pts(frame * 40_000_000),
            fresh: false,
            unsure: false,
            lookahead: 11,
            fixed_interval: 0,
        }
    }

    #[test]
    fn the_first_frame_and_a_cut_are_looked_at_thoroughly() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.look(situation(0)), Effort::Thorough);
        assert_eq!(schedule.look(situation(1)), Effort::Glance);
        assert_eq!(
            schedule.look(Situation {
                fresh: true,
                ..situation(2)
            }),
            Effort::Thorough
        );
    }

    #[test]
    fn a_quiet_scene_is_looked_at_less_often_but_never_beyond_the_lookahead() {
        for lookahead in [0, 2, 5, 11, 40] {
            let mut schedule = Schedule::default();
            let mut last = 0;
            let mut widest = 0;
            for frame in 0..500 {
                if schedule.look(Situation {
                    lookahead,
                    ..situation(frame)
                }) != Effort::Glance
                {
                    widest = widest.max(frame - last);
                    last = frame;
                    schedule.told(false);
                }
            }
            assert_eq!(widest, u64::from(longest(lookahead)), "lookahead {lookahead}");
        }
    }

    #[test]
    fn a_change_brings_the_interval_back() {
        let mut schedule = Schedule::default();
        for frame in 0..100 {
            if schedule.look(situation(frame)) != Effort::Glance {
                schedule.told(false);
            }
        }
        schedule.told(true);
        schedule.look(Situation {
            unsure: true,
            ..situation(100)
        });
        schedule.told(true);
        assert_eq!(schedule.look(situation(101)), Effort::Glance);
        assert_ne!(schedule.look(situation(102)), Effort::Glance);
    }

    #[test]
    fn a_slow_stream_is_looked_at_by_time() {
        let mut schedule = Schedule::default();
        schedule.look(situation(0));
        assert_ne!(
            schedule.look(Situation {
                at: Pts(600_000_000),
                ..situation(0)
            }),
            Effort::Glance
        );
    }

    #[test]
    fn a_fixed_interval_of_one_looks_at_every_frame() {
        let mut schedule = Schedule::default();
        for frame in 0..20 {
            assert_ne!(
                schedule.look(Situation {
                    fixed_interval: 1,
                    ..situation(frame)
                }),
                Effort::Glance
            );
        }
    }
}
