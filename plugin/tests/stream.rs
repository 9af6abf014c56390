//! Number, order and time of buffers; lookahead; what a break in the stream does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::Arc;

use gst::prelude::*;
use support::{Act, Script, caps, element, frame, harness, messages, out_ms};

fn nv12() -> String {
    caps("NV12", 16, 16)
}

fn ms(range: std::ops::Range<u64>) -> Vec<u64> {
    range.map(|n| n * 40).collect()
}

#[test]
fn buffers_keep_number_order_and_time_at_every_lookahead() {
    for lookahead in 0..=8_u64 {
        let script = Arc::default();
        let element = element(&script);
        element.set_property("lookahead", lookahead as u32);
        let held_back = if lookahead == 0 { 0 } else { lookahead + 1 };
        let (mut h, _bus) = harness(&element, &nv12());
        for n in 0..12 {
            h.push(frame(&nv12(), n)).expect("flow goes on");
            assert_eq!(
                u64::from(h.buffers_received()),
                (n + 1).saturating_sub(held_back),
                "lookahead {lookahead}"
            );
        }
        assert!(h.push_event(gst::event::Eos::new()));
        assert_eq!(out_ms(&mut h), ms(0..12), "lookahead {lookahead}");
        let analysed = script.log().iter().filter(|line| line.starts_with("analyse")).count();
        let rendered = script.log().iter().filter(|line| line.starts_with("render")).count();
        assert_eq!((analysed, rendered), (12, 12));
    }
}

#[test]
fn a_frame_is_rendered_after_its_lookahead_was_analysed() {
    let script = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 2_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    for n in 0..4 {
        h.push(frame(&nv12(), n)).expect("flow goes on");
    }
    let log: Vec<String> = script.log().into_iter().filter(|l| l.contains("ms")).collect();
    // The last two go on at the same time; the fake does one after the other.
    assert_eq!(log, ["analyse 0ms", "analyse 40ms", "analyse 80ms", "render 0ms", "analyse 120ms"]);
}

#[test]
fn a_flush_forgets_all_frames_held() {
    let script = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 4_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    for n in 0..3 {
        h.push(frame(&nv12(), n)).expect("flow goes on");
    }
    assert!(h.push_event(gst::event::FlushStart::new()));
    assert!(h.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(h.push_event(gst::event::Segment::new(&segment)));
    for n in 100..102 {
        h.push(frame(&nv12(), n)).expect("flow goes on");
    }
    assert!(h.push_event(gst::event::Eos::new()));
    assert_eq!(out_ms(&mut h), ms(100..102));
    let log = script.log();
    let flush = log.iter().position(|l| l == "flush").expect("the engine is told");
    assert!(log[..flush].iter().all(|l| !l.starts_with("render")), "{log:?}");
    assert_eq!(log.iter().filter(|l| *l == "flush").count(), 1);
}

#[test]
fn a_change_of_caps_drains_first_and_tells_the_engine() {
    let script = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 3_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    h.push(frame(&nv12(), 0)).expect("flow goes on");
    h.push(frame(&nv12(), 1)).expect("flow goes on");
    let other = caps("BGRx", 33, 7);
    h.set_src_caps(other.parse().expect("caps"));
    assert_eq!(h.buffers_received(), 2, "frames of the old caps left before the new caps");
    h.push(frame(&other, 2)).expect("flow goes on");
    assert!(h.push_event(gst::event::Eos::new()));
    let sizes: Vec<usize> = std::iter::from_fn(|| h.try_pull()).map(|b| b.size()).collect();
    let (old, new) = (support::info(&nv12()).size(), support::info(&other).size());
    assert_eq!(sizes, [old, old, new]);
    let log = script.log();
    let caps = log.iter().position(|l| l == "caps").expect("the engine is told");
    assert!(caps > log.iter().position(|l| l == "render 40ms").expect("rendered"), "{log:?}");
    assert!(caps < log.iter().position(|l| l == "analyse 80ms").expect("analysed"), "{log:?}");
}

#[test]
fn a_discontinuity_drains_and_is_a_gap() {
    let script = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 3_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    h.push(frame(&nv12(), 0)).expect("flow goes on");
    let mut jumped = frame(&nv12(), 50);
    jumped.get_mut().expect("only").set_flags(gst::BufferFlags::DISCONT);
    h.push(jumped).expect("flow goes on");
    assert_eq!(out_ms(&mut h), [0]);
    let log = script.log();
    let gap = log.iter().rposition(|l| l == "gap").expect("the engine is told");
    assert_eq!(log.get(gap + 1).map(String::as_str), Some("analyse 2000ms"), "{log:?}");
}

#[test]
fn a_gap_event_drains_first_goes_on_and_is_told_to_the_engine() {
    let script = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 3_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    h.push(frame(&nv12(), 0)).expect("flow goes on");
    while h.try_pull_event().is_some() {}
    let gap = gst::event::Gap::builder(gst::ClockTime::from_mseconds(40)).duration(gst::ClockTime::from_mseconds(80));
    assert!(h.push_event(gap.build()));
    assert_eq!(out_ms(&mut h), [0], "what was held leaves before the gap");
    assert!(std::iter::from_fn(|| h.try_pull_event()).any(|e| e.type_() == gst::EventType::Gap));
    h.push(frame(&nv12(), 3)).expect("flow goes on");
    let log = script.log();
    let gap = log.iter().rposition(|l| l == "gap").expect("the engine is told");
    assert_eq!(log.get(gap + 1).map(String::as_str), Some("analyse 120ms"), "{log:?}");
}

#[test]
fn a_new_segment_without_flush_drains_and_ends_tracks() {
    let script = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 3_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    h.push(frame(&nv12(), 0)).expect("flow goes on");
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(gst::ClockTime::SECOND);
    assert!(h.push_event(gst::event::Segment::new(&segment)));
    assert_eq!(h.buffers_received(), 1);
    h.push(frame(&nv12(), 30)).expect("flow goes on");
    let log = script.log();
    assert!(
        log.iter().position(|l| l == "flush") > log.iter().position(|l| l == "render 0ms"),
        "{log:?}"
    );
}

#[test]
fn events_keep_their_place_among_held_frames() {
    let element = element(&Arc::default());
    element.set_property("lookahead", 2_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    while h.try_pull_event().is_some() {}
    h.push(frame(&nv12(), 0)).expect("flow goes on");
    let mark = gst::event::CustomDownstream::new(gst::Structure::new_empty("mark"));
    assert!(h.push_event(mark));
    let is_mark =
        |h: &mut gst_check::Harness| std::iter::from_fn(|| h.try_pull_event()).any(|e| e.structure().is_some_and(|s| s.name() == "mark"));
    h.push(frame(&nv12(), 1)).expect("flow goes on");
    assert!(!is_mark(&mut h), "it overtook the frame before it");
    h.push(frame(&nv12(), 2)).expect("flow goes on");
    h.push(frame(&nv12(), 3)).expect("flow goes on");
    h.push(frame(&nv12(), 4)).expect("flow goes on");
    assert!(is_mark(&mut h));
    assert_eq!(out_ms(&mut h), [0, 40]);
}

#[test]
fn a_break_is_told_once_however_many_frames_are_held() {
    let script = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 3_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    let mut first = frame(&nv12(), 0);
    first.get_mut().expect("only").set_flags(gst::BufferFlags::DISCONT);
    h.push(first).expect("flow goes on");
    for n in 1..6 {
        h.push(frame(&nv12(), n)).expect("flow goes on");
    }
    let mut jumped = frame(&nv12(), 50);
    jumped.get_mut().expect("only").set_flags(gst::BufferFlags::DISCONT);
    h.push(jumped).expect("flow goes on");
    let log = script.log();
    let gaps: Vec<usize> = (0..log.len()).filter(|i| log[*i] == "gap").collect();
    assert_eq!(gaps.len(), 2, "{log:?}");
    assert_eq!(log.get(gaps[0] + 1).map(String::as_str), Some("analyse 0ms"), "{log:?}");
    assert_eq!(log.get(gaps[1] + 1).map(String::as_str), Some("analyse 2000ms"), "{log:?}");
}

#[test]
fn the_latency_query_holds_the_lookahead() {
    let element = element(&Arc::default());
    element.set_property("lookahead", 3_u32);
    let (mut h, bus) = harness(&element, &nv12());
    h.set_upstream_latency(gst::ClockTime::from_mseconds(7));
    assert_eq!(h.query_latency(), Some(gst::ClockTime::from_mseconds(7 + 4 * 40)));
    assert!(
        messages(&bus).iter().any(|m| m.type_() == gst::MessageType::Latency),
        "the pipeline is told"
    );
}

#[test]
fn frames_without_time_are_spread_by_the_rate() {
    let script = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    for _ in 0..3 {
        let mut buffer = frame(&nv12(), 0);
        let inner = buffer.get_mut().expect("only");
        inner.set_pts(None);
        inner.set_duration(None);
        h.push(buffer).expect("flow goes on");
        assert_eq!(h.try_pull().expect("out").pts(), None, "no time is invented downstream");
    }
    let log: Vec<String> = script.log().into_iter().filter(|l| l.starts_with("analyse")).collect();
    assert_eq!(log, ["analyse 0ms", "analyse 40ms", "analyse 80ms"]);
}

#[test]
fn stopping_forgets_the_stream_and_starting_opens_anew() {
    let script: Arc<Script> = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 4_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    for round in 1..=3 {
        assert_eq!(script.opened.load(std::sync::atomic::Ordering::SeqCst), round);
        h.push(frame(&nv12(), 0)).expect("flow goes on");
        assert_eq!(h.buffers_received(), 0, "nothing of the round before");
        element.set_state(gst::State::Null).expect("stops");
        h.play();
        h.set_src_caps(nv12().parse().expect("caps"));
    }
    assert!(script.log().iter().all(|l| !l.starts_with("render")), "{:?}", script.log());
}

#[test]
fn dropped_frames_mark_the_next_as_discontinuous() {
    let script = Arc::new(Script {
        analyse: Box::new(|n| if n == 0 { Act::Fault } else { Act::Go }),
        ..Script::default()
    });
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    element.set_property_from_str("on-failure", "drop");
    let (mut h, _bus) = harness(&element, &nv12());
    h.push(frame(&nv12(), 0)).expect("flow goes on");
    assert!(h.try_pull().is_none());
    element.set_property_from_str("on-failure", "cover");
    h.push(frame(&nv12(), 1)).expect("flow goes on");
    assert!(h.try_pull().expect("out").flags().contains(gst::BufferFlags::DISCONT));
}

#[test]
fn a_pipeline_plays_seeks_and_ends() {
    support::init();
    let pipeline = gst::parse::launch(
        "videotestsrc num-buffers=60 pattern=ball ! video/x-raw,format=I420,width=65,height=49,framerate=30/1 \
         ! nullfacefilter name=f lookahead=3 mode=solid ! fakesink name=s sync=false signal-handoffs=true",
    )
    .expect("pipeline")
    .downcast::<gst::Pipeline>()
    .expect("pipeline");
    let script: Arc<Script> = Arc::default();
    let fake = element(&script);
    fake.set_property("lookahead", 3_u32);
    let old = pipeline.by_name("f").expect("filter");
    let (before, sink) = (pipeline.by_name("s").expect("sink"), old.clone());
    let source_pad = old.static_pad("sink").and_then(|p| p.peer()).expect("linked");
    let sink_pad = before.static_pad("sink").expect("sink pad");
    source_pad.unlink(&old.static_pad("sink").expect("pad")).expect("unlinks");
    old.unlink(&before);
    pipeline.remove(&sink).expect("removed");
    pipeline.add(&fake).expect("added");
    source_pad.link(&fake.static_pad("sink").expect("pad")).expect("links");
    fake.static_pad("src").expect("pad").link(&sink_pad).expect("links");

    let bus = pipeline.bus().expect("bus");
    pipeline.set_state(gst::State::Paused).expect("pauses");
    pipeline.state(gst::ClockTime::from_seconds(60)).0.expect("paused");
    for at in [1_000, 200, 1_500] {
        pipeline
            .seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, gst::ClockTime::from_mseconds(at))
            .expect("seeks");
        pipeline.state(gst::ClockTime::from_seconds(60)).0.expect("prerolled again");
    }
    pipeline.set_state(gst::State::Playing).expect("plays");
    let end = bus
        .timed_pop_filtered(gst::ClockTime::from_seconds(120), &[gst::MessageType::Eos, gst::MessageType::Error])
        .expect("ends");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    pipeline.set_state(gst::State::Null).expect("stops");
    let log = script.log();
    assert!(log.iter().filter(|l| *l == "flush").count() >= 3, "{log:?}");
    assert_eq!(log.last().map(|l| l.starts_with("render")), Some(true), "EOS drained: {log:?}");
}

#[test]
fn a_frame_flagged_as_not_to_be_shown_is_worked_through_and_leaves_no_trace() {
    let script: Arc<Script> = Arc::default();
    let element = element(&script);
    let folder = tempfile::tempdir().expect("folder");
    let trail = folder.path().join("trail.jsonl");
    element.set_property("lookahead", 2_u32);
    element.set_property("audit-location", trail.to_str().expect("UTF-8"));
    let caps = nv12();
    let (mut h, _bus) = harness(&element, &caps);
    for n in 0..6 {
        let mut buffer = frame(&caps, n);
        if [0, 1, 4].contains(&n) {
            buffer.make_mut().set_flags(gst::BufferFlags::DECODE_ONLY);
        }
        h.push(buffer).expect("flow goes on");
    }
    h.push_event(gst::event::Eos::new());
    let left: Vec<u64> = std::iter::from_fn(|| h.try_pull())
        .filter_map(|b| b.pts())
        .map(gst::ClockTime::mseconds)
        .collect();
    assert_eq!(left, [80, 120, 200]);
    let log = script.log();
    let rehearsed: Vec<&String> = log.iter().filter(|l| l.starts_with("rehearse")).collect();
    assert_eq!(rehearsed, ["rehearse 0ms", "rehearse 40ms", "rehearse 160ms"]);
    let place = |line: &str| log.iter().position(|l| l == line);
    assert!(place("render 120ms") < place("rehearse 160ms"), "frames held go first: {log:?}");
    let stats: gst::Structure = element.property("stats");
    assert_eq!((stats.get::<u64>("frames-in"), stats.get::<u64>("frames-out")), (Ok(3), Ok(3)));
    assert_eq!(stats.get::<u64>("frames-rendered"), Ok(3));
    drop(h);
    element.set_state(gst::State::Null).expect("stops");
    let trail = std::fs::read_to_string(&trail).expect("a trail");
    assert!(trail.lines().last().is_some_and(|l| l.contains("\"frames\":3")), "{trail}");
    assert_eq!(element.property::<Option<String>>("handed-over"), None, "nobody is replaced here");
}
