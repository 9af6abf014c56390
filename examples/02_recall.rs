//! Recall on films: every face that CenterFace finds at full resolution must be covered.
//!
//! For each frame the detector looks at the whole source at scale 1, threshold 0.5; the engine treats the
//! same frame in `solid`, with the lookahead given; a box counts as covered where at least 95 % of its
//! pixels inside the frame have the fill's colour. Prints a row a film and ends with 1 if a frame fails.
//!
//! With `--two-pass` a first pass writes a track file, and the engine renders from it.
//!
//! `cargo run --release --example 02_recall -- [--lookahead N] [--two-pass] FILM…`
#![allow(clippy::print_stdout)] // an example talks

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};
use gst::prelude::*;
use nullface::backend::{Backend, BackendConfig};
use nullface::frame::{BoxPx, FrameInfo, FrameTime, FrameView, FrameViewMut, Matrix, PixelFormat, Plane, PlaneMut, Pts, Range};
use nullface::pipeline::{FilmFile, FrameId, Mode, Scout};
use nullface::stages::detect::CenterFace;
use nullface::{Engine, EngineConfig, Settings};

const FILL: [u8; 3] = [255, 0, 255];
const MIN_FACE_PX: f32 = 20.0;

struct Waiting {
    id: FrameId,
    time: FrameTime,
    pixels: Vec<u8>,
    faces: Vec<BoxPx>,
    number: usize,
}

#[derive(Default)]
struct Row {
    frames: usize,
    faces: usize,
    missed: Vec<(usize, f32)>,
    engine_faces: usize,
}

fn main() -> Result<()> {
    gst::init()?;
    let mut lookahead = 11;
    let mut two_pass = false;
    let mut films = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--lookahead" => lookahead = args.next().context("--lookahead wants a number")?.parse()?,
            "--two-pass" => two_pass = true,
            film => films.push(film.to_owned()),
        }
    }
    if films.is_empty() {
        bail!("usage: 02_recall [--lookahead N] [--two-pass] FILM…");
    }
    println!(
        "{:<24} {:>7} {:>7} {:>7} {:>8} {:>8}",
        "film", "frames", "faces", "missed", "recall", "regions"
    );
    let mut failed = false;
    for film in films {
        let row = measure(&film, lookahead, two_pass)?;
        let name = std::path::Path::new(&film)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let recall = 1.0 - row.missed.len() as f64 / row.faces.max(1) as f64;
        println!(
            "{name:<24} {:>7} {:>7} {:>7} {recall:>8.4} {:>8}",
            row.frames,
            row.faces,
            row.missed.len(),
            row.engine_faces
        );
        for (frame, share) in row.missed.iter().take(12) {
            println!("    frame {frame}: {share:.3} covered");
        }
        failed |= !row.missed.is_empty();
    }
    if failed {
        bail!("some faces were not covered");
    }
    Ok(())
}

/// One decoded frame.
struct Frame {
    info: FrameInfo,
    stride: usize,
    pixels: Vec<u8>,
    time: FrameTime,
}

/// Shows every frame of a film, as RGB, to `each`.
fn decode(film: &str, mut each: impl FnMut(Frame) -> Result<()>) -> Result<()> {
    let description = format!(
        "filesrc location=\"{film}\" ! decodebin ! videoconvert ! video/x-raw,format=RGB ! appsink name=out sync=false max-buffers=4"
    );
    let pipeline = gst::parse::launch(&description)?;
    let bin = pipeline.downcast_ref::<gst::Bin>().context("a pipeline")?;
    let sink = bin.by_name("out").and_downcast::<gst_app::AppSink>().context("an appsink")?;
    pipeline.set_state(gst::State::Playing)?;
    while let Ok(sample) = sink.pull_sample() {
        let caps = sample.caps().context("caps")?;
        let video = gst_video::VideoInfo::from_caps(caps)?;
        let info = FrameInfo {
            format: PixelFormat::Rgb,
            width: video.width(),
            height: video.height(),
            matrix: Matrix::Bt709,
            range: Range::Full,
        };
        let stride = usize::try_from(video.stride()[0])?;
        let buffer = sample.buffer().context("a buffer")?;
        let pixels = buffer.map_readable()?.as_slice().to_vec();
        let time = FrameTime {
            pts: Pts(buffer.pts().map_or(0, gst::ClockTime::nseconds)),
            duration_ns: 0,
        };
        each(Frame {
            info,
            stride,
            pixels,
            time,
        })?;
    }
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}

/// Writes the film's track file into a folder.
fn scout(film: &str, config: &EngineConfig, settings: &Settings, folder: &std::path::Path) -> Result<std::path::PathBuf> {
    let mut scout = Scout::open(config, settings.clone())?;
    decode(film, |frame| {
        let plane = Plane {
            data: &frame.pixels,
            stride: frame.stride,
        };
        match scout.look(&FrameView::new(frame.info, &[plane])?, frame.time)? {
            Some(fault) => bail!("{film}: {fault}"),
            None => Ok(()),
        }
    })?;
    let tracks = scout.finish(FilmFile {
        name: film.to_owned(),
        sha256: "0".repeat(64),
        rate: "0/1".to_owned(),
    })?;
    let path = folder.join("film.tracks.jsonl");
    std::fs::write(&path, tracks.to_text())?;
    Ok(path)
}

fn measure(film: &str, lookahead: usize, two_pass: bool) -> Result<Row> {
    let backend = Backend::open(&BackendConfig::default())?;
    let mut judge = CenterFace::open(&backend)?;
    let mut config = EngineConfig {
        lookahead,
        ..EngineConfig::default()
    };
    let settings = Settings {
        mode: Mode::Solid,
        fill_rgb: FILL,
        feather: 0.0,
        ..Settings::default()
    };
    let folder = tempfile::tempdir()?;
    if two_pass {
        config.tracks = Some(scout(film, &config, &settings, folder.path())?);
    }
    let mut engine = Engine::open(&config, settings)?;
    let mut row = Row::default();
    let mut waiting = VecDeque::new();
    let mut last = None;
    decode(film, |frame| {
        let Frame {
            info,
            stride,
            pixels,
            time,
        } = frame;
        let view = FrameView::new(info, &[Plane { data: &pixels, stride }])?;
        let whole = BoxPx {
            x0: 0.0,
            y0: 0.0,
            x1: info.width as f32,
            y1: info.height as f32,
        };
        let found = judge.look(&view, &whole, 1.0, 0.5)?;
        let faces = found
            .iter()
            .map(|d| d.box_px.clipped(info.width, info.height))
            .filter(|b| b.side() >= MIN_FACE_PX)
            .collect();
        let (id, fault) = engine.analyse(&view, time, &[]);
        if let Some(fault) = fault {
            bail!("{film}: {fault}");
        }
        waiting.push_back(Waiting {
            id,
            time,
            pixels,
            faces,
            number: row.frames,
        });
        row.frames += 1;
        if waiting.len() > lookahead {
            judge_oldest(&mut waiting, &mut engine, info, stride, &mut row)?;
        }
        last = Some((info, stride));
        Ok(())
    })?;
    let (info, stride) = last.context("the film has no frame")?;
    while !waiting.is_empty() {
        judge_oldest(&mut waiting, &mut engine, info, stride, &mut row)?;
    }
    Ok(row)
}

fn judge_oldest(waiting: &mut VecDeque<Waiting>, engine: &mut Engine, info: FrameInfo, stride: usize, row: &mut Row) -> Result<()> {
    let Some(mut frame) = waiting.pop_front() else { return Ok(()) };
    let mut view = FrameViewMut::new(
        info,
        vec![PlaneMut {
            data: &mut frame.pixels,
            stride,
        }],
    )?;
    let released = engine.render(frame.id, &mut view, frame.time);
    row.engine_faces += released.report().faces.len();
    for face in &frame.faces {
        row.faces += 1;
        let (mut total, mut filled) = (0u32, 0u32);
        for y in face.y0.round() as usize..face.y1.round() as usize {
            for x in face.x0.round() as usize..face.x1.round() as usize {
                total += 1;
                filled += u32::from(frame.pixels.get(y * stride + x * 3..y * stride + x * 3 + 3) == Some(&FILL));
            }
        }
        let share = filled as f32 / total.max(1) as f32;
        if share < 0.95 {
            row.missed.push((frame.number, share));
        }
    }
    Ok(())
}
