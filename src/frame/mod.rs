//! What the stages pass to each other: frame views, boxes, landmarks, time. Depends on nothing but
//! the kernels' checked views, which it re-exports.
//!
//! Spaces: `_px` is frame pixels with pixel centres at integer + 0.5; `crop_px` is pixels of an
//! aligned crop; `_norm` is 0–1 of a side. Maps are named `destination_from_source`.

mod geometry;
mod template;
mod time;

pub use geometry::{BoxPx, Landmarks5, MESH_POINTS, Mesh, Point};
pub use nullface_kernels::image::{Plane, PlaneMut};
pub use nullface_kernels::{Affine, Image as FrameView, ImageInfo as FrameInfo, ImageMut as FrameViewMut, Matrix, PixelFormat, Range};
pub use template::{ARCFACE_TEMPLATE_112, arcface_crop, similarity};
pub use time::{FrameTime, Pts};
