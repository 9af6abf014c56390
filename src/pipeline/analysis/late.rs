//! A look that went on while its frame was rendered: its findings, taken over at the end.

use crate::frame::Pts;
use crate::stages::track::{Observation, ObservationSource, Track, TrackId, Tracker};

use super::super::beside::Looker;
use super::super::engine::{EngineError, FrameId};
use super::super::outcome::CoverReason;
use super::super::plan::Region;
use super::super::schedule::Schedule;
use super::super::settings::Settings;
use super::super::who::Chooser;
use super::{COVERED_SHARE, UnderWay, as_found, is_wanted, observation};

/// What a look changes, apart from the mesh network, which the rendering needs meanwhile.
pub(in crate::pipeline) struct LateLook<'a> {
    pub(super) looker: &'a mut Looker,
    pub(super) under_way: &'a mut Option<UnderWay>,
    pub(super) tracker: &'a mut Tracker,
    pub(super) schedule: &'a mut Schedule,
    pub(super) chooser: &'a mut Chooser,
}

impl LateLook<'_> {
    /// Waits for the look at a frame; what it shows that none of the regions covers comes back, and how many
    /// tracks it started.
    ///
    /// # Errors
    /// The look failed or was lost: nothing is known of this frame.
    pub(in crate::pipeline) fn join(
        &mut self,
        frame: FrameId,
        covered: &[Region],
        settings: &Settings,
    ) -> Result<(Vec<Region>, usize), EngineError> {
        let Some(look) = self.under_way.take_if(|look| look.frame == frame) else {
            return Err(EngineError::Stage {
                stage: "detect",
                why: "the look at this frame was lost".to_owned(),
            });
        };
        let mut seen = self.looker.join()?;
        seen.retain(|d| is_wanted(d, settings));
        let observed = seen.iter().map(|d| observation(d, ObservationSource::Detector));
        let observed: Vec<Observation> = observed.chain(look.hints).collect();
        let started = self.learn(look.at, look.size_px, &observed)?.len();
        let is_bare = |t: &&Track| !covered.iter().any(|r| t.region_px.share_inside(&r.box_px) > COVERED_SHARE);
        let bare = self.tracker.tracks().iter().filter(is_bare);
        Ok((bare.map(|t| as_found(t, CoverReason::Asked)).collect(), started))
    }

    /// Gives a look's findings to the tracks; those that it started.
    pub(super) fn learn(&mut self, at: Pts, (width, height): (u32, u32), observed: &[Observation]) -> Result<Vec<TrackId>, EngineError> {
        let updates = self.tracker.detections(at, width, height, observed);
        if let Some(bad) = updates.rejected.first() {
            return Err(EngineError::Stage {
                stage: "detect",
                why: bad.reason.to_string(),
            });
        }
        if !updates.overflow.is_empty() {
            return Err(EngineError::Stage {
                stage: "track",
                why: format!("{} faces more than can be tracked", updates.overflow.len()),
            });
        }
        self.schedule
            .told(!(updates.started.is_empty() && updates.lost.is_empty() && updates.suspects.is_empty()));
        for (gone, stays) in &updates.merged {
            self.chooser.doubt(gone.0);
            self.chooser.doubt(stays.0);
        }
        Ok(updates.started)
    }
}
