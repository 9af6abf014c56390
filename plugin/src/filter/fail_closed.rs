//! What may go wrong, and what then becomes of the frame. The one place that decides.
//!
//! | what happened | cover | cover-frame | drop | error |
//! |---|---|---|---|---|
//! | all faces treated as asked | frame | frame | frame | frame |
//! | a face covered that was to be treated otherwise | frame | opaque | nothing | error |
//! | engine withheld the frame | opaque | opaque | nothing | error |
//! | no engine, no answer in time, no time at all, a panic, no mapping | opaque | opaque | nothing | error |
//!
//! A frame is let go only with a [`Released`] of the engine or after the element filled it itself.

use nullface::pipeline::{CoverReason, EngineError, FrameReport, OnFailure, Outcome, Released};

use super::formats::Negotiated;
use super::frames;

/// Why a frame has no [`Released`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The buffer's memory cannot be used.
    #[error("frame memory: {why}")]
    Map {
        /// Cause.
        why: String,
    },
    /// The engine did not answer in time.
    #[error("the engine did not finish within processing-deadline")]
    Deadline,
    /// The stream is behind, and not even looking for faces is affordable.
    #[error("the machine does not keep up; this frame was not looked at")]
    Shed,
    /// A stage panicked. Its words are not repeated here: they may quote data of the picture.
    #[error("a stage of the engine panicked; the engine is opened anew")]
    Panicked,
    /// The engine that analysed the frame is gone.
    #[error("the engine that had analysed this frame was lost")]
    Orphaned,
    /// There is no engine any more.
    #[error("no engine: {why}")]
    Lost {
        /// Cause.
        why: String,
    },
    /// The engine refused a change of settings and goes on with the old ones.
    #[error("settings refused: {why}")]
    Settings {
        /// Cause.
        why: String,
    },
    /// The element is being flushed or stopped; nothing leaves.
    #[error("interrupted by a flush or a stop")]
    Interrupted,
}

impl Fault {
    /// The library's word for it, for reports.
    pub(super) fn reason(&self) -> CoverReason {
        match self {
            Self::Deadline | Self::Shed => CoverReason::Deadline,
            Self::Map { .. } | Self::Lost { .. } | Self::Orphaned | Self::Settings { .. } | Self::Interrupted => CoverReason::NotAnalysed,
            Self::Panicked => CoverReason::StageFailed,
        }
    }
}

/// A frame that the engine treated, and what it says of it.
#[derive(Debug)]
pub(super) struct Treated {
    /// The frame.
    pub(super) buffer: gst::Buffer,
    /// The engine's word that every region was handled.
    pub(super) released: Released,
    /// What the analysis of this frame complained of.
    pub(super) analysis_fault: Option<String>,
}

/// What becomes of a frame.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It leaves.
    Release(gst::Buffer),
    /// Nothing leaves in its place.
    Drop,
    /// The stream ends with an error.
    Fail,
}

/// A verdict and what to tell about it.
#[derive(Debug)]
pub(super) struct Settled {
    /// What becomes of the frame.
    pub(super) verdict: Verdict,
    /// What the engine reported, where it did.
    pub(super) report: Option<FrameReport>,
    /// Why the whole frame was covered, dropped or refused.
    pub(super) withheld: Option<CoverReason>,
    /// What went wrong, in words.
    pub(super) fault: Option<String>,
}

/// Whether a cover is part of the treatment that was asked for.
const fn asked_for(reason: CoverReason) -> bool {
    match reason {
        CoverReason::Asked | CoverReason::Held | CoverReason::Lookahead | CoverReason::Policy | CoverReason::NotReplaceable => true,
        CoverReason::TooNear
        | CoverReason::StageFailed
        | CoverReason::Deadline
        | CoverReason::DetectorFailed
        | CoverReason::NotAnalysed => false,
    }
}

/// Whether the engine withheld the whole frame, and why.
fn withheld(report: &FrameReport) -> Option<CoverReason> {
    report.withheld.or_else(|| {
        report.faces.iter().find_map(|face| match face.outcome {
            Outcome::FrameWithheld { reason } => Some(reason),
            Outcome::Replaced { .. } | Outcome::Covered { .. } | Outcome::Kept { .. } => None,
        })
    })
}

/// Why a face was covered that was to be treated otherwise.
fn fell_back(report: &FrameReport) -> Option<CoverReason> {
    report.faces.iter().find_map(|face| match face.outcome {
        Outcome::Covered { reason, .. } | Outcome::FrameWithheld { reason } => (!asked_for(reason)).then_some(reason),
        Outcome::Replaced { .. } | Outcome::Kept { .. } => None,
    })
}

/// Decides what becomes of a frame. `shell` has its time and metas, for the frame put in its place.
pub(super) fn settle(
    treated: Result<Treated, Fault>,
    shell: &gst::BufferRef,
    negotiated: &Negotiated,
    policy: OnFailure,
    fill_rgb: [u8; 3],
) -> Settled {
    let opaque = |buffer: Option<gst::Buffer>| -> Verdict {
        // The engine's word that it covered the frame is not taken on trust: a fill costs little.
        if let Some(mut buffer) = buffer
            && let Some(inner) = buffer.get_mut()
            && frames::with_view_mut(inner, negotiated, |view| frames::fill(view, fill_rgb)).is_ok()
        {
            return Verdict::Release(buffer);
        }
        frames::opaque(shell, negotiated, fill_rgb).map_or(Verdict::Fail, Verdict::Release)
    };
    let by_policy = |buffer: Option<gst::Buffer>| match policy {
        OnFailure::Cover | OnFailure::CoverFrame => opaque(buffer),
        OnFailure::Drop => Verdict::Drop,
        OnFailure::Error => Verdict::Fail,
    };
    match treated {
        Err(Fault::Interrupted) => Settled {
            verdict: Verdict::Drop,
            report: None,
            withheld: None,
            fault: None,
        },
        Err(fault) => Settled {
            verdict: by_policy(None),
            report: None,
            withheld: Some(fault.reason()),
            fault: Some(fault.to_string()),
        },
        Ok(Treated {
            buffer,
            released,
            analysis_fault,
        }) => {
            let report = released.into_report();
            let whole = withheld(&report).or_else(|| analysis_fault.as_ref().map(|_| CoverReason::StageFailed));
            let partial = fell_back(&report).or_else(|| report.fault.as_ref().map(|_| CoverReason::StageFailed));
            let fault = analysis_fault.or_else(|| report.fault.clone());
            let (verdict, withheld) = match (whole, partial, policy) {
                (Some(reason), None, _) if asked_for(reason) => (opaque(Some(buffer)), Some(reason)),
                (Some(reason), _, _) => (by_policy(Some(buffer)), Some(reason)),
                (None, None, _) | (None, Some(_), OnFailure::Cover) => (Verdict::Release(buffer), None),
                (None, Some(reason), _) => (by_policy(Some(buffer)), Some(reason)),
            };
            Settled {
                verdict,
                report: Some(report),
                withheld,
                fault,
            }
        }
    }
}

/// The bus's word for an engine that could not be opened.
pub(super) fn start_error(error: &EngineError) -> gst::ErrorMessage {
    use nullface::backend::BackendError;
    match error {
        EngineError::Backend(BackendError::RuntimeMissing { .. } | BackendError::Model { .. }) => {
            gst::error_msg!(gst::ResourceError::NotFound, ("{error}"))
        }
        EngineError::Backend(_) => gst::error_msg!(gst::ResourceError::OpenReadWrite, ("{error}")),
        EngineError::Photo(_) | EngineError::Cuts(_) | EngineError::Tracks { .. } => gst::error_msg!(gst::ResourceError::Read, ("{error}")),
        EngineError::Pack(_) | EngineError::Basis(_) => gst::error_msg!(gst::ResourceError::Read, ("{error}")),
        EngineError::Setting { .. } => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
        EngineError::Handover(_) => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
        EngineError::Stage { .. } => gst::error_msg!(gst::LibraryError::Init, ("{error}")),
    }
}
