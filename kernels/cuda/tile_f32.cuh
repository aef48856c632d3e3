// The f32 product that matrices and convolutions share: one tile loop, several loaders.
//
//   block: a BM × BN tile of C                                   registers: 8 × 8 of C per thread
//     for 16 steps of k at a time
//       fetch the next 16 steps of A and B into registers        in flight while …
//       for k of these 16, from shared memory                    … 64 products for every 4 loads of 16 bytes
//         C[8][8] += A[k][8] · B[k][8]
//       store the fetched steps to the other half of shared memory; one barrier
//
// A thread's 8 rows (and columns) are two runs of four, half a warp tile apart, so that a warp reads whole 128-byte
// rows of shared memory without bank conflicts. 8 × 8 needs two shared loads of A and two of B for 64 fused
// multiply-adds, which keeps the arithmetic units, not shared memory, the bottleneck.
//
// Only the loader differs: it locates element (i, k). It has
//   fetch()     reads this thread's quads of the next 16 steps into registers, with zeros outside
//   put(tile)   writes them to `tile[k][i]`
#pragma once
#include "epilogue.cuh"

/// Steps of the reduction that a tile in shared memory holds.
constexpr int STEP = 16;

/// A tile of 16 steps: `[k][i]`. Four floats of padding spread the transposing stores over the banks.
template <int EXTENT> using StepTile = float[STEP][EXTENT + 4];

/// Both operands, double-buffered.
template <int BM, int BN> struct TileShared {
    StepTile<BM> a[2];
    StepTile<BN> b[2];
};

/// The division of a BM × BN tile among the lanes of a warp and the warps of a block.
template <int BM, int BN> struct Division {
    static constexpr int LANES_N = BN < 64 ? 4 : 8, LANES_M = 32 / LANES_N;
    static constexpr int WARP_M = 8 * LANES_M, WARP_N = 8 * LANES_N;
    static constexpr int THREADS = BM / WARP_M * (BN / WARP_N) * 32;
    static_assert(BM % WARP_M == 0 && BN % WARP_N == 0, "whole warps");

    /// This thread's first row in the given run of four.
    static __device__ __forceinline__ int row(int run) {
        int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        return warp / (BN / WARP_N) * WARP_M + run * (WARP_M / 2) + lane / LANES_N * 4;
    }
    static __device__ __forceinline__ int column(int run) {
        int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        return warp % (BN / WARP_N) * WARP_N + run * (WARP_N / 2) + lane % LANES_N * 4;
    }
};

/// The quads of a tile that a thread moves if memory is contiguous along k: 16 rows × 2 quads per warp, so that it
/// reads whole sectors of 32 bytes and its transposing stores hit 32 banks.
template <int EXTENT, int THREADS> struct AlongSteps {
    static constexpr int PASSES = EXTENT * STEP / 4 / THREADS;
    static __device__ __forceinline__ int step() { return (threadIdx.x / 32 % 2 * 2 + threadIdx.x % 2) * 4; }
    static __device__ __forceinline__ int i(int pass) {
        return pass * (THREADS / 4) + threadIdx.x / 64 * 16 + threadIdx.x % 32 / 2;
    }
    static __device__ __forceinline__ void put(const float (&quads)[PASSES][4], StepTile<EXTENT>& tile) {
#pragma unroll
        for (int pass = 0; pass < PASSES; pass++)
#pragma unroll
            for (int j = 0; j < 4; j++) tile[step() + j][i(pass)] = quads[pass][j];
    }
};

/// The quads that a thread moves if memory is contiguous along i: whole rows of the tile.
template <int EXTENT, int THREADS> struct AlongExtent {
    static constexpr int PASSES = EXTENT * STEP / 4 / THREADS, QUADS = EXTENT / 4;
    static __device__ __forceinline__ int step(int pass) { return threadIdx.x / QUADS + pass * (THREADS / QUADS); }
    static __device__ __forceinline__ int i() { return threadIdx.x % QUADS * 4; }
    static __device__ __forceinline__ void put(const float (&quads)[PASSES][4], StepTile<EXTENT>& tile) {
#pragma unroll
        for (int pass = 0; pass < PASSES; pass++) {
            const float* q = quads[pass];
            *(float4*)&tile[step(pass)][i()] = make_float4(q[0], q[1], q[2], q[3]);
        }
    }
};

/// Reads the first `count` of four floats, with zeros for the rest; in one load if `aligned` to 16 bytes.
__device__ __forceinline__ void load_quad(float (&quad)[4], const float* from, int count, bool aligned) {
    if (aligned && count >= 4) {
        float4 v = *(const float4*)from;
        quad[0] = v.x, quad[1] = v.y, quad[2] = v.z, quad[3] = v.w;
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++) quad[j] = j < count ? from[j] : 0;
    }
}

/// A matrix whose element (i, k) is `data[i·ld + k]`.
template <int EXTENT, int THREADS> struct StepsAdjacent {
    using Map = AlongSteps<EXTENT, THREADS>;
    const float* row[Map::PASSES]; // null past the last row
    int k, end;
    bool aligned;
    float quads[Map::PASSES][4];

    /// Rows of `rows` from `first` on, steps `begin..end`.
    __device__ __forceinline__ StepsAdjacent(const float* data, size_t ld, int first, int rows, int begin, int end)
        : k(begin + Map::step()), end(end), aligned(ld % 4 == 0) {
#pragma unroll
        for (int pass = 0; pass < Map::PASSES; pass++) {
            int i = first + Map::i(pass);
            row[pass] = i < rows ? data + i * ld : nullptr;
        }
    }
    __device__ __forceinline__ void fetch() {
#pragma unroll
        for (int pass = 0; pass < Map::PASSES; pass++)
            load_quad(quads[pass], row[pass] + k, row[pass] ? end - k : 0, aligned);
        k += STEP;
    }
    __device__ __forceinline__ void put(StepTile<EXTENT>& tile) { Map::put(quads, tile); }
};

/// A matrix whose element (i, k) is `data[k·ld + i]`.
template <int EXTENT, int THREADS> struct ExtentAdjacent {
    using Map = AlongExtent<EXTENT, THREADS>;
    const float* column; // of this thread, at step 0
    size_t ld;
    int count, k, end;
    bool aligned;
    float quads[Map::PASSES][4];

    /// Columns of `columns` from `first` on, steps `begin..end`.
    __device__ __forceinline__ ExtentAdjacent(const float* data, size_t ld, int first, int columns, int begin, int end,
                                              bool aligned)
        : column(data + first + Map::i()), ld(ld), count(columns - first - Map::i()), k(begin), end(end),
          aligned(aligned) {}
    __device__ __forceinline__ void fetch() {
#pragma unroll
        for (int pass = 0; pass < Map::PASSES; pass++) {
            int step = k + Map::step(pass);
            load_quad(quads[pass], column + step * ld, step < end ? count : 0, aligned);
        }
        k += STEP;
    }
    __device__ __forceinline__ void put(StepTile<EXTENT>& tile) { Map::put(quads, tile); }
};

/// Reads four floats of a tile in shared memory.
__device__ __forceinline__ void read_quad(float* to, const float* from) {
    float4 v = *(const float4*)from;
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

/// `sum += A · B` over the steps of two tiles.
template <int BM, int BN>
__device__ __forceinline__ void multiply(const StepTile<BM>& a, const StepTile<BN>& b, float (&sum)[8][8]) {
    using D = Division<BM, BN>;
    // More unrolling takes the large tile over 128 registers, which leaves room for only one block of 256 threads.
    constexpr int UNROLL = BM * BN == 128 * 128 ? 2 : STEP;
    int row = D::row(0), column = D::column(0);
#pragma unroll UNROLL
    for (int k = 0; k < STEP; k++) {
        float x[8], y[8];
        read_quad(x, &a[k][row]), read_quad(x + 4, &a[k][row + D::WARP_M / 2]);
        read_quad(y, &b[k][column]), read_quad(y + 4, &b[k][column + D::WARP_N / 2]);
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int j = 0; j < 8; j++) sum[i][j] = __fmaf_rn(x[i], y[j], sum[i][j]);
    }
}

/// The product over the `steps` steps that two loaders fetch. Every thread of the block calls it.
template <int BM, int BN, class A, class B>
__device__ __forceinline__ void tile_product(A& a, B& b, int steps, float (&sum)[8][8]) {
    auto& shared = shared_memory<TileShared<BM, BN>>();
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) sum[i][j] = 0;
    int rounds = (steps + STEP - 1) / STEP;
    if (rounds == 0) return;
    a.fetch(), b.fetch();
    a.put(shared.a[0]), b.put(shared.b[0]);
    __syncthreads();
    for (int round = 0; round < rounds; round++) {
        int now = round % 2;
        bool more = round + 1 < rounds;
        if (more) a.fetch(), b.fetch();
        multiply<BM, BN>(shared.a[now], shared.b[now], sum);
        if (more) a.put(shared.a[1 - now]), b.put(shared.b[1 - now]);
        __syncthreads();
    }
}

/// The steps of one of `splits` parts of a reduction over `k`: whole tiles, except at the end.
struct Steps {
    int begin, end;
    __device__ __forceinline__ Steps(int k, int splits, int split) {
        int each = ((k + STEP - 1) / STEP + splits - 1) / splits * STEP;
        begin = min(split * each, k);
        end = min(begin + each, k);
    }
    __device__ __forceinline__ int count() const { return end - begin; }
};

/// Calls `store(row, column, sums)` for each run of four columns of the tile whose corner is (`m`, `n`).
template <int BM, int BN, class F>
__device__ __forceinline__ void for_each_quad(int m, int n, const float (&sum)[8][8], F store) {
    using D = Division<BM, BN>;
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int run = 0; run < 2; run++)
            store(m + D::row(i / 4) + i % 4, n + D::column(run), &sum[i][4 * run]);
}

/// Stores the first `count` of four sums with their epilogue at `y[index..]`, in one store if `aligned`.
__device__ __forceinline__ void store_quad(float* y, size_t index, int column, int count, const float* sums,
                                           const Epilogue& end, bool aligned) {
    float v[4];
#pragma unroll
    for (int j = 0; j < 4; j++) v[j] = j < count ? end(sums[j], column + j, index + j) : 0;
    if (aligned && count >= 4) {
        *(float4*)(y + index) = make_float4(v[0], v[1], v[2], v[3]);
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (j < count) y[index + j] = v[j];
    }
}
