//! CenterFace (Xu et al. 2019): a heat map of face centres at a quarter of the input's size, with
//! box size, centre offset and five landmarks for each cell.
//!
//! | output | shape for an input of h×w | meaning |
//! |---|---|---|
//! | 537 | 1×1×h/4×w/4 | probability of a face centre in the cell |
//! | 538 | 1×2×… | ln(height/4), ln(width/4) |
//! | 539 | 1×2×… | centre's offset from the middle of the cell, y then x, in cells |
//! | 540 | 1×10×… | y0 x0 … y4 x4 from the box's top left corner, in box heights and widths |
//!
//! Input: RGB 0–255, NCHW, sides a multiple of 32; the frame keeps its aspect and is padded by its
//! own border.
//!
//! ONNX Runtime runs it: against OpenCV's dnn in one run, two threads without spinning, it took 0.16
//! (320×192), 0.27 (640×384) and 0.38 (1280×736) of the time.
//!
//! Recall against a pass at full resolution, threshold 0.5, faces of at least 20 px, a face counting
//! as found where a box grown by 1.25 holds 95 % of it; time as a share of the full pass:
//!
//! | frames | faces | glance | regular | thorough |
//! |---|---|---|---|---|
//! | five talking heads, 480×480 and 512×512 (14 frames each) | 70, from 238 px | 1.00 at 0.29 to 0.49 | 1.00 at 0.31 to 0.66 | 1.00 |
//! | talking heads 360×288 and 400×300 (10 frames each) | 20, from 91 px | 1.00 | 1.00 | 1.00 |
//! | portrait to full body 720×1080 | 13, from 101 px | 1.00 at 0.08 | 1.00 at 0.50 | 1.00 at 1.19 |
//! | portrait to full body 480×908 | 10, from 148 px | 1.00 at 0.09 | 1.00 at 0.36 | 1.00 at 0.90 |
//! | portrait to full body 720×1364 | 10, from 233 px | 1.00 at 0.06 | 1.00 at 0.38 | 1.00 at 1.62 |
//! | crowd montage 1280×720 (4 frames) | 305, from 20 px | 0.38 at 0.04 | 0.98 at 0.41 | 1.00 at 0.84 |
//! | crowd montage 1920×1080 (4 frames) | 979, from 20 px | 0.09 at 0.06 | 0.88 at 0.28 | 1.00 at 1.41 |
//!
//! (Debug build, two threads, a busy machine: shares are good to a third. Fitting the mesh to one face
//! takes 0.3 to 1 of a glance.)
//!
//! So crowds of the smallest faces need a thorough look now and then; below 960 px a regular look
//! with a smallest face of 16 px or less is the full pass.
//!
//! Regular and thorough looks go over what has changed since the last one of their kind (`still.rs`).
//!
//! Limits: memory grows with the largest pass, about 0.5 GB for one at 1920×1080, which is why larger
//! looks are tiled ([`PASS_PX2`]), with coarser levels for faces that tiles cut.

use nullface_kernels::KernelError;
use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout};

use super::boxes::suppress;
use super::still::{Extent, Still};
use super::view::{View, whole};
use super::{DetectError, Detection, Detector, Effort, GLANCED_SHARE, InPart, Part, all_finite, of_backend, of_crops};
use crate::backend::{Backend, BackendError, Session};
use crate::frame::{BoxPx, FrameView, Landmarks5};

const NAME: &str = "centerface";
/// Cell of the heat map, px.
const STRIDE_PX: usize = 4;
/// Sides of the input are multiples of this, px.
const MULTIPLE_PX: usize = 32;
/// Boxes that overlap by more are one face (the authors' value).
const NMS_IOU: f32 = 0.3;
/// Longer side of a glance, px.
const GLANCE_SIDE_PX: f32 = 320.0;
/// Size at which the smallest wanted face should reach the network in a regular look, px.
const REGULAR_FACE_PX: f32 = 16.0;
/// The same in a thorough look.
const THOROUGH_FACE_PX: f32 = 20.0;
/// Longer side of a regular look at most, px: bounds its cost at 0.55 Mpx in 16:9.
const REGULAR_SIDE_PX: f32 = 960.0;
/// Largest enlargement of a thorough look.
const MAX_ENLARGEMENT: f32 = 2.0;
/// Largest input of one pass, network px²: the network holds about 200 bytes for each at its widest, so
/// this bounds it at 45 MB. Half as much again cost 17 MB and saved a fifth of a look at 480×908.
const PASS_PX2: usize = 210_000;
/// Overlap of tiles, network px: faces up to this size lie whole in one tile.
const OVERLAP_PX: f32 = 64.0;
/// How much coarser the next level is that looks for what tiles cut: faces of [`OVERLAP_PX`] reach the
/// network at 21 px there.
const COARSER: f32 = 3.0;
/// A box that ends this close to a cut may go on beyond it, network px.
const AT_CUT_PX: f32 = 8.0;
/// Share of a cut box inside a whole one from which both are one face.
const PIECE_SHARE: f32 = 0.6;

/// The detector.
#[derive(Debug)]
pub struct CenterFace {
    session: Session,
    min_face_px: f32,
    still: Still,
}

impl CenterFace {
    /// Loads the vendored network.
    ///
    /// # Errors
    /// [`BackendError`]: model missing or altered, device that does not start.
    pub fn open(backend: &Backend) -> Result<Self, BackendError> {
        Ok(Self {
            session: backend.session(NAME)?,
            min_face_px: 20.0,
            still: Still::default(),
        })
    }

    /// Scale of a thorough look.
    fn thorough_scale(&self) -> f32 {
        (THOROUGH_FACE_PX / self.min_face_px).clamp(1.0, MAX_ENLARGEMENT)
    }

    /// One pass over a region at a scale, in network px per frame px; boxes in frame px.
    ///
    /// # Errors
    /// [`DetectError`].
    pub fn look(&mut self, frame: &FrameView<'_>, region_px: &BoxPx, scale: f32, threshold: f32) -> Result<Vec<Detection>, DetectError> {
        let view = View::of_region(region_px, scale, MULTIPLE_PX);
        let spec = CropSpec {
            width: 0,
            height: 0,
            layout: Layout::Nchw,
            order: ChannelOrder::Rgb,
            scale: 1.0,
            bias: 0.0,
        };
        let backend = of_backend(NAME);
        view.show(frame, &spec, &mut self.session).map_err(of_crops(NAME))?;
        self.session.run().map_err(&backend)?;
        let (rows, columns) = (view.height / STRIDE_PX, view.width / STRIDE_PX);
        let output = |index, channels| self.session.output(index, &[1, channels, rows, columns]).map_err(&backend);
        let maps = Maps {
            rows,
            columns,
            heat: output(0, 1)?,
            scale: output(1, 2)?,
            offset: output(2, 2)?,
            landmarks: output(3, 10)?,
        };
        let found = maps.decode(threshold)?;
        Ok(suppress(found, NMS_IOU).into_iter().map(|d| view.to_frame(d)).collect())
    }

    /// Looks at what has changed in a region since the last look at it at this scale; the rest is as it was.
    fn look_at_changes(
        &mut self,
        frame: &FrameView<'_>,
        region_px: &BoxPx,
        scale: f32,
        threshold: f32,
    ) -> Result<Vec<Detection>, DetectError> {
        let extent = self.still.extent(frame, region_px, scale, threshold).map_err(of_frame)?;
        let mut found = match extent {
            Extent::Everything => self.levels(frame, region_px, scale, threshold)?,
            Extent::Part(part) => self.levels(frame, &part, scale, threshold)?,
            Extent::Nothing => Vec::new(),
        };
        self.still.keep(region_px, scale, threshold, extent, &mut found);
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(found)
    }

    /// Looks at a part of the frame at a scale, in tiles where it is larger than a pass may be, and then at
    /// coarser levels for the faces that are larger than tiles overlap.
    fn levels(&mut self, frame: &FrameView<'_>, part: &BoxPx, scale: f32, threshold: f32) -> Result<Vec<Detection>, DetectError> {
        let mut scale = scale;
        let (mut whole_faces, mut pieces) = (Vec::new(), Vec::new());
        loop {
            let tiles = tiles(part, scale);
            for tile in &tiles {
                for d in self.look(frame, tile, scale, threshold)? {
                    if is_cut(&d.box_px, tile, part, AT_CUT_PX / scale) {
                        pieces.push(d);
                    } else {
                        whole_faces.push(d);
                    }
                }
            }
            if tiles.len() == 1 {
                return Ok(suppress(put_together(whole_faces, pieces), NMS_IOU));
            }
            scale /= COARSER;
        }
    }
}

impl Detector for CenterFace {
    fn name(&self) -> &'static str {
        NAME
    }

    fn detect(&mut self, frame: &FrameView<'_>, threshold: f32, effort: Effort) -> Result<Vec<Detection>, DetectError> {
        let all = whole(frame);
        match effort {
            Effort::Glance => self.look(frame, &all, (GLANCE_SIDE_PX / all.side()).min(1.0), threshold),
            Effort::Regular => self.look_at_changes(frame, &all, regular_scale(all.side(), self.min_face_px), threshold),
            Effort::Thorough => self.look_at_changes(frame, &all, self.thorough_scale(), threshold),
        }
    }

    fn detect_part(&mut self, frame: &FrameView<'_>, threshold: f32, part: Part) -> Result<InPart, DetectError> {
        let all = whole(frame);
        let scale = match part.effort {
            Effort::Thorough => self.thorough_scale(),
            _ => regular_scale(all.side(), self.min_face_px),
        };
        let part = part_of(&all, scale, part);
        let found = self.look_at_changes(frame, &part, scale, threshold)?;
        let (cut, whole) = found.into_iter().partition(|d| is_cut(&d.box_px, &part, &all, AT_CUT_PX / scale));
        Ok(InPart { whole, cut, part_px: part })
    }

    fn detect_in(&mut self, frame: &FrameView<'_>, region_px: BoxPx, threshold: f32) -> Result<Vec<Detection>, DetectError> {
        let region = region_px.clipped(frame.width(), frame.height());
        if !region.is_valid() {
            return Ok(Vec::new());
        }
        // Always one input size: a new size costs a new buffer and new plans in the runtime.
        let scale = (GLANCE_SIDE_PX / region.side()).min(MAX_ENLARGEMENT);
        let side = GLANCE_SIDE_PX / scale;
        self.look(frame, &BoxPx::around(region.center(), side, side), scale, threshold)
    }

    fn set_min_face_px(&mut self, min_face_px: u32) {
        self.min_face_px = min_face_px.max(1) as f32;
    }
}

fn of_frame(source: KernelError) -> DetectError {
    DetectError::Frame { detector: NAME, source }
}

/// Scale of a regular look.
fn regular_scale(side_px: f32, min_face_px: f32) -> f32 {
    (REGULAR_FACE_PX / min_face_px).min(REGULAR_SIDE_PX / side_px).min(1.0)
}

/// A part of the frame, frame px. Parts overlap by as much as a face may measure that no glance finds.
fn part_of(all: &BoxPx, scale: f32, part: Part) -> BoxPx {
    let overlap = (OVERLAP_PX / scale).max(GLANCED_SHARE * all.side());
    let of = part.of.max(1);
    let cut = |length: f32| {
        spans(0.0, length, of, overlap)
            .get(part.index % of)
            .copied()
            .unwrap_or((0.0, length))
    };
    if all.width() >= all.height() {
        let (x0, x1) = cut(all.width());
        BoxPx { x0, x1, ..*all }
    } else {
        let (y0, y1) = cut(all.height());
        BoxPx { y0, y1, ..*all }
    }
}

/// Tiles of a part, frame px, each at most [`PASS_PX2`] at that scale; one where the whole part is.
fn tiles(part: &BoxPx, scale: f32) -> Vec<BoxPx> {
    let overlap = OVERLAP_PX / scale;
    let (mut columns, mut rows) = (1, 1);
    loop {
        let (xs, ys) = (
            spans(part.x0, part.width(), columns, overlap),
            spans(part.y0, part.height(), rows, overlap),
        );
        let side = |spans: &[(f32, f32)]| spans.first().map_or(0.0, |s| s.1 - s.0);
        let (width, height) = (side(&xs), side(&ys));
        let region = BoxPx::around([0.0, 0.0], width, height);
        let view = View::of_region(&region, scale, MULTIPLE_PX);
        // Tiles that hardly more than overlap win nothing.
        let smallest = width.max(height) <= 2.0 * overlap;
        if view.width * view.height <= PASS_PX2 || smallest {
            return ys
                .iter()
                .flat_map(|&(y0, y1)| xs.iter().map(move |&(x0, x1)| BoxPx { x0, y0, x1, y1 }))
                .collect();
        }
        if width >= height { columns += 1 } else { rows += 1 }
    }
}

/// Cuts a length into spans of equal length that overlap.
fn spans(start: f32, length: f32, count: usize, overlap: f32) -> Vec<(f32, f32)> {
    let n = count.max(1) as f32;
    let span = ((length + (n - 1.0) * overlap) / n).min(length);
    (0..count.max(1))
        .map(|i| {
            let from = start + i as f32 * (span - overlap);
            (from, from + span)
        })
        .collect()
}

/// Whether a box ends where its tile does and the looked-at part does not.
fn is_cut(face: &BoxPx, tile: &BoxPx, all: &BoxPx, near_px: f32) -> bool {
    (tile.x0 > all.x0 + 0.5 && face.x0 < tile.x0 + near_px)
        || (tile.y0 > all.y0 + 0.5 && face.y0 < tile.y0 + near_px)
        || (tile.x1 < all.x1 - 0.5 && face.x1 > tile.x1 - near_px)
        || (tile.y1 < all.y1 - 0.5 && face.y1 > tile.y1 - near_px)
}

/// Faces seen whole, and of the pieces those that no whole one holds. A whole face is at least as sure as
/// its surest piece.
fn put_together(mut faces: Vec<Detection>, pieces: Vec<Detection>) -> Vec<Detection> {
    let known = faces.len();
    for piece in pieces {
        let holder = faces[..known]
            .iter_mut()
            .filter(|f| piece.box_px.share_inside(&f.box_px) >= PIECE_SHARE)
            .max_by(|a, b| a.score.total_cmp(&b.score));
        match holder {
            Some(face) => face.score = face.score.max(piece.score),
            None => faces.push(piece),
        }
    }
    faces
}

/// The network's outputs for one picture.
struct Maps<'a> {
    rows: usize,
    columns: usize,
    heat: &'a [f32],
    scale: &'a [f32],
    offset: &'a [f32],
    landmarks: &'a [f32],
}

impl Maps<'_> {
    /// All cells of at least `threshold` as detections in network px, not yet suppressed.
    fn decode(&self, threshold: f32) -> Result<Vec<Detection>, DetectError> {
        let bad = |what: String| DetectError::BadOutput { detector: NAME, what };
        let cells = self.rows * self.columns;
        for (name, data, channels) in [
            ("heat map", self.heat, 1),
            ("scale", self.scale, 2),
            ("offset", self.offset, 2),
            ("landmarks", self.landmarks, 10),
        ] {
            if data.len() != channels * cells {
                return Err(bad(format!("{name}: expected {} values, got {}", channels * cells, data.len())));
            }
            all_finite(NAME, name, data)?;
        }
        let stride = STRIDE_PX as f32;
        let mut found = Vec::new();
        for (cell, &score) in self.heat.iter().enumerate() {
            if !(-1e-3..=1.001).contains(&score) {
                return Err(bad(format!("heat map: expected a probability, got {score}")));
            }
            if score < threshold {
                continue;
            }
            let (row, column) = ((cell / self.columns) as f32, (cell % self.columns) as f32);
            let at = |map: &[f32], channel: usize| map[channel * cells + cell];
            let (height, width) = (at(self.scale, 0).exp() * stride, at(self.scale, 1).exp() * stride);
            let center = [
                (column + 0.5 + at(self.offset, 1)) * stride,
                (row + 0.5 + at(self.offset, 0)) * stride,
            ];
            let box_px = BoxPx::around(center, width, height);
            if !box_px.is_valid() {
                return Err(bad(format!("box: expected a finite size, got {width} x {height} px")));
            }
            let point = |i: usize| {
                [
                    at(self.landmarks, 2 * i + 1) * width + box_px.x0,
                    at(self.landmarks, 2 * i) * height + box_px.y0,
                ]
            };
            found.push(Detection {
                box_px,
                score: score.min(1.0),
                landmarks: Some(Landmarks5([point(0), point(1), point(2), point(3), point(4)])),
            });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        DetectError, Effort, GLANCED_SHARE, MULTIPLE_PX, Maps, OVERLAP_PX, PASS_PX2, Part, View, is_cut, part_of, put_together,
        regular_scale, tiles,
    };
    use crate::frame::BoxPx;

    /// Maps of 3×5 cells with one face of 32×40 px whose centre is at (10, 7) px.
    fn one_face() -> [Vec<f32>; 4] {
        let (cells, cell) = (15, 5 + 2); // row 1, column 2
        let mut maps = [vec![0.0; cells], vec![0.0; 2 * cells], vec![0.0; 2 * cells], vec![0.0; 10 * cells]];
        maps[0][cell] = 0.9;
        maps[1][cell] = (40.0_f32 / 4.0).ln();
        maps[1][cells + cell] = (32.0_f32 / 4.0).ln();
        maps[2][cell] = 0.25; // 1.5 + 0.25 cells = 7 px
        maps[2][cells + cell] = 0.0; // 2.5 cells = 10 px
        for i in 0..5 {
            maps[3][2 * i * cells + cell] = 0.5;
            maps[3][(2 * i + 1) * cells + cell] = 0.1 * i as f32;
        }
        maps
    }

    fn decode(maps: &[Vec<f32>; 4]) -> Result<Vec<super::Detection>, DetectError> {
        Maps {
            rows: 3,
            columns: 5,
            heat: &maps[0],
            scale: &maps[1],
            offset: &maps[2],
            landmarks: &maps[3],
        }
        .decode(0.5)
    }

    #[test]
    fn a_cell_becomes_its_box_and_points() {
        let found = decode(&one_face()).expect("good maps");
        assert_eq!(found.len(), 1);
        let d = found[0];
        let close = |a: f32, b: f32| (a - b).abs() < 1e-3;
        assert!(
            close(d.box_px.x0, -6.0) && close(d.box_px.x1, 26.0) && close(d.box_px.y0, -13.0) && close(d.box_px.y1, 27.0),
            "{d:?}"
        );
        let points = d.landmarks.expect("landmarks").0;
        assert!(
            close(points[0][0], -6.0) && close(points[0][1], 7.0) && close(points[4][0], -6.0 + 0.4 * 32.0),
            "{points:?}"
        );
    }

    #[test]
    fn numbers_that_are_none_are_refused_wherever_they_stand() {
        for map in 0..4 {
            for value in [f32::NAN, f32::INFINITY] {
                let mut maps = one_face();
                maps[map][0] = value;
                assert!(matches!(decode(&maps), Err(DetectError::BadOutput { .. })), "map {map}, {value}");
            }
        }
        let mut maps = one_face();
        maps[0][3] = 7.0;
        assert!(decode(&maps).is_err(), "no probability");
        let mut maps = one_face();
        maps[1][7] = 200.0;
        assert!(decode(&maps).is_err(), "infinite size");
        let mut maps = one_face();
        maps[3].pop();
        assert!(decode(&maps).is_err(), "short tensor");
    }

    #[test]
    fn tiles_cover_everything_overlap_enough_and_are_small_enough() {
        let mut cut = 0;
        for (width, height) in [(1.0, 1.0), (480.0, 908.0), (1280.0, 720.0), (3840.0, 33.0), (7680.0, 4320.0)] {
            let all = BoxPx {
                x1: width,
                y1: height,
                ..BoxPx::default()
            };
            for scale in [2.0, 1.0, 0.4] {
                let tiles = tiles(&all, scale);
                cut += usize::from(tiles.len() > 1);
                let overlap = OVERLAP_PX / scale - 0.1;
                for tile in &tiles {
                    assert!(tile.x0 >= 0.0 && tile.y0 >= 0.0 && tile.x1 <= width + 0.1 && tile.y1 <= height + 0.1);
                    let view = View::of_region(tile, scale, MULTIPLE_PX);
                    assert!(view.width * view.height <= PASS_PX2, "{width} {height} {scale} {tile:?}");
                }
                // A face as large as the overlap lies whole in a tile, wherever it is.
                for (i, j) in (0..=20).flat_map(|i| (0..=20).map(move |j| (i, j))) {
                    let (w, h) = (overlap.min(width), overlap.min(height));
                    let (x0, y0) = ((width - w) * i as f32 / 20.0, (height - h) * j as f32 / 20.0);
                    let face = BoxPx {
                        x0,
                        y0,
                        x1: x0 + w,
                        y1: y0 + h,
                    };
                    assert!(tiles.iter().any(|t| face.share_inside(t) > 0.999), "{face:?} {scale}");
                }
            }
        }
        assert!(cut > 5);
    }

    #[test]
    fn a_face_too_small_for_a_glance_lies_in_one_of_the_parts_whole() {
        for (width, height) in [(640.0_f32, 480.0_f32), (480.0, 908.0), (1280.0, 720.0), (33.0, 20.0)] {
            let all = BoxPx {
                x1: width,
                y1: height,
                ..BoxPx::default()
            };
            let scale = regular_scale(all.side(), 20.0);
            for of in [2, 3, 4, 8] {
                let part = |index| Part {
                    index,
                    of,
                    effort: Effort::Regular,
                };
                let parts: Vec<BoxPx> = (0..of).map(|i| part_of(&all, scale, part(i))).collect();
                let side = (GLANCED_SHARE * all.side()).min(width).min(height) - 0.1;
                for (i, j) in (0..=40).flat_map(|i| (0..=40).map(move |j| (i, j))) {
                    let (x0, y0) = ((width - side) * i as f32 / 40.0, (height - side) * j as f32 / 40.0);
                    let (x1, y1) = (x0 + side, y0 + side);
                    let face = BoxPx { x0, y0, x1, y1 };
                    assert!(parts.iter().any(|p| face.share_inside(p) > 0.999), "{face:?} {parts:?}");
                }
                let most = if width.max(height) > 300.0 { 1.0 / of as f32 + 0.15 } else { 1.0 };
                assert!(parts.iter().all(|p| p.area() <= most * all.area()), "{parts:?}");
            }
        }
    }

    #[test]
    fn a_piece_of_a_face_seen_whole_is_dropped_and_any_other_kept() {
        let at = |x0: f32, x1: f32, score| super::Detection {
            box_px: BoxPx { x0, y0: 0.0, x1, y1: 10.0 },
            score,
            landmarks: None,
        };
        let found = put_together(vec![at(0.0, 40.0, 0.3)], vec![at(20.0, 40.0, 0.9), at(60.0, 80.0, 0.6)]);
        assert_eq!(found, vec![at(0.0, 40.0, 0.9), at(60.0, 80.0, 0.6)]);
        let (all, tile) = (at(0.0, 100.0, 0.0).box_px, at(0.0, 50.0, 0.0).box_px);
        assert!(is_cut(&at(30.0, 49.0, 0.0).box_px, &tile, &all, 2.0));
        assert!(!is_cut(&at(0.0, 40.0, 0.0).box_px, &tile, &all, 2.0), "at the frame's border");
    }

    #[test]
    fn the_regular_look_never_enlarges_and_is_bounded() {
        assert_eq!(regular_scale(512.0, 10.0), 1.0);
        assert_eq!(regular_scale(512.0, 32.0), 0.5);
        assert!(regular_scale(3840.0, 20.0) * 3840.0 <= 960.5);
    }
}
