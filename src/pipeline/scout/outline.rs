//! Boxes that stand for the outlines in them. A cover is shaped by a face's box and by its outline; the second pass
//! knows boxes alone, so a box must be as large as its shape needs to hold the outline.

use crate::frame::{BoxPx, Point};
use crate::stages::blend::EXPONENT;

/// A box whose cover holds the outline's, at `scale` of both and at none; at least the one given, of the same
/// centre. In between they hold it too: the reach is a convex function of the scale's growth.
pub(super) fn contained(box_px: &BoxPx, outline_px: &[Point], scale: f32) -> BoxPx {
    let ([cx, cy], n) = (box_px.center(), outline_px.len() as f32);
    let half = [box_px.width() / 2.0, box_px.height() / 2.0];
    if outline_px.len() < 3 || half.iter().any(|h| *h <= 0.0) {
        return *box_px;
    }
    let middle = outline_px.iter().fold([0.0, 0.0], |m, p| [m[0] + p[0] / n, m[1] + p[1] / n]);
    // The cover's shape about the box is convex: what holds the corners of a polygon holds the polygon.
    let reach = |p: &Point, scale: f32| {
        let grown = 1.0 - scale.recip();
        let x = (p[0] - cx - grown * (middle[0] - cx)) / half[0];
        let y = (p[1] - cy - grown * (middle[1] - cy)) / half[1];
        (x.abs().powf(EXPONENT) + y.abs().powf(EXPONENT)).powf(EXPONENT.recip())
    };
    let all = outline_px.iter().flat_map(|p| [reach(p, 1.0), reach(p, scale)]);
    box_px.scaled(all.filter(|r| r.is_finite()).fold(1.0, f32::max))
}

#[cfg(test)]
mod tests {
    use super::contained;
    use crate::frame::BoxPx;
    use crate::stages::blend::{Masker, Shape};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_cover_of_the_box_holds_the_outlines_in_every_pixel(
            (cx, cy) in (60.0_f32..100.0, 60.0_f32..100.0),
            (width, height) in (16.0_f32..60.0, 16.0_f32..60.0),
            corners in prop::collection::vec((-30.0_f32..30.0, -30.0_f32..30.0), 3..12),
            scale in 1.0_f32..1.5,
        ) {
            let box_px = BoxPx::around([80.0, 80.0], width, height);
            let outline: Vec<_> = corners.iter().map(|(x, y)| [cx + x, cy + y]).collect();
            let held = contained(&box_px, &outline, scale);
            prop_assert!(box_px.share_inside(&held) > 0.9999);
            let mut masker = Masker::default();
            let mut mask = |box_px, oval_px: &[_]| {
                let shape = Shape { box_px, oval_px, roll_rad: 0.0, scale, feather: 0.0 };
                let mask = masker.mask(&shape, 160, 160).expect("finite").expect("inside").clone();
                move |x: u32, y: u32| {
                    let (left, top) = (u32::try_from(mask.x).expect("inside"), u32::try_from(mask.y).expect("inside"));
                    let (i, j) = (x.checked_sub(left), y.checked_sub(top));
                    i.zip(j).filter(|(i, j)| *i < mask.width && *j < mask.height).is_some_and(|(i, j)| mask.alpha[(j * mask.width + i) as usize] == 255)
                }
            };
            let (alone, with) = (mask(held, &[]), mask(box_px, &outline));
            let open = (0..160 * 160).filter(|i| with(i % 160, i / 160) && !alone(i % 160, i / 160)).count();
            // A rim of single pixels may be rounded the other way.
            prop_assert!(open <= 8, "{} pixels", open);
        }
    }
}
