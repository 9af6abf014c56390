//! Lines of JSON in and out. The header is the first line; what is not known is refused, so that a word
//! mistyped by hand is not passed over.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Decision, FORMAT, FilmId, Key, Origin, Place, Span, Track, Tracks, TracksError, VERSION, Withheld};
use crate::frame::{BoxPx, Pts};

/// Largest file that is read, bytes.
const MOST_BYTES: u64 = 1 << 30;
/// Largest side of a picture, px.
const MAX_SIDE_PX: u32 = 16_384;
/// How far corners may lie outside, in sides of the picture.
const REACH: f32 = 16.0;
/// Tenths of a pixel within which a number counts as a whole one: what was read is written as it was, however
/// often; single precision is this fine for the largest picture.
const ON_TENTH: f64 = 0.02;
/// How far times may lie beyond the film's last frame: people round up.
const BEYOND: Pts = Pts(1_000_000_000);
/// Largest number of a track or person: the next one must still be a number in JSON.
const MAX_ID: u64 = 1 << 52;

#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case", deny_unknown_fields)]
enum Record {
    Header {
        format: String,
        version: u32,
        film: String,
        sha256: String,
        width_px: u32,
        height_px: u32,
        frames: u64,
        rate: String,
        first_s: f64,
        last_s: f64,
    },
    Track {
        id: u64,
        person: u64,
        score: f32,
        #[serde(default)]
        decision: Decision,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        spans: Vec<RawSpan>,
    },
    Withheld {
        from_s: f64,
        to_s: f64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpan {
    origin: Origin,
    /// Time in seconds, left, top, right, bottom.
    keys: Vec<[f64; 5]>,
}

/// What of a first line says which format it is, whatever else is in it.
#[derive(Deserialize)]
struct Which {
    format: Option<String>,
    version: Option<u64>,
}

impl Tracks {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TracksError`] names line and field.
    pub fn read(path: &Path) -> Result<Self, TracksError> {
        let unreadable = |e: std::io::Error| TracksError::Unreadable(e.to_string());
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > MOST_BYTES {
            return Err(TracksError::Unreadable(format!("{bytes} bytes are more than any track file has")));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`TracksError`] names line and field.
    pub fn parse(text: &str) -> Result<Self, TracksError> {
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(i, l)| (i + 1, l))
            .filter(|(_, l)| !l.trim().is_empty());
        let wrong = |line, why: &dyn std::fmt::Display| TracksError::Line {
            line,
            why: why.to_string(),
        };
        let (number, first) = lines.next().ok_or_else(|| wrong(1, &"there is no header"))?;
        let film = header(number, first)?;
        let mut made = Self {
            film,
            tracks: Vec::new(),
            withheld: Vec::new(),
        };
        for (number, line) in lines {
            match serde_json::from_str(line).map_err(|e| wrong(number, &e))? {
                Record::Header { .. } => return Err(wrong(number, &"a second header")),
                Record::Track {
                    id,
                    person,
                    score,
                    decision,
                    why,
                    spans,
                } => {
                    let track = Track {
                        id,
                        person,
                        score,
                        decision,
                        why,
                        spans: spans
                            .into_iter()
                            .enumerate()
                            .map(|(i, s)| span(number, i, s))
                            .collect::<Result<_, _>>()?,
                    };
                    check_track(&track, &made.film, Place::Line(number))?;
                    if made.tracks.iter().any(|t| t.id == id) {
                        return Err(field(Place::Line(number), "id", "a number that no other track has", id));
                    }
                    made.tracks.push(track);
                }
                Record::Withheld { from_s, to_s } => {
                    let place = Place::Line(number);
                    let time = |name: &str, s| moment(place, name, s);
                    let held = Withheld {
                        from: time("from_s", from_s)?,
                        to: time("to_s", to_s)?,
                    };
                    if held.from > held.to {
                        return Err(field(place, "to_s", "no earlier than from_s", to_s));
                    }
                    made.withheld.push(held);
                }
            }
        }
        made.tracks.sort_by_key(|t| t.id);
        made.withheld.sort_by_key(|w| (w.from, w.to));
        Ok(made)
    }

    /// The file's text. Boxes are rounded outwards to a tenth of a pixel.
    #[must_use]
    pub fn to_text(&self) -> String {
        let film = &self.film;
        let header = Record::Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            film: film.name.clone(),
            sha256: film.sha256.clone(),
            width_px: film.width_px,
            height_px: film.height_px,
            frames: film.frames,
            rate: film.rate.clone(),
            first_s: film.first.seconds(),
            last_s: film.last.seconds(),
        };
        let tracks = self.tracks.iter().map(|t| Record::Track {
            id: t.id,
            person: t.person,
            score: t.score,
            decision: t.decision,
            why: t.why.clone(),
            spans: t.spans.iter().map(raw).collect(),
        });
        let withheld = self.withheld.iter().map(|w| Record::Withheld {
            from_s: w.from.seconds(),
            to_s: w.to.seconds(),
        });
        let lines = std::iter::once(header).chain(tracks).chain(withheld);
        // Numbers and words only: there is nothing in a record that JSON could refuse.
        lines.filter_map(|r| serde_json::to_string(&r).ok()).map(|l| l + "\n").collect()
    }

    /// Checks all that can be checked without the film.
    pub(super) fn check(&self) -> Result<(), TracksError> {
        check_film(&self.film, Place::Edit)?;
        self.tracks.iter().try_for_each(|t| check_track(t, &self.film, Place::Edit))
    }
}

fn raw(span: &Span) -> RawSpan {
    let down = |v: f32| (f64::from(v) * 10.0 + ON_TENTH).floor() / 10.0;
    let up = |v: f32| (f64::from(v) * 10.0 - ON_TENTH).ceil() / 10.0;
    let key = |k: &Key| {
        let b = k.box_px;
        [k.at.seconds(), down(b.x0), down(b.y0), up(b.x1), up(b.y1)]
    };
    RawSpan {
        origin: span.origin,
        keys: span.keys.iter().map(key).collect(),
    }
}

fn field(place: Place, field: impl Into<String>, expected: impl Into<String>, got: impl std::fmt::Display) -> TracksError {
    TracksError::Field {
        place,
        field: field.into(),
        expected: expected.into(),
        got: got.to_string(),
    }
}

fn moment(place: Place, name: &str, seconds: f64) -> Result<Pts, TracksError> {
    // A longer film than this would not fit the numbers, and there is none.
    if (0.0..=9.0e6).contains(&seconds) {
        Ok(Pts::from_seconds(seconds))
    } else {
        Err(field(place, name, "seconds of the film, 0 or more", seconds))
    }
}

fn header(line: usize, text: &str) -> Result<FilmId, TracksError> {
    let wrong = |why: &dyn std::fmt::Display| TracksError::Line {
        line,
        why: why.to_string(),
    };
    let which: Which = serde_json::from_str(text).map_err(|e| wrong(&e))?;
    if which.format.as_deref() != Some(FORMAT) {
        return Err(wrong(&format!("it is not the header of a track file: expected format `{FORMAT}`")));
    }
    match which.version {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => return Err(TracksError::Version(version)),
        None => return Err(wrong(&"missing field `version`")),
    }
    let Record::Header {
        film,
        sha256,
        width_px,
        height_px,
        frames,
        rate,
        first_s,
        last_s,
        ..
    } = serde_json::from_str(text).map_err(|e| wrong(&e))?
    else {
        return Err(wrong(&"the first line must be the header"));
    };
    let place = Place::Line(line);
    let film = FilmId {
        name: film,
        sha256,
        rate,
        width_px,
        height_px,
        frames,
        first: moment(place, "first_s", first_s)?,
        last: moment(place, "last_s", last_s)?,
    };
    check_film(&film, place)?;
    Ok(film)
}

fn check_film(film: &FilmId, place: Place) -> Result<(), TracksError> {
    if film.sha256.len() != 64 || !film.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(field(place, "sha256", "64 hexadecimal digits", &film.sha256));
    }
    for (name, side) in [("width_px", film.width_px), ("height_px", film.height_px)] {
        if !(1..=MAX_SIDE_PX).contains(&side) {
            return Err(field(place, name, format!("1 to {MAX_SIDE_PX} px"), side));
        }
    }
    if film.frames == 0 {
        return Err(field(place, "frames", "at least 1", 0));
    }
    if film.last < film.first {
        return Err(field(place, "last_s", "no earlier than first_s", film.last.seconds()));
    }
    Ok(())
}

fn span(line: usize, number: usize, raw: RawSpan) -> Result<Span, TracksError> {
    let key = |(i, [s, x0, y0, x1, y1]): (usize, [f64; 5])| {
        let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(|v| v as f32);
        Ok(Key {
            at: moment(Place::Line(line), &format!("spans[{number}].keys[{i}]"), s)?,
            box_px: BoxPx { x0, y0, x1, y1 },
        })
    };
    Ok(Span {
        origin: raw.origin,
        keys: raw.keys.into_iter().enumerate().map(key).collect::<Result<_, _>>()?,
    })
}

/// Whether a track can be one of this film.
pub(super) fn check_track(track: &Track, film: &FilmId, place: Place) -> Result<(), TracksError> {
    for (name, number) in [("id", track.id), ("person", track.person)] {
        if number > MAX_ID {
            return Err(field(place, name, format!("at most {MAX_ID}"), number));
        }
    }
    if !(0.0..=1.0).contains(&track.score) {
        return Err(field(place, "score", "0 to 1", track.score));
    }
    if track.spans.is_empty() {
        return Err(field(place, "spans", "at least one", "none"));
    }
    let end = Pts(film.last.0.saturating_add(BEYOND.0));
    let mut reached = Pts(0);
    for (i, span) in track.spans.iter().enumerate() {
        if span.keys.is_empty() {
            return Err(field(place, format!("spans[{i}].keys"), "at least one", "none"));
        }
        if span.from() < reached {
            let expected = format!("a begin no earlier than {} s, where the span before ends", reached.seconds());
            return Err(field(place, format!("spans[{i}]"), expected, span.from().seconds()));
        }
        reached = span.to();
        let mut before = None;
        for (j, key) in span.keys.iter().enumerate() {
            let name = || format!("spans[{i}].keys[{j}]");
            if before.is_some_and(|b| key.at <= b) {
                return Err(field(
                    place,
                    name(),
                    "a time later than that of the key before",
                    format!("{} s", key.at.seconds()),
                ));
            }
            before = Some(key.at);
            if key.at > end {
                let expected = format!("a time in the film, which ends at {} s", film.last.seconds());
                return Err(field(place, name(), expected, format!("{} s", key.at.seconds())));
            }
            check_box(&key.box_px, film).map_err(|expected| {
                let b = key.box_px;
                field(place, name(), expected, format!("[{}, {}, {}, {}]", b.x0, b.y0, b.x1, b.y1))
            })?;
        }
    }
    Ok(())
}

fn check_box(b: &BoxPx, film: &FilmId) -> Result<(), String> {
    let reach = REACH * film.width_px.max(film.height_px) as f32;
    if !b.is_valid() || b.x0 >= b.x1 || b.y0 >= b.y1 {
        return Err("a box with left < right and top < bottom".to_owned());
    }
    if !b.clipped(film.width_px, film.height_px).is_valid() || [b.x0, b.y0, b.x1, b.y1].iter().any(|v| v.abs() > reach) {
        return Err(format!("a box in the picture of {} x {} px", film.width_px, film.height_px));
    }
    Ok(())
}
