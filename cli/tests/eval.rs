//! Evaluation from outside: what is written, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::{Bench, PATTERN, nullface, text};

/// The repository's own film of a face: 400×300, 25 frames a second.
const INTERVIEW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/interview.mp4");
const EVAL_MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/eval");
const SCHEMA: &str = include_str!("../../docs/eval-report.schema.json");

/// A second of the interview, made anew so that cuts lie where they are asked for.
fn face(bench: &Bench, name: &str, more: &str) -> PathBuf {
    bench.film(name, &format!("-t 1 -i {INTERVIEW} {more} -an -c:v libx264 -crf 12"))
}

fn eval(bench: &Bench, source: &Path, output: &Path, more: &[&str]) -> support::Run {
    let out = bench.path("eval");
    let mut args = vec![
        "eval",
        "--source",
        text(source),
        "--output",
        text(output),
        "-o",
        text(&out),
        "--quiet",
        "-f",
    ];
    args.extend(more);
    nullface(&args)
}

fn report(bench: &Bench) -> Value {
    let text = std::fs::read_to_string(bench.path("eval/report.json")).expect("report.json");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let schema: Value = serde_json::from_str(SCHEMA).expect("schema");
    let mut wrong = Vec::new();
    support::schema::check(&schema, &schema, &report, "", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut strange = report.clone();
    strange["exposure"]["faces"]["n"] = (-1).into();
    strange["more"] = 1.into();
    support::schema::check(&schema, &schema, &strange, "", &mut wrong);
    assert_eq!(wrong.len(), 2, "the schema refuses what is none: {wrong:#?}");
    report
}

#[test]
fn a_covered_film_is_measured_beside_its_baselines_and_the_report_fits_its_schema() {
    let bench = Bench::new();
    let source = face(&bench, "in.mp4", "");
    let trail = bench.path("run.jsonl");
    let output = bench.anonymized(&source, "out.mp4", &["--mode", "solid", "--report", text(&trail)]);
    let run = eval(&bench, &source, &output, &["--report-in", text(&trail)]);
    assert_eq!(run.code, 0, "{}", run.said);
    let report = report(&bench);
    assert_eq!(report["pairs"][0]["frames"], 25);
    assert_eq!(report["exposure"]["exposed"], 0);
    assert_eq!(report["exposure"]["faces"]["n"], 25, "every frame is watched");
    let sight = &report["exposure"]["held_out_detector"];
    assert!(
        sight["seen"].as_u64().expect("faces") > 0,
        "a detector that took no part looks too: {sight}"
    );
    assert_eq!(sight["uncovered"], 0, "{sight}");
    assert!(sight["coverage"]["value"].as_f64().expect("share") > 0.9, "{sight}");
    assert_eq!(report["rungs"]["solid"], 1.0);
    assert_eq!(report["run"]["settings"]["mode"], "solid");
    let held_out: Vec<&Value> = report["models"]
        .as_array()
        .expect("models")
        .iter()
        .filter(|m| m["held_out"] == true)
        .collect();
    assert!(held_out.iter().filter(|m| m["role"] == "recogniser").count() >= 2);
    for name in held_out
        .iter()
        .filter(|m| m["role"] == "recogniser")
        .map(|m| m["name"].as_str().expect("name"))
    {
        let cos = |variant: &str| {
            report["variants"][variant]["recognition"][name]["cos"]["value"]
                .as_f64()
                .expect("cosine")
        };
        let tar = |variant: &str| report["variants"][variant]["recognition"][name]["tar"]["1e-3"]["value"].as_f64();
        assert_eq!((tar("output"), tar("source_next")), (Some(0.0), Some(1.0)), "{name}");
        assert!(cos("source_next") > 0.95 && cos("output") < cos("source_next"), "{name}");
        for baseline in ["pixelate", "blur", "solid"] {
            assert_eq!(tar(baseline), Some(0.0), "{name} {baseline}");
        }
    }
    let page = std::fs::read_to_string(bench.path("eval/report.html")).expect("report.html");
    assert!(page.contains("Measured residual risk") && page.contains("<svg"));
    for outside in ["<script", "<link", "src=\"http", "url(http", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.to_lowercase().contains("gdpr"), "what the law says is not measured");
    assert!(!page.contains(text(&bench.path(""))), "no folder of the user's machine");
    page_is_drawn(&bench, &bench.path("eval/report.html"));
}

/// In a browser the page shows a plot and text down to its foot.
fn page_is_drawn(bench: &Bench, page: &Path) {
    let (shot, profile) = (bench.path("shot.png"), bench.path("profile"));
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1000,1600",
        ])
        .arg(format!("--user-data-dir={}", text(&profile)))
        .arg(format!("--screenshot={}", text(&shot)))
        .arg(format!("file://{}", text(page)))
        .output()
        .expect("chromium starts; scripts/setup.sh brings it");
    assert!(shot.exists(), "{}", String::from_utf8_lossy(&output.stderr));
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&shot).expect("picture")));
    let mut reader = decoder.read_info().expect("PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("size")];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    assert_eq!((info.width, info.height), (1000, 1600));
    let channels = info.color_type.samples();
    let dark = |from: usize, to: usize| {
        let rows = &pixels[from * 1000 * channels..to * 1000 * channels];
        let n = rows.chunks_exact(channels).filter(|p| p[..3].iter().all(|v| *v < 110)).count();
        n as f64 / ((to - from) * 1000) as f64
    };
    for (from, to) in [(0, 250), (250, 700), (700, 1150), (1150, 1600)] {
        let share = dark(from, to);
        assert!((0.001..0.5).contains(&share), "rows {from} to {to}: {share:.4} dark");
    }
}

#[test]
fn a_film_held_against_itself_is_exposed_in_every_frame() {
    let bench = Bench::new();
    let source = face(&bench, "in.mp4", "");
    // Half the size and encoded anew: brought back to the source's size and measured all the same.
    let small = face(&bench, "small.mp4", "-vf scale=200:150");
    let run = eval(&bench, &source, &small, &["--no-baselines"]);
    assert_eq!(run.code, 0, "{}", run.said);
    let report = report(&bench);
    assert_eq!(report["pairs"][0]["rescaled"], true);
    assert_eq!(report["exposure"]["exposed"], report["exposure"]["faces"]["n"]);
    assert_eq!(report["exposure"]["exposed_frames"], 25);
    let sight = &report["exposure"]["held_out_detector"];
    // Halving the film softens a face enough for a sample to pass as changed: most are leaks, not all.
    let of = |name: &str| sight[name].as_u64().expect("faces");
    assert!(of("seen") > 0 && 2 * of("uncovered") > of("seen"), "{sight}");
    assert!(
        report["verdict"].as_str().expect("verdict").contains("were left as they were"),
        "{}",
        report["verdict"]
    );
    assert!(
        report["verdict"].as_str().expect("verdict").contains("25 of 25 faces"),
        "{}",
        report["verdict"]
    );
    let pose = report["variants"]["output"]["pose_deg"]["value"].as_f64().expect("pose");
    assert!(pose < 5.0, "{pose}");
}

#[test]
fn films_that_do_not_belong_together_are_refused_with_the_difference() {
    let bench = Bench::new();
    let source = face(&bench, "in.mp4", "");
    let refused = |output: &Path, words: &[&str]| {
        let run = eval(&bench, &source, output, &[]);
        assert_eq!(run.code, 1, "{}", output.display());
        assert_eq!(run.said.trim_end().lines().count(), 1, "{}", run.said);
        for word in words {
            assert!(run.said.contains(word), "`{word}` is not in: {}", run.said);
        }
        assert!(!bench.path("eval/report.json").exists());
    };
    let longer = bench.film("longer.mp4", &format!("-t 3 -i {INTERVIEW} -an -c:v libx264"));
    refused(&longer, &["longer.mp4", "2.0 s longer than the source"]);
    let shorter = face(&bench, "shorter.mp4", "-frames:v 18");
    refused(
        &shorter,
        &[
            "shorter.mp4",
            "7 frames of the source and 0 of the output have no partner",
            "18 have",
        ],
    );
    let cut = face(&bench, "cut.mp4", "-vf crop=400:200");
    refused(&cut, &["400×200 px", "400×300 px", "another aspect"]);
    let other = bench.film("other.mp4", "-f lavfi -i testsrc2=size=400x300:rate=25:duration=1 -c:v libx264");
    refused(&other, &["its pictures are not those of", "levels of 255"]);
    refused(&bench.path("none.mp4"), &["none.mp4"]);
    refused(&bench.path(""), &["is one"]);
}

#[test]
fn a_source_without_a_face_has_nothing_to_measure() {
    let bench = Bench::new();
    let film = bench.film("in.mp4", &format!("{PATTERN} -c:v libx264"));
    let run = eval(&bench, &film, &film, &[]);
    assert_eq!(run.code, 1);
    assert!(run.said.contains("no face of at least 20 px"), "{}", run.said);
}

#[test]
fn the_report_of_another_run_is_refused_and_so_is_a_changed_one() {
    let bench = Bench::new();
    let source = face(&bench, "in.mp4", "");
    let (one, two) = (bench.path("1.jsonl"), bench.path("2.jsonl"));
    let output = bench.anonymized(&source, "1.mp4", &["--mode", "solid", "--report", text(&one)]);
    bench.anonymized(&source, "2.mp4", &["--mode", "pixelate", "--report", text(&two)]);
    let run = eval(&bench, &source, &output, &["--no-baselines", "--report-in", text(&two)]);
    assert_eq!(run.code, 1);
    assert!(run.said.contains("it is of another film: its output has sha256"), "{}", run.said);
    let changed = std::fs::read_to_string(&one)
        .expect("trail")
        .replacen("\"rung\":\"solid\"", "\"rung\":\"diffusion\"", 1);
    std::fs::write(&one, changed).expect("written");
    let run = eval(&bench, &source, &output, &["--no-baselines", "--report-in", text(&one)]);
    assert_eq!(run.code, 1);
    assert!(run.said.contains("line 2 (interval of track"), "{}", run.said);
}

#[test]
fn held_out_models_that_are_missing_or_not_what_they_say_are_named() {
    let bench = Bench::new();
    let source = face(&bench, "in.mp4", "");
    std::fs::create_dir(bench.path("models")).expect("folder");
    let with = |more: &[&str]| {
        eval(
            &bench,
            &source,
            &source,
            &[&["--eval-models-dir", text(&bench.path("models"))], more].concat(),
        )
    };
    let run = with(&[]);
    assert!(run.code == 1 && run.said.contains("nullface models add"), "{}", run.said);
    let manifest = std::fs::read_to_string(Path::new(EVAL_MODELS).join("manifest.toml")).expect("manifest");
    for entry in std::fs::read_dir(EVAL_MODELS).expect("folder").flatten() {
        if entry.path().extension().is_some_and(|e| e == "onnx") {
            std::fs::copy(entry.path(), bench.path("models").join(entry.file_name())).expect("copied");
        }
    }
    let changed = manifest.replace("dimension = 128", "dimension = 512");
    std::fs::write(bench.path("models/manifest.toml"), changed).expect("written");
    let run = with(&[]);
    assert!(
        run.code == 1
            && run
                .said
                .contains("recogniser faceapi-resnet: dimension: expected 512, got [-1, 128]"),
        "{}",
        run.said
    );
}

/// The held-out models without their detector.
fn without_detector(bench: &Bench) -> PathBuf {
    let folder = bench.path("models");
    std::fs::create_dir(&folder).expect("folder");
    let manifest = std::fs::read_to_string(Path::new(EVAL_MODELS).join("manifest.toml")).expect("manifest");
    let at = manifest.find("[[model]]\nname = \"faceapi-ssd\"").expect("the detector's entry");
    let end = manifest[at + 1..].find("[[model]]").map_or(manifest.len(), |e| at + 1 + e);
    std::fs::write(folder.join("manifest.toml"), [&manifest[..at], &manifest[end..]].concat()).expect("written");
    for entry in std::fs::read_dir(EVAL_MODELS).expect("folder").flatten() {
        if entry.path().extension().is_some_and(|e| e == "onnx") {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
        }
    }
    folder
}

#[test]
fn pictures_of_two_folders_are_measured_by_their_names() {
    let bench = Bench::new();
    let models = without_detector(&bench);
    for folder in ["a", "b"] {
        std::fs::create_dir(bench.path(folder)).expect("folder");
        for (name, at) in [("1", "0.2"), ("2", "3")] {
            let cover = if folder == "a" {
                "null"
            } else {
                "drawbox=x=100:y=20:w=200:h=260:color=gray:t=fill"
            };
            bench.film(
                &format!("{folder}/{name}.png"),
                &format!("-ss {at} -i {INTERVIEW} -frames:v 1 -vf {cover}"),
            );
        }
    }
    let run = eval(
        &bench,
        &bench.path("a"),
        &bench.path("b"),
        &["--no-baselines", "--eval-models-dir", text(&models)],
    );
    assert_eq!(run.code, 0, "{}", run.said);
    let report = report(&bench);
    assert_eq!(
        (report["pairs"].as_array().map(Vec::len), report["exposure"]["exposed"].as_u64()),
        (Some(2), Some(0))
    );
    assert!(
        report["exposure"]["held_out_detector"].is_null(),
        "optional as all held-out networks are"
    );
    let method = report["method"].to_string();
    assert!(method.contains("what it never finds is missed here too"), "{method}");
    std::fs::remove_file(bench.path("b/2.png")).expect("removed");
    let run = eval(&bench, &bench.path("a"), &bench.path("b"), &["--no-baselines"]);
    assert!(
        run.code == 1 && run.said.contains("have no partner in it, the first is `2`"),
        "{}",
        run.said
    );
}

#[test]
fn a_sweep_goes_on_where_it_stopped() {
    let bench = Bench::new();
    let film = face(&bench, "in.mp4", "-frames:v 8");
    let out = bench.path("sweep");
    let sweep = |modes: &str| nullface(&["eval", "sweep", text(&film), "-o", text(&out), "--mode", modes, "--quiet"]);
    let first = sweep("solid");
    assert_eq!(first.code, 0, "{}", first.said);
    let log = out.join("sweep.jsonl");
    let before = std::fs::read_to_string(&log).expect("log");
    std::fs::create_dir(out.join(".run-stopped")).expect("folder");
    std::fs::write(out.join(".run-stopped/0.mkv"), "a film of a run that was killed").expect("written");
    let again = sweep("solid,pixelate");
    assert_eq!(again.code, 0, "{}", again.said);
    let after = std::fs::read_to_string(&log).expect("log");
    assert!(after.starts_with(&before), "what is done is not done again");
    assert_eq!(after.lines().count(), 2);
    let table = std::fs::read_to_string(out.join("sweep.md")).expect("table");
    assert!(table.contains("| solid |") && table.contains("| pixelate |"), "{table}");
    assert!(std::fs::read_to_string(out.join("sweep.html")).expect("page").contains("<svg"));
    let left: Vec<_> = std::fs::read_dir(&out)
        .expect("folder")
        .flatten()
        .filter(|e| e.path().is_dir())
        .collect();
    assert!(left.is_empty(), "no film is left behind");
}

#[test]
fn a_network_is_added_by_its_entry_and_one_of_another_dimension_is_not() {
    let bench = Bench::new();
    let models = bench.path("models");
    let manifest = std::fs::read_to_string(Path::new(EVAL_MODELS).join("manifest.toml")).expect("manifest");
    let at = manifest.find("[[model]]\nname = \"faceapi-resnet\"").expect("entry");
    let end = manifest[at + 1..].find("[[model]]").map_or(manifest.len(), |e| at + 1 + e);
    let entry = manifest[at..end].replace("faceapi-resnet", "mine");
    let network = Path::new(EVAL_MODELS).join("faceapi_recognition.onnx");
    let add = |text_of_entry: String| {
        std::fs::write(bench.path("entry.toml"), text_of_entry).expect("written");
        nullface(&[
            "models",
            "add",
            text(&network),
            "--entry",
            text(&bench.path("entry.toml")),
            "--eval-models-dir",
            text(&models),
        ])
    };
    let run = add(entry.replace("dimension = 128", "dimension = 512"));
    assert!(run.code == 1 && run.said.contains("mine: dimension: expected 512"), "{}", run.said);
    assert!(!models.join("manifest.toml").exists() && !models.join("faceapi_recognition.onnx").exists());
    let run = add(entry);
    assert_eq!(run.code, 0, "{}", run.said);
    let verify = || nullface(&["models", "verify", "--eval-models-dir", text(&models)]);
    assert_eq!(verify().code, 0, "{}", verify().said);
    let file = models.join("faceapi_recognition.onnx");
    let mut bytes = std::fs::read(&file).expect("network");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    assert_eq!(verify().code, 1);
}

/// Two people as far as a test needs them: a face, and the same one narrower and in another light.
fn two_people(bench: &Bench, pictures: usize) -> PathBuf {
    for (person, look) in [("anna", "null"), ("bert", "scale=300:300,hue=s=0,eq=brightness=-0.1")] {
        for i in 0..pictures {
            let film = bench.path(&format!("people/{person}/film-{}", i % 2));
            std::fs::create_dir_all(&film).expect("folder");
            bench.film(
                &format!("people/{person}/film-{}/{i}.png", i % 2),
                &format!("-ss {} -i {INTERVIEW} -frames:v 1 -vf {look}", 0.7 * i as f64),
            );
        }
    }
    bench.path("people")
}

#[test]
fn calibration_counts_pairs_by_person_and_film_and_says_what_they_cannot_tell() {
    let bench = Bench::new();
    let people = two_people(&bench, 3);
    let output = Command::new(env!("CARGO_BIN_EXE_nullface"))
        .args(["eval", "calibrate", "--pairs", text(&people), "--model", "mobilefacenet", "--quiet"])
        .output()
        .expect("nullface starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    for line in ["people = 2", "pictures = 6", "impostor_pairs = 9", "genuine_pairs_other_film = 4"] {
        assert!(printed.contains(line), "`{line}` is not in: {printed}");
    }
    let value = |name: &str| -> f64 {
        let line = printed.lines().find(|l| l.starts_with(name)).expect("a line of it");
        line.rsplit(' ').next().expect("value").parse().expect("number")
    };
    assert!(value("mean_genuine_other_film") > value("mean_impostor"), "{printed}");
    assert!(printed.contains("give more people or pictures"), "{printed}");
    let run = nullface(&["eval", "calibrate", "--pairs", text(&people), "--model", "none"]);
    assert!(
        run.code == 1 && run.said.contains("there is no such recogniser; name one of"),
        "{}",
        run.said
    );
    std::fs::remove_dir_all(people.join("bert")).expect("removed");
    let run = nullface(&["eval", "calibrate", "--pairs", text(&people), "--model", "mobilefacenet", "--quiet"]);
    assert!(run.code == 1 && run.said.contains("at least two people"), "{}", run.said);
}

#[test]
fn an_attack_with_too_few_people_says_that_no_map_could_be_learned() {
    let bench = Bench::new();
    let people = two_people(&bench, 2);
    let out = bench.path("attacked");
    let attack = |people: &Path| {
        nullface(&[
            "eval",
            "attack",
            "--people",
            text(people),
            "--mode",
            "pixelate",
            "--pictures",
            "2",
            "-o",
            text(&out),
            "-f",
            "--quiet",
        ])
    };
    let run = attack(&people);
    assert_eq!(run.code, 0, "{}", run.said);
    let table = std::fs::read_to_string(out.join("attack.md")).expect("table");
    assert!(
        table.contains("fewer than 8 people to learn from; give more with --learn"),
        "{table}"
    );
    let all: Value = serde_json::from_str(&std::fs::read_to_string(out.join("attack.json")).expect("figures")).expect("JSON");
    let row = &all["rows"][0];
    assert!(
        row["chance_learned"].is_null() && row["figures"]["rank_1_learned"].is_null(),
        "{row}"
    );
    assert_eq!(row["figures"]["rank_1_same_picture"]["groups"], 2, "{row}");
    assert_eq!((all["gallery"].as_u64(), all["pictures"].as_u64()), (Some(2), Some(4)));
    std::fs::remove_dir_all(people.join("bert")).expect("removed");
    let run = attack(&people);
    assert!(run.code == 1 && run.said.contains("faces of 1 people"), "{}", run.said);
}
