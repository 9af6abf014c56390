//! The command line of `nullface review`.

use std::path::PathBuf;

use clap::Parser;

use crate::anonymize;

/// Go through a film's tracks on a page in the browser, then render it.
///
/// The page is on this machine's loopback address and shows the source: who opens the printed address sees faces.
/// The address serves once. Nothing of the picture is written but the output.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Args {
    /// Film to go through.
    #[arg(value_name = "FILM")]
    pub(super) input: PathBuf,
    /// Film to write when the page is told to render.
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: PathBuf,
    /// Track file to go through. One that does not exist is made by a first pass. Beside the output when left out.
    #[arg(long, value_name = "FILE.tracks.jsonl")]
    tracks: Option<PathBuf>,
    /// Port of the page; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(super) port: u16,
    /// Open the page in the desktop's browser.
    #[arg(long)]
    pub(super) open: bool,
    /// Replace an output that exists.
    #[arg(short, long)]
    pub(super) force: bool,
    /// Say nothing but errors and the page's address.
    #[arg(short, long)]
    quiet: bool,
    /// Options of `nullface anonymize`, for finding faces and for rendering.
    #[arg(last = true, value_name = "OPTION", allow_hyphen_values = true)]
    options: Vec<String>,
}

#[derive(Debug, Parser)]
#[command(name = "nullface review … --", no_binary_name = true)]
struct OneFilm {
    #[command(flatten)]
    args: anonymize::Args,
}

impl Args {
    /// The track file.
    pub(super) fn tracks(&self) -> PathBuf {
        self.tracks.clone().unwrap_or_else(|| anonymize::beside(&self.output))
    }

    /// The first pass, as a command line of `nullface anonymize`.
    pub(super) fn finding(&self) -> anonymize::Args {
        self.parsed(&["--two-pass".into()])
    }

    /// The rendering, as a command line of `nullface anonymize`; `again` where the output is of this review and may
    /// be replaced.
    pub(super) fn rendering(&self, again: bool) -> anonymize::Args {
        let mut args = self.parsed(&["--from-tracks".into(), self.tracks().into()]);
        args.force = self.force || again;
        // Photos are for the first pass; from then on the track file says who is who.
        args.only.clear();
        args.except.clear();
        args
    }

    fn parsed(&self, more: &[std::ffi::OsString]) -> anonymize::Args {
        let mut words: Vec<std::ffi::OsString> = vec![self.input.clone().into(), "-o".into(), self.output.clone().into()];
        words.extend(self.quiet.then(|| "--quiet".into()));
        words.extend_from_slice(more);
        words.extend(self.options.iter().map(Into::into));
        OneFilm::try_parse_from(words).unwrap_or_else(|e| e.exit()).args
    }

    /// The first word by which the options say who is anonymised.
    pub(super) fn choice(&self) -> Option<PathBuf> {
        let args = self.parsed(&[]);
        args.only.into_iter().chain(args.except).next()
    }
}
