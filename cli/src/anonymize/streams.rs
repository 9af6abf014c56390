//! A film's streams in the order of its container, and which of them a player takes unasked.
//!
//! `decodebin` shows streams in an order of its own – decoded sound before sound in packets –, and GStreamer's muxers
//! write no flags: every track is one to be played. What has a player choose is read from the input's container
//! and put into the output's where both have it: MPEG-4 knows no forced subtitles.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;

use super::matroska;
use crate::container::Container;

/// What a container says of a track to who plays it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags {
    /// To be played where nobody chose.
    pub(crate) default: bool,
    /// Subtitles to be shown even where nobody wants any.
    pub(crate) forced: bool,
}

impl Flags {
    /// What muxers write.
    pub(super) const AS_MUXED: Self = Self {
        default: true,
        forced: false,
    };
}

/// Flags by the track's number in its container.
pub(crate) type ByNumber = HashMap<u64, Flags>;

/// Flags of a film's tracks; none where its container is not one of those that are read.
pub(crate) fn read(path: &Path) -> ByNumber {
    matroska::read(path).unwrap_or_default()
}

/// Puts the flags of the tracks, in their order, into a Matroska file that is otherwise finished; false where it has
/// no room for them. (MPEG-4's go with its chapters: [`super::mp4::add`].)
///
/// # Errors
/// The file cannot be read or written.
pub(super) fn write(path: &Path, container: Container, tracks: &[Option<Flags>]) -> std::io::Result<bool> {
    if container.has_track_timescale() || tracks.iter().flatten().all(|f| *f == Flags::AS_MUXED) {
        return Ok(true);
    }
    matroska::write(path, tracks)
}

/// A stream's number in its container, in the container's own words.
fn word(pad: &gst::Pad) -> Option<String> {
    let id = pad.stream_id()?;
    let last = id.rsplit('/').next()?;
    last.split(':').next().map(str::to_owned)
}

/// The track's number, where the container counts its tracks.
pub(super) fn number(pad: &gst::Pad) -> Option<u64> {
    word(pad)?.parse().ok()
}

/// Streams that wait until all are known.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<Vec<gst::Pad>>>);

impl Waiting {
    /// One more.
    pub(super) fn push(&self, pad: &gst::Pad) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(pad.clone());
    }

    /// All of them, in the container's order; none waits any more.
    pub(super) fn take(&self) -> Vec<gst::Pad> {
        let mut pads = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // Numbers are written with as many digits as each other, up to a thousand.
        pads.sort_by_cached_key(|pad| word(pad).map(|w| (w.len(), w)));
        pads
    }
}
