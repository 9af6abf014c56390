//! `id2face`: who a face becomes and what stays of it, fused by the pack's gate before the denoiser.
//!
//! | | |
//! |---|---|
//! | `n` | features of the frame's own crop that are not identity, once an edit |
//! | `c` | gate(x, λ, e_a, n): computed for every row at its own noise level |
//! | row's identity | `e_a` followed by `n`; the denoiser itself sees `c` in their place, and zeros where the row is null |
//!
//! Source: the published idea of ID²Face (soft gating conditioned on the noisy features); see the
//! pack's model card for what its own networks were trained on.

use crate::backend::{Backend, Input, Network};
use crate::pack::{Dim, Pack};
use crate::stages::denoise::{Batch, ModelError, NoiseModel, Prediction, RowShape};

use super::super::engine::EngineError;
use super::super::networks::network;
use super::diffuse::stage;

/// Inputs and output of the gate, as the pack's card names them.
const GATE_INPUTS: [&str; 4] = ["x", "lambda", "identity", "non_identity"];

/// The pack's two networks.
#[derive(Debug)]
pub(super) struct Gate {
    non_identity: Network,
    gate: Network,
    /// Length of `n`.
    features: usize,
    door: (String, String),
    output: String,
    identity: Vec<f32>,
    others: Vec<f32>,
    condition: Vec<f32>,
}

impl Gate {
    /// Loads the pack's networks; `None` where it has none.
    pub(super) fn open(backend: &Backend, pack: &Pack) -> Result<Option<Self>, EngineError> {
        let vae = pack.manifest().identity_vae.as_ref();
        let Some((non_identity, gate)) = vae.and_then(|v| v.non_identity.as_ref().zip(v.gate.as_ref())) else {
            return Ok(None);
        };
        let features = pack
            .manifest()
            .files
            .get(non_identity)
            .and_then(|f| f.outputs.first())
            .and_then(|o| match o.shape.last() {
                Some(Dim::Fixed(n)) => Some(*n as usize),
                _ => None,
            })
            .filter(|n| (1..=4096).contains(n))
            .ok_or_else(|| stage("files.identity_vae.non_identity: expected one output of 1 to 4096 features"))?;
        let (non_identity, gate) = (network(backend, pack, non_identity)?, network(backend, pack, gate)?);
        let names: Vec<String> = gate.inputs().into_iter().map(|i| i.name).collect();
        if !GATE_INPUTS.iter().all(|n| names.iter().any(|m| m == n)) {
            return Err(stage(format!(
                "identity_vae.gate: expected inputs {}, got {}",
                GATE_INPUTS.join(", "),
                names.join(", ")
            )));
        }
        let first = |list: Vec<crate::backend::Outlet>| list.into_iter().next().map(|o| o.name).unwrap_or_default();
        Ok(Some(Self {
            door: (first(non_identity.inputs()), first(non_identity.outputs())),
            output: first(gate.outputs()),
            non_identity,
            gate,
            features,
            identity: Vec::new(),
            others: Vec::new(),
            condition: Vec::new(),
        }))
    }

    /// Appends `n` of a crop's latent to an identity.
    pub(super) fn append(&mut self, shape: &RowShape, latent: &[f32], identity: &mut Vec<f32>) -> Result<(), String> {
        let start = identity.len();
        identity.resize(start + self.features, 0.0);
        let one = [1, shape.channels, shape.height, shape.width];
        let input = Input {
            name: &self.door.0,
            shape: &one,
            values: latent,
        };
        let out = identity.get_mut(start..).unwrap_or(&mut []);
        self.non_identity.run(&[input], &self.door.1, out).map_err(|e| e.to_string())
    }

    /// The denoiser behind the gate.
    pub(super) fn before<'a>(&'a mut self, inner: &'a mut dyn NoiseModel) -> Gated<'a> {
        Gated { inner, gate: self }
    }

    /// The rows' shape with `n` behind the identity.
    pub(super) fn widened(&self, shape: RowShape) -> RowShape {
        RowShape {
            identity: shape.identity + self.features,
            ..shape
        }
    }
}

/// A denoiser whose identity passes the gate first.
pub(super) struct Gated<'a> {
    inner: &'a mut dyn NoiseModel,
    gate: &'a mut Gate,
}

impl NoiseModel for Gated<'_> {
    fn shape(&self) -> RowShape {
        self.gate.widened(self.inner.shape())
    }

    fn prediction(&self) -> Prediction {
        self.inner.prediction()
    }

    fn max_rows(&self) -> usize {
        self.inner.max_rows()
    }

    fn predict(&mut self, batch: &Batch<'_>, out: &mut [f32]) -> Result<(), ModelError> {
        let (shape, n) = (self.inner.shape(), batch.rows);
        let g = &mut *self.gate;
        g.identity.clear();
        g.others.clear();
        for row in batch.identity.chunks_exact(shape.identity + g.features) {
            let (identity, others) = row.split_at(shape.identity);
            g.identity.extend_from_slice(identity);
            g.others.extend_from_slice(others);
        }
        g.condition.resize(n * shape.identity, 0.0);
        let latent = [n, shape.channels, shape.height, shape.width];
        let (one, identity, features) = ([n], [n, shape.identity], [n, g.features]);
        let [x, lambda, e, other] = GATE_INPUTS;
        let input = |name, shape, values| Input { name, shape, values };
        let inputs = [
            input(x, &latent[..], batch.x),
            input(lambda, &one[..], batch.lambda),
            input(e, &identity[..], &g.identity),
            input(other, &features[..], &g.others),
        ];
        g.gate.run(&inputs, &g.output, &mut g.condition)?;
        for (row, mask) in g.condition.chunks_exact_mut(shape.identity).zip(batch.identity_mask) {
            if *mask == 0.0 {
                row.fill(0.0);
            }
        }
        let gated = Batch {
            shape,
            identity: &g.condition,
            ..*batch
        };
        self.inner.predict(&gated, out)
    }
}
