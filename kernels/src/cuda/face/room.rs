//! Device memory that grows and is kept, and what is sent to it.

use std::ops::Range;
use std::sync::Arc;

use crate::cuda::error::CudaError;
use crate::cuda::memory::{Buffer, Gpu, Mark, Plain};
use crate::cuda::staging::Staging;

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

/// Page-locked memory that is filled, sent, and filled anew when nothing of it is under way.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) up: Staging,
    /// Behind the last copy of it.
    sent: Option<Mark>,
}

impl Sending {
    pub(super) fn new(gpu: &Gpu) -> Self {
        Self {
            up: Staging::new(gpu),
            sent: None,
        }
    }

    /// Empties it: nothing that was sent of it may be under way.
    pub(super) fn begin(&mut self) -> Result<(), CudaError> {
        if let Some(mark) = self.sent
            && !self.up.gpu().is_past(mark)
        {
            self.up.gpu().wait()?;
        }
        self.sent = None;
        self.up.clear();
        Ok(())
    }

    /// Sends some of its bytes to the beginning of a buffer.
    pub(super) fn send(&mut self, bytes: Range<usize>, to: &mut Buffer<u8>) -> Result<(), CudaError> {
        let sent = to.write_at(0, self.up.bytes().get(bytes).unwrap_or_default());
        self.sent = Some(self.up.gpu().mark());
        sent
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.sent.is_some_and(|mark| !self.up.gpu().is_past(mark)) {
            // A device that does not answer has nothing under way.
            let _ = self.up.gpu().wait();
        }
    }
}
