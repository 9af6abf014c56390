//! Arguments of the CUDA kernels, laid out as `cuda/*.cu` declares them.
//!
//! Addresses are plain 64-bit numbers, of the device or, behind the host shim, of the processor: nothing
//! here reads through them. Geometry is checked by the same rules as the plain definitions; that buffers
//! are as long as their geometry says is the launching side's to see to.

mod cover;
mod face;
mod latents;
mod paint;

use super::padded::MaskAt;
use super::window::Window;
use crate::KernelError;
use crate::affine::Affine;
use crate::blend::check_rect;
use crate::color::Coder;
use crate::crop::device_map;
use crate::image::{ImageInfo, MAX_SIDE_PX};
use crate::packing::{Depth, Packing};
use crate::taps::tap_count;
use crate::tile::{MAX_TILE_TAPS, check_map};

pub use cover::{Axis, CoverArgs, CoverMode};
pub use face::{FEW_PAINTED, FinishArgs, FinishedFace, MOST_TRIANGLES, PaintArgs, PaintedFace};
pub(crate) use face::{POINT, TRIANGLE};
pub use latents::{EditArgs, EditFace, FEW_FACES, FEW_WARPED, WarpArgs, WarpFace};
pub use paint::{FEW_PAINTS, MatchArgs, PaintFace};

/// Threads a block of kernels that run over pixels.
pub const PIXEL_BLOCK: [u32; 3] = [32, 8, 1];
/// Tiles begin at columns of a multiple of this, px.
const TILE_COLUMN: i32 = 32;
/// Threads a block of kernels that run over elements or cells.
pub const LINE_BLOCK: [u32; 3] = [256, 1, 1];

/// One colour component of a frame.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Component {
    base: u64,
    stride: i32,
    offset: i32,
    step: i32,
    shift_x: i32,
    shift_y: i32,
    spare: i32,
}

/// A frame.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Frame {
    c: [Component; 3],
    width: i32,
    height: i32,
    depth: i32,
    max_code: i32,
    even: i32,
    wide: i32,
    decode: [[f32; 4]; 3],
    encode: [[f32; 4]; 3],
}

impl Frame {
    /// A frame whose planes lie at `(address, bytes a row)`.
    ///
    /// # Errors
    /// [`KernelError::Argument`]: size, number of planes, a stride shorter than a row, a null plane.
    pub fn new(info: &ImageInfo, planes: &[(u64, usize)]) -> Result<Self, KernelError> {
        Self::of_window(info, &Window::whole(info), planes)
    }

    /// A frame of which only a window is there: planes hold the window's rows, and nothing else of the frame
    /// may be touched. Planes begin where the whole frame's would, so that positions stay the frame's.
    ///
    /// # Errors
    /// As [`Self::new`], by the window's rows.
    pub fn of_window(info: &ImageInfo, window: &Window, planes: &[(u64, usize)]) -> Result<Self, KernelError> {
        let op = "cuda::Frame";
        let argument = |what, expected: String, got: String| Err(KernelError::Argument { op, what, expected, got });
        let side = 1..=MAX_SIDE_PX;
        if !side.contains(&info.width) || !side.contains(&info.height) {
            return argument(
                "size",
                format!("1..={MAX_SIDE_PX} px a side"),
                format!("{}x{}", info.width, info.height),
            );
        }
        if planes.len() != info.format.planes() {
            return argument("planes", info.format.planes().to_string(), planes.len().to_string());
        }
        for (index, &(base, stride)) in planes.iter().enumerate() {
            let row = window.part(info, index).row;
            if base == 0 || stride < row || stride > i32::MAX as usize {
                return argument(
                    "plane",
                    format!("an address and a stride of {row} or more"),
                    format!("{base:#x}, {stride}"),
                );
            }
        }
        let at = |plane: usize| {
            let (base, stride) = planes.get(plane).copied().unwrap_or_default();
            (window.part(info, plane).frame_base(base, stride), stride)
        };
        let (packing, coder) = (Packing::of(info.format), Coder::new(info));
        let component = |c: &crate::packing::Component| {
            let (base, stride) = at(c.plane);
            Component {
                base,
                stride: stride as i32,
                offset: c.offset as i32,
                step: c.step as i32,
                shift_x: c.shift_x as i32,
                shift_y: c.shift_y as i32,
                spare: 0,
            }
        };
        let [a, b, c] = &packing.components;
        Ok(Self {
            c: [component(a), component(b), component(c)],
            width: info.width as i32,
            height: info.height as i32,
            depth: match packing.depth {
                Depth::U8 => 0,
                Depth::High10 => 1,
                Depth::Low10 => 2,
            },
            max_code: i32::from(packing.depth.max_code()),
            even: i32::from(
                planes
                    .iter()
                    .all(|&(base, stride)| base.is_multiple_of(2) && stride.is_multiple_of(2)),
            ),
            wide: 0,
            decode: *coder.decode_rows(),
            encode: *coder.encode_rows(),
        })
    }
}

impl Frame {
    /// Tells that every row's bytes may be read up to its stride, so that rows can be read sixteen bytes at a
    /// time where they begin and end on such borders.
    #[must_use]
    pub fn with_whole_rows(mut self) -> Self {
        let aligned = |c: &Component| c.base.is_multiple_of(16) && c.stride % 16 == 0;
        self.wide = i32::from(self.c.iter().all(aligned));
        self
    }
}

/// A mask's rectangle and its alpha.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Mask {
    alpha: u64,
    x: i32,
    y: i32,
    width: i32,
    height: i32,
    left: i32,
    stride: i32,
}

impl Mask {
    fn new(op: &'static str, info: &ImageInfo, at: MaskAt) -> Result<Self, KernelError> {
        let rect = at.rect;
        check_rect(op, rect, info.width, info.height)?;
        Ok(Self {
            alpha: at.alpha,
            x: rect.x,
            y: rect.y,
            width: rect.width as i32,
            height: rect.height as i32,
            left: at.left,
            stride: at.stride,
        })
    }

    /// Blocks over the tiles of a mask (`cuda/tile.cuh`); `None` where it is empty.
    fn grid(&self, frame: &Frame) -> Option<[u32; 3]> {
        let coarse = &frame.c[1];
        let side = |start: i32, end: i32, shift: i32| (((end + (1 << shift) - 1) >> shift) - (start >> shift)) as u32;
        let across = side(self.x & !(TILE_COLUMN - 1), self.x + self.width, coarse.shift_x);
        let down = side(self.y, self.y + self.height, coarse.shift_y);
        (self.width > 0 && self.height > 0).then(|| [across.div_ceil(PIXEL_BLOCK[0]), down.div_ceil(PIXEL_BLOCK[1]), 1])
    }
}

/// Most maps that travel in the argument itself.
pub const FEW_MAPS: usize = 16;

/// One face of [`CropArgs`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CropMap {
    /// Block px from crop px.
    pub(crate) m: [f32; 6],
    pub(crate) block: i32,
    pub(crate) nx: i32,
    pub(crate) ny: i32,
    pub(crate) spare: i32,
}

impl CropMap {
    /// From the map of a crop to the frame.
    ///
    /// # Errors
    /// [`KernelError::Argument`] for a map that [`crate::crop`] refuses.
    pub fn new(frame_from_crop: &Affine) -> Result<Self, KernelError> {
        check_map("cuda::CropMap", "frame_from_crop", frame_from_crop)?;
        Ok(device_map(frame_from_crop))
    }
}

/// Arguments of `crop_affine`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CropArgs {
    /// Frame.
    pub frame: Frame,
    /// Address of one [`CropMap`] a face; 0 = they are in `few`.
    pub maps: u64,
    /// Address of the output.
    pub out: u64,
    /// Width of a crop, px.
    pub width: i32,
    /// Height of a crop, px.
    pub height: i32,
    /// Number of faces.
    pub faces: i32,
    /// 1 = blue first.
    pub bgr: i32,
    /// 1 = half floats.
    pub half: i32,
    /// 1 = channels last.
    pub interleaved: i32,
    /// Factor of values 0..=255.
    pub scale: f32,
    /// Added after the factor.
    pub bias: f32,
    /// The maps where `maps` is 0: so few need no copy of their own.
    pub few: [CropMap; FEW_MAPS],
}

/// Arguments of `composite`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct CompositeArgs {
    frame: Frame,
    mask: Mask,
    crop: u64,
    width: i32,
    height: i32,
    nx: i32,
    ny: i32,
    adds: i32,
    spare: i32,
    m: [f32; 6],
}

impl CompositeArgs {
    /// A crop of RGB bytes at `crop`, or of RGB differences (`f32`) where `adds`.
    ///
    /// # Errors
    /// [`KernelError::Argument`] as [`crate::composite`] has it for rectangle, size and map.
    pub fn new(
        (info, frame): (&ImageInfo, Frame),
        mask: impl Into<MaskAt>,
        (crop, width, height): (u64, usize, usize),
        crop_from_frame: &Affine,
        adds: bool,
    ) -> Result<Self, KernelError> {
        let op = "cuda::CompositeArgs";
        let mask = Mask::new(op, info, mask.into())?;
        let side = 1..=MAX_SIDE_PX as usize;
        if !side.contains(&width) || !side.contains(&height) {
            return Err(KernelError::Argument {
                op,
                what: "crop size",
                expected: format!("1..={MAX_SIDE_PX} px a side"),
                got: format!("{width}x{height}"),
            });
        }
        check_map(op, "crop_from_frame", crop_from_frame)?;
        let [a, b, _, d, e, _] = crop_from_frame.m;
        Ok(Self {
            frame,
            mask,
            crop,
            width: width as i32,
            height: height as i32,
            nx: tap_count(a.hypot(d), MAX_TILE_TAPS) as i32,
            ny: tap_count(b.hypot(e), MAX_TILE_TAPS) as i32,
            adds: i32::from(adds),
            spare: 0,
            m: crop_from_frame.m,
        })
    }
}

impl CompositeArgs {
    /// Blocks of a launch; `None` where the rectangle is empty.
    #[must_use]
    pub fn grid(&self) -> Option<[u32; 3]> {
        self.mask.grid(&self.frame)
    }
}

/// Arguments of `weight_mask`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct WeightArgs {
    /// Address of `side * side` weights, `f32`.
    pub weights: u64,
    /// Address of the mask, `stride * height` bytes.
    pub alpha: u64,
    /// Side of the square.
    pub side: i32,
    /// Left edge of the rectangle, frame px.
    pub x: i32,
    /// Top edge.
    pub y: i32,
    /// Its width.
    pub width: i32,
    /// Its height.
    pub height: i32,
    /// Column of a row's first byte.
    pub left: i32,
    /// Bytes a row.
    pub stride: i32,
    /// Unused.
    pub spare: i32,
    /// Square px from frame px.
    pub m: [f32; 6],
}

impl WeightArgs {
    /// Weights of a square (`side * side` of them at `weights`) as a mask at an address.
    #[must_use]
    pub fn new(mask: MaskAt, (weights, side): (u64, usize), square_from_frame: &Affine) -> Self {
        let rect = mask.rect;
        Self {
            weights,
            alpha: mask.alpha,
            side: side as i32,
            x: rect.x,
            y: rect.y,
            width: rect.width as i32,
            height: rect.height as i32,
            left: mask.left,
            stride: mask.stride,
            spare: 0,
            m: square_from_frame.m,
        }
    }

    /// Blocks of a launch.
    #[must_use]
    pub fn grid(&self) -> [u32; 3] {
        [
            (self.stride as u32).div_ceil(PIXEL_BLOCK[0]),
            (self.height as u32).div_ceil(PIXEL_BLOCK[1]),
            1,
        ]
    }
}
