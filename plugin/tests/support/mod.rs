//! Processors that misbehave on cue, test frames, and the comparison of blocks.
//!
//! Fakes wrap a real engine, because only that can make a `Released`. They hold the streams to
//! claims about faults; what a sound engine does to faces is tested elsewhere.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};

use crossbeam::channel::{Receiver, Sender, bounded};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoInfo;
use gstnullface::NullfaceFilter;
use gstnullface::filter::Processor;
use nullface::backend::{Device, ResolvedDevice};
use nullface::frame::{BoxPx, FrameTime, FrameView, FrameViewMut, Landmarks5, Mesh, PlaneMut};
use nullface::pipeline::{
    Budget, Discontinuity, Engine, EngineConfig, EngineError, FrameId, Means, Mode, Parts, Released, Settings, Stats,
};
use nullface::stages::align::{AlignError, FaceHint, MeshFitter};
use nullface::stages::detect::{DetectError, Detection, Detector, Effort};
use nullface::stages::identify::{Embedding, IdentifyError, Recogniser};

/// Every format of the element.
pub(crate) const FORMATS: [&str; 11] = [
    "NV12",
    "I420",
    "P010_10LE",
    "I420_10LE",
    "RGBA",
    "BGRA",
    "RGBx",
    "BGRx",
    "RGB",
    "BGR",
    "YUY2",
];

pub(crate) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().expect("GStreamer");
        gstnullface::plugin_register_static().expect("plugin");
        // As G_DEBUG=fatal-warnings: GLib's and GStreamer's warnings end the test.
        let fatal = gst::glib::LogLevels::LEVEL_ERROR | gst::glib::LogLevels::LEVEL_CRITICAL | gst::glib::LogLevels::LEVEL_WARNING;
        gst::glib::log_set_always_fatal(fatal);
    });
}

/// A door that holds whoever waits at it until it is opened.
#[derive(Clone)]
pub(crate) struct Gate {
    open: Arc<Mutex<Option<Sender<()>>>>,
    shut: Receiver<()>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let (open, shut) = bounded(0);
        Self {
            open: Arc::new(Mutex::new(Some(open))),
            shut,
        }
    }

    pub(crate) fn open(&self) {
        self.open.lock().expect("gate").take();
    }

    pub(crate) fn wait(&self) {
        let _ = self.shut.recv();
    }
}

/// What a fake does at a call.
pub(crate) enum Act {
    /// What the engine does.
    Go,
    /// Panic before the engine is asked.
    Panic,
    /// Panic after the engine was asked.
    PanicAfter,
    /// Wait, then do what the engine does.
    Wait(Gate),
    /// Take so long, then do what the engine does.
    Sleep(std::time::Duration),
    /// Analysis: complain. Rendering: as `Go`.
    Fault,
    /// Rendering: come back with the engine's word that the frame was withheld, and leave it as it is.
    Untouched,
}

type Cue = Box<dyn Fn(u64) -> Act + Send + Sync>;

/// What a fake does at the n-th call, counted over all engines of an element, and what it was asked.
pub(crate) struct Script {
    pub(crate) analyse: Cue,
    pub(crate) render: Cue,
    pub(crate) refuse_settings: bool,
    /// Whether the n-th opening fails.
    pub(crate) refuse_open: Box<dyn Fn(u64) -> bool + Send + Sync>,
    pub(crate) opened: AtomicU64,
    pub(crate) analysed: AtomicU64,
    pub(crate) rendered: AtomicU64,
    pub(crate) log: Mutex<Vec<String>>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            analyse: Box::new(|_| Act::Go),
            render: Box::new(|_| Act::Go),
            refuse_settings: false,
            refuse_open: Box::new(|_| false),
            opened: AtomicU64::new(0),
            analysed: AtomicU64::new(0),
            rendered: AtomicU64::new(0),
            log: Mutex::default(),
        }
    }
}

impl Script {
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("log").clone()
    }

    /// Notes which tracks an engine was told to keep, where there are some.
    fn note_kept(&self, settings: &Settings) {
        if !settings.keep_tracks.is_empty() {
            self.note(format!("keep {:?}", settings.keep_tracks));
        }
    }

    fn note(&self, line: impl Into<String>) {
        self.log.lock().expect("log").push(line.into());
    }
}

struct Fake {
    engine: Engine,
    script: Arc<Script>,
}

impl Processor for Fake {
    fn analyse(&mut self, frame: &FrameView<'_>, at: FrameTime, hints: &[Detection]) -> (FrameId, Option<EngineError>) {
        let n = self.script.analysed.fetch_add(1, Ordering::SeqCst);
        self.script.note(format!("analyse {}ms", at.pts.0 / 1_000_000));
        for hint in hints {
            self.script.note(format!("hint {} {}", hint.box_px.x0, hint.box_px.y0));
        }
        let act = (self.script.analyse)(n);
        match act {
            Act::Panic => panic!("on cue, before the analysis"),
            Act::Wait(gate) => gate.wait(),
            Act::Sleep(long) => std::thread::sleep(long),
            Act::Fault => {
                let (id, _) = self.engine.analyse(frame, at, hints);
                return (
                    id,
                    Some(EngineError::Stage {
                        stage: "detect",
                        why: "on cue".to_owned(),
                    }),
                );
            }
            Act::PanicAfter => {
                let _ = self.engine.analyse(frame, at, hints);
                panic!("on cue, after the analysis");
            }
            Act::Go | Act::Untouched => {}
        }
        self.engine.analyse(frame, at, hints)
    }

    fn render(&mut self, id: FrameId, frame: &mut FrameViewMut<'_>, at: FrameTime, budget: Budget) -> Released {
        let n = self.script.rendered.fetch_add(1, Ordering::SeqCst);
        self.script.note(format!("render {}ms", at.pts.0 / 1_000_000));
        let act = (self.script.render)(n);
        match act {
            Act::Panic => panic!("on cue, before the rendering"),
            Act::PanicAfter => {
                drop(self.engine.render(id, frame, at));
                panic!("on cue, after the rendering");
            }
            Act::Wait(gate) => gate.wait(),
            Act::Sleep(long) => std::thread::sleep(long),
            Act::Untouched => {
                // A frame that the engine has forgotten is one it must withhold.
                self.engine.discontinuity(Discontinuity::Flush);
                let info = *frame.info();
                let mut scratch: Vec<(Vec<u8>, usize)> = frame.planes_mut().iter().map(|p| (p.data.to_vec(), p.stride)).collect();
                let planes = scratch
                    .iter_mut()
                    .map(|(data, stride)| PlaneMut { data, stride: *stride })
                    .collect();
                let mut scratch = FrameViewMut::new(info, planes).expect("same geometry");
                let released = self.engine.render(id, &mut scratch, at);
                assert!(
                    released.report().withheld.is_some(),
                    "the fake needs a frame that the engine withholds"
                );
                return released;
            }
            Act::Go | Act::Fault => {}
        }
        self.engine.render_within(id, frame, at, budget)
    }

    fn rehearse(&mut self, frame: &mut FrameViewMut<'_>, at: FrameTime) {
        self.script.note(format!("rehearse {}ms", at.pts.0 / 1_000_000));
        self.engine.rehearse(frame, at);
    }

    fn handover(&self) -> Result<Option<String>, EngineError> {
        self.engine.handover()
    }

    fn discontinuity(&mut self, kind: Discontinuity) {
        self.script.note(format!("{kind:?}").to_lowercase());
        self.engine.discontinuity(kind);
    }

    fn set_settings(&mut self, settings: Settings) -> Result<(), EngineError> {
        self.script.note(format!("settings {} {}", settings.mode, settings.threshold));
        self.script.note_kept(&settings);
        if self.script.refuse_settings {
            return Err(EngineError::Setting {
                name: "threshold",
                expected: "another",
                got: settings.threshold.to_string(),
            });
        }
        self.engine.set_settings(solid(settings))
    }

    fn set_means(&mut self, means: &Means) {
        self.engine.set_means(means);
    }

    fn means(&self) -> Means {
        self.engine.means()
    }

    fn stats(&self) -> Stats {
        self.engine.stats()
    }

    fn device(&self) -> &ResolvedDevice {
        self.engine.device()
    }
}

/// Covered by one colour, so that even a frame of one pixel cannot keep its own.
fn solid(settings: Settings) -> Settings {
    Settings {
        mode: Mode::Solid,
        ..settings
    }
}

/// Networks that see one face as large as any frame: whatever the engine treats, it treats whole.
pub(crate) fn whole_frame_parts() -> Parts {
    Parts {
        detector: Box::new(WholeFrame),
        mesh: Box::new(WholeFrame),
        recogniser: Box::new(WholeFrame),
        device: ResolvedDevice {
            device: Device::Cpu,
            reason: "a test".to_owned(),
            strict: false,
        },
    }
}

struct WholeFrame;

impl Detector for WholeFrame {
    fn name(&self) -> &'static str {
        "whole frame"
    }

    fn detect(&mut self, frame: &FrameView<'_>, _threshold: f32, _effort: Effort) -> Result<Vec<Detection>, DetectError> {
        let (w, h) = (frame.width() as f32, frame.height() as f32);
        let box_px = BoxPx::around([w / 2.0, h / 2.0], w * 2.0 + 16.0, h * 2.0 + 16.0);
        Ok(vec![Detection {
            box_px,
            score: 0.9,
            landmarks: None,
        }])
    }
}

impl MeshFitter for WholeFrame {
    fn fit(&mut self, _frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        let none = Mesh {
            points_px: vec![[0.0; 2]; 468],
            depth_px: vec![0.0; 468],
            face_prob: 0.0,
        };
        Ok(vec![none; hints.len()])
    }
}

impl Recogniser for WholeFrame {
    fn name(&self) -> &str {
        "whole frame"
    }

    fn same_person_cos(&self) -> f32 {
        0.5
    }

    fn embed(&mut self, _frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        Ok(vec![Embedding(vec![1.0, 0.0]); faces.len()])
    }
}

/// An element with a scripted engine.
pub(crate) fn element(script: &Arc<Script>) -> gst::Element {
    init();
    // The harness is a live source, and printing a panic takes longer than a frame lasts.
    let element = gst::ElementFactory::make("nullfacefilter").build().expect("element");
    element.set_property_from_str("adapt", "never");
    let filter = element.clone().downcast::<NullfaceFilter>().expect("the element's type");
    let script = Arc::clone(script);
    filter.set_processor_factory(Box::new(move |config: &EngineConfig, settings: &Settings| {
        let n = script.opened.fetch_add(1, Ordering::SeqCst);
        script.note_kept(settings);
        if (script.refuse_open)(n) {
            return Err(EngineError::Backend(nullface::backend::BackendError::Model {
                name: "centerface".to_owned(),
                path: "models/centerface.onnx".to_owned(),
                why: "no such file".to_owned(),
                remedy: "run scripts/setup.sh".to_owned(),
            }));
        }
        Ok(Box::new(Fake {
            engine: Engine::from_parts(whole_frame_parts(), config, solid(settings.clone()))?,
            script: Arc::clone(&script),
        }))
    }));
    element
}

/// A harness about an element, with a bus to read.
pub(crate) fn harness(element: &gst::Element, caps: &str) -> (Harness, gst::Bus) {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut h = Harness::with_element(element, Some("sink"), Some("src"));
    h.set_src_caps(caps.parse().expect("caps"));
    h.play();
    (h, bus)
}

pub(crate) fn caps(format: &str, width: u32, height: u32) -> String {
    format!("video/x-raw,format={format},width={width},height={height},framerate=25/1")
}

pub(crate) fn info(caps: &str) -> VideoInfo {
    init();
    VideoInfo::from_caps(&caps.parse::<gst::Caps>().expect("caps")).expect("video caps")
}

/// A reproducible frame of which no sample has the value of an opaque cover.
pub(crate) fn frame(caps: &str, index: u64) -> gst::Buffer {
    let info = info(caps);
    let mut state = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(40 + (state >> 33) % 80).expect("below 256")
    };
    let wide = info.comp_depth(0) > 8;
    let high = info.format() == gst_video::VideoFormat::P01010le;
    let mut bytes = Vec::with_capacity(info.size());
    while bytes.len() < info.size() {
        if wide {
            let sample = u16::from(next()) + 160;
            bytes.extend((if high { sample << 6 } else { sample }).to_le_bytes());
        } else {
            bytes.push(next());
        }
    }
    bytes.truncate(info.size());
    stamped(gst::Buffer::from_mut_slice(bytes), index)
}

/// The `index`-th frame at 25 frames/s.
pub(crate) fn stamped(mut buffer: gst::Buffer, index: u64) -> gst::Buffer {
    let inner = buffer.get_mut().expect("only reference");
    inner.set_pts(gst::ClockTime::from_mseconds(40) * index);
    inner.set_duration(gst::ClockTime::from_mseconds(40));
    buffer
}

/// Frames of the sample film, as many as it has or as are asked for, in the size and format of the caps.
pub(crate) fn film(caps: &str, most: usize) -> Vec<gst::Buffer> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/interview.mp4");
    let caps: String = caps
        .split(',')
        .filter(|field| !field.starts_with("framerate"))
        .collect::<Vec<_>>()
        .join(",");
    let description = format!(
        "filesrc location={} ! decodebin ! videoconvert ! videoscale ! appsink name=out sync=false max-buffers=2 caps={caps}",
        path.display()
    );
    let pipeline = gst::parse::launch(&description).expect("pipeline");
    let bin = pipeline.downcast_ref::<gst::Bin>().expect("bin");
    let sink = bin.by_name("out").and_downcast::<gst_app::AppSink>().expect("sink");
    pipeline.set_state(gst::State::Playing).expect("plays");
    let mut frames = Vec::new();
    while frames.len() < most
        && let Ok(sample) = sink.pull_sample()
    {
        frames.push(sample.buffer().expect("buffer").copy_deep().expect("copy"));
    }
    pipeline.set_state(gst::State::Null).expect("stops");
    frames
}

fn rows(info: &VideoInfo, buffer: &gst::BufferRef) -> Vec<(usize, Vec<Vec<u8>>)> {
    let map = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).expect("frame");
    use gst_video::prelude::*;
    (0..map.n_planes())
        .map(|plane| {
            let stride = usize::try_from(map.plane_stride()[plane as usize]).expect("stride");
            let comps: Vec<u32> = (0..map.n_components()).filter(|c| map.comp_plane(*c) == plane).collect();
            let width = comps
                .iter()
                .map(|c| map.comp_width(*c) as usize * map.comp_pstride(*c) as usize)
                .max()
                .expect("a component");
            let pstride = comps.iter().map(|c| map.comp_pstride(*c) as usize).max().expect("a component");
            let height = map.plane_height(plane) as usize;
            let data = map.plane_data(plane).expect("plane");
            (
                pstride,
                data.chunks(stride)
                    .take(height)
                    .map(|row| row[..width.min(row.len())].to_vec())
                    .collect(),
            )
        })
        .collect()
}

/// Asserts that no 8×8 block of any plane is the source's. Blocks at the border are as large as fits.
pub(crate) fn assert_no_source_block(caps: &str, source: &gst::BufferRef, output: &gst::BufferRef) {
    let info = info(caps);
    let mut compared = 0;
    for (plane, ((pixel, a), (_, b))) in rows(&info, source).into_iter().zip(rows(&info, output)).enumerate() {
        for (y, (band_a, band_b)) in a.chunks(8).zip(b.chunks(8)).enumerate() {
            let width = band_a[0].len();
            for x in (0..width).step_by(8 * pixel) {
                let end = (x + 8 * pixel).min(width);
                let same = band_a.iter().zip(band_b).all(|(a, b)| a[x..end] == b[x..end]);
                assert!(!same, "block {},{y} of plane {plane} is the source's", x / (8 * pixel));
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "nothing was compared");
}

/// Asserts that every sample of a plane repeats: one colour.
pub(crate) fn assert_one_colour(caps: &str, output: &gst::BufferRef) {
    for (pixel, rows) in rows(&info(caps), output) {
        let first: Vec<u8> = rows[0].iter().take(pixel).copied().collect();
        for row in rows {
            for cell in row.chunks(pixel) {
                assert_eq!(cell, &first[..cell.len()], "the frame is not of one colour");
            }
        }
    }
}

/// All messages on a bus now.
pub(crate) fn messages(bus: &gst::Bus) -> Vec<gst::Message> {
    std::iter::from_fn(|| bus.pop()).collect()
}

/// The words of all errors on a bus.
pub(crate) fn errors(bus: &gst::Bus) -> Vec<String> {
    messages(bus)
        .iter()
        .filter_map(|m| match m.view() {
            gst::MessageView::Error(e) => Some(e.error().to_string()),
            _ => None,
        })
        .collect()
}

/// Presentation times of all buffers waiting at a harness's sink, ms.
pub(crate) fn out_ms(h: &mut Harness) -> Vec<u64> {
    std::iter::from_fn(|| h.try_pull())
        .map(|b| b.pts().expect("stamped").mseconds())
        .collect()
}
