// Activations. Each function has the number and the formulas of its counterpart in activation.rs, and passes a NaN
// through, so that a diverged training run is noticed.
#pragma once
#include "device.cuh"

/// `ClampArg` in ops/activation.rs. Products and the backward pass of batch norm fuse only clamps, because other
/// functions would take registers from their sums.
struct Clamp {
    /// The bounds. If there is none, `low` is −∞ and `high` is a NaN, for which every comparison below is false.
    float low = __uint_as_float(0xff800000), high = __uint_as_float(0x7fffffff);

    __device__ __forceinline__ bool has_low() const { return low > __uint_as_float(0xff800000); }
    __device__ __forceinline__ bool has_high() const { return high == high; }

    __device__ __forceinline__ float operator()(float x) const {
        float above = x < low ? low : x;
        return above > high ? high : above;
    }

    /// The gradient of the input, from the output `y`: it passes strictly between the bounds.
    __device__ __forceinline__ float gradient(float y, float dy) const {
        return y > low && !(y >= high) ? dy : 0;
    }

    /// Clamps N values, which stay in registers.
    template <int N> __device__ __forceinline__ void each(float* values) const {
        if (has_low())
#pragma unroll
            for (int i = 0; i < N; i++) values[i] = values[i] < low ? low : values[i];
        if (has_high())
#pragma unroll
            for (int i = 0; i < N; i++) values[i] = values[i] > high ? high : values[i];
    }
};

/// `1 / (1 + e⁻ˣ)`.
__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1, 1 + expf(-x)); }

/// `ActivationArg` in ops/activation.rs.
struct Activation {
    enum { CLAMP = 0, SIGMOID = 1, SILU = 2 };

    Clamp clamp;
    int function;

    __device__ __forceinline__ float operator()(float x) const {
        switch (function) {
            case SIGMOID: return sigmoid(x);
            case SILU: return x * sigmoid(x);
            default: return clamp(x);
        }
    }

    /// The gradient of the input, from the value that the forward pass saves: the input or the output.
    __device__ __forceinline__ float gradient(float saved, float dy) const {
        switch (function) {
            case SIGMOID: return dy * (saved * (1 - saved));
            case SILU: {
                float s = sigmoid(saved);
                return dy * (s * (1 + saved * (1 - s)));
            }
            default: return clamp.gradient(saved, dy);
        }
    }
};
