//! A frame's treatment as one trip over the shim driver: equal to the processor's operators in the same order,
//! one copy up, one down, one wait; nothing outside the masks; refusals, and a device lost at any call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::atomic::Ordering;

use nullface_kernels::Affine;
use nullface_kernels::cuda::args::CoverMode;
use nullface_kernels::cuda::{CudaError, Pass};
use nullface_kernels::mask::{RegionMask, Weights};
use support::shim::gpu;
use support::trip::{CODES, Work};
use support::{FORMATS, Frame, assert_untouched};

const SIZES: [(u32, u32); 2] = [(201, 73), (7, 5)];

#[test]
fn a_frame_is_treated_in_one_trip_like_on_the_processor() {
    let (gpu, _) = gpu();
    let mut pass = Pass::new(&gpu);
    let (mut kept, mut changed) = (0, 0);
    for format in FORMATS {
        for (width, height) in SIZES {
            let before = Frame::noise(format, width, height, 3, u64::from(width));
            let work = Work::new(width, height, u64::from(height));
            let (mut want, mut got) = (before.clone(), before.clone());
            let written = work.on_the_processor(&mut want);
            let at = gpu.traffic();
            work.record(&mut pass, &got).expect("records");
            assert_eq!(gpu.traffic().uploads, at.uploads, "recording asks nothing of the device");
            pass.run(&mut got.view_mut(), None).expect("runs");
            let now = gpu.traffic();
            assert_eq!(
                (now.uploads - at.uploads, now.downloads - at.downloads, now.waits - at.waits),
                (1, 1, 1),
                "{format:?}"
            );
            let what = format!("{format:?} {width}x{height}");
            for s in got.samples() {
                assert!(got.code(&s).abs_diff(want.code(&s)) <= CODES, "{what}: {s:?}");
            }
            let all = RegionMask::union(&written).expect("masks");
            kept += assert_untouched(&before, &got, &all, &what);
            changed += usize::from(got != before);
        }
    }
    assert_eq!(changed, FORMATS.len() * SIZES.len());
    assert!(kept > 20_000, "{kept}");
}

#[test]
fn a_steady_stream_allocates_nothing_and_only_what_is_touched_crosses_the_bus() {
    let (gpu, knobs) = gpu();
    let mut pass = Pass::new(&gpu);
    let mut frame = Frame::noise(FORMATS[0], 640, 360, 0, 5);
    let mask = |x, side: u32| RegionMask {
        x,
        y: 100,
        width: side,
        height: side,
        alpha: vec![255; (side * side) as usize],
    };
    let mut run = |masks: &[RegionMask]| {
        let at = gpu.traffic();
        pass.begin(&frame.info);
        for mask in masks {
            pass.cover(mask, CoverMode::Blur(8)).expect("records");
        }
        pass.run(&mut frame.view_mut(), None).expect("runs");
        let now = gpu.traffic();
        (
            now.uploaded - at.uploaded,
            now.downloaded - at.downloaded,
            now.allocations - at.allocations,
            now.launches - at.launches,
        )
    };
    assert_eq!(run(&[]), (0, 0, 0, 0), "a frame without a face");
    let (_, first, allocated, launches) = run(&[mask(128, 64), mask(300, 64)]);
    assert!(allocated > 0 && launches == 4, "{allocated} {launches}");
    // Rows of 236 px, of both planes, at a pitch of 256 bytes.
    assert_eq!(first, 256 * (64 + 32));
    for frame in 0..6 {
        let (_, down, allocated, _) = run(&[mask(128, 64), mask(300 - frame, 64 - frame as u32)]);
        assert!(allocated == 0 && down <= first, "frame {frame}");
    }
    let steady = knobs.used.load(Ordering::SeqCst) + knobs.locked.load(Ordering::SeqCst);
    assert!(steady <= 320 << 10, "{steady} bytes");
}

#[test]
fn a_device_lost_at_any_call_leaves_the_frame_as_it_was_and_gives_everything_back() {
    let frame = Frame::noise(FORMATS[0], 201, 73, 0, 2);
    let work = Work::new(201, 73, 4);
    let mut lost = 0;
    for calls in 0.. {
        let (gpu, knobs) = gpu();
        knobs.calls_left.store(calls, Ordering::SeqCst);
        let mut out = frame.clone();
        let mut pass = Pass::new(&gpu);
        let mut treat = |out: &mut Frame| work.record(&mut pass, out).and_then(|()| pass.run(&mut out.view_mut(), None));
        match treat(&mut out) {
            Ok(()) => break,
            Err(e) => {
                assert!(e.is_lost() && out == frame, "call {calls}: {e}");
                knobs.calls_left.store(-1, Ordering::SeqCst);
                assert!(treat(&mut out).is_err_and(|e| e.is_lost()) && out == frame, "not asked again");
                lost += 1;
            }
        }
        drop((pass, gpu));
        assert_eq!(
            (knobs.used.load(Ordering::SeqCst), knobs.locked.load(Ordering::SeqCst)),
            (0, 0),
            "call {calls}"
        );
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn what_does_not_fit_is_refused_before_the_device_is_asked() {
    let (gpu, knobs) = gpu();
    let mut pass = Pass::new(&gpu);
    let mut frame = Frame::noise(FORMATS[0], 64, 40, 0, 2);
    let work = Work::new(64, 40, 4);
    let mask = RegionMask::full(64, 40);
    let idle = |e: Result<(), CudaError>| assert!(e.expect_err("idle").to_string().contains("expected one that was begun, got none"));
    idle(pass.cover(&mask, CoverMode::Blur(8)));
    idle(pass.place(&work.picture, &work.weights()));
    idle(pass.run(&mut frame.view_mut(), None));
    pass.begin(&frame.info);
    assert!(
        pass.cover(&RegionMask::full(65, 40), CoverMode::Blur(8)).is_err(),
        "beyond the frame"
    );
    let short = RegionMask {
        alpha: vec![1; 9],
        ..mask.clone()
    };
    assert!(pass.cover(&short, CoverMode::Blur(8)).is_err(), "a mask shorter than its rectangle");
    assert!(
        pass.place(&work.picture[1..], &work.weights()).is_err(),
        "a picture of another size"
    );
    let flat = Weights {
        square_from_frame: Affine::scale_shift(0.0, 1.0, 0.0, 0.0),
        ..work.weights()
    };
    assert!(pass.place(&work.picture, &flat).is_err(), "a map that cannot be inverted");
    let away = Weights {
        frame_from_square: Affine::scale_shift(1.0, 1.0, 900.0, 0.0),
        square_from_frame: Affine::scale_shift(1.0, 1.0, -900.0, 0.0),
        ..work.weights()
    };
    pass.place(&work.picture, &away).expect("outside the frame: nothing to do");
    pass.cover(&mask, CoverMode::Blur(8)).expect("records");
    let mut other = Frame::noise(FORMATS[1], 64, 40, 0, 2);
    let before = other.clone();
    assert!(pass.run(&mut other.view_mut(), None).is_err() && other == before, "another format");
    idle(pass.run(&mut frame.view_mut(), None));
    assert_eq!(gpu.traffic().uploads, 0);
    knobs.memory.store(1024, Ordering::SeqCst);
    pass.begin(&frame.info);
    let error = (0..40).find_map(|_| pass.cover(&mask, CoverMode::Blur(8)).err());
    assert!(matches!(error, Some(CudaError::LockedMemory { .. })), "{error:?}");
}
