//! Source and output, frame beside frame: two films aligned by time, two folders by name, or two pictures.
//!
//! Frames belong together that lie within half a frame's time of each other. Frames without a partner are
//! counted; where they are more than [`MAX_UNMATCHED_SHARE`] the films are not of one cut, and are refused
//! with the difference. An output of another size and the same aspect is brought to the source's size.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use opencv::core::{Mat, Size};
use opencv::imgproc;
use opencv::prelude::*;

use crate::exit::refuse;
use crate::film::Film;
use crate::reader::{Picture, Reader};

/// Share of frames without a partner up to which films are taken for one cut.
const MAX_UNMATCHED_SHARE: f64 = 0.02;
/// Frames that may always lack a partner: encoders and muxers drop one at either end.
const UNMATCHED_ALWAYS: usize = 2;
/// Aspects may differ by this share: sizes are rounded to even numbers.
const MAX_ASPECT_CHANGE: f64 = 0.02;
/// Frame rate taken where a film states none.
const ASSUMED_FPS: f64 = 25.0;
/// Files taken for pictures.
const PICTURES: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// What is measured together.
#[derive(Debug)]
pub(super) enum Matched {
    /// Two films.
    Films(Box<Film>, Box<Film>),
    /// Two pictures.
    Stills(PathBuf, PathBuf),
}

impl Matched {
    /// Where they lie.
    pub(super) fn paths(&self) -> (&Path, &Path) {
        match self {
            Self::Films(a, b) => (&a.path, &b.path),
            Self::Stills(a, b) => (a, b),
        }
    }
}

/// Opens what the command line names.
///
/// # Errors
/// A folder beside a film, names without a partner, films of another length.
pub(super) fn open(source: &Path, output: &Path) -> Result<Vec<Matched>> {
    match (source.is_dir(), output.is_dir()) {
        (true, true) => folders(source, output),
        (true, false) => Err(refuse(
            output,
            format!("it is no folder, and {} is one", source.display()),
            "give two folders or two files",
        )),
        (false, true) => Err(refuse(
            source,
            format!("it is no folder, and {} is one", output.display()),
            "give two folders or two files",
        )),
        (false, false) if is_picture(source) && is_picture(output) => Ok(vec![Matched::Stills(source.to_owned(), output.to_owned())]),
        (false, false) => {
            let (a, b) = (Film::open(source)?, Film::open(output)?);
            same_length(&a, &b)?;
            Ok(vec![Matched::Films(Box::new(a), Box::new(b))])
        }
    }
}

/// Whether a file's name says that it is a still picture.
pub(super) fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    ending.is_some_and(|e| PICTURES.contains(&e.as_str()))
}

/// Pictures of a folder by name without ending, in order; hidden files left out.
pub(super) fn pictures(folder: &Path) -> Result<BTreeMap<OsString, PathBuf>> {
    let unreadable = |e: std::io::Error| refuse(folder, format!("it cannot be read: {e}"), "give a folder of pictures");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.is_file()
            && !hidden
            && is_picture(&path)
            && let Some(stem) = path.file_stem()
            && let Some(other) = found.insert(stem.to_owned(), path.clone())
        {
            return Err(refuse(
                &path,
                format!("{} has the same name", other.display()),
                "give each picture a name of its own",
            ));
        }
    }
    if found.is_empty() {
        return Err(refuse(
            folder,
            "it has no picture (PNG, JPEG, WebP) in it",
            "give a folder of pictures",
        ));
    }
    Ok(found)
}

fn folders(source: &Path, output: &Path) -> Result<Vec<Matched>> {
    let (sources, mut outputs) = (pictures(source)?, pictures(output)?);
    let mut pairs = Vec::with_capacity(sources.len());
    let mut alone = Vec::new();
    for (name, a) in sources {
        match outputs.remove(&name) {
            Some(b) => pairs.push(Matched::Stills(a, b)),
            None => alone.push(name.to_string_lossy().into_owned()),
        }
    }
    let lonely = outputs.keys().next().map(|n| n.to_string_lossy().into_owned());
    if let Some(first) = alone.first().cloned().or(lonely) {
        let (which, n) = if alone.is_empty() {
            (source, outputs.len())
        } else {
            (output, alone.len())
        };
        return Err(refuse(
            which,
            format!("{n} pictures of the other folder have no partner in it, the first is `{first}`"),
            "give folders whose pictures have the same names",
        ));
    }
    Ok(pairs)
}

/// Refuses films whose containers state lengths that cannot be of one cut.
fn same_length(source: &Film, output: &Film) -> Result<()> {
    let (Some(a), Some(b)) = (source.duration, output.duration) else {
        return Ok(());
    };
    let (a, b) = (a.seconds_f64(), b.seconds_f64());
    // Containers round, and sound may end after the picture: what is certain only is counted in frames.
    let allowed = (a.max(b) * 0.1).max(1.0);
    if (a - b).abs() > allowed {
        let word = if b > a { "longer" } else { "shorter" };
        return Err(refuse(
            &output.path,
            format!("it is {:.1} s {word} than the source ({b:.1} s against {a:.1} s)", (a - b).abs()),
            "give the output of this source, uncut",
        ));
    }
    Ok(())
}

/// Frames per second that a film states.
pub(super) fn rate(film: &Film) -> f64 {
    if film.rate.numer() > 0 {
        f64::from(film.rate.numer()) / f64::from(film.rate.denom())
    } else {
        ASSUMED_FPS
    }
}

/// What became of frames.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Tally {
    /// Pairs.
    pub(super) frames: usize,
    /// Frames of the source without a partner.
    pub(super) source_only: usize,
    /// Frames of the output without a partner.
    pub(super) output_only: usize,
    /// Size of the source.
    pub(super) size_px: (u32, u32),
    /// First and last time.
    pub(super) span_s: (f64, f64),
    /// Whether the output had another size.
    pub(super) rescaled: bool,
}

impl Tally {
    fn check(&self, source: &Path, output: &Path) -> Result<()> {
        let alone = self.source_only + self.output_only;
        let all = self.frames + alone;
        if alone > UNMATCHED_ALWAYS.max((all as f64 * MAX_UNMATCHED_SHARE) as usize) {
            return Err(refuse(
                output,
                format!(
                    "it is not of one cut with {}: {} frames of the source and {} of the output have no partner in time, {} have",
                    source.display(),
                    self.source_only,
                    self.output_only,
                    self.frames
                ),
                "give the output of this source with its timestamps kept",
            ));
        }
        Ok(())
    }
}

/// Walks both side by side. `each` gets the source and the output, in the source's size.
pub(super) fn walk(matched: &Matched, mut each: impl FnMut(&Picture, &Picture) -> Result<()>) -> Result<Tally> {
    let (source, output) = matched.paths();
    let mut tally = Tally::default();
    let mut pair = |a: &Picture, b: Picture, tally: &mut Tally| -> Result<()> {
        let b = fitted(a, b, source, output, tally)?;
        if tally.frames == 0 {
            tally.size_px = (u32::try_from(a.width_px)?, u32::try_from(a.height_px)?);
            tally.span_s.0 = a.time.seconds_f64();
        }
        tally.span_s.1 = a.time.seconds_f64();
        tally.frames += 1;
        each(a, &b)
    };
    match matched {
        Matched::Stills(a, b) => pair(&Reader::still(a)?, Reader::still(b)?, &mut tally)?,
        Matched::Films(a, b) => {
            let half = 0.5 / rate(a).max(rate(b));
            let (from, to) = (Reader::open(a)?, Reader::open(b)?);
            let (mut s, mut o) = (from.next()?, to.next()?);
            while let (Some(a), Some(b)) = (&s, &o) {
                let ahead = b.time.seconds_f64() - a.time.seconds_f64();
                if ahead.abs() <= half {
                    if let (Some(a), Some(b)) = (s.take(), o.take()) {
                        pair(&a, b, &mut tally)?;
                    }
                    (s, o) = (from.next()?, to.next()?);
                } else if ahead > 0.0 {
                    tally.source_only += 1;
                    s = from.next()?;
                } else {
                    tally.output_only += 1;
                    o = to.next()?;
                }
            }
            while s.is_some() {
                tally.source_only += 1;
                s = from.next()?;
            }
            while o.is_some() {
                tally.output_only += 1;
                o = to.next()?;
            }
            tally.check(source, output)?;
        }
    }
    if tally.frames == 0 {
        return Err(refuse(
            source,
            "not one frame of it and of the output belong together in time",
            "give the output of this source",
        ));
    }
    Ok(tally)
}

/// The output in the source's size.
fn fitted(a: &Picture, b: Picture, source: &Path, output: &Path, tally: &mut Tally) -> Result<Picture> {
    if (a.width_px, a.height_px) == (b.width_px, b.height_px) {
        return Ok(b);
    }
    let aspect = |p: &Picture| p.width_px as f64 / p.height_px as f64;
    if (aspect(a) / aspect(&b) - 1.0).abs() > MAX_ASPECT_CHANGE {
        return Err(refuse(
            output,
            format!(
                "its picture is {}×{} px, that of {} is {}×{} px: another aspect, so cut or stretched",
                b.width_px,
                b.height_px,
                source.display(),
                a.width_px,
                a.height_px
            ),
            "give the output of this source, uncut",
        ));
    }
    tally.rescaled = true;
    let flat = Mat::from_slice(&b.rgb)?;
    let shaped = flat.reshape(3, i32::try_from(b.height_px)?)?;
    let mut sized = Mat::default();
    let size = Size::new(i32::try_from(a.width_px)?, i32::try_from(a.height_px)?);
    let how = if b.width_px > a.width_px {
        imgproc::INTER_AREA
    } else {
        imgproc::INTER_LINEAR
    };
    imgproc::resize(&shaped, &mut sized, size, 0.0, 0.0, how).context("the output cannot be brought to the source's size")?;
    Ok(Picture {
        time: b.time,
        width_px: a.width_px,
        height_px: a.height_px,
        rgb: sized.data_bytes()?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use std::path::Path;

    #[test]
    fn a_frame_at_either_end_may_be_missing_and_a_second_may_not() {
        let check = |source_only, output_only| {
            Tally {
                frames: 250,
                source_only,
                output_only,
                ..Tally::default()
            }
            .check(Path::new("a"), Path::new("b"))
        };
        assert!(check(1, 1).is_ok() && check(5, 0).is_ok());
        let error = check(25, 0).expect_err("a second").to_string();
        assert!(error.contains("25 frames of the source") && error.contains("250 have"), "{error}");
        assert!(check(0, 6).is_err());
    }
}
