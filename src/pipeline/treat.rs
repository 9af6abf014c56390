//! Carries a plan out on pixels: every region ends in exactly one outcome, and whatever cannot be
//! treated is covered, at last with the whole frame.

use std::time::{Duration, Instant};

use nullface_kernels::cuda::Gpu;

use crate::backend::DeviceEvents;
use crate::frame::{FrameView, FrameViewMut, Landmarks5};
use crate::stages::align::MeshFitter;
use crate::stages::blend::{self, Cover, Masker, Shape};
use crate::stages::identify::{Embedding, Recogniser};

use super::analysis::LateLook;
use super::budget::{Budget, Ladder};
use super::engine::EngineError;
use super::generate::{Generator, Handover, Refusal, Replaced, Request, Tools};
use super::outcome::{CoverReason, FaceReport, FrameReport, Outcome, Rung};
use super::plan::{Plan, Region};
use super::settings::{Mode, OnFailure, Settings};
use super::surface::{Desk, Surface};
use super::turns::{Asking, Turns};

/// Frames for which a face is replaced once it is its turn, where there is not time for all: covers that
/// come and go with every frame would flicker.
const SHOWN_FRAMES: u32 = 25;

/// What a frame is treated with, beside the treater's own.
pub(super) struct Workbench<'a> {
    pub(super) settings: &'a Settings,
    pub(super) recogniser: &'a mut dyn Recogniser,
    pub(super) mesh: &'a mut dyn MeshFitter,
    /// The look that may be under way at this very frame; `None` while another frame is looked at.
    pub(super) look: Option<LateLook<'a>>,
    pub(super) ladder: &'a mut Ladder,
    pub(super) budget: Budget,
}

impl Mode {
    const fn cover(self) -> (Cover, Rung) {
        match self {
            Self::Blur => (Cover::Blur, Rung::Blur),
            Self::Pixelate => (Cover::Pixelate, Rung::Pixelate),
            Self::Solid => (Cover::Solid, Rung::Solid),
            // What cannot be replaced.
            Self::Nullface | Self::Reverse | Self::Id2face | Self::Ksame => (Cover::Blur, Rung::Blur),
        }
    }
}

/// Treats regions; keeps buffers from frame to frame.
#[derive(Debug)]
pub(super) struct Treater {
    masker: Masker,
    desk: Desk,
    generator: Option<Generator>,
    /// Who is told where a device is lost.
    events: DeviceEvents,
    /// Who is replaced where there is not time for all.
    shown: Turns,
}

impl Default for Treater {
    fn default() -> Self {
        Self {
            masker: Masker::default(),
            desk: Desk::default(),
            generator: None,
            events: DeviceEvents::default(),
            shown: Turns::of_frames(SHOWN_FRAMES),
        }
    }
}

impl Treater {
    /// From now on faces can be replaced.
    pub(super) fn set_generator(&mut self, generator: Generator) {
        let generator = self.generator.insert(generator);
        generator.set_device_events(self.events.clone());
    }

    /// From now on frames are treated on a device, where `open` gives one.
    pub(super) fn set_device(&mut self, open: impl FnMut() -> Option<Gpu> + Send + 'static) {
        self.desk.set_device(open);
    }

    /// From now on `events` is told where frames lose their device.
    pub(super) fn set_device_events(&mut self, events: DeviceEvents) {
        self.desk.set_events(events.clone());
        if let Some(generator) = &mut self.generator {
            generator.set_device_events(events.clone());
        }
        self.events = events;
    }

    /// Who replaces faces, where somebody does.
    pub(super) fn generator(&self) -> Option<&Generator> {
        self.generator.as_ref()
    }

    /// Persons are who they were when this was handed over.
    pub(super) fn take_over(&mut self, handover: &Handover) {
        if let Some(generator) = &mut self.generator {
            generator.take_over(handover);
        }
    }

    /// Whether faces can be replaced.
    pub(super) fn can_replace(&self) -> bool {
        self.generator.is_some()
    }

    /// Tells the generator of new settings.
    pub(super) fn configure(&mut self, settings: &Settings) -> Result<(), EngineError> {
        match &mut self.generator {
            Some(generator) if settings.mode.replaces() => generator.configure(settings),
            _ => Ok(()),
        }
    }

    /// Another film or place: nothing of the frames before is continued.
    pub(super) fn flush(&mut self) {
        self.shown.clear();
        if let Some(generator) = &mut self.generator {
            generator.flush();
        }
    }

    /// What finding out who people become took in this frame: no measure of what frames cost.
    fn auditioned(&self) -> Duration {
        self.generator.as_ref().map_or(Duration::ZERO, Generator::auditioned)
    }

    /// Treats a frame by its plan. Returns also how many tracks the look beside it started.
    pub(super) fn treat(&mut self, mut plan: Plan, frame: &mut FrameViewMut<'_>, bench: &mut Workbench<'_>) -> (FrameReport, usize) {
        let settings = bench.settings;
        for region in plan.regions.iter_mut().filter(|r| settings.cover_tracks.contains(&r.track)) {
            region.reason = CoverReason::Policy;
        }
        let mut report = FrameReport {
            pts: plan.at.pts,
            detected: plan.detected,
            faces: Vec::new(),
            withheld: plan.withheld,
            fault: plan.fault.clone(),
        };
        if plan.size_px != (frame.width(), frame.height()) {
            report.withheld = Some(CoverReason::NotAnalysed);
        } else if bench.budget.best == Rung::Frame {
            report.withheld.get_or_insert(CoverReason::Deadline);
        }
        if report.withheld.is_none() {
            let begun = Instant::now();
            self.regions(&mut plan, frame, bench, &mut report);
            let drew = report.faces.iter().any(|f| matches!(f.outcome, Outcome::Replaced { .. }));
            if let Some(pace) = bench.budget.pace.filter(|_| drew) {
                let auditioned = self.auditioned();
                bench.ladder.drawn(plan.took + begun.elapsed().saturating_sub(auditioned), pace);
            }
        }
        let started = if plan.beside {
            self.found_late(&plan, frame, bench, &mut report)
        } else {
            0
        };
        let fell_back = report
            .faces
            .iter()
            .any(|f| matches!(f.outcome, Outcome::Covered { reason, .. } if reason.is_failure()));
        if report.withheld.is_none() && fell_back && settings.on_failure == OnFailure::CoverFrame {
            report.withheld = Some(CoverReason::Policy);
        }
        if let Some(reason) = report.withheld {
            blend::apply_frame(frame, settings.fill_rgb);
            for face in &mut report.faces {
                face.outcome = Outcome::FrameWithheld { reason };
            }
        }
        (report, started)
    }

    /// Covers what the look beside the rendering found and no region covers. Returns how many tracks it started.
    fn found_late(&mut self, plan: &Plan, frame: &mut FrameViewMut<'_>, bench: &mut Workbench<'_>, report: &mut FrameReport) -> usize {
        let joined = match &mut bench.look {
            Some(look) => look.join(plan.id, &plan.regions, bench.settings),
            None => Err(EngineError::Stage {
                stage: "detect",
                why: "the look at this frame went on without it".to_owned(),
            }),
        };
        let (regions, started) = match joined {
            Ok(found) => found,
            Err(error) => {
                report.fault.get_or_insert(error.to_string());
                report.withheld.get_or_insert(CoverReason::DetectorFailed);
                return 0;
            }
        };
        if regions.is_empty() {
            return started;
        }
        // What was written since is not on the device.
        let mut surface = self.desk.surface(frame, None);
        let written = regions.iter().try_for_each(|region| {
            let covered = self.region(region, region.reason, &mut surface, bench)?;
            // The last word on a face counts: it was left as it is, or moved out of its region.
            report.faces.retain(|f| f.track != region.track);
            report.faces.push(covered);
            Ok(())
        });
        if let Err(fault) = self.desk.release(surface, written) {
            report.fault.get_or_insert(fault);
            report.withheld.get_or_insert(CoverReason::StageFailed);
        }
        started
    }

    /// Replaces what can be replaced, covers the rest, and proves the covers on what leaves.
    fn regions(&mut self, plan: &mut Plan, frame: &mut FrameViewMut<'_>, bench: &mut Workbench<'_>, report: &mut FrameReport) {
        let resident = plan.resident.take();
        let replaced = self.replace(plan, &frame.as_image().with_resident(resident.as_ref()), bench);
        let mut surface = self.desk.surface(frame, resident);
        let written = self.write(plan, &replaced, &mut surface, bench, report);
        let proven = match self.desk.release(surface, written) {
            Ok(()) => self.prove(plan, frame, bench, &mut report.faces),
            failed => failed,
        };
        if let Err(fault) = proven {
            report.fault.get_or_insert(fault);
            report.withheld = Some(CoverReason::StageFailed);
        }
    }

    /// Writes covers and new faces.
    fn write(
        &mut self,
        plan: &Plan,
        replaced: &[(Result<Replaced, Refusal>, Option<usize>)],
        surface: &mut Surface<'_, '_>,
        bench: &Workbench<'_>,
        report: &mut FrameReport,
    ) -> Result<(), String> {
        for (region, (verdict, _)) in plan.regions.iter().zip(replaced) {
            let face = match (region.kept(), verdict) {
                (Some((why, cos)), _) => FaceReport {
                    outcome: Outcome::Kept { why, cos },
                    ..unchecked(region)
                },
                (None, Ok(done)) => face(region, *done),
                (None, Err(refusal)) => {
                    if let Some(fault) = &refusal.fault {
                        report.fault.get_or_insert_with(|| fault.clone());
                    }
                    self.region(region, refusal.reason, surface, bench)?
                }
            };
            report.faces.push(face);
        }
        // Last, so that the cover of a second, larger region over the same head does not hide a new face.
        let Some(generator) = &mut self.generator else { return Ok(()) };
        let mut seats = replaced.iter().filter(|r| r.0.is_ok()).filter_map(|r| r.1);
        seats.try_for_each(|seat| generator.write(seat, surface))
    }

    /// A verdict for each region: the new face with its place in the generator, or why it must be covered.
    fn replace(
        &mut self,
        plan: &Plan,
        frame: &FrameView<'_>,
        bench: &mut Workbench<'_>,
    ) -> Vec<(Result<Replaced, Refusal>, Option<usize>)> {
        let spent = bench.budget.time.is_some_and(|t| t.is_zero());
        let refused = |reason| {
            let late = spent && reason == CoverReason::Asked;
            let reason = if late { CoverReason::Deadline } else { reason };
            (Err(Refusal { reason, fault: None }), None)
        };
        if !bench.settings.mode.replaces() {
            return plan.regions.iter().map(|r| refused(r.reason)).collect();
        }
        let is_asked = |r: &&Region| r.reason == CoverReason::Asked && r.kept().is_none() && r.replaceable.is_some();
        let asking: Vec<Asking> = plan.regions.iter().filter(is_asked).map(asking_of).collect();
        let started = Instant::now();
        let allowed = bench.ladder.start(bench.budget, asking.len());
        let mut chosen = Vec::new();
        self.shown.choose(&asking, allowed.faces, &mut chosen);
        let shown = plan.regions.iter().filter(is_asked).zip(&chosen).filter(|(_, chosen)| **chosen);
        let requests: Vec<Request<'_>> = shown
            .filter_map(|(r, _)| {
                r.replaceable.as_ref().map(|face| Request {
                    track: r.track,
                    area_px: r.box_px.area(),
                    face: face.as_ref(),
                })
            })
            .collect();
        let may_replace = allowed.rung <= Rung::Prior;
        if let Some(generator) = self.generator.as_mut().filter(|_| may_replace && !requests.is_empty()) {
            let mut tools = Tools {
                recogniser: bench.recogniser,
                mesh: bench.mesh,
                allowed,
            };
            generator.replace(&requests, plan.at.pts, frame, bench.settings.verify_threshold, &mut tools);
        }
        let mut seats = 0..requests.len();
        let mut chosen = chosen.into_iter();
        let generator = &mut self.generator;
        let verdicts: Vec<_> = plan
            .regions
            .iter()
            .map(|r| match (r.reason, &r.replaceable, generator.as_mut()) {
                // Never looked at: such a region is passed over before its verdict.
                _ if r.kept().is_some() => refused(r.reason),
                (CoverReason::Asked, Some(_), _) if !may_replace => refused(CoverReason::Deadline),
                (CoverReason::Asked, Some(_), Some(_)) if chosen.next() != Some(true) => refused(CoverReason::Deadline),
                (CoverReason::Asked, Some(_), Some(generator)) => match seats.next() {
                    Some(seat) => (generator.verdict(seat), Some(seat)),
                    None => refused(CoverReason::StageFailed),
                },
                (CoverReason::Asked, ..) if spent => refused(CoverReason::Deadline),
                (CoverReason::Asked, ..) => refused(CoverReason::NotReplaceable),
                (reason, ..) => refused(reason),
            })
            .collect();
        if allowed.is_timed() && may_replace {
            // A face that ended in a cover was at least as dear as the dearest.
            let reached = |v: &(Result<Replaced, Refusal>, Option<usize>)| v.0.as_ref().ok().map(|d| d.rung);
            let dearest = verdicts.iter().filter_map(reached).min().unwrap_or(allowed.rung);
            let is_unpainted = |v: &(Result<Replaced, Refusal>, Option<usize>)| {
                v.1.is_none() || v.0.as_ref().is_err_and(|r| r.reason == CoverReason::NotReplaceable)
            };
            let painted = verdicts.iter().filter(|v| !is_unpainted(v));
            let auditioned = self.auditioned();
            let took = started.elapsed().saturating_sub(auditioned);
            bench.ladder.learn(painted.map(|v| reached(v).unwrap_or(dearest)), took);
        }
        verdicts
    }

    fn region(
        &mut self,
        region: &Region,
        reason: CoverReason,
        surface: &mut Surface<'_, '_>,
        bench: &Workbench<'_>,
    ) -> Result<FaceReport, String> {
        let settings = bench.settings;
        let (how, rung) = match reason {
            CoverReason::Asked | CoverReason::Held | CoverReason::Lookahead | CoverReason::NotReplaceable => settings.mode.cover(),
            CoverReason::TooNear if settings.mode.replaces() => settings.mode.cover(),
            CoverReason::Deadline if bench.budget.time.is_none() && bench.budget.best < Rung::Solid => settings.mode.cover(),
            _ => (Cover::Solid, Rung::Solid),
        };
        self.cover(region, surface, settings, how)?;
        Ok(FaceReport {
            outcome: Outcome::Covered { reason, rung },
            ..unchecked(region)
        })
    }

    /// Measures the covers that are due against their sources, on the pixels that leave; whoever can still be
    /// told is filled.
    fn prove(
        &mut self,
        plan: &Plan,
        frame: &mut FrameViewMut<'_>,
        bench: &mut Workbench<'_>,
        faces: &mut [FaceReport],
    ) -> Result<(), String> {
        let limit = |r: &dyn Recogniser| bench.settings.verify_threshold.unwrap_or_else(|| r.same_person_cos());
        let limit = limit(bench.recogniser);
        for (region, face) in plan.regions.iter().zip(faces) {
            let covered = matches!(face.outcome, Outcome::Covered { rung, .. } if rung != Rung::Solid);
            let (Some(source), Some(landmarks), true) = (&region.check_against, region.landmarks, covered) else {
                continue;
            };
            let verdict = check(frame, landmarks, source, bench.recogniser);
            if let Ok(cos) = verdict
                && cos < limit
            {
                face.cos = Some(cos);
                continue;
            }
            self.cover(region, &mut Surface::on_processor(frame), bench.settings, Cover::Solid)?;
            let reason = if verdict.is_ok() {
                CoverReason::TooNear
            } else {
                CoverReason::StageFailed
            };
            face.outcome = Outcome::Covered { reason, rung: Rung::Solid };
        }
        Ok(())
    }

    fn cover(&mut self, region: &Region, surface: &mut Surface<'_, '_>, settings: &Settings, how: Cover) -> Result<(), String> {
        let shape = Shape {
            box_px: region.box_px,
            oval_px: &region.oval_px,
            roll_rad: region.roll_rad,
            scale: settings.mask_scale,
            feather: settings.feather,
        };
        let (width, height) = surface.size_px();
        match self.masker.mask(&shape, width, height) {
            Ok(Some(mask)) => surface.cover(mask, how, settings.fill_rgb),
            Ok(None) => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }
}

fn asking_of(region: &Region) -> Asking {
    Asking {
        track: region.track,
        area_px: region.box_px.area(),
    }
}

fn face(region: &Region, Replaced { cos, rung }: Replaced) -> FaceReport {
    FaceReport {
        outcome: Outcome::Replaced { cos, rung },
        cos: Some(cos),
        ..unchecked(region)
    }
}

/// A region's report before anything was done.
fn unchecked(region: &Region) -> FaceReport {
    FaceReport {
        track: region.track,
        box_px: region.box_px,
        outcome: Outcome::FrameWithheld {
            reason: CoverReason::NotAnalysed,
        },
        cos: None,
        choice: region.verdict.choice,
    }
}

/// Cosine of the treated face to its source; an answer that is no number counts as a failure.
fn check(frame: &FrameViewMut<'_>, landmarks: Landmarks5, source: &Embedding, recogniser: &mut dyn Recogniser) -> Result<f32, String> {
    let output = recogniser.embed(&frame.as_image(), &[landmarks]).map_err(|e| e.to_string())?;
    let cos = output
        .first()
        .and_then(|e| e.cos(source))
        .ok_or("verify: no embedding of the source's length")?;
    if cos.is_finite() {
        Ok(cos)
    } else {
        Err("verify: cosine is not a number".to_owned())
    }
}
