//! What a user may choose, as types: nothing is a string past the parser.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::backend::DeviceEvents;
use crate::frame::Pts;

use super::engine::EngineError;
use super::who::Who;

/// A word that is none of an enum's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected one of {known}, got `{got}`")]
pub struct UnknownWord {
    /// Which setting.
    pub what: &'static str,
    /// The words it knows.
    pub known: String,
    /// What came.
    pub got: String,
}

/// Makes an enum that prints and parses as the words users type.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that users type.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(s: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|v| v.word() == s).ok_or_else(|| UnknownWord {
                    what: $what,
                    known: Self::ALL.iter().map(|v| v.word()).collect::<Vec<_>>().join(", "),
                    got: s.to_owned(),
                })
            }
        }
    };
}

words! {
    /// How a face is made unrecognisable.
    #[derive(Default)]
    Mode, "mode" {
        /// Reduced to at most 8×8 cells, smoothly interpolated.
        Blur = "blur",
        /// Reduced to at most 8×8 cells, drawn as squares.
        Pixelate = "pixelate",
        /// One colour.
        Solid = "solid",
        /// Another face, made real by diffusion away from the source; what cannot be replaced is blurred.
        #[default]
        Nullface = "nullface",
        /// Another face, the source's identity reversed by negative guidance.
        Reverse = "reverse",
        /// Another face, recomposed under a sampled identity.
        Id2face = "id2face",
        /// Another face from averages of at least eight people, without a network.
        Ksame = "ksame",
    }
}

impl Mode {
    /// Whether faces are replaced, for which a model pack is needed; otherwise they are covered.
    #[must_use]
    pub const fn replaces(self) -> bool {
        matches!(self, Self::Nullface | Self::Reverse | Self::Id2face | Self::Ksame)
    }
}

words! {
    /// Where networks run.
    #[derive(Default)]
    DeviceChoice, "device" {
        /// The best that can be had; says which and why.
        #[default]
        Auto = "auto",
        /// Processor.
        Cpu = "cpu",
        /// NVIDIA GPU through CUDA.
        Cuda = "cuda",
        /// NVIDIA GPU through TensorRT.
        Tensorrt = "tensorrt",
        /// NVIDIA GPU through the TensorRT-RTX plugin.
        TensorrtRtx = "tensorrt-rtx",
    }
}

words! {
    /// What becomes of a frame whose faces could not be handled as asked.
    #[derive(Default)]
    OnFailure, "on-failure" {
        /// Opaque fill of the regions; of the whole frame where the regions are not known.
        #[default]
        Cover = "cover",
        /// Opaque fill of the whole frame.
        CoverFrame = "cover-frame",
        /// The frame is not released.
        Drop = "drop",
        /// The stream ends with an error.
        Error = "error",
    }
}

words! {
    /// Which detector looks at the frame.
    #[derive(Default)]
    DetectorChoice, "detector" {
        /// CenterFace, with BlazeFace for large faces between its runs.
        #[default]
        Auto = "auto",
        /// CenterFace alone.
        Centerface = "centerface",
        /// BlazeFace alone: large faces only.
        Blazeface = "blazeface",
        /// YuNet from the user's file, through OpenCV.
        Yunet = "yunet",
        /// SCRFD from the user's file.
        Scrfd = "scrfd",
    }
}

words! {
    /// Which solver the denoiser runs under.
    #[derive(Default)]
    SolverChoice, "solver" {
        /// The pack's.
        #[default]
        Auto = "auto",
        /// Ancestral steps.
        Ddpm = "ddpm",
        /// SDE-DPM-Solver++(2M).
        SdeDpmpp2m = "sde-dpmpp-2m",
        /// DPM-Solver++(2M), deterministic.
        Dpmpp2m = "dpmpp-2m",
    }
}

words! {
    /// Who a person becomes.
    #[derive(Default)]
    IdentityChoice, "identity" {
        /// The mode's own.
        #[default]
        Auto = "auto",
        /// The mixture's, drawn from the session's secret.
        Ksame = "ksame",
        /// Random, orthogonal to the source.
        Orthogonal = "orthogonal",
        /// The opposite of the source.
        Negate = "negate",
        /// Pushed away from the source; with a guidance of 0 or below.
        Repel = "repel",
        /// Random.
        Random = "random",
    }
}

words! {
    /// Settings of a published system, in place of the pack's own.
    #[derive(Default)]
    Preset, "preset" {
        /// None: the pack's.
        #[default]
        None = "none",
        /// NullFace as published: `ddpm`, 100 steps of which the last 30 run, guidance 10, −e. For `mode=nullface`.
        NullfacePaper = "nullface-paper",
        /// Reverse Personalization as published: `sde-dpmpp-2m`, 100 steps, guidance −10, +e. For `mode=reverse`.
        ReversePaper = "reverse-paper",
    }
}

words! {
    /// Which precision of a pack's denoiser runs.
    #[derive(Default)]
    PrecisionChoice, "precision" {
        /// What is faster here, measured when the pack is opened; single where a seed asks for a repeatable run.
        #[default]
        Auto = "auto",
        /// Single.
        Fp32 = "fp32",
        /// Half.
        Fp16 = "fp16",
        /// Quantised.
        Int8 = "int8",
    }
}

words! {
    /// A part of the face that may stay as it is.
    FaceRegion, "keep-regions" {
        /// Eyes with their lids.
        Eyes = "eyes",
        /// Brows.
        Brows = "brows",
        /// Nose.
        Nose = "nose",
        /// Mouth with its lips.
        Mouth = "mouth",
        /// All that is none of the others.
        Skin = "skin",
    }
}

impl FaceRegion {
    /// Several, separated by commas.
    ///
    /// # Errors
    /// The first word that is none.
    pub fn list(text: &str) -> Result<Vec<Self>, UnknownWord> {
        text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::parse).collect()
    }
}

/// What must be known before the first frame.
#[derive(Debug, Clone, Default)]
pub struct EngineConfig {
    /// Folder of the small models with their manifest; searched for where `None`.
    pub models_dir: Option<PathBuf>,
    /// ONNX Runtime's shared library; searched for where `None`.
    pub runtime_library: Option<PathBuf>,
    /// Folder of the model pack for the modes that replace; searched for where `None`.
    pub model_pack: Option<PathBuf>,
    /// Detector's file for `yunet` and `scrfd`.
    pub detector_model: Option<PathBuf>,
    /// Which detector.
    pub detector: DetectorChoice,
    /// Where networks run.
    pub device: DeviceChoice,
    /// Threads for networks; 0 = as many as there are cores.
    pub threads: usize,
    /// Precision of the denoiser.
    pub precision: PrecisionChoice,
    /// Cut list: zones and times in which faces are kept or covered by hand. See [`super::CutList`].
    pub cut_list: Option<PathBuf>,
    /// Track file of this very film: faces are where it says, and no detector runs. See [`crate::tracks`].
    pub tracks: Option<PathBuf>,
    /// Frames held back so that a new track can be covered backwards.
    pub lookahead: usize,
    /// Secret of the session; random where `None`.
    pub seed: Option<u64>,
    /// What an earlier part of the same film decided about people, as [`super::Engine::handover`] gave it under the
    /// same seed: faces go on from there.
    pub handover: Option<String>,
    /// Who is told when something is built for the device, or the device is lost.
    pub device_events: DeviceEvents,
}

/// What of a configuration may change between two frames.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Means {
    /// As [`EngineConfig::lookahead`].
    pub lookahead: usize,
    /// As [`EngineConfig::detector`].
    pub detector: DetectorChoice,
    /// As [`EngineConfig::detector_model`].
    pub detector_model: Option<PathBuf>,
}

impl EngineConfig {
    /// What of it may change between two frames.
    #[must_use]
    pub fn means(&self) -> Means {
        Means {
            lookahead: self.lookahead,
            detector: self.detector,
            detector_model: self.detector_model.clone(),
        }
    }

    /// The same with other means.
    #[must_use]
    pub fn with_means(mut self, means: Means) -> Self {
        (self.lookahead, self.detector, self.detector_model) = (means.lookahead, means.detector, means.detector_model);
        self
    }

    /// Whether two things of one frame's work may go on at the same time.
    pub(super) fn has_two_cores(&self) -> bool {
        self.threads != 1 && std::thread::available_parallelism().is_ok_and(|n| n.get() > 1)
    }
}

/// What may change between two frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How faces are treated.
    pub mode: Mode,
    /// Smallest confidence that starts a track, 0–1.
    pub threshold: f32,
    /// Smallest face looked for, px of the frame's larger face side.
    pub min_face_px: u32,
    /// Detect at least every so many frames; 0 = adaptive within the budget.
    pub detect_interval: u32,
    /// Growth of a covered region about the face's box.
    pub mask_scale: f32,
    /// Width of the soft rim outside the covered region, as a share of the face's width.
    pub feather: f32,
    /// Colour of `solid` and of opaque fallbacks, RGB.
    pub fill_rgb: [u8; 3],
    /// How long a lost face's region stays covered.
    pub hold: Duration,
    /// Cosine to the source above which an output counts as recognisable. Where `None`: the recogniser's FAR 1e-3
    /// point for covers, three quarters of it for new faces.
    pub verify_threshold: Option<f32>,
    /// Multiplies the guidance: how far the denoiser's edit goes, 0–2.
    pub strength: f32,
    /// Guidance scale; the pack's where `None`.
    pub guidance: Option<f32>,
    /// Share of the diffusion that is left out: higher stays closer to the picture that is edited.
    pub skip: Option<f32>,
    /// Steps of the diffusion; the pack's where `None`.
    pub steps: Option<u32>,
    /// Solver.
    pub solver: SolverChoice,
    /// Settings of a published system; what else is set stands above them.
    pub preset: Preset,
    /// How far the guided noise's standard deviation goes back to the unguided one's, 0–1; the pack's where `None`.
    pub rescale: Option<f32>,
    /// Steps before the mask acts; the pack's where `None`.
    pub mask_delay: Option<u32>,
    /// The known noise in place of unconditional predictions; the pack's where `None`.
    pub residual_guidance: Option<bool>,
    /// Whether the denoiser's edit is kept and moved along between key frames.
    pub cache: bool,
    /// How often in a second of the stream the denoiser runs for one face at most; 0 = as often as its edit wears out.
    pub max_fps_per_face: f32,
    /// Who a person becomes.
    pub identity: IdentityChoice,
    /// What the new face should be like: words `age=70`, `sex=female`, `group=asian`, separated by commas.
    pub attributes: String,
    /// Parts of the source's face that stay.
    pub keep_regions: Vec<FaceRegion>,
    /// Tracks that are filled with one colour whatever the mode.
    pub cover_tracks: Vec<u64>,
    /// Tracks that somebody chose to leave as they are while they show the same person, which is held against
    /// what the track's face was like when it was chosen. Covering stands above it.
    pub keep_tracks: Vec<u64>,
    /// Who is anonymised.
    pub who: Who,
    /// Presentation time at which the cut list's time is zero.
    pub origin: Pts,
    /// Policy for frames that could not be handled.
    pub on_failure: OnFailure,
    /// Longest time that analysing and rendering one frame may take before the ladder steps down; none where
    /// `None`. Who knows the time left of each frame gives it to [`super::Engine::render_within`] instead.
    pub deadline: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            threshold: 0.5,
            min_face_px: 20,
            detect_interval: 0,
            mask_scale: 1.25,
            feather: 0.08,
            fill_rgb: [16, 16, 16],
            hold: Duration::from_millis(1000),
            verify_threshold: None,
            strength: 1.0,
            guidance: None,
            skip: None,
            steps: None,
            solver: SolverChoice::default(),
            preset: Preset::default(),
            rescale: None,
            mask_delay: None,
            residual_guidance: None,
            cache: true,
            max_fps_per_face: 0.0,
            identity: IdentityChoice::default(),
            attributes: String::new(),
            keep_regions: Vec::new(),
            cover_tracks: Vec::new(),
            keep_tracks: Vec::new(),
            who: Who::All,
            origin: Pts(0),
            on_failure: OnFailure::default(),
            deadline: None,
        }
    }
}

impl Settings {
    /// Checks every value against its range.
    ///
    /// # Errors
    /// [`EngineError::Setting`] names the first value outside its range.
    pub fn check(&self) -> Result<(), EngineError> {
        let within = |name, value: f32, low: f32, high: f32, expected| {
            if value >= low && value <= high {
                Ok(())
            } else {
                Err(EngineError::Setting {
                    name,
                    expected,
                    got: value.to_string(),
                })
            }
        };
        within("threshold", self.threshold, 0.05, 1.0, "0.05..=1")?;
        within("mask-scale", self.mask_scale, 1.1, 4.0, "1.1..=4")?;
        within("feather", self.feather, 0.0, 1.0, "0..=1 of the face's longer side")?;
        within("hold-time", self.hold.as_secs_f32(), 0.0, 60.0, "0..=60 s")?;
        if let Some(limit) = self.verify_threshold {
            within("verify-threshold", limit, -1.0, 1.0, "-1..=1")?;
        }
        within("strength", self.strength, 0.0, 2.0, "0..=2")?;
        if let Some(w) = self.guidance {
            within("guidance", w, -100.0, 100.0, "-100..=100")?;
        }
        if let Some(skip) = self.skip {
            within("skip", skip, 0.0, 0.99, "0..=0.99")?;
        }
        if let Some(steps) = self.steps.filter(|s| !(1..=100).contains(s)) {
            return Err(EngineError::Setting {
                name: "steps",
                expected: "1..=100",
                got: steps.to_string(),
            });
        }
        if let Some(rescale) = self.rescale {
            within("rescale", rescale, 0.0, 1.0, "0..=1")?;
        }
        within("max-fps-per-face", self.max_fps_per_face, 0.0, 1000.0, "0..=1000 frames/s")?;
        let refused = |name, expected, got: String| Err(EngineError::Setting { name, expected, got });
        if let Some(delay) = self.mask_delay.filter(|d| *d > 100) {
            return refused("mask-delay", "0..=100 steps", delay.to_string());
        }
        match (self.preset, self.mode) {
            (Preset::NullfacePaper, mode) if mode != Mode::Nullface => {
                return refused(
                    "preset",
                    "none, or nullface-paper with mode nullface",
                    format!("nullface-paper with mode {mode}"),
                );
            }
            (Preset::ReversePaper, mode) if mode != Mode::Reverse => {
                return refused(
                    "preset",
                    "none, or reverse-paper with mode reverse",
                    format!("reverse-paper with mode {mode}"),
                );
            }
            _ => {}
        }
        if !(4..=4096).contains(&self.min_face_px) {
            return Err(EngineError::Setting {
                name: "min-face",
                expected: "4..=4096 px",
                got: self.min_face_px.to_string(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Mode, OnFailure, Settings};

    #[test]
    fn a_value_outside_its_range_is_named() {
        assert!(Settings::default().check().is_ok());
        let error = Settings {
            mask_scale: 0.5,
            ..Settings::default()
        }
        .check()
        .expect_err("a shrunk mask uncovers the face");
        assert!(error.to_string().contains("mask-scale"), "{error}");
        assert!(
            Settings {
                threshold: f32::NAN,
                ..Settings::default()
            }
            .check()
            .is_err()
        );
    }

    #[test]
    fn words_round_trip() {
        for mode in Mode::ALL {
            assert_eq!(mode.word().parse::<Mode>(), Ok(*mode));
        }
        for policy in OnFailure::ALL {
            assert_eq!(policy.word().parse::<OnFailure>(), Ok(*policy));
        }
    }

    #[test]
    fn an_unknown_word_lists_the_known_ones() {
        let error = "mosaic".parse::<Mode>().expect_err("not a mode");
        assert_eq!(
            error.to_string(),
            "mode: expected one of blur, pixelate, solid, nullface, reverse, id2face, ksame, got `mosaic`"
        );
    }
}
