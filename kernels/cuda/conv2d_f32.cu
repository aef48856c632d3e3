// Convolutions of f32 images on the CUDA cores, as implicit matrix products.
//
//                  rows                      columns              steps
//   forward        output pixels             filters              (tap, channel)
//   input grad     input pixels of one       input channels       (tap that reaches them, filter)
//                  remainder mod stride
//   weight grad    filters                   (tap, channel)       output pixels
//
//   grid: (tiles, column tiles fastest) × (parts of the steps · groups)
//   block: one tile by the loop of tile_f32.cuh, its operands read in place by the loaders of patches.cuh
//
// The tiles are those of gemm_f32.cu, for the same reasons. Blocks that share pixels are neighbors in the grid, so
// that other tiles of filters read the image from the second-level cache. If the tiles do not fill the device, the
// steps are split into parts, each with its own partial result, which `sum_parts` adds in order.
#include "patches.cuh"

/// The argument of the forward pass and the input gradient.
struct Convolution {
    Patches p;
    int groups, splits;
    int columns; // per group: filters, or input channels for the gradient
    int weight_h, weight_w; // gradient: the weight's taps,
    int tap_h, tap_w, tap_step_h, tap_step_w; // and those of them that reach the pixels: first, distance
    const float *x, *w;
    float* y; // with several splits, one result after another, each `part` long
    uint64_t part;
    Epilogue end;
};

/// Stores a tile of a group's results.
template <int BM, int BN>
__device__ __forceinline__ void store_pixels(const Convolution& v, int m, int n, int group, int split,
                                             const float (&sum)[8][8]) {
    size_t width = size_t(v.groups) * v.columns;
    float* y = v.y + split * v.part;
    for_each_quad<BM, BN>(m, n, sum, [&](int row, int column, const float* sums) {
        if (row >= v.p.count()) return;
        int o = group * v.columns + column;
        store_quad(y, v.p.pixel(row) * width + o, o, v.columns - column, sums, v.end, v.columns % 4 == 0);
    });
}

/// `y = x ∗ w`, `w` `[O, KH, KW, C/G]`: the steps are contiguous in both operands.
template <int BM, int BN> __device__ __forceinline__ void forward(const Convolution& v) {
    constexpr int THREADS = Division<BM, BN>::THREADS;
    int tiles_n = (v.columns + BN - 1) / BN;
    int m = blockIdx.x / tiles_n * BM, n = blockIdx.x % tiles_n * BN;
    int group = blockIdx.z % v.groups, split = blockIdx.z / v.groups;
    int k = v.p.steps();
    Steps steps(k, v.splits, split);
    PatchRows<BM, THREADS> a(v.p, v.x + group * v.p.channels, m, steps.begin);
    StepsAdjacent<BN, THREADS> b(v.w + size_t(group) * v.columns * k, k, n, v.columns, steps.begin, steps.end);
    float sum[8][8];
    tile_product<BM, BN>(a, b, steps.count(), sum);
    store_pixels<BM, BN>(v, m, n, group, split, sum);
}

/// The weight as the second operand of the gradient: steps are (tap, filter), and columns (channels) are contiguous.
template <int EXTENT, int THREADS> struct GradWeights {
    using Map = AlongExtent<EXTENT, THREADS>;
    const Convolution& v;
    const float* w; // of the group, at this thread's first channel
    int count, step, end;
    Cursor cursor[Map::PASSES];
    float quads[Map::PASSES][4];

    __device__ __forceinline__ GradWeights(const Convolution& v, int first, int group, Steps s)
        : v(v), w(v.w + size_t(group) * v.p.channels * v.weight_h * v.weight_w * v.columns + first + Map::i()),
          count(v.columns - first - Map::i()), step(s.begin), end(s.end) {
#pragma unroll
        for (int pass = 0; pass < Map::PASSES; pass++) cursor[pass] = Cursor(v.p, s.begin + Map::step(pass));
    }
    __device__ __forceinline__ void fetch() {
#pragma unroll
        for (int pass = 0; pass < Map::PASSES; pass++) {
            const Cursor& at = cursor[pass];
            int row = v.tap_h + at.tap_h * v.tap_step_h, column = v.tap_w + at.tap_w * v.tap_step_w;
            size_t tap = (size_t(at.channel) * v.weight_h + row) * v.weight_w + column;
            bool inside = step + Map::step(pass) < end;
            load_quad(quads[pass], w + tap * v.columns, inside ? count : 0, v.columns % 4 == 0);
            cursor[pass].advance(v.p, STEP);
        }
        step += STEP;
    }
    __device__ __forceinline__ void put(StepTile<EXTENT>& tile) { Map::put(quads, tile); }
};

/// `dx` at the pixels of one remainder: patches of `dy` (here `x`) times the taps that reach them. The patches'
/// channels are filters, and the columns are input channels.
template <int BM, int BN> __device__ __forceinline__ void input_grad(const Convolution& v) {
    constexpr int THREADS = Division<BM, BN>::THREADS;
    int tiles_n = (v.columns + BN - 1) / BN;
    int m = blockIdx.x / tiles_n * BM, n = blockIdx.x % tiles_n * BN;
    int group = blockIdx.z % v.groups, split = blockIdx.z / v.groups;
    Steps steps(v.p.steps(), v.splits, split);
    PatchRows<BM, THREADS> a(v.p, v.x + group * v.p.channels, m, steps.begin);
    GradWeights<BN, THREADS> b(v, n, group, steps);
    float sum[8][8];
    tile_product<BM, BN>(a, b, steps.count(), sum);
    store_pixels<BM, BN>(v, m, n, group, split, sum);
}

/// The argument of the weight gradient.
struct WeightGrad {
    Patches p;
    int groups, splits;
    int filters; // per group
    const float *x, *dy;
    float* dw; // with several splits, one result after another
};

/// `dw[o, (tap, c)] = Σ_pixel dy[pixel, o] · x[pixel @ tap, c]`.
template <int BM, int BN> __device__ __forceinline__ void weight_grad(const WeightGrad& v) {
    constexpr int THREADS = Division<BM, BN>::THREADS;
    int columns = v.p.steps(), all = v.groups * v.filters;
    int tiles_n = (columns + BN - 1) / BN;
    int m = blockIdx.x / tiles_n * BM, n = blockIdx.x % tiles_n * BN;
    int group = blockIdx.z % v.groups, split = blockIdx.z / v.groups;
    Steps steps(v.p.count(), v.splits, split);
    ExtentAdjacent<BM, THREADS> a(v.dy + group * v.filters, all, m, v.filters, steps.begin, steps.end, v.filters % 4 == 0);
    PatchColumns<BN, THREADS> b(v.p, v.x + group * v.p.channels, n, steps.begin, steps.end);
    float sum[8][8];
    tile_product<BM, BN>(a, b, steps.count(), sum);
    float* dw = v.dw + size_t(split) * all * columns;
    for_each_quad<BM, BN>(m, n, sum, [&](int row, int column, const float* sums) {
        size_t index = (size_t(group) * v.filters + row) * columns + column;
        if (row < v.filters) store_quad(dw, index, column, columns - column, sums, Epilogue(), columns % 4 == 0);
    });
}

extern "C" __global__ void __launch_bounds__(256) conv2d_forward_128x128(Convolution v) { forward<128, 128>(v); }
extern "C" __global__ void __launch_bounds__(64) conv2d_forward_64x64(Convolution v) { forward<64, 64>(v); }
extern "C" __global__ void __launch_bounds__(64) conv2d_forward_128x32(Convolution v) { forward<128, 32>(v); }
extern "C" __global__ void __launch_bounds__(256, 2) conv2d_input_grad_128x128(Convolution v) { input_grad<128, 128>(v); }
extern "C" __global__ void __launch_bounds__(64) conv2d_input_grad_64x64(Convolution v) { input_grad<64, 64>(v); }
extern "C" __global__ void __launch_bounds__(64) conv2d_input_grad_128x32(Convolution v) { input_grad<128, 32>(v); }
extern "C" __global__ void __launch_bounds__(256, 2) conv2d_weight_grad_128x128(WeightGrad v) { weight_grad<128, 128>(v); }
extern "C" __global__ void __launch_bounds__(64) conv2d_weight_grad_64x64(WeightGrad v) { weight_grad<64, 64>(v); }
extern "C" __global__ void __launch_bounds__(64) conv2d_weight_grad_128x32(WeightGrad v) { weight_grad<128, 32>(v); }
