//! `nullface eval calibrate`: thresholds of a recogniser from pictures of known people.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use nullface::backend::Backend;
use nullface::eval::calibrate::{Calibration, Labelled, calibrate};
use nullface::eval::follow::Follower;
use nullface::eval::judge::{self, CropNet, Verdict};
use nullface::eval::{figures, rgb_view};

use super::measure::Backends;
use super::{Places, people, progress};
use crate::exit::{Exit, refuse};

/// Measure thresholds of recognisers on pictures of known people.
///
/// Prints a `[model.thresholds]` for the manifest of each. A folder a person; in it pictures, or a folder for each
/// film or session: pairs of one person from two films are what tells a recogniser's use.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder with a folder for each person.
    #[arg(long, value_name = "DIR")]
    pairs: PathBuf,
    /// Recogniser of the manifest; all of them when left out.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    #[command(flatten)]
    places: Places,
    /// Say nothing but the result.
    #[arg(short, long)]
    quiet: bool,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    let backends = args.places.open()?;
    let mut nets = recognisers(&backends, args.model.as_deref())?;
    let people = people::of_folder(&args.pairs)?;
    let mut follower = Follower::open(&backends.small, None)?;
    let bar = progress(args.quiet, people.len() as u64, "people");
    let mut rows: Vec<Vec<Labelled>> = vec![Vec::new(); nets.len()];
    let mut faceless = 0;
    for (person, who) in people.iter().enumerate() {
        for portrait in &who.portraits {
            let Some((picture, face)) = people::largest_face(&portrait.path, &mut follower)? else {
                faceless += 1;
                continue;
            };
            let view = rgb_view(u32::try_from(picture.width_px)?, u32::try_from(picture.height_px)?, &picture.rgb)?;
            for ((net, at), rows) in nets.iter_mut().zip(&mut rows) {
                let outputs = net.run(&view, std::slice::from_ref(&face.landmarks))?;
                rows.extend(outputs.into_iter().map(|mut o| Labelled {
                    person,
                    film: portrait.film,
                    embedding: o.swap_remove(*at),
                }));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if faceless > 0 && !args.quiet {
        eprintln!("{}: no face found in {faceless} pictures, which are left out", args.pairs.display());
    }
    let mut text = String::new();
    for ((net, _), rows) in nets.iter().zip(&rows) {
        let got = calibrate(rows, &Verdict::of(net.entry())).filter(|c| c.people > 1).ok_or_else(|| {
            refuse(
                &args.pairs,
                "it has no pairs of one person or none of two people",
                "give at least two people with two pictures each",
            )
        })?;
        text += &toml_of(&net.entry().name, &got)?;
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

fn recognisers(backends: &Backends, wanted: Option<&str>) -> Result<Vec<(CropNet, usize)>> {
    let mut nets = Vec::new();
    let mut names = Vec::new();
    for backend in [&backends.held_out, &backends.small] {
        let of = |b: &Backend| {
            b.models()
                .entries()
                .iter()
                .filter(|e| e.role == "recogniser")
                .map(|e| e.name.clone())
                .collect::<Vec<_>>()
        };
        for name in of(backend) {
            if wanted.is_none_or(|w| w == name) {
                nets.push(judge::recogniser(backend, &name)?);
            }
            names.push(name);
        }
    }
    if nets.is_empty() {
        let wanted = PathBuf::from(wanted.unwrap_or_default());
        return Err(refuse(
            &wanted,
            "there is no such recogniser",
            format!("name one of {}", names.join(", ")),
        ));
    }
    Ok(nets)
}

/// As a manifest wants it. Rates that the pairs cannot tell are told in a comment.
fn toml_of(name: &str, c: &Calibration) -> Result<String> {
    let mut text = format!("# {name}\n[model.thresholds]\nmeasured_on = \"nullface eval calibrate\"\n");
    writeln!(text, "people = {}\npictures = {}", c.people, c.pictures)?;
    writeln!(
        text,
        "impostor_pairs = {}\ngenuine_pairs_other_film = {}",
        c.impostor_pairs, c.genuine_other_film
    )?;
    writeln!(
        text,
        "mean_impostor = {:.3}\nmean_genuine_other_film = {:.3}",
        c.mean_impostor, c.mean_genuine
    )?;
    for at in &c.at {
        let pair = |v: Option<[f64; 2]>, or: f64| {
            let [a, b] = v.unwrap_or([or, or]);
            let (a, b) = (a.min(b), a.max(b));
            format!("[{a:.3}, {b:.3}]")
        };
        let tar = at.tar_other_film.or(at.tar_same_film).unwrap_or(0.0);
        writeln!(
            text,
            "\"far_{}\" = {{ threshold = {:.3}, interval_95 = {}, tar_other_film = {tar:.3}, tar_other_film_95 = {}, tar_same_film = {:.3} }}",
            figures::far_name(at.far),
            at.threshold,
            pair(at.interval_95, at.threshold),
            pair(at.tar_other_film_95, tar),
            at.tar_same_film.unwrap_or(tar)
        )?;
    }
    if c.at.len() < 3 {
        let needed = if c.at.len() < 2 {
            " A manifest needs far_1e-2 and far_1e-3: give more people or pictures."
        } else {
            ""
        };
        writeln!(
            text,
            "# Other rates need more pairs of two people than {}.{needed}",
            c.impostor_pairs
        )?;
    }
    text.push('\n');
    Ok(text)
}
