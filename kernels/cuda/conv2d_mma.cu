// Convolution on tensor cores as an implicit matrix product: bf16, f16, and f32 through tf32.
//
//   y[pixel, o] = Σ_k window[pixel, k]·w[o, k]      M = N·OH·OW pixels, N = O filters, K = KH·KW·C
//
// The windows exist only as the loader's addresses. k runs along the channels of a tap, which are contiguous in both
// operands, so sixteen bytes move at a time if C is a multiple of 8 (f32: 4); at the border the copy writes zeros.
// Other widths, such as an image's three channels, are gathered element by element (`any`). Blocks that share a range
// of pixels are neighbors in the grid, so the range is read from memory once and from the cache for the other
// filters. If there are fewer tiles than multiprocessors, blocks along z sum slices of k, which are added in order.
// `mma_tile.cuh` describes and explains the tiles and shared memory.
//
// The gradients are the same product with other operands:
//
//   dx[pixel, c] = Σ window of dy[pixel, k]·w'[c, k]    k = (tap, o); for stride s one product for each of the s²
//                                                       classes of pixels, with only the taps that reach it
//   dw[o, k]     = Σ dy[pixel, o]·window[pixel, k]      both contiguous along their rows; in slices of the pixels
#include "mma_output.cuh"

/// Sums `slice` elements of k, starting at `slice` times this block's z; `slice` is a multiple of the tile's K.
template <class T, int M, int N, int WM, int WN, bool VECTORS>
__device__ __forceinline__ void forward(const Windows& g, const T* x, const T* w, const float* bias,
                                        const void* residual, void* y, const Output& out, int slice) {
    using Tile = Tile<T, KMajor<T, M>, KMajor<T, N>, WM, WN>;
    auto& s = shared_memory<typename Tile::Shared>();
    int across = (out.columns + N - 1) / N, k = g.taps * g.channels, first = blockIdx.z * slice;
    int row0 = blockIdx.x / across * M, column0 = blockIdx.x % across * N;
    Loader<T, typename Tile::A, WindowView<T>, Tile::THREADS, VECTORS> windows({x, g}, row0, first);
    Loader<T, typename Tile::B, Matrix<T>, Tile::THREADS, VECTORS> filters({w, out.columns, k, k, 1}, column0, first);
    typename Tile::Sums sums;
    multiply<Tile>(s, sums, windows, filters, min(slice, k - first));
    finish<Tile>(s, sums, row0, column0, out, bias, residual, slice_of(y, out));
}

/// Computes only live filters: they come first in the order of columns, and a tile past them sums nothing. Weights
/// and channels are read in place, through the lists.
template <class T, int SIZE, int WM, int WN, bool VECTORS>
__device__ __forceinline__ void masked(const Windows& g, const Live& l, const T* x, const T* w, const float* bias,
                                       const void* residual, void* y, const Output& out, int slice) {
    using Tile = Tile<T, KMajor<T, SIZE>, KMajor<T, SIZE>, WM, WN>;
    auto& s = shared_memory<typename Tile::Shared>();
    int across = (out.columns + SIZE - 1) / SIZE, first = blockIdx.z * slice;
    int row0 = blockIdx.x / across * SIZE, column0 = blockIdx.x % across * SIZE;
    int k = column0 < l.live ? g.taps * g.channels : 0;
    Loader<T, typename Tile::A, LiveWindows<T>, Tile::THREADS, VECTORS> windows({{x, g}, l}, row0, first);
    Loader<T, typename Tile::B, LiveFilters<T>, Tile::THREADS, VECTORS> filters({w, g, l}, column0, first);
    typename Tile::Sums sums;
    multiply<Tile>(s, sums, windows, filters, min(slice, k - first));
    finish<Tile>(s, sums, row0, column0, out, bias, residual, slice_of(y, out), l.filters);
}

/// Sums `slice` pixels, starting at `slice` times this block's z; `slice` is a multiple of the tile's K.
template <class T, int SIZE, int WM, int WN, bool VECTORS>
__device__ __forceinline__ void weight_grad(const Windows& g, const T* x, const T* dy, void* dw, const Output& out,
                                            int slice) {
    using Tile = Tile<T, MnMajor<T, SIZE>, MnMajor<T, SIZE>, WM, WN>;
    auto& s = shared_memory<typename Tile::Shared>();
    int across = (out.columns + SIZE - 1) / SIZE, pixels = g.images * g.rows * g.columns;
    int row0 = blockIdx.x / across * SIZE, column0 = blockIdx.x % across * SIZE, first = blockIdx.z * slice;
    Loader<T, typename Tile::A, Matrix<T>, Tile::THREADS, VECTORS> filters({dy, out.rows, pixels, 1, out.rows},
                                                                           row0, first);
    Loader<T, typename Tile::B, Transposed<WindowView<T>>, Tile::THREADS, VECTORS> windows({{x, g}}, column0, first);
    typename Tile::Sums sums;
    multiply<Tile>(s, sums, filters, windows, min(slice, pixels - first));
    finish<Tile>(s, sums, row0, column0, out, nullptr, nullptr, slice_of(dw, out));
}

/// `Phase` in mma/input_grad.rs: along height and width, `taps` taps of a filter at `first + i·step`.
struct Phase {
    int o, kh, kw, c;
    int first[2], step[2], taps[2];
};

/// Reorders the filters for the gradient of the input: `to[c, tap, o] = w[o, first + tap·step, c]`. One thread per
/// element.
extern "C" __global__ void conv2d_mma_turn_filters(int type, Phase p, const void* w, void* to) {
    uint64_t i = global_thread();
    int o = i % p.o, tw = i / p.o % p.taps[1], th = i / p.o / p.taps[1] % p.taps[0];
    uint64_t c = i / p.o / p.taps[1] / p.taps[0];
    if (c >= p.c) return;
    int kh = p.first[0] + th * p.step[0], kw = p.first[1] + tw * p.step[1];
    uint64_t from = ((uint64_t(o) * p.kh + kh) * p.kw + kw) * p.c + c;
    with_type(type, [&](auto t) {
        using T = decltype(t);
        ((T*)to)[i] = ((const T*)w)[from];
    });
}

extern "C" __global__ void __launch_bounds__(256, 2) conv2d_mma_forward_bf16_128x128(
    Windows g, const bf16* x, const bf16* w, const float* bias, const void* residual, void* y, Output out, int slice) {
    forward<bf16, 128, 128, 64, 32, true>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_mma_forward_bf16_128x64(
    Windows g, const bf16* x, const bf16* w, const float* bias, const void* residual, void* y, Output out, int slice) {
    forward<bf16, 128, 64, 64, 32, true>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_mma_forward_bf16_64x64(
    Windows g, const bf16* x, const bf16* w, const float* bias, const void* residual, void* y, Output out, int slice) {
    forward<bf16, 64, 64, 32, 32, true>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_forward_bf16_any(
    Windows g, const bf16* x, const bf16* w, const float* bias, const void* residual, void* y, Output out, int slice) {
    forward<bf16, 64, 64, 32, 32, false>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) conv2d_mma_forward_f16_128x128(
    Windows g, const f16* x, const f16* w, const float* bias, const void* residual, void* y, Output out, int slice) {
    forward<f16, 128, 128, 64, 32, true>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_mma_forward_f16_128x64(
    Windows g, const f16* x, const f16* w, const float* bias, const void* residual, void* y, Output out, int slice) {
    forward<f16, 128, 64, 64, 32, true>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_mma_forward_f16_64x64(
    Windows g, const f16* x, const f16* w, const float* bias, const void* residual, void* y, Output out, int slice) {
    forward<f16, 64, 64, 32, 32, true>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_forward_f16_any(
    Windows g, const f16* x, const f16* w, const float* bias, const void* residual, void* y, Output out, int slice) {
    forward<f16, 64, 64, 32, 32, false>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) conv2d_mma_forward_tf32_128x128(
    Windows g, const float* x, const float* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    forward<float, 128, 128, 64, 32, true>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_mma_forward_tf32_128x64(
    Windows g, const float* x, const float* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    forward<float, 128, 64, 64, 32, true>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_mma_forward_tf32_64x64(
    Windows g, const float* x, const float* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    forward<float, 64, 64, 32, 32, true>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_forward_tf32_any(
    Windows g, const float* x, const float* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    forward<float, 64, 64, 32, 32, false>(g, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) conv2d_mma_weight_grad_bf16_128x128(
    Windows g, const bf16* x, const bf16* dy, void* dw, Output out, int slice) {
    weight_grad<bf16, 128, 64, 32, true>(g, x, dy, dw, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_mma_weight_grad_bf16_64x64(
    Windows g, const bf16* x, const bf16* dy, void* dw, Output out, int slice) {
    weight_grad<bf16, 64, 32, 32, true>(g, x, dy, dw, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_weight_grad_bf16_any(
    Windows g, const bf16* x, const bf16* dy, void* dw, Output out, int slice) {
    weight_grad<bf16, 64, 32, 32, false>(g, x, dy, dw, out, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) conv2d_mma_weight_grad_f16_128x128(
    Windows g, const f16* x, const f16* dy, void* dw, Output out, int slice) {
    weight_grad<f16, 128, 64, 32, true>(g, x, dy, dw, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_mma_weight_grad_f16_64x64(
    Windows g, const f16* x, const f16* dy, void* dw, Output out, int slice) {
    weight_grad<f16, 64, 32, 32, true>(g, x, dy, dw, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_weight_grad_f16_any(
    Windows g, const f16* x, const f16* dy, void* dw, Output out, int slice) {
    weight_grad<f16, 64, 32, 32, false>(g, x, dy, dw, out, slice);
}
// Four-byte fragments are loaded one by one; their addresses and the pixels' take more than 128 registers.
extern "C" __global__ void __launch_bounds__(256, 1) conv2d_mma_weight_grad_tf32_128x128(
    Windows g, const float* x, const float* dy, void* dw, Output out, int slice) {
    weight_grad<float, 128, 64, 32, true>(g, x, dy, dw, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_mma_weight_grad_tf32_64x64(
    Windows g, const float* x, const float* dy, void* dw, Output out, int slice) {
    weight_grad<float, 64, 32, 32, true>(g, x, dy, dw, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_weight_grad_tf32_any(
    Windows g, const float* x, const float* dy, void* dw, Output out, int slice) {
    weight_grad<float, 64, 32, 32, false>(g, x, dy, dw, out, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) conv2d_mma_masked_bf16_128x128(
    Windows g, Live l, const bf16* x, const bf16* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    masked<bf16, 128, 64, 32, true>(g, l, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_mma_masked_bf16_64x64(
    Windows g, Live l, const bf16* x, const bf16* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    masked<bf16, 64, 32, 32, true>(g, l, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_masked_bf16_any(
    Windows g, Live l, const bf16* x, const bf16* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    masked<bf16, 64, 32, 32, false>(g, l, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) conv2d_mma_masked_f16_128x128(
    Windows g, Live l, const f16* x, const f16* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    masked<f16, 128, 64, 32, true>(g, l, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_mma_masked_f16_64x64(
    Windows g, Live l, const f16* x, const f16* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    masked<f16, 64, 32, 32, true>(g, l, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_masked_f16_any(
    Windows g, Live l, const f16* x, const f16* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    masked<f16, 64, 32, 32, false>(g, l, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(256, 2) conv2d_mma_masked_tf32_128x128(
    Windows g, Live l, const float* x, const float* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    masked<float, 128, 64, 32, true>(g, l, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_mma_masked_tf32_64x64(
    Windows g, Live l, const float* x, const float* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    masked<float, 64, 32, 32, true>(g, l, x, w, bias, residual, y, out, slice);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_masked_tf32_any(
    Windows g, Live l, const float* x, const float* w, const float* bias, const void* residual, void* y, Output out,
    int slice) {
    masked<float, 64, 32, 32, false>(g, l, x, w, bias, residual, y, out, slice);
}
