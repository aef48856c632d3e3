// The epilogue of a product, applied before it is stored.
#pragma once
#include "activation.cuh"

/// Computes `activation(value + bias[column] + residual[index])`. Null pointers add nothing.
struct Epilogue {
    const float *bias = nullptr, *residual = nullptr;
    Clamp activation;

    __device__ __forceinline__ float operator()(float value, int column, size_t index) const {
        if (bias) value += bias[column];
        if (residual) value += residual[index];
        return activation(value);
    }
};
