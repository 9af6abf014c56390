//! The pipeline of one film:
//!
//! ```text
//! filesrc ! decodebin ┬ picture: queue ! [deinterlace] ! [videoflip] ! videoconvert ! nullfacefilter ! queue ! videoconvert ! encoder ┐
//!                     └ sound:   (as it is) parser  |  audioconvert ! audioresample ! encoder                        ┴ muxer ! filesink
//! ```
//!
//! `decodebin` stops before decoding sound that the container takes; its multiqueue evens out badly
//! interleaved films. Streams that are neither go nowhere. The second `videoconvert` is idle unless
//! the encoder lacks the film's format. Colour tags, aspect and rate travel in the caps.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use gst::prelude::*;
use gst_video::VideoOrientationMethod;
use serde_json::{Map, Value};

use super::args::Args;
use super::progress::Progress;
use super::report::Report;
use super::{clock, faults, tags};
use crate::container::Container;
use crate::exit::refuse;
use crate::film::Film;
use crate::json;

/// Name of the element's messages on the bus.
const MESSAGE: &str = "nullface";
/// How often stop flag and progress are looked at while the bus is silent.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(50);
/// How often the element is asked for its counts.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Most of one compressed stream that may wait for the others.
const MAX_WAITING_BYTES: u32 = 256 << 20;
/// Decoded frames that may wait before each slow step: enough for both cores to be busy.
const FRAMES_WAITING: u32 = 3;
/// x264's constant quality (CRF): differences to the source are not seen at 18 and below.
const X264_QUALITY: u32 = 18;
/// VP9's quality level, about as good.
const VP9_QUALITY: i32 = 16;
/// Upper bound of VP9's rate, bits per pixel: far above what the quality level asks for.
const VP9_BITS_PER_PIXEL: f64 = 0.4;
/// Rate taken for that bound where the film states none.
const ASSUMED_FPS: f64 = 30.0;

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
        if all == 0 { 0.0 } else { ((self.count("fallbacks") + withheld) as f64 / all as f64).min(1.0) }
    }
}

/// Counters that the streaming threads keep.
#[derive(Debug, Default)]
struct Counters {
    frames_in: AtomicU64,
    frames_out: AtomicU64,
    corrupted: AtomicU64,
    fed: AtomicU64,
    end_ns: AtomicU64,
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

/// What the links need that are made once the streams are known.
#[derive(Debug, Clone)]
struct Links {
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
    picture: Vec<gst::Element>,
    mux: gst::Element,
    container: Container,
    rate: gst::Fraction,
    keep_metadata: bool,
    counters: Arc<Counters>,
}

impl Flow {
    /// Makes every element that is needed whatever the film holds.
    pub(super) fn build(args: &Args, film: &Film, container: Container, temp: &Path) -> Result<Self> {
        let source = make("filesrc", "source")?;
        source.set_property("location", film.path.as_os_str().to_string_lossy().as_ref());
        let decode = make("decodebin", "decode")?;
        // No limit by count or time: a film with sound and picture far apart must not lock up.
        decode.set_property("max-size-bytes", MAX_WAITING_BYTES);
        decode.set_property("max-size-time", 0u64);

        let mux = make(container.muxer(), "mux")?;
        let sink = make("filesink", "sink")?;
        sink.set_property("location", temp.as_os_str().to_string_lossy().as_ref());

        let faces = make("nullfacefilter", "faces")?;
        for (name, value) in args.properties() {
            faces.set_property_from_str(name, &value);
        }
        let counters = Arc::<Counters>::default();
        let picture = picture_chain(&faces, film, container)?;
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
        let links = Links {
            pipeline: pipeline.downgrade(),
            picture,
            mux,
            container,
            rate: film.rate,
            keep_metadata: args.keep_metadata,
            counters: Arc::clone(&counters),
        };
        if !film.interlaced {
            count_frames_fed(&pipeline, &counters);
        }
        let linked = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&linked);
        decode.connect_pad_added(move |decode, pad| {
            if let Err(why) = links.connect(pad, &seen) {
                gst::element_error!(decode, gst::CoreError::Negotiation, ("{why:#}"));
            }
        });
        decode.connect_no_more_pads(move |decode| {
            if !linked.load(Ordering::Acquire) {
                gst::element_error!(decode, gst::StreamError::CodecNotFound, ("no stream of it could be decoded to pictures"));
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
    pub(super) fn run(&self, stop: &AtomicBool, progress: &Progress, report: &mut Option<Report>) -> Result<Ended> {
        let bus = self.pipeline.bus().context("a pipeline has a bus")?;
        let ended = match self.pipeline.set_state(gst::State::Playing) {
            Ok(_) => self.watch(&bus, stop, progress, report),
            // The element that refused has said why.
            Err(e) => Err(self.first_error(&bus).unwrap_or_else(|| anyhow!("the pipeline does not start: {e}"))),
        };
        let stats = self.stats();
        if let Ok(mut last) = self.last.lock() {
            *last = (stats, progress.elapsed());
        }
        let stopped = self.pipeline.set_state(gst::State::Null);
        ended.and_then(|ended| stopped.map(|_| ended).context("the pipeline does not stop"))
    }

    fn watch(&self, bus: &gst::Bus, stop: &AtomicBool, progress: &Progress, report: &mut Option<Report>) -> Result<Ended> {
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
            progress.at(gst::ClockTime::from_nseconds(self.counters.end_ns.load(Ordering::Relaxed)), self.counters.frames_out.load(Ordering::Relaxed), faces);
            let Some(message) = bus.timed_pop(TICK) else { continue };
            match message.view() {
                gst::MessageView::Eos(_) => return Ok(Ended::Whole),
                gst::MessageView::Error(error) => return Err(faults::sentence(error, &self.input, &self.output)),
                gst::MessageView::Warning(warning) => self.warned(warning, progress),
                gst::MessageView::Element(_) if message.src() == Some(self.faces.upcast_ref()) => {
                    if let (Some(report), Some(said)) = (report.as_mut(), message.structure())
                        && said.name() == MESSAGE
                    {
                        report.change(said, self.time_in_film(said))?;
                    }
                }
                _ => {}
            }
        }
    }

    /// The element speaks of timestamps, which begin anywhere; a film's time begins at zero.
    fn time_in_film(&self, said: &gst::StructureRef) -> Option<gst::ClockTime> {
        let at = gst::ClockTime::from_nseconds(said.get::<u64>("timestamp").ok()?);
        let segment = self.faces.static_pad("sink")?.sticky_event::<gst::event::Segment>(0)?;
        segment.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(at)
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
        self.faces.property::<Option<gst::Structure>>("stats").map(|s| json::structure(&s)).unwrap_or_default()
    }

    /// Decoders flag a damaged frame, warn of it, or keep silent and leave it out, as their makers like.
    fn damaged(&self) -> u64 {
        let left_out = self.counters.fed.load(Ordering::Relaxed).saturating_sub(self.counters.frames_in.load(Ordering::Relaxed));
        self.counters.corrupted.load(Ordering::Relaxed).max(self.warnings.load(Ordering::Relaxed)).max(left_out)
    }

    /// What went through, after [`Self::run`].
    pub(super) fn tally(&self) -> Tally {
        let (stats, wall) = self.last.lock().map(|l| l.clone()).unwrap_or_default();
        Tally {
            frames_in: self.counters.frames_in.load(Ordering::Relaxed),
            frames_out: self.counters.frames_out.load(Ordering::Relaxed),
            damaged: self.damaged(),
            end: gst::ClockTime::from_nseconds(self.counters.end_ns.load(Ordering::Relaxed)),
            stats,
            wall,
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // Nothing can be done about a pipeline that does not stop while it is dropped.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Links {
    /// Leads a stream to the muxer, or nowhere.
    fn connect(&self, pad: &gst::Pad, picture_linked: &AtomicBool) -> Result<()> {
        let caps = pad.current_caps().or_else(|| Some(pad.query_caps(None))).context("a stream without a type")?;
        let kind = caps.structure(0).map(|s| s.name().to_string()).unwrap_or_default();
        if kind == "video/x-raw" && !picture_linked.swap(true, Ordering::AcqRel) {
            let track = self.lead(pad, &self.picture, "video_%u")?;
            if self.container.has_track_timescale() {
                track.set_property("trak-timescale", clock::track_timescale(self.rate));
            }
            count_frames_out(&track, &self.counters);
        } else if kind.starts_with("audio/") {
            self.lead(pad, &self.sound_chain(&caps)?, "audio_%u")?;
        } else {
            let nowhere = gst::ElementFactory::make("fakesink").property("sync", false).property("async", false).build()?;
            self.add(std::slice::from_ref(&nowhere))?;
            pad.link(&nowhere.static_pad("sink").context("fakesink has a pad")?)?;
        }
        Ok(())
    }

    /// Links pad, elements and a new track of the muxer.
    fn lead(&self, pad: &gst::Pad, chain: &[gst::Element], track: &str) -> Result<gst::Pad> {
        let track = self.mux.request_pad_simple(track).with_context(|| format!("{} takes no more streams", self.container.muxer()))?;
        tags::guard(&track, self.keep_metadata);
        note_end(&track, &self.counters);
        self.add(chain)?;
        gst::Element::link_many(chain)?;
        match (chain.first(), chain.last()) {
            (Some(first), Some(last)) => {
                last.static_pad("src").context("an element without output")?.link(&track)?;
                pad.link(&first.static_pad("sink").context("an element without input")?)?;
            }
            _ => {
                pad.link(&track)?;
            }
        }
        Ok(track)
    }

    /// Adds elements and starts them, last first, so that none pushes into one that sleeps.
    fn add(&self, chain: &[gst::Element]) -> Result<()> {
        let pipeline = self.pipeline.upgrade().context("the pipeline is gone")?;
        pipeline.add_many(chain)?;
        for element in chain.iter().rev() {
            element.sync_state_with_parent().with_context(|| format!("{} does not start", element.name()))?;
        }
        Ok(())
    }

    fn sound_chain(&self, caps: &gst::CapsRef) -> Result<Vec<gst::Element>> {
        let raw = caps.structure(0).is_some_and(|s| s.name() == "audio/x-raw");
        let mut names: Vec<&str> = Vec::new();
        if !raw {
            names.extend(parser_of(caps));
        } else {
            names.extend(["audioconvert", "audioresample"]);
            if !takes(&self.mux, caps) {
                names.extend(self.container.audio_encoder());
            }
        }
        names.into_iter().map(|name| gst::ElementFactory::make(name).build().map_err(|_| missing(name))).collect()
    }
}

/// The elements between decoder and muxer.
fn picture_chain(faces: &gst::Element, film: &Film, container: Container) -> Result<Vec<gst::Element>> {
    let queue = |name| -> Result<gst::Element> {
        let queue = make("queue", name)?;
        queue.set_property("max-size-buffers", FRAMES_WAITING);
        queue.set_property("max-size-bytes", 0u32);
        queue.set_property("max-size-time", 0u64);
        Ok(queue)
    };
    let mut chain = vec![queue("decoded")?];
    if film.interlaced {
        // One frame for each frame, not for each field, so that the rate stays.
        let deinterlace = make("deinterlace", "progressive")?;
        deinterlace.set_property_from_str("fields", "top");
        chain.push(deinterlace);
    }
    if film.orientation != VideoOrientationMethod::Identity {
        let flip = make("videoflip", "upright")?;
        flip.set_property("video-direction", film.orientation);
        chain.push(flip);
    }
    chain.push(make("videoconvert", "convert")?);
    chain.push(faces.clone());
    chain.push(queue("anonymous")?);
    chain.push(make("videoconvert", "format")?);
    chain.push(if container == Container::Webm { vp9(film)? } else { x264()? });
    Ok(chain)
}

fn x264() -> Result<gst::Element> {
    let encoder = make("x264enc", "encoder")?;
    encoder.set_property_from_str("pass", "qual");
    encoder.set_property("quantizer", X264_QUALITY);
    encoder.set_property_from_str("speed-preset", "veryfast");
    // Frames in the order in which they are shown: no edit list, and times that every player reads alike.
    encoder.set_property("bframes", 0u32);
    Ok(encoder)
}

fn vp9(film: &Film) -> Result<gst::Element> {
    let encoder = make("vp9enc", "encoder")?;
    encoder.set_property("deadline", 1i64);
    encoder.set_property("cpu-used", 8i32);
    encoder.set_property("row-mt", true);
    encoder.set_property("threads", i32::try_from(std::thread::available_parallelism().map_or(1, usize::from)).unwrap_or(1));
    encoder.set_property_from_str("end-usage", "cq");
    encoder.set_property("cq-level", VP9_QUALITY);
    let fps = if film.rate.numer() > 0 { f64::from(film.rate.numer()) / f64::from(film.rate.denom()) } else { ASSUMED_FPS };
    let bound = f64::from(film.width_px) * f64::from(film.height_px) * fps * VP9_BITS_PER_PIXEL;
    encoder.set_property("target-bitrate", bound.clamp(100_000.0, f64::from(i32::MAX)) as i32);
    Ok(encoder)
}

fn make(factory: &str, name: &str) -> Result<gst::Element> {
    gst::ElementFactory::make(factory).name(name).build().map_err(|_| missing(factory))
}

fn missing(factory: &str) -> anyhow::Error {
    refuse(Path::new(factory), "GStreamer does not have this element", "run `nullface doctor`, which names the package")
}

/// Whether the muxer takes sound of this kind; details (rate, channels) are the parser's business.
fn takes(mux: &gst::Element, caps: &gst::CapsRef) -> bool {
    let Some(is) = caps.structure(0) else { return false };
    let mut bare = gst::Structure::new_empty(is.name());
    for field in ["mpegversion", "layer"] {
        if let Ok(value) = is.get::<i32>(field) {
            bare.set(field, value);
        }
    }
    let bare = gst::Caps::from(bare);
    mux.pad_template_list().iter().any(|t| t.name_template().starts_with("audio") && t.caps().can_intersect(&bare))
}

/// Whether decoding stops here: sound, cut into packets, of a kind that the muxer takes.
fn passes_as_it_is(mux: &gst::Element, caps: &gst::CapsRef) -> bool {
    let Some(is) = caps.structure(0) else { return false };
    let packets = is.get::<bool>("framed") == Ok(true)
        || is.get::<bool>("parsed") == Ok(true)
        || matches!(is.name().as_str(), "audio/x-vorbis" | "audio/x-opus" | "audio/x-alac");
    is.name().starts_with("audio/") && is.name() != "audio/x-raw" && packets && takes(mux, caps)
}

/// Parser that gives sound the form that muxers want (AAC without ADTS headers, and so on).
fn parser_of(caps: &gst::CapsRef) -> Option<&'static str> {
    let is = caps.structure(0)?;
    match (is.name().as_str(), is.get::<i32>("mpegversion").unwrap_or(0)) {
        ("audio/mpeg", 1) => Some("mpegaudioparse"),
        ("audio/mpeg", _) => Some("aacparse"),
        ("audio/x-ac3" | "audio/x-eac3", _) => Some("ac3parse"),
        ("audio/x-opus", _) => Some("opusparse"),
        ("audio/x-flac", _) => Some("flacparse"),
        _ => None,
    }
}

fn count_frames_in(faces: &gst::Element, counters: &Arc<Counters>) {
    let counters = Arc::clone(counters);
    let Some(pad) = faces.static_pad("sink") else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        counters.frames_in.fetch_add(1, Ordering::Relaxed);
        if info.buffer().is_some_and(|b| b.flags().contains(gst::BufferFlags::CORRUPTED)) {
            counters.corrupted.fetch_add(1, Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Counts what goes into the first decoder of a kind of which one packet is one frame. (Not so: fields,
/// and the invisible frames of VP8 and VP9.)
fn count_frames_fed(pipeline: &gst::Pipeline, counters: &Arc<Counters>) {
    let counters = Arc::clone(counters);
    let first = AtomicBool::new(true);
    pipeline.connect_deep_element_added(move |_, _, element| {
        let decodes = element.factory().is_some_and(|f| f.has_type(gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO));
        let Some(pad) = element.static_pad("sink").filter(|_| decodes) else { return };
        let one_for_one = pad.pad_template_caps().iter().any(|s| ["video/x-h264", "video/x-h265"].contains(&s.name().as_str()));
        if one_for_one && first.swap(false, Ordering::AcqRel) {
            let counters = Arc::clone(&counters);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                counters.fed.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
    });
}

fn count_frames_out(track: &gst::Pad, counters: &Arc<Counters>) {
    let counters = Arc::clone(counters);
    track.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counters.frames_out.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
}

/// Remembers where the last buffer of a track ends.
fn note_end(track: &gst::Pad, counters: &Arc<Counters>) {
    let counters = Arc::clone(counters);
    track.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(buffer) = info.buffer()
            && let Some(pts) = buffer.pts()
            && let Some(segment) = pad.sticky_event::<gst::event::Segment>(0)
            && let Some(time) = segment.segment().downcast_ref::<gst::ClockTime>().and_then(|s| s.to_running_time(pts))
        {
            let end = time + buffer.duration().unwrap_or_default();
            counters.end_ns.fetch_max(end.nseconds(), Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
}
