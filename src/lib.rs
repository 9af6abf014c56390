//! nullface: takes the identity out of a face in moving pictures, live, and leaves the person in it.
//!
//! The flow of one frame, in order, each step a folder of its own:
//!
//! 1. [`frame`] – checked views of mapped memory, boxes, landmarks, time
//! 2. [`stages::detect`] – frame → faces
//! 3. [`stages::track`] – faces and history → tracks
//! 4. [`stages::align`] – track → crop, mesh, mask
//! 5. [`stages::identify`] – crop → embedding
//! 6. [`stages::verify`] – pixels → accept, retry or cover
//! 7. [`stages::blend`] – crop or cover → frame
//!
//! [`pipeline::Engine`] runs them and keeps the promise: a frame is released only when every face
//! region in it has been replaced or covered. [`tracks`] is what a first pass over a film leaves for the second. [`eval`] measures what is left of a person. [`backend`] alone speaks to ONNX Runtime and OpenCV.

pub mod audit;
pub mod backend;
pub mod eval;
pub mod frame;
pub mod pack;
pub mod pipeline;
pub mod secret;
pub mod stages;
pub mod tracks;

pub use pipeline::{Engine, EngineConfig, EngineError, Settings};
