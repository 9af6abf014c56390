//! The audit trail from outside: what a run writes, and what a change to it gives away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{Bench, nullface, records, text};

const INTERVIEW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/interview.mp4");

fn verify(trail: &Path, more: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nullface"))
        .args(["audit", "verify", text(trail)])
        .args(more)
        .output()
        .expect("nullface starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

/// Private and public key as openssl makes them.
fn keys(bench: &Bench, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let (private, public) = (bench.path(&format!("{name}.pem")), bench.path(&format!("{name}.pub.pem")));
    for args in [
        vec!["genpkey", "-algorithm", "ed25519", "-out", text(&private)],
        vec!["pkey", "-in", text(&private), "-pubout", "-out", text(&public)],
    ] {
        let made = Command::new("openssl").args(args).output().expect("openssl starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    (private, public)
}

#[test]
fn a_signed_trail_holds_and_every_change_is_found() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("-t 1 -i {INTERVIEW} -an -c:v libx264"));
    let trail = bench.path("r.jsonl");
    let (private, public) = keys(&bench, "key");
    let (_, stranger) = keys(&bench, "other");
    let options = [
        "--mode",
        "pixelate",
        "--report",
        text(&trail),
        "--sign-key",
        text(&private),
        "--seed",
        "90210",
    ];
    let out = bench.anonymized(&film, "out.mp4", &options);

    let records = records(&trail);
    let (header, footer) = (&records[0], &records[records.len() - 2]);
    assert!(header["models"].as_array().is_some_and(|m| m.len() >= 5));
    assert_eq!(
        (header["settings"]["mode"].as_str(), header["settings"]["seeded"].as_bool()),
        (Some("pixelate"), Some(true))
    );
    assert_eq!(
        (footer["frames"].as_u64(), footer["frames_unaccounted"].as_u64()),
        (Some(25), Some(0))
    );
    assert_eq!(footer["uncovered"], Value::Array(Vec::new()));
    let intervals: Vec<&Value> = records.iter().filter(|r| r["record"] == "interval").collect();
    assert!(!intervals.is_empty());
    assert!(
        intervals
            .iter()
            .all(|r| r["box"].as_array().is_some_and(|b| b.len() == 4) && r["verdict"].is_string())
    );
    let frames: u64 = intervals.iter().filter_map(|r| r["frames"].as_u64()).sum();
    assert_eq!(
        Some(frames),
        footer["faces"].as_u64(),
        "every face of every frame lies in one interval"
    );
    let whole = std::fs::read_to_string(&trail).expect("text");
    let folder = bench.path("");
    for secret in ["90210", "PRIVATE", text(&folder)] {
        assert!(!whole.contains(secret), "{secret} is in the trail");
    }

    let (code, said) = verify(
        &trail,
        &["--public-key", text(&public), "--source", text(&film), "--output", text(&out)],
    );
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("chain whole, signed by"), "{said}");
    let (code, said) = verify(&trail, &["--public-key", text(&stranger)]);
    assert!(code == 1 && said.contains("signed by another key"), "{said}");
    let (code, said) = verify(&trail, &["--output", text(&film)]);
    assert!(code == 1 && said.contains("give the film of this trail"), "{said}");

    // One digit of one record.
    let changed = bench.path("changed.jsonl");
    let at = intervals[0]["frames"].as_u64().expect("frames");
    std::fs::write(
        &changed,
        whole.replacen(&format!("\"frames\":{at}"), &format!("\"frames\":{}", at + 1), 1),
    )
    .expect("written");
    let (code, said) = verify(&changed, &[]);
    let track = intervals[0]["track"].as_u64().expect("track");
    assert!(code == 1 && said.contains(&format!("line 2 (interval of track {track}")), "{said}");
    // The end cut off.
    let lines: Vec<&str> = whole.lines().collect();
    std::fs::write(&changed, lines[..lines.len() - 2].join("\n")).expect("written");
    let (code, said) = verify(&changed, &[]);
    assert!(code == 1 && said.contains("there is no footer"), "{said}");
    // The signature of another trail.
    let other = bench.path("s.jsonl");
    bench.anonymized(
        &film,
        "s.mp4",
        &["--mode", "solid", "--report", text(&other), "--sign-key", text(&private)],
    );
    let foreign = std::fs::read_to_string(&other).expect("text");
    let mut mixed = lines[..lines.len() - 1].join("\n");
    mixed.push('\n');
    mixed.push_str(foreign.lines().last().expect("signature"));
    std::fs::write(&changed, mixed).expect("written");
    let (code, said) = verify(&changed, &[]);
    assert!(code == 1 && said.contains("its signature does not fit"), "{said}");
}

#[test]
fn a_key_without_a_report_and_a_key_that_is_none_are_refused_before_anything_is_made() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", "-f lavfi -i testsrc2=size=64x64:rate=25:duration=0.2 -c:v libx264");
    std::fs::write(bench.path("no.pem"), "no key").expect("written");
    let (key, out, report) = (bench.path("no.pem"), bench.path("out.mp4"), bench.path("r.jsonl"));
    let run = nullface(&["anonymize", text(&film), "-o", text(&out), "--sign-key", text(&key)]);
    assert_eq!(run.code, 2, "{}", run.said);
    let run = nullface(&[
        "anonymize",
        text(&film),
        "-o",
        text(&out),
        "--sign-key",
        text(&key),
        "--report",
        text(&report),
    ]);
    assert_eq!(run.code, 1);
    assert!(
        run.said.contains("no Ed25519 private key") && !out.exists() && !report.exists(),
        "{}",
        run.said
    );
}

#[test]
fn the_output_says_that_faces_were_altered_unless_told_not_to() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", "-f lavfi -i testsrc2=size=160x120:rate=25:duration=0.4 -c:v libx264");
    for (name, more, marked) in [
        ("a.mp4", &["--mode", "blur"][..], true),
        ("b.mkv", &["--mode", "blur"][..], true),
        ("c.mp4", &["--mode", "blur", "--no-marking"][..], false),
    ] {
        let out = bench.anonymized(&film, name, more);
        let tags = support::probe(&out, &["-show_format"])["format"]["tags"].to_string();
        let words = if name.ends_with(".mkv") {
            ":faces-covered:mode-blur:"
        } else {
            "Faces in this film were covered by nullface"
        };
        assert_eq!(tags.contains(words), marked, "{name}: {tags}");
        assert_eq!(tags.contains("digitalsourcetype/humanEdits"), marked, "{name}: {tags}");
    }
    // A label changes the lower left corner and nothing above.
    let plain = bench.anonymized(&film, "plain.mkv", &[]);
    let labelled = bench.anonymized(&film, "label.mkv", &["--label", "faces altered"]);
    let corner = |film: &Path, crop: &str| {
        let raw = bench.film(
            "raw.rgb",
            &format!("-i {} -frames:v 1 -vf crop={crop} -f rawvideo -pix_fmt rgb24", text(film)),
        );
        std::fs::read(raw).expect("pixels")
    };
    let difference = |crop: &str| {
        let (a, b) = (corner(&plain, crop), corner(&labelled, crop));
        a.iter().zip(&b).map(|(x, y)| f64::from(x.abs_diff(*y))).sum::<f64>() / a.len() as f64
    };
    let (foot, top) = (difference("80:40:0:80"), difference("160:50:0:0"));
    assert!(foot > 5.0 && top < 2.0, "foot {foot:.1}, top {top:.1}");
}
