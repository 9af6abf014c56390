//! Launching without a GPU: operators over the shim driver against the processor's own, residency, memory,
//! a lost device, the compiler's cache; and what a machine without a driver answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout};
use nullface_kernels::cuda::args::CoverMode;
use nullface_kernels::cuda::ops::{self, DeviceFrame, DeviceMask, Patch};
use nullface_kernels::cuda::{Compiled, Compiler, CudaError, DeviceInfo, Event, Gpu, Images, Nvidia, Tensor, has_driver};
use nullface_kernels::{Affine, RegionMask, composite, cover, crop};
use support::shim::{gpu, gpu_with};
use support::{FORMATS, Frame, Noise, random_mask};

/// As in `cuda_host.rs`.
const CROP_TOLERANCE: f32 = 0.1;

const SPEC: CropSpec = CropSpec {
    width: 40,
    height: 24,
    layout: Layout::Nchw,
    order: ChannelOrder::Rgb,
    scale: 1.0,
    bias: 0.0,
};

fn turned(w: f32, h: f32) -> Affine {
    Affine {
        m: [1.1, -0.4, w, 0.4, 1.1, h],
    }
}

fn codes_apart(a: &Frame, b: &Frame) -> usize {
    let pairs = a.planes.iter().zip(&b.planes).flat_map(|(a, b)| a.iter().zip(b));
    pairs.filter(|(a, b)| a != b).count()
}

#[test]
fn a_frame_goes_up_once_and_comes_back_after_one_wait_like_on_the_processor() {
    let (gpu, _) = gpu();
    let mut changed = 0;
    for format in FORMATS {
        let mut noise = Noise(7);
        let frame = Frame::noise(format, 67, 41, 3, 11);
        let mask = random_mask(67, 41, &mut noise);
        let maps = [turned(5.0, 4.0), turned(20.0, 9.0)];
        let bytes: Vec<u8> = (0..3 * 40 * 24).map(|_| noise.next() as u8).collect();
        let map = turned(-3.0, -2.0);
        let mut want = frame.clone();
        let mut crops = vec![vec![0.0; 3 * 40 * 24]; 2];
        for (map, out) in maps.iter().zip(&mut crops) {
            crop::reference::crop_affine(&frame.view(), map, &SPEC, out);
        }
        composite::reference::blend_crop(&mut want.view_mut(), &mask, &bytes, 40, 24, &map).expect("valid");
        let between = want.clone();
        cover::reference::blur(&mut want.view_mut(), &mask, 6).expect("valid");

        let before = gpu.traffic();
        let mut device = DeviceFrame::upload(&gpu, &frame.view()).expect("uploads");
        let out = ops::crop::<f32>(&gpu, &device, &maps, &SPEC).expect("crops");
        let patch = gpu.upload(&bytes).expect("uploads");
        let on_device = DeviceMask::upload(&gpu, &mask).expect("uploads");
        ops::composite(&gpu, &mut device, &on_device, Patch::Bytes(&patch), (40, 24), &map).expect("composites");
        let mut got = frame.clone();
        let mut midway = frame.clone();
        device.read_back(&mut midway.view_mut()).expect("reads");
        assert!(midway_is(&midway, &between), "{format:?}");
        ops::cover(&gpu, &mut device, &on_device, CoverMode::Blur(6)).expect("covers");
        device.read_back(&mut got.view_mut()).expect("reads");
        // The composite is exact to a code; a mean over cells moves by less than one, so the cover by one at most.
        for (a, b) in got.planes.iter().flatten().zip(want.planes.iter().flatten()) {
            assert!(a.abs_diff(*b) <= 1 || format_is_wide(format), "{format:?} {a} {b}");
        }
        changed += codes_apart(&got, &frame);
        let mut values = vec![0.0; out.len()];
        out.read(&mut values).expect("reads");
        for (a, b) in values.iter().zip(crops.iter().flatten()) {
            assert!((a - b).abs() <= CROP_TOLERANCE, "{format:?}: {a} {b}");
        }
        let after = gpu.traffic();
        assert_eq!(
            after.waits - before.waits,
            3,
            "two frames and one buffer were read, nothing else waits"
        );
        // The frame, the crop, and the mask; so few maps travel with the launch.
        assert_eq!(after.uploads - before.uploads, 3, "{format:?}");
    }
    assert!(changed > 1_000, "{changed}");
}

fn format_is_wide(format: nullface_kernels::PixelFormat) -> bool {
    matches!(
        format,
        nullface_kernels::PixelFormat::P010Le | nullface_kernels::PixelFormat::I42010Le
    )
}

fn midway_is(got: &Frame, want: &Frame) -> bool {
    let wide = format_is_wide(got.info.format);
    got.planes
        .iter()
        .flatten()
        .zip(want.planes.iter().flatten())
        .all(|(a, b)| wide || a.abs_diff(*b) <= 1)
}

#[test]
fn every_claim_of_the_check_on_a_real_gpu_holds_on_the_shim() {
    let (gpu, knobs) = gpu();
    let verdicts = support::parity::all(&gpu);
    let broken: Vec<String> = verdicts
        .iter()
        .filter_map(|v| v.held.as_ref().err().map(|e| format!("{}: {e}", v.name)))
        .collect();
    assert!(broken.is_empty() && verdicts.len() == 4 * FORMATS.len() + 3 + 8, "{broken:#?}");
    let launched = knobs.launched.lock().unwrap();
    for kernel in [
        "crop_affine",
        "crop_straight",
        "composite",
        "weight_mask",
        "cover_means",
        "cover_apply",
        "warp_triangles",
        "warp_edit",
        "edit_moments",
        "edit_step",
        "match_cells",
        "match_across",
        "match_down",
        "match_apply",
        "face_triangles",
        "face_draw",
        "face_cells",
        "face_across",
        "face_down",
        "face_apply",
        "face_write",
        "face_totals",
        "face_thumb",
        "face_crops",
        "face_finish",
    ] {
        assert!(launched.iter().any(|l| l == kernel), "{kernel} was never launched");
    }
}

#[test]
fn a_claim_that_does_not_hold_is_told() {
    let (gpu, knobs) = gpu();
    knobs.calls_left.store(40, Ordering::SeqCst);
    let verdicts = support::parity::all(&gpu);
    let broken = verdicts.iter().filter(|v| v.held.is_err()).count();
    assert!(
        broken > 30 && verdicts[broken..].len() < 5,
        "a lost device fails what comes after: {broken}"
    );
}

#[test]
fn operands_that_live_elsewhere_or_are_short_are_refused_before_anything_is_queued() {
    let ((gpu, knobs), (other, _)) = (gpu(), gpu());
    let frame = Frame::noise(FORMATS[0], 32, 32, 0, 1);
    let mask = RegionMask::full(32, 32);
    let mut device = DeviceFrame::upload(&gpu, &frame.view()).unwrap();
    let foreign = other.upload(&[0_u8; 3 * 8 * 8]).unwrap();
    let on_device = DeviceMask::upload(&gpu, &mask).unwrap();
    let theirs = DeviceMask::upload(&other, &mask).unwrap();
    let mixed = ops::cover(&gpu, &mut device, &theirs, CoverMode::Blur(4)).unwrap_err();
    assert!(matches!(mixed, CudaError::Mixed { what: "mask", .. }), "{mixed}");
    let short = RegionMask {
        alpha: vec![1; 9],
        ..mask.clone()
    };
    assert!(DeviceMask::upload(&gpu, &short).is_err(), "a mask shorter than its rectangle");
    let mixed = ops::composite(&gpu, &mut device, &on_device, Patch::Bytes(&foreign), (8, 8), &Affine::IDENTITY).unwrap_err();
    assert!(matches!(mixed, CudaError::Mixed { what: "crop", .. }), "{mixed}");
    let mixed = ops::crop::<f32>(&other, &device, &[Affine::IDENTITY], &SPEC).unwrap_err();
    assert!(matches!(mixed, CudaError::Mixed { what: "frame", .. }), "{mixed}");
    let host = Tensor::Host(vec![1.0_f32; 4]);
    let there = Tensor::Device(gpu.upload(&[1.0_f32; 4]).unwrap());
    assert!(host.host("op", "x").is_ok() && there.device(&gpu, "op", "x").is_ok());
    for error in [
        host.device(&gpu, "op", "x").map(|_| ()).unwrap_err(),
        there.host("op", "x").map(|_| ()).unwrap_err(),
        there.device(&other, "op", "x").map(|_| ()).unwrap_err(),
    ] {
        assert!(error.to_string().starts_with("op: x: expected it on "), "{error}");
    }
    let short = gpu.upload(&[0_u8; 3]).unwrap();
    assert!(ops::composite(&gpu, &mut device, &on_device, Patch::Bytes(&short), (8, 8), &Affine::IDENTITY).is_err());
    let beyond = RegionMask::full(33, 32);
    assert!(ops::cover(&gpu, &mut device, &DeviceMask::upload(&gpu, &beyond).unwrap(), CoverMode::Blur(4)).is_err());
    assert!(ops::crop::<f32>(&gpu, &device, &[], &SPEC).is_err(), "no face");
    let flat = Affine::scale_shift(0.0, 1.0, 0.0, 0.0);
    assert!(ops::crop::<f32>(&gpu, &device, &[flat], &SPEC).is_err(), "a map without area");
    let mut small = gpu.zeros::<f32>(3 * 40 * 24 - 1).unwrap();
    let short = ops::crop_into(&gpu, &device, &[Affine::IDENTITY], &SPEC, &mut small).unwrap_err();
    assert!(short.to_string().contains("2880 values or more, got 2879"), "{short}");
    for (start, room) in [(100, "2779"), (usize::MAX, "0")] {
        let beyond = ops::crop_into_at(&gpu, &device, &[Affine::IDENTITY], &SPEC, &mut small, start).unwrap_err();
        assert!(beyond.to_string().contains(&format!("got {room}")), "{beyond}");
    }
    let mut theirs = other.zeros::<f32>(3 * 40 * 24).unwrap();
    let mixed = ops::crop_into(&gpu, &device, &[Affine::IDENTITY], &SPEC, &mut theirs).unwrap_err();
    assert!(matches!(mixed, CudaError::Mixed { what: "crops", .. }), "{mixed}");
    let mut buffer = gpu.zeros::<f32>(4).unwrap();
    assert!(buffer.write(&[0.0; 5]).is_err() && buffer.write_at(3, &[0.0; 2]).is_err() && buffer.read(&mut [0.0; 3]).is_err());
    assert!(gpu.zeros::<f64>(usize::MAX).is_err());
    let mut got = frame.clone();
    device.read_back(&mut got.view_mut()).unwrap();
    assert_eq!(got, frame, "nothing was written");
    assert!(knobs.launched.lock().unwrap().is_empty());
    let mut smaller = Frame::noise(FORMATS[0], 16, 16, 0, 1);
    assert!(device.read_back(&mut smaller.view_mut()).is_err());
}

#[test]
fn memory_is_reused_and_too_little_of_it_is_an_error_with_the_figures() {
    let (gpu, knobs) = gpu();
    for _ in 0..5 {
        let _frame = gpu.zeros::<u8>(1_000_000).unwrap();
    }
    assert_eq!(gpu.traffic().allocations, 1, "the same megabyte five times");
    knobs.memory.store(3 << 20, Ordering::SeqCst);
    let faces: Vec<_> = (0..40).map(|_| gpu.zeros::<f32>(48 * 32 * 32)).collect();
    let error = faces
        .into_iter()
        .find_map(Result::err)
        .expect("forty faces do not fit in three megabytes");
    assert!(matches!(error, CudaError::Memory { total, .. } if total == 3 << 20), "{error}");
    assert!(error.to_string().contains("fewer faces"), "{error}");
    assert!(gpu.zeros::<f32>(48 * 32 * 32).is_ok(), "what was dropped can be had again");
    let whole = gpu.zeros::<u8>(2_500_000);
    assert!(whole.is_ok(), "kept memory is given back before giving up: {whole:?}");
}

#[test]
fn a_device_lost_at_any_call_is_told_and_nothing_is_written() {
    let frame = Frame::noise(FORMATS[0], 48, 32, 0, 1);
    let mask = RegionMask::full(48, 32);
    let run = |gpu: &Gpu, out: &mut Frame| -> Result<(), CudaError> {
        let mut device = DeviceFrame::upload(gpu, &frame.view())?;
        let crops = ops::crop::<f32>(gpu, &device, &[turned(4.0, 4.0)], &SPEC)?;
        crops.read(&mut vec![0.0; crops.len()])?;
        ops::cover(gpu, &mut device, &DeviceMask::upload(gpu, &mask)?, CoverMode::Pixelate(8))?;
        device.read_back(&mut out.view_mut())
    };
    let mut lost = 0;
    for calls in 0.. {
        let (gpu, knobs) = gpu();
        knobs.calls_left.store(calls, Ordering::SeqCst);
        let mut out = frame.clone();
        match run(&gpu, &mut out) {
            Ok(()) => break,
            Err(e) => {
                assert!(e.is_lost() && gpu.is_lost(), "{e}");
                assert_eq!(out, frame, "call {calls}: nothing is written");
                knobs.calls_left.store(-1, Ordering::SeqCst);
                assert!(gpu.zeros::<u8>(16).is_err_and(|e| e.is_lost()), "a lost device is not used again");
                lost += 1;
            }
        }
    }
    assert!(lost > 12, "{lost}");
}

/// Gives foreign code first, then the right one.
#[derive(Debug)]
struct Stale(Arc<AtomicUsize>);

impl Images for Stale {
    fn image(&self, kernel: &str, _: &DeviceInfo) -> Result<Vec<u8>, CudaError> {
        Ok(if self.0.load(Ordering::SeqCst) == 0 {
            b"made for another driver".to_vec()
        } else {
            kernel.as_bytes().to_vec()
        })
    }

    fn refused(&self, _: &str, _: &DeviceInfo) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn code_that_the_driver_refuses_is_made_again_once() {
    let refusals = Arc::new(AtomicUsize::new(0));
    let (gpu, _) = gpu_with(Box::new(Stale(refusals.clone())));
    let frame = Frame::noise(FORMATS[0], 32, 32, 0, 1);
    let mut device = DeviceFrame::upload(&gpu, &frame.view()).unwrap();
    let mask = DeviceMask::upload(&gpu, &RegionMask::full(32, 32)).expect("uploads");
    for _ in 0..2 {
        ops::cover(&gpu, &mut device, &mask, CoverMode::Pixelate(8)).expect("covers");
    }
    assert_eq!(refusals.load(Ordering::SeqCst), 1);
}

fn nvrtc() -> Vec<PathBuf> {
    vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/cuda")]
}

#[cfg(target_arch = "x86_64")]
#[test]
fn kernels_are_compiled_once_and_a_truncated_or_foreign_entry_is_compiled_again() {
    let folder = tempfile::tempdir().expect("folder");
    let device = DeviceInfo {
        ordinal: 0,
        name: "none".to_owned(),
        arch: 90,
        driver: 13000,
        memory: 0,
    };
    let events = Arc::new(Mutex::new(Vec::new()));
    let images = |cache: Option<&Path>| {
        let told = events.clone();
        Compiled::new(nvrtc(), cache, move |e| told.lock().unwrap().push(e))
    };
    let first = images(Some(folder.path()));
    let code = first.image("cover", &device).expect("scripts/setup.sh brings NVRTC");
    assert!(code.starts_with(b"\x7fELF") && code.len() > 1000);
    assert_eq!(images(Some(folder.path())).image("cover", &device).expect("kept"), code);
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    for fault in [whole[..whole.len() / 2].to_vec(), b"another program's file".to_vec()] {
        std::fs::write(&file, fault).unwrap();
        assert_eq!(images(Some(folder.path())).image("cover", &device).expect("made again"), code);
        assert_eq!(std::fs::read(&file).unwrap(), whole, "and kept again");
    }
    first.refused("cover", &device);
    assert!(!file.exists());
    let older = DeviceInfo {
        arch: 75,
        ..device.clone()
    };
    assert_ne!(first.image("cover", &older).expect("another architecture"), code);
    std::fs::write(folder.path().join("no-folder"), b"x").unwrap();
    assert!(images(Some(&folder.path().join("no-folder/x"))).image("cover", &device).is_ok());
    let told = events.lock().unwrap();
    let count = |f: fn(&Event) -> bool| told.iter().filter(|e| f(e)).count();
    assert_eq!(
        (
            count(|e| matches!(e, Event::Compiled { .. })),
            count(|e| matches!(e, Event::Rebuilt { .. })),
            count(|e| matches!(e, Event::NotKept { .. }))
        ),
        (3, 2, 1),
        "{told:?}"
    );
    assert!(first.image("other", &device).is_err(), "no such kernel");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_kernel_that_does_not_compile_is_an_error_with_the_compilers_words() {
    let compiler = Compiler::open(&nvrtc()).expect("scripts/setup.sh brings NVRTC");
    assert!(compiler.version().0 >= 12);
    let error = compiler
        .compile("bad", "extern \"C\" __global__ void k() { nonsense; }", 90)
        .unwrap_err();
    assert!(
        matches!(&error, CudaError::Compile { arch: 90, log, .. } if log.contains("nonsense")),
        "{error}"
    );
    assert!(compiler.compile("bad", "", 12345).is_err());
}

#[test]
fn a_machine_without_a_driver_or_device_says_so_and_does_not_panic() {
    match Nvidia::open(999) {
        Err(CudaError::NoDriver) => assert!(!has_driver()),
        Err(CudaError::NoDevice { ordinal: 999, .. }) => assert!(has_driver()),
        other => panic!("expected no such device, got {other:?}"),
    }
}
