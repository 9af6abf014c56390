//! A session: which pipelines run, what their messages mean, when one is started again.
//!
//! One thread (this one) decides; pipelines speak to it through one channel. The filter's death ends
//! the session: nothing may pass beside it.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use crossbeam::channel::{Receiver, Sender, unbounded};
use gst::prelude::*;
use serde_json::Value;

use super::args::Args;
use super::backoff::Backoff;
use super::board::{Board, Second, Switch};
use super::filter::FilterLine;
use super::hub::{Hub, lock};
use super::monitor::Monitor;
use super::outlet::{self, Outlet, Shape};
use super::place::{Sink, Source};
use super::rtsp::Server;
use super::source::{Sound, SourceLine};
use crate::exit::{Exit, one_line};
use crate::json;

/// How often the session looks about while its pipelines are silent.
const TICK: Duration = Duration::from_millis(50);
/// How many times as long a source may be silent before its first frame: connections take time.
const NEVER_BEGAN: u32 = 4;
/// How long outputs may take to end.
const ENDING: Duration = Duration::from_secs(10);
/// How long the first picture waits for the source to say whether it has sound.
const SOUND_PATIENCE: Duration = Duration::from_secs(1);

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Source(u32),
    Filter,
    Sink(usize, u32),
}

/// What is said.
#[derive(Debug)]
enum Said {
    Ended,
    Failed(String),
    Told(gst::Structure),
}

type Word = (Who, Said);

/// The source and when it is tried again.
#[derive(Debug)]
struct Intake {
    line: Option<SourceLine>,
    attempt: u32,
    since: Instant,
    frames_before: u64,
    retry_at: Option<Instant>,
    backoff: Backoff,
}

/// An output and when it is tried again.
#[derive(Debug)]
struct Output {
    sink: Sink,
    outlet: Option<Outlet>,
    server: Option<Server>,
    attempt: u32,
    since: Instant,
    retry_at: Option<Instant>,
    backoff: Backoff,
    ended: bool,
    failure: Option<String>,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    args: &'a Args,
    filter: FilterLine,
    hub: Arc<Hub>,
    board: Arc<Mutex<Board>>,
    monitor: Option<Monitor>,
    intake: Intake,
    outputs: Vec<Output>,
    shape: Option<Shape>,
    first_picture: Option<Instant>,
    words: Receiver<Word>,
    to_me: Sender<Word>,
}

impl<'a> Session<'a> {
    /// Starts the filter (and with it the engine) and the monitor; the source is opened by [`Self::run`].
    pub(crate) fn open(args: &'a Args) -> Result<Self> {
        let (to_me, words) = unbounded();
        let (filter, hub) = FilterLine::build(args)?;
        listen(&filter.pipeline, Who::Filter, &to_me);
        let board = Arc::new(Mutex::new(Board::new(args.allow_keep)));
        let monitor = args.monitor.map(|port| Monitor::start(port, &hub, &board)).transpose()?;
        if let (Some(monitor), false) = (&monitor, args.quiet) {
            eprintln!("nullface: monitor at {}", monitor.address());
        }
        let now = Instant::now();
        let outputs = args.sink.iter().map(|sink| Output {
            sink: sink.clone(),
            outlet: None,
            server: None,
            attempt: 0,
            since: now,
            retry_at: None,
            backoff: Backoff::default(),
            ended: false,
            failure: None,
        });
        Ok(Self {
            args,
            filter,
            hub,
            board,
            monitor,
            intake: Intake {
                line: None,
                attempt: 0,
                since: now,
                frames_before: 0,
                retry_at: Some(now),
                backoff: Backoff::default(),
            },
            outputs: outputs.collect(),
            shape: None,
            first_picture: None,
            words,
            to_me,
        })
    }

    /// Runs until the picture ends, enough frames came out, or `stop` is set.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Result<Exit> {
        if self.filter.pipeline.set_state(gst::State::Playing).is_err() {
            return Err(self.why_filter_failed());
        }
        let mut told = Instant::now();
        let mut before = (0, 0);
        let mut seconds = 0;
        loop {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if self
                .args
                .frames
                .is_some_and(|n| self.hub.counts.frames_out.load(Ordering::Relaxed) >= n)
            {
                break;
            }
            if let Ok((who, said)) = self.words.recv_timeout(TICK)
                && self.hear(who, said)?
            {
                break;
            }
            self.tend_source()?;
            self.tend_outputs()?;
            self.hub.keep_alive();
            self.tend_switches()?;
            if told.elapsed() >= Duration::from_secs(1) {
                before = self.measure(told.elapsed(), before);
                told = Instant::now();
                seconds += 1;
                self.tell(seconds);
            }
        }
        self.end()
    }

    fn say(&self, line: &str) {
        if !self.args.quiet {
            let clear = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
            eprintln!("{clear}nullface: {line}");
        }
    }

    /// Takes a word; returns whether the session is over.
    fn hear(&mut self, who: Who, said: Said) -> Result<bool> {
        match (who, said) {
            (Who::Filter, Said::Failed(why)) => Err(anyhow!("the filter failed: {why}")),
            (Who::Filter, Said::Ended) => Ok(true),
            (Who::Filter, Said::Told(said)) => {
                if said.name() == "nullface" {
                    lock(&self.board).said(&json::structure(&said));
                }
                Ok(false)
            }
            // One failure has several messages; the first one has closed the source.
            (Who::Source(attempt), _) if attempt != self.intake.attempt || self.intake.line.is_none() => Ok(false),
            (Who::Source(_), Said::Ended) if self.args.once && matches!(self.args.source, Source::File(_)) => Ok(true),
            (Who::Source(_), Said::Ended) if matches!(self.args.source, Source::File(_)) => {
                self.close_source();
                self.intake.retry_at = Some(Instant::now());
                Ok(false)
            }
            (Who::Source(_), Said::Ended) => self.source_failed("it ended").map(|()| false),
            (Who::Source(_), Said::Failed(why)) => self.source_failed(&why).map(|()| false),
            (Who::Sink(index, attempt), said) => {
                match said {
                    Said::Failed(why) => self.sink_failed(index, attempt, &why)?,
                    // A window that was closed says so as an error; an end is that of a session.
                    Said::Ended => {
                        if let Some(output) = self.outputs.get_mut(index).filter(|o| o.attempt == attempt) {
                            output.ended = true;
                        }
                    }
                    Said::Told(_) => {}
                }
                Ok(false)
            }
            (_, Said::Told(_)) => Ok(false),
        }
    }

    fn close_source(&mut self) {
        self.intake.line = None;
        self.hub.reconnect();
    }

    fn source_failed(&mut self, why: &str) -> Result<()> {
        self.close_source();
        let pause = self.intake.backoff.failed(self.intake.since.elapsed());
        let failures = self.intake.backoff.failures();
        let why = format!("{}: {}", self.args.source, one_line(why));
        if self.args.attempts > 0 && failures >= self.args.attempts {
            return Err(anyhow!(
                "{why}; given up after {failures} attempts, check the source or raise --attempts"
            ));
        }
        self.say(&format!("{why}; trying again in {:.1} s", pause.as_secs_f32()));
        lock(&self.board).source = format!("away, next attempt in {:.1} s", pause.as_secs_f32());
        self.intake.retry_at = Some(Instant::now() + pause);
        Ok(())
    }

    /// Opens the source where its time has come; notices one that sends nothing.
    fn tend_source(&mut self) -> Result<()> {
        let frames = self.hub.counts.frames_in.load(Ordering::Relaxed);
        if self.intake.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.intake.retry_at = None;
            self.intake.attempt += 1;
            self.intake.since = Instant::now();
            self.intake.frames_before = frames;
            let line = SourceLine::build(self.args, &self.hub)?;
            listen(&line.pipeline, Who::Source(self.intake.attempt), &self.to_me);
            let refused = line.pipeline.set_state(gst::State::Playing).is_err();
            self.intake.line = Some(line);
            let mut board = lock(&self.board);
            board.source = "opening".to_owned();
            board.reconnects = self.intake.attempt.saturating_sub(1);
            drop(board);
            if refused {
                // Its bus says why, unless it has nothing to say.
                let why = self.first_failure(Who::Source(self.intake.attempt));
                return self.source_failed(&why.unwrap_or_else(|| "it cannot be opened".to_owned()));
            }
            return Ok(());
        }
        if self.intake.line.is_none() {
            return Ok(());
        }
        if frames > self.intake.frames_before {
            lock(&self.board).source = "playing".to_owned();
            let last = self.hub.counts.last_in_ns.load(Ordering::Relaxed);
            if self.hub.now_ns().saturating_sub(last) > self.args.source_timeout().as_nanos() as u64 {
                return self.source_failed("it stopped sending");
            }
        } else if self.intake.since.elapsed() > self.args.source_timeout() * NEVER_BEGAN {
            return self.source_failed("it sends no picture");
        }
        Ok(())
    }

    /// Shape of the pictures, once it is known together with whether there is sound.
    fn learn_shape(&mut self) {
        if self.shape.is_some() {
            return;
        }
        let Some(info) = self.hub.caps().and_then(|caps| gst_video::VideoInfo::from_caps(&caps).ok()) else {
            return;
        };
        let since = *self.first_picture.get_or_insert_with(Instant::now);
        let sound = self.intake.line.as_ref().map_or(Sound::Unknown, SourceLine::sound);
        if sound == Sound::Unknown && since.elapsed() < SOUND_PATIENCE {
            return;
        }
        let fps = info.fps();
        self.shape = Some(Shape {
            width: info.width(),
            height: info.height(),
            fps: if fps.denom() > 0 {
                f64::from(fps.numer()) / f64::from(fps.denom())
            } else {
                0.0
            },
            sound: sound == Sound::Yes,
        });
    }

    fn tend_outputs(&mut self) -> Result<()> {
        let first = self.shape.is_none();
        self.learn_shape();
        let Some(shape) = self.shape else { return Ok(()) };
        for index in 0..self.outputs.len() {
            let due = self
                .outputs
                .get(index)
                .is_some_and(|o| first || o.retry_at.is_some_and(|at| at <= Instant::now()));
            if due {
                self.open_output(index, shape)?;
            }
        }
        Ok(())
    }

    fn open_output(&mut self, index: usize, shape: Shape) -> Result<()> {
        let Some(output) = self.outputs.get_mut(index) else { return Ok(()) };
        output.retry_at = None;
        output.attempt += 1;
        output.since = Instant::now();
        if let Sink::RtspServer { host, port, path } = &output.sink {
            let server = Server::start(host, *port, path, self.args, shape, &self.hub)?;
            let line = format!("serving rtsp://{host}:{}{path}", server.port());
            output.server = Some(server);
            self.say(&line);
            return Ok(());
        }
        let outlet = Outlet::build(&output.sink, self.args, shape)?;
        let who = Who::Sink(index, output.attempt);
        listen(&outlet.pipeline, who, &self.to_me);
        self.hub.add(&outlet.feed);
        let refused = outlet.pipeline.set_state(gst::State::Playing).is_err();
        let attempt = output.attempt;
        output.outlet = Some(outlet);
        if refused {
            let why = self.first_failure(who).unwrap_or_else(|| "it cannot be opened".to_owned());
            self.sink_failed(index, attempt, &why)?;
        }
        Ok(())
    }

    fn sink_failed(&mut self, index: usize, attempt: u32, why: &str) -> Result<()> {
        let Some(output) = self.outputs.get_mut(index).filter(|o| o.attempt == attempt && o.outlet.is_some()) else {
            return Ok(());
        };
        let name = output.sink.to_string();
        if let Some(outlet) = output.outlet.take() {
            self.hub.remove(&outlet.feed);
        }
        let why = format!("{name}: {}", one_line(why));
        if outlet::comes_back(&output.sink) {
            let pause = output.backoff.failed(output.since.elapsed());
            let failures = output.backoff.failures();
            if self.args.attempts == 0 || failures < self.args.attempts {
                output.retry_at = Some(Instant::now() + pause);
                self.say(&format!("{why}; trying again in {:.1} s", pause.as_secs_f32()));
                return Ok(());
            }
        }
        output.failure = Some(why.clone());
        self.say(&why);
        if self.outputs.iter().all(|o| o.failure.is_some()) {
            return Err(anyhow!("{why}; no output is left"));
        }
        Ok(())
    }

    /// What a pipeline that refused to start says about it. Other words stay in the queue's order.
    fn first_failure(&mut self, of: Who) -> Option<String> {
        let mut others = Vec::new();
        let mut found = None;
        while let Ok((who, said)) = self.words.try_recv() {
            match said {
                Said::Failed(why) if who == of => found = found.or(Some(why)),
                said => others.push((who, said)),
            }
        }
        for word in others {
            // The session holds both ends of the channel.
            let _ = self.to_me.send(word);
        }
        found
    }

    fn why_filter_failed(&mut self) -> anyhow::Error {
        let why = self
            .first_failure(Who::Filter)
            .unwrap_or_else(|| "run `nullface doctor`".to_owned());
        anyhow!("the filter does not start: {why}")
    }

    /// Carries the monitor's switches to the element.
    fn tend_switches(&self) -> Result<()> {
        let mut board = lock(&self.board);
        if !std::mem::take(&mut board.switched) {
            return Ok(());
        }
        let (covered, kept) = (board.switched_to(Switch::Cover), board.switched_to(Switch::Off));
        drop(board);
        self.filter.set("keep-tracks", &kept)?;
        self.filter.set("cover-tracks", &covered)
    }

    fn measure(&self, over: Duration, before: (u64, u64)) -> (u64, u64) {
        let counts = &self.hub.counts;
        let now = (counts.frames_in.load(Ordering::Relaxed), counts.frames_out.load(Ordering::Relaxed));
        let rate = |now: u64, before: u64| (now - before) as f32 / over.as_secs_f32();
        let (p50_ms, p95_ms) = self.hub.delays().unwrap_or_default();
        let stats = self.filter.stats();
        let taken = stats.get("frames-in").and_then(Value::as_u64).unwrap_or(0);
        let rung = stats.get("rung").and_then(Value::as_str).unwrap_or("full").to_owned();
        let mut board = lock(&self.board);
        board.stats = stats;
        // Those that wait at the entrance are not lost.
        board.dropped = now.0.saturating_sub(taken).saturating_sub(3);
        board.sinks = self.outputs.iter().map(|o| (o.sink.to_string(), state(o))).collect();
        board.second(Second {
            fps_in: rate(now.0, before.0),
            fps_out: rate(now.1, before.1),
            p50_ms,
            p95_ms,
            rung,
        });
        now
    }

    fn tell(&self, seconds: u32) {
        if self.args.quiet {
            return;
        }
        let line = lock(&self.board).line();
        let mut err = std::io::stderr().lock();
        // A status that nobody can read is no reason to stop.
        if err.is_terminal() {
            let _ = write!(err, "\r\x1b[K{line}");
            let _ = err.flush();
        } else if (seconds - 1).is_multiple_of(self.args.status_every) {
            let _ = writeln!(err, "{line}");
        }
    }

    /// Ends source, filter and outputs, in that order, so that recordings are whole.
    fn end(mut self) -> Result<Exit> {
        self.close_source();
        drop(self.monitor.take());
        let deadline = Instant::now() + ENDING;
        for output in &self.outputs {
            if let Some(outlet) = &output.outlet {
                outlet.feed.end();
            }
        }
        while self.outputs.iter().any(|o| o.outlet.is_some() && !o.ended) && Instant::now() < deadline {
            match self.words.recv_timeout(TICK) {
                Ok((Who::Sink(index, attempt), Said::Failed(why))) => self.sink_failed(index, attempt, &why)?,
                Ok((Who::Sink(index, _), Said::Ended)) => {
                    if let Some(output) = self.outputs.get_mut(index) {
                        output.ended = true;
                    }
                }
                _ => {}
            }
        }
        let stats = self.filter.stats();
        let mut late = Vec::new();
        for output in &mut self.outputs {
            if output.outlet.take().is_some() && !output.ended {
                late.push(output.sink.to_string());
            }
            output.server = None;
        }
        let count = |name: &str| stats.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.say(&format!(
            "{} frames in, {} out, {} covered whole, {} tracks, {} regions covered otherwise than asked",
            self.hub.counts.frames_in.load(Ordering::Relaxed),
            self.hub.counts.frames_out.load(Ordering::Relaxed),
            count("frames-withheld"),
            count("tracks"),
            count("fallbacks"),
        ));
        // The element closes its trail when it stops; one that has no end is no proof.
        let _ = self.filter.pipeline.set_state(gst::State::Null);
        if let Some(why) = self.first_failure(Who::Filter) {
            return Err(anyhow!("the filter failed: {why}"));
        }
        for name in late {
            self.say(&format!("{name}: it did not end in time; its last seconds may be missing"));
        }
        if let Some(failure) = self.outputs.iter().find_map(|o| o.failure.clone()) {
            return Err(anyhow!("{failure}"));
        }
        Ok(Exit::Done)
    }
}

fn state(output: &Output) -> String {
    match (&output.failure, output.retry_at) {
        (Some(_), _) => "failed".to_owned(),
        (None, Some(at)) => format!(
            "away, next attempt in {:.0} s",
            at.saturating_duration_since(Instant::now()).as_secs_f32()
        ),
        (None, None) if output.outlet.is_some() || output.server.is_some() => "playing".to_owned(),
        (None, None) => "waiting for the picture".to_owned(),
    }
}

/// Has a pipeline's messages come through the session's channel.
fn listen(pipeline: &gst::Pipeline, who: Who, to: &Sender<Word>) {
    let Some(bus) = pipeline.bus() else { return };
    let to = to.clone();
    bus.set_sync_handler(move |_, message| {
        let said = match message.view() {
            gst::MessageView::Eos(_) => Some(Said::Ended),
            gst::MessageView::Error(error) => {
                let detail = error.debug().map(|d| d.to_string()).unwrap_or_default();
                // The first line of the detail names a file and a line of GStreamer's source.
                let cause = detail.lines().nth(1).map_or_else(String::new, |cause| format!(" ({cause})"));
                Some(Said::Failed(format!("{}{cause}", error.error().message())))
            }
            gst::MessageView::Element(element) => element.structure().map(|s| Said::Told(s.to_owned())),
            _ => None,
        };
        if let Some(said) = said {
            // Nobody listens when the session is over.
            let _ = to.send((who, said));
        }
        gst::BusSyncReply::Drop
    });
}
