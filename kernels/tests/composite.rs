//! Edits put back into frames: nothing outside the mask, everything inside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use nullface_kernels::composite::{blend_crop, blend_delta, reference};
use nullface_kernels::crop::crop_affine_u8;
use nullface_kernels::{Affine, KernelError, PixelFormat, RegionMask};
use support::{FORMATS, Frame, Noise, SIZES, assert_untouched, random_mask};

/// The fast path rounds to sixteenths of a code, then to codes; the definition rounds once.
const CODE_TOLERANCE: u32 = 1;

const SIDE: usize = 12;

fn maps(noise: &mut Noise) -> Vec<Affine> {
    let (sin, cos) = noise.between(-3.0, 3.0).sin_cos();
    let turned = |s: f32| Affine {
        m: [s * cos, -s * sin, 4.0, s * sin, s * cos, 3.0],
    };
    vec![
        Affine::IDENTITY,
        turned(0.3),
        turned(1.0),
        turned(2.7),
        Affine::scale_shift(0.5, 3.3, -2.0, 1.0),
    ]
}

fn assert_close(fast: &Frame, slow: &Frame, what: &str) {
    for s in fast.samples() {
        assert!(fast.code(&s).abs_diff(slow.code(&s)) <= CODE_TOLERANCE, "{what}: {s:?}");
    }
}

#[test]
fn nothing_outside_the_mask_changes_and_the_fast_path_is_the_reference() {
    let (mut kept, mut changed) = (0, 0);
    for format in FORMATS {
        for (width, height) in SIZES {
            for seed in 0..4u64 {
                let mut noise = Noise(seed * 77 + u64::from(width));
                let before = Frame::noise(format, width, height, (seed % 4) as usize * 3, seed);
                let mask = random_mask(width, height, &mut noise);
                let crop: Vec<u8> = (0..3 * SIDE * SIDE).map(|_| noise.next() as u8).collect();
                let delta: Vec<f32> = (0..3 * SIDE * SIDE).map(|_| noise.between(-300.0, 300.0)).collect();
                for map in maps(&mut noise) {
                    let what = format!("{format:?} {width}x{height} seed {seed} {map:?}");
                    let (mut fast, mut slow) = (before.clone(), before.clone());
                    blend_crop(&mut fast.view_mut(), &mask, &crop, SIDE, SIDE, &map).expect("valid");
                    reference::blend_crop(&mut slow.view_mut(), &mask, &crop, SIDE, SIDE, &map).expect("valid");
                    assert_close(&fast, &slow, &what);
                    kept += assert_untouched(&before, &fast, &mask, &what);
                    changed += usize::from(fast != before);
                    let (mut fast, mut slow) = (before.clone(), before.clone());
                    blend_delta(&mut fast.view_mut(), &mask, &delta, SIDE, SIDE, &map).expect("valid");
                    reference::blend_delta(&mut slow.view_mut(), &mask, &delta, SIDE, SIDE, &map).expect("valid");
                    assert_close(&fast, &slow, &what);
                    kept += assert_untouched(&before, &fast, &mask, &what);
                    changed += usize::from(fast != before);
                }
            }
        }
    }
    assert!(kept > 100_000 && changed > 1500, "{kept} kept, {changed} changed");
}

#[test]
fn large_regions_in_parallel_equal_the_reference() {
    for format in [PixelFormat::Nv12, PixelFormat::I42010Le, PixelFormat::Yuy2, PixelFormat::Bgrx] {
        let before = Frame::noise(format, 601, 503, 3, 5);
        let mask = RegionMask::superellipse([300.0, 250.0], [310.0, 260.0], 0.3, 2.5, 9.0, 601, 503).expect("inside");
        assert!(mask.alpha.len() >= 1 << 18, "large enough to be split");
        let mut noise = Noise(8);
        let crop: Vec<u8> = (0..3 * 90 * 70).map(|_| noise.next() as u8).collect();
        let map = Affine {
            m: [0.2, 0.05, 1.0, -0.05, 0.2, 15.0],
        };
        let (mut fast, mut slow) = (before.clone(), before.clone());
        blend_crop(&mut fast.view_mut(), &mask, &crop, 90, 70, &map).expect("valid");
        reference::blend_crop(&mut slow.view_mut(), &mask, &crop, 90, 70, &map).expect("valid");
        assert_close(&fast, &slow, &format!("{format:?}"));
    }
}

#[test]
fn where_the_mask_is_full_nothing_of_the_old_frame_is_left() {
    for format in FORMATS {
        let mut noise = Noise(21);
        let crop: Vec<u8> = (0..3 * SIDE * SIDE).map(|_| noise.next() as u8).collect();
        let mut mask = RegionMask {
            x: 3,
            y: 2,
            width: 21,
            height: 17,
            alpha: vec![255; 21 * 17],
        };
        mask.alpha[40] = 100;
        let mut first = Frame::noise(format, 31, 25, 1, 1);
        let mut second = Frame::noise(format, 31, 25, 1, 2);
        second.info = first.info;
        for frame in [&mut first, &mut second] {
            blend_crop(
                &mut frame.view_mut(),
                &mask,
                &crop,
                SIDE,
                SIDE,
                &Affine::scale_shift(0.4, 0.5, 0.0, 0.0),
            )
            .expect("valid");
        }
        let mut compared = 0;
        for s in first.samples() {
            if s.alphas(&first, &mask).0 == 255 {
                assert_eq!(first.code(&s), second.code(&s), "{format:?} {s:?}");
                compared += 1;
            }
        }
        assert!(compared > 300);
    }
}

#[test]
fn a_crop_put_back_where_it_came_from_changes_codes_by_one_at_most() {
    for format in FORMATS {
        // Colours inside the gamut: others clamp on the way out, as they must.
        let mut frame = Frame::filled(format, 24, 18, [120, 120, 120]);
        let (unit, yuv) = (if frame.samples()[0].bytes == 2 { 4 } else { 1 }, format.is_yuv());
        let mut noise = Noise(6);
        for s in frame.samples() {
            let spread = if yuv && s.component > 0 { 24 } else { 60 };
            frame.set_code(&s, (128 - spread / 2 + noise.below(spread)) * unit);
        }
        let before = frame.clone();
        let mut crop = vec![0; 24 * 18 * 3];
        crop_affine_u8(&frame.view(), &Affine::IDENTITY, 24, 18, &mut crop).expect("valid");
        blend_crop(&mut frame.view_mut(), &RegionMask::full(24, 18), &crop, 24, 18, &Affine::IDENTITY).expect("valid");
        for s in frame.samples() {
            let (got, want) = (frame.code(&s), before.code(&s));
            // Crops are 8-bit: a ten-bit code may move by half of four, plus rounding.
            assert!(
                got.abs_diff(want) <= if unit == 4 { 3 } else { 1 },
                "{format:?} {s:?}: {got} for {want}"
            );
        }
    }
}

#[test]
fn a_difference_of_zero_changes_no_code_and_its_sign_is_kept() {
    for format in FORMATS {
        let before = Frame::noise(format, 23, 17, 2, 4);
        let mask = RegionMask::full(23, 17);
        let mut same = before.clone();
        blend_delta(
            &mut same.view_mut(),
            &mask,
            &[0.0; 12],
            2,
            2,
            &Affine::scale_shift(0.1, 0.1, 0.0, 0.0),
        )
        .expect("valid");
        for s in before.samples() {
            assert_eq!(before.code(&s), same.code(&s), "{format:?} {s:?}");
        }
        let grey = Frame::filled(format, 23, 17, [128; 3]);
        for (delta, brighter) in [(20.0, true), (-20.0, false)] {
            let mut frame = grey.clone();
            blend_delta(
                &mut frame.view_mut(),
                &mask,
                &[delta; 12],
                2,
                2,
                &Affine::scale_shift(0.1, 0.1, 0.0, 0.0),
            )
            .expect("valid");
            for s in grey.samples().iter().filter(|s| s.component == 0 || !format.is_yuv()) {
                assert_eq!(frame.code(s) > grey.code(s), brighter, "{format:?}");
                assert_ne!(frame.code(s), grey.code(s), "{format:?}");
            }
        }
    }
}

#[test]
fn bad_arguments_are_refused_before_anything_is_written() {
    let before = Frame::noise(PixelFormat::Nv12, 16, 16, 1, 1);
    let good = RegionMask::full(16, 16);
    let short = RegionMask {
        alpha: vec![255; 255],
        ..good.clone()
    };
    let outside = RegionMask { x: 1, ..good.clone() };
    let mut flat = Vec::new();
    for i in 0..6 {
        for bad in [f32::NAN, f32::INFINITY, -1e30] {
            let mut map = Affine::IDENTITY;
            map.m[i] = bad;
            flat.push(map);
        }
    }
    flat.push(Affine::scale_shift(0.0, 1.0, 0.0, 0.0));
    let mut cases: Vec<(&RegionMask, usize, usize, usize, Affine)> = vec![
        (&short, 12, 2, 2, Affine::IDENTITY),
        (&outside, 12, 2, 2, Affine::IDENTITY),
        (&good, 11, 2, 2, Affine::IDENTITY),
        (&good, 13, 2, 2, Affine::IDENTITY),
        (&good, 0, 0, 2, Affine::IDENTITY),
        (&good, 0, 2, 0, Affine::IDENTITY),
        (&good, 12, usize::MAX, 2, Affine::IDENTITY),
    ];
    cases.extend(flat.into_iter().map(|map| (&good, 12, 2, 2, map)));
    for (mask, len, w, h, map) in cases {
        for plain in [false, true] {
            let mut frame = before.clone();
            let (bytes, floats) = (vec![9u8; len], vec![9.0f32; len]);
            let (a, b) = if plain {
                (
                    reference::blend_crop(&mut frame.view_mut(), mask, &bytes, w, h, &map),
                    reference::blend_delta(&mut frame.view_mut(), mask, &floats, w, h, &map),
                )
            } else {
                (
                    blend_crop(&mut frame.view_mut(), mask, &bytes, w, h, &map),
                    blend_delta(&mut frame.view_mut(), mask, &floats, w, h, &map),
                )
            };
            assert!(matches!(a, Err(KernelError::Argument { .. })), "{len} {w}x{h} {map:?}");
            assert!(matches!(b, Err(KernelError::Argument { .. })), "{len} {w}x{h} {map:?}");
            assert_eq!(frame, before);
        }
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut frame = before.clone();
        let mut delta = [1.0; 12];
        delta[7] = bad;
        assert!(blend_delta(&mut frame.view_mut(), &good, &delta, 2, 2, &Affine::IDENTITY).is_err());
        assert_eq!(frame, before);
    }
}
