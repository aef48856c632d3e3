// The threads of a block as fibers: each has its own stack, and runs until it waits.
//
//   block ─▶ fiber 0  fiber 1  …  fiber n−1        a fiber that waits (for a barrier or its warp) is parked;
//              │ run      │ ready                  the fiber that completes the wait makes the parked ones ready,
//              └─ waits ─▶│ run …                  in random order, which exposes missing barriers
//
// One block runs at a time, on one system thread. Blocks also run in random order.
#pragma once
#include <algorithm>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <type_traits>
#include <utility>
#include <vector>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

struct dim3 {
    unsigned x, y, z;
};

namespace emulator {

constexpr int MAX_THREADS = 1024;
constexpr int WARP = 32;
constexpr size_t STACK = 128 << 10;
constexpr size_t PAGE = 4096;

#if defined(__x86_64__)
struct Context {
    void* sp;
};
extern "C" void emulator_switch(void** save, void* to);
// Saves the callee-saved registers on the old stack and restores them from the new one (System V ABI).
asm(R"(
.text
.weak emulator_switch
.type emulator_switch,@function
emulator_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
.size emulator_switch,.-emulator_switch
)");
inline void switch_to(Context& from, Context& to) { emulator_switch(&from.sp, to.sp); }
inline void prepare(Context& c, char* stack, size_t size, void (*entry)()) {
    void** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack + size) & ~uintptr_t(63));
    *--top = nullptr; // in place of the return address of `entry`: aligns the stack as a call does
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    c.sp = top;
}
#else
struct Context {
    ucontext_t u;
};
inline void switch_to(Context& from, Context& to) { swapcontext(&from.u, &to.u); }
inline void prepare(Context& c, char* stack, size_t size, void (*entry)()) {
    getcontext(&c.u);
    c.u.uc_stack.ss_sp = stack;
    c.u.uc_stack.ss_size = size;
    c.u.uc_link = nullptr;
    makecontext(&c.u, entry, 0);
}
#endif

/// A copy that was requested and has not landed: `cp.async`.
struct Copy {
    void* to;
    const void* from; // null: zeros
    unsigned bytes, read;
};

/// A box of a tensor on its way to shared memory: `cp.async.bulk.tensor`. See hopper.h.
struct BulkCopy {
    void* to;
    uint64_t map[16]; // a copy: the requesting thread may be gone when it lands
    void* barrier;
    int at[4];
};

struct Fiber {
    Context context;
    dim3 thread;
    std::vector<Copy> copies; // in flight
    std::vector<size_t> groups; // ends of the committed groups in `copies`
    std::vector<std::function<void()>> products; // of wgmma, in flight
    std::vector<size_t> product_groups; // ends of the committed groups in `products`
    unsigned phase; // of its warp's exchange area
    bool done;
};

/// The area where the lanes of a warp exchange values: two halves, so that the next exchange may begin before all
/// have read.
struct Warp {
    uint32_t slot[2][WARP][8];
    const void* pointer[2][WARP];
    int waiting[WARP], waits;
    int lanes; // that have not exited
};

struct Block {
    Fiber fiber[MAX_THREADS];
    Warp warp[MAX_THREADS / WARP];
    Context outside;
    dim3 grid, size, index;
    int threads, live, current;
    std::vector<int> ready; // a queue: `next` is its front
    size_t next;
    int waiting[16][MAX_THREADS], waits[16], wanted[16]; // named barriers; barrier 0 is __syncthreads
    std::vector<BulkCopy> bulk; // in flight
    unsigned idle; // spins since the last progress
    char* stacks;
    char* arena; // the kernel's shared memory, ending at an inaccessible page
    size_t arena_bytes, arena_pages;
    uint64_t random;
    char error[256];
    const std::function<void()>* body;
    sigjmp_buf fault;
    bool running;
};

inline thread_local Block* block __attribute__((tls_model("initial-exec"))) = nullptr;

inline uint32_t draw() {
    block->random = block->random * 6364136223846793005ull + 1442695040888963407ull;
    return block->random >> 33;
}

inline Fiber& me() { return block->fiber[block->current]; }

[[noreturn]] inline void fail(const char* what) {
    Block& b = *block;
    if (!b.error[0]) {
        dim3 t = me().thread;
        snprintf(b.error, sizeof b.error, "%s, in thread (%u,%u,%u) of block (%u,%u,%u)", what, t.x, t.y, t.z,
                 b.index.x, b.index.y, b.index.z);
    }
    Context dead;
    switch_to(dead, b.outside);
    abort();
}

/// Switches to the next ready fiber.
inline void leave(const char* if_none) {
    Block& b = *block;
    if (b.next == b.ready.size()) fail(if_none);
    int to = b.ready[b.next++];
    if (b.next == b.ready.size()) b.ready.clear(), b.next = 0;
    if (to == b.current) return;
    Context& from = me().context;
    b.current = to;
    switch_to(from, b.fiber[to].context);
}

inline void make_ready(int* who, int n) {
    block->idle = 0;
    for (int i = n - 1; i > 0; i--) std::swap(who[i], who[draw() % (i + 1)]);
    block->ready.insert(block->ready.end(), who, who + n);
}

constexpr const char* DEADLOCK = "deadlock: some threads wait for a barrier that others never reach";

/// Waits until `wanted` threads (0: all that have not exited) have arrived at barrier `id`.
inline void barrier(int id, int wanted) {
    Block& b = *block;
    b.wanted[id] = wanted;
    b.waiting[id][b.waits[id]++] = b.current;
    if (b.waits[id] == (wanted ? wanted : b.live)) {
        int n = b.waits[id];
        b.waits[id] = 0;
        make_ready(b.waiting[id], n);
    }
    leave(DEADLOCK);
}

inline void sync_warp(unsigned mask) {
    Block& b = *block;
    Warp& w = b.warp[b.current / WARP];
    w.waiting[w.waits++] = b.current;
    unsigned present = w.lanes == WARP ? ~0u : (1u << w.lanes) - 1;
    if (w.waits == __builtin_popcount(mask & present)) {
        int n = w.waits;
        w.waits = 0;
        make_ready(w.waiting, n);
    }
    leave(DEADLOCK);
}

/// Spins once while waiting for another thread to change memory.
inline void spin() {
    Block& b = *block;
    if (++b.idle > 64u * b.threads + 4096) fail("deadlock: every thread spins");
    b.ready.push_back(b.current);
    leave(DEADLOCK);
}

/// The lane's half of its warp's exchange area.
struct Exchange {
    Warp& warp;
    int lane, half;
};

inline Exchange exchange() {
    Fiber& f = me();
    return {block->warp[block->current / WARP], block->current % WARP, int(f.phase++ & 1)};
}

inline void thread_main() {
    Block& b = *block;
    (*b.body)();
    Fiber& f = me();
    if (!f.copies.empty()) fail("exits with cp.async in flight");
    if (!f.products.empty()) fail("exits with wgmma in flight");
    if (b.live == 1 && !b.bulk.empty()) fail("the block's last thread exits with bulk copies in flight");
    f.done = true;
    b.idle = 0;
    b.warp[b.current / WARP].lanes--;
    // Exited threads do not count for __syncthreads.
    if (--b.live > 0 && b.waits[0] == b.live) {
        b.waits[0] = 0;
        make_ready(b.waiting[0], b.live);
    }
    if (b.live == 0) {
        Context dead;
        switch_to(dead, b.outside);
    }
    leave("deadlock: a thread exits while others wait for it");
    abort();
}

inline Block* new_block() {
    Block* b = new Block();
    void* stacks = mmap(nullptr, MAX_THREADS * STACK, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) abort();
    b->stacks = static_cast<char*>(stacks);
    return b;
}

/// Reserves `bytes` of shared memory that end at an inaccessible page; aligned to 16, or to 1024 if `bytes` is.
inline void reserve_shared(Block& b, size_t bytes) {
    size_t pages = (bytes + PAGE - 1) / PAGE;
    if (pages > b.arena_pages) {
        if (b.arena_pages) munmap(b.arena, (b.arena_pages + 1) * PAGE);
        void* at = mmap(nullptr, (pages + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (at == MAP_FAILED) abort();
        mprotect(static_cast<char*>(at) + pages * PAGE, PAGE, PROT_NONE);
        b.arena = static_cast<char*>(at);
        b.arena_pages = pages;
    }
    b.arena_bytes = (bytes + 15) & ~size_t(15);
}

inline char* shared_arena() { return block->arena + block->arena_pages * PAGE - block->arena_bytes; }

inline void run_block(Block& b, const std::function<void()>& body) {
    b.live = b.threads;
    b.ready.clear();
    b.next = 0;
    b.idle = 0;
    b.bulk.clear();
    b.body = &body;
    memset(b.waits, 0, sizeof b.waits);
    if (b.arena_bytes) memset(shared_arena(), 0xff, b.arena_bytes); // NaN: exposes reads of unwritten memory
    for (int w = 0; w * WARP < b.threads; w++) {
        b.warp[w].waits = 0;
        b.warp[w].lanes = std::min(WARP, b.threads - w * WARP);
    }
    std::vector<int> order(b.threads);
    for (int i = 0; i < b.threads; i++) {
        Fiber& f = b.fiber[i];
        unsigned u = i;
        f.thread = {u % b.size.x, u / b.size.x % b.size.y, u / (b.size.x * b.size.y)};
        f.copies.clear();
        f.groups.clear();
        f.products.clear();
        f.product_groups.clear();
        f.phase = 0;
        f.done = false;
        // Staggered, so that the stack tops do not all fall into one cache set.
        prepare(f.context, b.stacks + i * STACK, STACK - (i % 64) * 192, thread_main);
        order[i] = i;
    }
    make_ready(order.data(), b.threads);
    b.current = b.ready[b.next++];
    switch_to(b.outside, b.fiber[b.current].context);
}

/// Runs every block of a grid; returns null or an error.
inline const char* run_grid(const unsigned* grid, const unsigned* size, unsigned shared, uint64_t seed,
                            const std::function<void()>& body) {
    if (!block) block = new_block();
    Block& b = *block;
    b.grid = {grid[0], grid[1], grid[2]};
    b.size = {size[0], size[1], size[2]};
    b.threads = size[0] * size[1] * size[2];
    b.random = seed;
    b.error[0] = 0;
    reserve_shared(b, shared);
    size_t blocks = size_t(grid[0]) * grid[1] * grid[2];
    std::vector<uint32_t> order(blocks);
    for (size_t i = 0; i < blocks; i++) order[i] = i;
    for (size_t i = blocks; i-- > 1;) std::swap(order[i], order[draw() % (i + 1)]);
    b.running = true;
    if (sigsetjmp(b.fault, 1) == 0) {
        for (uint32_t i : order) {
            b.index = {i % grid[0], i / grid[0] % grid[1], i / (grid[0] * grid[1])};
            run_block(b, body);
            if (b.error[0]) break;
        }
    } else if (!b.error[0]) {
        dim3 t = me().thread;
        snprintf(b.error, sizeof b.error, "out of bounds, in thread (%u,%u,%u) of block (%u,%u,%u)", t.x, t.y, t.z,
                 b.index.x, b.index.y, b.index.z);
    }
    b.running = false;
    return b.error[0] ? b.error : nullptr;
}

} // namespace emulator
