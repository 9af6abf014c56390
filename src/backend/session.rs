//! One network, loaded and checked, with its input buffer kept between runs.
//!
//! | step | checked |
//! |---|---|
//! | load | bytes by the manifest; names, element types and shapes of inputs and outputs against it |
//! | [`Session::input`] | one input, `float32`; the buffer is reused while the shape stays |
//! | [`Session::crops`] | the same buffer filled with crops of a frame, or one on the device where the frame is there ([`super::crops`]) |
//! | [`Session::run`] | the number of outputs |
//! | [`Session::output`] | element type and exact shape; numbers are the caller's to check ([`first_not_finite`]) |
//!
//! Outputs lie in ONNX Runtime's arena, which hands the same memory out again in the next run, so a
//! run with an unchanged shape allocates nothing from the system. Memory patterns (one block planned a
//! shape) are off: with detector passes of three sizes they raised the peak from 266 to 450 MB and did
//! not save time. Residency: outputs in the processor's memory, the input too unless it is crops of a frame
//! that is on the network's device; the runtime copies for GPU providers.

use std::sync::Arc;

use ort::memory::Allocator;
use ort::session::SessionInputValue;
use ort::value::{DynValue, Shape, Tensor, TensorElementType, ValueType};

use nullface_kernels::crop::CropSpec;
use nullface_kernels::cuda::Gpu;

use super::BackendError;
use super::bound::is_there;
use super::build::build;
use super::crops::{CropError, DeviceInput, by_processor, each_by_processor, resident_on, residents_on, shape_of};
use super::device::Device;
use super::lifeline::{Lifeline, Place};
use super::manifest::{ModelEntry, TensorSpec};
use super::providers::Graph;
use super::runtime::Runtime;
use super::stream::Streamed;
use crate::frame::{Affine, FrameView};

/// Most elements of one input: a 7680×4320 RGB frame.
const MAX_INPUT_ELEMENTS: usize = 7680 * 4320 * 3;

/// A network ready to run.
pub struct Session {
    inner: Lifeline<Streamed>,
    name: String,
    input: Option<Tensor<f32>>,
    input_shape: Vec<usize>,
    there: DeviceInput,
    /// The input's shape where it is on the device.
    on_device: Option<[usize; 4]>,
    outputs: Vec<DynValue>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("name", &self.name)
            .field("device", &self.inner.device())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Loads verified bytes. Threads 0 = the common pool.
    ///
    /// # Errors
    /// [`BackendError::Model`] where the graph does not load or differs from its entry;
    /// [`BackendError::Device`] where a device asked for by name does not start.
    pub(super) fn load(
        runtime: &'static Runtime,
        name: &str,
        path: &str,
        bytes: &[u8],
        entry: Option<&ModelEntry>,
        place: &Place<'_>,
    ) -> Result<Self, BackendError> {
        let (device, threads) = (place.device, place.threads);
        let wrong = |why: String| BackendError::Model {
            name: name.to_owned(),
            path: path.to_owned(),
            why,
            remedy: "use a file that ONNX Runtime 1.24 can read".to_owned(),
        };
        let inputs: Vec<_> = entry.map_or_else(Vec::new, |e| e.input.iter().map(|i| (i.name.clone(), i.shape.clone())).collect());
        let kept: Arc<[u8]> = Arc::from(bytes);
        let (label, streams) = (name.to_owned(), place.streams.clone());
        let build = Box::new(move |device| {
            let graph = Graph {
                name: &label,
                bytes: &kept,
                data: None,
                inputs: &inputs,
                half: false,
                replays: false,
            };
            build(runtime, &graph, device, threads, &streams).map_err(|e| e.to_string())
        });
        let inner = Lifeline::start(name, place, build).map_err(|e| match (device.device, device.strict) {
            (Device::Cpu, _) | (_, false) => wrong(format!("does not load: {e}")),
            (used, true) => BackendError::Device {
                device: used.to_string(),
                why: e,
            },
        })?;
        if let Some(entry) = entry {
            check_outlets("input", inner.current().inputs(), &entry.input).map_err(wrong)?;
            check_outlets("output", inner.current().outputs(), &entry.output).map_err(wrong)?;
        }
        if inner.current().inputs().len() != 1 {
            return Err(wrong(format!("expected one input, got {}", inner.current().inputs().len())));
        }
        Ok(Self {
            inner,
            name: name.to_owned(),
            input: None,
            input_shape: Vec::new(),
            there: DeviceInput::default(),
            on_device: None,
            outputs: Vec::new(),
        })
    }

    /// Name for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it really runs.
    #[must_use]
    pub fn device(&self) -> Device {
        self.inner.device()
    }

    /// Names of the outputs, in the graph's order.
    #[must_use]
    pub fn output_names(&self) -> Vec<String> {
        self.inner.current().outputs().iter().map(|o| o.name().to_owned()).collect()
    }

    /// Shape of the input as the graph declares it, −1 where free.
    #[must_use]
    pub fn declared_input(&self) -> Vec<i64> {
        self.inner
            .current()
            .inputs()
            .first()
            .and_then(|i| tensor_of(i.dtype()))
            .map(|(_, shape)| shape)
            .unwrap_or_default()
    }

    /// The input buffer for a shape; its content is whatever the last run left there.
    ///
    /// # Errors
    /// [`BackendError::Run`] where the size is out of bounds or memory is short.
    pub fn input(&mut self, shape: &[usize]) -> Result<&mut [f32], BackendError> {
        self.on_device = None;
        self.check_size(shape)?;
        if self.input.is_none() || self.input_shape != shape {
            self.input = None;
            let dims = Shape::new(shape.iter().map(|d| *d as i64));
            let mut tensor = Tensor::<f32>::new(&Allocator::default(), dims).map_err(|e| self.failed(format!("input {shape:?}: {e}")))?;
            tensor.extract_tensor_mut().1.fill(0.0);
            self.input = Some(tensor);
            self.input_shape = shape.to_vec();
        }
        match self.input.as_mut() {
            Some(tensor) => Ok(tensor.extract_tensor_mut().1),
            None => Err(BackendError::Run {
                model: self.name.clone(),
                why: "no input buffer".to_owned(),
            }),
        }
    }

    /// The input as crops of a frame, one a map: by the processor, or on the device where the frame is there and the
    /// network too.
    ///
    /// # Errors
    /// [`CropError`]: a size out of bounds, a map that cannot be, the device.
    pub fn crops(&mut self, frame: &FrameView<'_>, maps: &[Affine], spec: &CropSpec) -> Result<(), CropError> {
        let shape = shape_of(spec, maps.len());
        let resident = resident_on(frame, self.device()).filter(|_| self.inner.is_well());
        let Some(resident) = resident else {
            return Ok(by_processor(frame, maps, spec, self.input(&shape)?)?);
        };
        self.on_device = None;
        self.check_size(&shape)?;
        let in_order = self.inner.current().is_in_order_with(resident.gpu());
        match self.there.fill(resident, frame, maps, spec, in_order) {
            Ok(()) => self.on_device = Some(shape),
            Err(e) => {
                // What an earlier frame left must not run in its place.
                self.input = None;
                return Err(CropError::on_device(&self.name, e));
            }
        }
        Ok(())
    }

    /// The same for pictures that each have a crop of their own; on the device where all of them are there.
    ///
    /// # Errors
    /// As [`Self::crops`].
    pub fn crops_each(&mut self, faces: &[(FrameView<'_>, Affine)], spec: &CropSpec) -> Result<(), CropError> {
        let shape = shape_of(spec, faces.len());
        let there = residents_on(faces, self.device()).filter(|_| self.inner.is_well());
        let Some(there) = there else {
            return Ok(each_by_processor(faces, spec, self.input(&shape)?)?);
        };
        self.on_device = None;
        self.check_size(&shape)?;
        let inner = &self.inner;
        match self.there.fill_each(&there, spec, |gpu| inner.current().is_in_order_with(gpu)) {
            Ok(()) => self.on_device = Some(shape),
            Err(e) => {
                self.input = None;
                return Err(CropError::on_device(&self.name, e));
            }
        }
        Ok(())
    }

    /// Whether crops of what `gpu` has are made there.
    #[must_use]
    pub fn reads_on(&self, gpu: &Gpu) -> bool {
        self.inner.is_well() && is_there(gpu, self.device())
    }

    fn check_size(&self, shape: &[usize]) -> Result<(), BackendError> {
        let elements = shape
            .iter()
            .try_fold(1_usize, |n, d| n.checked_mul(*d))
            .filter(|n| (1..=MAX_INPUT_ELEMENTS).contains(n));
        if elements.is_none() {
            return Err(self.failed(format!("input: expected 1 to {MAX_INPUT_ELEMENTS} elements, got shape {shape:?}")));
        }
        Ok(())
    }

    /// Runs on the input buffer.
    ///
    /// # Errors
    /// [`BackendError::Run`].
    pub fn run(&mut self) -> Result<(), BackendError> {
        self.outputs.clear();
        let input: SessionInputValue<'_> = match (&self.on_device, &self.input) {
            (Some(shape), _) => self.there.tensor(shape).map_err(|why| self.failed(why))?.into(),
            (None, Some(input)) => input.into(),
            (None, None) => return Err(self.failed("run before an input was set".to_owned())),
        };
        let failed = match self.inner.ready() {
            Err(lost) => lost,
            Ok(network) => match network.run(ort::inputs![input]) {
                Ok(outputs) => {
                    self.outputs.extend(outputs.into_iter().map(|(_, value)| value));
                    return Ok(());
                }
                Err(e) => e.to_string(),
            },
        };
        self.inner.failed(&failed);
        let shape = self.on_device.as_ref().map_or(&self.input_shape[..], |s| s);
        Err(BackendError::Run {
            model: self.name.clone(),
            why: format!("input {shape:?}: {failed}"),
        })
    }

    /// One output of the last run.
    ///
    /// # Errors
    /// [`BackendError::Shape`] where type or shape differ from what is expected.
    pub fn output(&self, index: usize, expected: &[usize]) -> Result<&[f32], BackendError> {
        let wrong = |got: String| BackendError::Shape {
            model: self.name.clone(),
            output: self.output_names().get(index).cloned().unwrap_or_else(|| index.to_string()),
            expected: format!("float32 {expected:?}"),
            got,
        };
        let value = self.outputs.get(index).ok_or_else(|| wrong("nothing".to_owned()))?;
        let (shape, data) = value.try_extract_tensor::<f32>().map_err(|e| wrong(e.to_string()))?;
        let same = shape.len() == expected.len() && shape.iter().zip(expected).all(|(a, b)| usize::try_from(*a) == Ok(*b));
        if same {
            Ok(data)
        } else {
            Err(wrong(format!("{:?}", shape.iter().collect::<Vec<_>>())))
        }
    }

    /// Shape and data of one output of the last run, for networks whose shapes are not known beforehand.
    ///
    /// # Errors
    /// [`BackendError::Shape`] where there is none or it is not `float32`.
    pub fn output_any(&self, index: usize) -> Result<(Vec<i64>, &[f32]), BackendError> {
        let wrong = |got: String| BackendError::Shape {
            model: self.name.clone(),
            output: index.to_string(),
            expected: "float32".to_owned(),
            got,
        };
        let value = self.outputs.get(index).ok_or_else(|| wrong("nothing".to_owned()))?;
        let (shape, data) = value.try_extract_tensor::<f32>().map_err(|e| wrong(e.to_string()))?;
        Ok((shape.iter().copied().collect(), data))
    }

    fn failed(&self, why: String) -> BackendError {
        BackendError::Run {
            model: self.name.clone(),
            why,
        }
    }
}

/// Position of the first number that is NaN or infinite.
#[must_use]
pub fn first_not_finite(data: &[f32]) -> Option<usize> {
    // A sum is NaN or infinite if any part is; it costs a tenth of the branchy search (and may only
    // overflow where values are beyond anything a network means, which the search then clears).
    let lanes = data.chunks_exact(8);
    let tail: f32 = lanes.remainder().iter().map(|v| v * 0.0).sum();
    let sum = lanes.fold([0.0_f32; 8], |mut acc, c| {
        for (a, v) in acc.iter_mut().zip(c) {
            *a += v * 0.0;
        }
        acc
    });
    if sum.iter().sum::<f32>() + tail == 0.0 {
        None
    } else {
        data.iter().position(|v| !v.is_finite())
    }
}

fn tensor_of(value: &ValueType) -> Option<(TensorElementType, Vec<i64>)> {
    match value {
        ValueType::Tensor { ty, shape, .. } => Some((*ty, shape.iter().copied().collect())),
        _ => None,
    }
}

fn check_outlets(kind: &str, got: &[ort::value::Outlet], want: &[TensorSpec]) -> Result<(), String> {
    let names = |n: Vec<&str>| n.join(", ");
    let got_names: Vec<&str> = got.iter().map(|o| o.name()).collect();
    let want_names: Vec<&str> = want.iter().map(|s| s.name.as_str()).collect();
    if got_names != want_names {
        return Err(format!("{kind}s: expected {}, got {}", names(want_names), names(got_names)));
    }
    for (outlet, spec) in got.iter().zip(want) {
        let found = tensor_of(outlet.dtype());
        let fits = matches!(&found, Some((TensorElementType::Float32, shape)) if spec.dtype == "float32" && shape_fits(shape, &spec.shape));
        if !fits {
            return Err(format!(
                "{kind} {}: expected {} {:?}, got {found:?}",
                spec.name, spec.dtype, spec.shape
            ));
        }
    }
    Ok(())
}

/// Free dimensions on either side fit anything: inference may narrow what the file leaves open.
fn shape_fits(got: &[i64], want: &[i64]) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(g, w)| g == w || *w == -1 || *g == -1)
}

#[cfg(test)]
mod tests {
    use super::{first_not_finite, shape_fits};

    #[test]
    fn not_finite_numbers_are_found_wherever_they_are() {
        let mut data = vec![1.0_f32; 37];
        assert_eq!(first_not_finite(&data), None);
        for (at, value) in [(0, f32::NAN), (8, f32::INFINITY), (36, f32::NEG_INFINITY)] {
            data[at] = value;
            assert_eq!(first_not_finite(&data), Some(at));
            data[at] = f32::MAX;
        }
        assert_eq!(first_not_finite(&data), None, "large is not infinite");
        assert_eq!(first_not_finite(&[]), None);
    }

    #[test]
    fn free_dimensions_fit_anything() {
        assert!(shape_fits(&[-1, 3, 8], &[-1, 3, -1]));
        assert!(!shape_fits(&[-1, 4, 8], &[-1, 3, -1]));
        assert!(!shape_fits(&[3, 8], &[-1, 3, 8]));
    }
}
