//! What tests of several stages share: the real networks, and pictures drawn here.

use super::{Backend, BackendConfig, DeviceRequest};
use crate::frame::{BoxPx, FrameInfo, FrameView, Matrix, PixelFormat, Plane, Range};

/// The vendored networks on the processor.
pub(crate) fn backend() -> Backend {
    let models_dir = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/models/small").into());
    Backend::open(&BackendConfig {
        models_dir,
        device: DeviceRequest::Cpu,
        threads: 2,
        ..BackendConfig::default()
    })
    .expect("runtime and models of the checkout; scripts/setup.sh brings the runtime")
}

/// A picture of smooth colours without a face.
pub(crate) struct Picture {
    bytes: Vec<u8>,
    width: u32,
    height: u32,
}

impl Picture {
    pub(crate) fn smooth(width: u32, height: u32) -> Self {
        let byte = |x: u32, y: u32, c: u32| {
            (128.0 + 60.0 * ((x * (c + 1)) as f32 / 97.0).sin() + 50.0 * (y as f32 / (71.0 + c as f32)).cos()) as u8
        };
        let bytes = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| byte(x, y, c))))
            .collect();
        Self { bytes, width, height }
    }

    /// Paints the part of a box that lies in the picture in one grey level.
    pub(crate) fn fill(&mut self, area: BoxPx, level: u8) {
        let area = area.clipped(self.width, self.height);
        for row in self
            .bytes
            .chunks_exact_mut(self.width as usize * 3)
            .take(area.y1 as usize)
            .skip(area.y0 as usize)
        {
            row[area.x0 as usize * 3..area.x1 as usize * 3].fill(level);
        }
    }

    pub(crate) fn view(&self) -> FrameView<'_> {
        let info = FrameInfo {
            format: PixelFormat::Rgb,
            width: self.width,
            height: self.height,
            matrix: Matrix::Bt709,
            range: Range::Full,
        };
        FrameView::new(
            info,
            &[Plane {
                data: &self.bytes,
                stride: self.width as usize * 3,
            }],
        )
        .expect("sizes fit")
    }
}
