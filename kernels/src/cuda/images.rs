//! Where machine code comes from: the cache, else the compiler, which then feeds the cache.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::cache::{Cache, Found, Made};
use super::compile::Compiler;
use super::driver::DeviceInfo;
use super::error::CudaError;
use super::source;

/// Gives machine code for a device.
pub trait Images: Send + Sync + std::fmt::Debug {
    /// Code of a kernel.
    ///
    /// # Errors
    /// [`CudaError`]: no compiler, a kernel that does not compile.
    fn image(&self, kernel: &str, device: &DeviceInfo) -> Result<Vec<u8>, CudaError>;

    /// The driver refused what was given: it must not be given again.
    fn refused(&self, kernel: &str, device: &DeviceInfo);
}

/// What is told while code is made ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Compiled, because it was not kept.
    Compiled {
        /// Which.
        kernel: String,
    },
    /// An entry was no good and is made again.
    Rebuilt {
        /// Which.
        kernel: String,
        /// What was wrong.
        why: String,
    },
    /// Code cannot be kept.
    NotKept {
        /// Which.
        kernel: String,
        /// The file system's words.
        why: String,
    },
}

/// NVRTC behind a cache. The compiler is loaded only when something is not kept.
pub struct Compiled {
    folders: Vec<PathBuf>,
    cache: Option<Cache>,
    compiler: OnceLock<Result<Compiler, CudaError>>,
    told: Box<dyn Fn(Event) + Send + Sync>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled")
            .field("folders", &self.folders)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Compiled {
    /// `folders`: where NVRTC is looked for; `cache`: folder of the code, none = nothing is kept.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>, cache: Option<&Path>, told: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self {
            folders,
            cache: cache.map(Cache::new),
            compiler: OnceLock::new(),
            told: Box::new(told),
        }
    }

    fn compiler(&self) -> Result<&Compiler, CudaError> {
        self.compiler
            .get_or_init(|| Compiler::open(&self.folders))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn made<'a>(&self, kernel: &'a str, source: &'a str, device: &DeviceInfo) -> Result<Made<'a>, CudaError> {
        Ok(Made {
            kernel,
            source,
            arch: device.arch,
            driver: device.driver,
            compiler: self.compiler()?.version(),
        })
    }
}

fn text_of(kernel: &str) -> Result<String, CudaError> {
    source(kernel).ok_or_else(|| CudaError::Compile {
        kernel: kernel.to_owned(),
        arch: 0,
        log: "no such kernel".to_owned(),
    })
}

impl Images for Compiled {
    fn image(&self, kernel: &str, device: &DeviceInfo) -> Result<Vec<u8>, CudaError> {
        let source = text_of(kernel)?;
        let made = self.made(kernel, &source, device)?;
        let name = || kernel.to_owned();
        match self.cache.as_ref().map_or(Found::Nothing, |c| c.read(&made)) {
            Found::Code(code) => return Ok(code),
            Found::Nothing => (self.told)(Event::Compiled { kernel: name() }),
            Found::Corrupted(why) => (self.told)(Event::Rebuilt { kernel: name(), why }),
        }
        let code = self.compiler()?.compile(kernel, &source, device.arch)?;
        if let Some(Err(e)) = self.cache.as_ref().map(|c| c.write(&made, &code)) {
            (self.told)(Event::NotKept {
                kernel: name(),
                why: e.to_string(),
            });
        }
        Ok(code)
    }

    fn refused(&self, kernel: &str, device: &DeviceInfo) {
        if let (Some(cache), Ok(source)) = (&self.cache, text_of(kernel))
            && let Ok(made) = self.made(kernel, &source, device)
        {
            cache.remove(&made);
        }
    }
}
