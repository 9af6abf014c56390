//! Outputs and originals to figures, and these to a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use nullface::eval::attack::linear::{self, Pair};
use nullface::eval::attack::{self, Case, Hits};
use nullface::eval::figures;
use nullface::eval::judge::{Far, Verdict};
use nullface::eval::stats::{self, Estimate};
use nullface::pipeline::Mode;
use serde_json::{Value, json};

use super::Original;
use super::treat::Treated;

/// Figures of one mode by one recogniser.
pub(super) struct Row {
    mode: Mode,
    recogniser: String,
    held_out: bool,
    replaced: usize,
    figures: BTreeMap<&'static str, Estimate>,
    /// Chance of a hit by guessing, of the learned map.
    chance_learned: Option<f64>,
}

impl Row {
    pub(super) fn json(&self) -> Value {
        json!({
            "mode": self.mode.to_string(),
            "recogniser": self.recogniser,
            "held_out": self.held_out,
            "replaced": self.replaced,
            "figures": self.figures,
            "chance_learned": self.chance_learned,
        })
    }
}

/// Figures of one mode by every recogniser. `elsewhere`: the attacker learned from other people.
pub(super) fn score(mode: Mode, originals: &[Vec<Original>], treated: &Treated, verdicts: &[Verdict], elsewhere: bool) -> Vec<Row> {
    verdicts
        .iter()
        .enumerate()
        .map(|(i, verdict)| {
            let gallery: Vec<&[f32]> = originals.iter().map(|p| p[0].embeddings[i].as_slice()).collect();
            let cases = |from: usize, to: usize| -> Vec<Case> {
                let outputs = |person: &Vec<Vec<Vec<f32>>>| person.iter().skip(from).take(to - from).map(|o| o[i].clone()).collect();
                originals
                    .iter()
                    .zip(&treated.outputs)
                    .zip(&treated.parrots)
                    .map(|((original, person), parrot)| Case {
                        original: original[0].embeddings[i].clone(),
                        parrot: Some(parrot[i].clone()),
                        outputs: outputs(person),
                    })
                    .collect()
            };
            let learn = |cases: &[Case], pairs: &[Pair]| {
                if elsewhere {
                    linear::learned_elsewhere(cases, &gallery, pairs)
                } else {
                    linear::learned_by_halves(cases, &gallery, pairs)
                }
            };
            let (same, other, all) = (cases(0, 1), cases(1, usize::MAX), cases(0, usize::MAX));
            let learned = learn(&all, &treated.lessons[i]);
            let control = learn(&turned_cases(&all, originals, i), &turned_pairs(&treated.lessons[i]));
            let chance_learned = learned.as_ref().map(|l| l.chance);
            let mut figures = BTreeMap::new();
            let mut add = |name, hits: Option<Hits>| {
                if let Some(estimate) = hits.as_deref().and_then(stats::mean) {
                    figures.insert(name, estimate);
                }
            };
            add("rank_1_same_picture", Some(attack::rank_1(&same, &gallery, verdict, false)));
            add("rank_1_other_picture", Some(attack::rank_1(&other, &gallery, verdict, false)));
            add("rank_1_abs", Some(attack::rank_1(&same, &gallery, verdict, true)));
            add("rank_1_learned", learned.map(|l| l.hits));
            add("rank_1_learned_control", control.map(|l| l.hits));
            add("rank_1_averaged", Some(attack::averaged(&all, &gallery, verdict)));
            add("rank_1_parrot", attack::parrot(&same, verdict));
            add("tar_same_picture", accepted(&same, verdict));
            add("tar_other_picture", accepted(&other, verdict));
            Row {
                mode,
                recogniser: verdict.name.clone(),
                held_out: verdict.held_out,
                replaced: treated.replaced,
                figures,
                chance_learned,
            }
        })
        .collect()
}

/// The control's outputs: originals, turned.
fn turned_cases(cases: &[Case], originals: &[Vec<Original>], i: usize) -> Vec<Case> {
    let of = |person: &Vec<Original>| person.iter().map(|o| linear::turned(&o.embeddings[i])).collect();
    cases
        .iter()
        .zip(originals)
        .map(|(case, person)| Case {
            outputs: of(person),
            ..case.clone()
        })
        .collect()
}

fn turned_pairs(pairs: &[Pair]) -> Vec<Pair> {
    let turned = |p: &Pair| Pair {
        output: linear::turned(&p.source),
        ..p.clone()
    };
    pairs.iter().map(turned).collect()
}

/// Outputs accepted for their originals at one false accept in a thousand.
fn accepted(cases: &[Case], verdict: &Verdict) -> Option<Hits> {
    verdict.threshold(Far::E3)?;
    let hit = |c: &Case, o: &[f32]| f64::from(u8::from(verdict.accepts(verdict.score(o, &c.original), Far::E3) == Some(true)));
    Some(cases.iter().map(|c| c.outputs.iter().map(|o| hit(c, o)).collect()).collect())
}

/// Columns: name, heading.
const COLUMNS: [(&str, &str); 9] = [
    ("rank_1_same_picture", "rank-1, same picture"),
    ("rank_1_other_picture", "rank-1, other picture"),
    ("rank_1_abs", "rank-1 by \\|cos\\|"),
    ("rank_1_learned", "rank-1, learned map"),
    ("rank_1_learned_control", "its control"),
    ("rank_1_averaged", "rank-1, averaged"),
    ("rank_1_parrot", "rank-1, parrot"),
    ("tar_same_picture", "TAR, same picture"),
    ("tar_other_picture", "TAR, other picture"),
];

/// The table, and how to read it. `learners`: people and pictures that the map was learned from, where they are others.
pub(super) fn markdown(rows: &[Row], originals: &[Vec<Original>], learners: Option<(usize, usize)>) -> Result<String> {
    let people = originals.len();
    let pictures: usize = originals.iter().map(Vec::len).sum();
    let mut text = format!(
        "Gallery: {people} people, one original each; {pictures} pictures treated. Chance of rank-1: {:.1} %. TAR at FAR {}. In %, \
         with 95 % intervals by bootstrap over people.\n\n| mode | recogniser |",
        100.0 / people as f64,
        figures::far_name(Far::E3)
    );
    for (_, heading) in COLUMNS {
        write!(text, " {heading} |")?;
    }
    writeln!(text, "\n|{}", "---|".repeat(COLUMNS.len() + 2))?;
    for row in rows {
        let role = if row.held_out { "" } else { " (steering)" };
        write!(text, "| {} | {}{role} |", row.mode, row.recogniser)?;
        for (name, _) in COLUMNS {
            let cell = row.figures.get(name).map_or("–".to_owned(), |e| {
                let interval = e
                    .interval_95
                    .map_or_else(String::new, |[a, b]| format!(" ({:.0} to {:.0})", 100.0 * a, 100.0 * b));
                format!("{:.1}{interval}", 100.0 * e.value)
            });
            write!(text, " {cell} |")?;
        }
        text.push('\n');
    }
    let by_mode: BTreeMap<String, usize> = rows.iter().map(|r| (r.mode.to_string(), r.replaced)).collect();
    let replaced: Vec<String> = by_mode.iter().map(|(m, n)| format!("{m} {n}")).collect();
    let chance = rows.iter().find_map(|r| r.chance_learned);
    let from = learners.map_or_else(
        || "one half of these people and tried on the other, in its own gallery".to_owned(),
        |(people, pictures)| format!("{people} other people, {pictures} pictures and their mirror images, treated by the attacker"),
    );
    match chance {
        Some(chance) => writeln!(
            text,
            "\nLearned map: from {from}; chance {:.1} %. Its control: the same attack on originals whose embeddings are turned, which is wholly \
             invertible; where it is low, there were too few people to learn from, and a low rank-1 of the learned map shows nothing.",
            100.0 * chance
        )?,
        None => writeln!(
            text,
            "\nLearned map: none, since there were fewer than {} people to learn from; give more with --learn.",
            linear::MIN_PEOPLE
        )?,
    }
    writeln!(text, "\nFaces replaced, not covered, of {pictures}: {}.", replaced.join(", "))?;
    Ok(text)
}
