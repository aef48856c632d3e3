// Neighboring elements that one thread moves at once, in f32: sixteen bytes of them, or a single one.
#pragma once
#include "types.cuh"

/// N neighboring elements in f32: a vector of T, or a single element.
template <class T, int N> struct Piece {
    float lane[N];

    static __device__ __forceinline__ Piece load(const T* from) {
        Piece p;
        if constexpr (N == 1) {
            p.lane[0] = to_float(*from);
        } else {
            Vector<T> v = Vector<T>::load(from);
#pragma unroll
            for (int n = 0; n < N; n++) p.lane[n] = v.get(n);
        }
        return p;
    }
    __device__ __forceinline__ void store(T* to) const {
        if constexpr (N == 1) {
            *to = from_float<T>(lane[0]);
        } else {
            Vector<T> v;
#pragma unroll
            for (int n = 0; n < N; n++) v.put(n, lane[n]);
            v.store(to);
        }
    }
};

template <int N> struct Count {
    static constexpr int VALUE = N;
};

/// Calls `f` with a value of the type and with the number of elements that a thread moves at once.
template <class F> __device__ __forceinline__ void with_lanes(int type, uint32_t c, F f) {
    with_type(type, [&](auto t) {
        constexpr int LANES = 16 / sizeof(t);
        if (c % LANES == 0)
            f(t, Count<LANES>());
        else
            f(t, Count<1>());
    });
}
