//! Time of each operator as a ratio to copying the frame, in the same run.
//!
//! `cargo run --release -p nullface-kernels --example bench_ops [-- rounds]`
//!
//! Rounds interleave operators and copies, so that a busy machine slows both. The median says what
//! this run saw, the best round what the code costs when nothing else runs. `NULLFACE_REFERENCE=1` measures the plain definitions.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program for people, with constant arguments"
)]

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout, crop_affine, crop_affine_u8};
use nullface_kernels::image::{Image, ImageInfo, ImageMut, Plane, PlaneMut};
use nullface_kernels::{Affine, Matrix, PixelFormat, Range, RegionMask, composite, cover, luma};
use std::hint::black_box;
use std::time::Instant;

struct Frame {
    info: ImageInfo,
    planes: Vec<Vec<u8>>,
    copy: Vec<Vec<u8>>,
}

impl Frame {
    fn new(format: PixelFormat, width: u32, height: u32) -> Self {
        let info = ImageInfo {
            format,
            width,
            height,
            matrix: Matrix::Bt709,
            range: Range::Limited,
        };
        let mut seed = 1u32;
        let planes: Vec<Vec<u8>> = (0..format.planes())
            .map(|p| {
                let (row, rows) = format.plane_size(p, width, height);
                (0..row * rows)
                    .map(|_| {
                        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (seed >> 24) as u8
                    })
                    .collect()
            })
            .collect();
        Self {
            info,
            copy: planes.clone(),
            planes,
        }
    }

    fn stride(&self, plane: usize) -> usize {
        self.info.format.plane_size(plane, self.info.width, self.info.height).0
    }

    fn view(&self) -> Image<'_> {
        let planes: Vec<Plane<'_>> = self
            .planes
            .iter()
            .enumerate()
            .map(|(i, data)| Plane {
                data,
                stride: self.stride(i),
            })
            .collect();
        Image::new(self.info, &planes).expect("frame is valid")
    }

    fn view_mut(&mut self) -> ImageMut<'_> {
        let strides: Vec<usize> = (0..self.planes.len()).map(|i| self.stride(i)).collect();
        let planes = self
            .planes
            .iter_mut()
            .zip(strides)
            .map(|(data, stride)| PlaneMut { data, stride })
            .collect();
        ImageMut::new(self.info, planes).expect("frame is valid")
    }

    fn copy(&mut self) {
        for (to, from) in self.copy.iter_mut().zip(&self.planes) {
            to.copy_from_slice(black_box(from));
        }
        black_box(&self.copy);
    }
}

type Case = (&'static str, Box<dyn FnMut(&mut Frame)>);

fn cases(width: u32, height: u32) -> Vec<Case> {
    let (w, h) = (width as f32, height as f32);
    let spec = |width, height, layout| CropSpec {
        width,
        height,
        layout,
        order: ChannelOrder::Rgb,
        scale: 1.0,
        bias: 0.0,
    };
    let half = spec(width as usize / 2, height as usize / 2, Layout::Nchw);
    let view = spec(640, 360, Layout::Nchw);
    let face = spec(192, 192, Layout::Nhwc);
    let mut half_out = vec![0.0; 3 * half.width * half.height];
    let mut view_out = vec![0.0; 3 * 640 * 360];
    let mut face_out = vec![0.0; 3 * 192 * 192];
    let mut face_u8 = vec![0u8; 3 * 192 * 192];
    let view_map = Affine::scale_shift(w / 640.0, h / 360.0, 0.0, 0.0);
    let (sin, cos) = 0.2f32.sin_cos();
    let turned = move |s: f32| Affine {
        m: [s * cos, -s * sin, w * 0.4, s * sin, s * cos, h * 0.2],
    };
    let oval: Vec<[f32; 2]> = (0..36)
        .map(|i| {
            let (s, c) = (i as f32 * std::f32::consts::TAU / 36.0).sin_cos();
            [w * 0.5 + 120.0 * c, h * 0.5 + 160.0 * s]
        })
        .collect();
    let mask = || RegionMask::polygon(&oval, 12.0, width, height).expect("inside the frame");
    let masks: [RegionMask; 5] = std::array::from_fn(|_| mask());
    let [m0, m1, m2, m3, m4] = masks;
    let mut reused = RegionMask::default();
    let crop = vec![127u8; 3 * 256 * 256];
    let delta = vec![3.5f32; 3 * 256 * 256];
    let crop_from_frame = turned(1.3).inverse().expect("map has an inverse");
    let mut thumb = vec![0u8; 64 * 36];
    let mut bins = [0u32; luma::BINS];
    vec![
        (
            "crop half NCHW",
            Box::new(move |f| {
                crop_affine(&f.view(), &Affine::scale_shift(2.0, 2.0, 0.0, 0.0), &half, &mut half_out).expect("valid");
            }),
        ),
        (
            "crop view 640x360 NCHW",
            Box::new(move |f| {
                crop_affine(&f.view(), &view_map, &view, &mut view_out).expect("valid");
            }),
        ),
        (
            "crop face 192 turned 1.3:1",
            Box::new(move |f| {
                crop_affine(&f.view(), &turned(1.3), &face, &mut face_out).expect("valid");
            }),
        ),
        (
            "crop face 192 u8 turned 2.5:1",
            Box::new(move |f| {
                crop_affine_u8(&f.view(), &turned(2.5), 192, 192, &mut face_u8).expect("valid");
            }),
        ),
        (
            "mask oval 240x320 feather 12",
            Box::new(move |_| {
                let oval: [[f32; 2]; 36] = std::array::from_fn(|i| {
                    let (s, c) = (i as f32 * std::f32::consts::TAU / 36.0).sin_cos();
                    [w * 0.5 + 120.0 * c, h * 0.5 + 160.0 * s]
                });
                reused.polygon_into(&oval, 12.0, width, height).expect("valid");
            }),
        ),
        (
            "cover solid 240x320",
            Box::new(move |f| cover::solid(&mut f.view_mut(), &m0, [90, 90, 90]).expect("valid")),
        ),
        (
            "cover pixelate 240x320",
            Box::new(move |f| cover::pixelate(&mut f.view_mut(), &m1, 8).expect("valid")),
        ),
        (
            "cover blur 240x320",
            Box::new(move |f| cover::blur(&mut f.view_mut(), &m2, 8).expect("valid")),
        ),
        ("fill_frame", Box::new(|f| cover::fill_frame(&mut f.view_mut(), [16, 16, 16]))),
        (
            "blend_crop 256 -> 240x320",
            Box::new(move |f| {
                composite::blend_crop(&mut f.view_mut(), &m3, &crop, 256, 256, &crop_from_frame).expect("valid");
            }),
        ),
        (
            "blend_delta 256 -> 240x320",
            Box::new(move |f| {
                composite::blend_delta(&mut f.view_mut(), &m4, &delta, 256, 256, &crop_from_frame).expect("valid");
            }),
        ),
        (
            "thumbnail 64x36",
            Box::new(move |f| luma::thumbnail(&f.view(), 64, 36, &mut thumb).expect("valid")),
        ),
        (
            "histogram",
            Box::new(move |f| {
                luma::histogram(&f.view(), &mut bins);
            }),
        ),
    ]
}

fn micros(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e6
}

/// Median and best.
fn summary(values: &mut [f64]) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or(0.0);
    (at(values.len() / 2), at(0))
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|v| v.parse().ok()).unwrap_or(60);
    println!(
        "threads {}, reference {}",
        rayon::current_num_threads(),
        nullface_kernels::reference_forced()
    );
    for (format, width, height) in [
        (PixelFormat::Nv12, 1280, 720),
        (PixelFormat::I420, 1920, 1080),
        (PixelFormat::P010Le, 1920, 1080),
        (PixelFormat::Rgba, 1280, 720),
    ] {
        let mut frame = Frame::new(format, width, height);
        let mut cases = cases(width, height);
        let mut copies = Vec::new();
        let mut times = vec![Vec::new(); cases.len()];
        for _ in 0..rounds {
            for ((_, case), times) in cases.iter_mut().zip(&mut times) {
                copies.push(micros(|| frame.copy()));
                times.push(micros(|| case(&mut frame)));
            }
        }
        let (copy, copy_best) = summary(&mut copies);
        println!("\n{format:?} {width}x{height}: copy of the frame {copy:.0} µs, best {copy_best:.0} µs");
        for ((name, _), times) in cases.iter().zip(&mut times) {
            let (time, best) = summary(times);
            let (ratio, ratio_best) = (time / copy, best / copy_best);
            println!("{name:32} {time:8.0} µs {ratio:7.2} copies | best {best:7.0} µs {ratio_best:7.2} copies");
        }
    }
}
