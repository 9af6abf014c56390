//! A driver without a GPU: its memory is the processor's, its kernels the `.cu` sources behind the host shim.
//!
//! What is above [`Driver`] runs as it would on a device. Downloads happen at the wait, so that who reads
//! before it sees old bytes; memory is bounded; the device can be lost after any number of calls.

#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::panic, reason = "test support")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use libloading::{Library, Symbol};
use nullface_kernels::cuda::{CudaError, DeviceInfo, Driver, Function, Gpu, Grid, Images, Rows};

/// Bytes of the device.
pub const MEMORY: usize = 256 << 20;

/// The kernels' library, compiled once a process.
pub fn library() -> &'static Library {
    static LIBRARY: OnceLock<(Library, tempfile::TempDir)> = OnceLock::new();
    &LIBRARY
        .get_or_init(|| {
            let folder = tempfile::tempdir().expect("folder");
            let file = folder.path().join("kernels.so");
            // The root crate's tests use this file too.
            let here = Path::new(env!("CARGO_MANIFEST_DIR"));
            let source = ["cuda/host.cpp", "kernels/cuda/host.cpp"]
                .map(|p| here.join(p))
                .into_iter()
                .find(|p| p.is_file());
            let out = Command::new("c++")
                .args("-std=c++17 -O1 -ffp-contract=off -Wall -Wextra -Werror -shared -fPIC -o".split(' '))
                .arg(&file)
                .arg(source.expect("the host build of the kernels"))
                .output()
                .expect("a C++ compiler; scripts/setup.sh brings one");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            // SAFETY: the library was compiled just now from this repository and has no initialisers of note.
            (unsafe { Library::new(&file) }.expect("loads"), folder)
        })
        .0
}

/// What tests look at and set while the driver belongs to a [`Gpu`].
#[derive(Debug, Default)]
pub struct Knobs {
    /// Calls until the device is lost; negative = never.
    pub calls_left: AtomicI64,
    /// Bytes in use.
    pub used: AtomicUsize,
    /// Bytes there are.
    pub memory: AtomicUsize,
    /// Bytes of page-locked memory in use.
    pub locked: AtomicUsize,
    /// Whether networks that run in the calling thread count as queued on its stream, as those do that are built on a
    /// device's own stream.
    pub in_order: AtomicBool,
    /// Whether threads and blocks run in reverse.
    pub reverse: AtomicBool,
    /// Names of the kernels launched.
    pub launched: Mutex<Vec<String>>,
}

struct Pending(u64, *mut u8, usize);
// SAFETY: moved between threads with the driver, used under its mutex.
unsafe impl Send for Pending {}

/// The driver.
pub struct Shim {
    info: DeviceInfo,
    knobs: Arc<Knobs>,
    entries: Mutex<Vec<String>>,
    pending: Mutex<Vec<Pending>>,
    sizes: Mutex<HashMap<u64, usize>>,
    /// Page-locked memory.
    locked: Mutex<HashMap<usize, usize>>,
    /// Copies from page-locked memory that may still be under way, as they were when they were queued.
    flying: Mutex<Vec<(Pending, Vec<u8>)>>,
}

impl std::fmt::Debug for Shim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shim")
    }
}

/// Gives names in place of machine code; refused code is counted.
#[derive(Debug, Default)]
pub struct Names;

impl Images for Names {
    fn image(&self, kernel: &str, _device: &DeviceInfo) -> Result<Vec<u8>, CudaError> {
        Ok(kernel.as_bytes().to_vec())
    }

    fn refused(&self, _kernel: &str, _device: &DeviceInfo) {}
}

/// A device over the shim.
pub fn gpu() -> (Gpu, Arc<Knobs>) {
    gpu_with(Box::new(Names))
}

/// The same with networks on its stream.
pub fn gpu_in_order() -> (Gpu, Arc<Knobs>) {
    let (gpu, knobs) = gpu();
    knobs.in_order.store(true, Ordering::SeqCst);
    (gpu, knobs)
}

pub fn gpu_with(images: Box<dyn Images>) -> (Gpu, Arc<Knobs>) {
    let knobs = Arc::new(Knobs::default());
    knobs.calls_left.store(-1, Ordering::SeqCst);
    knobs.memory.store(MEMORY, Ordering::SeqCst);
    let shim = Shim {
        info: DeviceInfo {
            ordinal: 0,
            name: "host shim".to_owned(),
            arch: 90,
            driver: 13000,
            memory: MEMORY,
        },
        knobs: knobs.clone(),
        entries: Mutex::default(),
        pending: Mutex::default(),
        sizes: Mutex::default(),
        locked: Mutex::default(),
        flying: Mutex::default(),
    };
    (Gpu::new(Box::new(shim), images), knobs)
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 256).expect("a size")
}

impl Shim {
    fn step(&self, op: &'static str) -> Result<(), CudaError> {
        let left = &self.knobs.calls_left;
        let now = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n > 0).then(|| n - 1));
        match now {
            Err(0) => {
                // What a lost device was at has ended.
                self.flying.lock().expect("lock").clear();
                Err(CudaError::Lost {
                    op,
                    why: "pulled out".to_owned(),
                })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        assert_eq!(self.knobs.used.load(Ordering::SeqCst), 0, "memory that was never given back");
        assert_eq!(
            self.knobs.locked.load(Ordering::SeqCst),
            0,
            "locked memory that was never given back"
        );
    }
}

impl Driver for Shim {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn is_host_memory(&self) -> bool {
        true
    }

    fn is_immediate(&self) -> bool {
        self.knobs.in_order.load(Ordering::SeqCst)
    }

    fn memory(&self) -> Result<(usize, usize), CudaError> {
        let all = self.knobs.memory.load(Ordering::SeqCst);
        Ok((all - self.knobs.used.load(Ordering::SeqCst).min(all), all))
    }

    fn allocate(&self, bytes: usize) -> Result<u64, CudaError> {
        self.step("allocate")?;
        let (free, total) = self.memory()?;
        if bytes > free {
            return Err(CudaError::Memory { asked: bytes, free, total });
        }
        self.knobs.used.fetch_add(bytes, Ordering::SeqCst);
        // SAFETY: sizes are above 0; released by `release` with the same layout.
        let address = unsafe { alloc_zeroed(layout(bytes)) } as u64;
        // Whoever reads what was never written sees no zeros.
        // SAFETY: allocated just now.
        unsafe { std::ptr::write_bytes(address as *mut u8, 0xcd, bytes) };
        self.sizes.lock().expect("lock").insert(address, bytes);
        Ok(address)
    }

    fn release(&self, address: u64, bytes: usize) {
        let size = self.sizes.lock().expect("lock").remove(&address);
        assert_eq!(size, Some(bytes), "released as it was taken");
        self.knobs.used.fetch_sub(bytes, Ordering::SeqCst);
        // SAFETY: taken with the same layout, and once, by the line above.
        unsafe { dealloc(address as *mut u8, layout(bytes)) };
    }

    fn lock_pages(&self, bytes: usize) -> Result<*mut u8, CudaError> {
        self.step("lock pages")?;
        if bytes > self.knobs.memory.load(Ordering::SeqCst) {
            return Err(CudaError::LockedMemory { asked: bytes });
        }
        self.knobs.locked.fetch_add(bytes, Ordering::SeqCst);
        // SAFETY: sizes are above 0; released by `unlock_pages` with the same layout.
        let at = unsafe { alloc_zeroed(layout(bytes)) };
        // SAFETY: allocated just now.
        unsafe { std::ptr::write_bytes(at, 0xab, bytes) };
        self.locked.lock().expect("lock").insert(at as usize, bytes);
        Ok(at)
    }

    fn unlock_pages(&self, at: *mut u8, bytes: usize) {
        let size = self.locked.lock().expect("lock").remove(&(at as usize));
        assert_eq!(size, Some(bytes), "given back as it was taken");
        let flying = self.flying.lock().expect("lock");
        let used = |p: &Pending| (at as u64..at as u64 + bytes as u64).contains(&(p.0));
        assert!(!flying.iter().any(|(p, _)| used(p)), "given back while a copy may be under way");
        self.knobs.locked.fetch_sub(bytes, Ordering::SeqCst);
        // SAFETY: taken with the same layout, and once, by the line above.
        unsafe { dealloc(at, layout(bytes)) };
    }

    unsafe fn upload(&self, to: u64, bytes: &[u8]) -> Result<(), CudaError> {
        self.step("upload")?;
        let from = bytes.as_ptr() as usize;
        let locked = |(at, len): (&usize, &usize)| (*at..at + len).contains(&from);
        if self.locked.lock().expect("lock").iter().any(locked) {
            let source = Pending(from as u64, std::ptr::null_mut(), bytes.len());
            self.flying.lock().expect("lock").push((source, bytes.to_vec()));
        }
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    unsafe fn download(&self, from: u64, bytes: &mut [u8]) -> Result<(), CudaError> {
        self.step("download")?;
        self.pending
            .lock()
            .expect("lock")
            .push(Pending(from, bytes.as_mut_ptr(), bytes.len()));
        Ok(())
    }

    unsafe fn zero(&self, at: u64, bytes: usize) -> Result<(), CudaError> {
        self.step("zero")?;
        // SAFETY: the caller's promise.
        unsafe { std::ptr::write_bytes(at as *mut u8, 0, bytes) };
        Ok(())
    }

    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), CudaError> {
        self.step("copy")?;
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    unsafe fn copy_rows(&self, from: Rows, to: Rows, bytes: usize, rows: usize) -> Result<(), CudaError> {
        self.step("copy rows")?;
        assert!(bytes <= from.pitch && bytes <= to.pitch, "rows that overlap their neighbours");
        for row in 0..rows {
            let at = |r: Rows| r.at as usize + row * r.pitch;
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(at(from) as *const u8, at(to) as *mut u8, bytes) };
        }
        Ok(())
    }

    fn load(&self, kernel: &str, image: &[u8], entries: &[&str]) -> Result<Vec<Function>, CudaError> {
        self.step("load")?;
        if image != kernel.as_bytes() {
            return Err(CudaError::Image {
                kernel: kernel.to_owned(),
                why: "foreign".to_owned(),
            });
        }
        let mut all = self.entries.lock().expect("lock");
        Ok(entries
            .iter()
            .map(|e| {
                all.push((*e).to_owned());
                Function(all.len() as u64 - 1)
            })
            .collect())
    }

    unsafe fn launch(&self, function: Function, grid: Grid, args: &[u8]) -> Result<(), CudaError> {
        type Entry = unsafe extern "C" fn(*const c_void, *const u32, *const u32, i32) -> i32;
        type Size = unsafe extern "C" fn() -> usize;
        self.step("launch")?;
        let name = self.entries.lock().expect("lock")[function.0 as usize].clone();
        self.knobs.launched.lock().expect("lock").push(name.clone());
        // SAFETY: both symbols have these types by the shim's HOST_ENTRY.
        let (entry, size): (Symbol<'_, Entry>, Symbol<'_, Size>) = unsafe {
            (
                library().get(format!("host_{name}").as_bytes()).expect("entry"),
                library().get(format!("size_{name}").as_bytes()).expect("size"),
            )
        };
        // SAFETY: takes nothing, reads nothing.
        assert_eq!(unsafe { size() }, args.len(), "{name}: layout of the arguments");
        let reverse = i32::from(self.knobs.reverse.load(Ordering::SeqCst));
        // SAFETY: the bytes are the kernel's argument by the line above, addresses the caller's promise.
        let result = unsafe { entry(args.as_ptr().cast(), grid.blocks.as_ptr(), grid.threads.as_ptr(), reverse) };
        assert_eq!(result, 0, "{name} {grid:?}");
        Ok(())
    }

    fn wait(&self) -> Result<(), CudaError> {
        let pending: Vec<Pending> = self.pending.lock().expect("lock").drain(..).collect();
        for (Pending(from, _, len), was) in self.flying.lock().expect("lock").drain(..) {
            // SAFETY: locked memory lives while a copy of it may be under way, by the check in `unlock_pages`.
            let now = unsafe { std::slice::from_raw_parts(from as *const u8, len) };
            assert!(now == was, "page-locked memory was written while a copy of it was under way");
        }
        self.step("wait")?;
        for Pending(from, to, len) in pending {
            // SAFETY: both sides live until the wait, by the contract of `download`.
            unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to, len) };
        }
        Ok(())
    }
}
