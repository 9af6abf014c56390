// finish_face: what is taken from painted faces and what is shown of them, at their canvases' resolution; up to
// FEW_FINISHED faces a launch.
//
// | | |
// |---|---|
// | face_thumb | sums of luma over every second pixel of every second row of `thumb`*`thumb` cells of the crop |
// | face_crops | base, frame and mask averaged down to the denoiser's crop; the mask fades over `ramp` px at the crop's border |
// | face_finish | new = base + edit (bilinear; none in the margin); seen = frame + (new - frame) * weight |
// | input | canvas, picture f32x3 0-255; shown, weight f32 0-1; edit f32x3 of the crop, 0 = none |
// | output | thumb f32; crops f32: base x3, frame x3, mask; new u8x3, rows without padding; seen u8x3, rows `pitch` bytes apart |
// | from_prior | base is the picture and its mask `shown`; else the canvas and `weight` |
// | border | replicated |
// | aliasing | no operand overlaps another |
// | launch | thumb: a thread a cell; crops: 32x8 threads over the crop; finish: 32x8 threads of four pixels of a row; no shared memory |
// | accesses | finish: 16 bytes of canvas, picture and weight, 4 of new and seen |
// | tolerance | thumb and crops 1e-3 of 255, finish 1 code against src/paint_face/shown.rs, in rows that have weight |
#include "common.cuh"

#define FEW_FINISHED 8

struct FinishedFace {
    u64 canvas, picture, shown, weight, edit;
    u64 out; // of thumb or crops
    u64 fresh, seen;
    int side, pitch, k, from_prior;
};

struct FinishArgs {
    FinishedFace few[FEW_FINISHED];
    int faces, crop, margin, thumb; // crop and margin in px of the crop
    float ramp;
    int spare;
};

extern "C" __global__ void face_thumb(const FinishArgs a) {
    const FinishedFace &f = a.few[blockIdx.z];
    int n = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (n >= a.thumb * a.thumb) return;
    int cell = a.crop * f.k / a.thumb, x0 = a.margin * f.k + n % a.thumb * cell, y0 = a.margin * f.k + n / a.thumb * cell;
    float sum = 0.0f;
    for (int y = y0; y < y0 + cell; y += 2) {
        const float *row = (const float *)f.canvas + ((long long)y * f.side + x0) * 3;
        float line = 0.0f;
        for (int x = 0; x < cell; x += 2) line += 0.3f * row[3 * x] + 0.59f * row[3 * x + 1] + 0.11f * row[3 * x + 2];
        sum += line;
    }
    ((float *)f.out)[n] = sum;
}

extern "C" __global__ void face_crops(const FinishArgs a) {
    const FinishedFace &f = a.few[blockIdx.z];
    int x = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= a.crop || y >= a.crop) return;
    const float *base = (const float *)(f.from_prior ? f.picture : f.canvas), *canvas = (const float *)f.canvas;
    const float *mask = (const float *)(f.from_prior ? f.shown : f.weight);
    float v[7] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f}, share = 1.0f / (float)(f.k * f.k);
    for (int j = 0; j < f.k; j++) {
        for (int i = 0; i < f.k; i++) {
            long long at = (long long)((y + a.margin) * f.k + j) * f.side + (x + a.margin) * f.k + i;
            UNROLL
            for (int c = 0; c < 3; c++) v[c] += base[3 * at + c] * share, v[3 + c] += canvas[3 * at + c] * share;
            v[6] += mask[at] * share;
        }
    }
    float edge = (float)min(min(x, y), min(a.crop - 1 - x, a.crop - 1 - y));
    int n = a.crop * a.crop, at = y * a.crop + x;
    float *out = (float *)f.out;
    UNROLL
    for (int c = 0; c < 3; c++) out[3 * at + c] = v[c], out[3 * n + 3 * at + c] = v[3 + c];
    out[6 * n + at] = clamp_float(v[6], 0.0f, 1.0f) * fminf(edge / a.ramp, 1.0f);
}

DEVICE u32 byte_of(float v) { return (u32)clamp_float(v + 0.5f, 0.0f, 255.0f); }

// The edit at one pixel of the canvas.
DEVICE void edit_at(const FinishArgs &a, const FinishedFace &f, int x, int y, float *rgb) {
    int start = a.margin * f.k, end = (a.margin + a.crop) * f.k;
    rgb[0] = rgb[1] = rgb[2] = 0.0f;
    if (f.edit == 0 || x < start || y < start || x >= end || y >= end) return;
    float px = ((float)x + 0.5f) / (float)f.k - (float)a.margin, py = ((float)y + 0.5f) / (float)f.k - (float)a.margin;
    sample_rgb((const float *)f.edit, a.crop, px, py, rgb);
}

extern "C" __global__ void face_finish(const FinishArgs a) {
    const FinishedFace &f = a.few[blockIdx.z];
    int x = 4 * (int)(blockIdx.x * blockDim.x + threadIdx.x), y = (int)(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= f.side || y >= f.side) return;
    long long i = ((long long)y * f.side + x) / 4;
    const float4 *canvas = (const float4 *)f.canvas + 3 * i, *picture = (const float4 *)(f.from_prior ? f.picture : f.canvas) + 3 * i;
    const float4 c0 = canvas[0], c1 = canvas[1], c2 = canvas[2], p0 = picture[0], p1 = picture[1], p2 = picture[2];
    const float4 w = ((const float4 *)f.weight)[i];
    const float frame[12] = {c0.x, c0.y, c0.z, c0.w, c1.x, c1.y, c1.z, c1.w, c2.x, c2.y, c2.z, c2.w};
    const float made[12] = {p0.x, p0.y, p0.z, p0.w, p1.x, p1.y, p1.z, p1.w, p2.x, p2.y, p2.z, p2.w};
    const float weight[4] = {w.x, w.y, w.z, w.w};
    u32 fresh[3] = {0, 0, 0}, seen[3] = {0, 0, 0};
    UNROLL
    for (int n = 0; n < 4; n++) {
        float edit[3];
        edit_at(a, f, x + n, y, edit);
        UNROLL
        for (int c = 0; c < 3; c++) {
            int k = 3 * n + c;
            float value = made[k] + edit[c];
            fresh[k / 4] |= byte_of(value) << (8 * (k % 4));
            seen[k / 4] |= byte_of(frame[k] + (clamp_float(value, 0.0f, 255.0f) - frame[k]) * weight[n]) << (8 * (k % 4));
        }
    }
    u32 *to = (u32 *)f.fresh + 3 * i, *shown = (u32 *)(f.seen + (u64)y * f.pitch + (u64)x * 3);
    UNROLL
    for (int k = 0; k < 3; k++) to[k] = fresh[k], shown[k] = seen[k];
}
