//! Planes from one size to another: the engine's crop to a pack's and back.
//!
//! | | |
//! |---|---|
//! | filter | triangle of one source pixel when enlarging, of the ratio's width when reducing; weights sum to 1 |
//! | centres | integer + 0.5 on both sides; border replicated |
//! | layout | square planes, planar, f32; source and destination are distinct |
//! | same size | copied, bit for bit |

use super::{ReconstructError, check};

/// Weights of one destination pixel: first source pixel and a weight each.
struct Taps {
    first: isize,
    weights: Vec<f32>,
}

fn taps(from: usize, to: usize) -> Vec<Taps> {
    let ratio = from as f32 / to as f32;
    let reach = ratio.max(1.0);
    (0..to)
        .map(|i| {
            let centre = (i as f32 + 0.5) * ratio - 0.5;
            let first = (centre - reach).floor() as isize + 1;
            let last = (centre + reach).ceil() as isize - 1;
            let weights: Vec<f32> = (first..=last).map(|j| (1.0 - (j as f32 - centre).abs() / reach).max(0.0)).collect();
            let sum: f32 = weights.iter().sum();
            Taps {
                first,
                weights: weights.iter().map(|w| w / sum).collect(),
            }
        })
        .collect()
}

fn at(first: isize, k: usize, side: usize) -> usize {
    (first + k as isize).clamp(0, side as isize - 1) as usize
}

/// `channels` planes of `from_px` square to `to_px` square.
///
/// # Errors
/// [`ReconstructError::Size`] where lengths do not fit, or a side is 0.
pub fn resample(source: &[f32], channels: usize, from_px: usize, to_px: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
    check("source plane", channels * from_px * from_px, source.len())?;
    check("resampled plane", channels * to_px * to_px, out.len())?;
    if from_px == 0 || to_px == 0 {
        return Err(ReconstructError::Size {
            what: "side, px",
            expected: 1,
            got: 0,
        });
    }
    if from_px == to_px {
        out.copy_from_slice(source);
        return Ok(());
    }
    let taps = taps(from_px, to_px);
    let mut rows = vec![0.0; to_px * from_px];
    for (plane, out) in source.chunks_exact(from_px * from_px).zip(out.chunks_exact_mut(to_px * to_px)) {
        for (from, row) in plane.chunks_exact(from_px).zip(rows.chunks_exact_mut(to_px)) {
            for (o, t) in row.iter_mut().zip(&taps) {
                *o = t.weights.iter().enumerate().map(|(k, w)| w * from[at(t.first, k, from_px)]).sum();
            }
        }
        for (out, t) in out.chunks_exact_mut(to_px).zip(&taps) {
            out.fill(0.0);
            for (k, w) in t.weights.iter().enumerate() {
                let from = &rows[at(t.first, k, from_px) * to_px..][..to_px];
                out.iter_mut().zip(from).for_each(|(o, v)| *o += w * v);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::resample;

    fn run(source: &[f32], from: usize, to: usize) -> Vec<f32> {
        let mut out = vec![0.0; to * to];
        resample(source, 1, from, to, &mut out).expect("sizes fit");
        out
    }

    #[test]
    fn a_plane_of_one_value_stays_and_a_ramp_stays_a_ramp() {
        for (from, to) in [(8, 32), (32, 8), (128, 112), (5, 7)] {
            assert!(run(&vec![0.7; from * from], from, to).iter().all(|v| (v - 0.7).abs() < 1e-6));
            let ramp: Vec<f32> = (0..from * from).map(|i| ((i % from) as f32 + 0.5) / from as f32).collect();
            let got = run(&ramp, from, to);
            let border = 2 * (to / from).max(1) + 1;
            for x in border..to - border.min(to) {
                assert!((got[to + x] - (x as f32 + 0.5) / to as f32).abs() < 1e-3, "{from} {to} {x}");
            }
        }
    }

    #[test]
    fn there_and_back_keeps_what_is_smooth_and_the_same_size_keeps_every_bit() {
        let wave: Vec<f32> = (0..64 * 64)
            .map(|i| ((i % 64) as f32 * 0.2).sin() + ((i / 64) as f32 * 0.15).cos())
            .collect();
        let back = run(&run(&wave, 64, 256), 256, 64);
        let worst = wave.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Two triangles of one pixel each take 2 % of a wave of 31 px, and more at the replicated border.
        assert!(worst < 0.08, "{worst}");
        assert_eq!(run(&wave, 64, 64), wave);
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        assert!(resample(&[0.0; 4], 1, 2, 4, &mut [0.0; 15]).is_err());
        assert!(resample(&[0.0; 3], 1, 2, 4, &mut [0.0; 16]).is_err());
        assert!(resample(&[], 1, 0, 4, &mut [0.0; 16]).is_err());
    }
}
