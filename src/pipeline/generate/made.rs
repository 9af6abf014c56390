//! Faces that are made on the device that has their frame, in place of the processor.
//!
//! | | |
//! |---|---|
//! | when | the frame is there ([`super::super::reading`]); recogniser and mesh network read what is made there; no part of the face is to stay |
//! | there | canvas, composite, weight, edits and how they move, finished picture ([`nullface_kernels::cuda::Painter`]); they are embedded, looked at and shown without coming down |
//! | here | where meshes lie and go, which target, which edit; auditions of new persons, once each |
//! | crosses the bus | points of the meshes, new edits and, once a person, a texture up; thumbnails, two numbers a face and, where an edit is made, the denoiser's crops down |
//! | a fault of the device | what was asked of it is made by the processor, from the frame: to its pixels; the device rests ([`super::super::access`]) |
//! | a fault where the finished picture is read | that stage fails, as from any picture: the face is covered |
//!
//! What is only there cannot be read here: [`FrameView::there`] has no pixels, and who wants them is refused.

use nullface_kernels::cuda::{Added, Cropping, CudaError, Finishing, Painter, Painting, Reading};

use super::super::access::Access;
use super::canvas::RAMP_PX;
use super::placed::{self, SIDE};
use super::slot::Slot;
use super::{Generator, Tools, failed, refuse};
use crate::backend::DeviceEvents;
use crate::frame::FrameView;
use crate::pipeline::outcome::CoverReason;

/// The painter, and what is done while its device is away.
#[derive(Debug)]
pub(super) struct Maker {
    painter: Option<Painter>,
    access: Access,
}

impl Default for Maker {
    fn default() -> Self {
        Self {
            painter: None,
            access: Access::new("the making of faces"),
        }
    }
}

impl Maker {
    /// From now on `events` is told where faces lose their device.
    pub(super) fn set_events(&mut self, events: DeviceEvents) {
        self.access.set_events(events);
    }

    /// What cannot be made there does not speak against the device.
    fn failed(&mut self, error: &CudaError) {
        if !matches!(error, CudaError::Argument(_)) && self.painter.take().is_some() {
            self.access.lost(&format!("device: {error}"));
        }
    }
}

impl Generator {
    /// Whether the faces of a frame are made where it is. Edits that were kept by another painter are given up there.
    pub(super) fn begin_there(&mut self, frame: &FrameView<'_>, tools: &Tools<'_>) -> bool {
        let there = self.open_there(frame, tools);
        let painter = self.maker.painter.as_ref();
        self.tracks.values_mut().for_each(|memory| memory.cache.leave(painter));
        there
    }

    fn open_there(&mut self, frame: &FrameView<'_>, tools: &Tools<'_>) -> bool {
        let there = frame.resident().filter(|r| r.is_sound() && r.there().is_some());
        let Some(gpu) = there.map(|r| r.gpu()).filter(|gpu| self.keep.is_empty() && is_read_on(gpu, tools)) else {
            return false;
        };
        let maker = &mut self.maker;
        if let Some(fault) = maker.painter.as_ref().and_then(|p| p.fault().cloned()) {
            maker.failed(&fault);
        }
        if maker.access.rests() {
            return false;
        }
        if maker.painter.as_ref().is_some_and(|p| p.gpu().is_same(gpu)) {
            return true;
        }
        match Painter::new(gpu, &self.basis.sheet()) {
            Ok(painter) => maker.painter = Some(painter),
            Err(e) => {
                maker.painter = None;
                maker.access.lost(&format!("device: {e}"));
            }
        }
        maker.painter.is_some()
    }

    /// Canvases and thumbnails of the faces that were seated there.
    pub(super) fn read_there(&mut self, n: usize, frame: &FrameView<'_>) {
        let Self { maker, slots, .. } = self;
        let slots = slots.get_mut(..n).unwrap_or(&mut []);
        let mut reading: Vec<Reading<'_>> = slots
            .iter_mut()
            .filter(|s| s.is_open() && s.there)
            .map(|s| Reading {
                face: &mut s.face,
                board: s.place.board(),
                frame_from_canvas: s.place.frame_from_canvas,
                thumb: &mut s.thumb,
            })
            .collect();
        if reading.is_empty() {
            return;
        }
        let read = match (&mut maker.painter, frame.resident().and_then(|r| r.there())) {
            (Some(painter), Some(there)) => painter.read(there, &mut reading, SIDE),
            _ => Err(nothing("read")),
        };
        match read {
            Ok(()) => {
                slots
                    .iter_mut()
                    .filter(|s| s.is_open() && s.there)
                    .for_each(|s| placed::level(&mut s.thumb));
            }
            Err(e) => {
                maker.failed(&e);
                self.read_here(n, frame, |_| true);
            }
        }
    }

    /// From now on the faces wanted are made by the processor.
    fn read_here(&mut self, n: usize, frame: &FrameView<'_>, wanted: impl Fn(&Slot) -> bool) {
        for slot in self.slots.iter_mut().take(n).filter(|s| s.is_open() && s.there && wanted(s)) {
            if let Err(refusal) = slot.read(frame) {
                (slot.step, slot.verdict) = (None, Some(Err(refusal)));
            }
        }
    }

    /// The same, composites too.
    fn fall_back(&mut self, n: usize, frame: &FrameView<'_>, error: &CudaError, wanted: impl Fn(&Slot) -> bool + Sync) {
        self.maker.failed(error);
        let were_there: Vec<u64> = self
            .slots
            .iter()
            .take(n)
            .filter(|s| s.is_open() && s.there && wanted(s))
            .map(|s| s.track)
            .collect();
        self.read_here(n, frame, wanted);
        self.compose_here(n, |s| were_there.contains(&s.track));
        self.slots.iter_mut().take(n).filter(|s| !s.is_open()).for_each(|s| s.step = None);
    }

    /// Composites of the faces that are made there; those that cannot be are the processor's afterwards.
    pub(super) fn compose_there(&mut self, n: usize, frame: &FrameView<'_>) {
        let made = self.paint(n);
        if let Err(e) = made {
            self.maker.failed(&e);
            self.read_here(n, frame, |_| true);
        }
    }

    fn paint(&mut self, n: usize) -> Result<(), CudaError> {
        let Self {
            maker,
            slots,
            persons,
            basis,
            keep,
            ..
        } = self;
        let slots = slots.get_mut(..n).unwrap_or(&mut []);
        if !slots.iter().any(|s| s.is_open() && s.there) {
            return Ok(());
        }
        let painter = maker.painter.as_mut().ok_or_else(|| nothing("compose"))?;
        let mut textures = Vec::new();
        for slot in slots.iter_mut().filter(|s| s.is_open() && s.there) {
            let person = persons.get_mut(&slot.person);
            let texture = match person {
                Some(person) => person
                    .texture(painter)?
                    .zip(person.known_target().map(|t| (t, person.shape_boost()))),
                None => None,
            };
            match texture {
                Some((texture, (target, boost))) => {
                    slot.boost = boost;
                    slot.reshape(basis, target, keep);
                    textures.push(texture);
                }
                None => slot.verdict = Some(Err(failed("a person without a target"))),
            }
        }
        let open = slots.iter_mut().filter(|s| s.is_open() && s.there);
        let mut painting: Vec<Painting<'_>> = open.zip(&textures).map(|(slot, texture)| slot.painting(basis, texture)).collect();
        let painted = painter.compose(&mut painting)?;
        for (slot, painted) in slots.iter_mut().filter(|s| s.is_open() && s.there).zip(painted) {
            match painted {
                Some(painted) => slot.composite.has_front = painted.has_front,
                None => slot.verdict = Some(Err(refuse(CoverReason::NotReplaceable))),
            }
        }
        Ok(())
    }

    /// Brings what the denoiser is given down, for the faces that are made there.
    pub(super) fn crops_there(&mut self, n: usize, wanted: impl Fn(&Slot) -> bool + Sync, from_prior: bool, frame: &FrameView<'_>) {
        let Self { maker, slots, .. } = self;
        let slots = slots.get_mut(..n).unwrap_or(&mut []);
        let mut cropping: Vec<Cropping<'_>> = slots
            .iter_mut()
            .filter(|s| s.is_open() && s.there && wanted(s))
            .map(|s| Cropping {
                face: &s.face,
                from_prior,
                base: &mut s.base_crop,
                mask: &mut s.mask_crop,
                source: &mut s.source_crop,
            })
            .collect();
        if cropping.is_empty() {
            return;
        }
        let made = match &mut maker.painter {
            Some(painter) => painter.crops(&mut cropping, RAMP_PX),
            None => Err(nothing("crops")),
        };
        if let Err(e) = made {
            self.fall_back(n, frame, &e, wanted);
        }
    }

    /// Finishes faces, each where it is made, with the edits of their tracks where they are edited.
    pub(super) fn finish(
        &mut self,
        n: usize,
        wanted: impl Fn(&Slot) -> bool + Sync,
        (edited, from_prior): (bool, bool),
        frame: &FrameView<'_>,
    ) {
        if let Err(e) = self.finish_there(n, &wanted, (edited, from_prior)) {
            self.fall_back(n, frame, &e, &wanted);
        }
        let triangles = &self.basis.triangles;
        for slot in self.slots.iter_mut().take(n).filter(|s| !s.there && wanted(s)) {
            let cache = &self.tracks.entry(slot.track).or_default().cache;
            let edited = edited && cache.delta(&mut slot.warp, &slot.moved, &slot.depth, triangles, &mut slot.delta);
            slot.finish(edited, from_prior);
        }
    }

    fn finish_there(&mut self, n: usize, wanted: impl Fn(&Slot) -> bool, (edited, from_prior): (bool, bool)) -> Result<(), CudaError> {
        let Self { maker, slots, tracks, .. } = self;
        let slots = slots.get_mut(..n).unwrap_or(&mut []);
        if !slots.iter().any(|s| s.there && wanted(s)) {
            return Ok(());
        }
        let painter = maker.painter.as_mut().ok_or_else(|| nothing("finish"))?;
        if edited {
            let edits: Vec<_> = slots
                .iter()
                .filter(|s| s.there && wanted(s))
                .filter_map(|s| tracks.get(&s.track))
                .flat_map(|memory| memory.cache.unsent(painter))
                .collect();
            let mut there = painter.keep(&edits)?.into_iter();
            for slot in slots.iter().filter(|s| s.there && wanted(s)) {
                if let Some(memory) = tracks.get_mut(&slot.track) {
                    memory.cache.sent(painter, &mut there);
                }
            }
        }
        let mut finishing = Vec::with_capacity(slots.len());
        for slot in slots.iter_mut().filter(|s| s.there && wanted(s)) {
            let cache = tracks.get(&slot.track).map(|memory| &memory.cache);
            let moved = cache.and_then(|cache| cache.moved(painter, &slot.moved, &slot.depth));
            finishing.push(Finishing {
                face: &mut slot.face,
                from_prior: from_prior || !edited,
                added: match moved {
                    _ if !edited => Added::Nothing,
                    Some(moved) => Added::Moved(moved),
                    None => return Err(nothing("edit")),
                },
            });
        }
        painter.finish(&mut finishing)?;
        maker.access.served(painter.gpu());
        Ok(())
    }
}

/// Whether what is made on a device is also read there.
fn is_read_on(gpu: &nullface_kernels::cuda::Gpu, tools: &Tools<'_>) -> bool {
    tools.recogniser.reads_on(gpu) && tools.mesh.reads_on(gpu)
}

/// What is told where a painter went away in mid-frame.
fn nothing(op: &'static str) -> CudaError {
    CudaError::Driver {
        op,
        why: "the painter of this frame is gone".to_owned(),
    }
}
