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
