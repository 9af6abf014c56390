// warp_edit: the cached edit moved along with the mesh, two edits cross-faded; up to FEW_WARPED faces a launch.
//
// | | |
// |---|---|
// | warp_triangles | per triangle of the mesh as it is now: corners, depth, maps to the two edits |
// | warp_edit | per pixel of the crop: the nearest triangle over its centre, and the edits there |
// | formula | out = b + (a - b)*share with a, b = bilinear(edit, map[triangle](x + 0.5, y + 0.5)); 0 outside the mesh |
// | input | per face: points now (px of the crop and depth), edits as interleaved RGB f32, the points that each was made at |
// | still | an edit whose mesh has not moved (points 0) is copied, bit for bit; without a second edit (before 0) out = a |
// | output | f32, [row][column][rgb]; every element written |
// | order | as src/raster.rs: of the triangles over a pixel the nearest, of equals the last; those facing away, without area or not finite are not drawn |
// | border | replicated; a triangle whose points in the edit are not finite gives the edit's first pixel |
// | aliasing | no operand overlaps another |
// | launch | triangles: 256 threads a block; edit: 32x8 threads over the crop, 8 KB of shared memory, barriers; grid.z = faces |
// | accesses | triangles 16 bytes; edits 4 bytes, whole lines a warp |
// | tolerance | 1e-4 relative to 255 against src/warp_edit (fused multiply-add), but where that moves an edge of the raster: at most 0.1 % of pixels |
#include "common.cuh"
#include "raster.cuh"

#define FEW_WARPED 8

struct WarpFace {
    u64 points;        // f32 [points][3]
    u64 edit;          // f32 rgb
    u64 edit_points;   // f32 [points][2], 0 = unmoved
    u64 before;        // f32 rgb, 0 = none
    u64 before_points; // as edit_points
    u64 triangles;     // float4 [triangles][TRIANGLE] (raster.cuh), scratch: maps to edit and before
    u64 out;
    int side;          // of the crop
    float share;       // of `edit`
};

struct WarpArgs {
    WarpFace few[FEW_WARPED];
    u64 corners; // u16 [triangles][4]
    int faces, triangles;
};

DEVICE bool moves(const WarpFace &f) { return f.edit_points != 0 || (f.before != 0 && f.before_points != 0); }

DEVICE bool is_finite(const float p[3][2]) {
    bool finite = true;
    UNROLL
    for (int i = 0; i < 3; i++) finite = finite && fabsf(p[i][0]) <= 3.4e38f && fabsf(p[i][1]) <= 3.4e38f;
    return finite;
}

// The map to where an edit was made; of one that has not moved it is not asked for.
DEVICE void map_to(u64 points, const int *corner, const float d[3][2], float area, float *m) {
    float s[3][2];
    UNROLL
    for (int i = 0; i < 6; i++) m[i] = 0.0f;
    if (points == 0) return;
    UNROLL
    for (int i = 0; i < 3; i++) {
        const float *p = (const float *)points + 2 * corner[i];
        s[i][0] = p[0], s[i][1] = p[1];
    }
    if (is_finite(s)) map_of(d, s, area, m);
}

extern "C" __global__ void warp_triangles(const WarpArgs a) {
    int t = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    const WarpFace &f = a.few[blockIdx.z];
    if (t >= a.triangles || !moves(f)) return;
    int corner[3];
    float d[3][2], depth = 0.0f, m[12];
    UNROLL
    for (int i = 0; i < 3; i++) {
        corner[i] = ((const u16 *)a.corners)[4 * t + i];
        const float *p = (const float *)f.points + 3 * corner[i];
        d[i][0] = p[0], d[i][1] = p[1], depth += p[2];
    }
    float area = twice_area(d);
    float4 *out = (float4 *)f.triangles + TRIANGLE * t;
    if (!is_finite(d) || !(area > LEAST_TWICE_AREA)) {
        not_drawn(out);
        return;
    }
    map_to(f.edit_points, corner, d, area, m);
    map_to(f.before == 0 ? 0 : f.before_points, corner, d, area, m + 6);
    store_triangle(out, d, depth, 0.0f, m);
}

// An edit at a pixel of the crop that triangle `t` covers (negative: none).
DEVICE void warped(u64 edit, u64 points, const WarpFace &f, int t, int second, int x, int y, float *rgb) {
    const float *values = (const float *)edit;
    if (points == 0) {
        const float *own = values + ((long long)y * f.side + x) * 3;
        rgb[0] = own[0], rgb[1] = own[1], rgb[2] = own[2];
        return;
    }
    rgb[0] = rgb[1] = rgb[2] = 0.0f;
    if (t < 0) return;
    const float4 *record = (const float4 *)f.triangles + TRIANGLE * t;
    const float4 m0 = record[2], m1 = record[3], m2 = record[4];
    float px = (float)x + 0.5f, py = (float)y + 0.5f;
    if (second == 0) sample_rgb(values, f.side, m0.x * px + m0.y * py + m0.z, m0.w * px + m1.x * py + m1.y, rgb);
    else sample_rgb(values, f.side, m1.z * px + m1.w * py + m2.x, m2.y * px + m2.z * py + m2.w, rgb);
}

extern "C" __global__ void warp_edit(const WarpArgs a) {
    __shared__ u16 near[MOST_TRIANGLES];
    __shared__ int found;
    const WarpFace &f = a.few[blockIdx.z];
    int x0 = (int)blockIdx.x * 32, y0 = (int)blockIdx.y * 8, n = (int)(threadIdx.y * 32 + threadIdx.x);
    if (x0 >= f.side || y0 >= f.side) return; // the whole block
    bool moved = moves(f); // the same for the whole block
    if (moved) triangles_near(f.triangles, a.triangles, x0, y0, n, near, &found);
    int x = x0 + (int)threadIdx.x, y = y0 + (int)threadIdx.y;
    if (x >= f.side || y >= f.side) return;
    int t = moved ? nearest_triangle(f.triangles, near, found, x, y) : -1;
    float now[3];
    warped(f.edit, f.edit_points, f, t, 0, x, y, now);
    if (f.before != 0) {
        float old[3];
        warped(f.before, f.before_points, f, t, 1, x, y, old);
        UNROLL
        for (int i = 0; i < 3; i++) now[i] = lerp(old[i], now[i], f.share);
    }
    float *out = (float *)f.out + ((long long)y * f.side + x) * 3;
    UNROLL
    for (int i = 0; i < 3; i++) out[i] = now[i];
}
