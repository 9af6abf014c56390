//! `nullface anonymize`: one film in, one film without faces out.
//!
//! Order: look at the input and refuse what cannot be done → reserve a temporary name → run the
//! pipeline → check that the result is whole → rename. Up to the last step nothing stands under the
//! final name.

mod args;
mod asked;
mod clock;
mod counters;
mod encoders;
mod faults;
mod flow;
mod headers;
mod job;
mod links;
mod marking;
mod matroska;
pub(crate) mod mp4;
mod parts;
mod passes;
mod progress;
mod report;
mod scouting;
mod source;
pub(crate) mod streams;
mod subtitles;
mod tags;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nullface::tracks::Tracks;

pub(crate) use args::{Args, words};
pub(crate) use parts::{Piece, Shelf, in_parts};
pub(crate) use passes::beside;
pub(crate) use progress::Watch;
pub(crate) use source::Source;

use crate::exit::Exit;
use crate::film::Film;
use flow::Flow;
use job::{Job, REPAIR};
use passes::First;
use progress::Progress;
use report::Running;

/// What came of a film.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    /// How it ended.
    pub(crate) exit: Exit,
    /// Frames written.
    pub(crate) frames: u64,
    /// Faces followed.
    pub(crate) tracks: u64,
    /// Share of regions covered otherwise than asked.
    pub(crate) fallback_share: f64,
    /// Parts that a former run had made; 0 where it was made at once.
    pub(crate) parts_kept: u64,
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    film(args, &*stop_signals()?).map(|done| done.exit)
}

/// Makes one film, until `stop` is set.
///
/// # Errors
/// One sentence that names the file, what is the matter and the remedy; then nothing stands under the
/// final name.
pub(crate) fn film(args: &Args, stop: &AtomicBool) -> Result<Done> {
    watched(args, stop, None)
}

/// The same; what would be seen on a terminal is told to `watch`.
///
/// # Errors
/// As [`film`].
pub(crate) fn watched(args: &Args, stop: &AtomicBool, watch: Option<Arc<Watch>>) -> Result<Done> {
    at_once(Job::prepare(args, watch)?, stop)
}

/// One pipeline from the film to its output.
fn at_once(job: Job<'_>, stop: &AtomicBool) -> Result<Done> {
    // What cannot be encoded is better known before the first pass than after it.
    encoders::coding(&job.film, &job.args.output, job.container, job.args.wanted())?;
    let passes = match passes::first(job.args, &job.film, stop, &job.sources())? {
        First::Nothing => None,
        First::Tracks(passes) => Some(passes),
        First::Stopped => return Ok(job.stopped()),
    };
    let running = Running::new()?;
    let tracks = passes.as_ref().map(passes::Passes::path);
    let flow = Flow::build(job.args, &job.film, job.container, job.output.temp_path(), running.path(), tracks)?;
    let ended = flow.run(stop, &job.progress);
    let tally = flow.tally();
    drop(flow);
    job.progress.clear();
    if ended? == flow::Ended::Stopped {
        return Ok(job.stopped());
    }
    job.finish(&tally, running.read()?, passes.as_ref())
}

/// The first pass alone; `None` where `stop` was set.
///
/// # Errors
/// One sentence that names the film, what is the matter and the remedy.
pub(crate) fn found(args: &Args, film: &Film, stop: &AtomicBool) -> Result<Option<Tracks>> {
    let progress = Progress::new(args.quiet, film.duration);
    let tracks = scouting::scout(args, film, stop, &progress);
    progress.clear();
    tracks
}

/// A flag that Ctrl-C and SIGTERM set; a second Ctrl-C ends at once. Writing beyond the shell's file
/// size limit must be an error like a full disk, not the death of the process, so that signal is
/// taken too.
pub(crate) fn stop_signals() -> Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, Arc::clone(&stop))
            .context("signals cannot be handled")?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals cannot be handled")?;
    }
    signal_hook::flag::register(SIGXFSZ, Arc::default()).context("signals cannot be handled")?;
    debug_assert!(!stop.load(Ordering::Relaxed));
    Ok(stop)
}
