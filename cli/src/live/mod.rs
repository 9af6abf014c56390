//! `nullface live`: a live picture in, a live picture without faces out.
//!
//! The session is three kinds of pipelines that meet in the [`hub`]: one source, one filter, any
//! number of outputs. [`session`] starts them, starts them again, and ends them.

mod args;
mod backoff;
mod board;
mod filter;
mod hub;
mod monitor;
mod outlet;
mod place;
mod rtsp;
mod session;
mod source;
mod timeline;
mod voice;

use anyhow::Result;

pub(crate) use args::Args;

use crate::exit::Exit;

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    let stop = crate::anonymize::stop_signals()?;
    for sink in &args.sink {
        outlet::check(sink, args.force)?;
    }
    if let Some(audit) = &args.audit {
        outlet::check_file(audit, args.force)?;
    }
    session::Session::open(args)?.run(&stop)
}
