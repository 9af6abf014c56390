//! The frame's light, colour and grain on paint: what the definition promises, and the operator on a device.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::atomic::Ordering;

use nullface_kernels::cuda::CudaError;
use nullface_kernels::cuda::args::FEW_PAINTS;
use nullface_kernels::cuda::ops::{PaintOperand, match_faces};
use nullface_kernels::match_face::{Recipe, luma};
use support::paint::{Painted, claim, faces, on_the_device};
use support::shim::gpu;

fn rms(values: impl Iterator<Item = f32>) -> f32 {
    let all: Vec<f32> = values.collect();
    (all.iter().map(|v| v * v).sum::<f32>() / all.len() as f32).sqrt()
}

#[test]
fn paint_takes_the_frames_colour_and_its_amount_of_grain() {
    let mut face = Painted::new(161, 149, 55.0, (0.05, 8.0), 3);
    for p in &mut face.paint {
        *p = [0.5 * p[0] + 120.0, 0.5 * p[1], 0.5 * p[2], p[3]];
    }
    let (got, fine) = face.on_the_processor();
    let shown: Vec<usize> = (0..got.len()).filter(|i| face.alpha[*i] == 1.0 && face.painted[*i] == 1).collect();
    let mean = |of: &dyn Fn(usize) -> f32| shown.iter().map(|i| of(*i)).sum::<f32>() / shown.len() as f32;
    for (c, _) in [(); 3].iter().enumerate() {
        let (own, theirs) = (mean(&|i| got[i][c]), mean(&|i| face.base[i][c]));
        assert!((own - theirs).abs() < 4.0, "channel {c}: {own} {theirs}");
        let before = mean(&|i| face.paint[i][c]);
        assert!((before - theirs).abs() > 10.0, "channel {c} had another colour: {before} {theirs}");
    }
    let frame = rms(shown.iter().map(|i| fine[*i][3]));
    let was = rms(shown.iter().map(|i| luma([fine[*i][0], fine[*i][1], fine[*i][2]])));
    assert!(was > 2.0 * frame, "the paint was harsher: {was} {frame}");
    let again = Painted {
        paint: got.clone(),
        ..face.clone()
    };
    let (_, fine) = again.on_the_processor();
    let now = rms(shown.iter().map(|i| luma([fine[*i][0], fine[*i][1], fine[*i][2]])));
    assert!((now / frame - 1.0).abs() < 0.35, "{now} {frame}");
}

#[test]
fn what_is_not_painted_is_the_frame_and_the_callers_value_stays() {
    for face in faces() {
        let (got, _) = face.on_the_processor();
        for (i, p) in got.iter().enumerate() {
            assert_eq!(p[3], face.paint[i][3]);
            if face.painted[i] == 0 && face.alpha[i] == 0.0 {
                assert_eq!([p[0], p[1], p[2]], face.base[i]);
            }
        }
    }
}

#[test]
fn a_device_matches_like_the_definition_any_number_of_faces_at_once() {
    let (gpu, knobs) = gpu();
    let told = claim(&gpu).expect("holds");
    assert!(told.contains("pixels changed"), "{told}");
    // Twelve launches for as many faces as one takes, and four for those left over, which keep their grain.
    assert!(faces().len() > FEW_PAINTS);
    assert_eq!(gpu.traffic().launches, 16);
    assert_eq!(knobs.launched.lock().unwrap().iter().filter(|k| *k == "match_apply").count(), 4);
    let plain = [Painted::new(20, 20, 30.0, (1.0, 1.0), 5)];
    let before = gpu.traffic().launches;
    on_the_device(&gpu, &plain).expect("matches");
    assert_eq!(gpu.traffic().launches - before, 4, "without grain");
    assert!(
        match_faces(&gpu, &mut []).is_ok() && gpu.traffic().launches - before == 4,
        "no face, no launch"
    );
}

#[test]
fn one_face_has_one_result_alone_and_among_others() {
    let (gpu, _) = gpu();
    let all = faces();
    let together = on_the_device(&gpu, &all).expect("matches");
    for (face, (paint, fine)) in all.iter().zip(&together) {
        let alone = on_the_device(&gpu, std::slice::from_ref(face)).expect("matches");
        assert!(alone[0].0 == *paint && (!face.recipe.is_grained() || alone[0].1 == *fine));
    }
}

#[test]
fn operands_that_do_not_fit_are_refused_before_anything_is_queued() {
    let ((gpu, knobs), (other, _)) = (gpu(), gpu());
    let recipe = Painted::new(4, 4, 20.0, (0.6, 2.5), 1).recipe;
    let (mut paint, mut fine) = (gpu.zeros::<f32>(64).unwrap(), gpu.zeros::<f32>(64).unwrap());
    let (base, alpha, painted) = (
        gpu.zeros::<f32>(48).unwrap(),
        gpu.zeros::<f32>(16).unwrap(),
        gpu.zeros::<u8>(16).unwrap(),
    );
    let (short, theirs) = (gpu.zeros::<f32>(15).unwrap(), other.zeros::<f32>(16).unwrap());
    let mut run = |width, height, alpha, recipe| {
        let operand = PaintOperand {
            width,
            height,
            paint: &mut paint,
            base: &base,
            alpha,
            painted: &painted,
            recipe,
            fine: &mut fine,
        };
        match_faces(&gpu, &mut [operand])
    };
    let nan = Recipe {
        area_sigma_px: f32::NAN,
        ..recipe
    };
    let crossed = Recipe {
        contrast: (2.0, 1.0),
        ..recipe
    };
    for (what, error) in [
        ("size", run(0, 4, &alpha, recipe).unwrap_err()),
        ("size", run(40_000, 1, &alpha, recipe).unwrap_err()),
        ("paint", run(5, 4, &alpha, recipe).unwrap_err()),
        ("alpha", run(4, 4, &short, recipe).unwrap_err()),
        ("recipe", run(4, 4, &alpha, nan).unwrap_err()),
        ("recipe", run(4, 4, &alpha, crossed).unwrap_err()),
    ] {
        assert!(error.to_string().contains(&format!("cuda::match_faces: {what}:")), "{error}");
    }
    let mixed = run(4, 4, &theirs, recipe).unwrap_err();
    assert!(matches!(mixed, CudaError::Mixed { what: "alpha", .. }), "{mixed}");
    assert!(knobs.launched.lock().unwrap().is_empty());
    knobs.memory.store(knobs.used.load(Ordering::SeqCst), Ordering::SeqCst);
    assert!(matches!(run(4, 4, &alpha, recipe), Err(CudaError::Memory { .. })));
    knobs.memory.store(1 << 20, Ordering::SeqCst);
    assert!(run(4, 4, &alpha, recipe).is_ok());
}

#[test]
fn a_device_lost_at_any_call_is_told() {
    let face = Painted::new(33, 18, 12.0, (0.6, 2.5), 1);
    let mut lost = 0;
    for calls in 0.. {
        let (gpu, knobs) = gpu();
        knobs.calls_left.store(calls, Ordering::SeqCst);
        match on_the_device(&gpu, std::slice::from_ref(&face)) {
            Ok(_) => break,
            Err(e) => assert!(e.is_lost(), "call {calls}: {e}"),
        }
        lost += 1;
    }
    assert!(lost > 20, "{lost}");
}
