//! Replaces faces by others: from mesh and source embedding to pixels that are proven to be
//! somebody else's.
//!
//! 1. mesh held on the face, aligned canvas ([`steady`], [`slot`], [`canvas`])
//!    and proven to lie on the track's face ([`placed`])
//! 2. target of the person, from the session's secret ([`person`], [`audition`])
//! 3. k-same composite
//! 4. the denoiser's edit, new or moved along from a key frame ([`diffuse`], [`gate`], [`cache`])
//! 5. embedding of the result against the source; at key frames also: is it still a face?
//! 6. blended into the frame
//!
//! All faces of a frame go through each step together: one batch of the denoiser, one of the recogniser.
//!
//! The ladder of one face in one frame: cached edit → new edit → stronger edit → from an earlier step →
//! composite alone → all that with another target, [`MOST_DRAWS`] in all → refusal. Nothing is written before
//! the result has passed; after a refusal the caller covers. Where time is short the ladder begins further
//! down, and what is not proven when it has passed is refused.

mod audition;
mod cache;
mod canvas;
mod diffuse;
mod gate;
mod handover;
mod keep;
mod latents;
mod made;
mod person;
mod placed;
mod precision;
mod prove;
mod slot;
mod steady;
mod steer;
mod trust;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::prelude::*;

use crate::backend::{Backend, DeviceEvents, find_own_pack_dir, find_pack_dir};
use crate::frame::{FrameView, Pts};
use crate::pack::Pack;
use crate::secret::SessionSecret;
use crate::stages::align::MeshFitter;
use crate::stages::denoise::{NoiseModel, Schedule};
use crate::stages::identify::Recogniser;
use crate::stages::prior::{Basis, Wanted};

use super::budget::Allowed;
use super::engine::EngineError;
use super::outcome::{CoverReason, Rung};
use super::plan::Replaceable;
use super::settings::{EngineConfig, FaceRegion, Mode, Settings};
use super::surface::Surface;
use super::turns::{Asking, Turns};
pub use handover::{Handover, HandoverError};

use cache::{Policy, Stamp};
use diffuse::{Diffuser, Job};
use made::Maker;
use person::{Person, TrackMemory};
use slot::{Slot, Try};
use trust::{After, MOST_DRAWS};

/// Share of the limit that a new target must stay under, while there are others to try.
const GOAL: f32 = 0.8;
/// Share of the same-person threshold that a result must stay under where the user names no limit. The
/// threshold is one recogniser's: of nine films, HSE-FaceRes took painted faces for their source in one,
/// whose faces lay around and above this share; those of the others stay below it.
const MARGIN: f32 = 0.5;
/// Guidance of the stronger edit, as a multiple.
const STRONGER: f32 = 1.6;
/// Tracks and textures unseen for so long are forgotten, s; persons keep their draw.
const FORGET_S: f64 = 5.0;

/// A face that was replaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Replaced {
    /// Cosine of the result to the source.
    pub(super) cos: f32,
    /// By what.
    pub(super) rung: Rung,
}

/// A face that was not.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) reason: CoverReason,
    pub(super) fault: Option<String>,
}

fn refuse(reason: CoverReason) -> Refusal {
    Refusal { reason, fault: None }
}

fn failed(error: impl std::fmt::Display) -> Refusal {
    Refusal {
        reason: CoverReason::StageFailed,
        fault: Some(error.to_string()),
    }
}

/// One face to be replaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) track: u64,
    /// Of the face, px².
    pub(super) area_px: f32,
    pub(super) face: &'a Replaceable,
}

/// The networks that prove a result, and what it may cost.
pub(super) struct Tools<'a> {
    pub(super) recogniser: &'a mut dyn Recogniser,
    pub(super) mesh: &'a mut dyn MeshFitter,
    pub(super) allowed: Allowed,
}

/// Makes faces of nobody. Holds the basis, the session's secret, and what persons and tracks became.
#[derive(Debug)]
pub struct Generator {
    basis: Basis,
    secret: SessionSecret,
    diffuser: Option<Diffuser>,
    asked: Wanted,
    /// The pack's own limit.
    same_person_cos: f32,
    /// Counts changes of settings, so that no edit outlives them.
    settings: u32,
    mode: Mode,
    policy: Policy,
    keep: Vec<FaceRegion>,
    limit: f32,
    persons: HashMap<u64, Person>,
    tracks: HashMap<u64, TrackMemory>,
    slots: Vec<Slot>,
    /// Who becomes somebody where there is not time for all.
    newcomers: Turns,
    /// Who is given a new edit where there is not time for all.
    edits: Turns,
    asking: Vec<Asking>,
    chosen: Vec<bool>,
    /// Where targets are tried before they are chosen.
    stage: Slot,
    /// What finding targets took in this frame.
    auditioned: Duration,
    /// The device that faces are made on.
    maker: Maker,
    /// The first fault of the frame that did not refuse a face by itself.
    fault: Option<String>,
}

/// The folder of a pack's k-same basis.
fn basis_of(pack: &Pack) -> Option<PathBuf> {
    let basis = pack.manifest().basis.as_ref()?;
    let file = pack.manifest().files.get(&basis.manifest)?;
    Path::new(&file.path).parent().map(|p| pack.folder().join(p))
}

impl Generator {
    /// Opens the pack named, or the one that is found.
    ///
    /// # Errors
    /// [`EngineError`] names the file and the field.
    pub fn open(backend: &Backend, config: &EngineConfig) -> Result<Self, EngineError> {
        let pack = Pack::open(&find_pack_dir(config.model_pack.as_deref(), backend.models().folder())?)?;
        let folder = match basis_of(&pack) {
            Some(folder) => folder,
            // A big pack has none: meshes and composites are those of the pack that comes along.
            None => basis_of(&Pack::open(&find_own_pack_dir(backend.models().folder())?)?).ok_or(EngineError::Stage {
                stage: "pack",
                why: "it has no basis, without which no face can be replaced".to_owned(),
            })?,
        };
        let mut generator = Self::new(Basis::load(&folder)?, SessionSecret::from_option(config.seed));
        generator.diffuser = Some(Diffuser::open(backend, &pack, config.precision, config.seed.is_some())?);
        generator.same_person_cos = pack.manifest().identity.same_person_cos.unwrap_or(1.0);
        Ok(generator)
    }

    /// Over a basis, without a denoiser.
    #[must_use]
    pub fn new(basis: Basis, secret: SessionSecret) -> Self {
        Self {
            basis,
            secret,
            diffuser: None,
            asked: Wanted::default(),
            same_person_cos: 1.0,
            settings: 0,
            mode: Mode::default(),
            policy: Policy {
                keeps: true,
                least_gap_s: 0.0,
            },
            keep: Vec::new(),
            limit: 0.0,
            persons: HashMap::new(),
            tracks: HashMap::new(),
            slots: Vec::new(),
            newcomers: Turns::of_frames(1),
            edits: Turns::of_frames(1),
            asking: Vec::new(),
            chosen: Vec::new(),
            stage: Slot::default(),
            auditioned: Duration::ZERO,
            maker: Maker::default(),
            fault: None,
        }
    }

    /// From now on `events` is told where faces lose their device.
    pub(super) fn set_device_events(&mut self, events: DeviceEvents) {
        self.maker.set_events(events);
    }

    /// The same with a denoiser of the caller's, of space-to-depth latents by `factor`.
    #[must_use]
    pub fn with_denoiser(mut self, model: Box<dyn NoiseModel>, schedule: Schedule, factor: usize) -> Self {
        self.diffuser = Some(Diffuser::new(model, schedule, factor));
        self
    }

    /// Takes new settings from the next face on. Persons whose attributes change are drawn anew.
    ///
    /// # Errors
    /// The setting that the pack cannot follow; the old ones stay.
    pub(super) fn configure(&mut self, settings: &Settings) -> Result<(), EngineError> {
        let asked = match &mut self.diffuser {
            Some(diffuser) => diffuser.configure(settings)?,
            None => diffuse::wanted(&settings.attributes.split(',').map(str::trim).collect::<Vec<_>>()),
        };
        if asked != self.asked {
            self.asked = asked;
            self.persons.values_mut().for_each(Person::start_anew);
        }
        self.mode = settings.mode;
        self.policy = Policy {
            keeps: settings.cache,
            least_gap_s: if settings.max_fps_per_face > 0.0 {
                1.0 / f64::from(settings.max_fps_per_face)
            } else {
                0.0
            },
        };
        self.keep.clone_from(&settings.keep_regions);
        self.settings = self.settings.wrapping_add(1);
        Ok(())
    }

    /// Another film or place: tracks end, persons stay who they became.
    pub(super) fn flush(&mut self) {
        self.tracks.clear();
        self.newcomers.clear();
        self.edits.clear();
    }

    /// Makes faces for a frame, which stays as it is until [`Self::write`]. The verdicts are
    /// [`Self::verdict`]s, in the order of `faces`.
    pub(super) fn replace(&mut self, faces: &[Request<'_>], at: Pts, frame: &FrameView<'_>, threshold: Option<f32>, tools: &mut Tools<'_>) {
        self.forget(at);
        self.fault = None;
        self.auditioned = Duration::ZERO;
        self.limit = threshold.unwrap_or_else(|| MARGIN * tools.recogniser.same_person_cos().min(self.same_person_cos));
        self.slots.resize_with(faces.len().max(self.slots.len()), Slot::default);
        let there = self.begin_there(frame, tools);
        let slots = self.slots.iter_mut();
        for (slot, request) in slots.zip(faces) {
            (slot.track, slot.person) = (request.track, request.face.person);
            (slot.area_px, slot.may_edit) = (request.area_px, None);
            let memory = self.tracks.entry(request.track).or_default();
            let person = self.persons.entry(request.face.person).or_default();
            if person.trust.rests(at) {
                (person.seen, memory.seen) = (at, at);
                slot.verdict = Some(Err(refuse(CoverReason::TooNear)));
                continue;
            }
            slot.verdict = slot
                .seat(&self.basis, request.face, at, frame, memory, person, (tools.allowed.canvas, there))
                .err()
                .map(Err);
        }
        let n = faces.len();
        self.read_there(n, frame);
        self.check_places(n, at, frame, tools);
        self.admit(n, tools.allowed);
        for left in (0..MOST_DRAWS).rev() {
            if !self.slots.iter().take(n).any(Slot::is_open) || tools.allowed.is_over() {
                break;
            }
            self.audition(n, frame, tools);
            self.compose(n, frame);
            if self.mode != Mode::Ksame && self.diffuser.is_some() && tools.allowed.rung < Rung::Prior {
                self.diffuse(n, at, frame, tools);
            }
            self.prior(n, at, frame, tools);
            self.settle(n, at, left == 0, tools.allowed.is_over());
        }
        let reason = if tools.allowed.is_over() {
            CoverReason::Deadline
        } else {
            CoverReason::TooNear
        };
        let fault = self.fault.take();
        for slot in self.slots.iter_mut().take(n).filter(|s| s.verdict.is_none()) {
            slot.verdict = Some(Err(Refusal {
                reason,
                fault: fault.clone(),
            }));
        }
    }

    /// What became of the i-th face.
    pub(super) fn verdict(&mut self, i: usize) -> Result<Replaced, Refusal> {
        let verdict = self.slots.get_mut(i).and_then(|s| s.verdict.clone());
        verdict.unwrap_or_else(|| Err(failed("the face was never looked at")))
    }

    /// What finding out who people become took in this frame: a person's price, not a frame's.
    pub(super) fn auditioned(&self) -> Duration {
        self.auditioned
    }

    /// Blends the i-th face into the frame: after other regions have been covered, so that a second,
    /// larger region over the same head does not cover the new face.
    pub(super) fn write(&mut self, i: usize, surface: &mut Surface<'_, '_>) -> Result<(), String> {
        match self.slots.get_mut(i) {
            Some(slot) if matches!(slot.verdict, Some(Ok(_))) => slot.write(surface),
            _ => Err("a face that did not pass is not blended".to_owned()),
        }
    }

    /// Composites of all open faces.
    fn compose(&mut self, n: usize, frame: &FrameView<'_>) {
        self.compose_there(n, frame);
        self.compose_here(n, |_| true);
    }

    /// Composites by the processor.
    fn compose_here(&mut self, n: usize, wanted: impl Fn(&Slot) -> bool + Sync) {
        let (basis, persons, keep) = (&self.basis, &self.persons, &self.keep[..]);
        let one = |slot: &mut Slot| {
            if slot.is_open() && !slot.there && wanted(slot) {
                let person = persons.get(&slot.person);
                let target = person.and_then(|p| Some((p.known_target()?, p.shape_boost())));
                let made = match target {
                    Some((target, boost)) => {
                        slot.boost = boost;
                        slot.compose(basis, target, keep)
                    }
                    None => Err(failed("a person without a target")),
                };
                slot.verdict = made.err().map(Err);
            }
        };
        let slots = self.slots.get_mut(..n).unwrap_or(&mut []);
        if slots.iter().filter(|s| s.is_open() && !s.there).count() > 1 {
            slots.par_iter_mut().for_each(one);
        } else {
            slots.iter_mut().for_each(one);
        }
    }

    /// Lets as many become somebody as there is time for; the others are covered until it is their turn.
    fn admit(&mut self, n: usize, allowed: Allowed) {
        let persons = &self.persons;
        let is_new = |slot: &Slot| slot.is_open() && persons.get(&slot.person).is_none_or(Person::is_new);
        self.asking.clear();
        self.asking
            .extend(self.slots.iter().take(n).filter(|s| is_new(s)).map(Slot::asking));
        let room = if allowed.is_timed() { allowed.edits.max(1) } else { n };
        self.newcomers.choose(&self.asking, room, &mut self.chosen);
        let slots = self.slots.iter_mut().take(n).filter(|s| is_new(s));
        for (slot, _) in slots.zip(&self.chosen).filter(|(_, chosen)| !**chosen) {
            slot.verdict = Some(Err(refuse(CoverReason::Deadline)));
        }
    }

    /// Whose edit is due and may be made anew in this frame, decided once a frame.
    fn grant(&mut self, n: usize, at: Pts, allowed: Allowed) {
        let undecided = |s: &Slot| s.is_open() && s.may_edit.is_none();
        self.asking.clear();
        for slot in self.slots.iter_mut().take(n).filter(|s| undecided(s)) {
            let cache = &self.tracks.entry(slot.track).or_default().cache;
            if allowed.rung == Rung::Diffusion && cache.is_due(at, &slot.moved, self.policy) {
                self.asking.push(slot.asking());
            } else {
                // One that is not due may still fail its proof.
                slot.may_edit = Some(allowed.rung == Rung::Diffusion);
            }
        }
        self.edits.choose(&self.asking, allowed.edits, &mut self.chosen);
        let slots = self.slots.iter_mut().take(n).filter(|s| undecided(s));
        for (slot, chosen) in slots.zip(&self.chosen) {
            slot.may_edit = Some(*chosen);
        }
    }

    /// The denoiser's rungs, for all open faces together.
    fn diffuse(&mut self, n: usize, at: Pts, frame: &FrameView<'_>, tools: &mut Tools<'_>) {
        let from_prior = self.diffuser.as_ref().is_none_or(Diffuser::starts_at_prior);
        for slot in self.slots.iter_mut().take(n).filter(|s| s.is_open()) {
            let attempt = self.persons.get(&slot.person).map_or(0, |p| p.attempt);
            let memory = self.tracks.entry(slot.track).or_default();
            let stamp = Stamp {
                person: slot.person,
                attempt,
                settings: self.settings,
            };
            memory.cache.next(stamp);
        }
        self.grant(n, at, tools.allowed);
        for slot in self.slots.iter_mut().take(n).filter(|s| s.is_open()) {
            let memory = self.tracks.entry(slot.track).or_default();
            slot.step = if slot.may_edit == Some(true) && memory.cache.is_due(at, &slot.moved, self.policy) {
                Some(Try::Plain)
            } else {
                memory.cache.has_edit().then_some(Try::Cached)
            };
        }
        while self.slots.iter().take(n).any(|s| s.step.is_some()) {
            self.edit(n, at, from_prior, frame, tools);
            self.prove_edits(n, at, from_prior, frame, tools);
            if tools.allowed.is_over() {
                break;
            }
        }
    }

    /// New edits of the faces whose turn it is.
    fn edit(&mut self, n: usize, at: Pts, from_prior: bool, frame: &FrameView<'_>, tools: &Tools<'_>) {
        for wanted in [Try::Plain, Try::Stronger, Try::Earlier] {
            let due = |s: &Slot| s.step == Some(wanted);
            if !self.slots.iter().take(n).any(due) {
                continue;
            }
            let mut verdicts: Vec<Result<(), String>> = Vec::new();
            if tools.allowed.is_over() {
                verdicts.extend(
                    self.slots
                        .iter()
                        .take(n)
                        .filter(|s| due(s))
                        .map(|_| Err("no time left for the denoiser".to_owned())),
                );
            } else {
                self.crops_there(n, |s| s.step == Some(wanted), from_prior, frame);
                self.edit_batch(n, wanted, from_prior, &mut verdicts);
            }
            let slots = self.slots.iter_mut().take(n).filter(|s| due(s));
            for (slot, verdict) in slots.zip(verdicts) {
                let cache = &mut self.tracks.entry(slot.track).or_default().cache;
                match verdict {
                    Ok(()) if wanted == Try::Plain => cache.store(at, &slot.delta, &slot.moved),
                    Ok(()) => cache.replace(&slot.delta),
                    Err(why) => {
                        tracing::debug!(track = slot.track, why, "the denoiser's edit did not pass");
                        cache.fail();
                        slot.step = None;
                        self.fault.get_or_insert(why);
                    }
                }
            }
        }
    }

    /// One batch; where it fails as a whole, its faces one by one, so that none suffers for another.
    fn edit_batch(&mut self, n: usize, wanted: Try, from_prior: bool, verdicts: &mut Vec<Result<(), String>>) {
        let Some(diffuser) = &mut self.diffuser else { return };
        let (boost, earlier) = match wanted {
            Try::Cached | Try::Plain => (1.0, false),
            Try::Stronger => (STRONGER, false),
            Try::Earlier => (STRONGER, true),
        };
        let mut jobs: Vec<Result<Job<'_>, String>> = Vec::new();
        for slot in self.slots.iter_mut().take(n).filter(|s| s.step == Some(wanted)) {
            if let Some(person) = self.persons.get_mut(&slot.person) {
                diffuser.noise(&self.secret, slot.person, &mut person.noise);
            }
            if !slot.there {
                slot.prepare_edit(from_prior);
            }
        }
        for slot in self.slots.iter_mut().take(n).filter(|s| s.step == Some(wanted)) {
            let person = self.persons.get(&slot.person);
            let parts = person.and_then(|p| Some((p.attempt, p.known_target()?, p.noise.as_ref()?)));
            jobs.push(match parts {
                Some((attempt, target, noise)) => diffuser
                    .conditions(
                        &slot.source.0,
                        &target.embedding,
                        &slot.source_crop,
                        &self.secret,
                        slot.person,
                        attempt,
                    )
                    .map(|conditions| Job {
                        base: &slot.base_crop,
                        mask: &slot.mask_crop,
                        noise,
                        conditions,
                        boost,
                        delta: &mut slot.delta,
                    }),
                None => Err("a person without a target".to_owned()),
            });
        }
        if let Some(why) = jobs.iter().find_map(|j| j.as_ref().err()) {
            let why = why.clone();
            verdicts.extend(jobs.iter().map(|_| Err(why.clone())));
            return;
        }
        let mut jobs: Vec<Job<'_>> = jobs.into_iter().flatten().collect();
        match diffuser.edit(&mut jobs, earlier) {
            Ok(all) => verdicts.extend(all),
            Err(why) if jobs.len() == 1 => verdicts.push(Err(why)),
            Err(_) => verdicts.extend(jobs.chunks_mut(1).map(|job| match diffuser.edit(job, earlier) {
                Ok(one) => one.into_iter().next().unwrap_or_else(|| Err("no verdict".to_owned())),
                Err(why) => Err(why),
            })),
        }
    }

    /// Takes what was found; else covers what stood in front of the face as well, or draws somebody else.
    fn settle(&mut self, n: usize, at: Pts, last: bool, over: bool) {
        for slot in self.slots.iter_mut().take(n).filter(|s| s.verdict.is_none()) {
            let keeps_front = slot.keeps_front();
            let Some(person) = self.persons.get_mut(&slot.person) else {
                continue;
            };
            match slot.found.take() {
                Some(found) if person.trust.is_shown() || person.trust.is_last_draw() || found.cos < GOAL * self.limit => {
                    person.trust.passed(at);
                    slot.verdict = Some(Ok(found));
                }
                // Nothing was proven against the target: time passed.
                _ if over => {}
                _ if keeps_front => slot.give_up_front(),
                _ => match person.trust.failed(at) {
                    After::Cover => slot.verdict = Some(Err(refuse(CoverReason::TooNear))),
                    After::Redraw => {
                        person.redraw();
                        if last || person.trust.rests(at) {
                            slot.verdict = Some(Err(refuse(CoverReason::TooNear)));
                        }
                    }
                },
            }
        }
    }

    /// Drops what was not seen for long.
    fn forget(&mut self, now: Pts) {
        let recent = |seen: Pts| now.seconds_since(seen).abs() < FORGET_S;
        self.tracks.retain(|_, t| recent(t.seen));
        for person in self.persons.values_mut().filter(|p| !recent(p.seen)) {
            person.shrink();
        }
    }
}
