//! What the fuzz targets do with bytes. Apart from them, so that the ordinary tests run it too, on any
//! compiler: `tests/fuzz_bodies.rs`.

use arbitrary::{Arbitrary, Result, Unstructured};
use nullface::frame::BoxPx;
use nullface::stages::detect::{Detection, suppress};
use nullface_kernels::cover::fill_frame;
use nullface_kernels::image::PlaneMut;
use nullface_kernels::mask::RegionMask;
use nullface_kernels::{ImageInfo, ImageMut, Matrix, PixelFormat, Range};

/// One body: whether the bytes were enough to make an input of.
pub(crate) type Body = fn(&[u8]) -> Result<bool>;

/// All of them, by the name of their target. A body answers `true` where its input got past the first check.
pub(crate) const ALL: [(&str, Body); 4] = [
    ("frame_views", frame_views),
    ("pack_manifest", pack_manifest),
    ("regions", regions),
    ("suppress", suppressed),
];

const FORMATS: [PixelFormat; 11] = [
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::P010Le,
    PixelFormat::I42010Le,
    PixelFormat::Rgba,
    PixelFormat::Bgra,
    PixelFormat::Rgbx,
    PixelFormat::Bgrx,
    PixelFormat::Rgb,
    PixelFormat::Bgr,
    PixelFormat::Yuy2,
];

/// Any geometry over any bytes: a view or an error, and a cover of the view that stays inside it.
pub(crate) fn frame_views(data: &[u8]) -> Result<bool> {
    let mut from = Unstructured::new(data);
    // Mostly small sides, so that views that fit are met often enough.
    let side = |from: &mut Unstructured<'_>| -> Result<u32> {
        Ok(if from.ratio(7, 8)? {
            from.int_in_range(0..=64)?
        } else {
            u32::arbitrary(from)?
        })
    };
    let format = *from.choose(&FORMATS)?;
    let (width, height) = (side(&mut from)?, side(&mut from)?);
    let info = ImageInfo {
        format,
        width,
        height,
        matrix: Matrix::Bt709,
        range: Range::Limited,
    };
    let count = if from.ratio(3, 4)? {
        format.planes()
    } else {
        from.int_in_range(0..=4)?
    };
    let mut planes: Vec<(Vec<u8>, usize)> = Vec::new();
    for _ in 0..count {
        let stride = from.int_in_range(0..=300)?;
        let rows = from.int_in_range(0..=70)?;
        planes.push((vec![7; stride * rows], stride));
    }
    let views = planes.iter_mut().map(|(data, stride)| PlaneMut { data, stride: *stride }).collect();
    let Ok(mut image) = ImageMut::new(info, views) else {
        return Ok(false);
    };
    fill_frame(&mut image, [1, 2, 3]);
    assert_eq!(image.as_image().planes().len(), format.planes());
    Ok(true)
}

/// Any text as `pack.toml`: a manifest or an error that names a field.
pub(crate) fn pack_manifest(data: &[u8]) -> Result<bool> {
    let text = String::from_utf8_lossy(data);
    let parsed = nullface::pack::Pack::parse(&text);
    if let Err(error) = &parsed {
        assert!(!error.to_string().is_empty());
    }
    Ok(parsed.is_ok())
}

/// Any points, feather and frame size: masks lie inside the frame and fit their buffer.
pub(crate) fn regions(data: &[u8]) -> Result<bool> {
    let mut from = Unstructured::new(data);
    let (width, height) = (from.int_in_range(0..=512)?, from.int_in_range(0..=512)?);
    let any = from.ratio(1, 4)?;
    let number = |from: &mut Unstructured<'_>| -> Result<f32> {
        if any {
            f32::arbitrary(from)
        } else {
            Ok(from.int_in_range(-200..=800)? as f32 * 0.75)
        }
    };
    let feather_px = number(&mut from)?;
    let mut points = Vec::new();
    for _ in 0..from.int_in_range(0..=40)? {
        points.push([number(&mut from)?, number(&mut from)?]);
    }
    let Some(mask) = RegionMask::polygon(&points, feather_px, width, height) else {
        return Ok(false);
    };
    assert_eq!(mask.alpha.len(), mask.width as usize * mask.height as usize);
    assert!(mask.x >= 0 && mask.y >= 0);
    assert!(mask.x as u32 + mask.width <= width && mask.y as u32 + mask.height <= height);
    Ok(true)
}

/// Any boxes and scores: what is kept is a part of what came, and overlaps less than asked.
pub(crate) fn suppressed(data: &[u8]) -> Result<bool> {
    let mut from = Unstructured::new(data);
    let any = from.ratio(1, 4)?;
    let mut came = Vec::new();
    for _ in 0..from.int_in_range(0..=200)? {
        let number = |from: &mut Unstructured<'_>| -> Result<f32> {
            if any {
                f32::arbitrary(from)
            } else {
                Ok(from.int_in_range(-50..=200)? as f32)
            }
        };
        let [x0, y0, x1, y1] = [number(&mut from)?, number(&mut from)?, number(&mut from)?, number(&mut from)?];
        came.push(Detection {
            box_px: BoxPx { x0, y0, x1, y1 },
            score: number(&mut from)?,
            landmarks: None,
        });
    }
    let kept = suppress(came.clone(), 0.3);
    assert!(kept.len() <= came.len());
    for (i, a) in kept.iter().enumerate() {
        for b in &kept[i + 1..] {
            assert!(!(a.box_px.iou(&b.box_px) > 0.3));
        }
    }
    Ok(kept.len() < came.len())
}
