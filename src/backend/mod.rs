//! The only user of ONNX Runtime and OpenCV's networks: sessions, devices, residency.
//!
//! [`Backend::open`] finds and loads the runtime, decides the device and reads the manifest; stages
//! ask it for a [`Session`] by the model's name. [`describe`] tells what was found, for `doctor`.

mod describe;
mod device;
mod manifest;
mod opencv_yn;
mod runtime;
mod search;
mod session;

use std::path::{Path, PathBuf};

pub use describe::{Description, Finding, describe};
pub use device::{Device, DeviceRequest, GpuParts, ResolvedDevice};
pub use manifest::{CropSpecEntry, ModelEntry, Models, SamePersonCos, TensorSpec};
pub use opencv_yn::FaceDetectorYn;
pub use runtime::{Runtime, find_library, find_models_dir};
pub use session::{Session, first_not_finite};

/// What [`Backend::open`] needs to know; every field has a default.
#[derive(Debug, Clone, Default)]
pub struct BackendConfig {
    /// ONNX Runtime's library or its folder; searched for where `None`.
    pub runtime_library: Option<PathBuf>,
    /// Folder of the small models; searched for where `None`.
    pub models_dir: Option<PathBuf>,
    /// Device asked for.
    pub device: DeviceRequest,
    /// Threads for networks; 0 = one a core. The first backend of a process sizes the common pool.
    pub threads: usize,
}

/// Runtime, device and models, ready to open sessions.
#[derive(Debug, Clone)]
pub struct Backend {
    runtime: &'static Runtime,
    device: ResolvedDevice,
    models: Models,
    threads: usize,
}

impl Backend {
    /// Finds and loads the runtime, decides the device, reads the manifest.
    ///
    /// # Errors
    /// [`BackendError`] names what is missing and the remedy.
    pub fn open(config: &BackendConfig) -> Result<Self, BackendError> {
        let models = Models::open(&find_models_dir(config.models_dir.as_deref())?)?;
        let runtime = Runtime::get(config.runtime_library.as_deref(), config.threads)?;
        let device = device::resolve(config.device, runtime)?;
        Ok(Self { runtime, device, models, threads: config.threads })
    }

    /// A network of the manifest.
    ///
    /// # Errors
    /// [`BackendError`]: missing, truncated or altered file, wrong graph, device that does not start.
    pub fn session(&self, name: &str) -> Result<Session, BackendError> {
        let (entry, bytes) = self.models.read(name)?;
        let path = self.models.folder().join(&entry.file).display().to_string();
        Session::load(self.runtime, name, &path, &bytes, Some(entry), &self.device, self.threads)
    }

    /// A network from the user's own file, which no manifest vouches for.
    ///
    /// # Errors
    /// [`BackendError`]: unreadable file, wrong graph, device that does not start.
    pub fn session_from_file(&self, name: &str, path: &Path) -> Result<Session, BackendError> {
        let bytes = std::fs::read(path).map_err(|e| BackendError::Model {
            name: name.to_owned(),
            path: path.display().to_string(),
            why: format!("cannot be read: {e}"),
            remedy: "name a readable ONNX file".to_owned(),
        })?;
        Session::load(self.runtime, name, &path.display().to_string(), &bytes, None, &self.device, self.threads)
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &'static Runtime {
        self.runtime
    }

    /// The device chosen and why.
    #[must_use]
    pub fn device(&self) -> &ResolvedDevice {
        &self.device
    }

    /// The models.
    #[must_use]
    pub fn models(&self) -> &Models {
        &self.models
    }
}

/// Why a network could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// ONNX Runtime's library is not where it was looked for.
    #[error("ONNX Runtime not found (looked at {looked}): {remedy}")]
    RuntimeMissing {
        /// Paths, in order.
        looked: String,
        /// What to do.
        remedy: String,
    },
    /// A library was found that cannot be used.
    #[error("ONNX Runtime {path}: {why}; {remedy}")]
    Runtime {
        /// File.
        path: String,
        /// What is wrong.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// A model file is missing, unreadable or not the one of the manifest.
    #[error("model {name} ({path}): {why}; {remedy}")]
    Model {
        /// Model's name.
        name: String,
        /// File.
        path: String,
        /// What is wrong.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// The device asked for cannot be had.
    #[error("device {device}: {why}")]
    Device {
        /// Device's name.
        device: String,
        /// What is wrong.
        why: String,
    },
    /// A run failed.
    #[error("{model}: {why}")]
    Run {
        /// Model's name.
        model: String,
        /// What went wrong.
        why: String,
    },
    /// An output has another shape or type than the manifest says.
    #[error("{model}: output {output}: expected {expected}, got {got}")]
    Shape {
        /// Model's name.
        model: String,
        /// Output's name.
        output: String,
        /// Shape expected.
        expected: String,
        /// Shape got.
        got: String,
    },
}
