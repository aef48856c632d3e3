// Activations. Each function has the number and the formulas of its counterpart in activation.rs.
#pragma once
#include "device.cuh"

/// `ActivationArg` in ops/activation.rs. Every function passes a NaN through, so that a diverged training run is noticed.
struct Activation {
    enum Function { CLAMP = 0, SIGMOID = 1 };

    /// The bounds of a clamp, infinite if there is none.
    float low = __uint_as_float(0xff800000), high = __uint_as_float(0x7f800000);
    int function = CLAMP;

    __device__ __forceinline__ bool has_low() const { return low > __uint_as_float(0xff800000); }
    __device__ __forceinline__ bool has_high() const { return high < __uint_as_float(0x7f800000); }

    /// A function that is not a clamp.
    __device__ __forceinline__ float smooth(float x) const {
        return 1 / (1 + expf(-x)); // SIGMOID
    }

    __device__ __forceinline__ float operator()(float x) const {
        if (function != CLAMP) return smooth(x);
        float above = x < low ? low : x;
        return above > high ? high : above;
    }

    /// Replaces N values, which stay in registers.
    template <int N> __device__ __forceinline__ void replace(float* values) const {
        if (has_low())
#pragma unroll
            for (int i = 0; i < N; i++) values[i] = values[i] < low ? low : values[i];
        if (has_high())
#pragma unroll
            for (int i = 0; i < N; i++) values[i] = values[i] > high ? high : values[i];
        if (function != CLAMP)
#pragma unroll
            for (int i = 0; i < N; i++) values[i] = smooth(values[i]);
    }

    /// The gradient of the input, from the value that the forward pass saves: the input or the output. A clamp passes
    /// it where the output lies strictly between the bounds.
    __device__ __forceinline__ float gradient(float saved, float dy) const {
        switch (function) {
            case SIGMOID: return dy * (saved * (1 - saved));
            default: return saved > low && (saved < high || !has_high()) ? dy : 0;
        }
    }
};
