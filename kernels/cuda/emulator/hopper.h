// The emulated counterparts of `hopper.cuh`'s instructions: the same names over memory and fibers.
//
// Asynchronous operations complete as late as the rules allow. A bulk copy lands while some thread waits for it, in
// random order among the copies in flight; a wgmma reads shared memory when its group is waited for. A kernel that
// frees a stage too early, or reads one too soon, computes with NaN or with another step's numbers.
#pragma once

/// The 128 bytes that the emulated driver's `cuTensorMapEncodeTiled` writes.
struct TensorMap {
    const char* address;
    uint64_t stride[3]; // bytes, of dimensions 1..3
    uint32_t size[4], box[4], step[4];
    uint32_t element_bytes, tf32, unused[10];
};
static_assert(sizeof(TensorMap) == 128, "same size as CUtensorMap");

/// An mbarrier: a phase ends when all arrivals have come and all announced bytes have landed.
struct Barrier {
    uint64_t phase : 1, missing : 12, arrivals : 12, ready : 1;
    int64_t bytes : 38;
};

namespace emulator {
/// The position in shared memory of the byte at `offset` under the 128-byte swizzle: the number of the 16-byte chunk
/// within its 128-byte row is XORed with the row's number within its eight rows.
inline size_t swizzled(size_t offset) { return offset ^ ((offset >> 7 & 7) << 4); }

inline uint32_t shared_offset(const void* p) {
    int64_t offset = static_cast<const char*>(p) - shared_arena();
    if (offset < 0 || size_t(offset) >= block->arena_bytes) fail("an address outside shared memory");
    return uint32_t(offset);
}

inline void complete(Barrier& b) {
    block->idle = 0;
    if (b.missing == 0 && b.bytes == 0) b.phase ^= 1, b.missing = b.arrivals;
}

inline void need_ready(const Barrier& b) {
    if (b.ready != 1 || b.arrivals == 0 || b.arrivals == 0xfff) fail("use of an uninitialized mbarrier");
}

/// Rounds the f32 at `p` to eleven significant bits, ties away from zero; infinities and NaNs stay.
inline void round_to_tf32(char* p) {
    uint32_t u;
    memcpy(&u, p, 4);
    if ((u & 0x7f800000) != 0x7f800000) u = (u + 0x1000) & ~0x1fffu;
    memcpy(p, &u, 4);
}

/// Writes a box to shared memory, swizzled, with zeros outside the tensor.
inline void land(const BulkCopy& copy) {
    TensorMap m;
    memcpy(&m, copy.map, sizeof m);
    char* arena = shared_arena();
    size_t to = shared_offset(copy.to), row_bytes = size_t(m.box[0]) * m.element_bytes;
    if (to % 1024) fail("a swizzled copy to an address that is not a multiple of 1024");
    auto count = [&](int d) { return (m.box[d] + m.step[d] - 1) / m.step[d]; };
    auto inside = [&](int d, int64_t i) { return i >= 0 && i < m.size[d]; };
    size_t bytes = 0;
    for (uint32_t i3 = 0; i3 < count(3); i3++)
        for (uint32_t i2 = 0; i2 < count(2); i2++)
            for (uint32_t i1 = 0; i1 < count(1); i1++) {
                int64_t at[] = {copy.at[0], copy.at[1] + int64_t(i1) * m.step[1], copy.at[2] + int64_t(i2) * m.step[2],
                                copy.at[3] + int64_t(i3) * m.step[3]};
                bool row = inside(1, at[1]) && inside(2, at[2]) && inside(3, at[3]);
                for (size_t b = 0; b < row_bytes; b += m.element_bytes, bytes += m.element_bytes) {
                    int64_t c = at[0] + int64_t(b / m.element_bytes);
                    char* into = arena + swizzled(to + bytes);
                    if (!row || !inside(0, c)) {
                        memset(into, 0, m.element_bytes);
                        continue;
                    }
                    int64_t from = c * m.element_bytes;
                    for (int d = 1; d < 4; d++) from += at[d] * int64_t(m.stride[d - 1]);
                    memcpy(into, m.address + from, m.element_bytes);
                    if (m.tf32) round_to_tf32(into);
                }
            }
    Barrier& barrier = *static_cast<Barrier*>(copy.barrier);
    barrier.bytes -= int64_t(bytes);
    complete(barrier);
}

/// Lands one of the copies in flight, if there are any.
inline bool land_any() {
    auto& bulk = block->bulk;
    if (bulk.empty()) return false;
    std::swap(bulk[draw() % bulk.size()], bulk.back());
    BulkCopy copy = bulk.back();
    bulk.pop_back();
    land(copy);
    return true;
}

/// Reads row `row` of the operand that `descriptor` describes, `DEPTH` elements.
template <class T, bool TRANSPOSED, int DEPTH> void operand(uint64_t descriptor, int row, float (&to)[DEPTH]) {
    size_t base = (descriptor & 0x3fff) << 4, lead = (descriptor >> 16 & 0x3fff) << 4;
    size_t atom = (descriptor >> 32 & 0x3fff) << 4;
    if (descriptor >> 46 != 1 << 16) fail("a descriptor with anything but the plain 128-byte swizzle");
    if (base & 0x380) fail("a descriptor without base offset for rows that do not begin at a multiple of 1024");
    constexpr int WIDE = 128 / sizeof(T), CHUNK = 16 / sizeof(T);
    const char* arena = shared_arena();
    T values[DEPTH];
    if (TRANSPOSED) {
        size_t first = base + row / WIDE * lead + row % WIDE * sizeof(T);
        for (int k = 0; k < DEPTH; k++)
            memcpy(&values[k], arena + swizzled(first + k / 8 * atom + k % 8 * 128), sizeof(T));
    } else {
        size_t first = base + row / 8 * atom + row % 8 * 128;
        for (int k = 0; k < DEPTH; k += CHUNK) memcpy(&values[k], arena + swizzled(first + k * sizeof(T)), 16);
    }
    for (int k = 0; k < DEPTH; k++) to[k] = to_float(values[k]);
}

/// This thread's part of `d += a·bᵀ`, one step with a depth of 32 bytes: rows r and r + 8 of its warp's sixteen, and
/// two columns of every eight.
template <class T, bool TRANSPOSED, int R> void multiply(float* d, uint64_t a, uint64_t b) {
    constexpr int DEPTH = 32 / sizeof(T);
    int thread = block->current % 128, row = thread / 32 * 16 + thread % 32 / 4, column = thread % 4 * 2;
    float rows[2][DEPTH], columns[2][DEPTH];
    for (int i = 0; i < 2; i++) operand<T, TRANSPOSED>(a, row + 8 * i, rows[i]);
    for (int j = 0; j < R / 4; j++, d += 4) {
        for (int e = 0; e < 2; e++) operand<T, TRANSPOSED>(b, 8 * j + column + e, columns[e]);
        float sum[] = {d[0], d[1], d[2], d[3]};
        for (int k = 0; k < DEPTH; k++)
            for (int i = 0; i < 4; i++) sum[i] += rows[i / 2][k] * columns[i % 2][k];
        memcpy(d, sum, sizeof sum);
    }
}
} // namespace emulator

inline void barrier_init(Barrier& b, unsigned arrivals) {
    if (emulator::shared_offset(&b) % 8) emulator::fail("an mbarrier at an address that is not a multiple of 8");
    b.phase = 0, b.bytes = 0, b.missing = b.arrivals = arrivals, b.ready = 1;
}
inline void barrier_init_fence() {}
inline void barrier_arrive(Barrier& b) {
    emulator::need_ready(b);
    if (b.missing == 0) emulator::fail("more arrivals at an mbarrier than it expects");
    b.missing--;
    emulator::complete(b);
}
inline void barrier_expect(Barrier& b, unsigned bytes) {
    b.bytes += bytes;
    barrier_arrive(b);
}
inline void barrier_wait(Barrier& b, unsigned parity) {
    emulator::need_ready(b);
    while (b.phase == parity)
        // Occasionally a copy lands; mostly other fibers run first.
        if (emulator::draw() % 256 || !emulator::land_any()) emulator::spin();
}

inline void copy_box(void* to, const TensorMap& map, Barrier& b, int i0, int i1, int i2, int i3) {
    emulator::BulkCopy copy = {to, {}, &b, {i0, i1, i2, i3}};
    memcpy(copy.map, &map, sizeof map);
    emulator::block->bulk.push_back(copy);
}

inline uint32_t shared_address(const void* p) { return emulator::shared_offset(p); }

template <class T, int R> inline void wgmma(float (&d)[R], uint64_t a, uint64_t b) {
    float* to = d;
    emulator::me().products.push_back([=] { emulator::multiply<T, false, R>(to, a, b); });
}
template <class T, int R> inline void wgmma_columns(float (&d)[R], uint64_t a, uint64_t b) {
    float* to = d;
    emulator::me().products.push_back([=] { emulator::multiply<T, true, R>(to, a, b); });
}
inline void wgmma_fence() {}
inline void wgmma_commit() { emulator::me().product_groups.push_back(emulator::me().products.size()); }
template <int GROUPS> inline void wgmma_wait() {
    emulator::Fiber& f = emulator::me();
    if (f.product_groups.size() <= GROUPS) return;
    size_t last = f.product_groups.size() - GROUPS, end = f.product_groups[last - 1];
    for (size_t i = 0; i < end; i++) f.products[i]();
    f.products.erase(f.products.begin(), f.products.begin() + end);
    f.product_groups.erase(f.product_groups.begin(), f.product_groups.begin() + last);
    for (size_t& group : f.product_groups) group -= end;
}
template <int R> inline void wgmma_finish(float (&)[R]) { wgmma_wait<0>(); }
inline void warpgroup_sync() { emulator::barrier(1 + emulator::block->current / 128, 128); }
