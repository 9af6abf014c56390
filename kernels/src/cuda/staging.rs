//! Page-locked memory of the processor: copies from and to it neither wait nor pass through the driver's own.
//!
//! Why: a copy to ordinary memory waits for the device, whatever its name says, so that a frame of two planes
//! would wait twice. What was sent is not touched again until the wait ([`super::Gpu::wait`]): [`super::Pass::run`]
//! waits before it returns, [`super::Loader`] before it sends the next frame where nobody has; on a lost device
//! nothing is under way.

use super::error::{CudaError, check};
use super::memory::{Buffer, Gpu};

/// Locked memory that grows and is kept.
#[derive(Debug)]
pub(super) struct Staging {
    gpu: Gpu,
    at: *mut u8,
    room: usize,
    len: usize,
}

// SAFETY: the memory is owned, and any thread may use it.
unsafe impl Send for Staging {}

impl Staging {
    pub(super) fn new(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.clone(),
            at: std::ptr::null_mut(),
            room: 0,
            len: 0,
        }
    }

    pub(super) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Forgets the content and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// So many bytes more, of unknown content.
    pub(super) fn extend(&mut self, bytes: usize) -> Result<&mut [u8], CudaError> {
        let start = self.len;
        let end = start.checked_add(bytes).filter(|end| *end <= isize::MAX as usize / 2);
        check("cuda::Staging", "length", end.is_some(), "a size that can be addressed", bytes)?;
        let end = end.unwrap_or(start);
        if end > self.room {
            self.grow(end)?;
        }
        self.len = end;
        Ok(self.bytes_mut().get_mut(start..).unwrap_or_default())
    }

    fn grow(&mut self, least: usize) -> Result<(), CudaError> {
        let room = least.next_power_of_two().max(1 << 16);
        let at = self.gpu.lock_pages(room)?;
        if self.len > 0 {
            // SAFETY: both are this object's memory, the new one longer, and they are two.
            unsafe { std::ptr::copy_nonoverlapping(self.at, at, self.len) };
        }
        self.free();
        (self.at, self.room) = (at, room);
        Ok(())
    }

    fn free(&mut self) {
        if !self.at.is_null() {
            self.gpu.unlock_pages(self.at, self.room);
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if self.at.is_null() {
            return &[];
        }
        // SAFETY: `len` bytes of the memory have been handed out by `extend`; locked memory comes filled.
        unsafe { std::slice::from_raw_parts(self.at, self.len) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        if self.at.is_null() {
            return &mut [];
        }
        // SAFETY: as above, and `self` is borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }

    /// Sends the first `bytes` to the beginning of a buffer.
    pub(super) fn upload(&mut self, to: &mut Buffer<u8>, bytes: usize) -> Result<(), CudaError> {
        to.write_at(0, self.bytes().get(..bytes).unwrap_or_default())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.free();
    }
}
