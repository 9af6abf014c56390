//! The audit trail: what was done to every face, as lines of JSON that a later change gives away.
//!
//! | `record` | when | fields |
//! |---|---|---|
//! | `header` | first | versions, device, models and pack with hashes, settings; of a film also its hash |
//! | `interval` | one for each track and stretch of time in which its treatment stays | `track`, `from_s`, `to_s`, `frames`, `box` (x, y, width, height; hull, px), `outcome`, `rung`, `reason`, `kept` (why it stays), `choice` (by photo, cut list, or undecided), `cos` (largest measured), `verdict` |
//! | `withheld` | one for each stretch of frames that were covered whole or dropped | `from_s`, `to_s`, `frames`, `reason`, `fault` |
//! | `footer` | last | frames, faces, tracks, faces by outcome, `uncovered` |
//! | `signature` | after the footer, where a key was given | algorithm, public key, signature |
//!
//! Not in it: embeddings, seeds, latents, pictures, paths. Names of files without folders.
//!
//! **Chain.** Every line ends with `"chain"`: SHA-256 of the line before's chain and of its own text without
//! that field. Who changes, removes or adds a line must reckon every later one anew; who holds a signature of the
//! last one sees it. Without a signature the chain guards against accidents only.
//!
//! **Uncovered.** A frame leaves only with the engine's word that every region was handled, or filled. Should one
//! ever leave otherwise, its time stands in `uncovered`, and the command line ends with exit code 3.

mod chain;
mod trail;

pub use chain::{Chain, ChainError, Checked, check};
pub use trail::{Header, LAYOUT, Named, Totals, Trail, Treatment};
