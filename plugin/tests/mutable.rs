//! Lookahead and detector changed while frames run: in order, none lost, none twice, nothing raw.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstnullface::NullfaceFilter;
use nullface::Settings;
use nullface::frame::{BoxPx, FrameView};
use nullface::pipeline::{DetectorChoice, Engine, EngineConfig, EngineError, Mode, Parts};
use nullface::stages::detect::{DetectError, Detection, Detector, Effort};
use proptest::prelude::*;
use support::{Act, Gate, Script, assert_no_source_block, caps, element, frame, harness, messages, out_ms, whole_frame_parts};

fn nv12() -> String {
    caps("NV12", 16, 16)
}

fn latency_messages(bus: &gst::Bus) -> usize {
    messages(bus).iter().filter(|m| m.type_() == gst::MessageType::Latency).count()
}

fn ms(range: std::ops::Range<u64>) -> Vec<u64> {
    range.map(|n| n * 40).collect()
}

#[test]
fn a_lookahead_that_shrinks_lets_frames_out_in_order_and_one_that_grows_holds_more() {
    let script: Arc<Script> = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 3_u32);
    let (mut h, bus) = harness(&element, &nv12());
    let latency = |frames: u64| Some(gst::ClockTime::from_mseconds(40 * frames));
    let push = |h: &mut gst_check::Harness, n| _ = h.push(frame(&nv12(), n)).expect("flow goes on");
    (0..6).for_each(|n| push(&mut h, n));
    assert_eq!((out_ms(&mut h), h.query_latency()), (ms(0..2), latency(4)));
    messages(&bus);

    element.set_property("lookahead", 0_u32);
    assert_eq!((latency_messages(&bus), h.query_latency()), (1, latency(0)));
    assert!(out_ms(&mut h).is_empty(), "frames leave on the streaming thread, with the next one");
    push(&mut h, 6);
    assert_eq!(out_ms(&mut h), ms(2..7));
    push(&mut h, 7);
    assert_eq!(out_ms(&mut h), ms(7..8));

    element.set_property("lookahead", 2_u32);
    assert_eq!((latency_messages(&bus), h.query_latency()), (1, latency(3)));
    (8..12).for_each(|n| push(&mut h, n));
    assert_eq!(out_ms(&mut h), ms(8..9));
    element.set_property("lookahead", 1_u32);
    push(&mut h, 12);
    assert_eq!(out_ms(&mut h), ms(9..11));
    element.set_property("lookahead", 1_u32);
    assert_eq!(latency_messages(&bus), 1, "once for the change, and not where nothing changed");
    assert!(h.push_event(gst::event::Eos::new()));
    assert_eq!(out_ms(&mut h), ms(11..13));
    let rendered: Vec<String> = script.log().into_iter().filter(|l| l.starts_with("render")).collect();
    let each: Vec<String> = ms(0..13).iter().map(|ms| format!("render {ms}ms")).collect();
    assert_eq!(rendered, each);
}

#[test]
fn a_profile_taken_while_frames_run_changes_what_it_sets() {
    let element = element(&Arc::default());
    element.set_property_from_str("profile", "film");
    let (mut h, bus) = harness(&element, &nv12());
    (0..9).for_each(|n| _ = h.push(frame(&nv12(), n)).expect("flow goes on"));
    assert!(out_ms(&mut h).is_empty());
    messages(&bus);
    element.set_property_from_str("profile", "host");
    assert_eq!(h.query_latency(), Some(gst::ClockTime::from_mseconds(100)));
    assert!(latency_messages(&bus) > 0);
    h.push(frame(&nv12(), 9)).expect("flow goes on");
    assert_eq!(out_ms(&mut h), ms(0..10));
}

#[test]
fn frames_that_a_shrunken_lookahead_lets_out_and_that_failed_follow_on_failure() {
    let script = Arc::new(Script {
        // The last of them stands for what was held.
        analyse: Box::new(|n| if n == 3 { Act::Go } else { Act::Fault }),
        ..Script::default()
    });
    let element = element(&script);
    element.set_property("lookahead", 8_u32);
    element.set_property_from_str("on-failure", "drop");
    let (mut h, _bus) = harness(&element, &nv12());
    (0..4).for_each(|n| _ = h.push(frame(&nv12(), n)).expect("flow goes on"));
    element.set_property("lookahead", 0_u32);
    h.push(frame(&nv12(), 4)).expect("flow goes on");
    let out = h.try_pull().expect("the one that was treated");
    assert_eq!(out.pts(), Some(gst::ClockTime::from_mseconds(120)));
    assert!(out.flags().contains(gst::BufferFlags::DISCONT), "three before it are missing");
    assert!(h.try_pull().is_none());
    let stats: gst::Structure = element.property("stats");
    assert_eq!((stats.get::<u64>("frames-dropped"), stats.get::<u64>("frames-out")), (Ok(4), Ok(1)));
}

#[test]
fn events_keep_their_place_where_a_lookahead_shrinks() {
    let element = element(&Arc::default());
    element.set_property("lookahead", 4_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    while h.try_pull_event().is_some() {}
    h.push(frame(&nv12(), 0)).expect("flow goes on");
    assert!(h.push_event(gst::event::CustomDownstream::new(gst::Structure::new_empty("mark"))));
    h.push(frame(&nv12(), 1)).expect("flow goes on");
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let to = Arc::clone(&order);
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    element.static_pad("src").expect("src").add_probe(kinds, move |_, info| {
        let word = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => buffer.pts().map(|p| p.mseconds().to_string()),
            Some(gst::PadProbeData::Event(event)) => event.structure().map(|s| s.name().to_string()),
            _ => None,
        };
        to.lock().expect("order").extend(word);
        gst::PadProbeReturn::Ok
    });
    element.set_property("lookahead", 0_u32);
    h.push(frame(&nv12(), 2)).expect("flow goes on");
    assert_eq!(*order.lock().expect("order"), ["0", "mark", "40", "80"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_the_lookahead_does_every_frame_leaves_once_in_order_and_covered(
        steps in prop::collection::vec((0_u32..6, 1_u64..5, any::<bool>()), 1..8)
    ) {
        let script: Arc<Script> = Arc::default();
        let element = element(&script);
        let (mut h, _bus) = harness(&element, &nv12());
        let (mut sent, mut out) = (Vec::new(), Vec::new());
        for (lookahead, frames, jumps) in steps {
            element.set_property("lookahead", lookahead);
            for i in 0..frames {
                let mut buffer = frame(&nv12(), sent.len() as u64);
                if jumps && i == 0 {
                    buffer.get_mut().expect("only").set_flags(gst::BufferFlags::DISCONT);
                }
                sent.push(buffer.copy_deep().expect("copy"));
                h.push(buffer).expect("flow goes on");
                out.extend(std::iter::from_fn(|| h.try_pull()));
                let holds = if lookahead == 0 { 0 } else { lookahead as usize + 1 };
                prop_assert!(sent.len() - out.len() <= holds, "{} of {} out at lookahead {lookahead}", out.len(), sent.len());
            }
        }
        prop_assert!(h.push_event(gst::event::Eos::new()));
        out.extend(std::iter::from_fn(|| h.try_pull()));
        prop_assert_eq!(out.len(), sent.len());
        for (source, out) in sent.iter().zip(&out) {
            prop_assert_eq!(source.pts(), out.pts());
            assert_no_source_block(&nv12(), source, out);
        }
        let log = script.log();
        for kind in ["analyse", "render"] {
            let times: Vec<u64> = log.iter().filter_map(|l| l.strip_prefix(kind)?.trim().strip_suffix("ms")?.parse().ok()).collect();
            prop_assert_eq!(times, ms(0..sent.len() as u64));
        }
    }
}

/// Sees one face as large as any frame, and notes its name.
struct Noted(&'static str, Arc<Mutex<Vec<&'static str>>>);

impl Detector for Noted {
    fn name(&self) -> &'static str {
        self.0
    }

    fn detect(&mut self, frame: &FrameView<'_>, _: f32, _: Effort) -> Result<Vec<Detection>, DetectError> {
        self.1.lock().expect("names").push(self.0);
        let (w, h) = (frame.width() as f32, frame.height() as f32);
        Ok(vec![Detection {
            box_px: BoxPx::around([w / 2.0, h / 2.0], w * 2.0 + 16.0, h * 2.0 + 16.0),
            score: 0.9,
            landmarks: None,
        }])
    }
}

/// An element whose engine opens BlazeFace when the gate is open, cannot open YuNet, and panics at SCRFD.
fn with_detectors(gate: &Gate) -> (gst::Element, Arc<Mutex<Vec<&'static str>>>) {
    support::init();
    let names: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let element = gst::ElementFactory::make("nullfacefilter")
        .property("lookahead", 0_u32)
        .property("detect-interval", 1_u32)
        .build()
        .expect("element");
    element.set_property_from_str("adapt", "never");
    let filter = element.clone().downcast::<NullfaceFilter>().expect("the element's type");
    let (noted, gate) = (Arc::clone(&names), gate.clone());
    filter.set_processor_factory(Box::new(move |config: &EngineConfig, settings: &Settings| {
        let (to, gate) = (Arc::clone(&noted), gate.clone());
        let opener = move |choice, file: Option<&Path>| -> Result<Box<dyn Detector>, EngineError> {
            match choice {
                DetectorChoice::Blazeface => {
                    gate.wait();
                    Ok(Box::new(Noted("second", Arc::clone(&to))))
                }
                DetectorChoice::Scrfd => panic!("on cue"),
                _ => Err(EngineError::Stage {
                    stage: "start",
                    why: format!("{} is no network; name another", file.expect("a file").display()),
                }),
            }
        };
        let parts = Parts {
            detector: Box::new(Noted("first", Arc::clone(&noted))),
            ..whole_frame_parts()
        };
        let settings = Settings {
            mode: Mode::Solid,
            ..settings.clone()
        };
        Ok(Box::new(
            Engine::from_parts(parts, config, settings)?.with_detectors(Arc::new(opener)),
        ))
    }));
    (element, names)
}

/// What was told of a detector: the words of the device's messages, and of warnings.
fn told(bus: &gst::Bus) -> (Vec<String>, Vec<String>) {
    let (mut events, mut warnings) = (Vec::new(), Vec::new());
    for message in messages(bus) {
        match message.view() {
            gst::MessageView::Element(e) => {
                let told = e.structure().filter(|s| s.has_field("event"));
                events.extend(told.map(|s| s.get::<String>("event").expect("a word")));
            }
            gst::MessageView::Warning(w) => warnings.push(w.error().to_string()),
            gst::MessageView::Error(e) => panic!("{e:?}"),
            _ => {}
        }
    }
    (events, warnings)
}

/// Pushes frames, each of which leaves covered, until something is told.
fn push_until_told(h: &mut gst_check::Harness, bus: &gst::Bus, n: &mut u64) -> (Vec<String>, Vec<String>) {
    for _ in 0..1_000_000 {
        push(h, n);
        let (events, warnings) = told(bus);
        if !events.is_empty() {
            return (events, warnings);
        }
        std::thread::yield_now();
    }
    panic!("nothing was told");
}

fn push(h: &mut gst_check::Harness, n: &mut u64) {
    let source = frame(&nv12(), *n);
    let before = source.copy_deep().expect("copy");
    *n += 1;
    h.push(source).expect("flow goes on");
    let out = h.try_pull().expect("a frame for a frame");
    assert_eq!(out.pts(), before.pts());
    assert_no_source_block(&nv12(), &before, &out);
    while h.try_pull_event().is_some() {}
}

#[test]
fn another_detector_is_opened_beside_the_stream_and_the_old_one_serves_until_then() {
    let gate = Gate::new();
    let (element, names) = with_detectors(&gate);
    let (mut h, bus) = harness(&element, &nv12());
    let mut n = 0;
    push(&mut h, &mut n);
    messages(&bus);
    element.set_property_from_str("detector", "blazeface");
    (0..5).for_each(|_| push(&mut h, &mut n));
    assert_eq!(*names.lock().expect("names"), ["first"; 6]);
    assert_eq!(told(&bus), (vec![], vec![]));
    gate.open();
    assert_eq!(push_until_told(&mut h, &bus, &mut n), (vec!["opened".to_owned()], vec![]));
    push(&mut h, &mut n);
    let names = names.lock().expect("names").clone();
    assert_eq!(names.len() as u64, n, "one look a frame, whoever looks");
    let split = names.iter().position(|name| *name == "second").expect("in place");
    assert!(names[split..].iter().all(|name| *name == "second"), "{names:?}");
}

#[test]
fn a_detector_that_cannot_be_opened_is_a_warning_with_its_file_and_the_old_one_stays() {
    let gate = Gate::new();
    let (element, names) = with_detectors(&gate);
    let (mut h, bus) = harness(&element, &nv12());
    let mut n = 0;
    push(&mut h, &mut n);
    messages(&bus);
    for (detector, word) in [("yunet", "weights.onnx is no network; name another"), ("scrfd", "panicked")] {
        element.set_property("detector-model", "weights.onnx");
        element.set_property_from_str("detector", detector);
        let (events, warnings) = push_until_told(&mut h, &bus, &mut n);
        assert_eq!(events, ["refused"]);
        assert!(warnings.len() == 1 && warnings[0].contains(word), "{warnings:?}");
        (0..3).for_each(|_| push(&mut h, &mut n));
        assert_eq!(told(&bus), (vec![], vec![]), "told once");
    }
    assert!(names.lock().expect("names").iter().all(|name| *name == "first"));
}

#[test]
fn the_real_engine_changes_its_detector_and_keeps_it_where_a_file_is_missing() {
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter")
        .property("lookahead", 0_u32)
        .property("threads", 1_u32)
        .build()
        .expect("element");
    element.set_property_from_str("mode", "solid");
    element.set_property_from_str("adapt", "never");
    let caps = caps("NV12", 64, 48);
    let (mut h, bus) = harness(&element, &caps);
    let mut n = 0;
    for (detector, event, word) in [
        ("blazeface", "opened", None),
        ("yunet", "refused", Some("use the YuNet file")),
        ("scrfd", "refused", Some("name a readable ONNX file")),
        ("centerface", "opened", None),
    ] {
        messages(&bus);
        element.set_property("detector-model", "/nowhere/faces.onnx");
        element.set_property_from_str("detector", detector);
        let (events, warnings) = loop {
            h.push(frame(&caps, n)).expect("flow goes on");
            assert!(h.try_pull().is_some());
            while h.try_pull_event().is_some() {}
            n += 1;
            let said = told(&bus);
            if !said.0.is_empty() {
                break said;
            }
        };
        assert_eq!(events, [event], "{detector}: {warnings:?}");
        assert_eq!(warnings.len(), usize::from(word.is_some()));
        if let Some(word) = word {
            assert!(
                warnings[0].contains(word) && warnings[0].contains("/nowhere/faces.onnx"),
                "{warnings:?}"
            );
        }
    }
    let stats: gst::Structure = element.property("stats");
    assert_eq!(
        (stats.get::<u64>("frames-out"), stats.get::<u64>("frames-withheld")),
        (Ok(n), Ok(0))
    );
}
