//! `nullface eval`: how much of the people is left in a film, how useful and how steady it is, measured by
//! recognisers that took no part in making it.

mod attack;
mod calibrate;
mod html;
mod measure;
mod pairs;
mod people;
mod plots;
mod run_report;
mod sweep;
mod words;

use std::path::{Path, PathBuf};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use self::measure::Backends;
use crate::exit::{Exit, refuse};

/// Measure what an output still tells of the people in its source.
///
/// Writes report.json and report.html into a folder. Give films, folders of pictures with equal names, or two
/// pictures; several pairs are measured as one set. Times and pictures must belong together: outputs that were
/// cut against their source are refused.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::TABLE, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Film, folder or picture as it was.
    #[arg(long, value_name = "IN", required = true, num_args = 1..)]
    source: Vec<PathBuf>,
    /// What was made of it, in the same order.
    #[arg(long, value_name = "OUT", required = true, num_args = 1..)]
    output: Vec<PathBuf>,
    /// Report that the run wrote (`nullface anonymize --report`), for each pair or none.
    #[arg(long, value_name = "RUN.jsonl", num_args = 1..)]
    report_in: Vec<PathBuf>,
    /// Folder for report.json and report.html.
    #[arg(short = 'o', long = "out-dir", value_name = "DIR", required = true)]
    out_dir: Option<PathBuf>,
    /// Folder of pictures of other people: makes the gallery that outputs are looked up in larger.
    #[arg(long, value_name = "DIR")]
    gallery: Option<PathBuf>,
    /// Samples a second; more costs more time and finds more.
    #[arg(long, value_name = "NUMBER", default_value_t = 4.0, value_parser = positive)]
    samples_per_second: f64,
    /// Leave the baselines out.
    #[arg(long)]
    no_baselines: bool,
    #[command(flatten)]
    places: Places,
    /// Replace reports that exist.
    #[arg(short, long)]
    force: bool,
    /// Say nothing but errors.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Attack(attack::Args),
    Calibrate(calibrate::Args),
    Sweep(sweep::Args),
}

/// Where the networks lie that measure.
#[derive(Debug, clap::Args)]
struct Places {
    /// Folder of the held-out models; searched for when left out.
    #[arg(long, value_name = "DIR")]
    eval_models_dir: Option<PathBuf>,
    /// Folder of the small models; searched for when left out.
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
}

impl Places {
    fn open(&self) -> Result<Backends> {
        Backends::open(self.eval_models_dir.as_deref(), self.models_dir.as_deref())
    }
}

/// Makes the folder of the results.
fn folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| refuse(path, format!("it cannot be made: {e}"), crate::target::WRITABLE))
}

/// A bar over `n` of something, with the time left.
fn progress(quiet: bool, n: u64, what: &str) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(n);
    if let Ok(style) = ProgressStyle::with_template(&format!("{{bar:30}} {{pos}}/{{len}} {what}, {{eta}} left {{msg}}")) {
        bar.set_style(style);
    }
    bar
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    match &args.command {
        None => measure::run(args),
        Some(Command::Attack(args)) => attack::run(args),
        Some(Command::Calibrate(args)) => calibrate::run(args),
        Some(Command::Sweep(args)) => sweep::run(args),
    }
}

/// A number above zero and not beyond reason.
fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if number > 0.0 && number <= 1000.0 {
        Ok(number)
    } else {
        Err(format!("{number} is not between 0 and 1000"))
    }
}
