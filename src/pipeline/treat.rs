//! Carries a plan out on pixels: every region ends in exactly one outcome, and whatever cannot be
//! treated is covered, at last with the whole frame.

use crate::frame::{FrameView, FrameViewMut, Landmarks5, Pts};
use crate::stages::blend::{self, Cover, Masker, Shape};
use crate::stages::identify::{Embedding, Recogniser};

use super::engine::EngineError;
use super::generate::{Generator, Ready, Refusal, Replaced};
use super::outcome::{CoverReason, FaceReport, FrameReport, Outcome, Rung};
use super::plan::{Plan, Region};
use super::settings::{Mode, OnFailure, Settings};

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
#[derive(Debug, Default)]
pub(super) struct Treater {
    masker: Masker,
    generator: Option<Generator>,
}

impl Treater {
    /// From now on faces can be replaced.
    pub(super) fn set_generator(&mut self, generator: Generator) {
        self.generator = Some(generator);
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
        if let Some(generator) = &mut self.generator {
            generator.flush();
        }
    }

    /// Treats a frame by its plan.
    pub(super) fn treat(
        &mut self,
        plan: Plan,
        frame: &mut FrameViewMut<'_>,
        settings: &Settings,
        recogniser: &mut dyn Recogniser,
    ) -> FrameReport {
        let mut report = FrameReport {
            pts: plan.at.pts,
            detected: plan.detected,
            faces: Vec::new(),
            withheld: plan.withheld,
            fault: plan.fault,
        };
        if plan.size_px != (frame.width(), frame.height()) {
            report.withheld = Some(CoverReason::NotAnalysed);
        }
        if report.withheld.is_none() {
            let mut made = Vec::with_capacity(plan.regions.len());
            for region in &plan.regions {
                made.push(self.make(region, plan.at.pts, &frame.as_image(), settings, recogniser));
            }
            for (region, made) in plan.regions.iter().zip(&made) {
                let treated = match made {
                    Ok(ready) => Ok(replaced(region, ready)),
                    Err(refusal) => {
                        if let Some(fault) = &refusal.fault {
                            report.fault.get_or_insert_with(|| fault.clone());
                        }
                        self.region(region, refusal.reason, frame, settings, recogniser)
                    }
                };
                match treated {
                    Ok(face) => report.faces.push(face),
                    Err(fault) => {
                        report.fault.get_or_insert(fault);
                        report.withheld = Some(CoverReason::StageFailed);
                        break;
                    }
                }
            }
            for ready in made.iter().flatten() {
                if let Err(fault) = ready.write(frame) {
                    report.fault.get_or_insert(fault);
                    report.withheld = Some(CoverReason::StageFailed);
                }
            }
        }
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
        report
    }

    /// The new face, or why the region must be covered.
    fn make(
        &mut self,
        region: &Region,
        at: Pts,
        frame: &FrameView<'_>,
        settings: &Settings,
        recogniser: &mut dyn Recogniser,
    ) -> Result<Ready, Refusal> {
        let refuse = |reason| Err(Refusal { reason, fault: None });
        if !settings.mode.replaces() || region.reason != CoverReason::Asked {
            return refuse(region.reason);
        }
        match (&mut self.generator, &region.replaceable) {
            (Some(generator), Some(face)) => generator.replace(region.track, at, face, frame, settings, recogniser),
            _ => refuse(CoverReason::NotReplaceable),
        }
    }

    fn region(
        &mut self,
        region: &Region,
        reason: CoverReason,
        frame: &mut FrameViewMut<'_>,
        settings: &Settings,
        recogniser: &mut dyn Recogniser,
    ) -> Result<FaceReport, String> {
        let (how, rung) = match reason {
            CoverReason::Asked | CoverReason::Held | CoverReason::Lookahead | CoverReason::NotReplaceable | CoverReason::Policy => {
                settings.mode.cover()
            }
            CoverReason::TooNear if settings.mode.replaces() => settings.mode.cover(),
            _ => (Cover::Solid, Rung::Solid),
        };
        self.cover(region, frame, settings, how)?;
        let mut face = FaceReport {
            track: region.track,
            box_px: region.box_px,
            outcome: Outcome::Covered { reason, rung },
            cos: None,
        };
        if let (Some(source), Some(landmarks), false) = (&region.check_against, region.landmarks, rung == Rung::Solid) {
            let limit = settings.verify_threshold.unwrap_or_else(|| recogniser.same_person_cos());
            match check(frame, landmarks, source, recogniser) {
                Ok(cos) if cos < limit => face.cos = Some(cos),
                verdict => {
                    self.cover(region, frame, settings, Cover::Solid)?;
                    let reason = if verdict.is_ok() {
                        CoverReason::TooNear
                    } else {
                        CoverReason::StageFailed
                    };
                    face.outcome = Outcome::Covered { reason, rung: Rung::Solid };
                }
            }
        }
        Ok(face)
    }

    fn cover(&mut self, region: &Region, frame: &mut FrameViewMut<'_>, settings: &Settings, how: Cover) -> Result<(), String> {
        let shape = Shape {
            box_px: region.box_px,
            oval_px: &region.oval_px,
            roll_rad: region.roll_rad,
            scale: settings.mask_scale,
            feather: settings.feather,
        };
        let (width, height) = (frame.width(), frame.height());
        match self.masker.mask(&shape, width, height) {
            Ok(Some(mask)) => blend::apply(frame, mask, how, settings.fill_rgb).map_err(|e| e.to_string()),
            Ok(None) => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }
}

fn replaced(region: &Region, ready: &Ready) -> FaceReport {
    let Replaced { cos, rung } = ready.replaced;
    FaceReport {
        track: region.track,
        box_px: region.box_px,
        outcome: Outcome::Replaced { cos, rung },
        cos: Some(cos),
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
