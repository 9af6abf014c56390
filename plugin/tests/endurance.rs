//! Hours of live input, as fast as they run: the sample film at 96×72, over and over, through the real
//! engine. Memory, threads and descriptors stay, no frame is lost, time runs on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use gst::prelude::*;
use support::{film, harness};

/// A little over 13 minutes at 25 frames/s.
const FRAMES: u64 = 20_000;
/// Frames after which buffers, pools and tables have their size.
const WARM: u64 = 4_000;
/// How much memory may grow after that.
const GROWTH: f64 = 0.02;
const CAPS: &str = "video/x-raw,format=I420,width=96,height=72,framerate=25/1";

#[derive(Debug, Clone, Copy)]
struct Held {
    memory_kib: u64,
    threads: usize,
    descriptors: usize,
}

fn held() -> Held {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).expect("a field");
        line.split_whitespace().find_map(|w| w.parse().ok()).expect("a number")
    };
    Held {
        memory_kib: field("VmRSS:"),
        threads: usize::try_from(field("Threads:")).expect("threads"),
        descriptors: std::fs::read_dir("/proc/self/fd").expect("descriptors").count(),
    }
}

#[test]
fn twenty_thousand_frames_grow_nothing_and_lose_nothing() {
    support::init();
    let film = film(CAPS, usize::MAX);
    assert!(film.len() > 100, "{} frames", film.len());
    let element = gst::ElementFactory::make("nullfacefilter")
        .property("lookahead", 2_u32)
        .property("threads", 1_u32)
        .build()
        .expect("element");
    element.set_property_from_str("mode", "pixelate");
    // The harness is a live source; here nothing may depend on the machine's speed.
    element.set_property_from_str("adapt", "never");
    let (mut h, bus) = harness(&element, CAPS);
    let (mut warm, mut out, mut last, mut dropped) = (None, 0_u64, None, 0_u64);
    for n in 0..FRAMES {
        let mut buffer = film[n as usize % film.len()].copy();
        let inner = buffer.get_mut().expect("only");
        inner.set_pts(gst::ClockTime::from_mseconds(40) * n);
        inner.set_duration(gst::ClockTime::from_mseconds(40));
        h.push(buffer).expect("flow goes on");
        while let Some(buffer) = h.try_pull() {
            assert!(buffer.pts() > last, "time runs on");
            last = buffer.pts();
            out += 1;
        }
        while let Some(message) = bus.pop() {
            match message.view() {
                gst::MessageView::Qos(_) => dropped += 1,
                gst::MessageView::Error(e) => panic!("{e:?}"),
                _ => {}
            }
        }
        while h.try_pull_event().is_some() {}
        if n == WARM {
            warm = Some(held());
        }
    }
    let (warm, end) = (warm.expect("warm"), held());
    h.push_event(gst::event::Eos::new());
    out += std::iter::from_fn(|| h.try_pull()).count() as u64;
    assert_eq!(out + dropped, FRAMES);
    let stats: gst::Structure = element.property("stats");
    let count = |name: &str| stats.get::<u64>(name).expect("a count");
    eprintln!(
        "{warm:?} → {end:?}; {} tracks, {} regions, {} withheld",
        count("tracks"),
        count("faces"),
        count("frames-withheld")
    );
    assert!(count("faces") > FRAMES / 2, "faces were there to be treated");
    assert_eq!(count("frames-withheld"), 0);
    assert!(end.threads <= warm.threads, "threads: {} → {}", warm.threads, end.threads);
    assert!(
        end.descriptors <= warm.descriptors,
        "descriptors: {} → {}",
        warm.descriptors,
        end.descriptors
    );
    let growth = end.memory_kib as f64 / warm.memory_kib as f64 - 1.0;
    assert!(growth < GROWTH, "memory grew by {:.1} %", growth * 100.0);
}
