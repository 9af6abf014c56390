//! NVRTC: kernels' sources to machine code for one architecture, on a machine with or without a GPU.
//!
//! The library is looked for in `NULLFACE_NVRTC`, in the folders that the caller names, then by the loader.
//! It is loaded by its path before the binding asks for it by name, so that no search path need be set; the
//! library of built-ins beside it likewise, because NVRTC asks for that by name too.

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cudarc::nvrtc::{result, sys};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use super::error::CudaError;

/// Names of the library that the binding will ask the loader for.
const NAMES: [&str; 2] = ["libnvrtc.so.13", "libnvrtc.so.12"];

/// The compiler, loaded.
#[derive(Debug)]
pub struct Compiler {
    version: (i32, i32),
}

static LOADING: Mutex<()> = Mutex::new(());

/// The library's file in the places named, before the loader is asked.
#[must_use]
pub fn find_nvrtc(folders: &[PathBuf]) -> Option<PathBuf> {
    let named = std::env::var_os("NULLFACE_NVRTC").filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(named) = named {
        return named.is_file().then_some(named);
    }
    folders
        .iter()
        .flat_map(|f| NAMES.iter().map(move |n| f.join(n)))
        .find(|p| p.is_file())
}

fn preload(path: &Path) -> Result<(), String> {
    let builtins = std::fs::read_dir(path.parent().unwrap_or(Path::new(".")))
        .into_iter()
        .flatten()
        .filter_map(|f| f.ok().map(|f| f.path()))
        .filter(|p| {
            p.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("libnvrtc-builtins.so"))
        });
    for file in builtins.chain(std::iter::once(path.to_path_buf())) {
        // SAFETY: a library of NVIDIA's run-time compiler; its initialisers have no requirements.
        let library = unsafe { Library::open(Some(&file), RTLD_NOW | RTLD_GLOBAL) }.map_err(|e| format!("{}: {e}", file.display()))?;
        // Stays loaded: the binding's own handle lives as long as the process.
        std::mem::forget(library);
    }
    Ok(())
}

impl Compiler {
    /// Loads NVRTC.
    ///
    /// # Errors
    /// [`CudaError::NoCompiler`] with the places looked at.
    pub fn open(folders: &[PathBuf]) -> Result<Self, CudaError> {
        let _one = LOADING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let looked = || {
            let mut places: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
            places.push("the loader's folders".to_owned());
            places.join(", ")
        };
        if std::env::var_os("NULLFACE_NVRTC").is_some_and(|v| !v.is_empty()) && find_nvrtc(folders).is_none() {
            let looked = std::env::var("NULLFACE_NVRTC").unwrap_or_default();
            return Err(CudaError::NoCompiler { looked });
        }
        if let Some(file) = find_nvrtc(folders) {
            preload(&file).map_err(|looked| CudaError::NoCompiler { looked })?;
        }
        // SAFETY: opens and closes the library.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::NoCompiler { looked: looked() });
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: writes two integers.
        unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) }
            .result()
            .map_err(|e| CudaError::NoCompiler { looked: format!("{e:?}") })?;
        Ok(Self { version: (major, minor) })
    }

    /// Major and minor version.
    #[must_use]
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// Machine code of a kernel's source for an architecture such as 90.
    ///
    /// # Errors
    /// [`CudaError::Compile`] with the compiler's words.
    pub fn compile(&self, kernel: &str, source: &str, arch: u32) -> Result<Vec<u8>, CudaError> {
        let wrong = |log: String| CudaError::Compile {
            kernel: kernel.to_owned(),
            arch,
            log,
        };
        let text = CString::new(source).map_err(|e| wrong(e.to_string()))?;
        let name = CString::new(format!("{kernel}.cu")).map_err(|e| wrong(e.to_string()))?;
        let program = Program(result::create_program(&text, Some(&name)).map_err(|e| wrong(format!("{e:?}")))?);
        let options = [format!("--gpu-architecture=sm_{arch}"), "--std=c++17".to_owned()];
        // SAFETY: the program was made just now and is destroyed by its owner alone.
        unsafe { result::compile_program(program.0, &options) }.map_err(|e| wrong(program.log().unwrap_or_else(|| format!("{e:?}"))))?;
        let mut size = 0;
        // SAFETY: writes one integer.
        unsafe { sys::nvrtcGetCUBINSize(program.0, &raw mut size) }
            .result()
            .map_err(|e| wrong(format!("{e:?}")))?;
        let mut image = vec![0_u8; size];
        // SAFETY: the buffer has the size that the compiler asked for.
        unsafe { sys::nvrtcGetCUBIN(program.0, image.as_mut_ptr().cast::<c_char>()) }
            .result()
            .map_err(|e| wrong(format!("{e:?}")))?;
        if image.starts_with(b"\x7fELF") {
            Ok(image)
        } else {
            Err(wrong(format!("expected machine code, got {} bytes of something else", image.len())))
        }
    }
}

/// Destroyed once, whatever happens.
struct Program(sys::nvrtcProgram);

impl Program {
    fn log(&self) -> Option<String> {
        // SAFETY: the program lives; the log ends with a zero.
        let raw = unsafe { result::get_program_log(self.0) }.ok()?;
        // SAFETY: as above.
        let text = unsafe { CStr::from_ptr(raw.as_ptr()) };
        Some(text.to_string_lossy().into_owned())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by `create_program`, destroyed here alone.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}
