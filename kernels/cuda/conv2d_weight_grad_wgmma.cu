// The gradient of a convolution's weight on Hopper's tensor cores, in 16-bit types: one matrix product per tap, with
// a row per filter, a column per channel, and a depth of all output pixels.
//
//   block: one tap, 128 filters × CHANNELS channels, some of the boxes of 64 output pixels
//     warp 8, one thread: the producer               warps 0–3, 4–7: two warpgroups, 64 filters each
//       for each box of pixels:                        for each stage:
//         dy[box, 2 × 64 filters]           ─▶           acc += dyᵀ·x, four wgmmas of depth 16
//         x[box at the tap, CHANNELS]       ─▶         partial sums, f32
//
// Both operands keep their layout in memory, with 64 channels of a pixel per row: the depth is not contiguous, which
// wgmma supports for 16-bit types. Boxes are powers of two with 64 pixels, regardless of the image's size; the copy
// engine fills pixels of dy beyond the image with zeros, so they add nothing.
//
// A tap of a layer is a small but very deep product. Enough blocks to fill the device share the depth. Each writes
// its sums separately, and a second kernel adds them in order, which gives the same bits every time.
//
// Tiles and stages are as in conv2d_wgmma.cu, for the same reasons.
#include "hopper.cuh"

/// `WeightGrad` in wgmma/weight_grad.rs.
struct Problem {
    int o, c, kh, kw;
    int stride[2], padding[2], dilation[2];
    int box[3]; // images, rows and columns of output pixels, 64 in total
    int boxes[3]; // boxes along images, rows and columns
    int filter_tiles, channel_tiles, splits;
};

constexpr int PIXELS = 64, ATOM = 64; // pixels per stage; channels per row

template <int CHANNELS> struct Tile {
    static constexpr int STAGES = CHANNELS == 256 ? 4 : 3, BLOCKS = CHANNELS == 256 ? 1 : 2;
};

template <int CHANNELS> struct __align__(1024) Shared {
    static constexpr int STAGES = Tile<CHANNELS>::STAGES;
    struct Stage {
        Row dy[2][PIXELS], x[CHANNELS / ATOM][PIXELS];
    } stage[STAGES];
    Barrier full[STAGES], empty[STAGES];
};

/// A block's share: first filter and channel, tap, and range of boxes.
struct Place {
    int filter, channel, kh, kw, split, first, last;

    __device__ __forceinline__ Place(const Problem& p, int channels) {
        unsigned i = blockIdx.x;
        channel = i % p.channel_tiles * channels;
        i /= p.channel_tiles;
        kw = i % p.kw;
        i /= p.kw;
        kh = i % p.kh;
        i /= p.kh;
        filter = i % p.filter_tiles * 2 * ATOM;
        split = i / p.filter_tiles;
        int64_t boxes = int64_t(p.boxes[0]) * p.boxes[1] * p.boxes[2];
        first = boxes * split / p.splits;
        last = boxes * (split + 1) / p.splits;
    }
};

/// Fills stage after stage, in one thread.
template <int CHANNELS>
__device__ __forceinline__ void produce(Shared<CHANNELS>& s, const TensorMap& dy, const TensorMap& x, const Problem& p,
                                        const Place& at) {
    Ring<Shared<CHANNELS>::STAGES> ring;
    for (int box = at.first; box < at.last; box++, ring.next()) {
        int column = box % p.boxes[2] * p.box[2], row = box / p.boxes[2] % p.boxes[1] * p.box[1];
        int n = box / (p.boxes[2] * p.boxes[1]) * p.box[0];
        int x_column = column * p.stride[1] - p.padding[1] + at.kw * p.dilation[1];
        int x_row = row * p.stride[0] - p.padding[0] + at.kh * p.dilation[0];
        auto& stage = s.stage[ring.stage];
        Barrier& full = s.full[ring.stage];
        barrier_wait(s.empty[ring.stage], ring.parity ^ 1);
        barrier_expect(full, sizeof stage);
        for (int i = 0; i < 2; i++) copy_box(stage.dy[i], dy, full, at.filter + i * ATOM, column, row, n);
        for (int i = 0; i < CHANNELS / ATOM; i++)
            copy_box(stage.x[i], x, full, at.channel + i * ATOM, x_column, x_row, n);
    }
}

/// Sets `acc` to the products of this warpgroup's 64 filters.
template <class T, int CHANNELS>
__device__ __forceinline__ void consume(Shared<CHANNELS>& s, const Place& at, float (&acc)[CHANNELS / 2]) {
    Ring<Shared<CHANNELS>::STAGES> ring;
    Barrier* before = nullptr;
    for (int box = at.first; box < at.last; box++, ring.next()) {
        auto& stage = s.stage[ring.stage];
        barrier_wait(s.full[ring.stage], ring.parity);
        uint64_t dy = columns_descriptor(stage.dy[threadIdx.x / 128], sizeof stage.dy[0]);
        uint64_t x = columns_descriptor(stage.x, sizeof stage.x[0]);
        constexpr int STEP = 16 * sizeof(Row) / 16; // sixteen pixels, in units of 16 bytes
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < PIXELS / 16; k++) wgmma_columns<T>(acc, dy + STEP * k, x + STEP * k);
        wgmma_commit();
        wgmma_wait<1>();
        if (before) release(*before);
        before = &s.empty[ring.stage];
    }
    wgmma_finish(acc);
}

struct __align__(8) Pair {
    float first, second;
};

template <class T, int CHANNELS>
__device__ __forceinline__ void weight_grad(const TensorMap& dy, const TensorMap& x, const Problem& p, float* partial) {
    auto& s = shared_memory<Shared<CHANNELS>>();
    ring_init(s.full, s.empty);
    Place at(p, CHANNELS);
    if (threadIdx.x / 32 == CONSUMERS) {
        if (threadIdx.x % 32 == 0) produce(s, dy, x, p, at);
        return;
    }
    float acc[CHANNELS / 2];
#pragma unroll
    for (int i = 0; i < CHANNELS / 2; i++) acc[i] = 0;
    consume<T>(s, at, acc);
#pragma unroll
    for (int i = 0; i < CHANNELS / 4; i++) { // pairs: two rows of every eight columns
        int o = at.filter + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + i % 2 * 8;
        int c = at.channel + i / 2 * 8 + threadIdx.x % 4 * 2;
        if (o >= p.o || c >= p.c) continue;
        uint64_t row = ((uint64_t(at.split) * p.o + o) * p.kh + at.kh) * p.kw + at.kw;
        *(Pair*)(partial + row * p.c + c) = {acc[2 * i], acc[2 * i + 1]};
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, Tile<64>::BLOCKS) conv2d_weight_grad_wgmma_bf16_64(
    const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap x, Problem p, float* partial) {
    weight_grad<bf16, 64>(dy, x, p, partial);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<128>::BLOCKS) conv2d_weight_grad_wgmma_bf16_128(
    const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap x, Problem p, float* partial) {
    weight_grad<bf16, 128>(dy, x, p, partial);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<256>::BLOCKS) conv2d_weight_grad_wgmma_bf16_256(
    const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap x, Problem p, float* partial) {
    weight_grad<bf16, 256>(dy, x, p, partial);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<64>::BLOCKS) conv2d_weight_grad_wgmma_f16_64(
    const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap x, Problem p, float* partial) {
    weight_grad<f16, 64>(dy, x, p, partial);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<128>::BLOCKS) conv2d_weight_grad_wgmma_f16_128(
    const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap x, Problem p, float* partial) {
    weight_grad<f16, 128>(dy, x, p, partial);
}
extern "C" __global__ void __launch_bounds__(THREADS, Tile<256>::BLOCKS) conv2d_weight_grad_wgmma_f16_256(
    const __grid_constant__ TensorMap dy, const __grid_constant__ TensorMap x, Problem p, float* partial) {
    weight_grad<f16, 256>(dy, x, p, partial);
}

/// `dw[i]` is the sum of `partial[split][i]` over the splits, in order; one thread per element.
extern "C" __global__ void conv2d_weight_grad_add(int splits, uint64_t n, const float* partial, float* dw) {
    uint64_t i = global_thread();
    if (i >= n) return;
    float sum = 0;
    for (int split = 0; split < splits; split++) sum += partial[split * n + i];
    dw[i] = sum;
}
