//! Bad input ends in one sentence that names file, cause and remedy, exit code 1, and nothing under
//! the final name or beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::Path;
use std::process::Command;

use support::{Bench, PATTERN, PATTERN_AND_TONE, Run, ran, text};

/// One sentence, the words in it, code 1, no output, no leftovers.
fn assert_refused(bench: &Bench, run: &Run, output: &str, words: &[&str]) {
    assert_eq!(run.code, 1, "{}", run.said);
    let said: Vec<&str> = run.said.lines().filter(|l| l.starts_with("nullface: ")).collect();
    assert_eq!(said.len(), 1, "{}", run.said);
    assert!(said[0].contains("; "), "no remedy in: {}", said[0]);
    for word in words {
        assert!(said[0].contains(word), "`{word}` is not in: {}", said[0]);
    }
    let left: Vec<String> = bench.names().into_iter().filter(|n| n == output || n.ends_with(".part")).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn refused(bench: &Bench, input: &Path, words: &[&str]) {
    let run = bench.anonymize(input, "never.mp4", &[]);
    let name = input.file_name().expect("name").to_string_lossy().into_owned();
    assert_refused(bench, &run, "never.mp4", &[&[name.as_str()], words].concat());
}

#[test]
fn a_file_that_is_not_there() {
    let bench = Bench::new();
    refused(&bench, &bench.path("nothing.mp4"), &["no such file", "check the path"]);
}

#[test]
fn an_empty_file() {
    let bench = Bench::new();
    std::fs::write(bench.path("empty.mp4"), b"").expect("written");
    refused(&bench, &bench.path("empty.mp4"), &["it is empty"]);
}

#[test]
fn a_folder() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("folder.mp4")).expect("made");
    refused(&bench, &bench.path("folder.mp4"), &["it is a folder"]);
}

#[test]
fn a_device() {
    let bench = Bench::new();
    refused(&bench, Path::new("/dev/zero"), &["not a regular file"]);
}

#[test]
fn a_text() {
    let bench = Bench::new();
    std::fs::write(bench.path("words.mp4"), "no film, only words\n".repeat(500)).expect("written");
    refused(&bench, &bench.path("words.mp4"), &["text file"]);
}

#[test]
fn noise() {
    let bench = Bench::new();
    // xorshift: the same bytes every time.
    let mut x = 0x2545_f491_4f6c_dd1du64;
    let bytes: Vec<u8> = (0..200_000)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        })
        .collect();
    std::fs::write(bench.path("noise.mp4"), bytes).expect("written");
    refused(&bench, &bench.path("noise.mp4"), &["repair it"]);
}

#[test]
fn sound_alone() {
    let bench = Bench::new();
    let film = bench.film("song.m4a", "-f lavfi -i sine=duration=1 -c:a aac");
    refused(&bench, &film, &["it has sound and no picture"]);
}

#[test]
fn still_pictures() {
    let bench = Bench::new();
    for name in ["photo.png", "photo.jpg"] {
        let film = bench.film(name, &format!("{PATTERN} -frames:v 1"));
        refused(&bench, &film, &["it is a still picture"]);
    }
}

#[test]
fn a_film_whose_index_is_cut_off() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN_AND_TONE} -c:v libx264 -c:a aac"));
    let bytes = std::fs::read(&film).expect("film");
    std::fs::write(bench.path("cut.mp4"), &bytes[..bytes.len() / 2]).expect("written");
    refused(&bench, &bench.path("cut.mp4"), &["repair it"]);
}

#[test]
fn films_that_end_before_their_time() {
    let bench = Bench::new();
    for (name, options) in [("in.mp4", "-movflags +faststart"), ("in.mkv", "")] {
        let film = bench.film(
            name,
            &format!("-f lavfi -i testsrc2=size=160x120:rate=25:duration=6 -c:v libx264 {options}"),
        );
        let bytes = std::fs::read(&film).expect("film");
        let cut = bench.path(&format!("cut-{name}"));
        std::fs::write(&cut, &bytes[..bytes.len() / 2]).expect("written");
        refused(&bench, &cut, &["; "]);
    }
}

#[test]
fn a_film_with_holes_in_its_data() {
    let bench = Bench::new();
    let film = bench.film(
        "in.mp4",
        "-f lavfi -i testsrc2=size=320x240:rate=25:duration=4 -c:v libx264 -movflags +faststart",
    );
    let mut bytes = std::fs::read(&film).expect("film");
    let from = bytes.windows(4).position(|w| w == b"mdat").expect("data") + 200;
    for at in (from..bytes.len() - 64).step_by(97) {
        bytes[at] ^= 0x5a;
    }
    std::fs::write(bench.path("holes.mp4"), bytes).expect("written");
    refused(&bench, &bench.path("holes.mp4"), &["repair it"]);
}

#[test]
fn the_input_as_its_own_output() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN} -c:v libx264"));
    let before = std::fs::read(&film).expect("film");
    std::os::unix::fs::symlink(&film, bench.path("alias.mp4")).expect("link");
    std::fs::hard_link(&film, bench.path("twin.mp4")).expect("link");
    for name in ["in.mp4", "alias.mp4", "twin.mp4"] {
        let run = bench.anonymize(&film, name, &["--force"]);
        assert_refused(&bench, &run, "", &["it is the input itself", name]);
    }
    assert_eq!(std::fs::read(&film).expect("film"), before);
}

#[test]
fn an_output_that_exists_is_replaced_only_by_force() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN} -c:v libx264"));
    std::fs::write(bench.path("out.mp4"), b"precious").expect("written");
    let run = bench.anonymize(&film, "out.mp4", &[]);
    assert_refused(&bench, &run, "", &["out.mp4: it exists already", "--force"]);
    assert_eq!(std::fs::read(bench.path("out.mp4")).expect("kept"), b"precious");
    bench.anonymized(&film, "out.mp4", &["--force"]);
    assert_ne!(std::fs::read(bench.path("out.mp4")).expect("replaced"), b"precious");
}

#[test]
fn a_target_in_no_folder_or_one_that_takes_no_files() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN} -c:v libx264"));
    let run = bench.anonymize(&film, "missing/out.mp4", &[]);
    assert_refused(&bench, &run, "out.mp4", &["out.mp4", "does not exist", "choose a folder"]);
    // No file can be made there, not even by root.
    let run = bench.anonymize(&film, "/sys/kernel/out.mp4", &[]);
    assert_refused(&bench, &run, "out.mp4", &["/sys/kernel", "cannot be written", "choose a folder"]);
    std::fs::create_dir(bench.path("taken.mp4")).expect("made");
    let run = bench.anonymize(&film, "taken.mp4", &["--force"]);
    assert_refused(&bench, &run, "", &["taken.mp4: it is a folder"]);
}

#[test]
fn a_disk_that_is_full() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", "-f lavfi -i testsrc2=size=640x480:rate=25:duration=3 -c:v libx264");
    // The shell's limit on file size, one block, stands for the disk's end.
    let command = format!(
        "ulimit -f 1; exec \"$0\" anonymize {} -o {} --quiet",
        text(&film),
        text(&bench.path("out.mp4"))
    );
    let output = Command::new("bash")
        .args(["-c", &command, env!("CARGO_BIN_EXE_nullface")])
        .output()
        .expect("bash starts");
    assert_refused(&bench, &ran(&output), "out.mp4", &["out.mp4: the disk is full", "make room"]);
}

#[test]
fn an_ending_that_says_no_container() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN} -c:v libx264"));
    for name in ["out.avi", "out"] {
        let run = bench.anonymize(&film, name, &[]);
        assert_refused(&bench, &run, name, &[name, ".mp4, .mov, .mkv or .webm"]);
    }
}

#[test]
fn models_that_are_not_where_they_are_said_to_be() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN} -c:v libx264"));
    let run = bench.anonymize(&film, "out.mp4", &["--models-dir", "/nonexistent/models"]);
    assert_refused(&bench, &run, "out.mp4", &["/nonexistent/models"]);
}
