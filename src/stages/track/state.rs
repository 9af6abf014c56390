//! One track: the estimate of its box, the region that must be covered, its points.
//!
//! | | |
//! |---|---|
//! | region, seen | ⊇ every box observed in this frame ∪ the filter's box; edges shrink slowly (`SETTLE_S`), so that jitter does not show |
//! | region, seen weakly | the same ∪ the region before, for `hold` since the last sight that was not weak: a false box must not uncover a face |
//! | region, unseen | ⊇ the region before (so also the place last seen) ∪ the predicted box grown by time and uncertainty; bounded, because velocity and growth are |
//! | time backwards | stamps later than the new time move to it: a hold is lengthened, never shortened |

use crate::frame::{BoxPx, Landmarks5, Point, Pts};

use super::kalman::{Motion, Noise};
use super::reid::PersonId;
use super::types::{ObservationSource, TrackerConfig};

/// Time in which a region's surplus over the observed box falls to a third, s.
const SETTLE_S: f64 = 0.3;
/// Most surplus that a sight takes over from the frame before, sides per edge.
const SURPLUS_MAX: f32 = 0.15;
/// Weight of a new sample in the running difference between mesh and detector boxes.
const BIAS_RATE: f32 = 0.3;

/// A face through time; never used twice in the life of a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u64);

/// How sure a track is. All three must be covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackState {
    /// Seen too few times to be sure that it is a face.
    Tentative,
    /// Seen often enough and not missed since.
    Confirmed,
    /// Lost: the region is predicted and grows.
    Held,
}

/// A face, as far as it is known at the time of the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Track {
    /// This track.
    pub id: TrackId,
    /// Whose face; provisional until embeddings came, the earlier person's where a face returns.
    pub person: PersonId,
    /// How sure.
    pub state: TrackState,
    /// Estimate of the face's box, frame px.
    pub box_px: BoxPx,
    /// What must be covered, frame px, unclipped: contains every box observed in this frame.
    pub region_px: BoxPx,
    /// Five points, moved along with the box since they were last seen.
    pub landmarks: Option<Landmarks5>,
    /// In-plane rotation, radians; 0 where no points are known.
    pub roll_rad: f32,
    /// Velocity of the centre, px/s.
    pub velocity_px_s: [f32; 2],
    /// When the track began.
    pub first_seen: Pts,
    /// The box observed then.
    pub first_box_px: BoxPx,
    /// When detector, upstream or mesh last saw it.
    pub last_seen: Pts,
    /// When detector or upstream last saw it.
    pub last_detected: Pts,
    /// Score of the last detection.
    pub score: f32,
    /// What the last mesh thought, 0–1.
    pub face_prob: Option<f32>,
    /// Frames in which it was seen.
    pub sights: u32,
    /// Looks of the detector since that missed it.
    pub misses: u32,
    pub(super) inner: Inner,
}

/// What a track remembers for itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Inner {
    pub(super) motion: Motion,
    /// Time of `motion`.
    anchor: Pts,
    /// Seen in this frame.
    pub(super) seen_now: bool,
    detector_now: Option<BoxPx>,
    mesh_now: Option<BoxPx>,
    /// Hull of what was observed in the frame last seen, and the region of that frame.
    pub(super) seen_hull: BoxPx,
    seen_region: BoxPx,
    /// The same of the frame seen before, and its time.
    prev_hull: BoxPx,
    prev_region: BoxPx,
    prev_seen: Pts,
    /// When something other than a weak detection last saw it.
    pub(super) strong_seen: Pts,
    /// Points in box units, −½ to ½ inside the box.
    shape: Option<[Point; 5]>,
    /// Bit n: seen by the look n looks ago.
    pub(super) history: u128,
    /// A merged track's region, and until when it stays covered.
    pub(super) also: Option<(BoxPx, Pts)>,
    /// Whom it last overlapped, and when.
    pub(super) crossed: Option<(TrackId, Pts)>,
    bias: Option<Bias>,
}

/// How this face's detector boxes differ from its mesh boxes: the two have other ideas of a forehead,
/// and without this the estimate would jump whenever the detector looks.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bias {
    shift: [f32; 2],
    scale: [f32; 2],
}

impl Bias {
    fn between(mesh: &BoxPx, detector: &BoxPx) -> Self {
        let (m, d) = (mesh.center(), detector.center());
        let limit = |v: f32, most: f32| v.clamp(-most, most);
        Self {
            shift: [limit((d[0] - m[0]) / mesh.width(), 0.5), limit((d[1] - m[1]) / mesh.height(), 0.5)],
            scale: [
                (detector.width() / mesh.width()).clamp(0.5, 2.0),
                (detector.height() / mesh.height()).clamp(0.5, 2.0),
            ],
        }
    }

    fn towards(self, to: Self) -> Self {
        let mix = |a: [f32; 2], b: [f32; 2]| [a[0] + (b[0] - a[0]) * BIAS_RATE, a[1] + (b[1] - a[1]) * BIAS_RATE];
        Self {
            shift: mix(self.shift, to.shift),
            scale: mix(self.scale, to.scale),
        }
    }

    fn applied(self, mesh: &BoxPx) -> BoxPx {
        let [x, y] = mesh.center();
        let (w, h) = (mesh.width(), mesh.height());
        BoxPx::around([x + self.shift[0] * w, y + self.shift[1] * h], w * self.scale[0], h * self.scale[1])
    }
}

/// A box grown by as many px on every edge.
pub(super) fn grown(b: &BoxPx, margin_px: f32) -> BoxPx {
    BoxPx {
        x0: b.x0 - margin_px,
        y0: b.y0 - margin_px,
        x1: b.x1 + margin_px,
        y1: b.y1 + margin_px,
    }
}

impl Track {
    pub(super) fn start(id: TrackId, person: PersonId, box_px: BoxPx, at: Pts) -> Self {
        let motion = Motion::new(&box_px, Noise::DETECTOR);
        Self {
            id,
            person,
            state: TrackState::Tentative,
            box_px,
            region_px: box_px,
            landmarks: None,
            roll_rad: 0.0,
            velocity_px_s: [0.0; 2],
            first_seen: at,
            first_box_px: box_px,
            last_seen: at,
            last_detected: at,
            score: 0.0,
            face_prob: None,
            sights: 0,
            misses: 0,
            inner: Inner {
                motion,
                anchor: at,
                seen_now: false,
                detector_now: None,
                mesh_now: None,
                seen_hull: box_px,
                seen_region: box_px,
                prev_hull: box_px,
                prev_region: box_px,
                prev_seen: at,
                strong_seen: at,
                shape: None,
                history: 0,
                also: None,
                crossed: None,
                bias: None,
            },
        }
    }

    /// Whether the track was observed in the frame that the tracker is at.
    #[must_use]
    pub fn seen_now(&self) -> bool {
        self.inner.seen_now
    }

    /// Begins a frame: nothing is seen yet, everything is predicted.
    pub(super) fn advance(&mut self, at: Pts, config: &TrackerConfig) {
        let inner = &mut self.inner;
        for stamp in [
            &mut self.first_seen,
            &mut self.last_seen,
            &mut self.last_detected,
            &mut inner.prev_seen,
            &mut inner.strong_seen,
        ] {
            *stamp = (*stamp).min(at);
        }
        if let Some((_, until)) = &mut inner.also {
            *until = (*until).min(Pts(at.0.saturating_add(config.hold.as_nanos() as u64)));
        }
        inner.seen_now = false;
        inner.detector_now = None;
        inner.mesh_now = None;
        let predicted = inner.motion.predicted(at.seconds_since(inner.anchor), config.coast.as_secs_f64());
        if inner.anchor > at {
            // Time ran back: the face is taken up where it was then thought to be.
            inner.motion = predicted;
            inner.anchor = at;
        }
        let age_s = at.seconds_since(self.last_seen) as f32;
        self.box_px = predicted.box_px();
        let margin = (config.growth_per_s * age_s + predicted.sigma_sides()).min(config.growth_max);
        let reach = grown(&self.box_px, margin * self.box_px.side());
        self.region_px = self.region_px.hull(&reach);
        self.cover_also(at);
        self.place_landmarks();
    }

    /// Takes an observed box with positive area.
    pub(super) fn sight(
        &mut self,
        seen: &BoxPx,
        landmarks: Option<Landmarks5>,
        source: ObservationSource,
        noise: Noise,
        at: Pts,
        config: &TrackerConfig,
    ) {
        let before = self.region_px;
        self.include(seen, at);
        let inner = &mut self.inner;
        let weak = noise == Noise::WEAK;
        if !weak {
            inner.strong_seen = at;
        }
        let measured = if source == ObservationSource::Mesh {
            inner.mesh_now = Some(*seen);
            inner.bias.map_or(*seen, |b| b.applied(seen))
        } else {
            inner.detector_now = Some(*seen);
            self.last_detected = at;
            self.misses = 0;
            *seen
        };
        if let (Some(mesh), Some(detector)) = (&inner.mesh_now, &inner.detector_now) {
            let now = Bias::between(mesh, detector);
            inner.bias = Some(inner.bias.map_or(now, |b| b.towards(now)));
        }
        inner.motion = inner
            .motion
            .updated(&measured, noise, at.seconds_since(inner.anchor), config.coast.as_secs_f64());
        inner.anchor = at;
        self.box_px = inner.motion.box_px();
        self.velocity_px_s = inner.motion.velocity_px_s();
        if let Some(points) = landmarks.filter(Landmarks5::is_finite) {
            let ([x, y], w, h) = (self.box_px.center(), self.box_px.width(), self.box_px.height());
            inner.shape = Some(points.0.map(|p| [(p[0] - x) / w, (p[1] - y) / h]));
            self.landmarks = Some(points);
            self.roll_rad = points.roll_rad();
        } else {
            self.place_landmarks();
        }
        if self.state != TrackState::Tentative || self.sights >= config.confirm_sights {
            self.state = TrackState::Confirmed;
        }
        self.settle(at);
        // A weak box may be no face at all: it must not take the cover off the place predicted.
        if weak && at.seconds_since(self.inner.strong_seen) <= config.hold.as_secs_f64() {
            self.region_px = self.region_px.hull(&before);
        }
    }

    /// Takes a second box of the same face in the same frame into the region only.
    pub(super) fn absorb(&mut self, seen: &BoxPx, at: Pts) {
        self.include(seen, at);
        self.settle(at);
    }

    fn include(&mut self, seen: &BoxPx, at: Pts) {
        let inner = &mut self.inner;
        if inner.seen_now {
            inner.seen_hull = inner.seen_hull.hull(seen);
            return;
        }
        inner.prev_hull = inner.seen_hull;
        inner.prev_region = inner.seen_region;
        inner.prev_seen = self.last_seen;
        inner.seen_hull = *seen;
        inner.seen_now = true;
        self.last_seen = at;
        self.sights = self.sights.saturating_add(1);
    }

    /// The region of a frame in which the face was seen.
    fn settle(&mut self, at: Pts) {
        let inner = &mut self.inner;
        let base = inner.seen_hull.hull(&self.box_px);
        let keep = (-at.seconds_since(inner.prev_seen).max(0.0) / SETTLE_S).exp() as f32;
        let (now, then) = (inner.seen_hull.center(), inner.prev_hull.center());
        let (dx, dy) = (now[0] - then[0], now[1] - then[1]);
        let most = SURPLUS_MAX * base.side();
        let surplus = |px: f32| (px * keep).clamp(0.0, most);
        self.region_px = BoxPx {
            x0: base.x0 - surplus(base.x0 - (inner.prev_region.x0 + dx)),
            y0: base.y0 - surplus(base.y0 - (inner.prev_region.y0 + dy)),
            x1: base.x1 + surplus(inner.prev_region.x1 + dx - base.x1),
            y1: base.y1 + surplus(inner.prev_region.y1 + dy - base.y1),
        };
        inner.seen_region = self.region_px;
        self.cover_also(at);
    }

    fn cover_also(&mut self, at: Pts) {
        if let Some((region, until)) = self.inner.also {
            if at <= until {
                self.region_px = self.region_px.hull(&region);
            } else {
                self.inner.also = None;
            }
        }
    }

    fn place_landmarks(&mut self) {
        if let Some(shape) = self.inner.shape {
            let ([x, y], w, h) = (self.box_px.center(), self.box_px.width(), self.box_px.height());
            self.landmarks = Some(Landmarks5(shape.map(|p| [x + p[0] * w, y + p[1] * h])));
        }
    }

    /// Whether both were ever seen by one look of the last 128: then they are two faces.
    pub(super) fn proven_apart(&self, other: &Self) -> bool {
        self.inner.history & other.inner.history != 0
    }
}
