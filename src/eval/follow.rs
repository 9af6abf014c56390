//! Faces followed through the source by its own eyes: what the engine found is not asked, since a face
//! that it missed is what is looked for.
//!
//! | | |
//! |---|---|
//! | every frame | meshes fitted where faces were in the frame before |
//! | looks, and every cut | CenterFace over the whole frame, and the held-out detector where there is one; what fits no track begins one |
//! | a track ends | at a cut, after [`MAX_MISSED`] frames without a mesh, or where [`MAX_UNSEEN`] looks in a row find no face |
//! | smallest face | [`MIN_SIDE_PX`]; smaller ones cannot be recognised and are not counted |
//!
//! A face that only the held-out detector finds has no landmarks yet: it is followed where a mesh fits, and in any
//! case told by [`Follower::sightings`]. Limit: without the held-out detector, a face that CenterFace finds at no
//! effort is missed here too.

use nullface_kernels::luma;

use super::EvalError;
use super::finder::Finder;
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

/// A face that the held-out detector sees at a look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Box, frame px.
    pub box_px: BoxPx,
    /// Whether the engine's detector does not see it there.
    pub alone: bool,
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
    finder: Option<Finder>,
    seen: Vec<Seen>,
    mesh: FaceMesh,
    cut: SceneCut,
    live: Vec<Live>,
    next: u64,
    thumb: Vec<u8>,
}

impl Follower {
    /// Loads detector and mesh. `finder` looks too, where there is one.
    ///
    /// # Errors
    /// A model is missing or altered.
    pub fn open(small: &Backend, finder: Option<Finder>) -> Result<Self, EvalError> {
        let mut detector = CenterFace::open(small)?;
        detector.set_min_face_px(MIN_SIDE_PX as u32);
        Ok(Self {
            detector,
            finder,
            seen: Vec::new(),
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
        self.seen.clear();
        if let Some(effort) = look.or(cut.then_some(Effort::Regular)) {
            let found = self.detect(frame, effort)?;
            let all = self.seen_too(frame, found, effort)?;
            self.meet(frame, &all, &mut faces)?;
        }
        self.live.retain(|l| l.missed <= MAX_MISSED && l.unseen < MAX_UNSEEN);
        faces.retain(|f| self.live.iter().any(|l| l.track == f.track));
        Ok(faces)
    }

    /// What the held-out detector saw at the last push: nothing where it did not look.
    #[must_use]
    pub fn sightings(&self) -> &[Seen] {
        &self.seen
    }

    /// The held-out detector.
    #[must_use]
    pub fn finder(&self) -> Option<&Finder> {
        self.finder.as_ref()
    }

    /// Landmarks of all faces that either detector finds, of those of the held-out one where a mesh fits.
    ///
    /// # Errors
    /// A network fails.
    pub fn landmarks_of_all(&mut self, frame: &FrameView<'_>, effort: Effort) -> Result<Vec<Landmarks5>, EvalError> {
        let found = self.detect(frame, effort)?;
        let mut landmarks: Vec<Landmarks5> = found.iter().filter_map(|d| d.landmarks).collect();
        let all = self.seen_too(frame, found, effort)?;
        let hints: Vec<FaceHint> = all.iter().filter(|d| d.landmarks.is_none()).map(hint_from).collect();
        let meshes = self.meshes(frame, &hints)?;
        landmarks.extend(meshes.iter().flatten().filter_map(Mesh::landmarks5));
        Ok(landmarks)
    }

    /// Adds what only the held-out detector sees, and keeps what it saw.
    fn seen_too(&mut self, frame: &FrameView<'_>, mut found: Vec<Detection>, effort: Effort) -> Result<Vec<Detection>, EvalError> {
        self.seen.clear();
        let Some(finder) = &mut self.finder else { return Ok(found) };
        let known: Vec<BoxPx> = found.iter().map(|d| d.box_px).collect();
        for face in finder.detect(frame, effort)? {
            if face.box_px.side() < MIN_SIDE_PX {
                continue;
            }
            let alone = known.iter().all(|k| k.iou(&face.box_px) <= SAME_IOU);
            self.seen.push(Seen {
                box_px: face.box_px,
                alone,
            });
            if alone {
                found.push(face);
            }
        }
        Ok(found)
    }

    /// Faces that the engine's detector finds.
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
        let hints: Vec<FaceHint> = free.iter().map(|d| hint_from(d)).collect();
        let meshes = self.meshes(frame, &hints)?;
        for ((detection, hint), mesh) in free.into_iter().zip(hints).zip(meshes) {
            let track = self.next;
            let fitted = mesh
                .and_then(|m| face_of(track, m))
                .filter(|f| f.box_px.iou(&detection.box_px) > SAME_IOU);
            let unfitted = detection.landmarks.map(|landmarks| Face {
                track,
                box_px: detection.box_px,
                landmarks,
                mesh: None,
            });
            let Some(face) = fitted.or(unfitted) else { continue };
            self.next += 1;
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

fn hint_from(detection: &Detection) -> FaceHint {
    FaceHint {
        box_px: detection.box_px,
        roll_rad: detection.landmarks.map_or(0.0, |l| l.roll_rad()),
        landmarks: detection.landmarks,
    }
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
