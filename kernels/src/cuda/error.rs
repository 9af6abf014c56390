//! What can go wrong on the way to a device, each with what to do about it.

use crate::KernelError;

/// Why nothing runs on a device.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CudaError {
    /// The driver's library is not there.
    #[error("CUDA driver library libcuda.so.1 not found: install NVIDIA's driver, or choose the processor")]
    NoDriver,
    /// A driver without the device.
    #[error("CUDA device {ordinal}: the driver has {found}; choose one that is there, or the processor")]
    NoDevice {
        /// Asked for.
        ordinal: u32,
        /// How many there are.
        found: u32,
    },
    /// The run-time compiler is not there.
    #[error("NVRTC not found (looked at {looked}): install CUDA's run-time compiler, or point NULLFACE_NVRTC at libnvrtc.so")]
    NoCompiler {
        /// Places.
        looked: String,
    },
    /// A kernel does not compile.
    #[error("kernel {kernel} for sm_{arch}: {log}")]
    Compile {
        /// Which.
        kernel: String,
        /// Architecture.
        arch: u32,
        /// The compiler's words.
        log: String,
    },
    /// Machine code that the driver refuses.
    #[error("kernel {kernel}: the driver refuses its machine code ({why})")]
    Image {
        /// Which.
        kernel: String,
        /// The driver's words.
        why: String,
    },
    /// Not enough memory.
    #[error("device memory: {asked} bytes asked for, {free} of {total} free: fewer faces, a smaller pack, or the processor")]
    Memory {
        /// Bytes asked for.
        asked: usize,
        /// Bytes free.
        free: usize,
        /// Bytes there are.
        total: usize,
    },
    /// Not enough memory of the processor that can be page-locked.
    #[error("page-locked memory: {asked} bytes asked for: free some, raise the limit of locked memory, or choose the processor")]
    LockedMemory {
        /// Bytes asked for.
        asked: usize,
    },
    /// The device fell out of use: nothing on it can be trusted any more.
    #[error("{op}: the device was lost ({why}); what was on it is gone")]
    Lost {
        /// Call.
        op: &'static str,
        /// The driver's words.
        why: String,
    },
    /// Any other refusal of the driver.
    #[error("{op}: {why}")]
    Driver {
        /// Call.
        op: &'static str,
        /// The driver's words.
        why: String,
    },
    /// An operand that lives elsewhere; nothing is copied behind the caller's back.
    #[error("{op}: {what}: expected it on {expected}, got it on {got}")]
    Mixed {
        /// Operator.
        op: &'static str,
        /// Operand.
        what: &'static str,
        /// Where the operator runs.
        expected: String,
        /// Where the operand is.
        got: String,
    },
    /// An argument outside its range.
    #[error(transparent)]
    Argument(#[from] KernelError),
}

impl CudaError {
    /// Whether the device itself is gone, so that it must be opened anew.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// A length or size that does not fit.
pub(super) fn check(op: &'static str, what: &'static str, ok: bool, expected: impl ToString, got: impl ToString) -> Result<(), CudaError> {
    if ok {
        Ok(())
    } else {
        Err(CudaError::Argument(KernelError::Argument {
            op,
            what,
            expected: expected.to_string(),
            got: got.to_string(),
        }))
    }
}
