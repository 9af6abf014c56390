//! One stream between start and stop: the frames held back for lookahead, in order, and what is
//! known of each.
//!
//! Frames are analysed in the order they come and rendered in the same order, each exactly once or
//! never; an engine may forget every plan older than the one it is asked to render.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nullface::frame::{FrameTime, Pts};
use nullface::pipeline::{Budget, Discontinuity, Governor, Means, Mode, Rung, Settings};

use super::fail_closed::{Fault, Settled, Treated, settle};
use super::formats::Negotiated;
use super::worker::{Answer, Done, Job, Ready, Seen, Ticket, Unseen, Work, Worker};
use super::{frames, metas, regions};

/// The share of the time left that the engine is told, so that it can cover the faces before the element
/// must give up the frame.
const SOFT_SHARE: f64 = 0.8;

/// Assumed where neither the buffers nor the caps say how long a frame lasts.
const FALLBACK_FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(40);

/// Until when a frame's treatment has time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// When the element gives the frame up.
    pub(super) until: Option<Instant>,
    /// When the frame should be done, so that a live stream keeps up.
    pub(super) aim: Option<Instant>,
    /// Time between frames, where quality may depend on the clock.
    pub(super) pace: Option<Duration>,
}

/// Frames held back for a lookahead of so many: where there is one, the oldest is rendered while the newest is looked
/// at, and that one cannot tell of it any more.
pub(super) const fn held_back(lookahead: usize) -> usize {
    if lookahead == 0 { 0 } else { lookahead + 1 }
}

/// What is known of a frame in the queue.
#[derive(Debug)]
enum Look {
    /// Analysed; waits to be rendered.
    Ready(Seen),
    /// Rendered while a later one was looked at.
    Treated(Box<Treated>),
    /// Its analysis is under way past its deadline; the worker has its buffer.
    Late { seq: u64 },
    /// It will not be treated.
    Withheld(Fault),
}

/// A frame in the queue. `shell` has its time and metas, for an opaque frame in its place.
#[derive(Debug)]
struct Entry {
    shell: gst::Buffer,
    at: FrameTime,
    negotiated: Arc<Negotiated>,
    look: Look,
}

/// What waits its turn: events keep their place among the frames.
#[derive(Debug)]
enum Item {
    Frame(Box<Entry>),
    Event(gst::Event),
}

/// What leaves the queue.
#[derive(Debug)]
pub(super) enum Out {
    /// A frame with its verdict, when it is shown.
    Frame { settled: Box<Settled>, at: FrameTime },
    /// An event, to be sent on.
    Event(gst::Event),
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    worker: Worker,
    means: Means,
    /// Frames held back.
    held_back: usize,
    queue: VecDeque<Item>,
    negotiated: Option<Arc<Negotiated>>,
    breaks: Vec<Discontinuity>,
    next_seq: u64,
    /// The analysis that the worker is at; `None` while it renders or rests.
    analysing: Option<u64>,
    last: Option<FrameTime>,
    governor: Governor,
    /// Whether the governor is one for modes that replace.
    replaces: bool,
}

impl Stream {
    /// A stream before its first frame.
    pub(super) fn new(worker: Worker, means: Means, mode: Mode) -> Self {
        Self {
            worker,
            held_back: held_back(means.lookahead),
            means,
            queue: VecDeque::new(),
            negotiated: None,
            breaks: Vec::new(),
            next_seq: 0,
            analysing: None,
            last: None,
            governor: Governor::new(mode),
            replaces: mode.replaces(),
        }
    }

    /// Tells what one frame cost against the time that one frame has.
    ///
    /// Returns the best rung allowed from now on and how often that changed, where it changed now.
    pub(super) fn spent(&mut self, took: Duration, pace: Duration) -> Option<(Option<Rung>, u64)> {
        self.governor.frame(took, pace).then(|| (self.allowed(), self.governor.changes()))
    }

    /// When a frame that begins now should be done, where frames come at this pace.
    pub(super) fn aim(&self, pace: Duration) -> Option<Instant> {
        Instant::now().checked_add(self.governor.aim(pace))
    }

    /// The best rung allowed; `None` where nothing is held back.
    fn allowed(&self) -> Option<Rung> {
        (!self.governor.is_full()).then(|| self.governor.best())
    }

    /// When the last frame taken in is shown.
    pub(super) fn last(&self) -> Option<FrameTime> {
        self.last
    }

    /// Takes another lookahead and another detector from the next frame on. Returns whether more frames are held than
    /// that: they leave before it comes.
    pub(super) fn take_means(&mut self, means: Means) -> bool {
        self.held_back = held_back(means.lookahead);
        self.means = means;
        self.held() > self.held_back
    }

    /// Ends the worker; returns whether it ended in good time.
    pub(super) fn stop(self) -> bool {
        self.worker.stop()
    }

    /// Takes new geometry. The caller has drained the frames of the old one.
    pub(super) fn renegotiate(&mut self, negotiated: Arc<Negotiated>) {
        if self.negotiated.is_some() {
            self.note(Discontinuity::Caps);
        }
        self.negotiated = Some(negotiated);
    }

    /// Remembers a break, to be told to the engine before the next frame.
    pub(super) fn note(&mut self, kind: Discontinuity) {
        match kind {
            Discontinuity::Gap if !self.breaks.is_empty() => {}
            Discontinuity::Gap => self.breaks.push(kind),
            Discontinuity::Flush | Discontinuity::Caps => {
                self.breaks.retain(|k| *k != Discontinuity::Gap && *k != kind);
                self.breaks.push(kind);
                self.last = None;
            }
        }
    }

    /// Forgets all frames held.
    pub(super) fn flush(&mut self) {
        self.queue.clear();
        self.note(Discontinuity::Flush);
    }

    /// Whether frames are held that an event must not overtake.
    pub(super) fn holds_frames(&self) -> bool {
        self.queue.iter().any(|item| matches!(item, Item::Frame(_)))
    }

    /// Gives an event its place behind the frames held.
    pub(super) fn enqueue_event(&mut self, event: gst::Event) {
        self.queue.push_back(Item::Event(event));
    }

    /// Takes a frame in: secures its pixels and has it analysed. Where another's turn comes with it, that one is rendered
    /// meanwhile.
    ///
    /// # Errors
    /// Without caps, or where the frame's time cannot be copied. The frame is then gone.
    pub(super) fn accept(&mut self, buffer: gst::Buffer, settings: &Settings, limits: Limits) -> Result<(), gst::FlowError> {
        let negotiated = self.negotiated.clone().ok_or(gst::FlowError::NotNegotiated)?;
        let shell = metas::shell(&buffer).map_err(|_| gst::FlowError::Error)?;
        let at = self.time_of(&buffer, &negotiated);
        let hints = regions::hints(&buffer, negotiated.shape.width, negotiated.shape.height);
        if self.replaces != settings.mode.replaces() {
            (self.governor, self.replaces) = (Governor::new(settings.mode), settings.mode.replaces());
        }
        let shed = self.governor.best() == Rung::Frame;
        let owned = if shed {
            Err(Fault::Shed)
        } else {
            frames::own(buffer, &shell, &negotiated)
        };
        let look = owned.and_then(|buffer| {
            let seq = self.next_seq;
            self.next_seq += 1;
            let unseen = Unseen {
                buffer,
                negotiated: Arc::clone(&negotiated),
                at,
                hints,
            };
            self.analyse(unseen, seq, settings, limits)
        });
        let look = match look {
            Err(Fault::Interrupted) => return Err(gst::FlowError::Flushing),
            Err(fault) => {
                // The engine has not seen this frame, or is another now.
                self.note(Discontinuity::Gap);
                Look::Withheld(fault)
            }
            Ok(look) => look,
        };
        self.queue.push_back(Item::Frame(Box::new(Entry {
            shell,
            at,
            negotiated,
            look,
        })));
        Ok(())
    }

    /// Has a frame worked through that is not shown. The caller has drained the frames held. Returns why it was not.
    ///
    /// # Errors
    /// Without caps, or while the element is flushed.
    pub(super) fn rehearse(
        &mut self,
        buffer: gst::Buffer,
        settings: &Settings,
        until: Option<Instant>,
    ) -> Result<Option<Fault>, gst::FlowError> {
        let negotiated = self.negotiated.clone().ok_or(gst::FlowError::NotNegotiated)?;
        let shell = metas::shell(&buffer).map_err(|_| gst::FlowError::Error)?;
        let at = self.time_of(&buffer, &negotiated);
        let worked = frames::own(buffer, &shell, &negotiated).and_then(|buffer| {
            self.settle_late(until)?;
            let unseen = Unseen {
                buffer,
                negotiated,
                at,
                hints: Vec::new(),
            };
            let breaks = std::mem::take(&mut self.breaks);
            self.send(Work::Rehearse(unseen), breaks, settings)?;
            match self.worker.receive(until)? {
                Answer::Rehearsed => Ok(()),
                Answer::Failed(fault) => Err(fault),
                Answer::Analysed(_) | Answer::Rendered(_) | Answer::Overlapped(..) => Err(Fault::Orphaned),
            }
        });
        match worked {
            Err(Fault::Interrupted) => Err(gst::FlowError::Flushing),
            Err(fault) => {
                self.note(Discontinuity::Gap);
                Ok(Some(fault))
            }
            Ok(()) => Ok(None),
        }
    }

    /// Lets the next item out, if its turn has come: when enough frames were seen after it, or at
    /// once while `draining`. A frame should be done at `limits.aim` and must be at `limits.until`.
    pub(super) fn emit(&mut self, draining: bool, settings: &Settings, limits: Limits) -> Option<Out> {
        let until = limits.until;
        let held = self.held();
        match self.queue.front()? {
            Item::Event(_) => {}
            Item::Frame(_) if !draining && held <= self.held_back => return None,
            Item::Frame(entry) => {
                if matches!(entry.look, Look::Late { .. }) {
                    // The deadline of its analysis has passed, but what came since may still serve.
                    if let Err(Fault::Interrupted) = self.settle_late(until) {
                        return self.interrupted();
                    }
                }
            }
        }
        match self.queue.pop_front()? {
            Item::Event(event) => Some(Out::Event(event)),
            Item::Frame(entry) => {
                let Entry {
                    shell,
                    at,
                    negotiated,
                    look,
                } = *entry;
                let treated = match look {
                    Look::Withheld(fault) => Err(fault),
                    Look::Late { .. } => Err(Fault::Deadline),
                    Look::Treated(treated) => Ok(*treated),
                    Look::Ready(seen) => self.render(seen, &negotiated, at, settings, limits),
                };
                let settled = settle(treated, &shell, &negotiated, settings.on_failure, settings.fill_rgb);
                Some(Out::Frame {
                    settled: Box::new(settled),
                    at,
                })
            }
        }
    }

    /// Nothing leaves while the element is flushed; the queue goes with it.
    fn interrupted(&mut self) -> Option<Out> {
        self.queue.clear();
        None
    }

    /// Frames in the queue.
    fn held(&self) -> usize {
        self.queue.iter().filter(|item| matches!(item, Item::Frame(_))).count()
    }

    fn send(&mut self, work: Work, breaks: Vec<Discontinuity>, settings: &Settings) -> Result<(), Fault> {
        self.worker.send(Job {
            settings: settings.clone(),
            means: self.means.clone(),
            breaks,
            work,
        })
    }

    /// A frame to be rendered, and what that may cost.
    fn ready(&self, buffer: gst::Buffer, ticket: Ticket, negotiated: &Arc<Negotiated>, at: FrameTime, limits: Limits) -> Ready {
        let left = |until: Option<Instant>| until.map(|until| until.saturating_duration_since(Instant::now()));
        Ready {
            buffer,
            negotiated: Arc::clone(negotiated),
            at,
            ticket,
            budget: Budget {
                best: self.governor.best(),
                time: left(limits.until).map(|left| left.mul_f64(SOFT_SHARE)),
                aim: left(limits.aim),
                pace: limits.pace.filter(|_| self.held_back == 0),
            },
        }
    }

    /// The oldest frame, where its turn comes with the next one that is looked at; what its analysis complained of.
    /// Its entry is withheld until it is back.
    fn take_due(&mut self, limits: Limits) -> Option<(Ready, Option<String>)> {
        // Breaks are told before a look, and the frames held were seen before them.
        if self.held_back == 0 || self.held() < self.held_back || !self.breaks.is_empty() {
            return None;
        }
        let entry = self.oldest()?;
        let seen = match std::mem::replace(&mut entry.look, Look::Withheld(Fault::Deadline)) {
            Look::Ready(seen) => seen,
            other => {
                entry.look = other;
                return None;
            }
        };
        let (negotiated, at) = (Arc::clone(&entry.negotiated), entry.at);
        Some((self.ready(seen.buffer, seen.ticket, &negotiated, at, limits), seen.fault))
    }

    /// The frame whose turn is next.
    fn oldest(&mut self) -> Option<&mut Entry> {
        self.queue.iter_mut().find_map(|item| match item {
            Item::Frame(entry) => Some(entry.as_mut()),
            Item::Event(_) => None,
        })
    }

    fn analyse(&mut self, unseen: Unseen, seq: u64, settings: &Settings, limits: Limits) -> Result<Look, Fault> {
        self.settle_late(limits.until)?;
        let (work, due) = match self.take_due(limits) {
            Some((ready, fault)) => (Work::Overlap(unseen, ready), Some(fault)),
            None => (Work::Analyse(unseen), None),
        };
        let breaks = std::mem::take(&mut self.breaks);
        self.send(work, breaks, settings)?;
        self.analysing = Some(seq);
        let (seen, done) = match self.worker.receive(limits.until) {
            Ok(Answer::Analysed(seen)) => (seen, None),
            Ok(Answer::Overlapped(seen, done)) => (seen, Some(done)),
            Ok(Answer::Failed(fault)) => (Err(fault.clone()), Some(Err(fault))),
            Ok(Answer::Rendered(_) | Answer::Rehearsed) => (Err(Fault::Orphaned), None),
            // Its rendering is given up with the buffer; its look may still serve.
            Err(Fault::Deadline) => return Ok(Look::Late { seq }),
            Err(fault) => return Err(fault),
        };
        self.analysing = None;
        if let (Some(analysis_fault), Some(done)) = (due, done) {
            if done.is_err() {
                self.note(Discontinuity::Gap);
            }
            let treated = done.map_or_else(Look::Withheld, |Done { buffer, released }| {
                Look::Treated(Box::new(Treated {
                    buffer,
                    released,
                    analysis_fault,
                }))
            });
            if let Some(entry) = self.oldest() {
                entry.look = treated;
            }
        }
        seen.map(Look::Ready)
    }

    fn render(
        &mut self,
        seen: Seen,
        negotiated: &Arc<Negotiated>,
        at: FrameTime,
        settings: &Settings,
        limits: Limits,
    ) -> Result<Treated, Fault> {
        self.settle_late(limits.until)?;
        let ready = self.ready(seen.buffer, seen.ticket, negotiated, at, limits);
        // Breaks stay for the next analysis: this frame was seen before them.
        self.send(Work::Render(ready), Vec::new(), settings)?;
        match self.worker.receive(limits.until)? {
            Answer::Rendered(Ok(Done { buffer, released })) => Ok(Treated {
                buffer,
                released,
                analysis_fault: seen.fault,
            }),
            Answer::Rendered(Err(fault)) | Answer::Failed(fault) => {
                self.note(Discontinuity::Gap);
                Err(fault)
            }
            Answer::Analysed(_) | Answer::Overlapped(..) | Answer::Rehearsed => Err(Fault::Orphaned),
        }
    }

    /// Reads the answer of a job given up before, so that the worker is free. A late analysis still
    /// serves a frame whose turn has not come; a late rendering is dropped with its buffer.
    fn settle_late(&mut self, until: Option<Instant>) -> Result<(), Fault> {
        if !self.worker.is_busy() {
            return Ok(());
        }
        let answer = self.worker.receive(until)?;
        let Some(awaited) = self.analysing.take() else { return Ok(()) };
        let look = match answer {
            Answer::Analysed(Ok(seen)) | Answer::Overlapped(Ok(seen), _) => Look::Ready(seen),
            Answer::Analysed(Err(fault)) | Answer::Overlapped(Err(fault), _) | Answer::Failed(fault) => Look::Withheld(fault),
            Answer::Rendered(_) | Answer::Rehearsed => return Ok(()),
        };
        let waiting = self.queue.iter_mut().find_map(|item| match item {
            Item::Frame(entry) if matches!(entry.look, Look::Late { seq } if seq == awaited) => Some(entry),
            Item::Frame(_) | Item::Event(_) => None,
        });
        if let Some(entry) = waiting {
            entry.look = look;
        }
        Ok(())
    }

    /// When a frame is shown: by its own stamp, else after the one before it.
    fn time_of(&mut self, buffer: &gst::BufferRef, negotiated: &Negotiated) -> FrameTime {
        let duration = buffer.duration().or_else(|| negotiated.frame_duration());
        let pts = buffer.pts().map_or_else(
            || {
                self.last.map_or(Pts(0), |last| {
                    let step = if last.duration_ns > 0 {
                        last.duration_ns
                    } else {
                        FALLBACK_FRAME.nseconds()
                    };
                    Pts(last.pts.0.saturating_add(step))
                })
            },
            |pts| Pts(pts.nseconds()),
        );
        if self.last.is_some_and(|last| pts < last.pts) {
            self.note(Discontinuity::Gap);
        }
        let at = FrameTime {
            pts,
            duration_ns: duration.map_or(0, gst::ClockTime::nseconds),
        };
        self.last = Some(at);
        at
    }
}
