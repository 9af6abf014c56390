//! A frame's treatment on a device, as one trip: recorded while it is decided, run at the frame's release.
//!
//! | state | what may come |
//! |---|---|
//! | idle | [`Pass::begin`]; operators are refused |
//! | recording | [`Pass::cover`], [`Pass::place`], [`Pass::place_there`]: kept with what they need, the device is not asked |
//! | run | one copy up, the kernels in the order recorded, one copy down, one wait; then idle again, also after an error |
//!
//! | | |
//! |---|---|
//! | goes up | masks and pictures of the operators, unless a picture is there; the frame's [`Window`] around all of them, unless the frame is there ([`super::Resident`]): then it is copied on the device, and the frame stays as it came |
//! | comes down | the window |
//! | memory | one page-locked buffer and one on the device; both grow, both are kept: a steady stream allocates nothing |
//! | order | operators see what those before them left, as on the processor |
//! | errors | [`CudaError`]; the frame is then untouched, which is to say uncovered: the caller covers it |
//!
//! Why recorded: nothing crosses the bus for a frame without faces, two waits become one, and whatever goes
//! wrong goes wrong in one place, before the first pixel has changed.
//! Limits: what reads pixels between two operators must read the frame as it came.

use super::args::{CompositeArgs, CoverArgs, CoverMode, Frame, LINE_BLOCK, PIXEL_BLOCK, WeightArgs};
use super::driver::Grid;
use super::error::{CudaError, check};
use super::face::Shown;
use super::frame::DeviceFrame;
use super::layout::{ALIGN, Layout, Offset};
use super::memory::{Buffer, Gpu};
use super::ops::{COMPOSITE, COVER};
use super::padded::{MaskAt, pad, padded_bytes};
use super::staging::Staging;
use super::window::Window;
use crate::KernelError;
use crate::affine::Affine;
use crate::blend::{check_mask, check_rect};
use crate::image::{ImageInfo, ImageMut};
use crate::mask::{Rect, RegionMask, Weights, square_rect};
use crate::tile::check_map;

/// Bytes of a cover's cell means.
const MEANS: usize = 192 * 4;

#[derive(Debug, Clone)]
enum Op {
    Cover {
        rect: Rect,
        alpha: Offset,
        mode: CoverMode,
    },
    Place {
        rect: Rect,
        source: Source,
        side: usize,
        square_from_frame: Affine,
    },
}

/// Where a picture and its weights are.
#[derive(Debug, Clone)]
enum Source {
    /// Among what goes up.
    Sent { weights: Offset, picture: Offset },
    /// On the device.
    There(Shown),
}

impl Op {
    fn rect(&self) -> Rect {
        match self {
            Self::Cover { rect, .. } | Self::Place { rect, .. } => *rect,
        }
    }

    /// Bytes that it needs on the device beside what goes up.
    fn scratch(&self) -> usize {
        match self {
            Self::Cover { .. } => MEANS,
            Self::Place { rect, .. } => padded_bytes(*rect),
        }
    }
}

/// A frame's treatment on a device; see the table above.
#[derive(Debug)]
pub struct Pass {
    gpu: Gpu,
    /// The frame's, while one is recorded.
    info: Option<ImageInfo>,
    ops: Vec<Op>,
    staging: Staging,
    arena: Option<Buffer<u8>>,
}

impl Pass {
    /// On a device; nothing is allocated yet.
    #[must_use]
    pub fn new(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.clone(),
            info: None,
            ops: Vec::new(),
            staging: Staging::new(gpu),
            arena: None,
        }
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Begins a frame; what was recorded and not run is forgotten.
    pub fn begin(&mut self, info: &ImageInfo) {
        self.ops.clear();
        self.staging.clear();
        self.info = Some(*info);
    }

    fn recording(&self, op: &'static str) -> Result<ImageInfo, CudaError> {
        self.info.ok_or_else(|| {
            CudaError::Argument(KernelError::Argument {
                op,
                what: "frame",
                expected: "one that was begun".to_owned(),
                got: "none".to_owned(),
            })
        })
    }

    /// Keeps so many bytes at the next aligned place, as `fill` makes them.
    fn keep(&mut self, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<Offset, CudaError> {
        let at = self.staging.len().next_multiple_of(ALIGN);
        let skip = at - self.staging.len();
        fill(self.staging.extend(skip + bytes)?.get_mut(skip..).unwrap_or_default());
        Ok(at)
    }

    /// Records a cover.
    ///
    /// # Errors
    /// A mask that does not fit itself or the frame, no frame begun, no memory.
    pub fn cover(&mut self, mask: &RegionMask, mode: CoverMode) -> Result<(), CudaError> {
        let op = "cuda::Pass::cover";
        let info = self.recording(op)?;
        check_mask(op, mask, info.width, info.height)?;
        if mask.width == 0 || mask.height == 0 {
            return Ok(());
        }
        let alpha = self.keep(padded_bytes(mask.rect()), |to| pad(mask, to))?;
        self.ops.push(Op::Cover {
            rect: mask.rect(),
            alpha,
            mode,
        });
        Ok(())
    }

    /// Records a square picture, interleaved RGB, shown by weights: mask raster and composite are the device's.
    ///
    /// # Errors
    /// Lengths or maps that do not fit, no frame begun, no memory.
    pub fn place(&mut self, picture: &[u8], weights: &Weights<'_>) -> Result<(), CudaError> {
        let op = "cuda::Pass::place";
        let info = self.recording(op)?;
        weights.check(op)?;
        let pixels = 3 * weights.side * weights.side;
        check(op, "picture", picture.len() == pixels, pixels, picture.len())?;
        let Some(rect) = weights.rect(info.width, info.height) else {
            return Ok(());
        };
        check_rect(op, rect, info.width, info.height)?;
        let picture = self.keep(picture.len(), |to| to.copy_from_slice(picture))?;
        let values = super::memory::bytes_of(weights.values);
        let weights_at = self.keep(values.len(), |to| to.copy_from_slice(values))?;
        self.ops.push(Op::Place {
            rect,
            source: Source::Sent {
                weights: weights_at,
                picture,
            },
            side: weights.side,
            square_from_frame: weights.square_from_frame,
        });
        Ok(())
    }

    /// Records a picture that is on the device: nothing of it goes up. What it holds when the trip runs is shown.
    ///
    /// # Errors
    /// A picture of another device, maps that do not fit, no frame begun.
    pub fn place_there(&mut self, shown: &Shown, frame_from_square: &Affine, square_from_frame: &Affine) -> Result<(), CudaError> {
        let op = "cuda::Pass::place_there";
        let info = self.recording(op)?;
        shown.picture.on(&self.gpu, op, "picture")?;
        shown.weight.on(&self.gpu, op, "weights")?;
        check_map(op, "frame_from_square", frame_from_square)?;
        check_map(op, "square_from_frame", square_from_frame)?;
        let Some(rect) = square_rect(shown.side, frame_from_square, info.width, info.height) else {
            return Ok(());
        };
        check_rect(op, rect, info.width, info.height)?;
        self.ops.push(Op::Place {
            rect,
            source: Source::There(shown.clone()),
            side: shown.side,
            square_from_frame: *square_from_frame,
        });
        Ok(())
    }

    /// Runs what was recorded, on the frame's pixels; `there` is the same frame where it is on the device already.
    /// Where nothing was recorded the device is not asked.
    ///
    /// # Errors
    /// Another frame's geometry, a frame of another device, [`CudaError`]; `image` is then untouched.
    pub fn run(&mut self, image: &mut ImageMut<'_>, there: Option<&DeviceFrame>) -> Result<(), CudaError> {
        let op = "cuda::Pass::run";
        let info = self.recording(op)?;
        self.info = None;
        let same = *image.info() == info;
        check(op, "frame", same, format!("{info:?}"), format!("{:?}", image.info()))?;
        if let Some(there) = there {
            check(
                op,
                "frame on the device",
                *there.info() == info,
                format!("{info:?}"),
                format!("{:?}", there.info()),
            )?;
        }
        let Some(window) = Window::around(&info, self.ops.iter().map(Op::rect)) else {
            return Ok(());
        };
        let scratch = self.ops.iter().map(|op| op.scratch().next_multiple_of(ALIGN)).sum();
        let layout = Layout::of(&info, &window, self.staging.len(), scratch);
        let missing = layout.scratch - self.staging.len();
        self.staging.extend(missing)?;
        if there.is_none() {
            layout.pack(image, self.staging.bytes_mut());
        }
        self.reserve(layout.end)?;
        let Some(mut arena) = self.arena.take() else {
            return Ok(());
        };
        let queued = self.queue(&info, &window, &layout, there, &mut arena);
        // Whatever was queued still uses both buffers.
        let waited = self.gpu.wait();
        self.arena = Some(arena);
        queued.and(waited)?;
        layout.unpack(self.staging.bytes(), image);
        Ok(())
    }

    /// A buffer on the device of at least so many bytes.
    fn reserve(&mut self, bytes: usize) -> Result<(), CudaError> {
        if self.arena.as_ref().is_none_or(|a| a.len() < bytes) {
            self.arena = None;
            self.arena = Some(self.gpu.unfilled(bytes.next_power_of_two())?);
        }
        Ok(())
    }

    /// One copy up, the kernels, one copy down.
    fn queue(
        &mut self,
        info: &ImageInfo,
        window: &Window,
        layout: &Layout,
        there: Option<&DeviceFrame>,
        arena: &mut Buffer<u8>,
    ) -> Result<(), CudaError> {
        let base = arena.address();
        match there {
            Some(frame) => {
                self.staging.upload(arena, layout.pixels)?;
                layout.fetch(frame, arena)?;
            }
            None => self.staging.upload(arena, layout.scratch)?,
        }
        let planes: Vec<(u64, usize)> = layout.planes.iter().map(|p| (base + p.at as u64, p.pitch)).collect();
        let frame = Frame::of_window(info, window, &planes)?.with_whole_rows();
        let mut scratch = base + layout.scratch as u64;
        for op in &self.ops {
            match op {
                Op::Cover { rect, alpha, mode } => {
                    let (mask, mode) = (MaskAt::padded(*rect, base + *alpha as u64), *mode);
                    let args = CoverArgs::new((info, frame), mask, scratch, mode)?;
                    // SAFETY: mask, means and the window's planes are as long as the contract wants by `Layout::of`.
                    unsafe { queue_cover(&self.gpu, mode, &args) }?;
                }
                Op::Place {
                    rect,
                    source,
                    side,
                    square_from_frame,
                } => {
                    let (mask, side) = (MaskAt::padded(*rect, scratch), *side);
                    let (weights, picture) = match source {
                        Source::Sent { weights, picture } => (base + *weights as u64, base + *picture as u64),
                        Source::There(shown) => (shown.weight.address(), shown.picture.address()),
                    };
                    let raster = WeightArgs::new(mask, (weights, side), square_from_frame);
                    let grid = Grid {
                        blocks: raster.grid(),
                        threads: PIXEL_BLOCK,
                    };
                    // SAFETY: weights are `side * side`, and the scratch has the padded mask's bytes, by `Layout::of`.
                    unsafe { self.gpu.launch("composite", &COMPOSITE, 1, grid, &raster) }?;
                    let crop = (picture, side, side);
                    let args = CompositeArgs::new((info, frame), mask, crop, square_from_frame, false)?;
                    if let Some(blocks) = args.grid() {
                        let grid = Grid {
                            blocks,
                            threads: PIXEL_BLOCK,
                        };
                        // SAFETY: as above; the picture has three bytes for each weight.
                        unsafe { self.gpu.launch("composite", &COMPOSITE, 0, grid, &args) }?;
                    }
                }
            }
            scratch += op.scratch().next_multiple_of(ALIGN) as u64;
        }
        let first = layout.pixels;
        let down = self.staging.bytes_mut().get_mut(first..).unwrap_or_default();
        // SAFETY: `run` waits before it touches the bytes, and `self` owns them.
        unsafe { arena.queue_read_at(first, down) }
    }
}

/// Queues a cover.
///
/// # Safety
/// Every address in `args` is of this device's memory and as long as the kernel's contract says.
pub(super) unsafe fn queue_cover(gpu: &Gpu, mode: CoverMode, args: &CoverArgs) -> Result<(), CudaError> {
    let Some(blocks) = args.grid() else {
        return Ok(());
    };
    if !matches!(mode, CoverMode::Solid(_)) {
        let grid = Grid {
            blocks: [8, 8, 3],
            threads: LINE_BLOCK,
        };
        // SAFETY: the caller's promise.
        unsafe { gpu.launch("cover", &COVER, 0, grid, args) }?;
    }
    let grid = Grid {
        blocks,
        threads: PIXEL_BLOCK,
    };
    // SAFETY: the caller's promise.
    unsafe { gpu.launch("cover", &COVER, 1, grid, args) }
}
