//! Where the picture has changed since it was last looked at, so that a look need not go over an
//! interview's wall, a slide or a border again.
//!
//! A detector's answer depends on pixels alone: where none changed, the last answer still holds. Changes
//! are seen in a shrunk copy of the frame, one pixel for 4×4 of the network's, compared with the copy of
//! when that place was truly looked at, so that a slow change adds up until it counts.

use nullface_kernels::KernelError;
use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout};

use super::Detection;
use super::view::View;
use crate::frame::{BoxPx, FrameView};

/// Network px that one pixel of the copy stands for: a face of the smallest wanted size (16 px) spans several.
const BLOCK_PX: f32 = 4.0;
/// A pixel of the copy that moved by more has changed, grey levels in any channel. Compression moves still
/// places by 1 to 3; a face is found from about 10 of contrast.
const CHANGED_LEVELS: u8 = 6;
/// Surroundings that a look at a changed place takes in, network px.
const MARGIN_PX: f32 = 32.0;
/// Sides of a looked-at part are multiples of this, network px: a new size costs the runtime new buffers.
const SIDE_STEP_PX: f32 = 96.0;
/// Looks at parts in a row before one at everything.
const MOST_PARTS: u32 = 8;
/// Share of the region above which a part is not worth having.
const WORTH_SHARE: f32 = 0.7;
/// Kinds of looks (regions, scales and thresholds) remembered.
const MOST_KINDS: usize = 16;

/// What a look has to go over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Extent {
    /// The whole region.
    Everything,
    /// A part; outside of it the last answer holds.
    Part(BoxPx),
    /// Nothing changed.
    Nothing,
}

/// Remembers the last looks of each kind.
#[derive(Debug, Default)]
pub(super) struct Still {
    kinds: Vec<Kind>,
    copy: Vec<f32>,
}

/// Looks at one region at one scale with one threshold.
#[derive(Debug)]
struct Kind {
    view: View,
    threshold: f32,
    /// The copy, each pixel of when it was looked at.
    seen: Vec<u8>,
    found: Vec<Detection>,
    parts: u32,
}

impl Still {
    /// What a look at a region at that scale has to go over; [`Still::keep`] is told of it.
    ///
    /// # Errors
    /// [`KernelError`]: the frame cannot be read.
    pub(super) fn extent(&mut self, frame: &FrameView<'_>, region_px: &BoxPx, scale: f32, threshold: f32) -> Result<Extent, KernelError> {
        let all = *region_px;
        let view = View::of_region(&all, scale / BLOCK_PX, 1);
        self.copy.resize(3 * view.width * view.height, 0.0);
        let spec = CropSpec {
            width: 0,
            height: 0,
            layout: Layout::Nhwc,
            order: ChannelOrder::Rgb,
            scale: 1.0,
            bias: 0.0,
        };
        view.fill(frame, &spec, &mut self.copy)?;
        let Some(kind) = self.kinds.iter().find(|k| k.view == view && k.threshold == threshold) else {
            return Ok(Extent::Everything);
        };
        if kind.parts >= MOST_PARTS {
            return Ok(Extent::Everything);
        }
        let Some(changed) = changed(&kind.seen, &self.copy, view.width) else {
            return Ok(Extent::Nothing);
        };
        let px = BLOCK_PX / scale;
        let changed_px = BoxPx {
            x0: all.x0 + changed.x0 * px,
            y0: all.y0 + changed.y0 * px,
            x1: all.x0 + changed.x1 * px,
            y1: all.y0 + changed.y1 * px,
        };
        let part = with_faces(changed_px, &kind.found, MARGIN_PX / scale);
        let part = stepped(&part, SIDE_STEP_PX / scale, &all);
        Ok(if part.area() > WORTH_SHARE * all.area() {
            Extent::Everything
        } else {
            Extent::Part(part)
        })
    }

    /// Remembers a look over `extent` at the frame that [`Still::extent`] was asked about last, and adds to
    /// its answer what is known of the rest.
    pub(super) fn keep(&mut self, region_px: &BoxPx, scale: f32, threshold: f32, extent: Extent, found: &mut Vec<Detection>) {
        let view = View::of_region(region_px, scale / BLOCK_PX, 1);
        let index = self.kinds.iter().position(|k| k.view == view && k.threshold == threshold);
        let index = index.unwrap_or_else(|| {
            if self.kinds.len() >= MOST_KINDS {
                self.kinds.remove(0);
            }
            self.kinds.push(Kind {
                view,
                threshold,
                seen: Vec::new(),
                found: Vec::new(),
                parts: 0,
            });
            self.kinds.len() - 1
        });
        let kind = &mut self.kinds[index];
        kind.parts += 1;
        let part = match extent {
            Extent::Nothing => return found.extend_from_slice(&kind.found),
            Extent::Everything => {
                kind.parts = 0;
                *region_px
            }
            Extent::Part(part) => {
                // Faces that the part touches lie in it whole: those are the network's to tell of again.
                found.extend(kind.found.iter().filter(|d| d.box_px.share_inside(&part) <= 0.0));
                part
            }
        };
        kind.seen.resize(self.copy.len(), 0);
        let px = scale / BLOCK_PX;
        for (y, (seen, now)) in kind
            .seen
            .chunks_exact_mut(3 * view.width)
            .zip(self.copy.chunks_exact(3 * view.width))
            .enumerate()
        {
            let inside = |at: f32, low: f32, high: f32| at >= low * px && at <= high * px;
            let (left, top) = (region_px.x0, region_px.y0);
            if !inside(y as f32 + 0.5, part.y0 - top, part.y1 - top) {
                continue;
            }
            for (x, (seen, now)) in seen.chunks_exact_mut(3).zip(now.chunks_exact(3)).enumerate() {
                if inside(x as f32 + 0.5, part.x0 - left, part.x1 - left) {
                    seen.iter_mut().zip(now).for_each(|(seen, now)| *seen = level(*now));
                }
            }
        }
        kind.found.clone_from(found);
    }
}

fn level(value: f32) -> u8 {
    (value + 0.5) as u8
}

/// The box around all pixels that changed, in pixels of the copy.
fn changed(seen: &[u8], copy: &[f32], width: usize) -> Option<BoxPx> {
    let mut around: Option<BoxPx> = None;
    for (i, (seen, now)) in seen.chunks_exact(3).zip(copy.chunks_exact(3)).enumerate() {
        if seen.iter().zip(now).any(|(&s, &n)| s.abs_diff(level(n)) > CHANGED_LEVELS) {
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            let pixel = BoxPx {
                x0: x,
                y0: y,
                x1: x + 1.0,
                y1: y + 1.0,
            };
            around = Some(around.map_or(pixel, |a| a.hull(&pixel)));
        }
    }
    around
}

/// A part with its margin, grown until no known face crosses its edge.
fn with_faces(changed_px: BoxPx, found: &[Detection], margin_px: f32) -> BoxPx {
    let grown = |b: &BoxPx| BoxPx {
        x0: b.x0 - margin_px,
        y0: b.y0 - margin_px,
        x1: b.x1 + margin_px,
        y1: b.y1 + margin_px,
    };
    let mut part = grown(&changed_px);
    // Each face can pull in another; as many rounds as faces are enough.
    for _ in found {
        let before = part;
        for face in found.iter().filter(|d| d.box_px.share_inside(&before) > 0.0) {
            part = part.hull(&grown(&face.box_px));
        }
        if part == before {
            break;
        }
    }
    part
}

/// Grown to sides that are multiples of `step`, moved into the region and cut by it.
fn stepped(part: &BoxPx, step: f32, all: &BoxPx) -> BoxPx {
    let side = |low: f32, high: f32, begin: f32, end: f32| {
        let (low, high) = (low.max(begin), high.min(end));
        let length = ((high - low) / step).ceil() * step;
        let start = ((low + high - length) / 2.0).min(end - length).max(begin);
        (start, (start + length).min(end))
    };
    let ((x0, x1), (y0, y1)) = (side(part.x0, part.x1, all.x0, all.x1), side(part.y0, part.y1, all.y0, all.y1));
    BoxPx { x0, y0, x1, y1 }
}

#[cfg(test)]
mod tests {
    use super::{Detection, Extent, MOST_PARTS, Still, stepped, with_faces};
    use crate::backend::testing::Picture;
    use crate::frame::BoxPx;
    use crate::stages::detect::view::whole;

    const SCALE: f32 = 0.5;
    const THRESHOLD: f32 = 0.5;

    fn square(x0: f32, y0: f32, side: f32) -> BoxPx {
        BoxPx {
            x0,
            y0,
            x1: x0 + side,
            y1: y0 + side,
        }
    }

    fn face(box_px: BoxPx) -> Detection {
        Detection {
            box_px,
            score: 0.9,
            landmarks: None,
        }
    }

    /// One look: what it had to go over, and what is known after the network found `by_network` there.
    fn look(still: &mut Still, picture: &Picture, by_network: &[Detection]) -> (Extent, Vec<Detection>) {
        let view = picture.view();
        let extent = still.extent(&view, &whole(&view), SCALE, THRESHOLD).expect("a readable frame");
        let mut found = by_network.to_vec();
        still.keep(&whole(&view), SCALE, THRESHOLD, extent, &mut found);
        (extent, found)
    }

    #[test]
    fn an_unchanged_picture_needs_no_look_for_a_while() {
        let (mut still, picture) = (Still::default(), Picture::smooth(1280, 720));
        let known = [face(square(100.0, 100.0, 60.0))];
        assert_eq!(look(&mut still, &picture, &known).0, Extent::Everything);
        for _ in 0..MOST_PARTS {
            assert_eq!(look(&mut still, &picture, &[]), (Extent::Nothing, known.to_vec()));
        }
        assert_eq!(
            look(&mut still, &picture, &[]),
            (Extent::Everything, vec![]),
            "everything in the end"
        );
    }

    #[test]
    fn a_look_goes_over_what_changed_and_keeps_what_is_known_of_the_rest() {
        let (mut still, mut picture) = (Still::default(), Picture::smooth(1280, 720));
        let far = face(square(100.0, 100.0, 60.0));
        look(&mut still, &picture, &[far]);
        picture.fill(square(900.0, 400.0, 40.0), 255);
        let new = face(square(900.0, 400.0, 40.0));
        let (extent, found) = look(&mut still, &picture, &[new]);
        let Extent::Part(part) = extent else { panic!("{extent:?}") };
        assert!(
            new.box_px.share_inside(&part) > 0.999 && part.area() < 0.1 * 1280.0 * 720.0,
            "{part:?}"
        );
        assert_eq!(found, vec![new, far]);
        assert_eq!(look(&mut still, &picture, &[]), (Extent::Nothing, vec![new, far]));
    }

    #[test]
    fn a_region_has_a_memory_of_its_own_and_its_parts_lie_in_it() {
        let (mut still, mut picture) = (Still::default(), Picture::smooth(1280, 720));
        let right = BoxPx {
            x0: 560.0,
            ..whole(&picture.view())
        };
        let look_right = |still: &mut Still, picture: &Picture, by_network: &[Detection]| {
            let extent = still.extent(&picture.view(), &right, SCALE, THRESHOLD).expect("a readable frame");
            let mut found = by_network.to_vec();
            still.keep(&right, SCALE, THRESHOLD, extent, &mut found);
            (extent, found)
        };
        let known = face(square(1100.0, 500.0, 60.0));
        assert_eq!(look_right(&mut still, &picture, &[known]).0, Extent::Everything);
        picture.fill(square(100.0, 100.0, 80.0), 255);
        assert_eq!(
            look_right(&mut still, &picture, &[]),
            (Extent::Nothing, vec![known]),
            "a change elsewhere"
        );
        picture.fill(square(570.0, 100.0, 40.0), 255);
        let new = face(square(570.0, 100.0, 40.0));
        let (extent, found) = look_right(&mut still, &picture, &[new]);
        let Extent::Part(part) = extent else { panic!("{extent:?}") };
        assert!(new.box_px.share_inside(&part) > 0.999 && part.x0 >= right.x0, "{part:?}");
        assert_eq!(found, vec![new, known]);
        assert_eq!(look_right(&mut still, &picture, &[]), (Extent::Nothing, vec![new, known]));
        assert_eq!(look(&mut still, &picture, &[]).0, Extent::Everything, "another region");
    }

    #[test]
    fn a_change_of_everything_another_scale_and_a_slow_change_are_seen() {
        let (mut still, mut picture) = (Still::default(), Picture::smooth(640, 360));
        picture.fill(square(0.0, 0.0, 640.0), 100);
        look(&mut still, &picture, &[]);
        for level in 101..=106 {
            picture.fill(square(0.0, 0.0, 640.0), level);
            assert_eq!(look(&mut still, &picture, &[]).0, Extent::Nothing, "{level}");
        }
        let other = still
            .extent(&picture.view(), &whole(&picture.view()), 1.0, THRESHOLD)
            .expect("a readable frame");
        assert_eq!(other, Extent::Everything, "another scale");
        picture.fill(square(0.0, 0.0, 640.0), 109);
        assert_eq!(look(&mut still, &picture, &[]).0, Extent::Everything, "it added up");
    }

    #[test]
    fn a_part_takes_in_known_faces_whole_and_stays_in_the_frame() {
        let faces = [
            face(square(150.0, 0.0, 100.0)),
            face(square(240.0, 60.0, 100.0)),
            face(square(600.0, 0.0, 50.0)),
        ];
        let part = with_faces(square(100.0, 10.0, 30.0), &faces, 25.0);
        assert!(faces[0].box_px.share_inside(&part) > 0.999 && faces[1].box_px.share_inside(&part) > 0.999);
        assert_eq!(faces[2].box_px.share_inside(&part), 0.0);
        let all = BoxPx {
            x0: 0.0,
            y0: 0.0,
            x1: 500.0,
            y1: 300.0,
        };
        for part in [square(-50.0, -50.0, 80.0), square(450.0, 280.0, 90.0), square(0.0, 0.0, 800.0)] {
            let got = stepped(&part, 96.0, &all);
            assert!(
                got.share_inside(&all) > 0.999 && part.clipped(500, 300).share_inside(&got) > 0.999,
                "{part:?} {got:?}"
            );
        }
    }
}
