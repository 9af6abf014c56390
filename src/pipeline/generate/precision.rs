//! Which of a pack's precisions runs here: measured when the pack is opened, because whether INT8
//! beats float32 depends on the processor's instructions.
//!
//! | | |
//! |---|---|
//! | GPU | half, else single |
//! | processor | single, unless INT8 takes less than [`CLEARLY_FASTER`] of its time |
//! | a seed was given | single: a run that is to be repeated must not hang on a clock |

use std::collections::BTreeMap;
use std::time::Instant;

use crate::backend::{Backend, Device, Input, Network};
use crate::pack::{Pack, Precision};

use super::super::engine::EngineError;
use super::super::networks::network;
use super::super::settings::PrecisionChoice;
use super::diffuse::stage;

/// INT8 rounds; for less gain than this it is not worth it.
const CLEARLY_FASTER: f64 = 0.75;
/// Runs of each, of which the fastest counts: others only measure what else the machine does.
const RUNS: usize = 3;

/// Loads the denoiser's file of the precision asked for, or the best one here.
pub(super) fn denoiser(backend: &Backend, pack: &Pack, choice: PrecisionChoice, seeded: bool) -> Result<Network, EngineError> {
    let files = &pack.manifest().denoiser.files;
    let load = |p: Precision| named(files, p).map(|name| network(backend, pack, name)).transpose();
    let wanted = match choice {
        PrecisionChoice::Fp32 => Some(Precision::Fp32),
        PrecisionChoice::Fp16 => Some(Precision::Fp16),
        PrecisionChoice::Int8 => Some(Precision::Int8),
        PrecisionChoice::Auto => None,
    };
    if let Some(precision) = wanted {
        return load(precision)?.ok_or_else(|| {
            stage(format!(
                "precision: expected one of the pack's ({}), got {choice}",
                files.keys().map(|p| format!("{p:?}").to_lowercase()).collect::<Vec<_>>().join(", ")
            ))
        });
    }
    let on_gpu = backend.device().device != Device::Cpu;
    let order = if on_gpu {
        [Precision::Fp16, Precision::Fp32, Precision::Int8]
    } else {
        [Precision::Fp32, Precision::Int8, Precision::Fp16]
    };
    let Some(first) = order.into_iter().find(|p| files.contains_key(p)) else {
        return Err(stage("expected a file of the denoiser, got none"));
    };
    let mut best = load(first)?.ok_or_else(|| stage("expected a file of the denoiser, got none"))?;
    if on_gpu || seeded || first != Precision::Fp32 {
        return Ok(best);
    }
    let Some(mut quantised) = load(Precision::Int8)? else {
        return Ok(best);
    };
    let name = |p| named(files, p).unwrap_or_default();
    let (single, int8) = (
        seconds(pack, name(Precision::Fp32), &mut best)?,
        seconds(pack, name(Precision::Int8), &mut quantised)?,
    );
    let takes_int8 = int8 < single * CLEARLY_FASTER;
    tracing::info!(single_ms = single * 1e3, int8_ms = int8 * 1e3, takes_int8, "denoiser's precision");
    Ok(if takes_int8 { quantised } else { best })
}

fn named(files: &BTreeMap<Precision, String>, precision: Precision) -> Option<&str> {
    files.get(&precision).map(String::as_str)
}

/// The fastest of some runs on one row of zeros.
fn seconds(pack: &Pack, name: &str, network: &mut Network) -> Result<f64, EngineError> {
    let file = pack.manifest().files.get(name);
    let shapes: Vec<(String, Vec<usize>)> = file
        .map(|f| f.inputs.as_slice())
        .unwrap_or_default()
        .iter()
        .map(|t| {
            (
                t.name.clone(),
                t.shape
                    .iter()
                    .map(|d| if let crate::pack::Dim::Fixed(n) = d { *n as usize } else { 1 })
                    .collect(),
            )
        })
        .collect();
    let zeros: Vec<Vec<f32>> = shapes.iter().map(|(_, s)| vec![0.0; s.iter().product()]).collect();
    let inputs: Vec<Input<'_>> = shapes
        .iter()
        .zip(&zeros)
        .map(|((name, shape), values)| Input { name, shape, values })
        .collect();
    let mut out = vec![0.0; pack.row_shape().latent_len()];
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let started = Instant::now();
        network.run(&inputs, &pack.manifest().denoiser.output, &mut out).map_err(stage)?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}
