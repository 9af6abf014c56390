// edit_step: guidance (also negative and residual), std rescale, mask, bracket and solver update, fused.
//
// | | |
// |---|---|
// | formula | src/edit_step/mod.rs: d_p = carry*d + data*(q + history*(q - q_)), x_hat_p = x_p + d_p |
// | input | x, x_next, raw predictions (ref, u, c) or x0 (stock), f16 or f32, [face][len]; mask f32, one plane or whole, shared or none |
// | state | delta, history: f32, [face][len], in and out |
// | output | x_hat_next in the input's type; every element written |
// | rescale | where partials is not 0, edit_moments has run before on the same stream, with the same grid |
// | arithmetic | f32; moments in f64 |
// | aliasing | none |
// | launch | 256 threads, grid (chunks, faces); eight elements a thread, 16-byte accesses where all rows are aligned |
// | tolerance | f32: 1e-5 relative (fused multiply-add); f16: one ulp of the output |
#include "common.cuh"

// Constants of so few faces travel in the argument itself: no copy goes before the launch.
#define FEW_FACES 8

struct EditFace {
    float carry, data, history, guidance, rescale, alpha, p, q;
    int pinned, drop_residual;
    double noise_p, noise_q; // raw prediction to noise
    double level_alpha, level_sigma;
    double strength;
};

struct EditArgs {
    u64 faces; // EditFace, one a face; 0 = in `few`
    u64 x, x_next, ref, u, c; // u: x0 where stock
    u64 mask;
    u64 delta, history, out;
    u64 partials; // double [face][chunk][4]
    int len, mask_len, chunks, stock, half, spare;
    EditFace few[FEW_FACES];
};

DEVICE EditFace constants_of(const EditArgs &a, int face) { return a.faces != 0 ? ((const EditFace *)a.faces)[face] : a.few[face]; }

DEVICE float number(u64 base, int half, long long at) {
    return half ? half_to_float(((const u16 *)base)[at]) : ((const float *)base)[at];
}

DEVICE void moments_of(const EditArgs &a, const EditFace &s, long long at, double *sum) {
    double c = number(a.c, a.half, at), u = number(a.u, a.half, at);
    double x_hat = number(a.x, a.half, at) + ((const float *)a.delta)[at];
    double unguided = a.stock ? (x_hat - s.level_alpha * u) / s.level_sigma : s.noise_p * x_hat + s.noise_q * u;
    double push = a.stock ? s.noise_p * x_hat + s.noise_q * c - unguided : s.noise_q * (c - u);
    double guided = unguided + (double)s.guidance * push;
    sum[0] += unguided;
    sum[1] += unguided * unguided;
    sum[2] += guided;
    sum[3] += guided * guided;
}

extern "C" __global__ void edit_moments(const EditArgs a) {
    __shared__ double sums[4][256];
    int face = (int)blockIdx.y;
    const EditFace s = constants_of(a, face);
    double sum[4] = {0.0, 0.0, 0.0, 0.0};
    long long begin = (long long)face * a.len;
    for (int i = (int)(blockIdx.x * blockDim.x + threadIdx.x); i < a.len; i += (int)(gridDim.x * blockDim.x)) moments_of(a, s, begin + i, sum);
    for (int k = 0; k < 4; k++) sums[k][threadIdx.x] = sum[k];
    __syncthreads();
    for (unsigned n = blockDim.x / 2; n > 0; n /= 2) {
        if (threadIdx.x < n) {
            for (int k = 0; k < 4; k++) sums[k][threadIdx.x] += sums[k][threadIdx.x + n];
        }
        __syncthreads();
    }
    if (threadIdx.x < 4) ((double *)a.partials)[((long long)face * a.chunks + blockIdx.x) * 4 + threadIdx.x] = sums[threadIdx.x][0];
}

DEVICE float rescale_of(const EditArgs &a, const EditFace &s, int face) {
    double sum[4] = {0.0, 0.0, 0.0, 0.0};
    const double *p = (const double *)a.partials + (long long)face * a.chunks * 4;
    for (int i = 0; i < a.chunks * 4; i++) sum[i & 3] += p[i];
    double n = (double)a.len;
    double unguided = fmax(sum[1] / n - (sum[0] / n) * (sum[0] / n), 0.0);
    double guided = fmax(sum[3] / n - (sum[2] / n) * (sum[2] / n), 0.0);
    if (unguided == guided || !(guided > 0.0)) return 1.0f;
    return (float)(s.strength * sqrt(unguided / guided) + 1.0 - s.strength);
}

struct Element {
    float x, x_next, ref, u, c, m, delta, history, out;
};

DEVICE void step_one(const EditFace &s, float rescale, int stock, Element &e) {
    float d = e.delta, shift, push, m_u, m_ref;
    if (stock) {
        shift = 0.0f;
        push = s.p * (e.x + d) + s.q * e.c - e.u;
        m_u = m_ref = e.u;
    } else {
        shift = s.p * d + s.q * (e.u - e.ref);
        push = s.q * (e.c - e.u);
        m_u = s.p * (e.x + d) + s.q * e.u;
        m_ref = s.p * e.x + s.q * e.ref;
    }
    float off = 1.0f - rescale, guided = rescale * s.guidance * push;
    if (off != 0.0f) guided += off * ((e.x + d) / s.alpha - m_u);
    bool keep = s.pinned && e.m == 0.0f;
    float q = keep ? 0.0f : shift + e.m * guided;
    float next = keep ? 0.0f : s.carry * d + s.data * (q + s.history * (q - e.history));
    e.history = q;
    e.delta = next;
    e.out = s.drop_residual && !keep ? m_ref + q : e.x_next + next;
}

struct Eight {
    float v[8];
};

DEVICE Eight load_eight(u64 base, int half, long long at) {
    Eight e;
    if (half) {
        uint4 w = *(const uint4 *)((const u16 *)base + at);
        u32 words[4] = {w.x, w.y, w.z, w.w};
        for (int i = 0; i < 4; i++) {
            e.v[2 * i] = half_to_float((u16)words[i]);
            e.v[2 * i + 1] = half_to_float((u16)(words[i] >> 16));
        }
    } else {
        const float4 *p = (const float4 *)((const float *)base + at);
        float4 lo = p[0], hi = p[1];
        e.v[0] = lo.x, e.v[1] = lo.y, e.v[2] = lo.z, e.v[3] = lo.w;
        e.v[4] = hi.x, e.v[5] = hi.y, e.v[6] = hi.z, e.v[7] = hi.w;
    }
    return e;
}

DEVICE void store_eight(u64 base, int half, long long at, const Eight &e) {
    if (half) {
        u32 w[4];
        for (int i = 0; i < 4; i++) w[i] = float_to_half(e.v[2 * i]) | (u32)float_to_half(e.v[2 * i + 1]) << 16;
        uint4 all = {w[0], w[1], w[2], w[3]};
        *(uint4 *)((u16 *)base + at) = all;
    } else {
        float4 *p = (float4 *)((float *)base + at);
        float4 lo = {e.v[0], e.v[1], e.v[2], e.v[3]}, hi = {e.v[4], e.v[5], e.v[6], e.v[7]};
        p[0] = lo;
        p[1] = hi;
    }
}

DEVICE void step_eight(const EditArgs &a, const EditFace &s, float rescale, int i, long long at) {
    Eight x = load_eight(a.x, a.half, at), next = load_eight(a.x_next, a.half, at), c = load_eight(a.c, a.half, at);
    Eight u = load_eight(a.u, a.half, at), ref = a.stock ? u : load_eight(a.ref, a.half, at);
    Eight delta = load_eight(a.delta, 0, at), history = load_eight(a.history, 0, at), m, out;
    if (a.mask != 0) m = load_eight(a.mask, 0, i % a.mask_len);
    for (int k = 0; k < 8; k++) {
        Element e = {x.v[k], next.v[k], ref.v[k], u.v[k], c.v[k], a.mask != 0 ? m.v[k] : 1.0f, delta.v[k], history.v[k], 0.0f};
        step_one(s, rescale, a.stock, e);
        delta.v[k] = e.delta, history.v[k] = e.history, out.v[k] = e.out;
    }
    store_eight(a.delta, 0, at, delta);
    store_eight(a.history, 0, at, history);
    store_eight(a.out, a.half, at, out);
}

DEVICE void step_scalar(const EditArgs &a, const EditFace &s, float rescale, int i, long long at) {
    Element e;
    e.x = number(a.x, a.half, at), e.x_next = number(a.x_next, a.half, at), e.c = number(a.c, a.half, at);
    e.u = number(a.u, a.half, at), e.ref = a.stock ? e.u : number(a.ref, a.half, at);
    e.m = a.mask != 0 ? ((const float *)a.mask)[i % a.mask_len] : 1.0f;
    e.delta = ((float *)a.delta)[at], e.history = ((float *)a.history)[at], e.out = 0.0f;
    step_one(s, rescale, a.stock, e);
    ((float *)a.delta)[at] = e.delta, ((float *)a.history)[at] = e.history;
    if (a.half) ((u16 *)a.out)[at] = float_to_half(e.out);
    else ((float *)a.out)[at] = e.out;
}

extern "C" __global__ void edit_step(const EditArgs a) {
    __shared__ float factor;
    int face = (int)blockIdx.y;
    const EditFace s = constants_of(a, face);
    if (threadIdx.x == 0) factor = a.partials != 0 ? rescale_of(a, s, face) : s.rescale;
    __syncthreads();
    u64 bits = a.x | a.x_next | a.u | a.c | a.mask | a.delta | a.history | a.out | (a.stock ? 0 : a.ref);
    bool wide = bits % 16 == 0 && a.len % 8 == 0 && (a.mask == 0 || a.mask_len % 8 == 0);
    long long begin = (long long)face * a.len;
    for (int i = 8 * (int)(blockIdx.x * blockDim.x + threadIdx.x); i < a.len; i += 8 * (int)(gridDim.x * blockDim.x)) {
        if (wide) {
            step_eight(a, s, factor, i, begin + i);
        } else {
            for (int k = i; k < min(i + 8, a.len); k++) step_scalar(a, s, factor, k, begin + k);
        }
    }
}
