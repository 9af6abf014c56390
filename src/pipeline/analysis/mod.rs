//! Steps 1 to 6 of a frame's flow: what must be treated, found without touching a pixel.

mod late;
mod people;
mod places;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use nullface_kernels::luma;

use crate::frame::{BoxPx, FrameTime, FrameView, Mesh, Pts};
use crate::stages::align::{FaceHint, MeshFitter};
use crate::stages::detect::{Detection, Detector, Effort, SURE_ALONE, same_face};
use crate::stages::identify::Recogniser;
use crate::stages::track::{
    BackfillConfig, CUT_THUMB_HEIGHT, CUT_THUMB_WIDTH, FirstSeen, Observation, ObservationSource, SceneCut, Track, TrackId, Tracker,
    TrackerConfig, Why, backfill,
};

use super::beside::{Looker, Seen};
use super::engine::{EngineError, FrameId};
use super::outcome::CoverReason;
use super::plan::{Plan, Region};
use super::schedule::{InParts, Schedule, Situation, Turn};
use super::settings::{EngineConfig, Settings};
use super::shared::SharedMesh;
use super::shares::Shares;
use super::turns::{Asking, Turns};
use super::who::{Chooser, CutList, Verdict, Who};
use people::doubt_crossings;
use places::Places;

pub(in crate::pipeline) use late::LateLook;

/// Meshes fitted in one frame; faces without are covered by their boxes.
const MAX_MESHES: usize = 8;
/// Of these, how many the largest faces have always; the others have them in turns.
const LARGEST_FIRST: usize = 4;
/// Frames of such a turn: a face whose cover came and went with every frame would flicker.
const MESH_FRAMES: u32 = 25;
/// Share of the user's threshold down to which detections may extend tracks.
const LOW_SHARE: f32 = 0.5;

/// Share of a box in a region from which it is that region's face.
const CLAIMED_SHARE: f32 = 0.5;
/// Share of a box inside a region from which it is covered by it.
const COVERED_SHARE: f32 = 0.8;

/// How much of a track's surroundings is looked at where it is unsure, as a multiple of its region.
const SURROUNDINGS: f32 = 1.5;

/// Longest time between frames at which a look goes by what the frame before left in doubt.
const EARLY_PACE: Duration = Duration::from_millis(70);

/// A look that goes on while its frame is rendered.
struct UnderWay {
    frame: FrameId,
    at: Pts,
    size_px: (u32, u32),
    turn: Turn,
    /// What upstream found in the same frame.
    hints: Vec<Observation>,
}

/// Runs the reading stages and remembers what they need from frame to frame.
pub(super) struct Analyst {
    looker: Looker,
    under_way: Option<UnderWay>,
    /// Whether there is a core for looks beside the rendering.
    two_cores: bool,
    mesh: SharedMesh,
    tracker: Tracker,
    cut: SceneCut,
    schedule: Schedule,
    shares: Shares,
    /// Boxes that may be faces, taken by no track.
    suspected: Places,
    /// Time between frames, where their delay counts.
    pace: Option<Duration>,
    lookahead: usize,
    fresh: bool,
    gap: bool,
    /// Whether the last meshes could not be fitted.
    mesh_failed: bool,
    thumb: Vec<u8>,
    checked: HashMap<u64, Pts>,
    /// Boxes of glances that a regular look did not confirm.
    dismissed: Places,
    chooser: Chooser,
    cuts: Option<CutList>,
    meshed: Turns,
}

impl Analyst {
    pub(super) fn new(
        detector: Box<dyn Detector>,
        mesh: SharedMesh,
        config: &EngineConfig,
        settings: &Settings,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            looker: Looker::new(detector),
            under_way: None,
            two_cores: config.has_two_cores(),
            mesh,
            tracker: Tracker::new(tracker_config(settings)).map_err(stage("track"))?,
            cut: SceneCut::default(),
            schedule: Schedule::default(),
            shares: Shares::default(),
            suspected: Places::default(),
            pace: None,
            lookahead: config.lookahead,
            fresh: true,
            gap: false,
            mesh_failed: false,
            thumb: vec![0; CUT_THUMB_WIDTH * CUT_THUMB_HEIGHT],
            checked: HashMap::new(),
            dismissed: Places::default(),
            chooser: Chooser::default(),
            cuts: config.cut_list.as_deref().map(CutList::read).transpose()?,
            meshed: Turns::of_frames(MESH_FRAMES),
        })
    }

    /// Tracks of the present frame.
    pub(super) fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// The mesh network and the cut list, for plans that are made from a track file.
    pub(super) fn mesh_and_cuts(&mut self) -> (&mut dyn MeshFitter, Option<&CutList>) {
        (&mut self.mesh, self.cuts.as_ref())
    }

    /// The look that may be under way.
    pub(super) fn late_look(&mut self) -> LateLook<'_> {
        LateLook {
            looker: &mut self.looker,
            under_way: &mut self.under_way,
            tracker: &mut self.tracker,
            schedule: &mut self.schedule,
            shares: &mut self.shares,
            suspected: &mut self.suspected,
            chooser: &mut self.chooser,
        }
    }

    pub(super) fn configure(&mut self, settings: &Settings) -> Result<(), EngineError> {
        self.looker.detector()?.set_min_face_px(settings.min_face_px);
        self.tracker.configure(tracker_config(settings)).map_err(stage("track"))
    }

    /// Takes over whom to anonymise; nothing known of anybody is carried over.
    pub(super) fn choose(&mut self, who: &Who, recogniser: &mut dyn Recogniser) -> Result<(), EngineError> {
        self.chooser = Chooser::open(who, self.looker.detector()?, &mut self.mesh, recogniser)?;
        Ok(())
    }

    /// Takes over which tracks somebody chose to leave as they are.
    pub(super) fn keep(&mut self, tracks: &[u64], recogniser: &dyn Recogniser) {
        self.chooser.keep(tracks, recogniser.same_person_cos());
    }

    /// So many frames are held back from now on.
    pub(super) fn set_lookahead(&mut self, frames: usize) {
        self.lookahead = frames;
    }

    /// Puts another detector in place; it looks at the next frame as at the first one.
    pub(super) fn set_detector(&mut self, mut detector: Box<dyn Detector>, settings: &Settings) {
        detector.set_min_face_px(settings.min_face_px);
        self.looker.replace(detector);
        self.fresh = true;
    }

    /// Forgets tracks: another film, another place, another size.
    pub(super) fn flush(&mut self) {
        self.under_way = None;
        self.tracker.flush();
        self.cut = SceneCut::default();
        self.checked.clear();
        self.dismissed.forget();
        self.suspected.forget();
        self.meshed.clear();
        (self.fresh, self.mesh_failed) = (true, false);
    }

    /// Frames are missing: look at the next one.
    pub(super) fn gap(&mut self) {
        self.gap = true;
    }

    /// Fills the plan of a frame, and adds what it reveals to the plans before it. Returns the number
    /// of tracks started.
    #[allow(clippy::too_many_arguments)] // the parts of one engine, borrowed side by side
    pub(super) fn look(
        &mut self,
        frame: &FrameView<'_>,
        at: FrameTime,
        hints: &[Detection],
        settings: &Settings,
        recogniser: &mut dyn Recogniser,
        plan: &mut Plan,
        pending: &mut VecDeque<Plan>,
    ) -> Result<usize, EngineError> {
        self.catch_up(settings)?;
        let cut = self.scene_cut(frame)?;
        plan.cut = cut;
        if cut {
            self.tracker.scene_cut(at.pts);
            self.dismissed.forget();
            self.suspected.forget();
        }
        self.tracker.predict(at.pts);
        let mut meshes = HashMap::new();
        let tracked = self.in_turns();
        // Where every millisecond counts, the look begins before meshes are fitted: by what the frame before left in doubt.
        let early = self.may_look_early();
        if !early {
            self.mesh_failed = self.refine(frame, &tracked, &mut meshes, plan);
        }

        let beside = early || self.may_look_beside(settings, &meshes);
        let doubt = self.tracker.needs_detection(at.pts);
        // One look around one face says nothing of another; parts in turn come to all of them.
        let alone = beside || self.tracker.unsure(at.pts) <= 1;
        let around = doubt.filter(|_| alone).and_then(|why| self.surroundings(why, plan.size_px));
        let situation = Situation {
            at: at.pts,
            fresh: self.fresh || cut,
            // Parts in turn ask no more of frames that are lost than of frames that come.
            unsure: (self.gap && !beside) || self.mesh_failed || (doubt.is_some() && around.is_none()),
            around,
            lookahead: self.lookahead,
            fixed_interval: settings.detect_interval,
            parts: beside.then(|| self.in_parts()),
        };
        let turn = self.schedule.look(situation);
        let (mut effort, aside) = match turn {
            Turn::Whole(effort) => (effort, beside && effort != Effort::Glance && !situation.fresh),
            Turn::Part(_) => (Effort::Glance, true),
            Turn::Around(_) => (Effort::Glance, beside),
        };
        let mut started = Vec::new();
        // A part is looked at beside a glance, a whole frame instead of one.
        let mut glanced = Vec::new();
        let mut more = false;
        if effort == Effort::Glance {
            glanced = self.detect(frame, settings, effort)?;
            more = self.glance_found_more(&glanced, at.pts, settings);
        }
        let aside = aside && !more;
        if aside {
            self.looker.send(frame, settings.threshold * LOW_SHARE, turn)?;
            self.under_way = Some(UnderWay {
                frame: plan.id,
                at: at.pts,
                size_px: plan.size_px,
                turn,
                hints: hints.iter().map(|d| observation(d, ObservationSource::Upstream)).collect(),
            });
            (plan.beside, plan.detected) = (true, true);
        }
        if early {
            self.mesh_failed = self.refine(frame, &tracked, &mut meshes, plan);
        }
        if !aside {
            let mut seen = match effort {
                Effort::Glance => glanced,
                _ => self.detect(frame, settings, effort)?,
            };
            if more {
                effort = Effort::Regular;
                seen = self.second_look(frame, at.pts, settings, seen)?;
            }
            let mut part = None;
            if let (Turn::Around(_), false) = (turn, more) {
                let around = self.around(frame, settings, turn)?;
                (seen, part) = (around.found, around.part);
            }
            plan.detected = effort != Effort::Glance || matches!(turn, Turn::Around(_));
            if plan.detected {
                let observed = seen.iter().map(|d| observation(d, ObservationSource::Detector));
                let upstream = hints.iter().map(|d| observation(d, ObservationSource::Upstream));
                let observed: Vec<Observation> = observed.chain(upstream).collect();
                started = self.late_look().learn(at.pts, plan.size_px, part.as_ref(), &observed)?;
                let mut new = self.hints(|t| started.contains(&t.id));
                new.truncate(MAX_MESHES);
                self.refine(frame, &new, &mut meshes, plan);
            }
            plan.unclaimed = self.unclaimed(&seen);
        }
        (self.fresh, self.gap) = (false, false);
        doubt_crossings(&self.tracker, &mut self.chooser);
        // Once a round of parts is as often as with whole looks.
        let first_part = matches!(turn, Turn::Part(part) if part.index == 0);
        let effort = if first_part { effort.max(Effort::Regular) } else { effort };
        self.identify(frame, effort, at.pts, settings.mode.replaces(), recogniser, plan, &meshes);
        self.decide(at, settings, plan, pending);
        for track in self.tracker.tracks().iter().filter(|t| started.contains(&t.id)) {
            extend_backwards(track, pending, frame);
        }
        Ok(started.len())
    }

    fn scene_cut(&mut self, frame: &FrameView<'_>) -> Result<bool, EngineError> {
        luma::thumbnail(frame, CUT_THUMB_WIDTH, CUT_THUMB_HEIGHT, &mut self.thumb).map_err(stage("cut"))?;
        let mut histogram = [0; 64];
        luma::histogram(frame, &mut histogram);
        Ok(self.cut.push(&self.thumb, &histogram))
    }

    fn detect(&mut self, frame: &FrameView<'_>, settings: &Settings, effort: Effort) -> Result<Vec<Detection>, EngineError> {
        let low = settings.threshold * LOW_SHARE;
        let mut seen = self.looker.detector()?.detect(frame, low, effort).map_err(stage("detect"))?;
        seen.retain(|d| is_wanted(d, settings));
        Ok(seen)
    }

    /// A look at the surroundings of a track that is unsure; everywhere, where their edge cuts a face that nobody knows.
    fn around(&mut self, frame: &FrameView<'_>, settings: &Settings, turn: Turn) -> Result<Seen, EngineError> {
        let low = settings.threshold * LOW_SHARE;
        let mut seen = self.looker.look(frame, low, turn)?;
        if self.late_look().is_news(&seen.cut, settings) {
            seen = self.looker.look(frame, low, Turn::Whole(Effort::Regular))?;
        }
        seen.found.retain(|d| is_wanted(d, settings));
        Ok(seen)
    }

    /// Whether a look may go on while the frame is rendered: where there are faces to be made meanwhile and
    /// nobody is left as they are, whose case the look may change.
    fn may_look_beside(&self, settings: &Settings, meshes: &HashMap<TrackId, Mesh>) -> bool {
        let all_are_anonymised = !self.chooser.is_active() && self.cuts.is_none();
        self.two_cores && self.lookahead == 0 && settings.mode.replaces() && all_are_anonymised && !meshes.is_empty()
    }

    /// Whether a look may go on while meshes are fitted too: where frames come at a pace, whatever becomes of faces and
    /// whether there are any. A whole look at once would make that frame late.
    fn may_look_early(&self) -> bool {
        let fast = self.pace.is_some_and(|pace| pace <= EARLY_PACE);
        fast && self.two_cores && self.lookahead == 0 && self.cuts.is_none()
    }

    /// In how many parts looks beside the rendering go over the frame. Without a pace no clock decides.
    fn in_parts(&self) -> InParts {
        self.pace.map_or(
            InParts {
                regular: 2,
                thorough: None,
            },
            |pace| InParts {
                regular: self.shares.of(Effort::Regular, pace),
                thorough: Some(self.shares.of(Effort::Thorough, pace)),
            },
        )
    }

    /// Where to look because of a doubt; none = everywhere.
    fn surroundings(&self, why: Why, (width, height): (u32, u32)) -> Option<BoxPx> {
        let region = |id: TrackId| self.tracker.track(id).map(|t| t.region_px.scaled(SURROUNDINGS));
        let region = match why {
            Why::FirstLook | Why::Gap | Why::Overflow => None,
            Why::FaceLost(id) | Why::Held(id) | Why::Predicted(id) | Why::Fast(id) | Why::Border(id) => region(id),
            Why::Crossing(a, b) => Some(region(a)?.hull(&region(b)?)),
        }?;
        Some(region.clipped(width, height)).filter(BoxPx::is_valid)
    }

    /// Frames come at this pace from now on; none = their delay does not count.
    pub(super) fn set_pace(&mut self, pace: Option<Duration>) {
        self.pace = pace;
    }

    /// Takes a look whose frame was never rendered for what it was: one at an earlier frame.
    fn catch_up(&mut self, settings: &Settings) -> Result<(), EngineError> {
        let Some(frame) = self.under_way.as_ref().map(|u| u.frame) else {
            return Ok(());
        };
        self.late_look().join(frame, &[], settings).map(|_| ())
    }

    /// Whether a glance shows a face where no track is, and where none was denied just now.
    fn glance_found_more(&mut self, seen: &[Detection], at: Pts, settings: &Settings) -> bool {
        self.dismissed.age(at);
        seen.iter().filter(|d| d.score >= settings.threshold).any(|d| {
            let denied = d.score < SURE_ALONE && self.dismissed.know(&d.box_px);
            let tracked = self
                .tracker
                .tracks()
                .iter()
                .any(|t| d.box_px.share_inside(&t.region_px) > COVERED_SHARE || d.box_px.iou(&t.box_px) > 0.3);
            !denied && !tracked
        })
    }

    /// What was seen, surely or not, where no region is: who knows the whole film may find a face in it.
    fn unclaimed(&self, seen: &[Detection]) -> Vec<(BoxPx, f32)> {
        let claimed = |d: &Detection| {
            let tracks = self.tracker.tracks().iter();
            tracks
                .map(|t| d.box_px.share_inside(&t.region_px))
                .any(|share| share >= CLAIMED_SHARE)
        };
        seen.iter().filter(|d| !claimed(d)).map(|d| (d.box_px, d.score)).collect()
    }

    /// A regular look because of a glance; a glance errs more often, so what it alone saw counts where it is sure.
    fn second_look(
        &mut self,
        frame: &FrameView<'_>,
        at: Pts,
        settings: &Settings,
        mut glanced: Vec<Detection>,
    ) -> Result<Vec<Detection>, EngineError> {
        let regular = self.detect(frame, settings, Effort::Regular)?;
        glanced.retain(|s| !regular.iter().any(|r| same_face(&r.box_px, &s.box_px)));
        let denied = glanced.iter().filter(|s| s.score < SURE_ALONE).map(|s| s.box_px);
        let denied: Vec<BoxPx> = denied.collect();
        self.dismissed.note(&denied, at);
        glanced.retain(|s| s.score >= SURE_ALONE);
        glanced.extend(regular);
        Ok(glanced)
    }

    /// Where to fit meshes: visible faces that are wanted, the largest first.
    fn hints(&self, wanted: impl Fn(&Track) -> bool) -> Vec<(TrackId, FaceHint)> {
        let mut visible: Vec<&Track> = self.tracker.tracks().iter().filter(|t| wanted(t)).collect();
        visible.sort_by(|a, b| b.box_px.area().total_cmp(&a.box_px.area()));
        let hint = |t: &Track| FaceHint {
            box_px: t.box_px,
            roll_rad: t.roll_rad,
            landmarks: t.landmarks,
        };
        visible.iter().map(|t| (t.id, hint(t))).collect()
    }

    /// Where to fit meshes in a frame: the largest faces, and of the others whose turn it is.
    fn in_turns(&mut self) -> Vec<(TrackId, FaceHint)> {
        let mut hints = self.hints(|_| true);
        if hints.len() > MAX_MESHES {
            let others = hints.split_off(LARGEST_FIRST);
            let asking = others.iter().map(|(id, hint)| Asking {
                track: id.0,
                area_px: hint.box_px.area(),
            });
            let asking: Vec<Asking> = asking.collect();
            let mut chosen = Vec::new();
            self.meshed.choose(&asking, MAX_MESHES - LARGEST_FIRST, &mut chosen);
            hints.extend(others.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(hint, _)| hint));
        }
        hints
    }

    /// Fits meshes and refines their tracks. A failure is noted and answered by a detection.
    fn refine(
        &mut self,
        frame: &FrameView<'_>,
        faces: &[(TrackId, FaceHint)],
        meshes: &mut HashMap<TrackId, Mesh>,
        plan: &mut Plan,
    ) -> bool {
        if faces.is_empty() {
            return false;
        }
        let hints: Vec<FaceHint> = faces.iter().map(|f| f.1).collect();
        let fitted = match self.mesh.fit(frame, &hints) {
            Ok(fitted) if fitted.len() == hints.len() => fitted,
            Ok(fitted) => {
                plan.note(format!("face mesh: expected {} meshes, got {}", hints.len(), fitted.len()));
                return true;
            }
            Err(error) => {
                plan.note(error.to_string());
                return true;
            }
        };
        for ((id, _), mesh) in faces.iter().zip(fitted) {
            // A mesh that the tracker refuses leaves the track to its own prediction, which is covered as well.
            let Some(box_px) = mesh.bounding_box_px() else {
                continue;
            };
            let taken = self.tracker.refine(*id, box_px, mesh.landmarks5(), mesh.face_prob).is_ok();
            if taken && mesh.face_prob >= self.tracker.config().face_prob {
                meshes.insert(*id, mesh);
            }
        }
        false
    }
}

/// Adds a face that begins here to the frames before it that have not left yet.
fn extend_backwards(track: &Track, pending: &mut VecDeque<Plan>, frame: &FrameView<'_>) {
    let times: Vec<Pts> = pending.iter().map(|p| p.at.pts).collect();
    let first = FirstSeen::of(track);
    let boxes: Vec<BoxPx> = backfill(&first, &times, &BackfillConfig::default());
    for (plan, box_px) in pending.iter_mut().zip(boxes) {
        if plan.size_px == (frame.width(), frame.height()) {
            plan.extend_backwards(Region {
                box_px,
                ..as_found(track, CoverReason::Lookahead)
            });
        }
    }
}

/// The region of a track of which no more is known than where it is.
fn as_found(track: &Track, reason: CoverReason) -> Region {
    Region {
        track: track.id.0,
        box_px: track.region_px,
        oval_px: Vec::new(),
        landmarks: None,
        seen: false,
        roll_rad: track.roll_rad,
        reason,
        check_against: None,
        verdict: Verdict::ANONYMISE,
        replaceable: None,
    }
}

/// Whether a finding is large enough.
fn is_wanted(d: &Detection, settings: &Settings) -> bool {
    d.box_px.side() >= settings.min_face_px as f32 * 0.75
}

fn observation(d: &Detection, source: ObservationSource) -> Observation {
    Observation {
        box_px: d.box_px,
        score: d.score,
        landmarks: d.landmarks,
        source,
        embedding: None,
    }
}

fn tracker_config(settings: &Settings) -> TrackerConfig {
    TrackerConfig {
        high: settings.threshold,
        low: settings.threshold * LOW_SHARE,
        hold: settings.hold,
        ..TrackerConfig::default()
    }
}

fn stage<E: std::fmt::Display>(stage: &'static str) -> impl FnOnce(E) -> EngineError {
    move |error| EngineError::Stage {
        stage,
        why: error.to_string(),
    }
}
