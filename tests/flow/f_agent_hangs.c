/* Runs that stop moving, live: the right class, evidence before the kill, nobody left, and no healthy run touched. The
 * bounds are shortened by the spec, as a campaign can; nothing else differs from a real run. GPUs are recorded trees. */
#include "tests/unit/unit.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/mem.h"
#include "tests/flow/agent_driver.h"
#include "tests/unit/agent_trees.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* What came of evidence and verdicts, beside what seen keeps. */
struct found {
	struct seen seen;
	struct greta_buf evidence;  /* "== name ==\n" and the text, of all items */
	struct greta_buf verdicts;  /* details, a line each */
	struct greta_buf telemetry;
};

static void found_release(struct found *f)
{
	seen_release(&f->seen);
	greta_buf_release(&f->evidence);
	greta_buf_release(&f->verdicts);
	greta_buf_release(&f->telemetry);
}

static void take(void *arg, const struct greta_event *ev)
{
	struct found *f = arg;
	if (ev->kind == GRETA_EVENT_EVIDENCE) {
		greta_buf_addf(&f->evidence, "#### %s\n", ev->detail);
		greta_buf_add(&f->evidence, ev->bytes ? ev->bytes : "", ev->n_bytes);
	} else if (ev->kind == GRETA_EVENT_VERDICT) {
		greta_buf_addf(&f->verdicts, "%s\n", ev->detail);
	} else if (ev->kind == GRETA_EVENT_TELEMETRY) {
		greta_buf_addf(&f->telemetry, "%s\n", ev->detail);
	}
}

static void spec_short(const struct node *n, struct greta_spec *spec, const char *const *args)
{
	spec_make(n, spec, args);
	for (int i = 0; i < GRETA_PHASE_COUNT; i++)
		spec->phases[i].silence_s = 1.5;
	spec->wall_s = 60;
}

static void run_it(struct node *n, struct greta_spec *spec, struct found *f)
{
	*f = (struct found){0};
	driver_on_event(take, f);
	run_attempt(n, NULL, spec, &f->seen);
	driver_on_event(NULL, NULL);
}

static void expect_class(const struct found *f, enum greta_outcome outcome, enum greta_class class_,
			 enum greta_certainty certainty)
{
	const struct greta_end *end = &f->seen.end;
	if (end->outcome != outcome || end->class_ != class_ || end->certainty != certainty)
		fail_msg("%s, %s, %s: %s", greta_outcome_name(end->outcome), greta_class_name(end->class_),
			 greta_certainty_name(end->certainty), end->reason);
	assert_false(end->survivors);
}

static void expect_evidence(const struct found *f, const char *const *names)
{
	for (; *names; names++) {
		char *head = greta_format("\"name\":\"%s\"", *names);
		if (!strstr(greta_buf_str(&f->evidence), head))
			fail_msg("no evidence called %s", *names);
		free(head);
	}
}

static const char *const host_evidence[] = {"threads", "processes", "environment", "debugger", "log_tail", "kernel_log",
					     "black_box", NULL};
static const char *const gpu_evidence[] = {"gpu.1", "devcoredump", "kfd", "threads", "environment", "gpu.2", "black_box", NULL};

/* A row a second until the end, the last of which shows a silence of 1.5 s but for that second; tenths are rounded. */
static void expect_black_box(const struct found *f)
{
	const char *box = strstr(greta_buf_str(&f->evidence), "\"name\":\"black_box\"");
	double silent_s = 0, t_s = 0;
	assert_non_null(box);
	assert_non_null(strstr(box, "t_s cpu_percent mem_available_bytes load1 engine_rss_bytes engine_cpu_percent"));
	const char *last = strrchr(box, ' '), *line = memrchr(box, '\n', strlen(box) - 1);
	assert_int_equal(sscanf(last, "%lf", &silent_s) + sscanf(line, "%lf", &t_s), 2);
	if (!(silent_s >= 0.3 && t_s > silent_s - 2 && t_s <= f->seen.end.wall_s + 0.1))
		fail_msg("the last row, %g s after the start, shows %g s of silence; it ended after %g s", t_s, silent_s,
			 f->seen.end.wall_s);
	assert_non_null(strstr(line, " prefill 2 4 "));
}

/* The node is as good as before: whatever runs next runs. */
static void next_one_runs(struct node *n)
{
	struct greta_spec spec;
	struct found f;
	spec_short(n, &spec, ARGS("ok"));
	run_it(n, &spec, &f);
	expect_class(&f, GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, GRETA_CERTAINTY_NONE);
	found_release(&f);
}

static void hangs(struct node *n, const char *const *args, enum greta_class class_, enum greta_certainty certainty)
{
	struct greta_spec spec;
	struct found f;
	spec_short(n, &spec, args);
	run_it(n, &spec, &f);
	expect_class(&f, GRETA_OUTCOME_HUNG, class_, certainty);
	assert_true(f.seen.end.wall_s < 50);
	expect_evidence(&f, host_evidence);
	expect_black_box(&f);
	assert_non_null(strstr(f.seen.end.reason, "layer 2 attn flash_v2_naive")); /* the breadcrumb */
	assert_non_null(strstr(greta_buf_str(&f.verdicts), greta_class_name(class_)));
	found_release(&f);
	next_one_runs(n);
}

static void test_hangs__asleep_for_ever(void **state)
{
	hangs(*state, ARGS("hang-sleep"), GRETA_CLASS_HOST_DEADLOCK, GRETA_ESTABLISHED);
}

static void test_hangs__a_sleep_of_an_hour(void **state)
{
	hangs(*state, ARGS("hang-nap"), GRETA_CLASS_HOST_DEADLOCK, GRETA_ESTABLISHED);
}

static void test_hangs__two_threads_lock_each_other_out(void **state)
{
	hangs(*state, ARGS("deadlock"), GRETA_CLASS_HOST_DEADLOCK, GRETA_ESTABLISHED);
}

static void test_hangs__a_runaway(void **state)
{
	hangs(*state, ARGS("runaway-hang"), GRETA_CLASS_HOST_DEADLOCK, GRETA_ESTABLISHED);
}

/* What a campaign takes from its controller's environment, and what is a secret by name, is in no evidence. */
static void test_hangs__the_environment_is_redacted(void **state)
{
	struct greta_spec spec;
	struct found f;
	spec_short(*state, &spec, ARGS("hang-sleep"));
	greta_strs_add(&spec.env, "HSA_ENABLE_SDMA=0");
	greta_strs_add(&spec.env, "HF_TOKEN=hf_abcdef");
	greta_strs_add(&spec.env, "PLAIN_NAME=hunter2");
	greta_strs_add(&spec.unstored, "PLAIN_NAME");
	run_it(*state, &spec, &f);
	const char *text = greta_buf_str(&f.evidence);
	assert_non_null(strstr(text, "\nHSA_ENABLE_SDMA=0\n"));
	assert_non_null(strstr(text, "\nHF_TOKEN=(not stored)\n"));
	assert_non_null(strstr(text, "\nPLAIN_NAME=(not stored)\n"));
	assert_null(strstr(text, "hf_abcdef"));
	assert_null(strstr(text, "hunter2"));
	found_release(&f);
}

static void test_hangs__stopped(void **state)
{
	hangs(*state, ARGS("stop"), GRETA_CLASS_HOST_STOPPED, GRETA_ESTABLISHED);
}

static void test_hangs__blocked_in_the_kernel(void **state)
{
	hangs(*state, ARGS("host-io"), GRETA_CLASS_HOST_IO, GRETA_SUPPORTED);
}

static void test_hangs__a_chatterer(void **state)
{
	struct greta_spec spec;
	struct found f;
	spec_short(*state, &spec, ARGS("chatty-hang"));
	spec.wall_s = 6;
	run_it(*state, &spec, &f);
	assert_true(f.seen.end.outcome == GRETA_OUTCOME_HUNG || f.seen.end.outcome == GRETA_OUTCOME_TIMED_OUT);
	assert_true(f.seen.end.class_ != GRETA_CLASS_NONE);
	found_release(&f);
}

/* On the cpu backend a spin is only told from work by what this attempt did before, and only ends with the budget. */
static void test_hangs__a_spin_on_the_cpu(void **state)
{
	struct greta_spec spec;
	struct found f;
	spec_short(*state, &spec, ARGS("hang-spin", "--layers", "8"));
	spec.wall_s = 10;
	run_it(*state, &spec, &f);
	expect_class(&f, GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_SPIN, GRETA_SUPPORTED);
	assert_true(f.seen.end.wall_s >= 10);
	expect_evidence(&f, host_evidence);
	found_release(&f);
}

static void test_hangs__the_debugger_names_the_stack(void **state)
{
	struct greta_spec spec;
	struct found f;
	if (access("/usr/bin/gdb", X_OK) != 0)
		skip();
	spec_short(*state, &spec, ARGS("deadlock"));
	run_it(*state, &spec, &f);
	assert_non_null(strstr(greta_buf_str(&f.evidence), "lock_crosswise"));
	found_release(&f);
}

/* A debugger that lets the engine go on when it first looks, waits until that has moved, and takes some time more. */
static void woken(struct node *n, struct greta_spec *spec, const char *mode, int looks_s)
{
	char *pids = greta_format("%s/pids", n->root), *debugger = greta_format("%s/rocgdb", n->root);
	char *path = greta_format("%s:%s", n->root, getenv("PATH"));
	tree_file(n->root, "rocgdb", "#!/bin/sh\n[ ! -e %s/asked ] || exit 0\n: >%s/asked\nkill -USR1 $4\n"
		  "until [ \"$(wc -l <%s)\" -ge 2 ]; do sleep 0.05; done\nsleep %d\n", n->root, n->root, pids, looks_s);
	chmod(debugger, 0755);
	setenv("PATH", path, 1);
	spec_short(n, spec, ARGS(mode, "--pid", pids));
	for (int i = 0; i < GRETA_PHASE_COUNT; i++)
		spec->phases[i].silence_s = 1;
	free(pids), free(debugger), free(path);
}

/* Its budget ends while it is looked at, and it moves meanwhile: it is not stopped for that silence, but has no budget left. */
static void test_hangs__a_budget_over_while_it_is_looked_at(void **state)
{
	struct greta_spec spec;
	struct found f;
	woken(*state, &spec, "woken-hang", 6);
	spec.wall_s = 6;
	run_it(*state, &spec, &f);
	assert_true(f.seen.end.outcome == GRETA_OUTCOME_HUNG || f.seen.end.outcome == GRETA_OUTCOME_TIMED_OUT);
	assert_non_null(strstr(f.seen.end.reason, "over its budget of 6.0 s"));
	assert_true(f.seen.end.wall_s > 6 && f.seen.end.wall_s < 30);
	found_release(&f);
}

static void test_hangs__it_moves_while_it_is_looked_at(void **state)
{
	struct greta_spec spec;
	struct found f;
	woken(*state, &spec, "woken-slow", 0);
	for (int i = 0; i < GRETA_PHASE_COUNT; i++)
		spec.phases[i].bound_s = 5;
	run_it(*state, &spec, &f);
	expect_class(&f, GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, GRETA_CERTAINTY_NONE);
	assert_non_null(strstr(greta_buf_str(&f.verdicts), "it moves again"));
	expect_evidence(&f, ARGS("debugger"));
	found_release(&f);
}

static void test_hangs__it_prints_while_it_is_looked_at(void **state)
{
	struct greta_spec spec;
	struct found f;
	woken(*state, &spec, "woken-mute", 0);
	run_it(*state, &spec, &f);
	expect_class(&f, GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, GRETA_CERTAINTY_NONE);
	assert_non_null(strstr(greta_buf_str(&f.verdicts), "it moves again"));
	expect_evidence(&f, ARGS("debugger"));
	found_release(&f);
}

static void test_hangs__slow_is_not_hung(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct found f;
	/* 20 times slower than its siblings' 0.1 s a layer, and longer silent than the bound asks for */
	spec_short(n, &spec, ARGS("ok", "--layers", "3", "--layer-ms", "2000"));
	run_it(n, &spec, &f);
	assert_int_equal(f.seen.end.outcome, GRETA_OUTCOME_GOOD);
	assert_int_equal(f.seen.end.class_, GRETA_CLASS_NONE);
	found_release(&f);
	spec_short(n, &spec, ARGS("ok", "--layers", "40", "--layer-ms", "200")); /* 8 s of a budget of 3 */
	spec.wall_s = 3;
	run_it(n, &spec, &f);
	assert_int_equal(f.seen.end.outcome, GRETA_OUTCOME_TIMED_OUT);
	assert_non_null(strstr(f.seen.end.reason, "of 40 in prefill, on course for "));
	assert_non_null(strstr(greta_buf_str(&f.verdicts), "\"class\":\"slow\""));
	found_release(&f);
}

static void test_hangs__on_slow_stop_and_extend(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct found f;
	spec_short(n, &spec, ARGS("ok", "--layers", "60", "--layer-ms", "200"));
	spec.wall_s = 6, spec.on_slow = GRETA_ON_SLOW_STOP;
	run_it(n, &spec, &f);
	assert_int_equal(f.seen.end.outcome, GRETA_OUTCOME_TIMED_OUT);
	assert_string_equal(f.seen.end.cause, "on_slow");
	assert_true(f.seen.end.wall_s < 5);
	found_release(&f);
	spec_short(n, &spec, ARGS("ok", "--layers", "20", "--layer-ms", "200"));
	spec.wall_s = 2, spec.on_slow = GRETA_ON_SLOW_EXTEND;
	run_it(n, &spec, &f);
	assert_int_equal(f.seen.end.outcome, GRETA_OUTCOME_GOOD);
	assert_true(f.seen.end.wall_s > 4);
	found_release(&f);
}

/* As a freezer or Slurm's suspend do it: nobody could move, so neither bound nor budget has passed. */
static void test_hangs__frozen_with_its_supervisor(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct driver d;
	struct seen s = {0};
	spec_short(n, &spec, ARGS("ok", "--layers", "20", "--layer-ms", "100"));
	for (int i = 0; i < GRETA_PHASE_COUNT; i++)
		spec.phases[i].bound_s = spec.phases[i].limit_s = 5;
	spec.wall_s = 6;
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
	pid_t frozen[] = {supervisor_of(n, spec.attempt), (pid_t)strtol(strstr(s.started, "\"pid\":") + 6, NULL, 10)};
	for (size_t i = 0; i < GRETA_COUNT(frozen); i++)
		assert_int_equal(kill(frozen[i], SIGSTOP), 0);
	sleep(8);
	for (size_t i = 0; i < GRETA_COUNT(frozen); i++)
		assert_int_equal(kill(frozen[i], SIGCONT), 0);
	driver_until(&d, spec.attempt, GRETA_EVENT_OUTCOME, &s, 20000);
	if (s.end.outcome != GRETA_OUTCOME_GOOD)
		fail_msg("%s: %s", greta_outcome_name(s.end.outcome), s.end.reason);
	assert_true(s.end.wall_s > 8);
	driver_close(&d);
	seen_release(&s);
	greta_spec_release(&spec);
}

/* What is left of a budget after a freeze is all that is left. */
static void test_hangs__a_budget_with_a_freeze_in_it(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct driver d;
	struct seen s = {0};
	spec_short(n, &spec, ARGS("ok", "--layers", "600", "--layer-ms", "100"));
	spec.wall_s = 3;
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
	pid_t supervisor = supervisor_of(n, spec.attempt);
	assert_int_equal(kill(supervisor, SIGSTOP), 0);
	sleep(8);
	assert_int_equal(kill(supervisor, SIGCONT), 0);
	driver_until(&d, spec.attempt, GRETA_EVENT_OUTCOME, &s, 20000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_TIMED_OUT);
	if (!(s.end.wall_s > 9 && s.end.wall_s < 30))
		fail_msg("%g s: %s", s.end.wall_s, s.end.reason);
	driver_close(&d);
	seen_release(&s);
	greta_spec_release(&spec);
}

static void test_hangs__a_phase_over_its_limit(void **state)
{
	struct greta_spec spec;
	struct found f;
	spec_short(*state, &spec, ARGS("ok", "--layers", "100", "--layer-ms", "100"));
	spec.phases[GRETA_PHASE_PREFILL].limit_s = 1;
	run_it(*state, &spec, &f);
	assert_int_equal(f.seen.end.outcome, GRETA_OUTCOME_TIMED_OUT);
	assert_string_equal(f.seen.end.cause, "phase_limit");
	found_release(&f);
}

/* GPUs, played back */

static void gpu_reads(const struct node *n, int busy, int mem_busy, int sclk)
{
	tree_file(n->root, "sys/class/drm/renderD128/device/gpu_busy_percent", "%d\n", busy);
	tree_file(n->root, "sys/class/drm/renderD128/device/mem_busy_percent", "%d\n", mem_busy);
	tree_file(n->root, "sys/class/drm/renderD128/device/pp_dpm_sclk", "0: %dMhz *\n1: 2100Mhz\n", sclk);
}

static void gpu_node(const struct node *n)
{
	char *sys = greta_format("%s/sys", n->root), *dev = greta_format("%s/dev", n->root);
	char *kmsg = greta_format("%s/kmsg", n->root);
	tree_mi300x(n->root, 1);
	tree_file(n->root, "kmsg", "%s", "");
	setenv("GRETA_SYSFS_ROOT", sys, 1);
	setenv("GRETA_DEV_ROOT", dev, 1);
	setenv("GRETA_KMSG", kmsg, 1);
	setenv("GRETA_AFTER_KILL_S", "1", 1);
	setenv("GRETA_GPU_PROBE", "/bin/true", 1);
	free(sys), free(dev), free(kmsg);
}

static void no_gpu_node(void)
{
	unsetenv("GRETA_SYSFS_ROOT");
	unsetenv("GRETA_DEV_ROOT");
	unsetenv("GRETA_KMSG");
	unsetenv("GRETA_AFTER_KILL_S");
	unsetenv("GRETA_GPU_PROBE");
}

static void on_gpu(struct node *n, const char *const *args, double wall_s, enum greta_outcome outcome,
		   enum greta_class class_, enum greta_certainty certainty)
{
	struct greta_spec spec;
	struct found f;
	spec_short(n, &spec, args);
	spec.slot = GRETA_SLOT_GPU;
	spec.n_gpus = 1;
	spec.wall_s = wall_s;
	spec.telemetry_interval_s = 1;
	run_it(n, &spec, &f);
	expect_class(&f, outcome, class_, certainty);
	expect_evidence(&f, gpu_evidence);
	assert_int_equal(f.seen.end.devices.n, 1);
	assert_non_null(strstr(greta_buf_str(&f.telemetry), "gpu0.busy_percent"));
	found_release(&f);
}

static bool put(const char *dir, const char *name, const char *text)
{
	char *path = greta_format("%s/%s", dir, name);
	int fd = open(path, O_WRONLY);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	free(path);
	return done;
}

/* The supervisor's child that is not the engine: it reads GPU counters. */
static pid_t reader_of(pid_t supervisor, pid_t engine)
{
	char path[64];
	int children[2];
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)supervisor, (int)supervisor);
	for (int i = 0; i < 1000; i++, usleep(10000)) {
		struct greta_buf text = {0};
		int n = greta_fs_read(path, 4096, &text, NULL) == 0 ? sscanf(text.data, "%d %d", &children[0], &children[1]) : 0;
		greta_buf_release(&text);
		if (n == 2)
			return children[0] == engine ? children[1] : children[0];
	}
	fail_msg("nobody reads the GPU's counters");
	return 0;
}

static bool is_reaped(void *pid)
{
	return kill(*(pid_t *)pid, 0) != 0;
}

/* A process of ours with that number, which is free. 0: it could not be had. */
static pid_t fork_as(pid_t wanted)
{
	char before[16];
	snprintf(before, sizeof before, "%d", (int)wanted - 1);
	for (int i = 0; i < 100; i++) {
		pid_t pid = put("/proc/sys/kernel", "ns_last_pid", before) ? fork() : -1;
		if (pid == 0) {
			pause();
			_exit(0);
		}
		if (pid < 0 || pid == wanted)
			return pid < 0 ? 0 : pid;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return 0;
}

/* The number of a helper that has ended may be anybody's: a stranger that has it is neither killed nor counted. */
static void test_hangs__a_stranger_with_a_helper_s_number(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct driver d;
	struct seen s = {0};
	gpu_node(n);
	spec_make(n, &spec, ARGS("ok", "--layers", "6000", "--layer-ms", "20"));
	spec.slot = GRETA_SLOT_GPU, spec.n_gpus = 1;
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
	pid_t engine = (pid_t)strtol(strstr(s.started, "\"pid\":") + 6, NULL, 10);
	pid_t reader = reader_of(supervisor_of(n, spec.attempt), engine);
	kill(reader, SIGKILL);
	assert_true(wait_until(is_reaped, &reader, 20000));
	pid_t stranger = fork_as(reader);
	driver_cancel(&d, spec.attempt, "enough");
	driver_until(&d, spec.attempt, GRETA_EVENT_OUTCOME, &s, 20000);
	no_gpu_node();
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_CANCELLED);
	assert_false(s.end.survivors);
	if (stranger) {
		assert_int_equal(waitpid(stranger, NULL, WNOHANG), 0);
		kill(stranger, SIGKILL);
		waitpid(stranger, NULL, 0);
	} else {
		print_message("          the number could not be had: only that it ends was seen\n");
	}
	driver_close(&d);
	seen_release(&s);
	greta_spec_release(&spec);
}

static void test_hangs__a_spin_beside_an_idle_gpu(void **state)
{
	gpu_node(*state);
	gpu_reads(*state, 0, 0, 132);
	on_gpu(*state, ARGS("hang-spin"), 60, GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_SPIN, GRETA_SUPPORTED);
	no_gpu_node();
}

/* A busy GPU is only a hypothesis: it runs to the end of its budget, and is not called hung even then. */
static void test_hangs__a_busy_gpu(void **state)
{
	gpu_node(*state);
	gpu_reads(*state, 100, 0, 2100);
	on_gpu(*state, ARGS("hang-spin"), 6, GRETA_OUTCOME_TIMED_OUT, GRETA_CLASS_GPU_KERNEL, GRETA_HYPOTHESIS);
	gpu_reads(*state, 100, 20, 95);
	on_gpu(*state, ARGS("hang-spin"), 6, GRETA_OUTCOME_TIMED_OUT, GRETA_CLASS_CLOCK_COLLAPSE, GRETA_SUPPORTED);
	no_gpu_node();
}

/* Our own kernels count their blocks: that tells an endless one from a long one. */
static void test_hangs__a_kernel_that_counts(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct found f;
	gpu_node(n);
	gpu_reads(n, 100, 0, 2100);
	spec_short(n, &spec, ARGS("hang-kernel", "--bytes", "1000000"));
	spec.slot = GRETA_SLOT_GPU, spec.n_gpus = 1;
	run_it(n, &spec, &f);
	expect_class(&f, GRETA_OUTCOME_HUNG, GRETA_CLASS_GPU_KERNEL, GRETA_ESTABLISHED);
	expect_evidence(&f, gpu_evidence);
	/* the engine's last word was layer 2: the page is nearer */
	assert_non_null(strstr(f.seen.end.reason, "at layer 7 attn q_lds: "));
	assert_non_null(strstr(f.seen.end.reason, "queued up to layer 31 swiglu, ? down"));
	assert_string_equal(f.seen.end.progress.at, "layer 7 attn q_lds");
	assert_non_null(strstr(greta_buf_str(&f.evidence), "executing: layer 7 attn q_lds\nblocks:    10 of 1000000\n"
							   "enqueued:  up to layer 31 swiglu, ? down\n"));
	found_release(&f);
	spec_short(n, &spec, ARGS("slow-kernel", "--bytes", "4000000000"));
	spec.slot = GRETA_SLOT_GPU, spec.n_gpus = 1;
	run_it(n, &spec, &f);
	assert_int_equal(f.seen.end.outcome, GRETA_OUTCOME_GOOD);
	assert_true(strstr(greta_buf_str(&f.verdicts), "work counter moves"));
	no_gpu_node();
	found_release(&f);
}

/* The engine itself, its kernels on the emulator: one of them never ends. */
static void test_hangs__an_endless_kernel_of_greta_infer(void **state)
{
#ifdef GRETA_EMU_ROCM
	struct node *n = *state;
	struct greta_spec spec;
	struct found f;
	struct greta_child_result r;
	const char *const synth[] = {GRETA_BIN "/greta-gguf", "synth", "--layers", "4", "--embd", "128", "--heads", "2",
				     "--ffn", "128", "m.gguf", NULL};
	const struct greta_child_spec make = {.argv = synth};
	assert_int_equal(greta_child_run(&make, 60000, 0, NULL, &r, NULL), 0);
	assert_int_equal(r.status, 0);
	gpu_node(n);
	gpu_reads(n, 100, 0, 2100);
	spec_short(n, &spec, ARGS(""));
	greta_strs_release(&spec.argv);
	const char *const *argv = ARGS(GRETA_BIN "/greta-infer", "--model", "m.gguf", "--ctx", "64", "--backend", "gpu",
				       "--attn", "q_lds", "--inject", "gpu-spin@layer=2");
	for (; *argv; argv++)
		greta_strs_add(&spec.argv, *argv);
	greta_strs_add(&spec.env, "ROCM_PATH=" GRETA_EMU_ROCM);
	greta_strs_add(&spec.env, "GRETA_KFD_NODES=" GRETA_EMU_KFD);
	spec.cwd = greta_strdup(n->root);
	spec.slot = GRETA_SLOT_GPU, spec.n_gpus = 1;
	run_it(n, &spec, &f);
	no_gpu_node();
	expect_class(&f, GRETA_OUTCOME_HUNG, GRETA_CLASS_GPU_KERNEL, GRETA_ESTABLISHED);
	assert_string_equal(f.seen.end.progress.at, "layer 2 attn q_lds");
	assert_non_null(strstr(greta_buf_str(&f.evidence), "executing: layer 2 attn q_lds\nblocks:    0 of 1\n"));
	found_release(&f);
#else
	(void)state;
	print_message("          skipped: no clang++-19, so no emulated GPU\n");
	skip();
#endif
}

/* In the framing of /dev/kmsg. */
static void kernel_says(const struct node *n, const char *line)
{
	char *path = greta_format("%s/kmsg", n->root);
	FILE *log = fopen(path, "a");
	assert_non_null(log);
	fprintf(log, "3,900,1000,-;%s\n", line);
	fclose(log);
	free(path);
}

/* A spin beside a GPU with these readings, begun but not ended. */
static void begin_spin(struct node *n, struct driver *d, struct greta_spec *spec, struct found *f, int busy, double wall_s)
{
	*f = (struct found){0};
	gpu_reads(n, busy, 0, 2100);
	spec_short(n, spec, ARGS("hang-spin"));
	spec->slot = GRETA_SLOT_GPU, spec->n_gpus = 1;
	if (wall_s > 0)
		spec->wall_s = wall_s;
	driver_on_event(take, f);
	driver_open(d, DRIVER_DB, 1, NULL);
	driver_start(d, spec);
}

/* Until its outcome is there, of this class. */
static void end_spin(struct driver *d, const struct greta_spec *spec, struct found *f, enum greta_outcome outcome,
		     enum greta_class class_, enum greta_certainty certainty)
{
	driver_until(d, spec->attempt, GRETA_EVENT_OUTCOME, &f->seen, 60000);
	driver_on_event(NULL, NULL);
	expect_class(f, outcome, class_, certainty);
}

static void release_spin(struct driver *d, struct greta_spec *spec, struct found *f)
{
	driver_close(d);
	no_gpu_node();
	found_release(f);
	greta_spec_release(spec);
}

/* Lines as amdgpu and amdkfd print them (gmc_v9_0.c, kfd_device_queue_manager.c). */
static void test_hangs__the_kernel_says_why(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct driver d;
	struct found f;
	gpu_node(n);
	begin_spin(n, &d, &spec, &f, 100, 0);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &f.seen, 20000);
	kernel_says(n, "amdgpu 0000:3d:00.0: amdgpu: [gfxhub] page fault (src_id:0 ring:24 vmid:8 pasid:4)"); /* another GPU's */
	kernel_says(n, "amdgpu 0000:01:00.0: amdgpu: [gfxhub] page fault (src_id:0 ring:24 vmid:8 pasid:32771)");
	end_spin(&d, &spec, &f, GRETA_OUTCOME_HUNG, GRETA_CLASS_MEMORY_FAULT, GRETA_ESTABLISHED);
	assert_non_null(strstr(f.seen.end.reason, "page fault"));
	assert_string_equal(f.seen.end.blamed, "kernel");
	assert_non_null(strstr(greta_buf_str(&f.evidence), "vmid:8 pasid:32771"));
	release_spin(&d, &spec, &f);
}

/* Of two GPUs on the bus: what the driver says of the other one is not our failure, but what it takes with it is. */
static void test_hangs__a_sibling_takes_it_down(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct driver d;
	struct found f;
	gpu_node(n);
	begin_spin(n, &d, &spec, &f, 100, 7);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &f.seen, 20000);
	/* as amdgpu_device.c prints it of a hive; ours is 0000:01:00.0 */
	kernel_says(n, "amdgpu 0000:dd:00.0: {1}uncorrectable hardware error(ERREVENT_ATHUB_INTERRUPT) detected!");
	kernel_says(n, "amdgpu 0000:dd:00.0: amdgpu: GPU reset begin!");
	kernel_says(n, "amdgpu 0000:01:00.0: amdgpu: GPU reset(1) succeeded!");
	end_spin(&d, &spec, &f, GRETA_OUTCOME_COLLATERAL, GRETA_CLASS_COLLATERAL, GRETA_SUPPORTED);
	assert_non_null(strstr(greta_buf_str(&f.verdicts), "the kernel says: amdgpu 0000:dd:00.0"));
	assert_non_null(strstr(greta_buf_str(&f.evidence), "GPU reset(1) succeeded"));
	release_spin(&d, &spec, &f);
}

/* An engine that dies of another GPU's reset, and is watched for what else the driver says: what comes meanwhile finds nothing
 * to end. */
static void begin_struck(struct node *n, struct driver *d, struct greta_spec *spec, struct found *f, double wall_s)
{
	char *engine = greta_format("%s/struck", n->root);
	*f = (struct found){0};
	gpu_node(n);
	setenv("GRETA_AFTER_KILL_S", "6", 1);
	setenv("GRETA_UNKILLABLE_S", "1", 1);
	tree_file(n->root, "struck", "#!/bin/sh\necho '3,900,1000,-;amdgpu 0000:dd:00.0: amdgpu: GPU reset begin!' >>%s/kmsg\n"
		  "echo 'HIP error: device lost' >&2\nexit 1\n", n->root);
	chmod(engine, 0755);
	spec_make(n, spec, ARGS(""));
	greta_strs_release(&spec->argv);
	greta_strs_add(&spec->argv, engine);
	spec->slot = GRETA_SLOT_GPU, spec->n_gpus = 1;
	spec->wall_s = wall_s;
	driver_open(d, DRIVER_DB, 1, NULL);
	driver_start(d, spec);
	driver_until(d, spec->attempt, GRETA_EVENT_STARTED, &f->seen, 20000);
	free(engine);
}

static void end_struck(struct driver *d, struct greta_spec *spec, struct found *f)
{
	end_spin(d, spec, f, GRETA_OUTCOME_COLLATERAL, GRETA_CLASS_COLLATERAL, GRETA_ESTABLISHED);
	assert_int_equal(f->seen.end.quarantined.n, 0);
	assert_true(f->seen.end.wall_s < 3);
	unsetenv("GRETA_UNKILLABLE_S");
	release_spin(d, spec, f);
}

static void wait_for_its_end(const struct greta_spec *spec)
{
	for (int i = 0; count_processes(spec->attempt) > 0 && i < 250; i++)
		usleep(20000);
	usleep(300000); /* reaped, and its neighbour found */
}

static void test_hangs__a_cancel_after_its_end(void **state)
{
	struct greta_spec spec;
	struct driver d;
	struct found f;
	begin_struck(*state, &d, &spec, &f, 60);
	wait_for_its_end(&spec);
	driver_cancel(&d, spec.attempt, "enough");
	end_struck(&d, &spec, &f);
}

static void test_hangs__a_budget_over_after_its_end(void **state)
{
	struct greta_spec spec;
	struct driver d;
	struct found f;
	begin_struck(*state, &d, &spec, &f, 3);
	end_struck(&d, &spec, &f);
}

static void test_hangs__told_to_end_after_its_end(void **state)
{
	struct greta_spec spec;
	struct driver d;
	struct found f;
	begin_struck(*state, &d, &spec, &f, 60);
	wait_for_its_end(&spec);
	kill(supervisor_of(*state, spec.attempt), SIGTERM);
	end_struck(&d, &spec, &f);
}

/* MI300X counts errors in ras/aca_BLOCK (amdgpu_aca.c): those of before the attempt are not its own; while a reset goes on
 * the file says "Query currently inaccessible", which is no number. */
static void test_hangs__the_gpu_counts_an_error(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct driver d;
	struct found f;
	gpu_node(n);
	tree_file(n->root, "sys/class/drm/renderD128/device/ras/aca_umc", "ue: 3\nce: 1\nde: 0\n");
	tree_file(n->root, "sys/class/drm/renderD128/device/ras/aca_gfx", "Query currently inaccessible\n");
	begin_spin(n, &d, &spec, &f, 100, 9);
	driver_until(&d, spec.attempt, GRETA_EVENT_VERDICT, &f.seen, 20000);
	assert_non_null(strstr(greta_buf_str(&f.verdicts), "\"class\":\"gpu_kernel\""));
	tree_file(n->root, "sys/class/drm/renderD128/device/ras/aca_umc", "ue: 4\nce: 1\nde: 0\n");
	end_spin(&d, &spec, &f, GRETA_OUTCOME_HUNG, GRETA_CLASS_RAS, GRETA_SUPPORTED);
	assert_non_null(strstr(f.seen.end.reason, "counted 1 uncorrectable errors"));
	assert_string_equal(f.seen.end.blamed, "device");
	release_spin(&d, &spec, &f);
}

/* What the driver only says when it could not preempt the queue, after the kill. */
static void test_hangs__the_driver_speaks_after_the_kill(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct driver d;
	struct found f;
	gpu_node(n);
	setenv("GRETA_AFTER_KILL_S", "4", 1);
	begin_spin(n, &d, &spec, &f, 0, 0);
	driver_until(&d, spec.attempt, GRETA_EVENT_VERDICT, &f.seen, 60000);
	for (int i = 0; count_processes(spec.attempt) > 0 && i < 1000; i++)
		usleep(50000);
	kernel_says(n, "amdgpu: qcm fence wait loop timeout expired");
	end_spin(&d, &spec, &f, GRETA_OUTCOME_HUNG, GRETA_CLASS_QUEUE_HANG, GRETA_ESTABLISHED);
	assert_non_null(strstr(f.seen.end.reason, "after the kill the kernel said: amdgpu: qcm fence wait loop timeout"));
	assert_non_null(strstr(greta_buf_str(&f.evidence), "\namdgpu: qcm fence wait loop timeout expired\n"));
	release_spin(&d, &spec, &f);
}

static void test_hangs__a_gpu_that_fails_its_probe_is_kept_out(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct found f;
	gpu_node(n);
	gpu_reads(n, 0, 0, 2100);
	setenv("GRETA_GPU_PROBE", "/bin/false", 1);
	spec_short(n, &spec, ARGS("hang-spin"));
	spec.slot = GRETA_SLOT_GPU, spec.n_gpus = 1;
	run_it(n, &spec, &f);
	expect_class(&f, GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_SPIN, GRETA_SUPPORTED);
	assert_non_null(strstr(f.seen.end.reason, "in quarantine"));
	found_release(&f);
	spec_short(n, &spec, ARGS("ok"));
	spec.slot = GRETA_SLOT_GPU, spec.n_gpus = 1;
	run_it(n, &spec, &f);
	assert_int_equal(f.seen.end.outcome, GRETA_OUTCOME_INFRA);
	assert_non_null(strstr(f.seen.end.reason, "quarantine --release gpu-GPU-8af705259683161c"));
	found_release(&f);
	const char *const argv[] = {n->agent, "quarantine", "--release", "--all", NULL};
	const struct greta_child_spec release = {.argv = argv};
	struct greta_child_result r;
	assert_int_equal(greta_child_run(&release, 10000, 0, NULL, &r, NULL), 0);
	assert_int_equal(r.status, 0);
	spec_short(n, &spec, ARGS("ok"));
	spec.slot = GRETA_SLOT_GPU, spec.n_gpus = 1;
	run_it(n, &spec, &f);
	assert_int_equal(f.seen.end.outcome, GRETA_OUTCOME_GOOD);
	found_release(&f);
	no_gpu_node();
}

/* Exit 3, as greta-gpu-probe on a machine whose GPU it has no kernels for: said, and no reason for quarantine. The probe is
 * told the vendor's driver, and that GPU alone. */
static void test_hangs__a_probe_that_can_t_tell(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct found f;
	char *probe = greta_format("%s/probe", n->root), *asked = greta_format("%s/asked", n->root);
	char text[128] = "";
	gpu_node(n);
	gpu_reads(n, 0, 0, 2100);
	tree_file(n->root, "probe", "#!/bin/sh\necho \"$* $ROCR_VISIBLE_DEVICES\" >%s\nexit 3\n", asked);
	chmod(probe, 0755);
	setenv("GRETA_GPU_PROBE", probe, 1);
	spec_short(n, &spec, ARGS("hang-spin"));
	spec.slot = GRETA_SLOT_GPU, spec.n_gpus = 1;
	run_it(n, &spec, &f);
	expect_class(&f, GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_SPIN, GRETA_SUPPORTED);
	assert_null(strstr(f.seen.end.reason, "in quarantine"));
	assert_non_null(strstr(f.seen.end.blind, "health of the GPU after the kill"));
	found_release(&f);
	FILE *in = fopen(asked, "r");
	assert_non_null(in);
	assert_non_null(fgets(text, sizeof text, in));
	assert_string_equal(text, "--driver hip GPU-8af705259683161c\n");
	fclose(in);
	no_gpu_node();
	free(probe), free(asked);
}

/* A frozen process (cgroup v1) does not die of KILL: it stands in for one that is stuck in a driver. */
static void test_hangs__unkillable(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct driver d;
	struct seen s = {0};
	char pid[32], *group = greta_format("/sys/fs/cgroup/freezer/greta-test-%d", (int)getpid());
	if (mkdir(group, 0755) != 0) {
		print_message("          skipped: no cgroup v1 freezer to stand in for a stuck driver\n");
		free(group);
		skip();
	}
	print_message("          stand-in: a process frozen by a cgroup v1 freezer\n");
	setenv("GRETA_UNKILLABLE_S", "2", 1);
	spec_make(n, &spec, ARGS("hang-sleep"));
	spec.term_grace_s = 0.2;
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
	snprintf(pid, sizeof pid, "%ld", strtol(strstr(s.started, "\"pid\":") + 6, NULL, 10));
	assert_true(put(group, "cgroup.procs", pid) && put(group, "freezer.state", "FROZEN"));
	driver_cancel(&d, spec.attempt, "enough");
	driver_until(&d, spec.attempt, GRETA_EVENT_OUTCOME, &s, 20000);
	assert_true(s.end.survivors);
	assert_int_equal(s.end.class_, GRETA_CLASS_UNKILLABLE);
	assert_string_equal(s.end.blamed, "node");
	assert_non_null(strstr(s.end.reason, "the node is in quarantine"));
	assert_true(put(group, "freezer.state", "THAWED"));
	for (int i = 0; count_processes(spec.attempt) > 0 && i < 250; i++)
		usleep(20000);
	assert_int_equal(count_processes(spec.attempt), 0); /* the KILL was only waiting */
	driver_close(&d);
	unsetenv("GRETA_UNKILLABLE_S");
	for (int i = 0; rmdir(group) != 0 && i < 100; i++)
		usleep(20000);
	free(group);
	seen_release(&s);
	greta_spec_release(&spec);
}

/* A file system that answers nothing: who asks it for a file can't be killed. It ends with the test. */
static pid_t stuck_begin(char *folder)
{
	char word[8] = "";
	int said[2];
	assert_non_null(mkdtemp(folder));
	assert_int_equal(pipe(said), 0);
	const char *const argv[] = {GRETA_BIN "/stuck_fs", folder, NULL};
	const struct greta_child_fd fds[] = {{said[1], 1}};
	const struct greta_child_spec spec = {.argv = argv, .env = ARGS(NULL), .fds = fds, .n_fds = 1, .death_signal = SIGTERM};
	pid_t pid = greta_child_spawn(&spec, NULL); /* without the node's name in its environment, by which it would be killed */
	close(said[1]);
	bool ready = pid > 0 && read(said[0], word, 5) == 5 && strcmp(word, "ready") == 0;
	close(said[0]);
	return ready ? pid : 0;
}

static void gpu_file_is_stuck(const struct node *n, const char *file, const char *folder)
{
	char *path = greta_format("%s/%s", n->root, file), *target = greta_format("%s/file", folder);
	tree_file(n->root, file, "%s", "");
	assert_int_equal(unlink(path) | symlink(target, path), 0);
	free(path), free(target);
}

static void ok_on_gpu(struct node *n)
{
	struct greta_spec spec;
	struct found f;
	spec_short(n, &spec, ARGS("ok", "--layers", "20", "--layer-ms", "50"));
	spec.slot = GRETA_SLOT_GPU, spec.n_gpus = 1;
	run_it(n, &spec, &f);
	expect_class(&f, GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, GRETA_CERTAINTY_NONE);
	assert_int_equal(f.seen.end.devices.n, 1);
	found_release(&f);
}

/* What reads for us and is stuck in the kernel is not the attempt's: neither is that unkillable, nor its slot held. */
static void test_hangs__our_own_readers_are_stuck(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct found f;
	char folder[] = "/tmp/greta-stuck-XXXXXX";
	pid_t stuck = stuck_begin(folder);
	if (!stuck) {
		print_message("          skipped: no FUSE to stand in for a stuck driver\n");
		rmdir(folder);
		skip();
	}
	gpu_node(n);
	gpu_reads(n, 0, 0, 2100);
	setenv("GRETA_UNKILLABLE_S", "3", 1);
	gpu_file_is_stuck(n, "sys/class/devcoredump/devcd1/data", folder);
	spec_short(n, &spec, ARGS("hang-sleep"));
	spec.slot = GRETA_SLOT_GPU, spec.n_gpus = 1;
	run_it(n, &spec, &f);
	expect_class(&f, GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_DEADLOCK, GRETA_ESTABLISHED);
	assert_int_equal(f.seen.end.quarantined.n, 0);
	expect_evidence(&f, gpu_evidence);
	assert_non_null(strstr(greta_buf_str(&f.evidence), "a read hangs in the kernel"));
	found_release(&f);
	gpu_file_is_stuck(n, "sys/class/drm/renderD128/device/gpu_busy_percent", folder);
	ok_on_gpu(n); /* its reader of counters stays behind */
	ok_on_gpu(n);
	unsetenv("GRETA_UNKILLABLE_S");
	no_gpu_node();
	kill(stuck, SIGTERM);
	waitpid(stuck, NULL, 0);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, node_create, node_remove)
		T(test_hangs__asleep_for_ever),
		T(test_hangs__a_sleep_of_an_hour),
		T(test_hangs__two_threads_lock_each_other_out),
		T(test_hangs__a_runaway),
		T(test_hangs__the_environment_is_redacted),
		T(test_hangs__stopped),
		T(test_hangs__blocked_in_the_kernel),
		T(test_hangs__a_chatterer),
		T(test_hangs__a_spin_on_the_cpu),
		T(test_hangs__the_debugger_names_the_stack),
		T(test_hangs__a_budget_over_while_it_is_looked_at),
		T(test_hangs__it_moves_while_it_is_looked_at),
		T(test_hangs__it_prints_while_it_is_looked_at),
		T(test_hangs__slow_is_not_hung),
		T(test_hangs__on_slow_stop_and_extend),
		T(test_hangs__frozen_with_its_supervisor),
		T(test_hangs__a_budget_with_a_freeze_in_it),
		T(test_hangs__a_phase_over_its_limit),
		T(test_hangs__a_stranger_with_a_helper_s_number),
		T(test_hangs__a_spin_beside_an_idle_gpu),
		T(test_hangs__a_busy_gpu),
		T(test_hangs__a_kernel_that_counts),
		T(test_hangs__an_endless_kernel_of_greta_infer),
		T(test_hangs__the_kernel_says_why),
		T(test_hangs__a_sibling_takes_it_down),
		T(test_hangs__a_cancel_after_its_end),
		T(test_hangs__a_budget_over_after_its_end),
		T(test_hangs__told_to_end_after_its_end),
		T(test_hangs__the_gpu_counts_an_error),
		T(test_hangs__the_driver_speaks_after_the_kill),
		T(test_hangs__a_gpu_that_fails_its_probe_is_kept_out),
		T(test_hangs__a_probe_that_can_t_tell),
		T(test_hangs__our_own_readers_are_stuck),
		T(test_hangs__unkillable),
	};
	return run_side_by_side(tests, GRETA_COUNT(tests), 4);
}
