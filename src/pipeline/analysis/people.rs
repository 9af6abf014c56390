//! Steps 5 and 6: whose faces the tracks are, the plan's regions, and who stays as they are.

use std::collections::{HashMap, VecDeque};

use crate::frame::{FrameTime, FrameView, Mesh, Pts};
use crate::stages::align;
use crate::stages::detect::Effort;
use crate::stages::identify::{Embedding, Recogniser};
use crate::stages::track::{Identified, Track, TrackId, TrackState, Tracker};

use super::super::outcome::CoverReason;
use super::super::plan::{Plan, Region, Replaceable};
use super::super::settings::Settings;
use super::super::who::{self, Choice, Chooser, Verdict};
use super::Analyst;

/// Faces embedded in one frame.
const MAX_EMBEDDED: usize = 4;
/// Outputs of a locked track are checked against their source this often, seconds.
const CHECK_EVERY_S: f64 = 1.0;
/// Overlap of two faces from which the tracker may change them.
const CROSSING_IOU: f32 = 0.05;

impl Analyst {
    /// Source embeddings for tracks that are not sure whom they follow, and the plan's regions.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn identify(
        &mut self,
        frame: &FrameView<'_>,
        effort: Effort,
        at: Pts,
        replaces: bool,
        recogniser: &mut dyn Recogniser,
        plan: &mut Plan,
        meshes: &HashMap<TrackId, Mesh>,
    ) {
        let mut failed = false;
        {
            // A face of which nothing is known yet cannot be replaced: it is embedded at once.
            let due = |t: &Track| match self.tracker.source(t.id) {
                _ if self.chooser.is_due(t.id.0, at) => true,
                Some(source) => effort != Effort::Glance && !source.locked,
                None => effort != Effort::Glance || replaces,
            };
            let mut wanted: Vec<(TrackId, _)> = self
                .tracker
                .tracks()
                .iter()
                .filter(|t| t.state != TrackState::Held && due(t))
                .filter_map(|t| meshes.get(&t.id).and_then(Mesh::landmarks5).map(|l| (t.id, l)))
                .collect();
            // Those of whom nothing is known first: they cannot be replaced before.
            wanted.sort_by_key(|(id, _)| self.tracker.source(*id).is_some());
            wanted.truncate(MAX_EMBEDDED);
            if !wanted.is_empty() {
                let landmarks: Vec<_> = wanted.iter().map(|w| w.1).collect();
                match recogniser.embed(frame, &landmarks) {
                    Ok(embeddings) if embeddings.len() == wanted.len() => {
                        for ((id, _), embedding) in wanted.iter().zip(&embeddings) {
                            let quality = meshes.get(id).map_or(0.0, |m| m.face_prob);
                            match self.tracker.embedding(*id, &embedding.0, quality) {
                                Ok(Identified::Swapped { with }) => {
                                    self.chooser.doubt(id.0);
                                    self.chooser.doubt(with.0);
                                    continue;
                                }
                                Ok(_) => {}
                                Err(error) => {
                                    plan.note(error.to_string());
                                    failed = true;
                                }
                            }
                            if let Some(landmarks) = meshes.get(id).and_then(Mesh::landmarks5) {
                                let known = self.tracker.source(*id).filter(|s| s.locked).map(|s| s.mean);
                                self.chooser.sample(id.0, at, embedding, &landmarks, known);
                            }
                        }
                    }
                    Ok(_) => failed = true,
                    Err(error) => {
                        plan.note(error.to_string());
                        failed = true;
                    }
                }
            }
        }
        self.checked.retain(|id, _| self.tracker.tracks().iter().any(|t| t.id.0 == *id));
        for track in self.tracker.tracks() {
            let mesh = meshes.get(&track.id);
            let due = self
                .checked
                .get(&track.id.0)
                .is_none_or(|last| at.seconds_since(*last).abs() >= CHECK_EVERY_S);
            let source = self
                .tracker
                .source(track.id)
                .filter(|_| due && mesh.is_some())
                .map(|s| Embedding(s.mean.to_vec()));
            if source.is_some() {
                self.checked.insert(track.id.0, at);
            }
            plan.regions.push(Region {
                track: track.id.0,
                box_px: track.region_px,
                oval_px: mesh.and_then(|m| align::oval_polygon(m, 1.0)).unwrap_or_default(),
                landmarks: mesh.and_then(Mesh::landmarks5),
                seen: mesh.and_then(Mesh::landmarks5).is_some(),
                roll_rad: track.roll_rad,
                reason: match track.state {
                    _ if failed => CoverReason::StageFailed,
                    TrackState::Held => CoverReason::Held,
                    TrackState::Tentative | TrackState::Confirmed => CoverReason::Asked,
                },
                check_against: source,
                verdict: Verdict::ANONYMISE,
                replaceable: mesh
                    .filter(|_| replaces && track.state != TrackState::Held)
                    .zip(self.tracker.source(track.id))
                    .map(|(mesh, source)| {
                        Box::new(Replaceable {
                            person: track.person.0,
                            mesh: mesh.clone(),
                            source: Embedding(source.mean.to_vec()),
                        })
                    }),
            });
        }
    }

    /// Gives each region its verdict. A face that is recognised now is kept in the frames before it
    /// too, as far back as the samples reach that speak for it.
    pub(super) fn decide(&mut self, at: FrameTime, settings: &Settings, plan: &mut Plan, pending: &mut VecDeque<Plan>) {
        if self.chooser.is_active() {
            for region in &mut plan.regions {
                region.verdict = self.chooser.verdict(region.track, at.pts);
            }
            for earlier in pending.iter_mut() {
                for region in &mut earlier.regions {
                    let reaches = self.chooser.since(region.track).is_some_and(|since| earlier.at.pts >= since);
                    let undecided = region.verdict.keep.is_none() && region.verdict.choice == Some(Choice::Undecided);
                    if reaches && undecided {
                        region.verdict = self.chooser.verdict(region.track, at.pts);
                    }
                }
            }
        }
        let Some(cuts) = &self.cuts else { return };
        for earlier in pending.iter_mut().chain([plan]) {
            for region in &mut earlier.regions {
                region.verdict = who::by_hand(cuts, &region.box_px, earlier.size_px, earlier.at, settings.origin, region.verdict);
            }
        }
    }
}

/// Two faces that meet may have changed tracks: what is known of either is not believed any more.
pub(super) fn doubt_crossings(tracker: &Tracker, chooser: &mut Chooser) {
    let tracks = tracker.tracks();
    for (i, a) in tracks.iter().enumerate() {
        for b in tracks.iter().skip(i + 1).filter(|b| a.box_px.iou(&b.box_px) > CROSSING_IOU) {
            chooser.doubt(a.id.0);
            chooser.doubt(b.id.0);
        }
    }
    chooser.retain(|id| tracks.iter().any(|t| t.id.0 == id));
}
