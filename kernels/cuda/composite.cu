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
// | launch | 32x8 threads over tiles of the mask (tile.cuh), one a block of 1x1, 2x1 or 2x2 px; 13 KB of shared memory, two barriers |
// | reads | each pixel of the crop's footprint once for all components; the mask and the frame once, sixteen bytes at a time |
// | weight_mask | rows from `left` on, `stride` bytes, 0 beside the rectangle; alpha = floor(255 * bilinear(weights) + 0.5) where the pixel's centre lies inside the square, else 0 |
// | tolerance | weight_mask: 1 of 255 against RegionMask::weighted_into (fused multiply-add); composite: 1 code against src/composite/reference.rs (f32 sums) |
//
// Limits: colour and grain are matched in the crop before this kernel (match_face.cu); it does not match them itself.
#include "common.cuh"
#include "tile.cuh"

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
    u64 alpha;   // u8, stride * height
    int side, x, y, width, height;
    int left, stride, spare; // column of a row's first byte, bytes a row
    float m[6]; // square_from_frame
};

extern "C" __global__ void weight_mask(const WeightArgs a) {
    int dx = (int)(blockIdx.x * blockDim.x + threadIdx.x), dy = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (dx >= a.stride || dy >= a.height) return;
    int column = a.left + dx;
    float px = (float)column + 0.5f, py = (float)(a.y + dy) + 0.5f;
    float u = a.m[0] * px + a.m[1] * py + a.m[2], v = a.m[3] * px + a.m[4] * py + a.m[5], side = (float)a.side;
    float value = 0.0f;
    if (column >= a.x && column < a.x + a.width && u > 0.0f && v > 0.0f && u < side && v < side) {
        Bilinear bx = bilinear(u, a.side), by = bilinear(v, a.side);
        const float *r0 = (const float *)a.weights + (long long)by.lower * a.side, *r1 = (const float *)a.weights + (long long)by.upper * a.side;
        float top = r0[bx.lower] + (r0[bx.upper] - r0[bx.lower]) * bx.f, low = r1[bx.lower] + (r1[bx.upper] - r1[bx.lower]) * bx.f;
        value = top + (low - top) * by.f;
    }
    ((u8 *)a.alpha)[(long long)dy * a.stride + dx] = (u8)clamp_float(value * 255.0f + 0.5f, 0.0f, 255.0f);
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

// A sample's value as tile.cuh takes it: a code, or a difference in sixteenths.
DEVICE int value_of(const CompositeArgs &a, int component, const float *rgb) {
    float value = encoded(a, component, rgb);
    return a.adds ? (int)roundf(value * 16.0f) : (int)clamp_float(value + 0.5f, 0.0f, (float)a.frame.max_code);
}

extern "C" __global__ void composite(const CompositeArgs a) {
    __shared__ Tile tile;
    const Frame &f = a.frame;
    load_alpha(f, a.mask, tile);
    __syncthreads();
    // The second component is the coarsest of every format: a thread takes the pixels that one of its samples serves.
    Quad q = quad_of(f, a.mask, tile);
    float rgb[4][3], mean[3] = {0.0f, 0.0f, 0.0f};
    UNROLL
    for (int k = 0; k < 4; k++) {
        int x = (q.bx << f.c[1].shift_x) + (k & 1), y = (q.by << f.c[1].shift_y) + (k >> 1);
        rgb[k][0] = rgb[k][1] = rgb[k][2] = 0.0f;
        if (q.alpha[k] != 0) crop_rgb(a, x, y, rgb[k]);
        for (int c = 0; c < 3; c++) mean[c] += rgb[k][c];
    }
    for (int c = 0; c < 3; c++) mean[c] /= (float)max(q.count, 1);
    for (int component = 0; component < 3; component++) {
        const Component &c = f.c[component];
        if (c.shift_x + c.shift_y > 0) {
            make(f, tile, component, 0, value_of(a, component, mean), weight_of(q));
            continue;
        }
        UNROLL
        for (int k = 0; k < 4; k++) {
            if (serves(f, k)) make(f, tile, component, k, value_of(a, component, rgb[k]), q.alpha[k]);
        }
    }
    __syncthreads();
    write_tile(f, a.mask, tile, a.adds);
}
