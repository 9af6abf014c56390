//! The report: what was asked, what happened to every face, and the totals, as lines of JSON.
//!
//! | `record` | when | fields |
//! |---|---|---|
//! | `header` | first line | versions, the input's name, size, SHA-256, settings |
//! | `change` | whenever a face's treatment changes | what the element says: time, tracks, boxes, rung, cos |
//! | `footer` | last line, only of a finished film | frames, length, counts, output's SHA-256, exit code |
//!
//! A report without a footer is not one of a finished film; it never stands under the final name.
//! The seed, embeddings and pixels are not in it.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::args::Args;
use super::flow::Tally;
use crate::exit::{Exit, refuse};
use crate::film::Film;
use crate::hash::sha256;
use crate::json;
use crate::target::{ROOM, Target};

/// Version of the record layout.
const LAYOUT: u32 = 1;

/// A report being written.
#[derive(Debug)]
pub(super) struct Report {
    target: Target,
}

impl Report {
    /// Writes the header.
    pub(super) fn create(target: Target, args: &Args, film: &Film) -> Result<Self> {
        let mut report = Self { target };
        let settings: Map<String, Value> = args
            .properties()
            .into_iter()
            .filter(|(name, _)| !matches!(*name, "seed" | "models-dir" | "model-pack"))
            .map(|(name, value)| {
                (
                    name.to_owned(),
                    value.parse::<f64>().map_or_else(|_| Value::from(value.clone()), |_| number(&value)),
                )
            })
            .collect();
        report.line(&json!({
            "record": "header",
            "layout": LAYOUT,
            "nullface": env!("CARGO_PKG_VERSION"),
            "gstreamer": gst::version_string().to_string(),
            "input": {
                "name": film.path.file_name().map(|n| n.to_string_lossy().into_owned()),
                "bytes": film.bytes,
                "sha256": sha256(&film.path)?,
            },
            "settings": settings,
            "seeded": args.seed.is_some(),
            "keep_metadata": args.keep_metadata,
        }))?;
        Ok(report)
    }

    /// Writes down what the element says.
    pub(super) fn change(&mut self, message: &gst::StructureRef, time: Option<gst::ClockTime>) -> Result<()> {
        let mut record = Map::new();
        record.insert("record".to_owned(), "change".into());
        record.insert("time_s".to_owned(), time.map_or(Value::Null, |t| t.seconds_f64().into()));
        record.extend(json::structure(message));
        self.line(&Value::Object(record))
    }

    /// Writes the footer and gives the report its name.
    pub(super) fn finish(mut self, tally: &Tally, output: &Path, exit: Exit) -> Result<()> {
        self.line(&json!({
            "record": "footer",
            "frames_in": tally.frames_in,
            "frames_out": tally.frames_out,
            "damaged_frames": tally.damaged,
            "length_s": tally.end.seconds_f64(),
            "stats": tally.stats,
            "fallback_share": tally.fallback_share(),
            "output_sha256": sha256(output)?,
            "exit_code": exit as u8,
        }))?;
        self.target.finish()
    }

    fn line(&mut self, value: &Value) -> Result<()> {
        let mut text = value.to_string();
        text.push('\n');
        let written = self.target.file_mut().write_all(text.as_bytes());
        written.map_err(|e| refuse(self.target.path(), format!("it cannot be written: {e}"), ROOM))
    }
}

/// A number as written, so that 0.1 does not become 0.10000000149.
fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}
