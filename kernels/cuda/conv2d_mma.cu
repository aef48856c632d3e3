// Convolution on tensor cores as an implicit product of matrices: bf16, f16, and f32 by way of tf32.
//
//   y[pixel, o] = Σ_k window[pixel, k]·w[o, k]      M = N·OH·OW pixels, N = O filters, K = KH·KW·C
//
// The windows exist in the loader's addresses alone. k runs along the channels of a tap, which lie side by side in both
// operands, so sixteen bytes move at a time where C is a multiple of 8 (f32: 4); in the border the copy writes zeros.
// Other widths, an image's three channels, are gathered element by element (`any`). Blocks of one range of pixels run
// next to each other, so that it is read from memory once and from the cache for the other filters. Tiles, shared
// memory and why: `mma_tile.cuh`.
#include "mma_output.cuh"

template <class T, int M, int N, int WM, int WN, bool VECTORS>
__device__ __forceinline__ void forward(const Windows& g, const T* x, const T* w, const float* bias,
                                        const void* residual, void* y, const Output& out) {
    using Tile = Tile<T, KMajor<T, M>, KMajor<T, N>, WM, WN>;
    auto& s = shared_memory<typename Tile::Shared>();
    int across = (out.columns + N - 1) / N, k = g.taps * g.channels;
    int row0 = blockIdx.x / across * M, column0 = blockIdx.x % across * N;
    Loader<T, typename Tile::A, WindowView<T>, Tile::THREADS, VECTORS> windows({x, g}, x, row0);
    Loader<T, typename Tile::B, Matrix<T>, Tile::THREADS, VECTORS> filters({w, out.columns, k, k, 1}, w, column0);
    typename Tile::Sums sums;
    multiply<Tile>(s, sums, windows, filters, 0, k);
    finish<Tile>(s, sums, row0, column0, out, bias, residual, y);
}

extern "C" __global__ void __launch_bounds__(256, 2) conv2d_mma_forward_bf16_128x128(
    Windows g, const bf16* x, const bf16* w, const float* bias, const void* residual, void* y, Output out) {
    forward<bf16, 128, 128, 64, 32, true>(g, x, w, bias, residual, y, out);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_mma_forward_bf16_128x64(
    Windows g, const bf16* x, const bf16* w, const float* bias, const void* residual, void* y, Output out) {
    forward<bf16, 128, 64, 64, 32, true>(g, x, w, bias, residual, y, out);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_mma_forward_bf16_64x64(
    Windows g, const bf16* x, const bf16* w, const float* bias, const void* residual, void* y, Output out) {
    forward<bf16, 64, 64, 32, 32, true>(g, x, w, bias, residual, y, out);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_forward_bf16_any(
    Windows g, const bf16* x, const bf16* w, const float* bias, const void* residual, void* y, Output out) {
    forward<bf16, 64, 64, 32, 32, false>(g, x, w, bias, residual, y, out);
}
extern "C" __global__ void __launch_bounds__(256, 2) conv2d_mma_forward_f16_128x128(
    Windows g, const f16* x, const f16* w, const float* bias, const void* residual, void* y, Output out) {
    forward<f16, 128, 128, 64, 32, true>(g, x, w, bias, residual, y, out);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_mma_forward_f16_128x64(
    Windows g, const f16* x, const f16* w, const float* bias, const void* residual, void* y, Output out) {
    forward<f16, 128, 64, 64, 32, true>(g, x, w, bias, residual, y, out);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_mma_forward_f16_64x64(
    Windows g, const f16* x, const f16* w, const float* bias, const void* residual, void* y, Output out) {
    forward<f16, 64, 64, 32, 32, true>(g, x, w, bias, residual, y, out);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_forward_f16_any(
    Windows g, const f16* x, const f16* w, const float* bias, const void* residual, void* y, Output out) {
    forward<f16, 64, 64, 32, 32, false>(g, x, w, bias, residual, y, out);
}
extern "C" __global__ void __launch_bounds__(256, 2) conv2d_mma_forward_tf32_128x128(
    Windows g, const float* x, const float* w, const float* bias, const void* residual, void* y, Output out) {
    forward<float, 128, 128, 64, 32, true>(g, x, w, bias, residual, y, out);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_mma_forward_tf32_128x64(
    Windows g, const float* x, const float* w, const float* bias, const void* residual, void* y, Output out) {
    forward<float, 128, 64, 64, 32, true>(g, x, w, bias, residual, y, out);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_mma_forward_tf32_64x64(
    Windows g, const float* x, const float* w, const float* bias, const void* residual, void* y, Output out) {
    forward<float, 64, 64, 32, 32, true>(g, x, w, bias, residual, y, out);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_mma_forward_tf32_any(
    Windows g, const float* x, const float* w, const float* bias, const void* residual, void* y, Output out) {
    forward<float, 64, 64, 32, 32, false>(g, x, w, bias, residual, y, out);
}
