// f32 matrix products on the CUDA cores, `C = activation(op(A) · op(B) + bias + residual)`.
//
//   grid: (tiles of C, column tiles fastest) × (parts of k)
//   block: one tile, over its part of k, by the loop of tile_f32.cuh
//
// Tiles of 128 × 128 (256 threads, two blocks per multiprocessor) compute 32 products per float read from memory and
// are used if they fill the device; 64 × 64 (64 threads) gives four times as many blocks; 128 × 32 is for thin
// results. If even those do not fill the device, k is split into parts, each with its own partial C, which
// `sum_parts` adds in order, so that every run gives the same bits. To accumulate into C, the residual is C itself.
//
// Products of up to 16 rows by a transposed B, such as a layer's forward pass, use no tiles (`thin`).
//
// Kernel names contain the layout of op(A) and op(B): `n` as stored, `t` transposed.
#include "tile_f32.cuh"

template <bool TRANSPOSED, int EXTENT, int THREADS> struct Operand;
template <int EXTENT, int THREADS> struct Operand<false, EXTENT, THREADS> : StepsAdjacent<EXTENT, THREADS> {
    /// Rows of `[rows, k]`.
    __device__ __forceinline__ Operand(const float* data, int first, int rows, int k, Steps s)
        : StepsAdjacent<EXTENT, THREADS>(data, k, first, rows, s.begin, s.end) {}
};
template <int EXTENT, int THREADS> struct Operand<true, EXTENT, THREADS> : ExtentAdjacent<EXTENT, THREADS> {
    /// Columns of `[k, columns]`.
    __device__ __forceinline__ Operand(const float* data, int first, int columns, int, Steps s)
        : ExtentAdjacent<EXTENT, THREADS>(data, columns, first, columns, s.begin, s.end, columns % 4 == 0) {}
};

/// The argument of every kernel.
struct Product {
    int m, n, k, splits;
    const float *a, *b;
    float* c; // with several splits: `[splits, m, n]`
    Epilogue end;
};

template <int BM, int BN, bool TA, bool TB> __device__ __forceinline__ void gemm(const Product& p) {
    constexpr int THREADS = Division<BM, BN>::THREADS;
    int tiles_n = (p.n + BN - 1) / BN;
    int m = blockIdx.x / tiles_n * BM, n = blockIdx.x % tiles_n * BN;
    Steps steps(p.k, p.splits, blockIdx.z);
    Operand<TA, BM, THREADS> a(p.a, m, p.m, p.k, steps);
    Operand<!TB, BN, THREADS> b(p.b, n, p.n, p.k, steps);
    float sum[8][8];
    tile_product<BM, BN>(a, b, steps.count(), sum);
    float* c = p.c + size_t(blockIdx.z) * p.m * p.n;
    for_each_quad<BM, BN>(m, n, sum, [&](int row, int column, const float* sums) {
        if (row < p.m) store_quad(c, size_t(row) * p.n + column, column, p.n - column, sums, p.end, p.n % 4 == 0);
    });
}

extern "C" __global__ void __launch_bounds__(256, 2) gemm_nn_128x128(Product p) { gemm<128, 128, false, false>(p); }
extern "C" __global__ void __launch_bounds__(256, 2) gemm_nt_128x128(Product p) { gemm<128, 128, false, true>(p); }
extern "C" __global__ void __launch_bounds__(256, 2) gemm_tn_128x128(Product p) { gemm<128, 128, true, false>(p); }
extern "C" __global__ void __launch_bounds__(256, 2) gemm_tt_128x128(Product p) { gemm<128, 128, true, true>(p); }
extern "C" __global__ void __launch_bounds__(64) gemm_nn_64x64(Product p) { gemm<64, 64, false, false>(p); }
extern "C" __global__ void __launch_bounds__(64) gemm_nt_64x64(Product p) { gemm<64, 64, false, true>(p); }
extern "C" __global__ void __launch_bounds__(64) gemm_tn_64x64(Product p) { gemm<64, 64, true, false>(p); }
extern "C" __global__ void __launch_bounds__(64) gemm_tt_64x64(Product p) { gemm<64, 64, true, true>(p); }
extern "C" __global__ void __launch_bounds__(64) gemm_nn_128x32(Product p) { gemm<128, 32, false, false>(p); }
extern "C" __global__ void __launch_bounds__(64) gemm_nt_128x32(Product p) { gemm<128, 32, false, true>(p); }
extern "C" __global__ void __launch_bounds__(64) gemm_tn_128x32(Product p) { gemm<128, 32, true, false>(p); }
extern "C" __global__ void __launch_bounds__(64) gemm_tt_128x32(Product p) { gemm<128, 32, true, true>(p); }

/// Warps per block of `thin`, which divide k among them.
constexpr int THIN_WARPS = 4;

/// The sums of a block of `thin`: `[warp][output][row]`.
template <int ROWS, int OUTPUTS> struct ThinShared {
    float sum[THIN_WARPS][OUTPUTS * ROWS];
};

/// `C = A · Bᵀ` for up to `ROWS` rows, with `OUTPUTS` columns per block. With few rows, reading the weight B takes
/// all the time, so a block reads its rows of B once, 512 steps at a time, and A comes from the cache.
template <int ROWS, int OUTPUTS> __device__ __forceinline__ void thin(const Product& p) {
    auto& shared = shared_memory<ThinShared<ROWS, OUTPUTS>>();
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.x * OUTPUTS;
    bool aligned = p.k % 4 == 0;
    float sum[OUTPUTS][ROWS] = {};
    for (int k = threadIdx.x * 4; k < p.k; k += THIN_WARPS * 128) {
        float b[OUTPUTS][4], a[4];
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++)
            load_quad(b[o], p.b + size_t(first + o) * p.k + k, first + o < p.n ? p.k - k : 0, aligned);
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            load_quad(a, p.a + size_t(row) * p.k + k, row < p.m ? p.k - k : 0, aligned);
#pragma unroll
            for (int o = 0; o < OUTPUTS; o++)
#pragma unroll
                for (int j = 0; j < 4; j++) sum[o][row] = __fmaf_rn(a[j], b[o][j], sum[o][row]);
        }
    }
#pragma unroll
    for (int i = 0; i < OUTPUTS * ROWS; i++) {
        float total = warp_sum(sum[i / ROWS][i % ROWS]);
        if (lane == 0) shared.sum[warp][i] = total;
    }
    __syncthreads();
    int row = threadIdx.x % ROWS, column = first + threadIdx.x / ROWS;
    if (threadIdx.x >= OUTPUTS * ROWS || row >= p.m || column >= p.n) return;
    float total = 0;
    for (int from = 0; from < THIN_WARPS; from++) total += shared.sum[from][threadIdx.x];
    size_t index = size_t(row) * p.n + column;
    p.c[index] = p.end(total, column, index);
}

extern "C" __global__ void __launch_bounds__(128) gemm_nt_1_row(Product p) { thin<1, 1>(p); }
extern "C" __global__ void __launch_bounds__(128) gemm_nt_4_rows(Product p) { thin<4, 1>(p); }
extern "C" __global__ void __launch_bounds__(128) gemm_nt_16_rows(Product p) { thin<16, 2>(p); }

/// `y[i] = activation(Σ_part parts[part][i] + bias[i % columns] + residual[i])`, parts in order.
extern "C" __global__ void sum_parts(int parts, uint64_t len, int columns, const float* partial, Epilogue end, float* y) {
    uint64_t i = global_thread();
    if (i >= len) return;
    float sum = 0;
    for (int part = 0; part < parts; part++) sum += partial[part * len + i];
    y[i] = end(sum, int(i % columns), i);
}
