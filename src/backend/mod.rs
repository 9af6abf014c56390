//! The only user of ONNX Runtime and OpenCV's networks: sessions, devices, residency.
//!
//! [`Backend::open`] finds and loads the runtime, decides the device and reads the manifest; stages
//! ask it for a [`Session`] by the model's name. [`describe`] tells what was found, for `doctor`.

mod arena;
mod bound;
mod build;
mod crops;
mod describe;
mod device;
mod events;
mod gpu;
mod graphs;
mod lifeline;
mod manifest;
mod network;
mod opencv_yn;
mod providers;
mod runtime;
mod search;
mod session;
mod small;
mod stream;
#[cfg(test)]
pub(crate) mod testing;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lifeline::Place;
use nullface_kernels::cuda::Gpu;

pub use bound::Bound;
pub use crops::CropError;
pub use describe::{Description, Finding, describe};
pub use device::{Device, DeviceRequest, GpuParts, ResolvedDevice};
pub use events::{DeviceEvent, DeviceEvents};
pub use manifest::{CropSpecEntry, ModelEntry, Models, TensorSpec, Threshold, Thresholds};
pub use network::{ExternalData, Input, Network, NetworkSource, Outlet};
pub use opencv_yn::FaceDetectorYn;
pub use providers::BATCH;
pub use runtime::{Runtime, find_eval_models_dir, find_library, find_models_dir, find_own_pack_dir, find_pack_dir, user_eval_models_dir};
pub use session::{Session, first_not_finite};
pub use small::SmallSession;

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
    /// Who is told when something is built for the device, or the device is lost.
    pub device_events: DeviceEvents,
}

/// Runtime, device and models, ready to open sessions.
#[derive(Debug, Clone)]
pub struct Backend {
    runtime: &'static Runtime,
    device: ResolvedDevice,
    models: Models,
    threads: usize,
    events: DeviceEvents,
    /// Opened when first asked for; the same for all clones.
    gpu: Arc<Mutex<Option<Gpu>>>,
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
        Ok(Self {
            runtime,
            device,
            models,
            threads: config.threads,
            events: config.device_events.clone(),
            gpu: Arc::default(),
        })
    }

    /// A network of the manifest.
    ///
    /// # Errors
    /// [`BackendError`]: missing, truncated or altered file, wrong graph, device that does not start.
    pub fn session(&self, name: &str) -> Result<Session, BackendError> {
        self.session_on(name, self.threads)
    }

    /// A network of the manifest that is too small to be shared among threads for one picture.
    ///
    /// # Errors
    /// As [`Backend::session`].
    pub fn small_session(&self, name: &str) -> Result<SmallSession, BackendError> {
        SmallSession::open(self, name)
    }

    fn session_on(&self, name: &str, threads: usize) -> Result<Session, BackendError> {
        let (entry, bytes) = self.models.read(name)?;
        let path = self.models.folder().join(&entry.file).display().to_string();
        let place = Place { threads, ..self.place() };
        Session::load(self.runtime, name, &path, &bytes, Some(entry), &place)
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
        Session::load(self.runtime, name, &path.display().to_string(), &bytes, None, &self.place())
    }

    /// A network with several inputs from bytes that the caller has verified.
    ///
    /// # Errors
    /// [`BackendError`]: wrong graph, device that does not start.
    pub fn network(&self, name: &str, bytes: &[u8]) -> Result<Network, BackendError> {
        self.network_from(NetworkSource {
            name: name.to_owned(),
            bytes: bytes.into(),
            data: None,
            inputs: Vec::new(),
            half: false,
            replays: false,
        })
    }

    /// The same with everything that is known of the network.
    ///
    /// # Errors
    /// [`BackendError`]: wrong graph or weights, device that does not start.
    pub fn network_from(&self, source: NetworkSource) -> Result<Network, BackendError> {
        Network::load(self.runtime, source, &self.place())
    }

    fn place(&self) -> Place<'_> {
        Place {
            device: &self.device,
            threads: self.threads,
            events: &self.events,
            streams: stream::Streams::new({
                let backend = self.clone();
                move || backend.open_gpu()
            }),
        }
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &'static Runtime {
        self.runtime
    }

    /// Who is told of what happens to the device.
    #[must_use]
    pub fn device_events(&self) -> &DeviceEvents {
        &self.events
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::testing::backend;
    use super::{Backend, BackendConfig, BackendError, DeviceRequest, Models, describe};

    /// A folder with the manifest and one model, each changed as a test wants.
    fn copy_of(name: &str, manifest: impl Fn(String) -> String, model: impl Fn(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
        let (backend, folder) = (backend(), tempfile::tempdir().expect("folder"));
        let from = backend.models().folder().to_path_buf();
        let text = std::fs::read_to_string(from.join("manifest.toml")).expect("manifest");
        std::fs::write(folder.path().join("manifest.toml"), manifest(text)).expect("write");
        let file = &backend.models().entry(name).expect("entry").file;
        std::fs::write(folder.path().join(file), model(std::fs::read(from.join(file)).expect("model"))).expect("write");
        folder
    }

    fn open_in(folder: &Path) -> Result<Backend, BackendError> {
        Backend::open(&BackendConfig {
            models_dir: Some(folder.to_path_buf()),
            device: DeviceRequest::Cpu,
            ..BackendConfig::default()
        })
    }

    #[test]
    fn every_model_of_the_manifest_loads_and_is_what_it_says() {
        let backend = backend();
        assert!(backend.models().entries().len() >= 5);
        for entry in backend.models().entries() {
            let session = backend.session(&entry.name).expect("loads");
            assert_eq!(session.output_names().len(), entry.output.len());
        }
        assert!(backend.runtime().version().starts_with("1."), "{}", backend.runtime().version());
    }

    #[test]
    fn a_model_changed_by_one_bit_does_not_load() {
        let folder = copy_of(
            "blazeface",
            |t| t,
            |mut b| {
                let middle = b.len() / 2;
                b[middle] ^= 1;
                b
            },
        );
        let error = open_in(folder.path())
            .expect("manifest is right")
            .session("blazeface")
            .expect_err("altered");
        assert!(error.to_string().contains("altered"), "{error}");
    }

    #[test]
    fn a_model_whose_outputs_differ_from_the_manifest_does_not_load() {
        for (from, to, what) in [
            ("[-1, 896, 16]", "[-1, 896, 15]", "output regressors"),
            ("\"classificators\"", "\"other\"", "outputs"),
            ("[-1, 128, 128, 3]", "[-1, 3, 128, 128]", "input input"),
        ] {
            let folder = copy_of("blazeface", |t| t.replace(from, to), |b| b);
            let error = open_in(folder.path())
                .expect("manifest is right")
                .session("blazeface")
                .expect_err("differs")
                .to_string();
            assert!(error.contains(what), "{what} not in {error}");
        }
    }

    #[test]
    fn bytes_that_are_no_network_do_not_load() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("own.onnx");
        std::fs::write(&file, b"no network at all").expect("write");
        let error = backend().session_from_file("own", &file).expect_err("no network");
        assert!(matches!(&error, BackendError::Model { name, .. } if name == "own"), "{error}");
    }

    #[test]
    fn another_runtime_in_the_same_process_is_refused() {
        let _loaded = backend();
        let error = Backend::open(&BackendConfig {
            runtime_library: Some("/nowhere/libonnxruntime.so".into()),
            ..BackendConfig::default()
        });
        assert!(matches!(error, Err(BackendError::Runtime { .. })), "{error:?}");
    }

    #[test]
    fn outputs_are_checked_against_the_expected_shape() {
        let mut session = backend().session("blazeface").expect("loads");
        assert!(matches!(session.output(0, &[1]), Err(BackendError::Shape { .. })), "before a run");
        assert!(session.run().is_err(), "before an input");
        assert!(session.input(&[usize::MAX, 2]).is_err(), "overflow");
        session.input(&[1, 64, 64, 3]).expect("memory").fill(0.0);
        assert!(matches!(session.run(), Err(BackendError::Run { .. })), "wrong size");
        session.input(&[2, 128, 128, 3]).expect("memory").fill(0.0);
        session.run().expect("a batch of two");
        assert_eq!(session.output(0, &[2, 896, 16]).expect("shape").len(), 2 * 896 * 16);
        assert!(matches!(session.output(0, &[1, 896, 16]), Err(BackendError::Shape { .. })));
    }

    #[test]
    fn the_description_names_runtime_device_and_models() {
        let _loaded = backend();
        let told = describe(&BackendConfig::default());
        let good = |what: &str| told.findings.iter().any(|f| f.what == what && f.good);
        assert!(
            good("ONNX Runtime") && good("device") && good("frames") && good("models") && good("model"),
            "{told:?}"
        );
        let told = describe(&BackendConfig {
            models_dir: Some("/nowhere".into()),
            ..BackendConfig::default()
        });
        assert!(
            told.findings
                .iter()
                .any(|f| f.what == "models" && !f.good && f.detail.contains("NULLFACE_MODELS"))
        );
        assert!(Models::open("/nowhere".as_ref()).is_err());
    }
}
