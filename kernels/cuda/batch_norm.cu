// Batch normalization (Ioffe & Szegedy 2015) over the rows of `x` `[rows, c]`, separately for each channel:
// `x̂ = (x − mean)/√(var + eps)`, `y = activation(gamma·x̂ + beta + residual)`.
//
// All passes are memory-bound, so the residual sum and the activation are fused in both directions:
//
//   forward   partials  reads x            backward   partials  reads x, y, dy
//             finish    reads partials                finish    reads partials
//             apply     reads x (residual),           dx        reads x, y, dy, writes dx over dy
//                       writes y
//
// The tile is that of columns.cuh: a thread keeps the parameters of its four or eight channels in 40 to 80 registers,
// so a multiprocessor holds at least 768 threads, each with two to six loads of sixteen bytes in flight: more than
// the roughly 40 KB that keep an H100's memory busy. Each block subtracts its own first row before squaring, so that
// the squares scale with the spread and not with the mean. Blocks are combined in double precision, by the formula of
// Chan, Golub & LeVeque (1983).
#include "activation.cuh"
#include "columns.cuh"

__device__ __forceinline__ float inv_std(float var, float eps) { return 1 / sqrtf(var + eps); }

/// Sums of `x − first` and of its square, where `first` is the block's first row: `partials[block, sum, channel]`.
extern "C" __global__ void __launch_bounds__(256)
    batch_norm_statistics_partials(int type, Columns g, const void* x, float* partials) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Place<N> at(g);
        Piece<T, N> first = {};
        if (at.inside) first = Piece<T, N>::load((const T*)x + blockIdx.x * g.rows_per_block * g.c + at.channel);
        column_partials<2, N>(g, partials, [&](uint64_t offset, float(&sums)[2][N]) {
            auto in = Piece<T, N>::load((const T*)x + offset);
#pragma unroll
            for (int i = 0; i < N; i++) {
                float d = in.lane[i] - first.lane[i];
                sums[0][i] += d;
                sums[1][i] += d * d;
            }
        });
    });
}

/// The mean and biased variance of each channel, from the partial sums.
extern "C" __global__ void __launch_bounds__(256)
    batch_norm_statistics_finish(int type, Columns g, uint64_t parts, uint32_t across, const void* x,
                                 const float* partials, float* mean, float* var) {
    uint32_t channel = blockIdx.x * across + threadIdx.x % across;
    uint32_t ch = min(channel, g.c - 1);
    auto first = [&](uint64_t part) {
        uint64_t offset = part * g.rows_per_block * g.c + ch;
        double value = 0;
        with_type(type, [&](auto t) { value = to_float(((const decltype(t)*)x)[offset]); });
        return value;
    };
    auto rows = [&](uint64_t part) { return double(min(g.rows - part * g.rows_per_block, g.rows_per_block)); };
    double center = fold_parts(across, parts, [&](uint64_t part) {
        return rows(part) * first(part) + partials[part * 2 * g.c + ch];
    }) / g.rows;
    // A part's spread about its own mean, plus its rows times the squared distance of that mean from the overall
    // mean.
    double squares = fold_parts(across, parts, [&](uint64_t part) {
        double d = partials[part * 2 * g.c + ch], dd = partials[(part * 2 + 1) * g.c + ch];
        double offset = d / rows(part), away = first(part) + offset - center, spread = dd - d * offset;
        return (spread < 0 ? 0 : spread) + rows(part) * away * away;
    });
    if (threadIdx.x >= across || channel >= g.c) return;
    mean[channel] = float(center);
    var[channel] = float(squares / g.rows);
}

/// `y = activation((x − mean)·gamma/√(var + eps) + beta + residual)`. The mean is subtracted first, which avoids
/// cancellation if it is large. `residual` may be null.
extern "C" __global__ void __launch_bounds__(256)
    batch_norm_apply(int type, Columns g, const void* x, const float* mean, const float* var, const float* gamma,
                     const float* beta, float eps, const void* residual, Activation activation, void* y) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Place<N> at(g);
        if (!at.inside) return;
        float shift[N], factor[N], add[N];
#pragma unroll
        for (int i = 0; i < N; i++) {
            uint32_t ch = at.channel + i;
            shift[i] = mean[ch];
            factor[i] = gamma[ch] * inv_std(var[ch], eps);
            add[i] = beta[ch];
        }
#pragma unroll 2
        for (uint64_t row = at.row; row < at.end; row += at.step) {
            uint64_t offset = row * g.c + at.channel;
            auto z = Piece<T, N>::load((const T*)x + offset);
            Piece<T, N> more = {};
            if (residual) more = Piece<T, N>::load((const T*)residual + offset);
#pragma unroll
            for (int i = 0; i < N; i++) {
                z.lane[i] = activation((z.lane[i] - shift[i]) * factor[i] + add[i] + more.lane[i]);
            }
            z.store((T*)y + offset);
        }
    });
}

/// `dz`: the gradient before the activation, whose output is `y`; `y` is null if there is no activation.
template <class T, int N>
__device__ __forceinline__ Piece<T, N> before_activation(const Clamp& activation, const T* y, const T* dy, uint64_t offset) {
    auto dz = Piece<T, N>::load(dy + offset);
    if (y) {
        auto out = Piece<T, N>::load(y + offset);
#pragma unroll
        for (int i = 0; i < N; i++) dz.lane[i] = activation.gradient(out.lane[i], dz.lane[i]);
    }
    return dz;
}

/// Sums of `dz` and of `dz·(x − mean)`: `partials[block, sum, channel]`.
extern "C" __global__ void __launch_bounds__(256)
    batch_norm_backward_partials(int type, Columns g, const void* x, const float* mean, const void* y, const void* dy,
                                 Clamp activation, float* partials) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Place<N> at(g);
        float center[N] = {};
        if (at.inside) {
#pragma unroll
            for (int i = 0; i < N; i++) center[i] = mean[at.channel + i];
        }
        column_partials<2, N>(g, partials, [&](uint64_t offset, float(&sums)[2][N]) {
            auto in = Piece<T, N>::load((const T*)x + offset);
            auto dz = before_activation<T, N>(activation, (const T*)y, (const T*)dy, offset);
#pragma unroll
            for (int i = 0; i < N; i++) {
                sums[0][i] += dz.lane[i];
                sums[1][i] += dz.lane[i] * (in.lane[i] - center[i]);
            }
        });
    });
}

/// `dbeta = Σ dz`, `dgamma = Σ dz·x̂`, from the partial sums.
extern "C" __global__ void __launch_bounds__(256)
    batch_norm_backward_finish(Columns g, uint64_t parts, uint32_t across, const float* partials, const float* var,
                               float eps, float* dgamma, float* dbeta) {
    uint32_t channel = blockIdx.x * across + threadIdx.x % across;
    uint32_t ch = min(channel, g.c - 1);
    double dz = fold_parts(across, parts, [&](uint64_t part) { return double(partials[part * 2 * g.c + ch]); });
    double dz_x = fold_parts(across, parts, [&](uint64_t part) { return double(partials[(part * 2 + 1) * g.c + ch]); });
    if (threadIdx.x >= across || channel >= g.c) return;
    dbeta[channel] = float(dz);
    dgamma[channel] = float(dz_x * inv_std(var[channel], eps));
}

/// `dx = gamma/√(var + eps) · (dz − dbeta/rows − x̂·dgamma/rows)`; `inv_rows` is 1/rows, or 0 if the statistics are
/// constants. `dx` overwrites `dy`; or, if `residual_dx` is not null, `dz` overwrites `dy` and `dx` goes to
/// `residual_dx`.
extern "C" __global__ void __launch_bounds__(256)
    batch_norm_backward_apply(int type, Columns g, const void* x, const float* mean, const float* var,
                              const float* gamma, float eps, const void* y, Clamp activation, const float* dgamma,
                              const float* dbeta, float inv_rows, void* dy, void* residual_dx) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Place<N> at(g);
        if (!at.inside) return;
        float center[N], factor[N], shift[N], slope[N];
#pragma unroll
        for (int i = 0; i < N; i++) {
            uint32_t ch = at.channel + i;
            float inv = inv_std(var[ch], eps);
            center[i] = mean[ch];
            factor[i] = gamma[ch] * inv;
            shift[i] = dbeta[ch] * inv_rows;
            slope[i] = dgamma[ch] * inv * inv_rows;
        }
#pragma unroll 2
        for (uint64_t row = at.row; row < at.end; row += at.step) {
            uint64_t offset = row * g.c + at.channel;
            auto in = Piece<T, N>::load((const T*)x + offset);
            auto dz = before_activation<T, N>(activation, (const T*)y, (const T*)dy, offset);
            Piece<T, N> dx;
#pragma unroll
            for (int i = 0; i < N; i++) {
                dx.lane[i] = factor[i] * (dz.lane[i] - shift[i] - (in.lane[i] - center[i]) * slope[i]);
            }
            if (residual_dx) dz.store((T*)dy + offset);
            dx.store((T*)(residual_dx ? residual_dx : dy) + offset);
        }
    });
}
