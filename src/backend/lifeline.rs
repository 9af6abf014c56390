//! Keeps a network alive when its device goes in mid-film.
//!
//! | state | what a run does |
//! |---|---|
//! | well | runs |
//! | a run fails by the device's fault | the error goes up, the frame is covered; the network counts as lost |
//! | lost | it is built again on the same device; if that fails and the device was chosen by `auto`, on the processor |
//! | lost, device asked for by name | the error goes up, the frame is covered; the next try waits twice as many runs, [`MOST_REST`] at most |
//!
//! Why no processor for a device asked for by name: `device=cuda` promises that device or an error, and the
//! error covers. Faults that are not the device's (a wrong shape, too little memory) rebuild nothing.
//! Limits: after some faults CUDA refuses everything to the process until it ends; a rebuild there fails.

use super::device::{Device, ResolvedDevice};
use super::events::{DeviceEvent, DeviceEvents};
use super::stream::Streams;

/// Most runs between two tries to build again.
const MOST_REST: u32 = 256;

/// How the runtime's messages begin to speak of the device.
const FAULTS: [&str; 12] = [
    "CUDA failure",
    "CUDA error",
    "cudaError",
    "CUDNN",
    "cuDNN",
    "CUBLAS",
    "cuBLAS",
    "TensorRT EP failed",
    "illegal memory access",
    "unspecified launch failure",
    "device is lost",
    "CUDA_ERROR",
];

type Build<S> = Box<dyn FnMut(Device) -> Result<S, String> + Send>;

/// Where networks are built, and who is told.
pub(super) struct Place<'a> {
    pub(super) device: &'a ResolvedDevice,
    pub(super) threads: usize,
    pub(super) events: &'a DeviceEvents,
    pub(super) streams: Streams,
}

/// A network and how it is made again.
pub(super) struct Lifeline<S> {
    current: S,
    name: String,
    events: DeviceEvents,
    device: Device,
    strict: bool,
    lost: Option<String>,
    rest: u32,
    pause: u32,
    /// None on the processor, which is never lost: what building needs (the file) is then given back.
    build: Option<Build<S>>,
}

impl<S> Lifeline<S> {
    /// Builds on the device, or on the processor where `strict` is not set.
    pub(super) fn start(name: &str, place: &Place<'_>, mut build: Build<S>) -> Result<Self, String> {
        let (wanted, strict, events) = (place.device.device, place.device.strict, place.events);
        let what = || name.to_owned();
        if wanted != Device::Cpu {
            events.tell(DeviceEvent::Building { what: what() });
        }
        let (current, device) = match build(wanted) {
            Ok(built) => (built, wanted),
            Err(e) if wanted == Device::Cpu || strict => return Err(e),
            Err(e) => {
                tracing::warn!(device = %wanted, error = e, "device does not start; the processor is used");
                let built = build(Device::Cpu)?;
                events.tell(DeviceEvent::Left { what: what(), why: e });
                (built, Device::Cpu)
            }
        };
        if device != Device::Cpu {
            events.tell(DeviceEvent::Built { what: what() });
        }
        Ok(Self {
            current,
            name: name.to_owned(),
            events: events.clone(),
            device,
            strict,
            lost: None,
            rest: 0,
            pause: 1,
            build: (device != Device::Cpu).then_some(build),
        })
    }

    /// The network as it is, for questions that run nothing.
    pub(super) fn current(&self) -> &S {
        &self.current
    }

    /// The same to change what is known of it.
    pub(super) fn current_mut(&mut self) -> &mut S {
        &mut self.current
    }

    /// Where it is.
    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// Whether it runs where it is, as far as anybody knows.
    pub(super) fn is_well(&self) -> bool {
        self.lost.is_none()
    }

    /// The network, fit to run: built again where it was lost.
    pub(super) fn ready(&mut self) -> Result<&mut S, String> {
        if let Some(why) = self.lost.clone() {
            if self.rest > 0 {
                self.rest -= 1;
                return Err(format!(
                    "{} was lost ({why}); the next try comes after {} runs",
                    self.device, self.rest
                ));
            }
            self.rebuild(&why)?;
        }
        Ok(&mut self.current)
    }

    fn rebuild(&mut self, why: &str) -> Result<(), String> {
        let Some(build) = &mut self.build else {
            self.lost = None;
            return Ok(());
        };
        match build(self.device) {
            Ok(built) => {
                tracing::warn!(device = %self.device, cause = why, "device was lost; the network was built again");
                self.current = built;
                self.events.tell(DeviceEvent::Returned {
                    what: self.name.clone(),
                    device: self.device,
                });
            }
            Err(e) if self.strict => {
                self.rest = self.pause;
                self.pause = (2 * self.pause).min(MOST_REST);
                return Err(format!("{} was lost ({why}) and does not come back: {e}", self.device));
            }
            Err(e) => {
                let built = build(Device::Cpu)?;
                tracing::warn!(device = %self.device, cause = why, error = e, "device was lost; the processor is used");
                self.events.tell(DeviceEvent::Left {
                    what: self.name.clone(),
                    why: e,
                });
                (self.current, self.device, self.build) = (built, Device::Cpu, None);
            }
        }
        (self.lost, self.pause) = (None, 1);
        Ok(())
    }

    /// A run failed with these words.
    pub(super) fn failed(&mut self, why: &str) {
        if self.device != Device::Cpu && FAULTS.iter().any(|f| why.contains(f)) {
            let why: String = why.lines().next().unwrap_or_default().chars().take(200).collect();
            if self.lost.is_none() {
                self.events.tell(DeviceEvent::Lost {
                    what: self.name.clone(),
                    why: why.clone(),
                });
            }
            self.lost = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use std::sync::Mutex;

    use super::{Lifeline, MOST_REST, Place};
    use crate::backend::stream::Streams;
    use crate::backend::{Device, DeviceEvents, ResolvedDevice};

    fn on_gpu(strict: bool) -> ResolvedDevice {
        ResolvedDevice {
            device: GPU,
            reason: "a test".to_owned(),
            strict,
        }
    }

    fn start(strict: bool, events: &DeviceEvents, build: super::Build<Device>) -> Result<Lifeline<Device>, String> {
        let place = Place {
            device: &on_gpu(strict),
            threads: 1,
            events,
            streams: Streams::new(|| None),
        };
        Lifeline::start("net", &place, build)
    }

    const GPU: Device = Device::Cuda { ordinal: 0 };
    const FAULT: &str = "Non-zero status code: CUDA failure 719: unspecified launch failure";

    struct World {
        gone: Arc<AtomicBool>,
        builds: Arc<AtomicU32>,
        told: Arc<Mutex<Vec<&'static str>>>,
    }

    fn line(strict: bool) -> (Lifeline<Device>, World) {
        let world = World {
            gone: Arc::default(),
            builds: Arc::default(),
            told: Arc::default(),
        };
        let told = world.told.clone();
        let events = DeviceEvents::new(move |e| told.lock().expect("lock").push(e.word()));
        let (gone, builds) = (world.gone.clone(), world.builds.clone());
        let build = Box::new(move |device| {
            builds.fetch_add(1, Ordering::SeqCst);
            if device != Device::Cpu && gone.load(Ordering::SeqCst) {
                Err("no device".to_owned())
            } else {
                Ok(device)
            }
        });
        (start(strict, &events, build).expect("starts"), world)
    }

    #[test]
    fn a_lost_device_that_comes_back_is_used_again() {
        for strict in [false, true] {
            let (mut line, world) = line(strict);
            assert_eq!(line.ready().copied(), Ok(GPU));
            line.failed(FAULT);
            assert_eq!(line.ready().copied(), Ok(GPU));
            assert_eq!((world.builds.load(Ordering::SeqCst), line.device()), (2, GPU));
            assert_eq!(*world.told.lock().expect("lock"), ["building", "built", "lost", "returned"]);
        }
    }

    #[test]
    fn one_that_stays_away_becomes_the_processor_only_where_the_choice_was_free() {
        let (mut free, world) = line(false);
        world.gone.store(true, Ordering::SeqCst);
        free.failed(FAULT);
        assert_eq!(free.ready().copied(), Ok(Device::Cpu));
        free.failed(FAULT);
        assert_eq!(free.ready().copied(), Ok(Device::Cpu), "the processor cannot be lost");
        assert_eq!(free.device(), Device::Cpu);
        assert_eq!(*world.told.lock().expect("lock"), ["building", "built", "lost", "left"]);

        let (mut named, world) = line(true);
        world.gone.store(true, Ordering::SeqCst);
        named.failed(FAULT);
        let (mut refused, runs) = (0, 4000);
        for _ in 0..runs {
            refused += u32::from(named.ready().is_err());
        }
        assert_eq!(refused, runs, "never the processor behind the user's back");
        let builds = world.builds.load(Ordering::SeqCst);
        assert!((8..=8 + runs / MOST_REST + 2).contains(&builds), "tries become rare: {builds}");
        world.gone.store(false, Ordering::SeqCst);
        let back = (0..=MOST_REST).find(|_| named.ready().is_ok());
        assert!(back.is_some(), "and it is found again");
    }

    #[test]
    fn faults_that_are_not_the_devices_rebuild_nothing() {
        let (mut line, world) = line(true);
        for why in [
            "Got invalid dimensions for input: x",
            "Failed to allocate memory for requested buffer of size 12",
        ] {
            line.failed(why);
            assert!(line.ready().is_ok());
        }
        assert_eq!(world.builds.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_device_that_never_starts_is_the_processor_or_an_error() {
        let build = || {
            Box::new(|device| {
                if device == Device::Cpu {
                    Ok(device)
                } else {
                    Err("none".to_owned())
                }
            })
        };
        let told = Arc::<Mutex<Vec<String>>>::default();
        let heard = told.clone();
        let events = DeviceEvents::new(move |e| heard.lock().expect("lock").push(e.to_string()));
        assert_eq!(start(false, &events, build()).map(|l| l.device()), Ok(Device::Cpu));
        assert_eq!(told.lock().expect("lock")[1], "the processor runs net: none");
        assert_eq!(start(true, &events, build()).map(|l| l.device()), Err("none".to_owned()));
    }
}
