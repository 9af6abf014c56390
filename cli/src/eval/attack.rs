//! `nullface eval attack`: what somebody with a gallery of originals can find out from outputs, in several ways.
//!
//! The engine treats every picture itself, in the same process, without an encoder: an attack on what the engine
//! makes, not on what a codec left of it. Each picture is shown to the engine as a still film, because a face is
//! replaced only once its track is known.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use nullface::eval::attack::{self, Case, Hits};
use nullface::eval::follow::{Follower, hint_of};
use nullface::eval::judge::{Far, Judges, Verdict};
use nullface::eval::stats::{self, Estimate};
use nullface::eval::{figures, rgb_view};
use nullface::frame::{FrameInfo, FrameTime, FrameViewMut, Landmarks5, Matrix, PixelFormat, PlaneMut, Pts, Range};
use nullface::pipeline::{Discontinuity, EngineConfig, Mode, Outcome};
use nullface::{Engine, Settings};
use serde_json::{Value, json};

use super::measure::{Backends, write};
use super::people::{self, Person};
use crate::exit::{Exit, refuse};
use crate::reader::Picture;
use crate::target::Target;

/// Times that a picture is shown before what comes out counts as it is.
const SHOWN: u64 = 6;
/// Time from one showing to the next, ns.
const STEP_NS: u64 = 40_000_000;
/// Pause between two pictures, ns: longer than any hold.
const PAUSE_NS: u64 = 10_000_000_000;

/// Try to find people again after their faces were treated.
///
/// Writes attack.json and attack.md. For each mode and recogniser: rank-1 and TAR of outputs against a gallery of
/// originals, from the same picture and from another; rank-1 by the cosine's absolute value; a linear map learned
/// on half of the people and tried on the other; a gallery that the attacker treated alike (parrot); means of
/// several outputs. Gallery size and FAR stand in the table.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder with a folder for each person, or with a picture for each.
    #[arg(long, value_name = "DIR")]
    people: PathBuf,
    /// Modes to attack, separated by commas.
    #[arg(
        long,
        value_name = "MODES",
        value_delimiter = ',',
        default_value = "pixelate,blur,ksame,nullface,reverse,id2face"
    )]
    mode: Vec<Mode>,
    /// Folder for attack.json and attack.md.
    #[arg(short = 'o', long = "out-dir", value_name = "DIR")]
    out_dir: PathBuf,
    /// Pictures of each person at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    pictures: usize,
    /// Secret of the run; the attacker's own gallery is made with another.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Folder of the model pack; searched for when left out.
    #[arg(long, value_name = "DIR")]
    model_pack: Option<PathBuf>,
    /// Folder of the held-out models; searched for when left out.
    #[arg(long, value_name = "DIR")]
    eval_models_dir: Option<PathBuf>,
    /// Folder of the small models; searched for when left out.
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Replace results that exist.
    #[arg(short, long)]
    force: bool,
    /// Say nothing but errors.
    #[arg(short, long)]
    quiet: bool,
}

/// A picture whose face was found, and what recognisers see in it.
struct Original {
    picture: Picture,
    landmarks: Landmarks5,
    embeddings: Vec<Vec<f32>>,
}

/// The tools of an attack.
struct Bench {
    judges: Judges,
    follower: Follower,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    std::fs::create_dir_all(&args.out_dir)
        .map_err(|e| refuse(&args.out_dir, format!("it cannot be made: {e}"), crate::target::WRITABLE))?;
    let table = Target::create(&args.out_dir.join("attack.md"), args.force, &[])?;
    let data = Target::create(&args.out_dir.join("attack.json"), args.force, &[])?;
    let backends = Backends::open(args.eval_models_dir.as_deref(), args.models_dir.as_deref())?;
    let mut bench = Bench {
        judges: Judges::open(&backends.held_out, &backends.small)?,
        follower: Follower::open(&backends.small)?,
    };
    let people = people::of_folder(&args.people)?;
    let originals = originals(args, &people, &mut bench)?;
    let pictures: usize = originals.iter().map(Vec::len).sum();
    let bar = progress(args.quiet, (pictures * args.mode.len() + originals.len() * args.mode.len()) as u64);
    let mut rows = Vec::new();
    for mode in &args.mode {
        let treated = treat_all(args, *mode, &originals, &mut bench, &bar)?;
        rows.extend(score(*mode, &originals, &treated, bench.judges.verdicts()));
    }
    bar.finish_and_clear();
    write(table, markdown(&rows, &originals)?.as_bytes())?;
    let all = json!({
        "layout": "nullface-attack/1",
        "nullface": env!("CARGO_PKG_VERSION"),
        "gallery": originals.len(),
        "pictures": pictures,
        "seed_of_attacker_differs": true,
        "models": super::measure::models(&backends, &bench.judges.entries())?,
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    write(data, serde_json::to_string_pretty(&all)?.as_bytes())?;
    Ok(Exit::Done)
}

fn progress(quiet: bool, n: u64) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(n);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} pictures treated, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Faces of all people; people without one are left out.
fn originals(args: &Args, people: &[Person], bench: &mut Bench) -> Result<Vec<Vec<Original>>> {
    let mut all = Vec::new();
    for person in people {
        let mut of_person = Vec::new();
        for portrait in person.portraits.iter().take(args.pictures.max(1)) {
            if let Some((picture, face)) = people::largest_face(&portrait.path, &mut bench.follower)? {
                let embeddings = bench.embed(&picture, &[face.landmarks])?.pop().context("an embedding a face")?;
                of_person.push(Original {
                    picture,
                    landmarks: face.landmarks,
                    embeddings,
                });
            }
        }
        if !of_person.is_empty() {
            all.push(of_person);
        }
    }
    if all.len() < 2 {
        return Err(refuse(
            &args.people,
            format!("faces of {} people were found in it", all.len()),
            "give a folder with pictures of at least two people",
        ));
    }
    Ok(all)
}

impl Bench {
    fn embed(&mut self, picture: &Picture, faces: &[Landmarks5]) -> Result<Vec<Vec<Vec<f32>>>> {
        let view = rgb_view(u32::try_from(picture.width_px)?, u32::try_from(picture.height_px)?, &picture.rgb)?;
        Ok(self.judges.recognise(&view, faces)?.into_iter().map(|j| j.embeddings).collect())
    }

    /// An attacker aligns on the face that the output shows, or where one was.
    fn embed_output(&mut self, picture: &Picture, at: &Landmarks5) -> Result<Vec<Vec<f32>>> {
        let view = rgb_view(u32::try_from(picture.width_px)?, u32::try_from(picture.height_px)?, &picture.rgb)?;
        let box_px = nullface::frame::BoxPx::bounding(&at.0).map(|b| b.scaled(2.4));
        let hint = box_px.map(|b| hint_of(&b, at));
        let mesh = match hint {
            Some(hint) => self.follower.meshes(&view, &[hint])?.pop().flatten(),
            None => None,
        };
        let own = mesh.and_then(|m| m.landmarks5()).unwrap_or(*at);
        self.embed(picture, &[own])?.pop().context("an embedding a face")
    }
}

/// Embeddings of what came out: of the run, and of the attacker's own run of each person's first picture.
struct Treated {
    /// `[person][picture][recogniser]`.
    outputs: Vec<Vec<Vec<Vec<f32>>>>,
    /// `[person][recogniser]`.
    parrots: Vec<Vec<Vec<f32>>>,
    /// Pictures whose face was replaced, not covered.
    replaced: usize,
}

fn treat_all(args: &Args, mode: Mode, originals: &[Vec<Original>], bench: &mut Bench, bar: &ProgressBar) -> Result<Treated> {
    let engine = |seed| -> Result<Engine> {
        let config = EngineConfig {
            models_dir: args.models_dir.clone(),
            model_pack: args.model_pack.clone(),
            seed: Some(seed),
            lookahead: 0,
            ..EngineConfig::default()
        };
        let settings = Settings {
            mode,
            ..Settings::default()
        };
        Ok(Engine::open(&config, settings)?)
    };
    let (mut run, mut attacker) = (engine(args.seed)?, engine(args.seed.wrapping_add(0x9e37_79b9))?);
    let mut all = Treated {
        outputs: Vec::with_capacity(originals.len()),
        parrots: Vec::with_capacity(originals.len()),
        replaced: 0,
    };
    let mut clock = 0;
    for person in originals {
        let mut outputs = Vec::with_capacity(person.len());
        for original in person {
            let (picture, replaced) = treat(&mut run, &original.picture, &mut clock)?;
            all.replaced += usize::from(replaced);
            outputs.push(bench.embed_output(&picture, &original.landmarks)?);
            bar.inc(1);
        }
        // Another picture where there is one: the attacker does not have the run's own.
        let (parrot, _) = treat(&mut attacker, &person[person.len() - 1].picture, &mut clock)?;
        all.parrots.push(bench.embed_output(&parrot, &person[person.len() - 1].landmarks)?);
        bar.inc(1);
        all.outputs.push(outputs);
    }
    Ok(all)
}

/// Shows a picture to the engine until it is replaced, at most [`SHOWN`] times.
fn treat(engine: &mut Engine, picture: &Picture, clock: &mut u64) -> Result<(Picture, bool)> {
    engine.discontinuity(Discontinuity::Flush);
    *clock += PAUSE_NS;
    let mut out = picture.clone();
    let mut replaced = false;
    for _ in 0..SHOWN {
        out.rgb.clone_from(&picture.rgb);
        let info = FrameInfo {
            format: PixelFormat::Rgb,
            width: u32::try_from(picture.width_px)?,
            height: u32::try_from(picture.height_px)?,
            matrix: Matrix::Bt709,
            range: Range::Full,
        };
        let plane = PlaneMut {
            data: &mut out.rgb,
            stride: picture.width_px * 3,
        };
        let mut view = FrameViewMut::new(info, vec![plane])?;
        let at = FrameTime {
            pts: Pts(*clock),
            duration_ns: STEP_NS,
        };
        *clock += STEP_NS;
        let report = engine.process(&mut view, at, &[]).into_report();
        replaced = report.faces.iter().any(|f| matches!(f.outcome, Outcome::Replaced { .. }));
        if replaced || (!engine.settings().mode.replaces() && !report.faces.is_empty()) {
            break;
        }
    }
    Ok((out, replaced))
}

/// Figures of one mode by one recogniser.
struct Row {
    mode: Mode,
    recogniser: String,
    held_out: bool,
    replaced: usize,
    figures: BTreeMap<&'static str, Estimate>,
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "mode": self.mode.to_string(),
            "recogniser": self.recogniser,
            "held_out": self.held_out,
            "replaced": self.replaced,
            "figures": self.figures,
        })
    }
}

fn score(mode: Mode, originals: &[Vec<Original>], treated: &Treated, verdicts: &[Verdict]) -> Vec<Row> {
    verdicts
        .iter()
        .enumerate()
        .map(|(i, verdict)| {
            let gallery: Vec<&[f32]> = originals.iter().map(|p| p[0].embeddings[i].as_slice()).collect();
            let cases = |from: usize, to: usize| -> Vec<Case> {
                let outputs = |person: &Vec<Vec<Vec<f32>>>| person.iter().skip(from).take(to - from).map(|o| o[i].clone()).collect();
                originals
                    .iter()
                    .zip(&treated.outputs)
                    .zip(&treated.parrots)
                    .map(|((original, person), parrot)| Case {
                        original: original[0].embeddings[i].clone(),
                        parrot: Some(parrot[i].clone()),
                        outputs: outputs(person),
                    })
                    .collect()
            };
            let (same, other, all) = (cases(0, 1), cases(1, usize::MAX), cases(0, usize::MAX));
            let mut figures = BTreeMap::new();
            let mut add = |name, hits: Option<Hits>| {
                if let Some(estimate) = hits.as_deref().and_then(stats::mean) {
                    figures.insert(name, estimate);
                }
            };
            add("rank_1_same_picture", Some(attack::rank_1(&same, &gallery, verdict, false)));
            add("rank_1_other_picture", Some(attack::rank_1(&other, &gallery, verdict, false)));
            add("rank_1_abs", Some(attack::rank_1(&same, &gallery, verdict, true)));
            add("rank_1_learned", attack::learned(&all, &gallery, verdict));
            add("rank_1_averaged", Some(attack::averaged(&all, &gallery, verdict)));
            add("rank_1_parrot", attack::parrot(&same, verdict));
            add("tar_same_picture", accepted(&same, verdict));
            add("tar_other_picture", accepted(&other, verdict));
            Row {
                mode,
                recogniser: verdict.name.clone(),
                held_out: verdict.held_out,
                replaced: treated.replaced,
                figures,
            }
        })
        .collect()
}

/// Outputs accepted for their originals at one false accept in a thousand.
fn accepted(cases: &[Case], verdict: &Verdict) -> Option<Hits> {
    verdict.threshold(Far::E3)?;
    let hit = |c: &Case, o: &[f32]| f64::from(u8::from(verdict.accepts(verdict.score(o, &c.original), Far::E3) == Some(true)));
    Some(cases.iter().map(|c| c.outputs.iter().map(|o| hit(c, o)).collect()).collect())
}

/// Columns: name, heading.
const COLUMNS: [(&str, &str); 8] = [
    ("rank_1_same_picture", "rank-1, same picture"),
    ("rank_1_other_picture", "rank-1, other picture"),
    ("rank_1_abs", "rank-1 by \\|cos\\|"),
    ("rank_1_learned", "rank-1, learned map"),
    ("rank_1_averaged", "rank-1, averaged"),
    ("rank_1_parrot", "rank-1, parrot"),
    ("tar_same_picture", "TAR, same picture"),
    ("tar_other_picture", "TAR, other picture"),
];

fn markdown(rows: &[Row], originals: &[Vec<Original>]) -> Result<String> {
    let people = originals.len();
    let pictures: usize = originals.iter().map(Vec::len).sum();
    let mut text = format!(
        "Gallery: {people} people, one original each; {pictures} pictures treated. Chance of rank-1: {:.1} %. TAR at FAR {}. In %, \
         with 95 % intervals by bootstrap over people.\n\n| mode | recogniser |",
        100.0 / people as f64,
        figures::far_name(Far::E3)
    );
    for (_, heading) in COLUMNS {
        write!(text, " {heading} |")?;
    }
    writeln!(text, "\n|{}", "---|".repeat(COLUMNS.len() + 2))?;
    for row in rows {
        let role = if row.held_out { "" } else { " (steering)" };
        write!(text, "| {} | {}{role} |", row.mode, row.recogniser)?;
        for (name, _) in COLUMNS {
            let cell = row.figures.get(name).map_or("–".to_owned(), |e| {
                let interval = e
                    .interval_95
                    .map_or_else(String::new, |[a, b]| format!(" ({:.0} to {:.0})", 100.0 * a, 100.0 * b));
                format!("{:.1}{interval}", 100.0 * e.value)
            });
            write!(text, " {cell} |")?;
        }
        text.push('\n');
    }
    let by_mode: BTreeMap<String, usize> = rows.iter().map(|r| (r.mode.to_string(), r.replaced)).collect();
    let replaced: Vec<String> = by_mode.iter().map(|(m, n)| format!("{m} {n}")).collect();
    writeln!(text, "\nFaces replaced, not covered, of {pictures}: {}.", replaced.join(", "))?;
    Ok(text)
}
