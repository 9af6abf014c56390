//! Which part of the frame a network sees, at which scale, and the way back.

use crate::backend::{CropError, Session, SmallSession};
use crate::frame::{Affine, BoxPx, FrameView, Landmarks5};
use nullface_kernels::KernelError;
use nullface_kernels::crop::{CropSpec, crop_affine};

use super::Detection;

/// A rectangle of the frame at a scale, as large as the network wants it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct View {
    /// Top left corner, frame px.
    pub origin_px: [f32; 2],
    /// Network px per frame px.
    pub scale: f32,
    /// Network input, px.
    pub width: usize,
    /// Network input, px.
    pub height: usize,
}

impl View {
    /// A region at a scale, padded to the right and below to a multiple of `multiple`. What lies
    /// outside the frame is its border repeated.
    pub(super) fn of_region(region: &BoxPx, scale: f32, multiple: usize) -> Self {
        // The hundredth keeps a product that rounds up by a bit from costing a whole multiple.
        let side = |length: f32| ((length * scale - 0.01).ceil().max(1.0) as usize).div_ceil(multiple) * multiple;
        Self {
            origin_px: [region.x0, region.y0],
            scale,
            width: side(region.width()),
            height: side(region.height()),
        }
    }

    /// A region letterboxed into a fixed size, centred.
    pub(super) fn letterbox(region: &BoxPx, width: usize, height: usize) -> Self {
        let scale = (width as f32 / region.width()).min(height as f32 / region.height());
        let [cx, cy] = region.center();
        Self {
            origin_px: [cx - width as f32 / scale / 2.0, cy - height as f32 / scale / 2.0],
            scale,
            width,
            height,
        }
    }

    /// The map from network px to frame px.
    pub(super) fn frame_from_net(&self) -> Affine {
        let s = 1.0 / self.scale;
        Affine::scale_shift(s, s, self.origin_px[0], self.origin_px[1])
    }

    /// Shows it to a network.
    pub(super) fn show(&self, frame: &FrameView<'_>, spec: &CropSpec, network: &mut impl Shown) -> Result<(), CropError> {
        network.crops(frame, &[self.frame_from_net()], &self.sized(spec))
    }

    /// Its pixels in the processor's memory.
    pub(super) fn fill(&self, frame: &FrameView<'_>, spec: &CropSpec, out: &mut [f32]) -> Result<(), KernelError> {
        crop_affine(frame, &self.frame_from_net(), &self.sized(spec), out)
    }

    fn sized(&self, spec: &CropSpec) -> CropSpec {
        CropSpec {
            width: self.width,
            height: self.height,
            ..*spec
        }
    }

    /// A detection in network px as one in frame px.
    pub(super) fn to_frame(self, d: Detection) -> Detection {
        let map = self.frame_from_net();
        let [x0, y0] = map.apply([d.box_px.x0, d.box_px.y0]);
        let [x1, y1] = map.apply([d.box_px.x1, d.box_px.y1]);
        Detection {
            box_px: BoxPx { x0, y0, x1, y1 },
            score: d.score,
            landmarks: d.landmarks.map(|l| Landmarks5(l.0.map(|p| map.apply(p)))),
        }
    }
}

/// A network that is shown crops.
pub(super) trait Shown {
    fn crops(&mut self, frame: &FrameView<'_>, maps: &[Affine], spec: &CropSpec) -> Result<(), CropError>;
}

impl Shown for Session {
    fn crops(&mut self, frame: &FrameView<'_>, maps: &[Affine], spec: &CropSpec) -> Result<(), CropError> {
        Self::crops(self, frame, maps, spec)
    }
}

impl Shown for SmallSession {
    fn crops(&mut self, frame: &FrameView<'_>, maps: &[Affine], spec: &CropSpec) -> Result<(), CropError> {
        Self::crops(self, frame, maps, spec)
    }
}

/// The whole frame.
pub(super) fn whole(frame: &FrameView<'_>) -> BoxPx {
    BoxPx {
        x0: 0.0,
        y0: 0.0,
        x1: frame.width() as f32,
        y1: frame.height() as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::View;
    use crate::frame::{BoxPx, Landmarks5};
    use crate::stages::detect::Detection;

    #[test]
    fn a_letterbox_centres_and_comes_back() {
        let view = View::letterbox(
            &BoxPx {
                x0: 0.0,
                y0: 0.0,
                x1: 640.0,
                y1: 320.0,
            },
            128,
            128,
        );
        assert_eq!(view.scale, 0.2);
        let net = Detection {
            box_px: BoxPx {
                x0: 0.0,
                y0: 32.0,
                x1: 128.0,
                y1: 96.0,
            },
            score: 1.0,
            landmarks: Some(Landmarks5([[64.0, 64.0]; 5])),
        };
        let got = view.to_frame(net);
        let want = BoxPx {
            x0: 0.0,
            y0: 0.0,
            x1: 640.0,
            y1: 320.0,
        };
        assert!((got.box_px.iou(&want) - 1.0).abs() < 1e-5, "{got:?}");
        assert!(
            got.landmarks
                .is_some_and(|l| (l.0[0][0] - 320.0).abs() < 1e-3 && (l.0[0][1] - 160.0).abs() < 1e-3)
        );
    }

    #[test]
    fn sizes_are_padded_up_to_the_multiple_and_never_zero() {
        let view = View::of_region(
            &BoxPx {
                x0: 5.0,
                y0: 0.0,
                x1: 365.0,
                y1: 288.0,
            },
            1.0,
            32,
        );
        assert_eq!((view.width, view.height), (384, 288));
        let view = View::of_region(
            &BoxPx {
                x0: 0.0,
                y0: 0.0,
                x1: 1.0,
                y1: 1.0,
            },
            0.5,
            32,
        );
        assert_eq!((view.width, view.height), (32, 32));
        for side in [33.3_f32, 107.1, 160.0, 333.3] {
            let view = View::of_region(
                &BoxPx {
                    x0: 7.7,
                    y0: 0.3,
                    x1: 7.7 + side,
                    y1: 0.3 + side,
                },
                320.0 / side,
                32,
            );
            assert_eq!((view.width, view.height), (320, 320), "{side}");
        }
    }
}
