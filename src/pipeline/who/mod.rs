//! Who is anonymised: everybody, or all but those of whom photos are given, or those alone. Who is
//! not yet known for certain is anonymised; so is everybody whose photo could not be used.
//!
//! | part | what |
//! |---|---|
//! | `photo` | a photo's one face → embedding |
//! | `decide` | embeddings of a track over time → keep, cover, not yet |
//! | `chosen` | tracks that somebody watching chose to leave as they are, held against their own face |
//! | `cuts` | the cut list: zones and times in which faces are kept or covered by hand |
//!
//! Embeddings of photos stay in memory, are in no report and print nowhere.

mod chosen;
mod cuts;
mod decide;
mod photo;

use std::path::PathBuf;
use std::sync::Arc;

use crate::frame::{BoxPx, FrameTime, Landmarks5, Pts};
use crate::stages::align::MeshFitter;
use crate::stages::detect::Detector;
use crate::stages::identify::{Embedding, Recogniser};

pub use cuts::{Cut, CutAction, CutError, CutList};
pub use decide::{Choice, KeepReason};
pub use photo::PhotoError;

use chosen::Chosen;
use decide::{Decider, Rule};

/// Whom the engine anonymises.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Who {
    /// Everybody.
    #[default]
    All,
    /// Those of whom photos are given. Everybody else is kept once it is certain that they are
    /// somebody else.
    Only(Arc<[PathBuf]>),
    /// Everybody but those of whom photos are given, who are kept once they are recognised.
    Except(Arc<[PathBuf]>),
}

/// Text that does not say whom.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("who: expected `all`, `only:PHOTO,…` or `except:PHOTO,…`, got `{0}`")]
pub struct UnknownWho(String);

impl std::str::FromStr for Who {
    type Err = UnknownWho;

    fn from_str(text: &str) -> Result<Self, UnknownWho> {
        let unknown = || UnknownWho(text.to_owned());
        let (word, list) = text.split_once(':').unwrap_or((text, ""));
        let photos: Arc<[PathBuf]> = list
            .split(',')
            .map(str::trim)
            .filter(|p| !p.is_empty())
            .map(PathBuf::from)
            .collect();
        match word.trim() {
            "" | "all" if photos.is_empty() => Ok(Self::All),
            "only" if !photos.is_empty() => Ok(Self::Only(photos)),
            "except" if !photos.is_empty() => Ok(Self::Except(photos)),
            _ => Err(unknown()),
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (word, photos) = match self {
            Self::All => return f.write_str("all"),
            Self::Only(photos) => ("only", photos),
            Self::Except(photos) => ("except", photos),
        };
        let list: Vec<String> = photos.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        write!(f, "{word}:{}", list.join(","))
    }
}

/// What a face's region is told about its choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    /// For the report; `None` where everybody is anonymised.
    pub(super) choice: Option<Choice>,
    /// Why it stays as it is, and the cosine that says so; `None` where it does not.
    pub(super) keep: Option<(KeepReason, f32)>,
}

impl Verdict {
    /// The verdict that needs no evidence.
    pub(super) const ANONYMISE: Self = Self { choice: None, keep: None };
}

/// Decides for the tracks of a stream.
#[derive(Debug, Default)]
pub(super) struct Chooser {
    decider: Option<Decider>,
    photos: Vec<Embedding>,
    chosen: Option<Chosen>,
}

impl Chooser {
    /// Reads the photos of `who`.
    ///
    /// # Errors
    /// [`PhotoError`] names the photo, what is the matter and the remedy.
    pub(super) fn open(
        who: &Who,
        detector: &mut dyn Detector,
        mesh: &mut dyn MeshFitter,
        recogniser: &mut dyn Recogniser,
    ) -> Result<Self, PhotoError> {
        let (rule, paths) = match who {
            Who::All => return Ok(Self::default()),
            Who::Only(paths) => (Rule::KeepStrangers, paths),
            Who::Except(paths) => (Rule::KeepRecognised, paths),
        };
        let mut photos = Vec::new();
        for path in photo::files(paths)? {
            photos.push(photo::embed(&path, detector, mesh, recogniser)?);
        }
        Ok(Self {
            decider: Some(Decider::new(rule, recogniser.same_person_cos())),
            photos,
            chosen: None,
        })
    }

    /// Takes over the tracks that somebody chose to keep; `limit` is the recogniser's cosine of one person.
    pub(super) fn keep(&mut self, tracks: &[u64], limit: f32) {
        if self.chosen.is_some() || !tracks.is_empty() {
            self.chosen.get_or_insert_with(|| Chosen::new(limit)).choose(tracks);
        }
    }

    /// Whether anybody may be kept by photo or choice.
    pub(super) fn is_active(&self) -> bool {
        self.decider.is_some() || self.chosen.as_ref().is_some_and(|c| !c.is_empty())
    }

    /// Whether a track needs another sample at `at`.
    pub(super) fn is_due(&self, track: u64, at: Pts) -> bool {
        self.decider.as_ref().is_some_and(|d| d.is_due(track, at)) || self.chosen.as_ref().is_some_and(|c| c.is_due(track, at))
    }

    /// Takes an embedding of a track's face with the points that it was made from; `known` is what the track's
    /// face is like by many looks before.
    pub(super) fn sample(&mut self, track: u64, at: Pts, embedding: &Embedding, landmarks: &Landmarks5, known: Option<&[f32]>) {
        if let Some(chosen) = &mut self.chosen {
            chosen.sample(track, at, embedding, known);
        }
        let Some(decider) = &mut self.decider else { return };
        let near = self.photos.iter().filter_map(|p| p.cos(embedding)).fold(f32::NAN, f32::max);
        decider.sample(track, at, near, decide::is_clear(landmarks));
    }

    /// A track of which nothing known before may be believed: it crossed another, or was joined with one.
    pub(super) fn doubt(&mut self, track: u64) {
        if let Some(decider) = &mut self.decider {
            decider.doubt(track);
        }
        if let Some(chosen) = &mut self.chosen {
            chosen.doubt(track);
        }
    }

    /// Forgets all tracks but those.
    pub(super) fn retain(&mut self, live: impl Fn(u64) -> bool) {
        if let Some(decider) = &mut self.decider {
            decider.retain(live);
        }
    }

    /// What becomes of a track's face that is seen at `at`.
    pub(super) fn verdict(&self, track: u64, at: Pts) -> Verdict {
        let by_hand = self.chosen.as_ref().and_then(|c| c.verdict(track, at));
        let by_photo = || self.decider.as_ref().map(|d| d.verdict(track, at));
        match by_hand {
            Some(verdict) if verdict.keep.is_some() => verdict,
            undecided => by_photo().or(undecided).unwrap_or(Verdict::ANONYMISE),
        }
    }

    /// From when on a track's present verdict by photo holds.
    pub(super) fn since(&self, track: u64) -> Option<Pts> {
        self.decider.as_ref().and_then(|d| d.since(track))
    }
}

/// What the cut list says of a region: it stands above photos, and covering above keeping.
pub(super) fn by_hand(cuts: &CutList, region: &BoxPx, size_px: (u32, u32), at: FrameTime, origin: Pts, said: Verdict) -> Verdict {
    match cuts.action(region, size_px, at.pts.seconds_since(origin)) {
        Some(CutAction::Cover) => Verdict {
            choice: Some(Choice::CutList),
            keep: None,
        },
        Some(CutAction::Keep) => Verdict {
            choice: Some(Choice::CutList),
            keep: Some((KeepReason::CutList, 0.0)),
        },
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::Who;

    #[test]
    fn words_round_trip_and_others_are_refused() {
        for text in ["all", "only:a.jpg", "except:a.jpg,b c.png"] {
            assert_eq!(text.parse::<Who>().expect("known").to_string(), text);
        }
        for text in ["only", "except:", "nobody", "all:a.jpg", "track:3"] {
            assert!(text.parse::<Who>().is_err(), "{text}");
        }
    }
}
