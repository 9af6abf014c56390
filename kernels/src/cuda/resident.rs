//! Frames that go up once, for everything that reads them and for the trip that writes them.
//!
//! | | |
//! |---|---|
//! | when | at the first [`Resident::on_device`]: a frame that no network of the device looks at never goes up |
//! | how | one copy of page-locked memory, kept and used again; nothing waits, except for a copy of the frame before that may still be under way |
//! | what | the frame as it came: operators that write have a copy of their own ([`super::Pass`]) |
//! | who | clones are the same frame; any thread may ask |
//! | errors | kept ([`Resident::fault`]), and given to everybody who asks again |
//!
//! Whoever attaches one to an [`Image`] promises that the pixels are those that went up, or will.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::error::{CudaError, check};
use super::frame::{DeviceFrame, device_bytes, pack};
use super::memory::{Gpu, Mark};
use super::staging::Staging;
use crate::image::{Image, ImageInfo};

/// Puts frames on a device; clones share their page-locked memory.
#[derive(Debug, Clone)]
pub struct Loader {
    gpu: Gpu,
    dock: Arc<Mutex<Dock>>,
    /// What first went wrong with a frame of this loader.
    fault: Arc<OnceLock<CudaError>>,
}

#[derive(Debug)]
struct Dock {
    staging: Staging,
    /// Behind the last copy of it.
    sent: Option<Mark>,
}

impl Loader {
    /// On a device; nothing is allocated yet.
    #[must_use]
    pub fn new(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.clone(),
            dock: Arc::new(Mutex::new(Dock {
                staging: Staging::new(gpu),
                sent: None,
            })),
            fault: Arc::default(),
        }
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// A frame of that geometry, still on its way.
    #[must_use]
    pub fn frame(&self, info: &ImageInfo) -> Resident {
        Resident(Arc::new(Inner {
            loader: self.clone(),
            info: *info,
            frame: OnceLock::new(),
        }))
    }

    /// A frame that was made there.
    pub(super) fn made(&self, frame: DeviceFrame) -> Resident {
        Resident(Arc::new(Inner {
            loader: self.clone(),
            info: *frame.info(),
            frame: OnceLock::from(Ok(frame)),
        }))
    }

    /// What first went wrong with any of its frames: then open another.
    #[must_use]
    pub fn fault(&self) -> Option<&CudaError> {
        self.fault.get()
    }

    fn put(&self, image: &Image<'_>) -> Result<DeviceFrame, CudaError> {
        image.here("cuda::Loader")?;
        let mut dock = self.dock.lock().unwrap_or_else(PoisonError::into_inner);
        if dock.sent.is_some_and(|mark| !self.gpu.is_past(mark)) {
            self.gpu.wait()?;
        }
        dock.sent = None;
        dock.staging.clear();
        pack(image, dock.staging.extend(device_bytes(image.info()))?);
        let frame = DeviceFrame::of_packed(&self.gpu, image.info(), dock.staging.bytes());
        // Whatever came of it, the copy may be under way.
        dock.sent = Some(self.gpu.mark());
        frame
    }
}

impl Drop for Dock {
    fn drop(&mut self) {
        if self.sent.is_some_and(|mark| !self.staging.gpu().is_past(mark)) {
            // A device that does not answer has nothing under way.
            let _ = self.staging.gpu().wait();
        }
    }
}

/// A frame that is on a device from its first use there on.
#[derive(Debug, Clone)]
pub struct Resident(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    loader: Loader,
    info: ImageInfo,
    frame: OnceLock<Result<DeviceFrame, CudaError>>,
}

impl Resident {
    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.0.loader.gpu
    }

    /// Geometry and colour.
    #[must_use]
    pub fn info(&self) -> &ImageInfo {
        &self.0.info
    }

    /// The frame on the device; goes up from `image` where it is not there yet.
    ///
    /// # Errors
    /// An image of another geometry; [`CudaError`].
    pub fn on_device(&self, image: &Image<'_>) -> Result<&DeviceFrame, CudaError> {
        let info = &self.0.info;
        check(
            "cuda::Resident",
            "frame",
            image.info() == info,
            format!("{info:?}"),
            format!("{:?}", image.info()),
        )?;
        let frame = self.0.frame.get_or_init(|| self.0.loader.put(image));
        frame.as_ref().map_err(|e| {
            self.failed(e);
            e.clone()
        })
    }

    /// The frame, if it is there.
    #[must_use]
    pub fn there(&self) -> Option<&DeviceFrame> {
        self.0.frame.get().and_then(|frame| frame.as_ref().ok())
    }

    /// Bytes that it takes on the device, there or not.
    #[must_use]
    pub fn bytes(&self) -> usize {
        device_bytes(&self.0.info)
    }

    /// Tells of an error of somebody who read it.
    pub fn failed(&self, error: &CudaError) {
        let _ = self.0.loader.fault.set(error.clone());
    }

    /// Whether it can still be read there: nothing has gone wrong with the device since it was opened.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.0.loader.fault().is_none() && !self.gpu().is_lost()
    }
}
