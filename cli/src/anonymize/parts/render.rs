//! The film decoded once from its begin, each frame given to the part that it belongs to by its time. Frames of
//! parts that are there already go nowhere. Where faces are replaced, some frames go into later parts too, unseen: see
//! [`super::seam`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nullface::frame::Pts;
use nullface::secret::SessionSecret;

use super::super::encoders::coding;
use super::super::job::Job;
use super::super::passes::Passes;
use super::super::source::Source;
use super::feed::Fed;
use super::part::{Part, Rendering};
use super::seam::{RunIn, handover, is_ours};
use super::{Piece, Shelf};
use crate::exit::refuse;
use crate::tracks::read;

/// All parts.
#[derive(Debug)]
pub(super) struct Made {
    /// In order.
    pub(super) parts: Vec<Part>,
    /// Of these, how many were there before.
    pub(super) kept: u64,
}

/// The part that frames go to at present.
enum Open {
    /// It is being made.
    Making(Box<Rendering>),
    /// It was there; frames so far.
    There { frames: u64 },
}

/// Makes the parts that are not there; `None` where `stop` was set.
///
/// # Errors
/// One sentence that names the file, what is the matter and the remedy; parts that are made stay.
pub(super) fn all(job: &Job<'_>, passes: &Passes, length: gst::ClockTime, shelf: &Shelf<'_>, stop: &AtomicBool) -> Result<Option<Made>> {
    let mut renderer = Renderer {
        job,
        tracks: passes.path(),
        shelf,
        stop,
        parts: there(job, shelf),
        kept: 0,
        run_in: RunIn::default(),
        open: None,
    };
    let frames_there: u64 = renderer.parts.values().map(|p| p.frames_in).sum();
    if frames_there == passes.frames() && renderer.parts.keys().all(|number| renderer.follows(*number)) {
        return Ok(Some(Made {
            kept: renderer.parts.len() as u64,
            parts: renderer.parts.into_values().collect(),
        }));
    }
    let coding = coding(&job.film, &job.args.output, job.container, job.args.wanted())?;
    let source = Source::open(&job.film, coding.working)?;
    let tracks = job.args.mode.replaces().then(|| read(passes.path())).transpose()?;
    let mut frames = 0;
    let mut number = 0;
    let mut first = None;
    while let Some(sample) = source.next()? {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let buffer = sample.buffer().context("a sample without a frame")?;
        if buffer.pts().is_none() {
            return Err(refuse(
                &job.args.input,
                "it has a frame without a time, which cannot be told to belong to a part",
                "give --segment-seconds 0, or repair it (`ffmpeg -i IN OUT`)",
            ));
        }
        let at = source.time_of(&sample, buffer).pts.0;
        let since = at.saturating_sub(*first.get_or_insert(at));
        // Never back: a frame out of order goes where the one before it went.
        let belongs = number.max(since / length.nseconds());
        if belongs != number && renderer.close(number, source.damaged())? == Fed::Stopped {
            return Ok(None);
        }
        number = belongs;
        if renderer.frame(number, &sample)? == Fed::Stopped {
            return Ok(None);
        }
        if let Some(tracks) = &tracks {
            let end = (number + 1).saturating_mul(length.nseconds());
            let left = gst::ClockTime::from_nseconds(end.saturating_sub(since));
            renderer.run_in.keep(&sample, &tracks.at(Pts(at)), left)?;
        }
        frames += 1;
        job.progress.at(gst::ClockTime::from_nseconds(at), frames, 0);
    }
    if renderer.close(number, source.damaged())? == Fed::Stopped {
        return Ok(None);
    }
    passes.check(frames)?;
    Ok(Some(Made {
        kept: renderer.kept,
        parts: renderer.parts.into_values().collect(),
    }))
}

/// Parts that a former run made by the same options, whose files are as they were written and of the seed given.
fn there(job: &Job<'_>, shelf: &Shelf<'_>) -> BTreeMap<u64, Part> {
    let mut there = BTreeMap::new();
    for piece in &shelf.pieces {
        if let Piece::Part(part) = piece {
            there.insert(part.number, part.clone());
        }
    }
    there.retain(|_, part| match part.damage(&shelf.folder) {
        Some(file) => {
            (shelf.tell)(&format!("{}: it is not as it was written; its part is made again", file.display()));
            false
        }
        None => true,
    });
    let secret = job.args.seed.map(SessionSecret::from_seed);
    let before = there.len();
    there.retain(|_, part: &mut Part| {
        let decided = handover(&shelf.folder, part.number);
        part.handed_over_sha256.is_none() || secret.as_ref().is_some_and(|secret| is_ours(&decided, secret))
    });
    if there.len() < before {
        (shelf.tell)(&format!(
            "{}: {} parts there were made under another seed; they are made again",
            shelf.folder.display(),
            before - there.len()
        ));
    }
    there
}

struct Renderer<'a> {
    job: &'a Job<'a>,
    tracks: &'a Path,
    shelf: &'a Shelf<'a>,
    stop: &'a AtomicBool,
    parts: BTreeMap<u64, Part>,
    /// Parts that were there before and are gone on with.
    kept: u64,
    run_in: RunIn,
    open: Option<Open>,
}

impl Renderer<'_> {
    /// The part before.
    fn before(&self, number: u64) -> Option<&Part> {
        self.parts.range(..number).next_back().map(|(_, part)| part)
    }

    /// Whether a part is there and goes on from what the part before it decided.
    fn follows(&self, number: u64) -> bool {
        let decided = self.before(number).and_then(|part| part.handed_over_sha256.as_ref());
        self.parts
            .get(&number)
            .is_some_and(|part| part.begun_with_sha256.as_ref() == decided)
    }

    /// Begins a part that is not there.
    fn begin(&mut self, number: u64, sample: &gst::Sample) -> Result<Rendering> {
        let (run_in, places) = (self.run_in.begin_part(), (&*self.shelf.folder, self.tracks));
        let rendering = Rendering::begin(self.job, number, sample.caps(), places, self.before(number))?;
        for unseen in &run_in {
            if rendering.take(unseen, self.stop)? == Fed::Stopped {
                break;
            }
        }
        Ok(rendering)
    }

    fn frame(&mut self, number: u64, sample: &gst::Sample) -> Result<Fed> {
        if self.open.is_none() {
            self.open = Some(if self.follows(number) {
                self.run_in.begin_part();
                Open::There { frames: 0 }
            } else {
                Open::Making(Box::new(self.begin(number, sample)?))
            });
        }
        match &mut self.open {
            Some(Open::Making(rendering)) => rendering.take(sample, self.stop),
            Some(Open::There { frames }) => {
                *frames += 1;
                Ok(Fed::Taken)
            }
            None => Ok(Fed::Taken),
        }
    }

    /// Ends the part at hand, if there is one.
    fn close(&mut self, number: u64, damaged: u64) -> Result<Fed> {
        match self.open.take() {
            None => Ok(Fed::Taken),
            Some(Open::There { frames }) => {
                let known = self.parts.get(&number).map_or(0, |p| p.frames_in);
                if known == frames {
                    self.kept += 1;
                    return Ok(Fed::Taken);
                }
                Err(refuse(
                    &self.job.args.input,
                    format!("part {number} was made of {known} frames, and the film gives {frames} now"),
                    format!("delete {} and begin anew", self.shelf.folder.display()),
                ))
            }
            Some(Open::Making(rendering)) => {
                let Some(part) = rendering.end(damaged, self.stop)? else {
                    return Ok(Fed::Stopped);
                };
                (self.shelf.note)(&Piece::Part(part.clone()))?;
                self.parts.insert(number, part);
                Ok(Fed::Taken)
            }
        }
    }
}
