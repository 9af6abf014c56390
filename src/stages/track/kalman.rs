//! Motion of one box: a Kalman filter of constant velocity over centre x and y, log size and log aspect.
//!
//! Why in stream time: frames are dropped and rates vary, so noise grows with seconds, not with frames.
//! Why predictions are pure functions of the last posterior: predicting once over a second or thirty times
//! over a thirtieth gives the same box, and asking twice costs nothing.
//!
//! | | |
//! |---|---|
//! | size | √(w·h), px; its log is filtered, so that it stays positive |
//! | aspect | w/h, log, no velocity |
//! | process noise | white acceleration, `ACCEL` sides²/s³ for the centre, `ZOOM` 1/s³ for log size |
//! | time backwards | extrapolates backwards, noise grows all the same |
//! | limits | velocity runs for `coast_s` at most, then stands; noise for 2 s; speed ≤ 12 sides/s; a filter unseen for 2·coast is begun anew |

use crate::frame::BoxPx;

/// Spectral density of acceleration: velocity drifts by 1 side/s in a tenth of a second.
const ACCEL: f64 = 10.0;
/// The same for log size: 0.3 /s in a tenth of a second.
const ZOOM: f64 = 0.9;
/// Random walk of log aspect, 1/s.
const SHAPE: f64 = 0.02;
/// Unknown speed of a new face, sides/s, one sigma.
const SPEED_PRIOR: f64 = 1.5;
/// Unknown zoom of a new face, 1/s, one sigma.
const ZOOM_PRIOR: f64 = 0.3;
/// No head in a film moves faster, sides/s.
const SPEED_MAX: f64 = 12.0;
/// No face grows or shrinks faster, log size per second.
const ZOOM_MAX: f64 = 4.0;
/// Noise stops growing after this time, s.
const NOISE_S_MAX: f64 = 2.0;

/// Noise of a measurement as shares of the size, one sigma.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Noise {
    /// Of the centre.
    pub center: f64,
    /// Of log size and log aspect.
    pub shape: f64,
}

impl Noise {
    /// A detector's boxes jitter by some 3 % of a side.
    pub(super) const DETECTOR: Self = Self { center: 0.03, shape: 0.05 };
    /// A weak detection may be no face: it pulls little.
    pub(super) const WEAK: Self = Self { center: 0.25, shape: 0.25 };
    /// Meshes follow to about 1 %.
    pub(super) const MESH: Self = Self {
        center: 0.012,
        shape: 0.02,
    };
}

/// One value with its velocity and their covariance.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    x: f64,
    v: f64,
    xx: f64,
    xv: f64,
    vv: f64,
}

impl Axis {
    fn new(x: f64, x_sigma: f64, v_sigma: f64) -> Self {
        Self {
            x,
            v: 0.0,
            xx: x_sigma * x_sigma,
            xv: 0.0,
            vv: v_sigma * v_sigma,
        }
    }

    /// Moves for `move_s` seconds (signed) under noise of density `q` for `noise_s` seconds.
    fn predicted(self, move_s: f64, noise_s: f64, q: f64) -> Self {
        let t = noise_s;
        let cross = q * t * t / 2.0;
        Self {
            x: self.x + self.v * move_s,
            v: self.v,
            xx: self.xx + 2.0 * move_s * self.xv + move_s * move_s * self.vv + q * t * t * t / 3.0,
            xv: self.xv + move_s * self.vv + if move_s < 0.0 { -cross } else { cross },
            vv: self.vv + q * t,
        }
    }

    fn updated(self, measured: f64, sigma: f64, v_max: f64) -> Self {
        let s = self.xx + sigma * sigma;
        if s <= 0.0 || !s.is_finite() {
            return Self {
                x: measured,
                v: 0.0,
                ..self
            };
        }
        let (kx, kv) = (self.xx / s, self.xv / s);
        let innovation = measured - self.x;
        Self {
            x: self.x + kx * innovation,
            v: (self.v + kv * innovation).clamp(-v_max, v_max),
            xx: (1.0 - kx) * self.xx,
            xv: (1.0 - kx) * self.xv,
            vv: (self.vv - kv * self.xv).max(0.0),
        }
    }
}

/// A box in motion. Its time is kept by the caller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Motion {
    cx: Axis,
    cy: Axis,
    ln_size: Axis,
    ln_aspect: Axis,
}

/// Centre, log size and log aspect of a box with positive area.
fn measure(b: &BoxPx) -> [f64; 4] {
    let (w, h) = (f64::from(b.width()), f64::from(b.height()));
    let [cx, cy] = b.center();
    [f64::from(cx), f64::from(cy), (w * h).ln() / 2.0, (w / h).ln()]
}

impl Motion {
    /// Begins at a box with positive area; the velocity is unknown and taken for zero.
    pub(super) fn new(b: &BoxPx, noise: Noise) -> Self {
        let [cx, cy, ln_size, ln_aspect] = measure(b);
        let size = ln_size.exp();
        Self {
            cx: Axis::new(cx, noise.center * size, SPEED_PRIOR * size),
            cy: Axis::new(cy, noise.center * size, SPEED_PRIOR * size),
            ln_size: Axis::new(ln_size, noise.shape, ZOOM_PRIOR),
            ln_aspect: Axis::new(ln_aspect, noise.shape, 0.0),
        }
    }

    /// Where it is `dt_s` seconds after (before, where negative) the last update.
    pub(super) fn predicted(&self, dt_s: f64, coast_s: f64) -> Self {
        let move_s = dt_s.clamp(-coast_s, coast_s);
        let noise_s = dt_s.abs().min(NOISE_S_MAX);
        let size2 = (2.0 * self.ln_size.x).exp();
        Self {
            cx: self.cx.predicted(move_s, noise_s, ACCEL * size2),
            cy: self.cy.predicted(move_s, noise_s, ACCEL * size2),
            ln_size: self.ln_size.predicted(move_s, noise_s, ZOOM),
            ln_aspect: Axis {
                xx: self.ln_aspect.xx + SHAPE * noise_s,
                ..self.ln_aspect
            },
        }
    }

    /// Takes a measured box with positive area, `dt_s` after the last update.
    pub(super) fn updated(&self, b: &BoxPx, noise: Noise, dt_s: f64, coast_s: f64) -> Self {
        if dt_s.abs() > (2.0 * coast_s).max(0.1) {
            return Self::new(b, noise);
        }
        let from = self.predicted(dt_s, coast_s);
        let [cx, cy, ln_size, ln_aspect] = measure(b);
        let size = ln_size.exp();
        Self {
            cx: from.cx.updated(cx, noise.center * size, SPEED_MAX * size),
            cy: from.cy.updated(cy, noise.center * size, SPEED_MAX * size),
            ln_size: from.ln_size.updated(ln_size, noise.shape, ZOOM_MAX),
            ln_aspect: from.ln_aspect.updated(ln_aspect, noise.shape, 0.0),
        }
    }

    /// The box.
    pub(super) fn box_px(&self) -> BoxPx {
        let size = self.ln_size.x.exp();
        let root_aspect = (self.ln_aspect.x / 2.0).exp();
        BoxPx::around(
            [self.cx.x as f32, self.cy.x as f32],
            (size * root_aspect) as f32,
            (size / root_aspect) as f32,
        )
    }

    /// Velocity of the centre, px/s.
    pub(super) fn velocity_px_s(&self) -> [f32; 2] {
        [self.cx.v as f32, self.cy.v as f32]
    }

    /// Velocity of log size, 1/s.
    pub(super) fn zoom_per_s(&self) -> f32 {
        self.ln_size.v as f32
    }

    /// Uncertainty of the centre, one sigma of the worse axis, as a share of the size.
    pub(super) fn sigma_sides(&self) -> f32 {
        (self.cx.xx.max(self.cy.xx).max(0.0).sqrt() / self.ln_size.x.exp()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::{Motion, Noise};
    use crate::frame::BoxPx;

    const COAST: f64 = 0.25;

    fn walk(step_s: f64, frames: usize) -> Motion {
        let at = |i: usize| BoxPx::around([100.0 + 60.0 * (i as f64 * step_s) as f32, 80.0], 40.0, 50.0);
        (1..frames).fold(Motion::new(&at(0), Noise::DETECTOR), |m, i| {
            m.updated(&at(i), Noise::DETECTOR, step_s, COAST)
        })
    }

    #[test]
    fn velocity_is_learnt_in_seconds_whatever_the_rate() {
        for (step_s, frames) in [(1.0 / 60.0, 60), (1.0 / 25.0, 25), (0.1, 11)] {
            let v = walk(step_s, frames).velocity_px_s();
            assert!((v[0] - 60.0).abs() < 4.0 && v[1].abs() < 1.0, "step {step_s}: {v:?}");
        }
    }

    #[test]
    fn predicting_does_not_depend_on_the_number_of_steps() {
        let m = walk(0.04, 20);
        assert_eq!(m.predicted(0.0, COAST).box_px(), m.box_px());
        let x = |dt: f64| m.predicted(dt, COAST).box_px().center()[0];
        assert!((x(0.2) - x(0.0) - 12.0).abs() < 1.0);
        assert!((x(-0.2) - x(0.0) + 12.0).abs() < 1.0);
    }

    #[test]
    fn velocity_stops_after_the_coast_and_noise_stays_finite() {
        let m = walk(0.04, 20);
        assert_eq!(m.predicted(0.25, COAST).box_px(), m.predicted(1e12, COAST).box_px());
        assert!(m.predicted(f64::MAX, COAST).sigma_sides().is_finite());
    }

    #[test]
    fn a_repeated_time_averages_instead_of_jumping() {
        let m = walk(0.04, 20);
        let seen = BoxPx::around([m.box_px().center()[0] + 4.0, 80.0], 40.0, 50.0);
        let x = m.updated(&seen, Noise::DETECTOR, 0.0, COAST).box_px().center()[0];
        assert!(x > m.box_px().center()[0] && x < seen.center()[0]);
    }

    #[test]
    fn uncertainty_grows_with_time_both_ways() {
        let m = walk(0.04, 20);
        let s = |dt: f64| m.predicted(dt, COAST).sigma_sides();
        assert!(s(0.0) < s(0.04) && s(0.04) < s(0.2) && s(0.2) < s(0.8));
        assert!(s(-0.2) > s(0.0));
    }

    #[test]
    fn a_long_gap_begins_anew_at_the_sight() {
        let seen = BoxPx::around([300.0, 20.0], 20.0, 20.0);
        let m = walk(0.04, 20).updated(&seen, Noise::DETECTOR, 30.0, COAST);
        assert!((m.box_px().center()[0] - 300.0).abs() < 1e-3);
        assert_eq!(m.velocity_px_s(), [0.0, 0.0]);
    }
}
