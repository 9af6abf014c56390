//! Execution providers of ONNX Runtime: options, caches and shape profiles for each device.
//!
//! | device | providers, in order | options |
//! |---|---|---|
//! | `cpu` | – | – |
//! | `cuda` | CUDA | our own stream ([`super::stream`]); arena grows by what is asked for, so that a big pack fits; best convolutions searched once |
//! | `tensorrt` | TensorRT, then CUDA for what it does not take | FP16 for a pack's networks, engine and timing cache, batches 1 to [`BATCH`] |
//! | `tensorrt-rtx` | the plugin provider's devices | runtime cache, batches 1 to [`BATCH`] |
//!
//! A provider that does not register is an error; who asked for `auto` then gets the processor, told with
//! its reason. FP16 never reaches detector, mesh and recogniser: what verifies is not rounded.
//!
//! Caches lie under the user's cache folder, in a folder named by runtime version and the network's hash, so
//! that an engine is never taken for another network. An engine that does not load is deleted with its folder
//! and built again, once.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use ort::session::builder::SessionBuilder;
use sha2::{Digest, Sha256};

use super::device::Device;
use super::network::ExternalData;
use super::runtime::Runtime;

/// Largest batch of the shape profiles; what is larger is cut into several runs.
pub const BATCH: i64 = 16;
/// Batch that engines are tuned for: reference and conditional rows of two faces.
const TUNED: i64 = 4;
/// Name under which the TensorRT-RTX plugin is registered.
const RTX: &str = "NvTensorRTRTXExecutionProvider";

/// A network's file and what providers must know of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Graph<'a> {
    /// Name, for messages.
    pub(super) name: &'a str,
    /// The file.
    pub(super) bytes: &'a [u8],
    /// Weights beside it.
    pub(super) data: Option<&'a ExternalData>,
    /// Inputs as the manifest has them, −1 where free; empty where nothing is known.
    pub(super) inputs: &'a [(String, Vec<i64>)],
    /// Whether half precision will do.
    pub(super) half: bool,
    /// Whether the CUDA provider captures graphs of its runs.
    pub(super) replays: bool,
}

/// Shapes of all inputs at the smallest, the tuned and the largest batch, in the providers' words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Profiles {
    least: String,
    tuned: String,
    most: String,
}

impl Profiles {
    /// `None` where a side besides the batch is free, or nothing is free: the provider then finds its own.
    fn of(inputs: &[(String, Vec<i64>)]) -> Option<Self> {
        let only_batch = |shape: &[i64]| shape.iter().skip(1).all(|d| *d > 0);
        if inputs.is_empty() || !inputs.iter().all(|(_, s)| only_batch(s)) || !inputs.iter().any(|(_, s)| s.first() == Some(&-1)) {
            return None;
        }
        let at = |batch: i64| {
            let one = |(name, shape): &(String, Vec<i64>)| {
                let sides: Vec<String> = shape.iter().map(|d| if *d < 0 { batch } else { *d }.to_string()).collect();
                format!("{name}:{}", sides.join("x"))
            };
            inputs.iter().map(one).collect::<Vec<_>>().join(",")
        };
        Some(Self {
            least: at(1),
            tuned: at(TUNED),
            most: at(BATCH),
        })
    }
}

/// The folder of a network's engines; `None` where the user has no cache folder.
fn engine_dir(root: Option<PathBuf>, provider: &str, runtime: &str, graph: &Graph<'_>) -> Option<PathBuf> {
    let mut hash = Sha256::new();
    hash.update(graph.bytes);
    if let Some(data) = graph.data {
        hash.update(&data.bytes);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let hex: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    let precision = if graph.half { "half" } else { "full" };
    Some(
        root?
            .join(provider)
            .join(format!("ort-{runtime}"))
            .join(format!("{hex}-{precision}")),
    )
}

fn ordinal(o: u32) -> i32 {
    i32::try_from(o).unwrap_or(i32::MAX)
}

/// A stream of our own, none = the provider's.
pub(super) type Stream = Option<NonNull<c_void>>;

fn cuda(o: u32, stream: Stream, replays: bool) -> ort::ep::ExecutionProviderDispatch {
    let mut ep = ort::ep::CUDA::default()
        .with_device_id(ordinal(o))
        .with_arena_extend_strategy(ort::ep::ArenaExtendStrategy::SameAsRequested);
    if replays {
        ep = ep.with_cuda_graph(true);
    }
    if let Some(stream) = stream {
        // SAFETY: `Streamed` keeps the stream's device for longer than the session.
        ep = unsafe { ep.with_compute_stream(stream.as_ptr().cast()) };
    }
    ep.build().error_on_failure()
}

fn tensorrt(o: u32, graph: &Graph<'_>, cache: Option<&Path>, stream: Stream) -> ort::ep::ExecutionProviderDispatch {
    let mut ep = ort::ep::TensorRT::default().with_device_id(ordinal(o)).with_fp16(graph.half);
    if let Some(stream) = stream {
        // SAFETY: as in `cuda`.
        ep = unsafe { ep.with_compute_stream(stream.as_ptr().cast()) };
    }
    if let Some(cache) = cache {
        let path = cache.display();
        ep = ep
            .with_engine_cache(true)
            .with_engine_cache_path(path)
            .with_timing_cache(true)
            .with_timing_cache_path(cache.parent().unwrap_or(cache).display());
    }
    if let Some(p) = Profiles::of(graph.inputs) {
        ep = ep
            .with_profile_min_shapes(p.least)
            .with_profile_opt_shapes(p.tuned)
            .with_profile_max_shapes(p.most);
    }
    ep.build().error_on_failure()
}

/// Puts a device's providers into a session's options. The folder of engines comes back where one is used.
pub(super) fn register(
    builder: SessionBuilder,
    runtime: &Runtime,
    graph: &Graph<'_>,
    device: Device,
    stream: Stream,
) -> ort::Result<(SessionBuilder, Option<PathBuf>)> {
    let cache = |provider| {
        let folder = engine_dir(nullface_kernels::cuda::cache::cache_dir(), provider, runtime.version(), graph)?;
        match std::fs::create_dir_all(&folder) {
            Ok(()) => Some(folder),
            Err(e) => {
                tracing::warn!(folder = %folder.display(), error = %e, "engines cannot be kept");
                None
            }
        }
    };
    match device {
        Device::Cpu => Ok((builder, None)),
        Device::Cuda { ordinal } => Ok((builder.with_execution_providers([cuda(ordinal, stream, graph.replays)])?, None)),
        Device::TensorRt { ordinal } => {
            let folder = cache("tensorrt");
            announce(graph, folder.as_deref());
            let builder =
                builder.with_execution_providers([tensorrt(ordinal, graph, folder.as_deref(), stream), cuda(ordinal, stream, false)])?;
            Ok((builder, folder))
        }
        Device::TensorRtRtx { ordinal } => {
            let folder = cache("tensorrt-rtx");
            announce(graph, folder.as_deref());
            Ok((rtx(builder, runtime, graph, ordinal, folder.as_deref())?, folder))
        }
    }
}

/// Building takes minutes: say so before, not after.
fn announce(graph: &Graph<'_>, folder: Option<&Path>) {
    let kept = folder
        .and_then(|f| std::fs::read_dir(f).ok())
        .is_some_and(|mut f| f.next().is_some());
    if !kept {
        tracing::info!(
            network = graph.name,
            "building an engine for this GPU; this takes minutes, and is kept"
        );
    }
}

fn rtx(builder: SessionBuilder, runtime: &Runtime, graph: &Graph<'_>, number: u32, cache: Option<&Path>) -> ort::Result<SessionBuilder> {
    let library = super::device::rtx_plugin(runtime).ok_or_else(|| ort::Error::new("the TensorRT-RTX plugin's library was not found"))?;
    let found = || runtime.environment.devices().filter(|d| d.ep().is_ok_and(|name| name == RTX));
    if found().next().is_none() {
        runtime.environment.register_ep_library(RTX, &library)?;
    }
    let mut options = Vec::new();
    let mut set = |key: &str, value: String| options.push((format!("{RTX}.{key}"), value));
    if let Some(cache) = cache {
        set("nv_runtime_cache_path", cache.display().to_string());
    }
    if let Some(p) = Profiles::of(graph.inputs) {
        set("nv_profile_min_shapes", p.least);
        set("nv_profile_opt_shapes", p.tuned);
        set("nv_profile_max_shapes", p.most);
    }
    let chosen: Vec<_> = found().skip(number as usize).take(1).collect();
    if chosen.is_empty() {
        return Err(ort::Error::new(format!("the TensorRT-RTX plugin knows no device {number}")));
    }
    Ok(builder.with_devices(chosen, Some(&options))?)
}

/// Runs a build; where it fails with engines kept from earlier, they are deleted and it is run once more.
pub(super) fn with_fresh_engines<T, E: std::fmt::Display>(
    mut build: impl FnMut() -> Result<(T, Option<PathBuf>), (E, Option<PathBuf>)>,
) -> Result<T, E> {
    match build() {
        Ok((built, _)) => Ok(built),
        Err((error, folder)) => {
            let kept = folder.filter(|f| std::fs::read_dir(f).is_ok_and(|mut f| f.next().is_some()));
            let Some(folder) = kept else { return Err(error) };
            tracing::warn!(folder = %folder.display(), error = %error, "kept engines do not load; they are built again");
            if let Err(e) = std::fs::remove_dir_all(&folder) {
                tracing::warn!(folder = %folder.display(), error = %e, "kept engines cannot be deleted");
                return Err(error);
            }
            build().map(|(built, _)| built).map_err(|(e, _)| e)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Graph, Profiles, engine_dir, with_fresh_engines};

    fn inputs(list: &[(&str, &[i64])]) -> Vec<(String, Vec<i64>)> {
        list.iter().map(|(n, s)| ((*n).to_owned(), s.to_vec())).collect()
    }

    #[test]
    fn profiles_reach_from_one_row_to_sixteen_and_want_all_other_sides() {
        let got = Profiles::of(&inputs(&[("x", &[-1, 4, 64, 64]), ("time", &[-1]), ("table", &[3, 2])])).expect("profiles");
        assert_eq!(got.least, "x:1x4x64x64,time:1,table:3x2");
        assert_eq!(got.tuned, "x:4x4x64x64,time:4,table:3x2");
        assert_eq!(got.most, "x:16x4x64x64,time:16,table:3x2");
        assert_eq!(
            Profiles::of(&inputs(&[("image", &[1, 3, -1, -1])])),
            None,
            "a detector's sides are free"
        );
        assert_eq!(Profiles::of(&inputs(&[("x", &[1, 3])])), None, "nothing is free");
        assert_eq!(Profiles::of(&[]), None, "nothing is known");
    }

    #[test]
    fn engines_of_another_network_runtime_or_precision_lie_elsewhere() {
        let graph = |bytes, half| Graph {
            name: "n",
            bytes,
            data: None,
            inputs: &[],
            half,
            replays: false,
        };
        let at = |runtime, g: &Graph<'_>| engine_dir(Some("/cache".into()), "tensorrt", runtime, g).expect("a folder");
        let one = at("1.24.4", &graph(b"a", true));
        assert!(one.starts_with("/cache/tensorrt/ort-1.24.4"), "{one:?}");
        for other in [
            at("1.25.0", &graph(b"a", true)),
            at("1.24.4", &graph(b"b", true)),
            at("1.24.4", &graph(b"a", false)),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(engine_dir(None, "tensorrt", "1", &graph(b"a", true)), None);
    }

    #[test]
    fn engines_that_do_not_load_are_deleted_once_and_other_failures_are_not_repeated() {
        let root = tempfile::tempdir().expect("folder");
        let folder = root.path().join("engines");
        let mut runs = 0;
        let mut build = |good_when_empty: bool| {
            with_fresh_engines(|| {
                runs += 1;
                std::fs::create_dir_all(&folder).expect("folder");
                let empty = std::fs::read_dir(&folder).expect("listed").next().is_none();
                if empty && good_when_empty {
                    Ok(((), Some(folder.clone())))
                } else {
                    Err(("does not load", Some(folder.clone())))
                }
            })
        };
        assert_eq!(build(false), Err("does not load"), "nothing kept: no second try");
        std::fs::write(folder.join("x.engine"), b"truncated").expect("written");
        assert_eq!(build(true), Ok(()));
        std::fs::write(folder.join("x.engine"), b"truncated").expect("written");
        assert_eq!(build(false), Err("does not load"));
        assert_eq!(runs, 1 + 2 + 2);
    }
}
