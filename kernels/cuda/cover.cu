// cover: a region made unrecoverable: solid, or a function of at most 8x8 cell means. Two launches.
//
// | | |
// |---|---|
// | cover_means | (sum + n/2) / n, integer, per cell and component; grid (8, 8, 3), 256 threads, shared sums |
// | cover_apply | solid: the codes; pixelate: the nearest cell; blur: quadratic B-spline of the cells; then the blend |
// | input | mask inside the frame; the axes of each component's grid (src/cuda/args.rs makes them) |
// | output | the frame in place; weight 0 bit for bit, 255 replaces |
// | order | cover_means before cover_apply on one stream: apply overwrites what means reads |
// | tolerance | exact: integers, equal to src/cover/reference.rs bit for bit |
#include "common.cuh"

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

DEVICE int cell_edge(const Axis &a, int cell) { return (int)((long long)cell * a.len / a.cells); }
DEVICE int cell_of(const Axis &a, int sample) {
    return min((int)((((long long)sample + 1) * a.cells - 1) / a.len), a.cells - 1);
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
    long long count = (long long)w * h;
    for (long long k = threadIdx.x; k < count; k += blockDim.x) {
        int row = (int)(k / w), column = (int)(k - (long long)row * w);
        sum += (u64)load_code(a.frame, c, ax.start + x0 + column, ay.start + y0 + row);
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

DEVICE long long floor_div(long long a, long long b) { return a / b - (a % b < 0 ? 1 : 0); }

DEVICE Spline spline(const Axis &a, int sample) {
    const long long one = 1024;
    long long u = floor_div((2 * (long long)sample + 1) * a.cells * one / 2, a.len) - one / 2;
    long long middle = floor_div(u + one / 2, one);
    long long f = u - middle * one;
    Spline s;
    s.weight[0] = (u32)(((one / 2 - f) * (one / 2 - f)) >> 11);
    s.weight[2] = (u32)(((one / 2 + f) * (one / 2 + f)) >> 11);
    s.weight[1] = (u32)one - s.weight[0] - s.weight[2];
    for (int k = 0; k < 3; k++) s.cell[k] = clamp_int((int)middle - 1 + k, 0, a.cells - 1);
    return s;
}

extern "C" __global__ void cover_apply(const CoverArgs a) {
    const Frame &f = a.frame;
    int component = (int)blockIdx.z, sx, sy;
    const Component &c = f.c[component];
    if (!sample_of_thread(a.mask, c, &sx, &sy)) return;
    int weight = sample_weight(f, a.mask, c, sx, sy);
    if (weight == 0) return;
    const Axis &ax = a.x[component], &ay = a.y[component];
    const u32 *means = (const u32 *)a.means + component * 64;
    u32 value;
    if (a.mode == 0) {
        value = (u32)a.codes[component];
    } else if (a.mode == 1) {
        value = means[cell_of(ay, sy - ay.start) * 8 + cell_of(ax, sx - ax.start)];
    } else {
        Spline h = spline(ax, sx - ax.start), v = spline(ay, sy - ay.start);
        u32 sum = 0;
        for (int j = 0; j < 3; j++) {
            for (int i = 0; i < 3; i++) sum += means[v.cell[j] * 8 + h.cell[i]] * h.weight[i] * v.weight[j];
        }
        value = (sum + (1u << 19)) >> 20;
    }
    store_code(f, c, sx, sy, mix_code(load_code(f, c, sx, sy), (int)value, weight));
}
