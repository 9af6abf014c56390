//! Crops of a frame as a network's input: made by the processor in its memory, or, where the frame is on the
//! network's own device, made there by one launch for all of them and bound by address.
//!
//! | | |
//! |---|---|
//! | on the device | the frame has a [`Resident`] that is sound, of the device that the network runs on, and the network is not lost |
//! | else | the processor, bit for bit as without a device |
//! | waiting | none where the network runs on our stream ([`super::stream`]); else once, for our stream |
//! | errors | the device's are noted on the frame: who comes next for the same frame is served by the processor |

use nullface_kernels::KernelError;
use nullface_kernels::crop::{CropSpec, Layout, crop_affine};
use nullface_kernels::cuda::{Buffer, CudaError, Gpu, Resident, ops};
use ort::value::TensorRefMut;

use super::bound::{is_there, tensor_of};
use super::{BackendError, Device};
use crate::frame::{Affine, FrameView};

/// Why a network got no crops.
#[derive(Debug, thiserror::Error)]
pub enum CropError {
    /// The network's input, or the device.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A map, a size or a frame that cannot be cropped.
    #[error(transparent)]
    Frame(#[from] KernelError),
}

impl CropError {
    pub(super) fn on_device(model: &str, error: CudaError) -> Self {
        match error {
            CudaError::Argument(e) => Self::Frame(e),
            e => Self::Backend(BackendError::Run {
                model: model.to_owned(),
                why: format!("device: {e}"),
            }),
        }
    }
}

/// The sides of `n` crops.
pub(super) fn shape_of(spec: &CropSpec, n: usize) -> [usize; 4] {
    match spec.layout {
        Layout::Nchw => [n, 3, spec.height, spec.width],
        Layout::Nhwc => [n, spec.height, spec.width, 3],
    }
}

/// Crops in the processor's memory, one after the other.
pub(super) fn by_processor(frame: &FrameView<'_>, maps: &[Affine], spec: &CropSpec, out: &mut [f32]) -> Result<(), KernelError> {
    let crops = out.chunks_exact_mut((3 * spec.width * spec.height).max(1));
    maps.iter().zip(crops).try_for_each(|(map, out)| crop_affine(frame, map, spec, out))
}

/// Crops of pictures that each have one, in the processor's memory.
pub(super) fn each_by_processor(faces: &[(FrameView<'_>, Affine)], spec: &CropSpec, out: &mut [f32]) -> Result<(), KernelError> {
    let crops = out.chunks_exact_mut((3 * spec.width * spec.height).max(1));
    faces
        .iter()
        .zip(crops)
        .try_for_each(|((frame, map), out)| crop_affine(frame, map, spec, out))
}

/// The frames on the device of a network, where crops of all of them can be made there.
pub(super) fn residents_on<'a, 'f>(
    faces: &'f [(FrameView<'a>, Affine)],
    device: Device,
) -> Option<Vec<(&'a Resident, &'f FrameView<'a>, Affine)>> {
    let all: Option<Vec<_>> = faces
        .iter()
        .map(|(frame, map)| Some((resident_on(frame, device)?, frame, *map)))
        .collect();
    let first = all.as_ref()?.first()?.0.gpu().clone();
    all.filter(|all| all.iter().all(|(r, ..)| r.gpu().is_same(&first)))
}

/// The frame on the device of a network, where crops can be made there.
pub(super) fn resident_on<'a>(frame: &FrameView<'a>, device: Device) -> Option<&'a Resident> {
    frame.resident().filter(|r| r.is_sound() && is_there(r.gpu(), device))
}

/// A network's input on its device; the memory stays from run to run.
#[derive(Debug, Default)]
pub(super) struct DeviceInput {
    buffer: Option<Buffer<f32>>,
}

impl DeviceInput {
    /// Makes crops there, and waits for them unless the network is `in_order` with the device's stream.
    pub(super) fn fill(
        &mut self,
        resident: &Resident,
        frame: &FrameView<'_>,
        maps: &[Affine],
        spec: &CropSpec,
        in_order: bool,
    ) -> Result<(), CudaError> {
        let made = self.make(resident, frame, maps, spec);
        let made = if in_order {
            made
        } else {
            made.and_then(|()| resident.gpu().wait())
        };
        if let Err(e) = &made
            && !matches!(e, CudaError::Argument(_))
        {
            resident.failed(e);
        }
        made
    }

    /// The same of frames that each have a crop of their own; all of one device.
    pub(super) fn fill_each(
        &mut self,
        faces: &[(&Resident, &FrameView<'_>, Affine)],
        spec: &CropSpec,
        is_in_order: impl FnOnce(&Gpu) -> bool,
    ) -> Result<(), CudaError> {
        let Some(&(first, ..)) = faces.first() else { return Ok(()) };
        let made = self.make_each(first.gpu(), faces, spec);
        let made = if is_in_order(first.gpu()) {
            made
        } else {
            made.and_then(|()| first.gpu().wait())
        };
        if let Err(e) = &made
            && !matches!(e, CudaError::Argument(_))
        {
            faces.iter().for_each(|(resident, ..)| resident.failed(e));
        }
        made
    }

    fn make_each(&mut self, gpu: &Gpu, faces: &[(&Resident, &FrameView<'_>, Affine)], spec: &CropSpec) -> Result<(), CudaError> {
        let one = 3 * spec.width * spec.height;
        let buffer = self.room(gpu, one * faces.len())?;
        faces.iter().enumerate().try_for_each(|(n, (resident, frame, map))| {
            let there = resident.on_device(frame)?;
            ops::crop_into_at(gpu, there, &[*map], spec, buffer, n * one)
        })
    }

    /// At least so many values on that device.
    fn room(&mut self, gpu: &Gpu, values: usize) -> Result<&mut Buffer<f32>, CudaError> {
        if self.buffer.as_ref().is_none_or(|b| b.len() < values || !b.gpu().is_same(gpu)) {
            self.buffer = None;
        }
        match &mut self.buffer {
            Some(buffer) => Ok(buffer),
            none => Ok(none.insert(gpu.unfilled(values)?)),
        }
    }

    fn make(&mut self, resident: &Resident, frame: &FrameView<'_>, maps: &[Affine], spec: &CropSpec) -> Result<(), CudaError> {
        let gpu = resident.gpu();
        let values: usize = shape_of(spec, maps.len()).iter().product();
        let there = resident.on_device(frame)?;
        let buffer = self.room(gpu, values)?;
        ops::crop_into(gpu, there, maps, spec, buffer)
    }

    /// The input as the runtime takes it.
    pub(super) fn tensor(&self, shape: &[usize]) -> Result<TensorRefMut<'_, f32>, String> {
        let buffer = self.buffer.as_ref().ok_or("no crops on the device")?;
        tensor_of(buffer.gpu(), "crops", shape, buffer, 0)
    }
}

#[cfg(test)]
mod tests {
    use nullface_kernels::crop::ChannelOrder;

    use super::*;
    use crate::backend::testing::{Picture, backend};

    const SPEC: CropSpec = CropSpec {
        width: 192,
        height: 192,
        layout: Layout::Nhwc,
        order: ChannelOrder::Rgb,
        scale: 1.0 / 255.0,
        bias: 0.0,
    };

    #[test]
    fn the_processor_makes_what_single_crops_are() {
        let picture = Picture::smooth(300, 200);
        let mut mesh = backend().small_session("face_mesh").expect("loads");
        let maps = [Affine::IDENTITY, Affine::scale_shift(0.5, 0.5, 20.0, 10.0)];
        mesh.crops(&picture.view(), &maps, &SPEC).expect("crops");
        let got = mesh.input(&[2, 192, 192, 3]).expect("the same buffer").to_vec();
        for (map, got) in maps.iter().zip(got.chunks_exact(192 * 192 * 3)) {
            let mut want = vec![0.0; 192 * 192 * 3];
            crop_affine(&picture.view(), map, &SPEC, &mut want).expect("valid");
            assert_eq!(got, want);
        }
    }

    #[test]
    fn maps_and_sizes_that_cannot_be_are_told_apart_from_the_networks_faults() {
        let picture = Picture::smooth(30, 20);
        let mut mesh = backend().small_session("face_mesh").expect("loads");
        let flat = [Affine::scale_shift(0.0, 1.0, 0.0, 0.0)];
        assert!(matches!(mesh.crops(&picture.view(), &flat, &SPEC), Err(CropError::Frame(_))));
        assert!(
            matches!(mesh.crops(&picture.view(), &[], &SPEC), Err(CropError::Backend(_))),
            "no face"
        );
        let argument = CropError::on_device(
            "net",
            CudaError::Argument(KernelError::Argument {
                op: "op",
                what: "what",
                expected: String::new(),
                got: String::new(),
            }),
        );
        assert!(matches!(argument, CropError::Frame(_)));
    }
}
