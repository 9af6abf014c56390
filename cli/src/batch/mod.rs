//! `nullface batch`: every film of a folder or list. What is done is known by hashes and not done
//! again; a long film that was under way when the process ended goes on where it was, a short one is begun
//! anew; nothing stands under a final name that is not whole.
//!
//! | file | what |
//! |---|---|
//! | `films` | which films, and what becomes of their names |
//! | `ledger` | `batch.jsonl` in the output folder: what was begun and what is done |
//! | `summary` | `batch-report.json`: what became of each film |

mod films;
mod ledger;
mod summary;

use std::cmp::Reverse;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use clap::Parser;

use crate::anonymize::{self, Shelf};
use crate::exit::{Exit, refuse};
use crate::hash::sha256;
use films::Job;
use ledger::{Entry, Ledger};
use summary::{Fate, Line, Summary};

/// Anonymise every film of a folder, or of a list.
///
/// A film whose content, options and result are as a former run left them is skipped. A run that was
/// ended, however hard, is continued by giving the same command again: finished films stay, and a long
/// film goes on with the first part that is missing. It is then made by two passes: the first looks for faces and
/// begins anew where it was ended, the second makes the parts. A film shorter than a part begins anew as a whole; so
/// does every film in the modes that replace faces where no seed is given, as people would become others. Options of
/// `nullface anonymize` follow after `--`.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Args {
    /// Folder of films, searched with all its folders; or a text file (.txt) with one path a line; or films.
    #[arg(value_name = "DIR|LIST|FILM", required = true)]
    inputs: Vec<PathBuf>,
    /// Folder for the results; made where it is missing.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Films at once; as many as there are cores when left out.
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Length of the parts in which a longer film is made, s; 0 makes every film as a whole, by one pass unless
    /// --two-pass is among the options. In the modes that replace faces a seed must be given (NULLFACE_SEED).
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    segment_seconds: u32,
    /// Replace results that no former run of this command made.
    #[arg(short, long)]
    force: bool,
    /// Say nothing but errors.
    #[arg(short, long)]
    quiet: bool,
    /// Options of `nullface anonymize`, for every film.
    #[arg(last = true, value_name = "OPTION", allow_hyphen_values = true)]
    options: Vec<String>,
}

/// A film's command line, parsed as `nullface anonymize` parses it.
#[derive(Debug, Parser)]
#[command(name = "nullface batch … --", no_binary_name = true)]
struct OneFilm {
    #[command(flatten)]
    args: anonymize::Args,
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    let stop = anonymize::stop_signals()?;
    std::fs::create_dir_all(&args.output)
        .map_err(|e| refuse(&args.output, format!("the folder cannot be made: {e}"), crate::target::WRITABLE))?;
    let jobs = films::jobs(&args.inputs, &args.output)?;
    // Wrong options are said once, before anything runs.
    let options = match jobs.first() {
        Some(job) => format!("{} {}", one(args, job)?.fingerprint()?, args.segment_seconds),
        None => return Err(refuse(&args.output, "there is no film to make", "give a folder, a list or films")),
    };
    if let Some(job) = jobs.first().filter(|_| !args.quiet && args.segment_seconds > 0) {
        let film = one(args, job)?;
        if film.mode.replaces() && film.seed.is_none() && !film.one_pass {
            eprintln!(
                "mode {} without a seed: who people become is forgotten with this run, so no film is made in parts; set NULLFACE_SEED to go on inside films after an end",
                film.mode
            );
        }
    }
    let ledger = Ledger::open(&args.output)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = args.jobs.map_or(cores, usize::from).min(jobs.len());
    let run = Run {
        args,
        cores,
        workers,
        options,
        ledger: Mutex::new(ledger),
        stop,
        summary: Mutex::new(Summary::new(jobs.len())),
        next: AtomicUsize::new(0),
    };
    let order = longest_first(&jobs);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| run.work(&order));
        }
    });
    let stopped = run.stop.load(Ordering::Relaxed);
    let summary = run.summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.write(&args.output)?;
    if !args.quiet {
        eprintln!("{summary}");
    }
    Ok(if stopped { Exit::Interrupted } else { summary.exit() })
}

fn one(args: &Args, job: &Job) -> Result<anonymize::Args> {
    let mut words: Vec<std::ffi::OsString> = vec![job.input.clone().into(), "-o".into(), job.output.clone().into()];
    words.extend(["--report".into(), job.report().into(), "--quiet".into()]);
    words.extend(args.options.iter().map(Into::into));
    Ok(OneFilm::try_parse_from(words).unwrap_or_else(|e| e.exit()).args)
}

/// The films with the most to read first: a long one that comes last would keep one core busy and the others waiting.
fn longest_first(jobs: &[Job]) -> Vec<&Job> {
    let mut order: Vec<&Job> = jobs.iter().collect();
    // One that cannot be read is quickly refused.
    order.sort_by_cached_key(|job| Reverse(std::fs::metadata(&job.input).map_or(0, |m| m.len())));
    order
}

/// What the workers share.
struct Run<'a> {
    args: &'a Args,
    cores: usize,
    workers: usize,
    options: String,
    ledger: Mutex<Ledger>,
    stop: Arc<AtomicBool>,
    summary: Mutex<Summary>,
    next: AtomicUsize,
}

impl Run<'_> {
    /// Threads of a film, where its options do not say, with so many left to be made, itself among them. Films side by
    /// side share the cores: threads of one would wait for each other, and for those of the next. The last ones have
    /// those that nobody needs any more.
    fn threads(&self, left: usize) -> u32 {
        u32::try_from(self.cores / self.workers.min(left).max(1)).unwrap_or(0).max(1)
    }

    fn work(&self, jobs: &[&Job]) {
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(place) else { return };
            let threads = self.threads(jobs.len() - place);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.film(job, threads)));
            let fate = match tried {
                Ok(Ok(fate)) => fate,
                Ok(Err(error)) => Fate::Failed(format!("{error:#}")),
                Err(_) => Fate::Failed(format!("{}: a fault of the program; report it", job.input.display())),
            };
            if let Fate::Failed(why) = &fate {
                eprintln!("nullface: {why}");
            } else if !self.args.quiet {
                eprintln!("{}: {fate}", job.output.display());
            }
            let line = Line {
                input: job.input.clone(),
                output: job.output.clone(),
                fate,
            };
            self.summary.lock().unwrap_or_else(PoisonError::into_inner).add(line);
        }
    }

    fn film(&self, job: &Job, threads: u32) -> Result<Fate> {
        let lock = || self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Entry {
            output: job.name.clone(),
            input_sha256: sha256(&job.input)?,
            options: self.options.clone(),
        };
        let known = lock().finished(&key);
        if let Some(hash) = known
            && job.output.is_file()
            && sha256(&job.output)? == hash
        {
            // Left where a run ended between its last two steps.
            let _ = std::fs::remove_dir_all(job.work());
            return Ok(Fate::Skipped);
        }
        let mut film = one(self.args, job)?;
        if film.threads == 0 {
            film.threads = threads;
        }
        // What a former run began or made may be replaced; what somebody else put there may not.
        film.force = self.args.force || lock().began(&job.name);
        if let Some(folder) = job.output.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("{}: the folder cannot be made", folder.display()))?;
        }
        let shelf = Shelf {
            folder: job.work(),
            pieces: lock().pieces(&key),
            note: &|piece| lock().keep(&key, piece),
            tell: &|line| {
                if !self.args.quiet {
                    eprintln!("{line}");
                }
            },
        };
        self.clear(&shelf, film.force)?;
        lock().begin(&key, &job.output)?;
        let done = anonymize::in_parts(&film, self.args.segment_seconds, &shelf, &self.stop)?;
        if done.exit == Exit::Interrupted {
            return Ok(Fate::Stopped);
        }
        lock().finish(&key, &sha256(&job.output)?)?;
        // What cannot be removed is of no use to anybody, and the next run tries again.
        let _ = std::fs::remove_dir_all(&shelf.folder);
        Ok(Fate::Done(done))
    }

    /// Takes away parts that are of another film, other options or another version, and what was being written
    /// when a former run ended.
    fn clear(&self, shelf: &Shelf<'_>, ours: bool) -> Result<()> {
        let folder = &shelf.folder;
        if !folder.exists() {
            return Ok(());
        }
        let wrong = |e: std::io::Error| refuse(folder, format!("it cannot be emptied: {e}"), "remove it by hand");
        if !shelf.pieces.is_empty() {
            return remove_unfinished(folder).map_err(wrong);
        }
        if !ours {
            return Err(refuse(
                folder,
                "a folder of this name exists, and no former run made it",
                "remove it, or give --force to replace it",
            ));
        }
        let finished = |name: std::ffi::OsString| !name.to_string_lossy().starts_with('.');
        let filled = std::fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|e| finished(e.file_name())));
        if filled && !self.args.quiet {
            eprintln!(
                "{}: what a former run left there is not of this film by these options and this version; it is begun anew",
                folder.display()
            );
        }
        std::fs::remove_dir_all(folder).map_err(wrong)
    }
}

/// Temporary files in a folder of parts. The ledger's lock says that nobody is writing them.
fn remove_unfinished(folder: &std::path::Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') && name.ends_with(".part") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Job, longest_first};
    use std::path::PathBuf;

    #[test]
    fn the_longest_film_is_begun_first_and_one_that_is_not_there_last() {
        let folder = tempfile::tempdir().expect("folder");
        let job = |name: &str, bytes: Option<usize>| {
            let input = folder.path().join(name);
            if let Some(bytes) = bytes {
                std::fs::write(&input, vec![0; bytes]).expect("written");
            }
            Job {
                input,
                output: PathBuf::from(name),
                name: name.to_owned(),
            }
        };
        let jobs = [job("a", None), job("b", Some(3)), job("c", Some(9)), job("d", Some(3))];
        let names: Vec<&str> = longest_first(&jobs).iter().map(|j| j.name.as_str()).collect();
        assert_eq!(names, ["c", "b", "d", "a"]);
    }
}
