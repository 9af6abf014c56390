//! NVIDIA's driver, loaded when a device is first asked for. Never panics where it is missing.
//!
//! Every call binds the context to its thread, so that the element may move between threads.
//! Unsafe is in the calls of the driver alone; addresses and lengths are [`super::Buffer`]'s to keep.

use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::Mutex;

use cudarc::driver::{DriverError, result, sys};

use super::driver::{DeviceInfo, Driver, Function, Grid, Rows};
use super::error::CudaError;

/// One device with a stream of its own.
#[derive(Debug)]
pub struct Nvidia {
    info: DeviceInfo,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    modules: Mutex<Vec<Module>>,
}

#[derive(Debug)]
struct Module(sys::CUmodule);

// SAFETY: handles of the driver may be used from any thread once the context is bound to it, which every call does.
unsafe impl Send for Nvidia {}
// SAFETY: the driver serialises calls on one stream itself; the list of modules is behind a mutex.
unsafe impl Sync for Nvidia {}

/// Whether the driver's library can be loaded; a library without a device also counts.
#[must_use]
pub fn has_driver() -> bool {
    // SAFETY: opens and closes the driver's library, whose initialisers have no requirements.
    unsafe { sys::is_culib_present() }
}

/// Codes after which a context answers nothing but errors.
fn is_fatal(code: sys::CUresult) -> bool {
    use sys::cudaError_enum as e;
    [
        e::CUDA_ERROR_ILLEGAL_ADDRESS,
        e::CUDA_ERROR_LAUNCH_FAILED,
        e::CUDA_ERROR_LAUNCH_TIMEOUT,
        e::CUDA_ERROR_ECC_UNCORRECTABLE,
        e::CUDA_ERROR_HARDWARE_STACK_ERROR,
        e::CUDA_ERROR_ILLEGAL_INSTRUCTION,
        e::CUDA_ERROR_MISALIGNED_ADDRESS,
        e::CUDA_ERROR_INVALID_ADDRESS_SPACE,
        e::CUDA_ERROR_INVALID_PC,
        e::CUDA_ERROR_CONTEXT_IS_DESTROYED,
        e::CUDA_ERROR_DEVICE_UNAVAILABLE,
        e::CUDA_ERROR_UNKNOWN,
        e::CUDA_ERROR_DEINITIALIZED,
    ]
    .contains(&code)
}

fn failed(op: &'static str) -> impl Fn(DriverError) -> CudaError {
    move |e| {
        let name = e.error_name().map(|n| n.to_string_lossy().into_owned());
        let why = name.unwrap_or_else(|_| format!("code {:?}", e.0));
        if is_fatal(e.0) {
            CudaError::Lost { op, why }
        } else {
            CudaError::Driver { op, why }
        }
    }
}

impl Nvidia {
    /// Opens a device.
    ///
    /// # Errors
    /// [`CudaError::NoDriver`], [`CudaError::NoDevice`], or what the driver says.
    pub fn open(ordinal: u32) -> Result<Self, CudaError> {
        if !has_driver() {
            return Err(CudaError::NoDriver);
        }
        let none = |found| CudaError::NoDevice { ordinal, found };
        result::init().map_err(|e| match e.0 {
            sys::cudaError_enum::CUDA_ERROR_NO_DEVICE => none(0),
            _ => failed("cuInit")(e),
        })?;
        let found = u32::try_from(result::device::get_count().map_err(failed("cuDeviceGetCount"))?).unwrap_or(0);
        let number = i32::try_from(ordinal).ok().filter(|_| ordinal < found).ok_or_else(|| none(found))?;
        let device = result::device::get(number).map_err(failed("cuDeviceGet"))?;
        let attribute = |which| {
            // SAFETY: `device` came from the driver just now.
            let value = unsafe { result::device::get_attribute(device, which) };
            value.map_err(failed("cuDeviceGetAttribute"))
        };
        let major = attribute(sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let mut driver = 0;
        // SAFETY: writes one integer.
        unsafe { sys::cuDriverGetVersion(&raw mut driver) }
            .result()
            .map_err(failed("cuDriverGetVersion"))?;
        // SAFETY: `device` came from the driver just now; the context is given back in `drop`.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed("cuDevicePrimaryCtxRetain"))?;
        let mut opened = Self {
            info: DeviceInfo {
                ordinal,
                name: result::device::get_name(device).unwrap_or_else(|_| "unknown".to_owned()),
                arch: u32::try_from(major * 10 + minor).unwrap_or(0),
                driver: u32::try_from(driver).unwrap_or(0),
                // SAFETY: `device` came from the driver just now.
                memory: unsafe { result::device::total_mem(device) }.unwrap_or(0),
            },
            device,
            context,
            stream: std::ptr::null_mut(),
            modules: Mutex::new(Vec::new()),
        };
        opened.bind("cuCtxSetCurrent")?;
        opened.stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed("cuStreamCreate"))?;
        Ok(opened)
    }

    fn bind(&self, op: &'static str) -> Result<(), CudaError> {
        // SAFETY: the context is retained until `drop`.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed(op))
    }
}

impl Drop for Nvidia {
    fn drop(&mut self) {
        // A lost device refuses all of this; there is nobody left to tell.
        let _ = self.bind("drop");
        let modules = self.modules.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        for module in modules.drain(..) {
            // SAFETY: loaded by `load`, and no launch can follow.
            let _ = unsafe { result::module::unload(module.0) };
        }
        if !self.stream.is_null() {
            // SAFETY: made by `open`, used by nobody after this.
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
        // SAFETY: retained once by `open`.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

impl Driver for Nvidia {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn stream(&self) -> Option<NonNull<c_void>> {
        NonNull::new(self.stream.cast())
    }

    fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.bind("cuMemGetInfo")?;
        result::mem_get_info().map_err(failed("cuMemGetInfo"))
    }

    fn allocate(&self, bytes: usize) -> Result<u64, CudaError> {
        self.bind("cuMemAlloc")?;
        // SAFETY: the address is handed out once and released once, by `Buffer`.
        unsafe { result::malloc_sync(bytes) }.map_err(|e| match e.0 {
            sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY => {
                let (free, total) = result::mem_get_info().unwrap_or((0, self.info.memory));
                CudaError::Memory { asked: bytes, free, total }
            }
            _ => failed("cuMemAlloc")(e),
        })
    }

    fn release(&self, address: u64, _bytes: usize) {
        if self.bind("cuMemFree").is_ok() {
            // SAFETY: came from `allocate`; `cuMemFree` waits for what is queued on it.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    fn lock_pages(&self, bytes: usize) -> Result<*mut u8, CudaError> {
        self.bind("cuMemHostAlloc")?;
        // SAFETY: handed out once and given back once, by `Staging`.
        unsafe { result::malloc_host(bytes, 0) }
            .map(<*mut c_void>::cast)
            .map_err(|e| match e.0 {
                sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY => CudaError::LockedMemory { asked: bytes },
                _ => failed("cuMemHostAlloc")(e),
            })
    }

    fn unlock_pages(&self, at: *mut u8, _bytes: usize) {
        if self.bind("cuMemFreeHost").is_ok() {
            // SAFETY: came from `lock_pages`, and nothing queued uses it by the contract.
            let _ = unsafe { result::free_host(at.cast()) };
        }
    }

    unsafe fn upload(&self, to: u64, bytes: &[u8]) -> Result<(), CudaError> {
        self.bind("cuMemcpyHtoDAsync")?;
        // SAFETY: the caller's promise; pageable bytes are staged before the call returns.
        unsafe { result::memcpy_htod_async(to, bytes, self.stream) }.map_err(failed("cuMemcpyHtoDAsync"))
    }

    unsafe fn download(&self, from: u64, bytes: &mut [u8]) -> Result<(), CudaError> {
        self.bind("cuMemcpyDtoHAsync")?;
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_dtoh_async(bytes, from, self.stream) }.map_err(failed("cuMemcpyDtoHAsync"))
    }

    unsafe fn zero(&self, at: u64, bytes: usize) -> Result<(), CudaError> {
        self.bind("cuMemsetD8Async")?;
        // SAFETY: the caller's promise.
        unsafe { result::memset_d8_async(at, 0, bytes, self.stream) }.map_err(failed("cuMemsetD8Async"))
    }

    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), CudaError> {
        self.bind("cuMemcpyDtoDAsync")?;
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }.map_err(failed("cuMemcpyDtoDAsync"))
    }

    unsafe fn copy_rows(&self, from: Rows, to: Rows, bytes: usize, rows: usize) -> Result<(), CudaError> {
        self.bind("cuMemcpy2DAsync")?;
        let device = sys::CUmemorytype_enum::CU_MEMORYTYPE_DEVICE;
        let copy = sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: device,
            srcHost: std::ptr::null(),
            srcDevice: from.at,
            srcArray: std::ptr::null_mut(),
            srcPitch: from.pitch,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: device,
            dstHost: std::ptr::null_mut(),
            dstDevice: to.at,
            dstArray: std::ptr::null_mut(),
            dstPitch: to.pitch,
            WidthInBytes: bytes,
            Height: rows,
        };
        // SAFETY: the caller's promise; the driver has read the description when the call returns.
        unsafe { sys::cuMemcpy2DAsync_v2(&raw const copy, self.stream) }
            .result()
            .map_err(failed("cuMemcpy2DAsync"))
    }

    fn load(&self, kernel: &str, image: &[u8], entries: &[&str]) -> Result<Vec<Function>, CudaError> {
        self.bind("cuModuleLoadData")?;
        let refused = |e: DriverError| match failed("cuModuleLoadData")(e) {
            lost @ CudaError::Lost { .. } => lost,
            other => CudaError::Image {
                kernel: kernel.to_owned(),
                why: other.to_string(),
            },
        };
        // SAFETY: `image` is whole machine code by its checked length and hash; the driver checks the rest.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) }.map_err(refused)?;
        let found = entries
            .iter()
            .map(|entry| {
                let name = CString::new(*entry).unwrap_or_default();
                // SAFETY: `module` was loaded just now.
                unsafe { result::module::get_function(module, name) }
                    .map(|f| Function(f as u64))
                    .map_err(refused)
            })
            .collect();
        self.modules
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(Module(module));
        found
    }

    unsafe fn launch(&self, function: Function, grid: Grid, args: &[u8]) -> Result<(), CudaError> {
        self.bind("cuLaunchKernel")?;
        let ([x, y, z], [tx, ty, tz]) = (grid.blocks, grid.threads);
        let mut params = [args.as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: the caller's promise; the driver copies the argument before the call returns.
        unsafe { result::launch_kernel(function.0 as sys::CUfunction, (x, y, z), (tx, ty, tz), 0, self.stream, &mut params) }
            .map_err(failed("cuLaunchKernel"))
    }

    fn wait(&self) -> Result<(), CudaError> {
        self.bind("cuStreamSynchronize")?;
        // SAFETY: the stream lives until `drop`.
        unsafe { result::stream::synchronize(self.stream) }.map_err(failed("cuStreamSynchronize"))
    }
}
