//! The picture that a face is made on: the aligned crop with a margin, at about the frame's resolution.
//!
//! | | |
//! |---|---|
//! | crop | ArcFace template at [`CROP_PX`], what the denoiser sees |
//! | canvas | the crop and a ring of [`MARGIN_PX`] around it, for chin and forehead, times `k` |
//! | `k` | 1 to 3, by the face's size in the frame; larger faces are enlarged |

use nullface_kernels::KernelError;
use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout, crop_affine};
use nullface_kernels::mask::{RegionMask, Weights};

use crate::frame::{Affine, FrameInfo, FrameView, Landmarks5, Matrix, Mesh, PixelFormat, Plane, Point, Range, arcface_crop};
use crate::stages::prior::{Border, LowPass, raster};

use super::super::surface::Surface;

/// Side of the denoiser's crop.
pub(super) const CROP_PX: usize = 128;
/// Ring around it, px of the crop.
pub(super) const MARGIN_PX: usize = 16;
/// Fade of the denoiser's mask at the crop's border, px.
const RAMP_PX: f32 = 6.0;
/// Frame px for each crop px up to which a canvas of scale 1 and 2 will do.
const ENOUGH: [f32; 2] = [1.35, 2.7];
/// Soft rim inside the mesh, in distances between the outer eye corners.
const RIM_IOD: f32 = 0.04;

/// Where a face lies on its canvas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Canvas px for each crop px.
    pub(super) k: usize,
    /// Side of the canvas.
    pub(super) side: usize,
    /// Frame px for each crop px.
    pub(super) scale: f32,
    pub(super) frame_from_canvas: Affine,
    pub(super) canvas_from_frame: Affine,
    crop_from_frame: Affine,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            k: 1,
            side: CROP_PX + 2 * MARGIN_PX,
            scale: 1.0,
            frame_from_canvas: Affine::IDENTITY,
            canvas_from_frame: Affine::IDENTITY,
            crop_from_frame: Affine::IDENTITY,
        }
    }
}

impl Place {
    /// A canvas as large as the face asks for, `most_k` times the crop at most; `None` where the landmarks are degenerate.
    pub(super) fn of(landmarks: &Landmarks5, most_k: usize) -> Option<Self> {
        let frame_from_crop = arcface_crop(landmarks, CROP_PX as u32)?;
        let scale = frame_from_crop.m[0].hypot(frame_from_crop.m[3]);
        let k = 1 + ENOUGH.iter().filter(|e| scale > **e).count();
        Self::with(&frame_from_crop, k.min(most_k.max(1)))
    }

    /// The same place on a canvas of another scale.
    pub(super) fn at_scale(&self, k: usize) -> Option<Self> {
        Self::with(&self.crop_from_frame.inverse()?, k)
    }

    fn with(frame_from_crop: &Affine, k: usize) -> Option<Self> {
        let scale = frame_from_crop.m[0].hypot(frame_from_crop.m[3]);
        let crop_from_canvas = Affine {
            m: [1.0 / k as f32, 0.0, -(MARGIN_PX as f32), 0.0, 1.0 / k as f32, -(MARGIN_PX as f32)],
        };
        let frame_from_canvas = frame_from_crop.after(&crop_from_canvas);
        Some(Self {
            k,
            side: (CROP_PX + 2 * MARGIN_PX) * k,
            scale,
            canvas_from_frame: frame_from_canvas.inverse()?,
            frame_from_canvas,
            crop_from_frame: frame_from_crop.inverse()?,
        })
    }

    /// The mesh in crop px; depth scaled alike.
    pub(super) fn mesh_in_crop(&self, mesh: &Mesh, out: &mut Vec<[f32; 3]>) {
        out.clear();
        out.extend(mesh.points_px.iter().zip(&mesh.depth_px).map(|(p, z)| {
            let [x, y] = self.crop_from_frame.apply(*p);
            [x, y, z / self.scale]
        }));
    }

    /// A point of the crop on the canvas.
    pub(super) fn on_canvas(&self, p: Point) -> Point {
        let k = self.k as f32;
        [(p[0] + MARGIN_PX as f32) * k, (p[1] + MARGIN_PX as f32) * k]
    }

    /// Reads the canvas from a frame: interleaved RGB, 0–255.
    pub(super) fn read(&self, frame: &FrameView<'_>, out: &mut Vec<f32>) -> Result<(), KernelError> {
        out.resize(self.side * self.side * 3, 0.0);
        let spec = CropSpec {
            width: self.side,
            height: self.side,
            layout: Layout::Nhwc,
            order: ChannelOrder::Rgb,
            scale: 1.0,
            bias: 0.0,
        };
        crop_affine(frame, &self.frame_from_canvas, &spec, out)
    }

    /// The crop out of a canvas picture of `C` channels, averaged down.
    pub(super) fn crop_px_of<const C: usize>(&self, picture: &[f32], out: &mut Vec<f32>) {
        let (k, share) = (self.k, 1.0 / (self.k * self.k) as f32);
        out.clear();
        out.resize(CROP_PX * CROP_PX * C, 0.0);
        for (i, to) in out.chunks_exact_mut(C).enumerate() {
            let (x, y) = ((i % CROP_PX + MARGIN_PX) * k, (i / CROP_PX + MARGIN_PX) * k);
            for row in y..y + k {
                let from = (row * self.side + x) * C;
                for pixel in picture.get(from..from + k * C).unwrap_or(&[]).chunks_exact(C) {
                    to.iter_mut().zip(pixel).for_each(|(t, p)| *t += p * share);
                }
            }
        }
    }

    /// Adds a crop's edit to a row of the canvas, interleaved RGB; the margin has none.
    pub(super) fn add_delta(&self, delta: &[f32], y: usize, row: &mut [f32]) {
        let at = |v: usize| (v as f32 + 0.5) / self.k as f32 - MARGIN_PX as f32;
        let (start, end) = (MARGIN_PX * self.k, (MARGIN_PX + CROP_PX) * self.k);
        if !(start..end).contains(&y) {
            return;
        }
        let pixels = row.as_chunks_mut::<3>().0;
        for (x, pixel) in pixels.iter_mut().enumerate().take(end).skip(start) {
            let d = raster::sample::<3>(delta, CROP_PX, CROP_PX, [at(x), at(y)]);
            pixel.iter_mut().zip(d).for_each(|(p, d)| *p += d);
        }
    }

    /// Shows a finished canvas in the frame by `weight` (0–1, canvas px).
    pub(super) fn write(&self, surface: &mut Surface<'_, '_>, picture: &[u8], weight: &[f32], mask: &mut RegionMask) -> Result<(), String> {
        let weights = Weights {
            values: weight,
            side: self.side,
            frame_from_square: self.frame_from_canvas,
            square_from_frame: self.canvas_from_frame,
        };
        surface.place(picture, &weights, mask)
    }
}

/// Where the canvas replaces the frame: the mesh's inside with a soft rim that lies inside it, and
/// nothing in the outermost pixels of the canvas.
pub(super) fn weight(inside: &[f32], side: usize, k: usize, iod_px: f32, pass: &mut LowPass, weight: &mut Vec<f32>) {
    pass.run(side, side, RIM_IOD * iod_px, Border::Mirror, |x, y| {
        [inside.get(y * side + x).copied().unwrap_or(0.0)]
    });
    let ramp = 1.0 / (4 * k) as f32;
    let mut row = Vec::new();
    weight.clear();
    for y in 0..side {
        pass.row::<1>(y, &mut row);
        weight.extend(row.iter().enumerate().map(|(x, w)| {
            let edge = x.min(y).min(side - 1 - x).min(side - 1 - y) as f32;
            (w[0] * 2.0 - 1.0).clamp(0.0, 1.0) * (edge * ramp).min(1.0)
        }));
    }
}

/// Fades a mask of the crop towards the crop's border.
pub(super) fn ramp(mask: &mut [f32]) {
    for (i, m) in mask.iter_mut().enumerate() {
        let (x, y) = (i % CROP_PX, i / CROP_PX);
        let edge = x.min(y).min(CROP_PX - 1 - x).min(CROP_PX - 1 - y) as f32;
        *m = m.clamp(0.0, 1.0) * (edge / RAMP_PX).min(1.0);
    }
}

/// A canvas as a frame, for the recogniser.
pub(super) fn view(picture: &[u8], side: usize) -> Result<FrameView<'_>, KernelError> {
    let info = FrameInfo {
        format: PixelFormat::Rgb,
        width: side as u32,
        height: side as u32,
        matrix: Matrix::Bt709,
        range: Range::Full,
    };
    FrameView::new(
        info,
        &[Plane {
            data: picture,
            stride: side * 3,
        }],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ARCFACE_TEMPLATE_112;

    fn place(scale: f32) -> Place {
        let face = ARCFACE_TEMPLATE_112.map(|p| [p[0] * scale + 40.0, p[1] * scale + 30.0]);
        Place::of(&Landmarks5(face), 3).expect("five points")
    }

    #[test]
    fn larger_faces_get_larger_canvases_and_points_fall_where_the_pixels_do() {
        for (scale, k) in [(0.3, 1), (1.0, 1), (2.0, 2), (4.0, 3), (12.0, 3)] {
            let place = place(scale);
            assert_eq!((place.k, place.side), (k, 160 * k), "scale {scale}");
            let eye = [ARCFACE_TEMPLATE_112[0][0] * scale + 40.0, ARCFACE_TEMPLATE_112[0][1] * scale + 30.0];
            let direct = place.canvas_from_frame.apply(eye);
            let through = place.on_canvas(place.crop_from_frame.apply(eye));
            assert!(
                (direct[0] - through[0]).hypot(direct[1] - through[1]) < 1e-2,
                "{direct:?} {through:?}"
            );
        }
    }

    #[test]
    fn the_rim_lies_inside_and_the_canvas_edge_is_never_written() {
        let side = 160;
        let inside: Vec<f32> = (0..side * side).map(|i| if i % side > 80 { 1.0 } else { 0.0 }).collect();
        let mut shown = Vec::new();
        weight(&inside, side, 1, 60.0, &mut LowPass::default(), &mut shown);
        let weight = shown;
        for y in 0..side {
            assert_eq!(weight[y * side + side - 1], 0.0);
            assert!(weight[y * side..y * side + 80].iter().all(|w| *w == 0.0));
        }
        assert!((weight[80 * side + 110] - 1.0).abs() < 1e-4);
    }
}
