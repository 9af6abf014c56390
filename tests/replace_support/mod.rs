//! A face that is always the basis' mean, pictures that a coarse recogniser tells apart, and denoisers
//! that do exactly what a test says.
#![allow(dead_code)] // each test takes what it needs

pub(crate) mod watched;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::support::{FakeDetector, Picture, Script, at, equal_blocks};
use nullface::backend::{Device, ResolvedDevice};
use nullface::frame::{Affine, BoxPx, FrameView, Landmarks5, Mesh, PixelFormat, arcface_crop};
use nullface::pipeline::{Engine, EngineConfig, Generator, Mode, Outcome, Parts, Settings};
use nullface::secret::SessionSecret;
use nullface::stages::align::{AlignError, FaceHint, MeshFitter};
use nullface::stages::denoise::{Batch, ModelError, NoiseModel, Prediction, RowShape, Schedule, ScheduleSpec};
use nullface::stages::identify::{Embedding, IdentifyError, Recogniser};
use nullface::stages::prior::Basis;
use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout, crop_affine};

pub(crate) const SIZE: (u32, u32) = (320, 240);
pub(crate) const FAR: BoxPx = BoxPx {
    x0: 0.0,
    y0: 0.0,
    x1: 48.0,
    y1: 48.0,
};
pub(crate) const EYE_DISTANCE_PX: f32 = 60.0;
/// Values of a fake embedding: 16×12 coarse pixels.
pub(crate) const DIMENSION: usize = 192;

pub(crate) fn basis() -> Basis {
    Basis::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/nullface-128/basis")).expect("the basis of the checkout")
}

/// The mean face, looking at the camera.
pub(crate) fn mesh() -> Mesh {
    let at = |p: &[f32]| [160.0 + p[0] * EYE_DISTANCE_PX, 110.0 + p[1] * EYE_DISTANCE_PX];
    let basis = basis();
    let points_px: Vec<_> = basis.mean_shape.chunks_exact(3).map(at).collect();
    let depth_px = basis.mean_shape.chunks_exact(3).map(|p| p[2] * EYE_DISTANCE_PX).collect();
    Mesh {
        points_px,
        depth_px,
        face_prob: 1.0,
    }
}

pub(crate) struct MeanFace(pub(crate) Mesh);

impl MeshFitter for MeanFace {
    fn fit(&mut self, _frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        Ok(hints.iter().map(|_| self.0.clone()).collect())
    }
}

/// What [`Blocks`] reads.
pub(crate) const BLOCKS: CropSpec = CropSpec {
    width: 32,
    height: 32,
    layout: Layout::Nhwc,
    order: ChannelOrder::Rgb,
    scale: 1.0,
    bias: 0.0,
};

/// From there to the frame.
pub(crate) fn blocks_map(l: &Landmarks5) -> Result<Affine, IdentifyError> {
    arcface_crop(l, 32).ok_or_else(|| IdentifyError::BadOutput("landmarks".to_owned()))
}

/// The embedding of such a crop.
pub(crate) fn coarse(crop: &[f32]) -> Embedding {
    let pixel = |i: usize| ((i / 16 + 10) * 32 + i % 16 + 8) * 3 + 1;
    let mut values: Vec<f32> = (0..DIMENSION).map(|i| crop[pixel(i)]).collect();
    let mean = values.iter().sum::<f32>() / DIMENSION as f32;
    values.iter_mut().for_each(|v| *v -= mean);
    let norm = values.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-3);
    Embedding(values.iter().map(|v| v / norm).collect())
}

/// Tells pictures apart by the middle of the face in coarse pixels, without their mean.
pub(crate) struct Blocks;

impl Recogniser for Blocks {
    fn name(&self) -> &str {
        "blocks"
    }
    fn same_person_cos(&self) -> f32 {
        0.8
    }
    fn embed(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        let one = |l: &Landmarks5| {
            let mut crop = vec![0.0; 32 * 32 * 3];
            crop_affine(frame, &blocks_map(l)?, &BLOCKS, &mut crop)?;
            Ok(coarse(&crop))
        };
        faces.iter().map(one).collect()
    }
}

pub(crate) type Answer = fn(&Batch<'_>, &mut [f32]);

pub(crate) struct Fake(pub(crate) Answer);

impl NoiseModel for Fake {
    fn shape(&self) -> RowShape {
        RowShape {
            channels: 48,
            height: 32,
            width: 32,
            identity: DIMENSION,
            attributes: 0,
            text: 0,
            prior: true,
        }
    }
    fn prediction(&self) -> Prediction {
        Prediction::X0
    }
    fn predict(&mut self, batch: &Batch<'_>, out: &mut [f32]) -> Result<(), ModelError> {
        (self.0)(batch, out);
        Ok(())
    }
}

/// A gentle denoiser: the picture, a little darker under an identity.
pub(crate) fn darker(batch: &Batch<'_>, out: &mut [f32]) {
    let n = batch.shape.latent_len();
    for ((o, p), m) in out.chunks_exact_mut(n).zip(batch.prior.chunks_exact(n)).zip(batch.identity_mask) {
        o.iter_mut().zip(p).for_each(|(o, p)| *o = p - 0.05 * m);
    }
}

pub(crate) fn engine_with(recogniser: Box<dyn Recogniser>, answer: Option<Answer>, mode: Mode, seed: u64) -> Engine {
    let model = answer.map(|a| Box::new(Fake(a)) as Box<dyn NoiseModel>);
    engine_over(recogniser, Box::new(MeanFace(mesh())), vec![mesh()], model, mode, seed)
}

/// An engine that finds the faces given.
pub(crate) fn engine_over(
    recogniser: Box<dyn Recogniser>,
    fitter: Box<dyn MeshFitter>,
    faces: Vec<Mesh>,
    model: Option<Box<dyn NoiseModel>>,
    mode: Mode,
    seed: u64,
) -> Engine {
    engine_from(recogniser, fitter, faces, model, (mode, seed, None))
}

/// The same, where there is a track file made from it.
pub(crate) fn engine_from(
    recogniser: Box<dyn Recogniser>,
    fitter: Box<dyn MeshFitter>,
    faces: Vec<Mesh>,
    model: Option<Box<dyn NoiseModel>>,
    (mode, seed, tracks): (Mode, u64, Option<PathBuf>),
) -> Engine {
    let script = Script {
        faces: faces.iter().map(|f| f.bounding_box_px().expect("points")).collect(),
        ..Script::default()
    };
    let parts = Parts {
        detector: Box::new(FakeDetector {
            script: Arc::new(Mutex::new(script)),
            calls: 0,
        }),
        mesh: fitter,
        recogniser,
        device: device(),
    };
    let mut generator = Generator::new(basis(), SessionSecret::from_seed(seed));
    if let Some(model) = model {
        generator = generator.with_denoiser(model, schedule(), 4);
    }
    let settings = Settings {
        mode,
        ..Settings::default()
    };
    let config = EngineConfig {
        tracks,
        ..EngineConfig::default()
    };
    Engine::from_parts(parts, &config, settings)
        .expect("in range")
        .with_generator(generator)
        .expect("follows the settings")
}

pub(crate) fn device() -> ResolvedDevice {
    ResolvedDevice {
        device: Device::Cpu,
        reason: "a test".to_owned(),
        strict: false,
    }
}

pub(crate) fn schedule() -> Schedule {
    Schedule::new(ScheduleSpec::Cosine {
        shift: 1.0,
        lambda_min: -5.0,
        lambda_max: 5.0,
    })
    .expect("valid")
}

/// A picture that has structure at the scale of blocks, so that the fake recogniser knows it again.
pub(crate) fn source() -> Picture {
    source_of(SIZE)
}

/// The same in another size.
pub(crate) fn source_of((width, height): (u32, u32)) -> Picture {
    let mut picture = Picture::noise(PixelFormat::Rgb, width, height, 5);
    let (data, stride) = &mut picture.planes[0];
    for y in 0..height as usize {
        for x in 0..width as usize {
            for c in 0..3 {
                let wave = 50.0 * (x as f32 / 4.0 + c as f32).sin() + 40.0 * (y as f32 / 3.5).cos();
                let v = &mut data[y * *stride + x * 3 + c];
                *v = (100.0 + wave + f32::from(*v) * 0.1).clamp(0.0, 255.0) as u8;
            }
        }
    }
    picture
}

pub(crate) fn run(engine: &mut Engine, frames: u64) -> Vec<(Picture, Outcome)> {
    let source = source();
    (0..frames)
        .map(|n| {
            let mut output = source.clone();
            let report = engine.process(&mut output.view_mut(), at(n), &[]).into_report();
            assert_eq!((report.withheld, report.faces.len()), (None, 1));
            assert_eq!(equal_blocks(&source, &output, FAR), 36, "far away nothing changes");
            (output, report.faces[0].outcome)
        })
        .collect()
}

/// The middle of the face.
pub(crate) fn inner() -> BoxPx {
    BoxPx {
        x0: 130.0,
        y0: 90.0,
        x1: 190.0,
        y1: 150.0,
    }
}
