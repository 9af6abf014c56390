//! A pipeline that is given its frames or packets one by one, by who decides which come.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow};
use gst::prelude::*;

use super::super::faults;

/// How long a look at the bus may take while the pipeline has enough to do.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(5);

/// Goes on, or a signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// Goes on.
    Taken,
    /// A signal came.
    Stopped,
}

/// The pipeline. It is stopped when it is dropped.
#[derive(Debug)]
pub(super) struct Feed {
    /// Around `source`.
    pub(super) pipeline: gst::Pipeline,
    /// Where it is fed; keeps times and segments as they are given.
    pub(super) source: gst_app::AppSrc,
    waiting: u64,
    input: PathBuf,
    output: PathBuf,
}

impl Feed {
    /// A pipeline with nothing but its mouth; at most `waiting` frames or packets are in it. `input` and `output`
    /// are what its errors are about.
    pub(super) fn new(waiting: u64, input: PathBuf, output: PathBuf) -> Result<Self> {
        // Faults are told by the names of this pipeline and its elements.
        let pipeline = gst::Pipeline::with_name("film");
        let source = gst_app::AppSrc::builder()
            .name("fed")
            .format(gst::Format::Time)
            .handle_segment_change(true)
            .build();
        pipeline.add(&source)?;
        Ok(Self {
            pipeline,
            source,
            waiting,
            input,
            output,
        })
    }

    /// Starts it; what it is given is of this `form`.
    ///
    /// # Errors
    /// What the element says that refuses.
    pub(super) fn start(&self, form: Option<&gst::CapsRef>) -> Result<()> {
        // Before the first is given: what is said of a stream begins with its form.
        self.source.set_caps(form.map(ToOwned::to_owned).as_ref());
        let started = self.pipeline.set_state(gst::State::Playing);
        started.map(|_| ()).or_else(|e| {
            // The element that refused has said why.
            self.ended(gst::ClockTime::ZERO)?;
            Err(anyhow!("the pipeline does not start: {e}"))
        })
    }

    /// Waits until `ready`.
    ///
    /// # Errors
    /// What an element says that fails.
    pub(super) fn wait(&self, ready: impl Fn() -> bool, stop: &AtomicBool) -> Result<Fed> {
        while !ready() {
            if stop.load(Ordering::Relaxed) {
                return Ok(Fed::Stopped);
            }
            self.ended(TICK)?;
        }
        Ok(Fed::Taken)
    }

    /// Gives a frame or packet, when there is room.
    ///
    /// # Errors
    /// What an element says that fails.
    pub(super) fn give(&self, sample: &gst::Sample, stop: &AtomicBool) -> Result<Fed> {
        let room = || self.source.property::<u64>("current-level-buffers") < self.waiting;
        if self.wait(room, stop)? == Fed::Stopped {
            return Ok(Fed::Stopped);
        }
        if self.source.push_sample(sample).is_err() {
            self.ended(TICK)?;
            return Err(anyhow!("a pipeline that takes no more, and does not say why"));
        }
        Ok(Fed::Taken)
    }

    /// Says that nothing comes any more, and waits until all is written.
    ///
    /// # Errors
    /// What an element says that fails.
    pub(super) fn end(&self, stop: &AtomicBool) -> Result<Fed> {
        self.source.end_of_stream().context("a pipeline that does not take its end")?;
        while !self.ended(TICK)? {
            if stop.load(Ordering::Relaxed) {
                return Ok(Fed::Stopped);
            }
        }
        Ok(Fed::Taken)
    }

    /// Whether all is written.
    fn ended(&self, wait: gst::ClockTime) -> Result<bool> {
        let bus = self.pipeline.bus().context("a pipeline has a bus")?;
        let Some(message) = bus.timed_pop_filtered(wait, &[gst::MessageType::Error, gst::MessageType::Eos]) else {
            return Ok(false);
        };
        match message.view() {
            gst::MessageView::Error(error) => Err(faults::sentence(error, &self.input, &self.output)),
            _ => Ok(true),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // Nothing can be done about a pipeline that does not stop while it is dropped.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
