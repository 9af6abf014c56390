//! Where each colour component's samples lie inside a frame's planes.
//!
//! One table serves every operator, so that no operator branches on the format itself: a frame is
//! three components (Y, Cb, Cr or R, G, B), each a plane, a first element, a distance between
//! elements and a subsampling. Alpha and padding bytes belong to no component and so cannot be
//! reached through this table.

use crate::image::{Image, ImageInfo, ImageMut, PixelFormat};

/// How one element is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// One byte.
    U8,
    /// Two bytes, little endian, value in the upper ten bits.
    High10,
    /// Two bytes, little endian, value in the lower ten bits.
    Low10,
}

impl Depth {
    /// Bytes of one element.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::High10 | Self::Low10 => 2,
        }
    }

    /// Largest code.
    pub(crate) const fn max_code(self) -> u16 {
        match self {
            Self::U8 => 255,
            Self::High10 | Self::Low10 => 1023,
        }
    }

    /// Code from stored 16 bits.
    pub(crate) const fn code(self, raw: u16) -> u16 {
        match self {
            Self::U8 => raw,
            Self::High10 => raw >> 6,
            Self::Low10 => raw & 0x3ff,
        }
    }

    /// Stored 16 bits from a code.
    pub(crate) const fn raw(self, code: u16) -> u16 {
        match self {
            Self::U8 | Self::Low10 => code,
            Self::High10 => code << 6,
        }
    }
}

/// One colour component.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Component {
    /// Plane index.
    pub(crate) plane: usize,
    /// First element in a row, elements.
    pub(crate) offset: usize,
    /// From one sample to the next, elements.
    pub(crate) step: usize,
    /// log2 of the horizontal subsampling.
    pub(crate) shift_x: u32,
    /// log2 of the vertical subsampling.
    pub(crate) shift_y: u32,
}

impl Component {
    /// Samples in a row, and rows.
    pub(crate) fn size(&self, info: &ImageInfo) -> (usize, usize) {
        let (w, h) = (info.width as usize, info.height as usize);
        (w.div_ceil(1 << self.shift_x), h.div_ceil(1 << self.shift_y))
    }
}

/// All components of a format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packing {
    /// Storage of every element.
    pub(crate) depth: Depth,
    /// Y, Cb, Cr or R, G, B.
    pub(crate) components: [Component; 3],
}

impl Packing {
    /// The table's row for a format.
    pub(crate) const fn of(format: PixelFormat) -> Self {
        const fn c(plane: usize, offset: usize, step: usize, shift_x: u32, shift_y: u32) -> Component {
            Component {
                plane,
                offset,
                step,
                shift_x,
                shift_y,
            }
        }
        const fn rgb(r: usize, g: usize, b: usize, step: usize) -> [Component; 3] {
            [c(0, r, step, 0, 0), c(0, g, step, 0, 0), c(0, b, step, 0, 0)]
        }
        let semi = [c(0, 0, 1, 0, 0), c(1, 0, 2, 1, 1), c(1, 1, 2, 1, 1)];
        let planar = [c(0, 0, 1, 0, 0), c(1, 0, 1, 1, 1), c(2, 0, 1, 1, 1)];
        let (depth, components) = match format {
            PixelFormat::Nv12 => (Depth::U8, semi),
            PixelFormat::P010Le => (Depth::High10, semi),
            PixelFormat::I420 => (Depth::U8, planar),
            PixelFormat::I42010Le => (Depth::Low10, planar),
            PixelFormat::Yuy2 => (Depth::U8, [c(0, 0, 2, 0, 0), c(0, 1, 4, 1, 0), c(0, 3, 4, 1, 0)]),
            PixelFormat::Rgba | PixelFormat::Rgbx => (Depth::U8, rgb(0, 1, 2, 4)),
            PixelFormat::Bgra | PixelFormat::Bgrx => (Depth::U8, rgb(2, 1, 0, 4)),
            PixelFormat::Rgb => (Depth::U8, rgb(0, 1, 2, 3)),
            PixelFormat::Bgr => (Depth::U8, rgb(2, 1, 0, 3)),
        };
        Self { depth, components }
    }

    /// One sample's code, for the plain references; 0 outside the plane.
    pub(crate) fn load(&self, image: &Image<'_>, component: usize, sx: usize, sy: usize) -> u16 {
        let c = &self.components[component];
        let Some(plane) = image.planes().get(c.plane) else {
            return 0;
        };
        let at = sy * plane.stride + (sx * c.step + c.offset) * self.depth.bytes();
        match self.depth {
            Depth::U8 => plane.data.get(at).copied().map_or(0, u16::from),
            _ => match plane.data.get(at..at + 2) {
                Some(&[lo, hi]) => self.depth.code(u16::from_le_bytes([lo, hi])),
                _ => 0,
            },
        }
    }

    /// Writes one sample's code, for the plain references; nothing outside the plane.
    pub(crate) fn store(&self, image: &mut ImageMut<'_>, component: usize, sx: usize, sy: usize, code: u16) {
        let c = &self.components[component];
        let depth = self.depth;
        let Some(plane) = image.planes_mut().get_mut(c.plane) else {
            return;
        };
        let at = sy * plane.stride + (sx * c.step + c.offset) * depth.bytes();
        match depth {
            Depth::U8 => {
                if let Some(byte) = plane.data.get_mut(at) {
                    *byte = code.min(255) as u8;
                }
            }
            _ => {
                if let Some(bytes) = plane.data.get_mut(at..at + 2) {
                    bytes.copy_from_slice(&depth.raw(code.min(1023)).to_le_bytes());
                }
            }
        }
    }
}
