//! What a player does unasked: which track it takes, in which order it shows them, in what language it thinks they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::Path;

use support::{Bench, PATTERN, nullface, probe, text};

const WORDS: &str = "1\n00:00:00,200 --> 00:00:01,000\nhello\n\n";
const SOUND: &str =
    "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=2 -f lavfi -i sine=frequency=880:sample_rate=48000:duration=2";
/// The second sound is the one to be played.
const SECOND: &str = "-disposition:a:0 0 -disposition:a:1 default";

/// Kind, codec, language, default and forced of every track of pictures, sound and words.
fn tracks(film: &Path) -> Vec<(String, String, String, bool, bool)> {
    let shown = probe(film, &["-show_streams"]);
    let all = shown["streams"].as_array().expect("streams").iter();
    let word = |v: &serde_json::Value| v.as_str().unwrap_or("und").to_owned();
    all.filter(|s| s["codec_type"] != "data")
        .map(|s| {
            let flag = |name: &str| s["disposition"][name] == 1;
            (
                word(&s["codec_type"]),
                word(&s["codec_name"]),
                word(&s["tags"]["language"]),
                flag("default"),
                flag("forced"),
            )
        })
        .collect()
}

/// Tracks of sound and words; of the picture, players have no choice.
fn chosen(film: &Path) -> Vec<(String, String, String, bool, bool)> {
    tracks(film).into_iter().filter(|t| t.0 != "video").collect()
}

#[test]
fn order_language_and_flags_of_tracks_are_kept_however_they_are_decoded() {
    let bench = Bench::new();
    std::fs::write(bench.path("a.srt"), WORDS).expect("words");
    let film = |name: &str, coding: &str| {
        let inputs = format!("{PATTERN} {SOUND} -i a.srt -map 0 -map 1 -map 2 -map 3 -c:v libx264 -ar 48000");
        let film = bench.film(name, &format!("{inputs} {coding} -metadata:s:a:1 language=fra {SECOND}"));
        let played: Vec<_> = chosen(&film).iter().filter(|t| t.0 == "audio").map(|t| t.3).collect();
        assert_eq!(played, [false, true], "{name} is not what was asked for");
        film
    };
    // Sound that is decoded beside sound that passes as it is: the decoder shows the former first.
    let mov = film("a.mov", "-c:a:0 aac -c:a:1 pcm_s16le -c:s mov_text");
    assert_eq!(chosen(&bench.anonymized(&mov, "a-out.mov", &[])), chosen(&mov));
    let mkv = film("b.mkv", "-c:a:0 aac -c:a:1 flac -c:s srt -disposition:s:0 forced");
    let (before, after) = (chosen(&mkv), chosen(&bench.anonymized(&mkv, "b-out.mkv", &[])));
    // ffmpeg names languages by their English words, GStreamer too.
    assert_eq!(before[1].2, "fra");
    for (b, a) in before.iter().zip(&after) {
        assert_eq!((&b.0, &b.1, b.3, b.4), (&a.0, &a.1, a.3, a.4));
        assert_eq!(a.2, if b.2 == "fra" { "fre" } else { b.2.as_str() });
    }
    assert_eq!(after.len(), before.len());
    let made = chosen(&bench.anonymized(&mkv, "b-out.mp4", &[]));
    let languages: Vec<_> = made.iter().map(|t| (t.2.as_str(), t.3)).collect();
    assert_eq!(languages[..2], [("und", false), ("fra", true)]);
}

#[test]
fn a_film_joined_of_parts_has_the_same_tracks() {
    let bench = Bench::new();
    let coding = "-map 0 -map 1 -map 2 -c:v libx264 -c:a:0 aac -c:a:1 pcm_s16le";
    let film = bench.film("a.mov", &format!("{PATTERN} {SOUND} {coding} {SECOND}"));
    let folder = bench.path("out");
    let run = nullface(&[
        "batch",
        text(&film),
        "-o",
        text(&folder),
        "--segment-seconds",
        "1",
        "--",
        "--mode",
        "solid",
    ]);
    assert_eq!(run.code, 0, "{}", run.said);
    assert_eq!(chosen(&folder.join("a.mov")), chosen(&film));
}
