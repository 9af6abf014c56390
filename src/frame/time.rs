//! Time in nanoseconds of the stream. Trackers reckon with it, never with frame counts, because
//! frames are dropped and rates vary.

/// Presentation time, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Pts(pub u64);

impl Pts {
    /// Seconds since `earlier`; negative where time ran backwards.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 as f64 - earlier.0 as f64) / 1e9
    }

    /// From seconds since the stream's zero, to the nearest nanosecond; zero where that is negative or no number.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1e9).round() as u64)
    }

    /// Seconds since the stream's zero.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

/// When a frame is shown and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameTime {
    /// Presentation time.
    pub pts: Pts,
    /// Duration, nanoseconds; 0 where unknown.
    pub duration_ns: u64,
}
