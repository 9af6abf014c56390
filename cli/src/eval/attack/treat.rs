//! What the engine makes of pictures of people, in the run under attack and in the attacker's own.
//!
//! The attacker has the same program and another secret. He treats his own people, each picture as it is and
//! mirrored, to learn a map from outputs to originals, and a picture of everybody he looks for, to compare like
//! with like.

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use nullface::eval::attack::linear::Pair;
use nullface::eval::follow::{Follower, hint_of};
use nullface::eval::judge::Judges;
use nullface::eval::rgb_view;
use nullface::frame::{BoxPx, FrameInfo, FrameTime, FrameViewMut, Landmarks5, Matrix, PixelFormat, PlaneMut, Pts, Range};
use nullface::pipeline::{Discontinuity, EngineConfig, Mode, Outcome};
use nullface::{Engine, Settings};

use super::{Args, Original};
use crate::reader::Picture;

/// Times that a picture is shown before what comes out counts as it is.
const SHOWN: u64 = 6;
/// Time from one showing to the next, ns.
const STEP_NS: u64 = 40_000_000;
/// Pause between two pictures, ns: longer than any hold.
const PAUSE_NS: u64 = 10_000_000_000;
/// The attacker's secret differs from the run's by this.
const OTHER_SEED: u64 = 0x9e37_79b9;

/// The tools of an attack.
pub(super) struct Bench {
    pub(super) judges: Judges,
    pub(super) follower: Follower,
}

impl Bench {
    pub(super) fn embed(&mut self, picture: &Picture, faces: &[Landmarks5]) -> Result<Vec<Vec<Vec<f32>>>> {
        let view = rgb_view(u32::try_from(picture.width_px)?, u32::try_from(picture.height_px)?, &picture.rgb)?;
        Ok(self.judges.recognise(&view, faces)?.into_iter().map(|j| j.embeddings).collect())
    }

    /// An attacker aligns on the face that the output shows, or where one was.
    fn embed_output(&mut self, picture: &Picture, at: &Landmarks5) -> Result<Vec<Vec<f32>>> {
        let view = rgb_view(u32::try_from(picture.width_px)?, u32::try_from(picture.height_px)?, &picture.rgb)?;
        let hint = BoxPx::bounding(&at.0).map(|b| hint_of(&b.scaled(2.4), at));
        let mesh = match hint {
            Some(hint) => self.follower.meshes(&view, &[hint])?.pop().flatten(),
            None => None,
        };
        let own = mesh.and_then(|m| m.landmarks5()).unwrap_or(*at);
        self.embed(picture, &[own])?.pop().context("an embedding a face")
    }
}

/// Embeddings of what came out of one mode.
pub(super) struct Treated {
    /// The run's: `[person][picture][recogniser]`.
    pub(super) outputs: Vec<Vec<Vec<Vec<f32>>>>,
    /// The attacker's of each person's last picture: `[person][recogniser]`.
    pub(super) parrots: Vec<Vec<Vec<f32>>>,
    /// What the attacker learns from: `[recogniser][pair]`.
    pub(super) lessons: Vec<Vec<Pair>>,
    /// Pictures of the run whose face was replaced, not covered.
    pub(super) replaced: usize,
}

/// Pictures that [`treat_all`] treats.
pub(super) fn count(originals: &[Vec<Original>], learners: Option<&[Vec<Original>]>) -> usize {
    let of = |people: &[Vec<Original>]| people.iter().map(Vec::len).sum::<usize>();
    of(originals) + 2 * of(learners.unwrap_or(originals)) + learners.map_or(0, |_| originals.len())
}

/// Treats everybody. Without learners the attacker learns from the people themselves.
pub(super) fn treat_all(
    args: &Args,
    mode: Mode,
    originals: &[Vec<Original>],
    learners: Option<&[Vec<Original>]>,
    bench: &mut Bench,
    bar: &ProgressBar,
) -> Result<Treated> {
    let (mut run, mut attacker) = (
        Machine::open(args, mode, args.seed)?,
        Machine::open(args, mode, args.seed.wrapping_add(OTHER_SEED))?,
    );
    let mut all = Treated {
        outputs: Vec::with_capacity(originals.len()),
        parrots: Vec::with_capacity(originals.len()),
        lessons: vec![Vec::new(); bench.judges.verdicts().len()],
        replaced: 0,
    };
    for person in originals {
        let mut outputs = Vec::with_capacity(person.len());
        for original in person {
            let (output, replaced) = run.embed(bench, &original.picture, &original.landmarks)?;
            all.replaced += usize::from(replaced);
            outputs.push(output);
            bar.inc(1);
        }
        all.outputs.push(outputs);
    }
    for (number, person) in learners.unwrap_or(originals).iter().enumerate() {
        for original in person {
            let plain = attacker.lesson(bench, &original.picture, &original.landmarks, number, &mut all.lessons)?;
            let (picture, landmarks) = mirrored(&original.picture, &original.landmarks);
            attacker.lesson(bench, &picture, &landmarks, number, &mut all.lessons)?;
            bar.inc(2);
            if learners.is_none() && std::ptr::eq(original, &person[person.len() - 1]) {
                all.parrots.push(plain);
            }
        }
    }
    if learners.is_some() {
        // Another picture where there is one: the attacker does not have the run's own.
        for last in originals.iter().filter_map(|p| p.last()) {
            all.parrots.push(attacker.embed(bench, &last.picture, &last.landmarks)?.0);
            bar.inc(1);
        }
    }
    Ok(all)
}

/// An engine and its clock.
struct Machine {
    engine: Engine,
    clock: u64,
}

impl Machine {
    fn open(args: &Args, mode: Mode, seed: u64) -> Result<Self> {
        let config = EngineConfig {
            models_dir: args.places.models_dir.clone(),
            model_pack: args.model_pack.clone(),
            seed: Some(seed),
            lookahead: 0,
            ..EngineConfig::default()
        };
        let settings = Settings {
            mode,
            ..Settings::default()
        };
        Ok(Self {
            engine: Engine::open(&config, settings)?,
            clock: 0,
        })
    }

    /// What recognisers see in what is made of a picture, and whether its face was replaced.
    fn embed(&mut self, bench: &mut Bench, picture: &Picture, landmarks: &Landmarks5) -> Result<(Vec<Vec<f32>>, bool)> {
        let (output, replaced) = self.treat(picture)?;
        Ok((bench.embed_output(&output, landmarks)?, replaced))
    }

    /// Treats a picture to learn from it; the output's embeddings.
    fn lesson(
        &mut self,
        bench: &mut Bench,
        picture: &Picture,
        landmarks: &Landmarks5,
        person: usize,
        lessons: &mut [Vec<Pair>],
    ) -> Result<Vec<Vec<f32>>> {
        let (outputs, _) = self.embed(bench, picture, landmarks)?;
        let sources = bench.embed(picture, &[*landmarks])?.pop().context("an embedding a face")?;
        for ((list, output), source) in lessons.iter_mut().zip(&outputs).zip(sources) {
            list.push(Pair {
                person,
                output: output.clone(),
                source,
            });
        }
        Ok(outputs)
    }

    /// Shows a picture to the engine until it is replaced, at most [`SHOWN`] times.
    fn treat(&mut self, picture: &Picture) -> Result<(Picture, bool)> {
        self.engine.discontinuity(Discontinuity::Flush);
        self.clock += PAUSE_NS;
        let mut out = picture.clone();
        let mut replaced = false;
        for _ in 0..SHOWN {
            out.rgb.clone_from(&picture.rgb);
            let info = FrameInfo {
                format: PixelFormat::Rgb,
                width: u32::try_from(picture.width_px)?,
                height: u32::try_from(picture.height_px)?,
                matrix: Matrix::Bt709,
                range: Range::Full,
            };
            let plane = PlaneMut {
                data: &mut out.rgb,
                stride: picture.width_px * 3,
            };
            let mut view = FrameViewMut::new(info, vec![plane])?;
            let at = FrameTime {
                pts: Pts(self.clock),
                duration_ns: STEP_NS,
            };
            self.clock += STEP_NS;
            let report = self.engine.process(&mut view, at, &[]).into_report();
            replaced = report.faces.iter().any(|f| matches!(f.outcome, Outcome::Replaced { .. }));
            if replaced || (!self.engine.settings().mode.replaces() && !report.faces.is_empty()) {
                break;
            }
        }
        Ok((out, replaced))
    }
}

/// A picture left for right, and its landmarks in the order of what is seen.
fn mirrored(picture: &Picture, landmarks: &Landmarks5) -> (Picture, Landmarks5) {
    let mut out = picture.clone();
    for (row, from) in out
        .rgb
        .chunks_exact_mut(picture.width_px * 3)
        .zip(picture.rgb.chunks_exact(picture.width_px * 3))
    {
        for (pixel, opposite) in row.chunks_exact_mut(3).zip(from.chunks_exact(3).rev()) {
            pixel.copy_from_slice(opposite);
        }
    }
    let [a, b, nose, c, d] = landmarks.0.map(|[x, y]| [picture.width_px as f32 - x, y]);
    (out, Landmarks5([b, a, nose, d, c]))
}

#[cfg(test)]
mod tests {
    use super::mirrored;
    use crate::reader::Picture;
    use nullface::frame::Landmarks5;

    #[test]
    fn a_picture_mirrored_twice_is_itself_and_its_right_eye_stays_left_in_the_picture() {
        let picture = Picture {
            time: gst::ClockTime::ZERO,
            width_px: 3,
            height_px: 2,
            rgb: (0..18).collect(),
        };
        let landmarks = Landmarks5([[0.5, 0.5], [2.0, 0.5], [1.0, 1.0], [0.75, 1.5], [1.75, 1.5]]);
        let (once, points) = mirrored(&picture, &landmarks);
        assert_eq!(once.rgb[..3], [6, 7, 8]);
        assert!(points.0[0][0] < points.0[1][0] && points.0[3][0] < points.0[4][0]);
        let (twice, back) = mirrored(&once, &points);
        assert_eq!((twice.rgb, back), (picture.rgb, landmarks));
    }
}
