//! What a frame may cost, and the rung of the ladder that buys: diffusion → cached edit → k-same
//! composite → cover → opaque frame.
//!
//! Who queues frames knows how much time is left; what a face costs on this machine is learnt here.
//! Where time does not last for a new edit of every face, or for every face at all, it is said how many
//! there is room for; whose turn it is, [`super::turns`] says.
//! Stepping down happens at once, stepping up one rung at a time after [`CALM`] frames with room, so
//! that a film near the edge does not flip between two looks. Where a step up to another face, or to another make of
//! it, is undone soon, the next one waits twice as long: a load that comes and goes does not flap.
//!
//! Without a time no clock is asked: the same film then gives the same result on any machine.

use std::time::{Duration, Instant};

use super::fineness::{FINEST, Fineness};
use super::outcome::Rung;

/// Frames in a row in which a better rung must have fitted before it is taken.
const CALM: u32 = 12;
/// Frames for which a step up must last not to count as taken too soon.
const LASTING: u32 = 250;
/// Steps up taken too soon that are remembered; each doubles the frames that the next one waits.
const MOST_UNDONE: u32 = 4;
/// The best rung that looks unlike the ones below it: an edit moved along looks like a new one.
const SEEN: usize = 2;
/// How much room a better rung must have.
const ROOM: f64 = 1.25;
/// Share of the time between frames in which it is found out who a person becomes.
const AUDITION_SHARE: f64 = 0.3;
/// How much more of what a frame may cost where the stream is not behind.
const AUDITION_ROOM: f64 = 2.5;
/// What a rung that does not run is remembered to cost fades by this each frame, so that it is tried again.
const FADE: f64 = 0.98;

/// What the rendering of one frame may cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// The best rung allowed; what is better is not tried. `Rung::Frame` covers the whole frame.
    pub best: Rung,
    /// Time left; `None` = as long as it takes. What is not proven when it has passed is covered.
    pub time: Option<Duration>,
    /// What the frame should cost, so that the stream keeps up; rungs are chosen for it, but nothing is
    /// broken off when it has passed. `None` = whatever `time` allows.
    pub aim: Option<Duration>,
    /// Time between frames, where their delay counts: faces are drawn, and looks divided, so that a frame takes
    /// less. `None` = it does not count.
    pub pace: Option<Duration>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            best: Rung::Diffusion,
            time: None,
            aim: None,
            pace: None,
        }
    }
}

/// A budget that has begun to run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// The best rung to try.
    pub(super) rung: Rung,
    /// Faces that may be replaced; the others are covered.
    pub(super) faces: usize,
    /// Of these, how many may be given a new edit.
    pub(super) edits: usize,
    /// The largest scale of a face's canvas.
    pub(super) canvas: usize,
    /// How much of the frame finding out who somebody becomes may take; none = until it is found.
    pub(super) audition: Option<Duration>,
    timed: bool,
    until: Option<Instant>,
}

impl Allowed {
    /// Whether time has passed.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether anybody watches the clock.
    pub(super) fn is_timed(&self) -> bool {
        self.timed
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
    /// Frames since a step up that shows.
    since_up: Option<u32>,
    /// Such steps that were undone too soon.
    undone: u32,
    fineness: Fineness,
}

impl Ladder {
    /// Begins a frame of `faces` faces.
    pub(super) fn start(&mut self, budget: Budget, faces: usize) -> Allowed {
        let Some(aim) = budget.time.into_iter().chain(budget.aim).min() else {
            return Allowed {
                rung: budget.best,
                faces,
                edits: faces,
                canvas: FINEST,
                audition: None,
                timed: false,
                until: None,
            };
        };
        let over = budget.time.is_some_and(|time| time.is_zero());
        let aim_s = aim.as_secs_f64();
        let rung = if over { Rung::Solid } else { self.choose(aim_s, faces) }.max(budget.best);
        let [edit, cached, prior] = self.costs_s.map(Option::unwrap_or_default);
        Allowed {
            rung,
            faces: match rung {
                Rung::Diffusion | Rung::Cached => faces,
                Rung::Prior => room(aim_s, prior).clamp(1, faces.max(1)),
                _ => 0,
            },
            edits: match rung {
                Rung::Diffusion => room(aim_s - cached * faces as f64, edit - cached).clamp(1, faces.max(1)),
                _ => 0,
            },
            canvas: budget.pace.map_or(FINEST, |_| self.fineness.most()),
            audition: budget.pace.map(|pace| pace.max(aim.mul_f64(AUDITION_ROOM)).mul_f64(AUDITION_SHARE)),
            timed: true,
            until: budget.time.and_then(|time| Instant::now().checked_add(time)),
        }
    }

    /// The best rung that at least one face can have, with no face below the next one.
    fn choose(&mut self, time_s: f64, faces: usize) -> Rung {
        let [edit, cached, prior] = self.costs_s.map(Option::unwrap_or_default);
        let all_cached = cached * faces.max(1) as f64;
        let least = [all_cached + (edit - cached).max(0.0), all_cached, prior];
        let fits = |i: usize, room: f64| least.get(i).is_some_and(|cost| cost * room <= time_s);
        let best = (0..REPLACING.len()).find(|i| fits(*i, 1.0)).unwrap_or(REPLACING.len());
        if let Some(frames) = &mut self.since_up {
            *frames += 1;
            if *frames > LASTING {
                (self.since_up, self.undone) = (None, 0);
            }
        }
        if best >= self.at {
            if best > self.at && best >= SEEN && self.since_up.take().is_some() {
                self.undone = (self.undone + 1).min(MOST_UNDONE);
            }
            (self.at, self.calm) = (best, 0);
        } else {
            let shows = self.at >= SEEN;
            let patience = if shows { CALM << self.undone } else { CALM };
            let next = self.at - 1;
            self.calm = if fits(next, ROOM) { self.calm + 1 } else { 0 };
            if self.calm >= patience {
                (self.at, self.calm) = (next, 0);
                self.since_up = self.since_up.or(shows.then_some(0));
            }
        }
        for cost in self.costs_s.iter_mut().take(self.at).flatten() {
            *cost *= FADE;
        }
        REPLACING.get(self.at).copied().unwrap_or(Rung::Solid)
    }

    /// Learns what a frame with new faces took in all, where its delay counts.
    pub(super) fn drawn(&mut self, took: Duration, pace: Duration) {
        self.fineness.learn(took, pace);
    }

    /// Learns from the rungs that a frame's faces reached. What the dearest one cost is what the others,
    /// as far as known, did not; a frame that took longer than expected counts at once.
    pub(super) fn learn(&mut self, reached: impl Iterator<Item = Rung>, took: Duration) {
        let mut counts = [0_u32; 3];
        for rung in reached {
            if let Some(count) = REPLACING.iter().position(|r| *r == rung).and_then(|i| counts.get_mut(i)) {
                *count += 1;
            }
        }
        let mut left_s = took.as_secs_f64();
        let mut faces = counts.iter().zip(&mut self.costs_s).skip_while(|(count, _)| **count == 0);
        let Some((count, cost)) = faces.next() else { return };
        for (count, cost) in faces {
            left_s -= f64::from(*count) * cost.unwrap_or_default();
        }
        let new = left_s.max(0.0) / f64::from(*count);
        *cost = Some(cost.map_or(new, |old| if new > old { new } else { old + (new - old) * 0.1 }));
    }
}

/// How many of this cost fit into a time.
fn room(time_s: f64, each_s: f64) -> usize {
    if each_s > 0.0 { (time_s / each_s) as usize } else { usize::MAX }
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
            ladder.learn([rung].into_iter(), Duration::from_millis(ms));
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

    /// The rung of a frame with so much time, and what faces cost learnt again, as where they are made.
    fn frame(ladder: &mut Ladder, ms: u64) -> Rung {
        let rung = ladder.start(budget(ms), 1).rung;
        for (rung, ms) in [(Rung::Diffusion, 40), (Rung::Cached, 12)] {
            ladder.learn([rung].into_iter(), Duration::from_millis(ms));
        }
        rung
    }

    #[test]
    fn a_load_that_comes_and_goes_does_not_make_faces_flap() {
        for half in [1, 3, 12, 13, 20, 50, 100, 180, 240] {
            let mut ladder = learnt();
            // Room for a new edit, and for a composite only.
            let ms = |n: usize| if (n / half).is_multiple_of(2) { 200 } else { 10 };
            let rungs: Vec<Rung> = (0..3_000).map(|n| frame(&mut ladder, ms(n))).collect();
            let flips = rungs.windows(2).skip(1_000);
            let flips = flips.filter(|w| (w[0] >= Rung::Prior) != (w[1] >= Rung::Prior)).count();
            // 2,000 frames are 80 s.
            assert!(flips <= 12, "{flips} flips where the load changes every {half} frames");
        }
    }

    #[test]
    fn a_face_comes_back_at_the_old_pace_once_a_step_up_has_lasted() {
        let mut ladder = learnt();
        let frames_to_edit = |ladder: &mut Ladder| {
            frame(ladder, 10);
            (0..).take_while(|_| frame(ladder, 200) > Rung::Cached).count()
        };
        let waits: Vec<usize> = (0..7).map(|_| frames_to_edit(&mut ladder)).collect();
        let calm = CALM as usize;
        let expected = [1, 2, 4, 8, 16, 16, 16].map(|doubled| doubled * calm - 1);
        assert_eq!(waits, expected);
        (0..=LASTING).for_each(|_| _ = frame(&mut ladder, 200));
        assert_eq!(frames_to_edit(&mut ladder), calm - 1);
    }

    #[test]
    fn a_rung_that_was_too_dear_is_tried_again_some_day() {
        let mut ladder = Ladder::default();
        ladder.learn([Rung::Diffusion].into_iter(), Duration::from_millis(400));
        ladder.learn([Rung::Cached].into_iter(), Duration::from_millis(5));
        let first = (0..1000).position(|_| ladder.start(budget(50), 1).rung == Rung::Diffusion);
        assert!(first.is_some_and(|n| n > CALM as usize), "{first:?}");
    }

    #[test]
    fn the_best_rung_allowed_is_a_ceiling_and_no_time_means_no_clock() {
        let mut ladder = learnt();
        for best in [Rung::Diffusion, Rung::Prior, Rung::Blur, Rung::Frame] {
            let allowed = ladder.start(Budget { best, ..Budget::default() }, 9);
            assert_eq!((allowed.rung, allowed.is_timed(), allowed.is_over()), (best, false, false));
            let timed = Budget { best, ..budget(1000) };
            assert_eq!(ladder.start(timed, 1).rung, best);
        }
    }

    #[test]
    fn room_for_some_faces_is_room_for_some_and_not_for_none() {
        for (ms, faces, allowed) in [
            // Every face's cached edit, and new ones with what is left: 40 − 12 ms more each.
            (200, 4, (Rung::Diffusion, 4, 4)),
            (120, 4, (Rung::Diffusion, 4, 2)),
            (80, 4, (Rung::Diffusion, 4, 1)),
            (60, 4, (Rung::Cached, 4, 0)),
            // No room for every edit: composites, as many as there is room for.
            (40, 4, (Rung::Prior, 4, 0)),
            (30, 4, (Rung::Prior, 3, 0)),
            (100, 40, (Rung::Prior, 12, 0)),
            (5, 40, (Rung::Solid, 0, 0)),
        ] {
            let got = learnt().start(budget(ms), faces);
            assert_eq!((got.rung, got.faces, got.edits), allowed, "{ms} ms, {faces} faces");
        }
        let untimed = learnt().start(Budget::default(), 40);
        assert_eq!((untimed.faces, untimed.edits), (40, 40));
    }

    #[test]
    fn an_aim_chooses_the_rung_but_breaks_nothing_off() {
        let both = Budget {
            aim: Some(Duration::ZERO),
            ..budget(1000)
        };
        let allowed = learnt().start(both, 1);
        assert_eq!((allowed.rung, allowed.is_over(), allowed.is_timed()), (Rung::Solid, false, true));
        let alone = Budget {
            aim: Some(Duration::from_millis(20)),
            ..Budget::default()
        };
        let allowed = learnt().start(alone, 1);
        assert_eq!((allowed.rung, allowed.is_over(), allowed.is_timed()), (Rung::Cached, false, true));
    }

    #[test]
    fn a_mixed_frame_tells_what_its_dearest_face_cost() {
        let mut ladder = Ladder::default();
        ladder.learn([Rung::Cached; 4].into_iter(), Duration::from_millis(40));
        ladder.learn([Rung::Cached, Rung::Diffusion, Rung::Cached].into_iter(), Duration::from_millis(90));
        let got = ladder.costs_s.map(|c| c.map(|s| (s * 1e3).round()));
        assert_eq!(got, [Some(70.0), Some(10.0), None]);
    }
}
