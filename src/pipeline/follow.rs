//! The second of two passes: plans made from a track file. No detector runs.
//!
//! | meshes are fitted | because |
//! |---|---|
//! | where faces are replaced: always | a new face needs its shape |
//! | in boxes drawn by hand or filled: always | the cover follows the outline too, which nobody has seen yet |
//! | in boxes of what was seen: where a check or a sample is due | these boxes hold the outline already |
//!
//! They add to what is covered and never take from it.
//!
//! | the file says | the plan |
//! |---|---|
//! | a track is there | its box is covered or replaced |
//! | `keep`, and seen or drawn by hand there | left as it is |
//! | `keep`, and `filled` there | covered: nobody saw who is there |
//! | `cover` | filled with one colour |
//! | a time without an answer, or outside the film that was looked at | the whole frame is covered |
//!
//! Why no glance of the detector here: the first pass glanced at every frame. A second one would see the same,
//! and bring back what somebody took out.

use std::collections::HashMap;
use std::path::Path;

use crate::frame::{BoxPx, FrameTime, FrameView, Landmarks5, Mesh, Pts};
use crate::stages::align::{self, FaceHint, MeshFitter};
use crate::stages::identify::{Embedding, Recogniser};
use crate::tracks::{Decision, Origin, Placed, Tracks};

use super::engine::EngineError;
use super::outcome::CoverReason;
use super::plan::{Plan, Region, Replaceable};
use super::settings::Settings;
use super::who::{self, Choice, CutList, KeepReason, Verdict};

/// Meshes fitted in one frame; the largest faces first, the others are covered by their boxes.
const MAX_MESHES: usize = 8;
/// Faces embedded in one frame.
const MAX_EMBEDDED: usize = 4;
/// Mesh probability from which there is a face.
const FACE_PROB: f32 = 0.5;
/// Share of a mesh that must lie in its track's box.
const MESH_INSIDE: f32 = 0.5;
/// Share of the last mesh that must lie in its track's box now, to be where the next one is looked for.
const HINT_INSIDE: f32 = 0.9;
/// Samples in a person's source.
const SAMPLES: u32 = 8;
/// Time between two of them, seconds.
const SAMPLE_EVERY_S: f64 = 0.1;
/// Outputs are checked against their source this often, seconds.
const CHECK_EVERY_S: f64 = 1.0;
/// A mesh older than this does not say where to fit the next one, seconds.
const FRESH_S: f64 = 0.2;
/// Share of the recogniser's limit below which a sample is somebody else's.
const OUTLIER: f32 = 0.5;

/// A person's source so far.
#[derive(Debug, Clone)]
struct Source {
    sum: Vec<f32>,
    samples: u32,
    at: Pts,
}

/// Follows a track file.
#[derive(Debug)]
pub(super) struct Follower {
    tracks: Tracks,
    keeps: bool,
    /// The last mesh of each track: when, its roll and its box.
    fitted: HashMap<u64, (Pts, f32, BoxPx)>,
    sources: HashMap<u64, Source>,
    checked: HashMap<u64, Pts>,
    /// When a mesh was last asked for a check or a sample, by track.
    asked: HashMap<u64, Pts>,
    started: std::collections::HashSet<u64>,
}

impl Follower {
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let tracks = Tracks::read(path).map_err(|source| EngineError::Tracks {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            keeps: tracks.keeps_anybody(),
            tracks,
            fitted: HashMap::new(),
            sources: HashMap::new(),
            checked: HashMap::new(),
            asked: HashMap::new(),
            started: std::collections::HashSet::new(),
        })
    }

    /// Another place of the film: nothing is carried over.
    pub(super) fn flush(&mut self) {
        self.fitted.clear();
        self.checked.clear();
        self.asked.clear();
    }

    /// Fills the plan of a frame. Returns the number of tracks that were not there before.
    pub(super) fn look(
        &mut self,
        frame: &FrameView<'_>,
        at: FrameTime,
        settings: &Settings,
        cuts: Option<&CutList>,
        (mesh, recogniser): (&mut dyn MeshFitter, &mut dyn Recogniser),
        plan: &mut Plan,
    ) -> Result<usize, EngineError> {
        let film = self.tracks.film();
        if (film.width_px, film.height_px) != plan.size_px {
            return Err(EngineError::Stage {
                stage: "track file",
                why: format!(
                    "expected pictures of {} x {} px, got {} x {} px",
                    film.width_px, film.height_px, plan.size_px.0, plan.size_px.1
                ),
            });
        }
        // Times before the film's zero are those of its begin.
        let moment = Pts(at.pts.0.saturating_sub(settings.origin.0));
        if !self.tracks.answers_for(moment) {
            plan.withheld = Some(CoverReason::NotAnalysed);
        }
        let placed = self.tracks.at(moment);
        let started = placed.iter().filter(|p| self.started.insert(p.track)).count();
        let meshes = self.meshes(frame, at.pts, &placed, settings, mesh, plan);
        let failed = self.learn(frame, at.pts, &placed, &meshes, settings.mode.replaces(), recogniser, plan);
        for placed in &placed {
            let region = self.region(placed, meshes.get(&placed.track), at.pts, settings, failed);
            plan.regions.push(region);
        }
        if let Some(cuts) = cuts {
            for region in &mut plan.regions {
                region.verdict = who::by_hand(cuts, &region.box_px, plan.size_px, at, settings.origin, region.verdict);
            }
        }
        Ok(started)
    }

    /// Whether a mesh is of use in this frame where it is not for the cover: samples are missing, or a check is due.
    fn is_due(&mut self, placed: &Placed, at: Pts) -> bool {
        let elapsed = |since: Option<&Pts>, s: f64| since.is_none_or(|since| at.seconds_since(*since).abs() >= s);
        let source = self.sources.get(&placed.person);
        let wanted = source.is_none_or(|s| s.samples < SAMPLES) || elapsed(self.checked.get(&placed.track), CHECK_EVERY_S);
        let due = wanted && elapsed(self.asked.get(&placed.track), SAMPLE_EVERY_S);
        if due {
            self.asked.insert(placed.track, at);
        }
        due
    }

    /// Meshes of the largest faces that need one, by track.
    fn meshes(
        &mut self,
        frame: &FrameView<'_>,
        at: Pts,
        placed: &[Placed],
        settings: &Settings,
        mesh: &mut dyn MeshFitter,
        plan: &mut Plan,
    ) -> HashMap<u64, Mesh> {
        let mut wanted: Vec<&Placed> = placed.iter().filter(|p| p.decision == Decision::Anonymise).collect();
        wanted.retain(|p| settings.mode.replaces() || p.origin != Origin::Detected || self.is_due(p, at));
        wanted.sort_by(|a, b| b.box_px.area().total_cmp(&a.box_px.area()));
        wanted.truncate(MAX_MESHES);
        // Boxes of the file are larger than the face: where it was a moment ago is the better place to look at.
        let hints: Vec<FaceHint> = wanted
            .iter()
            .map(|p| {
                let fresh = self
                    .fitted
                    .get(&p.track)
                    .filter(|(when, ..)| at.seconds_since(*when).abs() <= FRESH_S);
                let near = fresh.filter(|(_, _, box_px)| box_px.share_inside(&p.box_px) >= HINT_INSIDE);
                FaceHint {
                    box_px: near.map_or(p.box_px, |f| f.2),
                    roll_rad: fresh.map_or(0.0, |f| f.1),
                    landmarks: None,
                }
            })
            .collect();
        if hints.is_empty() {
            return HashMap::new();
        }
        let fitted = match mesh.fit(frame, &hints) {
            Ok(fitted) if fitted.len() == hints.len() => fitted,
            Ok(fitted) => {
                plan.note(format!("face mesh: expected {} meshes, got {}", hints.len(), fitted.len()));
                return HashMap::new();
            }
            Err(error) => {
                plan.note(error.to_string());
                return HashMap::new();
            }
        };
        let mut meshes = HashMap::new();
        for (placed, mesh) in wanted.iter().zip(fitted) {
            let there = mesh.bounding_box_px().filter(|b| b.share_inside(&placed.box_px) >= MESH_INSIDE);
            if let Some(box_px) = there.filter(|_| mesh.face_prob >= FACE_PROB) {
                let roll = mesh.landmarks5().as_ref().map_or(0.0, Landmarks5::roll_rad);
                self.fitted.insert(placed.track, (at, roll, box_px));
                meshes.insert(placed.track, mesh);
            }
        }
        meshes
    }

    /// Takes samples of persons whose source is not complete. Returns whether the recogniser failed.
    #[allow(clippy::too_many_arguments)] // what one frame has, borrowed side by side
    fn learn(
        &mut self,
        frame: &FrameView<'_>,
        at: Pts,
        placed: &[Placed],
        meshes: &HashMap<u64, Mesh>,
        replaces: bool,
        recogniser: &mut dyn Recogniser,
        plan: &mut Plan,
    ) -> bool {
        // A new face needs its source at once; a cover is only checked against it.
        let every_s = if replaces { 0.0 } else { SAMPLE_EVERY_S };
        let due = |person: &u64| {
            let known = self.sources.get(person);
            known.is_none_or(|s| s.samples < SAMPLES && at.seconds_since(s.at).abs() >= every_s)
        };
        let wanted: Vec<(u64, Landmarks5)> = placed
            .iter()
            .filter(|p| p.origin != Origin::Filled && due(&p.person))
            .filter_map(|p| Some((p.person, meshes.get(&p.track)?.landmarks5()?)))
            .take(MAX_EMBEDDED)
            .collect();
        if wanted.is_empty() {
            return false;
        }
        let landmarks: Vec<Landmarks5> = wanted.iter().map(|w| w.1).collect();
        let embedded = match recogniser.embed(frame, &landmarks) {
            Ok(embedded) if embedded.len() == wanted.len() => embedded,
            Ok(_) => return true,
            Err(error) => {
                plan.note(error.to_string());
                return true;
            }
        };
        let limit = OUTLIER * recogniser.same_person_cos();
        for ((person, _), embedding) in wanted.iter().zip(embedded) {
            match self.sources.get_mut(person) {
                None => {
                    let sum = embedding.0;
                    self.sources.insert(*person, Source { sum, samples: 1, at });
                }
                Some(source) => {
                    let near = Embedding(source.sum.clone()).cos(&embedding).unwrap_or(-1.0);
                    source.at = at;
                    if source.samples < 3 || near >= limit {
                        source.sum.iter_mut().zip(&embedding.0).for_each(|(s, v)| *s += v);
                        source.samples += 1;
                    }
                }
            }
        }
        false
    }

    fn region(&mut self, placed: &Placed, mesh: Option<&Mesh>, at: Pts, settings: &Settings, failed: bool) -> Region {
        let source = self.sources.get(&placed.person).map(|s| unit(&s.sum));
        let last = self.checked.get(&placed.track);
        let due = mesh.is_some() && last.is_none_or(|last| at.seconds_since(*last).abs() >= CHECK_EVERY_S);
        let check_against = source.clone().filter(|_| due);
        if check_against.is_some() {
            self.checked.insert(placed.track, at);
        }
        let seen = placed.origin != Origin::Filled;
        Region {
            track: placed.track,
            box_px: placed.box_px,
            // The outline of a face that was seen is in its box already: a cover has one shape with and without mesh.
            oval_px: mesh
                .filter(|_| placed.origin != Origin::Detected)
                .and_then(|m| align::oval_polygon(m, 1.0))
                .unwrap_or_default(),
            landmarks: mesh.and_then(Mesh::landmarks5),
            seen: placed.origin == Origin::Detected || mesh.and_then(Mesh::landmarks5).is_some(),
            roll_rad: mesh.and_then(Mesh::landmarks5).as_ref().map_or(0.0, Landmarks5::roll_rad),
            reason: match (placed.decision, seen) {
                (Decision::Cover, _) => CoverReason::Policy,
                _ if failed && mesh.is_some() => CoverReason::StageFailed,
                (_, true) => CoverReason::Asked,
                (_, false) => CoverReason::Held,
            },
            check_against,
            verdict: self.verdict(placed, seen),
            replaceable: mesh
                .filter(|_| settings.mode.replaces() && placed.decision == Decision::Anonymise)
                .zip(source)
                .map(|(mesh, source)| {
                    Box::new(Replaceable {
                        person: placed.person,
                        mesh: mesh.clone(),
                        source,
                    })
                }),
        }
    }

    /// What the report says of the choice, and whether the face stays.
    fn verdict(&self, placed: &Placed, seen: bool) -> Verdict {
        let by_file = Some(Choice::TrackFile);
        match placed.decision {
            Decision::Keep => Verdict {
                choice: by_file,
                keep: seen.then_some((KeepReason::TrackFile, 0.0)),
            },
            Decision::Cover => Verdict {
                choice: by_file,
                keep: None,
            },
            Decision::Anonymise => Verdict {
                choice: self.keeps.then_some(Choice::Undecided),
                keep: None,
            },
        }
    }
}

fn unit(sum: &[f32]) -> Embedding {
    let norm = sum.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    Embedding(sum.iter().map(|v| v / norm).collect())
}
