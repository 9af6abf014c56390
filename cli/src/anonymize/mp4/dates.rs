//! Clears the dates that muxers write into MPEG-4 and QuickTime files on their own: when the file
//! was made says when somebody sat down to hide a face, and makes two runs differ. Only the boxes
//! `moov/{mvhd, trak/{tkhd, mdia/mdhd}}` are touched, in place; sizes stay.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::Path;

/// Boxes that hold other boxes on the way to a date.
const FOLDERS: [&[u8; 4]; 3] = [b"moov", b"trak", b"mdia"];
/// Boxes that begin with version, flags and two dates.
const DATED: [&[u8; 4]; 3] = [b"mvhd", b"tkhd", b"mdhd"];

/// Sets every creation and modification date of a file to zero, "not known".
///
/// # Errors
/// The file cannot be read or written, or its boxes do not fit into each other.
pub(crate) fn clear(path: &Path) -> Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let end = file.seek(SeekFrom::End(0))?;
    if walk(&mut file, 0, end)? == 0 {
        Err(Error::new(ErrorKind::InvalidData, "no dated box in it"))
    } else {
        Ok(())
    }
}

/// Clears the dates between two offsets; returns how many boxes had some.
fn walk<F: Read + Write + Seek>(file: &mut F, from: u64, to: u64) -> Result<usize> {
    let mut at = from;
    let mut cleared = 0;
    while at + 8 <= to {
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0u8; 16];
        file.read_exact(&mut head[..8])?;
        let short = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let name = [head[4], head[5], head[6], head[7]];
        let (size, header) = match short {
            0 => (to - at, 8),
            1 => {
                file.read_exact(&mut head[8..])?;
                (
                    u64::from_be_bytes([head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15]]),
                    16,
                )
            }
            n => (u64::from(n), 8),
        };
        let next = at.checked_add(size).filter(|n| size >= header && *n <= to);
        let next = next.ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("box at byte {at}: {size} bytes do not fit")))?;
        if FOLDERS.contains(&&name) {
            cleared += walk(file, at + header, next)?;
        } else if DATED.contains(&&name) {
            let mut version = [0u8; 1];
            file.read_exact(&mut version)?;
            let dates = if version[0] == 1 { 16 } else { 8 };
            if size < header + 4 + dates {
                return Err(Error::new(
                    ErrorKind::InvalidData,
                    format!("box at byte {at}: too short for its dates"),
                ));
            }
            file.seek(SeekFrom::Start(at + header + 4))?;
            file.write_all(&[0u8; 16][..dates as usize])?;
            cleared += 1;
        }
        at = next;
    }
    Ok(cleared)
}

#[cfg(test)]
mod tests {
    use super::walk;
    use std::io::Cursor;

    fn boxed(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len() + 8).expect("small");
        [&size.to_be_bytes()[..], name, body].concat()
    }

    #[test]
    fn dates_of_both_versions_are_cleared_and_nothing_else() {
        let old = boxed(b"mvhd", &[[0, 0, 0, 0].as_slice(), &[7; 8], &[9; 4]].concat());
        let new = boxed(b"mdhd", &[[1, 0, 0, 0].as_slice(), &[7; 16], &[9; 4]].concat());
        let film = [
            boxed(b"mdat", b"mvhd7777"),
            boxed(b"moov", &[old, boxed(b"trak", &boxed(b"mdia", &new))].concat()),
        ]
        .concat();
        let mut file = Cursor::new(film.clone());
        assert_eq!(walk(&mut file, 0, film.len() as u64).expect("well formed"), 2);
        let after = file.into_inner();
        assert_eq!(after.len(), film.len());
        let changed = film.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 8 + 16);
        assert!(after.windows(8).any(|w| w == b"mvhd7777") && !after.windows(8).any(|w| w == [7; 8]));
    }

    #[test]
    fn a_box_larger_than_its_parent_is_an_error() {
        let mut film = boxed(b"moov", &boxed(b"mvhd", &[0; 20]));
        film[11] = 0xff;
        let end = film.len() as u64;
        assert!(walk(&mut Cursor::new(film), 0, end).is_err());
    }
}
