//! Containers that can be written, by the output's name: which muxer, which video encoder, and what
//! becomes of sound that the container does not take.

use std::path::Path;

use anyhow::Result;

use crate::exit::refuse;

/// A container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    /// MPEG-4.
    Mp4,
    /// QuickTime.
    Mov,
    /// Matroska.
    Mkv,
    /// WebM.
    Webm,
}

impl Container {
    /// Reads it off the name's ending.
    ///
    /// # Errors
    /// The ending is none of those known.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let ending = path
            .extension()
            .map(|e| e.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default();
        match ending.as_str() {
            "mp4" | "m4v" => Ok(Self::Mp4),
            "mov" => Ok(Self::Mov),
            "mkv" => Ok(Self::Mkv),
            "webm" => Ok(Self::Webm),
            "" => Err(refuse(path, "its name has no ending that says which container to write", ENDINGS)),
            other => Err(refuse(path, format!("nothing can be written as .{other}"), ENDINGS)),
        }
    }

    /// GStreamer's muxer.
    pub(crate) fn muxer(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4mux",
            Self::Mov => "qtmux",
            Self::Mkv => "matroskamux",
            Self::Webm => "webmmux",
        }
    }

    /// Whether times are written as multiples of a track's own unit (`trak-timescale`).
    pub(crate) fn has_track_timescale(self) -> bool {
        matches!(self, Self::Mp4 | Self::Mov)
    }

    /// Encoder for sound that cannot be passed on as it is.
    pub(crate) fn audio_encoder(self) -> &'static [&'static str] {
        match self {
            Self::Mp4 | Self::Mov => &["avenc_aac", "aacparse"],
            Self::Mkv | Self::Webm => &["opusenc", "opusparse"],
        }
    }
}

/// Remedy for an unknown ending.
const ENDINGS: &str = "end the output's name in .mp4, .mov, .mkv or .webm";

#[cfg(test)]
mod tests {
    use super::Container;
    use std::path::Path;

    #[test]
    fn the_ending_decides_whatever_its_case() {
        assert_eq!(Container::of(Path::new("a.MP4")).expect("known"), Container::Mp4);
        assert_eq!(Container::of(Path::new("b/c.webm")).expect("known"), Container::Webm);
    }

    #[test]
    fn an_unknown_ending_names_the_known_ones() {
        let sentence = Container::of(Path::new("a.avi")).expect_err("unknown").to_string();
        assert_eq!(
            sentence,
            "a.avi: nothing can be written as .avi; end the output's name in .mp4, .mov, .mkv or .webm"
        );
    }
}
