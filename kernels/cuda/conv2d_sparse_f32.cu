// Convolutions that compute live filters from live channels only. The loop is that of conv2d_f32.cu; lists of
// channels map the tile to memory, so that neither the image nor the weight is copied:
//
//                 pixels (rows)                    filters (columns)            steps
//   masked        all                              list of live filters,        (tap, block of 16 channels for which
//                                                  weights in place             some live filter has weights)
//   compact       all                              list of live outputs,        (tap, gathered channel), the carrier last
//                                                  weights packed
//
// A block of 16 channels is one step of the tile loop: a dead block is a skipped step, and within a live block loads
// stay 16 bytes wide. Gathered channels can lie anywhere and are loaded one by one; a list of them is short. Dead
// outputs do not depend on the image: `conv2d_dead_outputs` writes them.
#include "patches.cuh"

/// The argument of the masked and compact kernels.
struct Selected {
    Patches p; // its channels are those of the steps: 16 per live block, or the gathered ones and the carrier
    int groups, splits;
    int width; // output channels of all groups
    int inner; // input channels: of a group (masked), or those that are gathered (compact)
    int columns; // the largest number of live filters in a group
    const float *x, *w;
    float* y; // with several splits, one result after another, each `part` long
    uint64_t part;
    Epilogue end;
    const uint32_t *inputs, *outputs; // live blocks or channels; live filters, ascending
    const uint32_t* first; // the offset of each group's live filters, then the end of the last group's
};

/// Patches whose channels come in listed blocks of 16.
template <int EXTENT, int THREADS> struct BlockRows : PatchRows<EXTENT, THREADS> {
    using Map = AlongSteps<EXTENT, THREADS>;
    const uint32_t* blocks;
    int channels; // channels of the group

    __device__ __forceinline__ BlockRows(const Selected& v, const float* x, int first, int begin)
        : PatchRows<EXTENT, THREADS>(v.p, x, first, begin), blocks(v.inputs), channels(v.inner) {}
    __device__ __forceinline__ void fetch() {
        int at = this->cursor.channel, channel = blocks[at / STEP] * STEP + at % STEP;
#pragma unroll
        for (int pass = 0; pass < Map::PASSES; pass++) {
            const float* from = this->source(pass, this->cursor);
            load_quad(this->quads[pass], from + channel, from ? channels - channel : 0, channels % 4 == 0);
        }
        this->cursor.advance(this->p, STEP);
    }
};

/// Weights of listed filters, with channels in listed blocks of 16.
template <int EXTENT, int THREADS> struct BlockWeights {
    using Map = AlongSteps<EXTENT, THREADS>;
    const Selected& v;
    Cursor cursor;
    const float* row[Map::PASSES]; // null past the last filter
    float quads[Map::PASSES][4];

    /// Filters `first..end` of the list, steps from `begin` on.
    __device__ __forceinline__ BlockWeights(const Selected& v, int first, int end, int begin)
        : v(v), cursor(v.p, begin + Map::step()) {
#pragma unroll
        for (int pass = 0; pass < Map::PASSES; pass++) {
            int i = first + Map::i(pass);
            row[pass] = i < end ? v.w + size_t(v.outputs[i]) * v.p.taps_h * v.p.taps_w * v.inner : nullptr;
        }
    }
    __device__ __forceinline__ void fetch() {
        int channel = v.inputs[cursor.channel / STEP] * STEP + cursor.channel % STEP;
        int offset = (cursor.tap_h * v.p.taps_w + cursor.tap_w) * v.inner + channel;
#pragma unroll
        for (int pass = 0; pass < Map::PASSES; pass++)
            load_quad(quads[pass], row[pass] + offset, row[pass] ? v.inner - channel : 0, v.inner % 4 == 0);
        cursor.advance(v.p, STEP);
    }
    __device__ __forceinline__ void put(StepTile<EXTENT>& tile) { Map::put(quads, tile); }
};

/// Patches of listed channels. A channel past the end of the list is the carrier: 1 inside the image.
template <int EXTENT, int THREADS> struct GatheredRows : PatchRows<EXTENT, THREADS> {
    using Map = AlongSteps<EXTENT, THREADS>;
    const uint32_t* list;
    int listed;

    __device__ __forceinline__ GatheredRows(const Selected& v, int first, int begin)
        : PatchRows<EXTENT, THREADS>(v.p, v.x, first, begin), list(v.inputs), listed(v.inner) {}
    __device__ __forceinline__ void fetch() {
        Cursor at = this->cursor;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            bool carrier = at.channel >= listed;
            uint32_t channel = carrier ? 0 : list[at.channel];
#pragma unroll
            for (int pass = 0; pass < Map::PASSES; pass++) {
                const float* from = this->source(pass, at);
                this->quads[pass][j] = !from ? 0 : carrier ? 1 : from[channel];
            }
            at.advance(this->p, 1);
        }
        this->cursor.advance(this->p, STEP);
    }
};

/// The corner of a block's tile: its first patch and its first filter in the list, with the end of the group's
/// filters.
template <int BM, int BN> struct Corner {
    int m, n, end, group, split;
    __device__ __forceinline__ Corner(const Selected& v) {
        int tiles_n = (v.columns + BN - 1) / BN;
        group = blockIdx.z % v.groups, split = blockIdx.z / v.groups;
        m = blockIdx.x / tiles_n * BM;
        n = v.first[group] + blockIdx.x % tiles_n * BN;
        end = v.first[group + 1];
    }
};

/// Stores a tile at the positions in the list of outputs.
template <int BM, int BN>
__device__ __forceinline__ void scatter(const Selected& v, const Corner<BM, BN>& at, const float (&sum)[8][8]) {
    float* y = v.y + at.split * v.part;
    for_each_quad<BM, BN>(at.m, at.n, sum, [&](int row, int column, const float* sums) {
        if (row >= v.p.count()) return;
        size_t pixel = v.p.pixel(row) * v.width;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (column + j >= at.end) continue;
            uint32_t o = v.outputs[column + j];
            y[pixel + o] = v.end(sums[j], o, pixel + o);
        }
    });
}

template <int BM, int BN> __device__ __forceinline__ void masked(const Selected& v) {
    constexpr int THREADS = Division<BM, BN>::THREADS;
    Corner<BM, BN> at(v);
    if (at.n >= at.end) return; // the group has fewer live filters than another
    Steps steps(v.p.steps(), v.splits, at.split);
    BlockRows<BM, THREADS> a(v, v.x + at.group * v.inner, at.m, steps.begin);
    BlockWeights<BN, THREADS> b(v, at.n, at.end, steps.begin);
    float sum[8][8];
    tile_product<BM, BN>(a, b, steps.count(), sum);
    scatter(v, at, sum);
}

template <int BM, int BN> __device__ __forceinline__ void compact(const Selected& v) {
    constexpr int THREADS = Division<BM, BN>::THREADS;
    Corner<BM, BN> at(v);
    int k = v.p.steps();
    Steps steps(k, v.splits, at.split);
    GatheredRows<BM, THREADS> a(v, at.m, steps.begin);
    StepsAdjacent<BN, THREADS> b(v.w, k, at.n, at.end, steps.begin, steps.end);
    float sum[8][8];
    tile_product<BM, BN>(a, b, steps.count(), sum);
    scatter(v, at, sum);
}

extern "C" __global__ void __launch_bounds__(256) conv2d_masked_forward_128x128(Selected v) { masked<128, 128>(v); }
extern "C" __global__ void __launch_bounds__(64) conv2d_masked_forward_64x64(Selected v) { masked<64, 64>(v); }
extern "C" __global__ void __launch_bounds__(64) conv2d_masked_forward_128x32(Selected v) { masked<128, 32>(v); }
extern "C" __global__ void __launch_bounds__(256) conv2d_compact_forward_128x128(Selected v) { compact<128, 128>(v); }
extern "C" __global__ void __launch_bounds__(64) conv2d_compact_forward_64x64(Selected v) { compact<64, 64>(v); }
extern "C" __global__ void __launch_bounds__(64) conv2d_compact_forward_128x32(Selected v) { compact<128, 32>(v); }

/// `y = activation(bias + residual)` at the `dead` listed output channels, of `width`, of every pixel.
extern "C" __global__ void conv2d_dead_outputs(uint64_t pixels, int dead, int width, const uint32_t* list, Epilogue end,
                                               float* y) {
    uint64_t i = global_thread();
    if (i >= pixels * dead) return;
    uint32_t o = list[i % dead];
    size_t index = i / dead * width + o;
    y[index] = end(0, o, index);
}
