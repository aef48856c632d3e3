// Sums over rows: the gradient of a bias. The tile and the two stages are those of columns.cuh. The kernel reads `x`
// once and is memory-bound.
#include "columns.cuh"

/// Each block's sums of its rows of `x` `[rows, c]`: `partials[block, channel]`.
extern "C" __global__ void __launch_bounds__(256) sum_rows_partials(int type, Columns g, const void* x, float* partials) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        column_partials<1, N>(g, partials, [&](uint64_t offset, float(&sums)[1][N]) {
            auto in = Piece<T, N>::load((const T*)x + offset);
#pragma unroll
            for (int i = 0; i < N; i++) sums[0][i] += in.lane[i];
        });
    });
}

/// `out[channel] = Σ_part partials[part, channel]`.
extern "C" __global__ void __launch_bounds__(256)
    sum_rows_finish(uint32_t c, uint64_t parts, uint32_t across, const float* partials, float* out) {
    uint32_t channel = blockIdx.x * across + threadIdx.x % across;
    uint32_t ch = min(channel, c - 1);
    double sum = fold_parts(across, parts, [&](uint64_t part) { return double(partials[part * c + ch]); });
    if (threadIdx.x < across && channel < c) out[channel] = float(sum);
}
