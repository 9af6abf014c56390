//! The only user of ONNX Runtime and OpenCV's networks: sessions, devices, residency.

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
