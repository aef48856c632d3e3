// Matrices `[rows, c]` processed by columns, one per channel: shared by batch norm and sums over rows.
//
// A block has 256 threads, `across` of them side by side and the rest in further rows. A thread owns N neighboring
// channels (sixteen bytes of them if `c` is divisible, so that a warp reads whole lines) and steps through the rows
// of its block, so that per-channel values are loaded once and stay in registers:
//
//                 ◀─ across × N channels ─▶
//   block (0, 0)  t0 t1 t2 …               ▲         block (0, 1): the next channels
//                 t8 t9 …                  │ rows_per_block
//                 t0 t1 t2 … (next step)   ▼
//   block (1, 0)  …
//
// Sums take two stages, in an order that depends only on the shape: the threads of a block add theirs pairwise and
// write one partial sum per channel; a second kernel adds the partial sums of a channel in double precision.
#pragma once
#include "pieces.cuh"

/// The division of a matrix into blocks; `Columns` in ops/columns.rs.
struct Columns {
    uint64_t rows, rows_per_block;
    uint32_t c, across;
};

constexpr int COLUMN_THREADS = 256;

/// The channels and rows of this thread.
template <int N> struct Place {
    uint32_t channel; // the first of N
    uint64_t row, step, end;
    bool inside;

    explicit __device__ __forceinline__ Place(const Columns& g)
        : channel((blockIdx.y * g.across + threadIdx.x % g.across) * N),
          row(blockIdx.x * g.rows_per_block + threadIdx.x / g.across), step(COLUMN_THREADS / g.across),
          end(min((blockIdx.x + 1) * g.rows_per_block, g.rows)), inside(channel < g.c) {}
};

/// Calls `add(offset, sums)` for each row of this thread, which adds to SUMS sums of each of its N channels, and
/// writes the block's totals to `partials[block, sum, channel]`. `offset` is that of the row's first channel of the
/// N.
template <int SUMS, int N, class F>
__device__ __forceinline__ void column_partials(const Columns& g, float* partials, F add) {
    struct Shared {
        float of[SUMS * N][COLUMN_THREADS];
    };
    auto& s = shared_memory<Shared>();
    Place<N> at(g);
    float sums[SUMS][N] = {};
    if (at.inside) {
#pragma unroll 2
        for (uint64_t row = at.row; row < at.end; row += at.step) add(row * g.c + at.channel, sums);
    }
#pragma unroll
    for (int i = 0; i < SUMS * N; i++) s.of[i][threadIdx.x] = sums[i / N][i % N];
    for (uint32_t half = COLUMN_THREADS / 2; half >= g.across; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
#pragma unroll
            for (int i = 0; i < SUMS * N; i++) s.of[i][threadIdx.x] += s.of[i][threadIdx.x + half];
        }
    }
    if (threadIdx.x >= g.across || !at.inside) return;
#pragma unroll
    for (int i = 0; i < SUMS * N; i++) {
        partials[(uint64_t(blockIdx.x) * SUMS + i / N) * g.c + at.channel + i % N] = s.of[i][threadIdx.x];
    }
}

/// The second stage: `Σ value(part)` over the parts `0..parts`, for this thread's one channel; every thread of the
/// channel gets the sum. Blocks are `across` channels wide, as above with N = 1.
template <class F> __device__ __forceinline__ double fold_parts(uint32_t across, uint64_t parts, F value) {
    struct Shared {
        double of[COLUMN_THREADS];
    };
    auto& s = shared_memory<Shared>();
    double sum = 0;
    for (uint64_t part = threadIdx.x / across; part < parts; part += COLUMN_THREADS / across) sum += value(part);
    s.of[threadIdx.x] = sum;
    for (uint32_t half = COLUMN_THREADS / 2; half >= across; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) s.of[threadIdx.x] += s.of[threadIdx.x + half];
    }
    __syncthreads();
    sum = s.of[threadIdx.x % across];
    __syncthreads(); // all threads read before the next fold writes
    return sum;
}
