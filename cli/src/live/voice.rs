//! Presets that change voices, from GStreamer's `pitch` (SoundTouch).
//!
//! Limit: a constant shift can be undone by whoever guesses it, and rhythm, words and accent stay. It
//! keeps a listener from knowing the voice at once, no more; the help says so.

use clap::ValueEnum;

/// How voices are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Voice {
    /// About five semitones down.
    Deep,
    /// About five semitones up.
    High,
}

impl Voice {
    /// Factor on all frequencies.
    pub(crate) const fn pitch(self) -> f32 {
        match self {
            Self::Deep => 0.749_153_5,
            Self::High => 1.334_839_8,
        }
    }
}
