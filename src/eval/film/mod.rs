//! All measurements of a film in one pass over source and output, frame by frame.
//!
//! | when | what |
//! |---|---|
//! | every frame | faces followed in the source; the output's mesh at the same places; the watching recogniser on the output, at the source's landmarks |
//! | samples (every `every`-th frame) | detectors on both, the engine's and the held-out one; how much of each face that the latter sees was changed; all recognisers on the source, and on the output at the source's landmarks and at its own; expression, pose, irises, sharpness, attributes, background |
//! | every `baseline_every`-th sample | the same face covered by `pixelate`, `blur` and `solid`, with the engine's own operators, and judged alike |
//! | the frame after a sample | recognisers on both, flow: temporal identity, warp error, noise floors |
//!
//! Of the two alignments the one with the larger likeness counts: an attacker would choose it.

mod looks;
mod record;

use std::collections::HashMap;

pub use record::{Density, Look, Next, Record, Sample, Sighting, Stranger, TrackRecord, Watch, Worst};

use super::EvalError;
use super::finder::Finder;
use super::follow::{Face, Follower, hint_of};
use super::gaze::{Gaze, Irises};
use super::judge::Judges;
use super::picture::{self, Luma, Window};
use super::shape;
use crate::backend::Backend;
use crate::frame::{BoxPx, FrameView, Landmarks5, Mesh, Pts};
use crate::stages::blend::{Cover, Masker};
use crate::stages::detect::Effort;

/// Covers that every film is measured with, and their names.
pub const BASELINES: [(&str, Cover); 3] = [("pixelate", Cover::Pixelate), ("blur", Cover::Blur), ("solid", Cover::Solid)];
/// A thorough look every so many samples; the others are regular.
const THOROUGH_EVERY: usize = 8;
/// Part of a sighted face's box that is compared: covers are rounder than boxes.
const COVERED: f32 = 0.8;
/// Side at which a face is compared with its source, px.
const COVERAGE_PX: usize = 96;
/// Thumbnails kept of the faces nearest to their sources.
const WORST: usize = 24;

struct Pending {
    window: Option<(Window, Vec<bool>, Luma)>,
    mesh: Option<Mesh>,
    gaze: Option<Gaze>,
}

/// Measures.
pub struct Meter {
    judges: Judges,
    follower: Follower,
    irises: Irises,
    masker: Masker,
    density: Density,
    watching: usize,
    references: HashMap<u64, Mesh>,
    pending: HashMap<u64, Pending>,
    places: HashMap<u64, usize>,
    number: usize,
    film: usize,
    backgrounds_before: usize,
    record: Record,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("density", &self.density).finish_non_exhaustive()
    }
}

impl Meter {
    /// Loads everything.
    ///
    /// # Errors
    /// A model is missing, altered, or not what its entry says.
    pub fn open(held_out: &Backend, small: &Backend, density: Density) -> Result<Self, EvalError> {
        let judges = Judges::open(held_out, small)?;
        // The first held-out one watches; manifests list the cheapest first.
        let watching = judges.verdicts().iter().position(|v| v.held_out).unwrap_or(0);
        Ok(Self {
            judges,
            follower: Follower::open(small, Finder::open(held_out)?)?,
            irises: Irises::open(small)?,
            masker: Masker::default(),
            density: density.sound(),
            watching,
            references: HashMap::new(),
            pending: HashMap::new(),
            places: HashMap::new(),
            number: 0,
            film: 0,
            backgrounds_before: 0,
            record: Record::default(),
            buffer: Vec::new(),
        })
    }

    /// The held-out detector's name, where there is one.
    #[must_use]
    pub fn finder(&self) -> Option<String> {
        self.follower.finder().map(|f| f.name().to_owned())
    }

    /// The judges.
    #[must_use]
    pub fn judges(&self) -> &Judges {
        &self.judges
    }

    /// The same, to judge pictures of a gallery.
    pub fn judges_mut(&mut self) -> &mut Judges {
        &mut self.judges
    }

    /// The follower, to find faces in pictures of a gallery.
    pub fn follower_mut(&mut self) -> &mut Follower {
        &mut self.follower
    }

    /// The recogniser that looks at every frame.
    #[must_use]
    pub fn watching(&self) -> usize {
        self.watching
    }

    /// Samples with a background of the film at hand, and the median of their mean differences, levels of 255.
    #[must_use]
    pub fn background_levels(&self) -> Option<(usize, f64)> {
        let of_film: Vec<f64> = self.record.background[self.backgrounds_before..].iter().map(|b| b.mean).collect();
        Some((of_film.len(), super::stats::median(&of_film)?))
    }

    /// Another film begins.
    pub fn next_film(&mut self, density: Density) {
        self.follower.flush();
        self.references.clear();
        self.pending.clear();
        self.places.clear();
        self.number = 0;
        self.backgrounds_before = self.record.background.len();
        self.film += 1;
        self.density = density.sound();
    }

    /// Takes the next frame of both, packed RGB of one size.
    ///
    /// # Errors
    /// Sizes differ, a network fails.
    pub fn frame(&mut self, at: Pts, width: u32, height: u32, source: &[u8], output: &[u8]) -> Result<(), EvalError> {
        let (from, to) = (super::rgb_view(width, height, source)?, super::rgb_view(width, height, output)?);
        let sample = self.number.is_multiple_of(self.density.every);
        let after = self.number > 0 && (self.number - 1).is_multiple_of(self.density.every);
        let nth = self.number / self.density.every;
        let look = sample.then(|| {
            if nth.is_multiple_of(THOROUGH_EVERY) {
                Effort::Thorough
            } else {
                Effort::Regular
            }
        });
        let faces = self.follower.push(&from, look)?;
        self.record.frames += 1;
        self.record.frames_with_face += usize::from(!faces.is_empty());
        let hints: Vec<_> = faces.iter().map(|f| hint_of(&f.box_px, &f.landmarks)).collect();
        let meshes = self.follower.meshes(&to, &hints)?;
        if self.number.is_multiple_of(self.density.watch_every) {
            self.watch(at, &to, &faces, &meshes)?;
        }
        if after {
            self.after(&from, &to, &faces, &meshes)?;
        }
        self.pending.clear();
        if sample {
            self.record.samples += 1;
            let boxes: Vec<BoxPx> = faces.iter().map(|f| f.box_px).collect();
            self.record
                .background
                .extend(picture::background(source, output, width as usize, &boxes));
            self.sightings(at, &from, &to, &faces)?;
            self.strangers(at, &to)?;
            let with_baselines = self.density.baseline_every > 0 && nth.is_multiple_of(self.density.baseline_every);
            for (face, mesh) in faces.iter().zip(&meshes) {
                let baselines = if with_baselines {
                    Some(self.baselines(&from, source, face)?)
                } else {
                    None
                };
                self.sample(at, &from, &to, face, mesh.as_ref(), baselines)?;
            }
        }
        self.number += 1;
        Ok(())
    }

    /// Everything measured.
    #[must_use]
    pub fn finish(self) -> (Record, Judges) {
        (self.record, self.judges)
    }

    fn track(&mut self, track: u64) -> &mut TrackRecord {
        let tracks = &mut self.record.tracks;
        let place = *self.places.entry(track).or_insert_with(|| {
            tracks.push(TrackRecord {
                film: self.film,
                track,
                ..TrackRecord::default()
            });
            tracks.len() - 1
        });
        &mut tracks[place]
    }

    fn watch(&mut self, at: Pts, to: &FrameView<'_>, faces: &[Face], meshes: &[Option<Mesh>]) -> Result<(), EvalError> {
        let landmarks: Vec<Landmarks5> = faces.iter().map(|f| f.landmarks).collect();
        let embeddings = self.judges.recognise_by(self.watching, to, &landmarks)?;
        for ((face, mesh), embedding) in faces.iter().zip(meshes).zip(embeddings) {
            if let (Some(own), false) = (&face.mesh, self.references.contains_key(&face.track)) {
                self.references.insert(face.track, own.clone());
            }
            let points = match (self.references.get(&face.track), &face.mesh, mesh) {
                (Some(reference), Some(own), Some(theirs)) => shape::trajectory(own, reference).zip(shape::trajectory(theirs, reference)),
                _ => None,
            };
            self.track(face.track).watched.push(Watch { at, embedding, points });
        }
        Ok(())
    }

    /// What the held-out detector sees in the source: how much of it the output still shows.
    fn sightings(&mut self, at: Pts, from: &FrameView<'_>, to: &FrameView<'_>, faces: &[Face]) -> Result<(), EvalError> {
        for seen in self.follower.sightings() {
            let Some(window) = Window::around(&seen.box_px, COVERED, COVERAGE_PX) else {
                continue;
            };
            let (a, b) = (window.luma(from)?, window.luma(to)?);
            let near = |f: &&Face| f.box_px.iou(&seen.box_px);
            let own = faces.iter().max_by(|a, b| near(a).total_cmp(&near(b))).filter(|f| near(f) > 0.3);
            self.record.sightings.push(Sighting {
                film: self.film,
                at,
                track: own.map(|f| f.track),
                alone: seen.alone,
                coverage: picture::changed_share(&a, &b, window.side()),
            });
        }
        Ok(())
    }

    /// Faces of the output, wherever they are: what a viewer finds who does not know the source.
    fn strangers(&mut self, at: Pts, to: &FrameView<'_>) -> Result<(), EvalError> {
        let mut landmarks = self.follower.landmarks_of_all(to, Effort::Regular)?;
        landmarks.retain(sound);
        for judged in self.judges.recognise(to, &landmarks)? {
            self.record.found.push(Stranger {
                at,
                film: self.film,
                judged,
            });
        }
        Ok(())
    }
}

fn sound(landmarks: &Landmarks5) -> bool {
    crate::frame::arcface_crop(landmarks, 112).is_some()
}
