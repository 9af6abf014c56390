//! Frames that go up once, over the shim driver: crops and trips from them equal the processor's, one copy a frame
//! whoever reads it, page-locked memory left alone while a copy is under way, and a device lost at any call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::atomic::Ordering;

use nullface_kernels::Affine;
use nullface_kernels::crop::{self, ChannelOrder, CropSpec, Layout};
use nullface_kernels::cuda::args::FEW_MAPS;
use nullface_kernels::cuda::ops::{MAX_FACES, crop_into};
use nullface_kernels::cuda::{CudaError, Gpu, Loader, Pass, Resident};
use support::shim::gpu;
use support::trip::Work;
use support::{FORMATS, Frame, SIZES};

/// As in `cuda_host.rs`: the kernel and the fast path are each within half of it of the definition.
const CROP_TOLERANCE: f32 = 0.1;
const SPEC: CropSpec = CropSpec {
    width: 20,
    height: 12,
    layout: Layout::Nchw,
    order: ChannelOrder::Rgb,
    scale: 1.0,
    bias: 0.0,
};
const VALUES: usize = 3 * 20 * 12;

/// A view of the whole frame, and faces turned by more and more, some of them over its edge.
fn maps(width: u32, height: u32, faces: usize) -> Vec<Affine> {
    let (w, h) = (width as f32, height as f32);
    let mut maps = vec![Affine::scale_shift(w / 20.0, h / 12.0, 0.0, 0.0)];
    maps.extend((1..faces).map(|i| {
        let (sin, cos) = (i as f32 * 0.7).sin_cos();
        let s = 0.3 + (i % 5) as f32 * 1.4;
        Affine {
            m: [s * cos, -s * sin, w / 3.0 - i as f32, s * sin, s * cos, h / 4.0 + i as f32],
        }
    }));
    maps
}

fn crops(gpu: &Gpu, frame: &Frame, resident: &Resident, maps: &[Affine], spec: &CropSpec) -> Result<Vec<f32>, CudaError> {
    let there = resident.on_device(&frame.view())?;
    let mut out = gpu.unfilled::<f32>(VALUES * maps.len())?;
    crop_into(gpu, there, maps, spec, &mut out)?;
    let mut values = vec![0.0; out.len()];
    out.read(&mut values)?;
    Ok(values)
}

#[test]
fn crops_of_a_frame_that_went_up_once_are_the_processors() {
    let (gpu, knobs) = gpu();
    let loader = Loader::new(&gpu);
    let mut compared = 0;
    for format in FORMATS {
        for (width, height) in SIZES {
            let frame = Frame::noise(format, width, height, 3, u64::from(width));
            let resident = loader.frame(&frame.info);
            let before = gpu.traffic();
            for (faces, layout) in [
                (1, Layout::Nchw),
                (8, Layout::Nhwc),
                (FEW_MAPS, Layout::Nchw),
                (FEW_MAPS + 1, Layout::Nhwc),
            ] {
                let (spec, maps) = (CropSpec { layout, ..SPEC }, maps(width, height, faces));
                let got = crops(&gpu, &frame, &resident, &maps, &spec).expect("crops");
                for (map, got) in maps.iter().zip(got.chunks_exact(VALUES)) {
                    let mut want = vec![0.0; VALUES];
                    crop::crop_affine(&frame.view(), map, &spec, &mut want).expect("valid");
                    for (a, b) in got.iter().zip(&want) {
                        assert!((a - b).abs() <= CROP_TOLERANCE, "{format:?} {width}x{height} {layout:?}: {a} {b}");
                        compared += 1;
                    }
                }
            }
            let now = gpu.traffic();
            // The frame once, and the maps of the one launch that had more than fit beside it.
            assert_eq!(now.uploads - before.uploads, 2, "{format:?}");
            assert_eq!(now.launches - before.launches, 4, "{format:?}: one launch for all faces");
        }
    }
    assert!(compared > 2_000_000, "{compared}");
    assert!(knobs.launched.lock().unwrap().iter().all(|k| k.starts_with("crop_")));
}

#[test]
fn a_trip_over_a_frame_that_is_there_sends_no_pixel_up_and_leaves_it_as_it_came() {
    let (gpu, _) = gpu();
    let (loader, mut pass) = (Loader::new(&gpu), Pass::new(&gpu));
    let mut changed = 0;
    for format in FORMATS {
        for (width, height) in [(201, 73), (66, 40), (7, 5), (1, 1)] {
            let before = Frame::noise(format, width, height, 3, u64::from(width));
            let work = Work::new(width, height, u64::from(height));
            let (mut want, mut got) = (before.clone(), before.clone());
            work.record(&mut pass, &want).expect("records");
            let at = gpu.traffic();
            pass.run(&mut want.view_mut(), None).expect("runs");
            let sent = gpu.traffic().uploaded - at.uploaded;

            let resident = loader.frame(&before.info);
            let there = resident.on_device(&before.view()).expect("goes up");
            work.record(&mut pass, &got).expect("records");
            let at = gpu.traffic();
            pass.run(&mut got.view_mut(), Some(there)).expect("runs");
            let now = gpu.traffic();
            let what = format!("{format:?} {width}x{height}");
            assert!(got == want, "{what}: the same bytes");
            let calls = (now.uploads - at.uploads, now.downloads - at.downloads, now.waits - at.waits);
            assert_eq!(calls, (1, 1, 1), "{what}");
            assert!(now.uploaded - at.uploaded < sent, "{what}");
            let mut still = before.clone();
            there.read_back(&mut still.view_mut()).expect("reads");
            assert!(still == before, "{what}: as it came");
            changed += usize::from(got != before);
        }
    }
    assert!(changed >= 3 * FORMATS.len(), "{changed}");
}

#[test]
fn locked_memory_is_used_again_only_behind_a_wait_and_a_steady_stream_allocates_nothing() {
    let (gpu, _) = gpu();
    let loader = Loader::new(&gpu);
    let frames: Vec<Frame> = (0..6).map(|seed| Frame::noise(FORMATS[0], 64, 48, 0, seed)).collect();
    let mut waits = Vec::new();
    for (n, frame) in frames.iter().enumerate() {
        let resident = loader.frame(&frame.info);
        let before = gpu.traffic();
        // The shim panics at the next wait if memory was written while a copy of it was under way.
        resident.on_device(&frame.view()).expect("goes up");
        resident.clone().on_device(&frame.view()).expect("is there");
        let now = gpu.traffic();
        assert_eq!((now.uploads - before.uploads, now.downloads), (1, before.downloads), "once");
        assert!(n < 1 || now.allocations == before.allocations, "frame {n}");
        waits.push(now.waits - before.waits);
        if n % 2 == 1 {
            gpu.wait().expect("waits");
        }
    }
    assert_eq!(waits, [0, 1, 0, 1, 0, 1], "only where nobody has waited since the frame before");
}

#[test]
fn whoever_asks_first_sends_it_and_everybody_reads_the_same_one() {
    let (gpu, _) = gpu();
    let frame = Frame::noise(FORMATS[0], 64, 48, 0, 4);
    let resident = Loader::new(&gpu).frame(&frame.info);
    assert!(resident.there().is_none() && resident.is_sound());
    let maps = maps(64, 48, 4);
    let all: Vec<Vec<f32>> = std::thread::scope(|scope| {
        let ask = || scope.spawn(|| crops(&gpu, &frame, &resident.clone(), &maps, &SPEC).expect("crops"));
        let threads: Vec<_> = (0..4).map(|_| ask()).collect();
        threads.into_iter().map(|t| t.join().expect("ends")).collect()
    });
    assert!(all.windows(2).all(|w| w[0] == w[1]));
    assert_eq!(gpu.traffic().uploads, 1);
    assert!(resident.there().is_some());
}

#[test]
fn a_device_lost_at_any_call_is_told_to_everybody_who_asks_and_gives_everything_back() {
    let frame = Frame::noise(FORMATS[0], 201, 73, 0, 2);
    let work = Work::new(201, 73, 4);
    let mut lost = 0;
    for calls in 0.. {
        let (gpu, knobs) = gpu();
        knobs.calls_left.store(calls, Ordering::SeqCst);
        let (loader, mut pass, mut out) = (Loader::new(&gpu), Pass::new(&gpu), frame.clone());
        let resident = loader.frame(&frame.info);
        let mut treat = |out: &mut Frame| -> Result<(), CudaError> {
            crops(&gpu, &frame, &resident, &maps(201, 73, 3), &SPEC)?;
            work.record(&mut pass, out)?;
            pass.run(&mut out.view_mut(), resident.there())
        };
        let result = treat(&mut out);
        if result.is_ok() {
            assert!(resident.is_sound() && loader.fault().is_none());
            break;
        }
        assert!(result.is_err_and(|e| e.is_lost()) && out == frame, "call {calls}");
        assert!(!resident.is_sound(), "call {calls}");
        knobs.calls_left.store(-1, Ordering::SeqCst);
        assert!(treat(&mut out).is_err_and(|e| e.is_lost()) && out == frame, "not asked again");
        lost += 1;
        drop((pass, resident, loader, gpu));
        let left = (knobs.used.load(Ordering::SeqCst), knobs.locked.load(Ordering::SeqCst));
        assert_eq!(left, (0, 0), "call {calls}");
    }
    assert!(lost > 15, "{lost}");
}

#[test]
fn too_little_memory_is_kept_as_the_loaders_fault() {
    let (gpu, knobs) = gpu();
    knobs.memory.store(10_000, Ordering::SeqCst);
    let loader = Loader::new(&gpu);
    let frame = Frame::noise(FORMATS[0], 640, 360, 0, 2);
    let resident = loader.frame(&frame.info);
    let refused = |e: CudaError| matches!(e, CudaError::LockedMemory { .. } | CudaError::Memory { .. });
    assert!(refused(resident.on_device(&frame.view()).unwrap_err()));
    knobs.memory.store(64 << 20, Ordering::SeqCst);
    assert!(refused(resident.on_device(&frame.view()).unwrap_err()), "asked once");
    assert!(
        !loader.frame(&frame.info).is_sound() && loader.fault().is_some(),
        "a loader's frames share it"
    );
    assert!(
        Loader::new(&gpu).frame(&frame.info).on_device(&frame.view()).is_ok(),
        "another one may go on"
    );
}

#[test]
fn frames_of_another_geometry_or_device_are_refused() {
    let ((gpu, knobs), (other, _)) = (gpu(), gpu());
    let (frame, small) = (Frame::noise(FORMATS[0], 64, 40, 0, 1), Frame::noise(FORMATS[0], 62, 40, 0, 1));
    let loader = Loader::new(&gpu);
    let resident = loader.frame(&frame.info);
    let error = resident.on_device(&small.view()).unwrap_err().to_string();
    assert!(error.contains("cuda::Resident: frame"), "{error}");
    assert!(
        loader.fault().is_none() && gpu.traffic().uploads == 0,
        "the device has no part in it"
    );
    let there = resident.on_device(&frame.view()).expect("goes up");
    let mut out = gpu.unfilled::<f32>(VALUES).unwrap();
    assert!(crop_into(&gpu, there, &vec![Affine::IDENTITY; MAX_FACES + 1], &SPEC, &mut out).is_err());
    let work = Work::new(62, 40, 4);
    let mut pass = Pass::new(&gpu);
    let mut got = small.clone();
    work.record(&mut pass, &got).expect("records");
    let error = pass.run(&mut got.view_mut(), Some(there)).unwrap_err().to_string();
    assert!(error.contains("frame on the device") && got == small, "{error}");
    let mut pass = Pass::new(&other);
    let (work, mut got) = (Work::new(64, 40, 4), frame.clone());
    work.record(&mut pass, &got).expect("records");
    let mixed = pass.run(&mut got.view_mut(), Some(there)).unwrap_err();
    assert!(matches!(mixed, CudaError::Mixed { .. }) && got == frame, "{mixed}");
    assert!(knobs.launched.lock().unwrap().is_empty());
}
