//! From the decoder's streams to the muxer: which elements, which encoder, which sound stays as it is.
//! Links are made once the streams are known, before the first frame flows.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use anyhow::{Context, Result};
use gst::prelude::*;
use gst_video::VideoOrientationMethod;

use super::args::{Args, Subtitles};
use super::counters::{Counters, count_frames_out, note_end};
use super::encoders::Coding;
use super::streams::{self, ByNumber, Waiting};
use super::{clock, marking, subtitles, tags};
use crate::container::Container;
use crate::exit::refuse;
use crate::film::Film;

/// Decoded frames that may wait before each slow step: enough for both cores to be busy.
const FRAMES_WAITING: u32 = 3;
/// The muxer's name for a track of pictures.
pub(super) const PICTURE: &str = "video_%u";

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
    /// Whether subtitles are left out.
    pub(super) drop_subtitles: bool,
    /// What each track of the input is flagged.
    pub(super) flags: ByNumber,
    /// What counts.
    pub(super) counters: Arc<Counters>,
}

impl Links {
    /// Over a pipeline and its muxer; `picture` are the elements that the picture passes through.
    pub(super) fn new(
        args: &Args,
        film: &Film,
        pipeline: &gst::Pipeline,
        picture: Vec<gst::Element>,
        mux: gst::Element,
        container: Container,
        counters: &Arc<Counters>,
    ) -> Self {
        Self {
            pipeline: pipeline.downgrade(),
            picture,
            mux,
            container,
            rate: film.rate,
            keep_metadata: args.keep_metadata,
            drop_subtitles: args.subtitles == Subtitles::Drop,
            flags: film.flags.clone(),
            counters: Arc::clone(counters),
        }
    }

    /// Leads the picture to the muxer.
    pub(super) fn lead_picture(&self, pad: &gst::Pad) -> Result<()> {
        let track = self.lead(pad, &self.picture, PICTURE)?;
        if self.container.has_track_timescale() {
            track.set_property("trak-timescale", clock::track_timescale(self.rate));
        }
        count_frames_out(&track, &self.counters);
        Ok(())
    }

    /// Leads what a decoder gives: the first picture at once, unless one is led already, and everything else in the
    /// container's order when all is known. Until then nothing flows.
    pub(super) fn follow(self, decode: &gst::Element, picture_led: &Arc<AtomicBool>) {
        let (links, waiting) = (Arc::new(self), Waiting::default());
        let complain = |decode: &gst::Element, led: Result<()>| {
            if let Err(why) = led {
                gst::element_error!(decode, gst::CoreError::Negotiation, ("{why:#}"));
            }
        };
        let (led, leads, waits) = (Arc::clone(picture_led), Arc::clone(&links), waiting.clone());
        decode.connect_pad_added(move |decode, pad| {
            if kind_of(pad) == "video/x-raw" && !led.swap(true, Ordering::AcqRel) {
                complain(decode, leads.lead_picture(pad));
            } else {
                waits.push(pad);
            }
        });
        decode.connect_no_more_pads(move |decode| {
            for pad in waiting.take() {
                complain(decode, links.connect(&pad));
            }
        });
    }

    /// Leads a stream that is not the picture to the muxer, or nowhere.
    fn connect(&self, pad: &gst::Pad) -> Result<()> {
        let (caps, kind) = (type_of(pad), kind_of(pad));
        if kind.starts_with("audio/") {
            self.lead(pad, &self.sound_chain(&caps)?, "audio_%u")?;
        } else if let Some(text) = self.subtitle(&caps) {
            let mut chain = vec![make("queue", &format!("words-{}", pad.name()))?];
            if text {
                let plain = gst::ElementFactory::make("capssetter").build().map_err(|_| missing("capssetter"))?;
                plain.set_property("caps", gst::Caps::builder("text/x-raw").field("format", "utf8").build());
                chain.push(plain);
            }
            let track = self.lead(pad, &chain, "subtitle_%u")?;
            if text {
                let markup = caps.structure(0).is_some_and(|s| s.get::<&str>("format") == Ok("pango-markup"));
                subtitles::adapt(&track, self.container, markup);
            }
        } else {
            if kind.starts_with("text/") || kind.starts_with("subpicture/") || kind.starts_with("application/x-s") {
                self.counters.left_out.fetch_add(1, Ordering::Relaxed);
            }
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
        let flags = streams::number(pad).and_then(|number| self.flags.get(&number).copied());
        self.counters.tracks.lock().unwrap_or_else(PoisonError::into_inner).push(flags);
        tags::guard(&track, self.keep_metadata);
        if !self.container.has_track_timescale() {
            tags::name_no_language(&track);
        }
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

    /// Whether a stream is subtitles that may and can be written, and if so, whether they are text.
    fn subtitle(&self, caps: &gst::CapsRef) -> Option<bool> {
        let is = caps.structure(0).filter(|_| !self.drop_subtitles)?;
        let text = is.name() == "text/x-raw";
        let bare = gst::Caps::new_empty_simple(is.name());
        let taken = self
            .mux
            .pad_template_list()
            .iter()
            .any(|t| t.name_template().starts_with("subtitle") && t.caps().can_intersect(&bare));
        taken.then_some(text)
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

fn type_of(pad: &gst::Pad) -> gst::Caps {
    pad.current_caps().unwrap_or_else(|| pad.query_caps(None))
}

fn kind_of(pad: &gst::Pad) -> String {
    type_of(pad).structure(0).map(|s| s.name().to_string()).unwrap_or_default()
}

fn queue(name: &str) -> Result<gst::Element> {
    let queue = make("queue", name)?;
    queue.set_property("max-size-buffers", FRAMES_WAITING);
    queue.set_property("max-size-bytes", 0u32);
    queue.set_property("max-size-time", 0u64);
    Ok(queue)
}

/// The elements after the decoder, up to upright frames.
pub(super) fn decoded(film: &Film) -> Result<Vec<gst::Element>> {
    let mut chain = vec![queue("decoded")?];
    chain.extend(upright(film)?);
    Ok(chain)
}

/// The elements between upright frames and muxer.
pub(super) fn picture_chain(args: &Args, faces: &gst::Element, coding: Coding) -> Result<Vec<gst::Element>> {
    let mut chain = Vec::new();
    if let Some(caps) = coding.working {
        let filter = make("capsfilter", "working")?;
        filter.set_property("caps", caps);
        chain.push(filter);
    }
    chain.push(faces.clone());
    chain.push(queue("anonymous")?);
    chain.extend(coding.chain);
    if let Some(words) = &args.label {
        marking::label(&mut chain, faces, words)?;
    }
    Ok(chain)
}

/// Whole frames that stand upright, in a format that can be worked on.
pub(super) fn upright(film: &Film) -> Result<Vec<gst::Element>> {
    let mut chain = Vec::new();
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
    Ok(chain)
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

/// Whether decoding stops here: sound, cut into packets, or styled subtitles, of a kind that the muxer takes.
pub(super) fn passes_as_it_is(mux: &gst::Element, caps: &gst::CapsRef) -> bool {
    let Some(is) = caps.structure(0) else { return false };
    let packets = is.get::<bool>("framed") == Ok(true)
        || is.get::<bool>("parsed") == Ok(true)
        || matches!(is.name().as_str(), "audio/x-vorbis" | "audio/x-opus" | "audio/x-alac");
    if matches!(is.name().as_str(), "application/x-ass" | "application/x-ssa") {
        // Only Matroska keeps the styles; elsewhere they are parsed to text.
        return mux
            .pad_template_list()
            .iter()
            .any(|t| t.name_template().starts_with("subtitle") && t.caps().can_intersect(&gst::Caps::new_empty_simple(is.name())));
    }
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
