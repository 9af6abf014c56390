//! One part of a film:
//!
//! ```text
//! frames ! videoconvert ! [capsfilter] ! nullfacefilter ! queue ! encoder ! capsfilter ! gdppay ! filesink
//! ```
//!
//! Packets lie in GStreamer's data protocol, which keeps caps, segment, times and flags to the nanosecond; a
//! container would round times to its own unit, and some more once they are joined.
//!
//! Where faces are replaced, the filter begins with what the part before decided about people, and works through the
//! frames before the part, which it lets nobody see: see [`super::seam`].

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use gst::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::counters::{Counters, count_frames_in, count_frames_out, note_end};
use super::super::encoders::coding;
use super::super::flow::{filter, stats};
use super::super::job::Job;
use super::super::links::{PICTURE, make, picture_chain};
use super::super::report::Recorded;
use super::feed::{Fed, Feed};
use super::seam::handover;
use crate::exit::refuse;
use crate::hash::sha256;
use crate::target::{ROOM, Target};

/// Frames that may wait before the filter.
const FRAMES_WAITING: u64 = 3;

/// A part that is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Which: its time after the first frame, in lengths of a part.
    pub(super) number: u64,
    /// Frames given.
    pub(super) frames_in: u64,
    /// Frames written.
    pub(super) frames_out: u64,
    /// Damaged frames of the film up to its end.
    pub(super) damaged: u64,
    /// Where its last picture ends.
    pub(super) end_ns: u64,
    /// The filter's counts.
    pub(super) stats: Map<String, Value>,
    /// Hash of the packets.
    pub(super) pictures_sha256: String,
    /// Hash of the audit trail.
    pub(super) trail_sha256: String,
    /// Hash of the decisions about people that it went on from; none for the first part, and in the modes that cover.
    pub(super) begun_with_sha256: Option<String>,
    /// Hash of the decisions about people by its end; none in the modes that cover.
    pub(super) handed_over_sha256: Option<String>,
}

/// Where a part's packets lie.
pub(super) fn pictures(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}.gdp"))
}

/// Where a part's audit trail lies.
pub(super) fn trail(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}.trail.jsonl"))
}

impl Part {
    /// The first of its files that is not as it was written.
    pub(super) fn damage(&self, folder: &Path) -> Option<PathBuf> {
        let files = [
            (pictures(folder, self.number), Some(&self.pictures_sha256)),
            (trail(folder, self.number), Some(&self.trail_sha256)),
            (handover(folder, self.number), self.handed_over_sha256.as_ref()),
        ];
        let changed = |(path, hash): (PathBuf, Option<&String>)| {
            let is_as_written = hash.is_none_or(|hash| sha256(&path).is_ok_and(|now| now == *hash));
            (!is_as_written).then_some(path)
        };
        files.into_iter().find_map(changed)
    }
}

/// A part being made.
#[derive(Debug)]
pub(super) struct Rendering {
    number: u64,
    folder: PathBuf,
    feed: Feed,
    faces: gst::Element,
    counters: Arc<Counters>,
    pictures: Target,
    trail: Target,
    begun_with_sha256: Option<String>,
    /// Whether decisions about people are made.
    decides: bool,
}

impl Rendering {
    /// Begins a part of frames of this `form`; `tracks` is what the filter reads, `before` the part whose decisions
    /// about people it goes on from.
    pub(super) fn begin(
        job: &Job<'_>,
        number: u64,
        form: Option<&gst::CapsRef>,
        (folder, tracks): (&Path, &Path),
        before: Option<&Part>,
    ) -> Result<Self> {
        let args = job.args;
        let (pictures, trail) = (
            Target::create(&pictures(folder, number), true, &[])?,
            Target::create(&trail(folder, number), true, &[])?,
        );
        let faces = filter(args, trail.temp_path(), Some(tracks))?;
        let begun_with_sha256 = before.and_then(|part| part.handed_over_sha256.clone());
        if let (Some(part), true) = (before, begun_with_sha256.is_some()) {
            let path = handover(folder, part.number);
            let decided = std::fs::read_to_string(&path).with_context(|| format!("{}: it cannot be read", path.display()))?;
            faces.set_property("handover", decided);
        }
        let counters = Arc::<Counters>::default();
        let mut chain = vec![make("videoconvert", "convert")?];
        chain.extend(picture_chain(
            args,
            &faces,
            coding(&job.film, &args.output, job.container, args.wanted())?,
        )?);
        chain.push(as_muxed(job)?);
        let lay = make("gdppay", "lay")?;
        let sink = make("filesink", "sink")?;
        sink.set_property("location", pictures.temp_path().as_os_str().to_string_lossy().as_ref());
        let packets = lay.static_pad("sink").context("gdppay has a pad")?;
        count_frames_in(&faces, &counters);
        count_frames_out(&packets, &counters);
        note_end(&packets, &counters);
        chain.extend([lay, sink]);
        let feed = Feed::new(FRAMES_WAITING, args.input.clone(), args.output.clone())?;
        feed.pipeline.add_many(&chain)?;
        chain.insert(0, feed.source.clone().upcast());
        gst::Element::link_many(&chain)?;
        feed.start(form)?;
        Ok(Self {
            number,
            folder: folder.to_owned(),
            feed,
            faces,
            counters,
            pictures,
            trail,
            begun_with_sha256,
            decides: args.mode.replaces(),
        })
    }

    /// Takes the next frame.
    pub(super) fn take(&self, sample: &gst::Sample, stop: &AtomicBool) -> Result<Fed> {
        self.feed.give(sample, stop)
    }

    /// Ends the part and lays it down; `None` where `stop` was set.
    pub(super) fn end(self, damaged: u64, stop: &AtomicBool) -> Result<Option<Part>> {
        if self.feed.end(stop)? == Fed::Stopped {
            return Ok(None);
        }
        let stats = stats(&self.faces);
        // The filter writes the trail's end when it stops.
        self.feed
            .pipeline
            .set_state(gst::State::Null)
            .context("the pipeline does not stop")?;
        Recorded::read(self.trail.temp_path())?;
        self.pictures.finish()?;
        self.trail.finish()?;
        let handed_over_sha256 = self.decides.then(|| hand_over(&self.faces, &handover(&self.folder, self.number)));
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Some(Part {
            number: self.number,
            frames_in: count(&self.counters.frames_in),
            frames_out: count(&self.counters.frames_out),
            damaged,
            end_ns: count(&self.counters.end_ns),
            stats,
            pictures_sha256: sha256(&pictures(&self.folder, self.number))?,
            trail_sha256: sha256(&trail(&self.folder, self.number))?,
            begun_with_sha256: self.begun_with_sha256,
            handed_over_sha256: handed_over_sha256.transpose()?,
        }))
    }
}

/// Lays down what a filter that has stopped decided about people; gives the file's hash.
fn hand_over(faces: &gst::Element, path: &Path) -> Result<String> {
    let decided = faces.property::<Option<String>>("handed-over");
    let decided = decided.context("the filter does not say what it decided about people")?;
    let mut file = Target::create(path, true, &[])?;
    let written = file.file_mut().write_all(decided.as_bytes());
    written.map_err(|e| refuse(path, format!("it cannot be written: {e}"), ROOM))?;
    file.finish()?;
    sha256(path)
}

/// Packets in the form that the muxer takes them later.
fn as_muxed(job: &Job<'_>) -> Result<gst::Element> {
    let mux = make(job.container.muxer(), "later")?;
    let filter = make("capsfilter", "packet-form")?;
    let pad = mux.request_pad_simple(PICTURE).context("a muxer without pictures")?;
    filter.set_property("caps", pad.pad_template_caps());
    Ok(filter)
}
