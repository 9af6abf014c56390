//! A look that went on while its frame was rendered: its findings, taken over at the end.

use crate::frame::{BoxPx, Pts};
use crate::stages::detect::{Detection, Effort};
use crate::stages::track::{Observation, ObservationSource, Track, TrackId, Tracker};

use super::super::beside::Looker;
use super::super::engine::{EngineError, FrameId};
use super::super::outcome::CoverReason;
use super::super::plan::Region;
use super::super::schedule::{Schedule, Turn};
use super::super::settings::Settings;
use super::super::shares::Shares;
use super::super::who::Chooser;
use super::people::doubt_crossings;
use super::places::Places;
use super::{CLAIMED_SHARE, COVERED_SHARE, LOW_SHARE, UnderWay, as_found, is_wanted, observation};

/// What a look changes, apart from the mesh network, which the rendering needs meanwhile.
pub(in crate::pipeline) struct LateLook<'a> {
    pub(super) looker: &'a mut Looker,
    pub(super) under_way: &'a mut Option<UnderWay>,
    pub(super) tracker: &'a mut Tracker,
    pub(super) schedule: &'a mut Schedule,
    pub(super) shares: &'a mut Shares,
    pub(super) suspected: &'a mut Places,
    pub(super) chooser: &'a mut Chooser,
}

impl LateLook<'_> {
    /// Waits for the look at a frame; what it shows that none of the regions covers comes back, who is not to be left
    /// as they are any more, and how many tracks it started.
    ///
    /// # Errors
    /// The look failed or was lost: nothing is known of this frame.
    pub(in crate::pipeline) fn join(
        &mut self,
        frame: FrameId,
        regions: &[Region],
        settings: &Settings,
    ) -> Result<(Vec<Region>, usize), EngineError> {
        let Some(look) = self.under_way.take_if(|look| look.frame == frame) else {
            return Err(EngineError::Stage {
                stage: "detect",
                why: "the look at this frame was lost".to_owned(),
            });
        };
        let mut seen = self.looker.join()?;
        match look.turn {
            Turn::Whole(effort) => self.shares.learn(effort, 1, seen.took),
            Turn::Part(part) => self.shares.learn(part.effort, part.of, seen.took),
            Turn::Around(_) => {}
        }
        if self.is_news(&seen.cut, settings) {
            seen = self.looker.again(settings.threshold * LOW_SHARE, Effort::Regular)?;
        }
        seen.found.retain(|d| is_wanted(d, settings));
        let observed = seen.found.iter().map(|d| observation(d, ObservationSource::Detector));
        let observed: Vec<Observation> = observed.chain(look.hints).collect();
        let started = self.learn(look.at, look.size_px, seen.part.as_ref(), &observed)?.len();
        doubt_crossings(self.tracker, self.chooser);
        Ok((self.bare(look.at, regions), started))
    }

    /// What must be covered and is not, by what is known now: tracks outside of all regions that are covered, and faces
    /// that were left as they are and should not have been.
    fn bare(&self, at: Pts, regions: &[Region]) -> Vec<Region> {
        let verdict = |track: u64| self.chooser.verdict(track, at);
        let is_covered = |t: &Track| {
            let mut covered = regions.iter().filter(|r| r.kept().is_none());
            covered.any(|r| t.region_px.share_inside(&r.box_px) > COVERED_SHARE)
        };
        let tracks = self.tracker.tracks().iter();
        let bare = tracks.filter(|t| verdict(t.id.0).keep.is_none() && !is_covered(t));
        let mut bare: Vec<Region> = bare
            .map(|t| Region {
                verdict: verdict(t.id.0),
                ..as_found(t, CoverReason::Asked)
            })
            .collect();
        for left in regions.iter().filter(|r| r.kept().is_some()) {
            let verdict = verdict(left.track);
            match bare.iter_mut().find(|b| b.track == left.track) {
                // The look may have moved it.
                Some(found) => found.box_px = found.box_px.hull(&left.box_px),
                None if verdict.keep.is_none() => bare.push(Region { verdict, ..left.clone() }),
                None => {}
            }
        }
        bare
    }

    /// Whether a face that lies in no part whole is where nobody is known to be.
    pub(super) fn is_news(&self, cut: &[Detection], settings: &Settings) -> bool {
        let known = |d: &Detection| {
            let share = |t: &Track| d.box_px.share_inside(&t.region_px);
            self.tracker.tracks().iter().any(|t| share(t) >= CLAIMED_SHARE)
        };
        let is_face = |d: &&Detection| d.score >= settings.threshold && is_wanted(d, settings);
        cut.iter().filter(is_face).any(|d| !known(d))
    }

    /// Gives the findings of a look, at a part of the frame or all of it, to the tracks; those that it started.
    pub(super) fn learn(
        &mut self,
        at: Pts,
        (width, height): (u32, u32),
        part_px: Option<&BoxPx>,
        observed: &[Observation],
    ) -> Result<Vec<TrackId>, EngineError> {
        let updates = self.tracker.detections_in(at, width, height, part_px, observed);
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
        let suspects = self.suspected.note(&updates.suspects, at);
        let changed = suspects || !(updates.started.is_empty() && updates.lost.is_empty());
        // What a part does not show says nothing of the rest.
        if changed || part_px.is_none() {
            self.schedule.told(changed);
        }
        for (gone, stays) in &updates.merged {
            self.chooser.doubt(gone.0);
            self.chooser.doubt(stays.0);
        }
        Ok(updates.started)
    }
}
