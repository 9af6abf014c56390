//! Frames in, records out: one interval for each track and stretch of time in which its treatment stays.

use std::collections::BTreeMap;
use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::chain::Chain;
use crate::backend::{Backend, BackendConfig, BackendError, find_pack_dir};
use crate::frame::BoxPx;
use crate::pipeline::{Choice, CoverReason, EngineConfig, FaceReport, FrameReport, KeepReason, Outcome, Rung, Settings, Who};

/// Version of the records.
pub const LAYOUT: u32 = 2;
/// Frames further apart than this belong to two intervals, s.
const GAP_S: f64 = 1.0;

/// A file that was used, by name and hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Name without folders.
    pub name: String,
    /// SHA-256.
    pub sha256: String,
}

/// What is known before the first frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// ONNX Runtime.
    pub runtime: String,
    /// Device and why.
    pub device: String,
    /// Small models.
    pub models: Vec<Named>,
    /// The pack's manifest, which names all its files by hash; of the modes that replace.
    pub pack: Option<Named>,
    /// Settings by name.
    pub settings: Map<String, Value>,
}

impl Header {
    /// Gathers it.
    ///
    /// # Errors
    /// [`BackendError`]: runtime, device, models or pack are missing.
    pub fn gather(config: &EngineConfig, settings: &Settings) -> Result<Self, BackendError> {
        let backend = Backend::open(&BackendConfig::from(config))?;
        let models = backend
            .models()
            .entries()
            .iter()
            .map(|e| Named {
                name: e.name.clone(),
                sha256: e.sha256.clone(),
            })
            .collect();
        let pack = if settings.mode.replaces() {
            let folder = find_pack_dir(config.model_pack.as_deref(), backend.models().folder())?;
            let manifest = folder.join(crate::pack::MANIFEST);
            let bytes = std::fs::read(&manifest).map_err(|e| BackendError::Model {
                name: "pack".to_owned(),
                path: manifest.display().to_string(),
                why: format!("cannot be read: {e}"),
                remedy: "name the pack's folder".to_owned(),
            })?;
            Some(Named {
                name: folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
                sha256: Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect(),
            })
        } else {
            None
        };
        Ok(Self {
            runtime: backend.runtime().version().to_owned(),
            device: format!("{}: {}", backend.device().device, backend.device().reason),
            models,
            pack,
            settings: settings_of(config, settings),
        })
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> Map<String, Value> {
        object(json!({
            "record": "header",
            "layout": LAYOUT,
            "nullface": env!("CARGO_PKG_VERSION"),
            "onnxruntime": self.runtime,
            "device": self.device,
            "models": self.models,
            "pack": self.pack,
            "settings": self.settings,
        }))
    }
}

/// Settings by the names that the element gives them. Paths and the seed are left out.
fn settings_of(config: &EngineConfig, s: &Settings) -> Map<String, Value> {
    let decimal = |v: f32| v.to_string().parse::<f64>().map_or(Value::Null, Value::from);
    let or_own = |v: Option<f32>| v.map_or(Value::Null, decimal);
    object(json!({
        "mode": s.mode.to_string(),
        "threshold": decimal(s.threshold),
        "min-face": s.min_face_px,
        "detect-interval": s.detect_interval,
        "mask-scale": decimal(s.mask_scale),
        "feather": decimal(s.feather),
        "hold-time": u64::try_from(s.hold.as_nanos()).unwrap_or(u64::MAX),
        "verify-threshold": or_own(s.verify_threshold),
        "strength": decimal(s.strength),
        "guidance": or_own(s.guidance),
        "skip": or_own(s.skip),
        "steps": s.steps,
        "solver": s.solver.to_string(),
        "identity": s.identity.to_string(),
        "attributes": s.attributes,
        "keep-regions": s.keep_regions.iter().map(|r| r.word()).collect::<Vec<_>>(),
        // Photos are named after people: their number is told, not their names.
        "who": match s.who { Who::All => "all", Who::Only(_) => "only", Who::Except(_) => "except" },
        "photos": match &s.who { Who::All => 0, Who::Only(photos) | Who::Except(photos) => photos.len() },
        "cut-list": config.cut_list.is_some(),
        "on-failure": s.on_failure.to_string(),
        "lookahead": config.lookahead,
        "detector": config.detector.to_string(),
        "seeded": config.seed.is_some(),
    }))
}

/// How one face was treated: what an interval is cut by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Treatment {
    /// `replaced`, `covered`, `kept`, `frame-withheld`.
    pub outcome: &'static str,
    /// Why it was covered.
    pub reason: Option<CoverReason>,
    /// How; `None` where it was kept.
    pub rung: Option<Rung>,
    /// Why it was kept.
    pub kept: Option<KeepReason>,
    /// How it was decided whether it is anonymised; `None` where everybody is.
    pub choice: Option<Choice>,
}

impl From<Outcome> for Treatment {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Replaced { rung, .. } => Self {
                outcome: "replaced",
                reason: None,
                rung: Some(rung),
                kept: None,
                choice: None,
            },
            Outcome::Covered { reason, rung } => Self {
                outcome: "covered",
                reason: Some(reason),
                rung: Some(rung),
                kept: None,
                choice: None,
            },
            Outcome::Kept { why, .. } => Self {
                outcome: "kept",
                reason: None,
                rung: None,
                kept: Some(why),
                choice: None,
            },
            Outcome::FrameWithheld { reason } => Self {
                outcome: "frame-withheld",
                reason: Some(reason),
                rung: Some(Rung::Frame),
                kept: None,
                choice: None,
            },
        }
    }
}

impl Treatment {
    /// One word on what the treatment rests on.
    const fn verdict(self) -> &'static str {
        match self.reason {
            None if self.kept.is_some() => "kept",
            None => "verified",
            Some(CoverReason::TooNear) => "refused",
            Some(reason) if reason.is_expected() => "covered",
            Some(CoverReason::NotReplaceable) => "covered-not-replaceable",
            Some(_) => "covered-on-failure",
        }
    }
}

#[derive(Debug, Clone)]
struct Interval {
    treatment: Treatment,
    from_s: f64,
    to_s: f64,
    frames: u64,
    hull_px: BoxPx,
    cos: Option<f32>,
}

#[derive(Debug, Clone)]
struct Stretch {
    reason: Option<CoverReason>,
    fault: Option<String>,
    from_s: f64,
    to_s: f64,
    frames: u64,
}

/// Sums of a trail.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Frames told of.
    pub frames: u64,
    /// Frames covered whole or dropped.
    pub withheld: u64,
    /// Faces, frame by frame.
    pub faces: u64,
    /// Tracks.
    pub tracks: u64,
    /// Faces by outcome and rung.
    pub treated: BTreeMap<String, u64>,
    /// Largest cosine to the source that was measured.
    pub worst_cos: Option<f32>,
    /// Times, s, of frames that left although nobody answered for them. There is no way to this but a fault.
    pub uncovered: Vec<[f64; 2]>,
}

/// A trail being written.
#[derive(Debug)]
pub struct Trail<W> {
    out: W,
    chain: Chain,
    open: BTreeMap<u64, Interval>,
    withheld: Option<Stretch>,
    seen: std::collections::BTreeSet<u64>,
    totals: Totals,
}

impl<W: Write> Trail<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(mut out: W, header: &Map<String, Value>) -> std::io::Result<Self> {
        let mut chain = Chain::default();
        out.write_all(chain.line(header).as_bytes())?;
        Ok(Self {
            out,
            chain,
            open: BTreeMap::new(),
            withheld: None,
            seen: std::collections::BTreeSet::new(),
            totals: Totals::default(),
        })
    }

    /// Tells of a frame that left or was withheld. `report` is the engine's; `withheld` says why the whole
    /// frame was covered, dropped or refused. With neither, the frame left with nobody's word.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn frame(
        &mut self,
        at_s: f64,
        duration_s: f64,
        report: Option<&FrameReport>,
        withheld: Option<CoverReason>,
        fault: Option<&str>,
    ) -> std::io::Result<()> {
        let to_s = at_s + duration_s.max(0.0);
        self.totals.frames += 1;
        if report.is_none() && withheld.is_none() {
            match self.totals.uncovered.last_mut() {
                Some(last) if at_s - last[1] <= GAP_S => last[1] = to_s,
                _ => self.totals.uncovered.push([at_s, to_s]),
            }
        }
        self.whole(at_s, to_s, withheld, fault)?;
        let faces = report.map_or(&[][..], |r| r.faces.as_slice());
        let gone: Vec<u64> = self.open.keys().copied().filter(|t| faces.iter().all(|f| f.track != *t)).collect();
        for track in gone {
            self.close(track)?;
        }
        for face in faces {
            self.face(at_s, to_s, face, withheld)?;
        }
        Ok(())
    }

    fn whole(&mut self, at_s: f64, to_s: f64, withheld: Option<CoverReason>, fault: Option<&str>) -> std::io::Result<()> {
        if let Some(reason) = withheld {
            self.totals.withheld += 1;
            let same = |s: &Stretch| s.reason == Some(reason) && s.fault.as_deref() == fault && at_s - s.to_s <= GAP_S;
            if let Some(stretch) = self.withheld.as_mut().filter(|s| same(s)) {
                (stretch.to_s, stretch.frames) = (to_s, stretch.frames + 1);
                return Ok(());
            }
        }
        self.close_withheld()?;
        self.withheld = withheld.map(|reason| Stretch {
            reason: Some(reason),
            fault: fault.map(str::to_owned),
            from_s: at_s,
            to_s,
            frames: 1,
        });
        Ok(())
    }

    fn face(&mut self, at_s: f64, to_s: f64, face: &FaceReport, withheld: Option<CoverReason>) -> std::io::Result<()> {
        let outcome = withheld.map_or(face.outcome, |reason| Outcome::FrameWithheld { reason });
        let treatment = Treatment {
            choice: face.choice,
            ..Treatment::from(outcome)
        };
        self.totals.faces += 1;
        let how = treatment.rung.map_or_else(|| word(&treatment.kept), |rung| word(&rung));
        let key = format!("{}/{how}", treatment.outcome);
        *self.totals.treated.entry(key).or_insert(0) += 1;
        self.totals.tracks += u64::from(self.seen.insert(face.track));
        self.totals.worst_cos = larger(self.totals.worst_cos, face.cos);
        if let Some(open) = self.open.get_mut(&face.track) {
            if open.treatment == treatment && at_s - open.to_s <= GAP_S && at_s >= open.from_s {
                open.to_s = to_s;
                open.frames += 1;
                open.hull_px = open.hull_px.hull(&face.box_px);
                open.cos = larger(open.cos, face.cos);
                return Ok(());
            }
            self.close(face.track)?;
        }
        let begun = Interval {
            treatment,
            from_s: at_s,
            to_s,
            frames: 1,
            hull_px: face.box_px,
            cos: face.cos,
        };
        self.open.insert(face.track, begun);
        Ok(())
    }

    fn close(&mut self, track: u64) -> std::io::Result<()> {
        let Some(i) = self.open.remove(&track) else { return Ok(()) };
        let b = i.hull_px;
        let hull = [b.x0, b.y0, b.width(), b.height()].map(|v| (f64::from(v) * 10.0).round() / 10.0);
        self.write(json!({
            "record": "interval",
            "track": track,
            "from_s": seconds(i.from_s),
            "to_s": seconds(i.to_s),
            "frames": i.frames,
            "box": hull,
            "outcome": i.treatment.outcome,
            "rung": i.treatment.rung,
            "reason": i.treatment.reason,
            "kept": i.treatment.kept,
            "choice": i.treatment.choice,
            "cos": i.cos.map(|c| (f64::from(c) * 1e4).round() / 1e4),
            "verdict": i.treatment.verdict(),
        }))
    }

    fn close_withheld(&mut self) -> std::io::Result<()> {
        let Some(s) = self.withheld.take() else { return Ok(()) };
        self.write(json!({
            "record": "withheld",
            "from_s": seconds(s.from_s),
            "to_s": seconds(s.to_s),
            "frames": s.frames,
            "reason": s.reason,
            "fault": s.fault,
        }))
    }

    fn write(&mut self, record: Value) -> std::io::Result<()> {
        let line = self.chain.line(&object(record));
        self.out.write_all(line.as_bytes())
    }

    /// Sums so far.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Ends all intervals and writes the footer, with `more` fields beside the sums; gives back the writer
    /// and the chain's last hash.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self, more: Map<String, Value>) -> std::io::Result<(W, String)> {
        self.close_withheld()?;
        let tracks: Vec<u64> = self.open.keys().copied().collect();
        for track in tracks {
            self.close(track)?;
        }
        let mut footer = object(json!({ "record": "footer" }));
        if let Value::Object(totals) = json!(self.totals) {
            footer.extend(totals);
        }
        footer.extend(more);
        let line = self.chain.line(&footer);
        self.out.write_all(line.as_bytes())?;
        self.out.flush()?;
        Ok((self.out, self.chain.last().to_owned()))
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn seconds(s: f64) -> f64 {
    (s * 1e6).round() / 1e6
}

fn larger(a: Option<f32>, b: Option<f32>) -> Option<f32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Pts;

    fn report(faces: &[(u64, Outcome, Option<f32>)]) -> FrameReport {
        FrameReport {
            pts: Pts(0),
            detected: true,
            faces: faces
                .iter()
                .map(|(track, outcome, cos)| FaceReport {
                    track: *track,
                    box_px: BoxPx {
                        x0: *track as f32,
                        y0: 0.0,
                        x1: *track as f32 + 10.0,
                        y1: 20.0,
                    },
                    outcome: *outcome,
                    cos: *cos,
                    choice: None,
                })
                .collect(),
            withheld: None,
            fault: None,
        }
    }

    const BLUR: Outcome = Outcome::Covered {
        reason: CoverReason::Asked,
        rung: Rung::Blur,
    };
    const NEW: Outcome = Outcome::Replaced {
        cos: 0.1,
        rung: Rung::Diffusion,
    };

    fn written(tell: impl FnOnce(&mut Trail<Vec<u8>>)) -> Vec<Value> {
        let header = object(json!({"record": "header"}));
        let mut trail = Trail::begin(Vec::new(), &header).expect("memory");
        tell(&mut trail);
        let (bytes, last) = trail.finish(Map::new()).expect("memory");
        let text = String::from_utf8(bytes).expect("text");
        assert_eq!(super::super::check(text.lines()).expect("whole").last, last);
        text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
    }

    #[test]
    fn one_record_for_each_track_and_stretch_of_like_treatment() {
        let records = written(|trail| {
            for i in 0..10 {
                let second = if i < 6 { NEW } else { BLUR };
                let faces = report(&[(1, BLUR, None), (2, second, Some(0.1 * i as f32))]);
                trail.frame(f64::from(i) * 0.04, 0.04, Some(&faces), None, None).expect("memory");
            }
        });
        let intervals: Vec<(u64, u64, &str, f64)> = records
            .iter()
            .filter(|r| r["record"] == "interval")
            .map(|r| {
                let number = |k: &str| r[k].as_u64().expect("number");
                (
                    number("track"),
                    number("frames"),
                    r["rung"].as_str().expect("rung"),
                    r["to_s"].as_f64().expect("s"),
                )
            })
            .collect();
        assert_eq!(intervals, [(2, 6, "diffusion", 0.24), (1, 10, "blur", 0.4), (2, 4, "blur", 0.4)]);
        let footer = records.last().expect("footer");
        assert_eq!(
            (footer["frames"].as_u64(), footer["faces"].as_u64(), footer["tracks"].as_u64()),
            (Some(10), Some(20), Some(2))
        );
        assert_eq!(footer["treated"]["replaced/diffusion"], 6);
        assert_eq!(footer["uncovered"], json!([]));
        assert!((footer["worst_cos"].as_f64().expect("cos") - 0.9).abs() < 1e-6);
    }

    #[test]
    fn a_frame_that_left_with_nobodys_word_is_uncovered_and_a_withheld_one_is_not() {
        let records = written(|trail| {
            trail
                .frame(0.0, 0.04, None, Some(CoverReason::Deadline), Some("late"))
                .expect("memory");
            trail
                .frame(0.04, 0.04, None, Some(CoverReason::Deadline), Some("late"))
                .expect("memory");
            trail.frame(0.08, 0.04, None, None, None).expect("memory");
        });
        let footer = records.last().expect("footer");
        assert_eq!(footer["uncovered"].as_array().map(Vec::len), Some(1));
        assert_eq!(footer["withheld"], 2);
        let withheld: Vec<&Value> = records.iter().filter(|r| r["record"] == "withheld").collect();
        assert_eq!(
            (withheld.len(), withheld[0]["frames"].as_u64(), withheld[0]["reason"].as_str()),
            (1, Some(2), Some("deadline"))
        );
    }

    #[test]
    fn a_lost_track_ends_its_interval_and_a_gap_in_time_begins_another() {
        let records = written(|trail| {
            trail
                .frame(0.0, 0.04, Some(&report(&[(1, BLUR, None)])), None, None)
                .expect("memory");
            trail.frame(0.04, 0.04, Some(&report(&[])), None, None).expect("memory");
            trail
                .frame(0.08, 0.04, Some(&report(&[(1, BLUR, None)])), None, None)
                .expect("memory");
            trail
                .frame(5.0, 0.04, Some(&report(&[(1, BLUR, None)])), None, None)
                .expect("memory");
        });
        assert_eq!(records.iter().filter(|r| r["record"] == "interval").count(), 3);
    }

    #[test]
    fn the_header_names_models_by_hash_and_holds_no_path_and_no_seed() {
        let config = EngineConfig {
            models_dir: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/models/small").into()),
            seed: Some(424_242),
            ..EngineConfig::default()
        };
        let header = Header::gather(&config, &Settings::default()).expect("checkout").record();
        let text = Value::Object(header.clone()).to_string();
        assert!(header["models"].as_array().is_some_and(|m| m.len() >= 5));
        assert!(!text.contains("424242") && !text.contains(env!("CARGO_MANIFEST_DIR")), "{text}");
        assert_eq!(header["settings"]["seeded"], true);
    }
}
