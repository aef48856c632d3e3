// Two-dimensional convolution on Hopper's tensor cores, as an implicit matrix product (implicit GEMM) with a row per
// output pixel, a column per filter, and a depth of KH·KW·C.
//
//   block: up to 128 output pixels × FILTERS filters
//     warp 8, one thread: the producer               warps 0–3, 4–7: two warpgroups, 64 pixels each
//       for kh, kw, 128 bytes of channels:             for each stage:
//         wait until the stage is empty                  wait until it is full
//         x[box of pixels at this tap, channels] ─▶      acc += x·wᵀ, four wgmmas of 32 bytes deep
//         w[FILTERS, this tap, channels]         ─▶      once the previous stage's wgmmas are done: it is empty
//                                                      y = activation(acc + bias + residual), rounded once
//
// The pixels of a block are a box of bn images × bh rows × bw columns. For one tap, their inputs are also a box of x,
// shifted by the tap and with the stride between its pixels, so one bulk copy loads them. The copy engine writes 0
// outside the image, which implements the padding, and for channels beyond the last. Rows of shared memory that a
// smaller box leaves unwritten only affect rows of the product that are never stored.
//
// 128 bytes are 64 channels of 16 bits, or 32 of f32; the copy engine rounds f32 to TF32, eleven significant bits.
//
// How y is stored: in wgmma's layout a thread has two neighboring filters of a pixel, so four lanes have 16 bytes of
// 16-bit numbers, half a sector of memory. A warp therefore passes its 16 pixels through shared memory, 128 bytes of
// filters at a time: it writes them in wgmma's layout and reads them as eight chunks of 16 bytes, which eight lanes
// store side by side as a whole line of memory. The residual takes the same path in the other direction first. Each
// warp reads only what it wrote itself, and writes where its own pixels of x were, so it waits only for its own
// warpgroup's last wgmma.
//
// Why these tiles: a stage loads (128 + FILTERS)·128 bytes from L2 for 128·FILTERS·64 products, so wide tiles load
// the least, and 256 filters are the most that fit in registers (128 accumulators per thread). 64 and 128 filters
// leave room for two blocks per multiprocessor: one computes while the other starts or stores. Six stages (four for
// the widest tile), about 200 KB, are in flight per multiprocessor.
#include "activation.cuh"
#include "hopper.cuh"

/// `Problem` in wgmma/problem.rs.
struct Problem {
    int n, oh, ow, o; // images, rows and columns of output pixels; filters
    int kh, kw, c; // taps, channels
    int stride[2], origin[2], dilation[2]; // of x: pixel i reads it through tap t at origin + i·stride + t·dilation
    int tap[2], tap_step[2]; // of w: tap t is at tap + t·tap_step
    int size[2], first[2], step[2]; // of y: pixel i is at first + i·step
    int box[3]; // images, rows and columns of output pixels
    int tiles[3]; // blocks along rows, columns and filters
    Clamp activation;
};

constexpr int PIXELS = 128, ROWS = 16; // per block; per warp

template <int FILTERS> struct Tile {
    static constexpr int STAGES = FILTERS == 256 ? 4 : 3, BLOCKS = FILTERS == 256 ? 1 : 2;
};

/// Channels per row.
template <class T> constexpr int CHANNELS = sizeof(Row) / sizeof(T);

template <int FILTERS> struct __align__(1024) Shared {
    static constexpr int STAGES = Tile<FILTERS>::STAGES;
    struct Stage {
        Row x[PIXELS], w[FILTERS];
    } stage[STAGES];
    Barrier full[STAGES], empty[STAGES];
};

/// A block's share: its box's first pixel, and its index along the filters.
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
    /// The pixel of y for row `i` of the block's product; negative if there is none.
    __device__ __forceinline__ int64_t pixel(const Problem& p, int i) const {
        int x = column + i % p.box[2], y = row + i / p.box[2] % p.box[1], image = i / (p.box[2] * p.box[1]);
        if (image >= p.box[0] || n + image >= p.n || y >= p.oh || x >= p.ow) return -1;
        int64_t line = int64_t(n + image) * p.size[0] + y * p.step[0] + p.first[0];
        return line * p.size[1] + x * p.step[1] + p.first[1];
    }
};

/// Fills stage after stage, in one thread.
template <class T, int FILTERS>
__device__ __forceinline__ void produce(Shared<FILTERS>& s, const TensorMap& x, const TensorMap& w, const Problem& p) {
    Place at(p);
    unsigned bytes = (p.box[0] * p.box[1] * p.box[2] + FILTERS) * sizeof(Row);
    int row = at.row * p.stride[0] + p.origin[0], column = at.column * p.stride[1] + p.origin[1];
    Ring<Shared<FILTERS>::STAGES> ring;
    for (int kh = 0; kh < p.kh; kh++)
        for (int kw = 0; kw < p.kw; kw++)
            for (int c = 0; c < p.c; c += CHANNELS<T>, ring.next()) {
                auto& stage = s.stage[ring.stage];
                Barrier& full = s.full[ring.stage];
                barrier_wait(s.empty[ring.stage], ring.parity ^ 1);
                barrier_expect(full, bytes);
                copy_box(stage.x, x, full, c, column + kw * p.dilation[1], row + kh * p.dilation[0], at.n);
                copy_box(stage.w, w, full, c, p.tap[1] + kw * p.tap_step[1], p.tap[0] + kh * p.tap_step[0],
                         at.filter * FILTERS);
            }
}

/// Sets `acc` to the products of this warpgroup's 64 pixels.
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

/// Two neighboring elements, moved together.
template <class T> struct __align__(2 * sizeof(T)) Pair {
    T first, second;
};

/// Element `i` of a warp's row on its way to y. XOR permutes the row's 16-byte chunks, so that neither side has bank
/// conflicts: eight lanes read a row's chunks; a row of pairs is one chunk of 16-bit numbers, or two of f32.
template <class T> __device__ __forceinline__ T* staged(Row* rows, int row, int i) {
    constexpr int CHUNK = 16 / sizeof(T);
    int chunk = i / CHUNK ^ row * int(sizeof(T)) / 2 % 8;
    return (T*)rows[row].channels + chunk * CHUNK + i % CHUNK;
}

/// For a warp's rows and the CHANNELS<T> filters from `filter` on, calls `f(staged, i)` with a value of type E (one
/// or more elements) and its index in y, which is negative if it is not stored. Lanes run along the rows. Lane r
/// holds the pixel of row r.
template <class T, class E, class F>
__device__ __forceinline__ void along_rows(Row* rows, int64_t pixel, int filter, int filters, F f) {
    constexpr int WIDTH = sizeof(E) / sizeof(T), ACROSS = CHANNELS<T> / WIDTH;
#pragma unroll (WIDTH > 1 ? 4 : 1) // single elements: the sums need the registers
    for (int first = 0; first < ROWS * ACROSS; first += 32) {
        int i = first + threadIdx.x % 32, row = i / ACROSS, column = i % ACROSS * WIDTH, o = filter + column;
        int64_t to = __shfl_sync(~0u, pixel, row);
        f(*(E*)staged<T>(rows, row, column), to >= 0 && o < filters ? to * filters + o : -1);
    }
}

/// `activation(acc + bias + residual)` for a warp's rows, rounded, for the CHANNELS<T> filters from `filter` on. The
/// residual is in `rows`; the result replaces it.
template <class T>
__device__ __forceinline__ void finish(Row* rows, float* acc, int filter, const Problem& p, const float* bias,
                                       bool residual) {
    constexpr int COUNT = CHANNELS<T> / 2;
    int column = threadIdx.x % 4 * 2; // within every eight
    auto pair = [&](int i) -> Pair<T>& { // of acc[2i] and acc[2i + 1]
        return *(Pair<T>*)staged<T>(rows, threadIdx.x % 32 / 4 + i % 2 * 8, i / 2 * 8 + column);
    };
    if (bias)
#pragma unroll
        for (int i = 0; i < COUNT / 2; i++) {
            int at = i / 2 * 4 + i % 2, o = filter + i / 2 * 8 + column + i % 2;
            float b = o < p.o ? bias[o] : 0;
            acc[at] += b, acc[at + 2] += b;
        }
    if (residual)
#pragma unroll
        for (int i = 0; i < COUNT / 2; i++) {
            Pair<T> r = pair(i);
            acc[2 * i] += to_float(r.first), acc[2 * i + 1] += to_float(r.second);
        }
    p.activation.each<COUNT>(acc);
#pragma unroll
    for (int i = 0; i < COUNT / 2; i++) pair(i) = {from_float<T>(acc[2 * i]), from_float<T>(acc[2 * i + 1])};
}

/// Stores a block's tile, after all wgmmas, in values of type E: 16 bytes, or T if 16 bytes would not be aligned in
/// y.
template <class T, class E, int FILTERS>
__device__ __forceinline__ void store(Shared<FILTERS>& s, float (&acc)[FILTERS / 2], const Problem& p,
                                      const float* bias, const T* residual, T* y) {
    Place at(p);
    int first = threadIdx.x / 32 * ROWS;
    int64_t pixel = at.pixel(p, first + threadIdx.x % ROWS);
    warpgroup_sync();
#pragma unroll
    for (int turn = 0; turn < FILTERS / CHANNELS<T>; turn++) {
        int filter = at.filter * FILTERS + turn * CHANNELS<T>;
        if (filter >= p.o) break;
        // Lanes may still read the rows of the previous turn, but not those of the turn before it.
        Row* rows = &s.stage[turn % 2].x[first];
        if (residual) {
            along_rows<T, E>(rows, pixel, filter, p.o, [&](E& to, int64_t i) {
                if (i >= 0) to = *(const E*)(residual + i);
            });
            __syncwarp();
        }
        finish<T>(rows, acc + turn * CHANNELS<T> / 2, filter, p, bias, residual);
        __syncwarp();
        along_rows<T, E>(rows, pixel, filter, p.o, [&](E from, int64_t i) {
            if (i >= 0) *(E*)(y + i) = from;
        });
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
    if (p.o * sizeof(T) % sizeof(uint4) == 0)
        store<T, uint4>(s, acc, p, bias, residual, y);
    else
        store<T, T>(s, acc, p, bias, residual, y);
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

// The gradient of the input is also such a convolution, of dy. With stride s, the pixels of dx fall into s² classes
// by their remainders; each class is reached by its own taps, every s-th or fewer. A class is a convolution of dy
// with stride 1, through those taps of w in reverse order; its pixels are s apart in dx.
//
// Filters and channels swap places in w. Each tap is a matrix that is transposed in tiles through shared memory, so
// that both sides are read and written along rows; a tile's row is 4 bytes longer, which spreads a column over all
// banks.

constexpr int EDGE = 32;

template <class T> struct Transpose {
    T tile[EDGE][EDGE + 4 / sizeof(T)];
};

/// `to[c, t, o] = from[o, t, c]`; one block of 32×8 threads per tile, with the taps along z.
template <class T> __device__ __forceinline__ void transpose_weight(int o, int taps, int c, const T* from, T* to) {
    auto& s = shared_memory<Transpose<T>>();
    int lane = threadIdx.x % EDGE, warp = threadIdx.x / EDGE, tap = blockIdx.z;
    int first_o = blockIdx.y * EDGE, first_c = blockIdx.x * EDGE;
    for (int i = warp; i < EDGE; i += 8)
        if (first_o + i < o && first_c + lane < c)
            s.tile[i][lane] = from[(uint64_t(first_o + i) * taps + tap) * c + first_c + lane];
    __syncthreads();
    for (int i = warp; i < EDGE; i += 8)
        if (first_c + i < c && first_o + lane < o)
            to[(uint64_t(first_c + i) * taps + tap) * o + first_o + lane] = s.tile[lane][i];
}

extern "C" __global__ void __launch_bounds__(256) conv2d_transpose_weight_16(int o, int taps, int c,
                                                                             const uint16_t* from, uint16_t* to) {
    transpose_weight(o, taps, c, from, to);
}
extern "C" __global__ void __launch_bounds__(256) conv2d_transpose_weight_32(int o, int taps, int c,
                                                                             const uint32_t* from, uint32_t* to) {
    transpose_weight(o, taps, c, from, to);
}
