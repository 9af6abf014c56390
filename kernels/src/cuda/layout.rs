//! A trip's memory: operators' data, the frame's window, scratch memory; see [`super::pass`].

use super::error::CudaError;
use super::frame::DeviceFrame;
use super::memory::Buffer;
use super::window::{Part, Window};
use crate::image::{ImageInfo, ImageMut};

/// Everything in the buffers begins at multiples of this, bytes.
pub(super) const ALIGN: usize = 256;

/// Where something lies in the buffer, from its beginning.
pub(super) type Offset = usize;

/// A plane of the window in the buffer.
#[derive(Debug)]
pub(super) struct Plane {
    pub(super) at: Offset,
    pub(super) pitch: usize,
    pub(super) part: Part,
}

/// Where everything lies: operators' data, the window's planes, scratch memory that never crosses the bus.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) planes: Vec<Plane>,
    /// The first byte that comes down.
    pub(super) pixels: Offset,
    /// The first byte that does not go up.
    pub(super) scratch: Offset,
    pub(super) end: Offset,
}

impl Layout {
    /// After `data` bytes; `rest` bytes of scratch memory.
    pub(super) fn of(info: &ImageInfo, window: &Window, data: usize, rest: usize) -> Self {
        let pixels = data.next_multiple_of(ALIGN);
        let mut at = pixels;
        let planes = (0..info.format.planes())
            .map(|index| {
                let part = window.part(info, index);
                let pitch = part.row.next_multiple_of(ALIGN);
                let plane = Plane { at, pitch, part };
                at += pitch * part.rows;
                plane
            })
            .collect();
        Self {
            planes,
            pixels,
            scratch: at,
            end: at + rest,
        }
    }

    /// The window of a frame into the buffer.
    pub(super) fn pack(&self, image: &ImageMut<'_>, to: &mut [u8]) {
        for (plane, from) in self.planes.iter().zip(image.as_image().planes()) {
            let rows = to.get_mut(plane.at..).unwrap_or_default().chunks_mut(plane.pitch);
            for (row, to) in rows.enumerate().take(plane.part.rows) {
                let at = (plane.part.top + row) * from.stride + plane.part.left;
                if let (Some(to), Some(from)) = (to.get_mut(..plane.part.row), from.data.get(at..at + plane.part.row)) {
                    to.copy_from_slice(from);
                }
            }
        }
    }

    /// The window of a frame that is on the device into a buffer there.
    pub(super) fn fetch(&self, frame: &DeviceFrame, to: &mut Buffer<u8>) -> Result<(), CudaError> {
        let (from, planes) = frame.planes();
        for (plane, source) in self.planes.iter().zip(planes) {
            let part = &plane.part;
            let at = source.at + part.top * source.pitch + part.left;
            to.copy_rows((plane.at, plane.pitch), from, (at, source.pitch), part.row, part.rows)?;
        }
        Ok(())
    }

    /// And back.
    pub(super) fn unpack(&self, from: &[u8], image: &mut ImageMut<'_>) {
        for (plane, to) in self.planes.iter().zip(image.planes_mut()) {
            let rows = from.get(plane.at..).unwrap_or_default().chunks(plane.pitch);
            for (row, from) in rows.enumerate().take(plane.part.rows) {
                let at = (plane.part.top + row) * to.stride + plane.part.left;
                if let (Some(to), Some(from)) = (to.data.get_mut(at..at + plane.part.row), from.get(..plane.part.row)) {
                    to.copy_from_slice(from);
                }
            }
        }
    }
}
