//! Element `nullfacefilter`: every face in the stream is replaced or covered, or the frame does not
//! leave as it came.
//!
//! # Formats
//! NV12, I420, P010_10LE, I420_10LE, RGBA, BGRA, RGBx, BGRx, RGB, BGR, YUY2 in system memory, from
//! 1×1 to 16384×16384, progressive. Pixels outside the treated regions do not change by a bit.
//!
//! # Time
//! Buffers keep their timestamps, order and number. With `lookahead=n` each frame leaves after `n`
//! later ones were seen, so that a face found late is covered from its first frame on; the delay is
//! in the latency query. `lookahead=0` gives one buffer for one buffer. Held frames leave at EOS, at
//! a discontinuity, at a change of caps or segment and for a drain query; a flush forgets them.
//!
//! # Safety
//! No bypass, no passthrough. A frame whose treatment failed in whatever way (see `on-failure`) is
//! covered whole, dropped, or ends the stream. Metas that may carry pixels do not pass.
//!
//! # Messages
//! Element message `nullface` on each change: `timestamp`, `detected`, `withheld`, `fault`, `faces`
//! (array of `face` with `track`, `x`, `y`, `width`, `height`, `outcome`, `reason`, `rung`, `cos`).
//!
//! # Hints
//! `GstVideoRegionOfInterestMeta` whose type contains `face` or `head` counts as a found face.
//!
//! # Since
//! 0.1

use std::sync::Arc;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use nullface::pipeline::{DetectorChoice, DeviceChoice, IdentityChoice, Mode, OnFailure, SolverChoice};

mod fail_closed;
mod formats;
mod frames;
mod imp;
mod messages;
mod metas;
mod processor;
mod properties;
mod state;
mod worker;

pub use processor::{Processor, ProcessorFactory};

/// Makes the GObject twin of one of the library's enums, so that its words stay the library's.
macro_rules! twin {
    ($(#[$meta:meta])* $name:ident = $type_name:literal of $ours:ident { $($variant:ident: $nick:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, glib::Enum)]
        #[enum_type(name = $type_name)]
        #[repr(i32)]
        #[allow(missing_docs, reason = "documented by the texts that GObject shows")]
        pub enum $name { $(#[enum_value(name = $text, nick = $nick)] $variant),+ }

        impl From<$name> for $ours {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => Self::$variant),+ }
            }
        }

        impl From<$ours> for $name {
            fn from(value: $ours) -> Self {
                match value { $($ours::$variant => Self::$variant),+ }
            }
        }
    };
}

twin! {
    /// [`Mode`] as a property.
    FilterMode = "NullfaceMode" of Mode {
        Blur: "blur", "Blur: at most 8x8 cells of each face are left, smoothly interpolated";
        Pixelate: "pixelate", "Pixelate: at most 8x8 cells of each face are left, drawn as squares";
        Solid: "solid", "Solid: one colour, see fill-color";
        Nullface: "nullface", "Nullface: another face, made real by diffusion away from the source";
        Reverse: "reverse", "Reverse: another face, the source's identity reversed by negative guidance";
        Id2face: "id2face", "ID2Face: another face, recomposed under a sampled identity";
        Ksame: "ksame", "K-same: another face from averages of at least eight people, without a network";
    }
}

twin! {
    /// [`DeviceChoice`] as a property.
    FilterDevice = "NullfaceDevice" of DeviceChoice {
        Auto: "auto", "The best that can be had";
        Cpu: "cpu", "Processor";
        Cuda: "cuda", "NVIDIA GPU through CUDA; an error where there is none";
        Tensorrt: "tensorrt", "NVIDIA GPU through TensorRT; an error where there is none";
    }
}

twin! {
    /// [`DetectorChoice`] as a property.
    FilterDetector = "NullfaceDetector" of DetectorChoice {
        Auto: "auto", "CenterFace, with BlazeFace for large faces between its runs";
        Centerface: "centerface", "CenterFace alone";
        Blazeface: "blazeface", "BlazeFace alone: large faces only";
        Yunet: "yunet", "YuNet from detector-model";
        Scrfd: "scrfd", "SCRFD from detector-model";
    }
}

twin! {
    /// [`SolverChoice`] as a property.
    FilterSolver = "NullfaceSolver" of SolverChoice {
        Auto: "auto", "The pack's own";
        Ddpm: "ddpm", "Ancestral steps (edit-friendly DDPM)";
        SdeDpmpp2m: "sde-dpmpp-2m", "SDE-DPM-Solver++(2M)";
        Dpmpp2m: "dpmpp-2m", "DPM-Solver++(2M), deterministic";
    }
}

twin! {
    /// [`IdentityChoice`] as a property.
    FilterIdentity = "NullfaceIdentity" of IdentityChoice {
        Auto: "auto", "The mode's own";
        Ksame: "ksame", "A mixture drawn from the session's secret";
        Orthogonal: "orthogonal", "Random, orthogonal to the source";
        Negate: "negate", "The opposite of the source";
        Repel: "repel", "Pushed away from the source; guidance must be 0 or below";
        Random: "random", "Random";
    }
}

twin! {
    /// [`OnFailure`] as a property.
    FilterOnFailure = "NullfaceOnFailure" of OnFailure {
        Cover: "cover", "Opaque fill of the face, of the whole frame where faces are not known";
        CoverFrame: "cover-frame", "Opaque fill of the whole frame";
        Drop: "drop", "The frame is dropped";
        Error: "error", "The stream ends with an error";
    }
}

glib::wrapper! {
    /// The element.
    pub struct NullfaceFilter(ObjectSubclass<imp::NullfaceFilter>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

impl NullfaceFilter {
    /// Puts another engine behind the element, from the next start on. For fault injection: fakes
    /// wrap a real engine, because only that can make the proof that a frame may go.
    #[doc(hidden)]
    pub fn set_processor_factory(&self, factory: Box<ProcessorFactory>) {
        self.imp().set_factory(Arc::from(factory));
    }
}

/// Registers the element with a plugin.
///
/// # Errors
/// GStreamer refused the type.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    for kind in [
        FilterMode::static_type(),
        FilterDevice::static_type(),
        FilterDetector::static_type(),
        FilterOnFailure::static_type(),
        FilterSolver::static_type(),
        FilterIdentity::static_type(),
    ] {
        kind.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(Some(plugin), "nullfacefilter", gst::Rank::NONE, NullfaceFilter::static_type())
}
