//! The pipeline of one film:
//!
//! ```text
//! filesrc ! decodebin ┬ picture: queue ! [deinterlace] ! [videoflip] ! videoconvert ! nullfacefilter ! queue ! videoconvert ! encoder ┐
//!                     └ sound:   (as it is) parser  |  audioconvert ! audioresample ! encoder                        ┴ muxer ! filesink
//! ```
//!
//! `decodebin` stops before decoding sound that the container takes; its multiqueue evens out badly
//! interleaved films. Subtitles go as text, or as they are where the container takes them; other streams
//! go nowhere. The second `videoconvert` is idle unless
//! the encoder lacks the film's format. Colour tags, aspect and rate travel in the caps.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use gst::prelude::*;
use serde_json::{Map, Value};

use super::args::Args;
use super::counters::{Counters, count_frames_fed, count_frames_in};
use super::encoders::coding;
use super::links::{Links, decoded, make, passes_as_it_is, picture_chain};
use super::marking;
use super::progress::Progress;
use super::streams::Flags;
use super::{faults, tags};
use crate::container::Container;
use crate::film::Film;
use crate::json;

/// How often stop flag and progress are looked at while the bus is silent.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(50);
/// How often the element is asked for its counts.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Most of one compressed stream that may wait for the others.
const MAX_WAITING_BYTES: u32 = 256 << 20;

/// How a run of the pipeline ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// At the film's end.
    Whole,
    /// By a signal.
    Stopped,
}

/// What went through.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Frames decoded.
    pub(super) frames_in: u64,
    /// Frames written.
    pub(super) frames_out: u64,
    /// Frames that the decoder says are damaged.
    pub(super) damaged: u64,
    /// Subtitle tracks that were left out.
    pub(super) left_out: u64,
    /// Flags of the tracks that were written, in their order, where the input has some.
    pub(super) tracks: Vec<Option<Flags>>,
    /// Where the last picture or sound ends.
    pub(super) end: gst::ClockTime,
    /// Counts of the element.
    pub(super) stats: Map<String, Value>,
    /// Time it took.
    pub(super) wall: Duration,
}

impl Tally {
    /// One of the element's counts; 0 where it does not keep it.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.stats.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Share of regions, and of frames covered whole, that were treated otherwise than asked.
    pub(super) fn fallback_share(&self) -> f64 {
        let withheld = self.count("frames-withheld");
        let all = self.count("faces") + withheld;
        if all == 0 {
            0.0
        } else {
            ((self.count("fallbacks") + withheld) as f64 / all as f64).min(1.0)
        }
    }
}

/// Where a pipeline that writes a film begins and ends.
#[derive(Debug)]
pub(super) struct Ends {
    /// Reads.
    pub(super) source: gst::Element,
    /// Decodes.
    pub(super) decode: gst::Element,
    /// Puts the tracks together.
    pub(super) mux: gst::Element,
    /// Writes.
    pub(super) sink: gst::Element,
}

impl Ends {
    /// Makes them; what the container says about the whole film is set.
    pub(super) fn make(args: &Args, film: &Film, container: Container, temp: &Path) -> Result<Self> {
        let source = make("filesrc", "source")?;
        source.set_property("location", film.path.as_os_str().to_string_lossy().as_ref());
        let decode = make("decodebin", "decode")?;
        // No limit by count or time: a film with sound and picture far apart must not lock up.
        decode.set_property("max-size-bytes", MAX_WAITING_BYTES);
        decode.set_property("max-size-time", 0u64);
        let mux = make(container.muxer(), "mux")?;
        if let Some(setter) = mux.dynamic_cast_ref::<gst::TocSetter>() {
            setter.set_toc(tags::toc(&film.chapters, args.keep_metadata, film.duration).as_ref());
        }
        if !args.no_marking {
            marking::mark(&mux, args.mode, container);
        }
        let sink = make("filesink", "sink")?;
        sink.set_property("location", temp.as_os_str().to_string_lossy().as_ref());
        Ok(Self { source, decode, mux, sink })
    }
}

/// The filter with the options of the command line.
pub(super) fn filter(args: &Args, audit: &Path, tracks: Option<&Path>) -> Result<gst::Element> {
    let faces = make("nullfacefilter", "faces")?;
    for (name, value) in args.rendering(tracks) {
        faces.set_property_from_str(name, &value);
    }
    faces.set_property("audit-location", audit.as_os_str().to_string_lossy().as_ref());
    Ok(faces)
}

/// The pipeline, built and not yet started.
#[derive(Debug)]
pub(super) struct Flow {
    pipeline: gst::Pipeline,
    faces: gst::Element,
    counters: Arc<Counters>,
    warnings: AtomicU64,
    last: Mutex<(Map<String, Value>, Duration)>,
    input: std::path::PathBuf,
    output: std::path::PathBuf,
}

impl Flow {
    /// Makes every element that is needed whatever the film holds.
    pub(super) fn build(args: &Args, film: &Film, container: Container, temp: &Path, audit: &Path, tracks: Option<&Path>) -> Result<Self> {
        let Ends { source, decode, mux, sink } = Ends::make(args, film, container, temp)?;
        let counters = Arc::<Counters>::default();
        let faces = filter(args, audit, tracks)?;
        let mut picture = decoded(film)?;
        picture.extend(picture_chain(args, &faces, coding(film, &args.output, container, args.wanted())?)?);
        count_frames_in(&faces, &counters);

        let pipeline = gst::Pipeline::with_name("film");
        pipeline.add_many([&source, &decode, &mux, &sink])?;
        source.link(&decode)?;
        mux.link(&sink)?;

        let takes = mux.clone();
        decode.connect("autoplug-continue", false, move |values| {
            let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
            Some((!caps.is_some_and(|caps| passes_as_it_is(&takes, &caps))).to_value())
        });
        let links = Links::new(args, film, &pipeline, picture, mux, container, &counters);
        if !film.interlaced {
            count_frames_fed(&pipeline, &counters);
        }
        let linked = Arc::new(AtomicBool::new(false));
        links.follow(&decode, &linked);
        decode.connect_no_more_pads(move |decode| {
            if !linked.load(Ordering::Acquire) {
                gst::element_error!(
                    decode,
                    gst::StreamError::CodecNotFound,
                    ("no stream of it could be decoded to pictures")
                );
            }
        });
        Ok(Self {
            pipeline,
            faces,
            counters,
            warnings: AtomicU64::new(0),
            last: Mutex::default(),
            input: args.input.clone(),
            output: args.output.clone(),
        })
    }

    /// Runs to the film's end, an error, or a signal. The pipeline is stopped on return.
    pub(super) fn run(&self, stop: &AtomicBool, progress: &Progress) -> Result<Ended> {
        let bus = self.pipeline.bus().context("a pipeline has a bus")?;
        let ended = match self.pipeline.set_state(gst::State::Playing) {
            Ok(_) => self.watch(&bus, stop, progress),
            // The element that refused has said why.
            Err(e) => Err(self
                .first_error(&bus)
                .unwrap_or_else(|| anyhow!("the pipeline does not start: {e}"))),
        };
        let stats = self.stats();
        if let Ok(mut last) = self.last.lock() {
            *last = (stats, progress.elapsed());
        }
        let stopped = self.pipeline.set_state(gst::State::Null);
        ended.and_then(|ended| stopped.map(|_| ended).context("the pipeline does not stop"))
    }

    fn watch(&self, bus: &gst::Bus, stop: &AtomicBool, progress: &Progress) -> Result<Ended> {
        let mut faces = 0;
        let mut asked = Instant::now();
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(Ended::Stopped);
            }
            if asked.elapsed() >= ASK_EVERY {
                asked = Instant::now();
                faces = self.stats().get("tracks").and_then(Value::as_u64).unwrap_or(0);
            }
            progress.at(
                gst::ClockTime::from_nseconds(self.counters.end_ns.load(Ordering::Relaxed)),
                self.counters.frames_out.load(Ordering::Relaxed),
                faces,
            );
            let Some(message) = bus.timed_pop(TICK) else { continue };
            match message.view() {
                gst::MessageView::Eos(_) => return Ok(Ended::Whole),
                gst::MessageView::Error(error) => return Err(faults::sentence(error, &self.input, &self.output)),
                gst::MessageView::Warning(warning) => self.warned(warning, progress),
                _ => {}
            }
        }
    }

    /// Decoders warn of each frame that they had to guess; other warnings are passed on.
    fn warned(&self, warning: &gst::message::Warning, progress: &Progress) {
        let problem = warning.error();
        if problem.is::<gst::StreamError>() {
            self.warnings.fetch_add(1, Ordering::Relaxed);
        } else {
            progress.say(&format!("{}: {}", self.input.display(), problem.message()));
        }
    }

    fn first_error(&self, bus: &gst::Bus) -> Option<anyhow::Error> {
        let message = bus.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(faults::sentence(error, &self.input, &self.output)),
            _ => None,
        }
    }

    fn stats(&self) -> Map<String, Value> {
        stats(&self.faces)
    }

    /// What went through, after [`Self::run`].
    pub(super) fn tally(&self) -> Tally {
        let (stats, wall) = self.last.lock().map(|l| l.clone()).unwrap_or_default();
        Tally {
            frames_in: self.counters.frames_in.load(Ordering::Relaxed),
            frames_out: self.counters.frames_out.load(Ordering::Relaxed),
            damaged: self.counters.damaged(self.warnings.load(Ordering::Relaxed)),
            left_out: self.counters.left_out.load(Ordering::Relaxed),
            tracks: self.counters.flags(),
            end: gst::ClockTime::from_nseconds(self.counters.end_ns.load(Ordering::Relaxed)),
            stats,
            wall,
        }
    }
}

/// The filter's counts.
pub(super) fn stats(faces: &gst::Element) -> Map<String, Value> {
    let counts = faces.property::<Option<gst::Structure>>("stats");
    counts.map(|s| json::structure(&s)).unwrap_or_default()
}

impl Drop for Flow {
    fn drop(&mut self) {
        // Nothing can be done about a pipeline that does not stop while it is dropped.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
