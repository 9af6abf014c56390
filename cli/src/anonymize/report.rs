//! The report: the element's audit trail, with what only the command knows – which film went in, which came
//! out – and a signature where a key is given. Layout and limits: [`nullface::audit`].
//!
//! The trail is kept for every run, because it says whether any frame left uncovered; it is written down where
//! `--report` asks for it. A report without a footer is not one of a finished film; it never stands under the
//! final name.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use nullface::audit::{Chain, Totals, check};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use super::args::Args;
use super::flow::Tally;
use crate::audit::Signer;
use crate::exit::{Exit, refuse};
use crate::film::Film;
use crate::hash::sha256;
use crate::target::{ROOM, Target};

/// Where the element writes while it runs.
#[derive(Debug)]
pub(super) struct Running(NamedTempFile);

/// What the element wrote.
#[derive(Debug)]
pub(super) struct Recorded {
    records: Vec<Map<String, Value>>,
}

impl Running {
    /// A file that goes away by itself.
    pub(super) fn new() -> Result<Self> {
        Ok(Self(NamedTempFile::new().context("no temporary file for the audit trail")?))
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// What was written, after the element stopped.
    pub(super) fn read(&self) -> Result<Recorded> {
        Recorded::read(self.path())
    }
}

impl Recorded {
    /// What an element wrote, after it stopped.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).context("the audit trail cannot be read")?;
        check(text.lines()).context("the element's audit trail")?;
        let records = text.lines().map(|line| {
            let mut record: Map<String, Value> = serde_json::from_str(line)?;
            record.remove("chain");
            Ok(record)
        });
        Ok(Self {
            records: records.collect::<Result<_>>()?,
        })
    }

    /// One trail of those of a film's parts, in order. What was going on at a seam is told up to it and from it on.
    pub(super) fn joined(parts: Vec<Self>) -> Result<Self> {
        let mut records = Vec::new();
        let (mut all, mut tracks) = (Totals::default(), BTreeSet::new());
        for (i, part) in parts.into_iter().enumerate() {
            let mut part = part.records;
            let footer = part.pop().context("an audit trail without an end")?;
            let totals: Totals = serde_json::from_value(Value::Object(footer)).context("the end of an audit trail")?;
            all.frames += totals.frames;
            all.withheld += totals.withheld;
            all.faces += totals.faces;
            for (how, count) in totals.treated {
                *all.treated.entry(how).or_insert(0) += count;
            }
            all.worst_cos = all.worst_cos.into_iter().chain(totals.worst_cos).reduce(f32::max);
            all.uncovered.extend(totals.uncovered);
            tracks.extend(part.iter().filter_map(|r| r.get("track").and_then(Value::as_u64)));
            records.extend(part.into_iter().skip(usize::from(i > 0)));
        }
        all.tracks = tracks.len() as u64;
        let mut footer = object(json!({"record": "footer"}));
        footer.extend(object(json!(all)));
        records.push(footer);
        Ok(Self { records })
    }

    /// Faces followed.
    pub(super) fn tracks(&self) -> u64 {
        self.footer("tracks").as_u64().unwrap_or(0)
    }

    /// Whether every frame that was written is one that the engine answered for.
    pub(super) fn covers(&self, tally: &Tally) -> bool {
        self.uncovered() == 0 && self.unaccounted(tally) == 0
    }

    fn footer(&self, field: &str) -> &Value {
        self.records.last().and_then(|f| f.get(field)).unwrap_or(&Value::Null)
    }

    fn uncovered(&self) -> usize {
        // A footer without the list proves nothing.
        self.footer("uncovered").as_array().map_or(1, Vec::len)
    }

    fn unaccounted(&self, tally: &Tally) -> u64 {
        tally.frames_out.saturating_sub(self.footer("frames").as_u64().unwrap_or(0))
    }
}

/// What the command adds.
#[derive(Debug)]
pub(super) struct Report {
    target: Target,
    signer: Option<Signer>,
    input: Value,
}

impl Report {
    /// Looks at the input and the key, before anything is made.
    pub(super) fn create(target: Target, args: &Args, film: &Film) -> Result<Self> {
        Ok(Self {
            target,
            signer: args.sign_key.as_deref().map(Signer::read).transpose()?,
            input: json!({
                "name": film.path.file_name().map(|n| n.to_string_lossy().into_owned()),
                "bytes": film.bytes,
                "sha256": sha256(&film.path)?,
            }),
        })
    }

    /// Writes it and gives it its name.
    pub(super) fn finish(
        mut self,
        args: &Args,
        recorded: Recorded,
        tally: &Tally,
        (output, exit): (&Path, Exit),
        tracks: Option<Value>,
    ) -> Result<()> {
        let unaccounted = recorded.unaccounted(tally);
        let mut chain = Chain::default();
        let last = recorded.records.len().saturating_sub(1);
        for (i, mut record) in recorded.records.into_iter().enumerate() {
            if i == 0 {
                record.extend(object(json!({
                    "gstreamer": gst::version_string().to_string(),
                    "input": self.input,
                    "keep_metadata": args.keep_metadata,
                    "marked": !args.no_marking,
                })));
                record.extend(tracks.clone().map(|t| ("tracks".to_owned(), t)));
                // The filter of a second pass is not told: it reads what became of it in the track file.
                if let Some(Value::Object(settings)) = record.get_mut("settings") {
                    settings.insert("who".to_owned(), args.who_word().into());
                    settings.insert("photos".to_owned(), args.photos().count().into());
                }
            }
            if i == last {
                record.extend(object(json!({
                    "frames_in": tally.frames_in,
                    "frames_out": tally.frames_out,
                    "frames_unaccounted": unaccounted,
                    "damaged_frames": tally.damaged,
                    "length_s": tally.end.seconds_f64(),
                    "stats": tally.stats,
                    "fallback_share": tally.fallback_share(),
                    "output_sha256": sha256(output)?,
                    "exit_code": exit as u8,
                })));
            }
            self.line(&chain.line(&record))?;
        }
        if let Some(signer) = &self.signer {
            let line = signer.record(chain.last());
            self.line(&line)?;
        }
        self.target.finish()
    }

    fn line(&mut self, text: &str) -> Result<()> {
        let written = self.target.file_mut().write_all(text.as_bytes());
        written.map_err(|e| refuse(self.target.path(), format!("it cannot be written: {e}"), ROOM))
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
