//! Which identity a person gets instead: pure functions of the source embedding, the session's
//! secret and the policy.
//!
//! | policy | target | published as |
//! |---|---|---|
//! | `ksame` | the composite's own embedding, given by the prior; a pack without one falls to `orthogonal` | default |
//! | `orthogonal` | random, ⟂ e (minimal Orthogonal Identity Mapping, in an identity VAE's space where the pack has one), leant away from e by what the pack says | ID²Face |
//! | `random` | random direction | – |
//! | `negate` | −λ_id e, turned by up to `max_angle` | NullFace |
//! | `repel` | +λ_id e under a negative guidance scale | Reverse Personalization |
//!
//! Limits: `negate` and `repel` are fixed functions of e: who knows the method can search for −cos,
//! and a person gets the same false face in every film. They are there for fidelity to the papers.
//! Orthogonality here does not promise cos = 0 under another recogniser: measure it. Nor of the output, whose
//! hair, light and lips are the source's: `lean` is what a pack was measured to need against that. The greater part of the target
//! stays random at any lean that is accepted, so it is no function of e.

use crate::secret::{Purpose, SessionSecret, Stream};

/// How a target identity is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityPolicy {
    /// The k-same mixture's.
    #[default]
    Ksame,
    /// Random and orthogonal to the source.
    Orthogonal,
    /// The opposite of the source.
    Negate,
    /// The source itself, to be pushed away from.
    Repel,
    /// Random.
    Random,
}

/// An embedding that no target can be made for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("identity: {what}: expected {expected}, got {got}")]
pub struct TargetError {
    /// Which.
    pub what: &'static str,
    /// Expected.
    pub expected: String,
    /// Got.
    pub got: String,
}

/// Sine of the largest [`Turn::lean`]: 45°, beyond which −e would be the greater part.
pub const MOST_LEAN: f32 = 0.71;

/// How targets of a policy are turned and scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// λ_id.
    pub scale: f32,
    /// Largest random turn of `negate` and `repel`, radians.
    pub max_angle_rad: f32,
    /// Sine of the angle by which `orthogonal` leans to −e, 0 to [`MOST_LEAN`].
    pub lean: f32,
}

impl Turn {
    /// Targets as the policies say.
    pub const NONE: Self = Self {
        scale: 1.0,
        max_angle_rad: 0.0,
        lean: 0.0,
    };
}

/// The condition vector for a source embedding `e` (unit length). `person` names the person inside the
/// session, `attempt` counts redraws of the retry ladder. `ksame` is the composite's embedding.
///
/// # Errors
/// An embedding that is empty, not finite or not of unit length; a composite's of another length.
pub fn target(
    policy: IdentityPolicy,
    e: &[f32],
    ksame: Option<&[f32]>,
    turn: Turn,
    secret: &SessionSecret,
    person: u64,
    attempt: u32,
) -> Result<Vec<f32>, TargetError> {
    unit("source embedding", e)?;
    let Turn {
        scale,
        max_angle_rad,
        lean,
    } = turn;
    if !(scale.is_finite() && max_angle_rad.is_finite() && (0.0..=MOST_LEAN).contains(&lean)) {
        return Err(TargetError {
            what: "identity scale, angle and lean",
            expected: format!("finite, lean 0 to {MOST_LEAN}"),
            got: format!("{scale}, {max_angle_rad}, {lean}"),
        });
    }
    let mut stream = secret.stream(Purpose::Target, person, attempt);
    let scaled = |v: Vec<f32>, by: f32| v.into_iter().map(|x| x * by).collect::<Vec<_>>();
    match (policy, ksame) {
        (IdentityPolicy::Ksame, Some(embedding)) => {
            unit("composite's embedding", embedding)?;
            if embedding.len() != e.len() {
                return Err(TargetError {
                    what: "composite's embedding",
                    expected: format!("length {}", e.len()),
                    got: embedding.len().to_string(),
                });
            }
            Ok(scaled(embedding.to_vec(), scale))
        }
        (IdentityPolicy::Ksame | IdentityPolicy::Orthogonal, _) => {
            let random = random_unit(e.len(), &mut stream);
            Ok(scaled(normalised(leant(&orthogonal_to(&random, e), e, lean)), scale))
        }
        (IdentityPolicy::Random, _) => Ok(scaled(random_unit(e.len(), &mut stream), scale)),
        (IdentityPolicy::Negate, _) => Ok(scaled(rotated(e, max_angle_rad, &mut stream), -scale)),
        (IdentityPolicy::Repel, _) => Ok(scaled(rotated(e, max_angle_rad, &mut stream), scale)),
    }
}

/// Minimal Orthogonal Identity Mapping: `z_a = z_r − (⟨z_r,z_s⟩/‖z_s‖²) z_s`, rescaled to ‖z_r‖. A zero
/// `source` leaves `random` as it is; a `random` that is parallel to `source` gives zeros.
#[must_use]
pub fn orthogonal_to(random: &[f32], source: &[f32]) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let (along, source2, random2) = (dot(random, source), dot(source, source), dot(random, random));
    let share = if source2 > 0.0 { along / source2 } else { 0.0 };
    let apart: Vec<f64> = random
        .iter()
        .zip(source)
        .map(|(r, s)| f64::from(*r) - share * f64::from(*s))
        .collect();
    let apart2: f64 = apart.iter().map(|v| v * v).sum();
    // Below this the remainder is rounding error, not a direction.
    let factor = if apart2 > random2 * 1e-12 { (random2 / apart2).sqrt() } else { 0.0 };
    apart.into_iter().map(|v| (v * factor) as f32).collect()
}

/// `apart`, which is orthogonal to `source`, leant to the other side of it: `lean` is the sine of the angle, the
/// length stays.
#[must_use]
pub fn leant(apart: &[f32], source: &[f32], lean: f32) -> Vec<f32> {
    let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let (along, length) = (norm(source), norm(apart));
    let lean = if along > 0.0 { f64::from(lean).clamp(0.0, 1.0) } else { 0.0 };
    let (kept, back) = ((1.0 - lean * lean).sqrt(), if lean > 0.0 { lean * length / along } else { 0.0 });
    let both = apart.iter().zip(source);
    both.map(|(a, s)| (f64::from(*a) * kept - f64::from(*s) * back) as f32).collect()
}

/// `e` turned by a random angle up to `max_angle_rad` towards a random direction; `e` itself at 0.
#[must_use]
pub fn rotated(e: &[f32], max_angle_rad: f32, stream: &mut Stream) -> Vec<f32> {
    if max_angle_rad == 0.0 {
        return e.to_vec();
    }
    let angle = f64::from(max_angle_rad) * stream.uniform();
    let side = normalised(orthogonal_to(&random_unit(e.len(), stream), e));
    e.iter()
        .zip(side)
        .map(|(a, b)| (f64::from(*a) * angle.cos() + f64::from(b) * angle.sin()) as f32)
        .collect()
}

fn random_unit(len: usize, stream: &mut Stream) -> Vec<f32> {
    let mut v = vec![0.0; len];
    stream.fill_normal(&mut v);
    normalised(v)
}

fn normalised(v: Vec<f32>) -> Vec<f32> {
    let norm = v.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if norm > 0.0 {
        v.into_iter().map(|x| (f64::from(x) / norm) as f32).collect()
    } else {
        v
    }
}

fn unit(what: &'static str, v: &[f32]) -> Result<(), TargetError> {
    let norm = v.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    // Two or more values, or there is nothing orthogonal; half a percent covers f16 embeddings.
    if v.len() >= 2 && (norm - 1.0).abs() < 5e-3 {
        Ok(())
    } else {
        Err(TargetError {
            what,
            expected: "a unit vector of 2 values or more".into(),
            got: format!("{} values, norm {norm}", v.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{IdentityPolicy, MOST_LEAN, Turn, leant, orthogonal_to, target};
    use crate::secret::SessionSecret;
    use proptest::prelude::*;

    fn cos(a: &[f32], b: &[f32]) -> f32 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    fn source(n: usize) -> Vec<f32> {
        super::random_unit(n, &mut SessionSecret::from_seed(77).stream(crate::secret::Purpose::Other, 1, 1))
    }

    fn get(policy: IdentityPolicy, e: &[f32], seed: u64, person: u64, attempt: u32) -> Vec<f32> {
        target(policy, e, None, Turn::NONE, &SessionSecret::from_seed(seed), person, attempt).expect("a target")
    }

    #[test]
    fn each_policy_stands_where_it_says() {
        let e = source(192);
        assert!((cos(&get(IdentityPolicy::Negate, &e, 1, 1, 0), &e) + 1.0).abs() < 1e-5);
        assert!((cos(&get(IdentityPolicy::Repel, &e, 1, 1, 0), &e) - 1.0).abs() < 1e-5);
        assert!(cos(&get(IdentityPolicy::Orthogonal, &e, 1, 1, 0), &e).abs() < 1e-5);
        assert!(cos(&get(IdentityPolicy::Ksame, &e, 1, 1, 0), &e).abs() < 1e-5);
        // Six standard deviations of a random cosine in 192 dimensions.
        assert!(cos(&get(IdentityPolicy::Random, &e, 1, 1, 0), &e).abs() < 6.0 / 192_f32.sqrt());
    }

    #[test]
    fn drawn_targets_repeat_within_a_session_and_are_unlinked_across() {
        let e = source(192);
        let base = get(IdentityPolicy::Orthogonal, &e, 1, 4, 0);
        assert_eq!(base, get(IdentityPolicy::Orthogonal, &e, 1, 4, 0));
        for other in [
            get(IdentityPolicy::Orthogonal, &e, 2, 4, 0),
            get(IdentityPolicy::Orthogonal, &e, 1, 5, 0),
            get(IdentityPolicy::Orthogonal, &e, 1, 4, 1),
        ] {
            assert!(cos(&base, &other).abs() < 6.0 / 192_f32.sqrt());
        }
    }

    #[test]
    fn a_lean_stands_where_it_says_and_leaves_the_greater_part_random() {
        let e = source(192);
        let get = |seed, lean| {
            let turn = Turn { lean, ..Turn::NONE };
            target(IdentityPolicy::Orthogonal, &e, None, turn, &SessionSecret::from_seed(seed), 1, 0)
        };
        let (one, other) = (get(1, 0.5).expect("a target"), get(2, 0.5).expect("a target"));
        assert!((cos(&one, &e) + 0.5).abs() < 1e-5);
        // What the lean has in common, and six standard deviations of the rest.
        assert!((cos(&one, &other) - 0.25).abs() < 6.0 * 0.75 / 192_f32.sqrt());
        for bad in [-0.1, MOST_LEAN + 0.01, 1.0, f32::NAN] {
            assert_eq!(get(1, bad).expect_err("out of range").what, "identity scale, angle and lean");
        }
        let long = leant(&[0.0, 3.0], &[2.0, 0.0], 0.6);
        assert!((long[0] + 1.8).abs() < 1e-6 && (long[1] - 2.4).abs() < 1e-6);
        assert_eq!(leant(&[0.0, 3.0], &[0.0, 0.0], 0.6), [0.0, 3.0]);
    }

    #[test]
    fn rotation_stays_within_its_angle() {
        let e = source(64);
        for attempt in 0..50 {
            let turn = Turn {
                max_angle_rad: 0.5,
                ..Turn::NONE
            };
            let c = target(IdentityPolicy::Negate, &e, None, turn, &SessionSecret::from_seed(9), 0, attempt).expect("a target");
            let angle = (-cos(&c, &e)).clamp(-1.0, 1.0).acos();
            assert!(angle <= 0.5 + 1e-3, "{angle}");
            assert!((c.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn the_composite_is_the_target_where_there_is_one() {
        let (e, k) = (source(8), {
            let mut k = vec![0.0; 8];
            k[3] = 1.0;
            k
        });
        let c = target(IdentityPolicy::Ksame, &e, Some(&k), Turn::NONE, &SessionSecret::from_seed(1), 0, 0).expect("a target");
        assert_eq!(c, k);
        let error = target(
            IdentityPolicy::Ksame,
            &e,
            Some(&[1.0, 0.0]),
            Turn::NONE,
            &SessionSecret::from_seed(1),
            0,
            0,
        )
        .expect_err("length");
        assert_eq!(error.what, "composite's embedding");
        for bad in [vec![], vec![1.0], vec![0.0; 8], vec![f32::NAN; 8]] {
            assert!(target(IdentityPolicy::Random, &bad, None, Turn::NONE, &SessionSecret::from_seed(1), 0, 0).is_err());
        }
    }

    proptest! {
        #[test]
        fn the_mapping_is_orthogonal_and_keeps_the_norm(pairs in prop::collection::vec((-3.0_f32..3.0, -3.0_f32..3.0), 3..40)) {
            let (r, s): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            prop_assume!(norm(&r) > 0.1 && norm(&s) > 0.1 && cos(&r, &s).abs() < 0.999);
            let a = orthogonal_to(&r, &s);
            let dot: f64 = a.iter().zip(&s).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            prop_assert!(dot.abs() < 1e-5 * norm(&r) * norm(&s));
            prop_assert!((norm(&a) - norm(&r)).abs() < 1e-5 * norm(&r));
        }
    }
}
