use super::*;
use crate::eval::attack::rank_1;
use crate::eval::judge::{Distance, Verdict};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const WIDTH: usize = 96;
/// Directions in which people differ: faces fill few of a recogniser's dimensions.
const PEOPLE_DIMS: usize = 12;

struct World {
    rng: StdRng,
    basis: Vec<Vec<f64>>,
}

impl World {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(3);
        let basis = (0..PEOPLE_DIMS)
            .map(|_| (0..WIDTH).map(|_| rng.random_range(-1.0..1.0)).collect())
            .collect();
        Self { rng, basis }
    }

    /// Pictures of each person, which vary, around a mean that all share.
    fn people(&mut self, n: usize, pictures: usize) -> Vec<Vec<Vec<f32>>> {
        (0..n)
            .map(|_| {
                let own: Vec<f64> = (0..PEOPLE_DIMS).map(|_| self.rng.random_range(-1.0..1.0)).collect();
                (0..pictures).map(|_| self.picture(&own)).collect()
            })
            .collect()
    }

    fn picture(&mut self, own: &[f64]) -> Vec<f32> {
        (0..WIDTH)
            .map(|i| {
                let at: f64 = own.iter().zip(&self.basis).map(|(o, b)| o * b[i]).sum();
                (3.0 + at + self.rng.random_range(-0.3..0.3)) as f32
            })
            .collect()
    }
}

fn cases_and_pairs(people: &[Vec<Vec<f32>>], mut make: impl FnMut(usize, &[f32]) -> Vec<f32>) -> (Vec<Case>, Vec<Pair>) {
    let mut pairs = Vec::new();
    let cases = people
        .iter()
        .enumerate()
        .map(|(person, pictures)| {
            let outputs: Vec<Vec<f32>> = pictures[1..].iter().map(|e| make(person, e)).collect();
            pairs.extend(pictures[1..].iter().zip(&outputs).map(|(source, output)| Pair {
                person,
                output: output.clone(),
                source: source.clone(),
            }));
            Case {
                original: pictures[0].clone(),
                parrot: None,
                outputs,
            }
        })
        .collect();
    (cases, pairs)
}

fn share(hits: &Hits) -> f64 {
    let all: Vec<f64> = hits.iter().flatten().copied().collect();
    assert!(!all.is_empty());
    all.iter().sum::<f64>() / all.len() as f64
}

fn plain(cases: &[Case]) -> f64 {
    let verdict = Verdict {
        name: "r".to_owned(),
        held_out: true,
        distance: Distance::Cosine,
        thresholds: [None; 3],
        means: None,
    };
    let gallery: Vec<&[f32]> = cases.iter().map(|c| c.original.as_slice()).collect();
    share(&rank_1(cases, &gallery, &verdict, false))
}

#[test]
fn a_turn_that_rank_1_does_not_see_is_undone_from_other_people_and_by_halves() {
    let mut world = World::new();
    let (people, others) = (world.people(40, 3), world.people(60, 3));
    let (cases, pairs) = cases_and_pairs(&people, |_, e| turned(e));
    let (_, elsewhere) = cases_and_pairs(&others, |_, e| turned(e));
    let gallery: Vec<&[f32]> = cases.iter().map(|c| c.original.as_slice()).collect();
    assert!(plain(&cases) < 0.2, "{}", plain(&cases));
    let learned = learned_elsewhere(&cases, &gallery, &elsewhere).expect("people");
    assert!((learned.chance - 1.0 / 40.0).abs() < 1e-12);
    assert!(share(&learned.hits) > 0.9, "{}", share(&learned.hits));
    let halves = learned_by_halves(&cases, &gallery, &pairs).expect("people");
    assert!((halves.chance - 1.0 / 20.0).abs() < 1e-12);
    assert!(share(&halves.hits) > 0.9, "{}", share(&halves.hits));
    assert!(
        learned_by_halves(&cases[..15], &gallery[..15], &pairs[..30]).is_none(),
        "seven people in a half"
    );
}

#[test]
fn outputs_that_tell_nothing_are_found_as_by_guessing() {
    let mut world = World::new();
    let (people, others) = (world.people(40, 4), world.people(60, 4));
    let mut rng = StdRng::seed_from_u64(9);
    let mut noise = |_: usize, e: &[f32]| (0..e.len()).map(|_| rng.random_range(-1.0..1.0)).collect();
    let (cases, pairs) = cases_and_pairs(&people, &mut noise);
    let (_, elsewhere) = cases_and_pairs(&others, &mut noise);
    let gallery: Vec<&[f32]> = cases.iter().map(|c| c.original.as_slice()).collect();
    let learned = learned_elsewhere(&cases, &gallery, &elsewhere).expect("people");
    assert!(share(&learned.hits) < 0.1, "{}", share(&learned.hits));
    let halves = learned_by_halves(&cases, &gallery, &pairs).expect("people");
    assert!(share(&halves.hits) < 0.15, "{}", share(&halves.hits));
}

#[test]
fn under_a_face_of_nobody_the_map_finds_no_less_than_the_plain_comparison() {
    // Each output is a quarter of its source under a face of nobody, with a cast that all outputs share.
    let mut world = World::new();
    let (people, others) = (world.people(30, 4), world.people(60, 4));
    let nobody = world.people(200, 1);
    let mut at = 0;
    let mut paint = |_: usize, e: &[f32]| {
        at = (at + 37) % nobody.len();
        let new = &nobody[at][0];
        (0..e.len()).map(|i| 0.25 * e[i] + 0.75 * new[i] + (i % 5) as f32).collect()
    };
    let (cases, _) = cases_and_pairs(&people, &mut paint);
    let (_, elsewhere) = cases_and_pairs(&others, &mut paint);
    let gallery: Vec<&[f32]> = cases.iter().map(|c| c.original.as_slice()).collect();
    let learned = share(&learned_elsewhere(&cases, &gallery, &elsewhere).expect("people").hits);
    // Nobody's face varies in the same directions, so no linear map can take it away: equal is the best there is.
    assert!(
        learned > plain(&cases) - 0.02 && learned > 2.0 / 30.0,
        "{learned} {}",
        plain(&cases)
    );
}

#[test]
fn outputs_that_do_not_vary_teach_nothing() {
    let mut world = World::new();
    let (_, pairs) = cases_and_pairs(&world.people(20, 3), |_, e| vec![1.0; e.len()]);
    assert!(LinearMap::learn(&pairs.iter().collect::<Vec<_>>()).is_none());
}
