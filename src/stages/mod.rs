//! One folder a stage. A stage knows [`crate::frame`] and [`crate::backend`], never a sibling.

pub mod align;
pub mod blend;
pub mod denoise;
pub mod detect;
pub mod identify;
pub mod invert;
pub mod prior;
pub mod reconstruct;
pub mod track;
