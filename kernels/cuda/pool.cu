// Maximum and average pooling over any windows, and their gradients. `x` is `[N, H, W, C]`, `y` is `[N, OH, OW, C]`.
//
//   forward       thread: one y[n, i, j, N channels] ─ for the pixels of window (i, j): fold x
//   input grad    thread: one x[n, h, w, N channels] ─ for the windows that hold pixel (h, w): add dy's share
//
// A thread owns sixteen bytes of neighboring channels if `C` is divisible, so a warp reads whole lines; windows
// overlap, and neighbors' repeated reads come from the first-level cache. The gradient gathers: each element of dx
// has one owner, which adds in the order of the windows, so there are no atomics and every run gives the same bits.
// The max gradient recomputes each window's maximum instead of storing an index per output: a 3×3 window is nine
// cached reads. Loops over windows are not unrolled: eight channels of sums, maxima and positions fill 64 registers,
// and 1024 threads per multiprocessor hide the latency better than an unrolled loop that spills.
#include "pieces.cuh"

/// One axis of a pooling: `in` pixels, `out` windows. Windows have fixed steps, or are adaptive if `kernel` is 0:
/// window `i` is then `⌊i·in/out⌋ .. ⌈(i+1)·in/out⌉`; the launchers make sure that the products fit.
struct Axis {
    uint32_t in, out, kernel, stride, padding;
};

/// `PoolingArg` in ops/pool.rs.
struct Pooling {
    uint32_t n, c;
    Axis rows, cols;
    uint32_t count_padding; // an average divides by the whole window, including padding
};

struct Range {
    uint32_t begin, end;
};

/// The pixels of window `i`, without padding.
__device__ __forceinline__ Range pixels(const Axis& a, uint32_t i) {
    if (a.kernel == 0) return {i * a.in / a.out, ((i + 1) * a.in + a.out - 1) / a.out};
    uint32_t start = i * a.stride;
    return {start > a.padding ? start - a.padding : 0, min(start + a.kernel - a.padding, a.in)};
}

/// The windows that contain pixel `p`: with fixed steps, those with `i·stride ≤ p + padding < i·stride + kernel`.
/// Adaptive windows are their own inverse, with `in` and `out` swapped.
__device__ __forceinline__ Range windows(const Axis& a, uint32_t p) {
    if (a.kernel == 0) return pixels({a.out, a.in, 0, 0, 0}, p);
    uint32_t at = p + a.padding;
    return {at < a.kernel ? 0 : (at - a.kernel) / a.stride + 1, min(at / a.stride + 1, a.out)};
}

/// The extent of window `i` along one axis; with `count_padding`, its length minus the part beyond the far padding.
__device__ __forceinline__ uint32_t extent(const Axis& a, uint32_t i, bool count_padding) {
    if (count_padding) return min(a.kernel, a.in + 2 * a.padding - i * a.stride);
    Range r = pixels(a, i);
    return r.end - r.begin;
}

/// The weight of each pixel of window `(i, j)` in its mean.
__device__ __forceinline__ float window_share(const Pooling& g, uint32_t i, uint32_t j) {
    return 1 / (float(extent(g.rows, i, g.count_padding)) * extent(g.cols, j, g.count_padding));
}

/// A thread's position in `[N, height, width, C]`, with N channels per thread.
struct Spot {
    uint32_t image, row, col, channel;
    bool inside;

    __device__ __forceinline__ Spot(const Pooling& g, uint32_t height, uint32_t width, uint32_t lanes) {
        uint32_t pieces = g.c / lanes;
        uint64_t pixel = global_thread() / pieces;
        channel = uint32_t(global_thread() % pieces) * lanes;
        col = uint32_t(pixel % width);
        uint64_t line = pixel / width;
        row = uint32_t(line % height);
        image = uint32_t(line / height);
        inside = image < g.n;
    }
};

/// The offset of pixel `(row, col)` of `image` in `[N, height, width, c]`.
__device__ __forceinline__ uint64_t offset_of(uint32_t image, uint32_t row, uint32_t col, uint32_t height,
                                              uint32_t width, uint32_t c) {
    return ((uint64_t(image) * height + row) * width + col) * c;
}

/// The largest value of each window and its offset, in pixels of the image: ties go to the first, and a NaN beats
/// all.
template <class T, int N>
__device__ __forceinline__ void window_max(const Pooling& g, const T* x, const Spot& at, Range rows, Range cols,
                                           Piece<T, N>& best, uint32_t (&where)[N]) {
    bool first = true;
    for (uint32_t row = rows.begin; row < rows.end; row++) {
#pragma unroll 1
        for (uint32_t col = cols.begin; col < cols.end; col++) {
            auto in = Piece<T, N>::load(x + offset_of(at.image, row, col, g.rows.in, g.cols.in, g.c) + at.channel);
#pragma unroll
            for (int i = 0; i < N; i++) {
                float value = in.lane[i];
                if (first || value > best.lane[i] || value != value) {
                    best.lane[i] = value;
                    where[i] = row * g.cols.in + col;
                }
            }
            first = false;
        }
    }
}

/// The largest value of each window, ignoring padding.
extern "C" __global__ void __launch_bounds__(256) max_pool_forward(int type, Pooling g, const void* x, void* y) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Spot at(g, g.rows.out, g.cols.out, N);
        if (!at.inside) return;
        Piece<T, N> best = {};
        uint32_t where[N];
        window_max<T, N>(g, (const T*)x, at, pixels(g.rows, at.row), pixels(g.cols, at.col), best, where);
        best.store((T*)y + global_thread() * N);
    });
}

/// Passes each gradient to the largest pixel of its window.
extern "C" __global__ void __launch_bounds__(256)
    max_pool_input_grad(int type, Pooling g, const void* x, const void* dy, void* dx) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Spot at(g, g.rows.in, g.cols.in, N);
        if (!at.inside) return;
        Piece<T, N> sum = {};
        Range rows = windows(g.rows, at.row), cols = windows(g.cols, at.col);
        for (uint32_t row = rows.begin; row < rows.end; row++) {
#pragma unroll 1
            for (uint32_t col = cols.begin; col < cols.end; col++) {
                Piece<T, N> best = {};
                uint32_t where[N];
                window_max<T, N>(g, (const T*)x, at, pixels(g.rows, row), pixels(g.cols, col), best, where);
                uint64_t offset = offset_of(at.image, row, col, g.rows.out, g.cols.out, g.c) + at.channel;
                auto d = Piece<T, N>::load((const T*)dy + offset);
#pragma unroll
                for (int i = 0; i < N; i++) {
                    if (where[i] == at.row * g.cols.in + at.col) sum.lane[i] += d.lane[i];
                }
            }
        }
        sum.store((T*)dx + global_thread() * N);
    });
}

/// The mean of each window: each row is summed separately, which keeps large windows accurate.
extern "C" __global__ void __launch_bounds__(256) avg_pool_forward(int type, Pooling g, const void* x, void* y) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Spot at(g, g.rows.out, g.cols.out, N);
        if (!at.inside) return;
        Piece<T, N> sum = {};
        Range rows = pixels(g.rows, at.row), cols = pixels(g.cols, at.col);
        for (uint32_t row = rows.begin; row < rows.end; row++) {
            Piece<T, N> line = {};
            for (uint32_t col = cols.begin; col < cols.end; col++) {
                uint64_t offset = offset_of(at.image, row, col, g.rows.in, g.cols.in, g.c) + at.channel;
                auto in = Piece<T, N>::load((const T*)x + offset);
#pragma unroll
                for (int i = 0; i < N; i++) line.lane[i] += in.lane[i];
            }
#pragma unroll
            for (int i = 0; i < N; i++) sum.lane[i] += line.lane[i];
        }
        float share = window_share(g, at.row, at.col);
#pragma unroll
        for (int i = 0; i < N; i++) sum.lane[i] *= share;
        sum.store((T*)y + global_thread() * N);
    });
}

/// Spreads each gradient evenly over its window.
extern "C" __global__ void __launch_bounds__(256) avg_pool_input_grad(int type, Pooling g, const void* dy, void* dx) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Spot at(g, g.rows.in, g.cols.in, N);
        if (!at.inside) return;
        Piece<T, N> sum = {};
        Range rows = windows(g.rows, at.row), cols = windows(g.cols, at.col);
        for (uint32_t row = rows.begin; row < rows.end; row++) {
#pragma unroll 1
            for (uint32_t col = cols.begin; col < cols.end; col++) {
                uint64_t offset = offset_of(at.image, row, col, g.rows.out, g.cols.out, g.c) + at.channel;
                auto d = Piece<T, N>::load((const T*)dy + offset);
                float share = window_share(g, row, col);
#pragma unroll
                for (int i = 0; i < N; i++) sum.lane[i] += d.lane[i] * share;
            }
        }
        sum.store((T*)dx + global_thread() * N);
    });
}
