//! Counters of a session.

use std::time::Duration;

use super::outcome::{CoverReason, FrameReport, Outcome, Rung};

/// Frames over which latency percentiles are taken.
const WINDOW: usize = 512;

/// Counters since the engine was opened.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Stats {
    /// Frames rendered.
    pub frames: u64,
    /// Frames on which a regular or thorough detection ran.
    pub detected: u64,
    /// Face regions handled.
    pub faces: u64,
    /// Tracks started.
    pub tracks: u64,
    /// Regions replaced by another face.
    pub replaced: u64,
    /// Of these, by the denoiser in the same frame.
    pub diffused: u64,
    /// Of these, by the denoiser in an earlier frame.
    pub cached: u64,
    /// Of these, by the k-same composite alone.
    pub prior: u64,
    /// Blurred regions.
    pub blurred: u64,
    /// Pixelated regions.
    pub pixelated: u64,
    /// Regions filled with one colour.
    pub solid: u64,
    /// Regions left as they are, as asked.
    pub kept: u64,
    /// Frames covered whole.
    pub withheld: u64,
    /// Regions and frames covered although that was not what was asked for.
    pub fallbacks: u64,
    /// Largest cosine of an output to its source that was measured.
    pub worst_cos: Option<f32>,
    /// Median time to treat a frame, ms, over the last 512 frames.
    pub latency_p50_ms: f32,
    /// 95th percentile of the same.
    pub latency_p95_ms: f32,
}

/// Counts and times.
#[derive(Debug, Default)]
pub(super) struct Meter {
    stats: Stats,
    times_ms: Vec<f32>,
    next: usize,
}

impl Meter {
    pub(super) fn started(&mut self, tracks: usize) {
        self.stats.tracks += tracks as u64;
    }

    pub(super) fn frame(&mut self, report: &FrameReport, took: Duration) {
        let s = &mut self.stats;
        s.frames += 1;
        s.detected += u64::from(report.detected);
        if let Some(reason) = report.withheld {
            s.withheld += 1;
            s.fallbacks += u64::from(reason != CoverReason::Policy);
        }
        for face in &report.faces {
            s.faces += 1;
            match face.outcome {
                Outcome::Replaced { rung, .. } => {
                    s.replaced += 1;
                    match rung {
                        Rung::Diffusion => s.diffused += 1,
                        Rung::Cached => s.cached += 1,
                        _ => s.prior += 1,
                    }
                }
                Outcome::Covered { reason, rung } => {
                    match rung {
                        Rung::Blur => s.blurred += 1,
                        Rung::Pixelate => s.pixelated += 1,
                        Rung::Solid => s.solid += 1,
                        Rung::Frame | Rung::Diffusion | Rung::Cached | Rung::Prior => {}
                    }
                    s.fallbacks += u64::from(!reason.is_expected());
                }
                Outcome::Kept { .. } => s.kept += 1,
                Outcome::FrameWithheld { .. } => {}
            }
            if let Some(cos) = face.cos {
                s.worst_cos = Some(s.worst_cos.map_or(cos, |worst| worst.max(cos)));
            }
        }
        let ms = took.as_secs_f32() * 1e3;
        if self.times_ms.len() < WINDOW {
            self.times_ms.push(ms);
        } else if let Some(slot) = self.times_ms.get_mut(self.next) {
            *slot = ms;
        }
        self.next = (self.next + 1) % WINDOW;
    }

    pub(super) fn stats(&self) -> Stats {
        let mut sorted = self.times_ms.clone();
        sorted.sort_by(f32::total_cmp);
        let at = |share: f32| {
            sorted
                .get(((sorted.len().saturating_sub(1)) as f32 * share).round() as usize)
                .copied()
                .unwrap_or(0.0)
        };
        Stats {
            latency_p50_ms: at(0.5),
            latency_p95_ms: at(0.95),
            ..self.stats.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{BoxPx, Pts};
    use crate::pipeline::FaceReport;

    #[test]
    fn an_unasked_cover_counts_as_a_fallback_and_an_asked_one_does_not() {
        let face = |reason, rung| FaceReport {
            track: 1,
            box_px: BoxPx::default(),
            outcome: Outcome::Covered { reason, rung },
            cos: Some(0.1),
            choice: None,
        };
        let mut meter = Meter::default();
        let report = FrameReport {
            pts: Pts(0),
            detected: true,
            faces: vec![face(CoverReason::Asked, Rung::Blur), face(CoverReason::TooNear, Rung::Solid)],
            withheld: None,
            fault: None,
        };
        meter.frame(&report, Duration::from_millis(4));
        let stats = meter.stats();
        assert_eq!(
            (stats.frames, stats.faces, stats.blurred, stats.solid, stats.fallbacks),
            (1, 2, 1, 1, 1)
        );
        assert_eq!(stats.worst_cos, Some(0.1));
        assert!((stats.latency_p95_ms - 4.0).abs() < 1e-3);
    }
}
