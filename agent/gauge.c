#include "agent/gauge.h"
#include "agent/files.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(struct gauge_record) <= PIPE_BUF, "a record must be written at once");

static double number(const char *dir, const char *name, double scale)
{
	int64_t value;
	return file_i64(dir, name, &value) == 0 ? (double)value * scale : NAN;
}

/* "0: 132Mhz\n1: 2100Mhz *": the line with the star is now, the last one is the most. */
static void read_clock(const char *dir, const char *name, double *now_mhz, double *max_mhz)
{
	char text[4096];
	*now_mhz = *max_mhz = NAN;
	if (file_text(dir, name, text, sizeof text) != 0)
		return;
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *colon = strchr(line, ':');
		size_t n = strcspn(line, "\n");
		if (!colon || (size_t)(colon - line) >= n)
			continue;
		double mhz = strtod(colon + 1, NULL);
		*max_mhz = mhz;
		if (memchr(line, '*', n))
			*now_mhz = mhz;
	}
}

/* Where gpu_metrics keeps what tells of throttling, by content revision of format 1: kgd_pp_interface.h of the amdgpu
 * driver. Revisions 6 and 7 count residencies (PROCHOT, package power, socket, VR and HBM temperature), 4 and 5 have a
 * mask of what throttles now. */
static const struct {
	uint8_t revision;
	uint16_t offset, n;
} throttle_at[] = {{4, 40, 1}, {5, 104, 1}, {6, 36, 5}, {7, 44, 5}};

static double read_throttle(const char *dir)
{
	unsigned char table[4096];
	char path[FILE_PATH_MAX];
	int fd = open(file_path(path, "%s/gpu_metrics", dir), O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, table, sizeof table) : -1;
	if (fd >= 0)
		close(fd);
	for (size_t i = 0; n >= 4 && table[2] == 1 && i < GRETA_COUNT(throttle_at); i++) {
		double sum = 0;
		if (throttle_at[i].revision != table[3] || n < throttle_at[i].offset + 4 * throttle_at[i].n)
			continue;
		for (int k = 0; k < throttle_at[i].n; k++) {
			uint32_t value;
			memcpy(&value, table + throttle_at[i].offset + 4 * k, sizeof value);
			sum += value;
		}
		return sum;
	}
	return NAN;
}

/* "ue: 0\nce: 3", summed over the blocks that have counters: umc_err_count, or aca_umc where the driver reads errors by
 * ACA, as on MI300X (amdgpu_ras.c, amdgpu_aca.c). While a GPU is being reset they say "Query currently inaccessible". */
static double read_ras(const char *dir)
{
	char ras[FILE_PATH_MAX], text[512];
	cleanup_strs struct greta_strs names = {0};
	double sum = NAN;
	file_names(file_path(ras, "%s/ras", dir), "", &names);
	for (size_t i = 0; i < names.n; i++) {
		int64_t ue = 0;
		bool counts = greta_str_ends(names.items[i], "_err_count") || greta_str_starts(names.items[i], "aca_");
		if (counts && file_text(ras, names.items[i], text, sizeof text) == 0 && file_field_i64(text, "ue", &ue) == 0)
			sum = (isnan(sum) ? 0 : sum) + (double)ue;
	}
	return sum;
}

void gauge_read_amd(const char *sys, const struct greta_device *d, struct gauge_gpu *out)
{
	char dir[FILE_PATH_MAX], hwmon[FILE_PATH_MAX], mon[FILE_PATH_MAX];
	cleanup_strs struct greta_strs names = {0};
	double unused;
	const char *node = strrchr(d->path, '/');
	file_path(dir, "%s/class/drm/%s/device", sys, node ? node + 1 : d->path);
	*out = (struct gauge_gpu){
		.busy = number(dir, "gpu_busy_percent", 1),
		.mem_busy = number(dir, "mem_busy_percent", 1),
		.vram_bytes = number(dir, "mem_info_vram_used", 1),
		.power_w = NAN,
		.temp_c = NAN,
		.throttle = read_throttle(dir),
		.ras_ue = read_ras(dir),
	};
	read_clock(dir, "pp_dpm_sclk", &out->sclk_mhz, &out->sclk_max_mhz);
	read_clock(dir, "pp_dpm_mclk", &out->mclk_mhz, &unused);
	file_names(file_path(hwmon, "%s/hwmon", dir), "hwmon", &names);
	if (names.n == 0)
		return;
	file_path(mon, "%s/%s", hwmon, names.items[0]);
	out->power_w = number(mon, "power1_average", 1e-6);
	if (isnan(out->power_w))
		out->power_w = number(mon, "power1_input", 1e-6);
	out->temp_c = number(mon, "temp2_input", 1e-3); /* junction */
	if (isnan(out->temp_c))
		out->temp_c = number(mon, "temp1_input", 1e-3);
}

static void read_all(const char *sys, const struct greta_device *devices, size_t n, struct nvml *nvml,
		     struct gauge_record *r)
{
	*r = (struct gauge_record){.n = (int32_t)(n < GAUGE_MAX ? n : GAUGE_MAX)};
	for (int i = 0; i < r->n; i++) {
		if (strcmp(devices[i].kind, "nvidia") == 0)
			nvml_read(nvml, devices[i].uuid, &r->gpus[i]);
		else
			gauge_read_amd(sys, &devices[i], &r->gpus[i]);
	}
	r->t_ns = greta_clock_mono_ns();
}

static bool any_nvidia(const struct greta_device *devices, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(devices[i].kind, "nvidia") == 0)
			return true;
	return false;
}

static _Noreturn void read_for_ever(const char *sys, const struct greta_device *devices, size_t n, int64_t interval_ms,
				    int fd)
{
	struct timespec pause = {interval_ms / 1000, interval_ms % 1000 * 1000000};
	struct nvml *nvml = any_nvidia(devices, n) ? nvml_open() : NULL;
	for (;;) {
		struct gauge_record r;
		read_all(sys, devices, n, nvml, &r);
		if (write(fd, &r, sizeof r) != sizeof r && errno != EAGAIN)
			_exit(0);
		nanosleep(&pause, NULL);
	}
}

int gauge_keep_only(int fd)
{
	const int kept = 3;
	if (fd != kept && dup3(fd, kept, O_CLOEXEC) < 0)
		_exit(1);
	greta_child_close_from(kept + 1);
	return kept;
}

pid_t gauge_start(const char *sys, const struct greta_device *devices, size_t n, int64_t interval_ms, int *fd,
		  struct greta_err *e)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
		return greta_err_sys(e, "can't make the pipe for GPU readings");
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		if (getppid() != parent)
			_exit(0);
		setsid();
		read_for_ever(sys, devices, n, interval_ms, gauge_keep_only(ends[1]));
	}
	close(ends[1]);
	*fd = ends[0];
	if (pid > 0)
		return pid;
	close(ends[0]);
	*fd = -1;
	return greta_err_sys(e, "can't start the reader of GPU counters");
}

bool gauge_take(int fd, struct gauge_record *out)
{
	struct gauge_record r;
	bool any = false;
	while (fd >= 0 && read(fd, &r, sizeof r) == sizeof r) {
		*out = r;
		any = true;
	}
	return any;
}
