//! Reads the report that a run wrote, and holds it against the films it is said to be of.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::exit::refuse;

/// What of a run's report an evaluation uses.
#[derive(Debug, Clone, Default)]
pub(super) struct RunReport {
    /// Settings and versions.
    pub(super) header: Value,
    /// What was done when.
    pub(super) intervals: Vec<Interval>,
}

/// A face treated alike for a while.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Interval {
    /// From when, s.
    pub(super) from_s: f64,
    /// Until when, s.
    pub(super) to_s: f64,
    /// How.
    pub(super) rung: String,
}

/// How far a treatment fell, the best first.
const DEPTH: [&str; 7] = ["diffusion", "cached", "prior", "blur", "pixelate", "solid", "frame"];

impl RunReport {
    /// Reads it, and refuses that of another run.
    ///
    /// # Errors
    /// No report, an unfinished or changed one, or one whose hashes are not those of the films.
    pub(super) fn read(path: &Path, source_sha256: &str, output_sha256: &str) -> Result<Self> {
        const REMEDY: &str = "give the file that `nullface anonymize --report` wrote when it made this output";
        let trail = crate::audit::read(path)?;
        let hash = |v: &Value| v.as_str().unwrap_or("none").to_owned();
        for (what, said, is) in [
            ("source", hash(&trail.header["input"]["sha256"]), source_sha256),
            ("output", hash(&trail.footer["output_sha256"]), output_sha256),
        ] {
            if said != is {
                let why = format!("it is of another film: its {what} has sha256 {said}, this one {is}");
                return Err(refuse(path, why, REMEDY));
            }
        }
        let text = std::fs::read_to_string(path).map_err(|e| refuse(path, format!("it cannot be read: {e}"), REMEDY))?;
        let intervals = text
            .lines()
            .filter_map(|line| interval(&serde_json::from_str(line).ok()?))
            .collect();
        let mut header = trail.header;
        if let Some(fields) = header.as_object_mut() {
            fields.remove("chain");
        }
        Ok(Self { header, intervals })
    }

    /// From when which rung held between two times. The deepest fall counts where faces differ: the report of
    /// a run numbers its tracks otherwise than an evaluation does.
    pub(super) fn rungs_between(&self, first_s: f64, last_s: f64) -> Vec<(f64, String)> {
        let mut times: Vec<f64> = self
            .intervals
            .iter()
            .flat_map(|i| [i.from_s, i.to_s])
            .map(|t| t.clamp(first_s, last_s))
            .collect();
        times.push(first_s);
        times.sort_by(f64::total_cmp);
        times.dedup();
        let depth = |rung: &str| DEPTH.iter().position(|d| *d == rung);
        let mut all: Vec<(f64, String)> = Vec::new();
        for at in times.into_iter().filter(|t| *t < last_s) {
            let here = self.intervals.iter().filter(|i| i.from_s <= at && at < i.to_s);
            let deepest = here.max_by_key(|i| depth(&i.rung)).map_or("none", |i| i.rung.as_str());
            if all.last().is_none_or(|(_, before)| before != deepest) {
                all.push((at, deepest.to_owned()));
            }
        }
        all
    }

    /// Seconds of faces by rung.
    pub(super) fn rungs(&self) -> BTreeMap<String, f64> {
        let mut all = BTreeMap::new();
        for i in &self.intervals {
            *all.entry(i.rung.clone()).or_insert(0.0) += (i.to_s - i.from_s).max(0.0);
        }
        all
    }
}

fn interval(record: &Value) -> Option<Interval> {
    (record["record"] == "interval").then_some(())?;
    Some(Interval {
        from_s: record["from_s"].as_f64()?,
        to_s: record["to_s"].as_f64()?,
        rung: record["rung"].as_str()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Interval, RunReport};

    #[test]
    fn the_deepest_rung_of_each_moment_counts() {
        let at = |from_s, to_s, rung: &str| Interval {
            from_s,
            to_s,
            rung: rung.to_owned(),
        };
        let run = RunReport {
            intervals: vec![at(0.0, 4.0, "cached"), at(1.0, 2.0, "blur"), at(6.0, 7.0, "solid")],
            ..RunReport::default()
        };
        let got: Vec<(f64, String)> = run.rungs_between(0.5, 6.5);
        let want = [(0.5, "cached"), (1.0, "blur"), (2.0, "cached"), (4.0, "none"), (6.0, "solid")];
        assert_eq!(got, want.map(|(t, r)| (t, r.to_owned())));
        assert_eq!(run.rungs()["cached"], 4.0);
    }
}
