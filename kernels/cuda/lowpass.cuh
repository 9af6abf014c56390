// Gaussian low-pass on a grid that is as coarse as its kernel allows, as src/lowpass.rs has it: means of cells, their
// rows convolved, their columns convolved, pixels between the cells bilinear.
//
// | | |
// |---|---|
// | grid | [channel][cell], f32 |
// | border | mirrored without repeating the edge, or nothing outside |
// | reads | each pixel once for its cell; cells (some thousand) again for each tap, from the cache |
#pragma once

struct LowPass {
    int step, across, down, radius;
    float sigma, share; // share: 1 / sum of the taps
};

DEVICE float luma_of(float r, float g, float b) { return r * 0.299f + g * 0.587f + b * 0.114f; }

DEVICE int mirrored(int i, int len) {
    int last = len - 1;
    if (last <= 0) return 0;
    int period = 2 * last, folded = i % period;
    if (folded < 0) folded += period;
    return min(folded, period - folded);
}

DEVICE float tap_weight(const LowPass &p, int t) {
    float u = p.radius == 0 ? 0.0f : (float)t / p.sigma;
    return expf(-0.5f * u * u) * p.share;
}

// The cell of this thread; false beyond the grid.
DEVICE bool cell_of_thread(const LowPass &p, int *cx, int *cy) {
    *cx = (int)(blockIdx.x * blockDim.x + threadIdx.x), *cy = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    return *cx < p.across && *cy < p.down;
}

// Adds the taps of one line of cells that lie `stride` apart, of `n` channels, MOST at most.
template <int MOST>
DEVICE void convolve(const LowPass &p, bool mirrors, int n, const float *from, int at, int len, int first, int stride, int cells, float *sum) {
    for (int t = -p.radius; t <= p.radius; t++) {
        int i = at + t;
        if (i < 0 || i >= len) {
            if (!mirrors) continue;
            i = mirrored(i, len);
        }
        float w = tap_weight(p, t < 0 ? -t : t);
        UNROLL
        for (int c = 0; c < MOST; c++) {
            if (c < n) sum[c] += w * from[c * cells + first + i * stride];
        }
    }
}

struct Between {
    int lower, upper;
    float share;
};

DEVICE Between between(int pixel, int step, int cells) {
    float at = clamp_float(((float)pixel + 0.5f) / (float)step - 0.5f, 0.0f, (float)(cells - 1));
    Between b;
    b.lower = (int)at;
    b.upper = min(b.lower + 1, cells - 1);
    b.share = at - (float)b.lower;
    return b;
}

DEVICE float smooth(const float *grid, const LowPass &p, const Between &x, const Between &y) {
    const float *r0 = grid + y.lower * p.across, *r1 = grid + y.upper * p.across;
    float left = r0[x.lower] + (r1[x.lower] - r0[x.lower]) * y.share, right = r0[x.upper] + (r1[x.upper] - r0[x.upper]) * y.share;
    return left + (right - left) * x.share;
}
