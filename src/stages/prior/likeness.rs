//! How like its source a mixture will look once it is painted, told without painting it: what puts a
//! track's candidates in order before the first of them is auditioned.
//!
//! | basis has | promise |
//! |---|---|
//! | `likeness_probe`, `likeness_shape` | Σ wᵢ (probeᵢ · (e, 1)) + Σₖ shapeₖ \|q*ₖ − qₖ\| / sdₖ, both q clamped as when they are painted |
//! | neither | e*·e + 0.2 cos(q*/sd, q/sd) |
//!
//! e: the source's embedding; q: its shape, no term where it is not known; e*, q*: of the mixture. Unit: cosines, up to a
//! constant of the source. Fitted on training people (`models/train/likeness.py`).

use super::basis::Basis;
use super::target::{Target, dot};

/// How much the likeness of shapes counts beside that of embeddings, where nothing was fitted.
const SHAPE_SHARE: f32 = 0.2;

/// What of a source decides about the promise of a mixture.
#[derive(Debug)]
pub struct Likeness<'a> {
    basis: &'a Basis,
    source: &'a [f32],
    /// What each texture adds; empty where the basis has no probe.
    told: Vec<f32>,
    /// The source's shape in standard deviations; empty where not known.
    own: Vec<f32>,
}

impl<'a> Likeness<'a> {
    /// Of a source's unit embedding and its shape coefficients, empty where not known.
    #[must_use]
    pub fn to(basis: &'a Basis, source: &'a [f32], own_shape: &[f32]) -> Self {
        let rows = basis.likeness_probe.chunks_exact(source.len() + 1);
        let mut likeness = Self {
            basis,
            source,
            told: rows.map(|row| dot(row, source) + row.last().copied().unwrap_or(0.0)).collect(),
            own: Vec::new(),
        };
        likeness.own = likeness.in_sd(own_shape);
        likeness
    }

    fn in_sd(&self, shape: &[f32]) -> Vec<f32> {
        let limit = if self.told.is_empty() {
            f32::MAX
        } else {
            self.basis.composite.shape_clamp_sd
        };
        let sd = self.basis.mode_sd.iter();
        shape
            .iter()
            .zip(sd)
            .map(|(q, sd)| (q / sd.max(1e-6)).clamp(-limit, limit))
            .collect()
    }

    /// The promise of a mixture; less is better.
    #[must_use]
    pub fn of(&self, weights: &[(usize, f32)]) -> f32 {
        let shape = self.in_sd(&Target::shape(self.basis, weights));
        if self.told.is_empty() {
            let norms = (dot(&shape, &shape) * dot(&self.own, &self.own)).sqrt();
            let shapes = if norms > 1e-6 { dot(&shape, &self.own) / norms } else { 0.0 };
            return dot(&Target::embedding(self.basis, weights), self.source) + SHAPE_SHARE * shapes;
        }
        let looks: f32 = weights.iter().map(|&(i, w)| w * self.told.get(i).copied().unwrap_or(0.0)).sum();
        let unlike = shape.iter().zip(&self.own).zip(&self.basis.likeness_shape);
        looks + unlike.map(|((t, q), per_sd)| per_sd * (t - q).abs()).sum::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::{Basis, Likeness};

    fn basis() -> Basis {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/nullface-128/basis");
        Basis::load(&folder).expect("the checkout's basis")
    }

    #[test]
    fn a_promise_adds_what_textures_tell_and_what_shapes_differ_by_clamped() {
        let mut basis = basis();
        let (dim, modes) = (basis.identity_dim, basis.mode_sd.len());
        basis.composite.shape_clamp_sd = 1.5;
        basis.likeness_probe = vec![0.0; basis.labels.len() * (dim + 1)];
        basis.likeness_probe[0] = 0.5;
        basis.likeness_probe[2 * (dim + 1) - 1] = 0.2;
        basis.likeness_shape = vec![0.0; modes];
        basis.likeness_shape[0] = -0.01;
        basis.shapes = vec![0.0; basis.labels.len() * modes];
        basis.shapes[0] = 9.0 * basis.mode_sd[0];
        let mut source = vec![0.0; dim];
        source[0] = 0.8;
        let own: Vec<f32> = basis.mode_sd.iter().map(|sd| -0.5 * sd).collect();
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-5, "{a} {b}");
        let known = Likeness::to(&basis, &source, &own);
        near(known.of(&[(0, 1.0)]), 0.4 - 0.01 * 2.0);
        near(known.of(&[(1, 1.0)]), 0.2 - 0.01 * 0.5);
        near(Likeness::to(&basis, &source, &[]).of(&[(0, 0.5), (1, 0.5)]), 0.3);
    }

    /// The same numbers in `models/train/tests/test_parts.py`.
    #[test]
    fn the_packs_promises_are_those_of_training() {
        let basis = basis();
        let (dim, modes) = (basis.identity_dim, basis.mode_sd.len());
        let (source, own) = (&basis.embeddings[7 * dim..8 * dim], &basis.shapes[7 * modes..8 * modes]);
        let likeness = Likeness::to(&basis, source, own);
        for (mixture, expected) in [([(3, 0.4), (20, 0.6)], 0.104_393), ([(40, 0.4), (41, 0.6)], 0.091_959)] {
            let promise = likeness.of(&mixture);
            assert!((promise - expected).abs() < 1e-4, "{mixture:?}: {promise}");
        }
    }

    #[test]
    fn without_a_probe_embeddings_and_shapes_are_compared() {
        let mut basis = basis();
        basis.likeness_probe.clear();
        basis.likeness_shape.clear();
        let (dim, modes) = (basis.identity_dim, basis.mode_sd.len());
        let (source, own) = (basis.embeddings[..dim].to_vec(), basis.shapes[..modes].to_vec());
        let itself = Likeness::to(&basis, &source, &own).of(&[(0, 1.0)]);
        assert!((itself - 1.2).abs() < 1e-3, "{itself}");
        let unknown = Likeness::to(&basis, &source, &[]).of(&[(0, 1.0)]);
        assert!((unknown - 1.0).abs() < 1e-3, "{unknown}");
    }
}
