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

/// `min(max(0, x + 3), 6) / 6`.
__device__ __forceinline__ float hard_sigmoid(float x) {
    float shifted = x + 3, above = shifted < 0 ? 0 : shifted;
    return (above > 6 ? 6 : above) * (1.0f / 6);
}

/// The distribution function of the standard normal distribution. The complement keeps the digits of small results.
__device__ __forceinline__ float normal_cdf(float x) { return 0.5f * erfcf(-0.70710678f * x); }

/// `2 √(2/π) (x + 0.044715 x³)`.
constexpr float GELU_LINEAR = 1.5957691f, GELU_CUBIC = 0.044715f * GELU_LINEAR;
__device__ __forceinline__ float gelu_argument(float x) { return x * (GELU_LINEAR + GELU_CUBIC * (x * x)); }

/// `ActivationArg` in ops/activation.rs.
struct Activation {
    enum {
        CLAMP = 0,
        SIGMOID = 1,
        SILU = 2,
        HARD_SIGMOID = 3,
        HARD_SWISH = 4,
        TANH = 5,
        ELU = 6,
        LEAKY_RELU = 7,
        GELU = 8,
        GELU_TANH = 9
    };

    Clamp clamp;
    int function;
    float parameter; // of ELU and LEAKY_RELU

    __device__ __forceinline__ float operator()(float x) const {
        switch (function) {
            case SIGMOID: return sigmoid(x);
            case SILU: return x * sigmoid(x);
            case HARD_SIGMOID: return hard_sigmoid(x);
            case HARD_SWISH: return x * hard_sigmoid(x);
            case TANH: return tanhf(x);
            case ELU: return x > 0 ? x : parameter * expm1f(x);
            case LEAKY_RELU: return x > 0 ? x : parameter * x;
            case GELU: return x * normal_cdf(x);
            case GELU_TANH: return x * sigmoid(gelu_argument(x));
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
            case HARD_SIGMOID: return saved > 0 && saved < 1 ? dy * (1.0f / 6) : 0;
            case HARD_SWISH: return dy * (saved <= -3 ? 0 : saved >= 3 ? 1 : (saved + saved + 3) * (1.0f / 6));
            case TANH: return dy * (1 - saved * saved);
            case ELU: return saved > 0 ? dy : dy * parameter * expf(saved);
            case LEAKY_RELU: return saved > 0 ? dy : dy * parameter;
            case GELU: return dy * (normal_cdf(saved) + saved * 0.39894228f * expf(-0.5f * saved * saved));
            case GELU_TANH: {
                float s = sigmoid(gelu_argument(saved));
                float slope = GELU_LINEAR + 3 * GELU_CUBIC * saved * saved;
                return dy * (s + saved * (s * (1 - s)) * slope);
            }
            default: return clamp.gradient(saved, dy);
        }
    }
};
