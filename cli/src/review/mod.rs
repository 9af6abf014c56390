//! `nullface review`: a page on the loopback address on which a person goes through the tracks of a film, edits
//! them and has it rendered. Pictures of the source are made in memory and never written.
//!
//! | file | what |
//! |---|---|
//! | `args` | the command line |
//! | `access` | who may see the page: ticket, cookie, token |
//! | `desk` | requests and answers |
//! | `edits` | the tracks under review: edits with undo, what the page is told, the file |
//! | `frames` | single frames of the film as JPEG |
//! | `rendering` | the rendering that the page starts, watches and ends |
//! | `page.html`, `page.css`, `picture.js`, `page.js` | the page |

mod access;
mod args;
mod desk;
mod edits;
mod frames;
mod rendering;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::anonymize;
use crate::container::Container;
use crate::exit::{Exit, refuse};
use crate::film::Film;
use crate::loopback::Page;
use crate::target::Target;
use crate::tracks::write;
pub(crate) use args::Args;
use desk::Desk;
use edits::Edits;

/// How often it is looked whether the review is over.
const TICK: Duration = Duration::from_millis(50);

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    let stop = anonymize::stop_signals()?;
    let tracks = args.tracks();
    Container::of(&args.output)?;
    let film = Film::open(&args.input)?;
    if tracks == args.output {
        return Err(refuse(&tracks, "it is the output too", "choose another name for --tracks"));
    }
    // Who has gone through a film for an hour shall not hear then that it cannot be written.
    drop(Target::create(&args.output, args.force, &[&args.input, &tracks])?);
    args.rendering(false).check(film.duration)?;
    if tracks.exists() {
        if let Some(word) = args.choice() {
            let cause = format!("{} was made already, and says who is anonymised", tracks.display());
            return Err(refuse(
                &word,
                cause,
                "decide on the page, or give another --tracks to have it made anew",
            ));
        }
    } else if !found(args, &film, &tracks, &stop)? {
        return Ok(Exit::Interrupted);
    }
    let desk = Arc::new(Desk::new(args, film, Edits::open(&tracks, &args.input)?));
    let page = Page::start(args.port, "--port", Arc::clone(&desk) as Arc<_>)?;
    desk.served_at(page.address());
    let address = desk.address();
    eprintln!("nullface: review at {address}");
    if args.open {
        open(&address);
    }
    while !desk.closed() && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
    }
    drop(page);
    let rendered = desk.finish();
    if desk.closed() {
        return Ok(rendered.unwrap_or(Exit::Done));
    }
    if !desk.saved() {
        eprintln!("nullface: {}: edits since it was saved last are gone", tracks.display());
    }
    Ok(Exit::Interrupted)
}

/// Makes the track file by a first pass; `false` where that was stopped.
fn found(args: &Args, film: &Film, tracks: &Path, stop: &AtomicBool) -> Result<bool> {
    let asked = args.finding();
    asked.check(film.duration)?;
    let target = Target::create(tracks, false, &[&args.input])?;
    match anonymize::found(&asked, film, stop)? {
        Some(found) => write(&found, target).map(|()| true),
        None => Ok(false),
    }
}

/// Shows the page in the browser that the desktop prefers; where there is none, the printed address serves.
fn open(address: &str) {
    let mut command = Command::new("xdg-open");
    command
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match command.spawn() {
        // It ends at once, or with the browser; somebody has to take note.
        Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
        Err(e) => eprintln!("nullface: no browser can be opened ({e}); open the address by hand"),
    }
}
