#include "agent/pilot.h"
#include "agent/allocation.h"
#include "agent/collect.h"
#include "agent/devices.h"
#include "agent/facts.h"
#include "agent/files.h"
#include "agent/launch.h"
#include "agent/pool_quarantine.h"
#include "agent/quarantine.h"
#include "agent/queue.h"
#include "agent/spool.h"
#include "base/buf.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "schemas/slurm.h"
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* Inotify tells of what this machine did to the queue; what others did is seen by looking, less often when idle. */
#define LOOK_MS 200
#define LOOK_IDLE_MS 1000
#define QUARANTINE_NS GRETA_NS_PER_S /* what a person lets go is used again so soon */

extern char **environ;

struct pilot {
	const struct agent_paths *paths;
	const struct pilot_options *options;
	struct greta_loop *loop;
	struct greta_watch *look;
	int inotify;
	char name[64], machine[64];
	int64_t n_gpus, n_cpus;
	struct tickets running;
	struct collect near;           /* where they run, if not in the spool */
	int64_t begun_ns, worked_ns, seen_ns;   /* monotonic; the last: when quarantine was looked at */
	struct timespec quarantine;    /* when it changed last */
	bool landing;
};

/* room */

/* Those in quarantine are no slots. */
static int64_t count_gpus(const struct agent_paths *paths)
{
	struct greta_facts found = {0};
	int64_t n = 0;
	devices_find(paths->sys, paths->proc, paths->dev, &found);
	for (size_t i = 0; i < found.n_devices; i++) {
		char reason[QUARANTINE_REASON_MAX];
		cleanup_free char *slot = greta_format("gpu-%s", found.devices[i].uuid);
		n += !quarantine_is(paths->slots, slot, reason);
	}
	greta_facts_release(&found);
	return n;
}

static double left_s(const struct pilot *p)
{
	if (p->options->limit_s <= 0)
		return 1e9;
	return p->options->limit_s - (double)(greta_clock_mono_ns() - p->begun_ns) / (double)GRETA_NS_PER_S;
}

static bool has_time(const struct pilot *p, const struct ticket *t)
{
	double needs_s = t->wall_s ? (double)t->wall_s + GRETA_SLURM_MARGIN_S / 2 : 0;
	return needs_s <= left_s(p);
}

static int64_t cpus_of(const struct pilot *p, const struct ticket *t)
{
	return t->slot != GRETA_SLOT_CPU || t->cpus > 0 ? t->cpus : p->n_cpus;
}

/* When nothing else runs. */
static bool fits(const struct pilot *p, const struct ticket *t)
{
	return t->gpus <= p->n_gpus && cpus_of(p, t) <= p->n_cpus;
}

static bool has_room(const struct pilot *p, const struct ticket *t)
{
	int64_t gpus = p->n_gpus, cpus = p->n_cpus;
	for (size_t i = 0; i < p->running.n; i++) {
		const struct ticket *r = &p->running.items[i];
		if (r->slot == GRETA_SLOT_NODE)
			return false;
		gpus -= r->gpus;
		cpus -= cpus_of(p, r);
	}
	if (t->slot == GRETA_SLOT_NODE)
		return p->running.n == 0;
	return t->gpus <= gpus && cpus_of(p, t) <= cpus;
}

/* attempts */

static bool is_over(const char *dir)
{
	int fd = spool_is_finished(dir) ? spool_lock(dir, NULL) : -1;
	if (fd >= 0)
		close(fd);
	return fd >= 0 || access(dir, F_OK) != 0;
}

/* A supervisor for it: one that runs it, or, if something of it has run already, one that ends it. */
static void see_to(struct pilot *p, const struct ticket *t)
{
	struct greta_err e = {0};
	cleanup_free char *dir = spool_attempt_dir(p->options->spool, t->attempt);
	if (p->options->local_spool)
		collect_tend(&p->near, t->attempt);
	else
		launch_adopt(p->paths, dir, &e);
	if (e.code != GRETA_OK)
		greta_error("attempt %s: %s", t->attempt, e.text);
}

/* A machine that is in quarantine as a whole takes no more; the pool asks for another one. */
static void see_quarantine(struct pilot *p, int64_t now)
{
	char reason[QUARANTINE_REASON_MAX], dir[FILE_PATH_MAX];
	struct stat st = {0};
	stat(file_path(dir, "%s/" QUARANTINE_FOLDER, p->paths->slots), &st);
	bool same = st.st_mtim.tv_sec == p->quarantine.tv_sec && st.st_mtim.tv_nsec == p->quarantine.tv_nsec;
	if (same && p->seen_ns && now - p->seen_ns < QUARANTINE_NS)
		return;
	p->seen_ns = now;
	p->quarantine = st.st_mtim;
	pool_quarantine_share(p->options->spool, p->machine, p->paths->slots);
	p->n_gpus = count_gpus(p->paths);
	if (p->landing || !quarantine_is(p->paths->slots, "node", reason))
		return;
	p->landing = true;
	printf("%s is in quarantine %s\n", p->machine, reason);
	fflush(stdout);
}

static void tend(struct pilot *p)
{
	launch_reap();
	for (size_t i = 0; i < p->running.n;) {
		struct ticket *t = &p->running.items[i];
		cleanup_free char *dir = spool_attempt_dir(p->options->spool, t->attempt);
		see_to(p, t); /* nothing to do here, as long as its supervisor lives */
		if (is_over(dir)) {
			queue_done(p->options->spool, p->name, t);
			*t = p->running.items[--p->running.n];
			continue;
		}
		i++;
	}
}

/* False when none is left that we could ever take. */
static bool take(struct pilot *p)
{
	struct tickets waiting = {0};
	bool some = false;
	queue_list(p->options->spool, &waiting);
	for (size_t i = 0; i < waiting.n; i++) {
		const struct ticket *t = &waiting.items[i];
		if (!has_time(p, t) || !fits(p, t))
			continue;
		some = true;
		if (!has_room(p, t) || !queue_take(p->options->spool, p->name, t))
			continue;
		*GRETA_PUSH(p->running.items, p->running.n, p->running.cap) = *t;
		see_to(p, t);
	}
	tickets_release(&waiting);
	return some;
}

/* the life of it */

static void turn(struct pilot *p)
{
	int64_t now = greta_clock_mono_ns();
	tend(p);
	see_quarantine(p, now);
	bool some = !p->landing && take(p);
	if (some || p->running.n)
		p->worked_ns = now;
	bool idle = (double)(now - p->worked_ns) >= p->options->idle_s * (double)GRETA_NS_PER_S;
	if (!p->running.n && (p->landing || idle || left_s(p) < GRETA_SLURM_MARGIN_S / 2))
		greta_loop_stop(p->loop);
	else
		greta_watch_rearm(p->look, some || p->running.n ? LOOK_MS : LOOK_IDLE_MS);
}

static void on_look(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w, (void)events;
	turn(arg);
}

static void on_queue(struct greta_watch *w, uint32_t events, void *arg)
{
	struct pilot *p = arg;
	char drop[4096];
	(void)w, (void)events;
	while (read(p->inotify, drop, sizeof drop) > 0)
		;
	turn(p);
}

/* Slurm signals supervisors too; not every way of ending a job does. */
static void on_term(struct greta_watch *w, uint32_t events, void *arg)
{
	struct pilot *p = arg;
	(void)w, (void)events;
	p->landing = true;
	for (size_t i = 0; i < p->running.n; i++) {
		const char *spool = p->options->local_spool ? p->near.paths.spool : p->options->spool;
		cleanup_free char *dir = spool_attempt_dir(spool, p->running.items[i].attempt);
		pid_t pid = spool_lock_pid(dir);
		if (pid > 1)
			kill(pid, SIGTERM);
	}
	turn(p);
}

/* An attempt that a pilot of this name holds already is one of before a restart that kept the job's number. */
static void take_up(struct pilot *p)
{
	queue_taken(p->options->spool, p->name, &p->running);
	for (size_t i = 0; i < p->running.n; i++)
		see_to(p, &p->running.items[i]);
}

/* What later campaigns are told of the machines here; the last pilot's word stands. */
static void tell_facts(const struct agent_paths *paths, const char *spool)
{
	struct greta_facts facts = {0};
	cleanup_buf struct greta_buf text = {0};
	cleanup_free char *path = greta_fs_join(spool, "facts.json");
	struct agent_paths here = *paths;
	here.spool = (char *)spool;
	here.node_id = (char *)"";
	facts_gather(&here, &facts);
	greta_facts_print(&facts, &text);
	greta_fs_write_atomic(path, text.data, text.len, 0600, NULL);
	greta_facts_release(&facts);
}

/* They number devices within what Slurm gave; each engine is told its own by their names. */
static void forget_numbers(void)
{
	static const char *const names[] = {"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
					    "GPU_DEVICE_ORDINAL"};
	for (size_t i = 0; i < GRETA_COUNT(names); i++)
		unsetenv(names[i]);
}

/* Without a task plugin of Slurm's every CPU of the machine is open to us, those of other jobs too. */
static int64_t count_cpus(void)
{
	const char *given = getenv("SLURM_CPUS_ON_NODE");
	int64_t n;
	cpu_set_t cpus;
	int64_t open = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
	return given && greta_str_i64(given, &n) == 0 && n > 0 && n < open ? n : open;
}

static void know_allocation(struct pilot *p, const struct agent_paths *paths)
{
	char log[PATH_MAX];
	ssize_t n = readlink("/proc/self/fd/1", log, sizeof log - 1);
	struct greta_facts found = {0};
	devices_find(paths->sys, paths->proc, paths->dev, &found);
	cleanup_free char *ours = allocation_devices(&found, (const char *const *)environ);
	setenv(DEVICES_ALLOCATED, ours, 1);
	forget_numbers();
	greta_facts_release(&found);
	log[n > 0 ? n : 0] = '\0';
	setenv(ALLOCATION_LOG, log, 1);
	p->n_cpus = count_cpus();
	allocation_machine(p->machine);
	printf(ALLOCATION_BEGINS ": %s on %s, GPUs %s\n", p->name, p->machine, *ours ? ours : "none");
	fflush(stdout);
}

static int set_up(struct pilot *p, struct greta_err *e)
{
	cleanup_free char *queue = greta_fs_join(p->options->spool, "queue");
	greta_child_raise_files();
	p->loop = greta_loop_create(e);
	if (!p->loop)
		return -1;
	if (!greta_loop_signal(p->loop, SIGTERM, on_term, p) || !greta_loop_signal(p->loop, SIGCHLD, on_look, p))
		return greta_err_sys(e, "can't watch for signals");
	p->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (p->inotify >= 0 && inotify_add_watch(p->inotify, queue, IN_CREATE | IN_MOVED_TO) >= 0)
		greta_loop_fd(p->loop, p->inotify, EPOLLIN, on_queue, p);
	p->look = greta_loop_timer(p->loop, 0, 0, on_look, p);
	launch_watch(p->loop, on_look, p);
	return 0;
}

int pilot_run(const struct agent_paths *paths, const struct pilot_options *o, struct greta_err *e)
{
	struct pilot p = {.paths = paths, .options = o, .begun_ns = greta_clock_mono_ns(), .worked_ns = greta_clock_mono_ns(), .inotify = -1};
	if (allocation_name(p.name, e) != 0 || queue_pilot_begin(o->spool, p.name, e) != 0)
		return -1;
	if (o->local_spool && collect_init(&p.near, paths, o->local_spool, o->spool, e) != 0)
		return -1;
	know_allocation(&p, paths);
	tell_facts(paths, o->spool);
	take_up(&p);
	int rc = set_up(&p, e);
	if (rc == 0)
		rc = greta_loop_run(p.loop, e);
	queue_pilot_end(o->spool, p.name);
	if (p.loop)
		greta_loop_destroy(p.loop);
	if (p.inotify >= 0)
		close(p.inotify);
	tickets_release(&p.running);
	collect_release(&p.near);
	return rc;
}
