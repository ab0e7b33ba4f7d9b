#include "agent/after.h"
#include "agent/devices.h"
#include "agent/files.h"
#include "agent/kernel_lines.h"
#include "agent/quarantine.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define AFTER_AMD_S 120.0   /* a queue that can't be preempted is told 9 s after, evictions and the hive's reset later */
#define AFTER_WATCH_S 12.0  /* NVIDIA's Xid lines come at once */
#define PROBE_MS 30000
#define PROBE_OUTPUT_MAX 4096

static double watch_s(const struct supervise *s)
{
	double seconds;
	const char *set = getenv("GRETA_AFTER_KILL_S");
	if (set && greta_str_f64(set, &seconds) == 0 && seconds >= 0)
		return seconds;
	for (size_t i = 0; i < s->watch.gpus.n_devices; i++)
		if (greta_str_eq(s->watch.gpus.devices[i].kind, "amd"))
			return AFTER_AMD_S;
	return AFTER_WATCH_S;
}

/* the probe */

/* The caller owns the string; NULL: there is none. */
static char *probe_program(void)
{
	const char *set = getenv("GRETA_GPU_PROBE");
	if (set && *set)
		return greta_strdup(set);
	cleanup_free char *dir = greta_fs_self_dir();
	char *beside = greta_fs_join(dir, "greta-gpu-probe");
	if (access(beside, X_OK) == 0)
		return beside;
	free(beside);
	return NULL;
}

enum health { HEALTHY, SICK, NOT_KNOWN }; /* what probe_all exits with */
#define PROBE_UNSUPPORTED 3               /* greta-gpu-probe's: no driver it knows, no kernels for this GPU */

/* why: what is wrong with a GPU that is SICK. */
static enum health probe_gpu(const struct supervise *s, const char *program, const struct greta_device *d, char *why, size_t cap)
{
	struct greta_err e = {0};
	struct greta_child_result r;
	cleanup_buf struct greta_buf out = {0};
	cleanup_strs struct greta_strs env = {0};
	const char *const argv[] = {program, "--driver", greta_str_eq(d->kind, "nvidia") ? "cuda" : "hip", NULL};
	char how[64];
	engine_environment(&s->spec, &s->slots, (const char *const *)environ, &env);
	cleanup_free char *visible = greta_format("%s=%s", devices_visible_variable(d), d->uuid);
	engine_environment_set(&env, visible);
	const struct greta_child_spec spec = {.argv = argv, .env = (const char *const *)env.items, .new_group = true,
					      .death_signal = SIGKILL};
	if (greta_child_run(&spec, PROBE_MS, PROBE_OUTPUT_MAX, &out, &r, &e) != 0)
		snprintf(why, cap, "the probe could not run: %.250s", e.text);
	else if (r.timed_out)
		snprintf(why, cap, "the probe did not end within %d s", PROBE_MS / 1000);
	else if (WIFEXITED(r.status) && (WEXITSTATUS(r.status) == 0 || WEXITSTATUS(r.status) == PROBE_UNSUPPORTED))
		return WEXITSTATUS(r.status) == 0 ? HEALTHY : NOT_KNOWN;
	else
		snprintf(why, cap, "the probe: %s: %.200s", greta_child_status_text(r.status, how), greta_buf_str(&out));
	why[strcspn(why, "\n")] = '\0';
	return SICK;
}

static void quarantine_gpu(const struct supervise *s, const struct greta_device *d, const char *why)
{
	struct greta_err e = {0};
	cleanup_free char *name = greta_format("gpu-%s", d->uuid);
	enum greta_class class_ = s->stop == STOP_NOT ? GRETA_CLASS_COLLATERAL : s->watch.dog.verdict.class_;
	cleanup_free char *reason = greta_format("after attempt %s (%s): %s", s->spec.attempt, greta_class_name(class_), why);
	if (quarantine_put(s->paths->slots, name, reason, &e) != 0)
		greta_error("GPU %s can't be put into quarantine: %s", d->uuid, e.text);
}

/* Runs in a child: a probe may hang, and this must still be answered. */
static _Noreturn void probe_all(const struct supervise *s, const char *program)
{
	char why[320];
	enum health all = HEALTHY;
	for (size_t i = 0; i < s->watch.gpus.n_devices; i++) {
		enum health one = probe_gpu(s, program, &s->watch.gpus.devices[i], why, sizeof why);
		if (one == SICK)
			quarantine_gpu(s, &s->watch.gpus.devices[i], why);
		if (all == HEALTHY || one == SICK)
			all = one;
	}
	_exit(all);
}

static void add_blind(struct supervise *s, const char *what)
{
	char *blind = s->watch.dog.verdict.blind;
	size_t n = strlen(blind);
	snprintf(blind + n, sizeof s->watch.dog.verdict.blind - n, "%s%s", n ? "; " : "", what);
}

/* What the driver said since the kill is stronger than what was seen before it. A sibling's reset is not: ours hung first. */
static void hear_driver(struct supervise *s)
{
	struct watchdog_verdict *v = &s->watch.dog.verdict;
	struct kernel_finding f;
	klog_read(&s->klog);
	kernel_lines_read(greta_buf_str(&s->klog.lines), s->watch.gpus.devices, s->watch.gpus.n_devices, &f);
	if (s->stop == STOP_NOT || v->class_ == GRETA_CLASS_COLLATERAL)
		return;
	if (f.class_ == GRETA_CLASS_NONE || f.class_ == GRETA_CLASS_COLLATERAL || f.class_ == v->class_ ||
	    v->class_ == GRETA_CLASS_DEVICE_LOST || v->class_ == GRETA_CLASS_MEMORY_FAULT)
		return;
	v->class_ = f.class_;
	v->certainty = GRETA_ESTABLISHED;
	v->blamed = kernel_lines_blamed(f.class_);
	snprintf(s->stop_text, sizeof s->stop_text, "%.160s; after the kill the kernel said: %.120s", v->text, f.line);
}

void after_probed(struct supervise *s, int status)
{
	s->probe = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_KNOWN)
		add_blind(s, "health of the GPU after the kill (greta-gpu-probe has no driver or no kernels for it)");
	else if (!WIFEXITED(status) || WEXITSTATUS(status) != HEALTHY)
		greta_str_copy(s->quarantined, sizeof s->quarantined, "a GPU failed its probe after the kill and is in quarantine");
	supervise_finish(s);
}

static void on_watched(struct greta_watch *w, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	cleanup_free char *program = probe_program();
	(void)w, (void)events;
	hear_driver(s);
	s->probe = program ? fork() : -1;
	if (s->probe == 0)
		probe_all(s, program);
	if (s->probe > 0)
		return;
	add_blind(s, "health of the GPU after the kill (no greta-gpu-probe)");
	supervise_finish(s);
}

static bool is_gpu_hang(const struct supervise *s)
{
	return s->stop == STOP_VERDICT || (s->stop == STOP_WALL && greta_class_is_hang(s->watch.dog.verdict.class_));
}

static bool died_by_itself(const struct supervise *s)
{
	return s->stop == STOP_NOT && s->exited && s->status != 0;
}

void after_note_hang(const struct supervise *s)
{
	struct greta_err e = {0};
	if (!is_gpu_hang(s) || s->watch.dog.verdict.class_ == GRETA_CLASS_COLLATERAL)
		return;
	for (size_t i = 0; i < s->watch.gpus.n_devices; i++)
		if (neighbours_note_hang(s->paths->slots, s->watch.gpus.devices[i].uuid, s->spec.attempt, &e) != 0)
			greta_warn("the hang can't be noted for its neighbours: %s", e.text);
}

/* A GPU that takes its neighbours down is no place for measurements. */
static void quarantine_culprit(const struct supervise *s)
{
	struct greta_err e = {0};
	const struct neighbours_blame *b = &s->blame;
	cleanup_free char *reason = greta_format("attempt %s was taken down from there: %s", s->spec.attempt, b->text);
	if (b->slot[0] && quarantine_put(s->paths->slots, b->slot, reason, &e) != 0)
		greta_error("%s can't be put into quarantine: %s", b->slot, e.text);
}

static void find_culprit(struct supervise *s)
{
	struct greta_facts there = {0};
	klog_read(&s->klog);
	devices_find(s->paths->sys, s->paths->proc, s->paths->dev, &there);
	const struct neighbours_case c = {
		.slots = s->paths->slots,
		.klog = &s->klog,
		.held = &s->watch.gpus,
		.there = &there,
		.begun_ns = s->exec_ns,
		.ended_ns = s->stop == STOP_NOT ? s->exit_ns : s->watch.dog.moved_ns,
	};
	neighbours_blame(&c, &s->blame);
	greta_facts_release(&there);
	if (s->blame.certainty != GRETA_CERTAINTY_NONE)
		quarantine_culprit(s);
}

/* Nobody is left to be stopped: a sweep would take the probe for one of the engine's. */
static void disarm(struct supervise *s)
{
	struct greta_watch **watches[] = {&s->wall, &s->grace, &s->sweep};
	for (size_t i = 0; i < GRETA_COUNT(watches); i++) {
		greta_watch_remove(*watches[i]);
		*watches[i] = NULL;
	}
	s->state = SUPERVISE_SWEEPING;
}

bool after_begin(struct supervise *s)
{
	bool hung = is_gpu_hang(s), collateral = hung && s->watch.dog.verdict.class_ == GRETA_CLASS_COLLATERAL;
	if (s->after || s->watch.gpus.n_devices == 0 || !s->exec_ns)
		return false;
	if (collateral || died_by_itself(s))
		find_culprit(s);
	if (!hung && s->blame.certainty == GRETA_CERTAINTY_NONE)
		return false;
	disarm(s);
	s->after = greta_loop_timer(s->loop, (int64_t)(watch_s(s) * 1e3), 0, on_watched, s);
	return true;
}

void after_survivors(struct supervise *s)
{
	struct greta_err e = {0};
	cleanup_free char *reason = greta_format("processes of attempt %s are left a minute after KILL", s->spec.attempt);
	if (quarantine_put(s->paths->slots, "node", reason, &e) != 0)
		greta_error("the node can't be put into quarantine: %s", e.text);
	greta_str_copy(s->quarantined, sizeof s->quarantined, "the node is in quarantine");
}

static void tell_slot(struct supervise *s, const char *name)
{
	char reason[QUARANTINE_REASON_MAX];
	if (quarantine_is(s->paths->slots, name, reason))
		greta_strs_add(&s->end.quarantined, name);
}

void after_tell(struct supervise *s)
{
	for (size_t i = 0; i < s->slots.devices.n; i++) {
		cleanup_free char *name = greta_format("gpu-%s", s->slots.devices.items[i]);
		tell_slot(s, name);
	}
	if (s->blame.slot[0])
		tell_slot(s, s->blame.slot);
	tell_slot(s, "node");
}
