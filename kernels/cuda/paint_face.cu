// paint_face: a target's texture laid on faces, at their canvases' resolution; up to FEW_PAINTED faces a launch. The
// frame's light, colour and grain come between stages 0 and 1, from match_face.cu.
//
// | | |
// |---|---|
// | face_triangles | per triangle: corners in the window, depth, how much it faces the viewer, maps to canvas and texture |
// | face_draw | per pixel of the window: the nearest triangle over its centre; base, texture, rim, facing of it; counts what is painted |
// | face_cells, face_across, face_down | low-passes (lowpass.cuh) of stage 0 facing, 1 paint, 2 and 3 difference to the frame, 4 what the mesh covers |
// | face_apply | stage 0: alpha; 1: the forehead; 4: weight, over the canvas |
// | face_write | stages 2 and 3: what gives way and what stands in front; picture and alpha over the canvas |
// | face_totals | pixels painted, and the sum of what stands in front |
// | input | canvas f32x3 0-255; texture f32x4 (RGB 0-255, alpha 0-1); mask f32x2 (may be hidden, bare); per point canvas px as it is, moved, depth |
// | output | picture f32x3, shown alpha f32, weight f32 (0-1), side*side each; totals u32 and f32 |
// | order | as src/raster.rs: of the triangles over a pixel the nearest, of equals the last; those facing away are not drawn |
// | border | facing, differences: nothing outside; paint and weight: mirrored; samples: replicated |
// | aliasing | no operand overlaps another |
// | launch | 32x8 threads over window, cells or canvas, grid.z = faces (twice that for two stages at once); draw: 9 KB of shared memory, barriers; write and totals: 1 KB |
// | accesses | triangles, texture and lit 16 bytes; RGB 12 bytes, whole lines a warp |
// | tolerance | 0.5 grey levels against src/paint_face, but where fused multiply-add moves an edge of the raster: at most 0.1 % of pixels |
#include "common.cuh"
#include "lowpass.cuh"
#include "raster.cuh"

#define FEW_PAINTED 8

struct PaintedFace {
    u64 points; // f32 [points][5]
    u64 canvas, texture;
    u64 triangles; // float4 [triangles][TRIANGLE] (raster.cuh), scratch: facing, maps to canvas and texture
    u64 base, lit, rim, facing, alpha, painted, inside, fine; // of the window; rim f32x2, painted and inside u8
    u64 grid, other; // f32, scratch of the stages of one launch
    u64 picture, shown, weight; // of the canvas
    u64 partial; // u32 [blocks of the canvas], f32 [blocks of the canvas]
    u64 totals; // u32, f32
    int x, y, width, height; // window, canvas px
    int side, k;
    int still;       // the mesh has not moved: the base is the canvas
    int keeps_front;
    int grained, spare;
    LowPass pass[5];
    float facing_lo, facing_hi, occlusion_lo, occlusion_hi, front_lo, front_hi;
};

struct PaintArgs {
    PaintedFace few[FEW_PAINTED];
    u64 corners;   // u16 [triangles][4]
    u64 canonical; // f32 [points][2]
    u64 mask;      // f32 [size][size][2]
    int faces, triangles, openings, size;
    int stage, second; // second: run beside the first, -1 = none
};

DEVICE float smoothstep(float v, float lo, float hi) {
    float u = clamp_float((v - lo) / (hi - lo), 0.0f, 1.0f);
    return u * u * (3.0f - 2.0f * u);
}

extern "C" __global__ void face_triangles(const PaintArgs a) {
    int t = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (t >= a.triangles) return;
    const PaintedFace &f = a.few[blockIdx.z];
    float moved[3][2], d[3][2], s[3][2], c[3][2], z[3];
    UNROLL
    for (int i = 0; i < 3; i++) {
        int corner = ((const u16 *)a.corners)[4 * t + i];
        const float *p = (const float *)f.points + 5 * corner, *q = (const float *)a.canonical + 2 * corner;
        s[i][0] = p[0], s[i][1] = p[1], moved[i][0] = p[2], moved[i][1] = p[3], z[i] = p[4];
        d[i][0] = p[2] - (float)f.x, d[i][1] = p[3] - (float)f.y;
        c[i][0] = q[0], c[i][1] = q[1];
    }
    float area = twice_area(d);
    float4 *out = (float4 *)f.triangles + TRIANGLE * t;
    if (!(area > LEAST_TWICE_AREA)) {
        not_drawn(out);
        return;
    }
    float u[3] = {moved[1][0] - moved[0][0], moved[1][1] - moved[0][1], z[1] - z[0]};
    float v[3] = {moved[2][0] - moved[0][0], moved[2][1] - moved[0][1], z[2] - z[0]};
    float n[3] = {u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]};
    float cos = n[2] / (sqrtf(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-9f);
    float m[12];
    map_of(d, s, area, m);
    map_of(d, c, area, m + 6);
    store_triangle(out, d, z[0] + z[1] + z[2], smoothstep(cos, f.facing_lo, f.facing_hi), m);
}

DEVICE float4 sample_texture(const float4 *texture, int size, const Bilinear &bx, const Bilinear &by) {
    const float4 *r0 = texture + by.lower * size, *r1 = texture + by.upper * size;
    const float4 a = r0[bx.lower], b = r0[bx.upper], c = r1[bx.lower], d = r1[bx.upper];
    float4 v;
    v.x = lerp(lerp(a.x, b.x, bx.f), lerp(c.x, d.x, bx.f), by.f);
    v.y = lerp(lerp(a.y, b.y, bx.f), lerp(c.y, d.y, bx.f), by.f);
    v.z = lerp(lerp(a.z, b.z, bx.f), lerp(c.z, d.z, bx.f), by.f);
    v.w = lerp(lerp(a.w, b.w, bx.f), lerp(c.w, d.w, bx.f), by.f);
    return v;
}

// Base, texture, rim and facing of a pixel that triangle `t` covers (negative: none); whether it is painted.
DEVICE bool sample_pixel(const PaintArgs &a, const PaintedFace &f, int t, int x, int y) {
    long long i = (long long)y * f.width + x;
    const float *own = (const float *)f.canvas + 3 * ((long long)(f.y + y) * f.side + f.x + x);
    float rgb[3] = {own[0], own[1], own[2]}, hide = 0.0f, bare = 0.0f, facing = 0.0f;
    float4 paint = {0.0f, 0.0f, 0.0f, 0.0f};
    bool painted = t >= a.openings;
    if (t >= 0) {
        const float4 *record = (const float4 *)f.triangles + TRIANGLE * t;
        const float4 m0 = record[2], m1 = record[3], m2 = record[4];
        float px = (float)x + 0.5f, py = (float)y + 0.5f;
        if (!f.still) sample_rgb((const float *)f.canvas, f.side, m0.x * px + m0.y * py + m0.z, m0.w * px + m1.x * py + m1.y, rgb);
        if (painted) {
            Bilinear bx = bilinear(m1.z * px + m1.w * py + m2.x, a.size), by = bilinear(m2.y * px + m2.z * py + m2.w, a.size);
            paint = sample_texture((const float4 *)f.texture, a.size, bx, by);
            const float *r0 = (const float *)a.mask + 2 * by.lower * a.size, *r1 = (const float *)a.mask + 2 * by.upper * a.size;
            int l = 2 * bx.lower, u = 2 * bx.upper;
            hide = lerp(lerp(r0[l], r0[u], bx.f), lerp(r1[l], r1[u], bx.f), by.f);
            bare = lerp(lerp(r0[l + 1], r0[u + 1], bx.f), lerp(r1[l + 1], r1[u + 1], bx.f), by.f);
            facing = record[1].w;
        }
    }
    float *base = (float *)f.base + 3 * i, *rim = (float *)f.rim + 2 * i;
    base[0] = rgb[0], base[1] = rgb[1], base[2] = rgb[2];
    rim[0] = hide, rim[1] = bare;
    ((float4 *)f.lit)[i] = paint;
    ((float *)f.facing)[i] = facing;
    ((u8 *)f.painted)[i] = painted ? 1 : 0;
    ((u8 *)f.inside)[i] = t >= 0 ? 1 : 0;
    return painted;
}

DEVICE int block_of(int width) { return (int)blockIdx.y * ((width + 31) / 32) + (int)blockIdx.x; }
DEVICE int blocks_of(int side) { return (side + 31) / 32 * ((side + 7) / 8); }

extern "C" __global__ void face_draw(const PaintArgs a) {
    __shared__ u16 near[MOST_TRIANGLES];
    __shared__ int found;
    __shared__ u32 counts[256];
    const PaintedFace &f = a.few[blockIdx.z];
    int x0 = (int)blockIdx.x * 32, y0 = (int)blockIdx.y * 8, n = (int)(threadIdx.y * 32 + threadIdx.x);
    if (x0 >= f.width || y0 >= f.height) return; // the whole block
    triangles_near(f.triangles, a.triangles, x0, y0, n, near, &found);
    int x = x0 + (int)threadIdx.x, y = y0 + (int)threadIdx.y;
    bool painted = false;
    if (x < f.width && y < f.height) {
        painted = sample_pixel(a, f, nearest_triangle(f.triangles, near, found, x, y), x, y);
    }
    counts[n] = painted ? 1 : 0;
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (n < half) counts[n] += counts[n + half];
        __syncthreads();
    }
    if (n == 0) ((u32 *)f.partial)[block_of(f.width)] = counts[0];
}

DEVICE int passes_of(int stage) { return stage == 1 || stage == 3 ? 3 : 1; }

// What a pass averages at one pixel: of the window, in stage 4 of the canvas.
DEVICE void pass_value(const PaintedFace &f, int stage, int x, int y, float *v) {
    v[0] = v[1] = v[2] = 0.0f;
    if (stage == 4) {
        int wx = x - f.x, wy = y - f.y;
        if (wx >= 0 && wy >= 0 && wx < f.width && wy < f.height) v[0] = (float)((const u8 *)f.inside)[(long long)wy * f.width + wx];
        return;
    }
    long long i = (long long)y * f.width + x;
    if (stage == 0) {
        v[0] = ((const float *)f.facing)[i];
        return;
    }
    const float4 lit = ((const float4 *)f.lit)[i];
    v[0] = lit.x, v[1] = lit.y, v[2] = lit.z;
    if (stage == 1) return;
    const float *base = (const float *)f.base + 3 * i;
    v[0] -= base[0], v[1] -= base[1], v[2] -= base[2];
    if (stage == 2) v[0] = luma_of(v[0], v[1], v[2]);
}

// What a block works on: its face, its stage and where that stage's grids lie.
struct Work {
    int stage, at;
};

DEVICE Work work_of(const PaintArgs &a) {
    Work w = {a.stage, 0};
    if ((int)blockIdx.z >= a.faces) {
        const LowPass &first = a.few[blockIdx.z - a.faces].pass[a.stage];
        w.stage = a.second, w.at = passes_of(a.stage) * first.across * first.down;
    }
    return w;
}

DEVICE const PaintedFace &face_of(const PaintArgs &a) { return a.few[(int)blockIdx.z % a.faces]; }

extern "C" __global__ void face_cells(const PaintArgs a) {
    const PaintedFace &f = face_of(a);
    const Work w = work_of(a);
    const LowPass &p = f.pass[w.stage];
    int cx, cy;
    if (!cell_of_thread(p, &cx, &cy)) return;
    int width = w.stage == 4 ? f.side : f.width, height = w.stage == 4 ? f.side : f.height;
    int x0 = cx * p.step, y0 = cy * p.step, x1 = min(x0 + p.step, width), y1 = min(y0 + p.step, height);
    float sum[3] = {0.0f, 0.0f, 0.0f};
    for (int y = y0; y < y1; y++) {
        for (int x = x0; x < x1; x++) {
            float v[3];
            pass_value(f, w.stage, x, y, v);
            sum[0] += v[0], sum[1] += v[1], sum[2] += v[2];
        }
    }
    float share = 1.0f / (float)((x1 - x0) * (y1 - y0)), *grid = (float *)f.grid + w.at;
    int cells = p.across * p.down, at = cy * p.across + cx, n = passes_of(w.stage);
    UNROLL
    for (int c = 0; c < 3; c++) {
        if (c < n) grid[c * cells + at] = sum[c] * share;
    }
}

// One direction of a pass, from one grid to the other.
DEVICE void convolved(const PaintArgs &a, bool down) {
    const PaintedFace &f = face_of(a);
    const Work w = work_of(a);
    const LowPass &p = f.pass[w.stage];
    int cx, cy;
    if (!cell_of_thread(p, &cx, &cy)) return;
    bool mirrors = w.stage == 1 || w.stage == 4;
    int cells = p.across * p.down, n = passes_of(w.stage);
    float sum[3] = {0.0f, 0.0f, 0.0f};
    const float *from = (const float *)(down ? f.other : f.grid) + w.at;
    float *to = (float *)(down ? f.grid : f.other) + w.at;
    if (down) convolve<3>(p, mirrors, n, from, cy, p.down, cx, p.across, cells, sum);
    else convolve<3>(p, mirrors, n, from, cx, p.across, cy * p.across, 1, cells, sum);
    UNROLL
    for (int c = 0; c < 3; c++) {
        if (c < n) to[c * cells + cy * p.across + cx] = sum[c];
    }
}

extern "C" __global__ void face_across(const PaintArgs a) { convolved(a, false); }
extern "C" __global__ void face_down(const PaintArgs a) { convolved(a, true); }

extern "C" __global__ void face_apply(const PaintArgs a) {
    const PaintedFace &f = face_of(a);
    const Work w = work_of(a);
    const LowPass &p = f.pass[w.stage];
    int width = w.stage == 4 ? f.side : f.width, height = w.stage == 4 ? f.side : f.height;
    int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= width || y >= height) return;
    long long i = (long long)y * width + x;
    const float *grid = (const float *)f.grid + w.at;
    Between bx = between(x, p.step, p.across), by = between(y, p.step, p.down);
    float low = smooth(grid, p, bx, by);
    if (w.stage == 0) {
        ((float *)f.alpha)[i] = ((const float4 *)f.lit)[i].w * fminf(low, 1.0f);
    } else if (w.stage == 4) {
        float edge = (float)min(min(x, y), min(f.side - 1 - x, f.side - 1 - y));
        ((float *)f.weight)[i] = clamp_float(low * 2.0f - 1.0f, 0.0f, 1.0f) * fminf(edge * (1.0f / (float)(4 * f.k)), 1.0f);
    } else {
        float bare = ((const float *)f.rim)[2 * i + 1];
        if (bare == 0.0f) return;
        int cells = p.across * p.down;
        float grain = f.grained ? ((const float4 *)f.fine)[i].w : 0.0f;
        float4 v = ((const float4 *)f.lit)[i];
        v.x += (clamp_float(low + grain, 0.0f, 255.0f) - v.x) * bare;
        v.y += (clamp_float(smooth(grid + cells, p, bx, by) + grain, 0.0f, 255.0f) - v.y) * bare;
        v.z += (clamp_float(smooth(grid + 2 * cells, p, bx, by) + grain, 0.0f, 255.0f) - v.z) * bare;
        ((float4 *)f.lit)[i] = v;
    }
}

// Alpha of a pixel of the window after the rim gave way and what stands in front was kept; adds what was.
DEVICE float alpha_left(const PaintedFace &f, int x, int y, float *kept) {
    long long i = (long long)y * f.width + x;
    float alpha = ((const float *)f.alpha)[i];
    const LowPass &rim = f.pass[2], &front = f.pass[3];
    const float *grid = (const float *)f.grid;
    float low = smooth(grid, rim, between(x, rim.step, rim.across), between(y, rim.step, rim.down));
    alpha *= 1.0f - ((const float *)f.rim)[2 * i] * smoothstep(fabsf(low), f.occlusion_lo, f.occlusion_hi);
    if (!f.keeps_front) return alpha;
    grid += rim.across * rim.down;
    int cells = front.across * front.down;
    Between bx = between(x, front.step, front.across), by = between(y, front.step, front.down);
    float most = 0.0f;
    UNROLL
    for (int c = 0; c < 3; c++) most = fmaxf(most, fabsf(smooth(grid + c * cells, front, bx, by)));
    float share = smoothstep(most, f.front_lo, f.front_hi);
    *kept += share * alpha;
    return alpha * (1.0f - share);
}

extern "C" __global__ void face_write(const PaintArgs a) {
    __shared__ float sums[256];
    const PaintedFace &f = a.few[blockIdx.z];
    if ((int)blockIdx.x * 32 >= f.side || (int)blockIdx.y * 8 >= f.side) return; // the whole block
    int x = (int)(blockIdx.x * 32 + threadIdx.x), y = (int)(blockIdx.y * 8 + threadIdx.y), n = (int)(threadIdx.y * 32 + threadIdx.x);
    float kept = 0.0f;
    if (x < f.side && y < f.side) {
        long long i = (long long)y * f.side + x;
        const float *own = (const float *)f.canvas + 3 * i;
        float *picture = (float *)f.picture + 3 * i, alpha = 0.0f;
        int wx = x - f.x, wy = y - f.y;
        if (wx >= 0 && wy >= 0 && wx < f.width && wy < f.height) {
            long long j = (long long)wy * f.width + wx;
            const float *base = (const float *)f.base + 3 * j;
            const float4 lit = ((const float4 *)f.lit)[j];
            alpha = alpha_left(f, wx, wy, &kept);
            picture[0] = lerp(base[0], lit.x, alpha), picture[1] = lerp(base[1], lit.y, alpha), picture[2] = lerp(base[2], lit.z, alpha);
        } else {
            picture[0] = own[0], picture[1] = own[1], picture[2] = own[2];
        }
        ((float *)f.shown)[i] = alpha;
    }
    sums[n] = kept;
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (n < half) sums[n] += sums[n + half];
        __syncthreads();
    }
    if (n == 0) ((float *)f.partial)[blocks_of(f.side) + block_of(f.side)] = sums[0];
}

extern "C" __global__ void face_totals(const PaintArgs a) {
    __shared__ u32 counts[256];
    __shared__ float sums[256];
    const PaintedFace &f = a.few[blockIdx.z];
    int n = (int)threadIdx.x, drawn = (f.width + 31) / 32 * ((f.height + 7) / 8), written = blocks_of(f.side);
    u32 count = 0;
    float sum = 0.0f;
    for (int i = n; i < drawn; i += 256) count += ((const u32 *)f.partial)[i];
    for (int i = n; i < written; i += 256) sum += ((const float *)f.partial)[written + i];
    counts[n] = count, sums[n] = sum;
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (n < half) counts[n] += counts[n + half], sums[n] += sums[n + half];
        __syncthreads();
    }
    if (n != 0) return;
    *(u32 *)f.totals = counts[0];
    *(float *)(f.totals + 4) = sums[0];
}
