//! Boxes of ISO/IEC 14496-12 as a tree: those on the way to what is read or changed are opened, all
//! others stay bytes.

use std::fs::File;
use std::io::{BufReader, Error, ErrorKind, Read, Result, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// Boxes that hold boxes and are opened.
const FOLDERS: [&[u8; 4]; 7] = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"udta", b"tref"];
/// Largest `moov` that is read; a day of film stays below.
const MAX_MOVIE_BYTES: u64 = 512 << 20;

/// A box.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bx {
    pub(super) name: [u8; 4],
    body: Body,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Bytes(Vec<u8>),
    Boxes(Vec<Bx>),
}

impl Bx {
    /// A box of bytes.
    pub(super) fn leaf(name: [u8; 4], bytes: Vec<u8>) -> Self {
        Self {
            name,
            body: Body::Bytes(bytes),
        }
    }

    /// A box of boxes.
    pub(super) fn folder(name: [u8; 4], boxes: Vec<Self>) -> Self {
        Self {
            name,
            body: Body::Boxes(boxes),
        }
    }

    fn parse(name: [u8; 4], bytes: &[u8]) -> Self {
        if FOLDERS.contains(&&name)
            && let Some(boxes) = children(bytes)
        {
            return Self::folder(name, boxes);
        }
        Self::leaf(name, bytes.to_vec())
    }

    /// The boxes in it.
    pub(super) fn boxes(&self) -> &[Self] {
        match &self.body {
            Body::Boxes(boxes) => boxes,
            Body::Bytes(_) => &[],
        }
    }

    /// The bytes in it; none where it holds boxes.
    pub(super) fn content(&self) -> &[u8] {
        match &self.body {
            Body::Bytes(bytes) => bytes,
            Body::Boxes(_) => &[],
        }
    }

    /// The bytes in it, to be changed.
    pub(super) fn content_mut(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.body {
            Body::Bytes(bytes) => Some(bytes),
            Body::Boxes(_) => None,
        }
    }

    /// The first box of a name, down a path.
    pub(super) fn at(&self, path: &[&[u8; 4]]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |here, name| here.boxes().iter().find(|b| &b.name == *name))
    }

    /// The same, to be changed.
    pub(super) fn at_mut(&mut self, path: &[&[u8; 4]]) -> Option<&mut Self> {
        path.iter().try_fold(self, |here, name| match &mut here.body {
            Body::Boxes(boxes) => boxes.iter_mut().find(|b| &b.name == *name),
            Body::Bytes(_) => None,
        })
    }

    /// Adds a box; a box of bytes takes none.
    pub(super) fn push(&mut self, inner: Self) {
        if let Body::Boxes(boxes) = &mut self.body {
            boxes.push(inner);
        }
    }

    /// All boxes of a name directly in it, to be changed.
    pub(super) fn all_mut(&mut self, name: [u8; 4]) -> Vec<&mut Self> {
        match &mut self.body {
            Body::Boxes(boxes) => boxes.iter_mut().filter(|b| b.name == name).collect(),
            Body::Bytes(_) => Vec::new(),
        }
    }

    /// As it stands in a file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let inner = match &self.body {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Boxes(boxes) => boxes.iter().flat_map(Self::bytes).collect(),
        };
        let size = u32::try_from(inner.len() + 8).unwrap_or(u32::MAX);
        [&size.to_be_bytes()[..], &self.name, &inner].concat()
    }
}

/// The boxes that fill `bytes`; `None` where they do not.
fn children(bytes: &[u8]) -> Option<Vec<Bx>> {
    let mut rest = bytes;
    let mut boxes = Vec::new();
    while !rest.is_empty() {
        // QuickTime ends some lists with a zero.
        if rest.len() < 8 {
            return rest.iter().all(|b| *b == 0).then_some(boxes);
        }
        let size = be32(rest, 0)? as usize;
        let name: [u8; 4] = rest.get(4..8)?.try_into().ok()?;
        let body = rest.get(8..size)?;
        boxes.push(Bx::parse(name, body));
        rest = rest.get(size..)?;
    }
    Some(boxes)
}

/// A big-endian number.
pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A big-endian number.
pub(super) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Where `moov` lies in a file, and what is in it.
pub(super) fn movie(path: &Path) -> Result<(Range<u64>, Option<Bx>)> {
    let mut file = BufReader::new(File::open(path)?);
    let end = file.seek(SeekFrom::End(0))?;
    let mut at = 0;
    while at + 8 <= end {
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0u8; 16];
        file.read_exact(&mut head[..8])?;
        let (size, header) = match be32(&head, 0).unwrap_or(0) {
            0 => (end - at, 8),
            1 => {
                file.read_exact(&mut head[8..])?;
                (be64(&head, 8).unwrap_or(0), 16)
            }
            n => (u64::from(n), 8),
        };
        let next = at.checked_add(size).filter(|n| size >= header && *n <= end);
        let next = next.ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("box at byte {at}: {size} bytes do not fit")))?;
        if &head[4..8] == b"moov" {
            if size > MAX_MOVIE_BYTES {
                return Err(Error::new(ErrorKind::InvalidData, "its moov box is larger than 512 MiB"));
            }
            let mut body = vec![0u8; (size - header) as usize];
            file.read_exact(&mut body)?;
            return Ok((at..next, Some(Bx::parse(*b"moov", &body))));
        }
        at = next;
    }
    Ok((end..end, None))
}

/// Number of a track, from its `tkhd`.
pub(super) fn track_id(trak: &Bx) -> Option<u32> {
    let head = trak.at(&[b"tkhd"])?.content();
    be32(head, if head.first() == Some(&1) { 20 } else { 12 })
}

/// Units per second of a track, from its `mdhd`.
pub(super) fn timescale(trak: &Bx) -> Option<u32> {
    let head = trak.at(&[b"mdia", b"mdhd"])?.content();
    be32(head, if head.first() == Some(&1) { 20 } else { 12 }).filter(|s| *s > 0)
}

/// Kind of a track (`vide`, `soun`, `tmcd`, …).
pub(super) fn kind(trak: &Bx) -> Option<&[u8]> {
    trak.at(&[b"mdia", b"hdlr"])?.content().get(8..12)
}

/// Bytes of the first picture track's samples.
pub(super) fn picture_bytes(moov: &Bx) -> Option<u64> {
    let trak = moov.boxes().iter().find(|t| &t.name == b"trak" && kind(t) == Some(b"vide"))?;
    let sizes = trak.at(&[b"mdia", b"minf", b"stbl", b"stsz"])?.content();
    let (same, count) = (u64::from(be32(sizes, 4)?), be32(sizes, 8)?);
    if same > 0 {
        return Some(same * u64::from(count));
    }
    (0..count as usize).map(|i| be32(sizes, 12 + 4 * i).map(u64::from)).sum()
}

/// The first `most` samples of a track: duration in its units, and bytes.
pub(super) fn samples(trak: &Bx, path: &Path, most: usize) -> Option<Vec<(u32, Vec<u8>)>> {
    let table = trak.at(&[b"mdia", b"minf", b"stbl"])?;
    let sizes = table.at(&[b"stsz"])?.content();
    let (same, count) = (be32(sizes, 4)?, be32(sizes, 8)? as usize);
    let runs = table.at(&[b"stts"])?.content();
    let durations = (0..be32(runs, 4)? as usize).flat_map(|i| {
        let (n, each) = (be32(runs, 8 + 8 * i).unwrap_or(0), be32(runs, 12 + 8 * i).unwrap_or(0));
        std::iter::repeat_n(each, n as usize)
    });
    let mut file = File::open(path).ok()?;
    let mut samples = Vec::new();
    let mut places = places(table)?.into_iter();
    let (mut left, mut offset) = (0, 0);
    for (i, duration) in durations.take(count.min(most)).enumerate() {
        let size = if same > 0 { same } else { be32(sizes, 12 + 4 * i)? };
        if left == 0 {
            (offset, left) = places.next()?;
        }
        let mut bytes = vec![0u8; usize::try_from(size).ok().filter(|n| *n <= 1 << 16)?];
        file.seek(SeekFrom::Start(offset)).ok()?;
        file.read_exact(&mut bytes).ok()?;
        offset += u64::from(size);
        left -= 1;
        samples.push((duration, bytes));
    }
    Some(samples)
}

/// Offset of each chunk and how many samples it holds.
fn places(table: &Bx) -> Option<Vec<(u64, u32)>> {
    let offsets: Vec<u64> = if let Some(short) = table.at(&[b"stco"]) {
        let bytes = short.content();
        (0..be32(bytes, 4)? as usize)
            .map_while(|i| be32(bytes, 8 + 4 * i).map(u64::from))
            .collect()
    } else {
        let bytes = table.at(&[b"co64"])?.content();
        (0..be32(bytes, 4)? as usize).map_while(|i| be64(bytes, 8 + 8 * i)).collect()
    };
    let runs = table.at(&[b"stsc"])?.content();
    let runs: Vec<(usize, u32)> = (0..be32(runs, 4)? as usize)
        .map_while(|i| Some((be32(runs, 8 + 12 * i)? as usize, be32(runs, 12 + 12 * i)?)))
        .collect();
    Some(
        offsets
            .into_iter()
            .enumerate()
            .map(|(i, offset)| {
                let run = runs.iter().rev().find(|(first, _)| *first <= i + 1);
                (offset, run.map_or(1, |(_, n)| (*n).max(1)))
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::{Bx, children};

    #[test]
    fn a_tree_comes_back_byte_for_byte() {
        let tree = Bx::folder(
            *b"moov",
            vec![
                Bx::leaf(*b"mvhd", vec![1; 100]),
                Bx::folder(*b"trak", vec![Bx::leaf(*b"tkhd", vec![2; 84])]),
            ],
        );
        let bytes = tree.bytes();
        assert_eq!(children(&bytes).expect("boxes"), [tree]);
    }

    #[test]
    fn boxes_that_do_not_fit_stay_bytes() {
        let mut bytes = Bx::folder(*b"udta", vec![Bx::leaf(*b"abcd", vec![0; 9])]).bytes();
        bytes[11] = 99;
        let read = children(&bytes).expect("one box");
        assert!(read[0].boxes().is_empty());
        assert_eq!(read[0].bytes(), bytes);
    }
}
