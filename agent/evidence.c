#include "agent/evidence.h"
#include "agent/files.h"
#include "agent/gauge.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "schemas/spec.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_MS 3000
#define DEBUGGER_MS 20000
#define NAME_MAX_LEN 63
#define PIDS_MAX 16     /* of one attempt that are looked at */
#define THREADS_MAX 512
#define BINARY_MAX 4096 /* gpu_metrics has some hundred bytes */
#define HEX_PER_LINE 32

/* reading, in a child */

/* "== path ==" and the text, or why there is none. */
static void put_file(struct greta_buf *out, const char *dir, const char *name)
{
	char path[FILE_PATH_MAX];
	struct greta_err e = {0};
	file_path(path, "%s/%s", dir, name);
	greta_buf_addf(out, "== %s ==\n", path);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char chunk[4096];
	ssize_t n = 0;
	while (fd >= 0 && out->len < EVIDENCE_ITEM_MAX && (n = read(fd, chunk, sizeof chunk)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			chunk[i] = chunk[i] ? chunk[i] : ' '; /* as in cmdline: these are texts for people */
		greta_buf_add(out, chunk, (size_t)n);
	}
	if (fd < 0 || n < 0) {
		greta_err_sys(&e, "not readable");
		greta_buf_addf(out, "(%s)\n", e.text);
	}
	if (fd >= 0)
		close(fd);
	if (out->len && out->data[out->len - 1] != '\n')
		greta_buf_addc(out, '\n');
}

static void put_files(struct greta_buf *out, const char *dir, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		put_file(out, dir, names[i]);
}

static void put_folder(struct greta_buf *out, const char *dir, const char *prefix)
{
	cleanup_strs struct greta_strs names = {0};
	file_names(dir, prefix, &names);
	for (size_t i = 0; i < names.n; i++)
		put_file(out, dir, names.items[i]);
}

/* A binary file, in hex. */
static void put_hex(struct greta_buf *out, const char *dir, const char *name)
{
	char path[FILE_PATH_MAX];
	unsigned char bytes[BINARY_MAX];
	file_path(path, "%s/%s", dir, name);
	greta_buf_addf(out, "== %s, in hex ==\n", path);
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd >= 0 ? read(fd, bytes, sizeof bytes) : -1;
	if (n < 0)
		greta_buf_addf(out, "(not readable: %s)\n", strerror(errno));
	for (ssize_t i = 0; i < n; i++)
		greta_buf_addf(out, "%02x%c", bytes[i], i % HEX_PER_LINE == HEX_PER_LINE - 1 || i + 1 == n ? '\n' : ' ');
}

static void read_amd(const struct evidence_plan *p, const struct greta_device *d, struct greta_buf *out)
{
	static const char *const files[] = {"gpu_busy_percent", "mem_busy_percent", "mem_info_vram_used", "pp_dpm_sclk",
					    "pp_dpm_mclk", "power_dpm_force_performance_level", "pcie_replay_count",
					    "unique_id", "current_compute_partition", "current_link_speed",
					    "current_link_width"};
	char dir[FILE_PATH_MAX], sub[FILE_PATH_MAX];
	cleanup_strs struct greta_strs mons = {0};
	const char *node = strrchr(d->path, '/');
	file_path(dir, "%s/class/drm/%s/device", p->sys, node ? node + 1 : "");
	put_files(out, dir, files, GRETA_COUNT(files));
	put_hex(out, dir, "gpu_metrics");
	put_folder(out, file_path(sub, "%s/ras", dir), "");
	file_names(file_path(sub, "%s/hwmon", dir), "hwmon", &mons);
	for (size_t k = 0; k < mons.n; k++) {
		char mon[FILE_PATH_MAX];
		file_path(mon, "%s/%s", sub, mons.items[k]);
		put_folder(out, mon, "power1_");
		put_folder(out, mon, "temp");
	}
}

static void put_reading(struct greta_buf *out, const char *name, double value)
{
	greta_buf_addf(out, isnan(value) ? "%s -\n" : "%s %.10g\n", name, value);
}

static void read_nvidia(struct nvml *nvml, const struct greta_device *d, struct greta_buf *out)
{
	struct gauge_gpu g;
	nvml_read(nvml, d->uuid, &g);
	put_reading(out, "busy_percent", g.busy);
	put_reading(out, "mem_busy_percent", g.mem_busy);
	put_reading(out, "vram_bytes", g.vram_bytes);
	put_reading(out, "power_w", g.power_w);
	put_reading(out, "temp_c", g.temp_c);
	put_reading(out, "sclk_mhz", g.sclk_mhz);
	put_reading(out, "sclk_max_mhz", g.sclk_max_mhz);
	put_reading(out, "mclk_mhz", g.mclk_mhz);
	put_reading(out, "throttle_reasons", g.throttle);
	put_reading(out, "uncorrectable_errors", g.ras_ue);
}

static void read_gpu(const struct evidence_plan *p, struct greta_buf *out)
{
	struct nvml *nvml = NULL;
	for (size_t i = 0; i < p->n_devices; i++) {
		const struct greta_device *d = &p->devices[i];
		greta_buf_addf(out, "# %s %s\n", d->uuid, d->path);
		if (strcmp(d->kind, "amd") == 0) {
			read_amd(p, d, out);
			continue;
		}
		nvml = nvml ? nvml : nvml_open();
		if (nvml)
			read_nvidia(nvml, d, out);
		else
			greta_buf_adds(out, "(no NVML)\n");
	}
}

static void read_threads(const struct evidence_plan *p, struct greta_buf *out)
{
	static const char *const files[] = {"stat", "status", "wchan", "syscall", "stack"};
	for (size_t i = 0; i < p->n_pids && i < PIDS_MAX; i++) {
		char tasks[FILE_PATH_MAX];
		cleanup_strs struct greta_strs tids = {0};
		file_names(file_path(tasks, "%s/%d/task", p->proc, (int)p->pids[i]), "", &tids);
		for (size_t k = 0; k < tids.n && k < THREADS_MAX; k++) {
			char task[FILE_PATH_MAX];
			file_path(task, "%s/%s", tasks, tids.items[k]);
			put_files(out, task, files, GRETA_COUNT(files));
		}
	}
}

static void read_processes(const struct evidence_plan *p, struct greta_buf *out)
{
	static const char *const files[] = {"cmdline", "io", "cgroup", "limits", "maps"};
	for (size_t i = 0; i < p->n_pids && i < PIDS_MAX; i++) {
		char dir[FILE_PATH_MAX];
		put_files(out, file_path(dir, "%s/%d", p->proc, (int)p->pids[i]), files, GRETA_COUNT(files));
	}
}

/* "NAME=value" of every process; of what must not be stored the name alone. */
static void put_environment(const struct evidence_plan *p, const char *entries, size_t n, struct greta_buf *out)
{
	for (const char *at = entries; at < entries + n; at += strlen(at) + 1) {
		size_t len = strcspn(at, "=");
		cleanup_free char *name = greta_strndup(at, len);
		if (p->spec && greta_spec_hides(p->spec, name))
			greta_buf_addf(out, "%s=" GRETA_NOT_STORED "\n", name);
		else
			greta_buf_addf(out, "%s\n", at);
	}
}

static void read_environment(const struct evidence_plan *p, struct greta_buf *out)
{
	for (size_t i = 0; i < p->n_pids && i < PIDS_MAX; i++) {
		char path[FILE_PATH_MAX];
		cleanup_buf struct greta_buf text = {0};
		struct greta_err e = {0};
		greta_buf_addf(out, "== %s ==\n", file_path(path, "%s/%d/environ", p->proc, (int)p->pids[i]));
		if (greta_fs_read(path, EVIDENCE_ITEM_MAX, &text, &e) != 0)
			greta_buf_addf(out, "(%s)\n", e.text);
		else
			put_environment(p, greta_buf_str(&text), text.len, out);
	}
}

static void read_kfd(const struct evidence_plan *p, struct greta_buf *out)
{
	char nodes[FILE_PATH_MAX];
	cleanup_strs struct greta_strs topology = {0};
	file_names(file_path(nodes, "%s/class/kfd/kfd/topology/nodes", p->sys), "", &topology);
	for (size_t i = 0; i < p->n_pids && i < PIDS_MAX; i++) {
		char dir[FILE_PATH_MAX], queues[FILE_PATH_MAX];
		cleanup_strs struct greta_strs names = {0};
		put_folder(out, file_path(dir, "%s/class/kfd/kfd/proc/%d", p->sys, (int)p->pids[i]), "vram_");
		put_folder(out, dir, "sdma_");
		put_folder(out, dir, "pasid");
		file_names(file_path(queues, "%s/queues", dir), "", &names);
		for (size_t k = 0; k < names.n; k++) {
			char queue[FILE_PATH_MAX];
			put_folder(out, file_path(queue, "%s/%s", queues, names.items[k]), "");
		}
	}
	for (size_t i = 0; i < topology.n; i++) {
		char node[FILE_PATH_MAX];
		put_file(out, file_path(node, "%s/%s", nodes, topology.items[i]), "properties");
	}
}

/* Exact names only: reading others there can reset the GPU or evict its memory. */
static void read_debugfs(const struct evidence_plan *p, struct greta_buf *out)
{
	static const char *const kfd[] = {"kfd/hqds", "kfd/mqds", "kfd/rls"};
	char dir[FILE_PATH_MAX], name[64];
	file_path(dir, "%s/kernel/debug", p->sys);
	put_files(out, dir, kfd, GRETA_COUNT(kfd));
	for (size_t i = 0; i < p->n_devices; i++) {
		int minor = 0;
		if (sscanf(strrchr(p->devices[i].path, '/'), "/renderD%d", &minor) != 1)
			continue;
		snprintf(name, sizeof name, "dri/%d/amdgpu_fence_info", minor);
		put_file(out, dir, name);
	}
}

static void read_coredump(const struct evidence_plan *p, struct greta_buf *out)
{
	char root[FILE_PATH_MAX], dir[FILE_PATH_MAX];
	cleanup_strs struct greta_strs names = {0};
	file_names(file_path(root, "%s/class/devcoredump", p->sys), "devcd", &names);
	for (size_t i = 0; i < names.n; i++)
		put_file(out, file_path(dir, "%s/%s", root, names.items[i]), "data");
}

static bool is_there(const char *program)
{
	const char *path = getenv("PATH");
	for (const char *at = path ? path : "/usr/bin:/bin"; *at; at += strcspn(at, ":"), at += *at == ':') {
		char file[FILE_PATH_MAX];
		file_path(file, "%.*s/%s", (int)strcspn(at, ":"), at, program);
		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

/* rocgdb also shows the GPU's waves. */
static void read_debugger(const struct evidence_plan *p, struct greta_buf *out)
{
	char pid[16];
	struct greta_err e = {0};
	struct greta_child_result r;
	const char *program = is_there("rocgdb") ? "rocgdb" : is_there("gdb") ? "gdb" : NULL;
	if (!program || !p->debugger || p->n_pids == 0) {
		greta_buf_addf(out, "(%s)\n", !program ? "no gdb or rocgdb on this node" : "threads in D state: a debugger would hang too");
		return;
	}
	snprintf(pid, sizeof pid, "%d", (int)p->pids[0]);
	const char *const argv[] = {program, "-nx", "-batch", "-p", pid, "-ex", "set pagination off", "-ex", "info threads",
				    "-ex", "thread apply all bt 64", "-ex", "detach", NULL};
	const struct greta_child_spec spec = {.argv = argv, .new_group = true};
	if (greta_child_run(&spec, DEBUGGER_MS, EVIDENCE_ITEM_MAX, out, &r, &e) != 0)
		greta_buf_addf(out, "(%s)\n", e.text);
	else if (r.timed_out)
		greta_buf_addf(out, "(%s did not end within %d ms)\n", program, DEBUGGER_MS);
}

/* The list, in its order. */
static const struct {
	const char *name;
	void (*read)(const struct evidence_plan *p, struct greta_buf *out);
	int deadline_ms;
	bool root, gpu;
} items[] = {
	{"gpu.1", read_gpu, READ_MS, false, true},
	{"devcoredump", read_coredump, READ_MS, false, true}, /* it expires */
	{"kfd", read_kfd, READ_MS, false, true},
	{"threads", read_threads, READ_MS, false, false},
	{"processes", read_processes, READ_MS, false, false},
	{"environment", read_environment, READ_MS, false, false},
	{"debugfs", read_debugfs, READ_MS, true, true},
	{"debugger", read_debugger, DEBUGGER_MS + 2000, false, false},
	{"gpu.2", read_gpu, READ_MS, false, true},
};

/* bounded */

static _Noreturn void read_in_child(size_t item, const struct evidence_plan *p, int fd)
{
	struct greta_buf text = {0};
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	fd = gauge_keep_only(fd);
	items[item].read(p, &text);
	size_t n = text.len < EVIDENCE_ITEM_MAX ? text.len : EVIDENCE_ITEM_MAX;
	_exit(greta_fs_write_all(fd, text.data ? text.data : "", n, NULL) == 0 ? 0 : 1);
}

/* Takes what the child writes until its end or the deadline. False: it was given up. */
static bool take_output(int fd, int deadline_ms, struct greta_buf *out)
{
	int64_t end_ns = greta_clock_mono_ns() + deadline_ms * GRETA_NS_PER_MS;
	for (;;) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		int64_t left = (end_ns - greta_clock_mono_ns()) / GRETA_NS_PER_MS;
		if (left <= 0 || poll(&wait, 1, (int)left) == 0)
			return false;
		ssize_t n = read(fd, greta_buf_reserve(out, 65536), 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return true;
		out->len += (size_t)n;
	}
}

static void read_bounded(size_t item, const struct evidence_plan *p, struct greta_buf *out)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0)
		return;
	pid_t pid = fork();
	if (pid == 0)
		read_in_child(item, p, ends[1]);
	close(ends[1]);
	bool ended = pid > 0 && take_output(ends[0], items[item].deadline_ms, out);
	close(ends[0]);
	if (!ended)
		greta_buf_addf(out, "(gave up after %d ms: a read hangs in the kernel)\n", items[item].deadline_ms);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, ended ? 0 : WNOHANG); /* one in D state is left behind */
	}
}

void evidence_gather(const struct evidence_plan *plan, evidence_fn *fn, void *arg)
{
	for (size_t i = 0; i < GRETA_COUNT(items); i++) {
		cleanup_buf struct greta_buf text = {0};
		if ((items[i].gpu && plan->n_devices == 0) || (items[i].root && geteuid() != 0))
			continue;
		read_bounded(i, plan, &text);
		if (text.len == 0)
			greta_buf_adds(&text, "(nothing there)\n");
		fn(arg, items[i].name, text.data, text.len);
	}
}

/* through a pipe: "NAME LENGTH\n" and the bytes */

static void send_item(void *arg, const char *name, const char *text, size_t n)
{
	char head[NAME_MAX_LEN + 32];
	int len = snprintf(head, sizeof head, "%s %zu\n", name, n);
	if (greta_fs_write_all(*(int *)arg, head, (size_t)len, NULL) != 0 ||
	    greta_fs_write_all(*(int *)arg, text, n, NULL) != 0)
		_exit(1);
}

pid_t evidence_start(const struct evidence_plan *plan, int *fd, struct greta_err *e)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0)
		return greta_err_sys(e, "can't make the pipe for evidence");
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		setsid();
		int to = gauge_keep_only(ends[1]);
		evidence_gather(plan, send_item, &to);
		_exit(0);
	}
	close(ends[1]);
	*fd = ends[0];
	if (pid > 0 && greta_fs_set_nonblock(*fd, e) == 0)
		return pid;
	close(ends[0]);
	*fd = -1;
	return pid < 0 ? greta_err_sys(e, "can't start the collector of evidence") : -1;
}

void evidence_take(struct greta_buf *in, evidence_fn *fn, void *arg)
{
	for (;;) {
		char name[NAME_MAX_LEN + 1];
		size_t n = 0;
		const char *newline = in->len ? memchr(in->data, '\n', in->len) : NULL;
		if (!newline || sscanf(in->data, "%63s %zu", name, &n) != 2)
			return;
		size_t head = (size_t)(newline - in->data) + 1;
		if (in->len - head < n)
			return;
		fn(arg, name, in->data + head, n);
		greta_buf_consume(in, head + n);
	}
}
