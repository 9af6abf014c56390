//! Faces followed through the source by its own eyes: what the engine found is not asked, since a face
//! that it missed is what is looked for.
//!
//! | | |
//! |---|---|
//! | every frame | meshes fitted where faces were in the frame before |
//! | looks, and every cut | CenterFace over the whole frame; what fits no track begins one |
//! | a track ends | at a cut, after [`MAX_MISSED`] frames without a mesh, or where [`MAX_UNSEEN`] looks in a row find no face |
//! | smallest face | [`MIN_SIDE_PX`]; smaller ones cannot be recognised and are not counted |
//!
//! Limit: the detector is one of the engine's own. A face that CenterFace finds at no effort is missed here too.

use nullface_kernels::luma;

use super::EvalError;
use crate::backend::Backend;
use crate::frame::{BoxPx, FrameView, Landmarks5, Mesh};
use crate::stages::align::{FaceHint, FaceMesh, MeshFitter};
use crate::stages::detect::{CenterFace, Detection, Detector, Effort};
use crate::stages::track::{CUT_THUMB_HEIGHT, CUT_THUMB_WIDTH, SceneCut};

/// Probability from which a mesh is one of a face.
pub const FACE_PROB: f32 = 0.5;
/// Score from which a detection is a face.
pub const SCORE: f32 = 0.5;
/// Smallest face, px of the box's longer side.
pub const MIN_SIDE_PX: f32 = 20.0;
/// Frames without a mesh after which a track ends.
pub const MAX_MISSED: u32 = 5;
/// Looks in a row without a detection after which a track ends: meshes drift on to what is no face.
pub const MAX_UNSEEN: u32 = 2;
/// Overlap from which a detection, or the next mesh, is the same face.
const SAME_IOU: f32 = 0.3;

/// A face of one frame.
#[derive(Debug, Clone)]
pub struct Face {
    /// Track; unique within a film.
    pub track: u64,
    /// Box, frame px.
    pub box_px: BoxPx,
    /// Five points, frame px.
    pub landmarks: Landmarks5,
    /// Mesh, where one fits.
    pub mesh: Option<Mesh>,
}

#[derive(Debug)]
struct Live {
    track: u64,
    hint: FaceHint,
    missed: u32,
    unseen: u32,
}

/// Follows faces.
#[derive(Debug)]
pub struct Follower {
    detector: CenterFace,
    mesh: FaceMesh,
    cut: SceneCut,
    live: Vec<Live>,
    next: u64,
    thumb: Vec<u8>,
}

impl Follower {
    /// Loads detector and mesh.
    ///
    /// # Errors
    /// A model is missing or altered.
    pub fn open(small: &Backend) -> Result<Self, EvalError> {
        let mut detector = CenterFace::open(small)?;
        detector.set_min_face_px(MIN_SIDE_PX as u32);
        Ok(Self {
            detector,
            mesh: FaceMesh::open(small)?,
            cut: SceneCut::new(),
            live: Vec::new(),
            next: 0,
            thumb: vec![0; CUT_THUMB_WIDTH * CUT_THUMB_HEIGHT],
        })
    }

    /// Another film: tracks end, numbers go on.
    pub fn flush(&mut self) {
        self.cut = SceneCut::new();
        self.live.clear();
    }

    /// The faces of the next frame; `look` asks the detector too.
    ///
    /// # Errors
    /// A network fails.
    pub fn push(&mut self, frame: &FrameView<'_>, look: Option<Effort>) -> Result<Vec<Face>, EvalError> {
        luma::thumbnail(frame, CUT_THUMB_WIDTH, CUT_THUMB_HEIGHT, &mut self.thumb)?;
        let mut histogram = [0; 64];
        luma::histogram(frame, &mut histogram);
        let cut = self.cut.push(&self.thumb, &histogram);
        if cut {
            self.live.clear();
        }
        let mut faces = self.refit(frame)?;
        if let Some(effort) = look.or(cut.then_some(Effort::Regular)) {
            let found = self.detect(frame, effort)?;
            self.meet(frame, &found, &mut faces)?;
        }
        self.live.retain(|l| l.missed <= MAX_MISSED && l.unseen < MAX_UNSEEN);
        faces.retain(|f| self.live.iter().any(|l| l.track == f.track));
        Ok(faces)
    }

    /// Faces that the detector finds.
    ///
    /// # Errors
    /// The detector fails.
    pub fn detect(&mut self, frame: &FrameView<'_>, effort: Effort) -> Result<Vec<Detection>, EvalError> {
        let mut found = self.detector.detect(frame, SCORE, effort)?;
        found.retain(|d| d.box_px.side() >= MIN_SIDE_PX);
        Ok(found)
    }

    /// Meshes at places where faces are thought to be; `None` where there is none.
    ///
    /// # Errors
    /// The network fails.
    pub fn meshes(&mut self, frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Option<Mesh>>, EvalError> {
        let sound: Vec<FaceHint> = hints.iter().copied().filter(|h| h.box_px.is_valid()).collect();
        let mut fitted = self.mesh.fit(frame, &sound)?.into_iter();
        Ok(hints
            .iter()
            .map(|h| {
                let mesh = if h.box_px.is_valid() { fitted.next() } else { None };
                mesh.filter(|m| m.face_prob >= FACE_PROB)
            })
            .collect())
    }

    fn refit(&mut self, frame: &FrameView<'_>) -> Result<Vec<Face>, EvalError> {
        let hints: Vec<FaceHint> = self.live.iter().map(|l| l.hint).collect();
        let fitted = self.meshes(frame, &hints)?;
        let mut faces = Vec::with_capacity(fitted.len());
        for (live, mesh) in self.live.iter_mut().zip(fitted) {
            let face = mesh.and_then(|m| face_of(live.track, m));
            match face.filter(|f| f.box_px.iou(&live.hint.box_px) > SAME_IOU && f.box_px.side() >= MIN_SIDE_PX) {
                Some(face) => {
                    live.missed = 0;
                    live.hint = hint_of(&face.box_px, &face.landmarks);
                    faces.push(face);
                }
                None => live.missed += 1,
            }
        }
        Ok(faces)
    }

    /// Detections meet tracks; what meets none begins one.
    fn meet(&mut self, frame: &FrameView<'_>, found: &[Detection], faces: &mut Vec<Face>) -> Result<(), EvalError> {
        let mut free: Vec<&Detection> = found.iter().collect();
        for live in &mut self.live {
            let near = |d: &&&Detection| d.box_px.iou(&live.hint.box_px);
            let best = free
                .iter()
                .max_by(|a, b| near(a).total_cmp(&near(b)))
                .copied()
                .filter(|d| near(&d) > SAME_IOU);
            let Some(best) = best else {
                live.unseen += 1;
                continue;
            };
            live.unseen = 0;
            free.retain(|d| !std::ptr::eq(*d, best));
            if live.missed > 0
                && let Some(landmarks) = best.landmarks
            {
                live.missed = 0;
                live.hint = hint_of(&best.box_px, &landmarks);
                faces.push(Face {
                    track: live.track,
                    box_px: best.box_px,
                    landmarks,
                    mesh: None,
                });
            }
        }
        let known: Vec<BoxPx> = self.live.iter().map(|l| l.hint.box_px).collect();
        free.retain(|d| known.iter().all(|k| k.iou(&d.box_px) <= SAME_IOU));
        let begun: Vec<(&Detection, Landmarks5)> = free.iter().filter_map(|d| Some((*d, d.landmarks?))).collect();
        let hints: Vec<FaceHint> = begun.iter().map(|(d, l)| hint_of(&d.box_px, l)).collect();
        let meshes = self.meshes(frame, &hints)?;
        for (((detection, landmarks), hint), mesh) in begun.into_iter().zip(hints).zip(meshes) {
            let track = self.next;
            self.next += 1;
            let face = mesh
                .and_then(|m| face_of(track, m))
                .filter(|f| f.box_px.iou(&detection.box_px) > SAME_IOU)
                .unwrap_or(Face {
                    track,
                    box_px: detection.box_px,
                    landmarks,
                    mesh: None,
                });
            self.live.push(Live {
                track,
                hint: if face.mesh.is_some() {
                    hint_of(&face.box_px, &face.landmarks)
                } else {
                    hint
                },
                missed: 0,
                unseen: 0,
            });
            faces.push(face);
        }
        Ok(())
    }
}

fn face_of(track: u64, mesh: Mesh) -> Option<Face> {
    let (box_px, landmarks) = (mesh.bounding_box_px()?, mesh.landmarks5()?);
    (box_px.is_valid() && landmarks.is_finite()).then_some(Face {
        track,
        box_px,
        landmarks,
        mesh: Some(mesh),
    })
}

/// Where to look for a face that was last here.
#[must_use]
pub fn hint_of(box_px: &BoxPx, landmarks: &Landmarks5) -> FaceHint {
    FaceHint {
        box_px: *box_px,
        roll_rad: landmarks.roll_rad(),
        landmarks: Some(*landmarks),
    }
}
