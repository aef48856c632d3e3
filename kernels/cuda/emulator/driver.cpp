// The CUDA driver entry points that lopper uses, on the CPU: a libcuda for machines without a GPU.
//
// Everything above it, from cudarc to the engine, runs unchanged, so the tests cover the code that a GPU runs.
// Kernels are shared libraries (`emulator.h`) instead of machine code. Memory is poisoned when it is allocated and
// ends at a page that faults. A kernel that touches that page, waits forever or exits with copies in flight fails its
// launch as a broken kernel does on a device: with a sticky error. Streams run immediately, or record while a graph
// is captured.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <sys/mman.h>
#include <vector>

namespace {

enum Result {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_IMAGE = 200, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700,
    LAUNCH_OUT_OF_RESOURCES = 701, LAUNCH_FAILED = 719, UNKNOWN = 999,
};

constexpr size_t PAGE = 4096;
constexpr unsigned char CANARY = 0xa5;
constexpr unsigned MAX_SHARED = 227 << 10; // per block, on sm_90

struct Kernel { // as in emulator.h
    const char* name;
    const char* (*run)(const unsigned* grid, const unsigned* size, unsigned shared, uint64_t seed, void** args);
    const unsigned* arg_bytes;
    unsigned args;
};
struct Module {
    void* library;
    const Kernel* kernels;
    unsigned count;
};
struct Allocation {
    char* map;
    size_t map_bytes, bytes;
};
struct Graph {
    std::vector<std::function<Result()>> nodes;
};
struct Stream {
    Graph* capturing = nullptr;
};
struct Event {
    std::chrono::steady_clock::time_point at;
};

std::recursive_mutex lock; // one call at a time: the device has one queue
std::map<uint64_t, Allocation> allocations;
size_t allocated, capacity = size_t(8) << 30;
std::vector<sigjmp_buf* (*)()> faults;
struct sigaction previous[2];
std::string message; // of the last failed kernel
Result sticky = SUCCESS; // a device that has failed stays failed
uint64_t launches;
int64_t calls_until_lost = -1;

#define EXPORT extern "C" __attribute__((visibility("default")))
#define API EXPORT Result

/// Takes the lock, and fails if the device is lost or has failed; every call does this.
#define ENTER                                                                                                  \
    std::lock_guard<std::recursive_mutex> guard(lock);                                                         \
    if (calls_until_lost >= 0 && calls_until_lost-- == 0) sticky = UNKNOWN, message = "the device was lost";   \
    if (sticky) return sticky

void on_fault(int signal, siginfo_t* info, void* context) {
    for (auto fault : faults)
        if (sigjmp_buf* to = fault()) siglongjmp(*to, 1);
    struct sigaction& old = previous[signal == SIGBUS];
    if (old.sa_flags & SA_SIGINFO) return old.sa_sigaction(signal, info, context);
    sigaction(signal, &old, nullptr); // not ours: fault again without this handler
}

void handle_faults() {
    struct sigaction ours = {};
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &ours, &previous[0]);
    sigaction(SIGBUS, &ours, &previous[1]);
}

bool written(const char* from, const char* to) {
    return std::any_of(from, to, [](char c) { return static_cast<unsigned char>(c) != CANARY; });
}

/// Whether a kernel wrote to the few bytes between an allocation and its guard page.
const char* wrote_behind() {
    for (auto& [at, a] : allocations)
        if (written(reinterpret_cast<char*>(at) + a.bytes, a.map + a.map_bytes - PAGE))
            return "wrote past an allocation";
    return nullptr;
}

Result launch(const Kernel* kernel, const unsigned* grid, const unsigned* size, unsigned shared, void** args) {
    launches++;
    const char* error = kernel->run(grid, size, shared, 1 + launches * 0x9e3779b97f4a7c15ull, args);
    if (!error) error = wrote_behind();
    if (!error) return SUCCESS;
    message = std::string(kernel->name) + ": " + error;
    return sticky = strstr(error, "out of bounds") || strstr(error, "wrote past") ? ILLEGAL_ADDRESS : LAUNCH_FAILED;
}

/// Runs `node` now, or adds it to the graph that `stream` captures.
Result submit(Stream* stream, std::function<Result()> node) {
    if (stream && stream->capturing) {
        stream->capturing->nodes.push_back(std::move(node));
        return SUCCESS;
    }
    return node();
}

} // namespace

// Hooks for tests.
EXPORT void emulator_capacity(size_t bytes) { capacity = bytes; }
EXPORT size_t emulator_allocated() { return allocated; }
EXPORT void emulator_lose_device_after(int64_t calls) { calls_until_lost = calls; }
EXPORT void emulator_recover() { sticky = SUCCESS, calls_until_lost = -1, message.clear(); }

API cuInit(unsigned) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    static bool once = (handle_faults(), true);
    (void)once;
    return SUCCESS;
}
API cuDriverGetVersion(int* version) { *version = 13000; return SUCCESS; }
API cuDeviceGetCount(int* count) { *count = 1; return SUCCESS; }
API cuDeviceGet(int* device, int ordinal) { *device = ordinal; return ordinal == 0 ? SUCCESS : INVALID_VALUE; }
API cuDeviceGetName(char* name, int len, int) { snprintf(name, len, "CUDA on the CPU"); return SUCCESS; }
/// Ten times the compute capability: from the environment, or Hopper's, so that every kernel applies.
int capability() {
    const char* text = getenv("LOPPER_EMULATOR_ARCH");
    return text ? atoi(text) : 90;
}
API cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
    case 16: *value = 4; break; // multiprocessors: few, so that small problems reach the code that depends on the number
    case 75: *value = capability() / 10; break;
    case 76: *value = capability() % 10; break;
    case 97: *value = MAX_SHARED; break; // shared memory that a block may opt in to
    default: return INVALID_VALUE;
    }
    return SUCCESS;
}
API cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = capacity; return SUCCESS; }
API cuDevicePrimaryCtxRetain(void** context, int) { *context = &allocations; return SUCCESS; }
API cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API cuCtxSetCurrent(void*) { return SUCCESS; }
API cuCtxSynchronize() { ENTER; return SUCCESS; }

API cuMemGetInfo_v2(size_t* free, size_t* total) {
    ENTER;
    *free = capacity - std::min(capacity, allocated);
    *total = capacity;
    return SUCCESS;
}
API cuMemAlloc_v2(uint64_t* at, size_t bytes) {
    ENTER;
    if (bytes == 0) return INVALID_VALUE;
    if (allocated + bytes > capacity) return OUT_OF_MEMORY;
    // Aligned to 16 only, so that the end touches the guard page.
    size_t padded = (bytes + 15) & ~size_t(15), pages = (padded + PAGE - 1) / PAGE;
    size_t map_bytes = (pages + 2) * PAGE;
    void* map = mmap(nullptr, map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return OUT_OF_MEMORY;
    char* start = static_cast<char*>(map) + map_bytes - PAGE - padded;
    memset(static_cast<char*>(map) + PAGE, CANARY, pages * PAGE);
    memset(start, 0xff, bytes);
    mprotect(map, PAGE, PROT_NONE);
    mprotect(static_cast<char*>(map) + map_bytes - PAGE, PAGE, PROT_NONE);
    *at = reinterpret_cast<uint64_t>(start);
    allocations[*at] = {static_cast<char*>(map), map_bytes, bytes};
    allocated += bytes;
    return SUCCESS;
}
API cuMemFree_v2(uint64_t at) {
    // Also works on a device that has failed, so that nothing stays allocated.
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto found = allocations.find(at);
    if (found == allocations.end()) return INVALID_VALUE;
    allocated -= found->second.bytes;
    if (written(found->second.map + PAGE, reinterpret_cast<char*>(at)) && !sticky)
        message = "a kernel wrote before an allocation", sticky = ILLEGAL_ADDRESS;
    munmap(found->second.map, found->second.map_bytes);
    allocations.erase(found);
    return SUCCESS;
}
API cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, Stream* stream) {
    ENTER;
    return submit(stream, [=] { memcpy(reinterpret_cast<void*>(to), from, bytes); return SUCCESS; });
}
API cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, Stream* stream) {
    ENTER;
    return submit(stream, [=] { memcpy(to, reinterpret_cast<void*>(from), bytes); return SUCCESS; });
}
API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, Stream* stream) {
    ENTER;
    return submit(stream, [=] {
        memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
        return SUCCESS;
    });
}
API cuMemsetD8Async(uint64_t at, unsigned char value, size_t bytes, Stream* stream) {
    ENTER;
    return submit(stream, [=] { memset(reinterpret_cast<void*>(at), value, bytes); return SUCCESS; });
}
API cuMemHostAlloc(void** at, size_t bytes, unsigned) { *at = malloc(bytes); return *at ? SUCCESS : OUT_OF_MEMORY; }
API cuMemFreeHost(void* at) { free(at); return SUCCESS; }

/// Encodes a map of four dimensions with the 128-byte swizzle, as hopper.h reads it.
API cuTensorMapEncodeTiled(void* map, int type, unsigned rank, void* address, const uint64_t* size,
                           const uint64_t* stride, const uint32_t* box, const uint32_t* step, int interleave,
                           int swizzle, int, int fill) {
    ENTER;
    uint32_t element = type == 7 || type == 11 ? 4 : type == 6 || type == 9 ? 2 : 0; // f32, tf32; f16, bf16
    struct {
        void* address;
        uint64_t stride[3];
        uint32_t size[4], box[4], step[4], element_bytes, tf32, unused[10];
    } fields = {};
    if (!element || rank != 4 || interleave || swizzle != 3 || fill) return INVALID_VALUE; // not emulated
    // The limits of a device.
    if (reinterpret_cast<uint64_t>(address) % 16 || box[0] * element > 128 || box[0] * element % 16) return INVALID_VALUE;
    fields.address = address, fields.element_bytes = element, fields.tf32 = type == 11;
    for (unsigned d = 0; d < rank; d++) {
        if (!size[d] || size[d] > uint64_t(1) << 32 || !box[d] || box[d] > 256) return INVALID_VALUE;
        if (!step[d] || step[d] > 8) return INVALID_VALUE;
        if (d > 0 && box[d] % step[d]) return INVALID_VALUE; // documentation and drivers disagree on this case
        if (d > 0 && (stride[d - 1] % 16 || stride[d - 1] >> 40)) return INVALID_VALUE;
        if (d > 0) fields.stride[d - 1] = stride[d - 1];
        fields.size[d] = uint32_t(size[d]), fields.box[d] = box[d], fields.step[d] = d ? step[d] : 1;
    }
    memcpy(map, &fields, sizeof fields);
    return SUCCESS;
}

/// `image` is the path of a shared library.
API cuModuleLoadData(Module** module, const void* image) {
    ENTER;
    void* library = dlopen(static_cast<const char*>(image), RTLD_NOW | RTLD_LOCAL);
    if (!library) return message = dlerror(), INVALID_IMAGE;
    auto kernels = reinterpret_cast<const Kernel* (*)(unsigned*)>(dlsym(library, "emulator_kernels"));
    auto fault = reinterpret_cast<sigjmp_buf* (*)()>(dlsym(library, "emulator_fault"));
    if (!kernels || !fault) return INVALID_IMAGE;
    *module = new Module{library, nullptr, 0};
    (*module)->kernels = kernels(&(*module)->count);
    faults.push_back(fault);
    return SUCCESS;
}
API cuModuleUnload(Module* module) {
    // The library stays loaded, because its threads' fibers remain.
    delete module;
    return SUCCESS;
}
API cuModuleGetFunction(const Kernel** kernel, Module* module, const char* name) {
    ENTER;
    for (unsigned i = 0; i < module->count; i++)
        if (!strcmp(module->kernels[i].name, name)) return *kernel = &module->kernels[i], SUCCESS;
    return NOT_FOUND;
}
API cuFuncSetAttribute(const Kernel*, int, int) { ENTER; return SUCCESS; }
API cuFuncGetParamInfo(const Kernel* kernel, size_t index, size_t* offset, size_t* bytes) {
    if (index >= kernel->args) return INVALID_VALUE;
    return *offset = 0, *bytes = kernel->arg_bytes[index], SUCCESS;
}

API cuLaunchKernel(const Kernel* kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, Stream* stream, void** args, void**) {
    ENTER;
    // The limits of a device.
    if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || !bx || !by || !bz || gx > 2147483647u) return INVALID_VALUE;
    if (uint64_t(bx) * by * bz > 1024 || shared > MAX_SHARED) return LAUNCH_OUT_OF_RESOURCES;
    auto values = std::make_shared<std::vector<std::vector<char>>>();
    for (unsigned i = 0; i < kernel->args; i++) {
        const char* from = static_cast<const char*>(args[i]);
        values->emplace_back(from, from + kernel->arg_bytes[i]);
    }
    return submit(stream, [=] {
        std::vector<void*> pointers;
        for (auto& value : *values) pointers.push_back(value.data());
        unsigned grid[] = {gx, gy, gz}, size[] = {bx, by, bz};
        return launch(kernel, grid, size, shared, pointers.data());
    });
}

API cuStreamCreate(Stream** stream, unsigned) { ENTER; *stream = new Stream(); return SUCCESS; }
API cuStreamDestroy_v2(Stream* stream) { delete stream; return SUCCESS; }
API cuStreamSynchronize(Stream*) { ENTER; return SUCCESS; }
API cuStreamBeginCapture_v2(Stream* stream, int) {
    ENTER;
    if (stream->capturing) return INVALID_VALUE;
    stream->capturing = new Graph();
    return SUCCESS;
}
API cuStreamEndCapture(Stream* stream, Graph** graph) {
    ENTER;
    if (!stream->capturing) return INVALID_VALUE;
    *graph = stream->capturing;
    stream->capturing = nullptr;
    return SUCCESS;
}
API cuGraphInstantiateWithFlags(Graph** run, Graph* graph, unsigned long long) { ENTER; *run = new Graph(*graph); return SUCCESS; }
API cuGraphUpload(Graph*, Stream*) { ENTER; return SUCCESS; }
API cuGraphLaunch(Graph* graph, Stream*) {
    ENTER;
    for (auto& node : graph->nodes)
        if (Result r = node()) return r;
    return SUCCESS;
}
API cuGraphDestroy(Graph* graph) { delete graph; return SUCCESS; }
API cuGraphExecDestroy(Graph* graph) { delete graph; return SUCCESS; }

API cuEventCreate(Event** event, unsigned) { ENTER; *event = new Event(); return SUCCESS; }
API cuEventRecord(Event* event, Stream*) { ENTER; event->at = std::chrono::steady_clock::now(); return SUCCESS; }
API cuEventSynchronize(Event*) { ENTER; return SUCCESS; }
API cuEventElapsedTime_v2(float* ms, Event* from, Event* to) {
    ENTER;
    *ms = std::chrono::duration<float, std::milli>(to->at - from->at).count();
    return SUCCESS;
}
API cuEventDestroy_v2(Event* event) { delete event; return SUCCESS; }

API cuGetErrorName(int code, const char** name) {
    switch (code) {
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
    case LAUNCH_FAILED: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
    case LAUNCH_OUT_OF_RESOURCES: *name = "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"; break;
    case INVALID_IMAGE: *name = "CUDA_ERROR_INVALID_IMAGE"; break;
    case NOT_FOUND: *name = "CUDA_ERROR_NOT_FOUND"; break;
    case INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; break;
    default: *name = "CUDA_ERROR_UNKNOWN";
    }
    return SUCCESS;
}
API cuGetErrorString(int code, const char** text) {
    if (message.empty() || code == OUT_OF_MEMORY || code == INVALID_VALUE) return cuGetErrorName(code, text);
    *text = message.c_str();
    return SUCCESS;
}
