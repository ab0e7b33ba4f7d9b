/* Every way in which an engine can disappoint, through the real session, supervisor and spool. */
#include "tests/unit/unit.h"

#include "tests/flow/agent_driver.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sha256.h"
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

static void expect(struct node *n, const char *const *args, enum greta_outcome outcome, const char *reason_has)
{
	struct seen s;
	run_attempt(n, args, NULL, &s);
	if (s.end.outcome != outcome)
		fail_msg("%s: %s, not %s: %s", args[0], greta_outcome_name(s.end.outcome), greta_outcome_name(outcome),
			 s.end.reason);
	if (reason_has && (!s.end.reason || !strstr(s.end.reason, reason_has)))
		fail_msg("%s: \"%s\" does not say \"%s\"", args[0], s.end.reason, reason_has);
	if (outcome != GRETA_OUTCOME_GOOD && outcome != GRETA_OUTCOME_INFRA)
		assert_true(s.n[GRETA_EVENT_EVIDENCE] >= 1); /* the black box at least */
	seen_release(&s);
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_faults__a_good_engine_is_ok(void **state)
{
	struct seen s;
	run_attempt(*state, ARGS("ok", "--layer-ms", "30", "--layers", "8"), NULL, &s);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	assert_null(s.end.reason);
	assert_int_equal(s.end.exit_code, 0);
	assert_int_equal(s.end.tokens_verified, 1);
	assert_int_equal(s.end.samples.n, 1);
	assert_true(greta_sample_number(&s.end.samples.items[0], "prefill_s") >= 0.2);
	assert_true(s.end.wall_s > 0.2 && s.end.wall_s < 30);
	assert_true(s.end.peak_rss_bytes > 0);
	assert_int_equal(s.n[GRETA_EVENT_ACCEPTED], 1);
	assert_int_equal(s.n[GRETA_EVENT_STARTED], 1);
	assert_true(s.n[GRETA_EVENT_PROGRESS] >= 3);
	assert_int_equal(s.end.progress.phase, GRETA_PHASE_FINISH);
	assert_non_null(strstr(greta_buf_str(&s.out), "[PERF_TIMING]"));
	char sha256[GRETA_SHA256_HEX + 1];
	assert_int_equal(greta_sha256_file(((struct node *)*state)->engine, sha256, NULL), 0);
	assert_string_equal(s.end.engine_sha256, sha256);
	assert_non_null(strstr(s.started, sha256));
	assert_int_equal(strlen(s.end.build_sha256), GRETA_SHA256_HEX);
	seen_release(&s);
}

/* The same binary has the same build; a library of its own, or a declared id, makes another. */
static void test_faults__what_ran_is_hashed(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct seen s, t;
	const char *const *args = ARGS("ok", "--layer-ms", "20");
	run_attempt(n, args, NULL, &s);
	run_attempt(n, args, NULL, &t);
	assert_string_equal(s.end.build_sha256, t.end.build_sha256);
	seen_release(&t);
	spec_make(n, &spec, args);
	greta_strs_add(&spec.env, "GRETA_BUILD_ID=nightly-7");
	run_attempt(n, args, &spec, &t);
	assert_string_equal(s.end.engine_sha256, t.end.engine_sha256);
	assert_string_not_equal(s.end.build_sha256, t.end.build_sha256);
	seen_release(&t);
	char *library = greta_format("%s/libown.so", n->root), *preload = greta_format("LD_PRELOAD=%s", library);
	const char *const cc[] = {"cc", "-shared", "-o", library, "-x", "c", "/dev/null", NULL};
	const struct greta_child_spec compile = {.argv = cc};
	struct greta_child_result r;
	struct greta_err e = {0};
	assert_ok(greta_child_run(&compile, 60000, 0, NULL, &r, &e));
	spec_make(n, &spec, args);
	greta_strs_add(&spec.env, preload);
	run_attempt(n, args, &spec, &t);
	assert_string_equal(s.end.engine_sha256, t.end.engine_sha256);
	assert_string_not_equal(s.end.build_sha256, t.end.build_sha256);
	seen_release(&s), seen_release(&t);
	free(library), free(preload);
}

static void test_faults__several_samples(void **state)
{
	struct seen s;
	struct greta_spec spec;
	const char *const *args = ARGS("ok", "--samples", "3");
	spec_make(*state, &spec, args);
	spec.samples = 3;
	run_attempt(*state, args, &spec, &s);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	assert_int_equal(s.end.samples.n, 3);
	seen_release(&s);
}

static void test_faults__lies_are_invalid(void **state)
{
	struct greta_spec spec;
	struct seen s;
	const char *const *args = ARGS("wrong-attn");
	expect(*state, ARGS("no-result"), GRETA_OUTCOME_INVALID, "without a result");
	expect(*state, ARGS("garbage"), GRETA_OUTCOME_INVALID, NULL);
	expect(*state, ARGS("short-prompt"), GRETA_OUTCOME_INVALID, "4096");
	expect(*state, ARGS("zero-prefill"), GRETA_OUTCOME_INVALID, "prefill_s");
	expect(*state, ARGS("lying-time"), GRETA_OUTCOME_INVALID, "add up");
	expect(*state, ARGS("twice-different"), GRETA_OUTCOME_INVALID, "twice");
	expect(*state, ARGS("twice-same"), GRETA_OUTCOME_GOOD, NULL);
	spec_make(*state, &spec, args);
	struct greta_expect *x = GRETA_PUSH(spec.expect, spec.n_expect, spec.cap_expect);
	*x = (struct greta_expect){greta_strdup("attn_impl"), greta_strdup("q_lds")};
	run_attempt(*state, args, &spec, &s);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_INVALID);
	assert_non_null(strstr(s.end.reason, "q_lds"));
	seen_release(&s);
}

static void test_faults__crashes_are_failed(void **state)
{
	expect(*state, ARGS("segv"), GRETA_OUTCOME_FAILED, "signal 11");
	expect(*state, ARGS("abort"), GRETA_OUTCOME_FAILED, "runtime_error");
	expect(*state, ARGS("exit", "--exit", "7"), GRETA_OUTCOME_FAILED, "exit 7");
	expect(*state, ARGS("exit", "--exit", "7"), GRETA_OUTCOME_FAILED, "invalid device function");
}

static void test_faults__what_never_started_is_infra(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct seen s;
	const char *const *args = ARGS("ok");
	spec_make(n, &spec, args);
	free(spec.argv.items[0]);
	spec.argv.items[0] = greta_strdup("/nonexistent/greta_infer");
	run_attempt(n, args, &spec, &s);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_INFRA);
	assert_string_equal(s.end.cause, "exec");
	assert_non_null(strstr(s.end.reason, "/nonexistent/greta_infer"));
	assert_true(isnan(s.end.wall_s));
	seen_release(&s);
	spec_make(n, &spec, args);
	spec.cpus = 100000;
	run_attempt(n, args, &spec, &s);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_INFRA);
	assert_string_equal(s.end.cause, "slot");
	seen_release(&s);
}

static void test_faults__verify_refuses_changed_files(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct seen s;
	struct greta_err e = {0};
	char right[GRETA_SHA256_HEX + 1];
	const char *const *args = ARGS("ok");
	assert_ok(greta_sha256_file(n->engine, right, &e));
	spec_make(n, &spec, args);
	greta_strs_addf(&spec.verify, "%s %s", right, n->engine);
	run_attempt(n, args, &spec, &s);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	seen_release(&s);
	spec_make(n, &spec, args);
	greta_strs_addf(&spec.verify, "%064d %s", 0, n->engine);
	run_attempt(n, args, &spec, &s);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_INFRA);
	assert_string_equal(s.end.cause, "verify");
	assert_non_null(strstr(s.end.reason, "fake_engine"));
	seen_release(&s);
	spec_make(n, &spec, args);
	greta_strs_addf(&spec.verify, "%064d %s/no-such-model.gguf", 0, n->root);
	run_attempt(n, args, &spec, &s);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_INFRA);
	assert_non_null(strstr(s.end.reason, "no-such-model.gguf"));
	seen_release(&s);
}

static void over_budget(struct node *n, const char *mode, double wall_s, double at_most_s, int signo)
{
	struct greta_spec spec;
	struct seen s;
	const char *const *args = ARGS(mode);
	spec_make(n, &spec, args);
	spec.wall_s = wall_s;
	spec.term_grace_s = 0.3;
	run_attempt(n, args, &spec, &s);
	assert_true(s.end.outcome == GRETA_OUTCOME_TIMED_OUT || s.end.outcome == GRETA_OUTCOME_HUNG);
	assert_true(s.end.wall_s >= wall_s && s.end.wall_s < at_most_s);
	assert_int_equal(s.end.signal, signo);
	assert_false(s.end.survivors);
	seen_release(&s);
}

static void test_faults__the_budget_ends_every_hang(void **state)
{
	over_budget(*state, "hang-sleep", 0.5, 10, SIGTERM);
	over_budget(*state, "hang-spin", 0.5, 10, SIGTERM);
	over_budget(*state, "deadlock", 0.5, 10, SIGTERM);
	over_budget(*state, "stop", 0.5, 10, SIGTERM);
	over_budget(*state, "host-io", 0.5, 10, SIGTERM);
	over_budget(*state, "ignore-term", 0.5, 10, SIGKILL);
	over_budget(*state, "runaway-hang", 0.5, 10, SIGTERM);
	over_budget(*state, "obey-term", 0.5, 10, 0);
}

static void test_faults__a_runaway_child_is_killed(void **state)
{
	struct node *n = *state;
	char *pids = greta_format("%s/pids", n->root);
	struct greta_buf text = {0};
	expect(n, ARGS("runaway", "--pid", pids), GRETA_OUTCOME_GOOD, NULL);
	assert_int_equal(greta_fs_read(pids, 1000, &text, NULL), 0);
	int found = 0;
	for (char *at = text.data, *end; *at; at = end + 1, found++) {
		pid_t pid = (pid_t)strtol(at, &end, 10);
		assert_int_equal(kill(pid, 0), -1);
	}
	assert_int_equal(found, 2);
	free(pids);
	greta_buf_release(&text);
}

static int64_t tree_bytes(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

static void flood(struct node *n, const char *mode, const char *bytes, int64_t want)
{
	struct driver d;
	struct greta_spec spec;
	struct seen s;
	const char *const *args = ARGS(mode, "--bytes", bytes);
	spec_make(n, &spec, args);
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_follow(&d, spec.attempt, 0, &s, 100000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	assert_true(s.end.log_bytes >= want);
	assert_true(s.out.len + s.err.len <= (size_t)spec.log_limit_bytes);
	assert_int_equal(s.end.log_dropped, s.end.log_bytes - (int64_t)(s.out.len + s.err.len));
	assert_int_equal(s.dropped, s.end.log_dropped);
	assert_non_null(strstr(greta_buf_str(&s.out), "[PERF_TIMING]")); /* the tail is there */
	char *events = greta_format("%s/attempts/%s/events", n->spool, spec.attempt);
	assert_true(tree_bytes(events) < 2 * spec.log_limit_bytes);
	print_message("          %s of %s bytes: %.2f s\n", mode, bytes, s.end.wall_s);
	driver_ack(&d, spec.attempt, s.last_seq);
	driver_close(&d);
	free(events);
	seen_release(&s);
	greta_spec_release(&spec);
}

static void test_faults__a_flood_is_bounded(void **state)
{
	flood(*state, "flood", "1000000000", 1000000000);
	flood(*state, "flood-both", "50000000", 100000000);
}

static void test_faults__progress_is_thinned_out(void **state)
{
	struct seen s;
	run_attempt(*state, ARGS("progress", "--layer-ms", "50"), NULL, &s);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	assert_true(s.n[GRETA_EVENT_PROGRESS] <= 20 + (size_t)(s.end.wall_s * 5));
	assert_int_equal(s.end.progress.phase, GRETA_PHASE_FINISH);
	seen_release(&s);
}

static void test_faults__device_memory(void **state)
{
	expect(*state, ARGS("device-oom"), GRETA_OUTCOME_OOM, "out of memory");
}

/* Puts this process, and so the supervisor and engine that it starts, into a memory cgroup of 300 MB. */
static bool enter_small_memory(char **group)
{
	struct greta_err e = {0};
	char pid[32];
	*group = greta_format("/sys/fs/cgroup/memory/greta-test-%d", (int)getpid());
	char *limit = greta_format("%s/memory.limit_in_bytes", *group), *procs = greta_format("%s/cgroup.procs", *group);
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	int fd = mkdir(*group, 0755) == 0 ? open(limit, O_WRONLY) : -1;
	bool in = fd >= 0 && greta_fs_write_all(fd, "300000000", 9, &e) == 0;
	close(fd);
	fd = in ? open(procs, O_WRONLY) : -1;
	in = fd >= 0 && greta_fs_write_all(fd, pid, strlen(pid), &e) == 0;
	close(fd);
	free(limit), free(procs);
	return in;
}

static void leave_small_memory(const char *group, const char *home)
{
	char pid[32];
	char *procs = greta_format("/sys/fs/cgroup/memory%s/cgroup.procs", home);
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	int fd = open(procs, O_WRONLY);
	assert_int_equal(greta_fs_write_all(fd, pid, strlen(pid), NULL), 0);
	close(fd);
	for (int i = 0; rmdir(group) != 0 && i < 100; i++)
		usleep(20000);
	free(procs);
}

static bool memory_home(char *out, size_t cap)
{
	struct greta_buf text = {0};
	bool found = false;
	if (greta_fs_read("/proc/self/cgroup", 65536, &text, NULL) == 0) {
		char *at = strstr(text.data, ":memory:");
		found = at != NULL;
		if (found) {
			at[strcspn(at, "\n")] = '\0';
			snprintf(out, cap, "%s", strcmp(at + 8, "/") == 0 ? "" : at + 8);
		}
	}
	greta_buf_release(&text);
	return found;
}

static void test_faults__host_memory(void **state)
{
	char home[1024], *group = NULL;
	struct seen s;
	if (geteuid() != 0 || !memory_home(home, sizeof home) || !enter_small_memory(&group)) {
		print_message("          skipped: no cgroup v1 memory controller that we may use\n");
		free(group);
		skip();
	}
	run_attempt(*state, ARGS("oom", "--bytes", "1000000000"), NULL, &s);
	leave_small_memory(group, home);
	free(group);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_OOM);
	print_message("          %s\n", s.end.reason);
	assert_true(strstr(s.end.reason, "Killed process") || strstr(s.end.reason, "oom_kill"));
	assert_int_equal(s.end.signal, SIGKILL);
	seen_release(&s);
}

static void test_faults__the_environment_is_an_allow_list(void **state)
{
	struct seen s;
	struct greta_spec spec;
	const char *const *args = ARGS("env");
	setenv("AWS_SECRET_ACCESS_KEY", "hunter2", 1);
	setenv("HSA_ENABLE_SDMA", "0", 1);
	spec_make(*state, &spec, args);
	greta_strs_add(&spec.env, "GRETA_MAX_SEQ_LEN=4098");
	greta_strs_add(&spec.env, "HSA_ENABLE_SDMA=1");
	run_attempt(*state, args, &spec, &s);
	const char *out = greta_buf_str(&s.out);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	assert_null(strstr(out, "hunter2"));
	assert_null(strstr(out, "GRETA_SPOOL_DIR"));
	assert_non_null(strstr(out, "GRETA_MAX_SEQ_LEN=4098\n"));
	assert_non_null(strstr(out, "HSA_ENABLE_SDMA=1\n"));
	assert_null(strstr(out, "HSA_ENABLE_SDMA=0\n"));
	assert_non_null(strstr(out, "GRETA_PROGRESS_FD=3\n"));
	assert_non_null(strstr(out, "GRETA_SLOT=cpu-0\n"));
	seen_release(&s);
}

static bool is_gone(void *pid)
{
	return kill(*(pid_t *)pid, 0) != 0;
}

/* An engine that attacks what it can reach spoils its own attempt, and no other: not one that runs beside it, not the
 * session, not those that come after it. */
static void test_faults__an_attacker_spoils_only_itself(void **state)
{
	struct node *n = *state;
	char *pids = greta_format("%s/pids", n->root);
	struct driver d, next;
	struct greta_spec victim, attacker, later;
	struct seen begun = {0}, good = {0};
	struct greta_msg ping = {.type = GRETA_MSG_PING, .stamp_ns = 1}, m;
	struct greta_buf text = {0};
	spec_make(n, &victim, ARGS("ok", "--layers", "20", "--layer-ms", "100"));
	spec_make(n, &attacker, ARGS("attack", "--pid", pids, "--cell", victim.attempt));
	spec_make(n, &later, ARGS("ok"));
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &victim);
	driver_until(&d, victim.attempt, GRETA_EVENT_STARTED, &begun, 20000);
	driver_start(&d, &attacker);
	driver_follow(&d, victim.attempt, begun.last_seq, &good, 30000);
	assert_int_equal(good.end.outcome, GRETA_OUTCOME_GOOD);
	assert_int_equal(good.end.samples.n, 1);
	assert_true(good.end.wall_s > 1.9);
	driver_answer(&d, driver_send(&d, &ping), &m);
	assert_int_equal(m.type, GRETA_MSG_PONG);
	greta_msg_release(&m);
	driver_ack(&d, victim.attempt, good.last_seq);
	driver_kill(&d);
	driver_open(&next, DRIVER_DB, 1, NULL); /* a fresh look at what is left there */
	seen_release(&good);
	good = (struct seen){0};
	driver_start(&next, &later);
	driver_follow(&next, later.attempt, 0, &good, 20000);
	assert_int_equal(good.end.outcome, GRETA_OUTCOME_GOOD);
	driver_ack(&next, later.attempt, good.last_seq);
	driver_close(&next);
	assert_int_equal(greta_fs_read(pids, 1000, &text, NULL), 0);
	for (char *at = text.data, *end; *at; at = end + 1) {
		pid_t pid = (pid_t)strtol(at, &end, 10);
		assert_true(wait_until(is_gone, &pid, 20000));
	}
	seen_release(&begun), seen_release(&good);
	greta_buf_release(&text);
	free(pids);
	greta_spec_release(&victim), greta_spec_release(&attacker), greta_spec_release(&later);
}

/* The second process that the engine has told of, once it shows as a zombie. */
static pid_t headless_child(const char *pids)
{
	for (int i = 0; i < 1000; i++, usleep(10000)) {
		char path[64];
		int engine, child;
		struct greta_buf text = {0}, status = {0};
		bool told = greta_fs_read(pids, 1000, &text, NULL) == 0 && sscanf(text.data, "%d\n%d\n", &engine, &child) == 2;
		snprintf(path, sizeof path, "/proc/%d/status", told ? child : 0);
		bool seen = told && greta_fs_read(path, 65536, &status, NULL) == 0 && strstr(status.data, "State:\tZ");
		greta_buf_release(&text), greta_buf_release(&status);
		if (seen)
			return child;
	}
	fail_msg("no process without its first thread came");
	return 0;
}

/* Whoever inherits an orphan may leave it as a zombie. */
static bool runs_no_more(void *pid)
{
	char path[64];
	struct greta_buf status = {0};
	snprintf(path, sizeof path, "/proc/%d/status", (int)*(pid_t *)pid);
	bool gone = greta_fs_read(path, 65536, &status, NULL) != 0 ||
		    (strstr(status.data, "State:\tZ") && strstr(status.data, "Threads:\t1\n"));
	greta_buf_release(&status);
	return gone;
}

/* A descendant whose first thread has ended belongs to the attempt like any other: to its supervisor, and to whoever cleans up
 * after a dead one. */
static void headless(struct node *n, bool orphaned)
{
	char *pids = greta_format("%s/pids-%d", n->root, orphaned);
	struct driver d;
	struct greta_spec spec;
	struct seen s = {0};
	setenv("GRETA_UNKILLABLE_S", "4", 1);
	spec_make(n, &spec, ARGS("headless", "--pid", pids, "--layers", orphaned ? "6000" : "20", "--layer-ms", "20"));
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
	pid_t child = headless_child(pids);
	if (orphaned) {
		driver_kill(&d);
		kill(supervisor_of(n, spec.attempt), SIGKILL);
		driver_open(&d, DRIVER_DB, 1, NULL);
		driver_attach(&d, spec.attempt, s.last_seq);
	}
	driver_until(&d, spec.attempt, GRETA_EVENT_OUTCOME, &s, 30000);
	assert_int_equal(s.end.outcome, orphaned ? GRETA_OUTCOME_LOST : GRETA_OUTCOME_GOOD);
	assert_false(s.end.survivors);
	assert_true(runs_no_more(&child));
	driver_ack(&d, spec.attempt, s.last_seq);
	driver_close(&d);
	unsetenv("GRETA_UNKILLABLE_S");
	seen_release(&s);
	greta_spec_release(&spec);
	free(pids);
}

static void test_faults__a_child_without_its_first_thread(void **state)
{
	headless(*state, false);
	headless(*state, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, node_create, node_remove)
		T(test_faults__a_good_engine_is_ok),
		T(test_faults__what_ran_is_hashed),
		T(test_faults__several_samples),
		T(test_faults__lies_are_invalid),
		T(test_faults__crashes_are_failed),
		T(test_faults__what_never_started_is_infra),
		T(test_faults__verify_refuses_changed_files),
		T(test_faults__the_budget_ends_every_hang),
		T(test_faults__a_runaway_child_is_killed),
		T(test_faults__a_child_without_its_first_thread),
		T(test_faults__an_attacker_spoils_only_itself),
		T(test_faults__a_flood_is_bounded),
		T(test_faults__progress_is_thinned_out),
		T(test_faults__device_memory),
		T(test_faults__host_memory),
		T(test_faults__the_environment_is_an_allow_list),
	};
	return run_side_by_side(tests, GRETA_COUNT(tests), 3);
}
