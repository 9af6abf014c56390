//! The first of two passes over a film: decodes it once, shows every frame to a [`Scout`], and gives the track
//! file. Sound and subtitles are not decoded, nothing is encoded.
//!
//! Frames and their times come from [`Source`].

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nullface::pipeline::{FilmFile, Scout};
use nullface::tracks::Tracks;

use super::args::Args;
use super::decoded::Source;
use super::progress::Progress;
use crate::exit::refuse;
use crate::film::Film;
use crate::hash::sha256;

/// Looks at a whole film; `None` where `stop` was set.
///
/// # Errors
/// One sentence that names the film, what is the matter and the remedy.
pub(crate) fn scout(args: &Args, film: &Film, stop: &AtomicBool, progress: &Progress) -> Result<Option<Tracks>> {
    let failed = |e: nullface::EngineError| refuse(&film.path, format!("its faces could not be found: {e}"), "run `nullface doctor`");
    let (config, settings) = args.engine()?;
    let mut scout = Scout::open(&config, settings).map_err(failed)?;
    let source = Source::open(film)?;
    let mut frames = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let Some(sample) = source.next()? else { break };
        let (buffer, caps) = (
            sample.buffer().context("a sample without a frame")?,
            sample.caps().context("no format")?,
        );
        let at = source.time_of(&sample, buffer);
        let looked = gstnullface::filter::with_view(buffer, caps, |view| scout.look(view, at));
        if let Some(fault) = looked.context("a decoded frame")?.map_err(failed)? {
            progress.say(&format!(
                "{}: at {:.3} s: {fault}; the frame will be covered whole",
                film.path.display(),
                at.pts.seconds()
            ));
        }
        frames += 1;
        progress.at(
            gst::ClockTime::from_nseconds(at.pts.0 + at.duration_ns),
            frames,
            scout.tracks_started(),
        );
    }
    if frames == 0 {
        return Err(refuse(&film.path, "not one frame could be decoded", super::REPAIR));
    }
    let file = FilmFile {
        name: film.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        sha256: sha256(&film.path)?,
        rate: format!("{}/{}", film.rate.numer(), film.rate.denom()),
    };
    scout.finish(file).map(Some).map_err(failed)
}
