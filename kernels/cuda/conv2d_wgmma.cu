// Two-dimensional convolution on Hopper's tensor cores, as a matrix product that is never written out (implicit GEMM):
// a row per output pixel, a column per filter, and a depth of KH·KW·C.
//
//   block: up to 128 output pixels × FILTERS filters
//     warp 8, one thread: the producer               warps 0–3, 4–7: two warpgroups, 64 pixels each
//       for kh, kw, 128 bytes of channels:             for each stage:
//         wait until the stage is empty                  wait until it is full
//         x[box of pixels at this tap, channels] ─▶      acc += x·wᵀ, four wgmmas of 32 bytes deep
//         w[FILTERS, this tap, channels]         ─▶      when the wgmmas of the stage before are done: it is empty
//                                                      y = activation(acc + bias + residual), rounded once
//
// The pixels of a block are a box of bn images × bh rows × bw columns. Seen from one tap, its inputs are a box of x too,
// moved by the tap and with the stride between its pixels: one bulk copy. The copy engine writes 0 for what lies outside
// the image, which is the padding, and for channels beyond the last. Rows of shared memory that a smaller box leaves
// unwritten only reach rows of the product that nobody stores.
//
// 128 bytes are 64 channels of 16 bits, or 32 of f32: those the copy engine rounds to TF32, eleven bits of mantissa.
//
// Why these tiles: a stage is (128 + FILTERS)·128 bytes from L2 for 128·FILTERS·64 products, so wide tiles ask least of
// L2, and 256 filters are what the registers hold (128 accumulators a thread). 64 and 128 filters leave room for two
// blocks a multiprocessor: one computes while the other starts or stores. Six stages (or four of the widest) are in
// flight a multiprocessor, about 200 KB.
#include "hopper.cuh"

/// As in hopper.rs.
struct Problem {
    int n, oh, ow, o; // of y
    int kh, kw, c;
    int stride[2], padding[2], dilation[2];
    int box[3]; // images, rows and columns of output pixels
    int tiles[3]; // blocks along the rows, the columns and the filters
    int activation;
};

enum Activation { NONE = 0, RELU = 1, RELU6 = 2 };

constexpr int PIXELS = 128;

template <int FILTERS> struct Tile {
    static constexpr int STAGES = FILTERS == 256 ? 4 : 3, BLOCKS = FILTERS == 256 ? 1 : 2;
};

/// Channels of a row.
template <class T> constexpr int CHANNELS = sizeof(Row) / sizeof(T);

template <int FILTERS> struct __align__(1024) Shared {
    static constexpr int STAGES = Tile<FILTERS>::STAGES;
    struct Stage {
        Row x[PIXELS], w[FILTERS];
    } stage[STAGES];
    Barrier full[STAGES], empty[STAGES];
};

/// What a block computes: its box's first pixel, its first filter.
struct Place {
    int n, row, column, filter;

    __device__ __forceinline__ explicit Place(const Problem& p) {
        unsigned i = blockIdx.x;
        filter = i % p.tiles[2];
        i /= p.tiles[2];
        column = i % p.tiles[1] * p.box[2];
        i /= p.tiles[1];
        row = i % p.tiles[0] * p.box[1];
        n = i / p.tiles[0] * p.box[0];
    }
};

/// Fills stage after stage; one thread.
template <class T, int FILTERS>
__device__ __forceinline__ void produce(Shared<FILTERS>& s, const TensorMap& x, const TensorMap& w, const Problem& p) {
    Place at(p);
    unsigned bytes = (p.box[0] * p.box[1] * p.box[2] + FILTERS) * sizeof(Row);
    int row = at.row * p.stride[0] - p.padding[0], column = at.column * p.stride[1] - p.padding[1];
    Ring<Shared<FILTERS>::STAGES> ring;
    for (int kh = 0; kh < p.kh; kh++)
        for (int kw = 0; kw < p.kw; kw++)
            for (int c = 0; c < p.c; c += CHANNELS<T>, ring.next()) {
                auto& stage = s.stage[ring.stage];
                Barrier& full = s.full[ring.stage];
                barrier_wait(s.empty[ring.stage], ring.parity ^ 1);
                barrier_expect(full, bytes);
                copy_box(stage.x, x, full, c, column + kw * p.dilation[1], row + kh * p.dilation[0], at.n);
                copy_box(stage.w, w, full, c, kw, kh, at.filter * FILTERS);
            }
}

/// `acc` = the products of this warpgroup's 64 pixels.
template <class T, int FILTERS>
__device__ __forceinline__ void consume(Shared<FILTERS>& s, const Problem& p, float (&acc)[FILTERS / 2]) {
    int first = threadIdx.x / 128 * 64;
    int steps = p.kh * p.kw * ((p.c + CHANNELS<T> - 1) / CHANNELS<T>);
    Ring<Shared<FILTERS>::STAGES> ring;
    Barrier* before = nullptr;
    for (; steps > 0; steps--, ring.next()) {
        auto& stage = s.stage[ring.stage];
        barrier_wait(s.full[ring.stage], ring.parity);
        uint64_t x = rows_descriptor(&stage.x[first]), w = rows_descriptor(stage.w);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < 4; k++) wgmma<T>(acc, x + 2 * k, w + 2 * k); // 32 bytes, in units of 16
        wgmma_commit();
        wgmma_wait<1>();
        if (before) release(*before);
        before = &s.empty[ring.stage];
    }
    wgmma_finish(acc);
}

__device__ __forceinline__ float activate(float x, int activation) {
    // Comparisons that a NaN fails, so that it stays.
    if (activation != NONE) x = x < 0 ? 0 : x;
    if (activation == RELU6) x = x > 6 ? 6 : x;
    return x;
}

/// Two neighbouring elements, as one store.
template <class T> struct __align__(2 * sizeof(T)) Pair {
    T first, second;
};

/// One row of the product, this thread's filters of it: bias, residual, activation, rounding, and the store.
template <class T, int FILTERS>
__device__ __forceinline__ void store_row(const float (&acc)[FILTERS / 2], int half, uint64_t pixel, int filter,
                                          const Problem& p, const float* bias, const T* residual, T* y) {
    bool pairs = p.o % 2 == 0;
#pragma unroll
    for (int j = 0; j < FILTERS / 8; j++) {
        int o = filter + 8 * j;
        if (o >= p.o) continue;
        uint64_t at = pixel * p.o + o;
        bool second = o + 1 < p.o;
        float v0 = acc[4 * j + 2 * half], v1 = acc[4 * j + 2 * half + 1];
        if (bias) v0 += bias[o], v1 += second ? bias[o + 1] : 0;
        if (residual && pairs) {
            Pair<T> r = *(const Pair<T>*)(residual + at);
            v0 += to_float(r.first), v1 += to_float(r.second);
        } else if (residual) {
            v0 += to_float(residual[at]), v1 += second ? to_float(residual[at + 1]) : 0;
        }
        T t0 = from_float<T>(activate(v0, p.activation)), t1 = from_float<T>(activate(v1, p.activation));
        if (pairs) {
            *(Pair<T>*)(y + at) = {t0, t1};
        } else {
            y[at] = t0;
            if (second) y[at + 1] = t1;
        }
    }
}

/// Stores this thread's two rows, where they are pixels of the image.
template <class T, int FILTERS>
__device__ __forceinline__ void store(const float (&acc)[FILTERS / 2], const Problem& p, const float* bias,
                                      const T* residual, T* y) {
    Place at(p);
    int filter = at.filter * FILTERS + threadIdx.x % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int i = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * half; // of the box's pixels
        int column = at.column + i % p.box[2], row = at.row + i / p.box[2] % p.box[1];
        int box_n = i / (p.box[2] * p.box[1]), n = at.n + box_n;
        if (box_n >= p.box[0] || n >= p.n || row >= p.oh || column >= p.ow) continue;
        uint64_t pixel = (uint64_t(n) * p.oh + row) * p.ow + column;
        store_row<T, FILTERS>(acc, half, pixel, filter, p, bias, residual, y);
    }
}

template <class T, int FILTERS>
__device__ __forceinline__ void forward(const TensorMap& x, const TensorMap& w, const Problem& p, const float* bias,
                                        const T* residual, T* y) {
    auto& s = shared_memory<Shared<FILTERS>>();
    ring_init(s.full, s.empty);
    if (threadIdx.x / 32 == CONSUMERS) {
        if (threadIdx.x % 32 == 0) produce<T>(s, x, w, p);
        return;
    }
    float acc[FILTERS / 2];
#pragma unroll
    for (int i = 0; i < FILTERS / 2; i++) acc[i] = 0;
    consume<T>(s, p, acc);
    store<T, FILTERS>(acc, p, bias, residual, y);
}

extern "C" __global__ void __launch_bounds__(THREADS, Tile<64>::BLOCKS) conv2d_forward_wgmma_bf16_64(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, Problem p, const float* bias,
    const bf16* residual, bf16* y) {
    forward<bf16, 64>(x, w, p, bias, residual, y);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<128>::BLOCKS) conv2d_forward_wgmma_bf16_128(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, Problem p, const float* bias,
    const bf16* residual, bf16* y) {
    forward<bf16, 128>(x, w, p, bias, residual, y);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<256>::BLOCKS) conv2d_forward_wgmma_bf16_256(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, Problem p, const float* bias,
    const bf16* residual, bf16* y) {
    forward<bf16, 256>(x, w, p, bias, residual, y);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<64>::BLOCKS) conv2d_forward_wgmma_f16_64(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, Problem p, const float* bias,
    const f16* residual, f16* y) {
    forward<f16, 64>(x, w, p, bias, residual, y);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<128>::BLOCKS) conv2d_forward_wgmma_f16_128(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, Problem p, const float* bias,
    const f16* residual, f16* y) {
    forward<f16, 128>(x, w, p, bias, residual, y);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<256>::BLOCKS) conv2d_forward_wgmma_f16_256(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, Problem p, const float* bias,
    const f16* residual, f16* y) {
    forward<f16, 256>(x, w, p, bias, residual, y);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<64>::BLOCKS) conv2d_forward_wgmma_tf32_64(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, Problem p, const float* bias,
    const float* residual, float* y) {
    forward<float, 64>(x, w, p, bias, residual, y);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<128>::BLOCKS) conv2d_forward_wgmma_tf32_128(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, Problem p, const float* bias,
    const float* residual, float* y) {
    forward<float, 128>(x, w, p, bias, residual, y);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<256>::BLOCKS) conv2d_forward_wgmma_tf32_256(
    const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, Problem p, const float* bias,
    const float* residual, float* y) {
    forward<float, 256>(x, w, p, bias, residual, y);
}

// The weight of the gradient of the input: with a stride of 1, dx is dy convolved with w turned by 180 degrees, in which
// filters and channels have changed places. A tap is a matrix to transpose, by tiles through shared memory, so that both
// sides are read and written along rows; the row of a tile is longer by 4 bytes, which puts a column into all banks.

constexpr int EDGE = 32;

template <class T> struct Transpose {
    T tile[EDGE][EDGE + 4 / sizeof(T)];
};

/// `to[c, taps − 1 − t, o] = from[o, t, c]`; a block of 32×8 threads a tile, the taps along z.
template <class T> __device__ __forceinline__ void turn_weight(int o, int taps, int c, const T* from, T* to) {
    auto& s = shared_memory<Transpose<T>>();
    int lane = threadIdx.x % EDGE, warp = threadIdx.x / EDGE, tap = blockIdx.z;
    int first_o = blockIdx.y * EDGE, first_c = blockIdx.x * EDGE;
    for (int i = warp; i < EDGE; i += 8)
        if (first_o + i < o && first_c + lane < c)
            s.tile[i][lane] = from[(uint64_t(first_o + i) * taps + tap) * c + first_c + lane];
    __syncthreads();
    for (int i = warp; i < EDGE; i += 8)
        if (first_c + i < c && first_o + lane < o)
            to[(uint64_t(first_c + i) * taps + taps - 1 - tap) * o + first_o + lane] = s.tile[lane][i];
}

extern "C" __global__ void __launch_bounds__(256) conv2d_turn_weight_16(int o, int taps, int c, const uint16_t* from,
                                                                        uint16_t* to) {
    turn_weight(o, taps, c, from, to);
}
extern "C" __global__ void __launch_bounds__(256) conv2d_turn_weight_32(int o, int taps, int c, const uint32_t* from,
                                                                        uint32_t* to) {
    turn_weight(o, taps, c, from, to);
}
