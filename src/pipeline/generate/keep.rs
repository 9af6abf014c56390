//! Parts of the source's face that a user wants to stay: their polygons lower the weight of the new
//! picture, softly. What stays is the frame itself.

use nullface_kernels::KernelError;
use nullface_kernels::mask::RegionMask;

use crate::frame::Point;
use crate::stages::align::{BROW_LEFT, BROW_RIGHT, EYE_LEFT, EYE_RIGHT, LIPS_OUTER, NOSE_WINGS};

use super::super::settings::FaceRegion;

/// Soft rim of a kept part, in distances between the outer eye corners.
const FEATHER_IOD: f32 = 0.08;
/// Top of the nose: between the eyes.
const NOSE_TOP: usize = 168;

/// Distances from a kept part, in distances between the outer eye corners, up to which the face keeps its shape
/// and from which it has the new one.
const STILL_IOD: (f32, f32) = (0.12, 0.45);

/// Takes a new shape back where parts stay: a mouth that is the frame's, beside one that moved along, would be seen
/// twice. `mesh` and `moved` are the same points as they are and with the new shape, px.
pub(super) fn hold_still(parts: &[FaceRegion], mesh: &[Point], iod_px: f32, moved: &mut [Point]) {
    let kept = || parts.iter().flat_map(|part| outlines(*part)).flatten().filter_map(|i| mesh.get(i));
    if kept().next().is_none() {
        return;
    }
    let (near, far) = (STILL_IOD.0 * iod_px, STILL_IOD.1 * iod_px);
    for (own, new) in mesh.iter().zip(moved) {
        let nearest = kept().map(|k| (k[0] - own[0]).hypot(k[1] - own[1])).fold(f32::INFINITY, f32::min);
        let share = ((nearest - near) / (far - near).max(1e-3)).clamp(0.0, 1.0);
        let share = share * share * (3.0 - 2.0 * share);
        *new = [own[0] + (new[0] - own[0]) * share, own[1] + (new[1] - own[1]) * share];
    }
}

/// Draws the parts; keeps buffers.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    mask: RegionMask,
    points: Vec<Point>,
    kept: Vec<f32>,
    features: Vec<f32>,
}

impl Keeper {
    /// Lowers `weight` (canvas px) where parts stay.
    pub(super) fn keep(
        &mut self,
        parts: &[FaceRegion],
        mesh: &[Point],
        side: usize,
        iod_px: f32,
        weight: &mut [f32],
    ) -> Result<(), KernelError> {
        if parts.is_empty() {
            return Ok(());
        }
        let Self {
            mask,
            points,
            kept,
            features,
        } = self;
        for v in [&mut *kept, &mut *features] {
            v.clear();
            v.resize(weight.len(), 0.0_f32);
        }
        for part in [FaceRegion::Eyes, FaceRegion::Brows, FaceRegion::Nose, FaceRegion::Mouth] {
            for outline in outlines(part) {
                points.clear();
                points.extend(outline.iter().filter_map(|i| mesh.get(*i).copied()));
                if !mask.polygon_into(points, FEATHER_IOD * iod_px, side as u32, side as u32)? {
                    continue;
                }
                let wanted = parts.contains(&part);
                let m = &*mask;
                for (row, line) in m.alpha.chunks_exact(m.width.max(1) as usize).enumerate() {
                    let start = (m.y as usize + row) * side + m.x as usize;
                    for (i, a) in line.iter().enumerate() {
                        let a = f32::from(*a) / 255.0;
                        if let Some(f) = features.get_mut(start + i) {
                            *f = f.max(a);
                        }
                        if let Some(k) = kept.get_mut(start + i).filter(|_| wanted) {
                            *k = k.max(a);
                        }
                    }
                }
            }
        }
        let skin = parts.contains(&FaceRegion::Skin);
        for ((w, k), f) in weight.iter_mut().zip(kept.iter()).zip(features.iter()) {
            let k = if skin { k.max(1.0 - f) } else { *k };
            *w *= 1.0 - k;
        }
        Ok(())
    }
}

fn outlines(part: FaceRegion) -> Vec<Vec<usize>> {
    match part {
        FaceRegion::Eyes => vec![EYE_RIGHT.to_vec(), EYE_LEFT.to_vec()],
        FaceRegion::Brows => vec![BROW_RIGHT.to_vec(), BROW_LEFT.to_vec()],
        FaceRegion::Nose => vec![std::iter::once(NOSE_TOP).chain(NOSE_WINGS).collect()],
        FaceRegion::Mouth => vec![LIPS_OUTER.to_vec()],
        FaceRegion::Skin => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh() -> Vec<Point> {
        let mut mesh = vec![[80.0, 80.0]; 468];
        for (i, p) in LIPS_OUTER.iter().enumerate() {
            let a = i as f32 / 20.0 * std::f32::consts::TAU;
            mesh[*p] = [80.0 + 20.0 * a.cos(), 120.0 + 8.0 * a.sin()];
        }
        for (i, p) in EYE_RIGHT.iter().enumerate() {
            let a = i as f32 / 16.0 * std::f32::consts::TAU;
            mesh[*p] = [50.0 + 10.0 * a.cos(), 60.0 + 5.0 * a.sin()];
        }
        mesh
    }

    fn kept(parts: &[FaceRegion]) -> Vec<f32> {
        let mut weight = vec![1.0; 160 * 160];
        Keeper::default().keep(parts, &mesh(), 160, 60.0, &mut weight).expect("finite");
        weight
    }

    #[test]
    fn a_kept_mouth_is_the_source_and_the_rest_is_not() {
        let weight = kept(&[FaceRegion::Mouth]);
        assert_eq!(
            (weight[120 * 160 + 80], weight[60 * 160 + 50], weight[100 * 160 + 20]),
            (0.0, 1.0, 1.0)
        );
        assert!(kept(&[]).iter().all(|w| *w == 1.0));
    }

    #[test]
    fn the_face_keeps_its_shape_about_kept_parts_and_has_the_new_one_elsewhere() {
        let mesh = mesh();
        let shifted = || -> Vec<Point> { mesh.iter().map(|p| [p[0] + 6.0, p[1] - 4.0]).collect() };
        let mut moved = shifted();
        hold_still(&[FaceRegion::Mouth], &mesh, 60.0, &mut moved);
        for i in LIPS_OUTER {
            assert_eq!(moved[i], mesh[i]);
        }
        assert_eq!(moved[EYE_RIGHT[0]], shifted()[EYE_RIGHT[0]]);
        for parts in [&[][..], &[FaceRegion::Skin]] {
            let mut moved = shifted();
            hold_still(parts, &mesh, 60.0, &mut moved);
            assert_eq!(moved, shifted());
        }
    }

    #[test]
    fn kept_skin_leaves_the_features_to_be_replaced() {
        let weight = kept(&[FaceRegion::Skin]);
        assert_eq!(
            (weight[120 * 160 + 80], weight[60 * 160 + 50], weight[100 * 160 + 20]),
            (1.0, 1.0, 0.0)
        );
        let weight = kept(&[FaceRegion::Skin, FaceRegion::Eyes]);
        assert_eq!((weight[120 * 160 + 80], weight[60 * 160 + 50]), (1.0, 0.0));
    }
}
