//! Masks: full inside, a ramp outside, never beyond the frame.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use nullface_kernels::RegionMask;
use nullface_kernels::mask::{Superellipse, reference};
use proptest::prelude::*;
use support::Noise;

/// Rounding of the ramp: the two paths add in another order.
const RAMP_TOLERANCE: u8 = 1;

fn star(noise: &mut Noise, width: f32, height: f32, corners: usize) -> Vec<[f32; 2]> {
    (0..corners)
        .map(|_| [noise.between(-0.3 * width, 1.3 * width), noise.between(-0.3 * height, 1.3 * height)])
        .collect()
}

/// Whether a point lies within rounding of an edge, where either answer is right.
fn on_edge(points: &[[f32; 2]], p: [f32; 2]) -> bool {
    points.iter().zip(points.iter().cycle().skip(1)).any(|(a, b)| {
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let t = (((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / (dx * dx + dy * dy).max(1e-9)).clamp(0.0, 1.0);
        (p[0] - a[0] - t * dx).hypot(p[1] - a[1] - t * dy) < 1e-2
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_scan_line_mask_is_the_reference_at_every_pixel_of_the_frame(
        seed in any::<u64>(), corners in 3usize..12, feather in 0f32..14.0,
    ) {
        let mut noise = Noise(seed);
        let (width, height) = (1 + noise.below(50), 1 + noise.below(50));
        let points = star(&mut noise, width as f32, height as f32, corners);
        let mask = RegionMask::polygon(&points, feather, width, height).unwrap_or_default();
        for y in 0..height {
            for x in 0..width {
                let p = [x as f32 + 0.5, y as f32 + 0.5];
                let want = reference::alpha_of(&points, feather, p);
                let got = mask.alpha_at(i64::from(x), i64::from(y));
                prop_assert!(
                    got.abs_diff(want) <= RAMP_TOLERANCE || on_edge(&points, p),
                    "{x},{y}: {got} for {want}, {points:?} feather {feather}"
                );
            }
        }
        prop_assert!(mask.x >= 0 && mask.y >= 0);
        prop_assert!(mask.x as u32 + mask.width <= width && mask.y as u32 + mask.height <= height);
        prop_assert_eq!(mask.alpha.len(), (mask.width * mask.height) as usize);
    }

    #[test]
    fn the_ramp_lies_outside_and_ends_within_the_feather(seed in any::<u64>(), feather in 1f32..20.0) {
        let mut noise = Noise(seed);
        let (x0, y0) = (noise.between(20.0, 40.0), noise.between(20.0, 40.0));
        let (x1, y1) = (x0 + noise.between(1.0, 30.0), y0 + noise.between(1.0, 30.0));
        let mask = RegionMask::polygon(&[[x0, y0], [x1, y0], [x1, y1], [x0, y1]], feather, 100, 100).expect("inside");
        for y in 0..100u32 {
            for x in 0..100u32 {
                let (cx, cy) = (x as f32 + 0.5, y as f32 + 0.5);
                let d = (x0 - cx).max(cx - x1).max(0.0).hypot((y0 - cy).max(cy - y1).max(0.0));
                let a = mask.alpha_at(i64::from(x), i64::from(y));
                if cx > x0 && cx < x1 && cy > y0 && cy < y1 {
                    prop_assert_eq!(a, 255);
                } else if d >= feather {
                    prop_assert_eq!(a, 0);
                } else if d > 0.1 && d < feather * 0.9 {
                    prop_assert!(a > 0 && (a < 255 || d < 0.2 * feather), "{} at {}", a, d);
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_or_out_of_range_is_refused_and_leaves_an_empty_mask() {
    let triangle = [[1.0, 1.0], [8.0, 1.0], [4.0, 8.0]];
    let mut mask = RegionMask::full(4, 4);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for i in 0..6 {
            let mut points = triangle;
            points[i / 2][i % 2] = bad;
            assert!(mask.polygon_into(&points, 1.0, 10, 10).is_err());
            assert!(mask.is_empty() && mask.width == 0);
            assert_eq!(RegionMask::polygon(&points, 1.0, 10, 10), None);
        }
    }
    for feather in [f32::NAN, -0.1, f32::INFINITY, 1e9] {
        assert!(mask.polygon_into(&triangle, feather, 10, 10).is_err(), "{feather}");
    }
    for (w, h) in [(0, 10), (10, 0), (u32::MAX, 10)] {
        assert!(mask.polygon_into(&triangle, 1.0, w, h).is_err());
    }
    let good = Superellipse {
        center_px: [5.0, 5.0],
        half_axes_px: [3.0, 2.0],
        angle_rad: 0.0,
        exponent: 2.0,
    };
    assert!(mask.superellipse_into(&good, 0.0, 10, 10).expect("valid"));
    for bad in [
        Superellipse {
            center_px: [f32::NAN, 5.0],
            ..good
        },
        Superellipse {
            half_axes_px: [0.0, 2.0],
            ..good
        },
        Superellipse {
            half_axes_px: [3.0, -2.0],
            ..good
        },
        Superellipse {
            angle_rad: f32::INFINITY,
            ..good
        },
        Superellipse { exponent: 0.5, ..good },
        Superellipse {
            exponent: f32::NAN,
            ..good
        },
    ] {
        assert!(mask.superellipse_into(&bad, 0.0, 10, 10).is_err(), "{bad:?}");
        assert!(mask.is_empty());
    }
}

#[test]
fn nothing_inside_the_frame_is_none_not_an_error() {
    let mut mask = RegionMask::full(4, 4);
    let outside = [[100.0, 100.0], [120.0, 100.0], [110.0, 120.0]];
    assert_eq!(mask.polygon_into(&outside, 3.0, 50, 50), Ok(false));
    assert!(mask.is_empty());
    assert_eq!(RegionMask::polygon(&outside, 3.0, 50, 50), None);
    assert_eq!(RegionMask::polygon(&[], 3.0, 50, 50), None);
    assert_eq!(RegionMask::polygon(&outside[..2], 3.0, 50, 50), None);
    // Far but finite points are no reason to refuse: the part inside is covered.
    let wide = [[-1e30, -1e30], [1e30, -1e30], [1e30, 1e30], [-1e30, 1e30]];
    let mask = RegionMask::polygon(&wide, 0.0, 5, 5).expect("covers the frame");
    assert_eq!(mask, RegionMask::full(5, 5));
}

#[test]
fn a_buffer_is_used_again() {
    let mut mask = RegionMask::default();
    let square = |s: f32| [[1.0, 1.0], [1.0 + s, 1.0], [1.0 + s, 1.0 + s], [1.0, 1.0 + s]];
    assert_eq!(mask.polygon_into(&square(40.0), 2.0, 64, 64), Ok(true));
    let (buffer, capacity) = (mask.alpha.as_ptr(), mask.alpha.capacity());
    assert_eq!(mask.polygon_into(&square(20.0), 2.0, 64, 64), Ok(true));
    assert_eq!((mask.alpha.as_ptr(), mask.alpha.capacity()), (buffer, capacity));
    assert_eq!(Some(mask), RegionMask::polygon(&square(20.0), 2.0, 64, 64));
}

#[test]
fn everything_inside_a_superellipse_is_full_and_the_ramp_is_near() {
    for exponent in [1.0, 2.0, 2.5, 4.0, 8.0] {
        for angle in [0.0f32, 0.4, -1.1] {
            let mask = RegionMask::superellipse([60.0, 50.0], [40.0, 25.0], angle, exponent, 4.0, 120, 100).expect("inside");
            let (sin, cos) = angle.sin_cos();
            let mut full = 0;
            for y in 0..100 {
                for x in 0..120 {
                    let (dx, dy) = (x as f32 + 0.5 - 60.0, y as f32 + 0.5 - 50.0);
                    let (u, v) = ((dx * cos + dy * sin) / 40.0, (dy * cos - dx * sin) / 25.0);
                    let rho = (u.abs().powf(exponent) + v.abs().powf(exponent)).powf(1.0 / exponent);
                    let a = mask.alpha_at(x, y);
                    if rho <= 1.0 {
                        assert_eq!(a, 255, "{exponent} {angle}: {x},{y} at {rho}");
                        full += 1;
                    } else if rho > 1.25 {
                        assert_eq!(a, 0, "{exponent} {angle}: {x},{y} at {rho}");
                    }
                }
            }
            assert!(full > 1000);
        }
    }
}

#[test]
fn union_is_the_largest_alpha_and_fails_closed_on_a_broken_mask() {
    let mut noise = Noise(3);
    for _ in 0..50 {
        let masks: Vec<RegionMask> = (0..3).map(|_| support::random_mask(30, 20, &mut noise)).collect();
        let union = RegionMask::union(&masks).expect("masks have a size");
        for y in -1..21 {
            for x in -1..31 {
                let want = masks.iter().map(|m| m.alpha_at(x, y)).max();
                assert_eq!(Some(union.alpha_at(x, y)), want);
            }
        }
    }
    assert_eq!(RegionMask::union(&[]), None);
    assert_eq!(RegionMask::union(&[RegionMask::default()]), None);
    let broken = RegionMask {
        x: 1,
        y: 1,
        width: 2,
        height: 2,
        alpha: vec![0; 3],
    };
    assert_eq!(RegionMask::union(&[broken]).map(|m| m.alpha), Some(vec![255; 4]));
}

#[test]
fn coverage_of_a_box_is_the_share_of_covered_centres() {
    let mask = RegionMask::polygon(&[[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0]], 0.0, 40, 40).expect("inside");
    let share = |x0, y0, x1, y1| mask.coverage_of_box(x0, y0, x1, y1);
    assert_eq!(share(10.0, 10.0, 20.0, 20.0), 1.0);
    assert_eq!(share(12.0, 13.0, 14.0, 15.0), 1.0);
    assert_eq!(share(0.0, 10.0, 20.0, 20.0), 0.5);
    assert_eq!(share(0.0, 0.0, 40.0, 40.0), 100.0 / 1600.0);
    assert_eq!(share(-10.0, 10.0, 20.0, 20.0), 10.0 / 30.0);
    assert_eq!(share(30.0, 30.0, 40.0, 40.0), 0.0);
    assert_eq!(share(20.0, 20.0, 10.0, 10.0), 0.0);
    assert_eq!(share(f32::NAN, 10.0, 20.0, 20.0), 0.0);
}
