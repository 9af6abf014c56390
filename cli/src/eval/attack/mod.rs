//! `nullface eval attack`: what somebody with a gallery of originals can find out from outputs, in several ways.
//!
//! The engine treats every picture itself, in the same process, without an encoder: an attack on what the engine
//! makes, not on what a codec left of it. Each picture is shown to the engine as a still film, because a face is
//! replaced only once its track is known.

mod table;
mod treat;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nullface::eval::follow::Follower;
use nullface::eval::judge::Judges;
use nullface::frame::Landmarks5;
use nullface::pipeline::Mode;
use serde_json::json;

use self::treat::Bench;
use super::measure::write;
use super::people;
use super::{Places, progress};
use crate::exit::{Exit, refuse};
use crate::reader::Picture;
use crate::target::Target;

/// Try to find people again after their faces were treated.
///
/// Writes attack.json and attack.md. For each mode and recogniser: rank-1 and TAR of outputs against a gallery of
/// originals, from the same picture and from another; rank-1 by the cosine's absolute value; a linear map learned
/// from other people (--learn), or on half of the people and tried on the other, beside chance and a control; a
/// gallery that the attacker treated alike (parrot); means of several outputs. Gallery size and FAR stand in the
/// table.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder with a folder for each person, or with a picture for each.
    #[arg(long, value_name = "DIR")]
    people: PathBuf,
    /// Folder of other people to learn the map from outputs to originals from: the more, the stronger the attack.
    #[arg(long, value_name = "DIR")]
    learn: Option<PathBuf>,
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
    #[command(flatten)]
    places: Places,
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

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    super::folder(&args.out_dir)?;
    let table = Target::create(&args.out_dir.join("attack.md"), args.force, &[])?;
    let data = Target::create(&args.out_dir.join("attack.json"), args.force, &[])?;
    let backends = args.places.open()?;
    let mut bench = Bench {
        judges: Judges::open(&backends.held_out, &backends.small)?,
        follower: Follower::open(&backends.small, None)?,
    };
    let originals = originals(&args.people, args.pictures, &mut bench)?;
    let learners = match &args.learn {
        Some(folder) => Some(self::originals(folder, args.pictures, &mut bench)?),
        None => None,
    };
    let pictures = |people: &[Vec<Original>]| people.iter().map(Vec::len).sum::<usize>();
    let learned = learners.as_ref().map(|l| (l.len(), pictures(l)));
    let n = args.mode.len() * treat::count(&originals, learners.as_deref());
    let bar = progress(args.quiet, n as u64, "pictures treated");
    let mut rows = Vec::new();
    for mode in &args.mode {
        let treated = treat::treat_all(args, *mode, &originals, learners.as_deref(), &mut bench, &bar)?;
        rows.extend(table::score(
            *mode,
            &originals,
            &treated,
            bench.judges.verdicts(),
            learners.is_some(),
        ));
    }
    bar.finish_and_clear();
    write(table, table::markdown(&rows, &originals, learned)?.as_bytes())?;
    let all = json!({
        "layout": "nullface-attack/2",
        "nullface": env!("CARGO_PKG_VERSION"),
        "gallery": originals.len(),
        "pictures": pictures(&originals),
        "learned_from": learned.map(|(people, pictures)| json!({ "people": people, "pictures": pictures })),
        "seed_of_attacker_differs": true,
        "models": super::measure::models(&backends, &bench.judges.entries(), None)?,
        "rows": rows.iter().map(table::Row::json).collect::<Vec<_>>(),
    });
    write(data, serde_json::to_string_pretty(&all)?.as_bytes())?;
    Ok(Exit::Done)
}

/// Faces of all people; people without one are left out.
fn originals(folder: &Path, pictures: usize, bench: &mut Bench) -> Result<Vec<Vec<Original>>> {
    let mut all = Vec::new();
    for person in &people::of_folder(folder)? {
        let mut of_person = Vec::new();
        for portrait in person.portraits.iter().take(pictures.max(1)) {
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
            folder,
            format!("faces of {} people were found in it", all.len()),
            "give a folder with pictures of at least two people",
        ));
    }
    Ok(all)
}
