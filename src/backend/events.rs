//! What happens to a device and to detectors between opening and end, told when it happens: building takes seconds
//! to minutes, a device can be lost in mid-film, a detector changed in mid-stream.

use std::sync::Arc;

use super::Device;

/// Something that happened to a device or a detector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceEvent {
    /// A network or a kernel is being made ready.
    Building {
        /// Which.
        what: String,
    },
    /// It is ready.
    Built {
        /// Which.
        what: String,
    },
    /// The device failed under it; what is not finished is covered.
    Lost {
        /// Under what.
        what: String,
        /// The device's words.
        why: String,
    },
    /// It runs on the device again.
    Returned {
        /// What.
        what: String,
        /// Where.
        device: Device,
    },
    /// The processor runs it from now on, or until the device returns.
    Left {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
    /// A detector that was asked for in mid-stream is in place.
    Opened {
        /// Which.
        what: String,
    },
    /// A detector that was asked for in mid-stream cannot be had.
    Refused {
        /// Which.
        what: String,
        /// Which one stays.
        stays: String,
        /// Why, with the remedy.
        why: String,
    },
}

impl DeviceEvent {
    /// One word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Building { .. } => "building",
            Self::Built { .. } => "built",
            Self::Lost { .. } => "lost",
            Self::Returned { .. } => "returned",
            Self::Left { .. } => "left",
            Self::Opened { .. } => "opened",
            Self::Refused { .. } => "refused",
        }
    }

    /// What it is about.
    #[must_use]
    pub fn what(&self) -> &str {
        match self {
            Self::Building { what }
            | Self::Built { what }
            | Self::Lost { what, .. }
            | Self::Returned { what, .. }
            | Self::Left { what, .. }
            | Self::Opened { what }
            | Self::Refused { what, .. } => what,
        }
    }
}

impl std::fmt::Display for DeviceEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Building { what } => write!(f, "{what} is being built for the device; it is kept"),
            Self::Built { what } => write!(f, "{what} is built"),
            Self::Lost { what, why } => write!(f, "the device was lost under {what}: {why}"),
            Self::Returned { what, device } => write!(f, "{what} runs on {device} again"),
            Self::Left { what, why } => write!(f, "the processor runs {what}: {why}"),
            Self::Opened { what } => write!(f, "{what} looks for faces from now on"),
            Self::Refused { what, stays, why } => write!(f, "detector={what} cannot be had, {stays} goes on: {why}"),
        }
    }
}

type Listener = dyn Fn(DeviceEvent) + Send + Sync;

/// Who is told. Called on the thread on which it happens: it must not wait for the engine.
#[derive(Clone, Default)]
pub struct DeviceEvents(Option<Arc<Listener>>);

impl std::fmt::Debug for DeviceEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DeviceEvents").field(&self.0.is_some()).finish()
    }
}

impl DeviceEvents {
    /// Tells `listener`.
    #[must_use]
    pub fn new(listener: impl Fn(DeviceEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    /// Tells it.
    pub fn tell(&self, event: DeviceEvent) {
        if let Some(listener) = &self.0 {
            listener(event);
        }
    }
}
