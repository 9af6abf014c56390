//! What the element needs of an engine, small enough to be faked.
//!
//! Tests put processors here that panic, sleep and lie. They must wrap a real engine all the same:
//! only the library makes a [`Released`], so no test double can forge the proof that a frame may go.

use nullface::backend::ResolvedDevice;
use nullface::frame::{FrameTime, FrameView, FrameViewMut};
use nullface::pipeline::{Budget, Discontinuity, Due, Engine, EngineConfig, EngineError, FrameId, Look, Means, Released, Settings, Stats};
use nullface::stages::detect::Detection;

/// An engine as the element sees it. Each method is that of [`Engine`] of its name.
pub trait Processor: Send {
    /// Looks at a frame and remembers what it must be treated with.
    fn analyse(&mut self, frame: &FrameView<'_>, at: FrameTime, hints: &[Detection]) -> (FrameId, Option<EngineError>);

    /// Treats the pixels of a frame analysed before ([`Engine::render_within`]).
    fn render(&mut self, id: FrameId, frame: &mut FrameViewMut<'_>, at: FrameTime, budget: Budget) -> Released;

    /// Both, for two frames ([`Engine::overlap`]).
    fn overlap(&mut self, due: Due<'_, '_>, look: Look<'_>) -> (Released, (FrameId, Option<EngineError>)) {
        let released = self.render(due.id, due.frame, due.at, due.budget);
        (released, self.analyse(look.frame, look.at, look.hints))
    }

    /// Works through a frame that is not shown ([`Engine::rehearse`]).
    fn rehearse(&mut self, frame: &mut FrameViewMut<'_>, at: FrameTime);

    /// What was decided about people so far ([`Engine::handover`]).
    ///
    /// # Errors
    /// It cannot be put into words.
    fn handover(&self) -> Result<Option<String>, EngineError>;

    /// Tells of a break in the stream.
    fn discontinuity(&mut self, kind: Discontinuity);

    /// Takes new settings from the next frame on.
    ///
    /// # Errors
    /// A value outside its range; the old settings stay.
    fn set_settings(&mut self, settings: Settings) -> Result<(), EngineError>;

    /// Takes another lookahead and another detector from the next frame on ([`Engine::set_means`]).
    fn set_means(&mut self, means: &Means);

    /// What of them is in force.
    fn means(&self) -> Means;

    /// Counters.
    fn stats(&self) -> Stats;

    /// Where networks run and why.
    fn device(&self) -> &ResolvedDevice;
}

impl Processor for Engine {
    fn analyse(&mut self, frame: &FrameView<'_>, at: FrameTime, hints: &[Detection]) -> (FrameId, Option<EngineError>) {
        Self::analyse(self, frame, at, hints)
    }

    fn render(&mut self, id: FrameId, frame: &mut FrameViewMut<'_>, at: FrameTime, budget: Budget) -> Released {
        self.render_within(id, frame, at, budget)
    }

    fn overlap(&mut self, due: Due<'_, '_>, look: Look<'_>) -> (Released, (FrameId, Option<EngineError>)) {
        Self::overlap(self, due, look)
    }

    fn rehearse(&mut self, frame: &mut FrameViewMut<'_>, at: FrameTime) {
        Self::rehearse(self, frame, at);
    }

    fn handover(&self) -> Result<Option<String>, EngineError> {
        Self::handover(self)
    }

    fn discontinuity(&mut self, kind: Discontinuity) {
        Self::discontinuity(self, kind);
    }

    fn set_settings(&mut self, settings: Settings) -> Result<(), EngineError> {
        Self::set_settings(self, settings)
    }

    fn set_means(&mut self, means: &Means) {
        Self::set_means(self, means);
    }

    fn means(&self) -> Means {
        Self::means(self)
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }

    fn device(&self) -> &ResolvedDevice {
        Self::device(self)
    }
}

/// Opens a processor; called at start and after a panic.
pub type ProcessorFactory = dyn Fn(&EngineConfig, &Settings) -> Result<Box<dyn Processor>, EngineError> + Send + Sync;

/// The factory of everyday: the real engine.
///
/// # Errors
/// What [`Engine::open`] says.
pub(super) fn open_engine(config: &EngineConfig, settings: &Settings) -> Result<Box<dyn Processor>, EngineError> {
    Ok(Box::new(Engine::open(config, settings.clone())?))
}
