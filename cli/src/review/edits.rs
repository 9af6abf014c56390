//! The tracks under review: edits with undo, what the page is told of them, and the file.

use std::path::{Path, PathBuf};

use anyhow::Result;
use nullface::frame::{BoxPx, Pts};
use nullface::tracks::{Decision, Key, Origin, Span, Suspicion, Track, Tracks, TracksError};
use serde_json::{Value, json};

use crate::exit::refuse;
use crate::hash::sha256;
use crate::target::Target;
use crate::tracks::{read, write};

/// Edits that can be undone.
const UNDO: usize = 50;
/// Who decided, in the file.
const WHY: &str = "by hand";

/// What the page asks for.
#[derive(Debug, serde::Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Edit {
    /// A face that was missed: `[seconds, left, top, right, bottom]` at one or more moments.
    Add {
        keys: Vec<[f64; 5]>,
        #[serde(default)]
        decision: Decision,
    },
    Drop {
        track: u64,
    },
    Merge {
        into: u64,
        other: u64,
    },
    Split {
        track: u64,
        at_s: f64,
    },
    Decide {
        track: u64,
        decision: Decision,
    },
    Undo,
}

/// A track file being edited.
#[derive(Debug)]
pub(super) struct Edits {
    path: PathBuf,
    film: PathBuf,
    tracks: Tracks,
    before: Vec<Tracks>,
    saved: Tracks,
    /// Hash of the file as it was read or written last.
    on_disk: String,
}

impl Edits {
    /// Reads the track file of a film.
    ///
    /// # Errors
    /// It cannot be read, or is of another film.
    pub(super) fn open(path: &Path, film: &Path) -> Result<Self> {
        let tracks = read(path)?;
        let check = tracks.check_film(&sha256(film)?);
        check.map_err(|e| refuse(path, e.to_string(), e.remedy()))?;
        Ok(Self {
            path: path.to_owned(),
            film: film.to_owned(),
            saved: tracks.clone(),
            tracks,
            before: Vec::new(),
            on_disk: sha256(path)?,
        })
    }

    /// Whether the file holds them.
    pub(super) fn saved(&self) -> bool {
        self.tracks == self.saved
    }

    /// Does what is asked, or changes nothing.
    ///
    /// # Errors
    /// As the edits of [`Tracks`].
    pub(super) fn edit(&mut self, edit: Edit) -> Result<(), TracksError> {
        let mut tracks = self.tracks.clone();
        match edit {
            Edit::Undo => {
                if let Some(before) = self.before.pop() {
                    self.tracks = before;
                }
                return Ok(());
            }
            Edit::Add { keys, decision } => tracks.add(keys.into_iter().map(key).collect(), decision).map(|_| ()),
            Edit::Drop { track } => tracks.drop_track(track).map(|_| ()),
            Edit::Merge { into, other } => tracks.merge(into, other),
            Edit::Split { track, at_s } => tracks.split(track, Pts::from_seconds(at_s)).map(|_| ()),
            Edit::Decide { track, decision } => tracks.decide(track, decision, WHY),
        }?;
        if self.before.len() == UNDO {
            self.before.remove(0);
        }
        self.before.push(std::mem::replace(&mut self.tracks, tracks));
        Ok(())
    }

    /// Replaces the file in one step.
    ///
    /// # Errors
    /// It cannot be written, or somebody else changed it meanwhile.
    pub(super) fn save(&mut self) -> Result<()> {
        if self.path.exists() && sha256(&self.path)? != self.on_disk {
            let remedy = "move it away to save these edits, or close without saving and begin again to go on from it";
            return Err(refuse(&self.path, "it was changed by somebody else meanwhile", remedy));
        }
        write(&self.tracks, Target::create(&self.path, true, &[&self.film])?)?;
        self.on_disk = sha256(&self.path)?;
        self.saved = self.tracks.clone();
        Ok(())
    }

    /// What the page shows.
    pub(super) fn state(&self) -> Value {
        let film = self.tracks.film();
        let suspects = self.tracks.suspects();
        let suspects: Vec<Value> = suspects
            .iter()
            .map(|s| json!({ "track": s.track, "at_s": s.at.seconds(), "why": s.why, "words": words(s.why) }))
            .collect();
        let withheld = self.tracks.withheld().iter().map(|w| [w.from.seconds(), w.to.seconds()]);
        json!({
            "film": {
                "name": film.name, "width_px": film.width_px, "height_px": film.height_px, "frames": film.frames,
                "first_s": film.first.seconds(), "last_s": film.last.seconds(),
            },
            "tracks": self.tracks.tracks().iter().map(track).collect::<Vec<_>>(),
            "withheld": withheld.collect::<Vec<_>>(),
            "suspects": suspects,
            "undo": self.before.len(),
            "saved": self.saved(),
        })
    }

    /// Boxes at a moment, as they will be treated.
    pub(super) fn boxes(&self, at: Pts) -> Value {
        let boxes = self.tracks.at(at);
        let boxes = boxes
            .iter()
            .map(|p| json!({ "track": p.track, "decision": p.decision, "origin": p.origin, "box_px": corners(p.box_px) }));
        json!({ "boxes": boxes.collect::<Vec<_>>(), "withheld": !self.tracks.answers_for(at) })
    }
}

fn key([s, x0, y0, x1, y1]: [f64; 5]) -> Key {
    let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(|v| v as f32);
    Key {
        at: Pts::from_seconds(s),
        box_px: BoxPx { x0, y0, x1, y1 },
    }
}

fn corners(b: BoxPx) -> [f32; 4] {
    [b.x0, b.y0, b.x1, b.y1]
}

fn track(track: &Track) -> Value {
    let spans = track.spans.iter().map(|s| json!([s.origin, s.from().seconds(), s.to().seconds()]));
    json!({
        "id": track.id, "person": track.person, "score": track.score, "decision": track.decision, "why": track.why,
        "spans": spans.collect::<Vec<_>>(),
        "looks": looks(&track.spans),
    })
}

/// Moments that show who it is: begin, middle and end of the longest time it was seen. Three, because a track that
/// changed from one person to another shows so.
fn looks(spans: &[Span]) -> Vec<Value> {
    let length = |s: &&Span| (s.origin != Origin::Filled, s.to().0 - s.from().0);
    let Some(longest) = spans.iter().max_by_key(length) else {
        return Vec::new();
    };
    let (from, to) = (longest.from(), longest.to());
    let mut times = vec![from, Pts(from.0 + (to.0 - from.0) / 2), to];
    times.dedup();
    let look = |at: &Pts| Some(json!({ "at_s": at.seconds(), "box_px": corners(longest.box_at(*at)?) }));
    times.iter().filter_map(look).collect()
}

fn words(why: Suspicion) -> &'static str {
    match why {
        Suspicion::Doubtful => "low confidence: is it a face?",
        Suspicion::SingleLook => "seen in one frame only",
        Suspicion::SuddenBegin => "begins inside the picture: was it there before?",
        Suspicion::SuddenEnd => "ends inside the picture: is it still there?",
    }
}
