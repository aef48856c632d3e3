// Loaders that read the patches of an image in place: the implicit matrix of a convolution.
//
//   row: a patch (image, row, column of the grid of patches)        step: (tap row, tap column, channel), channels first
//   element = image[patch · stride + first + tap · distance][channel], 0 outside the image
//
// A forward pass has one patch per output pixel. An input gradient has patches of `dy`: with stride s, the input
// pixels of one remainder modulo s are reached by the same taps and form their own grid, whose taps step backward.
// `Patches` describes both.
#pragma once
#include "tile_f32.cuh"

/// The patches, and the destination of their results.
struct Patches {
    int images, h, w, c; // `[images, h, w, c]`, c of all groups
    int rows, columns; // of patches, per image
    int taps_h, taps_w;
    int stride_h, stride_w; // between patches
    int tap_h, tap_w; // between taps; negative for gradients
    int first_h, first_w; // position of the first tap of the first patch
    int channels; // per group
    int out_h, out_w; // of an image of results, in which patch (row, column) is pixel
    int step_h, step_w; // (row · step_h + start_h, column · step_w + start_w)
    int start_h, start_w;

    __device__ __forceinline__ int count() const { return images * rows * columns; }
    __device__ __forceinline__ int steps() const { return taps_h * taps_w * channels; }
    /// The pixel of patch `i`'s result.
    __device__ __forceinline__ size_t pixel(int i) const {
        int column = i % columns, row = i / columns % rows, image = i / columns / rows;
        return (size_t(image) * out_h + row * step_h + start_h) * out_w + column * step_w + start_w;
    }
};

/// A step of the reduction as tap and channel.
struct Cursor {
    int channel, tap_w, tap_h;

    Cursor() = default;
    __device__ __forceinline__ Cursor(const Patches& p, int step)
        : channel(step % p.channels), tap_w(step / p.channels % p.taps_w), tap_h(step / p.channels / p.taps_w) {}
    __device__ __forceinline__ void advance(const Patches& p, int by) {
        channel += by;
        while (channel >= p.channels) {
            channel -= p.channels;
            if (++tap_w == p.taps_w) tap_w = 0, tap_h++;
        }
    }
};

/// Patches as rows of a product whose steps are contiguous in memory. If four divides the channels, quads stay within
/// a tap; otherwise each element is located separately.
template <int EXTENT, int THREADS> struct PatchRows {
    using Map = AlongSteps<EXTENT, THREADS>;
    const Patches& p;
    Cursor cursor;
    bool aligned;
    const float* image[Map::PASSES]; // null past the last patch
    int top[Map::PASSES], left[Map::PASSES]; // of the first tap
    float quads[Map::PASSES][4];

    /// Patches of `x` from `first` on, where `x` begins at the group's first channel; steps from `begin` on.
    __device__ __forceinline__ PatchRows(const Patches& p, const float* x, int first, int begin)
        : p(p), cursor(p, begin + Map::step()), aligned(p.channels % 4 == 0) {
#pragma unroll
        for (int pass = 0; pass < Map::PASSES; pass++) {
            int i = first + Map::i(pass);
            int n = i / p.columns / p.rows;
            top[pass] = i / p.columns % p.rows * p.stride_h + p.first_h;
            left[pass] = i % p.columns * p.stride_w + p.first_w;
            image[pass] = i < p.count() ? x + size_t(n) * p.h * p.w * p.c : nullptr;
        }
    }
    /// The first channel of the pixel that patch `pass` reads at `at`; null in the padding and past the end.
    __device__ __forceinline__ const float* source(int pass, const Cursor& at) const {
        int row = top[pass] + at.tap_h * p.tap_h, column = left[pass] + at.tap_w * p.tap_w;
        bool inside = image[pass] && at.tap_h < p.taps_h && unsigned(row) < unsigned(p.h) && unsigned(column) < unsigned(p.w);
        return inside ? image[pass] + size_t(row * p.w + column) * p.c : nullptr;
    }
    __device__ __forceinline__ void fetch() {
        if (aligned) {
#pragma unroll
            for (int pass = 0; pass < Map::PASSES; pass++) {
                const float* from = source(pass, cursor);
                load_quad(quads[pass], from + cursor.channel, from ? 4 : 0, true);
            }
        } else {
            Cursor at = cursor;
#pragma unroll
            for (int j = 0; j < 4; j++) {
#pragma unroll
                for (int pass = 0; pass < Map::PASSES; pass++) {
                    const float* from = source(pass, at);
                    quads[pass][j] = from ? from[at.channel] : 0;
                }
                at.advance(p, 1);
            }
        }
        cursor.advance(p, STEP);
    }
    __device__ __forceinline__ void put(StepTile<EXTENT>& tile) { Map::put(quads, tile); }
};

/// Patches as steps of a product: its columns are (tap, channel), contiguous in memory, and its steps are pixels.
template <int EXTENT, int THREADS> struct PatchColumns {
    using Map = AlongExtent<EXTENT, THREADS>;
    const Patches& p;
    const float* x; // from the group's first channel on
    Cursor first; // of this thread's four columns
    bool aligned;
    int step, end;
    int row[Map::PASSES], column[Map::PASSES], image[Map::PASSES];
    float quads[Map::PASSES][4];

    /// Columns from `first` on, steps `begin..end`.
    __device__ __forceinline__ PatchColumns(const Patches& p, const float* x, int first, int begin, int end)
        : p(p), x(x), first(p, first + Map::i()), aligned(p.channels % 4 == 0), step(begin), end(end) {
#pragma unroll
        for (int pass = 0; pass < Map::PASSES; pass++) {
            int i = begin + Map::step(pass);
            image[pass] = i / p.columns / p.rows, row[pass] = i / p.columns % p.rows, column[pass] = i % p.columns;
        }
    }
    /// The address that the patch of `pass` reads at `at`; null in the padding and past the end.
    __device__ __forceinline__ const float* source(int pass, const Cursor& at) const {
        int y = row[pass] * p.stride_h + p.first_h + at.tap_h * p.tap_h;
        int z = column[pass] * p.stride_w + p.first_w + at.tap_w * p.tap_w;
        bool inside = step + Map::step(pass) < end && at.tap_h < p.taps_h && unsigned(y) < unsigned(p.h) && unsigned(z) < unsigned(p.w);
        return inside ? x + ((size_t(image[pass]) * p.h + y) * p.w + z) * p.c + at.channel : nullptr;
    }
    __device__ __forceinline__ void fetch() {
#pragma unroll
        for (int pass = 0; pass < Map::PASSES; pass++) {
            if (aligned) {
                const float* from = source(pass, first);
                load_quad(quads[pass], from, from ? 4 : 0, true);
            } else {
                Cursor at = first;
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const float* from = source(pass, at);
                    quads[pass][j] = from ? *from : 0;
                    at.advance(p, 1);
                }
            }
            column[pass] += STEP;
            while (column[pass] >= p.columns) {
                column[pass] -= p.columns;
                if (++row[pass] == p.rows) row[pass] = 0, image[pass]++;
            }
        }
        step += STEP;
    }
    __device__ __forceinline__ void put(StepTile<EXTENT>& tile) { Map::put(quads, tile); }
};
