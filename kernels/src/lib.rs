//! Image operators of nullface.
//!
//! One operator, one stem: `src/<op>/reference.rs` is the plain definition and the fast
//! CPU path stands beside it. The crate knows pixels, not faces: no crate of ours is imported.
//!
//! | operator | in → out | contract |
//! |---|---|---|
//! | [`crop`] | frame of any format → normalised tensor or RGB crop | anti-aliased, border replicated |
//! | [`mask`] | polygon in frame px → 8-bit coverage of a rectangle | 0 = untouched for ever |
//! | [`cover`] | frame, mask → solid, pixelated or blurred region | at most 8×8 cells of information left |
//! | [`composite`] | RGB crop, mask → frame | bit-exact where the mask is 0 |
//! | [`edit_step`] | latents, predictions → latents of the next level | element-wise; no guidance changes nothing |
//! | [`warp_edit`] | cached edit, mesh → edit of this frame | a still mesh copies bit for bit |
//! | [`match_face`] | paint, frame → paint under the frame's light, with its grain | low-passes under alpha |
//! | [`paint_face`] | crop, mesh, texture → a painted face and where it is shown | equal to the crop at and outside the rim |
//! | [`raster`] | mesh → triangle of each pixel | far triangles first; those facing away are not drawn |
//! | [`lowpass`] | picture → Gaussian on a coarse grid | constants kept |
//! | [`luma`] | frame → thumbnail, histogram | sparse, for scene cuts |
//! | [`color`] | RGB ↔ Y'CbCr codes | every matrix, range and depth |
//!
//! `NULLFACE_REFERENCE=1` in the environment, read once, makes every operator run its plain definition.

pub mod affine;
mod blend;
pub mod color;
pub mod composite;
pub mod cover;
pub mod crop;
pub mod cuda;
pub mod edit_step;
pub mod image;
pub mod lowpass;
pub mod luma;
pub mod mask;
pub mod match_face;
mod packing;
pub mod paint_face;
pub mod raster;
mod separable;
mod simd;
mod taps;
mod tile;
pub mod warp_edit;

pub use affine::Affine;
pub use image::{Image, ImageInfo, ImageMut, Matrix, PixelFormat, Range};
pub use mask::RegionMask;

/// Whether `NULLFACE_REFERENCE=1` asks for the plain definitions; the environment is read once a process.
#[must_use]
pub fn reference_forced() -> bool {
    static FORCED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *FORCED.get_or_init(|| std::env::var_os("NULLFACE_REFERENCE").is_some_and(|v| v == "1"))
}

/// What an operator refuses, with the numbers that made it refuse.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KernelError {
    /// A plane is shorter than its geometry needs.
    #[error("{op}: plane {plane} of {format:?} {width}x{height} needs {needed} bytes at stride {stride}, got {got}")]
    PlaneTooSmall {
        /// Operator or constructor.
        op: &'static str,
        /// Plane index.
        plane: usize,
        /// Pixel format.
        format: PixelFormat,
        /// Width, px.
        width: u32,
        /// Height, px.
        height: u32,
        /// Bytes needed.
        needed: usize,
        /// Bytes a row.
        stride: usize,
        /// Bytes given.
        got: usize,
    },
    /// An argument outside its range.
    #[error("{op}: {what}: expected {expected}, got {got}")]
    Argument {
        /// Operator.
        op: &'static str,
        /// Argument.
        what: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What came.
        got: String,
    },
}
