//! A cached edit moved along with the mesh, two edits cross-faded: the plain definition.
//!
//! | | |
//! |---|---|
//! | formula | `out = b + (a − b)·share`, `a`, `b` the edits at `map[triangle]·(x + ½, y + ½)`, bilinear, border replicated |
//! | triangle | of those over a pixel's centre the nearest ([`crate::raster`]); `map` from the points now to those that the edit was made at |
//! | outside the mesh | 0 |
//! | still | an edit whose points are those of now, bit for bit, is copied, bit for bit |
//! | layout | interleaved RGB, f32, `side·side·3` |
//! | errors | none: triangles without a point or that are not finite are not drawn, an edit that is too short is 0 where it ends |
//! | CUDA twin | `cuda/warp_edit.cu` |

use crate::raster::{self, NONE, Point, Raster, TriangleMap};

/// One edit and where it was made.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'a> {
    /// Differences, RGB.
    pub rgb: &'a [f32],
    /// The mesh then, px of the crop.
    pub points: &'a [Point],
}

/// A mesh as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Mesh<'a> {
    /// Points, px of the crop.
    pub points: &'a [Point],
    /// Their depth, towards the camera negative.
    pub depth: &'a [f32],
    /// Corners of its triangles.
    pub triangles: &'a [[u16; 3]],
}

/// Moves edits; keeps buffers.
#[derive(Debug, Default)]
pub struct Warp {
    raster: Raster,
    maps: Vec<TriangleMap>,
    old: Vec<f32>,
}

impl Warp {
    /// One face's edit for a crop of `side` px, faded from an earlier one where there is one, with the share of `edit`.
    pub fn run(&mut self, side: usize, mesh: &Mesh<'_>, edit: &Edit<'_>, before: Option<(Edit<'_>, f32)>, out: &mut Vec<f32>) {
        self.raster.draw(mesh.points, mesh.depth, mesh.triangles, side, side);
        self.moved(side, mesh, edit, out);
        if let Some((before, share)) = before {
            let mut old = std::mem::take(&mut self.old);
            self.moved(side, mesh, &before, &mut old);
            for (new, old) in out.iter_mut().zip(&old) {
                *new = old + (*new - old) * share;
            }
            self.old = old;
        }
    }

    fn moved(&mut self, side: usize, mesh: &Mesh<'_>, edit: &Edit<'_>, out: &mut Vec<f32>) {
        out.clear();
        if edit.points == mesh.points {
            out.extend(edit.rgb.iter().take(3 * side * side));
            out.resize(3 * side * side, 0.0);
            return;
        }
        out.resize(3 * side * side, 0.0);
        raster::maps(mesh.points, edit.points, mesh.triangles, &mut self.maps);
        for (i, (&t, to)) in self.raster.index.iter().zip(out.chunks_exact_mut(3)).enumerate() {
            let Some(map) = self.maps.get(usize::from(t)).filter(|_| t != NONE) else {
                continue;
            };
            let from = map.apply((i % side) as f32 + 0.5, (i / side) as f32 + 0.5);
            to.copy_from_slice(&raster::sample::<3>(edit.rgb, side, side, from));
        }
    }
}
