//! Faces made on a device against the plain definition: what the shim's test and the check on a real GPU both compare.

#![allow(dead_code, unreachable_pub, clippy::expect_used, reason = "test support")]

use nullface_kernels::crop::crop_affine;
use nullface_kernels::cuda::ops::DeviceFrame;
use nullface_kernels::cuda::{
    Added, Cropping, CudaError, DeviceEdit, DeviceFace, DeviceTexture, Finishing, Gpu, Moved, Painter, Painting, Reading,
};
use nullface_kernels::lowpass::LowPass;
use nullface_kernels::paint_face::{Board, Composite, Compositor, Face, Finish, Recipe, Sheet, iod_px, weight};
use nullface_kernels::raster::Point;
use nullface_kernels::warp_edit::{self, Warp};
use nullface_kernels::{Affine, PixelFormat, match_face};

use super::{Frame, Noise};

/// Grey levels, on the mean of all values: order of sums, fused multiply-add, the frame's own crop.
pub const MEAN: f32 = 0.5;
/// Codes of one value.
pub const MOST: f32 = 2.0;
/// Share of pixels that may lie on the other side of a triangle's edge.
pub const EDGES: f32 = 1e-3;
/// Of 1, at one pixel of a weight or mask.
pub const SHARE: f32 = 0.01;
/// Cells of a thumbnail's side.
pub const THUMB: usize = 8;
const ACROSS: usize = 18;
const DOWN: usize = 26;
const SIZE: usize = 64;
/// Fade of the crops' masks, px.
pub const RAMP: f32 = 3.0;

/// A mesh of as many points as the real one, over a texture.
pub struct Model {
    canonical: Vec<Point>,
    triangles: Vec<[u16; 3]>,
    mask: Vec<f32>,
    pub texture: Vec<f32>,
}

impl Model {
    pub fn new(seed: u64) -> Self {
        let mut noise = Noise(seed);
        let canonical = (0..ACROSS * DOWN)
            .map(|i| {
                let (x, y) = ((i % ACROSS) as f32 / (ACROSS - 1) as f32, (i / ACROSS) as f32 / (DOWN - 1) as f32);
                [4.0 + 56.0 * x, 4.0 + 56.0 * y]
            })
            .collect();
        let at = |x: usize, y: usize| (y * ACROSS + x) as u16;
        let mut triangles: Vec<[u16; 3]> = (0..(ACROSS - 1) * (DOWN - 1))
            .flat_map(|i| {
                let (x, y) = (i % (ACROSS - 1), i / (ACROSS - 1));
                [
                    [at(x, y), at(x + 1, y), at(x + 1, y + 1)],
                    [at(x, y), at(x + 1, y + 1), at(x, y + 1)],
                ]
            })
            .collect();
        // Openings come first: some in the middle.
        triangles.rotate_left(2 * 10 * (ACROSS - 1) + 12);
        let pixel = |i: usize| ((i % SIZE) as f32 / SIZE as f32, (i / SIZE) as f32 / SIZE as f32);
        let edge = |(x, y): (f32, f32)| (12.0 * x.min(1.0 - x).min(y).min(1.0 - y)).clamp(0.0, 1.0);
        Self {
            canonical,
            triangles,
            mask: (0..SIZE * SIZE)
                .flat_map(|i| {
                    let p = pixel(i);
                    [edge(p), 1.0 - 0.6 * edge(p), (1.0 - 4.0 * p.1).clamp(0.0, 1.0)]
                })
                .collect(),
            texture: (0..SIZE * SIZE)
                .flat_map(|i| {
                    let (x, y) = pixel(i);
                    let wave = 30.0 * (9.0 * x).sin() * (7.0 * y).cos();
                    let [r, g, b] = [150.0, 110.0, 95.0].map(|c| c + wave + noise.between(-9.0, 9.0));
                    [r, g, b, edge((x, y))]
                })
                .collect(),
        }
    }

    pub fn sheet(&self) -> Sheet<'_> {
        Sheet {
            size_px: SIZE,
            canonical_px: &self.canonical,
            triangles: &self.triangles,
            openings: 6,
            mask: &self.mask,
        }
    }
}

/// An edit that was made at another mesh, px of the crop, and one before it with its share.
#[derive(Clone)]
pub struct Kept {
    pub then: Vec<Point>,
    pub before: Option<(Vec<f32>, Vec<Point>, f32)>,
}

/// One face.
#[derive(Clone)]
pub struct Case {
    pub board: Board,
    pub map: Affine,
    pub points: Vec<Point>,
    pub moved: Vec<Point>,
    pub depth: Vec<f32>,
    pub recipe: Recipe,
    pub keeps_front: bool,
    pub edit: Option<Vec<f32>>,
    /// Where the edit moves along; else it is added as it is.
    pub kept: Option<Kept>,
    pub from_prior: bool,
}

impl Case {
    /// A mesh that fills the canvas, moved by `shift` of its side and with a dome's depth, folded over itself beside
    /// the dome.
    pub fn new(board: Board, shift: (f32, f32), change: f32, seed: u64) -> Self {
        let mut noise = Noise(seed);
        let side = board.side() as f32;
        let shape = |i: usize, change: f32| {
            let (u, v) = (
                (i % ACROSS) as f32 / (ACROSS - 1) as f32 - 0.5,
                (i / ACROSS) as f32 / (DOWN - 1) as f32 - 0.5,
            );
            let inner = (0.25 - u * u - v * v).max(0.0) * 4.0;
            let x = 0.5 + shift.0 + 0.72 * u + 0.03 * (11.0 * v).sin() + change * inner * (0.4 + u);
            let y = 0.5 + shift.1 + 0.8 * v + change * inner * (0.3 - v);
            // A fold, which only depth decides.
            let fold = if (0.1..0.18).contains(&u) && v.abs() < 0.2 { -0.07 } else { 0.0 };
            ([(x + fold) * side, y * side], -0.5 * inner * side + 4.0 * fold * side)
        };
        let all = ACROSS * DOWN;
        let points: Vec<Point> = (0..all).map(|i| shape(i, 0.0).0).collect();
        let moved = (0..all).map(|i| shape(i, change).0).collect();
        let recipe = recipe(iod_px(&points).expect("eyes"), true);
        let pixels = 3 * board.crop_px * board.crop_px;
        Self {
            board,
            map: Affine {
                m: [
                    1.1 / board.k as f32,
                    -0.2 / board.k as f32,
                    14.0 + shift.0 * 9.0,
                    0.2 / board.k as f32,
                    1.1 / board.k as f32,
                    6.0,
                ],
            },
            points,
            moved,
            depth: (0..all).map(|i| shape(i, 0.0).1).collect(),
            recipe,
            keeps_front: true,
            edit: Some((0..pixels).map(|_| noise.between(-20.0, 20.0)).collect()),
            kept: None,
            from_prior: true,
        }
    }

    /// The mesh now, px of the crop, and its depth.
    pub fn in_crop(&self) -> (Vec<Point>, Vec<f32>) {
        let (k, margin) = (self.board.k as f32, self.board.margin_px as f32);
        let points = self.moved.iter().map(|p| [p[0] / k - margin, p[1] / k - margin]);
        (points.collect(), self.depth.iter().map(|z| z / k).collect())
    }

    /// The same with an edit that was made `by` px of the crop away, and with an earlier one that fades.
    pub fn moving(mut self, by: f32, before: Option<(f32, f32)>) -> Self {
        let at = |by: f32| -> Vec<Point> { self.in_crop().0.iter().map(|p| [p[0] + by, p[1] - by / 2.0]).collect() };
        let edit = self.edit.clone().unwrap_or_default();
        let then = at(by);
        let before = before.map(|(by, share)| (edit.iter().map(|v| 0.5 * v + 3.0).collect(), at(by), share));
        self.kept = Some(Kept { then, before });
        self
    }
}

pub fn recipe(iod: f32, grained: bool) -> Recipe {
    let matching = match_face::Recipe {
        light_sigma_px: 0.3 * iod,
        contrast: (0.6, 1.5),
        fine_sigma_px: 0.05 * iod,
        area_sigma_px: 0.25 * iod,
        grain: if grained { (0.6, 2.5) } else { (1.0, 1.0) },
    };
    Recipe::new(matching, ((0.1, 0.35), (36.0, 72.0)), (0.05, 0.1), iod)
}

/// Faces of all canvas sizes: at the border, half outside, still, without grain, edited and not, with and without what
/// stands in front; and three that cannot be painted. More than a launch takes.
pub fn cases() -> Vec<Case> {
    let board = |k| Board {
        crop_px: 32,
        margin_px: 4,
        k,
    };
    let mut all: Vec<Case> = [
        (1, 0.0, 0.0),
        (2, 0.0, 0.1),
        (3, -0.1, 0.0),
        (2, 0.45, 0.2),
        (3, -0.5, -0.4),
        (1, 0.3, 0.0),
    ]
    .into_iter()
    .enumerate()
    .map(|(i, (k, x, y))| {
        let case = Case::new(board(k), (x, y), 0.05, i as u64 + 1);
        match i {
            0 => case.moving(0.0, None),
            1 => case.moving(1.25, None),
            2 => case.moving(0.5, Some((-2.0, 1.0 / 3.0))),
            3 => case.moving(0.0, Some((1.0, 2.0 / 3.0))),
            4 => case,
            _ => case.moving(-1.0, Some((0.0, 1.0 / 3.0))),
        }
    })
    .collect();
    let mut still = Case::new(board(2), (0.0, 0.0), 0.0, 20);
    (still.edit, still.from_prior) = (None, false);
    let mut plain = Case::new(board(3), (0.05, 0.0), -0.04, 21);
    (plain.recipe, plain.keeps_front) = (recipe(iod_px(&plain.points).expect("eyes"), false), false);
    let mut frames_own = Case::new(board(2), (0.0, -0.05), 0.03, 22);
    frames_own.from_prior = false;
    let mut flat = Case::new(board(1), (0.0, 0.0), 0.05, 23);
    flat.points.iter_mut().for_each(|p| *p = [20.0, 20.0]);
    let mut broken = Case::new(board(1), (0.0, 0.0), 0.05, 24);
    broken.moved[7][1] = f32::NAN;
    let mut away = Case::new(board(1), (0.0, 0.0), 0.05, 25);
    // Mirrored: every triangle faces away.
    away.moved.iter_mut().for_each(|p| p[0] = 40.0 - p[0]);
    all.extend([still, plain, frames_own, flat, broken, away]);
    all
}

/// Grey slopes and noise, and a bright bar that stands before some faces.
pub fn frame(format: PixelFormat) -> Frame {
    let mut frame = Frame::noise(format, 96, 80, 0, 5);
    if let (Some(plane), Some(stride)) = (frame.planes.first_mut(), frame.strides.first()) {
        for (i, v) in plane.iter_mut().enumerate() {
            let (x, y) = (i % stride, i / stride);
            let bar = if format == PixelFormat::Rgb && (120..168).contains(&x) && y > 30 {
                [250, 20, 240][x % 3]
            } else {
                0
            };
            *v = if bar > 0 {
                bar
            } else {
                40 + (x / 3) as u8 + *v % 16 + (y / 2) as u8
            };
        }
    }
    frame
}

/// What is compared of a face.
#[derive(Clone, PartialEq, Debug)]
pub struct Made {
    pub thumb: Vec<f32>,
    /// `None` where it cannot be painted.
    pub painted: Option<Picture>,
}

/// Of a face that was painted.
#[derive(Clone, PartialEq, Debug)]
pub struct Picture {
    pub has_front: bool,
    pub weight: Vec<f32>,
    pub base: Vec<f32>,
    pub mask: Vec<f32>,
    pub source: Vec<f32>,
    pub new: Vec<u8>,
    pub seen: Vec<u8>,
}

/// On the processor.
pub fn by_processor(model: &Model, frame: &Frame, case: &Case) -> Made {
    let board = case.board;
    let side = board.side();
    let mut canvas = vec![0.0; 3 * side * side];
    crop_affine(&frame.view(), &case.map, &board.spec(), &mut canvas).expect("a crop");
    let cell = board.crop_px * board.k / THUMB;
    let thumb = (0..THUMB * THUMB)
        .map(|n| {
            let (x0, y0) = (
                board.margin_px * board.k + n % THUMB * cell,
                board.margin_px * board.k + n / THUMB * cell,
            );
            let row = |y: usize| -> f32 {
                let luma = |x: usize| {
                    let at = 3 * (y * side + x);
                    0.3 * canvas[at] + 0.59 * canvas[at + 1] + 0.11 * canvas[at + 2]
                };
                (x0..x0 + cell).step_by(2).map(luma).sum()
            };
            (y0..y0 + cell).step_by(2).map(row).sum()
        })
        .collect();
    let face = Face {
        crop: &canvas,
        width: side,
        height: side,
        points: &case.points,
        moved: &case.moved,
        depth: &case.depth,
    };
    let mut out = Composite::default();
    let painted = Compositor::default().composite(&face, &model.sheet(), &model.texture, &case.recipe, case.keeps_front, &mut out);
    let painted = painted.then(|| {
        let mut shown = Vec::new();
        weight(
            &out.inside,
            side,
            board.k,
            iod_px(&case.points).expect("eyes"),
            &mut LowPass::default(),
            &mut shown,
        );
        let (base, alpha) = if case.from_prior {
            (&out.picture, &out.alpha)
        } else {
            (&canvas, &shown)
        };
        let (mut crops, mut line) = ([(); 3].map(|()| Vec::new()), Vec::new());
        let [b, m, s] = &mut crops;
        board.crop::<3>(base, b);
        board.crop::<1>(alpha, m);
        board.ramp(m, RAMP);
        board.crop::<3>(&canvas, s);
        let mut moved = Vec::new();
        if let (Some(kept), Some(edit)) = (&case.kept, &case.edit) {
            let (points, depth) = case.in_crop();
            let mesh = warp_edit::Mesh {
                points: &points,
                depth: &depth,
                triangles: &model.triangles,
            };
            let edit = warp_edit::Edit {
                rgb: edit,
                points: &kept.then,
            };
            let before = kept
                .before
                .as_ref()
                .map(|(rgb, points, share)| (warp_edit::Edit { rgb, points }, *share));
            Warp::default().run(board.crop_px, &mesh, &edit, before, &mut moved);
        }
        let finish = Finish {
            board,
            canvas: &canvas,
            base,
            weight: &shown,
            edit: if moved.is_empty() { case.edit.as_deref() } else { Some(&moved) },
        };
        let (mut new, mut seen) = (Vec::new(), Vec::new());
        finish.run(&mut line, &mut new, &mut seen);
        let [base, mask, source] = crops;
        Picture {
            has_front: out.has_front,
            weight: shown,
            base,
            mask,
            source,
            new,
            seen,
        }
    });
    Made { thumb, painted }
}

/// Faces that are kept on a device, with their textures.
pub struct Stand {
    pub painter: Painter,
    pub texture: DeviceTexture,
    pub faces: Vec<DeviceFace>,
    /// Edits that stay there, of each case that has one, and those before them.
    kept: Vec<Option<(DeviceEdit, Option<DeviceEdit>)>>,
}

impl Stand {
    pub fn new(gpu: &Gpu, model: &Model) -> Result<Self, CudaError> {
        let painter = Painter::new(gpu, &model.sheet())?;
        let texture = painter.texture(&model.texture)?;
        Ok(Self {
            painter,
            texture,
            faces: Vec::new(),
            kept: Vec::new(),
        })
    }

    /// Puts the edits there that move along.
    pub fn take(&mut self, cases: &[Case]) -> Result<(), CudaError> {
        self.kept.clear();
        for case in cases {
            let (Some(kept), Some(edit)) = (&case.kept, &case.edit) else {
                self.kept.push(None);
                continue;
            };
            let mut edits: Vec<(&[f32], &[Point])> = vec![(edit, &kept.then)];
            edits.extend(kept.before.iter().map(|(rgb, points, _)| (&rgb[..], &points[..])));
            let mut there = self.painter.keep(&edits)?.into_iter();
            self.kept.push(there.next().map(|edit| (edit, there.next())));
        }
        Ok(())
    }

    /// Canvases, composites and finished pictures of all, after [`Self::take`], without bringing them down; whether each was painted, and
    /// whether something stands in front of it.
    pub fn make(&mut self, frame: &DeviceFrame, cases: &[Case], thumbs: &mut Vec<Vec<f32>>) -> Result<Vec<Option<bool>>, CudaError> {
        self.faces.resize_with(cases.len().max(self.faces.len()), DeviceFace::default);
        thumbs.resize(cases.len(), Vec::new());
        let reading = self.faces.iter_mut().zip(cases).zip(thumbs.iter_mut());
        let mut reading: Vec<Reading<'_>> = reading
            .map(|((face, case), thumb)| Reading {
                face,
                board: case.board,
                frame_from_canvas: case.map,
                thumb,
            })
            .collect();
        self.painter.read(frame, &mut reading, THUMB)?;
        let mut painting: Vec<Painting<'_>> = self
            .faces
            .iter_mut()
            .zip(cases)
            .map(|(face, case)| Painting {
                face,
                texture: &self.texture,
                points: &case.points,
                moved: &case.moved,
                depth: &case.depth,
                recipe: case.recipe,
                keeps_front: case.keeps_front,
            })
            .collect();
        let painted = self.painter.compose(&mut painting)?;
        let meshes: Vec<_> = cases.iter().map(Case::in_crop).collect();
        let mut finishing: Vec<Finishing<'_>> = self
            .faces
            .iter_mut()
            .zip(cases.iter().zip(&self.kept).zip(&meshes))
            .zip(&painted)
            .filter(|(_, painted)| painted.is_some())
            .map(|((face, ((case, there), (points, depth))), _)| Finishing {
                face,
                from_prior: case.from_prior,
                added: match (there, &case.kept, &case.edit) {
                    (Some((edit, before)), Some(kept), Some(_)) => Added::Moved(Moved {
                        edit,
                        before: before.as_ref().zip(kept.before.as_ref().map(|b| b.2)),
                        points,
                        depth,
                    }),
                    (_, _, Some(edit)) => Added::Here(edit),
                    _ => Added::Nothing,
                },
            })
            .collect();
        self.painter.finish(&mut finishing)?;
        Ok(painted.iter().map(|p| p.map(|p| p.has_front)).collect())
    }

    /// Everything, brought down.
    pub fn everything(&mut self, frame: &DeviceFrame, cases: &[Case]) -> Result<Vec<Made>, CudaError> {
        let mut thumbs = Vec::new();
        self.take(cases)?;
        let painted = self.make(frame, cases, &mut thumbs)?;
        let mut all = Vec::new();
        for (((case, face), thumb), painted) in cases.iter().zip(&self.faces).zip(thumbs).zip(painted) {
            let Some(has_front) = painted else {
                all.push(Made { thumb, painted: None });
                continue;
            };
            let side = case.board.side();
            let (mut base, mut mask, mut source) = (Vec::new(), Vec::new(), Vec::new());
            let crops = Cropping {
                face,
                from_prior: case.from_prior,
                base: &mut base,
                mask: &mut mask,
                source: &mut source,
            };
            self.painter.crops(&mut [crops], RAMP)?;
            let (mut weight, mut new) = (vec![0.0; side * side], vec![0; 3 * side * side]);
            face.shown().expect("finished").read(&mut new, &mut weight)?;
            let mut seen = Frame::noise(PixelFormat::Rgb, side as u32, side as u32, 0, 1);
            let there = face.seen().expect("finished").there().expect("is there");
            seen.info = *there.info();
            there.read_back(&mut seen.view_mut())?;
            all.push(Made {
                thumb,
                painted: Some(Picture {
                    has_front,
                    weight,
                    base,
                    mask,
                    source,
                    new,
                    seen: seen.planes.swap_remove(0),
                }),
            });
        }
        Ok(all)
    }
}

fn apart(what: &str, got: &[f32], want: &[f32], (mean, most, share): (f32, f32, f32)) -> Result<f32, String> {
    if got.len() != want.len() || want.is_empty() {
        return Err(format!("{what}: {} values for {}", got.len(), want.len()));
    }
    let off: Vec<f32> = got
        .iter()
        .zip(want)
        .map(|(a, b)| if a.is_nan() { f32::INFINITY } else { (a - b).abs() })
        .collect();
    let beyond = off.iter().filter(|o| **o > most).count();
    let average = off.iter().sum::<f32>() / off.len() as f32;
    if average <= mean && beyond as f32 <= share * off.len() as f32 {
        Ok(average)
    } else {
        let worst = off.iter().fold(0.0_f32, |m, o| m.max(*o));
        Err(format!(
            "{what}: off by {average} on average, {worst} at most, {beyond} of {} beyond {most}",
            off.len()
        ))
    }
}

/// One face against the definition; how far pictures are off on average.
pub fn compare(case: &Case, got: &Made, want: &Made) -> Result<f32, String> {
    let scale = want.thumb.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
    let unit = |v: &[f32]| v.iter().map(|v| v / scale).collect::<Vec<f32>>();
    apart("thumb", &unit(&got.thumb), &unit(&want.thumb), (1e-3, 2e-3, 0.0))?;
    let (got, want) = match (&got.painted, &want.painted) {
        (None, None) => return Ok(0.0),
        (Some(got), Some(want)) => (got, want),
        (got, want) => return Err(format!("painted: {} for {}", got.is_some(), want.is_some())),
    };
    if got.has_front != want.has_front {
        return Err(format!("front: {} for {}", got.has_front, want.has_front));
    }
    apart("weight", &got.weight, &want.weight, (SHARE, SHARE, EDGES))?;
    apart("mask", &got.mask, &want.mask, (SHARE, SHARE, EDGES))?;
    apart("base", &got.base, &want.base, (MEAN, MOST, EDGES))?;
    apart("source", &got.source, &want.source, (MEAN, MOST, 0.0))?;
    let floats = |v: &[u8]| v.iter().map(|v| f32::from(*v)).collect::<Vec<f32>>();
    let off = apart("seen", &floats(&got.seen), &floats(&want.seen), (MEAN, MOST, EDGES))?;
    // Rows of no weight are never shown.
    let (side, width) = (case.board.side(), 3 * case.board.side());
    let is_shown = |y: usize| want.weight[y * side..(y + 1) * side].iter().any(|w| *w > 0.0);
    let rows = |v: &[u8]| -> Vec<f32> {
        (0..side)
            .filter(|y| is_shown(*y))
            .flat_map(|y| floats(&v[y * width..(y + 1) * width]))
            .collect()
    };
    Ok(off.max(apart("new", &rows(&got.new), &rows(&want.new), (MEAN, MOST, EDGES))?))
}

/// The claim.
pub fn claim(gpu: &Gpu) -> Result<String, String> {
    let text = |e: CudaError| e.to_string();
    let (model, cases) = (Model::new(3), cases());
    let mut stand = Stand::new(gpu, &model).map_err(text)?;
    let (mut painted, mut worst) = (0, 0.0_f32);
    for format in [PixelFormat::Rgb, PixelFormat::Nv12] {
        let frame = frame(format);
        let device = DeviceFrame::upload(gpu, &frame.view()).map_err(text)?;
        let got = stand.everything(&device, &cases).map_err(text)?;
        for (i, (case, got)) in cases.iter().zip(&got).enumerate() {
            let want = by_processor(&model, &frame, case);
            let off = compare(case, got, &want).map_err(|e| format!("{format:?} face {i}: {e}"))?;
            worst = worst.max(off);
            painted += usize::from(want.painted.is_some());
        }
    }
    Ok(format!("{painted} faces painted, off by {worst:.2e} on average at most"))
}
