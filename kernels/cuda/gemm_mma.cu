// Matrix products on tensor cores: bf16, f16, and f32 through tf32. `mma_tile.cuh` describes and explains the tiles
// and shared memory.
//
//   C[m, n] = Σ_k A[m, k]·B[n, k]           nt: both contiguous along k, as y = x·wᵀ of a linear layer
//                                           nn: B contiguous along n, as dx = dy·w
//                                           tn: both contiguous along their rows, as dw = dyᵀ·x
//
// `any` loads elements one by one, with any strides. If C is small and k is long, blocks along z sum slices of k, and
// `gemm_mma_add_slices` adds them in order.
#include "mma_output.cuh"

/// `Steps` in mma/gemm.rs: elements between neighboring rows and neighboring k.
struct Steps {
    int a_row, a_k, b_row, b_k;
};

/// Sums `slice` elements of k, starting at `slice` times this block's z; `slice` is a multiple of the tile's K.
template <class T, class A, class B, int WM, int WN, bool VECTORS>
__device__ __forceinline__ void product(const T* a, const T* b, const void* residual, void* y, const Output& out,
                                        const Steps& steps, int k, int slice) {
    using Tile = Tile<T, A, B, WM, WN>;
    auto& s = shared_memory<typename Tile::Shared>();
    int across = (out.columns + Tile::N - 1) / Tile::N, first = blockIdx.z * slice;
    int row0 = blockIdx.x / across * Tile::M, column0 = blockIdx.x % across * Tile::N;
    Loader<T, A, Matrix<T>, Tile::THREADS, VECTORS> left({a, out.rows, k, steps.a_row, steps.a_k}, row0, first);
    Loader<T, B, Matrix<T>, Tile::THREADS, VECTORS> right({b, out.columns, k, steps.b_row, steps.b_k}, column0, first);
    typename Tile::Sums sums;
    multiply<Tile>(s, sums, left, right, min(slice, k - first));
    finish<Tile>(s, sums, row0, column0, out, nullptr, residual, slice_of(y, out));
}

/// `y = activation(Σ slices + bias + residual)`, one thread per element, in a fixed order. The slices are stored one
/// after another, `rows` × `columns` each; null pointers add nothing, and the residual may be y itself.
extern "C" __global__ void gemm_mma_add_slices(int type, Output out, int slices, const float* from, const float* bias,
                                               const void* residual, void* y) {
    uint64_t i = global_thread(), n = uint64_t(out.rows) * out.columns;
    if (i >= n) return;
    float sum = 0;
    for (int slice = 0; slice < slices; slice++) sum += from[slice * n + i];
    int row = i / out.columns, column = i - uint64_t(row) * out.columns;
    int64_t to = out.place(row) * out.columns + column;
    if (bias) sum += bias[column];
    with_type(type, [&](auto t) {
        using T = decltype(t);
        if (residual) sum += to_float(((const T*)residual)[to]);
        ((T*)y)[to] = from_float<T>(out.activation(sum));
    });
}

extern "C" __global__ void __launch_bounds__(256, 2) gemm_mma_nt_bf16_128x128(
    const bf16* a, const bf16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<bf16, KMajor<bf16, 128>, KMajor<bf16, 128>, 64, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) gemm_mma_nt_bf16_64x64(
    const bf16* a, const bf16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<bf16, KMajor<bf16, 64>, KMajor<bf16, 64>, 32, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) gemm_mma_nn_bf16_128x128(
    const bf16* a, const bf16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<bf16, KMajor<bf16, 128>, MnMajor<bf16, 128>, 64, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) gemm_mma_nn_bf16_64x64(
    const bf16* a, const bf16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<bf16, KMajor<bf16, 64>, MnMajor<bf16, 64>, 32, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) gemm_mma_tn_bf16_128x128(
    const bf16* a, const bf16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<bf16, MnMajor<bf16, 128>, MnMajor<bf16, 128>, 64, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) gemm_mma_tn_bf16_64x64(
    const bf16* a, const bf16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<bf16, MnMajor<bf16, 64>, MnMajor<bf16, 64>, 32, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) gemm_mma_any_bf16(
    const bf16* a, const bf16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<bf16, KMajor<bf16, 64>, KMajor<bf16, 64>, 32, 32, false>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) gemm_mma_nt_f16_128x128(
    const f16* a, const f16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<f16, KMajor<f16, 128>, KMajor<f16, 128>, 64, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) gemm_mma_nt_f16_64x64(
    const f16* a, const f16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<f16, KMajor<f16, 64>, KMajor<f16, 64>, 32, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) gemm_mma_nn_f16_128x128(
    const f16* a, const f16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<f16, KMajor<f16, 128>, MnMajor<f16, 128>, 64, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) gemm_mma_nn_f16_64x64(
    const f16* a, const f16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<f16, KMajor<f16, 64>, MnMajor<f16, 64>, 32, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) gemm_mma_tn_f16_128x128(
    const f16* a, const f16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<f16, MnMajor<f16, 128>, MnMajor<f16, 128>, 64, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) gemm_mma_tn_f16_64x64(
    const f16* a, const f16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<f16, MnMajor<f16, 64>, MnMajor<f16, 64>, 32, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) gemm_mma_any_f16(
    const f16* a, const f16* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<f16, KMajor<f16, 64>, KMajor<f16, 64>, 32, 32, false>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) gemm_mma_nt_tf32_128x128(
    const float* a, const float* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<float, KMajor<float, 128>, KMajor<float, 128>, 64, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) gemm_mma_nt_tf32_64x64(
    const float* a, const float* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<float, KMajor<float, 64>, KMajor<float, 64>, 32, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) gemm_mma_nn_tf32_128x128(
    const float* a, const float* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<float, KMajor<float, 128>, MnMajor<float, 128>, 64, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) gemm_mma_nn_tf32_64x64(
    const float* a, const float* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<float, KMajor<float, 64>, MnMajor<float, 64>, 32, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) gemm_mma_tn_tf32_128x128(
    const float* a, const float* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<float, MnMajor<float, 128>, MnMajor<float, 128>, 64, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) gemm_mma_tn_tf32_64x64(
    const float* a, const float* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<float, MnMajor<float, 64>, MnMajor<float, 64>, 32, 32, true>(a, b, residual, y, out, steps, k, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) gemm_mma_any_tf32(
    const float* a, const float* b, const void* residual, void* y, Output out, Steps steps, int k, int slice) {
    product<float, KMajor<float, 64>, KMajor<float, 64>, 32, 32, false>(a, b, residual, y, out, steps, k, slice);
}
