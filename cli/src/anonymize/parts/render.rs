//! The film decoded once from its begin, each frame given to the part that it belongs to by its time. Frames of
//! parts that are there already go nowhere.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::super::encoders::coding;
use super::super::job::Job;
use super::super::passes::Passes;
use super::super::source::Source;
use super::feed::Fed;
use super::part::{Part, Rendering};
use super::{Piece, Shelf};
use crate::exit::refuse;

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
    let mut there = BTreeMap::new();
    for piece in &shelf.pieces {
        if let Piece::Part(part) = piece {
            there.insert(part.number, part.clone());
        }
    }
    there.retain(|_, part| part.is_whole(&shelf.folder));
    let kept = there.len() as u64;
    let mut renderer = Renderer {
        job,
        tracks: passes.path(),
        shelf,
        stop,
        parts: there,
        open: None,
    };
    if renderer.parts.values().map(|p| p.frames_in).sum::<u64>() == passes.frames() {
        return Ok(Some(Made {
            parts: renderer.parts.into_values().collect(),
            kept,
        }));
    }
    let coding = coding(&job.film, &job.args.output, job.container, job.args.wanted())?;
    let source = Source::open(&job.film, coding.working)?;
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
        frames += 1;
        job.progress.at(gst::ClockTime::from_nseconds(at), frames, 0);
    }
    if renderer.close(number, source.damaged())? == Fed::Stopped {
        return Ok(None);
    }
    passes.check(frames)?;
    Ok(Some(Made {
        parts: renderer.parts.into_values().collect(),
        kept,
    }))
}

struct Renderer<'a> {
    job: &'a Job<'a>,
    tracks: &'a Path,
    shelf: &'a Shelf<'a>,
    stop: &'a AtomicBool,
    parts: BTreeMap<u64, Part>,
    open: Option<Open>,
}

impl Renderer<'_> {
    fn frame(&mut self, number: u64, sample: &gst::Sample) -> Result<Fed> {
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(if self.parts.contains_key(&number) {
                Open::There { frames: 0 }
            } else {
                Open::Making(Box::new(Rendering::begin(
                    self.job,
                    number,
                    sample.caps(),
                    (&self.shelf.folder, self.tracks),
                )?))
            }),
        };
        match open {
            Open::There { frames } => {
                *frames += 1;
                Ok(Fed::Taken)
            }
            Open::Making(rendering) => rendering.take(sample, self.stop),
        }
    }

    /// Ends the part at hand, if there is one.
    fn close(&mut self, number: u64, damaged: u64) -> Result<Fed> {
        match self.open.take() {
            None => Ok(Fed::Taken),
            Some(Open::There { frames }) => {
                let known = self.parts.get(&number).map_or(0, |p| p.frames_in);
                if known == frames {
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
