//! What became of each film, for people and as JSON.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use crate::anonymize::Done;
use crate::exit::{Exit, refuse};
use crate::target::{ROOM, Target};

/// Its name in the output folder.
const NAME: &str = "batch-report.json";

/// What became of a film.
#[derive(Debug)]
pub(super) enum Fate {
    /// It was made.
    Done(Done),
    /// It was there already, made of the same film by the same options.
    Skipped,
    /// It could not be made.
    Failed(String),
    /// The run was stopped.
    Stopped,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(done) => {
                write!(f, "{} frames, {} faces followed", done.frames, done.tracks)?;
                match done.parts_kept {
                    0 => Ok(()),
                    kept => write!(f, "; {kept} parts of a former run"),
                }
            }
            Self::Skipped => f.write_str("there already"),
            Self::Failed(why) => f.write_str(why),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// A film and its fate.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) input: PathBuf,
    pub(super) output: PathBuf,
    pub(super) fate: Fate,
}

/// The fates of all.
#[derive(Debug)]
pub(super) struct Summary {
    films: usize,
    lines: Vec<Line>,
}

impl Summary {
    pub(super) fn new(films: usize) -> Self {
        Self {
            films,
            lines: Vec::with_capacity(films),
        }
    }

    pub(super) fn add(&mut self, line: Line) {
        self.lines.push(line);
    }

    fn count(&self, which: impl Fn(&Fate) -> bool) -> usize {
        self.lines.iter().filter(|l| which(&l.fate)).count()
    }

    /// The worst of all.
    pub(super) fn exit(&self) -> Exit {
        let done = |exit: Exit| move |f: &Fate| matches!(f, Fate::Done(d) if d.exit == exit);
        if self.count(|f| matches!(f, Fate::Failed(_))) > 0 {
            Exit::Failed
        } else if self.count(done(Exit::CoveredBeyondLimit)) > 0 {
            Exit::CoveredBeyondLimit
        } else {
            Exit::Done
        }
    }

    /// Writes the report.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let mut films: Vec<&Line> = self.lines.iter().collect();
        films.sort_by(|a, b| a.output.cmp(&b.output));
        let films: Vec<Value> = films.into_iter().map(|line| {
            let mut record = json!({
                "input": line.input.file_name().map(|n| n.to_string_lossy()),
                "output": line.output.strip_prefix(folder).unwrap_or(&line.output).to_string_lossy(),
            });
            let told = match &line.fate {
                Fate::Done(d) => json!({"fate": "done", "frames": d.frames, "tracks": d.tracks, "fallback_share": d.fallback_share, "parts_kept": d.parts_kept, "exit_code": d.exit as u8}),
                Fate::Skipped => json!({"fate": "there already"}),
                Fate::Failed(why) => json!({"fate": "failed", "why": why}),
                Fate::Stopped => json!({"fate": "stopped"}),
            };
            if let (Value::Object(record), Value::Object(told)) = (&mut record, told) {
                record.extend(told);
            }
            record
        }).collect();
        let whole = json!({"nullface": env!("CARGO_PKG_VERSION"), "films": self.films, "results": films});
        let mut target = Target::create(&folder.join(NAME), true, &[])?;
        let text = serde_json::to_string_pretty(&whole)? + "\n";
        let written = target.file_mut().write_all(text.as_bytes());
        written.map_err(|e| refuse(target.path(), format!("it cannot be written: {e}"), ROOM))?;
        target.finish()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.count(|f| matches!(f, Fate::Done(_)));
        let there = self.count(|f| matches!(f, Fate::Skipped));
        let failed = self.count(|f| matches!(f, Fate::Failed(_)));
        write!(f, "{} films: {made} made, {there} there already, {failed} failed", self.films)?;
        match self.films - made - there - failed {
            0 => Ok(()),
            left => write!(f, ", {left} left"),
        }
    }
}
