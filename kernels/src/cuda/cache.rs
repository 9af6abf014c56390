//! Machine code kept on disk, so that a second start compiles nothing.
//!
//! | | |
//! |---|---|
//! | where | `NULLFACE_CACHE`, else `XDG_CACHE_HOME/nullface`, else `~/.cache/nullface`; folder `kernels` in it |
//! | key | SHA-256 of format, kernel, source, architecture, driver version and compiler version |
//! | file | magic, key, length, SHA-256 of the code, code |
//! | read | a file that is short, long, of another key or hash is deleted and made again |
//! | write | to a temporary name in the same folder, then renamed: readers see all or nothing |
//! | limits | a folder that cannot be written costs a compilation a start, nothing else |

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Changes whenever the file's layout or the compiler's options do.
const MAGIC: &[u8; 8] = b"NFCUBIN1";
const HEADER: usize = 8 + 32 + 8 + 32;
/// Longest code that is believed, bytes.
const MAX_CODE: u64 = 64 << 20;

/// What the machine code depends on.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// Kernel's name.
    pub kernel: &'a str,
    /// Its whole source.
    pub source: &'a str,
    /// Architecture.
    pub arch: u32,
    /// Driver version.
    pub driver: u32,
    /// Compiler version.
    pub compiler: (i32, i32),
}

impl Made<'_> {
    fn key(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(MAGIC);
        for part in [
            self.kernel.as_bytes(),
            self.source.as_bytes(),
            format!("{} {} {:?}", self.arch, self.driver, self.compiler).as_bytes(),
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn file(&self) -> String {
        let hex: String = self.key().iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!("{}-sm{}-{hex}.cubin", self.kernel, self.arch)
    }
}

/// What was found of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Whole.
    Code(Vec<u8>),
    /// None.
    Nothing,
    /// Something else; it was deleted.
    Corrupted(String),
}

/// A folder of machine code.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

/// The user's cache folder of this project.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    named("NULLFACE_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").filter(|p| p.is_absolute()).map(|p| p.join("nullface")))
        .or_else(|| named("HOME").map(|h| h.join(".cache/nullface")))
}

impl Cache {
    /// In a folder, which is made when it is first written to.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
        }
    }

    /// The file of an entry.
    #[must_use]
    pub fn path(&self, made: &Made<'_>) -> PathBuf {
        self.folder.join(made.file())
    }

    /// Looks an entry up.
    #[must_use]
    pub fn read(&self, made: &Made<'_>) -> Found {
        let path = self.path(made);
        let length = match std::fs::metadata(&path) {
            Ok(m) => m.len(),
            Err(_) => return Found::Nothing,
        };
        let checked = if length > MAX_CODE {
            Err(format!("{length} bytes"))
        } else {
            std::fs::read(&path)
                .map_err(|e| e.to_string())
                .and_then(|bytes| whole(&bytes, &made.key()))
        };
        checked.map_or_else(
            |why| {
                self.remove(made);
                Found::Corrupted(format!("{}: {why}", path.display()))
            },
            Found::Code,
        )
    }

    /// Keeps an entry.
    ///
    /// # Errors
    /// The folder or file that cannot be written.
    pub fn write(&self, made: &Made<'_>, code: &[u8]) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let path = self.path(made);
        let temporary = path.with_extension(format!("{}.{:?}.part", std::process::id(), std::thread::current().id()));
        let written = (|| {
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(MAGIC)?;
            file.write_all(&made.key())?;
            file.write_all(&(code.len() as u64).to_le_bytes())?;
            file.write_all(&Sha256::digest(code))?;
            file.write_all(code)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    /// Drops an entry that turned out to be of no use.
    pub fn remove(&self, made: &Made<'_>) {
        let _ = std::fs::remove_file(self.path(made));
    }
}

/// The code of a whole file.
fn whole(bytes: &[u8], key: &[u8; 32]) -> Result<Vec<u8>, String> {
    if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
        return Err(format!("expected a header of {HEADER} bytes, got {} bytes", bytes.len()));
    }
    let (header, code) = bytes.split_at(HEADER);
    if header[8..40] != key[..] {
        return Err("made for another kernel, device, driver or compiler".to_owned());
    }
    let length = u64::from_le_bytes(header[40..48].try_into().unwrap_or_default());
    if length != code.len() as u64 {
        return Err(format!("expected {length} bytes of code, got {}", code.len()));
    }
    if header[48..80] != Sha256::digest(code)[..] {
        return Err("altered".to_owned());
    }
    Ok(code.to_vec())
}

#[cfg(test)]
mod tests {
    use super::{Cache, Found, HEADER, Made};

    const MADE: Made<'_> = Made {
        kernel: "k",
        source: "text",
        arch: 90,
        driver: 13000,
        compiler: (13, 0),
    };

    #[test]
    fn what_was_written_is_read_and_every_part_of_the_key_counts() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = Cache::new(&folder.path().join("deeper/kernels"));
        assert_eq!(cache.read(&MADE), Found::Nothing);
        cache.write(&MADE, b"code").expect("written");
        assert_eq!(cache.read(&MADE), Found::Code(b"code".to_vec()));
        for other in [
            Made { kernel: "l", ..MADE },
            Made { source: "texts", ..MADE },
            Made { arch: 80, ..MADE },
            Made { driver: 12080, ..MADE },
            Made { compiler: (13, 1), ..MADE },
        ] {
            assert_ne!(cache.path(&other), cache.path(&MADE));
            assert_eq!(cache.read(&other), Found::Nothing, "{other:?}");
        }
        let left: Vec<_> = std::fs::read_dir(folder.path().join("deeper/kernels"))
            .expect("listed")
            .map(|f| f.expect("file").file_name())
            .collect();
        assert_eq!(left.len(), 1, "no temporary files: {left:?}");
    }

    #[test]
    fn a_truncated_altered_or_foreign_file_is_deleted() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = Cache::new(folder.path());
        let other = Made { driver: 12080, ..MADE };
        cache.write(&other, b"made by another driver").expect("written");
        cache.write(&MADE, b"code").expect("written");
        let right = std::fs::read(cache.path(&MADE)).expect("read");
        let mut faults: Vec<Vec<u8>> = [0, 7, 8, HEADER - 1, HEADER, right.len() - 1]
            .iter()
            .map(|n| right[..*n].to_vec())
            .collect();
        faults.push([&right[..], b"more"].concat());
        for at in [0, 10, 42, 50, HEADER] {
            let mut flipped = right.clone();
            flipped[at] ^= 1;
            faults.push(flipped);
        }
        faults.push(std::fs::read(cache.path(&other)).expect("read"));
        for fault in faults {
            std::fs::write(cache.path(&MADE), &fault).expect("written");
            assert!(matches!(cache.read(&MADE), Found::Corrupted(_)), "{} bytes", fault.len());
            assert_eq!(cache.read(&MADE), Found::Nothing, "deleted");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_and_reads_as_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("file"), b"x").expect("written");
        let cache = Cache::new(&folder.path().join("file/kernels"));
        assert!(cache.write(&MADE, b"code").is_err());
        assert_eq!(cache.read(&MADE), Found::Nothing);
    }
}
