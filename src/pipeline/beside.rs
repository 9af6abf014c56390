//! The detector's look beside the rendering of the same frame.
//!
//! Where frames leave as they come (no lookahead) and faces are replaced, a look and the new faces cost about
//! the same, and each keeps one core busy. So the look goes over a copy of the frame on a thread of its own
//! while the faces known already are replaced, and is waited for before the frame leaves: what it found that no
//! region covers is covered then. No frame leaves before its look has had its say, and no clock is asked, so
//! a film comes out the same on any machine.
//!
//! Where frames come at a pace, this is so whatever becomes of faces, and the look begins before their meshes are
//! fitted: it goes where the frame before left a doubt.
//!
//! The detector itself travels with the job and comes back with the answer: it remembers earlier frames, and a
//! second one would cost its memory once more. A detector whose thread is lost makes every look an error, which
//! covers whole frames.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use nullface_kernels::cuda::Resident;

use crate::frame::{BoxPx, FrameInfo, FrameView, Plane};
use crate::stages::detect::{Detection, Detector, Effort};

use super::engine::EngineError;
use super::schedule::Turn;

/// A copy of a frame; its memory is kept from look to look.
#[derive(Default)]
struct Copied {
    info: Option<FrameInfo>,
    planes: Vec<(Vec<u8>, usize)>,
    resident: Option<Resident>,
}

impl Copied {
    fn take(&mut self, frame: &FrameView<'_>) {
        self.info = Some(*frame.info());
        self.resident = frame.resident().cloned();
        self.planes.resize_with(frame.planes().len(), Default::default);
        for ((bytes, stride), plane) in self.planes.iter_mut().zip(frame.planes()) {
            bytes.clear();
            bytes.extend_from_slice(plane.data);
            *stride = plane.stride;
        }
    }

    fn look(&mut self, detector: &mut dyn Detector, threshold: f32, turn: Turn) -> Result<Seen, String> {
        let mut planes = [Plane { data: &[], stride: 0 }; 3];
        for (to, (data, stride)) in planes.iter_mut().zip(&self.planes) {
            *to = Plane { data, stride: *stride };
        }
        let info = self.info.ok_or("no frame to look at")?;
        let planes = planes.get(..self.planes.len()).unwrap_or(&[]);
        let resident = self.resident.take();
        let view = FrameView::new(info, planes).map_err(|e| e.to_string())?;
        look(detector, &view.with_resident(resident.as_ref()), threshold, turn)
    }
}

fn look(detector: &mut dyn Detector, frame: &FrameView<'_>, threshold: f32, turn: Turn) -> Result<Seen, String> {
    let begun = Instant::now();
    let seen = match turn {
        Turn::Whole(effort) => detector.detect(frame, threshold, effort).map(|found| (found, Vec::new(), None)),
        Turn::Part(part) => detector
            .detect_part(frame, threshold, part)
            .map(|seen| (seen.whole, seen.cut, Some(seen.part_px))),
        Turn::Around(part) => detector.detect_in(frame, part, threshold).map(|found| {
            // The frame's own edge cuts nothing off.
            let inside = |d: &Detection| part.hull(&d.box_px.clipped(frame.width(), frame.height())) == part;
            let (whole, cut) = found.into_iter().partition(inside);
            (whole, cut, Some(part))
        }),
    };
    let (found, cut, part) = seen.map_err(|e| e.to_string())?;
    let took = begun.elapsed();
    Ok(Seen { found, cut, part, took })
}

/// What a look found.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) found: Vec<Detection>,
    /// Pieces of faces that the part's edge cuts.
    pub(super) cut: Vec<Detection>,
    /// Where it went, frame px; none = everywhere.
    pub(super) part: Option<BoxPx>,
    pub(super) took: Duration,
}

struct Job {
    detector: Box<dyn Detector>,
    frame: Copied,
    threshold: f32,
    turn: Turn,
}

struct Answer {
    detector: Box<dyn Detector>,
    frame: Copied,
    found: Result<Seen, String>,
}

/// Both ends of the thread's queues. It ends when they are dropped.
struct Line {
    jobs: Sender<Job>,
    answers: Receiver<Answer>,
}

/// The detector, at home or away.
pub(super) struct Looker {
    detector: Option<Box<dyn Detector>>,
    frame: Copied,
    line: Option<Line>,
    /// What a look found that was waited for before it was asked about.
    found: Option<Result<Seen, String>>,
}

impl Looker {
    pub(super) fn new(detector: Box<dyn Detector>) -> Self {
        Self {
            detector: Some(detector),
            frame: Copied::default(),
            line: None,
            found: None,
        }
    }

    /// The detector; waits for a look that is under way.
    ///
    /// # Errors
    /// It was lost with its thread.
    pub(super) fn detector(&mut self) -> Result<&mut dyn Detector, EngineError> {
        self.wait();
        match &mut self.detector {
            Some(detector) => Ok(detector.as_mut()),
            None => Err(failed("the thread of its looks ended".to_owned())),
        }
    }

    /// Looks at a frame here and now.
    ///
    /// # Errors
    /// The look failed, or the detector is lost.
    pub(super) fn look(&mut self, frame: &FrameView<'_>, threshold: f32, turn: Turn) -> Result<Seen, EngineError> {
        look(self.detector()?, frame, threshold, turn).map_err(failed)
    }

    /// Puts another detector in its place; a look that is under way is waited for, and its findings stay.
    pub(super) fn replace(&mut self, detector: Box<dyn Detector>) {
        self.wait();
        if self.detector.replace(detector).is_none() {
            // The one before was lost with its thread.
            self.line = None;
        }
    }

    /// Sends the detector over a copy of the frame.
    ///
    /// # Errors
    /// It is lost, or there is no thread to be had.
    pub(super) fn send(&mut self, frame: &FrameView<'_>, threshold: f32, turn: Turn) -> Result<(), EngineError> {
        self.detector()?;
        if self.line.is_none() {
            self.line = Some(line()?);
        }
        let (Some(line), Some(detector)) = (&self.line, self.detector.take()) else {
            return Err(failed("it is not at hand".to_owned()));
        };
        self.found = None;
        self.frame.take(frame);
        let job = Job {
            detector,
            frame: std::mem::take(&mut self.frame),
            threshold,
            turn,
        };
        line.jobs.send(job).map_err(|lost| {
            // Nobody took it: it comes back.
            self.detector = Some(lost.into_inner().detector);
            failed("the thread of its looks ended".to_owned())
        })
    }

    /// What the look under way found.
    ///
    /// # Errors
    /// The look failed, or there was none.
    pub(super) fn join(&mut self) -> Result<Seen, EngineError> {
        self.wait();
        let found = self
            .found
            .take()
            .unwrap_or_else(|| Err("the look at this frame was lost".to_owned()));
        found.map_err(failed)
    }

    /// Looks once more, over the whole of the frame that was sent last, here and now.
    ///
    /// # Errors
    /// The look failed, or the detector is lost.
    pub(super) fn again(&mut self, threshold: f32, effort: Effort) -> Result<Seen, EngineError> {
        self.detector()?;
        let detector = self.detector.as_mut().ok_or_else(|| failed("it is not at hand".to_owned()))?;
        self.frame.look(detector.as_mut(), threshold, Turn::Whole(effort)).map_err(failed)
    }

    /// Waits until the detector is at home, or lost.
    fn wait(&mut self) {
        if self.detector.is_some() {
            return;
        }
        match self.line.as_ref().and_then(|line| line.answers.recv().ok()) {
            Some(answer) => {
                (self.detector, self.frame, self.found) = (Some(answer.detector), answer.frame, Some(answer.found));
            }
            None => self.found = Some(Err("the thread of its looks ended".to_owned())),
        }
    }
}

fn line() -> Result<Line, EngineError> {
    let (jobs, todo) = bounded::<Job>(1);
    let (done, answers) = bounded::<Answer>(1);
    std::thread::Builder::new()
        .name("nullface-look".to_owned())
        .spawn(move || {
            for job in todo {
                let Job {
                    mut detector,
                    mut frame,
                    threshold,
                    turn,
                } = job;
                let look = AssertUnwindSafe(|| frame.look(detector.as_mut(), threshold, turn));
                let found = catch_unwind(look).unwrap_or_else(|_| Err("a look panicked".to_owned()));
                let answer = Answer { detector, frame, found };
                if done.send(answer).is_err() {
                    break;
                }
            }
        })
        .map_err(|e| failed(format!("no thread for its looks: {e}")))?;
    Ok(Line { jobs, answers })
}

fn failed(why: String) -> EngineError {
    EngineError::Stage { stage: "detect", why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Matrix, PixelFormat, Range};
    #[cfg(target_os = "linux")]
    use crate::pipeline::shim;
    use crate::stages::detect::DetectError;

    /// Finds a face as wide as the first pixel is bright; panics at black.
    struct Reader;

    impl Detector for Reader {
        fn name(&self) -> &'static str {
            "reader"
        }

        fn detect(&mut self, frame: &FrameView<'_>, _: f32, _: Effort) -> Result<Vec<Detection>, DetectError> {
            let side = f32::from(frame.planes()[0].data[0]);
            assert!(side > 0.0, "black");
            let box_px = BoxPx {
                x0: 0.0,
                y0: 0.0,
                x1: side,
                y1: side,
            };
            Ok(vec![Detection {
                box_px,
                score: 1.0,
                landmarks: None,
            }])
        }
    }

    fn with_frame<R>(value: u8, f: impl FnOnce(&FrameView<'_>) -> R) -> R {
        let data = vec![value; 4 * 4 * 3];
        let info = FrameInfo {
            format: PixelFormat::Rgb,
            width: 4,
            height: 4,
            matrix: Matrix::Bt709,
            range: Range::Full,
        };
        f(&FrameView::new(info, &[Plane { data: &data, stride: 12 }]).expect("a frame"))
    }

    #[test]
    fn a_look_answers_about_the_frame_as_it_was_sent() {
        let mut looker = Looker::new(Box::new(Reader));
        for side in [9_u8, 7] {
            // The frame is gone before the answer is asked for.
            with_frame(side, |frame| looker.send(frame, 0.5, Turn::Whole(Effort::Regular))).expect("sent");
            let found = looker.join().expect("an answer");
            assert_eq!(found.found[0].box_px.x1, f32::from(side));
            assert!(looker.join().is_err(), "an answer is given once");
        }
    }

    /// Finds a face as wide as the first pixel of the frame on the device, which the processor's copy does not show.
    #[cfg(target_os = "linux")]
    struct ThereReader(std::sync::Arc<std::sync::Mutex<Vec<bool>>>);

    #[cfg(target_os = "linux")]
    impl Detector for ThereReader {
        fn name(&self) -> &'static str {
            "there"
        }

        fn detect(&mut self, frame: &FrameView<'_>, _: f32, _: Effort) -> Result<Vec<Detection>, DetectError> {
            let resident = frame.resident().filter(|r| r.is_sound());
            self.0.lock().expect("a list").push(resident.is_some());
            let crop = nullface_kernels::crop::CropSpec {
                width: 1,
                height: 1,
                layout: nullface_kernels::crop::Layout::Nchw,
                order: nullface_kernels::crop::ChannelOrder::Rgb,
                scale: 1.0,
                bias: 0.0,
            };
            let Some(resident) = resident else { return Ok(Vec::new()) };
            let there = resident.on_device(frame).expect("is there");
            let maps = [nullface_kernels::Affine::IDENTITY];
            let out = nullface_kernels::cuda::ops::crop::<f32>(resident.gpu(), there, &maps, &crop).expect("a crop");
            let mut rgb = [0.0; 3];
            out.read(&mut rgb).expect("reads");
            Ok(vec![Detection {
                box_px: BoxPx {
                    x0: 0.0,
                    y0: 0.0,
                    x1: rgb[0],
                    y1: rgb[0],
                },
                score: 1.0,
                landmarks: None,
            }])
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_look_beside_the_rendering_reads_the_frame_where_it_is_and_a_lost_one_by_the_processor() {
        let (gpu, knobs) = shim::gpu();
        let loader = nullface_kernels::cuda::Loader::new(&gpu);
        let seen = std::sync::Arc::default();
        let mut looker = Looker::new(Box::new(ThereReader(std::sync::Arc::clone(&seen))));
        for side in [9_u8, 7] {
            // On the device before it is sent, as the networks before the look have brought it there.
            with_frame(side, |frame| {
                let resident = loader.frame(frame.info());
                resident.on_device(frame).expect("goes up");
                looker.send(&frame.clone().with_resident(Some(&resident)), 0.5, Turn::Whole(Effort::Regular))
            })
            .expect("sent");
            let found = looker.join().expect("an answer").found;
            assert_eq!(found[0].box_px.x1.round(), f32::from(side), "of this frame");
        }
        assert_eq!(gpu.traffic().uploads, 2, "once a frame, whoever looks");
        // The rendering loses the device while the look is on its way: the look is told, and reads by the processor.
        with_frame(5, |frame| {
            let resident = loader.frame(frame.info());
            resident.on_device(frame).expect("goes up");
            knobs.calls_left.store(0, std::sync::atomic::Ordering::SeqCst);
            assert!(gpu.wait().is_err());
            looker.send(&frame.clone().with_resident(Some(&resident)), 0.5, Turn::Whole(Effort::Regular))
        })
        .expect("sent");
        assert!(looker.join().expect("an answer").found.is_empty());
        assert_eq!(*seen.lock().expect("a list"), [true, true, false]);
        // Nothing of a frame stays with the look.
        drop(loader);
        knobs.calls_left.store(-1, std::sync::atomic::Ordering::SeqCst);
        drop(gpu);
        assert_eq!(knobs.used.load(std::sync::atomic::Ordering::SeqCst), 0);
    }

    #[test]
    fn a_face_that_reaches_beyond_the_frame_lies_in_a_part_at_its_edge_whole() {
        let mut looker = Looker::new(Box::new(Reader));
        let corner = |side| {
            let side = BoxPx {
                x0: 0.0,
                y0: 0.0,
                x1: side,
                y1: side,
            };
            Turn::Around(side)
        };
        // A face of 9 px in a frame of 4.
        let mut parts = |side| with_frame(9, |frame| looker.look(frame, 0.5, corner(side))).expect("an answer");
        let (all, some) = (parts(4.0), parts(3.0));
        assert_eq!((all.found.len(), all.cut.len()), (1, 0));
        assert_eq!((some.found.len(), some.cut.len()), (0, 1));
    }

    #[test]
    fn a_look_that_panics_is_an_error_and_the_detector_comes_back() {
        let mut looker = Looker::new(Box::new(Reader));
        with_frame(0, |frame| looker.send(frame, 0.5, Turn::Whole(Effort::Regular))).expect("sent");
        assert!(looker.join().expect_err("an error").to_string().contains("panicked"));
        with_frame(3, |frame| looker.send(frame, 0.5, Turn::Whole(Effort::Regular))).expect("sent");
        assert!(looker.detector().is_ok(), "waits until it is at home");
        assert_eq!(looker.join().expect("what it found meanwhile").found.len(), 1);
    }
}
