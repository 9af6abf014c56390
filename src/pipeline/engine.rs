//! The engine: frames in by [`Engine::analyse`], frames out by [`Engine::render`].
//!
//! Analysis only reads pixels and makes a plan; rendering only writes what the plan says. Between
//! them lies the lookahead: a face found in frame n is added to the plans of the frames before it
//! that have not left yet. Both can be had at once, for two frames: [`Engine::overlap`]. Every stage call is
//! caught: an error or a panic becomes a plan that covers the whole frame.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nullface_kernels::cuda::Gpu;
use rayon::ThreadPool;

use crate::backend::{Backend, BackendError, Device, ResolvedDevice};
use crate::frame::{FrameTime, FrameView, FrameViewMut};
use crate::stages::align::MeshFitter;
use crate::stages::detect::{Detection, Detector};
use crate::stages::identify::Recogniser;
use crate::stages::track::Tracker;
use crate::tracks::TracksError;

use super::analysis::Analyst;
use super::budget::{Budget, Ladder};
use super::follow::Follower;
use super::generate::{Generator, HandoverError};
use super::open::{parts, side_by_side};
use super::outcome::Released;
use super::overlap::{Looking, Rendered, Rendering, thread_ahead};
use super::plan::Plan;
use super::reading::{MOST_BYTES, Reader, within};
use super::resume::Begin;
use super::settings::{EngineConfig, Means, Settings};
use super::shared::{SharedMesh, SharedRecogniser};
use super::stats::{Meter, Stats};
use super::swap::{DetectorOpener, Swap};
use super::treat::Treater;

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
    mesh: SharedMesh,
    recogniser: SharedRecogniser,
    device: ResolvedDevice,
    pub(super) treater: Treater,
    reader: Reader,
    ladder: Ladder,
    pub(super) pending: VecDeque<Plan>,
    next: u64,
    /// Looks at a frame while another is rendered.
    pub(super) ahead: Option<ThreadPool>,
    two_cores: bool,
    lookahead: usize,
    swap: Swap,
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
        let generator = || settings.mode.replaces().then(|| Generator::open(&backend, config)).transpose();
        let (parts, generator) = side_by_side(&backend, || parts(&backend, config), generator);
        let mut engine = Self::from_parts(parts?, config, settings)?;
        engine.config = Some(config.clone());
        engine.treat_on(&backend);
        let shared = backend.clone();
        let open = move |choice, file: Option<&std::path::Path>| super::open::detector(&shared, choice, file);
        engine.swap.set_opener(Arc::new(open));
        if let Some(generator) = generator? {
            engine.adopt(generator)?;
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

    /// The same with frames treated on a device of the caller's: covers and new faces are then drawn there, and networks
    /// that run there read frames there.
    #[must_use]
    pub fn with_device(mut self, gpu: Gpu) -> Self {
        let open = move || (!gpu.is_lost()).then(|| gpu.clone());
        self.reader.set_device(open.clone());
        self.treater.set_device(open);
        self
    }

    /// The same with detectors of the caller's for those who ask for another in mid-stream ([`Self::set_means`]).
    #[must_use]
    pub fn with_detectors(mut self, opener: Arc<DetectorOpener>) -> Self {
        self.swap.set_opener(opener);
        self
    }

    /// Frames are read and treated where networks run, as long as our kernels can be had there.
    fn treat_on(&mut self, backend: &Backend) {
        if backend.device().device != Device::Cpu {
            let backend = backend.clone();
            let open = move || backend.open_gpu();
            self.reader.set_device(open.clone());
            self.treater.set_device(open);
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
        let (mesh, mut recogniser) = (SharedMesh::new(mesh), SharedRecogniser::new(recogniser));
        let mut analyst = Analyst::new(detector, mesh.clone(), config, &settings)?;
        analyst.choose(&settings.who, &mut recogniser)?;
        analyst.keep(&settings.keep_tracks, &recogniser);
        let mut treater = Treater::default();
        treater.set_device_events(config.device_events.clone());
        let mut reader = Reader::default();
        reader.set_events(config.device_events.clone());
        Ok(Self {
            analyst,
            follower: config.tracks.as_deref().map(Follower::open).transpose()?,
            settings,
            mesh,
            recogniser,
            device,
            treater,
            reader,
            ladder: Ladder::default(),
            pending: VecDeque::new(),
            next: 0,
            ahead: thread_ahead(config.lookahead, config.has_two_cores()),
            two_cores: config.has_two_cores(),
            lookahead: config.lookahead,
            swap: Swap::new(config),
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
            self.analyst.choose(&settings.who, &mut self.recogniser)?;
        }
        self.analyst.keep(&settings.keep_tracks, &self.recogniser);
        self.settings = settings;
        Ok(())
    }

    /// Takes another lookahead and another detector from the next frame on. A detector is opened beside the stream:
    /// until it is there the one before looks, and one that cannot be opened is told of
    /// ([`EngineConfig::device_events`]) and changes nothing. Who holds fewer frames from now on renders what is too
    /// many before the next analysis.
    pub fn set_means(&mut self, means: &Means) {
        if means.lookahead != self.lookahead {
            self.lookahead = means.lookahead;
            self.analyst.set_lookahead(means.lookahead);
            if means.lookahead == 0 || self.ahead.is_none() {
                self.ahead = thread_ahead(means.lookahead, self.two_cores);
            }
        }
        self.swap.ask(means);
    }

    /// The means in force: of the detector, what looks now, not what is being opened.
    #[must_use]
    pub fn means(&self) -> Means {
        let (detector, detector_model) = self.swap.in_force();
        Means {
            lookahead: self.lookahead,
            detector,
            detector_model,
        }
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
        let mut plan = self.new_plan(at, frame);
        let (started, fault) = self.looking().look(frame, at, hints, &mut plan);
        (self.take_in(plan, started), fault)
    }

    pub(super) fn new_plan(&mut self, at: FrameTime, frame: &FrameView<'_>) -> Plan {
        if let Some(detector) = self.swap.ready() {
            self.analyst.set_detector(detector, &self.settings);
        }
        let id = FrameId(self.next);
        self.next += 1;
        Plan::new(id, at, frame)
    }

    /// The part that looks.
    pub(super) fn looking(&mut self) -> Looking<'_> {
        self.halves().0
    }

    /// The part that looks, and the part that renders another frame meanwhile.
    pub(super) fn halves(&mut self) -> (Looking<'_>, Rendering<'_>) {
        let looking = Looking {
            analyst: &mut self.analyst,
            follower: &mut self.follower,
            recogniser: self.recogniser.clone(),
            pending: &mut self.pending,
            reader: &mut self.reader,
            settings: &self.settings,
        };
        let rendering = Rendering {
            treater: &mut self.treater,
            ladder: &mut self.ladder,
            mesh: self.mesh.clone(),
            recogniser: self.recogniser.clone(),
            look: None,
            settings: &self.settings,
        };
        (looking, rendering)
    }

    /// Keeps the plan of a frame that was looked at.
    pub(super) fn take_in(&mut self, mut plan: Plan, started: usize) -> FrameId {
        self.meter.started(started);
        let held = self.pending.iter().filter_map(|p| p.resident.as_ref());
        plan.resident = within(held, plan.resident.take(), MOST_BYTES);
        let id = plan.id;
        self.pending.push_back(plan);
        while self.pending.len() > MAX_PENDING {
            self.pending.pop_front();
        }
        id
    }

    /// Treats the pixels of a frame analysed before, which are still those that were analysed. Never fails open: what cannot be treated is covered.
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
        let plan = self.take_plan(id);
        self.analyst.set_pace(budget.pace);
        let rendering = Rendering {
            treater: &mut self.treater,
            ladder: &mut self.ladder,
            mesh: self.mesh.clone(),
            recogniser: self.recogniser.clone(),
            look: Some(self.analyst.late_look()),
            settings: &self.settings,
        };
        let rendered = rendering.render(plan, frame, at, budget);
        self.let_go(rendered)
    }

    /// [`Self::analyse`] and [`Self::render`] in one, for callers without lookahead.
    pub fn process(&mut self, frame: &mut FrameViewMut<'_>, at: FrameTime, hints: &[Detection]) -> Released {
        let (id, _) = self.analyse(&frame.as_image(), at, hints);
        self.render(id, frame, at)
    }

    /// Counts what was rendered, and lets it go.
    pub(super) fn let_go(&mut self, rendered: Rendered) -> Released {
        self.meter.started(rendered.started);
        self.meter.frame(&rendered.report, rendered.took);
        Released::new(rendered.report)
    }

    /// Gives a frame's plan to who renders it or writes it down; `None` where it was never analysed. Frames leave in
    /// order: a plan older than this one belongs to a frame that never will.
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
