/* nvml: NVIDIA's management library, found at run time. Declared here is what we call of it, by its documentation. */
#include "agent/gauge.h"
#include "base/mem.h"
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NVML_CLOCK_SM 1
#define NVML_CLOCK_MEM 2
#define NVML_UNCORRECTED 1 /* nvmlMemoryErrorType_t */
#define NVML_SINCE_LOAD 0  /* nvmlEccCounterType_t: volatile */
#define NVML_TEMPERATURE_GPU 0

struct nvml_utilization {
	unsigned gpu, memory;
};

struct nvml_memory {
	unsigned long long total, free, used;
};

struct nvml_process {
	unsigned pid;
	unsigned long long memory;
	unsigned gpu_instance, compute_instance;
};

struct nvml {
	void *library;
	int (*init)(void);
	int (*by_uuid)(const char *uuid, void **device);
	int (*utilization)(void *device, struct nvml_utilization *out);
	int (*memory)(void *device, struct nvml_memory *out);
	int (*power)(void *device, unsigned *milliwatts);
	int (*temperature)(void *device, unsigned sensor, unsigned *celsius);
	int (*clock)(void *device, unsigned which, unsigned *mhz);
	int (*max_clock)(void *device, unsigned which, unsigned *mhz);
	int (*throttle)(void *device, unsigned long long *reasons);
	int (*processes)(void *device, unsigned *n, struct nvml_process *out); /* NULL: a library before 510 */
	int (*ecc)(void *device, int type, int since, unsigned long long *count); /* NULL: not there */
};

/* A function pointer is copied from what dlsym returns, as POSIX allows; a cast would not be C. */
static bool look_up(void *library, const char *name, void *slot)
{
	void *symbol = dlsym(library, name);
	memcpy(slot, &symbol, sizeof symbol);
	return symbol != NULL;
}

static bool look_up_all(struct nvml *n)
{
	const struct {
		const char *name;
		void *slot;
	} needed[] = {
		{"nvmlInit_v2", &n->init},
		{"nvmlDeviceGetHandleByUUID", &n->by_uuid},
		{"nvmlDeviceGetUtilizationRates", &n->utilization},
		{"nvmlDeviceGetMemoryInfo", &n->memory},
		{"nvmlDeviceGetPowerUsage", &n->power},
		{"nvmlDeviceGetTemperature", &n->temperature},
		{"nvmlDeviceGetClockInfo", &n->clock},
		{"nvmlDeviceGetMaxClockInfo", &n->max_clock},
		{"nvmlDeviceGetCurrentClocksThrottleReasons", &n->throttle},
	};
	for (size_t i = 0; i < GRETA_COUNT(needed); i++)
		if (!look_up(n->library, needed[i].name, needed[i].slot))
			return false;
	look_up(n->library, "nvmlDeviceGetComputeRunningProcesses_v3", &n->processes);
	look_up(n->library, "nvmlDeviceGetTotalEccErrors", &n->ecc);
	return true;
}

struct nvml *nvml_open(void)
{
	void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return NULL;
	struct nvml *n = greta_alloc(sizeof *n);
	n->library = library;
	if (look_up_all(n) && n->init() == 0)
		return n;
	dlclose(library);
	free(n);
	return NULL;
}

static double or_nan(int rc, double value)
{
	return rc == 0 ? value : NAN;
}

static void read_device(struct nvml *n, void *device, struct gauge_gpu *out)
{
	struct nvml_utilization used = {0};
	struct nvml_memory memory = {0};
	unsigned value = 0;
	unsigned long long reasons = 0, errors = 0;
	int rc = n->utilization(device, &used);
	out->busy = or_nan(rc, used.gpu);
	out->mem_busy = or_nan(rc, used.memory);
	rc = n->memory(device, &memory);
	out->vram_bytes = or_nan(rc, (double)memory.used);
	rc = n->power(device, &value);
	out->power_w = or_nan(rc, value / 1e3);
	rc = n->temperature(device, NVML_TEMPERATURE_GPU, &value);
	out->temp_c = or_nan(rc, value);
	rc = n->clock(device, NVML_CLOCK_SM, &value);
	out->sclk_mhz = or_nan(rc, value);
	rc = n->max_clock(device, NVML_CLOCK_SM, &value);
	out->sclk_max_mhz = or_nan(rc, value);
	rc = n->clock(device, NVML_CLOCK_MEM, &value);
	out->mclk_mhz = or_nan(rc, value);
	rc = n->throttle(device, &reasons);
	out->throttle = or_nan(rc, (double)(reasons & ~1ull)); /* bit 0: idle */
	rc = n->ecc ? n->ecc(device, NVML_UNCORRECTED, NVML_SINCE_LOAD, &errors) : -1;
	out->ras_ue = or_nan(rc, (double)errors);
}

void nvml_read(struct nvml *n, const char *uuid, struct gauge_gpu *out)
{
	void *device = NULL;
	*out = (struct gauge_gpu){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
	if (n && n->by_uuid(uuid, &device) == 0)
		read_device(n, device, out);
}

pid_t nvml_user(struct nvml *n, const char *uuid)
{
	struct nvml_process users[64];
	unsigned count = GRETA_COUNT(users);
	void *device = NULL;
	if (!n->processes || n->by_uuid(uuid, &device) != 0 || n->processes(device, &count, users) != 0 || count == 0)
		return 0;
	return (pid_t)users[0].pid;
}
