//! Covered regions: what is outside stays, what is inside is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use nullface_kernels::cover::{self, reference};
use nullface_kernels::image::ImageMut;
use nullface_kernels::{KernelError, RegionMask};
use proptest::prelude::*;
use support::{FORMATS, Frame, Noise, SIZES, assert_untouched, random_mask};

type Operator = fn(&mut ImageMut<'_>, &RegionMask, u32) -> Result<(), KernelError>;

/// Operator, reference, whether it keeps cell means.
const OPERATORS: [(&str, Operator, Operator); 3] = [
    (
        "solid",
        |i, m, n| cover::solid(i, m, color(n)),
        |i, m, n| reference::solid(i, m, color(n)),
    ),
    ("pixelate", cover::pixelate, reference::pixelate),
    ("blur", cover::blur, reference::blur),
];

fn color(n: u32) -> [u8; 3] {
    [(n * 37) as u8, (n * 91) as u8, (n * 13 + 5) as u8]
}

#[test]
fn nothing_outside_the_mask_changes_and_the_fast_path_is_the_reference_bit_for_bit() {
    let (mut kept, mut changed) = (0, 0);
    for format in FORMATS {
        for (width, height) in SIZES {
            for seed in 0..12u64 {
                let mut noise = Noise(seed ^ u64::from(width) << 8);
                let before = Frame::noise(format, width, height, (seed % 4) as usize * 5, seed);
                let mask = random_mask(width, height, &mut noise);
                let cells = noise.below(10);
                for (name, operator, plain) in OPERATORS {
                    let what = format!("{name}({cells}) {format:?} {width}x{height} seed {seed}");
                    let (mut fast, mut slow) = (before.clone(), before.clone());
                    operator(&mut fast.view_mut(), &mask, cells).expect("arguments are valid");
                    plain(&mut slow.view_mut(), &mask, cells).expect("arguments are valid");
                    assert_eq!(fast, slow, "{what}");
                    kept += assert_untouched(&before, &fast, &mask, &what);
                    changed += usize::from(before != fast);
                }
            }
        }
    }
    assert!(kept > 100_000 && changed > 1500, "{kept} kept, {changed} changed");
}

#[test]
fn large_regions_in_parallel_equal_the_reference() {
    for format in FORMATS {
        let before = Frame::noise(format, 1101, 1003, 3, 5);
        let mask = RegionMask::superellipse([550.0, 500.0], [600.0, 520.0], 0.3, 2.5, 12.0, 1101, 1003).expect("inside");
        assert!(mask.alpha.len() >= 1 << 20, "large enough to be split");
        for (name, operator, plain) in OPERATORS {
            let (mut fast, mut slow) = (before.clone(), before.clone());
            operator(&mut fast.view_mut(), &mask, 8).expect("arguments are valid");
            plain(&mut slow.view_mut(), &mask, 8).expect("arguments are valid");
            assert!(fast == slow, "{name} {format:?}");
        }
    }
}

#[test]
fn solid_writes_the_colour_wherever_the_mask_is_full() {
    for format in FORMATS {
        let mut frame = Frame::noise(format, 19, 13, 2, 8);
        let want = nullface_kernels::color::Coder::new(&frame.info).encode_codes([200, 30, 90]);
        cover::solid(&mut frame.view_mut(), &RegionMask::full(19, 13), [200, 30, 90]).expect("mask fits");
        for s in frame.samples() {
            assert_eq!(frame.code(&s), u32::from(want[s.component]), "{format:?} {s:?}");
        }
    }
}

/// Cell borders of one axis, restated from the contract.
fn cell_of(sample: usize, len: usize, cells: usize) -> usize {
    (0..cells).rfind(|i| i * len / cells <= sample).unwrap_or(0)
}

/// Shuffles codes inside each cell of the mask's rectangle: equal means, another picture.
fn shuffled(frame: &Frame, mask: &RegionMask, cells: usize, noise: &mut Noise) -> Frame {
    let mut other = frame.clone();
    let (w, h) = (mask.width as usize, mask.height as usize);
    let long = w.max(h);
    let share = |side: usize| ((cells * side) as f64 / long as f64).round().max(1.0) as usize;
    let mut groups: std::collections::BTreeMap<(usize, usize, usize), Vec<support::Sample>> = Default::default();
    for s in frame.samples() {
        let axis = |at: usize, start: i32, len: usize, sub: usize, n: usize| {
            let (first, end) = (start as usize / sub, (start as usize + len).div_ceil(sub));
            (at >= first && at < end).then(|| cell_of(at - first, end - first, n.min(end - first)))
        };
        let (i, j) = (axis(s.x, mask.x, w, s.sub.0, share(w)), axis(s.y, mask.y, h, s.sub.1, share(h)));
        if let (Some(i), Some(j)) = (i, j) {
            groups.entry((s.component, i, j)).or_default().push(s);
        }
    }
    for group in groups.values() {
        let mut codes: Vec<u32> = group.iter().map(|s| frame.code(s)).collect();
        for i in (1..codes.len()).rev() {
            codes.swap(i, noise.below(i as u32 + 1) as usize);
        }
        for (s, &code) in group.iter().zip(&codes) {
            other.set_code(s, code);
        }
    }
    other
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Irreversible by construction: the output inside depends on the cell means alone.
    #[test]
    fn equal_cell_means_give_equal_output(seed in any::<u64>(), which in 0usize..11, cells in 1u32..=8) {
        let mut noise = Noise(seed);
        let (width, height) = (20 + noise.below(60), 20 + noise.below(60));
        let frame = Frame::noise(FORMATS[which], width, height, 3, seed);
        let (w, h) = (width - noise.below(8), height - noise.below(8));
        let (x, y) = (noise.below(width - w + 1), noise.below(height - h + 1));
        let mut mask = RegionMask { x: x as i32, y: y as i32, width: w, height: h, alpha: vec![255; (w * h) as usize] };
        // A few softer and open pixels: full weight elsewhere must not depend on them.
        for _ in 0..6 {
            mask.alpha[noise.below(w * h) as usize] = noise.below(256) as u8;
        }
        let other = shuffled(&frame, &mask, cells as usize, &mut noise);
        prop_assert!(frame != other);
        for operator in [cover::pixelate, cover::blur] {
            let (mut a, mut b) = (frame.clone(), other.clone());
            operator(&mut a.view_mut(), &mask, cells).expect("arguments are valid");
            operator(&mut b.view_mut(), &mask, cells).expect("arguments are valid");
            let mut compared = 0;
            for s in a.samples() {
                if s.alphas(&a, &mask).0 == 255 {
                    prop_assert_eq!(a.code(&s), b.code(&s), "{:?}", s);
                    compared += 1;
                }
            }
            prop_assert!(compared > 100);
        }
    }
}

#[test]
fn at_most_sixty_four_values_survive_pixelation() {
    for format in FORMATS {
        for cells in [0, 1, 3, 8, 9, u32::MAX] {
            let mut frame = Frame::noise(format, 90, 70, 0, 4);
            cover::pixelate(&mut frame.view_mut(), &RegionMask::full(90, 70), cells).expect("mask fits");
            for component in 0..3 {
                let mut codes: Vec<u32> = frame
                    .samples()
                    .iter()
                    .filter(|s| s.component == component)
                    .map(|s| frame.code(s))
                    .collect();
                codes.sort_unstable();
                codes.dedup();
                let most = cells.clamp(1, 8).pow(2) as usize;
                assert!(codes.len() <= most, "{format:?} cells {cells}: {} values", codes.len());
            }
        }
    }
}

#[test]
fn blur_is_smooth_where_pixelation_has_steps() {
    let mut ramp = Frame::filled(nullface_kernels::PixelFormat::Nv12, 160, 160, [0; 3]);
    for s in ramp.samples().iter().filter(|s| s.component == 0) {
        ramp.set_code(s, 40 + s.x as u32);
    }
    let step = |frame: &Frame| {
        let row = &frame.planes[0][80 * 160..81 * 160];
        row.windows(2).map(|p| p[0].abs_diff(p[1])).max().unwrap_or(0)
    };
    let (mut blocks, mut smooth) = (ramp.clone(), ramp.clone());
    cover::pixelate(&mut blocks.view_mut(), &RegionMask::full(160, 160), 8).expect("mask fits");
    cover::blur(&mut smooth.view_mut(), &RegionMask::full(160, 160), 8).expect("mask fits");
    assert_eq!(step(&blocks), 20);
    assert!(step(&smooth) <= 1 + 1, "{}", step(&smooth));
}

#[test]
fn fill_frame_leaves_nothing_but_the_colour_and_the_padding() {
    for format in FORMATS {
        for (width, height) in SIZES {
            for padding in [0, 7] {
                let before = Frame::noise(format, width, height, padding, 77);
                let mut frame = before.clone();
                cover::fill_frame(&mut frame.view_mut(), [9, 120, 240]);
                let want = nullface_kernels::color::Coder::new(&frame.info).encode_codes([9, 120, 240]);
                for s in frame.samples() {
                    let mut clean = frame.clone();
                    clean.set_code(&s, u32::from(want[s.component]));
                    assert_eq!(clean, frame, "{format:?} {s:?}: code or spare bits");
                }
                for (plane, (bytes, old)) in frame.planes.iter().zip(&before.planes).enumerate() {
                    let (row, _) = format.plane_size(plane, width, height);
                    for (i, (&b, &o)) in bytes.iter().zip(old).enumerate() {
                        let column = i % frame.strides[plane];
                        if column >= row {
                            assert_eq!(b, o, "padding");
                        } else if row == width as usize * 4 && !format.is_yuv() && column % 4 == 3 {
                            assert_eq!(b, 255, "{format:?} alpha or x byte");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn masks_that_do_not_fit_are_refused_before_anything_is_written() {
    let alpha = vec![255; 16];
    let bad = [
        RegionMask {
            x: 0,
            y: 0,
            width: 4,
            height: 4,
            alpha: vec![255; 15],
        },
        RegionMask {
            x: 0,
            y: 0,
            width: 4,
            height: 4,
            alpha: vec![255; 17],
        },
        RegionMask {
            x: -1,
            y: 0,
            width: 4,
            height: 4,
            alpha: alpha.clone(),
        },
        RegionMask {
            x: 0,
            y: -3,
            width: 4,
            height: 4,
            alpha: alpha.clone(),
        },
        RegionMask {
            x: 5,
            y: 0,
            width: 4,
            height: 4,
            alpha: alpha.clone(),
        },
        RegionMask {
            x: 0,
            y: i32::MAX,
            width: 4,
            height: 4,
            alpha,
        },
        RegionMask {
            x: 0,
            y: 0,
            width: u32::MAX,
            height: u32::MAX,
            alpha: Vec::new(),
        },
    ];
    for format in FORMATS {
        let before = Frame::noise(format, 8, 8, 1, 2);
        for mask in &bad {
            for (name, operator, plain) in OPERATORS {
                for operator in [operator, plain] {
                    let mut frame = before.clone();
                    let refused = operator(&mut frame.view_mut(), mask, 4);
                    assert!(matches!(refused, Err(KernelError::Argument { .. })), "{name} {format:?}");
                    assert_eq!(frame, before);
                }
            }
        }
        let mut frame = before.clone();
        for (_, operator, plain) in OPERATORS {
            operator(&mut frame.view_mut(), &RegionMask::default(), 4).expect("an empty mask is no error");
            plain(&mut frame.view_mut(), &RegionMask::default(), 4).expect("an empty mask is no error");
        }
        assert_eq!(frame, before);
    }
}
