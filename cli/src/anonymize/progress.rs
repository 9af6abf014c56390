//! The progress bar: place in the film, time left, frames a second, faces seen. Drawn on the
//! terminal's error stream only; silent with `--quiet`, plain lines where there is no terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws per second.
const REDRAW_HZ: u8 = 8;

/// Progress of one film.
#[derive(Debug)]
pub(super) struct Progress {
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
    }

    /// Prints a line above the bar.
    pub(super) fn say(&self, line: &str) {
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
