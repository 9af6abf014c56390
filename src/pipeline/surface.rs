//! Where a frame's pixels are written: by the processor at once, or on a device in one trip at the release.
//!
//! | | processor | device |
//! |---|---|---|
//! | cover, new face | written when asked for | recorded ([`Pass`]); run by [`Desk::release`]: one copy up, one down, one wait |
//! | what the processor sees before the release | what was written so far | the frame as it came |
//! | an error | the frame is covered whole | the same: its pixels are as they came, until they are covered |
//!
//! A frame that its networks have read on the device is there already ([`super::reading`]): then masks and pictures go
//! up, unless a picture was made there, and no pixel. After an error the device rests ([`super::access`]).

use nullface_kernels::cuda::args::CoverMode;
use nullface_kernels::cuda::{CudaError, Gpu, Pass, Resident, Shown};
use nullface_kernels::mask::{RegionMask, Weights};
use nullface_kernels::{KernelError, composite};

use super::access::{Access, LOST_TO_ANOTHER};
use crate::backend::DeviceEvents;
use crate::frame::{Affine, FrameViewMut};
use crate::stages::blend::{self, CELLS, Cover};

/// The device that frames are written on, and what is done while it is away.
#[derive(Debug)]
pub(super) struct Desk {
    pass: Option<Pass>,
    access: Access,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            pass: None,
            access: Access::new("the treatment of frames"),
        }
    }
}

impl Desk {
    /// From now on frames are treated on what `open` gives.
    pub(super) fn set_device(&mut self, open: impl FnMut() -> Option<Gpu> + Send + 'static) {
        self.pass = None;
        self.access.set_device(open);
    }

    /// From now on `events` is told where frames lose their device.
    pub(super) fn set_events(&mut self, events: DeviceEvents) {
        self.access.set_events(events);
    }

    /// A surface over a frame; `resident` is the same frame, untouched, where a device has it.
    pub(super) fn surface<'a, 'f>(&mut self, frame: &'a mut FrameViewMut<'f>, resident: Option<Resident>) -> Surface<'a, 'f> {
        if self.pass.as_ref().is_some_and(|p| p.gpu().is_lost()) {
            self.pass = None;
            self.access.lost(LOST_TO_ANOTHER);
        }
        let mut pass = self.pass.take().or_else(|| self.access.device().map(|gpu| Pass::new(&gpu)));
        if let Some(pass) = &mut pass {
            pass.begin(frame.as_image().info());
        }
        let resident = resident.filter(|r| pass.as_ref().is_some_and(|p| p.gpu().is_same(r.gpu())) && r.is_sound());
        Surface { frame, pass, resident }
    }

    /// Ends a frame: what was recorded is run where the writing went well.
    ///
    /// # Errors
    /// What went wrong; the frame may be as it came and must be covered.
    pub(super) fn release(&mut self, surface: Surface<'_, '_>, written: Result<(), String>) -> Result<(), String> {
        let on_device = surface.pass.is_some();
        match written.and_then(|()| surface.release()) {
            Ok(pass) => {
                if let Some(pass) = &pass {
                    self.access.served(pass.gpu());
                }
                self.pass = pass;
                Ok(())
            }
            Err(fault) => {
                if on_device {
                    self.access.lost(&fault);
                }
                Err(fault)
            }
        }
    }
}

/// A frame that is being treated.
pub(super) struct Surface<'a, 'f> {
    frame: &'a mut FrameViewMut<'f>,
    pass: Option<Pass>,
    resident: Option<Resident>,
}

impl<'a, 'f> Surface<'a, 'f> {
    /// Written by the processor.
    pub(super) fn on_processor(frame: &'a mut FrameViewMut<'f>) -> Self {
        Self {
            frame,
            pass: None,
            resident: None,
        }
    }

    /// Width and height, px.
    pub(super) fn size_px(&self) -> (u32, u32) {
        (self.frame.width(), self.frame.height())
    }

    /// Covers the masked pixels.
    pub(super) fn cover(&mut self, mask: &RegionMask, how: Cover, fill_rgb: [u8; 3]) -> Result<(), String> {
        let Some(pass) = &mut self.pass else {
            return blend::apply(self.frame, mask, how, fill_rgb).map_err(text);
        };
        let mode = match how {
            Cover::Blur => CoverMode::Blur(CELLS),
            Cover::Pixelate => CoverMode::Pixelate(CELLS),
            Cover::Solid => CoverMode::Solid(fill_rgb),
        };
        pass.cover(mask, mode).map_err(on_device)
    }

    /// Shows a square picture (interleaved RGB) by its weights; `mask` is a buffer of the caller's.
    pub(super) fn place(&mut self, picture: &[u8], weights: &Weights<'_>, mask: &mut RegionMask) -> Result<(), String> {
        if let Some(pass) = &mut self.pass {
            return pass.place(picture, weights).map_err(on_device);
        }
        let (width, height) = self.size_px();
        let shown = mask.weighted_into(weights, width, height).and_then(|any| {
            if any {
                composite::blend_crop(self.frame, mask, picture, weights.side, weights.side, &weights.square_from_frame)
            } else {
                Ok::<_, KernelError>(())
            }
        });
        shown.map_err(text)
    }

    /// Whether the frame is written on that device.
    pub(super) fn is_on(&self, gpu: &Gpu) -> bool {
        self.pass.as_ref().is_some_and(|p| p.gpu().is_same(gpu))
    }

    /// Shows a picture that is on the device that the frame is written on.
    pub(super) fn place_there(&mut self, shown: &Shown, frame_from_square: &Affine, square_from_frame: &Affine) -> Result<(), String> {
        let pass = self.pass.as_mut().ok_or("device: the frame is not written there")?;
        pass.place_there(shown, frame_from_square, square_from_frame).map_err(on_device)
    }

    fn release(self) -> Result<Option<Pass>, String> {
        let Self { frame, pass, resident } = self;
        let Some(mut pass) = pass else { return Ok(None) };
        pass.run(frame, resident.as_ref().and_then(Resident::there)).map_err(on_device)?;
        Ok(Some(pass))
    }
}

fn on_device(error: CudaError) -> String {
    format!("device: {error}")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
