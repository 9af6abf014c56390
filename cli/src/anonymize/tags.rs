//! What of a film's metadata may pass. A film without faces that still carries the cover picture,
//! the place or the camera's owner is not anonymous, so the default lets through nothing but the
//! language of a sound track, and pictures never pass.

use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;

use crate::film::Chapter;

/// Tags that are needed to use the film and say nothing about anybody in it.
const ALWAYS: [&str; 2] = ["language-code", "language-name"];
/// Tags that never pass: pictures, files and raw atoms that may hold pictures, and the turn that has
/// been baked into the frames.
const NEVER: [&str; 6] = [
    "image",
    "preview-image",
    "attachment",
    "private-qt-tag",
    "private-data",
    "image-orientation",
];
/// Tags that describe the input's coding and would be wrong on the output.
const CODING: [&str; 9] = [
    "video-codec",
    "codec",
    "container-format",
    "container-specific-track-id",
    "bitrate",
    "minimum-bitrate",
    "maximum-bitrate",
    "nominal-bitrate",
    "encoder-version",
];

/// Lets pass through `pad` only what may. What may not is `Handled` and not `Drop`ped: the latter makes
/// GStreamer 1.22 release an event that the binding has released already, and complain.
pub(super) fn guard(pad: &gst::Pad, keep_metadata: bool) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let Some(event) = info.event() else {
            return gst::PadProbeReturn::Ok;
        };
        match event.view() {
            gst::EventView::Tag(tag) => match allowed(tag.tag(), keep_metadata) {
                Some(list) => {
                    let seqnum = event.seqnum();
                    info.data = Some(gst::PadProbeData::Event(gst::event::Tag::builder(list).seqnum(seqnum).build()));
                    gst::PadProbeReturn::Ok
                }
                None => gst::PadProbeReturn::Handled,
            },
            // Chapters are given to the muxer beforehand, with the titles that may pass.
            gst::EventView::Toc(_) => gst::PadProbeReturn::Handled,
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

/// Says of a track without a language that it has none: Matroska takes one that says nothing for English.
pub(super) fn name_no_language(pad: &gst::Pad) {
    let named = AtomicBool::new(false);
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER, move |pad, info| {
        let tells = info.event().is_some_and(|event| match event.view() {
            gst::EventView::Tag(tag) => tag.tag().get::<gst::tags::LanguageCode>().is_some(),
            _ => false,
        });
        if tells {
            named.store(true, Ordering::Release);
        } else if info.buffer().is_some() && !named.swap(true, Ordering::AcqRel) {
            let mut list = gst::TagList::new();
            list.make_mut().add::<gst::tags::LanguageCode>(&"und", gst::TagMergeMode::Append);
            // A refusal shows again with the picture itself.
            let _ = pad.send_event(gst::event::Tag::new(list));
        }
        gst::PadProbeReturn::Ok
    });
}

/// The part of a list that may pass; `None` where nothing is left.
fn allowed(list: &gst::TagListRef, keep_metadata: bool) -> Option<gst::TagList> {
    let mut kept = list.to_owned();
    {
        let kept = kept.make_mut();
        let names: Vec<_> = (0..list.n_tags()).filter_map(|i| list.nth_tag_name(i)).collect();
        for name in names {
            let word = name.as_str();
            let pass = ALWAYS.contains(&word) || (keep_metadata && !NEVER.contains(&word) && !CODING.contains(&word));
            if !pass {
                kept.remove_generic(name);
            }
        }
    }
    (kept.n_tags() > 0).then_some(kept)
}

/// Titles of chapters may name people as titles of films do: by default they are numbered instead.
pub(super) fn chapters(film: &[Chapter], keep_metadata: bool) -> Vec<Chapter> {
    let numbered = |(i, chapter): (usize, &Chapter)| Chapter {
        start_ns: chapter.start_ns,
        title: if keep_metadata {
            chapter.title.clone()
        } else {
            format!("Chapter {}", i + 1)
        },
    };
    film.iter().enumerate().map(numbered).collect()
}

/// Chapters as muxers of Matroska take them.
pub(super) fn toc(film: &[Chapter], keep_metadata: bool, length: Option<gst::ClockTime>) -> Option<gst::Toc> {
    if film.is_empty() {
        return None;
    }
    let mut edition = gst::TocEntry::new(gst::TocEntryType::Edition, "edition");
    let list = chapters(film, keep_metadata);
    for (i, chapter) in list.iter().enumerate() {
        let mut entry = gst::TocEntry::new(gst::TocEntryType::Chapter, &format!("chapter-{i}"));
        let start = i64::try_from(chapter.start_ns).unwrap_or(i64::MAX);
        // The muxer leaves out a chapter without an end.
        let end = length
            .map_or(0, gst::ClockTime::nseconds)
            .max(chapter.start_ns.saturating_add(1_000_000));
        let stop = list.get(i + 1).map_or(end, |next| next.start_ns);
        let stop = i64::try_from(stop).unwrap_or(i64::MAX);
        let mut tags = gst::TagList::new();
        tags.make_mut()
            .add::<gst::tags::Title>(&chapter.title.as_str(), gst::TagMergeMode::Append);
        if let Some(inner) = entry.get_mut() {
            inner.set_start_stop_times(start, stop);
            inner.set_tags(tags);
        }
        if let Some(inner) = edition.get_mut() {
            inner.append_sub_entry(entry);
        }
    }
    let mut toc = gst::Toc::new(gst::TocScope::Global);
    if let Some(inner) = toc.get_mut() {
        inner.append_entry(edition);
    }
    Some(toc)
}

#[cfg(test)]
mod tests {
    use super::allowed;
    use gst::tags::{Image, LanguageCode, Title};

    fn list() -> gst::TagList {
        gst::init().expect("GStreamer starts");
        let mut list = gst::TagList::new();
        let at = list.make_mut();
        at.add::<Title>(&"Anna at home", gst::TagMergeMode::Append);
        at.add::<LanguageCode>(&"de", gst::TagMergeMode::Append);
        let picture = gst::Sample::builder().buffer(&gst::Buffer::from_slice([1u8, 2])).build();
        at.add::<Image>(&picture, gst::TagMergeMode::Append);
        list
    }

    #[test]
    fn only_the_language_passes_by_default() {
        let kept = allowed(&list(), false).expect("the language is left");
        assert_eq!(kept.n_tags(), 1);
        assert_eq!(kept.get::<LanguageCode>().expect("language").get(), "de");
    }

    #[test]
    fn kept_metadata_holds_no_picture() {
        let kept = allowed(&list(), true).expect("title and language are left");
        assert!(kept.get::<Title>().is_some() && kept.get::<Image>().is_none());
    }
}
