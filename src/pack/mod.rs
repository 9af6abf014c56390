//! Model packs: a folder with `pack.toml` and the files it names. The engine knows a pack only by that
//! file.
//!
//! Reading is strict, because a pack comes from outside: `pack.toml` is at most [`MAX_MANIFEST_BYTES`];
//! unknown keys are errors; every size and count is bounded before anything is allocated; every file
//! lies inside the folder, has the stated length and SHA-256, and the networks' names, shapes and
//! dtypes are compared once a session knows them ([`Pack::check_signature`]). What does not fit is
//! refused with the field's name.
//!
//! Limits: hashes are checked when the pack is opened and when [`Pack::verify`] is called; sessions
//! must be made from [`Pack::read`], which hashes what it returns, so that a file swapped in between
//! is never run.

mod check;
mod error;
mod manifest;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use check::{MAX_CHANNELS, MAX_CROP_PX, MAX_FILE_BYTES, MAX_FILES, MAX_NAME, MAX_TEXT, MAX_VECTOR, MAX_WORDS};
pub use error::PackError;
pub use manifest::{
    AttributeSpec, AttributesSpec, BasisSpec, CropSpec, DenoiserInputs, DenoiserSpec, Dim, Dtype, FileSpec, IdentitySpec, IdentityVaeSpec,
    Interface, LatentKind, LatentSpec, Manifest, NullIdentity, Precision, Template, TensorSpec,
};

use crate::stages::denoise::{DiffusionMode, ModeSettings, RowShape, Schedule};
use error::field;

/// Name of the manifest in a pack's folder.
pub const MANIFEST: &str = "pack.toml";

/// Largest manifest, bytes.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// A checked pack.
#[derive(Debug, Clone)]
pub struct Pack {
    folder: PathBuf,
    manifest: Manifest,
    schedule: Schedule,
}

/// A tensor as a session reports it; −1 is a free side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSeen {
    /// Name.
    pub name: String,
    /// Sides.
    pub shape: Vec<i64>,
    /// Type of values.
    pub dtype: Dtype,
}

/// Attributes that were asked for, as the denoiser wants them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Asked {
    /// Attribute vector, where a word gave one.
    pub vector: Option<Vec<f32>>,
    /// Text tokens, where a word gave some.
    pub text: Option<Vec<f32>>,
}

impl Pack {
    /// Reads, checks and verifies a pack.
    ///
    /// # Errors
    /// [`PackError`] names the field or file.
    pub fn open(folder: &Path) -> Result<Self, PackError> {
        let path = folder.join(MANIFEST);
        let text = String::from_utf8(read_bounded(&path, MAX_MANIFEST_BYTES)?).map_err(|e| PackError::Parse {
            path: path.clone(),
            why: e.to_string(),
        })?;
        let (manifest, schedule) = Self::parse(&text).map_err(|e| match e {
            PackError::Parse { why, .. } => PackError::Parse { path, why },
            other => other,
        })?;
        let pack = Self {
            folder: folder.to_owned(),
            manifest,
            schedule,
        };
        pack.verify()?;
        Ok(pack)
    }

    /// Parses and checks a manifest without looking at files.
    ///
    /// # Errors
    /// [`PackError`] names the key or field.
    pub fn parse(text: &str) -> Result<(Manifest, Schedule), PackError> {
        let manifest: Manifest = toml::from_str(text).map_err(|e| PackError::Parse {
            path: MANIFEST.into(),
            why: e.to_string().trim_end().to_owned(),
        })?;
        let schedule = check::check(&manifest)?;
        Ok((manifest, schedule))
    }

    /// Checks length and hash of every file.
    ///
    /// # Errors
    /// The first file that is missing or another one.
    pub fn verify(&self) -> Result<(), PackError> {
        for (name, file) in &self.manifest.files {
            let path = self.inside(name, file)?;
            let io = |source| PackError::Io {
                path: path.clone(),
                source,
            };
            let mut reader = File::open(&path).map_err(io)?;
            self.check_length(name, file, reader.metadata().map_err(io)?.len())?;
            let mut hash = Sha256::new();
            std::io::copy(&mut reader, &mut hash).map_err(io)?;
            check_hash(name, file, &hash.finalize())?;
        }
        Ok(())
    }

    /// Bytes of a file by its name in the manifest, hashed as they were read.
    ///
    /// # Errors
    /// An unknown name, a file that is missing or another one.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, PackError> {
        let file = self.file(name)?;
        let path = self.inside(name, file)?;
        let bytes = read_bounded(&path, file.bytes.unwrap_or(MAX_FILE_BYTES))?;
        self.check_length(name, file, bytes.len() as u64)?;
        check_hash(name, file, &Sha256::digest(&bytes))?;
        Ok(bytes)
    }

    /// Compares a session's inputs and outputs with the manifest's.
    ///
    /// # Errors
    /// The tensor that is missing, surplus or of another shape or dtype.
    pub fn check_signature(&self, name: &str, inputs: &[TensorSeen], outputs: &[TensorSeen]) -> Result<(), PackError> {
        let file = self.file(name)?;
        for (side, stated, seen) in [("inputs", &file.inputs, inputs), ("outputs", &file.outputs, outputs)] {
            field(
                format!("files.{name}.{side}"),
                stated.len() == seen.len(),
                format!("the network's {} tensors", seen.len()),
                stated.len(),
            )?;
            for t in seen {
                let at = format!("files.{name}.{side}.{}", t.name);
                let known = stated.iter().find(|s| s.name == t.name);
                field(at.as_str(), known.is_some(), "an entry for this tensor of the network", "none")?;
                let Some(known) = known else { continue };
                field(
                    format!("{at}.dtype"),
                    known.dtype == t.dtype,
                    format!("{:?} as in the network", t.dtype),
                    format!("{:?}", known.dtype),
                )?;
                let fits = known.shape.len() == t.shape.len()
                    && known.shape.iter().zip(&t.shape).all(|(s, n)| match s {
                        Dim::Fixed(s) => i64::from(*s) == *n,
                        // Shape inference may narrow what the file leaves open, but never the batch.
                        Dim::Free(name) => *n < 0 || name != "n",
                    });
                field(
                    format!("{at}.shape"),
                    fits,
                    format!("{:?} as in the network", t.shape),
                    check::shape_text(&known.shape),
                )?;
            }
        }
        Ok(())
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The checked schedule.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The pack's settings of a mode, or the built-in ones.
    #[must_use]
    pub fn settings(&self, mode: DiffusionMode) -> ModeSettings {
        self.manifest
            .defaults
            .get(&mode)
            .copied()
            .unwrap_or_else(|| ModeSettings::builtin(mode))
    }

    /// Lengths of a denoiser's row.
    #[must_use]
    pub fn row_shape(&self) -> RowShape {
        let (m, side) = (&self.manifest, (self.manifest.crop.size_px / self.manifest.latent.factor) as usize);
        RowShape {
            channels: m.latent.channels as usize,
            height: side,
            width: side,
            identity: m.identity.dimension as usize,
            attributes: if m.denoiser.inputs.attributes.is_some() {
                m.attributes.as_ref().map_or(0, |a| a.length as usize)
            } else {
                0
            },
            text: m.denoiser.text_len as usize,
            prior: m.denoiser.inputs.prior.is_some(),
        }
    }

    /// Tokens of the empty text; empty with `adaln`.
    ///
    /// # Errors
    /// A file of another length.
    pub fn empty_text(&self) -> Result<Vec<f32>, PackError> {
        self.manifest
            .denoiser
            .empty_text
            .as_deref()
            .map_or(Ok(Vec::new()), |name| self.tokens(name))
    }

    /// Looks up words (`age=70`, `sex=female`). A number that the vocabulary lacks takes the nearest
    /// number under the same name. Several words that stand for texts are one text where the vocabulary
    /// has them joined (`age=70,sex=female`, in alphabetical order).
    ///
    /// # Errors
    /// A word that the vocabulary has nothing for, with the words it has; texts that are not joined there.
    pub fn attributes<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<Asked, PackError> {
        let mut asked = Asked::default();
        let empty = std::collections::BTreeMap::new();
        let (vocabulary, length) = self
            .manifest
            .attributes
            .as_ref()
            .map_or((&empty, 0), |a| (&a.vocabulary, a.length as usize));
        let mut texts: Vec<(&str, &str)> = Vec::new();
        for word in words {
            let (known, spec) = vocabulary
                .get_key_value(word)
                .or_else(|| nearest(vocabulary, word))
                .ok_or_else(|| PackError::Field {
                    field: "attributes".into(),
                    expected: if vocabulary.is_empty() {
                        "nothing: this pack has no attributes".into()
                    } else {
                        format!("one of {}", vocabulary.keys().cloned().collect::<Vec<_>>().join(", "))
                    },
                    got: format!("`{word}`"),
                })?;
            match spec {
                AttributeSpec::Index(i) => {
                    if let Some(v) = asked.vector.get_or_insert_with(|| vec![0.0; length]).get_mut(*i as usize) {
                        *v = 1.0;
                    }
                }
                AttributeSpec::Vector(add) => {
                    for (v, a) in asked.vector.get_or_insert_with(|| vec![0.0; length]).iter_mut().zip(add) {
                        *v += a;
                    }
                }
                AttributeSpec::Tokens(file) => texts.push((known, file)),
            }
        }
        texts.sort_unstable();
        texts.dedup();
        asked.text = match texts[..] {
            [] => None,
            [(_, file)] => Some(self.tokens(file)?),
            _ => {
                let joined = texts.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(",");
                match vocabulary.get(&joined) {
                    Some(AttributeSpec::Tokens(file)) => Some(self.tokens(file)?),
                    _ => {
                        return Err(PackError::Field {
                            field: "attributes".into(),
                            expected: "one text, or several that the pack has joined".into(),
                            got: format!("`{joined}`"),
                        });
                    }
                }
            }
        };
        Ok(asked)
    }

    fn tokens(&self, name: &str) -> Result<Vec<f32>, PackError> {
        let bytes = self.read(name)?;
        let expected = self.manifest.denoiser.text_len as usize * 4;
        field(
            format!("files.{name}"),
            bytes.len() == expected,
            format!("{expected} bytes of f32"),
            bytes.len(),
        )?;
        let tokens: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        field(
            format!("files.{name}"),
            tokens.iter().all(|v| v.is_finite()),
            "finite tokens",
            "others",
        )?;
        Ok(tokens)
    }

    fn file(&self, name: &str) -> Result<&FileSpec, PackError> {
        self.manifest.files.get(name).ok_or_else(|| PackError::Field {
            field: "files".into(),
            expected: "a name of the manifest".into(),
            got: format!("`{name}`"),
        })
    }

    /// The file's path with links resolved; refused where it leaves the folder.
    fn inside(&self, name: &str, file: &FileSpec) -> Result<PathBuf, PackError> {
        let real = |p: &Path| {
            p.canonicalize().map_err(|source| PackError::Io {
                path: p.to_owned(),
                source,
            })
        };
        let (folder, path) = (real(&self.folder)?, real(&self.folder.join(&file.path))?);
        field(
            format!("files.{name}.path"),
            path.starts_with(&folder),
            "a path inside the pack",
            format!("`{}`", file.path),
        )?;
        Ok(path)
    }

    fn check_length(&self, name: &str, file: &FileSpec, got: u64) -> Result<(), PackError> {
        let at = format!("files.{name}.bytes");
        match file.bytes {
            Some(bytes) => field(at, got == bytes, format!("a file of {bytes} bytes"), got),
            None => field(at, got <= MAX_FILE_BYTES, format!("at most {MAX_FILE_BYTES}"), got),
        }
    }
}

fn check_hash(name: &str, file: &FileSpec, digest: &[u8]) -> Result<(), PackError> {
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    field(format!("files.{name}.sha256"), hex == file.sha256, &file.sha256, hex)
}

fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, PackError> {
    let io = |source| PackError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    field(
        path.display().to_string(),
        length <= limit,
        format!("at most {limit} bytes"),
        length,
    )?;
    let mut bytes = Vec::new();
    // One byte more than allowed is read, so that a file that grows meanwhile is seen.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    field(
        path.display().to_string(),
        bytes.len() as u64 <= limit,
        format!("at most {limit} bytes"),
        bytes.len(),
    )?;
    Ok(bytes)
}

/// The word with the same name and the nearest number.
fn nearest<'a>(vocabulary: &'a std::collections::BTreeMap<String, AttributeSpec>, word: &str) -> Option<(&'a String, &'a AttributeSpec)> {
    let (name, value) = word.split_once('=')?;
    let value: f64 = value.parse().ok().filter(|v: &f64| v.is_finite())?;
    vocabulary
        .iter()
        .filter_map(|(key, spec)| {
            let (n, v) = key.split_once('=')?;
            let distance = (v.parse::<f64>().ok()? - value).abs();
            (n == name).then_some((distance, (key, spec)))
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, found)| found)
}

#[cfg(test)]
mod tests;
