//! Who a track becomes: weights over the basis, drawn from the session's secret and from nothing else.
//!
//! The target is no function of the source's embedding, so knowing the method does not lead back to
//! the source; with at least eight people in each texture and several textures in the mix, the texture
//! says nothing about who of them. Attributes narrow the choice: those asked for, else those estimated
//! for the source, so that the person stays plausible in their place.

use rand::Rng;
use rand::rngs::StdRng;

use super::basis::{Basis, Label};

/// Textures mixed into one face.
const MIX: usize = 4;

/// What the target should look like; `None` = anything.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Wanted {
    /// 0 male, 1 female.
    pub sex: Option<i32>,
    /// Years.
    pub age: Option<f32>,
    /// Group of the training labels.
    pub group: Option<i32>,
}

/// A face of nobody.
#[derive(Debug, Clone)]
pub struct Target {
    /// Interleaved RGB, 0–255, side of the basis' textures.
    pub texture: Vec<f32>,
    /// Shape coefficients.
    pub shape: Vec<f32>,
    /// Embedding expected of it, unit length.
    pub embedding: Vec<f32>,
    /// Weights over the basis: (texture, share).
    pub weights: Vec<(usize, f32)>,
}

/// How far a texture is from what is wanted; smaller is nearer.
fn distance(label: &Label, wanted: &Wanted) -> f32 {
    let sex = wanted.sex.map_or(0.0, |s| if s == label.sex { 0.0 } else { 4.0 });
    let group = wanted
        .group
        .map_or(0.0, |g| if g == label.group || label.group < 0 { 0.0 } else { 1.5 });
    let age = wanted.age.map_or(0.0, |a| (a - label.age).abs() / 12.0);
    sex + group + age
}

impl Target {
    /// Draws a target. The same generator state gives the same target on any machine.
    #[must_use]
    pub fn draw(basis: &Basis, wanted: &Wanted, rng: &mut StdRng) -> Self {
        // A small random part breaks ties between equally suitable textures.
        let mut ranked: Vec<(f32, usize)> = basis
            .labels
            .iter()
            .enumerate()
            .map(|(i, l)| (distance(l, wanted) + rng.random::<f32>() * 1.0, i))
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Dirichlet(2): normalised sums of two exponentials.
        let mut share = || -(1.0 - rng.random::<f32>()).ln() - (1.0 - rng.random::<f32>()).ln();
        let mut weights: Vec<(usize, f32)> = ranked.iter().take(MIX).map(|&(_, i)| (i, share())).collect();
        let sum: f32 = weights.iter().map(|w| w.1).sum();
        weights.iter_mut().for_each(|w| w.1 /= sum.max(1e-6));
        Self::mix(basis, weights)
    }

    /// The mix of some textures; weights sum to one.
    #[must_use]
    pub fn mix(basis: &Basis, weights: Vec<(usize, f32)>) -> Self {
        let n = basis.size_px * basis.size_px * 3;
        let mut texture = vec![0.0; n];
        let modes = basis.mode_sd.len();
        let mut shape = vec![0.0; modes];
        let mut embedding = vec![0.0; basis.identity_dim];
        for &(i, w) in &weights {
            let add = |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(t, f)| *t += w * f);
            add(&mut texture, basis.textures.get(i).map_or(&[], |t| &t.0));
            add(&mut shape, basis.shapes.get(i * modes..(i + 1) * modes).unwrap_or(&[]));
            add(
                &mut embedding,
                basis
                    .embeddings
                    .get(i * basis.identity_dim..(i + 1) * basis.identity_dim)
                    .unwrap_or(&[]),
            );
        }
        let norm = embedding.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
        embedding.iter_mut().for_each(|v| *v /= norm);
        // Averaging n faces divides the fine detail by the root of their number; the gain gives it back.
        let effective = 1.0 / weights.iter().map(|w| w.1 * w.1).sum::<f32>().max(1e-6);
        let gain = effective.sqrt().min(basis.detail_gain_max);
        let low = super::composite::blurred::<3>(&texture, basis.size_px, basis.size_px, basis.detail_sigma_px);
        for (t, l) in texture.iter_mut().zip(&low) {
            *t = (l + (*t - l) * gain).clamp(0.0, 255.0);
        }
        Self {
            texture,
            shape,
            embedding,
            weights,
        }
    }
}
