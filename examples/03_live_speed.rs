//! Speed of a live stream: a film at its own pace through the element, as a camera would send it.
//!
//! Decoded frames wait in memory, are stamped and handed over one by one when they are due, and whatever does not
//! fit into two places of the entrance is lost, as in `nullface live`. Measured of every frame: from when it was
//! due to when it leaves the element, and from when it enters to when it leaves. Behind it a sink keeps time and
//! says what is late, so that the element drops by QoS where it would.
//!
//! Nothing raw: CenterFace looks at every source frame at full resolution (threshold 0.5, at least 20 px); of the
//! middle of each face it finds, at least half of the pixels must have changed when the frame left. What left is
//! kept in memory until then.
//!
//! `cargo run --release --example 03_live_speed -- [--seconds N] [--set PROPERTY=VALUE]… [--p95-ms N] [--csv FILE] FILM`
//! ends with 1 where a face left raw or, with `--p95-ms`, where a frame was lost or the delay's 95th percentile
//! is above it. `--csv` writes a line a frame: milliseconds from due and from in to out, and what became of faces.
#![allow(clippy::print_stdout)] // an example talks

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use gst::prelude::*;
use nullface::backend::{Backend, BackendConfig};
use nullface::frame::BoxPx;
use nullface::stages::detect::CenterFace;

const MIN_FACE_PX: f32 = 20.0;
const THRESHOLD: f32 = 0.5;
/// Share of the middle of a face's box that must have changed.
const CHANGED: f32 = 0.5;
/// Frames that may wait before the element, as in `nullface live`.
const WAITING: u64 = 2;

struct Options {
    film: String,
    seconds: f64,
    p95_ms: Option<f64>,
    csv: Option<String>,
    set: Vec<(String, String)>,
}

fn options() -> Result<Options> {
    let mut o = Options {
        film: String::new(),
        seconds: 60.0,
        p95_ms: None,
        csv: None,
        set: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--seconds" => o.seconds = value()?.parse()?,
            "--p95-ms" => o.p95_ms = Some(value()?.parse()?),
            "--csv" => o.csv = Some(value()?),
            "--set" => {
                let value = value()?;
                let (name, value) = value.split_once('=').context("--set wants PROPERTY=VALUE")?;
                o.set.push((name.to_owned(), value.to_owned()));
            }
            film => film.clone_into(&mut o.film),
        }
    }
    if o.film.is_empty() {
        bail!("usage: 03_live_speed [--seconds N] [--set PROPERTY=VALUE]… [--p95-ms N] [--csv FILE] FILM");
    }
    Ok(o)
}

/// All frames of a film as I420, and their caps.
fn decode(film: &str) -> Result<(Vec<gst::Buffer>, gst::Caps)> {
    let description = format!(
        "filesrc location=\"{film}\" ! decodebin ! videoconvert ! video/x-raw,format=I420 ! appsink name=out sync=false max-buffers=4"
    );
    let pipeline = gst::parse::launch(&description)?;
    let bin = pipeline.downcast_ref::<gst::Bin>().context("a pipeline")?;
    let sink = bin.by_name("out").and_downcast::<gst_app::AppSink>().context("an appsink")?;
    pipeline.set_state(gst::State::Playing)?;
    let (mut frames, mut caps) = (Vec::new(), None);
    while let Ok(sample) = sink.pull_sample() {
        frames.push(sample.buffer().context("a buffer")?.copy_deep()?);
        caps = sample.caps_owned();
    }
    pipeline.set_state(gst::State::Null)?;
    Ok((frames, caps.with_context(|| format!("{film}: no frame"))?))
}

/// What is known of one frame sent.
#[derive(Default, Clone)]
struct Fate {
    due: Option<Instant>,
    entered: Option<Instant>,
    left: Option<Instant>,
    /// Outcome and rung of each region.
    words: Vec<String>,
    pixels: Option<gst::Buffer>,
}

impl Fate {
    /// A line of CSV: number, ms from due and from in to out, regions.
    fn row(&self, n: usize) -> String {
        let ms = |from: Option<Instant>| match (from, self.left) {
            (Some(from), Some(left)) => format!("{:.1}", left.saturating_duration_since(from).as_secs_f64() * 1e3),
            _ => String::new(),
        };
        format!("{n},{},{},{}\n", ms(self.due), ms(self.entered), self.words.join(" + "))
    }
}

type Fates = Arc<Mutex<Vec<Fate>>>;

fn with_fate(fates: &Fates, buffer: &gst::BufferRef, f: impl FnOnce(&mut Fate)) {
    let Some(n) = buffer.offset().try_into().ok().filter(|n: &usize| *n < usize::MAX) else {
        return;
    };
    if let Some(fate) = fates.lock().unwrap_or_else(PoisonError::into_inner).get_mut(n) {
        f(fate);
    }
}

fn watch(faces: &gst::Element, fates: &Fates) -> Result<()> {
    let at = Arc::clone(fates);
    let pad = faces.static_pad("sink").context("a sink pad")?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer() {
            with_fate(&at, buffer, |fate| fate.entered = Some(Instant::now()));
        }
        gst::PadProbeReturn::Ok
    });
    let at = Arc::clone(fates);
    let pad = faces.static_pad("src").context("a source pad")?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let left = Instant::now();
        if let Some(buffer) = info.buffer() {
            with_fate(&at, buffer, |fate| {
                fate.left = Some(left);
                for meta in buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>() {
                    let said = meta.param("nullface");
                    let word = |name| said.and_then(|s| s.get::<String>(name).ok()).unwrap_or_default();
                    fate.words.push(format!("{} {}", word("outcome"), word("rung")));
                }
                // Shared: it must stay as it is.
                fate.pixels = info.buffer().cloned();
            });
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

fn main() -> Result<()> {
    gst::init()?;
    gstnullface::plugin_register_static()?;
    let o = options()?;
    let (film, caps) = decode(&o.film)?;
    let info = gst_video::VideoInfo::from_caps(&caps)?;
    let (numer, denom) = (f64::from(info.fps().numer()), f64::from(info.fps().denom()));
    anyhow::ensure!(numer > 0.0, "{}: it has no frame rate", o.film);
    let pace = Duration::from_secs_f64(denom / numer);
    let count = (o.seconds / pace.as_secs_f64()).round() as usize;

    let pipeline = gst::Pipeline::new();
    let entrance = gst_app::AppSrc::builder()
        .caps(&caps)
        .is_live(true)
        .format(gst::Format::Time)
        .leaky_type(gst_app::AppLeakyType::Downstream)
        .max_buffers(WAITING)
        .max_bytes(0)
        .build();
    let faces = gst::ElementFactory::make("nullfacefilter")
        .property_from_str("profile", "live")
        .property("write-regions", true)
        .build()?;
    for (name, value) in &o.set {
        anyhow::ensure!(faces.has_property(name), "nullfacefilter has no property {name}");
        faces.set_property_from_str(name, value);
    }
    let exit = gst::ElementFactory::make("fakesink")
        .property("sync", true)
        .property("qos", true)
        .build()?;
    // The sink holds frames until their time; without this the element would wait for it.
    let hold = gst::ElementFactory::make("queue").build()?;
    pipeline.add_many([entrance.upcast_ref(), &faces, &hold, &exit])?;
    gst::Element::link_many([entrance.upcast_ref(), &faces, &hold, &exit])?;
    let fates: Fates = Arc::new(Mutex::new(vec![Fate::default(); count]));
    watch(&faces, &fates)?;
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().context("a bus")?;
    let clock = pipeline.clock().unwrap_or_else(gst::SystemClock::obtain);
    let base = pipeline.base_time().unwrap_or_else(|| clock.time());

    let begun = Instant::now();
    let (mut late, mut rungs) = (0_u64, Vec::new());
    for n in 0..count {
        let source = film.get(n % film.len()).context("a frame")?;
        let mut buffer = source.copy_deep()?;
        let due = begun + pace.mul_f64(n as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let inner = buffer.get_mut().context("a buffer of one's own")?;
        inner.set_pts(clock.time().saturating_sub(base));
        inner.set_dts(gst::ClockTime::NONE);
        inner.set_duration(gst::ClockTime::try_from(pace)?);
        inner.set_offset(n as u64);
        if let Some(fate) = fates.lock().unwrap_or_else(PoisonError::into_inner).get_mut(n) {
            fate.due = Some(due);
        }
        entrance.push_buffer(buffer)?;
        while let Some(message) = bus.pop() {
            match message.view() {
                gst::MessageView::Qos(_) => late += 1,
                gst::MessageView::Error(e) => bail!("{}: {}", e.error(), e.debug().unwrap_or_default()),
                gst::MessageView::Element(e) => {
                    if let Some(s) = e.structure().filter(|s| s.name() == "nullface-rung") {
                        rungs.push(format!("{:.1} s {}", begun.elapsed().as_secs_f64(), s.get::<String>("rung")?));
                    }
                }
                _ => {}
            }
        }
    }
    entrance.end_of_stream()?;
    bus.timed_pop_filtered(gst::ClockTime::from_seconds(10), &[gst::MessageType::Eos, gst::MessageType::Error]);
    let stats: gst::Structure = faces.property("stats");
    pipeline.set_state(gst::State::Null)?;
    let fates = std::mem::take(&mut *fates.lock().unwrap_or_else(PoisonError::into_inner));

    let p95 = figures(&fates, late, &rungs);
    if let Some(path) = &o.csv {
        let rows = fates.iter().enumerate().map(|(n, f)| f.row(n));
        std::fs::write(path, rows.collect::<String>()).with_context(|| path.clone())?;
    }
    println!("element: {stats}");
    let raw = audit(&fates, &film, &caps, &info)?;
    let lost = fates.iter().filter(|f| f.left.is_none()).count();
    if raw > 0 {
        bail!("{raw} faces left as they came");
    }
    if let Some(limit) = o.p95_ms {
        anyhow::ensure!(lost == 0 && late == 0, "{lost} frames were lost, {late} were late");
        anyhow::ensure!(p95 <= limit, "95th percentile {p95:.1} ms, {limit} ms allowed");
    }
    Ok(())
}

/// Prints delays and what became of faces; returns the 95th percentile from due to left, ms.
fn figures(fates: &[Fate], late: u64, rungs: &[String]) -> f64 {
    let sorted = |from: fn(&Fate) -> Option<Instant>| {
        let one = |f: &Fate| Some(f.left?.saturating_duration_since(from(f)?).as_secs_f64() * 1e3);
        let mut ms: Vec<f64> = fates.iter().filter_map(one).collect();
        ms.sort_by(f64::total_cmp);
        ms
    };
    let at = |ms: &[f64], share: f64| {
        ms.get(((ms.len().max(1) - 1) as f64 * share).round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    let left = fates.iter().filter(|f| f.left.is_some()).count();
    println!("{} frames sent, {left} left, {late} late by QoS", fates.len());
    println!("{:<14} {:>8} {:>8} {:>8} {:>8}", "ms", "median", "p95", "p99", "worst");
    let due = sorted(|f| f.due);
    for (name, ms) in [("due to left", &due), ("in to out", &sorted(|f| f.entered))] {
        println!(
            "{name:<14} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
            at(ms, 0.5),
            at(ms, 0.95),
            at(ms, 0.99),
            at(ms, 1.0)
        );
    }
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    for word in fates.iter().flat_map(|f| &f.words) {
        *words.entry(word).or_default() += 1;
    }
    println!("regions: {words:?}; best rung allowed: {rungs:?}");
    at(&due, 0.95)
}

/// Counts faces of the source that left as they came.
fn audit(fates: &[Fate], film: &[gst::Buffer], caps: &gst::Caps, info: &gst_video::VideoInfo) -> Result<usize> {
    let backend = Backend::open(&BackendConfig::default())?;
    let mut judge = CenterFace::open(&backend)?;
    let whole = BoxPx {
        x0: 0.0,
        y0: 0.0,
        x1: info.width() as f32,
        y1: info.height() as f32,
    };
    let mut found: Vec<Vec<BoxPx>> = Vec::new();
    for buffer in film.iter().take(fates.len()) {
        let seen = gstnullface::filter::with_view(buffer, caps, |view| judge.look(view, &whole, 1.0, THRESHOLD))??;
        let boxes = seen.iter().map(|d| d.box_px.clipped(info.width(), info.height()));
        found.push(boxes.filter(|b| b.side() >= MIN_FACE_PX).collect());
    }
    let (mut faces, mut opaque, mut raw) = (0, 0, 0);
    let luma = info.stride()[0] as usize * info.height() as usize;
    for (n, fate) in fates.iter().enumerate() {
        let (Some(source), Some(boxes), Some(left)) = (film.get(n % film.len()), found.get(n % film.len()), &fate.pixels) else {
            continue;
        };
        let (before, after) = (source.map_readable()?, left.map_readable()?);
        let after = after.get(..luma).context("a whole frame")?;
        opaque += usize::from(after.windows(2).all(|w| w[0] == w[1]));
        for face in boxes {
            faces += 1;
            let changed = changed(&before, after, info.stride()[0] as usize, face);
            if changed < CHANGED {
                raw += 1;
                println!("    frame {n}: face {face:?}, {changed:.2} changed");
            }
        }
    }
    println!("{faces} faces that CenterFace finds in the source: {raw} left as they came; {opaque} frames of one colour");
    Ok(raw)
}

/// Share of the middle of a box whose brightness is another.
fn changed(before: &[u8], after: &[u8], stride: usize, face: &BoxPx) -> f32 {
    let (w, h) = (face.x1 - face.x0, face.y1 - face.y0);
    let (mut all, mut others) = (0_u32, 0_u32);
    for y in (face.y0 + h * 0.25) as usize..(face.y1 - h * 0.25) as usize {
        for x in (face.x0 + w * 0.25) as usize..(face.x1 - w * 0.25) as usize {
            all += 1;
            others += u32::from(before.get(y * stride + x) != after.get(y * stride + x));
        }
    }
    others as f32 / all.max(1) as f32
}
