//! One solver step of the bracket form, fused: the only arithmetic between two calls of the denoiser.
//!
//! With δ = x̂ − x (the edit so far), m the data prediction and q = m̂ − m_ref:
//!
//! `δ_p = carry·δ + data·(q + history·(q − q₋))`, `x̂_p = x_p + δ_p`, where
//! `q = (m_u − m_ref) + M·[s·w·(m_c − m_u) + (1 − s)·(x̂/α − m_u)]`.
//!
//! Why δ is carried and not x̂: with w = 0 it stays exactly zero, so x_0 comes back bit for bit, and
//! small edits lose no digits against large latents.
//!
//! | | |
//! |---|---|
//! | inputs | `x` (reference latent at t), `x_next` (at p; x_0 at the clean end), `output_c`, and for [`Unguided::Predicted`] `output_ref`, `output_u`: raw predictions; for [`Unguided::Stock`] x_0 |
//! | in and out | `delta`, `history`: the state of a face, zero before the first step |
//! | output | `x_hat_next` |
//! | layout | one face, `[channel][row][column]`, f32, all of one length; `mask` of that length or of one plane (then the same for all channels), 0–1, M = 1 edits |
//! | raw → data | `m = to_data.0·x + to_data.1·output` |
//! | pinned | where M = 0, δ_p and q are exactly 0: the latent is kept bit for bit |
//! | aliasing | none |
//! | order | element-wise: results do not depend on batch, face order or threads |
//! | errors | none; lengths are the caller's to check ([`EditOperands::fits`]) |
//! | source | algorithms: edit-friendly DDPM and SDE-DPM-Solver++ inversion with the noise substituted |
//!
//! Limits: elements past the shortest slice are not touched.

/// Constants of one step of one face.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EditStep {
    /// Factor of δ.
    pub carry: f32,
    /// Factor of the data prediction.
    pub data: f32,
    /// Weight of the multistep difference.
    pub history: f32,
    /// Guidance scale w; negative pushes away from the condition.
    pub guidance: f32,
    /// Factor s on the guided noise prediction; 1 = no rescale.
    pub rescale: f32,
    /// α of the current level.
    pub alpha: f32,
    /// Raw prediction → data prediction.
    pub to_data: (f32, f32),
    /// Keep latents bit for bit where the mask is 0.
    pub pinned: bool,
    /// Leave the reference's residual out of this step: `x̂_p = μ` (the published treatment of the last step).
    pub drop_residual: bool,
}

/// What stands for the unconditional prediction.
#[derive(Debug, Clone, Copy)]
pub enum Unguided<'a> {
    /// Predictions at the reference latent and at the edited one.
    Predicted {
        /// At x, with ∅.
        output_ref: &'a [f32],
        /// At x̂, with the unconditional branch.
        output_u: &'a [f32],
    },
    /// The known stock noise (residual guidance): its data prediction is x_0, at every step.
    Stock {
        /// x_0.
        x0: &'a [f32],
    },
}

/// Slices of one step of one face.
#[derive(Debug)]
pub struct EditOperands<'a> {
    /// Reference latent at the current level.
    pub x: &'a [f32],
    /// Reference latent at the next level.
    pub x_next: &'a [f32],
    /// Unconditional side.
    pub unguided: Unguided<'a>,
    /// Raw prediction at x̂ under the condition.
    pub output_c: &'a [f32],
    /// Mask; none = 1 everywhere.
    pub mask: Option<&'a [f32]>,
    /// δ.
    pub delta: &'a mut [f32],
    /// q of the step before.
    pub history: &'a mut [f32],
    /// x̂ at the next level.
    pub x_hat_next: &'a mut [f32],
}

impl EditOperands<'_> {
    /// Whether all slices have `len` values and the mask fits.
    #[must_use]
    pub fn fits(&self, len: usize) -> bool {
        let (a, b) = match self.unguided {
            Unguided::Predicted { output_ref, output_u } => (output_ref.len(), output_u.len()),
            Unguided::Stock { x0 } => (x0.len(), x0.len()),
        };
        [
            self.x.len(),
            self.x_next.len(),
            a,
            b,
            self.output_c.len(),
            self.delta.len(),
            self.history.len(),
            self.x_hat_next.len(),
        ]
        .iter()
        .all(|n| *n == len)
            && self.mask.is_none_or(|m| !m.is_empty() && len.is_multiple_of(m.len()))
    }
}

/// Runs one step; contract above.
pub fn edit_step(step: &EditStep, operands: EditOperands<'_>) {
    let EditOperands {
        x,
        x_next,
        unguided,
        output_c,
        mask,
        delta,
        history,
        x_hat_next,
    } = operands;
    let plane = mask.map_or(x.len(), <[f32]>::len).max(1);
    for (index, start) in (0..x.len()).step_by(plane).enumerate() {
        let end = (start + plane).min(x.len());
        debug_assert_eq!(start, index * plane);
        let part = start..end;
        let (delta, history, out) = (&mut delta[part.clone()], &mut history[part.clone()], &mut x_hat_next[part.clone()]);
        let (x, x_next, c) = (&x[part.clone()], &x_next[part.clone()], &output_c[part.clone()]);
        match unguided {
            Unguided::Predicted { output_ref, output_u } => {
                let (r, u) = (&output_ref[part.clone()], &output_u[part]);
                run(step, x, x_next, mask, delta, history, out, |i, d| {
                    let (p, q) = step.to_data;
                    // m_u − m_ref, m_c − m_u, m_u without a large common part.
                    (
                        p * d + q * (u[i] - r[i]),
                        q * (c[i] - u[i]),
                        p * (x[i] + d) + q * u[i],
                        p * x[i] + q * r[i],
                    )
                });
            }
            Unguided::Stock { x0 } => {
                let x0 = &x0[part];
                run(step, x, x_next, mask, delta, history, out, |i, d| {
                    let (p, q) = step.to_data;
                    (0.0, p * (x[i] + d) + q * c[i] - x0[i], x0[i], x0[i])
                });
            }
        }
    }
}

/// `parts(i, δ)` gives `m_u − m_ref`, `m_c − m_u`, `m_u`, `m_ref`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn run(
    step: &EditStep,
    x: &[f32],
    x_next: &[f32],
    mask: Option<&[f32]>,
    delta: &mut [f32],
    history: &mut [f32],
    out: &mut [f32],
    parts: impl Fn(usize, f32) -> (f32, f32, f32, f32),
) {
    let off = 1.0 - step.rescale;
    let n = x.len();
    for i in 0..n {
        let d = delta[i];
        let (shift, push, m_u, m_ref) = parts(i, d);
        let m = mask.map_or(1.0, |m| m[i]);
        let mut guided = step.rescale * step.guidance * push;
        if off != 0.0 {
            guided += off * ((x[i] + d) / step.alpha - m_u);
        }
        let mut q = shift + m * guided;
        let keep = step.pinned && m == 0.0;
        if keep {
            q = 0.0;
        }
        let next = if keep {
            0.0
        } else {
            step.carry * d + step.data * (q + step.history * (q - history[i]))
        };
        history[i] = q;
        delta[i] = next;
        // μ of the edited side is the reference's, plus δ; at the clean end the reference's is m_ref.
        out[i] = if step.drop_residual && !keep { m_ref + q } else { x_next[i] + next };
    }
}

/// The factor s that brings the guided noise prediction's standard deviation towards the unguided
/// one's, `φ·std(ε_u)/std(ε̂) + 1 − φ` over all values of a face; exactly 1 where the two predictions
/// are equal, and where the guided one is constant. `to_noise` turns raw predictions into ε.
#[must_use]
pub fn rescale_factor(strength: f32, guidance: f32, to_noise: (f64, f64), x_hat: &[f32], output_u: &[f32], output_c: &[f32]) -> f32 {
    let (p, q) = to_noise;
    std_ratio(
        strength,
        x_hat.iter().zip(output_u).zip(output_c).map(|((x, u), c)| {
            let unguided = p * f64::from(*x) + q * f64::from(*u);
            (unguided, unguided + f64::from(guidance) * q * (f64::from(*c) - f64::from(*u)))
        }),
    )
}

/// [`rescale_factor`] for residual guidance: the unguided noise is `(x̂ − α x_0)/σ`.
#[must_use]
pub fn rescale_factor_stock(
    strength: f32,
    guidance: f32,
    (alpha, sigma): (f64, f64),
    to_noise: (f64, f64),
    x_hat: &[f32],
    x0: &[f32],
    output_c: &[f32],
) -> f32 {
    let (p, q) = to_noise;
    std_ratio(
        strength,
        x_hat.iter().zip(x0).zip(output_c).map(|((x, x0), c)| {
            let unguided = (f64::from(*x) - alpha * f64::from(*x0)) / sigma;
            (
                unguided,
                unguided + f64::from(guidance) * (p * f64::from(*x) + q * f64::from(*c) - unguided),
            )
        }),
    )
}

fn std_ratio(strength: f32, pairs: impl Iterator<Item = (f64, f64)>) -> f32 {
    let (mut n, mut a1, mut a2, mut b1, mut b2) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (a, b) in pairs {
        n += 1.0;
        a1 += a;
        a2 += a * a;
        b1 += b;
        b2 += b * b;
    }
    let variance = |s1: f64, s2: f64| (s2 / n - (s1 / n) * (s1 / n)).max(0.0);
    let (unguided, guided) = (variance(a1, a2), variance(b1, b2));
    if unguided == guided || !(guided > 0.0) {
        return 1.0;
    }
    let strength = f64::from(strength);
    (strength * (unguided / guided).sqrt() + 1.0 - strength) as f32
}
