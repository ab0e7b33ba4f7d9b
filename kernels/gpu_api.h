/* gpu_api: the driver calls that this project makes, as one C table.
 *
 * The table is filled by dlopen from libcuda.so.1 or libamdhip64, so one program starts on a machine with either or
 * neither. Both drivers agree on these calls' arguments to the bit on x86-64 (a device address is 8 bytes), which is
 * why one set of prototypes serves; calls that only one of them has are null for the other.
 *
 * Never here: hipGetDeviceProperties, whose struct changed between versions under the same name.
 */
#ifndef KERNELS_GPU_API_H
#define KERNELS_GPU_API_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

enum gpu_vendor { GPU_VENDOR_NONE, GPU_VENDOR_NVIDIA, GPU_VENDOR_AMD };

typedef int gpu_result;          /* 0: success, for both */
typedef struct gpu_stream_ *gpu_stream;
typedef struct gpu_event_ *gpu_event;
typedef struct gpu_module_ *gpu_module;
typedef struct gpu_function_ *gpu_function;

/* X(slot, arguments, name in libcuda, name in libamdhip64); NULL: that vendor has no such call. */
#define GPU_API(X)                                                                                                     \
	X(init, (unsigned flags), "cuInit", "hipInit")                                                                 \
	X(driver_version, (int *version), "cuDriverGetVersion", "hipRuntimeGetVersion")                                \
	X(device_count, (int *n), "cuDeviceGetCount", "hipGetDeviceCount")                                             \
	X(device_get, (int *device, int ordinal), "cuDeviceGet", "hipDeviceGet")                                       \
	X(device_name, (char *name, int cap, int device), "cuDeviceGetName", "hipDeviceGetName")                       \
	X(device_pci, (char *name, int cap, int device), "cuDeviceGetPCIBusId", "hipDeviceGetPCIBusId")                \
	X(device_attribute, (int *value, int attribute, int device), "cuDeviceGetAttribute", "hipDeviceGetAttribute")  \
	X(ctx_retain, (void **ctx, int device), "cuDevicePrimaryCtxRetain", NULL)                                      \
	X(ctx_release, (int device), "cuDevicePrimaryCtxRelease_v2", NULL)                                             \
	X(ctx_set, (void *ctx), "cuCtxSetCurrent", NULL)                                                               \
	X(set_device, (int ordinal), NULL, "hipSetDevice")                                                             \
	X(mem_info, (size_t *free_bytes, size_t *total), "cuMemGetInfo_v2", "hipMemGetInfo")                           \
	X(mem_alloc, (void **p, size_t n), "cuMemAlloc_v2", "hipMalloc")                                               \
	X(mem_free, (void *p), "cuMemFree_v2", "hipFree")                                                              \
	X(host_alloc, (void **p, size_t n, unsigned flags), "cuMemHostAlloc", "hipHostMalloc")                         \
	X(host_free, (void *p), "cuMemFreeHost", "hipHostFree")                                                        \
	X(host_register, (void *p, size_t n, unsigned flags), "cuMemHostRegister_v2", "hipHostRegister")               \
	X(host_unregister, (void *p), "cuMemHostUnregister", "hipHostUnregister")                                      \
	X(host_device_pointer, (void **device, void *host, unsigned flags), "cuMemHostGetDevicePointer_v2",            \
	  "hipHostGetDevicePointer")                                                                                   \
	X(copy_to_device, (void *dst, const void *src, size_t n, gpu_stream s), "cuMemcpyHtoDAsync_v2",                \
	  "hipMemcpyHtoDAsync")                                                                                        \
	X(copy_to_host, (void *dst, const void *src, size_t n, gpu_stream s), "cuMemcpyDtoHAsync_v2",                  \
	  "hipMemcpyDtoHAsync")                                                                                        \
	X(copy_on_device, (void *dst, const void *src, size_t n, gpu_stream s), "cuMemcpyDtoDAsync_v2",                \
	  "hipMemcpyDtoDAsync")                                                                                        \
	X(fill, (void *p, unsigned char value, size_t n, gpu_stream s), "cuMemsetD8Async", "hipMemsetD8Async")         \
	X(stream_create, (gpu_stream *s, unsigned flags), "cuStreamCreate", "hipStreamCreateWithFlags")                \
	X(stream_destroy, (gpu_stream s), "cuStreamDestroy_v2", "hipStreamDestroy")                                    \
	X(stream_sync, (gpu_stream s), "cuStreamSynchronize", "hipStreamSynchronize")                                  \
	X(stream_query, (gpu_stream s), "cuStreamQuery", "hipStreamQuery")                                             \
	X(stream_wait, (gpu_stream s, gpu_event ev, unsigned flags), "cuStreamWaitEvent", "hipStreamWaitEvent")        \
	X(event_create, (gpu_event *ev, unsigned flags), "cuEventCreate", "hipEventCreateWithFlags")                   \
	X(event_destroy, (gpu_event ev), "cuEventDestroy_v2", "hipEventDestroy")                                       \
	X(event_record, (gpu_event ev, gpu_stream s), "cuEventRecord", "hipEventRecord")                               \
	X(event_sync, (gpu_event ev), "cuEventSynchronize", "hipEventSynchronize")                                     \
	X(event_ms, (float *ms, gpu_event start, gpu_event stop), "cuEventElapsedTime", "hipEventElapsedTime")         \
	X(module_load, (gpu_module *m, const void *image), "cuModuleLoadData", "hipModuleLoadData")                    \
	X(module_unload, (gpu_module m), "cuModuleUnload", "hipModuleUnload")                                          \
	X(module_function, (gpu_function *f, gpu_module m, const char *name), "cuModuleGetFunction",                   \
	  "hipModuleGetFunction")                                                                                      \
	X(function_attribute, (gpu_function f, int attribute, int value), "cuFuncSetAttribute", NULL)                  \
	X(launch,                                                                                                      \
	  (gpu_function f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,               \
	   unsigned lds_bytes, gpu_stream s, void **args, void **extra),                                               \
	  "cuLaunchKernel", "hipModuleLaunchKernel")                                                                   \
	X(tensor_map,                                                                                                  \
	  (void *map, int type, uint32_t rank, void *base, const uint64_t *dims, const uint64_t *strides,              \
	   const uint32_t *box, const uint32_t *element_strides, int interleave, int swizzle, int l2, int fill_mode),  \
	  "cuTensorMapEncodeTiled", NULL)                                                                              \
	X(error_name, (gpu_result r, const char **name), "cuGetErrorName", NULL)

struct gpu_api {
	enum gpu_vendor vendor;
	void *lib;
	char lib_path[256];
#define X(slot, args, cuda, hip) gpu_result(*slot) args;
	GPU_API(X)
#undef X
	const char *(*error_name_hip)(gpu_result r); /* hipGetErrorName */
};

/* Opens the first driver that is there, NVIDIA's first; `only` other than NONE asks for that one. Fails with
 * EUNSUPPORTED ("no GPU driver: ...") naming what was looked for, and ROCm 5's libamdhip64.so.5 by name.
 * Opened once and never closed: drivers do not unload cleanly. */
int gpu_api_open(struct gpu_api *api, enum gpu_vendor only, struct greta_err *e);

/* "CUDA_ERROR_OUT_OF_MEMORY" or "error 2" into out, returning it. */
const char *gpu_api_error_text(const struct gpu_api *api, gpu_result r, char out[64]);

/* Sets *e from a failed call: "what: CUDA_ERROR_...", ENOMEM where it is that. Returns 0 for success. */
int gpu_check(const struct gpu_api *api, gpu_result r, struct greta_err *e, const char *what);

#endif
