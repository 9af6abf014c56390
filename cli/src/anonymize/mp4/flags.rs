//! Which tracks are to be played unasked: the lowest bit of `tkhd`'s flags.

use super::boxes::{Bx, kind, track_id};
use crate::anonymize::streams::{ByNumber, Flags};

/// Byte of `tkhd` that holds the bit.
const ENABLED_AT: usize = 3;
const ENABLED: u8 = 1;

fn is_enabled(trak: &Bx) -> Option<bool> {
    Some(trak.at(&[b"tkhd"])?.content().get(ENABLED_AT)? & ENABLED != 0)
}

/// Flags of all tracks.
pub(super) fn read(moov: &Bx) -> ByNumber {
    let tracks = moov.boxes().iter().filter(|t| &t.name == b"trak");
    let flags = |trak| {
        let flags = Flags {
            default: is_enabled(trak)?,
            ..Flags::AS_MUXED
        };
        Some((u64::from(track_id(trak)?), flags))
    };
    tracks.filter_map(flags).collect()
}

/// Writes those of the tracks, in their order. Of a kind of which no track is to be played, all stay: there are
/// players that would play none.
pub(super) fn write(moov: &mut Bx, tracks: &[Option<Flags>]) {
    let wanted: Vec<_> = tracks.iter().map(|f| f.is_none_or(|f| f.default)).collect();
    let mut boxes = moov.all_mut(*b"trak");
    let kinds: Vec<_> = boxes.iter().map(|t| kind(t).map(<[u8]>::to_vec)).collect();
    let played: Vec<_> = kinds
        .iter()
        .zip(&wanted)
        .filter(|(_, wanted)| **wanted)
        .map(|(kind, _)| kind)
        .collect();
    for ((trak, kind), wanted) in boxes.iter_mut().zip(&kinds).zip(&wanted) {
        if !wanted
            && played.contains(&kind)
            && let Some(flags) = trak.at_mut(&[b"tkhd"]).and_then(Bx::content_mut)
            && let Some(byte) = flags.get_mut(ENABLED_AT)
        {
            *byte &= !ENABLED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bx, Flags, is_enabled, write};

    fn track(kind: [u8; 4]) -> Bx {
        let head = Bx::leaf(*b"tkhd", vec![0, 0, 0, 7, 0, 0, 0, 0]);
        let handler = Bx::leaf(*b"hdlr", [&[0; 8], &kind[..]].concat());
        Bx::folder(*b"trak", vec![head, Bx::folder(*b"mdia", vec![handler])])
    }

    #[test]
    fn the_other_language_is_disabled_and_the_only_subtitles_are_not() {
        let kinds = [*b"vide", *b"soun", *b"soun", *b"sbtl"];
        let mut moov = Bx::folder(*b"moov", kinds.map(track).to_vec());
        let off = Some(Flags {
            default: false,
            forced: false,
        });
        write(&mut moov, &[None, off, Some(Flags::AS_MUXED), off]);
        let enabled: Vec<_> = moov.boxes().iter().filter_map(is_enabled).collect();
        assert_eq!(enabled, [true, false, true, true]);
    }
}
