// Operations that move channels: concatenation, gathering and the parameter-free residual shortcut. They only copy, so the
// element type does not matter (except for the sums of a gathering's gradient): a thread moves a unit of 16, 4 or 2 bytes, the largest that divides every row and
// every piece of a row. All sizes along channels are counted in units.
//
//   thread: one unit of the output ◀─ copy ─ one unit of the input, or zero
//
// Neighboring threads write neighboring units; reads are contiguous within a piece.
#include "types.cuh"

/// Calls `f` with a value whose type has `bytes` bytes.
template <class F> __device__ __forceinline__ void with_unit(int bytes, F f) {
    switch (bytes) {
    case 16: f(uint4()); break;
    case 4: f(uint32_t()); break;
    case 2: f(uint16_t()); break;
    }
}

/// Copies `c` units of each of `rows` rows, from offset `from_start` in rows of `from_width` to offset `to_start` in
/// rows of `to_width`.
extern "C" __global__ void __launch_bounds__(256)
    copy_channels(int unit, uint64_t rows, uint32_t c, const void* from, uint32_t from_width, uint32_t from_start,
                  void* to, uint32_t to_width, uint32_t to_start) {
    uint64_t row = global_thread() / c;
    uint32_t ch = uint32_t(global_thread() % c);
    if (row >= rows) return;
    with_unit(unit, [&](auto u) {
        using U = decltype(u);
        ((U*)to)[row * to_width + to_start + ch] = ((const U*)from)[row * from_width + from_start + ch];
    });
}

/// Gathers units: `to[row, i] = from[row, list[i]]` for `count` units of each of `rows` rows of `width` units.
extern "C" __global__ void __launch_bounds__(256)
    gather_channels(int unit, uint64_t rows, uint32_t count, const uint32_t* list, const void* from, uint32_t width,
                    void* to) {
    uint64_t row = global_thread() / count;
    if (row >= rows) return;
    uint32_t i = uint32_t(global_thread() % count);
    with_unit(unit, [&](auto u) {
        using U = decltype(u);
        ((U*)to)[global_thread()] = ((const U*)from)[row * width + list[i]];
    });
}

/// The gradient: `dx[row, ch] = Σ dy[row, places[k]]` over `k` from `starts[ch]` to `starts[ch + 1]`, the places of channel
/// `ch` in the list.
extern "C" __global__ void __launch_bounds__(256)
    gather_input_grad(int type, uint64_t rows, uint32_t count, const uint32_t* starts, const uint32_t* places,
                      const void* dy, uint32_t width, void* dx) {
    uint64_t row = global_thread() / width;
    if (row >= rows) return;
    uint32_t ch = uint32_t(global_thread() % width);
    with_type(type, [&](auto t) {
        using T = decltype(t);
        float sum = 0;
        for (uint32_t k = starts[ch]; k < starts[ch + 1]; k++) sum += to_float(((const T*)dy)[row * count + places[k]]);
        ((T*)dx)[global_thread()] = from_float<T>(sum);
    });
}

/// `Shortcut` in ops/channels.rs, with channels in units.
struct Shortcut {
    uint32_t n, h, w, oh, ow, stride;
    uint32_t c, before, width; // of x, zeros before, of y
};

/// The position of unit `i` in an image `[n, height, width, c]`.
struct Unit {
    uint32_t image, row, col, channel;

    __device__ __forceinline__ Unit(uint64_t i, uint32_t height, uint32_t width, uint32_t c) {
        uint64_t pixel = i / c, line = pixel / width;
        channel = uint32_t(i % c);
        col = uint32_t(pixel % width);
        row = uint32_t(line % height);
        image = uint32_t(line / height);
    }
};

/// `y[n, i, j, before + c] = x[n, i·stride, j·stride, c]`; the channels before and after are zero.
extern "C" __global__ void __launch_bounds__(256) pad_shortcut_forward(int unit, Shortcut g, const void* x, void* y) {
    Unit at(global_thread(), g.oh, g.ow, g.width);
    if (at.image >= g.n) return;
    uint64_t pixel = (uint64_t(at.image) * g.h + at.row * g.stride) * g.w + at.col * g.stride;
    uint32_t channel = at.channel - g.before; // wraps to a large number before the copied channels
    with_unit(unit, [&](auto u) {
        using U = decltype(u);
        ((U*)y)[global_thread()] = channel < g.c ? ((const U*)x)[pixel * g.c + channel] : U();
    });
}

/// The gradient, which is zero for pixels that were not copied.
extern "C" __global__ void __launch_bounds__(256)
    pad_shortcut_input_grad(int unit, Shortcut g, const void* dy, void* dx) {
    Unit at(global_thread(), g.h, g.w, g.c);
    if (at.image >= g.n) return;
    bool copied = at.row % g.stride == 0 && at.col % g.stride == 0;
    uint64_t pixel = (uint64_t(at.image) * g.oh + at.row / g.stride) * g.ow + at.col / g.stride;
    with_unit(unit, [&](auto u) {
        using U = decltype(u);
        ((U*)dx)[global_thread()] = copied ? ((const U*)dy)[pixel * g.width + g.before + at.channel] : U();
    });
}
