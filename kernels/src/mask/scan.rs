//! The fast path: scan-line fill, then the ramp along each edge.
//!
//! A face oval has some 36 short edges; distances to all of them at every pixel cost about thirty
//! times what the band around the outline costs. Rows are cut to the part of an edge's band that
//! they can meet, so long slanted edges do not pay for their bounding box. Bands of a wide feather
//! overlap many times over, so a row first gathers the nearest distance of each pixel, in vectors,
//! and turns it into alpha once.

use super::{RegionMask, near, ramp, ramp_px};
use crate::simd::vectorised;
use std::cell::Cell;

/// Where an edge crosses a row, and its direction.
type Crossing = (f32, i32);

thread_local! {
    /// Kept from call to call so that a steady stream of masks does not allocate.
    static CROSSINGS: Cell<Vec<Crossing>> = const { Cell::new(Vec::new()) };
    static NEAREST: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static EDGES: Cell<Vec<Edge>> = const { Cell::new(Vec::new()) };
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
    let (mut nearest, mut edges) = (NEAREST.take(), EDGES.take());
    ramps(mask, points, ramp_px(feather_px), &mut nearest, &mut edges);
    NEAREST.set(nearest);
    EDGES.set(edges);
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

/// An edge, its upper end first, and the rows that its band can meet.
struct Edge {
    a: [f32; 2],
    b: [f32; 2],
    slope: f32,
    rows: std::ops::Range<usize>,
}

impl Edge {
    fn of(a: [f32; 2], b: [f32; 2], mask: &RegionMask, reach: f32) -> Self {
        let (a, b) = if a[1] <= b[1] { (a, b) } else { (b, a) };
        let row = |v: f32| v.clamp(0.0, mask.height as f32) as usize;
        let y = mask.y as f32;
        Self {
            a,
            b,
            slope: if b[1] > a[1] { (b[0] - a[0]) / (b[1] - a[1]) } else { 0.0 },
            rows: row((a[1] - reach - y - 0.5).ceil())..row((b[1] + reach - y + 0.5).floor()),
        }
    }

    /// Where the edge is at a height, its ends beyond.
    fn at(&self, y: f32) -> f32 {
        if self.b[1] > self.a[1] {
            self.a[0] + (y.clamp(self.a[1], self.b[1]) - self.a[1]) * self.slope
        } else {
            self.a[0]
        }
    }

    /// Columns of a row that the edge's band can meet: the part of the edge within reach of the row,
    /// widened by the reach.
    fn columns(&self, yc: f32, reach: f32, mask: &RegionMask) -> std::ops::Range<usize> {
        let (p, q) = if self.slope == 0.0 {
            (self.a[0], self.b[0])
        } else {
            (self.at(yc - reach), self.at(yc + reach))
        };
        let column = |v: f32| v.clamp(0.0, mask.width as f32) as usize;
        let first = column((p.min(q) - reach - mask.x as f32 - 0.5).floor());
        let last = column((p.max(q) + reach - mask.x as f32 + 0.5).ceil());
        first..last.max(first)
    }
}

/// Raises alpha to the ramp of the nearest edge.
fn ramps(mask: &mut RegionMask, points: &[[f32; 2]], reach: f32, nearest: &mut Vec<f32>, edges: &mut Vec<Edge>) {
    edges.clear();
    let pairs = points.iter().zip(points.iter().cycle().skip(1));
    edges.extend(pairs.map(|(&a, &b)| Edge::of(near(a), near(b), mask, reach)));
    let (x, width, reach_sq) = (mask.x as f32, mask.width as usize, reach * reach);
    nearest.clear();
    nearest.resize(width, reach_sq);
    for row in 0..mask.height as usize {
        let yc = mask.y as f32 + row as f32 + 0.5;
        let (mut first, mut last) = (width, 0);
        for edge in edges.iter().filter(|e| e.rows.contains(&row)) {
            let columns = edge.columns(yc, reach, mask);
            let (from, to) = (columns.start, columns.end);
            if let Some(run) = nearest.get_mut(columns) {
                nearer(edge.a, edge.b, [x + from as f32 + 0.5, yc], run);
                (first, last) = (first.min(from), last.max(to));
            }
        }
        let at = row * width;
        let (Some(run), Some(line)) = (
            nearest.get_mut(first..last.max(first)),
            mask.alpha.get_mut(at + first..at + last.max(first)),
        ) else {
            continue;
        };
        for (alpha, d) in line.iter_mut().zip(run.iter()) {
            if *alpha != 255 && *d < reach_sq {
                *alpha = (*alpha).max(ramp(d.sqrt(), reach));
            }
        }
        run.fill(reach_sq);
    }
}

vectorised! {
/// Lowers squared distances of a run of pixels, the first at `p`, to those to an edge.
fn nearer(a: [f32; 2], b: [f32; 2], p: [f32; 2], run: &mut [f32]) {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let length_sq = dx * dx + dy * dy;
    let inverse = if length_sq > 0.0 { 1.0 / length_sq } else { 0.0 };
    let (px, py) = (p[0] - a[0], p[1] - a[1]);
    for (i, nearest) in run.iter_mut().enumerate() {
        let px = px + (i as i32) as f32;
        let t = ((px * dx + py * dy) * inverse).clamp(0.0, 1.0);
        let (ex, ey) = (px - t * dx, py - t * dy);
        *nearest = nearest.min(ex * ex + ey * ey);
    }
}
}
