//! The face mesh (Kartynnik et al. 2019, MediaPipe's `face_landmark`): 192² crop in, 468 points out.
//!
//! | | |
//! |---|---|
//! | crop | square about the hint's box, side 1.5 × its longer side, turned by the hint's roll (MediaPipe's convention; `crop_margin` in the manifest) |
//! | input | n×192×192×3, RGB 0–1 |
//! | points | n×1×1×1404: x y z in px of the crop; z grows away from the camera |
//! | flag | n×1×1×1, logit that the crop shows a face |
//! | batch | all faces of a frame, at most 8 a run |
//!
//! Fitted to CenterFace's boxes on films and montages (1300 faces of 20 to 300 px) the probability was
//! never below one half, and its eye, nose and mouth points lay 6 to 9 % of the eyes' distance from
//! CenterFace's.
//!
//! Points may lie outside the frame where the face does. A low `face_prob` is an answer, not an
//! error; numbers that are none, and meshes larger than a crop can hold, are errors.

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout};
use nullface_kernels::cuda::Gpu;

use super::{AlignError, FaceHint, MeshFitter};
use crate::backend::{Backend, BackendError, SmallSession, first_not_finite};
use crate::frame::{Affine, BoxPx, FrameView, MESH_POINTS, Mesh};

const SIDE_PX: usize = 192;
const VALUES: usize = MESH_POINTS * 3;
/// Faces a run.
const BATCH: usize = 8;
/// Side of the crop as a multiple of the box's longer side, where the manifest does not say.
const MARGIN: f32 = 1.5;
/// A face whose mesh lies further from the crop's middle than this share of the hint's side, or differs from
/// it in size by this factor, was cut badly, as where the head moved fast: the network sees it once more.
const OFF_CENTRE: f32 = 0.09;
const OFF_SIZE: f32 = 1.35;
/// Points further from the crop's middle than this many sides are no mesh.
const MAX_OFF_SIDES: f32 = 4.0;

/// The fitter.
#[derive(Debug)]
pub struct FaceMesh {
    session: SmallSession,
    margin: f32,
}

impl FaceMesh {
    /// Loads the vendored network.
    ///
    /// # Errors
    /// [`BackendError`]: model missing or altered, device that does not start.
    pub fn open(backend: &Backend) -> Result<Self, BackendError> {
        let margin = backend.models().entry("face_mesh")?.crop_margin.unwrap_or(MARGIN);
        Ok(Self {
            session: backend.small_session("face_mesh")?,
            margin,
        })
    }

    fn run(&mut self, frame: &FrameView<'_>, maps: &[Affine]) -> Result<Vec<Mesh>, AlignError> {
        let n = maps.len();
        let spec = CropSpec {
            width: SIDE_PX,
            height: SIDE_PX,
            layout: Layout::Nhwc,
            order: ChannelOrder::Rgb,
            scale: 1.0 / 255.0,
            bias: 0.0,
        };
        self.session.crops(frame, maps, &spec)?;
        self.session.run()?;
        let as_bad = |e: BackendError| match e {
            BackendError::Shape { .. } => AlignError::BadOutput(e.to_string()),
            e => AlignError::Backend(e),
        };
        let points = self.session.output(0, &[n, 1, 1, VALUES]).map_err(as_bad)?;
        let flags = self.session.output(1, &[n, 1, 1, 1]).map_err(as_bad)?;
        points
            .chunks_exact(VALUES)
            .zip(flags)
            .zip(maps)
            .map(|((values, flag), map)| decode(values, *flag, map))
            .collect()
    }
}

impl MeshFitter for FaceMesh {
    fn reads_on(&self, gpu: &Gpu) -> bool {
        self.session.reads_on(gpu)
    }

    fn fit(&mut self, frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        let maps = hints.iter().map(|h| crop_of(h, self.margin)).collect::<Result<Vec<_>, _>>()?;
        let mut meshes = Vec::with_capacity(maps.len());
        for batch in maps.chunks(BATCH) {
            meshes.extend(self.run(frame, batch)?);
        }
        let again = hints.iter().zip(&meshes).enumerate();
        let again: Vec<(usize, FaceHint)> = again.filter_map(|(i, (hint, mesh))| Some((i, better(hint, mesh)?))).collect();
        for batch in again.chunks(BATCH) {
            let maps = batch.iter().map(|(_, h)| crop_of(h, self.margin)).collect::<Result<Vec<_>, _>>()?;
            for ((i, _), mesh) in batch.iter().zip(self.run(frame, &maps)?) {
                meshes[*i] = mesh;
            }
        }
        Ok(meshes)
    }
}

/// Where a mesh says that the face is, if that is not where the hint had it; `None` where there is no face.
fn better(hint: &FaceHint, mesh: &Mesh) -> Option<FaceHint> {
    let box_px = mesh.bounding_box_px().filter(BoxPx::is_valid)?;
    let landmarks = mesh.landmarks5()?;
    let (was, is, side) = (hint.box_px.center(), box_px.center(), hint.box_px.side());
    let off = (was[0] - is[0]).hypot(was[1] - is[1]) / side;
    let size = (box_px.side() / side).max(side / box_px.side());
    (mesh.face_prob >= 0.5 && (off > OFF_CENTRE || size > OFF_SIZE)).then(|| FaceHint {
        box_px,
        roll_rad: landmarks.roll_rad(),
        landmarks: Some(landmarks),
    })
}

/// `frame_from_crop` of a hint.
fn crop_of(hint: &FaceHint, margin: f32) -> Result<Affine, AlignError> {
    if !hint.box_px.is_valid() || !hint.roll_rad.is_finite() {
        return Err(AlignError::BadOutput(format!(
            "hint: expected a box with an area and a finite roll, got {:?}, {} rad",
            hint.box_px, hint.roll_rad
        )));
    }
    let scale = hint.box_px.side() * margin / SIDE_PX as f32;
    let (sin, cos) = hint.roll_rad.sin_cos();
    let (center, half) = (hint.box_px.center(), SIDE_PX as f32 / 2.0);
    let (a, b) = (scale * cos, scale * sin);
    Ok(Affine {
        m: [a, -b, center[0] - a * half + b * half, b, a, center[1] - b * half - a * half],
    })
}

/// One face's numbers as a mesh in frame px.
fn decode(values: &[f32], flag: f32, frame_from_crop: &Affine) -> Result<Mesh, AlignError> {
    if values.len() != VALUES {
        return Err(AlignError::BadOutput(format!(
            "points: expected {VALUES} values, got {}",
            values.len()
        )));
    }
    if let Some(at) = first_not_finite(values) {
        return Err(AlignError::BadOutput(format!(
            "points: expected finite numbers, got {} at {at}",
            values[at]
        )));
    }
    if !flag.is_finite() {
        return Err(AlignError::BadOutput(format!("flag: expected a finite number, got {flag}")));
    }
    let side = SIDE_PX as f32;
    if let Some(off) = values.iter().find(|v| v.abs() > MAX_OFF_SIDES * side) {
        return Err(AlignError::BadOutput(format!(
            "points: expected within {MAX_OFF_SIDES} crops of {SIDE_PX} px, got {off} px"
        )));
    }
    let scale = frame_from_crop.det().abs().sqrt();
    let points_px = values.chunks_exact(3).map(|p| frame_from_crop.apply([p[0], p[1]])).collect();
    let depth_px = values.chunks_exact(3).map(|p| p[2] * scale).collect();
    Ok(Mesh {
        points_px,
        depth_px,
        face_prob: 1.0 / (1.0 + (-flag).exp()),
    })
}

#[cfg(test)]
mod tests {
    use super::{AlignError, FaceMesh, MESH_POINTS, VALUES, better, crop_of, decode};
    use crate::backend::testing::{Picture, backend};
    use crate::frame::{BoxPx, Mesh};
    use crate::stages::align::{FaceHint, MeshFitter};

    /// Runs of another batch size add in another order; measured differences are below 1e-3 px.
    const BATCH_TOLERANCE_PX: f32 = 0.02;

    fn hint(roll_rad: f32) -> FaceHint {
        FaceHint {
            box_px: BoxPx {
                x0: 100.0,
                y0: 50.0,
                x1: 180.0,
                y1: 178.0,
            },
            roll_rad,
            landmarks: None,
        }
    }

    #[test]
    fn the_crop_is_a_turned_square_about_the_box() {
        for roll in [0.0, 0.5, -2.0] {
            let map = crop_of(&hint(roll), 1.5).expect("good hint");
            let middle = map.apply([96.0, 96.0]);
            assert!((middle[0] - 140.0).abs() < 1e-3 && (middle[1] - 114.0).abs() < 1e-3, "{middle:?}");
            assert!((map.det().sqrt() - 1.0).abs() < 1e-5, "128 px · 1.5 / 192");
            let right = map.apply([192.0, 96.0]);
            assert!(((right[1] - middle[1]).atan2(right[0] - middle[0]) - roll).abs() < 1e-4);
        }
        assert!(
            crop_of(
                &FaceHint {
                    roll_rad: f32::NAN,
                    ..hint(0.0)
                },
                1.5
            )
            .is_err()
        );
        assert!(
            crop_of(
                &FaceHint {
                    box_px: BoxPx::default(),
                    ..hint(0.0)
                },
                1.5
            )
            .is_err()
        );
    }

    #[test]
    fn points_go_to_the_frame_and_back() {
        let values: Vec<f32> = (0..VALUES).map(|i| (i * 37 % 192) as f32).collect();
        let map = crop_of(&hint(0.3), 1.5).expect("good hint");
        let mesh = decode(&values, 0.0, &map).expect("good numbers");
        assert_eq!(
            (mesh.points_px.len(), mesh.depth_px.len(), mesh.face_prob),
            (MESH_POINTS, MESH_POINTS, 0.5)
        );
        let back = map.inverse().expect("map has an inverse");
        for (point, value) in mesh.points_px.iter().zip(values.chunks_exact(3)) {
            let got = back.apply(*point);
            assert!((got[0] - value[0]).abs() < 1e-3 && (got[1] - value[1]).abs() < 1e-3);
        }
    }

    #[test]
    fn a_batch_gives_what_single_runs_give_and_no_face_has_a_low_probability() {
        let picture = Picture::smooth(640, 360);
        let mut fitter = FaceMesh::open(&backend()).expect("opens");
        let hints: Vec<FaceHint> = (0..9)
            .map(|i| FaceHint {
                box_px: BoxPx {
                    x0: i as f32 * 60.0,
                    y0: 40.0,
                    x1: i as f32 * 60.0 + 90.0,
                    y1: 150.0,
                },
                roll_rad: i as f32 * 0.1,
                landmarks: None,
            })
            .collect();
        let together = fitter.fit(&picture.view(), &hints).expect("meshes");
        assert_eq!(together.len(), hints.len());
        assert_eq!(fitter.fit(&picture.view(), &[]).expect("nothing to do"), vec![]);
        for (hint, mesh) in hints.iter().zip(&together) {
            let alone = fitter.fit(&picture.view(), std::slice::from_ref(hint)).expect("mesh");
            assert_eq!((mesh.points_px.len(), mesh.depth_px.len()), (MESH_POINTS, MESH_POINTS));
            assert!(mesh.face_prob < 0.5, "{}", mesh.face_prob);
            for (a, b) in mesh.points_px.iter().zip(&alone[0].points_px) {
                assert!((a[0] - b[0]).abs() < BATCH_TOLERANCE_PX && (a[1] - b[1]).abs() < BATCH_TOLERANCE_PX);
            }
        }
    }

    #[test]
    fn a_face_is_looked_at_again_only_where_it_was_cut_badly() {
        let values: Vec<f32> = (0..VALUES).map(|i| 32.0 + (i * 37 % 128) as f32).collect();
        let found = |shift: f32, scale: f32, face_prob: f32| {
            let mesh = decode(&values, 0.0, &crop_of(&hint(0.0), 1.5).expect("good hint")).expect("good numbers");
            let moved = mesh
                .points_px
                .iter()
                .map(|p| [(p[0] - 140.0) * scale + 140.0 + shift, (p[1] - 114.0) * scale + 114.0]);
            better(
                &hint(0.0),
                &Mesh {
                    points_px: moved.collect(),
                    face_prob,
                    ..mesh
                },
            )
        };
        assert_eq!(found(0.0, 1.0, 1.0), None);
        assert_eq!(found(10.0, 1.0, 1.0), None, "a twelfth of the side");
        assert_eq!(found(30.0, 1.0, 0.1), None, "no face at all");
        let again = found(30.0, 1.0, 1.0).expect("a quarter of the side");
        assert!((again.box_px.center()[0] - 170.0).abs() < 2.0, "{again:?}");
        assert!(found(0.0, 0.6, 1.0).is_some());
    }

    #[test]
    fn numbers_that_cannot_be_points_are_refused() {
        let map = crop_of(&hint(0.0), 1.5).expect("good hint");
        for bad in [f32::NAN, f32::INFINITY, 1e4] {
            let mut values = vec![96.0; VALUES];
            values[700] = bad;
            assert!(matches!(decode(&values, 0.0, &map), Err(AlignError::BadOutput(_))), "{bad}");
        }
        assert!(decode(&[96.0; VALUES], f32::NAN, &map).is_err());
        assert!(decode(&[96.0; VALUES - 3], 0.0, &map).is_err());
    }
}
