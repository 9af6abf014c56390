//! What `gst-inspect-1.0 nullfacefilter` shows of the properties: names, texts, ranges, defaults, and
//! when they may change. The defaults are the library's own.

use std::sync::LazyLock;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use nullface::pipeline::{EngineConfig, Settings};

use super::properties::{DEFAULT_LOOKAHEAD, MAX_LOOKAHEAD, OWN, packed};
use super::{
    FilterAdapt, FilterDetector, FilterDevice, FilterIdentity, FilterMode, FilterOnFailure, FilterPrecision, FilterPreset, FilterProfile,
    FilterSolver, FilterSwitch,
};

/// The specs, in the order of the documentation.
pub(super) static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let mut specs = treatment();
    specs.extend(replacing());
    specs.extend(diffusion());
    specs.extend(safety());
    specs.extend(means());
    specs
});

/// How faces are found and treated; all may change while playing.
fn treatment() -> Vec<glib::ParamSpec> {
    let s = Settings::default();
    vec![
        glib::ParamSpecEnum::builder_with_default::<FilterMode>("mode", s.mode.into())
            .nick("Mode")
            .blurb("How a face is made unrecognisable")
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecFloat::builder("threshold")
            .nick("Detection threshold")
            .blurb("Smallest confidence that starts a track (0.05-1); lower finds more faces and more that are none")
            .minimum(0.05)
            .maximum(1.0)
            .default_value(s.threshold)
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecUInt::builder("min-face")
            .nick("Smallest face")
            .blurb("Longer side of the smallest face looked for, in pixels of the frame; smaller costs more time")
            .minimum(4)
            .maximum(4096)
            .default_value(s.min_face_px)
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecUInt::builder("detect-interval")
            .nick("Detection interval")
            .blurb("Look for new faces at least every so many frames; 0 = as the film and the time allow, 1 = every frame")
            .maximum(1000)
            .default_value(s.detect_interval)
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecFloat::builder("mask-scale")
            .nick("Mask scale")
            .blurb("Size of the covered region as a multiple of the face's box")
            .minimum(1.1)
            .maximum(4.0)
            .default_value(s.mask_scale)
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecFloat::builder("feather")
            .nick("Feather")
            .blurb("Width of the soft rim outside the covered region, as a share of the face's width")
            .minimum(0.0)
            .maximum(1.0)
            .default_value(s.feather)
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecUInt::builder("fill-color")
            .nick("Fill colour")
            .blurb("Colour of mode=solid and of every opaque cover, as 0xRRGGBB")
            .maximum(0x00ff_ffff)
            .default_value(packed(s.fill_rgb))
            .mutable_playing()
            .controllable()
            .build(),
    ]
}

/// How faces are replaced; all may change while playing.
fn replacing() -> Vec<glib::ParamSpec> {
    let s = Settings::default();
    vec![
        glib::ParamSpecFloat::builder("strength")
            .nick("Strength")
            .blurb("How far the denoiser's edit goes: multiplies the guidance")
            .minimum(0.0)
            .maximum(2.0)
            .default_value(s.strength)
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecFloat::builder("guidance")
            .nick("Guidance")
            .blurb("Guidance scale of the denoiser; below 0 what is asked for is promoted and the source pushed away; 0 = the pack's own")
            .minimum(-100.0)
            .maximum(100.0)
            .default_value(0.0)
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecFloat::builder("skip")
            .nick("Skip")
            .blurb("Share of the diffusion left out; higher stays closer to the picture that is edited; -1 = the pack's own")
            .minimum(OWN)
            .maximum(0.99)
            .default_value(OWN)
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecUInt::builder("steps")
            .nick("Steps")
            .blurb("Steps of the diffusion; 0 = the pack's own")
            .maximum(100)
            .default_value(0)
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default::<FilterSolver>("solver", s.solver.into())
            .nick("Solver")
            .blurb("How the diffusion goes from noise to picture")
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default::<FilterIdentity>("identity", s.identity.into())
            .nick("Identity")
            .blurb("Who a person becomes")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("attributes")
            .nick("Attributes")
            .blurb("What the new face should be like, separated by commas: age=70, sex=female, group=asian; the source's own where not set")
            .default_value("")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("keep-regions")
            .nick("Kept regions")
            .blurb("Parts of the source's face that stay, separated by commas: eyes, brows, nose, mouth, skin")
            .default_value("")
            .mutable_playing()
            .build(),
    ]
}

/// What else the denoiser can be told; all may change while playing.
fn diffusion() -> Vec<glib::ParamSpec> {
    let s = Settings::default();
    vec![
        glib::ParamSpecEnum::builder_with_default::<FilterPreset>("preset", s.preset.into())
            .nick("Preset")
            .blurb("Settings of a published system in place of the pack's own; what else is set stands above them")
            .mutable_playing()
            .build(),
        glib::ParamSpecFloat::builder("rescale")
            .nick("Rescale")
            .blurb("How far the guided noise's standard deviation goes back to the unguided one's (0-1); -1 = the pack's own")
            .minimum(OWN)
            .maximum(1.0)
            .default_value(OWN)
            .mutable_playing()
            .build(),
        glib::ParamSpecInt::builder("mask-delay")
            .nick("Mask delay")
            .blurb("Steps of the diffusion before the mask acts; -1 = the pack's own")
            .minimum(-1)
            .maximum(100)
            .default_value(-1)
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default::<FilterSwitch>("residual-guidance", s.residual_guidance.into())
            .nick("Residual guidance")
            .blurb("Use the known noise in place of unconditional predictions")
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("cache")
            .nick("Cache")
            .blurb("Keep the denoiser's edit and move it along with the face between key frames")
            .default_value(s.cache)
            .mutable_playing()
            .build(),
        glib::ParamSpecFloat::builder("max-fps-per-face")
            .nick("Most denoiser runs per face")
            .blurb("How often in a second of the stream the denoiser runs for one face at most; 0 = as often as its edit wears out")
            .minimum(0.0)
            .maximum(1000.0)
            .default_value(s.max_fps_per_face)
            .mutable_playing()
            .build(),
    ]
}

/// What happens when faces get lost or treatment fails; all but files may change while playing.
fn safety() -> Vec<glib::ParamSpec> {
    let s = Settings::default();
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    vec![
        glib::ParamSpecUInt64::builder("hold-time")
            .nick("Hold time")
            .blurb("How long the region of a lost face stays covered, in nanoseconds")
            .maximum(60_000_000_000)
            .default_value(ns(s.hold))
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecFloat::builder("verify-threshold")
            .nick("Verification threshold")
            .blurb("Cosine to the source face above which a result counts as recognisable and is covered; -1 = the recogniser's own point of one false match in a thousand, three quarters of it for new faces")
            .minimum(OWN)
            .maximum(1.0)
            .default_value(OWN)
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecEnum::builder_with_default::<FilterOnFailure>("on-failure", s.on_failure.into())
            .nick("On failure")
            .blurb("What becomes of a frame whose faces could not be treated as asked; the source never leaves")
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("processing-deadline")
            .nick("Processing deadline")
            .blurb("Longest time one frame may take, in nanoseconds, and so part of the latency; the engine steps down to keep it, and past it the frame is withheld as on-failure says; 0 = none")
            .maximum(3_600_000_000_000)
            .default_value(0)
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default::<FilterAdapt>("adapt", FilterAdapt::Live)
            .nick("Adapt")
            .blurb("When to give up quality, never safety, to keep up with the stream: diffusion, cached edit, composite, opaque faces, opaque frames; quality comes back when the load falls")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("who")
            .nick("Who")
            .blurb("Who is anonymised: all; only:PHOTO,... (everybody else stays once that is certain); except:PHOTO,... (they stay once recognised). PNG or JPEG files of one face, or folders of them")
            .default_value("all")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("cut-list")
            .nick("Cut list")
            .blurb("TOML file with zones and times in which faces are kept or covered by hand")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("tracks")
            .nick("Track file")
            .blurb("Track file (.tracks.jsonl) of this very film: faces are where it says, and no detector runs; whether it is of this film is not checked here")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("handover")
            .nick("Handed over")
            .blurb("What an earlier part of the same film decided about people: handed-over of the element that made it, under the same seed and with the same tracks; frames before this part may be given first, flagged DECODE_ONLY")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("handed-over")
            .nick("To hand over")
            .blurb("What was decided about people by the time of the last stop, to go on with in another element; none where no faces are replaced. Nothing in it tells who they are")
            .read_only()
            .build(),
        glib::ParamSpecString::builder("keep-tracks")
            .nick("Kept tracks")
            .blurb("Numbers of tracks, separated by commas, whose faces stay as they are while they are certainly the same person as when they were chosen; a track that slips to another face is anonymised. Numbers from before the start, or from before a panic of the engine, count for nothing. cover-tracks stands above it")
            .default_value("")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("cover-tracks")
            .nick("Covered tracks")
            .blurb("Numbers of tracks, separated by commas, that are filled with fill-color whatever the mode; tracks are numbered in the message nullface")
            .default_value("")
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("write-regions")
            .nick("Write regions")
            .blurb("Attach a GstVideoRegionOfInterestMeta of type nullface for each region, with its track; boxes are data about people, so not by default")
            .default_value(false)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("lookahead")
            .nick("Lookahead")
            .blurb("Frames held back so that a new face is covered before it was first found; each adds a frame's duration to the latency, and the first another, so that looking and rendering share the time; while playing, what is held too many leaves with the next frame; 0 = one buffer out for one buffer in, as hosts such as OBS need it")
            .maximum(MAX_LOOKAHEAD)
            .default_value(DEFAULT_LOOKAHEAD as u32)
            .mutable_playing()
            .build(),
    ]
}

/// What the engine is opened with, and what it did.
fn means() -> Vec<glib::ParamSpec> {
    let c = EngineConfig::default();
    vec![
        glib::ParamSpecEnum::builder_with_default::<FilterDevice>("device", c.device.into())
            .nick("Device")
            .blurb("Where networks run; one that is named and cannot be had is an error, never a silent run on the processor")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default::<FilterDetector>("detector", c.detector.into())
            .nick("Detector")
            .blurb("Which network looks for faces; while playing, another one is opened beside the stream, and one that cannot be had is a warning and changes nothing")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("detector-model")
            .nick("Detector's model")
            .blurb("File of the network for detector=yunet and detector=scrfd; set it before detector while playing")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("models-dir")
            .nick("Models' folder")
            .blurb("Folder of the models with their manifest; searched for where not set")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("model-pack")
            .nick("Model pack")
            .blurb("Folder of the model pack for the modes that replace faces; searched for where not set")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("runtime-library")
            .nick("Runtime's library")
            .blurb("ONNX Runtime's shared library; searched for where not set")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("threads")
            .nick("Threads")
            .blurb("Threads for networks; 0 = as many as there are cores")
            .maximum(256)
            .default_value(0)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default::<FilterPrecision>("precision", c.precision.into())
            .nick("Precision")
            .blurb("Which precision of the pack's denoiser runs")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default::<FilterProfile>("profile", FilterProfile::Custom)
            .nick("Profile")
            .blurb("Sets several properties at once for a use; set it first, then what shall differ")
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("audit-location")
            .nick("Audit trail")
            .blurb("File for what was done to every face, as lines of JSON with a hash chain; replaced if it exists; none where not set")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("seed")
            .nick("Seed")
            .blurb("Secret of the session, write-only; the same seed gives the same results; 0 = random")
            .default_value(0)
            .write_only()
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "Counters since start: frames, faces, tracks, regions per treatment, fallbacks, times in ms, largest cosine to the source, the rung in force and its changes",
            )
            .read_only()
            .build(),
    ]
}
