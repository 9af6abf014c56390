//! Expression and pose from two meshes of one face.
//!
//! | figure | definition | unit |
//! |---|---|---|
//! | expression | mean distance of the points of mouth, eyes and brows, after the similarity that brings the rigid points together | % of the distance of the outer eye corners |
//! | openings | mean difference of four openings (mouth height and width, both eyes), each in eye distances | % |
//! | pose | rotation between the source's mesh in space and the output's points in the picture, by `solvePnP` | degrees |
//!
//! "Expression" counts a change of the face's own shape too, which the modes that replace make on purpose;
//! "openings" does not. Beside each belongs its noise floor: the same figure between consecutive source frames.

use opencv::calib3d;
use opencv::core::{Mat, Point2f, Point3f, Scalar, Vector};
use opencv::prelude::*;

use super::EvalError;
use crate::frame::{Mesh, Point, similarity};
use crate::stages::align::{BROW_LEFT, BROW_RIGHT, EYE_LEFT, EYE_RIGHT, LIPS_OUTER};

/// Points that an expression moves least.
const RIGID: [usize; 22] = [
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 98, 327, 10, 109, 338, 127, 356, 234, 454, 9, 8,
];
/// Outer corners of the eyes.
const EYES: [usize; 2] = [33, 263];
/// Pairs of points that an expression opens: lips, mouth corners, lids.
const OPENINGS: [(usize, usize); 4] = [(13, 14), (61, 291), (159, 145), (386, 374)];

/// How far the output's expression is from the source's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShapeError {
    /// Percent of the eyes' distance.
    pub expression: f64,
    /// Percent of the eyes' distance.
    pub openings: f64,
    /// Degrees; `None` where OpenCV found no pose.
    pub pose_deg: Option<f64>,
}

/// Indices of the points that show expression.
pub fn features() -> impl Iterator<Item = usize> {
    [&LIPS_OUTER[..], &EYE_RIGHT, &EYE_LEFT, &BROW_RIGHT, &BROW_LEFT]
        .into_iter()
        .flatten()
        .copied()
}

/// Distance of the outer eye corners, px.
#[must_use]
pub fn eye_distance(mesh: &Mesh) -> Option<f32> {
    let [a, b] = EYES.map(|i| mesh.points_px.get(i).copied());
    let (a, b) = (a?, b?);
    let d = (a[0] - b[0]).hypot(a[1] - b[1]);
    (d.is_finite() && d > 1.0).then_some(d)
}

/// Compares the output's mesh with the source's. `None` where either is degenerate.
///
/// # Errors
/// OpenCV refuses.
pub fn compare(source: &Mesh, output: &Mesh) -> Result<Option<ShapeError>, EvalError> {
    let (Some(eyes), Some(fitted), Some(own), Some(theirs)) =
        (eye_distance(source), aligned(output, source), openings(source), openings(output))
    else {
        return Ok(None);
    };
    let n = features().count() as f64;
    let moved: f64 = features()
        .map(|i| f64::from((fitted[i][0] - source.points_px[i][0]).hypot(fitted[i][1] - source.points_px[i][1])))
        .sum();
    Ok(Some(ShapeError {
        expression: 100.0 * moved / n / f64::from(eyes),
        openings: 100.0 * own.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).sum::<f64>() / own.len() as f64,
        pose_deg: pose(source, output)?,
    }))
}

/// The feature points of a mesh in a frame of their own: rigid points brought onto those of `reference`,
/// eye distances as unit. What is left moves with the expression only.
#[must_use]
pub fn trajectory(mesh: &Mesh, reference: &Mesh) -> Option<Vec<Point>> {
    let eyes = eye_distance(reference)?;
    let fitted = aligned(mesh, reference)?;
    Some(features().map(|i| fitted[i].map(|v| v / eyes)).collect())
}

/// All points of a mesh after the similarity that brings its rigid points onto another's.
fn aligned(mesh: &Mesh, onto: &Mesh) -> Option<Vec<Point>> {
    let pick = |m: &Mesh| RIGID.iter().map(|i| m.points_px.get(*i).copied()).collect::<Option<Vec<Point>>>();
    if mesh.points_px.len() < crate::frame::MESH_POINTS || onto.points_px.len() < crate::frame::MESH_POINTS {
        return None;
    }
    let map = similarity(&pick(mesh)?, &pick(onto)?)?;
    Some(mesh.points_px.iter().map(|p| map.apply(*p)).collect())
}

fn openings(mesh: &Mesh) -> Option<[f64; 4]> {
    let eyes = f64::from(eye_distance(mesh)?);
    let mut all = [0.0; 4];
    for (to, (a, b)) in all.iter_mut().zip(OPENINGS) {
        let (p, q) = (mesh.points_px.get(a)?, mesh.points_px.get(b)?);
        *to = f64::from((p[0] - q[0]).hypot(p[1] - q[1])) / eyes;
    }
    Some(all)
}

/// Angle in degrees by which the source's rigid points turn to give the output's picture.
fn pose(source: &Mesh, output: &Mesh) -> Result<Option<f64>, EvalError> {
    let failed = |e: opencv::Error| EvalError::Vision {
        what: "pose (solvePnP)",
        why: e.message,
    };
    let n = RIGID.len() as f32;
    let middle = |m: &Mesh| {
        RIGID
            .iter()
            .fold([0.0; 2], |c, i| [c[0] + m.points_px[*i][0] / n, c[1] + m.points_px[*i][1] / n])
    };
    let (from, to) = (middle(source), middle(output));
    let depth = RIGID.iter().map(|i| source.depth_px[*i]).sum::<f32>() / n;
    // A camera far enough away that perspective within a face is slight; both meshes are looked at by it
    // along its axis, so that a shift in the picture is no turn.
    let Some(eyes) = eye_distance(source) else { return Ok(None) };
    let focal = f64::from(eyes) * 12.0;
    let mut object = Vector::<Point3f>::new();
    let mut picture = Vector::<Point2f>::new();
    for &i in &RIGID {
        let (p, q) = (source.points_px[i], output.points_px[i]);
        object.push(Point3f::new(p[0] - from[0], p[1] - from[1], source.depth_px[i] - depth));
        picture.push(Point2f::new(q[0] - to[0], q[1] - to[1]));
    }
    let camera = Mat::from_slice_2d(&[[focal, 0.0, 0.0], [0.0, focal, 0.0], [0.0, 0.0, 1.0]]).map_err(failed)?;
    let mut turn = Mat::new_rows_cols_with_default(3, 1, opencv::core::CV_64F, Scalar::all(0.0)).map_err(failed)?;
    let mut shift = turn.try_clone().map_err(failed)?;
    *shift.at_mut::<f64>(2).map_err(failed)? = focal;
    let found = calib3d::solve_pnp(
        &object,
        &picture,
        &camera,
        &opencv::core::no_array(),
        &mut turn,
        &mut shift,
        true,
        calib3d::SOLVEPNP_ITERATIVE,
    )
    .map_err(failed)?;
    let axis = [0, 1, 2].map(|i| turn.at::<f64>(i).copied().unwrap_or(f64::NAN));
    let angle = axis.iter().map(|v| v * v).sum::<f64>().sqrt().to_degrees();
    Ok((found && angle.is_finite()).then_some(angle))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::frame::{Affine, MESH_POINTS};

    /// A mesh of points on a bulge, each at its own place.
    pub(crate) fn mesh() -> Mesh {
        let place = |i: usize| {
            let (r, a) = ((i as f32 / MESH_POINTS as f32).sqrt(), i as f32 * 2.4);
            [r * a.cos(), r * a.sin()]
        };
        Mesh {
            points_px: (0..MESH_POINTS).map(|i| place(i).map(|v| 200.0 + 80.0 * v)).collect(),
            depth_px: (0..MESH_POINTS)
                .map(|i| {
                    let [x, y] = place(i);
                    60.0 * (x * x + y * y)
                })
                .collect(),
            face_prob: 1.0,
        }
    }

    #[test]
    fn a_face_that_only_moves_turns_in_the_plane_and_grows_keeps_its_expression() {
        let source = mesh();
        let map = Affine {
            m: [1.1, -0.2, 30.0, 0.2, 1.1, -12.0],
        };
        let output = Mesh {
            points_px: source.points_px.iter().map(|p| map.apply(*p)).collect(),
            ..source.clone()
        };
        let e = compare(&source, &output).expect("compares").expect("sound");
        assert!(e.expression < 1e-2 && e.openings < 1e-2, "{e:?}");
    }

    #[test]
    fn a_mouth_that_opens_shows_in_both_figures() {
        let source = mesh();
        let mut output = source.clone();
        let eyes = eye_distance(&source).expect("eyes");
        for i in [14, 17, 84, 314] {
            output.points_px[i][1] += eyes * 0.2;
        }
        let e = compare(&source, &output).expect("compares").expect("sound");
        assert!(e.expression > 0.3 && e.openings > 0.5, "{e:?}");
    }

    #[test]
    fn a_turn_in_space_is_measured_in_degrees() {
        let source = mesh();
        let middle = RIGID.iter().fold([0.0, 0.0, 0.0], |c, i| {
            let p = source.points_px[*i];
            [c[0] + p[0] / 22.0, c[1] + p[1] / 22.0, c[2] + source.depth_px[*i] / 22.0]
        });
        let (sin, cos) = 10.0_f32.to_radians().sin_cos();
        let mut output = source.clone();
        // Seen by the far camera that the measure assumes.
        let focal = eye_distance(&source).expect("eyes") * 12.0;
        for (p, z) in output.points_px.iter_mut().zip(&source.depth_px) {
            let (x, y, depth) = (p[0] - middle[0], p[1] - middle[1], z - middle[2]);
            let scale = focal / (focal - x * sin + depth * cos);
            *p = [middle[0] + (x * cos + depth * sin) * scale, middle[1] + y * scale];
        }
        let got = compare(&source, &output)
            .expect("compares")
            .expect("sound")
            .pose_deg
            .expect("a pose");
        assert!((got - 10.0).abs() < 1.0, "{got}");
        let still = compare(&source, &source)
            .expect("compares")
            .expect("sound")
            .pose_deg
            .expect("a pose");
        assert!(still < 0.5, "{still}");
    }

    #[test]
    fn a_mesh_in_one_point_is_no_mesh() {
        let flat = Mesh {
            points_px: vec![[5.0, 5.0]; MESH_POINTS],
            ..mesh()
        };
        assert_eq!(compare(&mesh(), &flat).expect("compares"), None);
        assert_eq!(compare(&flat, &mesh()).expect("compares"), None);
    }
}
