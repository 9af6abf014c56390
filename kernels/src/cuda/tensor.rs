//! Values of which it is known where they are: nothing is fetched or sent behind the caller's back.

use super::error::CudaError;
use super::memory::{Buffer, Gpu, Plain};

/// Values, and where they are.
#[derive(Debug)]
pub enum Tensor<T: Plain> {
    /// In the processor's memory.
    Host(Vec<T>),
    /// On a device.
    Device(Buffer<T>),
}

impl<T: Plain> Tensor<T> {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Host(values) => values.len(),
            Self::Device(buffer) => buffer.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values, where they are in the processor's memory.
    ///
    /// # Errors
    /// [`CudaError::Mixed`] where they are not; they are not fetched.
    pub fn host(&self, op: &'static str, what: &'static str) -> Result<&[T], CudaError> {
        match self {
            Self::Host(values) => Ok(values),
            Self::Device(buffer) => Err(CudaError::Mixed {
                op,
                what,
                expected: "host".to_owned(),
                got: buffer.gpu().place(),
            }),
        }
    }

    /// The buffer, where it is on this device.
    ///
    /// # Errors
    /// [`CudaError::Mixed`] where it is not; nothing is uploaded.
    pub fn device(&self, gpu: &Gpu, op: &'static str, what: &'static str) -> Result<&Buffer<T>, CudaError> {
        match self {
            Self::Host(_) => Err(CudaError::Mixed {
                op,
                what,
                expected: gpu.place(),
                got: "host".to_owned(),
            }),
            Self::Device(buffer) => buffer.on(gpu, op, what).map(|_| buffer),
        }
    }
}
