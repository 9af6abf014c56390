//! A way to a device that may go and come back.
//!
//! | after an error of the device | |
//! |---|---|
//! | that frame | the caller's to cover |
//! | those that follow | the processor's, to the same pixels |
//! | the device | asked for again after 1, 2, 4 … frames, [`MOST_REST`] at most |

use nullface_kernels::cuda::Gpu;

use crate::backend::{Device, DeviceEvent, DeviceEvents};

/// Most frames between two tries to open a device again.
const MOST_REST: u32 = 256;

/// What is told where somebody else found the device gone.
pub(super) const LOST_TO_ANOTHER: &str = "device: somebody else found it lost";

/// Opens the device; `None` where it cannot be had.
type Open = Box<dyn FnMut() -> Option<Gpu> + Send>;

/// How a device is come by.
pub(super) struct Access {
    /// What is done there, for messages.
    what: &'static str,
    open: Option<Open>,
    events: DeviceEvents,
    /// Whether the last frame that the device was to serve failed there.
    failed: bool,
    rest: u32,
    pause: u32,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("what", &self.what)
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}

impl Access {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            open: None,
            events: DeviceEvents::default(),
            failed: false,
            rest: 0,
            pause: 0,
        }
    }

    /// From now on the device is what `open` gives.
    pub(super) fn set_device(&mut self, open: impl FnMut() -> Option<Gpu> + Send + 'static) {
        *self = Self {
            open: Some(Box::new(open)),
            events: std::mem::take(&mut self.events),
            ..Self::new(self.what)
        };
    }

    /// From now on `events` is told where the device is lost and where it returns.
    pub(super) fn set_events(&mut self, events: DeviceEvents) {
        self.events = events;
    }

    /// The device for a frame, unless it rests.
    pub(super) fn device(&mut self) -> Option<Gpu> {
        let open = self.open.as_mut()?;
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        let gpu = open();
        if gpu.is_none() {
            self.rest();
        }
        gpu
    }

    /// Whether the device rests in this frame, for who comes by it otherwise.
    pub(super) fn rests(&mut self) -> bool {
        let rests = self.rest > 0;
        self.rest = self.rest.saturating_sub(1);
        rests
    }

    /// The device is not asked for, for a while.
    pub(super) fn rest(&mut self) {
        self.pause = (2 * self.pause).clamp(1, MOST_REST);
        self.rest = self.pause;
    }

    /// A frame went through.
    pub(super) fn served(&mut self, gpu: &Gpu) {
        if std::mem::take(&mut self.failed) {
            self.events.tell(DeviceEvent::Returned {
                what: self.what.to_owned(),
                device: Device::Cuda {
                    ordinal: gpu.info().ordinal,
                },
            });
        }
        self.pause = 0;
    }

    /// A frame failed there.
    pub(super) fn lost(&mut self, fault: &str) {
        self.rest();
        self.failed = true;
        self.events.tell(DeviceEvent::Lost {
            what: self.what.to_owned(),
            why: fault.to_owned(),
        });
        tracing::warn!(
            fault,
            rest = self.rest,
            what = self.what,
            "the processor does it for the frames that follow"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_that_is_come_by_otherwise_rests_as_long() {
        let mut access = Access::new("a test");
        assert!(!access.rests());
        for rest in [1, 2, 4] {
            access.lost("a fault");
            assert_eq!((0..9).take_while(|_| access.rests()).count(), rest);
        }
    }

    #[test]
    fn a_device_that_stays_away_is_asked_for_ever_more_rarely() {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let mut access = Access::new("a test");
        assert!(access.device().is_none(), "none was ever named");
        access.set_device(move || {
            count.fetch_add(1, Ordering::SeqCst);
            None
        });
        let mut gaps = Vec::new();
        let mut last = 0;
        for frame in 1..2000 {
            let before = asked.load(Ordering::SeqCst);
            assert!(access.device().is_none());
            if asked.load(Ordering::SeqCst) > before {
                gaps.push(frame - last);
                last = frame;
            }
        }
        assert_eq!(gaps[..9], [1, 2, 3, 5, 9, 17, 33, 65, 129]);
        assert!(gaps[9..].iter().all(|g| *g == 257) && gaps.len() > 12, "{gaps:?}");
    }
}
