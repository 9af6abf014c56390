//! Whether a person can be replaced at all. To some faces no target is unlike enough: some frames pass and
//! their neighbours do not, the film alternates between a painted face and a cover, and what passes there
//! passes narrowly. Such a person is covered throughout.
//!
//! | what happens | what it does |
//! |---|---|
//! | a face that has been shown fails | it is covered in that frame: a strike; frames that pass take strikes back |
//! | too many strikes | somebody else is drawn, which counts as [`CHANGE`] draws |
//! | [`MOST_DRAWS`] draws without one that held for [`HELD_S`] | covered for [`FIRST_REST_S`], then tried again; each rest is twice the last, up to [`LONGEST_REST_S`] |

use std::ops::Range;

use crate::frame::Pts;

/// Frames that a face already shown may fail, and be covered, before it becomes somebody else.
const STRIKES: f32 = 3.0;
/// Share of a strike that a frame which passes takes back.
const RELIEF: f32 = 0.125;
/// Targets drawn before a person is covered throughout; where time allows, all in the first frame.
pub(super) const MOST_DRAWS: u32 = 9;
/// What a change of a face already shown counts as: it is seen.
const CHANGE: u32 = 5;
/// A face that held so long was drawn well, s.
const HELD_S: f64 = 20.0;
const FIRST_REST_S: f64 = 30.0;
const LONGEST_REST_S: f64 = 480.0;

/// What a face that failed is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Be covered in this frame: a blink or a turn, and a covered frame shows less than a new person.
    Cover,
    /// Become somebody else.
    Redraw,
}

/// What is held of one person.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trust {
    /// Since when a face with this target has been shown: from then on it changes only where it must.
    shown: Option<Pts>,
    strikes: f32,
    draws: u32,
    rests: u32,
    /// The rest that is on.
    rest: Option<Range<Pts>>,
}

impl Trust {
    /// Whether the person is covered without a try.
    pub(super) fn rests(&mut self, now: Pts) -> bool {
        // Where time runs back it is another place of the film.
        let rests = self.rest.as_ref().is_some_and(|rest| rest.contains(&now));
        if !rests && self.rest.take().is_some() {
            self.draws = 0;
        }
        rests
    }

    /// Whether a face with this target has been shown.
    pub(super) fn is_shown(&self) -> bool {
        self.shown.is_some()
    }

    /// Whether nothing else will be drawn: what passes narrowly is taken then.
    pub(super) fn is_last_draw(&self) -> bool {
        self.draws + 1 >= MOST_DRAWS
    }

    /// A face passed and is shown.
    pub(super) fn passed(&mut self, now: Pts) {
        let since = *self.shown.get_or_insert(now);
        self.strikes = (self.strikes - RELIEF).max(0.0);
        if now.seconds_since(since) > HELD_S {
            (self.draws, self.rests) = (0, 0);
        }
    }

    /// A face failed.
    pub(super) fn failed(&mut self, now: Pts) -> After {
        if self.is_shown() && self.strikes < STRIKES {
            self.strikes += 1.0;
            return After::Cover;
        }
        self.draws += if self.is_shown() { CHANGE } else { 1 };
        (self.shown, self.strikes) = (None, 0.0);
        if self.draws >= MOST_DRAWS {
            let rest_s = (FIRST_REST_S * 2.0_f64.powi(self.rests.min(16) as i32)).min(LONGEST_REST_S);
            self.rest = Some(now..Pts(now.0.saturating_add((rest_s * 1e9) as u64)));
            self.rests += 1;
        }
        After::Redraw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: u64) -> Pts {
        Pts(n * 40_000_000)
    }

    /// Shows frames of which `fails(n)` fail; says which were painted.
    fn show(trust: &mut Trust, frames: Range<u64>, fails: impl Fn(u64) -> bool) -> Vec<bool> {
        frames
            .map(|n| {
                let tried = !trust.rests(frame(n));
                if tried && fails(n) {
                    trust.failed(frame(n));
                } else if tried {
                    trust.passed(frame(n));
                }
                tried && !fails(n)
            })
            .collect()
    }

    #[test]
    fn single_failures_are_covered_and_nobody_changes() {
        let mut trust = Trust::default();
        let painted = show(&mut trust, 0..2_000, |n| n % 40 == 39);
        assert!(trust.is_shown() && painted.iter().filter(|p| !**p).count() == 50);
    }

    #[test]
    fn a_face_that_flickers_is_covered_before_a_second_is_out() {
        let mut trust = Trust::default();
        let painted = show(&mut trust, 0..700, |n| n % 2 == 1);
        assert!(painted.iter().skip(25).all(|p| !p), "{painted:?}");
    }

    #[test]
    fn whom_no_target_suits_is_tried_again_ever_more_seldom() {
        let mut trust = Trust::default();
        let mut tries = Vec::new();
        for n in 0..25 * 1_000 {
            if !trust.rests(frame(n)) {
                tries.push(n);
                trust.failed(frame(n));
            }
        }
        assert_eq!(tries.len() as u32 % MOST_DRAWS, 0);
        let rounds: Vec<u64> = tries.iter().step_by(MOST_DRAWS as usize).copied().collect();
        assert!(rounds.len() == 6, "{rounds:?}");
        assert!(rounds.windows(3).all(|r| r[2] - r[1] > r[1] - r[0]), "{rounds:?}");
    }

    #[test]
    fn a_face_that_holds_after_a_rest_is_trusted_again() {
        let mut trust = Trust::default();
        show(&mut trust, 0..MOST_DRAWS.into(), |_| true);
        assert!(trust.rests(frame(20)));
        let painted = show(&mut trust, 20..2_000, |_| false);
        assert!(painted.iter().rev().take(1_000).all(|p| *p) && trust.is_shown());
        assert_eq!(trust.rests, 0);
    }
}
