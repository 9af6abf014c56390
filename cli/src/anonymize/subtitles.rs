//! Subtitles on their way from demuxer to muxer: text is given the form that the container writes,
//! the times stay. What is written under the picture may name people: `--subtitles drop` leaves it out.

use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;

use crate::container::Container;

/// Gives text the form that `container` writes. GStreamer's parsers make all text Pango's markup;
/// Matroska's SubRip keeps the tags and has no entities, MPEG-4's text is plain.
pub(super) fn adapt(pad: &gst::Pad, container: Container, markup: bool) {
    let plain = container.has_track_timescale();
    let first = AtomicBool::new(true);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
            if plain && first.swap(false, Ordering::AcqRel) {
                begin_at_zero(pad, buffer);
            }
            rewrite(buffer, markup, plain);
        }
        gst::PadProbeReturn::Ok
    });
}

/// GStreamer 1.22's MPEG-4 muxer forgets the time before the first line when it reckons the length of
/// the last one; an empty line that fills it helps.
fn begin_at_zero(pad: &gst::Pad, first: &gst::BufferRef) {
    let Some(until) = first.pts().filter(|t| !t.is_zero()) else {
        return;
    };
    let mut empty = gst::Buffer::from_slice([]);
    if let Some(inner) = empty.get_mut() {
        inner.set_pts(gst::ClockTime::ZERO);
        inner.set_duration(until);
        // A refusal shows again with the line itself.
        let _ = pad.chain(empty);
    }
}

fn rewrite(buffer: &mut gst::Buffer, markup: bool, plain: bool) {
    let Ok(map) = buffer.map_readable() else { return };
    let text = String::from_utf8_lossy(&map).into_owned();
    drop(map);
    let new = match (markup, plain) {
        (true, true) => entities(&untagged(&text)),
        (true, false) => entities(&text),
        (false, _) => return,
    };
    if new == text {
        return;
    }
    let mut changed = gst::Buffer::from_slice(new.into_bytes());
    if let Some(inner) = changed.get_mut() {
        inner.set_pts(buffer.pts());
        inner.set_duration(buffer.duration());
    }
    *buffer = changed;
}

fn untagged(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

fn entities(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::{entities, untagged};

    #[test]
    fn markup_becomes_plain_text() {
        assert_eq!(entities(&untagged("<i>Tom &amp; Ann</i> &lt;3")), "Tom & Ann <3");
        assert_eq!(entities("&amp;lt;"), "&lt;");
    }
}
