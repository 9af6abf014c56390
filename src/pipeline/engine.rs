//! The engine: frames in by [`Engine::analyse`], frames out by [`Engine::render`].
//!
//! Analysis only reads pixels and makes a plan; rendering only writes what the plan says. Between
//! them lies the lookahead: a face found in frame n is added to the plans of the frames before it
//! that have not left yet. Every stage call is caught: an error or a panic becomes a plan that
//! covers the whole frame.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nullface_kernels::cuda::Gpu;

use crate::backend::{Backend, BackendError, Device, ResolvedDevice};
use crate::frame::{FrameTime, FrameView, FrameViewMut};
use crate::stages::align::MeshFitter;
use crate::stages::blend;
use crate::stages::detect::{Detection, Detector};
use crate::stages::identify::Recogniser;
use crate::stages::track::Tracker;
use crate::tracks::TracksError;

use super::analysis::Analyst;
use super::budget::{Budget, Ladder};
use super::follow::Follower;
use super::generate::{Generator, HandoverError};
use super::outcome::{CoverReason, FrameReport, Released};
use super::plan::Plan;
use super::resume::Begin;
use super::settings::{EngineConfig, Settings};
use super::stats::{Meter, Stats};
use super::treat::{Treater, Workbench};

/// Frames that may wait between analysis and rendering; older ones are forgotten and covered whole.
const MAX_PENDING: usize = 256;

/// Why an engine could not be opened or a frame not be treated as asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A model, the runtime or a device is missing.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A pack that cannot be used.
    #[error(transparent)]
    Pack(#[from] crate::pack::PackError),
    /// A pack's basis that cannot be used.
    #[error(transparent)]
    Basis(#[from] crate::stages::prior::BasisError),
    /// A photo of somebody to be anonymised or kept that cannot serve.
    #[error(transparent)]
    Photo(#[from] super::who::PhotoError),
    /// A cut list that cannot be used.
    #[error(transparent)]
    Cuts(#[from] super::who::CutError),
    /// A track file that cannot be used.
    #[error("{}: {source}; {}", path.display(), source.remedy())]
    Tracks {
        /// Which.
        path: PathBuf,
        /// Cause.
        source: TracksError,
    },
    /// What an earlier part of the film handed over cannot be used.
    #[error("handover: {0}")]
    Handover(#[from] HandoverError),
    /// A setting outside its range.
    #[error("setting {name}: expected {expected}, got {got}")]
    Setting {
        /// Which.
        name: &'static str,
        /// Range.
        expected: &'static str,
        /// Value.
        got: String,
    },
    /// A stage failed; the frame is covered.
    #[error("{stage}: {why}")]
    Stage {
        /// Which.
        stage: &'static str,
        /// Cause.
        why: String,
    },
}

/// A frame that was analysed and waits to be rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(u64);

/// A break in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discontinuity {
    /// Frames were dropped or time jumped: tracks go on in PTS time, the next frame is detected.
    Gap,
    /// Another place of the film or another film: tracks end.
    Flush,
    /// Size or format changed: tracks end.
    Caps,
}

/// The networks that an engine runs. Tests bring their own.
pub struct Parts {
    /// Finds faces.
    pub detector: Box<dyn Detector>,
    /// Fits meshes.
    pub mesh: Box<dyn MeshFitter>,
    /// Tells persons apart.
    pub recogniser: Box<dyn Recogniser>,
    /// Where they run and why.
    pub device: ResolvedDevice,
}

/// Detects, tracks, anonymises and verifies one stream.
pub struct Engine {
    pub(super) settings: Settings,
    analyst: Analyst,
    /// Makes the plans in the analyst's place where there is a track file.
    follower: Option<Follower>,
    recogniser: Box<dyn Recogniser>,
    device: ResolvedDevice,
    pub(super) treater: Treater,
    ladder: Ladder,
    pending: VecDeque<Plan>,
    next: u64,
    pub(super) meter: Meter,
    pub(super) begin: Begin,
    /// Opens a generator when a mode that replaces is chosen later.
    config: Option<EngineConfig>,
}

impl Engine {
    /// Opens models and devices.
    ///
    /// # Errors
    /// [`EngineError`] names the file or device and the remedy.
    pub fn open(config: &EngineConfig, settings: Settings) -> Result<Self, EngineError> {
        let backend = Backend::open(&config.into())?;
        let mut engine = Self::from_parts(super::open::parts(&backend, config)?, config, settings)?;
        engine.config = Some(config.clone());
        engine.treat_on(&backend);
        if engine.settings.mode.replaces() {
            engine.adopt(Generator::open(&backend, config)?)?;
        }
        Ok(engine)
    }

    /// The same with a generator of the caller's, for the modes that replace.
    ///
    /// # Errors
    /// A setting that the generator cannot follow, a hand-over of another secret or pack.
    pub fn with_generator(mut self, generator: Generator) -> Result<Self, EngineError> {
        self.adopt(generator)?;
        Ok(self)
    }

    /// The same with frames treated on a device of the caller's: covers and new faces are then drawn there.
    #[must_use]
    pub fn with_device(mut self, gpu: Gpu) -> Self {
        self.treater.set_device(move || (!gpu.is_lost()).then(|| gpu.clone()));
        self
    }

    /// Frames are treated where networks run, as long as our kernels can be had there.
    fn treat_on(&mut self, backend: &Backend) {
        if backend.device().device != Device::Cpu {
            let backend = backend.clone();
            self.treater.set_device(move || backend.open_gpu());
        }
    }

    /// An engine over the caller's own networks.
    ///
    /// # Errors
    /// A setting outside its range, a hand-over that is none.
    pub fn from_parts(parts: Parts, config: &EngineConfig, settings: Settings) -> Result<Self, EngineError> {
        settings.check()?;
        let Parts {
            detector,
            mesh,
            recogniser,
            device,
        } = parts;
        let mut recogniser = recogniser;
        let mut analyst = Analyst::new(detector, mesh, config, &settings)?;
        analyst.choose(&settings.who, recogniser.as_mut())?;
        analyst.keep(&settings.keep_tracks, recogniser.as_ref());
        let mut treater = Treater::default();
        treater.set_device_events(config.device_events.clone());
        Ok(Self {
            analyst,
            follower: config.tracks.as_deref().map(Follower::open).transpose()?,
            settings,
            recogniser,
            device,
            treater,
            ladder: Ladder::default(),
            pending: VecDeque::new(),
            next: 0,
            meter: Meter::default(),
            begin: Begin::with(config.handover.as_deref())?,
            config: None,
        })
    }

    /// Takes new settings from the next frame on.
    ///
    /// # Errors
    /// A value outside its range; the old settings stay.
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), EngineError> {
        settings.check()?;
        if let Some(config) = &self.config
            && settings.mode.replaces()
            && !self.treater.can_replace()
        {
            let backend = Backend::open(&config.into())?;
            self.adopt(Generator::open(&backend, config)?)?;
        }
        self.treater.configure(&settings)?;
        self.analyst.configure(&settings)?;
        if settings.who != self.settings.who {
            self.analyst.choose(&settings.who, self.recogniser.as_mut())?;
        }
        self.analyst.keep(&settings.keep_tracks, self.recogniser.as_ref());
        self.settings = settings;
        Ok(())
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where networks run and why.
    #[must_use]
    pub fn device(&self) -> &ResolvedDevice {
        &self.device
    }

    /// Looks at a frame and remembers what it must be treated with. `hints` are faces that somebody
    /// upstream found. A fault is remembered too: the frame will be covered whole.
    pub fn analyse(&mut self, frame: &FrameView<'_>, at: FrameTime, hints: &[Detection]) -> (FrameId, Option<EngineError>) {
        self.begin_to_show();
        let id = FrameId(self.next);
        self.next += 1;
        let mut plan = Plan::new(id, at, frame);
        let started = Instant::now();
        let Self {
            analyst,
            follower,
            recogniser,
            pending,
            settings,
            ..
        } = self;
        let looked = catch_unwind(AssertUnwindSafe(|| match follower {
            Some(follower) => {
                let (mesh, cuts) = analyst.mesh_and_cuts();
                follower.look(frame, at, settings, cuts, (mesh, recogniser.as_mut()), &mut plan)
            }
            None => analyst.look(frame, at, hints, settings, recogniser.as_mut(), &mut plan, pending),
        }));
        let fault = match looked {
            Ok(Ok(tracks_started)) => {
                self.meter.started(tracks_started);
                None
            }
            Ok(Err(error)) => Some(error),
            Err(_) => {
                self.analyst.flush();
                Some(EngineError::Stage {
                    stage: "analysis",
                    why: "a stage panicked".to_owned(),
                })
            }
        };
        if let Some(error) = &fault {
            plan.withheld = Some(CoverReason::DetectorFailed);
            plan.note(error.to_string());
        }
        plan.took = started.elapsed();
        self.pending.push_back(plan);
        while self.pending.len() > MAX_PENDING {
            self.pending.pop_front();
        }
        (id, fault)
    }

    /// Treats the pixels of a frame analysed before. Never fails open: what cannot be treated is covered.
    /// Where the settings have a deadline, what analysis has left of it is the budget.
    pub fn render(&mut self, id: FrameId, frame: &mut FrameViewMut<'_>, at: FrameTime) -> Released {
        let took = self.pending.iter().find(|p| p.id == id).map_or(Duration::ZERO, |p| p.took);
        let budget = Budget {
            time: self.settings.deadline.map(|deadline| deadline.saturating_sub(took)),
            ..Budget::default()
        };
        self.render_within(id, frame, at, budget)
    }

    /// The same within a budget of the caller's, who knows how long the frame has waited. What a rung
    /// costs on this machine is learnt from timed frames, and the ladder steps down to what fits: see
    /// [`Budget`]. Where no time is left at all, faces are filled with one colour.
    pub fn render_within(&mut self, id: FrameId, frame: &mut FrameViewMut<'_>, at: FrameTime, budget: Budget) -> Released {
        let started = Instant::now();
        // Frames leave in order: a plan older than this one belongs to a frame that never will.
        while self.pending.front().is_some_and(|p| p.id < id) {
            self.pending.pop_front();
        }
        let known = self.pending.front().is_some_and(|p| p.id == id);
        let plan = if known { self.pending.pop_front() } else { None };
        let before = plan.as_ref().map_or(Duration::ZERO, |p| p.took);
        let withheld = |reason, fault: Option<String>| FrameReport {
            pts: at.pts,
            detected: false,
            faces: Vec::new(),
            withheld: Some(reason),
            fault,
        };
        let report = match plan {
            None => {
                blend::apply_frame(frame, self.settings.fill_rgb);
                withheld(CoverReason::NotAnalysed, Some("the frame was never analysed".to_owned()))
            }
            Some(plan) => {
                let Self {
                    treater,
                    settings,
                    recogniser,
                    analyst,
                    ladder,
                    ..
                } = self;
                let (mesh, look) = analyst.mesh_and_look();
                let mut bench = Workbench {
                    settings,
                    recogniser: recogniser.as_mut(),
                    mesh,
                    look,
                    ladder,
                    budget,
                };
                match catch_unwind(AssertUnwindSafe(|| treater.treat(plan, frame, &mut bench))) {
                    Ok((report, started)) => {
                        self.meter.started(started);
                        report
                    }
                    Err(_) => {
                        blend::apply_frame(frame, self.settings.fill_rgb);
                        withheld(CoverReason::StageFailed, Some("a stage panicked".to_owned()))
                    }
                }
            }
        };
        self.meter.frame(&report, before + started.elapsed());
        Released::new(report)
    }

    /// [`Self::analyse`] and [`Self::render`] in one, for callers without lookahead.
    pub fn process(&mut self, frame: &mut FrameViewMut<'_>, at: FrameTime, hints: &[Detection]) -> Released {
        let (id, _) = self.analyse(&frame.as_image(), at, hints);
        self.render(id, frame, at)
    }

    /// Gives a frame's plan to who writes it down instead of rendering; `None` where it was never analysed.
    pub(super) fn take_plan(&mut self, id: FrameId) -> Option<Plan> {
        while self.pending.front().is_some_and(|p| p.id < id) {
            self.pending.pop_front();
        }
        let known = self.pending.front().is_some_and(|p| p.id == id);
        if known { self.pending.pop_front() } else { None }
    }

    /// Tracks of the frame analysed last.
    pub(super) fn tracker(&self) -> &Tracker {
        self.analyst.tracker()
    }

    /// Cosine from which two embeddings are of one person.
    pub(super) fn same_person_cos(&self) -> f32 {
        self.recogniser.same_person_cos()
    }

    /// Tells of a break. A flush or new caps forget the frames analysed and not rendered yet: should
    /// one of them be rendered all the same, it is covered whole.
    pub fn discontinuity(&mut self, kind: Discontinuity) {
        match kind {
            Discontinuity::Gap => self.analyst.gap(),
            Discontinuity::Flush | Discontinuity::Caps => {
                self.pending.clear();
                self.analyst.flush();
                if let Some(follower) = &mut self.follower {
                    follower.flush();
                }
                self.treater.flush();
            }
        }
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.meter.stats()
    }
}
