//! What the film is rendered from: a track file, made now or before, or its frames as they come.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use nullface::tracks::{Decision, Tracks};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::args::Args;
use super::asked::Chosen;
use super::progress::Progress;
use super::scouting::scout;
use crate::exit::refuse;
use crate::film::Film;
use crate::hash::sha256;
use crate::target::Target;
use crate::tracks::{read, write};

/// What stands before the ending of a track file's name.
const ENDING: &str = "tracks.jsonl";

/// Where the track file of an output goes.
pub(crate) fn beside(output: &Path) -> PathBuf {
    output.with_extension(ENDING)
}

/// Tracks to render from, in a file as the element reads it.
#[derive(Debug)]
pub(super) struct Passes {
    /// The file that they come from, where there is one that stays.
    left: Option<PathBuf>,
    input: PathBuf,
    read: NamedTempFile,
    frames: u64,
    decided: Value,
}

/// What came before rendering.
#[derive(Debug)]
pub(super) enum First {
    /// Nothing: one pass.
    Nothing,
    /// A track file.
    Tracks(Passes),
    /// A signal.
    Stopped,
}

/// Makes or reads the track file that the options ask for. `sources` are files that it must not replace.
///
/// # Errors
/// One sentence that names the file, what is the matter and the remedy.
pub(super) fn first(args: &Args, film: &Film, stop: &AtomicBool, sources: &[&Path]) -> Result<First> {
    if args.one_pass {
        return Ok(First::Nothing);
    }
    if let Some(path) = &args.from_tracks {
        let refused = |e: nullface::tracks::TracksError| refuse(path, e.to_string(), e.remedy());
        let mut tracks = read(path)?;
        tracks.check_film(&sha256(&film.path)?).map_err(refused)?;
        choose(&mut tracks, &args.chosen()?).map_err(refused)?;
        return Passes::over(args, Some(path.clone()), &tracks).map(First::Tracks);
    }
    let target = args.leaves_tracks().then(|| place(args, sources)).transpose()?;
    let progress = Progress::new(args.quiet, film.duration);
    let found = scout(args, film, stop, &progress);
    progress.clear();
    let Some(tracks) = found? else { return Ok(First::Stopped) };
    let left = target.as_ref().map(|t| t.path().to_owned());
    if let Some(target) = target {
        // It is whole, and may have cost hours: it stays whatever becomes of the second pass.
        write(&tracks, target)?;
    }
    Passes::over(args, left, &tracks).map(First::Tracks)
}

/// Reserves the place of the track file that is left.
///
/// # Errors
/// It is one of `sources`, exists already, or cannot be written.
pub(super) fn place(args: &Args, sources: &[&Path]) -> Result<Target> {
    let path = args.tracks.clone().unwrap_or_else(|| beside(&args.output));
    // What is not there yet cannot be told apart by the file itself.
    if sources.contains(&path.as_path()) {
        return Err(refuse(
            &path,
            "it is input, output or report too",
            "choose another name for --tracks",
        ));
    }
    Target::create(&path, args.force, sources)
}

/// Takes over what the command line says of single tracks.
fn choose(tracks: &mut Tracks, chosen: &Chosen) -> Result<(), nullface::tracks::TracksError> {
    const WHY: &str = "the command line";
    match chosen {
        Chosen::Nobody => {}
        Chosen::Except(ids) => ids.iter().try_for_each(|id| tracks.decide(*id, Decision::Keep, WHY))?,
        Chosen::Only(ids) => {
            ids.iter().try_for_each(|id| tracks.track(*id).map(|_| ()))?;
            let all: Vec<u64> = tracks.tracks().iter().map(|t| t.id).collect();
            for id in all {
                let decision = if ids.contains(&id) { Decision::Anonymise } else { Decision::Keep };
                tracks.decide(id, decision, WHY)?;
            }
        }
    }
    Ok(())
}

impl Passes {
    /// Tracks as they are to be rendered; `left` is the file that they come from or lie in, where there is one.
    pub(super) fn over(args: &Args, left: Option<PathBuf>, tracks: &Tracks) -> Result<Self> {
        let mut read = NamedTempFile::new().context("no temporary file for the tracks")?;
        read.write_all(tracks.to_text().as_bytes())
            .context("the tracks cannot be handed on")?;
        let decided = tracks.tracks().iter().filter(|t| t.decision != Decision::Anonymise);
        Ok(Self {
            left,
            input: args.input.clone(),
            read,
            frames: tracks.film().frames,
            decided: decided
                .map(|t| json!({"track": t.id, "decision": t.decision, "why": t.why}))
                .collect(),
        })
    }

    /// Frames of the film.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// What the element reads.
    pub(super) fn path(&self) -> &Path {
        self.read.path()
    }

    /// For the report: which decisions the film was made with, and why; name and hash of the file that has them.
    pub(super) fn record(&self) -> Result<Value> {
        let name = self.left.as_ref().and_then(|path| path.file_name());
        Ok(json!({
            "name": name.map(|n| n.to_string_lossy().into_owned()),
            "sha256": sha256(self.read.path())?,
            "decided": self.decided,
        }))
    }

    /// Whether the film gave the frames that the tracks were found in.
    ///
    /// # Errors
    /// It gave others: nobody knows then which frame is which.
    pub(super) fn check(&self, frames: u64) -> Result<()> {
        if frames == self.frames {
            return Ok(());
        }
        let made = self.frames;
        Err(match &self.left {
            Some(path) => refuse(
                path,
                format!("it was made of {made} frames, and the film has {frames} when it is decoded here"),
                "make the track file anew on this machine",
            ),
            None => refuse(
                &self.input,
                format!("it gave {made} frames when it was looked through, and {frames} when it was made"),
                "give --one-pass, or repair it (`ffmpeg -i IN OUT`)",
            ),
        })
    }
}
