//! Replaces a face by another: from mesh and source embedding to pixels that are proven to be
//! somebody else's.
//!
//! 1. aligned canvas, mesh smoothed in it ([`canvas`], [`smooth`])
//! 2. target of the person, from the session's secret ([`person`])
//! 3. k-same composite
//! 4. the denoiser's edit, new or moved along from a key frame ([`diffuse`], [`cache`])
//! 5. embedding of the result against the source
//! 6. blended into the frame
//!
//! The ladder of one face in one frame: cached edit → new edit → stronger edit → composite alone →
//! all that with another target, [`TRIES`] in all → refusal. Nothing is written before the result
//! has passed; after a refusal the caller covers.

mod cache;
mod canvas;
mod diffuse;
mod keep;
mod person;
mod smooth;

use std::collections::HashMap;
use std::path::Path;

use crate::backend::{Backend, find_pack_dir};
use crate::frame::{FrameView, FrameViewMut, Landmarks5, Mesh, Point, Pts};
use crate::pack::Pack;
use crate::secret::SessionSecret;
use crate::stages::denoise::{NoiseModel, Schedule};
use crate::stages::identify::{Embedding, Recogniser};
use crate::stages::prior::{Basis, Composite, Compositor, Face, Wanted, shape};

use super::engine::EngineError;
use super::outcome::{CoverReason, Rung};
use super::plan::Replaceable;
use super::settings::{Mode, Settings};
use cache::{Stamp, Warp};
use canvas::Place;
use diffuse::Diffuser;
use keep::Keeper;
use person::{Person, TrackMemory};

/// Targets tried for one face in one frame.
const TRIES: u32 = 3;
/// Share of the limit that a new target must stay under, while there are others to try.
const GOAL: f32 = 0.7;
/// Guidance of the stronger edit, as a multiple.
const STRONGER: f32 = 1.6;
/// Cosine between the face's normal and the viewer below which it is a profile.
const LEAST_FACING: f32 = 0.5;
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

/// A face that passed and waits to be blended: other regions of the frame are covered first, so that
/// a second, larger region over the same head does not cover the new face.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) replaced: Replaced,
    place: Place,
    picture: Vec<u8>,
    weight: Vec<f32>,
}

impl Ready {
    /// Blends the face into the frame.
    pub(super) fn write(&self, frame: &mut FrameViewMut<'_>) -> Result<(), String> {
        self.place.write(frame, &self.picture, &self.weight).map_err(|e| e.to_string())
    }
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
    persons: HashMap<u64, Person>,
    tracks: HashMap<u64, TrackMemory>,
    compositor: Compositor,
    composite: Composite,
    keeper: Keeper,
    warp: Warp,
    canvas: Vec<f32>,
    pictures: Pictures,
    delta: Vec<f32>,
}

/// A finished face.
#[derive(Debug, Default)]
struct Pictures {
    /// What is blended.
    new: Vec<u8>,
    /// What is then seen: the source where the weight is 0, the new picture where it is 1.
    seen: Vec<u8>,
}

/// A face on its canvas, as far as it does not depend on the target.
struct Seat<'a> {
    place: Place,
    /// Mesh, crop px.
    crop: Vec<Point>,
    depth: Vec<f32>,
    on_canvas: Vec<Point>,
    canvas_depth: Vec<f32>,
    pose: shape::Pose,
    shape: Vec<f32>,
    source: &'a Embedding,
    limit: f32,
}

impl Generator {
    /// Opens the pack named, or the one that is found.
    ///
    /// # Errors
    /// [`EngineError`] names the file and the field.
    pub fn open(backend: &Backend, pack: Option<&Path>, seed: Option<u64>) -> Result<Self, EngineError> {
        let pack = Pack::open(&find_pack_dir(pack, backend.models().folder())?)?;
        let folder = pack
            .manifest()
            .basis
            .as_ref()
            .and_then(|b| pack.manifest().files.get(&b.manifest))
            .and_then(|f| Path::new(&f.path).parent().map(|p| pack.folder().join(p)))
            .ok_or(EngineError::Stage {
                stage: "pack",
                why: "it has no basis, without which no face can be replaced".to_owned(),
            })?;
        let mut generator = Self::new(Basis::load(&folder)?, SessionSecret::from_option(seed));
        generator.diffuser = Some(Diffuser::open(backend, &pack)?);
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
            persons: HashMap::new(),
            tracks: HashMap::new(),
            compositor: Compositor::default(),
            composite: Composite::default(),
            keeper: Keeper::default(),
            warp: Warp::default(),
            canvas: Vec::new(),
            pictures: Pictures::default(),
            delta: Vec::new(),
        }
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
            self.persons.values_mut().for_each(Person::redraw);
        }
        self.mode = settings.mode;
        self.settings = self.settings.wrapping_add(1);
        Ok(())
    }

    /// Another film or place: tracks end, persons stay who they became.
    pub(super) fn flush(&mut self) {
        self.tracks.clear();
    }

    /// Makes a face for a frame, which stays as it is until [`Ready::write`].
    pub(super) fn replace(
        &mut self,
        track: u64,
        at: Pts,
        face: &Replaceable,
        frame: &FrameView<'_>,
        settings: &Settings,
        recogniser: &mut dyn Recogniser,
    ) -> Result<Ready, Refusal> {
        self.forget(at);
        let limit = settings
            .verify_threshold
            .unwrap_or_else(|| recogniser.same_person_cos().min(self.same_person_cos));
        let seat = self.seat(track, at, face, frame, limit)?;
        let mut fault = None;
        for left in (0..TRIES).rev() {
            let moved = self.compose(face.person, &seat)?;
            let iod = distance(&seat.on_canvas, 33, 263);
            let mut weight = canvas::weight(&self.composite.inside, seat.place.side, seat.place.k, iod);
            self.keeper
                .keep(&settings.keep_regions, &seat.on_canvas, seat.place.side, iod, &mut weight)
                .map_err(failed)?;
            let mut done = None;
            if self.mode != Mode::Ksame && self.diffuser.is_some() {
                match self.diffused(track, face.person, &seat, &moved, &weight, recogniser) {
                    Ok(edited) => done = edited,
                    Err(why) => {
                        tracing::debug!(track, why, "the denoiser's edit did not pass");
                        fault = Some(why);
                    }
                }
            }
            if done.is_none() {
                let cos = self.verify(&seat, &moved, &weight, recogniser)?;
                done = (cos < limit).then_some(Replaced { cos, rung: Rung::Prior });
            }
            let Some(person) = self.persons.get_mut(&face.person) else { break };
            match done {
                Some(done) if person.shown || left == 0 || done.cos < GOAL * limit => {
                    person.shown = true;
                    return Ok(self.ready(&seat, weight, done));
                }
                _ => person.redraw(),
            }
        }
        Err(Refusal {
            fault,
            ..refuse(CoverReason::TooNear)
        })
    }

    /// Where the face lies, its pose and its own shape.
    fn seat<'a>(&mut self, track: u64, at: Pts, face: &'a Replaceable, frame: &FrameView<'_>, limit: f32) -> Result<Seat<'a>, Refusal> {
        let not_replaceable = || refuse(CoverReason::NotReplaceable);
        let place = face.mesh.landmarks5().and_then(|l| Place::of(&l)).ok_or_else(not_replaceable)?;
        let mut points = place.mesh_in_crop(&face.mesh);
        if points.len() != crate::frame::MESH_POINTS || !points.iter().flatten().all(|v| v.is_finite()) {
            return Err(not_replaceable());
        }
        let memory = self.tracks.entry(track).or_default();
        memory.seen = at;
        memory.smoother.smooth(at, &mut points);
        let crop: Vec<Point> = points.iter().map(|p| [p[0], p[1]]).collect();
        let depth: Vec<f32> = points.iter().map(|p| p[2]).collect();
        let pose = shape::pose(&self.basis, &crop, &depth)
            .filter(|p| p.rotation[(2, 2)] >= LEAST_FACING)
            .ok_or_else(not_replaceable)?;
        let seen = shape::coefficients(&self.basis, &crop, &depth, &pose).ok_or_else(not_replaceable)?;
        place.read(frame, &mut self.canvas).map_err(failed)?;
        let person = self.persons.entry(face.person).or_default();
        person.seen = at;
        Ok(Seat {
            canvas_depth: depth.iter().map(|z| z * place.k as f32).collect(),
            on_canvas: crop.iter().map(|p| place.on_canvas(*p)).collect(),
            shape: person.own_shape(&seen).to_vec(),
            place,
            crop,
            depth,
            pose,
            source: &face.source,
            limit,
        })
    }

    /// Makes the composite; returns the moved mesh in crop px.
    fn compose(&mut self, person: u64, seat: &Seat<'_>) -> Result<Vec<Point>, Refusal> {
        let target = self
            .persons
            .entry(person)
            .or_default()
            .target(&self.basis, &self.secret, person, &seat.source.0, self.asked);
        let moved = shape::moved(&self.basis, &seat.crop, &seat.pose, &seat.shape, &target.shape);
        let on_canvas: Vec<Point> = moved.iter().map(|p| seat.place.on_canvas(*p)).collect();
        let face = Face {
            crop: &self.canvas,
            width: seat.place.side,
            height: seat.place.side,
            points: &seat.on_canvas,
            moved: &on_canvas,
            depth: &seat.canvas_depth,
        };
        if self
            .compositor
            .composite(&face, &self.basis, target, &self.basis.composite, &mut self.composite)
        {
            Ok(moved)
        } else {
            Err(refuse(CoverReason::NotReplaceable))
        }
    }

    /// Tries the denoiser's rungs. `None` where none of them passes.
    fn diffused(
        &mut self,
        track: u64,
        id: u64,
        seat: &Seat<'_>,
        moved: &[Point],
        weight: &[f32],
        recogniser: &mut dyn Recogniser,
    ) -> Result<Option<Replaced>, String> {
        let (Some(diffuser), Some(person)) = (&mut self.diffuser, self.persons.get_mut(&id)) else {
            return Ok(None);
        };
        let memory = self.tracks.entry(track).or_default();
        memory.cache.next(Stamp {
            person: id,
            attempt: person.attempt,
            settings: self.settings,
        });
        let base = if diffuser.starts_at_prior() {
            &self.composite.picture
        } else {
            &self.canvas
        };
        let mut boosts = [1.0, STRONGER].into_iter();
        let mut rung = Rung::Cached;
        if memory.cache.is_due(moved) {
            rung = Rung::Diffusion;
        }
        loop {
            if rung == Rung::Diffusion {
                let Some(boost) = boosts.next() else { break };
                let crop = seat.place.crop_px_of::<3>(base);
                let mut mask = seat.place.crop_px_of::<1>(if diffuser.starts_at_prior() {
                    &self.composite.alpha
                } else {
                    weight
                });
                canvas::ramp(&mut mask);
                let ksame = person
                    .target(&self.basis, &self.secret, id, &seat.source.0, self.asked)
                    .embedding
                    .clone();
                let conditions =
                    diffuser.conditions(&seat.source.0, &ksame, &self.secret, id, person.attempt, self.mode == Mode::Id2face)?;
                diffuser.noise(&self.secret, id, &mut person.noise);
                let noise = person.noise.as_ref().ok_or("no noise")?;
                let edit = diffuser.edit(&crop, &mask, noise, &conditions, boost);
                let memory = self.tracks.entry(track).or_default();
                match edit {
                    Ok(delta) => memory.cache.store(delta, moved.to_vec()),
                    Err(why) => {
                        memory.cache.fail();
                        return Err(why);
                    }
                }
            }
            let memory = self.tracks.entry(track).or_default();
            if !memory
                .cache
                .delta(&mut self.warp, moved, &seat.depth, &self.basis.triangles, &mut self.delta)
            {
                return Ok(None);
            }
            finish(&self.canvas, base, Some(&self.delta), &seat.place, weight, &mut self.pictures);
            let cos = embed(&self.pictures.seen, &seat.place, moved, seat.source, recogniser).map_err(|r| r.fault.unwrap_or_default())?;
            if cos < seat.limit {
                return Ok(Some(Replaced { cos, rung }));
            }
            rung = Rung::Diffusion;
        }
        self.tracks.entry(track).or_default().cache.fail();
        Ok(None)
    }

    /// Finishes the composite alone and compares it.
    fn verify(&mut self, seat: &Seat<'_>, moved: &[Point], weight: &[f32], recogniser: &mut dyn Recogniser) -> Result<f32, Refusal> {
        finish(&self.canvas, &self.composite.picture, None, &seat.place, weight, &mut self.pictures);
        embed(&self.pictures.seen, &seat.place, moved, seat.source, recogniser)
    }

    fn ready(&mut self, seat: &Seat<'_>, weight: Vec<f32>, replaced: Replaced) -> Ready {
        Ready {
            replaced,
            place: seat.place,
            picture: std::mem::take(&mut self.pictures.new),
            weight,
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

fn distance(points: &[Point], a: usize, b: usize) -> f32 {
    match (points.get(a), points.get(b)) {
        (Some(a), Some(b)) => (a[0] - b[0]).hypot(a[1] - b[1]),
        _ => 0.0,
    }
}

/// The new picture, and the canvas as it will be seen with it.
fn finish(canvas: &[f32], base: &[f32], delta: Option<&[f32]>, place: &Place, weight: &[f32], out: &mut Pictures) {
    let side = place.side;
    out.new.clear();
    out.seen.clear();
    for (i, ((c, b), w)) in canvas.chunks_exact(3).zip(base.chunks_exact(3)).zip(weight).enumerate() {
        let d = match delta {
            Some(delta) if *w > 0.0 => place.delta_at(delta, i % side, i / side),
            _ => [0.0; 3],
        };
        for k in 0..3 {
            let new = b[k] + d[k];
            out.new.push((new + 0.5) as u8);
            out.seen.push((c[k] + (new - c[k]) * w + 0.5) as u8);
        }
    }
}

/// Cosine of a finished canvas to the source.
fn embed(picture: &[u8], place: &Place, moved: &[Point], source: &Embedding, recogniser: &mut dyn Recogniser) -> Result<f32, Refusal> {
    let points_px = moved.iter().map(|p| place.on_canvas(*p)).collect();
    let mesh = Mesh {
        points_px,
        depth_px: Vec::new(),
        face_prob: 1.0,
    };
    let landmarks: Landmarks5 = mesh.landmarks5().ok_or_else(|| failed("verify: no landmarks"))?;
    let output = recogniser
        .embed(&canvas::view(picture, place.side).map_err(failed)?, &[landmarks])
        .map_err(failed)?;
    output
        .first()
        .and_then(|e| e.cos(source))
        .filter(|cos| cos.is_finite())
        .ok_or_else(|| failed("verify: no embedding of the source's length"))
}
