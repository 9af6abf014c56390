//! Moving a mesh to the target's shape: what the person is shaped like changes, pose and expression stay.
//!
//! The mesh is brought into the head's own coordinates by a similarity over points that hardly move
//! with expression (Umeyama 1991); the difference to the mean shape is projected onto the basis' modes,
//! which are zero at the oval's rim; target minus source, clamped to a few standard deviations, is added.

use nalgebra::{Matrix3, Vector3};

use crate::frame::Point;

use super::basis::Basis;

/// Points that carry pose rather than expression.
const RIGID: [usize; 22] = [
    33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 98, 327, 10, 109, 338, 127, 356, 234, 454, 9, 8,
];

/// Scale, rotation and shift of a head against the mean shape.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pose {
    /// Scale, px for each inter-ocular unit.
    pub scale: f32,
    /// Rotation.
    pub rotation: Matrix3<f32>,
    /// Shift, px.
    pub shift: Vector3<f32>,
}

fn point(points: &[Point], depth: &[f32], i: usize) -> Option<Vector3<f32>> {
    let (p, z) = (points.get(i)?, depth.get(i)?);
    Some(Vector3::new(p[0], p[1], *z))
}

fn mean(basis: &Basis, i: usize) -> Option<Vector3<f32>> {
    basis.mean_shape.get(i * 3..i * 3 + 3).map(Vector3::from_column_slice)
}

/// The pose of a mesh; `None` where its points are degenerate or not finite.
#[must_use]
pub fn pose(basis: &Basis, points: &[Point], depth: &[f32]) -> Option<Pose> {
    let pairs: Option<Vec<_>> = RIGID.iter().map(|&i| Some((mean(basis, i)?, point(points, depth, i)?))).collect();
    let pairs = pairs?;
    let n = pairs.len() as f32;
    let (ma, mb) = pairs
        .iter()
        .fold((Vector3::zeros(), Vector3::zeros()), |(a, b), p| (a + p.0 / n, b + p.1 / n));
    let mut covariance = Matrix3::zeros();
    let mut spread = 0.0;
    for (a, b) in &pairs {
        covariance += (b - mb) * (a - ma).transpose() / n;
        spread += (a - ma).norm_squared() / n;
    }
    if !covariance.iter().all(|v| v.is_finite()) || spread < 1e-9 {
        return None;
    }
    let svd = covariance.svd(true, true);
    let (u, vt) = (svd.u?, svd.v_t?);
    let mut sign = Vector3::new(1.0, 1.0, 1.0);
    if (u * vt).determinant() < 0.0 {
        sign[2] = -1.0;
    }
    let rotation = u * Matrix3::from_diagonal(&sign) * vt;
    let scale = svd.singular_values.component_mul(&sign).sum() / spread;
    (scale.is_finite() && scale > 1e-3).then(|| Pose {
        scale,
        rotation,
        shift: mb - scale * (rotation * ma),
    })
}

/// Shape coefficients of a mesh; `local` is a buffer for its points in the head's own coordinates.
#[must_use]
pub fn coefficients(basis: &Basis, points: &[Point], depth: &[f32], pose: &Pose, local: &mut Vec<f32>) -> Option<Vec<f32>> {
    let inverse = pose.rotation.transpose() / pose.scale;
    let count = basis.mean_shape.len() / 3;
    local.clear();
    for i in 0..count {
        let d = inverse * (point(points, depth, i)? - pose.shift) - mean(basis, i)?;
        local.extend_from_slice(d.as_slice());
    }
    Some(
        basis
            .project
            .chunks_exact(local.len())
            .map(|row| row.iter().zip(local.iter()).map(|(a, b)| a * b).sum())
            .collect(),
    )
}

/// The mesh moved from the source's coefficients to the target's, `boost` times as far as the pack says, into `out`; `shift`
/// is a buffer.
#[allow(clippy::too_many_arguments)] // a face, whom it becomes, and where that goes
pub fn moved(
    basis: &Basis,
    points: &[Point],
    pose: &Pose,
    source: &[f32],
    target: &[f32],
    boost: f32,
    shift: &mut Vec<f32>,
    out: &mut Vec<Point>,
) {
    let (strength, clamp) = (boost * basis.composite.shape_strength, basis.composite.shape_clamp_sd);
    let width = basis.mean_shape.len();
    let steps: Vec<f32> = basis
        .mode_sd
        .iter()
        .zip(source.iter().zip(target))
        .map(|(sd, (s, t))| {
            let limit = clamp * sd;
            strength * (t.clamp(-limit, limit) - s.clamp(-limit, limit))
        })
        .collect();
    shift.clear();
    shift.resize(width, 0.0);
    for (mode, step) in basis.modes.chunks_exact(width.max(1)).zip(&steps) {
        shift.iter_mut().zip(mode).for_each(|(s, m)| *s += step * m);
    }
    out.clear();
    out.extend(points.iter().zip(shift.chunks_exact(3)).map(|(p, d)| {
        let v = pose.scale * (pose.rotation * Vector3::new(d[0], d[1], d[2]));
        [p[0] + v[0], p[1] + v[1]]
    }));
}
