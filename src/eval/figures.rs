//! Rows to figures. Groups of the bootstrap are tracks; a group's values are its samples.

use std::collections::{BTreeMap, BTreeSet};

use super::attack;
use super::film::{BASELINES, Look, Record, Sample, TrackRecord};
use super::judge::{Distance, Far, Judged, Verdict, cosine};
use super::report::{BackgroundFigures, Exposure, HeldOutSight, Recognition, Stability, TrackFigures, Variant};
use super::stats::{self, Estimate};

/// Points of a track's curve at most.
const CURVE_POINTS: usize = 400;
/// Tracks with fewer samples are not asked for correlations.
const MIN_FRAMES: usize = 10;

/// Names that figures need.
#[derive(Debug, Clone)]
pub struct Names<'a> {
    /// How recognisers decide, in the order of embeddings.
    pub verdicts: &'a [Verdict],
    /// Expression judges, in order.
    pub expressions: Vec<String>,
    /// Recogniser of the watched frames.
    pub watching: usize,
    /// Held-out detector, where there is one.
    pub finder: Option<String>,
}

/// Originals to be found again: one template a recogniser for each person, strangers after the people of
/// the films.
#[derive(Debug, Clone, Default)]
pub struct Gallery {
    /// `[face][recogniser]`.
    pub faces: Vec<Vec<Vec<f32>>>,
    /// How many of them are people of the films.
    pub people: usize,
}

/// Tracks with what is known once all is seen: template and person.
#[derive(Debug)]
pub struct Known<'a> {
    /// The track.
    pub track: &'a TrackRecord,
    /// Mean source embedding by recogniser.
    pub template: Vec<Vec<f32>>,
    /// Person.
    pub person: usize,
}

/// Templates and persons of all tracks that were sampled.
#[must_use]
pub fn know<'a>(record: &'a Record, verdicts: &[Verdict]) -> Vec<Known<'a>> {
    let steering = verdicts.iter().position(|v| !v.held_out).unwrap_or(0);
    let mut people: Vec<Vec<f32>> = Vec::new();
    let mut known = Vec::new();
    for track in record.tracks.iter().filter(|t| !t.samples.is_empty()) {
        let sources: Vec<&Judged> = track.samples.iter().map(|s| &s.source).collect();
        let template = template(&sources, verdicts);
        let of_steering = &template[steering];
        let same = |p: &Vec<f32>| verdicts[steering].accepts(verdicts[steering].score(p, of_steering), Far::E3) == Some(true);
        let person = people.iter().position(same).unwrap_or_else(|| {
            people.push(of_steering.clone());
            people.len() - 1
        });
        known.push(Known { track, template, person });
    }
    known
}

/// Mean embedding by recogniser: of directions where directions are compared.
#[must_use]
pub fn template(looks: &[&Judged], verdicts: &[Verdict]) -> Vec<Vec<f32>> {
    verdicts
        .iter()
        .enumerate()
        .map(|(i, verdict)| {
            let rows: Vec<&[f32]> = looks.iter().map(|j| j.embeddings[i].as_slice()).collect();
            attack::mean(&rows, verdict.distance == Distance::Cosine)
        })
        .collect()
}

/// The gallery of the films' people and of strangers.
#[must_use]
pub fn gallery(known: &[Known<'_>], strangers: Vec<Vec<Vec<f32>>>, verdicts: &[Verdict]) -> Gallery {
    let people = known.iter().map(|k| k.person + 1).max().unwrap_or(0);
    let mut faces: Vec<Vec<Vec<f32>>> = (0..people)
        .map(|person| {
            let looks: Vec<&Judged> = known
                .iter()
                .filter(|k| k.person == person)
                .flat_map(|k| k.track.samples.iter().map(|s| &s.source))
                .collect();
            template(&looks, verdicts)
        })
        .collect();
    faces.extend(strangers);
    Gallery { faces, people }
}

/// Figures of the output, of each baseline, and of the source's own next frame.
#[must_use]
pub fn variants(known: &[Known<'_>], gallery: &Gallery, names: &Names<'_>) -> BTreeMap<String, Variant> {
    let mut all = BTreeMap::new();
    all.insert("output".to_owned(), variant(known, gallery, names, |s| Some(&s.output)));
    for (at, (name, _)) in BASELINES.iter().enumerate() {
        let figures = variant(known, gallery, names, |s| s.baselines.as_ref()?.get(at));
        if figures.mesh_found.is_some() {
            all.insert((*name).to_owned(), figures);
        }
    }
    all.insert("source_next".to_owned(), floor(known, names));
    all
}

/// Values by track.
fn by_track<T>(known: &[Known<'_>], value: impl Fn(&Known<'_>, &Sample) -> Option<T>) -> Vec<Vec<T>> {
    known
        .iter()
        .map(|k| k.track.samples.iter().filter_map(|s| value(k, s)).collect())
        .collect()
}

fn share(known: &[Known<'_>], holds: impl Fn(&Known<'_>, &Sample) -> Option<bool>) -> Option<Estimate> {
    stats::mean(&by_track(known, |k, s| holds(k, s).map(|h| f64::from(u8::from(h)))))
}

fn variant<'a>(known: &'a [Known<'a>], gallery: &Gallery, names: &Names<'_>, look: impl Fn(&Sample) -> Option<&Look> + Copy) -> Variant {
    let mean = |value: &dyn Fn(&Look) -> Option<f64>| stats::mean(&by_track(known, |_, s| value(look(s)?)));
    Variant {
        recognition: names
            .verdicts
            .iter()
            .enumerate()
            .map(|(i, v)| (v.name.clone(), recognition(known, gallery, v, i, |s| Some(&look(s)?.judged))))
            .collect(),
        mesh_found: share(known, |_, s| Some(look(s)?.mesh_found)),
        expression: mean(&|l| Some(l.shape?.expression)),
        openings: mean(&|l| Some(l.shape?.openings)),
        pose_deg: mean(&|l| l.shape?.pose_deg),
        gaze: mean(&|l| l.gaze),
        sharpness: stats::ratio(&by_track(known, |_, s| look(s)?.sharpness)),
        age_change_years: stats::mean(&by_track(known, |_, s| age_change(&s.source, &look(s)?.judged))),
        sex_kept: share(known, |_, s| sex_kept(&s.source, &look(s)?.judged)),
        expression_kept: expression_kept(known, names, |s| Some(&look(s)?.judged)),
        frechet: BTreeMap::new(),
    }
}

/// The source against itself one frame on: what a figure is when nothing was done.
fn floor(known: &[Known<'_>], names: &Names<'_>) -> Variant {
    let none = Gallery::default();
    let mean = |value: &dyn Fn(&super::film::Next) -> Option<f64>| stats::mean(&by_track(known, |_, s| value(s.next.as_ref()?)));
    let next = |s: &Sample| s.next.as_ref().map(|n| n.source.clone());
    Variant {
        recognition: names
            .verdicts
            .iter()
            .enumerate()
            .map(|(i, v)| (v.name.clone(), recognition(known, &none, v, i, |s| Some(&s.next.as_ref()?.source))))
            .collect(),
        expression: mean(&|n| Some(n.floor?.expression)),
        openings: mean(&|n| Some(n.floor?.openings)),
        pose_deg: mean(&|n| n.floor?.pose_deg),
        gaze: mean(&|n| n.gaze_floor),
        age_change_years: stats::mean(&by_track(known, |_, s| age_change(&s.source, &next(s)?))),
        sex_kept: share(known, |_, s| sex_kept(&s.source, &next(s)?)),
        expression_kept: expression_kept(known, names, |s| Some(&s.next.as_ref()?.source)),
        ..Variant::default()
    }
}

fn recognition<'a>(
    known: &'a [Known<'a>],
    gallery: &Gallery,
    verdict: &Verdict,
    i: usize,
    judged: impl Fn(&Sample) -> Option<&Judged> + Copy,
) -> Recognition {
    let score = |s: &Sample| Some(verdict.score(&judged(s)?.embeddings[i], &s.source.embeddings[i]));
    let tar = Far::ALL
        .into_iter()
        .filter_map(|far| {
            let share = share(known, |_, s| verdict.accepts(score(s)?, far))?;
            Some((far_name(far), share))
        })
        .collect();
    let originals: Vec<&[f32]> = gallery.faces.iter().map(|f| f[i].as_slice()).collect();
    let found = |absolute| {
        (originals.len() > 1)
            .then(|| {
                share(known, |k, s| {
                    Some(attack::nearest(&judged(s)?.embeddings[i], &originals, verdict, absolute)? == k.person)
                })
            })
            .flatten()
    };
    Recognition {
        held_out: verdict.held_out,
        cos: stats::mean(&by_track(known, |_, s| {
            Some(cosine(&judged(s)?.embeddings[i], &s.source.embeddings[i]))
        })),
        tar,
        likeness: stats::mean(&by_track(known, |_, s| verdict.likeness(score(s)?))),
        rank_1: found(false),
        rank_1_abs: found(true),
    }
}

/// The rate as reports write it.
#[must_use]
pub fn far_name(far: Far) -> String {
    match far {
        Far::E2 => "1e-2",
        Far::E3 => "1e-3",
        Far::E4 => "1e-4",
    }
    .to_owned()
}

fn age_change(source: &Judged, output: &Judged) -> Option<f64> {
    Some(f64::from((output.age_years? - source.age_years?).abs()))
}

fn sex_kept(source: &Judged, output: &Judged) -> Option<bool> {
    Some((output.male_prob? >= 0.5) == (source.male_prob? >= 0.5))
}

fn expression_kept(
    known: &[Known<'_>],
    names: &Names<'_>,
    judged: impl Fn(&Sample) -> Option<&Judged> + Copy,
) -> BTreeMap<String, Estimate> {
    let kept = |(i, name): (usize, &String)| {
        let same = share(known, |_, s| Some(judged(s)?.expressions.get(i)? == s.source.expressions.get(i)?))?;
        Some((name.clone(), same))
    };
    names.expressions.iter().enumerate().filter_map(kept).collect()
}

/// Exposed faces, frame by frame.
#[must_use]
pub fn exposure(record: &Record, known: &[Known<'_>], names: &Names<'_>) -> Exposure {
    let mut got = Exposure::default();
    let mut frames = BTreeSet::new();
    let mut groups = Vec::new();
    for k in known {
        let by_sample = sampled_exposure(k, names);
        let mut values = Vec::with_capacity(k.track.watched.len());
        let mut seen = BTreeSet::new();
        for watch in &k.track.watched {
            let verdict = &names.verdicts[names.watching];
            let score = verdict.score(&watch.embedding, &k.template[names.watching]);
            let sampled = by_sample.get(&watch.at).copied();
            let exposed = verdict.accepts(score, Far::E3) == Some(true) || sampled.is_some_and(|s| s.0);
            got.untouched += usize::from(sampled.is_some_and(|s| s.1));
            seen.insert(watch.at);
            values.push(f64::from(u8::from(exposed)));
            if exposed {
                frames.insert((k.track.film, watch.at));
            }
        }
        for (at, (exposed, untouched)) in by_sample.iter().filter(|(at, _)| !seen.contains(*at)) {
            got.untouched += usize::from(*untouched);
            values.push(f64::from(u8::from(*exposed)));
            if *exposed {
                frames.insert((k.track.film, *at));
            }
        }
        got.exposed += values.iter().filter(|v| **v > 0.0).count();
        groups.push(values);
    }
    got.exposed_frames = frames.len();
    got.faces = stats::mean(&groups);
    got.held_out_detector = held_out_sight(record, names);
    got.found = record.found.len();
    got.found_and_known = record
        .found
        .iter()
        .filter(|f| {
            known
                .iter()
                .filter(|k| k.track.film == f.film)
                .any(|k| accepted(names, &f.judged, &k.template))
        })
        .count();
    got
}

/// What the held-out detector saw in the source, and how much of it was changed; groups are its tracks.
fn held_out_sight(record: &Record, names: &Names<'_>) -> Option<HeldOutSight> {
    let rows = &record.sightings;
    let mut groups: BTreeMap<(usize, Option<u64>), Vec<f64>> = BTreeMap::new();
    for row in rows {
        groups.entry((row.film, row.track)).or_default().push(row.coverage);
    }
    let uncovered = || rows.iter().filter(|r| r.is_uncovered());
    Some(HeldOutSight {
        name: names.finder.clone()?,
        seen: rows.len(),
        alone: rows.iter().filter(|r| r.alone).count(),
        uncovered: uncovered().count(),
        uncovered_frames: uncovered().map(|r| (r.film, r.at)).collect::<BTreeSet<_>>().len(),
        coverage: stats::mean(&groups.into_values().collect::<Vec<_>>()),
    })
}

/// Whether any held-out recogniser takes a face for a template at one false accept in a thousand.
fn accepted(names: &Names<'_>, judged: &Judged, template: &[Vec<f32>]) -> bool {
    let verdicts = names.verdicts.iter().enumerate().filter(|(_, v)| v.held_out);
    verdicts
        .map(|(i, v)| v.accepts(v.score(&judged.embeddings[i], &template[i]), Far::E3))
        .any(|a| a == Some(true))
}

/// Of each sample: exposed, and whether the source's own pixels are there.
fn sampled_exposure(k: &Known<'_>, names: &Names<'_>) -> BTreeMap<crate::frame::Pts, (bool, bool)> {
    k.track
        .samples
        .iter()
        .map(|s| {
            let untouched = s.is_untouched();
            (s.at, (untouched || accepted(names, &s.output.judged, &k.template), untouched))
        })
        .collect()
}

/// Figures over time.
#[must_use]
pub fn stability(known: &[Known<'_>], names: &Names<'_>) -> Stability {
    let mut got = Stability {
        warp_ratio: stats::ratio(&by_track(known, |_, s| s.next.as_ref()?.warp)),
        warp_source: stats::mean(&by_track(known, |_, s| Some(s.next.as_ref()?.warp?.1))),
        landmark_correlation: stats::mean(&known.iter().map(|k| correlations(k.track)).collect::<Vec<_>>()),
        ..Stability::default()
    };
    for (i, verdict) in names.verdicts.iter().enumerate() {
        let change = |s: &Sample| {
            let next = s.next.as_ref()?;
            let own = cosine(&s.source.embeddings[i], &next.source.embeddings[i]);
            Some(cosine(&s.output.judged.embeddings[i], &next.output.embeddings[i]) - own)
        };
        let all = by_track(known, |_, s| change(s));
        if let Some(mean) = stats::mean(&all) {
            got.identity_mean.insert(verdict.name.clone(), mean);
        }
        if let Some(worst) = all.iter().flatten().copied().min_by(f64::total_cmp) {
            got.identity_worst.insert(verdict.name.clone(), worst);
        }
    }
    got
}

/// Correlation over time of each feature point's two coordinates.
fn correlations(track: &TrackRecord) -> Vec<f64> {
    let rows: Vec<_> = track.watched.iter().filter_map(|w| w.points.as_ref()).collect();
    let Some((first, _)) = rows.first().filter(|_| rows.len() >= MIN_FRAMES) else {
        return Vec::new();
    };
    let mut all = Vec::with_capacity(first.len() * 2);
    for i in 0..first.len() {
        for axis in 0..2 {
            let own: Vec<f64> = rows.iter().map(|r| f64::from(r.0[i][axis])).collect();
            let theirs: Vec<f64> = rows.iter().map(|r| f64::from(r.1[i][axis])).collect();
            all.extend(stats::correlation(&own, &theirs));
        }
    }
    all
}

/// Pixels outside the faces.
#[must_use]
pub fn background(record: &Record) -> Option<BackgroundFigures> {
    let rows = &record.background;
    let max = rows.iter().map(|b| b.max).max()?;
    Some(BackgroundFigures {
        max,
        mean: rows.iter().map(|b| b.mean).sum::<f64>() / rows.len() as f64,
        n: rows.len(),
    })
}

/// Curves of all tracks.
#[must_use]
pub fn tracks(known: &[Known<'_>], names: &Names<'_>) -> Vec<TrackFigures> {
    known
        .iter()
        .map(|k| {
            let verdict = &names.verdicts[names.watching];
            let by_sample = sampled_exposure(k, names);
            let watched = &k.track.watched;
            let score = |w: &super::film::Watch| verdict.score(&w.embedding, &k.template[names.watching]);
            let exposed =
                |w: &&super::film::Watch| verdict.accepts(score(w), Far::E3) == Some(true) || by_sample.get(&w.at).is_some_and(|s| s.0);
            let step = watched.len().div_ceil(CURVE_POINTS).max(1);
            let times = || watched.iter().map(|w| w.at).chain(k.track.samples.iter().map(|s| s.at));
            let eyes: Vec<f64> = k.track.samples.iter().map(|s| f64::from(s.eyes_px)).collect();
            TrackFigures {
                pair: k.track.film,
                track: k.track.track,
                person: k.person,
                first_s: times().min().map_or(0.0, |t| t.seconds()),
                last_s: times().max().map_or(0.0, |t| t.seconds()),
                frames: watched.len(),
                exposed: watched.iter().filter(exposed).count(),
                eyes_px: stats::median(&eyes).unwrap_or(0.0),
                scores: watched.iter().step_by(step).map(|w| [w.at.seconds(), score(w)]).collect(),
                expression: k
                    .track
                    .samples
                    .iter()
                    .filter_map(|s| Some([s.at.seconds(), s.output.shape?.expression]))
                    .collect(),
                rungs: Vec::new(),
            }
        })
        .collect()
}
