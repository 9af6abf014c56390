//! Views of a frame's planes, checked once at construction so that operators need not check again.
//!
//! | format | planes | sample | chroma |
//! |---|---|---|---|
//! | NV12 | Y, UV interleaved | u8 | 2×2 |
//! | I420 | Y, U, V | u8 | 2×2 |
//! | P010_10LE | Y, UV interleaved | u16 LE, value in the upper 10 bits | 2×2 |
//! | I420_10LE | Y, U, V | u16 LE, value in the lower 10 bits | 2×2 |
//! | YUY2 | Y0 U Y1 V | u8 | 2×1 |
//! | RGBA, BGRA, RGBx, BGRx | one, 4 bytes | u8 | – |
//! | RGB, BGR | one, 3 bytes | u8 | – |
//!
//! Odd sizes: chroma planes have `(n + 1) / 2` samples a side.

use crate::KernelError;
use crate::cuda::Resident;

/// Memory layout of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 8-bit 4:2:0, two planes.
    Nv12,
    /// 8-bit 4:2:0, three planes.
    I420,
    /// 10-bit 4:2:0, two planes, samples in the upper bits.
    P010Le,
    /// 10-bit 4:2:0, three planes, samples in the lower bits.
    I42010Le,
    /// 8-bit red, green, blue, alpha.
    Rgba,
    /// 8-bit blue, green, red, alpha.
    Bgra,
    /// 8-bit red, green, blue, padding.
    Rgbx,
    /// 8-bit blue, green, red, padding.
    Bgrx,
    /// 8-bit red, green, blue.
    Rgb,
    /// 8-bit blue, green, red.
    Bgr,
    /// 8-bit 4:2:2, packed.
    Yuy2,
}

impl PixelFormat {
    /// Number of planes.
    #[must_use]
    pub const fn planes(self) -> usize {
        match self {
            Self::Nv12 | Self::P010Le => 2,
            Self::I420 | Self::I42010Le => 3,
            _ => 1,
        }
    }

    /// Whether samples are luma and chroma.
    #[must_use]
    pub const fn is_yuv(self) -> bool {
        matches!(self, Self::Nv12 | Self::I420 | Self::P010Le | Self::I42010Le | Self::Yuy2)
    }

    /// Bytes of payload in one row of a plane, and rows in the plane.
    #[must_use]
    pub const fn plane_size(self, plane: usize, width: u32, height: u32) -> (usize, usize) {
        let (w, h) = (width as usize, height as usize);
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        match (self, plane) {
            (Self::Nv12 | Self::I420, 0) => (w, h),
            (Self::Nv12, _) => (cw * 2, ch),
            (Self::I420, _) => (cw, ch),
            (Self::P010Le | Self::I42010Le, 0) => (w * 2, h),
            (Self::P010Le, _) => (cw * 4, ch),
            (Self::I42010Le, _) => (cw * 2, ch),
            (Self::Yuy2, _) => (cw * 4, h),
            (Self::Rgb | Self::Bgr, _) => (w * 3, h),
            _ => (w * 4, h),
        }
    }
}

/// Y'CbCr matrix. Ignored for RGB formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Matrix {
    /// ITU-R BT.601.
    Bt601,
    /// ITU-R BT.709.
    #[default]
    Bt709,
    /// ITU-R BT.2020, non-constant luminance.
    Bt2020,
}

/// Quantisation range. Ignored for RGB formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Range {
    /// 16–235 luma, 16–240 chroma (times four at 10 bit).
    #[default]
    Limited,
    /// All codes.
    Full,
}

/// Geometry and colour of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageInfo {
    /// Memory layout.
    pub format: PixelFormat,
    /// Width, px.
    pub width: u32,
    /// Height, px.
    pub height: u32,
    /// Y'CbCr matrix.
    pub matrix: Matrix,
    /// Quantisation range.
    pub range: Range,
}

/// Largest side accepted, px: what GStreamer's own formats bound in practice.
pub const MAX_SIDE_PX: u32 = 32_768;

impl ImageInfo {
    /// Bytes that plane `plane` needs at `stride`; the last row may be short of padding.
    fn needed(&self, plane: usize, stride: usize) -> usize {
        let (row, rows) = self.format.plane_size(plane, self.width, self.height);
        if rows == 0 {
            0
        } else {
            stride.saturating_mul(rows - 1).saturating_add(row)
        }
    }

    fn check(&self, op: &'static str, lens: &[(usize, usize)]) -> Result<(), KernelError> {
        let argument = |what, expected: String, got: String| KernelError::Argument { op, what, expected, got };
        if self.width == 0 || self.height == 0 || self.width > MAX_SIDE_PX || self.height > MAX_SIDE_PX {
            return Err(argument(
                "size",
                format!("1..={MAX_SIDE_PX} px a side"),
                format!("{}x{}", self.width, self.height),
            ));
        }
        if lens.len() != self.format.planes() {
            return Err(argument("planes", self.format.planes().to_string(), lens.len().to_string()));
        }
        for (plane, &(got, stride)) in lens.iter().enumerate() {
            let (row, _) = self.format.plane_size(plane, self.width, self.height);
            let needed = self.needed(plane, stride);
            if stride < row || got < needed {
                return Err(KernelError::PlaneTooSmall {
                    op,
                    plane,
                    format: self.format,
                    width: self.width,
                    height: self.height,
                    needed: needed.max(row),
                    stride,
                    got,
                });
            }
        }
        Ok(())
    }
}

/// One plane: bytes and the distance between rows in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// Bytes.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// One plane that may be written.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// Bytes.
    pub data: &'a mut [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// A frame that may be read.
#[derive(Debug, Clone)]
pub struct Image<'a> {
    info: ImageInfo,
    planes: [Plane<'a>; 3],
    resident: Option<&'a Resident>,
}

/// A frame that may be written.
#[derive(Debug)]
pub struct ImageMut<'a> {
    info: ImageInfo,
    planes: [PlaneMut<'a>; 3],
}

impl<'a> Image<'a> {
    /// Checks sizes against the format.
    ///
    /// # Errors
    /// [`KernelError`] names the plane or size that does not fit.
    pub fn new(info: ImageInfo, planes: &[Plane<'a>]) -> Result<Self, KernelError> {
        let mut lens = [(0, 0); 3];
        for (len, plane) in lens.iter_mut().zip(planes) {
            *len = (plane.data.len(), plane.stride);
        }
        info.check("Image::new", lens.get(..planes.len()).unwrap_or(&[]))?;
        let mut all = [Plane { data: &[], stride: 0 }; 3];
        for (to, from) in all.iter_mut().zip(planes) {
            *to = *from;
        }
        Ok(Self {
            info,
            planes: all,
            resident: None,
        })
    }

    /// The same frame, which a device has too or will have: who can read it there need not read it here.
    #[must_use]
    pub fn with_resident(mut self, resident: Option<&'a Resident>) -> Self {
        self.resident = resident;
        self
    }

    /// A frame whose pixels only a device has; operators of the processor refuse it.
    #[must_use]
    pub fn there(resident: &'a Resident) -> Self {
        Self {
            info: *resident.info(),
            planes: [Plane { data: &[], stride: 0 }; 3],
            resident: Some(resident),
        }
    }

    /// Refuses a frame that the processor does not have.
    pub(crate) fn here(&self, op: &'static str) -> Result<(), KernelError> {
        if self.planes().iter().all(|p| !p.data.is_empty()) {
            return Ok(());
        }
        Err(KernelError::Argument {
            op,
            what: "pixels",
            expected: "in the processor's memory".to_owned(),
            got: self
                .resident
                .map_or_else(|| "none".to_owned(), |r| format!("on {}", r.gpu().place())),
        })
    }

    /// The same frame on a device.
    #[must_use]
    pub fn resident(&self) -> Option<&'a Resident> {
        self.resident
    }

    /// Geometry and colour.
    #[must_use]
    pub fn info(&self) -> &ImageInfo {
        &self.info
    }

    /// Width, px.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.info.width
    }

    /// Height, px.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.info.height
    }

    /// The planes of the format, in order.
    #[must_use]
    pub fn planes(&self) -> &[Plane<'a>] {
        &self.planes[..self.info.format.planes()]
    }
}

impl<'a> ImageMut<'a> {
    /// Checks sizes against the format.
    ///
    /// # Errors
    /// [`KernelError`] names the plane or size that does not fit.
    pub fn new(info: ImageInfo, planes: Vec<PlaneMut<'a>>) -> Result<Self, KernelError> {
        let mut lens = [(0, 0); 3];
        for (len, plane) in lens.iter_mut().zip(&planes) {
            *len = (plane.data.len(), plane.stride);
        }
        info.check("ImageMut::new", lens.get(..planes.len()).unwrap_or(&[]))?;
        let mut all = [(); 3].map(|()| PlaneMut { data: &mut [], stride: 0 });
        for (to, from) in all.iter_mut().zip(planes) {
            *to = from;
        }
        Ok(Self { info, planes: all })
    }

    /// Geometry and colour.
    #[must_use]
    pub fn info(&self) -> &ImageInfo {
        &self.info
    }

    /// Width, px.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.info.width
    }

    /// Height, px.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.info.height
    }

    /// The planes of the format, in order.
    pub fn planes_mut(&mut self) -> &mut [PlaneMut<'a>] {
        &mut self.planes[..self.info.format.planes()]
    }

    /// The same frame for reading; what a device may have of it is not attached, since it may have been written since.
    #[must_use]
    pub fn as_image(&self) -> Image<'_> {
        let [a, b, c] = &self.planes;
        Image {
            info: self.info,
            planes: [
                Plane {
                    data: a.data,
                    stride: a.stride,
                },
                Plane {
                    data: b.data,
                    stride: b.stride,
                },
                Plane {
                    data: c.data,
                    stride: c.stride,
                },
            ],
            resident: None,
        }
    }
}
