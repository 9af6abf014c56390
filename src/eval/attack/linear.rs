//! The learned map: who has pairs of outputs and originals of some people fits e_out → e_source on them, and
//! looks other outputs up where the map puts them.
//!
//! | step | |
//! |---|---|
//! | rows | embeddings at unit length; outputs standardised per dimension, sources centred |
//! | map | ridge regression, in its dual form, towards nothing or towards the identity ([`Towards`]): the second finds at least what a comparison corrected for the two means finds |
//! | ridge | the one of [`RIDGES`], and the one of both aims, by which other people's sources are found best: cross-validation over people, [`FOLDS`] parts, mean reciprocal rank |
//! | lookup | largest cosine after the mean of the learned sources is taken away: a map that shrinks towards it must not find whoever stands near it |
//!
//! [`turned`] makes the control: sources with their components moved on, as unlike as strangers and wholly
//! invertible. Where the attack does not undo even that, it had too few people to learn from, and its failure on
//! outputs shows nothing.

use std::collections::BTreeMap;

use nalgebra::{DMatrix, DVector, Dyn, linalg::Cholesky};

use super::{Case, Hits};

/// Ridges tried, as shares of the mean diagonal of the Gram matrix.
pub const RIDGES: [f64; 7] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];
/// Parts of the cross-validation.
pub const FOLDS: usize = 4;
/// People to learn from, at least.
pub const MIN_PEOPLE: usize = 8;
/// Pairs used at most, spread evenly: the cost grows with their cube.
pub const MAX_PAIRS: usize = 1200;
/// Dimensions that hardly vary are not blown up beyond this share of the mean deviation.
const LEAST_DEVIATION_SHARE: f64 = 0.05;

/// An output and what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Person, 0 and up.
    pub person: usize,
    /// Embedding of the output.
    pub output: Vec<f32>,
    /// Embedding of the original.
    pub source: Vec<f32>,
}

/// Where a strong ridge pulls the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// Every output to the mean source.
    Nothing,
    /// Every output to itself.
    Identity,
}

/// What the attack finds, and what guessing would find.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// Hits of each case.
    pub hits: Hits,
    /// Chance of a hit by guessing.
    pub chance: f64,
}

/// Tries a map learned on other people on every case, in the whole gallery. `None` with fewer than
/// [`MIN_PEOPLE`] to learn from.
#[must_use]
pub fn learned_elsewhere(cases: &[Case], gallery: &[&[f32]], pairs: &[Pair]) -> Option<Learned> {
    let map = LinearMap::learn(&pairs.iter().collect::<Vec<_>>())?;
    let hits = cases
        .iter()
        .enumerate()
        .map(|(own, case)| found(&map, case, gallery, own))
        .collect();
    Some(Learned {
        hits,
        chance: 1.0 / gallery.len() as f64,
    })
}

/// Learns on one half of the cases and tries on the other, in the gallery of that other half, and the reverse.
/// A pair's person is the index of a case. `None` with fewer than [`MIN_PEOPLE`] in a half.
#[must_use]
pub fn learned_by_halves(cases: &[Case], gallery: &[&[f32]], pairs: &[Pair]) -> Option<Learned> {
    let mut hits = vec![Vec::new(); cases.len()];
    let mut chance = 0.0;
    for half in 0..2 {
        let known: Vec<&Pair> = pairs.iter().filter(|p| p.person % 2 != half).collect();
        let map = LinearMap::learn(&known)?;
        let left: Vec<usize> = (half..cases.len().min(gallery.len())).step_by(2).collect();
        let faces: Vec<&[f32]> = left.iter().map(|i| gallery[*i]).collect();
        for (place, own) in left.iter().enumerate() {
            hits[*own] = found(&map, &cases[*own], &faces, place);
            chance += 1.0 / (left.len() * cases.len()) as f64;
        }
    }
    Some(Learned { hits, chance })
}

/// An embedding with its components moved on by a third: unlike itself, and invertible.
#[must_use]
pub fn turned(embedding: &[f32]) -> Vec<f32> {
    let mut all = embedding.to_vec();
    all.rotate_left(embedding.len() / 3);
    all
}

fn found(map: &LinearMap, case: &Case, gallery: &[&[f32]], own: usize) -> Vec<f64> {
    let places: Vec<DVector<f64>> = gallery.iter().map(|face| map.place_of(face)).collect();
    case.outputs
        .iter()
        .map(|o| f64::from(u8::from(rank(&map.apply(o), &places, own) == 1)))
        .collect()
}

/// Rank of a place among all, 1 the nearest.
fn rank(at: &DVector<f64>, places: &[DVector<f64>], own: usize) -> usize {
    let cosine = |place: &DVector<f64>| at.dot(place) / (at.norm() * place.norm()).max(1e-12);
    let reached = cosine(&places[own]);
    1 + places.iter().enumerate().filter(|(i, p)| *i != own && cosine(p) >= reached).count()
}

fn unit(embedding: &[f32]) -> DVector<f64> {
    let row = DVector::from_iterator(embedding.len(), embedding.iter().map(|v| f64::from(*v)));
    let norm = row.norm();
    if norm > 0.0 { row / norm } else { row }
}

/// Pairs as matrices, one row each.
struct Rows {
    /// Mean and deviation of outputs, mean of sources.
    from: DVector<f64>,
    deviation: DVector<f64>,
    to: DVector<f64>,
    /// Standardised outputs.
    x: DMatrix<f64>,
    /// Centred sources.
    y: DMatrix<f64>,
    /// Centred sources less centred outputs, where both have one dimension.
    rest: Option<DMatrix<f64>>,
    gram: DMatrix<f64>,
}

impl Rows {
    fn of(pairs: &[&Pair]) -> Option<Self> {
        let matrix = |of: &dyn Fn(&Pair) -> DVector<f64>| {
            let columns: Vec<DVector<f64>> = pairs.iter().map(|p| of(p)).collect();
            let width = columns.first()?.len();
            columns
                .iter()
                .all(|c| c.len() == width)
                .then(|| DMatrix::from_columns(&columns).transpose())
        };
        let (mut x, mut y) = (matrix(&|p| unit(&p.output))?, matrix(&|p| unit(&p.source))?);
        let (from, to) = (x.row_mean().transpose(), y.row_mean().transpose());
        let centre = |m: &mut DMatrix<f64>, mean: &DVector<f64>| {
            for (mut column, mean) in m.column_iter_mut().zip(mean.iter()) {
                column.add_scalar_mut(-mean);
            }
        };
        centre(&mut x, &from);
        centre(&mut y, &to);
        let rest = (x.ncols() == y.ncols()).then(|| &y - &x);
        let deviation = DVector::from_iterator(x.ncols(), x.column_iter().map(|c| (c.norm_squared() / c.len() as f64).sqrt()));
        let least = (LEAST_DEVIATION_SHARE * deviation.mean()).max(f64::MIN_POSITIVE);
        let deviation = deviation.map(|d| d.max(least));
        for (mut column, deviation) in x.column_iter_mut().zip(deviation.iter()) {
            column /= *deviation;
        }
        let gram = &x * x.transpose();
        Some(Self {
            from,
            deviation,
            to,
            x,
            y,
            rest,
            gram,
        })
    }

    /// What the ridge regression is solved with.
    fn solver(&self, share: f64) -> Option<Cholesky<f64, Dyn>> {
        let n = self.gram.nrows();
        let ridge = share * self.gram.trace() / n as f64;
        let mut gram = self.gram.clone();
        for i in 0..n {
            gram[(i, i)] += ridge;
        }
        // Outputs that do not vary leave a matrix of zeros, which has no factor.
        gram.cholesky()
    }

    fn aims(&self) -> impl Iterator<Item = (Towards, &DMatrix<f64>)> {
        std::iter::once((Towards::Nothing, &self.y)).chain(self.rest.as_ref().map(|r| (Towards::Identity, r)))
    }
}

/// A linear map with offset from embeddings of outputs to embeddings of sources.
#[derive(Debug, Clone)]
pub struct LinearMap {
    from: DVector<f64>,
    deviation: DVector<f64>,
    to: DVector<f64>,
    x: DMatrix<f64>,
    weights: DMatrix<f64>,
    towards: Towards,
    ridge: f64,
}

impl LinearMap {
    /// Fits a map, its ridge and its aim by cross-validation over people. `None` with fewer than [`MIN_PEOPLE`]
    /// or outputs that do not vary.
    #[must_use]
    pub fn learn(pairs: &[&Pair]) -> Option<Self> {
        let step = pairs.len().div_ceil(MAX_PAIRS).max(1);
        let pairs: Vec<&Pair> = pairs.iter().copied().step_by(step).collect();
        let mut people: BTreeMap<usize, Vec<&Pair>> = BTreeMap::new();
        for pair in &pairs {
            people.entry(pair.person).or_default().push(pair);
        }
        if people.len() < MIN_PEOPLE {
            return None;
        }
        let mut sums: Vec<(Towards, f64, f64)> = Vec::new();
        for fold in 0..FOLDS {
            let part = |held: bool| {
                let of = people.values().enumerate().filter(move |(i, _)| (i % FOLDS == fold) == held);
                of.map(|(_, p)| p.as_slice()).collect::<Vec<_>>()
            };
            for (towards, ridge, score) in validated(&part(false).concat(), &part(true)) {
                match sums.iter_mut().find(|s| (s.0, s.1) == (towards, ridge)) {
                    Some(sum) => sum.2 += score,
                    None => sums.push((towards, ridge, score)),
                }
            }
        }
        let (towards, ridge, _) = sums.into_iter().max_by(|a, b| a.2.total_cmp(&b.2))?;
        Self::fit(&pairs, towards, ridge)
    }

    /// Fits a map at a given ridge, a share of the mean diagonal of the Gram matrix.
    #[must_use]
    pub fn fit(pairs: &[&Pair], towards: Towards, ridge: f64) -> Option<Self> {
        let rows = Rows::of(pairs)?;
        let weights = {
            let (_, aim) = rows.aims().find(|a| a.0 == towards)?;
            rows.solver(ridge)?.solve(aim)
        };
        let Rows {
            from, deviation, to, x, ..
        } = rows;
        Some(Self {
            from,
            deviation,
            to,
            x,
            weights,
            towards,
            ridge,
        })
    }

    /// Where an output belongs, relative to the mean of the learned sources.
    #[must_use]
    pub fn apply(&self, output: &[f32]) -> DVector<f64> {
        let centred = unit(output) - &self.from;
        let near = &self.x * centred.component_div(&self.deviation);
        let mapped = self.weights.tr_mul(&near);
        match self.towards {
            Towards::Nothing => mapped,
            Towards::Identity => mapped + centred,
        }
    }

    /// An original relative to the mean of the learned sources.
    #[must_use]
    pub fn place_of(&self, source: &[f32]) -> DVector<f64> {
        unit(source) - &self.to
    }

    /// The aim and the ridge that were chosen.
    #[must_use]
    pub fn chosen(&self) -> (Towards, f64) {
        (self.towards, self.ridge)
    }
}

/// How well each aim and ridge, fitted on some, finds the sources of others: sum of reciprocal ranks.
fn validated(known: &[&Pair], held: &[&[&Pair]]) -> Vec<(Towards, f64, f64)> {
    let Some(rows) = Rows::of(known) else { return Vec::new() };
    let places: Vec<DVector<f64>> = held
        .iter()
        .map(|of_person| of_person.iter().map(|p| unit(&p.source) - &rows.to).sum::<DVector<f64>>())
        .collect();
    let probes: Vec<(usize, DVector<f64>)> = held
        .iter()
        .enumerate()
        .flat_map(|(person, of)| of.iter().map(move |p| (person, unit(&p.output))))
        .map(|(person, at)| (person, at - &rows.from))
        .collect();
    let standard: Vec<DVector<f64>> = probes.iter().map(|(_, at)| at.component_div(&rows.deviation)).collect();
    if standard.is_empty() {
        return Vec::new();
    }
    let near = &rows.x * DMatrix::from_columns(&standard);
    let mut all = Vec::with_capacity(2 * RIDGES.len());
    for ridge in RIDGES {
        let Some(solved) = rows.solver(ridge).map(|s| s.solve(&near)) else {
            continue;
        };
        for (towards, aim) in rows.aims() {
            let mapped = aim.tr_mul(&solved);
            let reciprocal = |(i, (person, at)): (usize, &(usize, DVector<f64>))| {
                let place = match towards {
                    Towards::Nothing => mapped.column(i).into_owned(),
                    Towards::Identity => mapped.column(i) + at,
                };
                1.0 / rank(&place, &places, *person) as f64
            };
            all.push((towards, ridge, probes.iter().enumerate().map(reciprocal).sum()));
        }
    }
    all
}

#[cfg(test)]
mod tests;
