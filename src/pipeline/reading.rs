//! Where networks read a frame: on the device that they run on, once for all of them, or from the processor's memory.
//!
//! | | |
//! |---|---|
//! | goes up | at the first crop that a network of that device wants; never, where none does |
//! | kept | until the frame leaves, for its new faces and for the trip that writes it ([`super::surface`]), [`MOST_BYTES`] for all frames held back |
//! | read by the processor all the same | the shrunk copy that still places are found by, the thumbnail for cuts, the canvas of a new face that is not made there, the grey picture that steadies its mesh, and what proves a cover: that reads what leaves |
//! | an error | the stage that had it fails as it always does; who comes next is served by the processor |

use nullface_kernels::cuda::{Gpu, Loader, Resident};

use super::access::{Access, LOST_TO_ANOTHER};
use crate::backend::DeviceEvents;
use crate::frame::FrameInfo;

/// Most bytes of frames held back that stay on the device; those beyond go up again when they are written.
pub(super) const MOST_BYTES: usize = 512 << 20;

/// The frame that is held back next, unless those that are held would then take more than so many bytes.
pub(super) fn within<'a>(held: impl Iterator<Item = &'a Resident>, next: Option<Resident>, most: usize) -> Option<Resident> {
    let held: usize = held.map(Resident::bytes).sum();
    next.filter(|next| held.saturating_add(next.bytes()) <= most)
}

/// The device that frames are read on.
#[derive(Debug)]
pub(super) struct Reader {
    loader: Option<Loader>,
    /// Whether it has read a frame.
    used: bool,
    access: Access,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            loader: None,
            used: false,
            access: Access::new("the reading of frames"),
        }
    }
}

impl Reader {
    /// From now on frames are read on what `open` gives.
    pub(super) fn set_device(&mut self, open: impl FnMut() -> Option<Gpu> + Send + 'static) {
        (self.loader, self.used) = (None, false);
        self.access.set_device(open);
    }

    /// From now on `events` is told where reading loses its device.
    pub(super) fn set_events(&mut self, events: DeviceEvents) {
        self.access.set_events(events);
    }

    /// A frame begins; `None` where it is read by the processor.
    pub(super) fn begin(&mut self, info: &FrameInfo) -> Option<Resident> {
        // A look beside the rendering may have lost it since.
        self.check();
        if self.loader.is_none() {
            self.loader = self.access.device().map(|gpu| Loader::new(&gpu));
        }
        self.loader.as_ref().map(|loader| loader.frame(info))
    }

    /// A frame was looked at; it comes back where it is on the device and may serve its rendering.
    pub(super) fn end(&mut self, resident: Option<Resident>) -> Option<Resident> {
        self.check();
        let there = resident.filter(|r| r.is_sound() && r.there().is_some())?;
        self.used = true;
        self.access.served(there.gpu());
        Some(there)
    }

    fn check(&mut self) {
        let Some(loader) = &self.loader else { return };
        let fault = loader.fault().map(|e| format!("device: {e}"));
        if fault.is_none() && !loader.gpu().is_lost() {
            return;
        }
        match fault.or_else(|| self.used.then(|| LOST_TO_ANOTHER.to_owned())) {
            Some(fault) => self.access.lost(&fault),
            // Nobody missed it here.
            None => self.access.rest(),
        }
        (self.loader, self.used) = (None, false);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::backend::testing::Picture;
    use crate::pipeline::shim;

    #[test]
    fn frames_beyond_the_bytes_allowed_are_given_back_and_come_again_when_others_leave() {
        let (gpu, knobs) = shim::gpu();
        let loader = Loader::new(&gpu);
        let picture = Picture::smooth(300, 200);
        let frame = || {
            let resident = loader.frame(picture.view().info());
            resident.on_device(&picture.view()).expect("goes up");
            Some(resident)
        };
        let bytes = frame().expect("there").bytes();
        let most = 3 * bytes + bytes / 2;
        let mut held: Vec<Resident> = Vec::new();
        for n in 0..6 {
            let kept = within(held.iter(), frame(), most);
            assert_eq!(kept.is_some(), n < 3, "frame {n}");
            held.extend(kept);
        }
        gpu.trim();
        let used = knobs.used.load(Ordering::SeqCst);
        assert!((3 * bytes..4 * bytes).contains(&used), "{used} of {bytes} a frame");
        held.remove(0);
        assert!(within(held.iter(), frame(), most).is_some());
        assert!(within(held.iter(), None, most).is_none(), "one that is not there");
        assert!(
            within(std::iter::empty(), frame(), bytes - 1).is_none(),
            "one that is too large alone"
        );
        const { assert!(MOST_BYTES >= 10 * 7680 * 4320 * 3 / 2, "ten frames of 4320p") };
    }
}
