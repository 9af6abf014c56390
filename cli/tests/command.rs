//! The command's manners: exit codes, the report, signals, the sheet, the doctor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Bench, PATTERN, PATTERN_AND_TONE, nullface, probe, records, text};

#[test]
fn a_wrong_command_line_is_code_2() {
    for args in [
        vec!["anonymize"],
        vec!["anonymize", "a.mp4", "-o", "b.mp4", "--mode", "mosaic"],
        vec!["anonymize", "a.mp4", "-o", "b.mp4", "--threshold", "2"],
        vec!["dance"],
    ] {
        let run = nullface(&args);
        assert_eq!(run.code, 2, "{args:?}: {}", run.said);
    }
}

#[test]
fn help_lists_the_exit_codes_and_every_mode() {
    let output = Command::new(env!("CARGO_BIN_EXE_nullface"))
        .args(["anonymize", "--help"])
        .output()
        .expect("nullface starts");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in ["Exit codes:", "--max-fallback-share", "blur, pixelate, solid", "130"] {
        assert!(help.contains(word), "`{word}` is not in:\n{help}");
    }
}

#[test]
fn quiet_says_nothing() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN} -c:v libx264"));
    let run = bench.anonymize(&film, "out.mp4", &["--quiet"]);
    assert_eq!((run.code, run.said.as_str()), (0, ""));
}

#[test]
fn a_report_says_what_was_asked_and_what_became_of_it() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN_AND_TONE} -c:v libx264 -c:a aac"));
    let report = bench.path("r.jsonl");
    let out = bench.anonymized(&film, "out.mp4", &["--report", text(&report), "--mode", "solid", "--seed", "90210"]);
    let records = records(&report);
    let (header, footer) = (&records[0], records.last().expect("footer"));
    assert_eq!(header["record"], "header");
    assert_eq!(header["settings"]["mode"], "solid");
    assert_eq!(header["input"]["name"], "in.mp4");
    assert_eq!(header["input"]["sha256"], sha256sum(&film));
    assert_eq!(footer["record"], "footer");
    assert_eq!((footer["frames_in"].as_u64(), footer["frames_out"].as_u64()), (Some(50), Some(50)));
    assert_eq!(footer["output_sha256"], sha256sum(&out));
    assert_eq!(footer["stats"]["frames-out"], 50);
    assert_eq!(footer["exit_code"], 0);
    let text = std::fs::read_to_string(&report).expect("report");
    assert!(!text.contains("90210"), "the seed is in the report");
    assert!(
        records[1..records.len() - 1]
            .iter()
            .all(|r| r["record"] == "interval" && r["from_s"].is_number())
    );
}

fn sha256sum(path: &std::path::Path) -> Value {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum starts");
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .next()
        .expect("hash")
        .into()
}

#[test]
fn a_report_is_not_written_over_either() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN} -c:v libx264"));
    std::fs::write(bench.path("r.jsonl"), "precious").expect("written");
    let run = bench.anonymize(&film, "out.mp4", &["--report", text(&bench.path("r.jsonl"))]);
    assert_eq!(run.code, 1);
    assert!(run.said.contains("r.jsonl: it exists already"), "{}", run.said);
    assert!(!bench.path("out.mp4").exists());
}

#[test]
fn a_signal_leaves_no_half_film() {
    use std::io::Read;
    let bench = Bench::new();
    // Long enough that no machine is done with it before the signal comes.
    let film = bench.film("in.mp4", "-f lavfi -i color=size=320x240:rate=30:duration=240 -c:v mpeg4 -q:v 31");
    let (out, report) = (bench.path("out.mp4"), bench.path("r.jsonl"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_nullface"))
        .args(["anonymize", text(&film), "-o", text(&out), "--report", text(&report)])
        .stderr(Stdio::piped())
        .spawn()
        .expect("nullface starts");
    // The signal is sent once the temporary files are there: the handlers were set before.
    while bench.names().iter().filter(|n| n.ends_with(".part")).count() < 2 {
        assert!(child.try_wait().expect("child").is_none(), "it ended before it began");
        std::thread::yield_now();
    }
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill starts");
    assert!(killed.success());
    let code = child.wait().expect("child").code();
    let mut said = String::new();
    child.stderr.take().expect("pipe").read_to_string(&mut said).expect("text");
    assert_eq!(code, Some(130), "{said}");
    assert_eq!(bench.names(), ["in.mp4"], "{said}");
}

#[test]
fn a_sheet_shows_source_output_and_difference_in_rows() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN} -c:v libx264"));
    let report = bench.path("r.jsonl");
    let out = bench.anonymized(&film, "out.mkv", &["--report", text(&report)]);
    let sheet = bench.path("sheet.png");
    let run = nullface(&[
        "sheet",
        text(&film),
        text(&out),
        "-o",
        text(&sheet),
        "--report",
        text(&report),
        "--frames",
        "3",
    ]);
    assert_eq!(run.code, 0, "{}", run.said);
    let picture = &probe(&sheet, &["-show_streams"])["streams"][0];
    assert_eq!(
        (
            picture["codec_name"].as_str(),
            picture["width"].as_i64(),
            picture["height"].as_i64()
        ),
        (Some("png"), Some(3 * 160 + 8), Some(3 * 144))
    );
    let again = nullface(&["sheet", text(&film), text(&out), "-o", text(&sheet)]);
    assert_eq!(again.code, 1, "{}", again.said);
}

#[test]
fn a_sheet_of_films_that_do_not_belong_together_is_refused() {
    let bench = Bench::new();
    let long = bench.film("long.mp4", "-f lavfi -i testsrc2=size=160x120:rate=25:duration=4 -c:v libx264");
    let short = bench.film("short.mp4", "-f lavfi -i testsrc2=size=160x120:rate=25:duration=1 -c:v libx264");
    let run = nullface(&["sheet", text(&long), text(&short), "-o", text(&bench.path("s.png"))]);
    assert_eq!(run.code, 1);
    assert!(run.said.contains("short.mp4: it has no frame at"), "{}", run.said);
    assert!(!bench.path("s.png").exists());
}

#[test]
fn the_doctor_finds_the_element_and_names_the_package_of_what_is_missing() {
    let output = Command::new(env!("CARGO_BIN_EXE_nullface"))
        .args(["doctor", "--json"])
        .output()
        .expect("nullface starts");
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let state = |what: &str| {
        lines
            .iter()
            .find(|l| l["what"] == what)
            .map(|l| l["state"].clone())
            .unwrap_or_default()
    };
    assert_eq!(state("element nullfacefilter"), "ok");
    assert_eq!(state("element x264enc"), "ok");

    // Plugins nowhere to be found: everything but the element itself is missing.
    let bare = tempfile::tempdir().expect("folder");
    let output = Command::new(env!("CARGO_BIN_EXE_nullface"))
        .arg("doctor")
        .env("GST_PLUGIN_SYSTEM_PATH_1_0", bare.path())
        .env("GST_REGISTRY", bare.path().join("registry.bin"))
        .output()
        .expect("nullface starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.lines()
            .any(|l| l.starts_with("MISSING") && l.contains("x264enc") && l.contains("gstreamer1.0-plugins-ugly")),
        "{said}"
    );
    assert!(said.lines().any(|l| l.starts_with("ok") && l.contains("nullfacefilter")), "{said}");
}
