//! The element's properties: names, ranges, defaults, words; and the library's settings they make.
//!
//! The specs are in `specs.rs`. A GObject property's default does not initialise the field behind it: [`Properties::default`]
//! takes every value from the library's own defaults, and the specs take theirs from it.

use std::path::PathBuf;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use nullface::pipeline::{EngineConfig, FaceRegion, OnFailure, Settings, Who};

use super::{
    FilterAdapt, FilterDetector, FilterDevice, FilterIdentity, FilterMode, FilterOnFailure, FilterPrecision, FilterPreset, FilterProfile,
    FilterSolver, FilterSwitch,
};

/// Most frames that may be held back.
pub(super) const MAX_LOOKAHEAD: u32 = 64;

/// Frames held back where nobody says: at 25 frames/s the detector has 80 ms to find a new face.
pub(super) const DEFAULT_LOOKAHEAD: usize = 2;

/// Number that stands for the recogniser's or the pack's own, where 0 means something.
pub(super) const OWN: f32 = -1.0;

/// Values of all properties.
#[derive(Debug, Clone)]
pub(super) struct Properties {
    /// What may change between two frames.
    pub(super) settings: Settings,
    /// What must be known at start.
    pub(super) config: EngineConfig,
    /// What was chosen last; its properties may have been changed one by one since.
    pub(super) profile: FilterProfile,
    /// Whether the ladder is used to keep up.
    pub(super) adapt: FilterAdapt,
    /// Whether frames tell the elements behind where faces were.
    pub(super) write_regions: bool,
    /// Where the audit trail goes; none where `None`.
    pub(super) audit_location: Option<PathBuf>,
}

impl Default for Properties {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            config: EngineConfig {
                lookahead: DEFAULT_LOOKAHEAD,
                ..EngineConfig::default()
            },
            profile: FilterProfile::Custom,
            adapt: FilterAdapt::Live,
            write_regions: false,
            audit_location: None,
        }
    }
}

impl Properties {
    /// The settings as the engine is told them: without the deadline, of which it is told frame by frame
    /// how much is left.
    pub(super) fn engine_settings(&self) -> Settings {
        Settings {
            deadline: None,
            ..self.settings.clone()
        }
    }

    /// Takes a profile: several properties at once, whose names are returned.
    fn take_profile(&mut self, profile: FilterProfile) -> &'static [&'static str] {
        self.profile = profile;
        let (s, c) = (&mut self.settings, &mut self.config);
        let deadline = |ms| Some(Duration::from_millis(ms));
        match profile {
            FilterProfile::Custom => return &[],
            FilterProfile::Film => (c.lookahead, s.on_failure, s.deadline) = (8, OnFailure::Cover, None),
            FilterProfile::Live => (c.lookahead, s.on_failure, s.deadline) = (0, OnFailure::Cover, deadline(200)),
            FilterProfile::Host => (c.lookahead, s.on_failure, s.deadline) = (0, OnFailure::CoverFrame, deadline(100)),
            FilterProfile::Strict => {
                (c.lookahead, s.on_failure, s.deadline) = (8, OnFailure::CoverFrame, None);
                (s.threshold, s.mask_scale, s.hold) = (0.3, 1.5, Duration::from_secs(3));
                return &[
                    "lookahead",
                    "on-failure",
                    "processing-deadline",
                    "threshold",
                    "mask-scale",
                    "hold-time",
                ];
            }
        }
        &["lookahead", "on-failure", "processing-deadline"]
    }

    /// Takes a property's new value. Returns the names of those that changed with it; `None` where there
    /// is no such property.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) -> Result<Option<&'static [&'static str]>, Mismatch> {
        if name == "profile" {
            return Ok(Some(self.take_profile(take(value)?)));
        }
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
                s.verify_threshold = (threshold > OWN).then_some(threshold);
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
            "preset" => s.preset = take::<FilterPreset>(value)?.into(),
            "rescale" => s.rescale = Some(take::<f32>(value)?).filter(|v| *v >= 0.0),
            "mask-delay" => s.mask_delay = u32::try_from(take::<i32>(value)?).ok(),
            "residual-guidance" => s.residual_guidance = take::<FilterSwitch>(value)?.into(),
            "cache" => s.cache = take(value)?,
            "max-fps-per-face" => s.max_fps_per_face = take(value)?,
            "cover-tracks" => take_tracks(name, &text(value), &mut s.cover_tracks),
            "keep-tracks" => take_tracks(name, &text(value), &mut s.keep_tracks),
            "who" => match text(value).parse() {
                Ok(who) => s.who = who,
                Err(error) => {
                    s.who = Who::All;
                    glib::g_warning!("nullface", "{error}; everybody is anonymised");
                }
            },
            "cut-list" => c.cut_list = path(value),
            "tracks" => c.tracks = path(value),
            "handover" => c.handover = Some(text(value)).filter(|t| !t.is_empty()),
            "adapt" => self.adapt = take(value)?,
            "write-regions" => self.write_regions = take(value)?,
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
            "audit-location" => self.audit_location = path(value),
            "threads" => c.threads = take::<u32>(value)? as usize,
            "precision" => c.precision = take::<FilterPrecision>(value)?.into(),
            "seed" => {
                let seed: u64 = take(value)?;
                c.seed = (seed != 0).then_some(seed);
            }
            _ => return Ok(None),
        }
        Ok(Some(&[]))
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
            "verify-threshold" => s.verify_threshold.unwrap_or(OWN).to_value(),
            "strength" => s.strength.to_value(),
            "guidance" => s.guidance.unwrap_or(0.0).to_value(),
            "skip" => s.skip.unwrap_or(OWN).to_value(),
            "steps" => s.steps.unwrap_or(0).to_value(),
            "solver" => FilterSolver::from(s.solver).to_value(),
            "identity" => FilterIdentity::from(s.identity).to_value(),
            "attributes" => s.attributes.to_value(),
            "keep-regions" => s.keep_regions.iter().map(|r| r.word()).collect::<Vec<_>>().join(",").to_value(),
            "preset" => FilterPreset::from(s.preset).to_value(),
            "rescale" => s.rescale.unwrap_or(OWN).to_value(),
            "mask-delay" => s.mask_delay.and_then(|n| i32::try_from(n).ok()).unwrap_or(-1).to_value(),
            "residual-guidance" => FilterSwitch::from(s.residual_guidance).to_value(),
            "cache" => s.cache.to_value(),
            "max-fps-per-face" => s.max_fps_per_face.to_value(),
            "cover-tracks" => numbers(&s.cover_tracks).to_value(),
            "keep-tracks" => numbers(&s.keep_tracks).to_value(),
            "who" => s.who.to_string().to_value(),
            "cut-list" => path(&c.cut_list),
            "tracks" => path(&c.tracks),
            "handover" => c.handover.to_value(),
            "profile" => self.profile.to_value(),
            "adapt" => self.adapt.to_value(),
            "write-regions" => self.write_regions.to_value(),
            "precision" => FilterPrecision::from(c.precision).to_value(),
            "on-failure" => FilterOnFailure::from(s.on_failure).to_value(),
            "processing-deadline" => s.deadline.map_or(0, ns).to_value(),
            "lookahead" => u32::try_from(c.lookahead).unwrap_or(MAX_LOOKAHEAD).to_value(),
            "device" => FilterDevice::from(c.device).to_value(),
            "detector" => FilterDetector::from(c.detector).to_value(),
            "detector-model" => path(&c.detector_model),
            "models-dir" => path(&c.models_dir),
            "model-pack" => path(&c.model_pack),
            "runtime-library" => path(&c.runtime_library),
            "audit-location" => path(&self.audit_location),
            "threads" => u32::try_from(c.threads).unwrap_or(0).to_value(),
            _ => return None,
        })
    }
}

/// Takes numbers of tracks, or leaves what was chosen before.
fn take_tracks(name: &str, text: &str, to: &mut Vec<u64>) {
    let words = text.split(',').map(str::trim).filter(|w| !w.is_empty());
    match words.map(str::parse).collect() {
        Ok(tracks) => *to = tracks,
        Err(_) => glib::g_warning!(
            "nullface",
            "{name}: expected numbers separated by commas, got `{text}`; what was chosen before stays"
        ),
    }
}

fn numbers(tracks: &[u64]) -> String {
    tracks.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
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
pub(super) fn packed([r, g, b]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, r, g, b])
}
