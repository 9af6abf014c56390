//! Where a frame's pixels are written: by the processor at once, or on a device in one trip at the release.
//!
//! | | processor | device |
//! |---|---|---|
//! | cover, new face | written when asked for | recorded ([`Pass`]); run by [`Surface::release`]: one copy up, one down, one wait |
//! | what the processor sees before the release | what was written so far | the frame as it came |
//! | an error | the frame is covered whole | the same: its pixels are as they came, until they are covered |
//!
//! | after an error of the device | |
//! |---|---|
//! | that frame | covered whole by the processor |
//! | those that follow | written by the processor, to the same pixels |
//! | the device | asked for again after 1, 2, 4 … frames, [`MOST_REST`] at most |

use nullface_kernels::cuda::args::CoverMode;
use nullface_kernels::cuda::{CudaError, Gpu, Pass};
use nullface_kernels::mask::{RegionMask, Weights};
use nullface_kernels::{KernelError, composite};

use crate::backend::{Device, DeviceEvent, DeviceEvents};
use crate::frame::FrameViewMut;
use crate::stages::blend::{self, CELLS, Cover};

/// Most frames between two tries to open a device again.
const MOST_REST: u32 = 256;

/// What a device is lost under here.
const FRAMES: &str = "the treatment of frames";

/// Opens the device; `None` where it cannot be had.
type Open = Box<dyn FnMut() -> Option<Gpu> + Send>;

/// The device that frames are treated on, and what is done while it is away.
#[derive(Default)]
pub(super) struct Desk {
    pass: Option<Pass>,
    open: Option<Open>,
    events: DeviceEvents,
    /// Whether the last frame that a device was to treat failed there.
    failed: bool,
    rest: u32,
    pause: u32,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("pass", &self.pass)
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}

impl Desk {
    /// From now on frames are treated on what `open` gives.
    pub(super) fn set_device(&mut self, open: impl FnMut() -> Option<Gpu> + Send + 'static) {
        *self = Self {
            open: Some(Box::new(open)),
            events: std::mem::take(&mut self.events),
            ..Self::default()
        };
    }

    /// From now on `events` is told where frames lose their device.
    pub(super) fn set_events(&mut self, events: DeviceEvents) {
        self.events = events;
    }

    /// A surface over a frame.
    pub(super) fn surface<'a, 'f>(&mut self, frame: &'a mut FrameViewMut<'f>) -> Surface<'a, 'f> {
        let mut pass = self.pass.take().or_else(|| self.reopened());
        if let Some(pass) = &mut pass {
            pass.begin(frame.as_image().info());
        }
        Surface { frame, pass }
    }

    fn reopened(&mut self) -> Option<Pass> {
        let open = self.open.as_mut()?;
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        let pass = open().map(|gpu| Pass::new(&gpu));
        if pass.is_none() {
            self.later();
        }
        pass
    }

    fn later(&mut self) {
        self.pause = (2 * self.pause).clamp(1, MOST_REST);
        self.rest = self.pause;
    }

    /// A frame went through: its device serves the next one.
    fn keep(&mut self, pass: Option<Pass>) {
        let Some(pass) = pass else { return };
        if std::mem::take(&mut self.failed) {
            self.events.tell(DeviceEvent::Returned {
                what: FRAMES.to_owned(),
                device: Device::Cuda {
                    ordinal: pass.gpu().info().ordinal,
                },
            });
        }
        (self.pass, self.pause) = (Some(pass), 0);
    }

    /// Ends a frame: what was recorded is run where the writing went well.
    ///
    /// # Errors
    /// What went wrong; the frame may be as it came and must be covered.
    pub(super) fn release(&mut self, surface: Surface<'_, '_>, written: Result<(), String>) -> Result<(), String> {
        let on_device = surface.pass.is_some();
        match written.and_then(|()| surface.release()) {
            Ok(pass) => {
                self.keep(pass);
                Ok(())
            }
            Err(fault) => {
                if on_device {
                    self.later();
                    self.failed = true;
                    self.events.tell(DeviceEvent::Lost {
                        what: FRAMES.to_owned(),
                        why: fault.clone(),
                    });
                    tracing::warn!(
                        fault,
                        rest = self.rest,
                        "the frame is covered; the processor treats those that follow"
                    );
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
}

impl<'a, 'f> Surface<'a, 'f> {
    /// Written by the processor.
    pub(super) fn on_processor(frame: &'a mut FrameViewMut<'f>) -> Self {
        Self { frame, pass: None }
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

    fn release(self) -> Result<Option<Pass>, String> {
        let Self { frame, pass } = self;
        let Some(mut pass) = pass else { return Ok(None) };
        pass.run(frame).map_err(on_device)?;
        Ok(Some(pass))
    }
}

fn on_device(error: CudaError) -> String {
    format!("device: {error}")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_device_that_stays_away_is_asked_for_ever_more_rarely() {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let mut desk = Desk::default();
        assert!(desk.reopened().is_none(), "none was ever named");
        desk.set_device(move || {
            count.fetch_add(1, Ordering::SeqCst);
            None
        });
        let mut gaps = Vec::new();
        let mut last = 0;
        for frame in 1..2000 {
            let before = asked.load(Ordering::SeqCst);
            assert!(desk.reopened().is_none());
            if asked.load(Ordering::SeqCst) > before {
                gaps.push(frame - last);
                last = frame;
            }
        }
        assert_eq!(gaps[..9], [1, 2, 3, 5, 9, 17, 33, 65, 129]);
        assert!(gaps[9..].iter().all(|g| *g == 257) && gaps.len() > 12, "{gaps:?}");
    }
}
