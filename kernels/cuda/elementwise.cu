// Operations that treat every element alike: each is read once and written once, by one thread of a grid that covers
// them, sixteen bytes at a time. A NaN stays a NaN, so that training that diverged is noticed.
//
//   thread i:  [ 4 × f32 or 8 × bf16 at i ] ─ load 16 bytes ─ f ─ store 16 bytes
//
// These kernels wait for memory and for nothing else, so they compute in f32 whatever the storage is.
#include "device.cuh"
#include "types.cuh"

/// `y[i] = f(x[i]…)` over `n` elements of type T: whole vectors first, what is left one by one.
template <class T, class F, class... X>
__device__ __forceinline__ void map(F f, uint64_t n, T* y, const X*... x) {
    constexpr int LANES = 16 / sizeof(T);
    uint64_t i = global_thread() * LANES;
    if (i + LANES <= n) {
        Vector<T> out;
        auto apply = [&](auto... in) {
#pragma unroll
            for (int lane = 0; lane < LANES; lane++) out.put(lane, f(in.get(lane)...));
        };
        apply(Vector<X>::load(x + i)...);
        out.store(y + i);
    } else {
        for (; i < n; i++) y[i] = from_float<T>(f(to_float(x[i])...));
    }
}

__device__ __forceinline__ float relu(float x) { return x < 0 ? 0 : x; }
__device__ __forceinline__ float relu6(float x) { return x > 6 ? 6 : relu(x); }

/// `y = max(0, x)`.
extern "C" __global__ void relu_forward(int type, uint64_t n, const void* x, void* y) {
    with_type(type, [&](auto t) {
        using T = decltype(t);
        map([](float x) { return relu(x); }, n, (T*)y, (const T*)x);
    });
}

/// `dx = dy` where the output `y` is above 0, and 0 elsewhere.
extern "C" __global__ void relu_input_grad(int type, uint64_t n, const void* y, const void* dy, void* dx) {
    with_type(type, [&](auto t) {
        using T = decltype(t);
        map([](float y, float dy) { return y > 0 ? dy : 0; }, n, (T*)dx, (const T*)y, (const T*)dy);
    });
}
