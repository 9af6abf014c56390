//! In steady state a frame allocates nothing large: every buffer is kept. The real networks run over the
//! repository's own film; blocks above 4 KiB are counted where a frame is analysed and rendered.
//!
//! Not counted: what ONNX Runtime takes from its own arena, and rare events (a new person, a cut), which
//! are not steady.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gst::prelude::*;
use nullface::frame::PixelFormat;
use nullface::pipeline::{Engine, EngineConfig, Mode, Settings};
use support::{Picture, at};

/// The largest block that a frame may take.
const LIMIT: usize = 4096;

struct Counting;

static WATCHED: AtomicBool = AtomicBool::new(false);
static LARGE: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

fn count(size: usize) {
    if size > LIMIT && WATCHED.load(Ordering::Relaxed) {
        LARGE.fetch_add(1, Ordering::Relaxed);
        LARGEST.fetch_max(size, Ordering::Relaxed);
        if std::env::var_os("NULLFACE_SHOW_ALLOCATIONS").is_some() {
            WATCHED.store(false, Ordering::Relaxed);
            eprintln!("{size} bytes\n{}", std::backtrace::Backtrace::force_capture());
            WATCHED.store(true, Ordering::Relaxed);
        }
    }
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing unless asked to show.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's block and layout, which came from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's layout.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's block and layout, which came from the system's allocator.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Some frames of the repository's film.
fn film(frames: usize) -> Vec<Picture> {
    gst::init().expect("GStreamer");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/interview.mp4");
    let line = format!(
        "filesrc location={} ! decodebin ! videoconvert ! video/x-raw,format=RGB ! appsink name=sink sync=false",
        path.display()
    );
    let pipeline = gst::parse::launch(&line)
        .expect("pipeline")
        .downcast::<gst::Pipeline>()
        .expect("pipeline");
    let sink = pipeline
        .by_name("sink")
        .expect("sink")
        .downcast::<gst_app::AppSink>()
        .expect("sink");
    pipeline.set_state(gst::State::Playing).expect("plays");
    let mut all = Vec::new();
    while all.len() < frames {
        let Ok(sample) = sink.pull_sample() else { break };
        let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("caps");
        let map = sample.buffer().expect("buffer").map_readable().expect("bytes");
        let mut picture = Picture::noise(PixelFormat::Rgb, info.width(), info.height(), 0);
        picture.planes = vec![(map.as_slice().to_vec(), info.stride()[0] as usize)];
        all.push(picture);
    }
    pipeline.set_state(gst::State::Null).expect("stops");
    assert_eq!(all.len(), frames, "the film is shorter");
    all
}

#[test]
fn a_steady_frame_takes_no_block_above_four_kibibytes() {
    let film = film(24);
    let mut broken = Vec::new();
    for mode in [Mode::Blur, Mode::Pixelate, Mode::Solid, Mode::Ksame, Mode::Nullface] {
        let config = EngineConfig {
            seed: Some(3),
            ..EngineConfig::default()
        };
        let settings = Settings {
            mode,
            ..Settings::default()
        };
        let mut engine = Engine::open(&config, settings).expect("opens");
        // To and fro, so that nothing jumps.
        let order: Vec<usize> = (0..film.len()).chain((0..film.len()).rev()).collect();
        let mut pictures: Vec<Picture> = film.clone();
        let mut faces = 0;
        for n in 0..4 * order.len() {
            let i = order[n % order.len()];
            pictures[i].planes.clone_from(&film[i].planes);
            let steady = n >= 2 * order.len();
            WATCHED.store(steady, Ordering::Relaxed);
            let released = engine.process(&mut pictures[i].view_mut(), at(n as u64), &[]);
            WATCHED.store(false, Ordering::Relaxed);
            faces += usize::from(steady) * released.report().faces.len();
        }
        let (large, largest) = (LARGE.swap(0, Ordering::Relaxed), LARGEST.swap(0, Ordering::Relaxed));
        assert!(faces >= order.len(), "{mode}: {faces} faces are too few to tell");
        if large > 0 {
            broken.push(format!(
                "{mode}: {large} blocks in {} frames, the largest of {largest} bytes",
                2 * order.len()
            ));
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}
