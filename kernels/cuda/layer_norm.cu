// Layer normalization of each row of `x` `[rows, c]` (Ba, Kiros & Hinton 2016): `y = gamma·(x − mean)/√(var + eps) + beta`.
//
//   warp: one row, in three passes. Its lanes step through the channels; the second and the third pass read the row from
//   the L1 cache. Subtracting the mean before squaring loses no digits where it is large.
//
// The statistics cover `width` channels, of which `width − c` are constants with the sums `sum` and `squares`. Gradients of
// the parameters are sums over rows, by the two stages of columns.cuh.
#include "columns.cuh"

/// `LayerNormArg` in ops/layer_norm.rs.
struct LayerNorm {
    double sum, squares;
    uint64_t rows;
    uint32_t c, width;
    float eps;
    uint32_t unused;
};

/// The mean of `row`, and 1/√(var + eps), in every lane of the warp.
template <class T> struct Statistics {
    float mean, inv;

    __device__ __forceinline__ Statistics(const LayerNorm& g, const T* row) {
        uint32_t lane = threadIdx.x % 32;
        float sum = 0;
        for (uint32_t i = lane; i < g.c; i += 32) sum += to_float(row[i]);
        mean = float((double(warp_sum(sum)) + g.sum) / g.width);
        float spread = 0;
        for (uint32_t i = lane; i < g.c; i += 32) {
            float d = to_float(row[i]) - mean;
            spread += d * d;
        }
        double center = mean, removed = g.width - g.c;
        double constants = g.squares + center * (removed * center - 2 * g.sum);
        double total = double(warp_sum(spread)) + (constants < 0 ? 0 : constants);
        inv = float(1 / sqrt(total / g.width + double(g.eps)));
    }
};

/// The row of this warp.
__device__ __forceinline__ uint64_t warp_row() { return global_thread() / 32; }

/// `y = gamma·(x − mean)·inv + beta`.
extern "C" __global__ void __launch_bounds__(256)
    layer_norm_forward(int type, LayerNorm g, const void* x, const float* gamma, const float* beta, void* y) {
    if (warp_row() >= g.rows) return;
    with_type(type, [&](auto t) {
        using T = decltype(t);
        const T* row = (const T*)x + warp_row() * g.c;
        T* out = (T*)y + warp_row() * g.c;
        Statistics<T> s(g, row);
        for (uint32_t i = threadIdx.x % 32; i < g.c; i += 32) {
            out[i] = from_float<T>((to_float(row[i]) - s.mean) * s.inv * gamma[i] + beta[i]);
        }
    });
}

/// With `g = dy·gamma`: `dx = (g − Σ g/width − x̂·Σ g·x̂/width)·inv`. Writes the mean and inv of each row to `statistics`
/// `[rows, 2]`.
extern "C" __global__ void __launch_bounds__(256)
    layer_norm_backward(int type, LayerNorm g, const void* x, const float* gamma, const void* dy, void* dx,
                        float* statistics) {
    if (warp_row() >= g.rows) return;
    with_type(type, [&](auto t) {
        using T = decltype(t);
        const T *row = (const T*)x + warp_row() * g.c, *upper = (const T*)dy + warp_row() * g.c;
        T* out = (T*)dx + warp_row() * g.c;
        Statistics<T> s(g, row);
        uint32_t lane = threadIdx.x % 32;
        float sum = 0, slope = 0;
        for (uint32_t i = lane; i < g.c; i += 32) {
            float scaled = to_float(upper[i]) * gamma[i];
            sum += scaled;
            slope += scaled * ((to_float(row[i]) - s.mean) * s.inv);
        }
        float inv_width = 1.0f / g.width, shift = warp_sum(sum) * inv_width;
        slope = warp_sum(slope) * inv_width;
        for (uint32_t i = lane; i < g.c; i += 32) {
            float x_hat = (to_float(row[i]) - s.mean) * s.inv;
            out[i] = from_float<T>((to_float(upper[i]) * gamma[i] - shift - x_hat * slope) * s.inv);
        }
        if (lane < 2) statistics[2 * warp_row() + lane] = lane == 0 ? s.mean : s.inv;
    });
}

/// Each block's sums of `dy·x̂` and of `dy`: `partials[block, sum, channel]`.
extern "C" __global__ void __launch_bounds__(256)
    layer_norm_parameter_partials(int type, Columns g, const void* x, const void* dy, const float* statistics,
                                  float* partials) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        column_partials<2, N>(g, partials, [&](uint64_t offset, float(&sums)[2][N]) {
            auto in = Piece<T, N>::load((const T*)x + offset);
            auto upper = Piece<T, N>::load((const T*)dy + offset);
            uint64_t row = offset / g.c;
            float mean = statistics[2 * row], inv = statistics[2 * row + 1];
#pragma unroll
            for (int i = 0; i < N; i++) {
                sums[0][i] += upper.lane[i] * ((in.lane[i] - mean) * inv);
                sums[1][i] += upper.lane[i];
            }
        });
    });
}

/// `dgamma` and `dbeta`, from the partial sums of this norm or of group norm.
extern "C" __global__ void __launch_bounds__(256)
    layer_norm_parameter_finish(uint32_t c, uint64_t parts, uint32_t across, const float* partials, float* dgamma,
                                float* dbeta) {
    uint32_t channel = blockIdx.x * across + threadIdx.x % across;
    uint32_t ch = min(channel, c - 1);
    double slope = fold_parts(across, parts, [&](uint64_t part) { return double(partials[part * 2 * c + ch]); });
    double shift = fold_parts(across, parts, [&](uint64_t part) { return double(partials[(part * 2 + 1) * c + ch]); });
    if (threadIdx.x >= across || channel >= c) return;
    dgamma[channel] = float(slope);
    dbeta[channel] = float(shift);
}
