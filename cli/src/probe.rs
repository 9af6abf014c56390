//! What decoding a film gives, seen on its first picture: depth, transparency, light. The container
//! does not tell these reliably, and which encoder may follow depends on them.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gst_video::{VideoFormat, VideoInfo, VideoTransferFunction};

/// Longest time that decoding the first picture may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A decoded picture's kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    /// GStreamer's name of the layout.
    pub(crate) format: VideoFormat,
    /// Bits a sample.
    pub(crate) depth_bits: u32,
    /// Whether pixels are transparent.
    pub(crate) alpha: bool,
    /// The wide range of light, where it is one of those that an ordinary screen would wash out.
    pub(crate) hdr: Option<&'static str>,
    /// Colour tags as caps write them.
    pub(crate) colorimetry: String,
}

impl Raw {
    fn of(caps: &gst::CapsRef) -> Option<Self> {
        let info = VideoInfo::from_caps(caps).ok()?;
        let format = info.format_info();
        Some(Self {
            format: info.format(),
            depth_bits: format.depth().iter().copied().max().unwrap_or(8),
            alpha: format.has_alpha(),
            hdr: match info.colorimetry().transfer() {
                VideoTransferFunction::Smpte2084 => Some("PQ"),
                VideoTransferFunction::AribStdB67 => Some("HLG"),
                _ => None,
            },
            colorimetry: caps
                .structure(0)
                .and_then(|s| s.get::<String>("colorimetry").ok())
                .unwrap_or_default(),
        })
    }
}

/// Decodes as far as the first picture's caps. `None` where none comes: the run itself will say why.
pub(crate) fn first_picture(path: &Path) -> Option<Raw> {
    let source = gst::ElementFactory::make("filesrc")
        .property("location", path.as_os_str().to_string_lossy().as_ref())
        .build()
        .ok()?;
    let decode = gst::ElementFactory::make("decodebin").build().ok()?;
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([&source, &decode]).ok()?;
    source.link(&decode).ok()?;
    let (found, raw) = channel();
    let weak = pipeline.downgrade();
    let tell = found.clone();
    // A sink that came to a pipeline on its way down would wait for its first frame for good, and the way down for it.
    let open = Arc::new(Mutex::new(true));
    let still = Arc::clone(&open);
    decode.connect_pad_added(move |_, pad| {
        let open = still.lock().unwrap_or_else(PoisonError::into_inner);
        if *open {
            look(pad, &weak, &tell);
        }
    });
    decode.connect_no_more_pads(move |_| {
        let _ = found.send(None);
    });
    let bus = pipeline.bus()?;
    let mut got = None;
    if pipeline.set_state(gst::State::Paused).is_ok() {
        let until = std::time::Instant::now() + LIMIT;
        while std::time::Instant::now() < until {
            match raw.recv_timeout(Duration::from_millis(20)) {
                Ok(answer) => {
                    got = answer;
                    break;
                }
                Err(_) if bus.pop_filtered(&[gst::MessageType::Error]).is_some() => break,
                Err(_) => {}
            }
        }
    }
    *open.lock().unwrap_or_else(PoisonError::into_inner) = false;
    let _ = pipeline.set_state(gst::State::Null);
    got
}

fn look(pad: &gst::Pad, pipeline: &gst::glib::WeakRef<gst::Pipeline>, found: &Sender<Option<Raw>>) {
    if let Some(caps) = pad.current_caps()
        && caps.structure(0).is_some_and(|s| s.name() == "video/x-raw")
        && let Some(raw) = Raw::of(&caps)
    {
        let _ = found.send(Some(raw));
    }
    // A stream that leads nowhere would end the decoding of the others.
    if let (Some(pipeline), Ok(end)) = (pipeline.upgrade(), gst::ElementFactory::make("fakesink").build())
        && pipeline.add(&end).is_ok()
        && end.sync_state_with_parent().is_ok()
        && let Some(sink) = end.static_pad("sink")
    {
        let _ = pad.link(&sink);
    }
}
