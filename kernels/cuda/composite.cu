// composite: a crop, or the difference that an edit makes, back into the frame, in place. One face a launch.
//
// | | |
// |---|---|
// | formula | replace: (old*(255-a) + new*a + 127) / 255; add: old + round(delta*a/255), clamped to the codes |
// | input | mask inside the frame; interleaved RGB, u8 (replace) or f32 differences (add); crop_from_frame; taps nx, ny |
// | weight | as sample_weight: no pixel outside the mask changes, also through shared chroma |
// | output | the frame's own samples, any format; alpha, padding and spare bits of untouched samples kept |
// | aliasing | the crop must not overlap the frame; faces that overlap go in order, one launch after the other |
// | launch | 32x8 threads over the mask's samples, grid z = component; no shared memory, no synchronisation |
// | tolerance | 1 code against src/composite/reference.rs (f32 sums) |
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

DEVICE float crop_value(const CompositeArgs &a, int x, int y, int channel) {
    long long at = ((long long)y * a.width + x) * 3 + channel;
    if (a.adds) return clamp_float(((const float *)a.crop)[at], -255.0f, 255.0f);
    return (float)((const u8 *)a.crop)[at];
}

// The component's value at one frame pixel.
DEVICE float crop_component(const CompositeArgs &a, int x, int y, const float *row) {
    float sum[3] = {0.0f, 0.0f, 0.0f};
    for (int j = 0; j < a.ny; j++) {
        for (int i = 0; i < a.nx; i++) {
            float px = (float)x + 0.5f + tap_offset(i, a.nx), py = (float)y + 0.5f + tap_offset(j, a.ny);
            Bilinear bx = bilinear(a.m[0] * px + a.m[1] * py + a.m[2], a.width);
            Bilinear by = bilinear(a.m[3] * px + a.m[4] * py + a.m[5], a.height);
            for (int c = 0; c < 3; c++) {
                float top = crop_value(a, bx.lower, by.lower, c) * (1.0f - bx.f) + crop_value(a, bx.upper, by.lower, c) * bx.f;
                float low = crop_value(a, bx.lower, by.upper, c) * (1.0f - bx.f) + crop_value(a, bx.upper, by.upper, c) * bx.f;
                sum[c] += top * (1.0f - by.f) + low * by.f;
            }
        }
    }
    float share = 1.0f / (float)(a.nx * a.ny);
    return row[0] * (sum[0] * share) + row[1] * (sum[1] * share) + row[2] * (sum[2] * share) + (a.adds ? 0.0f : row[3]);
}

extern "C" __global__ void composite(const CompositeArgs a) {
    const Frame &f = a.frame;
    int component = (int)blockIdx.z, sx, sy;
    const Component &c = f.c[component];
    if (!sample_of_thread(a.mask, c, &sx, &sy)) return;
    int weight = sample_weight(f, a.mask, c, sx, sy);
    if (weight == 0) return;
    float sum = 0.0f;
    int count = 0;
    int y1 = min((sy + 1) << c.shift_y, f.height), x1 = min((sx + 1) << c.shift_x, f.width);
    for (int y = sy << c.shift_y; y < y1; y++) {
        for (int x = sx << c.shift_x; x < x1; x++) {
            sum += crop_component(a, x, y, f.encode + 4 * component);
            count++;
        }
    }
    float value = sum / (float)count;
    int old = load_code(f, c, sx, sy), code;
    if (a.adds) {
        const int unit = 255 << 4;
        int scaled = (int)roundf(value * 16.0f) * weight;
        code = clamp_int(old + (scaled + (scaled < 0 ? -unit / 2 : unit / 2)) / unit, 0, f.max_code);
    } else {
        code = mix_code(old, (int)clamp_float(value + 0.5f, 0.0f, (float)f.max_code), weight);
    }
    store_code(f, c, sx, sy, code);
}
