//! The engine's own thread, and the streaming thread's end of the line to it.
//!
//! Why a thread: a stage that hangs must not hold the frame, and a thread cannot be taken back from
//! a call. So the streaming thread hands a buffer over, waits as long as `processing-deadline`
//! allows, and otherwise gives the buffer up for lost and lets an opaque one go in its place.
//!
//! A buffer is always owned by exactly one side: it moves with the job and comes back with the
//! answer. What was given up stays with the worker and is freed there; it can never leave the
//! element. At most one job is under way. Every call into the engine is inside `catch_unwind`;
//! after a panic the engine is dropped and opened anew, and frames that the old one had analysed
//! are withheld, because its plans are gone and its ids begin again. So do the numbers of its tracks: whom
//! somebody chose to keep by number before is anonymised from then on, until chosen anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, after, bounded, never};
use crossbeam::select;
use nullface::backend::ResolvedDevice;
use nullface::frame::{FrameTime, FrameViewMut};
use nullface::pipeline::{Budget, Discontinuity, Due, EngineConfig, EngineError, FrameId, Look, Means, Released, Settings, Stats};
use nullface::stages::detect::Detection;

use super::fail_closed::Fault;
use super::formats::Negotiated;
use super::frames;
use super::processor::{Processor, ProcessorFactory};

/// Times in a row that an engine is opened anew without one frame treated in between.
const MAX_REOPENS: u32 = 3;

/// How long a stop waits for a busy worker before it leaves it to end by itself.
const JOIN_PATIENCE: Duration = Duration::from_secs(2);

/// Which analysis of which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    id: FrameId,
    generation: u64,
}

/// A frame that nobody has looked at.
#[derive(Debug)]
pub(super) struct Unseen {
    pub(super) buffer: gst::Buffer,
    pub(super) negotiated: Arc<Negotiated>,
    pub(super) at: FrameTime,
    /// Faces that somebody upstream found.
    pub(super) hints: Vec<Detection>,
}

/// A frame whose turn to be treated has come.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) buffer: gst::Buffer,
    pub(super) negotiated: Arc<Negotiated>,
    pub(super) at: FrameTime,
    /// From its analysis.
    pub(super) ticket: Ticket,
    /// What it may cost.
    pub(super) budget: Budget,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Look at a frame.
    Analyse(Unseen),
    /// Treat one.
    Render(Ready),
    /// Look at one and treat another, at the same time.
    Overlap(Unseen, Ready),
    /// Work through one that is not shown.
    Rehearse(Unseen),
}

/// One call of the engine.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) settings: Settings,
    pub(super) means: Means,
    /// To be told first, in order.
    pub(super) breaks: Vec<Discontinuity>,
    pub(super) work: Work,
}

/// A frame that was looked at.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) buffer: gst::Buffer,
    pub(super) ticket: Ticket,
    /// What the engine complained of.
    pub(super) fault: Option<String>,
}

/// A frame that was treated.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) buffer: gst::Buffer,
    pub(super) released: Released,
}

/// What came of a job. A frame without result is gone with its buffer.
#[derive(Debug)]
pub(super) enum Answer {
    /// Looked at.
    Analysed(Result<Seen, Fault>),
    /// Treated.
    Rendered(Result<Done, Fault>),
    /// One looked at, another treated.
    Overlapped(Result<Seen, Fault>, Result<Done, Fault>),
    /// Worked through; the buffer is gone.
    Rehearsed,
    /// No answer of the engine; the buffer is gone.
    Failed(Fault),
}

/// A bell that ends the streaming thread's waiting when the element is flushed or stopped.
#[derive(Debug)]
pub(super) struct Interrupt {
    raised: AtomicBool,
    ring: Sender<()>,
    heard: Receiver<()>,
}

impl Default for Interrupt {
    fn default() -> Self {
        let (ring, heard) = bounded(1);
        Self {
            raised: AtomicBool::new(false),
            ring,
            heard,
        }
    }
}

impl Interrupt {
    /// Ends waiting now and until [`Self::lower`].
    pub(super) fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        // Full means that it rings already.
        let _ = self.ring.try_send(());
    }

    /// Lets waiting be again.
    pub(super) fn lower(&self) {
        self.raised.store(false, Ordering::SeqCst);
        while self.heard.try_recv().is_ok() {}
    }
}

/// Locks whatever a panicking thread left: all that is shared here is plain counters.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The streaming thread's end.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<Sender<Job>>,
    answers: Receiver<Answer>,
    interrupt: Arc<Interrupt>,
    busy: bool,
    thread: Option<JoinHandle<()>>,
    ended: Receiver<()>,
}

impl Worker {
    /// Starts the thread and opens the engine in it.
    ///
    /// Returns also where networks run.
    ///
    /// # Errors
    /// What the engine says, or that no thread could be had.
    pub(super) fn start(
        factory: Arc<ProcessorFactory>,
        config: EngineConfig,
        settings: Settings,
        stats: Arc<Mutex<Stats>>,
        handed_over: Arc<Mutex<Option<String>>>,
        interrupt: Arc<Interrupt>,
    ) -> Result<(Self, ResolvedDevice), EngineError> {
        let (jobs, todo) = bounded::<Job>(1);
        // Room for the one answer under way, so that a worker never waits for a reader that left.
        let (done, answers) = bounded::<Answer>(1);
        let (open, opened) = bounded(1);
        let (end, ended) = bounded::<()>(0);
        let failed = |why: String| EngineError::Stage { stage: "start", why };
        // No track has a number yet that somebody could have chosen.
        let revoked = settings.keep_tracks.clone();
        let settings = Settings {
            keep_tracks: Vec::new(),
            ..settings
        };
        let thread = std::thread::Builder::new()
            .name("nullface-engine".to_owned())
            .spawn(move || {
                let _end = end;
                let mut bench = Bench {
                    factory,
                    config,
                    settings,
                    stats,
                    handed_over,
                    engine: None,
                    generation: 0,
                    reopens: 0,
                    revoked,
                };
                let result = bench.open();
                let usable = result.is_ok();
                if open.send(result).is_ok() && usable {
                    for job in todo {
                        let answer = bench.handle(job);
                        if done.send(answer).is_err() {
                            break;
                        }
                    }
                    bench.hand_over();
                }
                bench.lose();
            })
            .map_err(|e| failed(format!("no thread for the engine: {e}")))?;
        let device = opened
            .recv()
            .unwrap_or_else(|_| Err(failed("the engine's thread ended".to_owned())))?;
        let worker = Self {
            jobs: Some(jobs),
            answers,
            interrupt,
            busy: false,
            thread: Some(thread),
            ended,
        };
        Ok((worker, device))
    }

    /// Whether a job is under way whose answer nobody has read.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Hands a job over. The caller has seen to it that none is under way.
    ///
    /// # Errors
    /// [`Fault::Lost`] where the thread is gone, [`Fault::Deadline`] where it is busy.
    pub(super) fn send(&mut self, job: Job) -> Result<(), Fault> {
        if self.busy {
            return Err(Fault::Deadline);
        }
        let Some(jobs) = &self.jobs else { return Err(lost()) };
        jobs.try_send(job).map_err(|_| lost())?;
        self.busy = true;
        Ok(())
    }

    /// Waits for the answer to the job under way.
    ///
    /// # Errors
    /// [`Fault::Deadline`] after `until`, [`Fault::Interrupted`] on a flush, [`Fault::Lost`] where the
    /// thread is gone.
    pub(super) fn receive(&mut self, until: Option<Instant>) -> Result<Answer, Fault> {
        if self.interrupt.raised.load(Ordering::SeqCst) {
            return Err(Fault::Interrupted);
        }
        let late = until.map_or_else(never, |until| after(until.saturating_duration_since(Instant::now())));
        // An answer that is already there counts, however late it is asked for.
        let answer = match self.answers.try_recv() {
            Ok(answer) => Ok(answer),
            Err(_) => select! {
                recv(self.answers) -> answer => answer.map_err(|_| lost()),
                recv(self.interrupt.heard) -> _ => Err(Fault::Interrupted),
                recv(late) -> _ => Err(Fault::Deadline),
            },
        };
        match &answer {
            Ok(_) => self.busy = false,
            Err(Fault::Lost { .. }) => {
                self.busy = false;
                self.jobs = None;
            }
            Err(_) => {}
        }
        answer
    }

    /// Ends the thread; leaves it to itself where it does not end soon. It holds nothing that could
    /// leave the element.
    ///
    /// Returns whether it ended.
    pub(super) fn stop(mut self) -> bool {
        self.jobs = None;
        let ended = matches!(self.ended.recv_timeout(JOIN_PATIENCE), Err(RecvTimeoutError::Disconnected));
        if ended && let Some(thread) = self.thread.take() {
            // The thread catches its panics; were there one past that, it has ended all the same.
            let _ = thread.join();
        }
        ended
    }
}

fn lost() -> Fault {
    Fault::Lost {
        why: "the engine's thread ended".to_owned(),
    }
}

/// The worker's side.
struct Bench {
    factory: Arc<ProcessorFactory>,
    config: EngineConfig,
    settings: Settings,
    stats: Arc<Mutex<Stats>>,
    /// Where what was decided about people is left at the end.
    handed_over: Arc<Mutex<Option<String>>>,
    engine: Option<Box<dyn Processor>>,
    generation: u64,
    reopens: u32,
    /// Numbers chosen to be kept that meant another engine's tracks.
    revoked: Vec<u64>,
}

impl Bench {
    fn open(&mut self) -> Result<ResolvedDevice, EngineError> {
        let opened = catch_unwind(AssertUnwindSafe(|| (self.factory)(&self.config, &self.settings))).unwrap_or_else(|_| {
            Err(EngineError::Stage {
                stage: "start",
                why: "opening the engine panicked".to_owned(),
            })
        })?;
        self.generation += 1;
        let device = opened.device().clone();
        self.engine = Some(opened);
        Ok(device)
    }

    /// Leaves what was decided about people; nothing where the engine is gone or cannot say.
    fn hand_over(&self) {
        let Some(engine) = &self.engine else { return };
        let said = catch_unwind(AssertUnwindSafe(|| engine.handover()));
        *lock(&self.handed_over) = said.ok().and_then(Result::ok).flatten();
    }

    /// Drops the engine, whatever its destructor does. The next one begins with the detector that this one had: one that
    /// is asked for may be one that cannot be opened.
    fn lose(&mut self) {
        let engine = self.engine.take();
        let means = engine.as_ref().map(|engine| catch_unwind(AssertUnwindSafe(|| engine.means())));
        if let Some(Ok(means)) = means {
            self.config = std::mem::take(&mut self.config).with_means(means);
        }
        let _ = catch_unwind(AssertUnwindSafe(move || drop(engine)));
    }

    fn handle(&mut self, mut job: Job) -> Answer {
        if self.engine.is_none() {
            self.revoked.clone_from(&job.settings.keep_tracks);
        }
        self.revoked.retain(|track| job.settings.keep_tracks.contains(track));
        job.settings.keep_tracks.retain(|track| !self.revoked.contains(track));
        if self.engine.is_none() {
            if self.reopens >= MAX_REOPENS {
                return Answer::Failed(Fault::Lost {
                    why: format!("it failed {MAX_REOPENS} times in a row"),
                });
            }
            self.reopens += 1;
            self.settings = job.settings.clone();
            if let Err(error) = self.open() {
                return Answer::Failed(Fault::Lost { why: error.to_string() });
            }
        }
        let answer = catch_unwind(AssertUnwindSafe(|| self.work(job)));
        answer.unwrap_or_else(|_| {
            self.lose();
            Answer::Failed(Fault::Panicked)
        })
    }

    fn work(&mut self, job: Job) -> Answer {
        let Job {
            settings,
            means,
            breaks,
            work,
        } = job;
        let Some(engine) = self.engine.as_mut() else {
            return Answer::Failed(lost());
        };
        for kind in breaks {
            engine.discontinuity(kind);
        }
        engine.set_means(&means);
        if settings != self.settings {
            // Remembered even where the engine refuses, so that it is asked once per change.
            self.settings = settings.clone();
            if let Err(error) = engine.set_settings(settings) {
                return Answer::Failed(Fault::Settings { why: error.to_string() });
            }
        }
        let answer = match work {
            Work::Analyse(unseen) => Answer::Analysed(look(engine.as_mut(), unseen, self.generation)),
            Work::Render(ready) => Answer::Rendered(render(engine.as_mut(), ready, self.generation)),
            Work::Overlap(unseen, ready) => overlap(engine.as_mut(), unseen, ready, self.generation),
            Work::Rehearse(unseen) => match rehearse(engine.as_mut(), unseen) {
                Ok(()) => Answer::Rehearsed,
                Err(fault) => Answer::Failed(fault),
            },
        };
        if matches!(answer, Answer::Rendered(Ok(_)) | Answer::Overlapped(_, Ok(_))) {
            self.reopens = 0;
        }
        *lock(&self.stats) = engine.stats();
        answer
    }
}

fn seen(buffer: gst::Buffer, (id, fault): (FrameId, Option<EngineError>), generation: u64) -> Seen {
    Seen {
        buffer,
        ticket: Ticket { id, generation },
        fault: fault.map(|error| error.to_string()),
    }
}

fn look(engine: &mut dyn Processor, frame: Unseen, generation: u64) -> Result<Seen, Fault> {
    let looked = frames::with_view(&frame.buffer, &frame.negotiated, |view| {
        engine.analyse(view, frame.at, &frame.hints)
    })?;
    Ok(seen(frame.buffer, looked, generation))
}

fn render(engine: &mut dyn Processor, mut frame: Ready, generation: u64) -> Result<Done, Fault> {
    let released = frame.with_view(generation, |id, view, at, budget| engine.render(id, view, at, budget))?;
    Ok(Done {
        buffer: frame.buffer,
        released,
    })
}

/// Both; where one of the frames cannot be used, the other has what it would have alone.
fn overlap(engine: &mut dyn Processor, unseen: Unseen, mut ready: Ready, generation: u64) -> Answer {
    let both = frames::with_view(&unseen.buffer, &unseen.negotiated, |frame| {
        let look = Look {
            frame,
            at: unseen.at,
            hints: &unseen.hints,
        };
        let both = ready.with_view(generation, |id, frame, at, budget| {
            engine.overlap(Due { id, frame, at, budget }, look)
        });
        match both {
            Ok((released, looked)) => (looked, Ok(released)),
            Err(fault) => (engine.analyse(look.frame, look.at, look.hints), Err(fault)),
        }
    });
    match both {
        Ok((looked, released)) => {
            let done = released.map(|released| Done {
                buffer: ready.buffer,
                released,
            });
            Answer::Overlapped(Ok(seen(unseen.buffer, looked, generation)), done)
        }
        Err(fault) => Answer::Overlapped(Err(fault), render(engine, ready, generation)),
    }
}

fn rehearse(engine: &mut dyn Processor, mut frame: Unseen) -> Result<(), Fault> {
    frames::with_view_mut(unshared(&mut frame.buffer)?, &frame.negotiated, |view| {
        engine.rehearse(view, frame.at)
    })
}

fn unshared(buffer: &mut gst::Buffer) -> Result<&mut gst::BufferRef, Fault> {
    buffer.get_mut().ok_or_else(|| Fault::Map {
        why: "the buffer is shared".to_owned(),
    })
}

impl Ready {
    /// Maps the frame for who treats it, where it is the engine that had looked at it.
    fn with_view<R>(
        &mut self,
        generation: u64,
        treat: impl FnOnce(FrameId, &mut FrameViewMut<'_>, FrameTime, Budget) -> R,
    ) -> Result<R, Fault> {
        if self.ticket.generation != generation {
            return Err(Fault::Orphaned);
        }
        let (id, at, budget) = (self.ticket.id, self.at, self.budget);
        frames::with_view_mut(unshared(&mut self.buffer)?, &self.negotiated, |view| treat(id, view, at, budget))
    }
}
