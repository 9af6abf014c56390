//! The CUDA sources, run on the processor behind a shim, against the plain definitions.
//!
//! Launches are made forwards and with threads and blocks in reverse order.
//! What this cannot show: memory coherence between blocks, alignment faults, speed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::ffi::c_void;

use half::f16;
use libloading::Symbol;
use nullface_kernels::cuda::args::{
    CompositeArgs, CoverArgs, CoverMode, CropArgs, CropMap, EditArgs, EditFace, Frame as Args, LINE_BLOCK, PIXEL_BLOCK, WeightArgs,
};
use nullface_kernels::cuda::{MaskAt, pad, padded_bytes};
use nullface_kernels::edit_step::{EditOperands, EditStep, Unguided, edit_step, rescale_factor, rescale_factor_stock};
use nullface_kernels::mask::{self, Rect, RegionMask, Weights};
use nullface_kernels::{Affine, composite, cover, crop};
use support::shim::library;
use support::{FORMATS, Frame, Noise, SIZES, assert_untouched, random_mask};

/// Sums in `f32` instead of `f64` over values up to 1023, before the factor 2 of the test.
const CROP_TOLERANCE: f32 = 0.1;
/// Sums in `f32`, rounded once.
const CODE_TOLERANCE: u32 = 1;
/// Order of multiplications, on values of about 10.
const STEP_TOLERANCE: f32 = 2e-4;

/// Launches a kernel; the shim's result.
fn launch_raw<A>(kernel: &str, args: &A, grid: [u32; 3], block: [u32; 3], reverse: bool) -> i32 {
    type Entry = unsafe extern "C" fn(*const c_void, *const u32, *const u32, i32) -> i32;
    type Size = unsafe extern "C" fn() -> usize;
    // SAFETY: both symbols have these types by the shim's HOST_ENTRY.
    let (entry, size): (Symbol<'_, Entry>, Symbol<'_, Size>) = unsafe {
        let get = |p: &str| format!("{p}_{kernel}");
        (
            library().get(get("host").as_bytes()).expect("entry"),
            library().get(get("size").as_bytes()).expect("size"),
        )
    };
    // SAFETY: takes nothing, reads nothing.
    assert_eq!(unsafe { size() }, size_of::<A>(), "{kernel}: layout of the arguments");
    // SAFETY: the arguments have the kernel's layout, and the addresses in them are of buffers that the test keeps alive.
    unsafe { entry((&raw const *args).cast(), grid.as_ptr(), block.as_ptr(), i32::from(reverse)) }
}

fn launch<A>(kernel: &str, args: &A, grid: [u32; 3], block: [u32; 3], reverse: bool) {
    assert_eq!(launch_raw(kernel, args, grid, block, reverse), 0, "{kernel} {grid:?}");
}

fn frame_args(frame: &mut Frame) -> Args {
    let planes: Vec<(u64, usize)> = frame
        .planes
        .iter_mut()
        .zip(&frame.strides)
        .map(|(p, &s)| (p.as_mut_ptr() as u64, s))
        .collect();
    Args::new(&frame.info, &planes).expect("valid frame")
}

fn maps(width: u32, height: u32, noise: &mut Noise) -> Vec<Affine> {
    let (w, h) = (width as f32 / 9.0, height as f32 / 7.0);
    let (sin, cos) = noise.between(-3.0, 3.0).sin_cos();
    let turned = |s: f32| Affine {
        m: [s * cos, -s * sin, w, s * sin, s * cos, h],
    };
    vec![
        Affine::IDENTITY,
        Affine::scale_shift(w, h, 0.0, 0.0),
        Affine::scale_shift(-w, h, width as f32, 0.5),
        turned(0.4),
        turned(noise.between(4.0, 20.0)),
        Affine {
            m: [1.0, 0.1, 1000.0, 0.1, 1.0, -900.0],
        },
    ]
}

#[test]
fn the_shim_waits_at_barriers_and_refuses_divergent_ones() {
    #[repr(C)]
    struct Probe {
        out: u64,
        barrier: i32,
        spare: i32,
    }
    let run = |barrier, reverse| {
        let mut out = -1i32;
        let args = Probe {
            out: (&raw mut out) as u64,
            barrier,
            spare: 0,
        };
        let result = launch_raw("probe", &args, [1, 1, 1], [64, 1, 1], reverse);
        (result, out)
    };
    assert_eq!(run(1, false), (0, 2016));
    assert_eq!(run(1, true), (0, 2016));
    assert_ne!(
        (run(0, false), run(0, true)),
        ((0, 2016), (0, 2016)),
        "without barriers the sum is wrong in one order"
    );
    assert_eq!(run(2, false).0, 2, "a barrier that half of the threads skip");
    assert_eq!(run(1, false), (0, 2016), "and after that a right one again");
    let mut out = 0i32;
    let undeclared = Probe {
        out: (&raw mut out) as u64,
        barrier: 1,
        spare: 0,
    };
    assert_eq!(
        launch_raw("probe_undeclared", &undeclared, [1, 1, 1], [64, 1, 1], false),
        4,
        "a barrier nobody declared"
    );
    assert_eq!(
        launch_raw(
            "probe",
            &Probe {
                out: 0,
                barrier: 0,
                spare: 0
            },
            [0, 1, 1],
            [64, 1, 1],
            false
        ),
        1
    );
}

#[test]
fn crop_affine_is_the_reference_for_all_formats_sizes_and_maps_in_one_launch() {
    let mut compared = 0;
    for format in FORMATS {
        for (width, height) in SIZES {
            let mut noise = Noise(u64::from(width * 131 + height));
            let mut frame = Frame::noise(format, width, height, noise.below(6) as usize, u64::from(width));
            let maps = maps(width, height, &mut noise);
            let (w, h) = (width as f32 / 9.0, height as f32 / 7.0);
            // Enlarged, reduced by much and by little, mirrored, and over every edge.
            let straight =
                [0.3, 1.4, 2.6, 6.5, 40.0, -1.0, -5.3].map(|s: f32| Affine::scale_shift(s * w.min(1.0), s.abs() * h.min(1.0), w * 4.0, -h));
            for (kernel, maps) in [("crop_affine", maps), ("crop_straight", straight.to_vec())] {
                let device: Vec<CropMap> = maps.iter().map(|m| CropMap::new(m).expect("valid")).collect();
                for (bgr, half, interleaved, reverse) in [
                    (false, false, false, false),
                    (true, true, false, true),
                    (true, false, true, true),
                    (false, true, true, false),
                ] {
                    let (mut wide, mut narrow) = (vec![f32::NAN; 189 * maps.len()], vec![f16::NAN; 189 * maps.len()]);
                    let args = CropArgs {
                        frame: frame_args(&mut frame),
                        // In memory, or in the argument itself.
                        maps: if bgr { device.as_ptr() as u64 } else { 0 },
                        few: std::array::from_fn(|i| device.get(i).copied().filter(|_| !bgr).unwrap_or_default()),
                        out: if half {
                            narrow.as_mut_ptr() as u64
                        } else {
                            wide.as_mut_ptr() as u64
                        },
                        width: 9,
                        height: 7,
                        faces: maps.len() as i32,
                        bgr: i32::from(bgr),
                        half: i32::from(half),
                        interleaved: i32::from(interleaved),
                        scale: 2.0,
                        bias: -127.5,
                    };
                    launch(kernel, &args, [1, 1, maps.len() as u32], PIXEL_BLOCK, reverse);
                    if half {
                        wide = narrow.iter().map(|v| v.to_f32()).collect();
                    }
                    let spec = crop::CropSpec {
                        width: 9,
                        height: 7,
                        layout: if interleaved { crop::Layout::Nhwc } else { crop::Layout::Nchw },
                        order: if bgr { crop::ChannelOrder::Bgr } else { crop::ChannelOrder::Rgb },
                        scale: 2.0,
                        bias: -127.5,
                    };
                    for (map, got) in maps.iter().zip(wide.chunks_exact(189)) {
                        let mut want = vec![0.0; 189];
                        crop::reference::crop_affine(&frame.view(), map, &spec, &mut want);
                        for (a, b) in got.iter().zip(&want) {
                            let ulp = if half { 0.126 } else { 0.0 };
                            assert!(
                                (a - b).abs() <= CROP_TOLERANCE + ulp,
                                "{kernel} {format:?} {width}x{height} {map:?}: {a} {b}"
                            );
                            compared += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 800_000, "{compared}");
}

#[test]
fn composite_is_the_reference_and_leaves_the_rest_alone() {
    const SIDE: usize = 12;
    let (mut kept, mut changed) = (0, 0);
    for format in FORMATS {
        for (width, height) in SIZES {
            let mut noise = Noise(u64::from(width) * 77 + u64::from(height));
            let before = Frame::noise(format, width, height, noise.below(4) as usize, 3);
            let mask = random_mask(width, height, &mut noise);
            let bytes: Vec<u8> = (0..3 * SIDE * SIDE).map(|_| noise.next() as u8).collect();
            let delta: Vec<f32> = (0..3 * SIDE * SIDE).map(|_| noise.between(-300.0, 300.0)).collect();
            for map in [
                Affine::IDENTITY,
                Affine::scale_shift(0.5, 3.3, -2.0, 1.0),
                Affine {
                    m: [0.9, -0.8, 4.0, 0.8, 0.9, 3.0],
                },
            ] {
                for adds in [false, true] {
                    let mut want = before.clone();
                    if adds {
                        composite::reference::blend_delta(&mut want.view_mut(), &mask, &delta, SIDE, SIDE, &map).expect("valid");
                    } else {
                        composite::reference::blend_crop(&mut want.view_mut(), &mask, &bytes, SIDE, SIDE, &map).expect("valid");
                    }
                    let run = |reverse| {
                        let mut got = before.clone();
                        let at = if adds { delta.as_ptr() as u64 } else { bytes.as_ptr() as u64 };
                        let (info, frame) = (got.info, frame_args(&mut got));
                        let alpha = mask.alpha.as_ptr() as u64;
                        let args = CompositeArgs::new((&info, frame), (mask.rect(), alpha), (at, SIDE, SIDE), &map, adds).expect("valid");
                        launch("composite", &args, args.grid().expect("not empty"), PIXEL_BLOCK, reverse);
                        got
                    };
                    let got = run(false);
                    let what = format!("{format:?} {width}x{height} {map:?} adds {adds}");
                    assert_eq!(got, run(true), "{what}: order of threads");
                    for s in got.samples() {
                        assert!(got.code(&s).abs_diff(want.code(&s)) <= CODE_TOLERANCE, "{what}: {s:?}");
                    }
                    kept += assert_untouched(&before, &got, &mask, &what);
                    changed += usize::from(got != before);
                }
            }
        }
    }
    assert!(kept > 10_000 && changed > 300, "{kept} {changed}");
}

#[test]
fn weight_mask_is_the_reference_turned_cut_off_and_outside() {
    let mut noise = Noise(21);
    let (mut compared, mut shown) = (0, 0);
    for side in [1, 2, 7, 40] {
        let values: Vec<f32> = (0..side * side).map(|_| noise.between(-0.1, 1.1)).collect();
        for (width, height) in [(64, 47), (7, 5), (1, 1)] {
            for turn in [0.0_f32, 0.7, 3.0] {
                let (sin, cos) = turn.sin_cos();
                let frame_from_square = Affine {
                    m: [
                        1.3 * cos,
                        -1.3 * sin,
                        noise.between(-9.0, 9.0),
                        1.3 * sin,
                        1.3 * cos,
                        noise.between(-9.0, 20.0),
                    ],
                };
                let weights = Weights {
                    values: &values,
                    side,
                    square_from_frame: frame_from_square.inverse().expect("turns"),
                    frame_from_square,
                };
                let mut want = RegionMask::default();
                if !want.weighted_into(&weights, width, height).expect("valid") {
                    continue;
                }
                let fast = want.clone();
                mask::reference::weighted(&mut want, &weights);
                let run = |reverse| {
                    let mut got = vec![77_u8; want.alpha.len()];
                    let at = got.as_mut_ptr() as u64;
                    let mask = MaskAt::packed(want.rect(), at);
                    let args = WeightArgs::new(mask, (values.as_ptr() as u64, side), &weights.square_from_frame);
                    launch("weight_mask", &args, args.grid(), PIXEL_BLOCK, reverse);
                    // The same on borders: nothing beside the rectangle.
                    let (mut wide, mut padded) = (vec![77_u8; padded_bytes(want.rect())], vec![0; padded_bytes(want.rect())]);
                    let mask = MaskAt::padded(want.rect(), wide.as_mut_ptr() as u64);
                    let args = WeightArgs::new(mask, (values.as_ptr() as u64, side), &weights.square_from_frame);
                    launch("weight_mask", &args, args.grid(), PIXEL_BLOCK, reverse);
                    let alpha = got.clone();
                    pad(&RegionMask { alpha, ..want.clone() }, &mut padded);
                    assert_eq!(wide, padded);
                    got
                };
                let got = run(false);
                assert_eq!(got, run(true), "order of threads");
                for ((a, b), c) in got.iter().zip(&want.alpha).zip(&fast.alpha) {
                    assert!(
                        a.abs_diff(*b) <= 1 && c.abs_diff(*b) <= 1,
                        "side {side} {width}x{height} {turn}: {a} {b} {c}"
                    );
                    compared += 1;
                    shown += usize::from(*a > 0);
                }
            }
        }
    }
    assert!(compared > 3_000 && shown > 2_000, "{compared} {shown}");
}

#[test]
fn cover_is_the_reference_bit_for_bit() {
    let mut changed = 0;
    for format in FORMATS {
        for (width, height) in SIZES {
            let mut noise = Noise(u64::from(width) * 7 + u64::from(height));
            let before = Frame::noise(format, width, height, noise.below(4) as usize, 9);
            let mask = random_mask(width, height, &mut noise);
            for mode in [
                CoverMode::Solid([20, 200, 90]),
                CoverMode::Pixelate(8),
                CoverMode::Pixelate(3),
                CoverMode::Blur(8),
                CoverMode::Blur(1),
            ] {
                let mut want = before.clone();
                match mode {
                    CoverMode::Solid(rgb) => cover::reference::solid(&mut want.view_mut(), &mask, rgb),
                    CoverMode::Pixelate(n) => cover::reference::pixelate(&mut want.view_mut(), &mask, n),
                    CoverMode::Blur(n) => cover::reference::blur(&mut want.view_mut(), &mask, n),
                }
                .expect("valid");
                for reverse in [false, true] {
                    let (mut got, mut means) = (before.clone(), vec![u32::MAX; 192]);
                    let (info, frame) = (got.info, frame_args(&mut got));
                    let alpha = mask.alpha.as_ptr() as u64;
                    let args = CoverArgs::new((&info, frame), (mask.rect(), alpha), means.as_mut_ptr() as u64, mode).expect("valid");
                    launch("cover_means", &args, [8, 8, 3], LINE_BLOCK, reverse);
                    launch("cover_apply", &args, args.grid().expect("not empty"), PIXEL_BLOCK, reverse);
                    assert!(got == want, "{format:?} {width}x{height} {mode:?} reverse {reverse}");
                    changed += usize::from(got != before);
                }
            }
        }
    }
    assert!(changed > 500, "{changed}");
}

const STEP: EditStep = EditStep {
    carry: 0.8,
    data: 0.35,
    history: 0.25,
    guidance: -2.5,
    rescale: 1.0,
    alpha: 0.7,
    to_data: (1.3, -0.9),
    pinned: true,
    drop_residual: false,
};

struct Case {
    len: usize,
    half: bool,
    stock: bool,
    rescaled: bool,
    mask: Option<usize>,
    step: EditStep,
}

/// Runs one case for two faces on both sides; the largest difference of state and output.
fn compare_step(case: &Case, noise: &mut Noise) -> (f32, f32) {
    let n = case.len * 2;
    let round = |v: f32| if case.half { f16::from_f32(v).to_f32() } else { v };
    let mut numbers = || (0..n).map(|_| round(noise.between(-2.0, 2.0))).collect::<Vec<f32>>();
    let (x, x_next, r, u, c, delta0, history0) = (numbers(), numbers(), numbers(), numbers(), numbers(), numbers(), numbers());
    let mask: Option<Vec<f32>> = case.mask.map(|m| (0..m).map(|i| [0.0, 1.0, 0.4][i % 3]).collect());
    let halves = |v: &[f32]| v.iter().map(|v| f16::from_f32(*v)).collect::<Vec<f16>>();
    let narrow = [&x, &x_next, &r, &u, &c].map(|v| halves(v));
    let wide = [&x, &x_next, &r, &u, &c];
    let at = |i: usize| {
        if case.half {
            narrow[i].as_ptr() as u64
        } else {
            wide[i].as_ptr() as u64
        }
    };
    let s = &case.step;
    let face = EditFace {
        carry: s.carry,
        data: s.data,
        history: s.history,
        guidance: s.guidance,
        rescale: s.rescale,
        alpha: s.alpha,
        p: s.to_data.0,
        q: s.to_data.1,
        pinned: i32::from(s.pinned),
        drop_residual: i32::from(s.drop_residual),
        noise_p: 0.4,
        noise_q: 1.2,
        level_alpha: 0.7,
        level_sigma: 0.71,
        strength: 0.6,
    };
    let (faces, mut partials) = ([face; 2], vec![f64::NAN; 2 * 3 * 4]);
    let (mut delta, mut history) = (delta0.clone(), history0.clone());
    let (mut out, mut out_half) = (vec![f32::NAN; n], vec![f16::NAN; n]);
    let args = EditArgs {
        // In memory, or in the argument itself.
        faces: if case.half { faces.as_ptr() as u64 } else { 0 },
        x: at(0),
        x_next: at(1),
        output_ref: at(2),
        output_u: at(3),
        output_c: at(4),
        mask: mask.as_ref().map_or(0, |m| m.as_ptr() as u64),
        delta: delta.as_mut_ptr() as u64,
        history: history.as_mut_ptr() as u64,
        out: if case.half {
            out_half.as_mut_ptr() as u64
        } else {
            out.as_mut_ptr() as u64
        },
        partials: if case.rescaled { partials.as_mut_ptr() as u64 } else { 0 },
        len: case.len as i32,
        mask_len: case.mask.unwrap_or(0) as i32,
        chunks: 3,
        stock: i32::from(case.stock),
        half: i32::from(case.half),
        spare: 0,
        few: std::array::from_fn(|i| faces.get(i).copied().filter(|_| !case.half).unwrap_or_default()),
    };
    if case.rescaled {
        launch("edit_moments", &args, [3, 2, 1], LINE_BLOCK, false);
    }
    launch("edit_step", &args, [3, 2, 1], LINE_BLOCK, case.half);
    if case.half {
        out = out_half.iter().map(|v| v.to_f32()).collect();
    }
    let (mut state, mut output) = (0.0f32, 0.0f32);
    for part in [0..case.len, case.len..n] {
        let cut = |v: &[f32]| v[part.clone()].to_vec();
        let (x, u, c, mut d, mut h, mut want) = (cut(&x), cut(&u), cut(&c), cut(&delta0), cut(&history0), vec![0.0; case.len]);
        let mut step = case.step;
        if case.rescaled {
            let x_hat: Vec<f32> = x.iter().zip(&d).map(|(x, d)| x + d).collect();
            step.rescale = if case.stock {
                rescale_factor_stock(0.6, s.guidance, (0.7, 0.71), (0.4, 1.2), &x_hat, &u, &c)
            } else {
                rescale_factor(0.6, s.guidance, (0.4, 1.2), &x_hat, &u, &c)
            };
        }
        let (next, r) = (cut(&x_next), cut(&r));
        let unguided = if case.stock {
            Unguided::Stock { x0: &u }
        } else {
            Unguided::Predicted {
                output_ref: &r,
                output_u: &u,
            }
        };
        let operands = EditOperands {
            x: &x,
            x_next: &next,
            unguided,
            output_c: &c,
            mask: mask.as_deref(),
            delta: &mut d,
            history: &mut h,
            x_hat_next: &mut want,
        };
        assert!(operands.fits(case.len));
        edit_step(&step, operands);
        let worst = |a: &[f32], b: &[f32]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| if a.is_nan() { f32::INFINITY } else { (a - b).abs() })
                .fold(0.0, f32::max)
        };
        state = state.max(worst(&delta[part.clone()], &d)).max(worst(&history[part.clone()], &h));
        output = output.max(worst(&out[part.clone()], &want));
    }
    (state, output)
}

#[test]
fn edit_step_is_the_reference_for_every_branch() {
    let mut noise = Noise(12);
    let mut seen = 0;
    for len in [1, 7, 192, 4 * 31, 3000] {
        for bits in 0..16u32 {
            let (half, stock, rescaled, last) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0, bits & 8 != 0);
            for mask in [None, Some(len), (len % 4 == 0).then_some(len / 4)] {
                let step = EditStep {
                    drop_residual: last,
                    rescale: if last { 0.8 } else { 1.0 },
                    ..STEP
                };
                let case = Case {
                    len,
                    half,
                    stock,
                    rescaled,
                    mask,
                    step,
                };
                let (state, output) = compare_step(&case, &mut noise);
                // A half near 32 has steps of 1/32.
                let output_tolerance = if half { 0.017 } else { STEP_TOLERANCE };
                let what = format!("len {len} half {half} stock {stock} rescaled {rescaled} last {last} mask {mask:?}");
                assert!(state <= STEP_TOLERANCE && output <= output_tolerance, "{what}: {state} {output}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 5 * 16 * 3);
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let frame = Frame::noise(nullface_kernels::PixelFormat::Nv12, 16, 8, 0, 1);
    for planes in [
        vec![],
        vec![(8, 16)],
        vec![(0, 16), (8, 16)],
        vec![(8, 15), (8, 16)],
        vec![(8, 16), (8, usize::MAX)],
    ] {
        assert!(Args::new(&frame.info, &planes).is_err(), "{planes:?}");
    }
    let good = Args::new(&frame.info, &[(8, 16), (8, 16)]).expect("valid");
    let rect = |x, width| Rect { x, y: 0, width, height: 8 };
    for bad in [rect(1, 16), rect(-1, 8)] {
        assert!(CoverArgs::new((&frame.info, good), (bad, 8), 8, CoverMode::Blur(8)).is_err());
        assert!(CompositeArgs::new((&frame.info, good), (bad, 8), (8, 4, 4), &Affine::IDENTITY, false).is_err());
    }
    let fits = rect(0, 16);
    let flat = Affine::scale_shift(0.0, 1.0, 0.0, 0.0);
    assert!(CompositeArgs::new((&frame.info, good), (fits, 8), (8, 4, 4), &flat, false).is_err());
    assert!(CompositeArgs::new((&frame.info, good), (fits, 8), (8, 0, 4), &Affine::IDENTITY, false).is_err());
    assert!(CropMap::new(&flat).is_err());
    let empty = CoverArgs::new((&frame.info, good), (Rect::default(), 8), 8, CoverMode::Blur(8)).expect("valid");
    assert!(empty.grid().is_none());
}
