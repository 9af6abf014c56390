//! `pack.toml` as types. Unknown keys are errors everywhere but under `figures`, which is for people.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::stages::denoise::{DiffusionMode, ModeSettings, Prediction, ScheduleSpec};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of this file: 1.
    pub format: u32,
    /// Pack's name.
    pub name: String,
    /// Pack's version.
    pub version: String,
    /// Licence of the weights.
    pub licence: String,
    /// What it was trained on.
    pub trained_on: String,
    /// What it is for.
    pub intended_use: String,
    /// What it cannot do.
    pub limits: String,
    /// Crop that the network sees.
    pub crop: CropSpec,
    /// Latent.
    pub latent: LatentSpec,
    /// What the denoiser's output means.
    pub prediction: Prediction,
    /// Noise schedule.
    pub schedule: ScheduleSpec,
    /// Denoiser.
    pub denoiser: DenoiserSpec,
    /// Recogniser that steers.
    pub identity: IdentitySpec,
    /// Attributes that can be asked for.
    pub attributes: Option<AttributesSpec>,
    /// Identity VAE of `id2face`.
    pub identity_vae: Option<IdentityVaeSpec>,
    /// k-same basis.
    pub basis: Option<BasisSpec>,
    /// Recommended settings of each mode.
    #[serde(default)]
    pub defaults: BTreeMap<DiffusionMode, ModeSettings>,
    /// Measured figures, for people.
    #[serde(default)]
    pub figures: toml::Table,
    /// Every file of the pack under a name that the other tables use.
    pub files: BTreeMap<String, FileSpec>,
}

/// Where the five landmarks lie in the crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// ArcFace's five points of 112 px, scaled to the crop's size.
    #[serde(rename = "arcface-112", alias = "arcface")]
    Arcface112,
    /// FFHQ's alignment.
    Ffhq,
}

/// Crop.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropSpec {
    /// Template.
    pub template: Template,
    /// Side, px.
    pub size_px: u32,
    /// Ring added about the template, share of the side.
    #[serde(default)]
    pub margin: f32,
}

/// Kind of latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatentKind {
    /// Rearranged pixels.
    SpaceToDepth,
    /// A pair of networks.
    Autoencoder,
}

/// Latent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentSpec {
    /// Kind.
    pub kind: LatentKind,
    /// Channels.
    pub channels: u32,
    /// Pixels a latent cell is wide.
    pub factor: u32,
    /// latent = (value − shift) · scale.
    #[serde(default = "one")]
    pub scale: f32,
    /// See `scale`.
    #[serde(default)]
    pub shift: f32,
    /// File of an autoencoder's encoder.
    pub encoder: Option<String>,
    /// File of an autoencoder's decoder.
    pub decoder: Option<String>,
}

fn one() -> f32 {
    1.0
}

/// How conditions reach the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// Identity and attribute vectors, by adaptive normalisation.
    Adaln,
    /// Text and identity tokens, by cross-attention.
    CrossAttention,
}

/// Denoiser.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenoiserSpec {
    /// Interface.
    pub interface: Interface,
    /// Files by precision (`fp32`, `fp16`, `int8`); all have the same inputs and outputs but for dtypes.
    pub files: BTreeMap<Precision, String>,
    /// Names of the network's inputs.
    pub inputs: DenoiserInputs,
    /// Name of its output.
    pub output: String,
    /// Values of the text input of one row; 0 with `adaln`.
    #[serde(default)]
    pub text_len: u32,
    /// File of the empty text's tokens, f32 little-endian; where `text_len` is not 0.
    pub empty_text: Option<String>,
}

/// Precision of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single.
    Fp32,
    /// Half.
    Fp16,
    /// Quantised.
    Int8,
}

/// Names of the denoiser's inputs; exactly one of `lambda` and `time`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenoiserInputs {
    /// Latent.
    pub x: String,
    /// Half log-SNR.
    pub lambda: Option<String>,
    /// Training step or 0–1.
    pub time: Option<String>,
    /// Identity vector.
    pub identity: String,
    /// 1 with identity, 0 without.
    pub identity_mask: Option<String>,
    /// Attribute vector.
    pub attributes: Option<String>,
    /// Text tokens.
    pub text: Option<String>,
    /// Composite.
    pub prior: Option<String>,
}

/// How null is expressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NullIdentity {
    /// Zeros and mask 0.
    #[serde(alias = "mask")]
    ZerosAndMask,
    /// Zeros before the projector.
    Zeros,
}

/// Recogniser that steers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentitySpec {
    /// Recogniser's name: a file of the pack, or one that the engine or the user brings.
    pub recogniser: String,
    /// Its preprocessing, for people and for the choice of session.
    pub preprocessing: String,
    /// Length of the embedding.
    pub dimension: u32,
    /// Null.
    pub null: NullIdentity,
    /// Cosine above which two faces are one person, FAR 1e-3.
    pub same_person_cos: Option<f32>,
}

/// Identity VAE.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityVaeSpec {
    /// Embedding → latent mean.
    pub encoder: String,
    /// Latent → embedding.
    pub decoder: String,
    /// Length of the latent.
    pub latent: u32,
    /// Crop → non-identity features.
    pub non_identity: Option<String>,
    /// Noisy latent, identity and non-identity features → gated condition.
    pub gate: Option<String>,
}

/// Attributes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributesSpec {
    /// Length of the attribute vector; 0 where attributes are text.
    pub length: u32,
    /// `name=value` → what it stands for.
    pub vocabulary: BTreeMap<String, AttributeSpec>,
}

/// One word of the vocabulary.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum AttributeSpec {
    /// Place in the vector that is set to 1.
    Index(u32),
    /// Added to the vector.
    Vector(Vec<f32>),
    /// File of text tokens.
    Tokens(String),
}

/// k-same basis: its own manifest among its files.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasisSpec {
    /// File that describes the others.
    pub manifest: String,
    /// The others.
    pub files: Vec<String>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Relative to the pack's folder, inside it.
    pub path: String,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: Option<u64>,
    /// Entry that holds the weights of a network too large for one file.
    pub data: Option<String>,
    /// Inputs of a network.
    #[serde(default)]
    pub inputs: Vec<TensorSpec>,
    /// Outputs of a network.
    #[serde(default)]
    pub outputs: Vec<TensorSpec>,
}

/// A network's input or output.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// Name.
    pub name: String,
    /// Sides.
    pub shape: Vec<Dim>,
    /// Type of values.
    pub dtype: Dtype,
}

/// A side of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// Fixed.
    Fixed(u32),
    /// Free, under a name (`n` is the batch).
    Free(String),
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(n) => write!(f, "{n}"),
            Self::Free(name) => f.write_str(name),
        }
    }
}

/// Type of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dtype {
    /// f32.
    #[serde(alias = "fp32", alias = "f32", alias = "float")]
    Float32,
    /// f16.
    #[serde(alias = "fp16", alias = "f16")]
    Float16,
    /// i64.
    #[serde(alias = "i64")]
    Int64,
    /// u8.
    #[serde(alias = "u8")]
    Uint8,
}
