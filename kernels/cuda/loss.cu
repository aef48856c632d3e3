// Softmax and losses over `[rows, k]` in f32, and their gradients, multiplied by the upstream gradient `*scale`.
//
//   warp = row:  lane l reads k = l, l + 32, …    max ─▶ Σ exp(x − max) ─▶ the result
//
// One warp per row: whole lines are read, a row's sums need no barrier, and `k` is arbitrary. A row is read up to
// three times, the second and third time from the cache; class scores are small next to the layers that compute them.
// The row's maximum is subtracted throughout, so nothing overflows. Row losses go to memory, and one block averages
// them in double precision and in a fixed order.
#include "device.cuh"

constexpr int ROWS = 8; // rows per block of 256 threads

__device__ __forceinline__ uint64_t my_row() { return uint64_t(blockIdx.x) * ROWS + threadIdx.x / 32; }

/// The largest value in a warp, in every lane. It may ignore a NaN, which then shows in the sum of the exponentials.
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) x = max(x, __shfl_xor_sync(~0u, x, lanes));
    return x;
}

/// Calls `f` with every index of the row that belongs to this lane.
template <class F> __device__ __forceinline__ void for_each_class(uint32_t k, F f) {
    for (uint32_t j = threadIdx.x % 32; j < k; j += 32) f(j);
}

/// `log_softmax(x / temperature)` of one row, computed by a whole warp.
struct LogSoftmax {
    const float* x;
    float temperature, largest, log_sum;

    __device__ __forceinline__ LogSoftmax(const float* x, uint32_t k, float temperature)
        : x(x), temperature(temperature) {
        largest = __uint_as_float(0xff800000); // −∞
        for_each_class(k, [&](uint32_t j) { largest = max(largest, scaled(j)); });
        largest = warp_max(largest);
        float sum = 0;
        for_each_class(k, [&](uint32_t j) { sum += expf(scaled(j) - largest); });
        log_sum = logf(warp_sum(sum));
    }
    __device__ __forceinline__ float scaled(uint32_t j) const { return x[j] / temperature; }
    __device__ __forceinline__ float operator()(uint32_t j) const { return scaled(j) - largest - log_sum; }
};

/// `y = exp(x) / Σ_row exp(x)`.
extern "C" __global__ void __launch_bounds__(256) softmax_forward(uint64_t rows, uint32_t k, const float* x, float* y) {
    uint64_t row = my_row();
    if (row >= rows) return;
    LogSoftmax log_p(x + row * k, k, 1);
    for_each_class(k, [&](uint32_t j) { y[row * k + j] = expf(log_p(j)); });
}

/// `y = x − ln Σ_row exp(x)`.
extern "C" __global__ void __launch_bounds__(256)
    log_softmax_forward(uint64_t rows, uint32_t k, const float* x, float* y) {
    uint64_t row = my_row();
    if (row >= rows) return;
    LogSoftmax log_p(x + row * k, k, 1);
    for_each_class(k, [&](uint32_t j) { y[row * k + j] = log_p(j); });
}

/// The share of class `j` in the smoothed target; NaN if the target is not a class.
__device__ __forceinline__ float target_share(uint32_t k, uint32_t target, float smoothing, uint32_t j) {
    if (target >= k) return __uint_as_float(0x7fc00000);
    return (j == target ? 1 - smoothing : 0) + smoothing / k;
}

/// Each row's cross entropy against its target: `−Σ_j q_j · log_softmax(logits)_j`.
extern "C" __global__ void __launch_bounds__(256)
    cross_entropy_rows(uint64_t rows, uint32_t k, const float* logits, const uint32_t* targets, float smoothing,
                       float* losses) {
    uint64_t row = my_row();
    if (row >= rows) return;
    LogSoftmax log_p(logits + row * k, k, 1);
    float loss = 0;
    for_each_class(k, [&](uint32_t j) { loss -= target_share(k, targets[row], smoothing, j) * log_p(j); });
    loss = warp_sum(loss);
    if (threadIdx.x % 32 == 0) losses[row] = loss;
}

/// `dlogits = scale/rows · (softmax(logits) − q)`.
extern "C" __global__ void __launch_bounds__(256)
    cross_entropy_input_grad(uint64_t rows, uint32_t k, const float* logits, const uint32_t* targets, float smoothing,
                             const float* scale, float* dlogits) {
    uint64_t row = my_row();
    if (row >= rows) return;
    LogSoftmax log_p(logits + row * k, k, 1);
    float factor = *scale / rows;
    for_each_class(k, [&](uint32_t j) {
        dlogits[row * k + j] = factor * (expf(log_p(j)) - target_share(k, targets[row], smoothing, j));
    });
}

/// Each row's divergence, `T² · KL(p ‖ q)` with `p = softmax(teacher/T)` and `q = softmax(student/T)`.
extern "C" __global__ void __launch_bounds__(256)
    kl_divergence_rows(uint64_t rows, uint32_t k, const float* student, const float* teacher, float temperature,
                       float* losses) {
    uint64_t row = my_row();
    if (row >= rows) return;
    LogSoftmax log_p(teacher + row * k, k, temperature), log_q(student + row * k, k, temperature);
    float loss = 0;
    for_each_class(k, [&](uint32_t j) { loss += expf(log_p(j)) * (log_p(j) - log_q(j)); });
    loss = warp_sum(loss);
    if (threadIdx.x % 32 == 0) losses[row] = temperature * temperature * loss;
}

/// `dstudent = scale · T/rows · (q − p)`.
extern "C" __global__ void __launch_bounds__(256)
    kl_divergence_input_grad(uint64_t rows, uint32_t k, const float* student, const float* teacher, float temperature,
                             const float* scale, float* dstudent) {
    uint64_t row = my_row();
    if (row >= rows) return;
    LogSoftmax log_p(teacher + row * k, k, temperature), log_q(student + row * k, k, temperature);
    float factor = *scale * temperature / rows;
    for_each_class(k, [&](uint32_t j) { dstudent[row * k + j] = factor * (expf(log_q(j)) - expf(log_p(j))); });
}

/// The sum of `x` over a block of `THREADS`, in every thread: pairwise, in a fixed order.
template <int THREADS, class T> __device__ __forceinline__ T block_sum(T x) {
    struct Shared {
        T of[THREADS];
    };
    auto& s = shared_memory<Shared>();
    s.of[threadIdx.x] = x;
    for (uint32_t half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) s.of[threadIdx.x] += s.of[threadIdx.x + half];
    }
    __syncthreads();
    return s.of[0];
}

/// Each block's sum of `(a − b)²` over its threads' elements; each thread strides by the whole grid.
extern "C" __global__ void __launch_bounds__(256) mse_partials(uint64_t n, const float* a, const float* b, float* partials) {
    float sum = 0;
    for (uint64_t i = global_thread(); i < n; i += uint64_t(gridDim.x) * blockDim.x) sum += (a[i] - b[i]) * (a[i] - b[i]);
    sum = block_sum<256>(sum);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

/// `da = scale · 2/n · (a − b)`.
extern "C" __global__ void __launch_bounds__(256)
    mse_input_grad(uint64_t n, const float* a, const float* b, const float* scale, float* da) {
    uint64_t i = global_thread();
    if (i < n) da[i] = *scale * 2 / n * (a[i] - b[i]);
}

/// `loss = Σ terms / divisor`, by one block of 1024.
extern "C" __global__ void __launch_bounds__(1024)
    mean_of_terms(uint64_t terms, uint64_t divisor, const float* of, float* loss) {
    double sum = 0;
    for (uint64_t i = threadIdx.x; i < terms; i += 1024) sum += of[i];
    sum = block_sum<1024>(sum);
    if (threadIdx.x == 0) *loss = float(sum / divisor);
}
