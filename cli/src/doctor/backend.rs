//! What the library's backend says about runtime, devices and models, as findings.

use std::path::Path;

use nullface::backend::{BackendConfig, describe};

use super::{Finding, State};

/// Things that may be missing: they are needed only by those who ask for a GPU.
const OPTIONAL: [&str; 6] = [
    "provider CUDA",
    "provider TensorRT",
    "provider TensorRT-RTX",
    "GPU device",
    "CUDA driver",
    "NVRTC",
];

/// Looks for ONNX Runtime, its providers, a GPU and the models.
pub(super) fn findings(models_dir: Option<&Path>) -> Vec<Finding> {
    let config = BackendConfig {
        models_dir: models_dir.map(Path::to_path_buf),
        ..BackendConfig::default()
    };
    describe(&config)
        .findings
        .into_iter()
        .map(|found| {
            let state = match (found.good, OPTIONAL.contains(&found.what)) {
                (true, _) => State::Good,
                (false, true) => State::Absent,
                (false, false) => State::Missing,
            };
            Finding {
                what: found.what.to_owned(),
                state,
                detail: found.detail,
            }
        })
        .collect()
}
