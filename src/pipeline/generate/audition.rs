//! Who a person becomes: the candidates that the secret allows are rendered once on this very face and
//! judged by the recogniser, because what a mixture looks like depends on whom it is laid upon.
//!
//! Runs once a person (and once more after each redraw): some composites of the crop's own size and as
//! many embeddings, a few frames' time. What has been decided stays decided.

use crate::frame::FrameView;
use crate::stages::prior::{AUDITIONS, FITS, Target};

use super::slot::Slot;
use super::{Generator, Refusal, Tools, failed};

impl Generator {
    /// Finds a target for every open face whose person has none.
    pub(super) fn audition(&mut self, n: usize, frame: &FrameView<'_>, tools: &mut Tools<'_>) {
        for i in 0..n {
            let Some(slot) = self.slots.get(i).filter(|s| s.is_open()) else {
                continue;
            };
            let id = slot.person;
            if self.persons.entry(id).or_default().remember(&self.basis) {
                continue;
            }
            if let Err(refusal) = self.choose(i, id, frame, tools)
                && let Some(slot) = self.slots.get_mut(i)
            {
                slot.verdict = Some(Err(refusal));
            }
        }
    }

    fn choose(&mut self, i: usize, id: u64, frame: &FrameView<'_>, tools: &mut Tools<'_>) -> Result<(), Refusal> {
        let (Some(slot), Some(person)) = (self.slots.get(i), self.persons.get_mut(&id)) else {
            return Err(failed("a face without a person"));
        };
        self.stage.stand_in(slot, frame)?;
        let candidates = person.candidates(&self.basis, &self.secret, id, &slot.source.0, self.asked);
        let mut best: Option<(f32, Target)> = None;
        for (n, weights) in candidates.into_iter().enumerate() {
            let found = best.as_ref().is_some_and(|b| n >= *AUDITIONS.start() && b.0 <= FITS);
            if found || best.is_some() && tools.allowed.is_over() {
                break;
            }
            let target = Target::mix(&self.basis, weights);
            let misfit = match self.stage.compose(&self.basis, &target, &self.keep) {
                Ok(()) => misfit(&mut self.stage, tools)?,
                // Not to be painted at this size; the face itself will say so.
                Err(_) => f32::MAX,
            };
            if best.as_ref().is_none_or(|b| misfit < b.0) {
                best = Some((misfit, target));
            }
        }
        let (_, target) = best.ok_or_else(|| failed("a basis without textures"))?;
        person.become_target(target);
        Ok(())
    }
}

/// How ill the composed face suits.
fn misfit(stage: &mut Slot, tools: &mut Tools<'_>) -> Result<f32, Refusal> {
    stage.finish(false, true);
    let finished = stage.finished().map_err(failed)?;
    let output = tools.recogniser.embed_each(&[finished]).map_err(failed)?;
    let cos = output.first().and_then(|e| e.cos(&stage.source)).filter(|c| c.is_finite());
    cos.map(Target::misfit)
        .ok_or_else(|| failed("verify: no embedding of the source's length"))
}
