// Every kernel behind the host shim, as one library for tests/cuda_host.rs. A probe, right and wrong, proves the shim.
#include "host_shim.hpp"
#include "crop_affine.cu"
#include "composite.cu"
#include "cover.cu"
#include "warp_edit.cu"
#include "edit_step.cu"
#include "match_face.cu"
#include "paint_face.cu"
#include "finish_face.cu"

// Sums a block's thread numbers; `barrier` 0 leaves the barriers out, 2 lets half of the threads skip one.
struct ProbeArgs {
    u64 out;
    int barrier, spare;
};
extern "C" __global__ void probe(const ProbeArgs a) {
    __shared__ int sums[64];
    sums[threadIdx.x] = (int)threadIdx.x;
    if (a.barrier == 1 || (a.barrier == 2 && threadIdx.x < 32)) __syncthreads();
    for (unsigned n = 32; n > 0; n /= 2) {
        if (threadIdx.x < n) sums[threadIdx.x] += sums[threadIdx.x + n];
        if (a.barrier == 1) __syncthreads();
    }
    if (threadIdx.x == 0) *(int *)a.out = sums[0];
    sums[threadIdx.x] = 0;
}

HOST_ENTRY(crop_affine, CropArgs, false)
HOST_ENTRY(crop_straight, CropArgs, false)
HOST_ENTRY(composite, CompositeArgs, true)
HOST_ENTRY(weight_mask, WeightArgs, false)
HOST_ENTRY(cover_means, CoverArgs, true)
HOST_ENTRY(cover_apply, CoverArgs, true)
HOST_ENTRY(warp_triangles, WarpArgs, false)
HOST_ENTRY(warp_edit, WarpArgs, true)
HOST_ENTRY(edit_moments, EditArgs, true)
HOST_ENTRY(edit_step, EditArgs, true)
HOST_ENTRY(match_cells, MatchArgs, false)
HOST_ENTRY(match_across, MatchArgs, false)
HOST_ENTRY(match_down, MatchArgs, false)
HOST_ENTRY(match_apply, MatchArgs, false)
HOST_ENTRY(face_triangles, PaintArgs, false)
HOST_ENTRY(face_draw, PaintArgs, true)
HOST_ENTRY(face_cells, PaintArgs, false)
HOST_ENTRY(face_across, PaintArgs, false)
HOST_ENTRY(face_down, PaintArgs, false)
HOST_ENTRY(face_apply, PaintArgs, false)
HOST_ENTRY(face_write, PaintArgs, true)
HOST_ENTRY(face_totals, PaintArgs, true)
HOST_ENTRY(face_thumb, FinishArgs, false)
HOST_ENTRY(face_crops, FinishArgs, false)
HOST_ENTRY(face_finish, FinishArgs, false)
HOST_ENTRY(probe, ProbeArgs, true)

// The same kernel, wrongly declared.
static void probe_undeclared(const ProbeArgs a) { probe(a); }
HOST_ENTRY(probe_undeclared, ProbeArgs, false)
