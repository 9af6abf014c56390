//! Places where looks saw something lately that no track took.
//!
//! | kept | what | what follows |
//! |---|---|---|
//! | suspected | what may be a face | a new place asks for looks in short succession, for a face that turns towards the camera is seen weakly first; one that stays what it is, a picture's corner or a fold of a curtain, asks for no more |
//! | dismissed | what a glance saw and the regular look did not confirm | the glance calls for no other regular look there |
//!
//! On a talking head of ten seconds with a place that stayed suspect, a sixth of all looks went there.

use crate::frame::{BoxPx, Pts};

/// For so long after it was last seen a place is remembered, seconds: longer than the longest time between two looks.
const REMEMBERED_S: f64 = 1.0;
/// Overlap from which two boxes are of one place.
const SAME_IOU: f32 = 0.5;

/// The places seen lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Vec<(BoxPx, Pts)>);

impl Places {
    /// Forgets what was seen too long before or after this time.
    pub(super) fn age(&mut self, at: Pts) {
        self.0.retain(|(_, when)| at.seconds_since(*when).abs() < REMEMBERED_S);
    }

    /// Whether a box is of a place that is remembered.
    pub(super) fn know(&self, box_px: &BoxPx) -> bool {
        self.0.iter().any(|(known, _)| known.iou(box_px) > SAME_IOU)
    }

    /// Takes what was seen; whether a place of it is new.
    pub(super) fn note(&mut self, seen: &[BoxPx], at: Pts) -> bool {
        self.age(at);
        let mut new = false;
        for box_px in seen {
            match self.0.iter_mut().find(|(known, _)| known.iou(box_px) > SAME_IOU) {
                Some(known) => *known = (*box_px, at),
                None => {
                    new = true;
                    self.0.push((*box_px, at));
                }
            }
        }
        new
    }

    /// Another scene.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(frame: u64) -> Pts {
        Pts(frame * 40_000_000)
    }

    fn place(x: f32) -> BoxPx {
        BoxPx::around([x, 50.0], 40.0, 40.0)
    }

    #[test]
    fn a_place_is_new_once_while_it_is_seen() {
        let mut places = Places::default();
        assert!(!places.note(&[], at(0)));
        assert!(places.note(&[place(100.0)], at(1)));
        for frame in (3..300).step_by(12) {
            assert!(!places.note(&[place(100.0 + (frame % 5) as f32)], at(frame)), "frame {frame}");
        }
        assert!(places.know(&place(105.0)) && !places.know(&place(300.0)));
        assert!(places.note(&[place(101.0), place(300.0)], at(301)), "another place");
    }

    #[test]
    fn it_is_new_again_after_a_while_and_in_another_scene() {
        let mut places = Places::default();
        assert!(places.note(&[place(100.0)], at(0)));
        assert!(places.note(&[place(100.0)], at(30)));
        places.forget();
        assert!(places.note(&[place(100.0)], at(31)));
    }
}
