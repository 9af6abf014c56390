//! Crop or cover → frame. Shapes masks from what is known of a face and applies the cover modes.
//!
//! | | contract |
//! |---|---|
//! | region | ellipse of the tracked box, scaled, joined with the mesh's oval, scaled |
//! | opaque core | covers at least [`MIN_BOX_SHARE`] of the tracked box inside the frame at any `mask_scale` ≥ 1 |
//! | feather | outside the opaque core, so that a soft rim never thins the cover |
//! | outside | bit-exact, by the kernels' contract |
//!
//! Blur and pixelate keep at most 8×8 cell means of the region: what is shown is a function of 64
//! colours, so nothing finer can be recovered (Newton, Sweeney, Malin 2005 show what weaker blurs leave).

use nullface_kernels::KernelError;
use nullface_kernels::cover;
use nullface_kernels::mask::{RegionMask, Superellipse};

use crate::frame::{BoxPx, FrameViewMut, Point};

/// Share of the tracked box that the opaque core covers.
pub const MIN_BOX_SHARE: f32 = 0.95;

/// Exponent of the box's shape: between the ellipse (2), which leaves corners of the box open, and
/// the box itself. At scale 1.1 it covers 97 % of the box.
pub const EXPONENT: f32 = 3.0;

/// Cells a side for blur and pixelate.
pub const CELLS: u32 = 8;

/// How pixels are covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// Smooth interpolation of at most 8×8 cell means.
    Blur,
    /// At most 8×8 squares.
    Pixelate,
    /// One colour.
    Solid,
}

/// What is known of a face's place.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// Tracked box, frame px.
    pub box_px: BoxPx,
    /// Face oval, frame px; empty where no mesh was fitted.
    pub oval_px: &'a [Point],
    /// In-plane rotation, radians.
    pub roll_rad: f32,
    /// Growth about the centre, ≥ 1.
    pub scale: f32,
    /// Soft rim, as a share of the box's longer side.
    pub feather: f32,
}

/// Buffers that live from frame to frame.
#[derive(Debug, Default)]
pub struct Masker {
    mask: RegionMask,
    oval: RegionMask,
    joined: RegionMask,
    points: Vec<Point>,
}

impl Masker {
    /// The mask of a region; `None` where it touches no pixel of the frame.
    ///
    /// # Errors
    /// [`KernelError`] for a region that is not finite: the caller covers the frame.
    pub fn mask(&mut self, shape: &Shape<'_>, width: u32, height: u32) -> Result<Option<&RegionMask>, KernelError> {
        let feather_px = (shape.feather * shape.box_px.side()).clamp(0.0, 256.0);
        let half = [shape.box_px.width() / 2.0 * shape.scale, shape.box_px.height() / 2.0 * shape.scale];
        let ellipse = Superellipse {
            center_px: shape.box_px.center(),
            half_axes_px: [half[0].max(1.0), half[1].max(1.0)],
            angle_rad: 0.0,
            exponent: EXPONENT,
        };
        let mut any = self.mask.superellipse_into(&ellipse, feather_px, width, height)?;
        if shape.oval_px.len() >= 3 {
            self.scale_oval(shape);
            if self.oval.polygon_into(&self.points, feather_px, width, height)? {
                if any {
                    join(&self.mask, &self.oval, &mut self.joined);
                    std::mem::swap(&mut self.mask, &mut self.joined);
                } else {
                    std::mem::swap(&mut self.mask, &mut self.oval);
                }
                any = true;
            }
        }
        Ok(any.then_some(&self.mask))
    }

    fn scale_oval(&mut self, shape: &Shape<'_>) {
        let n = shape.oval_px.len() as f32;
        let sum = shape.oval_px.iter().fold([0.0, 0.0], |s, p| [s[0] + p[0], s[1] + p[1]]);
        let c = [sum[0] / n, sum[1] / n];
        self.points.clear();
        self.points.extend(
            shape
                .oval_px
                .iter()
                .map(|p| [c[0] + (p[0] - c[0]) * shape.scale, c[1] + (p[1] - c[1]) * shape.scale]),
        );
    }
}

/// Both regions in one, into a buffer of an earlier frame.
fn join(a: &RegionMask, b: &RegionMask, out: &mut RegionMask) {
    let end = |m: &RegionMask| (i64::from(m.x) + i64::from(m.width), i64::from(m.y) + i64::from(m.height));
    let (x, y) = (a.x.min(b.x), a.y.min(b.y));
    let (right, bottom) = (end(a).0.max(end(b).0), end(a).1.max(end(b).1));
    (out.x, out.y) = (x, y);
    // Both lie inside the frame, so their hull does.
    (out.width, out.height) = ((right - i64::from(x)).max(0) as u32, (bottom - i64::from(y)).max(0) as u32);
    let width = out.width as usize;
    out.alpha.clear();
    out.alpha.resize(width * out.height as usize, 0);
    for m in [a, b] {
        let (left, top) = ((m.x - x) as usize, (m.y - y) as usize);
        for (row, line) in m.alpha.chunks_exact((m.width as usize).max(1)).enumerate() {
            let start = (top + row) * width + left;
            for (to, from) in out.alpha.iter_mut().skip(start).zip(line) {
                *to = (*to).max(*from);
            }
        }
    }
}

/// Covers the masked pixels.
///
/// # Errors
/// [`KernelError`]: nothing may have been covered, and the caller covers the frame.
pub fn apply(frame: &mut FrameViewMut<'_>, mask: &RegionMask, how: Cover, fill_rgb: [u8; 3]) -> Result<(), KernelError> {
    match how {
        Cover::Blur => cover::blur(frame, mask, CELLS),
        Cover::Pixelate => cover::pixelate(frame, mask, CELLS),
        Cover::Solid => cover::solid(frame, mask, fill_rgb),
    }
}

/// Covers every pixel. Cannot fail.
pub fn apply_frame(frame: &mut FrameViewMut<'_>, fill_rgb: [u8; 3]) {
    cover::fill_frame(frame, fill_rgb);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_join_is_the_union() {
        let mask = |x: i32, y: i32, value: u8| RegionMask {
            x,
            y,
            width: 3,
            height: 2,
            alpha: vec![value; 6],
        };
        let (a, b) = (mask(2, 1, 90), mask(4, 2, 200));
        let mut joined = mask(0, 0, 7);
        join(&a, &b, &mut joined);
        assert_eq!(Some(joined), RegionMask::union(&[a, b]));
    }

    proptest! {
        /// The promise that recall rests on: the tracked box itself is covered, wherever the oval lies.
        #[test]
        fn the_tracked_box_is_covered(x in -40.0f32..300.0, y in -40.0f32..200.0, w in 4.0f32..200.0, h in 4.0f32..200.0,
                                      scale in 1.1f32..2.0, feather in 0.0f32..0.3, dx in -20.0f32..20.0) {
            let box_px = BoxPx { x0: x, y0: y, x1: x + w, y1: y + h };
            let oval: Vec<Point> = (0..36).map(|i| { let a = i as f32 / 36.0 * std::f32::consts::TAU; [x + w / 2.0 + dx + a.cos() * w * 0.4, y + h / 2.0 + a.sin() * h * 0.4] }).collect();
            let inside = box_px.clipped(320, 240);
            prop_assume!(inside.width() >= 3.0 && inside.height() >= 3.0);
            let mut masker = Masker::default();
            let shape = Shape { box_px, oval_px: &oval, roll_rad: 0.0, scale, feather };
            let mask = masker.mask(&shape, 320, 240).expect("finite").expect("touches the frame");
            // A box cut by the frame's edge may show only its corner, where the shape is rounded off.
            let whole = inside == box_px;
            let share = mask.coverage_of_box(inside.x0, inside.y0, inside.x1, inside.y1);
            prop_assert!(!whole || share >= MIN_BOX_SHARE, "share {share}");
            prop_assert!(share > 0.0);
        }
    }
}
