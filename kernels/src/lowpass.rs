//! Gaussian low-pass on a grid that is as coarse as the kernel allows.
//!
//! | | contract |
//! |---|---|
//! | in | block means of `C` interleaved values a pixel, given by a closure |
//! | grid | step 1, 2, 4 or 8 px, so that the kernel keeps a standard deviation of [`LEAST_SIGMA`] cells or more |
//! | kernel | sampled Gaussian to 3 σ, separable; the spread of the block mean and of the way back is taken off |
//! | border | [`Border::Mirror`] without repeating the edge, or [`Border::Zero`] for weights that end inside |
//! | out | bilinear, a row at a time |
//! | tolerance | standard deviation within 5 % of what is asked, constants kept to 1e-4 |
//!
//! Why a direct kernel and not running sums: on the coarse grid it has a dozen taps, and whole rows are
//! added, which vectorises; a running sum waits for itself.

/// Least standard deviation on the grid, cells.
const LEAST_SIGMA: f32 = 2.0;

/// What lies outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// The inside, mirrored.
    Mirror,
    /// Nothing.
    Zero,
}

/// The grid and the kernel of a low-pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// Side of a cell, px.
    pub(crate) step: usize,
    pub(crate) across: usize,
    pub(crate) down: usize,
    /// Of the kernel, cells; 0 = no kernel.
    pub(crate) sigma: f32,
}

impl Plan {
    pub(crate) fn of(width: usize, height: usize, sigma_px: f32) -> Self {
        let sigma = if sigma_px.is_finite() { sigma_px.max(0.0) } else { 0.0 };
        let step = [8, 4, 2].into_iter().find(|s| sigma >= LEAST_SIGMA * *s as f32).unwrap_or(1);
        let s = step as f32;
        let own = (s * s - 1.0) * 0.25;
        let cells = (sigma * sigma - own).max(0.0).sqrt() / s;
        Self {
            step,
            across: width.div_ceil(step),
            down: height.div_ceil(step),
            sigma: if cells > 1e-2 { cells } else { 0.0 },
        }
    }

    /// Taps to each side of the middle.
    pub(crate) fn radius(&self) -> usize {
        (3.0 * self.sigma).ceil() as usize
    }

    /// Weight of a tap before all are scaled to a sum of 1.
    pub(crate) fn tap(&self, t: usize) -> f32 {
        if self.sigma > 0.0 {
            (-0.5 * (t as f32 / self.sigma).powi(2)).exp()
        } else {
            1.0
        }
    }
}

/// A grid of low-passed values; keeps buffers.
#[derive(Debug, Default)]
pub struct LowPass {
    grid: Vec<f32>,
    other: Vec<f32>,
    line: Vec<f32>,
    kernel: Vec<f32>,
    /// Left cell and share of its right neighbour, for each column.
    columns: Vec<(u32, f32)>,
    width: usize,
    height: usize,
    step: usize,
    cells: (usize, usize),
}

/// Index `i` of a line of `len`, mirrored at its ends without repeating them.
fn mirror(i: isize, len: usize) -> usize {
    let last = len as isize - 1;
    if last <= 0 {
        return 0;
    }
    let folded = i.rem_euclid(2 * last);
    folded.min(2 * last - folded) as usize
}

impl LowPass {
    /// Low-passes a picture of `width × height`: `value(x, y)` is asked once a pixel, row by row.
    pub fn run<const C: usize>(
        &mut self,
        width: usize,
        height: usize,
        sigma: f32,
        border: Border,
        mut value: impl FnMut(usize, usize) -> [f32; C],
    ) {
        let plan = Plan::of(width, height, sigma);
        (self.step, self.cells) = (plan.step, (plan.across, plan.down));
        (self.width, self.height) = (width, height);
        let (step, (cw, ch)) = (self.step, self.cells);
        self.grid.clear();
        self.grid.resize(cw * ch * C, 0.0);
        for (cy, cells) in self.grid.chunks_exact_mut((cw * C).max(1)).enumerate() {
            let rows = cy * step..((cy + 1) * step).min(height);
            let tall = rows.len();
            for y in rows {
                for (cx, cell) in cells.as_chunks_mut::<C>().0.iter_mut().enumerate() {
                    for x in cx * step..((cx + 1) * step).min(width) {
                        let v = value(x, y);
                        cell.iter_mut().zip(v).for_each(|(c, v)| *c += v);
                    }
                }
            }
            for (cx, cell) in cells.as_chunks_mut::<C>().0.iter_mut().enumerate() {
                let wide = ((cx + 1) * step).min(width) - cx * step;
                let share = 1.0 / (wide * tall) as f32;
                cell.iter_mut().for_each(|c| *c *= share);
            }
        }
        self.smooth::<C>(&plan, border);
        self.columns.clear();
        self.columns.extend((0..width).map(|x| place(x, step, cw)));
    }

    /// Replaces every cell's values by others.
    pub fn map<const A: usize, const B: usize>(&mut self, f: impl Fn([f32; A]) -> [f32; B]) {
        self.other.clear();
        for cell in self.grid.as_chunks::<A>().0 {
            self.other.extend_from_slice(&f(*cell));
        }
        std::mem::swap(&mut self.grid, &mut self.other);
    }

    /// One row of the picture, low-passed.
    pub fn row<const C: usize>(&mut self, y: usize, out: &mut Vec<[f32; C]>) {
        let (cw, ch) = self.cells;
        out.clear();
        let (top, share) = place(y, self.step, ch);
        let at = |row: usize| self.grid.get(row * cw * C..(row + 1) * cw * C).unwrap_or(&[]);
        let (a, b) = (at(top as usize), at((top as usize + 1).min(ch.saturating_sub(1))));
        self.line.clear();
        self.line.extend(a.iter().zip(b).map(|(a, b)| a + (b - a) * share));
        // One cell more, so that the last has a right neighbour.
        self.line.extend_from_within(self.line.len().saturating_sub(C)..);
        let cells = self.line.as_chunks::<C>().0;
        if self.step == 1 {
            out.extend_from_slice(cells.get(..self.width).unwrap_or(&[]));
            return;
        }
        out.extend(self.columns.iter().map(|&(left, share)| {
            let at = |i: usize| cells.get(i).copied().unwrap_or([0.0; C]);
            let (a, b) = (at(left as usize), at(left as usize + 1));
            std::array::from_fn(|c| a[c] + (b[c] - a[c]) * share)
        }));
    }

    fn smooth<const C: usize>(&mut self, plan: &Plan, border: Border) {
        let (cw, ch) = self.cells;
        if plan.sigma == 0.0 || cw == 0 || ch == 0 {
            return;
        }
        let radius = plan.radius();
        self.kernel.clear();
        self.kernel.extend((0..=radius).map(|t| plan.tap(t)));
        let sum: f32 = 2.0 * self.kernel.iter().sum::<f32>() - 1.0;
        self.kernel.iter_mut().for_each(|w| *w /= sum);
        self.other.clear();
        self.other.resize(self.grid.len(), 0.0);
        let row = cw * C;
        for (from, to) in self.grid.chunks_exact(row).zip(self.other.chunks_exact_mut(row)) {
            self.line.clear();
            for i in 0..cw + 2 * radius {
                let x = i as isize - radius as isize;
                let inside = (0..cw as isize).contains(&x);
                let cell = from
                    .as_chunks::<C>()
                    .0
                    .get(mirror(x, cw))
                    .filter(|_| inside || border == Border::Mirror);
                self.line.extend_from_slice(cell.unwrap_or(&[0.0; C]));
            }
            for (t, w) in self.kernel.iter().enumerate() {
                let (left, right) = (self.line.get((radius - t) * C..), self.line.get((radius + t) * C..));
                let (left, right) = (left.unwrap_or(&[]), right.unwrap_or(&[]));
                let half = if t == 0 { 0.5 * w } else { *w };
                for (o, (a, b)) in to.iter_mut().zip(left.iter().zip(right)) {
                    *o += half * (a + b);
                }
            }
        }
        self.grid.fill(0.0);
        for (y, to) in self.grid.chunks_exact_mut(row).enumerate() {
            for (t, w) in self.kernel.iter().enumerate() {
                let line = |y: isize| {
                    let inside = (0..ch as isize).contains(&y);
                    let start = mirror(y, ch) * row;
                    self.other.get(start..start + row).filter(|_| inside || border == Border::Mirror)
                };
                let half = if t == 0 { 0.5 * w } else { *w };
                for from in [line(y as isize - t as isize), line(y as isize + t as isize)].into_iter().flatten() {
                    to.iter_mut().zip(from).for_each(|(o, v)| *o += half * v);
                }
            }
        }
    }
}

/// The cell left of (above) a pixel's centre and the share of the one after it.
fn place(x: usize, step: usize, cells: usize) -> (u32, f32) {
    let at = ((x as f32 + 0.5) / step as f32 - 0.5).clamp(0.0, cells.saturating_sub(1) as f32);
    (at as u32, at - at.floor())
}

/// A whole interleaved picture, low-passed; mirrored border.
#[must_use]
pub fn blurred<const C: usize>(picture: &[f32], width: usize, height: usize, sigma: f32) -> Vec<f32> {
    let mut pass = LowPass::default();
    let pixels = picture.as_chunks::<C>().0;
    pass.run(width, height, sigma, Border::Mirror, |x, y| {
        pixels.get(y * width + x).copied().unwrap_or([0.0; C])
    });
    let (mut out, mut row) = (Vec::with_capacity(picture.len()), Vec::new());
    for y in 0..height {
        pass.row::<C>(y, &mut row);
        out.extend_from_slice(row.as_flattened());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blur_keeps_a_constant_and_has_the_spread_asked_for() {
        for sigma in [0.0, 0.7, 1.7, 3.0, 4.0, 6.0, 9.0, 12.0, 18.0] {
            let flat = blurred::<2>(&[3.0; 2 * 40 * 30], 40, 30, sigma);
            assert!(flat.iter().all(|v| (v - 3.0).abs() < 1e-4), "sigma {sigma}");
            let (w, h) = (161, 161);
            let mut dot = vec![0.0; w * h];
            // A dot of 8 px: the mean over where it falls on the grid.
            (0..64).for_each(|i| dot[(76 + i / 8) * w + 76 + i % 8] = 1.0 / 64.0);
            let out = blurred::<1>(&dot, w, h, sigma);
            let sum: f32 = out.iter().sum();
            let middle = 79.5;
            let variance: f32 = out
                .iter()
                .enumerate()
                .map(|(i, v)| v * ((i % w) as f32 - middle).powi(2))
                .sum::<f32>()
                / sum;
            let expected = (sigma * sigma + 63.0 / 12.0).sqrt();
            assert!((sum - 1.0).abs() < 0.05, "sigma {sigma}: sum {sum}");
            assert!(
                (variance.sqrt() / expected - 1.0).abs() < 0.05,
                "sigma {sigma}: got {} of {expected}",
                variance.sqrt()
            );
        }
    }

    #[test]
    fn outside_there_is_nothing_or_the_inside_mirrored() {
        let edge = |border| {
            let (mut pass, mut row) = (LowPass::default(), Vec::new());
            pass.run::<1>(64, 64, 5.0, border, |_, _| [1.0]);
            pass.row::<1>(32, &mut row);
            row[0][0]
        };
        assert!((edge(Border::Mirror) - 1.0).abs() < 1e-4);
        assert!((0.45..0.6).contains(&edge(Border::Zero)), "{}", edge(Border::Zero));
        assert_eq!((mirror(-2, 5), mirror(5, 5), mirror(3, 1)), (2, 3, 0));
    }
}
