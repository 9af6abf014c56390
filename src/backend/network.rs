//! A network with several named inputs, as packs bring them. [`super::Session`] is for the small models,
//! which have one.
//!
//! Inputs are borrowed for the run, nothing is copied on the way in. Names, shapes and dtypes are told by
//! [`Network::inputs`] and [`Network::outputs`], so that a pack can hold them against its manifest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ort::value::{TensorElementType, TensorRef, ValueType};

use nullface_kernels::crop::CropSpec;
use nullface_kernels::cuda::Gpu;

use super::BackendError;
use super::bound::is_there;
use super::build::build;
use super::crops::{CropError, DeviceInput, by_processor, resident_on, shape_of};
use super::device::Device;
use super::graphs;
use super::lifeline::{Lifeline, Place};
use super::providers::Graph;
use super::runtime::Runtime;
use super::stream::Streamed;
use crate::frame::{Affine, FrameView};

/// One input of a run.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Name.
    pub name: &'a str,
    /// Sides.
    pub shape: &'a [usize],
    /// Values, row-major.
    pub values: &'a [f32],
}

/// Name, sides (−1 where free) and whether values are `float32`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlet {
    /// Name.
    pub name: String,
    /// Sides.
    pub shape: Vec<i64>,
    /// Whether values are `float32`.
    pub is_f32: bool,
}

/// Weights of a graph that is too large for one file.
#[derive(Debug, Clone)]
pub struct ExternalData {
    /// The name that the graph has for the file.
    pub name: String,
    /// Its bytes, verified.
    pub bytes: Arc<[u8]>,
}

/// A network's verified file and what is known of it.
#[derive(Debug, Clone)]
pub struct NetworkSource {
    /// Name, for messages.
    pub name: String,
    /// The file.
    pub bytes: Arc<[u8]>,
    /// Weights beside it.
    pub data: Option<ExternalData>,
    /// Inputs with their sides, −1 where free; empty where nothing is known.
    pub inputs: Vec<(String, Vec<i64>)>,
    /// Whether a device may round to half precision.
    pub half: bool,
    /// Whether it runs again and again on the same buffers, so that CUDA graphs may be captured of it where they are
    /// asked for.
    pub replays: bool,
}

/// A network ready to run.
pub struct Network {
    inner: Lifeline<Streamed>,
    name: String,
    there: DeviceInput,
    /// Crops where the processor makes them.
    here: Vec<f32>,
    /// Whether the next build may have graphs.
    may_replay: Arc<AtomicBool>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Network {
    /// Loads verified bytes.
    pub(super) fn load(runtime: &'static Runtime, source: NetworkSource, place: &Place<'_>) -> Result<Self, BackendError> {
        let (name, threads, streams) = (source.name.clone(), place.threads, place.streams.clone());
        let may_replay = Arc::new(AtomicBool::new(source.replays && graphs::asked()));
        let wanted = may_replay.clone();
        let build = Box::new(move |device| {
            let graph = Graph {
                name: &source.name,
                bytes: &source.bytes,
                data: source.data.as_ref(),
                inputs: &source.inputs,
                half: source.half,
                replays: wanted.load(Ordering::Acquire),
            };
            build(runtime, &graph, device, threads, &streams).map_err(|e| e.to_string())
        });
        let inner = Lifeline::start(&name, place, build).map_err(|e| BackendError::Run {
            model: name.clone(),
            why: format!("does not load on {}: {e}", place.device.device),
        })?;
        Ok(Self {
            inner,
            name,
            there: DeviceInput::default(),
            here: Vec::new(),
            may_replay,
        })
    }

    /// The inputs.
    #[must_use]
    pub fn inputs(&self) -> Vec<Outlet> {
        self.inner.current().inputs().iter().map(|o| outlet(o.name(), o.dtype())).collect()
    }

    /// The outputs.
    #[must_use]
    pub fn outputs(&self) -> Vec<Outlet> {
        self.inner.current().outputs().iter().map(|o| outlet(o.name(), o.dtype())).collect()
    }

    /// Runs once; the named output goes to `out`.
    ///
    /// # Errors
    /// [`BackendError::Run`], or [`BackendError::Shape`] where the output has another length or type.
    pub fn run(&mut self, inputs: &[Input<'_>], output: &str, out: &mut [f32]) -> Result<(), BackendError> {
        let run = |why: String| BackendError::Run {
            model: self.name.clone(),
            why,
        };
        let mut values: Vec<(&str, ort::session::SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
        for input in inputs {
            let tensor = TensorRef::from_array_view((input.shape.to_vec(), input.values))
                .map_err(|e| run(format!("input {} {:?}: {e}", input.name, input.shape)))?;
            values.push((input.name, tensor.into()));
        }
        let model = self.name.clone();
        let failed = match self.inner.ready() {
            Err(lost) => lost,
            Ok(network) => match network.run_plainly(values) {
                Ok(outputs) => return take(&outputs, &model, output, out),
                Err(e) => e.to_string(),
            },
        };
        self.inner.failed(&failed);
        Err(BackendError::Run { model, why: failed })
    }

    /// Runs once on crops of a frame, one a map, made by the processor or, where frame and network are there, on the
    /// device; the named output goes to `out`.
    ///
    /// # Errors
    /// As [`Self::run`], and [`CropError`] for a map or a size that cannot be.
    pub fn run_on_crops(
        &mut self,
        (frame, maps, spec): (&FrameView<'_>, &[Affine], &CropSpec),
        input: &str,
        output: &str,
        out: &mut [f32],
    ) -> Result<(), CropError> {
        let shape = shape_of(spec, maps.len());
        let resident = resident_on(frame, self.device()).filter(|_| self.inner.is_well());
        let Some(resident) = resident else {
            let mut values = std::mem::take(&mut self.here);
            values.resize(shape.iter().product(), 0.0);
            let made = by_processor(frame, maps, spec, &mut values).map_err(CropError::from);
            let input = Input {
                name: input,
                shape: &shape,
                values: &values,
            };
            let ran = made.and_then(|()| Ok(self.run(&[input], output, out)?));
            self.here = values;
            return ran;
        };
        let in_order = self.inner.current().is_in_order_with(resident.gpu());
        let made = self.there.fill(resident, frame, maps, spec, in_order);
        made.map_err(|e| CropError::on_device(&self.name, e))?;
        let run = |why: String| BackendError::Run {
            model: self.name.clone(),
            why,
        };
        let crops = self.there.tensor(&shape).map_err(&run)?;
        let failed = match self.inner.ready() {
            Err(lost) => lost,
            Ok(network) => match network.run_plainly(ort::inputs![input => crops]) {
                Ok(outputs) => return Ok(take(&outputs, &self.name, output, out)?),
                Err(e) => e.to_string(),
            },
        };
        self.inner.failed(&failed);
        Err(run(failed).into())
    }

    /// Name for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs something on the session; a fault of the device counts as one.
    pub(super) fn with_session<T>(&mut self, run: impl FnOnce(&mut Streamed) -> Result<T, String>) -> Result<T, String> {
        let result = self.inner.ready().and_then(run);
        if let Err(why) = &result {
            self.inner.failed(why);
        }
        result
    }

    /// A run with a graph failed: there are none from now on, and none if the network is built anew.
    pub(super) fn graph_failed(&mut self, why: &str) {
        self.may_replay.store(false, Ordering::Release);
        self.inner.current_mut().give_up_graphs(why, &self.name);
    }

    /// Whether what is queued on `gpu` is done before a run reads it, without a wait.
    pub(super) fn is_in_order_with(&self, gpu: &Gpu) -> bool {
        // One that was lost is built again before it runs, perhaps on another stream.
        self.inner.is_well() && self.inner.current().is_in_order_with(gpu)
    }

    /// Whether crops of what `gpu` has are made there.
    #[must_use]
    pub fn reads_on(&self, gpu: &Gpu) -> bool {
        self.inner.is_well() && is_there(gpu, self.device())
    }

    /// Where it really runs.
    #[must_use]
    pub fn device(&self) -> Device {
        self.inner.device()
    }
}

/// Copies the named output.
fn take(outputs: &ort::session::SessionOutputs<'_>, model: &str, output: &str, out: &mut [f32]) -> Result<(), BackendError> {
    {
        let wrong = |got: String| BackendError::Shape {
            model: model.to_owned(),
            output: output.to_owned(),
            expected: format!("{} float32 values", out.len()),
            got,
        };
        let value = outputs.get(output).ok_or_else(|| wrong("nothing".to_owned()))?;
        let (shape, data) = value.try_extract_tensor::<f32>().map_err(|e| wrong(e.to_string()))?;
        if data.len() != out.len() {
            return Err(wrong(format!("{shape:?}")));
        }
        out.copy_from_slice(data);
        Ok(())
    }
}

fn outlet(name: &str, dtype: &ValueType) -> Outlet {
    let (shape, is_f32) = match dtype {
        ValueType::Tensor { ty, shape, .. } => (shape.iter().copied().collect(), *ty == TensorElementType::Float32),
        _ => (Vec::new(), false),
    };
    Outlet {
        name: name.to_owned(),
        shape,
        is_f32,
    }
}
