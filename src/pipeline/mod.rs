//! Order, queues, deadlines, the ladder and the statistics. [`Engine`] is the library's front door.

mod access;
mod analysis;
mod beside;
mod budget;
mod engine;
mod fineness;
mod follow;
mod generate;
mod ladder;
pub mod networks;
mod open;
mod outcome;
mod overlap;
mod plan;
mod reading;
mod resume;
mod schedule;
mod scout;
mod settings;
mod shared;
mod shares;
mod stats;
mod surface;
mod swap;
mod treat;
mod turns;
mod who;

/// A driver whose kernels are the same sources on the processor.
#[cfg(all(test, target_os = "linux"))]
#[path = "../../kernels/tests/support/shim.rs"]
mod shim;

pub use budget::Budget;
pub use engine::{Discontinuity, Engine, EngineError, FrameId, Parts};
pub use generate::{Generator, Handover, HandoverError};
pub use ladder::Governor;
pub use outcome::{CoverReason, FaceReport, FrameReport, Outcome, Released, Rung};
pub use overlap::{Due, Look};
pub use scout::{FilmFile, Scout};
pub use settings::{
    DetectorChoice, DeviceChoice, EngineConfig, FaceRegion, IdentityChoice, Means, Mode, OnFailure, PrecisionChoice, Preset, Settings,
    SolverChoice, UnknownWord,
};
pub use stats::Stats;
pub use swap::DetectorOpener;
pub use who::{Choice, Cut, CutAction, CutError, CutList, KeepReason, PhotoError, UnknownWho, Who};
