// The rectifier with a learned slope for each channel (He et al. 2015) over the rows of `x` `[rows, c]`. The tile is that of
// columns.cuh: a thread keeps the slopes of its channels. All passes are memory-bound.
#include "columns.cuh"

/// `y = x` where `x` is positive, otherwise `slope·x`.
extern "C" __global__ void __launch_bounds__(256)
    prelu_forward(int type, Columns g, const void* x, const float* slope, void* y) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Place<N> at(g);
        if (!at.inside) return;
        for (uint64_t row = at.row; row < at.end; row += at.step) {
            uint64_t offset = row * g.c + at.channel;
            auto z = Piece<T, N>::load((const T*)x + offset);
#pragma unroll
            for (int i = 0; i < N; i++) z.lane[i] = z.lane[i] > 0 ? z.lane[i] : slope[at.channel + i] * z.lane[i];
            z.store((T*)y + offset);
        }
    });
}

/// The gradient of `x`.
extern "C" __global__ void __launch_bounds__(256)
    prelu_input_grad(int type, Columns g, const void* x, const float* slope, const void* dy, void* dx) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Place<N> at(g);
        if (!at.inside) return;
        for (uint64_t row = at.row; row < at.end; row += at.step) {
            uint64_t offset = row * g.c + at.channel;
            auto in = Piece<T, N>::load((const T*)x + offset);
            auto upper = Piece<T, N>::load((const T*)dy + offset);
#pragma unroll
            for (int i = 0; i < N; i++) upper.lane[i] *= in.lane[i] > 0 ? 1 : slope[at.channel + i];
            upper.store((T*)dx + offset);
        }
    });
}

/// Each block's sums of `dy·x` where `x` is not positive: `partials[block, channel]`.
extern "C" __global__ void __launch_bounds__(256)
    prelu_slope_partials(int type, Columns g, const void* x, const void* dy, float* partials) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        column_partials<1, N>(g, partials, [&](uint64_t offset, float(&sums)[1][N]) {
            auto in = Piece<T, N>::load((const T*)x + offset);
            auto upper = Piece<T, N>::load((const T*)dy + offset);
#pragma unroll
            for (int i = 0; i < N; i++) sums[0][i] += in.lane[i] > 0 ? 0 : in.lane[i] * upper.lane[i];
        });
    });
}
