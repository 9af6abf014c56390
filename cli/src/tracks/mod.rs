//! `nullface tracks`: makes, shows and edits track files. All of it goes through [`nullface::tracks`], where the
//! rules are; here are words in and words out.

mod args;

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use nullface::tracks::{Key, Span, Tracks, TracksError};

use crate::anonymize;
use crate::exit::{Exit, refuse};
use crate::film::Film;
use crate::target::{ROOM, Target};
pub(crate) use args::Args;
use args::{Edit, What};

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    match &args.what {
        What::Find(find) => {
            let asked = find.asked();
            let film = Film::open(&asked.input)?;
            asked.check(film.duration)?;
            let target = Target::create(&find.output, find.force, &[&asked.input])?;
            match anonymize::found(&asked, &film, &*anonymize::stop_signals()?)? {
                Some(tracks) => write(&tracks, target).map(|()| Exit::Done),
                None => Ok(Exit::Interrupted),
            }
        }
        What::Show { file } => {
            show(&read(file)?, &mut std::io::stdout().lock())?;
            Ok(Exit::Done)
        }
        What::Add {
            edit,
            keys,
            from,
            to,
            place,
            decision,
        } => {
            let keys = match (from, to, place) {
                (Some(from), Some(to), Some(place)) => [from, to].map(|at| Key { at: *at, box_px: *place }).to_vec(),
                _ => keys.clone(),
            };
            changed(edit, |tracks| tracks.add(keys, *decision).map(|id| format!("track {id} added")))
        }
        What::Drop { edit, id } => changed(edit, |tracks| tracks.drop_track(*id).map(|t| format!("track {} dropped", t.id))),
        What::Merge { edit, into, other } => changed(edit, |tracks| {
            tracks.merge(*into, *other).map(|()| format!("track {other} is part of {into} now"))
        }),
        What::Split { edit, id, at } => changed(edit, |tracks| {
            tracks
                .split(*id, *at)
                .map(|late| format!("from {} s on it is track {late}", at.seconds()))
        }),
        What::Decide { edit, id, decision } => changed(edit, |tracks| {
            tracks.decide(*id, *decision, "by hand").map(|()| format!("track {id}: {decision}"))
        }),
    }
}

/// Reads a track file.
///
/// # Errors
/// One sentence that names file, line, field and the remedy.
pub(crate) fn read(path: &Path) -> Result<Tracks> {
    Tracks::read(path).map_err(|e| refused(path, &e))
}

/// Writes a track file and gives it its name.
pub(crate) fn write(tracks: &Tracks, mut target: Target) -> Result<()> {
    let written = target.file_mut().write_all(tracks.to_text().as_bytes());
    written.map_err(|e| refuse(target.path(), format!("it cannot be written: {e}"), ROOM))?;
    target.finish()
}

fn refused(path: &Path, error: &TracksError) -> anyhow::Error {
    refuse(path, error.to_string(), error.remedy())
}

/// Edits a file in place, or into another.
fn changed(edit: &Edit, change: impl FnOnce(&mut Tracks) -> Result<String, TracksError>) -> Result<Exit> {
    let mut tracks = read(&edit.file)?;
    let said = change(&mut tracks).map_err(|e| refused(&edit.file, &e))?;
    let target = match &edit.output {
        Some(path) => Target::create(path, edit.force, &[&edit.file])?,
        None => Target::create(&edit.file, true, &[])?,
    };
    write(&tracks, target)?;
    eprintln!("{said}");
    Ok(Exit::Done)
}

/// A line for each track: what a person needs to choose one.
fn show(tracks: &Tracks, out: &mut impl Write) -> Result<()> {
    let film = tracks.film();
    writeln!(
        out,
        "{}: {} frames, {} x {} px, to {:.3} s",
        film.name,
        film.frames,
        film.width_px,
        film.height_px,
        film.last.seconds()
    )?;
    writeln!(
        out,
        "{:>6} {:>6} {:>10} {:>10} {:>6}  {:<10} box at its middle",
        "track", "person", "from s", "to s", "score", "decision"
    )?;
    for track in tracks.tracks() {
        let (Some(first), Some(last)) = (track.spans.first(), track.spans.last()) else {
            continue;
        };
        let longest = track.spans.iter().max_by_key(|s| s.to().0 - s.from().0).unwrap_or(first);
        let b = middle(longest);
        write!(
            out,
            "{:>6} {:>6} {:>10.3} {:>10.3} {:>6.2}  {:<10} [{:.0}, {:.0}, {:.0}, {:.0}]",
            track.id,
            track.person,
            first.from().seconds(),
            last.to().seconds(),
            track.score,
            track.decision.word(),
            b.x0,
            b.y0,
            b.x1,
            b.y1
        )?;
        writeln!(out, "{}", track.why.as_ref().map(|w| format!("  ({w})")).unwrap_or_default())?;
    }
    for held in tracks.withheld() {
        writeln!(out, "covered whole: {:.3} to {:.3} s", held.from.seconds(), held.to.seconds())?;
    }
    Ok(())
}

fn middle(span: &Span) -> nullface::frame::BoxPx {
    let half = nullface::frame::Pts(span.from().0 + (span.to().0 - span.from().0) / 2);
    span.box_at(half).unwrap_or_default()
}
