//! Every operator on a device against the plain definitions: what the shim's test and the check on a real
//! GPU both run, so that the second is proven code before it meets hardware.

#![allow(dead_code, unreachable_pub, clippy::expect_used, reason = "test support")]

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout};
use nullface_kernels::cuda::args::{CoverMode, EditFace};
use nullface_kernels::cuda::ops::{self, DeviceFrame, DeviceMask, Patch, Span, StepOperands, Unguided};
use nullface_kernels::cuda::{CudaError, Gpu};
use nullface_kernels::edit_step::{self, EditOperands, EditStep, edit_step, rescale_factor};
use nullface_kernels::{Affine, PixelFormat, composite, cover, crop};

use super::{FORMATS, Frame, Noise, SIZES, random_mask};

/// Sums in `f32` instead of `f64` over values up to 1023, before a factor of 2; half floats an ulp more.
const CROP_TOLERANCE: f32 = 0.1;
const CROP_HALF: f32 = 0.126;
/// Fused multiply-add on values of about ten; a half near 32 has steps of 1/32.
const STEP_TOLERANCE: f32 = 5e-4;
const STEP_HALF: f32 = 0.017;

/// One claim: what was compared and how far off, or why it does not hold.
pub struct Verdict {
    pub name: String,
    pub held: Result<String, String>,
}

fn verdict(name: impl Into<String>, run: impl FnOnce() -> Result<String, String>) -> Verdict {
    Verdict {
        name: name.into(),
        held: run(),
    }
}

fn text(e: CudaError) -> String {
    e.to_string()
}

/// All claims.
pub fn all(gpu: &Gpu) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for format in FORMATS {
        verdicts.push(verdict(format!("crop_affine {format:?}"), || crops(gpu, format)));
        verdicts.push(verdict(format!("composite {format:?}"), || composites(gpu, format)));
        verdicts.push(verdict(format!("cover {format:?}"), || covers(gpu, format)));
        verdicts.push(verdict(format!("trip {format:?}"), || super::trip::claim(gpu, format)));
    }
    verdicts.push(verdict("warp_edit", || super::warp::claim(gpu)));
    verdicts.push(verdict("paint_face, finish_face", || super::face::claim(gpu)));
    verdicts.push(verdict("match_face", || super::paint::claim(gpu)));
    for half in [false, true] {
        for stock in [false, true] {
            for rescale in [false, true] {
                let name = format!("edit_step half={half} stock={stock} rescale={rescale}");
                verdicts.push(verdict(name, || {
                    if half {
                        steps::<half::f16>(gpu, stock, rescale)
                    } else {
                        steps::<f32>(gpu, stock, rescale)
                    }
                }));
            }
        }
    }
    verdicts
}

fn worst(what: &str, got: &[f32], want: &[f32], tolerance: f32) -> Result<String, String> {
    if got.len() != want.len() || want.is_empty() {
        return Err(format!("{what}: {} values for {}", got.len(), want.len()));
    }
    let off = got
        .iter()
        .zip(want)
        .map(|(a, b)| if a.is_nan() { f32::INFINITY } else { (a - b).abs() });
    let off = off.fold(0.0, f32::max);
    if off <= tolerance {
        Ok(format!("{} values, off by {off:.2e}", want.len()))
    } else {
        Err(format!("{what}: off by {off}, more than {tolerance}"))
    }
}

fn crops(gpu: &Gpu, format: PixelFormat) -> Result<String, String> {
    let mut told = String::new();
    for (width, height) in SIZES {
        let mut noise = Noise(u64::from(width * 131 + height));
        let frame = Frame::noise(format, width, height, noise.below(6) as usize, u64::from(width));
        let (w, h) = (width as f32 / 9.0, height as f32 / 7.0);
        let (sin, cos) = noise.between(-3.0, 3.0).sin_cos();
        let maps = [
            Affine::IDENTITY,
            Affine::scale_shift(-w, h, width as f32, 0.5),
            Affine {
                m: [4.0 * cos, -4.0 * sin, w, 4.0 * sin, 4.0 * cos, h],
            },
            Affine {
                m: [1.0, 0.1, 1000.0, 0.1, 1.0, -900.0],
            },
        ];
        let spec = CropSpec {
            width: 9,
            height: 7,
            layout: if width % 2 == 0 { Layout::Nhwc } else { Layout::Nchw },
            order: ChannelOrder::Bgr,
            scale: 2.0,
            bias: -127.5,
        };
        let mut want = vec![0.0; 189 * maps.len()];
        for (map, out) in maps.iter().zip(want.chunks_exact_mut(189)) {
            crop::reference::crop_affine(&frame.view(), map, &spec, out);
        }
        let device = DeviceFrame::upload(gpu, &frame.view()).map_err(text)?;
        let wide = ops::crop::<f32>(gpu, &device, &maps, &spec).map_err(text)?;
        let mut got = vec![0.0; want.len()];
        wide.read(&mut got).map_err(text)?;
        told = worst(&format!("{width}x{height}"), &got, &want, CROP_TOLERANCE)?;
        // The first two do not turn, and have a kernel of their own.
        let straight = ops::crop::<f32>(gpu, &device, &maps[..2], &spec).map_err(text)?;
        let mut got = vec![0.0; 2 * 189];
        straight.read(&mut got).map_err(text)?;
        worst(&format!("{width}x{height} straight"), &got, &want[..2 * 189], CROP_TOLERANCE)?;
        let narrow = ops::crop::<half::f16>(gpu, &device, &maps, &spec).map_err(text)?;
        let mut halves = vec![half::f16::ZERO; want.len()];
        narrow.read(&mut halves).map_err(text)?;
        let got: Vec<f32> = halves.iter().map(|v| v.to_f32()).collect();
        worst(&format!("{width}x{height} half"), &got, &want, CROP_TOLERANCE + CROP_HALF)?;
    }
    Ok(told)
}

/// Whether every sample of every component is within a code, and everything else untouched.
fn same_frame(got: &Frame, want: &Frame, codes: u32) -> Result<(), String> {
    for s in want.samples() {
        let (a, b) = (got.code(&s), want.code(&s));
        if a.abs_diff(b) > codes {
            return Err(format!(
                "{:?} {}x{}: {a} for {b}",
                want.info.format, want.info.width, want.info.height
            ));
        }
    }
    if codes == 0 && got != want {
        return Err("bytes besides the samples changed".to_owned());
    }
    Ok(())
}

fn composites(gpu: &Gpu, format: PixelFormat) -> Result<String, String> {
    const SIDE: usize = 12;
    let mut changed = 0;
    for (width, height) in SIZES {
        let mut noise = Noise(u64::from(width) * 77 + u64::from(height));
        let before = Frame::noise(format, width, height, noise.below(4) as usize, 3);
        let mask = random_mask(width, height, &mut noise);
        let on_device = DeviceMask::upload(gpu, &mask).map_err(text)?;
        let bytes: Vec<u8> = (0..3 * SIDE * SIDE).map(|_| noise.next() as u8).collect();
        let deltas: Vec<f32> = (0..3 * SIDE * SIDE).map(|_| noise.between(-300.0, 300.0)).collect();
        let (d_bytes, d_deltas) = (gpu.upload(&bytes).map_err(text)?, gpu.upload(&deltas).map_err(text)?);
        for map in [
            Affine::scale_shift(0.5, 3.3, -2.0, 1.0),
            Affine {
                m: [0.9, -0.8, 4.0, 0.8, 0.9, 3.0],
            },
        ] {
            for adds in [false, true] {
                let (mut want, mut got) = (before.clone(), before.clone());
                let expected = if adds {
                    composite::reference::blend_delta(&mut want.view_mut(), &mask, &deltas, SIDE, SIDE, &map)
                } else {
                    composite::reference::blend_crop(&mut want.view_mut(), &mask, &bytes, SIDE, SIDE, &map)
                };
                expected.map_err(|e| e.to_string())?;
                let mut device = DeviceFrame::upload(gpu, &before.view()).map_err(text)?;
                let patch = if adds { Patch::Deltas(&d_deltas) } else { Patch::Bytes(&d_bytes) };
                ops::composite(gpu, &mut device, &on_device, patch, (SIDE, SIDE), &map).map_err(text)?;
                device.read_back(&mut got.view_mut()).map_err(text)?;
                same_frame(&got, &want, 1)?;
                changed += got
                    .planes
                    .iter()
                    .flatten()
                    .zip(before.planes.iter().flatten())
                    .filter(|(a, b)| a != b)
                    .count();
            }
        }
    }
    if changed > 100 {
        Ok(format!("{changed} bytes changed, off by a code at most"))
    } else {
        Err("nothing was compared".to_owned())
    }
}

fn covers(gpu: &Gpu, format: PixelFormat) -> Result<String, String> {
    let mut compared = 0;
    for (width, height) in SIZES {
        let mut noise = Noise(u64::from(width) * 31 + u64::from(height));
        let before = Frame::noise(format, width, height, noise.below(4) as usize, 9);
        let mask = random_mask(width, height, &mut noise);
        let on_device = DeviceMask::upload(gpu, &mask).map_err(text)?;
        for mode in [CoverMode::Solid([200, 30, 90]), CoverMode::Pixelate(8), CoverMode::Blur(3)] {
            let (mut want, mut got) = (before.clone(), before.clone());
            let expected = match mode {
                CoverMode::Solid(rgb) => cover::reference::solid(&mut want.view_mut(), &mask, rgb),
                CoverMode::Pixelate(n) => cover::reference::pixelate(&mut want.view_mut(), &mask, n),
                CoverMode::Blur(n) => cover::reference::blur(&mut want.view_mut(), &mask, n),
            };
            expected.map_err(|e| e.to_string())?;
            let mut device = DeviceFrame::upload(gpu, &before.view()).map_err(text)?;
            ops::cover(gpu, &mut device, &on_device, mode).map_err(text)?;
            device.read_back(&mut got.view_mut()).map_err(text)?;
            same_frame(&got, &want, 0)?;
            compared += 1;
        }
    }
    Ok(format!("{compared} frames, bit for bit"))
}

/// Numbers that both precisions hold.
pub trait Precise: ops::Number {
    fn of(v: f32) -> Self;
    fn back(self) -> f32;
}

impl Precise for f32 {
    fn of(v: f32) -> Self {
        v
    }
    fn back(self) -> f32 {
        self
    }
}

impl Precise for half::f16 {
    fn of(v: f32) -> Self {
        Self::from_f32(v)
    }
    fn back(self) -> f32 {
        self.to_f32()
    }
}

fn steps<T: Precise>(gpu: &Gpu, stock: bool, rescale: bool) -> Result<String, String> {
    let mut told = String::new();
    for len in [7, 124, 4096] {
        told = step_of::<T>(gpu, len, stock, rescale)?;
    }
    Ok(told)
}

fn step_of<T: Precise>(gpu: &Gpu, len: usize, stock: bool, rescale: bool) -> Result<String, String> {
    let n = 2 * len;
    let mut noise = Noise(12 + len as u64);
    let mut numbers = || (0..n).map(|_| T::of(noise.between(-2.0, 2.0)).back()).collect::<Vec<f32>>();
    let (x, next, r, u, c) = (numbers(), numbers(), numbers(), numbers(), numbers());
    let mask: Vec<f32> = (0..len).map(|i| [0.0, 1.0, 0.4][i % 3]).collect();
    let step = EditStep {
        carry: 0.8,
        data: 0.35,
        history: 0.25,
        guidance: -2.5,
        rescale: 1.0,
        alpha: 0.7,
        to_data: (1.3, -0.9),
        pinned: true,
        drop_residual: false,
    };
    let levels = (0.7, 0.71);
    let constants = EditFace {
        carry: step.carry,
        data: step.data,
        history: step.history,
        guidance: step.guidance,
        rescale: 1.0,
        alpha: step.alpha,
        p: step.to_data.0,
        q: step.to_data.1,
        pinned: 1,
        drop_residual: 0,
        noise_p: 0.4,
        noise_q: 1.2,
        level_alpha: levels.0,
        level_sigma: levels.1,
        strength: 0.6,
    };
    let up = |v: &[f32]| gpu.upload(&v.iter().map(|v| T::of(*v)).collect::<Vec<T>>()).map_err(text);
    let buffers = [up(&x)?, up(&next)?, up(&r)?, up(&u)?, up(&c)?];
    let span = |i: usize| Span {
        buffer: &buffers[i],
        start: 0,
    };
    let mut delta = gpu.zeros(n).map_err(text)?;
    let mut history = gpu.zeros(n).map_err(text)?;
    let mut out = gpu.unfilled::<T>(n).map_err(text)?;
    let d_mask = gpu.upload(&mask).map_err(text)?;
    let operands = StepOperands {
        faces: &[constants; 2],
        rescale,
        x: span(0),
        x_next: span(1),
        unguided: if stock {
            Unguided::Stock(span(3))
        } else {
            Unguided::Predicted {
                reference: span(2),
                unconditional: span(3),
            }
        },
        conditional: span(4),
        mask: Some(&d_mask),
        delta: &mut delta,
        history: &mut history,
        out: &mut out,
    };
    ops::edit_step(gpu, len, operands).map_err(text)?;
    let mut got = vec![T::of(0.0); n];
    out.read(&mut got).map_err(text)?;
    let got: Vec<f32> = got.into_iter().map(T::back).collect();
    let mut want = vec![0.0; n];
    for part in [0..len, len..n] {
        let cut = |v: &[f32]| v[part.clone()].to_vec();
        let (x, next, r, u, c) = (cut(&x), cut(&next), cut(&r), cut(&u), cut(&c));
        let factor = match (rescale, stock) {
            (false, _) => 1.0,
            (true, true) => edit_step::rescale_factor_stock(0.6, step.guidance, levels, (0.4, 1.2), &x, &u, &c),
            (true, false) => rescale_factor(0.6, step.guidance, (0.4, 1.2), &x, &u, &c),
        };
        let step = EditStep { rescale: factor, ..step };
        edit_step(
            &step,
            EditOperands {
                x: &x,
                x_next: &next,
                unguided: if stock {
                    edit_step::Unguided::Stock { x0: &u }
                } else {
                    edit_step::Unguided::Predicted {
                        output_ref: &r,
                        output_u: &u,
                    }
                },
                output_c: &c,
                mask: Some(&mask),
                delta: &mut vec![0.0; len],
                history: &mut vec![0.0; len],
                x_hat_next: &mut want[part],
            },
        );
    }
    worst(
        &format!("length {len}"),
        &got,
        &want,
        if T::HALF { STEP_HALF } else { STEP_TOLERANCE },
    )
}
