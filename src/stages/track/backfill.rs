//! Covering a new track backwards in time, over frames that wait and were analysed before it was found.
//!
//! Why: a detector finds a face a frame or two after it became visible. Frames that are still held back can
//! be covered where the face must have been.
//!
//! | | |
//! |---|---|
//! | in | the first observation, the velocity if it is known by now, the times of the waiting frames |
//! | out | one box a frame, in the frames' order: ⊇ the observed box, ⊇ where its velocity puts it, grown with the time between |
//! | growth | `growth_per_s`, or that plus `unknown_speed_per_s` where the velocity is not known; at most `growth_max` sides per edge |
//! | limits | velocity is extrapolated for `coast_s` at most; frames at or after the first observation get the observed box grown by the distance in time all the same; pure |

use crate::frame::{BoxPx, Pts};

use super::state::{Track, grown};

/// What is known of a new track.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FirstSeen {
    /// First observed box, frame px.
    pub box_px: BoxPx,
    /// When.
    pub at: Pts,
    /// Velocity of its centre, px/s, once two sights or more gave one.
    pub velocity_px_s: Option<[f32; 2]>,
}

impl FirstSeen {
    /// From a track, at any time after it began.
    #[must_use]
    pub fn of(track: &Track) -> Self {
        let velocity_px_s = (track.sights > 1).then_some(track.velocity_px_s);
        Self {
            box_px: track.first_box_px,
            at: track.first_seen,
            velocity_px_s,
        }
    }
}

/// How far to cover backwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackfillConfig {
    /// Growth, sides of the face per second and edge.
    pub growth_per_s: f32,
    /// Growth on top of it while the velocity is not known.
    pub unknown_speed_per_s: f32,
    /// Bound of growth, sides per edge.
    pub growth_max: f32,
    /// Longest extrapolation of velocity, s.
    pub coast_s: f32,
}

impl Default for BackfillConfig {
    fn default() -> Self {
        Self {
            growth_per_s: 0.5,
            unknown_speed_per_s: 1.5,
            growth_max: 0.5,
            coast_s: 0.25,
        }
    }
}

/// The box by which `first` must be covered in each frame of `earlier`.
#[must_use]
pub fn backfill(first: &FirstSeen, earlier: &[Pts], config: &BackfillConfig) -> Vec<BoxPx> {
    let velocity = first.velocity_px_s.filter(|v| v.iter().all(|c| c.is_finite()));
    let rate = config.growth_per_s + if velocity.is_some() { 0.0 } else { config.unknown_speed_per_s };
    let [vx, vy] = velocity.unwrap_or_default();
    earlier
        .iter()
        .map(|at| {
            let before_s = first.at.seconds_since(*at) as f32;
            let coast_s = before_s.clamp(-config.coast_s, config.coast_s);
            let b = first.box_px;
            let was = BoxPx {
                x0: b.x0 - vx * coast_s,
                y0: b.y0 - vy * coast_s,
                x1: b.x1 - vx * coast_s,
                y1: b.y1 - vy * coast_s,
            };
            let margin = (rate * before_s.abs()).min(config.growth_max);
            b.hull(&grown(&was, margin * b.side())).hull(&grown(&b, margin * b.side()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{BackfillConfig, FirstSeen, backfill};
    use crate::frame::{BoxPx, Pts};

    const MS: u64 = 1_000_000;

    fn first(velocity_px_s: Option<[f32; 2]>) -> FirstSeen {
        FirstSeen {
            box_px: BoxPx::around([200.0, 100.0], 40.0, 50.0),
            at: Pts(1_000 * MS),
            velocity_px_s,
        }
    }

    #[test]
    fn a_walking_face_is_covered_where_it_came_from() {
        let f = first(Some([300.0, 0.0]));
        let times: Vec<Pts> = [900, 940, 980].map(|ms| Pts(ms * MS)).to_vec();
        let boxes = backfill(&f, &times, &BackfillConfig::default());
        assert_eq!(boxes.len(), 3);
        for (at, cover) in times.iter().zip(&boxes) {
            let dt = f.at.seconds_since(*at) as f32;
            let truth = BoxPx::around([200.0 - 300.0 * dt, 100.0], 40.0, 50.0);
            assert!(truth.share_inside(cover) > 0.999, "{truth:?} in {cover:?}");
            assert!(f.box_px.share_inside(cover) > 0.999);
        }
        assert!(boxes[0].area() > boxes[1].area() && boxes[1].area() > boxes[2].area());
    }

    #[test]
    fn an_unknown_velocity_covers_more_all_around() {
        let times = [Pts(960 * MS)];
        let unknown = backfill(&first(None), &times, &BackfillConfig::default());
        let still = backfill(&first(Some([0.0, 0.0])), &times, &BackfillConfig::default());
        assert!(still[0].share_inside(&unknown[0]) > 0.999 && unknown[0].area() > still[0].area());
    }

    #[test]
    fn growth_and_extrapolation_are_bounded() {
        let late = FirstSeen {
            at: Pts(20_000 * MS),
            ..first(Some([300.0, 0.0]))
        };
        let boxes = backfill(&late, &[Pts(0), Pts(18_500 * MS)], &BackfillConfig::default());
        assert_eq!(boxes[0], boxes[1]);
        assert!(boxes[0].width() < 40.0 + 300.0 * 0.25 + 2.0 * 0.5 * 50.0 + 0.1);
    }

    #[test]
    fn a_velocity_that_is_no_number_counts_as_unknown() {
        let times = [Pts(960 * MS)];
        let config = BackfillConfig::default();
        assert_eq!(
            backfill(&first(Some([f32::NAN, 0.0])), &times, &config),
            backfill(&first(None), &times, &config)
        );
    }

    #[test]
    fn no_waiting_frames_need_no_boxes() {
        assert!(backfill(&first(None), &[], &BackfillConfig::default()).is_empty());
    }
}
