//! A denoiser behind ONNX Runtime, under the names that its pack gives to inputs.
//!
//! | interface | conditions |
//! |---|---|
//! | `adaln` | identity, its mask and attributes as vectors |
//! | `cross-attention` | identity as a vector of zeros where null, text as one row of all tokens; the network holds the projector |
//!
//! Limits: float32 doors (weights may be of any precision).

use super::model::{Batch, ModelError, NoiseModel, Prediction, RowShape};
use nullface_kernels::cuda::{Buffer, Gpu};

use super::on_device::{DeviceModel, DeviceRows};
use crate::backend::{Bound, Input, Network};

/// Names of a denoiser's doors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doors {
    /// Latent.
    pub x: String,
    /// Half log-SNR.
    pub lambda: Option<String>,
    /// Training step or 0–1.
    pub time: Option<String>,
    /// Identity vector.
    pub identity: String,
    /// 1 with identity.
    pub identity_mask: Option<String>,
    /// Attribute vector.
    pub attributes: Option<String>,
    /// Text tokens: name and the sides of one row.
    pub text: Option<(String, Vec<usize>)>,
    /// Composite.
    pub prior: Option<String>,
    /// Output.
    pub output: String,
}

/// The denoiser of a pack.
#[derive(Debug)]
pub struct OnnxModel {
    network: Network,
    doors: Doors,
    shape: RowShape,
    prediction: Prediction,
    max_rows: usize,
}

impl OnnxModel {
    /// Over a loaded network whose signature was checked.
    #[must_use]
    pub fn new(network: Network, doors: Doors, shape: RowShape, prediction: Prediction) -> Self {
        Self {
            network,
            doors,
            shape,
            prediction,
            max_rows: usize::MAX,
        }
    }

    /// The same with at most so many rows a call: what the memory or an engine's shape profile allows.
    #[must_use]
    pub fn with_max_rows(mut self, rows: usize) -> Self {
        self.max_rows = rows.max(1);
        self
    }
}

impl NoiseModel for OnnxModel {
    fn shape(&self) -> RowShape {
        self.shape
    }

    fn prediction(&self) -> Prediction {
        self.prediction
    }

    fn max_rows(&self) -> usize {
        self.max_rows
    }

    fn on_device(&mut self) -> Option<&mut dyn DeviceModel> {
        Some(self)
    }

    fn predict(&mut self, batch: &Batch<'_>, out: &mut [f32]) -> Result<(), ModelError> {
        let (n, s, d) = (batch.rows, self.shape, &self.doors);
        let latent = [n, s.channels, s.height, s.width];
        let (one, single) = ([n], [n, 1]);
        let (identity, attributes) = ([n, s.identity], [n, s.attributes]);
        let text: Vec<usize> = d
            .text
            .iter()
            .flat_map(|(_, row)| std::iter::once(n).chain(row.iter().copied()))
            .collect();
        let mut inputs = vec![
            Input {
                name: &d.x,
                shape: &latent,
                values: batch.x,
            },
            Input {
                name: &d.identity,
                shape: &identity,
                values: batch.identity,
            },
        ];
        if let Some((name, _)) = &d.text {
            inputs.push(Input {
                name,
                shape: &text,
                values: batch.text,
            });
        }
        for (name, shape, values) in [
            (&d.lambda, &one[..], batch.lambda),
            (&d.time, &one[..], batch.time),
            (&d.identity_mask, &single[..], batch.identity_mask),
            (&d.attributes, &attributes[..], batch.attributes),
            (&d.prior, &latent[..], batch.prior),
        ] {
            if let Some(name) = name {
                inputs.push(Input { name, shape, values });
            }
        }
        Ok(self.network.run(&inputs, &d.output, out)?)
    }
}

impl DeviceModel for OnnxModel {
    fn shape(&self) -> RowShape {
        self.shape
    }

    fn prediction(&self) -> Prediction {
        self.prediction
    }

    fn max_rows(&self) -> usize {
        self.max_rows
    }

    fn predict(&mut self, gpu: &Gpu, rows: &DeviceRows, start: usize, count: usize, out: &mut Buffer<f32>) -> Result<(), ModelError> {
        let (s, d) = (self.shape, &self.doors);
        let latent = [count, s.channels, s.height, s.width];
        let (one, single) = ([count], [count, 1]);
        let (identity, attributes) = ([count, s.identity], [count, s.attributes]);
        let text: Vec<usize> = d
            .text
            .iter()
            .flat_map(|(_, row)| std::iter::once(count).chain(row.iter().copied()))
            .collect();
        let text_name = d.text.as_ref().map(|(name, _)| name);
        let n = s.latent_len();
        let mut inputs = Vec::with_capacity(8);
        for (name, shape, buffer, row) in [
            (Some(&d.x), &latent[..], &rows.x, n),
            (Some(&d.identity), &identity[..], &rows.identity, s.identity),
            (d.lambda.as_ref(), &one[..], &rows.lambda, 1),
            (d.time.as_ref(), &one[..], &rows.time, 1),
            (d.identity_mask.as_ref(), &single[..], &rows.identity_mask, 1),
            (d.attributes.as_ref(), &attributes[..], &rows.attributes, s.attributes),
            (d.prior.as_ref(), &latent[..], &rows.prior, n),
            (text_name, &text[..], &rows.text, s.text),
        ] {
            if let Some(name) = name {
                inputs.push(Bound {
                    name,
                    shape,
                    buffer,
                    start: start * row,
                });
            }
        }
        let output = Bound {
            name: &d.output,
            shape: &latent,
            buffer: out,
            start: start * n,
        };
        Ok(self.network.run_bound(gpu, &inputs, output)?)
    }
}
