//! What is shown of a composite: where, with which edit, and the crops that an edit is made of.

use crate::crop::{ChannelOrder, CropSpec, Layout};
use crate::lowpass::{Border, LowPass};
use crate::raster;

/// Soft rim inside the mesh, in distances between the outer eye corners.
pub(crate) const RIM_IOD: f32 = 0.04;

/// A square picture of a face: a denoiser's crop and a ring around it, enlarged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Board {
    /// Side of the crop, px of the crop.
    pub crop_px: usize,
    /// Ring around it, px of the crop.
    pub margin_px: usize,
    /// Picture px for each crop px.
    pub k: usize,
}

impl Board {
    /// Side of the picture, px.
    #[must_use]
    pub fn side(&self) -> usize {
        (self.crop_px + 2 * self.margin_px) * self.k
    }

    /// The picture as it is read from a frame: interleaved RGB, 0–255.
    #[must_use]
    pub fn spec(&self) -> CropSpec {
        CropSpec {
            width: self.side(),
            height: self.side(),
            layout: Layout::Nhwc,
            order: ChannelOrder::Rgb,
            scale: 1.0,
            bias: 0.0,
        }
    }

    /// The crop out of a picture of `C` channels, averaged down.
    pub fn crop<const C: usize>(&self, picture: &[f32], out: &mut Vec<f32>) {
        let (k, side, share) = (self.k, self.side(), 1.0 / (self.k * self.k) as f32);
        out.clear();
        out.resize(self.crop_px * self.crop_px * C, 0.0);
        for (i, to) in out.chunks_exact_mut(C).enumerate() {
            let (x, y) = ((i % self.crop_px + self.margin_px) * k, (i / self.crop_px + self.margin_px) * k);
            for row in y..y + k {
                let from = (row * side + x) * C;
                for pixel in picture.get(from..from + k * C).unwrap_or(&[]).chunks_exact(C) {
                    to.iter_mut().zip(pixel).for_each(|(t, p)| *t += p * share);
                }
            }
        }
    }

    /// Fades a mask of the crop towards the crop's border, over `ramp_px`.
    pub fn ramp(&self, mask: &mut [f32], ramp_px: f32) {
        let side = self.crop_px;
        for (i, m) in mask.iter_mut().enumerate() {
            let (x, y) = (i % side, i / side);
            let edge = x.min(y).min(side - 1 - x).min(side - 1 - y) as f32;
            *m = m.clamp(0.0, 1.0) * (edge / ramp_px).min(1.0);
        }
    }

    /// Adds a crop's edit (interleaved RGB) to a row of the picture; the margin has none.
    pub fn add_edit(&self, edit: &[f32], y: usize, row: &mut [f32]) {
        let at = |v: usize| (v as f32 + 0.5) / self.k as f32 - self.margin_px as f32;
        let (start, end) = (self.margin_px * self.k, (self.margin_px + self.crop_px) * self.k);
        if !(start..end).contains(&y) {
            return;
        }
        let pixels = row.as_chunks_mut::<3>().0;
        for (x, pixel) in pixels.iter_mut().enumerate().take(end).skip(start) {
            let d = raster::sample::<3>(edit, self.crop_px, self.crop_px, [at(x), at(y)]);
            pixel.iter_mut().zip(d).for_each(|(p, d)| *p += d);
        }
    }
}

/// Where a picture replaces the frame: the mesh's inside with a soft rim that lies inside it, and
/// nothing in the outermost pixels of the picture.
pub fn weight(inside: &[f32], side: usize, k: usize, iod_px: f32, pass: &mut LowPass, weight: &mut Vec<f32>) {
    pass.run(side, side, RIM_IOD * iod_px, Border::Mirror, |x, y| {
        [inside.get(y * side + x).copied().unwrap_or(0.0)]
    });
    let ramp = 1.0 / (4 * k) as f32;
    let mut row = Vec::new();
    weight.clear();
    for y in 0..side {
        pass.row::<1>(y, &mut row);
        weight.extend(row.iter().enumerate().map(|(x, w)| {
            let edge = x.min(y).min(side - 1 - x).min(side - 1 - y) as f32;
            (w[0] * 2.0 - 1.0).clamp(0.0, 1.0) * (edge * ramp).min(1.0)
        }));
    }
}

/// A finished face: what is blended, and what is then seen.
#[derive(Debug)]
pub struct Finish<'a> {
    /// Where everything lies.
    pub board: Board,
    /// The frame, interleaved RGB, 0–255.
    pub canvas: &'a [f32],
    /// What the new picture is made of.
    pub base: &'a [f32],
    /// How much of it is shown, 0–1.
    pub weight: &'a [f32],
    /// Edit of the crop, interleaved RGB, that is added.
    pub edit: Option<&'a [f32]>,
}

impl Finish<'_> {
    /// The new picture, and the frame where the weight is 0, the new picture where it is 1; a row of no weight gets no
    /// edit. `line` is a buffer of the caller's.
    pub fn run(&self, line: &mut Vec<f32>, new: &mut Vec<u8>, seen: &mut Vec<u8>) {
        let side = self.board.side();
        new.resize(side * side * 3, 0);
        seen.resize(side * side * 3, 0);
        let rows = new.chunks_exact_mut(side * 3).zip(seen.chunks_exact_mut(side * 3));
        let sources = self
            .canvas
            .chunks_exact(side * 3)
            .zip(self.base.chunks_exact(side * 3))
            .zip(self.weight.chunks_exact(side));
        for (y, ((new, seen), ((canvas, base), weight))) in rows.zip(sources).enumerate() {
            if !weight.iter().any(|w| *w > 0.0) {
                // Never shown, but the row beside it is sampled with it.
                bytes(base, new);
                bytes(canvas, seen);
                continue;
            }
            let made = match self.edit {
                Some(edit) => {
                    line.clear();
                    line.extend_from_slice(base);
                    self.board.add_edit(edit, y, line);
                    &*line
                }
                None => base,
            };
            bytes(made, new);
            for (((s, c), n), w) in seen
                .as_chunks_mut::<3>()
                .0
                .iter_mut()
                .zip(canvas.as_chunks::<3>().0)
                .zip(made.as_chunks::<3>().0)
                .zip(weight)
            {
                for k in 0..3 {
                    s[k] = (c[k] + (n[k].clamp(0.0, 255.0) - c[k]) * w + 0.5) as u8;
                }
            }
        }
    }
}

fn bytes(from: &[f32], to: &mut [u8]) {
    for (t, f) in to.iter_mut().zip(from) {
        *t = (*f + 0.5) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rim_lies_inside_and_the_pictures_edge_is_never_written() {
        let side = 160;
        let inside: Vec<f32> = (0..side * side).map(|i| if i % side > 80 { 1.0 } else { 0.0 }).collect();
        let mut shown = Vec::new();
        weight(&inside, side, 1, 60.0, &mut LowPass::default(), &mut shown);
        for y in 0..side {
            assert_eq!(shown[y * side + side - 1], 0.0);
            assert!(shown[y * side..y * side + 80].iter().all(|w| *w == 0.0));
        }
        assert!((shown[80 * side + 110] - 1.0).abs() < 1e-4);
    }
}
