//! Takes the jitter out of mesh points without lag: the one-euro filter (Casiez, Roussel, Vogel 2012).
//!
//! Points are in crop coordinates, so that the head's own motion is not in them: what is left is
//! expression, turning and the network's jitter. A point that moves fast is hardly filtered.
//! A still face gives still points, bit for bit.

use crate::frame::Pts;

/// Cut-off of a still point, Hz.
const MIN_CUTOFF_HZ: f32 = 2.0;
/// Growth of the cut-off with speed, Hz for each px of a 128 px crop in a second.
const BETA: f32 = 0.25;
/// Cut-off of the speed itself, Hz.
const SPEED_CUTOFF_HZ: f32 = 1.5;
/// After a pause like this the filter starts anew, s.
const PAUSE_S: f64 = 0.3;

/// State of one track.
#[derive(Debug, Clone, Default)]
pub(super) struct Smoother {
    at: Option<Pts>,
    value: Vec<[f32; 3]>,
    speed: Vec<[f32; 3]>,
}

fn share(cutoff_hz: f32, dt_s: f32) -> f32 {
    let tau = 1.0 / (std::f32::consts::TAU * cutoff_hz);
    dt_s / (dt_s + tau)
}

impl Smoother {
    /// Replaces points by their smoothed places.
    pub(super) fn smooth(&mut self, at: Pts, points: &mut [[f32; 3]]) {
        let dt = self.at.map_or(f64::INFINITY, |last| at.seconds_since(last));
        self.at = Some(at);
        if !(dt > 0.0 && dt < PAUSE_S) || self.value.len() != points.len() {
            self.value = points.to_vec();
            self.speed = vec![[0.0; 3]; points.len()];
            return;
        }
        let dt = dt as f32;
        let slow = share(SPEED_CUTOFF_HZ, dt);
        let state = self.value.iter_mut().zip(&mut self.speed);
        for (point, (value, speed)) in points.iter_mut().zip(state) {
            for c in 0..3 {
                let raw = (point[c] - value[c]) / dt;
                speed[c] += (raw - speed[c]) * slow;
            }
            let fast = (speed[0] * speed[0] + speed[1] * speed[1]).sqrt();
            let keep = share(MIN_CUTOFF_HZ + BETA * fast, dt);
            for c in 0..3 {
                value[c] += (point[c] - value[c]) * keep;
            }
            *point = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Smoother;
    use crate::frame::Pts;

    fn frame(n: u64) -> Pts {
        Pts(n * 40_000_000)
    }

    #[test]
    fn a_still_point_stays_bit_for_bit() {
        let mut smoother = Smoother::default();
        for n in 0..20 {
            let mut points = [[31.37, 64.1, -3.3]];
            smoother.smooth(frame(n), &mut points);
            assert_eq!(points, [[31.37, 64.1, -3.3]]);
        }
    }

    #[test]
    fn jitter_is_halved_and_motion_is_followed() {
        let mut smoother = Smoother::default();
        let mut rest = 0.0_f32;
        for n in 0..200 {
            let jitter = if n % 2 == 0 { 0.2 } else { -0.2 };
            let mut points = [[50.0 + jitter, 60.0, 0.0]];
            smoother.smooth(frame(n), &mut points);
            if n > 20 {
                rest = rest.max((points[0][0] - 50.0).abs());
            }
        }
        assert!(rest < 0.12, "left {rest} of 0.2 px");
        let mut lag = 0.0;
        for n in 200..230 {
            let truth = 50.0 + (n - 200) as f32 * 2.0;
            let mut points = [[truth, 60.0, 0.0]];
            smoother.smooth(frame(n), &mut points);
            lag = truth - points[0][0];
        }
        assert!(lag < 1.0, "lags {lag} px behind 50 px/s");
    }

    #[test]
    fn a_pause_or_time_running_back_starts_anew() {
        let mut smoother = Smoother::default();
        smoother.smooth(frame(10), &mut [[0.0; 3]]);
        for n in [40, 5] {
            let mut points = [[9.0 + n as f32, 1.0, 0.0]];
            smoother.smooth(frame(n), &mut points);
            assert_eq!(points[0][0], 9.0 + n as f32);
        }
    }
}
