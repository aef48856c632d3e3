// The logarithm of the softmax of one row, computed by a warp.
//
//   warp = row:  lane l reads k = l, l + 32, …    max ─▶ Σ exp(x − max) ─▶ the result
//
// One warp per row: whole lines are read, a row's sums need no barrier, and `k` is arbitrary. A row is read up to
// three times, the second and third time from the cache. Its maximum is subtracted throughout, so nothing overflows.
#pragma once
#include "types.cuh"

/// The row of this warp.
__device__ __forceinline__ uint64_t my_row() { return global_thread() / 32; }

/// The largest value in a warp, in every lane. It may ignore a NaN, which then shows in the sum of the exponentials.
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) x = max(x, __shfl_xor_sync(~0u, x, lanes));
    return x;
}

/// Calls `f` with every index of the row that belongs to this lane.
template <class F> __device__ __forceinline__ void for_each_class(uint32_t k, F f) {
    for (uint32_t j = threadIdx.x % 32; j < k; j += 32) f(j);
}

/// `log_softmax(x / temperature)` of one row.
template <class T> struct LogSoftmax {
    const T* x;
    float temperature, largest, log_sum;

    __device__ __forceinline__ LogSoftmax(const T* x, uint32_t k, float temperature) : x(x), temperature(temperature) {
        largest = __uint_as_float(0xff800000); // −∞
        for_each_class(k, [&](uint32_t j) { largest = max(largest, scaled(j)); });
        largest = warp_max(largest);
        float sum = 0;
        for_each_class(k, [&](uint32_t j) { sum += expf(scaled(j) - largest); });
        log_sum = logf(warp_sum(sum));
    }
    __device__ __forceinline__ float scaled(uint32_t j) const { return to_float(x[j]) / temperature; }
    __device__ __forceinline__ float operator()(uint32_t j) const { return scaled(j) - largest - log_sum; }
};
