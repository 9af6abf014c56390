//! Thresholds of a recogniser from labelled pictures: one group a person.
//!
//! | | |
//! |---|---|
//! | impostor pairs | pictures of two people |
//! | genuine pairs | two pictures of one person; where pictures are told apart by film, of two films |
//! | threshold at FAR f | the score that a share f of impostor pairs reaches |
//! | given only | where f × impostor pairs is at least [`MIN_FALSE_ACCEPTS`] |
//! | interval | bootstrap over people: pairs of one person are not independent |

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::judge::{Far, Verdict};
use super::stats::quantile;

/// Impostor pairs that must lie above a threshold.
pub const MIN_FALSE_ACCEPTS: f64 = 10.0;
/// Draws of the bootstrap: each sorts all pairs.
const DRAWS: usize = 200;

/// A picture with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// Person, 0 and up.
    pub person: usize,
    /// Film or session of that person; all alike where not known.
    pub film: usize,
    /// Embedding.
    pub embedding: Vec<f32>,
}

/// A threshold at one rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibrated {
    /// Rate.
    pub far: Far,
    /// Cosine to reach, or distance to stay below.
    pub threshold: f64,
    /// Its 95 % interval.
    pub interval_95: Option<[f64; 2]>,
    /// Share of genuine pairs of two films accepted.
    pub tar_other_film: Option<f64>,
    /// Its 95 % interval.
    pub tar_other_film_95: Option<[f64; 2]>,
    /// Share of genuine pairs of one film accepted.
    pub tar_same_film: Option<f64>,
}

/// A recogniser's calibration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// People.
    pub people: usize,
    /// Pictures.
    pub pictures: usize,
    /// Pairs of two people.
    pub impostor_pairs: usize,
    /// Pairs of one person in two films.
    pub genuine_other_film: usize,
    /// Pairs of one person in one film.
    pub genuine_same_film: usize,
    /// Mean score of impostors, as cosine or distance.
    pub mean_impostor: f64,
    /// Mean score of genuine pairs, of two films where there are any.
    pub mean_genuine: f64,
    /// By rate; rates with too few pairs are absent.
    pub at: Vec<Calibrated>,
}

struct Pair {
    score: f64,
    people: [usize; 2],
    same_film: bool,
}

/// Calibrates. `None` without an impostor and a genuine pair.
#[must_use]
pub fn calibrate(pictures: &[Labelled], verdict: &Verdict) -> Option<Calibration> {
    let people = pictures.iter().map(|p| p.person + 1).max()?;
    let mut pairs = Vec::with_capacity(pictures.len() * pictures.len() / 2);
    for (i, a) in pictures.iter().enumerate() {
        for b in &pictures[i + 1..] {
            pairs.push(Pair {
                score: verdict.score(&a.embedding, &b.embedding),
                people: [a.person, b.person],
                same_film: a.film == b.film,
            });
        }
    }
    let (mut impostor, genuine): (Vec<Pair>, Vec<Pair>) = pairs.into_iter().partition(|p| p.people[0] != p.people[1]);
    impostor.sort_by(|a, b| a.score.total_cmp(&b.score));
    let (same, other): (Vec<Pair>, Vec<Pair>) = genuine.into_iter().partition(|p| p.same_film);
    if impostor.is_empty() || (same.is_empty() && other.is_empty()) {
        return None;
    }
    let sign = if verdict.distance == super::judge::Distance::Euclidean {
        -1.0
    } else {
        1.0
    };
    let mean = |p: &[Pair]| p.iter().map(|p| p.score).sum::<f64>() / p.len() as f64;
    let mut rng = StdRng::seed_from_u64(5);
    let draws: Vec<Vec<f64>> = (0..DRAWS)
        .map(|_| {
            let mut weight = vec![0.0; people];
            for _ in 0..people {
                weight[rng.random_range(0..people)] += 1.0;
            }
            weight
        })
        .collect();
    let at = Far::ALL
        .into_iter()
        .filter(|far| impostor.len() as f64 * far.rate() >= MIN_FALSE_ACCEPTS - 1e-9)
        .map(|far| calibrated(far, &impostor, &same, &other, &draws, sign))
        .collect();
    Some(Calibration {
        people,
        pictures: pictures.len(),
        impostor_pairs: impostor.len(),
        genuine_other_film: other.len(),
        genuine_same_film: same.len(),
        mean_impostor: sign * mean(&impostor),
        mean_genuine: sign * mean(if other.is_empty() { &same } else { &other }),
        at,
    })
}

fn calibrated(far: Far, impostor: &[Pair], same: &[Pair], other: &[Pair], draws: &[Vec<f64>], sign: f64) -> Calibrated {
    let scores: Vec<f64> = impostor.iter().map(|p| p.score).collect();
    let threshold = quantile(&scores, 1.0 - far.rate());
    let tar = |pairs: &[Pair], weight: &dyn Fn(&Pair) -> f64, t: f64| {
        let all: f64 = pairs.iter().map(weight).sum();
        let above: f64 = pairs.iter().filter(|p| p.score > t).map(weight).sum();
        (all > 0.0).then(|| above / all)
    };
    let (mut thresholds, mut tars) = (Vec::new(), Vec::new());
    for weight in draws {
        let of = |p: &Pair| weight[p.people[0]] * weight[p.people[1]];
        let all: f64 = impostor.iter().map(of).sum();
        let mut left = all * far.rate();
        let reached = impostor.iter().rev().find(|p| {
            left -= of(p);
            left <= 0.0 && of(p) > 0.0
        });
        if let Some(p) = reached {
            thresholds.push(sign * p.score);
            tars.extend(tar(other, &|q| weight[q.people[0]], p.score));
        }
    }
    let interval = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        (v.len() > draws.len() / 2).then(|| [quantile(&v, 0.025), quantile(&v, 0.975)])
    };
    Calibrated {
        far,
        threshold: sign * threshold,
        interval_95: interval(thresholds),
        tar_other_film: tar(other, &|_| 1.0, threshold),
        tar_other_film_95: interval(tars),
        tar_same_film: tar(same, &|_| 1.0, threshold),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::judge::Distance;

    fn people(n: usize, noise: f64) -> Vec<Labelled> {
        let mut rng = StdRng::seed_from_u64(7);
        let mut out = Vec::new();
        for person in 0..n {
            let centre: Vec<f64> = (0..32).map(|_| rng.random_range(-1.0..1.0)).collect();
            for film in 0..4 {
                let embedding = centre.iter().map(|c| (c + noise * rng.random_range(-1.0..1.0)) as f32).collect();
                out.push(Labelled { person, film, embedding });
            }
        }
        out
    }

    fn verdict(distance: Distance) -> Verdict {
        Verdict {
            name: "r".to_owned(),
            held_out: true,
            distance,
            thresholds: [None; 3],
            means: None,
        }
    }

    #[test]
    fn the_share_of_impostors_above_the_threshold_is_the_rate_asked_for() {
        for distance in [Distance::Cosine, Distance::Euclidean] {
            let v = verdict(distance);
            let pictures = people(40, 0.4);
            let got = calibrate(&pictures, &v).expect("pairs");
            assert_eq!((got.people, got.pictures, got.genuine_other_film), (40, 160, 40 * 6));
            let at = got.at.iter().find(|a| a.far == Far::E2).expect("pairs enough");
            let mut above = 0;
            for (i, a) in pictures.iter().enumerate() {
                for b in pictures[i + 1..].iter().filter(|b| b.person != a.person) {
                    let score = v.score(&a.embedding, &b.embedding);
                    let limit = if distance == Distance::Cosine {
                        at.threshold
                    } else {
                        -at.threshold
                    };
                    above += usize::from(score > limit);
                }
            }
            let rate = above as f64 / got.impostor_pairs as f64;
            assert!((rate - 0.01).abs() < 0.001, "{distance:?} {rate}");
            assert!(at.tar_other_film.expect("genuine pairs") > 0.9);
            let [low, high] = at.interval_95.expect("draws");
            assert!(low <= at.threshold && at.threshold <= high, "{low} {} {high}", at.threshold);
        }
    }

    #[test]
    fn a_rate_that_the_pairs_cannot_tell_is_left_out() {
        let got = calibrate(&people(12, 0.4), &verdict(Distance::Cosine)).expect("pairs");
        assert!(got.impostor_pairs as f64 * 1e-3 < MIN_FALSE_ACCEPTS);
        assert_eq!(got.at.iter().map(|a| a.far).collect::<Vec<_>>(), [Far::E2]);
        assert!(calibrate(&people(1, 0.4), &verdict(Distance::Cosine)).is_none(), "nobody else");
    }
}
