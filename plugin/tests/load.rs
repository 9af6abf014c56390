//! Load: the ladder, the latency that a deadline means, frames that the base class drops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gst::prelude::*;
use support::{Act, Script, assert_no_source_block, caps, element, frame, harness, messages};

/// A frame lasts a millisecond, and looking at one takes five.
fn hurried() -> (Arc<Script>, String) {
    let script = Arc::new(Script {
        analyse: Box::new(|_| Act::Sleep(Duration::from_millis(5))),
        ..Script::default()
    });
    (script, "video/x-raw,format=NV12,width=32,height=32,framerate=1000/1".to_owned())
}

fn at_ms(caps: &str, n: u64) -> gst::Buffer {
    let mut buffer = frame(caps, n);
    let inner = buffer.get_mut().expect("only");
    inner.set_pts(gst::ClockTime::from_mseconds(n));
    inner.set_duration(gst::ClockTime::from_mseconds(1));
    buffer
}

fn rung(element: &gst::Element) -> String {
    element.property::<gst::Structure>("stats").get("rung").expect("a rung")
}

#[test]
fn a_machine_that_cannot_keep_up_covers_and_never_lets_a_source_block_go() {
    let (script, caps) = hurried();
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    element.set_property_from_str("mode", "solid");
    element.set_property_from_str("adapt", "always");
    let (mut h, bus) = harness(&element, &caps);
    for n in 0..40 {
        let source = at_ms(&caps, n);
        let before = source.copy_deep().expect("copy");
        h.push(source).expect("flow goes on");
        let out = h.try_pull().expect("a frame for a frame");
        assert_eq!(out.pts(), before.pts());
        assert_no_source_block(&caps, &before, &out);
    }
    assert_eq!(rung(&element), "frame");
    assert!(script.analysed.load(Ordering::SeqCst) < 20, "frames without a look cost nothing");
    let told: Vec<String> = messages(&bus)
        .iter()
        .filter_map(|m| {
            m.structure()
                .filter(|s| s.name() == "nullface-rung")
                .map(|s| s.get("rung").expect("rung"))
        })
        .collect();
    assert_eq!(told, ["frame"], "on change only");
}

#[test]
fn quality_comes_back_when_there_is_room_again() {
    let (script, caps) = hurried();
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    element.set_property_from_str("adapt", "always");
    let (mut h, _bus) = harness(&element, &caps);
    for n in 0..40 {
        h.push(at_ms(&caps, n)).expect("flow goes on");
    }
    assert_eq!(rung(&element), "frame");
    // From now on a frame lasts ten seconds.
    let slow = "video/x-raw,format=NV12,width=32,height=32,framerate=1/10";
    h.set_src_caps(slow.parse().expect("caps"));
    for n in 1..20 {
        let mut buffer = frame(slow, n);
        buffer.get_mut().expect("only").set_pts(gst::ClockTime::from_seconds(10 * n));
        buffer.get_mut().expect("only").set_duration(gst::ClockTime::from_seconds(10));
        h.push(buffer).expect("flow goes on");
    }
    assert_eq!(rung(&element), "full");
}

#[test]
fn what_is_not_to_adapt_takes_its_time() {
    let (script, caps) = hurried();
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    element.set_property_from_str("adapt", "never");
    let (mut h, _bus) = harness(&element, &caps);
    for n in 0..30 {
        h.push(at_ms(&caps, n)).expect("flow goes on");
    }
    assert_eq!(rung(&element), "full");
    assert_eq!(script.analysed.load(Ordering::SeqCst), 30);
}

#[test]
fn the_latency_holds_the_deadline_and_changes_with_it() {
    let element = element(&Arc::default());
    element.set_property("lookahead", 2_u32);
    element.set_property("processing-deadline", 30_000_000_u64);
    let (h, bus) = harness(&element, &caps("NV12", 16, 16));
    let ms = gst::ClockTime::from_mseconds;
    assert_eq!(h.query_latency(), Some(ms(3 * 40 + 30)));
    messages(&bus);
    element.set_property("processing-deadline", 50_000_000_u64);
    assert_eq!(h.query_latency(), Some(ms(3 * 40 + 50)));
    let latency = messages(&bus).iter().filter(|m| m.type_() == gst::MessageType::Latency).count();
    assert_eq!(latency, 1, "the pipeline is told");
    element.set_property("processing-deadline", 50_000_000_u64);
    assert!(messages(&bus).is_empty(), "nothing changed");
}

#[test]
fn frames_too_late_for_the_sink_are_dropped_before_they_cost_anything_and_the_engine_is_told() {
    let script: Arc<Script> = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    let nv12 = caps("NV12", 16, 16);
    let (mut h, _bus) = harness(&element, &nv12);
    h.push(frame(&nv12, 0)).expect("flow goes on");
    // The sink says that a frame at 80 ms came 400 ms late.
    let qos = gst::event::Qos::new(gst::QOSType::Underflow, 2.0, 400_000_000, gst::ClockTime::from_mseconds(80));
    assert!(h.push_upstream_event(qos));
    for n in 1..40 {
        h.push(frame(&nv12, n)).expect("flow goes on");
    }
    let log = script.log();
    let analysed: Vec<&String> = log.iter().filter(|l| l.starts_with("analyse")).collect();
    assert!(analysed.len() > 2 && analysed.len() < 40, "{} of 40", analysed.len());
    let gap = log.iter().rposition(|l| l == "gap").expect("the engine is told of the hole");
    assert!(log.get(gap + 1).is_some_and(|l| l.starts_with("analyse")), "{log:?}");
}
