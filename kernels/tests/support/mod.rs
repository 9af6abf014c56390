//! Frames for tests: every format, odd sizes, padded strides, noise everywhere, and a second,
//! independent statement of where samples lie.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "each test binary uses its part, and a broken frame is a broken test"
)]

pub mod face;
pub mod paint;
pub mod parity;
pub mod shim;
pub mod trip;
pub mod warp;

use nullface_kernels::image::{Image, ImageInfo, ImageMut, Matrix, PixelFormat, Plane, PlaneMut, Range};

pub const FORMATS: [PixelFormat; 11] = [
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::P010Le,
    PixelFormat::I42010Le,
    PixelFormat::Rgba,
    PixelFormat::Bgra,
    PixelFormat::Rgbx,
    PixelFormat::Bgrx,
    PixelFormat::Rgb,
    PixelFormat::Bgr,
    PixelFormat::Yuy2,
];

pub const SIZES: [(u32, u32); 8] = [(1, 1), (2, 2), (3, 1), (1, 4), (7, 5), (16, 9), (33, 18), (64, 47)];

/// A small generator, so that a failure names its seed.
#[derive(Clone)]
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u32
    }

    pub fn below(&mut self, n: u32) -> u32 {
        self.next() % n.max(1)
    }

    pub fn between(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * (self.below(1 << 20) as f32 / (1 << 20) as f32)
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Frame {
    pub info: ImageInfo,
    pub planes: Vec<Vec<u8>>,
    pub strides: Vec<usize>,
}

impl Frame {
    /// Every byte random, padding and spare bits too; the last row ends without padding when `padding` is odd.
    pub fn noise(format: PixelFormat, width: u32, height: u32, padding: usize, seed: u64) -> Self {
        let mut noise = Noise(seed);
        let matrix = [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020][noise.below(3) as usize];
        let range = [Range::Limited, Range::Full][noise.below(2) as usize];
        let info = ImageInfo {
            format,
            width,
            height,
            matrix,
            range,
        };
        let (mut planes, mut strides) = (Vec::new(), Vec::new());
        for plane in 0..format.planes() {
            let (row, rows) = format.plane_size(plane, width, height);
            let stride = row + padding;
            let len = if padding % 2 == 1 {
                stride * (rows - 1) + row
            } else {
                stride * rows
            };
            planes.push((0..len).map(|_| noise.next() as u8).collect());
            strides.push(stride);
        }
        Self { info, planes, strides }
    }

    /// Smooth content without noise: values that interpolate well.
    pub fn filled(format: PixelFormat, width: u32, height: u32, rgb: [u8; 3]) -> Self {
        let mut frame = Self::noise(format, width, height, 0, 1);
        nullface_kernels::cover::fill_frame(&mut frame.view_mut(), rgb);
        frame
    }

    pub fn view(&self) -> Image<'_> {
        let planes: Vec<Plane<'_>> = self
            .planes
            .iter()
            .zip(&self.strides)
            .map(|(data, &stride)| Plane { data, stride })
            .collect();
        Image::new(self.info, &planes).expect("frame is valid")
    }

    pub fn view_mut(&mut self) -> ImageMut<'_> {
        let planes = self
            .planes
            .iter_mut()
            .zip(&self.strides)
            .map(|(data, &stride)| PlaneMut { data, stride })
            .collect();
        ImageMut::new(self.info, planes).expect("frame is valid")
    }

    /// Every sample as (component, sample x, sample y, plane, byte offset).
    pub fn samples(&self) -> Vec<Sample> {
        use PixelFormat::*;
        let (w, h) = (self.info.width as usize, self.info.height as usize);
        let mut all = Vec::new();
        let mut grid = |component: usize, sub: (usize, usize), at: &dyn Fn(usize, usize) -> (usize, usize), bytes: usize| {
            for y in 0..h.div_ceil(sub.1) {
                for x in 0..w.div_ceil(sub.0) {
                    let (plane, offset) = at(x, y);
                    all.push(Sample {
                        component,
                        x,
                        y,
                        sub,
                        plane,
                        offset,
                        bytes,
                    });
                }
            }
        };
        let s = &self.strides;
        match self.info.format {
            Nv12 => {
                grid(0, (1, 1), &|x, y| (0, y * s[0] + x), 1);
                grid(1, (2, 2), &|x, y| (1, y * s[1] + 2 * x), 1);
                grid(2, (2, 2), &|x, y| (1, y * s[1] + 2 * x + 1), 1);
            }
            I420 => {
                grid(0, (1, 1), &|x, y| (0, y * s[0] + x), 1);
                grid(1, (2, 2), &|x, y| (1, y * s[1] + x), 1);
                grid(2, (2, 2), &|x, y| (2, y * s[2] + x), 1);
            }
            P010Le => {
                grid(0, (1, 1), &|x, y| (0, y * s[0] + 2 * x), 2);
                grid(1, (2, 2), &|x, y| (1, y * s[1] + 4 * x), 2);
                grid(2, (2, 2), &|x, y| (1, y * s[1] + 4 * x + 2), 2);
            }
            I42010Le => {
                grid(0, (1, 1), &|x, y| (0, y * s[0] + 2 * x), 2);
                grid(1, (2, 2), &|x, y| (1, y * s[1] + 2 * x), 2);
                grid(2, (2, 2), &|x, y| (2, y * s[2] + 2 * x), 2);
            }
            Yuy2 => {
                grid(0, (1, 1), &|x, y| (0, y * s[0] + 2 * x), 1);
                grid(1, (2, 1), &|x, y| (0, y * s[0] + 4 * x + 1), 1);
                grid(2, (2, 1), &|x, y| (0, y * s[0] + 4 * x + 3), 1);
            }
            format => {
                let step = if matches!(format, Rgb | Bgr) { 3 } else { 4 };
                let swap = matches!(format, Bgra | Bgrx | Bgr);
                for c in 0..3 {
                    let o = if swap { 2 - c } else { c };
                    grid(c, (1, 1), &|x, y| (0, y * s[0] + step * x + o), 1);
                }
            }
        }
        all
    }

    /// A sample's code.
    pub fn code(&self, s: &Sample) -> u32 {
        let bytes = &self.planes[s.plane][s.offset..s.offset + s.bytes];
        match self.info.format {
            PixelFormat::P010Le => u32::from(u16::from_le_bytes([bytes[0], bytes[1]]) >> 6),
            PixelFormat::I42010Le => u32::from(u16::from_le_bytes([bytes[0], bytes[1]]) & 0x3ff),
            _ => u32::from(bytes[0]),
        }
    }

    pub fn set_code(&mut self, s: &Sample, code: u32) {
        let format = self.info.format;
        let bytes = &mut self.planes[s.plane][s.offset..s.offset + s.bytes];
        match format {
            PixelFormat::P010Le => bytes.copy_from_slice(&((code as u16) << 6).to_le_bytes()),
            PixelFormat::I42010Le => bytes.copy_from_slice(&(code as u16).to_le_bytes()),
            _ => bytes[0] = code as u8,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub component: usize,
    pub x: usize,
    pub y: usize,
    pub sub: (usize, usize),
    pub plane: usize,
    pub offset: usize,
    pub bytes: usize,
}

impl Sample {
    /// Smallest and largest alpha, and their sum and number, over the pixels served.
    pub fn alphas(&self, frame: &Frame, mask: &nullface_kernels::RegionMask) -> (u8, u8, u32, u32) {
        let (w, h) = (frame.info.width as usize, frame.info.height as usize);
        let (mut lo, mut hi, mut sum, mut count) = (255, 0, 0, 0);
        for y in self.y * self.sub.1..((self.y + 1) * self.sub.1).min(h) {
            for x in self.x * self.sub.0..((self.x + 1) * self.sub.0).min(w) {
                let a = mask.alpha_at(x as i64, y as i64);
                (lo, hi, sum, count) = (lo.min(a), hi.max(a), sum + u32::from(a), count + 1);
            }
        }
        (lo, hi, sum, count)
    }
}

/// A mask of runs of 0, runs of 255 and noise, somewhere inside the frame.
pub fn random_mask(width: u32, height: u32, noise: &mut Noise) -> nullface_kernels::RegionMask {
    let x = noise.below(width);
    let y = noise.below(height);
    let w = 1 + noise.below(width - x);
    let h = 1 + noise.below(height - y);
    let mut alpha = Vec::new();
    while alpha.len() < (w * h) as usize {
        let value = match noise.below(5) {
            0 | 1 => 255,
            2 => 0,
            _ => noise.below(256) as u8,
        };
        let run = 1 + noise.below(w * 2) as usize;
        alpha.extend(std::iter::repeat_n(value, run));
    }
    alpha.truncate((w * h) as usize);
    nullface_kernels::RegionMask {
        x: x as i32,
        y: y as i32,
        width: w,
        height: h,
        alpha,
    }
}

/// Checks what every writing operator promises about samples that it must not touch; returns how many it found.
pub fn assert_untouched(before: &Frame, after: &Frame, mask: &nullface_kernels::RegionMask, what: &str) -> usize {
    let samples = before.samples();
    let mut owned: Vec<Vec<bool>> = before.planes.iter().map(|p| vec![false; p.len()]).collect();
    let mut kept = 0;
    for s in &samples {
        let (lo, ..) = s.alphas(before, mask);
        for (b, owned) in owned[s.plane].iter_mut().enumerate().skip(s.offset).take(s.bytes) {
            if lo == 0 {
                assert_eq!(before.planes[s.plane][b], after.planes[s.plane][b], "{what}: {s:?} has weight 0");
                kept += 1;
            }
            *owned = true;
        }
    }
    for (plane, owned) in owned.iter().enumerate() {
        for (at, _) in owned.iter().enumerate().filter(|(_, o)| !**o) {
            assert_eq!(
                before.planes[plane][at], after.planes[plane][at],
                "{what}: plane {plane} byte {at} is no sample"
            );
            kept += 1;
        }
    }
    kept
}
