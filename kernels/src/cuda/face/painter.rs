//! The steps of [`super`]: what goes up, what is asked of the kernels, what comes down.

use std::sync::Arc;

use super::jobs::finished;
use super::room::{Room, Sending, shared};
use super::{Added, Cropping, DeviceTexture, Finishing, Painted, Painting, Reading, Stage};
use crate::cuda::args::{FEW_PAINTED, FinishedFace, MOST_TRIANGLES, PIXEL_BLOCK, POINT};
use crate::cuda::error::{CudaError, check};
use crate::cuda::frame::DeviceFrame;
use crate::cuda::memory::{Buffer, Gpu};
use crate::cuda::ops::crop_into;
use crate::cuda::resident::Loader;
use crate::cuda::staging::Staging;
use crate::cuda::warp::queue_warp;
use crate::image::MAX_SIDE_PX;
use crate::paint_face::{LEAST_PAINTED_PX, Sheet, Window};

/// Bytes of a face's totals.
pub(super) const TOTALS: usize = 8;

/// Makes faces on a device; see the table above.
#[derive(Debug)]
pub struct Painter {
    pub(super) gpu: Gpu,
    pub(super) loader: Loader,
    pub(super) size: usize,
    pub(super) points: usize,
    pub(super) triangles: usize,
    pub(super) openings: usize,
    pub(super) corners: Buffer<u16>,
    pub(super) canonical: Buffer<f32>,
    pub(super) mask: Buffer<f32>,
    pub(super) sending: Sending,
    /// Edits that are to stay.
    pub(super) kept: Sending,
    /// What those belong to.
    pub(super) owner: Arc<()>,
    pub(super) down: Staging,
    /// What goes up and what comes down.
    pub(super) sends: Room<u8>,
    pub(super) gets: Room<u8>,
}

impl Painter {
    /// Over what textures lie on.
    ///
    /// # Errors
    /// A sheet that does not fit itself; [`CudaError`].
    pub fn new(gpu: &Gpu, sheet: &Sheet<'_>) -> Result<Self, CudaError> {
        let op = "cuda::Painter";
        let (size, points, triangles) = (sheet.size_px, sheet.canonical_px.len(), sheet.triangles.len());
        let sides = 1..=MAX_SIDE_PX as usize / 16;
        check(op, "texture size", sides.contains(&size), format!("{sides:?}"), size)?;
        check(op, "mask", sheet.mask.len() == 3 * size * size, 3 * size * size, sheet.mask.len())?;
        check(
            op,
            "triangles",
            (1..=MOST_TRIANGLES).contains(&triangles),
            format!("1..={MOST_TRIANGLES}"),
            triangles,
        )?;
        check(
            op,
            "openings",
            sheet.openings <= triangles,
            format!("up to {triangles}"),
            sheet.openings,
        )?;
        let last = sheet.triangles.iter().flatten().max().copied().unwrap_or(0);
        check(op, "corners", usize::from(last) < points, format!("below {points}"), last)?;
        let corners: Vec<u16> = sheet.triangles.iter().flat_map(|t| [t[0], t[1], t[2], 0]).collect();
        let mask: Vec<f32> = sheet.mask.as_chunks::<3>().0.iter().flat_map(|m| [m[1], m[2]]).collect();
        Ok(Self {
            loader: Loader::new(gpu),
            size,
            points,
            triangles,
            openings: sheet.openings,
            corners: gpu.upload(&corners)?,
            canonical: gpu.upload(sheet.canonical_px.as_flattened())?,
            mask: gpu.upload(&mask)?,
            sending: Sending::new(gpu),
            kept: Sending::new(gpu),
            owner: Arc::new(()),
            down: Staging::new(gpu),
            sends: Room::default(),
            gets: Room::default(),
            gpu: gpu.clone(),
        })
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// What first went wrong with a finished picture that was read: then make another painter.
    #[must_use]
    pub fn fault(&self) -> Option<&CudaError> {
        self.loader.fault()
    }

    /// Puts a texture there: interleaved RGB, 0–255, and alpha, 0–1, as large as the sheet's.
    ///
    /// # Errors
    /// Another length; [`CudaError`].
    pub fn texture(&self, texture: &[f32]) -> Result<DeviceTexture, CudaError> {
        let values = 4 * self.size * self.size;
        check("cuda::Painter::texture", "values", texture.len() == values, values, texture.len())?;
        Ok(DeviceTexture(self.gpu.upload(texture)?))
    }

    /// Reads canvases out of a frame, and thumbnails of `thumb` cells a side.
    ///
    /// # Errors
    /// Sizes or maps that do not fit, a frame of another device; [`CudaError`].
    pub fn read(&mut self, frame: &DeviceFrame, faces: &mut [Reading<'_>], thumb: usize) -> Result<(), CudaError> {
        let op = "cuda::Painter::read";
        for reading in &*faces {
            let (board, side) = (reading.board, reading.board.side());
            let fits = side > 0 && side <= MAX_SIDE_PX as usize / 8 && side.is_multiple_of(4);
            check(op, "side", fits, "a multiple of 4, up to 4096 px", side)?;
            let cells = (1..=256).contains(&thumb) && (board.crop_px * board.k).is_multiple_of(thumb.max(1));
            check(op, "thumb", cells, format!("a divisor of {}", board.crop_px * board.k), thumb)?;
        }
        let mut made = Vec::with_capacity(faces.len());
        for reading in faces.iter_mut() {
            let (face, side) = (&mut *reading.face, reading.board.side());
            (face.stage, face.board) = (Stage::Empty, Some(reading.board));
            let canvas = face.canvas.buffer(&self.gpu, 3 * side * side)?;
            crop_into(&self.gpu, frame, &[reading.frame_from_canvas], &reading.board.spec(), canvas)?;
            made.push((
                FinishedFace {
                    canvas: canvas.address(),
                    side: side as i32,
                    k: reading.board.k as i32,
                    ..FinishedFace::default()
                },
                reading.board,
            ));
        }
        self.fetch(0, &mut made, (thumb * thumb, thumb, 1.0))?;
        let values = self.down.bytes().chunks_exact(4 * thumb * thumb);
        for (reading, values) in faces.iter_mut().zip(values) {
            refill(reading.thumb, values);
            reading.face.stage = Stage::Read;
        }
        Ok(())
    }

    /// Paints faces; `None` for a mesh that is degenerate, or too small or too far turned to be painted.
    ///
    /// # Errors
    /// Meshes or recipes that do not fit, a face or texture of another device; [`CudaError`].
    pub fn compose(&mut self, faces: &mut [Painting<'_>]) -> Result<Vec<Option<Painted>>, CudaError> {
        let op = "cuda::Painter::compose";
        for p in faces.iter_mut() {
            p.face.board(&self.gpu, op, Stage::Read)?;
            p.face.stage = Stage::Read;
            let lengths = [p.points.len(), p.moved.len(), p.depth.len()];
            check(op, "mesh", lengths == [self.points; 3], self.points, format!("{lengths:?}"))?;
            check(op, "depth", p.depth.iter().all(|z| z.is_finite()), "finite", "other")?;
            p.texture.0.on(&self.gpu, op, "texture")?;
        }
        let mut verdicts: Vec<Option<Painted>> = faces.iter().map(|_| None).collect();
        let sound: Vec<(usize, Window)> = faces.iter().enumerate().filter_map(|(i, p)| Some((i, p.window()?))).collect();
        if sound.is_empty() {
            return Ok(verdicts);
        }
        self.send_meshes(sound.iter().filter_map(|(i, _)| faces.get(*i)))?;
        let totals = self.gets.of(&self.gpu, TOTALS * sound.len())?;
        let mut jobs = Vec::with_capacity(sound.len());
        for (n, (i, window)) in sound.iter().enumerate() {
            let Some(p) = faces.get_mut(*i) else { continue };
            let points = self.sends.address() + (4 * POINT * self.points * n) as u64;
            jobs.push(self.job(p, window, (points, totals + (TOTALS * n) as u64))?);
        }
        for few in jobs.chunks(FEW_PAINTED) {
            self.queue_paint(few)?;
        }
        self.collect(TOTALS * sound.len())?;
        for ((i, _), totals) in sound.iter().zip(self.down.bytes().as_chunks::<TOTALS>().0) {
            let [a, b, c, d, e, f, g, h] = *totals;
            let (painted, kept) = (u32::from_ne_bytes([a, b, c, d]), f32::from_ne_bytes([e, f, g, h]));
            let (Some(p), Some(verdict)) = (faces.get_mut(*i), verdicts.get_mut(*i)) else {
                continue;
            };
            if painted as usize >= LEAST_PAINTED_PX {
                p.face.stage = Stage::Painted;
                *verdict = Some(Painted {
                    has_front: p.keeps_front && kept > p.recipe.front_area_px2,
                });
            }
        }
        Ok(verdicts)
    }

    /// Brings the denoiser's crops down; masks fade over `ramp_px`.
    ///
    /// # Errors
    /// A face that was not painted; [`CudaError`].
    pub fn crops(&mut self, faces: &mut [Cropping<'_>], ramp_px: f32) -> Result<(), CudaError> {
        let op = "cuda::Painter::crops";
        check(op, "ramp", ramp_px.is_finite() && ramp_px > 0.0, "above 0", ramp_px)?;
        let mut made = Vec::with_capacity(faces.len());
        for cropping in &*faces {
            let board = cropping.face.board(&self.gpu, op, Stage::Painted)?;
            made.push((finished(cropping.face, board, cropping.from_prior), board));
        }
        let Some(pixels) = made.first().map(|(_, b)| b.crop_px * b.crop_px) else {
            return Ok(());
        };
        self.fetch(1, &mut made, (7 * pixels, 1, ramp_px))?;
        for (cropping, bytes) in faces.iter_mut().zip(self.down.bytes().chunks_exact(28 * pixels)) {
            let (base, rest) = bytes.split_at_checked(12 * pixels).unwrap_or_default();
            let (source, mask) = rest.split_at_checked(12 * pixels).unwrap_or_default();
            refill(cropping.base, base);
            refill(cropping.source, source);
            refill(cropping.mask, mask);
        }
        Ok(())
    }

    /// Finishes faces: what is blended, and what is then seen. Nothing waits.
    ///
    /// # Errors
    /// A face that was not painted, an edit of another length or painter, a mesh that does not fit; [`CudaError`].
    pub fn finish(&mut self, faces: &mut [Finishing<'_>]) -> Result<(), CudaError> {
        let op = "cuda::Painter::finish";
        for f in &*faces {
            self.check_added(f.face, &f.added)?;
        }
        self.sending.begin()?;
        let mut sizes = Vec::with_capacity(faces.len());
        for f in &*faces {
            sizes.push(self.put_added(&f.added)?);
        }
        self.send()?;
        let (mut sent, mut made, mut warped) = (self.sends.address(), Vec::with_capacity(faces.len()), Vec::new());
        for (f, bytes) in faces.iter_mut().zip(sizes) {
            let board = f.face.board(&self.gpu, op, Stage::Painted)?;
            let side = board.side();
            f.face.stage = Stage::Painted;
            let fresh = shared(&mut f.face.fresh, &self.gpu, 3 * side * side)?;
            let seen = self.seen(f.face, side)?;
            let mut args = finished(f.face, board, f.from_prior);
            (args.fresh, args.seen, args.pitch) = (fresh, seen.0, seen.1);
            args.edit = match &f.added {
                Added::Nothing => 0,
                Added::Here(_) => sent,
                Added::Moved(moved) => {
                    let face = self.warped(f.face, moved, sent)?;
                    warped.push(face);
                    face.out
                }
            };
            sent += bytes as u64;
            made.push((args, board));
        }
        queue_warp(&self.gpu, self.corners.address(), self.triangles, &warped)?;
        for few in made.chunks(FEW_PAINTED) {
            let args = self.finish_args(few, 1, 1.0)?;
            self.launch_finish(2, args.finish_grid(), PIXEL_BLOCK, &args)?;
        }
        faces.iter_mut().for_each(|f| f.face.stage = Stage::Finished);
        Ok(())
    }
}

fn refill(to: &mut Vec<f32>, bytes: &[u8]) {
    to.clear();
    to.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_ne_bytes(*b)));
}
