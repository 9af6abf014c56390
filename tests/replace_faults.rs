//! The ladder under load and under faults: budgets, deadlines that pass in the middle of a batch, one bad
//! face among good ones, results that are no faces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod replace_support;
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nullface::frame::{FrameView, Landmarks5, Mesh};
use nullface::pipeline::{Budget, CoverReason, Engine, Mode, Outcome, Rung, Settings};
use nullface::stages::align::{AlignError, FaceHint, MeshFitter};
use nullface::stages::denoise::{Batch, ModelError, NoiseModel, Prediction, RowShape};
use nullface::stages::identify::{Embedding, IdentifyError, Recogniser};
use replace_support::{Blocks, Fake, MeanFace, SIZE, darker, engine_over, engine_with, inner, mesh, source, source_of};
use support::{Picture, at, equal_blocks};

/// One frame under a budget: what became of its faces, and the picture that left.
fn within(engine: &mut Engine, n: u64, budget: Budget) -> (Picture, Vec<Outcome>, Option<CoverReason>) {
    treated(engine, source(), n, budget)
}

fn treated(engine: &mut Engine, mut output: Picture, n: u64, budget: Budget) -> (Picture, Vec<Outcome>, Option<CoverReason>) {
    let (id, fault) = engine.analyse(&output.view(), at(n), &[]);
    assert!(fault.is_none(), "{fault:?}");
    let report = engine.render_within(id, &mut output.view_mut(), at(n), budget).into_report();
    (output, report.faces.iter().map(|f| f.outcome).collect(), report.withheld)
}

fn best(best: Rung) -> Budget {
    Budget { best, ..Budget::default() }
}

#[test]
fn the_best_rung_allowed_is_never_exceeded_and_no_rung_shows_the_source() {
    let mut engine = engine_with(Box::new(Blocks), Some(darker), Mode::Nullface, 1);
    let deadline = |rung| Outcome::Covered {
        reason: CoverReason::Deadline,
        rung,
    };
    for (n, rung) in [Rung::Diffusion, Rung::Cached, Rung::Prior, Rung::Blur, Rung::Solid, Rung::Frame]
        .into_iter()
        .enumerate()
    {
        let (output, outcomes, withheld) = within(&mut engine, n as u64, best(rung));
        assert_eq!(equal_blocks(&source(), &output, inner()), 0, "{rung:?}");
        match rung {
            Rung::Frame => assert_eq!(withheld, Some(CoverReason::Deadline)),
            Rung::Blur | Rung::Solid => assert_eq!(outcomes, [deadline(rung)]),
            _ => assert!(
                matches!(outcomes[..], [Outcome::Replaced { rung: got, .. }] if got >= rung && got <= Rung::Prior),
                "{rung:?}: {outcomes:?}"
            ),
        }
    }
}

#[test]
fn no_time_at_all_is_a_fill() {
    for mode in [Mode::Nullface, Mode::Blur] {
        let mut engine = engine_with(Box::new(Blocks), Some(darker), mode, 1);
        let budget = Budget {
            time: Some(Duration::ZERO),
            ..Budget::default()
        };
        let (output, outcomes, _) = within(&mut engine, 0, budget);
        assert_eq!(equal_blocks(&source(), &output, inner()), 0);
        let expected = Outcome::Covered {
            reason: CoverReason::Deadline,
            rung: Rung::Solid,
        };
        assert_eq!(outcomes, [expected], "{mode}");
    }
}

/// Once armed, sleeps through any budget of these tests.
struct Slow {
    inner: Fake,
    nap: Duration,
    armed: Arc<AtomicBool>,
}

impl NoiseModel for Slow {
    fn shape(&self) -> RowShape {
        self.inner.shape()
    }
    fn prediction(&self) -> Prediction {
        self.inner.prediction()
    }
    fn predict(&mut self, batch: &Batch<'_>, out: &mut [f32]) -> Result<(), ModelError> {
        if self.armed.load(Ordering::Relaxed) {
            std::thread::sleep(self.nap);
        }
        self.inner.predict(batch, out)
    }
}

#[test]
fn a_deadline_that_passes_inside_the_denoiser_covers_and_the_next_frame_steps_down() {
    // Long beside what the rest of a frame takes even on a machine that does other work.
    let time = Duration::from_secs(6);
    let armed = Arc::new(AtomicBool::new(false));
    let slow = Slow {
        inner: Fake(darker),
        nap: time + Duration::from_millis(100),
        armed: Arc::clone(&armed),
    };
    let (face, fitter) = (mesh(), MeanFace(mesh()));
    let mut engine = engine_over(
        Box::new(Blocks),
        Box::new(fitter),
        vec![face],
        Some(Box::new(slow)),
        Mode::Nullface,
        1,
    );
    let every_frame = Settings {
        cache: false,
        ..engine.settings().clone()
    };
    engine.set_settings(every_frame).expect("in range");
    // Who the person becomes is settled without a clock.
    let (_, outcomes, _) = within(&mut engine, 0, Budget::default());
    assert!(matches!(outcomes[..], [Outcome::Replaced { .. }]), "{outcomes:?}");
    armed.store(true, Ordering::Relaxed);
    let budget = Budget {
        time: Some(time),
        ..Budget::default()
    };
    let (output, outcomes, _) = within(&mut engine, 1, budget);
    assert_eq!(equal_blocks(&source(), &output, inner()), 0);
    let late = Outcome::Covered {
        reason: CoverReason::Deadline,
        rung: Rung::Solid,
    };
    assert_eq!(outcomes, [late]);
    let (output, outcomes, _) = within(&mut engine, 2, budget);
    assert_eq!(equal_blocks(&source(), &output, inner()), 0);
    assert!(
        matches!(outcomes[..], [Outcome::Replaced { rung, .. }] if rung >= Rung::Cached),
        "{outcomes:?}"
    );
}

/// Four faces side by side.
const CROWD: (u32, u32) = (640, 480);

fn four() -> Vec<Mesh> {
    (0..4)
        .map(|i| {
            let mut face = mesh();
            let (x, y) = ((i % 2) as f32 * 320.0, (i / 2) as f32 * 240.0);
            face.points_px.iter_mut().for_each(|p| *p = [p[0] + x, p[1] + y]);
            face
        })
        .collect()
}

/// Answers every hint with the face that it means; hints in other pictures get the first.
struct Nearest(Vec<Mesh>);

impl MeshFitter for Nearest {
    fn fit(&mut self, _frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        let nearest = |h: &FaceHint| {
            let away = |m: &&Mesh| {
                let (a, b) = (m.bounding_box_px().expect("points").center(), h.box_px.center());
                (a[0] - b[0]).hypot(a[1] - b[1])
            };
            self.0.iter().min_by(|a, b| away(a).total_cmp(&away(b))).expect("faces").clone()
        };
        Ok(hints.iter().map(nearest).collect())
    }
}

/// Counts rows and poisons one of them.
struct Counted {
    calls: Arc<Mutex<Vec<usize>>>,
    poison: Option<usize>,
}

impl NoiseModel for Counted {
    fn shape(&self) -> RowShape {
        Fake(darker).shape()
    }
    fn prediction(&self) -> Prediction {
        Prediction::X0
    }
    fn predict(&mut self, batch: &Batch<'_>, out: &mut [f32]) -> Result<(), ModelError> {
        self.calls.lock().expect("calls").push(batch.rows);
        darker(batch, out);
        if let Some(row) = self.poison.filter(|_| batch.rows > 1) {
            out[row * batch.shape.latent_len()] = f32::NAN;
        }
        Ok(())
    }
}

/// Counts pictures a call.
struct CountedBlocks(Arc<AtomicUsize>);

impl Recogniser for CountedBlocks {
    fn name(&self) -> &str {
        "counted"
    }
    fn same_person_cos(&self) -> f32 {
        Blocks.same_person_cos()
    }
    fn embed(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        Blocks.embed(frame, faces)
    }
    fn embed_each(&mut self, faces: &[(FrameView<'_>, Landmarks5)]) -> Result<Vec<Embedding>, IdentifyError> {
        self.0.fetch_max(faces.len(), Ordering::Relaxed);
        let mut all = Vec::new();
        for (picture, landmarks) in faces {
            all.extend(Blocks.embed(picture, std::slice::from_ref(landmarks))?);
        }
        Ok(all)
    }
}

fn crowd(poison: Option<usize>) -> (Engine, Arc<Mutex<Vec<usize>>>, Arc<AtomicUsize>) {
    let (calls, most) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let model = Counted {
        calls: Arc::clone(&calls),
        poison,
    };
    let recogniser = CountedBlocks(Arc::clone(&most));
    let engine = engine_over(
        Box::new(recogniser),
        Box::new(Nearest(four())),
        four(),
        Some(Box::new(model)),
        Mode::Nullface,
        1,
    );
    (engine, calls, most)
}

#[test]
fn the_faces_of_a_frame_are_one_batch_of_the_denoiser_and_one_of_the_recogniser() {
    let (mut engine, calls, most) = crowd(None);
    let (output, outcomes, _) = treated(&mut engine, source_of(CROWD), 0, Budget::default());
    assert_eq!(outcomes.len(), 4);
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Replaced { .. })), "{outcomes:?}");
    let rows = calls.lock().expect("calls").clone();
    assert!(rows[0] >= 4, "four faces and {rows:?} rows a call");
    assert_eq!(most.load(Ordering::Relaxed), 4);
    for face in four() {
        let box_px = face.bounding_box_px().expect("points");
        let [x, y] = box_px.center();
        let middle = nullface::frame::BoxPx {
            x0: x - 28.0,
            y0: y - 28.0,
            x1: x + 28.0,
            y1: y + 28.0,
        };
        assert_eq!(equal_blocks(&source_of(CROWD), &output, middle), 0);
    }
}

#[test]
fn one_poisoned_face_of_a_batch_does_not_take_the_others_with_it() {
    let (mut engine, calls, _) = crowd(Some(1));
    let (_, outcomes, _) = treated(&mut engine, source_of(CROWD), 0, Budget::default());
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Replaced { .. })), "{outcomes:?}");
    let diffused = outcomes
        .iter()
        .filter(|o| matches!(o, Outcome::Replaced { rung: Rung::Diffusion, .. }))
        .count();
    assert!(diffused >= 1, "{outcomes:?}");
    assert!(
        calls.lock().expect("calls").len() > 1,
        "the batch fails, its faces are tried one by one"
    );
}

/// Sees faces in the film and none in what was made of them.
struct SeesThrough(Mesh);

impl MeshFitter for SeesThrough {
    fn fit(&mut self, frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        let mut mesh = self.0.clone();
        mesh.face_prob = if (frame.width(), frame.height()) == SIZE { 1.0 } else { 0.01 };
        Ok(hints.iter().map(|_| mesh.clone()).collect())
    }
}

#[test]
fn a_result_that_is_no_face_is_a_failure_and_is_covered() {
    for model in [None, Some(Box::new(Fake(darker)) as Box<dyn NoiseModel>)] {
        let mut engine = engine_over(
            Box::new(Blocks),
            Box::new(SeesThrough(mesh())),
            vec![mesh()],
            model,
            Mode::Nullface,
            1,
        );
        for n in 0..3 {
            let (output, outcomes, _) = within(&mut engine, n, Budget::default());
            assert!(matches!(outcomes[..], [Outcome::Covered { .. }]), "{outcomes:?}");
            assert_eq!(equal_blocks(&source(), &output, inner()), 0);
        }
    }
}

/// After some frames its meshes lie beside the face.
struct Slips {
    mesh: Mesh,
    calls: usize,
}

impl MeshFitter for Slips {
    fn fit(&mut self, frame: &FrameView<'_>, hints: &[FaceHint]) -> Result<Vec<Mesh>, AlignError> {
        self.calls += usize::from((frame.width(), frame.height()) == SIZE);
        let mut mesh = self.mesh.clone();
        if self.calls > 8 {
            // Three half waves of the test picture.
            mesh.points_px.iter_mut().for_each(|p| p[0] += 12.0 * std::f32::consts::PI);
        }
        Ok(hints.iter().map(|_| mesh.clone()).collect())
    }
}

#[test]
fn a_mesh_that_slips_off_its_face_is_covered_and_not_painted_beside_it() {
    let fitter = Slips { mesh: mesh(), calls: 0 };
    let mut engine = engine_over(
        Box::new(Blocks),
        Box::new(fitter),
        vec![mesh()],
        Some(Box::new(Fake(darker))),
        Mode::Nullface,
        1,
    );
    let (mut replaced, mut covered) = (0, 0);
    for n in 0..12 {
        let (output, outcomes, _) = within(&mut engine, n, Budget::default());
        assert_eq!(equal_blocks(&source(), &output, inner()), 0, "frame {n}: {outcomes:?}");
        replaced += usize::from(matches!(outcomes[..], [Outcome::Replaced { .. }]));
        covered += usize::from(matches!(outcomes[..], [Outcome::Covered { .. }]));
    }
    assert!(replaced >= 2 && covered >= 2, "{replaced} replaced, {covered} covered");
}
