//! When the detector looks, and how hard. Pure: no clock of its own, so a film is treated the same
//! way on every machine.
//!
//! | situation | look |
//! |---|---|
//! | first frame, scene cut, flush | thorough |
//! | a track is unsure, a suspect was seen, frames were lost | regular |
//! | `interval` frames passed | regular, every [`THOROUGH_EVERY_S`] thorough |
//! | otherwise | glance |
//! | looks go on beside the rendering, and nothing of the above but the interval asks | glance, and a part in turn |
//! | the same, and a track is unsure | in turn with parts: glance, and the track's surroundings |
//! | frames are held back, a track is unsure, and nothing else asks | glance, and the track's surroundings |
//!
//! Looks in parts cost every frame the same, where whole ones in every second frame make those late.
//!
//! The adaptive interval starts at [`SHORTEST`] and doubles with every regular look that told
//! nothing new, up to what the lookahead can make good: a face found at frame n is covered
//! backwards over the frames still held, so with a lookahead of L no frame leaves before a look
//! at most L frames later has had its say. Without lookahead it stays at [`SHORTEST`].

use crate::frame::{BoxPx, Pts};
use crate::stages::detect::{Effort, Part};

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
    /// Where a face is unsure; nobody asks for more than a look there.
    pub(super) around: Option<BoxPx>,
    /// In how many parts looks may go over the frame, beside the rendering.
    pub(super) parts: Option<InParts>,
}

/// What is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Turn {
    /// The whole frame.
    Whole(Effort),
    /// The whole frame at a glance, and a part.
    Part(Part),
    /// The whole frame at a glance, and the surroundings of a face that is unsure, frame px.
    Around(BoxPx),
}

/// How many parts looks have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InParts {
    /// A regular look.
    pub(super) regular: usize,
    /// A thorough look; none = it is not divided.
    pub(super) thorough: Option<usize>,
}

/// Remembers the last looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Schedule {
    interval: u32,
    since_regular: u32,
    part: usize,
    /// Whether the last look went around a face.
    around: bool,
    /// Parts of a thorough look that are still to come, and how many it has.
    round: (usize, usize),
    last_regular: Option<Pts>,
    last_thorough: Option<Pts>,
}

impl Schedule {
    /// How hard to look at this frame.
    pub(super) fn look(&mut self, now: Situation) -> Turn {
        self.since_regular = self.since_regular.saturating_add(1);
        let bound = match now.fixed_interval {
            0 => self.interval.clamp(SHORTEST, longest(now.lookahead)),
            fixed => fixed,
        };
        let late = |last: Option<Pts>, limit_s: f64| last.is_none_or(|last| now.at.seconds_since(last).abs() >= limit_s);
        let asked = now.fresh || now.unsure || now.fixed_interval > 0 || late(self.last_regular, LONGEST_S);
        let due = late(self.last_thorough, THOROUGH_EVERY_S);
        // Every second one at most, so that parts have their turn; elsewhere the whole frame has its own.
        let has_room = match now.parts {
            Some(_) => !self.around,
            None => now.lookahead > 0 && self.since_regular < bound,
        };
        self.around = has_room && !asked && now.around.is_some();
        if let Some(around) = now.around.filter(|_| self.around) {
            if now.parts.is_some() {
                self.since_regular = bound.saturating_sub(1);
            }
            return Turn::Around(around);
        }
        if let Some(part) = now.parts.filter(|_| !asked).and_then(|parts| self.part(parts, due)) {
            if due {
                self.last_thorough = Some(now.at);
            }
            // What was not looked at is due with the next frame, whatever looks are then.
            (self.since_regular, self.last_regular) = (bound.saturating_sub(1), Some(now.at));
            return Turn::Part(part);
        }
        let effort = if now.fresh || self.last_regular.is_none() {
            Effort::Thorough
        } else if now.unsure
            || now.around.is_some()
            || (now.parts.is_some() && due)
            || self.since_regular >= bound
            || late(self.last_regular, LONGEST_S)
        {
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
        Turn::Whole(effort)
    }

    /// The part whose turn it is; none where a thorough look is due that has no parts.
    fn part(&mut self, parts: InParts, thorough: bool) -> Option<Part> {
        if thorough && self.round.0 == 0 {
            let of = parts.thorough?;
            self.round = (of, of);
        }
        let (effort, of) = if self.round.0 > 0 {
            self.round.0 -= 1;
            (Effort::Thorough, self.round.1)
        } else {
            (Effort::Regular, parts.regular)
        };
        self.part = (self.part + 1) % of.max(1);
        let index = self.part;
        Some(Part { index, of, effort })
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
            parts: None,
            around: None,
        }
    }

    #[test]
    fn the_first_frame_and_a_cut_are_looked_at_thoroughly() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.look(situation(0)), Turn::Whole(Effort::Thorough));
        assert_eq!(schedule.look(situation(1)), Turn::Whole(Effort::Glance));
        assert_eq!(
            schedule.look(Situation {
                fresh: true,
                ..situation(2)
            }),
            Turn::Whole(Effort::Thorough)
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
                }) != Turn::Whole(Effort::Glance)
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
            if schedule.look(situation(frame)) != Turn::Whole(Effort::Glance) {
                schedule.told(false);
            }
        }
        schedule.told(true);
        schedule.look(Situation {
            unsure: true,
            ..situation(100)
        });
        schedule.told(true);
        assert_eq!(schedule.look(situation(101)), Turn::Whole(Effort::Glance));
        assert_ne!(schedule.look(situation(102)), Turn::Whole(Effort::Glance));
    }

    fn in_parts(frame: u64, regular: usize, thorough: Option<usize>) -> Situation {
        Situation {
            parts: Some(InParts { regular, thorough }),
            lookahead: 0,
            ..situation(frame)
        }
    }

    #[test]
    fn in_parts_every_place_is_looked_at_in_turn_and_what_asks_for_a_look_has_a_whole_one() {
        for of in [2, 3, 4] {
            let mut schedule = Schedule::default();
            assert_eq!(schedule.look(in_parts(0, of, None)), Turn::Whole(Effort::Thorough));
            let turns: Vec<Turn> = (1..=36).map(|frame| schedule.look(in_parts(frame, of, None))).collect();
            for round in turns.windows(of) {
                let effort = Effort::Regular;
                let all = (0..of).all(|index| round.contains(&Turn::Part(Part { index, of, effort })));
                assert!(all, "{turns:?}");
            }
            let unsure = Situation {
                unsure: true,
                ..in_parts(41, of, None)
            };
            assert_eq!(schedule.look(unsure), Turn::Whole(Effort::Regular));
            assert!(matches!(schedule.look(in_parts(42, of, None)), Turn::Part(_)));
            // No parts any more: what is due has a whole look.
            let whole = Situation {
                parts: None,
                ..in_parts(43, of, None)
            };
            assert_eq!(schedule.look(whole), Turn::Whole(Effort::Regular));
            assert_eq!(schedule.look(in_parts(51, of, None)), Turn::Whole(Effort::Thorough), "two seconds");
        }
    }

    #[test]
    fn where_frames_are_held_back_a_face_that_is_unsure_has_looks_of_its_own_between_those_at_everything() {
        let around = BoxPx::around([100.0, 100.0], 80.0, 80.0);
        for lookahead in [0, 2, 11] {
            let mut schedule = Schedule::default();
            let mut last = 0;
            for frame in 0..200 {
                let turn = schedule.look(Situation {
                    lookahead,
                    around: Some(around),
                    ..situation(frame)
                });
                if turn == Turn::Around(around) {
                    assert!(lookahead > 0, "nothing makes good what a look around a face misses");
                    assert!(frame - last < u64::from(longest(lookahead)), "frame {frame}");
                    continue;
                }
                assert_ne!(turn, Turn::Whole(Effort::Glance), "frame {frame}");
                last = frame;
                schedule.told(false);
            }
        }
    }

    #[test]
    fn a_face_that_is_unsure_has_looks_of_its_own_in_turn_with_parts() {
        let mut schedule = Schedule::default();
        schedule.look(in_parts(0, 2, Some(2)));
        let around = BoxPx::around([100.0, 100.0], 80.0, 80.0);
        let unsure = |frame, parts| Situation {
            around: Some(around),
            parts,
            ..in_parts(frame, 2, Some(2))
        };
        let parts = in_parts(0, 2, Some(2)).parts;
        let turns: Vec<Turn> = (1..9).map(|frame| schedule.look(unsure(frame, parts))).collect();
        for pair in turns.chunks(2) {
            assert!(pair[0] == Turn::Around(around) && matches!(pair[1], Turn::Part(_)), "{turns:?}");
        }
        assert_eq!(schedule.look(unsure(9, None)), Turn::Whole(Effort::Regular), "no parts");
    }

    #[test]
    fn a_thorough_look_in_parts_goes_over_all_of_them_every_two_seconds() {
        let mut schedule = Schedule::default();
        let turns: Vec<Turn> = (0..500).map(|frame| schedule.look(in_parts(frame, 2, Some(5)))).collect();
        assert_eq!(turns[0], Turn::Whole(Effort::Thorough));
        assert!(turns[1..].iter().all(|t| matches!(t, Turn::Part(_))));
        let thorough = turns.iter().enumerate().filter_map(|(n, turn)| match turn {
            Turn::Part(part) if part.effort == Effort::Thorough => Some((n, part.index)),
            _ => None,
        });
        let thorough: Vec<(usize, usize)> = thorough.collect();
        for round in thorough.chunks(5) {
            let mut parts: Vec<usize> = round.iter().map(|p| p.1).collect();
            parts.sort_unstable();
            assert_eq!(parts, [0, 1, 2, 3, 4]);
            assert_eq!(round[4].0 - round[0].0, 4, "one after the other");
        }
        let starts: Vec<usize> = thorough.chunks(5).map(|r| r[0].0).collect();
        assert!(starts.len() >= 8 && starts.windows(2).all(|w| w[1] - w[0] == 50), "{starts:?}");
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
            Turn::Whole(Effort::Glance)
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
                Turn::Whole(Effort::Glance)
            );
        }
    }
}
