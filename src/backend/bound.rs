//! A network run on buffers of a device: nothing of its inputs and outputs crosses the bus.
//!
//! | | |
//! |---|---|
//! | inputs, output | parts of [`Buffer`]s on the device that the network runs on, bound by address |
//! | waiting | none where the network runs on the device's stream ([`super::stream`]): the output is then in stream order, and faults show at the next wait. Else our stream before the run, and the runtime at its end |
//! | errors | parts beyond a buffer's end, a buffer of another device, a network elsewhere, the runtime's |
//!
//! Why raw binding: in this version of the binding, `bind_input` with a borrowed tensor on the session's own
//! device copies through a session of its own, and hangs. The raw call neither copies nor hangs.

use std::ffi::CString;

use nullface_kernels::cuda::{Buffer, Gpu};
use ort::AsPointer;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, RunOptions};
use ort::value::{Shape, TensorRefMut};

use super::stream::GRAPH;
use super::{BackendError, Device, Network};

/// A part of a buffer under a name.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// Input's name.
    pub name: &'a str,
    /// Sides.
    pub shape: &'a [usize],
    /// Buffer.
    pub buffer: &'a Buffer<f32>,
    /// First value.
    pub start: usize,
}

impl<'a> Bound<'a> {
    fn address(&self) -> u64 {
        self.buffer.address() + (self.start * size_of::<f32>()) as u64
    }

    fn tensor(&self, gpu: &Gpu) -> Result<TensorRefMut<'a, f32>, String> {
        tensor_of(gpu, self.name, self.shape, self.buffer, self.start)
    }
}

/// Values of a buffer from `start` on as the runtime takes them.
pub(super) fn tensor_of<'a>(
    gpu: &Gpu,
    name: &str,
    shape: &[usize],
    buffer: &'a Buffer<f32>,
    start: usize,
) -> Result<TensorRefMut<'a, f32>, String> {
    let values: usize = shape.iter().product();
    let fits = start.checked_add(values).is_some_and(|end| end <= buffer.len());
    if !fits || values == 0 {
        return Err(format!(
            "{name}: expected {values} values from {start}, got a buffer of {}",
            buffer.len()
        ));
    }
    let address = buffer.address() + (start * size_of::<f32>()) as u64;
    let sides = Shape::new(shape.iter().map(|d| *d as i64));
    // SAFETY: the address is of at least `values` floats of that device by the check above; the buffer
    // outlives the tensor, which borrows it.
    unsafe { TensorRefMut::from_raw(memory_of(gpu)?, address as *mut std::ffi::c_void, sides) }.map_err(|e| e.to_string())
}

/// What the runtime calls a device's memory.
fn memory_of(gpu: &Gpu) -> Result<MemoryInfo<'_>, String> {
    let (device, number) = if gpu.is_host_memory() {
        (AllocationDevice::CPU, 0)
    } else {
        (AllocationDevice::CUDA, i32::try_from(gpu.info().ordinal).unwrap_or(i32::MAX))
    };
    MemoryInfo::new(device, number, AllocatorType::Device, MemoryType::Default).map_err(|e| e.to_string())
}

/// Whether buffers of `gpu` are where a network on `device` looks for its own.
pub(super) fn is_there(gpu: &Gpu, device: Device) -> bool {
    match device {
        Device::Cpu => gpu.is_host_memory(),
        Device::Cuda { ordinal } | Device::TensorRt { ordinal } | Device::TensorRtRtx { ordinal } => {
            !gpu.is_host_memory() && ordinal == gpu.info().ordinal
        }
    }
}

/// Binds an input without the copy of the safe call.
fn bind(binding: &IoBinding, name: &str, tensor: &TensorRefMut<'_, f32>) -> Result<(), String> {
    let text = CString::new(name).map_err(|e| e.to_string())?;
    // SAFETY: binding and value live; the runtime keeps a reference of its own to the value.
    let status = unsafe { (ort::api().BindInput)(binding.ptr().cast_mut(), text.as_ptr(), tensor.ptr()) };
    // SAFETY: the status came from the call just now and is consumed here.
    unsafe { ort::Error::result_from_status(status) }.map_err(|e| format!("{name}: {e}"))
}

impl Network {
    /// Runs once on buffers of `gpu`; the named output is written where `output` says.
    ///
    /// # Errors
    /// [`BackendError::Run`] as the table above says; `output` is then without meaning.
    pub fn run_bound(&mut self, gpu: &Gpu, inputs: &[Bound<'_>], output: Bound<'_>) -> Result<(), BackendError> {
        let here = self.device();
        let model = self.name().to_owned();
        let wrong = |why: String| BackendError::Run { model: model.clone(), why };
        if !is_there(gpu, here) {
            return Err(wrong(format!("expected buffers on {here}, got them on {}", gpu.place())));
        }
        for bound in inputs.iter().chain([&output]) {
            if !bound.buffer.gpu().is_same(gpu) {
                return Err(wrong(format!(
                    "{}: expected a buffer of {}, got one of another device",
                    bound.name,
                    gpu.place()
                )));
            }
        }
        if !self.is_in_order_with(gpu) {
            gpu.wait().map_err(|e| wrong(e.to_string()))?;
        }
        let operands = inputs.iter().chain([&output]).map(|b| (b.address(), b.shape.to_vec())).collect();
        let mut graph = None;
        let ran = self.with_session(|session| {
            graph = session.graph_of(operands, &model);
            let text = |e: ort::Error| e.to_string();
            let mut binding = session.create_binding().map_err(text)?;
            let tensors = inputs.iter().map(|b| b.tensor(gpu)).collect::<Result<Vec<_>, _>>()?;
            for (input, tensor) in inputs.iter().zip(&tensors) {
                bind(&binding, input.name, tensor)?;
            }
            binding.bind_output(output.name, output.tensor(gpu)?).map_err(text)?;
            let mut options = RunOptions::new().map_err(text)?;
            if let Some(number) = graph {
                options.set(GRAPH, number.to_string()).map_err(text)?;
            } else if session.shares_stream_of(gpu) {
                options.disable_device_sync().map_err(text)?;
            }
            session.run_binding_with_options(&binding, &options).map(|_| ()).map_err(text)
        });
        if let (Err(why), Some(1..)) = (&ran, graph) {
            self.graph_failed(why);
        }
        ran.map_err(wrong)
    }
}
