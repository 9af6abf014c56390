//! Reads a film frame by frame, upright, as packed RGB in memory. For looking at films, not for
//! anonymising them. Still pictures are read the same way, as films of one frame at time zero.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use gst::prelude::*;

use crate::exit::refuse;
use crate::film::Film;

/// A picture.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// Time since the film's begin.
    pub(crate) time: gst::ClockTime,
    /// Width.
    pub(crate) width_px: usize,
    /// Height.
    pub(crate) height_px: usize,
    /// R, G, B of each pixel, rows without padding.
    pub(crate) rgb: Vec<u8>,
}

/// A film being read.
#[derive(Debug)]
pub(crate) struct Reader {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    path: std::path::PathBuf,
}

impl Reader {
    /// Opens a film.
    pub(crate) fn open(film: &Film) -> Result<Self> {
        Self::of_file(&film.path, film.orientation)
    }

    /// Reads a still picture.
    pub(crate) fn still(path: &Path) -> Result<Picture> {
        let reader = Self::of_file(path, gst_video::VideoOrientationMethod::Auto)?;
        reader.next()?.ok_or_else(|| {
            refuse(
                path,
                "no picture can be read from it",
                "give a picture that GStreamer decodes: PNG, JPEG or WebP",
            )
        })
    }

    fn of_file(path: &Path, orientation: gst_video::VideoOrientationMethod) -> Result<Self> {
        let element = |name: &str| {
            gst::ElementFactory::make(name).build().map_err(|_| {
                refuse(
                    Path::new(name),
                    "GStreamer does not have this element",
                    "run `nullface doctor`, which names the package",
                )
            })
        };
        let source = element("filesrc")?;
        source.set_property("location", path.as_os_str().to_string_lossy().as_ref());
        let decode = element("decodebin")?;
        let flip = element("videoflip")?;
        flip.set_property("video-direction", orientation);
        let convert = element("videoconvert")?;
        let sink = gst_app::AppSink::builder()
            .caps(&gst_video::VideoCapsBuilder::new().format(gst_video::VideoFormat::Rgb).build())
            .sync(false)
            .max_buffers(2)
            .build();
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([&source, &decode, &flip, &convert, sink.upcast_ref()])?;
        source.link(&decode)?;
        gst::Element::link_many([&flip, &convert, sink.upcast_ref()])?;
        let first = flip.static_pad("sink").context("videoflip has a pad")?;
        let weak = pipeline.downgrade();
        decode.connect_pad_added(move |decode, pad| {
            let video = pad
                .current_caps()
                .is_some_and(|c| c.structure(0).is_some_and(|s| s.name() == "video/x-raw"));
            let linked = if video && !first.is_linked() {
                pad.link(&first).map(|_| ()).map_err(|e| anyhow!(e))
            } else {
                nowhere(&weak, pad)
            };
            if let Err(why) = linked {
                gst::element_error!(decode, gst::CoreError::Negotiation, ("{why:#}"));
            }
        });
        pipeline.set_state(gst::State::Playing)?;
        Ok(Self {
            pipeline,
            sink,
            path: path.to_owned(),
        })
    }

    /// The next frame; `None` at the film's end.
    pub(crate) fn next(&self) -> Result<Option<Picture>> {
        let Ok(sample) = self.sink.pull_sample() else {
            let bus = self.pipeline.bus().context("a pipeline has a bus")?;
            return match bus.pop_filtered(&[gst::MessageType::Error]).as_deref().map(gst::MessageRef::view) {
                Some(gst::MessageView::Error(e)) => Err(refuse(
                    &self.path,
                    format!("it cannot be decoded: {}", e.error().message()),
                    "get another copy",
                )),
                _ => Ok(None),
            };
        };
        let caps = sample.caps().context("a frame without a format")?;
        let info = gst_video::VideoInfo::from_caps(caps)?;
        let buffer = sample.buffer().context("a sample without a frame")?;
        let time = match buffer.pts() {
            // Still pictures have no time.
            None => gst::ClockTime::ZERO,
            Some(pts) => {
                let segment = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>());
                segment.context("a frame outside of time")?.to_running_time(pts).unwrap_or(pts)
            }
        };
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).map_err(|_| anyhow!("a frame cannot be mapped"))?;
        let (width_px, height_px) = (info.width() as usize, info.height() as usize);
        let stride = usize::try_from(info.stride()[0]).context("a stride that runs backwards")?;
        let mut rgb = Vec::with_capacity(width_px * height_px * 3);
        for row in frame.plane_data(0)?.chunks(stride).take(height_px) {
            rgb.extend_from_slice(row.get(..width_px * 3).context("a row shorter than its width")?);
        }
        Ok(Some(Picture {
            time,
            width_px,
            height_px,
            rgb,
        }))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Nothing can be done about a pipeline that does not stop while it is dropped.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Lets a stream of a decoder that nobody wants run dry.
pub(crate) fn nowhere(pipeline: &gst::glib::WeakRef<gst::Pipeline>, pad: &gst::Pad) -> Result<()> {
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .property("async", false)
        .build()?;
    pipeline.upgrade().context("the pipeline is gone")?.add(&sink)?;
    sink.sync_state_with_parent()?;
    pad.link(&sink.static_pad("sink").context("fakesink has a pad")?)?;
    Ok(())
}
