//! Many films: what is done is not done again, a run that was killed is continued, and at no moment
//! does a final name hold half a film.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Bench, nullface, sound, text, times};

const FRAMES: usize = 30;

fn films(bench: &Bench) {
    std::fs::create_dir_all(bench.path("in/deep")).expect("folder");
    for (name, size) in [("in/a.mp4", "160x120"), ("in/b.mkv", "192x108"), ("in/deep/c.avi", "128x128")] {
        bench.film(
            name,
            &format!("-f lavfi -i testsrc2=size={size}:rate=25:duration=1.2 -c:v mpeg4 -q:v 3"),
        );
    }
}

fn run(bench: &Bench, out: &str, options: &[&str]) -> support::Run {
    let (input, output) = (bench.path("in"), bench.path(out));
    let mut args = vec!["batch", text(&input), "-o", text(&output), "--"];
    // The same bytes from every run.
    args.extend(["--max-fallback-share", "1", "--seed", "7"]);
    args.extend(options);
    nullface(&args)
}

/// Time and hash of every picture of every result. Not the files' bytes: Matroska's muxer draws a number for each.
fn results(folder: &Path) -> Vec<(&'static str, Vec<(f64, String)>)> {
    ["a.mp4", "b.mkv", "deep/c.mkv"]
        .map(|name| (name, sound(&folder.join(name), "v:0")))
        .to_vec()
}

#[test]
fn every_film_is_made_once_and_made_anew_only_when_something_changed() {
    let bench = Bench::new();
    films(&bench);
    let first = run(&bench, "out", &[]);
    assert_eq!(first.code, 0, "{}", first.said);
    assert!(first.said.contains("3 films: 3 made, 0 there already, 0 failed"), "{}", first.said);
    let before = results(&bench.path("out"));
    let again = run(&bench, "out", &[]);
    assert!(again.said.contains("0 made, 3 there already"), "{}", again.said);
    assert_eq!(before, results(&bench.path("out")));
    // Another film, a damaged result, other options.
    bench.film("in/a.mp4", "-f lavfi -i testsrc=size=160x120:rate=25:duration=1.2 -c:v mpeg4");
    assert!(run(&bench, "out", &[]).said.contains("1 made, 2 there already"));
    std::fs::write(bench.path("out/b.mkv"), b"damaged").expect("written");
    assert!(run(&bench, "out", &[]).said.contains("1 made, 2 there already"));
    assert!(run(&bench, "out", &["--mode", "solid"]).said.contains("3 made"));
    let report: Value = serde_json::from_str(&std::fs::read_to_string(bench.path("out/batch-report.json")).expect("report")).expect("JSON");
    assert_eq!(report["results"].as_array().expect("results").len(), 3);
    assert_eq!(report["results"][0]["frames"], FRAMES);
}

#[test]
fn a_film_that_fails_does_not_stop_the_others_and_a_stranger_is_not_replaced() {
    let bench = Bench::new();
    films(&bench);
    std::fs::write(bench.path("in/broken.mp4"), b"no film").expect("written");
    std::fs::create_dir_all(bench.path("out")).expect("folder");
    std::fs::write(bench.path("out/a.mp4"), b"precious").expect("written");
    let run = run(&bench, "out", &[]);
    assert_eq!(run.code, 1, "{}", run.said);
    assert!(run.said.contains("2 made, 0 there already, 2 failed"), "{}", run.said);
    assert!(
        run.said.contains("broken.mp4") && run.said.contains("it exists already"),
        "{}",
        run.said
    );
    assert_eq!(std::fs::read(bench.path("out/a.mp4")).expect("kept"), b"precious");
}

#[test]
fn killed_at_twenty_moments_it_ends_as_if_it_had_not_been() {
    let bench = Bench::new();
    films(&bench);
    let begun = Instant::now();
    let whole = run(&bench, "whole", &[]);
    // Kills fall within what a whole run takes here.
    let span_ms = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX).max(1);
    assert_eq!(whole.code, 0, "{}", whole.said);
    let expected = results(&bench.path("whole"));
    let (input, output) = (bench.path("in"), bench.path("out"));
    let mut seed = 0x9e37_79b9_u32;
    let mut ended = 0;
    for round in 0..20 {
        // xorshift: the same moments every time, as far as a machine allows.
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        if round % 2 == 0 {
            // So that every second kill meets a run that has all before it.
            let _ = std::fs::remove_dir_all(&output);
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_nullface"))
            .args([
                "batch",
                text(&input),
                "-o",
                text(&output),
                "--jobs",
                "2",
                "--",
                "--max-fallback-share",
                "1",
                "--seed",
                "7",
            ])
            .stderr(Stdio::null())
            .spawn()
            .expect("nullface starts");
        std::thread::sleep(Duration::from_millis(u64::from(seed % span_ms)));
        ended += usize::from(child.try_wait().expect("a child").is_some());
        child.kill().expect("killed");
        child.wait().expect("ends");
        for name in ["a.mp4", "b.mkv", "deep/c.mkv"] {
            let path = output.join(name);
            if path.exists() {
                assert_eq!(times(&path).len(), FRAMES, "{name} after kill {round}");
            }
        }
    }
    assert!(ended < 20, "no run was killed before its end");
    let last = run(&bench, "out", &[]);
    assert_eq!(last.code, 0, "{}", last.said);
    assert_eq!(results(&output), expected);
    let left: Vec<String> = std::fs::read_dir(&output)
        .expect("folder")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .filter(|n| n.ends_with(".part"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
