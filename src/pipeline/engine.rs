//! The engine: frames in by [`Engine::analyse`], frames out by [`Engine::render`].

use crate::backend::BackendError;
use crate::frame::{FrameTime, FrameView, FrameViewMut};
use crate::stages::detect::Detection;

use super::outcome::{CoverReason, FrameReport, Released};
use super::settings::{EngineConfig, Settings};

/// Why an engine could not be opened or a frame not be treated as asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A model, the runtime or a device is missing.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A setting outside its range.
    #[error("setting {name}: expected {expected}, got {got}")]
    Setting {
        /// Which.
        name: &'static str,
        /// Range.
        expected: String,
        /// Value.
        got: String,
    },
    /// A stage failed; the frame was covered.
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

/// Counters since the engine was opened.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Stats {
    /// Frames rendered.
    pub frames: u64,
    /// Frames on which the detector ran.
    pub detected: u64,
    /// Face regions handled.
    pub faces: u64,
    /// Tracks started.
    pub tracks: u64,
    /// Regions per rung: replaced, blur, pixelate, solid.
    pub replaced: u64,
    /// Blurred regions.
    pub blurred: u64,
    /// Pixelated regions.
    pub pixelated: u64,
    /// Regions filled.
    pub solid: u64,
    /// Frames covered whole.
    pub withheld: u64,
    /// Covers that were not asked for.
    pub fallbacks: u64,
    /// Largest cosine of an output to its source that was measured.
    pub worst_cos: Option<f32>,
    /// Median time to treat a frame, ms.
    pub latency_p50_ms: f32,
    /// 95th percentile of the same, ms.
    pub latency_p95_ms: f32,
}

/// Detects, tracks, anonymises and verifies one stream.
pub struct Engine {
    settings: Settings,
    next: u64,
    stats: Stats,
}

impl Engine {
    /// Opens models and devices.
    ///
    /// # Errors
    /// [`EngineError`] names the file or device and the remedy.
    pub fn open(_config: &EngineConfig, settings: Settings) -> Result<Self, EngineError> {
        Ok(Self { settings, next: 0, stats: Stats::default() })
    }

    /// Takes new settings from the next frame on.
    ///
    /// # Errors
    /// A value outside its range; the old settings stay.
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), EngineError> {
        self.settings = settings;
        Ok(())
    }

    /// Looks at a frame and remembers what it must be treated with. `hints` are faces that somebody
    /// upstream found. A fault is remembered too: the frame will be covered whole.
    pub fn analyse(&mut self, _frame: &FrameView<'_>, _at: FrameTime, _hints: &[Detection]) -> (FrameId, Option<EngineError>) {
        let id = FrameId(self.next);
        self.next += 1;
        (id, None)
    }

    /// Treats the pixels of a frame analysed before. Never fails open: what cannot be treated is covered.
    pub fn render(&mut self, _id: FrameId, frame: &mut FrameViewMut<'_>, at: FrameTime) -> Released {
        for plane in frame.planes_mut() {
            plane.data.fill(0);
        }
        self.stats.frames += 1;
        Released::new(FrameReport {
            pts: at.pts,
            detected: false,
            faces: Vec::new(),
            withheld: Some(CoverReason::NotAnalysed),
            fault: None,
        })
    }

    /// [`Self::analyse`] and [`Self::render`] in one, for callers without lookahead.
    pub fn process(&mut self, frame: &mut FrameViewMut<'_>, at: FrameTime, hints: &[Detection]) -> Released {
        let (id, _) = self.analyse(&frame.as_image(), at, hints);
        self.render(id, frame, at)
    }

    /// Tells of a break. Frames analysed and not rendered are forgotten on `Flush` and `Caps`.
    pub fn discontinuity(&mut self, _kind: Discontinuity) {}

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }
}
