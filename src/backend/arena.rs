//! One arena for the tensors of all networks on the processor.
//!
//! By default each of the runtime's sessions has an arena of its own, keeps what its largest run needed, and grows by
//! powers of two. Most networks of a frame run one after the other, so they can use the same memory, and it grows by
//! what is asked for. Peak of the command over one film of 480×908: `blur` 218 to 206 MiB.

use std::ptr;

use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};

/// Registers the arena; sessions built with the environment's allocators use it.
///
/// # Errors
/// What the runtime says.
pub(super) fn share(environment: &Environment) -> Result<(), ort::Error> {
    let info = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)?;
    let mut config = ptr::null_mut();
    let api = ort::api();
    let (any_size, same_as_requested, by_default) = (0, 1, -1);
    // SAFETY: plain numbers and a place for the result.
    let status = unsafe { (api.CreateArenaCfg)(any_size, same_as_requested, by_default, by_default, &raw mut config) };
    // SAFETY: the status came from the call just now and is consumed here.
    unsafe { ort::Error::result_from_status(status) }?;
    // SAFETY: all three live; the runtime copies what it needs of the description and the configuration.
    let status = unsafe { (api.CreateAndRegisterAllocator)(environment.ptr().cast_mut(), info.ptr(), config) };
    // SAFETY: made above, not used after.
    unsafe { (api.ReleaseArenaCfg)(config) };
    // SAFETY: as above.
    unsafe { ort::Error::result_from_status(status) }
}
