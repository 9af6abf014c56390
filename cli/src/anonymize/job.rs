//! One film on its way from the command line to its final name: what is looked at and reserved before any
//! pipeline runs, and what is checked and added when its pictures and sound are written. Between the two lies
//! the pipeline, or several.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::args::{Args, Interlaced, Subtitles};
use super::flow::Tally;
use super::passes::Passes;
use super::progress::{Progress, Watch};
use super::report::{Recorded, Report};
use super::{Done, mp4, streams, tags};
use crate::container::Container;
use crate::exit::{Exit, refuse};
use crate::film::Film;
use crate::target::Target;

/// Share of the container's stated length that may be missing before a film counts as cut off.
const MISSING_SHARE: f64 = 0.02;
/// Length that may always be missing: containers round, and sound and picture end apart.
const MISSING_ALWAYS: gst::ClockTime = gst::ClockTime::from_seconds(1);
/// Share of damaged frames from which a film is refused: below it, it is said and counted.
const DAMAGED_SHARE: f64 = 0.01;
/// Damaged frames that are always let pass: a film cut between key frames begins with some that
/// refer to what was cut off.
const DAMAGED_ALWAYS: f64 = 8.0;

/// A film, its output reserved.
#[derive(Debug)]
pub(super) struct Job<'a> {
    /// What was asked for.
    pub(super) args: &'a Args,
    /// What is written.
    pub(super) container: Container,
    /// What is read.
    pub(super) film: Film,
    /// The output, under a temporary name.
    pub(super) output: Target,
    /// How far it is.
    pub(super) progress: Progress,
    report: Option<Report>,
}

impl<'a> Job<'a> {
    /// Refuses what cannot be done, and reserves the output's name. `watch` is told what a terminal would show.
    ///
    /// # Errors
    /// One sentence that names the file, what is the matter and the remedy.
    pub(super) fn prepare(args: &'a Args, watch: Option<Arc<Watch>>) -> Result<Self> {
        let container = Container::of(&args.output)?;
        let film = Film::open(&args.input)?;
        if film.interlaced && args.interlaced == Interlaced::Refuse {
            return Err(refuse(
                &args.input,
                "it is interlaced",
                "leave --interlaced refuse out to have each frame made whole, or deinterlace it as you like beforehand",
            ));
        }
        args.check(film.duration)?;
        let mut sources = vec![args.input.as_path()];
        sources.extend(args.from_tracks.as_deref());
        let output = Target::create(&args.output, args.force, &sources)?;
        sources.push(&args.output);
        let report = match &args.report {
            Some(path) => Some(Report::create(Target::create(path, args.force, &sources)?, args, &film)?),
            None => None,
        };
        let mut progress = Progress::new(args.quiet, film.duration);
        progress.watch = watch;
        for line in notices(args, &film) {
            progress.say(&line);
        }
        Ok(Self {
            args,
            container,
            film,
            output,
            progress,
            report,
        })
    }

    /// Files that nothing else may replace.
    pub(super) fn sources(&self) -> Vec<&'a Path> {
        let args = self.args;
        let mut sources = vec![args.input.as_path(), args.output.as_path()];
        sources.extend(args.from_tracks.as_deref());
        sources.extend(args.report.as_deref());
        sources
    }

    /// A signal came.
    pub(super) fn stopped(&self) -> Done {
        self.progress.say("stopped; no output was written");
        Done {
            exit: Exit::Interrupted,
            frames: 0,
            tracks: 0,
            fallback_share: 0.0,
            parts_kept: 0,
        }
    }

    /// Checks that all came through, adds what the muxer leaves out, writes the report, and gives the output
    /// its name.
    ///
    /// # Errors
    /// One sentence that names the file, what is the matter and the remedy; then nothing stands under the
    /// final name.
    pub(super) fn finish(self, tally: &Tally, recorded: Recorded, passes: Option<&Passes>) -> Result<Done> {
        let Self {
            args,
            container,
            film,
            output,
            progress,
            report,
        } = self;
        whole(args, &film, tally)?;
        if let Some(passes) = passes {
            passes.check(tally.frames_in)?;
        }
        if container.has_track_timescale() {
            let chapters = tags::chapters(&film.chapters, args.keep_metadata);
            mp4::add(output.temp_path(), &chapters, film.timecode.as_ref(), &tally.tracks)
                .with_context(|| format!("{}: chapters, timecode and flags cannot be written", args.output.display()))?;
        } else if film.timecode.is_some() {
            progress.say(&format!(
                "{}: the timecode is left out: only .mp4 and .mov have a track for it",
                args.output.display()
            ));
        }
        let flagged = streams::write(output.temp_path(), container, &tally.tracks)
            .with_context(|| format!("{}: the tracks cannot be flagged", args.output.display()))?;
        if !flagged {
            progress.say(&format!(
                "{}: which tracks are played unasked is not kept: the muxer left no room for it",
                args.output.display()
            ));
        }
        if tally.left_out > 0 {
            progress.say(&format!(
                "{}: {} of the subtitle tracks are left out{}",
                args.output.display(),
                tally.left_out,
                if args.subtitles == Subtitles::Drop {
                    ""
                } else {
                    ": the container does not take them; .mkv takes most kinds"
                }
            ));
        }
        if container.has_track_timescale() && !args.keep_metadata {
            mp4::clear_dates(output.temp_path()).with_context(|| format!("{}: the dates cannot be cleared", args.output.display()))?;
        }
        let covered = recorded.covers(tally);
        let exit = if tally.fallback_share() > args.max_fallback_share || !covered {
            Exit::CoveredBeyondLimit
        } else {
            Exit::Done
        };
        if let Some(report) = report {
            let rendered_from = passes.map(Passes::record).transpose()?;
            report.finish(args, recorded, tally, (output.temp_path(), exit), rendered_from)?;
        }
        output.finish()?;
        progress.say(&summary(args, tally, exit));
        if !covered {
            progress.say(&format!(
                "{}: frames left that nobody answered for; do not publish it, and report this",
                args.output.display()
            ));
        }
        Ok(Done {
            exit,
            frames: tally.frames_out,
            tracks: tally.count("tracks"),
            fallback_share: tally.fallback_share(),
            parts_kept: 0,
        })
    }
}

/// What of the input will not be in the output.
fn notices(args: &Args, film: &Film) -> Vec<String> {
    let name = args.input.display();
    let mut lines = Vec::new();
    if film.video_streams > 1 {
        lines.push(format!(
            "{name}: has {} video streams; the first is anonymised, the others are left out",
            film.video_streams
        ));
    }
    if film.other_streams > 0 {
        lines.push(format!("{name}: pictures and data tracks ({}) are left out", film.other_streams));
    }
    lines
}

/// Whether the film came through whole.
fn whole(args: &Args, film: &Film, tally: &Tally) -> Result<()> {
    let input = &args.input;
    if tally.frames_out == 0 {
        return Err(refuse(input, "not one frame could be decoded", REPAIR));
    }
    if tally.damaged as f64 > DAMAGED_ALWAYS.max(DAMAGED_SHARE * tally.frames_in as f64) {
        return Err(refuse(
            input,
            format!(
                "it is damaged: {} frames could not be decoded properly, {} could",
                tally.damaged, tally.frames_in
            ),
            REPAIR,
        ));
    }
    if let Some(stated) = film.duration {
        let missing = stated.saturating_sub(tally.end);
        let allowed = MISSING_ALWAYS.max(gst::ClockTime::from_seconds_f64(stated.seconds_f64() * MISSING_SHARE));
        if missing > allowed {
            return Err(refuse(
                input,
                format!(
                    "it is cut off: it says to be {:.1} s long and ends after {:.1} s",
                    stated.seconds_f64(),
                    tally.end.seconds_f64()
                ),
                "get a whole copy, or keep what there is of it (`ffmpeg -i IN -c copy OUT`) and give that",
            ));
        }
    }
    if tally.frames_in != tally.frames_out && !args.may_drop() {
        return Err(refuse(
            &args.output,
            format!("{} frames went in and {} came out", tally.frames_in, tally.frames_out),
            "report this with the film's codec and the output of `nullface doctor`",
        ));
    }
    Ok(())
}

/// Remedy for damaged films.
pub(super) const REPAIR: &str = "repair it (`ffmpeg -i IN OUT`) or get another copy";

fn summary(args: &Args, tally: &Tally, exit: Exit) -> String {
    let mut line = format!(
        "{}: {} frames, {} faces followed, {:.0} frames/s",
        args.output.display(),
        tally.frames_out,
        tally.count("tracks"),
        tally.frames_out as f64 / tally.wall.as_secs_f64().max(1e-6),
    );
    if tally.damaged > 0 {
        line += &format!("; {} damaged frames in the input", tally.damaged);
    }
    if exit == Exit::CoveredBeyondLimit {
        line += &format!(
            "; {:.1} % of the regions were covered otherwise than asked",
            100.0 * tally.fallback_share()
        );
    }
    line
}
