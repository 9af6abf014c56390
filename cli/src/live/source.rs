//! The source pipeline: from a place to raw pictures and sound, handed to the hub.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use gst::prelude::*;

use super::args::Args;
use super::hub::{Hub, Running};
use super::place::Source;
use crate::exit::refuse;

/// Delay that network sources may even out, ms.
const NETWORK_DELAY_MS: u32 = 200;
/// Formats in which pictures travel: planar ones, of which a plain picture is quickly made.
const PICTURE: &str = "video/x-raw,format={NV12,I420},interlace-mode=progressive";
/// The one form in which sound travels.
pub(crate) const SOUND: &str = "audio/x-raw,format=S16LE,rate=48000,channels=2,layout=interleaved";

/// Whether a source has sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Sound {
    /// Its streams are not all known yet.
    Unknown,
    /// It has.
    Yes,
    /// It has not.
    No,
}

/// A source pipeline.
#[derive(Debug)]
pub(crate) struct SourceLine {
    pub(crate) pipeline: Running,
    sound: Arc<AtomicU8>,
}

impl SourceLine {
    /// Builds the pipeline of `args`' source; nothing flows yet.
    pub(crate) fn build(args: &Args, hub: &Arc<Hub>) -> Result<Self> {
        let pipeline = gst::Pipeline::with_name("source");
        let sound = Arc::new(AtomicU8::new(Sound::Unknown as u8));
        // Only a film has to be held to its own pace; everything else comes when it comes.
        let paced = matches!(args.source, Source::File(_));
        let picture = picture_bin(hub, paced)?;
        let ear = if args.no_sound { None } else { Some(sound_bin(args, hub, paced)?) };
        match &args.source {
            Source::Test { pattern } => {
                let from = bin(&format!(
                    "videotestsrc is-live=true pattern={} ! capsfilter caps=video/x-raw,width=640,height=480,framerate=25/1",
                    word(pattern)?
                ))?;
                lead(&pipeline, &from, &picture)?;
                if let Some(ear) = &ear {
                    lead(&pipeline, &bin("audiotestsrc is-live=true volume=0.05")?, ear)?;
                }
            }
            Source::Camera(device) => {
                let from = make("v4l2src")?;
                from.set_property("device", device.to_string_lossy().as_ref());
                let decode = make("decodebin")?;
                pipeline.add_many([&from, &decode])?;
                from.link(&decode)?;
                connect(&pipeline, &decode, &picture, None, &sound);
            }
            Source::Screen(display) => {
                let from = make("ximagesrc")?;
                from.set_property("use-damage", false);
                if let Some(display) = display {
                    from.set_property("display-name", display);
                }
                let rate = make("capsfilter")?;
                rate.set_property("caps", "video/x-raw,framerate=25/1".parse::<gst::Caps>()?);
                pipeline.add_many([&from, &rate])?;
                from.link(&rate)?;
                lead_from(&pipeline, &rate, &picture)?;
            }
            Source::Network(address) => decode_uri(&pipeline, address, args.source_timeout(), &picture, ear.as_ref(), &sound)?,
            Source::File(path) => {
                let path =
                    std::fs::canonicalize(path).map_err(|e| refuse(path, format!("it cannot be read: {e}"), "give a film that exists"))?;
                let uri = gst::glib::filename_to_uri(&path, None)?;
                decode_uri(&pipeline, &uri, args.source_timeout(), &picture, ear.as_ref(), &sound)?;
            }
        }
        let known = match &args.source {
            Source::Test { .. } if ear.is_some() => Sound::Yes,
            Source::Network(_) | Source::File(_) if ear.is_some() => Sound::Unknown,
            _ => Sound::No,
        };
        sound.store(known as u8, Ordering::Release);
        Ok(Self {
            pipeline: Running(pipeline),
            sound,
        })
    }

    /// Whether it has sound.
    pub(crate) fn sound(&self) -> Sound {
        match self.sound.load(Ordering::Acquire) {
            1 => Sound::Yes,
            2 => Sound::No,
            _ => Sound::Unknown,
        }
    }
}

/// A word that may stand in a pipeline's description.
fn word(text: &str) -> Result<&str> {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        Ok(text)
    } else {
        Err(anyhow::anyhow!(
            "test:{text}: a pattern is one word; see `gst-inspect-1.0 videotestsrc`"
        ))
    }
}

fn bin(description: &str) -> Result<gst::Element> {
    Ok(gst::parse::bin_from_description(description, true)
        .with_context(|| format!("GStreamer cannot make `{description}`; run `nullface doctor`"))?
        .upcast())
}

fn make(factory: &str) -> Result<gst::Element> {
    gst::ElementFactory::make(factory)
        .build()
        .with_context(|| format!("GStreamer has no element {factory}; run `nullface doctor`"))
}

fn picture_bin(hub: &Arc<Hub>, paced: bool) -> Result<gst::Element> {
    let made = bin(&format!(
        "deinterlace fields=top ! videoconvert ! appsink name=picture caps=\"{PICTURE}\" max-buffers=2 enable-last-sample=false sync={paced} drop={}",
        !paced
    ))?;
    let hub = Arc::clone(hub);
    tap(&made, "picture", move |sample| hub.picture_in(sample))?;
    Ok(made)
}

fn sound_bin(args: &Args, hub: &Arc<Hub>, paced: bool) -> Result<gst::Element> {
    let pitch = args
        .voice
        .map_or_else(String::new, |voice| format!("! pitch pitch={} ! audioconvert ", voice.pitch()));
    let made = bin(&format!(
        "queue max-size-time=1000000000 ! audioconvert {pitch}! audioresample \
         ! appsink name=sound caps=\"{SOUND}\" max-buffers=50 enable-last-sample=false sync={paced} drop={}",
        !paced
    ))?;
    let hub = Arc::clone(hub);
    tap(&made, "sound", move |sample| hub.sound_in(sample))?;
    Ok(made)
}

/// Calls `f` with every sample of an `appsink` in a bin.
pub(crate) fn tap(bin: &gst::Element, name: &str, f: impl Fn(&gst::Sample) + Send + Sync + 'static) -> Result<()> {
    let sink = bin
        .downcast_ref::<gst::Bin>()
        .and_then(|bin| bin.by_name(name))
        .and_then(|sink| sink.downcast::<gst_app::AppSink>().ok())
        .with_context(|| format!("a pipeline without its appsink {name}"))?;
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                f(&sample);
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    Ok(())
}

fn lead(pipeline: &gst::Pipeline, from: &gst::Element, to: &gst::Element) -> Result<()> {
    pipeline.add(from)?;
    lead_from(pipeline, from, to)
}

fn lead_from(pipeline: &gst::Pipeline, from: &gst::Element, to: &gst::Element) -> Result<()> {
    pipeline.add(to)?;
    from.link(to)?;
    Ok(())
}

fn decode_uri(
    pipeline: &gst::Pipeline,
    uri: &str,
    timeout: Duration,
    picture: &gst::Element,
    ear: Option<&gst::Element>,
    sound: &Arc<AtomicU8>,
) -> Result<()> {
    let decode = make("uridecodebin")?;
    decode.set_property("uri", uri);
    let timeout_us = timeout.as_micros().to_string();
    decode.connect("source-setup", false, move |values| {
        let source = values.get(1)?.get::<gst::Element>().ok()?;
        // A server that is there and says nothing would otherwise be waited for as long as TCP likes.
        for (name, value) in [
            ("latency", NETWORK_DELAY_MS.to_string()),
            ("timeout", timeout_us.clone()),
            ("tcp-timeout", timeout_us.clone()),
        ] {
            if source.has_property(name) && source.factory().is_some_and(|f| f.name() == "rtspsrc") {
                source.set_property_from_str(name, &value);
            }
        }
        None
    });
    pipeline.add(&decode)?;
    connect(pipeline, &decode, picture, ear, sound);
    Ok(())
}

/// Links the first picture and the first sound of a decoder; everything else goes nowhere.
fn connect(pipeline: &gst::Pipeline, decode: &gst::Element, picture: &gst::Element, ear: Option<&gst::Element>, sound: &Arc<AtomicU8>) {
    let weak = pipeline.downgrade();
    let (picture, ear) = (picture.clone(), ear.cloned());
    let known = Arc::clone(sound);
    decode.connect_pad_added(move |decode, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        if let Err(why) = take(&pipeline, pad, &picture, ear.as_ref(), &known) {
            gst::element_error!(decode, gst::CoreError::Negotiation, ("{why:#}"));
        }
    });
    let known = Arc::clone(sound);
    decode.connect_no_more_pads(move |_| {
        // Stays `Yes` where sound was found.
        let _ = known.compare_exchange(Sound::Unknown as u8, Sound::No as u8, Ordering::AcqRel, Ordering::Acquire);
    });
}

fn take(pipeline: &gst::Pipeline, pad: &gst::Pad, picture: &gst::Element, ear: Option<&gst::Element>, sound: &AtomicU8) -> Result<()> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let kind = caps.structure(0).map(|s| s.name().to_string()).unwrap_or_default();
    let free = |element: &gst::Element| element.parent().is_none();
    let to = match kind.as_str() {
        "video/x-raw" if free(picture) => picture.clone(),
        "audio/x-raw" if ear.is_some_and(free) => ear.cloned().context("an ear")?,
        _ => gst::ElementFactory::make("fakesink")
            .property("sync", false)
            .property("async", false)
            .build()?,
    };
    pipeline.add(&to)?;
    to.sync_state_with_parent()?;
    pad.link(&to.static_pad("sink").context("an element without entrance")?)?;
    if Some(&to) == ear {
        sound.store(Sound::Yes as u8, Ordering::Release);
    }
    Ok(())
}
