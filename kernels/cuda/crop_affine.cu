// crop_affine: any frame, through affine maps, to one batch of normalised crops. All faces in one launch.
// crop_straight: the same where no map turns, such as a detector's view of the whole frame.
//
// | | |
// |---|---|
// | formula | clamp(decode(mean of nx*ny bilinear taps), 0, 255) * scale + bias; a tap reads means of block*block px |
// | input | Frame of any format; per face a map from crop px to blocks, block, nx, ny (src/cuda/args.rs makes them): up to FEW_MAPS in the argument itself, so that no copy goes before the launch |
// | output | f32 or f16, [face][channel][row][column] or [face][row][column][channel], RGB or BGR; every element written |
// | border | replicated |
// | aliasing | output must not overlap the frame |
// | launch | 32x8 threads, grid (ceil w/32, ceil h/8, faces); no shared memory, no synchronisation |
// | tolerance | f32 sums against src/crop/reference.rs: 0.05 of 255 before scale; f16: half an ulp more |
//
// | crop_straight | m[1] and m[3] 0 and block 1 in every map; each sample of a pixel's footprint is read once, by its share of all taps |
// | crop_affine | any map; a tap reads each sample once, also one of chroma that serves all of its pixels; a pixel's taps lie a block apart, so that neighbouring taps share at most two of their four blocks: those are read again, through the read-only cache (ld.global.nc), where a warp's footprint of some KB stays |
// | tile in shared memory | left out: a turned footprint of 32x8 px at 1:3.7 has a box of 120x120 px, two thirds of which no tap reads |
//
// Limits: taps lie anywhere, so that samples are read one by one, not sixteen bytes at a time.
#include "common.cuh"

struct CropMap {
    float m[6];
    int block, nx, ny, spare;
};

#define FEW_MAPS 16

struct CropArgs {
    Frame frame;
    u64 maps; // CropMap, one a face; 0 = in `few`
    u64 out;
    int width, height, faces, bgr, half;
    int interleaved; // 1 = channels last
    float scale, bias;
    CropMap few[FEW_MAPS];
};

// A block's mean; each sample is read once and counts for as many of the block's pixels as it serves.
DEVICE void add_block(const Frame &f, int block, int bx, int by, float w, float *sum) {
    int y0 = by * block, x0 = bx * block, y1 = min(y0 + block, f.height), x1 = min(x0 + block, f.width);
    int count = (y1 - y0) * (x1 - x0);
    float k = count > 0 ? w / (float)count : 0.0f;
    UNROLL
    for (int i = 0; i < 3; i++) {
        const Component &c = f.c[i];
        float part = 0.0f;
        for (int sy = y0 >> c.shift_y; sy < ceil_shift(y1, c.shift_y); sy++) {
            int rows = min((sy + 1) << c.shift_y, y1) - max(sy << c.shift_y, y0);
            for (int sx = x0 >> c.shift_x; sx < ceil_shift(x1, c.shift_x); sx++) {
                int served = rows * (min((sx + 1) << c.shift_x, x1) - max(sx << c.shift_x, x0));
                part += (float)(served * load_code_once(f, c, sx, sy));
            }
        }
        sum[i] += k * part;
    }
}

// A tap between pixels: a sample that serves several of them is read once.
DEVICE void add_tap(const Frame &f, const Bilinear &x, const Bilinear &y, float *sum) {
    UNROLL
    for (int i = 0; i < 3; i++) {
        const Component &c = f.c[i];
        int x0 = x.lower >> c.shift_x, x1 = x.upper >> c.shift_x, y0 = y.lower >> c.shift_y, y1 = y.upper >> c.shift_y;
        float fx = x0 == x1 ? 0.0f : x.f, fy = y0 == y1 ? 0.0f : y.f;
        float value = 0.0f;
        if (fy < 1.0f) {
            if (fx < 1.0f) value += (1.0f - fx) * (1.0f - fy) * (float)load_code_once(f, c, x0, y0);
            if (fx > 0.0f) value += fx * (1.0f - fy) * (float)load_code_once(f, c, x1, y0);
        }
        if (fy > 0.0f) {
            if (fx < 1.0f) value += (1.0f - fx) * fy * (float)load_code_once(f, c, x0, y1);
            if (fx > 0.0f) value += fx * fy * (float)load_code_once(f, c, x1, y1);
        }
        sum[i] += value;
    }
}

// The taps of one axis of a map without turn.
struct Taps {
    float scale, shift;
    int at, n, side;
};

DEVICE Bilinear tap_of(const Taps &t, int i) { return bilinear(t.scale * ((float)t.at + 0.5f + tap_offset(i, t.n)) + t.shift, t.side); }

// How many of the taps a pixel has, in parts of taps.
DEVICE float share_of(const Taps &t, int pixel) {
    int lo = 0, hi = t.n - 1;
    // Taps lie about a pixel apart where there are several, so that few touch one pixel; at the border all may.
    if (t.n > 4 && pixel > 0 && pixel < t.side - 1) {
        float apart = t.scale / (float)t.n;
        float first = t.scale * ((float)t.at + 0.5f + tap_offset(0, t.n)) + t.shift - 0.5f;
        float a = ((float)pixel - 1.0f - first) / apart, b = ((float)pixel + 1.0f - first) / apart;
        lo = clamp_int((int)fminf(a, b) - 1, 0, hi);
        hi = clamp_int((int)fmaxf(a, b) + 1, lo, hi);
    }
    float share = 0.0f;
    for (int i = lo; i <= hi; i++) {
        Bilinear b = tap_of(t, i);
        share += (b.lower == pixel ? 1.0f - b.f : 0.0f) + (b.upper == pixel ? b.f : 0.0f);
    }
    return share;
}

// The same of a sample, for its pixels within first..last.
DEVICE float share_of_sample(const Taps &t, int sample, int shift, int first, int last) {
    float share = 0.0f;
    int end = min(((sample + 1) << shift) - 1, last);
    for (int p = max(sample << shift, first); p <= end; p++) share += share_of(t, p);
    return share;
}

// Sum over all taps of a map without turn.
DEVICE void add_straight(const Frame &f, const Taps &tx, const Taps &ty, float *sum) {
    Bilinear a = tap_of(tx, 0), b = tap_of(tx, tx.n - 1);
    int x0 = min(a.lower, b.lower), x1 = max(a.upper, b.upper);
    a = tap_of(ty, 0), b = tap_of(ty, ty.n - 1);
    int y0 = min(a.lower, b.lower), y1 = max(a.upper, b.upper);
    UNROLL
    for (int i = 0; i < 3; i++) {
        const Component &c = f.c[i];
        for (int sy = y0 >> c.shift_y; sy <= y1 >> c.shift_y; sy++) {
            float row = 0.0f;
            for (int sx = x0 >> c.shift_x; sx <= x1 >> c.shift_x; sx++) {
                row += share_of_sample(tx, sx, c.shift_x, x0, x1) * (float)load_code_once(f, c, sx, sy);
            }
            sum[i] += share_of_sample(ty, sy, c.shift_y, y0, y1) * row;
        }
    }
}

// The value of a crop's pixel, from the sum of its taps.
DEVICE void store_pixel(const CropArgs &a, int x, int y, int face, float share, const float *sum) {
    u64 area = (u64)a.width * (u64)a.height;
    u64 pixel = (u64)y * (u64)a.width + (u64)x, at = (u64)face * 3 * area + (a.interleaved ? 3 * pixel : pixel);
    u64 step = a.interleaved ? 1 : area;
    UNROLL
    for (int i = 0; i < 3; i++) {
        const float *d = a.frame.decode + 4 * i;
        float v = d[0] * (sum[0] * share) + d[1] * (sum[1] * share) + d[2] * (sum[2] * share) + d[3];
        v = clamp_float(v, 0.0f, 255.0f) * a.scale + a.bias;
        u64 to = at + (u64)(a.bgr ? 2 - i : i) * step;
        if (a.half) ((u16 *)a.out)[to] = float_to_half(v);
        else ((float *)a.out)[to] = v;
    }
}

DEVICE CropMap map_of(const CropArgs &a, int face) { return a.maps != 0 ? ((const CropMap *)a.maps)[face] : a.few[face]; }

extern "C" __global__ void crop_affine(const CropArgs a) {
    int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    int face = (int)blockIdx.z;
    if (x >= a.width || y >= a.height) return;
    const CropMap map = map_of(a, face);
    int across = (a.frame.width + map.block - 1) / map.block, down = (a.frame.height + map.block - 1) / map.block;
    float sum[3] = {0.0f, 0.0f, 0.0f};
    for (int j = 0; j < map.ny; j++) {
        for (int i = 0; i < map.nx; i++) {
            float px = (float)x + 0.5f + tap_offset(i, map.nx), py = (float)y + 0.5f + tap_offset(j, map.ny);
            Bilinear bx = bilinear(map.m[0] * px + map.m[1] * py + map.m[2], across);
            Bilinear by = bilinear(map.m[3] * px + map.m[4] * py + map.m[5], down);
            if (map.block == 1) {
                add_tap(a.frame, bx, by, sum);
                continue;
            }
            for (int k = 0; k < 4; k++) {
                float w = (k & 1 ? bx.f : 1.0f - bx.f) * (k & 2 ? by.f : 1.0f - by.f);
                if (w > 0.0f) add_block(a.frame, map.block, k & 1 ? bx.upper : bx.lower, k & 2 ? by.upper : by.lower, w, sum);
            }
        }
    }
    store_pixel(a, x, y, face, 1.0f / (float)(map.nx * map.ny), sum);
}

extern "C" __global__ void crop_straight(const CropArgs a) {
    int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    int face = (int)blockIdx.z;
    if (x >= a.width || y >= a.height) return;
    const CropMap map = map_of(a, face);
    float sum[3] = {0.0f, 0.0f, 0.0f};
    add_straight(a.frame, {map.m[0], map.m[2], x, map.nx, a.frame.width}, {map.m[4], map.m[5], y, map.ny, a.frame.height}, sum);
    store_pixel(a, x, y, face, 1.0f / (float)(map.nx * map.ny), sum);
}
