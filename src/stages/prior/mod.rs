//! Mesh and target → k-same composite: the face of nobody in particular, with the source's
//! expression, gaze, pose and light.
//!
//! Source: k-Same-M (Newton, Sweeney, Malin 2005; Gross et al. 2006), on a dense mesh and per frame.
//!
//! | file | what |
//! |---|---|
//! | [`basis`] | textures and shapes that are each the mean of at least eight people |
//! | [`likeness`] | which mixtures promise to look unlike the source |
//! | [`target`] | who a track becomes: weights over the basis, drawn from the session's secret |
//! | [`shape`] | moving the mesh to the target's shape, rim and expression kept |
//! | [`raster`] | piecewise affine sampling over triangles (the kernels') |
//! | [`config`] | the constants of the recipe |
//! | [`composite`] | texture, light, visibility → picture and alpha (the kernels' [`nullface_kernels::paint_face`]) |

pub mod basis;
pub mod composite;
pub mod config;
pub mod likeness;
pub mod shape;
pub mod target;

pub use basis::{Basis, BasisError, Texture};
pub use composite::{Composite, Compositor, Face};
pub use config::CompositeConfig;
pub use likeness::Likeness;
pub use nullface_kernels::lowpass::{Border, LowPass, blurred};
pub use nullface_kernels::raster;
pub use target::{AUDITIONS, FITS, Target, Wanted};
