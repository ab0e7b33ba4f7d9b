#include "kernels/gpu_api.h"
#include "base/mem.h"
#include "base/str.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GPU_OUT_OF_MEMORY = 2 }; /* of both drivers */

/* dlsym gives an object pointer; C has no cast from that to a function's. */
static int symbol(void *lib, const char *name, void *slot)
{
	void *p = dlsym(lib, name);

	if (!p)
		return -1;
	memcpy(slot, &p, sizeof p);
	return 0;
}

static int fill_table(struct gpu_api *api, void *lib, const char *path, enum gpu_vendor vendor, struct greta_err *e)
{
	const char *name;
	bool amd = vendor == GPU_VENDOR_AMD;

	memset(api, 0, sizeof *api);
#define X(slot, args, cuda, hip)                                                                                       \
	name = amd ? hip : cuda;                                                                                       \
	if (name && symbol(lib, name, &api->slot))                                                                     \
		return greta_err_set(e, GRETA_EUNSUPPORTED, "%s lacks %s: the driver is too old; %s or newer is needed", path, name, \
				     amd ? "ROCm 6" : "CUDA 12");
	GPU_API(X)
#undef X
	if (amd && symbol(lib, "hipGetErrorName", &api->error_name_hip))
		return greta_err_set(e, GRETA_EUNSUPPORTED, "%s lacks hipGetErrorName", path);
	api->vendor = vendor;
	api->lib = lib;
	greta_str_copy(api->lib_path, sizeof api->lib_path, path);
	return 0;
}

/* ROCm 6 and 7 are spoken to. The runtime says its version as major * 10,000,000 + ...; 5's ABI differs. */
static int check_hip_version(const struct gpu_api *api, struct greta_err *e)
{
	int version = 0;

	if (api->driver_version(&version) == 0 && version < 60000000)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "%s is ROCm %d.%d; ROCm 6 or 7 is needed (set ROCM_PATH to it)",
				     api->lib_path, version / 10000000, version / 100000 % 100);
	return 0;
}

static int try_open(struct gpu_api *api, const char *path, enum gpu_vendor vendor, struct greta_err *e)
{
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		return 1; /* not there; another name may be */
	if (fill_table(api, lib, path, vendor, e))
		return -1;
	return vendor == GPU_VENDOR_AMD ? check_hip_version(api, e) : 0;
}

/* One root's runtimes by name, the system's where root is NULL; as try_open. */
static int open_amd_under(struct gpu_api *api, const char *root, struct greta_err *e)
{
	/* the last name says no version, so only a root's is tried */
	static const char *const names[] = { "libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so" };
	char path[512];
	int rc = 1;

	for (size_t i = 0; rc == 1 && i < GRETA_COUNT(names) - (root ? 0 : 1); i++) {
		snprintf(path, sizeof path, "%s%s%s", root ? root : "", root ? "/lib/" : "", names[i]);
		rc = try_open(api, path, GPU_VENDOR_AMD, e);
	}
	return rc;
}

/* -1 where there is ROCm 5's runtime, under its own name alone. */
static int refuse_rocm5_under(const char *root, struct greta_err *e)
{
	char path[512];

	snprintf(path, sizeof path, "%s%slibamdhip64.so.5", root ? root : "", root ? "/lib/" : "");
	if (!dlopen(path, RTLD_LAZY | RTLD_LOCAL))
		return 1;
	return greta_err_set(e, GRETA_EUNSUPPORTED, "found %s (ROCm 5); ROCm 6 or 7 is needed (set ROCM_PATH to it)", path);
}

static int open_amd(struct gpu_api *api, struct greta_err *e)
{
	const char *set = getenv("ROCM_PATH"), *roots[] = { set && set[0] ? set : "/opt/rocm", "/opt/rocm", NULL };
	int rc = 1;

	for (size_t r = 0; rc == 1 && r < GRETA_COUNT(roots); r++)
		rc = open_amd_under(api, roots[r], e);
	for (size_t r = 0; rc == 1 && r < GRETA_COUNT(roots); r++)
		rc = refuse_rocm5_under(roots[r], e);
	return rc;
}

int gpu_api_open(struct gpu_api *api, enum gpu_vendor only, struct greta_err *e)
{
	int rc = 1;

	if (only != GPU_VENDOR_AMD)
		rc = try_open(api, "libcuda.so.1", GPU_VENDOR_NVIDIA, e);
	if (rc == 1 && only != GPU_VENDOR_NVIDIA)
		rc = open_amd(api, e);
	if (rc == 1)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "no GPU driver: looked for %s%s%s",
				     only != GPU_VENDOR_AMD ? "libcuda.so.1" : "", only ? "" : " and ",
				     only != GPU_VENDOR_NVIDIA ? "libamdhip64.so.6 and .so.7 (ROCM_PATH, /opt/rocm, system)"
							       : "");
	return rc;
}

const char *gpu_api_error_text(const struct gpu_api *api, gpu_result r, char out[64])
{
	const char *name = NULL;

	if (api->vendor == GPU_VENDOR_NVIDIA && api->error_name(r, &name) != 0)
		name = NULL;
	if (api->vendor == GPU_VENDOR_AMD)
		name = api->error_name_hip(r);
	if (name)
		greta_str_copy(out, 64, name);
	else
		snprintf(out, 64, "error %d", r);
	return out;
}

int gpu_check(const struct gpu_api *api, gpu_result r, struct greta_err *e, const char *what)
{
	char text[64];

	if (r == 0)
		return 0;
	return greta_err_set(e, r == GPU_OUT_OF_MEMORY ? GRETA_ENOMEM : GRETA_EFAIL, "%s: %s", what,
			     gpu_api_error_text(api, r, text));
}
