//! Piecewise affine sampling: which triangle covers a pixel, and where in the source that pixel lies.
//!
//! | | contract |
//! |---|---|
//! | points | px of their picture, pixel centres at integer + 0.5; depth towards the camera negative |
//! | order | far triangles first, nearer ones over them; those facing away are not drawn |
//! | coverage | a pixel belongs to a triangle when its centre is inside or on an edge |
//! | out | index of the triangle or [`NONE`] for each pixel; never a pixel outside the picture |
//! | errors | none: triangles with points that are not finite or without area are not drawn |
//!
//! Why not normal maps or a z-buffer per pixel: a face mesh overlaps itself only at the nose and the
//! cheek in profile, where sorting whole triangles is right to a pixel and costs a tenth.

/// A point, px.
pub type Point = [f32; 2];

/// No triangle.
pub const NONE: u16 = u16::MAX;

/// Doubled area below which a triangle is a line, px².
const MIN_TWICE_AREA: f32 = 1e-3;

/// A 2×3 map from pixels of the target to pixels of the source.
#[derive(Debug, Clone, Copy, Default)]
pub struct TriangleMap {
    /// Row-major `[a, b, c, d, e, f]`.
    pub m: [f32; 6],
}

impl TriangleMap {
    /// Maps a pixel centre.
    #[inline]
    #[must_use]
    pub fn apply(&self, x: f32, y: f32) -> Point {
        [self.m[0] * x + self.m[1] * y + self.m[2], self.m[3] * x + self.m[4] * y + self.m[5]]
    }
}

/// Rasterises a mesh; keeps buffers.
#[derive(Debug, Default)]
pub struct Raster {
    /// Triangle of each pixel, row-major.
    pub index: Vec<u16>,
    order: Vec<u16>,
    depth: Vec<f32>,
}

fn corner(points: &[Point], i: u16) -> Option<Point> {
    points.get(usize::from(i)).copied().filter(|p| p[0].is_finite() && p[1].is_finite())
}

fn corners(points: &[Point], t: [u16; 3]) -> Option<[Point; 3]> {
    Some([corner(points, t[0])?, corner(points, t[1])?, corner(points, t[2])?])
}

fn twice_area(p: &[Point; 3]) -> f32 {
    (p[1][0] - p[0][0]) * (p[2][1] - p[0][1]) - (p[1][1] - p[0][1]) * (p[2][0] - p[0][0])
}

impl Raster {
    /// Fills [`Self::index`] for a picture of `width` × `height`.
    pub fn draw(&mut self, points: &[Point], depth: &[f32], triangles: &[[u16; 3]], width: usize, height: usize) {
        self.index.clear();
        self.index.resize(width * height, NONE);
        self.depth.clear();
        self.depth.extend(
            triangles
                .iter()
                .map(|t| t.iter().map(|&i| depth.get(usize::from(i)).copied().unwrap_or(0.0)).sum::<f32>()),
        );
        self.order.clear();
        self.order.extend(0..u16::try_from(triangles.len()).unwrap_or(NONE));
        let depth = &self.depth;
        let at = |i: &u16| depth.get(usize::from(*i)).copied().unwrap_or(0.0);
        self.order.sort_by(|a, b| at(b).total_cmp(&at(a)).then(a.cmp(b)));
        for &t in &self.order {
            if let Some(p) = triangles.get(usize::from(t)).and_then(|&t| corners(points, t))
                && twice_area(&p) > MIN_TWICE_AREA
            {
                fill(&mut self.index, &p, t, width, height);
            }
        }
    }
}

/// Writes `value` where a pixel's centre lies in the triangle.
fn fill(index: &mut [u16], p: &[Point; 3], value: u16, width: usize, height: usize) {
    let low = p.iter().fold(f32::INFINITY, |m, q| m.min(q[1]));
    let high = p.iter().fold(f32::NEG_INFINITY, |m, q| m.max(q[1]));
    let first = (low - 0.5).ceil().max(0.0) as usize;
    let last = (high - 0.5).floor().min(height as f32 - 1.0);
    if last < 0.0 {
        return;
    }
    for y in first..=last as usize {
        let cy = y as f32 + 0.5;
        // The scan line's part inside: between the crossings of the edges.
        let (mut left, mut right) = (f32::INFINITY, f32::NEG_INFINITY);
        for i in 0..3 {
            let (a, b) = (p[i], p[(i + 1) % 3]);
            let (top, bottom) = if a[1] <= b[1] { (a, b) } else { (b, a) };
            if cy < top[1] || cy > bottom[1] {
                continue;
            }
            let dy = bottom[1] - top[1];
            if dy <= f32::EPSILON {
                left = left.min(a[0].min(b[0]));
                right = right.max(a[0].max(b[0]));
            } else {
                let x = top[0] + (bottom[0] - top[0]) * (cy - top[1]) / dy;
                left = left.min(x);
                right = right.max(x);
            }
        }
        if !(left <= right) {
            continue;
        }
        let x0 = (left - 0.5).ceil().max(0.0) as usize;
        let x1 = (right - 0.5).floor().min(width as f32 - 1.0);
        if x1 < 0.0 || x0 > x1 as usize {
            continue;
        }
        if let Some(row) = index.get_mut(y * width + x0..=y * width + x1 as usize) {
            row.fill(value);
        }
    }
}

/// The map of each triangle from target pixels to source pixels; the zero map where degenerate.
pub fn maps(to: &[Point], from: &[Point], triangles: &[[u16; 3]], out: &mut Vec<TriangleMap>) {
    out.clear();
    out.extend(triangles.iter().map(|&t| match (corners(to, t), corners(from, t)) {
        (Some(d), Some(s)) => map(&d, &s).unwrap_or_default(),
        _ => TriangleMap::default(),
    }));
}

fn map(d: &[Point; 3], s: &[Point; 3]) -> Option<TriangleMap> {
    let area = twice_area(d);
    if area.abs() < MIN_TWICE_AREA {
        return None;
    }
    let (u, v) = ([d[1][0] - d[0][0], d[1][1] - d[0][1]], [d[2][0] - d[0][0], d[2][1] - d[0][1]]);
    let row = |axis: usize| {
        let (su, sv) = (s[1][axis] - s[0][axis], s[2][axis] - s[0][axis]);
        let a = (su * v[1] - sv * u[1]) / area;
        let b = (sv * u[0] - su * v[0]) / area;
        [a, b, s[0][axis] - a * d[0][0] - b * d[0][1]]
    };
    let ([a, b, c], [e, f, g]) = (row(0), row(1));
    Some(TriangleMap { m: [a, b, c, e, f, g] })
}

/// Bilinear sample of an interleaved picture with `C` channels at a point with centres at + 0.5;
/// the border is repeated.
#[inline]
#[must_use]
pub fn sample<const C: usize>(picture: &[f32], width: usize, height: usize, p: Point) -> [f32; C] {
    let x = (p[0] - 0.5).clamp(0.0, width as f32 - 1.0);
    let y = (p[1] - 0.5).clamp(0.0, height as f32 - 1.0);
    let (x0, y0) = (x as usize, y as usize);
    let (x1, y1) = ((x0 + 1).min(width - 1), (y0 + 1).min(height - 1));
    let (fx, fy) = (x - x0 as f32, y - y0 as f32);
    let texel = |x: usize, y: usize| {
        picture
            .get((y * width + x) * C..)
            .and_then(|s| s.first_chunk::<C>())
            .copied()
            .unwrap_or([0.0; C])
    };
    let (a, b, c, d) = (texel(x0, y0), texel(x1, y0), texel(x0, y1), texel(x1, y1));
    std::array::from_fn(|i| {
        let top = a[i] + (b[i] - a[i]) * fx;
        let bottom = c[i] + (d[i] - c[i]) * fx;
        top + (bottom - top) * fy
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: [Point; 4] = [[2.0, 2.0], [10.0, 2.0], [10.0, 10.0], [2.0, 10.0]];
    const HALVES: [[u16; 3]; 2] = [[0, 1, 2], [0, 2, 3]];

    #[test]
    fn two_triangles_cover_their_square_without_a_gap() {
        let mut raster = Raster::default();
        raster.draw(&SQUARE, &[0.0; 4], &HALVES, 16, 12);
        let covered = raster.index.iter().filter(|&&t| t != NONE).count();
        assert_eq!(covered, 64);
    }

    #[test]
    fn a_triangle_facing_away_is_not_drawn() {
        let mut raster = Raster::default();
        raster.draw(&SQUARE, &[0.0; 4], &[[2, 1, 0]], 16, 12);
        assert!(raster.index.iter().all(|&t| t == NONE));
    }

    #[test]
    fn the_nearer_triangle_wins() {
        let points = [[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [0.0, 0.0], [8.0, 0.0], [0.0, 8.0]];
        let mut raster = Raster::default();
        raster.draw(&points, &[5.0, 5.0, 5.0, -5.0, -5.0, -5.0], &[[3, 4, 5], [0, 1, 2]], 8, 8);
        assert_eq!(raster.index[8 + 1], 0);
    }

    #[test]
    fn points_outside_or_not_finite_draw_nothing_wrong() {
        let mut raster = Raster::default();
        let far = [[-1e9, -1e9], [1e9, -1e9], [0.0, 1e9], [f32::NAN, 0.0]];
        raster.draw(&far, &[0.0; 4], &[[0, 1, 2], [1, 2, 3], [0, 1, 9]], 8, 8);
        assert_eq!(raster.index.len(), 64);
        assert!(raster.index.iter().all(|&t| t == 0));
    }

    #[test]
    fn maps_send_corners_to_corners() {
        let from: Vec<Point> = SQUARE.iter().map(|p| [p[0] * 0.5 + 3.0, p[1] * 2.0 - 1.0]).collect();
        let mut out = Vec::new();
        maps(&SQUARE, &from, &HALVES, &mut out);
        for (t, map) in HALVES.iter().zip(&out) {
            for &i in t {
                let (d, s) = (SQUARE[usize::from(i)], from[usize::from(i)]);
                let got = map.apply(d[0], d[1]);
                assert!((got[0] - s[0]).abs() < 1e-4 && (got[1] - s[1]).abs() < 1e-4, "{got:?} {s:?}");
            }
        }
    }

    #[test]
    fn sampling_at_centres_returns_the_pixels() {
        let picture: Vec<f32> = (0..12).map(|v| v as f32).collect();
        assert_eq!(sample::<1>(&picture, 4, 3, [1.5, 2.5]), [9.0]);
        assert_eq!(sample::<1>(&picture, 4, 3, [2.0, 0.5]), [1.5]);
        assert_eq!(sample::<1>(&picture, 4, 3, [-5.0, 99.0]), [8.0]);
    }
}
