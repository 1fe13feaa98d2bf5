/* A CUDA driver on a machine without a GPU: the device's memory is the host's, and kernels are started but do nothing.
 *
 * It stands for libcuda.so.1, so that numba-cuda, NVIDIA's bindings and EdgeLSTM run as with two devices of capability 9.0.
 * Calls are written down, one can be made to fail, and what a driver refuses while a stream is captured is refused here too.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int Result;
typedef void *Handle;
typedef uint64_t Pointer;
#define EXPORT __attribute__((visibility("default")))

enum { OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_CONTEXT = 201, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901 };
enum { RELAXED = 2, LOG = 1 << 20, WORDS = 256, DEVICES = 2, BLOCKS = 1 << 16 };

static char text[LOG];
static size_t length;
static char failing[64];
static int failing_after, failing_times, failing_with;
static __thread int capturing, spoilt, depth; /* the mode of a capture, from 1 on */
static __thread Handle contexts[64];
static uintptr_t last_handle = 0x10000;
static int process;
static struct { Pointer begin, end; int device; } blocks[BLOCKS];
static int blocks_used;
static struct { uint32_t numbers[8]; Handle stream; uint32_t attribute; uint32_t value; uint64_t words[WORDS]; } launched;
static int words_expected;

EXPORT const char *made_up_calls(void) { return text; }
EXPORT void made_up_forget(void) { text[length = 0] = 0; }
EXPORT int made_up_depth(void) { return depth; }
EXPORT void made_up_expect(int words) { words_expected = words; }
EXPORT const void *made_up_launch(void) { return &launched; }
EXPORT void made_up_failure(const char *name, int after, int times, int with) {
    snprintf(failing, sizeof failing, "%s", name);
    failing_after = after, failing_times = times, failing_with = with;
}

static Handle context_of(int device) { return (Handle)(uintptr_t)(0x1000 + device); }
static int current(void) { return depth ? (int)((uintptr_t)contexts[depth - 1] - 0x1000) : -1; }

/* Notes a call, and the device of the current context unless that is the first; what it has to report. */
static Result noted(const char *name) {
    char where[8] = "";
    if (current()) snprintf(where, sizeof where, "@%d", current());
    if (length + strlen(name) + 16 < LOG) length += (size_t)sprintf(text + length, "%s%s\n", name, where);
    if (!strcmp(name, failing) && failing_after-- <= 0 && failing_times-- > 0) return failing_with;
    return 0;
}

/* The same for a call that may not be made while this thread captures a stream, except in a relaxed capture. */
static Result unsafe(const char *name) {
    if (capturing && capturing != RELAXED + 1) { spoilt = 1; return CAPTURE_UNSUPPORTED; }
    return noted(name);
}

#define NOTED(call) do { Result found = call; if (found) return found; } while (0)
static Handle fresh(void) { return (Handle)(last_handle += 16); }

static Result Init(unsigned flags) { process = getpid(); return 0; }
static Result DriverGetVersion(int *version) { *version = 13000; return 0; }
static Result DeviceGetCount(int *count) { *count = DEVICES; return 0; }
static Result DeviceGet(int *device, int number) { *device = number; return 0; }
static Result DeviceGetName(char *name, int size, int device) { snprintf(name, (size_t)size, "Made-up GPU"); return 0; }
static Result DeviceGetUuid(char *bytes, int device) { memset(bytes, device, 16); return 0; }
static Result DeviceGetAttribute(int *value, int attribute, int device) {
    static const int known[][2] = {{1, 1024}, {8, 48 << 10}, {16, 132}, {75, 9}, {76, 0}, {97, 227 << 10}};
    *value = 1;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) if (known[k][0] == attribute) *value = known[k][1];
    return 0;
}
static Result DevicePrimaryCtxRetain(Handle *context, int device) { *context = context_of(device); return 0; }
static Result CtxGetCurrent(Handle *context) { *context = depth ? contexts[depth - 1] : NULL; return 0; }
static Result CtxSetCurrent(Handle context) {
    if (depth) depth--;
    if (context) contexts[depth++] = context;
    return 0;
}
static Result CtxPushCurrent(Handle context) {
    if (getpid() != process) return NOT_INITIALIZED;
    contexts[depth++] = context;
    Result found = noted("cuCtxPushCurrent");
    if (found) depth--;
    return found;
}
static Result CtxPopCurrent(Handle *context) {
    NOTED(noted("cuCtxPopCurrent"));
    if (!depth) return INVALID_CONTEXT;
    *context = contexts[--depth];
    return 0;
}
static Result CtxGetDevice(int *device) { *device = current(); return depth ? 0 : INVALID_CONTEXT; }
static Result allocated(const char *name, Pointer *place, size_t nbytes) {
    NOTED(unsafe(name));
    if (blocks_used == BLOCKS || posix_memalign((void **)place, 512, nbytes ? nbytes : 1)) return OUT_OF_MEMORY;
    blocks[blocks_used].begin = *place, blocks[blocks_used].end = *place + nbytes, blocks[blocks_used++].device = current();
    return 0;
}
static Result MemAlloc(Pointer *place, size_t nbytes) { return allocated("cuMemAlloc", place, nbytes); }
static Result MemHostAlloc(Pointer *place, size_t nbytes, unsigned flags) { return allocated("cuMemHostAlloc", place, nbytes); }
static Result MemFree(Pointer place) {
    NOTED(unsafe("cuMemFree"));
    if (!depth) return INVALID_CONTEXT;
    free((void *)place);
    return 0;
}
static Result MemFreeHost(void *place) { NOTED(unsafe("cuMemFreeHost")); free(place); return 0; }
static Result MemcpyHtoD(Pointer to, const void *from, size_t nbytes) {
    NOTED(unsafe("cuMemcpyHtoD"));
    memcpy((void *)to, from, nbytes);
    return 0;
}
static Result MemcpyDtoH(void *to, Pointer from, size_t nbytes) {
    NOTED(unsafe("cuMemcpyDtoH"));
    memcpy(to, (void *)from, nbytes);
    return 0;
}
static Result MemcpyHtoDAsync(Pointer to, const void *from, size_t nbytes, Handle stream) {
    NOTED(noted("cuMemcpyHtoDAsync"));
    memcpy((void *)to, from, nbytes);
    return 0;
}
static Result MemcpyDtoHAsync(void *to, Pointer from, size_t nbytes, Handle stream) {
    NOTED(noted("cuMemcpyDtoHAsync"));
    memcpy(to, (void *)from, nbytes);
    return 0;
}
static Result MemsetD8(Pointer to, unsigned char byte, size_t nbytes) {
    NOTED(unsafe("cuMemsetD8"));
    memset((void *)to, byte, nbytes);
    return 0;
}
static Result MemGetInfo(size_t *available, size_t *total) { *available = *total = (size_t)1 << 36; return 0; }
static Result PointerGetAttribute(int *value, int attribute, Pointer place) { /* the device, of the last block there */
    *value = 0;
    for (int k = 0; k < blocks_used; k++) if (blocks[k].begin <= place && place < blocks[k].end) *value = blocks[k].device;
    return 0;
}
static Result StreamCreate(Handle *stream, unsigned flags) { *stream = fresh(); return noted("cuStreamCreate"); }
static Result StreamGetCtx(Handle stream, Handle *context) { *context = context_of(current()); return 0; }
static Result StreamGetDevice(Handle stream, int *device) { *device = current(); return 0; }
static Result StreamSynchronize(Handle stream) { return unsafe("cuStreamSynchronize"); }
static Result StreamBeginCapture(Handle stream, int mode) {
    NOTED(noted("cuStreamBeginCapture"));
    capturing = mode + 1, spoilt = 0;
    return 0;
}
static Result StreamEndCapture(Handle stream, Handle *graph) {
    capturing = 0, *graph = spoilt ? NULL : fresh();
    NOTED(noted("cuStreamEndCapture"));
    return spoilt ? CAPTURE_INVALIDATED : 0;
}
static Result GraphInstantiate(Handle *executable, Handle graph) { *executable = fresh(); return noted("cuGraphInstantiate"); }
static Result GraphLaunch(Handle executable, Handle stream) { return noted("cuGraphLaunch"); }
static Result GraphDestroy(Handle graph) { return noted("cuGraphDestroy"); }
static Result GraphExecDestroy(Handle executable) { return noted("cuGraphExecDestroy"); }
static Result StreamDestroy(Handle stream) { return noted("cuStreamDestroy"); }
static Result LibraryLoadData(Handle *library) { *library = fresh(); return unsafe("cuLibraryLoadData"); }
static Result LibraryGetKernel(Handle *kernel) { *kernel = fresh(); return 0; }
static Result KernelGetFunction(Handle *function, Handle kernel) { *function = kernel; return 0; }
static Result KernelGetAttribute(int *value, int attribute) { *value = attribute ? 0 : 1024; return 0; }
static Result Occupancy(int *blocks) { *blocks = 1; return 0; }
static Result LargestCluster(int *blocks) { *blocks = 16; return 0; }
static Result GetErrorName(Result error, const char **name) { *name = "CUDA_ERROR"; return 0; }

struct attribute { uint32_t id, padding, value[16]; };
struct configuration { uint32_t numbers[7]; Handle stream; struct attribute *attributes; uint32_t count; };
static Result LaunchKernelEx(const struct configuration *given, Handle function, void **arguments) {
    memset(&launched, 0, sizeof launched);
    memcpy(launched.numbers, given->numbers, sizeof given->numbers);
    launched.numbers[7] = (uint32_t)(uintptr_t)function, launched.stream = given->stream;
    for (uint32_t k = 0; k < given->count; k++)
        if (given->attributes[k].value[0])
            launched.attribute = given->attributes[k].id, launched.value = given->attributes[k].value[0];
    for (int k = 0; k < words_expected && k < WORDS; k++) memcpy(&launched.words[k], arguments[k], 8);
    return noted("cuLaunchKernelEx");
}

static Result nothing(void) { return 0; }
#define HAS(name) {"cu" #name, (void (*)(void))name}
static const struct { const char *name; void (*call)(void); } calls[] = {
    HAS(Init), HAS(DriverGetVersion), HAS(DeviceGetCount), HAS(DeviceGet), HAS(DeviceGetName), HAS(DeviceGetUuid),
    HAS(DeviceGetAttribute), HAS(DevicePrimaryCtxRetain), HAS(CtxGetCurrent), HAS(CtxSetCurrent), HAS(CtxPushCurrent),
    HAS(CtxPopCurrent), HAS(CtxGetDevice), HAS(MemAlloc), HAS(MemHostAlloc), HAS(MemFree), HAS(MemFreeHost), HAS(MemcpyHtoD),
    HAS(MemcpyDtoH), HAS(MemcpyHtoDAsync), HAS(MemcpyDtoHAsync), HAS(MemsetD8), HAS(MemGetInfo), HAS(PointerGetAttribute),
    HAS(StreamCreate), HAS(StreamGetCtx), HAS(StreamGetDevice), HAS(StreamSynchronize), HAS(StreamBeginCapture),
    HAS(StreamEndCapture), HAS(GraphInstantiate),
    {"cuGraphInstantiateWithFlags", (void (*)(void))GraphInstantiate}, HAS(GraphLaunch), HAS(GraphDestroy),
    HAS(GraphExecDestroy), HAS(StreamDestroy), HAS(LibraryLoadData), HAS(LibraryGetKernel), HAS(KernelGetFunction),
    HAS(KernelGetAttribute),
    {"cuFuncGetAttribute", (void (*)(void))KernelGetAttribute},
    {"cuOccupancyMaxActiveBlocksPerMultiprocessor", (void (*)(void))Occupancy},
    {"cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags", (void (*)(void))Occupancy},
    {"cuOccupancyMaxActiveClusters", (void (*)(void))Occupancy},
    {"cuOccupancyMaxPotentialClusterSize", (void (*)(void))LargestCluster}, HAS(GetErrorName),
    {"cuGetErrorString", (void (*)(void))GetErrorName}, HAS(LaunchKernelEx)};

EXPORT Result cuGetProcAddress_v2(const char *name, void (**call)(void), int version, uint64_t flags, int *status) {
    size_t plain = strlen(name);
    if (plain > 3 && !strncmp(name + plain - 3, "_v", 2)) plain -= 3;
    if (status) *status = 0;
    *call = (void (*)(void))nothing;
    if (!strncmp(name, "cuGetProcAddress", 16)) *call = (void (*)(void))cuGetProcAddress_v2;
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++)
        if (strlen(calls[k].name) == plain && !strncmp(calls[k].name, name, plain)) *call = calls[k].call;
    return 0;
}
