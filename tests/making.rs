//! Faces made on the device that has their frame, through the engine's front door, over a driver whose kernels are the
//! same sources on the processor: the processor's pixels within two codes, few copies and waits, and nothing uncovered
//! when the device goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod replace_support;
#[path = "../kernels/tests/support/shim.rs"]
mod shim;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nullface::backend::{Backend, BackendConfig, DeviceRequest};
use nullface::frame::{BoxPx, FrameView, Landmarks5, Mesh, PixelFormat};
use nullface::pipeline::{Engine, FaceRegion, FrameReport, Mode, Outcome, Settings};
use nullface::stages::align::{AlignError, FaceHint, MeshFitter};
use nullface::stages::denoise::NoiseModel;
use nullface::stages::identify::{Embedding, IdentifyError, MobileFaceNet, Recogniser};
use nullface_kernels::cuda::{Gpu, Loader, ops};
use replace_support::{Answer, BLOCKS, Blocks, Fake, blocks_map, coarse, darker, engine_over, inner, mesh, source_of};
use support::{Picture, at, equal_blocks};

/// A code of the picture and one of its mask.
const CODES: u8 = 2;
/// Share of bytes of the face that may lie on the other side of a triangle's edge.
const EDGES: f32 = 1e-3;
/// Of a result to its source.
const COS: f32 = 0.02;
const SIZE: (u32, u32) = (560, 240);
/// Between the two faces, px.
const APART_PX: f32 = 240.0;

/// As [`Blocks`], on the device where the picture is there.
struct There {
    blocks: Blocks,
    /// Whether it can read what only a device has.
    can: bool,
    /// Batches read there: each waits once.
    reads: Arc<AtomicU64>,
}

impl Recogniser for There {
    fn name(&self) -> &str {
        "there"
    }
    fn same_person_cos(&self) -> f32 {
        self.blocks.same_person_cos()
    }
    fn reads_on(&self, _: &Gpu) -> bool {
        self.can
    }
    fn embed(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        let Some(resident) = frame.resident().filter(|r| r.is_sound()) else {
            return self.blocks.embed(frame, faces);
        };
        let maps = faces.iter().map(blocks_map).collect::<Result<Vec<_>, _>>()?;
        let mut crops = vec![0.0; 32 * 32 * 3 * maps.len()];
        self.reads.fetch_add(1, Ordering::SeqCst);
        let read = resident.on_device(frame).and_then(|there| {
            let made = ops::crop::<f32>(resident.gpu(), there, &maps, &BLOCKS)?;
            made.read(&mut crops)
        });
        read.map_err(|e| {
            resident.failed(&e);
            IdentifyError::BadOutput(format!("device: {e}"))
        })?;
        Ok(crops.chunks_exact(32 * 32 * 3).map(coarse).collect())
    }
}

/// The mesh that lies nearest; frames go up for it.
struct Nearest {
    meshes: Vec<Mesh>,
    can: bool,
    /// Most that its points move from frame to frame, px.
    moves_px: f32,
    frames: u32,
}

impl MeshFitter for Nearest {
    fn reads_on(&self, _: &Gpu) -> bool {
        self.can
    }
    fn fit(&mut self, frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        // As a network of the device does; what goes wrong is noted there.
        if let Some(resident) = frame.resident().filter(|r| r.is_sound()) {
            let _ = resident.on_device(frame);
        }
        let middle = |b: &BoxPx| (b.x0 + b.x1) / 2.0;
        let mut now = self.meshes.clone();
        if frame.width() == SIZE.0 {
            self.frames += 1;
            let by = self.moves_px * (self.frames as f32).sin();
            for mesh in &mut now {
                let points = mesh.points_px.iter_mut().enumerate();
                points.for_each(|(i, p)| p[1] += by * (i % 9) as f32 / 9.0);
            }
        }
        let off = |m: &Mesh, h: &FaceHint| (middle(&m.bounding_box_px().expect("points")) - middle(&h.box_px)).abs();
        // A finished face is looked at in a picture of its own.
        let own = |h: &FaceHint| {
            let nearest = now.iter().min_by(|a, b| off(a, h).total_cmp(&off(b, h)));
            nearest.filter(|_| frame.width() == SIZE.0).or(now.first()).expect("meshes").clone()
        };
        Ok(hints.iter().map(own).collect())
    }
}

fn meshes() -> Vec<Mesh> {
    let shifted = |by: f32| {
        let mut mesh = mesh();
        mesh.points_px.iter_mut().for_each(|p| p[0] += by);
        mesh
    };
    vec![shifted(0.0), shifted(APART_PX)]
}

/// The middles of both.
fn middles() -> [BoxPx; 2] {
    let a = inner();
    let b = BoxPx {
        x0: a.x0 + APART_PX,
        x1: a.x1 + APART_PX,
        ..a
    };
    [a, b]
}

fn engine(mode: Mode, answer: Option<Answer>, can: bool) -> (Engine, Arc<AtomicU64>) {
    engine_moving(mode, answer, can, 0.0)
}

fn engine_moving(mode: Mode, answer: Option<Answer>, can: bool, moves_px: f32) -> (Engine, Arc<AtomicU64>) {
    let reads = Arc::default();
    let recogniser = There {
        blocks: Blocks,
        can,
        reads: Arc::clone(&reads),
    };
    let fitter = Nearest {
        meshes: meshes(),
        can,
        moves_px,
        frames: 0,
    };
    let model = answer.map(|a| Box::new(Fake(a)) as Box<dyn NoiseModel>);
    (engine_over(Box::new(recogniser), Box::new(fitter), meshes(), model, mode, 7), reads)
}

fn process(engine: &mut Engine, source: &Picture, n: u64) -> (Picture, FrameReport) {
    let mut out = source.clone();
    let report = engine.process(&mut out.view_mut(), at(n), &[]).into_report();
    (out, report)
}

/// What became of the faces, to the cosine.
fn assert_same(got: &FrameReport, want: &FrameReport, what: &str) {
    assert_eq!(
        (got.withheld, &got.fault, got.faces.len()),
        (want.withheld, &want.fault, want.faces.len()),
        "{what}"
    );
    for (got, want) in got.faces.iter().zip(&want.faces) {
        match (got.outcome, want.outcome) {
            (Outcome::Replaced { cos: a, rung: r }, Outcome::Replaced { cos: b, rung: s }) => {
                assert!(r == s && (a - b).abs() < COS, "{what}: {got:?} {want:?}");
            }
            (got, want) => assert_eq!(got, want, "{what}"),
        }
    }
}

fn assert_near(got: &Picture, want: &Picture, source: &Picture, what: &str) {
    let bytes = |p: &Picture| p.planes.iter().flat_map(|(data, _)| data.clone()).collect::<Vec<u8>>();
    let (got, want, source) = (bytes(got), bytes(want), bytes(source));
    let faces = want.iter().zip(&source).filter(|(a, b)| a != b).count();
    let beyond = got.iter().zip(&want).filter(|(a, b)| a.abs_diff(**b) > CODES).count();
    assert!(
        beyond as f32 <= EDGES * faces as f32 && faces > 0,
        "{what}: {beyond} of {faces} bytes"
    );
}

/// Faces that were replaced.
fn replaced(report: &FrameReport) -> usize {
    report
        .faces
        .iter()
        .filter(|f| matches!(f.outcome, Outcome::Replaced { .. }))
        .count()
}

fn made_there(knobs: &shim::Knobs) -> bool {
    knobs.launched.lock().unwrap().iter().any(|k| k == "face_finish")
}

#[test]
fn faces_made_on_the_device_are_the_processors_and_little_crosses_the_bus() {
    let source = source_of(SIZE);
    let bytes: u64 = source.planes.iter().map(|(data, _)| data.len() as u64).sum();
    for (mode, answer) in [(Mode::Ksame, None), (Mode::Nullface, Some(darker as Answer))] {
        let (gpu, knobs) = shim::gpu();
        let (mut plain, _) = engine(mode, answer, true);
        let (device, reads) = engine(mode, answer, true);
        let mut device = device.with_device(gpu.clone());
        for n in 0..8 {
            let (want, expected) = process(&mut plain, &source, n);
            let (before, read) = (gpu.traffic(), reads.load(Ordering::SeqCst));
            let (got, report) = process(&mut device, &source, n);
            let (t, read) = (gpu.traffic().since(before), reads.load(Ordering::SeqCst) - read);
            let what = format!("{mode} frame {n}: {t:?}, {read} reads");
            assert_same(&report, &expected, &what);
            assert_eq!(replaced(&report), 2, "{what}: {report:?}");
            assert_near(&got, &want, &source, &what);
            assert!(middles().iter().all(|m| equal_blocks(&source, &got, *m) == 0), "{what}");
            // Edits are made in the first frame and in every sixth after it, and go up then; textures go up in the first.
            let (edited, is_new) = (mode == Mode::Nullface, mode == Mode::Nullface && n % 6 == 0);
            if n > 0 {
                let ups = 2 + u64::from(edited) + 2 * u64::from(is_new);
                assert_eq!(t.uploads, ups, "{what}: the frame; meshes, and as edits move along; new edits");
                assert_eq!(
                    t.waits - read,
                    3 + u64::from(is_new),
                    "{what}: thumbnails, totals, crops, the window"
                );
                assert_eq!(t.downloads - read, 3 + u64::from(is_new), "{what}");
                let (meshes, edits) = (2 * 9360 + u64::from(edited) * 2 * 5616, u64::from(is_new) * 2 * (196_608 + 3744));
                assert!(t.uploaded >= bytes + meshes + edits, "{what}");
                assert!(t.uploaded < bytes * 11 / 10 + meshes + edits, "{what}: not an edit more");
            }
            assert!(n < 7 || t.allocations == 0, "{what}");
        }
        assert!(made_there(&knobs));
    }
}

#[test]
fn edits_move_along_with_meshes_that_move() {
    let source = source_of(SIZE);
    let (gpu, _) = shim::gpu();
    let (mut plain, _) = engine_moving(Mode::Nullface, Some(darker as Answer), true, 1.5);
    let mut device = engine_moving(Mode::Nullface, Some(darker as Answer), true, 1.5)
        .0
        .with_device(gpu.clone());
    let mut seen: Vec<Picture> = Vec::new();
    for n in 0..9 {
        let (want, expected) = process(&mut plain, &source, n);
        let before = gpu.traffic();
        let (got, report) = process(&mut device, &source, n);
        let what = format!("frame {n}: {report:?}");
        assert_same(&report, &expected, &what);
        assert_eq!(replaced(&report), 2, "{what}");
        assert_near(&got, &want, &source, &what);
        let is_new = n % 6 == 0;
        assert!(is_new || gpu.traffic().uploads - before.uploads == 3, "{what}: no edit goes up");
        seen.push(want);
    }
    assert!(
        seen.windows(2).all(|w| w[0].planes != w[1].planes),
        "what moves does not look the same"
    );
}

#[test]
fn what_nobody_reads_there_and_what_is_to_stay_is_made_by_the_processor() {
    let source = source_of(SIZE);
    for (can, keep) in [(false, vec![]), (true, vec![FaceRegion::Mouth])] {
        let (gpu, knobs) = shim::gpu();
        let (mut plain, _) = engine(Mode::Ksame, None, can);
        let mut device = engine(Mode::Ksame, None, can).0.with_device(gpu.clone());
        let settings = Settings {
            mode: Mode::Ksame,
            keep_regions: keep.clone(),
            ..Settings::default()
        };
        for engine in [&mut plain, &mut device] {
            engine.set_settings(settings.clone()).expect("in range");
        }
        for n in 0..3 {
            let (want, expected) = process(&mut plain, &source, n);
            let (got, report) = process(&mut device, &source, n);
            assert_same(&report, &expected, "kept");
            assert_eq!(replaced(&report), 2, "{report:?}");
            assert_near(&got, &want, &source, "kept");
        }
        assert!(!made_there(&knobs), "{can} {keep:?}");
    }
}

/// With edits that are kept, or new ones in every frame.
fn editing(cache: bool) -> Engine {
    let (mut engine, _) = engine(Mode::Nullface, Some(darker as Answer), true);
    let settings = Settings {
        mode: Mode::Nullface,
        cache,
        ..Settings::default()
    };
    engine.set_settings(settings).expect("in range");
    engine
}

fn lose(cache: bool, every: usize) {
    let source = source_of(SIZE);
    let (mut lost, mut covered, mut whole) = (0, 0, 0);
    let mut plain = editing(cache);
    let want: Vec<_> = (0..4).map(|n| process(&mut plain, &source, n).0).collect();
    // The first frame is an audition, most of it by the processor: calls of the second, then of later ones.
    for calls in (0..).step_by(every) {
        let (gpu, knobs) = shim::gpu();
        let mut device = editing(cache).with_device(gpu.clone());
        process(&mut device, &source, 0);
        knobs.calls_left.store(calls, Ordering::SeqCst);
        for n in 1..4 {
            let (got, report) = process(&mut device, &source, n);
            let what = format!("call {calls} frame {n}: {report:?}");
            assert!(middles().iter().all(|m| equal_blocks(&source, &got, *m) == 0), "{what}");
            if replaced(&report) == 2 {
                assert_near(&got, &want[n as usize], &source, &what);
                whole += 1;
            } else {
                covered += 1;
            }
        }
        if !gpu.is_lost() {
            break;
        }
        lost += 1;
        drop((device, gpu));
        let left = (knobs.used.load(Ordering::SeqCst), knobs.locked.load(Ordering::SeqCst));
        assert_eq!(left, (0, 0), "call {calls}");
    }
    assert!(lost > 8 && covered > 0 && whole > lost, "{lost} {covered} {whole}");
}

#[test]
fn a_device_lost_at_any_call_leaves_no_face_and_the_processor_goes_on() {
    lose(true, 9);
}

#[test]
fn nor_where_every_frame_has_new_edits() {
    lose(false, 11);
}

#[test]
fn too_little_memory_for_faces_there_gives_the_processors() {
    let source = source_of(SIZE);
    let (mut plain, _) = engine(Mode::Ksame, None, true);
    let mut by_processor = 0;
    let want: Vec<_> = (0..3).map(|n| process(&mut plain, &source, n)).collect();
    for memory in [1_200_000, 1_700_000, 2_400_000, 3_400_000] {
        let (gpu, knobs) = shim::gpu();
        let mut device = engine(Mode::Ksame, None, true).0.with_device(gpu.clone());
        knobs.memory.store(memory, Ordering::SeqCst);
        for (n, (want, expected)) in (0..).zip(&want) {
            let (got, report) = process(&mut device, &source, n);
            let what = format!("{memory} bytes frame {n}: {report:?}");
            assert!(middles().iter().all(|m| equal_blocks(&source, &got, *m) == 0), "{what}");
            if report.withheld.is_none() {
                assert_same(&report, expected, &what);
                assert_near(&got, want, &source, &what);
                by_processor += usize::from(replaced(&report) == 2 && !made_there(&knobs));
            }
        }
    }
    assert!(by_processor > 2, "{by_processor}");
}

#[test]
fn a_recogniser_embeds_pictures_that_only_a_device_has() {
    let (gpu, knobs) = shim::gpu();
    let backend = Backend::open(&BackendConfig {
        device: DeviceRequest::Cpu,
        threads: 2,
        ..BackendConfig::default()
    })
    .expect("scripts/setup.sh brings the runtime");
    let mut recogniser = MobileFaceNet::open(&backend).expect("opens");
    assert!(recogniser.reads_on(&gpu), "its memory is the network's");
    let landmarks = mesh().landmarks5().expect("points");
    let pictures: Vec<Picture> = (1..4).map(|n| Picture::noise(PixelFormat::Rgb, 320, 240, n)).collect();
    let here: Vec<_> = pictures.iter().map(|p| (p.view(), landmarks)).collect();
    let want = recogniser.embed_each(&here).expect("embeds");
    let loader = Loader::new(&gpu);
    let residents: Vec<_> = pictures.iter().map(|p| loader.frame(&p.info)).collect();
    for (resident, picture) in residents.iter().zip(&pictures) {
        resident.on_device(&picture.view()).expect("goes up");
    }
    let there: Vec<_> = residents.iter().map(|r| (FrameView::there(r), landmarks)).collect();
    let before = gpu.traffic();
    let got = recogniser.embed_each(&there).expect("embeds");
    let t = gpu.traffic().since(before);
    assert_eq!(
        (t.uploads, t.downloads, t.launches, t.waits),
        (0, 0, 3, 1),
        "a launch a picture, one wait"
    );
    for (got, want) in got.iter().zip(&want) {
        assert!(got.cos(want).expect("of one length") > 0.999);
    }
    // One that is here among them: what is only there cannot be read, and nothing is embedded in its place.
    let mixed = [there[0].clone(), here[1].clone()];
    let refused = recogniser.embed_each(&mixed).expect_err("refused").to_string();
    assert!(refused.contains("in the processor's memory"), "{refused}");
    // Nor where its device has failed.
    knobs.calls_left.store(0, Ordering::SeqCst);
    assert!(recogniser.embed_each(&there).is_err(), "the call that finds it lost");
    assert!(
        recogniser
            .embed_each(&there)
            .expect_err("refused")
            .to_string()
            .contains("in the processor's memory")
    );
}
