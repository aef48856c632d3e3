// Instructions without a C++ equivalent: asynchronous copies to shared memory, matrix fragments, tensor cores. The
// emulator implements the same functions over its fibers.
#pragma once
#include "device.cuh"

#ifdef LOPPER_EMULATOR
#include "emulator/ptx.h"
#else

__device__ __forceinline__ uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

/// Returns `x`, hiding its origin from the compiler, which then keeps it in registers and adds to it in a loop
/// instead of recomputing it.
template <class X> __device__ __forceinline__ X keep(X x) {
    if constexpr (sizeof(X) == 8)
        asm volatile("" : "+l"(x));
    else
        asm volatile("" : "+r"(x));
    return x;
}

/// Starts to copy 16 bytes to shared memory, bypassing the L1 cache; if `there` is false, it writes zeros and does
/// not read `from`. Both addresses are multiples of 16.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

/// Commits this thread's copies since the last commit as a group.
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until all but the last N of this thread's groups have landed.
template <int N> __device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/// Loads four matrices of 8 rows of 16 bytes: lane l passes the address of row l % 8 of matrix l / 8, and gets the
/// four bytes of column l % 4 in row l / 4 of each matrix.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/// Like `load_matrices`, for 8×8 two-byte elements that are transposed on the way.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/// Rounds an f32 to the ten mantissa bits that tensor cores read; ties go away from zero.
__device__ __forceinline__ uint32_t round_tf32(uint32_t x) {
    uint32_t y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(__uint_as_float(x)));
    return y;
}

/// `d += a·b` over a warp: `a` is 16 rows of 32 bytes, `b` is 8 columns of 32 bytes, `d` is 16×8. Lane 4g + t holds
/// bytes 4t.. (and 16 + 4t..) of rows g and g + 8, and of column g; and columns 2t and 2t + 1 of both rows of `d`.
#define LOPPER_MMA(T, SHAPE)                                                                                  \
    __device__ __forceinline__ void mma(T, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {  \
        asm("mma.sync.aligned." SHAPE " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"      \
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                  \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                                  \
    }
LOPPER_MMA(bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
LOPPER_MMA(f16, "m16n8k16.row.col.f32.f16.f16.f32")
LOPPER_MMA(float, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef LOPPER_MMA

#endif
