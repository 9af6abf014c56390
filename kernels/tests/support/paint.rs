//! Painted faces matched on a device against the plain definition: what the shim's test and the check on a real GPU
//! both compare.

#![allow(dead_code, unreachable_pub, clippy::expect_used, reason = "test support")]

use nullface_kernels::cuda::ops::{PaintOperand, match_faces};
use nullface_kernels::cuda::{CudaError, Gpu};
use nullface_kernels::lowpass::LowPass;
use nullface_kernels::match_face::{self, Paint, Recipe, Rows};

use super::Noise;

/// Grey levels: order of sums over up to 64 px a cell and a hundred taps, `expf`, fused multiply-add.
pub const TOLERANCE: f32 = 0.02;

/// Paint and fine parts of a face that was matched.
pub type Matched = (Vec<[f32; 4]>, Vec<[f32; 4]>);

/// One face.
#[derive(Clone)]
pub struct Painted {
    pub width: usize,
    pub height: usize,
    pub paint: Vec<[f32; 4]>,
    pub base: Vec<[f32; 3]>,
    pub alpha: Vec<f32>,
    pub painted: Vec<u8>,
    pub recipe: Recipe,
}

impl Painted {
    /// Noise under an oval that leaves the picture on one side, as a face at a frame's border does.
    pub fn new(width: usize, height: usize, iod_px: f32, grain: (f32, f32), seed: u64) -> Self {
        let mut noise = Noise(seed);
        let inside = |i: usize| {
            let (x, y) = ((i % width) as f32 / width as f32 - 0.35, (i / width) as f32 / height as f32 - 0.5);
            1.0 - (x * x + y * y) * 4.5
        };
        let area = width * height;
        Self {
            width,
            height,
            paint: (0..area).map(|_| [0; 4].map(|_: u8| noise.between(0.0, 255.0))).collect(),
            base: (0..area)
                .map(|i| [0.0, 20.0, 50.0].map(|c| 60.0 + c + 0.3 * (i % width) as f32 + noise.between(-12.0, 12.0)))
                .collect(),
            alpha: (0..area).map(|i| (inside(i) * 3.0).clamp(0.0, 1.0)).collect(),
            painted: (0..area).map(|i| u8::from(inside(i) > -0.1 && i % 17 != 0)).collect(),
            recipe: Recipe {
                light_sigma_px: 0.30 * iod_px,
                contrast: (0.6, 1.5),
                fine_sigma_px: 0.05 * iod_px,
                area_sigma_px: 0.25 * iod_px,
                grain,
            },
        }
    }

    /// On the processor: paint and fine parts.
    pub fn on_the_processor(&self) -> Matched {
        let (mut paint, mut fine) = (self.paint.clone(), Vec::new());
        let (mut pass, mut rows) = (LowPass::default(), Rows::default());
        let mut face = Paint {
            width: self.width,
            height: self.height,
            paint: &mut paint,
            base: &self.base,
            alpha: &self.alpha,
            painted: &self.painted,
        };
        match_face::light(&mut face, &self.recipe, &mut pass, &mut rows);
        if self.recipe.is_grained() {
            match_face::grain(&mut face, &self.recipe, &mut pass, &mut rows, &mut fine);
        }
        (paint, fine)
    }
}

/// On a device, all in one call: paint and fine parts of each.
pub fn on_the_device(gpu: &Gpu, faces: &[Painted]) -> Result<Vec<Matched>, CudaError> {
    let mut there = Vec::new();
    for face in faces {
        let area = face.width * face.height;
        let fine = gpu.unfilled::<f32>(4 * area)?;
        there.push((
            gpu.upload(face.paint.as_flattened())?,
            fine,
            gpu.upload(face.base.as_flattened())?,
            gpu.upload(&face.alpha)?,
            gpu.upload(&face.painted)?,
        ));
    }
    let mut operands: Vec<PaintOperand<'_>> = faces
        .iter()
        .zip(&mut there)
        .map(|(face, (paint, fine, base, alpha, painted))| PaintOperand {
            width: face.width,
            height: face.height,
            paint,
            base,
            alpha,
            painted,
            recipe: face.recipe,
            fine,
        })
        .collect();
    match_faces(gpu, &mut operands)?;
    let mut outputs = Vec::new();
    for (paint, fine, ..) in &there {
        let four = |buffer: &nullface_kernels::cuda::Buffer<f32>| {
            let mut values = vec![0.0; buffer.len()];
            buffer.read(&mut values)?;
            Ok::<_, CudaError>(values.as_chunks::<4>().0.to_vec())
        };
        outputs.push((four(paint)?, four(fine)?));
    }
    Ok(outputs)
}

/// Faces of odd sizes and all grid steps, more than a launch takes, with and without grain.
pub fn faces() -> Vec<Painted> {
    let sizes = [
        (1, 1, 9.0),
        (7, 5, 9.0),
        (33, 18, 12.0),
        (64, 47, 26.0),
        (97, 131, 55.0),
        (161, 149, 110.0),
        (40, 90, 170.0),
        (8, 8, 0.0),
        (50, 31, 33.0),
        (129, 64, 41.0),
    ];
    let grain = |i: usize| if i % 4 == 3 { (1.0, 1.0) } else { (0.6, 2.5) };
    let face = |(i, (w, h, iod)): (usize, (usize, usize, f32))| Painted::new(w, h, iod, grain(i), i as u64 + 1);
    sizes.into_iter().enumerate().map(face).collect()
}

/// The claim.
pub fn claim(gpu: &Gpu) -> Result<String, String> {
    let faces = faces();
    let got = on_the_device(gpu, &faces).map_err(|e| e.to_string())?;
    let (mut worst, mut changed) = (0.0_f32, 0);
    for (face, (paint, fine)) in faces.iter().zip(&got) {
        let (want, want_fine) = face.on_the_processor();
        let pairs = paint.iter().zip(&want).chain(fine.iter().zip(&want_fine));
        for (a, b) in pairs.flat_map(|(a, b)| a.iter().zip(b)) {
            worst = worst.max(if a.is_nan() { f32::INFINITY } else { (a - b).abs() });
        }
        changed += want.iter().zip(&face.paint).filter(|(a, b)| a != b).count();
    }
    if worst <= TOLERANCE && changed > 20_000 {
        Ok(format!("{changed} pixels changed, off by {worst:.1e} grey levels"))
    } else {
        Err(format!("off by {worst} grey levels, {changed} pixels changed"))
    }
}
