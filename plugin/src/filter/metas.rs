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
//! | region of interest, analytics relation | no | read as hints; boxes and their parameters are data about people; `regions.rs` writes its own |
//! | all others | no | may hold pixels or what was derived from them |

use std::ops::ControlFlow;

use gst::meta::MetaTransformCopy;

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

#[cfg(test)]
mod tests {
    use super::{all_allowed, shell};

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
}
