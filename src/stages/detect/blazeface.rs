//! BlazeFace short range (Bazarevsky et al. 2019): 128² in, 896 anchors out, in about a twelfth of
//! the time of a regular CenterFace look at 512×512. It finds faces that take up at least about a
//! tenth of what it is shown. By CenterFace at full resolution: all of the talking heads and of two
//! full-body films; where the face was 0.09 of the frame (101 px in 720×1080), 0.85, with boxes that fit
//! badly (mean IoU .19; .71 with the squares of a thorough look); none of a crowd at 1280×720.
//!
//! | output | shape | meaning |
//! |---|---|---|
//! | regressors | 1×896×16 | px of 128 from the anchor's centre: box centre x y, box w h, six points x y |
//! | classificators | 1×896×1 | logit |
//!
//! Anchors: 16×16 cells of 8 px with two each, then 8×8 cells of 16 px with six each, all at the
//! cell's middle. Points: right eye, left eye, nose tip, mouth centre, two ears. Mouth corners are
//! reckoned from the mouth's centre and the line of the eyes by the proportions of the ArcFace
//! template. The network's box ends at the brows; [`GROW_UP`] raises it to a little above where CenterFace's
//! ends (means over three films: 4 to 13 % of the height above).

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout};

use super::boxes::suppress;
use super::view::{View, whole};
use super::{DetectError, Detection, Detector, Effort, all_finite, of_backend, of_crops};
use crate::backend::{Backend, BackendError, SmallSession};
use crate::frame::{BoxPx, FrameView, Landmarks5};

const NAME: &str = "blazeface";
const SIDE_PX: usize = 128;
const ANCHORS: usize = 896;
const VALUES: usize = 16;
/// Logits beyond say no more (the authors' value).
const LOGIT_CLIP: f32 = 100.0;
const NMS_IOU: f32 = 0.3;
/// Half of the mouth's width as a share of the distance between the eyes, in the ArcFace template.
const HALF_MOUTH: f32 = 0.414;
/// Height added above the network's box, as a share of its height.
const GROW_UP: f32 = 0.3;

/// The detector.
#[derive(Debug)]
pub struct BlazeFace {
    session: SmallSession,
    anchors: Vec<[f32; 2]>,
}

impl BlazeFace {
    /// Loads the vendored network.
    ///
    /// # Errors
    /// [`BackendError`]: model missing or altered, device that does not start.
    pub fn open(backend: &Backend) -> Result<Self, BackendError> {
        Ok(Self {
            session: backend.small_session(NAME)?,
            anchors: anchors(),
        })
    }

    fn look(&mut self, frame: &FrameView<'_>, region_px: &BoxPx, threshold: f32) -> Result<Vec<Detection>, DetectError> {
        let view = View::letterbox(region_px, SIDE_PX, SIDE_PX);
        let spec = CropSpec {
            width: 0,
            height: 0,
            layout: Layout::Nhwc,
            order: ChannelOrder::Rgb,
            scale: 1.0 / 127.5,
            bias: -1.0,
        };
        let backend = of_backend(NAME);
        view.show(frame, &spec, &mut self.session).map_err(of_crops(NAME))?;
        self.session.run().map_err(&backend)?;
        let regressors = self.session.output(0, &[1, ANCHORS, VALUES]).map_err(&backend)?;
        let logits = self.session.output(1, &[1, ANCHORS, 1]).map_err(&backend)?;
        let found = decode(&self.anchors, regressors, logits, threshold)?;
        Ok(suppress(found, NMS_IOU).into_iter().map(|d| view.to_frame(d)).collect())
    }
}

impl Detector for BlazeFace {
    fn name(&self) -> &'static str {
        NAME
    }

    /// `Thorough` adds overlapping squares along the frame's longer side, which halves the smallest face found in 16:9.
    fn detect(&mut self, frame: &FrameView<'_>, threshold: f32, effort: Effort) -> Result<Vec<Detection>, DetectError> {
        let all = whole(frame);
        let mut found = self.look(frame, &all, threshold)?;
        if effort == Effort::Thorough {
            for square in squares(&all) {
                found.extend(self.look(frame, &square, threshold)?);
            }
        }
        Ok(suppress(found, NMS_IOU))
    }

    fn detect_in(&mut self, frame: &FrameView<'_>, region_px: BoxPx, threshold: f32) -> Result<Vec<Detection>, DetectError> {
        if !region_px.is_valid() {
            return Ok(Vec::new());
        }
        self.look(frame, &region_px, threshold)
    }
}

/// Squares of the shorter side, half overlapping, that cover the frame; none where it is nearly square.
fn squares(all: &BoxPx) -> Vec<BoxPx> {
    let (long, short) = (all.side(), all.width().min(all.height()));
    if long < 1.25 * short {
        return Vec::new();
    }
    let count = ((long - short) / (short / 2.0)).ceil().clamp(1.0, 15.0);
    (0..=count as usize)
        .map(|i| {
            let at = i as f32 * (long - short) / count;
            let (x0, y0) = if all.width() >= all.height() { (at, 0.0) } else { (0.0, at) };
            BoxPx {
                x0,
                y0,
                x1: x0 + short,
                y1: y0 + short,
            }
        })
        .collect()
}

/// Centres of all anchors, px of 128.
fn anchors() -> Vec<[f32; 2]> {
    let mut all = Vec::with_capacity(ANCHORS);
    for (cells, each) in [(16_usize, 2_usize), (8, 6)] {
        let step = SIDE_PX as f32 / cells as f32;
        for cell in 0..cells * cells {
            let center = [((cell % cells) as f32 + 0.5) * step, ((cell / cells) as f32 + 0.5) * step];
            all.extend(std::iter::repeat_n(center, each));
        }
    }
    all
}

/// All anchors of at least `threshold` as detections in network px, not yet suppressed.
fn decode(anchors: &[[f32; 2]], regressors: &[f32], logits: &[f32], threshold: f32) -> Result<Vec<Detection>, DetectError> {
    let bad = |what: String| DetectError::BadOutput { detector: NAME, what };
    if logits.len() != anchors.len() || regressors.len() != anchors.len() * VALUES {
        return Err(bad(format!(
            "expected {} anchors, got {} logits and {} regressors",
            anchors.len(),
            logits.len(),
            regressors.len()
        )));
    }
    all_finite(NAME, "classificators", logits)?;
    all_finite(NAME, "regressors", regressors)?;
    let mut found = Vec::new();
    for ((anchor, values), logit) in anchors.iter().zip(regressors.chunks_exact(VALUES)).zip(logits) {
        let score = 1.0 / (1.0 + (-logit.clamp(-LOGIT_CLIP, LOGIT_CLIP)).exp());
        if score < threshold {
            continue;
        }
        let point = |i: usize| [values[2 * i] + anchor[0], values[2 * i + 1] + anchor[1]];
        let mut box_px = BoxPx::around(point(0), values[2], values[3]);
        if !box_px.is_valid() {
            return Err(bad(format!("box: expected a positive size, got {} x {} px", values[2], values[3])));
        }
        box_px.y0 -= GROW_UP * values[3];
        let (right, left, nose, mouth) = (point(2), point(3), point(4), point(5));
        let half = [(left[0] - right[0]) * HALF_MOUTH, (left[1] - right[1]) * HALF_MOUTH];
        let corners = [[mouth[0] - half[0], mouth[1] - half[1]], [mouth[0] + half[0], mouth[1] + half[1]]];
        found.push(Detection {
            box_px,
            score,
            landmarks: Some(Landmarks5([right, left, nose, corners[0], corners[1]])),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{ANCHORS, GROW_UP, VALUES, anchors, decode, squares};
    use crate::frame::BoxPx;
    use crate::stages::detect::DetectError;

    fn one_face(at: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut regressors, mut logits) = (vec![0.0; ANCHORS * VALUES], vec![-20.0; ANCHORS]);
        logits[at] = 3.0;
        let values = [
            1.0, -2.0, 40.0, 30.0, -10.0, -5.0, 10.0, -5.0, 0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0, 0.0,
        ];
        regressors[at * VALUES..(at + 1) * VALUES].copy_from_slice(&values);
        (regressors, logits)
    }

    #[test]
    fn an_anchor_becomes_its_box_and_points() {
        let anchors = anchors();
        assert_eq!(anchors.len(), ANCHORS);
        let at = 512 + 6 * (8 + 2) + 3; // row 1, column 2 of the coarse grid: centre (40, 24)
        assert_eq!(anchors[at], [40.0, 24.0]);
        let (regressors, logits) = one_face(at);
        let found = decode(&anchors, &regressors, &logits, 0.5).expect("good outputs");
        assert_eq!(found.len(), 1);
        let (d, points) = (found[0], found[0].landmarks.expect("landmarks").0);
        assert_eq!(
            d.box_px,
            BoxPx {
                x0: 21.0,
                y0: 7.0 - GROW_UP * 30.0,
                x1: 61.0,
                y1: 37.0
            }
        );
        assert!((d.score - 0.952_574).abs() < 1e-4);
        assert_eq!((points[0], points[1], points[2]), ([30.0, 19.0], [50.0, 19.0], [40.0, 24.0]));
        assert!(
            (points[3][0] - 31.72).abs() < 1e-3 && (points[4][0] - 48.28).abs() < 1e-3 && points[3][1] == 34.0,
            "{points:?}"
        );
    }

    #[test]
    fn bad_numbers_are_refused() {
        let anchors = anchors();
        let (good, logits) = one_face(7);
        for (at, value) in [(0, f32::NAN), (7 * VALUES + 2, -1.0), (7 * VALUES + 3, 0.0), (5, f32::INFINITY)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(
                matches!(decode(&anchors, &bad, &logits, 0.5), Err(DetectError::BadOutput { .. })),
                "{at} {value}"
            );
        }
        let mut bad = logits.clone();
        bad[800] = f32::NAN;
        assert!(decode(&anchors, &good, &bad, 0.5).is_err());
        assert!(decode(&anchors, &good[1..], &logits, 0.5).is_err(), "short tensor");
    }

    #[test]
    fn squares_cover_the_frame() {
        let all = BoxPx {
            x0: 0.0,
            y0: 0.0,
            x1: 1280.0,
            y1: 720.0,
        };
        let found = squares(&all);
        assert_eq!(found.first().map(|s| s.x0), Some(0.0));
        assert_eq!(found.last().map(|s| s.x1), Some(1280.0));
        assert!(found.windows(2).all(|w| w[1].x0 - w[0].x0 <= 360.0));
        assert!(
            squares(&BoxPx {
                x1: 500.0,
                y1: 480.0,
                ..BoxPx::default()
            })
            .is_empty()
        );
    }
}
