//! What happened to each face, and the only value that lets a frame go.

use crate::frame::{BoxPx, Pts};

use super::who::{Choice, KeepReason};

/// Why a face or a frame was covered instead of treated as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CoverReason {
    /// A cover mode was asked for.
    Asked,
    /// The result was too near to the source.
    TooNear,
    /// The face is not visible now; its region is held.
    Held,
    /// Covered backwards in time, before it was first found.
    Lookahead,
    /// A stage failed.
    StageFailed,
    /// The deadline came first.
    Deadline,
    /// The detector had no answer, so nobody knows where faces are.
    DetectorFailed,
    /// The frame was never analysed.
    NotAnalysed,
    /// The policy covers whole frames, or somebody chose this track to be covered.
    Policy,
    /// Turned away, too small, cut off, or not known long enough to be replaced.
    NotReplaceable,
}

impl CoverReason {
    /// Whether this cover is what the user asked for, and no fallback.
    #[must_use]
    pub const fn is_expected(self) -> bool {
        match self {
            Self::Asked | Self::Held | Self::Lookahead | Self::Policy => true,
            Self::TooNear | Self::StageFailed | Self::Deadline | Self::DetectorFailed | Self::NotAnalysed | Self::NotReplaceable => false,
        }
    }
}

impl CoverReason {
    /// Whether the policy for failures applies. A face that cannot be replaced counts as a fallback,
    /// but covering it is what the modes that replace promise.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        !self.is_expected() && !matches!(self, Self::NotReplaceable)
    }
}

/// What a face ended as.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Replaced by another face.
    Replaced {
        /// Cosine between the output's and the source track's embedding.
        cos: f32,
        /// By what.
        rung: Rung,
    },
    /// Covered.
    Covered {
        /// Why.
        reason: CoverReason,
        /// How.
        rung: Rung,
    },
    /// Left as it is, because the user asked for that and it is certain who it is. See [`super::Who`].
    Kept {
        /// Why.
        why: KeepReason,
        /// Mean of the largest cosines to the photos; 0 where the cut list decided.
        cos: f32,
    },
    /// The whole frame was covered or not released.
    FrameWithheld {
        /// Why.
        reason: CoverReason,
    },
}

/// How much was left of the picture, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// Replaced, by the denoiser in this frame.
    Diffusion,
    /// Replaced, by the denoiser in an earlier frame, moved along.
    Cached,
    /// Replaced by the k-same composite alone.
    Prior,
    /// Blurred, irreversibly.
    Blur,
    /// Pixelated, irreversibly.
    Pixelate,
    /// Opaque fill of the face.
    Solid,
    /// Opaque frame.
    Frame,
}

/// One face of one frame.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FaceReport {
    /// Track.
    pub track: u64,
    /// Region handled, frame px.
    pub box_px: BoxPx,
    /// What it ended as.
    pub outcome: Outcome,
    /// Cosine of the output to the source track, where it was measured.
    pub cos: Option<f32>,
    /// How it was decided whether this face is anonymised; `None` where everybody is.
    pub choice: Option<Choice>,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FrameReport {
    /// Presentation time.
    pub pts: Pts,
    /// Whether the detector looked at this frame.
    pub detected: bool,
    /// Every face, exactly one outcome each.
    pub faces: Vec<FaceReport>,
    /// Set where the whole frame was covered.
    pub withheld: Option<CoverReason>,
    /// What went wrong, in words, without anything of the picture.
    pub fault: Option<String>,
}

/// Proof that every region of a frame was handled. Only the engine makes one; a caller that holds
/// no `Released` must not let the frame go.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a frame without this value must not be released"]
pub struct Released {
    report: FrameReport,
}

impl Released {
    pub(super) fn new(report: FrameReport) -> Self {
        Self { report }
    }

    /// What happened.
    #[must_use]
    pub fn report(&self) -> &FrameReport {
        &self.report
    }

    /// What happened, by value.
    #[must_use]
    pub fn into_report(self) -> FrameReport {
        self.report
    }
}
