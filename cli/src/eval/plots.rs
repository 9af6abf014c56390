//! Plots as SVG text: black on white, shapes as well as colours, so that they read in print.

use anyhow::{Result, anyhow};
use nullface::eval::report::{Report, TrackFigures};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::words;

/// Colours that colour-blind readers tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn drawn(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(|e| anyhow!("plot: {e}"))?;
        draw(&area)?;
        area.present().map_err(|e| anyhow!("plot: {e}"))?;
    }
    // Width of the page, not of the file.
    Ok(svg.replacen("<svg ", "<svg class=\"plot\" role=\"img\" ", 1))
}

fn plot<E: std::error::Error + Send + Sync + 'static>(e: DrawingAreaErrorKind<E>) -> anyhow::Error {
    anyhow!("plot: {e}")
}

/// A value with its interval.
pub(super) type Span = (f64, Option<[f64; 2]>);

/// A point of a scatter plot: name, x with its interval, y with its interval.
#[derive(Debug, Clone)]
pub(super) struct Dot {
    pub(super) name: String,
    pub(super) x: Span,
    pub(super) y: Span,
    /// Drawn larger and filled.
    pub(super) strong: bool,
}

/// Likeness against expression error: left and low is what one wants.
pub(super) fn trade_off(report: &Report) -> Result<String> {
    let (mut dots, mut faceless) = (Vec::new(), Vec::new());
    for (name, variant) in &report.variants {
        let label = if name == "source_next" { "source itself" } else { name };
        match (words::likeness(variant), variant.expression) {
            (Some(x), Some(y)) => dots.push(Dot {
                name: label.to_owned(),
                x,
                y: (y.value, y.interval_95),
                strong: name == "output",
            }),
            (Some(x), None) => faceless.push((label.to_owned(), x)),
            _ => {}
        }
    }
    scatter(
        &dots,
        &faceless,
        "likeness to the source, held-out recognisers (0 stranger, 1 same person)",
        "expression error, % of eye distance",
        "no expression left",
    )
}

/// A scatter plot of named points; the axes hold zero only where `note` is given, since settings of one film lie
/// close together. `beyond` have no y: they stand above a line of their own, which `note` names.
pub(super) fn scatter(dots: &[Dot], beyond: &[(String, Span)], x_name: &str, y_name: &str, note: &str) -> Result<String> {
    let ends = |values: &mut dyn Iterator<Item = Span>| {
        let all: Vec<f64> = values
            .flat_map(|(v, i)| std::iter::once(v).chain(i.into_iter().flatten()))
            .collect();
        let first = if note.is_empty() {
            all.first().copied().unwrap_or(0.0)
        } else {
            0.0
        };
        (all.iter().copied().fold(first, f64::min), all.iter().copied().fold(first, f64::max))
    };
    let (x0, x1) = ends(&mut dots.iter().map(|d| d.x).chain(beyond.iter().map(|b| b.1)));
    let (y0, y1) = ends(&mut dots.iter().map(|d| d.y));
    let least = if note.is_empty() { 0.01 } else { 0.1 };
    let (x_room, y_room) = (((x1 - x0) * 0.15).max(least), ((y1 - y0) * 0.2).max(5.0 * least));
    drawn((760, 420), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(58)
            .build_cartesian_2d((x0 - x_room)..(x1 + x_room), (y0 - y_room * 0.2)..(y1 + 2.0 * y_room))
            .map_err(plot)?;
        chart
            .configure_mesh()
            .x_desc(x_name)
            .y_desc(y_name)
            .label_style((FONT, 13))
            .axis_desc_style((FONT, 14))
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .draw()
            .map_err(plot)?;
        let text =
            |name: &str, place, shift| EmptyElement::at(place) + Text::new(name.to_owned(), shift, (FONT, 14).into_font().color(&BLACK));
        if !beyond.is_empty() {
            let level = y1 + y_room;
            let line = PathElement::new(vec![(x0 - x_room, level), (x1 + x_room, level)], BLACK.stroke_width(1));
            chart.draw_series([line]).map_err(plot)?;
            chart.draw_series([text(note, (x0 - x_room, level), (6, -36))]).map_err(plot)?;
            for (i, (name, (x, _))) in beyond.iter().enumerate() {
                let place = (*x, level);
                chart
                    .draw_series([TriangleMarker::new(place, 6, BLACK.stroke_width(2))])
                    .map_err(plot)?;
                // Covers lie close together: their names take turns above and below.
                chart
                    .draw_series([text(name, place, (-14, if i % 2 == 0 { 9 } else { -22 }))])
                    .map_err(plot)?;
            }
        }
        for (i, dot) in dots.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let ((x, xi), (y, yi)) = (dot.x, dot.y);
            let thin = colour.stroke_width(1);
            if let Some([a, b]) = xi {
                chart.draw_series([PathElement::new(vec![(a, y), (b, y)], thin)]).map_err(plot)?;
            }
            if let Some([a, b]) = yi {
                chart.draw_series([PathElement::new(vec![(x, a), (x, b)], thin)]).map_err(plot)?;
            }
            let style = if dot.strong { colour.filled() } else { colour.stroke_width(2) };
            let radius = if dot.strong { 7 } else { 5 };
            chart.draw_series([Circle::new((x, y), radius, style)]).map_err(plot)?;
            chart.draw_series([text(&dot.name, (x, y), (9, -16))]).map_err(plot)?;
        }
        Ok(())
    })
}

/// One track over time: score with threshold, rung, expression.
pub(super) fn strip(track: &TrackFigures, threshold: Option<f64>, score_name: &str) -> Result<String> {
    let end = (track.last_s - track.first_s).max(0.2) + track.first_s;
    let values = || track.scores.iter().map(|s| s[1]).chain(threshold);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let room = ((high - low) * 0.1).max(0.02);
    let most = track.expression.iter().map(|e| e[1]).fold(1.0_f64, f64::max);
    drawn((760, 242), |area| {
        let (above, below) = area.split_vertically(152);
        let mut chart = ChartBuilder::on(&above)
            .margin_right(12)
            .margin_top(18)
            .x_label_area_size(4)
            .y_label_area_size(58)
            .build_cartesian_2d(track.first_s..end, (low - room)..(high + room))
            .map_err(plot)?;
        axes(&mut chart, score_name, "")?;
        if let Some(t) = threshold {
            let line = PathElement::new(vec![(track.first_s, t), (end, t)], BLACK.stroke_width(1));
            chart.draw_series([line]).map_err(plot)?;
            let label = EmptyElement::at((track.first_s, t)) + Text::new("FAR 1e-3", (4, -14), (FONT, 12).into_font().color(&BLACK));
            chart.draw_series([label]).map_err(plot)?;
        }
        let points = track.scores.iter().map(|s| (s[0], s[1]));
        chart
            .draw_series([PathElement::new(points.collect::<Vec<_>>(), COLOURS[0].stroke_width(1))])
            .map_err(plot)?;
        rungs(&above, &mut chart, track, low - room, room, end)?;

        let mut chart = ChartBuilder::on(&below)
            .margin_right(12)
            .x_label_area_size(30)
            .y_label_area_size(58)
            .build_cartesian_2d(track.first_s..end, 0.0..most * 1.1)
            .map_err(plot)?;
        axes(&mut chart, "expr. %", "seconds")?;
        let points = track.expression.iter().map(|e| (e[0], e[1]));
        chart
            .draw_series([PathElement::new(points.collect::<Vec<_>>(), COLOURS[1].stroke_width(1))])
            .map_err(plot)?;
        Ok(())
    })
}

type Chart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>>;

fn axes(chart: &mut Chart<'_, '_>, y_name: &str, x_name: &str) -> Result<()> {
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh()
        .y_labels(4)
        .label_style((FONT, 11))
        .axis_desc_style((FONT, 12))
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(230, 230, 230))
        .y_desc(y_name);
    if x_name.is_empty() {
        mesh.x_labels(0);
    } else {
        mesh.x_desc(x_name);
    }
    mesh.draw().map_err(plot)
}

/// The rungs of a track, each with its colour.
fn kinds(track: &TrackFigures) -> Vec<(&str, RGBAColor)> {
    let mut kinds: Vec<&str> = Vec::new();
    for (_, rung) in &track.rungs {
        if !kinds.contains(&rung.as_str()) {
            kinds.push(rung);
        }
    }
    let colour = |i: usize| COLOURS[(i + 2) % COLOURS.len()].mix(0.7);
    kinds.iter().enumerate().map(|(i, k)| (*k, colour(i))).collect()
}

/// Bars along the foot of the plot, one colour a rung, named above it.
fn rungs(area: &Area<'_>, chart: &mut Chart<'_, '_>, track: &TrackFigures, foot: f64, height: f64, end: f64) -> Result<()> {
    let kinds = kinds(track);
    for (i, (from, rung)) in track.rungs.iter().enumerate() {
        let to = track.rungs.get(i + 1).map_or(end, |n| n.0).min(end);
        let Some((_, colour)) = kinds.iter().find(|k| k.0 == rung) else {
            continue;
        };
        chart
            .draw_series([Rectangle::new([(*from, foot), (to, foot + height * 0.8)], colour.filled())])
            .map_err(plot)?;
    }
    for (i, (name, colour)) in kinds.iter().enumerate() {
        let x = 70 + 100 * i as i32;
        area.draw(&Rectangle::new([(x, 2), (x + 12, 12)], colour.filled())).map_err(plot)?;
        area.draw(&Text::new((*name).to_owned(), (x + 16, 0), (FONT, 12).into_font().color(&BLACK)))
            .map_err(plot)?;
    }
    Ok(())
}
