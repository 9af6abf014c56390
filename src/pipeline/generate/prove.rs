//! Proves that a finished face is somebody else's, and a face: its embedding against the source in every
//! frame, the mesh network's own judgement of new edits, of new targets and once a second.
//!
//! Why every frame: a cached edit moves with the mesh over another picture, so what an earlier frame
//! proved says nothing of this one. Why not every frame for the mesh: what it guards against is a result
//! that is far from the source because it is no face, and that does not come and go with motion.

use crate::frame::{FrameView, Landmarks5, Pts};
use crate::stages::align::{FaceHint, MeshFitter};

use super::super::outcome::Rung;
use super::slot::{Slot, Try};
use super::{Generator, Replaced, Tools, failed};

/// Faces are looked at again after so long, s.
const LOOK_EVERY_S: f64 = 1.0;
/// Probability below which the mesh network says that a result is no face.
const LEAST_FACE_PROB: f32 = 0.25;

impl Generator {
    /// Finishes the edits of this round and compares them; who does not pass gets the next try.
    pub(super) fn prove_edits(&mut self, n: usize, at: Pts, from_prior: bool, frame: &FrameView<'_>, tools: &mut Tools<'_>) {
        for slot in self.slots.iter_mut().take(n).filter(|s| s.step.is_some()) {
            if !self.tracks.entry(slot.track).or_default().cache.has_edit() {
                slot.step = None;
            }
        }
        self.finish(n, |s| s.step.is_some(), (true, from_prior), frame);
        if tools.allowed.is_over() {
            return;
        }
        self.compare(n, |s| s.step.is_some(), tools);
        for slot in self.slots.iter_mut().take(n) {
            let Some(step) = slot.step else { continue };
            let memory = self.tracks.entry(slot.track).or_default();
            let who = (slot.person, self.persons.get(&slot.person).map_or(0, |p| p.attempt));
            if let Some(found) = &mut slot.found {
                found.rung = if step == Try::Cached { Rung::Cached } else { Rung::Diffusion };
                let passed = found.cos < self.limit;
                if passed && (step == Try::Cached || is_face(slot, tools.mesh)) {
                    if step != Try::Cached {
                        memory.looked = Some((at, who));
                    }
                    slot.step = None;
                    continue;
                }
            }
            slot.found = None;
            slot.step = step.next().filter(|_| slot.may_edit == Some(true) && slot.verdict.is_none());
            if slot.step.is_none() {
                memory.cache.fail();
            }
        }
    }

    /// Finishes the composites of the faces that no edit was found for, and compares them.
    pub(super) fn prior(&mut self, n: usize, at: Pts, frame: &FrameView<'_>, tools: &mut Tools<'_>) {
        if tools.allowed.is_over() {
            return;
        }
        let wanted = |s: &Slot| s.is_open() && s.found.is_none();
        for slot in self.slots.iter_mut().take(n).filter(|s| wanted(s)) {
            slot.step = None;
        }
        self.finish(n, wanted, (false, true), frame);
        self.compare(n, wanted, tools);
        for slot in self.slots.iter_mut().take(n).filter(|s| s.is_open()) {
            let memory = self.tracks.entry(slot.track).or_default();
            let who = (slot.person, self.persons.get(&slot.person).map_or(0, |p| p.attempt));
            let due = memory
                .looked
                .is_none_or(|(then, whom)| whom != who || at.seconds_since(then).abs() >= LOOK_EVERY_S);
            let Some(found) = &slot.found else { continue };
            if found.cos >= self.limit || (due && !is_face(slot, tools.mesh)) {
                slot.found = None;
            } else if due {
                memory.looked = Some((at, who));
            }
        }
        if tools.allowed.is_over() {
            self.slots.iter_mut().take(n).filter(|s| s.is_open()).for_each(|s| s.found = None);
        }
    }

    /// Embeds the finished faces that are wanted in one batch; `found` holds each cosine to its source.
    fn compare(&mut self, n: usize, wanted: impl Fn(&Slot) -> bool, tools: &mut Tools<'_>) {
        self.compare_some(n, |s| wanted(s) && !s.there, tools);
        self.compare_some(n, |s| wanted(s) && s.there, tools);
    }

    /// The same of faces that were all made in one place.
    fn compare_some(&mut self, n: usize, wanted: impl Fn(&Slot) -> bool, tools: &mut Tools<'_>) {
        let slots = self.slots.get_mut(..n).unwrap_or(&mut []);
        let finished: Result<Vec<(FrameView<'_>, Landmarks5)>, String> = slots.iter().filter(|s| wanted(s)).map(Slot::finished).collect();
        let outputs = finished.and_then(|faces| {
            if faces.is_empty() {
                return Ok(Vec::new());
            }
            let outputs = tools.recogniser.embed_each(&faces).map_err(|e| e.to_string())?;
            if outputs.len() == faces.len() {
                Ok(outputs)
            } else {
                Err(format!("verify: expected {} embeddings, got {}", faces.len(), outputs.len()))
            }
        });
        match outputs {
            Ok(outputs) => {
                for (slot, output) in slots.iter_mut().filter(|s| wanted(s)).zip(outputs) {
                    let cos = output.cos(&slot.source).filter(|cos| cos.is_finite());
                    match cos {
                        Some(cos) => slot.found = Some(Replaced { cos, rung: Rung::Prior }),
                        None => slot.verdict = Some(Err(failed("verify: no embedding of the source's length"))),
                    }
                }
            }
            Err(why) => {
                for slot in slots.iter_mut().filter(|s| wanted(s)) {
                    (slot.step, slot.verdict) = (None, Some(Err(failed(&why))));
                }
            }
        }
    }
}

/// Whether the mesh network still sees a face; a network that fails sees none.
fn is_face(slot: &Slot, mesh: &mut dyn MeshFitter) -> bool {
    let Ok((view, landmarks)) = slot.finished() else { return false };
    let Some(box_px) = slot.finished_mesh().bounding_box_px() else {
        return false;
    };
    let hint = FaceHint {
        box_px,
        roll_rad: 0.0,
        landmarks: Some(landmarks),
    };
    match mesh.fit(&view, &[hint]) {
        Ok(meshes) => meshes.first().is_some_and(|m| m.face_prob >= LEAST_FACE_PROB),
        Err(_) => false,
    }
}
