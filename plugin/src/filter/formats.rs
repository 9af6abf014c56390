//! Between GStreamer's caps and the library's frame geometry.
//!
//! Progressive frames only: in interlaced 4:2:0 the chroma rows of the two fields alternate, so a
//! region's chroma would be covered a line away from its luma. Such streams are refused at
//! negotiation; `deinterlace` before the element serves them.

use std::sync::LazyLock;

use gst::prelude::*;
use gst_video::{VideoColorMatrix, VideoColorRange, VideoFormat, VideoInfo, VideoInterlaceMode};
use nullface::frame::{FrameInfo, Matrix, PixelFormat, Range};

/// Largest side, px; beyond it a frame would exceed a GiB.
pub(super) const MAX_SIDE_PX: i32 = 16_384;

/// What the pads accept, best first: the planar formats of decoders and encoders, then their
/// 10-bit twins, then packed ones.
const FORMATS: [(VideoFormat, PixelFormat); 11] = [
    (VideoFormat::Nv12, PixelFormat::Nv12),
    (VideoFormat::I420, PixelFormat::I420),
    (VideoFormat::P01010le, PixelFormat::P010Le),
    (VideoFormat::I42010le, PixelFormat::I42010Le),
    (VideoFormat::Rgba, PixelFormat::Rgba),
    (VideoFormat::Bgra, PixelFormat::Bgra),
    (VideoFormat::Rgbx, PixelFormat::Rgbx),
    (VideoFormat::Bgrx, PixelFormat::Bgrx),
    (VideoFormat::Rgb, PixelFormat::Rgb),
    (VideoFormat::Bgr, PixelFormat::Bgr),
    (VideoFormat::Yuy2, PixelFormat::Yuy2),
];

/// Caps of both pad templates.
pub(super) static TEMPLATE_CAPS: LazyLock<gst::Caps> = LazyLock::new(|| {
    gst_video::VideoCapsBuilder::new()
        .format_list(FORMATS.map(|(format, _)| format))
        .width_range(1..=MAX_SIDE_PX)
        .height_range(1..=MAX_SIDE_PX)
        .build()
});

/// Why caps cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum CapsError {
    /// Not raw video.
    #[error("caps: expected raw video, got {0}")]
    NotVideo(String),
    /// Interlaced.
    #[error("interlace-mode: expected progressive, got {0}; put `deinterlace` before nullfacefilter")]
    Interlaced(String),
    /// A format that the library has no view for.
    #[error("format: expected one of the element's formats, got {0}")]
    Format(String),
}

/// What was negotiated, in both languages.
#[derive(Debug, Clone)]
pub(super) struct Negotiated {
    /// GStreamer's.
    pub(super) info: VideoInfo,
    /// The library's.
    pub(super) shape: FrameInfo,
}

impl Negotiated {
    /// Reads fixed caps.
    ///
    /// # Errors
    /// [`CapsError`] says which field cannot be served.
    pub(super) fn from_caps(caps: &gst::CapsRef) -> Result<Self, CapsError> {
        let info = VideoInfo::from_caps(caps).map_err(|_| CapsError::NotVideo(caps.to_string()))?;
        if info.interlace_mode() != VideoInterlaceMode::Progressive {
            return Err(CapsError::Interlaced(info.interlace_mode().to_str().to_string()));
        }
        let format = FORMATS
            .iter()
            .find_map(|&(theirs, ours)| (theirs == info.format()).then_some(ours))
            .ok_or_else(|| CapsError::Format(info.format().to_string()))?;
        let colorimetry = info.colorimetry();
        let shape = FrameInfo {
            format,
            width: info.width(),
            height: info.height(),
            matrix: match colorimetry.matrix() {
                VideoColorMatrix::Bt601 | VideoColorMatrix::Fcc => Matrix::Bt601,
                VideoColorMatrix::Bt709 | VideoColorMatrix::Smpte240m => Matrix::Bt709,
                VideoColorMatrix::Bt2020 => Matrix::Bt2020,
                // GStreamer's own guess for streams that do not say.
                _ if info.height() > 576 => Matrix::Bt709,
                _ => Matrix::Bt601,
            },
            range: if colorimetry.range() == VideoColorRange::Range0_255 {
                Range::Full
            } else {
                Range::Limited
            },
        };
        Ok(Self { info, shape })
    }

    /// How long a frame lasts by the caps, where they say.
    pub(super) fn frame_duration(&self) -> Option<gst::ClockTime> {
        let fps = self.info.fps();
        let (numer, denom) = (u64::try_from(fps.numer()).ok()?, u64::try_from(fps.denom()).ok()?);
        (numer > 0 && denom > 0)
            .then(|| gst::ClockTime::SECOND.mul_div_round(denom, numer))
            .flatten()
    }
}

/// Keeps of caps what is progressive or does not say.
pub(super) fn progressive_only(caps: &gst::CapsRef) -> gst::Caps {
    const FIELD: &str = "interlace-mode";
    let mut kept = gst::Caps::new_empty();
    {
        let kept = kept.make_mut();
        for (structure, features) in caps.iter_with_features() {
            let mut structure = structure.to_owned();
            if let Ok(value) = structure.value(FIELD) {
                if value.intersect(&"progressive".to_value()).is_none() {
                    continue;
                }
                structure.set(FIELD, "progressive");
            }
            kept.append_structure_full(structure, Some(features.to_owned()));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{Negotiated, TEMPLATE_CAPS, progressive_only};
    use nullface::frame::{Matrix, Range};

    fn negotiated(caps: &str) -> Result<Negotiated, super::CapsError> {
        gst::init().expect("GStreamer");
        Negotiated::from_caps(&caps.parse::<gst::Caps>().expect("caps"))
    }

    #[test]
    fn colorimetry_of_the_caps_chooses_matrix_and_range() {
        let base = "video/x-raw,format=NV12,width=64,height=64,framerate=25/1";
        let shape = negotiated(&format!("{base},colorimetry=bt709")).expect("fits").shape;
        assert_eq!((shape.matrix, shape.range), (Matrix::Bt709, Range::Limited));
        let shape = negotiated(&format!("{base},colorimetry=bt2020")).expect("fits").shape;
        assert_eq!((shape.matrix, shape.range), (Matrix::Bt2020, Range::Limited));
        let shape = negotiated(&format!("{base},colorimetry=1:4:0:0")).expect("fits").shape;
        assert_eq!((shape.matrix, shape.range), (Matrix::Bt601, Range::Full));
    }

    #[test]
    fn interlaced_caps_are_refused_with_the_remedy() {
        let error = negotiated("video/x-raw,format=NV12,width=64,height=64,framerate=25/1,interlace-mode=interleaved");
        assert!(error.expect_err("refused").to_string().contains("deinterlace"));
    }

    #[test]
    fn interlaced_choices_leave_the_offer() {
        gst::init().expect("GStreamer");
        let caps: gst::Caps = "video/x-raw,interlace-mode={interleaved,progressive};video/x-raw,interlace-mode=mixed;video/x-raw,width=7"
            .parse()
            .expect("caps");
        let kept = progressive_only(&caps);
        assert_eq!(kept.size(), 2);
        assert_eq!(
            kept.structure(0).and_then(|s| s.get::<String>("interlace-mode").ok()).as_deref(),
            Some("progressive")
        );
    }

    #[test]
    fn a_frame_of_the_caps_rate_has_its_duration() {
        let got = negotiated("video/x-raw,format=I420,width=2,height=2,framerate=30000/1001").expect("fits");
        assert_eq!(got.frame_duration().map(gst::ClockTime::nseconds), Some(33_366_667));
        let unknown = negotiated("video/x-raw,format=I420,width=2,height=2,framerate=0/1").expect("fits");
        assert_eq!(unknown.frame_duration(), None);
    }

    #[test]
    fn the_template_holds_eleven_formats() {
        gst::init().expect("GStreamer");
        let formats = TEMPLATE_CAPS.structure(0).and_then(|s| s.get::<gst::List>("format").ok());
        assert_eq!(formats.map(|f| f.len()), Some(11));
    }
}
