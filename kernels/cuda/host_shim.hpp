// Runs the kernels' own source on a processor, for tests: the same text, another compiler.
//
// A thread of a block is a fibre with its own stack. __syncthreads() hands control back; the block goes on
// only when every thread has arrived, so a kernel that reads shared memory too early reads old values, as
// on a GPU. A barrier that some threads never reach is an error, not luck. Threads can be run in reverse,
// which shows kernels whose result hangs on their order. Kernels declared without barriers run as plain loops.
// Limits: one launch at a time on a thread; at most 1024 threads a block; no warp operations.
#pragma once
#define NULLFACE_HOST 1
#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>

struct dim3 {
    unsigned x, y, z;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

#define __global__
#define __device__
#define __shared__ static thread_local
#define DEVICE [[maybe_unused]] static inline

static thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

template <class T> static inline T min(T a, T b) { return b < a ? b : a; }
template <class T> [[maybe_unused]] static inline T max(T a, T b) { return a < b ? b : a; }

// Fibres of one OS thread: nothing comes between.
[[maybe_unused]] static inline int atomicAdd(int *to, int n) {
    int was = *to;
    *to = was + n;
    return was;
}

template <class T> [[maybe_unused]] static inline T __ldg(const T *p) { return *p; }

namespace shim {
constexpr unsigned MAX_THREADS = 1024;
constexpr size_t STACK = 64 * 1024;
enum Result { OK = 0, BAD_LAUNCH = 1, DIVERGENT_BARRIER = 2, NO_MEMORY = 3, UNDECLARED_BARRIER = 4 };

// Fibres live as long as their OS thread. They start by ucontext and switch by _setjmp, which makes no system call.
struct Fibres {
    jmp_buf scheduler;
    jmp_buf threads[MAX_THREADS];
    bool started[MAX_THREADS];
    bool done[MAX_THREADS];
    bool undeclared;
    unsigned current;
    void (*body)(const void *);
    const void *args;
    char *stacks; // 0 while no kernel with barriers has run
    bool direct;  // threads run one after the other on the caller's stack
};
static thread_local Fibres fibres;

__attribute__((noinline)) static void yield_to_scheduler(unsigned i) {
    if (_setjmp(fibres.threads[i]) == 0) _longjmp(fibres.scheduler, 1);
}

static void run_for_ever() {
    for (;;) {
        unsigned i = fibres.current;
        fibres.body(fibres.args);
        fibres.done[i] = true;
        yield_to_scheduler(i);
    }
}

static inline void barrier() {
    if (fibres.direct) fibres.undeclared = true;
    else yield_to_scheduler(fibres.current);
}

__attribute__((noinline)) static void resume(unsigned i) {
    Fibres &f = fibres;
    f.current = i;
    if (f.direct) {
        f.body(f.args);
        f.done[i] = true;
        return;
    }
    if (_setjmp(f.scheduler) != 0) return;
    if (f.started[i]) _longjmp(f.threads[i], 1);
    f.started[i] = true;
    ucontext_t start;
    getcontext(&start);
    start.uc_stack.ss_sp = f.stacks + i * STACK;
    start.uc_stack.ss_size = STACK;
    start.uc_link = nullptr; // never returns
    makecontext(&start, run_for_ever, 0);
    setcontext(&start);
}

// One round: every thread that is not done runs to its next barrier or its end. How many are done.
static inline unsigned round_of(unsigned n, int reverse) {
    Fibres &f = fibres;
    unsigned done = 0;
    for (unsigned k = 0; k < n; k++) {
        unsigned i = reverse ? n - 1 - k : k;
        if (!f.done[i]) {
            threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
            resume(i);
        }
        done += f.done[i];
    }
    return done;
}

static inline int run_block(unsigned n, int reverse) {
    Fibres &f = fibres;
    for (unsigned i = 0; i < n; i++) f.done[i] = false;
    for (;;) {
        unsigned done = round_of(n, reverse);
        if (f.undeclared) return UNDECLARED_BARRIER;
        if (done == n) return OK;
        if (done != 0) {
            // Those that wait will never go on: the next launch begins with fresh ones.
            for (unsigned i = 0; i < n; i++) f.started[i] = f.started[i] && f.done[i];
            return DIVERGENT_BARRIER;
        }
    }
}

static inline int launch(void (*body)(const void *), const void *args, dim3 grid, dim3 block, int reverse, bool barriers) {
    unsigned n = block.x * block.y * block.z;
    if (n == 0 || n > MAX_THREADS || grid.x == 0 || grid.y == 0 || grid.z == 0) return BAD_LAUNCH;
    if (grid.y > 65535 || grid.z > 65535) return BAD_LAUNCH;
    fibres.direct = !barriers;
    fibres.undeclared = false;
    if (barriers && fibres.stacks == nullptr) fibres.stacks = (char *)malloc(MAX_THREADS * STACK);
    if (barriers && fibres.stacks == nullptr) return NO_MEMORY;
    fibres.body = body;
    fibres.args = args;
    gridDim = grid;
    blockDim = block;
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    for (uint64_t k = 0; k < blocks; k++) {
        uint64_t b = reverse ? blocks - 1 - k : k;
        blockIdx = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
        int result = run_block(n, reverse);
        if (result != OK) return result;
    }
    return OK;
}
} // namespace shim

static inline void __syncthreads() { shim::barrier(); }

// Half floats in software, rounded to nearest, ties to even, as cvt.rn does.
[[maybe_unused]] static inline float half_to_float(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 1023;
    float v;
    if (exponent == 31) v = fraction != 0 ? NAN : INFINITY;
    else if (exponent == 0) v = std::ldexp((float)fraction, -24);
    else v = std::ldexp((float)(fraction | 1024), exponent - 25);
    return h & 0x8000 ? -v : v;
}

[[maybe_unused]] static inline uint16_t float_to_half(float f) {
    uint16_t sign = std::signbit(f) ? 0x8000 : 0;
    if (std::isnan(f)) return 0x7fff;
    double v = std::fabs((double)f);
    if (v >= 65520.0) return sign | 0x7c00;
    int exponent = v > 0.0 ? std::ilogb(v) : -15;
    int step = exponent < -14 ? -24 : exponent - 10;
    double units = std::nearbyint(std::ldexp(v, -step)); // ties to even by the default mode
    uint16_t bits = exponent < -14 ? 0 : (uint16_t)((exponent + 14) << 10);
    return sign | (uint16_t)(bits + (uint16_t)units);
}

// `barriers`: whether the kernel has any; one without that meets one is an error.
#define HOST_ENTRY(kernel, Args, barriers)                                                                     \
    extern "C" int host_##kernel(const Args *args, const unsigned *grid, const unsigned *block, int reverse) { \
        return shim::launch([](const void *a) { kernel(*(const Args *)a); }, args, {grid[0], grid[1], grid[2]}, \
                            {block[0], block[1], block[2]}, reverse, barriers);                                \
    }                                                                                                          \
    extern "C" unsigned long size_##kernel() { return sizeof(Args); }
