//! What the library's backend says about runtime, devices and models, as findings.

use std::path::Path;

use super::Finding;

/// Looks for the models' folder that was named.
pub(super) fn findings(models_dir: Option<&Path>) -> Vec<Finding> {
    models_dir
        .map(|d| Finding::good("models-dir", d.display().to_string()))
        .into_iter()
        .collect()
}
