//! The plain definitions. Of a polygon's coverage: for every pixel, winding number and distance. Of a
//! square's weights: for every pixel, its own position.

use super::{RegionMask, Weights, near, ramp, ramp_px};

/// Fills the mask's rectangle from a square of weights.
pub fn weighted(mask: &mut RegionMask, weights: &Weights<'_>) {
    let (x0, y0, width) = (mask.x as f32, mask.y as f32, (mask.width as usize).max(1));
    for (i, alpha) in mask.alpha.iter_mut().enumerate() {
        let centre = [x0 + (i % width) as f32 + 0.5, y0 + (i / width) as f32 + 0.5];
        let p = weights.square_from_frame.apply(centre);
        *alpha = if weights.holds(p) { (weights.at(p) * 255.0 + 0.5) as u8 } else { 0 };
    }
}

/// Fills the mask's rectangle.
pub(super) fn fill(mask: &mut RegionMask, points: &[[f32; 2]], feather_px: f32) {
    let (x0, y0, width) = (mask.x, mask.y, mask.width as usize);
    for (i, alpha) in mask.alpha.iter_mut().enumerate() {
        let p = [(x0 + (i % width) as i32) as f32 + 0.5, (y0 + (i / width) as i32) as f32 + 0.5];
        *alpha = alpha_of(points, feather_px, p);
    }
}

/// Alpha of a pixel whose centre is `p`.
#[must_use]
pub fn alpha_of(points: &[[f32; 2]], feather_px: f32, p: [f32; 2]) -> u8 {
    if winding(points, p) != 0 {
        255
    } else {
        ramp(distance_px(points, p), ramp_px(feather_px))
    }
}

fn edges(points: &[[f32; 2]]) -> impl Iterator<Item = ([f32; 2], [f32; 2])> + '_ {
    points.iter().zip(points.iter().cycle().skip(1)).map(|(&a, &b)| (near(a), near(b)))
}

fn winding(points: &[[f32; 2]], p: [f32; 2]) -> i32 {
    let mut winding = 0;
    for (a, b) in edges(points) {
        let up = a[1] <= p[1] && p[1] < b[1];
        let down = b[1] <= p[1] && p[1] < a[1];
        if (up || down) && a[0] + (p[1] - a[1]) * (b[0] - a[0]) / (b[1] - a[1]) <= p[0] {
            winding += if up { 1 } else { -1 };
        }
    }
    winding
}

fn distance_px(points: &[[f32; 2]], p: [f32; 2]) -> f32 {
    edges(points)
        .map(|(a, b)| super::scan::distance_sq(a, b, p))
        .fold(f32::INFINITY, f32::min)
        .sqrt()
}
