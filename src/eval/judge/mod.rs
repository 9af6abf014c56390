//! Networks that measure, run as their manifest says: window on the ArcFace template, channels, mean, std.
//!
//! | | |
//! |---|---|
//! | window | template's square (112), grown by `margin_template` of its side on every side, moved down by `down_template` |
//! | input | n×s×s×c NHWC or n×c×s×s NCHW, `(v − mean)/std` per channel; RGB, BGR, or grey by `gray_weights` |
//! | beyond the picture | border replicated |
//! | embedding | as the network gives it, compared by cosine or by Euclidean distance as the manifest says |
//! | errors | [`BackendError`]: missing, altered, another dimension than the manifest says; numbers that are none |

mod net;
mod verdict;

pub use net::CropNet;
pub use verdict::{Distance, Far, Verdict, cosine};

use super::EvalError;
use crate::backend::{Backend, ModelEntry};
use crate::frame::{FrameView, Landmarks5};

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
            ..BackendConfig::default()
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
}
