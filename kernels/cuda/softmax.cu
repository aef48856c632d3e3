// Softmax of each row of `x` `[rows, k]` and its logarithm, for any storage type, and their gradients. A warp computes a
// row, in single precision; see log_softmax.cuh.
#include "log_softmax.cuh"

/// `y = exp(x) / Σ_row exp(x)`.
extern "C" __global__ void __launch_bounds__(256)
    softmax_forward(int type, uint64_t rows, uint32_t k, const void* x, void* y) {
    if (my_row() >= rows) return;
    with_type(type, [&](auto t) {
        using T = decltype(t);
        LogSoftmax<T> log_p((const T*)x + my_row() * k, k, 1);
        T* out = (T*)y + my_row() * k;
        for_each_class(k, [&](uint32_t j) { out[j] = from_float<T>(expf(log_p(j))); });
    });
}

/// `y = x − ln Σ_row exp(x)`.
extern "C" __global__ void __launch_bounds__(256)
    log_softmax_forward(int type, uint64_t rows, uint32_t k, const void* x, void* y) {
    if (my_row() >= rows) return;
    with_type(type, [&](auto t) {
        using T = decltype(t);
        LogSoftmax<T> log_p((const T*)x + my_row() * k, k, 1);
        T* out = (T*)y + my_row() * k;
        for_each_class(k, [&](uint32_t j) { out[j] = from_float<T>(log_p(j)); });
    });
}

/// `dx = y · (dy − Σ_row dy·y)`.
extern "C" __global__ void __launch_bounds__(256)
    softmax_input_grad(int type, uint64_t rows, uint32_t k, const void* y, const void* dy, void* dx) {
    if (my_row() >= rows) return;
    with_type(type, [&](auto t) {
        using T = decltype(t);
        const T *row = (const T*)y + my_row() * k, *upper = (const T*)dy + my_row() * k;
        T* out = (T*)dx + my_row() * k;
        float dot = 0;
        for_each_class(k, [&](uint32_t j) { dot += to_float(upper[j]) * to_float(row[j]); });
        dot = warp_sum(dot);
        for_each_class(k, [&](uint32_t j) { out[j] = from_float<T>(to_float(row[j]) * (to_float(upper[j]) - dot)); });
    });
}

/// `dx = dy − exp(y) · Σ_row dy`.
extern "C" __global__ void __launch_bounds__(256)
    log_softmax_input_grad(int type, uint64_t rows, uint32_t k, const void* y, const void* dy, void* dx) {
    if (my_row() >= rows) return;
    with_type(type, [&](auto t) {
        using T = decltype(t);
        const T *row = (const T*)y + my_row() * k, *upper = (const T*)dy + my_row() * k;
        T* out = (T*)dx + my_row() * k;
        float total = 0;
        for_each_class(k, [&](uint32_t j) { total += to_float(upper[j]); });
        total = warp_sum(total);
        for_each_class(k, [&](uint32_t j) { out[j] = from_float<T>(to_float(upper[j]) - expf(to_float(row[j])) * total); });
    });
}
