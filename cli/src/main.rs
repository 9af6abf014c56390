//! Command `nullface`: a film or a live picture in, the same without faces out; and what one needs to
//! trust it – a contact sheet, a report, a look at the machine. All pixel work is done by the element
//! `nullfacefilter`, which is linked in: nothing has to be installed or found at run time but
//! GStreamer's own plugins, the runtime library and the models.
//!
//! Limits: the first video stream of a film or live picture.

mod anonymize;
mod audit;
mod batch;
mod container;
mod doctor;
mod eval;
mod exit;
mod film;
mod hash;
mod json;
mod live;
mod loopback;
mod memory;
mod models;
mod pages;
mod probe;
mod reader;
mod review;
mod sheet;
mod target;
mod tracks;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};

use exit::Exit;

/// Takes the identity out of faces in films and leaves the rest of the picture as it is.
#[derive(Debug, Parser)]
#[command(name = "nullface", version, about, after_help = exit::TABLE, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Anonymize(anonymize::Args),
    Live(live::Args),
    Batch(batch::Args),
    Tracks(tracks::Args),
    Review(review::Args),
    Sheet(sheet::Args),
    Eval(eval::Args),
    Audit(audit::Args),
    Models(models::Args),
    Doctor(doctor::Args),
    Completions(pages::CompletionsArgs),
    Man(pages::ManArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    memory::give_back_early();
    match run(&cli.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("nullface: {error:#}");
            Exit::Failed.into()
        }
    }
}

fn run(command: &Command) -> Result<Exit> {
    match command {
        Command::Doctor(args) => return doctor::run(args),
        Command::Audit(args) => return audit::run(args),
        Command::Models(args) => return models::run(args),
        Command::Completions(args) => return Ok(pages::completions(args, Cli::command())),
        Command::Man(args) => return pages::man(args, Cli::command()),
        Command::Anonymize(_)
        | Command::Tracks(_)
        | Command::Review(_)
        | Command::Batch(_)
        | Command::Live(_)
        | Command::Sheet(_)
        | Command::Eval(_) => {}
    }
    gst::init().context("GStreamer cannot be started")?;
    gstnullface::plugin_register_static().context("the element nullfacefilter cannot be registered")?;
    match command {
        Command::Anonymize(args) => anonymize::run(args),
        Command::Tracks(args) => tracks::run(args),
        Command::Review(args) => review::run(args),
        Command::Live(args) => live::run(args),
        Command::Batch(args) => batch::run(args),
        Command::Sheet(args) => sheet::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Doctor(_) | Command::Audit(_) | Command::Models(_) | Command::Completions(_) | Command::Man(_) => Ok(Exit::Done),
    }
}
