//! Pauses between attempts. Pure: the caller has the clock.

use std::time::Duration;

/// Pause after the first failure.
pub(crate) const FIRST: Duration = Duration::from_millis(500);
/// Longest pause.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);
/// A connection that held this long counts as a good one: the next pause is the first again.
pub(crate) const HELD: Duration = Duration::from_secs(10);

/// Doubles from [`FIRST`] to [`LONGEST`], begins anew after a connection that held.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A connection ended after `lasted`; returns how long to wait before the next attempt.
    pub(crate) fn failed(&mut self, lasted: Duration) -> Duration {
        if lasted >= HELD {
            self.failures = 0;
        }
        let pause = FIRST
            .checked_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .unwrap_or(LONGEST)
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Attempts that failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, FIRST, HELD, LONGEST};
    use std::time::Duration;

    #[test]
    fn pauses_double_up_to_the_longest_and_stay_there() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..80).map(|_| backoff.failed(Duration::ZERO)).collect();
        assert_eq!(pauses[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert!(pauses.windows(2).all(|p| p[0] <= p[1]));
        assert_eq!(pauses[79], LONGEST);
        assert_eq!(backoff.failures(), 80);
    }

    #[test]
    fn a_connection_that_held_brings_the_first_pause_back() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.failed(Duration::ZERO);
        }
        assert_eq!(backoff.failed(HELD), FIRST);
        assert_eq!(backoff.failures(), 1);
    }
}
