// Group normalization of images `x` `[n, pixels, c]` (Wu & He 2018): `y = gamma·(x − mean)/√(var + eps) + beta`, with the
// statistics of the pixels and the neighboring channels of a group in one image.
//
//   forward   partials    reads x            backward   partials, statistics   as forward
//             statistics  reads partials                gradient partials      reads x, dy
//             apply       reads x, writes y             gradient terms         reads these partials
//                                                       dx                     reads x, dy, writes dx
//                                                       layer_norm.cu sums these partials to those of parameters
//
// Images are the third axis of the grid; each is a matrix `[pixels, c]` with the tile of columns.cuh, so that a warp reads
// whole lines however few channels a group has. Each block subtracts its own first pixel before squaring, so that the squares
// scale with the spread and not with the mean. Blocks and channels are combined in double precision, by the formula of Chan,
// Golub & LeVeque (1983).
#include "columns.cuh"

/// `GroupNormArg` in ops/group_norm.rs.
struct GroupNorm {
    uint64_t parts; // of an image
    uint32_t groups, depth;
    float eps;
    uint32_t unused;
};

/// The statistics of a group of an image: the mean, rounded, what rounding added to it, and 1/√(var + eps).
struct Moments {
    float center, lost, inv;
};

/// The image of this block in a tensor of images.
template <class T> __device__ __forceinline__ T* image_of(const Columns& g, T* images) {
    return images + uint64_t(blockIdx.z) * g.rows * g.c;
}

/// The sums of the image of this block: `[image, part, 2, channel]`.
__device__ __forceinline__ uint64_t sums_of_image(const Columns& g, const GroupNorm& norm) {
    return uint64_t(blockIdx.z) * norm.parts * 2 * g.c;
}

/// Sums of `x − first` and of its square, where `first` is the block's first pixel: `partials[image, part, sum, channel]`.
extern "C" __global__ void __launch_bounds__(256)
    group_norm_partials(int type, Columns g, GroupNorm norm, const void* x, float* partials) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        const T* image = image_of(g, (const T*)x);
        Place<N> at(g);
        Piece<T, N> first = {};
        if (at.inside) first = Piece<T, N>::load(image + blockIdx.x * g.rows_per_block * g.c + at.channel);
        column_partials<2, N>(g, partials + sums_of_image(g, norm), [&](uint64_t offset, float(&sums)[2][N]) {
            auto in = Piece<T, N>::load(image + offset);
#pragma unroll
            for (int i = 0; i < N; i++) {
                float d = in.lane[i] - first.lane[i];
                sums[0][i] += d;
                sums[1][i] += d * d;
            }
        });
    });
}

/// The statistics of each image and group `[n, groups]`, from the partial sums; a block for each.
extern "C" __global__ void __launch_bounds__(256)
    group_norm_statistics(int type, Columns g, GroupNorm norm, const void* x, const float* partials,
                          float* statistics) {
    uint64_t image = blockIdx.x / norm.groups;
    uint32_t group = blockIdx.x % norm.groups;
    const float* sums = partials + image * norm.parts * 2 * g.c;
    auto sum = [&](uint64_t i, int which) {
        return double(sums[(i / norm.depth * 2 + which) * g.c + group * norm.depth + i % norm.depth]);
    };
    auto first = [&](uint64_t i) {
        uint64_t pixel = image * g.rows + i / norm.depth * g.rows_per_block;
        double value = 0;
        with_type(type, [&](auto t) {
            value = to_float(((const decltype(t)*)x)[pixel * g.c + group * norm.depth + i % norm.depth]);
        });
        return value;
    };
    auto rows = [&](uint64_t i) {
        return double(min(g.rows - i / norm.depth * g.rows_per_block, g.rows_per_block));
    };
    // A part is a block of pixels of one channel.
    uint64_t parts = norm.parts * norm.depth;
    double covered = double(g.rows) * norm.depth;
    double mean = fold_parts(1, parts, [&](uint64_t i) { return rows(i) * first(i) + sum(i, 0); }) / covered;
    double squares = fold_parts(1, parts, [&](uint64_t i) {
        double offset = sum(i, 0) / rows(i), away = first(i) + offset - mean, spread = sum(i, 1) - sum(i, 0) * offset;
        return (spread < 0 ? 0 : spread) + rows(i) * away * away;
    });
    if (threadIdx.x > 0) return;
    Moments& out = ((Moments*)statistics)[blockIdx.x];
    out.center = float(mean);
    out.lost = float(double(out.center) - mean);
    out.inv = float(1 / sqrt(squares / covered + double(norm.eps)));
}

/// `y = (x − mean)·gamma·inv + beta`.
extern "C" __global__ void __launch_bounds__(256)
    group_norm_apply(int type, Columns g, GroupNorm norm, const void* x, const float* statistics, const float* gamma,
                     const float* beta, void* y) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Place<N> at(g);
        if (!at.inside) return;
        const T* image = image_of(g, (const T*)x);
        T* out = image_of(g, (T*)y);
        float center[N], factor[N], add[N];
#pragma unroll
        for (int i = 0; i < N; i++) {
            uint32_t ch = at.channel + i;
            Moments m = ((const Moments*)statistics)[uint64_t(blockIdx.z) * norm.groups + ch / norm.depth];
            center[i] = m.center;
            factor[i] = gamma[ch] * m.inv;
            add[i] = beta[ch] + m.lost * factor[i];
        }
#pragma unroll 2
        for (uint64_t row = at.row; row < at.end; row += at.step) {
            uint64_t offset = row * g.c + at.channel;
            auto z = Piece<T, N>::load(image + offset);
#pragma unroll
            for (int i = 0; i < N; i++) z.lane[i] = (z.lane[i] - center[i]) * factor[i] + add[i];
            z.store(out + offset);
        }
    });
}

/// Sums of `dy·x̂` and of `dy`: `partials[image, part, sum, channel]`.
extern "C" __global__ void __launch_bounds__(256)
    group_norm_gradient_partials(int type, Columns g, GroupNorm norm, const void* x, const void* dy,
                                 const float* statistics, float* partials) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        const T *image = image_of(g, (const T*)x), *upper_image = image_of(g, (const T*)dy);
        Place<N> at(g);
        Moments m[N] = {};
        if (at.inside) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                uint32_t group = (at.channel + i) / norm.depth;
                m[i] = ((const Moments*)statistics)[uint64_t(blockIdx.z) * norm.groups + group];
            }
        }
        column_partials<2, N>(g, partials + sums_of_image(g, norm), [&](uint64_t offset, float(&sums)[2][N]) {
            auto in = Piece<T, N>::load(image + offset);
            auto upper = Piece<T, N>::load(upper_image + offset);
#pragma unroll
            for (int i = 0; i < N; i++) {
                sums[0][i] += upper.lane[i] * ((in.lane[i] - m[i].center + m[i].lost) * m[i].inv);
                sums[1][i] += upper.lane[i];
            }
        });
    });
}

/// `Σ g·x̂/M` and `Σ g/M` of each image and group `[n, groups, 2]`, with `g = dy·gamma` and M numbers in a group; a block for
/// each.
extern "C" __global__ void __launch_bounds__(256)
    group_norm_gradient_terms(Columns g, GroupNorm norm, const float* partials, const float* gamma, float* terms) {
    uint64_t image = blockIdx.x / norm.groups;
    uint32_t group = blockIdx.x % norm.groups;
    const float* sums = partials + image * norm.parts * 2 * g.c;
    auto scaled = [&](int which) {
        return fold_parts(1, norm.parts * norm.depth, [&](uint64_t i) {
            uint32_t ch = group * norm.depth + uint32_t(i % norm.depth);
            return double(gamma[ch]) * sums[(i / norm.depth * 2 + which) * g.c + ch];
        });
    };
    double slope = scaled(0), shift = scaled(1), covered = double(g.rows) * norm.depth;
    if (threadIdx.x > 0) return;
    terms[2 * uint64_t(blockIdx.x)] = float(slope / covered);
    terms[2 * uint64_t(blockIdx.x) + 1] = float(shift / covered);
}

/// `dx = (g − Σ g/M − x̂·Σ g·x̂/M)·inv`.
extern "C" __global__ void __launch_bounds__(256)
    group_norm_gradient_apply(int type, Columns g, GroupNorm norm, const void* x, const void* dy,
                              const float* statistics, const float* gamma, const float* terms, void* dx) {
    with_lanes(type, g.c, [&](auto t, auto n) {
        using T = decltype(t);
        constexpr int N = decltype(n)::VALUE;
        Place<N> at(g);
        if (!at.inside) return;
        const T *image = image_of(g, (const T*)x), *upper_image = image_of(g, (const T*)dy);
        T* out = image_of(g, (T*)dx);
        float center[N], factor[N], slope[N], shift[N];
#pragma unroll
        for (int i = 0; i < N; i++) {
            uint32_t ch = at.channel + i;
            uint64_t group = uint64_t(blockIdx.z) * norm.groups + ch / norm.depth;
            Moments m = ((const Moments*)statistics)[group];
            center[i] = m.center;
            factor[i] = gamma[ch] * m.inv;
            slope[i] = terms[2 * group] * m.inv * m.inv;
            shift[i] = terms[2 * group + 1] * m.inv + slope[i] * m.lost;
        }
#pragma unroll 2
        for (uint64_t row = at.row; row < at.end; row += at.step) {
            uint64_t offset = row * g.c + at.channel;
            auto in = Piece<T, N>::load(image + offset);
            auto upper = Piece<T, N>::load(upper_image + offset);
            Piece<T, N> d;
#pragma unroll
            for (int i = 0; i < N; i++) {
                d.lane[i] = factor[i] * upper.lane[i] - slope[i] * (in.lane[i] - center[i]) - shift[i];
            }
            d.store(out + offset);
        }
    });
}
