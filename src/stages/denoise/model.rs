//! The door to denoisers: a batch of rows in, a batch of predictions out. ONNX sessions, GPU sessions
//! and the analytic models of the tests all stand behind [`NoiseModel`].
//!
//! | | |
//! |---|---|
//! | row | one latent at one level under one condition; faces, steps and conditions all are rows |
//! | layout | every tensor is `[rows][…]`, f32, contiguous: what a session's input wants |
//! | null | identity zeros and mask 0; a cross-attention pack applies its projector to those zeros |
//! | result | the raw prediction, in the pack's [`Prediction`], same layout as `x` |

/// What the network's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// Noise ε.
    Eps,
    /// `v = α ε − σ x_0`.
    V,
    /// Data x_0.
    X0,
}

impl Prediction {
    /// `(p, q)` with `x̂0 = p·x + q·output` at a level.
    #[must_use]
    pub fn to_data(self, alpha: f64, sigma: f64) -> (f64, f64) {
        match self {
            Self::Eps => (1.0 / alpha, -sigma / alpha),
            Self::V => (alpha, -sigma),
            Self::X0 => (0.0, 1.0),
        }
    }

    /// `(p, q)` with `ε = p·x + q·output` at a level; σ must not be 0.
    #[must_use]
    pub fn to_noise(self, alpha: f64, sigma: f64) -> (f64, f64) {
        match self {
            Self::Eps => (0.0, 1.0),
            Self::V => (sigma, alpha),
            Self::X0 => (1.0 / sigma, -alpha / sigma),
        }
    }
}

/// Lengths of the parts of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowShape {
    /// Latent channels.
    pub channels: usize,
    /// Latent rows.
    pub height: usize,
    /// Latent columns.
    pub width: usize,
    /// Identity vector.
    pub identity: usize,
    /// Attribute vector; 0 where the pack has none.
    pub attributes: usize,
    /// Text tokens, all values; 0 where the pack has none.
    pub text: usize,
    /// Whether a composite is a second input of the latent's shape.
    pub prior: bool,
}

impl RowShape {
    /// Values of one latent.
    #[must_use]
    pub fn latent_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Values of one latent channel.
    #[must_use]
    pub fn plane_len(&self) -> usize {
        self.height * self.width
    }
}

/// What a row is conditioned on. Made once a track, read in every frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Identity vector as the network is given it; zeros where null.
    pub identity: Vec<f32>,
    /// 1 with an identity, 0 where null.
    pub identity_mask: f32,
    /// Attribute vector; zeros where unknown.
    pub attributes: Vec<f32>,
    /// Text tokens; the pack's empty text where none is asked for.
    pub text: Vec<f32>,
}

impl Condition {
    /// ∅: no identity, no attributes, the given (empty) text.
    #[must_use]
    pub fn null(shape: &RowShape, empty_text: &[f32]) -> Self {
        Self {
            identity: vec![0.0; shape.identity],
            identity_mask: 0.0,
            attributes: vec![0.0; shape.attributes],
            text: empty_text.to_vec(),
        }
    }

    /// The same with an identity.
    #[must_use]
    pub fn with_identity(mut self, identity: &[f32]) -> Self {
        self.identity = identity.to_vec();
        self.identity_mask = 1.0;
        self
    }

    /// The same with attributes.
    #[must_use]
    pub fn with_attributes(mut self, attributes: &[f32]) -> Self {
        self.attributes = attributes.to_vec();
        self
    }

    /// The same with other text tokens.
    #[must_use]
    pub fn with_text(mut self, text: &[f32]) -> Self {
        self.text = text.to_vec();
        self
    }

    /// Whether lengths are those of the rows and all values finite.
    #[must_use]
    pub fn fits(&self, shape: &RowShape) -> bool {
        self.identity.len() == shape.identity
            && self.attributes.len() == shape.attributes
            && self.text.len() == shape.text
            && self.identity_mask.is_finite()
            && [&self.identity, &self.attributes, &self.text]
                .into_iter()
                .flatten()
                .all(|v| v.is_finite())
    }
}

/// Rows for one call.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Lengths.
    pub shape: RowShape,
    /// How many rows.
    pub rows: usize,
    /// Latents, `[rows][channels][height][width]`.
    pub x: &'a [f32],
    /// Time told, `[rows]`: a training step, or 0–1.
    pub time: &'a [f32],
    /// Half log-SNR told, `[rows]`.
    pub lambda: &'a [f32],
    /// `[rows][identity]`.
    pub identity: &'a [f32],
    /// `[rows]`.
    pub identity_mask: &'a [f32],
    /// `[rows][attributes]`.
    pub attributes: &'a [f32],
    /// `[rows][text]`.
    pub text: &'a [f32],
    /// Composites, like `x`; empty where the shape has no prior.
    pub prior: &'a [f32],
}

impl<'a> Batch<'a> {
    /// A part of the rows.
    #[must_use]
    pub fn part(&self, start: usize, rows: usize) -> Batch<'a> {
        let cut = |s: &'a [f32], len: usize| &s[start * len..(start + rows) * len];
        let n = self.shape.latent_len();
        Batch {
            shape: self.shape,
            rows,
            x: cut(self.x, n),
            time: cut(self.time, 1),
            lambda: cut(self.lambda, 1),
            identity: cut(self.identity, self.shape.identity),
            identity_mask: cut(self.identity_mask, 1),
            attributes: cut(self.attributes, self.shape.attributes),
            text: cut(self.text, self.shape.text),
            prior: cut(self.prior, if self.shape.prior { n } else { 0 }),
        }
    }
}

/// A denoiser failed; the cause is in words because backends differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("denoiser: {0}")]
pub struct ModelError(pub String);

impl From<crate::backend::BackendError> for ModelError {
    fn from(error: crate::backend::BackendError) -> Self {
        Self(error.to_string())
    }
}

/// A denoiser.
pub trait NoiseModel: Send {
    /// Lengths of a row.
    fn shape(&self) -> RowShape;

    /// What its output means.
    fn prediction(&self) -> Prediction;

    /// Most rows that one call takes; more are cut into several calls.
    fn max_rows(&self) -> usize {
        usize::MAX
    }

    /// The same denoiser on a device's buffers, where it can run there.
    fn on_device(&mut self) -> Option<&mut dyn super::DeviceModel> {
        None
    }

    /// Predicts every row into `out`, `[rows][latent]`.
    ///
    /// # Errors
    /// The backend's; `out` is then without meaning.
    fn predict(&mut self, batch: &Batch<'_>, out: &mut [f32]) -> Result<(), ModelError>;
}
