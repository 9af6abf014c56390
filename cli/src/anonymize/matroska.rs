//! What GStreamer's Matroska muxer and demuxer leave undone: which tracks are to be played unasked, and which
//! subtitles are forced.
//!
//! | element | id | here |
//! |---|---|---|
//! | Segment / Tracks / TrackEntry | 18538067 / 1654AE6B / AE | walked |
//! | TrackNumber, FlagDefault, FlagForced | D7, 88, 55AA | read |
//! | Name | 536E | "Audio", "Video": the muxer's own words, in whose place the flags are written |
//!
//! Sizes stay, so nothing moves. Numbers of an element are of at most eight bytes, most significant first.

use std::fs::{File, OpenOptions};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use super::streams::{ByNumber, Flags};

const SEGMENT: u32 = 0x1853_8067;
const TRACKS: u32 = 0x1654_AE6B;
const CLUSTER: u32 = 0x1F43_B675;
const TRACK_ENTRY: u32 = 0xAE;
const TRACK_NUMBER: u32 = 0xD7;
const FLAG_DEFAULT: u32 = 0x88;
const FLAG_FORCED: u32 = 0x55AA;
const NAME: u32 = 0x536E;
/// An element without meaning.
const VOID: u8 = 0xEC;
/// Largest head of an element: an id of four bytes, a size of eight.
const HEAD_BYTES: usize = 12;
/// Largest `Tracks` that is read.
const MAX_TRACKS_BYTES: u64 = 4 << 20;

/// An element: its id, its head and its content, in bytes of what it is in.
#[derive(Debug, Clone, PartialEq)]
struct Element {
    id: u32,
    whole: Range<u64>,
    content: Range<u64>,
}

/// The element whose head `head` begins with, at byte `at` of something that ends at `end`.
fn element(head: &[u8], at: u64, end: u64) -> Option<Element> {
    let id_len = head.first()?.leading_zeros() as usize + 1;
    let id = head
        .get(..id_len)
        .filter(|_| id_len <= 4)?
        .iter()
        .fold(0, |n, b| n << 8 | u32::from(*b));
    let first = *head.get(id_len)?;
    let size_len = first.leading_zeros() as usize + 1;
    let bytes = head.get(id_len..id_len + size_len).filter(|_| size_len <= 8)?;
    let marked = bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    let most = (1_u64 << (7 * size_len)) - 1;
    let begin = at + (id_len + size_len) as u64;
    // All ones: the size was not known when the head was written.
    let stop = match marked & most {
        size if size == most => end,
        size => begin.checked_add(size)?,
    };
    (stop <= end).then_some(Element {
        id,
        whole: at..stop,
        content: begin..stop,
    })
}

/// The elements in a slice, up to the first that does not fit.
fn children(bytes: &[u8], within: &Element) -> Vec<Element> {
    let mut found = Vec::new();
    let mut at = within.content.start;
    while let Some(next) = bytes.get(at as usize..).and_then(|b| element(b, at, within.content.end)) {
        at = next.whole.end;
        found.push(next);
    }
    found
}

fn value(bytes: &[u8], of: &Element) -> u64 {
    let content = bytes.get(of.content.start as usize..of.content.end as usize).unwrap_or_default();
    content.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}

/// Where `Tracks` lies, and its bytes; `None` where there is none before the first pictures.
fn tracks(file: &mut File) -> Result<Option<(u64, Vec<u8>)>> {
    let end = file.seek(SeekFrom::End(0))?;
    let (mut at, mut within) = (0, end);
    while at < within {
        file.seek(SeekFrom::Start(at))?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        Read::by_ref(file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        let Some(found) = element(&head, at, within) else { break };
        match found.id {
            SEGMENT => (at, within) = (found.content.start, found.content.end),
            TRACKS if found.whole.end - at <= MAX_TRACKS_BYTES => {
                let mut bytes = vec![0; (found.whole.end - at) as usize];
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(&mut bytes)?;
                return Ok(Some((at, bytes)));
            }
            TRACKS | CLUSTER => break,
            _ => at = found.whole.end,
        }
    }
    Ok(None)
}

/// The entries of `Tracks`, each with the elements in it.
fn entries(bytes: &[u8]) -> Vec<Vec<Element>> {
    let Some(tracks) = element(bytes, 0, bytes.len() as u64) else {
        return Vec::new();
    };
    let entries = children(bytes, &tracks).into_iter().filter(|e| e.id == TRACK_ENTRY);
    entries.map(|entry| children(bytes, &entry)).collect()
}

/// Flags by track number; `None` where the file is no Matroska.
pub(super) fn read(path: &Path) -> Option<ByNumber> {
    let (_, bytes) = tracks(&mut File::open(path).ok()?).ok()??;
    let flags = |entry: &Vec<Element>| {
        let get = |id| entry.iter().find(|e| e.id == id).map(|e| value(&bytes, e));
        let flags = Flags {
            default: get(FLAG_DEFAULT) != Some(0),
            forced: get(FLAG_FORCED).is_some_and(|n| n > 0),
        };
        Some((get(TRACK_NUMBER)?, flags))
    };
    Some(entries(&bytes).iter().filter_map(flags).collect())
}

/// Puts flags into the entries of a finished file, in their order; false where one has no room for them.
pub(super) fn write(path: &Path, flags: &[Option<Flags>]) -> Result<bool> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let Some((at, mut bytes)) = tracks(&mut file)? else {
        return Ok(false);
    };
    for (entry, flags) in entries(&bytes).iter().zip(flags) {
        let Some(flags) = flags.filter(|f| *f != Flags::AS_MUXED) else {
            continue;
        };
        let name = entry
            .iter()
            .find(|e| e.id == NAME)
            .map(|e| e.whole.start as usize..e.whole.end as usize);
        let Some(room) = name.and_then(|place| bytes.get_mut(place)) else {
            return Ok(false);
        };
        let Some(words) = in_place(flags, room.len()) else {
            return Ok(false);
        };
        room.copy_from_slice(&words);
    }
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&bytes)?;
    Ok(true)
}

/// Both flags and nothing else, in exactly so many bytes.
fn in_place(flags: Flags, bytes: usize) -> Option<Vec<u8>> {
    let mut words = vec![0x88, 0x81, u8::from(flags.default), 0x55, 0xAA, 0x81, u8::from(flags.forced)];
    match bytes.checked_sub(words.len())? {
        0 => {}
        rest => {
            let filled = u8::try_from(rest.checked_sub(2)?).ok().filter(|n| *n < 0x7F)?;
            words.extend([VOID, 0x80 | filled]);
            words.resize(bytes, 0);
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::{Element, Flags, element, in_place, read, write};
    use std::path::PathBuf;

    /// A Matroska file of two tracks named as the muxer names them, and bytes behind that must stay.
    fn film(folder: &tempfile::TempDir) -> PathBuf {
        let entry = |number: u8, name: &[u8]| {
            let name = [&[0x53, 0x6E, 0x80 | name.len() as u8], name].concat();
            let inner = [&[0xD7, 0x81, number][..], &name, &[0x83, 0x81, 2]].concat();
            [&[0xAE, 0x80 | inner.len() as u8][..], &inner].concat()
        };
        let entries = [entry(1, b"Audio\0"), entry(2, b"Subtitle\0")].concat();
        let tracks = [&[0x16, 0x54, 0xAE, 0x6B, 0x80 | entries.len() as u8][..], &entries].concat();
        // The segment's size is not known, as in a file that was streamed.
        let head = [&[0x1A, 0x45, 0xDF, 0xA3, 0x81, 0][..], &[0x18, 0x53, 0x80, 0x67, 0xFF]].concat();
        let path = folder.path().join("a.mkv");
        std::fs::write(&path, [head, tracks, b"\x1F\x43\xB6\x75\x84abcd".to_vec()].concat()).expect("written");
        path
    }

    #[test]
    fn flags_take_the_place_of_names_and_nothing_moves() {
        let folder = tempfile::tempdir().expect("folder");
        let path = film(&folder);
        let before = std::fs::read(&path).expect("film");
        assert_eq!(read(&path).expect("tracks")[&2], Flags::AS_MUXED);
        let wanted = Flags {
            default: false,
            forced: true,
        };
        assert!(write(&path, &[None, Some(wanted)]).expect("written"));
        let told = read(&path).expect("tracks");
        assert_eq!((told[&1], told[&2]), (Flags::AS_MUXED, wanted));
        let after = std::fs::read(&path).expect("film");
        assert_eq!(after.len(), before.len());
        assert!(after.ends_with(b"abcd") && after.windows(5).any(|w| w == b"Audio"));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_no_file_is_read_beyond_its_end() {
        assert_eq!(in_place(Flags::AS_MUXED, 6), None);
        assert_eq!(in_place(Flags::AS_MUXED, 8), None, "one byte is too few for a void");
        assert_eq!(in_place(Flags::AS_MUXED, 9).map(|w| w.len()), Some(9));
        assert_eq!(element(&[0xAE, 0x85], 0, 4), None, "five bytes in two");
        assert_eq!(element(&[0xAE], 0, 1), None);
        assert_eq!(element(&[0, 0, 0], 0, 3), None);
        let unknown = Element {
            id: 0xAE,
            whole: 0..9,
            content: 2..9,
        };
        assert_eq!(element(&[0xAE, 0xFF], 0, 9), Some(unknown));
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("no.mkv");
        std::fs::write(&path, b"RIFF").expect("written");
        assert!(read(&path).is_none());
    }
}
