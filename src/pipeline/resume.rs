//! Goes on with a film where an earlier part ended, in whatever process that was.
//!
//! 1. the decisions that the earlier part handed over are taken ([`super::EngineConfig::handover`])
//! 2. the frames before the part are worked through and not shown ([`Engine::rehearse`]): meshes are on their faces,
//!    sources and shapes are learnt, edits are in the cache
//! 3. with the first frame that is shown the decisions are taken once more: what the rehearsal failed or passed has
//!    been reckoned with by the earlier part already
//!
//! So a part follows from its frames, those before it, the track file, the secret and the hand-over, and from nothing
//! else: it is the same whoever makes it, and whenever.

use crate::frame::{FrameTime, FrameViewMut};

use super::engine::{Engine, EngineError};
use super::generate::{Generator, Handover};

/// What an engine begins with.
#[derive(Debug, Default)]
pub(super) struct Begin {
    handover: Option<Handover>,
    /// Whether the last frame was not to be shown.
    rehearsed: bool,
}

impl Begin {
    pub(super) fn with(handover: Option<&str>) -> Result<Self, EngineError> {
        Ok(Self {
            handover: handover.map(Handover::parse).transpose()?,
            rehearsed: false,
        })
    }
}

impl Engine {
    /// Gives the engine its generator, which goes on from what was handed over.
    pub(super) fn adopt(&mut self, generator: Generator) -> Result<(), EngineError> {
        if let Some(handover) = &self.begin.handover {
            generator.accepts(handover)?;
        }
        self.treater.set_generator(generator);
        self.treater.configure(&self.settings)?;
        self.take_over();
        Ok(())
    }

    /// Works through a frame that will not be shown, so that the next one finds what it would find in a film made at
    /// once. Nothing is counted. The frame is treated like any other, and is of no further use; frames analysed before
    /// it and not rendered are forgotten.
    pub fn rehearse(&mut self, frame: &mut FrameViewMut<'_>, at: FrameTime) {
        let meter = std::mem::take(&mut self.meter);
        self.begin.rehearsed = false;
        // Nobody releases what is not shown.
        let _ = self.process(frame, at, &[]);
        self.begin.rehearsed = true;
        self.meter = meter;
    }

    /// Ends a rehearsal, if there was one.
    pub(super) fn begin_to_show(&mut self) {
        if std::mem::take(&mut self.begin.rehearsed) {
            self.take_over();
        }
    }

    fn take_over(&mut self) {
        if let Some(handover) = &self.begin.handover {
            self.treater.take_over(handover);
        }
    }

    /// What was decided about people so far, for the next part of the film: [`super::EngineConfig::handover`]. `None`
    /// where no faces are replaced.
    ///
    /// # Errors
    /// It cannot be put into words.
    pub fn handover(&self) -> Result<Option<String>, EngineError> {
        Ok(self.treater.generator().map(Generator::handover).transpose()?)
    }
}
