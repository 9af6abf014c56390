//! The CUDA twins: their sources and the arguments that they take.
//!
//! Sources are plain text with the shared part put in its place, compiled at run time for the device's
//! architecture. `scripts/check_kernels.py` compiles them for every architecture without a GPU, and
//! `tests/cuda_host.rs` runs them on the processor against the plain definitions.
//!
//! Launching: [`Gpu`] over a [`Driver`], which is NVIDIA's ([`Nvidia`]) on a machine with a GPU. The
//! driver and the compiler are loaded when first asked for; a machine without them gets a [`CudaError`].
//! `NULLFACE_REFERENCE=1` refuses the device, so that the plain definitions run.

pub mod args;
pub mod cache;
mod compile;
mod driver;
mod error;
mod face;
mod frame;
mod images;
mod layout;
mod memory;
mod nvidia;
pub mod ops;
mod padded;
mod paint;
mod pass;
mod resident;
mod staging;
mod tensor;
mod warp;
mod window;

pub use compile::{Compiler, find_nvrtc};
pub use driver::{DeviceInfo, Driver, Function, Grid, Rows};
pub use error::CudaError;
pub use face::{Added, Cropping, DeviceEdit, DeviceFace, DeviceTexture, Finishing, Moved, Painted, Painter, Painting, Reading, Shown};
pub use images::{Compiled, Event, Images};
pub use memory::{Buffer, Gpu, Plain, Traffic};
pub use nvidia::{Nvidia, has_driver};
pub use padded::{MaskAt, pad, padded_bytes};
pub use pass::Pass;
pub use resident::{Loader, Resident};
pub use tensor::Tensor;
pub use window::Window;

/// Opens a device with compiled and cached kernels.
///
/// # Errors
/// [`CudaError`]: no driver, no device, or the plain definitions are forced.
pub fn open(ordinal: u32, images: Compiled) -> Result<Gpu, CudaError> {
    if crate::reference_forced() {
        return Err(CudaError::Driver {
            op: "cuda::open",
            why: "NULLFACE_REFERENCE=1 asks for the plain definitions".to_owned(),
        });
    }
    Ok(Gpu::new(Box::new(Nvidia::open(ordinal)?), Box::new(images)))
}

/// What sources share, by the line that asks for it.
const SHARED: [(&str, &str); 4] = [
    ("#include \"common.cuh\"", include_str!("../../cuda/common.cuh")),
    ("#include \"lowpass.cuh\"", include_str!("../../cuda/lowpass.cuh")),
    ("#include \"raster.cuh\"", include_str!("../../cuda/raster.cuh")),
    ("#include \"tile.cuh\"", include_str!("../../cuda/tile.cuh")),
];

/// Sources by name, without the shared part.
const SOURCES: [(&str, &str); 8] = [
    ("composite", include_str!("../../cuda/composite.cu")),
    ("cover", include_str!("../../cuda/cover.cu")),
    ("crop_affine", include_str!("../../cuda/crop_affine.cu")),
    ("edit_step", include_str!("../../cuda/edit_step.cu")),
    ("finish_face", include_str!("../../cuda/finish_face.cu")),
    ("match_face", include_str!("../../cuda/match_face.cu")),
    ("paint_face", include_str!("../../cuda/paint_face.cu")),
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
    let put = |text: String, (line, shared): &(&str, &str)| text.replace(line, &shared.replace("#pragma once", ""));
    Some(SHARED.iter().fold((*text).to_owned(), put))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_source_is_whole_and_has_an_entry() {
        assert_eq!(super::names().count(), 8);
        for name in super::names() {
            let source = super::source(name).expect("listed");
            assert!(!source.contains("#include") && source.contains("extern \"C\" __global__"), "{name}");
        }
        assert_eq!(super::source("other"), None);
    }
}
