//! Places where looks saw something that may be a face and that no track took.
//!
//! A new one asks for looks in short succession, for a face that turns towards the camera is seen weakly first. One
//! that stays what it is, a picture's corner or a fold of a curtain, asks for no more: what becomes of it the regular
//! looks tell. On a talking head of ten seconds with such a place, a sixth of all looks went there.

use crate::frame::{BoxPx, Pts};

/// For so long after it was last seen a place is remembered, seconds: longer than the longest time between two looks.
const REMEMBERED_S: f64 = 1.0;
/// Overlap from which two boxes are of one place.
const SAME_IOU: f32 = 0.5;

/// The places seen lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Suspected {
    places: Vec<(BoxPx, Pts)>,
}

impl Suspected {
    /// Takes what a look suspects; whether a place of it is new.
    pub(super) fn has_new(&mut self, seen: &[BoxPx], at: Pts) -> bool {
        self.places.retain(|(_, when)| at.seconds_since(*when).abs() < REMEMBERED_S);
        let mut new = false;
        for box_px in seen {
            match self.places.iter_mut().find(|(known, _)| known.iou(box_px) > SAME_IOU) {
                Some(known) => *known = (*box_px, at),
                None => {
                    new = true;
                    self.places.push((*box_px, at));
                }
            }
        }
        new
    }

    /// Another scene.
    pub(super) fn forget(&mut self) {
        self.places.clear();
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
        let mut suspected = Suspected::default();
        assert!(!suspected.has_new(&[], at(0)));
        assert!(suspected.has_new(&[place(100.0)], at(1)));
        for frame in (3..300).step_by(12) {
            assert!(!suspected.has_new(&[place(100.0 + (frame % 5) as f32)], at(frame)), "frame {frame}");
        }
        assert!(suspected.has_new(&[place(101.0), place(300.0)], at(301)), "another place");
    }

    #[test]
    fn it_is_new_again_after_a_while_and_in_another_scene() {
        let mut suspected = Suspected::default();
        assert!(suspected.has_new(&[place(100.0)], at(0)));
        assert!(suspected.has_new(&[place(100.0)], at(30)));
        suspected.forget();
        assert!(suspected.has_new(&[place(100.0)], at(31)));
    }
}
