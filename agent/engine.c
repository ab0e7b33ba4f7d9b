#include "agent/engine.h"
#include "agent/breadcrumb.h"
#include "agent/kill.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIPE_BYTES (1024 * 1024) /* fewer wake-ups when it floods; the default stays where the user's limit forbids it */
#define PROGRESS_FD 3
#define PAGE_FD 4
#define FIRST_SLOT_FD 16
#define OOM_SCORE_ADJ "500"      /* when memory runs out, the engine goes before its supervisor and sshd */

extern char **environ;

/* What an engine may inherit from the agent's own environment. Anything else that results depend on comes in the spec,
 * so that it is on record. */
static const char *const inherited[] = {
	"PATH=", "HOME=", "USER=", "LOGNAME=", "SHELL=", "LANG=", "LC_", "TZ=", "TMPDIR=", "XDG_",
	"LD_LIBRARY_PATH=", "ROCM_", "HIP_", "HSA_", "ROCR_", "GPU_", "AMD_", "CUDA_", "NVIDIA_", "NCCL_", "RCCL_",
	"OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MIOPEN_", "ROCBLAS_", "HIPBLASLT_", "TENSILE_",
	"ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "TSAN_OPTIONS=",
};

static bool is_inherited(const char *entry)
{
	for (size_t i = 0; i < GRETA_COUNT(inherited); i++)
		if (greta_str_starts(entry, inherited[i]))
			return true;
	return false;
}

void engine_environment_set(struct greta_strs *env, const char *entry)
{
	size_t name = strcspn(entry, "=") + 1;
	for (size_t i = 0; i < env->n; i++) {
		if (strncmp(env->items[i], entry, name) != 0)
			continue;
		free(env->items[i]);
		env->items[i] = greta_strdup(entry);
		return;
	}
	greta_strs_add(env, entry);
}

static void setf(struct greta_strs *env, const char *name, const char *value)
{
	cleanup_free char *entry = greta_format("%s=%s", name, value);
	engine_environment_set(env, entry);
}

void engine_environment(const struct greta_spec *spec, const struct slots *slots, const char *const *ours,
			struct greta_strs *out)
{
	char fd[16];
	cleanup_buf struct greta_buf names = {0};
	for (size_t i = 0; ours[i]; i++)
		if (is_inherited(ours[i]))
			engine_environment_set(out, ours[i]);
	for (size_t i = 0; i < slots->visible.n; i++)
		engine_environment_set(out, slots->visible.items[i]);
	for (size_t i = 0; i < spec->env.n; i++)
		engine_environment_set(out, spec->env.items[i]);
	for (size_t i = 0; i < slots->names.n; i++)
		greta_buf_addf(&names, "%s%s", i ? "," : "", slots->names.items[i]);
	snprintf(fd, sizeof fd, "%d", PROGRESS_FD);
	setf(out, KILL_ATTEMPT_VARIABLE, spec->attempt);
	setf(out, "GRETA_PROGRESS_FD", fd);
	setf(out, "GRETA_SLOT", greta_buf_str(&names));
	if (spec->slot != GRETA_SLOT_CPU) {
		snprintf(fd, sizeof fd, "%d", PAGE_FD);
		cleanup_free char *page = greta_format("/proc/self/fd/%s", fd);
		setf(out, "GRETA_GPU_PAGE", page);
	}
}

struct pipes {
	int out[2], err[2], progress[2];
};

static void close_pair(int pair[2])
{
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
}

static int make_pipes(struct pipes *p, struct greta_err *e)
{
	*p = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}};
	if (pipe2(p->out, O_CLOEXEC) != 0 || pipe2(p->err, O_CLOEXEC) != 0 || pipe2(p->progress, O_CLOEXEC) != 0)
		return greta_err_sys(e, "can't make the engine's pipes");
	fcntl(p->out[1], F_SETPIPE_SZ, PIPE_BYTES);
	/* The engine's end too: a full pipe must drop a line of progress, never hold the engine. */
	return greta_fs_set_nonblock(p->out[0], e) || greta_fs_set_nonblock(p->err[0], e) ||
			       greta_fs_set_nonblock(p->progress[0], e) || greta_fs_set_nonblock(p->progress[1], e)
		       ? -1
		       : 0;
}

/* "{slot}" in an argument becomes the names of what is held. */
static void node_arguments(const struct greta_spec *spec, const struct slots *slots, struct greta_strs *argv)
{
	cleanup_buf struct greta_buf names = {0};
	for (size_t i = 0; i < slots->names.n; i++)
		greta_buf_addf(&names, "%s%s", i ? "," : "", slots->names.items[i]);
	for (size_t i = 0; i < spec->argv.n; i++) {
		const char *at = spec->argv.items[i], *hit;
		cleanup_buf struct greta_buf arg = {0};
		while ((hit = strstr(at, "{slot}"))) {
			greta_buf_add(&arg, at, (size_t)(hit - at));
			greta_buf_adds(&arg, greta_buf_str(&names));
			at = hit + strlen("{slot}");
		}
		greta_buf_adds(&arg, at);
		greta_strs_add(argv, greta_buf_str(&arg));
	}
}

static pid_t spawn_bound(const struct greta_child_spec *child, const struct slots *slots, struct greta_err *e)
{
	cpu_set_t before;
	if (!slots->bind_cpus || sched_getaffinity(0, sizeof before, &before) != 0)
		return greta_child_spawn(child, e);
	/* Inherited over fork: taken for a moment by ourselves. */
	sched_setaffinity(0, sizeof slots->cpus, &slots->cpus);
	pid_t pid = greta_child_spawn(child, e);
	sched_setaffinity(0, sizeof before, &before);
	return pid;
}

static pid_t spawn(struct engine *eng, struct greta_child_spec *child, const struct slots *slots,
		   const struct cgroup *cg, struct greta_err *e)
{
	cleanup_fd int procs = cgroup_open_procs(cg);
	if (procs >= 0) {
		child->cgroup_procs_fd = procs;
		pid_t pid = spawn_bound(child, slots, NULL);
		eng->in_cgroup = pid > 0;
		if (pid > 0)
			return pid;
		child->cgroup_procs_fd = -1; /* perhaps that was why; the second try tells */
	}
	return spawn_bound(child, slots, e);
}

static void prefer_for_oom(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
	cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, OOM_SCORE_ADJ, strlen(OOM_SCORE_ADJ)) < 0)
		return; /* a wish, not a need */
}

int engine_start(struct engine *eng, const struct greta_spec *spec, const struct slots *slots, const struct cgroup *cg,
		 const char *cwd, struct greta_err *e)
{
	struct pipes p;
	cleanup_strs struct greta_strs env = {0}, argv = {0};
	*eng = (struct engine){.out = -1, .err = -1, .progress = -1, .page = -1};
	if (spec->slot != GRETA_SLOT_CPU)
		eng->page = breadcrumb_page();
	engine_environment(spec, slots, (const char *const *)environ, &env);
	node_arguments(spec, slots, &argv);
	int n_fds = 0, n_slots = (int)slots->n_fds;
	cleanup_free struct greta_child_fd *fds = greta_alloc(sizeof *fds * (size_t)(n_slots + 4));
	if (make_pipes(&p, e) == 0) {
		fds[n_fds++] = (struct greta_child_fd){p.out[1], 1};
		fds[n_fds++] = (struct greta_child_fd){p.err[1], 2};
		fds[n_fds++] = (struct greta_child_fd){p.progress[1], PROGRESS_FD};
		if (eng->page >= 0)
			fds[n_fds++] = (struct greta_child_fd){eng->page, PAGE_FD};
		for (int i = 0; i < n_slots; i++)
			fds[n_fds++] = (struct greta_child_fd){slots->fds[i], FIRST_SLOT_FD + i};
		struct greta_child_spec child = {
			.argv = (const char *const *)argv.items,
			.env = (const char *const *)env.items,
			.cwd = spec->cwd ? spec->cwd : cwd,
			.fds = fds,
			.n_fds = n_fds,
			.new_session = true,
			.death_signal = SIGKILL,
			.allow_ptrace = true,
		};
		eng->pid = spawn(eng, &child, slots, cg, e);
	}
	if (eng->pid <= 0) {
		close_pair(p.out), close_pair(p.err), close_pair(p.progress);
		engine_close(eng);
		eng->pid = 0;
		return -1;
	}
	close(p.out[1]), close(p.err[1]), close(p.progress[1]);
	eng->out = p.out[0], eng->err = p.err[0], eng->progress = p.progress[0];
	prefer_for_oom(eng->pid);
	return 0;
}

void engine_close(struct engine *eng)
{
	int *fds[] = {&eng->out, &eng->err, &eng->progress, &eng->page};
	for (size_t i = 0; i < GRETA_COUNT(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}
