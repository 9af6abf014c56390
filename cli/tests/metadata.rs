//! What else a film tells: nothing by default, the words on demand, pictures never.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use support::{Bench, PATTERN_AND_TONE, probe, stream, streams, text};

const SECRETS: &str = "-metadata title=AnnaAtHome -metadata location=+48.1234+011.5678/ -metadata creation_time=2021-03-04T05:06:07Z -metadata artist=Anna -metadata comment=secret -metadata:s:v:0 title=AnnaTrack";

fn film_with_secrets(bench: &Bench, name: &str) -> std::path::PathBuf {
    bench.film(name, &format!("{PATTERN_AND_TONE} {SECRETS} -c:v libx264 -c:a aac"))
}

#[test]
fn titles_places_dates_and_names_are_left_out() {
    let bench = Bench::new();
    for (input, output) in [
        ("a.mp4", "out.mp4"),
        ("b.mkv", "out.mkv"),
        ("c.mp4", "out.mkv"),
        ("d.mov", "out.mov"),
        ("e.mkv", "out.webm"),
    ] {
        let film = film_with_secrets(&bench, input);
        assert!(
            std::fs::read(&film).expect("film").windows(10).any(|w| w == b"AnnaAtHome"),
            "{input} has no title"
        );
        let out = bench.anonymized(&film, output, &["--force"]);
        let bytes = std::fs::read(&out).expect("output");
        for secret in ["Anna", "48.1234", "secret", "2021-03"] {
            assert!(
                !bytes.windows(secret.len()).any(|w| w == secret.as_bytes()),
                "{output} holds `{secret}`"
            );
        }
        let shown = probe(&out, &["-show_format", "-show_streams"]).to_string();
        assert!(
            !shown.contains("creation_time") || output.ends_with("mkv") || output.ends_with("webm"),
            "{output} is dated: {shown}"
        );
    }
}

#[test]
fn two_runs_of_one_film_give_the_same_bytes() {
    let bench = Bench::new();
    let film = film_with_secrets(&bench, "in.mp4");
    let options = ["--seed", "7"];
    let first = std::fs::read(bench.anonymized(&film, "a.mp4", &options)).expect("first");
    let second = std::fs::read(bench.anonymized(&film, "b.mp4", &options)).expect("second");
    assert!(first == second && first.len() > 1000, "{} and {} bytes", first.len(), second.len());
}

#[test]
fn the_title_stays_on_demand() {
    let bench = Bench::new();
    let film = film_with_secrets(&bench, "in.mp4");
    let out = bench.anonymized(&film, "out.mp4", &["--keep-metadata"]);
    assert_eq!(probe(&out, &["-show_format"])["format"]["tags"]["title"], "AnnaAtHome");
}

#[test]
fn a_cover_picture_is_left_out_even_on_demand() {
    let bench = Bench::new();
    bench.film("cover.png", "-f lavfi -i testsrc2=size=64x64:duration=1 -frames:v 1");
    bench.film("plain.mp4", &format!("{PATTERN_AND_TONE} -c:v libx264 -c:a aac"));
    let film = bench.film(
        "in.mp4",
        "-i plain.mp4 -i cover.png -map 0 -map 1 -c copy -c:v:1 png -disposition:v:1 attached_pic",
    );
    assert_eq!(streams(&film, "v"), 2, "the film made for this test has no cover");
    let out = bench.anonymized(&film, "out.mp4", &["--keep-metadata"]);
    assert_eq!(streams(&out, "v"), 1);
    let bytes = std::fs::read(&out).expect("output");
    assert!(!bytes.windows(8).any(|w| w == b"\x89PNG\r\n\x1a\n"));
}

#[test]
fn of_two_pictures_the_first_is_anonymised_and_the_second_left_out() {
    let bench = Bench::new();
    let film = bench.film("in.mkv", "-f lavfi -i testsrc2=size=160x120:rate=25:duration=1 -f lavfi -i testsrc2=size=320x240:rate=25:duration=1 -map 0 -map 1 -c:v libx264");
    let run = bench.anonymize(&film, "out.mkv", &[]);
    assert_eq!(run.code, 0, "{}", run.said);
    assert!(run.said.contains("2 video streams"), "{}", run.said);
    let out = bench.path("out.mkv");
    assert_eq!(streams(&out, "v"), 1);
    assert_eq!(stream(&out, "v:0")["width"], 160, "{}", text(&out));
}
