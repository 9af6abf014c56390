//! Where the pipelines meet. Source, filter and outputs are pipelines of their own, so that each can
//! die and be built anew without the others:
//!
//! ```text
//! source pipeline ─ picture ─→ [stamp] ─→ filter pipeline ─ anonymised ─→ outputs, monitor
//!                 └ sound ───→ [stamp] ──────────────────────────────────→ outputs
//! ```
//!
//! Raw pictures leave the source pipeline by [`Hub::picture_in`] only, and that pushes them into the
//! filter only. Outputs get what [`Hub::picture_out`] is given, which the filter made.
//!
//! Every entrance is an `appsrc` that drops the oldest when full: nobody ever waits for anybody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gst::prelude::*;

use super::timeline::{Kind, Timeline};

/// Silence of the source after which outputs are fed with a plain picture.
const SILENT_NS: u64 = 500_000_000;

/// Locks whatever a panicking thread left: what is shared here is counters and lists.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pipeline that is stopped when it is dropped, whatever way out was taken.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) gst::Pipeline);

impl std::ops::Deref for Running {
    type Target = gst::Pipeline;

    fn deref(&self) -> &gst::Pipeline {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing can be done about a pipeline that does not stop.
        let _ = self.0.set_state(gst::State::Null);
    }
}

/// An output's entrances, and how its pipeline's time differs from the session's.
#[derive(Debug)]
pub(crate) struct Feed {
    picture: gst_app::AppSrc,
    sound: Option<gst_app::AppSrc>,
    /// The rate that the first picture stated. Encoders and containers take no other in mid-stream.
    rate: Mutex<Option<gst::Fraction>>,
    /// The session's time at the pipeline's zero, ns.
    zero_ns: AtomicU64,
    open: AtomicBool,
}

impl Feed {
    /// The feed of a pipeline's `appsrc`s.
    pub(crate) fn new(picture: gst_app::AppSrc, sound: Option<gst_app::AppSrc>) -> Arc<Self> {
        Arc::new(Self {
            picture,
            sound,
            rate: Mutex::default(),
            zero_ns: AtomicU64::new(0),
            open: AtomicBool::new(true),
        })
    }

    /// Takes nothing more.
    pub(crate) fn close(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Tells the pipeline that nothing more comes.
    pub(crate) fn end(&self) {
        self.close();
        // An entrance that takes no end is in a pipeline that has ended.
        let _ = self.picture.end_of_stream();
        if let Some(sound) = &self.sound {
            let _ = sound.end_of_stream();
        }
    }

    fn push(&self, kind: Kind, sample: &gst::Sample) {
        let to = match kind {
            Kind::Picture => Some(&self.picture),
            Kind::Sound => self.sound.as_ref(),
        };
        let (Some(to), true) = (to, self.open.load(Ordering::Acquire)) else {
            return;
        };
        let zero = gst::ClockTime::from_nseconds(self.zero_ns.load(Ordering::Acquire));
        // From before this output began.
        let Some(pts) = sample.buffer().and_then(|b| b.pts()).and_then(|pts| pts.checked_sub(zero)) else {
            return;
        };
        if let Some(mut moved) = restamped(sample, pts) {
            if kind == Kind::Picture {
                moved = self.at_first_rate(moved);
            }
            // A pipeline that takes nothing says so on its bus.
            let _ = to.push_sample(&moved);
        }
    }
}

impl Feed {
    /// A picture whose caps state the rate of the first one; when it is shown, its stamp says.
    fn at_first_rate(&self, sample: gst::Sample) -> gst::Sample {
        const FIELD: &str = "framerate";
        let Some(caps) = sample.caps() else { return sample };
        let states = caps
            .structure(0)
            .and_then(|s| s.get::<gst::Fraction>(FIELD).ok())
            .unwrap_or(gst::Fraction::new(0, 1));
        let first = *lock(&self.rate).get_or_insert(states);
        if first == states {
            return sample;
        }
        let mut caps = caps.to_owned();
        caps.make_mut().set(FIELD, first);
        let Some(buffer) = sample.buffer_owned() else { return sample };
        gst::Sample::builder().buffer(&buffer).caps(&caps).build()
    }
}

/// What passed.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Frames from the source.
    pub(crate) frames_in: AtomicU64,
    /// Frames from the filter.
    pub(crate) frames_out: AtomicU64,
    /// Plain frames made while the source was silent.
    pub(crate) plain: AtomicU64,
    /// When the last frame came from the source, ns of the session.
    pub(crate) last_in_ns: AtomicU64,
}

/// The meeting place.
#[derive(Debug)]
pub(crate) struct Hub {
    clock: gst::Clock,
    epoch: gst::ClockTime,
    timeline: Mutex<Timeline>,
    filter: gst_app::AppSrc,
    feeds: Mutex<Vec<Arc<Feed>>>,
    last_caps: Mutex<Option<gst::Caps>>,
    last_out_ns: AtomicU64,
    /// The stamp of the last picture given to the outputs.
    last_stamp_ns: Mutex<Option<u64>>,
    /// Delays from arrival to the filter's exit, ms, since asked last.
    delays_ms: Mutex<Vec<f32>>,
    /// What passed.
    pub(crate) counts: Counts,
}

impl Hub {
    /// A session that begins now and hands raw pictures to `filter`.
    pub(crate) fn new(filter: gst_app::AppSrc) -> Arc<Self> {
        let clock = gst::SystemClock::obtain();
        let epoch = clock.time();
        Arc::new(Self {
            clock,
            epoch,
            timeline: Mutex::default(),
            filter,
            feeds: Mutex::default(),
            last_caps: Mutex::default(),
            last_out_ns: AtomicU64::new(0),
            last_stamp_ns: Mutex::default(),
            delays_ms: Mutex::default(),
            counts: Counts::default(),
        })
    }

    /// The session's time, ns. Never runs backwards, whatever happens to the time of day.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.time().saturating_sub(self.epoch).nseconds()
    }

    /// The next stamps come from another connection.
    pub(crate) fn reconnect(&self) {
        lock(&self.timeline).reconnect();
    }

    /// From now on an output gets what comes.
    pub(crate) fn add(&self, feed: &Arc<Feed>) {
        feed.zero_ns.store(self.now_ns(), Ordering::Release);
        lock(&self.feeds).push(Arc::clone(feed));
    }

    /// From now on an output gets nothing.
    pub(crate) fn remove(&self, feed: &Arc<Feed>) {
        feed.close();
        lock(&self.feeds).retain(|other| !Arc::ptr_eq(other, feed));
    }

    /// A raw picture of the source: to the filter.
    pub(crate) fn picture_in(&self, sample: &gst::Sample) {
        let now = self.now_ns();
        let pts = lock(&self.timeline).stamp(Kind::Picture, running_ns(sample), now);
        let Some(moved) = restamped(sample, gst::ClockTime::from_nseconds(pts)) else {
            return;
        };
        self.counts.frames_in.fetch_add(1, Ordering::Relaxed);
        self.counts.last_in_ns.store(now, Ordering::Relaxed);
        // A filter that takes nothing says so on its bus, and ends the session.
        let _ = self.filter.push_sample(&moved);
    }

    /// Sound of the source: to the outputs.
    pub(crate) fn sound_in(&self, sample: &gst::Sample) {
        let pts = lock(&self.timeline).stamp(Kind::Sound, running_ns(sample), self.now_ns());
        if let Some(moved) = restamped(sample, gst::ClockTime::from_nseconds(pts)) {
            self.give(Kind::Sound, &moved);
        }
    }

    /// An anonymised picture: to the outputs.
    pub(crate) fn picture_out(&self, sample: &gst::Sample) {
        let now = self.now_ns();
        if let Some(pts) = sample.buffer().and_then(|b| b.pts()) {
            lock(&self.delays_ms).push(now.saturating_sub(pts.nseconds()) as f32 / 1e6);
        }
        *lock(&self.last_caps) = sample.caps_owned();
        self.last_out_ns.store(now, Ordering::Relaxed);
        self.counts.frames_out.fetch_add(1, Ordering::Relaxed);
        self.give(Kind::Picture, sample);
    }

    /// Keeps outputs alive while the source is silent: a plain picture now and then. Servers hang up
    /// on those who send nothing, and recordings stay in step with the clock.
    pub(crate) fn keep_alive(&self) {
        let now = self.now_ns();
        if now.saturating_sub(self.last_out_ns.load(Ordering::Relaxed)) < SILENT_NS {
            return;
        }
        let Some(caps) = lock(&self.last_caps).clone() else { return };
        let Some(mut buffer) = plain(&caps) else { return };
        let pts = lock(&self.timeline).stamp(Kind::Picture, None, now);
        if let Some(inner) = buffer.get_mut() {
            inner.set_pts(gst::ClockTime::from_nseconds(pts));
        }
        self.last_out_ns.store(now, Ordering::Relaxed);
        self.counts.plain.fetch_add(1, Ordering::Relaxed);
        self.give(Kind::Picture, &gst::Sample::builder().buffer(&buffer).caps(&caps).build());
    }

    /// Delays since the last call: median and 95th percentile, ms.
    pub(crate) fn delays(&self) -> Option<(f32, f32)> {
        let mut delays = std::mem::take(&mut *lock(&self.delays_ms));
        delays.sort_by(f32::total_cmp);
        let at = |share: f32| {
            delays
                .get((delays.len().saturating_sub(1) as f32 * share).round() as usize)
                .copied()
        };
        at(0.5).zip(at(0.95))
    }

    /// Caps of the last anonymised picture.
    pub(crate) fn caps(&self) -> Option<gst::Caps> {
        lock(&self.last_caps).clone()
    }

    fn give(&self, kind: Kind, sample: &gst::Sample) {
        if kind == Kind::Picture {
            // A frame that was in the filter while a plain one took its place comes too late.
            let stamp = sample.buffer().and_then(|b| b.pts()).map(gst::ClockTime::nseconds);
            let mut last = lock(&self.last_stamp_ns);
            if stamp <= *last {
                return;
            }
            *last = stamp;
        }
        let feeds = lock(&self.feeds).clone();
        for feed in feeds {
            feed.push(kind, sample);
        }
    }
}

/// The same data at another time, in a segment that begins at zero.
fn restamped(sample: &gst::Sample, pts: gst::ClockTime) -> Option<gst::Sample> {
    let mut buffer = sample.buffer()?.copy();
    let inner = buffer.get_mut()?;
    inner.set_pts(pts);
    inner.set_dts(gst::ClockTime::NONE);
    let caps = sample.caps_owned()?;
    Some(gst::Sample::builder().buffer(&buffer).caps(&caps).build())
}

fn running_ns(sample: &gst::Sample) -> Option<u64> {
    let pts = sample.buffer()?.pts()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(pts).map(gst::ClockTime::nseconds)
}

/// A dark picture in NV12 or I420.
fn plain(caps: &gst::CapsRef) -> Option<gst::Buffer> {
    let info = gst_video::VideoInfo::from_caps(caps).ok()?;
    let chroma = *info.offset().get(1)?;
    let mut bytes = vec![128_u8; info.size()];
    bytes.get_mut(..chroma)?.fill(16);
    Some(gst::Buffer::from_mut_slice(bytes))
}
