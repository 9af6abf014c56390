//! What an evaluation writes down. The layout is versioned: `docs/eval-report.schema.json` describes it,
//! and a test holds every report against it. An absent figure could not be had on this material.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::stats::Estimate;

/// Layout of the report.
pub const LAYOUT: &str = "nullface-eval/2";

/// A file that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileMark {
    /// Name without folders.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Hash.
    pub sha256: String,
}

/// A pair of films, or of pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Source.
    pub source: FileMark,
    /// Output.
    pub output: FileMark,
    /// Width of the source, px.
    pub width_px: u32,
    /// Height of the source, px.
    pub height_px: u32,
    /// Frames measured, in both.
    pub frames: usize,
    /// Frames of the source without a partner within half a frame's time.
    pub source_only: usize,
    /// The same of the output.
    pub output_only: usize,
    /// Seconds from the first to the last frame measured.
    pub length_s: f64,
    /// Whether the output had another size and was brought to the source's.
    pub rescaled: bool,
    /// Frames from sample to sample.
    pub sample_every: usize,
    /// Frames from watched frame to watched frame.
    pub watch_every: usize,
}

/// A network that measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name.
    pub name: String,
    /// Hash of its file.
    pub sha256: String,
    /// `recogniser`, `emotion`, …
    pub role: String,
    /// Whether it took no part in making the output.
    pub held_out: bool,
    /// `cosine` or `euclidean`, of a recogniser.
    pub distance: Option<String>,
    /// Thresholds of a recogniser by false-accept rate.
    pub thresholds: BTreeMap<String, f64>,
    /// What thresholds were measured on.
    pub measured_on: Option<String>,
}

/// What a recogniser makes of pairs of source and output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recognition {
    /// Whether the recogniser took no part in making the output.
    pub held_out: bool,
    /// Cosine of output and source in one frame; the cosine to −e is its negative.
    pub cos: Option<Estimate>,
    /// Share of pairs accepted, by false-accept rate.
    pub tar: BTreeMap<String, Estimate>,
    /// 0: as unlike as strangers; 1: as like as one person in two films.
    pub likeness: Option<Estimate>,
    /// Share of outputs whose nearest neighbour in the gallery of originals is their source.
    pub rank_1: Option<Estimate>,
    /// The same by the cosine's absolute value, against anti-identities.
    pub rank_1_abs: Option<Estimate>,
}

/// Figures of one way to treat the film: the output, a baseline, or the source's own next frame.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// By recogniser.
    pub recognition: BTreeMap<String, Recognition>,
    /// Share of faces where a mesh fits in the output.
    pub mesh_found: Option<Estimate>,
    /// % of the eyes' distance.
    pub expression: Option<Estimate>,
    /// % of the eyes' distance.
    pub openings: Option<Estimate>,
    /// Degrees.
    pub pose_deg: Option<Estimate>,
    /// Eye widths.
    pub gaze: Option<Estimate>,
    /// Ratio to the source.
    pub sharpness: Option<Estimate>,
    /// Mean absolute change of the estimated age, years.
    pub age_change_years: Option<Estimate>,
    /// Share of faces whose estimated sex stays.
    pub sex_kept: Option<Estimate>,
    /// Share of faces whose likeliest expression stays, by judge.
    pub expression_kept: BTreeMap<String, Estimate>,
    /// Fréchet distance to the gallery's faces, by recogniser.
    pub frechet: BTreeMap<String, f64>,
}

/// How much of a person's identity is still there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exposure {
    /// Share of faces, frame by frame, that a held-out recogniser takes for the track's source at FAR 1e-3, or
    /// that show the source's own pixels.
    pub faces: Option<Estimate>,
    /// Faces exposed.
    pub exposed: usize,
    /// Frames in which at least one is.
    pub exposed_frames: usize,
    /// Of these faces, such with the source's own pixels.
    pub untouched: usize,
    /// What a detector that the engine does not use sees in the source; null without one.
    pub held_out_detector: Option<HeldOutSight>,
    /// Faces that the detectors found anywhere in the output, at samples, and that a held-out recogniser takes
    /// for somebody of the source.
    pub found_and_known: usize,
    /// All faces that it found there.
    pub found: usize,
}

/// Faces of the source, at samples, as the held-out detector sees them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOutSight {
    /// Detector.
    pub name: String,
    /// Faces that it sees.
    pub seen: usize,
    /// Of these, such that the engine's detector does not see.
    pub alone: usize,
    /// Of all, such as were left as they were: raw leaks.
    pub uncovered: usize,
    /// Sampled frames with such a leak.
    pub uncovered_frames: usize,
    /// Mean share of a face's box that was changed; a lower bound of what was covered.
    pub coverage: Option<Estimate>,
}

/// What only the output has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stability {
    /// By recogniser: mean of cos(out i, out i+1) − cos(source i, source i+1).
    pub identity_mean: BTreeMap<String, Estimate>,
    /// The same, worst.
    pub identity_worst: BTreeMap<String, f64>,
    /// Warp error of the output over the source's own.
    pub warp_ratio: Option<Estimate>,
    /// The source's own, levels of 255.
    pub warp_source: Option<Estimate>,
    /// Correlation over time of mouth, eyes and brows.
    pub landmark_correlation: Option<Estimate>,
}

/// Pixels outside the faces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackgroundFigures {
    /// Largest difference of a sample of any frame, levels of 255.
    pub max: u8,
    /// Mean difference.
    pub mean: f64,
    /// Frames compared.
    pub n: usize,
}

/// One track over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackFigures {
    /// Index into `pairs`.
    pub pair: usize,
    /// Number.
    pub track: u64,
    /// Tracks with one number show one person.
    pub person: usize,
    /// Seconds.
    pub first_s: f64,
    /// Seconds.
    pub last_s: f64,
    /// Frames.
    pub frames: usize,
    /// Frames exposed.
    pub exposed: usize,
    /// Median distance of the eyes, px.
    pub eyes_px: f64,
    /// `[seconds, score]` of the watching recogniser against the track's source.
    pub scores: Vec<[f64; 2]>,
    /// `[seconds, expression in %]`.
    pub expression: Vec<[f64; 2]>,
    /// `[seconds, rung]` of the run's own report where given; a rung holds until the next.
    pub rungs: Vec<(f64, String)>,
}

/// A face near to its source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorstFace {
    /// Index into `pairs`.
    pub pair: usize,
    /// Track.
    pub track: u64,
    /// Seconds.
    pub at_s: f64,
    /// Likeness.
    pub likeness: f64,
    /// Recogniser.
    pub recogniser: String,
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`LAYOUT`].
    pub layout: String,
    /// Version of this program.
    pub nullface: String,
    /// What the run's report says it was asked for; null without one.
    pub run: serde_json::Value,
    /// One sentence.
    pub verdict: String,
    /// Films or pictures.
    pub pairs: Vec<Pair>,
    /// Networks.
    pub models: Vec<Model>,
    /// Recogniser that looked at every frame.
    pub watching: String,
    /// Faces in the gallery of originals: people of the films and strangers given.
    pub gallery: usize,
    /// People among them that are in the films.
    pub people: usize,
    /// Exposure.
    pub exposure: Exposure,
    /// `output`, `pixelate`, `blur`, `solid`, and `source_next`, the noise floor.
    pub variants: BTreeMap<String, Variant>,
    /// Over time.
    pub stability: Stability,
    /// Outside the faces.
    pub background: Option<BackgroundFigures>,
    /// Shares of the run's own outcomes by rung, where its report was given.
    pub rungs: BTreeMap<String, f64>,
    /// Tracks.
    pub tracks: Vec<TrackFigures>,
    /// Worst faces, worst first.
    pub worst: Vec<WorstFace>,
    /// How it was measured, and the limits of that.
    pub method: Vec<String>,
}
