//! Linkage attacks on sets of embeddings. A case is one person or picture: its original and what was made of it.
//!
//! | attack | who tries it |
//! |---|---|
//! | rank-1, TAR | has a gallery of originals and a recogniser |
//! | rank-1 by \|cos\| | suspects that identities were turned into their opposites |
//! | learned map | has pairs of originals and outputs of other people, and fits e_out → e_source: [`linear`] |
//! | parrot | treats its own gallery by the same method and compares like with like (Newton, Sweeney, Malin 2005) |
//! | averaging | has many frames of one output and takes the mean of their embeddings |

pub mod linear;

use super::judge::{Distance, Verdict, cosine};

/// Mean of rows; of their directions where `directions`.
#[must_use]
pub fn mean(rows: &[&[f32]], directions: bool) -> Vec<f32> {
    let width = rows.first().map_or(0, |r| r.len());
    let mut sum = vec![0.0_f64; width];
    for row in rows {
        let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let by = if directions && norm > 0.0 { 1.0 / norm } else { 1.0 };
        for (s, v) in sum.iter_mut().zip(*row) {
            *s += f64::from(*v) * by;
        }
    }
    sum.iter().map(|s| (s / rows.len().max(1) as f64) as f32).collect()
}

/// The nearest face of a gallery; by the cosine's absolute value where `absolute`. `None` of an empty one.
#[must_use]
pub fn nearest(probe: &[f32], gallery: &[&[f32]], verdict: &Verdict, absolute: bool) -> Option<usize> {
    let score = |face: &[f32]| {
        if absolute {
            cosine(probe, face).abs()
        } else {
            verdict.score(probe, face)
        }
    };
    (0..gallery.len()).max_by(|a, b| score(gallery[*a]).total_cmp(&score(gallery[*b])))
}

/// One person or picture under attack, embeddings of one recogniser.
#[derive(Debug, Clone)]
pub struct Case {
    /// Original, as in the gallery.
    pub original: Vec<f32>,
    /// Another picture of the same person treated the same way by the attacker; absent where there is none.
    pub parrot: Option<Vec<f32>>,
    /// Outputs, frame by frame.
    pub outputs: Vec<Vec<f32>>,
}

/// Hits of each case's probes: the unit of the bootstrap is the case.
pub type Hits = Vec<Vec<f64>>;

/// Rank-1 of every output against the gallery; index of a case is its face in the gallery.
#[must_use]
pub fn rank_1(cases: &[Case], gallery: &[&[f32]], verdict: &Verdict, absolute: bool) -> Hits {
    let hit = |own: usize, probe: &Vec<f32>| f64::from(u8::from(nearest(probe, gallery, verdict, absolute) == Some(own)));
    cases
        .iter()
        .enumerate()
        .map(|(own, c)| c.outputs.iter().map(|o| hit(own, o)).collect())
        .collect()
}

/// Rank-1 of each case's mean output.
#[must_use]
pub fn averaged(cases: &[Case], gallery: &[&[f32]], verdict: &Verdict) -> Hits {
    let directions = verdict.distance == Distance::Cosine;
    let means: Vec<Case> = cases
        .iter()
        .map(|c| {
            let rows: Vec<&[f32]> = c.outputs.iter().map(Vec::as_slice).collect();
            Case {
                outputs: if rows.is_empty() {
                    Vec::new()
                } else {
                    vec![mean(&rows, directions)]
                },
                ..c.clone()
            }
        })
        .collect();
    rank_1(&means, gallery, verdict, false)
}

/// Rank-1 against a gallery that the attacker treated by the same method. `None` where no case has one.
#[must_use]
pub fn parrot(cases: &[Case], verdict: &Verdict) -> Option<Hits> {
    let with: Vec<Case> = cases.iter().filter(|c| c.parrot.is_some()).cloned().collect();
    if with.len() < 2 {
        return None;
    }
    let gallery: Vec<&[f32]> = with.iter().filter_map(|c| c.parrot.as_deref()).collect();
    Some(rank_1(&with, &gallery, verdict, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn verdict() -> Verdict {
        Verdict {
            name: "r".to_owned(),
            held_out: true,
            distance: Distance::Cosine,
            thresholds: [Some(0.4), Some(0.5), None],
            means: None,
        }
    }

    fn random(rng: &mut StdRng, n: usize) -> Vec<f32> {
        (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    fn share(hits: &Hits) -> f64 {
        let all: Vec<f64> = hits.iter().flatten().copied().collect();
        all.iter().sum::<f64>() / all.len() as f64
    }

    fn cases(make: impl Fn(&[f32], &mut StdRng) -> Vec<f32>) -> Vec<Case> {
        let mut rng = StdRng::seed_from_u64(1);
        (0..40)
            .map(|_| {
                let original = random(&mut rng, 24);
                let outputs = (0..6).map(|_| make(&original, &mut rng)).collect();
                let parrot = Some(make(&original, &mut rng));
                Case { original, parrot, outputs }
            })
            .collect()
    }

    #[test]
    fn a_copy_is_found_a_stranger_is_not_and_an_opposite_only_by_its_absolute_value() {
        let v = verdict();
        let of = |cases: &[Case], absolute| {
            let gallery: Vec<&[f32]> = cases.iter().map(|c| c.original.as_slice()).collect();
            share(&rank_1(cases, &gallery, &v, absolute))
        };
        let copies = cases(|e, _| e.to_vec());
        assert_eq!((of(&copies, false), of(&copies, true)), (1.0, 1.0));
        let strangers = cases(|e, rng| random(rng, e.len()));
        assert!(of(&strangers, false) < 0.15);
        let opposites = cases(|e, _| e.iter().map(|v| -v).collect());
        assert_eq!((of(&opposites, false), of(&opposites, true)), (0.0, 1.0));
    }

    #[test]
    fn averaging_finds_what_single_frames_hide_and_the_parrot_what_the_gallery_hides() {
        let v = verdict();
        let noisy = cases(|e, rng| e.iter().map(|v| 0.5 * v + rng.random_range(-1.2..1.2)).collect());
        let gallery: Vec<&[f32]> = noisy.iter().map(|c| c.original.as_slice()).collect();
        let (single, mean) = (share(&rank_1(&noisy, &gallery, &v, false)), share(&averaged(&noisy, &gallery, &v)));
        assert!(mean > single + 0.1, "{mean} {single}");
        let squared = cases(|e, _| e.iter().map(|v| v * v).collect());
        let gallery: Vec<&[f32]> = squared.iter().map(|c| c.original.as_slice()).collect();
        assert!(share(&rank_1(&squared, &gallery, &v, false)) < 0.5);
        assert_eq!(share(&parrot(&squared, &v).expect("parrots")), 1.0);
    }
}
