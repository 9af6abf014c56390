//! Order, queues, deadlines, the ladder and the statistics. [`Engine`] is the library's front door.

mod engine;
mod outcome;
mod settings;

pub use engine::{Discontinuity, Engine, EngineError, FrameId, Stats};
pub use outcome::{CoverReason, FaceReport, FrameReport, Outcome, Released, Rung};
pub use settings::{DetectorChoice, DeviceChoice, EngineConfig, Mode, OnFailure, Settings, UnknownWord};
