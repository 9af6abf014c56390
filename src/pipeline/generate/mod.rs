//! Replaces a face by another: from mesh and source embedding to pixels that are proven to be
//! somebody else's.
//!
//! 1. aligned canvas, mesh smoothed in it ([`canvas`], [`smooth`])
//! 2. target of the person, from the session's secret ([`person`])
//! 3. k-same composite
//! 4. embedding of the result against the source; too near → another target → refusal
//! 5. blended into the frame
//!
//! Nothing is written before the result has passed; after a refusal the caller covers.

mod canvas;
mod person;
mod smooth;

use std::collections::HashMap;
use std::path::Path;

use crate::backend::{Backend, find_pack_dir};
use crate::frame::{FrameViewMut, Landmarks5, Mesh, Point, Pts};
use crate::pack::Pack;
use crate::secret::SessionSecret;
use crate::stages::identify::{Embedding, Recogniser};
use crate::stages::prior::{Basis, Composite, Compositor, Face, Wanted, shape};

use super::engine::EngineError;
use super::outcome::{CoverReason, Rung};
use super::plan::Replaceable;
use super::settings::Settings;
use canvas::Place;
use person::{Person, TrackMemory};

/// Targets tried for one face in one frame.
const TRIES: u32 = 3;
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
    Refusal { reason: CoverReason::StageFailed, fault: Some(error.to_string()) }
}

/// Makes faces of nobody. Holds the basis, the session's secret, and what persons and tracks became.
#[derive(Debug)]
pub struct Generator {
    basis: Basis,
    secret: SessionSecret,
    persons: HashMap<u64, Person>,
    tracks: HashMap<u64, TrackMemory>,
    compositor: Compositor,
    composite: Composite,
    canvas: Vec<f32>,
    picture: Vec<u8>,
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
            .ok_or(EngineError::Stage { stage: "pack", why: "it has no basis, without which no face can be replaced".to_owned() })?;
        Ok(Self::new(Basis::load(&folder)?, SessionSecret::from_option(seed)))
    }

    /// Over a basis, without a denoiser.
    #[must_use]
    pub fn new(basis: Basis, secret: SessionSecret) -> Self {
        Self {
            basis,
            secret,
            persons: HashMap::new(),
            tracks: HashMap::new(),
            compositor: Compositor::default(),
            composite: Composite::default(),
            canvas: Vec::new(),
            picture: Vec::new(),
        }
    }

    /// Another film or place: tracks end, persons stay who they became.
    pub(super) fn flush(&mut self) {
        self.tracks.clear();
    }

    /// Replaces a face in the frame, or leaves the frame as it is.
    pub(super) fn replace(
        &mut self,
        track: u64,
        at: Pts,
        face: &Replaceable,
        frame: &mut FrameViewMut<'_>,
        settings: &Settings,
        recogniser: &mut dyn Recogniser,
    ) -> Result<Replaced, Refusal> {
        self.forget(at);
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
        place.read(&frame.as_image(), &mut self.canvas).map_err(failed)?;
        let depth: Vec<f32> = depth.iter().map(|z| z * place.k as f32).collect();
        let on_canvas: Vec<Point> = crop.iter().map(|p| place.on_canvas(*p)).collect();

        let limit = settings.verify_threshold.unwrap_or_else(|| recogniser.same_person_cos());
        for _ in 0..TRIES {
            let person = self.persons.entry(face.person).or_default();
            person.seen = at;
            let own = person.own_shape(&seen).to_vec();
            let target = person.target(&self.basis, &self.secret, face.person, &face.source.0, Wanted::default());
            let moved: Vec<Point> = shape::moved(&self.basis, &crop, &pose, &own, &target.shape)
                .iter()
                .map(|p| place.on_canvas(*p))
                .collect();
            let on = Face {
                crop: &self.canvas,
                width: place.side,
                height: place.side,
                points: &on_canvas,
                moved: &moved,
                depth: &depth,
            };
            if !self.compositor.composite(&on, &self.basis, target, &self.basis.composite, &mut self.composite) {
                return Err(not_replaceable());
            }
            canvas::bytes(&self.composite.picture, &mut self.picture);
            let cos = embed(&self.picture, place.side, moved, &face.source, recogniser)?;
            if cos < limit {
                let iod = distance(&on_canvas, 33, 263);
                let weight = canvas::weight(&self.composite.inside, place.side, place.k, iod);
                place.write(frame, &self.picture, &weight).map_err(failed)?;
                return Ok(Replaced { cos, rung: Rung::Prior });
            }
            person.redraw();
        }
        Err(refuse(CoverReason::TooNear))
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

/// Cosine of a finished canvas to the source.
fn embed(picture: &[u8], side: usize, moved: Vec<Point>, source: &Embedding, recogniser: &mut dyn Recogniser) -> Result<f32, Refusal> {
    let mesh = Mesh { points_px: moved, depth_px: Vec::new(), face_prob: 1.0 };
    let landmarks: Landmarks5 = mesh.landmarks5().ok_or_else(|| failed("verify: no landmarks"))?;
    let output = recogniser.embed(&canvas::view(picture, side).map_err(failed)?, &[landmarks]).map_err(failed)?;
    output
        .first()
        .and_then(|e| e.cos(source))
        .filter(|cos| cos.is_finite())
        .ok_or_else(|| failed("verify: no embedding of the source's length"))
}
