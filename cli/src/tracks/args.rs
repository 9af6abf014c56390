//! The command line of `nullface tracks`.

use std::path::PathBuf;

use clap::Parser;
use nullface::frame::{BoxPx, Pts};
use nullface::tracks::{Decision, Key};

use crate::anonymize;

/// Find the faces of a film, and see and edit what was found.
///
/// A track file says which face is where and when, and what shall become of it. `nullface anonymize
/// --from-tracks` renders from it without looking again.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(super) what: What,
}

/// What is done.
#[derive(Debug, clap::Subcommand)]
pub(super) enum What {
    /// Look through a film and write its track file: the first pass of `anonymize --two-pass` alone.
    Find(Find),
    /// List the tracks.
    Show {
        /// Track file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Add a face that was missed: boxes at one or more times, interpolated between them.
    #[command(group = clap::ArgGroup::new("where").required(true).args(["keys", "place"]))]
    Add {
        #[command(flatten)]
        edit: Edit,
        /// Where the face is at a time; give it several times for one that moves.
        #[arg(long = "key", value_name = "TIME@LEFT,TOP,RIGHT,BOTTOM", value_parser = key)]
        keys: Vec<Key>,
        /// First moment of a face that stands still, seconds or [hours:]minutes:seconds.
        #[arg(long, value_name = "TIME", value_parser = time, requires = "to", requires = "place")]
        from: Option<Pts>,
        /// Its last moment.
        #[arg(long, value_name = "TIME", value_parser = time, requires = "from")]
        to: Option<Pts>,
        /// Where it stands, px of the upright picture.
        #[arg(long = "box", value_name = "LEFT,TOP,RIGHT,BOTTOM", value_parser = place, requires = "from", conflicts_with = "keys")]
        place: Option<BoxPx>,
        /// What shall become of it.
        #[arg(long, value_parser = decisions(), default_value = "anonymise")]
        decision: Decision,
    },
    /// Take out a track that is no face: nothing is covered for it any more.
    Drop {
        #[command(flatten)]
        edit: Edit,
        /// Its number.
        #[arg(value_name = "TRACK")]
        id: u64,
    },
    /// Make two tracks one.
    Merge {
        #[command(flatten)]
        edit: Edit,
        /// The track that stays.
        #[arg(value_name = "TRACK")]
        into: u64,
        /// The track that becomes part of it.
        #[arg(value_name = "OTHER")]
        other: u64,
    },
    /// Part a track at a time: from there on it is a track of its own.
    Split {
        #[command(flatten)]
        edit: Edit,
        /// Its number.
        #[arg(value_name = "TRACK")]
        id: u64,
        /// When, seconds or [hours:]minutes:seconds.
        #[arg(long, value_name = "TIME", value_parser = time)]
        at: Pts,
    },
    /// Say what shall become of a track.
    Decide {
        #[command(flatten)]
        edit: Edit,
        /// Its number.
        #[arg(value_name = "TRACK")]
        id: u64,
        /// Treated as the mode says, left as it is where it was seen, or filled with one colour.
        #[arg(value_name = "DECISION", value_parser = decisions())]
        decision: Decision,
    },
}

/// The file that is edited.
#[derive(Debug, clap::Args)]
pub(super) struct Edit {
    /// Track file; it is replaced in one step.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Write the result here and leave FILE as it is.
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: Option<PathBuf>,
    /// Replace OUT where it exists.
    #[arg(short, long, requires = "output")]
    pub(super) force: bool,
}

/// A first pass alone.
#[derive(Debug, clap::Args)]
pub(super) struct Find {
    /// Film to look through.
    #[arg(value_name = "FILM")]
    input: PathBuf,
    /// Track file to write.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// Replace a file that exists.
    #[arg(short, long)]
    pub(super) force: bool,
    /// Say nothing but errors.
    #[arg(short, long)]
    quiet: bool,
    /// Options of `nullface anonymize` that concern finding faces and who they are.
    #[arg(last = true, value_name = "OPTION", allow_hyphen_values = true)]
    options: Vec<String>,
}

#[derive(Debug, Parser)]
#[command(name = "nullface tracks find … --", no_binary_name = true)]
struct OneFilm {
    #[command(flatten)]
    args: anonymize::Args,
}

impl Find {
    /// The same as a command line of `nullface anonymize`; its output is never made.
    pub(super) fn asked(&self) -> anonymize::Args {
        let mut words: Vec<std::ffi::OsString> = vec![self.input.clone().into(), "-o".into(), self.output.clone().into()];
        words.push("--two-pass".into());
        words.extend(self.quiet.then(|| "--quiet".into()));
        words.extend(self.options.iter().map(Into::into));
        OneFilm::try_parse_from(words).unwrap_or_else(|e| e.exit()).args
    }
}

fn decisions() -> impl clap::builder::TypedValueParser<Value = Decision> {
    anonymize::words(Decision::ALL, Decision::word)
}

/// Seconds, or [hours:]minutes:seconds.
fn time(text: &str) -> Result<Pts, String> {
    let wrong = || format!("`{text}` is no time: give seconds, or [hours:]minutes:seconds");
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    for part in parts {
        let number: f64 = part.trim().parse().map_err(|_| wrong())?;
        if !(0.0..=1.0e6).contains(&number) {
            return Err(wrong());
        }
        seconds = seconds * 60.0 + number;
    }
    Ok(Pts::from_seconds(seconds))
}

fn place(text: &str) -> Result<BoxPx, String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|n| n.trim().parse::<f32>()).collect();
    match numbers.as_deref() {
        Ok([x0, y0, x1, y1]) => Ok(BoxPx {
            x0: *x0,
            y0: *y0,
            x1: *x1,
            y1: *y1,
        }),
        _ => Err(format!(
            "`{text}` is no box: give left, top, right and bottom in px, with commas between"
        )),
    }
}

fn key(text: &str) -> Result<Key, String> {
    let (at, at_place) = text
        .split_once('@')
        .ok_or_else(|| format!("`{text}` is no key: give TIME@LEFT,TOP,RIGHT,BOTTOM"))?;
    Ok(Key {
        at: time(at)?,
        box_px: place(at_place)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{key, place, time};

    #[test]
    fn times_and_boxes_as_people_write_them() {
        for (text, ns) in [("1.5", 1_500_000_000), ("1:02", 62_000_000_000), ("1:00:00.25", 3_600_250_000_000)] {
            assert_eq!(time(text).expect("a time").0, ns);
        }
        assert_eq!(key("0:01@1,2,3,4.5").expect("a key").box_px.y1, 4.5);
        for text in ["", "a", "-1", "1:2:3:4", "1e9", "NaN"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(place("1,2,3").is_err() && key("1,2,3,4").is_err());
    }
}
