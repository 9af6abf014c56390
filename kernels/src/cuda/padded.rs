//! Masks as a device has them: rows on 16-byte borders of the frame's columns, so that a chunk of a frame's row wants
//! one chunk of mask.
//!
//! | | |
//! |---|---|
//! | begins | at the column of a multiple of [`CHUNK`] px at or before the rectangle |
//! | row | bytes to a multiple of [`CHUNK`]; 0 beside the rectangle |
//! | packed | rows of the rectangle alone also fit the kernels, and are read byte by byte |

use crate::mask::{Rect, RegionMask};

/// Bytes of a wide access.
const CHUNK: usize = 16;

/// Where a mask lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskAt {
    pub(super) rect: Rect,
    pub(super) alpha: u64,
    pub(super) left: i32,
    pub(super) stride: i32,
}

impl MaskAt {
    /// Rows of the rectangle, one after the other, from an address on.
    #[must_use]
    pub fn packed(rect: Rect, alpha: u64) -> Self {
        Self {
            rect,
            alpha,
            left: rect.x,
            stride: rect.width as i32,
        }
    }

    /// Rows on 16-byte borders, as [`pad`] makes them.
    #[must_use]
    pub fn padded(rect: Rect, alpha: u64) -> Self {
        let (left, stride) = padding(rect);
        Self {
            rect,
            alpha,
            left: left as i32,
            stride: stride as i32,
        }
    }
}

impl From<(Rect, u64)> for MaskAt {
    fn from((rect, alpha): (Rect, u64)) -> Self {
        Self::packed(rect, alpha)
    }
}

/// First column and bytes a row; rectangles lie inside a frame.
fn padding(rect: Rect) -> (usize, usize) {
    let x = rect.x.max(0) as usize;
    let left = x / CHUNK * CHUNK;
    (left, (x - left + rect.width as usize).next_multiple_of(CHUNK))
}

/// Bytes of a padded mask.
#[must_use]
pub fn padded_bytes(rect: Rect) -> usize {
    padding(rect).1 * rect.height as usize
}

/// Writes a mask's padded rows.
pub fn pad(mask: &RegionMask, to: &mut [u8]) {
    let (left, stride) = padding(mask.rect());
    let lead = mask.x.max(0) as usize - left;
    let rows = mask.alpha.chunks_exact((mask.width as usize).max(1));
    for (from, to) in rows.zip(to.chunks_exact_mut(stride.max(1))) {
        to.fill(0);
        if let Some(to) = to.get_mut(lead..lead + from.len()) {
            to.copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_begin_on_borders_and_hold_nothing_beside_the_mask() {
        for (x, width, left, stride) in [(0, 16, 0, 16), (0, 17, 0, 32), (15, 1, 0, 16), (15, 2, 0, 32), (33, 40, 32, 48)] {
            let mask = RegionMask {
                x,
                y: 2,
                width,
                height: 3,
                alpha: (1..=3 * width as u8).collect(),
            };
            let at = MaskAt::padded(mask.rect(), 256);
            assert_eq!((at.left, at.stride), (left, stride));
            let mut to = vec![77; padded_bytes(mask.rect())];
            pad(&mask, &mut to);
            for (row, bytes) in to.chunks_exact(stride as usize).enumerate() {
                for (i, byte) in bytes.iter().enumerate() {
                    assert_eq!(i32::from(*byte), i32::from(mask.alpha_at((left + i as i32).into(), 2 + row as i64)));
                }
            }
            assert_eq!(to.len(), 3 * stride as usize);
        }
    }
}
