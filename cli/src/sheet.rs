//! `nullface sheet`: a contact sheet, one row for each frame that matters – source, output, and what
//! differs between them, four times as strong. The frames: where the output is nearest to the source
//! person, the first of each track, and between them evenly spaced ones; without a report only those.
//!
//! Both films are read once from the start; frames belong together by their time, not their count.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gst::ClockTime;
use opencv::core::{self, Mat, MatTraitConst, MatTraitConstManual, Point, Rect, Scalar, Size};
use opencv::imgproc;
use serde_json::Value;

use crate::exit::{Exit, refuse};
use crate::film::Film;
use crate::reader::{Picture, Reader};
use crate::target::{ROOM, Target};

/// Widest cell, px.
const CELL_WIDTH_PX: i32 = 400;
/// Tallest cell, px.
const CELL_HEIGHT_PX: i32 = 400;
/// Strip under each row that says time and reason, px.
const CAPTION_PX: i32 = 24;
/// Gap between cells, px.
const GAP_PX: i32 = 4;
/// Gain of the difference.
const DIFFERENCE_GAIN: f64 = 4.0;
/// Furthest apart that two frames may be and still be the same one: half a frame at 25 a second.
const SAME_FRAME: ClockTime = ClockTime::from_mseconds(20);

/// Draw a contact sheet: source, output and difference at the frames that matter.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The film before.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The film after.
    #[arg(value_name = "OUT")]
    anonymised: PathBuf,
    /// Picture to write.
    #[arg(short, long, value_name = "SHEET.png")]
    output: PathBuf,
    /// Report of the run; picks the frames where faces begin or come out nearest to the source.
    #[arg(long, value_name = "FILE.jsonl")]
    report: Option<PathBuf>,
    /// Rows.
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    frames: u16,
    /// Replace a sheet that exists.
    #[arg(short, long)]
    force: bool,
}

/// A frame to show.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    at: ClockTime,
    why: String,
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<Exit> {
    let before = Film::open(&args.input)?;
    let after = Film::open(&args.anonymised)?;
    let mut target = Target::create(&args.output, args.force, &[&args.input, &args.anonymised])?;
    let length = before.duration.or(after.duration).unwrap_or(ClockTime::ZERO);
    let said = match &args.report {
        Some(path) => marked(path)?,
        None => Vec::new(),
    };
    let wanted = choose(said, length, usize::from(args.frames));
    let sources = pick(&Reader::open(&before)?, &wanted.iter().map(|w| w.at).collect::<Vec<_>>())?;
    let outputs = pick(&Reader::open(&after)?, &sources.iter().map(|p| p.time).collect::<Vec<_>>())?;
    let mut rows = Vec::new();
    for ((source, output), wanted) in sources.iter().zip(&outputs).zip(&wanted) {
        let apart = source.time.max(output.time) - source.time.min(output.time);
        if apart > SAME_FRAME {
            return Err(refuse(
                &args.anonymised,
                format!(
                    "it has no frame at {:.3} s (the nearest is at {:.3} s)",
                    source.time.seconds_f64(),
                    output.time.seconds_f64()
                ),
                "give the film that was made from this input",
            ));
        }
        rows.push(row(source, output, &format!("{:.2} s  {}", source.time.seconds_f64(), wanted.why))?);
    }
    let first = rows
        .first()
        .with_context(|| format!("{}: no frame could be shown", args.input.display()))?;
    let (width, height) = (first.cols(), first.rows());
    let mut sheet = Mat::new_rows_cols_with_default(height * rows.len() as i32, width, core::CV_8UC3, Scalar::all(255.0))?;
    for (i, row) in rows.iter().enumerate() {
        let mut place = Mat::roi_mut(&mut sheet, Rect::new(0, height * i as i32, width, height))?;
        row.copy_to(&mut place)?;
    }
    write_png(&mut target, &sheet)?;
    target.finish()?;
    eprintln!(
        "{}: {} rows (source, output, difference ×{DIFFERENCE_GAIN})",
        args.output.display(),
        rows.len()
    );
    Ok(Exit::Done)
}

/// What a report marks, most important first.
fn marked(path: &Path) -> Result<Vec<Wanted>> {
    let unreadable = |e: &dyn std::fmt::Display| {
        refuse(
            path,
            format!("it cannot be read as a report: {e}"),
            "give the file that `nullface anonymize --report` wrote",
        )
    };
    let file = std::fs::File::open(path).map_err(|e| unreadable(&e))?;
    let mut seen = BTreeSet::new();
    let mut firsts = Vec::new();
    let mut worst: Option<(f64, ClockTime)> = None;
    for line in BufReader::new(file).lines() {
        let record: Value = serde_json::from_str(&line.map_err(|e| unreadable(&e))?).map_err(|e| unreadable(&e))?;
        let (Some("interval"), Some(from_s)) = (record["record"].as_str(), record["from_s"].as_f64()) else {
            continue;
        };
        let at = ClockTime::from_seconds_f64(from_s.max(0.0));
        if let Some(track) = record["track"].as_u64()
            && seen.insert(track)
        {
            firsts.push(Wanted {
                at,
                why: format!("track {track} begins"),
            });
        }
        if let Some(cos) = record["cos"].as_f64()
            && worst.is_none_or(|(w, _)| cos > w)
        {
            worst = Some((cos, at));
        }
    }
    let worst = worst.map(|(cos, at)| Wanted {
        at,
        why: format!("nearest to the source, cos {cos:.2}"),
    });
    Ok(worst.into_iter().chain(firsts).collect())
}

/// Marked frames while there is room, the rest evenly spaced; in order of time.
fn choose(marked: Vec<Wanted>, length: ClockTime, rows: usize) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    // Half of the sheet stays for frames that nobody marked: a report cannot know what it missed.
    for mark in marked {
        if wanted.len() < rows.div_ceil(2) && wanted.iter().all(|w| w.at != mark.at) {
            wanted.push(mark);
        }
    }
    let spaced = rows - wanted.len();
    for i in 0..spaced {
        let share = (i as f64 + 0.5) / spaced as f64;
        wanted.push(Wanted {
            at: ClockTime::from_seconds_f64(length.seconds_f64() * share),
            why: String::new(),
        });
    }
    wanted.sort_by_key(|w| w.at);
    wanted
}

/// For each time, in order, the frame nearest to it.
fn pick(reader: &Reader, times: &[ClockTime]) -> Result<Vec<Picture>> {
    let mut picked = Vec::with_capacity(times.len());
    let mut last: Option<Picture> = None;
    let mut next = reader.next()?;
    for &time in times {
        while let Some(frame) = next.take_if(|f| f.time < time) {
            last = Some(frame);
            next = reader.next()?;
        }
        let nearest = match (&last, &next) {
            (Some(a), Some(b)) => Some(if time.saturating_sub(a.time) < b.time.saturating_sub(time) {
                a
            } else {
                b
            }),
            (a, b) => a.as_ref().or(b.as_ref()),
        };
        picked.extend(nearest.cloned());
    }
    Ok(picked)
}

/// Source, output, difference and the caption under them.
fn row(source: &Picture, output: &Picture, caption: &str) -> Result<Mat> {
    let cell = cell_size(source);
    let small = [fit(source, cell)?, fit(output, cell)?];
    let mut difference = Mat::default();
    core::absdiff(&small[0], &small[1], &mut difference)?;
    let mut strong = Mat::default();
    difference.convert_to(&mut strong, -1, DIFFERENCE_GAIN, 0.0)?;

    let width = 3 * cell.width + 2 * GAP_PX;
    let mut row = Mat::new_rows_cols_with_default(cell.height + CAPTION_PX, width, core::CV_8UC3, Scalar::all(255.0))?;
    for (i, picture) in small.iter().chain([&strong]).enumerate() {
        let place = Rect::new(i as i32 * (cell.width + GAP_PX), 0, cell.width, cell.height);
        picture.copy_to(&mut Mat::roi_mut(&mut row, place)?)?;
    }
    let foot = Point::new(GAP_PX, cell.height + CAPTION_PX - 8);
    imgproc::put_text(
        &mut row,
        caption,
        foot,
        imgproc::FONT_HERSHEY_SIMPLEX,
        0.45,
        Scalar::all(0.0),
        1,
        imgproc::LINE_AA,
        false,
    )?;
    Ok(row)
}

fn cell_size(picture: &Picture) -> Size {
    let (w, h) = (picture.width_px as f64, picture.height_px as f64);
    let scale = (f64::from(CELL_WIDTH_PX) / w).min(f64::from(CELL_HEIGHT_PX) / h).min(1.0);
    Size::new(((w * scale) as i32).max(1), ((h * scale) as i32).max(1))
}

fn fit(picture: &Picture, cell: Size) -> Result<Mat> {
    let flat = Mat::from_bytes::<u8>(&picture.rgb)?;
    let shaped = flat.reshape(3, i32::try_from(picture.height_px)?)?;
    let mut small = Mat::default();
    imgproc::resize(&shaped, &mut small, cell, 0.0, 0.0, imgproc::INTER_AREA)?;
    Ok(small)
}

fn write_png(target: &mut Target, sheet: &Mat) -> Result<()> {
    let (width, height) = (u32::try_from(sheet.cols())?, u32::try_from(sheet.rows())?);
    let path = target.path().to_owned();
    let mut encoder = png::Encoder::new(BufWriter::new(target.file_mut()), width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let full = |e: png::EncodingError| refuse(&path, format!("it cannot be written: {e}"), ROOM);
    let mut writer = encoder.write_header().map_err(full)?;
    writer.write_image_data(sheet.data_bytes()?).map_err(full)?;
    writer.finish().map_err(full)
}

#[cfg(test)]
mod tests {
    use super::{Wanted, choose, marked};
    use gst::ClockTime;
    use std::io::Write;

    #[test]
    fn without_marks_the_frames_are_evenly_spaced() {
        let wanted = choose(Vec::new(), ClockTime::from_seconds(8), 4);
        let times: Vec<u64> = wanted.iter().map(|w| w.at.seconds()).collect();
        assert_eq!(times, [1, 3, 5, 7]);
    }

    #[test]
    fn marks_take_at_most_half_of_the_rows_and_all_is_in_order_of_time() {
        let marks = (0..10)
            .rev()
            .map(|i| Wanted {
                at: ClockTime::from_seconds(i),
                why: format!("track {i} begins"),
            })
            .collect();
        let wanted = choose(marks, ClockTime::from_seconds(10), 6);
        assert_eq!(wanted.len(), 6);
        assert_eq!(wanted.iter().filter(|w| !w.why.is_empty()).count(), 3);
        assert!(wanted.is_sorted_by_key(|w| w.at));
    }

    #[test]
    fn the_worst_cosine_comes_before_the_first_frames_of_tracks() {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        let lines = r#"{"record":"header"}
{"record":"interval","track":7,"from_s":1.0,"cos":0.1}
{"record":"interval","track":7,"from_s":2.5,"cos":0.3}
{"record":"interval","track":8,"from_s":2.5}
{"record":"footer"}
"#;
        file.write_all(lines.as_bytes()).expect("written");
        let marks = marked(file.path()).expect("a report");
        let said: Vec<(u64, &str)> = marks.iter().map(|m| (m.at.mseconds(), m.why.as_str())).collect();
        assert_eq!(
            said,
            [
                (2500, "nearest to the source, cos 0.30"),
                (1000, "track 7 begins"),
                (2500, "track 8 begins")
            ]
        );
    }
}
