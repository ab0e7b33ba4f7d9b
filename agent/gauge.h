/* gauge: reads the counters of GPUs, in a process of its own.
 *
 * A read of amdgpu's sysfs or a call of NVML can hang in the kernel for as long as a GPU is being reset. So the
 * supervisor forks a reader that sends a record per interval through a pipe: when no fresh record comes, the GPU is not
 * seen, and the supervisor says so instead of hanging too. */
#ifndef AGENT_GAUGE_H
#define AGENT_GAUGE_H

#include "schemas/msg.h"
#include <sys/types.h>

#define GAUGE_MAX 16 /* GPUs of one attempt; a record stays below PIPE_BUF and so arrives whole */

/* Readings; NAN: not told. */
struct gauge_gpu {
	double busy, mem_busy;          /* percent */
	double vram_bytes, power_w, temp_c;
	double sclk_mhz, sclk_max_mhz, mclk_mhz;
	double throttle;                /* a counter or a bit mask: its change tells */
	double ras_ue;                  /* uncorrectable errors */
};

struct gauge_record {
	int64_t t_ns;
	int32_t n, unused;
	struct gauge_gpu gpus[GAUGE_MAX];
};

/* One reading of one GPU. sys: where sysfs is. */
void gauge_read_amd(const char *sys, const struct greta_device *d, struct gauge_gpu *out);

struct nvml;
struct nvml *nvml_open(void); /* for as long as the process is; NULL: no library, or it does not start */
void nvml_read(struct nvml *n, const char *uuid, struct gauge_gpu *out);
pid_t nvml_user(struct nvml *n, const char *uuid); /* a process that computes on it; 0: none, or not to be known */

/* Forks the reader, a session of its own; *fd is its pipe, non-blocking. It dies with us. */
pid_t gauge_start(const char *sys, const struct greta_device *devices, size_t n, int64_t interval_ms, int *fd,
		  struct greta_err *e);

/* For a child of the supervisor that reads what may hang in the kernel: only this descriptor stays, and 0 to 2, since others
 * are locks and devices, which a child that can't be killed would hold. Returns its new number. */
int gauge_keep_only(int fd);

/* Takes the newest record from the pipe. False: none new. */
bool gauge_take(int fd, struct gauge_record *out);

#endif
