//! The cut list: where and when faces are kept or covered by hand, whatever photos say.
//!
//! ```toml
//! [[cut]]
//! action = "keep"            # or "cover"
//! from = "0:10.5"            # time in the film: seconds, or [hours:]minutes:seconds
//! to = "1:02"
//! zone = [0.5, 0.0, 1.0, 1.0] # left, top, right, bottom as shares of the upright picture; all of it when left out
//! ```
//!
//! A face is kept where its whole region lies in the zone, and covered where any of it does; covering
//! stands above keeping. Two cuts with different actions that meet in time and place are refused:
//! whoever wrote them meant one of the two.

use std::path::{Path, PathBuf};

use crate::frame::BoxPx;

/// Cuts in one list.
const MOST: usize = 10_000;

/// What happens to faces in a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutAction {
    /// They stay as they are.
    Keep,
    /// They are anonymised.
    Cover,
}

/// A zone for a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// What happens.
    pub action: CutAction,
    /// First moment, seconds of the film.
    pub from_s: f64,
    /// Moment after the last, seconds of the film.
    pub to_s: f64,
    /// Left, top, right, bottom, as shares of the picture's sides.
    pub zone: [f32; 4],
}

/// All cuts of a film.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CutList {
    cuts: Vec<Cut>,
}

/// Why a cut list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// Not readable.
    #[error("{}: cannot be read: {why}; give the path of a cut list", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Cause.
        why: String,
    },
    /// Not TOML, or not of this shape.
    #[error("cut list: {0}")]
    Shape(String),
    /// One cut is impossible.
    #[error("cut {number}: {what}: expected {expected}, got {got}")]
    Impossible {
        /// Which, counted from 1.
        number: usize,
        /// What of it.
        what: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// Two cuts contradict each other.
    #[error("cuts {0} and {1} keep and cover the same place at the same time; shorten one of them or take it out")]
    Contradiction(usize, usize),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawList {
    #[serde(default)]
    cut: Vec<RawCut>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCut {
    action: CutAction,
    from: RawTime,
    to: RawTime,
    zone: Option<[f32; 4]>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
enum RawTime {
    Seconds(f64),
    Text(String),
}

impl RawTime {
    fn seconds(&self) -> Option<f64> {
        let seconds = match self {
            Self::Seconds(s) => *s,
            Self::Text(text) => {
                let parts: Vec<&str> = text.split(':').collect();
                if parts.len() > 3 {
                    return None;
                }
                let mut sum = 0.0;
                for part in parts {
                    let number: f64 = part.trim().parse().ok().filter(|n: &f64| *n >= 0.0)?;
                    sum = sum * 60.0 + number;
                }
                sum
            }
        };
        Some(seconds).filter(|s| s.is_finite() && *s >= 0.0)
    }
}

impl CutList {
    /// Reads a file.
    ///
    /// # Errors
    /// [`CutError`] says which cut is wrong and how.
    pub fn read(path: &Path) -> Result<Self, CutError> {
        let text = std::fs::read_to_string(path).map_err(|e| CutError::Unreadable {
            path: path.to_owned(),
            why: e.to_string(),
        })?;
        Self::parse(&text)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`CutError`] says which cut is wrong and how.
    pub fn parse(text: &str) -> Result<Self, CutError> {
        let raw: RawList = toml::from_str(text).map_err(|e| CutError::Shape(e.message().to_owned()))?;
        if raw.cut.len() > MOST {
            return Err(CutError::Shape(format!("expected at most {MOST} cuts, got {}", raw.cut.len())));
        }
        let mut cuts = Vec::with_capacity(raw.cut.len());
        for (i, cut) in raw.cut.iter().enumerate() {
            let wrong = |what, expected, got: String| CutError::Impossible {
                number: i + 1,
                what,
                expected,
                got,
            };
            let time = |what, t: &RawTime| {
                t.seconds()
                    .ok_or_else(|| wrong(what, "seconds, or [hours:]minutes:seconds", format!("{t:?}")))
            };
            let (from_s, to_s) = (time("from", &cut.from)?, time("to", &cut.to)?);
            if from_s >= to_s {
                return Err(wrong("to", "later than from", format!("{from_s} to {to_s} s")));
            }
            let zone = cut.zone.unwrap_or([0.0, 0.0, 1.0, 1.0]);
            let [x0, y0, x1, y1] = zone;
            if !(0.0 <= x0 && x0 < x1 && x1 <= 1.0 && 0.0 <= y0 && y0 < y1 && y1 <= 1.0) {
                return Err(wrong(
                    "zone",
                    "left < right and top < bottom, each from 0 to 1",
                    format!("{zone:?}"),
                ));
            }
            cuts.push(Cut {
                action: cut.action,
                from_s,
                to_s,
                zone,
            });
        }
        for (i, a) in cuts.iter().enumerate() {
            if let Some(j) = cuts.iter().skip(i + 1).position(|b| contradict(a, b)) {
                return Err(CutError::Contradiction(i + 1, i + j + 2));
            }
        }
        Ok(Self { cuts })
    }

    /// The cuts.
    #[must_use]
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// The end of the last cut, seconds.
    #[must_use]
    pub fn end_s(&self) -> f64 {
        self.cuts.iter().map(|c| c.to_s).fold(0.0, f64::max)
    }

    /// What the list says of a region of a frame at `at_s`; `None` where it says nothing.
    pub(super) fn action(&self, region: &BoxPx, (w, h): (u32, u32), at_s: f64) -> Option<CutAction> {
        let mut said = None;
        for cut in self.cuts.iter().filter(|c| (c.from_s..c.to_s).contains(&at_s)) {
            let [x0, y0, x1, y1] = cut.zone;
            let zone = BoxPx {
                x0: x0 * w as f32,
                y0: y0 * h as f32,
                x1: x1 * w as f32,
                y1: y1 * h as f32,
            };
            let inside = region.clipped(w, h).share_inside(&zone);
            match cut.action {
                CutAction::Cover if inside > 0.0 => return Some(CutAction::Cover),
                CutAction::Keep if inside >= 0.999 => said = Some(CutAction::Keep),
                CutAction::Cover | CutAction::Keep => {}
            }
        }
        said
    }
}

fn contradict(a: &Cut, b: &Cut) -> bool {
    let meet = |a0: f32, a1: f32, b0: f32, b1: f32| a0 < b1 && b0 < a1;
    a.action != b.action
        && a.from_s < b.to_s
        && b.from_s < a.to_s
        && meet(a.zone[0], a.zone[2], b.zone[0], b.zone[2])
        && meet(a.zone[1], a.zone[3], b.zone[1], b.zone[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(action: &str, from: &str, to: &str, zone: &str) -> String {
        format!("[[cut]]\naction = \"{action}\"\nfrom = {from}\nto = {to}\n{zone}\n")
    }

    #[test]
    fn a_face_is_kept_only_wholly_inside_the_zone_and_the_time() {
        let list = CutList::parse(&cut("keep", "\"0:10\"", "\"1:00.5\"", "zone = [0.5, 0.0, 1.0, 1.0]")).expect("list");
        let face = |x0: f32| BoxPx {
            x0,
            y0: 10.0,
            x1: x0 + 20.0,
            y1: 30.0,
        };
        let says = |x, t| list.action(&face(x), (100, 100), t);
        assert_eq!(says(60.0, 20.0), Some(CutAction::Keep));
        for (x, t) in [(40.0, 20.0), (10.0, 20.0), (60.0, 9.9), (60.0, 60.5)] {
            assert_eq!(says(x, t), None, "{x} {t}");
        }
    }

    #[test]
    fn impossible_times_and_zones_are_named() {
        for (text, what) in [
            (cut("keep", "5", "5", ""), "cut 1: to: expected later than from, got 5 to 5 s"),
            (cut("keep", "-1", "5", ""), "cut 1: from"),
            (cut("keep", "\"1:2:3:4\"", "5", ""), "cut 1: from"),
            (cut("keep", "1", "\"soon\"", ""), "cut 1: to"),
            (cut("keep", "1", "2", "zone = [0.5, 0, 0.4, 1]"), "cut 1: zone"),
            (cut("keep", "1", "2", "zone = [0, 0, 1.5, 1]"), "cut 1: zone"),
            (cut("hide", "1", "2", ""), "unknown variant"),
            (cut("keep", "1", "2", "where = 3"), "unknown field"),
            ("cut = 3".to_owned(), "cut list"),
        ] {
            let error = CutList::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn cuts_that_contradict_each_other_are_refused_and_neighbours_are_not() {
        let left = "zone = [0.0, 0.0, 0.5, 1.0]";
        let text = |second: &str| format!("{}{}", cut("keep", "1", "5", left), second);
        assert_eq!(
            CutList::parse(&text(&cut("cover", "4", "6", ""))),
            Err(CutError::Contradiction(1, 2))
        );
        for second in [
            cut("cover", "5", "6", ""),
            cut("cover", "2", "3", "zone = [0.5, 0.0, 1.0, 1.0]"),
            cut("keep", "2", "3", ""),
        ] {
            assert!(CutList::parse(&text(&second)).is_ok(), "{second}");
        }
    }
}
