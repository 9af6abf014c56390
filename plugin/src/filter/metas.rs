//! Which metas may leave with a frame.
//!
//! In place, a buffer keeps every meta it came with, and some carry the source's pixels: a parent
//! buffer, `originalbuffersave`'s copy, overlay rectangles cut from the picture, alpha buffers. So
//! there is a list of those that may leave, and a buffer with any other is not treated in place:
//! its pixels are copied into memory of our own and only metas of the list follow. Removing a meta
//! in place is the alternative rejected here: pools lock theirs, and dropping a parent's meta may
//! hand the memory under the frame back to its owner.
//!
//! | meta | leaves | why |
//! |---|---|---|
//! | video, crop | yes | layout |
//! | time code, reference timestamp | yes | time |
//! | closed captions, AFD, bars | yes | about the programme, no pixels |
//! | region of interest | no | read as hints; boxes and their parameters are data about people |
//! | all others | no | may hold pixels or what was derived from them |

use std::ops::ControlFlow;

use gst::meta::MetaTransformCopy;
use nullface::frame::BoxPx;
use nullface::stages::detect::Detection;

/// APIs of the metas that may leave.
const ALLOWED: [&str; 7] = [
    "GstVideoMetaAPI",
    "GstVideoCropMetaAPI",
    "GstVideoTimeCodeMetaAPI",
    "GstReferenceTimestampMetaAPI",
    "GstVideoCaptionMetaAPI",
    "GstVideoAFDMetaAPI",
    "GstVideoBarMetaAPI",
];

/// The one of [`ALLOWED`] that describes memory, not the frame.
const LAYOUT: &str = "GstVideoMetaAPI";

/// Whether every meta may leave.
pub(super) fn all_allowed(buffer: &gst::BufferRef) -> bool {
    buffer.foreach_meta(|meta| {
        if ALLOWED.contains(&meta.api().name()) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })
}

/// A buffer without memory that has the time, flags and allowed metas of another.
///
/// # Errors
/// The time could not be copied.
pub(super) fn shell(from: &gst::BufferRef) -> Result<gst::Buffer, gst::glib::BoolError> {
    let mut shell = gst::Buffer::new();
    if let Some(to) = shell.get_mut() {
        from.copy_into(to, gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS, ..)?;
        to.unset_flags(gst::BufferFlags::TAG_MEMORY);
        let all = MetaTransformCopy::new(..);
        from.foreach_meta(|meta| {
            let name = meta.api().name();
            if ALLOWED.contains(&name) && name != LAYOUT {
                // A meta that cannot be copied stays behind: losing a caption is no leak.
                let _ = meta.transform(to, &all);
            }
            ControlFlow::Continue(())
        });
    }
    Ok(shell)
}

/// Faces that an element upstream found: regions of interest whose type speaks of a face or a head.
/// Other types (a person, a car) would cover far more than a face and are not read.
pub(super) fn hints(buffer: &gst::BufferRef, width_px: u32, height_px: u32) -> Vec<Detection> {
    buffer
        .iter_meta::<gst_video::VideoRegionOfInterestMeta>()
        .filter(|meta| {
            let kind = meta.roi_type().to_ascii_lowercase();
            kind.contains("face") || kind.contains("head")
        })
        .filter_map(|meta| {
            let (x, y, w, h) = meta.rect();
            let (x, y, w, h) = (x as f32, y as f32, w as f32, h as f32);
            let box_px = BoxPx {
                x0: x,
                y0: y,
                x1: x + w,
                y1: y + h,
            }
            .clipped(width_px, height_px);
            box_px.is_valid().then_some(Detection {
                box_px,
                score: 1.0,
                landmarks: None,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{all_allowed, hints, shell};
    use nullface::frame::BoxPx;

    #[test]
    fn a_parent_buffer_does_not_follow() {
        gst::init().expect("GStreamer");
        let raw = gst::Buffer::from_slice(vec![7_u8; 16]);
        let mut buffer = gst::Buffer::from_slice(vec![1_u8; 16]);
        let inner = buffer.get_mut().expect("only reference");
        inner.set_pts(gst::ClockTime::SECOND);
        gst_video::VideoCaptionMeta::add(inner, gst_video::VideoCaptionType::Cea608Raw, &[0x80, 0x80]);
        assert!(all_allowed(inner));
        gst::meta::ParentBufferMeta::add(inner, &raw);
        assert!(!all_allowed(inner));
        let shell = shell(inner).expect("shell");
        assert!(shell.meta::<gst::meta::ParentBufferMeta>().is_none());
        assert!(shell.meta::<gst_video::VideoCaptionMeta>().is_some());
        assert_eq!((shell.pts(), shell.n_memory()), (Some(gst::ClockTime::SECOND), 0));
    }

    #[test]
    fn only_faces_are_hints_and_only_inside_the_frame() {
        gst::init().expect("GStreamer");
        let mut buffer = gst::Buffer::new();
        let inner = buffer.get_mut().expect("only reference");
        gst_video::VideoRegionOfInterestMeta::add(inner, "face", (10, 20, 30, 40));
        gst_video::VideoRegionOfInterestMeta::add(inner, "person", (0, 0, 100, 100));
        gst_video::VideoRegionOfInterestMeta::add(inner, "Head", (90, 90, 30, 30));
        gst_video::VideoRegionOfInterestMeta::add(inner, "face", (500, 500, 30, 30));
        let boxes: Vec<BoxPx> = hints(inner, 100, 100).iter().map(|d| d.box_px).collect();
        assert_eq!(
            boxes,
            [
                BoxPx {
                    x0: 10.0,
                    y0: 20.0,
                    x1: 40.0,
                    y1: 60.0
                },
                BoxPx {
                    x0: 90.0,
                    y0: 90.0,
                    x1: 100.0,
                    y1: 100.0
                },
            ]
        );
    }
}
