//! Fréchet distance of two sets of embeddings: how far outputs as a whole lie from real faces.

use nalgebra::{DMatrix, DVector};

/// Fréchet distance of Gaussians fitted to two sets of rows. `None` where either has fewer rows than 64.
#[must_use]
pub fn frechet(a: &[&[f32]], b: &[&[f32]]) -> Option<f64> {
    const MIN_ROWS: usize = 64;
    const FLOOR: f64 = 1e-6;
    let width = a.first()?.len();
    if a.len() < MIN_ROWS || b.len() < MIN_ROWS || a.iter().chain(b).any(|r| r.len() != width) {
        return None;
    }
    let fit = |rows: &[&[f32]]| {
        let n = rows.len() as f64;
        let m = DMatrix::from_fn(rows.len(), width, |r, c| f64::from(rows[r][c]));
        let mean = DVector::from_fn(width, |c, _| m.column(c).mean());
        let centred = DMatrix::from_fn(rows.len(), width, |r, c| m[(r, c)] - mean[c]);
        let mut cov = centred.transpose() * &centred / (n - 1.0);
        for i in 0..width {
            cov[(i, i)] += FLOOR;
        }
        (mean, cov)
    };
    let ((ma, ca), (mb, cb)) = (fit(a), fit(b));
    // tr √(A B) = Σ √λ(√A B √A), which is symmetric.
    let eigen = ca.clone().symmetric_eigen();
    let roots = DMatrix::from_diagonal(&eigen.eigenvalues.map(|v| v.max(0.0).sqrt()));
    let root = &eigen.eigenvectors * roots * eigen.eigenvectors.transpose();
    let middle = &root * &cb * &root;
    let cross: f64 = middle.symmetric_eigenvalues().iter().map(|v| v.max(0.0).sqrt()).sum();
    let distance = (ma - mb).norm_squared() + ca.trace() + cb.trace() - 2.0 * cross;
    distance.is_finite().then_some(distance.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn the_frechet_distance_is_zero_of_a_set_to_itself_and_the_shift_of_means_otherwise() {
        let mut rng = StdRng::seed_from_u64(2);
        let rows: Vec<Vec<f32>> = (0..100).map(|_| (0..8).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        let moved: Vec<Vec<f32>> = rows.iter().map(|r| r.iter().map(|v| v + 2.0).collect()).collect();
        let (ra, rb): (Vec<&[f32]>, Vec<&[f32]>) = (rows.iter().map(Vec::as_slice).collect(), moved.iter().map(Vec::as_slice).collect());
        assert!(frechet(&ra, &ra).expect("rows") < 1e-6);
        assert!((frechet(&ra, &rb).expect("rows") - 32.0).abs() < 1e-3);
        assert_eq!(frechet(&ra[..20], &rb), None);
    }
}
