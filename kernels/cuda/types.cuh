// Kernels for any storage type: the type is an argument, and sixteen bytes move at a time.
#pragma once
#include "device.cuh"

/// `Dtype` in params.rs.
enum Type { TYPE_F32 = 0, TYPE_BF16 = 1, TYPE_F16 = 2 };

/// Calls `f` with a value of the type; every thread takes the same branch.
template <class F> __device__ __forceinline__ void with_type(int type, F f) {
    switch (type) {
    case TYPE_F32: f(float()); break;
    case TYPE_BF16: f(bf16()); break;
    case TYPE_F16: f(f16()); break;
    }
}

/// Sixteen bytes of elements, aligned to sixteen bytes.
template <class T> struct Vector {
    static constexpr int LANES = 16 / sizeof(T);
    union {
        uint4 raw;
        T lanes[LANES];
    };

    __device__ __forceinline__ Vector() : raw(make_uint4(0, 0, 0, 0)) {}
    static __device__ __forceinline__ Vector load(const T* from) {
        Vector v;
        v.raw = *(const uint4*)from;
        return v;
    }
    __device__ __forceinline__ void store(T* to) const { *(uint4*)to = raw; }
    __device__ __forceinline__ float get(int lane) const { return to_float(lanes[lane]); }
    __device__ __forceinline__ void put(int lane, float x) { lanes[lane] = from_float<T>(x); }
};
