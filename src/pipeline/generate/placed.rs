//! Whether a mesh lies on the face that it belongs to. A head that jumps between two looks of the detector
//! can leave its mesh on hair or neck; what is painted there proves nothing of the face beside it.
//!
//! | | |
//! |---|---|
//! | quick | a thumbnail of the aligned crop against the one that was last proven: correlation of luma |
//! | proof | where that is low or old: the crop's own embedding against the track's source |
//! | not placed | the face is not replaceable in this frame, and its whole region is covered |

use crate::frame::{FrameView, Pts};

use super::super::outcome::CoverReason;
use super::canvas::{CROP_PX, MARGIN_PX, Place};
use super::{Generator, Tools, failed, refuse};

/// Side of the thumbnail.
pub(super) const SIDE: usize = 16;
/// Correlation from which the crop shows what it showed when it was proven.
const SAME_LOOK: f32 = 0.85;
/// A proof holds so long, s.
const PROVEN_FOR_S: f64 = 0.4;
/// Cosine to the source, as a share of the same-person threshold, from which the mesh lies on its face:
/// far below it for turned and blurred faces, far above what hair and necks reach.
const PLACED: f32 = 0.6;

/// What an aligned crop looked like when it was last proven to show the track's face.
#[derive(Debug, Clone)]
pub(super) struct Anchor {
    thumb: Vec<f32>,
    at: Pts,
}

/// The middle of the crop in [`SIDE`]² cells of luma, of zero mean and unit length.
pub(super) fn thumb(place: &Place, canvas: &[f32], out: &mut Vec<f32>) {
    let (k, cell) = (place.k, CROP_PX * place.k / SIDE);
    let pixels = canvas.as_chunks::<3>().0;
    out.clear();
    for cy in 0..SIDE {
        for cx in 0..SIDE {
            let (x0, y0) = (MARGIN_PX * k + cx * cell, MARGIN_PX * k + cy * cell);
            let mut sum = 0.0;
            for y in (y0..y0 + cell).step_by(2) {
                let row = pixels.get(y * place.side + x0..y * place.side + x0 + cell).unwrap_or(&[]);
                sum += row.iter().step_by(2).map(|p| 0.3 * p[0] + 0.59 * p[1] + 0.11 * p[2]).sum::<f32>();
            }
            out.push(sum);
        }
    }
    level(out);
}

/// Sums of luma as a thumbnail: of zero mean and unit length.
pub(super) fn level(out: &mut [f32]) {
    let mean = out.iter().sum::<f32>() / out.len() as f32;
    out.iter_mut().for_each(|v| *v -= mean);
    let norm = out.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
    out.iter_mut().for_each(|v| *v /= norm);
}

impl Anchor {
    fn holds(&self, at: Pts, thumb: &[f32]) -> bool {
        let likeness: f32 = self.thumb.iter().zip(thumb).map(|(a, b)| a * b).sum();
        likeness >= SAME_LOOK && at.seconds_since(self.at).abs() < PROVEN_FOR_S
    }
}

impl Generator {
    /// Refuses the open faces whose mesh is not proven to lie on them; one batch of the recogniser.
    pub(super) fn check_places(&mut self, n: usize, at: Pts, frame: &FrameView<'_>, tools: &mut Tools<'_>) {
        let mut due = Vec::new();
        for (i, slot) in self.slots.iter().enumerate().take(n).filter(|(_, s)| s.is_open()) {
            let anchor = self.tracks.get(&slot.track).and_then(|t| t.anchor.as_ref());
            if !anchor.is_some_and(|a| a.holds(at, &slot.thumb)) {
                due.push((i, slot.landmarks));
            }
        }
        if due.is_empty() {
            return;
        }
        if tools.allowed.is_over() {
            due.iter().for_each(|(i, _)| self.refuse_place(*i, CoverReason::Deadline));
            return;
        }
        let landmarks: Vec<_> = due.iter().map(|d| d.1).collect();
        let least = PLACED * tools.recogniser.same_person_cos();
        match tools.recogniser.embed(frame, &landmarks) {
            Ok(seen) if seen.len() == due.len() => {
                for ((i, _), seen) in due.iter().zip(&seen) {
                    let cos = self.slots.get(*i).and_then(|s| seen.cos(&s.source));
                    if cos.is_some_and(|cos| cos >= least) {
                        self.anchor(*i, at);
                    } else {
                        self.refuse_place(*i, CoverReason::NotReplaceable);
                    }
                }
            }
            answer => {
                let why = answer.map_or_else(
                    |e| e.to_string(),
                    |seen| format!("expected {} embeddings, got {}", due.len(), seen.len()),
                );
                for (i, _) in due {
                    if let Some(slot) = self.slots.get_mut(i) {
                        slot.verdict = Some(Err(failed(&why)));
                    }
                }
            }
        }
    }

    fn anchor(&mut self, i: usize, at: Pts) {
        let Some(slot) = self.slots.get(i) else { return };
        let kept = &mut self.tracks.entry(slot.track).or_default().anchor;
        match kept {
            Some(anchor) => {
                anchor.thumb.clone_from(&slot.thumb);
                anchor.at = at;
            }
            None => {
                *kept = Some(Anchor {
                    thumb: slot.thumb.clone(),
                    at,
                });
            }
        }
    }

    fn refuse_place(&mut self, i: usize, reason: CoverReason) {
        if let Some(slot) = self.slots.get_mut(i) {
            slot.verdict = Some(Err(refuse(reason)));
            self.tracks.entry(slot.track).or_default().anchor = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnail_knows_its_crop_again_and_not_another_place() {
        let place = Place::default();
        let picture = |shift: f32| -> Vec<f32> {
            (0..place.side * place.side * 3)
                .map(|i| {
                    let (x, y) = ((i / 3 % place.side) as f32 + shift, (i / 3 / place.side) as f32);
                    120.0 + 60.0 * (x / 11.0).sin() * (y / 13.0).cos()
                })
                .collect()
        };
        let (mut proven, mut now) = (Vec::new(), Vec::new());
        thumb(&place, &picture(0.0), &mut proven);
        let anchor = Anchor { thumb: proven, at: Pts(0) };
        thumb(&place, &picture(1.0), &mut now);
        assert!(anchor.holds(Pts(40_000_000), &now));
        assert!(!anchor.holds(Pts(2_000_000_000), &now), "a proof wears out");
        thumb(&place, &picture(24.0), &mut now);
        assert!(!anchor.holds(Pts(40_000_000), &now), "another place");
    }
}
