// How a block writes into a frame: its 32x8 threads make samples in shared memory, then rows of them are blended
// sixteen bytes at a time.
//
// | | |
// |---|---|
// | tile | 32x8 samples of the coarsest component, from a column that is a multiple of 32 px on: whole chunks of every format |
// | alpha | the mask's rows sixteen bytes at a time where they lie on such borders, else byte by byte; each byte read once |
// | weight of a sample | its pixel's alpha; of one that serves several 0 if any of them is 0, else the floor of the mean |
// | written | chunks in which a sample has weight, read and written once; samples of weight 0, alpha, padding and spare bits kept |
// | frames whose rows are not on 16-byte borders | sample by sample |
// | other blocks | no two tiles share a chunk |
#pragma once

#define TILE_X 32
#define TILE_Y 8
#define TILE_PITCH 64 // most samples a row
#define TILE_ROWS 16

struct Tile {
    uint4 alpha[TILE_PITCH * TILE_ROWS / 16]; // u8 a pixel
    u32 made[3][TILE_PITCH * TILE_ROWS];      // value in the lower half, weight in the upper; weight 0 = not touched
};

DEVICE int thread_of_tile() { return (int)(threadIdx.y * TILE_X + threadIdx.x); }
// The tile's first pixel.
DEVICE int tile_x(const Frame &f, const Mask &m) { return (m.x & ~31) + (((int)blockIdx.x * TILE_X) << f.c[1].shift_x); }
DEVICE int tile_y(const Frame &f, const Mask &m) { return ((m.y >> f.c[1].shift_y) + (int)blockIdx.y * TILE_Y) << f.c[1].shift_y; }

DEVICE void load_alpha(const Frame &f, const Mask &m, Tile &t) {
    int width = TILE_X << f.c[1].shift_x, height = TILE_Y << f.c[1].shift_y, x0 = tile_x(f, m), y0 = tile_y(f, m), n = thread_of_tile();
    if (m.alpha % 16 == 0 && m.stride % 16 == 0 && m.left % 16 == 0) {
        int chunks = width / 16, row = n / chunks, chunk = n % chunks, x = x0 + 16 * chunk, y = y0 + row;
        if (row >= height) return;
        uint4 w = {0, 0, 0, 0};
        if (y >= m.y && y < m.y + m.height && x >= m.left && x < m.left + m.stride) {
            w = *(const uint4 *)((const u8 *)m.alpha + (long long)(y - m.y) * m.stride + (x - m.left));
        }
        t.alpha[row * (TILE_PITCH / 16) + chunk] = w;
    } else {
        for (int k = n; k < width * height; k += TILE_X * TILE_Y) {
            ((u8 *)t.alpha)[k / width * TILE_PITCH + k % width] = (u8)alpha_at(m, x0 + k % width, y0 + k / width);
        }
    }
}

// What a thread works on: the pixels that one sample of the coarsest component serves.
struct Quad {
    int bx, by; // that sample
    int alpha[4];
    int sum, least, count;
};

DEVICE bool serves(const Frame &f, int k) { return (k & 1) >> f.c[1].shift_x == 0 && (k >> 1) >> f.c[1].shift_y == 0; }

DEVICE Quad quad_of(const Frame &f, const Mask &m, const Tile &t) {
    Quad q;
    q.bx = (tile_x(f, m) >> f.c[1].shift_x) + (int)threadIdx.x, q.by = (tile_y(f, m) >> f.c[1].shift_y) + (int)threadIdx.y;
    q.sum = 0, q.least = 255, q.count = 0;
    UNROLL
    for (int k = 0; k < 4; k++) {
        int x = (q.bx << f.c[1].shift_x) + (k & 1), y = (q.by << f.c[1].shift_y) + (k >> 1);
        int column = ((int)threadIdx.x << f.c[1].shift_x) + (k & 1), row = ((int)threadIdx.y << f.c[1].shift_y) + (k >> 1);
        bool there = serves(f, k) && x < f.width && y < f.height;
        q.alpha[k] = there ? ((const u8 *)t.alpha)[row * TILE_PITCH + column] : 0;
        if (!there) continue;
        q.sum += q.alpha[k], q.least = min(q.least, q.alpha[k]), q.count++;
    }
    return q;
}

DEVICE int weight_of(const Quad &q) { return q.count > 0 && q.least > 0 ? q.sum / q.count : 0; }

// Makes the sample of the quad's k-th pixel, or, of a coarse component, its only one (k = 0).
DEVICE void make(const Frame &f, Tile &t, int component, int k, int value, int weight) {
    int dx = f.c[1].shift_x - f.c[component].shift_x, dy = f.c[1].shift_y - f.c[component].shift_y;
    int column = ((int)threadIdx.x << dx) + (k & 1), row = ((int)threadIdx.y << dy) + (k >> 1);
    t.made[component][row * TILE_PITCH + column] = (u32)(u16)clamp_int(value, -32768, 32767) | (u32)weight << 16;
}

// A sample's new code. `adds`: the value is a difference in sixteenths of a code.
DEVICE int blended(int adds, int max_code, int old, u32 made) {
    int value = (short)(made & 0xffff), weight = (int)(made >> 16);
    if (!adds) return mix_code(old, value, weight);
    const int unit = 255 << 4;
    int scaled = value * weight;
    return clamp_int(old + (scaled + (scaled < 0 ? -unit / 2 : unit / 2)) / unit, 0, max_code);
}

// Blends the samples that components of one plane have in one chunk of a row.
DEVICE void write_chunk(const Frame &f, const Tile &t, int adds, int leader, int row, int first, u8 *at) {
    int bits = f.depth == 0 ? 8 : 16, per = 128 / bits;
    u64 lo = 0, hi = 0, ones = (1u << bits) - 1;
    bool loaded = false;
    for (int j = leader; j < 3; j++) {
        const Component &c = f.c[j];
        if (c.base != f.c[leader].base) continue;
        for (int s = (first - c.offset + c.step - 1) / c.step; s * c.step + c.offset < first + per; s++) {
            u32 made = t.made[j][row * TILE_PITCH + s];
            if (made >> 16 == 0) continue;
            if (!loaded) {
                const uint4 w = *(const uint4 *)at;
                lo = w.x | (u64)w.y << 32, hi = w.z | (u64)w.w << 32, loaded = true;
            }
            int e = s * c.step + c.offset - first, shift = e * bits & 63;
            u64 &half = e < per / 2 ? lo : hi;
            int code = blended(adds, f.max_code, code_of(f, (int)(half >> shift & ones)), made);
            half = (half & ~(ones << shift)) | (u64)(f.depth == 1 ? code << 6 : code) << shift;
        }
    }
    if (!loaded) return;
    uint4 w;
    w.x = (u32)lo, w.y = (u32)(lo >> 32), w.z = (u32)hi, w.w = (u32)(hi >> 32);
    *(uint4 *)at = w;
}

// After a barrier behind the last `make`.
DEVICE void write_tile(const Frame &f, const Mask &m, const Tile &t, int adds) {
    for (int k = 0; k < 3; k++) {
        const Component &c = f.c[k];
        int across = TILE_X << (f.c[1].shift_x - c.shift_x), down = TILE_Y << (f.c[1].shift_y - c.shift_y);
        int sx0 = tile_x(f, m) >> c.shift_x, sy0 = tile_y(f, m) >> c.shift_y;
        if (!f.wide) {
            for (int i = thread_of_tile(); i < across * down; i += TILE_X * TILE_Y) {
                int row = i / across, column = i % across;
                u32 made = t.made[k][row * TILE_PITCH + column];
                if (made >> 16 == 0) continue;
                store_code(f, c, sx0 + column, sy0 + row, blended(adds, f.max_code, load_code(f, c, sx0 + column, sy0 + row), made));
            }
            continue;
        }
        // The first component of a plane writes for all of them.
        if ((k > 0 && c.base == f.c[0].base) || (k > 1 && c.base == f.c[1].base)) continue;
        int bytes = f.depth == 0 ? 1 : 2, chunks = across * c.step * bytes / 16;
        for (int i = thread_of_tile(); i < chunks * down; i += TILE_X * TILE_Y) {
            int row = i / chunks, first = i % chunks * (16 / bytes);
            u8 *at = (u8 *)c.base + (long long)(sy0 + row) * c.stride + ((long long)sx0 * c.step + first) * bytes;
            write_chunk(f, t, adds, k, row, first, at);
        }
    }
}
