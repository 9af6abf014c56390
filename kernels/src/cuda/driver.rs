//! The few calls of a driver that the operators need, behind one door: NVIDIA's driver on a GPU, and in
//! tests a driver whose memory is the processor's and whose kernels are the same sources behind the host
//! shim. What stands above this door is the same code in both.
//!
//! | | |
//! |---|---|
//! | stream | one a driver; everything is queued on it in call order |
//! | waiting | only [`Driver::wait`] waits for the device; copies of pageable memory return once the bytes are staged, copies of page-locked memory at once |
//! | errors | [`CudaError`]; a lost device is told apart, because what was on it is gone |

use std::ffi::c_void;
use std::ptr::NonNull;

use super::CudaError;

/// A device and what made its machine code must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Number among the machine's devices.
    pub ordinal: u32,
    /// Marketing name.
    pub name: String,
    /// Compute capability, 90 for 9.0.
    pub arch: u32,
    /// The driver's CUDA version, 13000 for 13.0.
    pub driver: u32,
    /// Memory, bytes.
    pub memory: usize,
}

/// A kernel that was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function(pub u64);

/// Numbers of blocks and of threads a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks.
    pub blocks: [u32; 3],
    /// Threads a block.
    pub threads: [u32; 3],
}

/// Where rows begin and how far apart they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Address of the first byte.
    pub at: u64,
    /// Bytes from row to row.
    pub pitch: usize,
}

/// A device's driver.
pub trait Driver: Send + Sync + std::fmt::Debug {
    /// The device.
    fn info(&self) -> &DeviceInfo;

    /// Whether its memory is the processor's, as a driver of the tests has it.
    fn is_host_memory(&self) -> bool {
        false
    }

    /// The stream that everything is queued on, for others that are to queue on it too; it lives as long as the
    /// driver.
    fn stream(&self) -> Option<NonNull<c_void>> {
        None
    }

    /// Whether what is called is done when the call returns (but downloads), as with a driver of the tests: it then
    /// is in order with whoever else runs in the calling thread.
    fn is_immediate(&self) -> bool {
        false
    }

    /// Bytes free and in all.
    ///
    /// # Errors
    /// [`CudaError`].
    fn memory(&self) -> Result<(usize, usize), CudaError>;

    /// Takes memory; `bytes` is above 0.
    ///
    /// # Errors
    /// [`CudaError::Memory`] where there is too little.
    fn allocate(&self, bytes: usize) -> Result<u64, CudaError>;

    /// Gives memory back, after what is queued has used it.
    fn release(&self, address: u64, bytes: usize);

    /// Takes page-locked memory of the processor, filled with whatever; `bytes` is above 0.
    ///
    /// # Errors
    /// [`CudaError::LockedMemory`] where there is too little.
    fn lock_pages(&self, bytes: usize) -> Result<*mut u8, CudaError>;

    /// Gives it back; nothing that is queued uses it any more.
    fn unlock_pages(&self, at: *mut u8, bytes: usize);

    /// Queues a copy to the device.
    ///
    /// # Safety
    /// `to` is the address of at least as many bytes of this driver's memory; bytes in page-locked memory
    /// stay as they are until [`Driver::wait`] has returned.
    ///
    /// # Errors
    /// [`CudaError`].
    unsafe fn upload(&self, to: u64, bytes: &[u8]) -> Result<(), CudaError>;

    /// Queues a copy from the device; `bytes` is right only after [`Driver::wait`].
    ///
    /// # Safety
    /// `from` is the address of at least as many bytes of this driver's memory, and `bytes` lives
    /// and stays unread until [`Driver::wait`] has returned.
    ///
    /// # Errors
    /// [`CudaError`].
    unsafe fn download(&self, from: u64, bytes: &mut [u8]) -> Result<(), CudaError>;

    /// Queues filling with zeros.
    ///
    /// # Safety
    /// As [`Driver::upload`].
    ///
    /// # Errors
    /// [`CudaError`].
    unsafe fn zero(&self, at: u64, bytes: usize) -> Result<(), CudaError>;

    /// Queues a copy inside the device.
    ///
    /// # Safety
    /// Both ranges are this driver's memory and do not overlap.
    ///
    /// # Errors
    /// [`CudaError`].
    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), CudaError>;

    /// Queues a copy of rows inside the device: `bytes` of each of `rows` rows.
    ///
    /// # Safety
    /// Both rectangles are this driver's memory and do not overlap.
    ///
    /// # Errors
    /// [`CudaError`].
    unsafe fn copy_rows(&self, from: Rows, to: Rows, bytes: usize, rows: usize) -> Result<(), CudaError>;

    /// Loads machine code and finds its entries.
    ///
    /// # Errors
    /// [`CudaError::Image`] where the driver refuses it or an entry is not in it.
    fn load(&self, kernel: &str, image: &[u8], entries: &[&str]) -> Result<Vec<Function>, CudaError>;

    /// Queues a kernel with one argument, passed by value.
    ///
    /// # Safety
    /// `function` is this driver's, `args` are the bytes of the structure that it takes, and every address
    /// in them is of memory that is long enough by the kernel's contract.
    ///
    /// # Errors
    /// [`CudaError`].
    unsafe fn launch(&self, function: Function, grid: Grid, args: &[u8]) -> Result<(), CudaError>;

    /// Waits until everything queued is done.
    ///
    /// # Errors
    /// [`CudaError`] of anything that was queued.
    fn wait(&self) -> Result<(), CudaError>;
}
