//! What can be wrong with a pack, always with the field's name.

use std::path::PathBuf;

/// Why a pack is refused.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be read.
    #[error("pack {path}: {source}")]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// Not TOML, a missing or unknown key, a value of another type.
    #[error("pack {path}: {why}")]
    Parse {
        /// File.
        path: PathBuf,
        /// The parser's words, with line and key.
        why: String,
    },
    /// A value that is not allowed or does not fit the others or the files.
    #[error("pack field {field}: expected {expected}, got {got}")]
    Field {
        /// Key, with its tables.
        field: String,
        /// Expected.
        expected: String,
        /// Got.
        got: String,
    },
}

/// `Ok` or a [`PackError::Field`].
pub(super) fn field(
    name: impl Into<String>,
    ok: bool,
    expected: impl std::fmt::Display,
    got: impl std::fmt::Display,
) -> Result<(), PackError> {
    if ok {
        Ok(())
    } else {
        Err(PackError::Field {
            field: name.into(),
            expected: expected.to_string(),
            got: got.to_string(),
        })
    }
}
