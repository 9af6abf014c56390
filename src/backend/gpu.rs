//! The device that networks run on, opened for our own kernels too.
//!
//! What is large then stays on it (see [`crate::stages::denoise::edit_on_device`]). Where the kernels cannot
//! be had – no run-time compiler, `NULLFACE_REFERENCE=1` – networks still run on the device and the
//! arithmetic between them on the processor: told once, with the reason.

use std::sync::PoisonError;

use nullface_kernels::cuda::{self, Compiled, Event, Gpu};

use super::device::Device;
use super::events::{DeviceEvent, DeviceEvents};
use super::{Backend, search};

impl Backend {
    /// The GPU for our own kernels; `None` on the processor, or where they cannot be had. One for all who ask
    /// this backend and its clones, so that what they queue is in one order; a lost one is opened anew.
    #[must_use]
    pub fn open_gpu(&self) -> Option<Gpu> {
        let mut kept = self.gpu.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(Gpu::is_lost) {
            *kept = self.open_gpu_anew();
        }
        kept.clone()
    }

    fn open_gpu_anew(&self) -> Option<Gpu> {
        let ordinal = match self.device.device {
            Device::Cpu => return None,
            Device::Cuda { ordinal } | Device::TensorRt { ordinal } | Device::TensorRtRtx { ordinal } => ordinal,
        };
        let cache = cuda::cache::cache_dir().map(|d| d.join("kernels"));
        let events = self.device_events().clone();
        let images = Compiled::new(search::Places::here().nvrtc_folders(), cache.as_deref(), move |e| told(&events, e));
        match cuda::open(ordinal, images) {
            Ok(gpu) => {
                tracing::info!(device = gpu.info().name, driver = gpu.info().driver, "kernels run on the device");
                Some(gpu)
            }
            Err(e) => {
                tracing::warn!(device = %self.device.device, error = %e, "own kernels cannot run there; what lies between networks runs on the processor");
                None
            }
        }
    }
}

fn told(events: &DeviceEvents, event: Event) {
    let building = |kernel: &str| {
        events.tell(DeviceEvent::Building {
            what: format!("kernel {kernel}"),
        });
    };
    match event {
        Event::Compiled { kernel } => {
            building(&kernel);
            tracing::info!(kernel, "compiling a kernel for this GPU; it is kept");
        }
        Event::Rebuilt { kernel, why } => {
            building(&kernel);
            tracing::warn!(kernel, why, "kept machine code was no good; compiling it again");
        }
        Event::NotKept { kernel, why } => tracing::warn!(kernel, why, "machine code cannot be kept"),
    }
}

#[cfg(test)]
mod tests {
    use crate::backend::testing::backend;

    #[test]
    fn on_the_processor_no_device_is_opened() {
        assert!(backend().open_gpu().is_none());
    }
}
