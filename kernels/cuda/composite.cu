// composite: a crop, or the difference that an edit makes, back into the frame, in place. One face a launch.
// weight_mask: before it, where the mask comes from weights on the crop's own grid.
//
// | | |
// |---|---|
// | formula | replace: (old*(255-a) + new*a + 127) / 255; add: old + round(delta*a/255), clamped to the codes |
// | input | mask inside the frame; interleaved RGB, u8 (replace) or f32 differences (add); crop_from_frame; taps nx, ny |
// | weight | as sample_weight: no pixel outside the mask changes, also through shared chroma |
// | output | the frame's own samples, any format; alpha, padding and spare bits of untouched samples kept |
// | aliasing | the crop must not overlap the frame; faces that overlap go in order, one launch after the other |
// | launch | 32x8 threads over the mask's blocks of 1x1, 2x1 or 2x2 px; no shared memory, no synchronisation |
// | reads | each pixel of the crop's footprint once for all components; the mask and the frame once |
// | weight_mask | alpha = floor(255 * bilinear(weights) + 0.5) where the pixel's centre lies inside the square, else 0 |
// | tolerance | weight_mask: 1 of 255 against RegionMask::weighted_into (fused multiply-add); composite: 1 code against src/composite/reference.rs (f32 sums) |
//
// Limits: colour and grain are matched in the crop before this kernel; it does not match them itself.
#include "common.cuh"

struct CompositeArgs {
    Frame frame;
    Mask mask;
    u64 crop;
    int width, height, nx, ny;
    int adds, spare;
    float m[6]; // crop_from_frame
};

struct WeightArgs {
    u64 weights; // f32, side * side
    u64 alpha;   // u8, width * height
    int side, x, y, width, height, spare;
    float m[6]; // square_from_frame
};

extern "C" __global__ void weight_mask(const WeightArgs a) {
    int dx = (int)(blockIdx.x * blockDim.x + threadIdx.x), dy = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (dx >= a.width || dy >= a.height) return;
    float px = (float)(a.x + dx) + 0.5f, py = (float)(a.y + dy) + 0.5f;
    float u = a.m[0] * px + a.m[1] * py + a.m[2], v = a.m[3] * px + a.m[4] * py + a.m[5], side = (float)a.side;
    float value = 0.0f;
    if (u > 0.0f && v > 0.0f && u < side && v < side) {
        Bilinear bx = bilinear(u, a.side), by = bilinear(v, a.side);
        const float *r0 = (const float *)a.weights + (long long)by.lower * a.side, *r1 = (const float *)a.weights + (long long)by.upper * a.side;
        float top = r0[bx.lower] + (r0[bx.upper] - r0[bx.lower]) * bx.f, low = r1[bx.lower] + (r1[bx.upper] - r1[bx.lower]) * bx.f;
        value = top + (low - top) * by.f;
    }
    ((u8 *)a.alpha)[(long long)dy * a.width + dx] = (u8)clamp_float(value * 255.0f + 0.5f, 0.0f, 255.0f);
}

DEVICE float crop_value(const CompositeArgs &a, int x, int y, int channel) {
    long long at = ((long long)y * a.width + x) * 3 + channel;
    if (a.adds) return clamp_float(((const float *)a.crop)[at], -255.0f, 255.0f);
    return (float)((const u8 *)a.crop)[at];
}

// The crop's colour at one frame pixel.
DEVICE void crop_rgb(const CompositeArgs &a, int x, int y, float *rgb) {
    float sum[3] = {0.0f, 0.0f, 0.0f};
    for (int j = 0; j < a.ny; j++) {
        for (int i = 0; i < a.nx; i++) {
            float px = (float)x + 0.5f + tap_offset(i, a.nx), py = (float)y + 0.5f + tap_offset(j, a.ny);
            Bilinear bx = bilinear(a.m[0] * px + a.m[1] * py + a.m[2], a.width);
            Bilinear by = bilinear(a.m[3] * px + a.m[4] * py + a.m[5], a.height);
            UNROLL
            for (int c = 0; c < 3; c++) {
                float top = crop_value(a, bx.lower, by.lower, c) * (1.0f - bx.f) + crop_value(a, bx.upper, by.lower, c) * bx.f;
                float low = crop_value(a, bx.lower, by.upper, c) * (1.0f - bx.f) + crop_value(a, bx.upper, by.upper, c) * bx.f;
                sum[c] += top * (1.0f - by.f) + low * by.f;
            }
        }
    }
    float share = 1.0f / (float)(a.nx * a.ny);
    UNROLL
    for (int c = 0; c < 3; c++) rgb[c] = sum[c] * share;
}

DEVICE float encoded(const CompositeArgs &a, int component, const float *rgb) {
    const float *row = a.frame.encode + 4 * component;
    return row[0] * rgb[0] + row[1] * rgb[1] + row[2] * rgb[2] + (a.adds ? 0.0f : row[3]);
}

DEVICE void blend(const CompositeArgs &a, int component, int sx, int sy, float value, int weight) {
    const Frame &f = a.frame;
    int old = load_code(f, f.c[component], sx, sy), code;
    if (a.adds) {
        const int unit = 255 << 4;
        int scaled = (int)roundf(value * 16.0f) * weight;
        code = clamp_int(old + (scaled + (scaled < 0 ? -unit / 2 : unit / 2)) / unit, 0, f.max_code);
    } else {
        code = mix_code(old, (int)clamp_float(value + 0.5f, 0.0f, (float)f.max_code), weight);
    }
    store_code(f, f.c[component], sx, sy, code);
}

extern "C" __global__ void composite(const CompositeArgs a) {
    const Frame &f = a.frame;
    int bx, by;
    // The second component is the coarsest of every format: a thread takes the pixels that one of its samples serves.
    if (!sample_of_thread(a.mask, f.c[1], &bx, &by)) return;
    float rgb[4][3], mean[3] = {0.0f, 0.0f, 0.0f};
    int alpha[4], sum = 0, least = 255, count = 0;
    UNROLL
    for (int k = 0; k < 4; k++) {
        int i = k & 1, j = k >> 1, x = (bx << f.c[1].shift_x) + i, y = (by << f.c[1].shift_y) + j;
        bool there = i >> f.c[1].shift_x == 0 && j >> f.c[1].shift_y == 0 && x < f.width && y < f.height;
        alpha[k] = there ? alpha_at(a.mask, x, y) : 0;
        rgb[k][0] = rgb[k][1] = rgb[k][2] = 0.0f;
        if (!there) continue;
        if (alpha[k] != 0) crop_rgb(a, x, y, rgb[k]);
        for (int c = 0; c < 3; c++) mean[c] += rgb[k][c];
        sum += alpha[k], least = min(least, alpha[k]), count++;
    }
    if (sum == 0) return;
    for (int c = 0; c < 3; c++) mean[c] /= (float)count;
    for (int component = 0; component < 3; component++) {
        const Component &c = f.c[component];
        if (c.shift_x + c.shift_y > 0) {
            if (least > 0) blend(a, component, bx, by, encoded(a, component, mean), sum / count);
            continue;
        }
        UNROLL
        for (int k = 0; k < 4; k++) {
            int x = (bx << f.c[1].shift_x) + (k & 1), y = (by << f.c[1].shift_y) + (k >> 1);
            if (alpha[k] != 0) blend(a, component, x, y, encoded(a, component, rgb[k]), alpha[k]);
        }
    }
}
