//! Asks the C library to give large blocks back to the system when they are freed, and to keep few heaps.
//!
//! By default glibc raises its threshold for that with every large block it sees freed, up to 32 MB, and
//! then keeps what the models' files and first passes needed for loading. Over one film of 480×908 the
//! peak of the process was 213 MiB with the threshold fixed and 225 without, for a twentieth more
//! processor time. A heap for each of some twenty threads, most of which hold little, are 4 MiB more than two for
//! all. The element leaves this to its host; a command is a host of its own.

/// Blocks from this size are mapped apart and unmapped when freed, and so much free memory may stay at
/// the top of the heap, bytes. A frame of 480×908 lies just above.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const APART_BYTES: libc::c_int = 512 << 10;

/// Heaps of a process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: libc::c_int = 2;

/// Sets the thresholds; call once, before threads start.
pub(crate) fn give_back_early() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in [
        (libc::M_MMAP_THRESHOLD, APART_BYTES),
        (libc::M_TRIM_THRESHOLD, APART_BYTES),
        (libc::M_ARENA_MAX, HEAPS),
    ] {
        // SAFETY: `mallopt` takes any pair of numbers and answers 0 for those it refuses; no thread of
        // ours exists yet that could allocate meanwhile. Refused means the default, which is no fault.
        let _ = unsafe { libc::mallopt(option, value) };
    }
}
