//! What a film is before it is opened for work: checks that need no decoder, then GStreamer's
//! discoverer for streams, duration and rotation. Everything that cannot be anonymised is refused
//! here, before any output exists.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::Result;
use gst_pbutils::prelude::*;
use gst_pbutils::{Discoverer, DiscovererResult};
use gst_video::VideoOrientationMethod;

use crate::exit::refuse;

/// Longest time that looking at a file may take; damaged ones can keep a demuxer searching.
const DISCOVER_LIMIT: gst::ClockTime = gst::ClockTime::from_seconds(30);

/// A film that can be worked on.
#[derive(Debug, Clone)]
pub(crate) struct Film {
    /// Where.
    pub(crate) path: PathBuf,
    /// Length that the container states, where it states one.
    pub(crate) duration: Option<gst::ClockTime>,
    /// Size on disk, bytes.
    pub(crate) bytes: u64,
    /// How the picture must be turned to stand upright.
    pub(crate) orientation: VideoOrientationMethod,
    /// Frame rate that the container states; 0/1 where it varies or is unknown.
    pub(crate) rate: gst::Fraction,
    /// Whether frames hold two fields of different times.
    pub(crate) interlaced: bool,
    /// Coded width.
    pub(crate) width_px: u32,
    /// Coded height.
    pub(crate) height_px: u32,
    /// Pictures that move.
    pub(crate) video_streams: usize,
    /// Anything else: subtitles, data tracks.
    pub(crate) other_streams: usize,
}

impl Film {
    /// Looks at a file.
    ///
    /// # Errors
    /// One sentence that names the file, what is the matter and the remedy.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let bytes = readable_file(path)?;
        let absolute = fs::canonicalize(path).map_err(|e| refuse(path, format!("cannot be resolved: {e}"), "give the path of a film"))?;
        let uri = gst::glib::filename_to_uri(&absolute, None)
            .map_err(|e| refuse(path, format!("its name cannot be made a URI: {e}"), "rename the file"))?;
        let discoverer = Discoverer::new(DISCOVER_LIMIT)?;
        // In mid-search errors and finished searches alike the info says more than the error.
        let info = discoverer
            .discover_uri(&uri)
            .map_err(|e| refuse(path, format!("no film can be read from it: {}", e.message()), DAMAGED))?;
        match info.result() {
            DiscovererResult::Ok => {}
            DiscovererResult::MissingPlugins => {
                let missing = info.missing_elements_installer_details();
                let names: Vec<&str> = missing.iter().filter_map(|d| d.split('|').nth(3)).collect();
                if info.video_streams().is_empty() || names.is_empty() {
                    return Err(refuse(
                        path,
                        format!(
                            "GStreamer has no {} for it",
                            if names.is_empty() { "decoder".into() } else { names.join(", ") }
                        ),
                        "install gstreamer1.0-libav and gstreamer1.0-plugins-{good,bad,ugly}, or check with `nullface doctor`",
                    ));
                }
            }
            DiscovererResult::Timeout => return Err(refuse(path, "no film was found in it within 30 s", DAMAGED)),
            other => return Err(refuse(path, format!("no film can be read from it ({other:?})"), DAMAGED)),
        }

        let videos = info.video_streams();
        let moving: Vec<_> = videos.iter().filter(|v| !v.is_image()).collect();
        let audio_streams = info.audio_streams().len();
        let Some(first) = moving.first() else {
            return Err(if !videos.is_empty() {
                refuse(path, "it is a still picture", "give a film")
            } else if audio_streams > 0 {
                refuse(path, "it has sound and no picture", "give a film that has a video stream")
            } else {
                refuse(path, "it has no video stream", DAMAGED)
            });
        };
        let orientation = first
            .tags()
            .or_else(|| info.stream_info().and_then(|s| s.tags()))
            .and_then(|tags| VideoOrientationMethod::from_tag(&tags))
            .unwrap_or(VideoOrientationMethod::Identity);
        let all = info
            .stream_list()
            .iter()
            .filter(|s| !s.is::<gst_pbutils::DiscovererContainerInfo>())
            .count();
        Ok(Self {
            path: path.to_owned(),
            duration: info.duration().filter(|d| !d.is_zero()),
            bytes,
            orientation,
            rate: first.framerate(),
            interlaced: first.is_interlaced(),
            width_px: first.width(),
            height_px: first.height(),
            video_streams: moving.len(),
            other_streams: all.saturating_sub(moving.len() + audio_streams),
        })
    }
}

/// Remedy for files that no demuxer understands.
const DAMAGED: &str = "check that it plays, and repair it (`ffmpeg -i IN -c copy OUT`) or get another copy";

/// Size of a regular, readable file with something in it.
fn readable_file(path: &Path) -> Result<u64> {
    let meta = fs::metadata(path).map_err(|e| open_refusal(path, &e))?;
    if meta.is_dir() {
        return Err(refuse(path, "it is a folder", "give the path of one film"));
    }
    if !meta.is_file() {
        return Err(refuse(path, "it is not a regular file", "save the stream to a file first"));
    }
    let mut file = File::open(path).map_err(|e| open_refusal(path, &e))?;
    if meta.len() == 0 {
        return Err(refuse(path, "it is empty", "get another copy of the film"));
    }
    let mut first = [0u8; 1];
    file.read_exact(&mut first).map_err(|e| open_refusal(path, &e))?;
    Ok(meta.len())
}

/// Why a file could not be opened or read, in words.
fn open_refusal(path: &Path, error: &std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => refuse(path, "there is no such file", "check the path"),
        ErrorKind::PermissionDenied => refuse(path, "it may not be read", "give yourself the right to read it (`chmod u+r`)"),
        _ => refuse(path, format!("it cannot be read: {error}"), "check the path and the disk"),
    }
}

#[cfg(test)]
mod tests {
    use super::open_refusal;
    use std::io::{Error, ErrorKind};
    use std::path::Path;

    #[test]
    fn an_unreadable_file_is_named_with_its_remedy() {
        let sentence = open_refusal(Path::new("x.mp4"), &Error::from(ErrorKind::PermissionDenied)).to_string();
        assert_eq!(
            sentence,
            "x.mp4: it may not be read; give yourself the right to read it (`chmod u+r`)"
        );
    }
}
