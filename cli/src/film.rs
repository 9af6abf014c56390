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

use crate::anonymize::mp4::{self, Timecode};
use crate::anonymize::streams::{self, ByNumber};
use crate::exit::refuse;
use crate::probe::{Raw, first_picture};

/// Longest time that looking at a file may take; damaged ones can keep a demuxer searching.
const DISCOVER_LIMIT: gst::ClockTime = gst::ClockTime::from_seconds(30);

/// Where a chapter begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chapter {
    /// Time since the film's begin, ns.
    pub(crate) start_ns: u64,
    /// Its name in the input.
    pub(crate) title: String,
}

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
    /// Anything else than pictures, sound and subtitles: data tracks, cover pictures.
    pub(crate) other_streams: usize,
    /// What decoding gives; `None` where that could not be seen beforehand.
    pub(crate) raw: Option<Raw>,
    /// Rate of the coded pictures, bits per second, where it is stated or follows from the size.
    pub(crate) picture_bits_per_s: Option<u64>,
    /// Chapters, in order.
    pub(crate) chapters: Vec<Chapter>,
    /// Timecode of the first frame, where the container has a track of it.
    pub(crate) timecode: Option<Timecode>,
    /// Which tracks a player takes unasked, by their numbers; empty where the container is not one that is read.
    pub(crate) flags: ByNumber,
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
        let subtitles = info.subtitle_streams().len();
        let duration = info.duration().filter(|d| !d.is_zero());
        let told = mp4::read(path);
        let chapters = if told.chapters.is_empty() {
            in_toc(info.toc())
        } else {
            told.chapters
        };
        Ok(Self {
            path: path.to_owned(),
            duration,
            bytes,
            orientation,
            rate: first.framerate(),
            interlaced: first.is_interlaced(),
            width_px: first.width(),
            height_px: first.height(),
            video_streams: moving.len(),
            other_streams: all.saturating_sub(moving.len() + audio_streams + subtitles),
            raw: first_picture(&absolute),
            picture_bits_per_s: duration.and_then(|d| rate(told.picture_bytes, bytes, d, audio_streams)),
            chapters,
            timecode: told.timecode,
            flags: if told.flags.is_empty() { streams::read(path) } else { told.flags },
        })
    }
}

/// Taken for a sound track where the container does not say how large the picture is, bits per second.
const ASSUMED_SOUND: u64 = 128_000;

/// Rate of the coded picture. Not from the stream's tags: which of those the discoverer sees in time
/// differs from run to run, and two runs shall give the same film.
fn rate(picture: Option<u64>, all: u64, length: gst::ClockTime, sound_tracks: usize) -> Option<u64> {
    let per_s = |bytes: u64| (bytes as f64 * 8.0 / length.seconds_f64()) as u64;
    let all = per_s(all);
    let sound = (ASSUMED_SOUND * sound_tracks as u64).min(all / 2);
    Some(picture.map_or(all - sound, per_s)).filter(|b| *b > 0)
}

/// Chapters that the demuxer tells.
fn in_toc(toc: Option<gst::Toc>) -> Vec<Chapter> {
    let Some(toc) = toc else { return Vec::new() };
    let mut chapters = Vec::new();
    for entry in toc.entries() {
        let inner = entry.sub_entries();
        for chapter in if inner.is_empty() { vec![entry] } else { inner } {
            let Some((start, _)) = chapter.start_stop_times() else { continue };
            chapters.push(Chapter {
                start_ns: u64::try_from(start).unwrap_or(0),
                title: chapter
                    .tags()
                    .and_then(|t| t.get::<gst::tags::Title>().map(|t| t.get().to_owned()))
                    .unwrap_or_default(),
            });
        }
    }
    chapters.sort_by_key(|c| c.start_ns);
    chapters
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
