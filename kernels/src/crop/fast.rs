//! The fast path: separable where the map allows, else from a tile; whole rows, in parallel when large.

use super::{ChannelOrder, CropSpec, Layout, block_px, blocks_from_crop, is_separable};
use crate::affine::Affine;
use crate::color::Coder;
use crate::image::Image;
use crate::separable::{Scratch, Separable};
use crate::simd::vectorised;
use crate::taps::Taps;
use crate::tile::{Footprint, Tile};
use std::cell::Cell;

/// Below this many pixels, read or written, a crop stays on the calling thread: a 720p frame does,
/// a 1080p frame does not.
const PARALLEL_PX: f32 = 1_500_000.0;

thread_local! {
    /// Block means of a turned crop, and rows, kept from crop to crop.
    static PIXELS: Cell<Vec<[f32; 4]>> = const { Cell::new(Vec::new()) };
    static ROWS: Cell<Scratch> = Cell::new(Scratch::default());
}

/// See [`super::crop_affine`]; arguments have been checked.
pub(super) fn crop_affine(image: &Image<'_>, map: &Affine, spec: &CropSpec, out: &mut [f32]) {
    let area = spec.width * spec.height;
    let swap = spec.order == ChannelOrder::Bgr;
    let out = match spec.layout {
        Layout::Nchw => {
            let (r, rest) = out.split_at_mut(area);
            let (g, b) = rest.split_at_mut(area);
            let planes = if swap { [b, g, r] } else { [r, g, b] };
            Out::Planar {
                planes,
                scale: spec.scale,
                bias: spec.bias,
            }
        }
        Layout::Nhwc => Out::Interleaved {
            values: out,
            swap,
            scale: spec.scale,
            bias: spec.bias,
        },
    };
    run(image, map, spec.width, spec.height, out);
}

/// See [`super::crop_affine_u8`]; arguments have been checked.
pub(super) fn crop_affine_u8(image: &Image<'_>, map: &Affine, width: usize, height: usize, out: &mut [u8]) {
    run(image, map, width, height, Out::Bytes(out));
}

fn run(image: &Image<'_>, map: &Affine, width: usize, height: usize, out: Out<'_>) {
    let plan = if is_separable(map) {
        let [a, _, c, _, e, f] = map.m;
        let (w, h) = (image.width() as usize, image.height() as usize);
        Plan::Separable(Box::new(Separable::new(
            image,
            width,
            |shift| Taps::affine(width, a, c, w, shift),
            |shift| Taps::affine(height, e, f, h, shift),
        )))
    } else {
        turned(image, map, width, height)
    };
    let job = Job {
        plan,
        coder: Coder::new(image.info()),
        width,
    };
    // Work grows with what is read as well as with what is written.
    let read = map.det().abs() * (width * height) as f32;
    let leaf = if read.max((width * height) as f32) >= PARALLEL_PX {
        height.div_ceil(4).max(8)
    } else {
        height
    };
    job.rows(0, height, leaf, out);
    if let Plan::Turned { tile, .. } = job.plan {
        PIXELS.set(tile.pixels);
    }
}

/// Block means of the part of the frame that the crop can reach, and the map into them.
fn turned<'a>(image: &'a Image<'a>, map: &Affine, width: usize, height: usize) -> Plan<'a> {
    let block = block_px(map);
    let map = blocks_from_crop(map, block);
    let footprint = Footprint::of(&map);
    let corners = [[0.0, 0.0], [width as f32, 0.0], [0.0, height as f32], [width as f32, height as f32]];
    let span = |axis: usize, side: u32| {
        let blocks = (side as usize).div_ceil(block);
        let at = corners.map(|c| map.apply(c)[axis]);
        let lo = at.iter().copied().fold(f32::INFINITY, f32::min);
        let hi = at.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // Two more at either end: the bilinear neighbour and rounding.
        let first = ((lo - 2.0).max(0.0) as usize).min(blocks - 1);
        let end = ((hi + 3.0).max(0.0) as usize).clamp(first + 1, blocks);
        (first, end - first)
    };
    let ((x0, tile_width), (y0, tile_height)) = (span(0, image.width()), span(1, image.height()));
    let (w, h) = (image.width() as usize, image.height() as usize);
    let source = Separable::new(
        image,
        tile_width,
        |shift| Taps::blocks(tile_width, x0, block, w, shift),
        |shift| Taps::blocks(tile_height, y0, block, h, shift),
    );
    let mut tile = Tile {
        width: tile_width,
        height: tile_height,
        pixels: PIXELS.take(),
    };
    tile.pixels.resize(tile_width * tile_height, [0.0; 4]);
    let mut scratch = ROWS.take();
    for (y, line) in tile.pixels.chunks_exact_mut(tile_width).enumerate() {
        source.row(y, &mut scratch);
        let [a, b, c] = &scratch.row;
        for (((to, &a), &b), &c) in line.iter_mut().zip(a).zip(b).zip(c) {
            *to = [a, b, c, 0.0];
        }
    }
    ROWS.set(scratch);
    let [a, b, c, d, e, f] = map.m;
    Plan::Turned {
        tile,
        footprint,
        map: Affine {
            m: [a, b, c - x0 as f32, d, e, f - y0 as f32],
        },
    }
}

enum Plan<'a> {
    Separable(Box<Separable<'a>>),
    Turned { tile: Tile, footprint: Footprint, map: Affine },
}

struct Job<'a> {
    plan: Plan<'a>,
    coder: Coder,
    width: usize,
}

impl Job<'_> {
    fn rows(&self, first: usize, count: usize, leaf: usize, mut out: Out<'_>) {
        if count > leaf {
            let half = count / 2;
            let (a, b) = out.split(half, self.width);
            rayon::join(
                || self.rows(first, half, leaf, a),
                || self.rows(first + half, count - half, leaf, b),
            );
            return;
        }
        let mut scratch = ROWS.take();
        for row in 0..count {
            self.components(first + row, &mut scratch);
            let [a, b, c] = &mut scratch.row;
            decode(self.coder.decode_rows(), a, b, c);
            out.write(row, self.width, &scratch.row);
        }
        ROWS.set(scratch);
    }

    fn components(&self, y: usize, scratch: &mut Scratch) {
        match &self.plan {
            Plan::Separable(separable) => separable.row(y, scratch),
            Plan::Turned { tile, footprint, map } => {
                for to in &mut scratch.row {
                    to.resize(self.width, 0.0);
                }
                let [a, b, c] = &mut scratch.row;
                sample_row(tile, footprint, map, y, a, b, c);
            }
        }
    }
}

vectorised! {
/// Components to red, green, blue, in place.
fn decode(matrix: &[[f32; 4]; 3], a: &mut [f32], b: &mut [f32], c: &mut [f32]) {
    let [m0, m1, m2] = *matrix;
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        let (p, q, r) = (*a, *b, *c);
        *a = (m0[0] * p + m0[1] * q + m0[2] * r + m0[3]).clamp(0.0, 255.0);
        *b = (m1[0] * p + m1[1] * q + m1[2] * r + m1[3]).clamp(0.0, 255.0);
        *c = (m2[0] * p + m2[1] * q + m2[2] * r + m2[3]).clamp(0.0, 255.0);
    }
}
}

vectorised! {
fn sample_row(tile: &Tile, footprint: &Footprint, map: &Affine, y: usize, a: &mut [f32], b: &mut [f32], c: &mut [f32]) {
    for (x, ((a, b), c)) in a.iter_mut().zip(b).zip(c).enumerate() {
        let value = tile.mean(map.apply([x as f32 + 0.5, y as f32 + 0.5]), footprint);
        [*a, *b, *c, _] = value.to_array();
    }
}
}

vectorised! {
fn write_plane(from: &[f32], scale: f32, bias: f32, out: &mut [f32]) {
    for (to, &v) in out.iter_mut().zip(from) {
        *to = v * scale + bias;
    }
}
}

/// Where rows go.
enum Out<'a> {
    /// Planes in the order red, green, blue, wherever they lie.
    Planar {
        planes: [&'a mut [f32]; 3],
        scale: f32,
        bias: f32,
    },
    Interleaved {
        values: &'a mut [f32],
        swap: bool,
        scale: f32,
        bias: f32,
    },
    Bytes(&'a mut [u8]),
}

impl<'a> Out<'a> {
    /// Splits before a row.
    fn split(self, row: usize, width: usize) -> (Out<'a>, Out<'a>) {
        let at = row * width;
        match self {
            Self::Planar {
                planes: [r, g, b],
                scale,
                bias,
            } => {
                let ((r0, r1), (g0, g1), (b0, b1)) = (r.split_at_mut(at), g.split_at_mut(at), b.split_at_mut(at));
                (
                    Out::Planar {
                        planes: [r0, g0, b0],
                        scale,
                        bias,
                    },
                    Out::Planar {
                        planes: [r1, g1, b1],
                        scale,
                        bias,
                    },
                )
            }
            Self::Interleaved { values, swap, scale, bias } => {
                let (a, b) = values.split_at_mut(at * 3);
                (
                    Out::Interleaved {
                        values: a,
                        swap,
                        scale,
                        bias,
                    },
                    Out::Interleaved {
                        values: b,
                        swap,
                        scale,
                        bias,
                    },
                )
            }
            Self::Bytes(values) => {
                let (a, b) = values.split_at_mut(at * 3);
                (Out::Bytes(a), Out::Bytes(b))
            }
        }
    }

    fn write(&mut self, row: usize, width: usize, rgb: &[Vec<f32>; 3]) {
        let at = row * width;
        match self {
            Self::Planar { planes, scale, bias } => {
                for (plane, values) in planes.iter_mut().zip(rgb) {
                    write_plane(values, *scale, *bias, plane.get_mut(at..).unwrap_or_default());
                }
            }
            Self::Interleaved { values, swap, scale, bias } => {
                let [r, g, b] = rgb;
                let (first, last) = if *swap { (b, r) } else { (r, b) };
                let pixels = values.get_mut(at * 3..).unwrap_or_default().as_chunks_mut::<3>().0;
                for (((to, &p), &q), &r) in pixels.iter_mut().zip(first).zip(g).zip(last) {
                    *to = [p, q, r].map(|v| v * *scale + *bias);
                }
            }
            Self::Bytes(values) => {
                let [r, g, b] = rgb;
                let pixels = values.get_mut(at * 3..).unwrap_or_default().as_chunks_mut::<3>().0;
                for (((to, &p), &q), &r) in pixels.iter_mut().zip(r).zip(g).zip(b) {
                    *to = [p, q, r].map(|v| (v + 0.5) as u8);
                }
            }
        }
    }
}
