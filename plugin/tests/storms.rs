//! Storms, after the stock scenarios of gst-validate: state changes, seeks, scrubbing, reverse playback,
//! caps that change with every frame. What counts is that all ends well and nothing raw leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use support::{FORMATS, Script, assert_no_source_block, caps, element, frame, harness, out_ms};

const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(120);

/// `videotestsrc ! nullfacefilter ! fakesink` with a scripted engine.
fn pipeline(source: &str, lookahead: u32) -> (gst::Pipeline, Arc<Script>, Arc<AtomicU64>) {
    support::init();
    let script: Arc<Script> = Arc::default();
    let filter = element(&script);
    filter.set_property("lookahead", lookahead);
    let source = gst::parse::bin_from_description(source, true).expect("source");
    let sink = gst::ElementFactory::make("fakesink").property("sync", false).build().expect("sink");
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([source.upcast_ref(), &filter, &sink]).expect("adds");
    gst::Element::link_many([source.upcast_ref(), &filter, &sink]).expect("links");
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    sink.static_pad("sink")
        .expect("pad")
        .add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            gst::PadProbeReturn::Ok
        });
    (pipeline, script, seen)
}

const PICTURE: &str =
    "videotestsrc num-buffers=100 pattern=ball ! capsfilter caps=video/x-raw,format=I420,width=33,height=17,framerate=25/1";

fn settle(pipeline: &gst::Pipeline, state: gst::State) {
    pipeline.set_state(state).expect("changes");
    pipeline.state(PATIENCE).0.expect("settles");
}

fn run_to_end(pipeline: &gst::Pipeline) {
    pipeline.set_state(gst::State::Playing).expect("plays");
    let end = pipeline
        .bus()
        .expect("bus")
        .timed_pop_filtered(PATIENCE, &[gst::MessageType::Eos, gst::MessageType::Error])
        .expect("ends");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    pipeline.set_state(gst::State::Null).expect("stops");
}

#[test]
fn intensive_state_changes_end_well() {
    let (pipeline, script, _) = pipeline(PICTURE, 3);
    use gst::State::{Null, Paused, Playing, Ready};
    for _ in 0..5 {
        for state in [
            Ready, Paused, Ready, Paused, Playing, Paused, Playing, Ready, Playing, Null, Playing, Null,
        ] {
            pipeline.set_state(state).expect("changes");
            if matches!(state, Null | Ready) {
                pipeline.state(PATIENCE).0.expect("settles");
            }
        }
    }
    let opened = script.opened.load(Ordering::SeqCst);
    assert!(opened >= 15, "{opened} openings");
    run_to_end(&pipeline);
}

#[test]
fn seeks_in_every_state_keep_frames_in_order() {
    let (pipeline, script, _) = pipeline(PICTURE, 2);
    settle(&pipeline, gst::State::Paused);
    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
    for n in 0..30_u64 {
        // Scrubbing forwards, then back and forth.
        let at = if n < 15 { n * 200 } else { (n * 1_777) % 3_800 };
        pipeline.seek_simple(flags, gst::ClockTime::from_mseconds(at)).expect("seeks");
        pipeline.state(PATIENCE).0.expect("prerolls");
        if n % 10 == 9 {
            settle(&pipeline, gst::State::Playing);
            settle(&pipeline, gst::State::Paused);
        }
    }
    run_to_end(&pipeline);
    let log = script.log();
    for part in log.split(|l| l == "flush") {
        let times: Vec<u64> = part
            .iter()
            .filter_map(|l| l.strip_prefix("render ")?.strip_suffix("ms")?.parse().ok())
            .collect();
        assert!(times.windows(2).all(|t| t[0] < t[1]), "{times:?}");
    }
}

#[test]
fn reverse_playback_lets_every_frame_out() {
    let (pipeline, script, seen) = pipeline(PICTURE, 2);
    settle(&pipeline, gst::State::Paused);
    pipeline
        .seek(
            -1.0,
            gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
            gst::SeekType::Set,
            gst::ClockTime::ZERO,
            gst::SeekType::Set,
            gst::ClockTime::from_seconds(2),
        )
        .expect("seeks backwards");
    pipeline.state(PATIENCE).0.expect("prerolls");
    let before = script.rendered.load(Ordering::SeqCst);
    run_to_end(&pipeline);
    assert!(seen.load(Ordering::SeqCst) >= 49, "{} frames", seen.load(Ordering::SeqCst));
    assert!(script.rendered.load(Ordering::SeqCst) > before);
    assert!(script.log().iter().any(|l| l == "gap"), "time runs backwards for the tracker");
}

#[test]
fn caps_that_change_with_every_frame_lose_none_and_let_nothing_raw_go() {
    let script: Arc<Script> = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 3_u32);
    let (mut h, _bus) = harness(&element, &caps("NV12", 16, 16));
    let sizes = [(16, 16), (1, 1), (33, 7), (640, 2), (3, 401)];
    let mut sent = Vec::new();
    for n in 0..60_u64 {
        let (width, height) = sizes[n as usize % sizes.len()];
        let caps = caps(FORMATS[n as usize % FORMATS.len()], width, height);
        h.set_src_caps(caps.parse().expect("caps"));
        let source = frame(&caps, n);
        sent.push((caps.clone(), source.copy_deep().expect("copy")));
        h.push(source).expect("flow goes on");
    }
    assert!(h.push_event(gst::event::Eos::new()));
    let mut compared = 0;
    for (caps, source) in &sent {
        let out = h.try_pull().expect("a frame for a frame");
        assert_eq!(out.pts(), source.pts());
        assert_no_source_block(caps, source, &out);
        compared += 1;
    }
    assert_eq!(compared, 60);
    assert!(out_ms(&mut h).is_empty());
    assert_eq!(script.log().iter().filter(|l| *l == "caps").count(), 59);
}

#[test]
fn clocks_that_jump_are_gaps_and_lose_no_frame() {
    let script: Arc<Script> = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 2_u32);
    let nv12 = caps("NV12", 16, 16);
    let (mut h, _bus) = harness(&element, &nv12);
    for (n, at_s) in [0_u64, 1, 2, 90_000, 90_001, 5, 6, 7].into_iter().enumerate() {
        let mut buffer = frame(&nv12, n as u64);
        buffer.get_mut().expect("only").set_pts(gst::ClockTime::from_seconds(at_s));
        h.push(buffer).expect("flow goes on");
    }
    assert!(h.push_event(gst::event::Eos::new()));
    let out: Vec<u64> = out_ms(&mut h).iter().map(|ms| ms / 1000).collect();
    assert_eq!(out, [0, 1, 2, 90_000, 90_001, 5, 6, 7]);
    let log = script.log();
    let back = log.iter().position(|l| l == "analyse 5000ms").expect("analysed");
    assert_eq!(log[back - 1], "gap", "{log:?}");
}
