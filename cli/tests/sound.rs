//! Sound is passed on packet by packet where the container takes it, at the same time; encoded anew
//! only where it does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::Path;

use support::{Bench, PATTERN, PATTERN_AND_TONE, sound, stream, streams};

/// Longest time by which packets may move: half a unit of Matroska's clock, and some.
const CLOCK_S: f64 = 0.0006;
/// Packets at the very end that may be missing: demuxers cut at the edit list's end.
const CUT_AT_END: usize = 1;

/// Every packet of `before` is in `after`, byte for byte, at the same time.
fn assert_passed_on(before: &Path, after: &Path, track: &str) {
    let (b, a) = (sound(before, track), sound(after, track));
    assert!(
        b.len() > 10 && a.len() + CUT_AT_END >= b.len() && a.len() <= b.len(),
        "{} packets became {}",
        b.len(),
        a.len()
    );
    for (i, ((tb, hb), (ta, ha))) in b.iter().zip(&a).enumerate() {
        assert_eq!(hb, ha, "packet {i} of {track} in {}", after.display());
        assert!((tb - ta).abs() <= CLOCK_S, "packet {i} of {track}: {tb} s became {ta} s");
    }
}

#[test]
fn sound_is_passed_on_as_it_is() {
    let bench = Bench::new();
    for (input, codec, output) in [
        ("a.mp4", "aac", "out.mp4"),
        ("b.mp4", "aac", "out.mkv"),
        ("c.mp4", "aac", "out.mov"),
        ("d.mp4", "libmp3lame", "out.mp4"),
        ("e.mkv", "libopus", "out.webm"),
        ("f.mkv", "libvorbis", "out.mkv"),
        ("g.mkv", "flac", "out.mkv"),
        ("h.mkv", "ac3", "out.mp4"),
    ] {
        let film = bench.film(input, &format!("{PATTERN_AND_TONE} -c:v libx264 -c:a {codec}"));
        let out = bench.anonymized(&film, output, &["--force"]);
        assert_passed_on(&film, &out, "a:0");
    }
}

#[test]
fn aac_from_a_transport_stream_loses_its_headers_and_nothing_else() {
    let bench = Bench::new();
    let film = bench.film("in.ts", &format!("{PATTERN_AND_TONE} -c:v libx264 -c:a aac"));
    let out = bench.anonymized(&film, "out.mp4", &[]);
    assert_eq!(stream(&out, "a:0")["codec_name"], "aac");
    assert!(sound(&out, "a:0").len().abs_diff(sound(&film, "a:0").len()) <= 2);
}

#[test]
fn both_of_two_sound_tracks_are_passed_on_in_order() {
    let bench = Bench::new();
    let film = bench.film(
        "in.mp4",
        &format!("{PATTERN_AND_TONE} -f lavfi -i sine=frequency=880:sample_rate=44100:duration=2 -map 0 -map 1 -map 2 -metadata:s:a:0 language=deu -metadata:s:a:1 language=eng -c:v libx264 -c:a aac"),
    );
    let out = bench.anonymized(&film, "out.mp4", &[]);
    assert_eq!(streams(&out, "a"), 2);
    assert_passed_on(&film, &out, "a:0");
    assert_passed_on(&film, &out, "a:1");
    assert_eq!(stream(&out, "a:0")["tags"]["language"], "deu");
    assert_eq!(stream(&out, "a:1")["tags"]["language"], "eng");
}

#[test]
fn a_silent_film_stays_silent() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN} -c:v libx264"));
    assert_eq!(streams(&bench.anonymized(&film, "out.mp4", &[]), "a"), 0);
}

#[test]
fn sound_that_the_container_does_not_take_is_encoded_anew() {
    let bench = Bench::new();
    for (input, codec, output, becomes) in [
        ("a.mkv", "libvorbis", "out.mp4", "aac"),
        ("b.mp4", "aac", "out.webm", "opus"),
        ("c.avi", "pcm_s16le", "out.mp4", "aac"),
    ] {
        let video = if input.ends_with("avi") { "mpeg4" } else { "libx264" };
        let film = bench.film(input, &format!("{PATTERN_AND_TONE} -c:v {video} -c:a {codec}"));
        let out = bench.anonymized(&film, output, &["--force"]);
        let track = stream(&out, "a:0");
        assert_eq!(track["codec_name"], becomes);
        let packets = sound(&out, "a:0");
        let last = packets.last().expect("packets").0;
        assert!((1.9..2.1).contains(&last), "{output}: the last packet is at {last} s");
    }
}

#[test]
fn sound_far_longer_than_the_picture_does_not_lock_up() {
    let bench = Bench::new();
    let film = bench.film(
        "in.mkv",
        "-f lavfi -i testsrc2=size=160x120:rate=25:duration=1 -f lavfi -i sine=duration=60 -c:v libx264 -c:a aac",
    );
    let out = bench.anonymized(&film, "out.mp4", &[]);
    assert!(sound(&out, "a:0").last().expect("packets").0 > 59.0);
}
