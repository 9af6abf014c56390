//! A device's memory and its loaded kernels, owned: what [`super::ops`] stands on.
//!
//! | | |
//! |---|---|
//! | residency | a [`Buffer`] is on its device for life; [`super::Tensor`] says where values are, and gives them only to who asks for that place |
//! | reuse | memory that is dropped is kept for the next buffer of its size class: all work is on one stream, so whoever gets it is queued behind whoever had it |
//! | waiting | [`Buffer::read`] and [`Gpu::wait`] wait and are counted ([`Gpu::traffic`]); nothing else does |
//! | lost device | every call after the first [`CudaError::Lost`] is refused without touching the driver |

use std::collections::HashMap;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::driver::{DeviceInfo, Driver, Function, Grid, Rows};
use super::error::{CudaError, check};
use super::images::Images;

/// Values that are the same bytes on both sides.
///
/// # Safety
/// `repr(C)` or a number, without padding, and every bit pattern is a value.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}
// SAFETY: numbers.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}
// SAFETY: sixteen bits, transparent.
unsafe impl Plain for half::f16 {}

/// The bytes of values.
pub(super) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: `Plain` has no padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

fn bytes_of_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: `Plain` has no padding, and any bytes are values.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

/// What crossed the bus and how often was waited, since the device was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Copies to the device.
    pub uploads: u64,
    /// Their bytes.
    pub uploaded: u64,
    /// Copies from it.
    pub downloads: u64,
    /// Their bytes.
    pub downloaded: u64,
    /// Waits.
    pub waits: u64,
    /// Kernels.
    pub launches: u64,
    /// Memory taken from the driver; reuse does not count.
    pub allocations: u64,
}

impl Traffic {
    /// What came after an earlier count of the same device.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            uploads: self.uploads - before.uploads,
            uploaded: self.uploaded - before.uploaded,
            downloads: self.downloads - before.downloads,
            downloaded: self.downloaded - before.downloaded,
            waits: self.waits - before.waits,
            launches: self.launches - before.launches,
            allocations: self.allocations - before.allocations,
        }
    }
}

#[derive(Debug, Default)]
struct Counters([AtomicU64; 7]);

#[derive(Debug)]
struct Inner {
    driver: Box<dyn Driver>,
    images: Box<dyn Images>,
    functions: Mutex<HashMap<&'static str, Vec<Function>>>,
    spare: Mutex<HashMap<usize, Vec<u64>>>,
    counters: Counters,
    /// The latest wait that has ended; waits are numbered by their counter.
    settled: AtomicU64,
    lost: AtomicBool,
}

/// A point in the order of what is queued; see [`Gpu::mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64);

/// A device in use; clones are the same one.
#[derive(Debug, Clone)]
pub struct Gpu(Arc<Inner>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Size classes: powers of two and the steps of a quarter between them, at least 256 bytes.
fn class(bytes: usize) -> usize {
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() / 8).max(64);
    bytes.div_ceil(step) * step
}

impl Gpu {
    /// Over a driver, with code from `images`.
    #[must_use]
    pub fn new(driver: Box<dyn Driver>, images: Box<dyn Images>) -> Self {
        Self(Arc::new(Inner {
            driver,
            images,
            functions: Mutex::default(),
            spare: Mutex::default(),
            counters: Counters::default(),
            settled: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        }))
    }

    /// The device.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        self.0.driver.info()
    }

    /// Where its buffers are, in words.
    #[must_use]
    pub fn place(&self) -> String {
        format!("cuda:{}", self.info().ordinal)
    }

    /// Whether its buffers are in the processor's memory, as a driver of the tests has them.
    #[must_use]
    pub fn is_host_memory(&self) -> bool {
        self.0.driver.is_host_memory()
    }

    /// The stream that everything is queued on, for others that are to queue on it too; it lives as long as this.
    #[must_use]
    pub fn stream(&self) -> Option<NonNull<c_void>> {
        self.0.driver.stream()
    }

    /// Whether what is queued is done at once, as with a driver of the tests.
    #[must_use]
    pub fn is_immediate(&self) -> bool {
        self.0.driver.is_immediate()
    }

    /// Whether both are the same device in use.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the device was lost: then open another.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.lost.load(Ordering::Acquire)
    }

    /// What crossed the bus so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let at = |i: usize| self.0.counters.0[i].load(Ordering::Relaxed);
        Traffic {
            uploads: at(0),
            uploaded: at(1),
            downloads: at(2),
            downloaded: at(3),
            waits: at(4),
            launches: at(5),
            allocations: at(6),
        }
    }

    fn count(&self, which: usize, n: usize) {
        self.0.counters.0[which].fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Calls the driver, unless the device is lost.
    fn call<T>(&self, op: &'static str, run: impl FnOnce(&dyn Driver) -> Result<T, CudaError>) -> Result<T, CudaError> {
        if self.is_lost() {
            return Err(CudaError::Lost {
                op,
                why: "an earlier call found it gone".to_owned(),
            });
        }
        let result = run(self.0.driver.as_ref());
        if matches!(&result, Err(e) if e.is_lost()) {
            self.0.lost.store(true, Ordering::Release);
        }
        result
    }

    /// Waits for everything queued: the one place where a frame should.
    ///
    /// # Errors
    /// [`CudaError`] of anything queued.
    pub fn wait(&self) -> Result<(), CudaError> {
        let number = self.0.counters.0[4].fetch_add(1, Ordering::AcqRel) + 1;
        self.call("wait", |d| d.wait())?;
        self.0.settled.fetch_max(number, Ordering::AcqRel);
        Ok(())
    }

    /// A mark behind everything queued so far, for [`Self::is_past`].
    pub(super) fn mark(&self) -> Mark {
        Mark(self.0.counters.0[4].load(Ordering::Acquire))
    }

    /// Whether a wait that began after the mark has ended, whoever waited; on a lost device nothing is under way.
    pub(super) fn is_past(&self, mark: Mark) -> bool {
        self.is_lost() || self.0.settled.load(Ordering::Acquire) > mark.0
    }

    /// Bytes free and in all.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.call("memory", |d| d.memory())
    }

    fn take(&self, bytes: usize) -> Result<u64, CudaError> {
        let size = class(bytes);
        if let Some(address) = locked(&self.0.spare).get_mut(&size).and_then(Vec::pop) {
            return Ok(address);
        }
        self.count(6, 1);
        let first = self.call("allocate", |d| d.allocate(size));
        match first {
            Err(CudaError::Memory { .. }) => {
                self.trim();
                self.call("allocate", |d| d.allocate(size))
            }
            other => other,
        }
    }

    /// Page-locked memory of the processor; counted like memory of the device.
    pub(super) fn lock_pages(&self, bytes: usize) -> Result<*mut u8, CudaError> {
        self.count(6, 1);
        self.call("lock pages", |d| d.lock_pages(bytes))
    }

    /// Gives it back; nothing that is queued uses it any more.
    pub(super) fn unlock_pages(&self, at: *mut u8, bytes: usize) {
        self.0.driver.unlock_pages(at, bytes);
    }

    /// Gives memory that is kept for reuse back to the driver.
    pub fn trim(&self) {
        for (size, addresses) in locked(&self.0.spare).drain() {
            for address in addresses {
                self.0.driver.release(address, size);
            }
        }
    }

    /// A buffer of unknown content, for who writes every value before it is read.
    ///
    /// # Errors
    /// [`CudaError::Memory`] where there is too little.
    pub fn unfilled<T: Plain>(&self, len: usize) -> Result<Buffer<T>, CudaError> {
        let bytes = len.checked_mul(size_of::<T>()).filter(|b| *b <= isize::MAX as usize);
        check("cuda::Buffer", "length", bytes.is_some(), "a size that can be addressed", len)?;
        Ok(Buffer {
            address: self.take(bytes.unwrap_or(0))?,
            gpu: self.clone(),
            len,
            values: PhantomData,
        })
    }

    /// A buffer of zeros.
    ///
    /// # Errors
    /// [`CudaError::Memory`] where there is too little.
    pub fn zeros<T: Plain>(&self, len: usize) -> Result<Buffer<T>, CudaError> {
        let buffer = self.unfilled(len)?;
        buffer.clear()?;
        Ok(buffer)
    }

    /// A buffer with these values.
    ///
    /// # Errors
    /// [`CudaError::Memory`] where there is too little.
    pub fn upload<T: Plain>(&self, values: &[T]) -> Result<Buffer<T>, CudaError> {
        let mut buffer = self.unfilled(values.len())?;
        buffer.write(values)?;
        Ok(buffer)
    }

    /// Reads several buffers whole, and waits once for all of them.
    ///
    /// # Errors
    /// Another number of values, a buffer of another device; [`CudaError`]. What was read is then without meaning.
    pub fn read_each<'a, T: Plain>(&self, parts: impl Iterator<Item = (&'a Buffer<T>, &'a mut [T])>) -> Result<(), CudaError> {
        let op = "cuda::Gpu::read_each";
        let mut queued = Ok(());
        for (buffer, out) in parts {
            queued = buffer
                .on(self, op, "buffer")
                .and_then(|_| check(op, "length", out.len() == buffer.len, buffer.len, out.len()))
                // SAFETY: waited for below, whatever came of it; on an error `out` is not handed on.
                .and_then(|()| unsafe { buffer.queue_read(out) });
            if queued.is_err() {
                break;
            }
        }
        let waited = self.wait();
        queued.and(waited)
    }

    /// The functions of a kernel's source, loaded once.
    fn functions(&self, kernel: &'static str, entries: &[&str]) -> Result<Vec<Function>, CudaError> {
        if let Some(found) = locked(&self.0.functions).get(kernel) {
            return Ok(found.clone());
        }
        let info = self.info();
        let image = self.0.images.image(kernel, info)?;
        let loaded = match self.call("load", |d| d.load(kernel, &image, entries)) {
            // Whole by its hash and yet refused: made under conditions that the key does not know.
            Err(CudaError::Image { .. }) => {
                self.0.images.refused(kernel, info);
                let image = self.0.images.image(kernel, info)?;
                self.call("load", |d| d.load(kernel, &image, entries))?
            }
            other => other?,
        };
        locked(&self.0.functions).insert(kernel, loaded.clone());
        Ok(loaded)
    }

    /// Queues one entry of a kernel's source.
    ///
    /// # Safety
    /// Every address in `args` is of this device's memory and as long as the kernel's contract says.
    pub(super) unsafe fn launch<A: Plain>(
        &self,
        kernel: &'static str,
        entries: &[&str],
        entry: usize,
        grid: Grid,
        args: &A,
    ) -> Result<(), CudaError> {
        let functions = self.functions(kernel, entries)?;
        let function = functions.get(entry).copied().ok_or_else(|| CudaError::Image {
            kernel: kernel.to_owned(),
            why: format!("no entry {entry}"),
        })?;
        self.count(5, 1);
        let bytes = bytes_of(std::slice::from_ref(args));
        // SAFETY: the function was loaded on this device and takes `A`; addresses are the caller's promise.
        self.call(kernel, |d| unsafe { d.launch(function, grid, bytes) })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for (size, addresses) in locked(&self.spare).drain() {
            for address in addresses {
                self.driver.release(address, size);
            }
        }
    }
}

/// Values on a device.
#[derive(Debug)]
pub struct Buffer<T: Plain> {
    gpu: Gpu,
    address: u64,
    len: usize,
    values: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address on the device, for who binds it to a session; valid while the buffer lives.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Queues writing all values.
    ///
    /// # Errors
    /// Another number of values; [`CudaError`].
    pub fn write(&mut self, values: &[T]) -> Result<(), CudaError> {
        self.write_at(0, values)
    }

    /// Queues writing values from an index on.
    ///
    /// # Errors
    /// Values beyond the end; [`CudaError`].
    pub fn write_at(&mut self, start: usize, values: &[T]) -> Result<(), CudaError> {
        let fits = start.checked_add(values.len()).is_some_and(|end| end <= self.len);
        check("cuda::Buffer::write", "end", fits, self.len, start.saturating_add(values.len()))?;
        if values.is_empty() {
            return Ok(());
        }
        self.gpu.count(0, 1);
        self.gpu.count(1, size_of_val(values));
        let to = self.address + (start * size_of::<T>()) as u64;
        // SAFETY: the range lies in the buffer by the check above.
        self.gpu.call("upload", |d| unsafe { d.upload(to, bytes_of(values)) })
    }

    /// Reads all values, and waits for them.
    ///
    /// # Errors
    /// Another number of values; [`CudaError`].
    pub fn read(&self, out: &mut [T]) -> Result<(), CudaError> {
        check("cuda::Buffer::read", "length", out.len() == self.len, self.len, out.len())?;
        // SAFETY: waited for in the next line; on an error `out` is not handed on.
        let queued = unsafe { self.queue_read(out) };
        let waited = self.gpu.wait();
        queued.and(waited)
    }

    /// Queues reading all values.
    ///
    /// # Safety
    /// `out` is alive and unread until [`Gpu::wait`] has returned, whatever this returns.
    pub(super) unsafe fn queue_read(&self, out: &mut [T]) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        unsafe { self.queue_read_at(0, out) }
    }

    /// Queues reading values from an index on.
    ///
    /// # Safety
    /// As [`Self::queue_read`].
    pub(super) unsafe fn queue_read_at(&self, start: usize, out: &mut [T]) -> Result<(), CudaError> {
        let fits = start.checked_add(out.len()).is_some_and(|end| end <= self.len);
        check("cuda::Buffer::read", "end", fits, self.len, start.saturating_add(out.len()))?;
        if out.is_empty() {
            return Ok(());
        }
        self.gpu.count(2, 1);
        self.gpu.count(3, size_of_val(out));
        let from = self.address + (start * size_of::<T>()) as u64;
        // SAFETY: the buffer is long enough by the check above; the rest is the caller's promise.
        self.gpu.call("download", |d| unsafe { d.download(from, bytes_of_mut(out)) })
    }

    /// Queues filling with zeros.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn clear(&self) -> Result<(), CudaError> {
        let bytes = self.len * size_of::<T>();
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the whole buffer.
        self.gpu.call("zero", |d| unsafe { d.zero(self.address, bytes) })
    }

    /// Queues a copy of `len` values of another buffer.
    ///
    /// # Errors
    /// Ranges beyond the ends, another device; [`CudaError`].
    pub fn copy_from(&mut self, to: usize, other: &Self, from: usize, len: usize) -> Result<(), CudaError> {
        let op = "cuda::Buffer::copy_from";
        other.on(&self.gpu, op, "source")?;
        let inside = |start: usize, all: usize| start.checked_add(len).is_some_and(|end| end <= all);
        check(
            op,
            "range",
            inside(to, self.len) && inside(from, other.len),
            format!("inside {} and {}", self.len, other.len),
            format!("{to}, {from}, {len}"),
        )?;
        let size = size_of::<T>();
        if len == 0 {
            return Ok(());
        }
        let at = |base: u64, index: usize| base + (index * size) as u64;
        // SAFETY: both ranges are inside; two buffers never overlap.
        self.gpu
            .call(op, |d| unsafe { d.copy(at(other.address, from), at(self.address, to), len * size) })
    }

    /// Queues a copy of rows of another buffer: `bytes` of each row, positions in bytes.
    ///
    /// # Errors
    /// Rows beyond the ends or longer than a pitch, another device; [`CudaError`].
    pub(super) fn copy_rows(
        &mut self,
        (to, to_pitch): (usize, usize),
        other: &Self,
        (from, from_pitch): (usize, usize),
        bytes: usize,
        rows: usize,
    ) -> Result<(), CudaError> {
        let op = "cuda::Buffer::copy_rows";
        other.on(&self.gpu, op, "source")?;
        if bytes == 0 || rows == 0 {
            return Ok(());
        }
        let inside = |start: usize, pitch: usize, all: usize| {
            let end = pitch.checked_mul(rows - 1).and_then(|n| n.checked_add(start)?.checked_add(bytes));
            bytes <= pitch && end.is_some_and(|end| end <= all * size_of::<T>())
        };
        check(
            op,
            "rows",
            inside(to, to_pitch, self.len) && inside(from, from_pitch, other.len),
            format!("inside {} and {}", self.len, other.len),
            format!("{rows} of {bytes} bytes at {to} every {to_pitch}, {from} every {from_pitch}"),
        )?;
        let at = |base: u64, start: usize, pitch| Rows {
            at: base + start as u64,
            pitch,
        };
        let (from, to) = (at(other.address, from, from_pitch), at(self.address, to, to_pitch));
        // SAFETY: both are inside by the check above; two buffers never overlap.
        self.gpu.call(op, |d| unsafe { d.copy_rows(from, to, bytes, rows) })
    }

    /// Refuses a buffer of another device.
    pub(super) fn on(&self, gpu: &Gpu, op: &'static str, what: &'static str) -> Result<u64, CudaError> {
        if Arc::ptr_eq(&self.gpu.0, &gpu.0) {
            Ok(self.address)
        } else {
            Err(CudaError::Mixed {
                op,
                what,
                expected: gpu.place(),
                got: format!("{} (another handle)", self.gpu.place()),
            })
        }
    }
}

impl<T: Plain> Drop for Buffer<T> {
    fn drop(&mut self) {
        let size = class(self.len * size_of::<T>());
        if self.gpu.is_lost() {
            self.gpu.0.driver.release(self.address, size);
        } else {
            locked(&self.gpu.0.spare).entry(size).or_default().push(self.address);
        }
    }
}
