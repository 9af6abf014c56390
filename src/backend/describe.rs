//! What was found, told without failing: `doctor` prints it, line by line, with a remedy for each
//! thing that is missing.

use super::{BackendConfig, GpuParts, Models, Runtime, device, find_models_dir};

/// One thing that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// Whether it is usable.
    pub good: bool,
    /// Path, version or reason, with the remedy where it is missing.
    pub detail: String,
}

/// Everything that was looked for, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// Findings.
    pub findings: Vec<Finding>,
}

impl Description {
    fn add(&mut self, what: &'static str, good: bool, detail: impl Into<String>) {
        self.findings.push(Finding {
            what,
            good,
            detail: detail.into(),
        });
    }

    fn part(&mut self, what: &'static str, found: Option<&std::path::PathBuf>) {
        self.add(
            what,
            found.is_some(),
            found.map_or_else(|| "not found".to_owned(), |p| p.display().to_string()),
        );
    }
}

/// Looks for runtime, providers, GPU parts and models, loads the runtime and verifies every model.
#[must_use]
pub fn describe(config: &BackendConfig) -> Description {
    let mut told = Description::default();
    match Runtime::get(config.runtime_library.as_deref(), config.threads) {
        Ok(runtime) => {
            told.add(
                "ONNX Runtime",
                true,
                format!(
                    "{} ({}), {} threads",
                    runtime.version(),
                    runtime.library().display(),
                    runtime.threads()
                ),
            );
            let parts = GpuParts::look(runtime, 0);
            let has = |yes: bool| if yes { "compiled in" } else { "not compiled in" };
            told.add("provider CPU", true, "compiled in");
            told.add("provider CUDA", parts.missing_for_cuda(0).is_empty(), has(parts.runtime_has_cuda));
            told.add(
                "provider TensorRT",
                parts.missing_for_tensorrt(0).is_empty(),
                has(parts.runtime_has_tensorrt),
            );
            told.add(
                "provider TensorRT-RTX",
                parts.missing_for_rtx(0).is_empty(),
                parts
                    .rtx_plugin
                    .as_ref()
                    .map_or_else(|| "plugin not found".to_owned(), |p| p.display().to_string()),
            );
            told.part("GPU device", parts.device_file.as_ref());
            told.part("CUDA driver", parts.driver.as_ref());
            told.part("NVRTC", parts.nvrtc.as_ref());
            match device::resolve(config.device, runtime) {
                Ok(chosen) => {
                    told.add("device", true, format!("{} ({})", chosen.device, chosen.reason));
                    let frames = device::frames_on(chosen.device, &parts, nullface_kernels::reference_forced());
                    told.add("frames", true, frames.unwrap_or_else(|why| why));
                }
                Err(e) => told.add("device", false, e.to_string()),
            }
        }
        Err(e) => told.add("ONNX Runtime", false, e.to_string()),
    }
    match find_models_dir(config.models_dir.as_deref()).and_then(|dir| Models::open(&dir)) {
        Ok(models) => {
            told.add("models", true, models.folder().display().to_string());
            for entry in models.entries() {
                match models.read(&entry.name) {
                    Ok(_) => told.add("model", true, format!("{} ({}, {})", entry.name, entry.role, entry.licence)),
                    Err(e) => told.add("model", false, e.to_string()),
                }
            }
        }
        Err(e) => told.add("models", false, e.to_string()),
    }
    told
}
