//! A recogniser that a pack brings: ArcFace's input, any length of embedding.
//!
//! | | |
//! |---|---|
//! | crop | five landmarks to the ArcFace template at 112 px |
//! | input | n×3×112×112, RGB `(v − 127.5)/127.5` |
//! | output | n×dimension, divided by its L2 norm here |
//! | batch | one face a run: it runs once a person and target, and published files have fixed batches of one |
//! | errors | a network with other inputs or outputs, embeddings that are no direction |

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout};
use nullface_kernels::cuda::Gpu;

use super::mobilefacenet::normalise;
use super::{Embedding, IdentifyError, Recogniser};
use crate::backend::{BackendError, CropError, Input, Network};
use crate::frame::{FrameView, Landmarks5};

/// Side of the aligned crop, px.
pub const ARCFACE_PX: usize = 112;

/// The recogniser.
#[derive(Debug)]
pub struct TensorRecogniser {
    network: Network,
    input: String,
    output: String,
    dimension: usize,
    same_person_cos: f32,
}

impl TensorRecogniser {
    /// Over a loaded network of `dimension` outputs.
    ///
    /// # Errors
    /// [`IdentifyError::BadOutput`] where the network has another number of inputs, outputs or sides.
    pub fn new(network: Network, dimension: usize, same_person_cos: f32) -> Result<Self, IdentifyError> {
        let fits =
            |got: &[i64], wanted: &[i64]| got.len() == wanted.len() && got.iter().zip(wanted).all(|(g, w)| *g == *w || *g < 0 || *w < 0);
        let (inputs, outputs) = (network.inputs(), network.outputs());
        let side = ARCFACE_PX as i64;
        match (&inputs[..], &outputs[..]) {
            ([input], [output])
                if fits(&input.shape, &[-1, 3, side, side]) && fits(&output.shape, &[-1, i64::try_from(dimension).unwrap_or(i64::MAX)]) =>
            {
                Ok(Self {
                    input: input.name.clone(),
                    output: output.name.clone(),
                    network,
                    dimension,
                    same_person_cos,
                })
            }
            _ => Err(IdentifyError::BadOutput(format!(
                "expected one input n×3×{side}×{side} and one output n×{dimension}, got {inputs:?} and {outputs:?}"
            ))),
        }
    }

    fn one(&mut self, frame: &FrameView<'_>, landmarks: &Landmarks5) -> Result<Embedding, IdentifyError> {
        let map = crate::frame::arcface_crop(landmarks, ARCFACE_PX as u32)
            .ok_or_else(|| IdentifyError::BadOutput(format!("landmarks: expected five distinct finite points, got {:?}", landmarks.0)))?;
        let spec = CropSpec {
            width: ARCFACE_PX,
            height: ARCFACE_PX,
            layout: Layout::Nchw,
            order: ChannelOrder::Rgb,
            scale: 1.0 / 127.5,
            bias: -1.0,
        };
        let mut row = vec![0.0; self.dimension];
        let ran = self
            .network
            .run_on_crops((frame, &[map], &spec), &self.input, &self.output, &mut row);
        ran.map_err(|e| match e {
            CropError::Backend(e) => told(e),
            CropError::Frame(e) => IdentifyError::Frame(e),
        })?;
        normalise(&row)
    }

    /// The embedding of an aligned crop: planar RGB, −1 to 1, [`ARCFACE_PX`] square.
    ///
    /// # Errors
    /// [`IdentifyError`]: another length, a network that fails, an embedding without direction.
    pub fn embed_aligned(&mut self, crop: &[f32]) -> Result<Embedding, IdentifyError> {
        if crop.len() != 3 * ARCFACE_PX * ARCFACE_PX {
            return Err(IdentifyError::BadOutput(format!(
                "crop: expected {} values, got {}",
                3 * ARCFACE_PX * ARCFACE_PX,
                crop.len()
            )));
        }
        let mut row = vec![0.0; self.dimension];
        let input = Input {
            name: &self.input,
            shape: &[1, 3, ARCFACE_PX, ARCFACE_PX],
            values: crop,
        };
        self.network.run(&[input], &self.output, &mut row).map_err(told)?;
        normalise(&row)
    }
}

/// An output of another shape is a bad one.
fn told(error: BackendError) -> IdentifyError {
    match error {
        BackendError::Shape { .. } => IdentifyError::BadOutput(error.to_string()),
        e => IdentifyError::Backend(e),
    }
}

impl Recogniser for TensorRecogniser {
    fn name(&self) -> &'static str {
        "pack"
    }

    fn same_person_cos(&self) -> f32 {
        self.same_person_cos
    }

    fn reads_on(&self, gpu: &Gpu) -> bool {
        self.network.reads_on(gpu)
    }

    fn embed(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        faces.iter().map(|face| self.one(frame, face)).collect()
    }
}
