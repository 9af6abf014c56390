// warp_edit: the cached edit moved along with the mesh, two edits cross-faded. All faces in one launch.
//
// | | |
// |---|---|
// | formula | out = b + (a - b)*share with a, b = bilinear(edit, map[triangle](x + 0.5, y + 0.5)); 0 outside the mesh |
// | input | per face: triangle of each pixel (u16, 65535 = none), maps of each triangle into the two edits, edits as interleaved RGB f32 |
// | still | an edit whose mesh has not moved (maps 0) is copied, bit for bit; without a second edit (before 0) out = a |
// | output | f32, [face][row][column][rgb]; every element written |
// | border | replicated; a triangle beyond the table gives 0 |
// | aliasing | none |
// | launch | 32x8 threads, grid (ceil w/32, ceil h/8, faces); no shared memory, no synchronisation |
// | tolerance | 1e-4 relative to 255 against src/warp_edit/reference.rs (fused multiply-add) |
#include "common.cuh"

struct WarpFace {
    u64 index;      // u16, width * height
    u64 edit;       // f32 rgb
    u64 maps;       // float[6] a triangle, 0 = unmoved
    u64 before;     // f32 rgb, 0 = none
    u64 before_maps;
    int triangles;
    float share; // of `edit`
};

struct WarpArgs {
    u64 faces; // WarpFace
    u64 out;
    int width, height, count, spare;
};

DEVICE void warped(u64 edit, u64 maps, int triangle, int triangles, const WarpArgs &a, int x, int y, float *rgb) {
    const float *values = (const float *)edit;
    if (maps == 0) {
        for (int i = 0; i < 3; i++) rgb[i] = values[((long long)y * a.width + x) * 3 + i];
        return;
    }
    rgb[0] = rgb[1] = rgb[2] = 0.0f;
    if (triangle >= triangles) return;
    const float *m = (const float *)maps + 6 * (long long)triangle;
    float px = (float)x + 0.5f, py = (float)y + 0.5f;
    Bilinear bx = bilinear(m[0] * px + m[1] * py + m[2], a.width), by = bilinear(m[3] * px + m[4] * py + m[5], a.height);
    const float *r0 = values + (long long)by.lower * a.width * 3, *r1 = values + (long long)by.upper * a.width * 3;
    for (int i = 0; i < 3; i++) {
        float top = r0[bx.lower * 3 + i] * (1.0f - bx.f) + r0[bx.upper * 3 + i] * bx.f;
        float low = r1[bx.lower * 3 + i] * (1.0f - bx.f) + r1[bx.upper * 3 + i] * bx.f;
        rgb[i] = top * (1.0f - by.f) + low * by.f;
    }
}

extern "C" __global__ void warp_edit(const WarpArgs a) {
    int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= a.width || y >= a.height) return;
    const WarpFace f = ((const WarpFace *)a.faces)[blockIdx.z];
    long long pixel = (long long)y * a.width + x;
    int triangle = f.maps != 0 || f.before_maps != 0 ? ((const u16 *)f.index)[pixel] : 0;
    float now[3];
    warped(f.edit, f.maps, triangle, f.triangles, a, x, y, now);
    if (f.before != 0) {
        float old[3];
        warped(f.before, f.before_maps, triangle, f.triangles, a, x, y, old);
        for (int i = 0; i < 3; i++) now[i] = old[i] + (now[i] - old[i]) * f.share;
    }
    float *out = (float *)a.out + ((long long)blockIdx.z * a.width * a.height + pixel) * 3;
    for (int i = 0; i < 3; i++) out[i] = now[i];
}
