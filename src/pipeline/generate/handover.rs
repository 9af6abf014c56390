//! What a part of a film hands to the next one, which may be made by another process: what was decided about each
//! person. Nothing in it tells who the person is.
//!
//! | handed over | because |
//! |---|---|
//! | attempt, mixture of textures | a person stays who it has become, and is not auditioned again |
//! | draws, strikes, rests with their times | whether a person can be replaced at all is one decision for the film |
//!
//! | not handed over | |
//! |---|---|
//! | embeddings, the person's own shape, thumbnails, meshes, edits | data about a body, or pictures of one: learnt anew from the frames before the part, see `Engine::rehearse` |
//!
//! Two lines of text: JSON, and its seal under the session's secret, so that what was made under another seed, or
//! changed, is told from what was not. Whoever knows the seed can make it; whoever has the text can test a guess of
//! the seed, as with the film itself.

use serde::{Deserialize, Serialize};

use crate::secret::SessionSecret;

use super::Generator;
use super::trust::Trust;

/// Version of the text.
const VERSION: u32 = 1;

/// Why a hand-over cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// It is not of the form.
    #[error("expected two lines, a hand-over and its seal; {why}")]
    Form {
        /// What is the matter.
        why: String,
    },
    /// It does not fit the secret.
    #[error("it was made under another seed, or was changed since; give the seed that it was made under")]
    Seal,
    /// It does not fit the pack.
    #[error("it names texture {texture}, and the pack has {textures}; give the pack that it was made with")]
    Texture {
        /// Named.
        texture: usize,
        /// In the pack.
        textures: usize,
    },
}

/// What was decided about one person.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decided {
    pub(super) person: u64,
    /// Redraws so far.
    pub(super) attempt: u32,
    /// Weights over the basis: (texture, share); none where nothing is drawn.
    pub(super) mixture: Vec<(usize, f32)>,
    /// Whether it can be replaced at all.
    pub(super) trust: Trust,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    handover: u32,
    people: std::borrow::Cow<'a, [Decided]>,
}

/// What was decided about the persons of a film up to a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Handover {
    line: String,
    seal: String,
    people: Vec<Decided>,
}

impl Handover {
    /// Reads a text that [`super::super::Engine::handover`] gave. Its seal is not looked at.
    ///
    /// # Errors
    /// [`HandoverError::Form`].
    pub fn parse(text: &str) -> Result<Self, HandoverError> {
        let form = |why: String| HandoverError::Form { why };
        let (line, seal) = text.split_once('\n').ok_or_else(|| form("there is one line".to_owned()))?;
        let read: Line<'_> = serde_json::from_str(line).map_err(|e| form(e.to_string()))?;
        if read.handover != VERSION {
            return Err(form(format!("its version is {}, and {VERSION} can be read", read.handover)));
        }
        Ok(Self {
            line: line.to_owned(),
            seal: seal.trim_end().to_owned(),
            people: read.people.into_owned(),
        })
    }

    /// Whether it was made under this secret and is as it was made.
    #[must_use]
    pub fn is_sealed_by(&self, secret: &SessionSecret) -> bool {
        self.seal == seal(&self.line, secret)
    }

    /// Persons that something was decided about.
    #[must_use]
    pub fn people(&self) -> usize {
        self.people.len()
    }
}

fn seal(line: &str, secret: &SessionSecret) -> String {
    secret.seal(line.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

impl Generator {
    /// What was decided so far, as text.
    pub(in crate::pipeline) fn handover(&self) -> Result<String, HandoverError> {
        let mut people: Vec<Decided> = self.persons.iter().map(|(id, person)| person.decided(*id)).collect();
        people.sort_by_key(|d| d.person);
        let line = Line {
            handover: VERSION,
            people: people.into(),
        };
        let line = serde_json::to_string(&line).map_err(|e| HandoverError::Form { why: e.to_string() })?;
        let seal = seal(&line, &self.secret);
        Ok(format!("{line}\n{seal}\n"))
    }

    /// Whether a hand-over is of this secret and pack.
    pub(in crate::pipeline) fn accepts(&self, handover: &Handover) -> Result<(), HandoverError> {
        if !handover.is_sealed_by(&self.secret) {
            return Err(HandoverError::Seal);
        }
        let textures = self.basis.textures.len();
        let named = handover.people.iter().flat_map(|d| &d.mixture).map(|(texture, _)| *texture);
        match named.max() {
            Some(texture) if texture >= textures => Err(HandoverError::Texture { texture, textures }),
            _ => Ok(()),
        }
    }

    /// From now on every person is who it was then, and trusted as it was then; what has been learnt of faces stays.
    pub(in crate::pipeline) fn take_over(&mut self, handover: &Handover) {
        for (id, person) in &mut self.persons {
            if !handover.people.iter().any(|d| d.person == *id) {
                person.decide(&Decided::default());
            }
        }
        for decided in &handover.people {
            self.persons.entry(decided.person).or_default().decide(decided);
        }
    }
}
