// The epilogue of a product, applied before it is stored.
#pragma once
#include "device.cuh"

/// Computes `activation(value + bias[column] + residual[index])`. Null pointers add nothing.
struct Epilogue {
    const float *bias = nullptr, *residual = nullptr;
    int activation = 0; // `Activation` in params.rs: none, relu, relu6

    __device__ __forceinline__ float operator()(float value, int column, size_t index) const {
        if (bias) value += bias[column];
        if (residual) value += residual[index];
        if (activation >= 1 && value < 0) value = 0; // a NaN passes through
        if (activation == 2 && value > 6) value = 6;
        return value;
    }
};
