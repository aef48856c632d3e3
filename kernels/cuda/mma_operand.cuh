// What the tiles of `mma_tile.cuh` are filled from: a matrix, or the windows of a convolution seen as one.
//
// A view says where element (row, k) lies, in two parts: the part of its row and the part of its k. Of the two one
// stays the same from step to step, so it is worked out once. The other moves on by the same distance each step: along
// the channels that is an addition, and only a new tap takes more.
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
    int taps_h, taps;       // of a window, along the height and in all
    int channels;           // of a tap; k = tap·channels + channel
    int stride[2], origin[2], dilation[2];
    Divide by_rows, by_columns, by_channels, by_taps_w;
};

/// An offset that no sum with another brings into an image.
constexpr int OUTSIDE = -(1 << 30);

/// Where an element lies, and whether it does: if not, `at` is any address.
template <class T> struct Element {
    const T* at;
    bool there;
};

template <class T> struct Matrix {
    const T* base;
    int rows, ks;
    int row_step, k_step;

    struct Row {
        const T* start;
        int ks; // none outside
    };
    using Column = int;
    __device__ __forceinline__ Row row(int r) const { return {keep(base + int64_t(r) * row_step), r < rows ? ks : 0}; }
    __device__ __forceinline__ Column column(int k) const { return k; }
    __device__ __forceinline__ void advance(Column& k, int by) const { k += by; }
    __device__ __forceinline__ Element<T> at(Row r, Column k) const {
        return {r.start + int64_t(k) * k_step, k < r.ks};
    }
};

/// The windows' elements: a row for each position, a column for each tap and channel.
template <class T> struct WindowView {
    const T* base;
    const Windows& g;

    struct Row {
        const T* corner;
        int h, w;
    };
    struct Column {
        int channel, offset, h, w; // distances from the corner
    };
    __device__ __forceinline__ Row row(int pixel) const {
        int line = g.by_columns(pixel), image = g.by_rows(line);
        int h = (line - image * g.rows) * g.stride[0] + g.origin[0];
        int w = (pixel - line * g.columns) * g.stride[1] + g.origin[1];
        return {keep(base + ((int64_t(image) * g.h + h) * g.w + w) * g.c), image < g.images ? h : OUTSIDE, w};
    }
    __device__ __forceinline__ Column column(int k) const {
        int tap = g.by_channels(k), line = g.by_taps_w(tap), channel = k - tap * g.channels;
        int h = line * g.dilation[0], w = (tap - line * int(g.by_taps_w.by)) * g.dilation[1];
        return {channel, (h * g.w + w) * g.c + channel, tap < g.taps ? h : OUTSIDE, w};
    }
    __device__ __forceinline__ void advance(Column& k, int by) const {
        k.channel += by, k.offset += by;
        while (k.channel >= g.channels) next_tap(k);
    }
    /// From a channel past the tap's to the next tap's.
    __device__ __forceinline__ void next_tap(Column& k) const {
        int step = g.dilation[1], width = int(g.by_taps_w.by) * step;
        k.channel -= g.channels;
        k.w += step, k.offset += step * g.c - g.channels;
        if (k.w != width) return;
        k.w = 0, k.h += g.dilation[0];
        k.offset += (g.dilation[0] * g.w - width) * g.c;
        if (k.h == g.taps_h * g.dilation[0]) k.h = OUTSIDE;
    }
    __device__ __forceinline__ Element<T> at(Row r, Column k) const {
        bool inside = uint32_t(r.h + k.h) < uint32_t(g.h) && uint32_t(r.w + k.w) < uint32_t(g.w);
        return {r.corner + k.offset, inside};
    }
};

/// Channels come in blocks of as many where some are left out.
constexpr int BLOCK = 16;

/// As `Live` in the launchers: the filters, live ones first, and the blocks of channels that are read; null: all.
struct Live {
    const uint32_t* filters;
    const uint32_t* blocks;
    int live;

    /// The block behind position `channel` of those that are read, side by side.
    __device__ __forceinline__ int block(int channel) const {
        return blocks ? int(blocks[channel / BLOCK]) : channel / BLOCK;
    }
};

/// The windows' elements of the blocks that are read. A column keeps its block as the list has it, so that the load is
/// waited for a step later, when the address is made.
template <class T> struct LiveWindows {
    WindowView<T> all;
    const Live& l;

    using Row = typename WindowView<T>::Row;
    struct Column {
        typename WindowView<T>::Column k; // as if the blocks lay side by side
        int block;
    };
    __device__ __forceinline__ Row row(int pixel) const { return all.row(pixel); }
    __device__ __forceinline__ Column column(int i) const {
        auto k = all.column(i);
        return {k, k.channel < all.g.channels ? l.block(k.channel) : 0}; // not where the list is empty
    }
    __device__ __forceinline__ void advance(Column& column, int by) const {
        all.advance(column.k, by);
        column.block = l.block(column.k.channel);
    }
    __device__ __forceinline__ Element<T> at(Row r, Column column) const {
        column.k.offset += (column.block - column.k.channel / BLOCK) * BLOCK;
        return all.at(r, column.k);
    }
};

/// The live filters' elements of the blocks that are read, in place.
template <class T> struct LiveFilters {
    const T* base;
    const Windows& g;
    const Live& l;

    struct Row {
        const T* start;
        int taps; // none outside
    };
    struct Column {
        int tap, channel, block;
    };
    __device__ __forceinline__ Row row(int r) const {
        return r < l.live ? Row{base + int64_t(l.filters[r]) * g.taps * g.c, g.taps} : Row{base, 0};
    }
    __device__ __forceinline__ Column column(int k) const {
        int tap = g.by_channels(k), channel = k - tap * g.channels;
        return {tap, channel, channel < g.channels ? l.block(channel) : 0};
    }
    __device__ __forceinline__ void advance(Column& k, int by) const {
        k.channel += by;
        for (; k.channel >= g.channels; k.tap++) k.channel -= g.channels;
        k.block = l.block(k.channel);
    }
    __device__ __forceinline__ Element<T> at(Row r, Column k) const {
        return {r.start + k.tap * g.c + k.block * BLOCK + k.channel % BLOCK, k.tap < r.taps};
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

/// Fills tiles of `Layout` from a view, one after another along k. With VECTORS sixteen bytes at a time, where the view
/// has as many elements side by side at a multiple of sixteen bytes, or none of them; else one by one, through
/// registers.
template <class T, class Layout, class View, int THREADS, bool VECTORS> struct Loader {
    static constexpr int LANES = 16 / sizeof(T);
    static constexpr int APART = THREADS / Layout::CHUNKS; // lines between a thread's chunks
    static constexpr int EACH = Layout::LINES / APART;
    static_assert(THREADS % Layout::CHUNKS == 0 && Layout::LINES % APART == 0, "every thread has as many chunks");
    static_assert(APART % 8 == 0, "which are turned alike");

    View view;
    int first_row, line, chunk, place, k;
    typename View::Row rows[Layout::K_MAJOR ? EACH : 1];
    typename View::Column column; // of a K_MAJOR tile's chunks

    /// Of rows from `row` on, beginning at `first`.
    __device__ __forceinline__ Loader(View v, int row, int first)
        : view(v), first_row(row), line(threadIdx.x / Layout::CHUNKS), chunk(threadIdx.x % Layout::CHUNKS),
          place(keep(Layout::offset(line, chunk))), k(first) {
        if constexpr (Layout::K_MAJOR) {
            column = view.column(k + chunk * LANES);
#pragma unroll
            for (int i = 0; i < EACH; i++) rows[i] = view.row(row + line + i * APART);
        } else {
            rows[0] = view.row(row + chunk * LANES);
        }
    }

    /// Element `lane` of the thread's chunk `i` of the next tile.
    __device__ __forceinline__ Element<T> at(int i, int lane) const {
        if constexpr (Layout::K_MAJOR)
            return view.at(rows[i], VECTORS ? column : view.column(k + chunk * LANES + lane));
        auto row = VECTORS ? rows[0] : view.row(first_row + chunk * LANES + lane);
        return view.at(row, view.column(k + line + i * APART));
    }

    __device__ __forceinline__ void fetch(unsigned char* tile) {
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            unsigned char* to = tile + place + i * APART * Layout::LINE_BYTES;
            if constexpr (VECTORS) {
                Element<T> from = at(i, 0);
                copy_async(to, from.at, from.there);
            } else {
                Vector<T> chunk;
#pragma unroll
                for (int lane = 0; lane < LANES; lane++)
                    if (Element<T> from = at(i, lane); from.there) chunk.lanes[lane] = *from.at;
                chunk.store((T*)to);
            }
        }
        k += Layout::STEP;
        if constexpr (Layout::K_MAJOR && VECTORS) view.advance(column, Layout::STEP);
    }
};
