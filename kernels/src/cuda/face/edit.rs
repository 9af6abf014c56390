//! Edits that stay on a device and move along there.

use std::sync::Arc;

use super::painter::Painter;
use super::{Added, DeviceFace, Stage};
use crate::cuda::args::{TRIANGLE, WarpFace};
use crate::cuda::error::{CudaError, check};
use crate::cuda::memory::{Buffer, Gpu, bytes_of};
use crate::raster::Point;

/// Values of a point as it is now: with depth.
const POINT_NOW: usize = 3;

/// An edit that stays on a device: values and the points that it was made at. Of the painter that took it.
#[derive(Debug)]
pub struct DeviceEdit {
    /// Values, then points.
    there: Buffer<u8>,
    values: usize,
    points: Vec<Point>,
    owner: Arc<()>,
}

/// Edits that move along with a mesh.
#[derive(Debug, Clone, Copy)]
pub struct Moved<'a> {
    /// The edit.
    pub edit: &'a DeviceEdit,
    /// The one before, faded out, and the share of `edit`, 0–1.
    pub before: Option<(&'a DeviceEdit, f32)>,
    /// The mesh now, px of the crop.
    pub points: &'a [Point],
    /// Depth of the points, towards the camera negative.
    pub depth: &'a [f32],
}

impl DeviceEdit {
    /// Where it is.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        self.there.gpu()
    }

    /// Addresses of the values and of the points; 0 where those are the mesh's now.
    fn at(&self, now: &[Point]) -> (u64, u64) {
        let at = self.there.address();
        let points = at + 4 * self.values as u64;
        (at, if self.points == now { 0 } else { points })
    }
}

impl Painter {
    /// Whether this painter took that edit; those of others it refuses.
    #[must_use]
    pub fn holds(&self, edit: &DeviceEdit) -> bool {
        Arc::ptr_eq(&self.owner, &edit.owner)
    }

    /// Takes edits, each interleaved RGB of a crop and the mesh that it was made at, px of the crop. One copy each, and
    /// nothing waits, unless those of the last call may still be under way.
    ///
    /// # Errors
    /// Another number of points; [`CudaError`].
    pub fn keep(&mut self, edits: &[(&[f32], &[Point])]) -> Result<Vec<DeviceEdit>, CudaError> {
        let op = "cuda::Painter::keep";
        for (_, points) in edits {
            check(op, "points", points.len() == self.points, self.points, points.len())?;
        }
        if edits.is_empty() {
            return Ok(Vec::new());
        }
        self.kept.begin()?;
        let mut ranges = Vec::with_capacity(edits.len());
        for (values, points) in edits {
            let start = self.kept.up.len();
            for bytes in [bytes_of(values), bytes_of(points.as_flattened())] {
                self.kept.up.extend(bytes.len())?.copy_from_slice(bytes);
            }
            ranges.push(start..self.kept.up.len());
        }
        let mut kept = Vec::with_capacity(edits.len());
        for ((values, points), range) in edits.iter().zip(ranges) {
            let mut there = self.gpu.unfilled(range.len())?;
            self.kept.send(range, &mut there)?;
            kept.push(DeviceEdit {
                there,
                values: values.len(),
                points: points.to_vec(),
                owner: Arc::clone(&self.owner),
            });
        }
        Ok(kept)
    }

    pub(super) fn check_added(&self, face: &DeviceFace, added: &Added<'_>) -> Result<(), CudaError> {
        let op = "cuda::Painter::finish";
        let board = face.board(&self.gpu, op, Stage::Painted)?;
        let values = 3 * board.crop_px * board.crop_px;
        let of = |len| check(op, "edit", len == values, values, len);
        match added {
            Added::Nothing => Ok(()),
            Added::Here(edit) => of(edit.len()),
            Added::Moved(moved) => {
                let before = moved.before.map(|(edit, _)| edit);
                for edit in [Some(moved.edit), before].into_iter().flatten() {
                    check(op, "edit", self.holds(edit), "of this painter", "another's")?;
                    of(edit.values)?;
                }
                let share = moved.before.map_or(1.0, |(_, share)| share);
                check(op, "share", (0.0..=1.0).contains(&share), "0 to 1", share)?;
                let lengths = [moved.points.len(), moved.depth.len()];
                check(op, "mesh", lengths == [self.points; 2], self.points, format!("{lengths:?}"))?;
                check(op, "depth", moved.depth.iter().all(|z| z.is_finite()), "finite", "other")
            }
        }
    }

    /// Puts what is added where it is sent from; the bytes.
    pub(super) fn put_added(&mut self, added: &Added<'_>) -> Result<usize, CudaError> {
        match added {
            Added::Nothing => Ok(0),
            Added::Here(edit) => {
                let bytes = bytes_of(edit);
                self.sending.up.extend(bytes.len())?.copy_from_slice(bytes);
                Ok(bytes.len())
            }
            Added::Moved(moved) => {
                let bytes = 4 * POINT_NOW * self.points;
                let to = self.sending.up.extend(bytes)?;
                let points = moved.points.iter().zip(moved.depth);
                for (to, (p, z)) in to.as_chunks_mut::<{ 4 * POINT_NOW }>().0.iter_mut().zip(points) {
                    to.copy_from_slice(bytes_of(&[p[0], p[1], *z]));
                }
                Ok(bytes)
            }
        }
    }

    /// A face whose edit moves along, its mesh sent to `points`.
    pub(super) fn warped(&self, face: &mut DeviceFace, moved: &Moved<'_>, points: u64) -> Result<WarpFace, CudaError> {
        let (edit, edit_points) = moved.edit.at(moved.points);
        let (before, before_points) = moved.before.map_or((0, 0), |(b, _)| b.at(moved.points));
        let crop = face.board(&self.gpu, "cuda::Painter::finish", Stage::Painted)?.crop_px;
        Ok(WarpFace {
            points,
            edit,
            edit_points,
            before,
            before_points,
            // What it was painted with is done with.
            triangles: face.triangles.of(&self.gpu, TRIANGLE * self.triangles)?,
            out: face.edit.of(&self.gpu, 3 * crop * crop)?,
            side: crop as i32,
            share: moved.before.map_or(1.0, |(_, share)| share),
        })
    }
}
