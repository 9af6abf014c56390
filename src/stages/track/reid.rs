//! Who a track is: the running mean of its embeddings, locked once it is stable, and persons who return.
//!
//! | | |
//! |---|---|
//! | mean | Σ quality·e over unit embeddings; a sample that is far from the mean of three or more is left out |
//! | lock | after `lock_samples` samples, once a new one turns the mean by less than cos .995; never changes afterwards |
//! | return | the mean of a track that is not locked fits an unseen person with cos ≥ `reid_cos` over two samples (+.1 on one), and .05 better than the next |
//! | memory | `max_persons`; the person unseen for longest is forgotten first, those of live tracks last |
//!
//! Embeddings are biometric data: they stay in memory and are wiped from no log because none prints them.

use super::types::{TrackError, TrackerConfig};

/// A person; the same for every track of that person that was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PersonId(pub u64);

/// What an embedding changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Identified {
    /// Taken into the mean.
    Learning,
    /// Taken, and the source is locked from now on.
    Locked,
    /// The source was locked before; cosine of this sample to it.
    Known {
        /// Cosine to the locked source.
        cos: f32,
    },
    /// Far from the mean: left out.
    Outlier {
        /// Cosine to the mean.
        cos: f32,
    },
    /// The face is that of an earlier person.
    Returned {
        /// The provisional person that is no more.
        provisional: PersonId,
        /// Who it is.
        person: PersonId,
    },
    /// The track had changed places with another when they crossed; their ids are back where they belong.
    Swapped {
        /// The other track.
        with: super::state::TrackId,
    },
}

/// A track's source identity so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceIdentity<'a> {
    /// Unit mean of the embeddings.
    pub mean: &'a [f32],
    /// Whether it will change no more.
    pub locked: bool,
    /// Samples in it.
    pub samples: u32,
}

/// Samples that turn the mean by less are stable.
const STABLE_COS: f32 = 0.995;
/// Share of `reid_cos` below which a sample is an outlier.
const OUTLIER: f32 = 0.5;
/// One sample alone must fit better by this.
const SINGLE_EXTRA: f32 = 0.1;
/// The best must be better than the next by this.
const LEAD: f32 = 0.05;

#[derive(Clone)]
struct Person {
    id: PersonId,
    sum: Vec<f32>,
    mean: Vec<f32>,
    samples: u32,
    locked: bool,
    /// Counts up with every use of the gallery.
    used: u64,
}

/// Persons of a stream.
#[derive(Clone, Default)]
pub(super) struct Gallery {
    persons: Vec<Person>,
    next: u64,
    clock: u64,
}

impl std::fmt::Debug for Gallery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gallery")
            .field("persons", &self.persons.len())
            .finish_non_exhaustive()
    }
}

/// A unit vector in the direction of `e`.
pub(super) fn unit(e: &[f32]) -> Result<Vec<f32>, TrackError> {
    let bad = |expected, got: String| TrackError::BadEmbedding { expected, got };
    if e.is_empty() || e.len() > 4096 {
        return Err(bad("1–4096 numbers", e.len().to_string()));
    }
    let norm = e.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    if !norm.is_finite() || norm < 1e-6 {
        return Err(bad("a finite length above 1e-6", norm.to_string()));
    }
    Ok(e.iter().map(|v| (f64::from(*v) / norm) as f32).collect())
}

/// Cosine of unit vectors; `None` where lengths differ.
pub(super) fn cos(a: &[f32], b: &[f32]) -> Option<f32> {
    (a.len() == b.len()).then(|| a.iter().zip(b).map(|(x, y)| x * y).sum())
}

impl Gallery {
    /// A number for a person of whom nothing is known yet. Costs no memory.
    pub(super) fn provisional(&mut self) -> PersonId {
        let id = PersonId(self.next);
        self.next += 1;
        id
    }

    fn person(&self, id: PersonId) -> Option<&Person> {
        self.persons.iter().find(|p| p.id == id)
    }

    pub(super) fn source(&self, id: PersonId) -> Option<SourceIdentity<'_>> {
        self.person(id).map(|p| SourceIdentity {
            mean: &p.mean,
            locked: p.locked,
            samples: p.samples,
        })
    }

    /// Cosine of a unit embedding to a person's mean.
    pub(super) fn cos_to(&self, id: PersonId, e: &[f32]) -> Option<f32> {
        self.person(id).and_then(|p| cos(&p.mean, e))
    }

    /// Takes a unit embedding into a person's mean. `live`: persons that must not be forgotten if it can be helped.
    pub(super) fn learn(
        &mut self,
        id: PersonId,
        e: &[f32],
        quality: f32,
        config: &TrackerConfig,
        live: impl Fn(PersonId) -> bool,
    ) -> Result<Identified, TrackError> {
        self.clock += 1;
        let clock = self.clock;
        let quality = if quality.is_finite() { quality.clamp(0.01, 1.0) } else { 0.01 };
        let Some(p) = self.persons.iter_mut().find(|p| p.id == id) else {
            self.make_room(config.max_persons, &live);
            let sum = e.iter().map(|v| v * quality).collect();
            self.persons.push(Person {
                id,
                sum,
                mean: e.to_vec(),
                samples: 1,
                locked: false,
                used: clock,
            });
            return Ok(Identified::Learning);
        };
        p.used = clock;
        let Some(near) = cos(&p.mean, e) else {
            return Err(TrackError::BadEmbedding {
                expected: "as many numbers as before",
                got: e.len().to_string(),
            });
        };
        if p.locked {
            return Ok(Identified::Known { cos: near });
        }
        if p.samples >= 3 && near < OUTLIER * config.reid_cos {
            return Ok(Identified::Outlier { cos: near });
        }
        let sum: Vec<f32> = p.sum.iter().zip(e).map(|(s, v)| s + v * quality).collect();
        let Ok(mean) = unit(&sum) else {
            return Ok(Identified::Outlier { cos: near });
        };
        let turn = cos(&mean, &p.mean).unwrap_or(0.0);
        (p.sum, p.mean) = (sum, mean);
        p.samples = p.samples.saturating_add(1);
        if p.samples >= config.lock_samples && turn >= STABLE_COS {
            p.locked = true;
            return Ok(Identified::Locked);
        }
        Ok(Identified::Learning)
    }

    /// The unseen person that a provisional one turns out to be, if any; the provisional one is forgotten.
    pub(super) fn recognise(&mut self, id: PersonId, config: &TrackerConfig, seen: impl Fn(PersonId) -> bool) -> Option<PersonId> {
        let me = self.person(id).filter(|p| !p.locked)?;
        let needed = config.reid_cos + if me.samples < 2 { SINGLE_EXTRA } else { 0.0 };
        let (mut best, mut next): (Option<(f32, PersonId)>, f32) = (None, -1.0);
        // Only persons known before: of two provisional ones the earlier stays.
        for p in self.persons.iter().filter(|p| p.id < id && !seen(p.id)) {
            let Some(near) = cos(&p.mean, &me.mean) else { continue };
            match best {
                Some((top, _)) if near <= top => next = next.max(near),
                _ => {
                    next = best.map_or(next, |(top, _)| top);
                    best = Some((near, p.id));
                }
            }
        }
        let (near, person) = best?;
        if near < needed || near - next < LEAD {
            return None;
        }
        self.persons.retain(|p| p.id != id);
        self.clock += 1;
        let clock = self.clock;
        if let Some(p) = self.persons.iter_mut().find(|p| p.id == person) {
            p.used = clock;
        }
        Some(person)
    }

    /// Forgets those unseen for longest until one more fits.
    fn make_room(&mut self, most: usize, live: &impl Fn(PersonId) -> bool) {
        while self.persons.len() >= most.max(1) {
            let oldest = self
                .persons
                .iter()
                .enumerate()
                .min_by_key(|(_, p)| (live(p.id), p.used))
                .map(|(i, _)| i);
            match oldest {
                Some(i) => drop(self.persons.swap_remove(i)),
                None => return,
            }
        }
    }

    /// Persons remembered.
    pub(super) fn len(&self) -> usize {
        self.persons.len()
    }

    /// Forgets everybody; numbers go on.
    pub(super) fn clear(&mut self) {
        self.persons.clear();
    }
}
