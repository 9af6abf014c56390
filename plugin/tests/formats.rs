//! All formats, odd sizes and strides: an opaque frame is opaque, and nothing reads outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::Arc;

use gst::prelude::*;
use support::{Act, FORMATS, Script, assert_no_source_block, assert_one_colour, caps, element, frame, harness, info};

fn failing() -> Arc<Script> {
    Arc::new(Script {
        analyse: Box::new(|_| Act::Fault),
        ..Script::default()
    })
}

#[test]
fn every_format_and_odd_size_is_covered_whole() {
    for format in FORMATS {
        for (width, height) in [(1, 1), (2, 2), (1, 9), (3, 5), (17, 13), (64, 48)] {
            let element = element(&failing());
            element.set_property("lookahead", 0_u32);
            let caps = caps(format, width, height);
            let (mut h, _bus) = harness(&element, &caps);
            let source = frame(&caps, 1);
            h.push(source.copy_deep().expect("copy")).expect("flow goes on");
            let out = h.try_pull().expect("covered");
            assert_no_source_block(&caps, &source, &out);
            assert_one_colour(&caps, &out);
        }
    }
}

#[test]
fn frames_of_8k_and_an_odd_pixel_are_covered_whole() {
    let caps = caps("I420", 7681, 4321);
    let element = element(&failing());
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &caps);
    let source = frame(&caps, 1);
    h.push(source.copy_deep().expect("copy")).expect("flow goes on");
    assert_no_source_block(&caps, &source, &h.try_pull().expect("covered"));
}

#[test]
fn black_is_black_in_every_format() {
    // Luma and chroma codes of black: 16/128 limited, 0/128 full, four times that at 10 bit.
    for (format, colorimetry, luma, chroma) in [
        ("NV12", "bt709", 16, 128),
        ("I420", "bt601", 16, 128),
        ("I420", "1:4:0:0", 0, 128),
        ("YUY2", "bt709", 16, 128),
        ("I420_10LE", "bt2020-10", 64, 512),
        ("P010_10LE", "bt2020-10", 64 << 6, 512 << 6),
    ] {
        let caps = format!("{},colorimetry={colorimetry}", caps(format, 6, 4));
        let element = element(&failing());
        element.set_property("lookahead", 0_u32);
        element.set_property("fill-color", 0_u32);
        let (mut h, _bus) = harness(&element, &caps);
        h.push(frame(&caps, 1)).expect("flow goes on");
        let out = h.try_pull().expect("covered");
        let info = info(&caps);
        let map = gst_video::VideoFrameRef::from_buffer_ref_readable(&out, &info).expect("frame");
        for component in 0..3 {
            // GStreamer 1.22 says that P010's V begins one byte, not two, behind its U.
            let data = match (format, component) {
                ("P010_10LE", 2) => &map.plane_data(1).expect("plane")[2..],
                _ => map.comp_data(component).expect("component"),
            };
            let got = if info.comp_depth(0) > 8 {
                u16::from_le_bytes([data[0], data[1]])
            } else {
                u16::from(data[0])
            };
            assert_eq!(
                got,
                if component == 0 { luma } else { chroma },
                "{format} {colorimetry} component {component}"
            );
        }
    }
}

#[test]
fn the_fill_has_its_colour_and_full_alpha_in_packed_formats() {
    for (format, expected) in [
        ("RGBA", vec![0x12, 0x34, 0x56, 0xff]),
        ("BGRA", vec![0x56, 0x34, 0x12, 0xff]),
        ("RGB", vec![0x12, 0x34, 0x56]),
        ("BGR", vec![0x56, 0x34, 0x12]),
    ] {
        let caps = caps(format, 5, 3);
        let element = element(&failing());
        element.set_property("lookahead", 0_u32);
        element.set_property("fill-color", 0x0012_3456_u32);
        let (mut h, _bus) = harness(&element, &caps);
        h.push(frame(&caps, 1)).expect("flow goes on");
        let out = h.try_pull().expect("covered");
        let map = out.map_readable().expect("map");
        assert_eq!(&map.as_slice()[..expected.len()], expected, "{format}");
    }
}

#[test]
fn strides_and_offsets_of_a_video_meta_are_honoured() {
    use gst_video::{VideoFormat, VideoFrameFlags, VideoMeta};
    let caps = caps("NV12", 37, 21);
    let element = element(&failing());
    element.set_property("lookahead", 0_u32);
    let (mut h, _bus) = harness(&element, &caps);
    let strides = [64, 96];
    let offsets = [128, 128 + 64 * 30];
    // The last row ends with its last pixel, without padding.
    let size = offsets[1] + 96 * 10 + 38;
    let mut source = support::stamped(gst::Buffer::from_mut_slice(vec![77_u8; size]), 0);
    VideoMeta::add_full(
        source.get_mut().expect("only"),
        VideoFrameFlags::empty(),
        VideoFormat::Nv12,
        37,
        21,
        &offsets,
        &strides,
    )
    .expect("meta");
    h.push(source).expect("flow goes on");
    let out = h.try_pull().expect("covered");
    assert!(out.meta::<VideoMeta>().is_some(), "the layout follows its pixels");
    let map = out.map_readable().expect("map");
    for y in 0..21 {
        let row = &map.as_slice()[128 + y * 64..][..37];
        assert!(row.iter().all(|v| *v != 77 && *v == row[0]), "row {y}");
    }
    for y in 0..11 {
        let row = &map.as_slice()[offsets[1] + y * 96..][..38];
        assert!(row.iter().all(|v| *v == 128), "chroma row {y}");
    }
    assert!(
        map.as_slice()[..128].iter().all(|v| *v == 77),
        "bytes before the first plane are not the frame's"
    );
}

#[test]
fn interlaced_caps_are_not_accepted() {
    let element = element(&Arc::default());
    let pad = element.static_pad("sink").expect("sink");
    let ask = |caps: &str| pad.query_accept_caps(&caps.parse::<gst::Caps>().expect("caps"));
    assert!(ask(&caps("NV12", 64, 64)));
    assert!(ask(&format!("{},interlace-mode=progressive", caps("NV12", 64, 64))));
    assert!(!ask(&format!("{},interlace-mode=interleaved", caps("NV12", 64, 64))));
    assert!(!ask(&caps("NV12", 16_385, 64)));
    assert!(!ask(&caps("GRAY8", 64, 64)));
}
