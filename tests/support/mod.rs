//! Pictures and parts that every end-to-end test may use: frames of noise, so that no block looks like
//! another, and networks that do exactly what a test says.
#![allow(dead_code)] // each test takes what it needs

pub(crate) mod two_faces;

use std::sync::{Arc, Mutex};

use nullface::backend::{Device, ResolvedDevice};
use nullface::frame::{
    BoxPx, FrameInfo, FrameTime, FrameView, FrameViewMut, Landmarks5, Matrix, Mesh, PixelFormat, Plane, PlaneMut, Pts, Range,
};
use nullface::pipeline::{Engine, EngineConfig, Parts, Settings};
use nullface::stages::align::{AlignError, FACE_OVAL, FaceHint, MeshFitter};
use nullface::stages::detect::{DetectError, Detection, Detector, Effort};
use nullface::stages::identify::{Embedding, IdentifyError, Recogniser};

/// A frame of seeded noise that owns its planes.
#[derive(Clone)]
pub(crate) struct Picture {
    pub(crate) info: FrameInfo,
    pub(crate) planes: Vec<(Vec<u8>, usize)>,
}

impl Picture {
    pub(crate) fn noise(format: PixelFormat, width: u32, height: u32, seed: u32) -> Self {
        let info = FrameInfo {
            format,
            width,
            height,
            matrix: Matrix::Bt709,
            range: Range::Limited,
        };
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (40 + state % 170) as u8
        };
        let planes = (0..format.planes())
            .map(|p| {
                let (row, rows) = format.plane_size(p, width, height);
                let stride = row + 6;
                ((0..stride * rows).map(|_| byte()).collect(), stride)
            })
            .collect();
        Self { info, planes }
    }

    pub(crate) fn view(&self) -> FrameView<'_> {
        let planes: Vec<Plane<'_>> = self.planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
        FrameView::new(self.info, &planes).expect("planes fit")
    }

    pub(crate) fn view_mut(&mut self) -> FrameViewMut<'_> {
        let planes = self
            .planes
            .iter_mut()
            .map(|(data, stride)| PlaneMut { data, stride: *stride })
            .collect();
        FrameViewMut::new(self.info, planes).expect("planes fit")
    }

    /// Luma rows (or the packed plane's rows) of a box, for comparing blocks.
    pub(crate) fn block(&self, x: usize, y: usize, side: usize) -> Vec<u8> {
        let (data, stride) = &self.planes[0];
        let (row, _) = self.info.format.plane_size(0, self.info.width, self.info.height);
        let pixel = row / self.info.width as usize;
        (y..y + side)
            .flat_map(|y| data[y * stride + x * pixel..y * stride + (x + side) * pixel].to_vec())
            .collect()
    }
}

/// Blocks of 8×8 pixels inside a box that are the same in both pictures; panics when the box holds none.
pub(crate) fn equal_blocks(a: &Picture, b: &Picture, region: BoxPx) -> usize {
    let inside = region.clipped(a.info.width, a.info.height);
    let (mut compared, mut equal) = (0, 0);
    let mut y = inside.y0.ceil() as usize;
    while y + 8 <= inside.y1.floor() as usize {
        let mut x = inside.x0.ceil() as usize;
        while x + 8 <= inside.x1.floor() as usize {
            compared += 1;
            equal += usize::from(a.block(x, y, 8) == b.block(x, y, 8));
            x += 8;
        }
        y += 8;
    }
    assert!(compared > 0, "nothing to compare in {region:?}");
    equal
}

/// What a fake network does when it is called for the n-th time, counted from 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) faces: Vec<BoxPx>,
    pub(crate) fail_from: Option<usize>,
    pub(crate) panic_at: Option<usize>,
    pub(crate) nan_at: Option<usize>,
    pub(crate) blind_before: usize,
    /// Reports before this call are too weak to begin a track.
    pub(crate) weak_before: usize,
}

pub(crate) struct FakeDetector {
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) calls: usize,
}

impl Detector for FakeDetector {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn detect(&mut self, _frame: &FrameView<'_>, _threshold: f32, _effort: Effort) -> Result<Vec<Detection>, DetectError> {
        let script = self.script.lock().expect("script").clone();
        let call = self.calls;
        self.calls += 1;
        if script.panic_at == Some(call) {
            panic!("detector told to panic");
        }
        if script.fail_from.is_some_and(|from| call >= from) {
            return Err(DetectError::BadOutput {
                detector: "fake",
                what: "told to fail".to_owned(),
            });
        }
        if call < script.blind_before {
            return Ok(Vec::new());
        }
        let nan = script.nan_at == Some(call);
        Ok(script
            .faces
            .iter()
            .map(|b| Detection {
                box_px: if nan { BoxPx { x0: f32::NAN, ..*b } } else { *b },
                score: if call < script.weak_before { 0.3 } else { 0.9 },
                landmarks: None,
            })
            .collect())
    }
}

/// Finds no mesh anywhere, which is what a profile or a small face gives.
pub(crate) struct NoMesh;

impl MeshFitter for NoMesh {
    fn fit(&mut self, _frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        Ok(hints
            .iter()
            .map(|_| Mesh {
                points_px: vec![[0.0; 2]; 468],
                depth_px: vec![0.0; 468],
                face_prob: 0.0,
            })
            .collect())
    }
}

/// A mesh that fills the hint's box, with eyes, nose and mouth where they belong.
pub(crate) struct BoxMesh;

impl MeshFitter for BoxMesh {
    fn fit(&mut self, _frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        Ok(hints.iter().map(|h| box_mesh(&h.box_px)).collect())
    }
}

pub(crate) fn box_mesh(b: &BoxPx) -> Mesh {
    let [cx, cy] = b.center();
    let at = |x: f32, y: f32| [cx + x * b.width() / 2.0, cy + y * b.height() / 2.0];
    let mut points_px = vec![at(0.0, 0.0); 468];
    for (i, point) in FACE_OVAL.iter().enumerate() {
        let a = i as f32 / 36.0 * std::f32::consts::TAU;
        points_px[*point] = at(a.sin(), -a.cos());
    }
    for (point, x, y) in [
        (33, -0.5, -0.25),
        (133, -0.2, -0.25),
        (362, 0.2, -0.25),
        (263, 0.5, -0.25),
        (1, 0.0, 0.1),
        (61, -0.3, 0.5),
        (291, 0.3, 0.5),
    ] {
        points_px[point] = at(x, y);
    }
    Mesh {
        points_px,
        depth_px: vec![0.0; 468],
        face_prob: 1.0,
    }
}

pub(crate) struct FakeRecogniser;

impl Recogniser for FakeRecogniser {
    fn name(&self) -> &str {
        "fake"
    }
    fn same_person_cos(&self) -> f32 {
        0.457
    }
    fn embed(&mut self, _frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        Ok(faces.iter().map(|_| Embedding(vec![1.0, 0.0])).collect())
    }
}

/// An engine over fakes and the script that rules its detector.
pub(crate) fn engine(script: Script, config: &EngineConfig, settings: Settings) -> (Engine, Arc<Mutex<Script>>) {
    let script = Arc::new(Mutex::new(script));
    let parts = Parts {
        detector: Box::new(FakeDetector {
            script: Arc::clone(&script),
            calls: 0,
        }),
        mesh: Box::new(NoMesh),
        recogniser: Box::new(FakeRecogniser),
        device: ResolvedDevice {
            device: Device::Cpu,
            reason: "a test".to_owned(),
            strict: false,
        },
    };
    (Engine::from_parts(parts, config, settings).expect("settings are in range"), script)
}

pub(crate) fn at(frame: u64) -> FrameTime {
    FrameTime {
        pts: Pts(frame * 40_000_000),
        duration_ns: 40_000_000,
    }
}
