//! Arguments of a painter's launches, and the launches.

use super::painter::Painter;
use super::{DeviceFace, Painting, Stage};
use crate::cuda::args::{
    FEW_PAINTED, FinishArgs, FinishedFace, LINE_BLOCK, PIXEL_BLOCK, POINT, PaintArgs, PaintFace, PaintedFace, TRIANGLE,
};
use crate::cuda::driver::Grid;
use crate::cuda::error::{CudaError, check};
use crate::cuda::frame::DeviceFrame;
use crate::cuda::memory::{Plain, bytes_of};
use crate::cuda::paint::queue_match;
use crate::cuda::resident::Resident;
use crate::image::{ImageInfo, Matrix, PixelFormat, Range};
use crate::paint_face::{Board, Window, iod_px};

// SAFETY: `repr(C)`, numbers only, every gap filled by a named `spare`; the launching side of the shim compares the sizes.
unsafe impl Plain for PaintArgs {}
// SAFETY: as above.
unsafe impl Plain for FinishArgs {}

/// Entries of `paint_face.cu`.
const PAINT: [&str; 8] = [
    "face_triangles",
    "face_draw",
    "face_cells",
    "face_across",
    "face_down",
    "face_apply",
    "face_write",
    "face_totals",
];
/// Entries of `finish_face.cu`.
const FINISH: [&str; 3] = ["face_thumb", "face_crops", "face_finish"];
/// One face's arguments: its own, and those for its light and grain.
pub(super) type Job = (PaintedFace, (PaintFace, bool));

impl Painter {
    pub(super) fn send(&mut self) -> Result<(), CudaError> {
        let bytes = self.sending.up.len();
        if bytes == 0 {
            return Ok(());
        }
        let to = self.sends.buffer(&self.gpu, bytes.next_power_of_two())?;
        self.sending.send(0..bytes, to)
    }

    pub(super) fn send_meshes<'a, 'b: 'a>(&mut self, faces: impl Iterator<Item = &'a Painting<'b>>) -> Result<(), CudaError> {
        self.sending.begin()?;
        for p in faces {
            let to = self.sending.up.extend(4 * POINT * self.points)?;
            let points = p.points.iter().zip(p.moved).zip(p.depth);
            for (to, ((own, moved), depth)) in to.as_chunks_mut::<{ 4 * POINT }>().0.iter_mut().zip(points) {
                to.copy_from_slice(bytes_of(&[own[0], own[1], moved[0], moved[1], *depth]));
            }
        }
        self.send()
    }

    /// Brings so many bytes of what was made down, and waits.
    pub(super) fn collect(&mut self, bytes: usize) -> Result<(), CudaError> {
        self.down.clear();
        self.down.extend(bytes)?;
        let queued = match &self.gets.0 {
            // SAFETY: waited for below, whatever came of it, and `self` owns the bytes.
            Some(from) => unsafe { from.queue_read_at(0, self.down.bytes_mut()) },
            None => Ok(()),
        };
        let waited = self.gpu.wait();
        queued.and(waited)
    }

    pub(super) fn job(&self, p: &mut Painting<'_>, window: &Window, (points, totals): (u64, u64)) -> Result<Job, CudaError> {
        let board = p.face.board(&self.gpu, "cuda::Painter::compose", Stage::Read)?;
        let (gpu, side, n) = (&self.gpu, board.side(), window.len());
        let iod = iod_px(p.points).unwrap_or(0.0);
        let mut face = PaintedFace::new(window, (side, board.k), &p.recipe, iod);
        let mut matched = PaintFace::new(window.width, window.height, &p.recipe.matching)?;
        let scratch = face.scratch().max(matched.scratch());
        face.points = points;
        face.totals = totals;
        face.texture = p.texture.0.address();
        face.still = i32::from(p.points == p.moved);
        face.keeps_front = i32::from(p.keeps_front);
        let kept = &mut *p.face;
        face.canvas = kept.canvas.address();
        face.triangles = kept.triangles.of(gpu, TRIANGLE * self.triangles)?;
        face.base = kept.base.of(gpu, 3 * n)?;
        face.lit = kept.lit.of(gpu, 4 * n)?;
        face.rim = kept.rim.of(gpu, 2 * n)?;
        face.facing = kept.facing.of(gpu, n)?;
        face.alpha = kept.alpha.of(gpu, n)?;
        face.painted = kept.painted.of(gpu, n)?;
        face.inside = kept.inside.of(gpu, n)?;
        face.fine = kept.fine.of(gpu, 4 * n)?;
        face.grid = kept.grid.of(gpu, scratch)?;
        face.other = kept.other.of(gpu, scratch)?;
        face.picture = kept.picture.of(gpu, 3 * side * side)?;
        face.shown = kept.shown.of(gpu, side * side)?;
        face.partial = kept.partial.of(gpu, PaintedFace::partial(side))?;
        face.weight = kept.weight(gpu, side * side)?;
        (matched.paint, matched.base, matched.alpha) = (face.lit, face.base, face.alpha);
        (matched.painted, matched.fine) = (face.painted, face.fine);
        (matched.grid, matched.other) = (face.grid, face.other);
        Ok((face, (matched, p.recipe.matching.is_grained())))
    }

    pub(super) fn queue_paint(&self, few: &[Job]) -> Result<(), CudaError> {
        let mut args = PaintArgs {
            corners: self.corners.address(),
            canonical: self.canonical.address(),
            mask: self.mask.address(),
            faces: few.len() as i32,
            triangles: self.triangles as i32,
            openings: self.openings as i32,
            size: self.size as i32,
            stage: 0,
            second: -1,
            ..PaintArgs::default()
        };
        args.few.iter_mut().zip(few).for_each(|(to, (face, _))| *to = *face);
        self.launch_paint(0, args.triangle_grid(), LINE_BLOCK, &args)?;
        self.launch_paint(1, args.window_grid(), PIXEL_BLOCK, &args)?;
        // Facing and what the mesh covers need nothing else.
        (args.stage, args.second) = (0, 4);
        self.low_pass(&args)?;
        self.launch_paint(5, args.apply_grid(), PIXEL_BLOCK, &args)?;
        queue_match(&self.gpu, &few.iter().map(|(_, matched)| *matched).collect::<Vec<_>>())?;
        (args.stage, args.second) = (1, -1);
        self.low_pass(&args)?;
        self.launch_paint(5, args.apply_grid(), PIXEL_BLOCK, &args)?;
        (args.stage, args.second) = (2, 3);
        self.low_pass(&args)?;
        self.launch_paint(6, args.canvas_grid(), PIXEL_BLOCK, &args)?;
        self.launch_paint(7, [1, 1, few.len() as u32], LINE_BLOCK, &args)
    }

    pub(super) fn low_pass(&self, args: &PaintArgs) -> Result<(), CudaError> {
        (2..5).try_for_each(|entry| self.launch_paint(entry, args.cells_grid(), PIXEL_BLOCK, args))
    }

    pub(super) fn launch_paint(&self, entry: usize, blocks: [u32; 3], threads: [u32; 3], args: &PaintArgs) -> Result<(), CudaError> {
        // SAFETY: every buffer is as long as the contract wants, by `job` and `new`.
        unsafe { self.gpu.launch("paint_face", &PAINT, entry, Grid { blocks, threads }, args) }
    }

    pub(super) fn launch_finish(&self, entry: usize, blocks: [u32; 3], threads: [u32; 3], args: &FinishArgs) -> Result<(), CudaError> {
        // SAFETY: every buffer is as long as the contract wants, by the stage that the face has reached and the callers.
        unsafe { self.gpu.launch("finish_face", &FINISH, entry, Grid { blocks, threads }, args) }
    }

    pub(super) fn finish_args(&self, few: &[(FinishedFace, Board)], thumb: usize, ramp: f32) -> Result<FinishArgs, CudaError> {
        let first = few.first().map(|(_, b)| (b.crop_px, b.margin_px)).unwrap_or((1, 0));
        let same = few.iter().all(|(_, b)| (b.crop_px, b.margin_px) == first);
        check("cuda::Painter", "crops", same, "of one size", "others")?;
        let mut args = FinishArgs {
            faces: few.len() as i32,
            crop: first.0 as i32,
            margin: first.1 as i32,
            thumb: thumb as i32,
            ramp,
            ..FinishArgs::default()
        };
        args.few.iter_mut().zip(few).for_each(|(to, (face, _))| *to = *face);
        Ok(args)
    }

    /// Runs `entry`, which gives `values` a face, and brings them down.
    pub(super) fn fetch(
        &mut self,
        entry: usize,
        made: &mut [(FinishedFace, Board)],
        (values, thumb, ramp): (usize, usize, f32),
    ) -> Result<(), CudaError> {
        let (count, bytes) = (made.len(), 4 * values);
        if count == 0 {
            return Ok(());
        }
        let out = self.gets.of(&self.gpu, bytes * count)?;
        made.iter_mut()
            .enumerate()
            .for_each(|(n, (face, _))| face.out = out + (n * bytes) as u64);
        for few in made.chunks(FEW_PAINTED) {
            let args = self.finish_args(few, thumb, ramp)?;
            let (blocks, threads) = if entry == 0 {
                (args.thumb_grid(), LINE_BLOCK)
            } else {
                (args.crop_grid(), PIXEL_BLOCK)
            };
            self.launch_finish(entry, blocks, threads, &args)?;
        }
        self.collect(bytes * count)
    }

    /// The frame of what is then seen: its address and the bytes from row to row.
    pub(super) fn seen(&self, face: &mut DeviceFace, side: usize) -> Result<(u64, i32), CudaError> {
        let info = ImageInfo {
            format: PixelFormat::Rgb,
            width: side as u32,
            height: side as u32,
            matrix: Matrix::Bt709,
            range: Range::Full,
        };
        let fits = |r: &Resident| r.gpu().is_same(&self.gpu) && r.is_sound() && r.there().is_some_and(|f| *f.info() == info);
        if !face.seen.as_ref().is_some_and(fits) {
            face.seen = None;
            face.seen = Some(self.loader.made(DeviceFrame::unfilled(&self.gpu, &info)?));
        }
        let frame = face.seen.as_ref().and_then(Resident::there);
        let at = frame.and_then(|f| {
            let (buffer, planes) = f.planes();
            let plane = planes.first()?;
            Some((buffer.address() + plane.at as u64, plane.pitch as i32))
        });
        check("cuda::Painter::finish", "frame", at.is_some(), "on the device", "nowhere")?;
        Ok(at.unwrap_or_default())
    }
}

pub(super) fn finished(face: &DeviceFace, board: Board, from_prior: bool) -> FinishedFace {
    FinishedFace {
        canvas: face.canvas.address(),
        picture: face.picture.address(),
        shown: face.shown.address(),
        weight: face.weight.as_ref().map_or(0, |w| w.address()),
        side: board.side() as i32,
        k: board.k as i32,
        from_prior: i32::from(from_prior),
        ..FinishedFace::default()
    }
}
