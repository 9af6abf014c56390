//! The outputs: from anonymised pictures and the source's sound to a window, a server, a device or a
//! file. Each is a pipeline of its own, built when the first picture is there, and again after a
//! failure where that makes sense.
//!
//! Encoded outputs keep the size that the first picture had, with bars where a later one has another
//! shape: most servers and containers cannot change in mid-stream. Their sound runs over silence, so
//! that it never ends while the source is away.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use gst::prelude::*;

use super::args::Args;
use super::hub::{Feed, Running};
use super::place::{Recording, Sink};
use super::source::SOUND;
use crate::exit::refuse;

/// How long muxers wait for the slower of picture and sound, ms.
const PATIENCE_MS: u64 = 600;
/// Frames that may wait at an output's entrance.
const WAITING: u32 = 8;
/// Bits per pixel and frame of encoded pictures where nobody says.
const BITS_PER_PIXEL: f64 = 0.12;

/// What an output needs to know of the pictures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Width, px.
    pub(crate) width: u32,
    /// Height, px.
    pub(crate) height: u32,
    /// Frames per second; 0 where the source does not say.
    pub(crate) fps: f64,
    /// Whether there is sound.
    pub(crate) sound: bool,
}

/// An output's pipeline.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) pipeline: Running,
    pub(crate) feed: Arc<Feed>,
}

impl Outlet {
    /// Builds the pipeline of a sink that is not a server of our own; nothing flows yet.
    pub(crate) fn build(sink: &Sink, args: &Args, shape: Shape) -> Result<Self> {
        let description = describe(sink, args, shape);
        let pipeline = gst::parse::launch(&description)
            .with_context(|| format!("{sink}: GStreamer cannot make `{description}`; run `nullface doctor`"))?
            .downcast::<gst::Pipeline>()
            .map_err(|_| anyhow!("{sink}: no pipeline came of `{description}`"))?;
        // Addresses and paths go in as properties: nothing that a user writes is parsed as a pipeline.
        if let Some(end) = pipeline.by_name("sink") {
            match sink {
                Sink::Rtmp(address) => end.set_property("location", address),
                Sink::Srt(address) => end.set_property("uri", address),
                Sink::Camera(device) => end.set_property("device", device.to_string_lossy().as_ref()),
                Sink::File(path, _) => end.set_property("location", path.to_string_lossy().as_ref()),
                Sink::Window | Sink::Nowhere | Sink::RtspServer { .. } => {}
            }
        }
        let feed = feed(pipeline.upcast_ref())?;
        Ok(Self {
            pipeline: Running(pipeline),
            feed,
        })
    }
}

/// The feed of a bin's entrances.
pub(crate) fn feed(bin: &gst::Bin) -> Result<Arc<Feed>> {
    let entrance = |name: &str| bin.by_name(name).and_then(|e| e.downcast::<gst_app::AppSrc>().ok());
    let picture = entrance("picture").context("an output without its entrance")?;
    Ok(Feed::new(picture, entrance("sound")))
}

/// Whether an output is tried again after it failed. A file is not: what is in it would be lost.
pub(crate) fn comes_back(sink: &Sink) -> bool {
    match sink {
        Sink::Rtmp(_) | Sink::Srt(_) | Sink::Camera(_) => true,
        Sink::Window | Sink::Nowhere | Sink::RtspServer { .. } | Sink::File(..) => false,
    }
}

/// Refuses a recording that would replace one.
pub(crate) fn check(sink: &Sink, force: bool) -> Result<()> {
    match sink {
        Sink::File(path, _) => check_file(path, force),
        _ => Ok(()),
    }
}

/// Refuses a file that would replace another, or that has no folder.
pub(crate) fn check_file(path: &Path, force: bool) -> Result<()> {
    if path.exists() && !force {
        return Err(refuse(
            path,
            "it exists already",
            "choose another name, or give --force to replace it",
        ));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() {
        Ok(())
    } else {
        Err(refuse(
            path,
            format!("its folder {} does not exist", folder.display()),
            crate::target::WRITABLE,
        ))
    }
}

fn entrance(name: &str) -> String {
    format!(
        "appsrc name={name} is-live=true format=time leaky-type=downstream block=false \
         min-latency={} max-buffers={} max-bytes=0 max-time=0",
        PATIENCE_MS * 1_000_000,
        if name == "sound" { 200 } else { WAITING }
    )
}

/// Pictures of one size and one kind of colours from here on.
fn steady(shape: Shape) -> String {
    format!(
        "{} ! queue max-size-buffers=4 leaky=downstream ! videoconvert ! videoscale add-borders=true \
         ! capsfilter caps=video/x-raw,width={},height={},pixel-aspect-ratio=1/1,colorimetry=bt709,chroma-site=mpeg2",
        entrance("picture"),
        shape.width & !1,
        shape.height & !1
    )
}

pub(crate) fn h264(args: &Args, shape: Shape) -> String {
    let fps = if shape.fps > 0.0 { shape.fps } else { 25.0 };
    let bitrate = args.bitrate.unwrap_or_else(|| {
        let bits = f64::from(shape.width) * f64::from(shape.height) * fps * BITS_PER_PIXEL;
        (bits / 1e3).clamp(200.0, 50_000.0) as u32
    });
    let key_every = (fps * 2.0).round().clamp(10.0, 240.0) as u32;
    format!(
        "{} ! video/x-raw,format=I420 ! x264enc name=encoder tune=zerolatency speed-preset=superfast bitrate={bitrate} \
         key-int-max={key_every} ! video/x-h264,profile=main ! h264parse",
        steady(shape)
    )
}

/// Sound over silence, so that it never ends.
fn unbroken() -> String {
    format!(
        "{} ! queue max-size-time=2000000000 leaky=downstream ! audioconvert ! audioresample ! {SOUND} ! blend. \
         audiotestsrc is-live=true wave=silence ! {SOUND} ! queue ! blend. \
         audiomixer name=blend latency={} ! {SOUND}",
        entrance("sound"),
        PATIENCE_MS * 1_000_000
    )
}

pub(crate) fn aac() -> String {
    format!("{} ! audioconvert ! avenc_aac bitrate=128000 ! aacparse", unbroken())
}

fn muxed(picture: &str, sound: Option<String>, mux: &str, end: &str) -> String {
    let sound = sound.map_or_else(String::new, |sound| format!(" {sound} ! queue ! mux."));
    format!("{mux} name=mux ! {end} name=sink {picture} ! queue ! mux.{sound}")
}

fn describe(sink: &Sink, args: &Args, shape: Shape) -> String {
    let picture = || h264(args, shape);
    let sound = || shape.sound.then(aac);
    match sink {
        Sink::Window => format!(
            "{} ! queue max-size-buffers=2 leaky=downstream ! videoconvert ! autovideosink name=sink sync=false",
            entrance("picture")
        ),
        Sink::Nowhere | Sink::RtspServer { .. } => format!("{} ! fakesink name=sink sync=false async=false", entrance("picture")),
        Sink::Camera(_) => format!("{} ! videoconvert ! v4l2sink name=sink sync=false", steady(shape)),
        Sink::Rtmp(_) => muxed(
            &picture(),
            sound(),
            "flvmux streamable=true latency=600000000",
            "rtmp2sink sync=false async=false",
        ),
        Sink::Srt(_) => muxed(
            &picture(),
            sound(),
            "mpegtsmux alignment=7 latency=600000000",
            "srtsink wait-for-connection=false sync=false async=false",
        ),
        Sink::File(_, Recording::Mkv) => muxed(&picture(), sound(), "matroskamux streamable=false", FILE),
        Sink::File(_, Recording::Mp4) => muxed(&picture(), sound(), "mp4mux fragment-duration=1000 latency=600000000", FILE),
        Sink::File(_, Recording::Ts) => muxed(&picture(), sound(), "mpegtsmux latency=600000000", FILE),
        Sink::File(_, Recording::Webm) => muxed(
            &format!(
                "{} ! vp8enc deadline=1 cpu-used=8 threads=2 end-usage=cbr keyframe-max-dist=50",
                steady(shape)
            ),
            shape.sound.then(|| format!("{} ! audioconvert ! opusenc", unbroken())),
            "webmmux",
            FILE,
        ),
    }
}

const FILE: &str = "filesink sync=false async=false";

#[cfg(test)]
mod tests {
    use super::{Outlet, Shape, comes_back};
    use crate::live::Args;
    use crate::live::place::Sink;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn every_sink_can_be_built_with_and_without_sound() {
        gst::init().expect("GStreamer");
        for sink in [
            "window",
            "none",
            "v4l2:/dev/video99",
            "rtmp://127.0.0.1/a/b",
            "srt://127.0.0.1:9",
            "file:a.mkv",
            "file:a.mp4",
            "file:a.webm",
            "file:a.ts",
        ] {
            let args = Line::parse_from(["live", "--source", "test", "--sink", sink]).args;
            let sink: Sink = sink.parse().expect("a sink");
            for sound in [false, true] {
                let shape = Shape {
                    width: 641,
                    height: 481,
                    fps: 25.0,
                    sound,
                };
                let outlet = Outlet::build(&sink, &args, shape);
                assert!(outlet.is_ok(), "{sink} sound {sound}: {:#}", outlet.expect_err("failed"));
            }
        }
    }

    #[test]
    fn a_recording_is_never_begun_again_over_what_it_holds() {
        assert!(!comes_back(&"file:a.mkv".parse().expect("a sink")));
        assert!(comes_back(&"rtmp://127.0.0.1/a/b".parse().expect("a sink")));
    }
}
