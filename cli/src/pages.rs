//! Man pages and shell completions, made from the flags themselves, so that they cannot disagree
//! with them. For packagers; `scripts/install.sh` puts them where they belong.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;

use crate::exit::{Exit, refuse};
use crate::target::WRITABLE;

/// Write completions for a shell to standard output.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

/// Write the man pages of all subcommands into a folder.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Folder that takes them; it must exist.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// Writes completions.
pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> Exit {
    clap_complete::generate(args.shell, &mut command, "nullface", &mut std::io::stdout());
    Exit::Done
}

/// Writes one page for the command and one for each subcommand.
pub(crate) fn man(args: &ManArgs, command: Command) -> Result<Exit> {
    if !args.output.is_dir() {
        return Err(refuse(&args.output, "there is no such folder", WRITABLE));
    }
    clap_mangen::generate_to(command, &args.output).with_context(|| format!("{}: pages cannot be written", args.output.display()))?;
    Ok(Exit::Done)
}
