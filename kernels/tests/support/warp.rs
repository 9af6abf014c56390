//! Edits moved along on a device against the plain definition: what the shim's test and the check on a real GPU both
//! compare.

#![allow(dead_code, unreachable_pub, reason = "test support")]

use nullface_kernels::cuda::ops::{self, WarpEdit, WarpOperand};
use nullface_kernels::cuda::{Buffer, CudaError, Gpu};
use nullface_kernels::raster::Point;
use nullface_kernels::warp_edit::{Edit, Mesh, Warp};

use super::Noise;

/// Grey levels; fused multiply-add.
pub const TOLERANCE: f32 = 0.03;
/// Share of pixels that may lie on the other side of a triangle's edge.
pub const EDGES: f32 = 1e-3;
/// Of the crop: no multiple of a tile.
pub const SIDE: usize = 61;
const ACROSS: usize = 9;
const DOWN: usize = 8;

/// An edit and the mesh that it was made at.
pub type Made = (Vec<f32>, Vec<Point>);

/// One face.
#[derive(Clone)]
pub struct Face {
    pub points: Vec<Point>,
    pub depth: Vec<f32>,
    pub edit: Made,
    pub before: Option<Made>,
    pub share: f32,
}

pub fn triangles() -> Vec<[u16; 3]> {
    let at = |x: usize, y: usize| (y * ACROSS + x) as u16;
    (0..(ACROSS - 1) * (DOWN - 1))
        .flat_map(|i| {
            let (x, y) = (i % (ACROSS - 1), i / (ACROSS - 1));
            [
                [at(x, y), at(x + 1, y), at(x + 1, y + 1)],
                [at(x, y), at(x + 1, y + 1), at(x, y + 1)],
            ]
        })
        .collect()
}

/// A mesh over most of the crop, shifted by px and bent.
pub fn mesh(shift: (f32, f32), bend: f32) -> Vec<Point> {
    (0..ACROSS * DOWN)
        .map(|i| {
            let (u, v) = ((i % ACROSS) as f32 / (ACROSS - 1) as f32, (i / ACROSS) as f32 / (DOWN - 1) as f32);
            let x = 5.3 + 49.0 * u + bend * (5.0 * v).sin() + shift.0;
            [x, 4.1 + 51.0 * v + bend * (4.0 * u).cos() + shift.1]
        })
        .collect()
}

/// Still, moved, faded, half outside, folded over itself, and with triangles that cannot be drawn. More than a launch takes.
pub fn faces() -> Vec<Face> {
    let mut noise = Noise(7);
    let mut edit = || (0..3 * SIDE * SIDE).map(|_| noise.between(-200.0, 200.0)).collect::<Vec<f32>>();
    let depth: Vec<f32> = (0..ACROSS * DOWN).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
    let mut face = |now: Vec<Point>, then: Vec<Point>, before: Option<(Vec<Point>, f32)>| Face {
        points: now,
        depth: depth.clone(),
        edit: (edit(), then),
        share: before.as_ref().map_or(1.0, |(_, share)| *share),
        before: before.map(|(then, _)| (edit(), then)),
    };
    let here = || mesh((0.0, 0.0), 1.0);
    let mut flat = here();
    flat.iter_mut().skip(10).step_by(5).for_each(|p| *p = [30.0, 30.0]);
    let mut broken = here();
    (broken[3][0], broken[20][1], broken[40][0]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
    let mut folded = mesh((1.5, -0.5), 1.0);
    folded
        .iter_mut()
        .enumerate()
        .filter(|(i, _)| (4..6).contains(&(i % ACROSS)))
        .for_each(|(_, p)| p[0] -= 14.0);
    let mut away = here();
    away.iter_mut().for_each(|p| p[0] = SIDE as f32 - p[0]);
    vec![
        face(here(), here(), None),
        face(mesh((2.0, 1.0), 1.0), here(), None),
        face(mesh((-1.3, 0.4), 2.0), here(), Some((mesh((0.5, 0.5), 0.0), 1.0 / 3.0))),
        face(here(), here(), Some((mesh((1.0, -2.0), 1.5), 2.0 / 3.0))),
        face(here(), mesh((1.0, -2.0), 1.5), Some((here(), 0.25))),
        face(here(), here(), Some((here(), 1.0 / 3.0))),
        face(mesh((33.0, -21.0), 1.0), here(), Some((mesh((30.0, 0.0), 1.0), 0.5))),
        face(flat, here(), None),
        face(here(), broken.clone(), None),
        face(broken, here(), None),
        face(folded, here(), Some((mesh((0.0, 3.0), 1.0), 0.75))),
        face(away, here(), None),
    ]
}

impl Face {
    /// By the definition.
    pub fn by_processor(&self, warp: &mut Warp) -> Vec<f32> {
        let triangles = triangles();
        let mesh = Mesh {
            points: &self.points,
            depth: &self.depth,
            triangles: &triangles,
        };
        let mut out = Vec::new();
        let edit = Edit {
            rgb: &self.edit.0,
            points: &self.edit.1,
        };
        let before = self.before.as_ref().map(|(rgb, points)| (Edit { rgb, points }, self.share));
        warp.run(SIDE, &mesh, &edit, before, &mut out);
        out
    }
}

struct There {
    points: Buffer<f32>,
    edit: (Buffer<f32>, Option<Buffer<f32>>),
    before: Option<(Buffer<f32>, Option<Buffer<f32>>)>,
}

/// All in one call.
pub fn by_device(gpu: &Gpu, faces: &[Face]) -> Result<Vec<Vec<f32>>, CudaError> {
    let mut there = Vec::new();
    for face in faces {
        let now: Vec<f32> = face.points.iter().zip(&face.depth).flat_map(|(p, z)| [p[0], p[1], *z]).collect();
        let up = |(rgb, points): &Made| {
            let moved = (*points != face.points).then(|| gpu.upload(points.as_flattened()));
            Ok::<_, CudaError>((gpu.upload(rgb)?, moved.transpose()?))
        };
        there.push(There {
            points: gpu.upload(&now)?,
            edit: up(&face.edit)?,
            before: face.before.as_ref().map(up).transpose()?,
        });
    }
    let operands: Vec<WarpOperand<'_>> = there
        .iter()
        .zip(faces)
        .map(|(t, face)| WarpOperand {
            points: &t.points,
            edit: WarpEdit {
                rgb: &t.edit.0,
                points: t.edit.1.as_ref(),
            },
            before: t.before.as_ref().map(|(rgb, points)| WarpEdit {
                rgb,
                points: points.as_ref(),
            }),
            share: face.share,
        })
        .collect();
    let out = ops::warp(gpu, &triangles(), &operands, SIDE)?;
    let mut values = vec![0.0; out.len()];
    out.read(&mut values)?;
    Ok(values.chunks_exact(3 * SIDE * SIDE).map(<[f32]>::to_vec).collect())
}

/// The claim.
pub fn claim(gpu: &Gpu) -> Result<String, String> {
    let faces = faces();
    let got = by_device(gpu, &faces).map_err(|e| e.to_string())?;
    let (mut warp, mut worst, mut edges, mut edited) = (Warp::default(), 0.0_f32, 0, 0);
    for (i, (face, got)) in faces.iter().zip(&got).enumerate() {
        let want = face.by_processor(&mut warp);
        if face.before.is_none() && face.edit.1 == face.points && *got != face.edit.0 {
            return Err(format!("face {i}: a still edit is not copied"));
        }
        edited += want.iter().filter(|v| **v != 0.0).count();
        for (a, b) in got.iter().zip(&want) {
            let off = if a.is_finite() { (a - b).abs() } else { f32::INFINITY };
            if off > TOLERANCE {
                edges += 1;
            } else {
                worst = worst.max(off);
            }
        }
    }
    if edges as f32 <= EDGES * edited as f32 && got.len() == faces.len() && edited > 60_000 {
        Ok(format!(
            "{} faces, off by {worst:.1e} grey levels, {edges} of {edited} values at edges",
            faces.len()
        ))
    } else {
        Err(format!("{edges} of {edited} values beyond {TOLERANCE} grey levels"))
    }
}
