//! Holds a mesh on its face from frame to frame. The network sees each frame alone, so its points tremble
//! by about a hundredth of the distance between the eyes, and what is painted trembles with them.
//!
//! Each point is carried along by the picture's own motion (optical flow), then drawn to where the network
//! sees it: slowly where the two agree, since what is left is tremor, at once where they do not, since the
//! flow has lost it (something passed in front, a lid fell, the head left the window).
//!
//! A still picture gives still points, bit for bit.

use nullface_kernels::KernelError;
use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout, crop_affine};

use crate::backend::BackendError;
use crate::frame::{Affine, BoxPx, FrameView, Mesh, Point, Pts};
use crate::stages::align::Flow;
use crate::stages::prior::raster;

/// Side of the window that the flow is taken in, px.
const SIDE: usize = 160;
/// Side of the window, in sides of the mesh's box.
const GROWTH: f32 = 1.6;
/// How far the mesh's centre may lie from the window's, in the window's sides, and by how much their sizes
/// may differ, before the window is laid anew.
const OFF_CENTRE: f32 = 0.08;
const OFF_SIZE: f32 = 0.15;
/// In this time a point comes to where the network sees it, but for 1/e, s.
const DRAWN_IN_S: f32 = 0.25;
/// Distances, in those between the outer eye corners, up to which the two agree and from which they do not.
const AGREE: f32 = 0.03;
const DISAGREE: f32 = 0.08;
/// After a pause like this it starts anew, s.
const PAUSE_S: f64 = 0.3;
/// Outer eye corners of the mesh.
const EYES: (usize, usize) = (33, 263);

/// State of one track.
#[derive(Debug, Default)]
pub(super) struct Steady {
    at: Option<Pts>,
    points: Vec<Point>,
    depth: Vec<f32>,
    window: Window,
    flow: Flow,
}

/// The square of the frame that the flow is taken in.
#[derive(Debug, Default)]
struct Window {
    center: Point,
    side_px: f32,
    rgb: Vec<f32>,
    /// Luma in the last frame and in this one.
    before: Vec<u8>,
    now: Vec<u8>,
}

impl Steady {
    /// Replaces a mesh, as the network saw it in `frame`, by the steadied one.
    pub(super) fn hold(&mut self, at: Pts, frame: &FrameView<'_>, mesh: &mut Mesh) {
        let dt = self.at.replace(at).map_or(f64::INFINITY, |last| at.seconds_since(last));
        let goes_on = dt > 0.0 && dt < PAUSE_S && self.points.len() == mesh.points_px.len();
        let looked = goes_on && self.window.look(frame).is_ok();
        if looked && self.carry().is_ok() {
            self.draw_to(mesh, dt as f32);
            mesh.points_px.clone_from(&self.points);
            mesh.depth_px.clone_from(&self.depth);
        } else {
            self.points.clone_from(&mesh.points_px);
            self.depth.clone_from(&mesh.depth_px);
        }
        if !self.window.keep(frame, mesh, looked) {
            self.points.clear();
        }
    }

    /// Moves the points with the picture.
    fn carry(&mut self) -> Result<(), BackendError> {
        let Self { window, flow, points, .. } = self;
        let moved = flow.between(&window.before, &window.now, SIDE)?;
        let px = window.side_px / SIDE as f32;
        for point in points {
            let at = [0, 1].map(|c| (point[c] - window.center[c] + window.side_px / 2.0) / px);
            let shift = raster::sample::<2>(moved.as_flattened(), SIDE, SIDE, at);
            *point = [point[0] + shift[0] * px, point[1] + shift[1] * px];
        }
        Ok(())
    }

    /// Draws the points to where the network sees them, `dt` s after the last time.
    fn draw_to(&mut self, mesh: &Mesh, dt: f32) {
        let (a, b) = EYES;
        let between = |p: &[Point]| p.get(a).zip(p.get(b)).map_or(1.0, |(a, b)| (a[0] - b[0]).hypot(a[1] - b[1]));
        let iod = between(&mesh.points_px).max(1.0);
        let slow = 1.0 - (-dt / DRAWN_IN_S).exp();
        let seen = mesh.points_px.iter().zip(&mesh.depth_px);
        for ((point, depth), (to, to_depth)) in self.points.iter_mut().zip(&mut self.depth).zip(seen) {
            let off = [to[0] - point[0], to[1] - point[1]];
            let doubt = ((off[0].hypot(off[1]) / iod - AGREE) / (DISAGREE - AGREE)).clamp(0.0, 1.0);
            let share = slow + (1.0 - slow) * doubt;
            *point = [point[0] + off[0] * share, point[1] + off[1] * share];
            *depth += (to_depth - *depth) * share;
        }
    }
}

impl Window {
    /// Reads the frame where the last one was read.
    fn look(&mut self, frame: &FrameView<'_>) -> Result<(), KernelError> {
        let px = self.side_px / SIDE as f32;
        let half = self.side_px / 2.0;
        let spec = CropSpec {
            width: SIDE,
            height: SIDE,
            layout: Layout::Nhwc,
            order: ChannelOrder::Rgb,
            scale: 1.0,
            bias: 0.0,
        };
        self.rgb.resize(SIDE * SIDE * 3, 0.0);
        let frame_from_window = Affine::scale_shift(px, px, self.center[0] - half, self.center[1] - half);
        crop_affine(frame, &frame_from_window, &spec, &mut self.rgb)?;
        self.now.clear();
        let pixels = self.rgb.as_chunks::<3>().0;
        self.now
            .extend(pixels.iter().map(|[r, g, b]| (0.3 * r + 0.59 * g + 0.11 * b + 0.5) as u8));
        Ok(())
    }

    /// Keeps this frame for the next one, read anew where it was not looked at or the mesh has left the
    /// middle; `false` where there is nothing to keep.
    fn keep(&mut self, frame: &FrameView<'_>, mesh: &Mesh, looked: bool) -> bool {
        let Some(box_px) = mesh.bounding_box_px().filter(BoxPx::is_valid) else {
            return false;
        };
        let (center, side_px) = (box_px.center(), box_px.side() * GROWTH);
        let off = (center[0] - self.center[0]).abs().max((center[1] - self.center[1]).abs());
        if !looked || off > OFF_CENTRE * self.side_px || (side_px / self.side_px).ln().abs() > OFF_SIZE {
            (self.center, self.side_px) = (center, side_px);
            if self.look(frame).is_err() {
                return false;
            }
        }
        std::mem::swap(&mut self.before, &mut self.now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameInfo, MESH_POINTS, Matrix, PixelFormat, Plane, Range};

    const SIZE: usize = 200;

    fn at(n: u64) -> Pts {
        Pts(n * 40_000_000)
    }

    /// A blurred pattern, moved to the right by `shift` px.
    fn picture(shift: f32) -> Vec<u8> {
        (0..SIZE * SIZE)
            .flat_map(|i| {
                let (x, y) = ((i % SIZE) as f32 - shift, (i / SIZE) as f32);
                let v = 128.0 + 50.0 * (x / 5.0).sin() * (y / 7.0).cos() + 30.0 * (x / 13.0 + y / 11.0).sin();
                [v as u8; 3]
            })
            .collect()
    }

    fn mesh(shift: f32, tremor: f32) -> Mesh {
        let points_px = (0..MESH_POINTS).map(|i| {
            let (a, r) = (i as f32 * 2.4, 50.0 * (i as f32 / MESH_POINTS as f32).sqrt());
            let trembles = if i % 2 == 0 { tremor } else { -tremor };
            [100.0 + r * a.cos() + shift + trembles, 100.0 + r * a.sin()]
        });
        let mut mesh = Mesh {
            points_px: points_px.collect(),
            depth_px: vec![0.0; MESH_POINTS],
            face_prob: 1.0,
        };
        (mesh.points_px[EYES.0], mesh.points_px[EYES.1]) = ([70.0 + shift, 90.0], [130.0 + shift, 90.0]);
        mesh
    }

    fn hold(steady: &mut Steady, n: u64, pixels: &[u8], mesh: &mut Mesh) {
        let info = FrameInfo {
            format: PixelFormat::Rgb,
            width: SIZE as u32,
            height: SIZE as u32,
            matrix: Matrix::Bt709,
            range: Range::Full,
        };
        let plane = Plane {
            data: pixels,
            stride: SIZE * 3,
        };
        steady.hold(at(n), &FrameView::new(info, &[plane]).expect("a view"), mesh);
    }

    /// Mean distance of the points to where they are.
    fn error(mesh: &Mesh, shift: f32) -> f32 {
        let truth = self::mesh(shift, 0.0);
        let off = |(a, b): (&Point, &Point)| (a[0] - b[0]).hypot(a[1] - b[1]);
        mesh.points_px.iter().zip(&truth.points_px).map(off).sum::<f32>() / MESH_POINTS as f32
    }

    #[test]
    fn a_still_picture_gives_still_points_bit_for_bit() {
        let (mut steady, pixels) = (Steady::default(), picture(0.0));
        for n in 0..8 {
            let mut mesh = mesh(0.37, 0.0);
            hold(&mut steady, n, &pixels, &mut mesh);
            assert_eq!(mesh, self::mesh(0.37, 0.0));
        }
    }

    #[test]
    fn tremor_is_taken_out_and_motion_is_followed_without_lag() {
        let mut steady = Steady::default();
        for n in 0..30_u64 {
            // 50 px/s, about a distance between the eyes in a second.
            let shift = n as f32 * 2.0;
            let mut mesh = mesh(shift, if n % 2 == 0 { 0.5 } else { -0.5 });
            hold(&mut steady, n, &picture(shift), &mut mesh);
            assert!(n < 10 || error(&mesh, shift) < 0.2, "frame {n}: off by {} px", error(&mesh, shift));
        }
    }

    #[test]
    fn where_the_network_contradicts_the_flow_it_is_right() {
        let (mut steady, pixels) = (Steady::default(), picture(0.0));
        hold(&mut steady, 0, &pixels, &mut mesh(0.0, 0.0));
        let mut jumped = mesh(6.0, 0.0);
        const { assert!(6.0 / 60.0 > DISAGREE) };
        hold(&mut steady, 1, &pixels, &mut jumped);
        assert!(error(&jumped, 6.0) < 0.05, "off by {}", error(&jumped, 6.0));
    }

    #[test]
    fn a_pause_time_running_back_and_a_blank_picture_start_anew() {
        for (then, now) in [(10, 60), (10, 9)] {
            let mut steady = Steady::default();
            hold(&mut steady, then, &picture(0.0), &mut mesh(0.0, 0.0));
            let mut mesh = mesh(0.4, 0.0);
            hold(&mut steady, now, &picture(0.0), &mut mesh);
            assert!(error(&mesh, 0.4) < 1e-3);
        }
        let mut steady = Steady::default();
        for n in 0..3 {
            let mut mesh = Mesh {
                points_px: vec![[5.0; 2]; MESH_POINTS],
                depth_px: vec![0.0; MESH_POINTS],
                face_prob: 1.0,
            };
            hold(&mut steady, n, &picture(0.0), &mut mesh);
            assert_eq!(mesh.points_px[0], [5.0; 2], "a mesh without extent stays as it is");
        }
    }
}
