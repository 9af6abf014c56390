//! Building a session for a device: its providers, the stream that it runs on, CUDA graphs where they are asked for.

use std::path::PathBuf;

use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;

use super::device::Device;
use super::providers::{Graph, Stream, register, with_fresh_engines};
use super::runtime::Runtime;
use super::stream::{self, Streamed, Streams};

/// A network's session on a device.
pub(super) fn build(runtime: &Runtime, graph: &Graph<'_>, device: Device, threads: usize, streams: &Streams) -> ort::Result<Streamed> {
    let replays = graph.replays && matches!(device, Device::Cuda { .. });
    if replays {
        match build_on(runtime, graph, device, threads, None) {
            Ok(session) => return Streamed::with_graphs(session),
            Err(e) => tracing::warn!(network = graph.name, error = %e, "no CUDA graphs of this network; it runs without"),
        }
    }
    let gpu = match device {
        Device::Cuda { .. } | Device::TensorRt { .. } => streams.gpu(),
        Device::Cpu | Device::TensorRtRtx { .. } => None,
    };
    let plain = Graph { replays: false, ..*graph };
    let session = build_on(runtime, &plain, device, threads, stream::pointer(gpu.as_ref()))?;
    Ok(Streamed::on(session, gpu))
}

fn build_on(runtime: &Runtime, graph: &Graph<'_>, device: Device, threads: usize, stream: Stream) -> ort::Result<ort::session::Session> {
    with_fresh_engines(|| {
        let mut folder = None;
        build_once(runtime, graph, device, (threads, stream), &mut folder)
            .map(|built| (built, folder.clone()))
            .map_err(|e| (e, folder))
    })
}

fn build_once(
    runtime: &Runtime,
    graph: &Graph<'_>,
    device: Device,
    (threads, stream): (usize, Stream),
    engines: &mut Option<PathBuf>,
) -> ort::Result<ort::session::Session> {
    // The builder's own error type is not `Send`: `?` turns it into `ort::Error` first.
    let mut builder = ort::session::Session::builder(&runtime.environment)?
        .with_log_level(LogLevel::Error)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_memory_pattern(false)?
        .with_env_allocators()?;
    if let Some(data) = graph.data {
        builder = builder.with_external_initializer_file_in_memory(&data.name, data.bytes.clone())?;
    }
    if threads != 0 && threads != runtime.threads() {
        builder = builder
            .with_independent_thread_pool()?
            .with_intra_threads(threads)?
            .with_intra_op_spinning(false)?;
    }
    (builder, *engines) = register(builder, runtime, graph, device, stream)?;
    builder.commit_from_memory(graph.bytes)
}
