//! What a run ends as: the exit codes that scripts rely on, and the one sentence an error is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How a run ended. The numbers are part of the interface: `--help` and the README list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// Nothing stands under the final name.
    Failed = 1,
    /// Done, but more regions than allowed were covered otherwise than asked, or times are uncovered.
    CoveredBeyondLimit = 3,
    /// Stopped by Ctrl-C or SIGTERM: nothing stands under the final name.
    Interrupted = 130,
}

/// The table of the help pages. Code 2 is clap's own for a wrong command line.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    done
  1    failed; nothing stands under the final name
  2    wrong command line
  3    done, but more faces than --max-fallback-share allows were covered otherwise than asked,
       or frames left that the audit trail does not answer for
  130  stopped by Ctrl-C or SIGTERM; nothing stands under the final name";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error for people: which file, what is the matter, what to do about it.
#[derive(Debug)]
pub(crate) struct Refusal {
    file: PathBuf,
    cause: String,
    remedy: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.file.display(), one_line(&self.cause), one_line(&self.remedy))
    }
}

impl std::error::Error for Refusal {}

/// Makes a [`Refusal`].
pub(crate) fn refuse(file: &Path, cause: impl Into<String>, remedy: impl Into<String>) -> anyhow::Error {
    Refusal {
        file: file.to_owned(),
        cause: cause.into(),
        remedy: remedy.into(),
    }
    .into()
}

/// Causes come from libraries, some of which write paragraphs.
pub(crate) fn one_line(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.trim_end_matches(['.', ';', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{one_line, refuse};
    use std::path::Path;

    #[test]
    fn a_refusal_is_one_sentence_with_file_cause_and_remedy() {
        let error = refuse(Path::new("a/b.mp4"), "it has\n  no video.", "give a film");
        assert_eq!(error.to_string(), "a/b.mp4: it has no video; give a film");
    }

    #[test]
    fn lines_are_joined_and_closing_dots_dropped() {
        assert_eq!(one_line("  two\nlines. "), "two lines");
    }
}
