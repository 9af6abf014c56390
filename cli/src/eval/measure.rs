//! One evaluation: open, walk, reckon, write.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use nullface::backend::{Backend, BackendConfig, DeviceRequest, ModelEntry, find_eval_models_dir};
use nullface::eval::figures::{self, Known, Names};
use nullface::eval::film::{Density, Meter, Record};
use nullface::eval::judge::{Judges, Verdict};
use nullface::eval::report::{FileMark, LAYOUT, Model, Pair, Report, WorstFace};
use nullface::eval::{frechet, rgb_view};
use nullface::frame::Pts;

use super::Args;
use super::pairs::{self, Matched, Tally};
use super::people;
use super::run_report::RunReport;
use super::{html, words};
use crate::exit::{Exit, refuse};
use crate::hash::sha256;
use crate::target::{ROOM, Target};

/// Mean difference outside the faces from which pictures are not of one film, levels of 255: encoders stay under 5.
const OTHER_FILM_LEVELS: f64 = 16.0;
/// Samples after which that is looked at.
const ENOUGH_SAMPLES: usize = 10;

/// Models of both kinds, on the processor: figures must not depend on the machine.
pub(super) struct Backends {
    pub(super) held_out: Backend,
    pub(super) small: Backend,
}

impl Backends {
    pub(super) fn open(eval_models_dir: Option<&Path>, models_dir: Option<&Path>) -> Result<Self> {
        let config = |folder| BackendConfig {
            models_dir: folder,
            device: DeviceRequest::Cpu,
            ..BackendConfig::default()
        };
        Ok(Self {
            held_out: Backend::open(&config(Some(find_eval_models_dir(eval_models_dir)?)))?,
            small: Backend::open(&config(models_dir.map(Path::to_path_buf)))?,
        })
    }
}

/// Runs it.
pub(super) fn run(args: &Args) -> Result<Exit> {
    let folder = args.out_dir.as_deref().context("a folder for the report")?;
    let matched = open_all(args)?;
    super::folder(folder)?;
    let sources: Vec<&Path> = args.source.iter().chain(&args.output).map(std::path::PathBuf::as_path).collect();
    let json = Target::create(&folder.join("report.json"), args.force, &sources)?;
    let page = Target::create(&folder.join("report.html"), args.force, &sources)?;
    let started = Instant::now();
    let backends = args.places.open()?;
    let measured = measure(&backends, &matched, args.samples_per_second, !args.no_baselines, args.quiet)?;
    let strangers = match &args.gallery {
        Some(folder) => gallery(&backends, folder)?,
        None => Vec::new(),
    };
    let runs = run_reports(args, &measured.pairs)?;
    let record = &measured.record;
    let report = reckon(&backends, &measured, strangers, &runs)?;
    write(json, serde_json::to_string_pretty(&report)?.as_bytes())?;
    write(page, html::page(&report, &record.worst)?.as_bytes())?;
    if !args.quiet {
        let length: f64 = report.pairs.iter().map(|p| p.length_s).sum();
        let took = started.elapsed().as_secs_f64();
        eprintln!("{}", report.verdict);
        eprintln!(
            "{}: measured {length:.1} s of film in {took:.1} s ({:.1} ×)",
            folder.display(),
            took / length.max(1e-3)
        );
    }
    Ok(Exit::Done)
}

fn open_all(args: &Args) -> Result<Vec<Matched>> {
    if args.source.len() != args.output.len() {
        let first = args.output.first().or(args.source.first()).context("a source and an output")?;
        return Err(refuse(
            first,
            format!("{} sources and {} outputs are named", args.source.len(), args.output.len()),
            "name as many outputs as sources, in the same order",
        ));
    }
    if !args.report_in.is_empty() && args.report_in.len() != args.source.len() {
        return Err(refuse(
            &args.report_in[0],
            format!("{} run reports and {} pairs are named", args.report_in.len(), args.source.len()),
            "name a report for each pair, or none",
        ));
    }
    let mut all = Vec::new();
    for (source, output) in args.source.iter().zip(&args.output) {
        all.extend(pairs::open(source, output)?);
    }
    Ok(all)
}

/// Everything measured, and of what.
pub(super) struct Measured {
    pub(super) record: Record,
    pub(super) judges: Judges,
    pub(super) pairs: Vec<Pair>,
    pub(super) watching: usize,
    pub(super) finder: Option<String>,
}

/// Measures all pairs as one set.
pub(super) fn measure(backends: &Backends, matched: &[Matched], samples_per_second: f64, baselines: bool, quiet: bool) -> Result<Measured> {
    let density = |m: &Matched| {
        let mut density = match m {
            Matched::Films(film, _) => {
                let fps = pairs::rate(film);
                let frames = film.duration.map_or(0.0, |d| d.seconds_f64() * fps) as usize;
                Density::for_film(fps, samples_per_second, frames)
            }
            Matched::Stills(..) => Density {
                every: 1,
                baseline_every: 1,
                watch_every: 1,
            },
        };
        if !baselines {
            density.baseline_every = 0;
        }
        density
    };
    let first = matched.first().context("a pair to measure")?;
    let mut meter = Meter::open(&backends.held_out, &backends.small, density(first))?;
    let (watching, finder) = (meter.watching(), meter.finder());
    let bar = super::progress(quiet, matched.iter().map(frames).sum(), "frames measured");
    let mut marks = Vec::with_capacity(matched.len());
    for (i, pair) in matched.iter().enumerate() {
        let density = density(pair);
        if i > 0 {
            meter.next_film(density);
        }
        let (source, output) = pair.paths();
        let tally = pairs::walk(pair, |a, b| {
            let (width, height) = (u32::try_from(a.width_px)?, u32::try_from(a.height_px)?);
            meter
                .frame(Pts(a.time.nseconds()), width, height, &a.rgb, &b.rgb)
                .with_context(|| format!("{} at {:.2} s", output.display(), a.time.seconds_f64()))?;
            bar.inc(1);
            same_film(&meter, source, output, ENOUGH_SAMPLES)
        })?;
        same_film(&meter, source, output, 1)?;
        marks.push(mark(source, output, &tally, density)?);
    }
    bar.finish_and_clear();
    let (record, judges) = meter.finish();
    if record.tracks.iter().all(|t| t.samples.is_empty()) {
        return Err(refuse(
            first.paths().0,
            format!(
                "no face of at least 20 px was found in its {} frames, so there is nothing to measure",
                record.frames
            ),
            "give a source that shows faces",
        ));
    }
    Ok(Measured {
        record,
        judges,
        pairs: marks,
        watching,
        finder,
    })
}

/// Refuses pictures that differ outside the faces more than any encoder makes them.
fn same_film(meter: &Meter, source: &Path, output: &Path, enough: usize) -> Result<()> {
    match meter.background_levels() {
        Some((n, levels)) if n >= enough && levels > OTHER_FILM_LEVELS => Err(refuse(
            output,
            format!(
                "its pictures are not those of {}: outside the faces they differ by {levels:.0} levels of 255 (encoding gives less than 5)",
                source.display()
            ),
            "give the output of this source, uncut",
        )),
        _ => Ok(()),
    }
}

fn frames(matched: &Matched) -> u64 {
    match matched {
        Matched::Films(film, _) => film.duration.map_or(0.0, |d| d.seconds_f64() * pairs::rate(film)) as u64,
        Matched::Stills(..) => 1,
    }
}

fn mark(source: &Path, output: &Path, tally: &Tally, density: Density) -> Result<Pair> {
    Ok(Pair {
        source: file_mark(source)?,
        output: file_mark(output)?,
        width_px: tally.size_px.0,
        height_px: tally.size_px.1,
        frames: tally.frames,
        source_only: tally.source_only,
        output_only: tally.output_only,
        length_s: tally.span_s.1 - tally.span_s.0,
        rescaled: tally.rescaled,
        sample_every: density.every,
        watch_every: density.watch_every,
    })
}

pub(super) fn file_mark(path: &Path) -> Result<FileMark> {
    Ok(FileMark {
        name: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        bytes: std::fs::metadata(path).map(|m| m.len()).unwrap_or(0),
        sha256: sha256(path)?,
    })
}

fn run_reports(args: &Args, pairs: &[Pair]) -> Result<Vec<RunReport>> {
    args.report_in
        .iter()
        .zip(pairs)
        .map(|(path, pair)| RunReport::read(path, &pair.source.sha256, &pair.output.sha256))
        .collect()
}

/// Embeddings of the largest face of each picture of a folder.
fn gallery(backends: &Backends, folder: &Path) -> Result<Vec<Vec<Vec<f32>>>> {
    let mut judges = Judges::open(&backends.held_out, &backends.small)?;
    let mut follower = nullface::eval::follow::Follower::open(&backends.small, None)?;
    let mut all = Vec::new();
    for path in pairs::pictures(folder)?.values() {
        let Some((picture, face)) = people::largest_face(path, &mut follower)? else {
            continue;
        };
        let view = rgb_view(u32::try_from(picture.width_px)?, u32::try_from(picture.height_px)?, &picture.rgb)?;
        all.extend(judges.recognise(&view, &[face.landmarks])?.into_iter().map(|j| j.embeddings));
    }
    if all.is_empty() {
        return Err(refuse(
            folder,
            "no face was found in its pictures",
            "give pictures that show one face each",
        ));
    }
    Ok(all)
}

/// Rows to a report.
pub(super) fn reckon(backends: &Backends, measured: &Measured, strangers: Vec<Vec<Vec<f32>>>, runs: &[RunReport]) -> Result<Report> {
    let (record, verdicts) = (&measured.record, measured.judges.verdicts());
    let entries = measured.judges.entries();
    let names = Names {
        verdicts,
        expressions: entries.iter().filter(|e| e.classes.is_some()).map(|e| e.name.clone()).collect(),
        watching: measured.watching,
        finder: measured.finder.clone(),
    };
    let known = figures::know(record, verdicts);
    let real: Vec<Vec<Vec<f32>>> = strangers.clone();
    let gallery = figures::gallery(&known, strangers, verdicts);
    let mut variants = figures::variants(&known, &gallery, &names);
    for (name, variant) in &mut variants {
        variant.frechet = distances(name, &known, &real, verdicts);
    }
    let mut tracks = figures::tracks(&known, &names);
    for track in &mut tracks {
        if let Some(run) = runs.get(track.pair) {
            track.rungs = run.rungs_between(track.first_s, track.last_s);
        }
    }
    let mut report = Report {
        layout: LAYOUT.to_owned(),
        nullface: env!("CARGO_PKG_VERSION").to_owned(),
        run: runs.first().map_or(serde_json::Value::Null, |r| r.header.clone()),
        verdict: String::new(),
        pairs: measured.pairs.clone(),
        models: models(backends, &entries, measured.finder.as_deref())?,
        watching: verdicts[measured.watching].name.clone(),
        gallery: gallery.faces.len(),
        people: gallery.people,
        exposure: figures::exposure(record, &known, &names),
        variants,
        stability: figures::stability(&known, &names),
        background: figures::background(record),
        rungs: shares(runs),
        tracks,
        worst: record
            .worst
            .iter()
            .map(|w| WorstFace {
                pair: w.film,
                track: w.track,
                at_s: w.at.seconds(),
                likeness: w.likeness,
                recogniser: w.recogniser.clone(),
            })
            .collect(),
        method: Vec::new(),
    };
    report.verdict = words::verdict(&report);
    report.method = words::method(&report);
    Ok(report)
}

/// Fréchet distances of one variant's faces to the gallery's strangers, by recogniser.
fn distances(variant: &str, known: &[Known<'_>], real: &[Vec<Vec<f32>>], verdicts: &[Verdict]) -> std::collections::BTreeMap<String, f64> {
    let baseline = nullface::eval::film::BASELINES.iter().position(|(n, _)| *n == variant);
    let mut all = std::collections::BTreeMap::new();
    for (i, verdict) in verdicts.iter().enumerate() {
        let rows: Vec<&[f32]> = known
            .iter()
            .flat_map(|k| &k.track.samples)
            .filter_map(|s| match (variant, baseline) {
                ("output", _) => Some(s.output.judged.embeddings[i].as_slice()),
                ("source_next", _) => Some(s.source.embeddings[i].as_slice()),
                (_, Some(at)) => Some(s.baselines.as_ref()?.get(at)?.judged.embeddings[i].as_slice()),
                _ => None,
            })
            .collect();
        let real: Vec<&[f32]> = real.iter().map(|f| f[i].as_slice()).collect();
        if let Some(d) = frechet::frechet(&rows, &real) {
            all.insert(verdict.name.clone(), d);
        }
    }
    all
}

fn shares(runs: &[RunReport]) -> std::collections::BTreeMap<String, f64> {
    let mut all = std::collections::BTreeMap::new();
    for (rung, seconds) in runs.iter().flat_map(RunReport::rungs) {
        *all.entry(rung).or_insert(0.0) += seconds;
    }
    let sum: f64 = all.values().sum();
    if sum > 0.0 {
        all.values_mut().for_each(|v| *v /= sum);
    }
    all
}

pub(super) fn models(backends: &Backends, judges: &[&ModelEntry], finder: Option<&str>) -> Result<Vec<Model>> {
    let mut all: Vec<Model> = judges.iter().map(|e| model(e)).collect();
    if let Some(name) = finder {
        all.push(model(backends.held_out.models().entry(name)?));
    }
    for name in ["centerface", "face_mesh", "iris"] {
        all.push(model(backends.small.models().entry(name)?));
    }
    Ok(all)
}

fn model(entry: &ModelEntry) -> Model {
    let recogniser = entry.role == "recogniser";
    let verdict = Verdict::of(entry);
    let thresholds = nullface::eval::judge::Far::ALL
        .into_iter()
        .filter_map(|far| Some((figures::far_name(far), rounded(verdict.threshold(far)?))))
        .collect();
    Model {
        name: entry.name.clone(),
        sha256: entry.sha256.clone(),
        role: entry.role.clone(),
        held_out: entry.held_out == Some(true),
        distance: entry.distance.clone().filter(|_| recogniser),
        thresholds,
        measured_on: entry.thresholds.as_ref().map(|t| t.measured_on.clone()),
    }
}

/// 0.479 in `f32` is 0.479 in `f64` too.
fn rounded(v: f32) -> f64 {
    v.to_string().parse().unwrap_or(f64::from(v))
}

pub(super) fn write(mut target: Target, bytes: &[u8]) -> Result<()> {
    let path = target.path().to_owned();
    target
        .file_mut()
        .write_all(bytes)
        .map_err(|e| refuse(&path, format!("it cannot be written: {e}"), ROOM))?;
    target.finish()
}
