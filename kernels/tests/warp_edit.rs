//! Edits moved along: what the definition promises, and the operator on a device.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::atomic::Ordering;

use nullface_kernels::cuda::CudaError;
use nullface_kernels::cuda::args::FEW_WARPED;
use nullface_kernels::cuda::ops::{WarpEdit, WarpOperand, warp};
use nullface_kernels::warp_edit::Warp;
use support::shim::gpu;
use support::warp::{Face, SIDE, by_device, claim, faces, mesh, triangles};

#[test]
fn edits_move_on_a_device_as_by_the_definition() {
    let (gpu, knobs) = gpu();
    let told = claim(&gpu).expect("holds");
    assert!(told.starts_with("12 faces") && faces().len() > FEW_WARPED, "{told}");
    assert_eq!(knobs.launched.lock().unwrap().len(), 4, "two launches for up to eight faces");
}

#[test]
fn one_face_has_one_result_alone_among_others_and_in_any_order_of_threads() {
    let (gpu, knobs) = gpu();
    let faces = faces();
    let together = by_device(&gpu, &faces).expect("moves");
    for (face, want) in faces.iter().zip(&together) {
        assert!(by_device(&gpu, std::slice::from_ref(face)).expect("moves")[0] == *want);
    }
    knobs.reverse.store(true, Ordering::SeqCst);
    assert!(by_device(&gpu, &faces).expect("moves") == together);
}

#[test]
fn the_definition_moves_copies_fades_and_leaves_what_is_outside() {
    let still = faces().swap_remove(0);
    let mut warp = Warp::default();
    assert!(still.by_processor(&mut warp) == still.edit.0);
    let ramp: Vec<f32> = (0..3 * SIDE * SIDE).map(|i| ((i / 3) % SIDE) as f32).collect();
    let moved = Face {
        points: mesh((2.0, 0.0), 1.0),
        edit: (ramp.clone(), mesh((0.0, 0.0), 1.0)),
        ..still.clone()
    };
    let out = moved.by_processor(&mut warp);
    let at = |x: usize, y: usize| out[3 * (y * SIDE + x)];
    assert!((at(30, 30) - 28.0).abs() < 1e-3, "{}", at(30, 30));
    assert_eq!((at(1, 30), at(59, 59)), (0.0, 0.0));
    let faded = Face {
        edit: (vec![10.0; ramp.len()], still.points.clone()),
        before: Some((vec![2.0; ramp.len()], still.points.clone())),
        share: 0.25,
        ..still.clone()
    };
    assert!(faded.by_processor(&mut warp).iter().all(|v| *v == 4.0));
    let away = faces().pop().unwrap();
    assert!(away.by_processor(&mut warp).iter().all(|v| *v == 0.0), "every triangle faces away");
}

#[test]
fn operands_that_do_not_fit_are_refused_before_anything_is_queued() {
    let ((gpu, knobs), (other, _)) = (gpu(), gpu());
    let count = mesh((0.0, 0.0), 0.0).len();
    let (points, then) = (gpu.zeros::<f32>(3 * count).unwrap(), gpu.zeros::<f32>(2 * count).unwrap());
    let (edit, theirs) = (
        gpu.zeros::<f32>(3 * SIDE * SIDE).unwrap(),
        other.zeros::<f32>(3 * SIDE * SIDE).unwrap(),
    );
    let good = WarpOperand {
        points: &points,
        edit: WarpEdit {
            rgb: &edit,
            points: Some(&then),
        },
        before: None,
        share: 1.0,
    };
    let whole = triangles();
    let with = |rgb, points| WarpEdit { rgb, points };
    for (what, triangles, operand, side) in [
        ("side", &whole[..], good, 0),
        ("triangles", &[][..], good, SIDE),
        ("points", &[[0, 1, 900]][..], good, SIDE),
        ("points", &whole[..], WarpOperand { points: &then, ..good }, SIDE),
        ("edit", &whole[..], good, SIDE + 1),
        (
            "edit",
            &whole[..],
            WarpOperand {
                edit: with(&points, None),
                ..good
            },
            SIDE,
        ),
        (
            "earlier edit",
            &whole[..],
            WarpOperand {
                before: Some(with(&points, None)),
                ..good
            },
            SIDE,
        ),
        (
            "earlier points",
            &whole[..],
            WarpOperand {
                before: Some(with(&edit, Some(&points))),
                ..good
            },
            SIDE,
        ),
        ("share", &whole[..], WarpOperand { share: 1.1, ..good }, SIDE),
    ] {
        let error = warp(&gpu, triangles, &[good, operand], side).unwrap_err().to_string();
        assert!(error.contains(&format!("cuda::warp: {what}:")), "{what}: {error}");
    }
    let mixed = WarpOperand {
        edit: with(&theirs, None),
        ..good
    };
    assert!(matches!(
        warp(&gpu, &whole, &[mixed], SIDE),
        Err(CudaError::Mixed { what: "edit", .. })
    ));
    assert!(knobs.launched.lock().unwrap().is_empty());
    knobs.memory.store(knobs.used.load(Ordering::SeqCst), Ordering::SeqCst);
    gpu.trim();
    assert!(matches!(warp(&gpu, &whole, &[good; 9], SIDE), Err(CudaError::Memory { .. })));
    knobs.memory.store(4 << 20, Ordering::SeqCst);
    assert!(warp(&gpu, &whole, &[good; 9], SIDE).is_ok());
}

#[test]
fn a_device_lost_at_any_call_is_told() {
    let face = faces().swap_remove(2);
    let mut lost = 0;
    for calls in 0.. {
        let (gpu, knobs) = gpu();
        knobs.calls_left.store(calls, Ordering::SeqCst);
        match by_device(&gpu, std::slice::from_ref(&face)) {
            Ok(_) => break,
            Err(e) => assert!(e.is_lost(), "call {calls}: {e}"),
        }
        lost += 1;
    }
    assert!(lost > 14, "{lost}");
}
