//! Long films in a batch: made in parts, gone on with after a kill, and equal to what would have been without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Bench, Run, nullface, ran, records, sound, text, times};

const INTERVIEW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/interview.mp4");
const FRAMES: usize = 75;
const PARTS: usize = 3;
/// First frames of parts.
const SEAMS: [usize; PARTS - 1] = [25, 50];
/// The track file and the parts.
const PIECES: usize = PARTS + 1;
const NAME: &str = "a.mp4";
/// Bound of the mean difference of two codings at quality 1, luma levels: measured 0.07 at most.
const CODING: f64 = 0.15;

/// A talking head for three seconds, with sound.
fn film(bench: &Bench) -> PathBuf {
    std::fs::create_dir_all(bench.path("in")).expect("folder");
    bench.film(
        "in/a.mp4",
        &format!("-i {INTERVIEW} -t 3 -vf scale=160:120 -c:v libx264 -preset ultrafast -c:a copy"),
    )
}

fn command(bench: &Bench, out: &str, options: &[&str]) -> Command {
    command_of(bench, out, "1", options)
}

fn command_of(bench: &Bench, out: &str, seconds: &str, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nullface"));
    command.arg("batch").arg(bench.path("in")).arg("-o").arg(bench.path(out));
    command.args(["--segment-seconds", seconds, "--", "--max-fallback-share", "1"]);
    if !options.contains(&"--seed") {
        command.args(["--seed", "7"]);
    }
    if !options.contains(&"--mode") {
        command.args(["--mode", "blur"]);
    }
    command.args(options);
    command
}

fn run(bench: &Bench, out: &str, options: &[&str]) -> Run {
    ran(&command(bench, out, options).output().expect("nullface starts"))
}

/// Pieces that the ledger knows of.
fn pieces(out: &Path) -> usize {
    let ledger = std::fs::read_to_string(out.join("batch.jsonl")).unwrap_or_default();
    ledger.lines().filter(|l| l.contains("\"record\":\"piece\"")).count()
}

/// Runs until the ledger has so many pieces more and then `after`, and kills. Gives whether it still ran.
fn killed(mut child: Child, out: &Path, more: usize, after: Duration) -> bool {
    let before = pieces(out);
    let still = loop {
        if child.try_wait().expect("a child").is_some() {
            break false;
        }
        if pieces(out) >= before + more {
            std::thread::sleep(after);
            break child.try_wait().expect("a child").is_none();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    child.wait().expect("ends");
    still
}

fn batch_report(out: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(out.join("batch-report.json")).expect("report")).expect("JSON")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("folder")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Luma of every picture.
fn pictures(film: &Path) -> Vec<Vec<u8>> {
    let args = ["-v", "error", "-i", text(film), "-vf", "format=gray", "-f", "rawvideo", "-"];
    let output = Command::new("ffmpeg").args(args).output().expect("ffmpeg starts");
    output.stdout.chunks(160 * 120).map(<[u8]>::to_vec).collect()
}

fn difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}

/// Kills so often, at moments spread over a run by what the ledger says, and compares what comes of it.
fn killed_so_often(kills: usize, options: &[&str]) {
    let bench = Bench::new();
    let source = film(&bench);
    let whole = run(&bench, "whole", options);
    assert_eq!(whole.code, 0, "{}", whole.said);
    let (whole, out) = (bench.path("whole"), bench.path("out"));
    assert_eq!(pieces(&whole), PIECES);
    let expected = std::fs::read(whole.join(NAME)).expect("film");
    let mut seed = 0x9e37_79b9_u32;
    let (mut met, mut tried, mut kept) = (0, 0, 0);
    while met < kills || kept == 0 {
        assert!(
            tried < 3 * kills,
            "{met} of {tried} runs were killed before their end, {kept} parts were gone on with"
        );
        let _ = std::fs::remove_dir_all(&out);
        // Two kills, and then a run to the end.
        for _ in 0..2 {
            // xorshift: after which piece, and how far into the next one, which opens the models first and so takes
            // longer than that.
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            let left = PIECES.saturating_sub(pieces(&out)).max(1);
            let after = Duration::from_millis(u64::from(seed % 1000) / 5);
            let child = command(&bench, "out", options)
                .stderr(Stdio::null())
                .spawn()
                .expect("nullface starts");
            met += usize::from(killed(child, &out, (seed >> 16) as usize % left, after));
            tried += 1;
            if out.join(NAME).exists() {
                assert_eq!(std::fs::read(out.join(NAME)).expect("film"), expected, "after {tried} kills");
                break;
            }
        }
        let known = pieces(&out).saturating_sub(1);
        let last = run(&bench, "out", options);
        assert_eq!(last.code, 0, "{}", last.said);
        if last.said.contains("1 made") {
            // Nothing that the ledger knew was made again.
            let there = batch_report(&out)["results"][0]["parts_kept"].as_u64();
            assert_eq!(there, Some(known as u64), "{}", last.said);
            kept += known;
        }
        assert_eq!(std::fs::read(out.join(NAME)).expect("film"), expected, "after {tried} kills");
        assert_eq!(names(&out), names(&whole));
    }
    // As when it is made at once: times, sound.
    let at_once = ran(&command_of(&bench, "once", "0", options).output().expect("nullface starts"));
    assert_eq!(at_once.code, 0, "{}", at_once.said);
    let once = bench.path("once").join(NAME);
    assert_eq!(times(&whole.join(NAME)), times(&source));
    assert_eq!(times(&whole.join(NAME)), times(&once));
    assert!(sound(&once, "a:0").len() > 100);
    assert_eq!(sound(&whole.join(NAME), "a:0"), sound(&once, "a:0"));
    assert_eq!(names(&whole), [NAME, "a.mp4.report.jsonl", "batch-report.json", "batch.jsonl"]);
}

#[test]
fn killed_at_moments_spread_over_a_run_it_ends_as_if_it_had_not_been() {
    killed_so_often(4, &[]);
}

#[test]
#[ignore = "twenty kills and ten whole runs take minutes; run by name"]
fn killed_at_twenty_moments_it_ends_as_if_it_had_not_been() {
    killed_so_often(20, &[]);
}

#[test]
#[ignore = "kills and whole runs take minutes; run by name"]
fn killed_at_many_moments_where_faces_are_replaced_it_ends_as_if_it_had_not_been() {
    killed_so_often(12, &REPLACES);
}

#[test]
fn nothing_shows_at_a_seam_and_the_report_is_one() {
    let bench = Bench::new();
    let source = film(&bench);
    // Hardly any loss in coding, so that what differs is what was covered.
    let options = ["--mode", "pixelate", "--two-pass", "--size-limit", "0", "--quality", "1"];
    let made = run(&bench, "out", &options);
    assert_eq!(made.code, 0, "{}", made.said);
    let out = bench.path("out").join(NAME);
    let (old, new) = (pictures(&source), pictures(&out));
    assert_eq!((old.len(), new.len()), (FRAMES, FRAMES));
    assert!((0..FRAMES).all(|i| difference(&old[i], &new[i]) > 1.0), "a frame is not covered");
    // The same pictures as when it is made at once, and the same way from each to the next; what is left is coding.
    let at_once = command_of(&bench, "once", "0", &options).output().expect("nullface starts");
    assert_eq!(ran(&at_once).code, 0);
    let once = pictures(&bench.path("once").join(NAME));
    assert_eq!(once.len(), FRAMES);
    for i in 0..FRAMES {
        let apart = difference(&new[i], &once[i]);
        assert!(apart < CODING, "frame {i}: {apart:.3} from the one made at once");
    }
    for seam in SEAMS {
        let (here, there) = (difference(&new[seam], &new[seam - 1]), difference(&once[seam], &once[seam - 1]));
        assert!(
            (here - there).abs() < CODING,
            "frame {seam}: a step of {here:.3}, made at once {there:.3}"
        );
    }

    let report = bench.path("out/a.mp4.report.jsonl");
    let all = records(&report);
    let footer = all.last().expect("a footer");
    assert_eq!(
        (footer["frames"].as_u64(), footer["uncovered"].as_array().map(Vec::len)),
        (Some(FRAMES as u64), Some(0))
    );
    let tracks: std::collections::BTreeSet<u64> = all.iter().filter_map(|r| r["track"].as_u64()).collect();
    let found = records(&bench.path("out/a.tracks.jsonl"));
    let numbers: std::collections::BTreeSet<u64> = found.iter().filter_map(|r| r["id"].as_u64()).collect();
    assert!(!tracks.is_empty() && tracks.is_subset(&numbers), "{tracks:?} of {numbers:?}");
    assert_eq!(footer["tracks"].as_u64(), Some(tracks.len() as u64));
    assert_eq!(footer["stats"]["tracks"], footer["tracks"]);
    assert_eq!(footer["stats"]["faces"], footer["faces"]);
    let verified = nullface(&["audit", "verify", text(&report), "--output", text(&out)]);
    assert_eq!(verified.code, 0, "{}", verified.said);
}

#[test]
fn parts_of_other_options_are_named_and_made_anew_and_a_strangers_folder_is_left_alone() {
    let bench = Bench::new();
    film(&bench);
    let out = bench.path("out");
    std::fs::create_dir_all(out.join(".a.mp4.work")).expect("folder");
    let refused = run(&bench, "out", &[]);
    assert_eq!(refused.code, 1, "{}", refused.said);
    assert!(
        refused.said.contains(".a.mp4.work: a folder of this name exists") && refused.said.contains("--force"),
        "{}",
        refused.said
    );
    std::fs::remove_dir(out.join(".a.mp4.work")).expect("removed");

    let child = command(&bench, "out", &[]).stderr(Stdio::null()).spawn().expect("nullface starts");
    assert!(killed(child, &out, 2, Duration::ZERO));
    assert!(!out.join(NAME).exists());
    let run = run(&bench, "out", &["--mode", "solid"]);
    assert_eq!(run.code, 0, "{}", run.said);
    assert!(
        run.said.contains(".a.mp4.work") && run.said.contains("it is begun anew"),
        "{}",
        run.said
    );
    assert_eq!(batch_report(&out)["results"][0]["parts_kept"], 0);
}

#[test]
fn a_full_disk_is_named_and_what_was_made_before_stays() {
    let bench = Bench::new();
    film(&bench);
    let out = bench.path("out");
    // The parts are smaller than the shell's limit, the whole film is not.
    let whole = run(&bench, "whole", &["--size-limit", "0", "--quality", "2"]);
    assert_eq!(whole.code, 0, "{}", whole.said);
    let blocks = std::fs::metadata(bench.path("whole").join(NAME)).expect("film").len() / 1024 * 3 / 4;
    let inner = command(&bench, "out", &["--size-limit", "0", "--quality", "2"]);
    let words: Vec<String> = inner.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
    let limited = Command::new("bash")
        .args([
            "-c",
            &format!("ulimit -f {blocks}; exec \"$@\""),
            "bash",
            env!("CARGO_BIN_EXE_nullface"),
        ])
        .args(&words)
        .output()
        .expect("bash starts");
    let limited = ran(&limited);
    assert_eq!(limited.code, 1, "{}", limited.said);
    assert!(
        limited.said.contains("a.mp4: the disk is full") && limited.said.contains("make room"),
        "{}",
        limited.said
    );
    assert!(!out.join(NAME).exists());
    let again = run(&bench, "out", &["--size-limit", "0", "--quality", "2"]);
    assert_eq!(again.code, 0, "{}", again.said);
    assert_eq!(batch_report(&out)["results"][0]["parts_kept"], PARTS);
    assert_eq!(
        std::fs::read(out.join(NAME)).unwrap(),
        std::fs::read(bench.path("whole").join(NAME)).unwrap()
    );
}

const REPLACES: [&str; 2] = ["--mode", "nullface"];
/// The same without the denoiser, which is quicker.
const COMPOSES: [&str; 2] = ["--mode", "ksame"];

/// Decisions about people, as a part hands them over.
fn people(out: &Path, part: usize) -> Value {
    let path = out.join(format!(".{NAME}.work/{part:06}.handover"));
    let text = std::fs::read_to_string(&path).expect("handed over");
    serde_json::from_str(text.lines().next().expect("a line")).expect("JSON")
}

/// Runs until so many pieces more are made, and kills.
fn killed_after(bench: &Bench, options: &[&str], more: usize) {
    let child = command(bench, "out", options)
        .stderr(Stdio::null())
        .spawn()
        .expect("nullface starts");
    assert!(killed(child, &bench.path("out"), more, Duration::ZERO), "it ended before the kill");
}

#[test]
fn whose_faces_are_replaced_stays_who_they_became_over_kills_and_seams() {
    let bench = Bench::new();
    let source = film(&bench);
    let whole = run(&bench, "whole", &REPLACES);
    assert_eq!(whole.code, 0, "{}", whole.said);
    let (whole, out) = (bench.path("whole"), bench.path("out"));
    assert_eq!(pieces(&whole), PIECES);
    let expected = std::fs::read(whole.join(NAME)).expect("film");

    // After the first pass and the first part, and in the second part.
    killed_after(&bench, &REPLACES, 2);
    let first = people(&out, 0);
    killed_after(&bench, &REPLACES, 1);
    let second = people(&out, 1);
    let who = |all: &Value| (all["people"][0]["mixture"].clone(), all["people"][0]["attempt"].clone());
    assert!(who(&first).0.as_array().is_some_and(|m| !m.is_empty()), "{first}");
    assert_eq!(who(&first), who(&second), "somebody else after the seam");
    let lying: Vec<String> = names(&out.join(".a.mp4.work"))
        .into_iter()
        .filter(|n| !n.ends_with(".part"))
        .collect();
    let part = |n| [format!("{n:06}.gdp"), format!("{n:06}.handover"), format!("{n:06}.trail.jsonl")];
    assert_eq!(
        lying,
        [part(0).to_vec(), part(1).to_vec(), vec!["tracks.jsonl".to_owned()]].concat()
    );

    let last = run(&bench, "out", &REPLACES);
    assert_eq!(last.code, 0, "{}", last.said);
    assert_eq!(batch_report(&out)["results"][0]["parts_kept"], 2);
    assert!(
        std::fs::read(out.join(NAME)).expect("film") == expected,
        "not the uninterrupted film"
    );
    assert_eq!(names(&out), names(&whole));

    assert_eq!(times(&out.join(NAME)), times(&source));
    let report = records(&bench.path("out/a.mp4.report.jsonl"));
    let footer = report.last().expect("a footer");
    assert_eq!(footer["frames"].as_u64(), Some(FRAMES as u64));
    assert!(
        footer["stats"]["replaced"].as_u64().is_some_and(|n| n > FRAMES as u64 / 2),
        "{footer}"
    );
    let verified = nullface(&[
        "audit",
        "verify",
        text(&bench.path("out/a.mp4.report.jsonl")),
        "--output",
        text(&out.join(NAME)),
    ]);
    assert_eq!(verified.code, 0, "{}", verified.said);
}

#[test]
fn a_damaged_hand_over_is_named_and_its_part_made_again_and_another_seed_begins_anew() {
    let bench = Bench::new();
    film(&bench);
    let whole = run(&bench, "whole", &COMPOSES);
    assert_eq!(whole.code, 0, "{}", whole.said);
    let (whole, out) = (bench.path("whole"), bench.path("out"));
    killed_after(&bench, &COMPOSES, 3);
    let damaged = out.join(".a.mp4.work/000000.handover");
    std::fs::copy(out.join(".a.mp4.work/000001.handover"), &damaged).expect("copied");
    let text = std::fs::read_to_string(&damaged).expect("text");
    std::fs::write(&damaged, text.replace("\"attempt\":", "\"attempt\":1")).expect("written");
    let mended = run(&bench, "out", &COMPOSES);
    assert_eq!(mended.code, 0, "{}", mended.said);
    assert!(
        mended
            .said
            .contains("000000.handover: it is not as it was written; its part is made again"),
        "{}",
        mended.said
    );
    assert_eq!(
        batch_report(&out)["results"][0]["parts_kept"],
        1,
        "the part after it goes on from the same"
    );
    assert!(std::fs::read(out.join(NAME)).expect("film") == std::fs::read(whole.join(NAME)).expect("film"));

    std::fs::remove_dir_all(&out).expect("removed");
    killed_after(&bench, &COMPOSES, 2);
    let other = run(&bench, "out", &["--mode", "ksame", "--seed", "8"]);
    assert_eq!(other.code, 0, "{}", other.said);
    assert!(
        other
            .said
            .contains(".a.mp4.work: 1 parts there were made under another seed; they are made again"),
        "{}",
        other.said
    );
    assert_eq!(batch_report(&out)["results"][0]["parts_kept"], 0);
}

#[test]
fn without_a_seed_no_film_is_made_in_parts_where_faces_are_replaced_and_that_is_said() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.path("in")).expect("folder");
    bench.film("in/a.mp4", "-f lavfi -i testsrc2=size=64x48:rate=10:duration=2 -c:v libx264");
    let (input, output) = (bench.path("in"), bench.path("out"));
    let args = ["batch", text(&input), "-o", text(&output), "--segment-seconds", "1"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_nullface"));
    command.args(args).args(["--", "--mode", "ksame", "--max-fallback-share", "1"]);
    let made = ran(&command.env_remove("NULLFACE_SEED").output().expect("nullface starts"));
    assert_eq!(made.code, 0, "{}", made.said);
    assert!(
        made.said.contains("mode ksame without a seed") && made.said.contains("set NULLFACE_SEED"),
        "{}",
        made.said
    );
    assert_eq!(pieces(&output), 0);
}
