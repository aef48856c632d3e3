// Many tensors in one launch (as in Apex's multi_tensor_apply): a network has hundreds of parameters, most of them so
// small that launching a kernel takes longer than running it.
//
//   tensors   [ 0          | 1 | 2     … ]     block b ─▶ the last tensor with first_block ≤ b
//   blocks      0   1   2  | 3 | 4   5 …               ─▶ its chunk b − first_block, CHUNK elements long
//
// The table is a kernel argument, passed by value: nothing is uploaded, and a captured launch keeps it. That limits
// it to 4 KiB; the launchers start as many kernels as needed.
#pragma once
#include "pieces.cuh"

/// Elements per block of 256 threads.
constexpr uint64_t CHUNK = 8192;

/// Up to MOST tensors; unused entries begin at block 2³² − 1.
template <class T, int MOST> struct Table {
    uint32_t first_block[MOST];
    T of[MOST];
};

/// Calls `f(i, Count<N>())` for the N elements from `i` on, in turn for all elements of this thread: LANES at a time,
/// and one by one if fewer remain.
template <int LANES, class T, class F>
__device__ __forceinline__ void for_my_chunk(const T& tensor, uint32_t first_block, F f) {
    uint64_t begin = (blockIdx.x - first_block) * CHUNK, end = min(begin + CHUNK, tensor.len);
    for (uint64_t i = begin + threadIdx.x * LANES; i < end; i += 256 * LANES) {
        if (i + LANES <= end) {
            f(i, Count<LANES>());
        } else {
            for (uint64_t j = i; j < end; j++) f(j, Count<1>());
        }
    }
}

/// The index of this block's tensor.
template <class T, int MOST> __device__ __forceinline__ int my_tensor(const Table<T, MOST>& table) {
    int low = 0, high = MOST; // first_block of `low` is at most this block's number, that of `high` is above it
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (table.first_block[middle] <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    return low;
}
