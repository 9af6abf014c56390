//! Which films a batch has, and what their results are called.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::exit::refuse;

/// Endings by which a film in a folder is known.
const FILMS: [&str; 17] = [
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "m2ts", "mxf", "wmv", "flv", "3gp", "ogv", "vob",
];
/// Those that can be written; a film of another kind becomes Matroska, which takes everything.
const WRITTEN: [&str; 5] = ["mp4", "m4v", "mov", "mkv", "webm"];

/// One film.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// To read.
    pub(super) input: PathBuf,
    /// To write.
    pub(super) output: PathBuf,
    /// The result's name in the output folder.
    pub(super) name: String,
}

impl Job {
    /// Where its report goes.
    pub(super) fn report(&self) -> PathBuf {
        let mut name = self.output.file_name().unwrap_or_default().to_owned();
        name.push(".report.jsonl");
        self.output.with_file_name(name)
    }

    /// Where its parts lie until it is done.
    pub(super) fn work(&self) -> PathBuf {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.output.file_name().unwrap_or_default());
        name.push(".work");
        self.output.with_file_name(name)
    }
}

/// All films, in order of their names.
///
/// # Errors
/// A folder or list cannot be read, or two films would have the same result.
pub(super) fn jobs(inputs: &[PathBuf], into: &Path) -> Result<Vec<Job>> {
    let own = std::fs::canonicalize(into).unwrap_or_else(|_| into.to_owned());
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for input in inputs {
        if input.is_dir() {
            walk(input, Path::new(""), &own, &mut found)?;
        } else if ending(input).as_deref() == Some("txt") {
            list(input, &mut found)?;
        } else {
            found.push((input.clone(), PathBuf::from(input.file_name().unwrap_or_default())));
        }
    }
    let mut by_name: HashMap<String, PathBuf> = HashMap::new();
    let mut jobs = Vec::with_capacity(found.len());
    for (input, relative) in found {
        let relative = match ending(&relative) {
            Some(e) if WRITTEN.contains(&e.as_str()) => relative,
            _ => relative.with_extension("mkv"),
        };
        let name = relative.to_string_lossy().into_owned();
        if let Some(other) = by_name.insert(name.clone(), input.clone()) {
            return Err(refuse(
                &input,
                format!("its result would have the name of that of {}", other.display()),
                "rename one of them, or give each its own run",
            ));
        }
        jobs.push(Job {
            output: into.join(&relative),
            input,
            name,
        });
    }
    jobs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(jobs)
}

fn ending(path: &Path) -> Option<String> {
    path.extension()
        .map(OsStr::to_ascii_lowercase)
        .map(|e| e.to_string_lossy().into_owned())
}

/// Films in a folder and its folders. Hidden ones, links and the output folder are passed over.
fn walk(folder: &Path, relative: &Path, own: &Path, found: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    if std::fs::canonicalize(folder).is_ok_and(|f| f == own) {
        return Ok(());
    }
    let unreadable = |e: std::io::Error| refuse(folder, format!("the folder cannot be read: {e}"), "check the path and your rights");
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let relative = relative.join(entry.file_name());
        if kind.is_dir() {
            walk(&path, &relative, own, found)?;
        } else if kind.is_file() && ending(&path).is_some_and(|e| FILMS.contains(&e.as_str())) {
            found.push((path, relative));
        }
    }
    Ok(())
}

/// Paths in a text file, relative to it; lines that begin with # are passed over.
fn list(path: &Path, found: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    let text = std::fs::read_to_string(path).map_err(|e| refuse(path, format!("the list cannot be read: {e}"), "check the path"))?;
    let beside = path.parent().unwrap_or(Path::new(""));
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let film = beside.join(line);
        let name = PathBuf::from(film.file_name().unwrap_or_default());
        found.push((film, name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::jobs;
    use std::path::PathBuf;

    #[test]
    fn folders_are_searched_and_the_output_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("b/out")).expect("made");
        for name in ["a.mp4", "b/c.AVI", "b/out/d.mp4", "notes.doc", ".hidden.mp4"] {
            std::fs::write(at(name), b"x").expect("written");
        }
        let list = jobs(&[folder.path().to_owned()], &at("b/out")).expect("jobs");
        let names: Vec<&str> = list.iter().map(|j| j.name.as_str()).collect();
        assert_eq!(names, ["a.mp4", "b/c.mkv"]);
        assert_eq!(list[0].report(), at("b/out/a.mp4.report.jsonl"));
    }

    #[test]
    fn two_films_with_one_result_are_refused() {
        let error = jobs(&[PathBuf::from("x/a.avi"), PathBuf::from("y/a.mpg")], &PathBuf::from("out")).expect_err("same name");
        assert!(error.to_string().contains("would have the name of"), "{error}");
    }

    #[test]
    fn a_list_has_one_path_a_line() {
        let folder = tempfile::tempdir().expect("folder");
        let list = folder.path().join("films.txt");
        std::fs::write(&list, "# mine\n\nx/a.mp4\n  b.webm \n").expect("written");
        let jobs = jobs(&[list], &PathBuf::from("out")).expect("jobs");
        assert_eq!(jobs[0].input, folder.path().join("x/a.mp4"));
        assert_eq!(jobs[1].output, PathBuf::from("out/b.webm"));
    }
}
