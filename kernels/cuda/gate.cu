// Products with a gate [N, C], one factor for each channel of each image of P pixels. All passes are memory-bound.
//
//   forward   thread: sixteen bytes of a pixel, times the same channels of the gate, which stay in the cache
//   gradient  block: 32 pieces of channels of one image; its eight rows of threads step through the pixels,
//             and their sums are added in shared memory in a fixed order
#include "pieces.cuh"

/// `Gate` in ops/gate.rs.
struct Gate {
    uint32_t n, pixels, c;
};

/// `y[n, p, c] = x[n, p, c]·gate[n, c]`.
extern "C" __global__ void __launch_bounds__(256)
    gate_forward(int type, Gate g, const void* x, const void* gate, void* y) {
    with_lanes(type, g.c, [&](auto t, auto lanes) {
        using T = decltype(t);
        constexpr int N = decltype(lanes)::VALUE;
        uint32_t pieces = g.c / N;
        uint64_t pixel = global_thread() / pieces, image = pixel / g.pixels;
        if (image >= g.n) return;
        uint32_t channel = uint32_t(global_thread() % pieces) * N;
        auto value = Piece<T, N>::load((const T*)x + pixel * g.c + channel);
        auto factor = Piece<T, N>::load((const T*)gate + image * g.c + channel);
#pragma unroll
        for (int i = 0; i < N; i++) value.lane[i] *= factor.lane[i];
        value.store((T*)y + pixel * g.c + channel);
    });
}

/// `dgate[n, c] = Σ_p dy[n, p, c]·x[n, p, c]`; a block for each image and each 32 pieces of channels.
extern "C" __global__ void __launch_bounds__(256)
    gate_grad(int type, Gate g, const void* x, const void* dy, void* dgate) {
    with_lanes(type, g.c, [&](auto t, auto lanes) {
        using T = decltype(t);
        constexpr int N = decltype(lanes)::VALUE;
        struct Shared {
            float of[N][256];
        };
        auto& s = shared_memory<Shared>();
        uint64_t image = blockIdx.x;
        uint32_t channel = (blockIdx.y * 32 + threadIdx.x % 32) * N;
        float sums[N] = {};
        if (channel < g.c) {
            for (uint32_t p = threadIdx.x / 32; p < g.pixels; p += 8) {
                uint64_t offset = (image * g.pixels + p) * g.c + channel;
                auto a = Piece<T, N>::load((const T*)x + offset);
                auto b = Piece<T, N>::load((const T*)dy + offset);
#pragma unroll
                for (int i = 0; i < N; i++) sums[i] += a.lane[i] * b.lane[i];
            }
        }
#pragma unroll
        for (int i = 0; i < N; i++) s.of[i][threadIdx.x] = sums[i];
        for (uint32_t half = 128; half >= 32; half /= 2) {
            __syncthreads();
            if (threadIdx.x < half) {
#pragma unroll
                for (int i = 0; i < N; i++) s.of[i][threadIdx.x] += s.of[i][threadIdx.x + half];
            }
        }
        if (threadIdx.x >= 32 || channel >= g.c) return;
        Piece<T, N> out;
#pragma unroll
        for (int i = 0; i < N; i++) out.lane[i] = s.of[i][threadIdx.x];
        out.store((T*)dgate + image * g.c + channel);
    });
}
