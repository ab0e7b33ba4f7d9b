#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "kernels/code_objects.h"
#include "kernels/gpu_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct gpu_kernel_info gpu_kernel_info[GPU_N_KERNELS] = {
#define X(object_, name_, args, amd, nvidia, dynamic)                                                                  \
	[GPU_K_##name_] = { .object = #object_,                                                                        \
			    .name = #name_,                                                                            \
			    .args_size = sizeof(struct args),                                                          \
			    .threads_amd = amd,                                                                        \
			    .threads_nvidia = nvidia,                                                                  \
			    .dynamic_lds_nvidia = dynamic },
	GPU_KERNEL_LIST(X)
#undef X
};

/* Attribute numbers, the same in every version of each driver so far: CUDA's since 2.0 (the last two since 7.5), HIP's
 * since 5.0. */
struct attribute_ids {
	int units, wave, major, minor;
};
static const struct attribute_ids cuda_ids = { .units = 16, .wave = 10, .major = 75, .minor = 76 };
static const struct attribute_ids hip_ids = { .units = 63, .wave = 87 };

enum { CUDA_MAX_DYNAMIC_SHARED = 8, STREAM_NON_BLOCKING = 1 };

const struct greta_gpu_info *greta_gpu_info(const struct greta_gpu *g)
{
	return &g->info;
}

static int nvidia_arch(struct greta_gpu *g, struct greta_err *e)
{
	int major = 0, minor = 0;

	if (gpu_check(&g->api, g->api.device_attribute(&major, cuda_ids.major, g->device), e, "compute capability") ||
	    gpu_check(&g->api, g->api.device_attribute(&minor, cuda_ids.minor, g->device), e, "compute capability"))
		return -1;
	if (major != 9 || minor != 0)
		return greta_err_set(e, GRETA_EUNSUPPORTED,
				     "%s has compute capability %d.%d; kernels are built for 9.0 (H100, H200)", g->info.name,
				     major, minor);
	greta_str_copy(g->info.arch, sizeof g->info.arch, "sm_90a");
	return 0;
}

static int check_wave(const struct greta_gpu *g, struct greta_err *e)
{
	int want = g->api.vendor == GPU_VENDOR_AMD ? 64 : 32;

	if (g->info.wave != want)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "%s reports waves of %d lanes; the kernels for %s need %d",
				     g->info.name, g->info.wave, g->info.arch, want);
	return 0;
}

static int check_code(const struct greta_gpu *g, struct greta_err *e)
{
	size_t n;
	const struct gpu_code_object *list = gpu_code_objects(&n);

	for (size_t i = 0; i < n; i++)
		if (greta_str_eq(list[i].arch, g->info.arch))
			return 0;
	return greta_err_set(e, GRETA_EUNSUPPORTED,
			     "this build has no kernels for %s (%s): build it where %s is, greta-infer --version lists what is inside",
			     g->info.arch, g->info.name, g->api.vendor == GPU_VENDOR_AMD ? "clang 19 or ROCm" : "nvcc 13");
}

static int read_info(struct greta_gpu *g, const struct greta_gpu_options *o, struct greta_err *e)
{
	const struct gpu_api *a = &g->api;
	bool amd = a->vendor == GPU_VENDOR_AMD;
	const struct attribute_ids *ids = amd ? &hip_ids : &cuda_ids;
	int version = 0;

	if (gpu_check(a, a->driver_version(&version), e, "driver version") ||
	    gpu_check(a, a->device_name(g->info.name, sizeof g->info.name, g->device), e, "device name") ||
	    gpu_check(a, a->device_pci(g->info.pci, sizeof g->info.pci, g->device), e, "device address") ||
	    gpu_check(a, a->device_attribute(&g->info.n_units, ids->units, g->device), e, "number of compute units") ||
	    gpu_check(a, a->device_attribute(&g->info.wave, ids->wave, g->device), e, "wave size"))
		return -1;
	if (amd)
		snprintf(g->info.driver, sizeof g->info.driver, "HIP %d.%d (%s)", version / 10000000, version / 100000 % 100,
			 a->lib_path);
	else
		snprintf(g->info.driver, sizeof g->info.driver, "CUDA %d.%d (%s)", version / 1000, version % 1000 / 10,
			 a->lib_path);
	if (amd ? gpu_kfd_arch(o->kfd_root, g->info.pci, g->info.arch, e) : nvidia_arch(g, e))
		return -1;
	/* 38 compute units a die on MI300X; a CPX partition is one die. */
	g->info.n_xcd = amd ? (g->info.n_units + 37) / 38 : 1;
	return check_wave(g, e) || check_code(g, e) ? -1 : 0;
}

static int make_current(struct greta_gpu *g, int ordinal, struct greta_err *e)
{
	const struct gpu_api *a = &g->api;

	if (a->set_device)
		return gpu_check(a, a->set_device(ordinal), e, "hipSetDevice");
	if (gpu_check(a, a->ctx_retain(&g->ctx, g->device), e, "creating a context"))
		return -1;
	return gpu_check(a, a->ctx_set(g->ctx), e, "cuCtxSetCurrent");
}

static int pick_device(struct greta_gpu *g, int ordinal, struct greta_err *e)
{
	const struct gpu_api *a = &g->api;
	char text[64];
	int n = 0;
	gpu_result r = a->init(0);

	if (r == 0)
		r = a->device_count(&n);
	if (r != 0 || n == 0) {
		greta_err_set(e, GRETA_EUNSUPPORTED, "no GPU: %s is there but shows no device (%s)", a->lib_path,
			      r ? gpu_api_error_text(a, r, text) : "count 0");
		if (e)
			e->sys = ENODEV;
		return -1;
	}
	if (ordinal < 0 || ordinal >= n)
		return greta_err_set(e, GRETA_EINVAL, "GPU %d: there are %d, numbered from 0", ordinal, n);
	return gpu_check(a, a->device_get(&g->device, ordinal), e, "device");
}

/* NVIDIA's driver may be there where only an AMD GPU is. */
static int find_device(struct greta_gpu *g, enum gpu_vendor vendor, int ordinal, struct greta_err *e)
{
	struct greta_err none = { 0 };
	struct gpu_api nvidia;

	if (gpu_api_open(&g->api, vendor, e))
		return -1;
	if (pick_device(g, ordinal, &none) == 0)
		return 0;
	nvidia = g->api;
	if (vendor == GPU_VENDOR_NONE && nvidia.vendor == GPU_VENDOR_NVIDIA && none.sys == ENODEV &&
	    gpu_api_open(&g->api, GPU_VENDOR_AMD, NULL) == 0 && pick_device(g, ordinal, NULL) == 0)
		return 0;
	g->api = nvidia;
	if (e)
		*e = none;
	return -1;
}

static int open_streams(struct greta_gpu *g, struct greta_err *e)
{
	const struct gpu_api *a = &g->api;
	size_t free_bytes;

	if (gpu_check(a, a->mem_info(&free_bytes, &g->info.vram_bytes), e, "device memory") ||
	    gpu_check(a, a->stream_create(&g->stream, STREAM_NON_BLOCKING), e, "creating a stream"))
		return -1;
	for (int i = 0; i < GRETA_GPU_MARKS; i++)
		if (gpu_check(a, a->event_create(&g->marks[i], 0), e, "creating an event"))
			return -1;
	return 0;
}

static int which_driver(const char *name, enum gpu_vendor *v, struct greta_err *e)
{
	*v = GPU_VENDOR_NONE;
	if (!name)
		return 0;
	if (greta_str_eq(name, "cuda"))
		*v = GPU_VENDOR_NVIDIA;
	else if (greta_str_eq(name, "hip"))
		*v = GPU_VENDOR_AMD;
	else
		return greta_err_set(e, GRETA_EINVAL, "GPU driver '%s': it is cuda or hip", name);
	return 0;
}

int greta_gpu_open(struct greta_gpu **out, const struct greta_gpu_options *o, struct greta_err *e)
{
	static const struct greta_gpu_options none;
	struct greta_gpu *g = greta_alloc(sizeof *g);
	enum gpu_vendor vendor;
	size_t n;

	if (!o)
		o = &none;
	gpu_code_objects(&n);
	g->gemm_name = "own";
	g->modules = greta_alloc((n + 1) * sizeof *g->modules);
	if (which_driver(o->driver, &vendor, e) || find_device(g, vendor, o->ordinal, e) || read_info(g, o, e) || make_current(g, o->ordinal, e) || open_streams(g, e)) {
		greta_gpu_close(g);
		return -1;
	}
	*out = g;
	return 0;
}

void greta_gpu_close(struct greta_gpu *g)
{
	size_t n;

	if (!g)
		return;
	gpu_code_objects(&n);
	if (g->stream)
		g->api.stream_sync(g->stream);
	gpu_blas_stop(g);
	gpu_watch_stop(g);
	while (g->n_allocations)
		greta_gpu_free(g, g->allocations[g->n_allocations - 1].p);
	for (size_t i = 0; i < n; i++)
		if (g->modules[i])
			g->api.module_unload(g->modules[i]);
	for (int i = 0; i < GRETA_GPU_MARKS; i++)
		if (g->marks[i])
			g->api.event_destroy(g->marks[i]);
	if (g->stream)
		g->api.stream_destroy(g->stream);
	if (g->ctx)
		g->api.ctx_release(g->device);
	free(g->allocations);
	free(g->modules);
	free(g);
}

int greta_gpu_sync(struct greta_gpu *g, struct greta_err *e)
{
	return gpu_check(&g->api, g->api.stream_sync(g->stream), e, "waiting for the GPU");
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static int out_of_memory(struct greta_gpu *g, size_t bytes, const char *what, struct greta_err *e)
{
	size_t free_bytes = 0, total = 0;
	char want[32], have[32], all[32];

	g->api.mem_info(&free_bytes, &total);
	return greta_err_set(e, GRETA_ENOMEM, "%s needs %s of GPU memory; %s of %s are free on %s", what,
			     greta_str_bytes(want, sizeof want, (double)bytes),
			     greta_str_bytes(have, sizeof have, (double)free_bytes),
			     greta_str_bytes(all, sizeof all, (double)total), g->info.name);
}

void *greta_gpu_alloc(struct greta_gpu *g, size_t bytes, const char *what, struct greta_err *e)
{
	void *p = NULL;
	gpu_result r = g->api.mem_alloc(&p, bytes ? bytes : 1);

	if (r == 2) {
		out_of_memory(g, bytes, what, e);
		return NULL;
	}
	if (gpu_check(&g->api, r, e, what))
		return NULL;
	*GRETA_PUSH(g->allocations, g->n_allocations, g->cap_allocations) = (struct gpu_allocation){ p, bytes };
	g->used_bytes += bytes;
	if (g->used_bytes > g->peak_bytes)
		g->peak_bytes = g->used_bytes;
	return p;
}

void greta_gpu_free(struct greta_gpu *g, void *p)
{
	if (!p)
		return;
	for (size_t i = g->n_allocations; i-- > 0;) {
		if (g->allocations[i].p != p)
			continue;
		g->used_bytes -= g->allocations[i].bytes;
		g->allocations[i] = g->allocations[--g->n_allocations];
		g->api.mem_free(p);
		return;
	}
}

int greta_gpu_mem(struct greta_gpu *g, size_t *free_bytes, size_t *peak_used, struct greta_err *e)
{
	size_t total;

	*peak_used = g->peak_bytes;
	return gpu_check(&g->api, g->api.mem_info(free_bytes, &total), e, "device memory");
}

int greta_gpu_upload(struct greta_gpu *g, void *dst, const void *src, size_t bytes, struct greta_err *e)
{
	if (gpu_check(&g->api, g->api.copy_to_device(dst, src, bytes, g->stream), e, "copying to the GPU"))
		return -1;
	return greta_gpu_sync(g, e);
}

int greta_gpu_download(struct greta_gpu *g, void *dst, const void *src, size_t bytes, struct greta_err *e)
{
	if (gpu_check(&g->api, g->api.copy_to_host(dst, src, bytes, g->stream), e, "copying from the GPU"))
		return -1;
	return greta_gpu_sync(g, e);
}

int greta_gpu_fill(struct greta_gpu *g, void *p, int byte, size_t bytes, struct greta_err *e)
{
	return gpu_check(&g->api, g->api.fill(p, (unsigned char)byte, bytes, g->stream), e, "filling GPU memory");
}

int greta_gpu_mark(struct greta_gpu *g, int i, struct greta_err *e)
{
	return gpu_check(&g->api, g->api.event_record(g->marks[i], g->stream), e, "recording an event");
}

int greta_gpu_seconds(struct greta_gpu *g, int from, int to, double *s, struct greta_err *e)
{
	float ms = 0;

	if (gpu_check(&g->api, g->api.event_sync(g->marks[to]), e, "waiting for an event") ||
	    gpu_check(&g->api, g->api.event_ms(&ms, g->marks[from], g->marks[to]), e, "reading an event"))
		return -1;
	*s = (double)ms / 1e3;
	return 0;
}

/* --- kernels ------------------------------------------------------------------------------------------------------ */

/* Invalid image, no binary for this GPU, unsupported version of PTX, invalid source: of both drivers. */
static bool is_refused_code(gpu_result r)
{
	return r == 200 || r == 209 || r == 222 || r == 300;
}

static int load_module(struct greta_gpu *g, const char *object, gpu_module *out, struct greta_err *e)
{
	size_t n;
	const struct gpu_code_object *list = gpu_code_objects(&n), *o = gpu_code_object_find(object, g->info.arch);
	gpu_result r = 0;
	char text[64];

	if (!o)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "no code object %s for %s in this build", object, g->info.arch);
	if (!g->modules[o - list])
		r = g->api.module_load(&g->modules[o - list], o->data);
	if (is_refused_code(r))
		return greta_err_set(e, GRETA_EUNSUPPORTED,
				     "%s can't load the kernels of this build: %s (%s): it is too old for the compiler that made them",
				     g->info.driver, gpu_api_error_text(&g->api, r, text), object);
	if (gpu_check(&g->api, r, e, object))
		return -1;
	*out = g->modules[o - list];
	return 0;
}

int gpu_kernel_load(struct greta_gpu *g, enum gpu_kernel k, struct greta_err *e)
{
	const struct gpu_kernel_info *info = &gpu_kernel_info[k];
	gpu_module m = NULL;

	if (g->functions[k])
		return 0;
	if (load_module(g, info->object, &m, e) ||
	    gpu_check(&g->api, g->api.module_function(&g->functions[k], m, info->name), e, info->name))
		return -1;
	if (g->api.vendor == GPU_VENDOR_NVIDIA && info->dynamic_lds_nvidia)
		return gpu_check(&g->api,
				 g->api.function_attribute(g->functions[k], CUDA_MAX_DYNAMIC_SHARED, info->dynamic_lds_nvidia),
				 e, info->name);
	return 0;
}

int gpu_launch(struct greta_gpu *g, enum gpu_kernel k, unsigned gx, unsigned gy, unsigned gz, const void *args,
	       struct greta_err *e)
{
	const struct gpu_kernel_info *info = &gpu_kernel_info[k];
	bool amd = g->api.vendor == GPU_VENDOR_AMD;
	unsigned threads = (unsigned)(amd ? info->threads_amd : info->threads_nvidia);
	unsigned lds = amd ? 0 : (unsigned)info->dynamic_lds_nvidia;
	/* the driver copies from it before it returns; its prototype only lacks the const */
	union {
		const void *in;
		void *out;
	} a = { args };

	if (gpu_kernel_load(g, k, e))
		return -1;
	return gpu_check(&g->api, g->api.launch(g->functions[k], gx, gy, gz, threads, 1, 1, lds, g->stream, &a.out, NULL), e,
			 info->name);
}

const char *greta_gpu_dtype_name(enum greta_gpu_dtype t)
{
	return t == GRETA_GPU_BF16 ? "bf16" : "f16";
}

void greta_gpu_built_for(struct greta_buf *out)
{
	size_t n;
	const struct gpu_code_object *list = gpu_code_objects(&n);

	greta_buf_adds(out, "GPU kernels: ");
	for (size_t i = 0; i < n; i++)
		if (i == 0 || !greta_str_eq(list[i].arch, list[i - 1].arch))
			greta_buf_addf(out, "%s%s", i ? ", " : "", list[i].arch);
	if (n == 0)
		greta_buf_adds(out, "none (built without clang 19 and without nvcc 13)");
}
