// Many tensors in one launch (as in Apex's multi_tensor_apply): a network has hundreds of parameters, most of them so
// small that starting a kernel takes longer than running it.
//
//   tensors   [ 0          | 1 | 2     … ]     block b ─▶ the last tensor whose first_block is not above b
//   blocks      0   1   2  | 3 | 4   5 …               ─▶ its chunk b − first_block, CHUNK elements long
//
// The table is an argument of the kernel, by value: nothing is uploaded, and a launch that was captured keeps it. That
// bounds it to 4 KiB; the launchers start as many kernels as it takes.
#pragma once
#include "pieces.cuh"

/// Elements that a block of 256 threads works on.
constexpr uint64_t CHUNK = 8192;

/// Up to MOST tensors; entries that are not used begin at block 2³² − 1.
template <class T, int MOST> struct Table {
    uint32_t first_block[MOST];
    T of[MOST];
};

/// Calls `f(tensor, i, Count<N>())` with the N elements from `i` on, in turn for all that are this thread's: LANES at a
/// time, and one by one where fewer are left.
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
