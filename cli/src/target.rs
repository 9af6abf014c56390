//! Where a result goes: refused early where it must not be written, kept under a temporary name in
//! the same folder while it grows, and renamed in one step when it is whole. Nobody ever sees half
//! a film under the final name.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::NamedTempFile;

use crate::exit::refuse;

/// A file being written.
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    temp: NamedTempFile,
    force: bool,
}

impl Target {
    /// Reserves a temporary name beside `path`.
    ///
    /// # Errors
    /// The target exists and `force` is not given, is one of `sources`, or its folder cannot be written.
    pub(crate) fn create(path: &Path, force: bool, sources: &[&Path]) -> Result<Self> {
        let Some(name) = path.file_name() else {
            return Err(refuse(path, "it names no file", "give a file name for the result"));
        };
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => return Err(refuse(path, "it is a folder", "give a file name for the result")),
            Ok(meta) if !meta.is_file() => {
                return Err(refuse(
                    path,
                    "it is not a regular file",
                    "give the name of a file that may be replaced",
                ));
            }
            Ok(meta) => {
                for source in sources {
                    if fs::metadata(source).is_ok_and(|s| s.dev() == meta.dev() && s.ino() == meta.ino()) {
                        return Err(refuse(path, "it is the input itself", "choose another name for the result"));
                    }
                }
                if !force {
                    return Err(refuse(
                        path,
                        "it exists already",
                        "choose another name, or give --force to replace it",
                    ));
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(refuse(path, format!("it cannot be written: {e}"), WRITABLE)),
        }
        let folder = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let temp = tempfile::Builder::new()
            .prefix(&format!(".{}.", name.to_string_lossy()))
            .suffix(".part")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(|e| {
                let cause = if e.kind() == ErrorKind::NotFound {
                    format!("its folder {} does not exist", folder.display())
                } else {
                    let why = e.get_ref().map_or_else(|| e.to_string(), innermost);
                    format!("its folder {} cannot be written: {why}", folder.display())
                };
                refuse(path, cause, WRITABLE)
            })?;
        Ok(Self {
            path: path.to_owned(),
            temp,
            force,
        })
    }

    /// Final name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Name while it grows.
    pub(crate) fn temp_path(&self) -> &Path {
        self.temp.path()
    }

    /// The open file, for those who write through it.
    pub(crate) fn file_mut(&mut self) -> &mut fs::File {
        self.temp.as_file_mut()
    }

    /// Gives the file its final name.
    ///
    /// # Errors
    /// The disk refuses, or somebody made the target meanwhile and `force` is not given.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { path, temp, force } = self;
        // The data was written through the temporary name, maybe by another descriptor.
        let sync = temp.as_file().sync_all();
        sync.map_err(|e| refuse(&path, format!("it cannot be written to the disk: {e}"), ROOM))?;
        let renamed = if force {
            temp.persist(&path)
        } else {
            temp.persist_noclobber(&path)
        };
        renamed.map(|_| ()).map_err(|e| {
            if e.error.kind() == ErrorKind::AlreadyExists {
                refuse(
                    &path,
                    "it was made by somebody else meanwhile",
                    "choose another name, or give --force to replace it",
                )
            } else {
                refuse(&path, format!("the finished file cannot be renamed to it: {}", e.error), WRITABLE)
            }
        })
    }
}

/// Remedy for a target that cannot be written.
pub(crate) const WRITABLE: &str = "choose a folder that exists and that you may write to";
/// Remedy for a full disk.
pub(crate) const ROOM: &str = "make room on that disk or choose another one";

/// `tempfile` wraps the cause in a message that repeats the path.
fn innermost(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}
