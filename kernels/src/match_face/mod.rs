//! The frame's light, colour and grain on a painted face: the plain definition, and what the processor runs.
//!
//! | | |
//! |---|---|
//! | light | `low(base) + (paint − low(paint)) · g`, `low` a Gaussian under alpha (normalised convolution, so that no background leaks in), `g` the ratio of low luma, clamped |
//! | grain | `paint + fine(paint) · (rms(base) / rms(paint) − 1)`, the root mean squares of what is finer than a Gaussian, under alpha over a wider one, clamped |
//! | not painted | the base; grain is left as it is where alpha is 0 |
//! | layout | paint 4 values a pixel: RGB 0–255, the fourth left alone; base 3; alpha 1 (0–1); painted 1 byte |
//! | lengths | the shortest operand decides how much is matched; nothing beyond it is read |
//! | source | normalised convolution: Knutsson and Westin 1993 |
//! | CUDA twin | `cuda/match_face.cu`; what it takes stands in [`crate::cuda::ops::match_faces`] |
//!
//! Low-passes run on grids as coarse as their kernels allow ([`crate::lowpass`]): a face of 300 px is matched on
//! some tens of cells a side.

use crate::lowpass::{Border, LowPass};

/// Luma weights.
pub const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
/// Kept away from a division by nothing: weight of a cell.
pub const LEAST_WEIGHT: f32 = 1e-3;
/// Kept away from a ratio of darkness, grey levels.
pub const LEAST_LUMA: f32 = 4.0;
/// Kept away from a ratio of nothing, grey levels.
pub const LEAST_RMS: f32 = 0.5;

/// How paint is matched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// Low-pass of light, px.
    pub light_sigma_px: f32,
    /// Least and most contrast gain.
    pub contrast: (f32, f32),
    /// What is finer than this counts as grain, px.
    pub fine_sigma_px: f32,
    /// Over how wide an area its amount is taken, px.
    pub area_sigma_px: f32,
    /// Least and most gain of the grain; a most of 1 leaves it as it is.
    pub grain: (f32, f32),
}

impl Recipe {
    /// Whether grain is matched at all.
    #[must_use]
    pub fn is_grained(&self) -> bool {
        self.grain.1 > 1.0
    }
}

/// A painted face and the frame behind it.
#[derive(Debug)]
pub struct Paint<'a> {
    /// Width, px.
    pub width: usize,
    /// Height, px.
    pub height: usize,
    /// The paint, RGB and a value of the caller's, 0–255; matched in place.
    pub paint: &'a mut [[f32; 4]],
    /// The frame, RGB, 0–255.
    pub base: &'a [[f32; 3]],
    /// How much of the paint is shown, 0–1.
    pub alpha: &'a [f32],
    /// 1 where there is paint.
    pub painted: &'a [u8],
}

/// Rows that come back from a low-pass; kept, so that a steady film allocates nothing.
#[derive(Debug, Default)]
pub struct Rows {
    /// One value a pixel.
    pub one: Vec<[f32; 1]>,
    /// Four.
    pub four: Vec<[f32; 4]>,
}

/// Luma of a colour.
#[must_use]
pub fn luma(p: [f32; 3]) -> f32 {
    p[0] * LUMA[0] + p[1] * LUMA[1] + p[2] * LUMA[2]
}

fn rgb([r, g, b, _]: [f32; 4]) -> [f32; 3] {
    [r, g, b]
}

/// The frame's light and colour on the paint.
pub fn light(face: &mut Paint<'_>, recipe: &Recipe, pass: &mut LowPass, rows: &mut Rows) {
    let (width, height) = (face.width, face.height);
    let (paint, base, alpha) = (&face.paint, face.base, face.alpha);
    // One low-pass of seven channels under alpha: paint, base, weight.
    pass.run(width, height, recipe.light_sigma_px, Border::Zero, |x, y| {
        let i = y * width + x;
        match (paint.get(i), base.get(i), alpha.get(i)) {
            (Some(t), Some(b), Some(&a)) if a > 0.0 => [t[0] * a, t[1] * a, t[2] * a, b[0] * a, b[1] * a, b[2] * a, a],
            _ => [0.0; 7],
        }
    });
    let (least, most) = recipe.contrast;
    pass.map(|[tr, tg, tb, br, bg, bb, weight]| {
        let share = 1.0 / (weight + LEAST_WEIGHT);
        let (t, b) = ([tr * share, tg * share, tb * share], [br * share, bg * share, bb * share]);
        let gain = ((luma(b) + LEAST_LUMA) / (luma(t) + LEAST_LUMA)).clamp(least, most);
        [b[0] - t[0] * gain, b[1] - t[1] * gain, b[2] - t[2] * gain, gain]
    });
    let lines = face.paint.chunks_exact_mut(width.max(1)).zip(base.chunks_exact(width.max(1)));
    for (y, ((paint, base), painted)) in lines.zip(face.painted.chunks_exact(width.max(1))).enumerate() {
        pass.row(y, &mut rows.four);
        for (((p, b), painted), low) in paint.iter_mut().zip(base).zip(painted).zip(&rows.four) {
            let lit = if *painted != 0 {
                std::array::from_fn(|c| (low[c] + p[c] * low[3]).clamp(0.0, 255.0))
            } else {
                *b
            };
            *p = [lit[0], lit[1], lit[2], p[3]];
        }
    }
}

/// Gives the paint the frame's own amount of fine contrast, not its pattern: a soft film gets a soft face, a sharp
/// one a sharp face. `fine` gets the fine parts: of the paint as it was, and of the frame's luma.
pub fn grain(face: &mut Paint<'_>, recipe: &Recipe, pass: &mut LowPass, rows: &mut Rows, fine: &mut Vec<[f32; 4]>) {
    let (width, height) = (face.width, face.height);
    let (paint, base, alpha) = (&face.paint, face.base, face.alpha);
    pass.run(width, height, recipe.fine_sigma_px, Border::Mirror, |x, y| {
        let i = y * width + x;
        match (paint.get(i), base.get(i)) {
            (Some(l), Some(b)) => [l[0], l[1], l[2], luma(*b)],
            _ => [0.0; 4],
        }
    });
    fine.clear();
    let lines = paint.chunks_exact(width.max(1)).zip(base.chunks_exact(width.max(1)));
    for (y, (paint, base)) in lines.enumerate() {
        pass.row(y, &mut rows.four);
        let parts = paint.iter().zip(base).zip(&rows.four);
        fine.extend(parts.map(|((l, b), low)| [l[0] - low[0], l[1] - low[1], l[2] - low[2], luma(*b) - low[3]]));
    }
    let parts = &*fine;
    pass.run(width, height, recipe.area_sigma_px, Border::Zero, |x, y| {
        let i = y * width + x;
        match (parts.get(i), alpha.get(i)) {
            (Some(f), Some(&a)) if a > 0.0 => [luma(rgb(*f)).powi(2) * a, f[3] * f[3] * a, a],
            _ => [0.0; 3],
        }
    });
    let (least, most) = recipe.grain;
    pass.map(|[paint, frame, weight]| {
        let rms = |energy: f32| (energy.max(0.0) / (weight + LEAST_WEIGHT)).sqrt() + LEAST_RMS;
        [(rms(frame) / rms(paint)).clamp(least, most) - 1.0]
    });
    let lines = face
        .paint
        .chunks_exact_mut(width.max(1))
        .zip(fine.chunks_exact(width.max(1)))
        .zip(alpha.chunks_exact(width.max(1)));
    for (y, ((paint, fine), alpha)) in lines.enumerate() {
        pass.row(y, &mut rows.one);
        for (((l, f), a), gain) in paint.iter_mut().zip(fine).zip(alpha).zip(&rows.one) {
            if *a > 0.0 {
                (0..3).for_each(|c| l[c] = (l[c] + f[c] * gain[0]).clamp(0.0, 255.0));
            }
        }
    }
}
