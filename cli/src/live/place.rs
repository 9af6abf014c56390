//! Where pictures come from and go to, as people write it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// GStreamer's test picture and a soft tone.
    Test {
        /// Pattern of `videotestsrc`.
        pattern: String,
    },
    /// A Video4Linux device.
    Camera(PathBuf),
    /// An X11 display; the environment's where `None`.
    Screen(Option<String>),
    /// An address that GStreamer opens.
    Network(String),
    /// A film, played at its own pace.
    File(PathBuf),
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sink {
    /// On the screen.
    Window,
    /// Nowhere: for the monitor alone and for measuring.
    Nowhere,
    /// A Video4Linux device that takes pictures (v4l2loopback).
    Camera(PathBuf),
    /// Pushed to an RTMP server.
    Rtmp(String),
    /// Sent by SRT.
    Srt(String),
    /// Served by RTSP from here.
    RtspServer {
        /// Address to listen at.
        host: String,
        /// Port; 0 takes a free one.
        port: u16,
        /// Path, with its slash.
        path: String,
    },
    /// Recorded.
    File(PathBuf, Recording),
}

/// Container of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recording {
    /// Matroska: readable up to the last byte written, whatever ends the recording.
    Mkv,
    /// MP4 in fragments of a second.
    Mp4,
    /// WebM (VP8).
    Webm,
    /// MPEG transport stream.
    Ts,
}

const SOURCES: &str = "test, test:PATTERN, v4l2:/dev/videoN, screen, screen:DISPLAY, rtsp://…, rtmp://…, srt://…, file:PATH";
const SINKS: &str = "window, none, v4l2:/dev/videoN, rtmp://…, srt://…, rtsp://ADDRESS:PORT/PATH, file:PATH";

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(scheme) = scheme(text) {
            return match scheme {
                "rtsp" | "rtsps" | "rtspt" | "rtmp" | "rtmps" | "srt" => Ok(Self::Network(text.to_owned())),
                "file" => Ok(Self::File(PathBuf::from(text.trim_start_matches("file://")))),
                other => Err(format!("{other}:// is no source; known are {SOURCES}")),
            };
        }
        match text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest))) {
            ("test", pattern) => Ok(Self::Test {
                pattern: pattern.unwrap_or("smpte").to_owned(),
            }),
            ("screen", display) => Ok(Self::Screen(display.map(str::to_owned))),
            ("v4l2", Some(device)) if !device.is_empty() => Ok(Self::Camera(PathBuf::from(device))),
            ("file", Some(path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            _ if text.starts_with("/dev/video") => Ok(Self::Camera(PathBuf::from(text))),
            _ => Err(format!("`{text}` is no source; known are {SOURCES}")),
        }
    }
}

impl FromStr for Sink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(scheme) = scheme(text) {
            return match scheme {
                "rtmp" | "rtmps" => Ok(Self::Rtmp(text.to_owned())),
                "srt" => Ok(Self::Srt(text.to_owned())),
                "rtsp" => server(text),
                "file" => recording(text.trim_start_matches("file://")),
                other => Err(format!("{other}:// is no sink; known are {SINKS}")),
            };
        }
        match text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest))) {
            ("window", None) => Ok(Self::Window),
            ("none", None) => Ok(Self::Nowhere),
            ("v4l2", Some(device)) if !device.is_empty() => Ok(Self::Camera(PathBuf::from(device))),
            ("file", Some(path)) if !path.is_empty() => recording(path),
            _ if text.starts_with("/dev/video") => Ok(Self::Camera(PathBuf::from(text))),
            _ => Err(format!("`{text}` is no sink; known are {SINKS}")),
        }
    }
}

fn scheme(text: &str) -> Option<&str> {
    text.split_once("://").map(|(scheme, _)| scheme)
}

fn server(text: &str) -> Result<Sink, String> {
    let wrong = || format!("`{text}` is not rtsp://ADDRESS:PORT/PATH");
    let rest = text.strip_prefix("rtsp://").ok_or_else(wrong)?;
    let (authority, path) = rest.split_once('/').ok_or_else(wrong)?;
    let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    if host.is_empty() || path.is_empty() {
        return Err(wrong());
    }
    Ok(Sink::RtspServer {
        host: host.to_owned(),
        port,
        path: format!("/{path}"),
    })
}

fn recording(path: &str) -> Result<Sink, String> {
    let kind = match Path::new(path).extension().and_then(|e| e.to_str()) {
        Some("mkv") => Recording::Mkv,
        Some("mp4") => Recording::Mp4,
        Some("webm") => Recording::Webm,
        Some("ts") => Recording::Ts,
        _ => return Err(format!("`{path}`: a recording ends in .mkv, .mp4, .webm or .ts")),
    };
    Ok(Sink::File(PathBuf::from(path), kind))
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Test { pattern } => write!(f, "test:{pattern}"),
            Self::Camera(device) => write!(f, "{}", device.display()),
            Self::Screen(None) => f.write_str("screen"),
            Self::Screen(Some(display)) => write!(f, "screen:{display}"),
            Self::Network(address) => f.write_str(&without_secrets(address)),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl std::fmt::Display for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Window => f.write_str("window"),
            Self::Nowhere => f.write_str("none"),
            Self::Camera(device) => write!(f, "{}", device.display()),
            Self::Rtmp(address) | Self::Srt(address) => f.write_str(&without_secrets(address)),
            Self::RtspServer { host, port, path } => write!(f, "rtsp://{host}:{port}{path}"),
            Self::File(path, _) => write!(f, "{}", path.display()),
        }
    }
}

/// An address without password and without what often is a key: the query and, for RTMP, the last
/// part of the path.
pub(crate) fn without_secrets(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let rest = rest.split(['?', ' ']).next().unwrap_or(rest);
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(a, p)| (a, Some(p)));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = match path {
        Some(path) if scheme.starts_with("rtmp") => match path.rsplit_once('/') {
            Some((app, _key)) => format!("/{app}/…"),
            None => format!("/{path}"),
        },
        Some(path) => format!("/{path}"),
        None => String::new(),
    };
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::{Recording, Sink, Source, without_secrets};
    use std::path::PathBuf;

    #[test]
    fn places_are_read_as_people_write_them() {
        assert_eq!("test".parse(), Ok(Source::Test { pattern: "smpte".into() }));
        assert_eq!("test:ball".parse(), Ok(Source::Test { pattern: "ball".into() }));
        assert_eq!("/dev/video2".parse(), Ok(Source::Camera("/dev/video2".into())));
        assert_eq!("screen::1".parse(), Ok(Source::Screen(Some(":1".into()))));
        assert_eq!("rtsp://h/x".parse(), Ok(Source::Network("rtsp://h/x".into())));
        assert_eq!("file:a b.mp4".parse(), Ok(Source::File(PathBuf::from("a b.mp4"))));
        assert_eq!("file:x.mkv".parse(), Ok(Sink::File("x.mkv".into(), Recording::Mkv)));
        let server = Sink::RtspServer {
            host: "127.0.0.1".into(),
            port: 8554,
            path: "/live".into(),
        };
        assert_eq!("rtsp://127.0.0.1:8554/live".parse(), Ok(server));
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_known_ones() {
        for wrong in ["", "camera", "ftp://x/y", "v4l2:", "file:"] {
            let error = wrong.parse::<Source>().expect_err(wrong);
            assert!(error.contains("rtsp://"), "{error}");
        }
        for wrong in ["", "rtsp://host/live", "rtsp://:1/", "file:x.avi", "http://x/"] {
            assert!(wrong.parse::<Sink>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_of_an_address_holds_no_password_and_no_key() {
        assert_eq!(
            without_secrets("rtsp://me:pw@cam.local:554/a/b?token=7"),
            "rtsp://cam.local:554/a/b"
        );
        assert_eq!(without_secrets("rtmp://live.example/app/sk_123"), "rtmp://live.example/app/…");
        assert_eq!(without_secrets("srt://h:9000?passphrase=x"), "srt://h:9000");
    }
}
