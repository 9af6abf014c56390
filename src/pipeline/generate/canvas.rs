//! The picture that a face is made on: the aligned crop with a margin, at about the frame's resolution.
//!
//! | | |
//! |---|---|
//! | crop | ArcFace template at [`CROP_PX`], what the denoiser sees |
//! | canvas | the crop and a ring of [`MARGIN_PX`] around it, for chin and forehead, times `k` |
//! | `k` | 1 to 3, by the face's size in the frame; larger faces are enlarged |

use nullface_kernels::KernelError;
use nullface_kernels::crop::crop_affine;
use nullface_kernels::mask::{RegionMask, Weights};
use nullface_kernels::paint_face::Board;

use crate::frame::{Affine, FrameInfo, FrameView, Landmarks5, Matrix, Mesh, PixelFormat, Plane, Point, Range, arcface_crop};

use super::super::surface::Surface;

/// Side of the denoiser's crop.
pub(super) const CROP_PX: usize = 128;
/// Ring around it, px of the crop.
pub(super) const MARGIN_PX: usize = 16;
/// Fade of the denoiser's mask at the crop's border, px.
pub(super) const RAMP_PX: f32 = 6.0;
/// Frame px for each crop px up to which a canvas of scale 1 and 2 will do.
const ENOUGH: [f32; 2] = [1.35, 2.7];

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
        crop_affine(frame, &self.frame_from_canvas, &self.board().spec(), out)
    }

    /// Where the denoiser's crop lies on the canvas.
    pub(super) fn board(&self) -> Board {
        Board {
            crop_px: CROP_PX,
            margin_px: MARGIN_PX,
            k: self.k,
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
}
