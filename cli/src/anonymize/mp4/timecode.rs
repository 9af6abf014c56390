//! The timecode track of QuickTime and MPEG-4: which hour, minute, second and frame the first frame
//! is. Editors conform cuts by it. It has one sample, the number of the first frame.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;

use super::boxes::{Bx, be32, kind, samples, timescale, track_id};

/// What a timecode track says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timecode {
    /// Number of the first frame.
    pub(super) sample: [u8; 4],
    /// Sample description: rate, frames a second, drop-frame.
    description: Vec<u8>,
    /// Units per second of the track.
    scale: u32,
}

/// Reads the first timecode track.
pub(super) fn read(moov: &Bx, path: &Path) -> Option<Timecode> {
    let trak = moov.boxes().iter().find(|t| &t.name == b"trak" && kind(t) == Some(b"tmcd"))?;
    let first = samples(trak, path, 1)?.into_iter().next()?.1;
    Some(Timecode {
        sample: first.get(..4)?.try_into().ok()?,
        description: plain(trak.at(&[b"mdia", b"minf", b"stbl", b"stsd"])?.content())?,
        scale: timescale(trak)?,
    })
}

/// The description without what may follow it: the name of the reel says where it was shot.
fn plain(stsd: &[u8]) -> Option<Vec<u8>> {
    const ENTRY: usize = 34;
    let entry = stsd.get(8..8 + ENTRY).filter(|e| &e[4..8] == b"tmcd")?;
    let mut kept = vec![0, 0, 0, 0, 0, 0, 0, 1];
    kept.extend((ENTRY as u32).to_be_bytes());
    kept.extend(&entry[4..]);
    Some(kept)
}

/// Adds a timecode track whose sample lies at `offset`, and lets the picture refer to it.
///
/// # Errors
/// The film has no header or no picture.
pub(super) fn write(moov: &mut Bx, timecode: &Timecode, offset: u64) -> Result<()> {
    let broken = |what: &str| Error::new(ErrorKind::InvalidData, format!("it has no {what}"));
    let head = moov.at(&[b"mvhd"]).ok_or_else(|| broken("header"))?.content();
    let wide = head.first() == Some(&1);
    let movie_scale = be32(head, if wide { 20 } else { 12 }).ok_or_else(|| broken("timescale"))?;
    let length = if wide {
        super::boxes::be64(head, 24)
    } else {
        be32(head, 16).map(u64::from)
    };
    let length = length.ok_or_else(|| broken("length"))?;
    let id = moov.boxes().iter().filter_map(track_id).max().unwrap_or(0) + 1;
    let units = u128::from(length) * u128::from(timecode.scale) / u128::from(movie_scale.max(1));
    let offset = u32::try_from(offset);

    let picture = moov
        .all_mut(*b"trak")
        .into_iter()
        .find(|t| kind(t) == Some(b"vide"))
        .ok_or_else(|| broken("picture"))?;
    let reference = Bx::leaf(*b"tmcd", id.to_be_bytes().to_vec());
    match picture.at_mut(&[b"tref"]) {
        Some(folder) => folder.push(reference),
        None => picture.push(Bx::folder(*b"tref", vec![reference])),
    }
    let place = match offset {
        Ok(short) => Bx::leaf(*b"stco", [one(), short.to_be_bytes()].concat_with_head()),
        Err(_) => {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "it is larger than 4 GiB, where no timecode can be added",
            ));
        }
    };
    moov.push(track(
        timecode,
        id,
        length.min(u64::from(u32::MAX)) as u32,
        units.min(u128::from(u32::MAX)) as u32,
        place,
    ));
    if let Some(head) = moov.at_mut(&[b"mvhd"]).and_then(Bx::content_mut)
        && let Some(next) = head.len().checked_sub(4)
    {
        head.splice(next.., (id + 1).to_be_bytes());
    }
    Ok(())
}

const fn one() -> [u8; 4] {
    1u32.to_be_bytes()
}

/// Version and flags of zero before a list of words.
trait WithHead {
    fn concat_with_head(self) -> Vec<u8>;
}

impl<const N: usize> WithHead for [[u8; 4]; N] {
    fn concat_with_head(self) -> Vec<u8> {
        [[0u8; 4].as_slice(), self.concat().as_slice()].concat()
    }
}

fn track(timecode: &Timecode, id: u32, length: u32, units: u32, place: Bx) -> Bx {
    let word = u32::to_be_bytes;
    let matrix = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30].map(word).concat();
    // Enabled and in the film; dates not known.
    let mut tkhd = [
        word(3),
        word(0),
        word(0),
        word(id),
        word(0),
        word(length),
        word(0),
        word(0),
        word(0),
        word(0),
    ]
    .concat();
    tkhd.extend(matrix);
    tkhd.extend([0u8; 8]);
    let mdhd = [word(0), word(0), word(timecode.scale), word(units), word(0x55c4_0000)].concat_with_head();
    let hdlr = [word(0), *b"tmcd", word(0), word(0), word(0), word(0)].concat_with_head();
    let gmin = [word(0x0040_8000), word(0x8000_8000), word(0)].concat_with_head();
    let tcmi = [word(0), word(0x000c_0000), word(0), word(0xffff_ffff), word(0xffff_0000)].concat_with_head();
    let dref = [word(1), word(12), *b"url ", word(1)].concat_with_head();
    let table = vec![
        Bx::leaf(*b"stsd", timecode.description.clone()),
        Bx::leaf(*b"stts", [word(1), word(1), word(units)].concat_with_head()),
        Bx::leaf(*b"stsc", [word(1), word(1), word(1), word(1)].concat_with_head()),
        Bx::leaf(*b"stsz", [word(4), word(1)].concat_with_head()),
        place,
    ];
    let media = vec![
        Bx::folder(
            *b"gmhd",
            vec![
                Bx::leaf(*b"gmin", gmin),
                Bx::folder(*b"tmcd", vec![Bx::leaf(*b"tcmi", [tcmi, vec![0]].concat())]),
            ],
        ),
        Bx::folder(*b"dinf", vec![Bx::leaf(*b"dref", dref)]),
        Bx::folder(*b"stbl", table),
    ];
    Bx::folder(
        *b"trak",
        vec![
            Bx::leaf(*b"tkhd", tkhd),
            Bx::folder(
                *b"mdia",
                vec![
                    Bx::leaf(*b"mdhd", mdhd),
                    Bx::leaf(*b"hdlr", [hdlr, vec![0]].concat()),
                    Bx::folder(*b"minf", media),
                ],
            ),
        ],
    )
}
