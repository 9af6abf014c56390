//! Opens the networks that a configuration asks for.

use std::path::Path;

use crate::backend::{Backend, BackendConfig, BackendError, Device, DeviceRequest};
use crate::stages::align::FaceMesh;
use crate::stages::detect::{self, Detector, DetectorKind};
use crate::stages::identify::MobileFaceNet;

use super::engine::{EngineError, Parts};
use super::settings::{DetectorChoice, DeviceChoice, EngineConfig};

impl From<DeviceChoice> for DeviceRequest {
    fn from(choice: DeviceChoice) -> Self {
        match choice {
            DeviceChoice::Auto => Self::Auto,
            DeviceChoice::Cpu => Self::Cpu,
            DeviceChoice::Cuda => Self::Cuda { ordinal: 0 },
            DeviceChoice::Tensorrt => Self::TensorRt { ordinal: 0 },
            DeviceChoice::TensorrtRtx => Self::TensorRtRtx { ordinal: 0 },
        }
    }
}

impl From<DetectorChoice> for DetectorKind {
    fn from(choice: DetectorChoice) -> Self {
        match choice {
            DetectorChoice::Auto => Self::Auto,
            DetectorChoice::Centerface => Self::CenterFace,
            DetectorChoice::Blazeface => Self::BlazeFace,
            DetectorChoice::Yunet => Self::YuNet,
            DetectorChoice::Scrfd => Self::Scrfd,
        }
    }
}

impl From<&EngineConfig> for BackendConfig {
    fn from(config: &EngineConfig) -> Self {
        Self {
            runtime_library: config.runtime_library.clone(),
            models_dir: config.models_dir.clone(),
            device: config.device.into(),
            threads: config.threads,
            device_events: config.device_events.clone(),
        }
    }
}

/// A detector.
///
/// # Errors
/// Model missing, altered or not of the expected form; names the file and the remedy.
pub(super) fn detector(backend: &Backend, choice: DetectorChoice, file: Option<&Path>) -> Result<Box<dyn Detector>, EngineError> {
    Ok(detect::open(choice.into(), backend, file)?)
}

/// Detector, mesh and recogniser by configuration.
pub(super) fn parts(backend: &Backend, config: &EngineConfig) -> Result<Parts, EngineError> {
    let detector = || detector(backend, config.detector, config.detector_model.as_deref());
    let others = || Ok::<_, BackendError>((FaceMesh::open(backend)?, MobileFaceNet::open(backend)?));
    let (detector, others) = side_by_side(backend, detector, others);
    let (detector, (mesh, recogniser)) = (detector?, others?);
    Ok(Parts {
        detector,
        mesh: Box::new(mesh),
        recogniser: Box::new(recogniser),
        device: backend.device().clone(),
    })
}

/// Two halves of an opening at once on the processor: reading, hashing and planning a network keep one core busy.
/// One after the other elsewhere, where a device is made ready.
pub(super) fn side_by_side<A: Send, B: Send>(
    backend: &Backend,
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    if backend.device().device != Device::Cpu {
        return (one(), other());
    }
    std::thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (one, other)
    })
}
