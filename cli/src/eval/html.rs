//! The report as one page that needs nothing but itself: tables, plots and thumbnails inline, no script, black
//! on white, breaks where a printer wants them. Pictures of the output only; nothing of the source is shown.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use base64::Engine;
use nullface::eval::film::Worst;
use nullface::eval::report::{Recognition, Report, Variant};
use nullface::eval::stats::Estimate;

use super::{plots, words};

/// Thumbnails shown.
const SHOWN: usize = 12;
/// Tracks whose curves are drawn, the longest first.
const STRIPS: usize = 12;

const STYLE: &str = "
body{font:15px/1.45 sans-serif;color:#111;background:#fff;max-width:980px;margin:24px auto;padding:0 16px}
h1{font-size:24px}h2{font-size:18px;margin-top:28px;border-bottom:1px solid #bbb}
.verdict{font-size:18px;border:2px solid #111;padding:12px 16px}
table{border-collapse:collapse;margin:8px 0;font-size:13px}th,td{padding:3px 9px;border-bottom:1px solid #ddd;text-align:right;vertical-align:top}
th:first-child,td:first-child,.what{text-align:left}th{border-bottom:1px solid #111}.own{font-weight:bold}
.small{font-size:12px;color:#333}.plot{max-width:100%;height:auto;display:block}
figure{display:inline-block;margin:4px 8px 8px 0;vertical-align:top}figcaption{font-size:11px;max-width:112px}
.scroll{overflow-x:auto}code{font-size:10px;word-break:break-all}
@media print{body{max-width:none;margin:0;font-size:13px}h2,h3,h2+p,h3+p{break-after:avoid}figure,svg,table,tr{break-inside:avoid}.scroll{overflow:visible}}
";

/// Writes the page.
///
/// # Errors
/// A plot or a thumbnail cannot be drawn.
pub(super) fn page(report: &Report, worst: &[Worst]) -> Result<String> {
    let mut html = String::with_capacity(1 << 20);
    let names: Vec<&str> = report.pairs.iter().map(|p| p.output.name.as_str()).collect();
    let title = match names.as_slice() {
        [one] => (*one).to_owned(),
        [first, .., last] => format!("{} pairs, {first} … {last}", names.len()),
        [] => String::new(),
    };
    write!(
        html,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>nullface eval: {t}</title><style>{STYLE}</style></head>\n<body>\n\
         <h1>What is left of the people in {t}</h1>\n<p class=\"verdict\">{v}</p>\n",
        t = escape(&title),
        v = escape(&report.verdict)
    )?;
    html.push_str("<h2>Privacy against utility</h2>\n");
    html.push_str(&plots::trade_off(report)?);
    figures(&mut html, report)?;
    tracks(&mut html, report)?;
    faces(&mut html, report, worst)?;
    method(&mut html, report)?;
    html.push_str("</body></html>\n");
    Ok(html)
}

/// Figures that a table has a row for: name, unit, how to find it.
type Fact<T> = (&'static str, fn(&T) -> Option<Estimate>, f64, usize);
const LINKS: [Fact<Recognition>; 6] = [
    ("cos to source", |r| r.cos, 1.0, 3),
    ("likeness", |r| r.likeness, 1.0, 2),
    ("TAR at FAR 1e-2, %", |r| r.tar.get("1e-2").copied(), 100.0, 1),
    ("TAR at FAR 1e-3, %", |r| r.tar.get("1e-3").copied(), 100.0, 1),
    ("rank-1, %", |r| r.rank_1, 100.0, 1),
    ("rank-1 by |cos|, %", |r| r.rank_1_abs, 100.0, 1),
];
const ROWS: [Fact<Variant>; 8] = [
    ("mesh fits, %", |v| v.mesh_found, 100.0, 0),
    ("expression error, % of eye distance", |v| v.expression, 1.0, 1),
    ("openings error, %", |v| v.openings, 1.0, 1),
    ("pose, degrees", |v| v.pose_deg, 1.0, 1),
    ("gaze, eye widths", |v| v.gaze, 1.0, 3),
    ("sharpness, × source", |v| v.sharpness, 1.0, 2),
    ("age moved, years", |v| v.age_change_years, 1.0, 1),
    ("sex kept, %", |v| v.sex_kept, 100.0, 0),
];

/// A way of treating the film by its name.
type Named<'a> = (&'a str, &'a Variant);

fn ordered(variants: &BTreeMap<String, Variant>) -> Vec<Named<'_>> {
    ["output", "pixelate", "blur", "solid", "source_next"]
        .into_iter()
        .filter_map(|n| Some((n, variants.get(n)?)))
        .collect()
}

fn figures(html: &mut String, report: &Report) -> Result<()> {
    let variants = ordered(&report.variants);
    html.push_str("<h2>Linkability</h2>\n<div class=\"scroll\"><table><tr><th>recogniser</th><th></th>");
    head(html, &variants)?;
    for (name, of_output) in report.variants.get("output").map(|v| &v.recognition).into_iter().flatten() {
        let role = if of_output.held_out { "held out" } else { "steering" };
        for (i, (what, of, factor, digits)) in LINKS.iter().enumerate() {
            let cells: Vec<Option<Estimate>> = variants.iter().map(|(_, v)| v.recognition.get(name).and_then(of)).collect();
            let first = if i == 0 {
                format!("{} <span class=\"small\">({role})</span>", escape(name))
            } else {
                String::new()
            };
            row(html, &[first, (*what).to_owned()], &cells, *factor, *digits)?;
        }
    }
    html.push_str("</table></div>\n<h2>Utility</h2>\n<div class=\"scroll\"><table><tr><th></th>");
    head(html, &variants)?;
    for (what, of, factor, digits) in &ROWS {
        let cells: Vec<Option<Estimate>> = variants.iter().map(|(_, v)| of(v)).collect();
        row(html, &[(*what).to_owned()], &cells, *factor, *digits)?;
    }
    let judges: Vec<&String> = report
        .variants
        .get("output")
        .map(|v| v.expression_kept.keys().collect())
        .unwrap_or_default();
    for judge in judges {
        let cells: Vec<Option<Estimate>> = variants.iter().map(|(_, v)| v.expression_kept.get(judge).copied()).collect();
        row(html, &[format!("expression kept by {}, %", escape(judge))], &cells, 100.0, 0)?;
    }
    html.push_str("</table></div>\n");
    stability(html, report)
}

fn stability(html: &mut String, report: &Report) -> Result<()> {
    html.push_str("<h2>Exposure, stability, background</h2>\n<table>");
    let e = &report.exposure;
    let line = |html: &mut String, what: &str, value: String| write!(html, "<tr><td>{what}</td><td>{value}</td></tr>");
    line(
        html,
        "faces exposed",
        e.faces
            .map_or("–".to_owned(), |f| format!("{} of {}: {}", e.exposed, f.n, words::percent(&f))),
    )?;
    line(html, "frames with an exposed face", e.exposed_frames.to_string())?;
    line(html, "samples that show the source's own pixels", e.untouched.to_string())?;
    if let Some(d) = &e.held_out_detector {
        line(
            html,
            &format!(
                "faces that {} sees in the source; of these the engine's detector does not",
                escape(&d.name)
            ),
            format!("{}; {}", d.seen, d.alone),
        )?;
        line(
            html,
            "of these left as they were: raw leaks (frames)",
            format!("{} ({})", d.uncovered, d.uncovered_frames),
        )?;
        line(
            html,
            "share of such a face's box that was changed, %",
            cell(d.coverage.as_ref(), 100.0, 1),
        )?;
    }
    line(
        html,
        "faces found in the output by the detectors, of these known",
        format!("{}, {}", e.found, e.found_and_known),
    )?;
    for (name, mean) in &report.stability.identity_mean {
        let worst = report
            .stability
            .identity_worst
            .get(name)
            .map_or("–".to_owned(), |w| format!("{w:.3}"));
        let what = format!(
            "temporal identity by {}: mean, worst, of cos(out i, i+1) − cos(source i, i+1)",
            escape(name)
        );
        line(html, &what, format!("{}, {worst}", cell(Some(mean), 1.0, 3)))?;
    }
    line(html, "warp error, × source", cell(report.stability.warp_ratio.as_ref(), 1.0, 2))?;
    line(
        html,
        "warp error of the source, levels of 255",
        cell(report.stability.warp_source.as_ref(), 1.0, 2),
    )?;
    line(
        html,
        "landmark correlation over time",
        cell(report.stability.landmark_correlation.as_ref(), 1.0, 3),
    )?;
    if let Some(b) = &report.background {
        line(
            html,
            "background: largest, mean difference, levels of 255",
            format!("{}, {:.2} (n {})", b.max, b.mean, b.n),
        )?;
    }
    for (rung, share) in &report.rungs {
        line(
            html,
            &format!("share of the run's faces treated by rung `{}`", escape(rung)),
            format!("{:.1} %", 100.0 * share),
        )?;
    }
    html.push_str("</table>\n");
    Ok(())
}

fn head(html: &mut String, variants: &[Named<'_>]) -> Result<()> {
    for (name, _) in variants {
        let class = if *name == "output" { " class=\"own\"" } else { "" };
        write!(html, "<th{class}>{}</th>", escape(name))?;
    }
    html.push_str("</tr>\n");
    Ok(())
}

fn row(html: &mut String, first: &[String], cells: &[Option<Estimate>], factor: f64, digits: usize) -> Result<()> {
    if cells.iter().all(Option::is_none) {
        return Ok(());
    }
    html.push_str("<tr>");
    for text in first {
        write!(html, "<td class=\"what\">{text}</td>")?;
    }
    for (i, e) in cells.iter().enumerate() {
        let class = if i == 0 { " class=\"own\"" } else { "" };
        write!(html, "<td{class}>{}</td>", cell(e.as_ref(), factor, digits))?;
    }
    html.push_str("</tr>\n");
    Ok(())
}

fn cell(e: Option<&Estimate>, factor: f64, digits: usize) -> String {
    let Some(e) = e else { return "–".to_owned() };
    let interval = e.interval_95.map_or_else(String::new, |[a, b]| {
        format!(
            "<br><span class=\"small\">{:.digits$} to {:.digits$}</span>",
            a * factor,
            b * factor
        )
    });
    format!(
        "<span title=\"n {}, {} tracks\">{:.digits$}</span>{interval}",
        e.n,
        e.groups,
        e.value * factor
    )
}

fn tracks(html: &mut String, report: &Report) -> Result<()> {
    html.push_str("<h2>Tracks</h2>\n");
    let model = report.models.iter().find(|m| m.name == report.watching);
    let euclidean = model.is_some_and(|m| m.distance.as_deref() == Some("euclidean"));
    let threshold = model
        .and_then(|m| m.thresholds.get("1e-3"))
        .map(|t| if euclidean { -t } else { *t });
    let name = if euclidean { "−distance" } else { "cos" };
    let mut longest: Vec<_> = report.tracks.iter().filter(|t| t.scores.len() > 1).collect();
    longest.sort_by_key(|t| std::cmp::Reverse(t.frames));
    if longest.len() > STRIPS {
        writeln!(
            html,
            "<p class=\"small\">The {STRIPS} longest of {} tracks; all are in report.json.</p>",
            longest.len()
        )?;
    }
    for track in longest.into_iter().take(STRIPS) {
        let film = report.pairs.get(track.pair).map_or("", |p| p.output.name.as_str());
        writeln!(
            html,
            "<h3>{}: track {}, person {}</h3><p class=\"small\">{:.1} to {:.1} s, {} frames, {} exposed, eyes {:.0} px apart; {} of the output to the source by {}</p>",
            escape(film),
            track.track,
            track.person,
            track.first_s,
            track.last_s,
            track.frames,
            track.exposed,
            track.eyes_px,
            name,
            escape(&report.watching)
        )?;
        html.push_str(&plots::strip(track, threshold, name)?);
    }
    Ok(())
}

fn faces(html: &mut String, report: &Report, worst: &[Worst]) -> Result<()> {
    html.push_str("<h2>Outputs nearest to their sources</h2>\n<p class=\"small\">Pictures of the output. Likeness by the held-out recogniser that saw most.</p>\n");
    for face in worst.iter().take(SHOWN) {
        let film = report.pairs.get(face.film).map_or("", |p| p.output.name.as_str());
        writeln!(
            html,
            "<figure><img alt=\"\" width=\"112\" height=\"112\" src=\"data:image/png;base64,{}\"><figcaption>{} {:.2} s, track {}: {:.2} ({})</figcaption></figure>",
            png_of(&face.rgb, Worst::SIDE_PX)?,
            escape(film),
            face.at.seconds(),
            face.track,
            face.likeness,
            escape(&face.recogniser)
        )?;
    }
    Ok(())
}

fn method(html: &mut String, report: &Report) -> Result<()> {
    html.push_str("<h2>Method</h2>\n<ul>");
    for line in &report.method {
        write!(html, "<li>{}</li>", escape(line))?;
    }
    html.push_str("</ul>\n<h3>Films</h3>\n<div class=\"scroll\"><table><tr><th>source → output</th><th>frames</th><th>s</th><th>px</th><th>without partner</th><th>sha256 of source, output</th></tr>\n");
    for p in &report.pairs {
        writeln!(
            html,
            "<tr><td>{} → {}{}</td><td>{}</td><td>{:.1}</td><td>{}×{}</td><td>{} + {}</td><td><code>{}<br>{}</code></td></tr>",
            escape(&p.source.name),
            escape(&p.output.name),
            if p.rescaled { " (rescaled)" } else { "" },
            p.frames,
            p.length_s,
            p.width_px,
            p.height_px,
            p.source_only,
            p.output_only,
            p.source.sha256,
            p.output.sha256
        )?;
    }
    html.push_str("</table></div>\n<h3>Networks</h3>\n<div class=\"scroll\"><table><tr><th>name</th><th>role</th><th>thresholds</th><th>sha256</th></tr>\n");
    for m in &report.models {
        let thresholds: Vec<String> = m.thresholds.iter().map(|(far, t)| format!("FAR {far}: {t:.3}")).collect();
        let role = if m.role == "recogniser" && !m.held_out {
            "recogniser (steering)"
        } else {
            m.role.as_str()
        };
        writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
            escape(&m.name),
            escape(role),
            escape(&thresholds.join(", ")),
            m.sha256
        )?;
    }
    writeln!(
        html,
        "</table></div>\n<p class=\"small\">nullface {}, layout {}.</p>",
        escape(&report.nullface),
        escape(&report.layout)
    )?;
    if let Some(settings) = report.run.get("settings") {
        writeln!(
            html,
            "<p class=\"small\">The run's settings: <code>{}</code></p>",
            escape(&settings.to_string())
        )?;
    }
    Ok(())
}

/// The page of a sweep: its plot and its table, which is Markdown.
pub(super) fn sweep_page(plot: &str, table: &str) -> String {
    let rows = table.lines().filter(|l| !l.starts_with("|---"));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>nullface eval sweep</title><style>{STYLE}</style></head>\n<body>\n\
         <h1>Settings compared</h1>\n<p>Filled: no other run has both less likeness to the source and less expression error.</p>\n{plot}\n\
         <div class=\"scroll\"><table>\n"
    );
    for (i, row) in rows.enumerate() {
        let tag = if i == 0 { "th" } else { "td" };
        html.push_str("<tr>");
        for (column, cell) in row.trim_matches('|').split('|').enumerate() {
            let class = if column < 2 { " class=\"what\"" } else { "" };
            html.push_str(&format!("<{tag}{class}>{}</{tag}>", escape(cell.trim())));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table></div></body></html>\n");
    html
}

fn png_of(rgb: &[u8], side: usize) -> Result<String> {
    let side = u32::try_from(side)?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().context("thumbnail")?;
    writer.write_image_data(rgb).context("thumbnail")?;
    writer.finish().context("thumbnail")?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// Names come from files and reports: none of it may become markup.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn a_films_name_cannot_become_markup() {
        assert_eq!(escape("<b>&\"'.mp4"), "&lt;b&gt;&amp;&quot;&#39;.mp4");
    }
}
