//! The folder of small models: `manifest.toml` says of each file its hash, its size, what goes in and
//! what comes out, and nothing is run that differs from it.
//!
//! Parsed strictly: an unknown key is an error, every size is bounded before anything is allocated,
//! file names cannot leave the folder. Bytes are read once, verified, and those same bytes are given
//! to the runtime, so a file cannot be exchanged between check and use.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::BackendError;

/// Layout of the manifest that this code reads.
const SCHEMA: u32 = 1;
/// Longest manifest read, bytes.
const MAX_MANIFEST_BYTES: u64 = 256 * 1024;
/// Largest model read, bytes: the small models are below 10 MB.
const MAX_MODEL_BYTES: u64 = 256 * 1024 * 1024;
/// Largest distance of two embeddings that a threshold may be.
const MAX_DISTANCE: f32 = 1e4;
/// Most models, and most inputs or outputs of one.
const MAX_ENTRIES: usize = 64;
/// Largest size of one dimension, and most dimensions.
const MAX_DIM: i64 = 1 << 20;
const MAX_RANK: usize = 8;
/// What to do about a file that does not match.
const REMEDY: &str = "restore the file from the release or the repository";

/// One input or output of a network. A dimension of −1 is free.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// Name in the graph.
    pub name: String,
    /// Element type, in ONNX's words: `float32`.
    pub dtype: String,
    /// Shape.
    pub shape: Vec<i64>,
    /// `NCHW` or `NHWC`, for images.
    #[serde(default)]
    pub layout: Option<String>,
    /// `RGB`, `BGR` or `GRAY`, for images.
    #[serde(default)]
    pub channels: Option<String>,
    /// Subtracted from 0–255 samples, per channel: three values, or one for grey.
    #[serde(default)]
    pub mean: Option<Vec<f32>>,
    /// Divided by after that, per channel.
    #[serde(default)]
    pub std: Option<Vec<f32>>,
    /// Range of values after both.
    #[serde(default)]
    pub range: Option<[f32; 2]>,
    /// In words.
    #[serde(default)]
    pub meaning: Option<String>,
}

/// How faces are cropped for a network.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropSpecEntry {
    /// Template's name, such as `arcface-112`.
    pub template: String,
    /// Ring around the template, as a share of its side.
    pub margin_template: f32,
    /// Shift of the crop downwards, as a share of the template's side.
    pub down_template: f32,
}

/// A recogniser's threshold at one false-accept rate.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Cosine from which two embeddings count as one person, or Euclidean distance up to which they do.
    pub threshold: f32,
    /// Its 95 % interval.
    pub interval_95: [f32; 2],
    /// True accepts between pictures of different films.
    pub tar_other_film: f32,
    /// Its 95 % interval.
    pub tar_other_film_95: [f32; 2],
    /// True accepts within one film.
    pub tar_same_film: f32,
}

/// A recogniser's measured thresholds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Pictures and script.
    pub measured_on: String,
    /// People.
    pub people: u32,
    /// Pictures.
    pub pictures: u32,
    /// Pairs of different people.
    pub impostor_pairs: u64,
    /// Pairs of one person from different films.
    pub genuine_pairs_other_film: u64,
    /// Mean cosine of the former.
    pub mean_impostor: f32,
    /// Mean cosine of the latter.
    pub mean_genuine_other_film: f32,
    /// At one false accept in a hundred.
    #[serde(rename = "far_1e-2")]
    pub far_1e_2: Threshold,
    /// At one in a thousand.
    #[serde(rename = "far_1e-3")]
    pub far_1e_3: Threshold,
    /// At one in ten thousand, where there were pairs enough.
    #[serde(rename = "far_1e-4", default)]
    pub far_1e_4: Option<Threshold>,
}

/// One model of the manifest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Name that code asks for.
    pub name: String,
    /// File in the manifest's folder.
    pub file: String,
    /// Hash of the file.
    pub sha256: String,
    /// Length of the file.
    pub bytes: u64,
    /// What it is for: `detector`, `mesh`, `iris`, `recogniser`, `emotion`, `attributes`.
    pub role: String,
    /// Licence.
    pub licence: String,
    /// Text of the licence, in the folder.
    pub licence_file: String,
    /// Where the original comes from.
    pub source: String,
    /// Hash of the original.
    pub source_sha256: String,
    /// Script that made the file.
    pub converted_by: String,
    /// ONNX operator set.
    pub opset: u32,
    /// Cell of a detector's grid, px.
    #[serde(default)]
    pub stride_px: Option<u32>,
    /// Input sides must be multiples of this, px.
    #[serde(default)]
    pub size_multiple_px: Option<u32>,
    /// Number of anchors.
    #[serde(default)]
    pub anchors: Option<u32>,
    /// Logits are clipped to ± this.
    #[serde(default)]
    pub score_clip: Option<f32>,
    /// Score that its authors accept.
    #[serde(default)]
    pub score_default: Option<f32>,
    /// Number of mesh points.
    #[serde(default)]
    pub points: Option<u32>,
    /// Side of the crop as a multiple of the face's box.
    #[serde(default)]
    pub crop_margin: Option<f32>,
    /// Length of the embedding.
    #[serde(default)]
    pub dimension: Option<u32>,
    /// How embeddings are compared.
    #[serde(default)]
    pub distance: Option<String>,
    /// Kept apart for evaluation.
    #[serde(default)]
    pub held_out: Option<bool>,
    /// Output that holds the embedding.
    #[serde(default)]
    pub embedding: Option<String>,
    /// Classes of a classifier, in the order of its output.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// Weights of R, G and B where the input is grey.
    #[serde(default)]
    pub gray_weights: Option<[f32; 3]>,
    /// Thresholds of a recogniser.
    #[serde(default)]
    pub thresholds: Option<Thresholds>,
    /// How faces are cropped for it.
    #[serde(default)]
    pub crop: Option<CropSpecEntry>,
    /// What goes in.
    pub input: Vec<TensorSpec>,
    /// What comes out.
    pub output: Vec<TensorSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestFile {
    schema: u32,
    model: Vec<ModelEntry>,
}

/// The models of one folder.
#[derive(Debug, Clone)]
pub struct Models {
    folder: PathBuf,
    entries: Vec<ModelEntry>,
}

impl Models {
    /// Reads and checks the manifest; the models themselves are read when asked for.
    ///
    /// # Errors
    /// [`BackendError::Model`] names the field that is wrong.
    pub fn open(folder: &Path) -> Result<Self, BackendError> {
        let path = folder.join("manifest.toml");
        let wrong = |why: String| error("manifest", &path, why);
        let length = std::fs::metadata(&path).map_err(|e| wrong(format!("cannot be read: {e}")))?.len();
        if length > MAX_MANIFEST_BYTES {
            return Err(wrong(format!("expected at most {MAX_MANIFEST_BYTES} bytes, got {length}")));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let entries = parse(&text).map_err(wrong)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            entries,
        })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[ModelEntry] {
        &self.entries
    }

    /// The entry of a model.
    ///
    /// # Errors
    /// [`BackendError::Model`] where the manifest has none of that name.
    pub fn entry(&self, name: &str) -> Result<&ModelEntry, BackendError> {
        self.entries.iter().find(|e| e.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.entries.iter().map(|e| e.name.as_str()).collect();
            error(
                name,
                &self.folder.join("manifest.toml"),
                format!("no such model in the manifest, which has {}", known.join(", ")),
            )
        })
    }

    /// The verified bytes of a model.
    ///
    /// # Errors
    /// [`BackendError::Model`]: missing, truncated and altered files are told apart.
    pub fn read(&self, name: &str) -> Result<(&ModelEntry, Vec<u8>), BackendError> {
        let entry = self.entry(name)?;
        let path = self.folder.join(&entry.file);
        let wrong = |why: String| error(name, &path, why);
        let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => wrong("file is missing".to_owned()),
            _ => wrong(format!("cannot be read: {e}")),
        })?;
        if bytes.len() as u64 != entry.bytes {
            let word = if (bytes.len() as u64) < entry.bytes {
                "truncated"
            } else {
                "too long"
            };
            return Err(wrong(format!("{word}: expected {} bytes, got {}", entry.bytes, bytes.len())));
        }
        let got = hex(&Sha256::digest(&bytes));
        if got != entry.sha256 {
            return Err(wrong(format!("altered: expected sha256 {}, got {got}", entry.sha256)));
        }
        Ok((entry, bytes))
    }
}

fn error(name: &str, path: &Path, why: String) -> BackendError {
    BackendError::Model {
        name: name.to_owned(),
        path: path.display().to_string(),
        why,
        remedy: REMEDY.to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The manifest's entries, or the first thing wrong with it.
pub(super) fn parse(text: &str) -> Result<Vec<ModelEntry>, String> {
    let manifest: ManifestFile = toml::from_str(text).map_err(|e| e.to_string().trim().replace('\n', " "))?;
    if manifest.schema != SCHEMA {
        return Err(format!("schema: expected {SCHEMA}, got {}", manifest.schema));
    }
    if manifest.model.is_empty() || manifest.model.len() > MAX_ENTRIES {
        return Err(format!("model: expected 1 to {MAX_ENTRIES} entries, got {}", manifest.model.len()));
    }
    for (index, entry) in manifest.model.iter().enumerate() {
        check(entry).map_err(|why| format!("model {}: {why}", entry.name))?;
        if manifest.model[..index].iter().any(|e| e.name == entry.name) {
            return Err(format!("model {}: named twice", entry.name));
        }
    }
    Ok(manifest.model)
}

fn check(entry: &ModelEntry) -> Result<(), String> {
    let plain = |f: &str| !f.is_empty() && !f.contains(['/', '\\']) && f != "." && f != "..";
    if !plain(&entry.file) {
        return Err(format!("file: expected a name in the manifest's folder, got `{}`", entry.file));
    }
    if entry.sha256.len() != 64 || !entry.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(format!("sha256: expected 64 lower-case hexadecimal digits, got `{}`", entry.sha256));
    }
    if entry.bytes == 0 || entry.bytes > MAX_MODEL_BYTES {
        return Err(format!("bytes: expected 1 to {MAX_MODEL_BYTES}, got {}", entry.bytes));
    }
    if let Some(t) = &entry.thresholds {
        let euclidean = entry.distance.as_deref() == Some("euclidean");
        let (high, what) = if euclidean { (MAX_DISTANCE, "distance") } else { (1.0, "cosine") };
        let rates = [
            ("far_1e-2", Some(t.far_1e_2)),
            ("far_1e-3", Some(t.far_1e_3)),
            ("far_1e-4", t.far_1e_4),
        ];
        for (name, at) in rates.iter().filter_map(|(n, at)| Some((n, (*at)?))) {
            if !(at.threshold > 0.0 && at.threshold < high) {
                return Err(format!(
                    "thresholds.{name}: expected a {what} between 0 and {high}, got {}",
                    at.threshold
                ));
            }
        }
    }
    for (kind, specs) in [("input", &entry.input), ("output", &entry.output)] {
        if specs.is_empty() || specs.len() > MAX_ENTRIES {
            return Err(format!("{kind}: expected 1 to {MAX_ENTRIES} entries, got {}", specs.len()));
        }
        for spec in specs {
            let fits = |d: &i64| *d == -1 || (1..=MAX_DIM).contains(d);
            if spec.shape.len() > MAX_RANK || !spec.shape.iter().all(fits) {
                return Err(format!(
                    "{kind} {}: shape: expected at most {MAX_RANK} sizes of -1 or 1 to {MAX_DIM}, got {:?}",
                    spec.name, spec.shape
                ));
            }
            for (what, values) in [("mean", &spec.mean), ("std", &spec.std)] {
                if values.as_ref().is_some_and(|v| !matches!(v.len(), 1 | 3)) {
                    return Err(format!("{kind} {}: {what}: expected 1 or 3 values, got {values:?}", spec.name));
                }
            }
            if spec.std.as_ref().is_some_and(|s| s.iter().any(|v| !(v.is_finite() && *v > 0.0))) {
                return Err(format!("{kind} {}: std: expected positive numbers, got {:?}", spec.name, spec.std));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Models, hex, parse};
    use crate::backend::BackendError;
    use sha2::{Digest, Sha256};

    fn text(file: &str, bytes: &[u8]) -> String {
        format!(
            "schema = 1\n[[model]]\nname = \"m\"\nfile = \"{file}\"\nsha256 = \"{}\"\nbytes = {}\nrole = \"mesh\"\nlicence = \"MIT\"\nlicence_file = \"l\"\n\
             source = \"s\"\nsource_sha256 = \"\"\nconverted_by = \"c\"\nopset = 13\n[[model.input]]\nname = \"i\"\ndtype = \"float32\"\nshape = [-1, 3]\n\
             [[model.output]]\nname = \"o\"\ndtype = \"float32\"\nshape = [1]\n",
            hex(&Sha256::digest(bytes)),
            bytes.len()
        )
    }

    fn why(models: &Models) -> String {
        match models.read("m").expect_err("must be refused") {
            BackendError::Model { why, .. } => why,
            other => panic!("unexpected {other}"),
        }
    }

    #[test]
    fn missing_truncated_and_altered_files_are_told_apart() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("manifest.toml"), text("m.onnx", b"weights")).expect("manifest");
        let models = Models::open(folder.path()).expect("manifest is right");
        let file = folder.path().join("m.onnx");
        assert_eq!(why(&models), "file is missing");
        std::fs::write(&file, b"weigh").expect("file");
        assert_eq!(why(&models), "truncated: expected 7 bytes, got 5");
        std::fs::write(&file, b"weighty!").expect("file");
        assert_eq!(why(&models), "too long: expected 7 bytes, got 8");
        std::fs::write(&file, b"weightz").expect("file");
        assert!(why(&models).starts_with("altered: expected sha256 "));
        std::fs::write(&file, b"weights").expect("file");
        assert_eq!(models.read("m").expect("matches").1, b"weights");
        assert!(models.read("n").expect_err("unknown").to_string().contains("no such model"));
    }

    #[test]
    fn what_the_manifest_may_not_say() {
        let good = text("m.onnx", b"w");
        assert_eq!(parse(&good).expect("good").len(), 1);
        let refused = |from: &str, to: &str, field: &str| {
            let changed = good.replacen(from, to, 1);
            assert_ne!(changed, good, "{from}");
            let why = parse(&changed).expect_err(field);
            assert!(why.contains(field), "{field} not in `{why}`");
        };
        refused("schema = 1", "schema = 2", "schema");
        refused("role = ", "rolle = ", "rolle");
        refused("m.onnx", "../m.onnx", "file");
        refused("bytes = 1", "bytes = 99999999999", "bytes");
        refused("bytes = 1", "bytes = -1", "bytes");
        refused("[-1, 3]", "[-2, 3]", "shape");
        refused("[-1, 3]", "[1, 99999999]", "shape");
        refused("sha256 = \"", "sha256 = \"Z", "sha256");
        assert!(
            parse(&format!("{good}{}", good.replacen("schema = 1\n", "", 1)))
                .expect_err("twice")
                .contains("named twice")
        );
    }
}
