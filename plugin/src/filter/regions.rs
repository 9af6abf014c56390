//! Regions as metas: what elements upstream found, and what this one did, for elements downstream.
//!
//! | meta | in | out, with `write-regions` |
//! |---|---|---|
//! | `GstVideoRegionOfInterestMeta` | type contains `face` or `head` | type `nullface`, parameters `nullface` with `track`, `outcome`, `rung` |
//! | `GstAnalyticsRelationMeta` (feature `analytics`) | object detections whose type contains `face` or `head` | object detection of type `nullface`, related to a tracking of the track's number |
//!
//! Regions that came in never leave: see `metas.rs`.

use nullface::frame::BoxPx;
use nullface::pipeline::{FaceReport, FrameReport};
use nullface::stages::detect::Detection;

use super::messages::outcome_words;

/// Type of the regions that are written.
pub(super) const KIND: &str = "nullface";

/// Whether a type speaks of a face or a head. Others (a person, a car) would cover far more.
fn is_face(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    kind.contains("face") || kind.contains("head")
}

fn detection(x: f32, y: f32, w: f32, h: f32, (width_px, height_px): (u32, u32)) -> Option<Detection> {
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
}

/// Faces that elements upstream found.
pub(super) fn hints(buffer: &gst::BufferRef, width_px: u32, height_px: u32) -> Vec<Detection> {
    let size = (width_px, height_px);
    let regions = buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>();
    #[allow(unused_mut, reason = "extended where the feature is on")]
    let mut found: Vec<Detection> = regions
        .filter(|meta| is_face(meta.roi_type()))
        .filter_map(|meta| {
            let (x, y, w, h) = meta.rect();
            detection(x as f32, y as f32, w as f32, h as f32, size)
        })
        .collect();
    #[cfg(feature = "analytics")]
    found.extend(analytics::hints(buffer, size));
    found
}

/// A box in whole pixels inside the frame, no smaller than the box; none where nothing of it is inside.
fn whole(face: &FaceReport, width_px: u32, height_px: u32) -> Option<(u32, u32, u32, u32)> {
    let b = face.box_px.clipped(width_px, height_px);
    if !b.is_valid() {
        return None;
    }
    let (x, y) = (b.x0.floor() as u32, b.y0.floor() as u32);
    Some((x, y, (b.x1.ceil() as u32).saturating_sub(x), (b.y1.ceil() as u32).saturating_sub(y)))
}

/// Writes what became of each region.
pub(super) fn write(buffer: &mut gst::BufferRef, report: &FrameReport, width_px: u32, height_px: u32) {
    for face in &report.faces {
        let Some(rect) = whole(face, width_px, height_px) else { continue };
        let (outcome, _, rung) = outcome_words(face.outcome);
        let mut meta = gst_video::VideoRegionOfInterestMeta::add(buffer, KIND, rect);
        meta.add_param(
            gst::Structure::builder(KIND)
                .field("track", face.track)
                .field("outcome", outcome)
                .field("rung", rung)
                .build(),
        );
    }
    #[cfg(feature = "analytics")]
    analytics::write(buffer, report, (width_px, height_px));
}

#[cfg(feature = "analytics")]
mod analytics {
    use gst::glib;
    use gst_analytics::{
        AnalyticsMetaRefExt, AnalyticsODMtd, AnalyticsRelationMeta, AnalyticsRelationMetaODExt, AnalyticsRelationMetaTrackingExt, RelTypes,
    };
    use nullface::pipeline::FrameReport;
    use nullface::stages::detect::Detection;

    use super::{KIND, detection, is_face, whole};

    pub(super) fn hints(buffer: &gst::BufferRef, size: (u32, u32)) -> Vec<Detection> {
        let Some(meta) = buffer.meta::<AnalyticsRelationMeta>() else {
            return Vec::new();
        };
        meta.iter::<AnalyticsODMtd>()
            .filter(|found| found.obj_type().is_some_and(|kind| is_face(kind.as_str())))
            .filter_map(|found| {
                let at = found.location().ok()?;
                detection(at.x as f32, at.y as f32, at.w as f32, at.h as f32, size)
            })
            .collect()
    }

    pub(super) fn write(buffer: &mut gst::BufferRef, report: &FrameReport, size: (u32, u32)) {
        if report.faces.is_empty() {
            return;
        }
        let mut meta = AnalyticsRelationMeta::add(buffer);
        let seen = gst::ClockTime::from_nseconds(report.pts.0);
        for face in &report.faces {
            let Some((x, y, w, h)) = whole(face, size.0, size.1) else {
                continue;
            };
            let [x, y, w, h] = [x, y, w, h].map(|v| i32::try_from(v).unwrap_or(i32::MAX));
            let Ok(found) = meta
                .add_od_mtd(glib::Quark::from_str(KIND), x, y, w, h, 1.0)
                .map(|found| found.id())
            else {
                continue;
            };
            // A meta that is full keeps what it has: losing a relation is no leak.
            if let Ok(track) = meta.add_tracking_mtd(face.track, seen).map(|track| track.id()) {
                let _ = meta.set_relation(RelTypes::RELATE_TO, found, track);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{hints, write};
    use nullface::frame::{BoxPx, Pts};
    use nullface::pipeline::{CoverReason, FaceReport, FrameReport, Outcome, Rung};

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

    #[test]
    fn regions_leave_in_whole_pixels_inside_the_frame_with_their_track() {
        gst::init().expect("GStreamer");
        let face = |x0: f32, x1: f32| FaceReport {
            track: 7,
            box_px: BoxPx { x0, y0: 2.5, x1, y1: 9.2 },
            outcome: Outcome::Covered {
                reason: CoverReason::Asked,
                rung: Rung::Solid,
            },
            cos: None,
            choice: None,
        };
        let report = FrameReport {
            pts: Pts(0),
            detected: true,
            faces: vec![face(-4.0, 6.3), face(200.0, 210.0)],
            withheld: None,
            fault: None,
        };
        let mut buffer = gst::Buffer::new();
        let inner = buffer.get_mut().expect("only reference");
        write(inner, &report, 100, 100);
        let metas: Vec<_> = inner.iter_meta::<gst_video::VideoRegionOfInterestMeta>().collect();
        assert_eq!(metas.len(), 1, "what is outside the frame has no region");
        assert_eq!((metas[0].roi_type(), metas[0].rect()), ("nullface", (0, 2, 7, 8)));
        let said = metas[0].param("nullface").expect("a parameter");
        assert_eq!((said.get("track"), said.get("rung")), (Ok(7_u64), Ok("solid")));
    }
}
