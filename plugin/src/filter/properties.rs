//! The element's properties: names, ranges, defaults, words; and the library's settings they make.
//!
//! A GObject property's default does not initialise the field behind it: [`Properties::default`]
//! takes every value from the library's own defaults, and the specs take theirs from it.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use nullface::pipeline::{EngineConfig, FaceRegion, Settings};

use super::{FilterDetector, FilterDevice, FilterIdentity, FilterMode, FilterOnFailure, FilterSolver};

/// Most frames that may be held back.
const MAX_LOOKAHEAD: u32 = 64;

/// Frames held back where nobody says: at 25 frames/s the detector has 80 ms to find a new face.
const DEFAULT_LOOKAHEAD: usize = 2;

/// `verify-threshold` that stands for the recogniser's own.
const OWN_THRESHOLD: f32 = -1.0;

/// `skip` that stands for the pack's own.
const PACKS_SKIP: f32 = -1.0;

/// The share of `processing-deadline` after which the engine steps down by itself, so that it can
/// cover the faces before the element must give up the frame.
const SOFT_SHARE: f64 = 0.8;

/// Values of all properties.
#[derive(Debug, Clone)]
pub(super) struct Properties {
    /// What may change between two frames.
    pub(super) settings: Settings,
    /// What must be known at start.
    pub(super) config: EngineConfig,
}

impl Default for Properties {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            config: EngineConfig {
                lookahead: DEFAULT_LOOKAHEAD,
                ..EngineConfig::default()
            },
        }
    }
}

impl Properties {
    /// The settings as the engine is told them.
    pub(super) fn engine_settings(&self) -> Settings {
        let mut settings = self.settings.clone();
        settings.deadline = settings.deadline.map(|deadline| deadline.mul_f64(SOFT_SHARE));
        settings
    }

    /// Takes a property's new value. `false` where there is no such property.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: &glib::Value,
    ) -> Result<bool, glib::value::ValueTypeMismatchOrNoneError<glib::value::ValueTypeMismatchError>> {
        let s = &mut self.settings;
        let c = &mut self.config;
        let path = |value: &glib::Value| {
            value
                .get::<Option<String>>()
                .ok()
                .flatten()
                .filter(|p| !p.is_empty())
                .map(PathBuf::from)
        };
        let text = |value: &glib::Value| value.get::<Option<String>>().ok().flatten().unwrap_or_default();
        match name {
            "mode" => s.mode = take::<FilterMode>(value)?.into(),
            "threshold" => s.threshold = take(value)?,
            "min-face" => s.min_face_px = take(value)?,
            "detect-interval" => s.detect_interval = take(value)?,
            "mask-scale" => s.mask_scale = take(value)?,
            "feather" => s.feather = take(value)?,
            "fill-color" => {
                let [_, r, g, b] = take::<u32>(value)?.to_be_bytes();
                s.fill_rgb = [r, g, b];
            }
            "hold-time" => s.hold = Duration::from_nanos(take(value)?),
            "verify-threshold" => {
                let threshold: f32 = take(value)?;
                s.verify_threshold = (threshold > OWN_THRESHOLD).then_some(threshold);
            }
            "strength" => s.strength = take(value)?,
            "guidance" => s.guidance = Some(take::<f32>(value)?).filter(|w| *w != 0.0),
            "skip" => s.skip = Some(take::<f32>(value)?).filter(|v| *v >= 0.0),
            "steps" => s.steps = Some(take::<u32>(value)?).filter(|n| *n > 0),
            "solver" => s.solver = take::<FilterSolver>(value)?.into(),
            "identity" => s.identity = take::<FilterIdentity>(value)?.into(),
            "attributes" => s.attributes = text(value),
            "keep-regions" => match FaceRegion::list(&text(value)) {
                Ok(regions) => s.keep_regions = regions,
                Err(error) => glib::g_warning!("nullface", "{error}; nothing is kept"),
            },
            "on-failure" => s.on_failure = take::<FilterOnFailure>(value)?.into(),
            "processing-deadline" => {
                let ns: u64 = take(value)?;
                s.deadline = (ns > 0).then(|| Duration::from_nanos(ns));
            }
            "lookahead" => c.lookahead = take::<u32>(value)? as usize,
            "device" => c.device = take::<FilterDevice>(value)?.into(),
            "detector" => c.detector = take::<FilterDetector>(value)?.into(),
            "detector-model" => c.detector_model = path(value),
            "models-dir" => c.models_dir = path(value),
            "model-pack" => c.model_pack = path(value),
            "runtime-library" => c.runtime_library = path(value),
            "threads" => c.threads = take::<u32>(value)? as usize,
            "seed" => {
                let seed: u64 = take(value)?;
                c.seed = (seed != 0).then_some(seed);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A property's value. `None` where there is no such readable property here.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        let s = &self.settings;
        let c = &self.config;
        let path = |path: &Option<PathBuf>| path.as_ref().map(|p| p.to_string_lossy().into_owned()).to_value();
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Some(match name {
            "mode" => FilterMode::from(s.mode).to_value(),
            "threshold" => s.threshold.to_value(),
            "min-face" => s.min_face_px.to_value(),
            "detect-interval" => s.detect_interval.to_value(),
            "mask-scale" => s.mask_scale.to_value(),
            "feather" => s.feather.to_value(),
            "fill-color" => packed(s.fill_rgb).to_value(),
            "hold-time" => ns(s.hold).to_value(),
            "verify-threshold" => s.verify_threshold.unwrap_or(OWN_THRESHOLD).to_value(),
            "strength" => s.strength.to_value(),
            "guidance" => s.guidance.unwrap_or(0.0).to_value(),
            "skip" => s.skip.unwrap_or(PACKS_SKIP).to_value(),
            "steps" => s.steps.unwrap_or(0).to_value(),
            "solver" => FilterSolver::from(s.solver).to_value(),
            "identity" => FilterIdentity::from(s.identity).to_value(),
            "attributes" => s.attributes.to_value(),
            "keep-regions" => s.keep_regions.iter().map(|r| r.word()).collect::<Vec<_>>().join(",").to_value(),
            "on-failure" => FilterOnFailure::from(s.on_failure).to_value(),
            "processing-deadline" => s.deadline.map_or(0, ns).to_value(),
            "lookahead" => u32::try_from(c.lookahead).unwrap_or(MAX_LOOKAHEAD).to_value(),
            "device" => FilterDevice::from(c.device).to_value(),
            "detector" => FilterDetector::from(c.detector).to_value(),
            "detector-model" => path(&c.detector_model),
            "models-dir" => path(&c.models_dir),
            "model-pack" => path(&c.model_pack),
            "runtime-library" => path(&c.runtime_library),
            "threads" => u32::try_from(c.threads).unwrap_or(0).to_value(),
            _ => return None,
        })
    }
}

type Mismatch = glib::value::ValueTypeMismatchOrNoneError<glib::value::ValueTypeMismatchError>;

fn take<'a, T>(value: &'a glib::Value) -> Result<T, Mismatch>
where
    T: glib::value::FromValue<'a>,
    Mismatch: From<<T::Checker as glib::value::ValueTypeChecker>::Error>,
{
    value.get::<T>().map_err(Mismatch::from)
}

/// 0x00RRGGBB.
fn packed([r, g, b]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, r, g, b])
}

/// The specs, in the order of the documentation.
pub(super) static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let mut specs = treatment();
    specs.extend(replacing());
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
            .blurb("Smallest confidence that starts a track (0-1); lower finds more faces and more that are none")
            .minimum(0.0)
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
            .minimum(1.0)
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
            .build(),
        glib::ParamSpecFloat::builder("guidance")
            .nick("Guidance")
            .blurb("Guidance scale of the denoiser; below 0 what is asked for is promoted and the source pushed away; 0 = the pack's own")
            .minimum(-100.0)
            .maximum(100.0)
            .default_value(0.0)
            .mutable_playing()
            .build(),
        glib::ParamSpecFloat::builder("skip")
            .nick("Skip")
            .blurb("Share of the diffusion left out; higher stays closer to the picture that is edited; -1 = the pack's own")
            .minimum(PACKS_SKIP)
            .maximum(0.99)
            .default_value(PACKS_SKIP)
            .mutable_playing()
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

/// What happens when faces get lost or treatment fails; all but lookahead may change while playing.
fn safety() -> Vec<glib::ParamSpec> {
    let s = Settings::default();
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    vec![
        glib::ParamSpecUInt64::builder("hold-time")
            .nick("Hold time")
            .blurb("How long the region of a lost face stays covered, in nanoseconds")
            .maximum(3_600_000_000_000)
            .default_value(ns(s.hold))
            .mutable_playing()
            .controllable()
            .build(),
        glib::ParamSpecFloat::builder("verify-threshold")
            .nick("Verification threshold")
            .blurb("Cosine to the source face above which a result counts as recognisable and is covered; -1 = the recogniser's own point of one false match in a thousand")
            .minimum(OWN_THRESHOLD)
            .maximum(1.0)
            .default_value(OWN_THRESHOLD)
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
            .blurb("Longest time one frame may take, in nanoseconds; the engine steps down at four fifths of it, and past it the frame is withheld as on-failure says; 0 = none")
            .maximum(3_600_000_000_000)
            .default_value(0)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("lookahead")
            .nick("Lookahead")
            .blurb("Frames held back so that a new face is covered before it was first found; each adds a frame's duration to the latency; 0 = one buffer out for one buffer in, as hosts such as OBS need it")
            .maximum(MAX_LOOKAHEAD)
            .default_value(DEFAULT_LOOKAHEAD as u32)
            .mutable_ready()
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
            .blurb("Which network looks for faces")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("detector-model")
            .nick("Detector's model")
            .blurb("File of the network for detector=yunet and detector=scrfd")
            .mutable_ready()
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
                "Counters since start: frames, faces, tracks, regions per treatment, fallbacks, times in ms, largest cosine to the source",
            )
            .read_only()
            .build(),
    ]
}
