//! Loads ONNX Runtime once a process and owns its environment: one thread pool for all sessions, so
//! that a detector, a mesh and a recogniser do not each bring their own threads to two cores.
//!
//! Threads of the pool do not spin while idle: on two cores with spinning a run of CenterFace at
//! 640×384 took 1.7 times as long as without, beside other work (medians of one run, 2 threads).
//!
//! Limits: a process has one runtime and one pool size; who opens it first decides. Sessions that ask
//! for another number of threads get a pool of their own.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use ort::environment::{Environment, GlobalThreadPoolOptions};

use super::BackendError;
use super::search::Places;

/// File names of the library, in order of preference.
const LIBRARY_NAMES: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];
/// What to do about a missing library.
const LIBRARY_REMEDY: &str = "run scripts/setup.sh, or point NULLFACE_ORT_LIBRARY at libonnxruntime.so 1.24 or newer";
/// Folder of the model pack that comes along.
const PACK: &str = "nullface-128";
/// What to do about missing models.
const MODELS_REMEDY: &str = "point NULLFACE_MODELS (or models-dir) at the folder that holds manifest.toml, models/small in a checkout";

const EVAL_REMEDY: &str =
    "add them with `nullface models add models/eval` from a checkout or a release, or point NULLFACE_EVAL_MODELS at their folder";

/// ONNX Runtime, loaded.
#[derive(Debug)]
pub struct Runtime {
    pub(super) environment: Environment,
    library: PathBuf,
    version: OnceLock<String>,
    threads: usize,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

impl Runtime {
    /// The process's runtime, loaded on the first call. `threads` 0 = as many as there are cores.
    ///
    /// # Errors
    /// [`BackendError::RuntimeMissing`] lists the places looked at; [`BackendError::Runtime`] where a
    /// library was found that does not load or is too old, or another one is loaded already.
    pub fn get(explicit: Option<&Path>, threads: usize) -> Result<&'static Self, BackendError> {
        let _one_at_a_time = LOADING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(loaded) = RUNTIME.get() {
            if let Some(wanted) = explicit {
                let wanted = library_in(wanted).unwrap_or_else(|| wanted.to_path_buf());
                if !same_file(&wanted, &loaded.library) {
                    return Err(BackendError::Runtime {
                        path: wanted.display().to_string(),
                        why: format!("{} is loaded already, and a process can have one", loaded.library.display()),
                        remedy: "use one library for all streams of a process".to_owned(),
                    });
                }
            }
            return Ok(loaded);
        }
        let library = find_library(explicit)?;
        let failed = |why: String| BackendError::Runtime {
            path: library.display().to_string(),
            why,
            remedy: LIBRARY_REMEDY.to_owned(),
        };
        let threads = effective_threads(threads);
        let builder = ort::init_from(&library).map_err(|e| failed(e.to_string()))?;
        let environment = GlobalThreadPoolOptions::default()
            .with_intra_threads(threads)
            .and_then(|o| o.with_inter_threads(1))
            .and_then(|o| o.with_spin_control(false))
            .and_then(|o| {
                builder
                    .with_name("nullface")
                    .with_telemetry(false)
                    .with_global_thread_pool(o)
                    .build()
            })
            .map_err(|e| failed(e.to_string()))?;
        super::arena::share(&environment).map_err(|e| failed(e.to_string()))?;
        environment.set_log_level(ort::logging::LogLevel::Warning);
        tracing::info!(library = %library.display(), threads, "ONNX Runtime loaded");
        Ok(RUNTIME.get_or_init(|| Self {
            environment,
            library,
            version: OnceLock::new(),
            threads,
        }))
    }

    /// The library's file.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// The library's version, such as `1.24.4`. Found in the library's file on the first call, which
    /// takes some milliseconds: the C interface tells it only through a symbol that the binding hides.
    #[must_use]
    pub fn version(&self) -> &str {
        self.version.get_or_init(|| {
            std::fs::read(&self.library)
                .ok()
                .and_then(|bytes| version_in(&bytes))
                .unwrap_or_else(|| "1.24 or newer".to_owned())
        })
    }

    /// Threads of the common pool.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }
}

/// Number of threads meant by a setting: 0 = one a core.
pub(super) fn effective_threads(setting: usize) -> usize {
    if setting > 0 {
        setting
    } else {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }
}

/// ONNX Runtime's library, by the order of [`super::search`].
///
/// # Errors
/// [`BackendError::RuntimeMissing`] with the places looked at and the remedy.
pub fn find_library(explicit: Option<&Path>) -> Result<PathBuf, BackendError> {
    let named = explicit.map(Path::to_path_buf).or_else(|| from_environment("NULLFACE_ORT_LIBRARY"));
    find_library_in(named.as_deref(), &Places::here())
}

fn find_library_in(named: Option<&Path>, places: &Places) -> Result<PathBuf, BackendError> {
    let missing = |looked: String| BackendError::RuntimeMissing {
        looked,
        remedy: LIBRARY_REMEDY.to_owned(),
    };
    if let Some(named) = named {
        return library_in(named).ok_or_else(|| missing(named.display().to_string()));
    }
    let folders = places.library_folders();
    folders.iter().find_map(|f| library_in(f)).ok_or_else(|| missing(join(&folders)))
}

/// The folder of the small models, by the order of [`super::search`].
///
/// # Errors
/// [`BackendError::Model`] with the places looked at and the remedy.
pub fn find_models_dir(explicit: Option<&Path>) -> Result<PathBuf, BackendError> {
    let named = explicit.map(Path::to_path_buf).or_else(|| from_environment("NULLFACE_MODELS"));
    find_models_in(named.as_deref(), &Places::here().models_folders(), MODELS_REMEDY)
}

/// The folder of the held-out models that only measure: the one named, `NULLFACE_EVAL_MODELS`, or the
/// first that is found.
///
/// # Errors
/// [`BackendError::Model`] names the places and how to get them.
pub fn find_eval_models_dir(explicit: Option<&Path>) -> Result<PathBuf, BackendError> {
    let named = explicit.map(Path::to_path_buf).or_else(|| from_environment("NULLFACE_EVAL_MODELS"));
    find_models_in(named.as_deref(), &Places::here().eval_folders(), EVAL_REMEDY)
}

/// Where [`find_eval_models_dir`] may find what the user adds: the first data folder of the user.
#[must_use]
pub fn user_eval_models_dir() -> Option<PathBuf> {
    Places::here().data.first().map(|d| d.join("nullface/eval"))
}

/// The folder of the model pack: the one named, `NULLFACE_PACK`, or [`PACK`] beside the small models or
/// among them.
///
/// # Errors
/// [`BackendError::Model`] names the places.
pub fn find_pack_dir(explicit: Option<&Path>, models_dir: &Path) -> Result<PathBuf, BackendError> {
    match explicit.map(Path::to_path_buf).or_else(|| from_environment("NULLFACE_PACK")) {
        Some(named) => pack_in(&[named]),
        None => find_own_pack_dir(models_dir),
    }
}

/// The folder of the pack that comes along, whatever else is named.
///
/// # Errors
/// [`BackendError::Model`] names the places.
pub fn find_own_pack_dir(models_dir: &Path) -> Result<PathBuf, BackendError> {
    pack_in(&[models_dir.with_file_name(PACK), models_dir.join(PACK)])
}

fn pack_in(folders: &[PathBuf]) -> Result<PathBuf, BackendError> {
    let holds = |folder: &Path| folder.join(crate::pack::MANIFEST).is_file();
    folders
        .iter()
        .find(|f| holds(f))
        .map(|f| absolute(f))
        .ok_or_else(|| BackendError::Model {
            name: PACK.to_owned(),
            path: join(folders),
            why: format!("no {} there", crate::pack::MANIFEST),
            remedy: "name the pack's folder, or choose mode blur, pixelate or solid".to_owned(),
        })
}

fn find_models_in(named: Option<&Path>, folders: &[PathBuf], remedy: &str) -> Result<PathBuf, BackendError> {
    let missing = |path: String| BackendError::Model {
        name: "manifest".to_owned(),
        path,
        why: "no manifest.toml there".to_owned(),
        remedy: remedy.to_owned(),
    };
    let holds = |folder: &Path| folder.join("manifest.toml").is_file();
    if let Some(named) = named {
        return if holds(named) {
            Ok(absolute(named))
        } else {
            Err(missing(named.display().to_string()))
        };
    }
    folders
        .iter()
        .find(|f| holds(f))
        .map(|f| absolute(f))
        .ok_or_else(|| missing(join(folders)))
}

fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// A library file itself, or the one in a folder; absolute, because the loader resolves relative
/// paths against the executable.
fn library_in(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(absolute(path));
    }
    LIBRARY_NAMES
        .iter()
        .map(|n| path.join(n))
        .find(|p| p.is_file())
        .map(|p| absolute(&p))
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

fn same_file(a: &Path, b: &Path) -> bool {
    absolute(a) == absolute(b)
}

fn join(folders: &[PathBuf]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for folder in folders {
        let text = folder.display().to_string();
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    seen.join(", ")
}

/// The version in a library's bytes: its exported symbols carry the version name `VERS_1.24.4`.
fn version_in(bytes: &[u8]) -> Option<String> {
    bytes.split(|b| *b == b'V').find_map(|part| {
        let text: String = part
            .strip_prefix(b"ERS_")?
            .iter()
            .take(16)
            .take_while(|b| b.is_ascii_digit() || **b == b'.')
            .map(|b| char::from(*b))
            .collect();
        (text.split('.').count() == 3 && text.split('.').all(|number| !number.is_empty())).then_some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::{Places, find_library_in, find_models_in, version_in};
    use crate::backend::BackendError;

    #[test]
    fn a_missing_library_lists_the_places_and_the_remedy() {
        let places = Places {
            data: vec!["/nowhere/data".into()],
            ..Places::default()
        };
        let error = find_library_in(None, &places).expect_err("there is none");
        let text = error.to_string();
        assert!(matches!(error, BackendError::RuntimeMissing { .. }));
        assert!(
            text.contains("/nowhere/data/nullface/onnxruntime/lib") && text.contains("scripts/setup.sh"),
            "{text}"
        );
    }

    #[test]
    fn a_named_place_is_a_command() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("libonnxruntime.so"), b"x").expect("file");
        let places = Places {
            system: vec![folder.path().to_path_buf()],
            ..Places::default()
        };
        assert!(find_library_in(None, &places).is_ok());
        assert!(find_library_in(Some(folder.path()), &Places::default()).is_ok());
        assert!(find_library_in(Some("/nowhere/lib.so".as_ref()), &places).is_err());
    }

    #[test]
    fn models_are_found_by_their_manifest() {
        let folder = tempfile::tempdir().expect("folder");
        let small = folder.path().join("models/small");
        std::fs::create_dir_all(&small).expect("folders");
        let places = Places {
            working: Some(small.join("deeper")),
            ..Places::default()
        };
        assert!(find_models_in(None, &places.models_folders(), "").is_err(), "no manifest yet");
        std::fs::write(small.join("manifest.toml"), "").expect("file");
        assert_eq!(
            find_models_in(None, &places.models_folders(), "").expect("found"),
            small.canonicalize().expect("path")
        );
    }

    #[test]
    fn the_version_is_the_one_of_the_exported_symbols() {
        assert_eq!(version_in(b"\0VERS_ABC\0VERS_1.24.4\0x").as_deref(), Some("1.24.4"));
        assert_eq!(version_in(b"VERS_1.24"), None);
        assert_eq!(version_in(b""), None);
    }
}
