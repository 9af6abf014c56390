//! The CUDA twins: their sources and the arguments that they take.
//!
//! Sources are plain text with the shared part put in its place, compiled at run time for the device's
//! architecture. `scripts/check_kernels.py` compiles them for every architecture without a GPU, and
//! `tests/cuda_host.rs` runs them on the processor against the plain definitions.
//!
//! Limits: launching them on a device is not part of this crate yet.

pub mod args;

const COMMON: &str = include_str!("../../cuda/common.cuh");

/// Sources by name, without the shared part.
const SOURCES: [(&str, &str); 5] = [
    ("composite", include_str!("../../cuda/composite.cu")),
    ("cover", include_str!("../../cuda/cover.cu")),
    ("crop_affine", include_str!("../../cuda/crop_affine.cu")),
    ("edit_step", include_str!("../../cuda/edit_step.cu")),
    ("warp_edit", include_str!("../../cuda/warp_edit.cu")),
];

/// Names of the sources.
pub fn names() -> impl Iterator<Item = &'static str> {
    SOURCES.iter().map(|(name, _)| *name)
}

/// A kernel's whole source; `None` for an unknown name.
#[must_use]
pub fn source(name: &str) -> Option<String> {
    let (_, text) = SOURCES.iter().find(|(n, _)| *n == name)?;
    Some(text.replace("#include \"common.cuh\"", &COMMON.replace("#pragma once", "")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_source_is_whole_and_has_an_entry() {
        assert_eq!(super::names().count(), 5);
        for name in super::names() {
            let source = super::source(name).expect("listed");
            assert!(!source.contains("#include") && source.contains("extern \"C\" __global__"), "{name}");
        }
        assert_eq!(super::source("other"), None);
    }
}
