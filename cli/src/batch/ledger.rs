//! What was begun and what is done, as lines of JSON that are only ever added: a process that dies
//! leaves at worst half a line, which is passed over. One process at a time may hold it.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::anonymize::Piece;
use crate::exit::refuse;
use crate::target::{ROOM, WRITABLE};

/// Its name in the output folder.
pub(super) const NAME: &str = "batch.jsonl";

/// What a result is made of: when all of it is the same, so is the result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The result's name in the output folder.
    pub(super) output: String,
    /// The film's content.
    pub(super) input_sha256: String,
    /// Options, photos, cut lists and version, hashed.
    pub(super) options: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
enum Record {
    Begun { entry: Entry },
    Piece { entry: Entry, made: Piece },
    Done { entry: Entry, output_sha256: String },
}

/// The ledger of an output folder, held by this process.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    file: File,
    begun: HashSet<String>,
    pieces: HashMap<Entry, Vec<Piece>>,
    done: HashMap<Entry, String>,
}

impl Ledger {
    /// Opens it, and waits for nobody.
    ///
    /// # Errors
    /// The folder cannot be written, or another batch is at work in it.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let wrong = |e: std::io::Error| refuse(&path, format!("it cannot be opened: {e}"), WRITABLE);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(wrong)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(refuse(
                    folder,
                    "another batch is at work in this folder",
                    "wait for it, or choose another folder",
                ));
            }
            Err(TryLockError::Error(e)) => return Err(wrong(e)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(wrong)?;
        let (mut begun, mut done) = (HashSet::new(), HashMap::new());
        let mut pieces: HashMap<Entry, Vec<Piece>> = HashMap::new();
        for record in text.lines().filter_map(|l| serde_json::from_str(l).ok()) {
            match record {
                Record::Begun { entry } => {
                    begun.insert(entry.output);
                }
                Record::Piece { entry, made } => pieces.entry(entry).or_default().push(made),
                Record::Done { entry, output_sha256 } => {
                    pieces.remove(&entry);
                    done.insert(entry, output_sha256);
                }
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(b"\n")).map_err(wrong)?;
        }
        Ok(Self {
            path,
            file,
            begun,
            pieces,
            done,
        })
    }

    /// The hash of a result that is done.
    pub(super) fn finished(&self, entry: &Entry) -> Option<String> {
        self.done.get(entry).cloned()
    }

    /// Whether a result of this name was begun by a batch.
    pub(super) fn began(&self, output: &str) -> bool {
        self.begun.contains(output)
    }

    /// Pieces of a film that is not done, in the order in which they were made.
    pub(super) fn pieces(&self, entry: &Entry) -> Vec<Piece> {
        self.pieces.get(entry).cloned().unwrap_or_default()
    }

    /// Notes that a piece of a film is made.
    pub(super) fn keep(&mut self, entry: &Entry, made: &Piece) -> Result<()> {
        self.write(&Record::Piece {
            entry: entry.clone(),
            made: made.clone(),
        })?;
        self.pieces.entry(entry.clone()).or_default().push(made.clone());
        Ok(())
    }

    /// Notes that a film begins, and takes away what a run that died left of it.
    pub(super) fn begin(&mut self, entry: &Entry, output: &Path) -> Result<()> {
        if self.begun.contains(&entry.output) {
            remove_leftovers(output);
        }
        self.write(&Record::Begun { entry: entry.clone() })?;
        self.begun.insert(entry.output.clone());
        Ok(())
    }

    /// Notes that a film is done.
    pub(super) fn finish(&mut self, entry: &Entry, output_sha256: &str) -> Result<()> {
        self.write(&Record::Done {
            entry: entry.clone(),
            output_sha256: output_sha256.to_owned(),
        })?;
        self.pieces.remove(entry);
        self.done.insert(entry.clone(), output_sha256.to_owned());
        Ok(())
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        let line = serde_json::to_string(record)? + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|e| refuse(&self.path, format!("it cannot be written: {e}"), ROOM))
    }
}

/// Temporary files of this result and its report. The lock says that nobody is writing them.
fn remove_leftovers(output: &Path) {
    let (Some(folder), Some(name)) = (output.parent(), output.file_name()) else {
        return;
    };
    let prefix = format!(".{}.", name.to_string_lossy());
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.starts_with(&prefix) && file.ends_with(".part") {
            // What cannot be removed does no harm: the next run has names of its own.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Ledger, NAME, Piece};
    use std::io::Write;

    fn entry(output: &str) -> Entry {
        Entry {
            output: output.to_owned(),
            input_sha256: "ab".to_owned(),
            options: "cd".to_owned(),
        }
    }

    #[test]
    fn what_is_done_is_known_again_and_half_a_line_is_passed_over() {
        let folder = tempfile::tempdir().expect("folder");
        let mut ledger = Ledger::open(folder.path()).expect("opens");
        ledger.begin(&entry("a.mp4"), &folder.path().join("a.mp4")).expect("begun");
        ledger.finish(&entry("a.mp4"), "ef").expect("done");
        ledger.begin(&entry("b.mp4"), &folder.path().join("b.mp4")).expect("begun");
        drop(ledger);
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(folder.path().join(NAME))
            .expect("ledger");
        file.write_all(b"{\"record\":\"done\",\"ent").expect("torn");
        drop(file);
        let mut ledger = Ledger::open(folder.path()).expect("opens again");
        assert_eq!(ledger.finished(&entry("a.mp4")).as_deref(), Some("ef"));
        assert_eq!(ledger.finished(&entry("b.mp4")), None);
        assert!(ledger.began("b.mp4") && !ledger.began("c.mp4"));
        ledger.finish(&entry("b.mp4"), "01").expect("done");
        drop(ledger);
        assert!(Ledger::open(folder.path()).expect("opens").finished(&entry("b.mp4")).is_some());
    }

    #[test]
    fn pieces_belong_to_one_film_and_options_until_it_is_done() {
        let folder = tempfile::tempdir().expect("folder");
        let piece = Piece::Tracks { sha256: "12".to_owned() };
        let other = Entry {
            options: "other".to_owned(),
            ..entry("a.mp4")
        };
        let mut ledger = Ledger::open(folder.path()).expect("opens");
        ledger.begin(&entry("a.mp4"), &folder.path().join("a.mp4")).expect("begun");
        ledger.keep(&entry("a.mp4"), &piece).expect("kept");
        drop(ledger);
        let mut ledger = Ledger::open(folder.path()).expect("opens again");
        assert_eq!(ledger.pieces(&entry("a.mp4")), [piece]);
        assert_eq!(ledger.pieces(&other), []);
        ledger.finish(&entry("a.mp4"), "ef").expect("done");
        drop(ledger);
        assert_eq!(Ledger::open(folder.path()).expect("opens").pieces(&entry("a.mp4")), []);
    }

    #[test]
    fn two_batches_do_not_share_a_folder() {
        let folder = tempfile::tempdir().expect("folder");
        let held = Ledger::open(folder.path()).expect("opens");
        let error = Ledger::open(folder.path()).expect_err("held").to_string();
        assert!(error.contains("another batch is at work"), "{error}");
        drop(held);
        assert!(Ledger::open(folder.path()).is_ok());
    }
}
