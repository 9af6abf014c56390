//! Thumbnails and histograms: cheap, bounded, and true enough to see a cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use nullface_kernels::luma::{BINS, MAX_TAPS, histogram, thumbnail};
use support::{FORMATS, Frame, SIZES};

#[test]
fn a_flat_frame_gives_its_own_luma_in_every_format_and_size() {
    for format in FORMATS {
        for (width, height) in SIZES {
            let frame = Frame::filled(format, width, height, [180, 60, 20]);
            let first = frame.samples()[0];
            let want = match format {
                f if f.is_yuv() => frame.code(&first) >> (8 * (first.bytes as u32 - 1) / 4),
                _ => (77 * 180 + 150 * 60 + 29 * 20) >> 8,
            };
            for (w, h) in [(1, 1), (8, 8), (100, 3)] {
                let mut out = vec![0; w * h];
                thumbnail(&frame.view(), w, h, &mut out).expect("size is valid");
                assert!(
                    out.iter().all(|&v| u32::from(v) == want),
                    "{format:?} {width}x{height}: {want} {out:?}"
                );
            }
            let mut bins = [7; BINS];
            let counted = histogram(&frame.view(), &mut bins);
            assert!(counted > 0 && counted as usize <= MAX_TAPS);
            assert_eq!(bins[want as usize >> 2], counted);
            assert_eq!(bins.iter().sum::<u32>(), counted);
        }
    }
}

#[test]
fn a_thumbnail_of_a_large_frame_keeps_left_and_right_top_and_bottom() {
    for format in FORMATS {
        let mut frame = Frame::filled(format, 640, 360, [10, 10, 10]);
        for s in frame
            .samples()
            .iter()
            .filter(|s| s.x * s.sub.0 >= 320 && s.y * s.sub.1 < 180 && (s.component == 0 || !format.is_yuv()))
        {
            frame.set_code(s, if s.bytes == 2 { 800 } else { 200 });
        }
        let mut out = vec![0; 16 * 8];
        thumbnail(&frame.view(), 16, 8, &mut out).expect("size is valid");
        for (i, &v) in out.iter().enumerate() {
            let bright = i % 16 >= 8 && i / 16 < 4;
            assert_eq!(v > 100, bright, "{format:?} cell {i}: {v}");
        }
    }
}

#[test]
fn a_large_frame_is_sampled_within_bounds() {
    let frame = Frame::noise(nullface_kernels::PixelFormat::I420, 1921, 1081, 1, 6);
    let mut bins = [0; BINS];
    let counted = histogram(&frame.view(), &mut bins) as usize;
    assert!(counted <= MAX_TAPS && counted > MAX_TAPS / 4, "{counted}");
    // Noise is flat: every bin within half of its share.
    for (bin, &n) in bins.iter().enumerate() {
        assert!(
            n as usize > counted / BINS / 2 && (n as usize) < counted / BINS * 2,
            "bin {bin}: {n} of {counted}"
        );
    }
}

#[test]
fn wrong_sizes_are_refused_and_nothing_is_written() {
    let frame = Frame::noise(nullface_kernels::PixelFormat::Nv12, 8, 8, 0, 1);
    for (w, h, len) in [
        (0, 4, 0),
        (4, 0, 0),
        (4, 4, 15),
        (4, 4, 17),
        (usize::MAX, 2, 4),
        (40_000, 1, 40_000),
    ] {
        let mut out = vec![123; len];
        assert!(thumbnail(&frame.view(), w, h, &mut out).is_err(), "{w}x{h}, {len}");
        assert!(out.iter().all(|&v| v == 123));
    }
}
