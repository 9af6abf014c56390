//! Device memory that grows and is kept.

use std::sync::Arc;

use crate::cuda::error::CudaError;
use crate::cuda::memory::{Buffer, Gpu, Plain};

/// Values that grow and are kept.
#[derive(Debug)]
pub(super) struct Room<T: Plain>(pub(super) Option<Buffer<T>>);

impl<T: Plain> Default for Room<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Plain> Room<T> {
    /// The address of at least so many values.
    pub(super) fn of(&mut self, gpu: &Gpu, len: usize) -> Result<u64, CudaError> {
        Ok(self.buffer(gpu, len)?.address())
    }

    pub(super) fn buffer(&mut self, gpu: &Gpu, len: usize) -> Result<&mut Buffer<T>, CudaError> {
        if self.0.as_ref().is_none_or(|b| b.len() < len || !b.gpu().is_same(gpu)) {
            self.0 = None;
        }
        match &mut self.0 {
            Some(buffer) => Ok(buffer),
            none => Ok(none.insert(gpu.unfilled(len)?)),
        }
    }

    /// 0 where there is none.
    pub(super) fn address(&self) -> u64 {
        self.0.as_ref().map_or(0, Buffer::address)
    }
}

/// As [`Room::of`], for what others may hold on to: they keep what they have.
pub(super) fn shared<T: Plain>(kept: &mut Option<Arc<Buffer<T>>>, gpu: &Gpu, len: usize) -> Result<u64, CudaError> {
    if kept.as_ref().is_none_or(|b| b.len() < len || !b.gpu().is_same(gpu)) {
        *kept = None;
    }
    match kept {
        Some(buffer) => Ok(buffer.address()),
        none => Ok(none.insert(Arc::new(gpu.unfilled(len)?)).address()),
    }
}
