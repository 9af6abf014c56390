//! Networks on our own stream: what our kernels queue and what a network queues is then in one order, and neither
//! waits for the other.
//!
//! | provider | stream |
//! |---|---|
//! | CUDA, TensorRT | ours, told by the option `user_compute_stream`; where our own device cannot be opened, the runtime's |
//! | TensorRT-RTX (plugin), the processor, networks with CUDA graphs | their own |
//!
//! | | |
//! |---|---|
//! | lifetime | a session holds the device whose stream it was built on, and ends before it |
//! | a lost device | is opened anew with a new stream: until a session is built again its stream is another one, and our work is waited for before it runs |
//! | outputs on the device | of a session on our stream are in stream order: its run does not wait; faults show at the next wait |
//! | outputs in the processor's memory | the runtime waits at the run's end, once: what decides needs them |

use std::ffi::c_void;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use nullface_kernels::cuda::Gpu;
use ort::session::{RunOptions, SessionInputs, SessionOutputs};

use super::graphs::{Graphs, Operands};

/// Gives the device whose stream a session is to run on; none = the runtime's own stream.
#[derive(Clone)]
pub(super) struct Streams(Arc<dyn Fn() -> Option<Gpu> + Send + Sync>);

impl Streams {
    pub(super) fn new(open: impl Fn() -> Option<Gpu> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    /// The device in use now.
    pub(super) fn gpu(&self) -> Option<Gpu> {
        (self.0)().filter(|gpu| gpu.stream().is_some())
    }
}

/// The runtime's option that names a run's graph.
pub(super) const GRAPH: &str = "gpu_graph_id";

/// A session and the device whose stream it runs on.
pub(super) struct Streamed {
    /// Ends first: it runs on the stream of what follows.
    session: ort::session::Session,
    gpu: Option<Gpu>,
    /// Where the runtime captures CUDA graphs of its runs: those it has, and the options of a run without.
    graphs: Option<(Graphs, RunOptions)>,
}

impl Streamed {
    /// On the stream of `gpu`.
    pub(super) fn on(session: ort::session::Session, gpu: Option<Gpu>) -> Self {
        Self {
            session,
            gpu,
            graphs: None,
        }
    }

    /// On the runtime's own stream, with CUDA graphs.
    pub(super) fn with_graphs(session: ort::session::Session) -> ort::Result<Self> {
        let mut plainly = RunOptions::new()?;
        plainly.set(GRAPH, "-1")?;
        Ok(Self {
            session,
            gpu: None,
            graphs: Some((Graphs::default(), plainly)),
        })
    }

    /// The number of the CUDA graph for a run on these operands; −1 = without one, none = the session has none.
    pub(super) fn graph_of(&mut self, operands: Operands, name: &str) -> Option<i64> {
        self.graphs.as_mut().map(|(graphs, _)| graphs.number(operands, name))
    }

    /// A run with a graph failed: from now on there are none.
    pub(super) fn give_up_graphs(&mut self, why: &str, name: &str) {
        if let Some((graphs, _)) = &mut self.graphs {
            graphs.give_up(why, name);
        }
    }

    /// Runs on inputs that may be in the processor's memory: never by a graph, which would hold their addresses.
    pub(super) fn run_plainly<'s, 'i, 'v: 'i, const N: usize>(
        &'s mut self,
        inputs: impl Into<SessionInputs<'i, 'v, N>>,
    ) -> ort::Result<SessionOutputs<'s>> {
        match &self.graphs {
            None => self.session.run(inputs),
            Some((_, plainly)) => self.session.run_with_options(inputs, plainly),
        }
    }

    /// Whether what is queued on `gpu` is done before a run reads it, without a wait.
    pub(super) fn is_in_order_with(&self, gpu: &Gpu) -> bool {
        gpu.is_immediate() || self.shares_stream_of(gpu)
    }

    /// Whether it runs on the stream of `gpu`.
    pub(super) fn shares_stream_of(&self, gpu: &Gpu) -> bool {
        self.gpu.as_ref().is_some_and(|own| own.is_same(gpu))
    }
}

impl Deref for Streamed {
    type Target = ort::session::Session;

    fn deref(&self) -> &Self::Target {
        &self.session
    }
}

impl DerefMut for Streamed {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.session
    }
}

/// The stream of a device as providers take it.
pub(super) fn pointer(gpu: Option<&Gpu>) -> Option<NonNull<c_void>> {
    gpu.and_then(Gpu::stream)
}
