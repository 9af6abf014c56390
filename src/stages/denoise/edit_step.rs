//! One solver step of the bracket form: the operator lives with the kernels, where its CUDA twin is held to it.

pub use nullface_kernels::edit_step::*;
