//! What passes by, counted where it passes: the only way to know that a film came through whole.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;

use super::streams::Flags;

/// Counters that the streaming threads keep.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Frames that the decoder gave.
    pub(super) frames_in: AtomicU64,
    /// Frames that reached the muxer.
    pub(super) frames_out: AtomicU64,
    /// Frames that the decoder flagged.
    pub(super) corrupted: AtomicU64,
    /// Packets that the decoder got, where one is one frame.
    pub(super) fed: AtomicU64,
    /// Subtitle tracks that the container does not take, or that were not wanted.
    pub(super) left_out: AtomicU64,
    /// Where the last picture or sound ends.
    pub(super) end_ns: AtomicU64,
    /// Flags of the tracks that were led to the muxer, in their order, where the input has some.
    pub(super) tracks: Mutex<Vec<Option<Flags>>>,
}

impl Counters {
    /// Flags of the tracks, in their order.
    pub(super) fn flags(&self) -> Vec<Option<Flags>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Decoders flag a damaged frame, warn of it, or keep silent and leave it out, as their makers like.
    pub(super) fn damaged(&self, warnings: u64) -> u64 {
        let fed = self.fed.load(Ordering::Relaxed);
        let left_out = fed.saturating_sub(self.frames_in.load(Ordering::Relaxed));
        self.corrupted.load(Ordering::Relaxed).max(warnings).max(left_out)
    }
}

/// Counts the frames that the decoder gives to be shown, and those that it flags.
pub(super) fn count_frames_in(faces: &gst::Element, counters: &Arc<Counters>) {
    let counters = Arc::clone(counters);
    let Some(pad) = faces.static_pad("sink") else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if info.buffer().is_some_and(|b| b.flags().contains(gst::BufferFlags::DECODE_ONLY)) {
            // Worked through before the part that it is counted in is not: see `parts::seam`.
            return gst::PadProbeReturn::Ok;
        }
        counters.frames_in.fetch_add(1, Ordering::Relaxed);
        if info.buffer().is_some_and(|b| b.flags().contains(gst::BufferFlags::CORRUPTED)) {
            counters.corrupted.fetch_add(1, Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Counts what goes into the first decoder of a kind of which one packet is one frame. (Not so: fields,
/// and the invisible frames of VP8 and VP9.)
pub(super) fn count_frames_fed(pipeline: &gst::Pipeline, counters: &Arc<Counters>) {
    let counters = Arc::clone(counters);
    let first = AtomicBool::new(true);
    pipeline.connect_deep_element_added(move |_, _, element| {
        let decodes = element
            .factory()
            .is_some_and(|f| f.has_type(gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO));
        let Some(pad) = element.static_pad("sink").filter(|_| decodes) else {
            return;
        };
        let one_for_one = pad
            .pad_template_caps()
            .iter()
            .any(|s| ["video/x-h264", "video/x-h265"].contains(&s.name().as_str()));
        if one_for_one && first.swap(false, Ordering::AcqRel) {
            let counters = Arc::clone(&counters);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                counters.fed.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
    });
}

/// Counts the frames that reach the muxer.
pub(super) fn count_frames_out(track: &gst::Pad, counters: &Arc<Counters>) {
    let counters = Arc::clone(counters);
    track.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counters.frames_out.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
}

/// Remembers where the last buffer of a track ends.
pub(super) fn note_end(track: &gst::Pad, counters: &Arc<Counters>) {
    let counters = Arc::clone(counters);
    track.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(buffer) = info.buffer()
            && let Some(pts) = buffer.pts()
            && let Some(segment) = pad.sticky_event::<gst::event::Segment>(0)
            && let Some(time) = segment
                .segment()
                .downcast_ref::<gst::ClockTime>()
                .and_then(|s| s.to_running_time(pts))
        {
            let end = time + buffer.duration().unwrap_or_default();
            counters.end_ns.fetch_max(end.nseconds(), Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
}
