//! Between GStreamer's buffers and the library's frame views; opaque frames; owned copies.
//!
//! Buffers are mapped here as plain bytes and cut into planes with bounds checked, not through
//! `GstVideoFrame`: that one trusts the offsets and strides of a `GstVideoMeta`, so a wrong meta
//! would read outside the memory.
//!
//! Limits: bytes of a buffer that belong to no visible pixel (a decoder's alignment rows) are left
//! as they came, except in frames that are filled or copied here.

use gst_video::VideoMeta;
use nullface::frame::{FrameInfo, FrameView, FrameViewMut, Matrix, PixelFormat, Plane, PlaneMut, Range};

use super::fail_closed::Fault;
use super::formats::Negotiated;
use super::metas;

/// Where a plane lies in its buffer, bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    plane: usize,
    offset: usize,
    len: usize,
    stride: usize,
}

/// The planes of a buffer in the order of their offsets, each ending where the next begins.
fn layout(buffer: &gst::BufferRef, negotiated: &Negotiated) -> Result<Vec<Span>, Fault> {
    let shape = &negotiated.shape;
    let size = buffer.size();
    let refused = |why: String| Fault::Map { why };
    let meta = buffer.meta::<VideoMeta>();
    let (offsets, strides) = match &meta {
        Some(meta) => {
            if (meta.width(), meta.height(), meta.format()) != (shape.width, shape.height, negotiated.info.format()) {
                return Err(refused(format!(
                    "buffer's video meta: expected {} {}x{}, got {} {}x{}",
                    negotiated.info.format(),
                    shape.width,
                    shape.height,
                    meta.format(),
                    meta.width(),
                    meta.height()
                )));
            }
            (meta.offset(), meta.stride())
        }
        None => (negotiated.info.offset(), negotiated.info.stride()),
    };
    let planes = shape.format.planes();
    if offsets.len() < planes || strides.len() < planes {
        return Err(refused(format!(
            "buffer's layout: expected {planes} planes, got {}",
            offsets.len().min(strides.len())
        )));
    }
    let mut spans = Vec::with_capacity(planes);
    for (plane, (&offset, &stride)) in offsets.iter().zip(strides).take(planes).enumerate() {
        let stride = usize::try_from(stride).map_err(|_| refused(format!("stride of plane {plane}: expected > 0, got {stride}")))?;
        spans.push(Span {
            plane,
            offset,
            len: 0,
            stride,
        });
    }
    spans.sort_by_key(|span| span.offset);
    for i in 0..spans.len() {
        let end = spans.get(i + 1).map_or(size, |next| next.offset).min(size);
        if let Some(span) = spans.get_mut(i) {
            let (_, rows) = shape.format.plane_size(span.plane, shape.width, shape.height);
            let room = end
                .checked_sub(span.offset)
                .ok_or_else(|| refused(format!("offset of plane {}: expected < {end}, got {}", span.plane, span.offset)))?;
            span.len = room.min(span.stride.saturating_mul(rows));
        }
    }
    Ok(spans)
}

fn map_fault(error: impl std::fmt::Display) -> Fault {
    Fault::Map { why: error.to_string() }
}

/// Calls `f` with a readable view of a buffer.
///
/// # Errors
/// [`Fault::Map`] where the buffer cannot be mapped or is smaller than its caps say.
pub(super) fn with_view<R>(buffer: &gst::BufferRef, negotiated: &Negotiated, f: impl FnOnce(&FrameView<'_>) -> R) -> Result<R, Fault> {
    let spans = layout(buffer, negotiated)?;
    let map = buffer.map_readable().map_err(map_fault)?;
    let bytes = map.as_slice();
    let mut planes = [Plane { data: &[], stride: 0 }; 3];
    for span in &spans {
        let data = bytes.get(span.offset..span.offset.saturating_add(span.len)).unwrap_or(&[]);
        if let Some(plane) = planes.get_mut(span.plane) {
            *plane = Plane { data, stride: span.stride };
        }
    }
    let view = FrameView::new(negotiated.shape, planes.get(..spans.len()).unwrap_or(&[])).map_err(map_fault)?;
    Ok(f(&view))
}

/// Calls `f` with a writable view of a buffer.
///
/// # Errors
/// [`Fault::Map`] where the buffer cannot be mapped for writing or is smaller than its caps say.
pub(super) fn with_view_mut<R>(
    buffer: &mut gst::BufferRef,
    negotiated: &Negotiated,
    f: impl FnOnce(&mut FrameViewMut<'_>) -> R,
) -> Result<R, Fault> {
    let spans = layout(buffer, negotiated)?;
    let mut map = buffer.map_writable().map_err(map_fault)?;
    let mut rest = map.as_mut_slice();
    let mut at = 0_usize;
    let mut cut: Vec<(usize, PlaneMut<'_>)> = Vec::with_capacity(spans.len());
    for span in &spans {
        let skip = span.offset - at;
        let (_, tail) = rest
            .split_at_mut_checked(skip)
            .ok_or_else(|| map_fault("a plane begins past the buffer's end"))?;
        let (data, tail) = tail
            .split_at_mut_checked(span.len)
            .ok_or_else(|| map_fault("a plane ends past the buffer's end"))?;
        at = span.offset + span.len;
        rest = tail;
        cut.push((span.plane, PlaneMut { data, stride: span.stride }));
    }
    cut.sort_by_key(|(plane, _)| *plane);
    let planes = cut.into_iter().map(|(_, plane)| plane).collect();
    let mut view = FrameViewMut::new(negotiated.shape, planes).map_err(map_fault)?;
    Ok(f(&mut view))
}

/// A buffer with the treated frame's pixels that nobody else can see or change: the one given where
/// that is already so and all its metas may leave, else a copy.
///
/// # Errors
/// [`Fault::Map`] where the source cannot be read or memory not be had.
pub(super) fn own(buffer: gst::Buffer, shell: &gst::BufferRef, negotiated: &Negotiated) -> Result<gst::Buffer, Fault> {
    if buffer.is_writable() && buffer.n_memory() > 0 && buffer.is_all_memory_writable() && metas::all_allowed(&buffer) {
        return Ok(buffer);
    }
    let mut copy = blank(shell, negotiated)?;
    let to = copy.get_mut().ok_or_else(|| map_fault("a new buffer is shared"))?;
    with_view(&buffer, negotiated, |from| {
        with_view_mut(to, negotiated, |to| {
            let info = negotiated.shape;
            for (index, (to, from)) in to.planes_mut().iter_mut().zip(from.planes()).enumerate() {
                let (row, rows) = info.format.plane_size(index, info.width, info.height);
                for (to, from) in to.data.chunks_mut(to.stride).zip(from.data.chunks(from.stride)).take(rows) {
                    if let (Some(to), Some(from)) = (to.get_mut(..row), from.get(..row)) {
                        to.copy_from_slice(from);
                    }
                }
            }
        })
    })??;
    Ok(copy)
}

/// A frame of one colour with the time and metas of `shell`.
///
/// # Errors
/// [`Fault::Map`] where memory cannot be had.
pub(super) fn opaque(shell: &gst::BufferRef, negotiated: &Negotiated, rgb: [u8; 3]) -> Result<gst::Buffer, Fault> {
    let mut frame = blank(shell, negotiated)?;
    let inner = frame.get_mut().ok_or_else(|| map_fault("a new buffer is shared"))?;
    with_view_mut(inner, negotiated, |view| fill(view, rgb))?;
    Ok(frame)
}

/// New zeroed memory, so that nothing of a frame freed before shows in padding, in a copy of `shell`.
fn blank(shell: &gst::BufferRef, negotiated: &Negotiated) -> Result<gst::Buffer, Fault> {
    let mut frame = metas::shell(shell).map_err(map_fault)?;
    let memory = gst::Memory::from_mut_slice(vec![0_u8; negotiated.info.size()]);
    frame
        .get_mut()
        .ok_or_else(|| map_fault("a new buffer is shared"))?
        .append_memory(memory);
    Ok(frame)
}

/// Fills a frame with one opaque colour, padding of its rows included. Independent of the engine, so
/// that nothing that broke there can break this.
pub(super) fn fill(view: &mut FrameViewMut<'_>, rgb: [u8; 3]) {
    let info = *view.info();
    let patterns = patterns(&info, rgb);
    for (plane, pattern) in view.planes_mut().iter_mut().zip(patterns) {
        let unit = pattern.len().max(1);
        let first = pattern.first().copied().unwrap_or(0);
        if pattern.iter().all(|byte| *byte == first) {
            plane.data.fill(first);
            continue;
        }
        for row in plane.data.chunks_mut(plane.stride.max(1)) {
            for cell in row.chunks_mut(unit) {
                let n = cell.len();
                if let Some(part) = pattern.get(..n) {
                    cell.copy_from_slice(part);
                }
            }
        }
    }
}

/// Bytes that repeat along the rows of each plane.
fn patterns(info: &FrameInfo, [r, g, b]: [u8; 3]) -> [Vec<u8>; 3] {
    let le = |samples: &[u16], shift: u32| samples.iter().flat_map(|s| (s << shift).to_le_bytes()).collect::<Vec<u8>>();
    let [y, u, v] = yuv(info, [r, g, b], 8).map(|s| s.min(255) as u8);
    let ten = yuv(info, [r, g, b], 10);
    match info.format {
        PixelFormat::Nv12 => [vec![y], vec![u, v], vec![]],
        PixelFormat::I420 => [vec![y], vec![u], vec![v]],
        PixelFormat::P010Le => [le(&ten[..1], 6), le(&ten[1..], 6), vec![]],
        PixelFormat::I42010Le => [le(&ten[..1], 0), le(&ten[1..2], 0), le(&ten[2..], 0)],
        PixelFormat::Yuy2 => [vec![y, u, y, v], vec![], vec![]],
        PixelFormat::Rgba | PixelFormat::Rgbx => [vec![r, g, b, 255], vec![], vec![]],
        PixelFormat::Bgra | PixelFormat::Bgrx => [vec![b, g, r, 255], vec![], vec![]],
        PixelFormat::Rgb => [vec![r, g, b], vec![], vec![]],
        PixelFormat::Bgr => [vec![b, g, r], vec![], vec![]],
    }
}

/// One colour as Y'CbCr codes of `bits`, by ITU-R BT.601, BT.709 or BT.2020 (clause 3 of each).
fn yuv(info: &FrameInfo, rgb: [u8; 3], bits: u32) -> [u16; 3] {
    let (kr, kb) = match info.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
    };
    let [r, g, b] = rgb.map(|c| f64::from(c) / 255.0);
    let luma = kr * r + (1.0 - kr - kb) * g + kb * b;
    let (cb, cr) = ((b - luma) / (2.0 * (1.0 - kb)), (r - luma) / (2.0 * (1.0 - kr)));
    let step = f64::from(1_u32 << (bits - 8));
    let top = 256.0 * step - 1.0;
    let (low, luma_span, chroma_span) = match info.range {
        Range::Limited => (16.0 * step, 219.0 * step, 224.0 * step),
        Range::Full => (0.0, top, top),
    };
    let code = |value: f64| value.round().clamp(0.0, top) as u16;
    [
        code(low + luma * luma_span),
        code(128.0 * step + cb * chroma_span),
        code(128.0 * step + cr * chroma_span),
    ]
}
