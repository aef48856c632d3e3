// Depthwise convolution of f32 images: each channel has its own filter, so there is no matrix product, and memory is
// the only bottleneck.
//
//   forward, input grad    thread: one channel of 4 pixels of a row
//     for tap
//       load its weight once; for pixel: sum[pixel] += image · weight
//   weight grad            block: 32 channels, a range of pixels; warp: every 8th pixel; lane: one channel
//     for 256 pixels, which fit the first-level cache
//       for tap: sums[tap] += Σ x · dy of the warp's 32 pixels
//
// Channels run along the lanes, so a warp reads and writes 128 bytes at a time, regardless of the stride. Taps of
// neighboring pixels overlap, and the first-level cache serves repeated reads, as well as the small weight
// `[C, KH, KW]`. Each range of pixels has a partial weight gradient; `sum_parts` adds them in order.
#include "epilogue.cuh"

/// The geometry (`Geometry` in simt/depthwise.rs).
struct Depthwise {
    int n, h, w, c, oh, ow, kh, kw;
    int stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
};

/// Pixels of a row that share the load of a weight.
constexpr int PIXELS = 4;

/// A thread's channel and the first of its `PIXELS` pixels; channels vary fastest.
struct Site {
    int channel, column, row, image;
    __device__ __forceinline__ Site(const Depthwise& g, int rows, int columns) {
        uint64_t i = global_thread();
        int groups = (columns + PIXELS - 1) / PIXELS;
        channel = i % g.c, i /= g.c;
        column = i % groups * PIXELS, i /= groups;
        row = i % rows, image = i / rows; // may be past the last image in the last block
    }
};

/// `y = activation(x ∗ w + bias + residual)`.
extern "C" __global__ void __launch_bounds__(256) depthwise_forward(Depthwise g, const float* x, const float* w,
                                                                    Epilogue end, float* y) {
    Site at(g, g.oh, g.ow);
    if (at.image >= g.n) return;
    float sum[PIXELS] = {};
    for (int kh = 0; kh < g.kh; kh++) {
        int row = at.row * g.stride_h - g.padding_h + kh * g.dilation_h;
        if (unsigned(row) >= unsigned(g.h)) continue;
        const float* line = x + (size_t(at.image) * g.h + row) * g.w * g.c + at.channel;
        for (int kw = 0; kw < g.kw; kw++) {
            float weight = w[(at.channel * g.kh + kh) * g.kw + kw];
#pragma unroll
            for (int i = 0; i < PIXELS; i++) {
                int column = (at.column + i) * g.stride_w - g.padding_w + kw * g.dilation_w;
                if (unsigned(column) < unsigned(g.w)) sum[i] += line[size_t(column) * g.c] * weight;
            }
        }
    }
    size_t first = ((size_t(at.image) * g.oh + at.row) * g.ow + at.column) * g.c + at.channel;
#pragma unroll
    for (int i = 0; i < PIXELS; i++) {
        size_t index = first + size_t(i) * g.c;
        if (at.column + i < g.ow) y[index] = end(sum[i], at.channel, index);
    }
}

/// The output that reads position `at` (of the padded image, minus the tap's offset); −1 if the stride skips it.
__device__ __forceinline__ int reader(int at, int stride, int outputs) {
    int output = stride == 1 ? at : at >= 0 && at % stride == 0 ? at / stride : -1;
    return output < outputs ? output : -1;
}

/// `dx = Σ_tap dy · w` over the outputs that read the pixel.
extern "C" __global__ void __launch_bounds__(256) depthwise_input_grad(Depthwise g, const float* dy, const float* w,
                                                                       float* dx) {
    Site at(g, g.h, g.w);
    if (at.image >= g.n) return;
    float sum[PIXELS] = {};
    for (int kh = 0; kh < g.kh; kh++) {
        int row = reader(at.row + g.padding_h - kh * g.dilation_h, g.stride_h, g.oh);
        if (row < 0) continue;
        const float* line = dy + (size_t(at.image) * g.oh + row) * g.ow * g.c + at.channel;
        for (int kw = 0; kw < g.kw; kw++) {
            float weight = w[(at.channel * g.kh + kh) * g.kw + kw];
#pragma unroll
            for (int i = 0; i < PIXELS; i++) {
                int column = reader(at.column + i + g.padding_w - kw * g.dilation_w, g.stride_w, g.ow);
                if (column >= 0) sum[i] += line[size_t(column) * g.c] * weight;
            }
        }
    }
    size_t first = ((size_t(at.image) * g.h + at.row) * g.w + at.column) * g.c + at.channel;
#pragma unroll
    for (int i = 0; i < PIXELS; i++)
        if (at.column + i < g.w) dx[first + size_t(i) * g.c] = sum[i];
}

/// Warps per block of the weight gradient, and the pixels that it processes before moving on to the next tap.
constexpr int WARPS = 8, CHUNK = 256;

/// An output pixel; `advance` moves it by `WARPS` pixels.
struct Pixel {
    int column, row, image;
    __device__ __forceinline__ Pixel(const Depthwise& g, int i)
        : column(i % g.ow), row(i / g.ow % g.oh), image(i / g.ow / g.oh) {}
    __device__ __forceinline__ void advance(const Depthwise& g) {
        column += WARPS;
        while (column >= g.ow) {
            column -= g.ow;
            if (++row == g.oh) row = 0, image++;
        }
    }
};

/// `Σ x · dy` for a tap and channel, over every `WARPS`th pixel from `i` to `end`.
__device__ __forceinline__ float tap_sum(const Depthwise& g, const float* x, const float* dy, int kh, int kw, int channel,
                                         int i, int end) {
    float sum = 0;
    for (Pixel at(g, i); i < end; i += WARPS, at.advance(g)) {
        int row = at.row * g.stride_h - g.padding_h + kh * g.dilation_h;
        int column = at.column * g.stride_w - g.padding_w + kw * g.dilation_w;
        if (unsigned(row) >= unsigned(g.h) || unsigned(column) >= unsigned(g.w)) continue;
        sum += x[((size_t(at.image) * g.h + row) * g.w + column) * g.c + channel] * dy[size_t(i) * g.c + channel];
    }
    return sum;
}

/// `dw[part][channel][tap]` over the `each` pixels of a part. Shared memory holds `[KH·KW, 256]` sums, per tap and
/// thread.
extern "C" __global__ void __launch_bounds__(256) depthwise_weight_grad(Depthwise g, int each, const float* x,
                                                                        const float* dy, float* dw) {
    auto* sums = &shared_memory<float[256]>(); // per tap
    int warp = threadIdx.x / 32, taps = g.kh * g.kw;
    int channel = blockIdx.x * 32 + threadIdx.x % 32;
    int pixels = g.n * g.oh * g.ow;
    int begin = blockIdx.y * each, end = min(begin + each, pixels);
    for (int tap = 0; tap < taps; tap++) sums[tap][threadIdx.x] = 0;
    for (int chunk = begin; chunk < end && channel < g.c; chunk += CHUNK)
        for (int tap = 0; tap < taps; tap++)
            sums[tap][threadIdx.x] +=
                tap_sum(g, x, dy, tap / g.kw, tap % g.kw, channel, chunk + warp, min(chunk + CHUNK, end));
    __syncthreads();
    if (channel >= g.c) return;
    for (int tap = warp; tap < taps; tap += WARPS) {
        float sum = 0;
        for (int from = 0; from < WARPS; from++) sum += sums[tap][from * 32 + threadIdx.x % 32];
        dw[(size_t(blockIdx.y) * g.c + channel) * taps + tap] = sum;
    }
}
