// What every kernel shares: the frame's description, sample access, bilinear positions, half floats.
//
// Why: one table of components (as src/packing.rs has it) serves every format, so no kernel branches on
// the format itself, and alpha, padding and spare bits cannot be reached.
// Sources are compiled at run time with no header on the machine: half floats go through PTX, not cuda_fp16.h.
// The same text is compiled by a C++ compiler behind host_shim.hpp; anything that only one of the two
// compilers knows stands behind NULLFACE_HOST.
// Limits: sides up to 32768 px; pointers are 64-bit integers so that Rust and both compilers agree on sizes.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef NULLFACE_HOST
#define DEVICE [[maybe_unused]] static __device__ __forceinline__
DEVICE float half_to_float(u16 h) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}
DEVICE u16 float_to_half(float f) {
    u16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
}
// Arrays indexed by unrolled loops stay in registers.
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif

struct Component {
    u64 base;    // first byte of the plane
    int stride;  // bytes a row
    int offset;  // first element of a row
    int step;    // elements from sample to sample
    int shift_x; // log2 of the subsampling
    int shift_y;
    int spare;
};

struct Frame {
    Component c[3];
    int width;   // px
    int height;
    int depth;   // 0 = 8 bit, 1 = upper ten of sixteen, 2 = lower ten
    int max_code;
    int even;    // two-byte samples lie at even addresses
    int wide;    // rows begin and end on 16-byte borders, and all of their bytes may be read
    float decode[12]; // rgb = decode * [c0 c1 c2 1]
    float encode[12]; // codes = encode * [r g b 1]
};

struct Mask {
    u64 alpha; // u8, stride * height; 0 wherever a row is not of the rectangle
    int x, y, width, height;
    int left;   // column of a row's first byte
    int stride; // bytes a row
};

DEVICE int clamp_int(int v, int lo, int hi) { return v < lo ? lo : (v > hi ? hi : v); }
// Not a number becomes lo, as fmaxf gives the other operand.
DEVICE float clamp_float(float v, float lo, float hi) { return fminf(fmaxf(v, lo), hi); }
DEVICE int ceil_shift(int v, int shift) { return (v + (1 << shift) - 1) >> shift; }

DEVICE u8 *sample_at(const Frame &f, const Component &c, int sx, int sy) {
    int bytes = f.depth == 0 ? 1 : 2;
    return (u8 *)c.base + (long long)sy * c.stride + ((long long)sx * c.step + c.offset) * bytes;
}

DEVICE int code_of(const Frame &f, int raw) { return f.depth == 0 ? raw : (f.depth == 1 ? raw >> 6 : raw & 0x3ff); }

DEVICE int load_code(const Frame &f, const Component &c, int sx, int sy) {
    const u8 *p = sample_at(f, c, sx, sy);
    if (f.depth == 0) return *p;
    return code_of(f, f.even ? *(const u16 *)p : p[0] | p[1] << 8);
}

// The same of a frame that nobody writes during the launch: by the read-only cache.
DEVICE int load_code_once(const Frame &f, const Component &c, int sx, int sy) {
    const u8 *p = sample_at(f, c, sx, sy);
    if (f.depth == 0) return __ldg(p);
    return code_of(f, f.even ? __ldg((const u16 *)p) : __ldg(p) | __ldg(p + 1) << 8);
}

DEVICE void store_code(const Frame &f, const Component &c, int sx, int sy, int code) {
    u8 *p = sample_at(f, c, sx, sy);
    if (f.depth == 0) {
        *p = (u8)code;
        return;
    }
    int raw = f.depth == 1 ? code << 6 : code;
    if (f.even) {
        *(u16 *)p = (u16)raw;
    } else {
        p[0] = (u8)raw;
        p[1] = (u8)(raw >> 8);
    }
}

struct Bilinear {
    int lower, upper;
    float f;
};

// Border replicated; pixel centres at integer + 0.5.
DEVICE Bilinear bilinear(float position_px, int side) {
    float p = clamp_float(position_px - 0.5f, 0.0f, (float)(side - 1));
    Bilinear b;
    b.lower = clamp_int((int)p, 0, side - 1);
    b.upper = b.lower + 1 < side ? b.lower + 1 : side - 1;
    b.f = p - (float)b.lower;
    return b;
}

DEVICE float lerp(float a, float b, float f) { return a + (b - a) * f; }

// Bilinear sample of f32x3.
DEVICE void sample_rgb(const float *picture, int side, float px, float py, float *rgb) {
    Bilinear bx = bilinear(px, side), by = bilinear(py, side);
    const float *r0 = picture + (long long)by.lower * side * 3, *r1 = picture + (long long)by.upper * side * 3;
    UNROLL
    for (int c = 0; c < 3; c++) {
        int l = 3 * bx.lower + c, u = 3 * bx.upper + c;
        rgb[c] = lerp(lerp(r0[l], r0[u], bx.f), lerp(r1[l], r1[u], bx.f), by.f);
    }
}

DEVICE float tap_offset(int i, int n) { return ((float)i + 0.5f) / (float)n - 0.5f; }

// 0 outside the mask's rectangle.
DEVICE int alpha_at(const Mask &m, int x, int y) {
    int dx = x - m.x, dy = y - m.y;
    if (dx < 0 || dy < 0 || dx >= m.width || dy >= m.height) return 0;
    return ((const u8 *)m.alpha)[(long long)dy * m.stride + (x - m.left)];
}

DEVICE int mix_code(int old, int value, int a) { return (old * (255 - a) + value * a + 127) / 255; }
