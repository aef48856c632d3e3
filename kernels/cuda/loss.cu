// Losses over `[rows, k]` in f32, and their gradients, multiplied by the upstream gradient `*scale`. A warp computes a row;
// see log_softmax.cuh. Row losses go to memory, and one block averages them in double precision and in a fixed order.
#include "log_softmax.cuh"

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
    LogSoftmax<float> log_p(logits + row * k, k, 1);
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
    LogSoftmax<float> log_p(logits + row * k, k, 1);
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
    LogSoftmax<float> log_p(teacher + row * k, k, temperature), log_q(student + row * k, k, temperature);
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
    LogSoftmax<float> log_p(teacher + row * k, k, temperature), log_q(student + row * k, k, temperature);
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
