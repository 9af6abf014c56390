//! Who stays and who is covered, by photo, in a film of two people: the sample interview beside what the
//! command itself made of it, which is somebody else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Bench, records, text, times};

const FRAMES: usize = 30;
/// Width of each of the two pictures, px.
const HALF_PX: f64 = 400.0;
/// Frames from which on somebody is recognised: six looks over 0.4 s, less the lookahead, with room.
const RECOGNISED: usize = 15;

/// The person of the interview on the left, somebody else on the right; and a photo of the former.
fn two_people(bench: &Bench) -> (PathBuf, PathBuf) {
    let interview = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/interview.mp4");
    let from = text(&interview);
    let photo = bench.film("photo.png", &format!("-ss 4 -i {from} -frames:v 1"));
    let one = bench.film("one.mp4", &format!("-ss 1 -i {from} -frames:v {FRAMES} -an -c:v libx264"));
    bench.anonymized(&one, "other.mp4", &["--mode", "ksame", "--seed", "3"]);
    let both = bench.film("both.mp4", "-i one.mp4 -i other.mp4 -filter_complex hstack -c:v libx264 -crf 16");
    assert_eq!(times(&both).len(), FRAMES);
    (both, photo)
}

/// Frames in which the faces on one side were kept and covered, as the report has it.
fn told(report: &Path, left: bool) -> (u64, u64) {
    let (mut kept, mut covered) = (0, 0);
    for record in records(report).iter().filter(|r| r["record"] == "interval") {
        let at = |i: usize| record["box"][i].as_f64().expect("number");
        if (at(0) + at(2) / 2.0 < HALF_PX) == left {
            let frames = record["frames"].as_u64().expect("frames");
            match record["outcome"].as_str().expect("outcome") {
                "kept" => kept += frames,
                "covered" => covered += frames,
                other => panic!("{other}"),
            }
        }
    }
    (kept, covered)
}

/// For every frame, how much light and dark there is in the middle of the face on one side: the standard
/// deviation of its luma. One colour has next to none.
fn detail(film: &Path, left: bool) -> Vec<f64> {
    let (side, from) = (48, if left { 180 } else { 580 });
    let out = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-i",
            text(film),
            "-vf",
            &format!("crop={side}:{side}:{from}:145,format=gray"),
        ])
        .args(["-f", "rawvideo", "-"])
        .output()
        .expect("ffmpeg starts");
    let deviation = |pixels: &[u8]| {
        let mean = pixels.iter().map(|p| f64::from(*p)).sum::<f64>() / pixels.len() as f64;
        (pixels.iter().map(|p| (f64::from(*p) - mean).powi(2)).sum::<f64>() / pixels.len() as f64).sqrt()
    };
    out.stdout.chunks(side * side).map(deviation).collect()
}

fn assert_covered(film: &Path, left: bool) {
    let all = detail(film, left);
    assert_eq!(all.len(), FRAMES);
    assert!(all.iter().all(|d| *d < 3.0), "{all:?}");
}

fn assert_shown_from(film: &Path, source: &Path, left: bool, frame: usize) {
    let (here, there) = (detail(film, left), detail(source, left));
    assert_eq!(here.len(), FRAMES);
    for (h, t) in here.iter().zip(&there).skip(frame) {
        assert!(*t > 10.0 && (h - t).abs() < 2.0, "{here:?} against {there:?}");
    }
}

#[test]
fn of_two_people_the_one_on_the_photo_stays_and_the_other_is_covered_in_every_frame() {
    let bench = Bench::new();
    let (both, photo) = two_people(&bench);
    let report = bench.path("report.jsonl");
    let who = ["--mode", "solid", "--report", text(&report), "--except", text(&photo)];
    let out = bench.anonymized(&both, "out.mp4", &who);
    assert_eq!(told(&report, false), (0, FRAMES as u64));
    let settings = &records(&report)[0]["settings"];
    assert_eq!((&settings["who"], &settings["photos"]), (&"except".into(), &1.into()));
    let (kept, covered) = told(&report, true);
    assert_eq!(kept + covered, FRAMES as u64);
    assert!(kept as usize >= FRAMES - RECOGNISED, "kept in {kept} of {FRAMES}");
    assert_covered(&out, false);
    assert_shown_from(&out, &both, true, RECOGNISED);

    let who = ["--mode", "solid", "--report", text(&report), "--force", "--only", text(&photo)];
    let out = bench.anonymized(&both, "out.mp4", &who);
    assert_eq!(told(&report, true), (0, FRAMES as u64));
    // Whether the stranger shows is a matter of likeness; that every frame is answered for is not.
    let (kept, covered) = told(&report, false);
    assert_eq!(kept + covered, FRAMES as u64);
    assert_covered(&out, true);
}
