//! Who a person becomes: the candidates that the secret allows are rendered once on this very face and
//! judged by the recogniser, because what a mixture looks like depends on whom it is laid upon.
//!
//! Runs once a person (and once more after each redraw): some composites of the crop's own size and as
//! many embeddings, a few frames' time. Where frames come at a pace it goes on from frame to frame, and the
//! face is covered meanwhile. What has been decided stays decided.

use std::time::Instant;

use crate::frame::FrameView;
use crate::stages::identify::Recogniser;
use crate::stages::prior::{AUDITIONS, FITS, Target};

use super::super::outcome::CoverReason;
use super::slot::Slot;
use super::{Generator, Refusal, Tools, failed, refuse};

impl Generator {
    /// Finds a target for every open face whose person has none.
    pub(super) fn audition(&mut self, n: usize, frame: &FrameView<'_>, tools: &mut Tools<'_>) {
        let begun = Instant::now();
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
        self.auditioned += begun.elapsed();
    }

    fn choose(&mut self, i: usize, id: u64, frame: &FrameView<'_>, tools: &mut Tools<'_>) -> Result<(), Refusal> {
        let (Some(slot), Some(person)) = (self.slots.get(i), self.persons.get_mut(&id)) else {
            return Err(failed("a face without a person"));
        };
        self.stage.stand_in(slot, frame)?;
        let mut audition = match person.audition.take() {
            Some(audition) => audition,
            None => Audition::of(person.candidates(&self.basis, &self.secret, id, &slot.source.0, self.asked)),
        };
        self.stage.boost = person.shape_boost();
        let begun = Instant::now();
        let share = tools.allowed.audition;
        let is_over = || tools.allowed.is_over() || share.is_some_and(|share| begun.elapsed() >= share);
        while !audition.is_decided() && (audition.best.is_none() || !is_over()) {
            let Some(weights) = audition.waiting.pop() else { break };
            let target = Target::mix(&self.basis, weights);
            let misfit = match self.stage.compose(&self.basis, &target, &self.keep) {
                Ok(()) => misfit(&mut self.stage, tools.recogniser)?,
                // Not to be painted at this size; the face itself will say so.
                Err(_) => f32::MAX,
            };
            audition.tried += 1;
            if audition.best.as_ref().is_none_or(|b| misfit < b.0) {
                audition.best = Some((misfit, target));
            }
        }
        let goes_on = share.is_some() && !audition.is_decided();
        let Some(person) = self.persons.get_mut(&id).filter(|_| goes_on) else {
            let (_, target) = audition.best.ok_or_else(|| failed("a basis without textures"))?;
            if let Some(person) = self.persons.get_mut(&id) {
                person.become_target(target);
            }
            return Ok(());
        };
        person.audition = Some(audition);
        Err(refuse(CoverReason::NotReplaceable))
    }
}

/// An audition that goes on.
#[derive(Debug, Clone)]
pub(super) struct Audition {
    /// Who is still to be tried, the last one first.
    waiting: Vec<Vec<(usize, f32)>>,
    tried: usize,
    best: Option<(f32, Target)>,
}

impl Audition {
    fn of(mut candidates: Vec<Vec<(usize, f32)>>) -> Self {
        candidates.reverse();
        Self {
            waiting: candidates,
            tried: 0,
            best: None,
        }
    }

    fn is_decided(&self) -> bool {
        let found = |b: &(f32, Target)| self.tried >= *AUDITIONS.start() && b.0 <= FITS;
        self.waiting.is_empty() || self.best.as_ref().is_some_and(found)
    }
}

/// How ill the composed face suits.
fn misfit(stage: &mut Slot, recogniser: &mut dyn Recogniser) -> Result<f32, Refusal> {
    stage.finish(false, true);
    let finished = stage.finished().map_err(failed)?;
    let output = recogniser.embed_each(&[finished]).map_err(failed)?;
    let cos = output.first().and_then(|e| e.cos(&stage.source)).filter(|c| c.is_finite());
    cos.map(Target::misfit)
        .ok_or_else(|| failed("verify: no embedding of the source's length"))
}
