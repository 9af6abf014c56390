//! A film made in parts, so that what is made stays when the process ends, however hard.
//!
//! | file | what |
//! |---|---|
//! | `feed` | a pipeline that is given its frames or packets one by one |
//! | `part` | one part: frames → covered, encoded, laid down as packets with their times |
//! | `render` | the film decoded once from its begin, each frame given to its part |
//! | `seam` | what one part hands to the next where faces are replaced |
//! | `join` | all packets and the film's own sound → the output, nothing encoded again |
//!
//! Order: track file → parts → output. Every part begins with nothing but the track file and the options, with a
//! new filter and a new encoder, whose first picture is a key frame; where faces are replaced, also with what the part
//! before it decided about people, and with the frames before it. So a part that is made anew after a kill is
//! the part that would have been made without it. Tracks and persons have their numbers from the track file.
//!
//! Frames belong to parts by their times, counted while the film is decoded from its begin: no seek decides
//! which frame comes first, so none is lost or doubled at a seam in any container. What that costs is decoding
//! once more what a former run had done; not decoded are films of which every part is there.
//!
//! Not in parts: films whose faces are replaced under a secret that nobody gave, because it dies with the process and
//! people would be others afterwards. The first pass is one piece too.

mod feed;
mod join;
mod part;
mod render;
mod seam;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::job::Job;
use super::passes::{self, First, Passes};
use super::progress::Progress;
use super::scouting::scout;
use super::{Args, Done, at_once};
use crate::exit::refuse;
use crate::hash::sha256;
use crate::target::{Target, WRITABLE};
use crate::tracks::{read, write};
pub(super) use part::Part;

/// The track file's name among the pieces.
const TRACKS: &str = "tracks.jsonl";

/// A piece of a film that is made and stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "piece", rename_all = "kebab-case")]
pub(crate) enum Piece {
    /// The track file.
    Tracks {
        /// Its hash.
        sha256: String,
    },
    /// Pictures.
    Part(Part),
}

/// Where the pieces of one film lie, and who remembers them.
pub(crate) struct Shelf<'a> {
    /// Their folder; made where it is missing.
    pub(crate) folder: PathBuf,
    /// What former runs have made of the same film by the same options.
    pub(crate) pieces: Vec<Piece>,
    /// Told of each piece once it is on the disk.
    pub(crate) note: &'a dyn Fn(&Piece) -> Result<()>,
    /// Told, in a sentence, of pieces that cannot be used.
    pub(crate) tell: &'a dyn Fn(&str),
}

/// Makes one film like [`super::film`], in parts of `seconds` where it is longer than that and can be.
///
/// # Errors
/// One sentence that names the file, what is the matter and the remedy; then nothing stands under the
/// final name, and the pieces that are made stay.
pub(crate) fn in_parts(args: &Args, seconds: u32, shelf: &Shelf<'_>, stop: &AtomicBool) -> Result<Done> {
    let job = Job::prepare(args, None)?;
    let length = gst::ClockTime::from_seconds(seconds.into());
    let forgets = args.mode.replaces() && args.seed.is_none();
    if length.is_zero() || args.one_pass || forgets || job.film.duration.is_none_or(|d| d <= length) {
        return at_once(job, stop);
    }
    let unmade = |e: std::io::Error| refuse(&shelf.folder, format!("the folder cannot be made: {e}"), WRITABLE);
    // What lies in it is of interest to nobody else.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&shelf.folder)
        .map_err(unmade)?;
    let Some(passes) = found(&job, shelf, stop)? else {
        return Ok(job.stopped());
    };
    let Some(made) = render::all(&job, &passes, length, shelf, stop)? else {
        return Ok(job.stopped());
    };
    let Some((tally, recorded)) = join::all(&job, &made.parts, shelf, stop)? else {
        return Ok(job.stopped());
    };
    job.progress.clear();
    let done = job.finish(&tally, recorded, Some(&passes))?;
    Ok(Done {
        parts_kept: made.kept,
        ..done
    })
}

/// The track file: given, left by a former run, or made now; `None` where `stop` was set.
fn found(job: &Job<'_>, shelf: &Shelf<'_>, stop: &AtomicBool) -> Result<Option<Passes>> {
    let args = job.args;
    if args.from_tracks.is_some() {
        return Ok(match passes::first(args, &job.film, stop, &job.sources())? {
            First::Tracks(passes) => Some(passes),
            First::Nothing | First::Stopped => None,
        });
    }
    let path = shelf.folder.join(TRACKS);
    let known = shelf.pieces.iter().rev().find_map(|p| match p {
        Piece::Tracks { sha256 } => Some(sha256),
        Piece::Part(_) => None,
    });
    let beside = args.leaves_tracks().then(|| passes::place(args, &job.sources())).transpose()?;
    let tracks = if known.is_some_and(|hash| sha256(&path).is_ok_and(|now| now == *hash)) {
        read(&path)?
    } else {
        let progress = Progress::new(args.quiet, job.film.duration);
        let found = scout(args, &job.film, stop, &progress);
        progress.clear();
        let Some(tracks) = found? else { return Ok(None) };
        write(&tracks, Target::create(&path, true, &[])?)?;
        (shelf.note)(&Piece::Tracks { sha256: sha256(&path)? })?;
        tracks
    };
    if let Some(target) = beside {
        write(&tracks, target)?;
    }
    Passes::over(args, Some(path), &tracks).map(Some)
}
