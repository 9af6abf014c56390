//! Decoded frames of a film, in order, for who takes them one by one: the first of two passes, and the rendering
//! in parts. Sound and subtitles are not decoded.
//!
//! ```text
//! filesrc ! decodebin ! queue ! [deinterlace] ! [videoflip] ! videoconvert ! [capsfilter] ! appsink
//! ```
//!
//! Times are those that the element reckons with: the buffer's, less the segment's zero.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result};
use gst::prelude::*;
use nullface::frame::{FrameTime, Pts};

use super::counters::{Counters, count_frames_fed};
use super::faults;
use super::links::{make, upright};
use crate::exit::refuse;
use crate::film::Film;
use crate::reader::nowhere;

/// Frames that may wait between decoder and engine.
const FRAMES_WAITING: u32 = 4;
/// How often the bus is looked at while no frame comes.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(50);
/// Assumed where neither the buffers nor anything else say how long a frame lasts.
const FALLBACK_FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(40);

/// Decoded frames of a film, upright, in formats that the element takes.
#[derive(Debug)]
pub(crate) struct Source {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    input: std::path::PathBuf,
    last: std::cell::Cell<Option<FrameTime>>,
    counters: Arc<Counters>,
    warnings: AtomicU64,
}

impl Source {
    /// Begins to decode. Frames come in a format of `working`, where it is given, and else in one that the filter takes.
    ///
    /// # Errors
    /// One sentence that names the film, what is the matter and the remedy.
    pub(crate) fn open(film: &Film, working: Option<gst::Caps>) -> Result<Self> {
        let source = make("filesrc", "source")?;
        source.set_property("location", film.path.as_os_str().to_string_lossy().as_ref());
        let decode = make("decodebin", "decode")?;
        let queue = make("queue", "decoded")?;
        let sink = gst_app::AppSink::builder()
            .name("frames")
            .caps(gstnullface::filter::caps())
            .sync(false)
            .max_buffers(FRAMES_WAITING)
            .build();
        let mut chain = vec![queue];
        chain.extend(upright(film)?);
        if let Some(caps) = working {
            let filter = make("capsfilter", "working")?;
            filter.set_property("caps", caps);
            chain.push(filter);
        }
        chain.push(sink.clone().upcast());
        let pipeline = gst::Pipeline::with_name("decoding");
        let counters = Arc::<Counters>::default();
        if !film.interlaced {
            count_frames_fed(&pipeline, &counters);
        }
        pipeline.add_many([&source, &decode])?;
        pipeline.add_many(&chain)?;
        source.link(&decode)?;
        gst::Element::link_many(&chain)?;
        decode.connect("autoplug-continue", false, |values| {
            let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
            let kind = caps.and_then(|c| c.structure(0).map(|s| s.name().to_string())).unwrap_or_default();
            let other = ["audio/", "text/", "subpicture/"].iter().any(|k| kind.starts_with(k));
            Some((!other).to_value())
        });
        let first = chain.first().and_then(|q| q.static_pad("sink")).context("a queue has a pad")?;
        let (weak, linked) = (pipeline.downgrade(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&linked);
        decode.connect_pad_added(move |decode, pad| {
            let kind = pad.current_caps().and_then(|c| c.structure(0).map(|s| s.name().to_string()));
            let made = if kind.as_deref() == Some("video/x-raw") && !seen.swap(true, Ordering::AcqRel) {
                pad.link(&first).map(|_| ()).context("the picture cannot be linked")
            } else {
                nowhere(&weak, pad)
            };
            if let Err(why) = made {
                gst::element_error!(decode, gst::CoreError::Negotiation, ("{why:#}"));
            }
        });
        decode.connect_no_more_pads(move |decode| {
            if !linked.load(Ordering::Acquire) {
                gst::element_error!(
                    decode,
                    gst::StreamError::CodecNotFound,
                    ("no stream of it could be decoded to pictures")
                );
            }
        });
        let made = Self {
            pipeline,
            sink,
            input: film.path.clone(),
            last: std::cell::Cell::new(None),
            counters,
            warnings: AtomicU64::new(0),
        };
        if let Err(error) = made.pipeline.set_state(gst::State::Playing) {
            return Err(made
                .error()
                .unwrap_or_else(|| anyhow::anyhow!("the pipeline does not start: {error}")));
        }
        Ok(made)
    }

    /// The next frame; `None` at the film's end.
    ///
    /// # Errors
    /// The film cannot be decoded.
    pub(crate) fn next(&self) -> Result<Option<gst::Sample>> {
        loop {
            if let Some(sample) = self.sink.try_pull_sample(TICK) {
                self.counters.frames_in.fetch_add(1, Ordering::Relaxed);
                if sample.buffer().is_some_and(|b| b.flags().contains(gst::BufferFlags::CORRUPTED)) {
                    self.counters.corrupted.fetch_add(1, Ordering::Relaxed);
                }
                return Ok(Some(sample));
            }
            if let Some(error) = self.error() {
                return Err(error);
            }
            if self.sink.is_eos() {
                return Ok(None);
            }
        }
    }

    /// Goes on with the key frame at or before a moment, as far as the container knows where one is. A first
    /// frame must have been taken before.
    ///
    /// # Errors
    /// The film cannot be sought in.
    pub(crate) fn seek(&self, at: Pts) -> Result<()> {
        // Not to the moment itself: decoders cut the frame that is shown then, and its time is not its own any more.
        let how = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        let sought = self.pipeline.seek_simple(how, gst::ClockTime::from_nseconds(at.0));
        sought.map_err(|_| {
            refuse(
                &self.input,
                "it cannot be sought in",
                "copy it into a container that can (`ffmpeg -i IN -c copy OUT.mkv`)",
            )
        })
    }

    fn error(&self) -> Option<anyhow::Error> {
        let bus = self.pipeline.bus()?;
        while let Some(message) = bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Warning]) {
            match message.view() {
                gst::MessageView::Error(error) => return Some(faults::sentence(error, &self.input, Path::new("the track file"))),
                gst::MessageView::Warning(warning) if warning.error().is::<gst::StreamError>() => {
                    self.warnings.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        None
    }

    /// Frames so far that are damaged or, at the film's end, were left out: before it the decoder is ahead.
    pub(crate) fn damaged(&self) -> u64 {
        let warnings = self.warnings.load(Ordering::Relaxed);
        if self.sink.is_eos() {
            self.counters.damaged(warnings)
        } else {
            self.counters.corrupted.load(Ordering::Relaxed).max(warnings)
        }
    }

    /// When a frame is shown, since the film's zero; one without a stamp follows the frame before.
    pub(crate) fn time_of(&self, sample: &gst::Sample, buffer: &gst::BufferRef) -> FrameTime {
        let segment = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>());
        let zero = segment.and_then(|s| Some(s.start()?.saturating_sub(s.time()?))).unwrap_or_default();
        let stamped = buffer.pts().map(|pts| Pts(pts.saturating_sub(zero).nseconds()));
        let follows = || {
            let step = |l: FrameTime| {
                if l.duration_ns > 0 {
                    l.duration_ns
                } else {
                    FALLBACK_FRAME.nseconds()
                }
            };
            self.last.get().map_or(Pts(0), |l| Pts(l.pts.0.saturating_add(step(l))))
        };
        let at = FrameTime {
            pts: stamped.unwrap_or_else(follows),
            duration_ns: buffer.duration().map_or(0, gst::ClockTime::nseconds),
        };
        self.last.set(Some(at));
        at
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Nothing can be done about a pipeline that does not stop while it is dropped.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
