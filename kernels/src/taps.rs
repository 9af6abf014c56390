//! One axis of a separable filter: for every output, a run of source samples and their weights.
//!
//! Weights are those of the plain definition (bilinear taps at supersampled positions, border
//! replicated, subsampled components read as their nearest sample), added up per source sample.
//! A run is contiguous because positions are monotonic, and all runs of an axis have one length,
//! padded with zero weights, so that inner loops have a constant trip count.

/// Supersampling positions above this are not taken: at 4096:1 the rest cannot be seen.
pub(crate) const MAX_AXIS_TAPS: usize = 4096;

/// Positions to sample per output for a footprint: the footprint rounded, at least one.
///
/// A bilinear tap is a tent two pixels wide, so spacings up to 1.5 leave no pixel unread; rounding
/// up instead would double the cost of every crop between 1:1 and 1.5:1 for nothing to be seen.
pub(crate) fn tap_count(footprint_px: f32, max: usize) -> usize {
    ((footprint_px - 0.5).ceil().max(1.0) as usize).min(max)
}

/// Offset of supersampling position `i` of `n`, in units of an output pixel.
pub(crate) fn tap_offset(i: usize, n: usize) -> f32 {
    (i as f32 + 0.5) / n as f32 - 0.5
}

/// Lower pixel, upper pixel and the upper one's weight for a position, border replicated.
#[inline(always)]
pub(crate) fn bilinear(position_px: f32, side: usize) -> (usize, usize, f32) {
    let last = side.saturating_sub(1);
    let p = (position_px - 0.5).clamp(0.0, last as f32);
    // Through i32: one instruction, where a float to usize takes five.
    let lower = (p as i32 as usize).min(last);
    (lower, (lower + 1).min(last), p - lower as f32)
}

thread_local! {
    /// Buffers of filters that are done with: a crop makes up to four, face by face and frame by frame.
    static SPARE: std::cell::RefCell<Vec<Taps>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Most filters kept for later.
const MAX_SPARE: usize = 8;

/// Filter of one axis.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taps {
    /// First source sample of each output.
    pub(crate) starts: Vec<usize>,
    /// `len` weights for each output.
    pub(crate) weights: Vec<f32>,
    /// Weights of an output.
    pub(crate) len: usize,
    /// First sample, where every output has the same weights and begins `len` samples after the last.
    pub(crate) even: Option<usize>,
    /// First and one-past-last source sample of any output.
    range: (usize, usize),
}

impl Taps {
    /// The filter of `source_px = (output + 0.5)·scale + shift`, over samples of `1 << subsampling` pixels.
    pub(crate) fn affine(outputs: usize, scale: f32, shift: f32, side: usize, subsampling: u32) -> Self {
        let n = tap_count(scale.abs(), MAX_AXIS_TAPS);
        let share = 1.0 / n as f32;
        Self::build(outputs, side, subsampling, |output, put| {
            for i in 0..n {
                let position = (output as f32 + 0.5 + tap_offset(i, n)) * scale + shift;
                let (lower, upper, f) = bilinear(position, side);
                put(lower, (1.0 - f) * share);
                put(upper, f * share);
            }
        })
    }

    /// Means of `block` pixels each, output 0 being block `first`; the border block is as long as pixels are left.
    pub(crate) fn blocks(outputs: usize, first: usize, block: usize, side: usize, subsampling: u32) -> Self {
        Self::build(outputs, side, subsampling, |output, put| {
            let from = ((first + output) * block).min(side.saturating_sub(1));
            let to = (from + block).min(side);
            for pixel in from..to {
                put(pixel, 1.0 / (to - from) as f32);
            }
        })
    }

    fn build(outputs: usize, side: usize, subsampling: u32, each: impl Fn(usize, &mut dyn FnMut(usize, f32))) -> Self {
        let samples = side.div_ceil(1 << subsampling).max(1);
        let Self {
            starts: mut runs,
            mut weights,
            ..
        } = SPARE.with_borrow_mut(|spare| spare.pop().unwrap_or_default());
        runs.clear();
        let mut len = 1;
        for output in 0..outputs {
            let (mut lo, mut hi) = (usize::MAX, 0);
            each(output, &mut |pixel, weight| {
                if weight > 0.0 {
                    lo = lo.min(pixel >> subsampling);
                    hi = hi.max(pixel >> subsampling);
                }
            });
            let lo = lo.min(hi);
            len = len.max(hi - lo + 1);
            runs.push(lo);
        }
        let len = len.min(samples);
        weights.clear();
        weights.resize(outputs * len, 0.0);
        for (output, start) in runs.iter_mut().enumerate() {
            *start = (*start).min(samples - len);
            let at = output * len;
            each(output, &mut |pixel, weight| {
                let index = (pixel >> subsampling).wrapping_sub(*start);
                if let Some(w) = weights.get_mut(at + index.min(len - 1)) {
                    *w += if index < len { weight } else { 0.0 };
                }
            });
        }
        let begun = runs.first().copied().unwrap_or(0);
        let regular = runs.iter().enumerate().all(|(i, &start)| start == begun + i * len);
        let same = weights
            .get(..len)
            .is_some_and(|first| weights.chunks_exact(len).all(|w| w == first));
        let lo = runs.iter().min().copied().unwrap_or(0);
        let hi = runs.iter().max().map_or(lo, |s| s + len);
        Self {
            range: (lo, hi),
            starts: runs,
            weights,
            len,
            even: (regular && same).then_some(begun),
        }
    }

    /// Weights of one output.
    pub(crate) fn of(&self, output: usize) -> (usize, &[f32]) {
        let at = output * self.len;
        let weights = self.weights.get(at..at + self.len).unwrap_or(&[]);
        (self.starts.get(output).copied().unwrap_or(0), weights)
    }

    /// First and one-past-last source sample of any output.
    pub(crate) fn range(&self) -> (usize, usize) {
        self.range
    }

    /// Keeps the buffers for the next filter of this thread.
    pub(crate) fn recycle(self) {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MAX_SPARE && self.starts.capacity() > 0 {
                spare.push(self);
            }
        });
    }
}
