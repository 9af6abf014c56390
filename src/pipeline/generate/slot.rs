//! One face of a frame while it is being replaced: where it lies, what it looks like, what was made of
//! it. Slots are kept from frame to frame, so that a steady film allocates nothing.

use nullface_kernels::cuda::{DeviceFace, DeviceTexture, Painting};
use nullface_kernels::paint_face::{Finish, weight};
use nullface_kernels::warp_edit::Warp;

use crate::frame::{FrameView, Landmarks5, MESH_POINTS, Mesh, Point, Pts};
use crate::stages::identify::Embedding;
use crate::stages::prior::{Basis, Composite, Compositor, Face, LowPass, Target, shape};

use super::super::outcome::CoverReason;
use super::super::plan::Replaceable;
use super::super::surface::Surface;
use super::super::turns::Asking;
use super::canvas::{self, Place};
use super::keep::{Keeper, hold_still};
use super::person::{Person, TrackMemory};
use super::{FaceRegion, Refusal, Replaced, failed, placed, refuse};

/// Cosine between the face's normal and the viewer below which it is a profile.
const LEAST_FACING: f32 = 0.5;
/// Share of the mesh's points in the frame below which a face is cut: where the mesh lies then is guessed.
const LEAST_INSIDE: f32 = 0.75;
/// Outer eye corners of the mesh.
const EYES: (usize, usize) = (33, 263);

/// How an edit is asked for; later ones only where earlier ones did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    /// The edit of an earlier frame, moved along.
    Cached,
    /// A new edit.
    Plain,
    /// With more guidance.
    Stronger,
    /// With more guidance, from a noisier step.
    Earlier,
}

impl Try {
    /// What comes after it.
    pub(super) fn next(self) -> Option<Self> {
        match self {
            Self::Cached => Some(Self::Plain),
            Self::Plain => Some(Self::Stronger),
            Self::Stronger => Some(Self::Earlier),
            Self::Earlier => None,
        }
    }
}

/// A face on its canvas.
pub(super) struct Slot {
    pub(super) track: u64,
    pub(super) person: u64,
    /// Of the face in the frame, px².
    pub(super) area_px: f32,
    /// Whether a new edit may be made in this frame; none = not decided yet.
    pub(super) may_edit: Option<bool>,
    /// What became of it; none = still open.
    pub(super) verdict: Option<Result<Replaced, Refusal>>,
    /// What this round found, before it is weighed against other targets.
    pub(super) found: Option<Replaced>,
    /// What the denoiser is to do next.
    pub(super) step: Option<Try>,
    pub(super) source: Embedding,
    /// Of the face as it is, frame px.
    pub(super) landmarks: Landmarks5,
    /// Of the frame's crop: see [`super::placed`].
    pub(super) thumb: Vec<f32>,
    /// As it is, steadied, frame px.
    mesh: Mesh,
    pub(super) place: Place,
    pose: shape::Pose,
    own_shape: Vec<f32>,
    /// Distance between the outer eye corners, canvas px.
    iod_px: f32,
    /// Mesh, crop px, with depth.
    points: Vec<[f32; 3]>,
    crop: Vec<Point>,
    pub(super) depth: Vec<f32>,
    on_canvas: Vec<Point>,
    canvas_depth: Vec<f32>,
    /// The mesh with the target's shape, crop px and canvas px.
    pub(super) moved: Vec<Point>,
    moved_on_canvas: Vec<Point>,
    /// How much further than usual the target's shape goes.
    pub(super) boost: f32,
    /// Whether what stands in front of the face is kept.
    front: bool,
    compositor: Compositor,
    pub(super) composite: Composite,
    keeper: Keeper,
    scratch: Vec<f32>,
    pass: LowPass,
    /// The frame.
    pub(super) canvas: Vec<f32>,
    /// How much of the new picture is shown, 0–1.
    pub(super) weight: Vec<f32>,
    /// The denoiser's inputs and its edit, crop px.
    pub(super) base_crop: Vec<f32>,
    pub(super) mask_crop: Vec<f32>,
    pub(super) source_crop: Vec<f32>,
    pub(super) delta: Vec<f32>,
    pub(super) warp: Warp,
    /// Whether this face is made on a device, and what it is there; canvas, composite, weight, `new` and `seen` are then
    /// not here.
    pub(super) there: bool,
    pub(super) face: DeviceFace,
    /// What is blended.
    new: Vec<u8>,
    /// What is then seen: the source where the weight is 0, the new picture where it is 1.
    seen: Vec<u8>,
    mask: nullface_kernels::mask::RegionMask,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("track", &self.track).finish_non_exhaustive()
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            track: 0,
            person: 0,
            area_px: 0.0,
            may_edit: None,
            verdict: None,
            found: None,
            step: None,
            source: Embedding(Vec::new()),
            landmarks: Landmarks5([[0.0; 2]; 5]),
            thumb: Vec::new(),
            mesh: Mesh {
                points_px: Vec::new(),
                depth_px: Vec::new(),
                face_prob: 0.0,
            },
            place: Place::default(),
            pose: shape::Pose::default(),
            own_shape: Vec::new(),
            iod_px: 0.0,
            points: Vec::new(),
            crop: Vec::new(),
            depth: Vec::new(),
            on_canvas: Vec::new(),
            canvas_depth: Vec::new(),
            moved: Vec::new(),
            moved_on_canvas: Vec::new(),
            boost: 1.0,
            front: true,
            compositor: Compositor::default(),
            composite: Composite::default(),
            keeper: Keeper::default(),
            scratch: Vec::new(),
            pass: LowPass::default(),
            canvas: Vec::new(),
            weight: Vec::new(),
            base_crop: Vec::new(),
            mask_crop: Vec::new(),
            source_crop: Vec::new(),
            delta: Vec::new(),
            warp: Warp::default(),
            there: false,
            face: DeviceFace::default(),
            new: Vec::new(),
            seen: Vec::new(),
            mask: nullface_kernels::mask::RegionMask::default(),
        }
    }
}

impl Slot {
    pub(super) fn is_open(&self) -> bool {
        self.verdict.is_none()
    }

    /// As one who waits for a turn.
    pub(super) fn asking(&self) -> Asking {
        Asking {
            track: self.track,
            area_px: self.area_px,
        }
    }

    /// Takes a face in: its place, pose and own shape, and, unless it is made on a device, the frame's pixels, on a canvas
    /// of that scale at most.
    #[allow(clippy::too_many_arguments)] // where it is from, and who remembers it
    pub(super) fn seat(
        &mut self,
        basis: &Basis,
        face: &Replaceable,
        at: Pts,
        frame: &FrameView<'_>,
        memory: &mut TrackMemory,
        person: &mut Person,
        (most_scale, there): (usize, bool),
    ) -> Result<(), Refusal> {
        let not_replaceable = || refuse(CoverReason::NotReplaceable);
        (self.found, self.step, self.front, self.there) = (None, None, true, there);
        self.mesh.clone_from(&face.mesh);
        memory.steady.hold(at, frame, &mut self.mesh);
        self.landmarks = self.mesh.landmarks5().ok_or_else(not_replaceable)?;
        self.place = Place::of(&self.landmarks, most_scale).ok_or_else(not_replaceable)?;
        self.place.mesh_in_crop(&self.mesh, &mut self.points);
        if self.points.len() != MESH_POINTS || !self.points.iter().flatten().all(|v| v.is_finite()) {
            return Err(not_replaceable());
        }
        let (w, h) = (frame.width() as f32, frame.height() as f32);
        let is_inside = |p: &&Point| (0.0..w).contains(&p[0]) && (0.0..h).contains(&p[1]);
        if (self.mesh.points_px.iter().filter(is_inside).count() as f32) < LEAST_INSIDE * MESH_POINTS as f32 {
            return Err(not_replaceable());
        }
        memory.seen = at;
        refill(&mut self.crop, self.points.iter().map(|p| [p[0], p[1]]));
        refill(&mut self.depth, self.points.iter().map(|p| p[2]));
        self.lay_out();
        self.pose = shape::pose(basis, &self.crop, &self.depth)
            .filter(|p| p.rotation[(2, 2)] >= LEAST_FACING)
            .ok_or_else(not_replaceable)?;
        let seen = shape::coefficients(basis, &self.crop, &self.depth, &self.pose, &mut self.scratch).ok_or_else(not_replaceable)?;
        if !there {
            self.read(frame)?;
        }
        self.source.0.clone_from(&face.source.0);
        person.seen = at;
        self.own_shape.clear();
        self.own_shape.extend_from_slice(person.own_shape(&seen));
        Ok(())
    }

    /// Reads the canvas; the face is made here from now on.
    pub(super) fn read(&mut self, frame: &FrameView<'_>) -> Result<(), Refusal> {
        self.there = false;
        self.place.read(frame, &mut self.canvas).map_err(failed)?;
        placed::thumb(&self.place, &self.canvas, &mut self.thumb);
        Ok(())
    }

    /// Takes the place of another face, at the crop's own size, to try targets on.
    pub(super) fn stand_in(&mut self, other: &Self, frame: &FrameView<'_>) -> Result<(), Refusal> {
        let place = other.place.at_scale(1).ok_or_else(|| refuse(CoverReason::NotReplaceable))?;
        (self.place, self.pose, self.front) = (place, other.pose, true);
        self.crop.clone_from(&other.crop);
        self.depth.clone_from(&other.depth);
        self.own_shape.clone_from(&other.own_shape);
        self.source.0.clone_from(&other.source.0);
        self.lay_out();
        place.read(frame, &mut self.canvas).map_err(failed)
    }

    /// The mesh on the canvas.
    fn lay_out(&mut self) {
        let place = self.place;
        refill(&mut self.on_canvas, self.crop.iter().map(|p| place.on_canvas(*p)));
        refill(&mut self.canvas_depth, self.depth.iter().map(|z| z * place.k as f32));
        self.iod_px = distance(&self.on_canvas, EYES);
    }

    /// Whether something in front of the face was left standing, which another try may cover.
    pub(super) fn keeps_front(&self) -> bool {
        self.front && self.composite.has_front
    }

    /// From now on in this frame the new face lies over what stood in front of it.
    pub(super) fn give_up_front(&mut self) {
        self.front = false;
    }

    /// Moves the mesh to a target's shape.
    pub(super) fn reshape(&mut self, basis: &Basis, target: &Target, keep: &[FaceRegion]) {
        let place = self.place;
        shape::moved(
            basis,
            &self.crop,
            &self.pose,
            &self.own_shape,
            &target.shape,
            self.boost,
            &mut self.scratch,
            &mut self.moved,
        );
        hold_still(keep, &self.crop, self.iod_px / place.k as f32, &mut self.moved);
        refill(&mut self.moved_on_canvas, self.moved.iter().map(|p| place.on_canvas(*p)));
    }

    /// The face as a device paints it, after [`Self::reshape`].
    pub(super) fn painting<'a>(&'a mut self, basis: &Basis, texture: &'a DeviceTexture) -> Painting<'a> {
        Painting {
            face: &mut self.face,
            texture,
            points: &self.on_canvas,
            moved: &self.moved_on_canvas,
            depth: &self.canvas_depth,
            recipe: basis.composite.recipe(self.iod_px),
            keeps_front: self.front,
        }
    }

    /// Makes the composite of a target, and where it is to be shown.
    pub(super) fn compose(&mut self, basis: &Basis, target: &Target, keep: &[FaceRegion]) -> Result<(), Refusal> {
        self.reshape(basis, target, keep);
        let place = self.place;
        let face = Face {
            crop: &self.canvas,
            width: place.side,
            height: place.side,
            points: &self.on_canvas,
            moved: &self.moved_on_canvas,
            depth: &self.canvas_depth,
        };
        if !self
            .compositor
            .composite(&face, basis, target, &basis.composite, self.front, &mut self.composite)
        {
            return Err(refuse(CoverReason::NotReplaceable));
        }
        weight(
            &self.composite.inside,
            place.side,
            place.k,
            self.iod_px,
            &mut self.pass,
            &mut self.weight,
        );
        self.keeper
            .keep(keep, &self.on_canvas, place.side, self.iod_px, &mut self.weight)
            .map_err(failed)
    }

    /// What the denoiser is given.
    pub(super) fn prepare_edit(&mut self, from_prior: bool) {
        let place = self.place;
        let (base, mask) = if from_prior {
            (&self.composite.picture, &self.composite.alpha)
        } else {
            (&self.canvas, &self.weight)
        };
        let board = place.board();
        board.crop::<3>(base, &mut self.base_crop);
        board.crop::<1>(mask, &mut self.mask_crop);
        board.ramp(&mut self.mask_crop, canvas::RAMP_PX);
        board.crop::<3>(&self.canvas, &mut self.source_crop);
    }

    /// The new picture from a base, with the edit where there is one, and the canvas as it will be seen.
    pub(super) fn finish(&mut self, edited: bool, from_prior: bool) {
        let base = if from_prior || !edited {
            &self.composite.picture
        } else {
            &self.canvas
        };
        let finish = Finish {
            board: self.place.board(),
            canvas: &self.canvas,
            base,
            weight: &self.weight,
            edit: edited.then_some(&self.delta[..]),
        };
        finish.run(&mut self.scratch, &mut self.new, &mut self.seen);
    }

    /// The finished picture and where the new face's landmarks lie in it.
    pub(super) fn finished(&self) -> Result<(FrameView<'_>, Landmarks5), String> {
        let mesh = self.finished_mesh();
        let landmarks = mesh.landmarks5().ok_or("verify: no landmarks")?;
        if self.there {
            let seen = self.face.seen().ok_or("verify: a face that is not finished")?;
            return Ok((FrameView::there(seen), landmarks));
        }
        let view = canvas::view(&self.seen, self.place.side).map_err(|e| e.to_string())?;
        Ok((view, landmarks))
    }

    /// The new face's mesh in the finished picture.
    pub(super) fn finished_mesh(&self) -> Mesh {
        Mesh {
            points_px: self.moved_on_canvas.clone(),
            depth_px: Vec::new(),
            face_prob: 1.0,
        }
    }

    /// Shows the face in the frame.
    pub(super) fn write(&mut self, surface: &mut Surface<'_, '_>) -> Result<(), String> {
        if self.there {
            let shown = self.face.shown().ok_or("device: a face that is not finished")?;
            if surface.is_on(shown.gpu()) {
                return surface.place_there(&shown, &self.place.frame_from_canvas, &self.place.canvas_from_frame);
            }
            // The frame is written elsewhere.
            let pixels = self.place.side * self.place.side;
            self.new.resize(3 * pixels, 0);
            self.weight.resize(pixels, 0.0);
            shown.read(&mut self.new, &mut self.weight).map_err(|e| format!("device: {e}"))?;
        }
        self.place.write(surface, &self.new, &self.weight, &mut self.mask)
    }
}

fn refill<T>(to: &mut Vec<T>, from: impl Iterator<Item = T>) {
    to.clear();
    to.extend(from);
}

fn distance(points: &[Point], (a, b): (usize, usize)) -> f32 {
    match (points.get(a), points.get(b)) {
        (Some(a), Some(b)) => (a[0] - b[0]).hypot(a[1] - b[1]),
        _ => 0.0,
    }
}
