//! Reads the report that a run wrote, and holds it against the films it is said to be of.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::exit::refuse;

/// Longest line read, bytes: a record holds boxes of some faces.
const MAX_LINE: usize = 4 << 20;

/// What of a run's report an evaluation uses.
#[derive(Debug, Clone, Default)]
pub(super) struct RunReport {
    /// Settings and versions.
    pub(super) header: Value,
    /// By time: `(seconds, rung, box)` of each face. A state holds until the next.
    pub(super) changes: Vec<Change>,
    /// Length of the film, s.
    pub(super) length_s: f64,
}

/// What became of the faces from a time on.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Change {
    /// From when, s.
    pub(super) at_s: f64,
    /// Rung and box (x, y, width, height) of each face.
    pub(super) faces: Vec<(String, [f64; 4])>,
}

impl RunReport {
    /// Reads it, and refuses that of another run.
    ///
    /// # Errors
    /// No report, an unfinished one, or one whose hashes are not those of the films.
    pub(super) fn read(path: &Path, source_sha256: &str, output_sha256: &str) -> Result<Self> {
        const REMEDY: &str = "give the file that `nullface anonymize --report` wrote when it made this output";
        let wrong = |why: String| refuse(path, why, REMEDY);
        let file = File::open(path).map_err(|e| wrong(format!("it cannot be read: {e}")))?;
        let (mut report, mut footer) = (Self::default(), Value::Null);
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|e| wrong(format!("line {}: {e}", number + 1)))?;
            if line.len() > MAX_LINE {
                return Err(wrong(format!("line {} is longer than {MAX_LINE} bytes", number + 1)));
            }
            let record: Value = serde_json::from_str(&line).map_err(|e| wrong(format!("line {} is no record: {e}", number + 1)))?;
            match record["record"].as_str() {
                Some("header") if number == 0 => report.header = record,
                Some("change") => report.changes.extend(change(&record)),
                Some("footer") => footer = record,
                Some(_) if number > 0 => {}
                _ => return Err(wrong(format!("line {} is no record of a run", number + 1))),
            }
        }
        let hash = |v: &Value| v.as_str().unwrap_or("none").to_owned();
        if footer.is_null() {
            return Err(wrong("it has no footer, so it is not one of a finished run".to_owned()));
        }
        for (what, said, is) in [
            ("source", hash(&report.header["input"]["sha256"]), source_sha256),
            ("output", hash(&footer["output_sha256"]), output_sha256),
        ] {
            if said != is {
                return Err(wrong(format!("it is of another film: its {what} has sha256 {said}, this one {is}")));
            }
        }
        report.length_s = footer["length_s"].as_f64().unwrap_or(0.0);
        Ok(report)
    }

    /// From when which rung held between two times. The deepest fall counts where faces differ: the report of
    /// a run numbers its tracks otherwise than an evaluation does.
    pub(super) fn rungs_between(&self, first_s: f64, last_s: f64) -> Vec<(f64, String)> {
        const DEPTH: [&str; 7] = ["diffusion", "cached", "prior", "blur", "pixelate", "solid", "frame"];
        let depth = |rung: &String| DEPTH.iter().position(|d| d == rung);
        let mut all: Vec<(f64, String)> = Vec::new();
        for (i, change) in self.changes.iter().enumerate() {
            let ends = self.changes.get(i + 1).map_or(f64::INFINITY, |c| c.at_s);
            let deepest = change.faces.iter().map(|f| &f.0).max_by_key(|r| depth(r));
            if let Some(rung) = deepest.filter(|_| ends > first_s && change.at_s <= last_s)
                && all.last().is_none_or(|(_, before)| before != rung)
            {
                all.push((change.at_s.max(first_s), rung.clone()));
            }
        }
        all
    }

    /// Seconds of faces by rung.
    pub(super) fn rungs(&self) -> BTreeMap<String, f64> {
        let mut all = BTreeMap::new();
        for (i, change) in self.changes.iter().enumerate() {
            let end = self.changes.get(i + 1).map_or(self.length_s, |c| c.at_s);
            for (rung, _) in &change.faces {
                *all.entry(rung.clone()).or_insert(0.0) += (end - change.at_s).max(0.0);
            }
        }
        all
    }
}

fn change(record: &Value) -> Option<Change> {
    let number = |v: &Value| v.as_f64().unwrap_or(0.0);
    let face = |f: &Value| {
        let place = ["x", "y", "width", "height"].map(|k| number(&f[k]));
        (f["rung"].as_str().unwrap_or("frame").to_owned(), place)
    };
    Some(Change {
        at_s: record["time_s"].as_f64()?,
        faces: record["faces"].as_array().map(|f| f.iter().map(face).collect()).unwrap_or_default(),
    })
}
