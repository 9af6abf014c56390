//! The command line of `nullface anonymize`. Defaults are the library's own, so that they stand in
//! one place.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use nullface::Settings;
use nullface::pipeline::{
    CutList, DetectorChoice, DeviceChoice, EngineConfig, FaceRegion, IdentityChoice, Mode, OnFailure, PrecisionChoice, Preset,
    SolverChoice, Who,
};
use sha2::{Digest, Sha256};

use crate::exit::refuse;
use crate::hash::{hex, sha256};

use super::encoders::{EncoderChoice, Wanted};

/// How far a cut may reach beyond the film's end: people round up, and containers round.
const BEYOND_END_S: f64 = 1.0;
/// Frames held back by default, so that a face is covered before it is first found.
const LOOKAHEAD_FRAMES: u32 = 8;

/// The element's unit of time is the nanosecond.
const NS_PER_MS: u64 = 1_000_000;

/// Anonymise the faces of a film.
///
/// Writes .mp4, .mov, .mkv or .webm by the output's name. Sound is passed on without re-encoding
/// where the container takes it; so are subtitles, chapters and timecode. Timestamps, frame count,
/// aspect, depth and colour tags are kept, a rotated film is turned upright; titles, dates, places,
/// devices and pictures in the metadata are left out.
#[derive(Debug, clap::Args)]
#[command(after_help = crate::exit::TABLE)]
pub(crate) struct Args {
    /// Film to read: any container and codec that GStreamer decodes.
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
    /// Film to write.
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// How faces are made unrecognisable.
    #[arg(long, value_parser = words(Mode::ALL, Mode::word), default_value_t = Settings::default().mode)]
    pub(crate) mode: Mode,
    /// Write what happened to every face: the audit trail, lines of JSON chained by hashes.
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) report: Option<PathBuf>,
    /// Ed25519 key that signs the report: PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` makes one.
    #[arg(long, value_name = "KEY.pem", requires = "report")]
    pub(crate) sign_key: Option<PathBuf>,
    /// Do not write into the metadata that faces were altered.
    #[arg(long)]
    pub(crate) no_marking: bool,
    /// Words to show in a corner of the picture, such as "faces altered"; none when left out.
    #[arg(long, value_name = "WORDS")]
    pub(crate) label: Option<String>,
    /// Where networks run; one that is asked for by name and cannot be had is an error.
    #[arg(long, value_parser = words(DeviceChoice::ALL, DeviceChoice::word), default_value_t = DeviceChoice::default())]
    pub(crate) device: DeviceChoice,
    /// Which detector looks for faces.
    #[arg(long, value_parser = words(DetectorChoice::ALL, DetectorChoice::word), default_value_t = DetectorChoice::default())]
    pub(crate) detector: DetectorChoice,
    /// Smallest confidence that counts as a face, 0–1; lower finds more.
    #[arg(long, value_name = "SHARE", value_parser = range::<0, 1>, default_value_t = Settings::default().threshold)]
    pub(crate) threshold: f32,
    /// Smallest face looked for, px.
    #[arg(long, value_name = "PX", default_value_t = Settings::default().min_face_px)]
    pub(crate) min_face: u32,
    /// Look for new faces at least every so many frames; 0 adapts to the film.
    #[arg(long, value_name = "FRAMES", default_value_t = Settings::default().detect_interval)]
    pub(crate) detect_interval: u32,
    /// Growth of the covered region about a face.
    #[arg(long, value_name = "FACTOR", value_parser = range::<1, 4>, default_value_t = Settings::default().mask_scale)]
    pub(crate) mask_scale: f32,
    /// Soft rim outside the covered region, as a share of the face's width.
    #[arg(long, value_name = "SHARE", value_parser = range::<0, 1>, default_value_t = Settings::default().feather)]
    pub(crate) feather: f32,
    /// How long the place of a lost face stays covered, ms.
    #[arg(long, value_name = "MS", default_value_t = hold_ms())]
    pub(crate) hold_time: u32,
    /// Likeness to the source (cosine) above which a result is covered; the recogniser's own when left out.
    #[arg(long, value_name = "COS", value_parser = range::<0, 1>)]
    pub(crate) verify_threshold: Option<f32>,
    /// How far the denoiser's edit goes, 0–2; multiplies the guidance.
    #[arg(long, value_name = "FACTOR", value_parser = range::<0, 2>, default_value_t = Settings::default().strength)]
    pub(crate) strength: f32,
    /// Guidance scale of the denoiser; the pack's own when left out.
    #[arg(long, value_name = "SCALE", value_parser = range::<-100, 100>, allow_hyphen_values = true)]
    pub(crate) guidance: Option<f32>,
    /// Share of the diffusion left out; higher stays closer to the picture that is edited.
    #[arg(long, value_name = "SHARE", value_parser = range::<0, 1>)]
    pub(crate) skip: Option<f32>,
    /// Steps of the diffusion; the pack's own when left out.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) steps: Option<u32>,
    /// How the diffusion goes from noise to picture.
    #[arg(long, value_parser = words(SolverChoice::ALL, SolverChoice::word), default_value_t = SolverChoice::default())]
    pub(crate) solver: SolverChoice,
    /// Settings of a published system in place of the pack's own.
    #[arg(long, value_parser = words(Preset::ALL, Preset::word), default_value_t = Preset::default())]
    pub(crate) preset: Preset,
    /// How far the guided noise's standard deviation goes back to the unguided one's.
    #[arg(long, value_name = "SHARE", value_parser = range::<0, 1>)]
    pub(crate) rescale: Option<f32>,
    /// Steps before the mask acts.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) mask_delay: Option<u32>,
    /// The known noise in place of unconditional predictions: half the evaluations.
    #[arg(long)]
    pub(crate) residual_guidance: bool,
    /// Run the denoiser on every frame instead of moving its last edit along.
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// How often in a second of the film the denoiser runs for one face at most; 0 = as often as its edit wears out.
    #[arg(long, value_name = "RATE", value_parser = range::<0, 1000>, default_value_t = Settings::default().max_fps_per_face)]
    pub(crate) max_fps_per_face: f32,
    /// Precision of the denoiser; `auto` measures what is faster, unless a seed is given.
    #[arg(long, value_parser = words(PrecisionChoice::ALL, PrecisionChoice::word), default_value_t = PrecisionChoice::default())]
    pub(crate) precision: PrecisionChoice,
    /// Who a person becomes.
    #[arg(long, value_parser = words(IdentityChoice::ALL, IdentityChoice::word), default_value_t = IdentityChoice::default())]
    pub(crate) identity: IdentityChoice,
    /// What the new face should be like: age=70,sex=female,group=asian.
    #[arg(long, value_name = "WORDS")]
    pub(crate) attributes: Option<String>,
    /// Parts of the source's face that stay.
    #[arg(long, value_name = "PARTS", value_delimiter = ',', value_parser = words(FaceRegion::ALL, FaceRegion::word))]
    pub(crate) keep_regions: Vec<FaceRegion>,
    /// Anonymise only the people on these photos. Everybody else stays, once it is certain that they
    /// are somebody else. PNG or JPEG files of one face each, or folders of them; several of a person help.
    /// With --from-tracks: `track:NUMBER` of that file.
    #[arg(long, value_name = "PHOTO", num_args = 1.., conflicts_with = "except")]
    pub(crate) only: Vec<PathBuf>,
    /// Anonymise everybody but the people on these photos, who stay once they are recognised. With
    /// --from-tracks: `track:NUMBER` of that file.
    #[arg(long, value_name = "PHOTO", num_args = 1..)]
    pub(crate) except: Vec<PathBuf>,
    /// Look through the whole film first and write a track file, then render from it: what a face shows late
    /// counts from its beginning, and the track file can be edited.
    #[arg(long, conflicts_with = "from_tracks")]
    pub(crate) two_pass: bool,
    /// Where the track file of --two-pass goes; beside the output when left out.
    #[arg(long, value_name = "FILE.tracks.jsonl", requires = "two_pass")]
    pub(crate) tracks: Option<PathBuf>,
    /// Render from a track file of this film, without looking for faces again.
    #[arg(long, value_name = "FILE.tracks.jsonl")]
    pub(crate) from_tracks: Option<PathBuf>,
    /// Zones and times in which faces are kept or covered by hand.
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) cut_list: Option<PathBuf>,
    /// What becomes of a frame whose faces could not be handled as asked.
    #[arg(long, value_parser = words(OnFailure::ALL, OnFailure::word), default_value_t = OnFailure::default())]
    pub(crate) on_failure: OnFailure,
    /// Frames held back, so that a face is covered before it is first found.
    #[arg(long, value_name = "FRAMES", default_value_t = LOOKAHEAD_FRAMES)]
    pub(crate) lookahead: u32,
    /// Secret of this run; random when left out, and then nobody can repeat it. Command lines can be
    /// read by others on the machine: the environment is the better place.
    #[arg(long, value_name = "NUMBER", env = "NULLFACE_SEED", hide_env_values = true)]
    pub(crate) seed: Option<u64>,
    /// Folder of the models; searched for when left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) models_dir: Option<PathBuf>,
    /// Folder of the model pack for the modes that replace faces; searched for when left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) model_pack: Option<PathBuf>,
    /// Keep titles, dates, places and devices of the input's metadata. Pictures are left out even so.
    #[arg(long)]
    pub(crate) keep_metadata: bool,
    /// Which encoder makes the new picture; auto follows film and container.
    #[arg(long, value_enum, default_value_t = EncoderChoice::Auto)]
    pub(crate) encoder: EncoderChoice,
    /// Constant quality of the new picture (CRF and its like, 0 is best); the encoder's own when left out.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(0..=63))]
    pub(crate) quality: Option<u32>,
    /// Largest size of the new picture as a multiple of the source's; 0 sets no bound.
    #[arg(long, value_name = "FACTOR", value_parser = range::<0, 100>, default_value_t = 1.5)]
    pub(crate) size_limit: f32,
    /// What becomes of an interlaced film.
    #[arg(long, value_enum, default_value_t = Interlaced::Deinterlace)]
    pub(crate) interlaced: Interlaced,
    /// What becomes of a film's transparency.
    #[arg(long, value_enum, default_value_t = Alpha::Keep)]
    pub(crate) alpha: Alpha,
    /// What becomes of subtitles. They may name people.
    #[arg(long, value_enum, default_value_t = Subtitles::Keep)]
    pub(crate) subtitles: Subtitles,
    /// Replace an output that exists.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Say nothing but errors.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Share of regions that may be covered otherwise than asked before the exit code is 3.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.05)]
    pub(crate) max_fallback_share: f64,
}

/// Whom the command line chooses by the numbers of a track file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chosen {
    /// Nobody: the file alone says.
    Nobody,
    /// Everybody else is kept.
    Only(Vec<u64>),
    /// These are kept.
    Except(Vec<u64>),
}

/// What a track's number is told by.
const TRACK: &str = "track:";

fn names_track(word: &Path) -> bool {
    word.to_str().is_some_and(|w| w.starts_with(TRACK))
}

/// What becomes of an interlaced film.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Interlaced {
    /// Each frame is made whole: no frame more or less.
    Deinterlace,
    /// It is an error.
    Refuse,
}

/// What becomes of transparency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Alpha {
    /// Kept, or an error where the container has none.
    Keep,
    /// The picture as it is stored, opaque.
    Drop,
}

/// What becomes of subtitles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Subtitles {
    /// Kept with their times and languages.
    Keep,
    /// Left out.
    Drop,
}

impl Args {
    /// How the new picture is made.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            encoder: self.encoder,
            quality: self.quality,
            size_limit: self.size_limit,
            drop_alpha: self.alpha == Alpha::Drop,
            repeatable: self.seed.is_some(),
        }
    }

    /// Whether frames may be missing from the output.
    pub(crate) fn may_drop(&self) -> bool {
        self.on_failure == OnFailure::Drop
    }

    /// Photos of `--only` and `--except`.
    fn photos(&self) -> impl Iterator<Item = &PathBuf> {
        self.only.iter().chain(&self.except).filter(|p| !names_track(p))
    }

    /// The element's word for who is anonymised, where it is not everybody.
    fn who(&self) -> Option<String> {
        let (word, photos) = if self.only.is_empty() {
            ("except", &self.except)
        } else {
            ("only", &self.only)
        };
        let photos = photos.iter().filter(|p| !names_track(p));
        let list: Vec<String> = photos.map(|p| p.to_string_lossy().into_owned()).collect();
        (!list.is_empty()).then(|| format!("{word}:{}", list.join(",")))
    }

    /// Single tracks that are chosen.
    ///
    /// # Errors
    /// Photos beside a track file, track numbers without one, what is no number.
    pub(super) fn chosen(&self) -> anyhow::Result<Chosen> {
        let mut ids = Vec::new();
        for word in self.only.iter().chain(&self.except) {
            let number = word.to_str().and_then(|w| w.strip_prefix(TRACK));
            match (number, &self.from_tracks) {
                (None, None) => {}
                (Some(number), Some(_)) => ids.push(number.parse().map_err(|_| {
                    let remedy = "give track:NUMBER, see `nullface tracks show` for the numbers";
                    refuse(word, "it is no number of a track", remedy)
                })?),
                (Some(_), None) => {
                    let remedy = "make one with --two-pass and give it as --from-tracks";
                    return Err(refuse(word, "tracks have numbers only in a track file", remedy));
                }
                (None, Some(_)) => {
                    let remedy = "give the photo with --two-pass, or track:NUMBER with --from-tracks";
                    return Err(refuse(word, "a track file says nothing about photos", remedy));
                }
            }
        }
        Ok(match (ids.is_empty(), self.only.is_empty()) {
            (true, _) => Chosen::Nobody,
            (false, true) => Chosen::Except(ids),
            (false, false) => Chosen::Only(ids),
        })
    }

    /// What a first pass is opened with.
    pub(super) fn engine(&self) -> anyhow::Result<(EngineConfig, Settings)> {
        let config = EngineConfig {
            models_dir: self.models_dir.clone(),
            detector: self.detector,
            device: self.device,
            lookahead: self.lookahead as usize,
            ..EngineConfig::default()
        };
        let settings = Settings {
            threshold: self.threshold,
            min_face_px: self.min_face,
            detect_interval: self.detect_interval,
            hold: Duration::from_millis(self.hold_time.into()),
            who: self.who().as_deref().map_or(Ok(Who::All), str::parse)?,
            ..Settings::default()
        };
        Ok((config, settings))
    }

    /// The element's properties where the film is rendered from a track file, or at once.
    pub(super) fn rendering(&self, tracks: Option<&Path>) -> Vec<(&'static str, String)> {
        let mut list = self.properties();
        if let Some(tracks) = tracks {
            // The file knows who and what was before: nothing has to be held back.
            list.retain(|(name, _)| !["who", "lookahead"].contains(name));
            list.push(("lookahead", "0".to_owned()));
            list.push(("tracks", tracks.to_string_lossy().into_owned()));
        }
        list
    }

    /// Checks what would otherwise be found out while the film runs.
    ///
    /// # Errors
    /// One sentence that names file, cause and remedy.
    pub(crate) fn check(&self, length: Option<gst::ClockTime>) -> anyhow::Result<()> {
        self.chosen()?;
        for photo in self.photos() {
            if photo.to_string_lossy().contains(',') {
                return Err(refuse(
                    photo,
                    "its name holds a comma",
                    "rename it, or give the folder that it is in",
                ));
            }
            if !photo.exists() {
                return Err(refuse(photo, "there is no such photo", "check the path"));
            }
        }
        let Some(path) = &self.cut_list else { return Ok(()) };
        let remedy = "correct the cut list, or leave --cut-list out";
        let cuts = CutList::read(path).map_err(|e| refuse(path, e.to_string(), remedy))?;
        match length {
            Some(length) if cuts.end_s() > length.seconds_f64() + BEYOND_END_S => Err(refuse(
                path,
                format!(
                    "it reaches to {} s, and the film ends at {:.1} s",
                    cuts.end_s(),
                    length.seconds_f64()
                ),
                remedy,
            )),
            _ => Ok(()),
        }
    }

    /// What the result depends on beside the film, hashed: options, photos, cut list, version. That a
    /// seed was given is in it, the seed is not.
    pub(crate) fn fingerprint(&self) -> anyhow::Result<String> {
        let mut words = vec![
            env!("CARGO_PKG_VERSION").to_owned(),
            format!("{:?} {:?} {:?}", self.wanted(), self.interlaced, self.subtitles),
            format!("{} {:?} {}", self.keep_metadata, self.label, self.no_marking),
            self.seed.is_some().to_string(),
            format!("{} {:?}", self.two_pass, self.chosen()?),
        ];
        words.extend(
            self.properties()
                .into_iter()
                .filter(|(name, _)| *name != "seed")
                .map(|(n, v)| format!("{n}={v}")),
        );
        let mut files: Vec<PathBuf> = self.cut_list.clone().into_iter().collect();
        files.extend(self.from_tracks.clone());
        for path in self.photos() {
            match std::fs::read_dir(path) {
                Ok(entries) => files.extend(entries.flatten().map(|e| e.path())),
                Err(_) => files.push(path.clone()),
            }
        }
        files.sort();
        for path in files.iter().filter(|p| p.is_file()) {
            words.push(sha256(path)?);
        }
        Ok(hex(&Sha256::digest(words.join("\n"))))
    }

    /// The element's properties, as words. The seed is among them and must not be printed.
    pub(crate) fn properties(&self) -> Vec<(&'static str, String)> {
        let mut list = vec![
            ("mode", self.mode.to_string()),
            ("device", self.device.to_string()),
            ("detector", self.detector.to_string()),
            ("threshold", self.threshold.to_string()),
            ("min-face", self.min_face.to_string()),
            ("detect-interval", self.detect_interval.to_string()),
            ("mask-scale", self.mask_scale.to_string()),
            ("feather", self.feather.to_string()),
            ("hold-time", (u64::from(self.hold_time) * NS_PER_MS).to_string()),
            ("strength", self.strength.to_string()),
            ("solver", self.solver.to_string()),
            ("preset", self.preset.to_string()),
            ("cache", (!self.no_cache).to_string()),
            ("max-fps-per-face", self.max_fps_per_face.to_string()),
            ("precision", self.precision.to_string()),
            ("identity", self.identity.to_string()),
            ("on-failure", self.on_failure.to_string()),
            ("lookahead", self.lookahead.to_string()),
        ];
        list.extend(self.verify_threshold.map(|t| ("verify-threshold", t.to_string())));
        list.extend(self.guidance.map(|w| ("guidance", w.to_string())));
        list.extend(self.skip.map(|s| ("skip", s.to_string())));
        list.extend(self.steps.map(|n| ("steps", n.to_string())));
        if self.residual_guidance {
            list.push(("residual-guidance", "yes".to_owned()));
        }
        list.extend(self.rescale.map(|r| ("rescale", r.to_string())));
        list.extend(self.mask_delay.map(|d| ("mask-delay", d.to_string())));
        list.extend(self.attributes.clone().map(|a| ("attributes", a)));
        if !self.keep_regions.is_empty() {
            let words: Vec<&str> = self.keep_regions.iter().map(|r| r.word()).collect();
            list.push(("keep-regions", words.join(",")));
        }
        list.extend(self.who().map(|who| ("who", who)));
        list.extend(self.cut_list.as_ref().map(|c| ("cut-list", c.to_string_lossy().into_owned())));
        list.extend(self.models_dir.as_ref().map(|d| ("models-dir", d.to_string_lossy().into_owned())));
        list.extend(self.model_pack.as_ref().map(|d| ("model-pack", d.to_string_lossy().into_owned())));
        list.extend(self.seed.map(|s| ("seed", s.to_string())));
        list
    }
}

fn hold_ms() -> u32 {
    u32::try_from(Settings::default().hold.as_millis()).unwrap_or(u32::MAX)
}

/// A parser for an enum of the library that lists its words in `--help`.
pub(crate) fn words<T>(all: &'static [T], word: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + FromStr + 'static,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|v| word(*v))).try_map(|s| s.parse::<T>())
}

/// A number between two whole ones.
fn range<const LOW: i16, const HIGH: i16>(text: &str) -> Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (f32::from(LOW)..=f32::from(HIGH)).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} is not between {LOW} and {HIGH}"))
    }
}

fn share(text: &str) -> Result<f64, String> {
    range::<0, 1>(text).map(f64::from)
}
