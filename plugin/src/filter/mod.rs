//! Element `nullfacefilter`: every face in the stream is replaced or covered, or the frame does not
//! leave as it came.
//!
//! # Formats
//! NV12, I420, P010_10LE, I420_10LE, RGBA, BGRA, RGBx, BGRx, RGB, BGR, YUY2 in system memory, from
//! 1×1 to 16384×16384, progressive. Pixels outside the treated regions do not change by a bit.
//!
//! # Time
//! Buffers keep their timestamps, order and number. With `lookahead=n` each frame leaves after `n`
//! later ones were seen, so that a face found late is covered from its first frame on. Where anything is held back, one frame more
//! is: it is rendered on one core while the newest is looked at on another. The delay of `n + 1` frames is
//! in the latency query, and so is `processing-deadline`. `lookahead=0` gives one buffer for one buffer. Held frames leave at EOS, at
//! a discontinuity, at a change of caps or segment and for a drain query; a flush forgets them.
//!
//! A buffer flagged `DECODE_ONLY` does not leave: it is worked through, so that the frames after it find people and
//! meshes known, and is neither counted nor told of.
//!
//! # Safety
//! No bypass, no passthrough. A frame whose treatment failed in whatever way (see `on-failure`) is
//! covered whole, dropped, or ends the stream. Metas that may carry pixels do not pass.
//!
//! # Load
//! A live stream is kept up with: when frames cost more time than passes, the best rung allowed goes
//! down a step (diffusion, cached edit, composite, opaque faces, opaque frames), and up again when there
//! has been room for a while. `adapt` says when, `stats` and the message `nullface-rung` say what.
//!
//! # Messages
//! - `nullface` on each change: `timestamp`, `detected`, `withheld`, `fault`, `faces` (array of `face`
//!   with `track`, `x`, `y`, `width`, `height`, `outcome`, `reason`, `rung`, `cos`, `choice`, `likeness`).
//! - `nullface-rung` when the best rung allowed changes: `timestamp`, `rung`.
//! - `nullface-device` at start: `device`, `reason`; later `event` (`building`, `built`, `lost`, `returned`, `left`,
//!   `opened`, `refused`), `what`, `reason`. A detector that is refused in mid-stream is a warning too.
//! - progress messages with code `engine` while models are opened.
//!
//! # Regions
//! `GstVideoRegionOfInterestMeta` whose type contains `face` or `head` counts as a found face. With
//! `write-regions` each region leaves as one of type `nullface`, with a parameter structure of that
//! name: `track`, `outcome`, `rung`. Built with the feature `analytics` (GStreamer 1.24 and newer), the
//! same is read and written as object detection and tracking of `GstAnalyticsRelationMeta`.
//!
//! # Animation
//! Properties marked controllable follow a `GstController` frame by frame.
//!
//! # Parts
//! A film may be made in parts, each by an element of its own: `handover` takes what `handed-over` of the part before
//! gave after its stop, under one `seed` and from one track file (`tracks`), so that people stay who they became.
//!
//! # Audit trail
//! `audit-location` names a file for lines of JSON: a header (versions, models, settings), a record for each
//! track and stretch of like treatment, a footer with sums; chained by hashes, see `nullface audit verify`.
//!
//! # Since
//! 0.1

use std::sync::Arc;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use nullface::frame::FrameView;
use nullface::pipeline::{DetectorChoice, DeviceChoice, IdentityChoice, Mode, OnFailure, PrecisionChoice, Preset, SolverChoice};

mod audit;
mod fail_closed;
mod formats;
mod frames;
mod imp;
mod messages;
mod metas;
mod processor;
mod properties;
mod regions;
mod specs;
mod state;
mod worker;

pub use processor::{Processor, ProcessorFactory};

/// Why a buffer of raw video cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ViewError(String);

/// What the element's pads accept.
#[must_use]
pub fn caps() -> &'static gst::Caps {
    &formats::TEMPLATE_CAPS
}

/// Calls `f` with a buffer as the element sees it: for those who look at frames outside of a pipeline.
///
/// # Errors
/// [`ViewError`]: caps that the element does not accept, a buffer that is smaller than they say.
pub fn with_view<R>(buffer: &gst::BufferRef, caps: &gst::CapsRef, f: impl FnOnce(&FrameView<'_>) -> R) -> Result<R, ViewError> {
    let negotiated = formats::Negotiated::from_caps(caps).map_err(|e| ViewError(e.to_string()))?;
    frames::with_view(buffer, &negotiated, f).map_err(|e| ViewError(e.to_string()))
}

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
        TensorrtRtx: "tensorrt-rtx", "NVIDIA GPU through the TensorRT-RTX plugin; an error where there is none";
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
    /// [`Preset`] as a property.
    FilterPreset = "NullfacePreset" of Preset {
        None: "none", "The pack's own settings";
        NullfacePaper: "nullface-paper", "NullFace as published; for mode=nullface";
        ReversePaper: "reverse-paper", "Reverse Personalization as published; for mode=reverse";
    }
}

twin! {
    /// [`PrecisionChoice`] as a property.
    FilterPrecision = "NullfacePrecision" of PrecisionChoice {
        Auto: "auto", "What is faster here; single where a seed asks for a repeatable run";
        Fp32: "fp32", "Single";
        Fp16: "fp16", "Half";
        Int8: "int8", "Quantised";
    }
}

/// A choice that may be left to the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "NullfaceSwitch")]
#[repr(i32)]
#[allow(missing_docs, reason = "documented by the texts that GObject shows")]
pub enum FilterSwitch {
    #[enum_value(name = "The pack's own", nick = "auto")]
    Auto,
    #[enum_value(name = "Yes", nick = "yes")]
    Yes,
    #[enum_value(name = "No", nick = "no")]
    No,
}

impl From<FilterSwitch> for Option<bool> {
    fn from(value: FilterSwitch) -> Self {
        match value {
            FilterSwitch::Auto => None,
            FilterSwitch::Yes => Some(true),
            FilterSwitch::No => Some(false),
        }
    }
}

impl From<Option<bool>> for FilterSwitch {
    fn from(value: Option<bool>) -> Self {
        match value {
            None => Self::Auto,
            Some(true) => Self::Yes,
            Some(false) => Self::No,
        }
    }
}

/// Several properties at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "NullfaceProfile")]
#[repr(i32)]
#[allow(missing_docs, reason = "documented by the texts that GObject shows")]
pub enum FilterProfile {
    #[enum_value(name = "None: properties stay as they are", nick = "custom")]
    Custom,
    #[enum_value(name = "Recorded films: lookahead=8 on-failure=cover processing-deadline=0", nick = "film")]
    Film,
    #[enum_value(name = "Live: lookahead=0 on-failure=cover processing-deadline=200 ms", nick = "live")]
    Live,
    #[enum_value(
        name = "Hosts that want a buffer for a buffer (OBS): lookahead=0 on-failure=cover-frame processing-deadline=100 ms",
        nick = "host"
    )]
    Host,
    #[enum_value(
        name = "Most cover: lookahead=8 on-failure=cover-frame threshold=0.3 mask-scale=1.5 hold-time=3 s",
        nick = "strict"
    )]
    Strict,
}

/// When quality is given up to keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "NullfaceAdapt")]
#[repr(i32)]
#[allow(missing_docs, reason = "documented by the texts that GObject shows")]
pub enum FilterAdapt {
    #[enum_value(name = "Never: frames take as long as they take", nick = "never")]
    Never,
    #[enum_value(name = "Where the source is live", nick = "live")]
    Live,
    #[enum_value(name = "Always: also for films, whose result then depends on the machine", nick = "always")]
    Always,
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
        FilterPreset::static_type(),
        FilterPrecision::static_type(),
        FilterSwitch::static_type(),
        FilterProfile::static_type(),
        FilterAdapt::static_type(),
    ] {
        kind.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(Some(plugin), "nullfacefilter", gst::Rank::NONE, NullfaceFilter::static_type())
}
