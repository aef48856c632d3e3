// The instructions of `ptx.cuh` over fibers. Copies land only at the wait that requires them; a warp's matrices pass
// through its exchange area.
#pragma once

template <class X> X keep(X x) { return x; }

inline void copy_async(void* to, const void* from, bool there) {
    if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16)
        emulator::fail("cp.async of 16 bytes at an address that is not a multiple of 16");
    emulator::me().copies.push_back({to, there ? from : nullptr, 16, there ? 16u : 0u});
}

inline void copy_commit() {
    emulator::Fiber& f = emulator::me();
    f.groups.push_back(f.copies.size());
}

template <int N> inline void copy_wait() {
    emulator::Fiber& f = emulator::me();
    if (f.groups.size() <= N) return;
    size_t groups = f.groups.size() - N, end = f.groups[groups - 1];
    for (size_t i = 0; i < end; i++) {
        const emulator::Copy& c = f.copies[i];
        if (c.read) memcpy(c.to, c.from, c.read);
        memset(static_cast<char*>(c.to) + c.read, 0, c.bytes - c.read);
    }
    f.copies.erase(f.copies.begin(), f.copies.begin() + end);
    f.groups.erase(f.groups.begin(), f.groups.begin() + groups);
    for (size_t& g : f.groups) g -= end;
}

namespace emulator {
/// Gives every lane the rows that all lanes of its warp passed.
inline const void** exchange_rows(const void* row, int& lane) {
    if (reinterpret_cast<uintptr_t>(row) % 16) fail("ldmatrix of a row whose address is not a multiple of 16");
    Exchange x = exchange();
    x.warp.pointer[x.half][x.lane] = row;
    sync_warp(~0u);
    lane = x.lane;
    return x.warp.pointer[x.half];
}
} // namespace emulator

inline void load_matrices(uint32_t (&r)[4], const void* row) {
    int lane;
    const void** rows = emulator::exchange_rows(row, lane);
    for (int i = 0; i < 4; i++) r[i] = static_cast<const uint32_t*>(rows[8 * i + lane / 4])[lane % 4];
}

inline void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
    int lane;
    const void** rows = emulator::exchange_rows(row, lane);
    auto at = [&](int row) { return uint32_t(static_cast<const uint16_t*>(rows[row])[lane / 4]); };
    for (int i = 0; i < 4; i++) r[i] = at(8 * i + lane % 4 * 2) | at(8 * i + lane % 4 * 2 + 1) << 16;
}

inline uint32_t round_tf32(uint32_t x) {
    bool finite = (x & 0x7f800000) != 0x7f800000;
    return finite ? (x + 0x1000) & ~0x1fffu : x;
}

namespace emulator {
/// `d += a·b`, where `product(x, y)` multiplies the elements in four bytes of each and sums the products.
template <class F> void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, F product) {
    Exchange x = exchange();
    auto& slot = x.warp.slot[x.half];
    uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
    memcpy(slot[x.lane], mine, sizeof mine);
    sync_warp(~0u);
    int g = x.lane / 4, t = x.lane % 4;
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) // columns 2t + j % 2 of rows g + 8·(j / 2)
                d[j] += product(slot[4 * g + i][2 * half + j / 2], slot[4 * (2 * t + j % 2) + i][4 + half]);
}

template <class T> float product_of_pairs(uint32_t x, uint32_t y) {
    auto low = [](uint32_t u) { return to_float(T{uint16_t(u)}); };
    return low(x) * low(y) + low(x >> 16) * low(y >> 16);
}
} // namespace emulator

inline void mma(bf16, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    emulator::mma(d, a, b0, b1, emulator::product_of_pairs<bf16>);
}
inline void mma(f16, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    emulator::mma(d, a, b0, b1, emulator::product_of_pairs<f16>);
}
inline void mma(float, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    // Tensor cores ignore the low bits of an operand, so an unrounded operand is truncated.
    auto cut = [](uint32_t u) { return __uint_as_float(u & ~0x1fffu); };
    emulator::mma(d, a, b0, b1, [&](uint32_t x, uint32_t y) { return cut(x) * cut(y); });
}
