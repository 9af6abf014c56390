//! Networks that measure, run as their manifest says: window on the ArcFace template, channels, mean, std.
//!
//! | | |
//! |---|---|
//! | window | template's square (112), grown by `margin_template` of its side on every side, moved down by `down_template` |
//! | input | n×s×s×c NHWC or n×c×s×s NCHW, `(v − mean)/std` per channel; RGB, BGR, or grey by `gray_weights` |
//! | beyond the picture | border replicated |
//! | embedding | as the network gives it, compared by cosine or by Euclidean distance as the manifest says |
//! | errors | [`BackendError`]: missing, altered, another dimension than the manifest says; numbers that are none |

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout, crop_affine};

use super::EvalError;
use crate::backend::{Backend, BackendError, ModelEntry, Session, first_not_finite};
use crate::frame::{Affine, FrameView, Landmarks5, arcface_crop};

/// Side of the template, px.
const TEMPLATE_PX: u32 = 112;
/// Faces a run.
const BATCH: usize = 8;
/// Largest input side taken, px.
const MAX_SIDE_PX: usize = 1024;

/// A rate of false accepts that thresholds are given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Far {
    /// One in a hundred.
    #[serde(rename = "far_1e-2")]
    E2,
    /// One in a thousand.
    #[serde(rename = "far_1e-3")]
    E3,
    /// One in ten thousand.
    #[serde(rename = "far_1e-4")]
    E4,
}

impl Far {
    /// All of them, the loosest first.
    pub const ALL: [Self; 3] = [Self::E2, Self::E3, Self::E4];

    /// The rate.
    #[must_use]
    pub const fn rate(self) -> f64 {
        match self {
            Self::E2 => 1e-2,
            Self::E3 => 1e-3,
            Self::E4 => 1e-4,
        }
    }
}

/// How two embeddings are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    /// Cosine: larger is more alike.
    Cosine,
    /// Euclidean distance of raw vectors: smaller is more alike.
    Euclidean,
}

/// How a recogniser decides, apart from the network: what figures need once embeddings are there.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Recogniser's name.
    pub name: String,
    /// Whether it took no part in making the output.
    pub held_out: bool,
    /// Comparison.
    pub distance: Distance,
    /// Thresholds by rate, in [`Far::ALL`]'s order.
    pub thresholds: [Option<f32>; 3],
    /// Means of strangers and of one person in two films, in the comparison's own measure.
    pub means: Option<(f32, f32)>,
}

impl Verdict {
    /// Of a manifest's entry.
    #[must_use]
    pub fn of(entry: &ModelEntry) -> Self {
        let t = entry.thresholds.as_ref();
        Self {
            name: entry.name.clone(),
            held_out: entry.held_out != Some(false),
            distance: match entry.distance.as_deref() {
                Some("euclidean") => Distance::Euclidean,
                _ => Distance::Cosine,
            },
            thresholds: [
                t.map(|t| t.far_1e_2.threshold),
                t.map(|t| t.far_1e_3.threshold),
                t.and_then(|t| t.far_1e_4).map(|t| t.threshold),
            ],
            means: t.map(|t| (t.mean_impostor, t.mean_genuine_other_film)),
        }
    }

    /// The threshold at a rate.
    #[must_use]
    pub fn threshold(&self, far: Far) -> Option<f32> {
        self.thresholds[Far::ALL.iter().position(|f| *f == far)?]
    }

    /// Larger is more alike: the cosine, or minus the distance.
    #[must_use]
    pub fn score(&self, a: &[f32], b: &[f32]) -> f64 {
        match self.distance {
            Distance::Cosine => cosine(a, b),
            Distance::Euclidean => -distance(a, b),
        }
    }

    /// Whether a score counts as one person; `None` where there is no threshold at this rate.
    #[must_use]
    pub fn accepts(&self, score: f64, far: Far) -> Option<bool> {
        let t = f64::from(self.threshold(far)?);
        Some(match self.distance {
            Distance::Cosine => score >= t,
            Distance::Euclidean => score >= -t,
        })
    }

    /// A score on the scale on which strangers are at 0 and one person in two films is at 1.
    #[must_use]
    pub fn likeness(&self, score: f64) -> Option<f64> {
        let (stranger, same) = self.means?;
        let (stranger, same) = match self.distance {
            Distance::Cosine => (f64::from(stranger), f64::from(same)),
            Distance::Euclidean => (-f64::from(stranger), -f64::from(same)),
        };
        ((same - stranger).abs() > 1e-6).then(|| (score - stranger) / (same - stranger))
    }
}

/// Cosine of two vectors; 0 where one has no direction.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut ab, mut aa, mut bb) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x), f64::from(*y));
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa > 0.0 && bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt()
}

/// A network on face crops.
#[derive(Debug)]
pub struct CropNet {
    entry: ModelEntry,
    session: Session,
    side: usize,
    channels: usize,
    nchw: bool,
    rgb: Vec<f32>,
}

impl CropNet {
    /// Loads a model of the backend's manifest.
    ///
    /// # Errors
    /// Missing or altered file; an entry without a square input or a crop on the ArcFace template.
    pub fn open(backend: &Backend, name: &str) -> Result<Self, EvalError> {
        let entry = backend.models().entry(name)?.clone();
        let wrong = |what: &str, expected: &str, got: String| EvalError::Input {
            what: format!("model {name}: {what}"),
            expected: expected.to_owned(),
            got,
            remedy: format!("correct the entry in {}", backend.models().folder().join("manifest.toml").display()),
        };
        let input = entry.input.first().ok_or_else(|| wrong("input", "one", "none".to_owned()))?;
        let nchw = input.layout.as_deref() == Some("NCHW");
        let dims = match (input.shape.as_slice(), nchw) {
            ([_, h, w, c], false) | ([_, c, h, w], true) if h == w => (usize::try_from(*h).ok(), usize::try_from(*c).ok()),
            _ => (None, None),
        };
        let (Some(side @ 1..=MAX_SIDE_PX), Some(channels @ (1 | 3))) = dims else {
            return Err(wrong(
                "input shape",
                "a batch of squares with 1 or 3 channels",
                format!("{:?}", input.shape),
            ));
        };
        match &entry.crop {
            Some(crop) if crop.template == "arcface-112" && crop.margin_template.abs() <= 2.0 && crop.down_template.abs() <= 2.0 => {}
            other => {
                return Err(wrong(
                    "crop",
                    "template arcface-112, margin and shift within 2 sides",
                    format!("{other:?}"),
                ));
            }
        }
        Ok(Self {
            session: backend.session(name)?,
            entry,
            side,
            channels,
            nchw,
            rgb: Vec::new(),
        })
    }

    /// The manifest's entry.
    #[must_use]
    pub fn entry(&self) -> &ModelEntry {
        &self.entry
    }

    /// Index of an output by its name.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<usize> {
        self.entry.output.iter().position(|o| o.name == name)
    }

    /// All outputs for each face: `[face][output][value]`.
    ///
    /// # Errors
    /// The network fails, gives another shape than its entry says, or numbers that are none.
    pub fn run(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Vec<Vec<f32>>>, EvalError> {
        let mut all = Vec::with_capacity(faces.len());
        for batch in faces.chunks(BATCH) {
            let maps = batch.iter().map(|l| self.window(l)).collect::<Result<Vec<_>, _>>()?;
            self.fill(frame, &maps)?;
            self.session.run()?;
            all.extend(self.outputs(batch.len())?);
        }
        Ok(all)
    }

    fn window(&self, landmarks: &Landmarks5) -> Result<Affine, EvalError> {
        let frame_from_template = arcface_crop(landmarks, TEMPLATE_PX).ok_or_else(|| EvalError::Input {
            what: "landmarks".to_owned(),
            expected: "five distinct finite points".to_owned(),
            got: format!("{:?}", landmarks.0),
            remedy: "leave this face out".to_owned(),
        })?;
        let (margin, down) = self
            .entry
            .crop
            .as_ref()
            .map_or((0.0, 0.0), |c| (c.margin_template, c.down_template));
        let template = TEMPLATE_PX as f32;
        let window = template * (1.0 + 2.0 * margin);
        let scale = window / self.side as f32;
        let left = (template - window) / 2.0;
        Ok(frame_from_template.after(&Affine::scale_shift(scale, scale, left, left + down * template)))
    }

    fn fill(&mut self, frame: &FrameView<'_>, maps: &[Affine]) -> Result<(), EvalError> {
        let (side, channels) = (self.side, self.channels);
        let pixels = side * side;
        let spec = CropSpec {
            width: side,
            height: side,
            layout: Layout::Nhwc,
            order: ChannelOrder::Rgb,
            scale: 1.0,
            bias: 0.0,
        };
        self.rgb.resize(pixels * 3, 0.0);
        let input = self.entry.input.first();
        let at = |list: Option<&Vec<f32>>, c: usize, or: f32| list.and_then(|l| l.get(c).or(l.first())).copied().unwrap_or(or);
        let bgr = input.and_then(|i| i.channels.as_deref()) == Some("BGR");
        let gray = self.entry.gray_weights.unwrap_or([0.299, 0.587, 0.114]);
        let norms: Vec<(f32, f32)> = (0..channels)
            .map(|c| {
                (
                    at(input.and_then(|i| i.mean.as_ref()), c, 0.0),
                    at(input.and_then(|i| i.std.as_ref()), c, 1.0),
                )
            })
            .collect();
        let shape = if self.nchw {
            [maps.len(), channels, side, side]
        } else {
            [maps.len(), side, side, channels]
        };
        let tensor = self.session.input(&shape)?;
        for (map, out) in maps.iter().zip(tensor.chunks_exact_mut(pixels * channels)) {
            crop_affine(frame, map, &spec, &mut self.rgb)?;
            for (i, rgb) in self.rgb.chunks_exact(3).enumerate() {
                for (c, (mean, std)) in norms.iter().enumerate() {
                    let v = match (channels, bgr) {
                        (1, _) => rgb[0] * gray[0] + rgb[1] * gray[1] + rgb[2] * gray[2],
                        (_, true) => rgb[2 - c],
                        _ => rgb[c],
                    };
                    let place = if self.nchw { c * pixels + i } else { i * channels + c };
                    out[place] = (v - mean) / std;
                }
            }
        }
        Ok(())
    }

    fn outputs(&self, n: usize) -> Result<Vec<Vec<Vec<f32>>>, EvalError> {
        let mut faces = vec![Vec::with_capacity(self.entry.output.len()); n];
        for (index, spec) in self.entry.output.iter().enumerate() {
            let mut shape = vec![n];
            shape.extend(spec.shape.iter().skip(1).map(|d| usize::try_from(*d).unwrap_or(0)));
            let width: usize = shape.iter().skip(1).product();
            let data = self.session.output(index, &shape)?;
            if let Some(at) = first_not_finite(data) {
                return Err(BackendError::Run {
                    model: self.entry.name.clone(),
                    why: format!("output {}: expected finite numbers, got {} at {at}", spec.name, data[at]),
                }
                .into());
            }
            for (face, values) in faces.iter_mut().zip(data.chunks_exact(width.max(1))) {
                face.push(values.to_vec());
            }
        }
        Ok(faces)
    }
}

/// What the judges say of one face.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judged {
    /// One embedding a recogniser, in [`Judges::verdicts`]' order.
    pub embeddings: Vec<Vec<f32>>,
    /// Age in years, mean of the judges that tell it.
    pub age_years: Option<f32>,
    /// Probability of male, mean of the judges that tell it.
    pub male_prob: Option<f32>,
    /// Likeliest class of each expression judge.
    pub expressions: Vec<usize>,
}

/// All judges.
#[derive(Debug)]
pub struct Judges {
    recognisers: Vec<(CropNet, usize)>,
    others: Vec<CropNet>,
    verdicts: Vec<Verdict>,
}

impl Judges {
    /// Loads every recogniser, expression and attribute network of the held-out folder, and the steering
    /// recogniser of the small models, which is told apart by [`Verdict::held_out`].
    ///
    /// # Errors
    /// A file that is missing or altered, an entry that says something else than its file, no held-out
    /// recogniser at all.
    pub fn open(held_out: &Backend, small: &Backend) -> Result<Self, EvalError> {
        let (mut recognisers, mut others) = (Vec::new(), Vec::new());
        for (backend, own) in [(held_out, true), (small, false)] {
            for entry in backend.models().entries() {
                match entry.role.as_str() {
                    "recogniser" => recognisers.push(recogniser(backend, &entry.name)?),
                    "emotion" | "attributes" if own => others.push(CropNet::open(backend, &entry.name)?),
                    _ => {}
                }
            }
        }
        let verdicts: Vec<Verdict> = recognisers.iter().map(|(net, _)| Verdict::of(&net.entry)).collect();
        if !verdicts.iter().any(|v| v.held_out) {
            return Err(EvalError::Input {
                what: held_out.models().folder().join("manifest.toml").display().to_string(),
                expected: "at least one recogniser with held_out = true".to_owned(),
                got: "none".to_owned(),
                remedy: "restore the folder from the release or the repository".to_owned(),
            });
        }
        Ok(Self {
            recognisers,
            others,
            verdicts,
        })
    }

    /// How each recogniser decides, in the order of embeddings.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Entries of all networks.
    #[must_use]
    pub fn entries(&self) -> Vec<&ModelEntry> {
        self.recognisers
            .iter()
            .map(|(n, _)| n)
            .chain(&self.others)
            .map(CropNet::entry)
            .collect()
    }

    /// Embeddings only.
    ///
    /// # Errors
    /// As [`CropNet::run`].
    pub fn recognise(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Judged>, EvalError> {
        let mut judged = vec![Judged::default(); faces.len()];
        for (net, at) in &mut self.recognisers {
            for (face, mut outputs) in judged.iter_mut().zip(net.run(frame, faces)?) {
                face.embeddings.push(outputs.swap_remove(*at));
            }
        }
        Ok(judged)
    }

    /// The embedding of one recogniser only.
    ///
    /// # Errors
    /// As [`CropNet::run`].
    pub fn recognise_by(&mut self, index: usize, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Vec<f32>>, EvalError> {
        match self.recognisers.get_mut(index) {
            Some((net, at)) => Ok(net.run(frame, faces)?.into_iter().map(|mut o| o.swap_remove(*at)).collect()),
            None => Ok(Vec::new()),
        }
    }

    /// Embeddings, age, sex and expression.
    ///
    /// # Errors
    /// As [`CropNet::run`].
    pub fn look(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Judged>, EvalError> {
        let mut judged = vec![Judged::default(); faces.len()];
        let mut ages = vec![Vec::new(); faces.len()];
        let mut males = vec![Vec::new(); faces.len()];
        for (net, at) in &mut self.recognisers {
            let (age, sex) = (net.output("age"), net.output("sex"));
            for (i, mut outputs) in net.run(frame, faces)?.into_iter().enumerate() {
                ages[i].extend(age.map(|a| years(&outputs[a])));
                males[i].extend(sex.and_then(|s| outputs[s].first().copied()));
                judged[i].embeddings.push(outputs.swap_remove(*at));
            }
        }
        for net in &mut self.others {
            let (age, sex) = (net.output("age"), net.output("sex"));
            let classes = net.entry.classes.is_some();
            for (i, outputs) in net.run(frame, faces)?.into_iter().enumerate() {
                ages[i].extend(age.map(|a| years(&outputs[a])));
                males[i].extend(sex.and_then(|s| outputs[s].first().copied()));
                if classes {
                    judged[i].expressions.extend(outputs.first().and_then(|p| likeliest(p)));
                }
            }
        }
        for (face, (age, male)) in judged.iter_mut().zip(ages.iter().zip(&males)) {
            face.age_years = average(age);
            face.male_prob = average(male);
        }
        Ok(judged)
    }
}

/// Opens a recogniser and finds its embedding.
///
/// # Errors
/// As [`CropNet::open`]; an entry whose embedding is no output or has another dimension than it says.
pub fn recogniser(backend: &Backend, name: &str) -> Result<(CropNet, usize), EvalError> {
    let net = CropNet::open(backend, name)?;
    let wrong = |what: String, expected: String, got: String| EvalError::Input {
        what: format!("recogniser {name}: {what}"),
        expected,
        got,
        remedy: format!("correct the entry in {}", backend.models().folder().join("manifest.toml").display()),
    };
    let wanted = net.entry.embedding.clone().unwrap_or_else(|| "embedding".to_owned());
    let at = net
        .output(&wanted)
        .ok_or_else(|| wrong("embedding".to_owned(), format!("an output {wanted}"), "none".to_owned()))?;
    let shape = &net.entry.output[at].shape;
    let dimension = shape.get(1).copied().unwrap_or(-1);
    let said = net.entry.dimension.map(i64::from);
    if shape.len() != 2 || dimension < 2 || said.is_some_and(|s| s != dimension) {
        let expected = said.map_or_else(|| "2 or more".to_owned(), |s| s.to_string());
        return Err(wrong("dimension".to_owned(), expected, format!("{shape:?}")));
    }
    Ok((net, at))
}

/// Years from one value, or the mean of a distribution over whole years.
fn years(output: &[f32]) -> f32 {
    if output.len() == 1 {
        return output[0];
    }
    let all: f32 = output.iter().sum();
    let weighted: f32 = output.iter().enumerate().map(|(year, p)| year as f32 * p).sum();
    weighted / all.max(1e-6)
}

fn likeliest(probabilities: &[f32]) -> Option<usize> {
    (0..probabilities.len()).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]))
}

fn average(values: &[f32]) -> Option<f32> {
    (!values.is_empty()).then(|| values.iter().sum::<f32>() / values.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{BackendConfig, DeviceRequest, testing};

    fn held_out() -> Backend {
        Backend::open(&BackendConfig {
            models_dir: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/models/eval").into()),
            device: DeviceRequest::Cpu,
            threads: 2,
            runtime_library: None,
        })
        .expect("held-out models of the checkout")
    }

    #[test]
    fn every_judge_of_the_manifest_runs_and_batches_agree() {
        let picture = testing::Picture::smooth(400, 300);
        let mut judges = Judges::open(&held_out(), &testing::backend()).expect("opens");
        assert_eq!(judges.verdicts().iter().filter(|v| v.held_out).count(), 2);
        let at = |dx: f32| Landmarks5(crate::frame::ARCFACE_TEMPLATE_112.map(|p| [p[0] + dx, p[1] + 40.0]));
        let faces = [at(20.0), at(150.0)];
        let both = judges.look(&picture.view(), &faces).expect("judged");
        for (face, together) in faces.iter().zip(&both) {
            let alone = &judges.look(&picture.view(), std::slice::from_ref(face)).expect("judged")[0];
            assert_eq!(together.expressions.len(), 2);
            assert!(together.age_years.is_some_and(|a| (0.0..120.0).contains(&a)));
            assert!(together.male_prob.is_some_and(|p| (0.0..=1.0).contains(&p)));
            for (a, b) in together.embeddings.iter().zip(&alone.embeddings) {
                assert!(cosine(a, b) > 0.9999);
            }
        }
        assert_eq!(both[0].embeddings.iter().map(Vec::len).collect::<Vec<_>>(), [1024, 128, 192]);
        assert!(judges.recognise(&picture.view(), &[Landmarks5([[1.0, 1.0]; 5])]).is_err());
    }

    #[test]
    fn a_recogniser_of_another_dimension_is_refused_by_its_name() {
        let folder = tempfile::tempdir().expect("folder");
        let from = held_out().models().folder().to_path_buf();
        let text = std::fs::read_to_string(from.join("manifest.toml")).expect("manifest");
        for (change, to) in [("dimension = 128", "dimension = 512"), ("shape = [-1, 128]", "shape = [-1, 512]")] {
            std::fs::write(folder.path().join("manifest.toml"), text.replace(change, to)).expect("written");
            std::fs::copy(
                from.join("faceapi_recognition.onnx"),
                folder.path().join("faceapi_recognition.onnx"),
            )
            .expect("copied");
            let backend = Backend::open(&BackendConfig {
                models_dir: Some(folder.path().to_path_buf()),
                ..BackendConfig::default()
            })
            .expect("manifest");
            let error = recogniser(&backend, "faceapi-resnet").expect_err("another dimension").to_string();
            assert!(
                error.contains("faceapi-resnet") && error.contains("512") && error.contains("128"),
                "{error}"
            );
        }
    }

    #[test]
    fn scores_and_thresholds_agree_in_both_measures() {
        let mut v = Verdict {
            name: "r".to_owned(),
            held_out: true,
            distance: Distance::Cosine,
            thresholds: [Some(0.3), Some(0.5), None],
            means: Some((0.1, 0.6)),
        };
        assert_eq!(v.accepts(v.score(&[1.0, 0.0], &[1.0, 0.1]), Far::E3), Some(true));
        assert_eq!(v.accepts(v.score(&[1.0, 0.0], &[0.0, 1.0]), Far::E3), Some(false));
        assert_eq!(v.accepts(0.9, Far::E4), None, "no threshold, no verdict");
        assert!((v.likeness(0.1).expect("means")).abs() < 1e-6 && (v.likeness(0.6).expect("means") - 1.0).abs() < 1e-6);
        v.distance = Distance::Euclidean;
        v.thresholds = [Some(0.6), Some(0.5), None];
        v.means = Some((0.8, 0.5));
        assert_eq!(v.accepts(v.score(&[1.0, 0.0], &[1.0, 0.4]), Far::E3), Some(true));
        assert_eq!(v.accepts(v.score(&[1.0, 0.0], &[1.0, 0.55]), Far::E3), Some(false));
        assert!((v.likeness(-0.5).expect("means") - 1.0).abs() < 1e-6);
    }
}
