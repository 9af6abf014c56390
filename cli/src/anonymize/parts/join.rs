//! All parts and the film's own sound, subtitles and tags → the output. Nothing is decoded but sound and
//! subtitles that the container does not take, and nothing of the picture is encoded again.
//!
//! ```text
//! packets of all parts in order ─────────────────────────────┐
//! filesrc ! decodebin ┬ sound, subtitles: as when made at once ┴ muxer ! filesink
//!                     └ picture: not decoded, goes nowhere
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use gst::prelude::*;
use serde_json::{Map, Value};

use super::super::counters::Counters;
use super::super::flow::{Ends, Tally};
use super::super::job::{Job, REPAIR};
use super::super::links::{Links, make, passes_as_it_is};
use super::super::report::Recorded;
use super::Shelf;
use super::feed::{Fed, Feed};
use super::part::{Part, pictures, trail};
use crate::exit::refuse;

/// Packets that may wait before the muxer.
const PACKETS_WAITING: u64 = 64;

/// Writes the output; `None` where `stop` was set.
///
/// # Errors
/// One sentence that names the file, what is the matter and the remedy.
pub(super) fn all(job: &Job<'_>, parts: &[Part], shelf: &Shelf<'_>, stop: &AtomicBool) -> Result<Option<(Tally, Recorded)>> {
    let trails: Result<Vec<Recorded>> = parts.iter().map(|p| Recorded::read(&trail(&shelf.folder, p.number))).collect();
    let recorded = Recorded::joined(trails?)?;
    let counters = Arc::<Counters>::default();
    let (feed, ready) = build(job, &counters)?;
    let mut form = None;
    for part in parts {
        let packets = Packets::open(&pictures(&shelf.folder, part.number))?;
        while let Some(sample) = packets.next()? {
            match (&form, sample.caps_owned()) {
                (None, now) => {
                    feed.start(now.as_deref())?;
                    if feed.wait(|| ready.load(Ordering::Acquire), stop)? == Fed::Stopped {
                        return Ok(None);
                    }
                    form = Some(now);
                }
                (Some(form), now) if *form == now => {}
                _ => {
                    return Err(refuse(
                        &job.args.output,
                        "the encoder's parts differ in form and cannot be joined",
                        "give --segment-seconds 0, or another --encoder",
                    ));
                }
            }
            if feed.give(&sample, stop)? == Fed::Stopped {
                return Ok(None);
            }
        }
    }
    if form.is_none() {
        return Err(refuse(&job.args.input, "not one frame could be decoded", REPAIR));
    }
    if feed.end(stop)? == Fed::Stopped {
        return Ok(None);
    }
    let mut stats = sums(parts);
    // One face is one, however many parts it is in.
    stats.insert("tracks".to_owned(), recorded.tracks().into());
    let written = counters.frames_out.load(Ordering::Relaxed);
    let promised: u64 = parts.iter().map(|p| p.frames_out).sum();
    if written != promised {
        return Err(refuse(
            &job.args.output,
            format!("its parts hold {promised} frames, and {written} were written"),
            format!("delete {} and begin anew", shelf.folder.display()),
        ));
    }
    let pictures_end = parts.iter().map(|p| p.end_ns).max().unwrap_or(0);
    let tally = Tally {
        frames_in: parts.iter().map(|p| p.frames_in).sum(),
        frames_out: written,
        damaged: parts.iter().map(|p| p.damaged).max().unwrap_or(0),
        left_out: counters.left_out.load(Ordering::Relaxed),
        tracks: counters.flags(),
        end: gst::ClockTime::from_nseconds(pictures_end.max(counters.end_ns.load(Ordering::Relaxed))),
        stats,
        wall: job.progress.elapsed(),
    };
    Ok(Some((tally, recorded)))
}

/// The pipeline, and whether all its streams are known.
fn build(job: &Job<'_>, counters: &Arc<Counters>) -> Result<(Feed, Arc<AtomicBool>)> {
    let args = job.args;
    let Ends { source, decode, mux, sink } = Ends::make(args, &job.film, job.container, job.output.temp_path())?;
    let feed = Feed::new(PACKETS_WAITING, args.input.clone(), args.output.clone())?;
    feed.pipeline.add_many([&source, &decode, &mux, &sink])?;
    source.link(&decode)?;
    mux.link(&sink)?;
    let links = Links::new(args, &job.film, &feed.pipeline, Vec::new(), mux.clone(), job.container, counters);
    links.lead_picture(&feed.source.static_pad("src").context("appsrc has a pad")?)?;

    let decoders = gst::ElementFactory::factories_with_type(
        gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO,
        gst::Rank::MARGINAL,
    );
    decode.connect("autoplug-continue", false, move |values| {
        let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
        let ends = |caps: &gst::Caps| passes_as_it_is(&mux, caps) || decoders.iter().any(|d| d.can_sink_any_caps(caps));
        Some((!caps.is_some_and(|caps| ends(&caps))).to_value())
    });
    let tags = feed.source.clone();
    decode.connect_pad_added(move |_, pad| {
        let kind = pad.current_caps().and_then(|c| c.structure(0).map(|s| s.name().to_string()));
        if kind.is_some_and(|k| k.starts_with("video/")) {
            pass_tags(pad, &tags);
        }
    });
    // The picture is led already: none of the film's own is.
    links.follow(&decode, &Arc::new(AtomicBool::new(true)));
    let ready = Arc::<AtomicBool>::default();
    let known = Arc::clone(&ready);
    decode.connect_no_more_pads(move |_| known.store(true, Ordering::Release));
    Ok((feed, ready))
}

/// The picture's tags and the film's go the way that the new picture goes, where it is decided which may pass.
fn pass_tags(from: &gst::Pad, to: &gst_app::AppSrc) {
    let to = to.clone();
    from.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(event) = info.event()
            && event.type_() == gst::EventType::Tag
        {
            // A source that is at its end takes none, and needs none.
            let _ = to.send_event(event.to_owned());
        }
        gst::PadProbeReturn::Ok
    });
}

/// Packets of one part, in order.
struct Packets {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
    path: std::path::PathBuf,
}

impl Packets {
    fn open(path: &Path) -> Result<Self> {
        let source = make("filesrc", "source")?;
        source.set_property("location", path.as_os_str().to_string_lossy().as_ref());
        let take = make("gdpdepay", "take")?;
        let sink = gst_app::AppSink::builder()
            .name("packets")
            .sync(false)
            .max_buffers(PACKETS_WAITING as u32)
            .build();
        let pipeline = gst::Pipeline::with_name("part");
        pipeline.add_many([&source, &take, sink.upcast_ref()])?;
        gst::Element::link_many([&source, &take, sink.upcast_ref()])?;
        pipeline.set_state(gst::State::Playing).context("a part cannot be read")?;
        Ok(Self {
            pipeline,
            sink,
            path: path.to_owned(),
        })
    }

    fn next(&self) -> Result<Option<gst::Sample>> {
        if let Ok(sample) = self.sink.pull_sample() {
            return Ok(Some(sample));
        }
        let failed = self.pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        match failed.as_ref().map(|m| m.view()) {
            Some(gst::MessageView::Error(error)) => {
                let remedy = "delete it and begin anew";
                Err(refuse(
                    &self.path,
                    format!("it cannot be read: {}", error.error().message()),
                    remedy,
                ))
            }
            _ => Ok(None),
        }
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        // Nothing can be done about a pipeline that does not stop while it is dropped.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Counts are added; of measures the largest stands, of words the first.
fn sums(parts: &[Part]) -> Map<String, Value> {
    let mut all: Map<String, Value> = Map::new();
    for (name, value) in parts.iter().flat_map(|p| &p.stats) {
        let sum = match (all.get(name), value) {
            (Some(Value::Number(a)), Value::Number(b)) => match (a.as_u64(), b.as_u64()) {
                (Some(a), Some(b)) => (a + b).into(),
                _ => a.as_f64().into_iter().chain(b.as_f64()).reduce(f64::max).into(),
            },
            (Some(first), _) => first.clone(),
            (None, new) => new.clone(),
        };
        all.insert(name.clone(), sum);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{Part, sums};
    use serde_json::{Value, json};

    fn part(number: u64, stats: Value) -> Part {
        let stats = stats.as_object().cloned().expect("an object");
        Part {
            number,
            frames_in: 1,
            frames_out: 1,
            damaged: 0,
            end_ns: 0,
            stats,
            pictures_sha256: String::new(),
            trail_sha256: String::new(),
            begun_with_sha256: None,
            handed_over_sha256: None,
        }
    }

    #[test]
    fn counts_add_up_and_of_measures_the_largest_stands() {
        let all = sums(&[
            part(0, json!({"faces": 3, "worst-cos": 0.25, "rung": "full"})),
            part(1, json!({"faces": 4, "worst-cos": 0.125, "blurred": 2})),
        ]);
        assert_eq!(
            Value::Object(all),
            json!({"faces": 7, "worst-cos": 0.25, "rung": "full", "blurred": 2})
        );
    }
}
