//! Which points of the 468-point topology form which part of a face. Right and left are the
//! person's; right lies left in the picture.

use crate::frame::{Mesh, Point};

/// The face's outline, in order around it from the top of the forehead.
pub const FACE_OVAL: [usize; 36] = [
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132,
    93, 234, 127, 162, 21, 54, 103, 67, 109,
];

/// Outer rim of the lips, in order from the right corner along the lower lip.
pub const LIPS_OUTER: [usize; 20] = [
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
];

/// Inner rim of the lips: the mouth's opening.
pub const LIPS_INNER: [usize; 20] = [
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
];

/// Lids of the right eye, in order from the outer corner along the lower lid.
pub const EYE_RIGHT: [usize; 16] = [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246];

/// Lids of the left eye, in order from the outer corner along the lower lid.
pub const EYE_LEFT: [usize; 16] = [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466];

/// Right brow: upper edge from the outside in, lower edge back.
pub const BROW_RIGHT: [usize; 10] = [70, 63, 105, 66, 107, 55, 65, 52, 53, 46];

/// Left brow: upper edge from the outside in, lower edge back.
pub const BROW_LEFT: [usize; 10] = [300, 293, 334, 296, 336, 285, 295, 282, 283, 276];

/// Bridge of the nose down to its base.
pub const NOSE_RIDGE: [usize; 10] = [168, 6, 197, 195, 5, 4, 1, 19, 94, 2];

/// Wings and nostrils, from right to left.
pub const NOSE_WINGS: [usize; 6] = [48, 64, 98, 327, 294, 278];

/// The outline as a polygon in frame px, scaled about its centre of gravity. `None` where the mesh
/// lacks points or has some that are none.
#[must_use]
pub fn oval_polygon(mesh: &Mesh, scale: f32) -> Option<Vec<Point>> {
    let points: Vec<Point> = FACE_OVAL.iter().map(|i| mesh.points_px.get(*i).copied()).collect::<Option<_>>()?;
    if !points.iter().flatten().all(|v| v.is_finite()) {
        return None;
    }
    let n = points.len() as f32;
    let center = points.iter().fold([0.0, 0.0], |c, p| [c[0] + p[0] / n, c[1] + p[1] / n]);
    Some(
        points
            .iter()
            .map(|p| [center[0] + (p[0] - center[0]) * scale, center[1] + (p[1] - center[1]) * scale])
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{BoxPx, MESH_POINTS};

    #[test]
    fn lists_name_different_points_that_exist() {
        let lists: [&[usize]; 9] = [
            &FACE_OVAL,
            &LIPS_OUTER,
            &LIPS_INNER,
            &EYE_RIGHT,
            &EYE_LEFT,
            &BROW_RIGHT,
            &BROW_LEFT,
            &NOSE_RIDGE,
            &NOSE_WINGS,
        ];
        for list in lists {
            let distinct: std::collections::HashSet<_> = list.iter().collect();
            assert_eq!(distinct.len(), list.len());
            assert!(list.iter().all(|i| *i < MESH_POINTS));
        }
    }

    #[test]
    fn the_polygon_grows_about_its_centre() {
        let points_px = (0..MESH_POINTS)
            .map(|i| [100.0 + (i as f32).sin() * 50.0, 100.0 + (i as f32).cos() * 70.0])
            .collect();
        let mut mesh = Mesh {
            points_px,
            depth_px: vec![0.0; MESH_POINTS],
            face_prob: 1.0,
        };
        let size = |scale| {
            let b = BoxPx::bounding(&oval_polygon(&mesh, scale).expect("points")).expect("box");
            (b.width(), b.height())
        };
        let ((w1, h1), (w2, h2)) = (size(1.0), size(1.5));
        assert!((w2 / w1 - 1.5).abs() < 1e-3 && (h2 / h1 - 1.5).abs() < 1e-3);
        mesh.points_px[10] = [f32::NAN, 0.0];
        assert_eq!(oval_polygon(&mesh, 1.0), None);
    }
}
