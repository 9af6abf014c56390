//! One line of time through everything that happens to sources: connections that end and begin
//! again, clocks that jump, stamps that are missing or run backwards. Pure: the caller says what
//! time it is.
//!
//! Picture and sound of one connection share one shift, so that they stay together. The shift is
//! set by the first stamp after [`Timeline::reconnect`], and anew when a stamp would land more than
//! [`SLACK_NS`] from now.

/// Farthest that a frame may be stamped from the moment at which it arrives.
pub(crate) const SLACK_NS: u64 = 1_000_000_000;

/// Least distance of two frames: the finest that all containers keep apart.
pub(crate) const STEP_NS: u64 = 1_000_000;

/// What is stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Frames.
    Picture = 0,
    /// Samples.
    Sound = 1,
}

/// Stamps, all in nanoseconds of the session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    shift: Option<i128>,
    last: [Option<u64>; 2],
}

impl Timeline {
    /// The next stamp comes from another connection.
    pub(crate) fn reconnect(&mut self) {
        self.shift = None;
    }

    /// The session's time of something that the source stamped `source`, arriving at `now`. Strictly
    /// increasing for each kind, never farther than [`SLACK_NS`] from `now` unless the order asks for it.
    pub(crate) fn stamp(&mut self, kind: Kind, source: Option<u64>, now: u64) -> u64 {
        let wanted = match source {
            None => now,
            Some(source) => {
                let mapped = self.shift.map(|shift| i128::from(source) + shift);
                let near = mapped.filter(|at| (at - i128::from(now)).unsigned_abs() <= u128::from(SLACK_NS));
                match near.and_then(|at| u64::try_from(at).ok()) {
                    Some(at) => at,
                    None => {
                        self.shift = Some(i128::from(now) - i128::from(source));
                        now
                    }
                }
            }
        };
        let at = match self.last[kind as usize] {
            Some(last) if kind == Kind::Picture => wanted.max(last.saturating_add(STEP_NS)),
            Some(last) => wanted.max(last.saturating_add(1)),
            None => wanted,
        };
        self.last[kind as usize] = Some(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, SLACK_NS, STEP_NS, Timeline};
    use proptest::prelude::*;

    const FRAME: u64 = 40_000_000;

    #[test]
    fn spacing_is_the_sources_even_where_arrival_jitters() {
        let mut line = Timeline::default();
        let stamps: Vec<u64> = (0..50)
            .map(|n| line.stamp(Kind::Picture, Some(7 + n * FRAME), 5_000_000_000 + n * FRAME + (n % 7) * 3_000_000))
            .collect();
        assert!(stamps.windows(2).all(|s| s[1] - s[0] == FRAME), "{stamps:?}");
    }

    #[test]
    fn sound_and_picture_of_a_connection_keep_their_distance() {
        let mut line = Timeline::default();
        let picture = line.stamp(Kind::Picture, Some(1_000_000_000), 9_000_000_000);
        let sound = line.stamp(Kind::Sound, Some(1_020_000_000), 9_300_000_000);
        assert_eq!(sound - picture, 20_000_000);
    }

    #[test]
    fn a_new_connection_begins_now() {
        let mut line = Timeline::default();
        line.stamp(Kind::Picture, Some(90_000_000_000), 1_000_000_000);
        line.reconnect();
        assert_eq!(line.stamp(Kind::Picture, Some(0), 8_000_000_000), 8_000_000_000);
        assert_eq!(line.stamp(Kind::Picture, Some(FRAME), 8_010_000_000), 8_000_000_000 + FRAME);
    }

    proptest! {
        #[test]
        fn whatever_comes_stamps_increase_and_stay_near(
            steps in prop::collection::vec((any::<Option<u64>>(), 0_u64..200_000_000, any::<bool>(), any::<bool>()), 1..200)
        ) {
            let mut line = Timeline::default();
            let (mut now, mut last) = (10 * SLACK_NS, [None, None]);
            for (source, pause, sound, cut) in steps {
                now += pause;
                if cut { line.reconnect(); }
                let kind = if sound { Kind::Sound } else { Kind::Picture };
                let at = line.stamp(kind, source, now);
                prop_assert!(last[kind as usize].is_none_or(|l| at > l));
                prop_assert!(at.abs_diff(now) <= SLACK_NS + 200 * STEP_NS, "{at} at {now}");
                last[kind as usize] = Some(at);
            }
        }
    }
}
