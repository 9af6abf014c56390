//! The aligned crop that recognisers and the face engine share: the ArcFace five-point template.
//!
//! Least squares over similarities (Umeyama 1991), closed form in the plane: with centred points p
//! (frame) and q (template), `a = Σ p·q / Σ|p|²`, `b = Σ p×q / Σ|p|²` give `q ≈ [a −b; b a] p + t`.
//! Unlike Umeyama's general form it cannot mirror, which five points of a face never ask for.

use crate::frame::{Affine, Landmarks5, Point};

/// The template at 112 px, pixel centres at integer + 0.5: eyes, nose tip, mouth corners, image order.
/// (The published numbers have pixel centres at integers.)
pub const ARCFACE_TEMPLATE_112: [Point; 5] = [
    [38.7946, 52.1963],
    [74.0318, 52.0014],
    [56.5252, 72.2366],
    [42.0493, 92.8655],
    [71.2299, 92.7041],
];

/// `frame_from_crop` of the ArcFace crop at `size_px` (112 for recognisers, 128 for the engine).
/// `None` where the landmarks are not finite or fall into one point.
#[must_use]
pub fn arcface_crop(landmarks: &Landmarks5, size_px: u32) -> Option<Affine> {
    let scale = size_px as f32 / 112.0;
    let template = ARCFACE_TEMPLATE_112.map(|p| [p[0] * scale, p[1] * scale]);
    similarity(&landmarks.0, &template)?.inverse()
}

/// The similarity that brings `from` closest to `to`. `None` for fewer than two points, points that
/// are not finite, or points that fall into one.
#[must_use]
pub fn similarity(from: &[Point], to: &[Point]) -> Option<Affine> {
    if from.len() != to.len() || from.len() < 2 || !from.iter().chain(to).flatten().all(|v| v.is_finite()) {
        return None;
    }
    let n = from.len() as f64;
    let mean = |points: &[Point]| {
        points
            .iter()
            .fold([0.0_f64; 2], |m, p| [m[0] + f64::from(p[0]) / n, m[1] + f64::from(p[1]) / n])
    };
    let (from_mean, to_mean) = (mean(from), mean(to));
    let (mut dot, mut cross, mut square) = (0.0, 0.0, 0.0);
    for (f, t) in from.iter().zip(to) {
        let p = [f64::from(f[0]) - from_mean[0], f64::from(f[1]) - from_mean[1]];
        let q = [f64::from(t[0]) - to_mean[0], f64::from(t[1]) - to_mean[1]];
        dot += p[0] * q[0] + p[1] * q[1];
        cross += p[0] * q[1] - p[1] * q[0];
        square += p[0] * p[0] + p[1] * p[1];
    }
    if square < 1e-6 {
        return None;
    }
    let (a, b) = (dot / square, cross / square);
    if a.hypot(b) < 1e-6 {
        return None;
    }
    let shift = [
        to_mean[0] - a * from_mean[0] + b * from_mean[1],
        to_mean[1] - b * from_mean[0] - a * from_mean[1],
    ];
    Some(Affine {
        m: [a as f32, -b as f32, shift[0] as f32, b as f32, a as f32, shift[1] as f32],
    })
}

#[cfg(test)]
mod tests {
    use super::{ARCFACE_TEMPLATE_112, arcface_crop, similarity};
    use crate::frame::Landmarks5;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_similarity_of_the_template_is_found_again(scale in 0.05_f32..20.0, angle in -3.1_f32..3.1, tx in -500.0_f32..500.0, ty in -500.0_f32..500.0) {
            let (sin, cos) = angle.sin_cos();
            let frame = ARCFACE_TEMPLATE_112.map(|p| [scale * (cos * p[0] - sin * p[1]) + tx, scale * (sin * p[0] + cos * p[1]) + ty]);
            for size in [112_u32, 128] {
                let frame_from_crop = arcface_crop(&Landmarks5(frame), size).expect("not degenerate");
                let k = size as f32 / 112.0;
                for (template, point) in ARCFACE_TEMPLATE_112.iter().zip(frame) {
                    let got = frame_from_crop.apply([template[0] * k, template[1] * k]);
                    prop_assert!((got[0] - point[0]).hypot(got[1] - point[1]) < 1e-3 * (1.0 + scale * 112.0), "{got:?} {point:?}");
                }
            }
        }
    }

    #[test]
    fn degenerate_landmarks_have_no_crop() {
        assert_eq!(arcface_crop(&Landmarks5([[3.0, 4.0]; 5]), 112), None);
        let mut points = ARCFACE_TEMPLATE_112;
        points[2][0] = f32::NAN;
        assert_eq!(arcface_crop(&Landmarks5(points), 112), None);
        assert_eq!(similarity(&[[0.0, 0.0]], &[[0.0, 0.0]]), None);
    }
}
