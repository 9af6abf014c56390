//! Identities in the space of a pack's own recogniser, for packs that were trained on another one than
//! the engine verifies by.
//!
//! A person's embedding is taken from the first crop that is edited and stays: the target follows from it,
//! and must not move with every frame. Results are verified by the engine's recogniser all the same, which
//! knows nothing of the one that steered.
//!
//! Limits: no composite is embedded here, so `ksame` is no target of such packs.

use std::collections::HashMap;

use crate::backend::Backend;
use crate::pack::Pack;
use crate::stages::identify::{ARCFACE_PX, TensorRecogniser};
use crate::stages::reconstruct::resample;

use super::super::engine::EngineError;
use super::super::networks;
use super::canvas::CROP_PX;

/// Persons remembered; beyond, all are forgotten and taken anew.
const MOST_PERSONS: usize = 4096;

/// A pack's recogniser and who it has seen.
#[derive(Debug)]
pub(super) struct Steer {
    recogniser: TensorRecogniser,
    persons: HashMap<u64, Vec<f32>>,
}

impl Steer {
    /// Loads the pack's recogniser; `None` where it brings none.
    pub(super) fn open(backend: &Backend, pack: &Pack) -> Result<Option<Self>, EngineError> {
        Ok(networks::recogniser(backend, pack)?.map(|recogniser| Self {
            recogniser,
            persons: HashMap::new(),
        }))
    }

    /// A person's embedding; `crop` is the frame's own, interleaved RGB 0–255, [`CROP_PX`] square.
    pub(super) fn source(&mut self, person: u64, crop: &[f32]) -> Result<Vec<f32>, String> {
        if let Some(known) = self.persons.get(&person) {
            return Ok(known.clone());
        }
        let n = CROP_PX * CROP_PX;
        if crop.len() != 3 * n {
            return Err(format!("crop: expected {} values, got {}", 3 * n, crop.len()));
        }
        let mut planar = vec![0.0; 3 * n];
        for (i, p) in crop.as_chunks::<3>().0.iter().enumerate() {
            for (c, v) in p.iter().enumerate() {
                planar[c * n + i] = v / 127.5 - 1.0;
            }
        }
        // Both are the ArcFace template, at different sizes.
        let mut aligned = vec![0.0; 3 * ARCFACE_PX * ARCFACE_PX];
        resample(&planar, 3, CROP_PX, ARCFACE_PX, &mut aligned).map_err(|e| e.to_string())?;
        let embedding = self.recogniser.embed_aligned(&aligned).map_err(|e| e.to_string())?.0;
        if self.persons.len() >= MOST_PERSONS {
            self.persons.clear();
        }
        self.persons.insert(person, embedding.clone());
        Ok(embedding)
    }
}
