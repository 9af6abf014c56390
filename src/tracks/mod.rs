//! The track file: which face is where and when in a film, and what shall become of it. Made by
//! [`crate::pipeline::Scout`] in a first pass, edited by people, rendered by an engine whose
//! configuration names it. Pure but for reading a file; no picture, no embedding, no thumbnail and no
//! seed is in it. The format is described in `docs/tracks.md`.
//!
//! | part | what |
//! |---|---|
//! | `format` | lines of JSON in and out, every value checked; errors name line and field |
//! | `spans` | boxes between key frames; union and splitting of spans |
//! | `edit` | [`Tracks::add`], [`Tracks::drop_track`], [`Tracks::merge`], [`Tracks::split`], [`Tracks::decide`] |
//! | `suspects` | [`Tracks::suspects`]: places that a person should look at |
//!
//! Whatever an edit does, the result passes the same checks as a file that is read; where an edit is
//! refused, nothing has changed.
//!
//! ```
//! use nullface::frame::{BoxPx, Pts};
//! use nullface::tracks::{Decision, Key, Tracks};
//!
//! let text = concat!(
//!     r#"{"record":"header","format":"nullface-tracks","version":1,"film":"a.mp4","sha256":""#,
//!     "0000000000000000000000000000000000000000000000000000000000000000",
//!     r#"","width_px":320,"height_px":240,"frames":50,"rate":"25/1","first_s":0,"last_s":1.96}"#, "\n",
//! );
//! let mut tracks = Tracks::parse(text)?;
//! let at = |s, x0| Key { at: Pts::from_seconds(s), box_px: BoxPx { x0, y0: 10.0, x1: x0 + 40.0, y1: 60.0 } };
//! let id = tracks.add(vec![at(0.4, 20.0), at(0.8, 60.0)], Decision::Anonymise)?;
//! let there = tracks.at(Pts::from_seconds(0.6));
//! assert_eq!((there[0].track, there[0].box_px.x0), (id, 40.0));
//! # Ok::<(), nullface::tracks::TracksError>(())
//! ```

mod edit;
mod error;
mod format;
mod spans;
mod suspects;

use crate::frame::{BoxPx, Pts};

pub use error::{Place, TracksError};
pub(crate) use spans::union;
pub use suspects::{DOUBTFUL_SCORE, NEAR_S, Suspect, Suspicion};

/// What the header's `format` says.
pub const FORMAT: &str = "nullface-tracks";
/// Version of the format that is read and written.
pub const VERSION: u32 = 1;

/// Who says that a face is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody saw it there: held after it was lost, covered before it was found, or between two sights.
    Filled,
    /// Seen.
    Detected,
    /// Somebody drew the box.
    ByHand,
}

/// What shall become of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Treated as the mode says; what holds where nobody has decided.
    #[default]
    Anonymise,
    /// Left as it is where it was seen or drawn by hand; where it is `filled`, it is covered all the same.
    Keep,
    /// Filled with one colour whatever the mode.
    Cover,
}

impl Decision {
    /// Every value with its word, in the order of the documentation.
    pub const ALL: &'static [Self] = &[Self::Anonymise, Self::Keep, Self::Cover];

    /// The word in files and on command lines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Anonymise => "anonymise",
            Self::Keep => "keep",
            Self::Cover => "cover",
        }
    }

    /// Of two decisions that which shows less.
    #[must_use]
    pub const fn stricter(self, other: Self) -> Self {
        match (self, other) {
            (Self::Cover, _) | (_, Self::Cover) => Self::Cover,
            (Self::Keep, Self::Keep) => Self::Keep,
            _ => Self::Anonymise,
        }
    }
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for Decision {
    type Err = TracksError;

    fn from_str(text: &str) -> Result<Self, TracksError> {
        Self::ALL
            .iter()
            .copied()
            .find(|d| d.word() == text)
            .ok_or_else(|| TracksError::Field {
                place: Place::Edit,
                field: "decision".to_owned(),
                expected: "anonymise, keep or cover".to_owned(),
                got: text.to_owned(),
            })
    }
}

/// Which film the tracks are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilmId {
    /// Name without folders: for people.
    pub name: String,
    /// SHA-256 of the file, hexadecimal: this says whether it is that film.
    pub sha256: String,
    /// Frame rate that the container states, as `25/1`; `0/1` where it varies.
    pub rate: String,
    /// Width of the upright picture, px.
    pub width_px: u32,
    /// Height of the upright picture, px.
    pub height_px: u32,
    /// Frames.
    pub frames: u64,
    /// When the first frame is shown, since the film's zero.
    pub first: Pts,
    /// When the last frame is shown.
    pub last: Pts,
}

/// Where a face is at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// When, since the film's zero.
    pub at: Pts,
    /// What must be covered, px of the upright picture; may reach over the border.
    pub box_px: BoxPx,
}

/// A stretch of time in which a face is there without a break. Between keys boxes are interpolated
/// linearly; frames shown from the first key to the last, both included, have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Who says so.
    pub origin: Origin,
    /// At least one, times strictly rising.
    pub keys: Vec<Key>,
}

/// One face through time.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Number; no other track of the file has it.
    pub id: u64,
    /// Tracks with the same number are of the same person, as far as that is known.
    pub person: u64,
    /// Best confidence of the detector, 0–1; 1 where drawn by hand.
    pub score: f32,
    /// What shall become of it.
    pub decision: Decision,
    /// Who decided, in words; none where nobody has.
    pub why: Option<String>,
    /// In order of time; one may begin where the one before ends.
    pub spans: Vec<Span>,
}

/// A time in which the first pass had no answer: frames are covered whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withheld {
    /// First frame.
    pub from: Pts,
    /// Last frame.
    pub to: Pts,
}

/// A track at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    /// Which track.
    pub track: u64,
    /// Whose.
    pub person: u64,
    /// What shall become of it.
    pub decision: Decision,
    /// Who says that it is there.
    pub origin: Origin,
    /// What must be covered, px of the upright picture.
    pub box_px: BoxPx,
}

/// A track file. Tracks are sorted by id, times without an answer by time.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracks {
    film: FilmId,
    tracks: Vec<Track>,
    withheld: Vec<Withheld>,
}

impl Tracks {
    /// Puts together what a first pass found.
    ///
    /// # Errors
    /// [`TracksError::Field`] where a value is impossible.
    pub fn new(film: FilmId, mut tracks: Vec<Track>, mut withheld: Vec<Withheld>) -> Result<Self, TracksError> {
        tracks.sort_by_key(|t| t.id);
        withheld.sort_by_key(|w| (w.from, w.to));
        let made = Self { film, tracks, withheld };
        made.check()?;
        Ok(made)
    }

    /// The film.
    #[must_use]
    pub fn film(&self) -> &FilmId {
        &self.film
    }

    /// All tracks, by id.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Times without an answer.
    #[must_use]
    pub fn withheld(&self) -> &[Withheld] {
        &self.withheld
    }

    /// One track.
    ///
    /// # Errors
    /// [`TracksError::UnknownTrack`].
    pub fn track(&self, id: u64) -> Result<&Track, TracksError> {
        let found = self.tracks.iter().find(|t| t.id == id);
        found.ok_or_else(|| self.unknown(id))
    }

    fn unknown(&self, id: u64) -> TracksError {
        TracksError::UnknownTrack {
            id,
            known: self.tracks.len(),
        }
    }

    /// Every track that is there at a moment.
    #[must_use]
    pub fn at(&self, at: Pts) -> Vec<Placed> {
        let placed = |track: &Track| {
            let (origin, box_px) = spans::at(&track.spans, at)?;
            Some(Placed {
                track: track.id,
                person: track.person,
                decision: track.decision,
                origin,
                box_px,
            })
        };
        self.tracks.iter().filter_map(placed).collect()
    }

    /// Whether the first pass looked at this moment and had an answer. Frames of other times must be covered whole.
    #[must_use]
    pub fn answers_for(&self, at: Pts) -> bool {
        let seen = self.film.first <= at && at <= self.film.last;
        seen && !self.withheld.iter().any(|w| w.from <= at && at <= w.to)
    }

    /// Whether somebody decided that a face stays.
    #[must_use]
    pub fn keeps_anybody(&self) -> bool {
        self.tracks.iter().any(|t| t.decision == Decision::Keep)
    }

    /// Checks that the tracks are of the film with this hash.
    ///
    /// # Errors
    /// [`TracksError::OtherFilm`].
    pub fn check_film(&self, sha256: &str) -> Result<(), TracksError> {
        if self.film.sha256.eq_ignore_ascii_case(sha256) {
            return Ok(());
        }
        Err(TracksError::OtherFilm {
            name: self.film.name.clone(),
            sha256: self.film.sha256.clone(),
        })
    }
}
