//! One frame's treatment, on the processor and as one trip over a device: what the shim's test and the check on a
//! real GPU both compare.

#![allow(dead_code, unreachable_pub, clippy::expect_used, reason = "test support")]

use nullface_kernels::cuda::args::CoverMode;
use nullface_kernels::cuda::{CudaError, Gpu, Loader, Pass};
use nullface_kernels::mask::{RegionMask, Weights};
use nullface_kernels::{Affine, PixelFormat, composite, cover};

use super::{Frame, Noise, random_mask};

const SIDE: usize = 24;
/// A composite's code and one of 255 of its mask.
pub const CODES: u32 = 2;

/// Covers of every kind that overlap, and a turned picture over them.
pub struct Work {
    masks: Vec<(RegionMask, CoverMode)>,
    pub picture: Vec<u8>,
    weights: Vec<f32>,
    map: Affine,
}

impl Work {
    pub fn new(width: u32, height: u32, seed: u64) -> Self {
        let mut noise = Noise(seed);
        let modes = [CoverMode::Blur(8), CoverMode::Solid([20, 200, 90]), CoverMode::Pixelate(5)];
        Self {
            masks: modes.map(|mode| (random_mask(width, height, &mut noise), mode)).to_vec(),
            picture: (0..3 * SIDE * SIDE).map(|_| noise.next() as u8).collect(),
            // Smooth, as weights are: what is compared is arithmetic, not a sample beside another.
            weights: (0..SIDE * SIDE)
                .map(|i| {
                    let edge = (i % SIDE).min(i / SIDE).min(SIDE - 1 - i % SIDE).min(SIDE - 1 - i / SIDE);
                    (edge as f32 / 6.0).min(1.0)
                })
                .collect(),
            map: Affine {
                m: [0.9, -0.5, width as f32 / 3.0, 0.5, 0.9, height as f32 / 4.0],
            },
        }
    }

    pub fn weights(&self) -> Weights<'_> {
        Weights {
            values: &self.weights,
            side: SIDE,
            frame_from_square: self.map,
            square_from_frame: self.map.inverse().expect("turns"),
        }
    }

    /// On the processor, in the order of [`Self::record`]; the masks that were written.
    pub fn on_the_processor(&self, frame: &mut Frame) -> Vec<RegionMask> {
        let mut written = Vec::new();
        for (mask, mode) in &self.masks {
            match mode {
                CoverMode::Solid(rgb) => cover::solid(&mut frame.view_mut(), mask, *rgb),
                CoverMode::Pixelate(n) => cover::pixelate(&mut frame.view_mut(), mask, *n),
                CoverMode::Blur(n) => cover::blur(&mut frame.view_mut(), mask, *n),
            }
            .expect("valid");
            written.push(mask.clone());
        }
        let mut mask = RegionMask::default();
        if mask
            .weighted_into(&self.weights(), frame.info.width, frame.info.height)
            .expect("valid")
        {
            let map = self.weights().square_from_frame;
            composite::blend_crop(&mut frame.view_mut(), &mask, &self.picture, SIDE, SIDE, &map).expect("valid");
            written.push(mask);
        }
        written
    }

    pub fn record(&self, pass: &mut Pass, frame: &Frame) -> Result<(), CudaError> {
        pass.begin(&frame.info);
        for (mask, mode) in &self.masks {
            pass.cover(mask, *mode)?;
        }
        pass.place(&self.picture, &self.weights())
    }
}

/// The claim of one format: equal pixels, and one copy up, one down, one wait; the same bytes where the frame is on
/// the device already, and then only what is written with goes up.
pub fn claim(gpu: &Gpu, format: PixelFormat) -> Result<String, String> {
    let mut pass = Pass::new(gpu);
    let mut told = String::new();
    for (width, height) in [(201, 73), (66, 40), (7, 5)] {
        let before = Frame::noise(format, width, height, 3, u64::from(width));
        let work = Work::new(width, height, u64::from(height));
        let (mut want, mut got) = (before.clone(), before.clone());
        work.on_the_processor(&mut want);
        let at = gpu.traffic();
        let ran = work.record(&mut pass, &got).and_then(|()| pass.run(&mut got.view_mut(), None));
        ran.map_err(|e| e.to_string())?;
        let now = gpu.traffic();
        let calls = (now.uploads - at.uploads, now.downloads - at.downloads, now.waits - at.waits);
        if calls != (1, 1, 1) {
            return Err(format!("{calls:?} copies up, copies down, waits; wanted one of each"));
        }
        let off = got
            .samples()
            .iter()
            .map(|s| got.code(s).abs_diff(want.code(s)))
            .max()
            .unwrap_or(u32::MAX);
        if off > CODES || got == before {
            return Err(format!("{width}x{height}: off by {off} codes"));
        }
        let loader = Loader::new(gpu);
        let resident = loader.frame(&before.info);
        let there = resident.on_device(&before.view()).map_err(|e| e.to_string())?;
        let (at, first) = (gpu.traffic(), now.uploaded - at.uploaded);
        let mut again = before.clone();
        let ran = work
            .record(&mut pass, &again)
            .and_then(|()| pass.run(&mut again.view_mut(), Some(there)));
        ran.map_err(|e| e.to_string())?;
        let now = gpu.traffic();
        let calls = (now.uploads - at.uploads, now.downloads - at.downloads, now.waits - at.waits);
        if calls != (1, 1, 1) || now.uploaded - at.uploaded >= first {
            return Err(format!("with the frame there: {calls:?} copies up, copies down, waits"));
        }
        if again != got {
            return Err(format!("{width}x{height}: other bytes where the frame is there already"));
        }
        told = format!("one copy up, one down, one wait, with the frame there or not; off by {off} codes at most");
    }
    Ok(told)
}
