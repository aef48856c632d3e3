// Operations that move channels: concatenation, and the parameter-free residual shortcut. Nothing is computed, so the
// type does not matter: what moves is a unit of 16, 4 or 2 bytes, the largest that divides every row and every piece of
// a row. All sizes along channels are given in units.
//
//   thread: one unit of the output ◀─ copy ─ one unit of the input, or zero
//
// Neighbouring threads write neighbouring units; reads are as contiguous as the pieces are long.
#include "device.cuh"

/// Calls `f` with a value of `bytes` bytes.
template <class F> __device__ __forceinline__ void with_unit(int bytes, F f) {
    switch (bytes) {
    case 16: f(uint4()); break;
    case 4: f(uint32_t()); break;
    case 2: f(uint16_t()); break;
    }
}

/// Copies `rows` rows of `c` units, from `from_start` of rows `from_width` wide to `to_start` of rows `to_width` wide.
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

/// As in the launchers: channels in units.
struct Shortcut {
    uint32_t n, h, w, oh, ow, stride;
    uint32_t c, before, width; // of x, zeros in front, of y
};

/// Where unit `i` of an image `[n, height, width, c]` is.
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

/// `y[n, i, j, before + c] = x[n, i·stride, j·stride, c]`, and zero in the channels in front and behind.
extern "C" __global__ void __launch_bounds__(256) pad_shortcut_forward(int unit, Shortcut g, const void* x, void* y) {
    Unit at(global_thread(), g.oh, g.ow, g.width);
    if (at.image >= g.n) return;
    uint64_t pixel = (uint64_t(at.image) * g.h + at.row * g.stride) * g.w + at.col * g.stride;
    uint32_t channel = at.channel - g.before; // wraps to a large number in front of the channels
    with_unit(unit, [&](auto u) {
        using U = decltype(u);
        ((U*)y)[global_thread()] = channel < g.c ? ((const U*)x)[pixel * g.c + channel] : U();
    });
}

/// The gradient: pixels that were not copied get none.
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
