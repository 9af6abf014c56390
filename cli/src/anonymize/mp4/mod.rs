//! What GStreamer's MPEG-4 muxer and demuxer leave undone, done on the boxes themselves: chapters
//! and timecode are read from the input and put into the finished output, dates are cleared.
//!
//! | what | read | written |
//! |---|---|---|
//! | chapters | `moov/udta/chpl`, or the text track that `tref/chap` names | `moov/udta/chpl` |
//! | timecode | first track of type `tmcd` | a `tmcd` track that the picture refers to |
//! | tracks to be played unasked | `moov/trak/tkhd` | the same |
//! | dates | – | zero, "not known" |
//!
//! The muxer writes `moov` last, so that it can grow in place; a file of another order is refused.

mod boxes;
mod chapters;
mod dates;
mod flags;
mod timecode;

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::Path;

pub(crate) use dates::clear as clear_dates;
pub(crate) use timecode::Timecode;

use super::streams::{ByNumber, Flags};
use crate::film::Chapter;
use boxes::{Bx, movie};

/// Most that may lie behind `moov` and still move along with it.
const MAX_BEHIND_BYTES: u64 = 1 << 20;

/// What the boxes of a film say that the demuxer does not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// Chapters, in order.
    pub(crate) chapters: Vec<Chapter>,
    /// The first timecode track.
    pub(crate) timecode: Option<Timecode>,
    /// Bytes of the coded pictures.
    pub(crate) picture_bytes: Option<u64>,
    /// What each track is flagged.
    pub(crate) flags: ByNumber,
}

/// Reads it; nothing where the film has none or is no MPEG-4.
pub(crate) fn read(path: &Path) -> Told {
    let Ok((_, Some(moov))) = movie(path) else {
        return Told::default();
    };
    Told {
        chapters: chapters::read(&moov, path),
        timecode: timecode::read(&moov, path),
        picture_bytes: boxes::picture_bytes(&moov),
        flags: flags::read(&moov),
    }
}

/// Puts chapters, timecode and the flags of the tracks, in their order, into a file that is otherwise finished.
///
/// # Errors
/// The file cannot be read or written, or `moov` is not at its end.
pub(super) fn add(path: &Path, chapters: &[Chapter], timecode: Option<&Timecode>, tracks: &[Option<Flags>]) -> Result<()> {
    if chapters.is_empty() && timecode.is_none() && tracks.iter().flatten().all(|f| f.default) {
        return Ok(());
    }
    let (at, moov) = movie(path)?;
    let mut moov = moov.ok_or_else(|| Error::new(ErrorKind::InvalidData, "no moov box in it"))?;
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let end = file.seek(SeekFrom::End(0))?;
    // What lies behind, such as the words of the metadata, moves along; the pictures must not.
    if end - at.end > MAX_BEHIND_BYTES {
        return Err(Error::new(ErrorKind::InvalidData, "its moov box is not at the end"));
    }
    file.seek(SeekFrom::Start(at.end))?;
    let mut behind = Vec::new();
    file.read_to_end(&mut behind)?;
    chapters::write(&mut moov, chapters);
    flags::write(&mut moov, tracks);
    let mut sample = Vec::new();
    if let Some(timecode) = timecode {
        // The one sample goes where `moov` was, in a box of its own; 8 is that box's head.
        sample = Bx::leaf(*b"mdat", timecode.sample.to_vec()).bytes();
        timecode::write(&mut moov, timecode, at.start + 8)?;
    }
    file.seek(SeekFrom::Start(at.start))?;
    file.write_all(&sample)?;
    file.write_all(&moov.bytes())?;
    file.write_all(&behind)?;
    let end = file.stream_position()?;
    file.set_len(end)
}
