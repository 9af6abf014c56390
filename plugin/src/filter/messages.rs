//! What the element tells the application: the message `nullface` when something changed,
//! `nullface-rung`, `nullface-device`, and the property `stats`. Nothing of the picture but boxes.
//!
//! Message `nullface` (element message, on change only):
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `timestamp` | guint64 | presentation time of the frame, ns |
//! | `detected` | gboolean | whether the detector looked at this frame |
//! | `withheld` | gchararray | why the whole frame was covered; absent where it was not |
//! | `fault` | gchararray | what went wrong, in words; absent where nothing did |
//! | `faces` | GstValueArray | of structures `face`: `track`, `x`, `y`, `width`, `height`, `outcome`, `reason`, `rung`, `cos`, `choice`, `likeness` |

use gst::glib::value::ToSendValue;
use nullface::backend::{DeviceEvent, ResolvedDevice};
use nullface::frame::FrameTime;
use nullface::pipeline::{Choice, CoverReason, FaceReport, KeepReason, Outcome, Rung, Stats};

use super::fail_closed::Settled;

/// What a message is posted about: tracks with their outcomes, and whether the frame was withheld.
pub(super) type Key = (Vec<(u64, [&'static str; 3], Option<Choice>)>, Option<CoverReason>, Option<String>);

/// Counters of the element itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    /// Frames taken in.
    pub(super) taken: u64,
    /// Frames let out.
    pub(super) released: u64,
    /// Frames covered whole, by the engine or the element.
    pub(super) withheld: u64,
    /// Frames dropped by policy.
    pub(super) dropped: u64,
    /// The best rung allowed, where it is not all.
    pub(super) rung: Option<Rung>,
    /// How often that changed.
    pub(super) rung_changes: u64,
}

/// The word for the best rung allowed.
pub(super) fn allowed_word(rung: Option<Rung>) -> &'static str {
    rung.map_or("full", rung_word)
}

/// The message about another best rung.
pub(super) fn rung_structure(rung: Option<Rung>, at: FrameTime) -> gst::Structure {
    gst::Structure::builder("nullface-rung")
        .field("timestamp", at.pts.0)
        .field("rung", allowed_word(rung))
        .build()
}

/// The message about where networks run.
pub(super) fn device_structure(device: &ResolvedDevice) -> gst::Structure {
    gst::Structure::builder("nullface-device")
        .field("device", device.device.to_string())
        .field("reason", device.reason.as_str())
        .build()
}

/// The message about something that happened to the device.
pub(super) fn device_event_structure(event: &DeviceEvent) -> gst::Structure {
    gst::Structure::builder("nullface-device")
        .field("event", event.word())
        .field("what", event.what())
        .field("reason", event.to_string())
        .build()
}

const fn reason_word(reason: CoverReason) -> &'static str {
    match reason {
        CoverReason::Asked => "asked",
        CoverReason::TooNear => "too-near",
        CoverReason::Held => "held",
        CoverReason::Lookahead => "lookahead",
        CoverReason::StageFailed => "stage-failed",
        CoverReason::Deadline => "deadline",
        CoverReason::DetectorFailed => "detector-failed",
        CoverReason::NotAnalysed => "not-analysed",
        CoverReason::NotReplaceable => "not-replaceable",
        CoverReason::Policy => "policy",
    }
}

pub(super) const fn rung_word(rung: Rung) -> &'static str {
    match rung {
        Rung::Diffusion => "diffusion",
        Rung::Cached => "cached",
        Rung::Prior => "prior",
        Rung::Blur => "blur",
        Rung::Pixelate => "pixelate",
        Rung::Solid => "solid",
        Rung::Frame => "frame",
    }
}

const fn keep_word(why: KeepReason) -> &'static str {
    match why {
        KeepReason::Recognised => "recognised",
        KeepReason::SomebodyElse => "somebody-else",
        KeepReason::CutList => "cut-list",
        KeepReason::TrackFile => "track-file",
        KeepReason::Hand => "hand",
    }
}

const fn choice_word(choice: Choice) -> &'static str {
    match choice {
        Choice::Undecided => "undecided",
        Choice::Photo => "photo",
        Choice::CutList => "cut-list",
        Choice::TrackFile => "track-file",
        Choice::Hand => "hand",
    }
}

/// Outcome, reason, rung.
pub(super) const fn outcome_words(outcome: Outcome) -> (&'static str, &'static str, &'static str) {
    match outcome {
        Outcome::Replaced { rung, .. } => ("replaced", "", rung_word(rung)),
        Outcome::Covered { reason, rung } => ("covered", reason_word(reason), rung_word(rung)),
        Outcome::Kept { why, .. } => ("kept", keep_word(why), ""),
        Outcome::FrameWithheld { reason } => ("frame-withheld", reason_word(reason), "frame"),
    }
}

/// What would have to differ for another message.
pub(super) fn key(settled: &Settled) -> Key {
    let faces = settled.report.iter().flat_map(|report| &report.faces);
    let faces = faces
        .map(|face| {
            let (outcome, reason, rung) = outcome_words(face.outcome);
            (face.track, [outcome, reason, rung], face.choice)
        })
        .collect();
    (faces, settled.withheld, settled.fault.clone())
}

fn face_structure(face: &FaceReport) -> gst::Structure {
    let (outcome, reason, rung) = outcome_words(face.outcome);
    let b = face.box_px;
    gst::Structure::builder("face")
        .field("track", face.track)
        .field("x", b.x0)
        .field("y", b.y0)
        .field("width", b.width())
        .field("height", b.height())
        .field("outcome", outcome)
        .field_if("reason", reason, !reason.is_empty())
        .field_if("rung", rung, !rung.is_empty())
        .field_if_some("cos", face.cos)
        .field_if_some("choice", face.choice.map(choice_word))
        .field_if_some("likeness", likeness(face.outcome))
        .build()
}

/// How near a kept face is to a photo.
fn likeness(outcome: Outcome) -> Option<f32> {
    match outcome {
        Outcome::Kept { why, cos } => (!matches!(why, KeepReason::CutList | KeepReason::TrackFile)).then_some(cos),
        Outcome::Replaced { .. } | Outcome::Covered { .. } | Outcome::FrameWithheld { .. } => None,
    }
}

/// The message's structure.
pub(super) fn structure(settled: &Settled, at: FrameTime) -> gst::Structure {
    let faces = settled
        .report
        .iter()
        .flat_map(|report| &report.faces)
        .map(|face| face_structure(face).to_send_value());
    gst::Structure::builder("nullface")
        .field("timestamp", at.pts.0)
        .field("detected", settled.report.as_ref().is_some_and(|report| report.detected))
        .field_if_some("withheld", settled.withheld.map(reason_word))
        .field_if_some("fault", settled.fault.as_deref())
        .field("faces", gst::Array::from_values(faces))
        .build()
}

/// The property `stats`.
pub(super) fn stats_structure(engine: &Stats, element: &Counters) -> gst::Structure {
    gst::Structure::builder("nullface-stats")
        .field("frames-in", element.taken)
        .field("frames-out", element.released)
        .field("frames-withheld", element.withheld)
        .field("frames-dropped", element.dropped)
        .field("rung", allowed_word(element.rung))
        .field("rung-changes", element.rung_changes)
        .field("frames-rendered", engine.frames)
        .field("frames-detected", engine.detected)
        .field("faces", engine.faces)
        .field("tracks", engine.tracks)
        .field("replaced", engine.replaced)
        .field("diffused", engine.diffused)
        .field("cached", engine.cached)
        .field("prior", engine.prior)
        .field("blurred", engine.blurred)
        .field("pixelated", engine.pixelated)
        .field("solid", engine.solid)
        .field("kept", engine.kept)
        .field("fallbacks", engine.fallbacks)
        .field_if_some("worst-cos", engine.worst_cos)
        .field("latency-p50-ms", engine.latency_p50_ms)
        .field("latency-p95-ms", engine.latency_p95_ms)
        .build()
}
