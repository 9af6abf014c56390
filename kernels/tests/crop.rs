//! Crops against the plain definition, against known answers, and against bad arguments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout, crop_affine, crop_affine_u8, reference};
use nullface_kernels::{Affine, KernelError, PixelFormat};
use support::{FORMATS, Frame, Noise, SIZES};

/// Two orders of summation in `f32` over at most a few thousand taps of values up to 1023.
const SUM_TOLERANCE: f32 = 0.05;

const PLAIN: CropSpec = CropSpec {
    width: 9,
    height: 7,
    layout: Layout::Nchw,
    order: ChannelOrder::Rgb,
    scale: 1.0,
    bias: 0.0,
};

/// Reducing, enlarging, shifted, mirrored, turned, sheared, far outside.
fn maps(width: u32, height: u32, noise: &mut Noise) -> Vec<Affine> {
    let (w, h) = (width as f32 / 9.0, height as f32 / 7.0);
    let (sin, cos) = noise.between(-3.0, 3.0).sin_cos();
    let turned = |s: f32| Affine {
        m: [s * cos, -s * sin, w, s * sin, s * cos, h],
    };
    vec![
        Affine::IDENTITY,
        Affine::scale_shift(w, h, 0.0, 0.0),
        Affine::scale_shift(2.0, 2.0, -3.0, 1.0),
        Affine::scale_shift(-w, h, width as f32, 0.5),
        Affine::scale_shift(0.3, 0.41, 1.7, 0.2),
        Affine::scale_shift(noise.between(0.1, 6.0), noise.between(0.1, 6.0), noise.between(-9.0, 9.0), 2.0),
        turned(0.4),
        turned(1.0),
        turned(noise.between(1.0, 4.0)),
        turned(noise.between(4.0, 20.0)),
        Affine {
            m: [1.4, 0.9, -2.0, 0.1, 3.7, 1.0],
        },
        Affine {
            m: [1.0, 0.1, 1000.0, 0.1, 1.0, -900.0],
        },
    ]
}

#[test]
fn the_fast_path_is_the_reference_for_all_formats_sizes_and_maps() {
    let mut compared = 0;
    for format in FORMATS {
        for (width, height) in SIZES {
            let mut noise = Noise(u64::from(width * 131 + height));
            let frame = Frame::noise(format, width, height, noise.below(6) as usize, u64::from(width));
            for map in maps(width, height, &mut noise) {
                for (layout, order) in [(Layout::Nchw, ChannelOrder::Bgr), (Layout::Nhwc, ChannelOrder::Rgb)] {
                    let spec = CropSpec {
                        layout,
                        order,
                        scale: 2.0,
                        bias: -127.5,
                        ..PLAIN
                    };
                    let (mut fast, mut slow) = (vec![f32::NAN; 189], vec![f32::NAN; 189]);
                    crop_affine(&frame.view(), &map, &spec, &mut fast).expect("arguments are valid");
                    reference::crop_affine(&frame.view(), &map, &spec, &mut slow);
                    for (i, (a, b)) in fast.iter().zip(&slow).enumerate() {
                        assert!(
                            (a - b).abs() <= 2.0 * SUM_TOLERANCE,
                            "{format:?} {width}x{height} {map:?} value {i}: {a} {b}"
                        );
                        compared += 1;
                    }
                }
                let (mut fast, mut slow) = (vec![0; 189], vec![0; 189]);
                crop_affine_u8(&frame.view(), &map, 9, 7, &mut fast).expect("arguments are valid");
                reference::crop_affine_u8(&frame.view(), &map, 9, &mut slow);
                assert!(
                    fast.iter().zip(&slow).all(|(a, b): (&u8, &u8)| a.abs_diff(*b) <= 1),
                    "{format:?} {map:?}"
                );
            }
        }
    }
    assert!(compared > 300_000);
}

#[test]
fn large_crops_in_parallel_equal_the_reference() {
    for (format, layout) in [(PixelFormat::P010Le, Layout::Nchw), (PixelFormat::Yuy2, Layout::Nhwc)] {
        // More than one and a half million pixels read, few written: split, and quick to check.
        let frame = Frame::noise(format, 1603, 1001, 5, 2);
        for map in [
            Affine::scale_shift(8.1, 8.07, 3.0, -2.0),
            Affine {
                m: [7.1, 3.3, 5.0, -3.3, 7.1, 390.0],
            },
        ] {
            let spec = CropSpec {
                width: 197,
                height: 127,
                layout,
                ..PLAIN
            };
            assert!(map.det() * 197.0 * 127.0 > 1_500_000.0);
            let (mut fast, mut slow) = (vec![0.0; 3 * 197 * 127], vec![0.0; 3 * 197 * 127]);
            crop_affine(&frame.view(), &map, &spec, &mut fast).expect("arguments are valid");
            reference::crop_affine(&frame.view(), &map, &spec, &mut slow);
            let worst = fast.iter().zip(&slow).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= SUM_TOLERANCE, "{format:?} {map:?} {layout:?}: {worst}");
        }
    }
}

#[test]
fn the_identity_gives_the_frame_and_half_size_gives_area_means() {
    let frame = Frame::noise(PixelFormat::Rgb, 18, 14, 4, 11);
    let mut out = vec![0; 18 * 14 * 3];
    crop_affine_u8(&frame.view(), &Affine::IDENTITY, 18, 14, &mut out).expect("arguments are valid");
    for y in 0..14 {
        assert_eq!(out[y * 54..(y + 1) * 54], frame.planes[0][y * frame.strides[0]..][..54]);
    }
    let mut half = vec![0.0; 9 * 7 * 3];
    crop_affine(&frame.view(), &Affine::scale_shift(2.0, 2.0, 0.0, 0.0), &PLAIN, &mut half).expect("arguments are valid");
    for y in 0..7 {
        for x in 0..9 {
            for c in 0..3 {
                let at = |dx: usize, dy: usize| f32::from(out[((2 * y + dy) * 18 + 2 * x + dx) * 3 + c]);
                let want = (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4.0;
                assert!((half[(c * 7 + y) * 9 + x] - want).abs() < 1e-3);
            }
        }
    }
}

#[test]
fn a_flat_colour_comes_back_from_every_format_under_every_map() {
    // Rounding of 8-bit codes: half a code of chroma is about one step of blue, and luma adds half.
    const CODE_TOLERANCE: f32 = 2.0;
    let rgb = [201u8, 120, 45];
    for format in FORMATS {
        let frame = Frame::filled(format, 33, 21, rgb);
        for map in maps(33, 21, &mut Noise(4)) {
            let mut out = vec![0.0; 189];
            crop_affine(&frame.view(), &map, &PLAIN, &mut out).expect("arguments are valid");
            for (i, v) in out.iter().enumerate() {
                assert!((v - f32::from(rgb[i / 63])).abs() <= CODE_TOLERANCE, "{format:?} {map:?}: {v}");
            }
        }
    }
}

#[test]
fn a_quarter_turn_moves_every_pixel_to_its_place_with_no_edge_lost() {
    let frame = Frame::noise(PixelFormat::Rgb, 6, 6, 0, 3);
    let map = Affine {
        m: [0.0, -1.0, 6.0, 1.0, 0.0, 0.0],
    };
    let mut out = vec![0; 108];
    crop_affine_u8(&frame.view(), &map, 6, 6, &mut out).expect("arguments are valid");
    for y in 0..6 {
        for x in 0..6 {
            let source = (x * 6 + 5 - y) * 3;
            assert_eq!(out[(y * 6 + x) * 3..][..3], frame.planes[0][source..source + 3], "{x},{y}");
        }
    }
}

#[test]
fn fine_stripes_vanish_when_reduced_instead_of_aliasing() {
    let mut frame = Frame::filled(PixelFormat::Nv12, 240, 240, [0; 3]);
    for s in frame.samples().iter().filter(|s| s.component == 0) {
        frame.set_code(s, if s.x % 2 == 0 { 16 } else { 235 });
    }
    let (sin, cos) = 0.3f32.sin_cos();
    for map in [
        Affine::scale_shift(5.0, 5.0, 60.0, 60.0),
        Affine {
            m: [5.0 * cos, -5.0 * sin, 90.0, 5.0 * sin, 5.0 * cos, 60.0],
        },
        Affine {
            m: [9.0 * cos, -9.0 * sin, 90.0, 9.0 * sin, 9.0 * cos, 60.0],
        },
    ] {
        let mut out = vec![0.0; 189];
        crop_affine(&frame.view(), &map, &PLAIN, &mut out).expect("arguments are valid");
        for v in out {
            assert!((v - 127.5).abs() < 30.0, "{map:?}: {v}");
        }
    }
}

#[test]
fn bad_arguments_are_refused_before_anything_is_written() {
    let frame = Frame::noise(PixelFormat::Nv12, 16, 16, 0, 1);
    let refused = |map: Affine, spec: CropSpec, len: usize| {
        let mut out = vec![7.0; len];
        let result = crop_affine(&frame.view(), &map, &spec, &mut out);
        assert!(matches!(result, Err(KernelError::Argument { .. })), "{map:?} {spec:?} {len}");
        assert!(out.iter().all(|&v| v == 7.0));
        let mut bytes = vec![7u8; len];
        if spec.scale.is_finite() && spec.bias.is_finite() {
            assert!(crop_affine_u8(&frame.view(), &map, spec.width, spec.height, &mut bytes).is_err());
            assert!(bytes.iter().all(|&v| v == 7));
        }
    };
    for i in 0..6 {
        for bad in [f32::NAN, f32::INFINITY, 1e30] {
            let mut map = Affine::IDENTITY;
            map.m[i] = bad;
            refused(map, PLAIN, 189);
        }
    }
    refused(
        Affine {
            m: [1.0, 2.0, 0.0, 2.0, 4.0, 0.0],
        },
        PLAIN,
        189,
    );
    refused(Affine::scale_shift(0.0, 0.0, 3.0, 3.0), PLAIN, 189);
    for len in [0, 188, 190, 63] {
        refused(Affine::IDENTITY, PLAIN, len);
    }
    refused(Affine::IDENTITY, CropSpec { width: 0, ..PLAIN }, 0);
    refused(Affine::IDENTITY, CropSpec { height: 0, ..PLAIN }, 0);
    refused(
        Affine::IDENTITY,
        CropSpec {
            width: usize::MAX,
            height: 3,
            ..PLAIN
        },
        189,
    );
    refused(Affine::IDENTITY, CropSpec { scale: f32::NAN, ..PLAIN }, 189);
    refused(
        Affine::IDENTITY,
        CropSpec {
            bias: f32::INFINITY,
            ..PLAIN
        },
        189,
    );
}
