//! The progress bar: place in the film, time left, frames a second, faces seen. Drawn on the
//! terminal's error stream only; silent with `--quiet`, plain lines where there is no terminal.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws per second.
const REDRAW_HZ: u8 = 8;

/// Who watches a film from elsewhere than the terminal.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Seen>);

/// What a watcher has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Where the last frame written ends.
    pub(crate) end: gst::ClockTime,
    /// Frames written.
    pub(crate) frames: u64,
    /// What was said, line by line.
    pub(crate) lines: Vec<String>,
}

impl Watch {
    /// What has been seen by now.
    pub(crate) fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn see(&self, what: impl FnOnce(&mut Seen)) {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Progress of one film.
#[derive(Debug)]
pub(super) struct Progress {
    /// Who is told beside the terminal.
    pub(super) watch: Option<Arc<Watch>>,
    bar: ProgressBar,
    quiet: bool,
    start: Instant,
}

impl Progress {
    /// A bar over the film's length, a spinner where that is unknown.
    pub(super) fn new(quiet: bool, length: Option<gst::ClockTime>) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(REDRAW_HZ)
        };
        let (bar, template) = match length {
            Some(length) => (
                ProgressBar::new(length.mseconds()),
                "{bar:32} {percent:>3} %  {eta_precise} left  {msg}",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {elapsed_precise}  {msg}"),
        };
        bar.set_draw_target(target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            watch: None,
            bar,
            quiet,
            start: Instant::now(),
        }
    }

    /// Shows how far the film has come.
    pub(super) fn at(&self, end: gst::ClockTime, frames: u64, faces: u64) {
        self.bar.set_position(end.mseconds());
        let rate = frames as f64 / self.start.elapsed().as_secs_f64().max(1e-6);
        self.bar.set_message(format!("{rate:.0} frames/s  {faces} faces"));
        if let Some(watch) = &self.watch {
            watch.see(|seen| (seen.end, seen.frames) = (end, frames));
        }
    }

    /// Prints a line above the bar.
    pub(super) fn say(&self, line: &str) {
        if let Some(watch) = &self.watch {
            watch.see(|seen| seen.lines.push(line.to_owned()));
        }
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }

    /// Takes the bar off the screen.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
