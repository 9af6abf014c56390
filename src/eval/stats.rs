//! Means with intervals. Frames of one face are nearly copies of each other, so the bootstrap draws
//! whole groups (tracks, people), never frames: with one group there is no interval, and none is given.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Draws of the bootstrap.
pub const DRAWS: usize = 1000;

/// A figure with what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its 95 % interval by bootstrap over groups; absent with fewer than two.
    pub interval_95: Option<[f64; 2]>,
    /// Measurements.
    pub n: usize,
    /// Groups: tracks of a film, people of a folder.
    pub groups: usize,
}

/// Mean over all values. `None` without a finite value.
#[must_use]
pub fn mean(groups: &[Vec<f64>]) -> Option<Estimate> {
    bootstrap(groups, |values| {
        (!values.is_empty()).then(|| values.iter().copied().sum::<f64>() / values.len() as f64)
    })
}

/// Largest value. Its interval says how much it hangs on single groups.
#[must_use]
pub fn largest(groups: &[Vec<f64>]) -> Option<Estimate> {
    bootstrap(groups, |values| values.iter().copied().copied().max_by(f64::total_cmp))
}

/// Ratio of sums: numerators over denominators, so that small denominators do not shout.
#[must_use]
pub fn ratio(groups: &[Vec<(f64, f64)>]) -> Option<Estimate> {
    bootstrap(groups, |pairs| {
        let below: f64 = pairs.iter().map(|p| p.1).sum();
        (below > 0.0).then(|| pairs.iter().map(|p| p.0).sum::<f64>() / below)
    })
}

/// A statistic over all measurements, and its interval over draws of whole groups. Draws in which the
/// statistic does not exist are left out.
#[must_use]
pub fn bootstrap<T>(groups: &[Vec<T>], statistic: impl Fn(&[&T]) -> Option<f64>) -> Option<Estimate> {
    let filled: Vec<&Vec<T>> = groups.iter().filter(|g| !g.is_empty()).collect();
    let all: Vec<&T> = filled.iter().flat_map(|g| g.iter()).collect();
    let value = statistic(&all).filter(|v| v.is_finite())?;
    let mut interval_95 = None;
    if filled.len() > 1 {
        // A fixed seed: the same film gives the same report.
        let mut rng = StdRng::seed_from_u64(5);
        let mut draws = Vec::with_capacity(DRAWS);
        let mut drawn: Vec<&T> = Vec::with_capacity(all.len());
        for _ in 0..DRAWS {
            drawn.clear();
            for _ in 0..filled.len() {
                drawn.extend(filled[rng.random_range(0..filled.len())]);
            }
            draws.extend(statistic(&drawn).filter(|v| v.is_finite()));
        }
        if draws.len() > DRAWS / 2 {
            draws.sort_by(f64::total_cmp);
            interval_95 = Some([quantile(&draws, 0.025), quantile(&draws, 0.975)]);
        }
    }
    Some(Estimate {
        value,
        interval_95,
        n: all.len(),
        groups: filled.len(),
    })
}

/// Quantile of sorted values by linear interpolation; NaN of none.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = share.clamp(0.0, 1.0) * last as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * part
}

/// Median; `None` of none.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| quantile(&sorted, 0.5))
}

/// Pearson's correlation; `None` where one side does not vary or lengths differ.
#[must_use]
pub fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 3 {
        return None;
    }
    let n = a.len() as f64;
    let (ma, mb) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - ma) * (y - mb);
        aa += (x - ma).powi(2);
        bb += (y - mb).powi(2);
    }
    (aa > 1e-12 && bb > 1e-12).then(|| ab / (aa * bb).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_over_groups_and_not_over_frames() {
        // Two tracks of a thousand equal frames: what is not known is which track one meets.
        let groups = vec![vec![0.0; 1000], vec![1.0; 1000]];
        let got = mean(&groups).expect("values");
        assert_eq!((got.value, got.n, got.groups), (0.5, 2000, 2));
        assert_eq!(got.interval_95, Some([0.0, 1.0]));
        let one = mean(&[vec![0.25; 1000]]).expect("values");
        assert_eq!((one.value, one.interval_95), (0.25, None));
        assert_eq!(mean(&[vec![], vec![]]), None);
        assert_eq!(mean(&[vec![f64::NAN]]), None);
    }

    #[test]
    fn a_ratio_weighs_by_its_denominator() {
        let got = ratio(&[vec![(1.0, 10.0), (1.0, 0.0)]]).expect("denominators");
        assert!((got.value - 0.2).abs() < 1e-12);
        assert_eq!(ratio(&[vec![(1.0, 0.0)]]), None);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(median(&[3.0, 1.0, f64::NAN]), Some(2.0));
    }

    #[test]
    fn correlation_of_what_does_not_vary_does_not_exist() {
        assert!((correlation(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]).expect("varies") - 1.0).abs() < 1e-12);
        assert!((correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]).expect("varies") + 1.0).abs() < 1e-12);
        assert_eq!(correlation(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
    }
}
