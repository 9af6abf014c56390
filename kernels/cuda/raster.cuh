// Which triangle of a mesh covers a pixel, and the maps of its pixels to other pictures, as src/raster.rs has it.
//
// | | |
// |---|---|
// | record | float4 [TRIANGLE] a triangle: x0 y0 x1 y1, x2 y2 depth extra, twelve values of two maps; x0 NOT_DRAWN: not drawn |
// | order | of the triangles over a pixel the nearest, of equals the last; those facing away or without area are not drawn |
// | coverage | a pixel belongs to a triangle when its centre is inside or on an edge |
// | launch | tiles of 32x8 pixels and threads; up to MOST_TRIANGLES u16 of shared memory, two barriers |
#pragma once

#define MOST_TRIANGLES 4096
#define TRIANGLE 5
#define NOT_DRAWN 3.0e38f
#define LEAST_TWICE_AREA 1e-3f // px^2

// The map of a triangle's pixels `d` to those of `s`; 1 / area is not taken out of the divisions, as in src/raster.rs.
DEVICE void map_of(const float d[3][2], const float s[3][2], float area, float *m) {
    float u0 = d[1][0] - d[0][0], u1 = d[1][1] - d[0][1], v0 = d[2][0] - d[0][0], v1 = d[2][1] - d[0][1];
    UNROLL
    for (int axis = 0; axis < 2; axis++) {
        float su = s[1][axis] - s[0][axis], sv = s[2][axis] - s[0][axis];
        float a = (su * v1 - sv * u1) / area, b = (sv * u0 - su * v0) / area;
        m[3 * axis] = a, m[3 * axis + 1] = b, m[3 * axis + 2] = s[0][axis] - a * d[0][0] - b * d[0][1];
    }
}

DEVICE float twice_area(const float d[3][2]) {
    return (d[1][0] - d[0][0]) * (d[2][1] - d[0][1]) - (d[1][1] - d[0][1]) * (d[2][0] - d[0][0]);
}

DEVICE void store_triangle(float4 *out, const float d[3][2], float depth, float extra, const float *m) {
    float4 corners[2] = {{d[0][0], d[0][1], d[1][0], d[1][1]}, {d[2][0], d[2][1], depth, extra}};
    float4 maps[3] = {{m[0], m[1], m[2], m[3]}, {m[4], m[5], m[6], m[7]}, {m[8], m[9], m[10], m[11]}};
    out[0] = corners[0], out[1] = corners[1], out[2] = maps[0], out[3] = maps[1], out[4] = maps[2];
}

DEVICE void not_drawn(float4 *out) {
    float4 none = {NOT_DRAWN, 0.0f, 0.0f, 0.0f};
    out[0] = none;
}

// Whether a pixel's centre lies in a triangle or on its edge: between the crossings of its edges with the row.
DEVICE bool covers(const float4 &p, const float4 &q, int x, int y) {
    const float px[4] = {p.x, p.z, q.x, p.x}, py[4] = {p.y, p.w, q.y, p.y};
    float cy = (float)y + 0.5f, left = 3.4e38f, right = -3.4e38f;
    UNROLL
    for (int i = 0; i < 3; i++) {
        bool down = py[i] <= py[i + 1];
        float top_x = down ? px[i] : px[i + 1], top_y = down ? py[i] : py[i + 1];
        float low_x = down ? px[i + 1] : px[i], low_y = down ? py[i + 1] : py[i], dy = low_y - top_y;
        if (cy < top_y || cy > low_y) continue;
        if (dy <= 1.1920929e-7f) {
            left = fminf(left, fminf(px[i], px[i + 1])), right = fmaxf(right, fmaxf(px[i], px[i + 1]));
        } else {
            float at = top_x + (low_x - top_x) * (cy - top_y) / dy;
            left = fminf(left, at), right = fmaxf(right, at);
        }
    }
    return left <= right && (float)x >= ceilf(left - 0.5f) && (float)x <= floorf(right - 0.5f);
}

// The triangles that may reach the tile at x0, y0, a pixel to spare: `found` of them in `near`, in any order. For all
// threads of a block, `n` their number.
DEVICE void triangles_near(u64 triangles, int count, int x0, int y0, int n, u16 *near, int *found) {
    if (n == 0) *found = 0;
    __syncthreads();
    float left = (float)x0 - 1.0f, right = (float)x0 + 33.0f, top = (float)y0 - 1.0f, bottom = (float)y0 + 9.0f;
    for (int t = n; t < count; t += 256) {
        const float4 *record = (const float4 *)triangles + TRIANGLE * t;
        const float4 p = record[0];
        if (p.x == NOT_DRAWN) continue;
        const float4 q = record[1];
        bool apart = fmaxf(fmaxf(p.x, p.z), q.x) < left || fminf(fminf(p.x, p.z), q.x) > right;
        apart = apart || fmaxf(fmaxf(p.y, p.w), q.y) < top || fminf(fminf(p.y, p.w), q.y) > bottom;
        if (!apart) near[atomicAdd(found, 1)] = (u16)t;
    }
    __syncthreads();
}

// The triangle that is seen at a pixel, -1 = none.
DEVICE int nearest_triangle(u64 triangles, const u16 *near, int found, int x, int y) {
    int best = -1;
    float depth = 0.0f;
    for (int i = 0; i < found; i++) {
        int t = near[i];
        const float4 *record = (const float4 *)triangles + TRIANGLE * t;
        const float4 p = record[0], q = record[1];
        bool nearer = best < 0 || q.z < depth || (q.z == depth && t > best);
        if (nearer && covers(p, q, x, y)) best = t, depth = q.z;
    }
    return best;
}
