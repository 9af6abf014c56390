//! What `gst-inspect-1.0` shows of every property, and what the plugin needs to be shown at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use gst::prelude::*;

/// Word of the unit or range in each number's text.
const UNITS: [(&str, &str); 20] = [
    ("threshold", "confidence"),
    ("min-face", "pixels"),
    ("detect-interval", "frames"),
    ("mask-scale", "multiple"),
    ("feather", "share"),
    ("fill-color", "0xRRGGBB"),
    ("strength", "multiplies"),
    ("guidance", "scale"),
    ("skip", "Share"),
    ("steps", "Steps"),
    ("rescale", "(0-1)"),
    ("mask-delay", "Steps"),
    ("max-fps-per-face", "in a second"),
    ("hold-time", "nanoseconds"),
    ("verify-threshold", "Cosine"),
    ("processing-deadline", "nanoseconds"),
    ("lookahead", "Frames"),
    ("threads", "Threads"),
    ("seed", "Secret"),
    ("stats", "times in ms"),
];

/// What is known when the models are opened.
const AT_START: [&str; 11] = [
    "cut-list",
    "tracks",
    "handover",
    "device",
    "models-dir",
    "model-pack",
    "runtime-library",
    "threads",
    "precision",
    "audit-location",
    "seed",
];

#[test]
fn every_property_says_what_it_is_in_which_unit_and_when_it_may_change() {
    use gst::ffi::{GST_PARAM_MUTABLE_PAUSED, GST_PARAM_MUTABLE_PLAYING, GST_PARAM_MUTABLE_READY};
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter").build().expect("element");
    let own = |spec: &&gst::glib::ParamSpec| spec.owner_type().name() == "GstNullfaceFilter";
    let specs = element.list_properties();
    let specs: Vec<_> = specs.iter().filter(own).collect();
    let nicks: std::collections::BTreeSet<&str> = specs.iter().map(|spec| spec.nick()).collect();
    assert_eq!(nicks.len(), specs.len(), "each has a name of its own");
    for spec in specs {
        let name = spec.name();
        let blurb = spec.blurb().unwrap_or_default();
        assert!(spec.nick() != name && blurb.len() > 15 && !blurb.ends_with('.'), "{name}: {blurb}");
        let is_number = spec.value_type().is_a(gst::glib::Type::F32)
            || [gst::glib::Type::U32, gst::glib::Type::U64, gst::glib::Type::I32].contains(&spec.value_type());
        match UNITS.iter().find(|(of, _)| *of == name) {
            Some((_, unit)) => assert!(blurb.contains(unit), "{name}: {blurb}"),
            None => assert!(!is_number, "{name} has no unit here"),
        }
        let mutable = [GST_PARAM_MUTABLE_READY, GST_PARAM_MUTABLE_PAUSED, GST_PARAM_MUTABLE_PLAYING];
        let mutable = mutable.map(|flag| spec.flags().bits() & flag.cast_unsigned() != 0);
        let expected = match name {
            _ if !spec.flags().contains(gst::glib::ParamFlags::WRITABLE) => [false; 3],
            _ if AT_START.contains(&name) => [true, false, false],
            _ => [false, false, true],
        };
        assert_eq!(mutable, expected, "{name}");
    }
}

#[test]
fn the_plugin_needs_no_runtime_to_be_loaded_and_says_what_is_missing_when_it_starts() {
    let exe = std::env::current_exe().expect("this test");
    let plugin = exe.with_file_name("libgstnullface.so");
    let said = std::process::Command::new("readelf")
        .arg("-d")
        .arg(&plugin)
        .output()
        .expect("readelf");
    let said = String::from_utf8_lossy(&said.stdout);
    let needed: Vec<&str> = said.lines().filter(|l| l.contains("(NEEDED)")).collect();
    assert!(
        needed.iter().any(|l| l.contains("libgstreamer-1.0")),
        "{}: {said}",
        plugin.display()
    );
    for library in ["onnxruntime", "cuda", "nvinfer", "nvrtc", "cudnn"] {
        assert!(!needed.iter().any(|l| l.contains(library)), "{library} is linked: {needed:?}");
    }
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter")
        .property("models-dir", "/nowhere/models")
        .build()
        .expect("the element is there all the same");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let errors = support::errors(&bus);
    assert!(errors.len() == 1 && errors[0].contains("/nowhere/models"), "{errors:?}");
    element.set_state(gst::State::Null).expect("stops");
}
