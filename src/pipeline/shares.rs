//! In how many parts a look goes over a frame, where it goes on beside the rendering and frames come at a pace.
//!
//! A whole look at every second frame makes that frame late, and one that takes longer than two frames makes all
//! of them late. In parts it costs every frame the same. Each part is as large as fits beside the rendering, by
//! what looks cost on this machine; a face too small for a glance waits for as many frames as there are parts, so
//! there are no more of them than [`MOST`].

use std::time::Duration;

use crate::stages::detect::Effort;

/// Parts at least.
const LEAST: usize = 2;
/// Parts at most: of regular and of thorough looks.
const MOST: [usize; 2] = [4, 8];
/// Share of a frame's time that a look may take.
const ROOM: f64 = 0.6;
/// What a thorough look costs as a multiple of a regular one, where it is not known.
const THOROUGH_COST: f64 = 2.0;
/// By how much a look that took less than thought makes the next one cheaper.
const FADE: f64 = 0.03;

/// What whole looks cost here.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares {
    costs_s: [Option<f64>; 2],
}

fn kind(effort: Effort) -> usize {
    usize::from(effort == Effort::Thorough)
}

impl Shares {
    /// Learns what a look at one of so many parts took.
    pub(super) fn learn(&mut self, effort: Effort, of: usize, took: Duration) {
        let new = took.as_secs_f64() * of as f64;
        if let Some(cost) = self.costs_s.get_mut(kind(effort)) {
            *cost = Some(cost.map_or(new, |old| if new > old { new } else { old + (new - old) * FADE }));
        }
    }

    /// How many parts a look should have at a pace.
    pub(super) fn of(&self, effort: Effort, pace: Duration) -> usize {
        let most = MOST.get(kind(effort)).copied().unwrap_or(LEAST);
        let [regular, thorough] = self.costs_s;
        let cost_s = match effort {
            Effort::Thorough => thorough.or(regular.map(|cost| cost * THOROUGH_COST)),
            _ => regular,
        };
        let cost_s = cost_s.unwrap_or_default();
        let room_s = (pace.as_secs_f64() * ROOM).max(1e-6);
        ((cost_s / room_s).ceil() as usize).clamp(LEAST, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_millis(40);

    #[test]
    fn parts_are_as_many_as_their_time_asks_for_and_no_more_than_allowed() {
        let mut shares = Shares::default();
        assert_eq!(shares.of(Effort::Regular, PACE), LEAST, "nothing known");
        let mut unknown = Shares::default();
        unknown.learn(Effort::Regular, 2, Duration::from_millis(40));
        assert_eq!(unknown.of(Effort::Thorough, PACE), 7, "twice 80 ms");
        for (whole_ms, regular, thorough) in [(20, 2, 2), (60, 3, 3), (90, 4, 4), (500, 4, 8)] {
            for effort in [Effort::Regular, Effort::Thorough] {
                shares.learn(effort, 2, Duration::from_millis(whole_ms / 2));
            }
            assert_eq!(
                (shares.of(Effort::Regular, PACE), shares.of(Effort::Thorough, PACE)),
                (regular, thorough),
                "{whole_ms} ms"
            );
        }
        assert_eq!(shares.of(Effort::Regular, Duration::ZERO), MOST[0]);
    }

    #[test]
    fn what_became_cheaper_is_believed_slowly() {
        let mut shares = Shares::default();
        shares.learn(Effort::Regular, 1, Duration::from_millis(90));
        shares.learn(Effort::Regular, 4, Duration::ZERO);
        assert_eq!(shares.of(Effort::Regular, PACE), 4, "a look at nothing new");
        (0..200).for_each(|_| shares.learn(Effort::Regular, 4, Duration::from_millis(3)));
        assert_eq!(shares.of(Effort::Regular, PACE), LEAST);
    }
}
