//! Opens the networks that a configuration asks for.

use super::engine::{EngineError, Parts};
use super::settings::{EngineConfig, Settings};

/// Detector, mesh and recogniser by configuration.
pub(super) fn parts(_config: &EngineConfig, _settings: &Settings) -> Result<Parts, EngineError> {
    Err(EngineError::Stage {
        stage: "open",
        why: "no networks yet".to_owned(),
    })
}
