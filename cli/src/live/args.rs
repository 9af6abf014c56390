//! The command line of `nullface live`. Defaults of the treatment are the library's own.

use std::path::PathBuf;
use std::time::Duration;

use nullface::Settings;
use nullface::pipeline::{DeviceChoice, Mode, OnFailure};

use super::place::{Sink, Source};
use super::voice::Voice;
use crate::anonymize::words;

/// Anonymise a live picture: camera, screen or stream in; window, stream, camera device or file out.
///
/// Runs until the picture ends, Ctrl-C or SIGTERM. A source that dies is opened again, and so is a
/// network output, with growing pauses; what goes out meanwhile is one colour. Only the anonymised
/// picture ever reaches an output, the monitor page included.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!(
    "Sources: test, test:PATTERN, v4l2:/dev/video0, screen, screen::1, rtsp://…, rtmp://…, srt://…, file:PATH (looped)\n",
    "Sinks:   window, none, v4l2:/dev/video9 (v4l2loopback), rtmp://…, srt://…,\n",
    "         rtsp://ADDRESS:PORT/PATH (serves there), file:PATH (.mkv, .mp4, .webm, .ts)\n\n",
    "Exit codes: 0 ended by Ctrl-C, SIGTERM, --frames or the film's end; 1 failed; 2 wrong command line"
))]
pub(crate) struct Args {
    /// Where the picture comes from.
    #[arg(long, value_name = "PLACE")]
    pub(crate) source: Source,
    /// Where the anonymised picture goes; may be given several times.
    #[arg(long, value_name = "PLACE", required = true)]
    pub(crate) sink: Vec<Sink>,
    /// How faces are made unrecognisable.
    #[arg(long, value_parser = words(Mode::ALL, Mode::word), default_value_t = Settings::default().mode)]
    pub(crate) mode: Mode,
    /// Where networks run; one that is asked for by name and cannot be had is an error.
    #[arg(long, value_parser = words(DeviceChoice::ALL, DeviceChoice::word), default_value_t = DeviceChoice::default())]
    pub(crate) device: DeviceChoice,
    /// What becomes of a frame whose faces could not be handled as asked.
    #[arg(long, value_parser = words(OnFailure::ALL, OnFailure::word), default_value_t = OnFailure::default())]
    pub(crate) on_failure: OnFailure,
    /// Frames held back, so that a face is covered before it is first found; each adds a frame's time of delay.
    #[arg(long, value_name = "FRAMES", default_value_t = 0)]
    pub(crate) lookahead: u32,
    /// Longest time one frame may take before it is covered whole, ms.
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) deadline: u32,
    /// Any other property of the element `nullfacefilter`; may be given several times.
    #[arg(long = "set", value_name = "PROPERTY=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
    /// Folder of the models; searched for when left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) models_dir: Option<PathBuf>,
    /// Folder of the model pack for the modes that replace faces; searched for when left out.
    #[arg(long, value_name = "DIR")]
    pub(crate) model_pack: Option<PathBuf>,
    /// Leave the sound out.
    #[arg(long)]
    pub(crate) no_sound: bool,
    /// Shift the voices' pitch. A disguise for listeners, not against analysis.
    #[arg(long, value_name = "PRESET")]
    pub(crate) voice: Option<Voice>,
    /// Rate of encoded pictures, kbit/s; by the picture's size when left out.
    #[arg(long, value_name = "KBIT", value_parser = clap::value_parser!(u32).range(50..=200_000))]
    pub(crate) bitrate: Option<u32>,
    /// Show a page with the anonymised picture on this port of the loopback address; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub(crate) monitor: Option<u16>,
    /// Let the page leave faces as they are: with this, a track has a switch `off`. The person is then shown for as
    /// long as the face is certainly the one that was chosen.
    #[arg(long, requires = "monitor")]
    pub(crate) allow_keep: bool,
    /// Write what happened to every face, in seconds of the session: the audit trail of `nullface audit verify`.
    /// A trail that cannot be written ends the session.
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) audit: Option<PathBuf>,
    /// Play a file once instead of over and over.
    #[arg(long)]
    pub(crate) once: bool,
    /// End after so many anonymised frames.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) frames: Option<u64>,
    /// Give up after so many attempts in a row to open the source or an output; 0 never gives up.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) attempts: u32,
    /// A source that sends nothing for so long is opened again, s; four times as long before its first picture.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(crate) source_timeout: u16,
    /// How often the status is told where it cannot be overwritten, as in a log, s.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) status_every: u32,
    /// Replace recordings and trails that exist.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Say nothing but errors.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl Args {
    /// How long a source may be silent.
    pub(crate) fn source_timeout(&self) -> Duration {
        Duration::from_secs(self.source_timeout.into())
    }

    /// The element's properties, as words, in the order in which they are set.
    pub(crate) fn properties(&self) -> Vec<(String, String)> {
        let mut list = vec![
            ("mode", self.mode.to_string()),
            ("device", self.device.to_string()),
            ("on-failure", self.on_failure.to_string()),
            ("lookahead", self.lookahead.to_string()),
            ("processing-deadline", (u64::from(self.deadline) * 1_000_000).to_string()),
        ];
        list.extend(self.models_dir.as_ref().map(|d| ("models-dir", d.to_string_lossy().into_owned())));
        list.extend(self.audit.as_ref().map(|f| ("audit-location", f.to_string_lossy().into_owned())));
        list.extend(self.model_pack.as_ref().map(|d| ("model-pack", d.to_string_lossy().into_owned())));
        list.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .chain(self.set.iter().cloned())
            .collect()
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not PROPERTY=VALUE")),
    }
}
