//! `nullface audit`: checks a report of a run, and signs it while it is written.

mod sign;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nullface::audit::{Checked, check};
use serde_json::Value;

pub(crate) use sign::Signer;

use crate::exit::{Exit, refuse};
use crate::hash::sha256;

/// Longest trail read, bytes.
const MAX_BYTES: u64 = 1 << 30;

/// Check the audit trail that `nullface anonymize --report`, `nullface live --audit` or the element wrote.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Verify(Verify),
}

/// Check that no line of a trail was changed, and whose signature is on it.
///
/// Ends with code 1 at the first line that does not follow from those before it, at a signature that does not
/// fit, or at a film with another hash; with code 3 where the trail names uncovered times.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::TABLE)]
struct Verify {
    /// Trail.
    #[arg(value_name = "TRAIL.jsonl")]
    trail: PathBuf,
    /// The key that must have signed it: 64 hexadecimal digits, or a PEM file of the public key.
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
    /// Film that went in: its hash must be the trail's.
    #[arg(long, value_name = "IN")]
    source: Option<PathBuf>,
    /// Film that came out: its hash must be the trail's.
    #[arg(long, value_name = "OUT")]
    output: Option<PathBuf>,
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    match &args.command {
        Command::Verify(args) => verify(args),
    }
}

fn verify(args: &Verify) -> Result<Exit> {
    let path = &args.trail;
    let checked = read(path)?;
    let mut said = format!("{}: {} records, chain whole", path.display(), checked.records);
    match (&checked.signature, &args.public_key) {
        (Some(record), key) => {
            let wanted = key.as_deref().map(sign::public_key).transpose()?;
            let by = sign::verify(record, &checked.last, wanted.as_ref())
                .map_err(|why| refuse(path, why, "get the trail from whoever signed it, and their public key"))?;
            write!(said, ", signed by {by}")?;
            if wanted.is_none() {
                said += " (whose key that is, only --public-key can tell)";
            }
        }
        (None, Some(_)) => return Err(refuse(path, "it is not signed", "leave --public-key out, or get the signed trail")),
        (None, None) => said += ", not signed: the chain guards against accidents only",
    }
    for (film, said_hash) in [
        (&args.source, &checked.header["input"]["sha256"]),
        (&args.output, &checked.footer["output_sha256"]),
    ] {
        if let Some(film) = film {
            same_hash(path, film, said_hash)?;
            write!(said, ", {} is its film", film.display())?;
        }
    }
    let uncovered = checked.footer["uncovered"].as_array().map_or(0, Vec::len);
    let unaccounted = checked.footer["frames_unaccounted"].as_u64().unwrap_or(0);
    if uncovered > 0 || unaccounted > 0 {
        write!(
            said,
            "; UNCOVERED: {uncovered} times, {unaccounted} frames that nobody answered for"
        )?;
    }
    writeln!(std::io::stdout(), "{said}")?;
    Ok(if uncovered > 0 || unaccounted > 0 {
        Exit::CoveredBeyondLimit
    } else {
        Exit::Done
    })
}

/// A trail whose chain holds.
///
/// # Errors
/// It cannot be read, or names the line that was changed.
pub(crate) fn read(path: &Path) -> Result<Checked> {
    const REMEDY: &str = "get the trail as the run wrote it";
    let unreadable = |e: std::io::Error| {
        refuse(
            path,
            format!("it cannot be read: {e}"),
            "give the file that `nullface anonymize --report` or `nullface live --audit` wrote",
        )
    };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > MAX_BYTES {
        return Err(refuse(path, format!("it is larger than {MAX_BYTES} bytes"), REMEDY));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    check(text.lines()).map_err(|e| refuse(path, e.to_string(), REMEDY))
}

fn same_hash(trail: &Path, film: &Path, said: &Value) -> Result<()> {
    let is = sha256(film)?;
    match said.as_str() {
        Some(said) if said == is => Ok(()),
        said => Err(refuse(
            film,
            format!("its sha256 is {is}, that in {} is {}", trail.display(), said.unwrap_or("none")),
            "give the film of this trail",
        )),
    }
}
