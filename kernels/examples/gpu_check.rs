//! The kernels on a real GPU: parity with the plain definitions, then speed against a copy on the device.
//!
//! `cargo run --release -p nullface-kernels --example gpu_check [-- --dry-run] [-- --nvrtc FOLDER]`
//!
//! `scripts/gpu-check.sh` runs it. One line a claim, `PASS` or `FAIL`; the last line is `N passed, N failed`.
//! Speed is bytes that the operator must move over time, as a share of what a device-to-device copy of
//! 256 MiB reaches in the same run; each figure is the median of [`ROUNDS`] rounds of [`LAUNCHES`] launches.
//! A frame's trip is timed from the processor's memory and back, frame by frame.
//! `--dry-run` compiles every kernel and asks for no device.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a program for people, with constant arguments"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::time::Instant;

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout};
use nullface_kernels::cuda::args::{CoverMode, EditFace};
use nullface_kernels::cuda::ops::{self, DeviceFrame, DeviceMask, PaintOperand, Patch, Span, StepOperands, Unguided};
use nullface_kernels::cuda::{self, Added, Compiled, Compiler, CudaError, Finishing, Gpu, Loader, Moved, Pass, Traffic};
use nullface_kernels::mask::Weights;
use nullface_kernels::paint_face::Board;
use nullface_kernels::{Affine, PixelFormat, RegionMask};
use support::Frame;
use support::face::{Case, Model, Stand};
use support::paint::Painted;
use support::parity::{self, Verdict};

const ROUNDS: usize = 21;
const LAUNCHES: usize = 40;
const FACES: usize = 8;
const SIDE: usize = 128;
/// Share of the copy's bandwidth that an operator must reach.
const LEAST: f64 = 0.7;
const LEAST_STEP: f64 = 0.8;
/// Most that a frame's trip may take at the 95th percentile: a quarter of the 4 ms that a frame has.
const TRIP_MS: f64 = 1.0;
/// Most for a frame that is read there too, by a detector's view and two batches of crops: half of the 4 ms.
const READ_MS: f64 = 2.0;
/// Most for making faces there.
const MADE_MS: f64 = 1.0;
/// What `--dry-run` compiles for.
const ARCHITECTURES: [u32; 7] = [75, 80, 86, 89, 90, 100, 120];

/// Median milliseconds of one run, and the slowest of twenty.
fn time(gpu: &Gpu, mut run: impl FnMut() -> Result<(), CudaError>) -> Result<(f64, f64), CudaError> {
    run()?;
    gpu.wait()?;
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..LAUNCHES {
            run()?;
        }
        gpu.wait()?;
        rounds.push(started.elapsed().as_secs_f64() * 1e3 / LAUNCHES as f64);
    }
    rounds.sort_by(f64::total_cmp);
    Ok((rounds[ROUNDS / 2], rounds[ROUNDS - 1 - ROUNDS / 20]))
}

struct Table {
    copy: f64,
    verdicts: Vec<Verdict>,
}

impl Table {
    fn row(&mut self, name: &str, bytes: f64, least: f64, timed: Result<(f64, f64), CudaError>) {
        let held = timed.map_err(|e| e.to_string()).and_then(|(ms, slow)| {
            let rate = bytes / ms / 1e6;
            let share = rate / self.copy;
            let told = format!("{ms:.4} ms (p95 {slow:.4}), {rate:.0} GB/s, {:.0} % of a copy", 100.0 * share);
            if share >= least {
                Ok(told)
            } else {
                Err(format!("{told}; wanted {:.0} %", 100.0 * least))
            }
        });
        self.verdicts.push(Verdict {
            name: format!("speed {name}"),
            held,
        });
    }
}

fn speed(gpu: &Gpu) -> Result<Vec<Verdict>, CudaError> {
    let n = 256 << 20;
    let (from, mut to) = (gpu.zeros::<u8>(n)?, gpu.zeros::<u8>(n)?);
    let (ms, _) = time(gpu, || to.copy_from(0, &from, 0, n))?;
    let mut table = Table {
        copy: 2.0 * n as f64 / ms / 1e6,
        verdicts: Vec::new(),
    };
    println!("     copy on the device: {:.0} GB/s (read and written bytes)", table.copy);
    drop((from, to));
    let frame = Frame::noise(PixelFormat::Nv12, 1920, 1080, 0, 3);
    let mut device = DeviceFrame::upload(gpu, &frame.view())?;
    let face = 300.0;
    let maps: Vec<Affine> = (0..FACES)
        .map(|i| Affine::scale_shift(face / SIDE as f32, face / SIDE as f32, 40.0 + 180.0 * i as f32, 200.0))
        .collect();
    let spec = CropSpec {
        width: SIDE,
        height: SIDE,
        layout: Layout::Nchw,
        order: ChannelOrder::Rgb,
        scale: 1.0 / 127.5,
        bias: -1.0,
    };
    let pixels = (FACES * SIDE * SIDE) as f64;
    let area = FACES as f64 * f64::from(face * face);
    let crops = time(gpu, || ops::crop::<half::f16>(gpu, &device, &maps, &spec).map(|_| ()));
    table.row("crop_affine 1080p, 8 faces", area * 1.5 + pixels * 3.0 * 2.0, LEAST, crops);
    let mask = RegionMask {
        x: 200,
        y: 200,
        width: 300,
        height: 300,
        alpha: vec![200; 300 * 300],
    };
    let mask = DeviceMask::upload(gpu, &mask)?;
    let patch = gpu.upload(&vec![100_u8; 3 * SIDE * SIDE])?;
    let map = Affine::scale_shift(
        SIDE as f32 / face,
        SIDE as f32 / face,
        -200.0 * SIDE as f32 / face,
        -200.0 * SIDE as f32 / face,
    );
    let region = f64::from(face * face);
    // Mask once a component, samples read and written, the crop once.
    let bytes = region * (1.0 + 3.0) + (3 * SIDE * SIDE) as f64;
    let timed = time(gpu, || {
        ops::composite(gpu, &mut device, &mask, Patch::Bytes(&patch), (SIDE, SIDE), &map)
    });
    table.row("composite 1080p, a face of 300 px", bytes, LEAST, timed);
    let timed = time(gpu, || ops::cover(gpu, &mut device, &mask, CoverMode::Blur(8)));
    table.row("cover 1080p, a face of 300 px", region * (1.0 + 1.5 + 3.0), LEAST, timed);
    paints(gpu, &mut table)?;
    for faces in [4, FACES] {
        made(gpu, faces, &mut table)?;
    }
    steps(gpu, &mut table)?;
    whole_frames(gpu, &mut table)?;
    for faces in [4, FACES] {
        table.verdicts.push(trip(gpu, faces, false));
        table.verdicts.push(trip(gpu, faces, true));
    }
    Ok(table.verdicts)
}

/// Light, colour and grain of eight faces of 300 px: twelve launches.
fn paints(gpu: &Gpu, table: &mut Table) -> Result<(), CudaError> {
    const FACE: usize = 300;
    let face = Painted::new(FACE, FACE, 110.0, (0.6, 2.5), 7);
    let mut buffers = Vec::new();
    for _ in 0..FACES {
        buffers.push((gpu.upload(face.paint.as_flattened())?, gpu.unfilled::<f32>(4 * FACE * FACE)?));
    }
    let (base, alpha) = (gpu.upload(face.base.as_flattened())?, gpu.upload(&face.alpha)?);
    let painted = gpu.upload(&face.painted)?;
    let timed = time(gpu, || {
        let faces = buffers.iter_mut().map(|(paint, fine)| PaintOperand {
            width: FACE,
            height: FACE,
            paint,
            base: &base,
            alpha: &alpha,
            painted: &painted,
            recipe: face.recipe,
            fine,
        });
        ops::match_faces(gpu, &mut faces.collect::<Vec<_>>())
    });
    // A pixel's bytes in the six launches over pixels: light 32 and 33, fine parts 28 and 44, grain 20 and 52.
    table.row("match_face 8 faces of 300 px", (FACES * FACE * FACE) as f64 * 209.0, LEAST, timed);
    Ok(())
}

/// Faces of 300 px made there: canvases, composites and finished pictures, with an edit each that moves along; two waits.
fn made(gpu: &Gpu, faces: usize, table: &mut Table) -> Result<(), CudaError> {
    let board = Board {
        crop_px: SIDE,
        margin_px: 16,
        k: 2,
    };
    let cases: Vec<Case> = (0..faces)
        .map(|i| Case::new(board, (0.0, 0.0), 0.05, i as u64).moving(1.0, None))
        .collect();
    let mut stand = Stand::new(gpu, &Model::new(3))?;
    stand.take(&cases)?;
    let device = DeviceFrame::upload(gpu, &Frame::noise(PixelFormat::Nv12, 1920, 1080, 0, 3).view())?;
    let mut thumbs = Vec::new();
    let timed = time(gpu, || stand.make(&device, &cases, &mut thumbs).map(|_| ()));
    let held = timed.map_err(|e| e.to_string()).and_then(|(ms, slow)| {
        let told = format!("{ms:.3} ms (p95 {slow:.3})");
        if slow <= MADE_MS {
            Ok(told)
        } else {
            Err(format!("{told}; wanted {MADE_MS} ms"))
        }
    });
    table.verdicts.push(Verdict {
        name: format!("{faces} faces of 300 px made on the device"),
        held,
    });
    let timed = time(gpu, || {
        let finishing = stand.faces.iter_mut().map(|face| Finishing {
            face,
            from_prior: true,
            added: Added::Nothing,
        });
        stand.painter.finish(&mut finishing.collect::<Vec<_>>())
    });
    // Frame, picture and weight of a pixel; what is blended, and what is seen.
    let pixels = (faces * board.side() * board.side()) as f64;
    table.row(&format!("face_finish {faces} faces"), pixels * (28.0 + 6.0), LEAST, timed);
    let case = Case::new(board, (0.0, 0.0), 0.05, 9).moving(1.0, None);
    let (points, depth) = case.in_crop();
    let edit = case.edit.as_deref().unwrap_or_default();
    let then = case.kept.as_ref().map(|k| &k.then[..]).unwrap_or_default();
    let edits = stand.painter.keep(&vec![(edit, then); faces])?;
    let timed = time(gpu, || {
        let finishing = stand.faces.iter_mut().zip(&edits).map(|(face, edit)| Finishing {
            face,
            from_prior: true,
            added: Added::Moved(Moved {
                edit,
                before: None,
                points: &points,
                depth: &depth,
            }),
        });
        stand.painter.finish(&mut finishing.collect::<Vec<_>>())
    });
    // Told, not demanded: points go up each time. The edit is read, written, and read once more where it is added.
    let crops = (faces * SIDE * SIDE) as f64;
    table.row(
        &format!("warp_edit and face_finish {faces} faces"),
        pixels * (28.0 + 6.0) + crops * 36.0,
        0.0,
        timed,
    );
    Ok(())
}

/// Kernels over a whole frame of 3840x2160: a face's region moves less than a launch costs, so that only
/// these tell whether the kernel or the launch is the limit.
fn whole_frames(gpu: &Gpu, table: &mut Table) -> Result<(), CudaError> {
    let (width, height) = (3840_u32, 2160_u32);
    let mut device = DeviceFrame::upload(gpu, &Frame::noise(PixelFormat::Nv12, width, height, 0, 3).view())?;
    let pixels = f64::from(width) * f64::from(height);
    let spec = CropSpec {
        width: 1024,
        height: 576,
        layout: Layout::Nchw,
        order: ChannelOrder::Rgb,
        scale: 1.0,
        bias: 0.0,
    };
    let whole = [Affine::scale_shift(3.75, 3.75, 0.0, 0.0)];
    let timed = time(gpu, || ops::crop::<f32>(gpu, &device, &whole, &spec).map(|_| ()));
    table.row(
        "crop_affine, a detector's view of 2160p",
        1.5 * pixels + 1024.0 * 576.0 * 3.0 * 4.0,
        LEAST,
        timed,
    );
    let mut mask = RegionMask::full(width, height);
    mask.alpha.fill(200);
    let patch = gpu.upload(&vec![100_u8; 3 * SIDE * SIDE])?;
    let map = Affine::scale_shift(SIDE as f32 / width as f32, SIDE as f32 / height as f32, 0.0, 0.0);
    let mask = DeviceMask::upload(gpu, &mask)?;
    let timed = time(gpu, || {
        ops::composite(gpu, &mut device, &mask, Patch::Bytes(&patch), (SIDE, SIDE), &map)
    });
    table.row(
        "composite, all of 2160p",
        (1.0 + 3.0) * pixels + (3 * SIDE * SIDE) as f64,
        LEAST,
        timed,
    );
    let timed = time(gpu, || ops::cover(gpu, &mut device, &mask, CoverMode::Blur(8)));
    table.row("cover, all of 2160p", (1.0 + 1.5 + 3.0) * pixels, LEAST, timed);
    Ok(())
}

/// A frame's whole trip, from the processor's memory and back: masks, pictures and pixels up, a mask raster and a
/// composite a face, pixels down, one wait. Where it is read there too, the frame goes up before, whole and once, and
/// crops are made of it for a detector, a mesh and a recogniser, with a wait each as the networks want it.
fn trip(gpu: &Gpu, faces: usize, read: bool) -> Verdict {
    const PICTURE: usize = 320;
    let mut frame = Frame::noise(PixelFormat::Nv12, 1920, 1080, 0, 3);
    let info = frame.info;
    let (picture, values) = (vec![90_u8; 3 * PICTURE * PICTURE], vec![1.0_f32; PICTURE * PICTURE]);
    let maps: Vec<Affine> = (0..faces)
        .map(|i| Affine::scale_shift(0.94, 0.94, 20.0 + 220.0 * i as f32, 200.0 + 40.0 * (i % 2) as f32))
        .collect();
    let (mut pass, loader) = (Pass::new(gpu), Loader::new(gpu));
    let mut inputs: Vec<_> = networks(faces)
        .iter()
        .map(|(_, n, spec)| gpu.unfilled::<f32>(n * 3 * spec.width * spec.height))
        .collect();
    let before = gpu.traffic();
    let mut frames = 0_u32;
    let mut run = || {
        frames += 1;
        let resident = loader.frame(&info);
        if read {
            let there = resident.on_device(&frame.view())?;
            for ((side, n, spec), input) in networks(faces).iter().zip(&mut inputs) {
                let crops: Vec<Affine> = (0..*n).map(|i| Affine::scale_shift(*side, *side, 20.0 * i as f32, 0.0)).collect();
                ops::crop_into(gpu, there, &crops, spec, input.as_mut().map_err(|e| e.clone())?)?;
                gpu.wait()?;
            }
        }
        pass.begin(&info);
        for map in &maps {
            let weights = Weights {
                values: &values,
                side: PICTURE,
                frame_from_square: *map,
                square_from_frame: map.inverse().expect("a scale"),
            };
            pass.place(&picture, &weights)?;
        }
        pass.run(&mut frame.view_mut(), resident.there())
    };
    let mut rounds = Vec::new();
    let held = (0..ROUNDS * LAUNCHES).try_for_each(|_| {
        let started = Instant::now();
        run()?;
        rounds.push(started.elapsed().as_secs_f64() * 1e3);
        Ok::<_, CudaError>(())
    });
    rounds.sort_by(f64::total_cmp);
    let told = told_of(gpu, before, frames);
    let (most, most_waits) = if read { (READ_MS, 4.0) } else { (TRIP_MS, 1.0) };
    let held = held.map_err(|e| e.to_string()).and_then(|()| {
        let (median, slow) = (rounds[rounds.len() / 2], rounds[rounds.len() - 1 - rounds.len() / 20]);
        let (traffic, waits) = told;
        let told = format!("{median:.3} ms (p95 {slow:.3}), {traffic}");
        if slow <= most && waits <= most_waits {
            Ok(told)
        } else {
            Err(format!("{told}; wanted {most} ms and {most_waits:.0} waits"))
        }
    });
    let what = if read { "read and written" } else { "written" };
    Verdict {
        name: format!("trip 1080p NV12, {faces} faces of 300 px, {what}"),
        held,
    }
}

/// What networks read of a frame: scale, number and form of crops.
fn networks(faces: usize) -> [(f32, usize, CropSpec); 3] {
    let spec = |width, height, layout| CropSpec {
        width,
        height,
        layout,
        order: ChannelOrder::Rgb,
        scale: 1.0 / 127.5,
        bias: -1.0,
    };
    [
        (3.75, 1, spec(512, 288, Layout::Nchw)),
        (2.3, faces, spec(192, 192, Layout::Nhwc)),
        (2.7, faces, spec(112, 112, Layout::Nhwc)),
    ]
}

/// What crossed the bus a frame, in words, and the waits.
fn told_of(gpu: &Gpu, before: Traffic, frames: u32) -> (String, f64) {
    let now = gpu.traffic();
    let a_frame = |now: u64, before: u64| (now - before) as f64 / f64::from(frames.max(1));
    let waits = a_frame(now.waits, before.waits);
    let told = format!(
        "{:.2} MB up, {:.2} MB down, {waits:.0} waits a frame, {} allocations in all",
        a_frame(now.uploaded, before.uploaded) / 1e6,
        a_frame(now.downloaded, before.downloaded) / 1e6,
        now.allocations - before.allocations,
    );
    (told, waits)
}

fn steps(gpu: &Gpu, table: &mut Table) -> Result<(), CudaError> {
    for (name, faces, len) in [
        ("edit_step 8 faces 48x32x32", FACES, 48 * 32 * 32),
        ("edit_step 64 faces 4x64x64", 64, 4 * 64 * 64),
    ] {
        let all = faces * len;
        let buffers = [(); 5].map(|()| gpu.zeros::<half::f16>(all));
        let [x, next, r, u, c] = buffers;
        let (x, next, r, u, c) = (x?, next?, r?, u?, c?);
        let (mut delta, mut history, mut out) = (gpu.zeros(all)?, gpu.zeros(all)?, gpu.zeros::<half::f16>(all)?);
        let constants = vec![
            EditFace {
                carry: 0.9,
                data: 0.1,
                guidance: 1.0,
                rescale: 1.0,
                alpha: 0.8,
                p: 1.0,
                q: -0.5,
                ..EditFace::default()
            };
            faces
        ];
        let span = |b| Span { buffer: b, start: 0 };
        let timed = time(gpu, || {
            let operands = StepOperands {
                faces: &constants,
                rescale: false,
                x: span(&x),
                x_next: span(&next),
                unguided: Unguided::Predicted {
                    reference: span(&r),
                    unconditional: span(&u),
                },
                conditional: span(&c),
                mask: None,
                delta: &mut delta,
                history: &mut history,
                out: &mut out,
            };
            ops::edit_step(gpu, len, operands)
        });
        // Five halves read, one written, two floats read and written.
        table.row(name, all as f64 * (6.0 * 2.0 + 4.0 * 4.0), LEAST_STEP, timed);
    }
    Ok(())
}

fn compiles(folders: &[PathBuf], architectures: &[u32]) -> Vec<Verdict> {
    let compiler = Compiler::open(folders);
    let mut verdicts = Vec::new();
    for kernel in cuda::names() {
        for arch in architectures {
            let held = compiler.as_ref().map_err(ToString::to_string).and_then(|c| {
                let source = cuda::source(kernel).unwrap_or_default();
                c.compile(kernel, &source, *arch)
                    .map(|code| format!("{} bytes", code.len()))
                    .map_err(|e| e.to_string())
            });
            verdicts.push(Verdict {
                name: format!("compile {kernel} sm_{arch}"),
                held,
            });
        }
    }
    verdicts
}

fn device(folders: Vec<PathBuf>) -> Vec<Verdict> {
    let cache = cuda::cache::cache_dir().map(|d| d.join("kernels"));
    let images = Compiled::new(folders, cache.as_deref(), |event| println!("     {event:?}"));
    let gpu = match cuda::open(0, images) {
        Ok(gpu) => gpu,
        Err(e) => {
            return vec![Verdict {
                name: "device".to_owned(),
                held: Err(e.to_string()),
            }];
        }
    };
    let info = gpu.info();
    println!(
        "     {}: sm_{}, driver {}, {} MiB",
        info.name,
        info.arch,
        info.driver,
        info.memory >> 20
    );
    let mut verdicts = parity::all(&gpu);
    verdicts.extend(speed(&gpu).unwrap_or_else(|e| {
        vec![Verdict {
            name: "speed".to_owned(),
            held: Err(e.to_string()),
        }]
    }));
    verdicts
}

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folders: Vec<PathBuf> = args
        .iter()
        .position(|a| a == "--nvrtc")
        .and_then(|i| args.get(i + 1))
        .map(PathBuf::from)
        .into_iter()
        .collect();
    let verdicts = if args.iter().any(|a| a == "--dry-run") {
        compiles(&folders, &ARCHITECTURES)
    } else {
        device(folders)
    };
    let failed = verdicts.iter().filter(|v| v.held.is_err()).count();
    for v in &verdicts {
        match &v.held {
            Ok(told) => println!("PASS {}: {told}", v.name),
            Err(why) => println!("FAIL {}: {why}", v.name),
        }
    }
    println!("{} passed, {failed} failed", verdicts.len() - failed);
    std::process::ExitCode::from(u8::from(failed > 0 || verdicts.is_empty()))
}
