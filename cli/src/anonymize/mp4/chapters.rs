//! Chapters of MPEG-4: the list `chpl` that most players read, and QuickTime's text track.

use std::path::Path;

use super::boxes::{Bx, be32, be64, samples, timescale, track_id};
use crate::film::Chapter;

/// `chpl` counts in 100 ns.
const UNIT_NS: u64 = 100;
/// `chpl` has one byte for the number of chapters, and one for the length of a title.
const MOST: usize = 255;

/// Reads the chapters of a film, in order.
pub(super) fn read(moov: &Bx, path: &Path) -> Vec<Chapter> {
    list(moov).or_else(|| text_track(moov, path)).unwrap_or_default()
}

fn list(moov: &Bx) -> Option<Vec<Chapter>> {
    let bytes = moov.at(&[b"udta", b"chpl"])?.content();
    let mut at = if bytes.first() == Some(&0) { 4 } else { 8 };
    let count = *bytes.get(at)?;
    at += 1;
    let mut chapters = Vec::new();
    for _ in 0..count {
        let start_ns = be64(bytes, at)?.checked_mul(UNIT_NS)?;
        let length = usize::from(*bytes.get(at + 8)?);
        let title = String::from_utf8_lossy(bytes.get(at + 9..at + 9 + length)?).into_owned();
        chapters.push(Chapter { start_ns, title });
        at += 9 + length;
    }
    Some(chapters)
}

fn text_track(moov: &Bx, path: &Path) -> Option<Vec<Chapter>> {
    let named = moov.boxes().iter().find_map(|t| t.at(&[b"tref", b"chap"]))?;
    let id = be32(named.content(), 0)?;
    let trak = moov.boxes().iter().find(|t| &t.name == b"trak" && track_id(t) == Some(id))?;
    let scale = u64::from(timescale(trak)?);
    let mut start = 0u64;
    let mut chapters = Vec::new();
    for (duration, bytes) in samples(trak, path, MOST)? {
        let length = usize::from(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?));
        let title = String::from_utf8_lossy(bytes.get(2..2 + length)?).into_owned();
        let start_ns = u64::try_from(u128::from(start) * 1_000_000_000 / u128::from(scale)).ok()?;
        chapters.push(Chapter { start_ns, title });
        start += u64::from(duration);
    }
    Some(chapters)
}

/// Adds the list; titles are cut at 255 bytes, lists at 255 chapters.
pub(super) fn write(moov: &mut Bx, chapters: &[Chapter]) {
    if chapters.is_empty() {
        return;
    }
    let kept = &chapters[..chapters.len().min(MOST)];
    let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0, kept.len() as u8];
    for chapter in kept {
        let mut end = chapter.title.len().min(MOST);
        while !chapter.title.is_char_boundary(end) {
            end -= 1;
        }
        bytes.extend((chapter.start_ns / UNIT_NS).to_be_bytes());
        bytes.push(end as u8);
        bytes.extend(&chapter.title.as_bytes()[..end]);
    }
    let list = Bx::leaf(*b"chpl", bytes);
    match moov.at_mut(&[b"udta"]) {
        Some(folder) if folder.content().is_empty() => folder.push(list),
        _ => moov.push(Bx::folder(*b"udta", vec![list])),
    }
}

#[cfg(test)]
mod tests {
    use super::{Bx, Chapter, read, write};
    use std::path::Path;

    #[test]
    fn chapters_that_were_written_are_read() {
        let chapters = vec![
            Chapter {
                start_ns: 0,
                title: "Chapter 1".into(),
            },
            Chapter {
                start_ns: 1_200_000_000,
                title: "ä".repeat(200),
            },
        ];
        let mut moov = Bx::folder(*b"moov", Vec::new());
        write(&mut moov, &chapters);
        let got = read(&moov, Path::new("none"));
        assert_eq!(got[0], chapters[0]);
        assert_eq!((got[1].start_ns, got[1].title.as_str()), (1_200_000_000, "ä".repeat(127).as_str()));
    }
}
