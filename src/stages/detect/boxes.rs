//! Non-maximum suppression, common to all detectors.

use super::Detection;
use crate::frame::BoxPx;

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

/// Overlap from which boxes of two detectors are one face.
const SAME_FACE_IOU: f32 = 0.3;

/// Ratio of sides up to which boxes around one centre are one face; a small box in the middle of a large
/// one may be anything.
const SAME_FACE_SIDES: f32 = 2.0;

/// Whether boxes of two detectors are about one face: they overlap enough, or are of like size and each
/// holds the other's centre. Detectors disagree on what belongs to a face (hair, neck), but no two faces
/// are that near.
#[must_use]
pub fn same_face(a: &BoxPx, b: &BoxPx) -> bool {
    let holds = |outer: &BoxPx, inner: &BoxPx| {
        let [x, y] = inner.center();
        (outer.x0..outer.x1).contains(&x) && (outer.y0..outer.y1).contains(&y)
    };
    let sides = a.side().max(b.side()) / a.side().min(b.side());
    a.iou(b) > SAME_FACE_IOU || (sides <= SAME_FACE_SIDES && holds(a, b) && holds(b, a))
}

#[cfg(test)]
mod tests {
    use super::{Detection, same_face, suppress};
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

    #[test]
    fn boxes_round_one_centre_are_one_face_unless_their_sizes_tell_them_apart() {
        let around = |x: f32, width: f32, height: f32| BoxPx::around([x, 100.0], width, height);
        let face = around(100.0, 100.0, 130.0);
        assert!(
            same_face(&face, &around(110.0, 190.0, 240.0)),
            "hair and neck counted in, overlap 0.29"
        );
        assert!(!same_face(&face, &around(100.0, 30.0, 40.0)), "a spot on the nose");
        assert!(!same_face(&face, &around(180.0, 100.0, 130.0)), "the neighbour");
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
