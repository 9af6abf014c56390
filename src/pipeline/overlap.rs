//! The two halves of an engine, and both at work at once.
//!
//! Looking reads one frame and what is known of the tracks; rendering writes another frame by a plan that is
//! complete. They share networks and settings, and nothing that either changes. So, where frames are held back
//! anyway, the frame that is due is rendered on one core while the newest is looked at on another: about as long as
//! the slower of the two instead of their sum. No clock is asked and nothing depends on who is faster: the result
//! is, bit for bit, that of rendering first and looking then.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::frame::{FrameTime, FrameView, FrameViewMut};
use crate::stages::blend;
use crate::stages::detect::Detection;

use super::analysis::{Analyst, LateLook};
use super::budget::{Budget, Ladder};
use super::engine::{Engine, EngineError, FrameId};
use super::follow::Follower;
use super::outcome::{CoverReason, FrameReport, Released};
use super::plan::Plan;
use super::reading::Reader;
use super::settings::Settings;
use super::shared::{SharedMesh, SharedRecogniser};
use super::treat::{Treater, Workbench};

/// A frame to be looked at: what [`Engine::analyse`] is told.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Its pixels.
    pub frame: &'a FrameView<'a>,
    /// When it is shown.
    pub at: FrameTime,
    /// Faces that somebody upstream found.
    pub hints: &'a [Detection],
}

/// A frame whose turn has come: what [`Engine::render_within`] is told.
#[derive(Debug)]
pub struct Due<'a, 'b> {
    /// From its analysis.
    pub id: FrameId,
    /// Its pixels.
    pub frame: &'a mut FrameViewMut<'b>,
    /// When it is shown.
    pub at: FrameTime,
    /// What it may cost.
    pub budget: Budget,
}

/// What makes plans.
pub(super) struct Looking<'a> {
    pub(super) analyst: &'a mut Analyst,
    pub(super) follower: &'a mut Option<Follower>,
    pub(super) recogniser: SharedRecogniser,
    pub(super) pending: &'a mut VecDeque<Plan>,
    pub(super) reader: &'a mut Reader,
    pub(super) settings: &'a Settings,
}

impl Looking<'_> {
    /// Fills the plan of a frame. Returns how many tracks it started, and the fault for which the frame is covered.
    pub(super) fn look(
        mut self,
        frame: &FrameView<'_>,
        at: FrameTime,
        hints: &[Detection],
        plan: &mut Plan,
    ) -> (usize, Option<EngineError>) {
        let begun = Instant::now();
        let resident = self.reader.begin(frame.info());
        let view = frame.clone().with_resident(resident.as_ref());
        let frame = &view;
        let looked = catch_unwind(AssertUnwindSafe(|| match &mut self.follower {
            Some(follower) => {
                let (mesh, cuts) = self.analyst.mesh_and_cuts();
                follower.look(frame, at, self.settings, cuts, (mesh, &mut self.recogniser), plan)
            }
            None => self
                .analyst
                .look(frame, at, hints, self.settings, &mut self.recogniser, plan, self.pending),
        }));
        let looked = looked.unwrap_or_else(|_| {
            self.analyst.flush();
            Err(panicked())
        });
        plan.resident = self.reader.end(resident.clone());
        plan.took = begun.elapsed();
        match looked {
            Ok(started) => (started, None),
            Err(error) => {
                plan.withheld = Some(CoverReason::DetectorFailed);
                plan.note(error.to_string());
                (0, Some(error))
            }
        }
    }
}

/// What became of a frame.
pub(super) struct Rendered {
    pub(super) report: FrameReport,
    /// Tracks that a look beside the rendering started.
    pub(super) started: usize,
    /// Looking and rendering.
    pub(super) took: Duration,
}

/// What carries plans out.
pub(super) struct Rendering<'a> {
    pub(super) treater: &'a mut Treater,
    pub(super) ladder: &'a mut Ladder,
    pub(super) mesh: SharedMesh,
    pub(super) recogniser: SharedRecogniser,
    pub(super) look: Option<LateLook<'a>>,
    pub(super) settings: &'a Settings,
}

impl Rendering<'_> {
    /// Treats a frame by its plan; without one it is covered whole.
    pub(super) fn render(mut self, plan: Option<Plan>, frame: &mut FrameViewMut<'_>, at: FrameTime, budget: Budget) -> Rendered {
        let begun = Instant::now();
        let looked = plan.as_ref().map_or(Duration::ZERO, |p| p.took);
        let treated = match plan {
            None => Err((CoverReason::NotAnalysed, "the frame was never analysed")),
            Some(plan) => {
                let mut bench = Workbench {
                    settings: self.settings,
                    recogniser: &mut self.recogniser,
                    mesh: &mut self.mesh,
                    look: self.look,
                    ladder: self.ladder,
                    budget,
                };
                let treat = AssertUnwindSafe(|| self.treater.treat(plan, frame, &mut bench));
                catch_unwind(treat).map_err(|_| (CoverReason::StageFailed, "a stage panicked"))
            }
        };
        let (report, started) = treated.unwrap_or_else(|(reason, fault)| {
            blend::apply_frame(frame, self.settings.fill_rgb);
            let report = FrameReport {
                pts: at.pts,
                detected: false,
                faces: Vec::new(),
                withheld: Some(reason),
                fault: Some(fault.to_owned()),
            };
            (report, 0)
        });
        Rendered {
            report,
            started,
            took: looked + begun.elapsed(),
        }
    }
}

impl Engine {
    /// [`Self::render_within`] for the frame that is due and [`Self::analyse`] for a later one, at the same time where
    /// there are cores for it. The result is that of one after the other. A frame that is due is shown what was
    /// known before the later one was looked at: whoever wants it covered by what `n` later frames reveal holds one more.
    pub fn overlap(&mut self, due: Due<'_, '_>, look: Look<'_>) -> (Released, (FrameId, Option<EngineError>)) {
        // A look that is under way belongs to the frame that is due.
        let beside = self.pending.iter().any(|p| p.id == due.id && p.beside);
        let ahead = if beside { None } else { self.ahead.take() };
        let Some(ahead) = ahead else {
            let released = self.render_within(due.id, due.frame, due.at, due.budget);
            return (released, self.analyse(look.frame, look.at, look.hints));
        };
        self.begin_to_show();
        let plan = self.take_plan(due.id);
        let mut next = self.new_plan(look.at, look.frame);
        let (looking, rendering) = self.halves();
        let mut looked = None;
        let rendered = ahead.in_place_scope(|scope| {
            let looked = &mut looked;
            scope.spawn(|_| *looked = Some(looking.look(look.frame, look.at, look.hints, &mut next)));
            rendering.render(plan, due.frame, due.at, due.budget)
        });
        self.ahead = Some(ahead);
        let released = self.let_go(rendered);
        let (started, fault) = looked.unwrap_or_else(|| {
            next.withheld = Some(CoverReason::DetectorFailed);
            (0, Some(panicked()))
        });
        (released, (self.take_in(next, started), fault))
    }
}

fn panicked() -> EngineError {
    EngineError::Stage {
        stage: "analysis",
        why: "a stage panicked".to_owned(),
    }
}

/// The thread that looks ahead, kept from frame to frame; `None` where nothing is held back, or there is no core or
/// no thread for it. Work that
/// it would share with others it does alone: the others have a frame to render.
pub(super) fn thread_ahead(lookahead: usize, two_cores: bool) -> Option<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "nullface-ahead".to_owned());
    let wanted = lookahead > 0 && two_cores;
    wanted.then(|| pool.build().ok()).flatten()
}
