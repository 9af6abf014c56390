//! Asks the C library to give large blocks back to the system when they are freed.
//!
//! By default glibc raises its threshold for that with every large block it sees freed, up to 32 MB, and
//! then keeps what the models' files and first passes needed for loading. Over one film of 480×908 the
//! peak of the process was 213 MiB with the threshold fixed and 225 without, for a twentieth more
//! processor time. The element leaves this to its host; a command is a host of its own.

/// Blocks from this size are mapped apart and unmapped when freed, and so much free memory may stay at
/// the top of the heap, bytes. A frame of 480×908 lies just above.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const APART_BYTES: libc::c_int = 512 << 10;

/// Sets the thresholds; call once, before threads start.
pub(crate) fn give_back_early() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: `mallopt` takes any pair of numbers and answers 0 for those it refuses; no thread of
        // ours exists yet that could allocate meanwhile. Refused means the default, which is no fault.
        let _ = unsafe { libc::mallopt(option, APART_BYTES) };
    }
}
