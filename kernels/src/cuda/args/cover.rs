//! Arguments of `cover_means` and `cover_apply`.

use super::super::padded::MaskAt;
use super::{Frame, Mask};
use crate::KernelError;
use crate::color::Coder;
use crate::cover::device_grids;
use crate::image::ImageInfo;

/// How `cover_apply` covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoverMode {
    /// One colour.
    Solid([u8; 3]),
    /// Cell means as blocks.
    Pixelate(u32),
    /// Cell means, smoothly.
    Blur(u32),
}

/// One axis of a component's cells.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Axis {
    pub(crate) start: i32,
    pub(crate) len: i32,
    pub(crate) cells: i32,
    pub(crate) spare: i32,
}

/// Arguments of `cover_means` and `cover_apply`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CoverArgs {
    frame: Frame,
    mask: Mask,
    means: u64,
    x: [Axis; 3],
    y: [Axis; 3],
    codes: [i32; 3],
    mode: i32,
}

impl CoverArgs {
    /// `means`: address of 192 `u32`.
    ///
    /// # Errors
    /// [`KernelError::Argument`] for a rectangle that leaves the frame.
    pub fn new((info, frame): (&ImageInfo, Frame), mask: impl Into<MaskAt>, means: u64, mode: CoverMode) -> Result<Self, KernelError> {
        let at = mask.into();
        let (rect, mask) = (at.rect, Mask::new("cuda::CoverArgs", info, at)?);
        let (number, cells, rgb) = match mode {
            CoverMode::Solid(rgb) => (0, 1, rgb),
            CoverMode::Pixelate(cells) => (1, cells, [0; 3]),
            CoverMode::Blur(cells) => (2, cells, [0; 3]),
        };
        let (x, y) = device_grids(info, rect, cells);
        Ok(Self {
            frame,
            mask,
            means,
            x,
            y,
            codes: Coder::new(info).encode_codes(rgb).map(i32::from),
            mode: number,
        })
    }
}

impl CoverArgs {
    /// Blocks of `cover_apply`; `None` where the rectangle is empty.
    #[must_use]
    pub fn grid(&self) -> Option<[u32; 3]> {
        self.mask.grid(&self.frame)
    }
}
