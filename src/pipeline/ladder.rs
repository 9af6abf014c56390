//! The governor: whether a live stream keeps up, and which rung of the ladder it may use for that.
//!
//! The budget of a single frame (see [`super::Budget`]) says what that frame can still afford; it
//! cannot say that every frame costs a little too much and the stream falls further and further
//! behind. That is what is watched here: time spent against time that passes, frame by frame.
//!
//! Down soon: when the stream is more than [`TOLERANCE`] frames behind, the next rung is taken; the
//! last one, on which nothing is seen at all, only when it is [`LAST_TOLERANCE`] behind.
//! Up with patience: when it has had room for a while, the next better rung is tried; where that try
//! fails, the next one waits twice as long, up to [`LONGEST_WAIT_S`]. So a load that lies between two
//! rungs makes a few changes in the first minute and then one try a minute, and does not flap.
//!
//! Pure: it is told times and has no clock.

use std::time::Duration;

use super::outcome::Rung;
use super::settings::Mode;

/// Frames that a stream may be behind before a rung is given up: single frames with a thorough look
/// cost more than their share and are made good by the ones after them.
const TOLERANCE: f64 = 2.0;
/// The same before frames become opaque.
const LAST_TOLERANCE: f64 = 15.0;
/// Most frames that a single frame may put the stream behind: a hang is no load, and deadlines answer it.
const HANG: f64 = 4.0;
/// Share of the time that may be used, on average, for a better rung to be tried.
const ROOM: f64 = 0.9;
/// Frames' time that one frame may take beyond its own while the stream is not behind. Half of what is
/// tolerated, so that a stream whose faces share the time in turns comes to rest before a rung is given up.
const SPREAD: f64 = 1.0;
/// What a frame may take at least, as a share of a frame's time: it has to be treated all the same.
const LEAST_SHARE: f64 = 0.25;
/// How long there must have been room, s.
const FIRST_WAIT_S: f64 = 1.0;
/// The longest such wait, s.
const LONGEST_WAIT_S: f64 = 60.0;
/// A rung given up within this time after it was tried counts as a try that failed; for one that holds longer
/// waits halve in each such time, s.
const HELD_S: f64 = 60.0;
/// Share of that time after which a rung has held well enough for the step after it to wait for [`EASED`] of the time.
const HELD_WELL: f64 = 0.9;
/// See [`HELD_WELL`].
const EASED: f64 = 0.25;
/// Time over which the load is averaged, s.
const MEAN_S: f64 = 0.5;

/// Rungs of the modes that replace.
const REPLACING: &[Rung] = &[Rung::Diffusion, Rung::Cached, Rung::Prior, Rung::Solid, Rung::Frame];
/// Rungs of the modes that cover: a cover costs next to nothing beside looking for faces.
const COVERING: &[Rung] = &[Rung::Diffusion, Rung::Frame];

/// Watches whether a stream keeps up.
#[derive(Debug, Clone)]
pub struct Governor {
    rungs: &'static [Rung],
    at: usize,
    /// Frames behind.
    debt: f64,
    /// Mean share of the time used.
    load: f64,
    /// How long there has been room, s.
    calm_s: f64,
    /// How long there must be, s.
    wait_s: f64,
    /// Since a better rung was taken, s.
    since_up_s: Option<f64>,
    changes: u64,
}

impl Governor {
    /// A governor that begins with the best rung of a mode.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            rungs: if mode.replaces() { REPLACING } else { COVERING },
            at: 0,
            debt: 0.0,
            load: 0.0,
            calm_s: 0.0,
            wait_s: FIRST_WAIT_S,
            since_up_s: None,
            changes: 0,
        }
    }

    /// The best rung that the next frame may use.
    #[must_use]
    pub fn best(&self) -> Rung {
        self.rungs.get(self.at).copied().unwrap_or(Rung::Frame)
    }

    /// What the next frame should cost in all, so that the stream keeps up: the further behind, the less.
    #[must_use]
    pub fn aim(&self, pace: Duration) -> Duration {
        pace.mul_f64((1.0 + SPREAD - self.debt).max(LEAST_SHARE))
    }

    /// Whether nothing is held back.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.at == 0
    }

    /// How often the rung changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes the time that a frame cost and the time until the next one; says whether the rung changed.
    ///
    /// Nothing is learnt from a `pace` of zero.
    pub fn frame(&mut self, took: Duration, pace: Duration) -> bool {
        let pace_s = pace.as_secs_f64();
        if pace_s <= 0.0 {
            return false;
        }
        let used = (took.as_secs_f64() / pace_s).min(HANG);
        self.debt = (self.debt + used - 1.0).max(0.0);
        self.load += (used - self.load) * (pace_s / MEAN_S).min(1.0);
        if let Some(since) = &mut self.since_up_s {
            *since += pace_s;
            if *since > HELD_S {
                self.wait_s = (self.wait_s * 0.5_f64.powf(pace_s / HELD_S)).max(FIRST_WAIT_S);
            }
        }
        let next_is_last = self.at + 2 == self.rungs.len();
        if self.debt > if next_is_last { LAST_TOLERANCE } else { TOLERANCE } {
            return self.down();
        }
        self.calm_s = if self.load < ROOM { self.calm_s + pace_s } else { 0.0 };
        self.calm_s >= self.wait_s && self.up()
    }

    fn down(&mut self) -> bool {
        // What is owed is forgiven: the next rung is judged by its own frames.
        (self.debt, self.calm_s, self.load) = (0.0, 0.0, 0.0);
        if self.at + 1 >= self.rungs.len() {
            // There is nothing below; what is owed was forgiven.
            return false;
        }
        if self.since_up_s.take().is_some_and(|since| since < HELD_S) {
            self.wait_s = (self.wait_s * 2.0).min(LONGEST_WAIT_S);
        }
        self.at += 1;
        self.changes += 1;
        true
    }

    fn up(&mut self) -> bool {
        self.calm_s = 0.0;
        if self.at == 0 {
            return false;
        }
        if self.since_up_s.is_some_and(|since| since >= HELD_WELL * HELD_S) {
            self.wait_s = (self.wait_s * EASED).max(FIRST_WAIT_S);
        }
        self.at -= 1;
        self.since_up_s = Some(0.0);
        self.changes += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACE: Duration = Duration::from_millis(40);

    /// Runs frames of which each rung costs `costs[rung]` paces; returns the rungs used.
    fn run(governor: &mut Governor, costs: &[f64], frames: usize) -> Vec<usize> {
        (0..frames)
            .map(|_| {
                let at = governor.at;
                governor.frame(PACE.mul_f64(costs[at]), PACE);
                at
            })
            .collect()
    }

    #[test]
    fn a_stream_that_keeps_up_is_left_alone() {
        let mut governor = Governor::new(Mode::Nullface);
        assert!(run(&mut governor, &[0.95; 5], 10_000).iter().all(|at| *at == 0));
        assert_eq!(governor.changes(), 0);
    }

    #[test]
    fn single_dear_frames_change_nothing() {
        let mut governor = Governor::new(Mode::Nullface);
        for n in 0..5_000 {
            let used = if n % 50 == 0 { 2.9 } else { 0.6 };
            governor.frame(PACE.mul_f64(used), PACE);
        }
        assert_eq!(governor.changes(), 0);
    }

    #[test]
    fn an_overload_steps_down_to_the_first_rung_that_keeps_up() {
        let mut governor = Governor::new(Mode::Nullface);
        run(&mut governor, &[3.0, 2.0, 0.9, 0.5, 0.0], 12);
        assert_eq!(governor.best(), Rung::Prior);
    }

    #[test]
    fn quality_comes_back_when_the_load_falls() {
        let mut governor = Governor::new(Mode::Nullface);
        let used = run(&mut governor, &[5.0, 5.0, 5.0, 5.0, 0.0], 200);
        assert!(used.contains(&4), "opaque frames, and tries in between");
        // Four rungs, each after the wait that its failed tries made long.
        run(&mut governor, &[0.5; 5], 25 * 300);
        assert!(governor.is_full());
    }

    #[test]
    fn after_an_hour_of_overload_quality_is_back_within_two_minutes() {
        let mut governor = Governor::new(Mode::Nullface);
        run(&mut governor, &[1.5, 1.3, 1.2, 1.1, 0.0], 25 * 3_600);
        run(&mut governor, &[0.5; 5], 25 * 120);
        assert!(governor.is_full(), "{:?}", governor.best());
    }

    #[test]
    fn a_load_between_two_rungs_does_not_flap() {
        let mut governor = Governor::new(Mode::Nullface);
        let costs = [1.3, 0.4, 0.3, 0.2, 0.0];
        run(&mut governor, &costs, 25 * 120);
        let before = governor.changes();
        run(&mut governor, &costs, 25 * 600);
        let per_minute = (governor.changes() - before) as f64 / 10.0;
        assert!(per_minute <= 2.5, "{per_minute} changes a minute");
    }

    #[test]
    fn frames_that_cost_what_they_should_keep_up_without_a_rung_given_up() {
        let mut governor = Governor::new(Mode::Nullface);
        let mut used = Duration::ZERO;
        for _ in 0..2_000 {
            // More faces than there is time for: every frame takes all that it may.
            let took = governor.aim(PACE);
            used += took;
            governor.frame(took, PACE);
        }
        assert!(governor.is_full() && governor.changes() == 0);
        let load = used.as_secs_f64() / (PACE.as_secs_f64() * 2_000.0);
        assert!((0.99..1.01).contains(&load), "{load}");
    }

    #[test]
    fn cover_modes_know_only_all_or_nothing() {
        let mut governor = Governor::new(Mode::Blur);
        run(&mut governor, &[4.0, 0.0], 3);
        assert!(governor.is_full(), "a hiccup is no reason to show nothing");
        run(&mut governor, &[4.0, 0.0], 4);
        assert_eq!(governor.best(), Rung::Frame);
    }

    #[test]
    fn without_a_pace_nothing_is_learnt() {
        let mut governor = Governor::new(Mode::Nullface);
        for _ in 0..100 {
            assert!(!governor.frame(Duration::from_secs(9), Duration::ZERO));
        }
        assert!(governor.is_full());
    }

    #[test]
    fn a_rung_a_hair_too_dear_is_given_up_before_the_stream_is_a_second_behind() {
        let mut governor = Governor::new(Mode::Nullface);
        // The rung above the opaque one costs half a thousandth too much: 15 frames behind after 30,000.
        let used = run(&mut governor, &[2.4, 2.3, 1.1, 1.0005, 0.0], 40_000);
        assert!(used.iter().take(20_000).all(|at| *at < 4), "given up too soon");
        assert!(used.contains(&4), "never given up");
    }

    proptest! {
        #[test]
        fn whatever_rungs_cost_the_stream_keeps_up_and_changes_are_rare(
            mut costs in prop::collection::vec(0.0_f64..4.0, 4)
        ) {
            costs.sort_by(|a, b| b.total_cmp(a));
            costs.push(0.0);
            let mut governor = Governor::new(Mode::Nullface);
            run(&mut governor, &costs, 25 * 120);
            let before = governor.changes();
            let frames = 25 * 600;
            let used: f64 = run(&mut governor, &costs, frames).iter().map(|at| costs[*at]).sum();
            // Tries cost time; over ten minutes they are paid for, but for what a rung may be behind for good.
            let behind = used - frames as f64;
            prop_assert!(behind <= LAST_TOLERANCE + HANG, "{behind} frames behind");
            prop_assert!(governor.changes() - before <= 30, "{} changes in ten minutes", governor.changes() - before);
        }

        #[test]
        fn a_load_that_comes_and_goes_does_not_flap(
            mut heavy in prop::collection::vec(0.0_f64..4.0, 4), light in 0.1_f64..0.9, half in 1_usize..1500
        ) {
            heavy.sort_by(|a, b| b.total_cmp(a));
            heavy.push(0.0);
            let costs = [heavy.clone(), heavy.iter().map(|cost| cost * light).collect()];
            let mut governor = Governor::new(Mode::Nullface);
            let mut changes = Vec::new();
            for n in 0..25 * 720 {
                governor.frame(PACE.mul_f64(costs[n / half % 2][governor.at]), PACE);
                changes.push(governor.changes());
            }
            let late = governor.changes() - changes[25 * 120];
            prop_assert!(late <= 30, "{late} changes in ten minutes, load changing every {half} frames");
        }

        #[test]
        fn the_rung_moves_one_step_at_a_time_and_stays_on_the_ladder(took_ms in prop::collection::vec(0_u64..400, 1..2000)) {
            let mut governor = Governor::new(Mode::Nullface);
            for ms in took_ms {
                let before = governor.at;
                let changed = governor.frame(Duration::from_millis(ms), PACE);
                prop_assert!(governor.at.abs_diff(before) == usize::from(changed));
                prop_assert!(governor.at < REPLACING.len());
            }
        }
    }
}
