// match_face: the frame's light, colour and grain on painted faces, in place, at the crop's resolution; up to
// FEW_PAINTS faces a launch. Three low-passes (light, fine, area), each of four launches in this order.
//
// | | |
// |---|---|
// | match_cells | means of step*step px of the pass's values, [channel][cell] |
// | match_across | the rows of cells convolved with a sampled Gaussian |
// | match_down | the columns; then what the pass makes of them: offset and gain of light, fine parts' low, gain of grain |
// | match_apply | every pixel, with the cells around it bilinear |
// | input | paint f32x4 (RGB 0-255 and one of the caller's), base f32x3, alpha f32 0-1, painted u8; src/match_face/mod.rs has the formulas |
// | output | paint in place, its fourth value kept; fine f32x4: fine parts of the paint, and of the frame's luma |
// | border | light and area: nothing outside; fine: mirrored |
// | aliasing | no operand overlaps another |
// | launch | 32x8 threads over the largest face's cells or pixels, grid.z = faces; no shared memory, no synchronisation |
// | accesses | paint and fine 16 bytes a pixel; base 12 and alpha 4, whole lines a warp |
// | reads | each pixel once a pass for its cells and once to apply |
// | tolerance | 0.02 grey levels against src/match_face/mod.rs (order of sums, expf) |
#include "common.cuh"
#include "lowpass.cuh"

#define FEW_PAINTS 8

struct PaintFace {
    u64 paint, base, alpha, painted, fine;
    u64 grid, other; // f32 [7][cells] of the pass with the most cells, scratch
    int width, height;
    LowPass pass[3];
    float contrast_min, contrast_max, grain_min, grain_max;
};

struct MatchArgs {
    PaintFace few[FEW_PAINTS];
    int faces;
    int stage; // 0 light, 1 fine, 2 area
};

DEVICE int channels_of(int stage) { return stage == 0 ? 7 : (stage == 1 ? 4 : 3); }

// What a pass averages at one pixel.
DEVICE void averaged(const PaintFace &f, int stage, long long i, float *v) {
    const float *base = (const float *)f.base + 3 * i;
    if (stage == 1) {
        const float4 p = ((const float4 *)f.paint)[i];
        v[0] = p.x, v[1] = p.y, v[2] = p.z, v[3] = luma_of(base[0], base[1], base[2]);
        return;
    }
    float a = ((const float *)f.alpha)[i];
    if (!(a > 0.0f)) {
        UNROLL
        for (int c = 0; c < 7; c++) v[c] = 0.0f;
        return;
    }
    if (stage == 0) {
        const float4 p = ((const float4 *)f.paint)[i];
        v[0] = p.x * a, v[1] = p.y * a, v[2] = p.z * a;
        v[3] = base[0] * a, v[4] = base[1] * a, v[5] = base[2] * a, v[6] = a;
    } else {
        const float4 p = ((const float4 *)f.fine)[i];
        float own = luma_of(p.x, p.y, p.z);
        v[0] = own * own * a, v[1] = p.w * p.w * a, v[2] = a;
    }
}

extern "C" __global__ void match_cells(const MatchArgs a) {
    const PaintFace &f = a.few[blockIdx.z];
    const LowPass &p = f.pass[a.stage];
    int cx, cy;
    if (!cell_of_thread(p, &cx, &cy)) return;
    float sum[7] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    int x0 = cx * p.step, y0 = cy * p.step, x1 = min(x0 + p.step, f.width), y1 = min(y0 + p.step, f.height);
    for (int y = y0; y < y1; y++) {
        for (int x = x0; x < x1; x++) {
            float v[7] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
            averaged(f, a.stage, (long long)y * f.width + x, v);
            UNROLL
            for (int c = 0; c < 7; c++) sum[c] += v[c];
        }
    }
    float share = 1.0f / (float)((x1 - x0) * (y1 - y0));
    int cells = p.across * p.down, at = cy * p.across + cx, n = channels_of(a.stage);
    UNROLL
    for (int c = 0; c < 7; c++) {
        if (c < n) ((float *)f.grid)[c * cells + at] = sum[c] * share;
    }
}

extern "C" __global__ void match_across(const MatchArgs a) {
    const PaintFace &f = a.few[blockIdx.z];
    const LowPass &p = f.pass[a.stage];
    int cx, cy;
    if (!cell_of_thread(p, &cx, &cy)) return;
    float sum[7] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    int cells = p.across * p.down, n = channels_of(a.stage);
    convolve<7>(p, a.stage == 1, n, (const float *)f.grid, cx, p.across, cy * p.across, 1, cells, sum);
    UNROLL
    for (int c = 0; c < 7; c++) {
        if (c < n) ((float *)f.other)[c * cells + cy * p.across + cx] = sum[c];
    }
}

DEVICE float rms_of(float energy, float weight) { return sqrtf(fmaxf(energy, 0.0f) / (weight + 1e-3f)) + 0.5f; }

extern "C" __global__ void match_down(const MatchArgs a) {
    const PaintFace &f = a.few[blockIdx.z];
    const LowPass &p = f.pass[a.stage];
    int cx, cy;
    if (!cell_of_thread(p, &cx, &cy)) return;
    float v[7] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    int cells = p.across * p.down, at = cy * p.across + cx;
    convolve<7>(p, a.stage == 1, channels_of(a.stage), (const float *)f.other, cy, p.down, cx, p.across, cells, v);
    float *grid = (float *)f.grid;
    if (a.stage == 0) {
        float share = 1.0f / (v[6] + 1e-3f);
        float dark = luma_of(v[0] * share, v[1] * share, v[2] * share), lit = luma_of(v[3] * share, v[4] * share, v[5] * share);
        float gain = clamp_float((lit + 4.0f) / (dark + 4.0f), f.contrast_min, f.contrast_max);
        UNROLL
        for (int c = 0; c < 3; c++) grid[c * cells + at] = v[3 + c] * share - v[c] * share * gain;
        grid[3 * cells + at] = gain;
    } else if (a.stage == 1) {
        UNROLL
        for (int c = 0; c < 4; c++) grid[c * cells + at] = v[c];
    } else {
        grid[at] = clamp_float(rms_of(v[1], v[2]) / rms_of(v[0], v[2]), f.grain_min, f.grain_max) - 1.0f;
    }
}

extern "C" __global__ void match_apply(const MatchArgs a) {
    const PaintFace &f = a.few[blockIdx.z];
    const LowPass &p = f.pass[a.stage];
    int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= f.width || y >= f.height) return;
    long long i = (long long)y * f.width + x;
    int cells = p.across * p.down;
    Between bx = between(x, p.step, p.across), by = between(y, p.step, p.down);
    const float *grid = (const float *)f.grid, *base = (const float *)f.base + 3 * i;
    float4 *paint = (float4 *)f.paint + i;
    if (a.stage == 2) {
        if (!(((const float *)f.alpha)[i] > 0.0f)) return;
        float gain = smooth(grid, p, bx, by);
        float4 v = *paint;
        const float4 fine = ((const float4 *)f.fine)[i];
        v.x = clamp_float(v.x + fine.x * gain, 0.0f, 255.0f);
        v.y = clamp_float(v.y + fine.y * gain, 0.0f, 255.0f);
        v.z = clamp_float(v.z + fine.z * gain, 0.0f, 255.0f);
        *paint = v;
        return;
    }
    float4 v = *paint;
    if (a.stage == 1) {
        float4 fine;
        fine.x = v.x - smooth(grid, p, bx, by);
        fine.y = v.y - smooth(grid + cells, p, bx, by);
        fine.z = v.z - smooth(grid + 2 * cells, p, bx, by);
        fine.w = luma_of(base[0], base[1], base[2]) - smooth(grid + 3 * cells, p, bx, by);
        ((float4 *)f.fine)[i] = fine;
        return;
    }
    if (((const u8 *)f.painted)[i] != 0) {
        float gain = smooth(grid + 3 * cells, p, bx, by);
        v.x = clamp_float(smooth(grid, p, bx, by) + v.x * gain, 0.0f, 255.0f);
        v.y = clamp_float(smooth(grid + cells, p, bx, by) + v.y * gain, 0.0f, 255.0f);
        v.z = clamp_float(smooth(grid + 2 * cells, p, bx, by) + v.z * gain, 0.0f, 255.0f);
    } else {
        v.x = base[0], v.y = base[1], v.z = base[2];
    }
    *paint = v;
}
