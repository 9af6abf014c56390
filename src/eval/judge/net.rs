//! One network on face crops, fed as its entry says.

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout, crop_affine};

use crate::backend::{Backend, BackendError, ModelEntry, Session, first_not_finite};
use crate::eval::EvalError;
use crate::frame::{Affine, FrameView, Landmarks5, arcface_crop};

/// Side of the template, px.
const TEMPLATE_PX: u32 = 112;
/// Faces a run.
const BATCH: usize = 8;
/// Largest input side taken, px.
const MAX_SIDE_PX: usize = 1024;

/// A network on face crops.
#[derive(Debug)]
pub struct CropNet {
    pub(super) entry: ModelEntry,
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
