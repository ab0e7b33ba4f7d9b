/* A stand-in for NVIDIA's management library: one GPU, 97 % busy at 650 W, on which the process of $FAKE_NVML_PID computes;
 * "hang" never comes back from that question, and without the variable the library does not start. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct process {
	unsigned pid;
	unsigned long long memory;
	unsigned gpu_instance, compute_instance;
};

int nvmlInit_v2(void);
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *n, struct process *out);

int nvmlInit_v2(void)
{
	return getenv("FAKE_NVML_PID") ? 0 : 1;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
	*device = (void *)uuid;
	return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *n, struct process *out)
{
	const char *set = getenv("FAKE_NVML_PID");
	(void)device;
	while (strcmp(set, "hang") == 0)
		pause();
	*n = strtoul(set, NULL, 10) > 0;
	out[0] = (struct process){.pid = (unsigned)strtoul(set, NULL, 10), .memory = 1 << 30};
	return 0;
}

struct rates {
	unsigned gpu, memory;
};
int nvmlDeviceGetUtilizationRates(void *device, struct rates *out);
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatt);
int nvmlDeviceGetTotalEccErrors(void *device, int type, int since, unsigned long long *count);

int nvmlDeviceGetUtilizationRates(void *device, struct rates *out)
{
	(void)device;
	*out = (struct rates){.gpu = 97, .memory = 12};
	return 0;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatt)
{
	(void)device;
	*milliwatt = 650000;
	return 0;
}

int nvmlDeviceGetTotalEccErrors(void *device, int type, int since, unsigned long long *count)
{
	(void)device;
	*count = type == 1 && since == 0 ? 5 : 0;
	return 0;
}

/* Whatever else the agent looks for must be there, and says that it does not know. */
#define UNKNOWN(name)                                                                                                  \
	int name(void);                                                                                                \
	int name(void)                                                                                                 \
	{                                                                                                              \
		return 1;                                                                                              \
	}
UNKNOWN(nvmlDeviceGetMemoryInfo)
UNKNOWN(nvmlDeviceGetTemperature)
UNKNOWN(nvmlDeviceGetClockInfo)
UNKNOWN(nvmlDeviceGetMaxClockInfo)
UNKNOWN(nvmlDeviceGetCurrentClocksThrottleReasons)
