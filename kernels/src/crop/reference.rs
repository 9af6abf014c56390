//! The plain definition: output pixel by output pixel, tap by tap.

use super::{ChannelOrder, CropSpec, Layout, block_px, blocks_from_crop, is_separable};
use crate::affine::Affine;
use crate::color::Coder;
use crate::image::Image;
use crate::packing::Packing;
use crate::taps::{MAX_AXIS_TAPS, bilinear, tap_count, tap_offset};
use crate::tile::MAX_TILE_TAPS;

/// See [`super::crop_affine`]; arguments have been checked there (wrong ones give wrong pixels, no panic).
pub fn crop_affine(image: &Image<'_>, frame_from_crop: &Affine, spec: &CropSpec, out: &mut [f32]) {
    let sampler = Sampler::new(image, frame_from_crop);
    let area = spec.width * spec.height;
    for (i, value) in out.iter_mut().enumerate() {
        let (pixel, channel) = match spec.layout {
            Layout::Nchw => (i % area, i / area),
            Layout::Nhwc => (i / 3, i % 3),
        };
        let channel = if spec.order == ChannelOrder::Bgr { 2 - channel } else { channel };
        let rgb = sampler.rgb(pixel % spec.width, pixel / spec.width);
        *value = rgb[channel] * spec.scale + spec.bias;
    }
}

/// See [`super::crop_affine_u8`].
pub fn crop_affine_u8(image: &Image<'_>, frame_from_crop: &Affine, width: usize, out: &mut [u8]) {
    let sampler = Sampler::new(image, frame_from_crop);
    for (i, pixel) in out.chunks_exact_mut(3).enumerate() {
        for (to, v) in pixel.iter_mut().zip(sampler.rgb(i % width, i / width)) {
            *to = (v + 0.5) as u8;
        }
    }
}

struct Sampler<'a> {
    image: &'a Image<'a>,
    packing: Packing,
    coder: Coder,
    map: Affine,
    block: usize,
    taps: [usize; 2],
}

impl<'a> Sampler<'a> {
    fn new(image: &'a Image<'a>, frame_from_crop: &Affine) -> Self {
        let separable = is_separable(frame_from_crop);
        let block = if separable { 1 } else { block_px(frame_from_crop) };
        let map = blocks_from_crop(frame_from_crop, block);
        let max = if separable { MAX_AXIS_TAPS } else { MAX_TILE_TAPS };
        let [a, b, _, d, e, _] = map.m;
        let taps = [tap_count(a.hypot(d), max), tap_count(b.hypot(e), max)];
        let info = image.info();
        Self {
            image,
            packing: Packing::of(info.format),
            coder: Coder::new(info),
            map,
            block,
            taps,
        }
    }

    fn rgb(&self, x: usize, y: usize) -> [f32; 3] {
        let [nx, ny] = self.taps;
        let mut sum = [0.0f64; 3];
        for j in 0..ny {
            for i in 0..nx {
                let c = [x as f32 + 0.5 + tap_offset(i, nx), y as f32 + 0.5 + tap_offset(j, ny)];
                let value = self.tap(self.map.apply(c));
                sum.iter_mut().zip(value).for_each(|(s, v)| *s += v);
            }
        }
        let codes = sum.map(|s| (s / (nx * ny) as f64) as f32);
        self.coder.decode(codes).map(|v| v.clamp(0.0, 255.0))
    }

    fn tap(&self, p: [f32; 2]) -> [f64; 3] {
        let (width, height) = (self.image.width() as usize, self.image.height() as usize);
        let (x0, x1, fx) = bilinear(p[0], width.div_ceil(self.block));
        let (y0, y1, fy) = bilinear(p[1], height.div_ceil(self.block));
        let (fx, fy) = (f64::from(fx), f64::from(fy));
        let mut value = [0.0; 3];
        for (x, y, w) in [
            (x0, y0, (1.0 - fx) * (1.0 - fy)),
            (x1, y0, fx * (1.0 - fy)),
            (x0, y1, (1.0 - fx) * fy),
            (x1, y1, fx * fy),
        ] {
            if w > 0.0 {
                value.iter_mut().zip(self.mean(x, y)).for_each(|(s, v)| *s += w * v);
            }
        }
        value
    }

    /// Mean of one block of pixels; the pixel itself where blocks are single pixels.
    fn mean(&self, bx: usize, by: usize) -> [f64; 3] {
        let (width, height) = (self.image.width() as usize, self.image.height() as usize);
        let (mut sum, mut count) = ([0.0; 3], 0.0);
        for y in by * self.block..((by + 1) * self.block).min(height) {
            for x in bx * self.block..((bx + 1) * self.block).min(width) {
                for (component, s) in sum.iter_mut().enumerate() {
                    let c = &self.packing.components[component];
                    *s += f64::from(self.packing.load(self.image, component, x >> c.shift_x, y >> c.shift_y));
                }
                count += 1.0;
            }
        }
        sum.map(|s| if count > 0.0 { s / count } else { 0.0 })
    }
}
