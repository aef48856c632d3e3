// How a tile of sums is stored: through shared memory, so that a thread adds to and stores sixteen bytes of a row.
//
//   fragments ─▶ shared memory, f32 ─▶ + bias + residual ─ activation ─ round once ─▶ y
#pragma once
#include "activation.cuh"
#include "mma_operand.cuh"
#include "mma_tile.cuh"

/// `Output` in mma/output.rs: the destination of the sums. Row r of the product is row `place(r)` of y, which has
/// `columns`.
struct Output {
    int rows, columns;
    Clamp activation;
    int f32;        // y and the residual are f32, regardless of the operand type
    int scattered;  // r = (image, i, j) goes to pixel (image, i·step + first, j·step + first) of [h, w]; otherwise to r
    int h, w, step[2], first[2];
    Divide by_rows, by_columns;

    __device__ __forceinline__ int64_t place(int r) const {
        if (!scattered) return r;
        int line = by_columns(r), image = by_rows(line);
        int i = line - image * int(by_rows.by), j = r - line * int(by_columns.by);
        return (int64_t(image) * h + i * step[0] + first[0]) * w + j * step[1] + first[1];
    }
};

/// The position of a sum in the staged tile: XOR permutes a row's columns in groups of eight, so that the 8-byte
/// stores of half a warp, four rows of eight columns, cover all 32 banks.
template <class Tile> __device__ __forceinline__ int sum_at(int row, int column) {
    return row * Tile::N + (column ^ (row & 3) << 3);
}

template <class Tile> __device__ __forceinline__ void spread(float* to, const typename Tile::Sums& sums) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < Tile::WM / 16; i++)
#pragma unroll
        for (int j = 0; j < Tile::WN / 8; j++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int row = Tile::warp_row() + 16 * i + 8 * half + lane / 4;
                int column = Tile::warp_column() + 8 * j + lane % 4 * 2;
                *(float2*)&to[sum_at<Tile>(row, column)] = make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
            }
}

/// Stores the tile at (`row0`, `column0`) as elements of type U; column n goes to column `order[n]` if `order` is not
/// null.
template <class Tile, class U>
__device__ __forceinline__ void store(const float* sums, int row0, int column0, const Output& out, const float* bias,
                                      const U* residual, U* y, const uint32_t* order) {
    constexpr int LANES = 16 / sizeof(U), CHUNKS = Tile::N / LANES;
    bool vectors = !order && out.columns % LANES == 0;
    for (int i = threadIdx.x; i < Tile::M * CHUNKS; i += Tile::THREADS) {
        int row = i / CHUNKS, column = i % CHUNKS * LANES, n = column0 + column;
        if (row0 + row >= out.rows || n >= out.columns) continue;
        int64_t line = out.place(row0 + row) * out.columns;
        int lanes = min(LANES, out.columns - n);
        Vector<U> old, now;
        if (residual && vectors) old = Vector<U>::load(residual + line + n);
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) {
            if (lane >= lanes) break;
            int to = order ? order[n + lane] : n + lane;
            float x = sums[sum_at<Tile>(row, column + lane)] + (bias ? bias[to] : 0);
            if (residual) x += vectors ? old.get(lane) : to_float(residual[line + to]);
            now.put(lane, out.activation(x));
            if (!vectors) y[line + to] = now.lanes[lane];
        }
        if (vectors) now.store(y + line + n);
    }
}

/// Writes `activation(sums + bias + residual)`; bias and residual may be null, and the residual may be y itself.
template <class Tile>
__device__ __forceinline__ void finish(typename Tile::Shared& s, const typename Tile::Sums& sums, int row0, int column0,
                                       const Output& out, const float* bias, const void* residual, void* y,
                                       const uint32_t* order = nullptr) {
    using T = typename Tile::T;
    spread<Tile>(s.sums, sums);
    __syncthreads();
    if (sizeof(T) == 4 || out.f32)
        store<Tile>(s.sums, row0, column0, out, bias, (const float*)residual, (float*)y, order);
    else
        store<Tile>(s.sums, row0, column0, out, bias, (const T*)residual, (T*)y, order);
}

/// The output of this block's slice of k; if there are several slices, each has its own f32 y.
__device__ __forceinline__ void* slice_of(void* y, const Output& out) {
    return (float*)y + uint64_t(blockIdx.z) * out.rows * out.columns;
}
