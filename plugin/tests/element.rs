//! Properties, metas, hints, messages: what the element shows and takes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::Arc;

use gst::prelude::*;
use gstnullface::filter::{FilterMode, FilterOnFailure, NullfaceFilter};
use nullface::Settings;
use nullface::backend::DeviceEvent;
use nullface::pipeline::{Engine, EngineConfig};
use support::{Script, assert_no_source_block, caps, element, frame, harness};

fn nv12() -> String {
    caps("NV12", 32, 16)
}

#[test]
fn properties_begin_with_the_defaults_they_show() {
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter").build().expect("element");
    let mut seen = 0;
    for spec in element.list_properties() {
        let own = spec.owner_type().name() == "GstNullfaceFilter";
        if !own || !spec.flags().contains(gst::glib::ParamFlags::READABLE) || spec.name() == "stats" {
            continue;
        }
        let value = element.property_value(spec.name());
        assert_eq!(
            value.compare(spec.default_value()),
            Some(std::cmp::Ordering::Equal),
            "{}",
            spec.name()
        );
        assert!(spec.blurb().is_some_and(|b| b.len() > 15), "{} says what it does", spec.name());
        seen += 1;
    }
    assert_eq!(seen, 45);
}

#[test]
fn properties_keep_what_they_are_given() {
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter").build().expect("element");
    for (name, word) in [
        ("mode", "pixelate"),
        ("threshold", "0.25"),
        ("min-face", "33"),
        ("detect-interval", "7"),
        ("mask-scale", "1.5"),
        ("feather", "0.5"),
        ("fill-color", "66051"),
        ("hold-time", "2000000000"),
        ("verify-threshold", "0.5"),
        ("on-failure", "drop"),
        ("processing-deadline", "40000000"),
        ("lookahead", "5"),
        ("device", "cpu"),
        ("detector", "yunet"),
        ("detector-model", "a.onnx"),
        ("models-dir", "b"),
        ("runtime-library", "c.so"),
        ("threads", "3"),
        ("preset", "nullface-paper"),
        ("rescale", "0.5"),
        ("mask-delay", "4"),
        ("residual-guidance", "yes"),
        ("cache", "false"),
        ("max-fps-per-face", "12.5"),
        ("precision", "int8"),
        ("adapt", "always"),
        ("cover-tracks", "17"),
        ("keep-tracks", "4"),
        ("write-regions", "true"),
        ("who", "except:a.jpg"),
        ("cut-list", "cuts.toml"),
        ("handover", "a"),
    ] {
        let before = element.property_value(name);
        element.set_property_from_str(name, word);
        let after = element.property_value(name);
        assert_ne!(before.compare(&after), Some(std::cmp::Ordering::Equal), "{name}");
        let shown = after.serialize().expect("a word");
        // GStreamer writes a comma in a text with a backslash.
        let shown = shown.replace('\\', "");
        assert_eq!(shown.trim_start_matches("(string)").trim_matches('"'), word, "{name}");
    }
    assert_eq!(element.property::<FilterMode>("mode"), FilterMode::Pixelate);
    assert_eq!(element.property::<FilterOnFailure>("on-failure"), FilterOnFailure::Drop);
}

#[test]
fn the_seed_cannot_be_read_back() {
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter")
        .property("seed", 42_u64)
        .build()
        .expect("element");
    let spec = element.find_property("seed").expect("seed");
    assert!(!spec.flags().contains(gst::glib::ParamFlags::READABLE));
}

#[test]
fn there_is_no_bypass() {
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter").build().expect("element");
    for name in ["bypass", "passthrough", "enabled", "disable", "active"] {
        assert!(!element.has_property(name), "{name}");
    }
}

#[test]
fn settings_reach_the_engine_between_two_frames() {
    let script: Arc<Script> = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    h.push(frame(&nv12(), 0)).expect("flow goes on");
    element.set_property_from_str("mode", "solid");
    element.set_property("threshold", 0.75_f32);
    h.push(frame(&nv12(), 1)).expect("flow goes on");
    let log = script.log();
    let told = log.iter().position(|l| l == "settings solid 0.75").expect("told once, together");
    assert_eq!(log.get(told + 1).map(String::as_str), Some("analyse 40ms"), "{log:?}");
}

#[test]
fn the_stats_count_frames() {
    let element = element(&Arc::default());
    element.set_property("lookahead", 2_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    for n in 0..5 {
        h.push(frame(&nv12(), n)).expect("flow goes on");
    }
    let stats: gst::Structure = element.property("stats");
    assert_eq!((stats.get::<u64>("frames-in"), stats.get::<u64>("frames-out")), (Ok(5), Ok(2)));
}

#[test]
fn metas_that_may_carry_the_source_do_not_leave() {
    let element = element(&Arc::default());
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    gst::meta::CustomMeta::register_simple("nullface-test-picture");
    let mut source = frame(&nv12(), 0);
    let raw = source.copy_deep().expect("copy");
    {
        let inner = source.get_mut().expect("only reference");
        gst::meta::ParentBufferMeta::add(inner, &raw);
        gst::meta::CustomMeta::add(inner, "nullface-test-picture").expect("meta");
        gst_video::VideoRegionOfInterestMeta::add(inner, "face", (2, 2, 8, 8));
        gst_video::VideoCaptionMeta::add(inner, gst_video::VideoCaptionType::Cea608Raw, &[0x80, 0x80]);
    }
    h.push(source).expect("flow goes on");
    let out = h.try_pull().expect("out");
    assert!(out.meta::<gst::meta::ParentBufferMeta>().is_none());
    assert!(gst::meta::CustomMeta::from_buffer(&out, "nullface-test-picture").is_err());
    assert!(out.meta::<gst_video::VideoRegionOfInterestMeta>().is_none());
    assert!(out.meta::<gst_video::VideoCaptionMeta>().is_some());
}

#[test]
fn faces_found_upstream_are_hints() {
    let script: Arc<Script> = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    let mut source = frame(&nv12(), 0);
    gst_video::VideoRegionOfInterestMeta::add(source.get_mut().expect("only"), "face", (3, 4, 8, 8));
    h.push(source).expect("flow goes on");
    assert!(script.log().contains(&"hint 3 4".to_owned()), "{:?}", script.log());
}

#[test]
fn a_buffer_that_others_hold_is_copied_and_stays_as_it_was() {
    let script = Arc::new(Script {
        analyse: Box::new(|_| support::Act::Fault),
        ..Script::default()
    });
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &nv12());
    let source = frame(&nv12(), 0);
    let before = source.copy_deep().expect("copy");
    h.push(source.clone()).expect("flow goes on");
    let out = h.try_pull().expect("out");
    assert_no_source_block(&nv12(), &before, &out);
    let (a, b) = (source.map_readable().expect("map"), before.map_readable().expect("map"));
    assert_eq!(a.as_slice(), b.as_slice(), "the other holder's pixels changed");
}

#[test]
fn what_can_be_animated_says_so() {
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter").build().expect("element");
    let controllable = gst::glib::ParamFlags::from_bits_retain(gst::ffi::GST_PARAM_CONTROLLABLE.cast_unsigned());
    let names: Vec<String> = element
        .list_properties()
        .iter()
        .filter(|spec| spec.flags().contains(controllable))
        .map(|spec| spec.name().to_owned())
        .collect();
    let expected = [
        "mode",
        "threshold",
        "min-face",
        "detect-interval",
        "mask-scale",
        "feather",
        "fill-color",
        "strength",
        "guidance",
        "skip",
        "hold-time",
        "verify-threshold",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_profile_sets_its_properties_and_says_which() {
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter").build().expect("element");
    let told: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let to = Arc::clone(&told);
    element.connect_notify(None, move |_, spec| to.lock().expect("told").push(spec.name().to_owned()));
    element.set_property_from_str("profile", "host");
    assert_eq!(element.property::<u32>("lookahead"), 0);
    assert_eq!(element.property::<u64>("processing-deadline"), 100_000_000);
    assert_eq!(element.property::<FilterOnFailure>("on-failure"), FilterOnFailure::CoverFrame);
    let told = told.lock().expect("told").clone();
    for name in ["profile", "lookahead", "processing-deadline", "on-failure"] {
        assert!(told.iter().any(|t| t == name), "{name}: {told:?}");
    }
    element.set_property("lookahead", 3_u32);
    assert_eq!(element.property::<u32>("lookahead"), 3, "what is set later stands");
}

#[test]
fn regions_leave_where_that_is_asked_and_only_our_own() {
    let element = element(&Arc::default());
    element.set_property("lookahead", 0_u32);
    element.set_property("write-regions", true);
    let (mut h, _bus) = harness(&element, &nv12());
    let mut source = frame(&nv12(), 0);
    gst_video::VideoRegionOfInterestMeta::add(source.get_mut().expect("only"), "face", (3, 4, 8, 8));
    h.push(source).expect("flow goes on");
    let out = h.try_pull().expect("out");
    let metas: Vec<_> = out.iter_meta::<gst_video::VideoRegionOfInterestMeta>().collect();
    assert!(
        !metas.is_empty() && metas.iter().all(|m| m.roi_type() == "nullface"),
        "{}",
        metas.len()
    );
    assert!(metas[0].param("nullface").is_some_and(|p| p.get::<u64>("track").is_ok()));
}

#[test]
fn a_controller_animates_properties_by_stream_time() {
    use gst_controller::prelude::*;
    let script: Arc<Script> = Arc::default();
    let element = element(&script);
    element.set_property("lookahead", 0_u32);
    let source = gst_controller::InterpolationControlSource::new();
    source.set_mode(gst_controller::InterpolationMode::Linear);
    let binding = gst_controller::DirectControlBinding::new_absolute(&element, "threshold", &source);
    element.add_control_binding(&binding).expect("threshold can be animated");
    source.set(gst::ClockTime::ZERO, 0.2);
    source.set(gst::ClockTime::from_mseconds(400), 0.6);
    let (mut h, _bus) = harness(&element, &nv12());
    for n in [0, 5, 10] {
        h.push(frame(&nv12(), n)).expect("flow goes on");
    }
    let told: Vec<f32> = script
        .log()
        .iter()
        .filter_map(|l| l.strip_prefix("settings ")?.rsplit(' ').next()?.parse().ok())
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for (told, expected) in told.iter().zip([0.2, 0.4, 0.6]) {
        assert!((told - expected).abs() < 1e-3, "{told} where {expected} was asked");
    }
}

#[test]
fn the_bus_hears_of_the_opening_and_of_the_device() {
    let element = element(&Arc::default());
    let (_h, bus) = harness(&element, &nv12());
    let said: Vec<String> = support::messages(&bus)
        .iter()
        .filter_map(|m| match m.view() {
            gst::MessageView::Progress(p) => Some(format!("{:?}", p.get().0)),
            gst::MessageView::Element(e) => e.structure().map(|s| s.name().to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(said, ["Start", "Complete", "nullface-device"]);
}

#[test]
fn the_bus_hears_what_is_built_for_a_device_and_that_it_was_lost() {
    let element = element(&Arc::default());
    let filter = element.clone().downcast::<NullfaceFilter>().expect("the element's type");
    filter.set_processor_factory(Box::new(|config: &EngineConfig, settings: &Settings| {
        let what = || "denoiser".to_owned();
        config.device_events.tell(DeviceEvent::Building { what: what() });
        config.device_events.tell(DeviceEvent::Built { what: what() });
        config.device_events.tell(DeviceEvent::Lost {
            what: what(),
            why: "pulled out".to_owned(),
        });
        Ok(Box::new(Engine::from_parts(
            support::whole_frame_parts(),
            config,
            settings.clone(),
        )?))
    }));
    let (_h, bus) = harness(&element, &nv12());
    let (mut progress, mut events) = (Vec::new(), Vec::new());
    for message in support::messages(&bus) {
        match message.view() {
            gst::MessageView::Progress(p) if p.get().0 == gst::ProgressType::Continue => progress.push(p.get().2.to_string()),
            gst::MessageView::Element(e) => {
                let told = e.structure().filter(|s| s.has_field("event"));
                events.extend(told.map(|s| [s.get::<String>("event").unwrap(), s.get::<String>("reason").unwrap()].join(": ")));
            }
            _ => {}
        }
    }
    assert_eq!(
        progress,
        ["denoiser is being built for the device; it is kept", "denoiser is built"]
    );
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(events[2], "lost: the device was lost under denoiser: pulled out");
}

#[test]
fn every_value_that_a_property_takes_is_one_that_the_engine_takes() {
    use nullface::Settings;
    use std::time::Duration;
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter").build().expect("element");
    let float = |name: &str| {
        let spec = element.find_property(name).expect(name);
        let spec = spec.downcast_ref::<gst::glib::ParamSpecFloat>().expect("a float").clone();
        [spec.minimum(), spec.maximum()]
    };
    let hold = element.find_property("hold-time").expect("hold-time");
    let hold = hold.downcast_ref::<gst::glib::ParamSpecUInt64>().expect("a number").maximum();
    for end in [0, 1] {
        let settings = Settings {
            threshold: float("threshold")[end],
            mask_scale: float("mask-scale")[end],
            feather: float("feather")[end],
            strength: float("strength")[end],
            max_fps_per_face: float("max-fps-per-face")[end],
            guidance: Some(float("guidance")[end]),
            hold: Duration::from_nanos(hold * end as u64),
            ..Settings::default()
        };
        settings.check().unwrap_or_else(|e| panic!("{e}"));
    }
}
