// Optimizer steps and running averages, as PyTorch defines them, on parameters `p` with gradients `g`, for all
// tensors of a network in one launch (tensors.cuh). With a `mask`, dropped weights (0) become zero in the same pass.
//
// The steps are memory-bound: a step of Adam reads four numbers per weight and writes three, once, sixteen bytes at a
// time. A chunk is eight steps of a block, enough to hide the search for its tensor.
#include "tensors.cuh"

/// A tensor and its hyperparameters; `SgdEntry` in ops/optim.rs. `v` is null without momentum, `mask` if there is
/// none.
struct Sgd {
    float* p;
    const float* g;
    float* v;
    const float* mask;
    uint64_t len;
    float lr, momentum, weight_decay;
    uint16_t nesterov, first;
};

/// Sets `p` to 0 where the mask drops it. It selects and does not multiply, because a masked NaN must become zero
/// too.
template <int N> __device__ __forceinline__ void drop(Piece<float, N>& p, const float* mask, uint64_t i) {
    if (!mask) return;
    auto keep = Piece<float, N>::load(mask + i);
#pragma unroll
    for (int n = 0; n < N; n++) p.lane[n] = keep.lane[n] == 0 ? 0 : p.lane[n];
}

/// `d = g + weight_decay·p`; `v = momentum·v + d`, or `v = d` on the first step regardless of its value;
/// `p −= lr · (d + momentum·v if nesterov, else v)`. Without momentum, both forms are `p −= lr·d`.
extern "C" __global__ void __launch_bounds__(256) sgd_step(const __grid_constant__ Table<Sgd, 64> table) {
    int tensor = my_tensor(table);
    const Sgd h = table.of[tensor];
    for_my_chunk<4>(h, table.first_block[tensor], [&](uint64_t i, auto count) {
        constexpr int N = decltype(count)::VALUE;
        auto p = Piece<float, N>::load(h.p + i), g = Piece<float, N>::load(h.g + i);
        Piece<float, N> v = {};
        if (h.v && !h.first) v = Piece<float, N>::load(h.v + i);
#pragma unroll
        for (int n = 0; n < N; n++) {
            float d = g.lane[n] + h.weight_decay * p.lane[n];
            v.lane[n] = h.momentum * v.lane[n] + d;
            p.lane[n] -= h.lr * (h.nesterov ? d + h.momentum * v.lane[n] : v.lane[n]);
        }
        drop(p, h.mask, i);
        p.store(h.p + i);
        if (h.v) v.store(h.v + i);
    });
}

/// A tensor and its hyperparameters; `AdamEntry` in ops/optim.rs. `rate` is `lr/(1−β₁ᵗ)`, `inv_root` is `1/√(1−β₂ᵗ)`;
/// `penalty` is the weight decay that passes through the moments, `shrink` the factor of the decoupled decay.
struct Adam {
    float* p;
    const float* g;
    float* m;
    float* v;
    const float* mask;
    uint64_t len;
    float rate, inv_root, beta1, beta2, eps, penalty, shrink, unused;
};

/// `d = g + penalty·p`, `m = β₁m + (1−β₁)d`, `v = β₂v + (1−β₂)d²`, `p = shrink·p − rate · m / (√v · inv_root + eps)`.
extern "C" __global__ void __launch_bounds__(256) adam_step(const __grid_constant__ Table<Adam, 48> table) {
    int tensor = my_tensor(table);
    const Adam h = table.of[tensor];
    for_my_chunk<4>(h, table.first_block[tensor], [&](uint64_t i, auto count) {
        constexpr int N = decltype(count)::VALUE;
        auto p = Piece<float, N>::load(h.p + i), g = Piece<float, N>::load(h.g + i);
        auto m = Piece<float, N>::load(h.m + i), v = Piece<float, N>::load(h.v + i);
#pragma unroll
        for (int n = 0; n < N; n++) {
            float d = g.lane[n] + h.penalty * p.lane[n];
            m.lane[n] = h.beta1 * m.lane[n] + (1 - h.beta1) * d;
            v.lane[n] = h.beta2 * v.lane[n] + (1 - h.beta2) * d * d;
            p.lane[n] = h.shrink * p.lane[n] - h.rate * m.lane[n] / (sqrtf(v.lane[n]) * h.inv_root + h.eps);
        }
        drop(p, h.mask, i);
        p.store(h.p + i);
        m.store(h.m + i);
        v.store(h.v + i);
    });
}

/// A running average; `Average` in ops/optim.rs.
struct Average {
    float* r;
    const float* s;
    uint64_t len;
    float keep, take;
};

/// `r = keep·r + take·s`.
extern "C" __global__ void __launch_bounds__(256)
    move_averages(const __grid_constant__ Table<Average, 96> table) {
    int tensor = my_tensor(table);
    const Average h = table.of[tensor];
    for_my_chunk<4>(h, table.first_block[tensor], [&](uint64_t i, auto count) {
        constexpr int N = decltype(count)::VALUE;
        auto r = Piece<float, N>::load(h.r + i), s = Piece<float, N>::load(h.s + i);
#pragma unroll
        for (int n = 0; n < N; n++) r.lane[n] = h.keep * r.lane[n] + h.take * s.lane[n];
        r.store(h.r + i);
    });
}

/// A gradient; `Gradient` in ops/optim.rs.
struct Gradient {
    const void* x;
    uint64_t len;
    int type, unused;
};

/// Sets `*found` to 1 if a gradient holds an infinity or a NaN, and otherwise leaves it. All writers write the same
/// value.
extern "C" __global__ void __launch_bounds__(256)
    find_non_finite(const __grid_constant__ Table<Gradient, 128> table, float* found) {
    int tensor = my_tensor(table);
    const Gradient h = table.of[tensor];
    with_type(h.type, [&](auto t) {
        using T = decltype(t);
        bool any = false;
        for_my_chunk<Vector<T>::LANES>(h, table.first_block[tensor], [&](uint64_t i, auto count) {
            constexpr int N = decltype(count)::VALUE;
            auto x = Piece<T, N>::load((const T*)h.x + i);
#pragma unroll
            for (int n = 0; n < N; n++) any |= x.lane[n] - x.lane[n] != 0;
        });
        if (any) *found = 1;
    });
}
