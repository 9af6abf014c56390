//! Where the irises stand in the eyes: MediaPipe's iris network on each eye.
//!
//! | | |
//! |---|---|
//! | crop | square about the middle of the eye's corners, side `crop_margin` × their distance, along the line through them; the person's right eye mirrored, as the network knows left eyes only |
//! | input | n×64×64×3, RGB 0–1 |
//! | offset | iris centre from the middle of the corners, in eye widths, mirrored back: x to the right in the picture, y down |
//!
//! The figure of a pair is the mean over both eyes of the distance between the two offsets.

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout, crop_affine};

use super::EvalError;
use crate::backend::{Backend, Session, first_not_finite};
use crate::frame::{Affine, FrameView, Mesh, Point};

const NAME: &str = "iris";
const SIDE_PX: usize = 64;
const CONTOUR_VALUES: usize = 213;
const IRIS_VALUES: usize = 15;
/// Side of the crop in eye widths, where the manifest does not say.
const MARGIN: f32 = 2.3;
/// Outer and inner corner of the right eye, inner and outer of the left: from left to right in the picture.
const CORNERS: [[usize; 2]; 2] = [[33, 133], [362, 263]];

/// Offsets of both irises.
pub type Gaze = [Point; 2];

/// The network.
#[derive(Debug)]
pub struct Irises {
    session: Session,
    margin: f32,
}

impl Irises {
    /// Loads it.
    ///
    /// # Errors
    /// The model is missing or altered.
    pub fn open(small: &Backend) -> Result<Self, EvalError> {
        Ok(Self {
            margin: small.models().entry(NAME)?.crop_margin.unwrap_or(MARGIN),
            session: small.session(NAME)?,
        })
    }

    /// Offsets of a face's irises; `None` where an eye is too narrow to tell.
    ///
    /// # Errors
    /// The network fails or gives numbers that are none.
    pub fn offsets(&mut self, frame: &FrameView<'_>, mesh: &Mesh) -> Result<Option<Gaze>, EvalError> {
        let mut maps = Vec::with_capacity(2);
        for (eye, [a, b]) in CORNERS.into_iter().enumerate() {
            match (mesh.points_px.get(a), mesh.points_px.get(b)) {
                (Some(a), Some(b)) if (a[0] - b[0]).hypot(a[1] - b[1]) >= 6.0 => maps.push(window(*a, *b, self.margin, eye == 0)),
                _ => return Ok(None),
            }
        }
        let spec = CropSpec {
            width: SIDE_PX,
            height: SIDE_PX,
            layout: Layout::Nhwc,
            order: ChannelOrder::Rgb,
            scale: 1.0 / 255.0,
            bias: 0.0,
        };
        let input = self.session.input(&[2, SIDE_PX, SIDE_PX, 3])?;
        for (map, out) in maps.iter().zip(input.chunks_exact_mut(SIDE_PX * SIDE_PX * 3)) {
            crop_affine(frame, map, &spec, out)?;
        }
        self.session.run()?;
        self.session.output(0, &[2, CONTOUR_VALUES])?;
        let points = self.session.output(1, &[2, IRIS_VALUES])?;
        if first_not_finite(points).is_some() {
            return Ok(None);
        }
        let width_px = SIDE_PX as f32 / self.margin;
        let mut gaze = [[0.0; 2]; 2];
        for (eye, (to, p)) in gaze.iter_mut().zip(points.chunks_exact(IRIS_VALUES)).enumerate() {
            let mirror = if eye == 0 { -1.0 } else { 1.0 };
            let half = SIDE_PX as f32 / 2.0;
            *to = [mirror * (p[0] - half) / width_px, (p[1] - half) / width_px];
        }
        Ok(Some(gaze))
    }
}

/// `frame_from_crop` of one eye, `a` left of `b` in the picture.
fn window(a: Point, b: Point, margin: f32, mirrored: bool) -> Affine {
    let width = (b[0] - a[0]).hypot(b[1] - a[1]);
    let (cos, sin) = ((b[0] - a[0]) / width, (b[1] - a[1]) / width);
    let s = width * margin / SIDE_PX as f32;
    let half = SIDE_PX as f32 / 2.0;
    let m = if mirrored { -1.0 } else { 1.0 };
    let (cx, cy) = ((a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0);
    Affine {
        m: [
            s * cos * m,
            -s * sin,
            cx - s * cos * m * half + s * sin * half,
            s * sin * m,
            s * cos,
            cy - s * sin * m * half - s * cos * half,
        ],
    }
}

/// Mean distance of two gazes, in eye widths.
#[must_use]
pub fn difference(a: &Gaze, b: &Gaze) -> f64 {
    a.iter()
        .zip(b)
        .map(|(p, q)| f64::from((p[0] - q[0]).hypot(p[1] - q[1])))
        .sum::<f64>()
        / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::testing;

    #[test]
    fn the_window_is_centred_on_the_eye_and_mirrored_where_asked() {
        for mirrored in [false, true] {
            let map = window([100.0, 50.0], [130.0, 60.0], 2.3, mirrored);
            let middle = map.apply([32.0, 32.0]);
            assert!((middle[0] - 115.0).abs() < 1e-3 && (middle[1] - 55.0).abs() < 1e-3);
            let right = map.apply([64.0, 32.0]);
            assert_eq!(right[0] > middle[0], !mirrored);
            let below = map.apply([32.0, 64.0]);
            assert!(below[1] > middle[1]);
        }
    }

    #[test]
    fn the_network_answers_alike_to_like_pictures_and_not_to_slits() {
        let picture = testing::Picture::smooth(400, 400);
        let mut irises = Irises::open(&testing::backend()).expect("opens");
        let mut mesh = crate::eval::shape::tests::mesh();
        let one = irises.offsets(&picture.view(), &mesh).expect("runs").expect("wide eyes");
        let two = irises.offsets(&picture.view(), &mesh).expect("runs").expect("wide eyes");
        assert_eq!(difference(&one, &two), 0.0);
        assert!(one.iter().flatten().all(|v| v.abs() < 3.0), "{one:?}");
        mesh.points_px[33] = mesh.points_px[133];
        assert_eq!(irises.offsets(&picture.view(), &mesh).expect("runs"), None);
    }
}
