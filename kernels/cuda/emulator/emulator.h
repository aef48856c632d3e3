// CUDA C++ for a host compiler: the language's extensions, implemented over fibers.
//
// Included before a `.cu` file, it makes the file plain C++17. It exposes what the hardware forbids or leaves open:
// barriers release in random order, shared memory begins as NaN and ends at a page that faults, and asynchronous
// copies land as late as the rules allow. Not modeled: bank conflicts, the weak memory model, the tensor cores'
// rounding.
#pragma once
#include "fibers.h"
#include <cmath>

#define LOPPER_EMULATOR 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict

#define threadIdx (emulator::me().thread)
#define blockIdx (emulator::block->index)
#define blockDim (emulator::block->size)
#define gridDim (emulator::block->grid)

struct __align__(16) float4 { float x, y, z, w; };
struct __align__(8) float2 { float x, y; };
struct __align__(16) uint4 { unsigned x, y, z, w; };
struct __align__(8) uint2 { unsigned x, y; };
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

using std::max;
using std::min;
inline float __uint_as_float(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
inline uint32_t __float_as_uint(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
template <class T> T __ldg(const T* p) { return *p; }

inline void __syncthreads() { emulator::barrier(0, 0); }
inline void __syncwarp(unsigned mask = ~0u) { emulator::sync_warp(mask); }

namespace emulator {
template <class T> T shuffle(unsigned mask, T value, int from) {
    static_assert(sizeof(T) % 4 == 0 && sizeof(T) <= 8);
    Exchange x = exchange();
    memcpy(x.warp.slot[x.half][x.lane], &value, sizeof(T));
    sync_warp(mask);
    T result;
    memcpy(&result, x.warp.slot[x.half][from % WARP], sizeof(T));
    return result;
}
inline int lane() { return block->current % WARP; }
} // namespace emulator

template <class T> T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
    int lane = emulator::lane();
    return emulator::shuffle(mask, v, (lane & ~(width - 1)) | (from & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int with, int = 32) {
    return emulator::shuffle(mask, v, emulator::lane() ^ with);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, int by, int width = 32) {
    int lane = emulator::lane();
    return emulator::shuffle(mask, v, (lane & (width - 1)) + by < width ? lane + by : lane);
}
inline unsigned __ballot_sync(unsigned mask, int yes) {
    emulator::Exchange x = emulator::exchange();
    x.warp.slot[x.half][x.lane][0] = yes != 0;
    emulator::sync_warp(mask);
    unsigned votes = 0;
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1) votes |= x.warp.slot[x.half][i][0] << i;
    return votes;
}

// How the driver finds and calls a kernel: arguments arrive as in cuLaunchKernel, one pointer each.
namespace emulator {
struct Kernel {
    const char* name;
    const char* (*run)(const unsigned* grid, const unsigned* size, unsigned shared, uint64_t seed, void** args);
    const unsigned* arg_bytes;
    unsigned args;
};

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<std::remove_reference_t<A>>*>(args[I])...);
}

template <auto KERNEL> struct Entry;
template <class... A, void (*KERNEL)(A...)> struct Entry<KERNEL> {
    static inline const unsigned bytes[] = {sizeof(A)..., 0};
    static const char* run(const unsigned* grid, const unsigned* size, unsigned shared, uint64_t seed, void** args) {
        return run_grid(grid, size, shared, seed, [&] { call(KERNEL, args, std::index_sequence_for<A...>{}); });
    }
    static Kernel named(const char* name) { return {name, run, bytes, sizeof...(A)}; }
};
} // namespace emulator

#define EMULATOR_EXPORT __attribute__((visibility("default")))

/// Ends a module: `EMULATOR_MODULE(EMULATOR_KERNEL(a), EMULATOR_KERNEL(b))`.
#define EMULATOR_KERNEL(name) emulator::Entry<&name>::named(#name)
#define EMULATOR_MODULE(...)                                                                                   \
    extern "C" EMULATOR_EXPORT const emulator::Kernel* emulator_kernels(unsigned* count) {                                     \
        static const emulator::Kernel all[] = {__VA_ARGS__};                                                   \
        *count = sizeof all / sizeof *all;                                                                     \
        return all;                                                                                            \
    }                                                                                                          \
    /* The fault handler asks each module whether this thread runs one of its kernels. */                      \
    extern "C" EMULATOR_EXPORT sigjmp_buf* emulator_fault() {                                                                  \
        return emulator::block && emulator::block->running ? &emulator::block->fault : nullptr;                \
    }
