// The core of every tensor-core product with `mma.sync`: `C[m, n] = Σ_k A[m, k]·B[n, k]`, one tile of C per block.
//
//   for step of K (64 bytes):                       a ring of four stages of shared memory:
//     copy stage + 3 of A and B ─ cp.async ─▶        [ 0 | 1 | 2 | 3 ]   three are in flight while one is read
//     for each half of the step (32 bytes):
//       fragments of A: WM/16 × ldmatrix.x4
//       fragments of B: WN/16 × ldmatrix.x4
//       WM/16 · WN/8 × mma.sync                     16 × 8 × 32 bytes each
//
// Tile 128×128 by 8 warps of 64×32: a step reads 16 KiB and multiplies 128·128·32 pairs of 2 bytes, and a warp loads
// 6 fragments for 16 products. Its 64 sums, 24 fragment registers and addresses fit in 128 registers, and its 64 KiB
// of shared memory fit twice in a multiprocessor: two blocks hide each other's barriers. Small problems use 128×64 (4
// warps) or 64×64 (4 warps of 32×32), so that the grid still fills the device.
//
// An operand's tile has one of two layouts. A chunk is 16 bytes; XOR permutes the chunks of a line, so that the eight
// rows of an ldmatrix fall into eight different groups of four banks, without padding:
//
//   KMajor:  line = row, 64 bytes of k         chunk ^ (row / 2 % 4): two lines fill the 32 banks
//   MnMajor: line = k, all rows of the tile    chunk ^ (k % 8); read by ldmatrix.trans
//
// tf32 moves the same bytes, with one element in four bytes instead of two. `ldmatrix` does not transpose four-byte
// elements, so MnMajor reads those one by one, and XORs with 2·(k % 4): a warp reads 4 lines of 8 elements, 32 banks.
#pragma once
#include "ptx.cuh"

constexpr int LINE = 64; // bytes of k per step
constexpr int STAGES = 4;

template <class T> __device__ __forceinline__ void round_operand(uint32_t (&r)[4]) {
    if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (uint32_t& x : r) x = round_tf32(x);
    }
}

/// The order of a fragment's four quarters, each 8 rows × 16 bytes of k, in its registers. An mma takes all four of
/// A, rows first. Of B it takes the two for 8 rows; with k first they are adjacent, otherwise they would have to be
/// moved.
enum Order { ROWS_FIRST, K_FIRST };

/// The first row of a quarter, and which 16 bytes of k it holds.
template <Order ORDER> __device__ __forceinline__ int row_of(int quarter) {
    return 8 * (ORDER == ROWS_FIRST ? quarter % 2 : quarter / 2);
}
template <Order ORDER> __device__ __forceinline__ int k_of(int quarter) {
    return ORDER == ROWS_FIRST ? quarter / 2 : quarter % 2;
}

/// ROWS rows of an operand, each with a line that is contiguous along k.
template <class T, int ROWS_> struct KMajor {
    static constexpr bool K_MAJOR = true;
    static constexpr int ROWS = ROWS_, STEP = LINE / sizeof(T), LINES = ROWS, LINE_BYTES = LINE, CHUNKS = LINE / 16;

    static __device__ __forceinline__ int offset(int line, int chunk) {
        return line * LINE + ((chunk ^ (line >> 1 & 3)) << 4);
    }
    /// The addresses from which this lane reads fragments of the rows from `row` on, a multiple of 16, which keeps
    /// the XOR.
    template <Order ORDER> struct Fragments {
        int start[2]; // of each half of a step

        __device__ __forceinline__ Fragments(int row) {
            int lane = threadIdx.x % 32, line = lane % 8 + row_of<ORDER>(lane / 8);
#pragma unroll
            for (int half = 0; half < 2; half++)
                start[half] = keep(row * LINE + offset(line, 2 * half + k_of<ORDER>(lane / 8)));
        }
        /// Loads the 16 rows from `16·i` on, and the given `half` (32 bytes) of the step.
        __device__ __forceinline__ void load(uint32_t (&r)[4], const unsigned char* tile, int i, int half) const {
            load_matrices(r, tile + start[half] + 16 * i * LINE);
            round_operand<T>(r);
        }
    };
};

/// ROWS rows of an operand that is contiguous along the rows: a line is one k.
template <class T, int ROWS_> struct MnMajor {
    static constexpr bool K_MAJOR = false;
    static constexpr int ROWS = ROWS_, STEP = LINE / sizeof(T), LINES = STEP;
    static constexpr int LINE_BYTES = ROWS * sizeof(T), CHUNKS = LINE_BYTES / 16;

    static __device__ __forceinline__ int offset(int line, int chunk) {
        int turn = sizeof(T) == 2 ? line & 7 : (line & 3) << 1;
        // Kept separate, so that the upper part folds into a constant offset of the load.
        return line * LINE_BYTES + ((chunk & ~7) << 4) + (((chunk & 7) ^ turn) << 4);
    }
    template <Order ORDER> struct Fragments {
        int row;

        __device__ __forceinline__ Fragments(int r) : row(r) {}
        __device__ __forceinline__ void load(uint32_t (&r)[4], const unsigned char* tile, int i, int half) const {
            int lane = threadIdx.x % 32, quarter = lane / 8, first = row + 16 * i;
            if constexpr (sizeof(T) == 2) {
                int k = 16 * half + lane % 8 + 8 * k_of<ORDER>(quarter);
                load_matrices_transposed(r, tile + offset(k, (first + row_of<ORDER>(quarter)) / 8));
            } else {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    int k = 8 * half + lane % 4 + 4 * k_of<ORDER>(j), m = first + lane / 4 + row_of<ORDER>(j);
                    r[j] = *(const uint32_t*)(tile + offset(k, m / 4) + m % 4 * 4);
                }
            }
            round_operand<T>(r);
        }
    };
};

/// A tile of C, with operands of layouts A and B and one warp per WM×WN part.
template <class T_, class A_, class B_, int WM_, int WN_> struct Tile {
    using T = T_;
    using A = A_;
    using B = B_;
    static constexpr int M = A::ROWS, N = B::ROWS, K = A::STEP, WM = WM_, WN = WN_;
    static constexpr int WARPS_N = N / WN, THREADS = 32 * (M / WM) * WARPS_N;

    /// The stages; once they have been read, the sums to be stored.
    union Shared {
        struct {
            unsigned char a[M * LINE], b[N * LINE];
        } stage[STAGES];
        float sums[M * N];
    };
    /// A thread's part of the tile: fragments of 16×8.
    using Sums = float[WM / 16][WN / 8][4];

    using FragmentsA = typename A::template Fragments<ROWS_FIRST>;
    using FragmentsB = typename B::template Fragments<K_FIRST>;

    static __device__ __forceinline__ int warp_row() { return threadIdx.x / 32 / WARPS_N * WM; }
    static __device__ __forceinline__ int warp_column() { return threadIdx.x / 32 % WARPS_N * WN; }
};

/// Adds the products of one stage.
template <class Tile>
__device__ __forceinline__ void multiply_stage(const unsigned char* a, const unsigned char* b,
                                               const typename Tile::FragmentsA& of_a,
                                               const typename Tile::FragmentsB& of_b, typename Tile::Sums& sums) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t fa[Tile::WM / 16][4], fb[Tile::WN / 16][4];
#pragma unroll
        for (int i = 0; i < Tile::WM / 16; i++)
            of_a.load(fa[i], a, i, half);
#pragma unroll
        for (int j = 0; j < Tile::WN / 16; j++)
            of_b.load(fb[j], b, j, half);
#pragma unroll
        for (int i = 0; i < Tile::WM / 16; i++)
#pragma unroll
            for (int j = 0; j < Tile::WN / 8; j++)
                mma(typename Tile::T(), sums[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
    }
}

/// `sums = Σ A·B` over the next `k` elements of k, which `load_a` and `load_b` fetch.
template <class Tile, class LoadA, class LoadB>
__device__ __forceinline__ void multiply(typename Tile::Shared& s, typename Tile::Sums& sums, LoadA& load_a,
                                         LoadB& load_b, int k) {
    int steps = k > 0 ? (k + Tile::K - 1) / Tile::K : 0;
    auto fetch = [&](int step) {
        // Commits one group per step, empty past the end, so that groups and steps stay in lockstep.
        if (step < steps) {
            load_a.fetch(s.stage[step % STAGES].a);
            load_b.fetch(s.stage[step % STAGES].b);
        }
        copy_commit();
    };
#pragma unroll
    for (int i = 0; i < Tile::WM / 16; i++)
#pragma unroll
        for (int j = 0; j < Tile::WN / 8; j++)
#pragma unroll
            for (float& sum : sums[i][j]) sum = 0;
    typename Tile::FragmentsA of_a(Tile::warp_row());
    typename Tile::FragmentsB of_b(Tile::warp_column());
    for (int step = 0; step < STAGES - 1; step++) fetch(step);
    for (int step = 0; step < steps; step++) {
        copy_wait<STAGES - 2>();
        // All copies of this step have landed, and all threads have read the stage that is filled next.
        __syncthreads();
        fetch(step + STAGES - 1);
        multiply_stage<Tile>(s.stage[step % STAGES].a, s.stage[step % STAGES].b, of_a, of_b, sums);
    }
    copy_wait<0>();
    __syncthreads();
}
