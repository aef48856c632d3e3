// Hopper's own instructions (sm_90a): bulk tensor copies that fill shared memory without occupying a thread, barriers
// that count their bytes, and wgmma, the matrix product of a warpgroup (four warps) from shared memory.
//
//   producer: wait(empty) ─ expect(full, bytes) ─ copy_box ─▶ shared memory ─▶ full completes
//   consumer: wait(full) ─ wgmma… commit ─ wait for it ─ arrive(empty)
//
// Both sides use the 128-byte swizzle: rows of 128 bytes in atoms of eight (1024 bytes), in which the 16-byte chunk c
// of row r is stored as chunk c ^ r. The same chunk of eight rows then covers all 32 banks exactly once. PTX ISA 9.0,
// "Asynchronous Warpgroup Level Matrix Instructions" and "Tensor Swizzling Modes".
#pragma once
#include "device.cuh"

#ifdef LOPPER_EMULATOR
#include "emulator/hopper.h"
#else

// Only this feature set has the instructions; in a module compiled for another architecture, the kernels trap.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define HOPPER(...) asm volatile(__VA_ARGS__)
#else
#define HOPPER(...) __trap()
#endif

/// A tensor in global memory from which boxes are copied, created by the host (`CUtensorMap`). A kernel takes it as
/// `const __grid_constant__ TensorMap`.
struct __align__(128) TensorMap {
    uint64_t opaque[16];
};

/// An mbarrier in shared memory. The parity of its phases alternates, starting with 0; a phase ends when all arrivals
/// have come and all announced bytes have landed.
struct Barrier {
    uint64_t state;
};

__device__ __forceinline__ uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ void barrier_init(Barrier& b, unsigned arrivals) {
    HOPPER("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&b)), "r"(arrivals) : "memory");
}

/// Makes the barriers visible to the copy engine; comes after the inits and before the block's barrier.
__device__ __forceinline__ void barrier_init_fence() {
    HOPPER("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(Barrier& b) {
    HOPPER("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&b)) : "memory");
}

/// Arrives, and makes the phase also wait for `bytes` of copies.
__device__ __forceinline__ void barrier_expect(Barrier& b, unsigned bytes) {
    HOPPER("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&b)), "r"(bytes) : "memory");
}

/// Waits for the end of the phase of `parity`. Parity 1 on a new barrier returns at once: the preceding phase has
/// ended.
__device__ __forceinline__ void barrier_wait(Barrier& b, unsigned parity) {
    HOPPER("{\n"
           ".reg .pred done;\n"
           "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
           "@!done bra again;\n"
           "}" ::"r"(shared_address(&b)), "r"(parity) : "memory");
}

/// Copies the map's box whose first element has the coordinates (i0, …, i3), dimension 0 being contiguous, to `to`, a
/// multiple of 1024, in the 128-byte swizzle. Elements outside the tensor, on either side, are 0. `b` counts the
/// bytes.
__device__ __forceinline__ void copy_box(void* to, const TensorMap& map, Barrier& b, int i0, int i1, int i2, int i3) {
    HOPPER("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
           "[%2];" ::"r"(shared_address(to)), "l"(&map), "r"(shared_address(&b)), "r"(i0), "r"(i1), "r"(i2), "r"(i3)
           : "memory");
}

/// Precedes the wgmmas of a group, which then see earlier writes to the accumulator's registers.
__device__ __forceinline__ void wgmma_fence() { HOPPER("wgmma.fence.sync.aligned;" ::: "memory"); }

/// Commits the wgmmas since the last commit as a group.
__device__ __forceinline__ void wgmma_commit() { HOPPER("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/// Waits until at most the last `GROUPS` groups are unfinished; shared memory that older ones read may then be
/// overwritten.
template <int GROUPS> __device__ __forceinline__ void wgmma_wait() {
    HOPPER("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
}

/// Waits for all groups; afterwards the accumulator may be read.
template <int R> __device__ __forceinline__ void wgmma_finish(float (&d)[R]) {
    wgmma_wait<0>();
    // Keeps the compiler from reading the registers before the wait, which does not mention them.
#pragma unroll
    for (int i = 0; i < R; i++) asm volatile("" : "+f"(d[i])::"memory");
}

/// Waits for the other warps of this warpgroup. Barrier 0 is __syncthreads. The numbers are constants, because a
/// barrier number in a register would reserve all sixteen barriers for the block.
__device__ __forceinline__ void warpgroup_sync() {
    if (threadIdx.x < 128)
        asm volatile("bar.sync 1, 128;" ::: "memory");
    else
        asm volatile("bar.sync 2, 128;" ::: "memory");
}

// The accumulator's registers, as operands and as names in the text.
#define WGMMA_8(d, i)                                                                                          \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),                \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define WGMMA_32(d, i) WGMMA_8(d, i), WGMMA_8(d, i + 8), WGMMA_8(d, i + 16), WGMMA_8(d, i + 24)
#define WGMMA_TEXT_32                                                                                          \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                   \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WGMMA_TEXT_64                                                                                          \
    WGMMA_TEXT_32 ", "                                                                                         \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                         \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_TEXT_128                                                                                         \
    WGMMA_TEXT_64 ", "                                                                                         \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "                         \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "                         \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "             \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

/// `wgmma_instruction(d, a, b)`: one instruction, m64nN with a depth of 32 bytes. For 16-bit operands, `MAJOR` states
/// that both have a contiguous depth; for other types it always is.
#define WGMMA(TYPE, DEPTH, MAJOR, N, TEXT, A, B, USE, ...)                                                     \
    HOPPER("{\n"                                                                                               \
           ".reg .pred add;\n"                                                                                 \
           "setp.ne.b32 add, " USE ", 0;\n"                                                                    \
           "wgmma.mma_async.sync.aligned.m64n" N DEPTH ".f32." TYPE "." TYPE " {" TEXT "}, " A ", " B          \
           ", add, 1, 1" MAJOR ";\n"                                                                           \
           "}"                                                                                                 \
           : __VA_ARGS__                                                                                       \
           : "l"(a), "l"(b), "r"(1))
#define WGMMA_WIDTHS(T, TYPE, DEPTH, MAJOR)                                                                    \
    __device__ __forceinline__ void wgmma_instruction(T, float (&d)[32], uint64_t a, uint64_t b) {             \
        WGMMA(TYPE, DEPTH, MAJOR, "64", WGMMA_TEXT_32, "%32", "%33", "%34", WGMMA_32(d, 0));                   \
    }                                                                                                          \
    __device__ __forceinline__ void wgmma_instruction(T, float (&d)[64], uint64_t a, uint64_t b) {             \
        WGMMA(TYPE, DEPTH, MAJOR, "128", WGMMA_TEXT_64, "%64", "%65", "%66", WGMMA_32(d, 0), WGMMA_32(d, 32)); \
    }                                                                                                          \
    __device__ __forceinline__ void wgmma_instruction(T, float (&d)[128], uint64_t a, uint64_t b) {            \
        WGMMA(TYPE, DEPTH, MAJOR, "256", WGMMA_TEXT_128, "%128", "%129", "%130", WGMMA_32(d, 0), WGMMA_32(d, 32), \
              WGMMA_32(d, 64), WGMMA_32(d, 96));                                                               \
    }
WGMMA_WIDTHS(bf16, "bf16", "k16", ", 0, 0")
WGMMA_WIDTHS(f16, "f16", "k16", ", 0, 0")
WGMMA_WIDTHS(float, "tf32", "k8", "")

/// Tag for operands whose rows and columns, not their depth, are contiguous.
template <class T> struct Columns {};
WGMMA_WIDTHS(Columns<bf16>, "bf16", "k16", ", 1, 1")
WGMMA_WIDTHS(Columns<f16>, "f16", "k16", ", 1, 1")

/// Starts `d += a·bᵀ` on a warpgroup: a is 64×K and b is N×K, both in shared memory with contiguous depth, and K
/// elements are 32 bytes; d is 64×N with N = 2R. Of f32 operands, only the upper 19 bits are used (TF32). Thread t of
/// the warpgroup holds `d[4j + 2i + e]` = element (16·(t/32) + t%32/4 + 8i, 8j + t%4·2 + e).
template <class T, int R> __device__ __forceinline__ void wgmma(float (&d)[R], uint64_t a, uint64_t b) {
    wgmma_instruction(T(), d, a, b);
}

/// Like `wgmma`, for 16-bit operands that are stored transposed: the 64 rows of a and the N of b are contiguous.
template <class T, int R> __device__ __forceinline__ void wgmma_columns(float (&d)[R], uint64_t a, uint64_t b) {
    wgmma_instruction(Columns<T>(), d, a, b);
}
#endif

/// The descriptor of an operand with contiguous depth: rows of 128 bytes in swizzled atoms of eight, one atom after
/// another. `at` is a multiple of 1024, plus up to 96 bytes to step along the depth, 32 per wgmma.
__device__ __forceinline__ uint64_t rows_descriptor(const void* at) {
    constexpr uint64_t ATOM = 1024, SWIZZLE_128 = 1;
    return SWIZZLE_128 << 62 | ATOM >> 4 << 32 | uint64_t(1) << 16 | (shared_address(at) & 0x3ffff) >> 4;
}

/// The descriptor of a transposed operand: for each depth, 64 elements in 128 bytes, in swizzled atoms of eight depths,
/// one atom after another; the next 64 elements begin `lead` bytes later. Each wgmma advances 2048 bytes along the
/// depth.
__device__ __forceinline__ uint64_t columns_descriptor(const void* at, unsigned lead) {
    return rows_descriptor(at) - (uint64_t(1) << 16) + (uint64_t(lead) >> 4 << 16);
}

/// A swizzled row of shared memory: channels of a pixel or of a filter.
struct Row {
    unsigned char channels[128];
};

/// A position in a ring of stages, and the parity of its round.
template <int STAGES> struct Ring {
    int stage = 0;
    unsigned parity = 0;

    __device__ __forceinline__ void next() {
        if (++stage == STAGES) stage = 0, parity ^= 1;
    }
};

/// Eight warps (two warpgroups) consume; one thread of a ninth produces.
constexpr int CONSUMERS = 8, THREADS = CONSUMERS * 32 + 32;

/// Initializes the barriers of a ring: a stage is full when its producer has arrived and the bytes have landed, and
/// empty when all consumers have arrived. All threads of the block call it.
template <int STAGES> __device__ __forceinline__ void ring_init(Barrier (&full)[STAGES], Barrier (&empty)[STAGES]) {
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(full[i], 1);
            barrier_init(empty[i], CONSUMERS);
        }
        barrier_init_fence();
    }
    __syncthreads();
}

/// Signals that a warp has finished with a stage.
__device__ __forceinline__ void release(Barrier& empty) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(empty);
}
