//! The first of two passes: looks at every frame of a film exactly as an engine does that renders at once,
//! writes down what must be covered, and in the end adds what only the whole film tells.
//!
//! | part | what |
//! |---|---|
//! | here | frames in, regions of their plans gathered by track |
//! | `strand` | a track's boxes from frame to frame → spans; ways between two sights filled |
//! | `join` | persons joined by embedding; short absences of a person filled |
//! | `backward` | the film followed from its end: faces followed back to where they were first reported |
//!
//! What it covers contains what the same engine would have covered, since it is the same analysis; a face that
//! is found late is covered backwards further than any lookahead reaches ([`BACK_S`]), and to where the detector
//! first reported it, however weakly. Boxes are made to contain the outlines that the meshes gave, so that the
//! second pass needs none there. Where photos say who stays, the part of a track that is kept becomes a track of
//! its own.

mod backward;
mod join;
mod outline;
mod strand;

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::frame::{FrameTime, FrameView, Pts};
use crate::stages::track::PersonId;
use crate::tracks::{Decision, FilmId, Track, Tracks, Withheld};

use super::engine::{Discontinuity, Engine, EngineError, FrameId};
use super::outcome::CoverReason;
use super::plan::Plan;
use super::settings::{EngineConfig, Mode, Settings};
use super::who::KeepReason;
use backward::Look;
use strand::{Seen, Strand};

/// How far a new track is covered backwards, seconds, where the lookahead does not reach further.
const BACK_S: f64 = 0.5;
/// Most frames that wait for that.
const MOST_WAITING: usize = 200;

/// What of a film is known before its first frame is decoded.
#[derive(Debug, Clone)]
pub struct FilmFile {
    /// Name without folders.
    pub name: String,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Stated frame rate, as `25/1`.
    pub rate: String,
}

/// Makes the track file of one film, or of a part of it.
pub struct Scout {
    engine: Engine,
    lookahead: usize,
    waiting: VecDeque<(FrameId, Pts)>,
    gathered: Gathered,
}

/// One face in its plans; what photos keep is gathered apart from the rest of the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Which {
    track: u64,
    kept: bool,
}

/// What was seen so far. Means of embeddings are biometric data: they end with it.
#[derive(Default)]
struct Gathered {
    strands: BTreeMap<Which, Strand>,
    persons: HashMap<u64, PersonId>,
    means: HashMap<PersonId, Vec<f32>>,
    cuts: Vec<u64>,
    looks: Vec<Look>,
    /// Whether a break was told of after the last frame.
    broke: bool,
    withheld: Vec<Withheld>,
    was_withheld: bool,
    frames: u64,
    first: Option<Pts>,
    last: Pts,
    size_px: Option<(u32, u32)>,
    why: Option<KeepReason>,
}

impl Scout {
    /// Opens models and devices. The mode does not matter: nothing is rendered. A cut list and a track file in
    /// `config` belong to the second pass and are left out.
    ///
    /// # Errors
    /// [`EngineError`] names the file or device and the remedy.
    pub fn open(config: &EngineConfig, settings: Settings) -> Result<Self, EngineError> {
        let config = EngineConfig {
            cut_list: None,
            tracks: None,
            ..config.clone()
        };
        let engine = Engine::open(&config, of_pass_one(settings))?;
        Ok(Self::over(engine, config.lookahead))
    }

    /// Over an engine of the caller's, without track file and cut list and with a mode that covers.
    /// `lookahead` is what it was made with.
    #[must_use]
    pub fn over(engine: Engine, lookahead: usize) -> Self {
        Self {
            engine,
            lookahead,
            waiting: VecDeque::new(),
            gathered: Gathered::default(),
        }
    }

    /// Looks at the next frame; `at` is counted from the film's zero. A fault is remembered: the frame will be
    /// covered whole.
    ///
    /// # Errors
    /// A picture of another size than those before: a track file has one.
    pub fn look(&mut self, frame: &FrameView<'_>, at: FrameTime) -> Result<Option<EngineError>, EngineError> {
        let size = (frame.width(), frame.height());
        let expected = *self.gathered.size_px.get_or_insert(size);
        if size != expected {
            return Err(EngineError::Stage {
                stage: "first pass",
                why: format!(
                    "expected pictures of {} x {} px throughout, got {} x {} px; one pass (--one-pass) takes them",
                    expected.0, expected.1, size.0, size.1
                ),
            });
        }
        let (id, fault) = self.engine.analyse(frame, at, &[]);
        self.waiting.push_back((id, at.pts));
        self.gathered.people(&self.engine);
        while self.waiting.len() > self.lookahead
            && let Some((id, when)) = self.waiting.front().copied()
            && (self.waiting.len() > MOST_WAITING || at.pts.seconds_since(when) > BACK_S)
        {
            self.waiting.pop_front();
            self.take(id, when);
        }
        Ok(fault)
    }

    /// Tells of a break between two parts of a film.
    pub fn discontinuity(&mut self, kind: Discontinuity) {
        self.rest();
        self.gathered.broke |= kind != Discontinuity::Gap;
        self.engine.discontinuity(kind);
    }

    /// Tracks that began so far.
    #[must_use]
    pub fn tracks_started(&self) -> u64 {
        self.engine.stats().tracks
    }

    /// What the film holds.
    ///
    /// # Errors
    /// Without a frame, or where the result is no track file.
    pub fn finish(mut self, film: FilmFile) -> Result<Tracks, EngineError> {
        self.rest();
        let wrong = |why: String| EngineError::Stage { stage: "first pass", why };
        let gathered = self.gathered;
        let (Some(size), Some(first)) = (gathered.size_px, gathered.first) else {
            return Err(wrong("there was no frame".to_owned()));
        };
        let film = FilmId {
            name: film.name,
            sha256: film.sha256,
            rate: film.rate,
            width_px: size.0,
            height_px: size.1,
            frames: gathered.frames,
            first,
            last: gathered.last,
        };
        let withheld = gathered.withheld.clone();
        Tracks::new(film, gathered.tracks(self.engine.same_person_cos()), withheld).map_err(|e| wrong(e.to_string()))
    }

    fn rest(&mut self) {
        while let Some((id, at)) = self.waiting.pop_front() {
            self.take(id, at);
        }
    }

    fn take(&mut self, id: FrameId, at: Pts) {
        match self.engine.take_plan(id) {
            Some(plan) => self.gathered.frame(plan, self.engine.settings().mask_scale),
            None => self.gathered.withhold(at),
        }
    }
}

/// Settings of a pass that renders nothing.
fn of_pass_one(settings: Settings) -> Settings {
    Settings {
        mode: Mode::Solid,
        preset: super::settings::Preset::None,
        deadline: None,
        origin: Pts(0),
        ..settings
    }
}

impl Gathered {
    /// Who the present tracks are, as far as that is known by now.
    fn people(&mut self, engine: &Engine) {
        for track in engine.tracker().tracks() {
            self.persons.insert(track.id.0, track.person);
            for kept in [false, true] {
                let which = Which { track: track.id.0, kept };
                if let Some(strand) = self.strands.get_mut(&which) {
                    strand.score = strand.score.max(track.score);
                }
            }
            if let Some(source) = engine.tracker().source(track.id) {
                let mean = self.means.entry(track.person).or_default();
                mean.clear();
                mean.extend_from_slice(source.mean);
            }
        }
    }

    fn frame(&mut self, plan: Plan, mask_scale: f32) {
        let at = plan.at.pts;
        let number = self.frames;
        if plan.withheld.is_some() {
            self.withhold(at);
        } else {
            self.next(at);
            self.was_withheld = false;
        }
        if plan.cut {
            self.cuts.push(number);
        }
        if let Some(look) = self.looks.last_mut() {
            look.cut |= plan.cut;
            look.unclaimed = plan.unclaimed;
        }
        let (w, h) = plan.size_px;
        for region in plan.regions.iter().filter(|r| r.box_px.clipped(w, h).is_valid()) {
            let keep = region.kept();
            self.why = self.why.or(keep.map(|k| k.0));
            let which = Which {
                track: region.track,
                kept: keep.is_some(),
            };
            let seen = !matches!(region.reason, CoverReason::Held | CoverReason::Lookahead);
            self.strands.entry(which).or_default().push(Seen {
                frame: number,
                at,
                box_px: outline::contained(&region.box_px, &region.oval_px, mask_scale),
                seen,
            });
        }
    }

    fn next(&mut self, at: Pts) {
        self.frames += 1;
        self.looks.push(Look {
            at,
            cut: std::mem::take(&mut self.broke),
            unclaimed: Vec::new(),
        });
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = self.last.max(at);
    }

    /// A frame of which nothing is known.
    fn withhold(&mut self, at: Pts) {
        self.next(at);
        match self.withheld.last_mut().filter(|w| self.was_withheld && w.to <= at) {
            Some(open) => open.to = at,
            None => self.withheld.push(Withheld { from: at, to: at }),
        }
        self.was_withheld = true;
    }

    /// Tracks, with all that only the whole film tells.
    fn tracks(mut self, same_person_cos: f32) -> Vec<Track> {
        self.strands.iter_mut().for_each(|(which, s)| s.fill(which.kept));
        let people = join::people(&self, same_person_cos);
        let ways = join::absences(&self, &people);
        let added = backward::added(&self);
        for which in added.keys() {
            let score = |kept| self.strands.get(&Which { kept, ..*which }).map_or(0.0, |s| s.score);
            let score = score(true).max(score(false));
            self.strands.entry(*which).or_default().score = score;
        }
        let mut next_id = self.strands.keys().map(|w| w.track + 1).max().unwrap_or(0);
        let halved: Vec<u64> = self.strands.keys().filter(|w| !w.kept).map(|w| w.track).collect();
        let mut tracks = Vec::with_capacity(self.strands.len());
        for (which, strand) in &self.strands {
            let mut spans = strand.spans();
            if let Some(way) = ways.get(which) {
                spans = crate::tracks::union(&spans, std::slice::from_ref(way));
            }
            if let Some(more) = added.get(which) {
                spans = crate::tracks::union(&spans, &more.spans());
            }
            let id = if which.kept && halved.contains(&which.track) {
                next_id += 1;
                next_id - 1
            } else {
                which.track
            };
            tracks.push(Track {
                id,
                person: people.get(&which.track).copied().unwrap_or(which.track),
                score: strand.score.clamp(0.0, 1.0),
                decision: if which.kept { Decision::Keep } else { Decision::Anonymise },
                why: self.why.filter(|_| which.kept).map(|why| words(why).to_owned()),
                spans,
            });
        }
        tracks
    }
}

const fn words(why: KeepReason) -> &'static str {
    match why {
        KeepReason::Recognised => "a photo shows this person",
        KeepReason::SomebodyElse => "no photo shows this person",
        KeepReason::CutList => "the cut list",
        KeepReason::TrackFile => "the track file",
        KeepReason::Hand => "somebody chose this track",
    }
}
