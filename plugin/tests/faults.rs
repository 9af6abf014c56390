//! Each way in which such an element may leak, injected; after each, no block of the source leaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::type_complexity,
    reason = "a test ends by panicking"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gst::prelude::*;
use gst_base::prelude::*;
use support::{Act, Gate, Script, assert_no_source_block, assert_one_colour, caps, element, errors, frame, harness, messages};

const SIZE: (u32, u32) = (37, 21);

fn nv12() -> String {
    caps("NV12", SIZE.0, SIZE.1)
}

fn script(analyse: impl Fn(u64) -> Act + Send + Sync + 'static, render: impl Fn(u64) -> Act + Send + Sync + 'static) -> Arc<Script> {
    Arc::new(Script {
        analyse: Box::new(analyse),
        render: Box::new(render),
        ..Script::default()
    })
}

/// Pushes frames through and asserts that each of `faulty` left as one opaque colour.
fn covers(script: &Arc<Script>, frames: u64, faulty: &[u64]) -> gst::Element {
    let element = element(script);
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    for n in 0..frames {
        let source = frame(&nv12(), n);
        h.push(source.copy_deep().expect("copy")).expect("flow goes on");
        let out = h.try_pull().expect("one buffer for one buffer");
        assert_eq!((out.pts(), out.duration()), (source.pts(), source.duration()));
        if faulty.contains(&n) {
            assert_no_source_block(&nv12(), &source, &out);
            assert_one_colour(&nv12(), &out);
        }
    }
    element
}

#[test]
fn a_panicking_analysis_releases_no_source_block() {
    let script = script(|n| if n == 1 { Act::Panic } else { Act::Go }, |_| Act::Go);
    covers(&script, 4, &[1]);
    assert_eq!(script.opened.load(Ordering::SeqCst), 2, "the engine was opened anew");
}

#[test]
fn a_panicking_rendering_releases_no_source_block() {
    for act in [|| Act::Panic, || Act::PanicAfter] {
        let script = script(|_| Act::Go, move |n| if n == 1 { act() } else { Act::Go });
        covers(&script, 4, &[1]);
        assert_eq!(script.opened.load(Ordering::SeqCst), 2, "the engine was opened anew");
    }
}

#[test]
fn whom_somebody_chose_to_keep_is_anonymised_once_numbers_begin_again() {
    let script = script(|n| if n == 3 { Act::Panic } else { Act::Go }, |_| Act::Go);
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    element.set_property("keep-tracks", "7");
    let (mut h, _bus) = harness(&element, &nv12());
    let mut push = |n| {
        h.push(frame(&nv12(), n)).expect("flow goes on");
        h.try_pull().expect("one buffer for one buffer");
    };
    push(0);
    element.set_property("keep-tracks", "7,1");
    push(1);
    push(2);
    push(3);
    push(4);
    element.set_property("keep-tracks", "7,1,2");
    push(5);
    element.set_property("keep-tracks", "");
    push(6);
    element.set_property("keep-tracks", "1");
    push(7);
    assert_eq!(script.opened.load(Ordering::SeqCst), 2);
    let kept: Vec<String> = script.log().into_iter().filter(|line| line.starts_with("keep")).collect();
    // 7 was chosen before the start, and 1 before the panic until it was chosen anew.
    assert_eq!(kept, ["keep [1]", "keep [2]", "keep [1]"]);
}

#[test]
fn an_engine_that_always_panics_releases_no_source_block_and_is_given_up() {
    let script = script(|_| Act::Panic, |_| Act::Go);
    covers(&script, 12, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(script.opened.load(Ordering::SeqCst), 4, "opened once and anew three times");
}

#[test]
fn frames_that_a_lost_engine_had_analysed_are_withheld() {
    // The new engine's ids begin again: without a guard, frame 1 would be rendered by frame 3's plan.
    let script = script(|n| if n == 2 { Act::Panic } else { Act::Go }, |_| Act::Go);
    let element = element(&script);
    element.set_property("lookahead", 2_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    let sources: Vec<gst::Buffer> = (0..6).map(|n| frame(&nv12(), n)).collect();
    for source in &sources {
        h.push(source.copy_deep().expect("copy")).expect("flow goes on");
    }
    assert!(h.push_event(gst::event::Eos::new()));
    for source in sources.iter().take(3) {
        let out = h.try_pull().expect("each frame leaves");
        assert_eq!(out.pts(), source.pts());
        assert_no_source_block(&nv12(), source, &out);
        assert_one_colour(&nv12(), &out);
    }
    assert_eq!(support::out_ms(&mut h), [120, 160, 200]);
    let rendered: Vec<String> = script.log().into_iter().filter(|line| line.starts_with("render")).collect();
    assert_eq!(rendered, ["render 120ms", "render 160ms", "render 200ms"]);
}

#[test]
fn a_stage_that_complains_releases_no_source_block() {
    covers(&script(|n| if n == 1 { Act::Fault } else { Act::Go }, |_| Act::Go), 3, &[1]);
}

#[test]
fn a_stage_that_returns_early_without_touching_pixels_releases_no_source_block() {
    covers(&script(|_| Act::Go, |_| Act::Untouched), 3, &[0, 1, 2]);
}

#[test]
fn refused_settings_release_no_source_block() {
    let script = Arc::new(Script {
        refuse_settings: true,
        ..Script::default()
    });
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    h.push(frame(&nv12(), 0)).expect("flow goes on");
    element.set_property("threshold", 0.25_f32);
    let source = frame(&nv12(), 1);
    h.push(source.copy_deep().expect("copy")).expect("flow goes on");
    assert!(h.try_pull().is_some());
    let out = h.try_pull().expect("covered");
    assert_no_source_block(&nv12(), &source, &out);
}

#[test]
fn a_stage_that_sleeps_past_its_deadline_releases_no_source_block() {
    for in_analysis in [true, false] {
        let gate = Gate::new();
        let door = gate.clone();
        let sleep = move |n| if n == 0 { Act::Wait(door.clone()) } else { Act::Go };
        let script = if in_analysis {
            script(sleep, |_| Act::Go)
        } else {
            script(|_| Act::Go, sleep)
        };
        let element = element(&script);
        element.set_property("lookahead", 0_u32);
        element.set_property("processing-deadline", 5_000_000_u64);
        let (mut h, _bus) = harness(&element, &nv12());
        let mut left = Vec::new();
        for n in 0..3 {
            let source = frame(&nv12(), n);
            h.push(source.copy_deep().expect("copy")).expect("flow goes on");
            let out = h.try_pull().expect("one buffer for one buffer, asleep or not");
            assert_eq!(out.pts(), source.pts());
            assert_no_source_block(&nv12(), &source, &out);
            assert_one_colour(&nv12(), &out);
            left.push((source, out));
        }
        gate.open();
        // Without a deadline the next frame waits for the sleeper and is treated.
        element.set_property("processing-deadline", 0_u64);
        h.push(frame(&nv12(), 3)).expect("flow goes on");
        assert!(h.try_pull().is_some());
        assert!(
            script.log().contains(&"render 120ms".to_owned()),
            "the engine is back: {:?}",
            script.log()
        );
        for (source, out) in &left {
            assert_no_source_block(&nv12(), source, out);
            assert_one_colour(&nv12(), out);
        }
    }
}

#[test]
fn an_analysis_that_ends_before_its_frames_turn_still_serves() {
    let gate = Gate::new();
    let door = gate.clone();
    let script = script(move |n| if n == 0 { Act::Wait(door.clone()) } else { Act::Go }, |_| Act::Go);
    let element = element(&script);
    element.set_property("lookahead", 1_u32);
    element.set_property("processing-deadline", 5_000_000_u64);
    let (mut h, _bus) = harness(&element, &nv12());
    h.push(frame(&nv12(), 0)).expect("flow goes on");
    gate.open();
    element.set_property("processing-deadline", 0_u64);
    h.push(frame(&nv12(), 1)).expect("flow goes on");
    h.push(frame(&nv12(), 2)).expect("flow goes on");
    assert_eq!(support::out_ms(&mut h), [0]);
    assert!(script.log().contains(&"render 0ms".to_owned()), "{:?}", script.log());
}

#[test]
fn a_flush_ends_waiting_for_a_stage_that_hangs() {
    let gate = Gate::new();
    let door = gate.clone();
    let script = script(move |n| if n == 0 { Act::Wait(door.clone()) } else { Act::Go }, |_| Act::Go);
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    let sink = element.static_pad("sink").expect("sink");
    let flusher = std::thread::spawn({
        let script = Arc::clone(&script);
        move || {
            while !script.log().contains(&"analyse 0ms".to_owned()) {
                std::thread::yield_now();
            }
            sink.send_event(gst::event::FlushStart::new())
        }
    });
    assert_eq!(h.push(frame(&nv12(), 0)), Err(gst::FlowError::Flushing));
    assert!(flusher.join().expect("flusher"));
    gate.open();
    assert!(h.try_pull().is_none(), "nothing leaves");
}

#[test]
fn an_engine_that_cannot_be_opened_fails_the_start_with_file_and_remedy() {
    let script = Arc::new(Script {
        refuse_open: Box::new(|_| true),
        ..Script::default()
    });
    let element = element(&script);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    element.set_state(gst::State::Null).expect("back");
    let words = errors(&bus);
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(
        words[0].contains("models/centerface.onnx") && words[0].contains("scripts/setup.sh"),
        "{words:?}"
    );
}

#[test]
fn an_engine_that_cannot_be_opened_again_releases_no_source_block() {
    let script = Arc::new(Script {
        analyse: Box::new(|n| if n == 1 { Act::Panic } else { Act::Go }),
        refuse_open: Box::new(|n| n > 0),
        ..Script::default()
    });
    covers(&script, 8, &[1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_buffer_smaller_than_its_caps_is_covered() {
    let element = element(&Arc::default());
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    for size in [0, 1, 100] {
        let mut source = gst::Buffer::from_mut_slice(vec![77_u8; size]);
        source.get_mut().expect("only reference").set_pts(gst::ClockTime::ZERO);
        h.push(source).expect("flow goes on");
        let out = h.try_pull().expect("covered");
        assert_one_colour(&nv12(), &out);
        let map = out.map_readable().expect("map");
        assert!(!map.as_slice().contains(&77), "a byte of the source left");
    }
}

#[test]
fn a_video_meta_that_lies_is_covered() {
    use gst_video::{VideoFormat, VideoFrameFlags, VideoMeta};
    let (w, h_px) = SIZE;
    let lies: [(VideoFormat, u32, u32, [usize; 2], [i32; 2]); 5] = [
        (VideoFormat::Nv12, w, h_px, [0, 1 << 30], [40, 40]),
        (VideoFormat::Nv12, w, h_px, [0, 40], [40, 40]),
        (VideoFormat::Nv12, w, h_px, [0, 880], [4000, 4000]),
        (VideoFormat::Nv12, w - 9, h_px, [0, 880], [40, 40]),
        (VideoFormat::Nv21, w, h_px, [0, 880], [40, 40]),
    ];
    let element = element(&Arc::default());
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    for (format, width, height, offsets, strides) in lies {
        let mut source = frame(&nv12(), 0);
        let inner = source.get_mut().expect("only reference");
        if VideoMeta::add_full(inner, VideoFrameFlags::empty(), format, width, height, &offsets, &strides).is_err() {
            // The bindings refuse some lies already; those cannot come from Rust.
            continue;
        }
        h.push(source.clone()).expect("flow goes on");
        let out = h.try_pull().expect("covered");
        assert_one_colour(&nv12(), &out);
    }
}

#[test]
fn drop_lets_nothing_out_in_the_place_of_a_faulty_frame() {
    let script = script(|n| if n == 1 { Act::Panic } else { Act::Go }, |_| Act::Untouched);
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    element.set_property_from_str("on-failure", "drop");
    let (mut h, _bus) = harness(&element, &nv12());
    for n in 0..3 {
        h.push(frame(&nv12(), n)).expect("flow goes on");
    }
    assert_eq!(h.buffers_received(), 0);
    let stats: gst::Structure = element.property("stats");
    assert_eq!(stats.get::<u64>("frames-dropped"), Ok(3));
}

#[test]
fn error_ends_the_stream_at_a_faulty_frame() {
    let element = element(&script(|_| Act::Panic, |_| Act::Go));
    element.set_property("lookahead", 0_u32);
    element.set_property_from_str("on-failure", "error");
    let (mut h, bus) = harness(&element, &nv12());
    assert_eq!(h.push(frame(&nv12(), 0)), Err(gst::FlowError::Error));
    assert_eq!(h.buffers_received(), 0);
    let words = errors(&bus);
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(words[0].contains("panicked"), "{words:?}");
    assert!(
        !words[0].contains("on cue"),
        "the panic's own words may quote the picture: {words:?}"
    );
}

#[test]
fn cover_frame_covers_the_whole_frame() {
    let element = element(&script(|_| Act::PanicAfter, |_| Act::Go));
    element.set_property("lookahead", 0_u32);
    element.set_property_from_str("on-failure", "cover-frame");
    let (mut h, _bus) = harness(&element, &nv12());
    let source = frame(&nv12(), 0);
    h.push(source.copy_deep().expect("copy")).expect("flow goes on");
    let out = h.try_pull().expect("covered");
    assert_no_source_block(&nv12(), &source, &out);
}

#[test]
fn passthrough_forced_from_outside_releases_no_source_block() {
    let script = script(|_| Act::Panic, |_| Act::Go);
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    let base = element.clone().downcast::<gst_base::BaseTransform>().expect("a transform");
    base.set_passthrough(true);
    base.set_prefer_passthrough(true);
    let source = frame(&nv12(), 0);
    h.push(source.copy_deep().expect("copy")).expect("flow goes on");
    let out = h.try_pull().expect("covered");
    assert_no_source_block(&nv12(), &source, &out);
}

#[test]
fn a_fault_is_told_once_and_not_for_each_frame() {
    let element = element(&script(|_| Act::Fault, |_| Act::Go));
    element.set_property("lookahead", 0_u32);
    let (mut h, bus) = harness(&element, &nv12());
    for n in 0..5 {
        h.push(frame(&nv12(), n)).expect("flow goes on");
    }
    let told: Vec<gst::Structure> = messages(&bus)
        .iter()
        .filter(|m| m.type_() == gst::MessageType::Element)
        .filter_map(|m| m.structure().map(ToOwned::to_owned))
        .filter(|s| s.name() == "nullface")
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].get::<String>("fault").expect("fault").contains("detect"));
    assert!(told[0].has_field("withheld") && told[0].has_field("faces"));
}
