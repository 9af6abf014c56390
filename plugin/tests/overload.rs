//! More than the machine can do, with the real engine: 4K at 60 frames/s, and other work on every core. Nothing raw
//! leaves, every frame is accounted for, quality comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use gst::prelude::*;
use gst_video::VideoRegionOfInterestMeta;
use gst_video::prelude::*;
use support::{Act, Gate, Script, element, film, frame, harness, info, messages, stamped};

/// A side of the blocks that are compared, px.
const BLOCK: usize = 8;
/// Share of a face's blocks that may come out as they went in: a flat one may by chance.
const BY_CHANCE: f64 = 0.1;

/// The real engine, in a mode.
fn real(mode: &str, adapt: &str) -> gst::Element {
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter")
        .property("lookahead", 0_u32)
        .property("seed", 3_u64)
        .build()
        .expect("element");
    element.set_property_from_str("mode", mode);
    element.set_property_from_str("adapt", adapt);
    element
}

/// The middle of the face in the film's first frames, px: x, y, width, height.
fn face(caps: &str, frames: &[gst::Buffer]) -> [usize; 4] {
    let element = real("solid", "never");
    element.set_property("write-regions", true);
    let (mut h, _bus) = harness(&element, caps);
    h.push(stamped(frames[0].copy_deep().expect("copy"), 0)).expect("flow goes on");
    let out = h.try_pull().expect("out");
    let regions: Vec<_> = out.iter_meta::<VideoRegionOfInterestMeta>().map(|m| m.rect()).collect();
    assert_eq!(regions.len(), 1, "the film has one face");
    let (x, y, w, h) = regions[0];
    let inner = |at: u32, side: u32| [at + side / 4, side / 2].map(|v| v as usize / BLOCK * BLOCK);
    let ([x, w], [y, h]) = (inner(x, w), inner(y, h));
    assert!(w >= 2 * BLOCK && h >= 2 * BLOCK, "{:?}", regions[0]);
    [x, y, w, h]
}

/// Asserts that the luma of a face is not the source's.
fn assert_not_raw(caps: &str, [x, y, w, h]: [usize; 4], source: &gst::BufferRef, output: &gst::BufferRef) {
    let info = info(caps);
    let view = |buffer| gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).expect("frame");
    let (a, b) = (view(source), view(output));
    let row = |frame: &gst_video::VideoFrameRef<&gst::BufferRef>, x: usize, y: usize| {
        let at = y * usize::try_from(frame.plane_stride()[0]).expect("stride") + x;
        frame.plane_data(0).expect("luma")[at..at + BLOCK].to_vec()
    };
    let blocks: Vec<(usize, usize)> = (y..y + h)
        .step_by(BLOCK)
        .flat_map(|y| (x..x + w).step_by(BLOCK).map(move |x| (x, y)))
        .collect();
    let same = |(x, y): &(usize, usize)| (0..BLOCK).all(|dy| row(&a, *x, y + dy) == row(&b, *x, y + dy));
    let raw = blocks.iter().filter(|b| same(b)).count();
    assert!(
        (raw as f64) < BY_CHANCE * blocks.len() as f64,
        "{raw} of {} blocks of the face are the source's",
        blocks.len()
    );
}

/// Pushes a frame of the film, which leaves at once and is not raw.
fn push(h: &mut gst_check::Harness, caps: &str, film: &[gst::Buffer], face: [usize; 4], n: u64, lasts: gst::ClockTime) {
    let source = &film[n as usize % film.len()];
    let mut buffer = source.copy_deep().expect("copy");
    let inner = buffer.get_mut().expect("only");
    inner.set_pts(lasts * n);
    inner.set_duration(lasts);
    h.push(buffer).expect("flow goes on");
    let out = h.try_pull().expect("a frame for a frame");
    assert_eq!(out.pts(), Some(lasts * n));
    assert_not_raw(caps, face, source, &out);
    while h.try_pull_event().is_some() {}
}

fn stats(element: &gst::Element) -> gst::Structure {
    element.property("stats")
}

fn count(element: &gst::Element, name: &str) -> u64 {
    stats(element).get(name).expect("a count")
}

/// What came in left, and each frame that left was treated by the engine or made opaque here.
fn assert_accounted(element: &gst::Element, pushed: u64) {
    let count = |name| count(element, name);
    assert_eq!(
        (count("frames-in"), count("frames-out"), count("frames-dropped")),
        (pushed, pushed, 0)
    );
    let (rendered, withheld) = (count("frames-rendered"), count("frames-withheld"));
    assert!(
        rendered <= pushed && rendered + withheld >= pushed,
        "{rendered} rendered, {withheld} opaque of {pushed}"
    );
    assert_eq!(count("kept"), 0);
    let ways = ["replaced", "blurred", "pixelated", "solid"].map(count).iter().sum::<u64>();
    assert!(ways <= count("faces"), "{:?}", stats(element));
}

#[test]
fn the_real_engine_at_4k_and_60_frames_a_second_lets_nothing_raw_go() {
    support::init();
    let caps = "video/x-raw,format=NV12,width=3840,height=2160,framerate=60/1";
    let film = film(caps, 2);
    let face = face(caps, &film);
    let element = real("nullface", "always");
    let (mut h, bus) = harness(&element, caps);
    let frames = 16;
    for n in 0..frames {
        push(&mut h, caps, &film, face, n, gst::ClockTime::SECOND / 60);
    }
    assert_accounted(&element, frames);
    let told: Vec<String> = messages(&bus)
        .iter()
        .filter_map(|m| {
            m.structure()
                .filter(|s| s.name() == "nullface-rung")
                .map(|s| s.get("rung").expect("a rung"))
        })
        .collect();
    // Each step is told, one after the other; how many there are is the machine's.
    let ladder = ["full", "cached", "prior", "solid", "frame"];
    let places: Vec<usize> = told.iter().map(|t| ladder.iter().position(|l| l == t).expect("a rung")).collect();
    let steps = [0].iter().chain(&places).zip(&places);
    assert!(steps.into_iter().all(|(a, b)| a.abs_diff(*b) == 1), "{told:?}");
    assert_eq!(count(&element, "rung-changes"), told.len() as u64);
    eprintln!("4K60: {told:?}, {:?}", stats(&element));
}

#[test]
fn at_4k_and_60_frames_a_second_an_engine_that_never_answers_holds_no_frame_beyond_the_latency_reported() {
    let caps = "video/x-raw,format=NV12,width=3840,height=2160,framerate=60/1";
    let gate = Gate::new();
    let shut = gate.clone();
    let script = Arc::new(Script {
        analyse: Box::new(move |_| Act::Wait(shut.clone())),
        ..Script::default()
    });
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    element.set_property("processing-deadline", 1_000_000_u64);
    let (mut h, _bus) = harness(&element, caps);
    assert_eq!(h.query_latency(), Some(gst::ClockTime::MSECOND));
    let source = frame(caps, 0);
    for n in 0..3 {
        // The gate stays shut: what leaves did not wait for an answer.
        h.push(stamped(source.copy_deep().expect("copy"), n)).expect("flow goes on");
        let out = h.try_pull().expect("a frame for a frame");
        let info = info(caps);
        let view = gst_video::VideoFrameRef::from_buffer_ref_readable(&out, &info).expect("frame");
        for plane in 0..2 {
            let data = view.plane_data(plane).expect("plane");
            // One colour, whose U is its V: each byte is the one before.
            assert!(data[..data.len() - 1] == data[1..], "plane {plane}");
        }
    }
    assert_eq!((count(&element, "frames-out"), count(&element, "frames-withheld")), (3, 3));
    gate.open();
}

/// Threads that do nothing and leave nobody time.
struct Thieves(Arc<AtomicBool>, Vec<JoinHandle<u64>>);

impl Thieves {
    fn new(count: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let busy = |stop: Arc<AtomicBool>| {
            move || {
                let mut n = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    n = std::hint::black_box(n.wrapping_add(1));
                }
                n
            }
        };
        let threads = (0..count).map(|_| std::thread::spawn(busy(Arc::clone(&stop)))).collect();
        Self(stop, threads)
    }
}

impl Drop for Thieves {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.drain(..).for_each(|thread| _ = thread.join());
    }
}

#[test]
fn while_others_have_the_processor_nothing_raw_leaves_and_quality_comes_back() {
    support::init();
    let size = "video/x-raw,format=I420,width=320,height=240";
    let film = film(size, 12);
    // A millisecond a frame: no machine has time for that.
    let hurried = format!("{size},framerate=1000/1");
    let face = face(&hurried, &film);
    let element = real("nullface", "always");
    let (mut h, _bus) = harness(&element, &hurried);
    let thieves = Thieves::new(4);
    let mut n = 0;
    while n < 40 || stats(&element).get::<&str>("rung") == Ok("full") {
        push(&mut h, &hurried, &film, face, n, gst::ClockTime::MSECOND);
        n += 1;
        assert!(n < 5_000, "looks and faces in a millisecond each");
    }
    assert_accounted(&element, n);
    drop(thieves);
    // From now on a frame has ten seconds.
    let calm = format!("{size},framerate=1/10");
    h.set_src_caps(calm.parse().expect("caps"));
    let (lasts, begun, before) = (gst::ClockTime::from_seconds(10), n, count(&element, "replaced"));
    while stats(&element).get::<&str>("rung") != Ok("full") || count(&element, "replaced") < before + 5 {
        push(&mut h, &calm, &film, face, n, lasts);
        n += 1;
        assert!(n - begun < 500, "{:?}", stats(&element));
    }
    assert_accounted(&element, n);
}
