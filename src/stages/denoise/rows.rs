//! Gathers rows for the denoiser in buffers that are kept from call to call.

use nullface_kernels::cuda::{CudaError, Gpu};

use super::model::{Batch, Condition, ModelError, NoiseModel, RowShape};
use super::on_device::DeviceRows;
use super::schedule::Level;

/// Buffers of one batch; grow to the largest batch seen, then never again.
#[derive(Debug, Default)]
pub(super) struct Rows {
    x: Vec<f32>,
    time: Vec<f32>,
    lambda: Vec<f32>,
    identity: Vec<f32>,
    identity_mask: Vec<f32>,
    attributes: Vec<f32>,
    text: Vec<f32>,
    prior: Vec<f32>,
}

impl Rows {
    pub(super) fn clear(&mut self) {
        for v in [
            &mut self.x,
            &mut self.time,
            &mut self.lambda,
            &mut self.identity,
            &mut self.identity_mask,
            &mut self.attributes,
            &mut self.text,
            &mut self.prior,
        ] {
            v.clear();
        }
    }

    /// Bytes held.
    pub(super) fn capacity_bytes(&self) -> usize {
        [
            &self.x,
            &self.time,
            &self.lambda,
            &self.identity,
            &self.identity_mask,
            &self.attributes,
            &self.text,
            &self.prior,
        ]
        .iter()
        .map(|v| v.capacity() * size_of::<f32>())
        .sum()
    }

    /// Adds a row. A missing composite is zeros: what training shows where it drops the prior.
    pub(super) fn push(&mut self, shape: &RowShape, x: &[f32], told: Level, condition: &Condition, prior: Option<&[f32]>) {
        self.x.extend_from_slice(x);
        self.time.push(told.time as f32);
        self.lambda.push(told.lambda as f32);
        self.identity.extend_from_slice(&condition.identity);
        self.identity_mask.push(condition.identity_mask);
        self.attributes.extend_from_slice(&condition.attributes);
        self.text.extend_from_slice(&condition.text);
        if shape.prior {
            match prior {
                Some(p) => self.prior.extend_from_slice(p),
                None => self.prior.resize(self.prior.len() + x.len(), 0.0),
            }
        }
    }

    /// The rows on a device.
    pub(super) fn upload(&self, gpu: &Gpu) -> Result<DeviceRows, CudaError> {
        Ok(DeviceRows {
            rows: self.time.len(),
            x: gpu.upload(&self.x)?,
            time: gpu.upload(&self.time)?,
            lambda: gpu.upload(&self.lambda)?,
            identity: gpu.upload(&self.identity)?,
            identity_mask: gpu.upload(&self.identity_mask)?,
            attributes: gpu.upload(&self.attributes)?,
            text: gpu.upload(&self.text)?,
            prior: gpu.upload(&self.prior)?,
        })
    }

    /// Latents gathered so far.
    pub(super) fn x(&self) -> &[f32] {
        &self.x
    }

    /// Predicts all rows into the start of `out`, in as few calls as the model allows; returns how
    /// many calls.
    pub(super) fn predict(&self, model: &mut dyn NoiseModel, shape: RowShape, out: &mut [f32]) -> Result<usize, ModelError> {
        let batch = Batch {
            shape,
            rows: self.time.len(),
            x: &self.x,
            time: &self.time,
            lambda: &self.lambda,
            identity: &self.identity,
            identity_mask: &self.identity_mask,
            attributes: &self.attributes,
            text: &self.text,
            prior: &self.prior,
        };
        let (n, most) = (shape.latent_len(), model.max_rows().max(1));
        let (mut start, mut calls) = (0, 0);
        while start < batch.rows {
            let rows = most.min(batch.rows - start);
            model.predict(&batch.part(start, rows), &mut out[start * n..(start + rows) * n])?;
            start += rows;
            calls += 1;
        }
        Ok(calls)
    }
}
