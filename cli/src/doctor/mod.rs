//! `nullface doctor`: what the machine has of what is needed, what was chosen, and what to do about
//! each thing that is missing. Looks, and changes nothing.

mod backend;

use std::io::Write;

use anyhow::Result;
use serde_json::json;

use crate::exit::Exit;

/// Show what was found and chosen, with a remedy for each thing missing.
///
/// The exit code is 1 if something is missing without which films cannot be anonymised.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the models; searched for when left out.
    #[arg(long, value_name = "DIR")]
    models_dir: Option<std::path::PathBuf>,
    /// One line of JSON for each finding.
    #[arg(long)]
    json: bool,
}

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// There, and good.
    Good,
    /// Not there, and not needed for most films.
    Absent,
    /// Not there or broken, and needed.
    Missing,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Absent => "absent",
            Self::Missing => "MISSING",
        }
    }
}

/// One thing looked for.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// What.
    pub(crate) what: String,
    /// How it stands.
    pub(crate) state: State,
    /// Path, version, choice or reason; with the remedy where it is not there.
    pub(crate) detail: String,
}

impl Finding {
    pub(crate) fn good(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            state: State::Good,
            detail: detail.into(),
        }
    }
}

/// A GStreamer element that the command or common films use.
struct Needed {
    element: &'static str,
    package: &'static str,
    required: bool,
    purpose: &'static str,
}

const fn required(element: &'static str, package: &'static str, purpose: &'static str) -> Needed {
    Needed {
        element,
        package,
        required: true,
        purpose,
    }
}

const fn useful(element: &'static str, package: &'static str, purpose: &'static str) -> Needed {
    Needed {
        element,
        package,
        required: false,
        purpose,
    }
}

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";

/// In the order in which a film meets them.
const NEEDED: [Needed; 43] = [
    required("filesrc", "libgstreamer1.0-0", "reading files"),
    required("decodebin", BASE, "finding decoders"),
    required("qtdemux", GOOD, "reading mp4 and mov"),
    useful("matroskademux", GOOD, "reading mkv and webm"),
    useful("tsdemux", BAD, "reading mpeg transport streams"),
    useful("avidemux", GOOD, "reading avi"),
    required("h264parse", BAD, "reading H.264"),
    useful("h265parse", BAD, "reading H.265"),
    required("avdec_h264", LIBAV, "decoding H.264"),
    useful("avdec_h265", LIBAV, "decoding H.265"),
    useful("vp9dec", GOOD, "decoding VP9"),
    required("videoconvert", BASE, "changing pixel formats"),
    required("videoflip", GOOD, "turning films upright"),
    required("deinterlace", GOOD, "interlaced films"),
    required("x264enc", UGLY, "encoding H.264"),
    useful("vp9enc", GOOD, "encoding VP9 for webm"),
    required("aacparse", GOOD, "passing sound on"),
    required("audioconvert", BASE, "changing sound formats"),
    required("audioresample", BASE, "changing sound formats"),
    useful("avenc_aac", LIBAV, "encoding sound for mp4"),
    useful("opusenc", BASE, "encoding sound for webm"),
    required("mp4mux", GOOD, "writing mp4"),
    useful("matroskamux", GOOD, "writing mkv and webm"),
    required("filesink", "libgstreamer1.0-0", "writing files"),
    useful("gdppay", BAD, "long films in a batch, made in parts"),
    useful("gdpdepay", BAD, "long films in a batch, made in parts"),
    required("appsrc", BASE, "live work"),
    required("appsink", BASE, "live work"),
    useful("v4l2src", GOOD, "cameras"),
    useful("v4l2sink", GOOD, "virtual cameras"),
    useful("ximagesrc", GOOD, "the screen"),
    useful("autovideosink", GOOD, "windows"),
    useful("ximagesink", "gstreamer1.0-x", "windows"),
    useful("rtspsrc", GOOD, "cameras that speak RTSP"),
    useful("rtmp2sink", BAD, "RTMP servers"),
    useful("rtmp2src", BAD, "RTMP servers"),
    useful("flvmux", GOOD, "RTMP servers"),
    useful("srtsink", BAD, "SRT"),
    useful("srtsrc", BAD, "SRT"),
    useful("mpegtsmux", BAD, "SRT"),
    useful("audiomixer", BASE, "unbroken sound"),
    useful("pitch", BAD, "changing voices"),
    useful("jpegenc", GOOD, "the monitor page"),
];

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    let mut findings = vec![Finding::good("nullface", env!("CARGO_PKG_VERSION"))];
    findings.extend(
        std::env::current_exe()
            .ok()
            .map(|p| Finding::good("program", p.display().to_string())),
    );
    findings.extend(gstreamer());
    findings.extend(backend::findings(args.models_dir.as_deref()));
    let missing = findings.iter().any(|f| f.state == State::Missing);
    print(&findings, args.json)?;
    Ok(if missing { Exit::Failed } else { Exit::Done })
}

/// GStreamer itself, the own element, and the elements of others.
fn gstreamer() -> Vec<Finding> {
    if let Err(e) = gst::init() {
        return vec![Finding {
            what: "GStreamer".to_owned(),
            state: State::Missing,
            detail: format!("cannot be started: {e}; install libgstreamer1.0-0 and gstreamer1.0-plugins-{{base,good,bad,ugly}}"),
        }];
    }
    let mut findings = vec![Finding::good("GStreamer", gst::version_string().to_string())];
    findings.push(match gstnullface::plugin_register_static() {
        Ok(()) => Finding::good("element nullfacefilter", "built in"),
        Err(e) => Finding {
            what: "element nullfacefilter".to_owned(),
            state: State::Missing,
            detail: format!("cannot be registered: {e}; build again"),
        },
    });
    let path = std::env::var("GST_PLUGIN_PATH").unwrap_or_default();
    findings.push(Finding::good(
        "GST_PLUGIN_PATH",
        if path.is_empty() {
            "not set; only gst-launch-1.0 and other programs need it".to_owned()
        } else {
            path
        },
    ));
    findings.extend(
        NEEDED
            .iter()
            .map(|needed| look_for(needed, gst::ElementFactory::find(needed.element).as_ref())),
    );
    findings
}

fn look_for(needed: &Needed, factory: Option<&gst::ElementFactory>) -> Finding {
    use gst::prelude::*;
    let what = format!("element {}", needed.element);
    match factory {
        Some(factory) => {
            let version = factory
                .plugin()
                .map(|p| format!("{} {}", p.plugin_name(), p.version()))
                .unwrap_or_default();
            Finding::good(what, version)
        }
        None => Finding {
            what,
            state: if needed.required { State::Missing } else { State::Absent },
            detail: format!("for {}; install the package {}", needed.purpose, needed.package),
        },
    }
}

fn print(findings: &[Finding], as_json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let width = findings.iter().map(|f| f.what.len()).max().unwrap_or(0);
    for finding in findings {
        if as_json {
            writeln!(
                out,
                "{}",
                json!({"what": finding.what, "state": finding.state.word(), "detail": finding.detail})
            )?;
        } else {
            writeln!(out, "{:7}  {:width$}  {}", finding.state.word(), finding.what, finding.detail)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{State, look_for, required, useful};

    #[test]
    fn a_missing_element_names_its_package() {
        let finding = look_for(&required("x264enc", "gstreamer1.0-plugins-ugly", "encoding"), None);
        assert_eq!(finding.state, State::Missing);
        assert!(
            finding.detail.ends_with("install the package gstreamer1.0-plugins-ugly"),
            "{}",
            finding.detail
        );
    }

    #[test]
    fn what_most_films_do_not_need_is_absent_and_not_missing() {
        assert_eq!(
            look_for(&useful("opusenc", "gstreamer1.0-plugins-base", "sound"), None).state,
            State::Absent
        );
    }
}
