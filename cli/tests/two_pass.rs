//! Two passes and track files at the command line: what was drawn by hand is in the film, and what does not fit
//! is refused before anything stands under the final name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Bench, Run, nullface, records, text, times};

/// Two seconds without a face.
const WHITE: &str = "-f lavfi -i color=white:size=160x120:rate=25:duration=2 -c:v libx264";
const BOX: &str = "40,30,90,90";

/// A film and its track file, made by a first pass alone.
fn found(bench: &Bench) -> (PathBuf, PathBuf) {
    let film = bench.film("in.mp4", WHITE);
    let tracks = bench.path("in.tracks.jsonl");
    let run = nullface(&["tracks", "find", text(&film), "-o", text(&tracks), "--quiet"]);
    assert_eq!(run.code, 0, "{}", run.said);
    (film, tracks)
}

fn edited(args: &[&str]) -> Run {
    let run = nullface(&[&["tracks"], args].concat());
    assert_eq!(run.code, 0, "{}", run.said);
    run
}

/// Luma in the middle of the box, frame by frame.
fn luma(film: &Path) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-i",
            text(film),
            "-vf",
            "crop=2:2:64:60,format=gray",
            "-f",
            "rawvideo",
            "-",
        ])
        .output()
        .expect("ffmpeg starts");
    output.stdout.chunks(4).map(|c| c[0]).collect()
}

/// One sentence with a remedy and these words; no output.
fn refused(bench: &Bench, run: &Run, words: &[&str]) {
    assert_eq!(run.code, 1, "{}", run.said);
    let said: Vec<&str> = run.said.lines().filter(|l| l.starts_with("nullface: ")).collect();
    assert_eq!(said.len(), 1, "{}", run.said);
    for word in [&["; "], words].concat() {
        assert!(said[0].contains(word), "`{word}` is not in: {}", said[0]);
    }
    assert!(
        !bench.names().iter().any(|n| n == "out.mkv" || n.ends_with(".part")),
        "{:?}",
        bench.names()
    );
}

#[test]
fn a_box_drawn_by_hand_is_in_the_film_for_its_time_until_it_is_dropped() {
    let bench = Bench::new();
    let (film, tracks) = found(&bench);
    let run = edited(&["add", text(&tracks), "--from", "0.4", "--to", "0.8", "--box", BOX]);
    assert!(run.said.contains("track 0 added"), "{}", run.said);
    let report = bench.path("r.jsonl");
    let options = [
        "--from-tracks",
        text(&tracks),
        "--mode",
        "solid",
        "--size-limit",
        "0",
        "--report",
        text(&report),
    ];
    let out = bench.anonymized(&film, "out.mkv", &options);
    let dark: Vec<usize> = luma(&out).iter().enumerate().filter(|(_, v)| **v < 60).map(|(i, _)| i).collect();
    assert_eq!(dark, (10..=20).collect::<Vec<_>>());
    assert_eq!(times(&out).len(), times(&film).len());
    let header = &records(&report)[0];
    assert_eq!(header["tracks"]["name"], "in.tracks.jsonl");
    assert_eq!(header["tracks"]["sha256"].as_str().map(str::len), Some(64));

    let out = bench.anonymized(
        &film,
        "kept.mkv",
        &[
            "--from-tracks",
            text(&tracks),
            "--mode",
            "solid",
            "--size-limit",
            "0",
            "--except",
            "track:0",
        ],
    );
    assert!(luma(&out).iter().all(|v| *v > 200), "a kept track was covered");
    edited(&["drop", text(&tracks), "0"]);
    let out = bench.anonymized(
        &film,
        "dropped.mkv",
        &["--from-tracks", text(&tracks), "--mode", "solid", "--size-limit", "0"],
    );
    assert!(luma(&out).iter().all(|v| *v > 200) && luma(&out).len() == 50);
}

#[test]
fn edits_follow_one_another_and_a_copy_leaves_the_file_alone() {
    let bench = Bench::new();
    let (_, tracks) = found(&bench);
    let file = text(&tracks);
    edited(&[
        "add",
        file,
        "--key",
        "0.2@10,10,40,40",
        "--key",
        "0:01@60,10,90,40",
        "--decision",
        "cover",
    ]);
    edited(&["split", file, "0", "--at", "0.6"]);
    edited(&["decide", file, "1", "keep"]);
    let before = std::fs::read(&tracks).expect("file");
    edited(&["merge", file, "0", "1", "-o", text(&bench.path("copy.jsonl"))]);
    assert_eq!(std::fs::read(&tracks).expect("file"), before);
    let merged = records(&bench.path("copy.jsonl"));
    assert_eq!(
        (merged.len(), merged[1]["id"].as_u64(), merged[1]["decision"].as_str()),
        (2, Some(0), Some("cover"))
    );
    let output = Command::new(env!("CARGO_BIN_EXE_nullface"))
        .args(["tracks", "show", file])
        .output()
        .expect("runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("in.mp4: 50 frames") && shown.contains("keep") && shown.lines().count() == 4,
        "{shown}"
    );
}

#[test]
fn two_passes_leave_the_track_file_beside_the_film() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", WHITE);
    let out = bench.anonymized(&film, "out.mp4", &["--two-pass"]);
    assert_eq!(times(&out), times(&film));
    let header = &records(&bench.path("out.tracks.jsonl"))[0];
    assert_eq!(
        (header["format"].as_str(), header["frames"].as_u64()),
        (Some("nullface-tracks"), Some(50))
    );
    assert_eq!((header["width_px"].as_u64(), header["last_s"].as_f64()), (Some(160), Some(1.96)));
    std::fs::remove_file(&out).expect("removed");
    let run = bench.anonymize(&film, "out.mkv", &["--two-pass", "--tracks", text(&bench.path("out.tracks.jsonl"))]);
    refused(&bench, &run, &["out.tracks.jsonl: it exists already", "--force"]);
}

#[test]
fn track_files_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    let (film, tracks) = found(&bench);
    let whole = std::fs::read_to_string(&tracks).expect("file");
    let other = bench.film("other.mp4", "-f lavfi -i color=gray:size=160x120:rate=25:duration=2 -c:v libx264");
    let with = |input: &Path, options: &[&str]| {
        let options = [&["--from-tracks", text(&tracks)], options].concat();
        bench.anonymize(input, "out.mkv", &options)
    };
    refused(&bench, &with(&other, &[]), &["in.tracks.jsonl", "of another film: of in.mp4"]);
    refused(
        &bench,
        &with(&film, &["--except", "track:99"]),
        &["no track 99", "nullface tracks show"],
    );
    refused(&bench, &with(&film, &["--except", "track:x"]), &["track:x", "no number"]);
    refused(
        &bench,
        &with(&film, &["--only", "anna.jpg"]),
        &["anna.jpg", "says nothing about photos"],
    );
    let run = bench.anonymize(&film, "out.mkv", &["--except", "track:0"]);
    refused(&bench, &run, &["track:0", "--two-pass"]);
    for (text, words) in [
        (format!("{whole}{{broken\n"), ["line 2", "correct that line"]),
        (
            whole.replace("\"version\":1", "\"version\":2"),
            ["version 2", "make the track file anew"],
        ),
        (
            whole.replace("\"frames\":50", "\"frames\":49"),
            ["made of 49 frames, and the film has 50", "anew"],
        ),
        (String::new(), ["there is no header", "anew"]),
    ] {
        std::fs::write(&tracks, text).expect("written");
        refused(&bench, &with(&film, &[]), &["in.tracks.jsonl", words[0], words[1]]);
    }
    let run = bench.anonymize(&film, "out.mkv", &["--from-tracks", text(&bench.path("none.jsonl"))]);
    refused(&bench, &run, &["none.jsonl", "cannot be read"]);
}

#[test]
fn edits_that_are_impossible_are_refused_and_change_nothing() {
    let bench = Bench::new();
    let (_, tracks) = found(&bench);
    let file = text(&tracks);
    edited(&["add", file, "--from", "0.4", "--to", "0.8", "--box", BOX]);
    let before = std::fs::read(&tracks).expect("file");
    for (args, words) in [
        (vec!["add", file, "--from", "1", "--to", "0.5", "--box", BOX], "a time later than"),
        (vec!["add", file, "--from", "0", "--to", "90", "--box", BOX], "which ends at 1.96 s"),
        (
            vec!["add", file, "--from", "0", "--to", "1", "--box", "200,10,240,50"],
            "picture of 160 x 120 px",
        ),
        (vec!["split", file, "0", "--at", "1.5"], "a time inside track 0"),
        (vec!["drop", file, "7"], "no track 7"),
        (vec!["decide", file, "7", "keep"], "no track 7"),
    ] {
        let run = nullface(&[&["tracks"], args.as_slice()].concat());
        refused(&bench, &run, &["in.tracks.jsonl", words]);
    }
    assert_eq!(std::fs::read(&tracks).expect("file"), before);
}
