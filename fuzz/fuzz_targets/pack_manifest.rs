//! See [`bodies::pack_manifest`].
#![no_main]

#[path = "../src/bodies.rs"]
#[allow(dead_code)] // each target is one of the bodies
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Too few bytes for an input are no finding.
    let _ = bodies::pack_manifest(data);
});
