//! Masks: eight-bit coverage of a rectangle of the frame.
//!
//! | | |
//! |---|---|
//! | input | polygon, frame px (pixel centres at integer + 0.5), non-zero winding; feather ≥ 0, px |
//! | output | `alpha`, row-major, of a rectangle that always lies inside the frame |
//! | inside | every pixel whose centre lies inside or on the outline: 255 |
//! | outside | `255·s(1 − d/f)`, `s(t) = t²(3 − 2t)`, `d` = distance of the pixel's centre to the outline, `f = max(feather, 1)`: the ramp lies wholly outside, so that feathering never uncovers a face |
//! | 0 | "not touched, ever": operators keep such pixels bit for bit |
//! | errors | points or feather not finite, feather negative or above [`MAX_FEATHER_PX`], frame of no size: [`KernelError::Argument`] from the `_into` forms, `None` from the short forms |
//! | tolerance | the fast path equals [`mod@reference`] within 1 of 255 (rounding of the ramp) |
//!
//! `None` of a short form means "no pixel of the frame" *or* "refused"; who must tell the two
//! apart, to fail closed on a refusal, uses the `_into` forms.

pub mod reference;
mod scan;
mod weighted;

pub use weighted::Weights;
pub(crate) use weighted::square_rect;

use crate::KernelError;

/// Largest feather accepted, px.
pub const MAX_FEATHER_PX: f32 = 1024.0;

/// Alpha from which [`RegionMask::coverage_of_box`] calls a pixel covered.
pub const COVERED_ALPHA: u8 = 250;

/// Points are brought into ± this before anything else, px; frames end at 32 768.
const FAR_PX: f32 = 100_000.0;

/// Corners of the polygon that stands for a superellipse.
const SUPERELLIPSE_POINTS: usize = 128;

/// A rectangle of the frame, px.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rect {
    /// Left edge.
    pub x: i32,
    /// Top edge.
    pub y: i32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// Coverage of a rectangle of the frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegionMask {
    /// Left edge, frame px.
    pub x: i32,
    /// Top edge, frame px.
    pub y: i32,
    /// Width, px.
    pub width: u32,
    /// Height, px.
    pub height: u32,
    /// Coverage, row-major, `width · height` bytes.
    pub alpha: Vec<u8>,
}

impl RegionMask {
    /// Coverage of a polygon; `None` when no pixel of the frame is touched or an argument is refused
    /// (see the table above).
    #[must_use]
    pub fn polygon(points_px: &[[f32; 2]], feather_px: f32, frame_width: u32, frame_height: u32) -> Option<Self> {
        let mut mask = Self::default();
        let any = mask.polygon_into(points_px, feather_px, frame_width, frame_height).ok()?;
        any.then_some(mask)
    }

    /// [`Self::polygon`] into the buffer of an earlier mask. `Ok(false)`: nothing of the frame is
    /// touched, and the mask is empty.
    ///
    /// # Errors
    /// [`KernelError::Argument`] for what the table above refuses; the mask is then empty.
    pub fn polygon_into(
        &mut self,
        points_px: &[[f32; 2]],
        feather_px: f32,
        frame_width: u32,
        frame_height: u32,
    ) -> Result<bool, KernelError> {
        self.clear();
        check(points_px, feather_px, frame_width, frame_height)?;
        let Some(bounds) = Bounds::of(points_px, feather_px, frame_width, frame_height) else {
            return Ok(false);
        };
        self.reset(bounds);
        if crate::reference_forced() {
            reference::fill(self, points_px, feather_px);
        } else {
            scan::fill(self, points_px, feather_px);
        }
        if self.is_empty() {
            self.clear();
            return Ok(false);
        }
        Ok(true)
    }

    /// Coverage of the superellipse `|u/a|ⁿ + |v/b|ⁿ ≤ 1`, turned by `angle_rad` (from x towards y);
    /// 2 is the ellipse, larger exponents approach the box. `None` as in [`Self::polygon`], or for
    /// half axes that are not positive, or an exponent outside 1..=32.
    #[must_use]
    pub fn superellipse(
        center_px: [f32; 2],
        half_axes_px: [f32; 2],
        angle_rad: f32,
        exponent: f32,
        feather_px: f32,
        frame_width: u32,
        frame_height: u32,
    ) -> Option<Self> {
        let mut mask = Self::default();
        let shape = Superellipse {
            center_px,
            half_axes_px,
            angle_rad,
            exponent,
        };
        let any = mask.superellipse_into(&shape, feather_px, frame_width, frame_height).ok()?;
        any.then_some(mask)
    }

    /// [`Self::superellipse`] into the buffer of an earlier mask.
    ///
    /// # Errors
    /// [`KernelError::Argument`] for what is refused; the mask is then empty.
    pub fn superellipse_into(
        &mut self,
        shape: &Superellipse,
        feather_px: f32,
        frame_width: u32,
        frame_height: u32,
    ) -> Result<bool, KernelError> {
        self.clear();
        let points = shape.outline()?;
        self.polygon_into(&points, feather_px, frame_width, frame_height)
    }

    /// The largest alpha of any mask at each pixel, over the rectangle that holds all of them.
    /// `None` without a mask of any size. Masks whose buffer does not fit their rectangle are
    /// taken as fully covered: a broken mask must not uncover anything.
    #[must_use]
    pub fn union(masks: &[Self]) -> Option<Self> {
        let sized = || masks.iter().filter(|m| m.width > 0 && m.height > 0);
        let x0 = sized().map(|m| i64::from(m.x)).min()?;
        let y0 = sized().map(|m| i64::from(m.y)).min()?;
        let x1 = sized().map(|m| i64::from(m.x) + i64::from(m.width)).max()?;
        let y1 = sized().map(|m| i64::from(m.y) + i64::from(m.height)).max()?;
        let (width, height) = (u32::try_from(x1 - x0).ok()?, u32::try_from(y1 - y0).ok()?);
        let stride = width as usize;
        let mut alpha = vec![0; stride.checked_mul(height as usize)?];
        for mask in sized() {
            let (left, top) = ((i64::from(mask.x) - x0) as usize, (i64::from(mask.y) - y0) as usize);
            let (w, h) = (mask.width as usize, mask.height as usize);
            let broken = mask.alpha.len() != w * h;
            for (row, to) in alpha.chunks_exact_mut(stride).skip(top).take(h).enumerate() {
                let to = to.iter_mut().skip(left).take(w);
                match mask.alpha.get(row * w..(row + 1) * w) {
                    Some(from) if !broken => to.zip(from).for_each(|(t, &f)| *t = (*t).max(f)),
                    _ => to.for_each(|t| *t = 255),
                }
            }
        }
        Some(Self {
            x: x0 as i32,
            y: y0 as i32,
            width,
            height,
            alpha,
        })
    }

    /// The whole frame, fully covered.
    #[must_use]
    pub fn full(frame_width: u32, frame_height: u32) -> Self {
        let alpha = vec![255; frame_width as usize * frame_height as usize];
        Self {
            x: 0,
            y: 0,
            width: frame_width,
            height: frame_height,
            alpha,
        }
    }

    /// Its rectangle.
    #[must_use]
    pub fn rect(&self) -> Rect {
        Rect {
            x: self.x,
            y: self.y,
            width: self.width,
            height: self.height,
        }
    }

    /// Alpha at a pixel of the frame; 0 outside the rectangle.
    #[must_use]
    pub fn alpha_at(&self, x: i64, y: i64) -> u8 {
        let (dx, dy) = (x - i64::from(self.x), y - i64::from(self.y));
        if dx < 0 || dy < 0 || dx >= i64::from(self.width) || dy >= i64::from(self.height) {
            return 0;
        }
        self.alpha
            .get(dy as usize * self.width as usize + dx as usize)
            .copied()
            .unwrap_or(0)
    }

    /// Share, 0..=1, of a box (frame px) whose pixel centres have alpha ≥ [`COVERED_ALPHA`].
    /// Pixels of the box outside the rectangle are not covered, so clip the box to the frame first.
    /// A box that holds no pixel centre, or is not finite, has share 0.
    #[must_use]
    pub fn coverage_of_box(&self, x0: f32, y0: f32, x1: f32, y1: f32) -> f32 {
        if ![x0, y0, x1, y1].iter().all(|v| v.is_finite()) {
            return 0.0;
        }
        let first = |v: f32| (v.clamp(-FAR_PX, FAR_PX) - 0.5).ceil() as i64;
        let (bx0, by0, bx1, by1) = (first(x0), first(y0), first(x1), first(y1));
        let total = (bx1 - bx0).max(0) * (by1 - by0).max(0);
        if total == 0 {
            return 0.0;
        }
        let width = i64::from(self.width);
        let columns = |v: i64| (v - i64::from(self.x)).clamp(0, width) as usize;
        let (c0, c1) = (columns(bx0), columns(bx1));
        let mut covered = 0usize;
        for y in by0.max(i64::from(self.y))..by1.min(i64::from(self.y) + i64::from(self.height)) {
            let row = (y - i64::from(self.y)) as usize * self.width as usize;
            let line = self.alpha.get(row + c0..row + c1).unwrap_or(&[]);
            covered += line.iter().filter(|&&a| a >= COVERED_ALPHA).count();
        }
        (covered as f64 / total as f64) as f32
    }

    /// Whether no pixel is touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.alpha.iter().all(|&a| a == 0)
    }

    /// Empties the mask and keeps its buffer.
    pub fn clear(&mut self) {
        (self.x, self.y, self.width, self.height) = (0, 0, 0, 0);
        self.alpha.clear();
    }

    fn reset(&mut self, b: Bounds) {
        (self.x, self.y, self.width, self.height) = (b.x0, b.y0, (b.x1 - b.x0) as u32, (b.y1 - b.y0) as u32);
        self.alpha.clear();
        self.alpha.resize(self.width as usize * self.height as usize, 0);
    }
}

/// A superellipse in frame px.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Superellipse {
    /// Centre, px.
    pub center_px: [f32; 2],
    /// Half axes before the turn, px.
    pub half_axes_px: [f32; 2],
    /// Turn from x towards y.
    pub angle_rad: f32,
    /// 2 = ellipse.
    pub exponent: f32,
}

impl Superellipse {
    /// A polygon around it: at no point inside the curve, and less than 1 % outside.
    fn outline(&self) -> Result<[[f32; 2]; SUPERELLIPSE_POINTS], KernelError> {
        const OP: &str = "RegionMask::superellipse";
        let argument = |what, expected: &str, got: String| {
            Err(KernelError::Argument {
                op: OP,
                what,
                expected: expected.to_owned(),
                got,
            })
        };
        let Self {
            center_px,
            half_axes_px: [a, b],
            angle_rad,
            exponent,
        } = *self;
        if !center_px.iter().chain(&[a, b]).all(|v| v.is_finite()) || a <= 0.0 || b <= 0.0 {
            return argument("geometry", "finite, half axes > 0", format!("{center_px:?}, [{a}, {b}]"));
        }
        if !(1.0..=32.0).contains(&exponent) || !angle_rad.is_finite() {
            return argument("exponent, angle", "1..=32, finite", format!("{exponent}, {angle_rad}"));
        }
        let (sin, cos) = angle_rad.sin_cos();
        // Chords lie inside a convex curve: push the corners out until the chords do not.
        let grow = 1.0 / (std::f32::consts::PI / SUPERELLIPSE_POINTS as f32).cos() + 0.004;
        let mut points = [[0.0; 2]; SUPERELLIPSE_POINTS];
        for (i, p) in points.iter_mut().enumerate() {
            let t = i as f32 * std::f32::consts::TAU / SUPERELLIPSE_POINTS as f32;
            let along = |v: f32| v.signum() * v.abs().powf(2.0 / exponent) * grow;
            let (u, v) = (a * along(t.cos()), b * along(t.sin()));
            *p = [center_px[0] + u * cos - v * sin, center_px[1] + u * sin + v * cos];
        }
        Ok(points)
    }
}

struct Bounds {
    x0: i32,
    y0: i32,
    x1: i32,
    y1: i32,
}

impl Bounds {
    fn of(points: &[[f32; 2]], feather_px: f32, width: u32, height: u32) -> Option<Self> {
        if points.len() < 3 {
            return None;
        }
        let reach = ramp_px(feather_px);
        let axis = |i: usize, side: u32| {
            let (lo, hi) = points
                .iter()
                .fold((FAR_PX, -FAR_PX), |(lo, hi), p| (near(*p)[i].min(lo), near(*p)[i].max(hi)));
            let side = side as f32;
            let (lo, hi) = ((lo - reach).floor().clamp(0.0, side), (hi + reach).ceil().clamp(0.0, side));
            (hi > lo).then_some((lo as i32, hi as i32))
        };
        let ((x0, x1), (y0, y1)) = (axis(0, width)?, axis(1, height)?);
        Some(Self { x0, y0, x1, y1 })
    }
}

/// Width of the ramp: at least a pixel, which is what anti-aliases a hard edge.
fn ramp_px(feather_px: f32) -> f32 {
    feather_px.max(1.0)
}

fn near(p: [f32; 2]) -> [f32; 2] {
    p.map(|v| v.clamp(-FAR_PX, FAR_PX))
}

/// Alpha at a distance outside the outline.
fn ramp(distance_px: f32, ramp_px: f32) -> u8 {
    let t = (1.0 - distance_px / ramp_px).clamp(0.0, 1.0);
    (255.0 * t * t * (3.0 - 2.0 * t) + 0.5) as u8
}

fn check(points: &[[f32; 2]], feather_px: f32, width: u32, height: u32) -> Result<(), KernelError> {
    const OP: &str = "RegionMask::polygon";
    let argument = |what, expected: &str, got: String| {
        Err(KernelError::Argument {
            op: OP,
            what,
            expected: expected.to_owned(),
            got,
        })
    };
    if let Some(p) = points.iter().find(|p| !p.iter().all(|v| v.is_finite())) {
        return argument("points_px", "finite", format!("{p:?}"));
    }
    if !(0.0..=MAX_FEATHER_PX).contains(&feather_px) {
        return argument("feather_px", "0..=1024", feather_px.to_string());
    }
    if width == 0 || height == 0 || width > crate::image::MAX_SIDE_PX || height > crate::image::MAX_SIDE_PX {
        return argument("frame size", "1..=32768 px a side", format!("{width}x{height}"));
    }
    Ok(())
}
