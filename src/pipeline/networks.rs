//! A pack's networks behind the stages' doors, whichever family the pack is of.
//!
//! | family | latent | conditions | recogniser |
//! |---|---|---|---|
//! | default | space-to-depth, no network | vectors | the engine's |
//! | big | a pair of networks, posterior mode | text row and identity vector, cross-attention | the pack's own file |
//!
//! Every network's names, shapes and dtypes are held against the manifest before it is run.

use std::sync::Arc;

use crate::backend::{Backend, BackendError, Device, ExternalData, Input, Network, NetworkSource, Outlet};
use crate::pack::{Dim, Interface, LatentKind, Pack, Precision, TensorSeen, TensorSpec};
use crate::stages::denoise::{Doors, OnnxModel};
use crate::stages::identify::TensorRecogniser;
use crate::stages::reconstruct::{Autoencoder, Codec, LatentCodec};

use super::engine::EngineError;

/// Most rows a call of a big pack: the largest batch of the engines' shape profiles.
pub const BIG_PACK_ROWS: usize = crate::backend::BATCH as usize;
/// What a pack must say of a recogniser that it brings.
const PREPROCESSING: &str = "(v - 127.5) / 127.5, NCHW, RGB, 112 px";

fn stage(why: impl std::fmt::Display) -> EngineError {
    EngineError::Stage {
        stage: "pack",
        why: why.to_string(),
    }
}

fn seen(outlets: &[Outlet]) -> Result<Vec<TensorSeen>, EngineError> {
    outlets
        .iter()
        .map(|o| {
            if o.is_f32 {
                Ok(TensorSeen {
                    name: o.name.clone(),
                    shape: o.shape.clone(),
                    dtype: crate::pack::Dtype::Float32,
                })
            } else {
                Err(stage(format!("{}: expected float32, got another type", o.name)))
            }
        })
        .collect()
}

fn known(tensor: &TensorSpec) -> (String, Vec<i64>) {
    let side = |d: &Dim| match d {
        Dim::Fixed(n) => i64::from(*n),
        Dim::Free(_) => -1,
    };
    (tensor.name.clone(), tensor.shape.iter().map(side).collect())
}

/// A network of a pack, verified and of the manifest's signature.
///
/// # Errors
/// [`EngineError`] names the file and the field.
pub fn network(backend: &Backend, pack: &Pack, name: &str) -> Result<Network, EngineError> {
    let files = &pack.manifest().files;
    let data = match files.get(name).and_then(|f| f.data.as_deref()) {
        None => None,
        Some(data) => Some(ExternalData {
            name: files.get(data).map(|f| f.path.clone()).unwrap_or_default(),
            bytes: Arc::from(pack.read(data)?),
        }),
    };
    let inputs = files.get(name).map_or_else(Vec::new, |f| f.inputs.iter().map(known).collect());
    let network = backend.network_from(NetworkSource {
        name: name.to_owned(),
        bytes: Arc::from(pack.read(name)?),
        data,
        inputs,
        // What verifies must not be rounded.
        half: name != pack.manifest().identity.recogniser,
        replays: pack.manifest().denoiser.files.values().any(|file| file == name),
    })?;
    pack.check_signature(name, &seen(&network.inputs())?, &seen(&network.outputs())?)?;
    Ok(network)
}

/// The denoiser: half precision on a GPU and single on the processor, as far as the pack has them.
///
/// # Errors
/// [`EngineError`] names the file and the field.
pub fn denoiser(backend: &Backend, pack: &Pack) -> Result<OnnxModel, EngineError> {
    let d = &pack.manifest().denoiser;
    let wanted = if backend.device().device == Device::Cpu {
        Precision::Fp32
    } else {
        Precision::Fp16
    };
    let name = d
        .files
        .get(&wanted)
        .or_else(|| d.files.get(&Precision::Fp32))
        .or_else(|| d.files.values().next())
        .ok_or_else(|| stage("expected a file of the denoiser, got none"))?;
    Ok(model(pack, network(backend, pack, name)?))
}

/// A pack's denoiser over its loaded network.
pub(super) fn model(pack: &Pack, network: Network) -> OnnxModel {
    let m = pack.manifest();
    let d = &m.denoiser;
    let text = d.inputs.text.as_ref().map(|text| {
        let row = network
            .inputs()
            .into_iter()
            .find(|i| i.name == *text)
            .map(|i| i.shape)
            .unwrap_or_default();
        let row = row.iter().skip(1).filter_map(|side| usize::try_from(*side).ok()).collect();
        (text.clone(), row)
    });
    let doors = Doors {
        x: d.inputs.x.clone(),
        lambda: d.inputs.lambda.clone(),
        time: d.inputs.time.clone(),
        identity: d.inputs.identity.clone(),
        identity_mask: d.inputs.identity_mask.clone(),
        attributes: d.inputs.attributes.clone(),
        text,
        prior: d.inputs.prior.clone(),
        output: d.output.clone(),
    };
    let model = OnnxModel::new(network, doors, pack.row_shape(), m.prediction);
    match d.interface {
        Interface::Adaln => model,
        Interface::CrossAttention => model.with_max_rows(BIG_PACK_ROWS),
    }
}

/// The latent codec.
///
/// # Errors
/// [`EngineError`] names the file and the field.
pub fn codec(backend: &Backend, pack: &Pack) -> Result<LatentCodec, EngineError> {
    let latent = &pack.manifest().latent;
    let size = pack.manifest().crop.size_px as usize;
    let codec = match latent.kind {
        LatentKind::SpaceToDepth => Codec::SpaceToDepth {
            factor: latent.factor as usize,
        },
        LatentKind::Autoencoder => {
            let side = |file: &Option<String>| network(backend, pack, file.as_deref().unwrap_or_default());
            let side_px = size / latent.factor as usize;
            Codec::Autoencoder(Box::new(OnnxAutoencoder {
                encoder: Side::of(side(&latent.encoder)?)?,
                decoder: Side::of(side(&latent.decoder)?)?,
                pixels: [3, size, size],
                latents: [latent.channels as usize, side_px, side_px],
            }))
        }
    };
    LatentCodec::new(codec, size, pack.row_shape().latent_len(), latent.scale, latent.shift).map_err(stage)
}

/// The recogniser that a pack brings; `None` where it steers by the engine's.
///
/// # Errors
/// [`EngineError`] names the field: a preprocessing that is not known, a signature that is no recogniser's.
pub fn recogniser(backend: &Backend, pack: &Pack) -> Result<Option<TensorRecogniser>, EngineError> {
    let identity = &pack.manifest().identity;
    if !pack.manifest().files.contains_key(&identity.recogniser) {
        return Ok(None);
    }
    if identity.preprocessing != PREPROCESSING {
        return Err(stage(format!(
            "identity.preprocessing: expected `{PREPROCESSING}`, got `{}`",
            identity.preprocessing
        )));
    }
    let network = network(backend, pack, &identity.recogniser)?;
    let same = identity.same_person_cos.unwrap_or(1.0);
    TensorRecogniser::new(network, identity.dimension as usize, same)
        .map(Some)
        .map_err(stage)
}

/// One of an autoencoder's networks and its door's names.
#[derive(Debug)]
struct Side {
    network: Network,
    input: String,
    output: String,
}

impl Side {
    fn of(network: Network) -> Result<Self, EngineError> {
        match (&network.inputs()[..], &network.outputs()[..]) {
            ([input], [output]) => Ok(Self {
                input: input.name.clone(),
                output: output.name.clone(),
                network,
            }),
            (inputs, outputs) => Err(stage(format!(
                "autoencoder: expected one input and one output, got {} and {}",
                inputs.len(),
                outputs.len()
            ))),
        }
    }

    fn run(&mut self, rows: usize, shape: [usize; 3], values: &[f32], out: &mut [f32]) -> Result<(), BackendError> {
        let [c, h, w] = shape;
        let input = Input {
            name: &self.input,
            shape: &[rows, c, h, w],
            values,
        };
        self.network.run(&[input], &self.output, out)
    }
}

/// Encoder and decoder behind ONNX Runtime.
#[derive(Debug)]
struct OnnxAutoencoder {
    encoder: Side,
    decoder: Side,
    pixels: [usize; 3],
    latents: [usize; 3],
}

impl Autoencoder for OnnxAutoencoder {
    fn encode(&mut self, rows: usize, pixels: &[f32], latents: &mut [f32]) -> Result<(), BackendError> {
        self.encoder.run(rows, self.pixels, pixels, latents)
    }

    fn decode(&mut self, rows: usize, latents: &[f32], pixels: &mut [f32]) -> Result<(), BackendError> {
        self.decoder.run(rows, self.latents, latents, pixels)
    }
}
