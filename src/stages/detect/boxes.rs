//! Non-maximum suppression, common to all detectors.

use super::Detection;

/// Most candidates that suppression looks at: the best ones. Bounds the quadratic part where a
/// network sees faces everywhere.
const MAX_CANDIDATES: usize = 2048;

/// Keeps the best of every group of boxes that overlap by more than `iou`, best first.
///
/// The rule: no two of the kept overlap by more than `iou`, and everything dropped overlaps by more
/// than `iou` with something kept of at least its score (as long as there are at most 2048).
#[must_use]
pub fn suppress(mut candidates: Vec<Detection>, iou: f32) -> Vec<Detection> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(MAX_CANDIDATES);
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in candidates {
        if kept.iter().all(|k| k.box_px.iou(&candidate.box_px) <= iou) {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{Detection, suppress};
    use crate::frame::BoxPx;
    use proptest::prelude::*;

    fn detection() -> impl Strategy<Value = Detection> {
        (0.0_f32..100.0, 0.0_f32..100.0, 1.0_f32..60.0, 1.0_f32..60.0, 0.0_f32..1.0).prop_map(|(x, y, w, h, score)| Detection {
            box_px: BoxPx {
                x0: x,
                y0: y,
                x1: x + w,
                y1: y + h,
            },
            score,
            landmarks: None,
        })
    }

    proptest! {
        #[test]
        fn the_kept_are_apart_and_stand_for_the_dropped(all in prop::collection::vec(detection(), 0..60), iou in 0.1_f32..0.9) {
            let kept = suppress(all.clone(), iou);
            for (i, a) in kept.iter().enumerate() {
                prop_assert!(all.contains(a));
                for b in &kept[..i] {
                    prop_assert!(a.box_px.iou(&b.box_px) <= iou);
                    prop_assert!(b.score >= a.score);
                }
            }
            for dropped in all.iter().filter(|d| !kept.contains(d)) {
                prop_assert!(kept.iter().any(|k| k.score >= dropped.score && k.box_px.iou(&dropped.box_px) > iou));
            }
        }

        #[test]
        fn a_second_pass_changes_nothing(all in prop::collection::vec(detection(), 0..60)) {
            let once = suppress(all, 0.3);
            prop_assert_eq!(suppress(once.clone(), 0.3), once);
        }
    }
}
