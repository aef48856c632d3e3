// What ends a product before it is stored.
#pragma once
#include "device.cuh"

/// What ends a product: `activation(value + bias[column] + residual[index])`. Null pointers add nothing.
struct Epilogue {
    const float *bias = nullptr, *residual = nullptr;
    int activation = 0; // as `Activation` in the launchers: none, relu, relu6

    __device__ __forceinline__ float operator()(float value, int column, size_t index) const {
        if (bias) value += bias[column];
        if (residual) value += residual[index];
        if (activation >= 1 && value < 0) value = 0; // a NaN stays
        if (activation == 2 && value > 6) value = 6;
        return value;
    }
};
