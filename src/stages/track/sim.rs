//! Simulated scenes: faces on known paths, a detector that jitters, misses and invents, and the measures
//! that matter: identity switches and the share of every true face that is covered.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Observation, ObservationSource, TrackId, Tracker, TrackerConfig};
use crate::frame::{BoxPx, Pts};

pub(super) const W: u32 = 640;
pub(super) const H: u32 = 360;
const DIMS: usize = 64;

/// A face: centre and side over time.
pub(super) struct Actor {
    pub(super) path: Box<dyn Fn(f32) -> [f32; 2]>,
    pub(super) side_px: f32,
    identity: Vec<f32>,
}

pub(super) struct Scene {
    pub(super) actors: Vec<Actor>,
    rng: StdRng,
    /// Chance that the detector misses a face.
    pub(super) dropout: f32,
    /// Jitter of centres and sides, share of the side.
    pub(super) jitter: f32,
    /// Chance of a weak false box in a look.
    pub(super) ghosts: f32,
    /// Whether crossing faces come with embeddings.
    pub(super) embeddings: bool,
}

/// What a run of a scene showed.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) switches: usize,
    pub(super) started: usize,
    /// Smallest share of a true face inside one region, over all frames after it was first detected.
    pub(super) worst_cover: f32,
}

impl Scene {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            actors: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            dropout: 0.0,
            jitter: 0.02,
            ghosts: 0.0,
            embeddings: true,
        }
    }

    pub(super) fn with(mut self, side_px: f32, path: impl Fn(f32) -> [f32; 2] + 'static) -> Self {
        let identity = (0..DIMS).map(|_| self.rng.random_range(-1.0..1.0f32)).collect();
        self.actors.push(Actor {
            path: Box::new(path),
            side_px,
            identity,
        });
        self
    }

    pub(super) fn truth(&self, actor: usize, t_s: f32) -> BoxPx {
        let a = &self.actors[actor];
        BoxPx::around((a.path)(t_s), a.side_px, a.side_px * 1.25)
    }

    /// An embedding of an actor as a recogniser would give it: cosine of about .85 to the next one.
    pub(super) fn embed(&mut self, actor: usize) -> Vec<f32> {
        let identity = self.actors[actor].identity.clone();
        identity.into_iter().map(|v| v + self.rng.random_range(-0.4..0.4f32)).collect()
    }

    /// What the detector sees; with it the actor of each box.
    fn look(&mut self, t_s: f32) -> Vec<(Option<usize>, Observation)> {
        let mut seen = Vec::new();
        for i in 0..self.actors.len() {
            let truth = self.truth(i, t_s);
            if truth.clipped(W, H).area() < 0.4 * truth.area() || self.rng.random::<f32>() < self.dropout {
                continue;
            }
            // Of two faces over each other the later one in the list stands in front.
            let hidden = (i + 1..self.actors.len()).any(|j| truth.iou(&self.truth(j, t_s)) > 0.5);
            if hidden {
                continue;
            }
            let j = self.jitter * truth.side();
            let mut wobble = || self.rng.random_range(-1.0..1.0f32) * j;
            let [x, y] = truth.center();
            let b = BoxPx::around([x + wobble(), y + wobble()], truth.width() + wobble(), truth.height() + wobble());
            let embedding = self.embeddings.then(|| Arc::from(self.embed(i)));
            seen.push((
                Some(i),
                Observation {
                    box_px: b,
                    score: 0.9,
                    landmarks: None,
                    source: ObservationSource::Detector,
                    embedding,
                },
            ));
        }
        if self.rng.random::<f32>() < self.ghosts {
            let at = [self.rng.random_range(40.0..600.0), self.rng.random_range(40.0..320.0)];
            seen.push((None, Observation::detected(BoxPx::around(at, 30.0, 40.0), 0.3)));
        }
        seen
    }

    /// Runs `frames` frames with a look at every `every`-th, and wherever the tracker asks where `asks`.
    pub(super) fn run(&mut self, tracker: &mut Tracker, frames: usize, fps: f32, every: usize, asks: bool) -> Measured {
        let mut who: Vec<Option<TrackId>> = vec![None; self.actors.len()];
        let mut out = Measured {
            worst_cover: 1.0,
            ..Measured::default()
        };
        for n in 0..frames {
            let t_s = n as f32 / fps;
            let at = Pts((f64::from(t_s) * 1e9) as u64);
            tracker.predict(at);
            if n % every == 0 || (asks && tracker.needs_detection(at).is_some()) {
                let seen = self.look(t_s);
                let list: Vec<Observation> = seen.iter().map(|s| s.1.clone()).collect();
                out.started += tracker.detections(at, W, H, &list).started.len();
                for (actor, o) in seen.iter().filter_map(|(a, o)| a.map(|a| (a, o))) {
                    let best = tracker
                        .tracks()
                        .iter()
                        .filter(|t| t.seen_now())
                        .max_by(|a, b| a.box_px.iou(&o.box_px).total_cmp(&b.box_px.iou(&o.box_px)));
                    let Some(id) = best.map(|t| t.id) else { continue };
                    out.switches += usize::from(who[actor].is_some_and(|before| before != id));
                    who[actor] = Some(id);
                    if let Some(e) = &o.embedding {
                        tracker.embedding(id, e, 1.0).expect("a fair embedding of a live track");
                    }
                }
            }
            for (i, _) in who.iter().enumerate().filter(|(_, w)| w.is_some()) {
                let truth = self.truth(i, t_s).clipped(W, H);
                if truth.is_valid() && truth.area() > 0.15 * self.truth(i, t_s).area() {
                    let cover = tracker
                        .tracks()
                        .iter()
                        .map(|t| truth.share_inside(&t.region_px))
                        .fold(0.0, f32::max);
                    out.worst_cover = out.worst_cover.min(cover);
                }
            }
        }
        out
    }
}

fn tracker() -> Tracker {
    Tracker::new(TrackerConfig::default()).expect("defaults are in range")
}

fn crossing(seed: u64, speed_px_s: f32) -> Scene {
    Scene::new(seed)
        .with(48.0, move |t| [100.0 + speed_px_s * t, 180.0])
        .with(52.0, move |t| [500.0 - speed_px_s * t, 184.0])
}

#[test]
fn crossing_faces_with_embeddings_keep_their_ids() {
    for seed in 0..20 {
        for speed in [60.0, 100.0, 160.0] {
            for dropout in [0.0, 0.1] {
                let mut scene = crossing(seed, speed);
                scene.dropout = dropout;
                let m = scene.run(&mut tracker(), (400.0 / speed * 30.0) as usize, 30.0, 1, true);
                assert_eq!(m.switches, 0, "seed {seed}, {speed} px/s, dropout {dropout}: {m:?}");
            }
        }
    }
}

#[test]
fn crossing_faces_looked_at_every_fifth_frame_keep_their_ids() {
    for seed in 0..20 {
        let m = crossing(seed, 100.0).run(&mut tracker(), 120, 30.0, 5, true);
        assert_eq!((m.switches, m.started), (0, 2), "seed {seed}: {m:?}");
    }
}

#[test]
fn a_walking_face_stays_covered_through_dropouts_and_between_looks() {
    for seed in 0..20 {
        let mut scene = Scene::new(seed).with(50.0, |t| [120.0 + 80.0 * t, 160.0 + 30.0 * (2.0 * t).sin()]);
        (scene.dropout, scene.ghosts) = (0.3, 0.2);
        let m = scene.run(&mut tracker(), 150, 30.0, 4, true);
        assert!(m.worst_cover >= 0.93, "seed {seed}: {m:?}");
        assert_eq!(m.switches, 0, "seed {seed}: {m:?}");
    }
}

#[test]
fn forty_faces_in_a_swaying_crowd_keep_their_ids() {
    let mut scene = Scene::new(7);
    for i in 0..40u16 {
        let (x, y) = (f32::from(i % 8) * 76.0 + 50.0, f32::from(i / 8) * 66.0 + 45.0);
        let phase = f32::from(i);
        scene = scene.with(30.0, move |t| {
            [x + 9.0 * (1.5 * t + phase).sin(), y + 5.0 * (2.1 * t + phase).cos()]
        });
    }
    (scene.dropout, scene.embeddings) = (0.1, false);
    let mut t = tracker();
    let m = scene.run(&mut t, 150, 30.0, 2, false);
    assert_eq!((m.switches, m.started, t.tracks().len()), (0, 40, 40), "{m:?}");
    assert!(m.worst_cover >= 0.93, "{m:?}");
}

#[test]
fn the_same_walk_at_other_rates_keeps_its_id() {
    for fps in [10.0, 24.0, 60.0, 120.0] {
        let mut scene = Scene::new(3).with(60.0, |t| [100.0 + 120.0 * t, 180.0]);
        let m = scene.run(&mut tracker(), (fps * 3.0) as usize, fps, 1, true);
        assert_eq!((m.switches, m.started), (0, 1), "{fps} fps: {m:?}");
        assert!(m.worst_cover >= 0.93, "{fps} fps: {m:?}");
    }
}

#[test]
fn a_person_who_comes_back_after_a_cut_is_known() {
    let mut scene = Scene::new(5).with(60.0, |_| [150.0, 150.0]).with(60.0, |_| [450.0, 150.0]);
    let mut t = tracker();
    scene.run(&mut t, 30, 30.0, 1, true);
    let before: Vec<_> = t.tracks().iter().map(|t| (t.id, t.person)).collect();
    let cut = Pts(2_000_000_000);
    assert_eq!(t.scene_cut(cut).len(), 2);
    assert!(t.tracks().is_empty());
    // The two have changed seats.
    for (actor, x) in [(1usize, 150.0), (0, 450.0)] {
        let up = t.detections(cut, W, H, &[Observation::detected(BoxPx::around([x, 150.0], 60.0, 75.0), 0.9)]);
        assert_eq!(up.started.len(), 1);
        for _ in 0..3 {
            let e = scene.embed(actor);
            t.embedding(up.started[0], &e, 1.0).expect("a live track");
        }
        let now = t.track(up.started[0]).expect("just begun");
        assert_eq!(now.person, before[actor].1);
        assert!(before.iter().all(|(id, _)| *id != now.id), "a new track has a new id");
    }
}

#[test]
fn ids_that_changed_places_are_put_right_by_an_embedding() {
    let mut scene = Scene::new(9).with(50.0, |_| [200.0, 150.0]).with(50.0, |_| [240.0, 150.0]);
    let mut t = tracker();
    let both = |xs: [f32; 2]| xs.map(|x| Observation::detected(BoxPx::around([x, 150.0], 50.0, 60.0), 0.9));
    let up = t.detections(Pts(0), W, H, &both([200.0, 240.0]));
    let at_x = |t: &Tracker, x: f32| {
        t.tracks()
            .iter()
            .find(|k| (k.box_px.center()[0] - x).abs() < 10.0)
            .map(|k| k.id)
            .expect("a track there")
    };
    let (left, right) = (at_x(&t, 200.0), at_x(&t, 240.0));
    assert_eq!(up.started.len(), 2);
    for _ in 0..6 {
        let (a, b) = (scene.embed(0), scene.embed(1));
        t.embedding(left, &a, 1.0).expect("live");
        t.embedding(right, &b, 1.0).expect("live");
    }
    // The faces changed places unseen: the left track now stands on the right person's face.
    let e = scene.embed(1);
    assert_eq!(t.embedding(left, &e, 1.0), Ok(super::Identified::Swapped { with: right }));
    assert_eq!((at_x(&t, 200.0), at_x(&t, 240.0)), (right, left));
    assert!(t.tracks().windows(2).all(|p| p[0].id < p[1].id));
}
