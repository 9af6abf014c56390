//! Ten bits stay ten bits, and what no mask covers stays as it came: low bits, the bits that no sample uses, the
//! bytes that pad rows and planes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::ops::Range;

use gst::prelude::*;
use gst_video::{VideoFormat, VideoFrameFlags, VideoMeta, VideoRegionOfInterestMeta};
use gstnullface::NullfaceFilter;
use nullface::Settings;
use nullface::frame::{BoxPx, FrameView};
use nullface::pipeline::{Engine, EngineConfig, Parts};
use nullface::stages::detect::{DetectError, Detection, Detector, Effort};
use proptest::prelude::*;
use support::{caps, film, harness, stamped, whole_frame_parts};

const MASK_SCALE: f32 = 1.25;
const FEATHER: f32 = 0.08;

/// Where a plane's samples lie in a buffer, in bytes.
#[derive(Debug, Clone)]
struct Plane {
    offset: usize,
    stride: usize,
    /// Samples a row, and rows.
    size: (usize, usize),
    /// Samples that lie side by side for one place: two where U and V do.
    step: usize,
    /// Pixels of the frame a sample stands for, each way.
    scale: usize,
}

/// The planes of a frame whose rows have `pad` bytes more than they need, with as many between planes.
fn planes(format: VideoFormat, (width, height): (usize, usize), pad: usize) -> (Vec<Plane>, usize) {
    let half = (width.div_ceil(2), height.div_ceil(2));
    let chroma: &[usize] = if format == VideoFormat::P01010le { &[2] } else { &[1, 1] };
    let mut list = Vec::new();
    let mut offset = pad;
    for (size, step, scale) in [((width, height), 1, 1)]
        .into_iter()
        .chain(chroma.iter().map(|step| (half, *step, 2)))
    {
        // Strides of ten-bit video are even.
        let stride = (size.0 * step * 2 + pad).next_multiple_of(4);
        list.push(Plane {
            offset,
            stride,
            size,
            step,
            scale,
        });
        offset += stride * size.1 + pad.next_multiple_of(2);
    }
    (list, offset)
}

/// Bytes of which any is as likely as any other, so that bits are set that no sample uses.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn with_layout(bytes: Vec<u8>, format: VideoFormat, (width, height): (usize, usize), planes: &[Plane]) -> gst::Buffer {
    let offsets: Vec<usize> = planes.iter().map(|p| p.offset).collect();
    let strides: Vec<i32> = planes.iter().map(|p| p.stride as i32).collect();
    let mut buffer = stamped(gst::Buffer::from_mut_slice(bytes), 0);
    let inner = buffer.get_mut().expect("only");
    let none = VideoFrameFlags::empty();
    VideoMeta::add_full(inner, none, format, width as u32, height as u32, &offsets, &strides).expect("meta");
    buffer
}

/// The layout that a buffer says it has.
fn layout_of(buffer: &gst::BufferRef, format: VideoFormat, size: (usize, usize)) -> Vec<Plane> {
    let (mut list, _) = planes(format, size, 0);
    let info = gst_video::VideoInfo::builder(format, size.0 as u32, size.1 as u32)
        .build()
        .expect("info");
    let meta = buffer.meta::<VideoMeta>();
    let offsets = meta.as_ref().map_or(info.offset(), |m| m.offset()).to_vec();
    let strides = meta.as_ref().map_or(info.stride(), |m| m.stride()).to_vec();
    for ((plane, offset), stride) in list.iter_mut().zip(offsets).zip(strides) {
        (plane.offset, plane.stride) = (offset, stride as usize);
    }
    list
}

/// What a mask may reach at most, and what it covers at least, of a face's box, px.
fn reach(face: &BoxPx) -> [BoxPx; 2] {
    let centre = [(face.x0 + face.x1) / 2.0, (face.y0 + face.y1) / 2.0];
    let rim = 2.0 * FEATHER * face.side() + 6.0;
    let around = |scale: f32, more: f32| BoxPx::around(centre, face.width() * scale + more, face.height() * scale + more);
    // A box's corners lie outside of the ellipse that its mask is.
    [around(MASK_SCALE * 1.45, rim), around(0.6, 0.0)]
}

/// Asserts that what is outside of every mask is the same in two frames, and returns the samples inside of the faces,
/// with their plane, as they are in both.
fn compare(
    (source, of_source): (&[u8], &[Plane]),
    (output, of_output): (&[u8], &[Plane]),
    reaches: &[[BoxPx; 2]],
) -> Vec<(usize, u16, u16)> {
    let mut inside = Vec::new();
    let mut outside = 0;
    for (index, (a, b)) in of_source.iter().zip(of_output).enumerate() {
        for y in 0..a.size.1 {
            for x in 0..a.size.0 * a.step {
                let at = |bytes: &[u8], p: &Plane| {
                    let at = p.offset + y * p.stride + 2 * x;
                    u16::from_le_bytes([bytes[at], bytes[at + 1]])
                };
                let (was, is) = (at(source, a), at(output, b));
                let place = [(x / a.step * a.scale) as f32, (y * a.scale) as f32];
                let size = a.scale as f32;
                let within = |r: &BoxPx| place[0] + size > r.x0 && place[0] < r.x1 && place[1] + size > r.y0 && place[1] < r.y1;
                let core = |r: &BoxPx| place[0] >= r.x0 && place[0] + size <= r.x1 && place[1] >= r.y0 && place[1] + size <= r.y1;
                if !reaches.iter().any(|[most, _]| within(most)) {
                    assert_eq!(was, is, "plane {index}, sample {x},{y} is outside of every mask");
                    outside += 1;
                } else if reaches.iter().any(|[_, least]| core(least)) {
                    inside.push((index, was, is));
                }
            }
        }
    }
    assert!(outside > 0, "nothing is outside");
    inside
}

/// Bytes that are no sample's.
fn unused(planes: &[Plane], len: usize) -> Vec<Range<usize>> {
    let mut free = Vec::new();
    let mut end = 0;
    for plane in planes {
        for y in 0..plane.size.1 {
            let begin = plane.offset + y * plane.stride;
            free.push(end..begin);
            end = begin + plane.size.0 * plane.step * 2;
        }
    }
    free.push(end..len);
    free
}

/// Sees one face where it is told to.
struct Fixed(BoxPx);

impl Detector for Fixed {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn detect(&mut self, _: &FrameView<'_>, _: f32, _: Effort) -> Result<Vec<Detection>, DetectError> {
        Ok(vec![Detection {
            box_px: self.0,
            score: 0.9,
            landmarks: None,
        }])
    }
}

fn element_seeing(face: BoxPx, mode: &str) -> gst::Element {
    support::init();
    let element = gst::ElementFactory::make("nullfacefilter")
        .property("lookahead", 0_u32)
        .property("min-face", 8_u32)
        .property("mask-scale", MASK_SCALE)
        .property("feather", FEATHER)
        .build()
        .expect("element");
    element.set_property_from_str("mode", mode);
    element.set_property_from_str("adapt", "never");
    let filter = element.clone().downcast::<NullfaceFilter>().expect("the element's type");
    filter.set_processor_factory(Box::new(move |config: &EngineConfig, settings: &Settings| {
        let parts = Parts {
            detector: Box::new(Fixed(face)),
            ..whole_frame_parts()
        };
        Ok(Box::new(Engine::from_parts(parts, config, settings.clone())?))
    }));
    element
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn covers_keep_the_depth_and_every_bit_outside_of_the_mask(
        size in (70_usize..131, 70_usize..111), pad in 0_usize..40, seed in any::<u64>(), p010 in any::<bool>(),
        mode in prop::sample::select(vec!["solid", "blur", "pixelate"]), at in (0.4_f32..0.6, 0.4_f32..0.6), shared in any::<bool>()
    ) {
        let (word, format) = if p010 { ("P010_10LE", VideoFormat::P01010le) } else { ("I420_10LE", VideoFormat::I42010le) };
        let face = BoxPx::around([size.0 as f32 * at.0, size.1 as f32 * at.1], 18.0, 22.0);
        let element = element_seeing(face, mode);
        let caps = caps(word, size.0 as u32, size.1 as u32);
        let (mut h, _bus) = harness(&element, &caps);
        let (planes, len) = planes(format, size, pad);
        let bytes = noise(len, seed);
        let source = with_layout(bytes.clone(), format, size, &planes);
        let held = shared.then(|| source.clone());
        h.push(source).expect("flow goes on");
        let out = h.try_pull().expect("out");
        let stats: gst::Structure = element.property("stats");
        prop_assert_eq!((stats.get::<u64>("faces"), stats.get::<u64>("frames-withheld")), (Ok(1), Ok(0)));
        let map = out.map_readable().expect("map");
        let of_output = layout_of(&out, format, size);
        let inside = compare((&bytes, &planes), (map.as_slice(), &of_output), &[reach(&face)]);
        if held.is_none() {
            prop_assert!(map.size() == len, "in place");
            for range in unused(&planes, len) {
                prop_assert_eq!(&map.as_slice()[range.clone()], &bytes[range], "bytes that are no sample's");
            }
        }
        let luma: Vec<(u16, u16)> = inside.iter().filter(|i| i.0 == 0).map(|i| (i.1, i.2)).collect();
        prop_assert!(luma.len() > 60);
        let same = inside.iter().filter(|i| i.1 == i.2).count();
        prop_assert!(same * 20 < inside.len(), "{same} of {} samples of the face are the source's", inside.len());
        let codes: Vec<u16> = luma.iter().map(|(_, is)| if p010 { is >> 6 } else { *is }).collect();
        if p010 {
            prop_assert!(luma.iter().all(|(_, is)| is & 63 == 0), "what is written has no bits that no sample uses");
        }
        prop_assert!(codes.iter().all(|code| *code < 1024));
        if mode == "solid" {
            prop_assert!(codes.windows(2).all(|w| w[0] == w[1]));
        } else {
            prop_assert!(codes.iter().any(|code| code % 4 != 0), "rounded to eight bits: {codes:?}");
        }
    }
}

/// The first frame of the sample film in a ten-bit format, with low bits and unused bits of its own.
fn film_frame(word: &str, format: VideoFormat, size: (usize, usize)) -> (Vec<u8>, Vec<Plane>) {
    let caps = format!("video/x-raw,format={word},width={},height={}", size.0, size.1);
    let buffer = film(&caps, 1).pop().expect("a frame");
    let map = buffer.map_readable().expect("map");
    let mut bytes = map.as_slice().to_vec();
    let planes = layout_of(&buffer, format, size);
    // The sample's lowest bit and those that no sample uses.
    let mask: u16 = if format == VideoFormat::P01010le {
        0b111_1111
    } else {
        0b1111_1100_0000_0001
    };
    let noise = noise(bytes.len(), 7);
    for (pair, noise) in bytes.chunks_exact_mut(2).zip(noise.chunks_exact(2)) {
        let (was, noise) = (u16::from_le_bytes([pair[0], pair[1]]), u16::from_le_bytes([noise[0], noise[1]]));
        pair.copy_from_slice(&(was & !mask | noise & mask).to_le_bytes());
    }
    (bytes, planes)
}

#[test]
fn a_replaced_face_keeps_the_depth_and_every_bit_outside_of_its_region() {
    support::init();
    let formats = [("P010_10LE", VideoFormat::P01010le), ("I420_10LE", VideoFormat::I42010le)];
    let modes = ["ksame", "nullface", "reverse", "id2face"];
    for ((word, format), mode) in modes.iter().flat_map(|mode| formats.map(|format| (format, mode))) {
        let size = (321, 241);
        let (bytes, planes) = film_frame(word, format, size);
        let element = gst::ElementFactory::make("nullfacefilter")
            .property("lookahead", 0_u32)
            .property("seed", 5_u64)
            .property("write-regions", true)
            .build()
            .expect("element");
        element.set_property_from_str("mode", mode);
        element.set_property_from_str("adapt", "never");
        let caps = caps(word, size.0 as u32, size.1 as u32);
        let (mut h, _bus) = harness(&element, &caps);
        let mut replaced = 0;
        for n in 0..6 {
            let mut source = with_layout(bytes.clone(), format, size, &planes);
            source = stamped(source, n);
            h.push(source).expect("flow goes on");
            let out = h.try_pull().expect("out");
            let regions: Vec<_> = out.iter_meta::<VideoRegionOfInterestMeta>().collect();
            assert_eq!(regions.len(), 1, "one face");
            let (x, y, w, h) = regions[0].rect();
            let said = regions[0].param("nullface").expect("a parameter");
            let face = BoxPx {
                x0: x as f32,
                y0: y as f32,
                x1: (x + w) as f32,
                y1: (y + h) as f32,
            };
            let map = out.map_readable().expect("map");
            let inside = compare((&bytes, &planes), (map.as_slice(), &layout_of(&out, format, size)), &[reach(&face)]);
            if said.get::<&str>("outcome") == Ok("replaced") {
                replaced += 1;
                let changed: Vec<u16> = inside.iter().filter(|i| i.0 == 0 && i.1 != i.2).map(|i| i.2).collect();
                assert!(
                    changed.len() * 2 > inside.iter().filter(|i| i.0 == 0).count(),
                    "the face is another"
                );
                let codes = changed.iter().map(|is| if format == VideoFormat::P01010le { is >> 6 } else { *is });
                let depth = codes.filter(|code| code % 4 != 0).count();
                assert!(
                    depth * 2 > changed.len(),
                    "three quarters of ten-bit codes are none of eight bits: {depth} of {}",
                    changed.len()
                );
            }
        }
        assert!(replaced > 0, "{word}, {mode}: no frame's face was replaced");
    }
}
