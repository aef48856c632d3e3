// Included by every kernel: number types, shared memory, warp reductions. Compiles under NVRTC without include paths,
// and for the CPU after `emulator/emulator.h`.
#pragma once

#ifndef LOPPER_EMULATOR
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;
typedef unsigned long size_t;
static_assert(sizeof(size_t) == 8, "64-bit devices only");
#endif

/// `bfloat16`: the upper half of an f32.
struct bf16 {
    uint16_t bits;
};

/// IEEE half precision.
struct f16 {
    uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float(uint32_t(x.bits) << 16); }

#ifdef LOPPER_EMULATOR
inline float to_float(f16 x) {
    _Float16 h;
    memcpy(&h, &x.bits, 2);
    return float(h);
}
#else
__device__ __forceinline__ float to_float(f16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
#endif

/// `from_float<T>(x)`: rounded to nearest, ties to even.
template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
#ifdef LOPPER_EMULATOR
template <> inline bf16 from_float<bf16>(float x) {
    uint32_t u = __float_as_uint(x);
    if ((u & 0x7fffffff) > 0x7f800000) return {0x7fff};
    return {uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
template <> inline f16 from_float<f16>(float x) {
    _Float16 h = _Float16(x);
    f16 y;
    memcpy(&y.bits, &h, 2);
    return y;
}
#else
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) {
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
template <> __device__ __forceinline__ f16 from_float<f16>(float x) {
    f16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
#endif

/// The block's shared memory, laid out as `T`. All of it is dynamic: the launcher passes `sizeof(T)`, so one arena
/// holds it, and the emulator guards its end. If the size is a multiple of 1024 bytes, it is aligned to 1024,
/// otherwise to 16.
template <class T> __device__ __forceinline__ T& shared_memory() {
#ifdef LOPPER_EMULATOR
    return *reinterpret_cast<T*>(emulator::shared_arena());
#else
    extern __shared__ __align__(1024) unsigned char arena[];
    asm volatile("// shared %0" ::"n"(sizeof(T))); // emits no instruction; nvrtc.rs reads the size from the PTX
    return *reinterpret_cast<T*>(arena);
#endif
}

/// The index of this thread in a one-dimensional grid.
__device__ __forceinline__ uint64_t global_thread() { return uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

/// The sum over a warp, returned in every lane; the order is fixed.
template <class T> __device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    return x;
}
