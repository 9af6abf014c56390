//! Cheap looks at a frame's brightness, for scene cuts and change detection.
//!
//! | | |
//! |---|---|
//! | [`thumbnail`] | `width·height` bytes; each the rounded mean of `n·n` pixels spread evenly over its share of the frame, `n` from 1 to 4 with at most [`MAX_TAPS`] pixels read in all |
//! | [`histogram`] | 64 bins of four codes, over a regular grid of at most [`MAX_TAPS`] pixels; returns how many were counted |
//! | luma | Y codes as stored (10 bit: shifted right by 2), range not expanded; RGB formats: `(77·R + 150·G + 29·B) >> 8` |
//! | errors | size of 0, `out` of the wrong length: [`KernelError::Argument`], nothing written |
//! | tolerance | exact: integers |
//!
//! Sparse on purpose: a scene cut shows in a few thousand pixels, and reading a whole 1080p luma
//! plane costs more than the budget of the stage. Not for anything that must see every pixel.
//! There is one path: the plain definition is the fast one.

use crate::KernelError;
use crate::image::{Image, MAX_SIDE_PX};
use crate::packing::{Depth, Packing};

/// Most pixels read by one call.
pub const MAX_TAPS: usize = 1 << 16;

/// Bins of [`histogram`].
pub const BINS: usize = 64;

/// A small grey picture of the frame.
///
/// # Errors
/// [`KernelError::Argument`] for a size of 0 or above 32768, or `out.len() != width * height`.
pub fn thumbnail(image: &Image<'_>, width: usize, height: usize, out: &mut [u8]) -> Result<(), KernelError> {
    const OP: &str = "luma::thumbnail";
    image.here(OP)?;
    let max = MAX_SIDE_PX as usize;
    let argument = |what, expected: String, got: String| {
        Err(KernelError::Argument {
            op: OP,
            what,
            expected,
            got,
        })
    };
    if width == 0 || height == 0 || width > max || height > max {
        return argument("size", format!("1..={max} px a side"), format!("{width}x{height}"));
    }
    if out.len() != width * height {
        return argument("out length", format!("{}", width * height), out.len().to_string());
    }
    let n = (1..=4usize).rev().find(|n| n * n * width * height <= MAX_TAPS).unwrap_or(1);
    let reader = Reader::new(image);
    let columns: Vec<usize> = (0..width * n).map(|i| position(i, width * n, image.width() as usize)).collect();
    let mut sums = vec![0u32; width];
    for (y, line) in out.chunks_exact_mut(width).enumerate() {
        sums.fill(0);
        for j in 0..n {
            let row = position(y * n + j, height * n, image.height() as usize);
            let read = reader.row(row);
            for (sum, columns) in sums.iter_mut().zip(columns.chunks_exact(n)) {
                *sum += columns.iter().map(|&x| u32::from(read.at(x))).sum::<u32>();
            }
        }
        let count = (n * n) as u32;
        for (to, sum) in line.iter_mut().zip(&sums) {
            *to = ((sum + count / 2) / count) as u8;
        }
    }
    Ok(())
}

/// Distribution of brightness; returns the number of pixels counted, none of a frame that only a device has.
pub fn histogram(image: &Image<'_>, out: &mut [u32; BINS]) -> u32 {
    out.fill(0);
    if image.here("luma::histogram").is_err() {
        return 0;
    }
    let (width, height) = (image.width() as usize, image.height() as usize);
    let side = (1..).find(|s| width.div_ceil(*s) * height.div_ceil(*s) <= MAX_TAPS).unwrap_or(1);
    let reader = Reader::new(image);
    let mut counted = 0;
    for y in (side / 2..height).step_by(side) {
        let read = reader.row(y);
        for x in (side / 2..width).step_by(side) {
            if let Some(bin) = out.get_mut(usize::from(read.at(x) >> 2)) {
                *bin += 1;
                counted += 1;
            }
        }
    }
    counted
}

/// Centre of share `i` of `n` along a side.
fn position(i: usize, n: usize, side: usize) -> usize {
    ((2 * i + 1) * side / (2 * n)).min(side.saturating_sub(1))
}

struct Reader<'a> {
    image: &'a Image<'a>,
    packing: Packing,
    yuv: bool,
}

impl<'a> Reader<'a> {
    fn new(image: &'a Image<'a>) -> Self {
        let format = image.info().format;
        Self {
            image,
            packing: Packing::of(format),
            yuv: format.is_yuv(),
        }
    }

    fn row(&self, y: usize) -> Row<'a> {
        let plane = self.image.planes().first();
        let bytes = plane.and_then(|p| p.data.get(y * p.stride..)).unwrap_or(&[]);
        Row {
            bytes,
            packing: self.packing,
            yuv: self.yuv,
        }
    }
}

struct Row<'a> {
    bytes: &'a [u8],
    packing: Packing,
    yuv: bool,
}

impl Row<'_> {
    fn at(&self, x: usize) -> u8 {
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or(0);
        let [first, second, third] = &self.packing.components;
        let at = x * first.step + first.offset;
        match (self.yuv, self.packing.depth) {
            (true, Depth::U8) => byte(at),
            (true, depth) => (depth.code(u16::from_le_bytes([byte(at * 2), byte(at * 2 + 1)])) >> 2) as u8,
            (false, _) => {
                let [r, g, b] = [at, x * second.step + second.offset, x * third.step + third.offset].map(|i| u32::from(byte(i)));
                ((77 * r + 150 * g + 29 * b) >> 8) as u8
            }
        }
    }
}
