//! All measurements of a film in one pass over source and output, frame by frame.
//!
//! | when | what |
//! |---|---|
//! | every frame | faces followed in the source; the output's mesh at the same places; the watching recogniser on the output, at the source's landmarks |
//! | samples (every `every`-th frame) | detector on both; all recognisers on the source, and on the output at the source's landmarks and at its own; expression, pose, irises, sharpness, attributes, background |
//! | every `baseline_every`-th sample | the same face covered by `pixelate`, `blur` and `solid`, with the engine's own operators, and judged alike |
//! | the frame after a sample | recognisers on both, flow: temporal identity, warp error, noise floors |
//!
//! Of the two alignments the one with the larger likeness counts: an attacker would choose it.

use std::collections::HashMap;

use super::EvalError;
use super::follow::{Face, Follower, hint_of};
use super::gaze::{self, Gaze, Irises};
use super::judge::{Judged, Judges, Verdict};
use super::picture::{self, Background, Luma, Window};
use super::shape::{self, ShapeError};
use crate::backend::Backend;
use crate::frame::{BoxPx, FrameInfo, FrameView, FrameViewMut, Landmarks5, Matrix, Mesh, PixelFormat, PlaneMut, Point, Pts, Range};
use crate::pipeline::Settings;
use crate::stages::align;
use crate::stages::blend::{self, Cover, Masker, Shape};
use crate::stages::detect::Effort;

/// Covers that every film is measured with, and their names.
pub const BASELINES: [(&str, Cover); 3] = [("pixelate", Cover::Pixelate), ("blur", Cover::Blur), ("solid", Cover::Solid)];
/// A thorough look every so many samples; the others are regular.
const THOROUGH_EVERY: usize = 8;
/// Frames of a film watched at most.
const MAX_WATCHED: usize = 20_000;
/// Thumbnails kept of the faces nearest to their sources, and their side, px.
const WORST: usize = 24;
const THUMB_PX: usize = 112;
/// Levels of 255 up to which a face counts as untouched, where the recognisers might be fooled by chance.
const UNTOUCHED_LEVELS: f64 = 2.5;

/// How densely to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Density {
    /// Frames from sample to sample, 1 or more.
    pub every: usize,
    /// Samples from baseline to baseline, 1 or more; 0 leaves baselines out.
    pub baseline_every: usize,
    /// Frames from one that is watched to the next, 1 or more: 1 watches all, more bounds memory on long films.
    pub watch_every: usize,
}

impl Density {
    /// So many samples a second, and every frame watched up to a bound of memory (4 kB a face and frame).
    #[must_use]
    pub fn for_film(frames_per_second: f64, samples_per_second: f64, frames: usize) -> Self {
        Self {
            every: (frames_per_second / samples_per_second).round().clamp(1.0, 1e6) as usize,
            baseline_every: 2,
            watch_every: frames.div_ceil(MAX_WATCHED).max(1),
        }
    }

    fn sound(self) -> Self {
        Self {
            every: self.every.max(1),
            watch_every: self.watch_every.max(1),
            ..self
        }
    }
}

/// How one picture of a face was judged.
#[derive(Debug, Clone)]
pub struct Look {
    /// Judges' answers.
    pub judged: Judged,
    /// Whether a mesh fits where the source's face is.
    pub mesh_found: bool,
    /// Against the source's mesh.
    pub shape: Option<ShapeError>,
    /// Distance of the irises' offsets to the source's, eye widths.
    pub gaze: Option<f64>,
    /// Variance of the Laplacian: this picture's and the source's.
    pub sharpness: Option<(f64, f64)>,
}

/// What the frame after a sample tells.
#[derive(Debug, Clone)]
pub struct Next {
    /// Source, one frame on.
    pub source: Judged,
    /// Output, one frame on.
    pub output: Judged,
    /// Warp error of output and source.
    pub warp: Option<(f64, f64)>,
    /// Source against source one frame on: the noise floor.
    pub floor: Option<ShapeError>,
    /// The same for the irises.
    pub gaze_floor: Option<f64>,
}

/// One face at one sample.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When.
    pub at: Pts,
    /// The source's face.
    pub source: Judged,
    /// Distance of the eyes, px.
    pub eyes_px: f32,
    /// What the output shows in its place.
    pub output: Look,
    /// [`BASELINES`], where measured.
    pub baselines: Option<Vec<Look>>,
    /// Mean absolute difference inside the face, levels.
    pub touched: f64,
    /// One frame on.
    pub next: Option<Next>,
}

impl Sample {
    /// Whether the output shows the source's own pixels.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.touched <= UNTOUCHED_LEVELS
    }
}

/// One face in one frame.
#[derive(Debug, Clone)]
pub struct Watch {
    /// When.
    pub at: Pts,
    /// The watching recogniser's embedding of the output at the source's landmarks.
    pub embedding: Vec<f32>,
    /// Feature points of source and output, in the source's first mesh's eye distances.
    pub points: Option<(Vec<Point>, Vec<Point>)>,
}

/// All of one track.
#[derive(Debug, Clone, Default)]
pub struct TrackRecord {
    /// Number of the film among those measured.
    pub film: usize,
    /// Number within the film.
    pub track: u64,
    /// Every frame.
    pub watched: Vec<Watch>,
    /// Samples.
    pub samples: Vec<Sample>,
}

/// A face that the detector found in the output at a sample, wherever it is.
#[derive(Debug, Clone)]
pub struct Stranger {
    /// When.
    pub at: Pts,
    /// Film.
    pub film: usize,
    /// Judges' answers.
    pub judged: Judged,
}

/// The output's picture where it is nearest to its source.
#[derive(Debug, Clone, PartialEq)]
pub struct Worst {
    /// Film.
    pub film: usize,
    /// Track.
    pub track: u64,
    /// When.
    pub at: Pts,
    /// Largest likeness that a held-out recogniser saw: 0 a stranger, 1 the same person in another film.
    pub likeness: f64,
    /// Which.
    pub recogniser: String,
    /// Packed RGB of the output, [`Self::SIDE_PX`] a side.
    pub rgb: Vec<u8>,
}

impl Worst {
    /// Side of the picture, px.
    pub const SIDE_PX: usize = THUMB_PX;
}

/// Everything measured of one or several films.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The outputs nearest to their sources, nearest first.
    pub worst: Vec<Worst>,
    /// Tracks.
    pub tracks: Vec<TrackRecord>,
    /// Faces found in the output at samples.
    pub found: Vec<Stranger>,
    /// Background of each sample.
    pub background: Vec<Background>,
    /// Frames measured.
    pub frames: usize,
    /// Frames with a face in the source.
    pub frames_with_face: usize,
    /// Samples taken, with or without a face.
    pub samples: usize,
}

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
            follower: Follower::open(small)?,
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

    /// Faces of the output, wherever they are: what a viewer finds who does not know the source.
    fn strangers(&mut self, at: Pts, to: &FrameView<'_>) -> Result<(), EvalError> {
        let found = self.follower.detect(to, Effort::Regular)?;
        let landmarks: Vec<Landmarks5> = found.iter().filter_map(|d| d.landmarks).filter(sound).collect();
        for judged in self.judges.recognise(to, &landmarks)? {
            self.record.found.push(Stranger {
                at,
                film: self.film,
                judged,
            });
        }
        Ok(())
    }

    fn sample(
        &mut self,
        at: Pts,
        from: &FrameView<'_>,
        to: &FrameView<'_>,
        face: &Face,
        mesh: Option<&Mesh>,
        baselines: Option<Vec<Look>>,
    ) -> Result<(), EvalError> {
        let Some(source) = self.judges.look(from, std::slice::from_ref(&face.landmarks))?.pop() else {
            return Ok(());
        };
        let own = mesh.and_then(Mesh::landmarks5).filter(sound);
        let places: Vec<Landmarks5> = std::iter::once(face.landmarks).chain(own).collect();
        let judged = nearest(self.judges.look(to, &places)?, &source, self.judges.verdicts());
        let source_gaze = match &face.mesh {
            Some(mesh) => self.irises.offsets(from, mesh)?,
            None => None,
        };
        let output = self.look(to, from, face, mesh, judged, source_gaze.as_ref())?;
        let window = Window::for_flow(&face.box_px);
        let pending = match (&face.mesh, window) {
            (Some(mesh), Some(window)) => window.inside(mesh, 1.0).map(|inside| (window, inside)),
            _ => None,
        };
        let window = match pending {
            Some((window, inside)) => {
                let luma = Luma {
                    source: window.luma(from)?,
                    output: window.luma(to)?,
                };
                Some((window, inside, luma))
            }
            None => None,
        };
        let touched = match Window::around(&face.box_px, 0.6, 96) {
            Some(middle) => {
                let (a, b) = (middle.luma(from)?, middle.luma(to)?);
                a.iter().zip(&b).map(|(p, q)| f64::from((p - q).abs())).sum::<f64>() / a.len() as f64
            }
            None => f64::INFINITY,
        };
        self.pending.insert(
            face.track,
            Pending {
                window,
                mesh: face.mesh.clone(),
                gaze: source_gaze,
            },
        );
        self.keep_if_worst(at, to, face, &source, &output.judged)?;
        self.track(face.track).samples.push(Sample {
            at,
            source,
            eyes_px: face.landmarks.inter_ocular_px(),
            output,
            baselines,
            touched,
            next: None,
        });
        Ok(())
    }

    fn keep_if_worst(&mut self, at: Pts, to: &FrameView<'_>, face: &Face, source: &Judged, output: &Judged) -> Result<(), EvalError> {
        let likeness = |(i, v): (usize, &Verdict)| {
            let score = v.score(&output.embeddings[i], &source.embeddings[i]);
            Some((v.likeness(score).filter(|_| v.held_out)?, v.name.clone()))
        };
        let seen = self.judges.verdicts().iter().enumerate().filter_map(likeness);
        let Some((likeness, recogniser)) = seen.max_by(|a, b| a.0.total_cmp(&b.0)) else {
            return Ok(());
        };
        let worst = &mut self.record.worst;
        if worst.len() >= WORST && worst.last().is_some_and(|w| w.likeness >= likeness) {
            return Ok(());
        }
        let Some(window) = (face.box_px.is_valid()).then(|| face.box_px.scaled(1.3)) else {
            return Ok(());
        };
        let (side, [cx, cy]) = (window.side(), window.center());
        let scale = side / THUMB_PX as f32;
        let map = crate::frame::Affine::scale_shift(scale, scale, cx - side / 2.0, cy - side / 2.0);
        let mut rgb = vec![0; THUMB_PX * THUMB_PX * 3];
        nullface_kernels::crop::crop_affine_u8(to, &map, THUMB_PX, THUMB_PX, &mut rgb)?;
        let place = worst.partition_point(|w| w.likeness >= likeness);
        worst.insert(
            place,
            Worst {
                film: self.film,
                track: face.track,
                at,
                likeness,
                recogniser,
                rgb,
            },
        );
        worst.truncate(WORST);
        Ok(())
    }

    fn look(
        &mut self,
        to: &FrameView<'_>,
        from: &FrameView<'_>,
        face: &Face,
        mesh: Option<&Mesh>,
        judged: Judged,
        source_gaze: Option<&Gaze>,
    ) -> Result<Look, EvalError> {
        let (mut form, mut eyes, mut sharpness) = (None, None, None);
        if let Some(own) = &face.mesh {
            sharpness = picture::sharpness(from, own, to)?.map(|(a, b)| (b, a));
            if let Some(theirs) = mesh {
                form = shape::compare(own, theirs)?;
                if let Some(source) = source_gaze {
                    eyes = self.irises.offsets(to, theirs)?.map(|g| gaze::difference(source, &g));
                }
            }
        }
        Ok(Look {
            judged,
            mesh_found: mesh.is_some(),
            shape: form,
            gaze: eyes,
            sharpness,
        })
    }

    fn baselines(&mut self, from: &FrameView<'_>, source: &[u8], face: &Face) -> Result<Vec<Look>, EvalError> {
        let defaults = Settings::default();
        let oval = face.mesh.as_ref().and_then(|m| align::oval_polygon(m, 1.0)).unwrap_or_default();
        let shape = Shape {
            box_px: face.box_px,
            oval_px: &oval,
            roll_rad: face.landmarks.roll_rad(),
            scale: defaults.mask_scale,
            feather: defaults.feather,
        };
        let (width, height) = (from.width(), from.height());
        let source_gaze = match &face.mesh {
            Some(mesh) => self.irises.offsets(from, mesh)?,
            None => None,
        };
        let mut looks = Vec::with_capacity(BASELINES.len());
        let mut covered = std::mem::take(&mut self.buffer);
        for (_, how) in BASELINES {
            covered.clear();
            covered.extend_from_slice(source);
            if let Some(mask) = self.masker.mask(&shape, width, height)? {
                let info = FrameInfo {
                    format: PixelFormat::Rgb,
                    width,
                    height,
                    matrix: Matrix::Bt709,
                    range: Range::Full,
                };
                let plane = PlaneMut {
                    data: &mut covered,
                    stride: width as usize * 3,
                };
                blend::apply(&mut FrameViewMut::new(info, vec![plane])?, mask, how, defaults.fill_rgb)?;
            }
            let to = super::rgb_view(width, height, &covered)?;
            let mesh = self
                .follower
                .meshes(&to, &[hint_of(&face.box_px, &face.landmarks)])?
                .pop()
                .flatten();
            let Some(judged) = self.judges.look(&to, std::slice::from_ref(&face.landmarks))?.pop() else {
                continue;
            };
            looks.push(self.look(&to, from, face, mesh.as_ref(), judged, source_gaze.as_ref())?);
        }
        self.buffer = covered;
        Ok(looks)
    }

    fn after(&mut self, from: &FrameView<'_>, to: &FrameView<'_>, faces: &[Face], meshes: &[Option<Mesh>]) -> Result<(), EvalError> {
        for (face, mesh) in faces.iter().zip(meshes) {
            let Some(before) = self.pending.remove(&face.track) else { continue };
            let place = mesh.as_ref().and_then(Mesh::landmarks5).filter(sound).unwrap_or(face.landmarks);
            let source = self.judges.look(from, std::slice::from_ref(&face.landmarks))?.pop();
            let output = self.judges.recognise(to, &[place])?.pop();
            let (Some(source), Some(output)) = (source, output) else { continue };
            let warp = match &before.window {
                Some((window, inside, now)) => {
                    let next = Luma {
                        source: window.luma(from)?,
                        output: window.luma(to)?,
                    };
                    picture::warp_error(window, inside, now, &next)?
                }
                None => None,
            };
            let (mut floor, mut gaze_floor) = (None, None);
            if let (Some(a), Some(b)) = (&before.mesh, &face.mesh) {
                floor = shape::compare(a, b)?;
                if let (Some(g), Some(h)) = (&before.gaze, self.irises.offsets(from, b)?) {
                    gaze_floor = Some(gaze::difference(g, &h));
                }
            }
            if let Some(sample) = self.track(face.track).samples.last_mut() {
                sample.next = Some(Next {
                    source,
                    output,
                    warp,
                    floor,
                    gaze_floor,
                });
            }
        }
        Ok(())
    }
}

/// Of several alignments of one face, for each recogniser the embedding that is nearest to the source;
/// attributes of the last one, the output's own where it has a mesh.
fn nearest(looks: Vec<Judged>, source: &Judged, verdicts: &[Verdict]) -> Judged {
    let mut best = looks.last().cloned().unwrap_or_default();
    for (i, verdict) in verdicts.iter().enumerate() {
        let score = |j: &Judged| verdict.score(&j.embeddings[i], &source.embeddings[i]);
        if let Some(nearest) = looks.iter().max_by(|a, b| score(a).total_cmp(&score(b))) {
            best.embeddings[i].clone_from(&nearest.embeddings[i]);
        }
    }
    best
}

fn sound(landmarks: &Landmarks5) -> bool {
    crate::frame::arcface_crop(landmarks, 112).is_some()
}
