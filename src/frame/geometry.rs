//! Boxes, points and landmarks in named spaces.

/// `[x, y]`.
pub type Point = [f32; 2];

/// Points of the face mesh (MediaPipe topology).
pub const MESH_POINTS: usize = 468;

/// An upright box in frame pixels; `x1`, `y1` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct BoxPx {
    /// Left.
    pub x0: f32,
    /// Top.
    pub y0: f32,
    /// Right.
    pub x1: f32,
    /// Bottom.
    pub y1: f32,
}

impl BoxPx {
    /// Around a centre.
    #[must_use]
    pub fn around(center: Point, width: f32, height: f32) -> Self {
        Self {
            x0: center[0] - width / 2.0,
            y0: center[1] - height / 2.0,
            x1: center[0] + width / 2.0,
            y1: center[1] + height / 2.0,
        }
    }

    /// The smallest box around points; `None` without a finite point.
    #[must_use]
    pub fn bounding(points: &[Point]) -> Option<Self> {
        let mut finite = points.iter().filter(|p| p[0].is_finite() && p[1].is_finite());
        let first = finite.next()?;
        let start = Self {
            x0: first[0],
            y0: first[1],
            x1: first[0],
            y1: first[1],
        };
        Some(finite.fold(start, |b, p| Self {
            x0: b.x0.min(p[0]),
            y0: b.y0.min(p[1]),
            x1: b.x1.max(p[0]),
            y1: b.y1.max(p[1]),
        }))
    }

    /// Width, never negative.
    #[must_use]
    pub fn width(&self) -> f32 {
        (self.x1 - self.x0).max(0.0)
    }

    /// Height, never negative.
    #[must_use]
    pub fn height(&self) -> f32 {
        (self.y1 - self.y0).max(0.0)
    }

    /// Area, px².
    #[must_use]
    pub fn area(&self) -> f32 {
        self.width() * self.height()
    }

    /// Centre.
    #[must_use]
    pub fn center(&self) -> Point {
        [(self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0]
    }

    /// Longer side.
    #[must_use]
    pub fn side(&self) -> f32 {
        self.width().max(self.height())
    }

    /// All corners finite and the area positive.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        [self.x0, self.y0, self.x1, self.y1].iter().all(|v| v.is_finite()) && self.area() > 0.0
    }

    /// Scaled about its centre.
    #[must_use]
    pub fn scaled(&self, factor: f32) -> Self {
        Self::around(self.center(), self.width() * factor, self.height() * factor)
    }

    /// The part inside another box.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        }
    }

    /// The smallest box around both.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        Self {
            x0: self.x0.min(other.x0),
            y0: self.y0.min(other.y0),
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
        }
    }

    /// Intersection over union, 0–1.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        let inter = self.intersection(other).area();
        let union = self.area() + other.area() - inter;
        if union > 0.0 { inter / union } else { 0.0 }
    }

    /// Share of this box that lies inside another, 0–1.
    #[must_use]
    pub fn share_inside(&self, other: &Self) -> f32 {
        if self.area() > 0.0 {
            self.intersection(other).area() / self.area()
        } else {
            0.0
        }
    }

    /// The part inside a frame.
    #[must_use]
    pub fn clipped(&self, width: u32, height: u32) -> Self {
        self.intersection(&Self {
            x0: 0.0,
            y0: 0.0,
            x1: width as f32,
            y1: height as f32,
        })
    }
}

/// Five points in frame pixels, image order: right eye (left in the picture), left eye, nose tip,
/// right mouth corner, left mouth corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Landmarks5(pub [Point; 5]);

impl Landmarks5 {
    /// Distance between the eyes, px.
    #[must_use]
    pub fn inter_ocular_px(&self) -> f32 {
        let [a, b, ..] = self.0;
        (a[0] - b[0]).hypot(a[1] - b[1])
    }

    /// In-plane rotation, radians: 0 where the eyes are level.
    #[must_use]
    pub fn roll_rad(&self) -> f32 {
        let [a, b, ..] = self.0;
        (b[1] - a[1]).atan2(b[0] - a[0])
    }

    /// All points finite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.0.iter().flatten().all(|v| v.is_finite())
    }
}

/// The 468-point face mesh of one face in frame pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Mesh {
    /// Points, frame px, [`MESH_POINTS`] of them.
    pub points_px: Vec<Point>,
    /// Depth of each point relative to the head's centre, in px of the frame, towards the camera negative.
    pub depth_px: Vec<f32>,
    /// Probability that the crop shows a face, 0–1.
    pub face_prob: f32,
}

impl Mesh {
    /// The five landmarks that aligners want, from eye corners, nose tip and mouth corners.
    #[must_use]
    pub fn landmarks5(&self) -> Option<Landmarks5> {
        let p = |i: usize| self.points_px.get(i).copied();
        let mid = |a: Point, b: Point| [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0];
        Some(Landmarks5([mid(p(33)?, p(133)?), mid(p(362)?, p(263)?), p(1)?, p(61)?, p(291)?]))
    }

    /// The smallest box around all points.
    #[must_use]
    pub fn bounding_box_px(&self) -> Option<BoxPx> {
        BoxPx::bounding(&self.points_px)
    }
}

#[cfg(test)]
mod tests {
    use super::BoxPx;

    #[test]
    fn iou_of_halves_is_a_third() {
        let a = BoxPx {
            x0: 0.0,
            y0: 0.0,
            x1: 2.0,
            y1: 2.0,
        };
        let b = BoxPx {
            x0: 1.0,
            y0: 0.0,
            x1: 3.0,
            y1: 2.0,
        };
        assert!((a.iou(&b) - 1.0 / 3.0).abs() < 1e-6);
        assert!((a.share_inside(&b) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn disjoint_boxes_share_nothing() {
        let a = BoxPx {
            x0: 0.0,
            y0: 0.0,
            x1: 1.0,
            y1: 1.0,
        };
        let b = BoxPx {
            x0: 5.0,
            y0: 5.0,
            x1: 6.0,
            y1: 6.0,
        };
        assert_eq!(a.iou(&b), 0.0);
        assert!(!a.intersection(&b).is_valid());
    }

    #[test]
    fn bounding_skips_what_is_not_finite() {
        let b = BoxPx::bounding(&[[f32::NAN, 1.0], [1.0, 2.0], [3.0, -1.0]]).expect("two finite points");
        assert_eq!(
            b,
            BoxPx {
                x0: 1.0,
                y0: -1.0,
                x1: 3.0,
                y1: 2.0
            }
        );
        assert_eq!(BoxPx::bounding(&[[f32::INFINITY, 0.0]]), None);
    }
}
