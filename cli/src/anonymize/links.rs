//! From the decoder's streams to the muxer: which elements, which encoder, which sound stays as it is.
//! Links are made once the streams are known, before the first frame flows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use gst::prelude::*;
use gst_video::VideoOrientationMethod;

use super::counters::{Counters, count_frames_out, note_end};
use super::{clock, tags};
use crate::container::Container;
use crate::exit::refuse;
use crate::film::Film;

/// Decoded frames that may wait before each slow step: enough for both cores to be busy.
const FRAMES_WAITING: u32 = 3;
/// x264's constant quality (CRF): differences to the source are not seen at 18 and below.
const X264_QUALITY: u32 = 18;
/// Frames that x264 looks ahead.
const X264_LOOKAHEAD: i32 = 5;
/// VP9's quality level, about as good.
const VP9_QUALITY: i32 = 16;
/// Upper bound of VP9's rate, bits per pixel: far above what the quality level asks for.
const VP9_BITS_PER_PIXEL: f64 = 0.4;
/// Rate taken for that bound where the film states none.
const ASSUMED_FPS: f64 = 30.0;

/// What the links need that are made once the streams are known.
#[derive(Debug, Clone)]
pub(super) struct Links {
    /// Where elements are added.
    pub(super) pipeline: gst::glib::WeakRef<gst::Pipeline>,
    /// Elements between decoder and muxer.
    pub(super) picture: Vec<gst::Element>,
    /// Where all ends.
    pub(super) mux: gst::Element,
    /// What is written.
    pub(super) container: Container,
    /// Frame rate that the input states.
    pub(super) rate: gst::Fraction,
    /// Whether tags may pass.
    pub(super) keep_metadata: bool,
    /// What counts.
    pub(super) counters: Arc<Counters>,
}

impl Links {
    /// Leads a stream to the muxer, or nowhere.
    pub(super) fn connect(&self, pad: &gst::Pad, picture_linked: &AtomicBool) -> Result<()> {
        let caps = pad
            .current_caps()
            .or_else(|| Some(pad.query_caps(None)))
            .context("a stream without a type")?;
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
            let nowhere = gst::ElementFactory::make("fakesink")
                .property("sync", false)
                .property("async", false)
                .build()?;
            self.add(std::slice::from_ref(&nowhere))?;
            pad.link(&nowhere.static_pad("sink").context("fakesink has a pad")?)?;
        }
        Ok(())
    }

    /// Links pad, elements and a new track of the muxer.
    fn lead(&self, pad: &gst::Pad, chain: &[gst::Element], track: &str) -> Result<gst::Pad> {
        let track = self
            .mux
            .request_pad_simple(track)
            .with_context(|| format!("{} takes no more streams", self.container.muxer()))?;
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
            element
                .sync_state_with_parent()
                .with_context(|| format!("{} does not start", element.name()))?;
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
        names
            .into_iter()
            .map(|name| gst::ElementFactory::make(name).build().map_err(|_| missing(name)))
            .collect()
    }
}

/// The elements between decoder and muxer.
pub(super) fn picture_chain(faces: &gst::Element, film: &Film, container: Container) -> Result<Vec<gst::Element>> {
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
    // Frames that it holds to plan ahead are memory: half of its default and no thread of their own save a
    // seventh of the encoder's peak, and the file is no larger (2.53 against 2.56 MB for one of 297 frames).
    encoder.set_property("rc-lookahead", X264_LOOKAHEAD);
    encoder.set_property("sync-lookahead", 0i32);
    Ok(encoder)
}

fn vp9(film: &Film) -> Result<gst::Element> {
    let encoder = make("vp9enc", "encoder")?;
    encoder.set_property("deadline", 1i64);
    encoder.set_property("cpu-used", 8i32);
    encoder.set_property("row-mt", true);
    encoder.set_property(
        "threads",
        i32::try_from(std::thread::available_parallelism().map_or(1, usize::from)).unwrap_or(1),
    );
    encoder.set_property_from_str("end-usage", "cq");
    encoder.set_property("cq-level", VP9_QUALITY);
    let fps = if film.rate.numer() > 0 {
        f64::from(film.rate.numer()) / f64::from(film.rate.denom())
    } else {
        ASSUMED_FPS
    };
    let bound = f64::from(film.width_px) * f64::from(film.height_px) * fps * VP9_BITS_PER_PIXEL;
    encoder.set_property("target-bitrate", bound.clamp(100_000.0, f64::from(i32::MAX)) as i32);
    Ok(encoder)
}

/// Makes an element; the error says who can tell what to install.
pub(super) fn make(factory: &str, name: &str) -> Result<gst::Element> {
    gst::ElementFactory::make(factory).name(name).build().map_err(|_| missing(factory))
}

fn missing(factory: &str) -> anyhow::Error {
    refuse(
        Path::new(factory),
        "GStreamer does not have this element",
        "run `nullface doctor`, which names the package",
    )
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
    mux.pad_template_list()
        .iter()
        .any(|t| t.name_template().starts_with("audio") && t.caps().can_intersect(&bare))
}

/// Whether decoding stops here: sound, cut into packets, of a kind that the muxer takes.
pub(super) fn passes_as_it_is(mux: &gst::Element, caps: &gst::CapsRef) -> bool {
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
