//! Frame views refuse every geometry that a plane cannot carry, and accept the tightest that it can.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use nullface_kernels::image::{Image, ImageInfo, ImageMut, MAX_SIDE_PX, Plane, PlaneMut};
use nullface_kernels::{KernelError, Matrix, PixelFormat, Range};
use support::{FORMATS, Frame, SIZES};

fn info(format: PixelFormat, width: u32, height: u32) -> ImageInfo {
    ImageInfo {
        format,
        width,
        height,
        matrix: Matrix::Bt709,
        range: Range::Limited,
    }
}

#[test]
fn the_tightest_planes_are_accepted_and_one_byte_less_is_refused() {
    let mut refused = 0;
    for format in FORMATS {
        for (width, height) in SIZES {
            for padding in [0, 1, 13] {
                let info = info(format, width, height);
                let geometry: Vec<(usize, usize)> = (0..format.planes())
                    .map(|p| {
                        let (row, rows) = format.plane_size(p, width, height);
                        ((row + padding) * (rows - 1) + row, row + padding)
                    })
                    .collect();
                for short in 0..=format.planes() {
                    let mut data: Vec<Vec<u8>> = geometry.iter().map(|g| vec![0; g.0]).collect();
                    if let Some(plane) = data.get_mut(short) {
                        plane.pop();
                    }
                    let planes: Vec<Plane<'_>> = data.iter().zip(&geometry).map(|(data, g)| Plane { data, stride: g.1 }).collect();
                    let read = Image::new(info, &planes);
                    let mut copy = data.clone();
                    let planes = copy
                        .iter_mut()
                        .zip(&geometry)
                        .map(|(data, g)| PlaneMut { data, stride: g.1 })
                        .collect();
                    let write = ImageMut::new(info, planes);
                    if short == format.planes() {
                        assert!(read.is_ok() && write.is_ok(), "{format:?} {width}x{height}+{padding}");
                    } else {
                        let named = |e: KernelError| matches!(e, KernelError::PlaneTooSmall { plane, .. } if plane == short);
                        assert!(read.is_err_and(named), "{format:?} {width}x{height}+{padding} plane {short}");
                        assert!(write.is_err_and(named), "{format:?} {width}x{height}+{padding} plane {short}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 300);
}

#[test]
fn a_stride_shorter_than_a_row_is_refused() {
    for format in FORMATS {
        let frame = Frame::noise(format, 6, 4, 0, 3);
        for short in 0..format.planes() {
            let planes: Vec<Plane<'_>> = frame
                .planes
                .iter()
                .zip(&frame.strides)
                .enumerate()
                .map(|(i, (data, &stride))| Plane {
                    data,
                    stride: if i == short { stride - 1 } else { stride },
                })
                .collect();
            assert!(Image::new(frame.info, &planes).is_err(), "{format:?} plane {short}");
        }
    }
}

#[test]
fn zero_huge_and_miscounted_frames_are_refused_without_allocation() {
    let data = [0u8; 64];
    let plane = Plane { data: &data, stride: 8 };
    for format in FORMATS {
        let planes = vec![plane; format.planes()];
        for (w, h) in [
            (0, 4),
            (4, 0),
            (0, 0),
            (MAX_SIDE_PX + 1, 1),
            (1, MAX_SIDE_PX + 1),
            (u32::MAX, u32::MAX),
        ] {
            let refused = Image::new(info(format, w, h), &planes);
            assert!(
                matches!(refused, Err(KernelError::Argument { what: "size", .. })),
                "{format:?} {w}x{h}"
            );
        }
        let huge = vec![
            Plane {
                data: &data,
                stride: usize::MAX
            };
            format.planes()
        ];
        assert!(Image::new(info(format, 2, 8), &huge).is_err(), "{format:?} stride overflow");
        for count in (0..=4).filter(|&n| n != format.planes()) {
            let planes = vec![plane; count];
            assert!(Image::new(info(format, 2, 2), &planes).is_err(), "{format:?} with {count} planes");
        }
    }
}

#[test]
fn errors_say_operation_expected_and_got() {
    let data = [0u8; 10];
    let planes = [Plane { data: &data, stride: 4 }, Plane { data: &data, stride: 4 }];
    let error = Image::new(info(PixelFormat::Nv12, 4, 4), &planes).expect_err("plane 0 needs 16 bytes");
    assert_eq!(
        error.to_string(),
        "Image::new: plane 0 of Nv12 4x4 needs 16 bytes at stride 4, got 10"
    );
}

#[test]
fn a_writable_view_reads_the_same_bytes() {
    for format in FORMATS {
        let mut frame = Frame::noise(format, 7, 5, 3, 9);
        let copy = frame.clone();
        let view = frame.view_mut();
        let read = view.as_image();
        assert_eq!(read.planes().len(), format.planes());
        for (plane, want) in read.planes().iter().zip(&copy.planes) {
            assert_eq!(plane.data, want.as_slice());
        }
    }
}
