//! How a recogniser decides once embeddings are there: comparison, thresholds by false-accept rate, likeness.

use crate::backend::ModelEntry;

/// A rate of false accepts that thresholds are given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Far {
    /// One in a hundred.
    #[serde(rename = "far_1e-2")]
    E2,
    /// One in a thousand.
    #[serde(rename = "far_1e-3")]
    E3,
    /// One in ten thousand.
    #[serde(rename = "far_1e-4")]
    E4,
}

impl Far {
    /// All of them, the loosest first.
    pub const ALL: [Self; 3] = [Self::E2, Self::E3, Self::E4];

    /// The rate.
    #[must_use]
    pub const fn rate(self) -> f64 {
        match self {
            Self::E2 => 1e-2,
            Self::E3 => 1e-3,
            Self::E4 => 1e-4,
        }
    }
}

/// How two embeddings are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    /// Cosine: larger is more alike.
    Cosine,
    /// Euclidean distance of raw vectors: smaller is more alike.
    Euclidean,
}

/// How a recogniser decides, apart from the network: what figures need once embeddings are there.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Recogniser's name.
    pub name: String,
    /// Whether it took no part in making the output.
    pub held_out: bool,
    /// Comparison.
    pub distance: Distance,
    /// Thresholds by rate, in [`Far::ALL`]'s order.
    pub thresholds: [Option<f32>; 3],
    /// Means of strangers and of one person in two films, in the comparison's own measure.
    pub means: Option<(f32, f32)>,
}

impl Verdict {
    /// Of a manifest's entry.
    #[must_use]
    pub fn of(entry: &ModelEntry) -> Self {
        let t = entry.thresholds.as_ref();
        Self {
            name: entry.name.clone(),
            held_out: entry.held_out != Some(false),
            distance: match entry.distance.as_deref() {
                Some("euclidean") => Distance::Euclidean,
                _ => Distance::Cosine,
            },
            thresholds: [
                t.map(|t| t.far_1e_2.threshold),
                t.map(|t| t.far_1e_3.threshold),
                t.and_then(|t| t.far_1e_4).map(|t| t.threshold),
            ],
            means: t.map(|t| (t.mean_impostor, t.mean_genuine_other_film)),
        }
    }

    /// The threshold at a rate.
    #[must_use]
    pub fn threshold(&self, far: Far) -> Option<f32> {
        self.thresholds[Far::ALL.iter().position(|f| *f == far)?]
    }

    /// Larger is more alike: the cosine, or minus the distance.
    #[must_use]
    pub fn score(&self, a: &[f32], b: &[f32]) -> f64 {
        match self.distance {
            Distance::Cosine => cosine(a, b),
            Distance::Euclidean => -distance(a, b),
        }
    }

    /// Whether a score counts as one person; `None` where there is no threshold at this rate.
    #[must_use]
    pub fn accepts(&self, score: f64, far: Far) -> Option<bool> {
        let t = f64::from(self.threshold(far)?);
        Some(match self.distance {
            Distance::Cosine => score >= t,
            Distance::Euclidean => score >= -t,
        })
    }

    /// A score on the scale on which strangers are at 0 and one person in two films is at 1.
    #[must_use]
    pub fn likeness(&self, score: f64) -> Option<f64> {
        let (stranger, same) = self.means?;
        let (stranger, same) = match self.distance {
            Distance::Cosine => (f64::from(stranger), f64::from(same)),
            Distance::Euclidean => (-f64::from(stranger), -f64::from(same)),
        };
        ((same - stranger).abs() > 1e-6).then(|| (score - stranger) / (same - stranger))
    }
}

/// Cosine of two vectors; 0 where one has no direction.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut ab, mut aa, mut bb) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x), f64::from(*y));
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa > 0.0 && bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_and_thresholds_agree_in_both_measures() {
        let mut v = Verdict {
            name: "r".to_owned(),
            held_out: true,
            distance: Distance::Cosine,
            thresholds: [Some(0.3), Some(0.5), None],
            means: Some((0.1, 0.6)),
        };
        assert_eq!(v.accepts(v.score(&[1.0, 0.0], &[1.0, 0.1]), Far::E3), Some(true));
        assert_eq!(v.accepts(v.score(&[1.0, 0.0], &[0.0, 1.0]), Far::E3), Some(false));
        assert_eq!(v.accepts(0.9, Far::E4), None, "no threshold, no verdict");
        assert!((v.likeness(0.1).expect("means")).abs() < 1e-6 && (v.likeness(0.6).expect("means") - 1.0).abs() < 1e-6);
        v.distance = Distance::Euclidean;
        v.thresholds = [Some(0.6), Some(0.5), None];
        v.means = Some((0.8, 0.5));
        assert_eq!(v.accepts(v.score(&[1.0, 0.0], &[1.0, 0.4]), Far::E3), Some(true));
        assert_eq!(v.accepts(v.score(&[1.0, 0.0], &[1.0, 0.55]), Far::E3), Some(false));
        assert!((v.likeness(-0.5).expect("means") - 1.0).abs() < 1e-6);
    }
}
