//! The rendering that the page starts, watches and ends: `nullface anonymize --from-tracks` in a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use crate::anonymize::{self, Watch};
use crate::exit::Exit;

/// How one rendering ended.
type Outcome = Result<Exit, String>;

/// One rendering.
#[derive(Debug)]
struct Job {
    stop: Arc<AtomicBool>,
    watch: Arc<Watch>,
    ended: Arc<Mutex<Option<Outcome>>>,
    thread: Option<JoinHandle<()>>,
}

impl Job {
    fn ended(&self) -> Option<Outcome> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All renderings of a review; one at a time.
#[derive(Debug, Default)]
pub(super) struct Rendering {
    job: Mutex<Option<Job>>,
    /// Whether one gave an output: it is ours and may be replaced by the next.
    made: Arc<AtomicBool>,
    length: Option<gst::ClockTime>,
}

impl Rendering {
    /// For a film of this length.
    pub(super) fn of(length: Option<gst::ClockTime>) -> Self {
        Self { length, ..Self::default() }
    }

    /// Whether an output of this review exists.
    pub(super) fn made(&self) -> bool {
        self.made.load(Ordering::Acquire)
    }

    /// Begins.
    ///
    /// # Errors
    /// One runs already.
    pub(super) fn start(&self, args: anonymize::Args) -> Result<()> {
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        if job.as_ref().is_some_and(|j| j.ended().is_none()) {
            return Err(anyhow!("the film is being rendered already; wait for it or cancel it"));
        }
        let (stop, watch, ended) = (
            Arc::<AtomicBool>::default(),
            Arc::<Watch>::default(),
            Arc::<Mutex<Option<Outcome>>>::default(),
        );
        let (made, told, watched, asked) = (Arc::clone(&self.made), Arc::clone(&ended), Arc::clone(&watch), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("nullface-render".to_owned()).spawn(move || {
            let run = std::panic::AssertUnwindSafe(|| anonymize::watched(&args, &asked, Some(watched)));
            let outcome = match std::panic::catch_unwind(run) {
                Ok(done) => done.map(|d| d.exit).map_err(|e| format!("{e:#}")),
                Err(_) => Err(format!("{}: a fault of the program; report it", args.input.display())),
            };
            match &outcome {
                Ok(Exit::Interrupted) => {}
                Ok(_) => made.store(true, Ordering::Release),
                Err(why) => eprintln!("nullface: {why}"),
            }
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        })?;
        *job = Some(Job {
            stop,
            watch,
            ended,
            thread: Some(thread),
        });
        Ok(())
    }

    /// Asks the one that runs to end; nothing of it is left.
    pub(super) fn cancel(&self) {
        if let Some(job) = &*self.job.lock().unwrap_or_else(PoisonError::into_inner) {
            job.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Ends the one that runs, and gives what the last one ended as.
    pub(super) fn finish(&self) -> Option<Exit> {
        self.cancel();
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if let Some(thread) = job.thread.take() {
            // A panic in it was said already.
            let _ = thread.join();
        }
        Some(job.ended().and_then(Result::ok).unwrap_or(Exit::Failed))
    }

    /// What the page shows.
    pub(super) fn state(&self) -> Value {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(job) = &*job else { return json!({ "state": "none" }) };
        let seen = job.watch.seen();
        let share = self.length.map(|l| (seen.end.seconds_f64() / l.seconds_f64()).clamp(0.0, 1.0));
        let (state, error) = match job.ended() {
            None => ("running", None),
            Some(Ok(Exit::Interrupted)) => ("cancelled", None),
            Some(Ok(Exit::Failed)) => ("failed", None),
            Some(Ok(Exit::Done)) => ("done", None),
            Some(Ok(Exit::CoveredBeyondLimit)) => ("covered-beyond-limit", None),
            Some(Err(why)) => ("failed", Some(why)),
        };
        json!({ "state": state, "share": share, "frames": seen.frames, "said": seen.lines, "error": error })
    }
}
