//! `nullface models`: which networks are there, whether they are what they should be, and adding some. The
//! held-out ones only measure: the filter runs without them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nullface::backend::{Backend, BackendConfig, DeviceRequest, ModelEntry, find_eval_models_dir, find_models_dir, user_eval_models_dir};
use nullface::eval::judge;
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use crate::exit::{Exit, refuse};
use crate::hash::hex;

/// Largest network added, bytes.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// List, check or add networks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    /// Folder of the held-out models; searched for when left out.
    #[arg(long, value_name = "DIR", global = true)]
    eval_models_dir: Option<PathBuf>,
    /// Folder of the small models; searched for when left out.
    #[arg(long, value_name = "DIR", global = true)]
    models_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show every network: name, role, size, what it is for.
    List,
    /// Check every file against its manifest and load it; code 1 where one does not fit.
    Verify,
    /// Add held-out networks: a folder with a manifest, or one ONNX file with its entry.
    ///
    /// An entry is the `[[model]]` of a manifest in a file of its own, as in models/eval/manifest.toml of the
    /// repository; hash, size and file name are filled in. A recogniser whose dimension is not the entry's is
    /// refused. Thresholds come from `nullface eval calibrate`.
    Add {
        /// Folder or ONNX file.
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// Entry of the ONNX file.
        #[arg(long, value_name = "ENTRY.toml")]
        entry: Option<PathBuf>,
    },
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    match &args.command {
        Command::List => list(args, false),
        Command::Verify => list(args, true),
        Command::Add { path, entry } => add(args, path, entry.as_deref()),
    }
}

fn open(folder: &Path) -> Result<Backend> {
    Ok(Backend::open(&BackendConfig {
        models_dir: Some(folder.to_owned()),
        device: DeviceRequest::Cpu,
        ..BackendConfig::default()
    })?)
}

fn list(args: &Args, verify: bool) -> Result<Exit> {
    let mut out = std::io::stdout().lock();
    let mut bad = 0;
    let folders = [
        ("filter", find_models_dir(args.models_dir.as_deref())),
        ("held out", find_eval_models_dir(args.eval_models_dir.as_deref())),
    ];
    for (what, folder) in folders {
        let folder = match folder {
            Ok(folder) => folder,
            Err(e) => {
                writeln!(out, "{what}: {e}")?;
                bad += usize::from(what == "filter");
                continue;
            }
        };
        writeln!(out, "{what}: {}", folder.display())?;
        let backend = open(&folder)?;
        for entry in backend.models().entries() {
            let state = if verify { state(&backend, entry) } else { Ok(String::new()) };
            bad += usize::from(state.is_err());
            let state = state.unwrap_or_else(|e| format!("NOT GOOD: {e:#}"));
            writeln!(
                out,
                "  {:<22} {:<12} {:>9} bytes  {} {state}",
                entry.name, entry.role, entry.bytes, entry.licence
            )?;
        }
    }
    Ok(if bad == 0 { Exit::Done } else { Exit::Failed })
}

/// Loads a network as whoever uses it does.
fn state(backend: &Backend, entry: &ModelEntry) -> Result<String> {
    if entry.role == "recogniser" {
        judge::recogniser(backend, &entry.name)?;
    } else {
        backend.session(&entry.name)?;
    }
    Ok("good".to_owned())
}

fn add(args: &Args, path: &Path, entry: Option<&Path>) -> Result<Exit> {
    let target = args
        .eval_models_dir
        .clone()
        .or_else(user_eval_models_dir)
        .context("no folder for models: give --eval-models-dir")?;
    let added = match (path.is_dir(), entry) {
        (true, None) => from_folder(path)?,
        (false, Some(entry)) => vec![from_file(path, entry)?],
        (true, Some(_)) => {
            return Err(refuse(
                path,
                "it is a folder, which has a manifest of its own",
                "leave --entry out, or give an ONNX file",
            ));
        }
        (false, None) => {
            return Err(refuse(
                path,
                "an ONNX file needs an entry that says what it is",
                "give --entry ENTRY.toml",
            ));
        }
    };
    let names = install(&target, added)?;
    writeln!(std::io::stdout(), "{}: {}", target.display(), names.join(", "))?;
    let used = find_eval_models_dir(args.eval_models_dir.as_deref())?;
    if used.canonicalize().ok() != target.canonicalize().ok() {
        writeln!(
            std::io::stdout(),
            "{} comes first: name the other with --eval-models-dir or NULLFACE_EVAL_MODELS",
            used.display()
        )?;
    }
    Ok(Exit::Done)
}

/// A network to be added: its entry and its files by name.
struct Added {
    entry: Table,
    files: Vec<(String, Vec<u8>)>,
}

fn from_folder(folder: &Path) -> Result<Vec<Added>> {
    let backend = open(folder)?;
    let text = std::fs::read_to_string(folder.join("manifest.toml")).with_context(|| folder.display().to_string())?;
    let tables = entries(&text, &folder.join("manifest.toml"))?;
    let models = backend.models();
    let mut all = Vec::new();
    for (entry, table) in models.entries().iter().zip(tables) {
        let (_, bytes) = models.read(&entry.name)?;
        let plain = Path::new(&entry.licence_file)
            .components()
            .all(|c| matches!(c, std::path::Component::Normal(_)));
        if !plain {
            return Err(refuse(
                folder,
                format!("model {}: licence_file leaves the folder", entry.name),
                "correct its manifest",
            ));
        }
        let licence = std::fs::read(folder.join(&entry.licence_file)).unwrap_or_default();
        all.push(Added {
            entry: table,
            files: vec![(entry.file.clone(), bytes), (entry.licence_file.clone(), licence)],
        });
    }
    Ok(all)
}

fn from_file(path: &Path, entry: &Path) -> Result<Added> {
    let unreadable = |p: &Path, e: std::io::Error| refuse(p, format!("it cannot be read: {e}"), "give a file that can be read");
    if std::fs::metadata(path).map_err(|e| unreadable(path, e))?.len() > MAX_BYTES {
        return Err(refuse(
            path,
            format!("it is larger than {MAX_BYTES} bytes"),
            "give a smaller network",
        ));
    }
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, e))?;
    let text = std::fs::read_to_string(entry).map_err(|e| unreadable(entry, e))?;
    let mut tables = entries(&text, entry)?;
    let (Some(mut table), true) = (tables.pop(), tables.is_empty()) else {
        return Err(refuse(
            entry,
            "it does not hold exactly one [[model]]",
            "give the entry of this one network",
        ));
    };
    let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let digest = hex(&Sha256::digest(&bytes));
    for (field, value) in [
        ("file", Value::from(file.clone())),
        ("sha256", Value::from(digest.clone())),
        ("source_sha256", Value::from(digest)),
        ("bytes", Value::from(i64::try_from(bytes.len())?)),
    ] {
        table.insert(field.to_owned(), value);
    }
    for (field, value) in [
        ("licence", Value::from("unknown")),
        ("licence_file", Value::from("")),
        ("source", Value::from("added by hand")),
        ("converted_by", Value::from("")),
        ("opset", Value::from(0)),
        ("held_out", Value::from(true)),
    ] {
        table.entry(field).or_insert(value);
    }
    Ok(Added {
        entry: table,
        files: vec![(file, bytes)],
    })
}

/// The `[[model]]` tables of a manifest.
fn entries(text: &str, path: &Path) -> Result<Vec<Table>> {
    let wrong = |why: String| refuse(path, why, "see models/eval/manifest.toml of the repository for the form");
    let table: Table = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
    let list = table
        .get("model")
        .and_then(Value::as_array)
        .ok_or_else(|| wrong("it has no [[model]]".to_owned()))?;
    list.iter()
        .map(|v| v.as_table().cloned().ok_or_else(|| wrong("a model that is no table".to_owned())))
        .collect()
}

/// Writes models beside those of a folder; a name that is there is replaced. All is tried in a folder of its own
/// first, so that a network that does not fit changes nothing.
fn install(target: &Path, added: Vec<Added>) -> Result<Vec<String>> {
    let unwritable = |e: std::io::Error| refuse(target, format!("it cannot be written: {e}"), crate::target::WRITABLE);
    std::fs::create_dir_all(target).map_err(unwritable)?;
    let trial = tempfile::tempdir_in(target).map_err(unwritable)?;
    let manifest = target.join("manifest.toml");
    let mut all = match std::fs::read_to_string(&manifest) {
        Ok(text) => entries(&text, &manifest)?,
        Err(_) => Vec::new(),
    };
    let name_of = |t: &Table| t.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let names: Vec<String> = added.iter().map(|a| name_of(&a.entry)).collect();
    all.retain(|t| !names.contains(&name_of(t)));
    let mut fresh = Table::new();
    fresh.insert("schema".to_owned(), Value::from(1));
    let own: Vec<Value> = added.iter().map(|a| Value::Table(a.entry.clone())).collect();
    fresh.insert("model".to_owned(), Value::Array(own.clone()));
    std::fs::write(trial.path().join("manifest.toml"), toml::to_string(&fresh)?).map_err(unwritable)?;
    for (file, bytes) in added.iter().flat_map(|a| &a.files).filter(|(f, _)| !f.is_empty()) {
        let path = trial.path().join(file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unwritable)?;
        }
        std::fs::write(&path, bytes).map_err(unwritable)?;
    }
    let backend = open(trial.path())?;
    for entry in backend.models().entries() {
        state(&backend, entry)?;
    }
    for (file, _) in added.iter().flat_map(|a| &a.files).filter(|(f, _)| !f.is_empty()) {
        let path = target.join(file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unwritable)?;
        }
        std::fs::rename(trial.path().join(file), &path).map_err(unwritable)?;
    }
    all.extend(added.into_iter().map(|a| a.entry));
    fresh.insert("model".to_owned(), Value::Array(all.into_iter().map(Value::Table).collect()));
    let text = trial.path().join("all.toml");
    std::fs::write(&text, toml::to_string(&fresh)?).map_err(unwritable)?;
    std::fs::rename(&text, &manifest).map_err(unwritable)?;
    Ok(names)
}
