//! The element's behaviour: GStreamer's side of the stream.
//!
//! `BaseTransform` and not `VideoFilter`: the latter answers a frame that cannot be mapped with a
//! warning and pushes it as it came. The buffer path is this file's own (`submit_input_buffer`,
//! `generate_output`); the base class's in-place and passthrough paths are never taken, and answer
//! with an error if something takes them.
//!
//! Locks: `properties` is copied out per frame and never held while the engine works. `stream` is
//! the streaming thread's; others take it only when that thread rests (flush, stop).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::BaseTransformMode;
use gst_base::subclass::base_transform::GenerateOutputSuccess;
use gst_base::subclass::prelude::*;
use nullface::backend::{DeviceEvent, DeviceEvents};
use nullface::frame::{FrameTime, Pts};
use nullface::pipeline::{Discontinuity, FrameReport, Settings, Stats};

use super::audit::Audit;
use super::fail_closed::{Settled, Verdict, start_error};
use super::formats::{Negotiated, TEMPLATE_CAPS, progressive_only};
use super::messages::{self, Counters};
use super::processor::{ProcessorFactory, open_engine};
use super::properties::Properties;
use super::specs::SPECS;
use super::state::{Limits, Out, Stream, held_back};
use super::worker::{Interrupt, Worker, lock};
use super::{FilterAdapt, regions};

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("nullfacefilter", gst::DebugColorFlags::empty(), Some("Face anonymisation")));

/// What the latency query needs without asking the stream: frames held back, and the longest time that
/// one frame may take.
#[derive(Debug, Clone, Copy, Default)]
struct Delay {
    held_back: u64,
    frame: Option<gst::ClockTime>,
    deadline: gst::ClockTime,
}

impl Delay {
    fn total(self) -> gst::ClockTime {
        self.frame
            .and_then(|frame| frame.checked_mul(self.held_back))
            .unwrap_or(gst::ClockTime::ZERO)
            .saturating_add(self.deadline)
    }
}

/// The element's instance.
pub struct NullfaceFilter {
    properties: Mutex<Properties>,
    factory: Mutex<Arc<ProcessorFactory>>,
    stream: Mutex<Option<Stream>>,
    interrupt: Arc<Interrupt>,
    stats: Arc<Mutex<Stats>>,
    /// What was decided about people by the last stop.
    handed_over: Arc<Mutex<Option<String>>>,
    counters: Mutex<Counters>,
    delay: Mutex<Delay>,
    segment: Mutex<Option<gst::Event>>,
    /// Whether the source is live; `None` until it was asked.
    live: Mutex<Option<bool>>,
    told: Mutex<Option<messages::Key>>,
    audit: Audit,
    /// Between start and stop.
    running: AtomicBool,
    /// Whether a frame was dropped after the last one that left.
    lost: AtomicBool,
    /// Whether the base class called the last frame taken in a discontinuity.
    was_discont: AtomicBool,
}

impl Default for NullfaceFilter {
    fn default() -> Self {
        Self {
            properties: Mutex::default(),
            factory: Mutex::new(Arc::new(open_engine)),
            stream: Mutex::default(),
            interrupt: Arc::default(),
            stats: Arc::default(),
            handed_over: Arc::default(),
            counters: Mutex::default(),
            delay: Mutex::default(),
            segment: Mutex::default(),
            live: Mutex::default(),
            told: Mutex::default(),
            audit: Audit::default(),
            running: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            was_discont: AtomicBool::new(false),
        }
    }
}

/// What left the queue, for the streaming thread.
enum Step {
    Push(gst::Buffer),
    Dropped,
    Event(gst::Event),
    Nothing,
}

impl NullfaceFilter {
    pub(super) fn set_factory(&self, factory: Arc<ProcessorFactory>) {
        *lock(&self.factory) = factory;
    }

    /// Settings as the engine is told them, and the moment by which this frame must be done.
    fn frame_settings(&self) -> (Settings, Option<Instant>) {
        let properties = lock(&self.properties);
        let until = properties
            .settings
            .deadline
            .and_then(|deadline| Instant::now().checked_add(deadline));
        let mut settings = properties.engine_settings();
        drop(properties);
        settings.origin = self.origin();
        (settings, until)
    }

    /// The timestamp at which the film's time is zero.
    fn origin(&self) -> Pts {
        let segment = self.obj().segment();
        let zero = segment
            .downcast_ref::<gst::ClockTime>()
            .and_then(|s| Some(s.start()?.saturating_sub(s.time()?)));
        Pts(zero.map_or(0, gst::ClockTime::nseconds))
    }

    /// The time that one frame has in this stream, where quality is given up for it.
    fn pace(&self) -> Option<Duration> {
        let adapts = match lock(&self.properties).adapt {
            FilterAdapt::Never => false,
            FilterAdapt::Always => true,
            FilterAdapt::Live => self.is_live(),
        };
        let frame = lock(&self.delay).frame;
        adapts.then(|| frame.map(Duration::from)).flatten()
    }

    /// Whether the source is live, asked once for each stream.
    fn is_live(&self) -> bool {
        if let Some(live) = *lock(&self.live) {
            return live;
        }
        let mut query = gst::query::Latency::new();
        let live = self.obj().sink_pad().peer_query(&mut query) && query.result().0;
        *lock(&self.live) = Some(live);
        live
    }

    /// Tells the stream what a frame cost, and the application where that changes the rung.
    fn govern(&self, took: Duration, pace: Duration) {
        let (changed, at) = match lock(&self.stream).as_mut() {
            Some(stream) => (stream.spent(took, pace), stream.last().unwrap_or_default()),
            None => return,
        };
        let Some((rung, changes)) = changed else { return };
        {
            let mut counters = lock(&self.counters);
            (counters.rung, counters.rung_changes) = (rung, changes);
        }
        gst::info!(CAT, imp = self, "best rung from now on: {}", messages::allowed_word(rung));
        self.post(messages::rung_structure(rung, at));
    }

    fn post(&self, structure: gst::Structure) {
        let message = gst::message::Element::builder(structure).src(&*self.obj()).build();
        if self.obj().post_message(message).is_err() {
            gst::debug!(CAT, imp = self, "no bus to tell");
        }
    }

    /// Says what happens to the device, on whichever thread it does.
    fn device_event(&self, event: &DeviceEvent) {
        if matches!(event, DeviceEvent::Building { .. } | DeviceEvent::Built { .. }) {
            self.progress(gst::ProgressType::Continue, &event.to_string());
        }
        if matches!(event, DeviceEvent::Refused { .. }) {
            gst::element_imp_warning!(self, gst::ResourceError::NotFound, ("{event}"));
        }
        self.post(messages::device_event_structure(event));
    }

    /// Says how the opening of the engine goes: with a large pack it takes its time.
    fn progress(&self, kind: gst::ProgressType, text: &str) {
        let message = gst::message::Progress::builder(kind, "engine", text).src(&*self.obj()).build();
        if self.obj().post_message(message).is_err() {
            gst::debug!(CAT, imp = self, "no bus for progress");
        }
    }

    /// Brings animated properties to the frame's time.
    fn animate(&self, buffer: &gst::BufferRef) {
        let obj = self.obj();
        let segment = obj.segment();
        let time = segment
            .downcast_ref::<gst::ClockTime>()
            .and_then(|segment| segment.to_stream_time(buffer.pts()));
        if let Some(time) = time
            && obj.sync_values(time).is_err()
        {
            gst::debug!(CAT, imp = self, "properties could not be brought to {time}");
        }
    }

    /// Takes one frame in.
    fn accept(&self, buffer: gst::Buffer, settings: &Settings, limits: Limits) -> Result<(), gst::FlowError> {
        lock(&self.counters).taken += 1;
        let duration = buffer.duration();
        let result = match lock(&self.stream).as_mut() {
            Some(stream) => stream.accept(buffer, settings, limits),
            None => Err(gst::FlowError::Flushing),
        };
        let unknown = lock(&self.delay).frame.is_none();
        if unknown && duration.is_some() {
            self.set_delay(|delay| delay.frame = duration);
        }
        result
    }

    /// Works through a frame that is not to be shown: it leaves no trace but in what follows.
    fn rehearse(&self, buffer: gst::Buffer) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let (settings, until) = self.frame_settings();
        let failed = match lock(&self.stream).as_mut() {
            Some(stream) => stream.rehearse(buffer, &settings, until)?,
            None => return Err(gst::FlowError::Flushing),
        };
        if let Some(fault) = failed {
            gst::warning!(CAT, imp = self, "a frame that is not shown was not worked through: {fault}");
        }
        Ok(GenerateOutputSuccess::NoOutput)
    }

    /// Lets one item out.
    fn step(&self, draining: bool, settings: &Settings, limits: Limits) -> Result<Step, gst::FlowError> {
        let out = match lock(&self.stream).as_mut() {
            Some(stream) => stream.emit(draining, settings, limits),
            None => None,
        };
        match out {
            None => Ok(Step::Nothing),
            Some(Out::Event(event)) => Ok(Step::Event(event)),
            Some(Out::Frame { settled, at }) => self.conclude(*settled, at),
        }
    }

    /// Counts and tells what became of a frame, and does it.
    fn conclude(&self, settled: Settled, at: FrameTime) -> Result<Step, gst::FlowError> {
        self.tell(&settled, at);
        self.audit(&settled, at)?;
        let mut counters = lock(&self.counters);
        if settled.withheld.is_some() {
            counters.withheld += 1;
        }
        match settled.verdict {
            Verdict::Release(mut buffer) => {
                counters.released += 1;
                drop(counters);
                if self.lost.swap(false, Ordering::Relaxed)
                    && let Some(inner) = buffer.get_mut()
                {
                    inner.set_flags(gst::BufferFlags::DISCONT);
                }
                self.write_regions(&mut buffer, settled.report.as_ref());
                Ok(Step::Push(buffer))
            }
            Verdict::Drop => {
                counters.dropped += 1;
                Ok(Step::Dropped)
            }
            Verdict::Fail => {
                drop(counters);
                let time = gst::ClockTime::from_nseconds(at.pts.0);
                let why = settled
                    .fault
                    .unwrap_or_else(|| "its faces could not be treated as asked".to_owned());
                gst::element_imp_error!(self, gst::StreamError::Failed, ("frame at {time} was not released: {why}"));
                Err(gst::FlowError::Error)
            }
        }
    }

    /// Attaches the regions where that is wanted.
    fn write_regions(&self, buffer: &mut gst::Buffer, report: Option<&FrameReport>) {
        if !lock(&self.properties).write_regions {
            return;
        }
        let caps = self.obj().src_pad().current_caps();
        let info = caps.and_then(|caps| gst_video::VideoInfo::from_caps(&caps).ok());
        if let (Some(report), Some(info), Some(inner)) = (report, info, buffer.get_mut()) {
            regions::write(inner, report, info.width(), info.height());
        }
    }

    /// Writes the frame to the audit trail, in running time.
    fn audit(&self, settled: &Settled, at: FrameTime) -> Result<(), gst::FlowError> {
        let pts = gst::ClockTime::from_nseconds(at.pts.0);
        let segment = self.obj().segment();
        let time = segment
            .downcast_ref::<gst::ClockTime>()
            .and_then(|s| s.to_running_time(pts))
            .unwrap_or(pts);
        let duration = gst::ClockTime::from_nseconds(at.duration_ns);
        self.audit.frame(settled, time.seconds_f64(), duration.seconds_f64()).map_err(|e| {
            gst::element_imp_error!(self, gst::ResourceError::Write, ("audit-location cannot be written: {e}"));
            gst::FlowError::Error
        })
    }

    /// Posts what changed since the frame before.
    fn tell(&self, settled: &Settled, at: FrameTime) {
        let key = messages::key(settled);
        {
            let mut told = lock(&self.told);
            if told.as_ref() == Some(&key) {
                return;
            }
            *told = Some(key);
        }
        if let Some(fault) = &settled.fault {
            gst::warning!(CAT, imp = self, "frame at {} ns: {fault}", at.pts.0);
        }
        self.post(messages::structure(settled, at));
    }

    /// Lets all frames held out, before something that must not overtake them.
    fn drain(&self) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.let_out(true, None)
    }

    /// Brings lookahead and detector to what is asked for now; frames held too many leave first.
    fn take_means(&self) -> Result<(), gst::FlowError> {
        let means = lock(&self.properties).config.means();
        let too_many = lock(&self.stream).as_mut().is_some_and(|stream| stream.take_means(means));
        if too_many {
            self.let_out(false, self.pace())?;
        }
        Ok(())
    }

    /// Lets frames out one after the other: all of them where `draining`, else those whose turn has come.
    fn let_out(&self, draining: bool, pace: Option<Duration>) -> Result<gst::FlowSuccess, gst::FlowError> {
        loop {
            let begun = pace.map(|pace| (pace, Instant::now()));
            let (settings, until) = self.frame_settings();
            let aim = begun.and_then(|(pace, _)| lock(&self.stream).as_ref()?.aim(pace));
            match self.step(draining, &settings, Limits { until, aim, pace })? {
                Step::Nothing => return Ok(gst::FlowSuccess::Ok),
                Step::Dropped => self.lost.store(true, Ordering::Relaxed),
                Step::Event(event) => {
                    BaseTransformImplExt::parent_sink_event(self, event);
                }
                Step::Push(buffer) => {
                    self.obj().src_pad().push(buffer)?;
                }
            }
            if let Some((pace, begun)) = begun {
                self.govern(begun.elapsed(), pace);
            }
        }
    }

    /// [`Self::drain`] where the outcome cannot be answered to anyone: what follows goes on anyway,
    /// and the next buffer meets the same flow return.
    fn drain_before(&self, what: &str) {
        if let Err(error) = self.drain() {
            gst::debug!(CAT, imp = self, "drained before {what}: {error}");
        }
    }

    fn note(&self, kind: Discontinuity) {
        if let Some(stream) = lock(&self.stream).as_mut() {
            stream.note(kind);
        }
    }

    /// Changes the element's own delay; tells the pipeline when the sum is another.
    fn set_delay(&self, change: impl FnOnce(&mut Delay)) {
        let changed = {
            let mut delay = lock(&self.delay);
            let before = delay.total();
            change(&mut delay);
            delay.total() != before
        };
        if changed
            && self
                .obj()
                .post_message(gst::message::Latency::builder().src(&*self.obj()).build())
                .is_err()
        {
            gst::debug!(CAT, imp = self, "no bus for the latency message");
        }
    }

    /// Whether a segment event says something new. A seek without flush shows only here.
    fn segment_changes(&self, event: &gst::Event) -> bool {
        let mut last = lock(&self.segment);
        let changes = match (last.as_ref().map(|event| event.view()), event.view()) {
            (Some(gst::EventView::Segment(old)), gst::EventView::Segment(new)) => old.segment() != new.segment(),
            _ => false,
        };
        *last = Some(event.clone());
        changes
    }
}

/// A time that a frame may take, as GStreamer says it; none is zero.
fn clock_time(duration: Option<Duration>) -> gst::ClockTime {
    duration.and_then(|d| gst::ClockTime::try_from(d).ok()).unwrap_or_default()
}

#[glib::object_subclass]
impl ObjectSubclass for NullfaceFilter {
    const NAME: &'static str = "GstNullfaceFilter";
    type Type = super::NullfaceFilter;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for NullfaceFilter {
    fn properties() -> &'static [glib::ParamSpec] {
        SPECS.as_slice()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let name = pspec.name();
        let result = lock(&self.properties).set(name, value);
        match result {
            Ok(Some(_)) if ["seed", "handover"].contains(&name) => gst::info!(CAT, imp = self, "{name} set"),
            Ok(Some(others)) => {
                gst::info!(CAT, imp = self, "{name} = {value:?}");
                for other in others {
                    self.obj().notify(other);
                }
            }
            Ok(None) => gst::error!(CAT, imp = self, "no property {name}"),
            Err(error) => gst::error!(CAT, imp = self, "property {name}: {error}"),
        }
        if self.running.load(Ordering::SeqCst) {
            let (deadline, lookahead) = {
                let properties = lock(&self.properties);
                (properties.settings.deadline, properties.config.lookahead)
            };
            self.set_delay(|delay| {
                delay.deadline = clock_time(deadline);
                delay.held_back = held_back(lookahead) as u64;
            });
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if pspec.name() == "stats" {
            let engine = lock(&self.stats).clone();
            return messages::stats_structure(&engine, &lock(&self.counters)).to_value();
        }
        if pspec.name() == "handed-over" {
            return lock(&self.handed_over).to_value();
        }
        lock(&self.properties)
            .get(pspec.name())
            .unwrap_or_else(|| pspec.default_value().clone())
    }

    fn constructed(&self) {
        self.parent_constructed();
        // Late frames are dropped by the base class before they come here, as in GstVideoFilter.
        self.obj().set_property("qos", true);
    }
}

impl GstObjectImpl for NullfaceFilter {}

impl ElementImpl for NullfaceFilter {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face anonymiser",
                "Filter/Effect/Video",
                "Makes every face in the picture unrecognisable; a frame that cannot be treated does not leave as it came",
                "The nullface authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                .into_iter()
                .filter_map(|(name, direction)| gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &TEMPLATE_CAPS).ok())
                .collect()
        });
        &TEMPLATES
    }

    fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::PausedToReady {
            // Pads are about to wait for the streaming thread, which may be waiting for the engine.
            self.interrupt.raise();
        }
        self.parent_change_state(transition)
    }
}

impl BaseTransformImpl for NullfaceFilter {
    const MODE: BaseTransformMode = BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        self.interrupt.lower();
        let (config, settings, deadline) = {
            let properties = lock(&self.properties);
            (
                properties.config.clone(),
                properties.engine_settings(),
                properties.settings.deadline,
            )
        };
        let audit = lock(&self.properties).audit_location.clone();
        *lock(&self.stats) = Stats::default();
        *lock(&self.handed_over) = None;
        *lock(&self.counters) = Counters::default();
        *lock(&self.told) = None;
        *lock(&self.segment) = None;
        *lock(&self.live) = None;
        self.was_discont.store(false, Ordering::Relaxed);
        self.lost.store(false, Ordering::Relaxed);
        let means = config.means();
        let lookahead = means.lookahead;
        let mode = settings.mode;
        let factory = Arc::clone(&lock(&self.factory));
        self.audit.start(audit.as_deref(), &config, &settings)?;
        self.progress(gst::ProgressType::Start, "opening the models");
        let mut config = config;
        let weak = self.obj().downgrade();
        config.device_events = DeviceEvents::new(move |event| {
            if let Some(element) = weak.upgrade() {
                element.imp().device_event(&event);
            }
        });
        let (stats, handed_over) = (Arc::clone(&self.stats), Arc::clone(&self.handed_over));
        let started = Worker::start(factory, config, settings, stats, handed_over, Arc::clone(&self.interrupt));
        let (worker, device) = started.map_err(|error| {
            self.progress(gst::ProgressType::Error, "the models cannot be opened");
            start_error(&error)
        })?;
        self.progress(gst::ProgressType::Complete, "the models are open");
        self.post(messages::device_structure(&device));
        gst::info!(CAT, imp = self, "networks run on {}: {}", device.device, device.reason);
        *lock(&self.stream) = Some(Stream::new(worker, means, mode));
        self.set_delay(|delay| {
            *delay = Delay {
                held_back: held_back(lookahead) as u64,
                frame: None,
                deadline: clock_time(deadline),
            }
        });
        self.running.store(true, Ordering::SeqCst);
        gst::info!(CAT, imp = self, "started, lookahead {lookahead}");
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        self.running.store(false, Ordering::SeqCst);
        self.interrupt.raise();
        let stream = lock(&self.stream).take();
        if let Some(stream) = stream
            && !stream.stop()
        {
            gst::warning!(CAT, imp = self, "the engine is still busy; its thread is left to end by itself");
        }
        *lock(&self.segment) = None;
        self.audit
            .stop()
            .map_err(|e| gst::error_msg!(gst::ResourceError::Write, ("audit-location cannot be written: {e}")))?;
        gst::info!(CAT, imp = self, "stopped");
        Ok(())
    }

    fn transform_caps(&self, _direction: gst::PadDirection, caps: &gst::Caps, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        let caps = progressive_only(caps);
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    fn accept_caps(&self, direction: gst::PadDirection, caps: &gst::Caps) -> bool {
        match Negotiated::from_caps(caps) {
            Ok(_) => self.parent_accept_caps(direction, caps),
            Err(error) => {
                gst::warning!(CAT, imp = self, "{error}");
                false
            }
        }
    }

    fn set_caps(&self, incaps: &gst::Caps, outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        if incaps != outcaps {
            return Err(gst::loggable_error!(
                CAT,
                "caps: expected the same on both pads, got {incaps} and {outcaps}"
            ));
        }
        let negotiated = Negotiated::from_caps(incaps).map_err(|error| gst::loggable_error!(CAT, "{error}"))?;
        let frame = negotiated.frame_duration();
        if let Some(stream) = lock(&self.stream).as_mut() {
            stream.renegotiate(Arc::new(negotiated));
        }
        self.set_delay(|delay| delay.frame = frame);
        Ok(())
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        if direction == gst::PadDirection::Sink && query.type_() == gst::QueryType::Drain {
            self.drain_before("a drain query");
        }
        if !BaseTransformImplExt::parent_query(self, direction, query) {
            return false;
        }
        if direction == gst::PadDirection::Src
            && let gst::QueryViewMut::Latency(latency) = query.view_mut()
        {
            let own = lock(&self.delay).total();
            let (live, min, max) = latency.result();
            latency.set(live, min + own, max.map(|max| max.saturating_add(own)));
        }
        true
    }

    fn unit_size(&self, caps: &gst::Caps) -> Option<usize> {
        Negotiated::from_caps(caps).ok().map(|negotiated| negotiated.info.size())
    }

    fn propose_allocation(
        &self,
        decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        self.parent_propose_allocation(decide_query, query)?;
        query.add_allocation_meta::<gst_video::VideoMeta>(None);
        Ok(())
    }

    #[allow(clippy::collapsible_match, reason = "a guard would let the event fall through to the last arm")]
    fn sink_event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::FlushStart(_) => self.interrupt.raise(),
            gst::EventView::FlushStop(_) => {
                self.interrupt.lower();
                if let Some(stream) = lock(&self.stream).as_mut() {
                    stream.flush();
                }
                *lock(&self.told) = None;
                *lock(&self.segment) = None;
            }
            gst::EventView::Eos(_) => self.drain_before("EOS"),
            gst::EventView::Caps(caps) => {
                if self.obj().sink_pad().current_caps().as_deref() != Some(caps.caps()) {
                    self.drain_before("a change of caps");
                }
            }
            gst::EventView::Segment(_) => {
                if self.segment_changes(&event) {
                    self.drain_before("a new segment");
                    self.note(Discontinuity::Flush);
                }
            }
            gst::EventView::StreamStart(_) => {
                let same = self.obj().sink_pad().stream_id().is_none_or(|id| match event.view() {
                    gst::EventView::StreamStart(start) => id == start.stream_id(),
                    _ => true,
                });
                if !same {
                    self.drain_before("another stream");
                    self.note(Discontinuity::Flush);
                }
            }
            gst::EventView::Gap(_) => {
                self.drain_before("a gap");
                self.note(Discontinuity::Gap);
            }
            _ if event.is_serialized() => {
                if let Some(stream) = lock(&self.stream).as_mut()
                    && stream.holds_frames()
                {
                    stream.enqueue_event(event);
                    return true;
                }
            }
            _ => {}
        }
        BaseTransformImplExt::parent_sink_event(self, event)
    }

    fn submit_input_buffer(&self, is_discont: bool, inbuf: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        if inbuf.flags().intersects(gst::BufferFlags::DISCONT | gst::BufferFlags::DECODE_ONLY) {
            self.drain()?;
        }
        // The base class says so until something leaves: with frames held back one break would count for all of them.
        let was_discont = self.was_discont.swap(is_discont, Ordering::Relaxed);
        if inbuf.flags().contains(gst::BufferFlags::DISCONT) || (is_discont && !was_discont) {
            self.note(Discontinuity::Gap);
        }
        self.parent_submit_input_buffer(is_discont, inbuf)
    }

    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let buffer = self.take_queued_buffer();
        if let Some(buffer) = &buffer {
            self.animate(buffer);
        }
        self.take_means()?;
        let buffer = match buffer {
            Some(unseen) if unseen.flags().contains(gst::BufferFlags::DECODE_ONLY) => return self.rehearse(unseen),
            seen => seen,
        };
        // The clock is asked where quality may depend on it, and nowhere else.
        let begun = buffer.as_ref().and_then(|_| self.pace()).map(|pace| (pace, Instant::now()));
        // One deadline for what comes in and what leaves for it.
        let (settings, until) = self.frame_settings();
        let aim = begun.and_then(|(pace, _)| lock(&self.stream).as_ref()?.aim(pace));
        let pace = begun.map(|(pace, _)| pace);
        let limits = Limits { until, aim, pace };
        if let Some(buffer) = buffer {
            self.accept(buffer, &settings, limits)?;
        }
        let output = loop {
            match self.step(false, &settings, limits)? {
                Step::Push(buffer) => break GenerateOutputSuccess::Buffer(buffer),
                Step::Dropped => break GenerateOutputSuccess::Dropped,
                Step::Nothing => break GenerateOutputSuccess::NoOutput,
                Step::Event(event) => {
                    BaseTransformImplExt::parent_sink_event(self, event);
                }
            }
        };
        if let Some((pace, begun)) = begun {
            self.govern(begun.elapsed(), pace);
        }
        Ok(output)
    }

    fn transform_ip(&self, _buf: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        Err(gst::FlowError::Error)
    }

    fn transform_ip_passthrough(&self, _buf: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        Err(gst::FlowError::Error)
    }
}
