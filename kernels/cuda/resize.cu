// Resizing of images `[n, h, w, c]` to `[n, oh, ow, c]`: each output row is a weighted sum of at most two input rows, and so
// is each column. The weights are those of shapes/resize.rs, computed in double precision where they are needed.
//
//   forward    thread: a piece of an output pixel, the sum of at most four input pixels
//   gradient   thread: a piece of an input pixel, the sum over the output pixels that read it, which lie around its place
#include "pieces.cuh"

/// One axis (`Axis` in ops/resize.rs).
struct Axis {
    uint32_t size, out;
    int mode;        // nearest, linear, or zeros in between
    int coordinates; // half pixels, asymmetric, or aligned corners
    int rounding;    // down, up, halves down, halves up
    uint32_t stride;
};

/// At most two input rows with their weights.
struct Taps {
    uint32_t row[2];
    float weight[2];

    __device__ __forceinline__ Taps(const Axis& a, uint32_t i) : row{0, 0}, weight{0, 0} {
        if (a.mode == 2) {
            row[0] = i / a.stride;
            weight[0] = i % a.stride == 0;
            return;
        }
        double size = a.size, out = a.out, last = size - 1, at;
        if (a.coordinates == 0)
            at = (i + 0.5) * size / out - 0.5;
        else if (a.coordinates == 1)
            at = i * size / out;
        else
            at = a.out == 1 ? 0 : i * last / (out - 1);
        if (a.mode == 0) {
            double to = a.rounding == 0   ? floor(at)
                        : a.rounding == 1 ? ceil(at)
                        : a.rounding == 2 ? ceil(at - 0.5)
                                          : floor(at + 0.5);
            row[0] = uint32_t(to < 0 ? 0 : to > last ? last : to);
            weight[0] = 1;
            return;
        }
        at = at < 0 ? 0 : at > last ? last : at;
        double first = floor(at);
        float share = float(at - first);
        row[0] = uint32_t(first);
        weight[0] = 1 - share;
        if (share > 0) {
            row[1] = row[0] + 1;
            weight[1] = share;
        }
    }

    /// The weight of input row `p`.
    __device__ __forceinline__ float of(uint32_t p) const {
        return (row[0] == p ? weight[0] : 0) + (row[1] == p ? weight[1] : 0);
    }
};

/// The output rows among which all those lie that read input row `p`.
struct Around {
    uint32_t first, end;

    __device__ __forceinline__ Around(const Axis& a, uint32_t p) {
        double scale = double(a.out) / a.size, margin = 2.5;
        double low = floor((p - margin) * scale) - 1, high = ceil((p + margin) * scale) + 2;
        first = uint32_t(low < 0 ? 0 : low);
        end = uint32_t(high > a.out ? a.out : high);
    }
};

/// `ResizeArg` in ops/resize.rs.
struct Resize {
    uint32_t n, c;
    Axis rows, cols;
};

/// `y[n, i, j, c] = Σ rows[i, p]·cols[j, q]·x[n, p, q, c]`.
extern "C" __global__ void __launch_bounds__(256) resize_forward(int type, Resize g, const void* x, void* y) {
    with_lanes(type, g.c, [&](auto t, auto lanes) {
        using T = decltype(t);
        constexpr int N = decltype(lanes)::VALUE;
        uint32_t pieces = g.c / N;
        uint64_t pixel = global_thread() / pieces, line = pixel / g.cols.out, image = line / g.rows.out;
        if (image >= g.n) return;
        uint32_t channel = uint32_t(global_thread() % pieces) * N;
        Taps rows(g.rows, uint32_t(line % g.rows.out)), cols(g.cols, uint32_t(pixel % g.cols.out));
        Piece<T, N> sum = {};
        for (int p = 0; p < 2; p++) {
            for (int q = 0; q < 2; q++) {
                float weight = rows.weight[p] * cols.weight[q];
                if (rows.weight[p] == 0 || cols.weight[q] == 0) continue;
                uint64_t from = (image * g.rows.size + rows.row[p]) * g.cols.size + cols.row[q];
                auto in = Piece<T, N>::load((const T*)x + from * g.c + channel);
#pragma unroll
                for (int i = 0; i < N; i++) sum.lane[i] += weight * in.lane[i];
            }
        }
        sum.store((T*)y + pixel * g.c + channel);
    });
}

/// The gradient.
extern "C" __global__ void __launch_bounds__(256) resize_input_grad(int type, Resize g, const void* dy, void* dx) {
    with_lanes(type, g.c, [&](auto t, auto lanes) {
        using T = decltype(t);
        constexpr int N = decltype(lanes)::VALUE;
        uint32_t pieces = g.c / N;
        uint64_t pixel = global_thread() / pieces, line = pixel / g.cols.size, image = line / g.rows.size;
        if (image >= g.n) return;
        uint32_t channel = uint32_t(global_thread() % pieces) * N;
        uint32_t p = uint32_t(line % g.rows.size), q = uint32_t(pixel % g.cols.size);
        Around rows(g.rows, p), cols(g.cols, q);
        Piece<T, N> sum = {};
#pragma unroll 1
        for (uint32_t i = rows.first; i < rows.end; i++) {
            float row = Taps(g.rows, i).of(p);
            if (row == 0) continue;
#pragma unroll 1
            for (uint32_t j = cols.first; j < cols.end; j++) {
                float col = Taps(g.cols, j).of(q);
                if (col == 0) continue;
                uint64_t from = (image * g.rows.out + i) * g.cols.out + j;
                auto upper = Piece<T, N>::load((const T*)dy + from * g.c + channel);
#pragma unroll
                for (int k = 0; k < N; k++) sum.lane[k] += row * col * upper.lane[k];
            }
        }
        sum.store((T*)dx + pixel * g.c + channel);
    });
}
