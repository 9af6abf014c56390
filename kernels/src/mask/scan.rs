//! The fast path: scan-line fill, then the ramp along each edge.
//!
//! A face oval has some 36 short edges; distances to all of them at every pixel cost about thirty
//! times what the band around the outline costs. Rows are cut to the part of an edge's band that
//! they can meet, so long slanted edges do not pay for their bounding box.

use super::{RegionMask, near, ramp, ramp_px};
use std::cell::Cell;

/// Where an edge crosses a row, and its direction.
type Crossing = (f32, i32);

thread_local! {
    /// Kept from call to call so that a steady stream of masks does not allocate.
    static CROSSINGS: Cell<Vec<Crossing>> = const { Cell::new(Vec::new()) };
}

/// Squared distance of a point to a segment.
pub(super) fn distance_sq(a: [f32; 2], b: [f32; 2], p: [f32; 2]) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let (px, py) = (p[0] - a[0], p[1] - a[1]);
    let length_sq = dx * dx + dy * dy;
    let t = if length_sq > 0.0 {
        ((px * dx + py * dy) / length_sq).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let (ex, ey) = (px - t * dx, py - t * dy);
    ex * ex + ey * ey
}

/// Fills the mask's rectangle, which is all zeros.
pub(super) fn fill(mask: &mut RegionMask, points: &[[f32; 2]], feather_px: f32) {
    let mut crossings = CROSSINGS.take();
    inside(mask, points, &mut crossings);
    CROSSINGS.set(crossings);
    let reach = ramp_px(feather_px);
    for (&a, &b) in points.iter().zip(points.iter().cycle().skip(1)) {
        band(mask, near(a), near(b), reach);
    }
}

fn inside(mask: &mut RegionMask, points: &[[f32; 2]], crossings: &mut Vec<Crossing>) {
    let (x, y, width) = (mask.x as f32, mask.y, mask.width as usize);
    for (row, line) in mask.alpha.chunks_exact_mut(width).enumerate() {
        let yc = (y + row as i32) as f32 + 0.5;
        crossings.clear();
        for (&a, &b) in points.iter().zip(points.iter().cycle().skip(1)) {
            let (a, b) = (near(a), near(b));
            let up = a[1] <= yc && yc < b[1];
            let down = b[1] <= yc && yc < a[1];
            if up || down {
                let at = a[0] + (yc - a[1]) * (b[0] - a[0]) / (b[1] - a[1]);
                crossings.push((at, if up { 1 } else { -1 }));
            }
        }
        crossings.sort_unstable_by(|p, q| p.0.total_cmp(&q.0));
        let mut winding = 0;
        for pair in crossings.windows(2) {
            let &[(from, step), (to, _)] = pair else {
                continue;
            };
            winding += step;
            if winding != 0 {
                // Centres at c + 0.5 with from <= c + 0.5 < to.
                let first = (from - x - 0.5).ceil().clamp(0.0, width as f32) as usize;
                let last = (to - x - 0.5).ceil().clamp(0.0, width as f32) as usize;
                if let Some(run) = line.get_mut(first..last) {
                    run.fill(255);
                }
            }
        }
    }
}

/// Raises alpha to the ramp of one edge.
fn band(mask: &mut RegionMask, a: [f32; 2], b: [f32; 2], reach: f32) {
    let (a, b) = if a[1] <= b[1] { (a, b) } else { (b, a) };
    let (x, y, width, height) = (mask.x as f32, mask.y as f32, mask.width as usize, mask.height as f32);
    let row0 = (a[1] - reach - y - 0.5).ceil().clamp(0.0, height) as usize;
    let row1 = (b[1] + reach - y + 0.5).floor().clamp(0.0, height) as usize;
    let slope = if b[1] > a[1] { (b[0] - a[0]) / (b[1] - a[1]) } else { 0.0 };
    let at = |yy: f32| {
        if b[1] > a[1] {
            a[0] + (yy.clamp(a[1], b[1]) - a[1]) * slope
        } else {
            a[0]
        }
    };
    let rows = mask
        .alpha
        .chunks_exact_mut(width)
        .enumerate()
        .skip(row0)
        .take(row1.saturating_sub(row0));
    let reach_sq = reach * reach;
    for (row, line) in rows {
        let yc = y + row as f32 + 0.5;
        // The part of the edge within reach of this row, widened by the reach.
        let (p, q) = if slope == 0.0 {
            (a[0], b[0])
        } else {
            (at(yc - reach), at(yc + reach))
        };
        let first = (p.min(q) - reach - x - 0.5).floor().clamp(0.0, width as f32) as usize;
        let last = (p.max(q) + reach - x + 0.5).ceil().clamp(0.0, width as f32) as usize;
        let Some(run) = line.get_mut(first..last.max(first)) else {
            continue;
        };
        for (column, alpha) in run.iter_mut().enumerate() {
            if *alpha == 255 {
                continue;
            }
            let d = distance_sq(a, b, [x + (first + column) as f32 + 0.5, yc]);
            if d < reach_sq {
                *alpha = (*alpha).max(ramp(d.sqrt(), reach));
            }
        }
    }
}
