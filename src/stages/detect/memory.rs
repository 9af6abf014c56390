//! What was seen in parts of the frame that have not changed since: an interview's wall, a slide, a border.
//!
//! A detector's answer depends on pixels alone, so where none changed the last answer still holds. "None
//! changed" is judged on means of blocks of the network's own input, against the picture that was truly
//! looked at, so that a slow change adds up until it counts. An answer is used a bounded number of times.

use super::Detection;
use super::view::View;

/// Side of a block, network px: a face of the smallest wanted size (16 px) spans several.
const BLOCK_PX: usize = 4;
/// A block's mean that moved by more has changed, grey levels in any channel. Compressed film moves static
/// blocks by 1 to 3; a face is found from about 10 of contrast.
const CHANGED_LEVELS: i16 = 6;
/// So often an answer is given again before the network is asked all the same.
const MOST_USES: u32 = 8;
/// Parts remembered; the oldest is forgotten first. An 8K frame has more, and is looked at anew.
const MOST_PARTS: usize = 64;

/// The last answers.
#[derive(Debug, Default)]
pub(super) struct Memory {
    parts: Vec<Part>,
    /// Means of the picture asked about last.
    means: Vec<u8>,
    oldest: usize,
}

#[derive(Debug)]
struct Part {
    view: View,
    threshold: f32,
    means: Vec<u8>,
    found: Vec<Detection>,
    uses: u32,
}

impl Memory {
    /// The answer given for this view, if its picture (RGB planes, 0–255) is still the same; else the
    /// caller looks and calls [`Memory::keep`].
    pub(super) fn recall(&mut self, view: &View, threshold: f32, picture: &[f32]) -> Option<&[Detection]> {
        block_means(picture, view.width, &mut self.means);
        let part = self.parts.iter_mut().find(|p| p.view == *view && p.threshold == threshold)?;
        let same = part.means.len() == self.means.len()
            && part
                .means
                .iter()
                .zip(&self.means)
                .all(|(&a, &b)| (i16::from(a) - i16::from(b)).abs() <= CHANGED_LEVELS);
        if !same || part.uses >= MOST_USES {
            return None;
        }
        part.uses += 1;
        Some(&part.found)
    }

    /// Remembers the answer to the picture that [`Memory::recall`] was asked about last.
    pub(super) fn keep(&mut self, view: &View, threshold: f32, found: &[Detection]) {
        let known = self.parts.iter().position(|p| p.view == *view && p.threshold == threshold);
        let index = known.unwrap_or_else(|| {
            let empty = Part {
                view: *view,
                threshold,
                means: Vec::new(),
                found: Vec::new(),
                uses: 0,
            };
            if self.parts.len() < MOST_PARTS {
                self.parts.push(empty);
                self.parts.len() - 1
            } else {
                self.oldest = (self.oldest + 1) % MOST_PARTS;
                self.parts[self.oldest] = empty;
                self.oldest
            }
        });
        let part = &mut self.parts[index];
        part.means.clone_from(&self.means);
        part.found.clear();
        part.found.extend_from_slice(found);
        part.uses = 0;
    }
}

/// Means of all blocks of a picture whose rows have `width` values (a multiple of [`BLOCK_PX`], as is the
/// number of rows).
fn block_means(picture: &[f32], width: usize, means: &mut Vec<u8>) {
    means.clear();
    if width == 0 {
        return;
    }
    for band in picture.chunks_exact(width * BLOCK_PX) {
        for x in (0..width).step_by(BLOCK_PX) {
            let sum: f32 = (0..BLOCK_PX).flat_map(|y| &band[y * width + x..y * width + x + BLOCK_PX]).sum();
            means.push((sum / (BLOCK_PX * BLOCK_PX) as f32 + 0.5) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Detection, MOST_PARTS, MOST_USES, Memory, View};
    use crate::frame::BoxPx;

    fn view(x0: f32) -> View {
        let region = BoxPx {
            x0,
            y0: 0.0,
            x1: x0 + 64.0,
            y1: 32.0,
        };
        View::of_region(&region, 1.0, 32)
    }

    fn picture(level: f32) -> Vec<f32> {
        vec![level; 3 * 64 * 32]
    }

    fn found() -> Vec<Detection> {
        vec![Detection {
            box_px: BoxPx {
                x0: 1.0,
                y0: 1.0,
                x1: 20.0,
                y1: 20.0,
            },
            score: 0.9,
            landmarks: None,
        }]
    }

    #[test]
    fn an_unchanged_picture_has_the_same_answer_for_a_while() {
        let mut memory = Memory::default();
        assert_eq!(memory.recall(&view(0.0), 0.5, &picture(90.0)), None);
        memory.keep(&view(0.0), 0.5, &found());
        for _ in 0..MOST_USES {
            assert_eq!(memory.recall(&view(0.0), 0.5, &picture(92.0)), Some(&found()[..]));
        }
        assert_eq!(memory.recall(&view(0.0), 0.5, &picture(90.0)), None, "asked anew in the end");
        memory.keep(&view(0.0), 0.5, &[]);
        assert_eq!(memory.recall(&view(0.0), 0.5, &picture(90.0)), Some(&[][..]));
    }

    #[test]
    fn a_change_of_one_block_a_slow_change_another_view_and_another_threshold_are_looked_at() {
        let mut memory = Memory::default();
        memory.recall(&view(0.0), 0.5, &picture(90.0));
        memory.keep(&view(0.0), 0.5, &found());
        let mut spot = picture(90.0);
        // One 4×4 block of the last channel, at its lower right corner.
        for y in 28..32 {
            spot[(2 * 32 + y) * 64 + 60..(2 * 32 + y) * 64 + 64].fill(100.0);
        }
        assert_eq!(memory.recall(&view(0.0), 0.5, &spot), None);
        assert_eq!(memory.recall(&view(1.0), 0.5, &picture(90.0)), None);
        assert_eq!(memory.recall(&view(0.0), 0.4, &picture(90.0)), None);
        let steps = (0..10).map(|i| memory.recall(&view(0.0), 0.5, &picture(90.0 + i as f32)).is_some());
        assert_eq!(steps.filter(|&held| held).count(), 7, "a slow change adds up");
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for i in 0..3 * MOST_PARTS {
            memory.recall(&view(i as f32), 0.5, &picture(1.0));
            memory.keep(&view(i as f32), 0.5, &[]);
        }
        assert_eq!(memory.parts.len(), MOST_PARTS);
        let last = view((3 * MOST_PARTS - 1) as f32);
        assert_eq!(memory.recall(&last, 0.5, &picture(1.0)), Some(&[][..]));
    }
}
