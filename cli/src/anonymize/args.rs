//! The command line of `nullface anonymize`. Defaults are the library's own, so that they stand in
//! one place.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use nullface::Settings;
use nullface::pipeline::{
    DetectorChoice, DeviceChoice, FaceRegion, IdentityChoice, Mode, OnFailure, PrecisionChoice, Preset, SolverChoice,
};

use super::encoders::EncoderChoice;

/// Frames held back by default, so that a face is covered before it is first found.
const LOOKAHEAD_FRAMES: u32 = 11;

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
    /// Threads for the networks and for the encoder; 0 = one a core.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(0..=256), default_value_t = 0)]
    pub(crate) threads: u32,
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
    /// Look through the film while it is made, not once before: it is decoded once, and a face is covered from the
    /// frame on in which it is found, and over the frames of --lookahead.
    #[arg(long, conflicts_with_all = ["two_pass", "tracks", "from_tracks"])]
    pub(crate) one_pass: bool,
    /// Leave the track file of the first of two passes beside the output: it can be edited and rendered again. Two
    /// passes are made without it too.
    #[arg(long, conflicts_with = "from_tracks")]
    pub(crate) two_pass: bool,
    /// Leave the track file of the first of two passes here.
    #[arg(long, value_name = "FILE.tracks.jsonl", conflicts_with = "from_tracks")]
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
