// cover: a region made unrecoverable: solid, or a function of at most 8x8 cell means. Two launches.
//
// | | |
// |---|---|
// | cover_means | (sum + n/2) / n, integer, per cell and component; grid (8, 8, 3), 256 threads, shared sums; 16-byte loads where rows allow |
// | cover_apply | solid: the codes; pixelate: the nearest cell; blur: quadratic B-spline of the cells; then the blend, as tile.cuh has it |
// | input | mask inside the frame; the axes of each component's grid (src/cuda/args.rs makes them) |
// | output | the frame in place; weight 0 bit for bit, 255 replaces |
// | order | cover_means before cover_apply on one stream: apply overwrites what means reads |
// | tolerance | exact: integers, equal to src/cover/reference.rs bit for bit |
#include "common.cuh"
#include "tile.cuh"

struct Axis {
    int start, len, cells, spare;
};

struct CoverArgs {
    Frame frame;
    Mask mask;
    u64 means; // u32 [3][8][8]
    Axis x[3];
    Axis y[3];
    int codes[3];
    int mode; // 0 solid, 1 pixelate, 2 blur
};

// At most 8 cells and 32768 samples: everything fits 32 bits, and a 64-bit division costs a hundred instructions.
DEVICE int cell_edge(const Axis &a, int cell) { return cell * a.len / a.cells; }
DEVICE int cell_of(const Axis &a, int sample) { return min(((sample + 1) * a.cells - 1) / a.len, a.cells - 1); }

// Sum of the component's samples e0 <= element < e1 of a row, sixteen bytes at a time.
DEVICE u32 sum_of_chunk(const Frame &f, const Component &c, int sy, int chunk, int e0, int e1) {
    const uint4 w = *(const uint4 *)((const u8 *)c.base + (long long)sy * c.stride + 16 * (long long)chunk);
    int bits = f.depth == 0 ? 8 : 16, n = 128 / bits, first = chunk * n;
    u64 lo = w.x | (u64)w.y << 32, hi = w.z | (u64)w.w << 32;
    u32 sum = 0;
    for (int i = 0; i < n; i++) {
        int e = first + i;
        int raw = (int)((i < n / 2 ? lo : hi) >> (i * bits & 63)) & ((1 << bits) - 1);
        if (e >= e0 && e < e1 && e % c.step == c.offset) sum += (u32)code_of(f, raw);
    }
    return sum;
}

extern "C" __global__ void cover_means(const CoverArgs a) {
    __shared__ u64 sums[256];
    int component = (int)blockIdx.z, i = (int)blockIdx.x, j = (int)blockIdx.y;
    const Axis &ax = a.x[component], &ay = a.y[component];
    if (i >= ax.cells || j >= ay.cells) return; // the whole block
    int x0 = cell_edge(ax, i), y0 = cell_edge(ay, j);
    int w = cell_edge(ax, i + 1) - x0, h = cell_edge(ay, j + 1) - y0;
    const Component &c = a.frame.c[component];
    u64 sum = 0;
    int count = w * h;
    if (a.frame.wide) {
        int per = a.frame.depth == 0 ? 16 : 8, e0 = (ax.start + x0) * c.step, e1 = (ax.start + x0 + w) * c.step;
        int chunk0 = e0 / per, chunks = (e1 + per - 1) / per - chunk0;
        for (int k = (int)threadIdx.x; k < chunks * h; k += (int)blockDim.x) {
            sum += sum_of_chunk(a.frame, c, ay.start + y0 + k / chunks, chunk0 + k % chunks, e0, e1);
        }
    } else {
        for (int k = (int)threadIdx.x; k < count; k += (int)blockDim.x) {
            sum += (u64)load_code(a.frame, c, ax.start + x0 + k % w, ay.start + y0 + k / w);
        }
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (unsigned n = blockDim.x / 2; n > 0; n /= 2) {
        if (threadIdx.x < n) sums[threadIdx.x] += sums[threadIdx.x + n];
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        u64 n = (u64)count;
        ((u32 *)a.means)[(component * 8 + j) * 8 + i] = n == 0 ? 0u : (u32)((sums[0] + n / 2) / n);
    }
}

struct Spline {
    int cell[3];
    u32 weight[3];
};

DEVICE Spline spline(const Axis &a, int sample) {
    const int one = 1024;
    // Never negative before the half is taken off, so that division and shift round down.
    int u = (2 * sample + 1) * a.cells * (one / 2) / a.len - one / 2;
    int middle = (u + one / 2) >> 10;
    int f = u - middle * one;
    Spline s;
    s.weight[0] = (u32)(((one / 2 - f) * (one / 2 - f)) >> 11);
    s.weight[2] = (u32)(((one / 2 + f) * (one / 2 + f)) >> 11);
    s.weight[1] = (u32)one - s.weight[0] - s.weight[2];
    for (int k = 0; k < 3; k++) s.cell[k] = clamp_int(middle - 1 + k, 0, a.cells - 1);
    return s;
}

DEVICE int cover_value(const CoverArgs &a, int component, int sx, int sy) {
    const Axis &ax = a.x[component], &ay = a.y[component];
    const u32 *means = (const u32 *)a.means + component * 64;
    if (a.mode == 0) return a.codes[component];
    if (a.mode == 1) return (int)means[cell_of(ay, sy - ay.start) * 8 + cell_of(ax, sx - ax.start)];
    Spline h = spline(ax, sx - ax.start), v = spline(ay, sy - ay.start);
    u32 sum = 0;
    for (int j = 0; j < 3; j++) {
        for (int i = 0; i < 3; i++) sum += means[v.cell[j] * 8 + h.cell[i]] * h.weight[i] * v.weight[j];
    }
    return (int)((sum + (1u << 19)) >> 20);
}

extern "C" __global__ void cover_apply(const CoverArgs a) {
    __shared__ Tile tile;
    const Frame &f = a.frame;
    load_alpha(f, a.mask, tile);
    __syncthreads();
    Quad q = quad_of(f, a.mask, tile);
    for (int component = 0; component < 3; component++) {
        const Component &c = f.c[component];
        if (c.shift_x + c.shift_y > 0) {
            int weight = weight_of(q);
            make(f, tile, component, 0, weight > 0 ? cover_value(a, component, q.bx, q.by) : 0, weight);
            continue;
        }
        UNROLL
        for (int k = 0; k < 4; k++) {
            if (!serves(f, k)) continue;
            int x = (q.bx << f.c[1].shift_x) + (k & 1), y = (q.by << f.c[1].shift_y) + (k >> 1);
            make(f, tile, component, k, q.alpha[k] > 0 ? cover_value(a, component, x, y) : 0, q.alpha[k]);
        }
    }
    __syncthreads();
    write_tile(f, a.mask, tile, 0);
}
