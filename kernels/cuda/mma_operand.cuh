// The sources of the tiles of `mma_tile.cuh`: a matrix, or the windows of a convolution viewed as one.
//
// A view computes the address of element (row, k) in two parts: one for the row and one for k. One of them is the
// same in every step, so it is computed once. The other advances by the same amount each step: along the channels
// that is an addition, and only a new tap costs more.
//
//   Matrix:   row·row_step + k·k_step
//   Windows:  row = pixel → (image, i, j) → its window's corner;  k = (tap, channel) → distance from the corner
#pragma once
#include "ptx.cuh"
#include "types.cuh"

/// Division by a number known to the launcher (Granlund & Montgomery 1994): exact below 2³¹.
struct Divide {
    uint32_t by, multiplier, shift;

    __device__ __forceinline__ int operator()(int x) const { return int(uint64_t(uint32_t(x)) * multiplier >> shift); }
};

/// `Windows` in mma/windows.rs: each position reads tap elements at `(i·stride + origin + tap·dilation)` along height
/// and width. Distances may be negative.
struct Windows {
    int images, h, w, c;    // of the array that is read: [images, h, w, c]
    int rows, columns;      // positions per image
    int taps_h, taps;       // of a window, along the height and in total
    int channels;           // per tap; k = tap·channels + channel
    int stride[2], origin[2], dilation[2];
    Divide by_rows, by_columns, by_channels, by_taps_w;
};

/// An offset so far outside that no other offset brings it back into the image.
constexpr int OUTSIDE = -(1 << 30);

/// The address of an element, and whether it exists; if not, `at` is arbitrary.
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
        int ks; // zero outside
    };
    using Column = int;
    __device__ __forceinline__ Row row(int r) const { return {keep(base + int64_t(r) * row_step), r < rows ? ks : 0}; }
    __device__ __forceinline__ Column column(int k) const { return k; }
    __device__ __forceinline__ void advance(Column& k, int by) const { k += by; }
    __device__ __forceinline__ Element<T> at(Row r, Column k) const {
        return {r.start + int64_t(k) * k_step, k < r.ks};
    }
};

/// The elements of the windows: a row per position, a column per tap and channel.
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
    /// Moves from a channel past the current tap to the next tap.
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

/// The number of channels that are kept or skipped together.
constexpr int BLOCK = 16;

/// `Live` in mma/masked.rs: the filters, live ones first, and the blocks of channels that are read, or null for all.
struct Live {
    const uint32_t* filters;
    const uint32_t* blocks;
    int live;

    /// The block at position `channel` among the blocks that are read, counted contiguously.
    __device__ __forceinline__ int block(int channel) const {
        return blocks ? int(blocks[channel / BLOCK]) : channel / BLOCK;
    }
};

/// The windows' elements in the blocks that are read. A column keeps its block as loaded from the list, so that the
/// load is not awaited until the next step computes the address.
template <class T> struct LiveWindows {
    WindowView<T> all;
    const Live& l;

    using Row = typename WindowView<T>::Row;
    struct Column {
        typename WindowView<T>::Column k; // as if the blocks were contiguous
        int block;
    };
    __device__ __forceinline__ Row row(int pixel) const { return all.row(pixel); }
    __device__ __forceinline__ Column column(int i) const {
        auto k = all.column(i);
        return {k, k.channel < all.g.channels ? l.block(k.channel) : 0}; // does not read an empty list
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

/// The live filters' elements in the blocks that are read, in place.
template <class T> struct LiveFilters {
    const T* base;
    const Windows& g;
    const Live& l;

    struct Row {
        const T* start;
        int taps; // zero outside
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

/// A view with rows and columns swapped.
template <class View> struct Transposed {
    View view;
    using Row = typename View::Column;
    using Column = typename View::Row;
    __device__ __forceinline__ Row row(int r) const { return view.column(r); }
    __device__ __forceinline__ Column column(int k) const { return view.row(k); }
    __device__ __forceinline__ auto at(Row r, Column k) const { return view.at(k, r); }
};

/// Fills tiles of `Layout` from a view, one after another along k. With VECTORS it copies sixteen bytes at a time,
/// which requires that the view has that many contiguous elements at a multiple of sixteen bytes, or none of them;
/// otherwise it copies one by one, through registers.
template <class T, class Layout, class View, int THREADS, bool VECTORS> struct Loader {
    static constexpr int LANES = 16 / sizeof(T);
    static constexpr int APART = THREADS / Layout::CHUNKS; // lines between a thread's chunks
    static constexpr int EACH = Layout::LINES / APART;
    static_assert(THREADS % Layout::CHUNKS == 0 && Layout::LINES % APART == 0, "all threads have equally many chunks");
    static_assert(APART % 8 == 0, "a thread's chunks have the same XOR");

    View view;
    int first_row, line, chunk, place, k;
    typename View::Row rows[Layout::K_MAJOR ? EACH : 1];
    typename View::Column column; // of the chunks of a K_MAJOR tile

    /// Loads rows from `row` on, starting at k = `first`.
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
