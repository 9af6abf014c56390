//! Says of an output that its faces were altered: in the container's metadata for machines, and in the picture
//! for people where asked. Metadata is lost when a site encodes the film anew; the label is not.
//!
//! | where | what | default |
//! |---|---|---|
//! | comment (MPEG-4 `©cmt`, Matroska `COMMENT`) | that faces were altered, by what, in which mode; the IPTC digital source type as URI | on |
//! | picture, lower left | the words of `--label` | off |
//!
//! A C2PA manifest is not written: the crate for it brings a signing authority's certificates, an HTTP client and
//! three hundred crates, for a claim that nobody can check without a certificate that users do not have.

use anyhow::{Context, Result};
use gst::prelude::*;
use nullface::pipeline::Mode;

use super::links::make;
use crate::container::Container;

/// IPTC's word for pictures of a camera into which a trained model has painted.
const PAINTED: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia";
/// IPTC's word for pictures of a camera that people changed without a model.
const COVERED: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/humanEdits";

/// The sentence.
pub(super) fn sentence(mode: Mode) -> String {
    let (what, kind) = if mode.replaces() {
        ("Faces in this film were replaced by synthetic ones", PAINTED)
    } else {
        ("Faces in this film were covered", COVERED)
    };
    format!(
        "{what} by nullface {} (mode {mode}). digitalSourceType: {kind}",
        env!("CARGO_PKG_VERSION")
    )
}

/// The same in one word: GStreamer's Matroska muxer puts a backslash before every space of a tag.
fn word(mode: Mode) -> String {
    let (what, kind) = if mode.replaces() {
        ("replaced", PAINTED)
    } else {
        ("covered", COVERED)
    };
    format!("nullface-{}:faces-{what}:mode-{mode}:{kind}", env!("CARGO_PKG_VERSION"))
}

/// Writes it into the container.
pub(super) fn mark(mux: &gst::Element, mode: Mode, container: Container) {
    let text = if container.has_track_timescale() {
        sentence(mode)
    } else {
        word(mode)
    };
    if let Some(setter) = mux.dynamic_cast_ref::<gst::TagSetter>() {
        setter.add_tag::<gst::tags::Comment>(&text.as_str(), gst::TagMergeMode::ReplaceAll);
    }
}

/// Puts words into the picture, after the faces were treated.
///
/// # Errors
/// The element is missing.
pub(super) fn label(picture: &mut Vec<gst::Element>, faces: &gst::Element, words: &str) -> Result<()> {
    let overlay = make("textoverlay", "label")?;
    overlay.set_property("text", words);
    for (property, value) in [
        ("valignment", "bottom"),
        ("halignment", "left"),
        ("shaded-background", "true"),
        ("font-desc", "Sans 12"),
    ] {
        overlay.set_property_from_str(property, value);
    }
    let at = picture
        .iter()
        .position(|e| e == faces)
        .context("the picture passes through the filter")?;
    picture.insert(at + 1, overlay);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{sentence, word};
    use nullface::pipeline::Mode;

    #[test]
    fn painted_and_covered_faces_are_called_by_different_names() {
        assert!(sentence(Mode::Nullface).contains("compositeWithTrainedAlgorithmicMedia"));
        let covered = sentence(Mode::Blur);
        assert!(!word(Mode::Reverse).contains(' ') && word(Mode::Reverse).contains("faces-replaced:mode-reverse"));
        assert!(covered.contains("humanEdits") && covered.contains("mode blur"), "{covered}");
    }
}
