//! `nullface live` without a network: sources, recordings, manners, bad input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::process::Command;

use support::live::{Running, free_port};
use support::{Bench, PATTERN_AND_TONE, nullface, ran, stream, streams, text, times};

fn live(args: &[&str]) -> support::Run {
    let mut all = vec!["live"];
    all.extend(args);
    nullface(&all)
}

fn file(path: &std::path::Path) -> String {
    format!("file:{}", text(path))
}

#[test]
fn a_test_picture_is_recorded_with_its_tone() {
    let bench = Bench::new();
    for (name, video, audio) in [
        ("a.mkv", "h264", "aac"),
        ("a.mp4", "h264", "aac"),
        ("a.webm", "vp8", "opus"),
        ("a.ts", "h264", "aac"),
    ] {
        let out = bench.path(name);
        let run = live(&["--source", "test", "--sink", &file(&out), "--frames", "40", "--mode", "solid"]);
        assert_eq!(run.code, 0, "{name}: {}", run.said);
        let picture = stream(&out, "v:0");
        assert_eq!(
            (picture["codec_name"].as_str(), picture["width"].as_u64()),
            (Some(video), Some(640)),
            "{name}"
        );
        assert_eq!(stream(&out, "a:0")["codec_name"], audio, "{name}");
        let times = times(&out);
        assert!(times.len() >= 2, "{name}: {} frames", times.len());
        assert!(times.windows(2).all(|t| t[0] < t[1]), "{name}: {times:?}");
    }
}

#[test]
fn a_film_is_played_over_and_over_and_a_voice_is_changed() {
    let bench = Bench::new();
    let film = bench.film("in.mkv", &format!("{PATTERN_AND_TONE} -c:v libx264 -g 25 -c:a aac"));
    let out = bench.path("out.mkv");
    let run = live(&["--source", &file(&film), "--sink", &file(&out), "--frames", "75", "--voice", "deep"]);
    assert_eq!(run.code, 0, "{}", run.said);
    assert!(times(&out).windows(2).all(|t| t[0] < t[1]));
    // 440 Hz five semitones lower.
    let heard = loudest_hz(&out);
    assert!((heard - 330.0).abs() < 12.0, "{heard} Hz");
}

/// The loudest of the tones that come into question, by ffmpeg's band pass.
fn loudest_hz(film: &std::path::Path) -> f64 {
    let loudness = |hz: f64| -> f64 {
        let filter = format!("bandpass=f={hz}:width_type=h:w=10,volumedetect");
        let output = Command::new("ffmpeg")
            .args([
                "-hide_banner",
                "-nostdin",
                "-i",
                text(film),
                "-vn",
                "-af",
                &filter,
                "-f",
                "null",
                "-",
            ])
            .output()
            .expect("ffmpeg starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = said.lines().find_map(|l| l.split("mean_volume: ").nth(1)).expect("a volume");
        line.split(' ').next().and_then(|v| v.parse().ok()).expect("decibels")
    };
    let tones = [330.0, 440.0, 587.0, 220.0];
    tones
        .into_iter()
        .max_by(|a, b| loudness(*a).total_cmp(&loudness(*b)))
        .expect("tones")
}

#[test]
fn a_film_played_once_ends_with_it() {
    let bench = Bench::new();
    let film = bench.film("in.mkv", "-f lavfi -i testsrc2=size=160x120:rate=25:duration=1 -c:v libx264");
    let out = bench.path("out.mkv");
    let run = live(&["--source", &file(&film), "--sink", &file(&out), "--once"]);
    assert_eq!(run.code, 0, "{}", run.said);
    assert_eq!(streams(&out, "a"), 0);
    assert!(!times(&out).is_empty());
}

#[test]
fn ctrl_c_ends_a_recording_whole() {
    let bench = Bench::new();
    let out = bench.path("out.mp4");
    let mut run = Running::live(&["--source", "test", "--sink", &file(&out)]);
    run.wait_for("fps in");
    support::live::until("the recording grows", || out.metadata().is_ok_and(|m| m.len() > 20_000));
    run.interrupt();
    let (code, said) = run.end();
    assert_eq!(code, 0, "{said}");
    assert!(!times(&out).is_empty());
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    let bench = Bench::new();
    let there = bench.path("there.mkv");
    std::fs::write(&there, b"x").expect("file");
    let nowhere = bench.path("no/folder/x.mkv");
    let cases: [(&[&str], i32, &str); 9] = [
        (&["--source", "camera", "--sink", "none"], 2, "no source"),
        (&["--source", "test", "--sink", "file:x.avi"], 2, ".mkv"),
        (&["--source", "test"], 2, "--sink"),
        (&["--source", "test:no!such", "--sink", "none"], 1, "one word"),
        (&["--source", "test", "--sink", &file(&there)], 1, "exists already"),
        (&["--source", "test", "--sink", &file(&nowhere)], 1, "does not exist"),
        (&["--source", "file:/no/film.mp4", "--sink", "none"], 1, "/no/film.mp4"),
        (
            &["--source", "test", "--sink", "none", "--set", "thresold=1"],
            1,
            "no property thresold",
        ),
        (&["--source", "test", "--sink", "none", "--set", "mode=mosaic"], 1, "mosaic"),
    ];
    for (args, code, word) in cases {
        let run = live(args);
        assert_eq!(run.code, code, "{args:?}: {}", run.said);
        assert!(run.said.contains(word), "{args:?}: {}", run.said);
    }
    assert_eq!(std::fs::read(&there).expect("file"), b"x", "what was there is as it was");
}

#[test]
fn a_source_that_is_not_there_is_tried_again_and_then_given_up() {
    let port = free_port();
    for source in [
        format!("rtsp://127.0.0.1:{port}/x"),
        format!("rtmp://127.0.0.1:{port}/a/b"),
        "v4l2:/dev/video97".to_owned(),
    ] {
        let run = live(&["--source", &source, "--sink", "none", "--attempts", "2"]);
        assert_eq!(run.code, 1, "{source}: {}", run.said);
        assert!(run.said.contains("trying again in 0.5 s"), "{source}: {}", run.said);
        assert!(run.said.contains("given up after 2 attempts"), "{source}: {}", run.said);
    }
}

#[test]
fn a_full_disk_ends_the_recording_with_a_word_and_the_rest_goes_on() {
    let bench = Bench::new();
    let (full, good) = (bench.path("full.mkv"), bench.path("good.webm"));
    // The shell's limit stands for the disk's: 64 KiB a file.
    let script = format!(
        "ulimit -f 64; exec {} live --source test:snow --sink {} --sink {} --frames 60 --bitrate 8000 --quiet",
        env!("CARGO_BIN_EXE_nullface"),
        file(&full),
        "none"
    );
    let run = ran(&Command::new("sh").args(["-c", &script]).output().expect("sh"));
    assert_eq!(run.code, 1, "{}", run.said);
    assert!(run.said.contains("full.mkv"), "{}", run.said);
    assert!(!good.exists());
    assert!(full.metadata().is_ok_and(|m| m.len() > 10_000), "what fitted is kept");
}

/// What `nullface audit verify` says of a trail.
fn verified(trail: &std::path::Path) -> support::Run {
    nullface(&["audit", "verify", text(trail)])
}

#[test]
fn an_audit_trail_is_closed_whichever_way_a_session_ends() {
    let bench = Bench::new();
    let film = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/interview.mp4");
    let (enough, dead) = (bench.path("enough.jsonl"), bench.path("dead.jsonl"));
    let run = live(&[
        "--source",
        &file(&film),
        "--sink",
        "none",
        "--frames",
        "30",
        "--audit",
        text(&enough),
    ]);
    assert_eq!(run.code, 0, "{}", run.said);
    let checked = verified(&enough);
    assert_eq!(checked.code, 0, "{}", checked.said);
    let records = support::records(&enough);
    let footer = &records[records.len() - 1];
    assert!(
        footer["frames"].as_u64() >= Some(30) && footer["faces"].as_u64() > Some(0),
        "{footer}"
    );
    // A source that is given up.
    let nobody = format!("rtsp://127.0.0.1:{}/x", free_port());
    let run = live(&["--source", &nobody, "--sink", "none", "--attempts", "1", "--audit", text(&dead)]);
    assert_eq!(run.code, 1, "{}", run.said);
    assert_eq!(verified(&dead).code, 0, "{}", verified(&dead).said);
    // What is there is kept, unless told otherwise.
    let run = live(&["--source", "test", "--sink", "none", "--frames", "1", "--audit", text(&enough)]);
    assert!(run.code == 1 && run.said.contains("exists already"), "{}", run.said);
}

#[test]
fn a_trail_that_cannot_be_written_ends_the_session_with_the_reason() {
    // A device that is full from the first byte on.
    let run = live(&[
        "--source",
        "test",
        "--sink",
        "none",
        "--frames",
        "25",
        "--force",
        "--audit",
        "/dev/full",
    ]);
    assert_eq!(run.code, 1, "{}", run.said);
    assert!(
        run.said.contains("audit-location") && run.said.contains("No space left"),
        "{}",
        run.said
    );
}

#[test]
fn a_taken_port_is_named_with_a_remedy() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("address").port().to_string();
    let run = live(&["--source", "test", "--sink", "none", "--monitor", &port]);
    assert_eq!(run.code, 1, "{}", run.said);
    assert!(run.said.contains(&port) && run.said.contains("choose another port"), "{}", run.said);
    let run = live(&["--source", "test", "--sink", &format!("rtsp://127.0.0.1:{port}/x")]);
    assert_eq!(run.code, 1, "{}", run.said);
    assert!(run.said.contains("port is taken"), "{}", run.said);
}
