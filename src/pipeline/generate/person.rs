//! Who a person becomes, and what a track remembers from frame to frame.

use std::sync::Arc;

use nullface_kernels::cuda::{CudaError, DeviceTexture, Painter};

use crate::frame::Pts;
use crate::secret::{Purpose, SessionSecret};
use crate::stages::invert::FrozenNoise;
use crate::stages::prior::{Basis, Target, Wanted};

use super::audition::Audition;
use super::cache::Cache;
use super::handover::Decided;
use super::placed::Anchor;
use super::steady::Steady;
use super::trust::Trust;

/// Samples after which a person's own shape is locked.
const SHAPE_SAMPLES: u32 = 25;

/// Of the first attempts, and of all later ones.
const SHAPE_BOOSTS: [f32; 2] = [1.0, 1.5];
const MOST_BOOST: f32 = 2.0;

/// A target, and its texture where a device has it.
#[derive(Debug, Clone)]
struct Held {
    target: Target,
    texture: Option<Arc<DeviceTexture>>,
}

impl Held {
    fn of(target: Target) -> Self {
        Self { target, texture: None }
    }

    fn there(&mut self, painter: &Painter) -> Result<Arc<DeviceTexture>, CudaError> {
        if let Some(texture) = self.texture.as_ref().filter(|t| t.gpu().is_same(painter.gpu())) {
            return Ok(Arc::clone(texture));
        }
        let texture = Arc::new(painter.texture(&self.target.texture)?);
        self.texture = Some(Arc::clone(&texture));
        Ok(texture)
    }
}

/// One person of the session.
#[derive(Debug, Clone, Default)]
pub(super) struct Person {
    /// Redraws so far.
    pub(super) attempt: u32,
    /// Whether it can be replaced at all.
    pub(super) trust: Trust,
    weights: Vec<(usize, f32)>,
    target: Option<Held>,
    /// While it is being decided.
    pub(super) audition: Option<Audition>,
    shape: Vec<f32>,
    samples: u32,
    /// Frozen noise.
    pub(super) noise: Option<FrozenNoise>,
    /// When last seen.
    pub(super) seen: Pts,
}

impl Person {
    /// Mixes the target anew where only its weights are left; `false` where none has been drawn.
    pub(super) fn remember(&mut self, basis: &Basis) -> bool {
        if self.target.is_none() && !self.weights.is_empty() {
            self.target = Some(Held::of(Target::mix(basis, self.weights.clone())));
        }
        self.target.is_some()
    }

    /// Whether nothing is decided about it.
    pub(super) fn is_new(&self) -> bool {
        self.target.is_none() && self.weights.is_empty()
    }

    /// Who the person may become, the same for one secret and attempt.
    pub(super) fn candidates(
        &self,
        basis: &Basis,
        secret: &SessionSecret,
        id: u64,
        source: &[f32],
        asked: Wanted,
    ) -> Vec<Vec<(usize, f32)>> {
        let wanted = asked.or(Wanted::like(basis, source));
        let mut stream = secret.stream(Purpose::Mixture, id, self.attempt);
        Target::candidates(basis, &wanted, source, &self.shape, &mut stream)
    }

    /// How much further than usual the shape goes: whoever was found too near is drawn again with more of it.
    pub(super) fn shape_boost(&self) -> f32 {
        SHAPE_BOOSTS.get(self.attempt as usize).copied().unwrap_or(MOST_BOOST)
    }

    /// Becomes somebody, for good.
    pub(super) fn become_target(&mut self, target: Target) {
        self.weights.clone_from(&target.weights);
        self.target = Some(Held::of(target));
    }

    /// The target, where it has been drawn.
    pub(super) fn known_target(&self) -> Option<&Target> {
        self.target.as_ref().map(|held| &held.target)
    }

    /// Its texture on the painter's device; `None` where no target has been drawn.
    pub(super) fn texture(&mut self, painter: &Painter) -> Result<Option<Arc<DeviceTexture>>, CudaError> {
        self.target.as_mut().map(|held| held.there(painter)).transpose()
    }

    /// Somebody else from now on.
    pub(super) fn redraw(&mut self) {
        self.attempt += 1;
        self.weights.clear();
        (self.target, self.audition) = (None, None);
    }

    /// Somebody else, whatever became of those before.
    pub(super) fn start_anew(&mut self) {
        self.trust = Trust::default();
        self.redraw();
    }

    /// Forgets what can be made again.
    pub(super) fn shrink(&mut self) {
        (self.target, self.audition, self.noise) = (None, None, None);
    }

    /// What is decided about it.
    pub(super) fn decided(&self, id: u64) -> Decided {
        Decided {
            person: id,
            attempt: self.attempt,
            mixture: self.weights.clone(),
            trust: self.trust.clone(),
        }
    }

    /// Takes decisions over; what was learnt of the face stays.
    pub(super) fn decide(&mut self, decided: &Decided) {
        self.attempt = decided.attempt;
        self.weights.clone_from(&decided.mixture);
        self.trust.clone_from(&decided.trust);
        (self.target, self.audition) = (None, None);
    }

    /// The person's own shape: the mean of the first samples, then locked.
    pub(super) fn own_shape(&mut self, seen: &[f32]) -> &[f32] {
        if self.shape.len() != seen.len() {
            self.shape = seen.to_vec();
            self.samples = 1;
        } else if self.samples < SHAPE_SAMPLES {
            self.samples += 1;
            let share = 1.0 / self.samples as f32;
            for (mean, new) in self.shape.iter_mut().zip(seen) {
                *mean += (new - *mean) * share;
            }
        }
        &self.shape
    }
}

/// One track.
#[derive(Debug, Default)]
pub(super) struct TrackMemory {
    /// The mesh, held on its face.
    pub(super) steady: Steady,
    /// The denoiser's edits.
    pub(super) cache: Cache,
    /// The last proof that the mesh lies on the face.
    pub(super) anchor: Option<Anchor>,
    /// When a result was last seen to be a face, and whose: person and attempt.
    pub(super) looked: Option<(Pts, (u64, u32))>,
    /// When last seen.
    pub(super) seen: Pts,
}
