//! Which device networks run on, decided once and told with its reason.
//!
//! ONNX Runtime's own "is available" means compiled in, not usable, and a provider that cannot start
//! falls back silently. So a GPU counts as present only where the kernel driver's device, the driver
//! library and the runtime's provider library are all found, and a provider asked for by name must
//! register or loading fails.

use std::path::{Path, PathBuf};

use ort::ep::ExecutionProvider;

use super::runtime::Runtime;
use super::{BackendError, search};

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceRequest {
    /// The best that works.
    #[default]
    Auto,
    /// Processor.
    Cpu,
    /// NVIDIA GPU through CUDA, or an error.
    Cuda {
        /// Which GPU.
        ordinal: u32,
    },
    /// NVIDIA GPU through TensorRT, or an error.
    TensorRt {
        /// Which GPU.
        ordinal: u32,
    },
    /// NVIDIA GPU through the TensorRT-RTX plugin, or an error.
    TensorRtRtx {
        /// Which GPU.
        ordinal: u32,
    },
}

/// Where networks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// Processor.
    Cpu,
    /// NVIDIA GPU through CUDA.
    Cuda {
        /// Which GPU.
        ordinal: u32,
    },
    /// NVIDIA GPU through TensorRT.
    TensorRt {
        /// Which GPU.
        ordinal: u32,
    },
    /// NVIDIA GPU through the TensorRT-RTX plugin.
    TensorRtRtx {
        /// Which GPU.
        ordinal: u32,
    },
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { ordinal } => write!(f, "cuda:{ordinal}"),
            Self::TensorRt { ordinal } => write!(f, "tensorrt:{ordinal}"),
            Self::TensorRtRtx { ordinal } => write!(f, "tensorrt-rtx:{ordinal}"),
        }
    }
}

/// The device chosen and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedDevice {
    /// Device.
    pub device: Device,
    /// One sentence for logs, the bus and `doctor`.
    pub reason: String,
    /// Whether the user named it: then it must work or nothing is opened.
    pub strict: bool,
}

/// What was found of a GPU's software.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GpuParts {
    /// Device file of the GPU.
    pub device_file: Option<PathBuf>,
    /// The driver's library.
    pub driver: Option<PathBuf>,
    /// Run-time compiler.
    pub nvrtc: Option<PathBuf>,
    /// ONNX Runtime's CUDA provider.
    pub cuda_provider: Option<PathBuf>,
    /// ONNX Runtime's TensorRT provider.
    pub tensorrt_provider: Option<PathBuf>,
    /// TensorRT itself.
    pub tensorrt: Option<PathBuf>,
    /// The TensorRT-RTX plugin provider.
    pub rtx_plugin: Option<PathBuf>,
    /// Whether the runtime was compiled with CUDA.
    pub runtime_has_cuda: bool,
    /// Whether the runtime was compiled with TensorRT.
    pub runtime_has_tensorrt: bool,
}

impl GpuParts {
    /// Looks for the parts; opens and loads nothing.
    #[must_use]
    pub fn look(runtime: &Runtime, ordinal: u32) -> Self {
        let folders = search::library_folders();
        let beside = runtime.library().parent().map(Path::to_path_buf);
        let anywhere = |names: &[&str]| {
            names
                .iter()
                .find_map(|n| beside.iter().chain(&folders).map(|d| d.join(n)).find(|p| p.is_file()))
        };
        let device_file = PathBuf::from(format!("/dev/nvidia{ordinal}"));
        Self {
            device_file: device_file.exists().then_some(device_file),
            driver: anywhere(&["libcuda.so.1"]),
            nvrtc: nullface_kernels::cuda::find_nvrtc(&search::Places::here().nvrtc_folders()),
            cuda_provider: anywhere(&["libonnxruntime_providers_cuda.so"]),
            tensorrt_provider: anywhere(&["libonnxruntime_providers_tensorrt.so"]),
            tensorrt: anywhere(&["libnvinfer.so.10"]),
            rtx_plugin: rtx_plugin(runtime),
            runtime_has_cuda: ort::ep::CUDA::is_available().unwrap_or(false),
            runtime_has_tensorrt: ort::ep::TensorRT::is_available().unwrap_or(false),
        }
    }

    /// What CUDA lacks; empty where nothing does.
    #[must_use]
    pub fn missing_for_cuda(&self, ordinal: u32) -> Vec<String> {
        let mut missing = Vec::new();
        let mut need = |have: bool, what: String| {
            if !have {
                missing.push(what);
            }
        };
        need(self.device_file.is_some(), format!("no GPU device /dev/nvidia{ordinal}"));
        need(self.driver.is_some(), "no driver library libcuda.so.1".to_owned());
        need(
            self.runtime_has_cuda,
            "ONNX Runtime is a build without CUDA (onnxruntime-gpu has it)".to_owned(),
        );
        need(
            self.cuda_provider.is_some(),
            "no libonnxruntime_providers_cuda.so beside the runtime".to_owned(),
        );
        missing
    }

    /// What TensorRT lacks; empty where nothing does.
    #[must_use]
    pub fn missing_for_tensorrt(&self, ordinal: u32) -> Vec<String> {
        let mut missing = self.missing_for_cuda(ordinal);
        if !self.runtime_has_tensorrt {
            missing.push("ONNX Runtime is a build without TensorRT".to_owned());
        }
        if self.tensorrt_provider.is_none() {
            missing.push("no libonnxruntime_providers_tensorrt.so beside the runtime".to_owned());
        }
        if self.tensorrt.is_none() {
            missing.push("no TensorRT library libnvinfer.so.10".to_owned());
        }
        missing
    }

    /// What the TensorRT-RTX plugin lacks; it brings its own kernels and needs no CUDA provider.
    #[must_use]
    pub fn missing_for_rtx(&self, ordinal: u32) -> Vec<String> {
        let mut missing = Vec::new();
        if self.device_file.is_none() {
            missing.push(format!("no GPU device /dev/nvidia{ordinal}"));
        }
        if self.driver.is_none() {
            missing.push("no driver library libcuda.so.1".to_owned());
        }
        if self.rtx_plugin.is_none() {
            missing.push("no plugin libonnxruntime_providers_nv_tensorrt_rtx.so (NULLFACE_RTX_PLUGIN names it)".to_owned());
        }
        missing
    }
}

/// Who reads and writes frames where networks run on `device`, in words: our kernels there, or the processor and why.
pub(super) fn frames_on(device: Device, parts: &GpuParts, reference: bool) -> Result<String, String> {
    let why = if device == Device::Cpu {
        "networks run there"
    } else if reference {
        "NULLFACE_REFERENCE=1 asks for the plain definitions"
    } else if parts.nvrtc.is_none() {
        "no run-time compiler libnvrtc.so for our kernels (NULLFACE_NVRTC names it)"
    } else {
        return Ok(format!("frames are read and written on {device} too"));
    };
    Err(format!("frames are read and written by the processor: {why}"))
}

/// The TensorRT-RTX plugin: `NULLFACE_RTX_PLUGIN`, beside the runtime, or in the system's folders.
pub(super) fn rtx_plugin(runtime: &Runtime) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("NULLFACE_RTX_PLUGIN").filter(|v| !v.is_empty()) {
        return Some(PathBuf::from(named)).filter(|p| p.is_file());
    }
    let beside = runtime.library().parent().map(Path::to_path_buf);
    let folders = beside.into_iter().chain(search::library_folders());
    folders
        .map(|f| f.join("libonnxruntime_providers_nv_tensorrt_rtx.so"))
        .find(|p| p.is_file())
}

/// Decides the device.
///
/// # Errors
/// [`BackendError::Device`] where a GPU was asked for by name and something is missing, naming it.
pub(super) fn resolve(request: DeviceRequest, runtime: &Runtime) -> Result<ResolvedDevice, BackendError> {
    let ordinal = match request {
        DeviceRequest::Cuda { ordinal } | DeviceRequest::TensorRt { ordinal } | DeviceRequest::TensorRtRtx { ordinal } => ordinal,
        DeviceRequest::Auto | DeviceRequest::Cpu => 0,
    };
    let parts = GpuParts::look(runtime, ordinal);
    resolve_with(request, &parts).map(|chosen| with_frames(chosen, &parts, nullface_kernels::reference_forced()))
}

/// Says of a GPU who reads and writes its frames: half of the way can be missing where networks run.
fn with_frames(mut chosen: ResolvedDevice, parts: &GpuParts, reference: bool) -> ResolvedDevice {
    if chosen.device != Device::Cpu {
        let frames = frames_on(chosen.device, parts, reference).unwrap_or_else(|why| why);
        chosen.reason = format!("{}; {frames}", chosen.reason);
    }
    chosen
}

fn resolve_with(request: DeviceRequest, parts: &GpuParts) -> Result<ResolvedDevice, BackendError> {
    let strict = |device: Device, missing: Vec<String>| {
        if missing.is_empty() {
            Ok(ResolvedDevice {
                device,
                reason: "asked for".to_owned(),
                strict: true,
            })
        } else {
            Err(BackendError::Device {
                device: device.to_string(),
                why: missing.join("; "),
            })
        }
    };
    match request {
        DeviceRequest::Cpu => strict(Device::Cpu, Vec::new()),
        DeviceRequest::Cuda { ordinal } => strict(Device::Cuda { ordinal }, parts.missing_for_cuda(ordinal)),
        DeviceRequest::TensorRt { ordinal } => strict(Device::TensorRt { ordinal }, parts.missing_for_tensorrt(ordinal)),
        DeviceRequest::TensorRtRtx { ordinal } => strict(Device::TensorRtRtx { ordinal }, parts.missing_for_rtx(ordinal)),
        DeviceRequest::Auto => Ok(best(parts)),
    }
}

/// The best of what is whole, and why nothing better: TensorRT, then its RTX plugin, then CUDA.
fn best(parts: &GpuParts) -> ResolvedDevice {
    let ladder = [
        (Device::TensorRt { ordinal: 0 }, parts.missing_for_tensorrt(0)),
        (Device::TensorRtRtx { ordinal: 0 }, parts.missing_for_rtx(0)),
        (Device::Cuda { ordinal: 0 }, parts.missing_for_cuda(0)),
    ];
    let mut better = Vec::new();
    for (device, missing) in &ladder {
        if missing.is_empty() {
            let reason = if better.is_empty() {
                "all its parts were found".to_owned()
            } else {
                format!("all its parts were found; not {}", better.join(", not "))
            };
            return ResolvedDevice {
                device: *device,
                reason,
                strict: false,
            };
        }
        better.push(format!("{device}: {}", missing.join(" and ")));
    }
    // What CUDA lacks is what every GPU lacks, and the shortest to say.
    let (_, cuda) = &ladder[2];
    ResolvedDevice {
        device: Device::Cpu,
        reason: cuda.join("; "),
        strict: false,
    }
}

#[cfg(test)]
mod tests {
    use super::{BackendError, Device, DeviceRequest, GpuParts, frames_on, resolve_with, with_frames};

    fn whole() -> GpuParts {
        let some = || Some("/x".into());
        GpuParts {
            device_file: some(),
            driver: some(),
            nvrtc: some(),
            cuda_provider: some(),
            tensorrt_provider: None,
            tensorrt: None,
            rtx_plugin: None,
            runtime_has_cuda: true,
            runtime_has_tensorrt: true,
        }
    }

    #[test]
    fn a_gpu_by_name_that_lacks_its_driver_is_an_error_that_says_so() {
        let parts = GpuParts { driver: None, ..whole() };
        let error = resolve_with(DeviceRequest::Cuda { ordinal: 0 }, &parts).expect_err("no driver");
        assert!(
            matches!(&error, BackendError::Device { device, why } if device == "cuda:0" && why == "no driver library libcuda.so.1"),
            "{error}"
        );
    }

    #[test]
    fn auto_falls_to_the_processor_and_says_why() {
        let got = resolve_with(DeviceRequest::Auto, &GpuParts::default()).expect("processor");
        assert_eq!(got.device, Device::Cpu);
        assert!(got.reason.contains("/dev/nvidia0") && !got.strict, "{got:?}");
        let got = resolve_with(DeviceRequest::Auto, &whole()).expect("gpu");
        assert_eq!(got.device, Device::Cuda { ordinal: 0 });
        assert!(
            got.reason.contains("not tensorrt:0: ") && got.reason.contains("libnvinfer.so.10"),
            "{got:?}"
        );
        let parts = GpuParts {
            tensorrt: Some("/x".into()),
            tensorrt_provider: Some("/x".into()),
            ..whole()
        };
        let got = resolve_with(DeviceRequest::Auto, &parts).expect("gpu");
        assert_eq!(got.device, Device::TensorRt { ordinal: 0 });
        let parts = GpuParts {
            rtx_plugin: Some("/x".into()),
            cuda_provider: None,
            runtime_has_cuda: false,
            ..whole()
        };
        let got = resolve_with(DeviceRequest::Auto, &parts).expect("gpu");
        assert_eq!(got.device, Device::TensorRtRtx { ordinal: 0 });
        assert!(resolve_with(DeviceRequest::TensorRtRtx { ordinal: 0 }, &parts).is_ok());
        let error = resolve_with(DeviceRequest::TensorRtRtx { ordinal: 0 }, &whole()).expect_err("no plugin");
        assert!(error.to_string().contains("NULLFACE_RTX_PLUGIN"), "{error}");
    }

    #[test]
    fn a_gpu_says_who_reads_and_writes_its_frames_and_why_not_the_better_one() {
        let said = |request, parts: &GpuParts, reference| {
            let chosen = resolve_with(request, parts).expect("there");
            with_frames(chosen, parts, reference).reason
        };
        let cuda = DeviceRequest::Cuda { ordinal: 0 };
        let whole = whole();
        assert_eq!(said(cuda, &whole, false), "asked for; frames are read and written on cuda:0 too");
        let reason = said(cuda, &whole, true);
        assert!(reason.contains("by the processor: NULLFACE_REFERENCE=1"), "{reason}");
        let bare = GpuParts { nvrtc: None, ..whole };
        let reason = said(DeviceRequest::Auto, &bare, false);
        assert!(
            reason.contains("not tensorrt:0") && reason.ends_with("(NULLFACE_NVRTC names it)"),
            "{reason}"
        );
        assert_eq!(said(DeviceRequest::Cpu, &bare, false), "asked for", "nothing better was to be had");
        assert!(frames_on(Device::Cpu, &bare, false).is_err_and(|why| why.ends_with("networks run there")));
    }

    #[test]
    fn tensorrt_needs_more_than_cuda() {
        assert!(resolve_with(DeviceRequest::Cuda { ordinal: 1 }, &whole()).is_ok());
        let error = resolve_with(DeviceRequest::TensorRt { ordinal: 1 }, &whole())
            .expect_err("no TensorRT")
            .to_string();
        assert!(error.contains("libnvinfer.so.10") && error.contains("tensorrt:1"), "{error}");
    }
}
