//! The film followed backwards: a tracker over what the forward pass wrote down, from the last frame to the first.
//! No picture is looked at again.
//!
//! | | |
//! |---|---|
//! | what it is given | regions in which a face was seen, and what the detector reported where no region was |
//! | what begins a track | regions only: a report that was too weak to begin one forwards begins none backwards |
//! | what extends one | both: so a face that was reported weakly before it was found is followed back to there |
//! | how far beyond the last report | [`BACK_S`], growing, as a lost face is held forwards |
//! | scene cuts | end every track, as they do forwards |
//!
//! What comes of it only adds. Where a frame has its own region of the face nothing is added; a track that was lost
//! and found again as another one is joined by what was reported in between.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::frame::{BoxPx, Pts};
use crate::stages::track::{Observation, TrackId, TrackState, Tracker, TrackerConfig};

use super::strand::{Seen, Strand};
use super::{BACK_S, Gathered, Which};

/// Score of a region in which the face was seen; reports lie below.
const SURE: f32 = 1.0;
/// Most that a report counts.
const UNSURE: f32 = 0.99;
/// Overlap from which a backward track is the forward one.
const SAME_IOU: f32 = 0.3;

/// What was written down of one frame.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// When it is shown.
    pub(super) at: Pts,
    /// Whether nothing leads here from the frame before.
    pub(super) cut: bool,
    /// What was reported where no region is, with its score.
    pub(super) unclaimed: Vec<(BoxPx, f32)>,
}

/// What the film shows from behind: frames to add to tracks, in order.
pub(super) fn added(gathered: &Gathered) -> BTreeMap<Which, Strand> {
    let (Some((width, height)), Ok(mut tracker)) = (gathered.size_px, Tracker::new(config())) else {
        return BTreeMap::new();
    };
    let mut forward = Forward::over(gathered);
    let mut followed: BTreeMap<TrackId, Followed> = BTreeMap::new();
    let mut found: BTreeMap<Which, Vec<Seen>> = BTreeMap::new();
    let end = gathered.last;
    for (number, look) in gathered.looks.iter().enumerate().rev() {
        let number = number as u64;
        let here = forward.at(number);
        let time = Pts(end.0.saturating_sub(look.at.0));
        tracker.predict(time);
        if !here.is_empty() || !look.unclaimed.is_empty() {
            let sure = here.iter().map(|(_, s)| Observation::detected(s.box_px, SURE));
            let unsure = look.unclaimed.iter().map(|(b, score)| Observation::detected(*b, score.min(UNSURE)));
            let all: Vec<Observation> = sure.chain(unsure).collect();
            tracker.detections(time, width, height, &all);
        }
        let inside = |b: &BoxPx| b.clipped(width, height).is_valid();
        for track in tracker.tracks().iter().filter(|t| inside(&t.region_px)) {
            let own = here
                .iter()
                .filter(|_| track.seen_now())
                .map(|(which, seen)| (track.box_px.iou(&seen.box_px), which, seen))
                .filter(|(iou, ..)| *iou >= SAME_IOU)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let follows = followed.entry(track.id).or_default();
            let now = own.map_or(
                Seen {
                    frame: number,
                    at: look.at,
                    box_px: track.region_px,
                    seen: track.seen_now() && track.state != TrackState::Held,
                },
                |(_, _, seen)| *seen,
            );
            // The frames next to what is added are its ends: the way from one to the other is filled between them.
            if let Some(which) = follows.which {
                let open = found.entry(which).or_default();
                match (follows.own, own.is_some()) {
                    (Some(last), false) => open.extend([last, now]),
                    (None, _) => open.push(now),
                    (Some(_), true) => {}
                }
            }
            follows.own = own.map(|(_, _, seen)| *seen);
            follows.which = own.map(|(_, which, _)| Which { kept: false, ..*which }).or(follows.which);
        }
        followed.retain(|id, _| tracker.track(*id).is_some());
        if look.cut {
            tracker.scene_cut(time);
            followed.clear();
        }
    }
    found.into_iter().filter(|(_, frames)| !frames.is_empty()).map(strand).collect()
}

fn strand((which, mut frames): (Which, Vec<Seen>)) -> (Which, Strand) {
    frames.sort_by_key(|s| s.frame);
    let mut strand = Strand::default();
    frames.into_iter().for_each(|s| strand.push(s));
    strand.fill(which.kept);
    (which, strand)
}

/// What a backward track stands for.
#[derive(Debug, Clone, Copy, Default)]
struct Followed {
    /// The forward track that it was last seen on.
    which: Option<Which>,
    /// That track's region in the frame looked at last, where it had one.
    own: Option<Seen>,
}

fn config() -> TrackerConfig {
    TrackerConfig {
        high: SURE,
        low: 0.0,
        hold: Duration::from_secs_f64(BACK_S),
        ..TrackerConfig::default()
    }
}

/// Regions of the forward pass in which a face was seen, asked for from the last frame to the first.
struct Forward<'a> {
    /// Strands whose last frame was not reached yet, the earliest end first.
    ahead: Vec<(Which, &'a Strand)>,
    /// Strands within their frames, with how many of these are left.
    within: Vec<(Which, &'a [Seen])>,
}

impl<'a> Forward<'a> {
    fn over(gathered: &'a Gathered) -> Self {
        let mut ahead: Vec<_> = gathered.strands.iter().map(|(which, s)| (*which, s)).collect();
        ahead.sort_by_key(|(which, s)| (s.last().map(|l| l.frame), *which));
        Self { ahead, within: Vec::new() }
    }

    fn at(&mut self, number: u64) -> Vec<(Which, Seen)> {
        while let Some((which, strand)) = self.ahead.pop_if(|(_, s)| s.last().is_none_or(|l| l.frame >= number)) {
            self.within.push((which, strand.frames()));
        }
        let mut here = Vec::new();
        for (which, left) in &mut self.within {
            while let [before @ .., last] = *left {
                if last.frame < number {
                    break;
                }
                if last.frame == number && last.seen {
                    here.push((*which, *last));
                }
                *left = before;
            }
        }
        self.within.retain(|(_, left)| !left.is_empty());
        here
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Look, added};
    use crate::frame::{BoxPx, Pts};
    use crate::pipeline::scout::strand::{Seen, Strand};
    use crate::pipeline::scout::{Gathered, Which};

    const FRAMES: u64 = 50;

    fn at(frame: u64) -> Pts {
        Pts(frame * 40_000_000)
    }

    /// A face on its way.
    fn there(frame: u64) -> BoxPx {
        BoxPx::around([60.0 + 4.0 * frame as f32, 90.0], 40.0, 50.0)
    }

    /// Seen by the forward pass in these frames, as track 0, 1 and so on; reported in the others.
    fn film(tracks: &[std::ops::Range<u64>], reports: &[u64], cut: Option<u64>) -> Gathered {
        let mut gathered = Gathered {
            size_px: Some((320, 180)),
            first: Some(at(0)),
            last: at(FRAMES - 1),
            frames: FRAMES,
            ..Gathered::default()
        };
        for n in 0..FRAMES {
            gathered.looks.push(Look {
                at: at(n),
                cut: cut == Some(n),
                unclaimed: reports.iter().filter(|r| **r == n).map(|n| (there(*n), 0.3)).collect(),
            });
        }
        for (track, frames) in (0..).zip(tracks) {
            let mut strand = Strand::default();
            for frame in frames.clone() {
                let (at, box_px) = (at(frame), there(frame));
                strand.push(Seen {
                    frame,
                    at,
                    box_px,
                    seen: true,
                });
            }
            gathered.strands.insert(Which { track, kept: false }, strand);
        }
        gathered
    }

    /// A film of one track.
    fn one(frames: std::ops::Range<u64>) -> [std::ops::Range<u64>; 1] {
        [frames]
    }

    /// Frames from 0 on in which what was added to a track holds the face.
    fn held(added: &BTreeMap<Which, Strand>, track: u64) -> Vec<u64> {
        let frames = added.get(&Which { track, kept: false }).map(Strand::frames).unwrap_or_default();
        let holds = |s: &&Seen| there(s.frame).share_inside(&s.box_px) > 0.95;
        frames.iter().filter(holds).map(|s| s.frame).collect()
    }

    #[test]
    fn a_face_is_followed_back_over_weak_reports_and_the_way_between_them_is_held() {
        let reports = [12, 18, 23, 27];
        let added = added(&film(&one(30..50), &reports, None));
        let held = held(&added, 0);
        assert!((12..30).all(|n| held.contains(&n)), "{held:?}");
        // Half a second before the first report, and no further.
        let first = added.values().next().and_then(Strand::first).expect("added").frame;
        assert!((0..2).contains(&first), "{first}");
        assert!(
            added
                .values()
                .all(|s| s.frames().iter().all(|s| !s.seen || reports.contains(&s.frame) || s.frame == 30))
        );
    }

    #[test]
    fn a_track_that_was_lost_is_joined_to_the_one_it_became() {
        let held = held(&added(&film(&[0..12, 30..50], &[16, 20, 25], None)), 1);
        assert!((12..30).all(|n| held.contains(&n)), "{held:?}");
    }

    #[test]
    fn nothing_is_followed_over_a_cut_and_nothing_begins_with_a_weak_report() {
        let over = added(&film(&one(30..50), &[12, 18, 23, 27], Some(20)));
        assert!(over.values().flat_map(Strand::frames).all(|s| s.frame >= 20), "{over:?}");
        assert!(added(&film(&[], &[12, 18, 23, 27], None)).is_empty());
        assert!(added(&film(&one(0..50), &[], None)).is_empty());
    }
}
