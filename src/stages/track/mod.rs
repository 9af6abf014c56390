//! Faces and history → tracks. Pure: no pictures, no I/O, no clock of its own; time is the stream's.
//!
//! One frame goes: [`Tracker::predict`] once, then in any order [`Tracker::refine`] for tracks whose
//! mesh was fitted and [`Tracker::detections`] where the detector looked (with the same time), then
//! [`Tracker::embedding`] where faces were embedded. Every region of [`Tracker::tracks`] must be covered:
//! tentative and held tracks count as faces.
//!
//! | file | what |
//! |---|---|
//! | `types` | what goes in and comes out |
//! | `kalman` | motion of one box in stream time |
//! | `state` | one track: estimate, region, landmarks |
//! | `assign` | which observation is which track |
//! | `reid` | who a track is: source identity, returning persons |
//! | `identity` | two tracks on one face, crossings, embeddings |
//! | `tracker` | the tracks of a stream |
//! | `doubt` | when the detector should look |
//! | `backfill` | covering a new track backwards over queued frames |
//! | `cut` | scene cuts |

mod assign;
mod backfill;
mod cut;
mod doubt;
mod identity;
mod kalman;
mod reid;
mod state;
mod tracker;
mod types;

#[cfg(test)]
mod props;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

pub use backfill::{BackfillConfig, FirstSeen, backfill};
pub use cut::{CUT_THUMB_HEIGHT, CUT_THUMB_WIDTH, SceneCut};
pub use doubt::Why;
pub use reid::{Identified, PersonId, SourceIdentity};
pub use state::{Track, TrackId, TrackState};
pub use tracker::Tracker;
pub use types::{Observation, ObservationSource, RejectReason, Rejected, TrackError, TrackerConfig, Updates};
