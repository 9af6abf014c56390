//! What the tests share: films made by ffmpeg at test time, the command as a process, and the eyes
//! of ffprobe, so that no claim rests on the libraries that made the film.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

pub mod browser;
pub mod live;

pub mod schema;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A folder that goes away with the test.
pub struct Bench {
    folder: TempDir,
}

/// What a run of the command gave.
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Standard error.
    pub said: String,
}

impl Bench {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("temporary folder"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a file with ffmpeg; `args` are all but the output's name.
    pub fn film(&self, name: &str, args: &str) -> PathBuf {
        let path = self.path(name);
        let mut command = Command::new("ffmpeg");
        command
            .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"])
            .args(args.split_whitespace())
            .arg(&path);
        let output = command.current_dir(self.folder.path()).output().expect("ffmpeg starts");
        assert!(
            output.status.success(),
            "ffmpeg {args}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        path
    }

    /// Anonymises `input` as `output` with more options. The engine is asked nothing here: any share
    /// of covered regions is fine.
    pub fn anonymize(&self, input: &Path, output: &str, options: &[&str]) -> Run {
        let out = self.path(output);
        let mut args = vec!["anonymize", text(input), "-o", text(&out), "--max-fallback-share", "1"];
        // What most tests ask does not depend on the mode, and painting is slow without optimisation.
        let names_mode = |o: &&str| *o == "--mode" || o.starts_with("--mode=") || *o == "--from-tracks";
        if !options.iter().any(names_mode) {
            args.extend(["--mode", "blur"]);
        }
        args.extend(options);
        nullface(&args)
    }

    /// The same, and it must succeed; gives the output's path.
    pub fn anonymized(&self, input: &Path, output: &str, options: &[&str]) -> PathBuf {
        let run = self.anonymize(input, output, options);
        assert_eq!(run.code, 0, "{}", run.said);
        self.path(output)
    }

    /// Names in the folder.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.folder.path())
            .expect("folder")
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// Two seconds of a moving pattern.
pub const PATTERN: &str = "-f lavfi -i testsrc2=size=160x120:rate=25:duration=2";
/// The same with a tone.
pub const PATTERN_AND_TONE: &str =
    "-f lavfi -i testsrc2=size=160x120:rate=25:duration=2 -f lavfi -i sine=frequency=440:sample_rate=48000:duration=2";

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Runs the command.
pub fn nullface(args: &[&str]) -> Run {
    ran(&Command::new(env!("CARGO_BIN_EXE_nullface"))
        .args(args)
        .output()
        .expect("nullface starts"))
}

pub fn ran(output: &Output) -> Run {
    Run {
        code: output.status.code().unwrap_or(-1),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What ffprobe shows of a film.
pub fn probe(path: &Path, show: &[&str]) -> Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json"])
        .args(show)
        .arg(path)
        .output()
        .expect("ffprobe starts");
    assert!(
        output.status.success(),
        "ffprobe {}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("ffprobe writes JSON")
}

/// The first stream of a kind (`v:0`, `a:1`, …).
pub fn stream(path: &Path, which: &str) -> Value {
    probe(path, &["-show_streams", "-select_streams", which])["streams"][0].clone()
}

/// How many streams of a kind there are.
pub fn streams(path: &Path, kind: &str) -> usize {
    probe(path, &["-show_streams", "-select_streams", kind])["streams"]
        .as_array()
        .map_or(0, Vec::len)
}

/// Presentation times of the pictures in seconds, in order.
pub fn times(path: &Path) -> Vec<f64> {
    let packets = probe(path, &["-show_packets", "-select_streams", "v:0"]);
    let mut times: Vec<f64> = packets["packets"]
        .as_array()
        .expect("packets")
        .iter()
        .map(|p| seconds(&p["pts_time"]))
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Time and hash of each packet of a sound stream, those before the film's begin left out.
pub fn sound(path: &Path, which: &str) -> Vec<(f64, String)> {
    let packets = probe(path, &["-show_packets", "-show_data_hash", "md5", "-select_streams", which]);
    let all = packets["packets"].as_array().expect("packets").iter();
    all.map(|p| (seconds(&p["pts_time"]), p["data_hash"].as_str().expect("hash").to_owned()))
        .filter(|(t, _)| *t >= 0.0)
        .collect()
}

fn seconds(value: &Value) -> f64 {
    value
        .as_str()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| panic!("{value} is no time"))
}

/// The records of a report.
pub fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("report");
    text.lines().map(|l| serde_json::from_str(l).expect("a line of JSON")).collect()
}
