//! GStreamer's errors as sentences: which file is meant follows from the element that speaks, cause
//! and remedy from the error's domain and code.

use std::path::Path;

use gst::prelude::*;

use crate::exit::refuse;
use crate::target::{ROOM, WRITABLE};

/// Makes the sentence for an error that ended the pipeline.
pub(super) fn sentence(error: &gst::message::Error, input: &Path, output: &Path) -> anyhow::Error {
    let source = error.src().map(|s| s.path_string().to_string()).unwrap_or_default();
    let problem = error.error();
    let detail = error.debug().map(|d| d.to_string()).unwrap_or_default();
    if source.ends_with(":sink") {
        return on_output(&problem, &detail, output);
    }
    if source.contains(":faces") && says_full(problem.message()) {
        // The trail of what was done grows beside the film.
        return refuse(
            output,
            format!("the disk is full or a file would be larger than allowed: {}", problem.message()),
            ROOM,
        );
    }
    if source.contains(":faces") {
        return refuse(
            input,
            format!("its faces could not be handled: {}", problem.message()),
            "run `nullface doctor`",
        );
    }
    if source.contains(":encoder") || source.contains(":mux") {
        return refuse(
            output,
            format!("it cannot be encoded: {}", problem.message()),
            "try another container by the output's name, or run `nullface doctor`",
        );
    }
    if problem.matches(gst::CoreError::MissingPlugin) || problem.matches(gst::StreamError::CodecNotFound) {
        return refuse(
            input,
            format!("GStreamer has no decoder for it: {}", problem.message()),
            "install gstreamer1.0-libav and gstreamer1.0-plugins-{good,bad,ugly}, or check with `nullface doctor`",
        );
    }
    refuse(
        input,
        format!("it cannot be decoded: {}", problem.message()),
        "repair it (`ffmpeg -i IN -c copy OUT`) or get another copy",
    )
}

fn on_output(problem: &gst::glib::Error, detail: &str, output: &Path) -> anyhow::Error {
    if problem.matches(gst::ResourceError::NoSpaceLeft) || says_full(detail) {
        return refuse(output, "the disk is full or the file would be larger than allowed", ROOM);
    }
    refuse(output, format!("it cannot be written: {}", problem.message()), WRITABLE)
}

fn says_full(text: &str) -> bool {
    ["No space left", "File too large", "quota exceeded"]
        .iter()
        .any(|w| text.contains(w))
}

#[cfg(test)]
mod tests {
    use super::sentence;
    use std::path::Path;

    fn said(code: impl gst::MessageErrorDomain, text: &str, detail: &str, element: &str) -> String {
        gst::init().expect("GStreamer starts");
        let pipeline = gst::Pipeline::with_name("film");
        let source = gst::ElementFactory::make("identity").name(element).build().expect("identity");
        gst::prelude::GstBinExtManual::add_many(&pipeline, [&source]).expect("adds");
        let message = gst::message::Error::builder(code, text).src(&source).debug(detail).build();
        let gst::MessageView::Error(error) = message.view() else {
            panic!("an error message")
        };
        sentence(error, Path::new("in.mp4"), Path::new("out.mp4")).to_string()
    }

    #[test]
    fn a_full_disk_names_the_output_and_asks_for_room() {
        let expected = "out.mp4: the disk is full or the file would be larger than allowed; make room on that disk or choose another one";
        assert_eq!(said(gst::ResourceError::NoSpaceLeft, "No space", "", "sink"), expected);
        assert_eq!(
            said(
                gst::ResourceError::Write,
                "Error while writing",
                "system error: File too large",
                "sink"
            ),
            expected
        );
    }

    #[test]
    fn a_failure_of_the_face_filter_is_told_apart_from_a_broken_film() {
        let faces = said(gst::LibraryError::Init, "no model", "", "faces");
        assert!(faces.contains("faces could not be handled: no model"), "{faces}");
        let film = said(gst::StreamError::Decode, "bad data.", "", "source");
        assert!(film.starts_with("in.mp4: it cannot be decoded: bad data; repair it"), "{film}");
    }
}
