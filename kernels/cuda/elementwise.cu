// Elementwise operations: one thread reads and writes each element once, sixteen bytes at a time. A NaN stays a NaN,
// so that a diverged training run is noticed.
//
//   thread i:  [ 4 × f32 or 8 × bf16 at i ] ─ load 16 bytes ─ f ─ store 16 bytes
//
// These kernels are purely memory-bound, so they compute in f32 for every storage type.
#include "activation.cuh"
#include "types.cuh"

/// `y[i] = f(i, x[i]…)` over `n` elements of type T: whole vectors first, then the remainder one by one.
template <class T, class F, class... X>
__device__ __forceinline__ void map_indexed(F f, uint64_t n, T* y, const X*... x) {
    constexpr int LANES = 16 / sizeof(T);
    uint64_t i = global_thread() * LANES;
    if (i + LANES <= n) {
        Vector<T> out;
        auto apply = [&](auto... in) {
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) out.put(lane, f(i + lane, in.get(lane)...));
        };
        apply(Vector<X>::load(x + i)...);
        out.store(y + i);
    } else {
        for (; i < n; i++) y[i] = from_float<T>(f(i, to_float(x[i])...));
    }
}

/// `y[i] = f(x[i]…)`; `y` may be one of the inputs.
template <class T, class F, class... X>
__device__ __forceinline__ void map(F f, uint64_t n, T* y, const X*... x) {
    map_indexed([&](uint64_t, auto... in) { return f(in...); }, n, y, x...);
}

/// `y = f(x)`.
extern "C" __global__ void activation_forward(int type, uint64_t n, Activation f, const void* x, void* y) {
    with_type(type, [&](auto t) {
        using T = decltype(t);
        map([=](float x) { return f(x); }, n, (T*)y, (const T*)x);
    });
}

/// The gradient of x from `dy` and the value that the forward pass saved.
extern "C" __global__ void activation_input_grad(int type, uint64_t n, Activation f, const void* saved, const void* dy,
                                                 void* dx) {
    with_type(type, [&](auto t) {
        using T = decltype(t);
        map([=](float saved, float dy) { return f.gradient(saved, dy); }, n, (T*)dx, (const T*)saved, (const T*)dy);
    });
}

/// `y = a + b`.
extern "C" __global__ void add_forward(int type, uint64_t n, const void* a, const void* b, void* y) {
    with_type(type, [&](auto t) {
        using T = decltype(t);
        map([](float a, float b) { return a + b; }, n, (T*)y, (const T*)a, (const T*)b);
    });
}

/// `y = a·b`.
extern "C" __global__ void mul_forward(int type, uint64_t n, const void* a, const void* b, void* y) {
    with_type(type, [&](auto t) {
        using T = decltype(t);
        map([](float a, float b) { return a * b; }, n, (T*)y, (const T*)a, (const T*)b);
    });
}

/// `y = s·x`.
extern "C" __global__ void scale(int type, uint64_t n, float s, const void* x, void* y) {
    with_type(type, [&](auto t) {
        using T = decltype(t);
        map([=](float x) { return s * x; }, n, (T*)y, (const T*)x);
    });
}

/// `y += x`.
extern "C" __global__ void add_assign(int type, uint64_t n, const void* x, void* y) {
    with_type(type, [&](auto t) {
        using T = decltype(t);
        map([](float x, float y) { return y + x; }, n, (T*)y, (const T*)x, (const T*)y);
    });
}

/// `y += s·x`.
extern "C" __global__ void axpy(int type, uint64_t n, float s, const void* x, void* y) {
    with_type(type, [&](auto t) {
        using T = decltype(t);
        map([=](float x, float y) { return y + s * x; }, n, (T*)y, (const T*)x, (const T*)y);
    });
}

/// Converts eight elements from one type to another: the smallest number that fills whole vectors of both.
template <class X, class Y> __device__ __forceinline__ void convert_eight(uint64_t n, const X* x, Y* y) {
    constexpr int FROM = Vector<X>::LANES, TO = Vector<Y>::LANES;
    uint64_t i = global_thread() * 8;
    if (i + 8 <= n) {
        Vector<X> in[8 / FROM];
        Vector<Y> out[8 / TO];
#pragma unroll
        for (int v = 0; v < 8 / FROM; v++) in[v] = Vector<X>::load(x + i + v * FROM);
#pragma unroll
        for (int lane = 0; lane < 8; lane++) out[lane / TO].put(lane % TO, in[lane / FROM].get(lane % FROM));
#pragma unroll
        for (int v = 0; v < 8 / TO; v++) out[v].store(y + i + v * TO);
    } else {
        for (; i < n; i++) y[i] = from_float<Y>(to_float(x[i]));
    }
}

/// `y = x`, rounded to nearest, ties to even.
extern "C" __global__ void convert(int from, int to, uint64_t n, const void* x, void* y) {
    with_type(from, [&](auto f) {
        with_type(to, [&](auto t) { convert_eight(n, (const decltype(f)*)x, (decltype(t)*)y); });
    });
}

/// Whether dropout keeps element `i`: 24 bits of SplitMix64 (Steele et al. 2014), at position `i` of the sequence
/// with seed `seed`, taken as a number below 1, are at least `p`.
__device__ __forceinline__ bool keeps(float p, uint64_t seed, uint64_t i) {
    uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return float(z >> 40) * (1.0f / (1 << 24)) >= p;
}

/// `y = scale·x` for kept elements, and 0 elsewhere.
extern "C" __global__ void dropout(int type, uint64_t n, float p, float scale, uint64_t seed, const void* x, void* y) {
    with_type(type, [&](auto t) {
        using T = decltype(t);
        map_indexed([=](uint64_t i, float x) { return keeps(p, seed, i) ? scale * x : 0; }, n, (T*)y, (const T*)x);
    });
}
