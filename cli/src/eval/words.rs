//! Sentences of a report. They say what was measured and what risk is left; whether the law calls the result
//! anonymous is not measured here, and never said.

use nullface::eval::report::{Report, Variant};
use nullface::eval::stats::Estimate;

/// The verdict: one line on what risk was measured.
pub(super) fn verdict(report: &Report) -> String {
    let Some(faces) = report.exposure.faces else {
        return "No face was measured.".to_owned();
    };
    let link = report.variants.get("output").and_then(worst_tar);
    let exposed = if report.exposure.exposed == 0 {
        format!(
            "no face of {} ({} frames) was taken for its source",
            faces.n,
            report.pairs.iter().map(|p| p.frames).sum::<usize>()
        )
    } else {
        format!(
            "{} of {} faces, {}, in {} frames were taken for their source",
            report.exposure.exposed,
            faces.n,
            percent(&faces),
            report.exposure.exposed_frames
        )
    };
    let link = link.map_or_else(String::new, |(name, tar)| {
        format!(
            "; linkability: {} of same-frame pairs accepted by {name}, the strongest of the held-out recognisers",
            percent(&tar)
        )
    });
    let leaks = report.exposure.held_out_detector.as_ref().map_or_else(String::new, |d| {
        let left = match d.uncovered {
            0 => "none was left as it was".to_owned(),
            n => format!("{n} were left as they were, in {} frames", d.uncovered_frames),
        };
        format!(
            "; of {} faces that {}, which the engine does not use, sees in the samples, {left}",
            d.seen, d.name
        )
    });
    format!("Measured residual risk at one false accept in a thousand: {exposed}{link}{leaks}.")
}

/// The held-out recogniser with the highest share of pairs accepted at FAR 1e-3.
pub(super) fn worst_tar(variant: &Variant) -> Option<(&str, Estimate)> {
    let of = |r: &nullface::eval::report::Recognition| r.tar.get("1e-3").copied().filter(|_| r.held_out);
    variant
        .recognition
        .iter()
        .filter_map(|(name, r)| Some((name.as_str(), of(r)?)))
        .max_by(|a, b| a.1.value.total_cmp(&b.1.value))
}

/// Mean likeness over the held-out recognisers, and the mean ends of their intervals.
pub(super) fn likeness(variant: &Variant) -> Option<(f64, Option<[f64; 2]>)> {
    let all: Vec<Estimate> = variant
        .recognition
        .values()
        .filter(|r| r.held_out)
        .filter_map(|r| r.likeness)
        .collect();
    let n = all.len() as f64;
    let value = all.iter().map(|e| e.value).sum::<f64>() / n;
    let ends: Option<Vec<[f64; 2]>> = all.iter().map(|e| e.interval_95).collect();
    let interval = ends.map(|e| [0, 1].map(|i| e.iter().map(|v| v[i]).sum::<f64>() / n));
    (!all.is_empty()).then_some((value, interval))
}

/// A share with its interval, in per cent.
pub(super) fn percent(e: &Estimate) -> String {
    let value = 100.0 * e.value;
    match e.interval_95 {
        Some([low, high]) => format!("{value:.1} % [95 % interval {:.1} to {:.1}]", 100.0 * low, 100.0 * high),
        None => format!("{value:.1} %"),
    }
}

/// How it was measured, and the limits of that.
pub(super) fn method(report: &Report) -> Vec<String> {
    let strangers = report.gallery.saturating_sub(report.people);
    let every: Vec<String> = report.pairs.iter().map(|p| p.sample_every.to_string()).collect();
    let every = if every.windows(2).all(|w| w[0] == w[1]) {
        every.first().cloned().unwrap_or_default()
    } else {
        every.join(", ")
    };
    vec![
        format!(
            "Every frame: faces followed in the source by mesh, and {} on the output at the source's landmarks. Every {every} frames and the one after: \
             the detector on both, all recognisers on the output at the source's landmarks and at its own (the nearer one counts), expression, attributes, \
             flow. Baselines on every second of these, by the engine's own covers at its default size.",
            report.watching
        ),
        "Intervals: 95 %, bootstrap over tracks (never frames); with one track there is none.".to_owned(),
        "Exposed: a held-out recogniser accepts the face for its track's mean source embedding at one false accept in a thousand, \
         or the source's own pixels are there."
            .to_owned(),
        format!(
            "Rank-1: {} people of the films and {strangers} strangers in the gallery of originals. Recognisers marked `steering` took part in making \
             the output and prove little.",
            report.people
        ),
        "Likeness: 0 where a recogniser puts strangers, 1 where it puts one person in two films.".to_owned(),
        "Expression: points of mouth, eyes and brows after a similarity fit of the rigid points; it counts moved face shape too, openings do not. \
         `source_next` is the same figure between consecutive frames of the source: the noise floor."
            .to_owned(),
        "Background and sharpness are of the encoded films: what the encoder changed is in them.".to_owned(),
        match &report.exposure.held_out_detector {
            Some(d) => format!(
                "Faces of the source are those that CenterFace, one of the engine's own detectors, or {} finds. Left as it was: a face of whose box less \
                 than a quarter differs from the source.",
                d.name
            ),
            None => "Faces of the source are those that CenterFace finds, one of the engine's own detectors: what it never finds is missed here too. \
                     `nullface models add` adds a held-out one."
                .to_owned(),
        },
        "Limits: faces that no detector finds, and faces under 20 px, are not counted; hair, clothes, voice, gait and place identify people too and are \
         not measured. Thresholds come from TV films; stronger recognisers than these exist."
            .to_owned(),
        "Words after ISO/IEC 20889 and Opinion 05/2014: exposure bears on singling out, TAR and rank-1 on linkability, kept age, sex and expression on \
         inference."
            .to_owned(),
    ]
}
