//! What a frame must be treated with: made when it is analysed, carried out when it is rendered,
//! and extended in between when a later frame shows that a face was there all along.

use std::time::Duration;

use nullface_kernels::cuda::Resident;

use crate::frame::{BoxPx, FrameTime, FrameView, Landmarks5, Mesh, Point};
use crate::stages::identify::Embedding;

use super::engine::FrameId;
use super::outcome::CoverReason;
use super::who::{KeepReason, Verdict};

/// What replacing a face takes.
#[derive(Debug, Clone)]
pub(super) struct Replaceable {
    /// Whose face; the same for a person who returns.
    pub(super) person: u64,
    /// Mesh of this frame.
    pub(super) mesh: Mesh,
    /// The source's embedding.
    pub(super) source: Embedding,
}

/// One face region of one frame.
#[derive(Debug, Clone)]
pub(super) struct Region {
    /// Track.
    pub(super) track: u64,
    /// Region that must be covered, frame px.
    pub(super) box_px: BoxPx,
    /// The face's oval, frame px, where a mesh was fitted in this frame.
    pub(super) oval_px: Vec<Point>,
    /// Landmarks, where known in this frame.
    pub(super) landmarks: Option<Landmarks5>,
    /// Whether somebody saw the face in this very frame: a mesh, or the first of two passes.
    pub(super) seen: bool,
    /// In-plane rotation, radians.
    pub(super) roll_rad: f32,
    /// Why it is covered.
    pub(super) reason: CoverReason,
    /// The source track's embedding, where the output of this frame is to be checked against it.
    pub(super) check_against: Option<Embedding>,
    /// Whether it is anonymised at all.
    pub(super) verdict: Verdict,
    /// Set where the mode replaces and the face can be replaced.
    pub(super) replaceable: Option<Box<Replaceable>>,
}

impl Region {
    /// Why it stays as it is, where it does: only a face that was seen in this very frame, in which
    /// nothing failed; or one drawn by hand that somebody decided to keep.
    pub(super) fn kept(&self) -> Option<(KeepReason, f32)> {
        self.verdict
            .keep
            .filter(|(why, _)| self.reason == CoverReason::Asked && (self.seen || *why == KeepReason::TrackFile))
    }
}

/// One frame between analysis and rendering.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) id: FrameId,
    pub(super) at: FrameTime,
    pub(super) size_px: (u32, u32),
    pub(super) detected: bool,
    /// Whether the look at it is under way, and must be waited for before it leaves.
    pub(super) beside: bool,
    /// Whether a new scene begins with it.
    pub(super) cut: bool,
    pub(super) regions: Vec<Region>,
    /// What the detector saw where no region is, with its score: not enough to begin a track.
    pub(super) unclaimed: Vec<(BoxPx, f32)>,
    pub(super) withheld: Option<CoverReason>,
    pub(super) fault: Option<String>,
    pub(super) took: Duration,
    /// The frame on the device, where its networks have read it there.
    pub(super) resident: Option<Resident>,
}

impl Plan {
    pub(super) fn new(id: FrameId, at: FrameTime, frame: &FrameView<'_>) -> Self {
        Self {
            id,
            at,
            size_px: (frame.width(), frame.height()),
            detected: false,
            beside: false,
            cut: false,
            regions: Vec::new(),
            unclaimed: Vec::new(),
            withheld: None,
            fault: None,
            took: Duration::ZERO,
            resident: None,
        }
    }

    /// Adds a region that a later frame revealed, unless what is there covers it already.
    pub(super) fn extend_backwards(&mut self, region: Region) {
        // A region that is kept covers nothing, and one that is not may be kept later.
        let covered = |r: &Region| r.verdict == Verdict::ANONYMISE && region.box_px.share_inside(&r.box_px) > 0.98;
        let covered = self.regions.iter().any(covered);
        if !covered {
            self.regions.push(region);
        }
    }

    /// Notes a fault; the first one is kept, since later ones mostly follow from it.
    pub(super) fn note(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }
}
