// What the tiles of `mma_tile.cuh` are filled from: a matrix, or the windows of a convolution seen as one.
//
// A view says where element (row, k) lies, in two parts: the part of its row and the part of its k. Of the two one
// stays the same from step to step, so it is worked out once.
//
//   Matrix:   row·row_step + k·k_step
//   Windows:  row = pixel → (image, i, j) → its window's corner;  k = (tap, channel) → distance from the corner
#pragma once
#include "ptx.cuh"
#include "types.cuh"

/// Division by a number that the launcher knows (Granlund & Montgomery 1994): exact below 2³¹.
struct Divide {
    uint32_t by, multiplier, shift;

    __device__ __forceinline__ int operator()(int x) const { return int(uint64_t(uint32_t(x)) * multiplier >> shift); }
};

/// As `Windows` in the launchers: which element each tap reads from each position,
/// `(i·stride + origin + tap·dilation)` along height and width. Distances may be negative.
struct Windows {
    int images, h, w, c;    // of the array that is read: [images, h, w, c]
    int rows, columns;      // positions in an image
    int taps, channels;     // of a window; k = tap·channels + channel
    int stride[2], origin[2], dilation[2];
    Divide by_rows, by_columns, by_channels, by_taps_w;
};

/// An offset that no sum with another brings into an image.
constexpr int OUTSIDE = -(1 << 30);

template <class T> struct Matrix {
    const T* base;
    int rows, ks;
    int64_t row_step, k_step;

    struct Row {
        int64_t offset; // negative: outside
    };
    using Column = Row;
    __device__ __forceinline__ Row row(int r) const { return {r < rows ? r * row_step : -1}; }
    __device__ __forceinline__ Column column(int k) const { return {k < ks ? k * k_step : -1}; }
    /// The element's address, or null outside.
    __device__ __forceinline__ const T* at(Row r, Column k) const {
        return (r.offset | k.offset) < 0 ? nullptr : base + r.offset + k.offset;
    }
};

/// The windows' elements: a row for each position, a column for each tap and channel.
template <class T> struct WindowView {
    const T* base;
    const Windows& g;

    struct Row {
        int64_t corner;
        int h, w;
    };
    struct Column {
        int offset, h, w;
    };
    __device__ __forceinline__ Row row(int pixel) const {
        int line = g.by_columns(pixel), image = g.by_rows(line);
        int h = (line - image * g.rows) * g.stride[0] + g.origin[0];
        int w = (pixel - line * g.columns) * g.stride[1] + g.origin[1];
        return {((int64_t(image) * g.h + h) * g.w + w) * g.c, image < g.images ? h : OUTSIDE, w};
    }
    __device__ __forceinline__ Column column(int k) const {
        int tap = g.by_channels(k), line = g.by_taps_w(tap);
        int h = line * g.dilation[0], w = (tap - line * int(g.by_taps_w.by)) * g.dilation[1];
        return {(h * g.w + w) * g.c + (k - tap * g.channels), tap < g.taps ? h : OUTSIDE, w};
    }
    __device__ __forceinline__ const T* at(Row r, Column k) const {
        bool inside = uint32_t(r.h + k.h) < uint32_t(g.h) && uint32_t(r.w + k.w) < uint32_t(g.w);
        return inside ? base + r.corner + k.offset : nullptr;
    }
};

/// Channels come in blocks of as many where some are left out.
constexpr int BLOCK = 16;

/// As `Live` in the launchers: the filters, live ones first, and the blocks of channels that are read; null: all.
struct Live {
    const uint32_t* filters;
    const uint32_t* blocks;
    int live;

    /// The channel behind position `channel` of the blocks side by side.
    __device__ __forceinline__ int channel(int channel) const {
        return blocks ? int(blocks[channel / BLOCK]) * BLOCK + channel % BLOCK : channel;
    }
};

/// The windows' elements of the blocks that are read.
template <class T> struct LiveWindows {
    WindowView<T> all;
    const Live& l;

    using Row = typename WindowView<T>::Row;
    using Column = typename WindowView<T>::Column;
    __device__ __forceinline__ Row row(int pixel) const { return all.row(pixel); }
    __device__ __forceinline__ Column column(int k) const {
        Column column = all.column(k);
        if (column.h == OUTSIDE) return column;
        int channel = k - all.g.by_channels(k) * all.g.channels;
        column.offset += l.channel(channel) - channel;
        return column;
    }
    __device__ __forceinline__ const T* at(Row r, Column k) const { return all.at(r, k); }
};

/// The live filters' elements of the blocks that are read, in place.
template <class T> struct LiveFilters {
    const T* base;
    const Windows& g;
    const Live& l;

    struct Row {
        int64_t offset; // negative: outside
    };
    using Column = Row;
    __device__ __forceinline__ Row row(int r) const {
        return {r < l.live ? int64_t(l.filters[r]) * g.taps * g.c : -1};
    }
    __device__ __forceinline__ Column column(int k) const {
        int tap = g.by_channels(k);
        return {tap < g.taps ? int64_t(tap) * g.c + l.channel(k - tap * g.channels) : -1};
    }
    __device__ __forceinline__ const T* at(Row r, Column k) const {
        return (r.offset | k.offset) < 0 ? nullptr : base + r.offset + k.offset;
    }
};

/// A view with rows and columns exchanged.
template <class View> struct Transposed {
    View view;
    using Row = typename View::Column;
    using Column = typename View::Row;
    __device__ __forceinline__ Row row(int r) const { return view.column(r); }
    __device__ __forceinline__ Column column(int k) const { return view.row(k); }
    __device__ __forceinline__ auto at(Row r, Column k) const { return view.at(k, r); }
};

/// Fills tiles of `Layout` from a view. With VECTORS sixteen bytes at a time, where the view has as many elements side
/// by side at a multiple of sixteen bytes, or none of them; else one by one, through registers.
template <class T, class Layout, class View, int THREADS, bool VECTORS> struct Loader {
    static constexpr int LANES = 16 / sizeof(T);
    static constexpr int APART = THREADS / Layout::CHUNKS; // lines between a thread's chunks
    static constexpr int EACH = Layout::LINES / APART;
    static_assert(THREADS % Layout::CHUNKS == 0 && Layout::LINES % APART == 0, "every thread has as many chunks");

    View view;
    const void* base; // any address that may be read: what is outside names it
    int first_row, line, chunk;
    typename View::Row rows[Layout::K_MAJOR ? EACH : 1];

    __device__ __forceinline__ Loader(View v, const void* b, int row)
        : view(v), base(b), first_row(row), line(threadIdx.x / Layout::CHUNKS), chunk(threadIdx.x % Layout::CHUNKS) {
        if constexpr (Layout::K_MAJOR) {
#pragma unroll
            for (int i = 0; i < EACH; i++) rows[i] = view.row(row + line + i * APART);
        } else {
            rows[0] = view.row(row + chunk * LANES);
        }
    }

    /// Element `lane` of the thread's chunk `i` of the tile at `k`.
    __device__ __forceinline__ const T* at(int i, int k, int lane) const {
        if constexpr (Layout::K_MAJOR) return view.at(rows[i], view.column(k + chunk * LANES + lane));
        auto row = VECTORS ? rows[0] : view.row(first_row + chunk * LANES + lane);
        return view.at(row, view.column(k + line + i * APART));
    }

    __device__ __forceinline__ void fetch(unsigned char* tile, int k) const {
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            unsigned char* to = tile + Layout::offset(line + i * APART, chunk);
            if constexpr (VECTORS) {
                const T* from = at(i, k, 0);
                copy_async(to, from ? from : base, from != nullptr);
            } else {
                Vector<T> chunk;
#pragma unroll
                for (int lane = 0; lane < LANES; lane++)
                    if (const T* from = at(i, k, lane)) chunk.lanes[lane] = *from;
                chunk.store((T*)to);
            }
        }
    }
};
