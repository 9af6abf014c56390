//! `nullface eval sweep`: the same films under many settings, and which settings nothing beats.
//!
//! Each combination is run by the command itself (`nullface anonymize`, a process of its own, so that one that
//! fails or is stopped takes nothing along), measured, written down as a line of sweep.jsonl, and its film is
//! removed. A sweep that is started again leaves out what is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nullface::eval::report::Report;
use nullface::eval::stats::Estimate;
use nullface::pipeline::{IdentityChoice, Mode};
use serde::{Deserialize, Serialize};

use super::measure::{self, Backends};
use super::plots::{self, Dot};
use super::{Places, html, pairs, progress, words};
use crate::exit::{Exit, one_line, refuse};
use crate::hash::sha256;

/// Combinations at most: a slip in a list shall not keep a machine busy for a week.
const MAX_RUNS: usize = 1000;

/// Folders of runs under way begin so.
const UNDER_WAY: &str = ".run-";

/// Measure films under every combination of settings, and find the frontier.
///
/// Lists are separated by commas. Writes sweep.jsonl while it runs, then sweep.md (frontier table) and
/// sweep.html (plot). Started again with the same folder it goes on where it stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Films.
    #[arg(value_name = "IN", required = true)]
    films: Vec<PathBuf>,
    /// Folder of the results.
    #[arg(short = 'o', long = "out-dir", value_name = "DIR")]
    out_dir: PathBuf,
    /// Modes.
    #[arg(long, value_name = "MODES", value_delimiter = ',', default_value = "nullface")]
    mode: Vec<Mode>,
    /// Factors of the edit.
    #[arg(long, value_name = "FACTORS", value_delimiter = ',')]
    strength: Vec<f32>,
    /// Guidance scales.
    #[arg(long, value_name = "SCALES", value_delimiter = ',', allow_hyphen_values = true)]
    guidance: Vec<f32>,
    /// Shares of the diffusion left out.
    #[arg(long, value_name = "SHARES", value_delimiter = ',')]
    skip: Vec<f32>,
    /// Numbers of steps.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    steps: Vec<u32>,
    /// Who a person becomes.
    #[arg(long, value_name = "POLICIES", value_delimiter = ',')]
    identity: Vec<IdentityChoice>,
    /// Secret of every run, so that combinations differ by their settings only.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Samples a second.
    #[arg(long, value_name = "NUMBER", default_value_t = 4.0, value_parser = super::positive)]
    samples_per_second: f64,
    /// Folder of the model pack; searched for when left out.
    #[arg(long, value_name = "DIR")]
    model_pack: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
    /// Say nothing but errors.
    #[arg(short, long)]
    quiet: bool,
}

/// Settings of one run, by option.
type Combination = BTreeMap<String, String>;

/// What is written down of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Run {
    /// Settings and films: what makes two runs the same.
    key: String,
    settings: Combination,
    /// Mean likeness over held-out recognisers.
    likeness: Option<f64>,
    likeness_95: Option<[f64; 2]>,
    tar: Option<Estimate>,
    exposed: Option<Estimate>,
    expression: Option<Estimate>,
    warp_ratio: Option<Estimate>,
    sharpness: Option<Estimate>,
    /// Share of faces' time that was painted, not covered.
    painted: f64,
    /// Why it failed, where it did.
    failed: Option<String>,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    super::folder(&args.out_dir)?;
    clear(&args.out_dir)?;
    let combinations = combinations(args)?;
    let hashes = args.films.iter().map(|f| sha256(f)).collect::<Result<Vec<_>>>()?;
    let log = args.out_dir.join("sweep.jsonl");
    let mut runs = written(&log)?;
    let backends = args.places.open()?;
    let pack = args.model_pack.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
    let key = |c: &Combination| {
        let settings: Vec<String> = c.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("{} seed={} pack={pack} {}", settings.join(" "), args.seed, hashes.join(" "))
    };
    let done: BTreeSet<String> = runs.iter().filter(|r| r.failed.is_none()).map(|r| r.key.clone()).collect();
    let todo: Vec<&Combination> = combinations.iter().filter(|c| !done.contains(&key(c))).collect();
    let bar = progress(args.quiet, combinations.len() as u64, "runs").with_position((combinations.len() - todo.len()) as u64);
    bar.reset_eta();
    for combination in todo {
        bar.set_message(words_of(combination));
        let run = one(args, &backends, combination, key(combination))?;
        append(&log, &run)?;
        runs.retain(|r| r.key != run.key);
        runs.push(run);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let wanted: BTreeSet<String> = combinations.iter().map(key).collect();
    runs.retain(|r| wanted.contains(&r.key));
    results(args, &runs)?;
    if let Some(failed) = runs.iter().find(|r| r.failed.is_some()) {
        let n = runs.iter().filter(|r| r.failed.is_some()).count();
        let why = failed.failed.clone().unwrap_or_default();
        return Err(refuse(
            &log,
            format!(
                "{n} of {} runs failed, the first ({}) so: {why}",
                runs.len(),
                words_of(&failed.settings)
            ),
            "mend what it says and start the sweep again: what is done is kept",
        ));
    }
    Ok(Exit::Done)
}

/// Removes the films of a run that was stopped: nothing else does when the process is killed.
fn clear(folder: &Path) -> Result<()> {
    let unusable = |e: std::io::Error| {
        refuse(
            folder,
            format!("what a stopped run left cannot be removed: {e}"),
            crate::target::WRITABLE,
        )
    };
    for entry in std::fs::read_dir(folder).map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        if entry.file_name().to_string_lossy().starts_with(UNDER_WAY) {
            std::fs::remove_dir_all(entry.path()).map_err(unusable)?;
        }
    }
    Ok(())
}

fn combinations(args: &Args) -> Result<Vec<Combination>> {
    let text = |list: &[f32]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let lists: [(&str, Vec<String>); 6] = [
        ("mode", args.mode.iter().map(ToString::to_string).collect()),
        ("strength", text(&args.strength)),
        ("guidance", text(&args.guidance)),
        ("skip", text(&args.skip)),
        ("steps", args.steps.iter().map(ToString::to_string).collect()),
        ("identity", args.identity.iter().map(ToString::to_string).collect()),
    ];
    let mut all = vec![Combination::new()];
    for (name, values) in lists.iter().filter(|l| !l.1.is_empty()) {
        all = all
            .iter()
            .flat_map(|c| {
                values.iter().map(|v| {
                    let mut next = c.clone();
                    next.insert((*name).to_owned(), v.clone());
                    next
                })
            })
            .collect();
        if all.len() > MAX_RUNS {
            return Err(refuse(
                &args.out_dir,
                format!("these lists make more than {MAX_RUNS} runs"),
                "shorten the lists",
            ));
        }
    }
    all.dedup();
    Ok(all)
}

fn words_of(c: &Combination) -> String {
    c.iter()
        .map(|(k, v)| if k == "mode" { v.clone() } else { format!("{k} {v}") })
        .collect::<Vec<_>>()
        .join(", ")
}

/// Runs written down before; a last line that was cut off is not one.
fn written(log: &Path) -> Result<Vec<Run>> {
    let text = match std::fs::read_to_string(log) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(refuse(log, format!("it cannot be read: {e}"), "choose another folder")),
    };
    let mut runs: Vec<Run> = Vec::new();
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    for (i, line) in text[..whole].lines().enumerate() {
        let run: Run = serde_json::from_str(line).map_err(|e| {
            refuse(
                log,
                format!("line {} is no run of a sweep: {e}", i + 1),
                "choose another folder for this sweep",
            )
        })?;
        runs.retain(|r| r.key != run.key);
        runs.push(run);
    }
    if whole < text.len() {
        std::fs::write(log, &text[..whole]).map_err(|e| refuse(log, format!("it cannot be written: {e}"), crate::target::WRITABLE))?;
    }
    Ok(runs)
}

fn append(log: &Path, run: &Run) -> Result<()> {
    let unwritable = |e: std::io::Error| refuse(log, format!("it cannot be written: {e}"), crate::target::ROOM);
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .map_err(unwritable)?;
    file.write_all(format!("{}\n", serde_json::to_string(run)?).as_bytes())
        .map_err(unwritable)
}

/// Runs and measures one combination. A run that fails is a result; one that is stopped is not.
fn one(args: &Args, backends: &Backends, combination: &Combination, key: String) -> Result<Run> {
    let folder = tempfile::Builder::new()
        .prefix(UNDER_WAY)
        .tempdir_in(&args.out_dir)
        .context("no folder for the outputs")?;
    let mut run = Run {
        key,
        settings: combination.clone(),
        likeness: None,
        likeness_95: None,
        tar: None,
        exposed: None,
        expression: None,
        warp_ratio: None,
        sharpness: None,
        painted: 0.0,
        failed: None,
    };
    let mut matched = Vec::new();
    let mut trails = Vec::new();
    for (i, film) in args.films.iter().enumerate() {
        let (output, report) = (folder.path().join(format!("{i}.mkv")), folder.path().join(format!("{i}.jsonl")));
        if let Some(why) = anonymize(args, combination, film, &output, &report)? {
            run.failed = Some(why);
            return Ok(run);
        }
        matched.extend(pairs::open(film, &output)?);
        trails.push((report, sha256(film)?, sha256(&output)?));
    }
    let measured = measure::measure(backends, &matched, args.samples_per_second, false, true)?;
    let trails = trails
        .iter()
        .map(|(path, a, b)| super::run_report::RunReport::read(path, a, b))
        .collect::<Result<Vec<_>>>()?;
    let report = measure::reckon(backends, &measured, Vec::new(), &trails)?;
    fill(&mut run, &report);
    Ok(run)
}

fn fill(run: &mut Run, report: &Report) {
    run.exposed = report.exposure.faces;
    run.warp_ratio = report.stability.warp_ratio;
    run.painted = ["diffusion", "cached", "prior"].iter().filter_map(|r| report.rungs.get(*r)).sum();
    if let Some(output) = report.variants.get("output") {
        (run.likeness, run.likeness_95) = words::likeness(output).map_or((None, None), |(v, i)| (Some(v), i));
        run.tar = words::worst_tar(output).map(|(_, t)| t);
        run.expression = output.expression;
        run.sharpness = output.sharpness;
    }
}

/// Runs the command; `Some` says why it failed.
fn anonymize(args: &Args, combination: &Combination, film: &Path, output: &Path, report: &Path) -> Result<Option<String>> {
    let mut command = Command::new(std::env::current_exe().context("where this program lies")?);
    command.arg("anonymize").arg(film).arg("-o").arg(output).arg("--report").arg(report);
    command.args(["--quiet", "--max-fallback-share", "1", "--seed", &args.seed.to_string()]);
    for (name, value) in combination {
        command.arg(format!("--{name}={value}"));
    }
    for (name, path) in [("--models-dir", &args.places.models_dir), ("--model-pack", &args.model_pack)] {
        if let Some(path) = path {
            command.arg(name).arg(path);
        }
    }
    let ended = command.output().context("nullface anonymize does not start")?;
    match ended.status.code() {
        Some(0 | 3) => Ok(None),
        Some(130) | None => anyhow::bail!("stopped; what is done is kept"),
        Some(_) => Ok(Some(one_line(&String::from_utf8_lossy(&ended.stderr)))),
    }
}

/// Runs that no other beats in likeness and in expression.
fn frontier(runs: &[Run]) -> BTreeSet<String> {
    let place = |r: &Run| Some((r.likeness?, r.expression?.value));
    let beaten = |(x, y): (f64, f64)| runs.iter().filter_map(place).any(|(u, v)| u <= x && v <= y && (u < x || v < y));
    runs.iter()
        .filter(|r| place(r).is_some_and(|p| !beaten(p)))
        .map(|r| r.key.clone())
        .collect()
}

fn results(args: &Args, runs: &[Run]) -> Result<()> {
    let best = frontier(runs);
    let mut sorted: Vec<&Run> = runs.iter().collect();
    let order = |r: &&Run| r.likeness.unwrap_or(f64::INFINITY);
    sorted.sort_by(|a, b| order(a).total_cmp(&order(b)));
    let cell = |e: Option<Estimate>, factor: f64, digits: usize| e.map_or("–".to_owned(), |e| format!("{:.digits$}", factor * e.value));
    let mut text = String::from(
        "| # | settings | frontier | likeness | TAR 1e-3, % | exposed, % | expression error, % | warp, × | sharpness, × | painted, % |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (i, r) in sorted.iter().enumerate() {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} |",
            i + 1,
            words_of(&r.settings),
            if best.contains(&r.key) { "yes" } else { "" },
            r.likeness.map_or("–".to_owned(), |l| format!("{l:.3}")),
            cell(r.tar, 100.0, 1),
            cell(r.exposed, 100.0, 1),
            cell(r.expression, 1.0, 2),
            cell(r.warp_ratio, 1.0, 2),
            cell(r.sharpness, 1.0, 2),
            100.0 * r.painted
        )?;
    }
    let dots: Vec<Dot> = sorted
        .iter()
        .enumerate()
        .filter_map(|(i, r)| {
            let y = r.expression?;
            Some(Dot {
                name: format!("#{}", i + 1),
                x: (r.likeness?, r.likeness_95),
                y: (y.value, y.interval_95),
                strong: best.contains(&r.key),
            })
        })
        .collect();
    let plot = plots::scatter(
        &dots,
        &[],
        "likeness to the source, held-out recognisers (0 stranger, 1 same person)",
        "expression error, % of eye distance",
        "",
    )?;
    let page = html::sweep_page(&plot, &text);
    let put = |name: &str, bytes: &str| {
        let path = args.out_dir.join(name);
        std::fs::write(&path, bytes).map_err(|e| refuse(&path, format!("it cannot be written: {e}"), crate::target::ROOM))
    };
    put("sweep.md", &text)?;
    put("sweep.html", &page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(key: &str, likeness: f64, expression: f64) -> Run {
        Run {
            key: key.to_owned(),
            settings: Combination::new(),
            likeness: Some(likeness),
            likeness_95: None,
            tar: None,
            exposed: None,
            expression: Some(Estimate {
                value: expression,
                interval_95: None,
                n: 1,
                groups: 1,
            }),
            warp_ratio: None,
            sharpness: None,
            painted: 1.0,
            failed: None,
        }
    }

    #[test]
    fn the_frontier_holds_what_nothing_beats_in_both_figures() {
        let mut runs = vec![run("a", 0.1, 5.0), run("b", 0.5, 2.0), run("c", 0.6, 2.0), run("d", 0.2, 6.0)];
        runs.push(Run {
            likeness: None,
            ..run("e", 0.0, 0.0)
        });
        let best: Vec<String> = frontier(&runs).into_iter().collect();
        assert_eq!(best, ["a", "b"]);
    }

    #[test]
    fn a_line_that_was_cut_off_is_done_again_and_a_strange_one_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let log = folder.path().join("sweep.jsonl");
        assert!(written(&log).expect("nothing yet").is_empty());
        append(&log, &run("a", 0.1, 5.0)).expect("written");
        append(&log, &run("a", 0.2, 5.0)).expect("written");
        let text = std::fs::read_to_string(&log).expect("text");
        std::fs::write(&log, format!("{text}{{\"key\":\"b\",\"sett")).expect("written");
        let runs = written(&log).expect("a log");
        assert_eq!((runs.len(), runs[0].likeness), (1, Some(0.2)), "the later of two counts");
        append(&log, &run("c", 0.1, 5.0)).expect("written");
        assert_eq!(written(&log).expect("whole again").len(), 2);
        std::fs::write(&log, "{}\n").expect("written");
        assert!(written(&log).expect_err("strange").to_string().contains("line 1"));
    }
}
