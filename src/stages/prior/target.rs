//! Who a track becomes: weights over the basis, drawn from the session's secret and from nothing else.
//!
//! The target is no function of the source's embedding, so knowing the method does not lead back to
//! the source; with at least eight people in each texture and several textures in the mix, the texture
//! says nothing about who of them. Attributes narrow the choice: those asked for, else those estimated
//! for the source, so that the person stays plausible in their place.

use crate::secret::Stream;

use super::basis::{Basis, Label, PROBED};
use super::likeness::Likeness;

/// Textures mixed into one face.
const MIX: usize = 2;
/// Dirichlet parameter of their shares.
const CONCENTRATION: f64 = 1.2;
/// Mixtures drawn for a person.
const CANDIDATES: usize = 512;
/// Of these, how many are rendered at least and at most to be judged by what they really look like.
pub const AUDITIONS: std::ops::RangeInclusive<usize> = 12..=36;
/// A [`Target::misfit`] with which looking on ends after the fewest auditions.
pub const FITS: f32 = 0.13;
/// Cosine to the source that a target should have. Not as low as can be: what is far on the other side
/// can be searched for as −e.
const WANTED_COS: f32 = -0.05;
/// Textures that vote on what a source looks like.
const VOTERS: usize = 7;

/// What the target should look like; `None` = anything.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Wanted {
    /// 0 male, 1 female.
    pub sex: Option<i32>,
    /// Years.
    pub age: Option<f32>,
    /// Group of the training labels.
    pub group: Option<i32>,
    /// Whether the age was asked for; otherwise it is an estimate.
    pub age_asked: bool,
    /// Whether the group was asked for.
    pub group_asked: bool,
}

/// Years below which a face is a child's, which no adult's texture stands for.
const CHILD_BELOW: f32 = 14.0;

/// How far textures go beyond an age that is asked for, as a share of what it differs from the source's:
/// hair, neck and skull stay as old as they are.
const BEYOND: f32 = 0.5;
/// Ages between which grown-up textures are drawn, years.
const GROWN: std::ops::RangeInclusive<f32> = 16.0..=80.0;

/// Age of textures for an age asked for, years.
fn age_drawn(asked: f32, estimated: Option<f32>) -> f32 {
    match estimated {
        Some(e) if asked >= CHILD_BELOW => (asked + BEYOND * (asked - e)).clamp(*GROWN.start(), *GROWN.end()),
        _ => asked,
    }
}

/// A face of nobody.
#[derive(Debug, Clone)]
pub struct Target {
    /// Interleaved RGB, 0–255, and the mask's alpha, 0–1; side of the basis' textures.
    pub texture: Vec<f32>,
    /// Shape coefficients.
    pub shape: Vec<f32>,
    /// Embedding expected of it, unit length.
    pub embedding: Vec<f32>,
    /// Weights over the basis: (texture, share).
    pub weights: Vec<(usize, f32)>,
}

/// How far a texture is from what is wanted; smaller is nearer. What was asked for weighs more than
/// what is only estimated from the source.
fn distance(label: &Label, wanted: &Wanted) -> f32 {
    let sex = wanted.sex.map_or(0.0, |s| if s == label.sex { 0.0 } else { 14.0 });
    let unlike = if wanted.group_asked { 1.5 } else { 0.2 };
    let group = wanted
        .group
        .map_or(0.0, |g| if g == label.group || label.group < 0 { 0.0 } else { unlike });
    let years = if wanted.age_asked { 5.0 } else { 16.0 };
    let age = wanted.age.map_or(0.0, |a| {
        let child = (label.age < CHILD_BELOW) != (a < CHILD_BELOW);
        0.5 * ((a - label.age) / years).powi(2) + if child { 3.0 } else { 0.0 }
    });
    sex + group + age
}

impl Wanted {
    /// What a source looks like: by the basis' own probe, else what the textures nearest to it have in common.
    #[must_use]
    pub fn like(basis: &Basis, source: &[f32]) -> Self {
        Self::probed(basis, source).unwrap_or_else(|| Self::voted(basis, source))
    }

    fn probed(basis: &Basis, source: &[f32]) -> Option<Self> {
        let rows = basis.label_probe.chunks_exact(source.len() + 1);
        let told: Vec<f32> = rows.map(|row| dot(row, source) + row.last().copied().unwrap_or(0.0)).collect();
        let (sex, years) = (told.first()?, told.get(1)?);
        let groups = told.get(2..PROBED)?;
        let group = groups
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .and_then(|g| i32::try_from(g.0).ok());
        told.iter().all(|v| v.is_finite()).then_some(Self {
            sex: Some(i32::from(*sex > 0.0)),
            age: Some(years.clamp(0.0, 100.0)),
            group,
            ..Self::default()
        })
    }

    fn voted(basis: &Basis, source: &[f32]) -> Self {
        let mut votes: Vec<(f32, &Label)> = basis
            .embeddings
            .chunks_exact(basis.identity_dim.max(1))
            .zip(&basis.labels)
            .map(|(e, l)| (dot(e, source), l))
            .collect();
        votes.sort_by(|a, b| b.0.total_cmp(&a.0));
        votes.truncate(VOTERS);
        if votes.is_empty() || source.len() != basis.identity_dim {
            return Self::default();
        }
        let most = |of: fn(&Label) -> i32| {
            let mut best = (0, i32::MIN);
            for (_, l) in &votes {
                let count = votes.iter().filter(|(_, o)| of(o) == of(l)).count();
                if count > best.0 {
                    best = (count, of(l));
                }
            }
            best.1
        };
        Self {
            sex: Some(most(|l| l.sex)),
            age: Some(votes.iter().map(|v| v.1.age).sum::<f32>() / votes.len() as f32),
            group: Some(most(|l| l.group)).filter(|g| *g >= 0),
            age_asked: false,
            group_asked: false,
        }
    }

    /// What is asked for, and the rest from what is estimated of the source; an age asked for goes beyond it.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            sex: self.sex.or(other.sex),
            age: self.age.map(|asked| age_drawn(asked, other.age)).or(other.age),
            group: self.group.or(other.group),
            age_asked: self.age.is_some(),
            group_asked: self.group.is_some(),
        }
    }
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Gamma deviate of shape ≥ 1 (Marsaglia and Tsang 2000).
fn gamma(shape: f64, stream: &mut Stream) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = stream.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && stream.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

impl Target {
    /// Draws [`CANDIDATES`] mixtures from the stream and returns those that are expected to be least like the
    /// source, no more than [`AUDITIONS`] allows, the best first by [`Likeness`] (`own_shape` empty where not
    /// known). Without the session's secret nothing can be searched for. Which of them it becomes is decided by
    /// rendering them: [`Self::misfit`].
    #[must_use]
    pub fn candidates(basis: &Basis, wanted: &Wanted, source: &[f32], own_shape: &[f32], stream: &mut Stream) -> Vec<Vec<(usize, f32)>> {
        let likeness = Likeness::to(basis, source, own_shape);
        let mut scored: Vec<(f32, Vec<(usize, f32)>)> = (0..CANDIDATES)
            .map(|_| {
                let weights = Self::candidate(basis, wanted, stream);
                (likeness.of(&weights), weights)
            })
            .collect();
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        scored.truncate(*AUDITIONS.end());
        scored.into_iter().map(|c| c.1).collect()
    }

    /// How ill a rendered target suits, by its cosine to the source; smaller is better.
    #[must_use]
    pub fn misfit(cos: f32) -> f32 {
        (cos - WANTED_COS).abs()
    }

    /// Shape coefficients of a mixture.
    pub(super) fn shape(basis: &Basis, weights: &[(usize, f32)]) -> Vec<f32> {
        let modes = basis.mode_sd.len();
        let mut shape = vec![0.0; modes];
        for &(i, w) in weights {
            let from = basis.shapes.get(i * modes..(i + 1) * modes).unwrap_or(&[]);
            shape.iter_mut().zip(from).for_each(|(t, f)| *t += w * f);
        }
        shape
    }

    fn candidate(basis: &Basis, wanted: &Wanted, stream: &mut Stream) -> Vec<(usize, f32)> {
        // Less a Gumbel deviate: a texture comes first with odds of exp(−distance).
        let mut ranked: Vec<(f32, usize)> = basis
            .labels
            .iter()
            .enumerate()
            .map(|(i, l)| {
                let u = stream.uniform().clamp(1e-12, 1.0 - 1e-12);
                (distance(l, wanted) + (-u.ln()).ln() as f32, i)
            })
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut weights: Vec<(usize, f32)> = ranked
            .iter()
            .take(MIX)
            .map(|&(_, i)| (i, gamma(CONCENTRATION, stream) as f32))
            .collect();
        let sum: f32 = weights.iter().map(|w| w.1).sum();
        weights.iter_mut().for_each(|w| w.1 /= sum.max(1e-6));
        weights
    }

    /// The unit embedding expected of a mixture.
    #[must_use]
    pub fn embedding(basis: &Basis, weights: &[(usize, f32)]) -> Vec<f32> {
        let dim = basis.identity_dim;
        let mut embedding = vec![0.0; dim];
        for &(i, w) in weights {
            let from = basis.embeddings.get(i * dim..(i + 1) * dim).unwrap_or(&[]);
            embedding.iter_mut().zip(from).for_each(|(t, f)| *t += w * f);
        }
        let norm = dot(&embedding, &embedding).sqrt().max(1e-6);
        embedding.iter_mut().for_each(|v| *v /= norm);
        embedding
    }

    /// The mix of some textures; weights sum to one.
    #[must_use]
    pub fn mix(basis: &Basis, weights: Vec<(usize, f32)>) -> Self {
        let n = basis.size_px * basis.size_px * 3;
        let mut texture = vec![0.0; n];
        let shape = Self::shape(basis, &weights);
        let embedding = Self::embedding(basis, &weights);
        for &(i, w) in &weights {
            let add = |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(t, f)| *t += w * f);
            add(&mut texture, basis.textures.get(i).map_or(&[], |t| &t.0));
        }
        // Averaging n faces divides the fine detail by the root of their number; the gain gives it back.
        let effective = 1.0 / weights.iter().map(|w| w.1 * w.1).sum::<f32>().max(1e-6);
        let gain = effective.sqrt().min(basis.detail_gain_max);
        let low = super::blurred::<3>(&texture, basis.size_px, basis.size_px, basis.detail_sigma_px);
        for (t, l) in texture.iter_mut().zip(&low) {
            *t = (l + (*t - l) * gain).clamp(0.0, 255.0);
        }
        let texels = texture.as_chunks::<3>().0.iter().zip(basis.mask.as_chunks::<3>().0);
        let texture = texels.flat_map(|(t, m)| [t[0], t[1], t[2], m[0]]).collect();
        Self {
            texture,
            shape,
            embedding,
            weights,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Basis, Label, Target, Wanted, distance, gamma};
    use crate::secret::{Purpose, SessionSecret};

    #[test]
    fn gamma_deviates_have_their_mean_and_variance() {
        let mut stream = SessionSecret::from_seed(9).stream(Purpose::Other, 0, 0);
        let n = 40_000;
        let draws: Vec<f64> = (0..n).map(|_| gamma(1.2, &mut stream)).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!((mean - 1.2).abs() < 0.03, "mean {mean}");
        assert!((variance - 1.2).abs() < 0.08, "variance {variance}");
    }

    #[test]
    fn what_is_asked_for_weighs_more_than_what_is_estimated_and_children_stay_children() {
        let label = |age, group| Label {
            sex: 0,
            group,
            age,
            age_min: age,
            age_max: age,
            contributors: 12,
            per_texel: 8,
            nearest_contributor_cos: 0.1,
            far_1e3_cos: 0.4,
        };
        let estimated = Wanted {
            age: Some(40.0),
            group: Some(1),
            ..Wanted::default()
        };
        let asked = estimated.or(Wanted::default());
        assert!(asked.age_asked && asked.group_asked && !estimated.age_asked);
        assert!(distance(&label(64.0, 2), &asked) > distance(&label(64.0, 2), &estimated));
        assert_eq!(distance(&label(40.0, 1), &asked), 0.0);
        let child = Wanted {
            age: Some(13.0),
            ..Wanted::default()
        };
        assert!(distance(&label(15.0, 1), &child) > 2.0 && distance(&label(12.0, 1), &child) < 0.1);
    }

    #[test]
    fn an_age_asked_for_goes_beyond_by_half_the_way_and_stays_among_the_grown_up() {
        let drawn = |asked, source| {
            let of = |age| Wanted {
                age: Some(age),
                ..Wanted::default()
            };
            of(asked).or(of(source)).age.expect("asked for")
        };
        assert_eq!(drawn(50.0, 40.0), 55.0);
        assert_eq!(drawn(65.0, 20.0), 80.0);
        assert_eq!(drawn(25.0, 60.0), 16.0);
        assert_eq!(drawn(8.0, 40.0), 8.0);
        let asked = Wanted {
            age: Some(50.0),
            ..Wanted::default()
        };
        assert_eq!(asked.or(Wanted::default()).age, Some(50.0));
    }

    #[test]
    fn a_probe_tells_sex_age_and_group_and_without_one_the_textures_vote() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/nullface-128/basis");
        let mut basis = Basis::load(&folder).expect("the checkout's basis");
        let source = basis.embeddings[..basis.identity_dim].to_vec();
        let width = basis.identity_dim + 1;
        basis.label_probe = vec![0.0; 7 * width];
        for (row, added) in [(0, 0.2), (1, 140.0), (4, 3.0)] {
            basis.label_probe[(row + 1) * width - 1] = added;
        }
        let wanted = Wanted::like(&basis, &source);
        assert_eq!((wanted.sex, wanted.age, wanted.group), (Some(1), Some(100.0), Some(2)));
        assert!(!wanted.age_asked && !wanted.group_asked);
        basis.label_probe.clear();
        let voted = Wanted::like(&basis, &source);
        assert!(voted.age.is_some_and(|a| a < 100.0));
    }

    #[test]
    fn candidates_repeat_under_one_stream_and_the_best_fit_is_neither_near_nor_opposite() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/nullface-128/basis");
        let basis = Basis::load(&folder).expect("the checkout's basis");
        let source = &basis.embeddings[..basis.identity_dim];
        let draw = |seed| {
            let mut stream = SessionSecret::from_seed(seed).stream(Purpose::Mixture, 3, 0);
            Target::candidates(&basis, &Wanted::like(&basis, source), source, &[], &mut stream)
        };
        let candidates = draw(1);
        assert!(candidates == draw(1) && candidates != draw(2));
        assert_eq!(candidates.len(), *super::AUDITIONS.end());
        for weights in &candidates {
            assert!((weights.iter().map(|w| w.1).sum::<f32>() - 1.0).abs() < 1e-4);
            assert!(!weights.iter().any(|w| w.0 == 0 && w.1 > 0.9), "the source's own texture");
        }
        assert!(Target::misfit(0.0) < Target::misfit(0.4) && Target::misfit(0.0) < Target::misfit(-0.4));
    }
}
