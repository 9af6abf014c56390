//! The part of a frame that treatment touches: what goes up, is worked on and comes down.
//!
//! | | |
//! |---|---|
//! | around | the rectangles of all masks, so that every sample that an operator reads or writes lies inside |
//! | begins | at columns of a multiple of [`COLUMN`] px and even rows: whole chroma samples, rows on 16-byte borders |
//! | ends | at even columns and rows, or with the frame |
//!
//! Why not the whole frame: nothing outside the masks may change, so it need not cross the bus.

use crate::image::ImageInfo;
use crate::mask::Rect;

/// Columns begin at multiples of this, px: 16 bytes in every format, also where three bytes make a pixel.
const COLUMN: u32 = 64;

/// A part of a frame, px.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Left edge.
    x: u32,
    /// Top edge.
    y: u32,
    width: u32,
    height: u32,
}

/// A window's part of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Bytes of a row.
    pub(super) row: usize,
    /// Rows.
    pub(super) rows: usize,
    /// First byte of a row in the frame.
    pub(super) left: usize,
    /// First row in the frame.
    pub(super) top: usize,
}

impl Part {
    /// Where the frame's plane would begin if all of it were there. Never read or written below the window.
    pub(super) fn frame_base(&self, base: u64, stride: usize) -> u64 {
        base.wrapping_sub((self.top * stride + self.left) as u64)
    }
}

impl Window {
    /// All of a frame.
    #[must_use]
    pub fn whole(info: &ImageInfo) -> Self {
        Self {
            x: 0,
            y: 0,
            width: info.width,
            height: info.height,
        }
    }

    /// Around rectangles that lie inside the frame; `None` where none has a pixel.
    #[must_use]
    pub fn around(info: &ImageInfo, rects: impl Iterator<Item = Rect>) -> Option<Self> {
        let inside = |v: i64, side: u32| v.clamp(0, i64::from(side)) as u32;
        let hull = rects
            .filter(|r| r.width > 0 && r.height > 0)
            .map(|r| {
                let (x, y) = (i64::from(r.x), i64::from(r.y));
                let (right, bottom) = (x + i64::from(r.width), y + i64::from(r.height));
                [
                    inside(x, info.width),
                    inside(y, info.height),
                    inside(right, info.width),
                    inside(bottom, info.height),
                ]
            })
            .reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])])?;
        let (x, y) = (hull[0] / COLUMN * COLUMN, hull[1] / 2 * 2);
        let (right, bottom) = (
            hull[2].next_multiple_of(2).min(info.width),
            hull[3].next_multiple_of(2).min(info.height),
        );
        (right > x && bottom > y).then(|| Self {
            x,
            y,
            width: right - x,
            height: bottom - y,
        })
    }

    /// Left, top, width, height, px.
    #[must_use]
    pub fn rect_px(&self) -> [u32; 4] {
        [self.x, self.y, self.width, self.height]
    }

    /// Its part of a plane.
    pub(super) fn part(&self, info: &ImageInfo, plane: usize) -> Part {
        let (row, rows) = info.format.plane_size(plane, self.width, self.height);
        // Whole chroma samples lie before it, since it begins at even pixels.
        let (left, top) = info.format.plane_size(plane, self.x, self.y);
        Part { row, rows, left, top }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Matrix, PixelFormat, Range};

    #[test]
    fn a_window_holds_every_rectangle_and_begins_on_whole_samples() {
        for format in [PixelFormat::Nv12, PixelFormat::Rgb, PixelFormat::P010Le, PixelFormat::Yuy2] {
            let info = ImageInfo {
                format,
                width: 333,
                height: 111,
                matrix: Matrix::Bt709,
                range: Range::Limited,
            };
            let rect = |x, y, width, height| Rect { x, y, width, height };
            let window = Window::around(&info, [rect(70, 5, 9, 3), rect(200, 40, 133, 71), rect(0, 0, 0, 9)].into_iter()).expect("pixels");
            assert_eq!(window.rect_px(), [64, 4, 269, 107], "{format:?}");
            for plane in 0..format.planes() {
                let (part, (row, rows)) = (window.part(&info, plane), format.plane_size(plane, 333, 111));
                assert_eq!(
                    (part.left + part.row, part.top + part.rows),
                    (row, rows),
                    "{format:?}: ends with the frame"
                );
                assert_eq!(part.left % 16, 0, "{format:?}");
            }
            assert_eq!(Window::around(&info, std::iter::empty()), None);
            let whole = Window::whole(&info);
            assert_eq!(whole.part(&info, 0).frame_base(4096, 512), 4096);
        }
    }
}
