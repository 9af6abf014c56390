//! Any geometry over any bytes: a view or an error, and a cover of the view that stays inside it.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nullface_kernels::cover::fill_frame;
use nullface_kernels::image::PlaneMut;
use nullface_kernels::{ImageInfo, ImageMut, Matrix, PixelFormat, Range};

const FORMATS: [PixelFormat; 11] = [
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::P010Le,
    PixelFormat::I42010Le,
    PixelFormat::Rgba,
    PixelFormat::Bgra,
    PixelFormat::Rgbx,
    PixelFormat::Bgrx,
    PixelFormat::Rgb,
    PixelFormat::Bgr,
    PixelFormat::Yuy2,
];

#[derive(Debug, Arbitrary)]
struct Input {
    format: u8,
    width: u32,
    height: u32,
    planes: Vec<(u16, u16)>,
}

fuzz_target!(|input: Input| {
    let format = FORMATS[usize::from(input.format) % FORMATS.len()];
    let info = ImageInfo { format, width: input.width, height: input.height, matrix: Matrix::Bt709, range: Range::Limited };
    let mut bytes: Vec<Vec<u8>> = input.planes.iter().take(4).map(|(len, _)| vec![7; usize::from(*len)]).collect();
    let planes = bytes.iter_mut().zip(&input.planes).map(|(data, (_, stride))| PlaneMut { data, stride: usize::from(*stride) }).collect();
    if let Ok(mut image) = ImageMut::new(info, planes) {
        fill_frame(&mut image, [1, 2, 3]);
        let _ = image.as_image().planes().len();
    }
});
