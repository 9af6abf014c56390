//! A detector that does as it is told and notes on which thread it looks.

use std::sync::{Arc, Mutex};

use nullface::backend::{Device, ResolvedDevice};
use nullface::frame::{BoxPx, FrameView};
use nullface::pipeline::{Engine, EngineConfig, Generator, Mode, Parts, Settings};
use nullface::secret::SessionSecret;
use nullface::stages::align::MeshFitter;
use nullface::stages::detect::{DetectError, Detection, Detector, Effort, InPart, Part};

use super::{Blocks, Fake, MeanFace, basis, darker, mesh, schedule};

pub(crate) const NEWCOMER: BoxPx = BoxPx {
    x0: 256.0,
    y0: 16.0,
    x1: 312.0,
    y1: 72.0,
};

/// What the next looks do.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Looks {
    NoFace,
    OneFace,
    /// The second one is too small for a glance.
    TwoFaces,
    /// The second one lies half over the first.
    Crossing,
    /// The second one is cut by the edge of every part.
    CutFace,
    Fail,
    Panic,
}

pub(crate) struct Watched {
    looks: Arc<Mutex<Looks>>,
    /// Whether each look but glances was on the caller's own thread.
    where_: Arc<Mutex<Vec<bool>>>,
    /// Parts that were looked at.
    parts: Shared<Vec<Part>>,
    home: std::thread::ThreadId,
    begins: Box<dyn Fn() + Send>,
    /// Where the face is.
    face: BoxPx,
}

impl Detector for Watched {
    fn name(&self) -> &'static str {
        "watched"
    }

    fn detect(&mut self, _: &FrameView<'_>, _: f32, effort: Effort) -> Result<Vec<Detection>, DetectError> {
        let found = |box_px| Detection {
            box_px,
            score: 0.9,
            landmarks: None,
        };
        let face = found(self.face);
        let looks = *self.looks.lock().expect("a script");
        if effort == Effort::Glance {
            return Ok(if looks == Looks::NoFace { Vec::new() } else { vec![face] });
        }
        (self.begins)();
        self.where_.lock().expect("a list").push(std::thread::current().id() == self.home);
        match looks {
            Looks::NoFace => Ok(Vec::new()),
            Looks::OneFace => Ok(vec![face]),
            Looks::Crossing => {
                let (dx, b) = (0.6 * (face.box_px.x1 - face.box_px.x0), face.box_px);
                let other = BoxPx {
                    x0: b.x0 + dx,
                    x1: b.x1 + dx,
                    ..b
                };
                Ok(vec![face, found(other)])
            }
            Looks::TwoFaces | Looks::CutFace => Ok(vec![face, found(NEWCOMER)]),
            Looks::Fail => Err(DetectError::BadOutput {
                detector: "watched",
                what: "told to fail".to_owned(),
            }),
            Looks::Panic => panic!("told to panic"),
        }
    }

    fn detect_part(&mut self, frame: &FrameView<'_>, threshold: f32, part: Part) -> Result<InPart, DetectError> {
        self.parts.lock().expect("a list").push(part);
        let half = frame.width() as f32 / 2.0;
        let (x0, x1) = if part.index == 0 { (0.0, half) } else { (half, 2.0 * half) };
        let part_px = BoxPx {
            x0,
            x1,
            y0: 0.0,
            y1: frame.height() as f32,
        };
        let cut = *self.looks.lock().expect("a script") == Looks::CutFace;
        let all = if cut {
            Vec::new()
        } else {
            self.detect(frame, threshold, part.effort)?
        };
        let newcomer = Detection {
            box_px: NEWCOMER,
            score: 0.9,
            landmarks: None,
        };
        Ok(InPart {
            whole: all.into_iter().filter(|d| d.box_px.hull(&part_px) == part_px).collect(),
            cut: if cut { vec![newcomer] } else { Vec::new() },
            part_px,
        })
    }
}

pub(crate) type Shared<T> = Arc<Mutex<T>>;

/// An engine that looks at every frame; what its next looks do, and where they were.
pub(crate) fn watched(config: &EngineConfig) -> (Engine, Shared<Looks>, Shared<Vec<bool>>) {
    let (engine, looks, where_, _) = watched_at(config, 1);
    (engine, looks, where_)
}

/// What [`watched`] gives, and the parts that were looked at.
type InParts = (Engine, Shared<Looks>, Shared<Vec<bool>>, Shared<Vec<Part>>);

/// The same with looks at an interval, 0 = as the engine finds right.
pub(crate) fn watched_at(config: &EngineConfig, interval: u32) -> InParts {
    let settings = Settings {
        mode: Mode::Nullface,
        detect_interval: interval,
        ..Settings::default()
    };
    watched_with(config, settings, Box::new(MeanFace(mesh())), || ())
}

/// The same with other settings and meshes; `begins` is called where a look begins that is no glance.
pub(crate) fn watched_with(
    config: &EngineConfig,
    settings: Settings,
    meshes: Box<dyn MeshFitter>,
    begins: impl Fn() + Send + 'static,
) -> InParts {
    let watched_parts = Shared::<Vec<Part>>::default();
    let looks = Arc::new(Mutex::new(Looks::OneFace));
    let where_ = Arc::<Mutex<Vec<bool>>>::default();
    let parts = Parts {
        detector: Box::new(Watched {
            looks: Arc::clone(&looks),
            where_: Arc::clone(&where_),
            parts: Arc::clone(&watched_parts),
            home: std::thread::current().id(),
            begins: Box::new(begins),
            face: mesh().bounding_box_px().expect("points"),
        }),
        mesh: meshes,
        recogniser: Box::new(Blocks),
        device: ResolvedDevice {
            device: Device::Cpu,
            reason: "a test".to_owned(),
            strict: false,
        },
    };
    let generator = Generator::new(basis(), SessionSecret::from_seed(1)).with_denoiser(Box::new(Fake(darker)), schedule(), 4);
    let engine = Engine::from_parts(parts, config, settings).expect("in range");
    (engine.with_generator(generator).expect("follows"), looks, where_, watched_parts)
}
