//! A frame on a device: its planes in one buffer, rows on borders that wide accesses want.

use super::args::Frame;
use super::error::{CudaError, check};
use super::memory::{Buffer, Gpu};
use crate::image::{Image, ImageInfo, ImageMut};

/// Planes and rows begin at multiples of so many bytes.
const PITCH: usize = 256;

/// Where a plane lies in the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plane {
    /// First byte.
    pub(super) at: usize,
    /// Bytes from row to row.
    pub(super) pitch: usize,
    row: usize,
    rows: usize,
}

/// The planes of a frame one after the other, and their bytes in all.
fn layout(info: &ImageInfo) -> (Vec<Plane>, usize) {
    let mut at = 0;
    let planes = (0..info.format.planes()).map(|index| {
        let (row, rows) = info.format.plane_size(index, info.width, info.height);
        let pitch = row.next_multiple_of(PITCH);
        let plane = Plane { at, pitch, row, rows };
        at += pitch * rows;
        plane
    });
    let planes = planes.collect();
    (planes, at)
}

/// Bytes that a frame takes on a device.
#[must_use]
pub(super) fn device_bytes(info: &ImageInfo) -> usize {
    layout(info).1
}

/// A frame's rows, as a buffer has them.
pub(super) fn pack(image: &Image<'_>, to: &mut [u8]) {
    for (plane, from) in layout(image.info()).0.iter().zip(image.planes()) {
        let rows = to.get_mut(plane.at..).unwrap_or_default().chunks_mut(plane.pitch);
        for (to, from) in rows.take(plane.rows).zip(from.data.chunks(from.stride)) {
            if let (Some(to), Some(from)) = (to.get_mut(..plane.row), from.get(..plane.row)) {
                to.copy_from_slice(from);
            }
        }
    }
}

/// A frame on a device.
#[derive(Debug)]
pub struct DeviceFrame {
    info: ImageInfo,
    planes: Vec<Plane>,
    buffer: Buffer<u8>,
}

impl DeviceFrame {
    /// Uploads a frame, once.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn upload(gpu: &Gpu, image: &Image<'_>) -> Result<Self, CudaError> {
        image.here("cuda::DeviceFrame::upload")?;
        let mut packed = vec![0; device_bytes(image.info())];
        pack(image, &mut packed);
        Self::of_packed(gpu, image.info(), &packed)
    }

    /// Uploads a frame whose rows were packed.
    pub(super) fn of_packed(gpu: &Gpu, info: &ImageInfo, packed: &[u8]) -> Result<Self, CudaError> {
        let (planes, bytes) = layout(info);
        check("cuda::DeviceFrame", "bytes", packed.len() == bytes, bytes, packed.len())?;
        Ok(Self {
            info: *info,
            planes,
            buffer: gpu.upload(packed)?,
        })
    }

    /// A frame of unknown content, for who writes every pixel before it is read.
    pub(super) fn unfilled(gpu: &Gpu, info: &ImageInfo) -> Result<Self, CudaError> {
        let (planes, bytes) = layout(info);
        Ok(Self {
            info: *info,
            planes,
            buffer: gpu.unfilled(bytes)?,
        })
    }

    /// Geometry and colour.
    #[must_use]
    pub fn info(&self) -> &ImageInfo {
        &self.info
    }

    /// The planes in their buffer.
    pub(super) fn planes(&self) -> (&Buffer<u8>, &[Plane]) {
        (&self.buffer, &self.planes)
    }

    /// Reads the frame back; row padding of `image` stays. Waits once.
    ///
    /// # Errors
    /// Another geometry, [`CudaError`]; `image` is then untouched.
    pub fn read_back(&self, image: &mut ImageMut<'_>) -> Result<(), CudaError> {
        check(
            "cuda::DeviceFrame::read_back",
            "frame",
            *image.info() == self.info,
            format!("{:?}", self.info),
            format!("{:?}", image.info()),
        )?;
        let mut packed = vec![0; self.buffer.len()];
        self.buffer.read(&mut packed)?;
        for (plane, to) in self.planes.iter().zip(image.planes_mut()) {
            let rows = packed.get(plane.at..).unwrap_or_default().chunks(plane.pitch);
            for (from, to) in rows.take(plane.rows).zip(to.data.chunks_mut(to.stride)) {
                if let (Some(to), Some(from)) = (to.get_mut(..plane.row), from.get(..plane.row)) {
                    to.copy_from_slice(from);
                }
            }
        }
        Ok(())
    }

    pub(super) fn args(&self, gpu: &Gpu, op: &'static str) -> Result<Frame, CudaError> {
        let base = self.buffer.on(gpu, op, "frame")?;
        let planes: Vec<_> = self.planes.iter().map(|p| (base + p.at as u64, p.pitch)).collect();
        Ok(Frame::new(&self.info, &planes)?.with_whole_rows())
    }
}
