//! What must survive of the picture track: every frame, its time, aspect, colour tags, and which way
//! is up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use support::{Bench, PATTERN, PATTERN_AND_TONE, probe, stream, times};

/// Half a unit of the coarsest clock that a track is written in (1 ms in Matroska), and some.
const CLOCK_S: f64 = 0.0006;

fn assert_same_times(before: &[f64], after: &[f64]) {
    assert!(!before.is_empty());
    assert_eq!(before.len(), after.len(), "frames");
    for (i, (a, b)) in before.iter().zip(after).enumerate() {
        assert!((a - b).abs() <= CLOCK_S, "frame {i}: {a} s became {b} s");
    }
}

#[test]
fn every_frame_keeps_its_time_at_the_usual_rates() {
    let bench = Bench::new();
    for rate in ["24", "25", "30000/1001", "24000/1001", "60"] {
        let film = bench.film(
            "in.mp4",
            &format!("-f lavfi -i testsrc2=size=160x120:rate={rate}:duration=2 -c:v libx264 -bf 2"),
        );
        let out = bench.anonymized(&film, "out.mp4", &["--force"]);
        assert_same_times(&times(&film), &times(&out));
    }
}

#[test]
fn a_rate_that_varies_is_kept_in_every_container() {
    let bench = Bench::new();
    // Every frame of the first half second, every third after it, with odd gaps.
    let film = bench.film(
        "in.mp4",
        &format!("{PATTERN} -vf select='lt(n\\,12)+not(mod(n\\,3))+eq(n\\,40)' -fps_mode vfr -video_track_timescale 90000 -c:v libx264"),
    );
    let before = times(&film);
    let gaps: std::collections::BTreeSet<u64> = before.windows(2).map(|w| ((w[1] - w[0]) * 1000.0).round() as u64).collect();
    assert!(gaps.len() > 1, "the film made for this test has one rate: {gaps:?}");
    for name in ["out.mp4", "out.mov", "out.mkv", "out.webm"] {
        assert_same_times(&before, &times(&bench.anonymized(&film, name, &[])));
    }
}

#[test]
fn a_film_from_matroska_keeps_its_times() {
    let bench = Bench::new();
    let film = bench.film("in.mkv", &format!("{PATTERN_AND_TONE} -c:v libx264 -c:a aac"));
    let (before, after) = (times(&film), times(&bench.anonymized(&film, "out.mp4", &[])));
    // ffmpeg lets the picture begin some ms after the sound; the demuxer shows the first frame from zero on.
    assert!(after[0] <= before[0] + CLOCK_S);
    assert_same_times(&before[1..], &after[1..]);
}

#[test]
fn a_picture_that_begins_after_the_sound_still_does() {
    let bench = Bench::new();
    let film = bench.film(
        "in.mp4",
        "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=2 -f lavfi -i testsrc2=size=160x120:rate=25:duration=1 -map 1 -map 0 -filter:v setpts=PTS+0.52/TB -fps_mode vfr -c:v libx264 -c:a aac",
    );
    let before = times(&film);
    assert!(
        (before[0] - 0.52).abs() <= CLOCK_S,
        "the film made for this test begins at {}",
        before[0]
    );
    for name in ["out.mp4", "out.mkv"] {
        assert_same_times(&before, &times(&bench.anonymized(&film, name, &[])));
    }
}

#[test]
fn odd_sizes_and_wide_pixels_are_kept() {
    let bench = Bench::new();
    let film = bench.film(
        "in.mkv",
        "-f lavfi -i testsrc2=size=162x122:rate=25:duration=1 -vf setsar=4/3 -c:v libx264",
    );
    for name in ["out.mp4", "out.mkv"] {
        let after = stream(&bench.anonymized(&film, name, &[]), "v:0");
        assert_eq!(
            (after["width"].as_i64(), after["height"].as_i64()),
            (Some(162), Some(122)),
            "{name}"
        );
        assert_eq!(after["sample_aspect_ratio"], "4:3", "{name}");
    }
}

#[test]
fn colour_tags_are_kept() {
    let bench = Bench::new();
    for (matrix, transfer, primaries) in [
        ("bt709", "bt709", "bt709"),
        ("smpte170m", "smpte170m", "smpte170m"),
        ("bt2020nc", "bt2020-10", "bt2020"),
    ] {
        let film = bench.film(
            "in.mp4",
            &format!("{PATTERN} -c:v libx264 -colorspace {matrix} -color_trc {transfer} -color_primaries {primaries} -color_range tv"),
        );
        let (before, after) = (
            stream(&film, "v:0"),
            stream(&bench.anonymized(&film, "out.mp4", &["--force"]), "v:0"),
        );
        for tag in ["color_space", "color_primaries", "color_range"] {
            assert_eq!(before[tag], after[tag], "{tag} of {matrix}");
            assert!(before[tag].is_string());
        }
    }
}

#[test]
fn a_rotated_film_comes_out_upright_and_is_not_turned_again() {
    let bench = Bench::new();
    bench.film("flat.mp4", &format!("{PATTERN} -c:v libx264"));
    let film = bench.film("in.mp4", "-i flat.mp4 -c copy -metadata:s:v:0 rotate=90");
    let rotation = |path| {
        let shown = probe(path, &["-show_streams", "-select_streams", "v:0"]);
        shown["streams"][0]["side_data_list"]
            .as_array()
            .and_then(|l| l.iter().find_map(|d| d["rotation"].as_i64()))
            .unwrap_or(0)
    };
    assert_ne!(rotation(&film), 0, "the film made for this test is not rotated");
    let out = bench.anonymized(&film, "out.mp4", &[]);
    let after = stream(&out, "v:0");
    assert_eq!((after["width"].as_i64(), after["height"].as_i64()), (Some(120), Some(160)));
    assert_eq!(rotation(&out), 0);
    assert_same_times(&times(&film), &times(&out));
}

#[test]
fn an_interlaced_film_comes_out_progressive_with_every_frame() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN} -vf setfield=tff -c:v libx264 -flags +ilme+ildct"));
    assert_same_times(&times(&film), &times(&bench.anonymized(&film, "out.mp4", &[])));
}

#[test]
fn other_codecs_are_read() {
    let bench = Bench::new();
    for (name, codec) in [
        ("a.webm", "libvpx-vp9 -deadline realtime -cpu-used 8"),
        ("b.avi", "mpeg4"),
        ("c.mov", "mjpeg"),
        ("d.ts", "mpeg2video"),
    ] {
        let film = bench.film(name, &format!("{PATTERN} -c:v {codec}"));
        let out = bench.anonymized(&film, "out.mp4", &["--force"]);
        assert_eq!(times(&out).len(), times(&film).len(), "{name}");
    }
}
