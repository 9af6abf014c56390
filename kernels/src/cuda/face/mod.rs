//! Faces that are made on a device: canvas, composite, weight and finished picture stay there.
//!
//! | step | crosses the bus | waits |
//! |---|---|---|
//! | [`Painter::read`] | thumbnails down | once for all faces |
//! | [`Painter::compose`] | points of the meshes up; how much was painted and what stands in front down | once for all faces |
//! | [`Painter::crops`] | the denoiser's crops down | once for all faces |
//! | [`Painter::keep`] | an edit that is to stay up | – |
//! | [`Painter::finish`] | points of the meshes up whose edits move along; edits that did not stay | – |
//!
//! | | |
//! |---|---|
//! | definition | [`crate::paint_face`], [`crate::warp_edit`]; contracts stand in `cuda/paint_face.cu`, `cuda/warp_edit.cu` and `cuda/finish_face.cu` |
//! | memory | of a [`DeviceFace`] and of the painter: grows, and is kept: a steady stream allocates nothing |
//! | launches | 27 to paint, two to move edits along and one for each other step, for up to [`super::args::FEW_PAINTED`] faces; one a face for its canvas |
//! | order | a face is read, painted, finished; another order is an error |
//! | errors | operands that do not fit, before anything is queued; [`CudaError`]: what the faces hold is then without meaning |

mod edit;
mod jobs;
mod painter;
mod room;

use std::sync::Arc;

use super::error::{CudaError, check};
use super::memory::{Buffer, Gpu};
use super::resident::Resident;
use crate::affine::Affine;
use crate::paint_face::{Board, Face, Recipe, Window};
use crate::raster::Point;

pub use edit::{DeviceEdit, Moved};
pub use painter::Painter;
use room::{Room, shared};

/// How far a face has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stage {
    #[default]
    Empty,
    Read,
    Painted,
    Finished,
}

/// A face on a device; see the table above.
#[derive(Debug, Default)]
pub struct DeviceFace {
    stage: Stage,
    board: Option<Board>,
    canvas: Room<f32>,
    triangles: Room<f32>,
    base: Room<f32>,
    lit: Room<f32>,
    rim: Room<f32>,
    facing: Room<f32>,
    alpha: Room<f32>,
    painted: Room<u8>,
    inside: Room<u8>,
    fine: Room<f32>,
    grid: Room<f32>,
    other: Room<f32>,
    edit: Room<f32>,
    picture: Room<f32>,
    shown: Room<f32>,
    partial: Room<f32>,
    weight: Option<Arc<Buffer<f32>>>,
    fresh: Option<Arc<Buffer<u8>>>,
    seen: Option<Resident>,
}

/// A finished picture and how much of it is shown, where [`super::Pass::place_there`] takes them.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Interleaved RGB, rows without padding.
    pub(super) picture: Arc<Buffer<u8>>,
    /// 0–1.
    pub(super) weight: Arc<Buffer<f32>>,
    pub(super) side: usize,
}

impl DeviceTexture {
    /// Where it is.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        self.0.gpu()
    }
}

impl Shown {
    /// Where it is.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        self.picture.gpu()
    }

    /// Reads both back, and waits.
    ///
    /// # Errors
    /// Other lengths; [`CudaError`].
    pub fn read(&self, picture: &mut [u8], weight: &mut [f32]) -> Result<(), CudaError> {
        let (op, pixels) = ("cuda::Shown::read", self.side * self.side);
        check(op, "picture", picture.len() == 3 * pixels, 3 * pixels, picture.len())?;
        check(op, "weights", weight.len() == pixels, pixels, weight.len())?;
        // SAFETY: waited for below, whatever came of it; on an error nothing is handed on.
        let queued = unsafe {
            self.picture
                .queue_read_at(0, picture)
                .and_then(|()| self.weight.queue_read_at(0, weight))
        };
        let waited = self.picture.gpu().wait();
        queued.and(waited)
    }
}

impl DeviceFace {
    /// The finished picture and its weights; `None` where it is not finished.
    #[must_use]
    pub fn shown(&self) -> Option<Shown> {
        let side = self.board.filter(|_| self.stage == Stage::Finished)?.side();
        Some(Shown {
            picture: self.fresh.clone()?,
            weight: self.weight.clone()?,
            side,
        })
    }

    /// What is then seen, RGB, as a frame of the device; `None` where it is not finished.
    #[must_use]
    pub fn seen(&self) -> Option<&Resident> {
        self.seen.as_ref().filter(|_| self.stage == Stage::Finished)
    }

    fn board(&self, gpu: &Gpu, op: &'static str, least: Stage) -> Result<Board, CudaError> {
        self.canvas.0.as_ref().map_or(Ok(0), |canvas| canvas.on(gpu, op, "face"))?;
        let board = self.board.filter(|_| self.stage >= least);
        check(op, "face", board.is_some(), format!("{least:?}"), format!("{:?}", self.stage))?;
        Ok(board.unwrap_or(Board {
            crop_px: 1,
            margin_px: 0,
            k: 1,
        }))
    }

    fn weight(&mut self, gpu: &Gpu, len: usize) -> Result<u64, CudaError> {
        shared(&mut self.weight, gpu, len)
    }
}

/// A target's texture on a device.
#[derive(Debug)]
pub struct DeviceTexture(Buffer<f32>);

/// A face whose canvas is to be read.
#[derive(Debug)]
pub struct Reading<'a> {
    /// Where to.
    pub face: &'a mut DeviceFace,
    /// Its size.
    pub board: Board,
    /// Frame px from canvas px.
    pub frame_from_canvas: Affine,
    /// Gets the sums of luma over every second pixel of every second row of each cell.
    pub thumb: &'a mut Vec<f32>,
}

/// A face to be painted; points in canvas px.
#[derive(Debug)]
pub struct Painting<'a> {
    /// Which; its canvas was read.
    pub face: &'a mut DeviceFace,
    /// With what.
    pub texture: &'a DeviceTexture,
    /// Mesh as seen.
    pub points: &'a [Point],
    /// Mesh with the target's shape.
    pub moved: &'a [Point],
    /// Depth of the points, towards the camera negative.
    pub depth: &'a [f32],
    /// How.
    pub recipe: Recipe,
    /// Whether what stands in front of the face is left standing.
    pub keeps_front: bool,
}

/// A face that was painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Painted {
    /// Whether something in front of it was kept.
    pub has_front: bool,
}

/// A face whose crops are wanted: base, mask, frame.
#[derive(Debug)]
pub struct Cropping<'a> {
    /// Which; it was painted.
    pub face: &'a DeviceFace,
    /// Whether the base is the composite; else it is the frame.
    pub from_prior: bool,
    /// Interleaved RGB.
    pub base: &'a mut Vec<f32>,
    /// 0–1, faded at the border.
    pub mask: &'a mut Vec<f32>,
    /// The frame, interleaved RGB.
    pub source: &'a mut Vec<f32>,
}

/// What is added to a face, interleaved RGB of the crop.
#[derive(Debug, Clone, Copy)]
pub enum Added<'a> {
    /// Nothing.
    Nothing,
    /// An edit that goes up for this.
    Here(&'a [f32]),
    /// Edits that are there, moved along.
    Moved(Moved<'a>),
}

/// A face to be finished.
#[derive(Debug)]
pub struct Finishing<'a> {
    /// Which; it was painted.
    pub face: &'a mut DeviceFace,
    /// Whether the base is the composite; else it is the frame.
    pub from_prior: bool,
    /// The edit.
    pub added: Added<'a>,
}

impl Painting<'_> {
    fn window(&self) -> Option<Window> {
        let side = self.face.board?.side();
        let face = Face {
            crop: &[],
            width: side,
            height: side,
            points: self.points,
            moved: self.moved,
            depth: self.depth,
        };
        face.window()
    }
}
