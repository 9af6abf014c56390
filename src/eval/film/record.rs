//! What is kept of a film: rows by track, faces found, the worst pictures.

use crate::eval::judge::Judged;
use crate::eval::picture::Background;
use crate::eval::shape::ShapeError;
use crate::frame::{Point, Pts};

/// Frames of a film watched at most.
const MAX_WATCHED: usize = 20_000;
/// Levels of 255 up to which a face counts as untouched, where the recognisers might be fooled by chance.
const UNTOUCHED_LEVELS: f64 = 2.5;
/// Share of a face's box under which it counts as left as it was.
pub(super) const UNCOVERED_SHARE: f64 = 0.25;
/// Side of a thumbnail, px.
const THUMB_PX: usize = 112;

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

    pub(super) fn sound(self) -> Self {
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

/// A face that the held-out detector sees in the source at a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// Film.
    pub film: usize,
    /// When.
    pub at: Pts,
    /// Track that it lies on, where one is followed.
    pub track: Option<u64>,
    /// Whether the engine's detector does not see it.
    pub alone: bool,
    /// Share of its box that differs from the source: [`crate::eval::picture::changed_share`].
    pub coverage: f64,
}

impl Sighting {
    /// Whether the output shows nearly nothing but the source there: a raw leak.
    #[must_use]
    pub fn is_uncovered(&self) -> bool {
        self.coverage < UNCOVERED_SHARE
    }
}

/// A face that a detector found in the output at a sample, wherever it is.
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
    /// Faces that the held-out detector sees in the source at samples.
    pub sightings: Vec<Sighting>,
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
