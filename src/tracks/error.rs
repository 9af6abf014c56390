//! What can be wrong with a track file or an edit of one, and what to do about it.

use super::VERSION;

/// Where something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, counted from 1.
    Line(usize),
    /// What an edit was given.
    Edit,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(n) => write!(f, "line {n}"),
            Self::Edit => f.write_str("edit"),
        }
    }
}

/// Why a track file or an edit is refused. What to do is in [`Self::remedy`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TracksError {
    /// Not readable.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// A line that is not JSON of a known shape.
    #[error("line {line}: {why}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// Cause, with column and field.
        why: String,
    },
    /// A value that is impossible.
    #[error("{place}, {field}: expected {expected}, got {got}")]
    Field {
        /// Where.
        place: Place,
        /// Which field, as `spans[0].keys[2]`.
        field: String,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// Another version of the format.
    #[error("it is of version {0}, and this program knows version {VERSION}")]
    Version(u64),
    /// No track has this number.
    #[error("there is no track {id} among its {known}")]
    UnknownTrack {
        /// The number.
        id: u64,
        /// How many there are.
        known: usize,
    },
    /// The tracks are of another film.
    #[error("it is of another film: of {name} with SHA-256 {sha256}")]
    OtherFilm {
        /// That film's name.
        name: String,
        /// That film's hash.
        sha256: String,
    },
}

impl TracksError {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "give the path of a track file",
            Self::Line { .. } | Self::Field { place: Place::Line(_), .. } => "correct that line, or make the track file anew",
            Self::Field { place: Place::Edit, .. } => "correct what was asked for",
            Self::Version(_) => "make the track file anew with this program, or use the one that made it",
            Self::UnknownTrack { .. } => "see `nullface tracks show` for the numbers",
            Self::OtherFilm { .. } => "give that film, or make the tracks of this one",
        }
    }
}
